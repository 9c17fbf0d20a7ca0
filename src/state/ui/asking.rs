//! What was asked of the outside and is not answered yet.

use std::sync::Arc;

use super::decide::Round;
use crate::ids::JobId;
use crate::state::model::jobs::Asked;
use crate::time::Timestamp;

/// Something that was asked and is not answered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asking {
    pub(super) what: What,
    pub(super) at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Cancel {
        job: JobId,
        reason: Arc<str>,
    },
    Retry {
        job: JobId,
    },
    Decide(Box<Round>),
    /// Its page, or what is behind a pointer of it.
    Read {
        job: JobId,
        page: bool,
    },
    Policy,
    Explain {
        job: JobId,
    },
    Try,
    Compensation {
        job: JobId,
    },
    /// The pages of jobs of a trace.
    Lives,
    Reveal {
        job: JobId,
    },
    /// Whether the plane did what it gave no answer to.
    Settle {
        job: JobId,
        asked: Asked,
    },
    Refresh,
    Keep {
        name: Arc<str>,
    },
}

impl What {
    /// How many things it asks to change in the world, those that follow it included.
    pub(super) fn acts(&self) -> usize {
        match self {
            Self::Cancel { .. } | Self::Retry { .. } => 1,
            Self::Decide(round) => 1 + round.rest.len(),
            Self::Read { .. }
            | Self::Policy
            | Self::Explain { .. }
            | Self::Try
            | Self::Compensation { .. }
            | Self::Lives
            | Self::Reveal { .. }
            | Self::Settle { .. }
            | Self::Refresh
            | Self::Keep { .. } => 0,
        }
    }
}

/// How many of the jobs that were asked to be cancelled together are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) of: usize,
    pub(super) done: usize,
    pub(super) refused: usize,
}
