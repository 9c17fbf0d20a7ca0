//! `submit`, `approve`, `reject` and `audit verify`: the real binary against
//! gateways of both generations, a NATS server, and nobody at all.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::IntoResponse as _;
use capdeck::bus::nats::NatsBus;
use capdeck::bus::{Bus as _, Pattern};
use capdeck::ids::{JobId, SenderId, TraceId, WorkerId};
use capdeck::time::{Clock as _, SystemClock};
use capdeck::wire;
use capdeck::wire::decode::decode;
use capdeck::wire::encode::encode;
use capdeck::wire::job_hash::job_hash;
use capdeck::wire::json::{Unknown, job_request_from_json};
use capdeck::wire::packet::{Body, JobResult, JobStatus, Packet};

use crate::support::{Capdeck, NatsProcess, Ran, clock, free_port, link_is, soon};

const REQUEST: &str = r#"{"jobId":"j-1","topic":"job.mcp-bridge.write.update_ticket","tenantId":"default","labels":{"mcp.action":"write"},"meta":{"riskTags":["prod"]}}"#;

/// A gateway that knows one job, as little as these tests need of one.
#[derive(Clone)]
struct Gateway {
    /// Ours, which compares what a decision was made on.
    newer: bool,
    decided: Arc<Mutex<Option<(String, String)>>>,
    asked: Arc<Mutex<Vec<String>>>,
    /// What it stores, which a test may change behind its back.
    request: Arc<Mutex<String>>,
    url: String,
}

impl Gateway {
    async fn start(newer: bool) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = Self {
            newer,
            decided: Arc::default(),
            asked: Arc::default(),
            request: Arc::new(Mutex::new(REQUEST.to_owned())),
            url: format!("http://{}", listener.local_addr().unwrap()),
        };
        let app = Router::new().fallback(answer).with_state(gateway.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        gateway
    }

    fn hash() -> String {
        let (request, _) = job_request_from_json(REQUEST.as_bytes(), Unknown::Refuse).unwrap();
        job_hash(&request).to_string()
    }

    fn job(&self) -> String {
        let (state, by) = match &*self.decided.lock().unwrap() {
            None => ("APPROVAL_REQUIRED", String::new()),
            Some((verb, who)) if verb == "approve" => (
                "SUCCEEDED",
                format!(r#","approval_decision":"approve","approval_by":"{who}""#),
            ),
            Some((verb, who)) => (
                "DENIED",
                format!(
                    r#","approval_decision":"{verb}","approval_by":"{who}","error_code":"approval_rejected""#
                ),
            ),
        };
        let stored = if self.newer {
            format!(r#","request":{}"#, self.request.lock().unwrap())
        } else {
            String::new()
        };
        format!(
            r#"{{"id":"j-1","state":"{state}","topic":"job.mcp-bridge.write.update_ticket","safety_rule_id":"approval-prod-write","safety_snapshot":"v1:ab","safety_job_hash":"{}","risk_tags":null{by}{stored}}}"#,
            Self::hash()
        )
    }

    fn respond(&self, method: &Method, path: &str, operator: &str, body: &str) -> (u16, String) {
        let route = (
            method.as_str(),
            path.strip_prefix("/api/v1").unwrap_or_default(),
        );
        match route {
            ("GET", "/status") if self.newer => (200, r#"{"capabilities":["expect"]}"#.to_owned()),
            ("GET", "/status") => (200, "{}".to_owned()),
            ("GET", "/jobs/j-1") => (200, self.job()),
            ("POST", "/jobs") if body.contains("delete") && self.newer => (
                403,
                r#"{"error":"policy denied","status":403,"job_id":"j-2","trace_id":"t"}"#.to_owned(),
            ),
            ("POST", "/jobs") => (
                200,
                r#"{"job_id":"j-1","status":"approval_required","reason":"Production writes require human review"}"#.to_owned(),
            ),
            ("POST", "/approvals/j-1/approve" | "/approvals/j-1/reject") => {
                let verb = path.rsplit('/').next().unwrap();
                let mut decided = self.decided.lock().unwrap();
                match (&*decided, self.newer) {
                    (None, _) => {
                        *decided = Some((verb.to_owned(), operator.to_owned()));
                        (200, r#"{"job_id":"j-1","trace_id":"t-1"}"#.to_owned())
                    }
                    (Some(_), true) => (
                        409,
                        r#"{"error":"approval already resolved","code":"approval_already_resolved","status":409}"#.to_owned(),
                    ),
                    (Some(_), false) => (409, "job not awaiting approval\n".to_owned()),
                }
            }
            _ if self.newer => (404, r#"{"error":"job not found","code":"not_found","status":404}"#.to_owned()),
            _ => (404, "job not found\n".to_owned()),
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn answer(
    State(gateway): State<Gateway>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> axum::response::Response {
    let body = String::from_utf8(body.to_vec()).unwrap();
    let operator = headers
        .get("x-principal-id")
        .map_or("", |name| name.to_str().unwrap());
    let line = format!("{method} {} {body}", uri.path());
    gateway.asked.lock().unwrap().push(line.trim().to_owned());
    let (status, text) = gateway.respond(&method, uri.path(), operator, &body);
    (StatusCode::from_u16(status).unwrap(), text).into_response()
}

/// Runs the binary without holding up the gateway.
async fn run(capdeck: &Arc<Capdeck>, arguments: &[&str]) -> Ran {
    let capdeck = Arc::clone(capdeck);
    let arguments: Vec<String> = arguments.iter().map(|it| (*it).to_owned()).collect();
    tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        capdeck.run(&arguments)
    })
    .await
    .unwrap()
}

fn audit_log(capdeck: &Capdeck) -> String {
    std::fs::read_to_string(capdeck.home().join("state/capdeck/audit.jsonl")).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_sent_once_and_a_second_one_is_refused_in_words() {
    for newer in [true, false] {
        let gateway = Gateway::start(newer).await;
        let capdeck = Arc::new(Capdeck::new());
        let approve = |who: &'static str| {
            let (capdeck, url) = (Arc::clone(&capdeck), gateway.url.clone());
            async move {
                run(
                    &capdeck,
                    &[
                        "approve",
                        "j-1",
                        "--note",
                        "in the window",
                        "--as",
                        who,
                        "--gateway",
                        &url,
                    ],
                )
                .await
            }
        };
        let first = approve("ann").await;
        assert_eq!(
            (first.code, &*first.stdout),
            (
                0,
                "approved j-1 (job.mcp-bridge.write.update_ticket, held by rule approval-prod-write)\n"
            ),
            "{}",
            first.stderr
        );
        let second = approve("bob").await;
        assert_eq!((second.code, &*second.stdout), (1, ""));
        let says = if newer {
            "error: ann approved j-1 already (approval_already_resolved)\nhint: yours changed nothing\n"
        } else {
            "error: j-1 was not approved: it is SUCCEEDED, not waiting for approval\nhint: ask for a new request if it is still wanted\n"
        };
        assert_eq!(second.stderr, says);

        let sent = gateway.asked();
        let sent: Vec<&String> = sent
            .iter()
            .filter(|line| line.starts_with("POST"))
            .collect();
        let expect = format!(
            r#","expect":{{"job_hash":"{}","policy_snapshot":"v1:ab"}}"#,
            Gateway::hash()
        );
        let expect = if newer { expect.as_str() } else { "" };
        assert_eq!(
            *sent[0],
            format!(r#"POST /api/v1/approvals/j-1/approve {{"note":"in the window"{expect}}}"#)
        );
        assert_eq!(sent.len(), 2);

        let log = audit_log(&capdeck);
        let actions: Vec<String> = log
            .lines()
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let outcome = line["detail"]["outcome"].as_str().unwrap_or("-");
                format!("{} {} {outcome}", line["operator"], line["action"])
            })
            .collect();
        assert_eq!(
            actions,
            [
                r#""ann" "approve" -"#,
                r#""ann" "approve.outcome" done"#,
                r#""bob" "approve" -"#,
                r#""bob" "approve.outcome" refused"#,
            ]
        );
        let verified = capdeck.run(&["audit", "verify"]);
        assert_eq!(verified.code, 0, "{}", verified.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_what_was_read_is_not_approved_and_not_even_sent() {
    let gateway = Gateway::start(true).await;
    let capdeck = Arc::new(Capdeck::new());
    let hash = Gateway::hash();
    let approve = async |more: &[&str]| {
        let base = ["approve", "j-1", "--gateway", &gateway.url];
        run(&capdeck, &[&base[..], more].concat()).await
    };
    let stale = approve(&["--job-hash", &"0".repeat(64)]).await;
    assert_eq!(stale.code, 1);
    assert!(
        stale
            .stderr
            .starts_with("error: j-1 was not approved: its job hash is "),
        "{}",
        stale.stderr
    );
    let stale = approve(&["--snapshot", "v1:cd", "--job-hash", &hash]).await;
    assert_eq!(
        stale.stderr.lines().next(),
        Some(
            "error: j-1 was not approved: its policy snapshot is v1:ab, not v1:cd; nothing was sent"
        )
    );
    *gateway.request.lock().unwrap() = REQUEST.replace("update_ticket", "drop_tables");
    let changed = approve(&["--job-hash", &hash, "--snapshot", "v1:ab"]).await;
    assert_eq!(changed.code, 1);
    assert!(
        changed
            .stderr
            .contains("does not hash to what policy judged"),
        "{}",
        changed.stderr
    );
    assert!(!gateway.asked().iter().any(|line| line.starts_with("POST")));
    assert_eq!(audit_log(&capdeck), "", "nothing was asked for");

    let rejected = run(
        &capdeck,
        &[
            "reject",
            "j-1",
            "--reason",
            "changed",
            "-o",
            "json",
            "--as",
            "ann",
            "--gateway",
            &gateway.url,
        ],
    )
    .await;
    assert_eq!(rejected.code, 0, "{}", rejected.stderr);
    let document: serde_json::Value = serde_json::from_str(&rejected.stdout).unwrap();
    assert_eq!(document["schema"], "capdeck/1");
    assert_eq!(document["decision"], "reject");
    assert_eq!(document["reason"], "changed");
    assert!(
        gateway
            .asked()
            .contains(&r#"POST /api/v1/approvals/j-1/reject {"reason":"changed"}"#.to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_on_a_job_that_is_not_there_is_refused() {
    let gateway = Gateway::start(true).await;
    let capdeck = Arc::new(Capdeck::new());
    let ran = run(&capdeck, &["approve", "j-9", "--gateway", &gateway.url]).await;
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.stderr.lines().next(),
        Some("error: j-9 was not approved: the plane does not know it: job not found")
    );
}

#[test]
fn without_a_gateway_nothing_is_decided() {
    let capdeck = Capdeck::new();
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let ran = capdeck.run(&["approve", "j-1", "--note", "x", "--gateway", &nowhere]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(
        ran.stderr
            .starts_with(&format!("error: cannot reach the gateway at {nowhere}: ")),
        "{}",
        ran.stderr
    );
    let ran = capdeck.run(&["reject", "j-1", "--reason", "x"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("so reject needs a gateway"),
        "{}",
        ran.stderr
    );
    assert_eq!(
        capdeck.run(&["reject", "j-1", "--gateway", &nowhere]).code,
        2,
        "no reason"
    );
    let ran = capdeck.run(&["approve", "j-1", "--gateway", "http://u:pw@h"]);
    assert_eq!(ran.code, 2);
    assert!(!ran.stderr.contains("pw"), "{}", ran.stderr);
    assert_eq!(audit_log(&capdeck), "");
}

#[test]
fn a_job_file_that_is_wrong_is_named_with_its_place() {
    let capdeck = Capdeck::new();
    let file = capdeck.home().join("job.json");
    std::fs::write(&file, "{\"topic\": \"job.a\",\n  \"labels\": {oops}}").unwrap();
    let name = file.to_str().unwrap();
    let ran = capdeck.run(&["submit", "-f", name, "--gateway", "http://127.0.0.1:1"]);
    assert_eq!(ran.code, 2);
    assert_eq!(
        ran.stderr,
        format!("error: {name}:2:14: not JSON: key must be a string\n")
    );
    std::fs::write(&file, "{\"job_id\": \"j\",\n \"risk\": \"prod\"}").unwrap();
    let ran = capdeck.run(&["submit", "-f", name, "--gateway", "http://127.0.0.1:1"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("unrecognized field name 'risk'"),
        "{}",
        ran.stderr
    );
    let ran = capdeck.run(&["submit", "-f", "/no/such/job.json"]);
    assert_eq!(ran.code, 2);
    std::fs::write(&file, "{\"topic\": \"job.a\"}").unwrap();
    assert_eq!(capdeck.run(&["submit", "-f", name]).code, 2, "no server");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_submitted_in_each_of_its_three_shapes() {
    let envelope = format!(
        r#"{{"trace_id":"t-7","sender_id":"me","created_at":"2026-01-01T00:00:00Z","protocol_version":1,"job_request":{REQUEST}}}"#
    );
    let body = r#"{"topic":"job.mcp-bridge.write.update_ticket","risk_tags":["prod"]}"#;
    for newer in [true, false] {
        for text in [body, REQUEST, &envelope] {
            let gateway = Gateway::start(newer).await;
            let capdeck = Arc::new(Capdeck::new());
            let file = capdeck.home().join("job.json");
            std::fs::write(&file, text).unwrap();
            let ran = run(
                &capdeck,
                &[
                    "submit",
                    "-f",
                    file.to_str().unwrap(),
                    "--gateway",
                    &gateway.url,
                ],
            )
            .await;
            assert_eq!(ran.code, 0, "{}", ran.stderr);
            assert_eq!(
                ran.stdout,
                "j-1 waits for approval: Production writes require human review\n"
            );
            let asked = gateway.asked();
            let posted = asked
                .last()
                .unwrap()
                .strip_prefix("POST /api/v1/jobs ")
                .unwrap();
            let posted: serde_json::Value = serde_json::from_str(posted).unwrap();
            if newer || text == body {
                let given: serde_json::Value = serde_json::from_str(text).unwrap();
                assert_eq!(posted, given);
            } else {
                assert_eq!(posted["risk_tags"], serde_json::json!(["prod"]));
                assert_eq!(posted["labels"]["mcp.action"], "write");
                assert_eq!(posted["job_id"], "j-1");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_job_is_a_refusal_and_a_followed_one_is_told_to_its_end() {
    let gateway = Gateway::start(true).await;
    let capdeck = Arc::new(Capdeck::new());
    let file = capdeck.home().join("job.json");
    let name = file.to_str().unwrap();
    std::fs::write(
        &file,
        r#"{"topic":"job.a","labels":{"mcp.action":"delete"}}"#,
    )
    .unwrap();
    let denied = run(&capdeck, &["submit", "-f", name, "--gateway", &gateway.url]).await;
    assert_eq!(
        (denied.code, &*denied.stderr),
        (1, "error: policy denies the job: policy denied\n")
    );

    std::fs::write(&file, REQUEST).unwrap();
    let waiting = {
        let (capdeck, url, name) = (Arc::clone(&capdeck), gateway.url.clone(), name.to_owned());
        tokio::spawn(async move {
            run(
                &capdeck,
                &[
                    "submit",
                    "--wait",
                    "-o",
                    "json",
                    "-f",
                    &name,
                    "--gateway",
                    &url,
                ],
            )
            .await
        })
    };
    crate::support::eventually("the job to be followed", || async {
        let asked = gateway.asked();
        asked
            .iter()
            .any(|line| line == "GET /api/v1/jobs/j-1")
            .then_some(())
    })
    .await;
    let rejected = run(
        &capdeck,
        &["reject", "j-1", "--reason", "no", "--gateway", &gateway.url],
    )
    .await;
    assert_eq!(rejected.code, 0, "{}", rejected.stderr);
    let ran = soon("the job to end", waiting).await.unwrap();
    assert_eq!(ran.code, 1);
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["state"], "DENIED");
    assert!(
        ran.stderr
            .ends_with("error: j-1 ended DENIED: approval_rejected\n"),
        "{}",
        ran.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_travels_over_nats_unchanged_and_its_end_is_heard() {
    let nats = NatsProcess::start();
    let bus = NatsBus::connect(&nats.config(), clock()).unwrap();
    link_is(&bus, "a connection", |state| {
        *state == capdeck::bus::LinkState::Up
    })
    .await;
    let submit = Pattern::from(&wire::subject(wire::SUBMIT));
    let mut submitted = bus.subscribe(&submit, None).await.unwrap();

    let capdeck = Arc::new(Capdeck::new());
    let envelope = r#"{"trace_id":"t-7","sender_id":"me","created_at":"2026-01-01T00:00:00.123456Z","protocol_version":1,
        "job_request":{"job_id":"j-1","topic":"job.demo.echo","tenant_id":"default","context_ptr":"redis://ctx:j-1",
        "labels":{"mcp.server":"jira","mcp.tool":"update_ticket","mcp.action":"write"}}}"#;
    let mut child = capdeck
        .command(&["submit", "-f", "-", "--wait", "--nats", &nats.url()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(envelope.as_bytes())
        .unwrap();
    let delivery = soon("the envelope", submitted.recv()).await.unwrap();
    let packet = decode(&delivery).unwrap();
    assert_eq!(
        (packet.trace.as_str(), packet.sender.as_str()),
        ("t-7", "me")
    );
    assert_eq!(packet.warnings, []);
    let Body::JobRequest(request) = &packet.body else {
        panic!("a request");
    };
    assert_eq!(request.labels["mcp.tool"], "update_ticket");
    // 123,456,000 nanoseconds, field 2 of the instant, which our own types round.
    let nanos = [0x10, 0x80, 0x94, 0xef, 0x3a];
    assert!(delivery.payload.windows(5).any(|bytes| bytes == nanos));

    let result = Packet::new(
        TraceId::from("t-7"),
        SenderId::from("w-1"),
        SystemClock.now(),
        Body::JobResult(Box::new(JobResult {
            job_id: JobId::from("j-1"),
            worker_id: WorkerId::from("w-1"),
            status: JobStatus::FailedFatal,
            error_code: "boom\u{1b}[31m".to_owned(),
            ..JobResult::default()
        })),
    );
    let subject = wire::subject(wire::RESULT);
    bus.publish(&subject, encode(&subject, &result).unwrap())
        .await
        .unwrap();
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let ran = Ran::of(soon("the end", ended).await.unwrap());
    assert_eq!((ran.code, &*ran.stdout), (1, "j-1 published\n"));
    assert!(
        ran.stderr
            .starts_with("error: j-1 ended FAILED_FATAL: boom"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains('\u{1b}'));

    // One that careful receivers would drop is not published.
    let broken = envelope.replace("\"protocol_version\":1", "\"protocol_version\":2");
    let file = capdeck.home().join("job.json");
    std::fs::write(&file, broken).unwrap();
    let ran = run(
        &capdeck,
        &[
            "submit",
            "-f",
            file.to_str().unwrap(),
            "--nats",
            &nats.url(),
        ],
    )
    .await;
    assert_eq!(
        (ran.code, &*ran.stderr),
        (
            2,
            "error: the envelope breaks the contract: protocol_version is 2 instead of 1\n"
        )
    );
    // A body becomes a request in an envelope of ours.
    std::fs::write(
        &file,
        r#"{"topic":"job.demo.echo","context_ptr":"redis://ctx:x","risk_tags":["prod"]}"#,
    )
    .unwrap();
    let ran = run(
        &capdeck,
        &[
            "submit",
            "-f",
            file.to_str().unwrap(),
            "--nats",
            &nats.url(),
        ],
    )
    .await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let packet = decode(&soon("the request", submitted.recv()).await.unwrap()).unwrap();
    assert_eq!(packet.warnings, []);
    assert!(packet.sender.as_str().starts_with("capdeck-"));
    let Body::JobRequest(request) = packet.body else {
        panic!("a request");
    };
    assert_eq!(request.meta.unwrap().risk_tags, ["prod"]);
    assert!(ran.stdout.starts_with(request.job_id.as_str()));
    bus.shutdown().await;
}

#[test]
fn without_a_bus_nothing_is_published() {
    let capdeck = Capdeck::new();
    let file = capdeck.home().join("job.json");
    std::fs::write(&file, REQUEST).unwrap();
    let nowhere = format!("nats://127.0.0.1:{}", free_port());
    let ran = capdeck.run(&["submit", "-f", file.to_str().unwrap(), "--nats", &nowhere]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains(&format!("cannot reach the bus at {nowhere}")),
        "{}",
        ran.stderr
    );
}

fn result_of(job: &str, status: JobStatus) -> Packet {
    Packet::new(
        TraceId::from("t-7"),
        SenderId::from("w-1"),
        SystemClock.now(),
        Body::JobResult(Box::new(JobResult {
            job_id: JobId::from(job),
            worker_id: WorkerId::from("w-1"),
            status,
            ..JobResult::default()
        })),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_the_bus_and_ends_as_the_job_ends() {
    let nats = NatsProcess::start();
    let bus = NatsBus::connect(&nats.config(), clock()).unwrap();
    link_is(&bus, "a connection", |state| {
        *state == capdeck::bus::LinkState::Up
    })
    .await;
    let cancel = Pattern::from(&wire::subject(wire::CANCEL));
    let mut cancels = bus.subscribe(&cancel, None).await.unwrap();
    let capdeck = Arc::new(Capdeck::new());
    for (status, code, stdout, stderr) in [
        (JobStatus::Cancelled, 0, "j-1 CANCELLED\n", ""),
        (
            JobStatus::Succeeded,
            1,
            "",
            "error: j-1 had already ended: SUCCEEDED; nothing was cancelled\n",
        ),
    ] {
        let asking = {
            let (capdeck, url) = (Arc::clone(&capdeck), nats.url());
            tokio::spawn(async move {
                let arguments = ["cancel", "j-1", "--reason", "stop", "--as", "ann"];
                run(&capdeck, &[&arguments[..], &["--nats", &url]].concat()).await
            })
        };
        let packet = decode(&soon("the cancel", cancels.recv()).await.unwrap()).unwrap();
        assert_eq!(packet.warnings, []);
        let Body::JobCancel(wish) = packet.body else {
            panic!("a cancel");
        };
        assert_eq!(
            (wish.job_id.as_str(), &*wish.reason, &*wish.requested_by),
            ("j-1", "stop", "ann")
        );
        let subject = wire::subject(wire::RESULT);
        for result in [
            result_of("j-2", JobStatus::Failed),
            result_of("j-1", JobStatus::Running),
            result_of("j-1", status),
        ] {
            bus.publish(&subject, encode(&subject, &result).unwrap())
                .await
                .unwrap();
        }
        let ran = soon("the end", asking).await.unwrap();
        assert_eq!(
            (ran.code, &*ran.stdout, &*ran.stderr),
            (code, stdout, stderr)
        );
    }
    bus.shutdown().await;
    let log = audit_log(&capdeck);
    assert_eq!(log.matches(r#""action":"cancel""#).count(), 2, "{log}");

    let nowhere = format!("nats://127.0.0.1:{}", free_port());
    let ran = run(&capdeck, &["cancel", "j-1", "--nats", &nowhere]).await;
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert_eq!(audit_log(&capdeck), log, "nothing was asked for");
}

#[test]
fn one_altered_byte_of_the_operators_log_is_found() {
    let capdeck = Capdeck::new();
    let fresh = capdeck.run(&["audit", "verify"]);
    assert_eq!(fresh.code, 0);
    assert!(fresh.stdout.ends_with("nothing was asked for yet\n"));
    let path = capdeck.home().join("state/capdeck/audit.jsonl");
    let log = capdeck::audit::AuditLog::at(&path);
    for action in ["approve", "cancel"] {
        let entry = capdeck::audit::Entry {
            at: SystemClock.now(),
            operator: "ann".to_owned(),
            action: action.to_owned(),
            object: "j-1".to_owned(),
            detail: std::collections::BTreeMap::new(),
        };
        log.append(&entry).unwrap();
    }
    let whole = capdeck.run(&["audit", "verify"]);
    assert_eq!(whole.code, 0, "{}", whole.stderr);
    assert!(
        whole.stdout.contains(": 2 lines, unbroken; "),
        "{}",
        whole.stdout
    );
    let altered = std::fs::read_to_string(&path)
        .unwrap()
        .replacen("ann", "bnn", 1);
    std::fs::write(&path, altered).unwrap();
    let path = path.to_str().unwrap();
    for arguments in [
        &["audit", "verify"][..],
        &["audit", "verify", "--file", path],
    ] {
        let broken = capdeck.run(arguments);
        assert_eq!(broken.code, 1);
        assert_eq!(
            broken.stdout,
            format!("{path}: line 1: it was changed after it was written\n")
        );
        assert!(broken.stderr.contains("line 1 is the first that is wrong"));
    }
    assert_eq!(
        capdeck
            .run(&["audit", "verify", "--file", "/no/such/log"])
            .code,
        2
    );
}
