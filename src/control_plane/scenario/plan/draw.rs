//! Drawing what a scenario leaves to chance: the words of a job, what becomes of it,
//! how long it takes, and its payloads.
//!
//! The order of the draws is part of what a seed means.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::{Rng as _, RngExt as _};
use rand_chacha::ChaCha8Rng;

use super::{Move, Step, Submission};
use crate::control_plane::scenario::{
    Alert, JobTemplate, Outcome, SCRIPT_ENV, Scenario, Script, Span, Twist,
};
use crate::ids::{JobId, SenderId, TraceId};
use crate::time::Timestamp;
use crate::wire;
use crate::wire::packet::{
    Body, Budget, Compensation, ErrorCode, JobCancel, JobMetadata, JobRequest, Packet, SystemAlert,
};

/// Who takes back jobs of a scenario.
const CANCELLER: &str = "orbit-scheduler";

/// A job that is due, before anything of it is drawn.
pub(super) struct Wanted<'a> {
    pub(super) scenario: &'a Scenario,
    /// The name of its template.
    pub(super) job: &'a str,
    pub(super) change: &'a Twist,
    pub(super) id: JobId,
    /// Which job of the plan it is, from 1.
    pub(super) number: u64,
    /// The step that it is of a workflow.
    pub(super) step: Option<&'a Step>,
    pub(super) at: Timestamp,
}

impl Wanted<'_> {
    pub(super) fn draw(self, draws: &mut ChaCha8Rng) -> Submission {
        let (job, change, id, step, at) = (self.job, self.change, &self.id, self.step, self.at);
        let template = self.scenario.jobs.get(job);
        let template = template.expect("the format checked every job name");
        let trace = match step {
            Some(step) => step.run.trace.clone(),
            None => TraceId::from(uuid(draws)),
        };
        let mut words: BTreeMap<&str, String> = BTreeMap::new();
        for (name, values) in &template.vary {
            words.insert(name, pick(draws, values).to_owned());
        }
        let tenant = pick(draws, &template.tenants).to_owned();
        let principal = pick(draws, &template.principals).to_owned();
        let ms = draw_ms(draws, change.takes.unwrap_or(template.seconds));
        let drawn = draw_outcome(draws, template);
        let outcome = change.outcome.unwrap_or(drawn);
        words.insert("job_id", id.to_string());
        words.insert("n", self.number.to_string());
        words.insert("tenant", tenant.clone());
        words.insert("principal", principal.clone());
        words.insert("at", at.to_string());

        let script = |ms: u64, outcome: Outcome| Script {
            job: job.to_owned(),
            ms,
            outcome: outcome.name().to_owned(),
        };
        let env = |script: &Script| {
            let json = serde_json::to_string(script).expect("a script is plain JSON");
            BTreeMap::from([
                ("tenant_id".to_owned(), tenant.clone()),
                (SCRIPT_ENV.to_owned(), json),
            ])
        };
        let actor = if template.actor.is_empty() {
            &principal
        } else {
            &template.actor
        };
        let meta = JobMetadata {
            tenant_id: tenant.clone(),
            actor_id: actor.clone(),
            actor_type: template.actor_type,
            idempotency_key: String::new(),
            capability: template.capability.clone(),
            risk_tags: template.risk_tags.clone(),
            requires: template.requires.clone(),
            pack_id: template.pack.clone(),
            labels: BTreeMap::new(),
        };
        let labels = |own: &BTreeMap<String, String>| -> BTreeMap<String, String> {
            own.iter()
                .map(|(key, value)| (fill(key, &words), fill(value, &words)))
                .collect()
        };

        let mut contexts = Vec::new();
        let payload = change.payload.as_ref().or(template.payload.as_ref());
        contexts.push((
            format!("ctx:{id}"),
            self.context(payload, &template.topic, &words),
        ));
        let compensation = template.undo.as_ref().map(|undo| {
            let key = format!("ctx:{id}:undo");
            contexts.push((
                key.clone(),
                self.context(undo.payload.as_ref(), &undo.topic, &words),
            ));
            Box::new(Compensation {
                topic: undo.topic.clone(),
                context_ptr: format!("redis://{key}"),
                env: env(&script(draw_ms(draws, undo.seconds), Outcome::Succeeded)),
                tenant_id: tenant.clone(),
                principal_id: principal.clone(),
                labels: labels(&undo.labels),
                meta: Some(JobMetadata {
                    idempotency_key: format!("{id}/undo"),
                    ..meta.clone()
                }),
                ..Compensation::default()
            })
        });
        let mut all_labels = labels(&template.labels);
        all_labels.extend(labels(&change.labels));
        let sender = if template.sender.is_empty() {
            actor
        } else {
            &template.sender
        };
        let request = JobRequest {
            topic: template.topic.clone(),
            priority: template.priority,
            context_ptr: format!("redis://ctx:{id}"),
            env: env(&script(ms, outcome)),
            parent_job_id: step.map(|step| step.parent.clone()).unwrap_or_default(),
            workflow_id: step.map(|step| step.run.id.clone()).unwrap_or_default(),
            step_index: step.map_or(0, |step| i32::try_from(step.index).unwrap_or(i32::MAX)),
            budget: template.deadline.map(|deadline| Budget {
                deadline_ms: i64::try_from(deadline.as_millis()).unwrap_or(i64::MAX),
                ..Budget::default()
            }),
            tenant_id: tenant,
            principal_id: principal.clone(),
            labels: all_labels,
            meta: Some(meta.clone()),
            compensation,
            job_id: id.clone(),
            ..JobRequest::default()
        };
        Submission {
            packet: Packet::new(
                trace,
                SenderId::from(sender.as_str()),
                at,
                Body::JobRequest(Box::new(request)),
            ),
            contexts,
        }
    }

    fn context(
        &self,
        payload: Option<&String>,
        topic: &str,
        words: &BTreeMap<&str, String>,
    ) -> Bytes {
        let text = match payload {
            Some(name) => {
                let text = self.scenario.payloads.get(name);
                fill(text.expect("the format checked every payload name"), words)
            }
            None => {
                let facts: BTreeMap<&str, &str> = words
                    .iter()
                    .filter(|(name, _)| !matches!(**name, "n" | "at" | "job_id" | "principal"))
                    .map(|(name, word)| (*name, word.as_str()))
                    .collect();
                let context = serde_json::json!({
                    "job_id": words["job_id"],
                    "topic": topic,
                    "created_at": words["at"],
                    "requested_by": words["principal"],
                    "input": facts,
                });
                format!("{context:#}")
            }
        };
        Bytes::from(text)
    }
}

pub(super) fn cancel_packet(job: JobId, at: Timestamp) -> Move {
    let cancel = JobCancel {
        reason: "no longer needed".to_owned(),
        requested_by: CANCELLER.to_owned(),
        job_id: job.clone(),
        ..JobCancel::default()
    };
    Move::Publish {
        subject: wire::subject(wire::CANCEL),
        packet: Box::new(Packet::new(
            TraceId::from(job.as_str()),
            SenderId::from(CANCELLER),
            at,
            Body::JobCancel(cancel),
        )),
    }
}

pub(super) fn alert_packet(alert: &Alert, trace: TraceId, at: Timestamp) -> Move {
    let severity = alert.severity;
    let words = SystemAlert {
        level: wire::packet::WireEnum::name(severity).to_ascii_lowercase(),
        message: alert.message.clone(),
        component: alert.component.clone(),
        code: alert.code.clone(),
        details: alert.details.clone(),
        ..SystemAlert::default()
    };
    // The structured shape demands a numbered cause; without one the old shape is the valid one.
    let body = match alert.error {
        Some(error) if error != ErrorCode::Unspecified => SystemAlert {
            severity,
            error_code_enum: error,
            source_component: alert.component.clone(),
            trace_id: trace.clone(),
            ..words
        },
        _ => words,
    };
    let subject = if alert.workflow_event {
        wire::WORKFLOW_EVENT
    } else {
        wire::ALERT
    };
    Move::Publish {
        subject: wire::subject(subject),
        packet: Box::new(Packet::new(
            trace,
            SenderId::from(alert.component.as_str()),
            at,
            Body::Alert(Box::new(body)),
        )),
    }
}

/// `text` with every `{{word}}` we know replaced; others stay as they are.
fn fill(text: &str, words: &BTreeMap<&str, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        match after.split_once("}}") {
            Some((name, tail)) if words.contains_key(name.trim()) => {
                out.push_str(&words[name.trim()]);
                rest = tail;
            }
            _ => {
                out.push_str("{{");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn pick<'a>(draws: &mut ChaCha8Rng, values: &'a [String]) -> &'a str {
    match values {
        [] => "",
        values => &values[draws.random_range(0..values.len())],
    }
}

fn draw_ms(draws: &mut ChaCha8Rng, seconds: Span) -> u64 {
    let share: f64 = draws.random();
    ((seconds.low + share * (seconds.high - seconds.low)) * 1_000.0).round() as u64
}

fn draw_outcome(draws: &mut ChaCha8Rng, template: &JobTemplate) -> Outcome {
    let odds = &template.odds;
    let mut point: f64 = draws.random();
    for (share, outcome) in [
        (odds.failed, Outcome::Failed),
        (odds.failed_retryable, Outcome::FailedRetryable),
        (odds.failed_fatal, Outcome::FailedFatal),
        (odds.timeout, Outcome::Timeout),
        (odds.hang, Outcome::Hang),
    ] {
        if point < share {
            return outcome;
        }
        point -= share;
    }
    Outcome::Succeeded
}

pub(super) fn uuid(draws: &mut ChaCha8Rng) -> String {
    let mut bytes = [0; 16];
    draws.fill_bytes(&mut bytes);
    uuid::Builder::from_random_bytes(bytes)
        .into_uuid()
        .to_string()
}
