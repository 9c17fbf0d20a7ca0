//! The document of the breaker.

use serde::{Deserialize, Serialize};

use super::document::VERSION;
use crate::control_plane::ledger::Breaker;
use crate::time::Timestamp;

#[derive(Serialize, Deserialize)]
pub(super) struct BreakerDocument {
    version: u32,
    failures: u32,
    last_failure: i64,
    opened_at: Option<i64>,
    answered: u32,
}

impl BreakerDocument {
    pub(super) fn of(breaker: &Breaker) -> Self {
        Self {
            version: VERSION,
            failures: breaker.failures,
            last_failure: breaker.last_failure.as_millis(),
            opened_at: breaker.opened_at.map(Timestamp::as_millis),
            answered: breaker.answered,
        }
    }

    pub(super) fn into_breaker(self) -> Breaker {
        Breaker {
            failures: self.failures,
            last_failure: Timestamp::from_millis(self.last_failure),
            opened_at: self.opened_at.map(Timestamp::from_millis),
            answered: self.answered,
            ..Breaker::default()
        }
    }
}
