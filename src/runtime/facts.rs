//! The gateway's and the store's answers in the model's words.
//!
//! The job hash is computed here, from the stored request, before the answer
//! becomes an event: the model compares two texts and trusts neither.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::gateway_client::types::{
    ApprovalItem, DeadLetterRecord, DecisionRecord, JobDetail, JobRecord, List, PoolRecord,
    RollbackRecord, UndoRecord, WorkerRecord,
};
use crate::ids::{JobId, PoolName, WorkerId};
use crate::state::event::{PoolFact, WorkerFact};
use crate::state::model::approvals::{ApprovalFact, ApprovalStatus, Content, Payload};
use crate::state::model::jobs::{
    Decision, Happened, JobFact, JobState, Moment, Request, Undo, Verdict, WaitingOn, bounded,
    pointers,
};
use crate::state::model::letters::{DeadLetter, LettersFact};
use crate::state::model::rollbacks::{RollbackFact, StepState, ToldStep, Undone};
use crate::state::secrets::secrets_in;
use crate::state::shared::{Text, text};
use crate::time::Timestamp;
use crate::wire::job_hash::{job_hash, sha256_hex};
use crate::wire::json::{JsonError, Unknown, job_request_from_json};
use crate::wire::packet::{ActorType, JobRequest, JobStatus};

/// Payloads longer than this are not shown, 2 MiB: what the plane itself takes.
pub(super) const MAX_PAYLOAD: u64 = 2 << 20;

/// A job from a list.
pub fn job_fact(record: &JobRecord) -> JobFact {
    let actor_type = ActorType::from_name(&record.actor_type.to_ascii_uppercase());
    let request = Request {
        topic: text(&record.topic),
        tenant: text(&record.tenant),
        principal: text(&record.principal),
        actor: text(&record.actor_id),
        actor_type: actor_type.unwrap_or_default(),
        capability: text(&record.capability),
        pack_id: text(&record.pack_id),
        idempotency_key: text(&record.idempotency_key),
        risk_tags: record
            .risk_tags
            .iter()
            .map(|it| Arc::from(it.as_str()))
            .collect(),
        requires: record
            .requires
            .iter()
            .map(|it| Arc::from(it.as_str()))
            .collect(),
        deadline_at: record.deadline,
        workflow_id: text(&record.workflow_id),
        parent: (!record.parent_job_id.is_empty())
            .then(|| JobId::from(record.parent_job_id.as_str())),
        ..Request::default()
    };
    let verdict = Verdict {
        decision: Decision::read(&record.safety_decision),
        rule_id: text(&record.safety_rule_id),
        reason: text(&record.safety_reason),
        snapshot: text(&record.safety_snapshot),
        constraints: Arc::default(),
    };
    JobFact {
        id: record.id.clone(),
        state: JobState::from_name(&record.state),
        updated_at: record.updated_at,
        created_at: record.submitted_at,
        attempts: (record.attempts > 0).then_some(record.attempts),
        request: Some(request),
        trace: (!record.trace_id.is_empty()).then(|| record.trace_id.clone()),
        verdict: (verdict != Verdict::default()).then_some(verdict),
        waiting_on: WaitingOn::from_name(&record.waiting_on)
            .or_else(|| WaitingOn::from_name(&record.failure_reason)),
        worker: worker(&record.worker_id),
        error_message: text(&record.failure_reason),
        percent: record.percent,
        message: text(bounded(&record.message)),
        ..JobFact::default()
    }
}

/// A worker by its name; `None` for the names that the plane itself goes by.
pub(super) fn worker(name: &str) -> Option<WorkerId> {
    let plane = matches!(name, "" | "api-gateway" | "cordum-scheduler");
    (!plane).then(|| WorkerId::from(name))
}

/// A job from its own page, with the stored request where the gateway gives it.
pub(super) fn detail_fact(detail: &JobDetail) -> JobFact {
    let mut fact = job_fact(&detail.record);
    let mut request = fact.request.take().unwrap_or_default();
    request.context_ptr = text(&detail.context_ptr);
    request.workflow_id = text(&detail.workflow_id);
    request.parent =
        (!detail.parent_job_id.is_empty()).then(|| JobId::from(detail.parent_job_id.as_str()));
    request.labels = labels(&detail.labels);
    request.undo = detail.compensation.as_ref().and_then(undo);
    fact.request = Some(request);
    if let Some(stored) = stored_request(detail.request.as_ref()) {
        with_stored(&mut fact, &stored);
    }
    if let Some(constraints) = &detail.safety_constraints {
        let verdict = fact.verdict.get_or_insert_with(Verdict::default);
        verdict.constraints = limits(constraints);
    }
    if let Some(waiting) = detail.raw.get("waiting_on").and_then(Value::as_str) {
        fact.waiting_on = WaitingOn::from_name(waiting);
    }
    fact.moments = detail
        .events
        .iter()
        .filter_map(|event| {
            Some(Moment {
                at: event.ts?,
                what: Happened::Became(JobState::from_name(&event.state)?),
            })
        })
        .collect();
    // Gateways keep the last states of a job, so that its birth can be missing.
    fact.is_whole_life = matches!(
        fact.moments.first().map(|it| &it.what),
        Some(Happened::Became(JobState::Pending))
    ) && fact.moments.len() <= crate::state::limits::MOMENTS;
    // A yes sends the job back to where it waits for a worker.
    if fact.moments.is_empty()
        && fact.state.is_some_and(|state| state != JobState::Denied)
        && let Some(at) = detail.approval_at
    {
        fact.moments.push(Moment {
            at,
            what: Happened::Became(JobState::Pending),
        });
    }
    fact.cancel_by = text(bounded(&detail.cancel_requested_by));
    fact.cancel_reason = text(bounded(&detail.cancel_reason));
    fact.result_ptr = text(&detail.result_ptr);
    fact.artifact_ptrs = pointers(&detail.artifact_ptrs);
    fact.error_code = text(&detail.error_code);
    fact.error_message = text(&detail.error_message).or(fact.error_message);
    // The last result can be of an attempt before the one that ended the job.
    let ended_it =
        |it: &JobStatus| fact.state.is_some() && JobState::from_result(*it) == fact.state;
    fact.result_status = status(&detail.error_status)
        .or_else(|| status(&detail.result_status).filter(ended_it))
        .or_else(|| status(&detail.status).filter(ended_it));
    fact
}

/// Adds the decisions about a job to what its page tells of its life: the page says what
/// policy decided last, and not when.
pub(super) fn with_decisions(fact: &mut JobFact, decisions: &[DecisionRecord]) {
    let made = decisions
        .iter()
        .filter_map(|record| Some((record.checked_at?, Decision::read(&record.decision)?)));
    let stands = fact.verdict.as_ref().and_then(|verdict| verdict.decision);
    let mut last = None;
    for (at, decision) in made {
        if Some(decision) == stands {
            last = last.max(Some(at));
        }
        fact.moments.push(Moment {
            at,
            what: Happened::Decided(decision),
        });
    }
    fact.decided_at = last.or(fact.decided_at);
    // A stable order: what has one stamp stays as it was told.
    fact.moments.sort_by_key(|moment| moment.at);
}

/// A status by its name, with the contract's prefix or without, or by its number.
fn status(name: &str) -> Option<JobStatus> {
    let name = name.trim_start_matches("JOB_STATUS_");
    JobStatus::from_name(name)
        .or_else(|| name.parse().ok().map(JobStatus::from_number))
        .filter(|it| *it != JobStatus::Unspecified)
}

/// Puts the stored request in the place of what else is told of it.
pub(super) fn with_stored(fact: &mut JobFact, stored: &JobRequest) {
    let told = fact.request.take().unwrap_or_default();
    let mut request = Request::read(stored);
    request.deadline_at = told.deadline_at;
    request.context_ptr = request.context_ptr.or(told.context_ptr);
    // A request may leave these to the plane, which then says what it took.
    request.tenant = request.tenant.or(told.tenant);
    request.principal = request.principal.or(told.principal);
    fact.request = Some(request);
}

/// An approval from the list, with the job's own page where it was read.
pub fn approval_fact(
    item: &ApprovalItem,
    detail: Option<&JobDetail>,
    own_hash: Text,
) -> ApprovalFact {
    let mut job = match detail {
        Some(detail) => detail_fact(detail),
        None => job_fact(&item.job),
    };
    let stands = job.verdict.clone();
    let verdict = job.verdict.get_or_insert_with(Verdict::default);
    verdict.decision = Decision::read(&item.decision).or(verdict.decision);
    verdict.rule_id = text(&item.policy_rule_id).or(verdict.rule_id.take());
    verdict.reason = text(&item.policy_reason).or(verdict.reason.take());
    verdict.snapshot = text(&item.policy_snapshot).or(verdict.snapshot.take());
    if let Some(constraints) = &item.constraints {
        verdict.constraints = limits(constraints);
    }
    if let Some(request) = &mut job.request {
        request.context_ptr = request
            .context_ptr
            .take()
            .or_else(|| text(&item.context_ptr));
        request.workflow_id = request
            .workflow_id
            .take()
            .or_else(|| text(&item.workflow_id));
    }
    let status = match ApprovalStatus::read(&item.approval_status) {
        Some(status) => status,
        // The older generation lists what waits, and nothing else.
        None => match item.approval_decision.as_str() {
            "approve" => ApprovalStatus::Approved,
            "reject" => ApprovalStatus::Rejected,
            _ => ApprovalStatus::Pending,
        },
    };
    if status == ApprovalStatus::Pending {
        job.state = Some(JobState::ApprovalRequired);
    }
    let actionable = matches!(item.approval_actionability.as_str(), "" | "actionable");
    ApprovalFact {
        job,
        stands,
        status,
        job_hash: text(&item.job_hash)
            .or_else(|| detail.and_then(|detail| text(&detail.safety_job_hash))),
        own_hash,
        approval_ref: text(&item.approval_ref),
        submitted_by: text(&item.submitted_by),
        resolved_by: text(&item.resolved_by),
        resolved_comment: text(&item.resolved_comment),
        resolved_at: item.resolved_at,
        not_actionable: (!actionable).then(|| Arc::from(item.approval_actionability.as_str())),
    }
}

/// The hash of a stored request as we compute it; `None` if it is not given or not read.
pub(super) fn own_hash(detail: &JobDetail) -> Text {
    let stored = stored_request(detail.request.as_ref())?;
    Some(Arc::from(job_hash(&stored).as_str()))
}

pub(super) fn stored_request(json: Option<&Value>) -> Option<JobRequest> {
    let json = json?.to_string();
    read_request(json.as_bytes()).ok()
}

/// A stored request from its protojson.
pub(super) fn read_request(json: &[u8]) -> Result<JobRequest, JsonError> {
    let (request, _) = job_request_from_json(json, Unknown::Ignore)?;
    Ok(request)
}

fn undo(value: &Value) -> Option<Arc<Undo>> {
    let member = |name: &str, camel: &str| {
        value
            .get(name)
            .or_else(|| value.get(camel))
            .and_then(Value::as_str)
            .and_then(text)
    };
    let meta = value.get("meta");
    let key = meta.and_then(|meta| {
        meta.get("idempotency_key")
            .or_else(|| meta.get("idempotencyKey"))?
            .as_str()
    });
    Some(Arc::new(Undo {
        topic: member("topic", "topic")?,
        context_ptr: member("context_ptr", "contextPtr"),
        idempotency_key: key.and_then(text),
    }))
}

fn labels(labels: &BTreeMap<String, String>) -> Arc<[(Arc<str>, Arc<str>)]> {
    labels
        .iter()
        .map(|(key, value)| (Arc::from(key.as_str()), Arc::from(value.as_str())))
        .collect()
}

/// Limits as `budgets.max_runtime_ms 120000`, a line each; empty ones are left out.
/// Gateways write the names in snake case, stores in camelCase.
pub(super) fn limits(constraints: &Value) -> Arc<[Arc<str>]> {
    fn snake(name: &str) -> String {
        let mut snake = String::with_capacity(name.len());
        for letter in name.chars() {
            if letter.is_ascii_uppercase() {
                snake.push('_');
            }
            snake.push(letter.to_ascii_lowercase());
        }
        snake
    }
    fn walk(path: &str, value: &Value, lines: &mut Vec<Arc<str>>) {
        let line = |says: String| Arc::from(bounded(&format!("{path} {says}")));
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let name = snake(name);
                    let path = if path.is_empty() {
                        name
                    } else {
                        format!("{path}.{name}")
                    };
                    walk(&path, value, lines);
                }
            }
            Value::Array(items) if items.is_empty() => {}
            Value::Array(items) => {
                let items: Vec<String> = items
                    .iter()
                    .map(|it| it.as_str().map_or_else(|| it.to_string(), str::to_owned))
                    .collect();
                lines.push(line(items.join(", ")));
            }
            Value::String(text) if text.is_empty() || text == "0" => {}
            Value::String(text) => lines.push(line(text.clone())),
            Value::Bool(true) | Value::Number(_) => lines.push(line(value.to_string())),
            Value::Bool(false) | Value::Null => {}
        }
    }
    let mut lines = Vec::new();
    walk("", constraints, &mut lines);
    lines.truncate(crate::state::limits::LABELS);
    lines.into()
}

/// A worker from the gateway's list.
pub(super) fn worker_fact(record: &WorkerRecord) -> WorkerFact {
    WorkerFact {
        worker_id: WorkerId::from(record.worker_id.as_str()),
        pool: PoolName::from(record.pool.as_str()),
        region: Arc::from(record.region.as_str()),
        active_jobs: record.active_jobs,
        max_parallel_jobs: record.max_parallel_jobs,
        cpu_load: record.cpu_load,
        memory_load: record.memory_load,
        gpu_utilization: record.gpu_utilization,
        heard_at: record.last_heartbeat_at,
    }
}

/// A pool from the gateway's list.
pub(super) fn pool_fact(record: &PoolRecord) -> PoolFact {
    PoolFact {
        name: PoolName::from(record.name.as_str()),
        topics: record
            .topics
            .iter()
            .map(|it| Arc::from(it.as_str()))
            .collect(),
        draining: false,
    }
}

/// The dead letters that the gateway lists, of `asked` that were asked for.
pub(super) fn letters_fact(list: &List<DeadLetterRecord>, asked: usize) -> LettersFact {
    let letter = |record: &DeadLetterRecord| DeadLetter {
        job: record.job_id.clone(),
        topic: text(&record.topic),
        status: JobStatus::from_name(record.status.trim_start_matches("JOB_STATUS_"))
            .filter(|it| *it != JobStatus::Unspecified),
        reason_code: text(&record.reason_code),
        reason: text(&record.reason),
        last_state: JobState::from_name(&record.last_state),
        attempts: (record.attempts > 0).then_some(record.attempts),
        at: record.created_at.unwrap_or_default(),
    };
    let named = list.items.iter().filter(|it| !it.job_id.is_empty());
    LettersFact {
        letters: named.map(letter).collect(),
        retry_copies: Some(!list.bare),
        more: list.items.len() + list.unreadable >= asked,
    }
}

/// A rollback from the gateway's list. A job without a workflow is listed by its own id.
pub(super) fn rollback_fact(record: &RollbackRecord) -> RollbackFact {
    let named = |id: &JobId| (!id.is_empty()).then(|| id.clone());
    let step = |step: &UndoRecord| ToldStep {
        undoes: named(&step.undoes),
        job: named(&step.job_id),
        topic: text(&step.topic),
        idempotency_key: text(&step.idempotency_key),
        state: match step.state.as_str() {
            "recorded" => StepState::Armed,
            "waiting" if record.state == "stopped" => StepState::NotRun,
            "waiting" => StepState::WillRun,
            "skipped" => StepState::Skipped,
            "refused" => StepState::Refused,
            _ if step.job_id.is_empty() => StepState::Unknown,
            state => StepState::Job(JobState::from_name(&state.to_ascii_uppercase())),
        },
        decision: Decision::read(&step.verdict),
    };
    let of = record.workflow_id.as_str();
    let mut undone = record.steps.iter().map(|step| &step.undoes);
    let alone = record.failed_job_id.as_str() == of || undone.any(|job| job.as_str() == of);
    RollbackFact {
        of: if alone {
            Undone::Job(JobId::from(of))
        } else {
            Undone::Workflow(Arc::from(of))
        },
        failed: named(&record.failed_job_id),
        started: record.started_at,
        steps: record.steps.iter().map(step).collect(),
    }
}

/// What was read behind a pointer: all of it, or what it is instead.
pub(super) fn payload(
    job: &JobId,
    pointer: &str,
    at: Timestamp,
    size: u64,
    bytes: Option<&[u8]>,
) -> Payload {
    let mut payload = Payload {
        job: job.clone(),
        pointer: Arc::from(pointer),
        read_at: at,
        size: None,
        sha256: None,
        content: Content::Missing,
    };
    let Some(bytes) = bytes else {
        return payload;
    };
    let here = bytes.len() as u64;
    payload.size = Some(size.max(here));
    if size > here || here > MAX_PAYLOAD {
        payload.content = Content::TooLong {
            readable: here.min(MAX_PAYLOAD),
        };
        return payload;
    }
    payload.sha256 = Some(Arc::from(sha256_hex(bytes)));
    payload.content = match std::str::from_utf8(bytes) {
        // A zero byte is in no text that a person wrote.
        Ok(it) if !it.contains('\0') => Content::Text {
            lines: u32::try_from(it.lines().count()).unwrap_or(u32::MAX),
            secrets: secrets_in(it).into(),
            text: Arc::from(it),
        },
        Ok(_) | Err(_) => Content::Binary(Arc::from(bytes)),
    };
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(size: u64, bytes: Option<&[u8]>, expected: &str) {
        let job = JobId::from("j1");
        let read = payload(&job, "redis://ctx:j1", Timestamp::default(), size, bytes);
        let size = read.size.map_or("?".to_owned(), |size| size.to_string());
        let sum = if read.sha256.is_some() { " summed" } else { "" };
        let is = match read.content {
            Content::Text { lines, .. } => format!("{lines} lines"),
            Content::Binary(bytes) => format!("binary {}", bytes.len()),
            Content::TooLong { readable } => format!("first {readable}"),
            Content::Missing => "missing".to_owned(),
            Content::Unreadable(why) => format!("unreadable {why}"),
        };
        assert_eq!(format!("{size}: {is}{sum}"), expected);
    }

    #[test]
    fn a_rollback_of_the_gateways_list_names_whose_it_is_and_how_each_step_stands() {
        let record = |id: &str, state: &str| {
            let step = |n: u32, state: &str, job: Value| {
                serde_json::json!({
                    "order": n, "state": state, "undoes": format!("j{n}"), "job_id": job,
                    "topic": "job.undo", "idempotency_key": format!("k{n}"), "verdict": null,
                })
            };
            let read: List<RollbackRecord> = List::from_value(serde_json::json!({"items": [{
                "workflow_id": id, "state": state, "failed_job_id": "j1",
                "started_at": 1_767_225_600_000_000_i64,
                "steps": [
                    step(1, "DENIED", "c1".into()), step(2, "waiting", Value::Null),
                    step(3, "recorded", Value::Null), step(4, "skipped", Value::Null),
                    step(5, "refused", Value::Null), step(6, "odd", Value::Null), 7,
                ],
            }]}))
            .expect("a list");
            rollback_fact(&read.items[0])
        };
        let fact = record("wf-1", "stopped");
        assert_eq!(fact.of, Undone::Workflow("wf-1".into()));
        assert_eq!(fact.failed, Some(JobId::from("j1")));
        assert_eq!(
            fact.started,
            Some(Timestamp::from_millis(1_767_225_600_000))
        );
        let states: Vec<StepState> = fact.steps.iter().map(|step| step.state).collect();
        assert_eq!(
            states,
            [
                StepState::Job(Some(JobState::Denied)),
                StepState::NotRun,
                StepState::Armed,
                StepState::Skipped,
                StepState::Refused,
                StepState::Unknown,
            ]
        );
        assert_eq!(fact.steps[0].job, Some(JobId::from("c1")));
        assert_eq!(fact.steps[1].idempotency_key.as_deref(), Some("k2"));
        // A job without a workflow is listed by its own id.
        assert_eq!(record("j1", "running").of, Undone::Job(JobId::from("j1")));
        // As long as it goes on, what waits has its turn.
        assert_eq!(record("wf-1", "running").steps[1].state, StepState::WillRun);
    }

    #[test]
    fn the_page_of_a_job_and_its_decisions_tell_its_life_by_the_planes_clock() {
        let detail = JobDetail::from_value(serde_json::json!({
            "id": "j1", "state": "DISPATCHED", "safety_decision": "ALLOW",
            "events": [
                {"ts": 1_000_000_000_000_000_i64, "state": "PENDING", "note": "submitted"},
                {"ts": 1_000_000_003_000_000_i64, "state": "DISPATCHED", "note": ""},
                {"ts": "soon", "state": "RUNNING"}, {"ts": 1, "state": "ODD"}, 7,
            ],
        }));
        let mut fact = detail_fact(&detail.expect("a detail"));
        let decisions: List<DecisionRecord> = List::from_value(serde_json::json!({"items": [
            {"decision": "ALLOW", "checked_at": 1_000_000_002_000_000_i64},
            {"decision": "THROTTLE", "checked_at": 1_000_000_001_000_000_i64},
            {"decision": "ALLOW"},
        ]}))
        .expect("a list");
        with_decisions(&mut fact, &decisions.items);
        let life: Vec<String> = fact
            .moments
            .iter()
            .map(|it| format!("{:?} {}", it.what, it.at.as_millis() % 10_000))
            .collect();
        let expected = [
            "Became(Pending) 0",
            "Decided(Throttle) 1000",
            "Decided(Allow) 2000",
            "Became(Dispatched) 3000",
        ];
        assert_eq!(life, expected);
        let allowed = Timestamp::from_millis(1_000_000_002_000);
        assert_eq!(fact.decided_at, Some(allowed));
    }

    #[test]
    fn a_page_without_states_tells_when_a_person_said_yes_and_one_with_them_is_whole() {
        let told = |state: &str, events: Value| {
            let detail = JobDetail::from_value(serde_json::json!({
                "id": "j1", "state": state, "approval_at": 1_000_000_000_000_000_i64, "events": events,
            }));
            let fact = detail_fact(&detail.expect("a detail"));
            let what = fact.moments.iter().map(|it| format!("{:?}", it.what));
            (what.collect::<Vec<_>>().join(" "), fact.is_whole_life)
        };
        let at = 999_999_999_000_000_i64;
        let event = |state: &str| serde_json::json!({"ts": at, "state": state});
        let none = serde_json::json!([]);
        assert_eq!(
            told("RUNNING", none.clone()),
            ("Became(Pending)".into(), false)
        );
        assert_eq!(told("DENIED", none), (String::new(), false));
        let all = serde_json::json!([event("PENDING"), event("RUNNING")]);
        assert_eq!(
            told("RUNNING", all),
            ("Became(Pending) Became(Running)".into(), true)
        );
        // The first of them were forgotten.
        let cut = serde_json::json!([event("RUNNING")]);
        assert_eq!(told("RUNNING", cut), ("Became(Running)".into(), false));
    }

    #[test]
    fn a_request_without_a_tenant_has_the_one_that_the_plane_says() {
        let detail = JobDetail::from_value(serde_json::json!({
            "id": "j1", "tenant": "default", "request": {"jobId": "j1", "topic": "job.a"},
        }));
        let fact = detail_fact(&detail.expect("a detail"));
        let request = fact.request.expect("a request");
        assert!(request.complete);
        assert_eq!(request.tenant.as_deref(), Some("default"));
    }

    #[test]
    fn a_payload_is_text_to_its_end_or_what_it_is_instead() {
        check(4, Some(b"a\nb\n"), "4: 2 lines summed");
        check(0, Some(b""), "0: 0 lines summed");
        check(0, None, "?: missing");
        check(2, Some(b"\xff\xfe"), "2: binary 2 summed");
        check(3, Some(b"a\0b"), "3: binary 3 summed");
        check(9, Some(b"cut"), "9: first 3");
        let most = vec![b'a'; MAX_PAYLOAD as usize];
        check(MAX_PAYLOAD, Some(&most), "2097152: 1 lines summed");
        let more = vec![b'a'; MAX_PAYLOAD as usize + 1];
        check(MAX_PAYLOAD + 1, Some(&more), "2097153: first 2097152");
        check(MAX_PAYLOAD + 1, Some(&[]), "2097153: first 0");
    }
}
