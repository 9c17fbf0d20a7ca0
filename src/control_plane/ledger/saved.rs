//! The record as it is kept outside this process: what changed, as documents, and a
//! ledger made anew from them.
//!
//! A ledger that is [`Ledger::keeping`] notes which jobs and rollbacks changed, and what
//! the breaker learned. [`Ledger::take_changes`] hands them out, each with its document,
//! as [`ChangedJob::document`], and [`Ledger::restored`] reads them again in another
//! process. What a process alone knows is not kept: a question that was asked and not
//! answered is asked again, a place in line is taken anew, and a request that may or may
//! not have left for its worker is sent again under the same attempt.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use thiserror::Error;

use super::job::Phase;
use super::rollback::{Stack, UndoKey};
use super::{Breaker, DeadLetter, DecisionRecord, Job, JobState, Ledger, Step, WaitingOn};
use crate::ids::JobId;
use crate::time::{Elapsed, Timestamp};
use crate::wire::packet::{JobCancel, JobRequest};

mod breaker;
mod document;
mod keys;
mod turned_away;

pub use turned_away::{MAX_TURNED_AWAY, TurnedAway};

use super::keys::{Key, PastKey, idempotency_key};
use breaker::BreakerDocument;
use document::{JobDocument, StackDocument};

/// Changed jobs that are handed out at once, so that a document is never long waited for.
pub const AT_ONCE: usize = 200;
/// A cancel this young is said once more by whoever takes a record over: the one who
/// recorded it may not have got to say it.
const CANCEL_AGAIN: Elapsed = Elapsed::from_secs(30);

/// What is known of the state under which a job is on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Kept {
    /// It never was.
    #[default]
    Never,
    /// Under this state.
    As(JobState),
    /// Nobody knows what came of the last attempt.
    Unsure,
}

impl Kept {
    /// Whether the job may not be on record at all.
    fn is_uncertain(self) -> bool {
        match self {
            Self::Never | Self::Unsure => true,
            Self::As(_) => false,
        }
    }
}

/// Why a document cannot be used.
#[derive(Debug, Error)]
pub enum BadDocument {
    /// It is not what this program writes.
    #[error("it cannot be read")]
    Unreadable(#[from] serde_json::Error),
    /// A part of it is not what this program writes.
    #[error("its {part} cannot be read: {why}")]
    Part {
        /// Which.
        part: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Another version wrote it.
    #[error(
        "it is of version {found}, and this program reads version {}",
        document::VERSION
    )]
    Version {
        /// Its version.
        found: u32,
    },
}

/// A job that changed.
#[derive(Clone, Debug)]
pub struct ChangedJob {
    /// The job as it is now.
    pub job: Job,
    /// Its dead letter, if it has one.
    pub letter: Option<DeadLetter>,
    /// How it is on record.
    pub was: Kept,
    /// Whether its idempotency key is its own: a retry takes it over.
    pub has_key: bool,
    seq: u64,
}

impl ChangedJob {
    /// The document of the job.
    pub fn document(&self) -> String {
        document::write(&JobDocument::of(self.seq, &self.job, self.letter.as_ref()))
    }
}

/// A rollback that changed.
#[derive(Clone, Debug)]
pub struct ChangedStack {
    key: UndoKey,
    stack: Option<Stack>,
}

impl ChangedStack {
    /// A name that no other rollback has.
    pub fn name(&self) -> String {
        match &self.key {
            UndoKey::Workflow(id) => format!("workflow:{id}"),
            UndoKey::Job(id) => format!("job:{id}"),
        }
    }

    /// The document of the rollback; `None` when there is nothing left to undo.
    pub fn document(&self) -> Option<String> {
        let stack = self.stack.as_ref()?;
        Some(document::write(&StackDocument::of(&self.key, stack)))
    }
}

/// What changed since the last time.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Jobs, in the order in which they came.
    pub jobs: Vec<ChangedJob>,
    /// Rollbacks.
    pub stacks: Vec<ChangedStack>,
    /// Jobs that are not remembered any more, with how they were on record.
    pub forgotten: Vec<(JobId, Kept)>,
    /// Submissions that became no job, in their order.
    pub turned_away: Vec<TurnedAway>,
    /// The breaker before the kernel, if it learned something.
    pub breaker: Option<Breaker>,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
            && self.stacks.is_empty()
            && self.forgotten.is_empty()
            && self.turned_away.is_empty()
            && self.breaker.is_none()
    }
}

impl Breaker {
    /// The document of the breaker; `None` while it knows of no failure.
    pub fn document(&self) -> Option<String> {
        let fresh = self.without_tries() == Self::default();
        (!fresh).then(|| document::write(&BreakerDocument::of(self)))
    }
}

/// What is to be written down.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    on: bool,
    jobs: BTreeSet<u64>,
    stacks: BTreeSet<UndoKey>,
    forgotten: Vec<(JobId, Kept)>,
    turned_away: VecDeque<TurnedAway>,
    next_turned_away: u64,
    breaker: bool,
}

impl Notes {
    pub(super) fn breaker(&mut self) {
        self.breaker = self.on;
    }

    pub(super) fn job(&mut self, seq: u64) {
        if self.on {
            self.jobs.insert(seq);
        }
    }

    pub(super) fn stack(&mut self, key: &UndoKey) {
        if self.on {
            self.stacks.insert(key.clone());
        }
    }

    pub(super) fn turned_away(&mut self, request: &Arc<JobRequest>, record: &Arc<DecisionRecord>) {
        if self.on {
            self.turned_away.push_back(TurnedAway {
                number: self.next_turned_away,
                request: Arc::clone(request),
                record: Arc::clone(record),
            });
            self.next_turned_away += 1;
            self.bound_turned_away();
        }
    }

    /// Of more than there are places on record, later ones would take those of earlier ones.
    fn bound_turned_away(&mut self) {
        while self.turned_away.len() as u64 > MAX_TURNED_AWAY {
            self.turned_away.pop_front();
        }
    }

    pub(super) fn forgotten(&mut self, seq: u64, job: &Job) {
        if self.on {
            self.jobs.remove(&seq);
            self.forgotten.push((job.id.clone(), job.kept));
        }
    }
}

/// Everything that was kept, read by [`Ledger::restored`].
#[derive(Debug, Default)]
pub struct Saved {
    jobs: Vec<(u64, Job, Option<DeadLetter>)>,
    stacks: BTreeMap<UndoKey, Stack>,
    /// The newest first.
    keys: Vec<(Key, PastKey)>,
    turned_away: Vec<TurnedAway>,
    snapshots: Vec<String>,
    breaker: Breaker,
}

impl Saved {
    /// Sets the breaker.
    ///
    /// # Errors
    /// [`BadDocument`]; it is as it was then.
    pub fn set_breaker(&mut self, document: &[u8]) -> Result<(), BadDocument> {
        let read: BreakerDocument = document::read(document)?;
        self.breaker = read.into_breaker();
        Ok(())
    }

    /// Adds a job.
    ///
    /// # Errors
    /// [`BadDocument`]; nothing was added then.
    pub fn add_job(&mut self, document: &[u8]) -> Result<(), BadDocument> {
        let read: JobDocument = document::read(document)?;
        self.jobs.push(read.into_job()?);
        Ok(())
    }

    /// Adds a rollback.
    ///
    /// # Errors
    /// [`BadDocument`]; nothing was added then.
    pub fn add_stack(&mut self, document: &[u8]) -> Result<(), BadDocument> {
        let read: StackDocument = document::read(document)?;
        let (key, stack) = read.into_stack()?;
        self.stacks.insert(key, stack);
        Ok(())
    }

    /// Adds an idempotency key that is older than those that were added before.
    ///
    /// # Errors
    /// [`BadDocument`]; nothing was added then.
    pub fn add_key(&mut self, document: &[u8]) -> Result<(), BadDocument> {
        self.keys.push(keys::read(document)?);
        Ok(())
    }

    /// Adds a submission that became no job.
    ///
    /// # Errors
    /// [`BadDocument`]; nothing was added then.
    pub fn add_turned_away(&mut self, document: &[u8]) -> Result<(), BadDocument> {
        self.turned_away.push(TurnedAway::read(document)?);
        Ok(())
    }

    /// Adds a policy that was in force before those that were added.
    pub fn add_snapshot(&mut self, snapshot: &str) {
        self.snapshots.push(snapshot.to_owned());
    }

    /// How many jobs there are.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether there is no job.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }
}

impl Ledger {
    /// The same ledger, but it notes what changes for [`Self::take_changes`].
    pub fn keeping(mut self) -> Self {
        self.notes.on = true;
        self
    }

    /// What changed and was not handed out yet, at most [`AT_ONCE`] jobs.
    pub fn take_changes(&mut self) -> Changes {
        let mut jobs = Vec::new();
        while jobs.len() < AT_ONCE
            && let Some(seq) = self.notes.jobs.pop_first()
        {
            let Some(job) = self.jobs.get_mut(&seq) else {
                continue;
            };
            let was = std::mem::replace(&mut job.kept, Kept::As(job.state));
            let (job, letter) = (job.clone(), self.letters.get(&job.id).cloned());
            let key = idempotency_key(&job.request);
            let has_key = key.is_some_and(|key| self.keys.get(&key) == Some(&seq));
            jobs.push(ChangedJob {
                job,
                letter,
                was,
                has_key,
                seq,
            });
        }
        let stacks = std::mem::take(&mut self.notes.stacks);
        let stacks = stacks.into_iter().map(|key| ChangedStack {
            stack: self.rollbacks.stack(&key).cloned(),
            key,
        });
        Changes {
            jobs,
            stacks: stacks.collect(),
            forgotten: std::mem::take(&mut self.notes.forgotten),
            turned_away: std::mem::take(&mut self.notes.turned_away).into(),
            breaker: std::mem::take(&mut self.notes.breaker).then_some(self.breaker),
        }
    }

    /// Takes changes back that may not have been written down.
    pub fn give_back(&mut self, changes: Changes) {
        for changed in changes.jobs {
            match self.jobs.get_mut(&changed.seq) {
                Some(job) => {
                    job.kept = Kept::Unsure;
                    self.notes.job(changed.seq);
                }
                // Forgotten since then.
                None => {
                    let id = changed.job.id;
                    self.notes.forgotten.retain(|(other, _)| *other != id);
                    self.notes.forgotten.push((id, Kept::Unsure));
                }
            }
        }
        for changed in changes.stacks {
            self.notes.stack(&changed.key);
        }
        self.notes.forgotten.extend(changes.forgotten);
        for it in changes.turned_away.into_iter().rev() {
            self.notes.turned_away.push_front(it);
        }
        self.notes.bound_turned_away();
        self.notes.breaker |= changes.breaker.is_some();
    }

    /// A ledger in the place of this one, with what was kept: the options and the
    /// workers stay, the record does not. Jobs go on from where they stood.
    /// Ids that it makes are drawn from `salt` too, which no two of them share.
    pub fn restored(&self, saved: Saved, salt: u64, now: Timestamp) -> Self {
        use rand::Rng as _;
        let mut random = self.random.clone();
        let seed = random.next_u64() ^ salt.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut ledger = Self::new(self.limit, seed);
        ledger.fail_open = self.fail_open;
        ledger.default_tenant.clone_from(&self.default_tenant);
        ledger.snapshot.clone_from(&self.snapshot);
        ledger.snapshots = saved.snapshots;
        ledger.list_snapshot();
        ledger.notes.on = self.notes.on;
        ledger.fleet = self.fleet.clone();
        ledger.fleet.without_jobs();
        ledger.breaker = saved.breaker.not_after(now);
        for (key, stack) in saved.stacks {
            ledger.rollbacks.put(key, stack);
        }
        let mut jobs = saved.jobs;
        jobs.sort_by_key(|(seq, ..)| *seq);
        for (seq, job, letter) in jobs {
            ledger.take_over(seq, job, letter, now);
        }
        for (key, past) in saved.keys.into_iter().rev() {
            if !ledger.keys.contains_key(&key) {
                ledger.past_keys.keep(key, past);
            }
        }
        let last = saved.turned_away.iter().map(|it| it.number).max();
        ledger.notes.next_turned_away = last.map_or(0, |last| last.saturating_add(1));
        ledger.log_again(saved.turned_away);
        ledger.reconcile_at = self.reconcile_at;
        ledger.fleet.count_others();
        // Where no policy was reported yet, `policy_changed` does it.
        ledger.look_after_stale(now);
        ledger
    }

    fn take_over(&mut self, seq: u64, mut job: Job, letter: Option<DeadLetter>, now: Timestamp) {
        if self.ids.contains_key(&job.id) {
            return;
        }
        // Numbers stay, for later documents have later ones.
        let taken = self.jobs.contains_key(&seq);
        let seq = if taken { self.next_seq } else { seq };
        self.next_seq = self.next_seq.max(seq.saturating_add(1));
        if job.state.is_active() {
            *self.active.entry(job.tenant().to_lowercase()).or_default() += 1;
            if let Some(worker) = &job.slot {
                self.fleet.give(worker);
            }
        }
        if let Some(letter) = letter {
            self.letters.add(letter);
        }
        job.phase = Phase::Unchecked;
        let (state, alarm) = (job.state, job.alarm.take());
        self.keep_job(seq, job);
        match state {
            JobState::Pending | JobState::Scheduled | JobState::Retrying => {
                // Its place in line is gone with whoever kept the line.
                let in_line = matches!(
                    self.at(seq).waiting_on,
                    Some(
                        WaitingOn::NoWorkers | WaitingOn::PoolOverloaded | WaitingOn::NoPoolMapping
                    )
                );
                if in_line {
                    let job = self.at_mut(seq);
                    job.placement_tries = job.placement_tries.saturating_sub(1);
                }
                let at = alarm.filter(|_| !in_line).unwrap_or(now);
                self.alarm(seq, Some(at));
            }
            JobState::Dispatched => {
                self.alarm(seq, alarm);
                self.send_again(seq, "taken over; sent again under the same attempt", now);
            }
            JobState::ApprovalRequired
            | JobState::Running
            | JobState::Succeeded
            | JobState::Failed
            | JobState::Timeout
            | JobState::Denied => self.alarm(seq, alarm),
            JobState::Cancelled => self.cancel_again(seq, now),
        }
    }

    fn cancel_again(&mut self, seq: u64, now: Timestamp) {
        let job = self.at(seq);
        let young = now.since(job.updated_at) < CANCEL_AGAIN;
        if let Some(note) = job.cancel.as_ref().filter(|_| young && job.attempts > 0) {
            let dispatched = job.dispatched_request.as_ref();
            let cancel = JobCancel {
                job_id: job.id.clone(),
                reason: note.reason.clone(),
                requested_by: note.requested_by.clone(),
                dispatch: dispatched.and_then(|request| request.dispatch.clone()),
                ..JobCancel::default()
            };
            self.outbox.push(Step::Cancel(cancel));
        }
    }

    /// Makes the log of decisions anew from what the jobs remember, and from those that
    /// made no job.
    fn log_again(&mut self, turned_away: Vec<TurnedAway>) {
        let mut all: Vec<_> = self
            .jobs
            .values()
            .flat_map(|job| {
                let records = job.decisions.iter();
                records.map(|record| (Arc::clone(&job.request), Arc::clone(record)))
            })
            .chain(turned_away.into_iter().map(|it| (it.request, it.record)))
            .collect();
        all.sort_by_key(|(_, record)| record.checked_at);
        let from = all.len().saturating_sub(super::decisions::MAX_LOGGED);
        for (request, record) in all.drain(from..) {
            self.log.push(request, record);
        }
    }
}
