//! What stands in the store: the documents that a plane goes on from, and the keys of a
//! CAP deployment beside them, so that consoles without a gateway see the same jobs.
//!
//! Everything is written whole, never added to, so that writing it twice does no harm.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::control_plane::ledger::keys::{KEY_LIVES, MAX_PAST_KEYS};
#[cfg(doc)]
use crate::control_plane::ledger::saved::MAX_TURNED_AWAY;
use crate::control_plane::ledger::saved::{ChangedJob, Changes, Kept};
use crate::control_plane::ledger::{Breaker, BreakerState, DeadLetter, Job, JobState, Ledger};
use crate::ids::JobId;
use crate::store::Write;
use crate::time::{Elapsed, Timestamp};
use crate::wire::json::{Unset, job_request_to_json};
use crate::wire::packet::{ActorType, WireEnum as _};

/// The document of a job is at this and its id.
pub const JOB: &str = "capdeck:job:";
/// The jobs that have a document, the one that changed last first.
pub const JOBS: &str = "capdeck:jobs";
/// The document of a rollback is at this and its name.
pub const ROLLBACK: &str = "capdeck:rollback:";
/// The rollbacks that have a document.
pub const ROLLBACKS: &str = "capdeck:rollbacks";

/// The breaker before the kernel.
pub(super) const BREAKER: &str = "capdeck:breaker";
/// Failures of the kernel in a row for as long as they count, for others: at three of them
/// the kernel is not asked, and the time that the key lives is how long.
const FAILURES: &str = "cordum:cb:safety:failures";

/// The document of an idempotency key is at this and its tenant and name, as JSON.
pub const KEY: &str = "capdeck:key:";
/// The idempotency keys that have a document, the one that was submitted last first.
pub const KEYS: &str = "capdeck:keys";

/// The submissions that policy turned away are at this and their place, from 0 to
/// [`MAX_TURNED_AWAY`] - 1.
pub const TURNED_AWAY: &str = "capdeck:turned-away:";

/// The policies that were in force, the newest first, as the leader knows them.
pub(super) const SNAPSHOTS: &str = "cordum:safety:snapshots";

/// How long a job that has ended is on record, the time of CAP deployments.
const RECORD_TTL: Elapsed = Elapsed::from_secs(7 * 24 * 60 * 60);
/// How long a decision is on record that made no job, the time of the log of decisions of
/// CAP deployments.
const TURNED_AWAY_TTL: Elapsed = Elapsed::from_secs(30 * 24 * 60 * 60);
/// How long a dead letter is on record, the time of CAP deployments.
const LETTER_TTL: Elapsed = Elapsed::from_secs(30 * 24 * 60 * 60);
/// When jobs under way end whatever they do, in microseconds since 1970.
const DEADLINES: &str = "job:deadline";
/// Jobs in the index of recent ones, the number of CAP deployments.
const RECENT: usize = 1_000;
/// Dead letters in their index, the number of CAP deployments.
const LETTERS: usize = 10_000;
/// How long the list of workers is there after whoever wrote it.
const WORKERS_TTL: Elapsed = Elapsed::from_secs(24 * 60 * 60);

/// All that has to be written for changes, in an order in which a reader that sees a
/// part is led nowhere.
pub(super) fn writes(changes: &Changes, now: Timestamp) -> Vec<Write> {
    let mut writes = Vec::new();
    if let Some(known) = &changes.breaker {
        breaker(&mut writes, known, now);
    }
    for (id, was) in &changes.forgotten {
        forgotten(&mut writes, id, *was);
    }
    for changed in &changes.jobs {
        document(&mut writes, changed);
        public(&mut writes, changed);
    }
    if changes.jobs.iter().any(|it| it.has_key) {
        writes.push(Write::Newest {
            key: KEYS.to_owned(),
            keep: MAX_PAST_KEYS,
        });
    }
    if !changes.jobs.is_empty() {
        writes.push(Write::Newest {
            key: "job:recent".to_owned(),
            keep: RECENT,
        });
    }
    for it in &changes.turned_away {
        let key = format!("{TURNED_AWAY}{}", it.place());
        writes.push(put(key, it.document(), Some(TURNED_AWAY_TTL)));
    }
    for stack in &changes.stacks {
        let name = stack.name();
        let key = format!("{ROLLBACK}{name}");
        match stack.document() {
            Some(document) => {
                writes.push(put(key, document, None));
                writes.push(index(ROLLBACKS, &name, 0));
            }
            None => {
                writes.push(Write::Delete { key });
                writes.push(unindex(ROLLBACKS, &name));
            }
        }
    }
    writes
}

/// The counter tells others what it tells them of Cordum's own, but not that a kernel is
/// tried after it was left alone: whoever goes on reads that from the document.
fn breaker(writes: &mut Vec<Write>, known: &Breaker, now: Timestamp) {
    let delete = |key: &str| Write::Delete {
        key: key.to_owned(),
    };
    let counts_for = known.counts_for(now);
    writes.push(match counts_for {
        Some(ttl) => put(
            FAILURES.to_owned(),
            known.failures(now).to_string(),
            Some(ttl),
        ),
        None => delete(FAILURES),
    });
    let is_closed = known.state(now) == BreakerState::Closed;
    writes.push(match known.document() {
        // It opens itself only by questions, however long nobody asks.
        Some(document) if !is_closed => put(BREAKER.to_owned(), document, None),
        Some(document) if counts_for.is_some() => put(BREAKER.to_owned(), document, counts_for),
        Some(_) | None => delete(BREAKER),
    });
}

fn put(key: String, value: impl Into<Bytes>, ttl: Option<Elapsed>) -> Write {
    let value = value.into();
    Write::Put { key, value, ttl }
}

fn index(key: &str, member: &str, score: i64) -> Write {
    Write::Index {
        key: key.to_owned(),
        member: member.to_owned(),
        score,
    }
}

fn unindex(key: &str, member: &str) -> Write {
    Write::Unindex {
        key: key.to_owned(),
        member: member.to_owned(),
    }
}

fn index_of(state: JobState) -> String {
    format!("job:index:{}", state.name().to_lowercase())
}

fn leave_indexes(writes: &mut Vec<Write>, id: &JobId, was: Kept, now: Option<JobState>) {
    let left = match was {
        Kept::Never => Vec::new(),
        Kept::As(state) => vec![state],
        Kept::Unsure => JobState::ALL.to_vec(),
    };
    let left = left.into_iter().filter(|state| Some(*state) != now);
    writes.extend(left.map(|state| unindex(&index_of(state), id.as_str())));
}

fn forgotten(writes: &mut Vec<Write>, id: &JobId, was: Kept) {
    writes.push(unindex(JOBS, id.as_str()));
    writes.push(unindex("job:recent", id.as_str()));
    writes.push(unindex(DEADLINES, id.as_str()));
    leave_indexes(writes, id, was, None);
    for prefix in [
        JOB,
        "job:meta:",
        "job:state:",
        "job:req:",
        "job:result_ptr:",
        "job:events:",
        "job:decisions:",
    ] {
        let key = format!("{prefix}{id}");
        writes.push(Write::Delete { key });
    }
}

fn document(writes: &mut Vec<Write>, changed: &ChangedJob) {
    let job = &changed.job;
    let ttl = job.state.is_ended().then_some(RECORD_TTL);
    writes.push(put(format!("{JOB}{}", job.id), changed.document(), ttl));
    writes.push(index(JOBS, job.id.as_str(), job.updated_at.as_micros()));
    if let Some((name, document)) = changed.key_document() {
        writes.push(put(format!("{KEY}{name}"), document, Some(KEY_LIVES)));
        writes.push(index(KEYS, &name, job.submitted_at.as_micros()));
    }
}

/// The keys of a CAP deployment for a job.
fn public(writes: &mut Vec<Write>, changed: &ChangedJob) {
    let job = &changed.job;
    let (id, ttl) = (&job.id, Some(RECORD_TTL));
    let updated_at = job.updated_at.as_micros();
    writes.push(Write::Fields {
        key: format!("job:meta:{id}"),
        fields: meta(job),
        ttl,
    });
    writes.push(put(format!("job:state:{id}"), job.state.name(), ttl));
    match job_request_to_json(&job.request, Unset::Emit) {
        Ok(request) => writes.push(put(format!("job:req:{id}"), request.to_string(), ttl)),
        Err(error) => tracing::warn!(job = %id, %error, "its request has no JSON to show"),
    }
    if !job.result_ptr.is_empty() {
        let pointer = job.result_ptr.clone();
        writes.push(put(format!("job:result_ptr:{id}"), pointer, ttl));
    }
    writes.push(Write::List {
        key: format!("job:events:{id}"),
        elements: events(job),
        ttl,
    });
    writes.push(Write::List {
        key: format!("job:decisions:{id}"),
        elements: decisions(job),
        ttl,
    });
    together(writes, changed);
    leave_indexes(writes, id, changed.was, Some(job.state));
    writes.push(index(&index_of(job.state), id.as_str(), updated_at));
    writes.push(index("job:recent", id.as_str(), updated_at));
    match job.deadline_at.filter(|_| !job.state.is_ended()) {
        Some(at) => writes.push(index(DEADLINES, id.as_str(), at.as_micros())),
        // One without a deadline never was there.
        None if job.deadline_at.is_some() => writes.push(unindex(DEADLINES, id.as_str())),
        None => {}
    }
    let key = job.request.meta.as_ref().map(|meta| &meta.idempotency_key);
    if let Some(key) = key.filter(|key| changed.has_key && !key.is_empty()) {
        let key = format!("job:idempotency:{}:{key}", job.tenant());
        writes.push(put(key, id.as_str().to_owned(), Some(KEY_LIVES)));
    }
    let entry = format!("dlq:entry:{id}");
    match &changed.letter {
        Some(letter) => {
            let at = letter.created_at.as_millis().div_euclid(1_000);
            writes.push(put(
                entry,
                dead_letter(letter).to_string(),
                Some(LETTER_TTL),
            ));
            writes.push(index("dlq:index", id.as_str(), at));
            writes.push(Write::Newest {
                key: "dlq:index".to_owned(),
                keep: LETTERS,
            });
        }
        None if job.state.is_ended() => {
            writes.push(Write::Delete { key: entry });
            writes.push(unindex("dlq:index", id.as_str()));
        }
        None => {}
    }
}

/// The sets of a CAP deployment that a job is in: that of its trace, and as long as it has
/// not ended that of its tenant.
fn together(writes: &mut Vec<Write>, changed: &ChangedJob) {
    let (job, member) = (&changed.job, changed.job.id.to_string());
    if !matches!(changed.was, Kept::As(_)) {
        writes.push(Write::Member {
            key: format!("trace:{}", job.trace),
            member: member.clone(),
            ttl: Some(RECORD_TTL),
        });
    }
    if changed.was == Kept::As(job.state) {
        return;
    }
    let key = format!("job:tenant:active:{}", job.tenant());
    writes.push(if job.state.is_ended() {
        Write::Unmember { key, member }
    } else {
        let ttl = Some(RECORD_TTL);
        Write::Member { key, member, ttl }
    });
}

/// The fields of `job:meta:<id>`. What a job does not have is empty, for a field that was
/// written once stays.
fn meta(job: &Job) -> Vec<(String, String)> {
    let request = &job.request;
    let meta = request.meta.clone().unwrap_or_default();
    let us = |at: Option<Timestamp>| at.map_or(String::new(), |at| at.as_micros().to_string());
    let list = |of: &[String]| json!(of).to_string();
    let actor_type = match meta.actor_type {
        ActorType::Unspecified => String::new(),
        known @ (ActorType::Human | ActorType::Service | ActorType::Unknown(_)) => {
            known.name().to_lowercase()
        }
    };
    let mut fields = vec![
        ("state", job.state.name().to_owned()),
        ("updated_at", job.updated_at.as_micros().to_string()),
        ("attempts", job.attempts.to_string()),
        ("topic", request.topic.clone()),
        ("tenant", job.tenant().to_owned()),
        ("principal", request.principal_id.clone()),
        (
            "team",
            request.env.get("team_id").cloned().unwrap_or_default(),
        ),
        ("memory_id", request.memory_id.clone()),
        ("trace_id", job.trace.to_string()),
        ("labels", json!(request.labels).to_string()),
        ("actor_id", meta.actor_id),
        ("actor_type", actor_type),
        ("idempotency_key", meta.idempotency_key),
        ("capability", meta.capability),
        ("risk_tags", list(&meta.risk_tags)),
        ("requires", list(&meta.requires)),
        ("pack_id", meta.pack_id),
        ("deadline_unix", us(job.deadline_at)),
        ("submitted_by", job.submitted_by.clone()),
        (
            "worker_id",
            job.worker
                .as_ref()
                .map_or(String::new(), ToString::to_string),
        ),
        ("result_ptr", job.result_ptr.clone()),
        ("failure_reason", job.error_message.clone()),
    ];
    if let Some(last) = job.decision() {
        let limits = last.constraints.as_ref();
        let required = last.approval_required();
        fields.extend([
            ("safety_decision", last.name().to_owned()),
            ("safety_reason", last.reason.clone()),
            ("safety_rule_id", last.rule_id.clone().unwrap_or_default()),
            ("safety_snapshot", last.policy_snapshot.clone()),
            ("safety_checked_at", last.checked_at.as_micros().to_string()),
            (
                "safety_constraints",
                limits.map_or(String::new(), |it| it.protojson()),
            ),
            ("safety_remediations", json!(last.remediations).to_string()),
            (
                "safety_approval_required",
                if required { "true" } else { "" }.to_owned(),
            ),
            (
                "safety_approval_ref",
                if required {
                    job.id.to_string()
                } else {
                    String::new()
                },
            ),
            ("safety_job_hash", last.job_hash.clone().unwrap_or_default()),
        ]);
    }
    if let Some(approval) = &job.approval {
        fields.extend([
            ("approval_by", approval.resolved_by.clone()),
            ("approval_role", approval.resolved_role.clone()),
            ("approval_at", us(approval.resolved_at)),
            ("approval_reason", approval.reason.clone()),
            ("approval_note", approval.note.clone()),
            ("approval_policy_snapshot", approval.policy_snapshot.clone()),
            ("approval_job_hash", approval.job_hash.clone()),
            ("approval_status", approval.status.name().to_owned()),
            (
                "approval_actionability",
                approval.status.actionability().to_owned(),
            ),
            ("approval_revision", approval.revision.to_string()),
            (
                "approval_decision",
                approval.status.decision().unwrap_or_default().to_owned(),
            ),
        ]);
    }
    let owned = fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    owned.collect()
}

fn events(job: &Job) -> Vec<Bytes> {
    let events = job.events.iter().map(|event| {
        let note = json!({ "ts": event.at.as_micros(), "state": event.state.name(), "ctx": { "reason": event.note } });
        Bytes::from(note.to_string())
    });
    events.collect()
}

fn decisions(job: &Job) -> Vec<Bytes> {
    let records = job.decisions.iter().map(|record| {
        let mut told = crate::control_plane::gateway::types::decision_record(job, record);
        if let (Some(limits), Some(fields)) = (&record.constraints, told.as_object_mut()) {
            // On record they are protojson, in answers they are not.
            let limits = serde_json::from_str(&limits.protojson()).unwrap_or(Value::Null);
            fields.insert("constraints".to_owned(), limits);
        }
        Bytes::from(told.to_string())
    });
    records.collect()
}

fn dead_letter(letter: &DeadLetter) -> Value {
    crate::control_plane::gateway::types::dead_letter_item(letter)
}

/// What shows that a leader lives, and what it knows of workers and policy.
pub(super) fn signs_of_life(name: &str, ledger: &Ledger, now: Timestamp) -> Vec<Write> {
    let mut writes = vec![put(
        "sys:workers:snapshot".to_owned(),
        workers(name, ledger, now).to_string(),
        Some(WORKERS_TTL),
    )];
    // Before a policy was told, the head is that of a plane that is gone.
    if ledger.current_snapshot().is_some() {
        let snapshots = ledger.snapshots().iter();
        writes.push(Write::List {
            key: SNAPSHOTS.to_owned(),
            elements: snapshots
                .map(|it| Bytes::copy_from_slice(it.as_bytes()))
                .collect(),
            ttl: None,
        });
    }
    writes
}

/// Where a plane leaves its sign of life.
pub(super) fn instance_key(name: &str) -> String {
    format!("cordum:instance:scheduler:{name}")
}

/// The sign that a plane lives, and its key.
pub(super) fn instance(name: &str, now: Timestamp) -> (String, Value) {
    let sign = json!({
        "id": name, "service": "scheduler", "version": env!("CARGO_PKG_VERSION"),
        "commit": "", "seen_at": now.to_string(),
    });
    (instance_key(name), sign)
}

fn workers(name: &str, ledger: &Ledger, now: Timestamp) -> Value {
    let live = ledger
        .fleet()
        .iter()
        .filter(|(_, worker)| worker.is_live(now));
    let workers: Vec<Value> = live
        .map(|(id, worker)| {
            let beat = &worker.heartbeat;
            json!({
                "worker_id": id.as_str(), "pool": beat.pool.as_str(),
                "active_jobs": beat.active_jobs, "max_parallel_jobs": beat.max_parallel_jobs,
                "capabilities": beat.capabilities, "cpu_load": beat.cpu_load,
                "gpu_utilization": beat.gpu_utilization, "memory_load": beat.memory_load,
                "region": beat.region, "type": beat.kind, "labels": beat.labels,
            })
        })
        .collect();
    let mut pools = BTreeMap::new();
    let mut topics = BTreeMap::new();
    for pool in ledger.pools() {
        for topic in &pool.topics {
            let told = json!({
                "pool": pool.name.as_str(), "workers": pool.workers,
                "capacity": pool.capacity, "available": pool.workers > 0,
            });
            topics.insert(topic.clone(), told);
        }
        let told = json!({
            "workers": pool.workers, "active_jobs": pool.active_jobs, "capacity": pool.capacity,
        });
        pools.insert(pool.name.to_string(), told);
    }
    json!({
        "captured_at": now.to_string(), "writer_id": name,
        "pools": pools, "topics": topics, "workers": workers,
    })
}
