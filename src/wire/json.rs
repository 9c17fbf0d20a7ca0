//! Canonical protojson in and out.
//!
//! The mapping is that of the proto files, by reflection over their checked-in
//! descriptors: camelCase out, camelCase or snake_case in, 64-bit integers as
//! strings, enumerations by name, instants as RFC 3339. Nothing here is ever
//! hashed or signed: reflection keeps maps in no order.

use std::sync::LazyLock;

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, Kind, MessageDescriptor,
    ReflectMessage as _, SerializeOptions,
};
use serde_json::Value;
use thiserror::Error;

use super::{convert, generated as pb};
use crate::wire::packet::{JobRequest, Packet};

const DESCRIPTORS: &[u8] = include_bytes!("generated.fds");

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(DESCRIPTORS).expect("a test generates the descriptors and compares them")
});

const BUS_PACKET: &str = "cordum.agent.v1.BusPacket";
const JOB_REQUEST: &str = "cordum.agent.v1.JobRequest";
const CONSTRAINTS: &str = "cordum.agent.v1.PolicyConstraints";

/// Why a text is not the protojson of a message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: {says}")]
pub struct JsonError {
    /// What is wrong.
    pub says: String,
    /// Where reading stopped, from 1; 0 if it is not about a place.
    pub line: usize,
    /// Where reading stopped, from 1; 0 if it is not about a place.
    pub column: usize,
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let says = error.to_string();
        // serde_json repeats the place at the end of its text.
        let place = format!(" at line {line} column {column}");
        Self {
            says: says.strip_suffix(&place).unwrap_or(&says).to_owned(),
            line,
            column,
        }
    }
}

/// What to do with names that the contract does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// They are an error.
    Refuse,
    /// They are left out and named in the answer.
    Ignore,
}

/// Whether fields at their default are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unset {
    /// They are left out, as on the gateway's stream.
    Omit,
    /// They are written, as in Redis.
    Emit,
}

/// The protojson of a packet, without its signature and tokens, which are not kept.
///
/// # Errors
/// [`JsonError`] when an instant in it is outside the years 1 to 9999, which
/// protojson cannot say.
pub fn packet_to_json(packet: &Packet) -> Result<Value, JsonError> {
    to_json(BUS_PACKET, &convert::packet_shown(packet), Unset::Omit)
}

/// Reads the protojson of a packet. `Ok(None)` is an envelope without a payload
/// that we can name. The names beside it are those that were left out.
///
/// # Errors
/// [`JsonError`] with the place where it stops being one.
pub fn packet_from_json(
    text: &[u8],
    unknown: Unknown,
) -> Result<(Option<Packet>, Vec<String>), JsonError> {
    let (envelope, names) = from_json::<pb::BusPacket>(BUS_PACKET, text, unknown)?;
    Ok((convert::packet_from(envelope), names))
}

/// Reads the protojson of a packet that is to be published as it is, and writes
/// its bytes with all that it says, instants to the nanosecond included. Whether
/// it keeps the contract is [`super::contract::violations`]'s business.
///
/// # Errors
/// [`JsonError`] with the place where it stops being one, also for names that
/// the contract does not have.
pub fn packet_and_bytes_from_json(text: &[u8]) -> Result<(Option<Packet>, Bytes), JsonError> {
    let (envelope, _) = from_json::<pb::BusPacket>(BUS_PACKET, text, Unknown::Refuse)?;
    let bytes = Bytes::from(envelope.encode_to_vec());
    Ok((convert::packet_from(envelope), bytes))
}

pub(super) fn envelope_from_json(text: &[u8]) -> Result<(pb::BusPacket, Vec<String>), JsonError> {
    from_json(BUS_PACKET, text, Unknown::Ignore)
}

/// The protojson of a request.
///
/// # Errors
/// [`JsonError`] when an instant in it is outside the years 1 to 9999.
pub fn job_request_to_json(request: &JobRequest, unset: Unset) -> Result<Value, JsonError> {
    to_json(JOB_REQUEST, &convert::job_request_to(request), unset)
}

/// Reads the protojson of a request, camelCase or snake_case. The names beside
/// it are those that were left out.
///
/// # Errors
/// [`JsonError`] with the place where it stops being one.
pub fn job_request_from_json(
    text: &[u8],
    unknown: Unknown,
) -> Result<(JobRequest, Vec<String>), JsonError> {
    let (request, names) = from_json::<pb::JobRequest>(JOB_REQUEST, text, unknown)?;
    Ok((convert::job_request_from(request), names))
}

/// Constraints as Redis and workers have them, camelCase with 64-bit integers as
/// strings, from any spelling, such as the snake case of HTTP answers.
///
/// # Errors
/// [`JsonError`] when they are none.
pub fn constraints_to_redis(text: &[u8]) -> Result<String, JsonError> {
    let (message, _) = dynamic(CONSTRAINTS, text, Unknown::Ignore)?;
    Ok(write(&message, &SerializeOptions::new())?.to_string())
}

/// Constraints as HTTP answers have them, snake_case with plain integers, from
/// any spelling, such as that of Redis.
///
/// # Errors
/// [`JsonError`] when they are none.
pub fn constraints_to_http(text: &[u8]) -> Result<Value, JsonError> {
    let (message, _) = dynamic(CONSTRAINTS, text, Unknown::Ignore)?;
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false);
    write(&message, &options)
}

pub(super) fn message(name: &str) -> MessageDescriptor {
    POOL.get_message_by_name(name)
        .expect("the names in this room are those of the proto files")
}

fn to_json(name: &str, it: &impl prost::Message, unset: Unset) -> Result<Value, JsonError> {
    let message = DynamicMessage::decode(message(name), it.encode_to_vec().as_slice())
        .expect("what prost wrote is read back by the same proto files");
    let options = SerializeOptions::new().skip_default_fields(unset == Unset::Omit);
    write(&message, &options)
}

fn write(message: &DynamicMessage, options: &SerializeOptions) -> Result<Value, JsonError> {
    let mut value = message.serialize_with_options(serde_json::value::Serializer, options)?;
    sort_maps(&mut value, &message.descriptor());
    Ok(value)
}

fn from_json<T: prost::Message + Default>(
    name: &str,
    text: &[u8],
    unknown: Unknown,
) -> Result<(T, Vec<String>), JsonError> {
    let (message, names) = dynamic(name, text, unknown)?;
    let it = T::decode(message.encode_to_vec().as_slice())
        .expect("both sides are of the same proto files");
    Ok((it, names))
}

/// Strict first, so that the usual text is read once.
fn dynamic(
    name: &str,
    text: &[u8],
    unknown: Unknown,
) -> Result<(DynamicMessage, Vec<String>), JsonError> {
    let descriptor = message(name);
    match read(&descriptor, text, true) {
        Ok(message) => Ok((message, Vec::new())),
        Err(error) if unknown == Unknown::Refuse => Err(error),
        Err(_) => {
            let message = read(&descriptor, text, false)?;
            let value: Value = serde_json::from_slice(text)?;
            let mut names = Vec::new();
            unknown_names(&value, &descriptor, "", &mut names);
            Ok((message, names))
        }
    }
}

fn read(
    descriptor: &MessageDescriptor,
    text: &[u8],
    deny_unknown: bool,
) -> Result<DynamicMessage, JsonError> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let options = DeserializeOptions::new().deny_unknown_fields(deny_unknown);
    let message =
        DynamicMessage::deserialize_with_options(descriptor.clone(), &mut reader, &options)?;
    reader.end()?;
    Ok(message)
}

/// Names of fields and of enumeration values that the reader left out, as paths
/// from the top, at most [`super::contract::MAX_FINDINGS`].
fn unknown_names(value: &Value, message: &MessageDescriptor, path: &str, names: &mut Vec<String>) {
    let Value::Object(object) = value else { return };
    for (name, value) in object {
        if names.len() >= super::contract::MAX_FINDINGS {
            return;
        }
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let field = message
            .get_field_by_json_name(name)
            .or_else(|| message.get_field_by_name(name));
        let Some(field) = field else {
            names.push(path);
            continue;
        };
        let one = std::slice::from_ref(value);
        let items = match value {
            Value::Array(items) if field.is_list() => items.as_slice(),
            _ => one,
        };
        match field.kind() {
            Kind::Message(inner) if is_ours(&inner) => {
                for item in items {
                    unknown_names(item, &inner, &path, names);
                }
            }
            Kind::Enum(values) => {
                for item in items.iter().filter_map(Value::as_str) {
                    if values.get_value_by_name(item).is_none() {
                        names.push(format!("{path}={item}"));
                    }
                }
            }
            _ => {}
        }
    }
}

/// Not an instant and not a map: those are no objects of named fields.
fn is_ours(message: &MessageDescriptor) -> bool {
    message.package_name() == "cordum.agent.v1" && !message.is_map_entry()
}

/// Reflection writes maps in no order; a person, and a test, want one.
fn sort_maps(value: &mut Value, message: &MessageDescriptor) {
    let Value::Object(object) = value else { return };
    for (name, value) in object.iter_mut() {
        let field = message
            .get_field_by_json_name(name)
            .or_else(|| message.get_field_by_name(name));
        let Some((field, Kind::Message(inner))) = field.map(|it| (it.is_map(), it.kind())) else {
            continue;
        };
        match value {
            Value::Object(map) if field => map.sort_keys(),
            Value::Array(items) => items.iter_mut().for_each(|item| sort_maps(item, &inner)),
            other => sort_maps(other, &inner),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{JobId, SenderId, TraceId, WorkerId};
    use crate::time::Timestamp;
    use crate::wire::packet::{Body, JobPriority, JobResult, JobStatus};

    const RESULT: &str = r#"{"traceId":"t-1","senderId":"w1","createdAt":"2026-01-01T00:00:00Z","protocolVersion":1,"jobResult":{"jobId":"j-9","status":"JOB_STATUS_SUCCEEDED","workerId":"w1","executionMs":"42"}}"#;

    fn result() -> Packet {
        Packet::new(
            TraceId::from("t-1"),
            SenderId::from("w1"),
            Timestamp::from_millis(1_767_225_600_000),
            Body::JobResult(Box::new(JobResult {
                job_id: JobId::from("j-9"),
                status: JobStatus::Succeeded,
                worker_id: WorkerId::from("w1"),
                execution_ms: 42,
                ..JobResult::default()
            })),
        )
    }

    #[test]
    fn a_packet_is_written_as_the_gateways_stream_writes_it() {
        assert_eq!(packet_to_json(&result()).expect("json").to_string(), RESULT);
    }

    #[test]
    fn an_envelope_to_be_published_keeps_what_our_types_leave_out() {
        let text = RESULT.replace("00:00:00Z", "00:00:00.123456789Z").replace(
            "\"protocolVersion\"",
            "\"authToken\":\"t\",\"protocolVersion\"",
        );
        let (packet, bytes) = packet_and_bytes_from_json(text.as_bytes()).expect("an envelope");
        assert_eq!(packet.expect("a result").trace.as_str(), "t-1");
        let envelope = pb::BusPacket::decode(bytes).expect("a BusPacket");
        assert_eq!(envelope.auth_token, "t");
        assert_eq!(envelope.created_at.map(|at| at.nanos), Some(123_456_789));
    }

    #[test]
    fn both_spellings_and_both_kinds_of_integers_are_read() {
        let snake = RESULT
            .replace("traceId", "trace_id")
            .replace("jobResult", "job_result")
            .replace("executionMs\":\"42\"", "execution_ms\":42");
        for text in [RESULT, &snake] {
            let read = packet_from_json(text.as_bytes(), Unknown::Refuse).expect(text);
            assert_eq!(read, (Some(result()), Vec::new()));
        }
    }

    #[test]
    fn unknown_names_are_refused_with_their_place_or_left_out_and_named() {
        let text = r#"{"topic":"job.a","colour":"red",
            "meta":{"mood":1},"priority":"JOB_PRIORITY_URGENT","labels":{"any":"name"}}"#;
        let refused = job_request_from_json(text.as_bytes(), Unknown::Refuse).expect_err("unknown");
        assert_eq!((refused.line, refused.says.contains("colour")), (1, true));
        let (request, names) =
            job_request_from_json(text.as_bytes(), Unknown::Ignore).expect("read");
        assert_eq!(
            names,
            ["colour", "meta.mood", "priority=JOB_PRIORITY_URGENT"]
        );
        assert_eq!(request.topic, "job.a");
        assert_eq!(request.priority, JobPriority::Unspecified);
        assert_eq!(request.labels["any"], "name");
    }

    #[test]
    fn an_unknown_number_of_an_enumeration_survives_both_ways() {
        let text = br#"{"jobId":"j","priority":9}"#;
        let (request, names) = job_request_from_json(text, Unknown::Refuse).expect("read");
        assert_eq!(
            (request.priority, names.len()),
            (JobPriority::Unknown(9), 0)
        );
        let json = job_request_to_json(&request, Unset::Omit).expect("json");
        assert_eq!(json.to_string().as_bytes(), text);
    }

    #[test]
    fn redis_gets_unset_fields_and_maps_in_order() {
        let text = br#"{"job_id":"j","labels":{"b":"2","a":"1","c":"3"}}"#;
        let (request, _) = job_request_from_json(text, Unknown::Refuse).expect("read");
        let json = job_request_to_json(&request, Unset::Emit)
            .expect("json")
            .to_string();
        assert!(
            json.contains(r#""labels":{"a":"1","b":"2","c":"3"}"#),
            "{json}"
        );
        assert!(json.contains(r#""contextPtr":"","#), "{json}");
    }

    #[test]
    fn constraints_change_their_spelling_and_nothing_else() {
        let http =
            r#"{"budgets":{"max_runtime_ms":120000,"max_retries":1},"redaction_level":"high"}"#;
        let redis =
            r#"{"budgets":{"maxRuntimeMs":"120000","maxRetries":1},"redactionLevel":"high"}"#;
        assert_eq!(constraints_to_redis(http.as_bytes()).expect("json"), redis);
        assert_eq!(
            constraints_to_http(redis.as_bytes())
                .expect("json")
                .to_string(),
            http
        );
    }

    #[test]
    fn what_is_not_json_says_where() {
        let error =
            job_request_from_json(b"{\"topic\":\n  oops}", Unknown::Ignore).expect_err("not JSON");
        assert_eq!((error.line, error.column), (2, 3), "{error}");
        let frame = packet_from_json(br#"{"type":"edge.event"}"#, Unknown::Ignore);
        assert_eq!(frame, Ok((None, vec!["type".to_owned()])));
    }

    #[test]
    fn an_instant_outside_the_calendar_is_an_error_not_a_panic() {
        let mut packet = result();
        packet.sent_at = Some(Timestamp::from_millis(i64::MAX));
        assert!(packet_to_json(&packet).is_err());
    }
}
