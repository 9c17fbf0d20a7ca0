//! What no submission may break, however it was written.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{BadSubmission, Wanted, bad};
use crate::bus::Subject;
use crate::control_plane::reserved;
use crate::control_plane::scheduler::saga;
use crate::control_plane::scheduler::sound::{self, Unsound};
use crate::wire::decode::MAX_PAYLOAD;
use crate::wire::encode::request_len;
use crate::wire::packet::JobRequest;

/// Characters of a topic, the limit of CAP gateways.
pub(super) const MAX_TOPIC: usize = 256;
/// Labels of a body, the limit of CAP gateways.
const MAX_LABELS: usize = 50;
/// Bytes of a label's name, the limit of CAP gateways.
const MAX_LABEL_NAME: usize = 256;
/// Bytes of a label's value, the limit of CAP gateways.
const MAX_LABEL_VALUE: usize = 4096;
/// Bytes that a request may grow by on its way to the worker: its envelope, its
/// context pointer, and what a plane writes into it, limits above all.
const ROOM: usize = 16 * 1024;

/// What no submission may break, however it was written.
pub(super) fn check(request: &JobRequest) -> Result<(), BadSubmission> {
    check_topic("topic", &request.topic)?;
    check_labels("labels", &request.labels)?;
    if request.job_id.as_str().len() > MAX_TOPIC || !is_name(request.job_id.as_str()) {
        return Err(bad(
            "job_id",
            "may have letters, digits and . _ : @ - only, 256 at most",
        ));
    }
    if let Some(compensation) = &request.compensation {
        check_topic("compensation.topic", &compensation.topic)?;
        check_labels("compensation.labels", &compensation.labels)?;
    }
    Ok(())
}

impl Wanted {
    /// Refuses a request that could not be published or run, or whose undo could not,
    /// so that nothing is stored that has no way on.
    ///
    /// # Errors
    /// [`BadSubmission`]; a field of the request or its budget and metadata is named as
    /// in the HTTP body.
    pub fn must_be_sound(&self) -> Result<(), BadSubmission> {
        sound::check(&self.request).map_err(|Unsound { field, says }| {
            let short = ["budget.", "meta."]
                .iter()
                .filter(|_| field != "meta.tenant_id")
                .find_map(|part| field.strip_prefix(part));
            BadSubmission::BadField {
                field: match short {
                    Some(short) => Cow::Owned(short.to_owned()),
                    None => field,
                },
                says,
            }
        })?;
        let most = MAX_PAYLOAD - ROOM;
        let names = self.trace.as_str().len() + self.sender.as_str().len();
        let undo = saga::template(&self.request);
        let long = [Some(&self.request), undo.as_ref()]
            .into_iter()
            .flatten()
            .map(|request| request_len(request) + names)
            .find(|len| *len > most);
        match long {
            None => Ok(()),
            Some(len) => Err(BadSubmission::BadShape(format!(
                "it takes {len} bytes on the bus, without prompt and context; {most} are allowed"
            ))),
        }
    }
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

fn check_labels(
    field: &'static str,
    labels: &BTreeMap<String, String>,
) -> Result<(), BadSubmission> {
    // What is taken out is not counted.
    let counted = labels.keys().filter(|name| !reserved::is_label(name));
    if counted.count() > MAX_LABELS {
        return Err(bad(field, format!("has more than {MAX_LABELS} entries")));
    }
    for (name, value) in labels {
        if name.is_empty() || name.len() > MAX_LABEL_NAME {
            return Err(bad(
                field,
                format!("has a name that is empty or longer than {MAX_LABEL_NAME} bytes"),
            ));
        }
        if value.len() > MAX_LABEL_VALUE {
            return Err(bad(
                field,
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
