//! What undoes what failed for good, in which order, and what stops it.

use super::*;

#[test]
fn a_workflow_that_fails_for_good_is_undone_backwards_one_step_after_the_other() {
    check(
        "0s beat w1@a 0/9 | 1s submit j1 job.a.allow wf=w undo=job.a.u1 | 2s succeed j1 \
         | 3s submit j2 job.a.allow wf=w undo=job.a.u2 | 4s succeed j2 \
         | 5s submit j3 job.a.allow wf=w undo=job.a.u3 | 6s fatal j3 | 7s fatal j3 \
         | 8s succeed undo1 | 9s succeed undo2 | 10s succeed undo3",
        &[
            "1s dispatch j1#1 w1",
            "3s dispatch j2#1 w1",
            "5s dispatch j3#1 w1",
            "6s dlq j3 FAILED_FATAL ERROR_CODE_JOB_TIMEOUT",
            "6s submit undo1 job.a.u3 undoes j3",
            "6s dispatch undo1#1 w1",
            "7s late",
            "8s submit undo2 job.a.u2 undoes j2",
            "8s dispatch undo2#1 w1",
            "9s submit undo3 job.a.u1 undoes j1",
            "9s dispatch undo3#1 w1",
            "j1 SUCCEEDED w1",
            "j2 SUCCEEDED w1",
            "j3 FAILED w1 ERROR_CODE_JOB_TIMEOUT",
            "undo1 SUCCEEDED w1",
            "undo2 SUCCEEDED w1",
            "undo3 SUCCEEDED w1",
        ],
    );
}

#[test]
fn a_job_without_a_workflow_is_undone_alone_and_only_when_it_failed_for_good() {
    check(
        "0s beat w1@a 0/9 | 1s submit j1 job.a.allow undo=job.a.u1 | 2s fail j1 \
         | 3s submit j2 job.a.allow undo=a.u2 undokey=j2/undo | 4s fatal j2 | 5s succeed undo1",
        &[
            "1s dispatch j1#1 w1",
            "2s dlq j1 FAILED ERROR_CODE_JOB_INVALID_INPUT",
            "3s dispatch j2#1 w1",
            "4s dlq j2 FAILED_FATAL ERROR_CODE_JOB_TIMEOUT",
            "4s submit undo1 job.a.u2 undoes j2",
            "4s dispatch undo1#1 w1",
            "j1 FAILED w1 ERROR_CODE_JOB_INVALID_INPUT",
            "j2 FAILED w1 ERROR_CODE_JOB_TIMEOUT",
            "undo1 SUCCEEDED w1",
        ],
    );
}

#[test]
fn an_undo_with_a_key_that_ran_before_does_not_run_again() {
    check(
        "0s beat w1@a 0/9 | 1s submit j1 job.a.allow undo=job.a.u undokey=k | 2s fatal j1 | 3s succeed undo1 \
         | 4s submit j2 job.a.allow undo=job.a.u undokey=k | 5s fatal j2",
        &[
            "1s dispatch j1#1 w1",
            "2s dlq j1 FAILED_FATAL ERROR_CODE_JOB_TIMEOUT",
            "2s submit undo1 job.a.u undoes j1",
            "2s dispatch undo1#1 w1",
            "4s dispatch j2#1 w1",
            "5s dlq j2 FAILED_FATAL ERROR_CODE_JOB_TIMEOUT",
            "j1 FAILED w1 ERROR_CODE_JOB_TIMEOUT",
            "j2 FAILED w1 ERROR_CODE_JOB_TIMEOUT",
            "undo1 SUCCEEDED w1",
        ],
    );
}

#[test]
fn an_undo_that_policy_denies_stops_the_rollback_and_is_told() {
    check(
        "0s beat w1@a 0/9 | 1s submit j1 job.a.allow wf=w undo=job.a.u1 | 2s succeed j1 \
         | 3s submit j2 job.a.allow wf=w undo=job.a.deny | 4s fatal j2 | 6s tick",
        &[
            "1s dispatch j1#1 w1",
            "3s dispatch j2#1 w1",
            "4s dlq j2 FAILED_FATAL ERROR_CODE_JOB_TIMEOUT",
            "4s submit undo1 job.a.deny undoes j2",
            "4s alert rollback_stopped",
            "4s dlq undo1 DENIED safety_denied",
            "j1 SUCCEEDED w1",
            "j2 FAILED w1 ERROR_CODE_JOB_TIMEOUT",
            "undo1 DENIED safety_denied",
        ],
    );
}

#[test]
fn an_undo_that_needs_approval_waits_for_a_person() {
    check(
        "0s beat w1@a 0/9 | 1s submit j1 job.a.allow undo=job.a.hold | 2s fatal j1 | 4s approve undo1 | 5s succeed undo1",
        &[
            "1s dispatch j1#1 w1",
            "2s dlq j1 FAILED_FATAL ERROR_CODE_JOB_TIMEOUT",
            "2s submit undo1 job.a.hold undoes j1",
            "4s approved undo1",
            "4s submit undo1 job.a.hold undoes j1",
            "4s dispatch undo1#1 w1",
            "j1 FAILED w1 ERROR_CODE_JOB_TIMEOUT",
            "undo1 SUCCEEDED w1",
        ],
    );
}

#[test]
fn an_undo_that_ends_in_any_other_way_than_well_stops_the_rollback_and_is_told() {
    for (undo, then, at, why) in [
        (
            "hold",
            "4s reject undo1",
            "4s",
            "it ended DENIED: approval_rejected: not today",
        ),
        (
            "hold",
            "3s policy v2 | 34s tick",
            "33s",
            "it ended DENIED: approval_invalidated: approval invalidated: policy v2 is in force now",
        ),
        (
            "allow",
            "910s tick",
            "902s",
            "it ended TIMEOUT: timeout: timeout: RUNNING for too long",
        ),
        (
            "allow",
            "4s halt undo1",
            "4s",
            "it ended CANCELLED: cancelled: cancelled by ada",
        ),
        (
            "allow",
            "4s stopped undo1",
            "4s",
            "it ended CANCELLED: cancelled",
        ),
    ] {
        let script = format!(
            "0s policy v1 | 0s beat w1@a 0/9 | 1s submit j0 job.a.allow wf=w undo=job.a.u0 | 1s succeed j0 \
             | 1s submit j1 job.a.allow wf=w undo=job.a.{undo} | 2s fatal j1 | {then}"
        );
        for taken_over in [false, true] {
            let play = play(&script, taken_over);
            let told = format!("{at} alert rollback_stopped");
            assert_eq!(play.log.matches(&told).count(), 1, "{}", play.log);
            assert!(!play.log.contains("undo2"), "{}", play.log);
            let rollback = play.ledger.rollback("w").expect("it has begun");
            assert_eq!(rollback.state, RollbackState::Stopped, "{script}");
            let stop = rollback.stopped.expect("it stopped");
            assert_eq!(stop.why, why);
            assert_eq!(rollback.steps[1].state, UndoState::Waiting, "{script}");
        }
    }
}

#[test]
fn a_rollback_whose_step_was_cancelled_goes_on_when_its_dead_letter_is_retried() {
    let before = "0s beat w1@a 0/9 | 1s submit j1 job.a.allow wf=w undo=job.a.u1 | 2s succeed j1 \
         | 3s submit j2 job.a.allow wf=w undo=job.a.u2 | 4s fatal j2";
    for cancel in ["halt", "cancel"] {
        for taken_over in [false, true] {
            let script = format!("{before} | 5s {cancel} undo1 | 6s again undo1 | 7s tick");
            let play = play(&script, taken_over);
            assert!(
                play.log.contains("5s dlq undo1 CANCELLED cancelled"),
                "{}",
                play.log
            );
            let rollback = play.ledger.rollback("w").expect("it has begun");
            assert_eq!(rollback.state, RollbackState::Running, "{}", play.log);
            assert_eq!(rollback.stopped, None, "{}", play.log);
            assert!(!play.log.contains("undoes j1"), "{}", play.log);
        }
    }
    let story = run(&format!(
        "{before} | 5s halt undo1 | 6s again undo1 | 7s succeed undo1again | 8s succeed undo3"
    ));
    let rollback = story.ledger.rollback("w").expect("it has begun");
    assert_eq!(rollback.state, RollbackState::Done, "{}", story.log);
}
