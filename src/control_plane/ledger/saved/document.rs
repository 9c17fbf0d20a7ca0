//! The documents themselves: JSON with the names of HTTP answers where there are such,
//! instants in milliseconds, requests and results as the bytes of their messages.

use std::collections::VecDeque;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{BadDocument, Kept};
use crate::control_plane::kernel::{Constraints, Decision, Remediation};
use crate::control_plane::ledger::job::Phase;
use crate::control_plane::ledger::rollback::{Stack, Stop, Undo, UndoKey, UndoState};
use crate::control_plane::ledger::{
    Approval, ApprovalStatus, CancelNote, DeadLetter, DecisionRecord, Job, JobEvent, JobState,
    Progress, WaitingOn,
};
use crate::ids::{JobId, TraceId, WorkerId};
use crate::time::Timestamp;
use crate::wire::packet::{JobRequest, JobStatus, WireEnum as _};
use crate::wire::stored;

/// What this program writes. Another number is refused: half understood would be worse.
pub(super) const VERSION: u32 = 1;

pub(super) fn write(document: &impl Serialize) -> String {
    serde_json::to_string(document).expect("plain data can be written")
}

/// Reads a document of this version.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadDocument> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let head: Head = serde_json::from_slice(bytes)?;
    if head.version != VERSION {
        return Err(BadDocument::Version {
            found: head.version,
        });
    }
    Ok(serde_json::from_slice(bytes)?)
}

fn bad(part: &'static str, why: impl std::fmt::Display) -> BadDocument {
    let why = why.to_string();
    BadDocument::Part { part, why }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn request_of(text: &str, part: &'static str) -> Result<Arc<JobRequest>, BadDocument> {
    let bytes = STANDARD.decode(text).map_err(|error| bad(part, error))?;
    let request = stored::job_request(&bytes).map_err(|error| bad(part, error))?;
    Ok(Arc::new(request))
}

fn text_of(request: &JobRequest) -> String {
    STANDARD.encode(stored::job_request_bytes(request))
}

/// A job.
#[derive(Serialize, Deserialize)]
pub(super) struct JobDocument {
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
    past_workers: Vec<String>,
    undoes: Option<KeyDocument>,
    letter: Option<LetterDocument>,
}

#[derive(Serialize, Deserialize)]
struct DecisionDocument {
    decision: Option<String>,
    reason: String,
    rule_id: Option<String>,
    policy_snapshot: String,
    constraints: Option<Constraints>,
    remediations: Vec<Remediation>,
    job_hash: Option<String>,
    checked_at: i64,
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

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeyDocument {
    Workflow(String),
    Job(String),
}

impl KeyDocument {
    fn of(key: &UndoKey) -> Self {
        match key {
            UndoKey::Workflow(id) => Self::Workflow(id.clone()),
            UndoKey::Job(id) => Self::Job(id.to_string()),
        }
    }

    fn into_key(self) -> UndoKey {
        match self {
            Self::Workflow(id) => UndoKey::Workflow(id),
            Self::Job(id) => UndoKey::Job(JobId::from(id)),
        }
    }
}

impl JobDocument {
    pub(super) fn of(seq: u64, job: &Job, letter: Option<&DeadLetter>) -> Self {
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
            past_workers: job.past_workers.iter().map(ToString::to_string).collect(),
            undoes: job.undoes.as_ref().map(KeyDocument::of),
            letter: letter.map(letter_document),
        }
    }

    pub(super) fn into_job(self) -> Result<(u64, Job, Option<DeadLetter>), BadDocument> {
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
            cancel_relayed: self.cancel_relayed,
            going_on_told: false,
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

fn result_of(text: &str) -> Result<Arc<crate::wire::packet::JobResult>, BadDocument> {
    let part = "result";
    let bytes = STANDARD.decode(text).map_err(|error| bad(part, error))?;
    let result = stored::job_result(&bytes).map_err(|error| bad(part, error))?;
    Ok(Arc::new(result))
}

fn decision_document(record: &DecisionRecord) -> DecisionDocument {
    DecisionDocument {
        decision: record.decision.map(|it| it.name().to_owned()),
        reason: record.reason.clone(),
        rule_id: record.rule_id.clone(),
        policy_snapshot: record.policy_snapshot.clone(),
        constraints: record.constraints.clone(),
        remediations: record.remediations.clone(),
        job_hash: record.job_hash.clone(),
        checked_at: record.checked_at.as_millis(),
    }
}

fn decision_of(it: DecisionDocument) -> Result<Arc<DecisionRecord>, BadDocument> {
    let named = |name: String| {
        let found = Decision::ALL.into_iter().find(|it| it.name() == name);
        found.ok_or_else(|| bad("decision", format!("`{name}` is none")))
    };
    Ok(Arc::new(DecisionRecord {
        decision: it.decision.map(named).transpose()?,
        reason: it.reason,
        rule_id: it.rule_id,
        policy_snapshot: it.policy_snapshot,
        constraints: it.constraints,
        remediations: it.remediations,
        job_hash: it.job_hash,
        checked_at: at(it.checked_at),
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

/// A rollback.
#[derive(Serialize, Deserialize)]
pub(super) struct StackDocument {
    version: u32,
    key: KeyDocument,
    recorded: Vec<UndoDocument>,
    queue: Vec<UndoDocument>,
    done: Vec<UndoDocument>,
    running: Option<String>,
    failed: Option<(String, i64)>,
    stopped: Option<StopDocument>,
}

#[derive(Serialize, Deserialize)]
struct UndoDocument {
    undoes: String,
    job_id: Option<String>,
    state: String,
    workflow_id: String,
    template: String,
}

#[derive(Serialize, Deserialize)]
struct StopDocument {
    job_id: String,
    at: i64,
    why: String,
}

impl StackDocument {
    pub(super) fn of(key: &UndoKey, stack: &Stack) -> Self {
        let all = |undos: &[Undo]| undos.iter().map(undo_document).collect();
        Self {
            version: VERSION,
            key: KeyDocument::of(key),
            recorded: all(&stack.recorded),
            queue: stack.queue.iter().map(undo_document).collect(),
            done: all(&stack.done),
            running: stack.running.as_ref().map(ToString::to_string),
            failed: stack
                .failed
                .as_ref()
                .map(|(job, at)| (job.to_string(), at.as_millis())),
            stopped: stack.stopped.as_ref().map(|stop| StopDocument {
                job_id: stop.job_id.to_string(),
                at: stop.at.as_millis(),
                why: stop.why.clone(),
            }),
        }
    }

    pub(super) fn into_stack(self) -> Result<(UndoKey, Stack), BadDocument> {
        fn all<C: FromIterator<Undo>>(undos: Vec<UndoDocument>) -> Result<C, BadDocument> {
            undos.into_iter().map(undo_of).collect()
        }
        let stack = Stack {
            recorded: all(self.recorded)?,
            queue: all(self.queue)?,
            done: all(self.done)?,
            running: self.running.map(JobId::from),
            failed: self.failed.map(|(job, ms)| (JobId::from(job), at(ms))),
            stopped: self.stopped.map(|stop| Stop {
                job_id: JobId::from(stop.job_id),
                at: at(stop.at),
                why: stop.why,
            }),
        };
        Ok((self.key.into_key(), stack))
    }
}

fn undo_document(undo: &Undo) -> UndoDocument {
    UndoDocument {
        undoes: undo.undoes.to_string(),
        job_id: undo.job_id.as_ref().map(ToString::to_string),
        state: undo.state.name().to_owned(),
        workflow_id: undo.workflow_id.clone(),
        template: text_of(undo.template()),
    }
}

fn undo_of(it: UndoDocument) -> Result<Undo, BadDocument> {
    let state = UndoState::ALL
        .into_iter()
        .find(|state| state.name() == it.state)
        .ok_or_else(|| bad("rollback", format!("`{}` is no state of a step", it.state)))?;
    let template = request_of(&it.template, "rollback")?;
    let mut undo = Undo::new(
        Arc::unwrap_or_clone(template),
        JobId::from(it.undoes),
        state,
    );
    undo.workflow_id = it.workflow_id;
    undo.job_id = it.job_id.map(JobId::from);
    Ok(undo)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_plane::ledger::saved::Saved;

    fn why(document: &[u8]) -> String {
        let error = Saved::default()
            .add_job(document)
            .expect_err("it is broken");
        error.to_string()
    }

    #[test]
    fn what_this_program_did_not_write_is_refused_and_says_why() {
        assert_eq!(why(b""), "it cannot be read");
        assert_eq!(why(b"{}"), "it cannot be read");
        let other = br#"{"version":2,"job_id":"j1"}"#;
        assert_eq!(
            why(other),
            "it is of version 2, and this program reads version 1"
        );
    }

    #[test]
    fn a_name_that_nobody_knows_is_told_with_its_place() {
        use crate::control_plane::ledger::{Ledger, Submission};
        use crate::ids::JobId;
        let mut ledger = Ledger::new(10, 7).keeping();
        let request = JobRequest {
            job_id: JobId::from("j1"),
            topic: "job.a".to_owned(),
            ..JobRequest::default()
        };
        let submission = Submission {
            request,
            ..Submission::default()
        };
        ledger.submit(submission, at(5)).expect("it is new");
        let document = ledger.take_changes().jobs[0].document();
        Saved::default()
            .add_job(document.as_bytes())
            .expect("it is whole");
        for (from, to, says) in [
            (
                r#""state":"PENDING","waiting_on""#,
                r#""state":"GONE","waiting_on""#,
                "its state cannot be read: `GONE` is none",
            ),
            (
                r#""waiting_on":null"#,
                r#""waiting_on":"rain""#,
                "its waiting_on cannot be read: `rain` is none",
            ),
            (
                r#""request":""#,
                r#""request":"!"#,
                "its request cannot be read: Invalid symbol 33, offset 0.",
            ),
        ] {
            assert!(document.contains(from), "{from} in {document}");
            assert_eq!(why(document.replacen(from, to, 1).as_bytes()), says);
        }
    }
}
