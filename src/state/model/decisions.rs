//! What policy decided lately, counted as the plane tells it.

use crate::state::model::jobs::Decision;
use crate::state::model::traffic::Series;
use crate::time::{Elapsed, Timestamp};

/// Spans of 6.5 s, of which 46 are the five minutes that the overview draws.
const SPAN: Elapsed = Elapsed::from_millis(6_500);
/// Spans in five minutes.
pub const SPANS_SHOWN: usize = 46;

/// Decisions by outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decisions {
    by_outcome: [Series; Decision::ALL.len()],
}

impl Default for Decisions {
    fn default() -> Self {
        Self {
            by_outcome: std::array::from_fn(|_| Series::new(SPAN)),
        }
    }
}

impl Decisions {
    /// The counts of one outcome.
    pub fn of(&self, decision: Decision) -> &Series {
        &self.by_outcome[decision as usize]
    }

    /// How many there were in the last five minutes.
    pub fn lately(&self, decision: Decision, now: Timestamp) -> u64 {
        self.of(decision)
            .last(now, SPANS_SHOWN)
            .into_iter()
            .map(u64::from)
            .sum()
    }

    /// The same job judged differently counts again; judged the same it does not,
    /// for the plane is asked about every job many times.
    pub(crate) fn judged(&mut self, decision: Decision, at: Timestamp) {
        self.by_outcome[decision as usize].add(at, 1);
    }
}
