//! What a gateway is asked of policy: candidates and undos.

use axum::Json;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::*;
use crate::state::model::jobs::Decision;

/// A gateway that replays, or another, with a job that can be undone.
fn gateway(replays: bool) -> axum::Router {
    let status = if replays {
        r#"{"capabilities":["policy_replay"]}"#
    } else {
        r#"{"capabilities":["expect"]}"#
    };
    axum::Router::new()
        .route("/api/v1/status", get(move || async move { status }))
        .route(
            "/api/v1/policy/replay",
            post(async |Json(asked): Json<Value>| {
                // What was asked comes back, so that a test sees it.
                Json(json!({"considered": asked["limit"], "stays": 499, "flips": [
                    {"was": "DENY", "would_be": "ALLOW", "reason": asked["content"], "jobs": ["j1"]}
                ]}))
            }),
        )
        .route(
            "/api/v1/jobs/j1",
            get(async || r#"{"id":"j1","state":"PENDING","request":{"jobId":"j1","topic":"job.a","tenantId":"acme","workflowId":"wf","compensation":{"topic":"job.undo_a"}}}"#),
        )
        .route(
            "/api/v1/jobs/j2",
            get(async || r#"{"id":"j2","state":"PENDING","topic":"job.a"}"#),
        )
        .route(
            "/api/v1/policy/simulate",
            post(async |Json(asked): Json<Value>| {
                let reason = format!("{} {} {}", asked["topic"], asked["tenant"], asked["labels"]["saga_workflow_id"]);
                Json(json!({"decision": "DECISION_TYPE_DENY", "ruleId": "r1", "reason": reason, "policySnapshot": "v1:ab"}))
            }),
        )
}

async fn runtime(replays: bool, dir: &tempfile::TempDir) -> Runtime {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let _serves = tokio::spawn(async move { axum::serve(listener, gateway(replays)).await });
    let endpoint = Endpoint {
        url,
        ..Endpoint::default()
    };
    let client = GatewayClient::new(&endpoint).expect("an endpoint");
    let sources = Sources {
        gateway: Some(Arc::new(client)),
        ..Sources::default()
    };
    Runtime::start(sources, identity(dir), Arc::new(SystemClock))
}

fn candidate(dir: &tempfile::TempDir) -> Effect {
    let path = dir.path().join("next.yaml");
    std::fs::write(&path, "rules: []").expect("written");
    Effect::Try {
        path: path.to_str().expect("UTF-8").into(),
    }
}

#[tokio::test]
async fn a_candidate_is_read_here_and_tried_by_the_gateway() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut runtime = runtime(true, &dir).await;
    let mut state = State::default();
    let done = runtime.run_now(&candidate(&dir)).await;
    assert_eq!(done, Outcome::Done(None));
    run_until(&mut runtime, &mut state, |state| {
        state.model.policy.what_if().is_some()
    })
    .await;
    let (what_if, _) = state.model.policy.what_if().expect("told");
    assert_eq!((&*what_if.file, what_if.considered), ("next.yaml", 500));
    assert_eq!(what_if.flips[0].reason.as_deref(), Some("rules: []"));
    let path: Arc<str> = "/nonexistent/next.yaml".into();
    let missing = runtime.run_now(&Effect::Try { path }).await;
    let Outcome::Failed { reason } = missing else {
        panic!("{missing:?}");
    };
    assert!(
        reason.starts_with("cannot read /nonexistent/next.yaml: No such file"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_gateway_that_does_not_say_that_it_replays_is_not_sent_a_policy() {
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = runtime(false, &dir).await;
    let refused = runtime.run_now(&candidate(&dir)).await;
    let Outcome::Refused(refusal) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(&*refusal.code, "no_policy_replay");
    assert!(refusal.text.contains("capdeck policy diff OLD NEW"));
}

#[tokio::test]
async fn any_gateway_that_tells_the_request_is_asked_about_its_undo() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut runtime = runtime(false, &dir).await;
    let mut state = State::default();
    let judge = |job: &str| Effect::JudgeCompensation { job: job.into() };
    assert_eq!(runtime.run_now(&judge("j1")).await, Outcome::Done(None));
    let job = JobId::from("j1");
    run_until(&mut runtime, &mut state, |state| {
        state.model.compensations.of(&job, None).is_some()
    })
    .await;
    let judged = state.model.compensations.of(&job, None).expect("judged");
    assert_eq!(judged.decision, Some(Decision::Deny));
    assert_eq!(
        judged.reason.as_deref(),
        Some(r#""job.undo_a" "acme" "wf""#)
    );
    let untold = runtime.run_now(&judge("j2")).await;
    let Outcome::Refused(refusal) = untold else {
        panic!("{untold:?}");
    };
    assert_eq!(&*refusal.code, "not_told");
}
