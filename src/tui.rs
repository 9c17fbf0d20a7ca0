//! The screen.

pub mod glyph;
pub mod hints;
pub mod input;
pub mod keymap;
pub mod overlay;
pub mod pace;
pub mod screen;
pub mod terminal;
pub mod theme;
pub mod widget;
