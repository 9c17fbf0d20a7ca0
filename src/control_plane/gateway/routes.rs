//! The routes, and what can be read through them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{delete, get, post};
use serde_json::{Value, json};

use super::answer::{Answer, Refusal, base64, ok};
use super::elsewhere::where_it_belongs;
use super::guard::{Rules, guard};
use super::keys::Caller;
use super::types::{self, Object, Payloads};
use super::{App, actions, again, governance, policy, replay, stream};
use crate::bus::LinkState;
use crate::control_plane::kernel::live::SNAPSHOTS_KEPT;
use crate::control_plane::ledger::{self, ApprovalPlace, Job, JobState, JobsQuery, Ledger};
use crate::ids::{JobId, TraceId};
use crate::store::{Store, StoreError};
use crate::time::Timestamp;
use crate::wire::pointer::{Pointer, PointerKind};

/// Rows of a page unless asked otherwise.
pub(super) const PAGE: usize = 50;
/// Approvals and dead letters of a page unless asked otherwise.
pub(super) const LONG_PAGE: usize = 100;
/// The longest page.
const MAX_PAGE: usize = 500;
/// A payload is sent up to this length, the limit of a job's payload in CAP; the
/// answer tells how long it is.
const MAX_SENT: usize = 2 << 20;
/// A payload up to this length is also sent as text and as JSON.
const MAX_READABLE: usize = 256 << 10;

/// The interface as OpenAPI 3.1; tests compare it with the routes and the answers.
const OPENAPI: &str = include_str!("openapi.json");

/// Query parameters; the last of one name wins.
pub(super) type Asked = Result<Query<BTreeMap<String, String>>, QueryRejection>;
/// The job in the path.
pub(super) type Named = Result<Path<String>, PathRejection>;

/// The service, guarded.
pub(super) fn router(app: Arc<App>, rules: Arc<Rules>) -> Router {
    unguarded(app).layer(from_fn_with_state(rules, guard))
}

/// The service for requests that another plane's guard has let pass.
pub(super) fn unguarded(app: Arc<App>) -> Router {
    let api = Router::new()
        .route("/jobs", get(list_jobs).post(actions::submit))
        .route("/jobs/{id}", get(one_job))
        .route("/jobs/{id}/decisions", get(decisions))
        .route("/jobs/{id}/cancel", post(actions::cancel))
        .route("/jobs/{id}/remediate", post(again::remediate))
        .route("/approvals", get(approvals))
        .route("/approvals/{id}/context", get(governance::approval_context))
        .route("/approvals/{id}/approve", post(actions::approve))
        .route("/approvals/{id}/reject", post(actions::reject))
        .route("/traces/{id}", get(one_trace))
        .route("/workers", get(workers))
        .route("/pools", get(pools))
        .route("/status", get(status))
        .route("/dlq", get(governance::dead_letters))
        .route("/dlq/page", get(governance::dead_letters_page))
        .route("/dlq/{id}", delete(again::drop_letter))
        .route("/dlq/{id}/retry", post(again::retry))
        .route("/workflows/{id}/rollback", get(governance::rollback))
        .route("/rollbacks", get(governance::rollbacks))
        .route("/governance/decisions", get(governance::decisions))
        .route("/policy/snapshots", get(snapshots))
        .route("/policy/evaluate", post(policy::evaluate))
        .route("/policy/simulate", post(policy::simulate))
        .route("/policy/explain", post(policy::explain))
        .route("/policy/rules", get(policy::rules))
        .route("/policy/replay", post(replay::try_policy))
        .route("/memory", get(memory))
        .route("/stream", get(stream::stream))
        .route("/openapi.json", get(openapi));
    Router::new()
        .nest("/api/v1", api)
        .route("/health", get(healthz))
        .route("/healthz", get(healthz))
        .route("/livez", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(nowhere)
        .method_not_allowed_fallback(not_that_way)
        .layer(from_fn_with_state(Arc::clone(&app), where_it_belongs))
        .with_state(app)
}

async fn nowhere(uri: Uri) -> Refusal {
    let says = format!("there is nothing at {}", uri.path());
    Refusal::new(StatusCode::NOT_FOUND, "not_found", says)
}

async fn not_that_way(uri: Uri) -> Refusal {
    let says = format!("{} does not take this method", uri.path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", says)
}

async fn healthz() -> Answer {
    ok(&json!({ "status": "ok" }))
}

/// Whether jobs can be taken: the bus and the store are there. A kernel that is away
/// keeps jobs waiting and does not make the gateway less ready.
async fn readyz(State(app): State<Arc<App>>) -> Answer {
    app.needs_bus()?;
    app.store.len("capdeck:probe").await?;
    ok(&json!({ "status": "ok" }))
}

async fn list_jobs(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    asked: Asked,
) -> Answer {
    let asked = parameters(asked)?;
    let limit = limit(&asked, PAGE)?;
    // A state of the contract that no job of this plane enters.
    let quarantined = |name: &str| name.eq_ignore_ascii_case("OUTPUT_QUARANTINED");
    let named = text(&asked, "state");
    let state = match named.filter(|name| !quarantined(name)) {
        None => None,
        Some(name) => Some(JobState::from_name(name).ok_or_else(|| {
            Refusal::bad_request("invalid_state", format!("`{name}` is not a state of a job"))
        })?),
    };
    let query = JobsQuery {
        state,
        before: instant(&asked, "cursor")?,
        since: instant(&asked, "updated_after")?,
    };
    let query = JobsQuery {
        before: [query.before, instant(&asked, "updated_before")?]
            .into_iter()
            .flatten()
            .min(),
        ..query
    };
    if named.is_some_and(quarantined) {
        return ok(&json!({ "items": [], "next_cursor": null }));
    }
    let wanted = |job: &&Job| {
        let is = |name: &str, value: &str| text(&asked, name).is_none_or(|want| want == value);
        caller.reaches(job.tenant())
            && is("topic", &job.request.topic)
            && is("tenant", job.tenant())
            && is("trace_id", job.trace.as_str())
            && is(
                "team",
                job.request.env.get("team_id").map_or("", String::as_str),
            )
    };
    let ledger = ledger::lock(&app.ledger);
    let mut found = ledger.jobs(query).filter(wanted).peekable();
    let mut items = Vec::new();
    let mut last = None;
    // The cursor is an instant, so a page ends only between two instants.
    while let Some(job) = found.next_if(|job| items.len() < limit || last == Some(job.updated_at)) {
        last = Some(job.updated_at);
        items.push(types::job_record(job));
    }
    let next = found.peek().and(last).map(Timestamp::as_micros);
    ok(&json!({ "items": items, "next_cursor": next }))
}

async fn one_job(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Named,
) -> Answer {
    let id = job_id(id)?;
    app.job_within_reach(&id, &caller)?;
    loop {
        let (context_ptr, result_ptr) = {
            let ledger = ledger::lock(&app.ledger);
            let job = ledger.job(&id).ok_or_else(Refusal::job_not_found)?;
            (job.request.context_ptr.clone(), job.result_ptr.clone())
        };
        // A store that is away hides the payloads, not the job.
        let payloads = Payloads {
            context: readable(&*app.store, &context_ptr).await,
            result: readable(&*app.store, &result_ptr).await,
        };
        let ledger = ledger::lock(&app.ledger);
        let job = ledger.job(&id).ok_or_else(Refusal::job_not_found)?;
        // A job that ended while the store was asked is told with its result.
        if job.result_ptr == result_ptr {
            return ok(&types::job_detail(&ledger, job, payloads));
        }
    }
}

async fn decisions(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Named,
    asked: Asked,
) -> Answer {
    let id = job_id(id)?;
    app.job_within_reach(&id, &caller)?;
    let limit = limit(&parameters(asked)?, PAGE)?;
    let ledger = ledger::lock(&app.ledger);
    let job = ledger.job(&id).ok_or_else(Refusal::job_not_found)?;
    let records: Vec<Value> = job
        .decisions
        .iter()
        .rev()
        .take(limit)
        .map(|record| types::decision_record(job, record))
        .collect();
    ok(&Value::Array(records))
}

/// The jobs of a trace or of a workflow, by either id.
async fn one_trace(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Named,
) -> Answer {
    let id = job_id(id)?;
    let trace = TraceId::from(id.as_str());
    let ledger = ledger::lock(&app.ledger);
    let jobs: Vec<Value> = ledger
        .jobs(JobsQuery::default())
        .filter(|job| job.trace == trace || job.workflow() == Some(id.as_str()))
        .filter(|job| caller.reaches(job.tenant()))
        .take(MAX_PAGE)
        .map(types::job_record)
        .collect();
    ok(&Value::Array(jobs))
}

/// Waiting ones first, the oldest first, then those that were decided, the latest first.
/// The cursor is the place of the last one that was sent; an instant, as other gateways
/// have it, leaves out what moved at or after it.
async fn approvals(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    asked: Asked,
) -> Answer {
    let asked = parameters(asked)?;
    let limit = limit(&asked, LONG_PAGE)?;
    let resolved_too = match text(&asked, "include_resolved") {
        None | Some("true" | "1") => true,
        Some("false" | "0") => false,
        Some(other) => {
            let says = format!("include_resolved must be true or false, not `{other}`");
            return Err(Refusal::bad_request("invalid_parameter", says));
        }
    };
    let after: Option<ApprovalPlace> =
        text(&asked, "cursor").and_then(|cursor| cursor.parse().ok());
    let before = match after {
        Some(_) => None,
        None => instant(&asked, "cursor")?,
    };
    let ledger = ledger::lock(&app.ledger);
    let mut found = ledger
        .approvals_after(after, resolved_too)
        .filter(|(_, job)| caller.reaches(job.tenant()))
        .filter(|(_, job)| before.is_none_or(|before| job.updated_at < before))
        .filter_map(|(place, job)| Some((place, job, job.approval.as_ref()?)))
        .peekable();
    let (mut items, mut last) = (Vec::new(), None);
    while let Some((place, job, approval)) = found.next_if(|_| items.len() < limit) {
        last = Some(place);
        items.push(types::approval_item(&ledger, job, approval));
    }
    let next = found.peek().and(last).map(|place| place.to_string());
    ok(&json!({ "items": items, "next_cursor": next }))
}

async fn workers(State(app): State<Arc<App>>) -> Answer {
    let now = app.clock.now();
    let ledger = ledger::lock(&app.ledger);
    let items: Vec<Value> = ledger
        .fleet()
        .iter()
        .map(|(id, worker)| types::worker_item(id, worker, now))
        .collect();
    ok(&json!({ "items": items }))
}

async fn pools(State(app): State<Arc<App>>) -> Answer {
    let ledger = ledger::lock(&app.ledger);
    let items: Vec<Value> = ledger
        .pools()
        .iter()
        .map(|pool| {
            let mapped: Vec<String> = app
                .routes
                .iter()
                .filter(|(_, pools)| pools.contains(&pool.name))
                .map(|(topic, _)| topic.to_owned())
                .collect();
            types::pool_item(pool, &mapped)
        })
        .collect();
    ok(&Value::Array(items))
}

async fn status(State(app): State<Arc<App>>) -> Answer {
    let now = app.clock.now();
    let link = app.bus.link().borrow().clone();
    let (bus, connected) = match &link {
        LinkState::Up => ("CONNECTED", true),
        LinkState::Lagging { .. } => ("LAGGING", true),
        LinkState::Connecting => ("CONNECTING", false),
        LinkState::Down { .. } => ("RECONNECTING", false),
    };
    let store = match app.store.len("capdeck:probe").await {
        Ok(_) => json!({ "ok": true }),
        Err(error) => json!({ "ok": false, "error": error.to_string() }),
    };
    let mut kernel = match app.snapshots().await {
        Ok(_) => json!({ "ok": true }),
        Err(error) => json!({ "ok": false, "error": error.to_string() }),
    };
    if let Some(address) = app.kernel.address() {
        kernel["address"] = json!(address);
    }
    let policy = app.kernel.health().map(|health| {
        Object::default()
            .put("snapshot", health.snapshot)
            .put("rules", health.rules)
            .put("loaded_at", health.loaded_at.to_string())
            .put("path", health.path.map(|path| path.display().to_string()))
            .put("signed", health.signed)
            .put("broken", health.broken)
            .build()
    });
    let plane = app.post.as_ref().map(|post| post.standing());
    // One that stands by keeps no jobs: what it does not know is left out.
    let keeps_jobs = plane.as_ref().is_none_or(|it| it["leads"] == true);
    let ledger = ledger::lock(&app.ledger);
    if let Some(latency) = ledger.kernel_latency(now) {
        kernel["p50_ms"] = json!(latency.p50.as_millis());
        kernel["p99_ms"] = json!(latency.p99.as_millis());
        kernel["asked_per_minute"] = json!(latency.asked);
    }
    let mut status = json!({
        "time": now.to_string(),
        "uptime_seconds": now.since(app.started_at).as_secs(),
        "build": { "name": "capdeck", "version": env!("CARGO_PKG_VERSION") },
        "nats": { "connected": connected, "status": bus },
        "redis": store,
        "kernel": kernel,
        "policy": policy,
        "plane": plane,
        "workers": { "count": ledger.fleet().iter().filter(|(_, it)| it.is_live(now)).count() },
        "fail_mode": if ledger.fails_open() { "open" } else { "closed" },
        "active_ws_clients": stream::MAX_CLIENTS - app.stream_places.available_permits(),
        // Decisions may name what they were made on, and are compared with it.
        "capabilities": [
            "expect", "cancel_reason", "compensation", "stored_request", "rollbacks",
            "dead_letter_retry", "decision_log", "approval_context", "stream", "policy_replay",
        ],
    });
    if keeps_jobs && let Value::Object(status) = &mut status {
        status.extend(of_the_record(&ledger, now));
    }
    ok(&status)
}

/// What only the plane that keeps the record can tell of itself.
fn of_the_record(ledger: &Ledger, now: Timestamp) -> [(String, Value); 5] {
    let counts: serde_json::Map<String, Value> = ledger
        .counts()
        .into_iter()
        .map(|(state, count)| (state.name().to_lowercase(), Value::from(count)))
        .collect();
    let counters = ledger.counters();
    let breaker = types::governance::breaker_item(ledger.breaker(), now);
    [
        ("pipeline", Value::Object(counts)),
        ("dead_letters", json!(ledger.dead_letters().count())),
        (
            "counters",
            json!({
                "repeated_submits": counters.repeated_submits,
                "late_results": counters.late_results,
                "unknown_jobs": counters.unknown_jobs,
                "late_progress": counters.late_progress,
                "forgotten_jobs": counters.forgotten_jobs,
                "forgotten_keys": counters.forgotten_keys,
                "refused_submits": counters.refused_submits,
                "malformed_packets": counters.malformed_packets,
                "forgotten_undos": counters.forgotten_undos,
            }),
        ),
        ("circuit_breakers", json!({ "input": breaker })),
        ("input_fail_open_total", json!(counters.bypassed_jobs)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
}

/// The description of this interface.
async fn openapi() -> Answer {
    let mut response = Response::new(HttpBody::from(OPENAPI));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    Ok(response)
}

async fn snapshots(State(app): State<Arc<App>>) -> Answer {
    let mut snapshots = app.snapshots().await?;
    // A kernel that was started anew remembers less than the record.
    for earlier in ledger::lock(&app.ledger).snapshots() {
        if !snapshots.contains(earlier) {
            snapshots.push(earlier.clone());
        }
    }
    snapshots.truncate(SNAPSHOTS_KEPT);
    ok(&json!({ "snapshots": snapshots }))
}

async fn memory(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    asked: Asked,
) -> Answer {
    let asked = parameters(asked)?;
    let (name, pointer) = match (text(&asked, "ptr"), text(&asked, "key")) {
        (Some(ptr), None) => (ptr, Pointer::parse(ptr)),
        (None, Some(key)) => (key, Pointer::from_key(key)),
        _ => {
            return Err(Refusal::bad_request(
                "invalid_parameter",
                "give either ptr or key",
            ));
        }
    };
    let pointer = pointer
        .map_err(|error| Refusal::bad_request("invalid_pointer", format!("{name}: {error}")))?;
    let (kind, keys) = match pointer {
        Pointer::Stored { kind, keys } => (kind, keys),
        Pointer::Opaque { scheme } => {
            let says = format!("a {scheme} pointer cannot be read here");
            return Err(Refusal::bad_request("invalid_pointer", says));
        }
    };
    let kind = match kind {
        PointerKind::Context => "context",
        PointerKind::Result => "result",
        PointerKind::Memory => "memory",
        PointerKind::Artifact => {
            return Err(Refusal::forbidden(
                "key_not_allowed",
                "only ctx:, res: and mem: keys are read here",
            ));
        }
    };
    if !owns_payload(&app, &caller, &keys) {
        return Err(Refusal::other_tenant());
    }
    let Some((key, bytes)) = first_of(&*app.store, &keys).await? else {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "payload_not_found",
            "nothing is stored there, or no longer",
        ));
    };
    let sent = &bytes[..bytes.len().min(MAX_SENT)];
    let mut object = Object::default()
        .put("pointer", format!("redis://{key}"))
        .put("key", key)
        .put("kind", kind)
        .put("size_bytes", bytes.len());
    if sent.len() < bytes.len() {
        object = object.put("truncated", true);
    }
    if bytes.len() <= MAX_READABLE
        && let Ok(text) = std::str::from_utf8(&bytes)
    {
        object = object.put("text", text);
        if let Ok(value) = serde_json::from_str::<Value>(text) {
            object = object.put("json", value);
        }
    }
    let mut body = object.build();
    body["base64"] = base64(sent).into();
    ok(&body)
}

/// Whether a caller reaches what is stored at the first of the keys: a caller of one
/// tenant sees what the jobs of that tenant point at by their ids.
fn owns_payload(app: &App, caller: &Caller, keys: &[String]) -> bool {
    if caller.tenant.is_none() {
        return true;
    }
    let ledger = ledger::lock(&app.ledger);
    keys.iter().all(|key| {
        let id = key
            .strip_prefix("ctx:")
            .or_else(|| key.strip_prefix("res:"));
        let job = id.and_then(|id| ledger.job(&JobId::from(id)));
        job.is_some_and(|job| caller.reaches(job.tenant()))
    })
}

/// The payload at the first of the keys that has one.
pub(super) async fn first_of(
    store: &dyn Store,
    keys: &[String],
) -> Result<Option<(String, bytes::Bytes)>, StoreError> {
    for key in keys {
        if let Some(bytes) = store.get(key).await? {
            return Ok(Some((key.clone(), bytes)));
        }
    }
    Ok(None)
}

/// A payload as JSON or text; null when there is none, it cannot be read, or it
/// is too long to be carried in an answer about something else.
async fn readable(store: &dyn Store, pointer: &str) -> Value {
    let Ok(Pointer::Stored { keys, .. }) = Pointer::parse(pointer) else {
        return Value::Null;
    };
    let Ok(Some((_, bytes))) = first_of(store, &keys).await else {
        return Value::Null;
    };
    if bytes.len() > MAX_READABLE {
        return Value::Null;
    }
    match serde_json::from_slice(&bytes) {
        Ok(value) => value,
        Err(_) => std::str::from_utf8(&bytes).map_or(Value::Null, Value::from),
    }
}

pub(super) fn job_id(id: Named) -> Result<JobId, Refusal> {
    match id {
        Ok(Path(id)) => Ok(JobId::from(id)),
        Err(error) => Err(Refusal::bad_request("invalid_path", error.body_text())),
    }
}

pub(super) fn parameters(asked: Asked) -> Result<BTreeMap<String, String>, Refusal> {
    match asked {
        Ok(Query(asked)) => Ok(asked),
        Err(error) => Err(Refusal::bad_request("invalid_query", error.body_text())),
    }
}

pub(super) fn text<'a>(asked: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    let value = asked.get(name).map(String::as_str);
    value.filter(|value| !value.is_empty())
}

fn number(asked: &BTreeMap<String, String>, name: &str) -> Result<Option<usize>, Refusal> {
    let Some(value) = text(asked, name) else {
        return Ok(None);
    };
    value.parse().map(Some).map_err(|_| {
        let says = format!("{name} must be a whole number, not `{value}`");
        Refusal::bad_request("invalid_parameter", says)
    })
}

pub(super) fn limit(asked: &BTreeMap<String, String>, default: usize) -> Result<usize, Refusal> {
    let limit = number(asked, "limit")?.unwrap_or(default);
    Ok(limit.clamp(1, MAX_PAGE))
}

/// An instant since 1970 whose magnitude tells its unit: seconds, milliseconds,
/// microseconds or nanoseconds, as CAP gateways read them.
pub(super) fn instant(
    asked: &BTreeMap<String, String>,
    name: &str,
) -> Result<Option<Timestamp>, Refusal> {
    let Some(number) = number(asked, name)? else {
        return Ok(None);
    };
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    Ok(Some(if number < 1_000_000_000_000 {
        Timestamp::from_millis(number * 1_000)
    } else if number < 1_000_000_000_000_000 {
        Timestamp::from_millis(number)
    } else if number < 1_000_000_000_000_000_000 {
        Timestamp::from_micros(number)
    } else {
        Timestamp::from_millis(number / 1_000_000)
    }))
}
