//! What a yes and a no of a person do, and what refuses them.

use super::*;

#[test]
fn an_approved_job_passes_once_and_a_second_yes_is_refused() {
    check(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.hold | 5s approve j1 | 6s approve j1 | 7s reject j1",
        &[
            "5s approved j1",
            "5s submit j1 job.a.hold undoes ",
            "5s dispatch j1#1 w1",
            "6s approval_already_resolved",
            "7s approval_already_resolved",
            "j1 RUNNING w1",
        ],
    );
}

#[test]
fn an_approved_job_goes_on_even_when_its_announcement_is_lost() {
    check(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.hold | 5s approve j1 announce=no | 8s tick",
        &["5s approved j1", "7s dispatch j1#1 w1", "j1 RUNNING w1"],
    );
}

#[test]
fn a_moved_policy_refuses_the_yes_and_leaves_the_approval_open() {
    check(
        "1s submit j1 job.a.hold | 2s policy v2 | 3s approve j1 | 4s policy v1 | 5s beat w1@a 0/4 | 6s approve j1",
        &[
            "3s approval_stale_snapshot",
            "6s approved j1",
            "6s submit j1 job.a.hold undoes ",
            "6s dispatch j1#1 w1",
            "j1 RUNNING w1",
        ],
    );
}

#[test]
fn a_moved_policy_is_visible_on_the_waiting_approval() {
    let play = run("0s policy v1 | 1s submit j1 job.a.hold | 2s policy v2");
    let job = play.ledger.waiting_approvals().next().expect("it waits");
    let approval = job.approval.as_ref().expect("held");
    assert_eq!(approval.status, ApprovalStatus::Pending);
    assert_eq!(play.ledger.snapshot_is_current(approval), Some(false));
}

#[test]
fn a_request_that_was_changed_in_the_record_cannot_be_approved() {
    check(
        "1s submit j1 job.a.hold | 2s tamper j1 | 3s approve j1",
        &[
            "3s approval_stale_request",
            "j1 APPROVAL_REQUIRED waits for approval",
        ],
    );
}

#[test]
fn a_yes_to_something_else_than_was_seen_is_refused() {
    check(
        "1s submit j1 job.a.hold | 2s approve j1 hash=other | 3s approve j1 snapshot=v0 \
         | 4s approve j1 saw=aa stored=bb | 5s approve j1 saw=aa",
        &[
            "2s approval_stale_request",
            "3s approval_stale_snapshot",
            "4s approval_stale_request",
            "5s approval_stale_request",
            "j1 APPROVAL_REQUIRED waits for approval",
        ],
    );
}

#[test]
fn what_does_not_wait_for_a_person_cannot_be_decided() {
    check(
        "1s submit j1 job.a.allow | 2s approve j1 | 3s approve j9 | 4s reject j9",
        &[
            "2s approval_not_actionable",
            "3s job_not_found",
            "4s job_not_found",
            "j1 PENDING waits for no_workers",
        ],
    );
}

#[test]
fn a_rejected_job_is_denied_and_repeating_its_submission_does_not_wake_it() {
    check(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.hold | 2s reject j1 | 3s submit j1 job.a.hold | 4s approve j1",
        &[
            "2s rejected approval_rejected",
            "3s known as j1",
            "4s approval_already_resolved",
            "j1 DENIED approval_rejected",
        ],
    );
}

#[test]
fn the_label_of_an_approval_alone_opens_nothing() {
    check(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.hold label=approval_granted | 2s submit j1 job.a.hold",
        &["2s known as j1", "j1 APPROVAL_REQUIRED waits for approval"],
    );
}

#[test]
fn an_approval_ends_with_the_deadline_of_its_job() {
    check(
        "1s submit j1 job.a.hold deadline=5000 | 7s approve j1",
        &[
            "6s dlq j1 TIMEOUT timeout",
            "7s approval_not_actionable",
            "j1 TIMEOUT timeout",
        ],
    );
    let play = run("1s submit j1 job.a.hold deadline=5000 | 7s tick");
    let job = play.ledger.job(&JobId::from("j1")).expect("known");
    let approval = job.approval.as_ref().expect("held");
    assert_eq!(approval.status, ApprovalStatus::Expired);
}
