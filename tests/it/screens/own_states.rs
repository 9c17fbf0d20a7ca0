//! What the views of policy, rollbacks and traces say while their servers are there:
//! asked and not answered yet, refused, or answered with nothing.

use capdeck::state::action::Action;
use capdeck::state::effect::{Outcome, Refusal, Refuser};
use capdeck::tui::glyph::Glyphs;

use super::console::text_of;
use super::{Console, SIZES, dark, snapshot};

const UP: &str = "0s link nats up | 0s link gateway up | 1s nothing-waits | 3s tick";

/// The bus is there, and the gateway was never reached.
const NO_GATEWAY: &str =
    "0s link nats up | 0s link gateway down attempts=3 reason=\"connection refused\" | 9s tick";

fn check(name: &str, at_work: impl Fn() -> Console) {
    let theme = dark();
    for (columns, rows) in SIZES {
        let buf = at_work().draw(&theme, Glyphs::UNICODE, columns, rows);
        snapshot(&format!("{name}-{columns}x{rows}"), &buf, &theme);
    }
}

/// The view of policy, with what the gateway told and what came of the question.
fn policy(told: &str, outcome: Option<Outcome>) -> Console {
    let mut console = Console::play(UP);
    console.leave_open(Action::Policy);
    if !told.is_empty() {
        console.press(told);
    }
    if let Some(outcome) = outcome {
        console.end(outcome);
    }
    console
}

#[test]
fn policy_that_was_asked_for_or_refused_or_is_empty_says_so() {
    let refused = || {
        Outcome::Refused(Refusal {
            by: Refuser::Plane,
            status: 403,
            code: "role_required".into(),
            text: "reading policy needs the role admin.".into(),
        })
    };
    check("policy-own-asking", || policy("", None));
    check("policy-own-refused", || policy("", Some(refused())));
    check("policy-own-late", || policy("", Some(Outcome::TimedOut)));
    check("policy-own-none", || {
        policy("rules unmatched=DENY", Some(Outcome::Done(None)))
    });
    check("policy-own-unread", || {
        let told = "rules deny-pii:DENY,allow-known:ALLOW unmatched=DENY";
        policy(told, Some(Outcome::Done(None)))
    });
    check("policy-own-bus-alone", || {
        let mut console = Console::play(NO_GATEWAY);
        console.user(Action::Policy);
        console
    });
}

#[test]
fn rollbacks_and_traces_of_a_bus_alone_say_what_they_do_not_know() {
    for (name, action) in [("rollbacks", Action::Rollbacks), ("traces", Action::Traces)] {
        check(&format!("{name}-own-bus-alone"), || {
            let mut console = Console::play(NO_GATEWAY);
            console.user(action.clone());
            console
        });
    }
}

#[test]
fn rollbacks_that_a_gateway_has_none_of_are_none_and_not_unknown() {
    check("rollbacks-own-none", || {
        let mut console = Console::play(&format!("{UP} | 4s no-letters"));
        console.user(Action::Rollbacks);
        console
    });
}

#[test]
fn an_undo_that_its_worker_refused_is_not_said_to_be_forbidden_by_policy() {
    let says = |ended: &str| {
        let mut console = Console::play(&format!(
            "{UP} | 4s told j1 SUCCEEDED topic=job.a workflow=wf undo=job.undo_a \
             | 5s rollback wf started=0s steps=j1:u:DENIED | 6s {ended}"
        ));
        console.user(Action::Rollbacks);
        text_of(&console.draw(&dark(), Glyphs::UNICODE, 200, 60))
    };
    let policy = says("told u DENIED topic=job.undo_a decision=DENY rule=never reason=no");
    assert!(policy.contains("nothing ran; rule never: no"), "{policy}");
    assert!(
        policy.contains("Policy forbids job.undo_a by rule never."),
        "{policy}"
    );
    let worker = says(
        "told u RUNNING topic=job.undo_a decision=ALLOW rule=fine worker=w1 \
         | 7s denied u w1 message=\"not on this host\"",
    );
    assert!(worker.contains("worker w1, not on this host"), "{worker}");
    assert!(
        worker.contains("Its worker refused job.undo_a. Undo it by hand"),
        "{worker}"
    );
}
