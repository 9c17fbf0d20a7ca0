//! `capdeck policy`: the real binary on good, bad and missing files.

use std::path::Path;
use std::process::Command;

mod diff;

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn capdeck(args: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_capdeck"))
        .args(args)
        .env("RUST_BACKTRACE", "0")
        .env_remove("SAFETY_POLICY_PUBLIC_KEY")
        .output()
        .unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn in_repository(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join(path).to_str().unwrap().to_owned()
}

fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_good_policy_is_summed_up_in_one_paragraph() {
    for (name, expected) in [
        (
            "demo/first-policy.yaml",
            "is good: 4 rules (1 ALLOW, 1 ALLOW_WITH_CONSTRAINTS, 1 REQUIRE_APPROVAL, 1 DENY); \
             what no rule matches is denied.",
        ),
        ("demo/policy.yaml", "is good: 14 rules"),
    ] {
        let ran = capdeck(&["policy", "check", &in_repository(name)]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(ran.stdout.contains(expected), "{}", ran.stdout);
        assert_eq!(ran.stdout.lines().count(), 1);
        assert_eq!(ran.stderr, "");
    }
}

#[test]
fn a_bad_policy_is_told_problem_by_problem_and_ends_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let bad = file(
        &dir,
        "bad.yaml",
        "rules:\n  - id: r1\n    decision: permits\n  - id: \"r\\x1b[31m2\"\n    decision: deny\n    velocity: {max_requests: 1}\n",
    );
    let ran = capdeck(&["policy", "check", &bad]);
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.stdout, "");
    assert!(
        ran.stderr.contains(
            "is not a policy: line 3, column 15: rule `r1`: decision `permits` is not one of \
             allow, deny, require_approval, throttle, allow_with_constraints; did you mean \
             `permit`?"
        ),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("velocity.window_seconds is missing"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains('\x1b'), "{:?}", ran.stderr);
}

#[test]
fn a_policy_that_cannot_be_read_is_a_mistake_of_the_call() {
    let ran = capdeck(&["policy", "check", "/nonexistent/policy.yaml"]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr
            .starts_with("error: cannot read the policy file `/nonexistent/policy.yaml`: "),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_is_odd_but_allowed_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let odd = file(
        &dir,
        "odd.yaml",
        "rules: [{id: a, decision: deny, match: {topics: ['job.>']}}]\n",
    );
    let ran = capdeck(&["policy", "check", &odd]);
    assert_eq!(ran.code, Some(0));
    assert!(ran.stderr.starts_with("warning: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("`*` crosses dots"), "{}", ran.stderr);
}

#[test]
fn a_rule_that_never_decides_is_a_warning_and_with_strict_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let hidden = file(
        &dir,
        "hidden.yaml",
        "rules:\n  - {id: wide, decision: allow, match: {topics: ['job.*']}}\n  \
         - {id: narrow, decision: deny, match: {topics: ['job.ops.*'], risk_tags: [prod]}}\n",
    );
    let ran = capdeck(&["policy", "check", &hidden]);
    assert_eq!(ran.code, Some(0));
    assert_eq!(
        ran.stderr,
        format!(
            "warning: {hidden}: line 3, column 5: rule `narrow`: match is never reached: rule \
             `wide` at line 2 matches all that it matches\n"
        )
    );
    let ran = capdeck(&["policy", "check", "--strict", &hidden]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stderr.contains("is good, but has 1 warning"),
        "{}",
        ran.stderr
    );
    let good = in_repository("demo/policy.yaml");
    assert_eq!(
        capdeck(&["policy", "check", "--strict", &good]).code,
        Some(0)
    );
}

#[test]
fn a_job_is_explained_rule_by_rule_in_each_of_its_three_forms() {
    let dir = tempfile::tempdir().unwrap();
    let policy = in_repository("demo/first-policy.yaml");
    let forms = [
        r#"{"topic":"job.mcp-bridge.write.update_ticket","tenant_id":"default","risk_tags":["prod"],"labels":{"mcp.action":"write"}}"#,
        r#"{"jobId":"j","topic":"job.mcp-bridge.write.update_ticket","tenantId":"default","labels":{"mcp.action":"write"},"meta":{"riskTags":["prod"]}}"#,
        r#"{"trace_id":"t","sender_id":"s","protocol_version":1,"job_request":{"job_id":"j","topic":"job.mcp-bridge.write.update_ticket","tenant_id":"default","labels":{"mcp.action":"write"},"meta":{"risk_tags":["prod"]}}}"#,
    ];
    let mut explained = Vec::new();
    for (n, form) in forms.iter().enumerate() {
        let job = file(&dir, &format!("job{n}.json"), form);
        let ran = capdeck(&["policy", "explain", &policy, "--job", &job]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        explained.push(ran.stdout);
    }
    assert_eq!(explained[0], explained[1]);
    assert_eq!(explained[0], explained[2]);
    assert_eq!(
        explained[0],
        "job.mcp-bridge.write.update_ticket REQUIRE_APPROVAL by rule approval-prod-write
reason    Production writes require human review
tenant    default
snapshot  v1:1313dcb14725077a7357a2d6b02f4de0e8acd83b468851bc32fe8143d7a55ac7

RULE                  WOULD                   OUTCOME         FIELD                WANTED       SEEN
allow-read-path       ALLOW                   does not match  - labels.mcp.action  read         write
approval-prod-write   REQUIRE_APPROVAL        decides         + risk_tags          prod         prod
                                                              + labels.mcp.action  write        write
deny-destructive      DENY                    does not match  - labels.mcp.action  delete       write
constrain-heavy-jobs  ALLOW_WITH_CONSTRAINTS  does not match  - topics             job.batch.*  job.mcp-bridge.write.update_ticket
"
    );
}

#[test]
fn the_json_explanation_names_what_an_earlier_rule_hides() {
    let dir = tempfile::tempdir().unwrap();
    let policy = in_repository("demo/first-policy.yaml");
    let job = file(
        &dir,
        "job.json",
        r#"{"topic":"job.batch.embed","labels":{"mcp.action":"read"}}"#,
    );
    let ran = capdeck(&["policy", "explain", &policy, "--job", &job, "-o", "json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["schema"], "capdeck/1");
    assert_eq!(document["decision"], "ALLOW");
    assert_eq!(document["rule_id"], "allow-read-path");
    assert_eq!(document["rules"][0]["outcome"], "decides");
    assert_eq!(document["rules"][3]["outcome"], "shadowed_differs");
    assert_eq!(document["rules"][3]["facts"][0]["holds"], true);
    let table = capdeck(&["policy", "explain", &policy, "--job", &job]);
    assert!(
        table.stdout.ends_with(
            "without that rule: constrain-heavy-jobs would ALLOW_WITH_CONSTRAINTS (in this order)\n"
        ),
        "{}",
        table.stdout
    );
}

#[test]
fn a_job_file_that_is_no_job_is_a_mistake_of_the_call() {
    let dir = tempfile::tempdir().unwrap();
    let policy = in_repository("demo/first-policy.yaml");
    for (text, expected) in [
        (
            "{\"topic\":\n  \"job.a\",}",
            "job.json:2:11: not JSON: trailing comma\n",
        ),
        (
            "{\"meta\":{},\n \"risktags\":[]}",
            "job.json:2:11: not a JobRequest: unrecognized field name 'risktags'\n",
        ),
        (
            r#"{"topic":"job.a b"}"#,
            "is not a job: topic is not a subject: it has a blank or a control character\n",
        ),
        (
            r#"{"topic":"sys.x"}"#,
            "is not a job: topic must begin with `job.`",
        ),
    ] {
        let job = file(&dir, "job.json", text);
        let ran = capdeck(&["policy", "explain", &policy, "--job", &job]);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    }
}

#[test]
fn the_policy_of_the_demo_is_what_its_cases_expect() {
    let (policy, cases) = (
        in_repository("demo/policy.yaml"),
        in_repository("demo/cases"),
    );
    let ran = capdeck(&["policy", "test", &policy, "--cases", &cases]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.stdout, "8 of 8 cases as expected\n");
}

#[test]
fn a_case_that_is_decided_otherwise_is_told_and_ends_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let policy = file(
        &dir,
        "policy.yaml",
        "rules:
  - {id: fast, velocity: {max_requests: 1, window_seconds: 10, key: tenant}, decision: throttle}
  - {id: rest, decision: allow, reason: fine}
",
    );
    let cases = tempfile::tempdir().unwrap();
    // Files do not count towards each other, cases of one file do.
    file(
        &cases,
        "a.yml",
        "cases:
  - {job: {topic: job.a}, expect: {decision: allow, rule: rest}}
  - {job: {topic: job.a}, expect: {decision: throttle}}
  - {at: 10, job: {topic: job.a}, expect: {decision: allow, reason: fine}}
",
    );
    let wrong = file(
        &cases,
        "b.json",
        r#"{"cases": [
            {"name": "no", "job": {"topic": "job.a"}, "expect": {"decision": "deny", "rule": ""}}
        ]}"#,
    );
    file(&cases, "readme.txt", "not a file of cases");
    let cases = cases.path().to_str().unwrap();
    let ran = capdeck(&["policy", "test", &policy, "--cases", cases]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert_eq!(
        ran.stdout,
        format!(
            "{wrong}:2: no\n  expected  DENY by no rule\n  got       ALLOW by rule rest\n3 of 4 \
             cases as expected\n"
        )
    );
    assert!(
        ran.stderr.contains("1 of 4 cases is decided otherwise"),
        "{}",
        ran.stderr
    );
    let ran = capdeck(&["policy", "test", &policy, "--cases", cases, "-o", "json"]);
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["kind"], "policy_test");
    let passed: Vec<_> = document["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["passed"].as_bool().unwrap())
        .collect();
    assert_eq!(passed, [true, true, true, false]);
    assert_eq!(document["items"][3]["rule_id"], "rest");
}

#[test]
fn cases_that_cannot_be_asked_are_a_mistake_of_the_call() {
    let policy = in_repository("demo/policy.yaml");
    for (text, expected) in [
        (
            "cases: [{job: {topic: job.a}, expect: {decision: alow}}]",
            "cases.yaml is not a file of cases: line 1, column 50: cases.expect.decision `alow`",
        ),
        (
            "cases:\n  - {job: {topic: sys.a}, expect: {decision: deny}}",
            "cases.yaml:2: the job of this case is no job: topic must begin with `job.`",
        ),
        ("cases: []", "there are no cases in"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        file(&dir, "cases.yaml", text);
        let cases = dir.path().to_str().unwrap();
        let ran = capdeck(&["policy", "test", &policy, "--cases", cases]);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    }
    let ran = capdeck(&["policy", "test", &policy, "--cases", "/nonexistent"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
}

#[test]
fn rates_and_the_lists_of_tenants_are_explained_like_other_facts() {
    let dir = tempfile::tempdir().unwrap();
    let policy = file(
        &dir,
        "policy.yaml",
        "version: v1
tenants: {acme: {mcp: {allow_servers: [jira], deny_tools: [drop]}}}
rules:
  - id: fast
    match: {label_threshold: {amount: 10}, secrets_present: false}
    velocity: {max_requests: 2, window_seconds: 60, key: 'tenant:labels.session'}
    decision: throttle
  - {id: rest, decision: allow}
",
    );
    let job = file(
        &dir,
        "job.json",
        r#"{"topic":"job.a","tenant_id":"Acme","labels":{"amount":"12","session":"s","mcp.server":"jira","mcp.tool":"edit"}}"#,
    );
    let ran = capdeck(&["policy", "explain", &policy, "--job", &job]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let (_, table) = ran.stdout.split_once("\n\n").unwrap();
    assert_eq!(
        table,
        "\
RULE             WOULD     OUTCOME         FIELD               WANTED                                              SEEN
tenant:acme:mcp  DENY      does not match  + tenants           acme                                                Acme
                                           - mcp               a call outside allow_servers jira, deny_tools drop  server jira, tool edit
fast             THROTTLE  does not match  + label_threshold   amount above 10                                     amount 12
                                           + secrets_present   false                                               false
                                           - velocity          more than 2 in 60 s by tenant:labels.session        0 before it by acme:s
rest             ALLOW     decides         matches everything
"
    );
}
