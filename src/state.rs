//! The pure model: what is known, and what each event changes.
//!
//! Nothing here reads a clock, the environment or a file, and nothing fails:
//! [`State::step`] takes a stamped event and returns effects as data. The same
//! events always end in the same state, however they are batched and however
//! often the timer ticks. Start at [`step`], then [`model`].
#![deny(clippy::disallowed_types)]
#![warn(clippy::wildcard_enum_match_arm)]

pub mod action;
pub mod diff;
pub mod effect;
pub mod event;
pub mod filter;
pub mod limits;
pub mod model;
pub mod script;
pub mod secrets;
pub mod shared;
pub mod step;
pub mod ui;

pub use effect::{Effect, EffectId, EffectQueue, Outcome};
pub use event::{Event, Stamped};
pub use model::Model;
pub use step::State;
