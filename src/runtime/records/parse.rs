//! The records of a control plane in the model's words: bytes and fields in, facts out.
//!
//! Both generations write the same keys with different units and spellings; what
//! cannot be read is left out and named, never guessed. Start at [`job`].

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use crate::ids::{JobId, PoolName, TraceId, WorkerId};
use crate::runtime::facts;
use crate::state::event::{PoolFact, WorkerFact};
use crate::state::model::approvals::{ApprovalFact, ApprovalStatus};
use crate::state::model::jobs::{
    Decision, Happened, JobFact, JobState, Moment, Request, Verdict, WaitingOn, bounded, labels,
};
use crate::state::shared::{Interner, Text, text};
use crate::time::Timestamp;
use crate::wire::job_hash::job_hash;
use crate::wire::packet::{ActorType, JobRequest, JobStatus};

/// Longer JSON in a field, in bytes, is not read: planes cut labels at 4 KiB and
/// lists at 50 entries, so nothing of theirs comes near.
const LONGEST_FIELD: usize = 256 * 1024;

/// What a record holds that could not be read, a sentence each.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Troubles(pub(crate) Vec<String>);

impl Troubles {
    pub(super) fn add(&mut self, key: &str, says: impl std::fmt::Display) {
        self.0.push(format!("{key}: {says}"));
    }

    pub(super) fn join(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Writes them to the console's log.
    pub(crate) fn log(&self) {
        for says in &self.0 {
            tracing::warn!("not read from the store: {says}");
        }
    }
}

/// The fields of a `job:meta:<id>` hash.
pub(super) struct Meta<'a> {
    key: String,
    id: &'a JobId,
    fields: &'a BTreeMap<String, String>,
}

impl<'a> Meta<'a> {
    /// The record of `id`; `None` when there are no fields, which is what is left
    /// of one whose time is over.
    pub(super) fn of(id: &'a JobId, fields: &'a BTreeMap<String, String>) -> Option<Self> {
        (!fields.is_empty()).then(|| Self {
            key: super::meta_key(id),
            id,
            fields,
        })
    }

    fn raw(&self, name: &str) -> &'a str {
        self.fields.get(name).map_or("", String::as_str)
    }

    fn text(&self, name: &str) -> Text {
        text(bounded(self.raw(name)))
    }

    fn instant(&self, name: &str, troubles: &mut Troubles) -> Option<Timestamp> {
        self.number(name, troubles)
            .and_then(Timestamp::from_any_unit)
    }

    fn number(&self, name: &str, troubles: &mut Troubles) -> Option<i64> {
        let raw = self.raw(name);
        if raw.is_empty() {
            return None;
        }
        let number = raw.parse().ok();
        if number.is_none() {
            troubles.add(&self.key, format_args!("{name} is no number"));
        }
        number
    }

    fn json<T: for<'de> Deserialize<'de>>(&self, name: &str, troubles: &mut Troubles) -> Option<T> {
        let raw = self.raw(name);
        if raw.is_empty() {
            return None;
        }
        if raw.len() > LONGEST_FIELD {
            let says = format_args!("{name} is {} bytes long and was not read", raw.len());
            troubles.add(&self.key, says);
            return None;
        }
        // Go writes an absent list as null.
        match serde_json::from_str::<Option<T>>(raw) {
            Ok(value) => value,
            Err(error) => {
                troubles.add(&self.key, format_args!("{name}: {error}"));
                None
            }
        }
    }

    fn names(&self, name: &str, troubles: &mut Troubles) -> Arc<[Arc<str>]> {
        let names: Vec<String> = self.json(name, troubles).unwrap_or_default();
        names
            .iter()
            .filter_map(|it| text(bounded(it)))
            .take(crate::state::limits::LABELS)
            .collect()
    }

    fn state(&self, troubles: &mut Troubles) -> Option<JobState> {
        let name = self.raw("state");
        let state = JobState::from_name(name);
        if state.is_none() {
            let says = format_args!("no state is called `{}`", bounded(name));
            troubles.add(&self.key, says);
        }
        state
    }

    fn labels(&self, troubles: &mut Troubles) -> BTreeMap<String, String> {
        self.json("labels", troubles).unwrap_or_default()
    }

    /// Whether the job undoes another, as its labels say.
    pub(super) fn is_compensation(&self) -> bool {
        // What is wrong with them is told where the request is read.
        let labels = self.labels(&mut Troubles::default());
        let says = |name: &str| labels.get(name).is_some_and(|it| it == "true");
        says("saga_compensation") || says("is_compensation")
    }

    /// Whether the job waits for a person, whatever an index says.
    pub(super) fn waits(&self) -> bool {
        self.raw("state") == JobState::ApprovalRequired.name()
    }
}

/// A job as its hash tells it, with its stored request where that was read.
/// `indexed_at` is the score of the index that led here.
pub(super) fn job(
    meta: &Meta<'_>,
    indexed_at: Option<i64>,
    stored: Option<&JobRequest>,
    troubles: &mut Troubles,
) -> JobFact {
    let decision = Decision::read(meta.raw("safety_decision"));
    let constraints: Option<Value> = meta.json("safety_constraints", troubles);
    let verdict = Verdict {
        decision,
        rule_id: meta.text("safety_rule_id"),
        reason: meta.text("safety_reason"),
        snapshot: meta.text("safety_snapshot"),
        constraints: constraints
            .as_ref()
            .map_or_else(Arc::default, facts::limits),
    };
    let trace = bounded(meta.raw("trace_id"));
    let attempts = meta.number("attempts", troubles);
    let failure = meta.raw("failure_reason");
    JobFact {
        id: meta.id.clone(),
        state: meta.state(troubles),
        updated_at: meta
            .instant("updated_at", troubles)
            .or_else(|| indexed_at.and_then(Timestamp::from_any_unit)),
        attempts: attempts
            .and_then(|it| u32::try_from(it).ok())
            .filter(|it| *it > 0),
        request: Some(request(meta, stored, troubles)),
        trace: (!trace.is_empty()).then(|| TraceId::from(trace)),
        decided_at: meta.instant("safety_checked_at", troubles),
        verdict: (verdict != Verdict::default()).then_some(verdict),
        waiting_on: WaitingOn::from_name(failure),
        worker: facts::worker(bounded(meta.raw("worker_id"))),
        result_ptr: meta.text("result_ptr"),
        error_message: meta.text("failure_reason"),
        ..JobFact::default()
    }
}

/// What was asked for: the stored request, which is what would run, else what the
/// hash repeats of it.
fn request(meta: &Meta<'_>, stored: Option<&JobRequest>, troubles: &mut Troubles) -> Request {
    let deadline_at = meta.instant("deadline_unix", troubles);
    if let Some(stored) = stored {
        return Request {
            deadline_at,
            ..Request::read(stored)
        };
    }
    let actor_type = meta.raw("actor_type").to_ascii_uppercase();
    let actor_type = ActorType::from_name(actor_type.trim_start_matches("ACTOR_TYPE_"));
    let named = meta.labels(troubles);
    Request {
        topic: meta.text("topic"),
        tenant: meta.text("tenant"),
        principal: meta.text("principal"),
        actor: meta.text("actor_id"),
        actor_type: actor_type.unwrap_or_default(),
        memory_id: meta.text("memory_id"),
        capability: meta.text("capability"),
        pack_id: meta.text("pack_id"),
        idempotency_key: meta.text("idempotency_key"),
        risk_tags: meta.names("risk_tags", troubles),
        requires: meta.names("requires", troubles),
        labels: labels(named.iter(), &mut Interner::default()),
        deadline_at,
        ..Request::default()
    }
}

/// The approval of a job that waits, or once waited, for a person; `None` if
/// nothing says that one ever did.
pub(super) fn approval(
    meta: &Meta<'_>,
    job: &JobFact,
    stored: Option<&JobRequest>,
    troubles: &mut Troubles,
) -> Option<ApprovalFact> {
    let status = approval_status(meta, job.state, troubles)?;
    let actionability = meta.raw("approval_actionability");
    let waits = status == ApprovalStatus::Pending;
    let mut job = job.clone();
    let stands = job.verdict.clone();
    let granted = status == ApprovalStatus::Approved;
    if let Some(verdict) = job.verdict.as_mut().filter(|_| granted) {
        // A yes is written over what policy had said. Its rule stays, its reason does not.
        verdict.reason = verdict
            .reason
            .take()
            .filter(|_| verdict.decision == Some(Decision::RequireApproval));
        verdict.decision = Some(Decision::RequireApproval);
    }
    let updated_at = job.updated_at;
    Some(ApprovalFact {
        job,
        stands,
        status,
        job_hash: meta
            .text("safety_job_hash")
            .or_else(|| meta.text("approval_job_hash")),
        own_hash: stored.map(|stored| Arc::from(job_hash(stored).as_str())),
        approval_ref: meta.text("safety_approval_ref"),
        submitted_by: meta.text("submitted_by"),
        resolved_by: meta.text("approval_by"),
        resolved_comment: meta
            .text("approval_note")
            .or_else(|| meta.text("approval_reason")),
        resolved_at: if waits {
            None
        } else {
            meta.instant("approval_at", troubles).or(updated_at)
        },
        not_actionable: match actionability {
            "" | "actionable" => None,
            other => text(bounded(other)),
        },
    })
}

fn approval_status(
    meta: &Meta<'_>,
    state: Option<JobState>,
    troubles: &mut Troubles,
) -> Option<ApprovalStatus> {
    let told = meta.raw("approval_status");
    if !told.is_empty() {
        match ApprovalStatus::read(&told.to_ascii_lowercase()) {
            // A record that was not brought up to date does not make a job wait.
            Some(ApprovalStatus::Pending) => {}
            Some(status) => return Some(status),
            None => {
                let says = format_args!("no approval is called `{}`", bounded(told));
                troubles.add(&meta.key, says);
            }
        }
    }
    if state == Some(JobState::ApprovalRequired) {
        return Some(ApprovalStatus::Pending);
    }
    // The older generation only says who decided, and the state what.
    let decided = !meta.raw("approval_by").is_empty() || !meta.raw("approval_at").is_empty();
    decided.then_some(match state {
        Some(JobState::Denied) => ApprovalStatus::Rejected,
        _ => ApprovalStatus::Approved,
    })
}

/// The timeline: `job:events:<id>` and `job:decisions:<id>`, each oldest first.
pub(super) fn moments(
    id: &JobId,
    events: &[Bytes],
    decisions: &[Bytes],
    troubles: &mut Troubles,
) -> Vec<Moment> {
    let mut moments = Vec::new();
    for event in events {
        match state_change(event) {
            Some((at, state)) => moments.push(Moment {
                at,
                what: Happened::Became(state),
            }),
            None => troubles.add(&super::events_key(id), "an event cannot be read"),
        }
    }
    for bytes in decisions {
        let record = serde_json::from_slice::<DecisionRecord>(bytes).ok();
        let read = record.and_then(|it| Some((it.checked_at?, Decision::read(&it.decision)?)));
        match read.and_then(|(at, decision)| Some((Timestamp::from_any_unit(at)?, decision))) {
            Some((at, decision)) => moments.push(Moment {
                at,
                what: Happened::Decided(decision),
            }),
            None => troubles.add(&super::decisions_key(id), "a decision cannot be read"),
        }
    }
    // A stable order: what has one stamp stays as it was written.
    moments.sort_by_key(|moment| moment.at);
    moments
}

/// `<µs>|<STATE>` of the older generation, `{"ts":<µs>,"state":…}` of the newer one.
fn state_change(event: &[u8]) -> Option<(Timestamp, JobState)> {
    #[derive(Deserialize)]
    struct Event {
        ts: i64,
        state: String,
    }
    let event = std::str::from_utf8(event).ok()?;
    let (at, state) = match event.split_once('|') {
        Some((at, state)) if !event.starts_with('{') => (at.parse().ok()?, state.to_owned()),
        _ => {
            let event: Event = serde_json::from_str(event).ok()?;
            (event.ts, event.state)
        }
    };
    Some((Timestamp::from_any_unit(at)?, JobState::from_name(&state)?))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DecisionRecord {
    decision: String,
    constraints: Option<Value>,
    checked_at: Option<i64>,
}

/// The limits of the last decision on record, where the hash has none.
pub(super) fn last_limits(decisions: &[Bytes]) -> Arc<[Arc<str>]> {
    let last = decisions
        .last()
        .and_then(|bytes| serde_json::from_slice::<DecisionRecord>(bytes).ok());
    let constraints = last.and_then(|record| record.constraints);
    constraints
        .as_ref()
        .map_or_else(Arc::default, facts::limits)
}

/// What a dead letter, `dlq:entry:<id>`, tells of the end of its job.
pub(super) fn dead_letter(id: &JobId, bytes: &[u8], fact: &mut JobFact, troubles: &mut Troubles) {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Entry {
        status: String,
        reason: String,
        reason_code: String,
    }
    match serde_json::from_slice::<Entry>(bytes) {
        Ok(entry) => {
            fact.error_code = text(bounded(&entry.reason_code));
            fact.error_message = text(bounded(&entry.reason)).or(fact.error_message.take());
            let status = entry.status.trim_start_matches("JOB_STATUS_");
            fact.result_status =
                JobStatus::from_name(status).filter(|it| *it != JobStatus::Unspecified);
        }
        Err(error) => troubles.add(&super::dead_letter_key(id), error),
    }
}

/// The workers and pools of `sys:workers:snapshot`.
pub(super) fn fleet(bytes: &[u8], troubles: &mut Troubles) -> (Vec<WorkerFact>, Vec<PoolFact>) {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Snapshot {
        captured_at: String,
        pools: Option<BTreeMap<String, Value>>,
        topics: Option<BTreeMap<String, Value>>,
        workers: Option<Vec<Value>>,
    }
    let snapshot: Snapshot = match serde_json::from_slice(bytes) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            troubles.add(super::WORKERS, error);
            return (Vec::new(), Vec::new());
        }
    };
    let heard_at = Timestamp::parse_rfc3339(&snapshot.captured_at);
    let mut workers = Vec::new();
    for worker in snapshot.workers.unwrap_or_default() {
        match serde_json::from_value::<WorkerEntry>(worker) {
            Ok(entry) if !entry.worker_id.is_empty() => workers.push(entry.fact(heard_at)),
            Ok(_) => troubles.add(super::WORKERS, "a worker has no id"),
            Err(error) => troubles.add(super::WORKERS, error),
        }
    }
    let topics = snapshot.topics.unwrap_or_default();
    let pools = snapshot.pools.unwrap_or_default();
    let pools = pools.keys().map(|name| PoolFact {
        name: PoolName::from(bounded(name)),
        topics: topics
            .iter()
            .filter(|(_, topic)| topic.get("pool").and_then(Value::as_str) == Some(name))
            .map(|(topic, _)| Arc::from(bounded(topic)))
            .collect(),
        draining: false,
    });
    (workers, pools.collect())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WorkerEntry {
    worker_id: String,
    pool: String,
    region: String,
    active_jobs: i32,
    max_parallel_jobs: i32,
    cpu_load: f32,
    memory_load: f32,
    gpu_utilization: f32,
}

impl WorkerEntry {
    fn fact(&self, heard_at: Option<Timestamp>) -> WorkerFact {
        WorkerFact {
            worker_id: WorkerId::from(bounded(&self.worker_id)),
            pool: PoolName::from(bounded(&self.pool)),
            region: Arc::from(bounded(&self.region)),
            active_jobs: self.active_jobs,
            max_parallel_jobs: self.max_parallel_jobs,
            cpu_load: self.cpu_load,
            memory_load: self.memory_load,
            gpu_utilization: self.gpu_utilization,
            heard_at,
        }
    }
}
