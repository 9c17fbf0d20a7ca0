//! What gateways are told and what they answer.
//!
//! Our own types on purpose: the console works against any control plane, so it
//! shares none with the embedded one. Absent members are empty, zero or `None`.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::lenient;
use crate::time::Timestamp;

mod acting;
mod jobs;
mod plane;

pub use acting::{Cancelled, Decided, Decision, Expect, Retried, Submitted};
pub use jobs::{ApprovalItem, DecisionRecord, EventRecord, JobDetail, JobRecord, JobsQuery};
pub(crate) use plane::Snapshots;
pub use plane::{
    DeadLetterRecord, LoggedDecision, Memory, PoolRecord, RollbackRecord, RuleRecord, Rules,
    Status, UndoRecord, WorkerRecord,
};

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
}
