//! A rule as a policy file could write it.
//!
//! What is listed decides as the rule in force does when it is put into a file: the
//! tier and the selector of the file are in each rule, aliases are the names that they
//! stand for. A rule made of what a tenant may call over MCP has no such form; what it
//! is made of stands under `source`.

use serde_json::{Map, Value, json};

use super::in_yaml;
use crate::control_plane::kernel::condition::{Condition, McpLists, McpPart};
use crate::control_plane::kernel::policy::Rule;

/// The fragment of policies that are one file, or built in.
const FRAGMENT: &str = "policy";

/// The rule with its tier, and where it comes from.
pub(super) fn written(rule: &Rule) -> Value {
    let mut tier = "global";
    let mut selector = Map::new();
    let mut matches = Map::new();
    let mut labels = Map::new();
    let mut source = Map::new();
    source.insert("fragment_id".to_owned(), json!(FRAGMENT));
    source.insert("line".to_owned(), json!(rule.place.line));
    for condition in &rule.matches.conditions {
        let value = match condition {
            Condition::Workflow(id) => {
                tier = "workflow";
                selector.insert("workflow_id".to_owned(), json!(id));
                continue;
            }
            Condition::Job(id) => {
                tier = "job";
                selector.insert("job_id".to_owned(), json!(id));
                continue;
            }
            Condition::Session(id) => {
                tier = "job";
                selector.insert("session_id".to_owned(), json!(id));
                continue;
            }
            Condition::Label { key, value } => {
                labels.insert(key.clone(), json!(value));
                continue;
            }
            Condition::McpRefused(lists) => {
                source.insert("mcp".to_owned(), mcp(lists));
                continue;
            }
            Condition::Tenants(words)
            | Condition::Capabilities(words)
            | Condition::RiskTags(words)
            | Condition::Requires(words)
            | Condition::PackIds(words)
            | Condition::ActorIds(words)
            | Condition::ActorTypes(words) => json!(words),
            Condition::Topics(globs) => globs.iter().map(|glob| glob.as_str()).collect(),
            Condition::LabelOutside(lists) => by_key(lists),
            Condition::LabelAbove(thresholds) => by_key(thresholds),
            Condition::SecretsPresent(wanted) => json!(wanted),
            Condition::Mcp(lists) => mcp(lists),
        };
        matches.insert(condition.field().into_owned(), value);
    }
    if !labels.is_empty() {
        matches.insert("labels".to_owned(), Value::Object(labels));
    }
    let mut item = json!({
        "id": rule.id,
        "tier": tier,
        "match": matches,
        "decision": in_yaml(rule.decision),
        "reason": rule.reason,
        "source": source,
    });
    if !selector.is_empty() {
        item["selector"] = Value::Object(selector);
    }
    if let Some(velocity) = &rule.velocity {
        let key: Vec<String> = velocity.key.iter().map(ToString::to_string).collect();
        item["velocity"] = json!({
            "max_requests": velocity.max_requests,
            "window_seconds": velocity.window.as_secs(),
            "key": key.join(":"),
        });
    }
    if let Some(constraints) = &rule.constraints {
        item["constraints"] = json!(constraints);
    }
    if !rule.remediations.is_empty() {
        item["remediations"] = json!(rule.remediations);
    }
    item
}

fn by_key<T: serde::Serialize>(pairs: &[(String, T)]) -> Value {
    let pairs = pairs.iter().map(|(key, value)| (key.clone(), json!(value)));
    Value::Object(pairs.collect())
}

fn mcp(lists: &McpLists) -> Value {
    let mut out = Map::new();
    for (part, list) in McpPart::ALL.iter().zip(&lists.parts) {
        for (verb, words) in [("allow", &list.allow), ("deny", &list.deny)] {
            if !words.is_empty() {
                out.insert(format!("{verb}_{}s", part.name()), json!(words));
            }
        }
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_plane::kernel::policy::{Place, Policy};

    const EVERYTHING: &str = "
version: v1
tier: workflow
selector: {workflow_id: wf-1}
rules:
  - id: all
    match:
      tenants: [acme, ' Big ']
      topics: ['job.*', 'job.[ab]?']
      capabilities: [c]
      risk_tags: [prod]
      requires: [gpu]
      pack_ids: [p]
      actor_ids: [ada]
      actor_types: [human]
      labels: {env: prod, 'mcp.action': write}
      label_allowlist: {region: [eu, us], any: []}
      label_threshold: {amount: 1000, ratio: 0.5}
      secrets_present: false
      mcp: {allow_servers: [jira], deny_actions: [delete]}
    velocity: {max_requests: 3, window_seconds: 60, key: 'tenant:labels.session_id'}
    decision: Require-Approval
    reason: 'why: \"because\"'
    constraints: {max_runtime_sec: 60, max_retries: 0, sandbox: {isolated: true, fs_read_only: [/x]}, toolchain: {allowed_tools: [t]}, diff: {max_files: 3, deny_path_globs: ['*.key']}, redaction_level: high}
    remediations: [{id: ro, title: Read, summary: s, replacement_topic: job.r, replacement_capability: r, add_labels: {a: b}, remove_labels: [env]}]
  - {id: one, tier: job, selector: {job_id: j1}, decision: permit, constraints: {budgets: {max_concurrent_jobs: 2, max_artifact_bytes: 9}}}
  - {id: session, tier: job, selector: {session_id: s1}, decision: block}
  - {id: anywhere, tier: global, decision: throttle}
";

    fn without_places(policy: Policy) -> Vec<Rule> {
        let rules = policy.rules.into_iter();
        rules
            .map(|rule| Rule {
                place: Place::default(),
                ..rule
            })
            .collect()
    }

    #[test]
    fn a_listed_rule_in_a_file_of_its_own_is_the_same_rule() {
        for text in [EVERYTHING, include_str!("../../../../demo/policy.yaml")] {
            let policy = Policy::parse(text.as_bytes()).expect("a policy");
            let items: Vec<Value> = policy
                .rules
                .iter()
                .map(|rule| {
                    let mut item = written(rule);
                    let fields = item.as_object_mut().expect("an object");
                    fields.remove("source").expect("it says where it is from");
                    item
                })
                .collect();
            // JSON is YAML.
            let listed = json!({ "rules": items }).to_string();
            let again = Policy::parse(listed.as_bytes()).expect("a policy");
            assert_eq!(without_places(again), without_places(policy));
        }
    }

    #[test]
    fn a_rule_made_of_a_tenants_lists_says_what_it_is_made_of() {
        let text = "version: v1\ntenants: {acme: {mcp: {deny_tools: [rm]}}}\nrules: []\n";
        let policy = Policy::parse(text.as_bytes()).expect("a policy");
        let item = written(&policy.rules[0]);
        assert_eq!(item["id"], "tenant:acme:mcp");
        assert_eq!(item["match"], json!({"tenants": ["acme"]}));
        assert_eq!(
            item["source"],
            json!({"fragment_id": "policy", "line": 2, "mcp": {"deny_tools": ["rm"]}})
        );
    }
}
