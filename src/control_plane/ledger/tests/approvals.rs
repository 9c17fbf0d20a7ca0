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

#[test]
fn a_no_is_taken_whatever_moved_meanwhile_but_not_after_the_end() {
    check(
        "1s submit j1 job.a.hold | 1s submit j2 job.a.hold | 1s submit j3 job.a.hold deadline=5000 \
         | 2s policy v2 | 3s reject j1 | 3s tamper j2 | 4s reject j2 | 7s reject j3 | 40s tick",
        &[
            "3s rejected approval_rejected",
            "4s rejected approval_rejected",
            "6s dlq j3 TIMEOUT timeout",
            "7s approval_not_actionable",
            "j1 DENIED approval_rejected",
            "j2 DENIED approval_rejected",
            "j3 TIMEOUT timeout",
        ],
    );
    // The deadline has passed, and nobody has looked yet.
    let mut play = run("1s submit j1 job.a.hold deadline=5000");
    play.now = Timestamp::from_millis(6_000);
    play.event("reject j1");
    play.settle();
    assert_eq!(
        play.log,
        "6s approval_not_actionable\n6s dlq j1 TIMEOUT timeout\n"
    );
}

#[test]
fn the_limits_that_a_person_was_shown_ride_on_the_dispatch_after_their_yes() {
    let script = "0s beat w1@a 0/4 | 1s submit j1 job.a.hold.limit deadline=90000 | 2s approve j1 announce=no";
    let sent = |script: &str| {
        let play = run(script);
        let job = play.ledger.job(&JobId::from("j1")).expect("known");
        let sent = job.dispatched_request.clone().expect("it was sent");
        let env: Vec<_> = sent.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let deadline = sent.budget.as_ref().map(|budget| budget.deadline_ms);
        (env, deadline)
    };
    let expected = [
        "CORDUM_MAX_CONCURRENT_JOBS=1",
        "CORDUM_MAX_RETRIES=1",
        concat!(
            r#"CORDUM_POLICY_CONSTRAINTS={"budgets":{"maxRuntimeMs":"60000","#,
            r#""maxRetries":1,"maxConcurrentJobs":1}}"#
        ),
    ];
    for script in [
        format!("{script} | 5s tick"),
        // The yes is on record with what it was a yes to.
        format!("{script} | 3s restart | 4s beat w1@a 0/4 | 6s tick"),
    ] {
        let (env, deadline) = sent(&script);
        assert_eq!(env, expected, "{script}");
        assert_eq!(deadline, Some(60_000), "{script}");
    }
    // They hold for its attempts too: one more, and each a minute at most.
    check(
        &format!("{script} | 5s retryable j1 | 7s retryable j1"),
        &[
            "2s approved j1",
            "4s dispatch j1#1 w1",
            "6s dispatch j1#2 w1",
            "7s dlq j1 FAILED max_retries_exceeded",
            "j1 FAILED w1 max_retries_exceeded",
        ],
    );
}
