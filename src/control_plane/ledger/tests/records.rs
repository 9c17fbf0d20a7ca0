//! What is kept of evaluations that repeat, are many, or made no job.

use super::*;
use crate::control_plane::ledger::saved::{MAX_TURNED_AWAY, Saved};

/// The decisions about a job: what, how often, and when the first and the last time.
fn decisions(ledger: &Ledger, id: &str) -> Vec<String> {
    let job = ledger.job(&JobId::from(id)).expect("known");
    let records = job.decisions.iter().map(|record| {
        let at = |at: Timestamp| at.as_millis() / 1_000;
        format!(
            "{} x{} {}..{}s",
            record.name(),
            record.times,
            at(record.first_checked_at),
            at(record.checked_at)
        )
    });
    records.collect()
}

#[test]
fn what_policy_says_again_of_a_job_that_waits_is_counted_from_the_first_time_on() {
    let script = "0s beat w1@a 0/4 | 1s submit j1 job.a.throttle | 3600s tick";
    for taken_over in [false, true] {
        let mut play = play(script, taken_over);
        assert_eq!(decisions(&play.ledger, "j1"), ["THROTTLE x720 1..3596s"]);
        play.restart();
        assert_eq!(decisions(&play.ledger, "j1"), ["THROTTLE x720 1..3596s"]);
        let log = play.ledger.decisions(DecisionsQuery::default());
        assert_eq!(log.map(|it| it.record.times).collect::<Vec<_>>(), [720]);
    }
    // Another answer is another record, and so is the same one after it.
    let play = run("1s submit j1 job.a.throttle | 8s kernel down | 13s kernel up | 18s tick");
    assert_eq!(
        decisions(&play.ledger, "j1"),
        [
            "THROTTLE x2 1..6s",
            "UNAVAILABLE x1 11..11s",
            "THROTTLE x1 16..16s"
        ]
    );
}

#[test]
fn each_attempt_has_a_decision_of_its_own() {
    let play = run(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.allow | 2s retryable j1 | 4s retryable j1 | 7s tick",
    );
    assert_eq!(
        decisions(&play.ledger, "j1"),
        ["ALLOW x1 1..1s", "ALLOW x1 3..3s", "ALLOW x1 6..6s"]
    );
}

#[test]
fn of_many_decisions_the_first_and_the_last_are_kept_and_the_rest_is_counted() {
    let mut play = run("1s submit j1 job.a.throttle");
    let id = JobId::from("j1");
    for n in 1..60 {
        // A policy that is edited again and again.
        play.snapshot = format!("edit{n}");
        let verdict = play.verdict("job.a.throttle");
        let now = Timestamp::from_millis(1_000 + n * 1_000);
        let ruling = play
            .ledger
            .record_decision(&id, verdict, Asker::Gateway, now);
        assert_eq!(ruling, Ok(Ruling::Throttled));
    }
    play.restart();
    let job = play.ledger.job(&id).expect("known");
    assert_eq!(job.decisions.len(), Job::MAX_DECISIONS);
    assert_eq!(job.decisions_left_out, 10);
    let seconds = |at: usize| job.decisions[at].checked_at.as_millis() / 1_000;
    let first = Job::FIRST_DECISIONS;
    assert_eq!([0, first - 1, first, 49].map(seconds), [1, 10, 21, 60]);
}

#[test]
fn a_submission_that_was_turned_away_is_in_the_log_of_whoever_takes_over() {
    let mut ledger = Ledger::new(10, 1).keeping();
    let play = run("0s tick");
    let more = MAX_TURNED_AWAY + 1;
    let turn_away = |ledger: &mut Ledger, n: u64| {
        let request = request(&format!("j{n}"), "job.a.throttle", |_| None);
        let verdict = play.verdict("job.a.throttle").expect("it answers");
        let now = Timestamp::from_millis(i64::try_from(n).expect("small"));
        ledger.turned_away(Arc::new(request), verdict, now);
    };
    let mut places = BTreeMap::new();
    let mut write_down = |ledger: &mut Ledger, again: bool| {
        let mut changes = ledger.take_changes();
        if again {
            // The store did not answer the first time.
            ledger.give_back(changes);
            changes = ledger.take_changes();
        }
        assert!(!changes.is_empty());
        for it in &changes.turned_away {
            places.insert(it.place(), it.document());
        }
        let mut saved = Saved::default();
        for document in places.values() {
            saved
                .add_turned_away(document.as_bytes())
                .expect("what was written");
        }
        saved
    };
    for n in 0..more {
        turn_away(&mut ledger, n);
        if n % 700 == 0 {
            write_down(&mut ledger, n == 700);
        }
    }
    let saved = write_down(&mut ledger, false);
    let mut ledger = Ledger::new(10, 1)
        .keeping()
        .restored(saved, 1, Timestamp::from_millis(9_000));
    let jobs = |ledger: &Ledger| {
        let log = ledger.decisions(DecisionsQuery::default());
        let ids: Vec<_> = log.map(|it| it.request.job_id.to_string()).collect();
        (ids.len(), ids[0].clone(), ids[ids.len() - 1].clone())
    };
    // The last of them, the newest first.
    let all = usize::try_from(MAX_TURNED_AWAY).expect("small");
    assert_eq!(jobs(&ledger), (all, "j2000".to_owned(), "j1".to_owned()));
    // The next one takes the place of the oldest, not one of its own number.
    turn_away(&mut ledger, more);
    let saved = write_down(&mut ledger, false);
    let ledger = ledger.restored(saved, 1, Timestamp::from_millis(9_000));
    assert_eq!(jobs(&ledger), (all, "j2001".to_owned(), "j2".to_owned()));
}
