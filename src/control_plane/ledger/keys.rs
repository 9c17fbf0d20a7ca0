//! Idempotency keys whose jobs are forgotten: a key names its job for longer than the
//! job is remembered.

use std::collections::{BTreeMap, HashMap};

use super::{DEFAULT_TENANT, Job, JobState, Ledger, LedgerError, Submitted};
use crate::ids::{JobId, TraceId};
use crate::time::{Elapsed, Timestamp};
use crate::wire::packet::JobRequest;

/// How long a key names its job, from the submission on: the time of CAP deployments.
pub const KEY_LIVES: Elapsed = Elapsed::from_secs(90 * 24 * 60 * 60);
/// Keys kept beyond those of the jobs that are remembered, the oldest go first. One takes
/// about 300 bytes, so all of them take 60 MB.
pub const MAX_PAST_KEYS: usize = 200_000;

/// A tenant and its key.
pub(super) type Key = (String, String);

/// The key of a request with its tenant; `None` without one.
pub(super) fn idempotency_key(request: &JobRequest) -> Option<Key> {
    let key = &request.meta.as_ref()?.idempotency_key;
    let tenant = request.tenant().unwrap_or(DEFAULT_TENANT);
    (!key.is_empty()).then(|| (tenant.to_owned(), key.clone()))
}

/// Whether a request asks for something else than the first one with its key: in another
/// topic, or in another body where both are known.
pub(super) fn asks_for_another(
    request: &JobRequest,
    body_digest: &str,
    first_topic: &str,
    first_digest: &str,
) -> bool {
    let digests = [first_digest, body_digest];
    let other_body = digests[0] != digests[1] && digests.iter().all(|it| !it.is_empty());
    first_topic != request.topic || other_body
}

/// What is left of a job that had a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PastKey {
    pub(super) job_id: JobId,
    pub(super) trace: TraceId,
    pub(super) topic: String,
    pub(super) body_digest: String,
    /// How the job ended; where it stood when that was not written down.
    pub(super) state: JobState,
    pub(super) submitted_at: Timestamp,
}

impl PastKey {
    pub(super) fn of(job: &Job) -> Self {
        Self {
            job_id: job.id.clone(),
            trace: job.trace.clone(),
            topic: job.request.topic.clone(),
            body_digest: job.body_digest.clone(),
            state: job.state,
            submitted_at: job.submitted_at,
        }
    }

    fn is_over(&self, now: Timestamp) -> bool {
        now.since(self.submitted_at) >= KEY_LIVES
    }
}

/// Keys without a job, bounded.
#[derive(Clone, Debug, Default)]
pub(super) struct PastKeys {
    of: HashMap<Key, (u64, PastKey)>,
    order: BTreeMap<u64, Key>,
    next: u64,
}

impl PastKeys {
    /// Keeps a key. Returns whether another one was dropped to make room.
    pub(super) fn keep(&mut self, key: Key, past: PastKey) -> bool {
        self.remove(&key);
        let number = self.next;
        self.next += 1;
        self.order.insert(number, key.clone());
        self.of.insert(key, (number, past));
        let full = self.of.len() > MAX_PAST_KEYS;
        if full && let Some((_, oldest)) = self.order.pop_first() {
            self.of.remove(&oldest);
        }
        full
    }

    pub(super) fn remove(&mut self, key: &Key) {
        if let Some((number, _)) = self.of.remove(key) {
            self.order.remove(&number);
        }
    }

    fn get(&self, key: &Key, now: Timestamp) -> Option<&PastKey> {
        let (_, past) = self.of.get(key)?;
        (!past.is_over(now)).then_some(past)
    }

    /// How the job of that id ended, if its key is kept.
    pub(super) fn ended(&self, key: &Key, job: &JobId) -> Option<JobState> {
        let (_, past) = self.of.get(key)?;
        (past.job_id == *job).then_some(past.state)
    }
}

impl Ledger {
    /// The job that a submission repeats although nothing but its key is left of it;
    /// `None` when there is no such job.
    ///
    /// # Errors
    /// [`LedgerError::IdempotencyConflict`] when the key belongs to a job of another
    /// topic, or one that was asked for in another body.
    pub fn repeats_forgotten(
        &self,
        request: &JobRequest,
        body_digest: &str,
        now: Timestamp,
    ) -> Result<Option<Submitted>, LedgerError> {
        let key = idempotency_key(request);
        let Some(past) = key.and_then(|key| self.past_keys.get(&key, now)) else {
            return Ok(None);
        };
        if asks_for_another(request, body_digest, &past.topic, &past.body_digest) {
            return Err(LedgerError::IdempotencyConflict {
                existing: past.job_id.clone(),
            });
        }
        Ok(Some(Submitted {
            job_id: past.job_id.clone(),
            trace: past.trace.clone(),
            repeated: true,
        }))
    }

    /// How the job that had the key of `request` ended, also when it is forgotten.
    pub(super) fn state_by_key(&self, request: &JobRequest, id: &JobId) -> Option<JobState> {
        let known = self.job(id).map(|job| job.state);
        known.or_else(|| self.past_keys.ended(&idempotency_key(request)?, id))
    }
}
