//! The scheduler on a real bus, with scripted workers and kernels and a clock that
//! moves when it is told to.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what is not expected fails the comparison"
)]

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use super::*;
use crate::bus::local::LocalBus;
use crate::control_plane::kernel::Decision;
use crate::control_plane::ledger::{Job, JobState, JobsQuery, Ledger, WaitingOn};
use crate::ids::PoolName;
use crate::store::memory::MemoryStore;
use crate::time::ManualClock;
use crate::wire::packet::{
    Compensation, ErrorCode, Heartbeat, JobCancel, JobMetadata, JobResult, JobStatus, WireEnum as _,
};

/// Answers as scripted, then with yes.
#[derive(Debug, Default)]
struct Script {
    answers: Mutex<VecDeque<Scripted>>,
}

#[derive(Debug)]
enum Scripted {
    Silence,
    Error,
}

impl SafetyKernel for Script {
    fn check<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Verdict, KernelError>> {
        let scripted = self.answers.lock().expect("whole").pop_front();
        Box::pin(async move {
            match scripted {
                Some(Scripted::Silence) => std::future::pending().await,
                Some(Scripted::Error) => Err(KernelError::Unavailable("gone".to_owned())),
                None => Ok(Verdict {
                    decision: if question.topic.ends_with(".deny") {
                        Decision::Deny
                    } else {
                        Decision::Allow
                    },
                    rule_id: None,
                    reason: "scripted".to_owned(),
                    snapshot: "v1".to_owned(),
                    constraints: None,
                    remediations: Vec::new(),
                }),
            }
        })
    }

    fn snapshots(&self) -> BoxFuture<'_, Result<Vec<String>, KernelError>> {
        Box::pin(std::future::ready(Ok(vec!["v1".to_owned()])))
    }
}

struct Stage {
    clock: ManualClock,
    bus: LocalBus,
    store: MemoryStore,
    ledger: SharedLedger,
    seen: Subscription,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), BusGone>>,
}

impl Stage {
    async fn with(answers: impl IntoIterator<Item = Scripted>) -> Self {
        let kernel = Script {
            answers: Mutex::new(answers.into_iter().collect()),
        };
        Self::asking(Arc::new(kernel), 100).await
    }

    async fn asking(kernel: Arc<dyn SafetyKernel>, max_jobs: usize) -> Self {
        let clock = ManualClock::at(Timestamp::from_millis(1_000_000));
        let bus = LocalBus::new();
        let store = MemoryStore::new(Arc::new(clock.clone()));
        let ledger: SharedLedger = Arc::new(Mutex::new(Ledger::new(max_jobs, 7)));
        let parts = Parts {
            bus: Arc::new(bus.clone()),
            store: Arc::new(store.clone()),
            kernel,
            ledger: Arc::clone(&ledger),
            routes: Arc::new(Routes::default()),
            wake: Arc::default(),
            keeper: None,
        };
        let everything = Pattern::parse(">").expect("a pattern");
        let seen = bus.subscribe(&everything, None).await.expect("heard");
        let scheduler = Scheduler::listen(parts, Arc::new(clock.clone()))
            .await
            .expect("it listens");
        let stop = CancellationToken::new();
        let running = tokio::spawn(scheduler.run(stop.clone()));
        Self {
            clock,
            bus,
            store,
            ledger,
            seen,
            stop,
            running,
        }
    }

    async fn say(&self, subject: &str, sender: &str, body: Body) {
        let subject = Subject::parse(subject).expect("a subject");
        let (trace, sender) = (TraceId::from("t1"), SenderId::from(sender));
        let packet = Packet::new(trace, sender, self.clock.now(), body);
        let bytes = encode::encode(&subject, &packet).expect("valid");
        self.bus.publish(&subject, bytes).await.expect("up");
    }

    async fn worker(&self) {
        let heartbeat = Heartbeat {
            worker_id: WorkerId::from("w1"),
            pool: PoolName::from("a"),
            max_parallel_jobs: 4,
            ..Heartbeat::default()
        };
        self.say(wire::HEARTBEAT, "w1", Body::Heartbeat(Box::new(heartbeat)))
            .await;
    }

    async fn submit(&self, request: JobRequest) {
        self.say(wire::SUBMIT, "tester", Body::JobRequest(Box::new(request)))
            .await;
    }

    async fn result(&self, id: &str, status: JobStatus, error_code_enum: ErrorCode) {
        let result = JobResult {
            job_id: JobId::from(id),
            status,
            worker_id: WorkerId::from("w1"),
            error_code_enum,
            ..JobResult::default()
        };
        self.say(wire::RESULT, "w1", Body::JobResult(Box::new(result)))
            .await;
    }

    /// The next packet that the scheduler published, as `subject kind status`.
    async fn published(&mut self) -> (String, Packet) {
        loop {
            let delivery = self.seen.recv().await.expect("the bus lives");
            let packet = decode::decode(&delivery).expect("a packet");
            if packet.sender.as_str().starts_with("cordum-scheduler") {
                return (delivery.subject.as_str().to_owned(), packet);
            }
        }
    }

    /// Waits until the job is as wanted; every turn of the scheduler yields here.
    async fn until(&self, id: &str, wanted: impl Fn(&Job) -> bool) -> Job {
        loop {
            let job = lock(&self.ledger).job(&JobId::from(id)).cloned();
            match job {
                Some(job) if wanted(&job) => return job,
                _ => tokio::task::yield_now().await,
            }
        }
    }

    async fn end(self) {
        self.stop.cancel();
        self.running
            .await
            .expect("no panic")
            .expect("the bus was there to the end");
    }
}

fn request(id: &str, topic: &str) -> JobRequest {
    JobRequest {
        job_id: JobId::from(id),
        topic: topic.to_owned(),
        ..JobRequest::default()
    }
}

#[tokio::test]
async fn a_job_from_the_bus_reaches_the_worker_with_a_context_and_its_attempt() {
    let mut stage = Stage::with([]).await;
    stage.worker().await;
    stage.submit(request("j1", "job.a.run")).await;
    let (subject, packet) = stage.published().await;
    assert_eq!(subject, "worker.w1.jobs");
    assert_eq!(packet.trace.as_str(), "t1");
    let Body::JobRequest(sent) = packet.body else {
        panic!("not a request: {packet:?}");
    };
    assert_eq!(sent.context_ptr, "redis://ctx:j1");
    let dispatch = sent.dispatch.expect("it names its dispatch");
    assert_eq!(
        (dispatch.attempt, dispatch.assigned_worker_id.as_str()),
        (1, "w1")
    );
    let context = stage.store.get("ctx:j1").await.expect("the store lives");
    assert!(context.is_some());
    stage
        .until("j1", |job| job.state == JobState::Running)
        .await;
    stage
        .result("j1", JobStatus::Succeeded, ErrorCode::Unspecified)
        .await;
    stage
        .until("j1", |job| job.state == JobState::Succeeded)
        .await;
    stage.end().await;
}

/// Requests that could never be run, with why each is dropped.
const UNSOUND: [(&str, &str); 4] = [
    (r#""priority":9"#, "priority is 9; 0 to 3 are allowed"),
    (
        r#""budget":{"max_output_tokens":10000000001}"#,
        "budget.max_output_tokens is 10000000001; 0 to 10000000000 are allowed",
    ),
    (
        r#""tenant_id":"a","env":{"tenant_id":"b"}"#,
        r#"env.tenant_id is "b", but tenant_id is "a""#,
    ),
    (
        r#""compensation":{"topic":"job.undo","budget":{"deadline_ms":-1}}"#,
        "compensation.budget.deadline_ms is -1; 0 and more are allowed",
    ),
];

/// A packet with a request that has `fields` beside its id and topic.
fn raw(id: &str, fields: &str) -> (Packet, Bytes) {
    let text = format!(
        r#"{{"trace_id":"t1","sender_id":"tester","created_at":"2026-01-01T00:00:00Z",
            "protocol_version":1,"job_request":{{"job_id":"{id}","topic":"job.a.run",{fields}}}}}"#
    );
    let read = wire::json::packet_and_bytes_from_json(text.as_bytes());
    let (packet, bytes) = read.expect("an envelope");
    (packet.expect("a packet"), bytes)
}

#[test]
fn a_request_that_is_dropped_is_told_with_its_sender_and_its_fault() {
    use std::error::Error as _;
    let mut ledger = Ledger::new(1, 7);
    for (fields, expected) in UNSOUND {
        let (packet, _) = raw("j1", fields);
        let dropped = take(&mut ledger, packet, Timestamp::from_millis(1)).expect_err(fields);
        assert_eq!(
            dropped.to_string(),
            r#"the request of job "j1", sent by "tester", is dropped"#
        );
        let why = dropped.source().map(ToString::to_string);
        assert_eq!(why.as_deref(), Some(expected));
    }
    assert_eq!(ledger.jobs(JobsQuery::default()).count(), 0);
}

#[tokio::test]
async fn a_request_on_the_bus_that_could_never_run_is_dropped_and_counted() {
    let stage = Stage::with([]).await;
    stage.worker().await;
    let submit = Subject::parse(wire::SUBMIT).expect("a subject");
    for (n, (fields, _)) in UNSOUND.iter().enumerate() {
        let (_, bytes) = raw(&format!("bad-{n}"), fields);
        stage.bus.publish(&submit, bytes).await.expect("up");
    }
    stage.submit(request("good", "job.a.run")).await;
    stage
        .until("good", |job| job.state == JobState::Running)
        .await;
    let known = lock(&stage.ledger).jobs(JobsQuery::default()).count();
    let counted = lock(&stage.ledger).counters().malformed_packets;
    assert_eq!((known, counted), (1, UNSOUND.len() as u64));
    stage.end().await;
}

#[tokio::test]
async fn a_denied_job_is_a_dead_letter_on_the_bus_and_in_the_store() {
    let mut stage = Stage::with([]).await;
    stage.submit(request("j1", "job.a.deny")).await;
    let (subject, packet) = stage.published().await;
    assert_eq!(subject, "sys.job.dlq");
    assert_eq!(packet.trace.as_str(), "j1");
    let Body::JobResult(letter) = packet.body else {
        panic!("not a result: {packet:?}");
    };
    assert_eq!(letter.error_code, "safety_denied");
    assert!(letter.worker_id.is_empty());
    let job = stage.until("j1", |job| job.state == JobState::Denied).await;
    assert_eq!(job.result_ptr, "redis://res:j1");
    let stored = loop {
        match stage.store.get("res:j1").await.expect("the store lives") {
            Some(stored) => break stored,
            None => tokio::task::yield_now().await,
        }
    };
    let stored: serde_json::Value = serde_json::from_slice(&stored).expect("JSON");
    assert_eq!(stored["status"], "JOB_STATUS_DENIED");
    stage.end().await;
}

#[tokio::test]
async fn a_job_that_its_worker_refuses_ends_denied_with_one_dead_letter() {
    let mut stage = Stage::with([]).await;
    stage.worker().await;
    stage.submit(request("j1", "job.a.run")).await;
    stage.published().await;
    stage
        .until("j1", |job| job.state == JobState::Running)
        .await;
    for status in [JobStatus::Denied, JobStatus::Denied, JobStatus::Succeeded] {
        stage.result("j1", status, ErrorCode::Unspecified).await;
    }
    while lock(&stage.ledger).counters().late_results < 2 {
        tokio::task::yield_now().await;
    }
    stage.until("j1", |job| job.state == JobState::Denied).await;
    let worker = WorkerId::from("w1");
    let in_flight = lock(&stage.ledger)
        .fleet()
        .get(&worker)
        .map(|it| it.in_flight);
    assert_eq!(in_flight, Some(0));
    // Whatever is said of the first job is said before the next one goes.
    stage.submit(request("j2", "job.a.run")).await;
    let mut heard = Vec::new();
    for _ in 0..2 {
        let (subject, packet) = stage.published().await;
        heard.push(match packet.body {
            Body::JobResult(letter) => format!("{subject} {}", letter.status.name()),
            other => format!("{subject} {}", other.kind()),
        });
    }
    assert_eq!(heard, ["sys.job.dlq DENIED", "worker.w1.jobs job_request"]);
    stage.end().await;
}

#[tokio::test]
async fn a_silent_kernel_leaves_the_job_pending_and_is_asked_again() {
    let mut stage = Stage::with([Scripted::Silence, Scripted::Error]).await;
    stage.worker().await;
    stage.submit(request("j1", "job.a.run")).await;
    for unavailable in 1..=2 {
        // The two seconds of the limit, then the five until the next question.
        let job = loop {
            stage.clock.advance(Elapsed::from_millis(100));
            tokio::task::yield_now().await;
            let job = lock(&stage.ledger).job(&JobId::from("j1")).cloned();
            if let Some(job) = job
                && job.decisions.len() == unavailable
            {
                break job;
            }
        };
        assert_eq!(job.state, JobState::Pending);
        assert_eq!(job.waiting_on, Some(WaitingOn::KernelUnavailable));
        assert_eq!(job.decision().map(|d| d.name()), Some("UNAVAILABLE"));
    }
    // One was given up at the limit, the other refused at once.
    let latency = lock(&stage.ledger).kernel_latency(stage.clock.now());
    let latency = latency.expect("it was asked");
    assert_eq!(latency.asked, 2);
    assert_eq!(latency.p50, Elapsed::from_millis(1));
    assert_eq!(latency.p99, KERNEL_LIMIT);
    // The worker would be lost by now if it had not been heard again.
    stage.worker().await;
    stage.clock.advance(Elapsed::from_secs(5));
    let (subject, _) = stage.published().await;
    assert_eq!(subject, "worker.w1.jobs");
    stage.end().await;
}

#[tokio::test]
async fn a_silent_kernel_is_waited_for_two_seconds() {
    let kernel = Arc::new(Script {
        answers: Mutex::new([Scripted::Silence].into()),
    });
    let stage = Stage::asking(Arc::clone(&kernel) as Arc<dyn SafetyKernel>, 100).await;
    stage.submit(request("j1", "job.a.run")).await;
    while !kernel.answers.lock().expect("whole").is_empty() {
        tokio::task::yield_now().await;
    }
    let asked_at = stage.clock.now();
    let rest = async || {
        // Whatever the scheduler would do at this instant, it has done after this.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    };
    rest().await;
    stage.clock.advance(Elapsed::from_millis(1_999));
    rest().await;
    let job = lock(&stage.ledger).job(&JobId::from("j1")).cloned();
    assert_eq!(job.map(|job| job.decisions.len()), Some(0));
    stage.clock.advance(Elapsed::from_millis(1));
    let job = stage.until("j1", |job| job.decision().is_some()).await;
    let last = job.decision().expect("it has one");
    assert_eq!(last.name(), "UNAVAILABLE");
    assert_eq!(last.checked_at.since(asked_at), Elapsed::from_secs(2));
    stage.end().await;
}

#[tokio::test]
async fn a_cancel_on_the_bus_reaches_the_worker_after_its_request() {
    let mut stage = Stage::with([]).await;
    stage.worker().await;
    stage.submit(request("j1", "job.a.run")).await;
    stage.published().await;
    let cancel = JobCancel {
        job_id: JobId::from("j1"),
        reason: "enough".to_owned(),
        requested_by: "ada".to_owned(),
        ..JobCancel::default()
    };
    stage
        .say(wire::CANCEL, "capdeck-1", Body::JobCancel(cancel))
        .await;
    let mut heard = Vec::new();
    for _ in 0..2 {
        let (subject, packet) = stage.published().await;
        heard.push(match packet.body {
            Body::JobResult(result) => format!("{subject} {}", result.status.name()),
            Body::JobCancel(cancel) => format!("{subject} by {}", cancel.requested_by),
            other => format!("{subject} {other:?}"),
        });
    }
    assert_eq!(heard, ["sys.job.result CANCELLED", "sys.job.cancel by ada"]);
    stage
        .result("j1", JobStatus::Succeeded, ErrorCode::Unspecified)
        .await;
    let late = || lock(&stage.ledger).counters().late_results;
    while late() == 0 {
        tokio::task::yield_now().await;
    }
    stage
        .until("j1", |job| job.state == JobState::Cancelled)
        .await;
    stage.end().await;
}

#[tokio::test]
async fn what_undoes_a_fatal_failure_runs_once() {
    let mut stage = Stage::with([]).await;
    stage.worker().await;
    let mut job = request("j1", "job.a.run");
    job.compensation = Some(Box::new(Compensation {
        topic: "job.a.undo".to_owned(),
        context_ptr: "redis://ctx:j1:undo".to_owned(),
        meta: Some(JobMetadata {
            idempotency_key: "j1/undo".to_owned(),
            ..JobMetadata::default()
        }),
        ..Compensation::default()
    }));
    stage.submit(job).await;
    stage.published().await;
    for _ in 0..3 {
        stage
            .result("j1", JobStatus::FailedFatal, ErrorCode::JobTimeout)
            .await;
    }
    let mut heard = Vec::new();
    for _ in 0..3 {
        let (subject, packet) = stage.published().await;
        heard.push(match packet.body {
            Body::JobResult(result) => format!("{subject} {}", result.error_code),
            Body::JobRequest(request) => format!(
                "{subject} {} {} {}",
                request.topic,
                request.context_ptr,
                request
                    .meta
                    .map(|meta| meta.idempotency_key)
                    .unwrap_or_default()
            ),
            other => format!("{subject} {other:?}"),
        });
    }
    assert_eq!(
        heard,
        [
            "sys.job.dlq ERROR_CODE_JOB_TIMEOUT",
            "sys.job.submit job.a.undo redis://ctx:j1:undo j1/undo",
            "worker.w1.jobs job.a.undo redis://ctx:j1:undo j1/undo",
        ]
    );
    while lock(&stage.ledger).counters().late_results < 2 {
        tokio::task::yield_now().await;
    }
    let undos = lock(&stage.ledger).rollbacks().count();
    assert_eq!(undos, 1);
    stage.end().await;
}

#[tokio::test]
async fn a_request_that_no_worker_could_read_fails_instead_of_going_round() {
    let mut stage = Stage::with([]).await;
    stage.worker().await;
    let mut job = request("j1", "job.a.run");
    job.context_ptr = "redis://ctx:j1".to_owned();
    job.labels = (0..1_001).map(|n| (n.to_string(), String::new())).collect();
    let submission = Submission {
        request: job,
        trace: TraceId::default(),
        via: Via::Gateway,
        ..Submission::default()
    };
    let now = stage.clock.now();
    lock(&stage.ledger)
        .submit(submission, now)
        .expect("the ledger counts no labels");
    stage.worker().await;
    stage.clock.advance(Elapsed::from_secs(2));
    let (subject, _) = stage.published().await;
    assert_eq!(subject, "sys.job.dlq");
    let job = stage.until("j1", |job| job.state == JobState::Failed).await;
    assert_eq!(job.error_code, "dispatch_failed");
    stage.end().await;
}

/// Answers with yes, each once it may.
#[derive(Debug)]
struct Later {
    asked: AtomicUsize,
    may: Semaphore,
}

impl SafetyKernel for Later {
    fn check<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Result<Verdict, KernelError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            self.may.acquire().await.expect("never closed").forget();
            Ok(Verdict {
                decision: Decision::Allow,
                rule_id: None,
                reason: "later".to_owned(),
                snapshot: "v1".to_owned(),
                constraints: None,
                remediations: Vec::new(),
            })
        })
    }

    fn snapshots(&self) -> BoxFuture<'_, Result<Vec<String>, KernelError>> {
        Box::pin(std::future::ready(Ok(vec!["v1".to_owned()])))
    }
}

#[tokio::test]
async fn more_jobs_than_a_kernel_can_be_asked_about_at_once_wait_their_turn() {
    const JOBS: usize = 2 * MAX_QUESTIONS + 7;
    let kernel = Arc::new(Later {
        asked: AtomicUsize::new(0),
        may: Semaphore::new(0),
    });
    let stage = Stage::asking(Arc::clone(&kernel) as Arc<dyn SafetyKernel>, JOBS).await;
    for n in 0..JOBS {
        stage.submit(request(&format!("j{n}"), "job.a.run")).await;
    }
    while kernel.asked.load(Ordering::SeqCst) < MAX_QUESTIONS {
        tokio::task::yield_now().await;
    }
    // Whatever the scheduler would still do at once, it has done after this.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(kernel.asked.load(Ordering::SeqCst), MAX_QUESTIONS);
    kernel.may.add_permits(JOBS);
    for n in 0..JOBS {
        let judged = |job: &Job| job.waiting_on == Some(WaitingOn::NoWorkers);
        let job = stage.until(&format!("j{n}"), judged).await;
        let decisions: Vec<_> = job.decisions.iter().map(|it| it.reason.as_str()).collect();
        assert_eq!(decisions, ["later"]);
    }
    assert_eq!(kernel.asked.load(Ordering::SeqCst), JOBS);
    stage.end().await;
}
