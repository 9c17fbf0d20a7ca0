//! Why a verdict is what it is: rule by rule, fact by fact.

use super::condition::Facts;
use super::evaluate;
use super::policy::{Place, Policy, Rule};
use super::velocity::{Rates, shown_key};
use super::{Decision, Question, Verdict};
use crate::time::Timestamp;

/// A verdict with the way to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// What [`evaluate::simulate`] says.
    pub verdict: Verdict,
    /// The tenant that was used: the request's, else the policy's default.
    pub tenant: String,
    /// Why the request was denied before any rule was asked.
    pub built_in: Option<&'static str>,
    /// Every rule, in order.
    pub rules: Vec<RuleTrace>,
}

/// A verdict, with the way to it where the kernel tells.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// What would be decided.
    pub verdict: Verdict,
    /// How each rule met the question, in order; `None` from a kernel that tells
    /// verdicts alone.
    pub rules: Option<Vec<RuleTrace>>,
}

/// How one rule met the request.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleTrace {
    /// The rule.
    pub id: String,
    /// Where it begins in the file.
    pub place: Place,
    /// What it would decide.
    pub decision: Decision,
    /// What it asks; empty when it matches everything.
    pub facts: Vec<Fact>,
    /// What came of it.
    pub outcome: Outcome,
}

/// One thing that a rule asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The field of the rule, such as `topics` or `labels.env`.
    pub field: String,
    /// What the rule wants.
    pub wanted: String,
    /// What the request has; empty when it has nothing.
    pub seen: String,
    /// Whether that is enough.
    pub holds: bool,
}

/// What came of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is the first that matches.
    Decides,
    /// Something it asks does not hold.
    DoesNotMatch,
    /// It matches, but an earlier rule decided the same.
    Agrees,
    /// It matches and would have decided otherwise, but an earlier rule was first.
    WouldDecideOtherwise,
    /// No rule was asked: the request is no job.
    NotAsked,
}

impl Outcome {
    /// The outcome in words.
    pub fn says(self) -> &'static str {
        match self {
            Self::Decides => "decides",
            Self::DoesNotMatch => "does not match",
            Self::Agrees => "matches too, and agrees",
            Self::WouldDecideOtherwise => "matches too, would decide otherwise",
            Self::NotAsked => "not asked",
        }
    }
}

/// Explains what [`evaluate::evaluate`] would say now of the same question, under
/// the same counts. Counts nothing.
pub fn explain(policy: &Policy, question: &Question, rates: &Rates, now: Timestamp) -> Explanation {
    let facts = Facts::of(question, &policy.default_tenant);
    let verdict = evaluate::simulate(policy, question, rates, now);
    let built_in = evaluate::built_in(question);
    let mut decided = None;
    let rules = policy
        .rules
        .iter()
        .map(|rule| {
            let asked = asks(rule, &facts, rates, now);
            let fires = asked.iter().all(|fact| fact.holds);
            let outcome = if built_in.is_some() {
                Outcome::NotAsked
            } else if !fires {
                Outcome::DoesNotMatch
            } else if decided.is_none() {
                decided = Some(rule.decision);
                Outcome::Decides
            } else if decided == Some(rule.decision) {
                Outcome::Agrees
            } else {
                Outcome::WouldDecideOtherwise
            };
            RuleTrace {
                id: rule.id.clone(),
                place: rule.place,
                decision: rule.decision,
                facts: asked,
                outcome,
            }
        })
        .collect();
    Explanation {
        verdict,
        tenant: facts.tenant.to_owned(),
        built_in,
        rules,
    }
}

fn asks(rule: &Rule, facts: &Facts<'_>, rates: &Rates, now: Timestamp) -> Vec<Fact> {
    let conditions = rule.matches.conditions.iter().map(|condition| Fact {
        field: condition.field().into_owned(),
        wanted: condition.wanted(),
        seen: condition.seen(facts),
        holds: condition.holds(facts),
    });
    let rate = rule.velocity.as_ref().map(|velocity| {
        let key = velocity.key_of(facts);
        let job = &facts.question.job_id;
        Fact {
            field: "velocity".to_owned(),
            wanted: velocity.to_string(),
            seen: match &key {
                Some(key) => {
                    let counts = rates.counts(&rule.id, velocity, key, now);
                    format!("{counts} before it by {}", shown_key(key))
                }
                None => "nothing to count it by".to_owned(),
            },
            holds: key.is_some_and(|key| rates.exceeded(&rule.id, velocity, &key, job, now)),
        }
    });
    conditions.chain(rate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(0);

    fn outline(explained: &Explanation) -> String {
        let mut out = String::new();
        for rule in &explained.rules {
            out.push_str(&format!(
                "{} {} {}\n",
                rule.id,
                rule.decision.name(),
                rule.outcome.says()
            ));
            for fact in &rule.facts {
                let mark = if fact.holds { "yes" } else { "no " };
                let (field, wanted, seen) = (&fact.field, &fact.wanted, &fact.seen);
                out.push_str(&format!("  {mark} {field}: {wanted} <- {seen}\n"));
            }
        }
        out
    }

    #[test]
    fn each_fact_is_shown_with_the_value_that_was_seen() {
        let policy = Policy::parse(
            b"default_tenant: acme
rules:
  - {id: a, match: {labels: {mcp.action: write}, risk_tags: [prod, pii]}, decision: require_approval}
  - {id: b, match: {topics: ['job.x.*'], tenants: [acme]}, decision: deny}
  - {id: c, match: {labels: {mcp.action: write}}, decision: throttle}
  - {id: d, decision: deny}
",
        )
        .expect("a policy");
        let mut question = Question {
            topic: "job.x.y".to_owned(),
            risk_tags: vec!["dev".to_owned()],
            ..Question::default()
        };
        question
            .labels
            .insert("mcp.action".to_owned(), "write".to_owned());
        assert_eq!(
            outline(&explain(&policy, &question, &Rates::default(), NOW)),
            "a REQUIRE_APPROVAL does not match
  no  risk_tags: prod, pii <- dev
  yes labels.mcp.action: write <- write
b DENY decides
  yes tenants: acme <- acme
  yes topics: job.x.* <- job.x.y
c THROTTLE matches too, would decide otherwise
  yes labels.mcp.action: write <- write
d DENY matches too, and agrees
"
        );
        question.topic = "sys.job.submit".to_owned();
        let explained = explain(&policy, &question, &Rates::default(), NOW);
        assert!(explained.built_in.is_some());
        assert!(
            explained
                .rules
                .iter()
                .all(|rule| rule.outcome == Outcome::NotAsked)
        );
    }
}
