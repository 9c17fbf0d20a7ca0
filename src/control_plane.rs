//! A whole small CAP control plane: gateway, scheduler, safety kernel, workers.
//!
//! It meets the console only on the wire: packets on the bus, HTTP at the
//! gateway, payloads in the store.
#![warn(clippy::wildcard_enum_match_arm)]

pub mod gateway;
pub mod kernel;
pub mod ledger;
pub mod scenario;
pub mod scheduler;
pub mod simulation;
pub mod worker;
