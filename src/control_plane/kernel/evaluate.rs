//! The decision itself: a policy, a question, counts and the time in, a verdict out.
//!
//! Nothing here reads a clock or anything else; the same policy, question, counts
//! and time give the same verdict for ever. [`super::explain`] tells why.

use super::condition::Facts;
use super::policy::{Policy, Rule};
use super::velocity::{Rates, Velocity};
use super::{Decision, Question, Verdict};
use crate::time::Timestamp;

/// Decides: requests that are no jobs are denied, then the first rule that
/// fires decides, then the default of the policy. A rule fires when it matches and,
/// if it has a velocity, when its rate is exceeded; a request that such a rule
/// lets pass is counted in `rates`.
pub fn evaluate(
    policy: &Policy,
    question: &Question,
    rates: &mut Rates,
    now: Timestamp,
) -> Verdict {
    decide(policy, question, |rule, velocity, facts| {
        velocity
            .key_of(facts)
            .is_some_and(|key| rates.count(&rule.id, velocity, &key, &question.job_id, now))
    })
}

/// What [`evaluate`] would say now; counts nothing.
pub fn simulate(policy: &Policy, question: &Question, rates: &Rates, now: Timestamp) -> Verdict {
    decide(policy, question, |rule, velocity, facts| {
        velocity
            .key_of(facts)
            .is_some_and(|key| rates.exceeded(&rule.id, velocity, &key, &question.job_id, now))
    })
}

/// What is said of a request that `fired` decided before, when rates cannot be
/// counted again: a rule with a velocity fires where it was that one.
pub fn afterwards(policy: &Policy, question: &Question, fired: Option<&str>) -> Verdict {
    decide(policy, question, |rule, _, _| {
        fired == Some(rule.id.as_str())
    })
}

fn decide(
    policy: &Policy,
    question: &Question,
    mut exceeded: impl FnMut(&Rule, &Velocity, &Facts<'_>) -> bool,
) -> Verdict {
    if let Some(reason) = built_in(question) {
        return plain(policy, Decision::Deny, reason);
    }
    let facts = Facts::of(question, &policy.default_tenant);
    let mut fires = |rule: &Rule| match &rule.velocity {
        None => true,
        Some(velocity) => exceeded(rule, velocity, &facts),
    };
    let decides = policy
        .rules
        .iter()
        .find(|rule| rule.matches.holds(&facts) && fires(rule));
    let verdict = match decides {
        Some(rule) => by_rule(policy, rule),
        None => by_default(policy, &facts),
    };
    within_tenant(policy, verdict, facts.tenant)
}

/// Puts the limit of the tenant on a verdict that lets the job run, at once or after a
/// person's yes. Where the rule has such a limit too, the smaller one holds.
fn within_tenant(policy: &Policy, mut verdict: Verdict, tenant: &str) -> Verdict {
    let Some(limit) = policy.tenant_limit(tenant) else {
        return verdict;
    };
    match verdict.decision {
        Decision::Deny | Decision::Throttle => return verdict,
        // A yes with a limit is a yes with constraints, whoever set the limit.
        Decision::Allow => verdict.decision = Decision::AllowWithConstraints,
        Decision::AllowWithConstraints | Decision::RequireApproval => {}
    }
    let constraints = verdict.constraints.get_or_insert_default();
    let budgets = constraints.budgets.get_or_insert_default();
    let own = budgets.max_concurrent_jobs;
    budgets.max_concurrent_jobs = Some(own.map_or(limit, |own| own.min(limit)));
    verdict
}

/// Why a request is denied whatever the policy says.
pub(super) fn built_in(question: &Question) -> Option<&'static str> {
    if question.topic.is_empty() {
        Some("missing topic")
    } else if !question.topic.starts_with("job.") {
        Some("unsupported topic: it does not begin with `job.`")
    } else {
        None
    }
}

fn by_rule(policy: &Policy, rule: &Rule) -> Verdict {
    Verdict {
        decision: rule.decision,
        rule_id: Some(rule.id.clone()),
        reason: match rule.reason.as_str() {
            "" => format!("rule {}", rule.id),
            reason => reason.to_owned(),
        },
        snapshot: policy.snapshot.clone(),
        constraints: rule.constraints.clone(),
        remediations: rule.remediations.clone(),
    }
}

fn by_default(policy: &Policy, facts: &Facts<'_>) -> Verdict {
    let allows = policy.default_decision == Decision::Allow;
    if allows && policy.scope.holds(facts) {
        let reason = "no rule matches; the policy allows what no rule matches";
        plain(policy, Decision::Allow, reason)
    } else {
        plain(policy, Decision::Deny, "no rule matches, so it is denied")
    }
}

fn plain(policy: &Policy, decision: Decision, reason: &str) -> Verdict {
    Verdict {
        decision,
        rule_id: None,
        reason: reason.to_owned(),
        snapshot: policy.snapshot.clone(),
        constraints: None,
        remediations: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_plane::kernel::cases::{Asking, check, policy, question};

    fn evaluate(policy: &Policy, question: &Question) -> Verdict {
        Asking::of(policy).ask(question)
    }

    #[test]
    fn the_first_policy_decides_each_of_its_cases() {
        let policy = policy(include_str!("../../../demo/first-policy.yaml"));
        check(
            &policy,
            "
            topic=job.mcp-bridge.read.x label:mcp.action=read -> allow-read-path ALLOW
            topic=job.mcp-bridge.write.update_ticket tenant=default tags=prod label:mcp.action=write -> approval-prod-write REQUIRE_APPROVAL
            topic=job.mcp-bridge.write.x tags=PROD,other label:mcp.action=write -> approval-prod-write REQUIRE_APPROVAL
            topic=job.mcp-bridge.write.x label:mcp.action=write -> - DENY
            topic=job.mcp-bridge.write.x tags=dev label:mcp.action=write -> - DENY
            topic=job.mcp-bridge.delete.x tags=prod label:mcp.action=delete -> deny-destructive DENY
            topic=job.batch.embed -> constrain-heavy-jobs ALLOW_WITH_CONSTRAINTS
            topic=job.batch.a.b.c -> constrain-heavy-jobs ALLOW_WITH_CONSTRAINTS
            topic=job.batch.embed label:mcp.action=read -> allow-read-path ALLOW
            topic=job.batch.embed label:mcp.action=delete -> deny-destructive DENY
            topic=job.batch -> - DENY
            topic=job.other label:mcp.action=Read -> - DENY
            topic=job.other label:MCP.action=read -> - DENY
            topic=job.other -> - DENY
            ",
        );
    }

    #[test]
    fn the_policy_of_the_demo_has_every_outcome() {
        let policy = policy(include_str!("../../../demo/policy.yaml"));
        assert_eq!(policy.warnings, []);
        check(
            &policy,
            "
            topic=job.mcp.export_table tags=pii label:destination=external -> deny-pii-export DENY
            topic=job.mcp.export_table tags=pii -> approval-export REQUIRE_APPROVAL
            topic=job.batch.export -> approval-export REQUIRE_APPROVAL
            topic=job.ops.deploy label:window=closed -> deny-deploy-window DENY
            topic=job.ops.undo_deploy label:window=closed label:saga_compensation=true -> deny-deploy-window DENY
            topic=job.ops.undo_deploy label:saga_compensation=true tags=prod -> allow-undo ALLOW
            topic=job.ops.deploy tags=prod -> approval-prod-ops REQUIRE_APPROVAL
            topic=job.ops.restart -> allow-known ALLOW
            topic=job.mcp.get_ticket label:mcp.action=read -> allow-read ALLOW
            topic=job.mcp.drop label:mcp.action=delete -> deny-destructive DENY
            topic=job.mcp.update_ticket tags=prod,write label:mcp.action=write -> approval-prod-write REQUIRE_APPROVAL
            topic=job.mcp-bridge.write.update_ticket tenant=default tags=prod label:mcp.action=write -> approval-prod-write REQUIRE_APPROVAL
            topic=job.mcp-bridge.write.revert_ticket tags=prod label:mcp.action=write label:saga_compensation=true -> allow-undo ALLOW
            topic=job.mcp.restore_ticket tags=prod label:mcp.action=write label:saga_compensation=true -> allow-undo ALLOW
            topic=job.code.patch -> approval-code REQUIRE_APPROVAL
            topic=job.mcp.send_mail tags=external -> approval-outbound REQUIRE_APPROVAL
            topic=job.web.search -> allow-known ALLOW
            topic=job.web.search label:quota=spent -> throttle-search THROTTLE
            topic=job.batch.embed -> batch-limits ALLOW_WITH_CONSTRAINTS
            topic=job.gpu.finetune -> gpu-limits ALLOW_WITH_CONSTRAINTS
            topic=job.gpu.summarize label:mcp.action=read -> gpu-limits ALLOW_WITH_CONSTRAINTS
            topic=job.crawl.site -> allow-known ALLOW
            topic=job.shell.exec -> - DENY
            ",
        );
    }

    #[test]
    fn each_field_has_its_own_rule_of_comparison() {
        let policy = policy(
            "default_tenant: acme
rules:
  - {id: tenant, match: {tenants: [Blue, green]}, decision: allow}
  - {id: topic, match: {topics: ['job.t.*', 'job.[ab]?']}, decision: allow}
  - {id: capability, match: {capabilities: [Search.Web]}, decision: allow}
  - {id: tags, match: {risk_tags: [pii, Secrets]}, decision: throttle}
  - {id: requires, match: {requires: [gpu, cuda12]}, decision: allow}
  - {id: pack, match: {pack_ids: [p1]}, decision: allow}
  - {id: actor, match: {actor_ids: [alice, 'GROẞ']}, decision: allow}
  - {id: human, match: {actor_types: [Human]}, decision: require_human}
  - {id: labels, match: {labels: {env: prod, system: db}}, decision: block}
  - {id: default-tenant, match: {tenants: [ACME], topics: ['job.acme']}, decision: allow}
  - {id: malformed, match: {topics: ['job.[']}, decision: allow}
  - {id: arrow, match: {topics: ['job.nats.>']}, decision: allow}
  - {id: two, match: {tenants: [red], topics: ['job.x'], risk_tags: [w]}, decision: allow}
",
        );
        check(
            &policy,
            "
            topic=job.z tenant=blue -> tenant ALLOW
            topic=job.z tenant=BLUE -> tenant ALLOW
            topic=job.z tenant=Green -> tenant ALLOW
            topic=job.z tenant=blu -> - DENY
            topic=job.z tenant=bluee -> - DENY
            topic=job.t.a.b -> topic ALLOW
            topic=job.t. -> topic ALLOW
            topic=job.t -> - DENY
            topic=JOB.t.a -> - DENY
            topic=job.T.a -> - DENY
            topic=job.ax -> topic ALLOW
            topic=job.b9 -> topic ALLOW
            topic=job.cx -> - DENY
            topic=job.axx -> - DENY
            topic=job.t.a/b -> - DENY
            topic=job.z capability=search.web -> capability ALLOW
            topic=job.z capability=search.* -> - DENY
            topic=job.z tags=pii -> tags THROTTLE
            topic=job.z tags=x,SECRETS -> tags THROTTLE
            topic=job.z tags=x,y -> - DENY
            topic=job.z requires=gpu,cuda12,fast -> requires ALLOW
            topic=job.z requires=CUDA12,GPU -> requires ALLOW
            topic=job.z requires=gpu -> - DENY
            topic=job.z pack=P1 -> pack ALLOW
            topic=job.z pack=p2 -> - DENY
            topic=job.z actor=Alice -> actor ALLOW
            topic=job.z actor=groß -> actor ALLOW
            topic=job.z actor=bob -> - DENY
            topic=job.z type=HUMAN -> human REQUIRE_APPROVAL
            topic=job.z type=SERVICE -> - DENY
            topic=job.z label:env=prod label:system=db -> labels DENY
            topic=job.z label:env=prod label:system=db label:more=x -> labels DENY
            topic=job.z label:env=prod -> - DENY
            topic=job.z label:env=PROD label:system=db -> - DENY
            topic=job.acme -> default-tenant ALLOW
            topic=job.acme tenant=acme -> default-tenant ALLOW
            topic=job.acme tenant=other -> - DENY
            topic=job.[ -> - DENY
            topic=job.nats.a -> - DENY
            topic=job.nats.> -> arrow ALLOW
            topic=job.x tenant=red tags=w -> two ALLOW
            topic=job.x tenant=red -> - DENY
            topic=job.x tags=w -> - DENY
            topic=job.y tenant=red tags=w -> - DENY
            ",
        );
    }

    #[test]
    fn the_first_rule_wins_and_an_empty_match_matches_everything() {
        let policy = policy(
            "default_decision: allow
rules:
  - {id: one, match: {topics: ['job.a']}, decision: deny}
  - {id: two, match: {topics: ['job.*']}, decision: throttle}
  - {id: rest, decision: require-approval}
  - {id: never, match: {topics: ['job.a']}, decision: allow}
",
        );
        check(
            &policy,
            "
            topic=job.a -> one DENY
            topic=job.b -> two THROTTLE
            topic=job.a/b -> rest REQUIRE_APPROVAL
            ",
        );
    }

    #[test]
    fn what_no_rule_matches_is_denied_unless_the_file_says_otherwise() {
        let open = policy(
            "default_decision: permit\nrules: [{id: a, match: {topics: [job.a]}, decision: deny}]",
        );
        check(&open, "topic=job.b -> - ALLOW");
        check(&open, "topic=job.a -> a DENY");
        let closed = policy("rules: []");
        check(&closed, "topic=job.b -> - DENY");
    }

    #[test]
    fn what_is_no_job_is_denied_by_every_policy() {
        let open = policy("default_decision: allow\nrules: [{id: all, decision: allow}]");
        let denied = |topic: &str| {
            let verdict = evaluate(
                &open,
                &Question {
                    topic: topic.to_owned(),
                    ..Question::default()
                },
            );
            assert_eq!((verdict.decision, verdict.rule_id), (Decision::Deny, None));
            verdict.reason
        };
        assert_eq!(denied(""), "missing topic");
        for topic in ["sys.job.submit", "jobs.a", "JOB.a", "job", " job.a"] {
            assert!(denied(topic).starts_with("unsupported topic"), "{topic}");
        }
    }

    #[test]
    fn an_allow_with_limits_is_allowed_with_constraints_and_carries_what_rides_on_it() {
        let policy = policy(
            "rules:
  - id: a
    match: {topics: ['job.a']}
    decision: allow
    constraints: {max_runtime_sec: 120, max_retries: 1}
  - id: b
    match: {topics: ['job.b']}
    decision: require_approval
    reason: look first
    constraints: {sandbox: {isolated: true}}
    remediations: [{id: ro, title: Read only, replacement_topic: job.r, remove_labels: [env]}]
",
        );
        let asked = |topic: &str| evaluate(&policy, &question(topic));
        let a = asked("topic=job.a");
        assert_eq!(a.decision, Decision::AllowWithConstraints);
        assert_eq!(a.reason, "rule a");
        let json = serde_json::to_string(&a.constraints).expect("json");
        assert_eq!(
            json,
            r#"{"budgets":{"max_runtime_ms":120000,"max_retries":1}}"#
        );
        let b = asked("topic=job.b");
        assert_eq!(b.decision, Decision::RequireApproval);
        assert_eq!(b.reason, "look first");
        let json = serde_json::to_string(&b.remediations).expect("json");
        assert_eq!(
            json,
            r#"[{"id":"ro","title":"Read only","replacement_topic":"job.r","remove_labels":["env"]}]"#
        );
    }

    #[test]
    fn the_limit_of_a_tenant_is_on_every_yes_and_the_smaller_of_two_holds() {
        let policy = policy(
            "
default_tenant: acme
tenants: {Acme: {max_concurrent_jobs: 3}, big: {max_concurrent_jobs: 0}}
rules:
  - {id: no, match: {topics: [job.no]}, decision: deny}
  - {id: later, match: {topics: [job.later]}, decision: throttle}
  - {id: ask, match: {topics: [job.ask]}, decision: require_approval}
  - {id: narrow, match: {topics: [job.narrow]}, decision: allow, constraints: {budgets: {max_concurrent_jobs: 1}}}
  - {id: wide, match: {topics: [job.wide]}, decision: allow, constraints: {budgets: {max_concurrent_jobs: 9, max_retries: 2}}}
  - {id: rest, decision: allow}
",
        );
        for (asked, expected) in [
            ("topic=job.no tenant=acme", "DENY -"),
            ("topic=job.later tenant=acme", "THROTTLE -"),
            ("topic=job.ask tenant=acme", "REQUIRE_APPROVAL 3"),
            ("topic=job.narrow tenant=acme", "ALLOW_WITH_CONSTRAINTS 1"),
            ("topic=job.wide tenant=ACME", "ALLOW_WITH_CONSTRAINTS 3"),
            ("topic=job.a tenant=acme", "ALLOW_WITH_CONSTRAINTS 3"),
            ("topic=job.a", "ALLOW_WITH_CONSTRAINTS 3"),
            ("topic=job.a tenant=big", "ALLOW -"),
            ("topic=job.a tenant=other", "ALLOW -"),
        ] {
            let verdict = evaluate(&policy, &question(asked));
            let budgets = verdict.constraints.and_then(|it| it.budgets);
            let limit = budgets.and_then(|it| it.max_concurrent_jobs);
            let limit = limit.map_or("-".to_owned(), |limit| limit.to_string());
            assert_eq!(
                format!("{} {limit}", verdict.decision.name()),
                expected,
                "{asked}"
            );
        }
    }
}
