//! Questions and verdicts as messages of the contract, and back.
//!
//! A verdict that comes from elsewhere is read strictly: what is no decision about a
//! job is an error in words, and of two readings the one that lets less happen holds.

use super::{Decision, KernelError, Question, Verdict};
use crate::ids::JobId;
use crate::wire::packet::{JobMetadata, WireEnum as _};
use crate::wire::safety::{Constraints, DecisionType, PolicyAnswer, PolicyCheck};

/// The label by which the contract's question names a workflow, having no field for it.
const WORKFLOW_LABEL: &str = "workflow_id";

impl From<&Question> for PolicyCheck {
    fn from(question: &Question) -> Self {
        let mut labels = question.labels.clone();
        if !question.workflow_id.is_empty() {
            // Here the field goes before the label, so it does so there too.
            labels.insert(WORKFLOW_LABEL.to_owned(), question.workflow_id.clone());
        }
        Self {
            job_id: question.job_id.to_string(),
            topic: question.topic.clone(),
            tenant: question.tenant.clone(),
            principal_id: question.principal_id.clone(),
            labels,
            meta: Some(JobMetadata {
                tenant_id: question.tenant.clone(),
                actor_id: question.actor_id.clone(),
                actor_type: question.actor_type,
                capability: question.capability.clone(),
                risk_tags: question.risk_tags.clone(),
                requires: question.requires.clone(),
                pack_id: question.pack_id.clone(),
                ..JobMetadata::default()
            }),
        }
    }
}

impl From<PolicyCheck> for Question {
    fn from(asked: PolicyCheck) -> Self {
        // There is no field for a workflow; policy looks at the label itself.
        let by_meta = Self::from(asked.meta.unwrap_or_default());
        Self {
            job_id: JobId::from(asked.job_id),
            topic: asked.topic,
            tenant: Some(asked.tenant)
                .filter(|tenant| !tenant.is_empty())
                .unwrap_or(by_meta.tenant),
            principal_id: asked.principal_id,
            labels: asked.labels,
            ..by_meta
        }
    }
}

impl Verdict {
    /// The answer of the contract about the job `job_id`.
    pub(super) fn into_answer(self, job_id: &JobId) -> PolicyAnswer {
        let held = self.decision == Decision::RequireApproval;
        PolicyAnswer {
            decision: match self.decision {
                Decision::Allow => DecisionType::Allow,
                Decision::Deny => DecisionType::Deny,
                Decision::RequireApproval => DecisionType::RequireHuman,
                Decision::Throttle => DecisionType::Throttle,
                Decision::AllowWithConstraints => DecisionType::AllowWithConstraints,
            },
            reason: self.reason,
            policy_snapshot: self.snapshot,
            rule_id: self.rule_id.unwrap_or_default(),
            constraints: self.constraints,
            approval_required: held,
            approval_ref: if held {
                job_id.to_string()
            } else {
                String::new()
            },
            remediations: self.remediations,
        }
    }
}

impl TryFrom<PolicyAnswer> for Verdict {
    type Error = KernelError;

    fn try_from(answer: PolicyAnswer) -> Result<Self, KernelError> {
        let limited = answer
            .constraints
            .as_ref()
            .is_some_and(|limits| *limits != Constraints::default());
        let decision = match answer.decision {
            DecisionType::Allow | DecisionType::AllowWithConstraints
                if answer.approval_required =>
            {
                Decision::RequireApproval
            }
            DecisionType::Allow if limited => Decision::AllowWithConstraints,
            DecisionType::Allow => Decision::Allow,
            DecisionType::Deny => Decision::Deny,
            DecisionType::RequireHuman => Decision::RequireApproval,
            DecisionType::Throttle => Decision::Throttle,
            DecisionType::AllowWithConstraints => Decision::AllowWithConstraints,
            DecisionType::Unspecified => {
                return Err(KernelError::NotUnderstood(
                    "it names no decision".to_owned(),
                ));
            }
            DecisionType::Quarantine | DecisionType::Redact => {
                let name = answer.decision.name();
                let says = format!("{name} is a decision about results, not about jobs");
                return Err(KernelError::NotUnderstood(says));
            }
            DecisionType::Unknown(number) => {
                let says = format!("there is no decision number {number} in the contract");
                return Err(KernelError::NotUnderstood(says));
            }
        };
        Ok(Self {
            decision,
            rule_id: Some(answer.rule_id).filter(|id| !id.is_empty()),
            reason: answer.reason,
            snapshot: answer.policy_snapshot,
            constraints: answer.constraints,
            remediations: answer.remediations,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_plane::kernel::BudgetConstraints;
    use crate::control_plane::kernel::cases::{Asking, policy, question};
    use crate::control_plane::kernel::evaluate::built_in;

    /// What the other side makes of a verdict about `j1`.
    fn carried(verdict: Verdict) -> Result<Verdict, KernelError> {
        Verdict::try_from(verdict.into_answer(&JobId::from("j1")))
    }

    fn verdict(decision: Decision) -> Verdict {
        Verdict {
            decision,
            rule_id: Some("r1".to_owned()),
            reason: "because".to_owned(),
            snapshot: "v1:ab".to_owned(),
            constraints: None,
            remediations: Vec::new(),
        }
    }

    fn answered(decision: DecisionType) -> Result<Verdict, KernelError> {
        Verdict::try_from(PolicyAnswer {
            decision,
            ..PolicyAnswer::default()
        })
    }

    #[test]
    fn each_outcome_is_the_same_on_the_other_side() {
        for decision in [
            Decision::Allow,
            Decision::Deny,
            Decision::RequireApproval,
            Decision::Throttle,
            Decision::AllowWithConstraints,
        ] {
            assert_eq!(carried(verdict(decision)), Ok(verdict(decision)));
        }
        let by_no_rule = Verdict {
            rule_id: None,
            ..verdict(Decision::Deny)
        };
        assert_eq!(carried(by_no_rule.clone()), Ok(by_no_rule));
    }

    #[test]
    fn only_what_a_person_decides_is_filed_under_its_job() {
        let id = JobId::from("j1");
        let held = verdict(Decision::RequireApproval).into_answer(&id);
        assert_eq!(held.decision, DecisionType::RequireHuman);
        assert_eq!((held.approval_required, &*held.approval_ref), (true, "j1"));
        let allowed = verdict(Decision::Allow).into_answer(&id);
        assert_eq!(
            (allowed.approval_required, &*allowed.approval_ref),
            (false, "")
        );
    }

    #[test]
    fn what_is_no_decision_about_a_job_is_an_error_in_words_and_never_an_allow() {
        for (decision, says) in [
            (DecisionType::Unspecified, "it names no decision"),
            (
                DecisionType::Quarantine,
                "QUARANTINE is a decision about results, not about jobs",
            ),
            (
                DecisionType::Redact,
                "REDACT is a decision about results, not about jobs",
            ),
            (
                DecisionType::Unknown(42),
                "there is no decision number 42 in the contract",
            ),
            (
                DecisionType::Unknown(-1),
                "there is no decision number -1 in the contract",
            ),
        ] {
            let error = KernelError::NotUnderstood(says.to_owned());
            assert_eq!(answered(decision), Err(error));
        }
    }

    #[test]
    fn of_two_readings_the_one_that_lets_less_happen_holds() {
        let read = |decision, approval_required, constraints| {
            let answer = PolicyAnswer {
                decision,
                approval_required,
                constraints,
                ..PolicyAnswer::default()
            };
            Verdict::try_from(answer).expect("a verdict").decision
        };
        let limits = Some(Constraints {
            budgets: Some(BudgetConstraints {
                max_runtime_ms: Some(1),
                ..BudgetConstraints::default()
            }),
            ..Constraints::default()
        });
        let none = Some(Constraints::default());
        let (allow, constrained) = (DecisionType::Allow, DecisionType::AllowWithConstraints);
        assert_eq!(read(allow, false, none), Decision::Allow);
        assert_eq!(read(allow, false, limits), Decision::AllowWithConstraints);
        assert_eq!(read(allow, true, None), Decision::RequireApproval);
        assert_eq!(read(constrained, true, None), Decision::RequireApproval);
        assert_eq!(read(DecisionType::Deny, true, None), Decision::Deny);
    }

    #[test]
    fn a_question_asks_the_same_of_a_policy_on_the_other_side() {
        let policy = policy(
            "rules:
  - {id: one, match: {tenants: [acme], topics: ['job.a'], capabilities: [c], risk_tags: [prod], requires: [gpu], pack_ids: [p], actor_ids: [ann], actor_types: [human], labels: {env: prod}}, decision: throttle}
  - {id: flow, tier: workflow, selector: {workflow_id: wf-1}, decision: require_approval}
  - {id: job, tier: job, selector: {job_id: j9}, decision: allow}
",
        );
        let mut rules = Vec::new();
        for text in [
            "topic=job.a tenant=acme capability=c tags=prod requires=gpu pack=p actor=ann type=HUMAN label:env=prod",
            "topic=job.b tenant=acme",
        ] {
            for (workflow, job) in [("", ""), ("wf-1", ""), ("", "j9")] {
                let asked = Question {
                    workflow_id: workflow.to_owned(),
                    job_id: JobId::from(job),
                    ..question(text)
                };
                let carried = Question::from(PolicyCheck::from(&asked));
                let here = Asking::of(&policy).ask(&asked);
                assert_eq!(Asking::of(&policy).ask(&carried), here, "{text}");
                rules.push(here.rule_id.unwrap_or_default());
            }
        }
        assert_eq!(rules, ["one", "one", "one", "", "flow", "job"]);
    }

    #[test]
    fn a_message_that_says_nothing_is_denied_for_what_it_lacks() {
        let asked = Question::from(PolicyCheck::default());
        assert_eq!(built_in(&asked), Some("missing topic"));
        let by_meta = PolicyCheck {
            meta: Some(JobMetadata {
                tenant_id: "acme".to_owned(),
                ..JobMetadata::default()
            }),
            ..PolicyCheck::default()
        };
        assert_eq!(Question::from(by_meta).tenant, "acme");
    }
}
