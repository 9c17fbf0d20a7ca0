//! Questions to a safety kernel and its answers, as they travel between programs.
//!
//! The types here are the contract's messages without protobuf: whoever asks or
//! answers works with these, [`rpc`] carries them by gRPC. What an answer means is
//! not judged here.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::json::constraints_to_redis;
use super::packet::{JobMetadata, WireEnum, wire_enum};

mod convert;
pub mod rpc;

wire_enum! {
    /// What a safety kernel says is to happen.
    DecisionType {
        /// Run it.
        Allow = 1 "ALLOW",
        /// Never run it.
        Deny = 2 "DENY",
        /// A person decides.
        RequireHuman = 3 "REQUIRE_HUMAN",
        /// Not now; ask again.
        Throttle = 4 "THROTTLE",
        /// Run it within limits.
        AllowWithConstraints = 5 "ALLOW_WITH_CONSTRAINTS",
        /// About a result: keep it from everybody.
        Quarantine = 6 "QUARANTINE",
        /// About a result: take something out of it.
        Redact = 7 "REDACT",
    }
}

/// A `PolicyCheckRequest`: the facts of a request that policy may read. What the
/// message has beyond these is neither read nor sent.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PolicyCheck {
    /// The job; may be empty.
    pub job_id: String,
    /// The topic, `job.` included.
    pub topic: String,
    /// The tenant; may be empty.
    pub tenant: String,
    /// Who asks, as a principal.
    pub principal_id: String,
    /// Labels of the request.
    pub labels: BTreeMap<String, String>,
    /// Who asks as an actor, and what for.
    pub meta: Option<JobMetadata>,
}

/// A `PolicyCheckResponse`.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct PolicyAnswer {
    /// What is to happen.
    pub decision: DecisionType,
    /// Why, for people.
    pub reason: String,
    /// The policy that was asked.
    pub policy_snapshot: String,
    /// The rule that decided; empty when none matched.
    pub rule_id: String,
    /// Limits that ride on a yes.
    pub constraints: Option<Constraints>,
    /// Whether a person decides.
    pub approval_required: bool,
    /// What that person's decision is filed under: the job.
    pub approval_ref: String,
    /// Changes to the request that policy would accept.
    pub remediations: Vec<Remediation>,
}

/// Limits that ride on a yes. The JSON is that of CAP gateways: snake case,
/// absent when unset.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Constraints {
    /// Time, retries, sizes and concurrency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budgets: Option<BudgetConstraints>,
    /// What it may touch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxProfile>,
    /// What it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toolchain: Option<ToolchainConstraints>,
    /// How much it may change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<DiffConstraints>,
    /// How its output is redacted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub redaction_level: String,
}

impl Constraints {
    /// The protojson of the contract's `PolicyConstraints`, as it stands in Redis,
    /// in HTTP answers of policy, and in the environment of workers. What is zero
    /// is not written.
    pub fn protojson(&self) -> String {
        let text = serde_json::to_vec(self).expect("plain data can be written");
        constraints_to_redis(&text).expect("the fields are those of the contract")
    }
}

/// Limits on time, retries, sizes and concurrency. Zero is no limit, except for retries.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BudgetConstraints {
    /// Milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_runtime_ms: Option<i64>,
    /// Attempts after the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<i32>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_artifact_bytes: Option<i64>,
    /// Jobs of one tenant at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent_jobs: Option<i32>,
}

/// What a job may touch.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SandboxProfile {
    /// It runs alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub isolated: bool,
    /// Hosts it may reach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network_allowlist: Vec<String>,
    /// Paths it may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fs_read_only: Vec<String>,
    /// Paths it may write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fs_read_write: Vec<String>,
}

/// What a job may use.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ToolchainConstraints {
    /// Tools by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_tools: Vec<String>,
    /// Commands by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_commands: Vec<String>,
}

/// How much a job may change.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DiffConstraints {
    /// Files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_files: Option<i32>,
    /// Lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lines: Option<i32>,
    /// Paths it may not touch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny_path_globs: Vec<String>,
}

/// A change to a request that policy would accept.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remediation {
    /// Its name.
    pub id: String,
    /// A few words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// A sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// The topic to use instead.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub replacement_topic: String,
    /// The capability to use instead.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub replacement_capability: String,
    /// Labels to add.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub add_labels: BTreeMap<String, String>,
    /// Labels to remove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_labels: Vec<String>,
}
