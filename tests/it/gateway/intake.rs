//! What the gateway takes in: what could never run is refused, and what only a plane
//! may write is taken out.

use capdeck::control_plane::ledger::{Submission, Via};
use capdeck::ids::JobId;
use capdeck::time::Clock;
use capdeck::wire::json::{Unknown, job_request_from_json};
use capdeck::wire::packet::{Body, JobRequest, JobResult, JobStatus};
use serde_json::{Value, json};

use super::bench::Bench;

fn request(value: &Value) -> JobRequest {
    let (request, _) =
        job_request_from_json(value.to_string().as_bytes(), Unknown::Refuse).unwrap();
    request
}

/// A job that the ledger has from the bus.
fn from_the_bus(bench: &Bench, value: &Value) {
    let submission = Submission {
        request: request(value),
        via: Via::Bus,
        ..Submission::default()
    };
    let now = bench.clock.now();
    bench
        .ledger
        .lock()
        .unwrap()
        .submit(submission, now)
        .unwrap();
}

fn fail(bench: &mut Bench, id: &str) {
    let result = JobResult {
        job_id: JobId::from(id),
        status: JobStatus::Failed,
        ..JobResult::default()
    };
    let now = bench.clock.now();
    bench.ledger.lock().unwrap().result(result, now);
    bench.heard();
}

#[tokio::test]
async fn what_could_never_run_is_refused_before_anything_is_stored() {
    let mut bench = Bench::start().await;
    for (body, field, says) in [
        (
            json!({"topic": "job.batch.a", "max_total_tokens": 10_000_000_001_i64}),
            "max_total_tokens",
            "max_total_tokens is 10000000001; 0 to 10000000000 are allowed",
        ),
        (
            json!({"topic": "job.batch.a", "max_output_tokens": 10_000_000_001_i64}),
            "max_output_tokens",
            "max_output_tokens is 10000000001; 0 to 10000000000 are allowed",
        ),
        (
            json!({"job_id": "mine", "topic": "job.batch.a", "priority": 9}),
            "priority",
            "priority is 9; 0 to 3 are allowed",
        ),
        (
            json!({"job_request": {"topic": "job.batch.a", "budget": {"deadline_ms": -1}}}),
            "deadline_ms",
            "deadline_ms is -1; 0 and more are allowed",
        ),
        (
            json!({"topic": "job.batch.a", "requires": vec!["x"; 1_001]}),
            "requires",
            "requires has 1001 entries; 1000 are allowed",
        ),
        (
            json!({"topic": "job.batch.a",
                "compensation": {"topic": "job.undo", "budget": {"maxTotalTokens": "-1"}}}),
            "compensation.budget.max_total_tokens",
            "compensation.budget.max_total_tokens is -1; 0 to 10000000000 are allowed",
        ),
        (
            json!({"topic": "job.batch.a", "tenant_id": "a",
                "compensation": {"topic": "job.undo", "tenant_id": "b"}}),
            "compensation.env.tenant_id",
            r#"compensation.env.tenant_id is "a", but tenant_id is "b""#,
        ),
        (
            json!({"topic": "job.batch.a", "tenant_id": "a", "env": {"tenant_id": "b"}}),
            "env.tenant_id",
            r#"env.tenant_id is "b", but tenant_id is "a""#,
        ),
        (
            json!({"topic": "job.batch.a", "tenant_id": "a", "meta": {"tenant_id": "b"}}),
            "meta.tenant_id",
            r#"meta.tenant_id is "b", but tenant_id is "a""#,
        ),
    ] {
        let refused = bench.submit(body.clone()).await;
        assert_eq!(refused.short(), "400 invalid_field", "{body}");
        assert_eq!(refused.body["field"], field, "{body}");
        assert_eq!(refused.body["error"], says, "{body}");
    }
    // More than the bus carries, and not a field of the contract.
    let wide = json!({"topic": "job.batch.a", "adapter_id": "x".repeat(1 << 20)});
    assert_eq!(bench.submit(wide).await.short(), "400 invalid_body");
    assert_eq!(bench.heard(), Vec::<String>::new());
    assert_eq!(bench.get("/api/v1/jobs").await.body["items"], json!([]));
    let log = bench.get("/api/v1/governance/decisions").await;
    assert_eq!(log.body["items"], json!([]));
    assert_eq!(bench.context("mine").await, None);
}

#[tokio::test]
async fn another_try_of_what_could_never_run_is_refused_and_leaves_its_letter() {
    let mut bench = Bench::start().await;
    let job = json!({"job_id": "old", "topic": "job.batch.a", "priority": 9});
    from_the_bus(&bench, &job);
    fail(&mut bench, "old");
    let refused = bench.post("/api/v1/dlq/old/retry", &Value::Null).await;
    assert_eq!(refused.short(), "400 invalid_field");
    assert_eq!(refused.body["field"], "priority");
    let letters = bench.get("/api/v1/dlq").await;
    assert_eq!(letters.body["items"][0]["job_id"], "old");
}

#[tokio::test]
async fn what_only_a_plane_may_write_is_taken_out_of_each_shape_and_named() {
    let mut bench = Bench::start().await;
    let policy = "version: v1
rules:
  - {id: unjudged, match: {labels: {safety_bypassed: 'true'}}, decision: allow}
  - {id: undo, match: {labels: {saga_compensation: 'true'}}, decision: allow}
  - {id: pack, match: {labels: {_source: pack}}, decision: allow}
  - {id: rest, decision: require_approval}
";
    std::fs::write(&bench.policy, policy).unwrap();
    bench.refresh().await;
    let forged = json!({
        "_source": "pack", "safety_bypassed": "true", "saga_compensation": "true",
        "approval_granted": "true", "cordum.bus_msg_id": "x", "team": "ops",
    });
    let undo = json!({"topic": "job.undo", "labels": {"_x": "y"}});
    let of_request = json!({
        "job_id": "j2", "topic": "job.a", "labels": forged, "compensation": undo,
        "env": {"CORDUM_EFFECTIVE_CONFIG": "{}", "team": "ops"},
    });
    let mut of_envelope = of_request.clone();
    of_envelope["job_id"] = json!("j3");
    let named = [
        "labels._source",
        "labels.approval_granted",
        "labels.cordum.bus_msg_id",
        "labels.safety_bypassed",
        "labels.saga_compensation",
    ];
    for (body, of_env) in [
        (
            json!({"prompt": "hi", "topic": "job.a", "labels": forged, "compensation": undo}),
            &[][..],
        ),
        (of_request, &["env.CORDUM_EFFECTIVE_CONFIG"]),
        (
            json!({"trace_id": "t", "sender_id": "s", "job_request": of_envelope}),
            &["env.CORDUM_EFFECTIVE_CONFIG"],
        ),
    ] {
        let held = bench.submit(body.clone()).await;
        assert_eq!(held.body["status"], "approval_required", "{body}");
        let ignored = [&named[..], of_env, &["compensation.labels._x"]].concat();
        assert_eq!(held.body["ignored"], json!(ignored), "{body}");
        let detail = bench.detail(&held.job_id()).await;
        assert_eq!(
            detail["labels"],
            json!({"_source": "api", "team": "ops"}),
            "{body}"
        );
        let asked = &detail["request"];
        assert_eq!(asked["env"]["CORDUM_EFFECTIVE_CONFIG"], Value::Null);
        assert_eq!(asked["compensation"]["labels"], Value::Null, "{asked}");
    }
    assert_eq!(bench.heard(), Vec::<String>::new());
}

#[tokio::test]
async fn a_rule_may_ask_whether_a_job_came_by_http_at_submit_and_again_at_dispatch() {
    let mut bench = Bench::start().await;
    let policy = "version: v1
rules:
  - {id: by-http, match: {labels: {_source: api}}, decision: allow}
";
    std::fs::write(&bench.policy, policy).unwrap();
    bench.refresh().await;
    // As many labels as a client may set.
    let labels: Value = (0..50).map(|n| (format!("l{n}"), json!(""))).collect();
    let job = bench
        .submit(json!({"topic": "job.a", "labels": labels}))
        .await;
    assert_eq!(job.status, 200, "{}", job.body);
    assert_eq!(job.body["ignored"], Value::Null);
    let packets = bench.packets();
    let [(_, packet)] = &packets[..] else {
        panic!("not one packet: {packets:?}");
    };
    let Body::JobRequest(published) = &packet.body else {
        panic!("not a request: {packet:?}");
    };
    assert_eq!(published.labels["_source"], "api");
    assert_eq!(published.labels.len(), 51);
    // Its packet comes back, and policy is asked about it once more.
    let id = job.job_id();
    let again = Submission {
        request: (**published).clone(),
        via: Via::Bus,
        ..Submission::default()
    };
    let now = bench.clock.now();
    bench.ledger.lock().unwrap().submit(again, now).unwrap();
    bench.schedule().await;
    let decisions = bench.get(&format!("/api/v1/jobs/{id}/decisions")).await;
    let decisions = decisions.body.as_array().unwrap().iter();
    let found: Vec<_> = decisions
        .map(|it| {
            (
                it["check"].as_str().unwrap(),
                it["rule_id"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(found, [("dispatch", "by-http"), ("submit", "by-http")]);
}

#[tokio::test]
async fn the_id_of_a_job_from_the_bus_is_one_request_too() {
    let bench = Bench::start().await;
    let job = json!({
        "job_id": "mine", "topic": "job.batch.a", "labels": {"team": "ops", "_source": "workflow"},
        "budget": {"max_total_tokens": 9},
    });
    from_the_bus(&bench, &job);
    let with = |name: &str, value: Value| {
        let mut other = job.clone();
        other[name] = value;
        other
    };
    // A key's principal and tenant, and the place of the context, are put in by gateways.
    let same = with("context_ptr", json!("redis://ctx:mine"));
    for same in [&job, &same, &with("principal_id", json!("ann"))] {
        let again = bench.submit(same.clone()).await;
        assert_eq!(again.short(), "200", "{same}");
        assert_eq!(again.job_id(), "mine");
    }
    for other in [
        with("topic", json!("job.batch.b")),
        with("labels", json!({"team": "dev"})),
        with("budget", json!({"max_total_tokens": 10})),
        with("env", json!({"team": "x"})),
    ] {
        let refused = bench.submit(other.clone()).await;
        assert_eq!(refused.short(), "409 IDEMPOTENCY_CONFLICT", "{other}");
        assert_eq!(refused.body["existing_job_id"], "mine");
    }
    // On the bus a job is told of more than once, and not always whole.
    from_the_bus(&bench, &json!({"job_id": "mine", "topic": "job.batch.b"}));
    assert_eq!(bench.detail("mine").await["topic"], "job.batch.a");
}

#[tokio::test]
async fn the_id_of_a_retry_and_one_that_the_gateway_gave_are_one_request_too() {
    let mut bench = Bench::start().await;
    let job = json!({"topic": "job.batch.a", "labels": {"team": "ops"}});
    let old = bench.submit(job.clone()).await.job_id();
    let with_id =
        |id: &str, labels: Value| json!({"job_id": id, "topic": "job.batch.a", "labels": labels});
    let again = bench.submit(with_id(&old, json!({"team": "ops"}))).await;
    assert_eq!(
        (again.short(), again.job_id()),
        ("200".to_owned(), old.clone())
    );
    fail(&mut bench, &old);
    let path = format!("/api/v1/dlq/{old}/retry");
    let retried = bench.post(&path, &Value::Null).await.job_id();
    for id in [&old, &retried] {
        let refused = bench.submit(with_id(id, json!({"team": "dev"}))).await;
        assert_eq!(refused.short(), "409 IDEMPOTENCY_CONFLICT", "{id}");
        assert_eq!(refused.body["existing_job_id"], **id);
    }
}
