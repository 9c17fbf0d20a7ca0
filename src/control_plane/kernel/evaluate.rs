//! The decision itself: a policy and a question in, a verdict out.
//!
//! Nothing here reads a clock or anything else; the same policy and question
//! give the same verdict for ever. [`super::explain`] tells why.

use std::borrow::Cow;

use super::policy::{Match, Policy, Rule};
use super::{Decision, Question, Verdict};
use crate::wire::packet::ActorType;

/// Decides: requests that are no jobs are denied, then the first rule that
/// matches decides, then the default of the policy.
pub fn evaluate(policy: &Policy, question: &Question) -> Verdict {
    if let Some(reason) = built_in(question) {
        return plain(policy, Decision::Deny, reason);
    }
    let facts = Facts::of(policy, question);
    match policy.rules.iter().find(|rule| facts.fit(&rule.matches)) {
        Some(rule) => by_rule(policy, rule),
        None => by_default(policy),
    }
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

fn by_default(policy: &Policy) -> Verdict {
    let reason = match policy.default_decision {
        Decision::Allow => "no rule matches; the policy allows what no rule matches",
        Decision::Deny
        | Decision::RequireApproval
        | Decision::Throttle
        | Decision::AllowWithConstraints => "no rule matches, so it is denied",
    };
    plain(policy, policy.default_decision, reason)
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

/// A question with the gaps filled in as the policy says.
pub(super) struct Facts<'a> {
    pub(super) question: &'a Question,
    pub(super) tenant: &'a str,
    pub(super) actor_type: Cow<'static, str>,
}

impl<'a> Facts<'a> {
    pub(super) fn of(policy: &'a Policy, question: &'a Question) -> Self {
        Self {
            question,
            tenant: match question.tenant.trim() {
                "" => &policy.default_tenant,
                tenant => tenant,
            },
            actor_type: match question.actor_type {
                ActorType::Unspecified => Cow::Borrowed(""),
                ActorType::Human => Cow::Borrowed("human"),
                ActorType::Service => Cow::Borrowed("service"),
                ActorType::Unknown(number) => Cow::Owned(number.to_string()),
            },
        }
    }

    fn fit(&self, wanted: &Match) -> bool {
        let question = self.question;
        // The cheapest and most telling first; the order does not change the answer.
        topic_fits(wanted, &question.topic)
            && labels_fit(wanted, question)
            && one_of(&wanted.tenants, self.tenant)
            && one_of(&wanted.capabilities, &question.capability)
            && overlap(&wanted.risk_tags, &question.risk_tags)
            && all_of(&wanted.requires, &question.requires)
            && one_of(&wanted.pack_ids, &question.pack_id)
            && one_of(&wanted.actor_ids, &question.actor_id)
            && one_of(&wanted.actor_types, &self.actor_type)
    }
}

pub(super) fn topic_fits(wanted: &Match, topic: &str) -> bool {
    wanted.topics.is_empty() || wanted.topics.iter().any(|glob| glob.matches(topic))
}

pub(super) fn labels_fit(wanted: &Match, question: &Question) -> bool {
    wanted
        .labels
        .iter()
        .all(|(key, value)| question.labels.get(key) == Some(value))
}

/// Whether nothing is wanted, or the value is one of what is.
pub(super) fn one_of(wanted: &[String], value: &str) -> bool {
    wanted.is_empty() || contains(wanted, value)
}

/// Whether nothing is wanted, or any of the values is.
pub(super) fn overlap(wanted: &[String], values: &[String]) -> bool {
    wanted.is_empty() || values.iter().any(|value| contains(wanted, value))
}

/// Whether all that is wanted is among the values.
pub(super) fn all_of(wanted: &[String], values: &[String]) -> bool {
    wanted.iter().all(|want| contains(values, want))
}

fn contains(list: &[String], value: &str) -> bool {
    let value = value.trim();
    !value.is_empty() && list.iter().any(|entry| same_word(entry.trim(), value))
}

/// Equal, letter case aside.
fn same_word(a: &str, b: &str) -> bool {
    if a.is_ascii() && b.is_ascii() {
        a.eq_ignore_ascii_case(b)
    } else {
        let lower = |text: &str| text.to_lowercase();
        lower(a) == lower(b)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::control_plane::kernel::explain::explain;

    /// Reads `topic=job.a tenant=t tags=a,b label:env=prod …` into a question.
    pub(crate) fn question(text: &str) -> Question {
        let mut question = Question::default();
        let list = |value: &str| value.split(',').map(str::to_owned).collect();
        for word in text.split_whitespace() {
            let (key, value) = word.split_once('=').expect("key=value");
            match key {
                "topic" => question.topic = value.to_owned(),
                "tenant" => question.tenant = value.to_owned(),
                "capability" => question.capability = value.to_owned(),
                "tags" => question.risk_tags = list(value),
                "requires" => question.requires = list(value),
                "pack" => question.pack_id = value.to_owned(),
                "actor" => question.actor_id = value.to_owned(),
                "type" => {
                    question.actor_type = ActorType::from_name(value).expect("an actor type");
                }
                _ => {
                    let label = key.strip_prefix("label:").expect("a known key");
                    question.labels.insert(label.to_owned(), value.to_owned());
                }
            }
        }
        question
    }

    fn policy(text: &str) -> Policy {
        Policy::parse(text.as_bytes()).expect("a policy")
    }

    /// Each line is `question -> rule DECISION`; `-` stands for no rule.
    fn check(policy: &Policy, table: &str) {
        for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (asked, expected) = line.split_once(" -> ").expect("question -> answer");
            let question = question(asked);
            let verdict = evaluate(policy, &question);
            let got = format!(
                "{} {}",
                verdict.rule_id.as_deref().unwrap_or("-"),
                verdict.decision.name()
            );
            assert_eq!(got, expected.trim(), "{asked}");
            assert_eq!(verdict.snapshot, policy.snapshot);
            let explained = explain(policy, &question);
            assert_eq!(explained.verdict, verdict, "{asked}");
        }
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

    proptest! {
        #[test]
        fn explaining_and_deciding_agree(
            topic in "job\\.[abc](\\.[abc]){0,2}",
            tenant in prop::sample::select(vec!["", "a", "B"]),
            tags in prop::collection::vec("[xyz]", 0..3),
            label in prop::option::of("[pq]"),
        ) {
            let policy = policy("rules:
  - {id: r1, match: {topics: ['job.a*'], tenants: [b]}, decision: deny}
  - {id: r2, match: {risk_tags: [x, y], labels: {l: p}}, decision: throttle}
  - {id: r3, match: {topics: ['*.b', '*.c.?']}, decision: allow}
  - {id: r4, match: {labels: {l: q}, requires: [g]}, decision: require_approval}
");
            let question = Question {
                topic,
                tenant: tenant.to_owned(),
                risk_tags: tags,
                labels: label.into_iter().map(|value| ("l".to_owned(), value)).collect(),
                ..Question::default()
            };
            let explained = explain(&policy, &question);
            prop_assert_eq!(&explained.verdict, &evaluate(&policy, &question));
            let decides = explained.rules.iter().find(|rule| rule.facts.iter().all(|fact| fact.holds));
            prop_assert_eq!(
                decides.map(|rule| rule.id.clone()),
                explained.verdict.rule_id
            );
        }
    }
}
