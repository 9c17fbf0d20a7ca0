//! What a gateway tells about jobs and about what waits for a person.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{id, instant, records};
use crate::gateway_client::lenient;
use crate::ids::{JobId, TraceId};
use crate::time::Timestamp;

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
    pub(in crate::gateway_client) fn pairs(&self) -> Vec<(&'static str, String)> {
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
    /// Who asked for it.
    pub submitted_by: String,
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
    /// As in the log: `submit`, `dispatch` or `approval`.
    pub check: String,
    /// How often policy said this while the job waited, where the gateway tells.
    pub times: Option<u32>,
    #[serde(deserialize_with = "instant")]
    pub first_checked_at: Option<Timestamp>,
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
