//! Selectors: from the state to plain rows, without styling and without width.
//!
//! A selector takes the [`State`] and says what a screen has to show, in words of
//! the domain; only the rows that can be seen are built. Whoever draws decides
//! about colors, signs and cuts. All ages are measured to the instant that is
//! shown, which a freeze holds still.
//!
//! [`State`]: crate::state::State

use std::sync::Arc;

use crate::state::State;
use crate::state::model::Model;
use crate::time::Timestamp;

pub mod approvals;
pub mod cause;
pub mod change;
pub mod compensations;
pub mod frame;
pub mod heat;
pub mod job;
pub mod jobs;
pub mod limits;
pub mod missing;
pub mod overview;
pub mod policy;
pub mod pools;
pub mod review;
pub mod rollbacks;
pub mod together;
pub mod traces;
pub mod what_if;
pub mod workers;

/// A part of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Our own words.
    Own(String),
    /// Our own words that matter most.
    Strong(String),
    /// Our own words that only explain.
    Aside(String),
    /// Words from outside: to be shown literally.
    Outside(Arc<str>),
}

/// A sentence of parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prose(pub Vec<Part>);

impl Prose {
    /// No words.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds our own words.
    #[must_use]
    pub fn own(mut self, text: impl Into<String>) -> Self {
        self.0.push(Part::Own(text.into()));
        self
    }

    /// Adds our own words that matter most.
    #[must_use]
    pub fn strong(mut self, text: impl Into<String>) -> Self {
        self.0.push(Part::Strong(text.into()));
        self
    }

    /// Adds our own words that only explain.
    #[must_use]
    pub fn aside(mut self, text: impl Into<String>) -> Self {
        self.0.push(Part::Aside(text.into()));
        self
    }

    /// Adds words from outside.
    #[must_use]
    pub fn outside(mut self, text: impl Into<Arc<str>>) -> Self {
        self.0.push(Part::Outside(text.into()));
        self
    }

    /// Adds another sentence.
    #[must_use]
    pub fn then(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A label and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is.
    pub label: &'static str,
    /// What is known of it.
    pub value: Prose,
}

impl Fact {
    /// A fact.
    pub fn new(label: &'static str, value: Prose) -> Self {
        Self { label, value }
    }
}

/// What a screen looks at: the model as it is, or as it was frozen, and its instant.
pub(crate) fn shown(state: &State) -> (&Model, Timestamp) {
    (state.ui.shown(&state.model), state.ui.shown_at(state.now))
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Prose {
        /// The words as they read.
        pub(crate) fn plain(&self) -> String {
            let parts = self.0.iter().map(|part| match part {
                Part::Own(text) | Part::Strong(text) | Part::Aside(text) => text,
                Part::Outside(text) => &**text,
            });
            parts.collect()
        }
    }
}
