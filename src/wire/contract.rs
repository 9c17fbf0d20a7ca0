//! The rules of the contract, and what a packet says beyond it.
//!
//! Receivers of CAP 2.17 check these rules; real producers break some of them,
//! cordum's own scheduler among them. So they are findings on what we receive
//! and errors on what we send.

use crate::wire::packet::{Packet, WireWarning};

/// Fields of the received bytes that the contract we know does not have.
pub(super) fn unknown_fields(_bytes: &[u8]) -> Vec<WireWarning> {
    Vec::new()
}

/// Rules that the packet breaks.
pub(super) fn violations(_packet: &Packet) -> Vec<WireWarning> {
    Vec::new()
}
