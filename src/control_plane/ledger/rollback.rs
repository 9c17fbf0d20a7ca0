//! What would undo the jobs of a workflow, and what is being undone.
//!
//! A job that succeeds leaves the job that would undo it on its workflow's stack.
//! When a job fails for good, its own undo runs first, for it may have half
//! happened, then those of the stack, the last success first, one after the
//! other. Each is an ordinary job: policy is asked about it, and its idempotency
//! key keeps it from running twice.

use std::collections::{BTreeMap, VecDeque};

use super::{Job, JobState, Ledger, Step, Submission, Via};
use crate::control_plane::scheduler::saga;
use crate::ids::{JobId, TraceId};
use crate::time::Timestamp;
use crate::wire::packet::JobRequest;

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
    /// It had run before, so it does not run again.
    Skipped,
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

#[derive(Clone, Debug, Default)]
struct Rollback {
    /// Successes, the last one last.
    stack: Vec<Undo>,
    /// What has to run, in this order.
    queue: VecDeque<Undo>,
    /// What ran or runs; the last one may still.
    done: Vec<Undo>,
    running: Option<JobId>,
}

impl Rollback {
    fn len(&self) -> usize {
        self.stack.len() + self.queue.len() + self.done.len()
    }
}

/// All rollbacks.
#[derive(Clone, Debug, Default)]
pub(super) struct Rollbacks {
    of: BTreeMap<UndoKey, Rollback>,
    pub(super) dropped: u64,
}

impl Ledger {
    /// Every step of every rollback: per workflow those that ran, those that will,
    /// in their order, then those that would, the last success first.
    pub fn rollbacks(&self) -> impl Iterator<Item = &Undo> {
        self.rollbacks.of.values().flat_map(|rollback| {
            let recorded = rollback.stack.iter().rev();
            rollback.done.iter().chain(&rollback.queue).chain(recorded)
        })
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
        let rollback = self
            .rollbacks
            .of
            .entry(UndoKey::Workflow(workflow))
            .or_default();
        if rollback.len() < MAX_STEPS {
            rollback.stack.push(undo);
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
        let key = match job.workflow() {
            Some(workflow) => UndoKey::Workflow(workflow.to_owned()),
            None => UndoKey::Job(job.id.clone()),
        };
        let own = undo_of(job, UndoState::Waiting);
        let rollback = self.rollbacks.of.entry(key.clone()).or_default();
        let recorded = rollback.stack.drain(..).rev().map(|mut undo| {
            undo.state = UndoState::Waiting;
            undo
        });
        let fresh: Vec<_> = own.into_iter().chain(recorded).collect();
        // What failed last is undone first, before what an earlier failure left.
        for undo in fresh.into_iter().rev() {
            rollback.queue.push_front(undo);
        }
        if rollback.len() == 0 {
            self.rollbacks.of.remove(&key);
            return;
        }
        self.next_undo(&key, now);
        self.bound_rollbacks();
    }

    /// Goes on with a rollback when one of its steps has ended, however.
    pub(super) fn undo_ended(&mut self, key: &UndoKey, id: &JobId, now: Timestamp) {
        let Some(rollback) = self.rollbacks.of.get_mut(key) else {
            return;
        };
        if rollback.running.as_ref() == Some(id) {
            rollback.running = None;
            self.next_undo(key, now);
        }
    }

    fn next_undo(&mut self, key: &UndoKey, now: Timestamp) {
        while let Some(rollback) = self.rollbacks.of.get_mut(key) {
            if rollback.running.is_some() {
                return;
            }
            let Some(mut undo) = rollback.queue.pop_front() else {
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
                },
                now,
            );
            let ran = match submitted {
                Ok(submitted) if !submitted.repeated => {
                    undo.state = UndoState::Submitted;
                    undo.job_id = Some(id.clone());
                    true
                }
                Ok(earlier) => {
                    undo.state = UndoState::Skipped;
                    undo.job_id = Some(earlier.job_id);
                    false
                }
                // Another kind of job has its key, so this one must not run.
                Err(_) => {
                    undo.state = UndoState::Skipped;
                    false
                }
            };
            if let Some(rollback) = self.rollbacks.of.get_mut(key) {
                rollback.done.push(undo);
                rollback.running = ran.then(|| id.clone());
            }
            if ran && let Ok(seq) = self.seq(&id) {
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

    fn bound_rollbacks(&mut self) {
        while self.rollbacks.of.len() > MAX_WORKFLOWS {
            let idle = self
                .rollbacks
                .of
                .iter()
                .find(|(_, rollback)| rollback.running.is_none() && rollback.stack.is_empty())
                .or_else(|| self.rollbacks.of.iter().next())
                .map(|(key, _)| key.clone());
            let Some(key) = idle else { return };
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
    Some(Undo {
        workflow_id: job.workflow().unwrap_or_default().to_owned(),
        undoes: job.id.clone(),
        job_id: None,
        topic: template.topic.clone(),
        idempotency_key: template
            .meta
            .as_ref()
            .map(|meta| meta.idempotency_key.clone())
            .unwrap_or_default(),
        state,
        template,
    })
}
