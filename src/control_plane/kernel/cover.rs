//! Rules that never decide, because an earlier one matches whatever they match.
//!
//! [`unreachable()`] compares rules condition by condition and says only what is
//! certain: a rule that it names never decides, whatever is asked. A rule that it
//! does not name may still be hidden, by several earlier rules together or by what
//! patterns happen to have in common.

use super::condition::{
    Condition, McpLists, McpPart, SECRETS_LABEL, contains, is_above, is_one_of, says_yes,
};
use super::policy::{Match, Policy, Problem, Rule};

/// Rules of one policy that are compared with the later ones; the work grows with
/// the square. Policies that people write have far fewer.
const MOST_RULES: usize = 4_000;

/// Every rule that never decides, with the earlier rule that hides it.
pub fn unreachable(policy: &Policy) -> Vec<Problem> {
    let rules = &policy.rules[..policy.rules.len().min(MOST_RULES)];
    let hidden = rules.iter().enumerate().filter_map(|(n, rule)| {
        let by = rules[..n].iter().find(|earlier| hides(earlier, rule))?;
        Some(problem(rule, by))
    });
    hidden.collect()
}

fn problem(rule: &Rule, by: &Rule) -> Problem {
    let how = if by.matches.is_everything() {
        "matches everything"
    } else {
        "matches all that it matches"
    };
    let same = if by.decision == rule.decision {
        "; both decide the same"
    } else {
        ""
    };
    Problem {
        place: rule.place,
        rule: Some(rule.id.clone()),
        field: "match".to_owned(),
        says: format!(
            "is never reached: rule `{}` at line {} {how}{same}",
            by.id, by.place.line
        ),
        nearest: None,
    }
}

/// Whether `earlier` decides whatever `later` would.
fn hides(earlier: &Rule, later: &Rule) -> bool {
    // A rule with a velocity lets some of what it matches pass.
    earlier.velocity.is_none() && covers(&earlier.matches, &later.matches)
}

/// Whether all that is `narrow` is certainly `wide`.
pub fn covers(wide: &Match, narrow: &Match) -> bool {
    wide.conditions
        .iter()
        .all(|condition| follows(condition, &narrow.conditions))
}

/// Whether `wanted` certainly holds where all of `given` do.
fn follows(wanted: &Condition, given: &[Condition]) -> bool {
    given.iter().any(|one| implies(one, wanted)) || by_labels(wanted, given)
}

/// Whether `wanted` certainly holds where `given` does.
fn implies(given: &Condition, wanted: &Condition) -> bool {
    use Condition as C;
    match (given, wanted) {
        (C::Tenants(few), C::Tenants(many))
        | (C::Capabilities(few), C::Capabilities(many))
        | (C::RiskTags(few), C::RiskTags(many))
        | (C::PackIds(few), C::PackIds(many))
        | (C::ActorIds(few), C::ActorIds(many))
        | (C::ActorTypes(few), C::ActorTypes(many))
        // All of what is required, so the other way around.
        | (C::Requires(many), C::Requires(few)) => within(few, many),
        (C::Topics(few), C::Topics(many)) => few.iter().all(|glob| {
            glob.problem().is_some() || many.iter().any(|other| other.covers(glob))
        }),
        (C::LabelOutside(given), C::LabelOutside(wanted)) => given.iter().all(|(key, list)| {
            let other = wanted.iter().find(|(other, _)| other == key);
            other.is_some_and(|(_, other)| other.iter().all(|word| is_one_of(list, word)))
        }),
        (C::LabelAbove(given), C::LabelAbove(wanted)) => given.iter().all(|(key, threshold)| {
            let other = wanted.iter().find(|(other, _)| other == key);
            other.is_some_and(|(_, other)| other <= threshold)
        }),
        (C::Mcp(given), C::Mcp(wanted)) => {
            let mut parts = given.parts.iter().zip(&wanted.parts);
            parts.all(|(given, wanted)| {
                let allowed = wanted.allow.is_empty()
                    || (!given.allow.is_empty()
                        && given.allow.iter().all(|word| {
                            contains(&wanted.allow, word) || contains(&given.deny, word)
                        }));
                let denied = wanted.deny.iter().all(|word| !given.allows(word));
                allowed && denied
            })
        }
        _ => given == wanted,
    }
}

/// Whether the labels that `given` asks for make `wanted` hold.
fn by_labels(wanted: &Condition, given: &[Condition]) -> bool {
    let label = |name: &str| {
        given.iter().find_map(|one| {
            if let Condition::Label { key, value } = one
                && key == name
            {
                return Some(value.as_str());
            }
            None
        })
    };
    match wanted {
        Condition::LabelOutside(lists) => lists
            .iter()
            .any(|(key, list)| label(key).is_some_and(|value| !is_one_of(list, value))),
        Condition::LabelAbove(thresholds) => thresholds
            .iter()
            .any(|(key, threshold)| label(key).is_some_and(|value| is_above(value, *threshold))),
        Condition::SecretsPresent(wanted) => {
            label(SECRETS_LABEL).and_then(says_yes) == Some(*wanted)
        }
        Condition::Mcp(lists) => mcp_allows(lists, label),
        Condition::McpRefused(lists) => mcp_refuses(lists, label),
        Condition::Tenants(_)
        | Condition::Topics(_)
        | Condition::Capabilities(_)
        | Condition::RiskTags(_)
        | Condition::Requires(_)
        | Condition::PackIds(_)
        | Condition::ActorIds(_)
        | Condition::ActorTypes(_)
        | Condition::Label { .. }
        | Condition::Workflow(_)
        | Condition::Job(_)
        | Condition::Session(_) => false,
    }
}

/// What the first of the labels of a part is known to say; `None` if it is not known.
fn known<'a>(part: McpPart, label: impl Fn(&str) -> Option<&'a str>) -> Option<&'a str> {
    label(part.labels()[0]).filter(|value| !value.trim().is_empty())
}

fn mcp_allows<'a>(lists: &McpLists, label: impl Fn(&str) -> Option<&'a str> + Copy) -> bool {
    let mut parts = McpPart::ALL.iter().zip(&lists.parts);
    parts.all(|(part, list)| match known(*part, label) {
        Some(value) => list.allows(value),
        None => list.allow.is_empty() && list.deny.is_empty(),
    })
}

fn mcp_refuses<'a>(lists: &McpLists, label: impl Fn(&str) -> Option<&'a str> + Copy) -> bool {
    let mut parts = McpPart::ALL.iter().zip(&lists.parts);
    parts.any(|(part, list)| known(*part, label).is_some_and(|value| !list.allows(value)))
}

fn within(few: &[String], many: &[String]) -> bool {
    few.iter().all(|word| contains(many, word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_plane::kernel::cases::policy;

    /// Whether a rule with the match `wide` hides a later one with the match `narrow`.
    fn check(wide: &str, narrow: &str, expected: bool) {
        let policy = policy(&format!(
            "rules:\n  - {{id: wide, match: {{{wide}}}, decision: deny}}\n  \
             - {{id: narrow, match: {{{narrow}}}, decision: allow}}\n"
        ));
        let found = !unreachable(&policy).is_empty();
        assert_eq!(found, expected, "{wide} over {narrow}");
    }

    #[test]
    fn each_field_has_its_own_way_to_be_wider() {
        for (wide, narrow, expected) in [
            ("", "topics: [job.a]", true),
            ("topics: [job.a]", "", false),
            ("tenants: [a, B]", "tenants: [b], topics: [job.a]", true),
            ("tenants: [a]", "tenants: [a, b]", false),
            ("topics: ['job.*']", "topics: [job.a, 'job.b.*']", true),
            ("topics: ['job.a.*']", "topics: ['job.*']", false),
            (
                "topics: ['job.a*', 'job.b*']",
                "topics: [job.ax, job.bx]",
                true,
            ),
            ("capabilities: [a, b]", "capabilities: [A]", true),
            ("pack_ids: [a]", "capabilities: [a]", false),
            ("actor_ids: [a]", "actor_ids: [A]", true),
            (
                "actor_types: [human, service]",
                "actor_types: [human]",
                true,
            ),
            ("actor_types: [human, service]", "", false),
            ("risk_tags: [prod, pii]", "risk_tags: [PII]", true),
            ("risk_tags: [pii]", "risk_tags: [prod, pii]", false),
            ("requires: [gpu]", "requires: [gpu, net]", true),
            ("requires: [gpu, net]", "requires: [gpu]", false),
            ("labels: {a: x}", "labels: {a: x, b: y}", true),
            ("labels: {a: x}", "labels: {a: X}", false),
            ("labels: {a: x, b: y}", "labels: {a: x}", false),
            (
                "label_allowlist: {a: [x]}",
                "label_allowlist: {a: [x, y]}",
                true,
            ),
            (
                "label_allowlist: {a: [x, y]}",
                "label_allowlist: {a: [x]}",
                false,
            ),
            (
                "label_allowlist: {a: [x]}",
                "label_allowlist: {a: [x], b: [x]}",
                false,
            ),
            (
                "label_allowlist: {a: [x], b: []}",
                "label_allowlist: {a: [x]}",
                true,
            ),
            ("label_allowlist: {a: [x]}", "labels: {a: y}", true),
            ("label_allowlist: {a: [x]}", "labels: {a: X}", false),
            ("label_threshold: {a: 5}", "label_threshold: {a: 5.5}", true),
            ("label_threshold: {a: 5}", "label_threshold: {a: 4}", false),
            (
                "label_threshold: {a: 5}",
                "label_threshold: {a: 6, b: 6}",
                false,
            ),
            ("label_threshold: {a: 5}", "labels: {a: '6'}", true),
            ("label_threshold: {a: 5}", "labels: {a: '5'}", false),
            (
                "secrets_present: true",
                "secrets_present: true, topics: [job.a]",
                true,
            ),
            ("secrets_present: true", "secrets_present: false", false),
            (
                "secrets_present: true",
                "labels: {secrets_present: yes}",
                true,
            ),
            // The label may say otherwise.
            ("secrets_present: true", "risk_tags: [secrets]", false),
            ("mcp: {deny_tools: [a]}", "mcp: {deny_tools: [A, b]}", true),
            ("mcp: {deny_tools: [a, b]}", "mcp: {deny_tools: [a]}", false),
            ("mcp: {deny_tools: [a]}", "mcp: {allow_tools: [b, c]}", true),
            (
                "mcp: {allow_tools: [a, b]}",
                "mcp: {allow_tools: [b]}",
                true,
            ),
            (
                "mcp: {allow_tools: [b]}",
                "mcp: {allow_tools: [a, b]}",
                false,
            ),
            (
                "mcp: {allow_tools: [b]}",
                "mcp: {allow_tools: [a, b], deny_tools: [a]}",
                true,
            ),
            ("mcp: {allow_tools: [a]}", "mcp: {deny_tools: [b]}", false),
            ("mcp: {allow_tools: [a]}", "", false),
            ("mcp: {allow_tools: [a]}", "labels: {mcp.tool: A}", true),
            ("mcp: {allow_tools: [a]}", "labels: {mcp.tool: b}", false),
            ("mcp: {allow_tools: [a]}", "labels: {mcp_tool: a}", false),
            (
                "mcp: {allow_tools: [a], deny_servers: [s]}",
                "labels: {mcp.tool: a}",
                false,
            ),
        ] {
            check(wide, narrow, expected);
        }
    }

    #[test]
    fn tiers_and_rates_are_looked_at_too() {
        let told = |text: &str| -> Vec<String> {
            let found = unreachable(&policy(text));
            found.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            told(
                "rules:
  - {id: fast, velocity: {max_requests: 1, window_seconds: 1, key: topic}, decision: deny}
  - {id: wf, tier: workflow, selector: {workflow_id: w}, decision: deny}
  - {id: wf-2, tier: workflow, selector: {workflow_id: w}, match: {topics: [job.a]}, decision: deny}
  - {id: job, tier: job, selector: {job_id: w}, decision: allow}
  - {id: all, decision: allow}
  - {id: slow, velocity: {max_requests: 1, window_seconds: 1, key: topic}, decision: throttle}
"
            ),
            [
                "line 4, column 5: rule `wf-2`: match is never reached: rule `wf` at line 3 \
                 matches all that it matches; both decide the same",
                "line 7, column 5: rule `slow`: match is never reached: rule `all` at line 6 \
                 matches everything",
            ]
        );
        assert_eq!(
            told(
                "tenants: {a: {mcp: {deny_tools: [t]}}}
rules:
  - {id: a, match: {tenants: [a], labels: {mcp.tool: t}}, decision: allow}
"
            ),
            [
                "line 3, column 5: rule `a`: match is never reached: rule `tenant:a:mcp` at line 1 \
                 matches all that it matches"
            ]
        );
    }

    #[test]
    fn the_policies_of_the_demo_have_no_rule_that_never_decides() {
        for text in [
            include_str!("../../../demo/policy.yaml"),
            include_str!("../../../demo/first-policy.yaml"),
        ] {
            assert_eq!(unreachable(&policy(text)), []);
        }
    }
}
