//! How a new job comes in, whoever asked for it: a submission, the retry of a dead
//! letter, a remediation.
//!
//! Policy is asked first, then the context is stored, then job and decision are put on
//! record in one go, then the bus is told. A refusal has changed nothing.

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue, StatusCode};
use bytes::Bytes;

use super::App;
use super::actions::dead;
use super::answer::{Answer, Refusal, json_response};
use super::keys::Caller;
use super::routes::first_of;
use super::submission::Wanted;
use super::types::Object;
use crate::control_plane::kernel::{Decision, KernelError, Question, Verdict};
use crate::control_plane::ledger::{self, Asker, LedgerError, Ruling, Submission, Submitted, Via};
use crate::ids::JobId;
use crate::store::StoreError;
use crate::time::{Elapsed, Timestamp};
use crate::wire::packet::{Body, JobRequest};
use crate::wire::pointer::{Pointer, context_of};
use crate::wire::{DLQ, SENDER_GATEWAY, SENDER_GATEWAY_HTTP, SUBMIT};

/// Names the trace of a new job.
pub(super) const TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");
/// How long a context is kept, as in CAP deployments.
const CONTEXT_TTL: Elapsed = Elapsed::from_secs(24 * 3_600);
/// Seconds until a throttled client may try again, as CAP gateways say.
const RETRY_AFTER_S: u32 = 30;

/// How a job comes in.
pub(super) struct Admission {
    pub(super) via: Via,
    /// The dead letter it takes the place of.
    pub(super) replaces: Option<JobId>,
    /// The context that becomes its own; without one it brings its own.
    pub(super) copies: Option<String>,
    pub(super) body_digest: String,
}

/// Takes a new job: asks policy, stores the context, puts job and decision on record,
/// and tells the bus.
pub(super) async fn admit(
    app: &App,
    caller: &Caller,
    mut wanted: Wanted,
    admission: Admission,
) -> Answer {
    let question = Question::from(&wanted.request);
    let answer = app.ask(&question).await;
    if let Ok(verdict) = &answer
        && verdict.decision == Decision::Throttle
    {
        let refusal = throttled(verdict);
        let request = Arc::new(wanted.request);
        let now = app.clock.now();
        ledger::lock(&app.ledger).turned_away(request, verdict.clone(), now);
        // It is put on record.
        app.wake.notify_one();
        return Err(refusal);
    }
    let now = app.clock.now();
    let stored = match &admission.copies {
        Some(pointer) => copy_context(app, &mut wanted, pointer).await?,
        None => store_context(app, &wanted, now).await?,
    };
    let taken = take(app, &wanted, caller, &admission, answer, now);
    app.wake.notify_one();
    let (first, ruling) = match taken {
        Ok(taken) => taken,
        Err(refusal) => {
            forget_context(app, stored.as_deref()).await;
            return Err(refusal);
        }
    };
    let Some((request, ruling, reason)) = ruling else {
        forget_context(app, stored.as_deref()).await;
        return accepted(&first, &wanted.ignored, Object::default());
    };
    let extra = Object::default();
    match ruling {
        Ruling::Denied(letter) => {
            app.tell(DLQ, &first.trace, SENDER_GATEWAY, dead(letter.result()))
                .await;
            Err(Refusal::forbidden("policy_denied", reason)
                .with("job_id", first.job_id.as_str())
                .with("trace_id", first.trace.as_str()))
        }
        Ruling::Held => {
            let extra = extra
                .put("status", "approval_required")
                .put("reason", reason);
            accepted(&first, &wanted.ignored, extra)
        }
        Ruling::Unavailable | Ruling::Throttled => {
            announce(app, &wanted, &first, request).await;
            let extra = extra.put("status", "pending").put("reason", reason);
            accepted(&first, &wanted.ignored, extra)
        }
        Ruling::Go => {
            announce(app, &wanted, &first, request).await;
            accepted(&first, &wanted.ignored, extra)
        }
    }
}

/// What a new job became: its stored request, the ruling, and its reason.
type Taken = (Arc<JobRequest>, Ruling, String);

/// Puts a job on record together with its decision, so that nobody sees one
/// without the other. `None` beside a job that was there before.
fn take(
    app: &App,
    wanted: &Wanted,
    caller: &Caller,
    admission: &Admission,
    answer: Result<Verdict, KernelError>,
    now: Timestamp,
) -> Result<(Submitted, Option<Taken>), Refusal> {
    let reason = match &answer {
        Ok(verdict) => verdict.reason.clone(),
        Err(error) => error.to_string(),
    };
    let mut ledger = ledger::lock(&app.ledger);
    let replaces = admission.replaces.as_ref();
    if replaces.is_some_and(|old| ledger.dead_letter(old).is_none()) {
        return Err(LedgerError::NoDeadLetter.into());
    }
    let submission = Submission {
        request: wanted.request.clone(),
        trace: wanted.trace.clone(),
        submitted_by: caller.name.clone().unwrap_or_default(),
        submitter_key: caller.key_id.clone(),
        body_digest: admission.body_digest.clone(),
        via: admission.via,
    };
    let first = ledger.submit(submission, now)?;
    if first.repeated {
        return Ok((first, None));
    }
    if let Some(old) = replaces {
        ledger.replaced(old, &first.job_id)?;
    }
    let ruling = ledger.record_decision(&first.job_id, answer, Asker::Gateway, now)?;
    let request = ledger
        .job(&first.job_id)
        .map(|job| Arc::clone(&job.request))
        .ok_or_else(Refusal::job_not_found)?;
    Ok((first, Some((request, ruling, reason))))
}

/// Gives a job the context of another one as its own, so that it lives as long as the
/// job does. What cannot be read here is pointed at as before. Returns the key if it
/// wrote.
async fn copy_context(
    app: &App,
    wanted: &mut Wanted,
    pointer: &str,
) -> Result<Option<String>, StoreError> {
    let Ok(Pointer::Stored { keys, .. }) = Pointer::parse(pointer) else {
        return Ok(None);
    };
    let Some((_, bytes)) = first_of(&*app.store, &keys).await? else {
        return Ok(None);
    };
    let id = &wanted.request.job_id;
    let key = format!("ctx:{id}");
    app.store.put(&key, bytes, Some(CONTEXT_TTL)).await?;
    wanted.request.context_ptr = context_of(id);
    Ok(Some(key))
}

/// Stores what the job is to read before anybody can see the job. A job that
/// points at its own context without having stored one gets one too, so that
/// there is always something to review. Returns the key if it wrote.
async fn store_context(
    app: &App,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<Option<String>, StoreError> {
    let id = &wanted.request.job_id;
    if wanted.request.context_ptr != context_of(id) {
        return Ok(None);
    }
    let context = wanted.context.clone().unwrap_or_default();
    let json = context.to_json(&wanted.request, now).to_string();
    let key = format!("ctx:{id}");
    let wrote = app
        .store
        .compare_and_set(&key, None, Bytes::from(json), Some(CONTEXT_TTL))
        .await?;
    Ok(wrote.then_some(key))
}

async fn forget_context(app: &App, key: Option<&str>) {
    if let Some(key) = key
        && let Err(error) = app.store.delete(key).await
    {
        // It expires by itself.
        tracing::warn!(%error, "a context without a job stays behind");
    }
}

async fn announce(app: &App, wanted: &Wanted, first: &Submitted, request: Arc<JobRequest>) {
    let sender = match wanted.sender.as_str() {
        "" => SENDER_GATEWAY_HTTP,
        sender => sender,
    };
    let body = Body::JobRequest(Box::new(Arc::unwrap_or_clone(request)));
    app.tell_at(SUBMIT, &first.trace, sender, body, wanted.sent_at)
        .await;
}

fn throttled(verdict: &Verdict) -> Refusal {
    Refusal::new(
        StatusCode::TOO_MANY_REQUESTS,
        "throttled",
        verdict.reason.clone(),
    )
    .with("rule_id", verdict.rule_id.clone())
    .retry_after(RETRY_AFTER_S)
}

pub(super) fn accepted(first: &Submitted, ignored: &[String], extra: Object) -> Answer {
    let body = extra
        .put("job_id", first.job_id.as_str())
        .put("trace_id", first.trace.as_str())
        .put("ignored", ignored.to_vec())
        .build();
    let mut response = json_response(StatusCode::OK, &body);
    if let Ok(trace) = HeaderValue::from_str(first.trace.as_str()) {
        response.headers_mut().insert(TRACE_ID, trace);
    }
    Ok(response)
}
