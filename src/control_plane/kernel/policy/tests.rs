use proptest::prelude::*;

use super::*;

fn refused(text: &str) -> String {
    match Policy::parse(text.as_bytes()) {
        Ok(policy) => format!("accepted: {policy:?}"),
        Err(error) => error.to_string(),
    }
}

/// One rule around a fragment that starts at line 5, column 5.
fn in_rule(fragment: &str) -> String {
    refused(&format!(
        "version: v1\nrules:\n  - id: r1\n    decision: deny\n    {fragment}\n"
    ))
}

#[test]
fn the_first_policy_is_read_word_for_word() {
    let text = include_bytes!("../../../../demo/first-policy.yaml");
    let policy = Policy::parse(text).expect("a policy");
    assert_eq!(policy.version, "v1");
    assert_eq!(
        policy.snapshot,
        "v1:1313dcb14725077a7357a2d6b02f4de0e8acd83b468851bc32fe8143d7a55ac7"
    );
    assert_eq!(policy.default_decision, Decision::Deny);
    assert_eq!(policy.default_tenant, "default");
    assert_eq!(policy.warnings, []);
    let lines: Vec<String> = policy
        .rules
        .iter()
        .map(|rule| format!("{} {} {}", rule.place.line, rule.id, rule.decision.name()))
        .collect();
    assert_eq!(
        lines,
        [
            "3 allow-read-path ALLOW",
            "9 approval-prod-write REQUIRE_APPROVAL",
            "16 deny-destructive DENY",
            "22 constrain-heavy-jobs ALLOW_WITH_CONSTRAINTS",
        ]
    );
    let budgets = policy.rules[3]
        .constraints
        .as_ref()
        .and_then(|constraints| constraints.budgets.as_ref())
        .expect("budgets");
    assert_eq!(budgets.max_runtime_ms, Some(120_000));
    assert_eq!(budgets.max_retries, Some(1));
}

#[test]
fn every_spelling_of_a_decision_is_read() {
    for (spelling, expected) in [
        ("allow", "ALLOW"),
        ("Permit", "ALLOW"),
        ("DENY", "DENY"),
        ("block", "DENY"),
        ("require_approval", "REQUIRE_APPROVAL"),
        ("Require-Approval", "REQUIRE_APPROVAL"),
        ("require_human", "REQUIRE_APPROVAL"),
        ("throttle", "THROTTLE"),
        ("allow_with_constraints", "ALLOW_WITH_CONSTRAINTS"),
        ("allow-with-constraints", "ALLOW_WITH_CONSTRAINTS"),
        (
            "allow\n    constraints: {redaction_level: strict}",
            "ALLOW_WITH_CONSTRAINTS",
        ),
    ] {
        let text = format!("rules:\n  - id: r\n    decision: {spelling}\n");
        let policy = Policy::parse(text.as_bytes()).expect(spelling);
        assert_eq!(policy.rules[0].decision.name(), expected, "{spelling}");
    }
}

#[test]
fn both_forms_of_the_limits_are_read_and_may_not_contradict() {
    let budgets = |constraints: &str| {
        let text =
            format!("rules:\n  - id: r\n    decision: allow\n    constraints: {constraints}\n");
        match Policy::parse(text.as_bytes()) {
            Ok(mut policy) => format!(
                "{:?}",
                policy.rules.remove(0).constraints.and_then(|c| c.budgets)
            ),
            Err(error) => error.to_string(),
        }
    };
    let both = "Some(BudgetConstraints { max_runtime_ms: Some(60000), max_retries: Some(0), \
                max_artifact_bytes: None, max_concurrent_jobs: None })";
    assert_eq!(budgets("{max_runtime_sec: 60, max_retries: 0}"), both);
    assert_eq!(
        budgets("{budgets: {max_runtime_ms: 60000, max_retries: 0}}"),
        both
    );
    assert_eq!(
        budgets("{max_runtime_sec: 60, budgets: {max_runtime_ms: 60000, max_retries: 0}}"),
        both
    );
    assert_eq!(
        budgets("{max_retries: 1, budgets: {max_retries: 2}}"),
        "line 4, column 45: rule `r`: constraints max_retries contradicts max_retries, the \
         other form of the same limit"
    );
    assert_eq!(budgets("{budgets: {max_runtime_ms: 0}}"), "None");
}

#[test]
fn what_is_wrong_is_told_with_its_place_its_rule_and_the_nearest_name() {
    for (fragment, expected) in [
        (
            "matches: {}",
            "line 5, column 5: rule `r1`: matches is not a field of a policy; did you mean `match`?",
        ),
        (
            "match: {topic: [a]}",
            "line 5, column 13: rule `r1`: match.topic is not a field of a policy; did you mean `topics`?",
        ),
        (
            "match: {topics: job.a}",
            "line 5, column 21: rule `r1`: match.topics must be a list, not text",
        ),
        (
            "match: [a]",
            "line 5, column 12: rule `r1`: match must be a mapping of fields, not a list",
        ),
        (
            "match: {topics: ['']}",
            "line 5, column 22: rule `r1`: match.topics has an empty entry",
        ),
        (
            "match: {labels: {env: [a]}}",
            "line 5, column 27: rule `r1`: match.labels.env must be text, not a list",
        ),
        (
            "match: {actor_types: [humans]}",
            "line 5, column 27: rule `r1`: match.actor_types `humans` is not one of human, service; did you mean `human`?",
        ),
        (
            "match: {mcp: {allow_server: [jira]}}",
            "line 5, column 19: rule `r1`: match.mcp.allow_server is not a field of a policy; did you mean `allow_servers`?",
        ),
        (
            "match: {mcp: [jira]}",
            "line 5, column 18: rule `r1`: match.mcp must be a mapping of fields, not a list",
        ),
        (
            "match: {secrets_present: maybe}",
            "line 5, column 30: rule `r1`: match.secrets_present must be true or false, not text",
        ),
        (
            "match: {label_allowlist: {env: prod}}",
            "line 5, column 36: rule `r1`: match.label_allowlist.env must be a list, not text",
        ),
        (
            "match: {label_allowlist: {env: }}",
            "line 5, column 31: rule `r1`: match.label_allowlist.env must be a list, not nothing",
        ),
        (
            "match: {label_allowlist: [env]}",
            "line 5, column 30: rule `r1`: match.label_allowlist must be a mapping of labels to lists of values, not a list",
        ),
        (
            "match: {label_threshold: {amount: a lot}}",
            "line 5, column 39: rule `r1`: match.label_threshold.amount must be a finite number, not text",
        ),
        (
            "match: {label_threshold: {amount: .inf}}",
            "line 5, column 39: this is not YAML: value `.inf` is not a finite number",
        ),
        (
            "match: {predicate: delegated}",
            "line 5, column 13: rule `r1`: match.predicate cannot be decided from a request by this kernel; a rule that would be half obeyed is refused",
        ),
        (
            "match: {delegation: {max_depth: 1}}",
            "line 5, column 13: rule `r1`: match.delegation cannot be decided from a request by this kernel; a rule that would be half obeyed is refused",
        ),
        (
            "match: {agent_risk_tiers: [high]}",
            "line 5, column 13: rule `r1`: match.agent_risk_tiers cannot be decided from a request by this kernel; a rule that would be half obeyed is refused",
        ),
        (
            "match: {agent_data_classifications: [pii]}",
            "line 5, column 13: rule `r1`: match.agent_data_classifications cannot be decided from a request by this kernel; a rule that would be half obeyed is refused",
        ),
        (
            "velocity: {max_requests: 1, window_seconds: 1}",
            "line 5, column 15: rule `r1`: velocity.key is missing",
        ),
        (
            "velocity: {max_requests: 0, window_seconds: 1, key: tenant}",
            "line 5, column 30: rule `r1`: velocity.max_requests must be at least 1",
        ),
        (
            "velocity: {max_requests: 1, window_seconds: 86401, key: tenant}",
            "line 5, column 49: rule `r1`: velocity.window_seconds must be at most 86400",
        ),
        (
            "velocity: {max_requests: 1, window_seconds: 1, key: 'tenant:topics'}",
            "line 5, column 57: rule `r1`: velocity.key `topics` is not one of tenant, topic, actor_id, actor_type, pack_id, capability, labels.<name>; did you mean `topic`?",
        ),
        (
            "velocity: {max_requests: 1, window_seconds: 1, key: labels.}",
            "line 5, column 57: rule `r1`: velocity.key `labels.` is not one of tenant, topic, actor_id, actor_type, pack_id, capability, labels.<name>",
        ),
        (
            "velocity: {max_request: 1, window_seconds: 1, key: tenant}",
            "line 5, column 16: rule `r1`: velocity.max_request is not a field of a policy; did you mean `max_requests`?",
        ),
        (
            "tier: job",
            "line 3, column 5: rule `r1`: selector must name a job_id or a session_id, for the tier is job",
        ),
        (
            "tier: workflow",
            "line 3, column 5: rule `r1`: selector must name a workflow_id, for the tier is workflow",
        ),
        (
            "selector: {workflow_id: w}",
            "line 3, column 5: rule `r1`: selector narrows nothing, for the tier is global: say `tier: workflow` or `tier: job`",
        ),
        (
            "tier: workflows",
            "line 5, column 11: rule `r1`: tier `workflows` is not one of global, workflow, job; did you mean `workflow`?",
        ),
        (
            "selector: {workflow: w}",
            "line 5, column 16: rule `r1`: selector.workflow is not a field of a policy; did you mean `workflow_id`?",
        ),
        (
            "constraints: {max_retries: -1}",
            "line 5, column 32: rule `r1`: constraints.max_retries must not be negative",
        ),
        (
            "constraints: {max_runtime_sec: 1.5}",
            "line 5, column 36: rule `r1`: constraints.max_runtime_sec must be a whole number",
        ),
        (
            "constraints: {max_runtime_sec: 9999999999999999}",
            "line 5, column 36: rule `r1`: constraints.max_runtime_sec must be at most 9223372036854775",
        ),
        (
            "constraints: {max_runtime_secs: 1}",
            "line 5, column 19: rule `r1`: constraints.max_runtime_secs is not a field of a policy; did you mean `max_runtime_sec`?",
        ),
        (
            "constraints: {sandbox: {isolated: maybe}}",
            "line 5, column 39: rule `r1`: constraints.sandbox.isolated must be true or false, not text",
        ),
        (
            "remediations: [{title: x}]",
            "line 5, column 20: rule `r1`: remediations.id is missing",
        ),
        (
            "remediations: [{id: a}, {id: a}]",
            "line 5, column 29: rule `r1`: remediations.id `a` is there twice",
        ),
    ] {
        assert_eq!(in_rule(fragment), expected, "{fragment}");
    }
}

#[test]
fn what_is_wrong_with_the_whole_file_is_told_too() {
    for (text, expected) in [
        ("", "line 1, column 1: the file holds no policy"),
        (
            "- a",
            "line 1, column 1: must be a mapping of fields, not a list",
        ),
        (
            "rules: [{id: a, decision: permits}]",
            "line 1, column 27: rule `a`: decision `permits` is not one of allow, deny, \
             require_approval, throttle, allow_with_constraints; did you mean `permit`?",
        ),
        (
            "rules: [{decision: deny}]",
            "line 1, column 9: rule `number 1`: id is missing",
        ),
        (
            "rules: [{id: '', decision: deny}]",
            "line 1, column 9: rule `number 1`: id is empty",
        ),
        (
            "rules: [{id: a}]",
            "line 1, column 9: rule `a`: decision is missing",
        ),
        (
            "rules: [{id: a, decision: }]",
            "line 1, column 25: rule `a`: decision is missing",
        ),
        (
            "rules: [nonsense]",
            "line 1, column 9: rule `number 1`: must be a mapping of fields, not text",
        ),
        (
            "rules:\n- {id: a, decision: deny}\n- {id: a, decision: allow}",
            "line 3, column 3: rule `a`: id is already that of the rule at line 2",
        ),
        (
            "default_decision: throttle\n",
            "line 1, column 19: default_decision `throttle` is not one of allow, deny",
        ),
        (
            "default_decision: denny\n",
            "line 1, column 19: default_decision `denny` is not one of allow, deny; did you mean `deny`?",
        ),
        (
            "rule: []",
            "line 1, column 1: rule is not a field of a policy; did you mean `rules`?",
        ),
        (
            "tenants: {acme: {deny_topic: [job.x]}}",
            "line 1, column 18: tenants.acme.deny_topic is not a field of a policy; did you mean `deny_topics`?",
        ),
        (
            "tenants: {acme: {}, ACME: {}}",
            "line 1, column 21: tenants.ACME is there twice: tenants are compared without regard to letter case",
        ),
        (
            "tenants: {acme: {allowed_repo_hosts: [github.com]}}",
            "line 1, column 18: tenants.acme.allowed_repo_hosts cannot be decided from a request by this kernel; a rule that would be half obeyed is refused",
        ),
        (
            "tenants: {acme: {denied_repo_hosts: [github.com]}}",
            "line 1, column 18: tenants.acme.denied_repo_hosts cannot be decided from a request by this kernel; a rule that would be half obeyed is refused",
        ),
        (
            "tenants: {acme: {max_concurrent_jobs: many}}",
            "line 1, column 39: tenants.acme.max_concurrent_jobs must be a whole number, not text",
        ),
        (
            "tenants: [acme]",
            "line 1, column 10: tenants must be a mapping of tenants, not a list",
        ),
        (
            "rules: [{id: 'tenant:a:mcp', decision: allow}]\ntenants: {a: {mcp: {deny_tools: [x]}}}",
            "line 1, column 9: rule `tenant:a:mcp`: id is that of the rule made of the tenant's mcp lists at line 2",
        ),
        (
            "tier: workflow\nrules: [{id: a, decision: deny}]",
            "line 1, column 1: selector must name a workflow_id, for the tier is workflow\n  line 2, column 9: rule `a`: selector must name a workflow_id, for the tier is workflow",
        ),
        (
            "selector: {job_id: j}\nrules: [{id: a, decision: deny}]",
            "line 1, column 1: selector narrows nothing, for the tier is global: say `tier: workflow` or `tier: job`",
        ),
        (
            "input_rules: [{id: a}]\noutput_policy: {enabled: true}",
            "line 1, column 1: input_rules cannot be decided from a request by this kernel; a rule that would be half obeyed is refused\n  line 2, column 1: output_policy cannot be decided from a request by this kernel; a rule that would be half obeyed is refused",
        ),
        (
            "input_policy: {enabled: true}\noutput_rules: [{id: a}]",
            "line 1, column 1: input_policy cannot be decided from a request by this kernel; a rule that would be half obeyed is refused\n  line 2, column 1: output_rules cannot be decided from a request by this kernel; a rule that would be half obeyed is refused",
        ),
        (
            "require_human: [job.x]",
            "line 1, column 1: require_human cannot be decided from a request by this kernel; a rule that would be half obeyed is refused",
        ),
        (
            "rules: [a: b: c",
            "line 1, column 13: this is not YAML: while parsing a flow mapping, did not find expected ',' or '}'",
        ),
    ] {
        assert_eq!(refused(text), expected, "{text}");
    }
    let long = format!("# {}\n", "x".repeat(MAX_POLICY_BYTES));
    assert!(refused(&long).contains("at most 2097152 are read"));
    let binary = Policy::parse(b"version: v1\nrules: \xff\n").expect_err("not text");
    assert_eq!(
        binary.to_string(),
        "line 2, column 1: this line is not UTF-8 text"
    );
}

#[test]
fn fields_of_other_kernels_pass_when_they_say_nothing() {
    let text = "tier: global\ntenants: {}\ninput_rules: []\nrules:\n  - id: a\n    decision: deny\n    \
                match: {mcp: {}, predicate: '', topics: [], label_threshold: {}}\n    velocity:\n";
    assert!(Policy::parse(text.as_bytes()).is_ok());
}

#[test]
fn a_rule_that_allows_what_comes_too_fast_is_a_warning() {
    let text = "tenants: {a: {allow_topics: [job.x]}}\nrules:\n  - id: a\n    decision: permit\n    \
                velocity: {max_requests: 1, window_seconds: 1, key: tenant}\n";
    let policy = Policy::parse(text.as_bytes()).expect("a policy");
    let warnings: Vec<String> = policy.warnings.iter().map(Problem::to_string).collect();
    assert_eq!(
        warnings,
        [
            "line 1, column 30: the topic lists of tenants are not used, because the file has rules",
            "line 3, column 5: rule `a`: allows what comes too fast: a velocity makes a rule fire only then",
        ]
    );
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let text = "rules:\n  - id: a\n    decision: deny\n    match: {topics: ['job.>', 'job.[']}\n  \
                - id: b\n    decision: allow_with_constraints\n  - id: c\n    decision: deny\n";
    let policy = Policy::parse(text.as_bytes()).expect("a policy");
    let warnings: Vec<String> = policy.warnings.iter().map(Problem::to_string).collect();
    assert_eq!(
        warnings,
        [
            "line 4, column 22: rule `a`: topic pattern `job.>`: `>` is an ordinary character here; `*` crosses dots",
            "line 4, column 31: rule `a`: topic pattern `job.[` matches nothing: it has a `[` that is never closed",
            "line 5, column 5: rule `b`: allows with constraints but gives none",
        ]
    );
}

#[test]
fn a_limit_of_nothing_is_a_warning_but_for_retries() {
    let text = "tenants: {a: {max_concurrent_jobs: 0}}\nrules:\n  - id: a\n    decision: allow\n    \
                constraints: {max_runtime_sec: 0, max_retries: 0, \
                budgets: {max_artifact_bytes: 0, max_concurrent_jobs: 0}, diff: {max_files: 0}}\n";
    let policy = Policy::parse(text.as_bytes()).expect("a policy");
    let warnings: Vec<String> = policy.warnings.iter().map(Problem::to_string).collect();
    assert_eq!(
        warnings,
        [
            "line 1, column 36: tenants.a.max_concurrent_jobs is 0, which is no limit",
            "line 5, column 36: rule `a`: constraints.max_runtime_sec is 0, which is no limit",
            "line 5, column 85: rule `a`: constraints.budgets.max_artifact_bytes is 0, which is no limit",
            "line 5, column 109: rule `a`: constraints.budgets.max_concurrent_jobs is 0, which is no limit",
            "line 5, column 131: rule `a`: constraints.diff.max_files is 0, which is no limit",
        ]
    );
}

#[test]
fn at_most_twenty_problems_are_told_at_once() {
    let text: String = (0..100).map(|n| format!("k{n}: 1\n")).collect();
    let error = Policy::parse(text.as_bytes()).expect_err("not a policy");
    assert_eq!(error.problems.len(), MAX_PROBLEMS);
}

/// Lines of policies, broken in every way that a slip of the hand breaks them.
fn line() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "rules",
        "version",
        "tenants",
        "tier",
        "selector",
        "match",
        "velocity",
        "decision",
        "id",
        "mcp",
        "labels",
        "topics",
        "label_allowlist",
        "label_threshold",
        "constraints",
        "budgets",
        "window_seconds",
        "key",
        "default_decision",
        "workflow_id",
        "x",
    ]);
    let value = prop::sample::select(vec![
        "",
        "[]",
        "{}",
        "[a, 'job.*']",
        "{a: [b]}",
        "{a: 1.5}",
        "deny",
        "allow",
        "-1",
        "1e400",
        "~",
        "'",
        "&a",
        "*a",
        "!!x y",
        "|",
        "job",
        "true",
        "{<<: {}}",
        "{a: &b c, d: *b}",
    ]);
    (0_usize..4, any::<bool>(), key, value).prop_map(|(indent, item, key, value)| {
        let dash = if item { "- " } else { "" };
        format!("{}{dash}{key}: {value}\n", "  ".repeat(indent))
    })
}

proptest! {
    #[test]
    fn every_text_is_a_policy_or_says_where_it_is_none(
        lines in prop::collection::vec(line(), 0..12),
        noise in prop::option::of("\\PC{0,20}"),
    ) {
        let text = lines.concat() + noise.as_deref().unwrap_or_default();
        match Policy::parse(text.as_bytes()) {
            Ok(policy) => prop_assert!(policy.snapshot.ends_with(&sha256_hex(text.as_bytes()))),
            Err(error) => {
                prop_assert!(!error.problems.is_empty());
                for problem in &error.problems {
                    prop_assert!(!problem.says.is_empty(), "{text}");
                    let last = text.lines().count() as u64 + 1;
                    prop_assert!(problem.place.line <= last, "{problem} in\n{text}");
                }
            }
        }
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Err(error) = Policy::parse(&bytes) {
            prop_assert!(!error.problems.is_empty());
        }
    }
}
