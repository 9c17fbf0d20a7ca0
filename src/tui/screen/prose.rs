//! Sentences of the view as words in roles.

use crate::tui::theme::Role;
use crate::tui::widget::words::{Ink, Words};
use crate::view::{Part, Prose};

/// A sentence in plain text.
pub(in crate::tui) fn words(prose: &Prose) -> Words {
    in_role(prose, Role::Text)
}

/// A sentence whose own words are in `role`; asides stay muted.
pub(in crate::tui) fn in_role(prose: &Prose, role: Role) -> Words {
    prose.0.iter().fold(Words::new(), |words, part| match part {
        Part::Own(text) => words.ink(text.clone(), role),
        Part::Strong(text) => words.ink(text.clone(), Ink::new(role).bold()),
        Part::Aside(text) => words.muted(text.clone()),
        Part::Outside(text) => words.line(text, role),
    })
}
