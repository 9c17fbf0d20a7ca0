//! The documents themselves: JSON with the names of HTTP answers where there are such,
//! instants in milliseconds, requests and results as the bytes of their messages.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::BadDocument;
use crate::control_plane::ledger::rollback::UndoKey;
use crate::ids::JobId;
use crate::time::Timestamp;
use crate::wire::packet::JobRequest;
use crate::wire::stored;

mod job;
mod rollback;

pub(super) use job::{DecisionDocument, JobDocument, decision_document, decision_of};
pub(super) use rollback::StackDocument;

/// What this program writes. Another number is refused: half understood would be worse.
pub(super) const VERSION: u32 = 1;

pub(super) fn write(document: &impl Serialize) -> String {
    serde_json::to_string(document).expect("plain data can be written")
}

/// Reads a document of this version.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadDocument> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let head: Head = serde_json::from_slice(bytes)?;
    if head.version != VERSION {
        return Err(BadDocument::Version {
            found: head.version,
        });
    }
    Ok(serde_json::from_slice(bytes)?)
}

fn bad(part: &'static str, why: impl std::fmt::Display) -> BadDocument {
    let why = why.to_string();
    BadDocument::Part { part, why }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

pub(super) fn request_of(text: &str, part: &'static str) -> Result<Arc<JobRequest>, BadDocument> {
    let bytes = STANDARD.decode(text).map_err(|error| bad(part, error))?;
    let request = stored::job_request(&bytes).map_err(|error| bad(part, error))?;
    Ok(Arc::new(request))
}

pub(super) fn text_of(request: &JobRequest) -> String {
    STANDARD.encode(stored::job_request_bytes(request))
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeyDocument {
    Workflow(String),
    Job(String),
}

impl KeyDocument {
    fn of(key: &UndoKey) -> Self {
        match key {
            UndoKey::Workflow(id) => Self::Workflow(id.clone()),
            UndoKey::Job(id) => Self::Job(id.to_string()),
        }
    }

    fn into_key(self) -> UndoKey {
        match self {
            Self::Workflow(id) => UndoKey::Workflow(id),
            Self::Job(id) => UndoKey::Job(JobId::from(id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_plane::ledger::saved::Saved;

    fn why(document: &[u8]) -> String {
        let error = Saved::default()
            .add_job(document)
            .expect_err("it is broken");
        error.to_string()
    }

    #[test]
    fn what_this_program_did_not_write_is_refused_and_says_why() {
        assert_eq!(why(b""), "it cannot be read");
        assert_eq!(why(b"{}"), "it cannot be read");
        let other = br#"{"version":2,"job_id":"j1"}"#;
        assert_eq!(
            why(other),
            "it is of version 2, and this program reads version 1"
        );
    }

    #[test]
    fn a_name_that_nobody_knows_is_told_with_its_place() {
        use crate::control_plane::ledger::{Ledger, Submission};
        use crate::ids::JobId;
        let mut ledger = Ledger::new(10, 7).keeping();
        let request = JobRequest {
            job_id: JobId::from("j1"),
            topic: "job.a".to_owned(),
            ..JobRequest::default()
        };
        let submission = Submission {
            request,
            ..Submission::default()
        };
        ledger.submit(submission, at(5)).expect("it is new");
        let document = ledger.take_changes().jobs[0].document();
        Saved::default()
            .add_job(document.as_bytes())
            .expect("it is whole");
        for (from, to, says) in [
            (
                r#""state":"PENDING","waiting_on""#,
                r#""state":"GONE","waiting_on""#,
                "its state cannot be read: `GONE` is none",
            ),
            (
                r#""waiting_on":null"#,
                r#""waiting_on":"rain""#,
                "its waiting_on cannot be read: `rain` is none",
            ),
            (
                r#""request":""#,
                r#""request":"!"#,
                "its request cannot be read: Invalid symbol 33, offset 0.",
            ),
        ] {
            assert!(document.contains(from), "{from} in {document}");
            assert_eq!(why(document.replacen(from, to, 1).as_bytes()), says);
        }
    }
}
