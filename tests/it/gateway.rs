//! The embedded gateway over a real listener: requests in, status, code and shape
//! out, and what the bus heard. No scheduler runs, so a job stays where the
//! gateway put it.

mod again;
mod approvals;
mod bench;
mod governance;
mod intake;
mod keys;
mod openapi;
mod replay;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;

use bench::{Bench, Reply};
use bytes::Bytes;
use capdeck::control_plane::gateway::{Gateway, GatewayError, Keyring, Options, Parts};
use capdeck::control_plane::kernel::SafetyKernel as _;
use capdeck::control_plane::ledger;
use capdeck::ids::{PoolName, WorkerId};
use capdeck::state::model::jobs::WaitingOn;
use capdeck::store::Store;
use capdeck::time::{Clock, Elapsed};
use capdeck::wire::job_hash::job_hash;
use capdeck::wire::json::{Unknown, job_request_from_json};
use capdeck::wire::packet::Heartbeat;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn each_verdict_has_its_answer_its_record_and_its_packet() {
    let mut bench = Bench::start().await;

    let go = bench
        .submit(json!({"topic":"job.a","labels":{"mcp.action":"read"},"zzz":1}))
        .await;
    assert_eq!(go.status, 200, "{}", go.body);
    assert_eq!(go.body["ignored"], json!(["zzz"]));
    assert!(go.head.contains("x-trace-id: "), "{}", go.head);
    assert_eq!(
        bench.heard(),
        ["sys.job.submit job_request api-gateway-http"]
    );
    let detail = bench.detail(&go.job_id()).await;
    assert_eq!(detail["state"], "PENDING");
    assert_eq!(detail["safety_decision"], "ALLOW");
    assert_eq!(detail["trace_id"], go.body["trace_id"]);
    assert_eq!(detail["context"]["topic"], "job.a");

    let held = bench
        .submit(json!({"topic":"job.a","labels":{"mcp.action":"write"}}))
        .await;
    assert_eq!(held.status, 200);
    assert_eq!(held.body["status"], "approval_required");
    assert_eq!(held.body["reason"], "look first");
    assert!(held.body["trace_id"].is_string());
    assert_eq!(bench.heard(), Vec::<String>::new());
    let detail = bench.detail(&held.job_id()).await;
    assert_eq!(detail["state"], "APPROVAL_REQUIRED");
    assert_eq!(
        detail["safety_constraints"]["budgets"]["max_runtime_ms"],
        60_000
    );
    assert_eq!(detail["safety_remediations"][0]["id"], "ro");
    assert_eq!(detail["approval_status"], "pending");

    let denied = bench
        .submit(json!({"topic":"job.a","labels":{"mcp.action":"delete"}}))
        .await;
    assert_eq!(denied.short(), "403 policy_denied");
    assert_eq!(denied.body["error"], "never");
    assert_eq!(
        bench.heard(),
        ["sys.job.dlq job_result api-gateway DENIED policy_denied"]
    );
    let detail = bench.detail(&denied.job_id()).await;
    assert_eq!(detail["state"], "DENIED");
    assert_eq!(detail["error_code"], "policy_denied");
    assert_eq!(detail["last_state"], "PENDING");

    let before = bench.get("/api/v1/jobs").await.body["items"].clone();
    let throttled = bench.submit(json!({"topic":"job.web.search"})).await;
    assert_eq!(throttled.short(), "429 throttled");
    assert!(throttled.head.contains("retry-after: 30"));
    assert_eq!(bench.heard(), Vec::<String>::new());
    assert_eq!(bench.get("/api/v1/jobs").await.body["items"], before);

    let capped = bench.submit(json!({"topic":"job.batch.embed"})).await;
    let detail = bench.detail(&capped.job_id()).await;
    assert_eq!(detail["safety_decision"], "ALLOW_WITH_CONSTRAINTS");
    let unmatched = bench.submit(json!({"topic":"job.x"})).await;
    assert_eq!(unmatched.short(), "403 policy_denied");

    bench.heard();
    *bench.kernel.down.lock().unwrap() = true;
    let waits = bench
        .submit(json!({"topic":"job.a","labels":{"mcp.action":"delete"}}))
        .await;
    assert_eq!(waits.status, 200, "{}", waits.body);
    assert_eq!(waits.body["status"], "pending");
    let detail = bench.detail(&waits.job_id()).await;
    assert_eq!(detail["state"], "PENDING");
    assert_eq!(detail["safety_decision"], "UNAVAILABLE");
    assert_eq!(detail["waiting_on"], "kernel_unavailable");
    assert_eq!(
        bench.heard(),
        ["sys.job.submit job_request api-gateway-http"]
    );
    bench.gateway.shutdown().await;
}

#[tokio::test]
async fn bad_requests_have_their_codes_and_leave_nothing_behind() {
    let mut bench = Bench::start().await;
    let jobs = "/api/v1/jobs";
    for (method, path, body, expected) in [
        ("POST", jobs, "", "400 invalid_json"),
        ("POST", jobs, "not json", "400 invalid_json"),
        ("POST", jobs, "[]", "400 invalid_body"),
        ("POST", jobs, r#"{"labels":{"a":1}}"#, "400 invalid_body"),
        (
            "POST",
            jobs,
            r#"{"topic":"sys.job.submit"}"#,
            "400 invalid_topic",
        ),
        ("POST", jobs, r#"{"topic":"job.a b"}"#, "400 invalid_topic"),
        (
            "POST",
            jobs,
            r#"{"topic":"job.a","step_index":-1}"#,
            "400 invalid_field",
        ),
        ("GET", "/api/v1/jobs/nope", "", "404 job_not_found"),
        (
            "GET",
            "/api/v1/jobs/nope/decisions",
            "",
            "404 job_not_found",
        ),
        ("POST", "/api/v1/jobs/nope/cancel", "", "404 job_not_found"),
        (
            "POST",
            "/api/v1/approvals/nope/approve",
            "",
            "404 job_not_found",
        ),
        (
            "POST",
            "/api/v1/approvals/nope/reject",
            "",
            "404 job_not_found",
        ),
        (
            "POST",
            "/api/v1/approvals/nope/approve",
            r#"{"nte":"x"}"#,
            "400 invalid_body",
        ),
        (
            "POST",
            "/api/v1/approvals/nope/approve",
            r#"{"expect":{"hash":"x"}}"#,
            "400 invalid_body",
        ),
        (
            "POST",
            "/api/v1/approvals/nope/reject",
            r#"["x"]"#,
            "400 invalid_body",
        ),
        (
            "POST",
            "/api/v1/approvals/nope/reject",
            "{",
            "400 invalid_json",
        ),
        ("GET", "/api/v1/jobs?state=RUNING", "", "400 invalid_state"),
        (
            "GET",
            "/api/v1/jobs?state=OUTPUT_QUARANTINED&cursor=x",
            "",
            "400 invalid_parameter",
        ),
        (
            "GET",
            "/api/v1/jobs?limit=many",
            "",
            "400 invalid_parameter",
        ),
        (
            "GET",
            "/api/v1/approvals?include_resolved=no",
            "",
            "400 invalid_parameter",
        ),
        ("GET", "/api/v1/memory", "", "400 invalid_parameter"),
        (
            "GET",
            "/api/v1/memory?ptr=https://x/y",
            "",
            "400 invalid_pointer",
        ),
        (
            "GET",
            "/api/v1/memory?ptr=redis://job:meta:x",
            "",
            "400 invalid_pointer",
        ),
        ("GET", "/api/v1/memory?key=art:x", "", "403 key_not_allowed"),
        (
            "GET",
            "/api/v1/memory?ptr=redis://ctx:nope",
            "",
            "404 payload_not_found",
        ),
        ("GET", "/api/v1/nothing", "", "404 not_found"),
        ("GET", "/", "", "404 not_found"),
        ("DELETE", jobs, "", "405 method_not_allowed"),
    ] {
        let reply = bench.send(method, path, &[], body.as_bytes()).await;
        assert_eq!(reply.short(), expected, "{method} {path} {body}");
    }
    let long = vec![b'x'; (2 << 20) + 1];
    let reply = bench.send("POST", jobs, &[], &long).await;
    assert_eq!(reply.short(), "413 body_too_large");
    assert_eq!(bench.get(jobs).await.body["items"], json!([]));
    assert_eq!(bench.heard(), Vec::<String>::new());
}

/// Policy sees a reference to a secret whatever the client says of it, and the hash
/// that a yes is bound to covers what was found.
#[tokio::test]
async fn a_secret_in_the_prompt_is_seen_by_policy_and_part_of_the_job_hash() {
    let bench = Bench::start().await;
    let policy = "version: v1
rules:
  - {id: no-secrets, match: {secrets_present: true, topics: [job.out]}, decision: deny}
  - {id: tagged, match: {risk_tags: [secrets]}, decision: require_approval}
  - {id: rest, decision: allow}
";
    std::fs::write(&bench.policy, policy).unwrap();
    bench.refresh().await;
    let said = json!({"secrets_present": "false"});
    for (topic, prompt, expected) in [
        ("job.out", "use secret://vault/api", "403 policy_denied"),
        ("job.out", "use what you know", "200"),
    ] {
        let body = json!({"topic": topic, "prompt": prompt, "labels": said});
        assert_eq!(bench.submit(body).await.short(), expected, "{prompt}");
    }
    let body = json!({"topic": "job.in", "context": {"token": "secret://vault/api"}});
    let held = bench.submit(body).await;
    assert_eq!(held.body["status"], "approval_required", "{}", held.body);
    let detail = bench.detail(&held.job_id()).await;
    assert_eq!(detail["labels"]["secrets_present"], "true");
    assert_eq!(detail["risk_tags"], json!(["secrets"]));
    let text = detail["request"].to_string();
    let (mut request, _) = job_request_from_json(text.as_bytes(), Unknown::Refuse).unwrap();
    assert_eq!(detail["safety_job_hash"], job_hash(&request).as_str());
    request.labels.remove("secrets_present");
    assert_ne!(detail["safety_job_hash"], job_hash(&request).as_str());
}

#[tokio::test]
async fn a_body_without_a_length_is_bounded_too() {
    let bench = Bench::start().await;
    let addr = bench.gateway.addr();
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let head = format!(
        "POST /api/v1/jobs HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for _ in 0..40 {
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn strangers_are_refused_before_anything_is_read() {
    let bench = Bench::with(Keyring::shared("s3cret")).await;
    let port = bench.gateway.addr().port();
    let host = format!("localhost:{port}");
    let origin = format!("http://{host}");
    for (headers, expected) in [
        (vec![], "401 unauthorized"),
        (vec![("X-API-Key", "wrong")], "401 unauthorized"),
        (vec![("X-API-Key", "s3cret")], "200"),
        (
            vec![("X-API-Key", "s3cret"), ("Host", "evil.example")],
            "403 foreign_host",
        ),
        (
            vec![("X-API-Key", "s3cret"), ("Origin", "http://evil.example")],
            "403 foreign_origin",
        ),
        (
            vec![
                ("X-API-Key", "s3cret"),
                ("Host", &host),
                ("Origin", &origin),
            ],
            "200",
        ),
    ] {
        let reply = bench.send("GET", "/api/v1/status", &headers, b"").await;
        assert_eq!(reply.short(), expected, "{headers:?}");
    }
    for open in ["/health", "/healthz", "/livez", "/readyz"] {
        let alive = bench.get(open).await;
        assert_eq!(
            (alive.status, &alive.body),
            (200, &json!({"status": "ok"})),
            "{open}"
        );
    }
    let named = bench
        .send("GET", "/nowhere", &[("X-Request-Id", "req-1")], b"")
        .await;
    assert!(named.head.contains("x-request-id: req-1"), "{}", named.head);
}

#[tokio::test]
async fn a_cancel_tells_the_worker_and_ends_the_job_once() {
    let mut bench = Bench::start().await;
    let go = bench
        .submit(json!({"topic":"job.a","labels":{"mcp.action":"read"}}))
        .await;
    bench.heard();
    let path = format!("/api/v1/jobs/{}/cancel", go.job_id());
    let other = bench
        .submit(json!({"topic":"job.a","labels":{"mcp.action":"read"}}))
        .await;
    bench.heard();
    let cancel = format!("/api/v1/jobs/{}/cancel", other.job_id());
    bench.post(&cancel, &json!({})).await;
    let traces = bench
        .packets()
        .into_iter()
        .map(|(_, packet)| packet.trace.to_string());
    let traces: Vec<String> = traces.collect();
    assert_eq!(
        traces,
        [other.job_id(), other.job_id()],
        "as CAP gateways do"
    );
    let body = json!({"reason":"wrong table","requested_by":"oncall-1"});
    let done = bench.post(&path, &body).await;
    assert_eq!(done.body, json!({"id": go.job_id(), "state": "CANCELLED"}));
    assert_eq!(
        bench.heard(),
        [
            "sys.job.cancel job_cancel api-gateway oncall-1 wrong table",
            "sys.job.result job_result api-gateway CANCELLED",
        ]
    );
    let again = bench.post(&path, &Value::Null).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.body["state"], "CANCELLED");
    assert!(again.body["reason"].as_str().unwrap().contains("already"));
    assert_eq!(bench.heard(), Vec::<String>::new());
    let unknown = bench.post(&path, &json!({"why":"x"})).await;
    assert_eq!(unknown.short(), "400 invalid_body");
    let detail = bench.detail(&go.job_id()).await;
    assert_eq!(detail["cancel_requested_by"], "oncall-1");
    assert_eq!(detail["cancel_reason"], "wrong table");
}

#[tokio::test]
async fn an_envelope_keeps_its_ids_its_sender_and_what_its_job_says() {
    let mut bench = Bench::start().await;
    let request = json!({
        "job_id": "job-77", "topic": "job.mcp-bridge.read.get_ticket", "tenant_id": "default",
        "context_ptr": "redis://ctx:job-77",
        "labels": {"mcp.server": "jira", "mcp.tool": "get_ticket", "mcp.action": "read"},
    });
    let envelope = json!({
        "trace_id": "trace-77", "sender_id": "bridge-1", "created_at": "2026-01-01T00:00:00Z",
        "protocol_version": 1, "job_request": request,
    });
    let reply = bench.submit(envelope.clone()).await;
    assert_eq!(
        reply.body,
        json!({"job_id": "job-77", "trace_id": "trace-77"})
    );
    assert_eq!(bench.heard(), ["sys.job.submit job_request bridge-1"]);
    let detail = bench.detail("job-77").await;
    for (name, value) in request["labels"].as_object().unwrap() {
        assert_eq!(detail["labels"][name], *value);
    }
    assert_eq!(detail["context_ptr"], "redis://ctx:job-77");
    assert!(bench.context("job-77").await.is_some());
    let again = bench.submit(envelope).await;
    assert_eq!(again.body["job_id"], "job-77");
    assert_eq!(bench.heard(), Vec::<String>::new());
}

#[tokio::test]
async fn one_job_id_is_one_body() {
    let mut bench = Bench::start().await;
    let body = |topic: &str, prompt: &str| {
        json!({"job_id": "mine", "topic": topic, "labels": {"mcp.action": "read"},
            "prompt": prompt})
    };
    let first = bench.submit(body("job.a", "one")).await;
    bench.heard();
    let again = bench.submit(body("job.a", "one")).await;
    assert_eq!(again.body, first.body);
    for other in [body("job.a", "two"), body("job.b", "one")] {
        let refused = bench.submit(other).await;
        assert_eq!(refused.short(), "409 IDEMPOTENCY_CONFLICT");
        assert_eq!(refused.body["existing_job_id"], "mine");
    }
    assert_eq!(bench.heard(), Vec::<String>::new());
    let detail = bench.detail("mine").await;
    assert_eq!(detail["context"]["prompt"], "one");
}

#[tokio::test]
async fn one_idempotency_key_is_one_job() {
    let mut bench = Bench::start().await;
    let body = json!({"topic":"job.a","labels":{"mcp.action":"read"},"idempotency_key":"k1"});
    let first = bench.submit(body.clone()).await;
    bench.heard();
    let second = bench.submit(body.clone()).await;
    assert_eq!(second.body, first.body);
    assert_eq!(bench.heard(), Vec::<String>::new());
    let other = bench
        .submit(json!({"topic":"job.b","labels":{"mcp.action":"read"},"idempotency_key":"k1"}))
        .await;
    assert_eq!(other.short(), "409 IDEMPOTENCY_CONFLICT");
    assert_eq!(other.body["existing_job_id"], first.body["job_id"]);
    let jobs = bench.get("/api/v1/jobs").await;
    assert_eq!(jobs.body["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_compensation_is_shown_with_its_job() {
    let bench = Bench::start().await;
    let reply = bench
        .submit(json!({
            "topic": "job.mcp.update", "labels": {"mcp.action": "read"}, "workflow_id": "wf-1",
            "compensation": {
                "topic": "job.mcp-bridge.write.revert_ticket",
                "context_ptr": "redis://ctx:x:undo",
                "meta": {"idempotency_key": "x/undo"},
            },
        }))
        .await;
    let detail = bench.detail(&reply.job_id()).await;
    assert_eq!(
        detail["compensation"]["topic"],
        "job.mcp-bridge.write.revert_ticket"
    );
    assert_eq!(detail["compensation"]["context_ptr"], "redis://ctx:x:undo");
    assert_eq!(detail["compensation"]["meta"]["idempotency_key"], "x/undo");
    assert_eq!(detail["workflow_id"], "wf-1");
}

#[tokio::test]
async fn lists_are_filtered_and_paged_without_losing_or_repeating_a_job() {
    let bench = Bench::start().await;
    let mut all = Vec::new();
    for n in 0..12 {
        // Three at a time share an instant.
        if n % 3 == 0 {
            bench.clock.advance(Elapsed::from_secs(1));
        }
        let topic = if n % 2 == 0 { "job.even" } else { "job.odd" };
        let reply = bench
            .submit(json!({"topic": topic, "labels": {"mcp.action": "read"}, "tenant_id": "acme"}))
            .await;
        all.push(reply.job_id());
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for _ in 0..20 {
        let page = bench.get(&format!("/api/v1/jobs?limit=2{cursor}")).await;
        for item in page.body["items"].as_array().unwrap() {
            seen.push(item["id"].as_str().unwrap().to_owned());
        }
        match page.body["next_cursor"].as_i64() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 12);
    seen.sort();
    all.sort();
    assert_eq!(seen, all);
    let count = async |query: &str| {
        let page = bench.get(&format!("/api/v1/jobs?{query}")).await;
        page.body["items"].as_array().unwrap().len()
    };
    assert_eq!(count("topic=job.odd").await, 6);
    assert_eq!(count("tenant=acme&topic=job.even").await, 6);
    assert_eq!(count("tenant=default").await, 0);
    assert_eq!(count("state=PENDING").await, 12);
    assert_eq!(count("state=running").await, 0);
    // A state of the contract, which no job of this plane enters.
    assert_eq!(count("state=OUTPUT_QUARANTINED").await, 0);
    assert_eq!(count("state=output_quarantined&limit=1").await, 0);
    let trace = bench.detail(&all[0]).await["trace_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(count(&format!("trace_id={trace}")).await, 1);
}

#[tokio::test]
async fn whoever_pages_through_approvals_misses_none_that_waits() {
    let bench = Bench::start().await;
    let mut all = Vec::new();
    for n in 0..7 {
        let body = json!({"job_id": format!("p{n}"), "topic": "job.a", "tenant_id": "default",
            "risk_tags": ["prod"], "labels": {"mcp.action": "write"}});
        all.push(bench.submit(body).await.job_id());
    }
    let approve = async |id: &str| {
        let path = format!("/api/v1/approvals/{id}/approve");
        let body = json!({"reason": "it is fine"});
        assert_eq!(bench.post(&path, &body).await.status, 200);
    };
    let ids = |page: &Reply| -> Vec<String> {
        let items = page.body["items"].as_array().unwrap().iter();
        let ids = items.map(|item| item["job"]["id"].as_str().unwrap().to_owned());
        ids.collect()
    };
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/v1/approvals?include_resolved=false&limit=2{cursor}");
        let page = bench.get(&path).await;
        let waiting = ids(&page);
        // What was seen is decided before the next page is asked for.
        for id in &waiting {
            approve(id).await;
        }
        seen.extend(waiting);
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, all);
    let first = bench.get("/api/v1/approvals?limit=4").await;
    let next = first.body["next_cursor"].as_str().unwrap().to_owned();
    let rest = bench.get(&format!("/api/v1/approvals?cursor={next}")).await;
    let mut resolved = [ids(&first), ids(&rest)].concat();
    assert_eq!(rest.body["next_cursor"], Value::Null);
    resolved.sort();
    assert_eq!(resolved, all);
    let before_all = bench.get("/api/v1/approvals?cursor=1000000").await;
    assert_eq!(before_all.body["items"], json!([]));
    let none = bench.get("/api/v1/approvals?cursor=w12").await;
    assert_eq!(none.short(), "400 invalid_parameter");
}

#[tokio::test]
async fn payloads_workers_pools_and_status_have_their_shapes() {
    let bench = Bench::start().await;
    let reply = bench
        .submit(json!({"topic":"job.a","labels":{"mcp.action":"read"},"prompt":"hello"}))
        .await;
    let id = reply.job_id();
    let memory = bench
        .get(&format!("/api/v1/memory?ptr=redis://ctx:{id}"))
        .await;
    assert_eq!(memory.body["kind"], "context");
    assert_eq!(memory.body["key"], format!("ctx:{id}"));
    assert_eq!(memory.body["json"]["prompt"], "hello");
    let stored = bench.context(&id).await.unwrap();
    assert_eq!(memory.body["size_bytes"], stored.len());
    let slash = bench
        .get(&format!("/api/v1/memory?ptr=redis://ctx/{id}"))
        .await;
    assert_eq!(slash.body["key"], format!("ctx:{id}"));
    bench
        .store
        .put("ctx:bin", Bytes::from_static(&[0xff, 0x00]), None)
        .await
        .unwrap();
    let binary = bench.get("/api/v1/memory?key=ctx:bin").await;
    assert_eq!(binary.body["base64"], "/wA=");
    assert_eq!(binary.body["text"], Value::Null);
    bench
        .store
        .put("ctx:empty", Bytes::new(), None)
        .await
        .unwrap();
    let empty = bench.get("/api/v1/memory?key=ctx:empty").await;
    assert_eq!(
        (&empty.body["base64"], &empty.body["size_bytes"]),
        (&json!(""), &json!(0))
    );

    bench.ledger.lock().unwrap().heartbeat(
        Heartbeat {
            worker_id: WorkerId::from("w-1"),
            pool: PoolName::from("batch"),
            kind: "python".to_owned(),
            active_jobs: 1,
            max_parallel_jobs: 4,
            ..Heartbeat::default()
        },
        bench.clock.now(),
    );
    bench.clock.advance(Elapsed::from_millis(2_500));
    let workers = bench.get("/api/v1/workers").await;
    let worker = &workers.body["items"][0];
    assert_eq!(worker["worker_id"], "w-1");
    assert_eq!(worker["type"], "python");
    assert_eq!(worker["heartbeat_age_seconds"], 2.5);
    assert_eq!(worker["online"], true);
    let pools = bench.get("/api/v1/pools").await;
    assert_eq!(pools.body[0]["name"], "batch");
    assert_eq!(pools.body[0]["topics"], json!(["job.batch.*"]));
    assert_eq!(pools.body[0]["capacity"], 4);

    bench.ledger.lock().unwrap().malformed();
    let status = bench.get("/api/v1/status").await.body;
    assert_eq!(status["counters"]["malformed_packets"], 1);
    assert!(
        status["capabilities"]
            .as_array()
            .unwrap()
            .contains(&json!("expect"))
    );
    assert_eq!(status["nats"]["connected"], true);
    assert_eq!(status["redis"]["ok"], true);
    assert_eq!(status["kernel"]["ok"], true);
    assert_eq!(status["pipeline"]["pending"], 1);
    assert_eq!(status["workers"]["count"], 1);
    assert_eq!(status["uptime_seconds"], 2);
    let decisions = bench.get(&format!("/api/v1/jobs/{id}/decisions")).await;
    assert_eq!(decisions.body[0]["decision"], "ALLOW");
    assert_eq!(decisions.body[0]["rule_id"], "read");
}

/// A reason that the console does not know would read "unknown", and no filter would
/// find it.
#[test]
fn the_console_knows_every_reason_to_wait_that_the_plane_gives() {
    for reason in ledger::WaitingOn::ALL {
        let read = WaitingOn::from_name(reason.name());
        let read = read.unwrap_or_else(|| panic!("{} is unknown", reason.name()));
        assert_eq!(read.name(), reason.name());
    }
}

#[tokio::test]
async fn policy_is_asked_without_a_job() {
    let mut bench = Bench::start().await;
    let body = json!({
        "job_id": "j", "topic": "job.mcp.update", "labels": {"mcp.action": "write"},
        "meta": {"risk_tags": ["prod"], "actor_type": "service"}, "priority": 1,
    });
    for verb in ["evaluate", "simulate", "explain"] {
        let said = bench.post(&format!("/api/v1/policy/{verb}"), &body).await;
        assert_eq!(said.status, 200, "{}", said.body);
        assert_eq!(said.body["decision"], "DECISION_TYPE_REQUIRE_HUMAN");
        assert_eq!(said.body["ruleId"], "hold");
        assert_eq!(said.body["approvalRequired"], true);
        assert_eq!(said.body["approvalRef"], "j");
        assert_eq!(said.body["constraints"]["budgets"]["maxRuntimeMs"], "60000");
        assert_eq!(said.body["remediations"][0]["title"], "Read only");
    }
    let rules = bench.get("/api/v1/policy/rules").await;
    assert_eq!(rules.status, 200, "{}", rules.body);
    assert_eq!(rules.body["default_decision"], "deny");
    let listed = rules.body["items"].as_array().unwrap();
    let hold = listed.iter().find(|rule| rule["id"] == "hold").unwrap();
    assert_eq!(hold["decision"], "require_approval");
    assert_eq!(hold["constraints"]["budgets"]["max_runtime_ms"], 60000);
    assert_eq!(hold["tier"], "global");
    assert_eq!(hold["match"], json!({"labels": {"mcp.action": "write"}}));
    assert_eq!(hold["remediations"][0]["id"], "ro");
    assert_eq!(hold["source"], json!({"fragment_id": "policy", "line": 4}));
    let explained = bench.post("/api/v1/policy/explain", &body).await;
    let traced = explained.body["rules"].as_array().unwrap();
    assert_eq!(traced.len(), listed.len(), "each rule is told of");
    let hold = traced.iter().find(|rule| rule["id"] == "hold").unwrap();
    assert_eq!(hold["outcome"], "decides");
    assert_eq!(hold["facts"][0]["holds"], true, "{hold}");
    let nothing = bench
        .post("/api/v1/policy/evaluate", &json!({"topic": "job.x"}))
        .await;
    assert_eq!(nothing.body["decision"], "DECISION_TYPE_DENY");
    assert_eq!(nothing.body["constraints"], Value::Null);
    let unknown = bench
        .post("/api/v1/policy/evaluate", &json!({"tpic": "job.x"}))
        .await;
    assert_eq!(unknown.short(), "400 invalid_body");
    assert_eq!(bench.heard(), Vec::<String>::new());
    let jobs = bench.get("/api/v1/jobs").await;
    assert_eq!(jobs.body["items"], json!([]));
}

#[tokio::test]
async fn evaluating_and_submitting_count_towards_a_rate_and_simulating_does_not() {
    let bench = Bench::start().await;
    let rated = "rules:
  - id: fast
    velocity: {max_requests: 2, window_seconds: 60, key: tenant}
    decision: throttle
    reason: not so fast
  - {id: rest, decision: allow}
";
    std::fs::write(&bench.policy, rated).unwrap();
    bench.kernel.refresh().await;
    let ask = async |verb: &str, job: &str| {
        let body = json!({"job_id": job, "topic": "job.batch.a"});
        let said = bench.post(&format!("/api/v1/policy/{verb}"), &body).await;
        said.body["decision"].as_str().unwrap().to_owned()
    };
    for _ in 0..3 {
        assert_eq!(ask("simulate", "a").await, "DECISION_TYPE_ALLOW");
        assert_eq!(ask("explain", "a").await, "DECISION_TYPE_ALLOW");
    }
    assert_eq!(ask("evaluate", "a").await, "DECISION_TYPE_ALLOW");
    let job = json!({"topic": "job.batch.a"});
    let second = bench.post("/api/v1/jobs", &job).await;
    assert_eq!(second.status, 200, "{}", second.body);
    assert_eq!(ask("simulate", "b").await, "DECISION_TYPE_THROTTLE");
    let third = bench.post("/api/v1/jobs", &job).await;
    assert_eq!(third.short(), "429 throttled");
    assert_eq!(third.body["rule_id"], "fast");
    // What passed passes again, so that the scheduler may ask about it once more.
    assert_eq!(
        ask("evaluate", &second.job_id()).await,
        "DECISION_TYPE_ALLOW"
    );
    bench.clock.advance(Elapsed::from_secs(60));
    let later = bench.post("/api/v1/jobs", &job).await;
    assert_eq!(later.status, 200, "{}", later.body);
}

#[tokio::test]
async fn nothing_is_done_while_the_bus_is_away() {
    let mut bench = Bench::start().await;
    let id = bench.hold().await;
    bench.bus.close(bench.clock.now());
    for (path, body) in [
        ("/api/v1/jobs".to_owned(), r#"{"topic":"job.batch.a"}"#),
        (format!("/api/v1/approvals/{id}/approve"), ""),
        (format!("/api/v1/approvals/{id}/reject"), ""),
        (format!("/api/v1/jobs/{id}/cancel"), ""),
    ] {
        let reply = bench.send("POST", &path, &[], body.as_bytes()).await;
        assert_eq!(reply.short(), "503 bus_unavailable", "{path}");
    }
    assert_eq!(bench.detail(&id).await["state"], "APPROVAL_REQUIRED");
    let jobs = bench.get("/api/v1/jobs").await;
    assert_eq!(jobs.body["items"].as_array().unwrap().len(), 1);
    // It lives, and can take no jobs.
    assert_eq!(bench.get("/livez").await.status, 200);
    let ready = bench.get("/readyz").await;
    assert_eq!(ready.short(), "503 bus_unavailable");
}

#[tokio::test]
async fn an_address_is_taken_once_and_only_loopback_goes_without_a_key() {
    let bench = Bench::start().await;
    let taken = bench.gateway.addr();
    let start = async |listen: SocketAddr, key: Option<&str>, next_free_port| {
        let parts = Parts {
            bus: Arc::new(bench.bus.clone()),
            store: Arc::new(bench.store.clone()),
            clock: Arc::new(bench.clock.clone()),
            ledger: Arc::clone(&bench.ledger),
            kernel: bench.kernel.clone(),
            routes: Arc::default(),
            wake: Arc::default(),
            keeper: None,
        };
        let keys = key.map(Keyring::shared).unwrap_or_default();
        let options = Options {
            listen,
            keys,
            next_free_port,
        };
        Gateway::start(parts, options).await
    };
    let error = start(taken, None, false).await.unwrap_err();
    assert!(matches!(error, GatewayError::Taken { .. }));
    assert_eq!(error.to_string(), format!("the address {taken} is taken"));
    let next = start(taken, None, true).await.unwrap();
    assert!(next.addr().port() > taken.port());
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let error = start(any, None, false).await.unwrap_err();
    assert!(matches!(error, GatewayError::KeyNeeded { .. }));
    assert!(start(any, Some("k"), false).await.is_ok());
}
