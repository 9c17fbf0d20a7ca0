//! Asking policy about a job that nobody submits: `POST /policy/evaluate`, which
//! counts the request for rules with a velocity, and `/simulate` and `/explain`,
//! which do not. And the rules themselves: `GET /policy/rules`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use super::actions::optional_json;
use super::answer::{Answer, Refusal, ok};
use crate::control_plane::kernel::explain::RuleTrace;
use crate::control_plane::kernel::policy::Policy;
use crate::control_plane::kernel::{Constraints, Decision, Question, Verdict};
use crate::wire::packet::{ActorType, JobMetadata};
use crate::wire::safety::PolicyCheck;

mod written;

use self::written::written;

/// The body; fields that policy here does not read are taken and not used.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    job_id: String,
    topic: String,
    tenant: String,
    principal_id: String,
    labels: BTreeMap<String, String>,
    meta: AskedMeta,
    #[serde(rename = "org_id")]
    _org_id: Value,
    #[serde(rename = "team_id")]
    _team_id: Value,
    workflow_id: String,
    #[serde(rename = "step_id")]
    _step_id: Value,
    #[serde(rename = "priority")]
    _priority: Value,
    #[serde(rename = "estimated_cost")]
    _estimated_cost: Value,
    #[serde(rename = "budget")]
    _budget: Value,
    #[serde(rename = "memory_id")]
    _memory_id: Value,
    #[serde(rename = "effective_config")]
    _effective_config: Value,
    #[serde(rename = "action")]
    _action: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AskedMeta {
    tenant_id: String,
    actor_id: String,
    actor_type: String,
    capability: String,
    risk_tags: Vec<String>,
    requires: Vec<String>,
    pack_id: String,
    #[serde(rename = "idempotency_key")]
    _idempotency_key: String,
    #[serde(rename = "labels")]
    _labels: BTreeMap<String, String>,
}

/// Answers what policy says now, and counts the request. Nothing is recorded.
pub(super) async fn evaluate(State(app): State<Arc<App>>, request: Request) -> Answer {
    let asked: Asked = optional_json(request).await?;
    let question = question(asked)?;
    let verdict = app.ask(&question).await?;
    ok(&response(question.job_id.as_str(), &verdict))
}

/// Answers what policy would say now. Nothing is recorded or counted.
pub(super) async fn simulate(State(app): State<Arc<App>>, request: Request) -> Answer {
    let asked: Asked = optional_json(request).await?;
    let question = question(asked)?;
    let verdict = app.simulate(&question).await?;
    ok(&response(question.job_id.as_str(), &verdict))
}

/// As [`simulate`], and beyond the contract `rules`: how each rule met the request,
/// from a kernel that tells.
pub(super) async fn explain(State(app): State<Arc<App>>, request: Request) -> Answer {
    let asked: Asked = optional_json(request).await?;
    let question = question(asked)?;
    let explained = app.explain(&question).await?;
    let mut answer = response(question.job_id.as_str(), &explained.verdict);
    if let (Some(rules), Value::Object(answer)) = (explained.rules, &mut answer) {
        let rules = rules.iter().map(trace).collect();
        answer.insert("rules".to_owned(), Value::Array(rules));
    }
    ok(&answer)
}

fn trace(rule: &RuleTrace) -> Value {
    let facts: Vec<Value> = rule
        .facts
        .iter()
        .map(|fact| {
            json!({
                "field": fact.field,
                "wanted": fact.wanted,
                "seen": fact.seen,
                "holds": fact.holds,
            })
        })
        .collect();
    json!({
        "id": rule.id,
        "decision": in_yaml(rule.decision),
        "outcome": rule.outcome.says(),
        "facts": facts,
    })
}

/// The rules in the order in which they are asked, and what is decided when none
/// matches.
pub(super) async fn rules(State(app): State<Arc<App>>) -> Answer {
    let Some(policy) = app.kernel.policy_in_force() else {
        let says = match app.kernel.address() {
            Some(address) => format!(
                "the safety kernel at {address} decides, and its interface has no call that lists \
                 rules"
            ),
            None => "this kernel does not show its rules".to_owned(),
        };
        return Err(Refusal::new(StatusCode::NOT_FOUND, "rules_not_shown", says));
    };
    ok(&listed(&policy))
}

/// The rules of a policy in the order in which they are asked, as they are listed.
pub(in crate::control_plane) fn listed(policy: &Policy) -> Value {
    let items: Vec<Value> = policy.rules.iter().map(written).collect();
    json!({
        "items": items,
        "default_decision": in_yaml(policy.default_decision),
        "policy_snapshot": policy.snapshot,
    })
}

/// A decision as policy files write it.
fn in_yaml(decision: Decision) -> String {
    decision.name().to_ascii_lowercase()
}

fn question(asked: Asked) -> Result<Question, Refusal> {
    let meta = asked.meta;
    let actor_type = match meta.actor_type.to_ascii_lowercase().as_str() {
        "" => ActorType::Unspecified,
        "human" => ActorType::Human,
        "service" => ActorType::Service,
        _ => {
            let says = "meta.actor_type must be human or service";
            return Err(Refusal::bad_request("invalid_field", says));
        }
    };
    let check = PolicyCheck {
        job_id: asked.job_id,
        topic: asked.topic,
        tenant: asked.tenant,
        principal_id: asked.principal_id,
        labels: asked.labels,
        meta: Some(JobMetadata {
            tenant_id: meta.tenant_id,
            actor_id: meta.actor_id,
            actor_type,
            capability: meta.capability,
            risk_tags: meta.risk_tags,
            requires: meta.requires,
            pack_id: meta.pack_id,
            ..JobMetadata::default()
        }),
    };
    Ok(Question {
        workflow_id: asked.workflow_id,
        ..Question::from(check)
    })
}

/// The protojson of a `PolicyCheckResponse`, unset fields written.
fn response(job_id: &str, verdict: &Verdict) -> Value {
    let held = verdict.decision == Decision::RequireApproval;
    let remediations: Vec<Value> = verdict
        .remediations
        .iter()
        .map(|it| {
            json!({
                "id": it.id,
                "title": it.title,
                "summary": it.summary,
                "replacementTopic": it.replacement_topic,
                "replacementCapability": it.replacement_capability,
                "addLabels": it.add_labels,
                "removeLabels": it.remove_labels,
            })
        })
        .collect();
    json!({
        "decision": match verdict.decision {
            Decision::Allow => "DECISION_TYPE_ALLOW",
            Decision::Deny => "DECISION_TYPE_DENY",
            Decision::RequireApproval => "DECISION_TYPE_REQUIRE_HUMAN",
            Decision::Throttle => "DECISION_TYPE_THROTTLE",
            Decision::AllowWithConstraints => "DECISION_TYPE_ALLOW_WITH_CONSTRAINTS",
        },
        "reason": verdict.reason,
        "redactedContextPtr": "",
        "policySnapshot": verdict.snapshot,
        "ruleId": verdict.rule_id.as_deref().unwrap_or_default(),
        "constraints": verdict.constraints.as_ref().map_or(Value::Null, protojson),
        "approvalRequired": held,
        "approvalRef": if held { job_id } else { "" },
        "remediations": remediations,
    })
}

fn protojson(constraints: &Constraints) -> Value {
    serde_json::from_str(&constraints.protojson()).expect("protojson is JSON")
}
