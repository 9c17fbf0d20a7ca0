//! Another try by HTTP: dead letters and remediations.

use bytes::Bytes;
use capdeck::control_plane::ledger::Heard;
use capdeck::ids::{JobId, PoolName, WorkerId};
use capdeck::store::Store;
use capdeck::time::{Clock, Elapsed};
use capdeck::wire::packet::{ErrorCode, Heartbeat, JobResult, JobStatus};
use serde_json::{Value, json};

use super::bench::Bench;

/// A job that its worker gave up on.
async fn failed(bench: &mut Bench, body: Value) -> String {
    let id = bench.submit(body).await.job_id();
    let result = JobResult {
        job_id: JobId::from(id.as_str()),
        status: JobStatus::Failed,
        error_code: "E_DISK".to_owned(),
        error_message: "the disk is full".to_owned(),
        error_code_enum: ErrorCode::JobResourceExhausted,
        ..JobResult::default()
    };
    let now = bench.clock.now();
    bench.ledger.lock().unwrap().result(result, now);
    bench.heard();
    id
}

#[tokio::test]
async fn a_job_that_its_worker_refused_has_ended_and_is_tried_again_as_another_one() {
    let mut bench = Bench::start().await;
    let old = bench
        .submit(json!({"topic": "job.a", "labels": {"mcp.action": "read"}}))
        .await
        .job_id();
    bench.heard();
    let said = |status| {
        let result = JobResult {
            job_id: JobId::from(old.as_str()),
            status,
            worker_id: WorkerId::from("w1"),
            error_message: "not on this host".to_owned(),
            ..JobResult::default()
        };
        let now = bench.clock.now();
        bench.ledger.lock().unwrap().result(result, now)
    };
    let worker = Heartbeat {
        worker_id: WorkerId::from("w1"),
        pool: PoolName::from("default"),
        max_parallel_jobs: 1,
        ..Heartbeat::default()
    };
    let now = bench.clock.now();
    bench.ledger.lock().unwrap().heartbeat(worker, now);
    bench.clock.advance(Elapsed::from_secs(2));
    let did = bench.schedule().await;
    assert_eq!(did, [format!("asked {old}"), format!("dispatched {old}")]);
    assert_eq!(said(JobStatus::Denied), Heard::Taken);
    assert_eq!(said(JobStatus::Succeeded), Heard::Late);
    let detail = bench.detail(&old).await;
    assert_eq!(detail["state"], "DENIED");
    assert_eq!(detail["error_message"], "not on this host");
    let letters = bench.get("/api/v1/dlq").await;
    assert_eq!(letters.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(letters.body["items"][0]["status"], "JOB_STATUS_DENIED");
    assert_eq!(letters.body["items"][0]["last_state"], "RUNNING");

    let retried = bench
        .post(&format!("/api/v1/dlq/{old}/retry"), &Value::Null)
        .await;
    assert_eq!(retried.status, 200, "{}", retried.body);
    bench.clock.advance(Elapsed::from_secs(2));
    // The only slot is free for it.
    let new = retried.job_id();
    let did = bench.schedule().await;
    assert_eq!(did, [format!("asked {new}"), format!("dispatched {new}")]);
    assert_eq!(bench.detail(&old).await["state"], "DENIED");
}

#[tokio::test]
async fn a_dead_letter_is_retried_as_a_new_job_with_all_that_described_the_old_one() {
    let mut bench = Bench::start().await;
    let old = failed(
        &mut bench,
        json!({
            "topic": "job.a", "prompt": "hello", "tenant_id": "acme", "idempotency_key": "k1",
            "labels": {"mcp.action": "read", "team": "ops"}, "risk_tags": ["prod"],
            "capability": "search", "requires": ["gpu"], "pack_id": "p1", "actor_id": "agent-7",
            "actor_type": "service", "deadline_ms": 60_000, "max_total_tokens": 9,
            "workflow_id": "wf-1", "step_index": 2,
            "compensation": {"topic": "job.undo", "meta": {"idempotency_key": "u1"}},
        }),
    )
    .await;
    let letters = bench.get("/api/v1/dlq").await;
    let letter = &letters.body["items"][0];
    assert_eq!(letter["reason_code"], "E_DISK");
    assert_eq!(letter["status"], "JOB_STATUS_FAILED");

    let retried = bench
        .post(&format!("/api/v1/dlq/{old}/retry"), &Value::Null)
        .await;
    assert_eq!(retried.status, 200, "{}", retried.body);
    let new = retried.job_id();
    let suffix = new.strip_prefix(&format!("{old}-retry-")).unwrap();
    assert!(suffix.len() == 8 && suffix.bytes().all(|it| it.is_ascii_hexdigit()));
    assert_eq!(retried.body["trace_id"], format!("dlq-retry-{old}"));
    assert_eq!(
        bench.heard(),
        ["sys.job.submit job_request api-gateway-http"]
    );

    let detail = bench.detail(&new).await;
    assert_eq!(
        detail["labels"],
        json!({"_source": "api", "mcp.action": "read", "team": "ops", "retry": "true",
               "dlq_entry": old, "retry_of_job": old})
    );
    assert_eq!(detail["tenant"], "acme");
    assert_eq!(detail["risk_tags"], json!(["prod"]));
    assert_eq!(detail["idempotency_key"], "k1");
    // The stored request says what the worker and an undo get.
    let before = bench.detail(&old).await["request"].clone();
    for name in [
        "meta",
        "budget",
        "workflowId",
        "stepIndex",
        "compensation",
        "tenantId",
    ] {
        assert_eq!(detail["request"][name], before[name], "{name}");
        assert!(!before[name].is_null(), "{name} is told");
    }
    let meta = &detail["request"]["meta"];
    assert_eq!(meta["capability"], "search");
    assert_eq!(meta["requires"], json!(["gpu"]));
    assert_eq!(meta["packId"], "p1");
    assert_eq!(meta["actorId"], "agent-7");
    assert_eq!(meta["actorType"], "ACTOR_TYPE_SERVICE");
    assert_eq!(detail["request"]["budget"]["deadlineMs"], "60000");
    assert_eq!(detail["request"]["compensation"]["topic"], "job.undo");
    assert_eq!(detail["workflow_id"], "wf-1");
    assert_eq!(detail["context"]["prompt"], "hello");
    assert_eq!(detail["context_ptr"], format!("redis://ctx:{new}"));
    assert_eq!(bench.context(&new).await, bench.context(&old).await);
    let letters = bench.get("/api/v1/dlq").await;
    assert_eq!(letters.body["items"], json!([]));
    let again = bench
        .post(&format!("/api/v1/dlq/{old}/retry"), &Value::Null)
        .await;
    assert_eq!(again.short(), "404 dlq_entry_not_found");
}

#[tokio::test]
async fn what_was_granted_to_a_job_is_not_granted_to_its_retry() {
    let mut bench = Bench::start().await;
    let old = bench.hold().await;
    let path = format!("/api/v1/approvals/{old}/approve");
    assert_eq!(bench.post(&path, &Value::Null).await.status, 200);
    let result = JobResult {
        job_id: JobId::from(old.as_str()),
        status: JobStatus::Failed,
        ..JobResult::default()
    };
    let now = bench.clock.now();
    bench.ledger.lock().unwrap().result(result, now);
    bench.heard();
    let retried = bench
        .post(&format!("/api/v1/dlq/{old}/retry"), &Value::Null)
        .await;
    assert_eq!(retried.body["status"], "approval_required");
    let detail = bench.detail(&retried.job_id()).await;
    assert_eq!(detail["state"], "APPROVAL_REQUIRED");
    for granted in ["approval_granted", "approval_snapshot", "cordum.bus_msg_id"] {
        assert_eq!(detail["labels"][granted], Value::Null, "{granted}");
    }
    assert_eq!(bench.heard(), Vec::<String>::new());
}

#[tokio::test]
async fn a_retry_that_policy_does_not_take_now_leaves_the_letter() {
    let mut bench = Bench::start().await;
    let old = failed(
        &mut bench,
        json!({"topic": "job.a", "labels": {"mcp.action": "read"}}),
    )
    .await;
    let policy =
        super::bench::POLICY.replace("decision: allow, reason", "decision: throttle, reason");
    std::fs::write(&bench.policy, policy).unwrap();
    bench.refresh().await;
    let path = format!("/api/v1/dlq/{old}/retry");
    let not_now = bench.post(&path, &Value::Null).await;
    assert_eq!(not_now.short(), "429 throttled");
    let letters = bench.get("/api/v1/dlq").await;
    assert_eq!(letters.body["items"][0]["job_id"], old);
    // Nothing came of it, but it is on record.
    let log = bench
        .get("/api/v1/governance/decisions?verdict=throttle")
        .await;
    assert_eq!(log.body["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn dead_letters_are_paged_and_deleted() {
    let mut bench = Bench::start().await;
    let mut all = Vec::new();
    for n in 0..5 {
        if n % 2 == 0 {
            bench.clock.advance(Elapsed::from_secs(1));
        }
        let body = json!({"topic": "job.a", "labels": {"mcp.action": "read"}});
        all.push(failed(&mut bench, body).await);
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/v1/dlq/page?limit=1{cursor}");
        let page = bench.get(&path).await;
        for item in page.body["items"].as_array().unwrap() {
            seen.push(item["job_id"].as_str().unwrap().to_owned());
        }
        match page.body["next_cursor"].as_i64() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    seen.reverse();
    assert_eq!(seen, all);

    let path = format!("/api/v1/dlq/{}", all[0]);
    let gone = bench.send("DELETE", &path, &[], b"").await;
    assert_eq!((gone.status, &gone.body), (204, &Value::Null));
    let again = bench.send("DELETE", &path, &[], b"").await;
    assert_eq!(again.short(), "404 dlq_entry_not_found");
    let left = bench.get("/api/v1/dlq").await;
    assert_eq!(left.body["items"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn a_job_is_remedied_as_policy_offered() {
    let mut bench = Bench::start().await;
    let id = bench.hold().await;
    bench
        .store
        .put(&format!("ctx:{id}"), Bytes::from_static(b"{\"a\":1}"), None)
        .await
        .unwrap();
    let path = format!("/api/v1/jobs/{id}/remediate");
    for (body, expected) in [
        (json!({}), "400 invalid_field"),
        (json!({"remediation": "ro"}), "400 invalid_body"),
        (
            json!({"remediation_id": "nope"}),
            "404 remediation_not_found",
        ),
    ] {
        assert_eq!(bench.post(&path, &body).await.short(), expected);
    }
    let nobody = bench
        .post(
            "/api/v1/jobs/nope/remediate",
            &json!({"remediation_id": "ro"}),
        )
        .await;
    assert_eq!(nobody.short(), "404 job_not_found");
    let plain = bench
        .submit(json!({"topic": "job.a", "labels": {"mcp.action": "read"}}))
        .await;
    let none = bench
        .post(
            &format!("/api/v1/jobs/{}/remediate", plain.job_id()),
            &json!({"remediation_id": "ro"}),
        )
        .await;
    assert_eq!(none.short(), "409 no_remediations");
    bench.heard();

    let remedied = bench.post(&path, &json!({"remediation_id": "ro"})).await;
    assert_eq!(remedied.status, 200, "{}", remedied.body);
    let detail = bench.detail(&remedied.job_id()).await;
    assert_eq!(detail["labels"]["remediation_of"], id);
    assert_eq!(detail["labels"]["remediation_id"], "ro");
    assert_eq!(detail["parent_job_id"], id);
    assert_eq!(detail["context"], json!({"a": 1}));
    assert_eq!(bench.detail(&id).await["state"], "APPROVAL_REQUIRED");
}

#[tokio::test]
async fn one_key_is_one_body_whatever_its_spelling() {
    let bench = Bench::start().await;
    let first = bench
        .send(
            "POST",
            "/api/v1/jobs",
            &[],
            br#"{"topic":"job.a","labels":{"mcp.action":"read"},"prompt":"x","idempotency_key":"k"}"#,
        )
        .await;
    let same = br#"{ "idempotency_key":"k", "prompt":"x", "labels":{"mcp.action":"read"}, "topic":"job.a" }"#;
    let same = bench.send("POST", "/api/v1/jobs", &[], same).await;
    assert_eq!(same.body, first.body);
    for other in [
        json!({"topic":"job.a","labels":{"mcp.action":"read"},"prompt":"y","idempotency_key":"k"}),
        json!({"topic":"job.a","labels":{"mcp.action":"write"},"prompt":"x","idempotency_key":"k"}),
    ] {
        let refused = bench.submit(other).await;
        assert_eq!(refused.short(), "409 IDEMPOTENCY_CONFLICT");
        assert_eq!(refused.body["existing_job_id"], first.body["job_id"]);
    }
    let elsewhere = bench
        .submit(
            json!({"topic":"job.a","labels":{"mcp.action":"read"},"prompt":"y",
                       "idempotency_key":"k","tenant_id":"other"}),
        )
        .await;
    assert_eq!(elsewhere.status, 200);
    assert_ne!(elsewhere.body["job_id"], first.body["job_id"]);
}

#[tokio::test]
async fn a_cancel_of_a_parent_is_seen_on_its_children() {
    let bench = Bench::start().await;
    let read = |parent: &str| json!({"topic": "job.a", "labels": {"mcp.action": "read"}, "parent_job_id": parent});
    let parent = bench.submit(read("")).await.job_id();
    let child = bench.submit(read(&parent)).await.job_id();
    let path = format!("/api/v1/jobs/{parent}/cancel");
    let body = json!({"requested_by": "oncall-1"});
    assert_eq!(bench.post(&path, &body).await.status, 200);
    let child = bench.detail(&child).await;
    assert_eq!(child["state"], "CANCELLED");
    assert_eq!(child["cancel_requested_by"], "oncall-1");
    assert_eq!(
        child["cancel_reason"],
        format!("its parent {parent} was cancelled")
    );
}
