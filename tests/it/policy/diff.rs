//! `capdeck policy diff`: what a change would flip, of decisions in a file.

use serde_json::Value;

use super::{Ran, capdeck, file};

const OLD: &str = "rules:
  - {id: ask-export, match: {topics: ['job.export.*']}, decision: require_approval, reason: exports need a person}
  - {id: busy, match: {topics: ['job.mail']}, decision: throttle, velocity: {max_requests: 1, window_seconds: 60, key: tenant}}
  - {id: known, match: {topics: ['job.*']}, decision: allow}
";

/// Exports run without a person, the web is closed.
const NEW: &str = "rules:
  - {id: deny-web, match: {topics: ['job.web']}, decision: deny, reason: \"the web\\x1b[31m is closed\"}
  - {id: busy, match: {topics: ['job.mail']}, decision: throttle, velocity: {max_requests: 1, window_seconds: 60, key: tenant}}
  - {id: known, match: {topics: ['job.*']}, decision: allow}
";

const DECISIONS: &str = r#"
{"job_id": "job-export-aaaa0001", "rule_id": "ask-export", "request": {"jobId": "job-export-aaaa0001", "topic": "job.export.users", "meta": {"riskTags": ["pii", "prod"]}}}
{"job_id": "job-export-aaaa0002", "request": {"job_id": "job-export-aaaa0002", "topic": "job.export.orders", "meta": {"risk_tags": ["pii"]}}}
{"id": "job-web-bbbb", "safety_rule_id": "known", "state": "SUCCEEDED", "request": {"topic": "job.web"}}
{"job_id": "job-mail-cccc", "matched_rule": "busy", "request": {"topic": "job.mail"}}
{"job_id": "job-gone-dddd"}
{"job_id": "job-gone-eeee", "request": null}
{"job_id": "job-web-bbbb", "request": {"topic": "job.web"}}
"#;

fn diff(new: &str, decisions: &str, more: &[&str]) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    let old = file(&dir, "policy.yaml", OLD);
    let new = file(&dir, "policy-next.yaml", new);
    let decisions = file(&dir, "decisions.jsonl", decisions);
    let mut args = vec!["policy", "diff", &old, &new, "--decisions", &decisions];
    args.extend(more);
    let mut ran = capdeck(&args);
    let here = dir.path().to_str().unwrap();
    ran.stdout = ran.stdout.replace(here, "");
    ran.stderr = ran.stderr.replace(here, "");
    ran
}

#[test]
fn what_flips_is_listed_with_what_it_loses_and_ends_with_1() {
    let ran = diff(NEW, DECISIONS, &[]);
    assert_eq!(
        ran.stdout,
        "policy-next.yaml on the last 6 decisions  3 flip, 1 stay, 2 unknown in place of /policy.yaml

WAS               WOULD BE  JOBS  BY RULE   FIRST REASON                …JOB
require_approval  allow        2  known     ask-export is removed       aaaa0001
allow             deny         1  deny-web  the web⟨ESC⟩[31m is closed  web-bbbb

2 of the 3 lose a human decision. Both carry the tag pii. Velocity rules are not counted in a simulation.

2 decisions are unknown: their request is no longer stored.
"
    );
    assert_eq!(ran.stderr, "error: 3 of 6 recorded decisions flip\n");
    assert_eq!(ran.code, Some(1));
}

#[test]
fn a_policy_in_its_own_place_flips_nothing_and_ends_with_0() {
    let ran = diff(OLD, DECISIONS, &[]);
    assert_eq!((ran.code, &*ran.stderr), (Some(0), ""));
    assert_eq!(
        ran.stdout,
        "policy-next.yaml on the last 6 decisions  0 flip, 4 stay, 2 unknown in place of /policy.yaml

2 decisions are unknown: their request is no longer stored.
"
    );
}

#[test]
fn the_json_of_a_diff_has_the_counts_and_a_line_is_a_flip() {
    let ran = diff(NEW, DECISIONS, &["-o", "json"]);
    assert_eq!(ran.code, Some(1));
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    let item = &document["items"][0];
    assert_eq!(document["schema"], "capdeck/1");
    assert_eq!(document["kind"], "policy_diff");
    let counts = ["considered", "flips", "stays", "unknown"].map(|it| document[it].as_u64());
    assert_eq!(counts, [Some(6), Some(3), Some(1), Some(2)]);
    let lost = ["lost_human_decisions", "lost_denials"].map(|it| document[it].as_u64());
    assert_eq!(lost, [Some(2), Some(0)]);
    assert_eq!(item["was"], "REQUIRE_APPROVAL");
    assert_eq!(item["would_be"], "ALLOW");
    assert_eq!(item["jobs"][1], "job-export-aaaa0002");
    assert_eq!(item["risk_tags"], serde_json::json!(["pii"]));
    assert_ne!(document["policy_snapshot"], document["candidate_snapshot"]);
    assert!(!ran.stdout.contains('\x1b'), "{}", ran.stdout);

    let ran = diff(NEW, DECISIONS, &["-o", "jsonl", "--limit", "1"]);
    let lines: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["kind"], "policy_flip");
    assert_eq!(lines[0]["reason"], "ask-export is removed");
}

#[test]
fn files_that_cannot_be_compared_are_told_from_policies_that_differ() {
    let ran = diff("rules:\n  - {id: r1, decision: permits}\n", DECISIONS, &[]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stderr
            .contains("/policy-next.yaml is not a policy: line 2, column 24: rule `r1`: decision"),
        "{}",
        ran.stderr
    );
    for (decisions, says) in [
        ("", "no decision is recorded in /decisions.jsonl"),
        (
            "{\"job_id\": \"a\"}\n{\"job\": 1}",
            "/decisions.jsonl:2: job_id is missing or empty",
        ),
        (
            "{\"job_id\": \"a\", \"request\": {\"topic\": 7}}",
            "/decisions.jsonl:1: request is not a stored request: ",
        ),
    ] {
        let ran = diff(NEW, decisions, &[]);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
    let nowhere = capdeck(&["policy", "diff", "/nonexistent/a", "/nonexistent/b"]);
    assert_eq!(nowhere.code, Some(2));
    assert!(
        nowhere.stderr.contains("cannot read the policy file"),
        "{}",
        nowhere.stderr
    );
}
