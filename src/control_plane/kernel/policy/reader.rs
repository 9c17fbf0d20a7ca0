//! From the YAML tree to a policy, naming rule, field and place of all that is wrong.

use std::collections::BTreeMap;

use super::fields::Reader;
use super::{
    DEFAULT_TENANT, MAX_POLICY_BYTES, MAX_PROBLEMS, Match, Place, Policy, PolicyError, Problem,
    Rule, snapshot,
};
use crate::control_plane::kernel::Decision;
use crate::control_plane::kernel::document::{self, Node, Value};
use crate::control_plane::kernel::glob::Glob;
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

const TOP: &[&str] = &["version", "default_tenant", "default_decision", "rules"];
const TOP_LATER: &[&str] = &[
    "tier",
    "selector",
    "tenants",
    "input_policy",
    "input_rules",
    "require_human",
    "output_policy",
    "output_rules",
];
const RULE: &[&str] = &[
    "id",
    "match",
    "decision",
    "reason",
    "constraints",
    "remediations",
];
const RULE_LATER: &[&str] = &["tier", "selector", "velocity"];
const MATCH: &[&str] = &[
    "tenants",
    "topics",
    "capabilities",
    "risk_tags",
    "requires",
    "pack_ids",
    "actor_ids",
    "actor_types",
    "labels",
];
const MATCH_LATER: &[&str] = &[
    "agent_risk_tiers",
    "agent_data_classifications",
    "label_allowlist",
    "label_threshold",
    "secrets_present",
    "predicate",
    "delegation",
    "mcp",
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
        let mut rules = Vec::new();
        if root.is_empty() {
            self.problem(root.place, "", "the file holds no policy");
        }
        for entry in self.entries(root, "", TOP, TOP_LATER) {
            match entry.key.as_str() {
                "version" => version = self.text(&entry.node, "version").unwrap_or_default(),
                "default_tenant" => default_tenant = self.text(&entry.node, "default_tenant"),
                "default_decision" => default_decision = self.default_decision(&entry.node),
                "rules" => rules = self.rules(&entry.node),
                _ => {}
            }
        }
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
        for (n, rule) in rules.iter().enumerate() {
            if rule.matches.is_everything() && n + 1 < rules.len() {
                self.rule = Some(rule.id.clone());
                self.warning(
                    rule.place,
                    "matches everything, so no rule below it ever decides".to_owned(),
                );
            }
        }
        self.rule = None;
        self.warnings.sort_by_key(|warning| warning.place);
        Policy {
            snapshot: snapshot(&version, content),
            version,
            default_tenant: default_tenant
                .filter(|tenant| !tenant.is_empty())
                .unwrap_or_else(|| DEFAULT_TENANT.to_owned()),
            default_decision: default_decision.unwrap_or(Decision::Deny),
            rules,
            warnings: std::mem::take(&mut self.warnings),
        }
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

    fn rules(&mut self, node: &Node) -> Vec<Rule> {
        let Some(nodes) = self.list(node, "rules") else {
            return Vec::new();
        };
        let mut ids: BTreeMap<String, Place> = BTreeMap::new();
        let mut rules = Vec::with_capacity(nodes.len());
        for (n, node) in nodes.iter().enumerate() {
            self.rule = Some(format!("number {}", n + 1));
            let rule = self.rule(node);
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

    fn rule(&mut self, node: &Node) -> Option<Rule> {
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
        let mut matches = Match::default();
        let mut decision = None;
        let mut decision_given = false;
        let mut reason = String::new();
        let mut constraints = None;
        let mut remediations = Vec::new();
        for entry in self.entries(node, "", RULE, RULE_LATER) {
            match entry.key.as_str() {
                "match" => matches = self.matches(&entry.node),
                "decision" => {
                    decision_given = true;
                    decision = self.decision(&entry.node);
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
        let mut decision = decision?;
        match (decision, &constraints) {
            (Decision::Allow, Some(_)) => decision = Decision::AllowWithConstraints,
            (Decision::AllowWithConstraints, None) => self.warning(
                node.place,
                "allows with constraints but gives none".to_owned(),
            ),
            _ => {}
        }
        Some(Rule {
            id: id.filter(|id| !id.is_empty())?,
            place: node.place,
            matches,
            decision,
            reason,
            constraints,
            remediations,
        })
    }

    fn decision(&mut self, node: &Node) -> Option<Decision> {
        if node.is_empty() {
            self.problem(node.place, "decision", "is missing");
            return None;
        }
        let text = self.text(node, "decision")?;
        let name = text.to_lowercase();
        let found = DECISIONS.iter().find(|(known, _)| *known == name);
        if found.is_none() {
            let names: Vec<&str> = DECISIONS.iter().map(|(name, _)| *name).collect();
            self.name_problem(
                node.place,
                "decision",
                format!(
                    "`{text}` is not one of allow, deny, require_approval, throttle, \
                     allow_with_constraints"
                ),
                nearest(&name, names.iter().copied()),
            );
        }
        found.map(|(_, decision)| *decision)
    }

    fn matches(&mut self, node: &Node) -> Match {
        let mut matches = Match::default();
        for entry in self.entries(node, "match", MATCH, MATCH_LATER) {
            let field = format!("match.{}", entry.key);
            let node = &entry.node;
            match entry.key.as_str() {
                "tenants" => matches.tenants = self.words(node, &field),
                "topics" => matches.topics = self.topics(node),
                "capabilities" => matches.capabilities = self.words(node, &field),
                "risk_tags" => matches.risk_tags = self.words(node, &field),
                "requires" => matches.requires = self.words(node, &field),
                "pack_ids" => matches.pack_ids = self.words(node, &field),
                "actor_ids" => matches.actor_ids = self.words(node, &field),
                "actor_types" => matches.actor_types = self.actor_types(node),
                "labels" => matches.labels = self.text_map(node, &field),
                _ => {}
            }
        }
        matches
    }

    fn topics(&mut self, node: &Node) -> Vec<Glob> {
        let mut globs = Vec::new();
        for (place, word) in self.placed_words(node, "match.topics") {
            let glob = Glob::new(&word);
            if let Some(problem) = glob.problem() {
                self.warning(
                    place,
                    format!("topic pattern `{word}` matches nothing: {problem}"),
                );
            } else if word.ends_with('>') {
                self.warning(
                    place,
                    format!("topic pattern `{word}`: `>` is an ordinary character here; `*` crosses dots"),
                );
            }
            globs.push(glob);
        }
        globs
    }

    fn actor_types(&mut self, node: &Node) -> Vec<String> {
        let words = self.placed_words(node, "match.actor_types");
        for (place, word) in &words {
            let name = word.to_lowercase();
            if name != "human" && name != "service" {
                self.name_problem(
                    *place,
                    "match.actor_types",
                    format!("`{word}` is not one of human, service"),
                    nearest(&name, ["human", "service"]),
                );
            }
        }
        words.into_iter().map(|(_, word)| word).collect()
    }
}
