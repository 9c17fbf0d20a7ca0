//! What was decided, is undone and can be known before deciding, as JSON.

use serde_json::{Value, json};

use super::{Object, approval_item, asked, blast_radius, meta, undo_state};
use crate::control_plane::kernel::Constraints;
use crate::control_plane::ledger::breaker::THRESHOLD;
use crate::control_plane::ledger::{
    Approval, ApprovalStatus, Breaker, DEFAULT_TENANT, DecisionRecord, Job, Ledger, Logged,
    Rollback, Undo,
};
use crate::ids::JobId;
use crate::time::{Elapsed, Timestamp};

/// An approval of the same kind that was resolved; `None` while it waits.
pub(in crate::control_plane::gateway) fn prior_approval(job: &Job) -> Option<Value> {
    let approval = job.approval.as_ref()?;
    let decision = approval.status.decision()?;
    Some(
        Object::default()
            .put("job_id", job.id.as_str())
            .put("topic", job.request.topic.as_str())
            .put("tenant", job.tenant())
            .put("decision", decision)
            .put("resolved_by", approval.resolved_by.as_str())
            .at("resolved_at", approval.resolved_at)
            .put("was_approved", approval.status == ApprovalStatus::Approved)
            .build(),
    )
}

/// What a person should know before they decide. `rules` is how many the policy in
/// force has, where that is known; `time_remaining_ms` is null without a deadline.
pub(in crate::control_plane::gateway) fn approval_context(
    ledger: &Ledger,
    job: &Job,
    approval: &Approval,
    prior: Vec<Value>,
    rules: Option<usize>,
    now: Timestamp,
) -> Value {
    let record = asked(job);
    let constraints = record.and_then(|record| record.constraints.as_ref());
    let matched = record.and_then(|record| {
        let id = record.rule_id.as_deref()?;
        Some(
            Object::default()
                .put("id", id)
                .put("description", record.reason.as_str())
                .put("decision", record.name())
                .put("constraints_summary", summary(constraints))
                .build(),
        )
    });
    let summary = Object::default()
        .put("rule_count", rules)
        .put("matched_rule", matched)
        .put("policy_version", approval.policy_snapshot.as_str())
        .put("current", ledger.snapshot_is_current(approval))
        .build();
    let undo = job.request.compensation.as_deref();
    let remaining = job.deadline_at.map(|at| at.since(now).as_millis());
    json!({
        "approval": approval_item(ledger, job, approval),
        "blast_radius": blast_radius(&job.request),
        "prior_approvals": prior,
        "rollback_hint": undo.map(|undo| undo.topic.as_str()),
        "policy_snapshot_summary": summary,
        "time_remaining_ms": remaining,
        "constraints": constraints,
    })
}

/// The names of the limits, such as `budgets, redaction_level`.
fn summary(constraints: Option<&Constraints>) -> String {
    let Some(Ok(Value::Object(fields))) = constraints.map(serde_json::to_value) else {
        return String::new();
    };
    let names: Vec<String> = fields.into_iter().map(|(name, _)| name).collect();
    names.join(", ")
}

/// An evaluation in the log of all jobs; its time is in milliseconds since 1970.
pub(in crate::control_plane) fn logged_item(ledger: &Ledger, logged: &Logged) -> Value {
    let (request, record) = (&logged.request, &logged.record);
    let mut object = Object::default()
        .put("job_id", request.job_id.as_str())
        .put("topic", request.topic.as_str())
        .put("tenant", request.tenant().unwrap_or(DEFAULT_TENANT))
        .put("matched_rule", record.rule_id.as_deref())
        .put("verdict", record.verdict())
        .put("reason", record.reason.as_str())
        .data("constraints", &record.constraints)
        .put("agent_id", meta(request).actor_id)
        .put("policy_version", record.policy_snapshot.as_str())
        .put("check", record.check())
        .put("timestamp", record.checked_at.as_millis());
    if record.times > 1 {
        object = object
            .put("times", record.times)
            .put("first_timestamp", record.first_checked_at.as_millis());
    }
    let approval = ledger
        .job(&request.job_id)
        .and_then(|job| job.approval.as_ref());
    if let (true, Some(approval)) = (record.approval_required(), approval) {
        object = object
            .put("approval_status", approval.status.name())
            .put("approval_decision", approval.status.decision());
    }
    object.build()
}

/// The breaker before the kernel.
pub(in crate::control_plane) fn breaker_item(breaker: Breaker, now: Timestamp) -> Value {
    json!({
        "state": breaker.state(now).name(),
        "failures": breaker.failures(now),
        "fail_threshold": THRESHOLD,
        "cooldown_remaining_ms": breaker.cooldown(now).map_or(0, Elapsed::as_millis),
    })
}

/// A rollback, its steps in the order in which they run.
pub(in crate::control_plane) fn rollback_item(ledger: &Ledger, rollback: &Rollback<'_>) -> Value {
    let steps: Vec<Value> = rollback
        .steps
        .iter()
        .enumerate()
        .map(|(at, step)| undo_item(ledger, at + 1, step))
        .collect();
    let mut object = Object::default()
        .put("workflow_id", rollback.id)
        .put("state", rollback.state.name())
        .put("failed_job_id", rollback.failed_job.map(JobId::as_str))
        .at("started_at", rollback.started_at);
    if let Some(stop) = rollback.stopped {
        object = object
            .at("stopped_at", Some(stop.at))
            .put("stopped_by_job_id", stop.job_id.as_str())
            .put("stopped_reason", stop.why.as_str());
    }
    let mut body = object.build();
    body["steps"] = steps.into();
    body
}

/// A step of a rollback, `order` from 1. `state` is `recorded`, `waiting`, `skipped`,
/// `refused`, or that of the job that does it.
fn undo_item(ledger: &Ledger, order: usize, step: &Undo) -> Value {
    let job = step.job_id.as_ref().and_then(|id| ledger.job(id));
    let decision = job.and_then(Job::decision);
    Object::default()
        .put("order", order)
        .put("state", undo_state(ledger, step))
        .put("undoes", step.undoes.as_str())
        .put("job_id", step.job_id.as_ref().map(JobId::as_str))
        .put("topic", step.topic.as_str())
        .put("idempotency_key", step.idempotency_key.as_str())
        .put("verdict", decision.map(DecisionRecord::verdict))
        .put("rule_id", decision.and_then(|it| it.rule_id.as_deref()))
        .put("reason", decision.map(|it| it.reason.as_str()))
        .put(
            "waiting_on",
            job.and_then(|job| job.waiting_on).map(|why| why.name()),
        )
        .put("error_message", job.map(|job| job.error_message.as_str()))
        .build()
}
