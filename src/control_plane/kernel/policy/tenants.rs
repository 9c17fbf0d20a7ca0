//! Rules that are made of what a file says of its tenants.
//!
//! What a tenant may call over MCP always counts: it becomes a rule before all
//! others that denies every other call, so no rule of the file can allow one. The
//! topic lists of policies that have no rules become the rules, for each tenant
//! what is denied first. How many jobs of a tenant may be at work is a limit on every
//! yes, for the request does not say how many are.

use super::fields::Reader;
use super::{Match, Place, Rule};
use crate::control_plane::kernel::Decision;
use crate::control_plane::kernel::condition::{Condition, McpLists};
use crate::control_plane::kernel::document::Node;
use crate::control_plane::kernel::glob::Glob;

const TENANT: &[&str] = &["allow_topics", "deny_topics", "mcp", "max_concurrent_jobs"];
/// What repository a job would work on is not in the request.
const TENANT_LATER: &[&str] = &["allowed_repo_hosts", "denied_repo_hosts"];

/// What the file says of its tenants, as rules.
#[derive(Default)]
pub(super) struct TenantRules {
    /// Those that come before the rules of the file.
    pub(super) mcp: Vec<Rule>,
    /// Those that stand in for the rules of a file without any.
    pub(super) topics: Vec<Rule>,
    /// How many jobs of a tenant may be at work, by its name.
    pub(super) limits: Vec<(String, i32)>,
}

impl Reader {
    pub(super) fn tenants(&mut self, node: &Node) -> TenantRules {
        let mut rules = TenantRules::default();
        let mut names: Vec<String> = Vec::new();
        for entry in self.free_entries(node, "tenants", "a mapping of tenants") {
            let name = entry.key.trim().to_owned();
            let field = format!("tenants.{name}");
            if name.is_empty() {
                self.problem(entry.place, "tenants", "has a tenant without a name");
            }
            let folded = name.to_lowercase();
            if names.contains(&folded) {
                self.problem(
                    entry.place,
                    &field,
                    "is there twice: tenants are compared without regard to letter case",
                );
            }
            names.push(folded);
            self.tenant(&entry.node, &field, &name, &mut rules);
        }
        rules
    }

    fn tenant(&mut self, node: &Node, field: &str, name: &str, rules: &mut TenantRules) {
        let (mut denied, mut allowed) = (Vec::new(), Vec::new());
        for entry in self.entries(node, field, TENANT, TENANT_LATER) {
            let field = format!("{field}.{}", entry.key);
            match entry.key.as_str() {
                "deny_topics" => denied = self.placed_topics(&entry.node, &field),
                "allow_topics" => allowed = self.placed_topics(&entry.node, &field),
                "max_concurrent_jobs" => {
                    let limit = self.small_limit(&entry.node, &field);
                    if let Some(limit) = limit.filter(|limit| *limit > 0) {
                        rules.limits.push((name.to_owned(), limit));
                    }
                }
                "mcp" => {
                    let lists = self.mcp(&entry.node, &field);
                    if !lists.is_empty() {
                        rules.mcp.push(mcp_rule(name, entry.place, lists));
                    }
                }
                _ => {}
            }
        }
        for (verb, decision, globs) in [
            ("deny", Decision::Deny, denied),
            ("allow", Decision::Allow, allowed),
        ] {
            for (n, (place, glob)) in globs.into_iter().enumerate() {
                let pattern = glob.as_str().to_owned();
                rules.topics.push(Rule {
                    id: format!("legacy:{name}:{verb}:{}", n + 1),
                    reason: format!("topic {pattern} is in the {verb}_topics of tenant {name}"),
                    ..rule(
                        place,
                        decision,
                        vec![
                            Condition::Tenants(vec![name.to_owned()]),
                            Condition::Topics(vec![glob]),
                        ],
                    )
                });
            }
        }
    }

    fn placed_topics(&mut self, node: &Node, field: &str) -> Vec<(Place, Glob)> {
        let words = self.placed_words(node, field).into_iter();
        words
            .map(|(place, word)| (place, self.topic(place, &word)))
            .collect()
    }
}

fn mcp_rule(tenant: &str, place: Place, lists: McpLists) -> Rule {
    Rule {
        id: format!("tenant:{tenant}:mcp"),
        reason: format!("tenant {tenant} may not make this MCP call"),
        ..rule(
            place,
            Decision::Deny,
            vec![
                Condition::Tenants(vec![tenant.to_owned()]),
                Condition::McpRefused(lists),
            ],
        )
    }
}

fn rule(place: Place, decision: Decision, conditions: Vec<Condition>) -> Rule {
    Rule {
        id: String::new(),
        place,
        matches: Match { conditions },
        velocity: None,
        decision,
        reason: String::new(),
        constraints: None,
        remediations: Vec::new(),
    }
}
