//! Decisions by HTTP: what they are bound to, and that each counts once.

use bytes::Bytes;
use capdeck::control_plane::gateway::Keyring;
use capdeck::control_plane::ledger::Submission;
use capdeck::ids::JobId;
use capdeck::store::Store;
use capdeck::time::{Clock, Elapsed};
use capdeck::wire::job_hash;
use capdeck::wire::job_hash::sha256_hex;
use capdeck::wire::json::{Unknown, job_request_from_json};
use capdeck::wire::packet::{Body, JobRequest, JobResult, JobStatus};
use serde_json::{Value, json};

use super::bench::{Bench, POLICY, call};

#[tokio::test]
async fn a_yes_puts_the_job_back_on_the_bus_with_the_labels_of_its_approval() {
    let mut bench = Bench::start().await;
    let id = bench.hold().await;
    let open = bench.get("/api/v1/approvals?include_resolved=false").await;
    let item = &open.body["items"][0];
    assert_eq!(item["job"]["id"], id);
    assert_eq!(item["decision"], "REQUIRE_APPROVAL");
    assert_eq!(item["policy_rule_id"], "hold");
    assert_eq!(item["approval_status"], "pending");
    assert_eq!(item["approval_actionability"], "actionable");
    assert_eq!(item["approval_ref"], id);
    let detail = bench.detail(&id).await;
    assert_eq!(item["job_hash"], detail["safety_job_hash"]);
    // Anybody can compute the hash from what the gateway shows.
    let (request, _) =
        job_request_from_json(detail["request"].to_string().as_bytes(), Unknown::Refuse).unwrap();
    assert_eq!(item["job_hash"], job_hash::job_hash(&request).as_str());

    let path = format!("/api/v1/approvals/{id}/approve");
    let yes = bench
        .send(
            "POST",
            &path,
            &[("X-Principal-Id", "oncall-1")],
            br#"{"note":"in the window"}"#,
        )
        .await;
    assert_eq!(yes.status, 200, "{}", yes.body);
    assert_eq!(
        yes.body,
        json!({"job_id": id, "trace_id": detail["trace_id"]})
    );
    assert_eq!(bench.heard(), ["sys.job.submit job_request api-gateway"]);
    let detail = bench.detail(&id).await;
    assert_eq!(detail["state"], "PENDING");
    assert_eq!(detail["approval_by"], "oncall-1");
    assert_eq!(detail["approval_note"], "in the window");
    assert_eq!(detail["labels"]["approval_granted"], "true");
    assert_eq!(detail["labels"]["approval_note"], "in the window");
    assert_eq!(
        detail["labels"]["cordum.bus_msg_id"],
        format!("approval:{id}")
    );
    assert_eq!(
        detail["labels"]["approval_snapshot"],
        item["policy_snapshot"]
    );

    for again in ["approve", "reject"] {
        let path = format!("/api/v1/approvals/{id}/{again}");
        let again = bench.post(&path, &Value::Null).await;
        assert_eq!(again.short(), "409 approval_already_resolved");
        assert_eq!(again.body["resolved_by"], "oncall-1");
    }
    assert_eq!(bench.heard(), Vec::<String>::new());
    let open = bench.get("/api/v1/approvals?include_resolved=false").await;
    assert_eq!(open.body["items"], json!([]));
    let all = bench.get("/api/v1/approvals").await;
    assert_eq!(all.body["items"][0]["resolution"], "approved");
    assert_eq!(all.body["items"][0]["resolved_comment"], "in the window");
}

#[tokio::test]
async fn a_no_ends_the_job_as_a_dead_letter() {
    let mut bench = Bench::start().await;
    let id = bench.hold().await;
    let no = bench
        .post(
            &format!("/api/v1/approvals/{id}/reject"),
            &json!({"reason":"not today"}),
        )
        .await;
    assert_eq!(no.status, 200, "{}", no.body);
    assert_eq!(no.body, json!({ "job_id": id }));
    assert_eq!(
        bench.heard(),
        ["sys.job.dlq job_result api-gateway DENIED approval_rejected"]
    );
    let detail = bench.detail(&id).await;
    assert_eq!(detail["state"], "DENIED");
    assert_eq!(detail["error_message"], "not today");
    let dead = bench.get("/api/v1/dlq").await;
    assert_eq!(dead.body["items"][0]["reason_code"], "approval_rejected");
}

#[tokio::test]
async fn a_yes_is_bound_to_what_was_seen() {
    let mut bench = Bench::start().await;
    let id = bench.hold().await;
    let path = format!("/api/v1/approvals/{id}/approve");
    let detail = bench.detail(&id).await;
    let digest = sha256_hex(&bench.context(&id).await.unwrap());
    for (expect, expected) in [
        (json!({"job_hash": "00"}), "409 approval_stale_request"),
        (
            json!({"policy_snapshot": "v0:00"}),
            "409 approval_stale_snapshot",
        ),
        (
            json!({"context_sha256": "00"}),
            "409 approval_stale_request",
        ),
    ] {
        let reply = bench.post(&path, &json!({ "expect": expect })).await;
        assert_eq!(reply.short(), expected, "{expect}");
        let says = reply.body["error"].as_str().unwrap();
        assert!(says.ends_with("is not the one that was seen"), "{says}");
    }
    let key = format!("ctx:{id}");
    bench
        .store
        .put(&key, Bytes::from_static(b"something else"), None)
        .await
        .unwrap();
    let expect = json!({
        "job_hash": detail["safety_job_hash"],
        "policy_snapshot": detail["safety_snapshot"],
        "context_sha256": digest,
    });
    let moved = bench.post(&path, &json!({ "expect": expect })).await;
    assert_eq!(moved.short(), "409 approval_stale_request");
    assert_eq!(bench.detail(&id).await["state"], "APPROVAL_REQUIRED");
    let now = sha256_hex(b"something else");
    let expect = json!({
        "job_hash": detail["safety_job_hash"],
        "policy_snapshot": detail["safety_snapshot"],
        "context_sha256": now.to_uppercase(),
    });
    let yes = bench.post(&path, &json!({ "expect": expect })).await;
    assert_eq!(yes.status, 200, "{}", yes.body);
}

#[tokio::test]
async fn a_policy_that_was_edited_since_is_looked_at_before_the_yes() {
    let mut bench = Bench::start().await;
    let id = bench.hold().await;
    std::fs::write(&bench.policy, POLICY.replace("v1", "v2")).unwrap();
    let path = format!("/api/v1/approvals/{id}/approve");
    let stale = bench.post(&path, &Value::Null).await;
    assert_eq!(stale.short(), "409 approval_stale_snapshot");
    let moved = bench.get("/api/v1/approvals").await;
    assert_eq!(moved.body["items"][0]["snapshot_current"], false);
    let known = bench.get("/api/v1/policy/snapshots").await;
    let versions: Vec<&str> = known.body["snapshots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|snapshot| &snapshot.as_str().unwrap()[..3])
        .collect();
    assert_eq!(versions, ["v2:", "v1:"]);
    // Edited back, it is the policy that asked.
    std::fs::write(&bench.policy, POLICY).unwrap();
    *bench.kernel.down.lock().unwrap() = true;
    let away = bench.post(&path, &Value::Null).await;
    assert_eq!(away.short(), "503 kernel_unavailable");
    *bench.kernel.down.lock().unwrap() = false;
    let yes = bench.post(&path, &Value::Null).await;
    assert_eq!(yes.status, 200, "{}", yes.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_yeses_at_once_one_counts() {
    let mut bench = Bench::start().await;
    let id = bench.hold().await;
    let path = format!("/api/v1/approvals/{id}/approve");
    let addr = bench.gateway.addr();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let path = path.clone();
        calls.spawn(async move { call(addr, "POST", &path, &[], b"{}").await.short() });
    }
    let mut answers = calls.join_all().await;
    answers.sort();
    assert_eq!(answers[0], "200");
    assert!(
        answers[1..]
            .iter()
            .all(|it| it == "409 approval_already_resolved")
    );
    assert_eq!(answers.len(), 50);
    assert_eq!(bench.heard(), ["sys.job.submit job_request api-gateway"]);
}

#[tokio::test]
async fn where_callers_have_a_key_nobody_decides_about_their_own_job() {
    let bench = Bench::with(Keyring::shared("k")).await;
    let alice = [("X-API-Key", "k"), ("X-Principal-Id", "alice")];
    let bob = [("X-API-Key", "k"), ("X-Principal-Id", "bob")];
    let body = br#"{"topic":"job.a","labels":{"mcp.action":"write"}}"#;
    let held = bench.send("POST", "/api/v1/jobs", &alice, body).await;
    let id = held.job_id();
    for verb in ["approve", "reject"] {
        let path = format!("/api/v1/approvals/{id}/{verb}");
        let own = bench.send("POST", &path, &alice, b"").await;
        assert_eq!(own.short(), "403 self_approval_denied");
    }
    let path = format!("/api/v1/approvals/{id}/approve");
    assert_eq!(bench.send("POST", &path, &bob, b"").await.status, 200);
}

/// The packet is what the scheduler and every observer get to see of a yes.
#[tokio::test]
async fn the_packet_of_a_yes_carries_its_labels_and_the_hash_that_was_held() {
    let mut bench = Bench::start().await;
    let id = bench.hold().await;
    let asked = bench.detail(&id).await;
    bench.clock.advance(Elapsed::from_secs(7));
    let path = format!("/api/v1/approvals/{id}/approve");
    let said = br#"{"reason":"ticket OPS-1","note":"in the window"}"#;
    let yes = bench
        .send("POST", &path, &[("X-Principal-Id", "oncall-1")], said)
        .await;
    assert_eq!(yes.status, 200, "{}", yes.body);
    let packets = bench.packets();
    let [(subject, packet)] = &packets[..] else {
        panic!("not one packet: {packets:?}");
    };
    assert_eq!(subject.as_str(), "sys.job.submit");
    assert_eq!(packet.sender.as_str(), "api-gateway");
    assert_eq!(packet.trace.as_str(), asked["trace_id"]);
    let Body::JobRequest(request) = &packet.body else {
        panic!("not a request: {packet:?}");
    };
    assert_eq!(request.job_id.as_str(), id);
    let snapshot = asked["safety_snapshot"].as_str().unwrap();
    let message = format!("approval:{id}");
    let labels: Vec<(&str, &str)> = request
        .labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        labels,
        [
            ("_source", "api"),
            ("approval_granted", "true"),
            ("approval_note", "in the window"),
            ("approval_reason", "ticket OPS-1"),
            ("approval_snapshot", snapshot),
            ("cordum.bus_msg_id", &message),
            ("mcp.action", "write"),
        ]
    );
    assert_eq!(
        asked["safety_job_hash"],
        job_hash::job_hash(request).as_str()
    );

    let detail = bench.detail(&id).await;
    assert_eq!(detail["approval_by"], "oncall-1");
    assert_eq!(detail["approval_reason"], "ticket OPS-1");
    assert_eq!(detail["approval_note"], "in the window");
    assert_eq!(detail["approval_at"], 1_767_225_607_000_000_i64);
    assert_eq!(detail["approval_policy_snapshot"], snapshot);
    assert_eq!(detail["approval_job_hash"], asked["safety_job_hash"]);
}

#[tokio::test]
async fn nobody_decides_about_a_job_from_the_bus_that_names_them_as_its_principal() {
    let bench = Bench::with(Keyring::shared("k")).await;
    let request = JobRequest {
        job_id: JobId::from("j1"),
        topic: "job.a".to_owned(),
        principal_id: "ada".to_owned(),
        labels: [("mcp.action".to_owned(), "write".to_owned())].into(),
        ..JobRequest::default()
    };
    let submission = Submission {
        request,
        ..Submission::default()
    };
    let now = bench.clock.now();
    bench
        .ledger
        .lock()
        .unwrap()
        .submit(submission, now)
        .unwrap();
    assert_eq!(bench.schedule().await, ["asked j1"]);
    for verb in ["approve", "reject"] {
        let path = format!("/api/v1/approvals/j1/{verb}");
        let ada = [("X-API-Key", "k"), ("X-Principal-Id", "ada")];
        let own = bench.send("POST", &path, &ada, b"").await;
        assert_eq!(own.short(), "403 self_approval_denied", "{verb}");
    }
    let bob = [("X-API-Key", "k"), ("X-Principal-Id", "bob")];
    let path = "/api/v1/approvals/j1/approve";
    assert_eq!(bench.send("POST", path, &bob, b"").await.status, 200);
}

#[tokio::test]
async fn a_yes_for_a_workflow_that_has_failed_is_refused_and_names_it() {
    let bench = Bench::start().await;
    let step = |action: &str| {
        json!({"topic": "job.a", "workflow_id": "wf-1", "labels": {"mcp.action": action},
               "compensation": {"topic": "job.undo"}})
    };
    let held = bench.submit(step("write")).await.job_id();
    let failed = bench.submit(step("read")).await.job_id();
    let result = JobResult {
        job_id: JobId::from(failed),
        status: JobStatus::FailedFatal,
        ..JobResult::default()
    };
    let now = bench.clock.now();
    bench.ledger.lock().unwrap().result(result, now);
    let path = format!("/api/v1/approvals/{held}/approve");
    let late = bench.post(&path, &Value::Null).await;
    assert_eq!(late.short(), "409 approval_terminal_run");
    assert_eq!(late.body["workflow_id"], "wf-1");
    assert_eq!(bench.detail(&held).await["state"], "APPROVAL_REQUIRED");
}
