//! Which rows a list has, and in which order.
//!
//! Computed at most every two seconds and never under moving hands; see
//! [`super::list::REORDER_EVERY`].
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a list is offered only the keys of ListId::sorts; its default stands for the others"
)]

use std::collections::BTreeSet;
use std::sync::Arc;

use super::list::{ListState, Subject};
use super::{ListId, UiState, View};
use crate::ids::{JobId, PoolName};
use crate::state::model::Model;
use crate::state::model::alerts::Alert;
use crate::state::model::rollbacks::{Step, Undone};
use crate::state::model::traces::Node;
use crate::time::Timestamp;

mod fleet;
mod policy;
mod work;

use fleet::{alerts, pools, with_workers, workers};
use policy::{flips, rules};
use work::{approvals, jobs, letters, rollbacks, steps, trace_rows};

impl UiState {
    /// The lists of the present view.
    pub(super) fn shown_lists(&self) -> impl Iterator<Item = ListId> + use<> {
        let (panes, one): (&'static [ListId], _) = match self.view {
            View::Overview => (&ListId::OVERVIEW, None),
            View::Rollbacks => (&ListId::ROLLBACKS, None),
            View::Policy if self.trial.is_some() => (&ListId::POLICY, None),
            View::Approvals | View::Jobs | View::Workers | View::Policy | View::Traces => {
                (&[], Some(self.list_id()))
            }
        };
        panes.iter().copied().chain(one)
    }

    /// Brings the lists of the present view up to `model`, those that may move now.
    pub(super) fn order_lists(&mut self, model: &Model, now: Timestamp) {
        let height = self.height();
        let keyboard = self.list_id();
        for id in self.shown_lists() {
            if id == ListId::Steps {
                self.follow_rollback();
            }
            let (trace, folded) = (self.trace.as_ref(), &self.folded);
            let steps_of = self.steps_of.as_ref().and_then(undone_of);
            let last_key = self.last_key;
            let open_pools = &self.open_pools;
            let awaited = id == ListId::Rules && self.awaits_rules(model);
            let list = self.lists.entry(id).or_default();
            if id == keyboard {
                list.state.visit();
            }
            let exists = |subject: &Subject| {
                Self::exists(id, subject, model) && !is_folded(id, subject, open_pools, model)
            };
            if !list.state.may_reorder(now, last_key) {
                // Pools and alerts are only summed up when rows are ordered: until
                // then those that were there are.
                let stays = |subject: &Subject| {
                    matches!(
                        subject,
                        Subject::Pool(_)
                            | Subject::Alert(_)
                            | Subject::Unseen
                            | Subject::Rule(_)
                            | Subject::Flip(_)
                    ) || exists(subject)
                };
                list.state.forget(stays, now);
                continue;
            }
            let (mut rows, unfiltered) = match id {
                ListId::Jobs => jobs(list, model, now),
                ListId::Approvals | ListId::OldestApprovals => approvals(list, id, model, now),
                ListId::Workers | ListId::HeatMap => workers(list, id, model, now),
                ListId::Pools | ListId::Pressure => pools(list, id, model, now),
                ListId::Alerts => alerts(model, now),
                ListId::Rollbacks => rollbacks(list, model, now),
                ListId::Steps => steps(steps_of.as_ref(), model, now),
                ListId::DeadLetters => letters(list, model, now),
                ListId::Rules if awaited => (Vec::new(), 0),
                ListId::Rules => rules(list, model, now),
                ListId::Flips => flips(model),
                ListId::Trace => trace_rows(list, trace, folded, model, now),
            };
            if list.reverse {
                rows.reverse();
            }
            if id == ListId::Pools {
                rows = with_workers(rows, open_pools, model, now);
            }
            list.unfiltered = unfiltered;
            list.state.stay_at_top();
            // A key that asked for another order wants the row in its place.
            let arrived = list.state.ordered_at().and(list.state.arrived_at());
            let ended_here = |subject: &Subject| {
                if matches!(
                    id,
                    ListId::Steps | ListId::Rollbacks | ListId::DeadLetters | ListId::Trace
                ) {
                    return false;
                }
                let ended = subject.job().and_then(|job| ended_at(job, model));
                matches!((ended, arrived), (Some(ended), Some(arrived)) if ended >= arrived)
            };
            list.state.reorder(rows, exists, ended_here, height, now);
        }
    }

    /// Brings the steps to the undo under the cursor, at once when that is another.
    fn follow_rollback(&mut self) {
        let selected = self.list(ListId::Rollbacks).state.selected();
        if self.steps_of.as_ref() != selected {
            self.steps_of = selected.cloned();
            self.list_mut(ListId::Steps).state = ListState::default();
        }
    }

    /// Whether a row of this list can still be about `subject`.
    pub(super) fn exists(id: ListId, subject: &Subject, model: &Model) -> bool {
        match (id, subject) {
            (ListId::Approvals | ListId::OldestApprovals, Subject::Job(job)) => {
                model.approvals.get(job).is_some()
            }
            (ListId::Rollbacks, of) => undone_of(of).is_some_and(|of| model.rollbacks.has(&of)),
            (ListId::DeadLetters, Subject::Job(job)) => model.letters.get(job).is_some(),
            (_, Subject::Job(job)) => model.jobs.get(job).is_some(),
            (_, Subject::Workflow(workflow)) => model.jobs.of_workflow(workflow).next().is_some(),
            (_, Subject::Worker(worker)) => model.workers.get(worker).is_some(),
            // Pools and alerts are summed up anew each time; a row that is not
            // there after that is gone.
            (
                _,
                Subject::Pool(_)
                | Subject::Alert(_)
                | Subject::Unseen
                | Subject::Rule(_)
                | Subject::Flip(_),
            ) => false,
        }
    }
}

/// Whether `subject` is a worker whose pool hides it.
fn is_folded(id: ListId, subject: &Subject, open: &BTreeSet<PoolName>, model: &Model) -> bool {
    let (ListId::Pools, Subject::Worker(worker)) = (id, subject) else {
        return false;
    };
    let pool = model.workers.get(worker).and_then(|it| it.pool.as_ref());
    pool.is_none_or(|pool| !open.contains(pool))
}

/// When a job ended; `None` if it has not, or nothing is known of it.
pub fn ended_at(job: &JobId, model: &Model) -> Option<Timestamp> {
    let job = model.jobs.get(job)?;
    job.is_ended().then_some(job.since)
}

/// The name under which an alert has its row.
pub fn alert_row(alert: &Alert) -> Subject {
    Subject::Alert(alert.row().into())
}

/// Whose undo a row of the rollbacks is about.
pub fn undone_of(subject: &Subject) -> Option<Undone> {
    match subject {
        Subject::Workflow(workflow) => Some(Undone::Workflow(Arc::clone(workflow))),
        Subject::Job(job) => Some(Undone::Job(job.clone())),
        Subject::Worker(_)
        | Subject::Pool(_)
        | Subject::Alert(_)
        | Subject::Unseen
        | Subject::Rule(_)
        | Subject::Flip(_) => None,
    }
}

/// The row of the rollbacks that is about `of`.
pub fn undone_row(of: &Undone) -> Subject {
    match of {
        Undone::Workflow(workflow) => Subject::Workflow(Arc::clone(workflow)),
        Undone::Job(job) => Subject::Job(job.clone()),
    }
}

/// The row of a step: the job that undoes, else the one that would be undone.
pub fn step_row(step: &Step) -> Option<Subject> {
    step.job.clone().or(step.undoes.clone()).map(Subject::Job)
}

/// The row of a place in the tree.
pub fn node_row(node: &Node) -> Subject {
    node.job.clone().map_or(Subject::Unseen, Subject::Job)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::script;
    use crate::state::ui::List;
    use crate::state::ui::list::SortKey;

    const FLEET: &str = "0s link nats up | 0s link gateway up \
        | 0s beat w1 pool=gpu region=eu-2 slots=1/4 cpu=10 mem=70 gpu=95 \
        | 1s beat w2 pool=batch region=eu-1 slots=3/4 cpu=80 mem=20 \
        | 2s submit j1 topic=job.b tenant=orbit | 3s submit j2 topic=job.a tenant=acme | 4s submit j3 \
        | 5s dispatch j1 w2 topic=job.b | 6s progress j1 70% | 7s dispatch j2 w1 topic=job.a | 8s progress j2 20% \
        | 9s dispatch j1 w2 topic=job.b";

    /// The rows of a list sorted by a key, first to last.
    #[track_caller]
    pub(super) fn check(id: ListId, key: SortKey, expected: &str) {
        let state = script::run(FLEET).expect("a script");
        let mut list = List::default();
        assert!(list.sort_by(id, key), "{key:?} is a key of {id:?}");
        let (rows, all) = match id {
            ListId::Jobs => jobs(&list, &state.model, state.now),
            ListId::Workers => workers(&list, id, &state.model, state.now),
            ListId::Approvals => approvals(&list, id, &state.model, state.now),
            _ => pools(&list, id, &state.model, state.now),
        };
        assert_eq!(rows.len(), all, "no row is lost");
        let rows: Vec<&str> = rows.iter().map(Subject::id).collect();
        assert_eq!(rows.join(" "), expected, "{key:?}");
    }
}
