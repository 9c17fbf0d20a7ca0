//! The screen.

pub mod input;
pub mod keymap;
pub mod terminal;
