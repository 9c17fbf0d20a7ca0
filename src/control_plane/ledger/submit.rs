//! Requests as they come in: a job that is new, or the one that a request repeats.

use std::collections::VecDeque;
use std::sync::Arc;

use super::job::Phase;
use super::keys::{asks_for_another, idempotency_key};
use super::saved::Kept;
use super::{DEFAULT_TENANT, Job, JobState, Ledger, LedgerError, Step};
use crate::control_plane::reserved;
use crate::ids::{JobId, TraceId};
use crate::time::{Elapsed, Timestamp};
use crate::wire::job_hash::job_hash;
use crate::wire::packet::{JobPriority, JobRequest};
use crate::wire::pointer;

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Via {
    /// By HTTP; the gateway publishes it on the bus afterwards.
    Gateway,
    /// By the bus, or it is the announcement of a known job.
    #[default]
    Bus,
    /// By HTTP, in place of a dead letter; it takes over its idempotency key.
    Retry,
    /// To undo another job; the scheduler publishes it afterwards.
    Rollback,
}

/// A request to run a job.
#[derive(Clone, Debug, Default)]
pub struct Submission {
    /// What to do. An empty `context_ptr` is filled with `redis://ctx:<job id>`, and
    /// the scheduler stores a context there.
    pub request: JobRequest,
    /// The trace of its envelope; empty means the job is its own.
    pub trace: TraceId,
    /// Who submits; empty for the bus.
    pub submitted_by: String,
    /// The key that whoever submits proved themselves with, by its public id; empty
    /// without one.
    pub submitter_key: String,
    /// The digest of what was asked for, which a second submission with the same job id
    /// or idempotency key has to share; empty where it is not known.
    pub body_digest: String,
    /// How it came.
    pub via: Via,
}

/// What became of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The job: the submitted one, or the first one with its idempotency key.
    pub job_id: JobId,
    /// Its trace.
    pub trace: TraceId,
    /// Whether the job was known before, so that nothing new happens.
    pub repeated: bool,
}

impl Ledger {
    /// Takes a request. Submitting a job again, or another one with the
    /// idempotency key of its tenant, changes nothing and names the first.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] without job id or topic;
    /// [`LedgerError::IdempotencyConflict`] when the key belongs to a job of another
    /// topic, or key or id to one that was asked for in another body;
    /// [`LedgerError::Full`].
    pub fn submit(
        &mut self,
        mut submission: Submission,
        now: Timestamp,
    ) -> Result<Submitted, LedgerError> {
        let request = &submission.request;
        if request.job_id.is_empty() {
            return Err(LedgerError::Invalid("job_id"));
        }
        if request.topic.is_empty() {
            return Err(LedgerError::Invalid("topic"));
        }
        // Policy judges it as this tenant's, so it counts and is listed as such. The tenant
        // that all take for nobody's need not be written down.
        if request.tenant().is_none() && self.default_tenant != DEFAULT_TENANT {
            submission
                .request
                .tenant_id
                .clone_from(&self.default_tenant);
        }
        if let Some(first) = self.known(&submission, now)? {
            return Ok(first);
        }
        let via = submission.via;
        // What undoes a job is never refused: it is the way out of the crowd.
        if via != Via::Rollback && self.jobs.len() >= self.limit && !self.forget_oldest() {
            self.counters.refused_submits += 1;
            return Err(LedgerError::Full { limit: self.limit });
        }

        let request = &mut submission.request;
        let id = request.job_id.clone();
        if request.context_ptr.is_empty() {
            request.context_ptr = format!("redis://ctx:{id}");
            self.outbox.push(Step::StoreContext {
                job: id.clone(),
                json: context_of(request, now),
            });
        }
        if submission.trace.is_empty() {
            submission.trace = TraceId::from(id.as_str());
        }
        let trace = submission.trace.clone();
        let seq = self.next_seq;
        self.next_seq += 1;
        self.notes.job(seq);
        self.keep_job(seq, submitted(submission, now));
        match via {
            Via::Bus => self.wake(seq, now),
            Via::Gateway | Via::Retry | Via::Rollback => self.hold(seq, now),
        }
        Ok(Submitted {
            job_id: id,
            trace,
            repeated: false,
        })
    }

    /// The job that a submission repeats, by its id or its idempotency key.
    fn known(
        &mut self,
        submission: &Submission,
        now: Timestamp,
    ) -> Result<Option<Submitted>, LedgerError> {
        let Submission {
            request,
            body_digest,
            via,
            ..
        } = submission;
        // A retry takes the key over.
        let by_id = self.ids.contains_key(&request.job_id);
        if *via == Via::Retry && !by_id {
            return Ok(None);
        }
        if let Some(seq) = self.seq_of_first(request) {
            self.at(seq).must_be_asked_for(request, body_digest)?;
            return Ok(Some(self.repeated(seq, *via, now)));
        }
        let first = self.repeats_forgotten(request, body_digest, now)?;
        self.counters.repeated_submits += u64::from(first.is_some());
        Ok(first)
    }

    /// The job that submitting `request` would repeat: the one of its id, else the
    /// first one with its idempotency key.
    pub fn repeats(&self, request: &JobRequest) -> Option<&Job> {
        self.jobs.get(&self.seq_of_first(request)?)
    }

    fn seq_of_first(&self, request: &JobRequest) -> Option<u64> {
        let of_key = || self.keys.get(&idempotency_key(request)?);
        self.ids.get(&request.job_id).or_else(of_key).copied()
    }

    fn repeated(&mut self, seq: u64, via: Via, now: Timestamp) -> Submitted {
        let job = self.at(seq);
        let submitted = Submitted {
            job_id: job.id.clone(),
            trace: job.trace.clone(),
            repeated: true,
        };
        if via == Via::Bus && job.held {
            self.wake(seq, now);
        } else {
            self.counters.repeated_submits += 1;
        }
        submitted
    }
}

impl Job {
    /// Refuses a request that has the job's id or idempotency key and asks for something
    /// else. Of a request with its id only a body that is known says so: on the bus a
    /// job is told of more than once, and not always whole. Where the job's own body is
    /// not known, because it came by the bus or is a retry, the requests are compared;
    /// their contexts cannot be.
    ///
    /// # Errors
    /// [`LedgerError::IdempotencyConflict`].
    pub fn must_be_asked_for(
        &self,
        request: &JobRequest,
        body_digest: &str,
    ) -> Result<(), LedgerError> {
        let (topic, digest) = (&self.request.topic, &self.body_digest);
        let own_id = self.id == request.job_id;
        if own_id && body_digest.is_empty() {
            return Ok(());
        }
        let another = if own_id && digest.is_empty() {
            !ask_the_same(&self.request, request)
        } else {
            asks_for_another(request, body_digest, topic, digest)
        };
        if another {
            return Err(LedgerError::IdempotencyConflict {
                existing: self.id.clone(),
            });
        }
        Ok(())
    }
}

/// Whether two requests with one id ask for the same, as far as whoever asked said it:
/// without what planes write, and without the tenant and the principal where one of the
/// two leaves them open, for a gateway puts in those of the caller's key. A priority
/// that is left open is that of the HTTP body.
fn ask_the_same(first: &JobRequest, second: &JobRequest) -> bool {
    let mut asked = [first.clone(), second.clone()];
    let named = |field: fn(&JobRequest) -> &String| {
        let [first, second] = [first, second].map(field);
        !first.is_empty() && !second.is_empty()
    };
    let of_tenant = named(|request| &request.tenant_id);
    let of_principal = named(|request| &request.principal_id);
    for request in &mut asked {
        reserved::strip(request);
        if request.context_ptr == pointer::context_of(&request.job_id) {
            request.context_ptr.clear();
        }
        if request.priority == JobPriority::Unspecified {
            request.priority = JobPriority::Interactive;
        }
        if !of_tenant {
            request.tenant_id.clear();
        }
        if !of_principal {
            request.principal_id.clear();
        }
    }
    job_hash(&asked[0]) == job_hash(&asked[1])
}

/// A job as it is when it was just submitted.
fn submitted(submission: Submission, now: Timestamp) -> Job {
    let budget = submission.request.budget.as_ref();
    let deadline_at = budget
        .and_then(|budget| u64::try_from(budget.deadline_ms).ok())
        .filter(|ms| *ms > 0)
        .map(|ms| now.plus(Elapsed::from_millis(ms)));
    let mut job = Job {
        id: submission.request.job_id.clone(),
        trace: submission.trace,
        request: Arc::new(submission.request),
        dispatched_request: None,
        state: JobState::Pending,
        waiting_on: None,
        submitted_at: now,
        submitted_by: submission.submitted_by,
        submitter_key: submission.submitter_key,
        body_digest: submission.body_digest,
        updated_at: now,
        dispatched_at: None,
        deadline_at,
        attempts: 0,
        placement_tries: 0,
        decisions: VecDeque::new(),
        decisions_left_out: 0,
        approval: None,
        worker: None,
        progress: None,
        result: None,
        result_ptr: String::new(),
        error_code: String::new(),
        error_message: String::new(),
        cancel: None,
        events: VecDeque::new(),
        alarm: None,
        phase: Phase::Unchecked,
        held: false,
        line: None,
        slot: None,
        failures: 0,
        refused_since: None,
        cancel_relayed: false,
        going_on_told: false,
        past_workers: Vec::new(),
        undoes: None,
        kept: Kept::Never,
    };
    job.note(now, "submitted");
    job
}

fn context_of(request: &JobRequest, now: Timestamp) -> String {
    serde_json::json!({
        "topic": request.topic,
        "tenant_id": request.tenant().unwrap_or(DEFAULT_TENANT),
        "created_at": now.to_string(),
    })
    .to_string()
}
