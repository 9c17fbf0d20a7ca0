//! Who speaks on the bus, and how well each keeps to the contract.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::SenderId;
use crate::state::limits;
use crate::state::model::jobs::bounded;
use crate::state::shared::SharedMap;
use crate::time::Timestamp;
use crate::wire::packet::{Packet, WireWarning};

/// A sender, as it names itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// Packets heard of it.
    pub packets: u64,
    /// Deliveries that were no packets; these name no sender, so only the row of
    /// the empty name has them.
    pub malformed: u64,
    /// Fields that the contract we know does not have, counted each time.
    pub unknown_fields: u64,
    /// Rules of the contract that it broke, counted each time.
    pub violations: u64,
    /// Packets that carried a signature, checked or not.
    pub signed: u64,
    /// When it was heard last.
    pub last: Timestamp,
    /// The contract version of its last packet.
    pub protocol_version: i32,
    /// What was odd, in words, at most [`limits::FINDINGS`] different ones.
    pub findings: Arc<BTreeMap<Arc<str>, u64>>,
}

impl Sender {
    /// What is known of its signatures: none is checked without keys.
    pub fn signature(&self) -> &'static str {
        match (self.packets, self.signed) {
            (0, _) => "unknown",
            (_, 0) => "unsigned",
            (packets, signed) if packets == signed => "unchecked",
            _ => "partly signed",
        }
    }
}

/// The senders that were heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Senders {
    rows: SharedMap<SenderId, Sender>,
    /// All senders that found no row of their own.
    pub others: Sender,
}

impl Senders {
    /// How many senders were heard.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nobody was heard.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A sender by its name.
    pub fn get(&self, id: &SenderId) -> Option<&Sender> {
        self.rows.get(id)
    }

    /// All senders, in an order that is fixed but means nothing.
    pub fn iter(&self) -> impl Iterator<Item = (&SenderId, &Sender)> {
        self.rows.iter()
    }

    pub(crate) fn heard(&mut self, packet: &Packet, at: Timestamp) {
        let row = self.row(&packet.sender);
        row.packets += 1;
        row.signed += u64::from(packet.signature_len > 0);
        row.last = at;
        row.protocol_version = packet.protocol_version;
        for warning in &packet.warnings {
            let words = match warning {
                WireWarning::UnknownField {
                    path,
                    number,
                    wire_type: _,
                } => {
                    row.unknown_fields += 1;
                    let message = if path.is_empty() { "envelope" } else { path };
                    format!("{message}: unknown field {number}")
                }
                WireWarning::UnknownName { name } => {
                    row.unknown_fields += 1;
                    format!("unknown name {}", bounded(name))
                }
                WireWarning::Violation { field, says } => {
                    row.violations += 1;
                    format!("{field} {}", bounded(says))
                }
            };
            if row.findings.contains_key(words.as_str()) || row.findings.len() < limits::FINDINGS {
                *Arc::make_mut(&mut row.findings)
                    .entry(Arc::from(words))
                    .or_default() += 1;
            }
        }
    }

    pub(crate) fn broken(&mut self, at: Timestamp) {
        let row = self.row(&SenderId::default());
        row.malformed += 1;
        row.last = at;
    }

    fn row(&mut self, id: &SenderId) -> &mut Sender {
        if self.rows.len() >= limits::SENDERS && self.rows.get(id).is_none() {
            return &mut self.others;
        }
        self.rows.get_or_insert_with(id, Sender::default)
    }
}
