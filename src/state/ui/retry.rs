//! Retrying dead letters: a new job in place of one that could not be done.

use super::modal::{Form, Modal, RetryDialog};
use super::words::words;
use super::{Batch, Subject, Tone, UiState, What};
use crate::ids::JobId;
use crate::state::action::Action;
use crate::state::effect::{Effect, EffectQueue, Outcome};
use crate::state::model::Model;
use crate::time::Timestamp;

impl UiState {
    /// `T`: asks before anything is sent.
    pub(super) fn ask_retry(&mut self, now: Timestamp) {
        if let Some(Subject::Job(job)) = self.subject() {
            let form = Form::plain();
            self.open_modal(Modal::Retry(RetryDialog { job, form }), now);
        }
    }

    pub(super) fn send_retry(
        &mut self,
        job: JobId,
        model: &Model,
        now: Timestamp,
        effects: &mut EffectQueue,
    ) {
        // What held when the dialog opened need not hold any more.
        if model.letters.get(&job).is_none() {
            let gone = "Not retried: it is no longer among the dead letters.";
            return self.say(Tone::Warning, gone, now);
        }
        if let Some(reason) = self.refusal(&Action::Retry, model) {
            return self.say(Tone::Warning, reason, now);
        }
        let effect = effects.push(Effect::Retry { job: job.clone() });
        self.write_log(format!("asked to retry {job}"), now);
        self.batch = Batch {
            of: 1,
            ..Batch::default()
        };
        self.await_answer(effect, What::Retry { job }, now);
        self.say(Tone::Muted, "… asked to retry.", now);
    }

    /// Whether a retry of `job` is under way.
    pub fn is_retrying(&self, job: &JobId) -> bool {
        self.asking
            .values()
            .any(|it| matches!(&it.what, What::Retry { job: asked } if asked == job))
    }

    /// A retry was answered, or was not.
    pub(super) fn retried(
        &mut self,
        job: &JobId,
        asked_at: Timestamp,
        outcome: &Outcome,
        now: Timestamp,
    ) {
        let took_ms = now.since(asked_at).as_millis();
        let (tone, text) = match outcome {
            Outcome::Done(Some(made)) => (
                Tone::Done,
                format!("retried {job} in {took_ms}ms as the new job {made}."),
            ),
            Outcome::Done(None) => (
                Tone::Done,
                format!("retried {job} in {took_ms}ms; the gateway does not name the new job."),
            ),
            // The next list of dead letters tells: a retry takes its letter away.
            Outcome::TimedOut => (
                Tone::Warning,
                format!(
                    "No answer: it is unknown whether {job} was retried. If its letter goes, it was."
                ),
            ),
            Outcome::Failed { reason } => (
                Tone::Failed,
                format!("Not retried: {reason}. Nothing was sent."),
            ),
            Outcome::Refused(refusal) => (Tone::Failed, format!("Not retried: {}", words(refusal))),
        };
        self.write_log(text.clone(), now);
        self.say(tone, text, now);
    }
}
