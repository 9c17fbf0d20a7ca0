//! Reading what is submitted: the HTTP body, a request as protojson, or a whole
//! envelope.
//!
//! Pure: bytes in, a request without id (or with the one it came with) out, or
//! the field that is wrong. Unknown fields are ignored and named, because
//! clients of other planes send more than we read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::control_plane::reserved;
use crate::ids::{JobId, SenderId, TraceId};
use crate::time::Timestamp;
use crate::wire::job_hash::{job_hash, sha256_hex};
use crate::wire::json::{self, Unknown};
use crate::wire::packet::{
    ActorType, Body, Budget, Compensation, ContextHints, JobMetadata, JobPriority, JobRequest,
};

mod limits;
mod secrets;

use self::limits::check;

/// The topic of a body that names none.
const DEFAULT_TOPIC: &str = "job.default";
/// Entries of `tags`, the limit of CAP gateways.
const MAX_TAGS: usize = 50;
/// Bytes of a prompt, the hard limit of CAP gateways.
const MAX_PROMPT: usize = 500_000;

/// What somebody wants done.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The request. Its id is empty unless it came with one.
    pub request: JobRequest,
    /// The trace it came with; empty if none.
    pub trace: TraceId,
    /// Who says it sent it; empty unless it came in an envelope.
    pub sender: SenderId,
    /// When it was sent, if it came in an envelope that says so.
    pub sent_at: Option<Timestamp>,
    /// What to store as its context; `None` when it points at one itself.
    pub context: Option<Context>,
    /// Names that were not understood, or that only a plane may set, and are left out.
    pub ignored: Vec<String>,
}

impl Wanted {
    /// Takes out what a client may not write, and names it among what is ignored: labels
    /// that begin with `_`, those of approvals, rollbacks and unjudged jobs, and
    /// environment that begins with `CORDUM_`, in the request and in what undoes it.
    pub fn strip(&mut self) {
        self.ignored.extend(reserved::strip(&mut self.request));
    }

    /// The digest of what is asked for, whatever its id and the spelling of its body:
    /// two submissions with one job id or idempotency key have to share it. Empty where
    /// nobody can ask again, for the caller named neither.
    pub fn digest(&self) -> String {
        let meta = self.request.meta.as_ref();
        let keyed = meta.is_some_and(|meta| !meta.idempotency_key.is_empty());
        if !keyed && self.request.job_id.is_empty() {
            return String::new();
        }
        let mut request = self.request.clone();
        request.job_id = JobId::default();
        let context = self.context.as_ref().map_or(Value::Null, |context| {
            context.to_json(&request, Timestamp::from_millis(0))
        });
        sha256_hex(format!("{}\n{context}", job_hash(&request)).as_bytes())
    }
}

/// What the worker is to read.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Context {
    prompt: Option<String>,
    more: Option<Value>,
}

impl Context {
    /// The JSON that is stored for `request`.
    pub fn to_json(&self, request: &JobRequest, now: Timestamp) -> Value {
        let mut out = Map::new();
        let mut put = |key: &str, value: Value| {
            out.insert(key.to_owned(), value);
        };
        if let Some(prompt) = &self.prompt {
            put("prompt", Value::from(prompt.as_str()));
        }
        if !request.adapter_id.is_empty() {
            put("adapter_id", Value::from(request.adapter_id.as_str()));
        }
        put("priority", Value::from(priority_word(request.priority)));
        put("topic", Value::from(request.topic.as_str()));
        put("created_at", Value::from(now.to_string()));
        if let Some(tenant) = request.tenant() {
            put("tenant_id", Value::from(tenant));
        }
        if let Some(more) = &self.more {
            put("context", more.clone());
        }
        Value::Object(out)
    }
}

/// Fields that only the HTTP body has, and that say what the job is.
const BODY_ALONE: [&str; 20] = [
    "prompt",
    "context",
    "context_mode",
    "actor_id",
    "actor_type",
    "idempotency_key",
    "pack_id",
    "capability",
    "risk_tags",
    "requires",
    "org_id",
    "team_id",
    "project_id",
    "max_input_tokens",
    "max_output_tokens",
    "max_total_tokens",
    "deadline_ms",
    "allow_summarization",
    "allow_retrieval",
    "tags",
];

/// Why a body is not a job.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadSubmission {
    /// It is not JSON.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// It is JSON, but not of this shape.
    #[error("the body is not a job: {0}")]
    BadShape(String),
    /// A field is wrong.
    #[error("{field} {says}")]
    BadField {
        /// The field.
        field: Cow<'static, str>,
        /// What is wrong with it.
        says: String,
    },
}

fn bad(field: &'static str, says: impl Into<String>) -> BadSubmission {
    BadSubmission::BadField {
        field: Cow::Borrowed(field),
        says: says.into(),
    }
}

/// Reads a submission.
///
/// An object with `job_request` is an envelope; one with `job_id`, `meta` or
/// `env` is a request as protojson, unless it has fields of the HTTP body as
/// well; all else is the HTTP body, which may name its `job_id`. A request with
/// `meta` or `env` beside fields of the HTTP body is refused: whichever shape it
/// were read as, a risk tag that policy asks for could be left out.
///
/// What only a plane may write is still in it, for policy is asked about jobs of planes
/// too; see [`Wanted::strip`].
///
/// A prompt or context that refers to a secret puts the risk tag `secrets` and the
/// label `secrets_present` on the request, whatever the body says of either.
///
/// # Errors
/// [`BadSubmission`], naming the field where there is one.
pub fn read(body: &[u8]) -> Result<Wanted, BadSubmission> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| BadSubmission::NotJson(error.to_string()))?;
    let Value::Object(fields) = value else {
        return Err(BadSubmission::BadShape(
            "it must be an object of fields".to_owned(),
        ));
    };
    let has = |names: &[&str]| names.iter().any(|name| fields.contains_key(*name));
    let mut wanted = if has(&["job_request", "jobRequest"]) {
        from_envelope(body)?
    } else if let Some(name) = BODY_ALONE.iter().find(|name| has(&[name])) {
        if let Some(other) = ["meta", "env", "jobId"].iter().find(|name| has(&[name])) {
            return Err(BadSubmission::BadShape(format!(
                "`{other}` is of a JobRequest and `{name}` of the HTTP body"
            )));
        }
        from_http(fields)?
    } else if has(&["job_id", "jobId", "meta", "env"]) {
        let (request, ignored) = json::job_request_from_json(body, Unknown::Ignore)
            .map_err(|error| BadSubmission::BadShape(error.to_string()))?;
        Wanted {
            context: request.context_ptr.is_empty().then(Context::default),
            request,
            trace: TraceId::default(),
            sender: SenderId::default(),
            sent_at: None,
            ignored,
        }
    } else {
        from_http(fields)?
    };
    check(&wanted.request)?;
    // After the limits: what is found is not counted against who wrote the body.
    secrets::mark(&mut wanted);
    Ok(wanted)
}

fn from_envelope(body: &[u8]) -> Result<Wanted, BadSubmission> {
    let (packet, ignored) = json::packet_from_json(body, Unknown::Ignore)
        .map_err(|error| BadSubmission::BadShape(error.to_string()))?;
    let Some(packet) = packet else {
        return Err(bad("job_request", "is missing"));
    };
    let Body::JobRequest(request) = packet.body else {
        let kind = packet.body.kind();
        return Err(BadSubmission::BadShape(format!(
            "it is a {kind}, not a job_request"
        )));
    };
    Ok(Wanted {
        context: request.context_ptr.is_empty().then(Context::default),
        request: *request,
        trace: packet.trace,
        sender: packet.sender,
        sent_at: packet.sent_at,
        ignored,
    })
}

/// The HTTP body. What is `null` counts as absent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HttpBody {
    job_id: Option<String>,
    prompt: Option<String>,
    topic: Option<String>,
    adapter_id: Option<String>,
    priority: Option<String>,
    context: Option<Value>,
    context_ptr: Option<String>,
    memory_id: Option<String>,
    context_mode: Option<String>,
    tenant_id: Option<String>,
    principal_id: Option<String>,
    actor_id: Option<String>,
    actor_type: Option<String>,
    idempotency_key: Option<String>,
    pack_id: Option<String>,
    capability: Option<String>,
    risk_tags: Option<Vec<String>>,
    requires: Option<Vec<String>>,
    org_id: Option<String>,
    team_id: Option<String>,
    project_id: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    max_input_tokens: Option<i64>,
    allow_summarization: Option<bool>,
    allow_retrieval: Option<bool>,
    tags: Option<Vec<String>>,
    max_output_tokens: Option<i64>,
    max_total_tokens: Option<i64>,
    deadline_ms: Option<i64>,
    compensation: Option<Value>,
    workflow_id: Option<String>,
    step_index: Option<i32>,
    parent_job_id: Option<String>,
    trace_id: Option<String>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

fn from_http(fields: Map<String, Value>) -> Result<Wanted, BadSubmission> {
    let body: HttpBody = serde_json::from_value(Value::Object(fields))
        .map_err(|error| BadSubmission::BadShape(error.to_string()))?;
    let text = Option::unwrap_or_default;
    let points = body.context_ptr.as_ref().is_some_and(|ptr| !ptr.is_empty());
    if points && (body.prompt.is_some() || body.context.is_some()) {
        return Err(bad(
            "context_ptr",
            "cannot be given together with prompt or context",
        ));
    }
    let mut env = BTreeMap::new();
    for (key, value) in [
        ("tenant_id", &body.tenant_id),
        ("org_id", &body.org_id),
        ("team_id", &body.team_id),
        ("project_id", &body.project_id),
        ("memory_id", &body.memory_id),
        ("context_mode", &body.context_mode),
    ] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            env.insert(key.to_owned(), value.clone());
        }
    }
    let budget = Budget {
        max_input_tokens: body.max_input_tokens.unwrap_or_default(),
        max_output_tokens: body.max_output_tokens.unwrap_or_default(),
        max_total_tokens: body.max_total_tokens.unwrap_or_default(),
        deadline_ms: body.deadline_ms.unwrap_or_default(),
    };
    let hints = ContextHints {
        max_input_tokens: i32::try_from(budget.max_input_tokens).map_err(|_| {
            let (tokens, most) = (budget.max_input_tokens, i32::MAX);
            bad(
                "max_input_tokens",
                format!("is {tokens}; 0 to {most} are allowed"),
            )
        })?,
        allow_summarization: body.allow_summarization.unwrap_or_default(),
        allow_retrieval: body.allow_retrieval.unwrap_or_default(),
        tags: body.tags.unwrap_or_default(),
    };
    if hints.tags.len() > MAX_TAGS {
        return Err(bad("tags", format!("has more than {MAX_TAGS} entries")));
    }
    let tenant = text(body.tenant_id);
    let meta = JobMetadata {
        tenant_id: tenant.clone(),
        actor_id: text(body.actor_id),
        actor_type: actor_type(body.actor_type.as_deref())?,
        idempotency_key: text(body.idempotency_key),
        capability: text(body.capability),
        risk_tags: body.risk_tags.unwrap_or_default(),
        requires: body.requires.unwrap_or_default(),
        pack_id: text(body.pack_id),
        labels: BTreeMap::new(),
    };
    let has_meta = meta != JobMetadata::default();
    let topic = body.topic.filter(|topic| !topic.is_empty());
    let request = JobRequest {
        job_id: JobId::from(text(body.job_id)),
        topic: topic.unwrap_or_else(|| DEFAULT_TOPIC.to_owned()),
        priority: priority(body.priority.as_deref()),
        context_ptr: text(body.context_ptr),
        adapter_id: text(body.adapter_id),
        env,
        parent_job_id: JobId::from(text(body.parent_job_id)),
        workflow_id: text(body.workflow_id),
        step_index: body.step_index.unwrap_or_default(),
        memory_id: text(body.memory_id),
        context_hints: (hints != ContextHints::default()).then_some(hints),
        budget: (budget != Budget::default()).then_some(budget),
        tenant_id: tenant,
        principal_id: text(body.principal_id),
        labels: body.labels.unwrap_or_default(),
        meta: has_meta.then_some(meta),
        compensation: match body.compensation {
            None => None,
            Some(compensation) => Some(Box::new(read_compensation(compensation)?)),
        },
        ..JobRequest::default()
    };
    let context = (!points).then_some(Context {
        prompt: body.prompt,
        more: body.context,
    });
    if let Some(prompt) = context.as_ref().and_then(|context| context.prompt.as_ref())
        && prompt.len() > MAX_PROMPT
    {
        return Err(bad("prompt", format!("is longer than {MAX_PROMPT} bytes")));
    }
    Ok(Wanted {
        request,
        trace: TraceId::from(text(body.trace_id)),
        sender: SenderId::default(),
        sent_at: None,
        context,
        ignored: body.unknown.into_keys().collect(),
    })
}

/// Reads a compensation with the contract's own reader, so that it may carry
/// whatever the contract knows.
fn read_compensation(value: Value) -> Result<Compensation, BadSubmission> {
    let mut holder = Map::new();
    holder.insert("compensation".to_owned(), value);
    let text = Value::Object(holder).to_string();
    let (request, ignored) = json::job_request_from_json(text.as_bytes(), Unknown::Ignore)
        .map_err(|error| bad("compensation", format!("is not one: {}", error.says)))?;
    // A name that is not understood could be what makes the undo right.
    if let Some(name) = ignored.first() {
        let name = name.strip_prefix("compensation.").unwrap_or(name);
        return Err(bad("compensation", format!("has an unknown field {name}")));
    }
    request
        .compensation
        .map(|compensation| *compensation)
        .ok_or_else(|| bad("compensation", "is empty"))
}

fn actor_type(word: Option<&str>) -> Result<ActorType, BadSubmission> {
    match word.unwrap_or_default().to_ascii_lowercase().as_str() {
        "" => Ok(ActorType::Unspecified),
        "human" => Ok(ActorType::Human),
        "service" => Ok(ActorType::Service),
        _ => Err(bad("actor_type", "must be human or service")),
    }
}

fn priority(word: Option<&str>) -> JobPriority {
    match word.unwrap_or_default().to_ascii_lowercase().as_str() {
        "batch" => JobPriority::Batch,
        "critical" => JobPriority::Critical,
        _ => JobPriority::Interactive,
    }
}

fn priority_word(priority: JobPriority) -> &'static str {
    match priority {
        JobPriority::Batch => "batch",
        JobPriority::Critical => "critical",
        JobPriority::Interactive | JobPriority::Unspecified | JobPriority::Unknown(_) => {
            "interactive"
        }
    }
}

#[cfg(test)]
mod tests;
