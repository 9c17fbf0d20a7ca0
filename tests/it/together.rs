//! Approvals decided together: the real console in a pseudo terminal, attached to
//! the real plane.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::acting::{Plane, check, write};
use crate::keys::Screen;
use crate::support::PATIENCE;

/// Jobs that wait for a person, with payloads of their own, by id.
fn three_wait(plane: &Plane) -> Vec<String> {
    let submit = |at: usize| {
        let mut job = write();
        let id = format!("j-together-{at}");
        job["job_id"] = json!(id);
        job["prompt"] = json!(format!("Close OPS-{at}"));
        check(&plane.submit(&job, &[]), 0, "waits for approval");
        id
    };
    (1..=3).map(submit).collect()
}

/// Marks all three and opens their review.
fn review_all(plane: &Plane) -> Screen {
    let screen = Screen::capdeck(&["attach", "--gateway", &plane.url, "--as", "ann"]);
    screen.shows("LIVE");
    screen.press("2");
    screen.until("three that wait", |text| {
        text.matches("✓ ready").count() == 3
    });
    screen.press(" j j ");
    screen.shows("The 3 marked share rule, tenant, action and snapshot");
    screen.press("a");
    screen.shows("Review 1 of 3 marked");
    screen.shows("○ payloads of 2, 3 not seen");
    screen.press("n");
    screen.shows("Review 2 of 3 marked");
    screen.shows("○ payload of 3 not seen");
    screen.press("n");
    screen.shows("Review 3 of 3 marked");
    screen.shows("✓ all 3 seen");
    screen
}

/// Types `text` once the dialog takes keys; until then it swallows them.
fn type_into(screen: &Screen, label: &str, text: &str) {
    let (first, rest) = text.split_at(1);
    let deadline = Instant::now() + PATIENCE;
    while !screen.text().contains(&format!("{label}{first}")) {
        assert!(Instant::now() < deadline, "{}", screen.text());
        screen.press(first);
        std::thread::sleep(Duration::from_millis(600));
    }
    screen.press(rest);
}

/// What was asked and how it ended, a word a line, in the order of the log.
fn acted(log: &str) -> Vec<String> {
    let lines = log.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let outcome = line["detail"]["outcome"].as_str().unwrap_or("asked");
        let object = line["object"].as_str().unwrap();
        format!("{} {object} {outcome}", line["action"].as_str().unwrap())
    });
    lines.collect()
}

#[test]
fn three_marked_approvals_are_reviewed_and_approved_together_by_keys() {
    let plane = Plane::start();
    let ids = three_wait(&plane);
    let mut screen = review_all(&plane);
    screen.press("A");
    screen.shows("Approve 3 jobs");
    type_into(&screen, "note       ", "window");
    screen.press("\rapprove 3");
    screen.shows("Enter confirms");
    screen.press("\r");
    screen.shows("approved 3 of 3 jobs");
    screen.until("the plane's word", |text| {
        // The row under the cursor stays in the queue until the cursor leaves it.
        let decided = text.split_once("3: 3 by a person");
        decided.is_some_and(|(_, rows)| rows.matches("✓ approved").count() == 3)
    });
    screen.press("\x03");
    assert_eq!(screen.ends().code(), Some(0));

    // One line each, written before the request, and the next one only after the answer.
    let acted = acted(&screen.audit_log());
    let expected: Vec<String> = ids
        .iter()
        .flat_map(|id| {
            [
                format!("approve {id} asked"),
                format!("approve.outcome {id} done"),
            ]
        })
        .collect();
    assert_eq!(acted, expected);
    for id in &ids {
        check(
            &plane.run(&["approve", id]),
            1,
            &format!("ann approved {id} already"),
        );
    }
}

#[test]
fn one_of_three_is_rejected_alone_and_the_others_wait_on() {
    let plane = Plane::start();
    let ids = three_wait(&plane);
    let mut screen = review_all(&plane);
    screen.press("R");
    screen.shows("Reject 3 jobs");
    type_into(&screen, "│   ", "wrong ticket");
    screen.press("\rreject 1\r");
    screen.shows("rejected gether-3 in");
    screen.shows("Review 2 of 2 marked");
    screen.press("\x1b\x1b");
    screen.shows("2 marked");
    screen.press("\x03");
    assert_eq!(screen.ends().code(), Some(0));
    let log = screen.audit_log();
    assert_eq!(
        acted(&log),
        [
            format!("reject {} asked", ids[2]),
            format!("reject.outcome {} done", ids[2])
        ]
    );
    assert!(log.contains("payload_bytes_seen"), "{log}");
}
