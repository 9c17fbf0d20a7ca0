//! What would undo the jobs of a workflow, and what is being undone.
//!
//! A job that succeeds leaves the job that would undo it on its workflow's stack.
//! When a job fails for good, its own undo runs first, for it may have half
//! happened, then those of the stack, the last success first, one after the
//! other. Each is an ordinary job: policy is asked about it, and its idempotency
//! key keeps it from running twice. A step that does not succeed stops the rollback
//! and is told; when its dead letter is retried and succeeds, the rollback goes on.

use std::collections::{BTreeMap, VecDeque};

use super::alerts::Told;
use super::{Job, JobState, Ledger, LedgerError, Step, Submission, Via};
use crate::control_plane::scheduler::saga;
use crate::ids::{JobId, TraceId};
use crate::time::Timestamp;
use crate::wire::packet::{AlertSeverity, ErrorCode, JobRequest};

/// Workflows whose undo is kept; those that have nothing to undo go first.
const MAX_WORKFLOWS: usize = 20_000;
/// Steps of one workflow kept, recorded, waiting and done together.
const MAX_STEPS: usize = 1_000;

/// Whose undo it is: a workflow's, or that of a job without one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum UndoKey {
    Workflow(String),
    Job(JobId),
}

/// Where a step of a rollback stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UndoState {
    /// It would undo a success, should its workflow fail.
    Recorded,
    /// Its turn comes after others.
    Waiting,
    /// It is the job of this step; its state is the job's.
    Submitted,
    /// It runs or ran already under its key, so it does not run again.
    Skipped,
    /// It could not become a job; the rollback stopped here.
    Refused,
}

impl UndoState {
    /// Every state.
    pub(super) const ALL: [Self; 5] = [
        Self::Recorded,
        Self::Waiting,
        Self::Submitted,
        Self::Skipped,
        Self::Refused,
    ];

    /// The name on record.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Waiting => "waiting",
            Self::Submitted => "submitted",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
        }
    }
}

/// A step of a rollback, or one that waits for the need.
#[derive(Clone, Debug)]
pub struct Undo {
    /// The workflow; empty for a job without one.
    pub workflow_id: String,
    /// The job it undoes.
    pub undoes: JobId,
    /// The job that does it, once submitted.
    pub job_id: Option<JobId>,
    /// Its topic.
    pub topic: String,
    /// What keeps it from running twice.
    pub idempotency_key: String,
    /// Where it stands.
    pub state: UndoState,
    template: JobRequest,
}

impl Undo {
    /// A step that would submit `template`, which names no job yet.
    pub(super) fn new(template: JobRequest, undoes: JobId, state: UndoState) -> Self {
        Self {
            workflow_id: String::new(),
            undoes,
            job_id: None,
            topic: template.topic.clone(),
            idempotency_key: template
                .meta
                .as_ref()
                .map(|meta| meta.idempotency_key.clone())
                .unwrap_or_default(),
            state,
            template,
        }
    }

    /// What would be submitted, without a job id.
    pub(super) fn template(&self) -> &JobRequest {
        &self.template
    }

    /// The tenant it belongs to.
    pub fn tenant(&self) -> &str {
        self.template.tenant().unwrap_or(super::DEFAULT_TENANT)
    }
}

/// Where a rollback stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollbackState {
    /// Nothing has failed; this is what would run.
    Recorded,
    /// A step runs, or the next one is about to.
    Running,
    /// A step did not succeed. The rest waits until that step is tried again and does.
    Stopped,
    /// Everything was undone.
    Done,
}

impl RollbackState {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Done => "done",
        }
    }
}

/// Why a rollback does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The job that did not succeed.
    pub job_id: JobId,
    /// When it stopped.
    pub at: Timestamp,
    /// Why, for people.
    pub why: String,
}

/// A rollback as it stands.
#[derive(Clone, Debug)]
pub struct Rollback<'a> {
    /// The workflow, or the job without one.
    pub id: &'a str,
    /// Where it stands.
    pub state: RollbackState,
    /// The job that failed for good, the last one that did; `None` while nothing has.
    pub failed_job: Option<&'a JobId>,
    /// When that was.
    pub started_at: Option<Timestamp>,
    /// Why it does not go on.
    pub stopped: Option<&'a Stop>,
    /// Those that ran, those that will, in their order, then those that would, the
    /// last success first.
    pub steps: Vec<&'a Undo>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Stack {
    /// Successes, the last one last.
    pub(super) recorded: Vec<Undo>,
    /// What has to run, in this order.
    pub(super) queue: VecDeque<Undo>,
    /// What ran or runs; the last one may still.
    pub(super) done: Vec<Undo>,
    pub(super) running: Option<JobId>,
    pub(super) failed: Option<(JobId, Timestamp)>,
    pub(super) stopped: Option<Stop>,
}

impl Stack {
    fn len(&self) -> usize {
        self.recorded.len() + self.queue.len() + self.done.len()
    }

    fn steps(&self) -> impl Iterator<Item = &Undo> {
        let recorded = self.recorded.iter().rev();
        self.done.iter().chain(&self.queue).chain(recorded)
    }

    fn view<'a>(&'a self, key: &'a UndoKey) -> Rollback<'a> {
        Rollback {
            id: match key {
                UndoKey::Workflow(id) => id,
                UndoKey::Job(id) => id.as_str(),
            },
            state: self.state(),
            failed_job: self.failed.as_ref().map(|(job, _)| job),
            started_at: self.failed.as_ref().map(|(_, at)| *at),
            stopped: self.stopped.as_ref(),
            steps: self.steps().collect(),
        }
    }

    fn state(&self) -> RollbackState {
        if self.stopped.is_some() {
            RollbackState::Stopped
        } else if self.running.is_some() || !self.queue.is_empty() {
            RollbackState::Running
        } else if self.failed.is_some() {
            RollbackState::Done
        } else {
            RollbackState::Recorded
        }
    }
}

/// All rollbacks.
#[derive(Clone, Debug, Default)]
pub(super) struct Rollbacks {
    of: BTreeMap<UndoKey, Stack>,
    pub(super) dropped: u64,
}

impl Rollbacks {
    pub(super) fn stack(&self, key: &UndoKey) -> Option<&Stack> {
        self.of.get(key)
    }

    pub(super) fn put(&mut self, key: UndoKey, stack: Stack) {
        self.of.insert(key, stack);
    }

    /// When something failed for good there, the last time.
    pub(super) fn failed_at(&self, key: &UndoKey) -> Option<Timestamp> {
        let failed = self.of.get(key)?.failed.as_ref();
        failed.map(|(_, at)| *at)
    }
}

impl Ledger {
    /// Every step of every rollback: per workflow those that ran, those that will,
    /// in their order, then those that would, the last success first.
    pub fn rollbacks(&self) -> impl Iterator<Item = &Undo> {
        self.rollbacks.of.values().flat_map(Stack::steps)
    }

    /// The rollback of a workflow, or of a job without one; `None` when there is
    /// nothing to undo.
    pub fn rollback(&self, id: &str) -> Option<Rollback<'_>> {
        let of = &self.rollbacks.of;
        let (key, stack) = of
            .get_key_value(&UndoKey::Workflow(id.to_owned()))
            .or_else(|| of.get_key_value(&UndoKey::Job(JobId::from(id))))?;
        Some(stack.view(key))
    }

    /// The rollbacks that something failed for, the last failure first.
    pub fn begun_rollbacks(&self) -> Vec<Rollback<'_>> {
        let of = self.rollbacks.of.iter();
        let mut begun: Vec<_> = of
            .filter(|(_, stack)| stack.failed.is_some())
            .map(|(key, stack)| stack.view(key))
            .collect();
        begun.sort_by_key(|rollback| std::cmp::Reverse(rollback.started_at));
        begun
    }

    /// Remembers what would undo a job that has just succeeded.
    pub(super) fn record_undo(&mut self, seq: u64) {
        let job = self.at(seq);
        let Some(workflow) = job.workflow().map(str::to_owned) else {
            return;
        };
        let Some(undo) = undo_of(job, UndoState::Recorded) else {
            return;
        };
        let key = UndoKey::Workflow(workflow);
        self.notes.stack(&key);
        let stack = self.rollbacks.of.entry(key).or_default();
        if stack.len() < MAX_STEPS {
            stack.recorded.push(undo);
        } else {
            self.rollbacks.dropped += 1;
        }
        self.bound_rollbacks();
    }

    /// Starts undoing what a job that failed for good, and its workflow, did.
    pub(super) fn roll_back(&mut self, seq: u64, now: Timestamp) {
        let job = self.at(seq);
        if job.is_compensation() {
            return;
        }
        let failed = job.id.clone();
        let key = match job.workflow() {
            Some(workflow) => UndoKey::Workflow(workflow.to_owned()),
            None => UndoKey::Job(failed.clone()),
        };
        let own = undo_of(job, UndoState::Waiting);
        self.notes.stack(&key);
        let stack = self.rollbacks.of.entry(key.clone()).or_default();
        let recorded = stack.recorded.drain(..).rev().map(|mut undo| {
            undo.state = UndoState::Waiting;
            undo
        });
        let fresh: Vec<_> = own.into_iter().chain(recorded).collect();
        // What failed last is undone first, before what an earlier failure left.
        for undo in fresh.into_iter().rev() {
            stack.queue.push_front(undo);
        }
        if stack.len() == 0 {
            self.rollbacks.of.remove(&key);
            return;
        }
        stack.failed = Some((failed, now));
        if stack.stopped.is_some() {
            self.tell_stopped(&key);
        } else {
            self.next_undo(&key, now);
        }
        self.bound_rollbacks();
    }

    /// Goes on with a rollback when one of its steps has succeeded, and stops it when
    /// the step ended otherwise: what comes after it may rely on it.
    pub(super) fn undo_ended(&mut self, key: &UndoKey, id: &JobId, now: Timestamp) {
        let Some(stack) = self.stack_mut(key) else {
            return;
        };
        if stack.running.as_ref() != Some(id) {
            return;
        }
        stack.running = None;
        let Some(job) = self.job(id) else { return };
        if job.state == JobState::Succeeded {
            self.next_undo(key, now);
            return;
        }
        let mut why = format!("it ended {}", job.state.name());
        for more in [&job.error_code, &job.error_message] {
            if !more.is_empty() {
                why.push_str(": ");
                why.push_str(more);
            }
        }
        self.stop_rollback(key, id.clone(), why, now);
    }

    fn stop_rollback(&mut self, key: &UndoKey, job_id: JobId, why: String, now: Timestamp) {
        if let Some(stack) = self.stack_mut(key) {
            let at = now;
            stack.stopped = Some(Stop { job_id, at, why });
            self.tell_stopped(key);
        }
    }

    /// Tells that a rollback stands still, and at what.
    fn tell_stopped(&mut self, key: &UndoKey) {
        let Some(stack) = self.rollbacks.of.get(key) else {
            return;
        };
        let Some(stop) = &stack.stopped else { return };
        let (what, name) = match key {
            UndoKey::Workflow(name) => ("workflow", name.as_str()),
            UndoKey::Job(id) => ("job", id.as_str()),
        };
        let at = stack.done.last();
        let undoes = at.map_or("", |undo| undo.undoes.as_str());
        let step = Told {
            sender: crate::wire::SENDER_SAGA,
            severity: AlertSeverity::Error,
            code: "rollback_stopped",
            error: ErrorCode::SafetyPolicyViolation,
            message: format!(
                "the rollback of {what} {name} stopped at undo {} of {undoes}: {}; {} more wait",
                stop.job_id,
                stop.why,
                stack.queue.len()
            ),
            details: &[
                (
                    "workflow_id",
                    at.map_or(String::new(), |undo| undo.workflow_id.clone()),
                ),
                ("job_id", stop.job_id.to_string()),
                ("undoes", undoes.to_owned()),
                ("reason", stop.why.clone()),
                ("waiting", stack.queue.len().to_string()),
            ],
        }
        .step();
        self.outbox.push(step);
    }

    /// Lets `new` take the place of the step `old` at which a rollback stopped.
    /// Returns whether one did.
    pub(super) fn resume_undo(&mut self, key: &UndoKey, old: &JobId, new: &JobId) -> bool {
        let Some(stack) = self.stack_mut(key) else {
            return false;
        };
        if stack
            .stopped
            .as_ref()
            .is_none_or(|stop| stop.job_id != *old)
        {
            return false;
        }
        stack.stopped = None;
        stack.running = Some(new.clone());
        if let Some(undo) = stack.done.last_mut() {
            undo.state = UndoState::Submitted;
            undo.job_id = Some(new.clone());
        }
        true
    }

    fn next_undo(&mut self, key: &UndoKey, now: Timestamp) {
        while let Some(stack) = self.stack_mut(key) {
            if stack.running.is_some() || stack.stopped.is_some() {
                return;
            }
            let Some(mut undo) = stack.queue.pop_front() else {
                return;
            };
            let id = JobId::from(format!("comp-{}", self.fresh_uuid()));
            let mut request = undo.template.clone();
            request.job_id = id.clone();
            let submitted = self.submit(
                Submission {
                    trace: TraceId::from(id.as_str()),
                    request,
                    submitted_by: crate::wire::SENDER_SAGA.to_owned(),
                    via: Via::Rollback,
                    ..Submission::default()
                },
                now,
            );
            let stop = match submitted {
                Ok(submitted) if !submitted.repeated => {
                    undo.state = UndoState::Submitted;
                    undo.job_id = Some(id.clone());
                    None
                }
                Ok(earlier) => {
                    let state = self.state_by_key(&undo.template, &earlier.job_id);
                    undo.job_id = Some(earlier.job_id.clone());
                    match state.filter(|it| it.is_ended() && *it != JobState::Succeeded) {
                        None => {
                            undo.state = UndoState::Skipped;
                            None
                        }
                        Some(state) => {
                            undo.state = UndoState::Refused;
                            let why = format!("it had its key before and ended {}", state.name());
                            Some((earlier.job_id, why))
                        }
                    }
                }
                Err(error) => {
                    undo.state = UndoState::Refused;
                    let job = if let LedgerError::IdempotencyConflict { existing } = &error {
                        existing.clone()
                    } else {
                        undo.undoes.clone()
                    };
                    Some((job, error.to_string()))
                }
            };
            let began = undo.state == UndoState::Submitted;
            if let Some(stack) = self.stack_mut(key) {
                stack.done.push(undo);
                stack.running = began.then(|| id.clone());
            }
            if let Some((job, why)) = stop {
                self.stop_rollback(key, job, why, now);
                return;
            }
            if began && let Ok(seq) = self.seq(&id) {
                let job = self.at_mut(seq);
                job.undoes = Some(key.clone());
                let step = Step::Submit {
                    trace: job.trace.clone(),
                    request: std::sync::Arc::clone(&job.request),
                };
                self.outbox.push(step);
            }
        }
    }

    fn stack_mut(&mut self, key: &UndoKey) -> Option<&mut Stack> {
        let stack = self.rollbacks.of.get_mut(key)?;
        self.notes.stack(key);
        Some(stack)
    }

    fn bound_rollbacks(&mut self) {
        while self.rollbacks.of.len() > MAX_WORKFLOWS {
            let idle = self
                .rollbacks
                .of
                .iter()
                .find(|(_, stack)| stack.state() == RollbackState::Done)
                .or_else(|| self.rollbacks.of.iter().next())
                .map(|(key, _)| key.clone());
            let Some(key) = idle else { return };
            self.notes.stack(&key);
            self.rollbacks.of.remove(&key);
            self.rollbacks.dropped += 1;
        }
    }
}

fn undo_of(job: &Job, state: UndoState) -> Option<Undo> {
    if job.is_compensation() || (state == UndoState::Recorded && job.state != JobState::Succeeded) {
        return None;
    }
    let template = saga::template(&job.request)?;
    let mut undo = Undo::new(template, job.id.clone(), state);
    undo.workflow_id = job.workflow().unwrap_or_default().to_owned();
    Some(undo)
}
