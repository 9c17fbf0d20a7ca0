//! What is being written down. Whoever waits for it may be gone before it is, as a caller of
//! the gateway who hangs up; what they took for it is then given back, for others believe
//! that it is on record once their own changes are.

use super::{Parts, counts, records};
use crate::control_plane::kernel::velocity::Counted;
use crate::control_plane::ledger::lock;
use crate::control_plane::ledger::saved::Changes;
use crate::store::Write;
use crate::time::Timestamp;

/// What was taken from the ledger and the kernel, until it is written down.
pub(super) struct Taken<'a> {
    parts: &'a Parts,
    changes: Changes,
    counted: Counted,
}

impl<'a> Taken<'a> {
    /// Takes what there is to be written down; `None` if there is nothing.
    pub(super) fn from(parts: &'a Parts) -> Option<Self> {
        let changes = lock(&parts.ledger).take_changes();
        // Taken second and written first: what was counted for a decision is on record
        // where the decision is.
        let kernel = parts.kernel.as_ref();
        let counted = kernel.map(|kernel| kernel.rates().take_counted());
        let counted = counted.unwrap_or_default();
        (!changes.is_empty() || !counted.is_empty()).then_some(Self {
            parts,
            changes,
            counted,
        })
    }

    pub(super) fn writes(&self, now: Timestamp) -> Vec<Write> {
        let mut writes = counts::writes(&self.counted, now);
        writes.extend(records::writes(&self.changes, now));
        writes
    }

    /// It is written down, or of no use any more.
    pub(super) fn done(mut self) {
        self.changes = Changes::default();
        self.counted = Counted::default();
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.changes.is_empty() {
            let changes = std::mem::take(&mut self.changes);
            lock(&self.parts.ledger).give_back(changes);
        }
        if let Some(kernel) = self
            .parts
            .kernel
            .as_ref()
            .filter(|_| !self.counted.is_empty())
        {
            let counted = std::mem::take(&mut self.counted);
            kernel.rates().give_back(counted);
        }
    }
}
