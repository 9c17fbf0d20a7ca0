//! Asking what policy would say of the job that would undo another.
//!
//! Planes tell it of no undo that has not run, so the request that the plane would
//! make is made up here from the stored one, as far as policy reads it, and any
//! gateway is asked to simulate it. Nothing is recorded or counted.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::effects::{Outside, console, failed, outcome_of};
use super::facts;
use super::policy::{actor_type, one};
use crate::ids::JobId;
use crate::state::effect::Outcome;
use crate::state::event::Event;
use crate::state::model::compensations::Judged;
use crate::state::model::jobs::Decision;
use crate::wire::packet::{ActorType, JobRequest};

impl Outside {
    pub(super) async fn judge_compensation(&self, job: &JobId) -> Outcome {
        let Some(gateway) = &self.sources.gateway else {
            return failed("policy is asked through a gateway, and none is configured");
        };
        let detail = match gateway.job(job).await {
            Ok(detail) => detail,
            Err(error) => return outcome_of(&error),
        };
        let stored = facts::stored_request(detail.request.as_ref());
        let Some(question) = stored.as_ref().and_then(question) else {
            return console(
                "not_told",
                "the gateway does not tell the request that would undo it",
            );
        };
        match gateway.simulate(&question).await {
            Ok(answer) => {
                let judged = Judged {
                    job: job.clone(),
                    decision: one(&answer, ["decision", "decision"])
                        .and_then(|it| Decision::read(&it)),
                    rule_id: one(&answer, ["ruleId", "rule_id"]),
                    reason: one(&answer, ["reason", "reason"]),
                    snapshot: one(&answer, ["policySnapshot", "policy_snapshot"]),
                };
                self.answer(Event::CompensationJudged(Box::new(judged)))
                    .await;
                Outcome::Done(None)
            }
            Err(error) => outcome_of(&error),
        }
    }
}

/// The question about the request that would undo `original`, as planes make it: what
/// the compensation leaves open is inherited, and labels say what it is. `None` where
/// it names no compensation.
fn question(original: &JobRequest) -> Option<Value> {
    let wanted = original.compensation.as_deref()?;
    if wanted.topic.is_empty() {
        return None;
    }
    let either = |wanted: &str, base: &str| -> String {
        if wanted.is_empty() { base } else { wanted }.to_owned()
    };
    let base = original.meta.clone().unwrap_or_default();
    let own = wanted.meta.clone().unwrap_or_default();
    let list = |own: Vec<String>, base: Vec<String>| if own.is_empty() { base } else { own };
    let workflow = [
        Some(&original.workflow_id),
        original.labels.get("workflow_id"),
    ];
    let workflow = workflow.into_iter().flatten().find(|id| !id.is_empty());
    let mut labels: BTreeMap<String, String> = original.labels.clone();
    labels.extend(wanted.labels.clone());
    // What was granted to the original alone is not passed on.
    labels.retain(|label, _| {
        !label.to_ascii_lowercase().starts_with("approval_") && label != "cordum.bus_msg_id"
    });
    labels.insert("saga_compensation".to_owned(), "true".to_owned());
    labels.insert("is_compensation".to_owned(), "true".to_owned());
    if let Some(workflow) = workflow {
        labels.insert("saga_workflow_id".to_owned(), workflow.clone());
    }
    let topic = match wanted.topic.strip_prefix("job.") {
        Some(_) => wanted.topic.clone(),
        None => format!("job.{}", wanted.topic),
    };
    let actor = match own.actor_type {
        ActorType::Unspecified => base.actor_type,
        named => named,
    };
    let in_meta = either(&own.tenant_id, &base.tenant_id);
    let tenant = either(&wanted.tenant_id, &original.tenant_id);
    let tenant = [
        tenant,
        in_meta.clone(),
        original.tenant().unwrap_or_default().to_owned(),
    ];
    let tenant = tenant.into_iter().find(|it| !it.is_empty());
    Some(json!({
        "topic": topic,
        "tenant": tenant.unwrap_or_default(),
        "workflow_id": original.workflow_id,
        "principal_id": either(&wanted.principal_id, &original.principal_id),
        "labels": labels,
        "meta": {
            "tenant_id": in_meta,
            "actor_id": either(&own.actor_id, &base.actor_id),
            "actor_type": actor_type(actor),
            "capability": either(&own.capability, &base.capability),
            "risk_tags": list(own.risk_tags, base.risk_tags),
            "requires": list(own.requires, base.requires),
            "pack_id": either(&own.pack_id, &base.pack_id),
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::packet::{Compensation, JobMetadata};

    #[test]
    fn an_undo_inherits_what_it_leaves_open_and_says_what_it_is() {
        let labels = [
            ("env", "prod"),
            ("approval_granted", "true"),
            ("cordum.bus_msg_id", "approval:j1"),
            ("step", "one"),
        ];
        let mut original = JobRequest {
            job_id: JobId::from("j1"),
            topic: "job.mcp.update".to_owned(),
            tenant_id: "acme".to_owned(),
            principal_id: "alice".to_owned(),
            workflow_id: "wf-1".to_owned(),
            labels: labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            meta: Some(JobMetadata {
                actor_id: "agent-7".to_owned(),
                actor_type: ActorType::Service,
                capability: "write".to_owned(),
                risk_tags: vec!["prod".to_owned()],
                ..JobMetadata::default()
            }),
            compensation: Some(Box::new(Compensation {
                topic: "mcp.restore".to_owned(),
                labels: [("step".to_owned(), "undo".to_owned())].into(),
                meta: Some(JobMetadata {
                    capability: "restore".to_owned(),
                    ..JobMetadata::default()
                }),
                ..Compensation::default()
            })),
            ..JobRequest::default()
        };
        let asked = question(&original).expect("it can be undone");
        assert_eq!(asked["topic"], "job.mcp.restore");
        assert_eq!(
            (&asked["tenant"], &asked["principal_id"]),
            (&json!("acme"), &json!("alice"))
        );
        assert_eq!(
            asked["labels"],
            json!({"env": "prod", "step": "undo", "saga_compensation": "true",
                "is_compensation": "true", "saga_workflow_id": "wf-1"})
        );
        assert_eq!(asked["meta"]["actor_id"], "agent-7");
        assert_eq!(asked["meta"]["actor_type"], "service");
        assert_eq!(asked["meta"]["capability"], "restore");
        assert_eq!(asked["meta"]["risk_tags"], json!(["prod"]));
        original.compensation = None;
        assert_eq!(question(&original), None);
    }
}
