//! The pure model: what is known, and what each event changes.
//!
//! Nothing here reads a clock, the environment or a file, and nothing fails:
//! `State::step` takes a stamped event and returns effects as data.
#![deny(clippy::disallowed_types)]
#![warn(clippy::wildcard_enum_match_arm)]

pub mod action;
