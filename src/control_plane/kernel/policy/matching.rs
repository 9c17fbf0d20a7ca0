//! Reading what a rule asks: the match, the tier it is of, and the rate it bears.

use super::fields::Reader;
use super::{Match, Place};
use crate::control_plane::kernel::condition::{Condition, McpList, McpLists};
use crate::control_plane::kernel::document::{Node, Value};
use crate::control_plane::kernel::glob::Glob;
use crate::control_plane::kernel::velocity::{KeyPart, MAX_WINDOW_S, Velocity};
use crate::nearest::nearest;
use crate::time::Elapsed;

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
    "label_allowlist",
    "label_threshold",
    "secrets_present",
    "mcp",
];
/// Who delegated what to whom, and what an agent is registered as, is not in the
/// request.
const MATCH_LATER: &[&str] = &[
    "agent_risk_tiers",
    "agent_data_classifications",
    "predicate",
    "delegation",
];
/// By the order of [`McpLists::parts`].
const MCP: [(&str, &str); 4] = [
    ("allow_servers", "deny_servers"),
    ("allow_tools", "deny_tools"),
    ("allow_resources", "deny_resources"),
    ("allow_actions", "deny_actions"),
];
const VELOCITY: &[&str] = &["max_requests", "window_seconds", "key"];
const SELECTOR: &[&str] = &["workflow_id", "job_id", "session_id"];
const TIERS: [&str; 3] = ["global", "workflow", "job"];

/// What a rule or a whole file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Tier {
    #[default]
    Global,
    Workflow,
    Job,
}

/// Which workflow, job or session; empty where nothing is said.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Selector {
    workflow_id: String,
    job_id: String,
    session_id: String,
}

/// Tier and selector as written; both may be left to the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    pub(super) tier: Option<Tier>,
    pub(super) selector: Selector,
}

impl Scope {
    /// The scope of a rule inside a file of scope `self`.
    pub(super) fn with(&self, rule: &Self) -> Self {
        let pick = |own: &str, file: &str| if own.is_empty() { file } else { own }.to_owned();
        Self {
            tier: rule.tier.or(self.tier),
            selector: Selector {
                workflow_id: pick(&rule.selector.workflow_id, &self.selector.workflow_id),
                job_id: pick(&rule.selector.job_id, &self.selector.job_id),
                session_id: pick(&rule.selector.session_id, &self.selector.session_id),
            },
        }
    }
}

impl Reader {
    pub(super) fn matches(&mut self, node: &Node) -> Match {
        let mut conditions = Vec::new();
        for entry in self.entries(node, "match", MATCH, MATCH_LATER) {
            let field = format!("match.{}", entry.key);
            let node = &entry.node;
            match entry.key.as_str() {
                "tenants" => conditions.push(Condition::Tenants(self.words(node, &field))),
                "topics" => conditions.push(Condition::Topics(self.topics(node, &field))),
                "capabilities" => {
                    conditions.push(Condition::Capabilities(self.words(node, &field)));
                }
                "risk_tags" => conditions.push(Condition::RiskTags(self.words(node, &field))),
                "requires" => conditions.push(Condition::Requires(self.words(node, &field))),
                "pack_ids" => conditions.push(Condition::PackIds(self.words(node, &field))),
                "actor_ids" => conditions.push(Condition::ActorIds(self.words(node, &field))),
                "actor_types" => conditions.push(Condition::ActorTypes(self.actor_types(node))),
                "labels" => {
                    let labels = self.text_map(node, &field).into_iter();
                    conditions.extend(labels.map(|(key, value)| Condition::Label { key, value }));
                }
                "label_allowlist" => {
                    conditions.push(Condition::LabelOutside(self.label_allowlist(node)));
                }
                "label_threshold" => {
                    conditions.push(Condition::LabelAbove(self.label_threshold(node)));
                }
                "secrets_present" if !matches!(node.value, Value::Null) => {
                    conditions.push(Condition::SecretsPresent(self.flag(node, &field)));
                }
                "mcp" => conditions.push(Condition::Mcp(self.mcp(node, &field))),
                _ => {}
            }
        }
        conditions.retain(|condition| !asks_nothing(condition));
        conditions.sort_by_key(rank);
        Match { conditions }
    }

    pub(super) fn topics(&mut self, node: &Node, field: &str) -> Vec<Glob> {
        let words = self.placed_words(node, field).into_iter();
        words
            .map(|(place, word)| self.topic(place, &word))
            .collect()
    }

    /// Reads one topic pattern, and warns of one that does not do what it seems to.
    pub(super) fn topic(&mut self, place: Place, word: &str) -> Glob {
        let glob = Glob::new(word);
        if let Some(problem) = glob.problem() {
            self.warning(
                place,
                format!("topic pattern `{word}` matches nothing: {problem}"),
            );
        } else if word.ends_with('>') {
            self.warning(
                place,
                format!(
                    "topic pattern `{word}`: `>` is an ordinary character here; `*` crosses dots"
                ),
            );
        }
        glob
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

    fn label_allowlist(&mut self, node: &Node) -> Vec<(String, Vec<String>)> {
        let field = "match.label_allowlist";
        let mut lists = Vec::new();
        for entry in self.free_entries(node, field, "a mapping of labels to lists of values") {
            let field = format!("{field}.{}", entry.key);
            // Nothing is not the empty list: that one refuses every value.
            if matches!(entry.node.value, Value::Null) {
                self.problem(entry.place, &field, "must be a list, not nothing");
            } else {
                lists.push((entry.key.clone(), self.words(&entry.node, &field)));
            }
        }
        lists
    }

    fn label_threshold(&mut self, node: &Node) -> Vec<(String, f64)> {
        let field = "match.label_threshold";
        let mut thresholds = Vec::new();
        for entry in self.free_entries(node, field, "a mapping of labels to numbers") {
            let node = &entry.node;
            let written = match &node.value {
                Value::Plain {
                    written,
                    flag: None,
                    ..
                } => written.parse::<f64>().ok(),
                Value::Null
                | Value::Text(_)
                | Value::Plain { .. }
                | Value::List(_)
                | Value::Map(_) => None,
            };
            match written.filter(|number| number.is_finite()) {
                Some(number) => thresholds.push((entry.key.clone(), number)),
                None => self.problem(
                    node.place,
                    &format!("{field}.{}", entry.key),
                    format!("must be a finite number, not {}", node.kind()),
                ),
            }
        }
        thresholds
    }

    pub(super) fn mcp(&mut self, node: &Node, field: &str) -> McpLists {
        let known: Vec<&str> = MCP
            .iter()
            .flat_map(|(allow, deny)| [*allow, *deny])
            .collect();
        let mut lists = McpLists::default();
        for entry in self.entries(node, field, &known, &[]) {
            let words = self.words(&entry.node, &format!("{field}.{}", entry.key));
            for ((allow, deny), list) in MCP.iter().zip(&mut lists.parts) {
                let McpList {
                    allow: allowed,
                    deny: denied,
                } = list;
                if entry.key == *allow {
                    allowed.clone_from(&words);
                } else if entry.key == *deny {
                    denied.clone_from(&words);
                }
            }
        }
        lists
    }

    pub(super) fn velocity(&mut self, node: &Node) -> Option<Velocity> {
        if node.is_empty() {
            return None;
        }
        let (mut max_requests, mut window, mut key) = (None, None, None);
        let before = self.problems.len();
        for entry in self.entries(node, "velocity", VELOCITY, &[]) {
            let field = format!("velocity.{}", entry.key);
            let node = &entry.node;
            match entry.key.as_str() {
                "max_requests" => {
                    let number = self.positive(node, &field, u32::MAX.into());
                    max_requests = number.and_then(|number| u32::try_from(number).ok());
                }
                "window_seconds" => {
                    let seconds = self.positive(node, &field, MAX_WINDOW_S);
                    window = seconds.and_then(|seconds| u64::try_from(seconds).ok());
                }
                "key" => key = self.velocity_key(node),
                _ => {}
            }
        }
        if self.problems.len() == before {
            for (name, missing) in [
                ("max_requests", max_requests.is_none()),
                ("window_seconds", window.is_none()),
                ("key", key.is_none()),
            ] {
                if missing {
                    self.problem(node.place, &format!("velocity.{name}"), "is missing");
                }
            }
        }
        Some(Velocity {
            max_requests: max_requests?,
            window: Elapsed::from_secs(window?),
            key: key?,
        })
    }

    fn positive(&mut self, node: &Node, field: &str, most: i64) -> Option<i64> {
        let number = self.count(node, field, most)?;
        if number == 0 {
            self.problem(node.place, field, "must be at least 1");
            return None;
        }
        Some(number)
    }

    fn velocity_key(&mut self, node: &Node) -> Option<Vec<KeyPart>> {
        let text = self.text(node, "velocity.key")?;
        if text.is_empty() {
            return None;
        }
        let mut parts = Vec::new();
        for name in text.split(':').map(str::trim) {
            match KeyPart::parse(name) {
                Some(part) => parts.push(part),
                None => {
                    let names = KeyPart::NAMES.join(", ");
                    self.name_problem(
                        node.place,
                        "velocity.key",
                        format!("`{name}` is not one of {names}, labels.<name>"),
                        nearest(name, KeyPart::NAMES),
                    );
                    return None;
                }
            }
        }
        Some(parts)
    }

    pub(super) fn tier(&mut self, node: &Node) -> Option<Tier> {
        let text = self.text(node, "tier")?;
        match text.to_lowercase().as_str() {
            "" => None,
            "global" => Some(Tier::Global),
            "workflow" => Some(Tier::Workflow),
            "job" => Some(Tier::Job),
            other => {
                self.name_problem(
                    node.place,
                    "tier",
                    format!("`{text}` is not one of global, workflow, job"),
                    nearest(other, TIERS),
                );
                None
            }
        }
    }

    pub(super) fn selector(&mut self, node: &Node) -> Selector {
        let mut selector = Selector::default();
        for entry in self.entries(node, "selector", SELECTOR, &[]) {
            let text = self.text(&entry.node, &format!("selector.{}", entry.key));
            let text = text.unwrap_or_default();
            match entry.key.as_str() {
                "workflow_id" => selector.workflow_id = text,
                "job_id" => selector.job_id = text,
                "session_id" => selector.session_id = text,
                _ => {}
            }
        }
        selector
    }

    /// What a tier asks of a request: all that its selector names. A tier that does not
    /// say of what it is is a problem, and so is an `own` selector without a tier to
    /// narrow, which would be obeyed by nobody.
    pub(super) fn scope(&mut self, place: Place, scope: &Scope, own: &Selector) -> Match {
        let Selector {
            workflow_id,
            job_id,
            session_id,
        } = scope.selector.clone();
        let tier = scope.tier.unwrap_or_default();
        let lacks = match tier {
            Tier::Global if *own == Selector::default() => return Match::default(),
            Tier::Global => {
                "narrows nothing, for the tier is global: say `tier: workflow` or `tier: job`"
            }
            Tier::Workflow if workflow_id.is_empty() => {
                "must name a workflow_id, for the tier is workflow"
            }
            Tier::Job if job_id.is_empty() && session_id.is_empty() => {
                "must name a job_id or a session_id, for the tier is job"
            }
            Tier::Workflow | Tier::Job => "",
        };
        if !lacks.is_empty() {
            self.problem(place, "selector", lacks);
            return Match::default();
        }
        let named = [
            (!workflow_id.is_empty()).then_some(Condition::Workflow(workflow_id)),
            (!job_id.is_empty()).then_some(Condition::Job(job_id)),
            (!session_id.is_empty()).then_some(Condition::Session(session_id)),
        ];
        Match {
            conditions: named.into_iter().flatten().collect(),
        }
    }
}

/// An empty list asks nothing, as if the field were not there.
fn asks_nothing(condition: &Condition) -> bool {
    match condition {
        Condition::Tenants(words)
        | Condition::Capabilities(words)
        | Condition::RiskTags(words)
        | Condition::Requires(words)
        | Condition::PackIds(words)
        | Condition::ActorIds(words)
        | Condition::ActorTypes(words) => words.is_empty(),
        Condition::Topics(globs) => globs.is_empty(),
        Condition::LabelOutside(lists) => lists.is_empty(),
        Condition::LabelAbove(thresholds) => thresholds.is_empty(),
        Condition::Mcp(lists) | Condition::McpRefused(lists) => lists.is_empty(),
        Condition::Label { .. }
        | Condition::SecretsPresent(_)
        | Condition::Workflow(_)
        | Condition::Job(_)
        | Condition::Session(_) => false,
    }
}

/// The order in which conditions are looked at and told, whatever that of the file.
fn rank(condition: &Condition) -> usize {
    let field = condition.field();
    let name = field.split('.').next().unwrap_or_default();
    MATCH
        .iter()
        .position(|known| *known == name)
        .unwrap_or(MATCH.len())
}
