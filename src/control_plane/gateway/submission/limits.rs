//! What no submission may break, however it was written.

use std::collections::BTreeMap;

use super::{BadSubmission, bad};
use crate::bus::Subject;
use crate::wire::packet::JobRequest;

/// Characters of a topic, the limit of CAP gateways.
pub(super) const MAX_TOPIC: usize = 256;
/// Labels of a body, the limit of CAP gateways.
const MAX_LABELS: usize = 50;
/// Bytes of a label's name, the limit of CAP gateways.
const MAX_LABEL_NAME: usize = 256;
/// Bytes of a label's value, the limit of CAP gateways.
const MAX_LABEL_VALUE: usize = 4096;
/// Entries of `risk_tags` and `requires`, the limit of the contract.
const MAX_WORDS: usize = 1_000;

/// What no submission may break, however it was written.
pub(super) fn check(request: &JobRequest) -> Result<(), BadSubmission> {
    check_topic("topic", &request.topic)?;
    check_labels(&request.labels)?;
    if request.job_id.as_str().len() > MAX_TOPIC || !is_name(request.job_id.as_str()) {
        return Err(bad(
            "job_id",
            "may have letters, digits and . _ : @ - only, 256 at most",
        ));
    }
    if request.step_index < 0 {
        return Err(bad("step_index", "must not be negative"));
    }
    if let Some(budget) = &request.budget {
        for (field, value) in [
            ("deadline_ms", budget.deadline_ms),
            ("max_input_tokens", budget.max_input_tokens),
            ("max_output_tokens", budget.max_output_tokens),
            ("max_total_tokens", budget.max_total_tokens),
        ] {
            if value < 0 {
                return Err(bad(field, "must not be negative"));
            }
        }
    }
    if let Some(meta) = &request.meta {
        for (field, words) in [("risk_tags", &meta.risk_tags), ("requires", &meta.requires)] {
            if words.len() > MAX_WORDS {
                return Err(bad(field, format!("has more than {MAX_WORDS} entries")));
            }
        }
    }
    if let Some(compensation) = &request.compensation {
        check_topic("compensation.topic", &compensation.topic)?;
    }
    Ok(())
}

fn check_topic(field: &'static str, topic: &str) -> Result<(), BadSubmission> {
    if topic.is_empty() {
        return Err(bad(field, "is missing"));
    }
    if !topic.starts_with("job.") {
        return Err(bad(field, "must begin with `job.`"));
    }
    if topic.chars().count() > MAX_TOPIC {
        return Err(bad(field, format!("is longer than {MAX_TOPIC} characters")));
    }
    match Subject::parse(topic) {
        Ok(_) => Ok(()),
        Err(crate::bus::BusError::BadSubject { reason, .. }) => {
            Err(bad(field, format!("is not a subject: {reason}")))
        }
        Err(error) => Err(bad(field, error.to_string())),
    }
}

fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), BadSubmission> {
    if labels.len() > MAX_LABELS {
        return Err(bad("labels", format!("has more than {MAX_LABELS} entries")));
    }
    for (name, value) in labels {
        if name.is_empty() || name.len() > MAX_LABEL_NAME {
            return Err(bad(
                "labels",
                format!("has a name that is empty or longer than {MAX_LABEL_NAME} bytes"),
            ));
        }
        if value.len() > MAX_LABEL_VALUE {
            return Err(bad(
                "labels",
                format!("has a value longer than {MAX_LABEL_VALUE} bytes"),
            ));
        }
    }
    Ok(())
}

fn is_name(id: &str) -> bool {
    id.chars()
        .all(|c| c.is_ascii_alphanumeric() || ".:_@-".contains(c))
        && !id.contains("..")
}
