//! What a gateway is asked to do, and what it says came of it.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{id, instant};
use crate::ids::{JobId, TraceId};
use crate::time::Timestamp;

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

/// A dead letter was retried.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Retried {
    /// The new job.
    #[serde(deserialize_with = "id")]
    pub job_id: JobId,
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
    pub(in crate::gateway_client) fn body(&self, bound: bool) -> Value {
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

#[cfg(test)]
mod tests {
    use super::*;

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
