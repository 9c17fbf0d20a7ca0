//! What a rule asks of a request, one condition at a time.
//!
//! A rule matches when all its conditions hold, so deciding, explaining and
//! comparing rules are three readings of the same list: [`Condition::holds`]
//! decides, [`Condition::field`], [`Condition::wanted`] and [`Condition::seen`]
//! tell, and [`super::cover`] compares.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::Question;
use super::glob::Glob;
use crate::wire::packet::ActorType;

/// One thing that a rule asks. Words are kept without blanks around them and are
/// compared without regard to letter case; labels are compared exactly.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// The tenant is one of these.
    Tenants(Vec<String>),
    /// The topic fits one of these.
    Topics(Vec<Glob>),
    /// The capability is one of these.
    Capabilities(Vec<String>),
    /// One of the risk tags is one of these.
    RiskTags(Vec<String>),
    /// All of these are required by the request.
    Requires(Vec<String>),
    /// The pack is one of these.
    PackIds(Vec<String>),
    /// The actor, or the principal of a request without one, is one of these.
    ActorIds(Vec<String>),
    /// The actor is one of these: `human`, `service`.
    ActorTypes(Vec<String>),
    /// The label is there with this very value.
    Label {
        /// Its name.
        key: String,
        /// Its value.
        value: String,
    },
    /// One of these labels is there with a value that is not in its list.
    LabelOutside(Vec<(String, Vec<String>)>),
    /// One of these labels is a number above its threshold, which is finite.
    LabelAbove(Vec<(String, f64)>),
    /// Whether the request says that it carries secrets.
    SecretsPresent(bool),
    /// The request is no MCP call, or these lists allow the call.
    Mcp(McpLists),
    /// The request is an MCP call that these lists do not allow.
    McpRefused(McpLists),
    /// The request belongs to this workflow.
    Workflow(String),
    /// The request is this job.
    Job(String),
    /// The request belongs to this session.
    Session(String),
}

impl Condition {
    /// Whether a request satisfies it.
    pub fn holds(&self, facts: &Facts<'_>) -> bool {
        let question = facts.question;
        match self {
            Self::Tenants(words) => contains(words, facts.tenant),
            Self::Topics(globs) => globs.iter().any(|glob| glob.matches(&question.topic)),
            Self::Capabilities(words) => contains(words, &question.capability),
            Self::RiskTags(words) => question.risk_tags.iter().any(|tag| contains(words, tag)),
            Self::Requires(words) => words.iter().all(|word| has(&question.requires, word)),
            Self::PackIds(words) => contains(words, &question.pack_id),
            Self::ActorIds(words) => contains(words, facts.actor),
            Self::ActorTypes(words) => contains(words, &facts.actor_type),
            Self::Label { key, value } => question.labels.get(key) == Some(value),
            Self::LabelOutside(lists) => lists.iter().any(|(key, list)| {
                let value = question.labels.get(key);
                value.is_some_and(|value| !is_one_of(list, value))
            }),
            Self::LabelAbove(thresholds) => thresholds.iter().any(|(key, threshold)| {
                let value = question.labels.get(key);
                value.is_some_and(|value| is_above(value, *threshold))
            }),
            Self::SecretsPresent(wanted) => facts.secrets_present() == *wanted,
            Self::Mcp(lists) => lists.refusal(facts.mcp()).is_none(),
            Self::McpRefused(lists) => lists.refusal(facts.mcp()).is_some(),
            Self::Workflow(id) => facts.workflow() == id,
            Self::Job(id) => facts.job() == id,
            Self::Session(id) => facts.session() == id,
        }
    }

    /// The field of the rule, such as `topics` or `labels.env`.
    pub fn field(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Tenants(_) => "tenants",
            Self::Topics(_) => "topics",
            Self::Capabilities(_) => "capabilities",
            Self::RiskTags(_) => "risk_tags",
            Self::Requires(_) => "requires",
            Self::PackIds(_) => "pack_ids",
            Self::ActorIds(_) => "actor_ids",
            Self::ActorTypes(_) => "actor_types",
            Self::Label { key, .. } => return Cow::Owned(format!("labels.{key}")),
            Self::LabelOutside(_) => "label_allowlist",
            Self::LabelAbove(_) => "label_threshold",
            Self::SecretsPresent(_) => "secrets_present",
            Self::Mcp(_) | Self::McpRefused(_) => "mcp",
            Self::Workflow(_) => "selector.workflow_id",
            Self::Job(_) => "selector.job_id",
            Self::Session(_) => "selector.session_id",
        })
    }

    /// What it wants, in words.
    pub fn wanted(&self) -> String {
        match self {
            Self::Tenants(words)
            | Self::Capabilities(words)
            | Self::RiskTags(words)
            | Self::Requires(words)
            | Self::PackIds(words)
            | Self::ActorIds(words)
            | Self::ActorTypes(words) => words.join(", "),
            Self::Topics(globs) => joined(globs.iter().map(|glob| glob.as_str().to_owned())),
            Self::Label { value, .. } => value.clone(),
            Self::LabelOutside(lists) => joined(lists.iter().map(|(key, list)| {
                if list.is_empty() {
                    format!("{key} present")
                } else {
                    format!("{key} other than {}", list.join(" or "))
                }
            })),
            Self::LabelAbove(thresholds) => joined(
                thresholds
                    .iter()
                    .map(|(key, threshold)| format!("{key} above {threshold}")),
            ),
            Self::SecretsPresent(wanted) => wanted.to_string(),
            Self::Mcp(lists) => lists.to_string(),
            Self::McpRefused(lists) => format!("a call outside {lists}"),
            Self::Workflow(id) | Self::Job(id) | Self::Session(id) => id.clone(),
        }
    }

    /// What the request has of it; empty when it has nothing.
    pub fn seen(&self, facts: &Facts<'_>) -> String {
        let question = facts.question;
        let label = |key: &str| {
            let value = question.labels.get(key)?;
            Some(format!("{key} {value}"))
        };
        match self {
            Self::Tenants(_) => facts.tenant.to_owned(),
            Self::Topics(_) => question.topic.clone(),
            Self::Capabilities(_) => question.capability.clone(),
            Self::RiskTags(_) => question.risk_tags.join(", "),
            Self::Requires(_) => question.requires.join(", "),
            Self::PackIds(_) => question.pack_id.clone(),
            Self::ActorIds(_) => facts.actor.to_owned(),
            Self::ActorTypes(_) => facts.actor_type.to_string(),
            Self::Label { key, .. } => question.labels.get(key).cloned().unwrap_or_default(),
            Self::LabelOutside(lists) => joined(lists.iter().filter_map(|(key, _)| label(key))),
            Self::LabelAbove(list) => joined(list.iter().filter_map(|(key, _)| label(key))),
            Self::SecretsPresent(_) => facts.secrets_present().to_string(),
            Self::Mcp(_) | Self::McpRefused(_) => facts.mcp().to_string(),
            Self::Workflow(_) => facts.workflow().to_owned(),
            Self::Job(_) => facts.job().to_owned(),
            Self::Session(_) => facts.session().to_owned(),
        }
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// A question with the gaps filled in as the policy says. What only some rules
/// ask for is looked up when the first of them does.
#[derive(Debug)]
pub struct Facts<'a> {
    /// What was asked.
    pub question: &'a Question,
    /// The tenant of the request, else that of the policy; never empty.
    pub tenant: &'a str,
    /// The actor, else the principal.
    pub actor: &'a str,
    /// `human`, `service`, the number of a type that we do not know, or empty.
    pub actor_type: Cow<'static, str>,
    mcp: OnceCell<McpCall<'a>>,
}

/// Labels that name the workflow of a request which has no such field.
const WORKFLOW_LABELS: &[&str] = &[
    "workflow_id",
    "workflow.id",
    "workflow",
    "workflow_run_id",
    "workflow.run_id",
];
/// The label that puts a job under the policy of another.
const ATTACHED_TO: &str = "policy.attachment_id";
/// Labels that name the job of a request without an id.
const JOB_LABELS: &[&str] = &["job_id", "job.id", "edge.job_id"];
/// Labels that name the session.
const SESSION_LABELS: &[&str] = &["session_id", "edge.session_id"];
/// The label that says whether there are secrets.
pub(in crate::control_plane) const SECRETS_LABEL: &str = "secrets_present";
/// The risk tag that says so where the label does not speak.
pub(in crate::control_plane) const SECRETS_TAG: &str = "secrets";

impl<'a> Facts<'a> {
    /// The facts of `question`, where `default_tenant` stands in for a tenant that
    /// is not named.
    pub fn of(question: &'a Question, default_tenant: &'a str) -> Self {
        Self {
            question,
            tenant: first_word([question.tenant.as_str(), default_tenant]),
            actor: first_word([question.actor_id.as_str(), &question.principal_id]),
            actor_type: match question.actor_type {
                ActorType::Unspecified => Cow::Borrowed(""),
                ActorType::Human => Cow::Borrowed("human"),
                ActorType::Service => Cow::Borrowed("service"),
                ActorType::Unknown(number) => Cow::Owned(number.to_string()),
            },
            mcp: OnceCell::new(),
        }
    }

    /// The MCP call that the labels describe.
    pub fn mcp(&self) -> &McpCall<'a> {
        self.mcp.get_or_init(|| McpCall::of(&self.question.labels))
    }

    /// Whether the label `secrets_present`, or without it the risk tag `secrets`,
    /// says that the request carries secrets.
    pub fn secrets_present(&self) -> bool {
        let label = label_of(&self.question.labels, &[SECRETS_LABEL]);
        match says_yes(label) {
            Some(yes) => yes,
            None => has(&self.question.risk_tags, SECRETS_TAG),
        }
    }

    fn workflow(&self) -> &'a str {
        let labels = label_of(&self.question.labels, WORKFLOW_LABELS);
        first_word([self.question.workflow_id.as_str(), labels])
    }

    fn job(&self) -> &'a str {
        let labels = &self.question.labels;
        first_word([
            label_of(labels, &[ATTACHED_TO]),
            self.question.job_id.as_str(),
            label_of(labels, JOB_LABELS),
        ])
    }

    fn session(&self) -> &'a str {
        label_of(&self.question.labels, SESSION_LABELS)
    }
}

/// What the label [`SECRETS_LABEL`] says; `None` when it is not there or blank.
pub(super) fn says_yes(label: &str) -> Option<bool> {
    match label.trim() {
        "" => None,
        label => {
            let yes = ["true", "yes", "1"];
            Some(yes.iter().any(|yes| label.eq_ignore_ascii_case(yes)))
        }
    }
}

/// The first that is not blank, without the blanks around it; else empty.
fn first_word<'a>(words: impl IntoIterator<Item = &'a str>) -> &'a str {
    words
        .into_iter()
        .map(str::trim)
        .find(|word| !word.is_empty())
        .unwrap_or("")
}

/// The first of these labels that is not blank; else empty.
fn label_of<'a>(labels: &'a BTreeMap<String, String>, names: &[&str]) -> &'a str {
    first_word(
        names
            .iter()
            .filter_map(|name| labels.get(*name))
            .map(String::as_str),
    )
}

/// What an MCP call is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum McpPart {
    /// The server.
    Server,
    /// The tool.
    Tool,
    /// The resource.
    Resource,
    /// The action: read, write, delete and so on.
    Action,
}

impl McpPart {
    /// All parts, in the order in which they are looked at.
    pub const ALL: [Self; 4] = [Self::Server, Self::Tool, Self::Resource, Self::Action];

    /// The part in a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Tool => "tool",
            Self::Resource => "resource",
            Self::Action => "action",
        }
    }

    /// The labels that carry it, the first that is not blank counts.
    pub fn labels(self) -> [&'static str; 3] {
        match self {
            Self::Server => ["mcp.server", "mcp_server", "mcpServer"],
            Self::Tool => ["mcp.tool", "mcp_tool", "mcpTool"],
            Self::Resource => ["mcp.resource", "mcp_resource", "mcpResource"],
            Self::Action => ["mcp.action", "mcp_action", "mcpAction"],
        }
    }
}

/// An MCP call as the labels of a request describe it. Without any of the labels
/// the request is no MCP call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct McpCall<'a> {
    /// By [`McpPart`]; empty where the labels are silent.
    parts: [&'a str; 4],
}

impl<'a> McpCall<'a> {
    fn of(labels: &'a BTreeMap<String, String>) -> Self {
        Self {
            parts: McpPart::ALL.map(|part| label_of(labels, &part.labels())),
        }
    }

    fn is_one(&self) -> bool {
        self.parts.iter().any(|part| !part.is_empty())
    }
}

impl std::fmt::Display for McpCall<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said = McpPart::ALL.iter().zip(self.parts);
        let said = said.filter(|(_, value)| !value.is_empty());
        f.write_str(&joined(
            said.map(|(part, value)| format!("{} {value}", part.name())),
        ))
    }
}

/// What MCP calls may be, by part.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct McpLists {
    /// By [`McpPart`], in the order of [`McpPart::ALL`].
    pub parts: [McpList; 4],
}

/// What one part of an MCP call may be. What is denied is refused; where anything
/// is allowed, the rest is refused, a part that the call does not name included.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct McpList {
    /// Alone allowed; empty allows all.
    pub allow: Vec<String>,
    /// Refused.
    pub deny: Vec<String>,
}

impl McpList {
    /// Whether this value may be.
    pub(super) fn allows(&self, value: &str) -> bool {
        !contains(&self.deny, value) && (self.allow.is_empty() || contains(&self.allow, value))
    }
}

impl McpLists {
    /// Whether they say nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The first part that is refused; `None` for what is no MCP call.
    pub fn refusal(&self, call: &McpCall<'_>) -> Option<McpPart> {
        if !call.is_one() {
            return None;
        }
        let mut all = McpPart::ALL.iter().zip(&self.parts).zip(call.parts);
        all.find(|((_, list), value)| !list.allows(value))
            .map(|((part, _), _)| *part)
    }
}

impl std::fmt::Display for McpLists {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut said = Vec::new();
        for (part, list) in McpPart::ALL.iter().zip(&self.parts) {
            for (verb, words) in [("allow", &list.allow), ("deny", &list.deny)] {
                if !words.is_empty() {
                    said.push(format!("{verb}_{}s {}", part.name(), words.join(" ")));
                }
            }
        }
        f.write_str(&said.join(", "))
    }
}

/// Whether the value is one of the words of a rule; nothing is never one of them.
pub(super) fn contains(words: &[String], value: &str) -> bool {
    let value = value.trim();
    !value.is_empty() && words.iter().any(|word| same_word(word, value))
}

/// Whether the value is one of the words of a rule, which may be that nothing is.
pub(super) fn is_one_of(words: &[String], value: &str) -> bool {
    let value = value.trim();
    words.iter().any(|word| same_word(word, value))
}

/// Whether one of the values of a request is the word of a rule.
fn has(values: &[String], word: &str) -> bool {
    values.iter().any(|value| same_word(value.trim(), word))
}

/// Whether it is a number above the threshold. What is no number is not above it.
pub(super) fn is_above(value: &str, threshold: f64) -> bool {
    matches!(value.trim().parse::<f64>(), Ok(number) if number > threshold)
}

/// Equal, letter case aside.
pub(super) fn same_word(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
        || (!(a.is_ascii() && b.is_ascii()) && a.to_lowercase() == b.to_lowercase())
}
