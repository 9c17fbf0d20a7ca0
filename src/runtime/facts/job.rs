//! A job in the model's words: from a list, from its own page, and from its stored request.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::gateway_client::types::{DecisionRecord, JobDetail, JobRecord};
use crate::ids::{JobId, WorkerId};
use crate::state::model::jobs::{
    Decision, Happened, JobFact, JobState, Moment, Request, Undo, Verdict, WaitingOn, bounded,
    pointers,
};
use crate::state::shared::text;
use crate::wire::json::{JsonError, Unknown, job_request_from_json};
use crate::wire::packet::{ActorType, JobRequest, JobStatus};

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
pub(in crate::runtime) fn worker(name: &str) -> Option<WorkerId> {
    let plane = matches!(name, "" | "api-gateway" | "cordum-scheduler");
    (!plane).then(|| WorkerId::from(name))
}

/// A job from its own page, with the stored request where the gateway gives it.
pub(in crate::runtime) fn detail_fact(detail: &JobDetail) -> JobFact {
    let mut fact = job_fact(&detail.record);
    let mut request = fact.request.take().unwrap_or_default();
    request.context_ptr = text(&detail.context_ptr);
    request.workflow_id = text(&detail.workflow_id);
    request.parent =
        (!detail.parent_job_id.is_empty()).then(|| JobId::from(detail.parent_job_id.as_str()));
    request.labels = labels(&detail.labels);
    request.sender = text(&detail.submitted_by);
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
pub(in crate::runtime) fn with_decisions(fact: &mut JobFact, decisions: &[DecisionRecord]) {
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
pub(in crate::runtime) fn with_stored(fact: &mut JobFact, stored: &JobRequest) {
    let told = fact.request.take().unwrap_or_default();
    let mut request = Request::read(stored);
    request.deadline_at = told.deadline_at;
    request.context_ptr = request.context_ptr.or(told.context_ptr);
    // A request may leave these to the plane, which then says what it took.
    request.tenant = request.tenant.or(told.tenant);
    request.principal = request.principal.or(told.principal);
    fact.request = Some(request);
}

pub(in crate::runtime) fn stored_request(json: Option<&Value>) -> Option<JobRequest> {
    let json = json?.to_string();
    read_request(json.as_bytes()).ok()
}

/// A stored request from its protojson.
pub(in crate::runtime) fn read_request(json: &[u8]) -> Result<JobRequest, JsonError> {
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
pub(in crate::runtime) fn limits(constraints: &Value) -> Arc<[Arc<str>]> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway_client::types::List;
    use crate::time::Timestamp;

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
}
