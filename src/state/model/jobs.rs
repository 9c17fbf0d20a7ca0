//! The jobs, and how packets and the plane's answers move them.
//!
//! One reading of a packet is in [`merge`]; this room keeps the table, its order
//! for the screen, and the indexes. A job is shared until it changes, so a copy
//! of the model costs what changes after it. Start at [`Jobs::heard`].

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{JobId, TraceId, WorkerId};
use crate::state::effect::EffectId;
use crate::state::event::Heard;
use crate::state::limits;
use crate::state::shared::{Interner, Ordered, SharedMap, Text};
use crate::time::Timestamp;

mod fact;
mod job;
mod merge;
mod phase;
mod request;
#[cfg(test)]
mod tests;

pub use crate::state::shared::Labels;
pub use fact::JobFact;
pub use job::{Asked, CancelAsked, Happened, Job, Moment, Pending, Progress, ResultFacts, Verdict};
pub(crate) use merge::{error_code, error_name, pointers};
pub use phase::{Decision, JobState, WaitingOn};
pub use request::{Request, Undo};
pub(crate) use request::{bounded, labels};

/// Where a job stands in the order that needs attention first.
///
/// Approvals, waiting, retrying, stalled, running longest first, handed over,
/// of unknown state, then ended ones, the last that ended first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    class: u8,
    by: i64,
    /// The job.
    pub id: JobId,
}

const CLASS_ENDED: u8 = 7;

/// The jobs that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jobs {
    rows: SharedMap<JobId, Arc<Job>>,
    order: Ordered<Place>,
    born: Ordered<(Timestamp, JobId)>,
    stall_due: Ordered<(Timestamp, JobId)>,
    by_worker: SharedMap<WorkerId, Vec<JobId>>,
    by_workflow: BTreeMap<Arc<str>, Arc<Vec<JobId>>>,
    by_trace: SharedMap<TraceId, Vec<JobId>>,
    counts: [u32; JobState::ALL.len() + 1],
    topics: BTreeMap<Arc<str>, TopicLoad>,
    asked: BTreeMap<EffectId, JobId>,
    dropped: u64,
    interner: Interner,
}

/// How many jobs of one topic are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicLoad {
    /// Pending, scheduled or retrying.
    pub queued: u32,
    /// Waiting for a person.
    pub approvals: u32,
    /// With a worker.
    pub in_flight: u32,
}

/// Everything about a job that an index depends on.
#[derive(Clone, PartialEq, Eq)]
struct Keys {
    place: Place,
    born: Timestamp,
    state: Option<JobState>,
    worker: Option<WorkerId>,
    workflow: Text,
    trace: Option<TraceId>,
    topic: Text,
}

impl Keys {
    fn of(job: &Job) -> Self {
        let (class, by) = match job.state {
            Some(JobState::ApprovalRequired) => (0, job.since.as_millis()),
            Some(JobState::Pending | JobState::Scheduled) => (1, job.since.as_millis()),
            Some(JobState::Retrying) => (2, job.since.as_millis()),
            Some(JobState::Running) if job.stalled => (3, job.since.as_millis()),
            Some(JobState::Running) => (4, job.since.as_millis()),
            Some(JobState::Dispatched) => (5, job.since.as_millis()),
            None => (6, job.since.as_millis()),
            Some(
                JobState::Succeeded
                | JobState::Failed
                | JobState::Cancelled
                | JobState::Timeout
                | JobState::Denied
                | JobState::OutputQuarantined,
            ) => (CLASS_ENDED, job.since.as_millis().saturating_neg()),
        };
        let with_worker = job.state.is_some_and(JobState::is_with_worker);
        let request = job.request.as_ref();
        Self {
            place: Place {
                class,
                by,
                id: job.id.clone(),
            },
            born: job.first_seen,
            state: job.state,
            worker: job.worker().filter(|_| with_worker).cloned(),
            workflow: request.and_then(|request| request.workflow_id.clone()),
            trace: job.trace.clone(),
            topic: request.and_then(|request| request.topic.clone()),
        }
    }
}

/// What a change did to a job, for the slices that count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) id: JobId,
    pub(crate) topic: Text,
    pub(crate) from: Option<JobState>,
    pub(crate) to: Option<JobState>,
    pub(crate) new: bool,
    pub(crate) decided: Option<Decision>,
    /// Whether more became known of what was asked for, or of when.
    pub(crate) asked: bool,
}

impl Jobs {
    /// How many jobs are known.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no job is known.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Jobs that were forgotten because [`limits::JOBS`] were known.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// A job by its id.
    pub fn get(&self, id: &JobId) -> Option<&Arc<Job>> {
        self.rows.get(id)
    }

    /// All jobs, those that need attention first.
    pub fn by_attention(&self) -> impl DoubleEndedIterator<Item = &Arc<Job>> {
        self.order
            .iter()
            .filter_map(|place| self.rows.get(&place.id))
    }

    /// The ids of [`Self::by_attention`], without looking at a job.
    pub fn ids_by_attention(&self) -> impl DoubleEndedIterator<Item = &JobId> {
        self.order.iter().map(|place| &place.id)
    }

    /// The jobs from place `start` of [`Self::by_attention`] on; costs no more
    /// far down than at the top.
    pub fn by_attention_from(&self, start: usize) -> impl Iterator<Item = &Arc<Job>> {
        self.order
            .iter_from(start)
            .filter_map(|place| self.rows.get(&place.id))
    }

    /// The place of a job in [`Self::by_attention`].
    pub fn attention_rank(&self, id: &JobId) -> Option<usize> {
        let job = self.rows.get(id)?;
        Some(self.order.rank(&Keys::of(job).place))
    }

    /// All jobs in the order in which they were heard of.
    pub fn by_birth(&self) -> impl DoubleEndedIterator<Item = &Arc<Job>> {
        self.born.iter().filter_map(|(_, id)| self.rows.get(id))
    }

    /// The jobs from place `start` of [`Self::by_birth`] on.
    pub fn by_birth_from(&self, start: usize) -> impl Iterator<Item = &Arc<Job>> {
        self.born
            .iter_from(start)
            .filter_map(|(_, id)| self.rows.get(id))
    }

    /// The place of a job in [`Self::by_birth`].
    pub fn birth_rank(&self, id: &JobId) -> Option<usize> {
        let job = self.rows.get(id)?;
        Some(self.born.rank(&(job.first_seen, id.clone())))
    }

    /// Jobs that a worker has now, in the order of their ids.
    pub fn of_worker(&self, worker: &WorkerId) -> impl Iterator<Item = &Arc<Job>> {
        self.by_worker
            .get(worker)
            .into_iter()
            .flatten()
            .filter_map(|id| self.rows.get(id))
    }

    /// Jobs of a workflow, in the order of their ids.
    pub fn of_workflow(&self, workflow: &str) -> impl Iterator<Item = &Arc<Job>> {
        self.by_workflow
            .get(workflow)
            .into_iter()
            .flat_map(|ids| ids.iter())
            .filter_map(|id| self.rows.get(id))
    }

    /// Jobs of a trace, in the order of their ids.
    pub fn of_trace(&self, trace: &TraceId) -> impl Iterator<Item = &Arc<Job>> {
        self.by_trace
            .get(trace)
            .into_iter()
            .flatten()
            .filter_map(|id| self.rows.get(id))
    }

    /// How many jobs are in `state`.
    pub fn count(&self, state: JobState) -> u32 {
        self.counts[state as usize]
    }

    /// How many jobs there are of each topic, by topic.
    pub fn topics(&self) -> impl Iterator<Item = (&Arc<str>, &TopicLoad)> {
        self.topics.iter()
    }

    /// Takes in a packet about a job; other packets change nothing.
    pub(crate) fn heard(&mut self, heard: &Heard, at: Timestamp) -> Option<Change> {
        let news = merge::News::of(heard, at, &mut self.interner)?;
        let id = news.job().clone();
        self.change(id, at, at, |job| news.apply(job))
    }

    /// Takes in what the plane says about a job.
    pub(crate) fn told(&mut self, fact: &JobFact, at: Timestamp) -> Option<Change> {
        if fact.id.is_empty() {
            return None;
        }
        // A plane whose clock is ahead must not put a change into the future.
        let changed_at = fact.updated_at.map_or(at, |told| told.min(at));
        self.change(fact.id.clone(), at, changed_at, |job| fact.apply(job, at))
    }

    /// Marks that this console asked something about a job; for `UiState::update`.
    pub fn asked(&mut self, id: &JobId, effect: EffectId, what: Asked, now: Timestamp) {
        if self.rows.get(id).is_none() {
            return;
        }
        self.asked.insert(effect, id.clone());
        self.change(id.clone(), now, now, |job| {
            job.pending = Some(Box::new(Pending {
                effect,
                asked_at: now,
                what,
                taken_at: None,
            }));
            true
        });
    }

    /// Changes the mark that `effect` left on its job: taken by the plane at that
    /// time, or taken away.
    pub(crate) fn answered(&mut self, effect: EffectId, taken: Option<Timestamp>) {
        let Some(id) = self.asked.remove(&effect) else {
            return;
        };
        let Some(job) = self.rows.get_mut(&id) else {
            return;
        };
        if job.pending.as_ref().is_some_and(|it| it.effect == effect) {
            let job = Arc::make_mut(job);
            match (taken, &mut job.pending) {
                (Some(at), Some(pending)) => pending.taken_at = Some(at),
                (None, _) | (_, None) => job.pending = None,
            }
        }
    }

    /// Lets time pass: running jobs that have not moved for long become stalled.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        while let Some((due, id)) = self.stall_due.first()
            && *due <= now
        {
            let key = (*due, id.clone());
            self.stall_due.remove(&key);
            let id = key.1;
            let deadline = self.rows.get(&id).and_then(|job| job.stall_after());
            match deadline {
                Some(deadline) if deadline > now => {
                    self.stall_due.insert((deadline, id));
                }
                Some(_) => self.reindexed(&id, |job| {
                    job.stall_queued = false;
                    job.stalled = true;
                }),
                None => self.reindexed(&id, |job| job.stall_queued = false),
            }
        }
    }

    fn reindexed(&mut self, id: &JobId, edit: impl FnOnce(&mut Job)) {
        let Some(row) = self.rows.get_mut(id) else {
            return;
        };
        let before = Keys::of(row);
        edit(Arc::make_mut(row));
        let after = Keys::of(row);
        self.reindex(Some(before), after);
    }

    /// Edits a job at the instant `at` for something that happened at `changed_at`.
    fn change(
        &mut self,
        id: JobId,
        at: Timestamp,
        changed_at: Timestamp,
        edit: impl FnOnce(&mut Job) -> bool,
    ) -> Option<Change> {
        let row = self.rows.get_mut(&id);
        let new = row.is_none();
        let row = match row {
            Some(row) => row,
            None => self
                .rows
                .get_or_insert_with(&id, || Arc::new(Job::new(id.clone(), at))),
        };
        let before = (!new).then(|| (Keys::of(row), row.decision()));
        let asked_before = row.request.clone();
        let birth_before = (row.first_seen, row.is_birth_known());
        let job = Arc::make_mut(row);
        let changed = edit(job);
        if !changed && !new {
            return None;
        }
        job.updated_at = if new {
            changed_at
        } else {
            job.updated_at.max(changed_at)
        };
        if job.stalled && job.stall_after().is_none_or(|due| due > at) {
            job.stalled = false;
        }
        let due = job
            .stall_after()
            .filter(|_| !job.stall_queued && !job.stalled);
        job.stall_queued |= due.is_some();
        let after = Keys::of(job);
        let decided = job.decision();
        // A request is replaced as a whole, so the same one is the same place.
        let asked = match (&asked_before, &job.request) {
            (Some(before), Some(after)) => !Arc::ptr_eq(before, after),
            (None, None) => false,
            (Some(_), None) | (None, Some(_)) => true,
        };
        let asked = asked || birth_before != (job.first_seen, job.is_birth_known());
        if let Some(due) = due {
            self.stall_due.insert((due, id));
        }
        let (before, decided_before) = match before {
            Some((keys, decided)) => (Some(keys), decided),
            None => (None, None),
        };
        let change = Change {
            id: after.place.id.clone(),
            topic: after.topic.clone(),
            from: before.as_ref().and_then(|keys| keys.state),
            to: after.state,
            new,
            decided: decided.filter(|_| decided != decided_before),
            asked,
        };
        self.reindex(before, after);
        if new && self.rows.len() > limits::JOBS {
            self.forget_one();
        }
        Some(change)
    }

    fn reindex(&mut self, before: Option<Keys>, after: Keys) {
        if before.as_ref() == Some(&after) {
            return;
        }
        if let Some(before) = &before {
            self.unindex(before);
        }
        self.counts[slot(after.state)] += 1;
        if let Some(load) = self.load_mut(&after) {
            *load += 1;
        }
        let id = &after.place.id;
        if let Some(worker) = &after.worker {
            let ids = self.by_worker.get_or_insert_with(worker, Vec::new);
            if let Err(place) = ids.binary_search(id) {
                ids.insert(place, id.clone());
            }
        }
        if let Some(workflow) = &after.workflow {
            let ids = Arc::make_mut(self.by_workflow.entry(Arc::clone(workflow)).or_default());
            if let Err(place) = ids.binary_search(id) {
                ids.insert(place, id.clone());
            }
        }
        if let Some(trace) = &after.trace {
            // Most traces have one job, so room for one is enough at first.
            let ids = self
                .by_trace
                .get_or_insert_with(trace, || Vec::with_capacity(1));
            if let Err(place) = ids.binary_search(id) {
                ids.insert(place, id.clone());
            }
        }
        self.born.insert((after.born, id.clone()));
        self.order.insert(after.place);
    }

    fn unindex(&mut self, keys: &Keys) {
        let id = &keys.place.id;
        self.order.remove(&keys.place);
        self.born.remove(&(keys.born, id.clone()));
        self.counts[slot(keys.state)] -= 1;
        if let Some(load) = self.load_mut(keys) {
            *load = load.saturating_sub(1);
        }
        if let Some(worker) = &keys.worker
            && let Some(ids) = self.by_worker.get_mut(worker)
        {
            if let Ok(place) = ids.binary_search(id) {
                ids.remove(place);
            }
            if ids.is_empty() {
                self.by_worker.remove(worker);
            }
        }
        if let Some(workflow) = &keys.workflow
            && let Some(ids) = self.by_workflow.get_mut(workflow)
        {
            let ids = Arc::make_mut(ids);
            if let Ok(place) = ids.binary_search(id) {
                ids.remove(place);
            }
            if ids.is_empty() {
                self.by_workflow.remove(workflow);
            }
        }
        if let Some(trace) = &keys.trace {
            self.leave_trace(trace, id);
        }
    }

    fn leave_trace(&mut self, trace: &TraceId, id: &JobId) {
        let Some(ids) = self.by_trace.get_mut(trace) else {
            return;
        };
        if let Ok(place) = ids.binary_search(id) {
            ids.remove(place);
        }
        if ids.is_empty() {
            self.by_trace.remove(trace);
        }
    }

    fn load_mut(&mut self, keys: &Keys) -> Option<&mut u32> {
        let topic = keys.topic.as_ref()?;
        if !self.topics.contains_key(topic) {
            if self.topics.len() >= limits::TOPICS {
                return None;
            }
            self.topics.insert(Arc::clone(topic), TopicLoad::default());
        }
        let load = self.topics.get_mut(topic)?;
        match keys.state? {
            JobState::Pending | JobState::Scheduled | JobState::Retrying => Some(&mut load.queued),
            JobState::ApprovalRequired => Some(&mut load.approvals),
            JobState::Dispatched | JobState::Running => Some(&mut load.in_flight),
            JobState::Succeeded
            | JobState::Failed
            | JobState::Cancelled
            | JobState::Timeout
            | JobState::Denied
            | JobState::OutputQuarantined => None,
        }
    }

    /// Forgets the job that ended longest ago, else the one that needs attention least.
    fn forget_one(&mut self) {
        let Some(place) = self.order.last().cloned() else {
            return;
        };
        let Some(job) = self.rows.remove(&place.id) else {
            return;
        };
        self.unindex(&Keys::of(&job));
        self.dropped += 1;
    }
}

fn slot(state: Option<JobState>) -> usize {
    state.map_or(JobState::ALL.len(), |state| state as usize)
}
