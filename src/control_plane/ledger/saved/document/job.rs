//! The document of a job, with what waits, moves and went wrong in it.

use std::collections::VecDeque;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{KeyDocument, VERSION, at, bad, request_of, text_of};
use crate::control_plane::kernel::{Constraints, Decision, Remediation};
use crate::control_plane::ledger::job::Phase;
use crate::control_plane::ledger::saved::{BadDocument, Kept};
use crate::control_plane::ledger::{
    Approval, ApprovalStatus, Asker, CancelNote, DeadLetter, DecisionRecord, Job, JobEvent,
    JobState, Progress, WaitingOn,
};
use crate::ids::{JobId, TraceId, WorkerId};
use crate::time::Timestamp;
use crate::wire::packet::{JobRequest, JobResult, JobStatus, WireEnum as _};
use crate::wire::stored;

/// A job.
#[derive(Serialize, Deserialize)]
pub(in crate::control_plane::ledger::saved) struct JobDocument {
    version: u32,
    seq: u64,
    job_id: String,
    trace_id: String,
    request: String,
    dispatched_request: Option<String>,
    state: String,
    waiting_on: Option<String>,
    submitted_at: i64,
    submitted_by: String,
    submitter_key: String,
    body_digest: String,
    updated_at: i64,
    dispatched_at: Option<i64>,
    deadline_at: Option<i64>,
    attempts: u32,
    placement_tries: u32,
    decisions: Vec<DecisionDocument>,
    #[serde(default)]
    decisions_left_out: u32,
    approval: Option<ApprovalDocument>,
    worker_id: Option<String>,
    progress: Option<ProgressDocument>,
    result: Option<String>,
    result_ptr: String,
    error_code: String,
    error_message: String,
    cancel: Option<CancelDocument>,
    events: Vec<EventDocument>,
    again_at: Option<i64>,
    held: bool,
    slot: Option<String>,
    failures: u32,
    cancel_relayed: bool,
    #[serde(default)]
    going_on_told: bool,
    past_workers: Vec<String>,
    undoes: Option<KeyDocument>,
    letter: Option<LetterDocument>,
}

#[derive(Serialize, Deserialize)]
pub(in crate::control_plane::ledger::saved) struct DecisionDocument {
    decision: Option<String>,
    reason: String,
    rule_id: Option<String>,
    policy_snapshot: String,
    constraints: Option<Constraints>,
    remediations: Vec<Remediation>,
    job_hash: Option<String>,
    #[serde(default)]
    check: Option<String>,
    checked_at: i64,
    /// Where policy was asked more than once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repeated: Option<RepeatedDocument>,
}

#[derive(Serialize, Deserialize)]
struct RepeatedDocument {
    times: u32,
    first_checked_at: i64,
}

#[derive(Serialize, Deserialize)]
struct ApprovalDocument {
    status: String,
    revision: u32,
    policy_snapshot: String,
    job_hash: String,
    requested_at: i64,
    resolved_by: String,
    resolved_role: String,
    resolved_at: Option<i64>,
    reason: String,
    note: String,
}

#[derive(Serialize, Deserialize)]
struct ProgressDocument {
    percent: i32,
    message: String,
    result_ptr: String,
    at: i64,
    sent_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct CancelDocument {
    requested_by: String,
    reason: String,
    at: i64,
}

#[derive(Serialize, Deserialize)]
struct EventDocument {
    at: i64,
    state: String,
    note: String,
}

#[derive(Serialize, Deserialize)]
struct LetterDocument {
    request: String,
    status: i32,
    reason_code: String,
    reason: String,
    last_state: String,
    attempts: u32,
    created_at: i64,
}

impl JobDocument {
    pub(in crate::control_plane::ledger::saved) fn of(
        seq: u64,
        job: &Job,
        letter: Option<&DeadLetter>,
    ) -> Self {
        Self {
            version: VERSION,
            seq,
            job_id: job.id.to_string(),
            trace_id: job.trace.to_string(),
            request: text_of(&job.request),
            dispatched_request: job.dispatched_request.as_deref().map(text_of),
            state: job.state.name().to_owned(),
            waiting_on: job.waiting_on.map(|it| it.name().to_owned()),
            submitted_at: job.submitted_at.as_millis(),
            submitted_by: job.submitted_by.clone(),
            submitter_key: job.submitter_key.clone(),
            body_digest: job.body_digest.clone(),
            updated_at: job.updated_at.as_millis(),
            dispatched_at: job.dispatched_at.map(Timestamp::as_millis),
            deadline_at: job.deadline_at.map(Timestamp::as_millis),
            attempts: job.attempts,
            placement_tries: job.placement_tries,
            decisions: job
                .decisions
                .iter()
                .map(|it| decision_document(it))
                .collect(),
            decisions_left_out: job.decisions_left_out,
            approval: job.approval.as_ref().map(approval_document),
            worker_id: job.worker.as_ref().map(ToString::to_string),
            progress: job.progress.as_ref().map(progress_document),
            result: job
                .result
                .as_deref()
                .map(|it| STANDARD.encode(stored::job_result_bytes(it))),
            result_ptr: job.result_ptr.clone(),
            error_code: job.error_code.clone(),
            error_message: job.error_message.clone(),
            cancel: job.cancel.as_ref().map(|it| CancelDocument {
                requested_by: it.requested_by.clone(),
                reason: it.reason.clone(),
                at: it.at.as_millis(),
            }),
            events: job.events.iter().map(event_document).collect(),
            again_at: job.alarm.map(Timestamp::as_millis),
            held: job.held,
            slot: job.slot.as_ref().map(ToString::to_string),
            failures: job.failures,
            cancel_relayed: job.cancel_relayed,
            going_on_told: job.going_on_told,
            past_workers: job.past_workers.iter().map(ToString::to_string).collect(),
            undoes: job.undoes.as_ref().map(KeyDocument::of),
            letter: letter.map(letter_document),
        }
    }

    pub(in crate::control_plane::ledger::saved) fn into_job(
        self,
    ) -> Result<(u64, Job, Option<DeadLetter>), BadDocument> {
        let state = state_of(&self.state)?;
        let id = JobId::from(self.job_id);
        let request = request_of(&self.request, "request")?;
        let dispatched = self.dispatched_request.as_deref();
        let decisions = self.decisions.into_iter().map(decision_of);
        let events = self.events.into_iter().map(event_of);
        let letter = self.letter.map(|it| letter_of(it, &id, &request));
        let job = Job {
            trace: TraceId::from(self.trace_id),
            dispatched_request: dispatched
                .map(|it| request_of(it, "dispatched request"))
                .transpose()?,
            state,
            waiting_on: self.waiting_on.as_deref().map(waiting_on_of).transpose()?,
            submitted_at: at(self.submitted_at),
            submitted_by: self.submitted_by,
            submitter_key: self.submitter_key,
            body_digest: self.body_digest,
            updated_at: at(self.updated_at),
            dispatched_at: self.dispatched_at.map(at),
            deadline_at: self.deadline_at.map(at),
            attempts: self.attempts,
            placement_tries: self.placement_tries,
            decisions: decisions.collect::<Result<VecDeque<_>, _>>()?,
            decisions_left_out: self.decisions_left_out,
            approval: self.approval.map(approval_of).transpose()?,
            worker: self.worker_id.map(WorkerId::from),
            progress: self.progress.map(progress_of),
            result: self.result.map(|it| result_of(&it)).transpose()?,
            result_ptr: self.result_ptr,
            error_code: self.error_code,
            error_message: self.error_message,
            cancel: self.cancel.map(|it| CancelNote {
                requested_by: it.requested_by,
                reason: it.reason,
                at: at(it.at),
            }),
            events: events.collect::<Result<VecDeque<_>, _>>()?,
            alarm: self.again_at.map(at),
            phase: Phase::Unchecked,
            held: self.held,
            line: None,
            slot: self.slot.map(WorkerId::from),
            failures: self.failures,
            refused_since: None,
            cancel_relayed: self.cancel_relayed,
            going_on_told: self.going_on_told,
            past_workers: self.past_workers.into_iter().map(WorkerId::from).collect(),
            undoes: self.undoes.map(KeyDocument::into_key),
            kept: Kept::As(state),
            request,
            id,
        };
        Ok((self.seq, job, letter.transpose()?))
    }
}

fn state_of(name: &str) -> Result<JobState, BadDocument> {
    JobState::from_name(name).ok_or_else(|| bad("state", format!("`{name}` is none")))
}

fn waiting_on_of(name: &str) -> Result<WaitingOn, BadDocument> {
    let found = WaitingOn::ALL.into_iter().find(|it| it.name() == name);
    found.ok_or_else(|| bad("waiting_on", format!("`{name}` is none")))
}

fn result_of(text: &str) -> Result<Arc<JobResult>, BadDocument> {
    let part = "result";
    let bytes = STANDARD.decode(text).map_err(|error| bad(part, error))?;
    let result = stored::job_result(&bytes).map_err(|error| bad(part, error))?;
    Ok(Arc::new(result))
}

pub(in crate::control_plane::ledger::saved) fn decision_document(
    record: &DecisionRecord,
) -> DecisionDocument {
    DecisionDocument {
        decision: record.decision.map(|it| it.name().to_owned()),
        reason: record.reason.clone(),
        rule_id: record.rule_id.clone(),
        policy_snapshot: record.policy_snapshot.clone(),
        constraints: record.constraints.clone(),
        remediations: record.remediations.clone(),
        job_hash: record.job_hash.clone(),
        check: record.asker.map(|it| it.check().to_owned()),
        checked_at: record.checked_at.as_millis(),
        repeated: (record.times > 1).then(|| RepeatedDocument {
            times: record.times,
            first_checked_at: record.first_checked_at.as_millis(),
        }),
    }
}

pub(in crate::control_plane::ledger::saved) fn decision_of(
    it: DecisionDocument,
) -> Result<Arc<DecisionRecord>, BadDocument> {
    let named = |name: String| {
        let found = Decision::ALL.into_iter().find(|it| it.name() == name);
        found.ok_or_else(|| bad("decision", format!("`{name}` is none")))
    };
    let check = |name: String| {
        let asker = Asker::of_check(&name);
        asker.ok_or_else(|| bad("check", format!("`{name}` is none")))
    };
    Ok(Arc::new(DecisionRecord {
        decision: it.decision.map(named).transpose()?,
        reason: it.reason,
        rule_id: it.rule_id,
        policy_snapshot: it.policy_snapshot,
        constraints: it.constraints,
        remediations: it.remediations,
        job_hash: it.job_hash,
        asker: it.check.map(check).transpose()?,
        checked_at: at(it.checked_at),
        first_checked_at: at(it
            .repeated
            .as_ref()
            .map_or(it.checked_at, |it| it.first_checked_at)),
        times: it.repeated.map_or(1, |it| it.times),
    }))
}

fn approval_document(it: &Approval) -> ApprovalDocument {
    ApprovalDocument {
        status: it.status.name().to_owned(),
        revision: it.revision,
        policy_snapshot: it.policy_snapshot.clone(),
        job_hash: it.job_hash.clone(),
        requested_at: it.requested_at.as_millis(),
        resolved_by: it.resolved_by.clone(),
        resolved_role: it.resolved_role.clone(),
        resolved_at: it.resolved_at.map(Timestamp::as_millis),
        reason: it.reason.clone(),
        note: it.note.clone(),
    }
}

fn approval_of(it: ApprovalDocument) -> Result<Approval, BadDocument> {
    let status = ApprovalStatus::ALL
        .into_iter()
        .find(|status| status.name() == it.status)
        .ok_or_else(|| bad("approval", format!("`{}` is no status", it.status)))?;
    Ok(Approval {
        status,
        revision: it.revision,
        policy_snapshot: it.policy_snapshot,
        job_hash: it.job_hash,
        requested_at: at(it.requested_at),
        resolved_by: it.resolved_by,
        resolved_role: it.resolved_role,
        resolved_at: it.resolved_at.map(at),
        reason: it.reason,
        note: it.note,
    })
}

fn progress_document(it: &Progress) -> ProgressDocument {
    ProgressDocument {
        percent: it.percent,
        message: it.message.clone(),
        result_ptr: it.result_ptr.clone(),
        at: it.at.as_millis(),
        sent_at: it.sent_at.map(Timestamp::as_millis),
    }
}

fn progress_of(it: ProgressDocument) -> Progress {
    Progress {
        percent: it.percent,
        message: it.message,
        result_ptr: it.result_ptr,
        at: at(it.at),
        sent_at: it.sent_at.map(at),
    }
}

fn event_document(it: &JobEvent) -> EventDocument {
    EventDocument {
        at: it.at.as_millis(),
        state: it.state.name().to_owned(),
        note: it.note.clone(),
    }
}

fn event_of(it: EventDocument) -> Result<JobEvent, BadDocument> {
    Ok(JobEvent {
        at: at(it.at),
        state: state_of(&it.state)?,
        note: it.note,
    })
}

fn letter_document(it: &DeadLetter) -> LetterDocument {
    LetterDocument {
        request: text_of(&it.request),
        status: it.status.number(),
        reason_code: it.reason_code.clone(),
        reason: it.reason.clone(),
        last_state: it.last_state.name().to_owned(),
        attempts: it.attempts,
        created_at: it.created_at.as_millis(),
    }
}

fn letter_of(
    it: LetterDocument,
    id: &JobId,
    request: &JobRequest,
) -> Result<DeadLetter, BadDocument> {
    Ok(DeadLetter {
        job_id: id.clone(),
        topic: request.topic.clone(),
        request: request_of(&it.request, "request of the dead letter")?,
        status: JobStatus::from_number(it.status),
        reason_code: it.reason_code,
        reason: it.reason,
        last_state: state_of(&it.last_state)?,
        attempts: it.attempts,
        created_at: at(it.created_at),
    })
}
