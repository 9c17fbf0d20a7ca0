//! What a gateway answers to an approval, as the operator reads it.

use std::sync::{Arc, Mutex};

use crate::standin::{
    Answer, StandIn, TAIL, approve, approve_again, console, flat, open_review, says,
};
use crate::support::{Capdeck, wait_until};

/// Answers the next decision so, once.
fn next(gateway: &StandIn, answer: Answer) {
    let answer = Mutex::new(Some(answer));
    gateway.instead(move |asked, _| {
        (asked.method == "POST")
            .then(|| answer.lock().unwrap().take())
            .flatten()
    });
}

#[test]
fn each_refusal_is_read_in_the_review_and_the_note_is_kept() {
    let gateway = StandIn::start(true);
    let screen = console(&gateway, Capdeck::new());
    open_review(&screen);
    let mut first = true;
    for (answer, title, sentence) in [
        (
            // The lock is answered with a 200 around a 409.
            Answer::refusal(
                200,
                409,
                "approval_retryable_lock",
                "approval in progress; retry",
            ),
            "409 approval_retryable_lock",
            "Not approved yet: the plane is busy with this job (approval in progress; retry). Your note is kept; press the key again. We do not repeat it for you.",
        ),
        (
            Answer::refusal(
                403,
                403,
                "self_approval_denied",
                "self-approval not permitted",
            ),
            "403 self_approval_denied",
            "Not approved: you asked for this job, so somebody else must decide (self-approval not permitted). Another operator has to decide it.",
        ),
        (
            Answer::Says(401, r#"{"error":"unauthorized","status":401}"#.to_owned()),
            "401 unauthorized",
            "Not approved: the gateway refuses the key (unauthorized). Fix the key, then r.",
        ),
        (
            Answer::refusal(404, 404, "not_found", "job not found"),
            "404 not_found",
            "Not approved: the plane no longer knows this job (it keeps jobs 7 days) (job not found). Nothing was changed.",
        ),
        (
            Answer::SaysWith(
                429,
                "Retry-After: 7",
                r#"{"error":"rate limited"}"#.to_owned(),
            ),
            "429 rate_limited",
            "Not approved: the gateway asks us to slow down (rate limited, for 7s). Try again in a moment.",
        ),
        (
            Answer::Says(503, "safety kernel unavailable\n".to_owned()),
            "503 kernel_unavailable",
            "Not approved: the safety kernel does not answer, so nothing can be approved (safety kernel unavailable). The job keeps waiting.",
        ),
    ] {
        next(&gateway, answer);
        if first {
            approve(&screen, "in the window");
        } else {
            approve_again(&screen);
        }
        first = false;
        says(&screen, sentence);
        assert!(
            flat(&screen).contains(&format!("NOT APPROVED {title}"))
                || flat(&screen).contains(&format!("NOT APPROVED   {title}")),
            "{}",
            screen.text()
        );
    }
    // Each was sent once, and every time with the note that was typed once.
    let posts = gateway.posts();
    assert_eq!(posts.len(), 6, "{posts:?}");
    assert!(
        posts
            .iter()
            .all(|post| post.body.contains(r#""note":"in the window""#)),
        "{posts:?}"
    );
    screen.audit_log();
}

#[test]
fn a_line_that_breaks_after_sending_is_unknown_until_the_plane_was_asked() {
    let gateway = StandIn::start(true);
    let screen = console(&gateway, Capdeck::new());
    open_review(&screen);
    // The plane did nothing: A works again.
    next(&gateway, Answer::HangsUp);
    approve(&screen, "in the window");
    says(
        &screen,
        &format!("It did not approve {TAIL}; A works again."),
    );
    // The plane did it and could not say so: the review is over.
    let done = Arc::new(Mutex::new(false));
    let did = Arc::clone(&done);
    gateway.instead(move |asked, knows| {
        if asked.method != "POST" {
            return None;
        }
        knows.state = "PENDING";
        *did.lock().unwrap() = true;
        Some(Answer::HangsUp)
    });
    approve_again(&screen);
    wait_until("the decision", || done.lock().unwrap().then_some(()));
    says(&screen, &format!("It did approve {TAIL}: pending at "));
    assert!(
        !screen.text().contains("Before A works"),
        "{}",
        screen.text()
    );
    // What was said in between is in the log of own actions.
    screen.press(":log\r");
    screen.shows("came, so it is unknown whether the plane approved it. Asking.");
    // Nothing was sent twice by itself.
    assert_eq!(gateway.posts().len(), 2);
    let log = screen.audit_log();
    assert_eq!(log.matches(r#""outcome":"unknown""#).count(), 2, "{log}");
}

#[test]
fn an_answer_that_no_gateway_gives_is_not_taken_for_nothing_sent() {
    let gateway = StandIn::start(true);
    let screen = console(&gateway, Capdeck::new());
    open_review(&screen);
    next(
        &gateway,
        Answer::Says(200, "<html>welcome</html>".to_owned()),
    );
    approve(&screen, "in the window");
    says(
        &screen,
        &format!("It did not approve {TAIL}; A works again."),
    );
    let log = screen.audit_log();
    assert!(log.contains(r#""outcome":"unknown""#), "{log}");
}
