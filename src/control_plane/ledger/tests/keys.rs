//! Idempotency keys outlive the jobs that they name.

use super::*;
use crate::control_plane::ledger::keys::{MAX_PAST_KEYS, PastKey};
use crate::control_plane::ledger::saved::Saved;

fn submit(ledger: &mut Ledger, (id, topic, digest): (&str, &str, &str), day: u64) -> String {
    let submission = Submission {
        request: request(id, topic, |name| (name == "key").then_some("k")),
        body_digest: digest.to_owned(),
        ..Submission::default()
    };
    let now = Timestamp::from_millis(1).plus(Elapsed::from_secs(day * 86_400));
    match ledger.submit(submission, now) {
        Ok(submitted) if submitted.repeated => format!("known as {}", submitted.job_id),
        Ok(submitted) => format!("new as {}", submitted.job_id),
        Err(LedgerError::IdempotencyConflict { existing }) => format!("conflict with {existing}"),
        Err(error) => panic!("{error}"),
    }
}

fn end(ledger: &mut Ledger, id: &str) {
    let ended = ledger.cancel(&JobId::from(id), "ada", "", Timestamp::from_millis(2));
    ended.expect("it waits");
}

/// A ledger that has forgotten the job that had the key.
fn forgetful() -> Ledger {
    let mut ledger = Ledger::new(10, 1).keeping();
    submit(&mut ledger, ("j1", "job.a.allow", "aa"), 0);
    end(&mut ledger, "j1");
    assert!(ledger.forget_oldest());
    ledger
}

#[track_caller]
fn check_key(mut ledger: Ledger) {
    let mut says = |what, day| submit(&mut ledger, what, day);
    assert_eq!(says(("j2", "job.a.allow", "aa"), 1), "known as j1");
    assert_eq!(says(("j2", "job.a.allow", ""), 1), "known as j1");
    assert_eq!(says(("j2", "job.a.allow", "bb"), 1), "conflict with j1");
    assert_eq!(says(("j2", "job.a.deny", "aa"), 89), "conflict with j1");
    assert_eq!(says(("j2", "job.a.allow", "aa"), 90), "new as j2");
    assert_eq!(ledger.counters().repeated_submits, 2);
}

#[test]
fn a_key_names_its_job_for_ninety_days_also_when_the_job_is_forgotten() {
    check_key(forgetful());
}

#[test]
fn a_key_is_on_record_when_the_document_of_its_job_is_gone() {
    let mut ledger = Ledger::new(10, 1).keeping();
    submit(&mut ledger, ("j1", "job.a.allow", "aa"), 0);
    end(&mut ledger, "j1");
    let changes = ledger.take_changes();
    let (_, document) = changes.jobs[0].key_document().expect("it has a key");
    let mut saved = Saved::default();
    saved.add_key(document.as_bytes()).expect("whole");
    check_key(Ledger::new(10, 1).restored(saved, 1, Timestamp::from_millis(3)));
}

#[test]
fn a_retry_that_took_the_key_over_keeps_it_when_the_old_job_changes_again() {
    let mut play = run(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.allow key=k | 2s fail j1 | 3s again j1 | 6s tick",
    );
    play.ledger.take_changes();
    let retried = play.id("j1again");
    // Whatever it is that changes it.
    let seq = play.ledger.seq(&JobId::from("j1")).expect("known");
    play.ledger.at_mut(seq);
    play.ledger
        .at_mut(play.ledger.seq(&retried).expect("known"));
    let changes = play.ledger.take_changes();
    let keyed: Vec<_> = changes.jobs.iter().filter(|it| it.has_key).collect();
    assert_eq!(keyed.len(), 1);
    assert_eq!(keyed[0].job.id, retried);
}

#[test]
fn an_undo_whose_key_failed_before_stops_the_rollback_also_when_that_job_is_forgotten() {
    let mut play = run(
        "0s beat w1@a 0/9 | 1s submit j1 job.a.allow undo=job.a.u undokey=k | 2s fatal j1 | 3s fail undo1",
    );
    while play.ledger.forget_oldest() {}
    play.log.clear();
    for event in ["submit j2 job.a.allow undo=job.a.u undokey=k", "fatal j2"] {
        play.event(event);
        play.settle();
    }
    assert!(play.log.contains("alert rollback_stopped"), "{}", play.log);
    assert!(!play.log.contains("undo2"), "{}", play.log);
}

#[test]
fn keys_without_a_job_are_bounded_and_the_oldest_go_first() {
    let mut past = PastKeys::default();
    let mut ledger = forgetful();
    submit(&mut ledger, ("j2", "job.a.deny", ""), 90);
    let left = PastKey::of(ledger.job(&JobId::from("j2")).expect("known"));
    let key = |n: usize| ("t".to_owned(), n.to_string());
    for n in 0..MAX_PAST_KEYS {
        assert!(!past.keep(key(n), left.clone()), "{n}");
    }
    assert!(past.keep(key(MAX_PAST_KEYS), left.clone()));
    let id = JobId::from("j2");
    assert_eq!(past.ended(&key(0), &id), None);
    assert!(past.ended(&key(1), &id).is_some());
}
