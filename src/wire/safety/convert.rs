//! Generated messages of the safety kernel to our own types and back.
//!
//! A zero on the wire is a limit that was not set: the contract cannot say it
//! otherwise. So "no retries at all" becomes "no word about retries" in the message,
//! and [`super::rpc`] says it beside it.

use super::{
    BudgetConstraints, Constraints, DecisionType, DiffConstraints, PolicyAnswer, PolicyCheck,
    Remediation, SandboxProfile, ToolchainConstraints,
};
use crate::wire::convert::{meta_from, meta_to};
use crate::wire::generated as pb;
use crate::wire::packet::WireEnum as _;

pub(super) fn check_from(pb: pb::PolicyCheckRequest) -> PolicyCheck {
    PolicyCheck {
        job_id: pb.job_id,
        topic: pb.topic,
        tenant: pb.tenant,
        principal_id: pb.principal_id,
        labels: pb.labels,
        meta: pb.meta.map(meta_from),
    }
}

pub(super) fn check_to(it: PolicyCheck) -> pb::PolicyCheckRequest {
    pb::PolicyCheckRequest {
        job_id: it.job_id,
        topic: it.topic,
        tenant: it.tenant,
        principal_id: it.principal_id,
        labels: it.labels,
        meta: it.meta.as_ref().map(meta_to),
        ..pb::PolicyCheckRequest::default()
    }
}

pub(super) fn answer_from(pb: pb::PolicyCheckResponse) -> PolicyAnswer {
    PolicyAnswer {
        decision: DecisionType::from_number(pb.decision),
        reason: pb.reason,
        policy_snapshot: pb.policy_snapshot,
        rule_id: pb.rule_id,
        constraints: pb.constraints.map(constraints_from),
        approval_required: pb.approval_required,
        approval_ref: pb.approval_ref,
        remediations: pb.remediations.into_iter().map(remediation_from).collect(),
    }
}

pub(super) fn answer_to(it: PolicyAnswer) -> pb::PolicyCheckResponse {
    pb::PolicyCheckResponse {
        decision: it.decision.number(),
        reason: it.reason,
        policy_snapshot: it.policy_snapshot,
        rule_id: it.rule_id,
        constraints: it.constraints.map(constraints_to),
        approval_required: it.approval_required,
        approval_ref: it.approval_ref,
        remediations: it.remediations.into_iter().map(remediation_to).collect(),
        ..pb::PolicyCheckResponse::default()
    }
}

fn constraints_from(pb: pb::PolicyConstraints) -> Constraints {
    Constraints {
        budgets: pb.budgets.map(|it| BudgetConstraints {
            max_runtime_ms: set(it.max_runtime_ms),
            max_retries: set(it.max_retries),
            max_artifact_bytes: set(it.max_artifact_bytes),
            max_concurrent_jobs: set(it.max_concurrent_jobs),
        }),
        sandbox: pb.sandbox.map(|it| SandboxProfile {
            isolated: it.isolated,
            network_allowlist: it.network_allowlist,
            fs_read_only: it.fs_read_only,
            fs_read_write: it.fs_read_write,
        }),
        toolchain: pb.toolchain.map(|it| ToolchainConstraints {
            allowed_tools: it.allowed_tools,
            allowed_commands: it.allowed_commands,
        }),
        diff: pb.diff.map(|it| DiffConstraints {
            max_files: set(it.max_files),
            max_lines: set(it.max_lines),
            deny_path_globs: it.deny_path_globs,
        }),
        redaction_level: pb.redaction_level,
    }
}

fn constraints_to(it: Constraints) -> pb::PolicyConstraints {
    pb::PolicyConstraints {
        budgets: it.budgets.map(|it| pb::BudgetConstraints {
            max_runtime_ms: it.max_runtime_ms.unwrap_or_default(),
            max_retries: it.max_retries.unwrap_or_default(),
            max_artifact_bytes: it.max_artifact_bytes.unwrap_or_default(),
            max_concurrent_jobs: it.max_concurrent_jobs.unwrap_or_default(),
        }),
        sandbox: it.sandbox.map(|it| pb::SandboxProfile {
            isolated: it.isolated,
            network_allowlist: it.network_allowlist,
            fs_read_only: it.fs_read_only,
            fs_read_write: it.fs_read_write,
        }),
        toolchain: it.toolchain.map(|it| pb::ToolchainConstraints {
            allowed_tools: it.allowed_tools,
            allowed_commands: it.allowed_commands,
        }),
        diff: it.diff.map(|it| pb::DiffConstraints {
            max_files: it.max_files.unwrap_or_default(),
            max_lines: it.max_lines.unwrap_or_default(),
            deny_path_globs: it.deny_path_globs,
        }),
        redaction_level: it.redaction_level,
    }
}

fn set<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

fn remediation_from(pb: pb::PolicyRemediation) -> Remediation {
    Remediation {
        id: pb.id,
        title: pb.title,
        summary: pb.summary,
        replacement_topic: pb.replacement_topic,
        replacement_capability: pb.replacement_capability,
        add_labels: pb.add_labels,
        remove_labels: pb.remove_labels,
    }
}

fn remediation_to(it: Remediation) -> pb::PolicyRemediation {
    pb::PolicyRemediation {
        id: it.id,
        title: it.title,
        summary: it.summary,
        replacement_topic: it.replacement_topic,
        replacement_capability: it.replacement_capability,
        add_labels: it.add_labels,
        remove_labels: it.remove_labels,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::wire::packet::{ActorType, JobMetadata};

    fn words(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_question_is_the_same_on_the_other_side() {
        let asked = PolicyCheck {
            job_id: "j1".to_owned(),
            topic: "job.a".to_owned(),
            tenant: "acme".to_owned(),
            principal_id: "ann".to_owned(),
            labels: labels(&[("env", "prod"), ("app", "crm")]),
            meta: Some(JobMetadata {
                tenant_id: "acme".to_owned(),
                actor_id: "agent".to_owned(),
                actor_type: ActorType::Service,
                idempotency_key: "k".to_owned(),
                capability: "search".to_owned(),
                risk_tags: words(&["prod", "write"]),
                requires: words(&["gpu"]),
                pack_id: "core".to_owned(),
                labels: labels(&[("own", "label")]),
            }),
        };
        assert_eq!(check_from(check_to(asked.clone())), asked);
        let bare = PolicyCheck::default();
        assert_eq!(check_from(check_to(bare.clone())), bare);
    }

    #[test]
    fn an_answer_with_all_that_rides_on_it_is_the_same_on_the_other_side() {
        let answer = PolicyAnswer {
            decision: DecisionType::RequireHuman,
            reason: "look first".to_owned(),
            policy_snapshot: "v1:ab".to_owned(),
            rule_id: "r1".to_owned(),
            constraints: Some(Constraints {
                budgets: Some(BudgetConstraints {
                    max_runtime_ms: Some(60_000),
                    max_retries: Some(1),
                    max_artifact_bytes: Some(1 << 40),
                    max_concurrent_jobs: Some(3),
                }),
                sandbox: Some(SandboxProfile {
                    isolated: true,
                    network_allowlist: words(&["a.example"]),
                    fs_read_only: words(&["/ro"]),
                    fs_read_write: words(&["/rw", "/tmp"]),
                }),
                toolchain: Some(ToolchainConstraints {
                    allowed_tools: words(&["edit"]),
                    allowed_commands: words(&["ls"]),
                }),
                diff: Some(DiffConstraints {
                    max_files: Some(2),
                    max_lines: Some(50),
                    deny_path_globs: words(&["*.key"]),
                }),
                redaction_level: "high".to_owned(),
            }),
            approval_required: true,
            approval_ref: "j1".to_owned(),
            remediations: vec![Remediation {
                id: "ro".to_owned(),
                title: "Read only".to_owned(),
                summary: "Read instead.".to_owned(),
                replacement_topic: "job.r".to_owned(),
                replacement_capability: "read".to_owned(),
                add_labels: labels(&[("mode", "read")]),
                remove_labels: words(&["env"]),
            }],
        };
        assert_eq!(answer_from(answer_to(answer.clone())), answer);
    }

    #[test]
    fn a_limit_of_zero_is_no_word_about_it() {
        let none_left = PolicyAnswer {
            constraints: Some(Constraints {
                budgets: Some(BudgetConstraints {
                    max_retries: Some(0),
                    ..BudgetConstraints::default()
                }),
                ..Constraints::default()
            }),
            ..PolicyAnswer::default()
        };
        let budgets = answer_from(answer_to(none_left))
            .constraints
            .and_then(|it| it.budgets);
        assert_eq!(budgets, Some(BudgetConstraints::default()));
    }

    #[test]
    fn a_decision_that_the_contract_does_not_have_keeps_its_number() {
        let newer = pb::PolicyCheckResponse {
            decision: 42,
            ..pb::PolicyCheckResponse::default()
        };
        let answer = answer_from(newer);
        assert_eq!(answer.decision, DecisionType::Unknown(42));
        assert_eq!(answer_to(answer).decision, 42);
    }

    #[test]
    fn every_decision_has_the_number_and_the_name_of_the_contract() {
        for decision in DecisionType::KNOWN {
            let generated = pb::DecisionType::try_from(decision.number()).expect("a number");
            let name = format!("DECISION_TYPE_{}", decision.name());
            assert_eq!(generated.as_str_name(), name);
        }
        assert!(pb::DecisionType::try_from(DecisionType::KNOWN.len() as i32 + 1).is_err());
    }
}
