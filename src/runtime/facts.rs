//! The gateway's and the store's answers in the model's words.

use std::sync::Arc;

use crate::gateway_client::types::{
    DeadLetterRecord, List, PoolRecord, RollbackRecord, UndoRecord, WorkerRecord,
};
use crate::ids::{JobId, PoolName, WorkerId};
use crate::state::event::{PoolFact, WorkerFact};
use crate::state::model::approvals::{Content, Payload};
use crate::state::model::jobs::{Decision, JobState};
use crate::state::model::letters::{DeadLetter, LettersFact};
use crate::state::model::rollbacks::{RollbackFact, StepState, ToldStep, Undone};
use crate::state::secrets::secrets_in;
use crate::state::shared::text;
use crate::time::Timestamp;
use crate::wire::job_hash::sha256_hex;
use crate::wire::packet::JobStatus;

mod approval;
mod job;

pub use approval::approval_fact;
pub(super) use approval::own_hash;
pub use job::job_fact;
pub(super) use job::{
    detail_fact, limits, read_request, stored_request, with_decisions, with_stored, worker,
};

/// Payloads longer than this are not shown, 2 MiB: what the plane itself takes.
pub(super) const MAX_PAYLOAD: u64 = 2 << 20;

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
    use serde_json::Value;

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
