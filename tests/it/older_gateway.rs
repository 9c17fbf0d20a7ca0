//! A console on a gateway of the older generation: lists as bare arrays, errors as
//! plain text, no stored request, no codes.

use crate::standin::{Answer, StandIn, TAIL, approve, console, open_dialog, open_review, says};
use crate::support::Capdeck;

#[test]
fn an_older_gateway_is_shown_and_its_refusal_comes_in_words() {
    let gateway = StandIn::start(false);
    let screen = console(&gateway, Capdeck::new());
    open_review(&screen);
    screen.shows("OPS-1163");
    // It does not tell the request it stores, so nobody can hash it; that is said.
    screen.shows("✓ request hash unknown");
    screen.shows("✓ policy current");
    gateway.instead(|asked, _| {
        asked.path.ends_with("/approve").then(|| {
            let says = "policy snapshot changed; re-evaluate before approving\n";
            Answer::Says(409, says.to_owned())
        })
    });
    approve(&screen, "in the window");
    says(
        &screen,
        "Not approved: the policy moved while you read (policy snapshot changed; re-evaluate before approving). Nothing was sent to a worker. r reads the job again under the new policy.",
    );
    screen.shows("409 approval_stale_snapshot");
    // It refuses members that it does not know.
    let posts = gateway.posts();
    assert_eq!(posts.len(), 1, "{posts:?}");
    assert_eq!(posts[0].body, r#"{"note":"in the window"}"#);

    // Its snapshots are compared as a whole, the half behind the bar too.
    gateway.instead(|_, _| None);
    {
        let mut knows = gateway.knows.lock().unwrap();
        knows.judged_by = "v1:ab|cfg:cd".to_owned();
        knows.policy = "v1:ab|cfg:ef".to_owned();
    }
    // Seen by the poll first: a round under way at the press would tell the old one.
    says(&screen, "to v1:ab|cfg:ef.");
    screen.press("r");
    says(
        &screen,
        "judged under policy v1:ab|cfg:cd, and v1:ab|cfg:ef is in force",
    );

    // Its workers are a bare array without times; its pools do not exist.
    screen.press("4");
    screen.shows("w-jan-1");
    screen.until("the worker of its own pool", |text| {
        text.lines()
            .any(|line| line.contains("w-jan-1") && line.contains("tickets"))
    });
    assert!(!screen.text().contains("lost"), "{}", screen.text());

    // A rejection is not held up by the policy, and a cancel carries no body.
    open_review(&screen);
    open_dialog(&screen, "R", "Reject this job", "not tonight");
    screen.press("\t\t\r");
    says(&screen, &format!("rejected {TAIL} in"));
    assert_eq!(gateway.posts()[1].body, r#"{"reason":"not tonight"}"#);
}

#[test]
fn a_cancel_at_an_older_gateway_carries_no_members_that_it_would_refuse() {
    let gateway = StandIn::start(false);
    let screen = console(&gateway, Capdeck::new());
    open_review(&screen);
    open_dialog(&screen, "X", "Cancel this job", "not needed");
    screen.press("\t\t\r");
    says(&screen, &format!("cancel of {TAIL} taken in"));
    let posts = gateway.posts();
    assert_eq!(posts.len(), 1, "{posts:?}");
    assert_eq!(posts[0].body, "");
    assert!(gateway.was_asked("/approvals", "include_resolved=true"));
}
