//! From the YAML tree to a policy, naming rule, field and place of all that is wrong.

use std::collections::BTreeMap;

use super::fields::Reader;
use super::matching::{Scope, Selector};
use super::tenants::TenantRules;
use super::{
    DEFAULT_TENANT, MAX_POLICY_BYTES, MAX_PROBLEMS, Match, Place, Policy, PolicyError, Problem,
    Rule, snapshot,
};
use crate::control_plane::kernel::Decision;
use crate::control_plane::kernel::document::{self, Node, Value};
use crate::nearest::nearest;

/// Every accepted spelling of a decision, in lower case; the first of each is ours.
const DECISIONS: &[(&str, Decision)] = &[
    ("allow", Decision::Allow),
    ("permit", Decision::Allow),
    ("deny", Decision::Deny),
    ("block", Decision::Deny),
    ("require_approval", Decision::RequireApproval),
    ("require-approval", Decision::RequireApproval),
    ("require_human", Decision::RequireApproval),
    ("throttle", Decision::Throttle),
    ("allow_with_constraints", Decision::AllowWithConstraints),
    ("allow-with-constraints", Decision::AllowWithConstraints),
];

const TOP: &[&str] = &[
    "version",
    "default_tenant",
    "default_decision",
    "tier",
    "selector",
    "rules",
    "tenants",
];
/// What a job reads and writes is not in the request.
const TOP_LATER: &[&str] = &[
    "input_policy",
    "input_rules",
    "require_human",
    "output_policy",
    "output_rules",
];
const RULE: &[&str] = &[
    "id",
    "tier",
    "selector",
    "match",
    "velocity",
    "decision",
    "reason",
    "constraints",
    "remediations",
];

pub(super) fn read(content: &[u8]) -> Result<Policy, PolicyError> {
    let whole = |place, says: String| PolicyError {
        problems: vec![Problem {
            place,
            rule: None,
            field: String::new(),
            says,
            nearest: None,
        }],
    };
    if content.len() > MAX_POLICY_BYTES {
        let len = content.len();
        return Err(whole(
            Place::default(),
            format!("the policy is {len} bytes long; at most {MAX_POLICY_BYTES} are read"),
        ));
    }
    let text = std::str::from_utf8(content).map_err(|error| {
        let before = &content[..error.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        whole(
            Place { line, column: 1 },
            "this line is not UTF-8 text".to_owned(),
        )
    })?;
    let root = document::read(text)
        .map_err(|error| whole(error.place, format!("this is not YAML: {}", error.says)))?;

    let mut reader = Reader::default();
    let policy = reader.policy(&root, content);
    if reader.problems.is_empty() {
        Ok(policy)
    } else {
        reader.problems.sort_by_key(|problem| problem.place);
        reader.problems.truncate(MAX_PROBLEMS);
        Err(PolicyError {
            problems: reader.problems,
        })
    }
}

impl Reader {
    fn policy(&mut self, root: &Node, content: &[u8]) -> Policy {
        let mut version = String::new();
        let mut default_tenant = None;
        let mut default_decision = None;
        let (mut tier, mut selector) = (None, Selector::default());
        let (mut rules_node, mut tenants) = (None, TenantRules::default());
        if root.is_empty() {
            self.problem(root.place, "", "the file holds no policy");
        }
        for entry in self.entries(root, "", TOP, TOP_LATER) {
            match entry.key.as_str() {
                "version" => version = self.text(&entry.node, "version").unwrap_or_default(),
                "default_tenant" => default_tenant = self.text(&entry.node, "default_tenant"),
                "default_decision" => default_decision = self.default_decision(&entry.node),
                "tier" => tier = self.tier(&entry.node),
                "selector" => selector = self.selector(&entry.node),
                "rules" => rules_node = Some(&entry.node),
                "tenants" => tenants = self.tenants(&entry.node),
                _ => {}
            }
        }
        // After the rest, for rules are of the tier of the file unless they say.
        let scope = Scope { tier, selector };
        let rules = match rules_node {
            Some(node) => self.rules(node, &scope),
            None => Vec::new(),
        };
        let scope = self.scope(root.place, &scope, &scope.selector);
        let tenant_limits = std::mem::take(&mut tenants.limits);
        let rules = self.all_rules(rules, tenants);
        if rules.is_empty() {
            let default = match default_decision {
                Some(Decision::Allow) => "allowed",
                _ => "denied",
            };
            self.warning(
                root.place,
                format!("has no rules, so every job is {default}"),
            );
        }
        self.warnings.sort_by_key(|warning| warning.place);
        Policy {
            snapshot: snapshot(&version, content),
            version,
            default_tenant: default_tenant
                .filter(|tenant| !tenant.is_empty())
                .unwrap_or_else(|| DEFAULT_TENANT.to_owned()),
            default_decision: default_decision.unwrap_or(Decision::Deny),
            scope,
            tenant_limits,
            rules,
            warnings: std::mem::take(&mut self.warnings),
        }
    }

    /// The rules of the file with those that are made of its tenants.
    fn all_rules(&mut self, rules: Vec<Rule>, tenants: TenantRules) -> Vec<Rule> {
        if !rules.is_empty()
            && let Some(unused) = tenants.topics.first()
        {
            self.warning(
                unused.place,
                "the topic lists of tenants are not used, because the file has rules".to_owned(),
            );
        }
        let by_file = if rules.is_empty() {
            tenants.topics
        } else {
            rules
        };
        for made in &tenants.mcp {
            if let Some(rule) = by_file.iter().find(|rule| rule.id == made.id) {
                let (place, line) = (rule.place, made.place.line);
                self.rule = Some(rule.id.clone());
                self.problem(
                    place,
                    "id",
                    format!("is that of the rule made of the tenant's mcp lists at line {line}"),
                );
                self.rule = None;
            }
        }
        tenants.mcp.into_iter().chain(by_file).collect()
    }

    fn default_decision(&mut self, node: &Node) -> Option<Decision> {
        let text = self.text(node, "default_decision")?;
        match text.to_lowercase().as_str() {
            "allow" | "permit" => Some(Decision::Allow),
            "deny" => Some(Decision::Deny),
            other => {
                self.name_problem(
                    node.place,
                    "default_decision",
                    format!("`{text}` is not one of allow, deny"),
                    nearest(other, ["allow", "deny"]),
                );
                None
            }
        }
    }

    fn rules(&mut self, node: &Node, file: &Scope) -> Vec<Rule> {
        let Some(nodes) = self.list(node, "rules") else {
            return Vec::new();
        };
        let mut ids: BTreeMap<String, Place> = BTreeMap::new();
        let mut rules = Vec::with_capacity(nodes.len());
        for (n, node) in nodes.iter().enumerate() {
            self.rule = Some(format!("number {}", n + 1));
            let rule = self.rule(node, file);
            self.rule = None;
            let Some(rule) = rule else { continue };
            match ids.get(&rule.id) {
                Some(first) => {
                    let line = first.line;
                    self.rule = Some(rule.id.clone());
                    self.problem(
                        rule.place,
                        "id",
                        format!("is already that of the rule at line {line}"),
                    );
                    self.rule = None;
                }
                None => {
                    ids.insert(rule.id.clone(), rule.place);
                }
            }
            rules.push(rule);
        }
        rules
    }

    fn rule(&mut self, node: &Node, file: &Scope) -> Option<Rule> {
        // The id first, so that whatever else is wrong is told with it.
        let id = match &node.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == "id"),
            Value::Null | Value::Text(_) | Value::Plain { .. } | Value::List(_) => None,
        };
        let id = match id {
            Some(entry) => self.text(&entry.node, "id"),
            None => None,
        };
        match &id {
            Some(id) if !id.is_empty() => self.rule = Some(id.clone()),
            Some(_) => self.problem(node.place, "id", "is empty"),
            None if matches!(node.value, Value::Map(_)) => {
                self.problem(node.place, "id", "is missing");
            }
            None => {}
        }
        let (mut tier, mut selector) = (None, Selector::default());
        let mut matches = Match::default();
        let mut velocity = None;
        let mut decision = None;
        let mut decision_given = false;
        let mut reason = String::new();
        let mut constraints = None;
        let mut remediations = Vec::new();
        for entry in self.entries(node, "", RULE, &[]) {
            match entry.key.as_str() {
                "tier" => tier = self.tier(&entry.node),
                "selector" => selector = self.selector(&entry.node),
                "match" => matches = self.matches(&entry.node),
                "velocity" => velocity = self.velocity(&entry.node),
                "decision" => {
                    decision_given = true;
                    decision = self.decision(&entry.node, "decision");
                }
                "reason" => reason = self.text(&entry.node, "reason").unwrap_or_default(),
                "constraints" => constraints = self.constraints(&entry.node),
                "remediations" => remediations = self.remediations(&entry.node),
                _ => {}
            }
        }
        if !decision_given && matches!(node.value, Value::Map(_)) {
            self.problem(node.place, "decision", "is missing");
        }
        let own = Scope { tier, selector };
        let scope = self.scope(node.place, &file.with(&own), &own.selector);
        matches.conditions.splice(0..0, scope.conditions);
        let mut decision = decision?;
        match (decision, &constraints) {
            (Decision::Allow, Some(_)) => decision = Decision::AllowWithConstraints,
            (Decision::AllowWithConstraints, None) => self.warning(
                node.place,
                "allows with constraints but gives none".to_owned(),
            ),
            _ => {}
        }
        if velocity.is_some()
            && matches!(decision, Decision::Allow | Decision::AllowWithConstraints)
        {
            self.warning(
                node.place,
                "allows what comes too fast: a velocity makes a rule fire only then".to_owned(),
            );
        }
        Some(Rule {
            id: id.filter(|id| !id.is_empty())?,
            place: node.place,
            matches,
            velocity,
            decision,
            reason,
            constraints,
            remediations,
        })
    }

    pub(super) fn decision(&mut self, node: &Node, field: &str) -> Option<Decision> {
        if node.is_empty() {
            self.problem(node.place, field, "is missing");
            return None;
        }
        let text = self.text(node, field)?;
        let name = text.to_lowercase();
        let found = DECISIONS.iter().find(|(known, _)| *known == name);
        if found.is_none() {
            let names: Vec<&str> = DECISIONS.iter().map(|(name, _)| *name).collect();
            self.name_problem(
                node.place,
                field,
                format!(
                    "`{text}` is not one of allow, deny, require_approval, throttle, \
                     allow_with_constraints"
                ),
                nearest(&name, names.iter().copied()),
            );
        }
        found.map(|(_, decision)| *decision)
    }
}
