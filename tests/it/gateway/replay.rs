//! A candidate policy, tried by HTTP on what was decided.

use capdeck::control_plane::gateway::{Keyring, MAX_BODY};
use serde_json::{Value, json};

use super::bench::{Bench, POLICY};

async fn replay(bench: &Bench, content: &str) -> Value {
    let body = json!({ "content": content });
    let answer = bench.post("/api/v1/policy/replay", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

/// The counts: considered, staying, unknown, flipping.
fn counts(answer: &Value) -> [u64; 4] {
    let flips = answer["flips"].as_array().unwrap().iter();
    let flipped = flips.map(|flip| flip["jobs"].as_array().unwrap().len() as u64);
    let number = |name: &str| answer[name].as_u64().unwrap();
    [
        number("considered"),
        number("stays"),
        number("unknown"),
        flipped.sum(),
    ]
}

#[tokio::test]
async fn a_candidate_is_tried_on_what_was_decided_and_changes_nothing() {
    let mut bench = Bench::start().await;
    let job = |action: &str, tag: &str| json!({"topic": "job.a", "labels": {"mcp.action": action}, "risk_tags": [tag, "all"]});
    bench.submit(job("read", "x")).await;
    let first = bench.submit(job("write", "pii")).await.job_id();
    let second = bench.submit(job("write", "prod")).await.job_id();
    bench.submit(job("delete", "x")).await;
    bench.submit(json!({"topic": "job.web.search"})).await;
    *bench.kernel.down.lock().unwrap() = true;
    bench.submit(job("read", "x")).await;
    *bench.kernel.down.lock().unwrap() = false;
    bench.heard();
    let log = bench.get("/api/v1/governance/decisions").await.body;

    let same = replay(&bench, POLICY).await;
    assert_eq!(counts(&same), [6, 5, 1, 0], "{same}");
    assert_eq!(same["without_verdict"], 1);
    assert_eq!(same["velocity_counted"], false);

    let next = "rules:
  - {id: read, match: {labels: {mcp.action: read}}, decision: deny, reason: no more}
  - {id: rest, decision: allow}
";
    let other = replay(&bench, next).await;
    assert_eq!(counts(&other), [6, 0, 1, 5], "{other}");
    assert_ne!(other["candidate_snapshot"], same["candidate_snapshot"]);
    let flips = other["flips"].as_array().unwrap();
    let lost = &flips[0];
    assert_eq!(lost["was"], "REQUIRE_APPROVAL");
    assert_eq!(lost["would_be"], "ALLOW");
    assert_eq!(lost["rule_id"], "rest");
    assert_eq!(lost["reason"], "hold is removed");
    assert_eq!(lost["jobs"], json!([second, first]), "the latest first");
    assert_eq!(lost["risk_tags"], json!(["all"]), "what both carry");
    let denied = flips.iter().find(|flip| flip["would_be"] == "DENY");
    assert_eq!(denied.unwrap()["reason"], "no more");

    let few = json!({"content": next, "limit": 2});
    let few = bench.post("/api/v1/policy/replay", &few).await.body;
    assert_eq!(few["considered"], 2);

    let after = bench.get("/api/v1/governance/decisions").await.body;
    assert_eq!(after, log, "nothing is recorded");
    assert_eq!(bench.heard(), Vec::<String>::new(), "nothing is told");
    let rules = bench.get("/api/v1/policy/rules").await;
    assert_eq!(rules.body["items"][1]["id"], "hold", "nothing is published");
}

#[tokio::test]
async fn a_bad_candidate_is_told_problem_by_problem() {
    let bench = Bench::start().await;
    let bad = json!({"content": "rules:\n  - id: r1\n    decision: permits\n  - id: r2\n"});
    let answer = bench.post("/api/v1/policy/replay", &bad).await;
    assert_eq!(answer.short(), "400 invalid_policy");
    let says = answer.body["error"].as_str().unwrap();
    assert!(
        says.starts_with("line 3, column 15: rule `r1`: decision `permits` is not one of"),
        "{says}"
    );
    assert!(says.ends_with("; and 1 more problem"), "{says}");
    let problem = &answer.body["problems"][0];
    assert_eq!(
        (&problem["line"], &problem["column"]),
        (&json!(3), &json!(15))
    );
    assert_eq!(
        (&problem["rule"], &problem["field"]),
        (&json!("r1"), &json!("decision"))
    );
    assert_eq!(problem["nearest"], "permit");
    for (body, code) in [
        (json!({}), "400 invalid_policy"),
        (json!({"contents": "rules: []"}), "400 invalid_body"),
        (json!({"content": 7}), "400 invalid_body"),
    ] {
        let answer = bench.post("/api/v1/policy/replay", &body).await;
        assert_eq!(answer.short(), code, "{body}");
    }
    let long = json!({ "content": "#".repeat(MAX_BODY) });
    let answer = bench.post("/api/v1/policy/replay", &long).await;
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn a_caller_tries_a_candidate_on_what_it_reaches_and_a_viewer_on_nothing() {
    let keys = "acme:ka:admin:ada, acme:ku:user:uma, acme:kv:viewer, other:ko:user:otto";
    let bench = Bench::with(Keyring::parse(keys).unwrap()).await;
    let ask = async |key: &str, path: &str, body: &Value| {
        let text = body.to_string();
        let headers = [("X-API-Key", key)];
        bench.send("POST", path, &headers, text.as_bytes()).await
    };
    let job = json!({"topic": "job.a", "labels": {"mcp.action": "read"}});
    assert_eq!(ask("ku", "/api/v1/jobs", &job).await.status, 200);
    let candidate = json!({"content": "rules: []"});
    let path = "/api/v1/policy/replay";
    for (key, considered) in [("ka", 1), ("ku", 1), ("ko", 0)] {
        let answer = ask(key, path, &candidate).await;
        assert_eq!(
            answer.body["considered"], considered,
            "{key} {}",
            answer.body
        );
    }
    assert_eq!(ask("kv", path, &candidate).await.short(), "403 forbidden");
}
