//! capdeck among foreign peers, which speak CAP through the public Python SDK
//! and a real nats-server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use capdeck::bus::nats::NatsBus;
use capdeck::bus::{Bus, Delivery, LinkState, Pattern, Subscription};
use capdeck::ids::{JobId, SenderId, TraceId, WorkerId};
use capdeck::time::Timestamp;
use capdeck::wire;
use capdeck::wire::decode::decode;
use capdeck::wire::encode::encode;
use capdeck::wire::packet::{
    AlertSeverity, Body, Compensation, ErrorCode, Heartbeat, JobCancel, JobMetadata, JobProgress,
    JobRequest, JobResult, JobStatus, Packet, SystemAlert,
};
use serde_json::{Value, json};

use crate::support::{Lines, NatsProcess, Peer, RedisProcess, clock, link_is, run_peer, soon};

/// A NATS server with a foreign fleet on it.
///
/// Ended in the order of its fields: the workers before their servers.
struct Fleet {
    _workers: Peer,
    lines: Lines,
    nats: NatsProcess,
    redis: RedisProcess,
}

impl Fleet {
    fn start(workers: u32) -> Self {
        let nats = NatsProcess::start();
        Self::join(nats, workers)
    }

    /// The fleet joins a server that others use already.
    fn join(nats: NatsProcess, workers: u32) -> Self {
        let redis = RedisProcess::start();
        let workers = workers.to_string();
        let mut peer = Peer::start(
            "fleet.py",
            &[
                "--nats",
                &nats.url(),
                "--redis",
                &redis.url(),
                "--workers",
                &workers,
            ],
        );
        let mut lines = peer.lines();
        lines.wait_for("its readiness", |line| is(line, "ready", &json!({})));
        Self {
            _workers: peer,
            lines,
            nats,
            redis,
        }
    }

    /// Submits jobs as a foreign client and hands them out as a scheduler would.
    fn submit(&self, jobs: &[Value]) {
        let jobs: Vec<_> = jobs.iter().map(ToString::to_string).collect();
        let (nats, redis) = (self.nats.url(), self.redis.url());
        let mut arguments = vec!["--nats", &nats, "--redis", &redis, "--dispatch"];
        arguments.extend(jobs.iter().map(String::as_str));
        run_peer("client.py", &arguments);
    }

    /// Waits for a line of the fleet with these facts.
    fn wait_for(&mut self, event: &str, facts: &Value) -> Value {
        let what = format!("{event} {facts}");
        let line = self.lines.wait_for(&what, |line| is(line, event, facts));
        serde_json::from_str(&line).unwrap()
    }
}

/// Whether `line` tells `event` with all of `facts`.
fn is(line: &str, event: &str, facts: &Value) -> bool {
    let Ok(said) = serde_json::from_str::<Value>(line) else {
        return false;
    };
    let facts = facts.as_object().unwrap();
    said["event"] == event && facts.iter().all(|(name, value)| said[name] == *value)
}

/// One job of each kind that a foreign worker does.
fn jobs_of_every_kind() -> Vec<Value> {
    vec![
        json!({"job_id": "peer-good", "topic": "job.peer.good",
            "labels": {"peer.percents": "10,55,100"}}),
        json!({"job_id": "peer-bad", "topic": "job.peer.bad", "worker": "peer-w1",
            "labels": {"peer.percents": "35", "peer.outcome": "fail"}}),
        json!({"job_id": "peer-fatal", "topic": "job.peer.ticket", "workflow_id": "wf-1",
            "labels": {"peer.percents": "70", "peer.outcome": "fatal"},
            "compensation": {"topic": "job.peer.undo", "context_ptr": "redis://ctx:undo",
                "idempotency_key": "peer-fatal/undo"}}),
        json!({"job_id": "peer-agent-job", "topic": "job.agent.echo",
            "context": {"text": "hello"}}),
        json!({"job_id": "peer-hung", "topic": "job.peer.hung", "worker": "peer-w0",
            "labels": {"peer.percents": "30", "peer.outcome": "hang"}}),
    ]
}

async fn hear_all(nats: &NatsProcess) -> (Arc<NatsBus>, Subscription) {
    let bus = Arc::new(NatsBus::connect(&nats.config(), clock()).unwrap());
    link_is(&*bus, "a connection", |link| *link == LinkState::Up).await;
    let everything = Pattern::parse(">").unwrap();
    let subscription = bus.subscribe(&everything, None).await.unwrap();
    (bus, subscription)
}

async fn next(subscription: &mut Subscription) -> Delivery {
    soon("a message", subscription.recv()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_packet_of_a_foreign_fleet_is_understood_without_a_warning() {
    let nats = NatsProcess::start();
    let (_bus, mut heard) = hear_all(&nats).await;
    let fleet = Fleet::join(nats, 2);
    fleet.submit(&jobs_of_every_kind());
    let mut kinds = BTreeSet::new();
    let mut ended = BTreeMap::new();
    let mut workers = BTreeSet::new();
    while ended.len() < 4 || workers.len() < 3 {
        let delivery = next(&mut heard).await;
        let packet = decode(&delivery).unwrap();
        assert_eq!(packet.warnings, [], "{packet:?}");
        kinds.insert(packet.body.kind());
        match packet.body {
            Body::JobResult(result) => {
                ended.insert(result.job_id.to_string(), result.status);
            }
            Body::Heartbeat(beat) => {
                workers.insert(beat.worker_id.to_string());
            }
            _ => {}
        }
    }
    assert_eq!(
        ended.into_iter().collect::<Vec<_>>(),
        [
            ("peer-agent-job".into(), JobStatus::Succeeded),
            ("peer-bad".into(), JobStatus::Failed),
            ("peer-fatal".into(), JobStatus::FailedFatal),
            ("peer-good".into(), JobStatus::Succeeded),
        ]
    );
    let expected = [
        "handshake",
        "heartbeat",
        "job_progress",
        "job_request",
        "job_result",
    ];
    assert!(
        expected.iter().all(|kind| kinds.contains(kind)),
        "{kinds:?}"
    );
    assert_eq!(
        workers.into_iter().collect::<Vec<_>>(),
        ["peer-agent", "peer-w0", "peer-w1"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_validator_accepts_whatever_we_publish() {
    let nats = NatsProcess::start();
    let mut listener = Peer::start("listener.py", &["--nats", &nats.url(), ">"]);
    let mut verdicts = listener.lines();
    verdicts.wait_for("its readiness", |line| is(line, "ready", &json!({})));
    let (bus, _heard) = hear_all(&nats).await;

    let job_id = JobId::from("j-1");
    let worker_id = WorkerId::from("capdeck-1");
    let bodies = [
        (
            wire::SUBMIT,
            Body::JobRequest(Box::new(JobRequest {
                job_id: job_id.clone(),
                topic: "job.a.b".into(),
                labels: BTreeMap::from([("mcp.action".into(), "write \u{1b}[31m".into())]),
                meta: Some(JobMetadata {
                    risk_tags: vec!["prod".into()],
                    ..JobMetadata::default()
                }),
                compensation: Some(Box::new(Compensation {
                    topic: "job.a.undo".into(),
                    ..Compensation::default()
                })),
                ..JobRequest::default()
            })),
        ),
        (
            wire::PROGRESS,
            Body::JobProgress(Box::new(JobProgress {
                job_id: job_id.clone(),
                percent: 100,
                ..JobProgress::default()
            })),
        ),
        (
            wire::RESULT,
            Body::JobResult(Box::new(JobResult {
                job_id: job_id.clone(),
                worker_id: worker_id.clone(),
                status: JobStatus::FailedFatal,
                error_code_enum: ErrorCode::JobTimeout,
                ..JobResult::default()
            })),
        ),
        (
            wire::CANCEL,
            Body::JobCancel(JobCancel {
                job_id,
                reason: "tests".into(),
                requested_by: "me@here".into(),
                ..JobCancel::default()
            }),
        ),
        (
            wire::HEARTBEAT,
            Body::Heartbeat(Box::new(Heartbeat {
                worker_id,
                cpu_load: 12.5,
                ..Heartbeat::default()
            })),
        ),
        (
            wire::ALERT,
            Body::Alert(Box::new(SystemAlert {
                message: "disk full".into(),
                severity: AlertSeverity::Critical,
                error_code_enum: ErrorCode::JobResourceExhausted,
                source_component: "capdeck-1".into(),
                ..SystemAlert::default()
            })),
        ),
    ];
    for (name, body) in bodies {
        let kind = body.kind();
        let subject = wire::subject(name);
        let packet = Packet::new(
            TraceId::from("t-1"),
            SenderId::from("capdeck-1"),
            Timestamp::from_millis(1_767_225_600_123),
            body,
        );
        let bytes = encode(&subject, &packet).unwrap();
        bus.publish(&subject, bytes).await.unwrap();
        let facts = json!({"subject": name, "payload": kind});
        let verdict = verdicts.wait_for(kind, |line| is(line, "packet", &facts));
        let verdict: Value = serde_json::from_str(&verdict).unwrap();
        assert_eq!(verdict["errors"], json!([]), "{verdict}");
        assert_eq!(verdict["packet"]["created_at"], "2026-01-01T00:00:00.123Z");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_bytes_are_malformed_or_packets_and_nothing_else() {
    let nats = NatsProcess::start();
    let (_bus, mut heard) = hear_all(&nats).await;
    let sent: Value =
        serde_json::from_str(&run_peer("hostile.py", &["--nats", &nats.url()])).unwrap();
    let mut malformed = 0;
    let mut odd = BTreeSet::new();
    for _ in 0..sent["messages"].as_u64().unwrap() {
        match decode(&next(&mut heard).await) {
            Err(_) => malformed += 1,
            Ok(packet) => {
                if !packet.warnings.is_empty() {
                    odd.insert(packet.body.kind());
                }
                if let Body::Heartbeat(beat) = packet.body
                    && beat.worker_id.as_str().starts_with("evil-worker")
                {
                    assert_eq!(beat.worker_id.as_str(), sent["worker_id"], "as it was sent");
                }
            }
        }
    }
    assert_eq!(malformed, sent["not_packets"].as_u64().unwrap());
    let expected = ["heartbeat", "job_cancel", "job_progress", "job_result"];
    assert_eq!(odd.into_iter().collect::<Vec<_>>(), expected);
}
