//! How results end jobs, wherever these stand.

use super::super::*;
use super::play::{check, play};

/// How a job comes to stand where a result finds it.
const WHERE: [(&str, JobState); 5] = [
    ("1s submit j1 job.a.allow", JobState::Pending),
    (
        "0s beat w1@a 0/4 | 0s bus down | 1s submit j1 job.a.allow",
        JobState::Scheduled,
    ),
    (
        "0s beat w1@a 0/4 | 0s bus hangs | 1s submit j1 job.a.allow",
        JobState::Dispatched,
    ),
    (
        "0s beat w1@a 0/4 | 1s submit j1 job.a.allow",
        JobState::Running,
    ),
    (
        "0s beat w1@a 0/4 | 1s submit j1 job.a.allow | 1.1s retryable j1",
        JobState::Retrying,
    ),
];

/// What a worker says, where its job ends, and with what dead letter.
const ENDS: [(&str, JobState, &str); 7] = [
    ("succeed", JobState::Succeeded, ""),
    ("fail", JobState::Failed, "FAILED"),
    ("fatal", JobState::Failed, "FAILED_FATAL"),
    ("odd", JobState::Failed, "FAILED"),
    ("stopped", JobState::Cancelled, "CANCELLED"),
    ("refuse", JobState::Denied, "DENIED"),
    ("overrun", JobState::Timeout, "TIMEOUT"),
];

#[test]
fn every_result_ends_its_job_wherever_it_stands_and_nothing_that_comes_later_changes_that() {
    let late = "1.3s succeed j1 | 1.4s refuse j1 | 1.5s progress j1 40 | 1.6s retryable j1 \
                | 4s submit j1 job.a.allow | 2000s tick";
    for taken_over in [false, true] {
        for (script, state) in WHERE {
            let stands = play(script, taken_over);
            let job = stands.ledger.job(&JobId::from("j1")).expect("known");
            assert_eq!(job.state, state, "{script}");
            for (verb, end, letter) in ENDS {
                let script = format!("{script} | 1.2s {verb} j1 | {late}");
                let ended = play(&script, taken_over);
                let job = ended.ledger.job(&JobId::from("j1")).expect("known");
                assert_eq!(job.state, end, "{script}\n{}", ended.log);
                assert_eq!(job.updated_at.as_millis(), 1_200, "{script}");
                assert_eq!(ended.ledger.at_work(DEFAULT_TENANT), 0, "{script}");
                for worker in ended.ledger.fleet().iter() {
                    assert_eq!(worker.1.in_flight, 0, "{script}");
                }
                let letters: Vec<&str> = ended
                    .log
                    .lines()
                    .filter_map(|line| line.strip_prefix("1.2s dlq j1 "))
                    .filter_map(|letter| letter.split_once(' '))
                    .map(|(status, _)| status)
                    .collect();
                let wanted: Vec<&str> = [letter].into_iter().filter(|it| !it.is_empty()).collect();
                assert_eq!(letters, wanted, "{script}\n{}", ended.log);
                assert_eq!(ended.log.matches("dlq").count(), wanted.len(), "{script}");
            }
        }
    }
}

#[test]
fn a_job_that_its_worker_refuses_is_denied_and_makes_room_for_the_next() {
    check(
        "0s beat w1@a 0/1 | 1s submit j1 job.a.allow | 1s submit j2 job.a.allow | 2s refuse j1 \
         | 3s succeed j1 | 4s again j1 | 5s succeed j2 | 7s tick",
        &[
            "1s dispatch j1#1 w1",
            "2s dlq j1 DENIED denied",
            "2s dispatch j2#1 w1",
            "3s late",
            "4s tried again with {\"dlq_entry\": \"j1\", \"retry\": \"true\", \"retry_of_job\": \"j1\"}",
            "6s dispatch j1again#1 w1",
            "j1 DENIED w1 denied",
            "j1again RUNNING w1",
            "j2 SUCCEEDED w1",
        ],
    );
}

#[test]
fn a_status_that_the_contract_does_not_have_fails_its_job_and_is_named() {
    check(
        "0s beat w1@a 0/1 | 1s submit j1 job.a.allow | 2s odd j1",
        &[
            "1s dispatch j1#1 w1",
            "2s dlq j1 FAILED unknown_status",
            "j1 FAILED w1 unknown_status",
        ],
    );
    let play = play(
        "0s beat w1@a 0/1 | 1s submit j1 job.a.allow | 2s odd j1",
        true,
    );
    let says = "the worker reported status 99, which the contract does not have";
    let id = JobId::from("j1");
    let job = play.ledger.job(&id).expect("known");
    assert_eq!(job.error_message, says);
    let letter = play.ledger.dead_letter(&id).expect("it has one");
    assert_eq!(letter.reason, says);
}
