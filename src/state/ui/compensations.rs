//! Asking whether policy would allow an undo, while somebody looks at one.

use super::list::Subject;
use super::modal::Modal;
use super::{ListId, UiState, View, What};
use crate::ids::JobId;
use crate::state::effect::{Effect, EffectQueue};
use crate::state::event::{Event, Source};
use crate::state::model::Model;
use crate::state::model::rollbacks::stack;
use crate::state::ui::order::undone_of;
use crate::time::{Elapsed, Timestamp};

/// Undos that are asked about at the same time: keys go faster than answers.
const AT_ONCE: usize = 2;
/// Undos that one look asks about: the steps of a long rollback, or a large batch.
const AT_A_LOOK: usize = 16;
/// Packets come by the thousand, so they make it look no more often than this.
const LOOK: Elapsed = Elapsed::from_millis(250);
/// One that was not answered is asked about again after this.
const AGAIN: Elapsed = Elapsed::from_secs(10);

impl UiState {
    /// Whether policy is being asked about undoing `job`.
    pub fn is_judging(&self, job: &JobId) -> bool {
        self.asking
            .values()
            .any(|it| matches!(&it.what, What::Compensation { job: asked } if asked == job))
    }

    /// Whether `event` is worth a look at what is in sight.
    pub(super) fn may_look_for_undos(&self, event: &Event, now: Timestamp) -> bool {
        let quiet = self
            .undos_looked
            .is_none_or(|at| now.since(at).as_millis() >= LOOK.as_millis());
        quiet || !matches!(event, Event::Packet(_))
    }

    /// Asks about the undos that are looked at and of which nothing is known under
    /// the policy in force.
    pub(super) fn keep_undos_judged(
        &mut self,
        model: &Model,
        now: Timestamp,
        effects: &mut EffectQueue,
    ) {
        if self.frozen.is_some() || !model.links.of(Source::Gateway).is_up() {
            return;
        }
        self.undos_looked = Some(now);
        self.undos_asked.retain(|_, (at, snapshot)| {
            *snapshot == model.snapshot && now.since(*at).as_millis() < AGAIN.as_millis()
        });
        let mut under_way = self
            .asking
            .values()
            .filter(|it| matches!(it.what, What::Compensation { .. }))
            .count();
        for job in self.undos_in_sight(model, now) {
            if under_way >= AT_ONCE {
                return;
            }
            let known = model
                .compensations
                .of(&job, model.snapshot.as_deref())
                .is_some();
            if known || self.undos_asked.contains_key(&job) {
                continue;
            }
            self.undos_asked
                .insert(job.clone(), (now, model.snapshot.clone()));
            let effect = effects.push(Effect::JudgeCompensation { job: job.clone() });
            self.await_answer(effect, What::Compensation { job }, now);
            under_way += 1;
        }
    }

    /// Jobs whose undo is on the screen and has not run.
    fn undos_in_sight(&self, model: &Model, now: Timestamp) -> Vec<JobId> {
        let mut jobs: Vec<JobId> = Vec::new();
        if let Some(Modal::Cancel(dialog)) = self.modal() {
            jobs.extend(dialog.left().cloned());
        }
        if let Some(reviews) = &self.review {
            jobs.push(reviews.shown().job.clone());
        } else if let Some(detail) = &self.detail {
            jobs.push(detail.job.clone());
        } else if self.view == View::Approvals {
            let selected = self.list(ListId::Approvals).state.selected();
            jobs.extend(selected.and_then(Subject::job).cloned());
        } else if self.view == View::Rollbacks {
            let selected = self.list(ListId::Rollbacks).state.selected();
            let of = selected.and_then(undone_of);
            let stack = of.and_then(|of| stack(model, &of, now));
            let steps = stack.into_iter().flat_map(|stack| stack.steps);
            jobs.extend(steps.filter_map(|step| step.waits_to_undo().cloned()));
        }
        let has_undo = |job: &JobId| {
            let of_job = model.jobs.get(job).and_then(|job| job.request.as_ref());
            let of_approval = model.approvals.get(job);
            of_job.is_some_and(|request| request.undo.is_some())
                || of_approval.is_some_and(|it| it.undo().flatten().is_some())
        };
        jobs.retain(has_undo);
        jobs.truncate(AT_A_LOOK);
        jobs
    }
}
