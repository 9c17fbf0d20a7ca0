//! What changes something: submit, cancel, approve, reject.
//!
//! Each asks the outside first (policy, payload, the line to the bus), then
//! changes the ledger under its lock in one go, then publishes. A refusal has
//! changed nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::body::{Body as HttpBody, to_bytes};
use axum::extract::{Request, State};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::App;
use super::admission::{Admission, accepted, admit};
use super::answer::{Answer, Refusal, ok};
use super::guard::{MAX_BODY, too_long};
use super::keys::Caller;
use super::routes::{first_of, job_id};
use super::submission::{self, Wanted};
use super::types::Object;
use crate::control_plane::ledger::{self, Expected, LedgerError, Submitted, Via, Yes};
use crate::control_plane::reserved::{SOURCE_API, SOURCE_LABEL};
use crate::ids::{JobId, SenderId, TraceId, WorkerId};
use crate::time::Timestamp;
use crate::wire::job_hash::sha256_hex;
use crate::wire::packet::{Body, JobCancel, JobMetadata, JobRequest, JobResult, JobStatus};
use crate::wire::pointer::{Pointer, context_of};
use crate::wire::{CANCEL, DLQ, RESULT, SENDER_GATEWAY, SUBMIT};

/// Bytes of a note or a reason that are kept, as in CAP gateways.
const MAX_SAID: usize = 512;
/// Bytes of a caller's name that are kept.
const MAX_NAME: usize = 128;
/// Who decides when the caller gives no name.
const NOBODY: &str = "unknown";

/// `POST /jobs`.
pub(super) async fn submit(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let body = read_body(request).await?;
    let mut wanted = submission::read(&body)?;
    wanted.strip();
    own(&mut wanted.request, &caller)?;
    wanted.must_be_sound()?;
    app.needs_bus()?;
    let body_digest = wanted.digest();
    if let Some(first) = app.repeats(&wanted.request, &body_digest, &caller)? {
        return accepted(&first, &wanted.ignored, Object::default());
    }
    name_job(&app, &mut wanted);
    let admission = Admission {
        via: Via::Gateway,
        replaces: None,
        copies: None,
        body_digest,
    };
    admit(&app, &caller, wanted, admission).await
}

/// Makes a request the caller's: it is of their tenant, and of them if it names no
/// principal or their key does.
fn own(request: &mut JobRequest, caller: &Caller) -> Result<(), Refusal> {
    if let Some(tenant) = &caller.tenant {
        let of = |own: &str, meta: Option<&JobMetadata>, env: &BTreeMap<String, String>| {
            let meta = meta.map_or("", |meta| &meta.tenant_id);
            let env = env.get("tenant_id").map_or("", String::as_str);
            [own, meta, env]
                .iter()
                .all(|it| it.is_empty() || it == tenant)
        };
        // What undoes it would be judged and run as the tenant that it names.
        let undo = request.compensation.as_ref();
        if !of(&request.tenant_id, request.meta.as_ref(), &request.env)
            || !undo.is_none_or(|it| of(&it.tenant_id, it.meta.as_ref(), &it.env))
        {
            return Err(Refusal::other_tenant());
        }
        request.tenant_id.clone_from(tenant);
    }
    if let Some(principal) = caller.bound() {
        principal.clone_into(&mut request.principal_id);
        // What undoes it is of the same principal unless it names one.
        if let Some(compensation) = &mut request.compensation {
            compensation.principal_id.clear();
        }
    } else if caller.personal && request.principal_id.is_empty() {
        request.principal_id = caller.name.clone().unwrap_or_default();
    }
    Ok(())
}

/// Says by which way a job came in, and gives one that came without them an id, a trace
/// and a context pointer.
fn name_job(app: &App, wanted: &mut Wanted) {
    wanted
        .request
        .labels
        .insert(SOURCE_LABEL.to_owned(), SOURCE_API.to_owned());
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

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CancelBody {
    reason: Option<String>,
    requested_by: Option<String>,
}

/// `POST /jobs/{id}/cancel`.
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Result<axum::extract::Path<String>, axum::extract::rejection::PathRejection>,
    request: Request,
) -> Answer {
    let id = job_id(id)?;
    let body: CancelBody = optional_json(request).await?;
    app.needs_bus()?;
    let by = match caller.bound() {
        Some(principal) => Some(principal.to_owned()),
        None => body.requested_by.filter(|by| !by.is_empty()),
    };
    let by = by.or_else(|| caller.name.clone());
    let by = shorten(by.as_deref().unwrap_or(SENDER_GATEWAY), MAX_NAME);
    let reason = shorten(body.reason.as_deref().unwrap_or_default(), MAX_SAID);
    let reason = if reason.is_empty() {
        "cancelled by HTTP".to_owned()
    } else {
        reason
    };
    app.job_within_reach(&id, &caller)?;
    let now = app.clock.now();
    let cancelled = ledger::lock(&app.ledger).cancel(&id, &by, &reason, now);
    app.wake.notify_one();
    match cancelled {
        Ok(_) => {}
        Err(LedgerError::AlreadyEnded { state }) => {
            return ok(&json!({
                "id": id.as_str(),
                "state": state.name(),
                "reason": "the job has already ended",
            }));
        }
        Err(error) => return Err(error.into()),
    }
    let wish = JobCancel {
        job_id: id.clone(),
        reason: reason.clone(),
        requested_by: by,
        ..JobCancel::default()
    };
    // Both in a trace of the job's name, as CAP gateways send them. The wish first: whoever
    // works on it should hear it as soon as possible.
    let trace = TraceId::from(id.as_str());
    app.tell(CANCEL, &trace, SENDER_GATEWAY, Body::JobCancel(wish))
        .await;
    let result = JobResult {
        job_id: id.clone(),
        status: JobStatus::Cancelled,
        worker_id: WorkerId::from(SENDER_GATEWAY),
        error_message: reason,
        ..JobResult::default()
    };
    app.tell(RESULT, &trace, SENDER_GATEWAY, dead(result)).await;
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
    Extension(caller): Extension<Caller>,
    id: Result<axum::extract::Path<String>, axum::extract::rejection::PathRejection>,
    request: Request,
) -> Answer {
    let id = job_id(id)?;
    let body: DecisionBody = optional_json(request).await?;
    app.needs_bus()?;
    let by = decider(&app, &id, &caller)?;
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
        ledger.policy_changed(&current, now);
        ledger.approve(
            &id,
            &Yes {
                by: &by,
                role: role(&caller),
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
    Extension(caller): Extension<Caller>,
    id: Result<axum::extract::Path<String>, axum::extract::rejection::PathRejection>,
    request: Request,
) -> Answer {
    let id = job_id(id)?;
    let body: DecisionBody = optional_json(request).await?;
    app.needs_bus()?;
    let by = decider(&app, &id, &caller)?;
    let reason = shorten(body.reason.as_deref().unwrap_or_default(), MAX_SAID);
    let note = shorten(body.note.as_deref().unwrap_or_default(), MAX_SAID);
    let now = app.clock.now();
    let rejected = {
        let mut ledger = ledger::lock(&app.ledger);
        let trace = ledger.job(&id).map(|job| job.trace.clone());
        ledger
            .reject(&id, (&by, role(&caller)), &reason, &note, now)
            .map(|letter| (letter, trace.unwrap_or_default()))
    };
    app.wake.notify_one();
    let (letter, trace) = rejected?;
    app.tell(DLQ, &trace, SENDER_GATEWAY, dead(letter.result()))
        .await;
    ok(&json!({ "job_id": id.as_str() }))
}

pub(super) fn dead(result: JobResult) -> Body {
    Body::JobResult(Box::new(result))
}

/// Who decides. Where callers prove themselves, nobody decides about what they asked
/// for themselves: not under the same name, and not with the same key when the key is
/// theirs alone. A key that all share tells nobody apart, and without any key a name
/// is only a name.
fn decider(app: &App, id: &JobId, caller: &Caller) -> Result<String, Refusal> {
    app.job_within_reach(id, caller)?;
    if app.callers_are_known {
        let ledger = ledger::lock(&app.ledger);
        let own = ledger.job(id).is_some_and(|job| {
            let same_name = caller
                .name
                .as_ref()
                .is_some_and(|name| job.submitted_by == *name || job.request.principal_id == *name);
            same_name || (caller.personal && job.submitter_key == caller.key_id)
        });
        if own {
            return Err(Refusal::forbidden(
                "self_approval_denied",
                "nobody decides about a job they asked for themselves",
            ));
        }
    }
    Ok(caller.name.clone().unwrap_or_else(|| NOBODY.to_owned()))
}

/// The role to put on record; a caller who proved nothing has none.
fn role(caller: &Caller) -> &'static str {
    if caller.key_id.is_empty() {
        ""
    } else {
        caller.role.name()
    }
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
    pub(super) fn needs_bus(&self) -> Result<(), Refusal> {
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

    /// Refuses a job that the caller does not reach, or that nobody knows.
    pub(super) fn job_within_reach(&self, id: &JobId, caller: &Caller) -> Result<(), Refusal> {
        let ledger = ledger::lock(&self.ledger);
        let job = ledger.job(id).ok_or_else(Refusal::job_not_found)?;
        caller.must_reach(Some(job.tenant()))
    }

    /// The job that a submission repeats, so that policy is not asked again. One that
    /// asks for something else under the same id or key is refused.
    fn repeats(
        &self,
        request: &JobRequest,
        body_digest: &str,
        caller: &Caller,
    ) -> Result<Option<Submitted>, Refusal> {
        let ledger = ledger::lock(&self.ledger);
        let Some(job) = ledger.repeats(request) else {
            let now = self.clock.now();
            return Ok(ledger.repeats_forgotten(request, body_digest, now)?);
        };
        caller.must_reach(Some(job.tenant()))?;
        job.must_be_asked_for(request, body_digest)?;
        Ok(Some(Submitted {
            job_id: job.id.clone(),
            trace: job.trace.clone(),
            repeated: true,
        }))
    }

    /// Publishes; what is not sent is only logged, for the ledger has it and the
    /// scheduler goes on without the packet.
    pub(super) async fn tell(
        &self,
        subject: &'static str,
        trace: &TraceId,
        sender: &str,
        body: Body,
    ) {
        self.tell_at(subject, trace, sender, body, None).await;
    }

    pub(super) async fn tell_at(
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
