//! What gateways are told and what they answer.
//!
//! Our own types on purpose: the console works against any control plane, so it
//! shares none with the embedded one. Absent members are empty, zero or `None`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::lenient;
use crate::ids::{JobId, TraceId};
use crate::time::Timestamp;

/// A page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct List<T> {
    /// The records that could be read.
    pub items: Vec<T>,
    /// Records that could not be read; they are missing above.
    pub unreadable: usize,
    /// Where the next page begins; `None` on the last one.
    pub next_cursor: Option<String>,
    /// Whether it came without a page around it, as the older generation sends some lists.
    pub bare: bool,
    /// Since when the record goes back that it is a page of; ours alone tells.
    pub record_since: Option<Timestamp>,
}

impl<T: DeserializeOwned> List<T> {
    pub(crate) fn from_value(value: Value) -> Result<Self, String> {
        lenient::list(value)
    }
}

/// Which jobs to list; empty means all.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct JobsQuery {
    /// At most this many, 1 to 500.
    pub limit: Option<u32>,
    /// Such as `RUNNING`.
    pub state: Option<String>,
    /// An exact topic.
    pub topic: Option<String>,
    /// A tenant.
    pub tenant: Option<String>,
    /// Jobs of one trace.
    pub trace_id: Option<String>,
    /// From an earlier page.
    pub cursor: Option<String>,
}

impl JobsQuery {
    pub(super) fn pairs(&self) -> Vec<(&'static str, String)> {
        [
            ("limit", self.limit.map(|limit| limit.to_string())),
            ("state", self.state.clone()),
            ("topic", self.topic.clone()),
            ("tenant", self.tenant.clone()),
            ("trace_id", self.trace_id.clone()),
            ("cursor", self.cursor.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

/// A job in a list.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "the names are those of the contract's HTTP answers"
)]
pub struct JobRecord {
    #[serde(deserialize_with = "id")]
    pub id: JobId,
    #[serde(deserialize_with = "id")]
    pub trace_id: TraceId,
    /// `None` when it does not say.
    #[serde(deserialize_with = "instant")]
    pub updated_at: Option<Timestamp>,
    pub state: String,
    pub topic: String,
    pub tenant: String,
    pub team: String,
    pub principal: String,
    pub actor_id: String,
    pub actor_type: String,
    pub idempotency_key: String,
    pub capability: String,
    pub risk_tags: Vec<String>,
    pub requires: Vec<String>,
    pub pack_id: String,
    pub attempts: u32,
    pub safety_decision: String,
    pub safety_reason: String,
    pub safety_rule_id: String,
    pub safety_snapshot: String,
    #[serde(rename = "deadline_unix", deserialize_with = "instant")]
    pub deadline: Option<Timestamp>,
    pub worker_id: String,
    pub agent_name: String,
    pub failure_reason: String,
    /// Why it is not dispatched yet, such as `no_workers`; ours alone tells.
    pub waiting_on: String,
    pub workflow_id: String,
    pub parent_job_id: String,
    /// The last percent reported; ours alone tells.
    pub percent: Option<i32>,
    /// The last message reported; ours alone tells.
    pub message: String,
    #[serde(deserialize_with = "instant")]
    pub submitted_at: Option<Timestamp>,
}

/// All that a gateway tells about one job.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "the names are those of the contract's HTTP answers"
)]
pub struct JobDetail {
    /// What a list tells of it too.
    #[serde(skip)]
    pub record: JobRecord,
    pub status: String,
    pub context_ptr: String,
    pub result_ptr: String,
    pub labels: BTreeMap<String, String>,
    pub workflow_id: String,
    pub parent_job_id: String,
    pub error_code: String,
    pub error_message: String,
    pub error_status: String,
    pub last_state: String,
    /// Snake case or camelCase, as the gateway writes it.
    pub safety_constraints: Option<Value>,
    pub safety_remediations: Vec<Value>,
    pub safety_job_hash: String,
    pub approval_required: bool,
    pub approval_ref: String,
    pub approval_by: String,
    #[serde(deserialize_with = "instant")]
    pub approval_at: Option<Timestamp>,
    pub approval_reason: String,
    pub approval_note: String,
    pub approval_policy_snapshot: String,
    pub approval_status: String,
    pub approval_actionability: String,
    pub approval_decision: String,
    /// The CAP status of its last result, with or without prefix; ours alone tells.
    pub result_status: String,
    pub artifact_ptrs: Vec<String>,
    /// Who asked that it stops; ours alone tells.
    pub cancel_requested_by: String,
    /// Why; ours alone tells.
    pub cancel_reason: String,
    /// Protojson of the stored request, where the gateway gives it.
    pub request: Option<Value>,
    /// Protojson of the request as it was dispatched, where the gateway gives it.
    pub dispatched_request: Option<Value>,
    pub compensation: Option<Value>,
    /// The states that it came into, oldest first; ours alone tells.
    #[serde(deserialize_with = "records")]
    pub events: Vec<EventRecord>,
    /// The whole answer as it came.
    #[serde(skip)]
    pub raw: Value,
}

/// A state that a job came into.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "the names are those of the gateway's HTTP answers"
)]
pub struct EventRecord {
    #[serde(deserialize_with = "instant")]
    pub ts: Option<Timestamp>,
    pub state: String,
}

impl JobDetail {
    pub(crate) fn from_value(raw: Value) -> Result<Self, String> {
        let record: JobRecord = lenient::one(raw.clone())?;
        if record.id.is_empty() {
            return Err("the answer has no job id".to_owned());
        }
        let detail: Self = lenient::one(raw.clone())?;
        Ok(Self {
            record,
            raw,
            ..detail
        })
    }
}

/// One verdict of policy on a job.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "the names are those of the contract's HTTP answers"
)]
pub struct DecisionRecord {
    pub decision: String,
    pub reason: String,
    pub rule_id: String,
    pub policy_snapshot: String,
    pub constraints: Option<Value>,
    pub approval_required: bool,
    pub approval_ref: String,
    pub job_hash: String,
    pub remediations: Vec<Value>,
    #[serde(deserialize_with = "instant")]
    pub checked_at: Option<Timestamp>,
    pub approval_status: String,
    pub approval_decision: String,
}

/// A job that waits, or waited, for a person.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "the names are those of the contract's HTTP answers"
)]
pub struct ApprovalItem {
    pub job: JobRecord,
    pub decision: String,
    pub policy_snapshot: String,
    pub policy_rule_id: String,
    pub policy_reason: String,
    pub constraints: Option<Value>,
    pub job_hash: String,
    pub approval_required: bool,
    pub approval_ref: String,
    /// `pending`, `approved`, …; the older generation lists pending ones alone
    /// and leaves it empty.
    pub approval_status: String,
    pub approval_actionability: String,
    pub approval_revision: u64,
    pub approval_decision: String,
    pub submitted_by: String,
    pub resolved_by: String,
    pub resolved_comment: String,
    pub resolution: String,
    #[serde(deserialize_with = "instant")]
    pub resolved_at: Option<Timestamp>,
    pub workflow_id: String,
    pub context_ptr: String,
    pub rollback_hint: Option<Value>,
    pub blast_radius: Option<Value>,
    pub remediations: Vec<Value>,
    /// Whether the policy that judged it is still in force; ours alone tells.
    pub snapshot_current: Option<bool>,
    pub labels: BTreeMap<String, String>,
    /// The job that would undo it; ours alone tells.
    pub compensation: Option<Value>,
    #[serde(deserialize_with = "instant")]
    pub requested_at: Option<Timestamp>,
}

impl ApprovalItem {
    /// Whether somebody can still decide it.
    pub fn is_open(&self) -> bool {
        matches!(self.approval_status.as_str(), "" | "pending")
            && matches!(self.approval_actionability.as_str(), "" | "actionable")
    }
}

/// A worker as the gateway knows it.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "the names are those of the contract's HTTP answers"
)]
pub struct WorkerRecord {
    pub worker_id: String,
    pub pool: String,
    pub region: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub active_jobs: i32,
    pub max_parallel_jobs: i32,
    pub capabilities: Vec<String>,
    pub cpu_load: f32,
    pub gpu_utilization: f32,
    pub memory_load: f32,
    pub labels: BTreeMap<String, String>,
    /// When the gateway's list was made, not when the worker spoke.
    #[serde(deserialize_with = "instant")]
    pub last_heartbeat_at: Option<Timestamp>,
}

/// A pool as the gateway knows it.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "the names are those of the contract's HTTP answers"
)]
pub struct PoolRecord {
    pub name: String,
    pub workers: u32,
    pub active_jobs: i64,
    pub capacity: i64,
    pub utilization: f64,
    /// Topics whose jobs go there; ours alone tells.
    pub topics: Vec<String>,
}

/// A rule of the policy.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "the names are those of the contract's HTTP answers"
)]
pub struct RuleRecord {
    pub id: String,
    pub decision: String,
    pub reason: String,
    pub constraints: Option<Value>,
}

/// The rules in the order of evaluation.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Rules {
    /// The rules.
    pub items: Vec<RuleRecord>,
    /// What is decided when none matches; empty if it does not say.
    pub default_decision: String,
}

impl Rules {
    pub(crate) fn from_value(value: Value) -> Result<Self, String> {
        let default = value.get("default_decision").and_then(Value::as_str);
        let default_decision = default.unwrap_or_default().to_owned();
        let list = lenient::list(value)?;
        Ok(Self {
            items: list.items,
            default_decision,
        })
    }
}

/// A decision in the gateway's log.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "the names are those of the contract's HTTP answers"
)]
pub struct LoggedDecision {
    #[serde(deserialize_with = "id")]
    pub job_id: JobId,
    pub matched_rule: String,
    /// In lower case, such as `constrain`.
    pub verdict: String,
    #[serde(deserialize_with = "instant")]
    pub timestamp: Option<Timestamp>,
}

/// A job that could not be done.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "the names are those of the contract's HTTP answers"
)]
pub struct DeadLetterRecord {
    #[serde(deserialize_with = "id")]
    pub job_id: JobId,
    pub topic: String,
    /// With the prefix, such as `JOB_STATUS_FAILED`.
    pub status: String,
    pub reason: String,
    pub reason_code: String,
    pub last_state: String,
    pub attempts: u32,
    #[serde(deserialize_with = "instant")]
    pub created_at: Option<Timestamp>,
}

/// A rollback that something failed for.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "the names are those of the gateway's HTTP answers"
)]
pub struct RollbackRecord {
    /// The workflow, or the job where there is none.
    pub workflow_id: String,
    /// `stopped` where a step did not succeed: what still waits does not run.
    pub state: String,
    #[serde(deserialize_with = "id")]
    pub failed_job_id: JobId,
    #[serde(deserialize_with = "instant")]
    pub started_at: Option<Timestamp>,
    /// In the order in which they run.
    #[serde(deserialize_with = "records")]
    pub steps: Vec<UndoRecord>,
}

/// A step of a rollback.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "the names are those of the gateway's HTTP answers"
)]
pub struct UndoRecord {
    /// `recorded`, `waiting`, `skipped`, `refused`, or that of the job that does it.
    pub state: String,
    #[serde(deserialize_with = "id")]
    pub undoes: JobId,
    /// The job that does it; empty before there is one.
    #[serde(deserialize_with = "id")]
    pub job_id: JobId,
    pub topic: String,
    pub idempotency_key: String,
    /// What policy said of it.
    pub verdict: String,
}

/// A dead letter was retried.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Retried {
    /// The new job.
    #[serde(deserialize_with = "id")]
    pub job_id: JobId,
}

/// How a gateway is.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The gateway's clock.
    #[serde(deserialize_with = "instant")]
    pub time: Option<Timestamp>,
    /// How long it runs, in seconds.
    pub uptime_seconds: f64,
    /// Version, commit and date.
    pub build: BTreeMap<String, Value>,
    /// Its line to the bus.
    pub nats: BTreeMap<String, Value>,
    /// Its line to the store.
    pub redis: BTreeMap<String, Value>,
    /// What it can do beyond the common contract.
    pub capabilities: Vec<String>,
    /// Fields of a decision that it compares under the job's lock.
    pub expect: Vec<String>,
    /// Its line to the safety kernel; ours alone tells.
    pub kernel: Option<Value>,
    /// The policy in force and its file; ours alone tells.
    pub policy: Option<Value>,
    /// The breakers, for admins.
    pub circuit_breakers: Option<Value>,
    /// `open` or `closed`; ours alone tells.
    pub fail_mode: String,
    /// Jobs that ran unjudged.
    pub input_fail_open_total: Option<u64>,
}

impl Status {
    pub(crate) fn from_value(value: Value) -> Result<Self, String> {
        lenient::one(value)
    }

    /// Whether a candidate policy can be tried on the decisions that were made. The
    /// route of another plane may take and tell something else.
    pub fn replays_policy(&self) -> bool {
        self.capabilities.iter().any(|it| it == "policy_replay")
    }

    /// Whether decisions may say what they were made on.
    pub fn takes_expect(&self) -> bool {
        !self.expect.is_empty() || self.capabilities.iter().any(|it| it == "expect")
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Snapshots {
    pub(crate) snapshots: Vec<String>,
}

impl Snapshots {
    pub(crate) fn from_value(value: Value) -> Result<Self, String> {
        lenient::one(value)
    }
}

/// The bytes behind a pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The key they were found at.
    pub key: String,
    /// `context`, `result` or `memory`.
    pub kind: String,
    /// How many there are, which may be more than came.
    pub size_bytes: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Memory {
    pub(super) fn from_value(value: &Value) -> Result<Self, String> {
        let text = |name| value.get(name).and_then(Value::as_str);
        let bytes = match (text("base64"), text("text")) {
            (Some(base64), _) => {
                lenient::base64(base64).ok_or("the payload is not base64".to_owned())?
            }
            (None, Some(text)) => text.as_bytes().to_vec(),
            (None, None) => return Err("the answer has no payload".to_owned()),
        };
        Ok(Self {
            key: text("key").unwrap_or_default().to_owned(),
            kind: text("kind").unwrap_or_default().to_owned(),
            size_bytes: value
                .get("size_bytes")
                .and_then(Value::as_u64)
                .unwrap_or(bytes.len() as u64),
            bytes,
        })
    }
}

/// A job was taken.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Submitted {
    /// Its id.
    #[serde(deserialize_with = "id")]
    pub job_id: JobId,
    /// Its trace; the newer generation leaves it out when approval is needed.
    #[serde(deserialize_with = "id")]
    pub trace_id: TraceId,
    /// `approval_required`, or empty.
    pub status: String,
    /// Why, when approval is needed.
    pub reason: String,
    /// Members of the body that the gateway did not understand, where it says so.
    #[serde(alias = "unknown_fields", alias = "ignored")]
    pub ignored_fields: Vec<String>,
}

/// What came of asking a job to stop.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Cancelled {
    /// The state it is in now.
    pub state: String,
    /// Set when it had ended before.
    pub reason: String,
    /// Whether the gateway was told our reason.
    #[serde(skip)]
    pub reason_sent: bool,
}

impl Cancelled {
    /// Whether it had ended already, so that nothing was cancelled.
    pub fn too_late(&self) -> bool {
        self.state != "CANCELLED" || self.reason.contains("already")
    }
}

/// A person's decision.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Decision {
    /// Who decides, sent as `X-Principal-Id`.
    pub operator: String,
    /// A remark; empty if none.
    pub note: String,
    /// Why; empty if none.
    pub reason: String,
    /// What it was made on; sent only to gateways that compare it.
    pub expect: Expect,
}

/// What a decision was made on; what is `None` is not compared.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Expect {
    /// The job hash, 64 hex digits.
    pub job_hash: Option<String>,
    /// The policy snapshot.
    pub policy_snapshot: Option<String>,
    /// SHA-256 of the payload, 64 hex digits.
    pub context_sha256: Option<String>,
}

impl Expect {
    /// Whether there is nothing to compare.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Decision {
    pub(super) fn body(&self, bound: bool) -> Value {
        let mut body = Map::new();
        for (name, text) in [("note", &self.note), ("reason", &self.reason)] {
            if !text.is_empty() {
                body.insert(name.to_owned(), json!(text));
            }
        }
        if bound {
            let expect: Map<String, Value> = [
                ("job_hash", &self.expect.job_hash),
                ("policy_snapshot", &self.expect.policy_snapshot),
                ("context_sha256", &self.expect.context_sha256),
            ]
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_ref()?))))
            .collect();
            body.insert("expect".to_owned(), Value::Object(expect));
        }
        Value::Object(body)
    }
}

/// What came of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Decided {
    /// The job.
    #[serde(deserialize_with = "id")]
    pub job_id: JobId,
    /// Its trace; empty on a rejection.
    #[serde(deserialize_with = "id")]
    pub trace_id: TraceId,
    /// Empty when this decision counts; `already_approved` or `already_rejected`
    /// when an earlier one of the same kind did.
    pub status: String,
    /// Who decided earlier.
    #[serde(alias = "approved_by", alias = "rejected_by")]
    pub earlier_by: String,
    /// When that was.
    #[serde(
        alias = "approved_at",
        alias = "rejected_at",
        deserialize_with = "instant"
    )]
    pub earlier_at: Option<Timestamp>,
    /// Whether the gateway compared what this decision was made on.
    #[serde(skip)]
    pub bound: bool,
}

impl Decided {
    /// Whether somebody else had decided the same before, so that this decision
    /// changed nothing.
    pub fn was_decided_before(&self) -> bool {
        self.status.starts_with("already_")
    }
}

fn id<'de, D: serde::Deserializer<'de>, T: From<String>>(from: D) -> Result<T, D::Error> {
    String::deserialize(from).map(T::from)
}

/// The records of a list inside of a record; those that cannot be read are left out.
fn records<'de, D: serde::Deserializer<'de>, T: DeserializeOwned>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    Ok(lenient::list(Value::deserialize(from)?)
        .map(|list| list.items)
        .unwrap_or_default())
}

/// RFC 3339, or a number since 1970 as [`Timestamp::from_any_unit`] reads it.
pub(super) fn instant<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<Timestamp>, D::Error> {
    let number = match Value::deserialize(from)? {
        Value::String(text) => match text.parse::<i64>() {
            Ok(number) => number,
            Err(_) => return Ok(Timestamp::parse_rfc3339(&text)),
        },
        Value::Number(number) => number.as_i64().unwrap_or_default(),
        _ => 0,
    };
    Ok(Timestamp::from_any_unit(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_of_every_unit_are_the_same_instant() {
        #[derive(Deserialize)]
        struct At(#[serde(deserialize_with = "instant")] Option<Timestamp>);
        let at = Timestamp::from_millis(1_767_225_600_000);
        for text in [
            "1767225600",
            "1767225600000",
            "1767225600000000",
            "1767225600000000000",
            "\"1767225600\"",
            "\"2026-01-01T00:00:00Z\"",
        ] {
            let At(read) = serde_json::from_str(text).expect(text);
            assert_eq!(read, Some(at), "{text}");
        }
        for text in ["0", "\"\"", "\"soon\"", "{}"] {
            let At(read) = serde_json::from_str(text).expect(text);
            assert_eq!(read, None, "{text}");
        }
    }

    #[test]
    fn a_decision_says_what_it_was_made_on_only_where_that_is_understood() {
        let decision = Decision {
            note: "ok".to_owned(),
            expect: Expect {
                job_hash: Some("ab".to_owned()),
                ..Expect::default()
            },
            ..Decision::default()
        };
        assert_eq!(decision.body(false), json!({"note":"ok"}));
        assert_eq!(
            decision.body(true),
            json!({"note":"ok","expect":{"job_hash":"ab"}})
        );
    }
}
