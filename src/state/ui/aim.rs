//! Where the cursor goes when a view is entered with something in mind.

use std::sync::Arc;

use super::list::Subject;
use super::order::undone_row;
use super::{ListId, UiState, View, WorkersAs};
use crate::ids::JobId;
use crate::state::model::Model;
use crate::state::model::rollbacks::Undone;
use crate::state::model::traces::{self, TraceOf};

impl UiState {
    /// Puts the cursor of the present view on `subject`, or on what stands for it there.
    pub(super) fn aim_at(&mut self, subject: Subject, model: &Model) {
        if self.view == View::Rollbacks {
            return self.aim_at_rollback(&subject, model);
        }
        if self.view == View::Traces {
            return self.aim_at_trace(&subject, model);
        }
        let there = match (self.view, subject) {
            (View::Jobs, Subject::Worker(worker)) => model
                .jobs
                .of_worker(&worker)
                .next()
                .map(|job| Subject::Job(job.id.clone())),
            (View::Jobs | View::Approvals, Subject::Job(job)) => Some(Subject::Job(job)),
            (View::Jobs, Subject::Workflow(workflow)) => model
                .jobs
                .of_workflow(&workflow)
                .max_by_key(|job| job.since)
                .map(|job| Subject::Job(job.id.clone())),
            (View::Workers, Subject::Job(job)) => model
                .jobs
                .get(&job)
                .and_then(|job| job.worker().cloned())
                .map(Subject::Worker),
            (View::Workers, Subject::Worker(worker)) => Some(Subject::Worker(worker)),
            (View::Workers, Subject::Pool(pool)) if self.workers_as == WorkersAs::Pools => {
                Some(Subject::Pool(pool))
            }
            (
                View::Workers | View::Approvals,
                Subject::Pool(_)
                | Subject::Alert(_)
                | Subject::Workflow(_)
                | Subject::Unseen
                | Subject::Rule(_),
            )
            | (
                View::Jobs,
                Subject::Pool(_) | Subject::Alert(_) | Subject::Unseen | Subject::Rule(_),
            )
            | (_, Subject::Flip(_))
            | (View::Approvals, Subject::Worker(_))
            | (View::Policy, Subject::Worker(_) | Subject::Pool(_) | Subject::Alert(_))
            | (View::Policy, Subject::Workflow(_) | Subject::Unseen)
            | (View::Overview | View::Rollbacks | View::Traces, _) => None,
            // From a job to the rule that judged it.
            (View::Policy, Subject::Job(job)) => model
                .jobs
                .get(&job)
                .and_then(|job| job.verdict.as_ref())
                .map(|verdict| Subject::Rule(verdict.rule_id.clone())),
            (View::Policy, rule @ Subject::Rule(_)) => Some(rule),
        };
        let id = self.list_id();
        let there = there.map(|there| match there {
            // A folded pool stands for its workers.
            Subject::Worker(worker) if id == ListId::Pools => {
                let pool = model.workers.get(&worker).and_then(|it| it.pool.clone());
                match pool.filter(|pool| !self.open_pools.contains(pool)) {
                    Some(pool) => Subject::Pool(pool),
                    None => Subject::Worker(worker),
                }
            }
            there => there,
        });
        if let Some(there) = there
            && (Self::exists(id, &there, model) || matches!(there, Subject::Pool(_)))
            && self.current().state.selected() != Some(&there)
        {
            self.current_mut().state.aim(there);
        }
    }

    /// From a job, or what stands for one, to the trace it belongs to.
    fn aim_at_trace(&mut self, subject: &Subject, model: &Model) {
        let job = match subject {
            Subject::Job(job) => model.jobs.get(job),
            Subject::Worker(worker) => model.jobs.of_worker(worker).next(),
            Subject::Workflow(workflow) => {
                return self.show_trace(TraceOf::Workflow(Arc::clone(workflow)));
            }
            Subject::Pool(_)
            | Subject::Alert(_)
            | Subject::Unseen
            | Subject::Rule(_)
            | Subject::Flip(_) => None,
        };
        let Some(job) = job else { return };
        // A job that is in the tree already keeps the tree.
        let shown = self.trace.as_ref().is_some_and(|of| {
            let mut members = traces::members(model, of).into_iter();
            members.any(|member| member.id == job.id)
        });
        if !shown {
            self.show_trace(TraceOf::job(job));
        }
        let row = Subject::Job(job.id.clone());
        self.list_mut(ListId::Trace).state.aim(row);
    }

    /// From a job to what undoes it or its workflow, else to its dead letter.
    fn aim_at_rollback(&mut self, subject: &Subject, model: &Model) {
        let undo_of_job = |job: &JobId| {
            let job = model.jobs.get(job)?;
            let workflow = || job.request.as_ref()?.workflow_id.clone();
            [
                model.rollbacks.undone_by(job),
                workflow().map(Undone::Workflow),
                Some(Undone::Job(job.id.clone())),
            ]
            .into_iter()
            .flatten()
            .find(|of| model.rollbacks.has(of))
        };
        let (undo, job) = match subject {
            Subject::Job(job) => (undo_of_job(job), Some(job)),
            Subject::Workflow(workflow) => (Some(Undone::Workflow(Arc::clone(workflow))), None),
            Subject::Worker(_)
            | Subject::Pool(_)
            | Subject::Alert(_)
            | Subject::Unseen
            | Subject::Rule(_)
            | Subject::Flip(_) => (None, None),
        };
        if let Some(of) = undo.filter(|of| model.rollbacks.has(of)) {
            self.rollback_pane = 0;
            self.list_mut(ListId::Rollbacks).state.aim(undone_row(&of));
        } else if let Some(job) = job.filter(|job| model.letters.get(job).is_some()) {
            self.rollback_pane = 2;
            let row = Subject::Job(job.clone());
            self.list_mut(ListId::DeadLetters).state.aim(row);
        }
    }
}
