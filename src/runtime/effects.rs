//! What the model wants done outside: each effect with a deadline, each answered.
//!
//! A decision is compared with the plane once more right before it is sent, and
//! written into the operator's log first; what cannot be written down is not sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};

use super::{Identity, Sources, backfill, facts};
use crate::audit::{Entry, Receipt};
use crate::gateway_client::types::{Decided, Decision, Expect, JobDetail};
use crate::gateway_client::{Conflict, GatewayClient, GatewayError};
use crate::ids::{JobId, TraceId};
use crate::state::effect::{Binding, Effect, Looked, Outcome, Refusal, Refuser, Ruling};
use crate::state::event::Event;
use crate::state::model::approvals::Content;
use crate::time::{Clock, Elapsed, sleep};
use crate::wire::packet::{Body, JobCancel, Packet};
use crate::wire::{CANCEL, encode, subject};

mod reading;

/// No effect lasts longer. The clients have shorter limits of their own; this one
/// holds when a part of the machine hangs.
const LIMIT: Elapsed = Elapsed::from_secs(20);

/// Everything that an effect can reach.
pub(super) struct Outside {
    pub(super) sources: Sources,
    pub(super) identity: Identity,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) refresh: Arc<Notify>,
    pub(super) answers: mpsc::Sender<Event>,
}

impl Outside {
    pub(super) async fn answer(&self, event: Event) {
        // The receiver is gone only when the runtime ends.
        let _ended = self.answers.send(event).await;
    }

    pub(super) async fn run(&self, effect: &Effect) -> Outcome {
        tokio::select! {
            outcome = self.outcome_of(effect) => outcome,
            () = sleep(self.clock.as_ref(), LIMIT) => Outcome::TimedOut,
        }
    }

    async fn outcome_of(&self, effect: &Effect) -> Outcome {
        match effect {
            Effect::Cancel { job, reason } => self.cancel(job, reason).await,
            Effect::Retry { job } => self.retry(job).await,
            Effect::Decide {
                job,
                ruling,
                binding,
                looked,
            } => self.decide(job, ruling, binding, *looked).await,
            Effect::ReadPayload { job, pointer } => {
                let payload = self.payload(job, pointer).await;
                self.answer(Event::Payload(Box::new(payload))).await;
                Outcome::Done(None)
            }
            Effect::ReadJob(job) => self.read_job(job).await,
            Effect::ReadTrace { names } => self.read_trace(names).await,
            Effect::ReadLives { jobs } => self.read_lives(jobs).await,
            Effect::ReadPolicy => self.read_policy().await,
            Effect::Explain { job } => self.explain(job).await,
            Effect::Try { path } => self.try_policy(path).await,
            Effect::JudgeCompensation { job } => self.judge_compensation(job).await,
            Effect::Refresh => {
                self.refresh.notify_waiters();
                if let Some(reconnect) = &self.sources.reconnect {
                    reconnect();
                }
                Outcome::Done(None)
            }
            Effect::KeepView { name, kept } => match &self.sources.keep_view {
                Some(keep) => match keep(name, kept.as_ref()) {
                    Ok(()) => Outcome::Done(None),
                    Err(reason) => Outcome::Failed {
                        reason: Arc::from(reason),
                    },
                },
                None => failed("there is no directory for configuration"),
            },
            Effect::LogReveal { job } => match self.log("reveal", job, BTreeMap::new()).await {
                Ok(_) => Outcome::Done(None),
                Err(refused) => refused,
            },
            Effect::CopyText(_)
            | Effect::CopyJson
            | Effect::Bell
            | Effect::Suspend
            | Effect::Repaint
            | Effect::Quit => failed("only a terminal can do this"),
        }
    }

    // ---- cancel ----

    async fn cancel(&self, job: &JobId, reason: &str) -> Outcome {
        if self.identity.read_only {
            return console("read_only", "this console only reads");
        }
        let detail = BTreeMap::from([("reason".to_owned(), reason.to_owned())]);
        let receipt = match self.log("cancel", job, detail).await {
            Ok(receipt) => receipt,
            Err(refused) => return refused,
        };
        let outcome = match (&self.sources.gateway, &self.sources.bus) {
            (Some(gateway), _) => {
                let answer = gateway.cancel(job, reason, &self.identity.operator).await;
                match answer {
                    Ok(answer) if answer.too_late() => Outcome::Refused(Refusal {
                        by: Refuser::Plane,
                        status: 200,
                        code: Arc::from("already_terminal"),
                        text: Arc::from(format!("it had already ended: {}", answer.state)),
                    }),
                    Ok(answer) => Outcome::Done(Some(Arc::from(answer.state))),
                    Err(error) => outcome_of(&error),
                }
            }
            (None, Some(bus)) => self.publish_cancel(bus.as_ref(), job, reason).await,
            (None, None) => failed("no server is configured that could be asked"),
        };
        self.log_outcome(receipt, &outcome).await;
        outcome
    }

    async fn publish_cancel(
        &self,
        bus: &dyn crate::bus::Bus,
        job: &JobId,
        reason: &str,
    ) -> Outcome {
        let cancel = JobCancel {
            job_id: job.clone(),
            reason: reason.to_owned(),
            requested_by: self.identity.operator.clone(),
            ..JobCancel::default()
        };
        let packet = Packet::new(
            TraceId::from(job.as_str()),
            self.identity.console.clone(),
            self.clock.now(),
            Body::JobCancel(cancel),
        );
        let subject = subject(CANCEL);
        let bytes = match encode::encode(&subject, &packet) {
            Ok(bytes) => bytes,
            Err(error) => return console("contract", &error.to_string()),
        };
        match bus.publish(&subject, bytes).await {
            Ok(()) => Outcome::Done(None),
            Err(crate::bus::BusError::TimedOut { .. }) => Outcome::TimedOut,
            Err(error) => failed(&backfill::chain(&error)),
        }
    }

    // ---- retry ----

    async fn retry(&self, job: &JobId) -> Outcome {
        if self.identity.read_only {
            return console("read_only", "this console only reads");
        }
        let Some(gateway) = &self.sources.gateway else {
            return failed("dead letters are retried by a gateway, and none is configured");
        };
        let detail = BTreeMap::from([("gateway".to_owned(), gateway.url().to_owned())]);
        let receipt = match self.log("retry", job, detail).await {
            Ok(receipt) => receipt,
            Err(refused) => return refused,
        };
        let outcome = match gateway.retry(job, &self.identity.operator).await {
            Ok(made) if made.job_id.is_empty() => Outcome::Done(None),
            Ok(made) => Outcome::Done(Some(Arc::from(made.job_id.as_str()))),
            // Whether the letter or the route is missing, nothing was made.
            Err(GatewayError::NotFound { text }) => Outcome::Refused(Refusal {
                by: Refuser::Plane,
                status: 404,
                code: Arc::from("no_dead_letter"),
                text: Arc::from(text),
            }),
            Err(error) => outcome_of(&error),
        };
        self.log_outcome(receipt, &outcome).await;
        self.refresh.notify_waiters();
        outcome
    }

    // ---- decide ----

    async fn decide(
        &self,
        job: &JobId,
        ruling: &Ruling,
        binding: &Binding,
        looked: Looked,
    ) -> Outcome {
        if self.identity.read_only {
            return console("read_only", "this console only reads");
        }
        let Some(gateway) = &self.sources.gateway else {
            return failed("approvals do not travel on the bus; a gateway decides them");
        };
        let (verb, text) = match ruling {
            Ruling::Approve(note) => ("approve", note),
            Ruling::Reject(reason) => ("reject", reason),
        };
        // A rejection harms nothing, whatever moved; only a yes has to be to what was read.
        if let Ruling::Approve(_) = ruling
            && let Err(refused) = self.unchanged(gateway, job, binding).await
        {
            return refused;
        }
        let mut detail = BTreeMap::from([("text".to_owned(), text.to_string())]);
        for (name, value) in [
            ("job_hash", &binding.job_hash),
            ("policy_snapshot", &binding.policy_snapshot),
            ("payload_sha256", &binding.payload_sha256),
        ] {
            if let Some(value) = value {
                detail.insert(name.to_owned(), value.to_string());
            }
        }
        for (name, value) in [
            ("payload_bytes_seen", u64::from(looked.payload_bytes)),
            ("open_for_ms", looked.open_for.as_millis()),
        ] {
            detail.insert(name.to_owned(), value.to_string());
        }
        detail.insert("gateway".to_owned(), gateway.url().to_owned());
        let receipt = match self.log(verb, job, detail).await {
            Ok(receipt) => receipt,
            Err(refused) => return refused,
        };
        let owned = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
        let mut decision = Decision {
            operator: self.identity.operator.clone(),
            ..Decision::default()
        };
        let answer = match ruling {
            Ruling::Approve(note) => {
                decision.note = note.to_string();
                decision.expect = Expect {
                    job_hash: owned(&binding.job_hash),
                    policy_snapshot: owned(&binding.policy_snapshot),
                    context_sha256: owned(&binding.payload_sha256),
                };
                gateway.approve(job, &decision).await
            }
            Ruling::Reject(reason) => {
                decision.reason = reason.to_string();
                gateway.reject(job, &decision).await
            }
        };
        let outcome = match answer {
            Ok(answer) if answer.was_decided_before() => already(&answer),
            Ok(_) => Outcome::Done(Some(Arc::from(verb))),
            Err(error) => outcome_of(&error),
        };
        self.log_outcome(receipt, &outcome).await;
        self.refresh.notify_waiters();
        outcome
    }

    /// Reads hash, snapshot and payload again; any difference from what was on the
    /// screen refuses.
    async fn unchanged(
        &self,
        gateway: &GatewayClient,
        job: &JobId,
        binding: &Binding,
    ) -> Result<(), Outcome> {
        let detail = gateway
            .job(job)
            .await
            .map_err(|error| before_sending(&error))?;
        if let Some(read) = &binding.job_hash {
            let stored = Some(detail.safety_job_hash.as_str()).filter(|hash| !hash.is_empty());
            let mut own = facts::own_hash(&detail);
            if own.is_none() {
                own = backfill::stored_hash(self.sources.store.as_deref(), job).await;
            }
            let moved = [stored, own.as_deref()]
                .into_iter()
                .flatten()
                .find(|now| *now != &**read);
            if let Some(now) = moved {
                let says = format!("the stored request is not the one you read: {read}, now {now}");
                return Err(console("approval_stale_request", &says));
            }
        }
        if let Some(read) = &binding.policy_snapshot {
            let snapshots = gateway.snapshots().await;
            let snapshots = snapshots.map_err(|error| before_sending(&error))?;
            if let Some(now) = snapshots.first().filter(|now| **now != **read) {
                let says = format!("the policy moved while you read, from {read} to {now}");
                return Err(console("approval_stale_snapshot", &says));
            }
        }
        self.same_payload(job, &detail, binding).await
    }

    async fn same_payload(
        &self,
        job: &JobId,
        detail: &JobDetail,
        binding: &Binding,
    ) -> Result<(), Outcome> {
        let fact = facts::detail_fact(detail);
        let pointer = fact.request.and_then(|request| request.context_ptr);
        match (pointer, &binding.payload_sha256) {
            (None, None) => Ok(()),
            (Some(pointer), Some(read)) => {
                let payload = self.payload(job, &pointer).await;
                if payload.sha256.as_ref() == Some(read) {
                    return Ok(());
                }
                let says = match &payload.content {
                    Content::Missing => "the payload is gone".to_owned(),
                    Content::Unreadable(why) => format!("the payload cannot be read again: {why}"),
                    Content::Text { .. } | Content::Binary(_) | Content::TooLong { .. } => {
                        "the payload is not the one you read".to_owned()
                    }
                };
                Err(console("approval_stale_context", &says))
            }
            (Some(_), None) => Err(console(
                "approval_stale_context",
                "the job carries a payload that you have not read",
            )),
            (None, Some(_)) => Err(console(
                "approval_stale_context",
                "the job no longer carries the payload that you read",
            )),
        }
    }

    // ---- the operator's log ----

    async fn log(
        &self,
        action: &'static str,
        job: &JobId,
        detail: BTreeMap<String, String>,
    ) -> Result<Receipt, Outcome> {
        let Some(log) = self.identity.audit.clone() else {
            return Err(failed("there is no place for the operator's log"));
        };
        let entry = Entry {
            at: self.clock.now(),
            operator: self.identity.operator.clone(),
            action: action.to_owned(),
            object: job.to_string(),
            detail,
        };
        match tokio::task::spawn_blocking(move || log.append(&entry)).await {
            Ok(Ok(receipt)) => Ok(receipt),
            Ok(Err(error)) => Err(failed(&backfill::chain(&error))),
            Err(_) => Err(failed("the operator's log broke")),
        }
    }

    async fn log_outcome(&self, receipt: Receipt, outcome: &Outcome) {
        let Some(log) = self.identity.audit.clone() else {
            return;
        };
        let (word, says) = match outcome {
            Outcome::Done(says) => ("done", says.clone().unwrap_or_default()),
            Outcome::Refused(refusal) => ("refused", Arc::clone(&refusal.text)),
            Outcome::Failed { reason } => ("failed", Arc::clone(reason)),
            Outcome::TimedOut => ("unknown", Arc::default()),
        };
        let at = self.clock.now();
        let write = move || log.outcome(&receipt, at, word, &says);
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "an outcome is not in the operator's log"),
            Err(error) => tracing::warn!(%error, "an outcome is not in the operator's log"),
        }
    }
}

pub(super) fn failed(reason: &str) -> Outcome {
    Outcome::Failed {
        reason: Arc::from(reason),
    }
}

/// A refusal of our own: nothing was sent.
pub(super) fn console(code: &str, text: &str) -> Outcome {
    Outcome::Refused(Refusal {
        by: Refuser::Console,
        status: 0,
        code: Arc::from(code),
        text: Arc::from(text),
    })
}

fn already(answer: &Decided) -> Outcome {
    let at = answer
        .earlier_at
        .map_or_else(String::new, |at| format!(" at {at}"));
    let by = if answer.earlier_by.is_empty() {
        "somebody"
    } else {
        &answer.earlier_by
    };
    let what = answer.status.trim_start_matches("already_");
    Outcome::Refused(Refusal {
        by: Refuser::Plane,
        status: 409,
        code: Arc::from("approval_already_resolved"),
        text: Arc::from(format!("{by} {what} this{at}")),
    })
}

/// What a failed look at the plane means before anything was sent: it is never
/// unknown whether something happened.
fn before_sending(error: &GatewayError) -> Outcome {
    match outcome_of(error) {
        Outcome::TimedOut => failed(&error.to_string()),
        other => other,
    }
}

pub(super) fn outcome_of(error: &GatewayError) -> Outcome {
    let plane = |status: u16, code: &str, text: &str| {
        Outcome::Refused(Refusal {
            by: Refuser::Plane,
            status,
            code: Arc::from(code),
            text: Arc::from(text),
        })
    };
    let or = |code: &Option<String>, or: &str| code.clone().unwrap_or_else(|| or.to_owned());
    match error {
        GatewayError::Unreachable { .. } | GatewayError::BadEndpoint { .. } => {
            failed(&error.to_string())
        }
        // It was sent, and whatever stands in between may have passed it on.
        GatewayError::TimedOut { .. } | GatewayError::NotAGateway { .. } => Outcome::TimedOut,
        GatewayError::Unauthorized { text } => plane(401, "unauthorized", text),
        GatewayError::Forbidden { code, text } => plane(403, &or(code, "forbidden"), text),
        GatewayError::Denied { text, .. } => plane(403, "policy_denied", text),
        GatewayError::NotFound { text } => plane(404, "not_found", text),
        GatewayError::Conflict { why, code, text } => {
            let known = match why {
                Conflict::AlreadyResolved => "approval_already_resolved",
                Conflict::NotActionable => "approval_not_actionable",
                Conflict::TerminalRun => "approval_terminal_run",
                Conflict::StaleRequest => "approval_stale_request",
                Conflict::StaleSnapshot => "approval_stale_snapshot",
                Conflict::StaleContext => "approval_stale_context",
                Conflict::Idempotency | Conflict::Other => "conflict",
            };
            plane(409, &or(code, known), text)
        }
        GatewayError::Busy { text } => plane(409, "approval_retryable_lock", text),
        GatewayError::RateLimited { text, retry_after } => match retry_after {
            Some(wait) => {
                let seconds = wait.as_millis().div_ceil(1_000);
                plane(429, "rate_limited", &format!("{text}, for {seconds}s"))
            }
            None => plane(429, "rate_limited", text),
        },
        GatewayError::KernelDown { text } => plane(503, "kernel_unavailable", text),
        GatewayError::BadRequest { code, text } => plane(400, &or(code, "bad_request"), text),
        GatewayError::TooLarge { text } => plane(413, "too_large", text),
        GatewayError::Other { status, text } => plane(*status, "other", text),
    }
}
