//! Names in a request that only a plane may write.
//!
//! Policy, workers and people trust what they find there, and the job hash leaves some
//! of it out. So a gateway takes it out of what clients send. On the bus, where planes
//! speak to each other, it stays.

use std::collections::BTreeMap;

use crate::wire::job_hash;
use crate::wire::packet::JobRequest;

/// The label that says by which way a job came in.
pub(super) const SOURCE_LABEL: &str = "_source";
/// What [`SOURCE_LABEL`] says of what comes by HTTP.
pub(super) const SOURCE_API: &str = "api";
/// The label of a job that went on unjudged.
pub(super) const BYPASSED_LABEL: &str = "safety_bypassed";
/// The label that says why it did.
pub(super) const BYPASS_REASON_LABEL: &str = "safety_bypass_reason";
/// Labels that mark a job as the undo of another, which a rollback sets.
const UNDO_LABELS: [&str; 3] = ["saga_compensation", "is_compensation", "saga_workflow_id"];

/// Whether only a plane may set the label.
pub(super) fn is_label(name: &str) -> bool {
    name.starts_with('_')
        || [BYPASSED_LABEL, BYPASS_REASON_LABEL].contains(&name)
        || UNDO_LABELS.contains(&name)
        || job_hash::leaves_out(name)
}

/// Whether only a plane may set the variable: workers read limits and configuration
/// there.
fn is_variable(name: &str) -> bool {
    name.starts_with("CORDUM_")
}

/// Takes out of a request, and of what would undo it, what only a plane may write
/// there. Returns the paths of what was taken out, such as `labels._source`.
pub(super) fn strip(request: &mut JobRequest) -> Vec<String> {
    let mut gone = Vec::new();
    let mut take = |path: &str, map: &mut BTreeMap<String, String>, is_ours: fn(&str) -> bool| {
        map.retain(|name, _| {
            let keep = !is_ours(name);
            if !keep {
                gone.push(format!("{path}.{name}"));
            }
            keep
        });
    };
    take("labels", &mut request.labels, is_label);
    take("env", &mut request.env, is_variable);
    if let Some(meta) = &mut request.meta {
        take("meta.labels", &mut meta.labels, is_label);
    }
    if let Some(compensation) = &mut request.compensation {
        take("compensation.labels", &mut compensation.labels, is_label);
        take("compensation.env", &mut compensation.env, is_variable);
        if let Some(meta) = &mut compensation.meta {
            take("compensation.meta.labels", &mut meta.labels, is_label);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::{Unknown, job_request_from_json};

    #[test]
    fn what_only_a_plane_may_write_is_taken_out_and_named() {
        let text = r#"{"topic":"job.a",
            "labels":{"_source":"pack","_content.prompt":"x","Approval_Granted":"true",
                "cordum.bus_msg_id":"m","policy.attachment_id":"p","safety_bypassed":"true",
                "safety_bypass_reason":"r","saga_compensation":"true","is_compensation":"true",
                "saga_workflow_id":"wf","mcp.action":"read","approval":"kept",
                "secrets_present":"true","remediation_of":"kept"},
            "env":{"CORDUM_EFFECTIVE_CONFIG":"{}","CORDUM_MAX_RETRIES":"9","team":"ops"},
            "meta":{"labels":{"_source":"pack","a":"b"}},
            "compensation":{"topic":"job.undo","labels":{"_x":"","c":"d"},
                "env":{"CORDUM_REDACTION_LEVEL":"none"},"meta":{"labels":{"_y":""}}}}"#;
        let read = job_request_from_json(text.as_bytes(), Unknown::Refuse);
        let (mut request, _) = read.expect("a request");
        assert_eq!(
            strip(&mut request),
            [
                "labels.Approval_Granted",
                "labels._content.prompt",
                "labels._source",
                "labels.cordum.bus_msg_id",
                "labels.is_compensation",
                "labels.policy.attachment_id",
                "labels.safety_bypass_reason",
                "labels.safety_bypassed",
                "labels.saga_compensation",
                "labels.saga_workflow_id",
                "env.CORDUM_EFFECTIVE_CONFIG",
                "env.CORDUM_MAX_RETRIES",
                "meta.labels._source",
                "compensation.labels._x",
                "compensation.env.CORDUM_REDACTION_LEVEL",
                "compensation.meta.labels._y",
            ]
        );
        let kept: Vec<_> = request.labels.keys().map(String::as_str).collect();
        assert_eq!(
            kept,
            [
                "approval",
                "mcp.action",
                "remediation_of",
                "secrets_present"
            ]
        );
        assert_eq!(request.env.keys().collect::<Vec<_>>(), ["team"]);
        assert_eq!(strip(&mut request), Vec::<String>::new());
    }
}
