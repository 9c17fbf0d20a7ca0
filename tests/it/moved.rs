//! An approval that changes between listing and deciding, with its review open.

use serde_json::json;

use crate::acting::{FIRST_POLICY, Plane};
use crate::keys::Screen;
use crate::standin::{
    LAST_FOUR, StandIn, TAIL, approve, approve_again, console, open_review, says,
};
use crate::support::Capdeck;

/// `A` opens no dialog: it says `why`, and nothing leaves.
#[track_caller]
fn is_off(screen: &Screen, gateway: &StandIn, why: &str) {
    screen.press("A");
    screen.until("the reason in the footer", |text| {
        // What does not fit into one row takes two.
        let rows: Vec<&str> = text.lines().rev().take(2).map(str::trim).collect();
        rows.into_iter()
            .rev()
            .collect::<Vec<_>>()
            .join(" ")
            .contains(why)
    });
    assert!(
        !screen.text().contains("Approve this job"),
        "{}",
        screen.text()
    );
    assert!(gateway.posts().is_empty());
}

#[test]
fn a_policy_that_moves_while_one_reads_switches_approval_off_until_it_is_read_again() {
    let gateway = StandIn::start(true);
    let screen = console(&gateway, Capdeck::new());
    open_review(&screen);
    let moved = "The policy moved while you read, from v1:8c1f…a2e7 to v2:77. r reads the job again under the new policy.";
    gateway.knows.lock().unwrap().policy = "v2:77".to_owned();
    says(&screen, moved);
    screen.shows("≠ policy moved");
    is_off(&screen, &gateway, moved);
    // Judged again by the new policy, it can be read again and approved.
    gateway.knows.lock().unwrap().judged_by = "v2:77".to_owned();
    screen.press("r");
    screen.shows("✓ policy current");
    screen.shows("✓ payload seen");
    approve(&screen, "read under v2");
    says(&screen, &format!("approved {TAIL} in"));
    let body = &gateway.posts()[0].body;
    assert!(body.contains(r#""policy_snapshot":"v2:77""#), "{body}");
}

#[test]
fn a_policy_that_moved_before_one_reads_is_said_and_reading_again_promises_nothing() {
    let gateway = StandIn::start(true);
    gateway.knows.lock().unwrap().policy = "v2:77".to_owned();
    let screen = console(&gateway, Capdeck::new());
    screen.press("2");
    screen.shows("≠ moved");
    screen.press("a");
    let moved = "It was judged under policy v1:8c1f…a2e7, and v2:77 is in force: a yes would be refused. R rejects it; sent again, it is judged anew.";
    says(&screen, moved);
    screen.shows("✓ payload seen");
    is_off(&screen, &gateway, moved);
    let read_at = |text: &str| {
        text.lines()
            .find(|it| it.contains("frozen at"))
            .map(str::to_owned)
    };
    let before = read_at(&screen.text());
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    screen.press("r");
    screen.until("another reading of all of it", |text| {
        let again = read_at(text);
        again.is_some() && again != before && text.contains("✓ payload seen")
    });
    says(&screen, moved);
    is_off(&screen, &gateway, moved);
}

#[test]
fn a_request_that_changes_while_one_reads_switches_approval_off_until_it_is_read_again() {
    let gateway = StandIn::start(true);
    let screen = console(&gateway, Capdeck::new());
    open_review(&screen);
    let changed = "The stored request is not the one you read. Somebody changed it. r reads it again, R rejects.";
    gateway.knows.lock().unwrap().request["labels"]["mcp.tool"] = json!("drop_tables");
    says(&screen, changed);
    is_off(&screen, &gateway, changed);
    screen.press("r");
    screen.shows("✓ request unchanged");
    screen.shows("drop_tables");
    screen.shows("✓ payload seen");
    approve(&screen, "that tool then");
    says(&screen, &format!("approved {TAIL} in"));
}

#[test]
fn a_request_that_policy_never_judged_is_not_approved_at_all() {
    let gateway = StandIn::start(true);
    gateway.knows.lock().unwrap().judged_hash = Some("ab".repeat(32));
    let screen = console(&gateway, Capdeck::new());
    screen.shows("LIVE");
    screen.press("2");
    screen.until("the approval under the cursor", |text| {
        text.lines()
            .any(|line| line.starts_with('▌') && line.contains(TAIL))
    });
    screen.press("a");
    screen.shows("✗ request does not match");
    is_off(
        &screen,
        &gateway,
        "The request in store does not hash to what policy judged.",
    );
}

#[test]
fn a_payload_that_changed_since_it_was_read_is_not_approved() {
    let gateway = StandIn::start(true);
    let screen = console(&gateway, Capdeck::new());
    open_review(&screen);
    gateway.knows.lock().unwrap().payload = "{\n  \"ticket\": \"EVERYTHING\"\n}\n".to_owned();
    approve(&screen, "one ticket");
    says(
        &screen,
        "Not approved: the payload is not the one you read. r reads it again, R rejects.",
    );
    assert!(gateway.posts().is_empty());
    screen.press("r");
    screen.shows("EVERYTHING");
    screen.shows("✓ payload seen");
    approve_again(&screen);
    says(&screen, &format!("approved {TAIL} in"));
    assert_eq!(gateway.posts().len(), 1);
}

#[test]
fn the_planes_own_policy_is_edited_while_a_review_is_open() {
    let plane = Plane::start();
    let id = format!("moved-{LAST_FOUR}");
    let job = json!({
        "job_id": id, "topic": "job.mcp-bridge.write.update_ticket", "tenant_id": "default",
        "risk_tags": ["prod"], "labels": {"mcp.action": "write"}, "prompt": "close OPS-1163",
    });
    let submitted = plane.submit(&job, &[]);
    assert_eq!(submitted.code, 0, "{}", submitted.stderr);

    let screen = Screen::capdeck(&["attach", "--gateway", &plane.url, "--as", "ann"]);
    screen.shows("LIVE");
    screen.press("2");
    screen.shows("✓ ready");
    screen.press("a");
    screen.shows("✓ payload seen");
    plane.publish(&FIRST_POLICY.replace("version: v1", "version: v2"));
    says(&screen, "The policy moved while you read, from v1:");
    says(&screen, "r reads the job again under the new policy.");
    screen.press("A");
    screen.until("the reason", |text| {
        text.lines()
            .last()
            .is_some_and(|line| line.contains("The policy moved while you read, from v1:"))
    });
    let job = plane.run(&["get", "jobs", &id]);
    assert!(!screen.text().contains("Approve this job"));
    assert!(
        job.stdout.to_lowercase().contains("approval"),
        "it still waits: {}{}",
        job.stdout,
        job.stderr
    );
}
