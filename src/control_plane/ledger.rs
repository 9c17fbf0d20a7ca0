//! What the plane knows: jobs, decisions, approvals, rollbacks, dead letters and
//! workers, in memory and bounded.
//!
//! Everything here is pure: each method takes `now`, changes the record and says
//! what the outside has to do as [`Step`]s, which the scheduler collects with
//! [`Ledger::take_steps`]. The scheduler and the gateway share one ledger behind a
//! lock ([`SharedLedger`]) that nobody holds while waiting for anything. Start at
//! [`Ledger::submit`], then `ledger/lifecycle.rs`.
//!
//! A job that came by HTTP, was approved, or undoes another one is announced on
//! `sys.job.submit` by whoever changed it, and goes on when that packet comes
//! back over the bus, so that observers see causes before effects; without the
//! packet it goes on by itself after two seconds.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::control_plane::kernel::latency::{Latency, Summary};
use crate::control_plane::kernel::{KernelError, Question, Verdict};
use crate::ids::{JobId, PoolName, TraceId, WorkerId};
use crate::time::{Elapsed, Timestamp};
use crate::wire::packet::{
    Handshake, Heartbeat, JobCancel, JobPriority, JobRequest, JobResult, SystemAlert,
};

pub mod again;
pub mod alerts;
pub mod approval;
pub mod breaker;
pub mod decisions;
mod error;
pub mod fleet;
mod gap;
pub mod job;
pub mod keys;
pub mod letters;
pub mod lifecycle;
mod listing;
pub mod rollback;
pub mod saved;

pub use again::Again;
pub use approval::{Approval, ApprovalStatus, Approved, Expected, Yes};
pub use breaker::{Breaker, BreakerState};
pub use decisions::{DecisionsQuery, Logged};
pub use error::LedgerError;
pub use fleet::{Fleet, PoolSummary, Worker};
pub use job::{
    CancelNote, DecisionRecord, Job, JobEvent, JobState, Progress, WaitingOn, error_code_of,
};
pub use letters::DeadLetter;
pub use lifecycle::{Asker, Cancelled, Heard, Ruling};
pub use listing::JobsQuery;
pub use rollback::{Rollback, RollbackState, Undo, UndoState};

use decisions::DecisionLog;
use job::Phase;
use keys::{PastKey, PastKeys};
use letters::Letters;
use rollback::{Rollbacks, UndoKey};
use saved::{Kept, Notes};

/// The tenant of requests that name none.
pub const DEFAULT_TENANT: &str = "default";

/// Jobs kept unless told otherwise; ended ones go first.
pub const MAX_JOBS: usize = 200_000;

/// A ledger that the scheduler and the gateway share.
pub type SharedLedger = Arc<Mutex<Ledger>>;

/// Locks a shared ledger. A task that panicked with the lock left whole records
/// behind, or one job in an odd state, so the others go on.
pub fn lock(ledger: &SharedLedger) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Via {
    /// By HTTP; the gateway publishes it on the bus afterwards.
    Gateway,
    /// By the bus, or it is the announcement of a known job.
    #[default]
    Bus,
    /// By HTTP, in place of a dead letter; it takes over its idempotency key.
    Retry,
    /// To undo another job; the scheduler publishes it afterwards.
    Rollback,
}

/// A request to run a job.
#[derive(Clone, Debug, Default)]
pub struct Submission {
    /// What to do. An empty `context_ptr` is filled with `redis://ctx:<job id>`, and
    /// the scheduler stores a context there.
    pub request: JobRequest,
    /// The trace of its envelope; empty means the job is its own.
    pub trace: TraceId,
    /// Who submits; empty for the bus.
    pub submitted_by: String,
    /// The key that whoever submits proved themselves with, by its public id; empty
    /// without one.
    pub submitter_key: String,
    /// The digest of what was asked for, which a second submission with the same
    /// idempotency key has to share; empty where it is not known.
    pub body_digest: String,
    /// How it came.
    pub via: Via,
}

/// What became of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The job: the submitted one, or the first one with its idempotency key.
    pub job_id: JobId,
    /// Its trace.
    pub trace: TraceId,
    /// Whether the job was known before, so that nothing new happens.
    pub repeated: bool,
}

/// What the outside has to do, in order.
#[derive(Clone, Debug)]
pub enum Step {
    /// Ask policy, and hand the answer to [`Ledger::answered`] with the ticket.
    Ask {
        /// About which job.
        job: JobId,
        /// Which question; an answer to an older one is ignored.
        ticket: u64,
        /// The question.
        question: Box<Question>,
    },
    /// Publish the request to the worker, then say [`Ledger::dispatched`] or
    /// [`Ledger::dispatch_failed`].
    Dispatch {
        /// The job.
        job: JobId,
        /// Its attempt, from 1.
        attempt: u32,
        /// Its worker.
        worker: WorkerId,
        /// Its trace.
        trace: TraceId,
        /// What the worker gets.
        request: Arc<JobRequest>,
    },
    /// Publish on `sys.job.submit`, as the part that rolls back.
    Submit {
        /// The trace of the job.
        trace: TraceId,
        /// The request.
        request: Arc<JobRequest>,
    },
    /// Publish on `sys.job.dlq` and store the result it stands for.
    DeadLetter(DeadLetter),
    /// Store the result a dead letter stands for; somebody else publishes it.
    StoreDeadLetter(DeadLetter),
    /// Publish on `sys.job.result`: the plane itself ended the job.
    Result {
        /// The trace of the job.
        trace: TraceId,
        /// The result.
        result: Box<JobResult>,
    },
    /// Publish on `sys.job.cancel`, after whatever was sent to the worker.
    Cancel(JobCancel),
    /// Store a context for a job that came without one.
    StoreContext {
        /// The job.
        job: JobId,
        /// The JSON.
        json: String,
    },
    /// Publish on `sys.alert`.
    Alert(Box<SystemAlert>),
}

/// What was ignored or let go, since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    /// Submissions of known jobs and known idempotency keys.
    pub repeated_submits: u64,
    /// Results of ended jobs or of earlier attempts.
    pub late_results: u64,
    /// Results and cancels of jobs that nobody knows.
    pub unknown_jobs: u64,
    /// Progress of ended jobs, of earlier attempts, or older than known progress.
    pub late_progress: u64,
    /// Ended jobs that were forgotten to make room.
    pub forgotten_jobs: u64,
    /// Idempotency keys of forgotten jobs that were forgotten too, to make room.
    pub forgotten_keys: u64,
    /// Submissions refused because too many jobs are under way.
    pub refused_submits: u64,
    /// Packets that could not be read, or name nothing.
    pub malformed_packets: u64,
    /// Rollback steps that were forgotten to make room.
    pub forgotten_undos: u64,
    /// Jobs that went on without a verdict, because the plane was told to fail open.
    pub bypassed_jobs: u64,
}

/// Where a job stands in line for a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    Pools(Vec<PoolName>),
    Homeless,
}

/// The record of the plane.
#[derive(Debug)]
pub struct Ledger {
    limit: usize,
    jobs: BTreeMap<u64, Job>,
    ids: HashMap<JobId, u64>,
    keys: HashMap<keys::Key, u64>,
    past_keys: PastKeys,
    by_state: BTreeMap<JobState, BTreeSet<(Timestamp, u64)>>,
    resolved: BTreeSet<(Timestamp, u64)>,
    alarms: BTreeSet<(Timestamp, u64)>,
    active: HashMap<String, u32>,
    lines: BTreeMap<PoolName, BTreeSet<(u8, u64)>>,
    homeless: BTreeSet<u64>,
    fleet: Fleet,
    letters: Letters,
    rollbacks: Rollbacks,
    outbox: Vec<Step>,
    snapshot: Option<String>,
    /// Those that were in force, the newest first.
    snapshots: Vec<String>,
    breaker: Breaker,
    latency: Latency,
    fail_open: bool,
    log: DecisionLog,
    children: HashMap<JobId, BTreeSet<u64>>,
    reconcile_at: Option<Timestamp>,
    counters: Counters,
    notes: Notes,
    in_doubt: BTreeMap<WorkerId, BTreeSet<JobId>>,
    next_seq: u64,
    next_ticket: u64,
    random: ChaCha8Rng,
}

impl Ledger {
    /// An empty ledger for at most `limit` jobs, usually [`MAX_JOBS`]. Ids that it
    /// makes come from `seed`.
    pub fn new(limit: usize, seed: u64) -> Self {
        Self {
            limit,
            jobs: BTreeMap::new(),
            ids: HashMap::new(),
            keys: HashMap::new(),
            past_keys: PastKeys::default(),
            by_state: BTreeMap::new(),
            resolved: BTreeSet::new(),
            alarms: BTreeSet::new(),
            active: HashMap::new(),
            lines: BTreeMap::new(),
            homeless: BTreeSet::new(),
            fleet: Fleet::default(),
            letters: Letters::default(),
            rollbacks: Rollbacks::default(),
            outbox: Vec::new(),
            snapshot: None,
            snapshots: Vec::new(),
            breaker: Breaker::default(),
            latency: Latency::default(),
            fail_open: false,
            log: DecisionLog::default(),
            children: HashMap::new(),
            reconcile_at: None,
            counters: Counters::default(),
            notes: Notes::default(),
            in_doubt: BTreeMap::new(),
            next_seq: 0,
            next_ticket: 0,
            random: generator(seed),
        }
    }

    /// The same ledger, but jobs go on without a verdict while the kernel does not
    /// answer, each with an alert. Without this they wait.
    pub fn failing_open(mut self) -> Self {
        self.fail_open = true;
        self
    }

    /// The most jobs that it keeps.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether jobs go on without a verdict while the kernel does not answer.
    pub fn fails_open(&self) -> bool {
        self.fail_open
    }

    /// Takes a request. Submitting a job again, or another one with the
    /// idempotency key of its tenant, changes nothing and names the first.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] without job id or topic;
    /// [`LedgerError::IdempotencyConflict`] when the key belongs to a job of another
    /// topic, or one that was asked for in another body; [`LedgerError::Full`].
    pub fn submit(
        &mut self,
        submission: Submission,
        now: Timestamp,
    ) -> Result<Submitted, LedgerError> {
        let Submission {
            mut request,
            trace,
            submitted_by,
            submitter_key,
            body_digest,
            via,
        } = submission;
        if request.job_id.is_empty() {
            return Err(LedgerError::Invalid("job_id"));
        }
        if request.topic.is_empty() {
            return Err(LedgerError::Invalid("topic"));
        }
        if let Some(seq) = self.ids.get(&request.job_id).copied() {
            return Ok(self.repeated(seq, via, now));
        }
        let key = idempotency_key(&request);
        let of_key = key.as_ref().and_then(|key| self.keys.get(key)).copied();
        if let Some(seq) = of_key.filter(|_| via != Via::Retry) {
            let existing = self.at(seq);
            let other_body = !body_digest.is_empty()
                && !existing.body_digest.is_empty()
                && existing.body_digest != body_digest;
            if existing.request.topic != request.topic || other_body {
                return Err(LedgerError::IdempotencyConflict {
                    existing: existing.id.clone(),
                });
            }
            return Ok(self.repeated(seq, via, now));
        }
        if via != Via::Retry
            && let Some(first) = self.repeats_forgotten(&request, &body_digest, now)?
        {
            self.counters.repeated_submits += 1;
            return Ok(first);
        }
        // What undoes a job is never refused: it is the way out of the crowd.
        if via != Via::Rollback && self.jobs.len() >= self.limit && !self.forget_oldest() {
            self.counters.refused_submits += 1;
            return Err(LedgerError::Full { limit: self.limit });
        }

        let id = request.job_id.clone();
        if request.context_ptr.is_empty() {
            request.context_ptr = format!("redis://ctx:{id}");
            self.outbox.push(Step::StoreContext {
                job: id.clone(),
                json: context_of(&request, now),
            });
        }
        let trace = if trace.is_empty() {
            TraceId::from(id.as_str())
        } else {
            trace
        };
        let seq = self.next_seq;
        self.next_seq += 1;
        if let Some(key) = key {
            self.past_keys.remove(&key);
            self.keys.insert(key, seq);
        }
        let deadline_at = request
            .budget
            .as_ref()
            .and_then(|budget| u64::try_from(budget.deadline_ms).ok())
            .filter(|ms| *ms > 0)
            .map(|ms| now.plus(Elapsed::from_millis(ms)));
        let mut job = Job {
            id: id.clone(),
            trace: trace.clone(),
            request: Arc::new(request),
            dispatched_request: None,
            state: JobState::Pending,
            waiting_on: None,
            submitted_at: now,
            submitted_by,
            submitter_key,
            body_digest,
            updated_at: now,
            dispatched_at: None,
            deadline_at,
            attempts: 0,
            placement_tries: 0,
            decisions: VecDeque::new(),
            decisions_left_out: 0,
            approval: None,
            worker: None,
            progress: None,
            result: None,
            result_ptr: String::new(),
            error_code: String::new(),
            error_message: String::new(),
            cancel: None,
            events: VecDeque::new(),
            alarm: None,
            phase: Phase::Unchecked,
            held: false,
            line: None,
            slot: None,
            failures: 0,
            refused_since: None,
            cancel_relayed: false,
            going_on_told: false,
            past_workers: Vec::new(),
            undoes: None,
            kept: Kept::Never,
        };
        job.note(now, "submitted");
        if !job.request.parent_job_id.is_empty() {
            let parent = job.request.parent_job_id.clone();
            self.children.entry(parent).or_default().insert(seq);
        }
        self.notes.job(seq);
        self.jobs.insert(seq, job);
        self.ids.insert(id.clone(), seq);
        self.by_state
            .entry(JobState::Pending)
            .or_default()
            .insert((now, seq));
        match via {
            Via::Bus => self.wake(seq, now),
            Via::Gateway | Via::Retry | Via::Rollback => self.hold(seq, now),
        }
        Ok(Submitted {
            job_id: id,
            trace,
            repeated: false,
        })
    }

    /// The job that submitting `request` would repeat: the one of its id, else the
    /// first one with its idempotency key.
    pub fn repeats(&self, request: &JobRequest) -> Option<&Job> {
        let of_key = || self.keys.get(&idempotency_key(request)?);
        let seq = self.ids.get(&request.job_id).or_else(of_key)?;
        self.jobs.get(seq)
    }

    fn repeated(&mut self, seq: u64, via: Via, now: Timestamp) -> Submitted {
        let job = self.at(seq);
        let submitted = Submitted {
            job_id: job.id.clone(),
            trace: job.trace.clone(),
            repeated: true,
        };
        if via == Via::Bus && job.held {
            self.wake(seq, now);
        } else {
            self.counters.repeated_submits += 1;
        }
        submitted
    }

    /// Forgets the dead letter of a job, and returns it.
    pub fn drop_dead_letter(&mut self, id: &JobId) -> Option<DeadLetter> {
        if let Ok(seq) = self.seq(id) {
            self.notes.job(seq);
        }
        self.letters.remove(id)
    }

    /// A new id in the shape of a random UUID, from the ledger's seed.
    pub fn fresh_uuid(&mut self) -> String {
        use rand::Rng as _;
        let mut bytes = [0; 16];
        self.random.fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes)
            .into_uuid()
            .to_string()
    }

    /// Takes a worker's heartbeat.
    pub fn heartbeat(&mut self, heartbeat: Heartbeat, now: Timestamp) {
        let worker = heartbeat.worker_id.clone();
        if let Some(freed) = self.fleet.heartbeat(heartbeat, now) {
            self.call_up(&freed, now);
        }
        self.send_what_is_in_doubt(&worker, now);
    }

    /// Takes a component's handshake; only workers' topics matter here.
    pub fn handshake(&mut self, handshake: Handshake, now: Timestamp) {
        if let Some(freed) = self.fleet.handshake(handshake) {
            self.call_up(&freed, now);
        }
    }

    /// Whether the kernel may be asked now. Whoever may ask has to say what came of
    /// it by [`Self::kernel_answered`].
    ///
    /// # Errors
    /// [`KernelError::Unavailable`] while the breaker is open, or while others try a
    /// kernel that has failed.
    pub fn may_ask(&mut self, now: Timestamp) -> Result<(), KernelError> {
        if self.breaker.admit(now) {
            return Ok(());
        }
        let says = match self.breaker.cooldown(now) {
            Some(cooldown) => format!(
                "it failed {} times in a row and is not asked for {} s",
                breaker::THRESHOLD,
                cooldown.as_millis().div_ceil(1_000)
            ),
            None => "it has failed, and others try whether it answers again".to_owned(),
        };
        Err(KernelError::Unavailable(says))
    }

    /// Tells the breaker what came of a question.
    pub fn kernel_answered(&mut self, answer: &Result<Verdict, KernelError>, now: Timestamp) {
        let before = self.breaker.without_tries();
        if answer.as_ref().is_err_and(KernelError::is_outage) {
            self.breaker.failed(now);
        } else {
            self.breaker.succeeded(now);
        }
        if self.breaker.without_tries() != before {
            self.notes.breaker();
        }
    }

    /// Keeps how long the kernel took to answer a question, or how long it was waited for.
    pub fn kernel_took(&mut self, took: Elapsed, now: Timestamp) {
        self.latency.answered(took, now);
    }

    /// How fast the kernel answered in the last minute, and how often it was asked;
    /// `None` when it was not.
    pub fn kernel_latency(&self, now: Timestamp) -> Option<Summary> {
        self.latency.summary(now)
    }

    /// Counts a packet that could not be read, or names nothing.
    pub fn malformed(&mut self) {
        self.counters.malformed_packets += 1;
    }

    /// Takes what the outside has to do, in order.
    pub fn take_steps(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.outbox)
    }

    fn seq(&self, id: &JobId) -> Result<u64, LedgerError> {
        self.ids.get(id).copied().ok_or(LedgerError::NotFound)
    }

    fn at(&self, seq: u64) -> &Job {
        &self.jobs[&seq]
    }

    fn at_mut(&mut self, seq: u64) -> &mut Job {
        self.notes.job(seq);
        self.jobs
            .get_mut(&seq)
            .expect("a sequence number names a job until that job is forgotten")
    }

    /// Forgets the job that ended longest ago. Returns whether there was one.
    fn forget_oldest(&mut self) -> bool {
        let oldest = self
            .by_state
            .iter()
            .filter(|(state, _)| state.is_ended())
            .filter_map(|(state, index)| index.first().map(|key| (*key, *state)))
            .min();
        let Some(((at, seq), state)) = oldest else {
            return false;
        };
        if let Some(index) = self.by_state.get_mut(&state) {
            index.remove(&(at, seq));
        }
        if let Some(job) = self.jobs.remove(&seq) {
            self.notes.forgotten(seq, &job);
            self.ids.remove(&job.id);
            // A retry may have taken the key over.
            if let Some(key) = idempotency_key(&job.request)
                && self.keys.get(&key) == Some(&seq)
            {
                self.keys.remove(&key);
                let dropped = self.past_keys.keep(key, PastKey::of(&job));
                self.counters.forgotten_keys += u64::from(dropped);
            }
            let parent = &job.request.parent_job_id;
            if let Some(siblings) = self.children.get_mut(parent) {
                siblings.remove(&seq);
                if siblings.is_empty() {
                    self.children.remove(parent);
                }
            }
            if let Some(at) = job.approval.and_then(|approval| approval.resolved_at) {
                self.resolved.remove(&(at, seq));
            }
        }
        self.counters.forgotten_jobs += 1;
        true
    }
}

/// What ids are drawn from. The scenario draws its own from the same seed and the streams
/// from zero on; with one of those a job that somebody submits would get the id of a job
/// of the scenario, and be taken for it.
fn generator(seed: u64) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(u64::MAX);
    generator
}

/// Where a compensation stands in a line, then an interactive job, then a batch.
fn rank(priority: JobPriority) -> u8 {
    match priority {
        JobPriority::Critical => 0,
        JobPriority::Interactive | JobPriority::Unspecified | JobPriority::Unknown(_) => 1,
        JobPriority::Batch => 2,
    }
}

fn idempotency_key(request: &JobRequest) -> Option<keys::Key> {
    let key = &request.meta.as_ref()?.idempotency_key;
    let tenant = request.tenant().unwrap_or(DEFAULT_TENANT);
    (!key.is_empty()).then(|| (tenant.to_owned(), key.clone()))
}

fn context_of(request: &JobRequest, now: Timestamp) -> String {
    serde_json::json!({
        "topic": request.topic,
        "tenant_id": request.tenant().unwrap_or(DEFAULT_TENANT),
        "created_at": now.to_string(),
    })
    .to_string()
}
#[cfg(test)]
mod tests;
