//! Records of the ledger as the JSON of CAP gateways, the newer generation.
//!
//! Instants are microseconds since 1970 unless the contract says otherwise;
//! what is empty is left out, as Go's encoder does. Beyond the contract a job
//! carries the stored request, the request as it was dispatched, its undo with
//! what became of it, its constraints, who cancelled it and its events; an
//! approval carries whether its snapshot is still in force; a worker the age of
//! its own heartbeat; a pool its topics.

use serde_json::{Map, Value, json};

use crate::control_plane::ledger::{
    Approval, DeadLetter, DecisionRecord, Job, Ledger, PoolSummary, Undo, UndoState, Worker,
};
use crate::ids::{JobId, WorkerId};
use crate::time::Timestamp;
use crate::wire::json::{Unset, job_request_to_json};
use crate::wire::packet::{ActorType, Compensation, JobMetadata, JobRequest, WireEnum as _};

pub(in crate::control_plane) mod governance;

/// Builds an object and leaves out what is empty.
#[derive(Default)]
pub(super) struct Object(Map<String, Value>);

impl Object {
    pub(super) fn put(mut self, name: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        let empty = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            Value::Bool(_) | Value::Number(_) => false,
        };
        if !empty {
            self.0.insert(name.to_owned(), value);
        }
        self
    }

    pub(super) fn at(self, name: &str, at: Option<Timestamp>) -> Self {
        self.put(name, at.map_or(Value::Null, |at| at.as_micros().into()))
    }

    fn data(self, name: &str, data: &impl serde::Serialize) -> Self {
        // Plain data with text keys: writing it cannot fail.
        self.put(name, serde_json::to_value(data).unwrap_or_default())
    }

    pub(super) fn build(self) -> Value {
        Value::Object(self.0)
    }
}

/// A job in a list.
pub(in crate::control_plane) fn job_record(job: &Job) -> Value {
    record(job).build()
}

fn record(job: &Job) -> Object {
    let request = &job.request;
    let meta = meta(request);
    let decision = job.decision();
    let mut object = Object::default()
        .put("id", job.id.as_str())
        .put("trace_id", job.trace.as_str())
        .at("updated_at", Some(job.updated_at))
        .put("state", job.state.name())
        .put("topic", request.topic.as_str())
        .put("tenant", job.tenant())
        .put("team", env(request, "team_id"))
        .put("principal", request.principal_id.as_str())
        .put("actor_id", meta.actor_id)
        .put("actor_type", actor_type(meta.actor_type))
        .put("idempotency_key", meta.idempotency_key)
        .put("capability", meta.capability)
        .put("risk_tags", meta.risk_tags)
        .put("requires", meta.requires)
        .put("pack_id", meta.pack_id)
        .put("attempts", job.attempts)
        .at("deadline_unix", job.deadline_at)
        .put("worker_id", job.worker.as_ref().map(WorkerId::as_str))
        .put("failure_reason", job.error_message.as_str())
        .put("waiting_on", job.waiting_on.map(|why| why.name()))
        .put("workflow_id", job.workflow())
        .put("parent_job_id", request.parent_job_id.as_str())
        .at("submitted_at", Some(job.submitted_at));
    if let Some(decision) = decision {
        object = object
            .put("safety_decision", decision.name())
            .put("safety_reason", decision.reason.as_str())
            .put("safety_rule_id", decision.rule_id.as_deref())
            .put("safety_snapshot", decision.policy_snapshot.as_str());
    }
    if let Some(progress) = &job.progress {
        object = object
            .put("percent", progress.percent)
            .put("message", progress.message.as_str());
    }
    object
}

/// What stands behind the pointers of a job, as far as it can be read.
#[derive(Clone, Debug, Default)]
pub(in crate::control_plane) struct Payloads {
    pub(in crate::control_plane) context: Value,
    pub(in crate::control_plane) result: Value,
}

/// All about one job.
pub(in crate::control_plane) fn job_detail(
    ledger: &Ledger,
    job: &Job,
    payloads: Payloads,
) -> Value {
    let request = &job.request;
    let decision = job.decision();
    let constraints = job
        .decisions
        .iter()
        .rev()
        .find_map(|decision| decision.constraints.as_ref());
    let remediations = decision.map(|decision| &decision.remediations);
    let asked = asked(job);
    let mut object = record(job)
        .put("job_id", job.id.as_str())
        .put("context_ptr", request.context_ptr.as_str())
        .put("context", payloads.context)
        .put("result_ptr", job.result_ptr.as_str())
        .put("result", payloads.result)
        .data("labels", &request.labels)
        .put("error_code", job.error_code.as_str())
        .put("error_message", job.error_message.as_str())
        .data("safety_constraints", &constraints)
        .data("safety_remediations", &remediations)
        .put(
            "approval_required",
            decision.is_some_and(DecisionRecord::approval_required),
        )
        .put("submitted_by", job.submitted_by.as_str())
        .put("step_index", request.step_index)
        .put("request", protojson(request))
        .put(
            "dispatched_request",
            job.dispatched_request
                .as_deref()
                .map_or(Value::Null, protojson),
        )
        .put(
            "compensation",
            request.compensation.as_deref().map_or(Value::Null, |undo| {
                let step = ledger.rollbacks().find(|step| step.undoes == job.id);
                compensation(undo, step.map(|step| (ledger, step)))
            }),
        );
    if let Some(result) = &job.result {
        object = object
            .put("status", format!("JOB_STATUS_{}", result.status.name()))
            .put("result_status", result.status.name().as_ref())
            .put("execution_ms", result.execution_ms)
            .put("artifact_ptrs", result.artifact_ptrs.clone());
    }
    if let Some(letter) = ledger.dead_letter(&job.id) {
        object = object
            .put(
                "error_status",
                format!("JOB_STATUS_{}", letter.status.name()),
            )
            .put("last_state", letter.last_state.name());
    }
    if let Some(record) = asked {
        object = object
            .put("safety_job_hash", record.job_hash.as_deref())
            .put("approval_ref", job.id.as_str());
    }
    if let Some(approval) = &job.approval {
        object = approval_fields(object, approval)
            .put("approval_by", approval.resolved_by.as_str())
            .put("approval_role", approval.resolved_role.as_str())
            .at("approval_at", approval.resolved_at)
            .put("approval_reason", approval.reason.as_str())
            .put("approval_note", approval.note.as_str())
            .put(
                "approval_policy_snapshot",
                approval.policy_snapshot.as_str(),
            )
            .put("approval_job_hash", approval.job_hash.as_str());
    }
    if job.decisions_left_out > 0 {
        object = object.put("decisions_left_out", job.decisions_left_out);
    }
    if let Some(cancel) = &job.cancel {
        object = object
            .put("cancel_requested_by", cancel.requested_by.as_str())
            .put("cancel_reason", cancel.reason.as_str())
            .at("cancel_requested_at", Some(cancel.at));
    }
    let events: Vec<Value> = job
        .events
        .iter()
        .map(|event| {
            Object::default()
                .at("ts", Some(event.at))
                .put("state", event.state.name())
                .put("note", event.note.as_str())
                .build()
        })
        .collect();
    object.put("events", events).build()
}

fn approval_fields(object: Object, approval: &Approval) -> Object {
    object
        .put("approval_status", approval.status.name())
        .put("approval_actionability", approval.status.actionability())
        .put("approval_revision", approval.revision)
        .put("approval_decision", approval.status.decision())
}

/// The stored request as protojson, unset fields left out.
fn protojson(request: &JobRequest) -> Value {
    job_request_to_json(request, Unset::Omit).unwrap_or_default()
}

/// The undo of a job, joined with the step of a rollback that it became.
fn compensation(undo: &Compensation, step: Option<(&Ledger, &Undo)>) -> Value {
    let meta = undo.meta.clone().unwrap_or_default();
    let given = Some(meta.idempotency_key).filter(|key| !key.is_empty());
    let key = given.or_else(|| step.map(|(_, step)| step.idempotency_key.clone()));
    let job_id = step.and_then(|(_, step)| step.job_id.as_ref());
    Object::default()
        .put("topic", undo.topic.as_str())
        .put("context_ptr", undo.context_ptr.as_str())
        .data("labels", &undo.labels)
        .put(
            "meta",
            Object::default()
                .put("idempotency_key", key)
                .put("capability", meta.capability)
                .put("risk_tags", meta.risk_tags)
                .build(),
        )
        .put("state", step.map(|(ledger, step)| undo_state(ledger, step)))
        .put("job_id", job_id.map(JobId::as_str))
        .build()
}

fn undo_state(ledger: &Ledger, step: &Undo) -> String {
    match step.state {
        UndoState::Recorded => "recorded".to_owned(),
        UndoState::Waiting => "waiting".to_owned(),
        UndoState::Skipped => "skipped".to_owned(),
        UndoState::Refused => "refused".to_owned(),
        UndoState::Submitted => step
            .job_id
            .as_ref()
            .and_then(|id| ledger.job(id))
            .map_or("submitted".to_owned(), |job| job.state.name().to_owned()),
    }
}

/// One evaluation of policy.
pub(in crate::control_plane) fn decision_record(job: &Job, record: &DecisionRecord) -> Value {
    let required = record.approval_required();
    let mut object = Object::default()
        .put("decision", record.name())
        .put("reason", record.reason.as_str())
        .put("rule_id", record.rule_id.as_deref())
        .put("policy_snapshot", record.policy_snapshot.as_str())
        .data("constraints", &record.constraints)
        .put("approval_required", required)
        .put("approval_ref", required.then_some(job.id.as_str()))
        .put("job_hash", record.job_hash.as_deref())
        .data("remediations", &record.remediations)
        .put("check", record.check())
        .at("checked_at", Some(record.checked_at));
    if record.times > 1 {
        object = object
            .put("times", record.times)
            .at("first_checked_at", Some(record.first_checked_at));
    }
    if let (true, Some(approval)) = (required, &job.approval) {
        object = approval_fields(object, approval);
    }
    object.build()
}

/// The evaluation that asked for a person, the last one that did.
fn asked(job: &Job) -> Option<&DecisionRecord> {
    job.decisions
        .iter()
        .rev()
        .find(|record| record.approval_required())
        .map(AsRef::as_ref)
}

/// A job that waits, or waited, for a person.
pub(in crate::control_plane) fn approval_item(
    ledger: &Ledger,
    job: &Job,
    approval: &Approval,
) -> Value {
    let record = asked(job);
    let request = &job.request;
    let undo = request.compensation.as_deref();
    let current = ledger.snapshot_is_current(approval);
    let resolution = approval.resolved_at.map(|_| approval.status.name());
    let comment = [&approval.note, &approval.reason]
        .into_iter()
        .find(|text| !text.is_empty());
    approval_fields(
        Object::default()
            .put("job", job_record(job))
            .put("decision", record.map(DecisionRecord::name))
            .put("policy_snapshot", approval.policy_snapshot.as_str())
            .put(
                "policy_rule_id",
                record.and_then(|record| record.rule_id.as_deref()),
            )
            .put("policy_reason", record.map(|record| record.reason.as_str()))
            .data(
                "constraints",
                &record.and_then(|record| record.constraints.as_ref()),
            )
            .data("remediations", &record.map(|record| &record.remediations))
            .put("job_hash", approval.job_hash.as_str())
            .put("approval_required", resolution.is_none())
            .put("approval_ref", job.id.as_str()),
        approval,
    )
    .put("submitted_by", job.submitted_by.as_str())
    .put("resolved_by", approval.resolved_by.as_str())
    .put("resolved_role", approval.resolved_role.as_str())
    .put("resolved_comment", comment.map(String::as_str))
    .put("resolution", resolution)
    .at("resolved_at", approval.resolved_at)
    .at("requested_at", Some(approval.requested_at))
    .put("snapshot_current", current)
    .put("workflow_id", job.workflow())
    .put("context_ptr", request.context_ptr.as_str())
    .data("labels", &request.labels)
    .put("blast_radius", blast_radius(request))
    .put("rollback_hint", undo.map(|undo| undo.topic.as_str()))
    .put(
        "compensation",
        undo.map_or(Value::Null, |undo| compensation(undo, None)),
    )
    .build()
}

/// What the request says it touches: labels `system:X`, `namespace:Y`,
/// `resource:Z`, as names of labels or as labels of that name.
fn blast_radius(request: &JobRequest) -> Value {
    let touched = |kind: &str| -> Vec<String> {
        request
            .labels
            .iter()
            .filter_map(|(name, value)| {
                if name == kind {
                    return Some(value.clone());
                }
                let rest = name.strip_prefix(kind)?.strip_prefix(':')?;
                Some(rest.to_owned())
            })
            .filter(|name| !name.is_empty())
            .collect()
    };
    Object::default()
        .put("scope_description", scope(&touched))
        .put("systems", touched("system"))
        .put("namespaces", touched("namespace"))
        .put("resources", touched("resource"))
        .build()
}

/// What is touched, in words.
fn scope(touched: &impl Fn(&str) -> Vec<String>) -> String {
    ["resource", "namespace", "system"]
        .into_iter()
        .map(|kind| (kind, touched(kind)))
        .filter(|(_, names)| !names.is_empty())
        .map(|(kind, names)| format!("{kind} {}", names.join(", ")))
        .collect::<Vec<_>>()
        .join(" in ")
}

/// A worker, with the age of its own heartbeat.
pub(in crate::control_plane) fn worker_item(
    id: &WorkerId,
    worker: &Worker,
    now: Timestamp,
) -> Value {
    let beat = &worker.heartbeat;
    Object::default()
        .put("worker_id", id.as_str())
        .put("pool", beat.pool.as_str())
        .put("active_jobs", beat.active_jobs)
        .put("max_parallel_jobs", beat.max_parallel_jobs)
        .put("capabilities", beat.capabilities.clone())
        .put("cpu_load", beat.cpu_load)
        .put("gpu_utilization", beat.gpu_utilization)
        .put("memory_load", beat.memory_load)
        .put("region", beat.region.as_str())
        .put("type", beat.kind.as_str())
        .data("labels", &beat.labels)
        .put("progress_pct", beat.progress_pct)
        .put("last_memo", beat.last_memo.as_str())
        .put("agent_name", beat.agent_name.as_str())
        .put("ready_topics", worker.ready_topics.clone())
        .put("last_heartbeat_at", worker.seen_at.to_string())
        .put("last_heartbeat", worker.seen_at.to_string())
        .put(
            "heartbeat_age_seconds",
            now.since(worker.seen_at).as_millis() as f64 / 1_000.0,
        )
        .put("online", worker.is_live(now))
        .build()
}

/// A pool; `mapped` are the topics that the deployment sends there.
pub(in crate::control_plane) fn pool_item(pool: &PoolSummary, mapped: &[String]) -> Value {
    let mut topics = mapped.to_vec();
    topics.extend(pool.topics.iter().cloned());
    topics.sort();
    topics.dedup();
    let utilization = match pool.capacity {
        0 => 0.0,
        capacity => f64::from(pool.active_jobs) / f64::from(capacity),
    };
    json!({
        "name": pool.name.as_str(),
        "workers": pool.workers,
        "active_jobs": pool.active_jobs,
        "capacity": pool.capacity,
        "utilization": utilization,
        "queued": pool.queued,
        "topics": topics,
    })
}

/// A dead letter.
pub(in crate::control_plane) fn dead_letter_item(letter: &DeadLetter) -> Value {
    Object::default()
        .put("job_id", letter.job_id.as_str())
        .put("topic", letter.topic.as_str())
        .put("status", format!("JOB_STATUS_{}", letter.status.name()))
        .put("reason", letter.reason.as_str())
        .put("reason_code", letter.reason_code.as_str())
        .put("last_state", letter.last_state.name())
        .put("attempts", letter.attempts)
        .put("created_at", letter.created_at.to_string())
        .build()
}

fn meta(request: &JobRequest) -> JobMetadata {
    request.meta.clone().unwrap_or_default()
}

fn env<'a>(request: &'a JobRequest, name: &str) -> &'a str {
    request.env.get(name).map_or("", String::as_str)
}

fn actor_type(actor: ActorType) -> String {
    match actor {
        ActorType::Unspecified => String::new(),
        ActorType::Human | ActorType::Service | ActorType::Unknown(_) => {
            actor.name().to_lowercase()
        }
    }
}
