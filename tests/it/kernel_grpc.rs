//! `capdeck kernel`: the real binary, asked by the public SDK's generated client and
//! by planes of ours.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::plane::{http, id_of};
use crate::running::{Running, gateway};
use crate::support::{Capdeck, Peer, Ran, free_port, run_peer, wait_until};

mod elsewhere;
mod encrypted;

/// One rule for each outcome.
const FIVE: &str = "version: five
rules:
  - {id: yes, match: {topics: ['job.yes.*']}, decision: allow, reason: reading is fine}
  - {id: no, match: {topics: ['job.no.*'], risk_tags: [drop]}, decision: deny, reason: never}
  - id: held
    match: {topics: ['job.held.*'], labels: {env: prod}}
    decision: require_approval
    reason: look first
    constraints: {budgets: {max_runtime_ms: 60000, max_retries: 1}}
    remediations:
      - {id: ro, title: Read only, summary: Read instead., replacement_topic: job.yes.read, add_labels: {mode: read}, remove_labels: [env]}
  - id: limited
    match: {tenants: [acme], topics: ['job.limited.*']}
    decision: allow_with_constraints
    constraints:
      budgets: {max_artifact_bytes: 1024, max_concurrent_jobs: 2}
      sandbox: {isolated: true, network_allowlist: [a.example], fs_read_only: [/ro], fs_read_write: [/rw]}
      toolchain: {allowed_tools: [edit], allowed_commands: [ls]}
      diff: {max_files: 3, max_lines: 40, deny_path_globs: ['*.key']}
      redaction_level: high
  - {id: slowly, match: {topics: ['job.slowly.*']}, decision: throttle, reason: later}
  - {id: rated, velocity: {max_requests: 1, window_seconds: 3600, key: tenant}, match: {topics: ['job.rated.*']}, decision: throttle}
  - {id: unrated, match: {topics: ['job.rated.*']}, decision: allow}
";

/// A `capdeck kernel` of its own.
pub(crate) struct Kernel {
    _capdeck: Capdeck,
    running: Running,
    /// What its ready line says of where it is.
    pub(crate) url: String,
    /// What its ready line says of the policy.
    pub(crate) snapshot: String,
    pub(crate) policy: PathBuf,
}

impl Kernel {
    fn start(policy: &str, more: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", policy, more)
    }

    fn start_at(listen: &str, text: &str, more: &[&str]) -> Self {
        let capdeck = Capdeck::new();
        let policy = capdeck.home().join("policy.yaml");
        std::fs::write(&policy, text).unwrap();
        let running = Running::start(
            capdeck
                .command(&["kernel", "--listen", listen, "--policy"])
                .arg(&policy)
                .args(more)
                .stderr(Stdio::piped()),
        );
        let ready = &running.ready;
        let (url, snapshot) = ready
            .trim_end()
            .strip_prefix("ready: kernel ")
            .and_then(|rest| rest.split_once(", policy "))
            .unwrap_or_else(|| panic!("not ready: {ready}"));
        Self {
            url: url.to_owned(),
            snapshot: snapshot.to_owned(),
            _capdeck: capdeck,
            running,
            policy,
        }
    }

    fn addr(&self) -> SocketAddr {
        let (_, addr) = self.url.split_once("://").unwrap();
        addr.parse().unwrap()
    }

    /// Asks it as a foreign scheduler would; an answer or a failure for each call.
    fn asked(&self, more: &[&str], calls: &[Value]) -> Vec<Value> {
        let addr = self.addr().to_string();
        let calls: Vec<_> = calls.iter().map(ToString::to_string).collect();
        let mut arguments = vec![addr.as_str()];
        arguments.extend(more);
        arguments.extend(calls.iter().map(String::as_str));
        let said = run_peer("kernel_client.py", &arguments);
        said.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn ask(&self, call: Value) -> Value {
        let [answer] = &self.asked(&[], &[call])[..] else {
            panic!("not one answer");
        };
        answer["response"].clone()
    }

    fn snapshots(&self) -> Value {
        self.ask(json!({"call": "ListSnapshots"}))["snapshots"].clone()
    }

    /// Replaces the policy, and waits until it is in force.
    fn adopt(&self, text: &str) -> String {
        let before = self.snapshots();
        std::fs::write(&self.policy, text).unwrap();
        wait_until("the new policy", || {
            let snapshots = self.snapshots();
            (snapshots != before).then(|| snapshots[0].as_str().unwrap().to_owned())
        })
    }

    /// Waits until it says something of `word`; all that it said until then.
    fn hear(&mut self, word: &str) -> String {
        self.running.hear(word)
    }

    /// Ends it as its owner does, and says what it said.
    fn end(self) -> Ran {
        self.running.end()
    }

    /// Ends it as a crash does; its policy file stays while it is kept.
    fn crash(&mut self) {
        self.running.crash();
    }
}

fn check(request: Value) -> Value {
    json!({"call": "Check", "request": request})
}

#[test]
fn the_public_client_gets_the_right_decision_for_each_of_the_five_outcomes() {
    let kernel = Kernel::start(FIVE, &[]);
    let yes = json!({"jobId": "j1", "topic": "job.yes.read", "tenant": "acme"});
    let no = json!({"jobId": "j2", "topic": "job.no.x", "meta": {"riskTags": ["drop"]}});
    let held = json!({"jobId": "j3", "topic": "job.held.x", "labels": {"env": "prod"}});
    let limited = json!({"jobId": "j4", "topic": "job.limited.x", "meta": {"tenantId": "acme"}});
    let slowly = json!({"jobId": "j5", "topic": "job.slowly.x"});
    let snapshot = &kernel.snapshot;
    let expected = [
        json!({"decision": "DECISION_TYPE_ALLOW", "ruleId": "yes", "reason": "reading is fine",
            "policySnapshot": snapshot}),
        json!({"decision": "DECISION_TYPE_DENY", "ruleId": "no", "reason": "never",
            "policySnapshot": snapshot}),
        json!({"decision": "DECISION_TYPE_REQUIRE_HUMAN", "ruleId": "held",
            "reason": "look first", "policySnapshot": snapshot,
            "approvalRequired": true, "approvalRef": "j3",
            "constraints": {"budgets": {"maxRuntimeMs": "60000", "maxRetries": 1}},
            "remediations": [{"id": "ro", "title": "Read only", "summary": "Read instead.",
                "replacementTopic": "job.yes.read", "addLabels": {"mode": "read"},
                "removeLabels": ["env"]}]}),
        json!({"decision": "DECISION_TYPE_ALLOW_WITH_CONSTRAINTS", "ruleId": "limited",
            "reason": "rule limited", "policySnapshot": snapshot,
            "constraints": {
                "budgets": {"maxArtifactBytes": "1024", "maxConcurrentJobs": 2},
                "sandbox": {"isolated": true, "networkAllowlist": ["a.example"],
                    "fsReadOnly": ["/ro"], "fsReadWrite": ["/rw"]},
                "toolchain": {"allowedTools": ["edit"], "allowedCommands": ["ls"]},
                "diff": {"maxFiles": 3, "maxLines": 40, "denyPathGlobs": ["*.key"]},
                "redactionLevel": "high"}}),
        json!({"decision": "DECISION_TYPE_THROTTLE", "ruleId": "slowly", "reason": "later",
            "policySnapshot": snapshot}),
    ];
    let requests = [yes, no, held, limited, slowly];
    for method in ["Check", "Evaluate", "Explain", "Simulate"] {
        let calls = requests
            .clone()
            .map(|request| json!({"call": method, "request": request}));
        let answers = kernel.asked(&[], &calls);
        let answers: Vec<_> = answers.iter().map(|it| it["response"].clone()).collect();
        assert_eq!(answers, expected, "{method}");
    }
}

#[test]
fn what_is_no_job_is_denied_and_what_no_rule_matches_too() {
    let kernel = Kernel::start(FIVE, &[]);
    for (request, reason) in [
        (json!({}), "missing topic"),
        (
            json!({"jobId": "j", "topic": "sys.job.submit"}),
            "unsupported topic: it does not begin with `job.`",
        ),
        (
            json!({"jobId": "j", "topic": "job.other"}),
            "no rule matches, so it is denied",
        ),
    ] {
        let answer = kernel.ask(check(request));
        let expected = json!({"decision": "DECISION_TYPE_DENY", "reason": reason,
            "policySnapshot": kernel.snapshot});
        assert_eq!(answer, expected);
    }
}

#[test]
fn what_is_checked_and_evaluated_counts_and_what_is_simulated_or_explained_does_not() {
    let kernel = Kernel::start(FIVE, &[]);
    let call = |method: &str, job: &str| {
        let request = json!({"jobId": job, "topic": "job.rated.x", "tenant": "t"});
        json!({"call": method, "request": request})
    };
    let answers = kernel.asked(
        &[],
        &[
            call("Simulate", "j1"),
            call("Explain", "j1"),
            call("Evaluate", "j1"),
            call("Simulate", "j2"),
            call("Check", "j2"),
            // It was let pass, so it is not counted twice.
            call("Check", "j1"),
        ],
    );
    let rules: Vec<_> = answers.iter().map(|it| &it["response"]["ruleId"]).collect();
    assert_eq!(
        rules,
        ["unrated", "unrated", "unrated", "rated", "rated", "unrated"]
    );
}

#[test]
fn a_changed_policy_is_in_force_for_whoever_asks_and_a_broken_one_never_is() {
    let mut kernel = Kernel::start(FIVE, &[]);
    let first = kernel.snapshot.clone();
    assert_eq!(kernel.snapshots(), json!([first]));
    let second = kernel.adopt(&FIVE.replace("reading is fine", "reading is still fine"));
    let snapshots = json!([second, first]);
    assert_eq!(kernel.snapshots(), snapshots);
    let read = check(json!({"jobId": "j", "topic": "job.yes.read"}));
    assert_eq!(kernel.ask(read.clone())["reason"], "reading is still fine");

    std::fs::write(
        &kernel.policy,
        "rules: [{id: \"a\\x1b[31m\", decision: perhaps}]",
    )
    .unwrap();
    let told = kernel.hear("stays in force");
    assert_eq!(kernel.snapshots(), snapshots);
    let answer = kernel.ask(read);
    assert_eq!(answer["policySnapshot"], json!(second));
    let health =
        |service: &str| kernel.ask(json!({"call": "Health", "service": service}))["status"].clone();
    assert_eq!(health(""), "SERVING");
    assert_eq!(health("cordum.agent.v1.SafetyKernel"), "SERVING");
    let ran = kernel.end();
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let says = format!("the policy changed: {second} is in force, not {first}\n");
    assert!(told.contains(&says), "{told}");
    let says = format!("warning: {second} stays in force, for the policy file");
    assert!(told.contains(&says), "{told}");
    assert!(!told.contains('\x1b'), "{told:?}");
}

#[test]
fn the_health_service_knows_this_service_and_no_other() {
    let kernel = Kernel::start(FIVE, &[]);
    let [other] = &kernel.asked(&[], &[json!({"call": "Health", "service": "x.Y"})])[..] else {
        panic!("not one answer");
    };
    assert_eq!(other["code"], "NOT_FOUND");
}

#[test]
fn a_message_of_more_than_4_mib_is_refused_and_one_below_is_not() {
    let kernel = Kernel::start(FIVE, &[]);
    let padded =
        |bytes: usize| json!({"call": "Check", "request": {"topic": "job.yes.read"}, "pad": bytes});
    let answers = kernel.asked(&[], &[padded(5 << 20), padded(3 << 20)]);
    assert_eq!(answers[0]["code"], "OUT_OF_RANGE", "{answers:?}");
    assert_eq!(answers[1]["response"]["ruleId"], "yes", "{answers:?}");
}

#[test]
fn a_kernel_ends_with_0_also_while_somebody_watches_its_health() {
    let kernel = Kernel::start(FIVE, &[]);
    let watch = json!({"call": "Watch", "service": ""}).to_string();
    let addr = kernel.addr().to_string();
    let mut peer = Peer::start("kernel_client.py", &[&addr, &watch]);
    let mut lines = peer.lines();
    let word = lines.wait_for("the health", |line| line.contains("watching"));
    assert!(word.contains("\"SERVING\""), "{word}");
    let ran = kernel.end();
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    lines.wait_for("the end of the watch", |line| line.contains("failure"));
}

#[test]
fn a_kernel_that_cannot_serve_ends_with_2_and_says_what_to_do() {
    let capdeck = Capdeck::new();
    let policy = capdeck.home().join("policy.yaml");
    std::fs::write(&policy, FIVE).unwrap();
    let policy = policy.to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (arguments, says) in [
        (
            vec!["--policy", policy, "--listen", &taken],
            format!("error: the address {taken} is taken\nhint: choose another with `--listen"),
        ),
        (
            vec!["--policy", policy, "--listen", "0.0.0.0:0"],
            "error: the safety kernel listens on 0.0.0.0:0, which others can reach, only with \
             TLS: without it whoever is on the way reads what jobs do and can turn a no into a \
             yes\nhint: give --tls-cert FILE and --tls-key FILE, listen on 127.0.0.1, or say \
             --allow-plaintext"
                .to_owned(),
        ),
        (
            vec!["--policy", "/nowhere.yaml"],
            "error: cannot read the policy file `/nowhere.yaml`: ".to_owned(),
        ),
        (
            vec!["--policy", policy, "--tls-cert", "server.pem"],
            "error: the following required arguments were not provided:\n  --tls-key".to_owned(),
        ),
        (
            vec![],
            "error: the following required arguments were not provided:\n  --policy".to_owned(),
        ),
    ] {
        let ran = capdeck.run(&[&["kernel"], &arguments[..]].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(ran.stderr.starts_with(&says), "{}", ran.stderr);
    }
    let bad = capdeck.home().join("bad.yaml");
    std::fs::write(&bad, "rules: [{id: a, decision: perhaps}]").unwrap();
    let ran = capdeck.run(&["kernel", "--policy", bad.to_str().unwrap()]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("decision `perhaps` is not"),
        "{}",
        ran.stderr
    );
}

#[test]
fn where_a_key_is_configured_an_unsigned_policy_is_not_served() {
    let capdeck = Capdeck::new();
    let policy = capdeck.home().join("policy.yaml");
    std::fs::write(&policy, FIVE).unwrap();
    let output = capdeck
        .command(&["kernel", "--listen", "127.0.0.1:0", "--policy"])
        .arg(&policy)
        .env(
            "SAFETY_POLICY_PUBLIC_KEY",
            "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=",
        )
        .output()
        .unwrap();
    let ran = Ran::of(output);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    let says = "error: cannot read the signature `";
    assert!(ran.stderr.starts_with(says), "{}", ran.stderr);
}
