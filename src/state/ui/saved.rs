//! Views that are kept by name: a list with its filter.
//!
//! `ctrl-s` asks for a name, `:save NAME` keeps what is shown, `:view NAME` shows
//! it again. They outlive the console: an effect writes each change down.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::modal::{Modal, Palette};
use super::prompt::Text;
use super::{ListId, Tone, UiState, View, What};
use crate::state::effect::{Effect, EffectQueue};
use crate::state::model::Model;
use crate::time::Timestamp;

/// Letters of a name, so that the palette shows it whole.
const NAME: usize = 40;

/// A view that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedView {
    /// Which view.
    pub view: View,
    /// Its filter, as typed; never one that cannot be read.
    pub filter: Arc<str>,
}

/// Kept views by name.
pub type SavedViews = BTreeMap<Arc<str>, SavedView>;

/// Whether a name can be typed as one word of a command.
pub fn is_name(name: &str) -> bool {
    let letters = name.chars().count();
    (1..=NAME).contains(&letters)
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

impl UiState {
    /// The views that are kept.
    pub fn saved(&self) -> &SavedViews {
        &self.manners.saved
    }

    /// `ctrl-s`: asks for a name.
    pub(super) fn ask_name(&mut self, now: Timestamp) {
        let palette = Palette {
            line: Text::line().holding("save "),
            chosen: 0,
            error: None,
        };
        self.open_modal(Modal::Palette(palette), now);
    }

    /// Why what is shown cannot be kept; `None` if it can.
    pub(super) fn cannot_save(&self) -> Option<String> {
        let open = self.review.is_some() || self.detail.is_some();
        if !open && self.list_id() == ListId::DeadLetters {
            return Some(
                "Filters of workflows are kept, those of dead letters are not.".to_owned(),
            );
        }
        (open || self.current().filter.is_none())
            .then(|| "There is no filter to keep: / sets one.".to_owned())
    }

    /// `:save NAME`.
    pub(super) fn save(&mut self, name: &str, effects: &mut EffectQueue, now: Timestamp) {
        if let Some(reason) = self.cannot_save() {
            return self.say(Tone::Warning, reason, now);
        }
        let name: Arc<str> = name.into();
        let saved = SavedView {
            view: self.view,
            filter: self.current().filter_text.as_str().into(),
        };
        let before = self.manners.saved.insert(Arc::clone(&name), saved.clone());
        self.view_was(Arc::clone(&name), before, now);
        self.keep(name, Some(saved), effects, now);
    }

    /// Writes down that `name` is `saved` now, or is forgotten.
    pub(super) fn keep(
        &mut self,
        name: Arc<str>,
        saved: Option<SavedView>,
        effects: &mut EffectQueue,
        now: Timestamp,
    ) {
        let effect = effects.push(Effect::KeepView {
            name: Arc::clone(&name),
            kept: saved,
        });
        self.await_answer(effect, What::Keep { name }, now);
    }

    /// `:view NAME`.
    pub(super) fn show_saved(&mut self, name: &str, model: &Model, now: Timestamp) {
        let Some(saved) = self.manners.saved.get(name).cloned() else {
            return self.say(Tone::Warning, format!("No view is kept as {name}."), now);
        };
        self.show_view(saved.view, model);
        self.rollback_pane = 0;
        let before = self.current().filter_text.clone();
        match self.set_filter(&saved.filter) {
            Some(error) => self.say(Tone::Warning, error, now),
            None => self.filter_was(before, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_short_word() {
        for (name, is) in [
            ("pending", true),
            ("gpu-2.old_jobs", true),
            ("größe", true),
            ("", false),
            ("two words", false),
            ("a:b", false),
        ] {
            assert_eq!(is_name(name), is, "{name}");
        }
        assert!(!is_name(&"x".repeat(41)));
    }
}
