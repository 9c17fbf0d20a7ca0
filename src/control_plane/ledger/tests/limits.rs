//! How long a job may stay where it is, and how often it is tried.

use super::*;

#[test]
fn a_job_that_the_bus_refuses_while_its_worker_is_heard_times_out_after_a_minute() {
    let script = "0s beat w1@a 0/4 | 0s bus down | 1s submit j1 job.a.allow | 20s beat w1@a 0/4 \
         | 40s beat w1@a 0/4";
    check_in_one_life(
        &format!("{script} | 60.9s tick"),
        &["j1 SCHEDULED waits for bus_unavailable w1"],
    );
    check_in_one_life(
        &format!("{script} | 70s tick"),
        &["61s dlq j1 TIMEOUT timeout", "j1 TIMEOUT w1 timeout"],
    );
    let play = run(&format!("{script} | 70s tick"));
    let letter = play.ledger.dead_letter(&JobId::from("j1")).expect("told");
    assert_eq!(letter.reason, "timeout: SCHEDULED for too long");
    assert_eq!(letter.last_state, JobState::Scheduled);
    // The time without a plane does not count.
    check_in_one_life(
        &format!("{script} | 50s restart | 90s bus up | 91s beat w1@a 0/4 | 96s tick"),
        &["91s dispatch j1#8 w1", "j1 RUNNING w1"],
    );
}

#[test]
fn a_job_that_the_bus_refused_waits_for_bus_worker_and_policy_as_long_as_any_other() {
    // The bus is away, and nobody is heard.
    check_in_one_life(
        "0s beat w1@a 0/4 | 0s bus down | 1s submit j1 job.a.allow | 200s bus up | 201s beat w1@a 0/4",
        &["201s dispatch j1#7 w1", "j1 RUNNING w1"],
    );
    check(
        "0s beat w1@a 0/4 | 0s bus down | 1s submit j1 job.a.allow | 2s bus up | 2s kernel down \
         | 300s tick",
        &["j1 SCHEDULED waits for kernel_unavailable w1"],
    );
    check(
        "0s beat w1@a 0/1 | 0s bus down | 1s submit j1 job.a.allow | 2s bus up | 2s beat w1@a 1/1 \
         | 20s beat w1@a 1/1 | 40s beat w1@a 1/1 | 60s beat w1@a 1/1 | 80s tick",
        &["j1 SCHEDULED waits for pool_overloaded w1"],
    );
}

#[test]
fn a_request_that_the_bus_neither_takes_nor_refuses_times_out_after_five_minutes() {
    check_in_one_life(
        "0s beat w1@a 0/4 | 0s bus hangs | 1s submit j1 job.a.allow | 300.9s tick",
        &["1s hands j1#1 to a bus that hangs", "j1 DISPATCHED w1"],
    );
    check_in_one_life(
        "0s beat w1@a 0/4 | 0s bus hangs | 1s submit j1 job.a.allow | 302s tick | 303s succeed j1",
        &[
            "1s hands j1#1 to a bus that hangs",
            "301s dlq j1 TIMEOUT timeout",
            "303s late",
            "j1 TIMEOUT w1 timeout",
        ],
    );
}

/// A worker that is heard once a minute, and so is there half of the time, while the bus
/// takes nothing.
fn refusing(beats: u32) -> String {
    let beats = (0..beats).map(|n| format!("{}s beat w1@a 0/4", 60 + n * 60));
    let beats: Vec<_> = beats.collect();
    format!(
        "0s beat w1@a 0/4 | 0s bus down | 1s submit j1 job.a.allow | {}",
        beats.join(" | ")
    )
}

#[test]
fn a_dispatch_that_the_bus_refuses_again_and_again_fails_after_fifty_tries() {
    let script = refusing(40);
    check_in_one_life(
        &script,
        &[
            "1320s dlq j1 FAILED max_scheduling_retries",
            "j1 FAILED w1 max_scheduling_retries",
        ],
    );
    let play = run(&script);
    let job = play.ledger.job(&JobId::from("j1")).expect("known");
    assert_eq!(
        job.error_message,
        "it was not sent in 50 tries, the last time: the bus is away"
    );
}

#[test]
fn tries_before_a_dispatch_that_went_well_do_not_count_for_the_next_one() {
    let play = run(&format!(
        "{} | 125s bus up | 180s beat w1@a 0/4 | 185s retryable j1 | 185.5s tick",
        refusing(2)
    ));
    let job = play.ledger.job(&JobId::from("j1")).expect("known");
    assert_eq!(job.state, JobState::Retrying);
    assert_eq!(job.placement_tries, 0);
}

#[test]
fn what_the_bus_refused_goes_as_soon_as_the_line_is_back_and_its_worker_is_heard() {
    let script =
        "0s beat w1@a 0/4 | 0s bus down | 1s submit j1 job.a.allow | 29s tick | 29.5s bus up";
    check_in_one_life(
        &format!("{script} | 30s beat w1@a 0/4 | 31s tick"),
        &["j1 SCHEDULED waits for bus_unavailable w1"],
    );
    check_in_one_life(
        &format!("{script} | 29.6s line | 30s beat w1@a 0/4 | 31s tick"),
        &["30s dispatch j1#7 w1", "j1 RUNNING w1"],
    );
}

#[test]
fn pauses_between_attempts_double_until_no_attempt_is_left() {
    check(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.allow | 2s retryable j1 | 4s retryable j1 | 7s retryable j1 \
         | 12s retryable j1 | 13s submit j2 job.a.once | 14s retryable j2 | 20s tick",
        &[
            "1s dispatch j1#1 w1",
            "3s dispatch j1#2 w1",
            "6s dispatch j1#3 w1",
            "11s dispatch j1#4 w1",
            "12s dlq j1 FAILED max_retries_exceeded",
            "13s dispatch j2#1 w1",
            "14s dlq j2 FAILED max_retries_exceeded",
            "j1 FAILED w1 max_retries_exceeded",
            "j2 FAILED w1 max_retries_exceeded",
        ],
    );
}

#[test]
fn a_worker_that_reports_after_a_cancel_is_told_of_once_it_had_five_seconds_to_stop() {
    check(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.allow | 2s cancel j1 | 5s progress j1 50 | 6.9s progress j1 60 \
         | 7s progress j1 70 | 8s progress j1 80 | 9s succeed j1",
        &[
            "1s dispatch j1#1 w1",
            "2s result j1 CANCELLED",
            "2s cancel j1",
            "5s late",
            "6.9s late",
            "7s late",
            "7s alert cancel_not_honoured",
            "8s late",
            "9s late",
            "j1 CANCELLED w1",
        ],
    );
}
