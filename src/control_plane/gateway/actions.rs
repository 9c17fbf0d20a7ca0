//! What changes something: submit, cancel, approve, reject.
//!
//! Each asks the outside first (policy, payload, the line to the bus), then
//! changes the ledger under its lock in one go, then publishes. A refusal has
//! changed nothing.

use std::sync::Arc;

use axum::body::{Body as HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::App;
use super::answer::{Answer, Refusal, json_response, ok};
use super::guard::{MAX_BODY, too_long};
use super::routes::{first_of, job_id};
use super::submission::{self, Wanted};
use super::types::Object;
use crate::control_plane::kernel::{Decision, KernelError, Question, Verdict};
use crate::control_plane::ledger::{
    self, Asker, Expected, LedgerError, Ruling, Submission, Submitted, Via, Yes,
};
use crate::ids::{JobId, SenderId, TraceId, WorkerId};
use crate::store::StoreError;
use crate::time::{Elapsed, Timestamp};
use crate::wire::job_hash::sha256_hex;
use crate::wire::packet::{Body, JobCancel, JobRequest, JobResult, JobStatus};
use crate::wire::pointer::{Pointer, context_of};
use crate::wire::{CANCEL, DLQ, RESULT, SENDER_GATEWAY, SENDER_GATEWAY_HTTP, SUBMIT};

/// How long a context is kept, as in CAP deployments.
const CONTEXT_TTL: Elapsed = Elapsed::from_secs(24 * 3_600);
/// Seconds until a throttled client may try again, as CAP gateways say.
const RETRY_AFTER_S: u32 = 30;
/// Bytes of a note or a reason that are kept, as in CAP gateways.
const MAX_SAID: usize = 512;
/// Bytes of a caller's name that are kept.
const MAX_NAME: usize = 128;
/// Who decides when the caller gives no name.
const NOBODY: &str = "unknown";

/// `POST /jobs`.
pub(super) async fn submit(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    request: Request,
) -> Answer {
    let body = read_body(request).await?;
    let mut wanted = submission::read(&body)?;
    app.needs_bus()?;
    if let Some(first) = app.repeats(&wanted.request) {
        return accepted(&first, &wanted.ignored, Object::default());
    }
    name_job(&app, &mut wanted);

    let question = Question::from(&wanted.request);
    let answer = app.ask(&question).await;
    if let Ok(verdict) = &answer
        && verdict.decision == Decision::Throttle
    {
        return Err(throttled(verdict));
    }
    let now = app.clock.now();
    let stored = store_context(&app, &wanted, now).await?;
    let taken = take(&app, &wanted, &headers, answer, now);
    app.wake.notify_one();
    let (first, ruling) = match taken {
        Ok(taken) => taken,
        Err(refusal) => {
            forget_context(&app, stored.as_deref()).await;
            return Err(refusal);
        }
    };
    let Some((request, ruling, reason)) = ruling else {
        forget_context(&app, stored.as_deref()).await;
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
            announce(&app, &wanted, &first, request).await;
            let extra = extra.put("status", "pending").put("reason", reason);
            accepted(&first, &wanted.ignored, extra)
        }
        Ruling::Go => {
            announce(&app, &wanted, &first, request).await;
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
    headers: &HeaderMap,
    answer: Result<Verdict, KernelError>,
    now: Timestamp,
) -> Result<(Submitted, Option<Taken>), Refusal> {
    let reason = match &answer {
        Ok(verdict) => verdict.reason.clone(),
        Err(error) => error.to_string(),
    };
    let mut ledger = ledger::lock(&app.ledger);
    let submission = Submission {
        request: wanted.request.clone(),
        trace: wanted.trace.clone(),
        submitted_by: caller(headers).unwrap_or_default(),
        via: Via::Gateway,
    };
    let first = ledger.submit(submission, now)?;
    if first.repeated {
        return Ok((first, None));
    }
    let ruling = ledger.record_decision(&first.job_id, answer, Asker::Gateway, now)?;
    let request = ledger
        .job(&first.job_id)
        .map(|job| Arc::clone(&job.request))
        .ok_or_else(Refusal::job_not_found)?;
    Ok((first, Some((request, ruling, reason))))
}

/// Gives a job that came without them an id, a trace and a context pointer.
fn name_job(app: &App, wanted: &mut Wanted) {
    let mut ledger = ledger::lock(&app.ledger);
    if wanted.request.job_id.is_empty() {
        wanted.request.job_id = JobId::from(ledger.fresh_uuid());
    }
    if wanted.trace.is_empty() {
        wanted.trace = TraceId::from(ledger.fresh_uuid());
    }
    if wanted.request.context_ptr.is_empty() {
        wanted.request.context_ptr = context_of(&wanted.request.job_id);
    }
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

fn accepted(first: &Submitted, ignored: &[String], extra: Object) -> Answer {
    let body = extra
        .put("job_id", first.job_id.as_str())
        .put("trace_id", first.trace.as_str())
        .put("ignored", ignored.to_vec())
        .build();
    let mut response = json_response(StatusCode::OK, &body);
    if let Ok(trace) = HeaderValue::from_str(first.trace.as_str()) {
        response.headers_mut().insert("x-trace-id", trace);
    }
    Ok(response)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CancelBody {
    reason: Option<String>,
    requested_by: Option<String>,
}

/// `POST /jobs/{id}/cancel`.
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    id: Result<axum::extract::Path<String>, axum::extract::rejection::PathRejection>,
    headers: HeaderMap,
    request: Request,
) -> Answer {
    let id = job_id(id)?;
    let body: CancelBody = optional_json(request).await?;
    app.needs_bus()?;
    let by = body
        .requested_by
        .filter(|by| !by.is_empty())
        .or_else(|| caller(&headers));
    let by = shorten(by.as_deref().unwrap_or(SENDER_GATEWAY), MAX_NAME);
    let reason = shorten(body.reason.as_deref().unwrap_or_default(), MAX_SAID);
    let reason = if reason.is_empty() {
        "cancelled by HTTP".to_owned()
    } else {
        reason
    };
    let now = app.clock.now();
    let cancelled = ledger::lock(&app.ledger).cancel(&id, &by, &reason, now);
    app.wake.notify_one();
    let cancelled = match cancelled {
        Ok(cancelled) => cancelled,
        Err(LedgerError::AlreadyEnded { state }) => {
            return ok(&json!({
                "id": id.as_str(),
                "state": state.name(),
                "reason": "the job has already ended",
            }));
        }
        Err(error) => return Err(error.into()),
    };
    let wish = JobCancel {
        job_id: id.clone(),
        reason: reason.clone(),
        requested_by: by,
        ..JobCancel::default()
    };
    // The wish first: whoever works on it should hear it as soon as possible.
    app.tell(
        CANCEL,
        &cancelled.trace,
        SENDER_GATEWAY,
        Body::JobCancel(wish),
    )
    .await;
    let result = JobResult {
        job_id: id.clone(),
        status: JobStatus::Cancelled,
        worker_id: WorkerId::from(SENDER_GATEWAY),
        error_message: reason,
        ..JobResult::default()
    };
    app.tell(RESULT, &cancelled.trace, SENDER_GATEWAY, dead(result))
        .await;
    ok(&json!({ "id": id.as_str(), "state": "CANCELLED" }))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DecisionBody {
    note: Option<String>,
    reason: Option<String>,
    expect: Option<ExpectBody>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ExpectBody {
    job_hash: Option<String>,
    policy_snapshot: Option<String>,
    context_sha256: Option<String>,
}

/// `POST /approvals/{id}/approve`.
pub(super) async fn approve(
    State(app): State<Arc<App>>,
    id: Result<axum::extract::Path<String>, axum::extract::rejection::PathRejection>,
    headers: HeaderMap,
    request: Request,
) -> Answer {
    let id = job_id(id)?;
    let body: DecisionBody = optional_json(request).await?;
    app.needs_bus()?;
    let by = decider(&app, &id, &headers)?;
    let expect = body.expect.unwrap_or_default();
    // A policy that was edited a moment ago is in force for this yes.
    app.kernel.refresh().await;
    let current = app
        .snapshots()
        .await?
        .into_iter()
        .next()
        .unwrap_or_default();
    let digest = match &expect.context_sha256 {
        None => None,
        Some(_) => context_digest(&app, &id).await?,
    };
    let now = app.clock.now();
    let approved = {
        let mut ledger = ledger::lock(&app.ledger);
        ledger.policy_changed(&current);
        ledger.approve(
            &id,
            &Yes {
                by: &by,
                note: &shorten(body.note.as_deref().unwrap_or_default(), MAX_SAID),
                reason: &shorten(body.reason.as_deref().unwrap_or_default(), MAX_SAID),
                current_snapshot: &current,
                expected: Expected {
                    job_hash: expect.job_hash,
                    policy_snapshot: expect.policy_snapshot,
                    context_sha256: expect.context_sha256.map(|hex| hex.to_lowercase()),
                },
                context_sha256: digest.as_deref(),
            },
            now,
        )
    };
    app.wake.notify_one();
    let approved = approved?;
    let request = Body::JobRequest(Box::new(Arc::unwrap_or_clone(approved.request)));
    app.tell(SUBMIT, &approved.trace, SENDER_GATEWAY, request)
        .await;
    ok(&json!({ "job_id": id.as_str(), "trace_id": approved.trace.as_str() }))
}

/// `POST /approvals/{id}/reject`. A no is taken whatever moved since: it cannot
/// let anything happen.
pub(super) async fn reject(
    State(app): State<Arc<App>>,
    id: Result<axum::extract::Path<String>, axum::extract::rejection::PathRejection>,
    headers: HeaderMap,
    request: Request,
) -> Answer {
    let id = job_id(id)?;
    let body: DecisionBody = optional_json(request).await?;
    app.needs_bus()?;
    let by = decider(&app, &id, &headers)?;
    let reason = shorten(body.reason.as_deref().unwrap_or_default(), MAX_SAID);
    let note = shorten(body.note.as_deref().unwrap_or_default(), MAX_SAID);
    let now = app.clock.now();
    let rejected = {
        let mut ledger = ledger::lock(&app.ledger);
        let trace = ledger.job(&id).map(|job| job.trace.clone());
        ledger
            .reject(&id, &by, &reason, &note, now)
            .map(|letter| (letter, trace.unwrap_or_default()))
    };
    app.wake.notify_one();
    let (letter, trace) = rejected?;
    app.tell(DLQ, &trace, SENDER_GATEWAY, dead(letter.result()))
        .await;
    ok(&json!({ "job_id": id.as_str() }))
}

fn dead(result: JobResult) -> Body {
    Body::JobResult(Box::new(result))
}

/// Who decides. Where callers prove themselves by a key, nobody decides about
/// what they asked for themselves; without a key a name is only a name.
fn decider(app: &App, id: &JobId, headers: &HeaderMap) -> Result<String, Refusal> {
    let name = caller(headers);
    if app.callers_are_known
        && let Some(name) = &name
    {
        let ledger = ledger::lock(&app.ledger);
        let own = ledger
            .job(id)
            .is_some_and(|job| job.submitted_by == *name || job.request.principal_id == *name);
        if own {
            return Err(Refusal::forbidden(
                "self_approval_denied",
                "nobody decides about a job they asked for themselves",
            ));
        }
    }
    Ok(name.unwrap_or_else(|| NOBODY.to_owned()))
}

/// The digest of the payload as it is stored now; `None` when there is none.
async fn context_digest(app: &App, id: &JobId) -> Result<Option<String>, Refusal> {
    let pointer = {
        let ledger = ledger::lock(&app.ledger);
        let job = ledger.job(id).ok_or_else(Refusal::job_not_found)?;
        job.request.context_ptr.clone()
    };
    let Ok(Pointer::Stored { keys, .. }) = Pointer::parse(&pointer) else {
        return Ok(None);
    };
    let found = first_of(&*app.store, &keys).await?;
    Ok(found.map(|(_, bytes)| sha256_hex(&bytes)))
}

fn caller(headers: &HeaderMap) -> Option<String> {
    let name = headers.get("x-principal-id")?.as_bytes();
    let name = std::str::from_utf8(name).ok()?.trim();
    (!name.is_empty()).then(|| shorten(name, MAX_NAME))
}

/// At most `limit` bytes, cut between characters.
fn shorten(text: &str, limit: usize) -> String {
    text[..text.floor_char_boundary(limit)].to_owned()
}

async fn read_body(request: Request) -> Result<Bytes, Refusal> {
    read_all(request.into_body()).await
}

async fn read_all(body: HttpBody) -> Result<Bytes, Refusal> {
    to_bytes(body, MAX_BODY).await.map_err(|error| {
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = cause {
            if error.to_string().contains("length limit") {
                return too_long();
            }
            cause = error.source();
        }
        Refusal::bad_request("incomplete_body", "the body ended before its end")
    })
}

/// A body that may be missing; one that is there must be JSON of the shape.
pub(super) async fn optional_json<T: DeserializeOwned + Default>(
    request: Request,
) -> Result<T, Refusal> {
    let body = read_body(request).await?;
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    let value: Value = serde_json::from_slice(&body).map_err(|error| {
        Refusal::bad_request("invalid_json", format!("the body is not JSON: {error}"))
    })?;
    // Serde would read an array as the fields in their order.
    if !value.is_object() {
        return Err(Refusal::bad_request(
            "invalid_body",
            "the body must be an object of fields",
        ));
    }
    serde_json::from_value(value)
        .map_err(|error| Refusal::bad_request("invalid_body", format!("the body: {error}")))
}

impl App {
    /// Refuses before anything changed when the bus could not be told about it.
    fn needs_bus(&self) -> Result<(), Refusal> {
        use crate::bus::LinkState;
        match &*self.bus.link().borrow() {
            LinkState::Up | LinkState::Lagging { .. } => Ok(()),
            LinkState::Connecting => Err(Refusal::unavailable(
                "bus_unavailable",
                "the bus is not connected yet; nothing was done",
            )),
            LinkState::Down { reason, .. } => Err(Refusal::unavailable(
                "bus_unavailable",
                format!("the bus is not connected ({reason}); nothing was done"),
            )),
        }
    }

    /// The job that a submission repeats, so that policy is not asked again.
    fn repeats(&self, request: &JobRequest) -> Option<Submitted> {
        let ledger = ledger::lock(&self.ledger);
        let job = ledger.repeats(request)?;
        (job.request.topic == request.topic).then(|| Submitted {
            job_id: job.id.clone(),
            trace: job.trace.clone(),
            repeated: true,
        })
    }

    /// Publishes; what is not sent is only logged, for the ledger has it and the
    /// scheduler goes on without the packet.
    async fn tell(&self, subject: &'static str, trace: &TraceId, sender: &str, body: Body) {
        self.tell_at(subject, trace, sender, body, None).await;
    }

    async fn tell_at(
        &self,
        subject: &'static str,
        trace: &TraceId,
        sender: &str,
        body: Body,
        sent_at: Option<Timestamp>,
    ) {
        use crate::wire::encode::encode;
        use crate::wire::packet::Packet;
        let at = sent_at.unwrap_or_else(|| self.clock.now());
        let packet = Packet::new(trace.clone(), SenderId::from(sender), at, body);
        let subject = crate::wire::subject(subject);
        let bytes = match encode(&subject, &packet) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(%error, %subject, "a packet of the gateway was not written");
                return;
            }
        };
        if let Err(error) = self.bus.publish(&subject, bytes).await {
            tracing::warn!(%error, %subject, "a packet of the gateway was not sent");
        }
    }
}
