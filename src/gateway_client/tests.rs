//! The client against a small server that answers as each generation does.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::IntoResponse as _;
use tokio::net::TcpListener;

use super::types::Expect;
use super::*;

/// Answers by `METHOD /path?query`, and what it was asked.
#[derive(Clone)]
struct Script {
    answers: &'static [(&'static str, u16, &'static str)],
    asked: Arc<Mutex<Vec<String>>>,
}

async fn answer(
    State(script): State<Script>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> axum::response::Response {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let asked = format!("{method} {uri}");
    let mut line = asked.clone();
    for name in ["x-api-key", "x-tenant-id", "x-principal-id"] {
        if let Some(value) = header(name) {
            line.push_str(&format!(" {name}={value}"));
        }
    }
    if !body.is_empty() {
        line.push(' ');
        line.push_str(&String::from_utf8_lossy(&body));
    }
    script.asked.lock().expect("no panic").push(line);
    let found = script.answers.iter().find(|(route, ..)| *route == asked);
    let (status, text) = found.map_or((404, "404 page not found\n"), |(_, status, text)| {
        (*status, *text)
    });
    (StatusCode::from_u16(status).expect("a status"), text).into_response()
}

struct Server {
    client: GatewayClient,
    script: Script,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(answers: &'static [(&'static str, u16, &'static str)]) -> Self {
        let script = Script {
            answers,
            asked: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let app = Router::new().fallback(answer).with_state(script.clone());
        let task = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("serves");
        });
        let client = GatewayClient::new(&Endpoint {
            url: format!("http://{address}/"),
            api_key: Some("key".to_owned()),
            tenant: Some("acme".to_owned()),
            ca: None,
        })
        .expect("an endpoint");
        Self {
            client,
            script,
            task,
        }
    }

    fn asked(&self) -> Vec<String> {
        let keys = " x-api-key=key x-tenant-id=acme";
        let asked = self.script.asked.lock().expect("no panic");
        asked.iter().map(|line| line.replace(keys, "")).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn decision() -> Decision {
    Decision {
        operator: "ann".to_owned(),
        note: "ok".to_owned(),
        expect: Expect {
            job_hash: Some("ab".to_owned()),
            policy_snapshot: Some("v1:cd".to_owned()),
            context_sha256: None,
        },
        ..Decision::default()
    }
}

#[tokio::test]
async fn an_older_gateway_is_understood() {
    let server = Server::start(&[
        ("GET /api/v1/status", 200, r#"{"time":"2026-01-01T00:00:00Z","uptime_seconds":7,"nats":{"connected":true,"status":"CONNECTED"},"redis":{"ok":true},"workers":{"count":1}}"#),
        ("GET /api/v1/workers", 200, r#"[{"worker_id":"w1","pool":"ops","active_jobs":1,"capabilities":null}]"#),
        ("GET /api/v1/approvals?include_resolved=false&limit=500", 200, r#"{"items":[{"job":{"id":"j-1","updated_at":1767225600123456,"state":"APPROVAL_REQUIRED","risk_tags":null},"decision":"REQUIRE_APPROVAL","policy_snapshot":"v1:cd","job_hash":"ab","approval_required":true,"approval_ref":"j-1"}],"next_cursor":null}"#),
        ("POST /api/v1/approvals/j-1/approve", 409, "policy snapshot changed; re-evaluate before approving\n"),
        ("POST /api/v1/approvals/j-1/reject", 200, r#"{"job_id":"j-1"}"#),
        ("POST /api/v1/jobs/j-1/cancel", 200, r#"{"id":"j-1","state":"SUCCEEDED","reason":"job already terminal"}"#),
        ("GET /api/v1/jobs/j-2", 404, "job not found\n"),
        ("GET /api/v1/memory?ptr=redis%3A%2F%2Fctx%3Aj-1", 200, r#"{"pointer":"redis://ctx:j-1","key":"ctx:j-1","kind":"context","size_bytes":2,"base64":"e30="}"#),
    ])
    .await;
    let client = &server.client;
    let id = JobId::from("j-1");

    let workers = client.workers().await.expect("workers");
    assert_eq!(workers.items[0].worker_id, "w1");
    let approvals = client.approvals(false, None).await.expect("approvals");
    assert_eq!(approvals.items[0].job.id, id);
    assert!(approvals.items[0].is_open());
    assert_eq!(
        approvals.items[0].job.updated_at.map(|at| at.to_string()),
        Some("2026-01-01T00:00:00.123Z".to_owned())
    );
    let refused = client.approve(&id, &decision()).await.expect_err("refused");
    assert!(
        matches!(
            refused,
            GatewayError::Conflict {
                why: Conflict::StaleSnapshot,
                code: None,
                ..
            }
        ),
        "{refused:?}"
    );
    let rejected = client.reject(&id, &decision()).await.expect("rejected");
    assert!(!rejected.bound && !rejected.was_decided_before());
    let cancelled = client.cancel(&id, "stop", "ann").await.expect("an answer");
    assert!(cancelled.too_late() && !cancelled.reason_sent);
    let missing = client.job(&JobId::from("j-2")).await.expect_err("none");
    assert!(matches!(missing, GatewayError::NotFound { .. }));
    let memory = client.memory("redis://ctx:j-1").await.expect("a payload");
    assert_eq!(
        (memory.bytes.as_slice(), memory.size_bytes),
        (&b"{}"[..], 2)
    );

    let told = r#"{"note":"ok"}"#;
    assert_eq!(
        server.asked()[2..6],
        [
            "GET /api/v1/status".to_owned(),
            format!("POST /api/v1/approvals/j-1/approve x-principal-id=ann {told}"),
            format!("POST /api/v1/approvals/j-1/reject x-principal-id=ann {told}"),
            "POST /api/v1/jobs/j-1/cancel x-principal-id=ann".to_owned(),
        ]
    );
}

#[tokio::test]
async fn a_newer_gateway_is_understood_and_told_what_a_decision_was_made_on() {
    let server = Server::start(&[
        ("GET /api/v1/status", 200, r#"{"time":"2026-01-01T00:00:00Z","capabilities":["expect"]}"#),
        ("GET /api/v1/workers", 200, r#"{"items":[{"worker_id":"w1","last_heartbeat_at":"2026-01-01T00:00:00Z"}]}"#),
        ("GET /api/v1/pools", 200, r#"[{"name":"ops","workers":2,"capacity":8,"utilization":0.5,"topics":["job.ops.write"]}]"#),
        ("GET /api/v1/policy/snapshots", 200, r#"{"snapshots":["v1:cd","v1:00"]}"#),
        ("POST /api/v1/approvals/j-1/approve", 200, r#"{"job_id":"j-1","status":"already_approved","approved_by":"bob","approved_at":1767225600123456}"#),
        ("POST /api/v1/approvals/j-2/approve", 200, r#"{"error":"approval in progress; retry","code":"approval_retryable_lock","status":409,"retryable":true}"#),
        ("POST /api/v1/jobs/j-1/cancel", 200, r#"{"id":"j-1","state":"CANCELLED"}"#),
        ("POST /api/v1/jobs", 200, r#"{"job_id":"j-3","status":"approval_required","reason":"because"}"#),
        ("GET /api/v1/jobs?limit=2&state=RUNNING", 200, r#"{"items":[{"id":"j-9","attempts":1}],"next_cursor":1767225600123456}"#),
    ])
    .await;
    let client = &server.client;
    let id = JobId::from("j-1");

    assert!(
        client.workers().await.expect("workers").items[0]
            .last_heartbeat_at
            .is_some()
    );
    assert_eq!(
        client.pools().await.expect("pools").items[0].topics,
        ["job.ops.write"]
    );
    assert_eq!(
        client.snapshots().await.expect("snapshots"),
        ["v1:cd", "v1:00"]
    );
    let decided = client.approve(&id, &decision()).await.expect("decided");
    assert!(decided.was_decided_before() && decided.bound);
    assert_eq!(decided.earlier_by, "bob");
    let busy = client.approve(&JobId::from("j-2"), &decision()).await;
    assert!(matches!(busy, Err(GatewayError::Busy { .. })), "{busy:?}");
    let cancelled = client.cancel(&id, "stop", "ann").await.expect("cancelled");
    assert!(!cancelled.too_late() && cancelled.reason_sent);
    let submitted = client.submit(&json!({"topic":"job.a"}), "ann").await;
    assert_eq!(submitted.expect("taken").status, "approval_required");
    let query = JobsQuery {
        limit: Some(2),
        state: Some("RUNNING".to_owned()),
        ..JobsQuery::default()
    };
    let page = client.jobs(&query).await.expect("jobs");
    assert_eq!(page.next_cursor.as_deref(), Some("1767225600123456"));

    let told = r#"{"note":"ok","expect":{"job_hash":"ab","policy_snapshot":"v1:cd"}}"#;
    let asked = server.asked();
    assert!(
        asked.contains(&format!(
            "POST /api/v1/approvals/j-1/approve x-principal-id=ann {told}"
        )),
        "{asked:?}"
    );
    assert!(
        asked.iter().any(|line| line.ends_with(
            r#"POST /api/v1/jobs/j-1/cancel x-principal-id=ann {"reason":"stop","requested_by":"ann"}"#
        )),
        "{asked:?}"
    );
    assert_eq!(
        asked.iter().filter(|line| line.contains("/status")).count(),
        1
    );
}

#[tokio::test]
async fn dead_letters_of_both_generations_are_read_and_retried() {
    let server = Server::start(&[
        ("GET /api/v1/dlq?limit=2", 200, r#"[{"job_id":"j-1","topic":"job.a","status":"JOB_STATUS_FAILED","reason":"boom","reason_code":"tests_failed","last_state":"RUNNING","attempts":2,"created_at":"2026-01-01T00:00:00Z"}]"#),
        ("GET /api/v1/dlq?limit=3", 200, r#"{"items":[{"job_id":"j-2","attempts":null}]}"#),
        ("POST /api/v1/dlq/j-1/retry", 200, r#"{"job_id":"j-1-retry-0badcafe"}"#),
        ("POST /api/v1/dlq/j-3/retry", 404, "dlq entry not found\n"),
        ("POST /api/v1/dlq/j-4/retry", 400, "missing topic for retry\n"),
    ])
    .await;
    let client = &server.client;
    let older = client.dead_letters(2).await.expect("letters");
    assert!(older.bare, "the older generation sends no page");
    let letter = &older.items[0];
    assert_eq!(
        (
            letter.job_id.as_str(),
            letter.reason_code.as_str(),
            letter.attempts
        ),
        ("j-1", "tests_failed", 2)
    );
    assert!(letter.created_at.is_some());
    let newer = client.dead_letters(3).await.expect("letters");
    assert!(!newer.bare && newer.items[0].job_id.as_str() == "j-2");
    let made = client
        .retry(&JobId::from("j-1"), "ann")
        .await
        .expect("made");
    assert_eq!(made.job_id.as_str(), "j-1-retry-0badcafe");
    // No letter, and no such route at all.
    for id in ["j-3", "j-5"] {
        let none = client.retry(&JobId::from(id), "ann").await;
        assert!(
            matches!(none, Err(GatewayError::NotFound { .. })),
            "{none:?}"
        );
    }
    let bad = client.retry(&JobId::from("j-4"), "ann").await;
    assert!(
        matches!(bad, Err(GatewayError::BadRequest { .. })),
        "{bad:?}"
    );
    assert!(
        server
            .asked()
            .contains(&"POST /api/v1/dlq/j-1/retry x-principal-id=ann".to_owned())
    );
}

#[tokio::test]
async fn a_detail_that_cannot_be_read_is_named_and_one_that_can_is_kept_whole() {
    let server = Server::start(&[
        ("GET /api/v1/jobs/j-1", 200, r#"{"id":"j-1","state":"FAILED","error_code":"ERROR_CODE_JOB_TIMEOUT","worker_id":null,"request":{"jobId":"j-1","x":null},"approval_at":1767225600000000}"#),
        ("GET /api/v1/jobs/j-2", 200, r#"{"hello":"world"}"#),
        ("GET /api/v1/jobs/j%202", 200, r#"{"id":"j 2","labels":{"a":1}}"#),
    ])
    .await;
    let detail = server.client.job(&JobId::from("j-1")).await.expect("a job");
    assert_eq!(detail.record.state, "FAILED");
    assert_eq!(detail.error_code, "ERROR_CODE_JOB_TIMEOUT");
    assert_eq!(detail.request, Some(json!({"jobId":"j-1","x":null})));
    assert!(detail.approval_at.is_some() && detail.raw.get("worker_id").is_some());
    for id in ["j-2", "j 2"] {
        let error = server.client.job(&JobId::from(id)).await.expect_err("none");
        assert!(matches!(error, GatewayError::NotAGateway { .. }), "{error}");
    }
}

#[tokio::test]
async fn what_is_not_a_gateway_is_named() {
    let server = Server::start(&[]).await;
    let error = server.client.status().await.expect_err("no gateway");
    assert!(matches!(error, GatewayError::NotAGateway { .. }), "{error}");
}

#[tokio::test]
async fn nothing_was_sent_to_a_server_that_is_not_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let client = GatewayClient::new(&Endpoint {
        url: url.clone(),
        ..Endpoint::default()
    })
    .expect("an endpoint");
    let forged = client.submit(&json!({}), "ann\r\nx-api-key: other").await;
    assert!(matches!(forged, Err(GatewayError::BadRequest { .. })));
    let error = client
        .submit(&json!({}), "åsa")
        .await
        .expect_err("nobody there");
    assert!(
        matches!(&error, GatewayError::Unreachable { url: shown, .. } if *shown == url),
        "{error}"
    );
}

#[tokio::test]
async fn a_line_that_breaks_after_sending_leaves_the_outcome_unknown() {
    use tokio::io::AsyncReadExt as _;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let server = tokio::spawn(async move {
        let mut seen = 0;
        for _ in 0..2 {
            let (mut line, _) = listener.accept().await.expect("a client");
            let mut request = [0; 1_024];
            seen += line.read(&mut request).await.expect("a request");
        }
        seen
    });
    let client = GatewayClient::new(&Endpoint {
        url,
        ..Endpoint::default()
    })
    .expect("an endpoint");
    let write = client.submit(&json!({}), "ann").await;
    assert!(
        matches!(write, Err(GatewayError::TimedOut { .. })),
        "{write:?}"
    );
    let read = client.workers().await;
    assert!(
        matches!(read, Err(GatewayError::Unreachable { .. })),
        "{read:?}"
    );
    assert!(server.await.expect("ends") > 0);
}

#[test]
fn endpoints_are_checked_and_never_show_their_key() {
    let base = |url: &str| base_url(url).map(|url| url.to_string());
    let expected = Ok("http://h:8081/api/v1".to_owned());
    for url in [
        "http://h:8081",
        "http://h:8081/",
        "http://h:8081/api/v1/",
        "http://h:8081/?x#y",
    ] {
        assert_eq!(base(url), expected, "{url}");
    }
    assert_eq!(base("https://h/cap"), Ok("https://h/cap/api/v1".to_owned()));
    for url in ["h:8081", "ftp://h", "http://u:p@h", ""] {
        assert!(base(url).is_err(), "{url}");
    }
    let endpoint = Endpoint {
        url: "http://h".to_owned(),
        api_key: Some("s3cret".to_owned()),
        ..Endpoint::default()
    };
    assert!(!format!("{endpoint:?}").contains("s3cret"));
    let error = GatewayClient::new(&Endpoint {
        url: "http://u:s3cret@h".to_owned(),
        ..Endpoint::default()
    })
    .expect_err("credentials");
    assert!(!error.to_string().contains("s3cret"), "{error}");
    for id in ["", ".", ".."] {
        assert!(segment(&JobId::from(id)).is_err());
    }
    let local = |url: &str| {
        GatewayClient::new(&Endpoint {
            url: url.to_owned(),
            ..Endpoint::default()
        })
        .expect("an endpoint")
        .is_loopback()
    };
    assert!(local("http://localhost:1") && local("http://127.0.0.9") && local("http://[::1]:2"));
    assert!(!local("http://10.0.0.1") && !local("https://localhost.example"));
}
