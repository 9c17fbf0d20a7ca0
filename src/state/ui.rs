//! What the operator does with the model: view, cursor, dialogs.

use crate::state::action::Action;
use crate::state::effect::EffectQueue;
use crate::state::event::Event;
use crate::state::model::Model;
use crate::time::Timestamp;

/// What the operator looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UiState {}

impl UiState {
    /// Takes in what the operator asks for.
    pub fn update(
        &mut self,
        _action: &Action,
        _model: &mut Model,
        _now: Timestamp,
        _effects: &mut EffectQueue,
    ) {
    }

    /// Looks at what the model has just taken in: an answer to an effect, a job
    /// that ended while its dialog is open.
    pub fn notice(
        &mut self,
        _event: &Event,
        _model: &Model,
        _now: Timestamp,
        _effects: &mut EffectQueue,
    ) {
    }
}
