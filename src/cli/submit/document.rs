//! What somebody wrote into a job file: three shapes, told apart by their fields.

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::cli::operate::shown;
use crate::cli::{CliError, print};
use crate::control_plane::gateway::submission;
use crate::ids::JobId;
use crate::wire::json::{JsonError, Unknown, job_request_from_json, packet_and_bytes_from_json};
use crate::wire::packet::{ActorType, Body, Budget, JobMetadata, JobPriority, JobRequest, Packet};

/// Fields that only an envelope has.
const ENVELOPE: [&str; 6] = [
    "job_request",
    "jobRequest",
    "sender_id",
    "senderId",
    "protocol_version",
    "protocolVersion",
];

/// Fields that only a request has, besides its names in camelCase.
const REQUEST: [&str; 6] = [
    "meta",
    "env",
    "budget",
    "context_hints",
    "identity",
    "context_ref",
];

/// Fields that only the body of POST /api/v1/jobs has.
const BODY: [&str; 23] = [
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
    "delegation_token",
    "delegation_audience_agent_id",
    "trace_id",
];

/// A job file.
#[derive(Debug)]
pub(in crate::cli) enum Document {
    /// A whole packet, and its bytes with all that our types leave out.
    Envelope { packet: Box<Packet>, bytes: Bytes },
    /// A request alone.
    Request(Box<JobRequest>),
    /// The body of POST /api/v1/jobs.
    Body(Value),
}

impl Document {
    /// The id it came with.
    pub(super) fn job_id(&self) -> Option<JobId> {
        let id = match self {
            Self::Envelope { packet, .. } => match &packet.body {
                Body::JobRequest(request) => &request.job_id,
                _ => return None,
            },
            Self::Request(request) => &request.job_id,
            Self::Body(body) => return body.get("job_id")?.as_str().map(JobId::from),
        };
        (!id.is_empty()).then(|| id.clone())
    }
}

/// Reads the text of the file `name`.
///
/// An unknown name in a request is an error: left out in silence it could be
/// the risk tag that policy asks for.
pub(in crate::cli) fn read(name: &str, text: &[u8]) -> Result<Document, CliError> {
    let value: Value = serde_json::from_slice(text)
        .map_err(|error| not_json(name, "JSON", &JsonError::from(error)))?;
    let Value::Object(fields) = &value else {
        return Err(CliError::usage(anyhow!(
            "{name} is not a job: it is no JSON object"
        )));
    };
    let first = |names: &[&'static str]| {
        names
            .iter()
            .find(|name| fields.contains_key(**name))
            .copied()
    };
    if first(&ENVELOPE).is_some() {
        let (packet, bytes) = packet_and_bytes_from_json(text)
            .map_err(|error| not_json(name, "an envelope", &error))?;
        let packet = packet.ok_or_else(|| {
            CliError::usage(anyhow!("{name} is an envelope without a job_request"))
        })?;
        return Ok(Document::Envelope {
            packet: Box::new(packet),
            bytes,
        });
    }
    let camel = fields
        .keys()
        .find(|name| name.bytes().any(|byte| byte.is_ascii_uppercase()));
    let of_request = first(&REQUEST).or(camel.map(String::as_str));
    let body_alone = first(&BODY);
    // A body may name its job too.
    let of_request = of_request
        .or_else(|| (body_alone.is_none() && fields.contains_key("job_id")).then_some("job_id"));
    match (of_request, body_alone) {
        (None, _) => Ok(Document::Body(value)),
        (Some(_), None) => {
            let (request, _) = job_request_from_json(text, Unknown::Refuse)
                .map_err(|error| not_json(name, "a JobRequest", &error))?;
            Ok(Document::Request(Box::new(request)))
        }
        (Some(one), Some(other)) => Err(CliError::usage(anyhow!(
            "{name} is two things at once: `{}` is of a JobRequest, `{other}` of the body of \
             POST /api/v1/jobs",
            shown(one)
        ))
        .hint("in a JobRequest, what policy reads is in `meta`, such as meta.risk_tags")),
    }
}

fn not_json(name: &str, what: &str, error: &JsonError) -> CliError {
    let place = match (error.line, error.column) {
        (0, _) => String::new(),
        (line, column) => format!(":{line}:{column}"),
    };
    CliError::usage(anyhow!("{name}{place}: not {what}: {}", shown(&error.says)))
}

/// The body of POST /api/v1/jobs that any gateway takes, and the parts of the
/// request that it has no place for.
pub(super) fn common_body(it: &JobRequest) -> (Value, Vec<&'static str>) {
    let mut body = Map::new();
    let mut lost = Vec::new();
    let mut put = |name: &str, value: Value| {
        let empty = match &value {
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty(),
            Value::Number(number) => number.as_i64() == Some(0),
            Value::Bool(yes) => !yes,
            Value::Null => true,
        };
        if !empty {
            body.insert(name.to_owned(), value);
        }
    };
    put("job_id", json!(it.job_id.as_str()));
    put("topic", json!(it.topic));
    put(
        "priority",
        json!(match it.priority {
            JobPriority::Batch => "batch",
            JobPriority::Critical => "critical",
            JobPriority::Interactive => "interactive",
            JobPriority::Unspecified | JobPriority::Unknown(_) => "",
        }),
    );
    put("context_ptr", json!(it.context_ptr));
    put("adapter_id", json!(it.adapter_id));
    put("parent_job_id", json!(it.parent_job_id.as_str()));
    put("workflow_id", json!(it.workflow_id));
    put("step_index", json!(it.step_index));
    put("memory_id", json!(it.memory_id));
    put("tenant_id", json!(it.tenant_id));
    put("principal_id", json!(it.principal_id));
    put("labels", json!(it.labels));
    if let Some(hints) = &it.context_hints {
        put("max_input_tokens", json!(hints.max_input_tokens));
        put("allow_summarization", json!(hints.allow_summarization));
        put("allow_retrieval", json!(hints.allow_retrieval));
        put("tags", json!(hints.tags));
    }
    if let Some(budget) = &it.budget {
        budget_into(budget, &mut put);
    }
    if let Some(meta) = &it.meta {
        metadata_into(meta, &mut put);
        if !meta.labels.is_empty() {
            lost.push("meta.labels");
        }
    }
    for (name, there) in [
        ("env", !it.env.is_empty()),
        ("identity", it.identity.is_some()),
        ("dispatch", it.dispatch.is_some()),
        ("context_ref", it.context_ref.is_some()),
        // Gateways of the common contract read none of these; extended ones get
        // the document itself.
        ("compensation", it.compensation.is_some()),
        ("context_ptr", !it.context_ptr.is_empty()),
        ("workflow_id", !it.workflow_id.is_empty()),
    ] {
        if there {
            lost.push(name);
        }
    }
    (Value::Object(body), lost)
}

fn budget_into(budget: &Budget, put: &mut impl FnMut(&str, Value)) {
    put("max_input_tokens", json!(budget.max_input_tokens));
    put("max_output_tokens", json!(budget.max_output_tokens));
    put("max_total_tokens", json!(budget.max_total_tokens));
    put("deadline_ms", json!(budget.deadline_ms));
}

fn metadata_into(meta: &JobMetadata, put: &mut impl FnMut(&str, Value)) {
    put("actor_id", json!(meta.actor_id));
    put(
        "actor_type",
        json!(match meta.actor_type {
            ActorType::Human => "human",
            ActorType::Service => "service",
            ActorType::Unspecified | ActorType::Unknown(_) => "",
        }),
    );
    put("idempotency_key", json!(meta.idempotency_key));
    put("capability", json!(meta.capability));
    put("risk_tags", json!(meta.risk_tags));
    put("requires", json!(meta.requires));
    put("pack_id", json!(meta.pack_id));
}

/// The request of a body, for the bus. What has to be stored first needs a gateway.
pub(super) fn request_of_body(body: &Value, text: &[u8]) -> Result<JobRequest, CliError> {
    for name in ["prompt", "context"] {
        if body.get(name).is_some_and(|value| !value.is_null()) {
            return Err(CliError::usage(anyhow!(
                "`{name}` has to be stored, and the bus stores nothing"
            ))
            .hint("submit it with --gateway, or store it and give context_ptr"));
        }
    }
    let mut wanted = submission::read(text)
        .context("not a job")
        .map_err(CliError::usage)?;
    wanted.strip();
    for name in &wanted.ignored {
        print::note(&format!("warning: {} is not read", shown(name)));
    }
    Ok(wanted.request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, says: &str) {
        let got = match read("job.json", text.as_bytes()) {
            Ok(Document::Envelope { packet, .. }) => format!("envelope {}", packet.body.kind()),
            Ok(Document::Request(request)) => format!("request {}", request.topic),
            Ok(Document::Body(body)) => format!("body {}", body["topic"]),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, says, "{text}");
    }

    #[test]
    fn a_body_says_on_the_bus_no_more_than_a_gateway_lets_it() {
        let body = json!({"topic": "job.a", "labels": {"team": "ops", "safety_bypassed": "true"}});
        let request = request_of_body(&body, body.to_string().as_bytes()).expect("a job");
        assert_eq!(request.labels.keys().collect::<Vec<_>>(), ["team"]);
    }

    #[test]
    fn the_three_shapes_are_told_apart() {
        check(
            r#"{"topic":"job.a","risk_tags":["prod"]}"#,
            r#"body "job.a""#,
        );
        check(
            r#"{"topic":"job.a","labels":{},"compensation":{}}"#,
            r#"body "job.a""#,
        );
        check(
            r#"{"topic":"job.a","meta":{"riskTags":["prod"]}}"#,
            "request job.a",
        );
        check(
            r#"{"topic":"job.a","contextPtr":"redis://ctx:j"}"#,
            "request job.a",
        );
        check(r#"{"job_id":"j","topic":"job.a"}"#, "request job.a");
        check(
            r#"{"job_id":"j","topic":"job.a","risk_tags":["prod"]}"#,
            r#"body "job.a""#,
        );
        check(
            r#"{"trace_id":"t","sender_id":"c","protocol_version":1,"job_request":{"topic":"job.a"}}"#,
            "envelope job_request",
        );
        check(
            r#"{"traceId":"t","senderId":"c","jobCancel":{"jobId":"j"}}"#,
            "envelope job_cancel",
        );
        check(
            r#"{"sender_id":"c","trace_id":"t"}"#,
            "job.json is an envelope without a job_request",
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        check(
            "{\"topic\":\n  \"job.a\",}",
            "job.json:2:11: not JSON: trailing comma",
        );
        check(
            "{\"meta\":{},\n \"risktags\":[]}",
            "job.json:2:11: not a JobRequest: unrecognized field name 'risktags'",
        );
        check("[]", "job.json is not a job: it is no JSON object");
        check(
            r#"{"meta":{},"risk_tags":["prod"]}"#,
            "job.json is two things at once: `meta` is of a JobRequest, `risk_tags` of the body \
             of POST /api/v1/jobs",
        );
    }

    #[test]
    fn any_gateway_gets_the_common_body_and_the_rest_is_named() {
        let text = r#"{"jobId":"j","topic":"job.a","priority":"JOB_PRIORITY_BATCH","env":{"a":"b"},
            "tenantId":"acme","labels":{"mcp.action":"write"},"budget":{"deadlineMs":"5"},
            "meta":{"actorType":"ACTOR_TYPE_HUMAN","riskTags":["prod"],"labels":{"x":"y"}}}"#;
        let Ok(Document::Request(request)) = read("job.json", text.as_bytes()) else {
            panic!("a request");
        };
        let (body, lost) = common_body(&request);
        assert_eq!(
            body,
            json!({
                "job_id": "j", "topic": "job.a", "priority": "batch", "tenant_id": "acme",
                "labels": {"mcp.action": "write"}, "deadline_ms": 5, "actor_type": "human",
                "risk_tags": ["prod"],
            })
        );
        assert_eq!(lost, ["meta.labels", "env"]);
    }

    #[test]
    fn what_needs_a_store_is_not_published() {
        let body = json!({"topic":"job.a","prompt":"hi"});
        let error = request_of_body(&body, body.to_string().as_bytes()).expect_err("a prompt");
        assert_eq!(
            error.to_string(),
            "`prompt` has to be stored, and the bus stores nothing"
        );
        let body = json!({"topic":"job.a","risk_tags":["prod"]});
        let request = request_of_body(&body, body.to_string().as_bytes()).expect("a request");
        assert_eq!(request.meta.expect("meta").risk_tags, ["prod"]);
    }
}
