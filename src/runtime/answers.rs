//! A gateway's answers as events, for whoever holds the JSON already.
//!
//! [`super::backfill`] asks a gateway and sends the same events from the same
//! functions; here nothing is asked and nothing waits. Start at [`round`].

use std::sync::Arc;

use serde_json::Value;

use super::{facts, policy};
use crate::gateway_client::types::{
    ApprovalItem, DeadLetterRecord, JobDetail, JobRecord, List, LoggedDecision, PoolRecord, Rules,
    Snapshots, Status, WorkerRecord,
};
use crate::ids::JobId;
use crate::state::event::{Event, Source};
use crate::state::limits::LETTERS;
use crate::time::Timestamp;
use crate::wire::pointer::Pointer;

/// What a gateway answers to all the questions of one round.
pub(crate) struct Answers {
    /// `GET /jobs`.
    pub(crate) jobs: Value,
    /// `GET /policy/snapshots`.
    pub(crate) snapshots: Value,
    /// `GET /approvals` with those that ended.
    pub(crate) approvals: Value,
    /// `GET /workers`.
    pub(crate) workers: Value,
    /// `GET /pools`.
    pub(crate) pools: Value,
    /// `GET /dlq`.
    pub(crate) dead_letters: Value,
}

/// The events of one round, in the order in which a poll sends them. `detail` is
/// the answer to `GET /jobs/{id}` for a job that waits; `None` stands for a 404.
///
/// # Errors
/// In words, when an answer is not one of a gateway.
pub(crate) fn round(
    answers: Answers,
    detail: impl Fn(&JobId) -> Option<Value>,
) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    let jobs = List::<JobRecord>::from_value(answers.jobs)?;
    let jobs = jobs.items.iter().map(facts::job_fact).collect();
    events.push(Event::Jobs(jobs));
    let snapshots = Snapshots::from_value(answers.snapshots)?.snapshots;
    if let Some(snapshot) = snapshots.first() {
        events.push(Event::Policy(Arc::from(snapshot.as_str())));
    }
    let approvals = List::<ApprovalItem>::from_value(answers.approvals)?;
    let mut told = Vec::new();
    for item in &approvals.items {
        let read = item.is_open().then(|| detail(&item.job.id)).flatten();
        let read = read.map(JobDetail::from_value).transpose()?;
        let own_hash = read.as_ref().and_then(facts::own_hash);
        told.push(facts::approval_fact(item, read.as_ref(), own_hash));
    }
    events.push(Event::Approvals(told));
    let workers = List::<WorkerRecord>::from_value(answers.workers)?;
    let workers = workers.items.iter().map(facts::worker_fact).collect();
    events.push(Event::Workers(workers));
    let pools = List::<PoolRecord>::from_value(answers.pools)?;
    let pools = pools.items.iter().map(facts::pool_fact).collect();
    events.push(Event::Pools(pools));
    let letters = List::<DeadLetterRecord>::from_value(answers.dead_letters)?;
    events.push(Event::DeadLetters(facts::letters_fact(&letters, LETTERS)));
    events.push(Event::Answered(Source::Gateway));
    Ok(events)
}

/// What a gateway tells of policy.
pub(crate) struct PolicyAnswers {
    /// `GET /status`.
    pub(crate) status: Value,
    /// `GET /policy/rules`.
    pub(crate) rules: Value,
    /// `GET /policy/snapshots`.
    pub(crate) snapshots: Value,
    /// `GET /governance/decisions`, all of them on one page.
    pub(crate) decisions: Value,
}

/// The answers to what the view of policy asks.
///
/// # Errors
/// In words, when one of them is not one of a gateway.
pub(crate) fn policy(answers: PolicyAnswers, now: Timestamp) -> Result<Event, String> {
    let status = Status::from_value(answers.status)?;
    let rules = Rules::from_value(answers.rules)?;
    let snapshots = Snapshots::from_value(answers.snapshots)?.snapshots;
    let decisions = List::<LoggedDecision>::from_value(answers.decisions)?;
    let log = policy::log_of(&decisions);
    let fact = policy::fact_of(&status, Some(&rules), &snapshots, Some(log), now);
    Ok(Event::PolicyTold(Box::new(fact)))
}

/// The answer to `GET /jobs/{id}`.
///
/// # Errors
/// In words, when the answer is not one of a gateway.
pub(crate) fn job(detail: Value) -> Result<Event, String> {
    let detail = JobDetail::from_value(detail)?;
    Ok(Event::Jobs(vec![facts::detail_fact(&detail)]))
}

/// What is behind a pointer of `job`; `stored` finds the bytes of a key.
pub(crate) fn payload<'a>(
    job: &JobId,
    pointer: &str,
    at: Timestamp,
    stored: impl Fn(&str) -> Option<&'a [u8]>,
) -> Event {
    let keys = match Pointer::parse(pointer) {
        Ok(Pointer::Stored { keys, .. }) => keys,
        // A gateway finds nothing behind these either.
        Ok(Pointer::Opaque { .. }) | Err(_) => Vec::new(),
    };
    let bytes = keys.iter().find_map(|key| stored(key));
    let size = bytes.map_or(0, |bytes| bytes.len() as u64);
    Event::Payload(Box::new(facts::payload(job, pointer, at, size, bytes)))
}
