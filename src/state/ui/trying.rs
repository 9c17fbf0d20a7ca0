//! `P`: a candidate policy, tried on the decisions that were made last.
//!
//! The console reads the file and asks the gateway; nothing is published. The answer
//! to the file before stays until there is a new one.

use std::sync::Arc;

use super::modal::{Modal, Palette};
use super::prompt::Text;
use super::refusal::clock;
use super::{ListId, Tone, UiState, View, What};
use crate::state::effect::{Effect, EffectQueue, Outcome};
use crate::state::event::Source;
use crate::state::model::Model;
use crate::time::Timestamp;

/// The candidate that was tried last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trial {
    /// Its path, as typed.
    path: Arc<str>,
    /// Why it was not tried.
    refused: Option<Arc<str>>,
}

impl UiState {
    /// The candidate that was tried last, by the end of its path; `None` while the
    /// pane is closed.
    pub fn trial(&self) -> Option<&str> {
        let trial = self.trial.as_ref()?;
        Some(file_name(&trial.path))
    }

    /// Why it was not tried.
    pub fn not_tried(&self) -> Option<&Arc<str>> {
        self.trial.as_ref()?.refused.as_ref()
    }

    /// Since when a candidate is being tried.
    pub fn is_trying(&self) -> Option<Timestamp> {
        let mut asking = self.asking.values();
        let asked = asking.find(|it| matches!(it.what, What::Try))?;
        Some(asked.at)
    }

    /// Why no candidate can be tried now.
    pub(super) fn cannot_try(&self, model: &Model) -> Option<String> {
        if let Some(frozen) = &self.frozen {
            return Some(format!(
                "You look at {}, not at now. L goes live.",
                clock(frozen.at)
            ));
        }
        if self.view != View::Policy || self.review.is_some() || self.detail.is_some() {
            return Some("A candidate policy is tried in Policy: 5 shows it.".to_owned());
        }
        (!model.links.of(Source::Gateway).is_up())
            .then(|| "Only a gateway replays decisions, and none answers.".to_owned())
    }

    /// `P`: asks for the file.
    pub(super) fn ask_candidate(&mut self, now: Timestamp) {
        let before = self.trial.as_ref().map_or("", |trial| &*trial.path);
        let palette = Palette {
            line: Text::line().holding(&format!("what-if {before}")),
            chosen: 0,
            error: None,
        };
        self.open_modal(Modal::Palette(palette), now);
    }

    /// `:what-if FILE`.
    pub(super) fn try_candidate(
        &mut self,
        path: &str,
        model: &Model,
        effects: &mut EffectQueue,
        now: Timestamp,
    ) {
        if self.frozen.is_none() {
            self.show_view(View::Policy, model);
        }
        if let Some(reason) = self.cannot_try(model) {
            return self.say(Tone::Warning, reason, now);
        }
        if self.is_trying().is_some() {
            return self.say(Tone::Warning, "A candidate is being tried.", now);
        }
        let path: Arc<str> = path.into();
        self.trial = Some(Trial {
            path: Arc::clone(&path),
            refused: None,
        });
        self.policy_pane = 1;
        let effect = effects.push(Effect::Try { path });
        self.await_answer(effect, What::Try, now);
    }

    /// Tries the same file again, if its pane is open.
    pub(super) fn try_again(&mut self, model: &Model, effects: &mut EffectQueue, now: Timestamp) {
        let Some(path) = self.trial.as_ref().map(|trial| Arc::clone(&trial.path)) else {
            return;
        };
        if self.is_trying().is_none() {
            self.try_candidate(&path, model, effects, now);
        }
    }

    /// Whether the pane has the keyboard.
    pub(super) fn in_trial(&self) -> bool {
        self.trial.is_some() && self.policy_pane > 0
    }

    /// Closes the pane. Says whether it was open.
    pub(super) fn close_trial(&mut self) -> bool {
        let open = self.view == View::Policy && self.trial.take().is_some();
        if open {
            self.policy_pane = 0;
        }
        open
    }

    /// The gateway has answered, or has not: the pane says so, not the footer.
    pub(super) fn tried(&mut self, outcome: &Outcome) {
        let Some(trial) = &mut self.trial else {
            return;
        };
        let file = file_name(&trial.path);
        trial.refused = match outcome {
            Outcome::Done(_) => None,
            Outcome::Refused(refusal) if &*refusal.code == "invalid_policy" => {
                Some(format!("{file} {}", refusal.text).into())
            }
            Outcome::Refused(refusal) => {
                let why = [&refusal.text, &refusal.code];
                let why = why.into_iter().find(|text| !text.is_empty());
                let why = why.map_or("the gateway refuses", |why| why.trim_end_matches('.'));
                Some(format!("{file} was not tried: {why}").into())
            }
            Outcome::Failed { reason } => Some(format!("{file} was not tried: {reason}").into()),
            Outcome::TimedOut => Some(format!("{file} was not tried: no answer in time").into()),
        };
        self.list_mut(ListId::Flips).state.invalidate();
    }
}

/// The end of a path, as a person names a file.
fn file_name(path: &str) -> &str {
    let end = path.trim_end_matches('/').rsplit('/').next();
    end.filter(|end| !end.is_empty()).unwrap_or(path)
}
