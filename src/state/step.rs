//! One step: an event to the slices that it concerns. No logic of its own.

use crate::state::effect::EffectQueue;
use crate::state::event::{Event, Stamped};
use crate::state::model::Model;
use crate::state::ui::UiState;
use crate::time::Timestamp;

/// All that the console knows and shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The stamp of the last event; every age is measured against it.
    pub now: Timestamp,
    /// What is known of the deployment.
    pub model: Model,
    /// What the operator does with it.
    pub ui: UiState,
    /// The id that the next effect gets.
    pub next_effect: u64,
}

impl State {
    /// Takes in one event.
    ///
    /// Stamps never run backwards; an earlier one is taken as the last one.
    pub fn step(&mut self, event: &Stamped<Event>, effects: &mut EffectQueue) {
        self.now = self.now.max(event.at);
        effects.begin(self.next_effect);
        match &event.value {
            Event::User(action) => {
                self.model.advance(self.now);
                self.ui.update(action, &mut self.model, self.now, effects);
            }
            Event::Packet(_)
            | Event::Malformed(_)
            | Event::Link(..)
            | Event::Answered(..)
            | Event::Requests(..)
            | Event::Jobs(_)
            | Event::Workers(_)
            | Event::Pools(_)
            | Event::DeadLetters(_)
            | Event::Rollbacks(_)
            | Event::Policy(_)
            | Event::PolicyTold(_)
            | Event::Explained(_)
            | Event::Tried(_)
            | Event::CompensationJudged(_)
            | Event::Approvals(_)
            | Event::Unreadable(_)
            | Event::Payload(_)
            | Event::Outcome(..)
            | Event::Tick => {
                self.model.apply(&event.value, self.now);
                self.ui
                    .notice(&event.value, &mut self.model, self.now, effects);
            }
        }
        self.next_effect = effects.next();
    }
}
