//! What the plane tells in a script: of jobs, approvals, payloads, dead letters and
//! rollbacks.

use std::sync::Arc;

use super::{START, Step, instant};
use crate::ids::{JobId, TraceId, WorkerId};
use crate::state::model::approvals::{ApprovalFact, ApprovalStatus, Content, Payload};
use crate::state::model::jobs::{
    Decision, Happened, JobFact, JobState, Moment, Request, Undo, Verdict, WaitingOn,
};
use crate::state::model::letters::{DeadLetter, LettersFact};
use crate::state::model::rollbacks::{RollbackFact, StepState, ToldStep, Undone};
use crate::state::shared::text;
use crate::time::Timestamp;
use crate::wire::packet::{ActorType, JobStatus};

impl Step<'_> {
    pub(super) fn fact(&self, job: &str, state: &str) -> Result<JobFact, String> {
        let told = self.value("told").map(instant).transpose()?;
        let verdict = Verdict {
            decision: self.value("decision").and_then(Decision::read),
            rule_id: self.optional("rule"),
            reason: self.optional("reason"),
            snapshot: self.optional("snapshot"),
            constraints: self.list("limits").into(),
        };
        Ok(JobFact {
            id: JobId::from(job),
            state: match state {
                "" => None,
                name => Some(JobState::from_name(name).ok_or("no such state")?),
            },
            updated_at: told.or(Some(self.at)),
            attempts: self
                .number("attempts")?
                .and_then(|it| u32::try_from(it).ok()),
            request: Some(self.told_request(told)?),
            verdict: (verdict != Verdict::default()).then_some(verdict),
            waiting_on: self.value("waiting").and_then(WaitingOn::from_name),
            worker: self.value("worker").map(WorkerId::from),
            error_code: self.optional("code"),
            result_status: self.value("ended").and_then(JobStatus::from_name),
            percent: self.number("percent")?,
            message: self.optional("message"),
            cancel_by: self.optional("cancelled-by"),
            cancel_reason: self.optional("because"),
            decided_at: self.value("decided").map(instant).transpose()?,
            moments: self.on_record()?,
            trace: self.value("trace").map(TraceId::from),
            is_whole_life: self.value("record").is_some(),
            created_at: self.value("born").map(instant).transpose()?,
            ..JobFact::default()
        })
    }

    /// `record=0s:PENDING,0.2s:ALLOW`: the plane's record of states and decisions.
    fn on_record(&self) -> Result<Vec<Moment>, String> {
        let moment = |entry: Arc<str>| {
            let (at, what) = entry.split_once(':').ok_or("no time and state")?;
            let state = JobState::from_name(what).map(Happened::Became);
            let what = state.or_else(|| Decision::from_name(what).map(Happened::Decided));
            Ok(Moment {
                at: instant(at)?,
                what: what.ok_or("no such state or decision")?,
            })
        };
        let entries: Vec<Arc<str>> = self.list("record");
        entries.into_iter().map(moment).collect()
    }

    fn told_request(&self, told: Option<Timestamp>) -> Result<Request, String> {
        let deadline = match self.value("deadline") {
            Some(after) => instant(after)?.since(START).as_millis(),
            None => 0,
        };
        Ok(Request {
            topic: self.optional("topic"),
            tenant: self.optional("tenant"),
            principal: self.optional("principal"),
            actor: self.optional("actor"),
            actor_type: ActorType::Service,
            capability: self.optional("capability"),
            context_ptr: self.optional("context"),
            workflow_id: self.optional("workflow"),
            step_index: self.number("step")?.unwrap_or(0),
            parent: self.value("parent").map(JobId::from),
            risk_tags: self.list("risk").into(),
            requires: self.list("requires").into(),
            labels: self
                .labels()
                .into_iter()
                .map(|(key, value)| (Arc::from(key), Arc::from(value)))
                .collect(),
            deadline_ms: i64::try_from(deadline).unwrap_or(i64::MAX),
            undo: self.value("undo").map(|topic| {
                Arc::new(Undo {
                    topic: Arc::from(topic),
                    ..Undo::default()
                })
            }),
            sent_at: told.or(Some(self.at)),
            complete: self.value("partial").is_none(),
            ..Request::default()
        })
    }

    pub(super) fn approval(&self, job: &str) -> Result<ApprovalFact, String> {
        let mut fact = self.fact(job, "APPROVAL_REQUIRED")?;
        let status = self.value("status").unwrap_or("pending");
        let status = ApprovalStatus::read(status).ok_or("no such status")?;
        if status != ApprovalStatus::Pending {
            fact.state = None;
        }
        Ok(ApprovalFact {
            job: fact,
            stands: None,
            status,
            job_hash: self.optional("hash"),
            own_hash: self.optional("own").or_else(|| self.optional("hash")),
            approval_ref: text(job),
            submitted_by: self.optional("submitted"),
            resolved_by: self.optional("who"),
            resolved_comment: self.optional("note"),
            resolved_at: (status != ApprovalStatus::Pending).then_some(self.at),
            not_actionable: None,
        })
    }

    pub(super) fn payload(&self, job: &str) -> Payload {
        let body = self.value("text").unwrap_or("{}").replace("\\n", "\n");
        Payload {
            job: JobId::from(job),
            pointer: Arc::from(self.value("pointer").unwrap_or("redis://ctx:j")),
            read_at: self.at,
            size: Some(body.len() as u64),
            sha256: self.optional("sha256"),
            content: match self.value("is") {
                Some("missing") => Content::Missing,
                Some("binary") => Content::Binary(Arc::from(body.as_bytes())),
                Some("long") => Content::TooLong { readable: 2 },
                Some(why) => Content::Unreadable(Arc::from(why)),
                None => Content::Text {
                    lines: u32::try_from(body.lines().count()).unwrap_or(u32::MAX),
                    text: Arc::from(body),
                    secrets: Arc::default(),
                },
            },
        }
    }

    pub(super) fn letter(&self, job: &str, status: &str) -> Result<LettersFact, String> {
        let told = self.value("told").map(instant).transpose()?;
        let letter = DeadLetter {
            job: JobId::from(job),
            topic: self.optional("topic"),
            status: Some(JobStatus::from_name(status).ok_or("no such status")?),
            reason_code: self.optional("code"),
            reason: self.optional("reason"),
            last_state: self.value("last").and_then(JobState::from_name),
            attempts: self
                .number("attempts")?
                .and_then(|it| u32::try_from(it).ok()),
            at: told.unwrap_or(self.at),
        };
        Ok(LettersFact {
            letters: vec![letter],
            retry_copies: match self.value("drops") {
                Some(_) => Some(false),
                None => Some(true),
            },
            more: false,
        })
    }

    /// Steps are `UNDOES:JOB:STATE`, with `:VERDICT` behind; without a job nothing is
    /// between the colons.
    pub(super) fn rollback(&self, of: &str, alone: &str) -> Result<RollbackFact, String> {
        let step = |text: &Arc<str>| -> Result<ToldStep, String> {
            let parts: Vec<&str> = text.split(':').collect();
            let &[undoes, job, state, ref verdict @ ..] = parts.as_slice() else {
                return Err(format!("`{text}` is no step"));
            };
            let state = match state {
                "WAITING" => StepState::WillRun,
                "NOT_RUN" => StepState::NotRun,
                "RECORDED" => StepState::Armed,
                "REFUSED" => StepState::Refused,
                "SKIPPED" => StepState::Skipped,
                state => StepState::Job(JobState::from_name(state)),
            };
            Ok(ToldStep {
                undoes: Some(JobId::from(undoes)),
                job: (!job.is_empty()).then(|| JobId::from(job)),
                topic: Some(Arc::from(format!("job.undo_{undoes}"))),
                idempotency_key: Some(Arc::from(format!("{undoes}/undo"))),
                state,
                decision: verdict.first().and_then(|name| Decision::read(name)),
            })
        };
        Ok(RollbackFact {
            of: match alone {
                "alone" => Undone::Job(JobId::from(of)),
                _ => Undone::Workflow(Arc::from(of)),
            },
            failed: self.value("failed").map(JobId::from),
            started: self.value("started").map(instant).transpose()?,
            steps: self
                .list("steps")
                .iter()
                .map(step)
                .collect::<Result<_, _>>()?,
        })
    }
}
