//! What a gateway tells about itself, workers, policy and what went wrong.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{id, instant, records};
use crate::gateway_client::lenient;
use crate::ids::JobId;
use crate::time::Timestamp;

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
    pub topic: String,
    pub tenant: String,
    pub agent_id: String,
    pub policy_version: String,
    pub constraints: Option<Value>,
    pub approval_status: String,
    pub approval_decision: String,
    pub matched_rule: String,
    /// In lower case, such as `constrain`.
    pub verdict: String,
    pub reason: String,
    /// What it is a record of, where the gateway tells: `submit`, `dispatch`, or
    /// `approval` for a person's yes.
    pub check: String,
    /// How often policy said this while the job waited, where the gateway tells.
    pub times: Option<u32>,
    #[serde(deserialize_with = "instant")]
    pub first_timestamp: Option<Timestamp>,
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
    pub(in crate::gateway_client) fn from_value(value: &Value) -> Result<Self, String> {
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
