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

use std::collections::{BTreeMap, BTreeSet, HashMap};
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
pub mod causes;
pub mod decisions;
mod error;
pub mod fleet;
mod gap;
pub mod job;
pub mod keys;
pub mod letters;
pub mod lifecycle;
mod listing;
mod remembered;
pub mod rollback;
pub mod saved;
mod submit;

pub use again::Again;
pub use approval::{Approval, ApprovalStatus, Approved, Expected, Yes};
pub use breaker::{Breaker, BreakerState};
pub use causes::{error_code_of, error_message_of};
pub use decisions::{DecisionsQuery, Logged};
pub use error::LedgerError;
pub use fleet::{Demands, Fleet, PoolSummary, Worker};
pub use job::{CancelNote, DecisionRecord, Job, JobEvent, JobState, Progress, WaitingOn};
pub use letters::DeadLetter;
pub use lifecycle::{Asker, Cancelled, Heard, Ruling};
pub use listing::{ApprovalPlace, JobsQuery};
pub use rollback::{Rollback, RollbackState, Undo, UndoState};
pub use submit::{Submission, Submitted, Via};

use decisions::DecisionLog;
use keys::PastKeys;
use letters::Letters;
use rollback::{Rollbacks, UndoKey};
use saved::Notes;

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
    /// Packets that could not be read or name nothing, and requests that break the
    /// contract or contradict themselves.
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
    /// Jobs at work by tenant, in lower case.
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
    /// Whose a request is that names no tenant.
    default_tenant: String,
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
            default_tenant: DEFAULT_TENANT.to_owned(),
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

    /// Makes requests that name no tenant `tenant`'s from now on, as the policy in force
    /// takes them.
    pub fn belongs_to(&mut self, tenant: &str) {
        tenant.clone_into(&mut self.default_tenant);
    }

    /// The most jobs that it keeps.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether jobs go on without a verdict while the kernel does not answer.
    pub fn fails_open(&self) -> bool {
        self.fail_open
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

    /// Counts a packet that could not be read, or a request that is not taken.
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
#[cfg(test)]
mod tests;
