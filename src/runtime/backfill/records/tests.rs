//! Rounds of questions to a store in memory, by a clock that the tests move.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::state::event::LinkState;
use crate::state::model::Model;
use crate::store::memory::MemoryStore;
use crate::time::{Clock as _, ManualClock};

const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const US: i64 = 1_767_225_600_000_000;

/// A store, the questions to it, and the model that takes in the answers.
struct Bench {
    store: Arc<MemoryStore>,
    clock: ManualClock,
    bus: watch::Sender<BusLink>,
    refresh: Arc<Notify>,
    events: mpsc::Receiver<Event>,
    model: Model,
    asking: Option<JoinHandle<()>>,
}

impl Bench {
    fn new() -> Self {
        let clock = ManualClock::at(START);
        Self {
            store: Arc::new(MemoryStore::new(Arc::new(clock.clone()))),
            clock,
            bus: watch::Sender::new(BusLink::Connecting),
            refresh: Arc::default(),
            events: mpsc::channel(1).1,
            model: Model::default(),
            asking: None,
        }
    }

    /// Writes a job's hash and puts it into the indexes of its state, as planes do.
    async fn job(&self, id: &str, state: &str, score: i64, more: &[(&str, &str)]) {
        let key = format!("job:meta:{id}");
        let score_text = (US + score).to_string();
        let fields = [
            ("state", state),
            ("updated_at", &*score_text),
            ("topic", "job.a"),
        ];
        self.store.hash_put(&key, &fields).await.expect("room");
        self.store.hash_put(&key, more).await.expect("room");
        let index = format!("job:index:{}", state.to_lowercase());
        for key in [RECENT, &*index] {
            self.store
                .index_put(key, id, US + score)
                .await
                .expect("room");
        }
    }

    async fn put(&self, key: &str, value: &str) {
        let value = Bytes::from(value.to_owned());
        self.store.put(key, value, None).await.expect("room");
    }

    /// Starts to ask, or lets the pause between two rounds pass, and takes in what
    /// is told until the store has answered. Returns how many jobs were told.
    async fn round(&mut self) -> usize {
        if self.asking.is_none() {
            let (answers, events) = mpsc::channel(64);
            self.events = events;
            let sink = Sink {
                answers,
                clock: Arc::new(self.clock.clone()),
            };
            let store: Arc<dyn Store> = self.store.clone();
            let bus = Some(self.bus.subscribe());
            let asking = store_records(store, bus, sink, Arc::clone(&self.refresh));
            self.asking = Some(tokio::spawn(asking));
        } else {
            self.pause().await;
            self.clock.advance(NEAR);
        }
        self.take_in().await
    }

    /// Waits until it is between two rounds.
    async fn pause(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    async fn take_in(&mut self) -> usize {
        let mut told = 0;
        loop {
            let event = self.events.recv().await.expect("the questions go on");
            if let Event::Jobs(facts) = &event {
                told += facts.len();
            }
            self.model.apply(&event, self.clock.now());
            if event == Event::Answered(Source::Store) {
                return told;
            }
        }
    }

    /// As many rounds as it takes until everything was asked for again.
    async fn rounds(&mut self) -> usize {
        let mut told = 0;
        for _ in 0..NEAR_ROUNDS {
            told += self.round().await;
        }
        told
    }

    fn states(&self) -> String {
        let jobs: BTreeMap<String, &str> = self
            .model
            .jobs
            .by_birth()
            .map(|job| {
                let state = job.state.map_or("?", JobState::name);
                (job.id.to_string(), state)
            })
            .collect();
        let lines: Vec<String> = jobs
            .iter()
            .map(|(id, state)| format!("{id} {state}"))
            .collect();
        lines.join(", ")
    }

    fn approvals(&self) -> String {
        let lines: Vec<String> = self
            .model
            .approvals
            .iter()
            .map(|row| {
                let by = row.fact.resolved_by.as_deref().unwrap_or("nobody");
                format!("{} {} by {by}", row.id(), row.fact.status.name())
            })
            .collect();
        lines.join(", ")
    }
}

#[tokio::test]
async fn a_store_alone_tells_jobs_approvals_policy_workers_and_pools() {
    let mut bench = Bench::new();
    let yes = ("safety_approval_required", "true");
    bench.job("j1", "RUNNING", 1, &[]).await;
    bench.job("j2", "APPROVAL_REQUIRED", 2, &[yes]).await;
    bench
        .job("j3", "SUCCEEDED", 3, &[("approval_by", "ann")])
        .await;
    let list = bench
        .store
        .list_push("cordum:safety:snapshots", Bytes::from("v1:ab"));
    list.await.expect("room");
    let fleet = r#"{"captured_at":"2026-01-01T00:00:00Z","pools":{"ops":{}},"workers":[{"worker_id":"w1","pool":"ops"}]}"#;
    bench.put(records::WORKERS, fleet).await;
    bench.round().await;
    assert_eq!(
        bench.states(),
        "j1 RUNNING, j2 APPROVAL_REQUIRED, j3 SUCCEEDED"
    );
    assert_eq!(
        bench.approvals(),
        "j2 pending by nobody, j3 approved by ann"
    );
    assert_eq!(bench.model.snapshot.as_deref(), Some("v1:ab"));
    assert_eq!(bench.model.workers.len(), 1);
    let pools = bench.model.pools_at(START);
    assert!(pools.iter().any(|pool| pool.name.as_str() == "ops"));
    assert!(bench.model.links.of(Source::Store).is_up());
}

#[tokio::test]
async fn of_many_decided_approvals_the_last_ones_are_kept_and_none_counts_as_lost() {
    let mut bench = Bench::new();
    for n in 0..limits::DECIDED as i64 + 30 {
        let at = (US + n).to_string();
        let decided = [("approval_by", "ann"), ("approval_at", &*at)];
        bench
            .job(&format!("j{n:03}"), "SUCCEEDED", n, &decided)
            .await;
    }
    bench.round().await;
    let approvals = &bench.model.approvals;
    assert_eq!(
        (approvals.ended().len(), approvals.dropped()),
        (limits::DECIDED, 0)
    );
}

#[tokio::test]
async fn a_decision_by_somebody_else_is_seen_with_who_decided() {
    let mut bench = Bench::new();
    bench.job("j1", "APPROVAL_REQUIRED", 1, &[]).await;
    bench.job("j2", "APPROVAL_REQUIRED", 2, &[]).await;
    bench.job("j3", "APPROVAL_REQUIRED", 3, &[]).await;
    bench.round().await;
    assert_eq!(bench.model.approvals.waiting(), 3);
    // One is decided and leaves the index, one stays in it, of one nothing is left.
    bench.store.delete(WAITING).await.expect("there");
    bench
        .job("j1", "RUNNING", 9, &[("approval_by", "ann")])
        .await;
    bench
        .job("j2", "DENIED", 9, &[("approval_by", "bob")])
        .await;
    bench
        .store
        .index_put(WAITING, "j2", US + 2)
        .await
        .expect("room");
    bench.store.delete("job:meta:j3").await.expect("there");
    bench.clock.advance(DETAIL_AGAIN);
    bench.take_in().await;
    bench.round().await;
    assert_eq!(bench.approvals(), "j1 approved by ann, j2 rejected by bob");
    assert_eq!(bench.model.approvals.waiting(), 0);
}

#[tokio::test]
async fn a_stored_request_that_changes_without_a_word_is_noticed() {
    let mut bench = Bench::new();
    bench
        .job("j1", "APPROVAL_REQUIRED", 1, &[("safety_job_hash", "a")])
        .await;
    bench
        .put("job:req:j1", r#"{"jobId":"j1","topic":"job.a"}"#)
        .await;
    bench.round().await;
    let hash = |bench: &Bench| {
        let row = bench.model.approvals.get(&JobId::from("j1"));
        row.and_then(|row| row.fact.own_hash.clone())
            .expect("a hash")
    };
    let before = hash(&bench);
    bench
        .put("job:req:j1", r#"{"jobId":"j1","topic":"job.drop"}"#)
        .await;
    bench.round().await;
    assert_eq!(hash(&bench), before, "it is not read every second");
    for _ in 0..10 {
        bench.round().await;
    }
    assert_ne!(hash(&bench), before);
    bench
        .put("job:req:j1", r#"{"jobId":"j1","topic":"job.a"}"#)
        .await;
    bench.pause().await;
    bench.refresh.notify_waiters();
    bench.take_in().await;
    assert_eq!(hash(&bench), before, "r reads it at once");
}

#[tokio::test]
async fn only_what_may_have_changed_is_read_again() {
    let mut bench = Bench::new();
    for n in 0..20 {
        bench.job(&format!("done-{n}"), "SUCCEEDED", n, &[]).await;
    }
    bench.job("j1", "PENDING", 30, &[]).await;
    assert_eq!(bench.round().await, 21);
    bench.job("done-7", "OUTPUT_QUARANTINED", 40, &[]).await;
    // A decision that does not move the job does not move it in the index either.
    let throttled = [("safety_decision", "THROTTLE")];
    bench
        .store
        .hash_put("job:meta:j1", &throttled)
        .await
        .expect("room");
    assert_eq!(bench.rounds().await, 2);
    let job = bench.model.jobs.get(&JobId::from("j1")).expect("known");
    assert_eq!(job.waits_on().map(|it| it.name()), Some("throttled"));
    assert!(bench.states().contains("done-7 OUTPUT_QUARANTINED"));
}

#[tokio::test]
async fn open_jobs_are_told_however_many_came_after_them() {
    let mut bench = Bench::new();
    bench.job("old", "RUNNING", 1, &[]).await;
    bench.store.delete(RECENT).await.expect("there");
    bench.job("new", "SUCCEEDED", 2, &[]).await;
    bench
        .store
        .index_put("job:index:pending", "gone", US)
        .await
        .expect("room");
    bench.round().await;
    assert_eq!(
        bench.states(),
        "new SUCCEEDED, old RUNNING",
        "`gone` has no record"
    );
}

#[tokio::test]
async fn what_ended_while_the_bus_was_away_is_told_when_it_is_back() {
    let mut bench = Bench::new();
    bench.bus.send_replace(BusLink::Up);
    bench.job("j1", "RUNNING", 1, &[]).await;
    bench.round().await;
    let down = BusLink::Down {
        since: START,
        reason: Arc::from("gone"),
        attempts: 1,
        again_at: None,
    };
    bench.bus.send_replace(down);
    bench.round().await;
    bench.job("j1", "FAILED", 9, &[]).await;
    for index in [RECENT, "job:index:running"] {
        bench.store.delete(index).await.expect("there");
    }
    bench.rounds().await;
    assert_eq!(
        bench.states(),
        "j1 RUNNING",
        "no index leads to it any more"
    );
    bench.pause().await;
    bench.bus.send_replace(BusLink::Up);
    bench.round().await;
    assert_eq!(bench.states(), "j1 FAILED");
}

#[tokio::test]
async fn what_cannot_be_read_is_counted_while_it_is_there() {
    let mut bench = Bench::new();
    bench
        .job("j1", "APPROVAL_REQUIRED", 1, &[("risk_tags", "[prod")])
        .await;
    bench.put("job:req:j1", "no request").await;
    bench.round().await;
    assert_eq!(bench.model.unreadable.records, 2);
    assert!(
        bench
            .model
            .unreadable
            .such_as
            .starts_with("job:meta:j1: risk_tags: "),
        "{}",
        bench.model.unreadable.such_as
    );
    assert_eq!(
        bench.model.approvals.waiting(),
        1,
        "it is shown all the same"
    );
    bench.rounds().await;
    assert_eq!(bench.model.unreadable.records, 2, "one trouble counts once");
    bench.store.delete(WAITING).await.expect("there");
    bench.job("j1", "DENIED", 9, &[("risk_tags", "[]")]).await;
    bench.rounds().await;
    assert_eq!(bench.model.unreadable, Unreadable::default());
}

#[tokio::test]
async fn a_store_that_is_no_plane_s_is_down_and_says_why() {
    let mut bench = Bench::new();
    bench.put(RECENT, "no index").await;
    bench.asking = None;
    let (answers, mut events) = mpsc::channel(64);
    let sink = Sink {
        answers,
        clock: Arc::new(bench.clock.clone()),
    };
    let store: Arc<dyn Store> = bench.store.clone();
    tokio::spawn(store_records(store, None, sink, Arc::default()));
    let Some(Event::Link(Source::Store, LinkState::Down { reason, .. })) = events.recv().await
    else {
        panic!("it is not down");
    };
    let says = "the store at memory: refused to read `job:recent`: the key holds a value";
    assert_eq!(&*reason, says);
}
