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
