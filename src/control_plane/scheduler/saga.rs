//! The job that undoes another one, made from what its request carries.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::control_plane::ledger::job::{is_personal, workflow_of};
use crate::ids::JobId;
use crate::wire::packet::{JobMetadata, JobPriority, JobRequest};

/// The request that would undo `original`, without a job id; `None` when the
/// original names no compensation.
///
/// What the compensation leaves open is inherited, except what was granted to the
/// original alone: the labels of its approval, its message id, its dispatch and
/// its own idempotency key.
pub fn template(original: &JobRequest) -> Option<JobRequest> {
    let wanted = original.compensation.as_deref()?;
    if wanted.topic.is_empty() {
        return None;
    }
    let workflow = workflow_of(original).unwrap_or_default().to_owned();

    let mut labels = original.labels.clone();
    labels.retain(|key, _| !is_personal(key));
    labels.extend(wanted.labels.clone());
    labels.retain(|key, _| !is_personal(key));
    let mut env = original.env.clone();
    env.retain(|key, _| !key.starts_with("CORDUM_"));
    env.extend(wanted.env.clone());
    for map in [&mut labels, &mut env] {
        map.insert("saga_compensation".to_owned(), "true".to_owned());
        map.insert("is_compensation".to_owned(), "true".to_owned());
        if !workflow.is_empty() {
            map.insert("saga_workflow_id".to_owned(), workflow.clone());
        }
    }

    let topic = if wanted.topic.starts_with("job.") {
        wanted.topic.clone()
    } else {
        format!("job.{}", wanted.topic)
    };
    let mut meta = merged(original.meta.as_ref(), wanted.meta.as_ref());
    if meta.idempotency_key.is_empty() {
        meta.idempotency_key = derived_key(original, &workflow, &topic, &meta.capability);
    }

    Some(JobRequest {
        job_id: JobId::default(),
        topic,
        priority: JobPriority::Critical,
        context_ptr: either(&wanted.context_ptr, &original.context_ptr),
        adapter_id: either(&wanted.adapter_id, &original.adapter_id),
        env,
        parent_job_id: original.job_id.clone(),
        workflow_id: original.workflow_id.clone(),
        step_index: original.step_index,
        memory_id: either(&wanted.memory_id, &original.memory_id),
        context_hints: wanted
            .context_hints
            .clone()
            .or_else(|| original.context_hints.clone()),
        budget: wanted.budget.clone().or_else(|| original.budget.clone()),
        tenant_id: either(&wanted.tenant_id, &original.tenant_id),
        principal_id: either(&wanted.principal_id, &original.principal_id),
        labels,
        meta: Some(meta),
        compensation: None,
        identity: wanted
            .identity
            .clone()
            .or_else(|| original.identity.clone()),
        dispatch: None,
        context_ref: wanted.context_ref.clone(),
    })
}

fn either(wanted: &str, inherited: &str) -> String {
    if wanted.is_empty() { inherited } else { wanted }.to_owned()
}

fn merged(base: Option<&JobMetadata>, wanted: Option<&JobMetadata>) -> JobMetadata {
    let base = base.cloned().unwrap_or_default();
    let Some(wanted) = wanted else {
        return JobMetadata {
            idempotency_key: String::new(),
            ..base
        };
    };
    let or = |wanted: &[String], base: Vec<String>| {
        if wanted.is_empty() {
            base
        } else {
            wanted.to_vec()
        }
    };
    let mut labels: BTreeMap<_, _> = base.labels;
    labels.extend(wanted.labels.clone());
    JobMetadata {
        tenant_id: either(&wanted.tenant_id, &base.tenant_id),
        actor_id: either(&wanted.actor_id, &base.actor_id),
        actor_type: if wanted.actor_type == Default::default() {
            base.actor_type
        } else {
            wanted.actor_type
        },
        idempotency_key: wanted.idempotency_key.clone(),
        capability: either(&wanted.capability, &base.capability),
        risk_tags: or(&wanted.risk_tags, base.risk_tags),
        requires: or(&wanted.requires, base.requires),
        pack_id: either(&wanted.pack_id, &base.pack_id),
        labels,
    }
}

/// `saga:` and the first 16 bytes, in hex, of the digest of what identifies the
/// step, as CAP schedulers derive it.
fn derived_key(original: &JobRequest, workflow: &str, topic: &str, capability: &str) -> String {
    let mut parts = vec![
        workflow.to_owned(),
        original.job_id.to_string(),
        topic.to_owned(),
        capability.to_owned(),
    ];
    if original.step_index != 0 {
        parts.push(original.step_index.to_string());
    }
    let digest = Sha256::digest(parts.join("|").as_bytes());
    let hex: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
    format!("saga:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::packet::{Budget, Compensation};

    fn original() -> JobRequest {
        JobRequest {
            job_id: JobId::from("j1"),
            topic: "job.mcp-bridge.write.update_ticket".to_owned(),
            context_ptr: "redis://ctx:j1".to_owned(),
            workflow_id: "wf-1".to_owned(),
            tenant_id: "default".to_owned(),
            env: [("CORDUM_MAX_RETRIES", "1"), ("team", "ops")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            labels: [
                ("approval_granted", "true"),
                ("cordum.bus_msg_id", "approval:j1"),
                ("mcp.action", "write"),
            ]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
            budget: Some(Budget {
                deadline_ms: 1_000,
                ..Budget::default()
            }),
            meta: Some(JobMetadata {
                idempotency_key: "j1/do".to_owned(),
                risk_tags: vec!["prod".to_owned()],
                ..JobMetadata::default()
            }),
            compensation: Some(Box::new(Compensation {
                topic: "mcp-bridge.write.revert_ticket".to_owned(),
                context_ptr: "redis://ctx:j1:undo".to_owned(),
                ..Compensation::default()
            })),
            ..JobRequest::default()
        }
    }

    #[test]
    fn an_undo_inherits_what_it_leaves_open_but_nothing_that_was_granted() {
        let undo = template(&original()).expect("it names a compensation");
        assert_eq!(undo.topic, "job.mcp-bridge.write.revert_ticket");
        assert_eq!(undo.context_ptr, "redis://ctx:j1:undo");
        assert_eq!(undo.parent_job_id.as_str(), "j1");
        assert_eq!(undo.tenant_id, "default");
        assert_eq!(undo.priority, JobPriority::Critical);
        assert_eq!(
            format!("{:?}", undo.labels),
            r#"{"is_compensation": "true", "mcp.action": "write", "saga_compensation": "true", "saga_workflow_id": "wf-1"}"#
        );
        assert_eq!(undo.env.get("team").map(String::as_str), Some("ops"));
        assert_eq!(undo.env.get("CORDUM_MAX_RETRIES"), None);
        let meta = undo.meta.expect("metadata");
        assert_eq!(meta.risk_tags, ["prod"]);
        // By another program: sha256 of "wf-1|j1|job.mcp-bridge.write.revert_ticket|",
        // cut to 16 bytes.
        assert_eq!(
            meta.idempotency_key,
            "saga:664c979753fe347f079a2214c48e2cba"
        );
    }

    #[test]
    fn a_derived_key_is_that_of_cap_schedulers() {
        let mut later = original();
        later.step_index = 2;
        if let Some(meta) = &mut later.meta {
            meta.capability = "tickets.write".to_owned();
        }
        let undo = template(&later).expect("it names a compensation");
        // By another program:
        // "wf-1|j1|job.mcp-bridge.write.revert_ticket|tickets.write|2".
        assert_eq!(
            undo.meta.map(|meta| meta.idempotency_key).as_deref(),
            Some("saga:040e23eac19a74a6d98d909cb34067d8")
        );
    }

    #[test]
    fn a_named_idempotency_key_is_kept_and_a_derived_one_differs_by_step() {
        let mut named = original();
        if let Some(compensation) = &mut named.compensation {
            compensation.meta = Some(JobMetadata {
                idempotency_key: "j1/undo".to_owned(),
                ..JobMetadata::default()
            });
        }
        let key = |request: &JobRequest| {
            template(request)
                .and_then(|undo| undo.meta)
                .map(|meta| meta.idempotency_key)
        };
        assert_eq!(key(&named).as_deref(), Some("j1/undo"));
        let first = original();
        let mut second = original();
        second.step_index = 2;
        assert_eq!(key(&first), key(&first.clone()));
        assert_ne!(key(&first), key(&second));
    }

    #[test]
    fn a_job_that_names_nothing_to_undo_it_has_no_undo() {
        let mut none = original();
        none.compensation = None;
        assert_eq!(template(&none), None);
    }
}
