//! Whether policy would allow an undo, before anybody says yes or stops a job.

use serde_json::json;

use super::{FIRST_POLICY, Up};
use crate::keys::Screen;

/// The first policy, and no undo of tickets.
fn policy() -> String {
    let rule = "rules:
  - id: deny-undo
    match: {topics: ['job.mcp-bridge.write.revert_ticket'], labels: {saga_compensation: 'true'}}
    decision: deny
    reason: no undo today
";
    FIRST_POLICY.replacen("rules:\n", rule, 1)
}

#[test]
fn review_and_cancel_say_whether_policy_would_allow_the_undo() {
    let up = Up::start_where(|_, path| std::fs::write(path, policy()).unwrap());
    let held = json!({
        "topic": "job.mcp-bridge.write.update_ticket",
        "tenant_id": "default",
        "risk_tags": ["prod"],
        "labels": {"mcp.action": "write"},
        "compensation": {"topic": "job.mcp-bridge.write.revert_ticket"},
    });
    assert_eq!(up.submit(&held).0, 200);
    let gateway = format!("http://{}", up.addr);
    let screen = Screen::capdeck(&["attach", "--gateway", &gateway]);
    screen.shows("LIVE");
    screen.press("2");
    screen.shows("revert_ticket, policy would deny");
    screen.press("a");
    screen.shows("Before A works");
    screen.shows("would deny it: rule");
    screen.shows("no undo today");

    // As soon as policy allows it, the review says so.
    std::fs::write(
        &up.policy,
        FIRST_POLICY.replace("deny-destructive", "other"),
    )
    .unwrap();
    screen.until("another verdict", |text| {
        text.contains("would ask a person first")
    });
    screen.press("\x1b");
    screen.shows("Waiting for a person");
    screen.press("3");
    screen.shows("attention first");
    screen.until("the job under the cursor", |text| {
        text.lines().any(|line| line.starts_with('▌'))
    });
    screen.press("X");
    screen.shows("Cancel this job");
    screen.until("what would undo it", |text| {
        text.contains("undo       job.mcp-bridge.write.revert_ticket, policy would ask a")
    });
    assert_eq!(up.terminate().code, 0);
}

/// A step of `wf-pty` that its worker ends as told.
fn step(index: u32, outcome: &str) -> serde_json::Value {
    json!({
        "topic": "job.mcp-bridge.read.get_ticket",
        "tenant_id": "default",
        "workflow_id": "wf-pty",
        "step_index": index,
        "labels": {"mcp.action": "read", "demo.outcome": outcome, "demo.seconds": "0.1"},
        "compensation": {"topic": format!("job.mcp-bridge.read.undo_{index}")},
    })
}

#[test]
fn a_rollback_is_shown_step_by_step_in_the_order_in_which_it_ran() {
    let up = Up::start();
    for (index, outcome, state) in [
        (0, "succeeded", "SUCCEEDED"),
        (1, "succeeded", "SUCCEEDED"),
        (2, "failed_fatal", "FAILED"),
    ] {
        let (status, job) = up.submit(&step(index, outcome));
        assert_eq!(status, 200, "{job}");
        up.waits_in(job["job_id"].as_str().unwrap(), state);
    }
    let gateway = format!("http://{}", up.addr);
    let screen = Screen::capdeck(&["attach", "--gateway", &gateway]);
    screen.shows("LIVE");
    screen.press("6");
    screen.until("every step, the last success first", |text| {
        let places: Vec<_> = ["undo_2", "undo_1", "undo_0"]
            .iter()
            .map(|undo| {
                let mut lines = text.lines();
                lines.position(|line| line.contains(undo) && line.contains("succeeded"))
            })
            .collect();
        text.contains("3 of 3") && places.iter().all(Option::is_some) && places.is_sorted()
    });
}

#[test]
fn a_plane_that_lets_jobs_run_unjudged_says_so_on_the_screen() {
    let up = Up::start_with(&["--fail-open"]);
    let gateway = format!("http://{}", up.addr);
    let screen = Screen::capdeck(&["attach", "--gateway", &gateway]);
    screen.shows("LIVE");
    screen.press("5");
    screen.shows("FAIL OPEN: jobs run");
}
