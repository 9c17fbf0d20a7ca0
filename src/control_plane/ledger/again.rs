//! Another try at what did not work: a dead letter that is submitted once more, and
//! a request that is changed to what policy would accept.
//!
//! Both make a new job of an old request. What was granted to the old one alone
//! stays with it: the labels of its approval and its message id.

use super::job::is_personal;
use super::{Ledger, LedgerError};
use crate::ids::{JobId, TraceId};
use crate::wire::packet::JobRequest;

/// A job that is to be submitted in place of another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Again {
    /// The request, with an id of its own. Its context still is the old one's.
    pub request: JobRequest,
    /// The trace it belongs to.
    pub trace: TraceId,
}

impl Ledger {
    /// The job that does a dead letter's job once more: `<old>-retry-<8 hex>` with
    /// labels and metadata of the old one, and labels `retry`, `dlq_entry` and
    /// `retry_of_job`.
    ///
    /// # Errors
    /// [`LedgerError::NoDeadLetter`].
    pub fn once_more(&mut self, id: &JobId) -> Result<Again, LedgerError> {
        let letter = self.letters.get(id).ok_or(LedgerError::NoDeadLetter)?;
        let mut request = without_grants(&letter.request);
        let random = self.fresh_uuid();
        request.job_id = JobId::from(format!("{id}-retry-{}", &random[..8]));
        for (name, value) in [
            ("retry", "true"),
            ("dlq_entry", id.as_str()),
            ("retry_of_job", id.as_str()),
        ] {
            request.labels.insert(name.to_owned(), value.to_owned());
        }
        Ok(Again {
            request,
            trace: TraceId::from(format!("dlq-retry-{id}")),
        })
    }

    /// Lets `new` take the place of the dead letter of `old`: the letter goes away,
    /// and a rollback that stopped at the old job waits for the new one.
    ///
    /// # Errors
    /// [`LedgerError::NoDeadLetter`] when somebody else was faster.
    pub fn replaced(&mut self, old: &JobId, new: &JobId) -> Result<(), LedgerError> {
        self.drop_dead_letter(old)
            .ok_or(LedgerError::NoDeadLetter)?;
        let undoes = self.job(old).and_then(|job| job.undoes.clone());
        if let Some(key) = undoes
            && let Ok(seq) = self.seq(new)
            && self.resume_undo(&key, old, new)
        {
            self.at_mut(seq).undoes = Some(key);
        }
        Ok(())
    }

    /// The job that does another one's work in a way that policy offered: with the
    /// topic, the capability and the labels of the remediation, and labels
    /// `remediation_of` and `remediation_id`. The old job stays as it is.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`]; [`LedgerError::NoRemediations`] when the last
    /// decision offered none; [`LedgerError::NoSuchRemediation`].
    pub fn remedied(&mut self, id: &JobId, remediation: &str) -> Result<Again, LedgerError> {
        let seq = self.seq(id)?;
        let job = self.at(seq);
        let offered = job
            .decisions
            .iter()
            .rev()
            .find(|record| !record.remediations.is_empty())
            .ok_or(LedgerError::NoRemediations)?;
        let wanted = offered
            .remediations
            .iter()
            .find(|it| it.id == remediation)
            .ok_or(LedgerError::NoSuchRemediation)?;
        let mut request = without_grants(&job.request);
        if !wanted.replacement_topic.is_empty() {
            request.topic.clone_from(&wanted.replacement_topic);
        }
        let meta = request.meta.get_or_insert_default();
        if !wanted.replacement_capability.is_empty() {
            meta.capability.clone_from(&wanted.replacement_capability);
        }
        // It is another job, so the key of the old one is not its own.
        meta.idempotency_key.clear();
        for name in &wanted.remove_labels {
            request.labels.remove(name);
            if let Some(meta) = &mut request.meta {
                meta.labels.remove(name);
            }
        }
        request.labels.extend(wanted.add_labels.clone());
        for (name, value) in [
            ("remediation_of", id.as_str()),
            ("remediation_id", remediation),
        ] {
            request.labels.insert(name.to_owned(), value.to_owned());
        }
        request.parent_job_id = id.clone();
        let trace = job.trace.clone();
        request.job_id = JobId::from(self.fresh_uuid());
        Ok(Again { request, trace })
    }
}

/// A copy of a request without what was granted to its job alone.
fn without_grants(request: &JobRequest) -> JobRequest {
    let mut copy = request.clone();
    copy.labels.retain(|name, _| !is_personal(name));
    copy.dispatch = None;
    copy
}
