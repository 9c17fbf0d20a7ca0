//! What an answer of the plane means, in words: what happened, what that means, the
//! next key.

use crate::state::effect::{Refusal, Refuser};
use crate::state::model::jobs::{Asked, JobState};
use crate::state::ui::refusal::clock;
use crate::time::Timestamp;

/// "Not approved", and "yet" where the same key works in a moment.
pub(super) fn not(past: &str, refusal: &Refusal) -> String {
    let yet = match &*refusal.code {
        "approval_retryable_lock" => " yet",
        _ => "",
    };
    format!("Not {past}{yet}")
}

/// What a refusal means, and what to press next.
pub(super) fn words(refusal: &Refusal) -> String {
    let text = refusal.text.trim_end_matches('.');
    let (meaning, then) = match (&*refusal.code, refusal.status) {
        ("approval_stale_snapshot", _) => (
            "the policy moved while you read",
            "Nothing was sent to a worker. r reads the job again under the new policy.",
        ),
        ("approval_stale_request", _) => (
            "the stored request is not the one you read",
            "Somebody changed it. r reads it again, R rejects.",
        ),
        ("approval_stale_context", _) => (
            "the payload is not the one you read",
            "r reads it again, R rejects.",
        ),
        ("approval_already_resolved", _) => (
            "somebody decided this already",
            "Yours changed nothing. Esc returns to the queue.",
        ),
        ("approval_not_actionable", _) if text.contains("expired") => (
            "it expired: its deadline passed and nobody decided",
            "Ask for a new request.",
        ),
        ("approval_not_actionable", _) if text.contains("invalidated") => (
            "a policy publish ended this approval and nobody decided",
            "Ask for a new request.",
        ),
        ("approval_not_actionable", _) => {
            ("nobody can decide this any more", "Ask for a new request.")
        }
        ("approval_terminal_run", _) => (
            "its workflow run has ended",
            "A decision no longer changes anything.",
        ),
        ("approval_retryable_lock", _) => (
            "the plane is busy with this job",
            "Your note is kept; press the key again. We do not repeat it for you.",
        ),
        ("self_approval_denied", _) => (
            "you asked for this job, so somebody else must decide",
            "Another operator has to decide it.",
        ),
        ("kernel_unavailable", _) => (
            "the safety kernel does not answer, so nothing can be approved",
            "The job keeps waiting.",
        ),
        ("no_dead_letter", _) => (
            "the gateway has no dead letter of this job, or cannot retry any",
            "No job was made; submit it again by hand.",
        ),
        (_, 401) => ("the gateway refuses the key", "Fix the key, then r."),
        (_, 403) => ("your key may not do this", "Nothing was changed."),
        (_, 404) => (
            "the plane no longer knows this job (it keeps jobs 7 days)",
            "Nothing was changed.",
        ),
        (_, 429) => ("the gateway asks us to slow down", "Try again in a moment."),
        _ => return format!("{text}."),
    };
    let says_more = text.len() > meaning.len();
    match refusal.by {
        // Our own words, with what was compared.
        Refuser::Console if says_more => format!("{text}. {then}"),
        Refuser::Plane if !text.is_empty() => format!("{meaning} ({text}). {then}"),
        Refuser::Console | Refuser::Plane => format!("{meaning}. {then}"),
    }
}

/// No answer came to something that was sent.
pub(super) fn unanswered(past: &str) -> String {
    format!("No answer came, so it is unknown whether the plane {past} it. Asking.")
}

/// What the plane says now about what it gave no answer to: whether it did it, and in
/// words. `state` is the job's, and since when; `None` if that is still not known.
pub(super) fn settled(
    asked: Asked,
    tail: &str,
    state: Option<(JobState, Timestamp)>,
) -> (bool, String) {
    let (verb, key) = match asked {
        Asked::Cancel => ("cancel", "X"),
        Asked::Approve => ("approve", "A"),
        Asked::Reject => ("reject", "R"),
    };
    let Some((state, since)) = state else {
        let text = format!("Still unknown whether the plane did {verb} {tail}. r asks again.");
        return (false, text);
    };
    let did = match asked {
        Asked::Cancel => state == JobState::Cancelled,
        Asked::Approve => !matches!(state, JobState::ApprovalRequired | JobState::Denied),
        Asked::Reject => state == JobState::Denied,
    };
    let name = state.name().to_ascii_lowercase();
    let text = if did {
        format!("It did {verb} {tail}: {name} at {}.", clock(since))
    } else if state.is_terminal() {
        format!("It did not {verb} {tail}: {name} at {}.", clock(since))
    } else {
        format!("It did not {verb} {tail}; {key} works again.")
    };
    (did, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(by: Refuser, status: u16, code: &str, text: &str, expected: &str) {
        let refusal = Refusal {
            by,
            status,
            code: code.into(),
            text: text.into(),
        };
        let said = format!("{}: {}", not("approved", &refusal), words(&refusal));
        assert_eq!(said, expected);
    }

    #[test]
    fn every_refusal_of_a_plane_says_what_happened_what_it_means_and_what_to_do() {
        for (status, code, text, expected) in [
            (
                409,
                "approval_stale_snapshot",
                "policy snapshot changed; re-evaluate before approving",
                "Not approved: the policy moved while you read (policy snapshot changed; re-evaluate before approving). Nothing was sent to a worker. r reads the job again under the new policy.",
            ),
            (
                409,
                "approval_stale_request",
                "job request changed; approval rejected",
                "Not approved: the stored request is not the one you read (job request changed; approval rejected). Somebody changed it. r reads it again, R rejects.",
            ),
            (
                409,
                "approval_stale_context",
                "",
                "Not approved: the payload is not the one you read. r reads it again, R rejects.",
            ),
            (
                409,
                "approval_already_resolved",
                "ann approved this at 14:02",
                "Not approved: somebody decided this already (ann approved this at 14:02). Yours changed nothing. Esc returns to the queue.",
            ),
            (
                409,
                "approval_not_actionable",
                "approval expired",
                "Not approved: it expired: its deadline passed and nobody decided (approval expired). Ask for a new request.",
            ),
            (
                409,
                "approval_not_actionable",
                "approval invalidated",
                "Not approved: a policy publish ended this approval and nobody decided (approval invalidated). Ask for a new request.",
            ),
            (
                409,
                "approval_not_actionable",
                "job not awaiting approval",
                "Not approved: nobody can decide this any more (job not awaiting approval). Ask for a new request.",
            ),
            (
                409,
                "approval_terminal_run",
                "workflow run failed",
                "Not approved: its workflow run has ended (workflow run failed). A decision no longer changes anything.",
            ),
            (
                409,
                "approval_retryable_lock",
                "approval in progress; retry",
                "Not approved yet: the plane is busy with this job (approval in progress; retry). Your note is kept; press the key again. We do not repeat it for you.",
            ),
            (
                403,
                "self_approval_denied",
                "self-approval not permitted",
                "Not approved: you asked for this job, so somebody else must decide (self-approval not permitted). Another operator has to decide it.",
            ),
            (
                403,
                "forbidden",
                "tenant access denied",
                "Not approved: your key may not do this (tenant access denied). Nothing was changed.",
            ),
            (
                401,
                "unauthorized",
                "unauthorized",
                "Not approved: the gateway refuses the key (unauthorized). Fix the key, then r.",
            ),
            (
                404,
                "not_found",
                "job not found",
                "Not approved: the plane no longer knows this job (it keeps jobs 7 days) (job not found). Nothing was changed.",
            ),
            (
                429,
                "rate_limited",
                "rate limited",
                "Not approved: the gateway asks us to slow down (rate limited). Try again in a moment.",
            ),
            (
                503,
                "kernel_unavailable",
                "safety kernel unavailable",
                "Not approved: the safety kernel does not answer, so nothing can be approved (safety kernel unavailable). The job keeps waiting.",
            ),
            // Not every 503 is the kernel's.
            (
                503,
                "other",
                "the bus does not answer",
                "Not approved: the bus does not answer.",
            ),
            (
                409,
                "conflict",
                "the moon is full.",
                "Not approved: the moon is full.",
            ),
        ] {
            check(Refuser::Plane, status, code, text, expected);
        }
    }

    #[test]
    fn a_refusal_of_our_own_names_both_sides_once() {
        check(
            Refuser::Console,
            0,
            "approval_stale_snapshot",
            "the policy moved while you read, from v1 to v2",
            "Not approved: the policy moved while you read, from v1 to v2. Nothing was sent to a worker. r reads the job again under the new policy.",
        );
        check(
            Refuser::Console,
            0,
            "approval_stale_context",
            "the payload is gone",
            "Not approved: the payload is not the one you read. r reads it again, R rejects.",
        );
        check(
            Refuser::Console,
            0,
            "read_only",
            "this console only reads",
            "Not approved: this console only reads.",
        );
    }

    #[test]
    fn what_was_not_answered_is_settled_by_the_state_of_the_job() {
        let at = Timestamp::from_millis(1_000_000);
        for (asked, state, did, expected) in [
            (
                Asked::Approve,
                Some(JobState::Pending),
                true,
                "It did approve 9f2c: pending at 00:16:40Z.",
            ),
            (
                Asked::Approve,
                Some(JobState::ApprovalRequired),
                false,
                "It did not approve 9f2c; A works again.",
            ),
            (
                Asked::Approve,
                Some(JobState::Denied),
                false,
                "It did not approve 9f2c: denied at 00:16:40Z.",
            ),
            (
                Asked::Reject,
                Some(JobState::Denied),
                true,
                "It did reject 9f2c: denied at 00:16:40Z.",
            ),
            (
                Asked::Reject,
                Some(JobState::ApprovalRequired),
                false,
                "It did not reject 9f2c; R works again.",
            ),
            (
                Asked::Cancel,
                Some(JobState::Cancelled),
                true,
                "It did cancel 9f2c: cancelled at 00:16:40Z.",
            ),
            (
                Asked::Cancel,
                Some(JobState::Running),
                false,
                "It did not cancel 9f2c; X works again.",
            ),
            (
                Asked::Cancel,
                Some(JobState::Succeeded),
                false,
                "It did not cancel 9f2c: succeeded at 00:16:40Z.",
            ),
            (
                Asked::Approve,
                None,
                false,
                "Still unknown whether the plane did approve 9f2c. r asks again.",
            ),
        ] {
            let state = state.map(|state| (state, at));
            assert_eq!(settled(asked, "9f2c", state), (did, expected.to_owned()));
        }
    }
}
