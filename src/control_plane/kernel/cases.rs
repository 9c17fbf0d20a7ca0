//! The table of policy cases, and how tests ask policies.
//!
//! `cases.txt` has blocks: a title after `###`, a policy, a line `---`, and then a
//! case a line, `question -> rule DECISION`, where `-` is no rule. The cases of a
//! block are asked one after the other under the same counts, at the second
//! that `@` names.

use proptest::prelude::*;

use super::condition::{Condition, Facts};
use super::cover::{covers, unreachable};
use super::evaluate::{evaluate, simulate};
use super::explain::{Outcome, explain};
use super::policy::{Match, Place, Policy, Rule};
use super::velocity::{KeyPart, Rates, Velocity};
use super::{Decision, Question, Verdict};
use crate::ids::JobId;
use crate::time::{Elapsed, Timestamp};
use crate::wire::packet::ActorType;

/// Reads `job=j1 topic=job.a tenant=t tags=a,b label:env=prod …` into a question.
pub(super) fn question(text: &str) -> Question {
    let mut question = Question::default();
    let list = |value: &str| value.split(',').map(str::to_owned).collect();
    for word in text.split_whitespace() {
        let (key, value) = word.split_once('=').expect("key=value");
        match key {
            "job" => question.job_id = JobId::from(value),
            "workflow" => value.clone_into(&mut question.workflow_id),
            "topic" => value.clone_into(&mut question.topic),
            "tenant" => value.clone_into(&mut question.tenant),
            "principal" => value.clone_into(&mut question.principal_id),
            "capability" => value.clone_into(&mut question.capability),
            "tags" => question.risk_tags = list(value),
            "requires" => question.requires = list(value),
            "pack" => value.clone_into(&mut question.pack_id),
            "actor" => value.clone_into(&mut question.actor_id),
            "type" => question.actor_type = ActorType::from_name(value).expect("an actor type"),
            _ => {
                let label = key.strip_prefix("label:").expect("a known key");
                question.labels.insert(label.to_owned(), value.to_owned());
            }
        }
    }
    question
}

pub(super) fn policy(text: &str) -> Policy {
    Policy::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Asks a policy again and again, under the counts of what it asked before.
pub(super) struct Asking<'a> {
    policy: &'a Policy,
    rates: Rates,
    now: Timestamp,
}

impl<'a> Asking<'a> {
    pub(super) fn of(policy: &'a Policy) -> Self {
        Self {
            policy,
            rates: Rates::default(),
            now: Timestamp::from_millis(0),
        }
    }

    /// Asks, and holds the three ways of asking to one answer.
    pub(super) fn ask(&mut self, question: &Question) -> Verdict {
        let before = self.rates.clone();
        let explained = explain(self.policy, question, &self.rates, self.now);
        let simulated = simulate(self.policy, question, &self.rates, self.now);
        assert_eq!(self.rates, before, "only deciding counts");
        let verdict = evaluate(self.policy, question, &mut self.rates, self.now);
        assert_eq!(explained.verdict, verdict, "{question:?}");
        assert_eq!(simulated, verdict, "{question:?}");
        assert_eq!(verdict.snapshot, self.policy.snapshot);
        if explained.built_in.is_none() {
            let all = explained.rules.iter();
            let mut fires = all.filter(|rule| rule.facts.iter().all(|fact| fact.holds));
            let first = fires.next();
            assert_eq!(first.map(|rule| rule.id.clone()), verdict.rule_id);
            assert!(first.is_none_or(|rule| rule.outcome == Outcome::Decides));
        }
        verdict
    }
}

/// Each line is `question -> rule DECISION`; returns how many there were.
pub(super) fn check(policy: &Policy, table: &str) -> usize {
    let mut asking = Asking::of(policy);
    let mut cases = 0;
    for line in table.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (asked, expected) = line.split_once(" -> ").expect("question -> answer");
        let asked = match asked.strip_prefix('@') {
            None => asked,
            Some(rest) => {
                let (second, asked) = rest.split_once(' ').expect("@second question");
                let second: i64 = second.parse().expect("a second");
                asking.now = Timestamp::from_millis(second * 1_000);
                asked
            }
        };
        let verdict = asking.ask(&question(asked));
        let rule = verdict.rule_id.as_deref().unwrap_or("-");
        let got = format!("{rule} {}", verdict.decision.name());
        assert_eq!(got, expected.trim(), "{line}");
        cases += 1;
    }
    cases
}

#[test]
fn every_case_of_the_table_is_decided_as_it_says() {
    let mut cases = 0;
    for block in include_str!("cases.txt").split("### ").skip(1) {
        let (title, rest) = block.split_once('\n').expect("a title");
        let (text, table) = rest.split_once("\n---\n").expect(title);
        let policy = policy(text);
        cases += check(&policy, table);
    }
    assert!(cases >= 150, "only {cases} cases");
}

fn words(of: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop::sample::select(of), 1..3)
        .prop_map(|words| words.into_iter().map(str::to_owned).collect())
}

/// Conditions over a small world, so that rules often match and often overlap.
fn condition() -> impl Strategy<Value = Condition> {
    use crate::control_plane::kernel::condition::{McpList, McpLists};
    use crate::control_plane::kernel::glob::Glob;
    let globs = prop::collection::vec(
        prop::sample::select(vec![
            "job.a", "job.b", "job.*", "job.a.*", "job.a?", "job.[ab]", "*", "job.[", "job.*.c",
        ]),
        1..3,
    );
    let label = || prop::sample::select(vec!["k", "mcp.tool", "secrets_present", "session_id"]);
    let value = || prop::sample::select(vec!["x", "Y", "7", "true"]);
    let mcp = (
        prop::option::of(words(&["x", "y"])),
        prop::option::of(words(&["x", "7"])),
    )
        .prop_map(|(allow, deny)| {
            let mut lists = McpLists::default();
            lists.parts[1] = McpList {
                allow: allow.unwrap_or_default(),
                deny: deny.unwrap_or_default(),
            };
            lists
        });
    prop_oneof![
        words(&["t", "U", "default"]).prop_map(Condition::Tenants),
        globs.prop_map(|globs| Condition::Topics(globs.into_iter().map(Glob::new).collect())),
        words(&["c", "D"]).prop_map(Condition::Capabilities),
        words(&["prod", "secrets", "PII"]).prop_map(Condition::RiskTags),
        words(&["gpu", "Net"]).prop_map(Condition::Requires),
        words(&["p"]).prop_map(Condition::PackIds),
        words(&["alice", "Bob"]).prop_map(Condition::ActorIds),
        words(&["human", "Service"]).prop_map(Condition::ActorTypes),
        (label(), value()).prop_map(|(key, value)| Condition::Label {
            key: key.to_owned(),
            value: value.to_owned(),
        }),
        (label(), words(&["x", "y", "7"]))
            .prop_map(|(key, list)| Condition::LabelOutside(vec![(key.to_owned(), list)])),
        (label(), -1.0..9.0)
            .prop_map(|(key, above)| Condition::LabelAbove(vec![(key.to_owned(), above)])),
        any::<bool>().prop_map(Condition::SecretsPresent),
        (mcp, any::<bool>()).prop_map(|(lists, wanted)| if wanted {
            Condition::Mcp(lists)
        } else {
            Condition::McpRefused(lists)
        }),
        prop::sample::select(vec!["w", "v"]).prop_map(|id| Condition::Workflow(id.to_owned())),
        prop::sample::select(vec!["j1", "j2"]).prop_map(|id| Condition::Job(id.to_owned())),
        prop::sample::select(vec!["x", "7"]).prop_map(|id| Condition::Session(id.to_owned())),
    ]
}

fn decision() -> impl Strategy<Value = Decision> {
    prop::sample::select(vec![
        Decision::Allow,
        Decision::Deny,
        Decision::RequireApproval,
        Decision::Throttle,
        Decision::AllowWithConstraints,
    ])
}

fn velocity() -> impl Strategy<Value = Velocity> {
    (1_u32..3, 1_u64..20).prop_map(|(max_requests, seconds)| Velocity {
        max_requests,
        window: Elapsed::from_secs(seconds),
        key: vec![KeyPart::Tenant, KeyPart::Label("k".to_owned())],
    })
}

prop_compose! {
    fn rule()(
        conditions in prop::collection::vec(condition(), 0..4),
        velocity in prop::option::weighted(0.2, velocity()),
        decision in decision(),
    ) -> Rule {
        Rule {
            id: String::new(),
            place: Place::default(),
            matches: Match { conditions },
            velocity,
            decision,
            reason: String::new(),
            constraints: None,
            remediations: Vec::new(),
        }
    }
}

prop_compose! {
    fn any_policy()(
        mut rules in prop::collection::vec(rule(), 0..8),
        scope in prop::collection::vec(condition(), 0..2),
        default_decision in prop::sample::select(vec![Decision::Allow, Decision::Deny]),
    ) -> Policy {
        for (n, rule) in rules.iter_mut().enumerate() {
            rule.id = format!("r{n}");
        }
        Policy {
            version: String::new(),
            snapshot: "s".to_owned(),
            default_tenant: "default".to_owned(),
            default_decision,
            scope: Match { conditions: scope },
            tenant_limits: Vec::new(),
            rules,
            warnings: Vec::new(),
        }
    }
}

prop_compose! {
    fn any_question()(
        topic in prop::sample::select(vec![
            "job.a", "job.b", "job.ab", "job.a.b.c", "job.a/b", "job.[", "sys.a", "",
        ]),
        tenant in prop::sample::select(vec!["", "T", "u", " t "]),
        job in prop::sample::select(vec!["", "j1", "j2", "j3"]),
        workflow in prop::sample::select(vec!["", "w"]),
        meta in (
            prop::sample::select(vec!["", "C"]),
            prop::sample::select(vec!["", "p"]),
            prop::sample::select(vec!["", "ALICE"]),
            prop::sample::select(vec![0, 1, 2, 9]),
        ),
        tags in prop::collection::vec(prop::sample::select(vec!["prod", "Secrets", "pii"]), 0..3),
        requires in prop::collection::vec(prop::sample::select(vec!["gpu", "net"]), 0..3),
        labels in prop::collection::btree_map(
            prop::sample::select(vec!["k", "mcp.tool", "secrets_present", "session_id", "workflow"]),
            prop::sample::select(vec!["x", "y", "Y", "7", "true", "w", "", "1e9"]),
            0..4,
        ),
    ) -> Question {
        let (capability, pack_id, actor_id, actor_type) = meta;
        let texts = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
        Question {
            job_id: JobId::from(job),
            workflow_id: workflow.to_owned(),
            topic: topic.to_owned(),
            tenant: tenant.to_owned(),
            principal_id: "bob".to_owned(),
            labels: labels
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            capability: capability.to_owned(),
            risk_tags: texts(tags),
            requires: texts(requires),
            pack_id: pack_id.to_owned(),
            actor_id: actor_id.to_owned(),
            actor_type: ActorType::from_number(actor_type),
        }
    }
}

/// Every two neighbors of a ring with every other of it.
fn pairs_and_one(pool: &[Condition]) -> Vec<(&Condition, &Condition, &Condition)> {
    let mut all = Vec::new();
    for (n, narrow) in pool.iter().enumerate() {
        let more = &pool[(n + 1) % pool.len()];
        all.extend(pool.iter().map(|wide| (wide, narrow, more)));
    }
    all
}

/// A policy without rates, so that one question does not color the next.
fn timeless() -> impl Strategy<Value = Policy> {
    any_policy().prop_map(|mut policy| {
        for rule in &mut policy.rules {
            rule.velocity = None;
        }
        policy
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// [`Asking::ask`] holds each answer to the explanation, to the simulation and
    /// to the first rule that fires.
    #[test]
    fn every_question_has_one_answer_however_it_is_asked(
        policy in any_policy(),
        questions in prop::collection::vec((any_question(), 0_u64..10), 1..8),
    ) {
        let mut asking = Asking::of(&policy);
        for (question, later) in &questions {
            asking.now = asking.now.plus(Elapsed::from_secs(*later));
            let verdict = asking.ask(question);
            if verdict.rule_id.is_none() && verdict.decision == Decision::Allow {
                prop_assert_eq!(policy.default_decision, Decision::Allow);
            }
        }
    }

    #[test]
    fn neighbors_that_do_not_both_match_may_change_places(
        policy in timeless(),
        question in any_question(),
        at in any::<prop::sample::Index>(),
    ) {
        prop_assume!(policy.rules.len() > 1);
        let at = at.index(policy.rules.len() - 1);
        let verdict = Asking::of(&policy).ask(&question);
        let explained = explain(&policy, &question, &Rates::default(), Timestamp::from_millis(0));
        let matches = |n: usize| explained.rules[n].facts.iter().all(|fact| fact.holds);
        let both = matches(at) && matches(at + 1);
        let mut other = policy.clone();
        other.rules.swap(at, at + 1);
        let swapped = Asking::of(&other).ask(&question);
        if both && verdict.rule_id.as_deref() == Some(&*policy.rules[at].id) {
            prop_assert_eq!(swapped.rule_id.as_deref(), Some(&*policy.rules[at + 1].id));
        } else {
            prop_assert_eq!(verdict, swapped);
        }
    }

    #[test]
    fn a_rule_that_is_never_reached_never_decides(
        policy in any_policy(),
        questions in prop::collection::vec(any_question(), 1..8),
    ) {
        let hidden = unreachable(&policy);
        let mut asking = Asking::of(&policy);
        for question in &questions {
            let decides = asking.ask(question).rule_id;
            let never = hidden.iter().any(|problem| problem.rule == decides);
            prop_assert!(decides.is_none() || !never, "{:?} decided {:?}", decides, question);
        }
    }

    #[test]
    fn what_is_covered_is_matched(
        pool in prop::collection::vec(condition(), 8),
        questions in prop::collection::vec(any_question(), 1..8),
    ) {
        for (wide, narrow, more) in pairs_and_one(&pool) {
            let wide = Match { conditions: vec![wide.clone()] };
            let narrow = Match { conditions: vec![narrow.clone(), more.clone()] };
            if !covers(&wide, &narrow) {
                continue;
            }
            for question in &questions {
                let facts = Facts::of(question, "default");
                let holds = !narrow.holds(&facts) || wide.holds(&facts);
                prop_assert!(holds, "{:?} over {:?}: {:?}", wide, narrow, question);
            }
        }
    }

    #[test]
    fn no_more_than_the_maximum_passes_in_any_window(
        velocity in velocity(),
        steps in prop::collection::vec((0_u64..4_000, 0_u32..12), 1..60),
    ) {
        let mut rates = Rates::default();
        let mut now = Timestamp::from_millis(0);
        let mut passed: Vec<(Timestamp, u32)> = Vec::new();
        for (later, job) in steps {
            now = now.plus(Elapsed::from_millis(later));
            let id = JobId::from(format!("j{job}"));
            let expected = rates.exceeded("r", &velocity, "key", &id, now);
            prop_assert_eq!(rates.count("r", &velocity, "key", &id, now), expected);
            passed.retain(|(at, _)| now.since(*at) < velocity.window);
            let again = passed.iter().any(|(_, before)| *before == job);
            if !expected && !again {
                passed.push((now, job));
            }
            // It is refused only when the window is full of others.
            let full = passed.len() == velocity.max_requests as usize;
            prop_assert_eq!(expected, !again && full && !passed.contains(&(now, job)));
            prop_assert!(passed.len() <= velocity.max_requests as usize);
            prop_assert_eq!(rates.len(), passed.len());
        }
    }
}
