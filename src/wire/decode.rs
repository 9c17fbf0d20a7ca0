//! Bytes to packets. Total: any bytes give a packet or a [`DecodeError`].

use prost::Message as _;
use thiserror::Error;

use super::{contract, convert, generated as pb, json};
use crate::bus::{Delivery, Encoding, Subject};
use crate::wire::packet::Packet;

/// Bodies longer than this are not looked at: 1 MiB, NATS's own default limit.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// Why a delivery is not a packet. It is counted and shown, and changes nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind} ({len} bytes on {subject})")]
pub struct DecodeError {
    /// What is wrong.
    pub kind: DecodeErrorKind,
    /// Where it was published.
    pub subject: Subject,
    /// How long it was, in bytes.
    pub len: usize,
}

/// What can be wrong with the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeErrorKind {
    /// Longer than [`MAX_PAYLOAD`].
    #[error("too long for a packet")]
    TooLong,
    /// Not a `BusPacket` in this encoding.
    #[error("not a BusPacket: {0}")]
    NotAPacket(String),
    /// A `BusPacket` whose payload is missing or not one we can name.
    #[error("a BusPacket without a known payload")]
    NoPayload,
}

/// Reads a delivery. Contract violations and unknown fields do not stop it:
/// they are listed in [`Packet::warnings`].
///
/// # Errors
/// [`DecodeError`] for what is not a packet.
pub fn decode(delivery: &Delivery) -> Result<Packet, DecodeError> {
    let fail = |kind| DecodeError {
        kind,
        subject: delivery.subject.clone(),
        len: delivery.payload.len(),
    };
    if delivery.payload.len() > MAX_PAYLOAD {
        return Err(fail(DecodeErrorKind::TooLong));
    }
    let (envelope, mut warnings) = match delivery.encoding {
        Encoding::Proto => {
            let envelope = pb::BusPacket::decode(delivery.payload.clone())
                .map_err(|error| fail(DecodeErrorKind::NotAPacket(error.to_string())))?;
            (envelope, contract::unknown_fields(&delivery.payload))
        }
        Encoding::Json => {
            let envelope = json::envelope_from_json(&delivery.payload)
                .map_err(|error| fail(DecodeErrorKind::NotAPacket(error.to_string())))?;
            (envelope, Vec::new())
        }
    };
    let mut packet =
        convert::packet_from(envelope).ok_or_else(|| fail(DecodeErrorKind::NoPayload))?;
    warnings.extend(contract::violations(&packet));
    packet.warnings = warnings;
    Ok(packet)
}
