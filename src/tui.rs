//! The screen.

pub mod glyph;
pub mod input;
pub mod keymap;
pub mod terminal;
pub mod theme;
pub mod widget;
