//! What a policy would say of requests that were judged before.
//!
//! Pure, as evaluation is. A rate cannot be counted again after the fact, so a rule
//! with a velocity fires where it was the one that decided then, and nowhere else:
//! the policy that judged flips nothing. Start at [`replay`].

use std::collections::{BTreeMap, BTreeSet};

use super::condition::Facts;
use super::evaluate::afterwards;
use super::policy::Policy;
use super::{Decision, Question, Verdict};
use crate::ids::JobId;

/// A decision that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    /// The job.
    pub job: JobId,
    /// What was decided; `None` if the kernel gave no verdict.
    pub was: Option<Decision>,
    /// The rule that decided; `None` if none matched, or nobody tells.
    pub rule_id: Option<String>,
    /// The request; `None` if it is no longer stored.
    pub question: Option<Question>,
}

/// Jobs that would be judged otherwise, and in the same way.
#[derive(Clone, Debug, PartialEq)]
pub struct Flip {
    /// What was decided.
    pub was: Decision,
    /// What would be decided.
    pub would_be: Decision,
    /// By which rule; `None` if none matches.
    pub rule_id: Option<String>,
    /// Why the first of the jobs flips: the reason of the rule that stops it, or
    /// what became of the rule that stopped it.
    pub reason: String,
    /// The jobs, in the order in which they were given.
    pub jobs: Vec<JobId>,
    /// Risk tags that all of them carry.
    pub tags: BTreeSet<String>,
}

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replay {
    /// Decisions that were looked at. Repeated ones of a job with the same outcome,
    /// as when a throttled job is asked about again, are one.
    pub considered: usize,
    /// Those that would be decided the same.
    pub stays: usize,
    /// Those whose request is no longer stored.
    pub without_request: usize,
    /// Those that were none: the kernel gave no verdict.
    pub without_verdict: usize,
    /// The rest, the most jobs first.
    pub flips: Vec<Flip>,
}

/// Asks `policy` about what was decided before. At most `limit` decisions are
/// considered, those that are given first.
pub fn replay(policy: &Policy, past: impl IntoIterator<Item = Past>, limit: usize) -> Replay {
    let mut found = Replay::default();
    let mut seen = BTreeSet::new();
    let mut flips: BTreeMap<(Decision, Decision, Option<String>), Flip> = BTreeMap::new();
    for past in past {
        if found.considered == limit {
            break;
        }
        if !seen.insert((past.job.clone(), past.was)) {
            continue;
        }
        found.considered += 1;
        let Some(question) = &past.question else {
            found.without_request += 1;
            continue;
        };
        let Some(was) = past.was else {
            found.without_verdict += 1;
            continue;
        };
        let verdict = afterwards(policy, question, past.rule_id.as_deref());
        if verdict.decision == was {
            found.stays += 1;
            continue;
        }
        let tags: BTreeSet<String> = question.risk_tags.iter().cloned().collect();
        let key = (was, verdict.decision, verdict.rule_id.clone());
        let flip = flips.entry(key).or_insert_with(|| Flip {
            was,
            would_be: verdict.decision,
            rule_id: verdict.rule_id.clone(),
            reason: why(policy, question, past.rule_id.as_deref(), &verdict),
            jobs: Vec::new(),
            tags: tags.clone(),
        });
        flip.tags.retain(|tag| tags.contains(tag));
        flip.jobs.push(past.job);
    }
    found.flips = flips.into_values().collect();
    // Stable, so that those of the same number stay in the order of their outcomes.
    found
        .flips
        .sort_by_key(|flip| std::cmp::Reverse(flip.jobs.len()));
    found
}

/// A rule that stops a job says why. Where a job goes on, the cause is what became
/// of the rule that stopped it.
fn why(policy: &Policy, question: &Question, was_by: Option<&str>, now: &Verdict) -> String {
    let goes_on = matches!(
        now.decision,
        Decision::Allow | Decision::AllowWithConstraints
    );
    let Some(was_by) = was_by.filter(|_| goes_on) else {
        return now.reason.clone();
    };
    if now.rule_id.as_deref() == Some(was_by) {
        let decision = now.decision.name().to_ascii_lowercase();
        return format!("{was_by} now says {decision}");
    }
    let Some(rule) = policy.rules.iter().find(|rule| rule.id == was_by) else {
        return format!("{was_by} is removed");
    };
    let facts = Facts::of(question, &policy.default_tenant);
    match &now.rule_id {
        Some(first) if rule.matches.holds(&facts) => format!("{first} comes before {was_by}"),
        _ => format!("{was_by} no longer matches"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_plane::kernel::cases::{policy, question};

    const OLD: &str = "rules:
  - {id: ask-export, match: {topics: ['job.export.*']}, decision: require_approval, reason: exports need a person}
  - {id: deny-drop, match: {topics: ['job.drop']}, decision: deny, reason: never}
  - {id: busy, match: {topics: ['job.mail']}, decision: throttle, velocity: {max_requests: 1, window_seconds: 60, key: tenant}}
  - {id: known, match: {topics: ['job.*', 'job.*.*']}, decision: allow}
";

    /// What was decided, one a line: `job, verdict, rule, question`.
    fn past(text: &str) -> Vec<Past> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines
            .map(|line| {
                let mut words = line.splitn(4, ' ');
                let mut word = || words.next().expect("four words");
                let job = JobId::from(word());
                let was = match word() {
                    "allow" => Some(Decision::Allow),
                    "ask" => Some(Decision::RequireApproval),
                    "deny" => Some(Decision::Deny),
                    "throttle" => Some(Decision::Throttle),
                    _ => None,
                };
                let rule = word();
                let facts = word();
                Past {
                    question: (facts != "gone").then(|| question(facts)),
                    rule_id: (rule != "-").then(|| rule.to_owned()),
                    was,
                    job,
                }
            })
            .collect()
    }

    fn check(candidate: &str, decided: &str, expected: &[&str]) {
        let found = replay(&policy(candidate), past(decided), 500);
        let mut lines: Vec<String> = found
            .flips
            .iter()
            .map(|flip| {
                let jobs: Vec<_> = flip.jobs.iter().map(JobId::as_str).collect();
                let tags: Vec<_> = flip.tags.iter().map(String::as_str).collect();
                format!(
                    "{} > {} by {} [{}] tags [{}]: {}",
                    flip.was.name(),
                    flip.would_be.name(),
                    flip.rule_id.as_deref().unwrap_or("-"),
                    jobs.join(" "),
                    tags.join(" "),
                    flip.reason
                )
            })
            .collect();
        lines.push(format!(
            "{} considered, {} stay, {} gone, {} unjudged",
            found.considered, found.stays, found.without_request, found.without_verdict
        ));
        assert_eq!(lines, expected);
    }

    const DECIDED: &str = "
        a ask ask-export topic=job.export.users tags=pii,prod
        b ask ask-export topic=job.export.orders tags=pii
        c allow known topic=job.web
        d deny deny-drop topic=job.drop
        e throttle busy topic=job.mail
        e throttle busy topic=job.mail
        e allow known topic=job.mail
        f allow known gone
        g none - topic=job.web
    ";

    #[test]
    fn the_policy_that_judged_flips_nothing_its_rates_included() {
        check(OLD, DECIDED, &["8 considered, 6 stay, 1 gone, 1 unjudged"]);
    }

    #[test]
    fn flips_are_grouped_and_say_what_became_of_the_rule_that_stopped_the_job() {
        check(
            "rules:
  - {id: deny-web, match: {topics: ['job.web']}, decision: deny, reason: the web is closed}
  - {id: first, match: {topics: ['job.mail']}, decision: allow}
  - {id: busy, match: {topics: ['job.mail']}, decision: throttle, velocity: {max_requests: 1, window_seconds: 60, key: tenant}}
  - {id: deny-drop, match: {topics: ['job.drop'], risk_tags: [prod]}, decision: deny}
  - {id: known, match: {topics: ['job.*', 'job.*.*']}, decision: allow}
",
            DECIDED,
            &[
                "REQUIRE_APPROVAL > ALLOW by known [a b] tags [pii]: ask-export is removed",
                "ALLOW > DENY by deny-web [c] tags []: the web is closed",
                "DENY > ALLOW by known [d] tags []: deny-drop no longer matches",
                "THROTTLE > ALLOW by first [e] tags []: first comes before busy",
                "8 considered, 1 stay, 1 gone, 1 unjudged",
            ],
        );
    }

    #[test]
    fn the_same_rule_may_say_something_else_and_what_no_rule_matches_may_flip() {
        check(
            "rules:
  - {id: ask-export, match: {topics: ['job.export.*']}, decision: allow}
",
            "a ask ask-export topic=job.export.users\n b allow known topic=job.web",
            &[
                "ALLOW > DENY by - [b] tags []: no rule matches, so it is denied",
                "REQUIRE_APPROVAL > ALLOW by ask-export [a] tags []: ask-export now says allow",
                "2 considered, 0 stay, 0 gone, 0 unjudged",
            ],
        );
    }

    #[test]
    fn no_more_are_considered_than_were_asked_for() {
        let found = replay(&policy(OLD), past(DECIDED), 3);
        assert_eq!((found.considered, found.stays), (3, 3));
    }
}
