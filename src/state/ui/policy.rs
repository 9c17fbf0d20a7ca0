//! Asking about policy: while its view is shown, and why a job is judged as it is.

use std::sync::Arc;

use super::list::Subject;
use super::modal::Modal;
use super::{ListId, UiState, View, What};
use crate::ids::JobId;
use crate::state::effect::{Effect, EffectQueue, Outcome};
use crate::state::event::Source;
use crate::state::model::Model;
use crate::time::{Elapsed, Timestamp};

/// While somebody looks, policy is asked for this often. A log of decisions is up to
/// four answers, so nobody asks for it unseen.
const AGAIN: Elapsed = Elapsed::from_secs(10);

impl UiState {
    /// Why the last question about policy was not answered.
    pub fn policy_refused(&self) -> Option<&Arc<str>> {
        self.policy_refused.as_ref()
    }

    /// Whether the rules are about to be told: until then nobody knows their order, and
    /// those that have decided are not shown in one that is none.
    pub fn awaits_rules(&self, model: &Model) -> bool {
        model.policy.told().is_none()
            && self.policy_refused.is_none()
            && model.links.of(Source::Gateway).is_up()
    }

    /// Why policy did not explain `job`.
    pub fn unexplained(&self, job: &JobId) -> Option<&Arc<str>> {
        let (of, why) = self.unexplained.as_ref()?;
        (of == job).then_some(why)
    }

    /// Whether the plane is being asked to explain `job`.
    pub fn is_explaining(&self, job: &JobId) -> bool {
        self.asking
            .values()
            .any(|it| matches!(&it.what, What::Explain { job: asked } if asked == job))
    }

    /// Asks for policy while its view is shown and what is known of it is old.
    pub(super) fn keep_policy_fresh(
        &mut self,
        model: &Model,
        now: Timestamp,
        effects: &mut EffectQueue,
    ) {
        let fresh = self
            .policy_asked
            .is_some_and(|at| now.since(at).as_millis() < AGAIN.as_millis());
        let asking = self.asking.values().any(|it| it.what == What::Policy);
        let up = model.links.of(Source::Gateway).is_up();
        if self.view != View::Policy || self.frozen.is_some() || fresh || asking || !up {
            return;
        }
        self.policy_asked = Some(now);
        let effect = effects.push(Effect::ReadPolicy);
        self.await_answer(effect, What::Policy, now);
    }

    /// `E`: asks what policy says of the job and opens a window for the answer.
    pub(super) fn ask_why(&mut self, model: &Model, effects: &mut EffectQueue, now: Timestamp) {
        let Some(Subject::Job(job)) = self.subject() else {
            return;
        };
        if model.links.of(Source::Gateway).is_up() && !self.is_explaining(&job) {
            self.unexplained = None;
            let effect = effects.push(Effect::Explain { job: job.clone() });
            self.await_answer(effect, What::Explain { job: job.clone() }, now);
        }
        self.open_modal(Modal::Explain { job, scroll: 0 }, now);
    }

    /// A question about policy was answered, or was not: its view and its window say
    /// so, not the footer.
    pub(super) fn policy_answered(&mut self, what: &What, outcome: &Outcome) {
        let refused: Option<Arc<str>> = match outcome {
            Outcome::Done(_) => None,
            Outcome::Refused(refusal) if refusal.text.is_empty() => Some(refusal.code.clone()),
            Outcome::Refused(refusal) => Some(Arc::from(refusal.text.trim_end_matches('.'))),
            Outcome::Failed { reason } => Some(Arc::clone(reason)),
            Outcome::TimedOut => Some(Arc::from("no answer in time")),
        };
        match what {
            What::Explain { job } => {
                self.unexplained = refused.map(|why| (job.clone(), why));
            }
            _ => {
                self.policy_refused = refused;
                // The first answer is what the view was opened for: it waits for no key.
                let rules = &mut self.list_mut(ListId::Rules).state;
                if rules.order().is_empty() {
                    rules.invalidate();
                }
            }
        }
    }
}
