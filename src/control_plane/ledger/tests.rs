//! Scripts of events through ledger and plan: what the outside was asked to do,
//! then how the jobs stand. [`play`] tells how a script is written.

use super::*;
use crate::control_plane::scheduler::placement::Routes;
use crate::control_plane::scheduler::plan::plan;

mod approvals;
mod ends;
mod governance;
mod keys;
mod limits;
mod places;
mod play;
mod records;
mod rollbacks;

use play::{Play, check, check_in_one_life, play, request, run};

#[test]
fn a_job_runs_from_submission_to_success() {
    check(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.allow | 2s progress j1 40 | 3s succeed j1",
        &["1s dispatch j1#1 w1", "j1 SUCCEEDED w1 40%"],
    );
}

#[test]
fn a_denied_job_is_never_dispatched_and_leaves_a_dead_letter() {
    check(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.deny",
        &["1s dlq j1 DENIED safety_denied", "j1 DENIED safety_denied"],
    );
}

#[test]
fn a_throttled_job_stays_pending_and_is_asked_about_every_five_seconds() {
    let play = run("0s beat w1@a 0/4 | 1s submit j1 job.a.throttle | 12s tick");
    let job = play.ledger.job(&JobId::from("j1")).expect("known");
    assert_eq!(job.state, JobState::Pending);
    assert_eq!(job.waiting_on, Some(WaitingOn::Throttled));
    let asked: Vec<_> = job
        .decisions
        .iter()
        .map(|record| (record.name(), record.times, record.checked_at.as_millis()))
        .collect();
    assert_eq!(asked, [("THROTTLE", 3, 11_000)]);
}

#[test]
fn a_kernel_that_does_not_answer_holds_the_job_and_is_asked_again() {
    check(
        "0s beat w1@a 0/4 | 0s kernel down | 1s submit j1 job.a.allow | 4s tick",
        &["j1 PENDING waits for kernel_unavailable"],
    );
    check(
        "0s beat w1@a 0/4 | 0s kernel down | 1s submit j1 job.a.allow | 4s kernel up | 7s tick",
        &["6s dispatch j1#1 w1", "j1 RUNNING w1"],
    );
}

#[test]
fn a_question_that_is_never_answered_is_given_up() {
    let mut ledger = Ledger::new(10, 1);
    let at = |s: i64| Timestamp::from_millis(s * 1_000);
    let submission = Submission {
        request: request("j1", "job.a.allow", |_| None),
        trace: TraceId::default(),
        via: Via::Bus,
        ..Submission::default()
    };
    ledger.submit(submission, at(0)).expect("new");
    let routes = Routes::default();
    plan(&mut ledger, &routes, at(0), 10);
    assert!(plan(&mut ledger, &routes, at(2), 10).is_empty());
    plan(&mut ledger, &routes, at(3), 10);
    let job = ledger.job(&JobId::from("j1")).expect("known");
    assert_eq!(
        job.decision().map(DecisionRecord::name),
        Some("UNAVAILABLE")
    );
    assert_eq!(job.waiting_on, Some(WaitingOn::KernelUnavailable));
}

#[test]
fn submitting_again_changes_nothing() {
    check(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.allow | 2s submit j1 job.a.allow | 3s succeed j1 \
         | 4s submit j1 job.a.allow | 5s submit j2 job.a.allow key=k | 6s submit j3 job.a.allow key=k \
         | 7s submit j4 job.a.deny key=k | 8s submit j5 job.a.allow key=k tenant=other",
        &[
            "1s dispatch j1#1 w1",
            "2s known as j1",
            "4s known as j1",
            "5s dispatch j2#1 w1",
            "6s known as j2",
            "7s refused IDEMPOTENCY_CONFLICT",
            "8s dispatch j5#1 w1",
            "j1 SUCCEEDED w1",
            "j2 RUNNING w1",
            "j5 RUNNING w1",
        ],
    );
}

#[test]
fn a_job_by_http_waits_for_its_packet_but_not_for_ever() {
    check(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.allow via=http | 1.5s submit j1 job.a.allow \
         | 2s submit j2 job.a.allow via=http | 5s tick",
        &[
            "1.5s known as j1",
            "1.5s dispatch j1#1 w1",
            "4s dispatch j2#1 w1",
            "j1 RUNNING w1",
            "j2 RUNNING w1",
        ],
    );
}

#[test]
fn a_failed_attempt_is_repeated_after_a_pause_until_the_limit() {
    check(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.limit | 2s retryable j1 | 2.1s retryable j1 \
         | 4s progress j1 10 attempt=1 | 4s retryable j1 attempt=1 | 5s retryable j1",
        &[
            "1s dispatch j1#1 w1",
            "2.1s late",
            "3s dispatch j1#2 w1",
            "4s late",
            "4s late",
            "5s dlq j1 FAILED max_retries_exceeded",
            "j1 FAILED w1 max_retries_exceeded",
        ],
    );
}

#[test]
fn a_late_result_of_an_earlier_worker_does_not_end_the_next_attempt() {
    check(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.allow | 2s retryable j1 | 2s beat w1@a 4/4 | 2s beat w2@a 0/4 \
         | 4s fail j1 worker=w1 | 5s succeed j1 worker=w2",
        &[
            "1s dispatch j1#1 w1",
            "3s dispatch j1#2 w2",
            "4s late",
            "j1 SUCCEEDED w2",
        ],
    );
}

#[test]
fn a_result_with_an_in_flight_status_ends_nothing() {
    check(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.allow | 2s running j1 | 3s succeed j1 | 4s fail j1 | 5s succeed j9",
        &[
            "1s dispatch j1#1 w1",
            "2s nothing",
            "4s late",
            "5s unknown",
            "j1 SUCCEEDED w1",
        ],
    );
}

#[test]
fn progress_moves_forward_only_and_never_after_the_end() {
    check(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.allow | 3s progress j1 50 sent=3 | 4s progress j1 20 sent=2 \
         | 5s succeed j1 | 6s progress j1 90",
        &[
            "1s dispatch j1#1 w1",
            "4s late",
            "6s late",
            "j1 SUCCEEDED w1 50%",
        ],
    );
}

#[test]
fn a_cancelled_job_ends_at_once_and_its_worker_hears_of_it() {
    check(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.allow | 2s cancel j1 | 3s cancel j1 | 4s succeed j1",
        &[
            "1s dispatch j1#1 w1",
            "2s result j1 CANCELLED",
            "2s cancel j1",
            "3s nothing",
            "4s late",
            "4s alert cancel_not_honoured",
            "j1 CANCELLED w1",
        ],
    );
}

#[test]
fn a_cancel_at_the_gateway_is_relayed_once_when_its_packet_comes_by() {
    check(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.allow | 2s halt j1 | 2s cancel j1 | 3s halt j1 | 4s cancel j9",
        &[
            "1s dispatch j1#1 w1",
            "2s cancelled a RUNNING job",
            "2s nothing",
            "2s cancel j1",
            "3s job_already_terminal",
            "4s unknown",
            "j1 CANCELLED w1",
        ],
    );
}

#[test]
fn a_job_that_waits_is_cancelled_without_a_word_to_any_worker() {
    check(
        "1s submit j1 job.a.hold | 2s cancel j1 | 3s approve j1",
        &[
            "2s result j1 CANCELLED",
            "3s approval_not_actionable",
            "j1 CANCELLED",
        ],
    );
}

#[test]
fn a_job_that_runs_out_of_time_leaves_a_dead_letter() {
    check(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.allow | 902s tick",
        &[
            "1s dispatch j1#1 w1",
            "901s dlq j1 TIMEOUT timeout",
            "j1 TIMEOUT w1 timeout",
        ],
    );
    check(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.limit | 62s tick",
        &[
            "1s dispatch j1#1 w1",
            "61s dlq j1 TIMEOUT timeout",
            "j1 TIMEOUT w1 timeout",
        ],
    );
    check(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.allow deadline=3000 | 5s succeed j1",
        &[
            "1s dispatch j1#1 w1",
            "4s dlq j1 TIMEOUT timeout",
            "5s late",
            "j1 TIMEOUT w1 timeout",
        ],
    );
}

#[test]
fn a_dispatch_that_the_bus_refused_is_tried_again() {
    check(
        "0s beat w1@a 0/4 | 0s bus down | 1s submit j1 job.a.allow | 2s bus up | 4s tick",
        &["3s dispatch j1#2 w1", "j1 RUNNING w1"],
    );
}

#[test]
fn a_full_pool_is_waited_for_in_line_and_a_freed_slot_calls_up_one_job() {
    check(
        "0s beat w1@a 0/1 | 1s submit j1 job.a.allow | 1s submit j2 job.a.allow | 1s submit j3 job.a.allow \
         | 1.5s succeed j1",
        &[
            "1s dispatch j1#1 w1",
            "1.5s dispatch j2#1 w1",
            "j1 SUCCEEDED w1",
            "j2 RUNNING w1",
            "j3 PENDING waits for pool_overloaded",
        ],
    );
}

#[test]
fn a_job_without_a_worker_goes_as_soon_as_one_comes() {
    check(
        "1s submit j1 job.a.allow | 1.2s beat w1@a 0/1",
        &["1.2s dispatch j1#1 w1", "j1 RUNNING w1"],
    );
    check(
        "0s beat w1@a 0/4 | 31s submit j1 job.a.allow",
        &["j1 PENDING waits for no_workers"],
    );
}

#[test]
fn a_job_for_which_no_worker_ever_comes_fails_in_the_end() {
    check(
        "1s submit j1 job.a.allow | 3600s tick",
        &[
            "1352s dlq j1 FAILED max_scheduling_retries",
            "j1 FAILED max_scheduling_retries",
        ],
    );
}

#[test]
fn a_tenant_at_its_limit_waits_for_its_own_jobs() {
    check(
        "0s beat w1@a 0/9 | 1s submit j1 job.a.limit | 1s submit j2 job.a.limit | 1s submit j3 job.a.limit tenant=t2 \
         | 2s tick",
        &[
            "1s dispatch j1#1 w1",
            "1s dispatch j3#1 w1",
            "j1 RUNNING w1",
            "j2 PENDING waits for tenant_limit",
            "j3 RUNNING w1",
        ],
    );
}

#[test]
fn ended_jobs_make_room_for_new_ones_and_jobs_under_way_do_not() {
    let mut ledger = Ledger::new(2, 1);
    let submit = |ledger: &mut Ledger, id: &str, at: i64| {
        let submission = Submission {
            request: request(id, "job.a.allow", |_| None),
            trace: TraceId::default(),
            via: Via::Bus,
            ..Submission::default()
        };
        ledger
            .submit(submission, Timestamp::from_millis(at))
            .map(|submitted| submitted.job_id.to_string())
    };
    assert_eq!(submit(&mut ledger, "j1", 1).as_deref(), Ok("j1"));
    assert_eq!(submit(&mut ledger, "j2", 2).as_deref(), Ok("j2"));
    let full = Err(LedgerError::Full { limit: 2 });
    assert_eq!(submit(&mut ledger, "j3", 3), full);
    ledger
        .cancel(&JobId::from("j2"), "ada", "", Timestamp::from_millis(4))
        .expect("it was pending");
    assert_eq!(submit(&mut ledger, "j3", 5).as_deref(), Ok("j3"));
    assert!(ledger.job(&JobId::from("j2")).is_none());
    let counters = ledger.counters();
    assert_eq!((counters.forgotten_jobs, counters.refused_submits), (1, 1));
}

#[test]
fn a_listing_begins_with_the_last_change() {
    let play = run(
        "0s beat w1@a 0/9 | 1s submit j1 job.a.allow | 2s submit j2 job.a.hold | 3s submit j3 job.a.allow | 4s succeed j1",
    );
    let list = |query| -> Vec<String> {
        let jobs = play.ledger.jobs(query);
        jobs.map(|job| job.id.to_string()).collect()
    };
    let at = |s: i64| Some(Timestamp::from_millis(s * 1_000));
    assert_eq!(list(JobsQuery::default()), ["j1", "j3", "j2"]);
    let held = JobsQuery {
        state: Some(JobState::ApprovalRequired),
        ..JobsQuery::default()
    };
    assert_eq!(list(held), ["j2"]);
    let between = JobsQuery {
        since: at(3),
        before: at(4),
        ..JobsQuery::default()
    };
    assert_eq!(list(between), ["j3"]);
    let backwards = JobsQuery {
        since: at(4),
        before: at(3),
        ..JobsQuery::default()
    };
    assert!(list(backwards).is_empty());
    let counts = play.ledger.counts();
    assert_eq!(counts[&JobState::Running], 1);
    assert_eq!(counts[&JobState::Succeeded], 1);
}

#[test]
fn a_pool_is_the_sum_of_its_workers_and_of_those_who_wait_for_it() {
    let play = run(
        "0s beat w1@a 0/1 | 0s beat w2@a 5/9 | 1s submit j1 job.a.allow | 1s submit j2 job.a.allow \
         | 1s beat w2@a 9/9 | 1s submit j3 job.a.allow",
    );
    let pools: Vec<_> = play
        .ledger
        .pools()
        .into_iter()
        .map(|pool| {
            let PoolSummary {
                name,
                workers,
                active_jobs,
                capacity,
                queued,
                ..
            } = pool;
            format!("{name}: {workers} workers, {active_jobs}/{capacity}, {queued} wait")
        })
        .collect();
    assert_eq!(pools, ["a: 2 workers, 10/10, 1 wait"]);
}
