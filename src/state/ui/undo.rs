//! `u`: takes back what has not left the console.
//!
//! Marks and filters that a key took away come back within [`WINDOW`]. An
//! approval, a rejection or a cancel has left: there is no undo for it, and
//! nothing here suggests one.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::list::Subject;
use super::saved::SavedView;
use super::{ListId, Tone, UiState};
use crate::state::effect::EffectQueue;
use crate::state::filter::Filter;
use crate::time::{Elapsed, Timestamp};

/// How long something can be taken back.
pub(super) const WINDOW: Elapsed = Elapsed::from_secs(10);

/// What can be taken back, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Undo {
    list: ListId,
    what: What,
    at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Marks(BTreeSet<Subject>),
    Filter(String, Option<Filter>),
    /// A view was kept under this name; what the name meant before.
    Saved(Arc<str>, Option<SavedView>),
}

impl UiState {
    /// How long `u` still works; `None` when nothing can be taken back.
    pub fn undo_left(&self, now: Timestamp) -> Option<Elapsed> {
        let undo = self.undo.as_ref()?;
        let gone = now.since(undo.at).as_millis();
        let left = WINDOW.as_millis().checked_sub(gone)?;
        (left > 0).then(|| Elapsed::from_millis(left))
    }

    /// Closes the window once its time is over.
    pub(super) fn forget_undo(&mut self, now: Timestamp) {
        if self.undo.is_some() && self.undo_left(now).is_none() {
            self.undo = None;
        }
    }

    /// Takes the marks of the present list away, for a while.
    pub(super) fn clear_marks(&mut self, now: Timestamp) {
        let list = self.list_id();
        let marks = self.current().state.marks().clone();
        self.current_mut().state.clear_marks();
        self.undo = Some(Undo {
            list,
            what: What::Marks(marks),
            at: now,
        });
    }

    /// Notes that the filter of the present list was `text` before a key changed it.
    pub(super) fn filter_was(&mut self, text: String, now: Timestamp) {
        if text == self.current().filter_text {
            return;
        }
        let filter = match text.is_empty() {
            true => None,
            // It was in force, so it can be read.
            false => self.view().filter(&text).ok(),
        };
        self.undo = Some(Undo {
            list: self.list_id(),
            what: What::Filter(text, filter),
            at: now,
        });
    }

    /// Notes what `name` meant before a view was kept under it.
    pub(super) fn view_was(&mut self, name: Arc<str>, before: Option<SavedView>, now: Timestamp) {
        self.undo = Some(Undo {
            list: self.list_id(),
            what: What::Saved(name, before),
            at: now,
        });
    }

    /// `u`.
    pub(super) fn take_back(&mut self, effects: &mut EffectQueue, now: Timestamp) {
        let Some(undo) = self.undo.take() else { return };
        if let What::Saved(name, before) = undo.what {
            match before.clone() {
                Some(before) => self.manners.saved.insert(Arc::clone(&name), before),
                None => self.manners.saved.remove(&name),
            };
            return self.keep(name, before, effects, now);
        }
        let list = self.list_mut(undo.list);
        let says = match undo.what {
            What::Marks(marks) => {
                list.state.restore_marks(marks);
                "The marks are back."
            }
            What::Filter(text, filter) => {
                list.filter_text = text;
                list.filter = filter;
                list.state.refilter();
                "The filter is as it was."
            }
            What::Saved(..) => return,
        };
        self.say(Tone::Done, says, now);
    }
}
