//! Packets to bytes. Strict: what a careful receiver would refuse is not sent.

use bytes::Bytes;
use prost::Message as _;
use thiserror::Error;

use super::{DLQ, contract, convert};
use crate::bus::Subject;
use crate::wire::packet::{Body, Packet, WireWarning};

/// Why a packet of ours was not sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// It breaks a rule of the contract.
    #[error("the {kind} breaks the contract: {field} {says}")]
    Violation {
        /// The payload, in the wire's name.
        kind: &'static str,
        /// The field, in the wire's name.
        field: &'static str,
        /// What is wrong with it.
        says: String,
    },
    /// A payload that we only watch.
    #[error("a {0} is never sent from here")]
    NeverSent(&'static str),
    /// Too long for the bus.
    #[error("the {kind} is {len} bytes long; the bus takes {limit}")]
    TooLong {
        /// The payload, in the wire's name.
        kind: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

/// Writes a packet for `subject`.
///
/// The one relaxation is that of every CAP scheduler: a dead letter, a job
/// result on [`DLQ`], may name no worker, because none had the job.
///
/// # Errors
/// [`EncodeError`] when the packet breaks a rule of the contract, so that
/// nothing we publish is dropped silently at the other end.
pub fn encode(subject: &Subject, packet: &Packet) -> Result<Bytes, EncodeError> {
    let kind = packet.body.kind();
    let dead_letter = subject.as_str() == DLQ && matches!(packet.body, Body::JobResult(_));
    for violation in contract::violations(packet) {
        if let WireWarning::Violation { field, says } = violation
            && !(dead_letter && field == "worker_id")
        {
            return Err(EncodeError::Violation { kind, field, says });
        }
    }
    let envelope = convert::packet_to(packet).ok_or(EncodeError::NeverSent(kind))?;
    let bytes = envelope.encode_to_vec();
    let limit = super::decode::MAX_PAYLOAD;
    if bytes.len() > limit {
        let len = bytes.len();
        return Err(EncodeError::TooLong { kind, len, limit });
    }
    Ok(Bytes::from(bytes))
}
