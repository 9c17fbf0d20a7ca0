//! The document of an idempotency key, which outlives that of its job.

use serde::{Deserialize, Serialize};

use super::document::{self, VERSION};
use super::{BadDocument, ChangedJob};
use crate::control_plane::ledger::JobState;
use crate::control_plane::ledger::keys::{Key, PastKey, idempotency_key};
use crate::ids::{JobId, TraceId};
use crate::time::Timestamp;

#[derive(Serialize, Deserialize)]
struct KeyDocument {
    version: u32,
    tenant: String,
    key: String,
    job_id: String,
    trace_id: String,
    topic: String,
    body_digest: String,
    state: String,
    submitted_at: i64,
}

impl ChangedJob {
    /// The name of the job's idempotency key, which no other one has, and its document;
    /// `None` when the job has none, or nothing about it is news.
    pub fn key_document(&self) -> Option<(String, String)> {
        let news = self.was.is_uncertain() || self.job.state.is_ended();
        let (tenant, key) = idempotency_key(&self.job.request).filter(|_| self.has_key && news)?;
        let name = document::write(&[&tenant, &key]);
        let past = PastKey::of(&self.job);
        let document = document::write(&KeyDocument {
            version: VERSION,
            tenant,
            key,
            job_id: past.job_id.to_string(),
            trace_id: past.trace.to_string(),
            topic: past.topic,
            body_digest: past.body_digest,
            state: past.state.name().to_owned(),
            submitted_at: past.submitted_at.as_millis(),
        });
        Some((name, document))
    }
}

/// Reads the document of a key.
pub(super) fn read(bytes: &[u8]) -> Result<(Key, PastKey), BadDocument> {
    let it: KeyDocument = document::read(bytes)?;
    let state = JobState::from_name(&it.state).ok_or_else(|| BadDocument::Part {
        part: "state",
        why: format!("`{}` is none", it.state),
    })?;
    let past = PastKey {
        job_id: JobId::from(it.job_id),
        trace: TraceId::from(it.trace_id),
        topic: it.topic,
        body_digest: it.body_digest,
        state,
        submitted_at: Timestamp::from_millis(it.submitted_at),
    };
    Ok(((it.tenant, it.key), past))
}
