//! The console on a real NATS server, in a pseudo terminal, among a foreign fleet
//! that speaks CAP through the public Python SDK.

use serde_json::json;

use crate::keys::Screen;
use crate::peers::{Fleet, jobs_of_every_kind};
use crate::support::NatsProcess;

/// Whether a line of the screen holds all of `words`.
fn has_line(text: &str, words: &[&str]) -> bool {
    text.lines()
        .any(|line| words.iter().all(|word| line.contains(word)))
}

#[test]
fn a_foreign_fleet_is_on_the_screen_and_a_cancel_by_keys_reaches_its_worker() {
    let nats = NatsProcess::start();
    let mut screen = Screen::capdeck(&["attach", "--nats", &nats.url(), "--as", "ann@here"]);
    screen.shows("LIVE");
    let mut fleet = Fleet::join(nats, 2);
    fleet.submit(&jobs_of_every_kind());
    fleet.wait_for("took", &json!({"job_id": "peer-hung"}));

    screen.press("4");
    for worker in ["peer-w0", "peer-w1", "peer-agent"] {
        screen.until(worker, |text| has_line(text, &["● live", worker]));
    }
    screen.press("3");
    for words in [
        ["✓ succeeded", "peer.good", "at 100 %"],
        ["✗ failed", "peer.bad", "DISK_FULL"],
        [
            "✗ failed",
            "peer.ticket",
            "the ticket system did not answer",
        ],
        ["✓ succeeded", "agent.echo", "peer-agent"],
        ["● running", "peer.hung", "30%"],
    ] {
        screen.until(words[1], |text| has_line(text, &words));
    }

    screen.press("/id:peer-hung\r");
    screen.until("the hung job under the cursor", |text| {
        text.lines()
            .any(|line| line.starts_with('▌') && line.contains("peer.hung"))
    });
    screen.press("X");
    screen.shows("Cancel this job");
    screen.type_after_guard("it hangs");
    screen.press("\t\t\r");
    let cancel = fleet.wait_for("cancel", &json!({"job_id": "peer-hung"}));
    assert_eq!(cancel["reason"], "it hangs", "{cancel}");
    assert_eq!(cancel["requested_by"], "ann@here", "{cancel}");
    assert_eq!(
        cancel["errors"],
        json!([]),
        "the SDK's validator accepts it"
    );
    screen.until("its end, and that its worker stopped", |text| {
        has_line(text, &["⊘ cancelled", "peer.hung", "worker stopped after"])
    });
    screen.press("q");
    assert_eq!(screen.ends().code(), Some(0));
}
