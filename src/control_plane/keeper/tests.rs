use std::collections::BTreeMap;

use super::*;
use crate::bus::local::LocalBus;
use crate::bus::{Encoding, Subject};
use crate::control_plane::kernel::policy::Policy;
use crate::control_plane::kernel::{Decision, KernelError, Question, SafetyKernel as _, Verdict};
use crate::control_plane::ledger::{DecisionsQuery, JobState, Ledger, Submission, Via};
use crate::ids::JobId;
use crate::store::memory::MemoryStore;
use crate::time::ManualClock;
use crate::wire::packet::{Budget, JobMetadata, JobRequest};

mod stuck;

use stuck::Stuck;

/// Planes on one store, with a clock that stands still unless it is told to go.
struct Bench {
    clock: ManualClock,
    store: MemoryStore,
    planes: BTreeMap<&'static str, (Keeper, SharedLedger)>,
    kernels: BTreeMap<&'static str, Arc<PolicyKernel>>,
}

/// Two jobs of a tenant in a minute, and no more.
const POLICY: &str = "
default_decision: allow
rules:
  - {id: rate, decision: throttle, velocity: {max_requests: 2, window_seconds: 60, key: tenant}}
";

impl Bench {
    fn new(names: &[&'static str]) -> Self {
        let clock = ManualClock::at(Timestamp::from_millis(1_000_000));
        let store = MemoryStore::new(Arc::new(clock.clone()));
        let kernels = names.iter().map(|name| {
            let policy = Policy::parse(POLICY.as_bytes()).expect("a policy");
            let kernel = PolicyKernel::new(policy, Arc::new(clock.clone()));
            (*name, Arc::new(kernel))
        });
        let kernels: BTreeMap<_, _> = kernels.collect();
        let planes = names.iter().map(|name| {
            let ledger: SharedLedger = Arc::new(Mutex::new(Ledger::new(100, 7).keeping()));
            let parts = Parts {
                store: Arc::new(store.clone()),
                bus: Arc::new(LocalBus::new()),
                clock: Arc::new(clock.clone()),
                ledger: Arc::clone(&ledger),
                kernel: Some(Arc::clone(&kernels[name])),
                wake: Arc::default(),
            };
            let keeper = Keeper::new(parts, format!("capdeck-{name}"));
            (*name, (keeper, ledger))
        });
        Self {
            planes: planes.collect(),
            kernels,
            clock,
            store,
        }
    }

    fn keeper(&self, name: &str) -> &Keeper {
        &self.planes[name].0
    }

    fn submit(&self, name: &str, job: &str) {
        let request = JobRequest {
            job_id: JobId::from(job),
            topic: "job.a.b".to_owned(),
            context_ptr: format!("redis://ctx:{job}"),
            ..JobRequest::default()
        };
        let submission = Submission {
            request,
            via: Via::Bus,
            ..Submission::default()
        };
        let now = self.clock.now();
        let submitted = lock(&self.planes[name].1).submit(submission, now);
        submitted.expect("it is new");
    }

    /// What policy says of a job, in the eyes of a plane.
    async fn ask(&self, name: &str, tenant: &str, job: &str) -> &'static str {
        let question = Question {
            job_id: JobId::from(job),
            topic: "job.a.b".to_owned(),
            tenant: tenant.to_owned(),
            ..Question::default()
        };
        let verdict = self.kernels[name].check(&question).await;
        verdict.expect("it answers").decision.name()
    }

    /// Tells a plane what came of a question to a kernel somewhere else.
    fn answered(&self, name: &str, answer: &str) {
        let answer = match answer {
            "no answer" => Err(KernelError::TimedOut),
            answer => Err(KernelError::NotUnderstood(answer.to_owned())),
        };
        let mut ledger = lock(&self.planes[name].1);
        ledger.kernel_answered(&answer, self.clock.now());
    }

    /// The breaker, in the eyes of a plane.
    fn breaker(&self, name: &str) -> String {
        let (breaker, now) = (lock(&self.planes[name].1).breaker(), self.clock.now());
        let state = breaker.state(now).name();
        let left = breaker.cooldown(now).map_or(0, Elapsed::as_secs);
        format!("{state} {left} s, {} failures", breaker.failures(now))
    }

    async fn stored(&self, key: &str) -> Option<String> {
        let stored = self.store.get(key).await.expect("it answers");
        stored.map(|it| String::from_utf8_lossy(&it).into_owned())
    }

    /// The jobs that a plane knows.
    fn jobs(&self, name: &str) -> String {
        let ledger = lock(&self.planes[name].1);
        let mut known: Vec<String> = JobState::ALL
            .into_iter()
            .flat_map(|state| ledger.in_state(state))
            .map(|job| job.id.to_string())
            .collect();
        known.sort();
        known.join(" ")
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Elapsed::from_secs(seconds));
    }

    /// Who leads, in the eyes of each.
    fn standings(&self) -> String {
        let told = self.planes.iter().map(|(name, (keeper, _))| {
            let standing = keeper.standing().borrow().clone();
            match standing {
                Standing::Leads { epoch } => format!("{name} leads ({epoch})"),
                Standing::By { leader } => format!("{name} by {}", leader.unwrap_or_default()),
            }
        });
        told.collect::<Vec<_>>().join(", ")
    }
}

#[tokio::test]
async fn the_first_leads_and_another_one_only_after_its_lease() {
    let bench = Bench::new(&["a", "b"]);
    bench.keeper("a").look().await;
    bench.keeper("b").look().await;
    let first = "a leads (1 capdeck-a), b by capdeck-a";
    assert_eq!(bench.standings(), first);
    // Renewed in time, it is never taken over.
    for _ in 0..10 {
        bench.pass(6);
        bench.keeper("a").look().await;
        bench.keeper("b").look().await;
    }
    assert_eq!(bench.standings(), first);
    bench.pass(8);
    bench.keeper("b").look().await;
    assert!(bench.keeper("b").leads());
    bench.keeper("a").look().await;
    assert_eq!(bench.standings(), "a by , b leads (2 capdeck-b)");
    bench.keeper("a").look().await;
    assert_eq!(bench.standings(), "a by capdeck-b, b leads (2 capdeck-b)");
}

#[tokio::test]
async fn a_lease_that_ran_out_and_that_nobody_took_is_taken_up_again() {
    let bench = Bench::new(&["a"]);
    bench.keeper("a").look().await;
    bench.submit("a", "j1");
    bench.keeper("a").keep().await.expect("it leads");
    bench.pass(60);
    bench.submit("a", "j2");
    bench.keeper("a").keep().await.expect("it still leads");
    bench.keeper("a").look().await;
    assert_eq!(bench.standings(), "a leads (1 capdeck-a)");
    assert_eq!(bench.jobs("a"), "j1 j2");
}

#[tokio::test]
async fn what_is_kept_is_taken_over_and_what_a_deposed_one_says_is_not() {
    let bench = Bench::new(&["a", "b"]);
    bench.keeper("a").look().await;
    bench.submit("a", "j1");
    bench.keeper("a").keep().await.expect("it leads");
    bench.pass(8);
    bench.keeper("b").look().await;
    assert_eq!(bench.jobs("b"), "j1");
    // It does not know yet that it is deposed.
    assert!(bench.keeper("a").leads());
    bench.submit("a", "j2");
    let kept = bench.keeper("a").keep().await;
    assert!(matches!(kept, Err(NotKept::Deposed)), "{kept:?}");
    assert_eq!(bench.jobs("a"), "", "nothing follows from what it knew");
    bench.keeper("b").keep().await.expect("it leads");
    bench.pass(8);
    bench.keeper("a").look().await;
    assert_eq!(bench.jobs("a"), "j1");
}

#[tokio::test]
async fn an_idempotency_key_is_taken_over_also_when_the_document_of_its_job_has_expired() {
    let bench = Bench::new(&["a", "b"]);
    let submit = |name: &str, job: &str| {
        let meta = JobMetadata {
            idempotency_key: "k".to_owned(),
            ..JobMetadata::default()
        };
        let request = JobRequest {
            job_id: JobId::from(job),
            topic: "job.a.b".to_owned(),
            meta: Some(meta),
            ..JobRequest::default()
        };
        let submission = Submission {
            request,
            ..Submission::default()
        };
        let submitted = lock(&bench.planes[name].1).submit(submission, bench.clock.now());
        submitted.expect("there is room")
    };
    bench.keeper("a").look().await;
    submit("a", "j1");
    bench.keeper("a").keep().await.expect("it leads");
    let id = JobId::from("j1");
    let now = bench.clock.now();
    let ended = lock(&bench.planes["a"].1).cancel(&id, "ada", "", now);
    ended.expect("it waits");
    bench.keeper("a").keep().await.expect("it leads");
    // Its document lives for a week, its key for ninety days.
    bench.pass(8 * 24 * 60 * 60);
    bench.keeper("b").look().await;
    assert!(bench.keeper("b").leads());
    assert_eq!(bench.jobs("b"), "");
    let again = submit("b", "j2");
    assert_eq!((again.job_id, again.repeated), (id, true));
    bench.pass(83 * 24 * 60 * 60);
    bench.keeper("a").look().await;
    bench.keeper("a").look().await;
    assert!(bench.keeper("a").leads());
    assert!(!submit("a", "j2").repeated);
}

#[tokio::test]
async fn what_was_turned_away_is_on_record_for_whoever_takes_over() {
    let bench = Bench::new(&["a", "b"]);
    bench.keeper("a").look().await;
    let verdict = Verdict {
        decision: Decision::Throttle,
        rule_id: Some("busy".to_owned()),
        reason: "not now".to_owned(),
        snapshot: "v1".to_owned(),
        constraints: None,
        remediations: Vec::new(),
    };
    let request = JobRequest {
        job_id: JobId::from("j1"),
        topic: "job.a.b".to_owned(),
        ..JobRequest::default()
    };
    let now = bench.clock.now();
    lock(&bench.planes["a"].1).turned_away(Arc::new(request), verdict, now);
    bench.keeper("a").keep().await.expect("it leads");
    bench.pass(8);
    bench.keeper("b").look().await;
    let ledger = lock(&bench.planes["b"].1);
    let log: Vec<_> = ledger.decisions(DecisionsQuery::default()).collect();
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].request.job_id.as_str(), "j1");
    assert_eq!(log[0].record.rule_id.as_deref(), Some("busy"));
    assert_eq!(log[0].record.checked_at, now);
}

#[tokio::test]
async fn the_policies_that_were_in_force_are_on_record_newest_first_also_after_a_restart() {
    let bench = Bench::new(&["a", "b"]);
    let on_record = async || {
        let list = bench.store.list("cordum:safety:snapshots").await;
        let list = list.expect("the store lives");
        let texts = list
            .iter()
            .map(|it| String::from_utf8_lossy(it).into_owned());
        texts.collect::<Vec<_>>().join(" ")
    };
    let policy = |name: &str, snapshot: &str| {
        lock(&bench.planes[name].1).policy_changed(snapshot, bench.clock.now());
    };
    bench.keeper("a").look().await;
    assert_eq!(on_record().await, "");
    for version in 1..=9 {
        policy("a", &format!("v{version}"));
    }
    bench.keeper("a").look().await;
    assert_eq!(on_record().await, "v9 v8 v7 v6 v5 v4 v3 v2 v1");
    // It is told of its policy once it leads, as at a start.
    bench.pass(8);
    bench.keeper("b").look().await;
    assert_eq!(on_record().await, "v9 v8 v7 v6 v5 v4 v3 v2 v1");
    policy("b", "v9");
    policy("b", "v10");
    policy("b", "v11");
    bench.keeper("b").look().await;
    assert_eq!(on_record().await, "v11 v10 v9 v8 v7 v6 v5 v4 v3 v2");
    // One that stood by with a policy of its own puts that in force.
    policy("a", "v12");
    bench.pass(8);
    bench.keeper("a").look().await;
    bench.keeper("a").look().await;
    assert_eq!(on_record().await, "v12 v11 v10 v9 v8 v7 v6 v5 v4 v3");
}

#[tokio::test]
async fn jobs_under_way_are_listed_by_their_deadlines_in_microseconds() {
    let bench = Bench::new(&["a"]);
    let listed = async || {
        let listed = bench.store.newest("job:deadline", 10).await;
        let listed = listed.expect("the store lives");
        let told = listed
            .iter()
            .map(|it| format!("{} {}", it.member, it.score));
        told.collect::<Vec<_>>().join(", ")
    };
    let keeper = bench.keeper("a");
    keeper.look().await;
    bench.submit("a", "j1");
    let request = JobRequest {
        job_id: JobId::from("j2"),
        topic: "job.a.b".to_owned(),
        budget: Some(Budget {
            deadline_ms: 5_000,
            ..Budget::default()
        }),
        ..JobRequest::default()
    };
    let submission = Submission {
        request,
        ..Submission::default()
    };
    let now = bench.clock.now();
    let submitted = lock(&bench.planes["a"].1).submit(submission, now);
    submitted.expect("it is new");
    keeper.keep().await.expect("it leads");
    assert_eq!(listed().await, "j2 1005000000");
    let ended = lock(&bench.planes["a"].1).cancel(&JobId::from("j2"), "ada", "", now);
    ended.expect("it waits");
    keeper.keep().await.expect("it leads");
    assert_eq!(listed().await, "");
}

#[tokio::test]
async fn a_job_is_in_the_set_of_its_trace_and_until_its_end_in_that_of_its_tenant() {
    let bench = Bench::new(&["a"]);
    let sets = async || {
        let mut told = Vec::new();
        for key in ["trace:t1", "trace:j3", "job:tenant:active:default"] {
            let members = bench.store.members(key, 10).await;
            told.push(members.expect("the store lives").join(" "));
        }
        told.join(", ")
    };
    let keeper = bench.keeper("a");
    keeper.look().await;
    for (id, trace) in [("j1", "t1"), ("j2", "t1"), ("j3", "")] {
        let submission = Submission {
            request: JobRequest {
                job_id: JobId::from(id),
                topic: "job.a.b".to_owned(),
                ..JobRequest::default()
            },
            trace: trace.into(),
            ..Submission::default()
        };
        let submitted = lock(&bench.planes["a"].1).submit(submission, bench.clock.now());
        submitted.expect("it is new");
    }
    keeper.keep().await.expect("it leads");
    assert_eq!(sets().await, "j1 j2, j3, j1 j2 j3");
    let now = bench.clock.now();
    let ended = lock(&bench.planes["a"].1).cancel(&JobId::from("j2"), "ada", "", now);
    ended.expect("it waits");
    keeper.keep().await.expect("it leads");
    assert_eq!(sets().await, "j1 j2, j3, j1 j3");
}

#[tokio::test]
async fn who_may_have_lost_its_lease_looks_before_it_says_that_it_leads() {
    let bench = Bench::new(&["a", "b"]);
    bench.keeper("a").look().await;
    bench.pass(7);
    assert!(matches!(
        bench.keeper("a").sure_standing().await,
        Standing::Leads { .. }
    ));
    bench.pass(8);
    bench.keeper("b").look().await;
    assert!(bench.keeper("a").leads(), "as far as it knows");
    let sure = bench.keeper("a").sure_standing().await;
    assert_eq!(sure, Standing::By { leader: None });
}

#[tokio::test]
async fn who_goes_lets_another_one_lead_at_once() {
    let bench = Bench::new(&["a", "b"]);
    bench.keeper("a").look().await;
    bench.submit("a", "j1");
    bench.keeper("a").give_up().await;
    bench.keeper("b").look().await;
    assert!(bench.keeper("b").leads());
    assert_eq!(bench.jobs("b"), "j1", "the last change was kept");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_left_out_and_stays_where_it_is() {
    let bench = Bench::new(&["a", "b"]);
    bench.keeper("a").look().await;
    bench.submit("a", "j1");
    bench.submit("a", "j2");
    bench.keeper("a").keep().await.expect("it leads");
    let broken = Bytes::from_static(b"{\"version\":99}");
    let key = format!("{JOB}j1");
    let written = bench.store.put(&key, broken.clone(), None).await;
    written.expect("room");
    bench.pass(8);
    bench.keeper("b").look().await;
    assert!(bench.keeper("b").leads());
    assert_eq!(bench.jobs("b"), "j2");
    assert_eq!(bench.store.get(&key).await.expect("there"), Some(broken));
}

#[tokio::test]
async fn what_was_taken_by_a_caller_who_hangs_up_is_kept_by_the_next_one() {
    let mut bench = Bench::new(&["a", "b"]);
    let stuck = Stuck::over(bench.store.clone());
    bench.keeper("a").look().await;
    let (keeper, _) = bench.planes.get_mut("a").expect("a plane");
    keeper.parts.store = Arc::new(stuck.clone());
    bench.submit("a", "j1");
    bench.ask("a", "acme", "j1").await;
    stuck.set(true);
    {
        let keeping = std::pin::pin!(bench.keeper("a").keep());
        assert!(futures_util::poll!(keeping).is_pending());
    }
    stuck.set(false);
    bench.submit("a", "j2");
    bench.keeper("a").keep().await.expect("it leads");
    bench.pass(8);
    bench.keeper("b").look().await;
    assert_eq!(bench.jobs("b"), "j1 j2");
    assert_eq!(bench.ask("b", "acme", "j2").await, "ALLOW");
    assert_eq!(bench.ask("b", "acme", "j3").await, "THROTTLE");
}

#[tokio::test]
async fn rates_go_on_with_the_next_leader_and_what_a_deposed_one_counted_does_not() {
    let bench = Bench::new(&["a", "b"]);
    bench.keeper("a").look().await;
    assert_eq!(bench.ask("a", "acme", "j1").await, "ALLOW");
    bench.pass(4);
    assert_eq!(bench.ask("a", "acme", "j2").await, "ALLOW");
    assert_eq!(bench.ask("a", "other", "").await, "ALLOW");
    bench.keeper("a").keep().await.expect("it leads");
    bench.pass(8);
    bench.keeper("b").look().await;
    assert_eq!(bench.ask("b", "acme", "j3").await, "THROTTLE");
    assert_eq!(bench.ask("b", "acme", "j2").await, "ALLOW", "known");
    assert_eq!(bench.ask("b", "other", "").await, "ALLOW");
    assert_eq!(bench.ask("b", "other", "").await, "THROTTLE");
    bench.keeper("b").keep().await.expect("it leads");
    // It does not know yet that it is deposed.
    assert_eq!(bench.ask("a", "third", "j4").await, "ALLOW");
    bench.keeper("a").keep().await.expect_err("it is deposed");
    // The minute of the first one is over.
    bench.pass(49);
    bench.keeper("a").look().await;
    assert!(bench.keeper("a").leads());
    assert_eq!(bench.ask("a", "acme", "j3").await, "ALLOW");
    assert_eq!(bench.ask("a", "acme", "j5").await, "THROTTLE");
    assert_eq!(bench.ask("a", "other", "j6").await, "THROTTLE");
    assert_eq!(bench.ask("a", "third", "j7").await, "ALLOW");
    assert_eq!(bench.ask("a", "third", "j8").await, "ALLOW");
    // Where nothing is counted any more there is nothing.
    bench.keeper("a").keep().await.expect("it leads");
    let key = "capdeck:velocity:rate";
    let counted = bench.store.newest(key, 9).await.expect("an index");
    assert_eq!(counted.len(), 6, "{counted:?}");
    bench.pass(60);
    let counted = bench.store.newest(key, 9).await.expect("an index");
    assert_eq!(counted, []);
}

#[tokio::test]
async fn a_next_leader_asks_no_kernel_that_is_left_alone_and_others_see_for_how_long() {
    let bench = Bench::new(&["a", "b"]);
    let (counter, document) = ("cordum:cb:safety:failures", "capdeck:breaker");
    bench.keeper("a").look().await;
    for failures in 1..=3 {
        bench.answered("a", "no answer");
        bench.keeper("a").keep().await.expect("it leads");
        let told = bench.stored(counter).await;
        assert_eq!(told, Some(failures.to_string()));
    }
    bench.pass(10);
    bench.keeper("b").look().await;
    assert_eq!(bench.breaker("b"), "open 20 s, 3 failures");
    assert!(
        lock(&bench.planes["b"].1)
            .may_ask(bench.clock.now())
            .is_err()
    );
    bench.pass(19);
    assert!(bench.stored(counter).await.is_some());
    bench.pass(1);
    assert_eq!(bench.stored(counter).await, None);
    // One answer is not enough, neither for this one nor for the next.
    bench.answered("b", "an answer");
    bench.keeper("b").keep().await.expect("it leads");
    bench.keeper("a").look().await;
    bench.keeper("a").look().await;
    assert!(bench.keeper("a").leads(), "{}", bench.standings());
    assert_eq!(bench.breaker("a"), "half_open 0 s, 3 failures");
    bench.answered("a", "an answer");
    assert_eq!(bench.breaker("a"), "closed 0 s, 0 failures");
    bench.keeper("a").keep().await.expect("it leads");
    assert_eq!(bench.stored(document).await, None);
    // A failure that stays alone is forgotten.
    bench.answered("a", "no answer");
    bench.keeper("a").keep().await.expect("it leads");
    assert!(bench.stored(document).await.is_some());
    bench.pass(30);
    assert_eq!(bench.stored(document).await, None);
}

#[test]
fn what_was_heard_is_remembered_for_a_while() {
    let bench = Bench::new(&["a"]);
    let heard = |name: &str| {
        bench.keeper("a").missed(Delivery {
            subject: Subject::parse(name).expect("a subject"),
            payload: Bytes::new(),
            encoding: Encoding::Proto,
        });
    };
    heard("sys.job.submit");
    bench.pass(15);
    heard("sys.job.result");
    bench.pass(15);
    heard("sys.job.cancel");
    let names: Vec<String> = bench
        .keeper("a")
        .take_missed()
        .into_iter()
        .map(|it| it.subject.as_str().to_owned())
        .collect();
    assert_eq!(names, ["sys.job.result", "sys.job.cancel"]);
    assert!(bench.keeper("a").take_missed().is_empty());
}
