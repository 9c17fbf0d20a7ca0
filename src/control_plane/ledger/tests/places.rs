//! Jobs that not every worker of their pool may take.

use super::play::{check, check_in_one_life};

#[test]
fn a_job_waits_until_a_worker_tells_what_it_requires() {
    check(
        "0s beat w1@a 0/4 can=net | 1s submit j1 job.a.allow requires=GPU | 1.2s beat w1@a 0/4 can=net,gpu",
        &["1.2s dispatch j1#1 w1", "j1 RUNNING w1"],
    );
    check(
        "0s beat w1@a 0/4 can=net | 1s submit j1 job.a.allow requires=gpu,net | 20s beat w1@a 0/4 can=net",
        &["j1 PENDING waits for no_pool_mapping"],
    );
}

#[test]
fn a_job_waits_until_a_worker_has_the_label_it_is_placed_by() {
    check(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.allow where=node.zone:eu | 1.2s beat w1@a 0/4 where=node.zone:eu",
        &["1.2s dispatch j1#1 w1", "j1 RUNNING w1"],
    );
    check(
        "0s beat w1@a 0/4 where=node.zone:us | 1s submit j1 job.a.allow where=node.zone:eu | 20s tick",
        &["j1 PENDING waits for no_workers"],
    );
}

#[test]
fn a_job_that_no_worker_ever_meets_fails_as_one_without_a_worker_does() {
    let beats: Vec<String> = (0..140)
        .map(|n| format!("{}s beat w1@a 0/4", n * 10))
        .collect();
    let (first, later) = beats.split_at(1);
    check_in_one_life(
        &format!(
            "{} | 1s submit j1 job.a.allow requires=gpu | {}",
            first.join(""),
            later.join(" | ")
        ),
        &[
            "1352s dlq j1 FAILED max_scheduling_retries",
            "j1 FAILED max_scheduling_retries",
        ],
    );
}

#[test]
fn a_job_at_the_head_of_a_line_lets_those_pass_that_a_free_worker_can_take() {
    check(
        "0s beat w1@a 0/1 can=gpu | 0s beat w2@a 0/1 | 1s submit j1 job.a.allow requires=gpu \
         | 1s submit j2 job.a.allow | 1.1s submit j3 job.a.allow requires=gpu | 1.1s submit j4 job.a.allow \
         | 1.2s succeed j2 | 1.3s succeed j1",
        &[
            "1s dispatch j1#1 w1",
            "1s dispatch j2#1 w2",
            "1.2s dispatch j4#1 w2",
            "1.3s dispatch j3#1 w1",
            "j1 SUCCEEDED w1",
            "j2 SUCCEEDED w2",
            "j3 RUNNING w1",
            "j4 RUNNING w2",
        ],
    );
}

#[test]
fn another_attempt_goes_to_a_worker_that_meets_the_demands_too() {
    check(
        "0s beat w1@a 0/1 | 0s beat w2@a 0/9 can=gpu | 1s submit j1 job.a.allow requires=gpu \
         | 2s retryable j1 | 2s beat w2@a 9/9 can=gpu | 4s tick",
        &[
            "1s dispatch j1#1 w2",
            "j1 RETRYING waits for pool_overloaded w2 ERROR_CODE_JOB_WORKER_UNAVAILABLE",
        ],
    );
}
