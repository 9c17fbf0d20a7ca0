//! The documents of submissions that policy turned away for now: there is no job whose
//! document could tell of them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::BadDocument;
use super::document::{
    self, DecisionDocument, VERSION, decision_document, decision_of, request_of, text_of,
};
use crate::control_plane::ledger::DecisionRecord;
use crate::wire::packet::JobRequest;

/// Those that are on record, the oldest go first.
pub const MAX_TURNED_AWAY: u64 = 2_000;

/// A submission that became no job.
#[derive(Clone, Debug)]
pub struct TurnedAway {
    /// Later ones have larger numbers.
    pub(super) number: u64,
    pub(super) request: Arc<JobRequest>,
    pub(super) record: Arc<DecisionRecord>,
}

#[derive(Serialize, Deserialize)]
struct TurnedAwayDocument {
    version: u32,
    number: u64,
    request: String,
    decision: DecisionDocument,
}

impl TurnedAway {
    /// Which of the [`MAX_TURNED_AWAY`] places on record is its own, from 0.
    pub fn place(&self) -> u64 {
        self.number % MAX_TURNED_AWAY
    }

    /// Its document.
    pub fn document(&self) -> String {
        document::write(&TurnedAwayDocument {
            version: VERSION,
            number: self.number,
            request: text_of(&self.request),
            decision: decision_document(&self.record),
        })
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, BadDocument> {
        let it: TurnedAwayDocument = document::read(bytes)?;
        Ok(Self {
            number: it.number,
            request: request_of(&it.request, "request")?,
            record: decision_of(it.decision)?,
        })
    }
}
