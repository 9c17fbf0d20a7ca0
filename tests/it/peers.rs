//! capdeck among foreign peers, which speak CAP through the public Python SDK
//! and a real nats-server.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
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

use crate::support::{
    Capdeck, Lines, NatsProcess, Peer, Ran, RedisProcess, clock, free_port, link_is, run_peer,
    soon, wait_until,
};

/// A NATS server with a foreign fleet on it.
///
/// Ended in the order of its fields: the workers before their servers.
pub(crate) struct Fleet {
    _workers: Peer,
    lines: Lines,
    nats: NatsProcess,
    redis: RedisProcess,
}

impl Fleet {
    /// The fleet joins a server that others use already.
    pub(crate) fn join(nats: NatsProcess, workers: u32) -> Self {
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
    pub(crate) fn submit(&self, jobs: &[Value]) {
        let jobs: Vec<_> = jobs.iter().map(ToString::to_string).collect();
        let (nats, redis) = (self.nats.url(), self.redis.url());
        let mut arguments = vec!["--nats", &nats, "--redis", &redis, "--dispatch"];
        arguments.extend(jobs.iter().map(String::as_str));
        run_peer("client.py", &arguments);
    }

    /// Waits for a line of the fleet with these facts.
    pub(crate) fn wait_for(&mut self, event: &str, facts: &Value) -> Value {
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
pub(crate) fn jobs_of_every_kind() -> Vec<Value> {
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

/// A NATS server that tells who is connected, and several `capdeck get` on it.
struct Watchers {
    nats: NatsProcess,
    monitor: u16,
    capdeck: Capdeck,
    running: BTreeMap<&'static str, Child>,
}

impl Watchers {
    /// Starts the server.
    fn new() -> Self {
        let monitor = free_port();
        let nats = NatsProcess::start_with(&["-m", &monitor.to_string()]);
        Self {
            nats,
            monitor,
            capdeck: Capdeck::new(),
            running: BTreeMap::new(),
        }
    }

    /// Starts `capdeck get KIND` for each kind and waits until all of them listen.
    fn listen(&mut self, kinds: &[&'static str]) {
        let url = self.nats.url();
        for kind in kinds {
            let arguments = ["get", kind, "--nats", &url, "--listen", "12s", "-o", "json"];
            let mut command = self.capdeck.command(&arguments);
            let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
            self.running.insert(kind, command.spawn().unwrap());
        }
        // Each has three subscriptions of its own, and one to hear its own echo.
        wait_until("the listeners", || {
            let listening = self.connections().matches("\"worker.*.jobs\"").count();
            (listening == kinds.len()).then_some(())
        });
    }

    /// What the server says of its connections, as its own JSON.
    fn connections(&self) -> String {
        let mut line = TcpStream::connect(("127.0.0.1", self.monitor)).unwrap();
        let ask = "GET /connz?subs=1 HTTP/1.0\r\nHost: localhost\r\n\r\n";
        line.write_all(ask.as_bytes()).unwrap();
        let mut answer = String::new();
        line.read_to_string(&mut answer).unwrap();
        answer
    }

    /// What each printed: the document, and its items by `name`.
    fn finish(&mut self, kind: &str, name: &str) -> (Value, BTreeMap<String, Value>) {
        let child = self.running.remove(kind).unwrap();
        let ran = Ran::of(child.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{kind}: {}", ran.stderr);
        // Text of others is escaped, so that a terminal obeys none of it.
        let raw = ran.stdout.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(raw, None, "{kind}");
        let document: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(document["schema"], "capdeck/1");
        assert_eq!(document["kind"], kind);
        assert_eq!(document["sources"]["nats"], "up");
        assert_eq!(document["dropped"], 0);
        let items = document["items"].as_array().unwrap().iter();
        let items = items.map(|item| (item[name].as_str().unwrap_or("").to_owned(), item.clone()));
        let items = items.collect();
        (document, items)
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Whether `item` has all of `facts`, and which it has not.
fn assert_facts(item: Option<&Value>, facts: &Value) {
    let item = item.unwrap_or_else(|| panic!("there is no item with {facts}"));
    for (name, value) in facts.as_object().unwrap() {
        assert_eq!(&item[name], value, "{name} of {item}");
    }
}

#[test]
fn get_prints_every_foreign_worker_and_every_job_to_its_end() {
    let mut watchers = Watchers::new();
    watchers.listen(&["jobs", "workers"]);
    let redis = RedisProcess::start();
    let (nats, store) = (watchers.nats.url(), redis.url());
    let mut fleet = Peer::start(
        "fleet.py",
        &["--nats", &nats, "--redis", &store, "--workers", "2"],
    );
    let mut lines = fleet.lines();
    lines.wait_for("its readiness", |line| is(line, "ready", &json!({})));
    let jobs: Vec<_> = jobs_of_every_kind()
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut arguments = vec!["--nats", &nats, "--redis", &store, "--dispatch"];
    arguments.extend(jobs.iter().map(String::as_str));
    run_peer("client.py", &arguments);

    let (document, jobs) = watchers.finish("jobs", "job_id");
    assert_eq!(document["malformed"], 0);
    assert_eq!(jobs.len(), 5, "{:?}", jobs.keys());
    assert_facts(
        jobs.get("peer-good"),
        &json!({"state": "SUCCEEDED", "result_status": "SUCCEEDED", "topic": "job.peer.good",
            "percent": 100, "message": "at 100 %", "trace_id": "trace-peer-good",
            "tenant_id": "default", "result_ptr": "redis://res:peer-good"}),
    );
    assert_facts(
        jobs.get("peer-bad"),
        &json!({"state": "FAILED", "result_status": "FAILED", "percent": 35,
            "worker_id": "peer-w1", "error_code": "DISK_FULL"}),
    );
    assert_facts(
        jobs.get("peer-fatal"),
        &json!({"state": "FAILED", "result_status": "FAILED_FATAL", "percent": 70,
            "error_code": "ERROR_CODE_JOB_TIMEOUT", "compensation": "job.peer.undo",
            "workflow_id": "wf-1"}),
    );
    assert_facts(
        jobs.get("peer-agent-job"),
        &json!({"state": "SUCCEEDED", "worker_id": "peer-agent", "percent": null,
            "context_ptr": "redis://ctx:peer-agent-job"}),
    );
    assert_facts(
        jobs.get("peer-hung"),
        &json!({"state": "RUNNING", "result_status": null, "percent": 30,
            "worker_id": "peer-w0"}),
    );

    let (_, workers) = watchers.finish("workers", "worker_id");
    assert_eq!(workers.len(), 3, "{:?}", workers.keys());
    assert_facts(
        workers.get("peer-w0"),
        &json!({"pool": "peer-even", "region": "eu-test", "active_jobs": 1,
            "max_parallel_jobs": 4, "cpu_load": 10.0, "memory_load": 40.0,
            "last_memo": "at work", "standing": "live"}),
    );
    assert_facts(
        workers.get("peer-w1"),
        &json!({"pool": "peer-odd", "active_jobs": 0, "cpu_load": 11.0, "standing": "live",
            "capabilities": ["echo", "skill-1"]}),
    );
    assert_facts(workers.get("peer-agent"), &json!({"pool": "peer-agents"}));
    fleet.stop();
}

#[test]
fn hostile_packets_neither_break_nor_fool_what_get_prints() {
    let mut watchers = Watchers::new();
    watchers.listen(&["jobs", "workers", "senders"]);
    let sent = run_peer("hostile.py", &["--nats", &watchers.nats.url()]);
    let sent: Value = serde_json::from_str(&sent).unwrap();
    let odd = &sent["odd"];

    let (document, jobs) = watchers.finish("jobs", "job_id");
    assert_eq!(document["malformed"], sent["not_packets"]);
    assert_facts(
        jobs.get(sent["job_id"].as_str().unwrap()),
        &json!({"state": "RUNNING", "percent": 30, "message": odd, "tenant_id": odd,
            "workflow_id": odd, "parent_job_id": odd, "context_ptr": odd, "compensation": odd}),
    );
    // A result that says "still running" ends nothing.
    assert_facts(
        jobs.get("evil-unfinished"),
        &json!({"state": "RUNNING", "percent": 20}),
    );
    // What comes after the end moves nothing.
    assert_facts(
        jobs.get("evil-late"),
        &json!({"state": "SUCCEEDED", "percent": 90}),
    );
    assert!(jobs.contains_key("evil-large"));
    assert!(jobs.contains_key("evil-dead"));
    assert!(!jobs.contains_key(""), "a result of no job");

    let (_, workers) = watchers.finish("workers", "worker_id");
    assert_facts(
        workers.get(sent["worker_id"].as_str().unwrap()),
        &json!({"pool": odd, "region": odd, "last_memo": odd, "agent_name": odd,
            "active_jobs": 1, "max_parallel_jobs": 2}),
    );
    assert_facts(
        workers.get("evil-numbers"),
        &json!({"cpu_load": null, "memory_load": null, "progress_pct": 999}),
    );
    assert!(
        !workers.contains_key("evil-lost"),
        "a heartbeat on the wrong subject"
    );

    let (_, senders) = watchers.finish("senders", "sender_id");
    assert_facts(senders.get("evil-future"), &json!({"unknown_fields": 2}));
}

#[test]
fn a_cancel_reaches_the_foreign_worker_as_its_validator_wants_it() {
    let mut fleet = Fleet::join(NatsProcess::start(), 2);
    fleet.submit(&jobs_of_every_kind());
    fleet.wait_for("took", &json!({"job_id": "peer-hung"}));
    let capdeck = Capdeck::new();
    let nats = fleet.nats.url();
    let said = capdeck.json(&[
        "cancel",
        "peer-hung",
        "--nats",
        &nats,
        "--reason",
        "it hangs \u{1b}[31m",
        "--as",
        "ann@here",
        "-o",
        "json",
    ]);
    assert_facts(
        Some(&said),
        &json!({"job_id": "peer-hung", "state": "CANCELLED", "cancelled": true,
            "requested_by": "ann@here"}),
    );
    let cancel = fleet.wait_for("cancel", &json!({"job_id": "peer-hung"}));
    assert_facts(
        Some(&cancel),
        &json!({"worker_id": "peer-w0", "reason": "it hangs \u{1b}[31m",
            "requested_by": "ann@here", "errors": []}),
    );
    assert!(
        cancel["sender_id"]
            .as_str()
            .unwrap()
            .starts_with("capdeck-")
    );
    let ended = json!({"job_id": "peer-hung", "status": "JOB_STATUS_CANCELLED"});
    fleet.wait_for("ended", &ended);
}

#[test]
fn a_cancel_without_a_server_is_refused_and_not_delivered_later() {
    let mut nats = NatsProcess::start();
    let url = nats.url();
    nats.stop();
    let capdeck = Capdeck::new();
    let ran = capdeck.run(&["cancel", "j1", "--nats", &url, "--as", "ann@here"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("connection refused"), "{}", ran.stderr);
    nats.restart();
    let mut listener = Peer::start("listener.py", &["--nats", &url, ">"]);
    let mut heard = listener.lines();
    heard.wait_for("its readiness", |line| is(line, "ready", &json!({})));
    // A later one is heard, and nothing came before it.
    run_peer(
        "client.py",
        &["--nats", &url, r#"{"job_id": "j2", "topic": "job.peer.x"}"#],
    );
    heard.wait_for("a later packet", |line| is(line, "packet", &json!({})));
    assert!(
        !heard
            .seen()
            .iter()
            .any(|line| line.contains("sys.job.cancel"))
    );
}
