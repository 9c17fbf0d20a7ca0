//! Who may do what, and with which tenant's jobs.

use capdeck::control_plane::gateway::Keyring;
use capdeck::ids::JobId;
use capdeck::time::Clock;
use capdeck::wire::packet::{JobResult, JobStatus};
use serde_json::{Value, json};

use super::bench::{Bench, Reply};

const RING: &str =
    "acme:ka:admin:ada, acme:ku:user:uma, acme:kv:viewer, other:ko:admin:otto, *:kx:admin:xena";

async fn call(bench: &Bench, key: &str, method: &str, path: &str, body: Value) -> Reply {
    let path = format!("/api/v1{path}");
    let text = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let headers = [("X-API-Key", key), ("X-Principal-Id", "mallory")];
    bench.send(method, &path, &headers, text.as_bytes()).await
}

#[tokio::test]
async fn each_role_may_do_what_it_is_for() {
    let bench = Bench::with(Keyring::parse(RING).unwrap()).await;
    let read = json!({"topic": "job.a", "labels": {"mcp.action": "read"}});
    let refused = call(&bench, "kv", "POST", "/jobs", read.clone()).await;
    assert_eq!(refused.short(), "403 forbidden");
    assert_eq!(refused.body["reason"], "key_scope_insufficient");
    assert_eq!(
        (&refused.body["required"], &refused.body["granted"]),
        (&json!("user"), &json!("viewer"))
    );
    let job = call(&bench, "ku", "POST", "/jobs", read).await;
    assert_eq!(job.status, 200, "{}", job.body);
    let seen = call(
        &bench,
        "kv",
        "GET",
        &format!("/jobs/{}", job.job_id()),
        Value::Null,
    )
    .await;
    assert_eq!(seen.body["tenant"], "acme");
    // The key says who it was, whatever the header says.
    assert_eq!(seen.body["submitted_by"], "uma");
    assert_eq!(seen.body["principal"], "uma");
    let held = json!({"topic": "job.a", "labels": {"mcp.action": "write"}});
    let held = call(&bench, "ku", "POST", "/jobs", held).await.job_id();
    let approve = format!("/approvals/{held}/approve");
    let refused = call(&bench, "ku", "POST", &approve, Value::Null).await;
    assert_eq!(refused.short(), "403 forbidden");
    let yes = call(&bench, "ka", "POST", &approve, Value::Null).await;
    assert_eq!(yes.status, 200, "{}", yes.body);
    let detail = call(&bench, "kv", "GET", &format!("/jobs/{held}"), Value::Null).await;
    assert_eq!(detail.body["approval_by"], "ada");
    assert_eq!(detail.body["approval_role"], "admin");
}

#[tokio::test]
async fn the_principal_of_a_key_holds_whatever_the_body_says_unless_it_is_an_admins() {
    let ring = "acme:kann:user:ann, acme:kany:user, acme:kboss:admin:boss, acme:kada:admin:ada";
    let bench = Bench::with(Keyring::parse(ring).unwrap()).await;
    let policy = "version: v1
default_decision: deny
rules:
  - {id: undo, match: {topics: [job.undo]}, decision: allow}
  - {id: boss, match: {actor_ids: [boss], topics: [job.a]}, decision: require_approval}
";
    std::fs::write(&bench.policy, policy).unwrap();
    bench.refresh().await;
    let job = json!({
        "topic": "job.a", "principal_id": "boss",
        "compensation": {"topic": "job.undo", "principal_id": "boss"},
    });
    for (key, expected) in [
        ("kann", "403 policy_denied"),
        ("kany", "200"),
        ("kada", "200"),
    ] {
        let reply = call(&bench, key, "POST", "/jobs", job.clone()).await;
        assert_eq!(reply.short(), expected, "{key}: {}", reply.body);
        let id = reply.job_id();
        let seen = call(&bench, key, "GET", &format!("/jobs/{id}"), Value::Null).await;
        let (principal, undo) = match key {
            "kann" => ("ann", Value::Null),
            _ => ("boss", json!("boss")),
        };
        assert_eq!(seen.body["principal"], principal, "{key}");
        let compensation = &seen.body["request"]["compensation"];
        assert_eq!(compensation["topic"], "job.undo", "{key}: {}", seen.body);
        assert_eq!(compensation["principalId"], undo, "{key}: {}", seen.body);
    }

    let held = json!({"topic": "job.a", "principal_id": "boss"});
    for (key, by) in [("kann", "ann"), ("kany", "boss"), ("kada", "boss")] {
        let id = call(&bench, "kada", "POST", "/jobs", held.clone()).await;
        let path = format!("/jobs/{}", id.job_id());
        let wish = json!({"requested_by": "boss"});
        let reply = call(&bench, key, "POST", &format!("{path}/cancel"), wish).await;
        assert_eq!(reply.short(), "200", "{key}: {}", reply.body);
        let seen = call(&bench, key, "GET", &path, Value::Null).await;
        assert_eq!(seen.body["cancel_requested_by"], by, "{key}");
    }
}

#[tokio::test]
async fn nobody_decides_with_the_key_they_asked_with() {
    let ring = "acme:k1:admin, acme:k2:admin:ada, acme:k3:admin:ada, acme:k4:admin:bob";
    let bench = Bench::with(Keyring::parse(ring).unwrap()).await;
    let held = json!({"topic": "job.a", "labels": {"mcp.action": "write"}});
    for (asks, decides, expected) in [
        ("k1", "k1", "403 self_approval_denied"),
        ("k2", "k3", "403 self_approval_denied"),
        ("k2", "k4", "200"),
    ] {
        let id = call(&bench, asks, "POST", "/jobs", held.clone())
            .await
            .job_id();
        let path = format!("/approvals/{id}/approve");
        let reply = call(&bench, decides, "POST", &path, Value::Null).await;
        assert_eq!(reply.short(), expected, "{asks} {decides}");
    }
}

#[tokio::test]
async fn a_key_of_one_tenant_neither_sees_nor_moves_what_is_another_ones() {
    let bench = Bench::with(Keyring::parse(RING).unwrap()).await;
    let job = |tenant: &str| json!({"topic": "job.a", "labels": {"mcp.action": "write"}, "tenant_id": tenant});
    let foreign = call(&bench, "ka", "POST", "/jobs", job("other")).await;
    assert_eq!(foreign.short(), "403 tenant_access_denied");
    let smuggled = json!({"job_id": "s", "topic": "job.a", "tenant_id": "acme", "env": {"tenant_id": "other"}});
    let smuggled = call(&bench, "ka", "POST", "/jobs", smuggled).await;
    assert_eq!(smuggled.short(), "403 tenant_access_denied");
    for undo in [
        json!({"topic": "job.a", "tenant_id": "other"}),
        json!({"topic": "job.a", "meta": {"tenant_id": "other"}}),
        json!({"topic": "job.a", "env": {"tenant_id": "other"}}),
    ] {
        let body = json!({"topic": "job.a", "compensation": undo});
        let undone_as_another = call(&bench, "ka", "POST", "/jobs", body).await;
        assert_eq!(undone_as_another.short(), "403 tenant_access_denied");
    }

    let id = call(&bench, "ka", "POST", "/jobs", job("")).await.job_id();
    let denied = json!({"topic": "job.nowhere"});
    let dead = call(&bench, "ka", "POST", "/jobs", denied).await.job_id();
    for (method, path) in [
        ("GET", format!("/jobs/{id}")),
        ("GET", format!("/jobs/{id}/decisions")),
        ("GET", format!("/approvals/{id}/context")),
        ("POST", format!("/jobs/{id}/cancel")),
        ("POST", format!("/approvals/{id}/approve")),
        ("POST", format!("/approvals/{id}/reject")),
        ("POST", format!("/dlq/{dead}/retry")),
        ("DELETE", format!("/dlq/{dead}")),
        ("GET", format!("/memory?key=ctx:{id}")),
    ] {
        let reply = call(&bench, "ko", method, &path, Value::Null).await;
        assert_eq!(reply.short(), "403 tenant_access_denied", "{method} {path}");
    }
    let own = call(
        &bench,
        "ka",
        "GET",
        &format!("/memory?key=ctx:{id}"),
        Value::Null,
    )
    .await;
    assert_eq!(own.body["kind"], "context");
    let other_key = call(&bench, "ka", "GET", "/memory?key=mem:notes", Value::Null).await;
    assert_eq!(other_key.short(), "403 tenant_access_denied");
    let remedy = json!({"remediation_id": "ro"});
    let path = format!("/jobs/{id}/remediate");
    let reply = call(&bench, "ko", "POST", &path, remedy).await;
    assert_eq!(reply.short(), "403 tenant_access_denied");
    for (path, mine) in [
        ("/jobs", 2),
        ("/approvals", 1),
        ("/dlq", 1),
        ("/dlq/page", 1),
        ("/governance/decisions", 2),
    ] {
        for (key, expected) in [("ka", mine), ("ko", 0), ("kx", mine)] {
            let reply = call(&bench, key, "GET", path, Value::Null).await;
            let items = reply.body["items"].as_array().unwrap().len();
            assert_eq!(items, expected, "{key} {path}");
        }
    }
}

#[tokio::test]
async fn a_rollback_is_shown_to_the_tenant_whose_work_is_undone() {
    let bench = Bench::with(Keyring::parse(RING).unwrap()).await;
    let job = json!({
        "topic": "job.a", "workflow_id": "wf-1", "labels": {"mcp.action": "read"},
        "compensation": {"topic": "job.undo"},
    });
    let id = call(&bench, "ka", "POST", "/jobs", job).await.job_id();
    let result = JobResult {
        job_id: JobId::from(id.as_str()),
        status: JobStatus::FailedFatal,
        ..JobResult::default()
    };
    let now = bench.clock.now();
    bench.ledger.lock().unwrap().result(result, now);
    for (key, one, all) in [
        ("ka", "200", 1),
        ("ko", "403 tenant_access_denied", 0),
        ("kx", "200", 1),
    ] {
        let path = "/workflows/wf-1/rollback";
        let reply = call(&bench, key, "GET", path, Value::Null).await;
        assert_eq!(reply.short(), one, "{key}");
        let reply = call(&bench, key, "GET", "/rollbacks", Value::Null).await;
        assert_eq!(reply.body["items"].as_array().unwrap().len(), all, "{key}");
    }
}

#[tokio::test]
async fn every_answer_has_the_id_of_its_request() {
    let bench = Bench::start().await;
    let given = bench
        .send("GET", "/api/v1/jobs", &[("X-Request-Id", "mine-7")], b"")
        .await;
    assert!(
        given.head.contains("x-request-id: mine-7"),
        "{}",
        given.head
    );
    let id = |reply: &Reply| {
        let line = reply
            .head
            .lines()
            .find(|line| line.starts_with("x-request-id: "));
        line.map(str::to_owned)
    };
    let first = id(&bench.get("/api/v1/jobs").await).unwrap();
    let second = id(&bench.get("/api/v1/nothing").await).unwrap();
    assert_ne!(first, second);
    let long = "x".repeat(200);
    let own = bench
        .send("GET", "/api/v1/jobs", &[("X-Request-Id", &long)], b"")
        .await;
    assert!(!own.head.contains(&long));
    assert!(id(&own).is_some());
}
