//! Planes that ask a safety kernel elsewhere.

use super::*;
use crate::keys::Screen;

/// `capdeck up` without traffic, which as a rule asks a kernel elsewhere.
pub(super) struct Plane {
    running: Running,
    addr: SocketAddr,
    _capdeck: Capdeck,
}

impl Plane {
    pub(super) fn asking(url: &str, more: &[&str]) -> Self {
        Self::told(url, more, &[])
    }

    /// The same, with variables of the environment.
    pub(super) fn told(url: &str, more: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start(&[&["--kernel", url], more].concat(), environment)
    }

    /// Any plane without traffic.
    fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let capdeck = Capdeck::new();
        let running = Running::start(
            capdeck
                .command(&["up", "--no-traffic", "--http", "127.0.0.1:0"])
                .args(arguments)
                .envs(environment.iter().copied())
                .stderr(Stdio::piped()),
        );
        Self {
            addr: gateway(&running.ready).parse().unwrap(),
            running,
            _capdeck: capdeck,
        }
    }

    /// The line by which it says that it serves.
    pub(super) fn ready(&self) -> &str {
        &self.running.ready
    }

    fn get(&self, path: &str) -> (u16, Value) {
        http(self.addr, "GET", &format!("/api/v1/{path}"), None)
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        http(self.addr, "POST", &format!("/api/v1/{path}"), Some(body))
    }

    /// Submits a job of this topic and says which it is.
    pub(super) fn submit(&self, topic: &str) -> (u16, Value) {
        let body = json!({"topic": topic, "tenant_id": "acme", "labels": {"env": "prod"}});
        self.post("jobs", &body)
    }

    fn job(&self, id: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait_until(&format!("{id} {what}"), || {
            let (_, job) = self.get(&format!("jobs/{id}"));
            wanted(&job).then_some(job)
        })
    }

    pub(super) fn waits_for_the_kernel(&self, id: &str) {
        self.job(id, "to wait for the kernel", |job| {
            job["state"] == "PENDING" && job["waiting_on"] == "kernel_unavailable"
        });
    }

    pub(super) fn went_on(&self, id: &str) -> Value {
        self.job(id, "to go on", |job| {
            job["state"] == "RUNNING" || job["state"] == "SUCCEEDED"
        })
    }

    /// Ends it at once, and says what it said.
    pub(super) fn end(mut self) -> String {
        self.running.crash()
    }
}

#[test]
fn a_plane_does_with_each_outcome_of_a_kernel_elsewhere_what_it_does_with_its_own() {
    let kernel = Kernel::start(FIVE, &[]);
    let plane = Plane::asking(&kernel.url, &[]);
    let (snapshot, url) = (&kernel.snapshot, &kernel.url);
    let says = format!("policy {snapshot}, bus in memory, payloads in memory, kernel {url}\n");
    assert!(plane.ready().ends_with(&says), "{}", plane.ready());

    let (status, yes) = plane.submit("job.yes.read");
    assert_eq!(status, 200);
    plane.went_on(&id_of(&yes));
    let (status, held) = plane.submit("job.held.x");
    assert_eq!(
        (status, &held["status"]),
        (200, &json!("approval_required"))
    );
    let (status, limited) = plane.submit("job.limited.x");
    assert_eq!(status, 200);
    let limited = plane.went_on(&id_of(&limited));
    assert_eq!(limited["safety_decision"], "ALLOW_WITH_CONSTRAINTS");
    let limits = &limited["safety_constraints"];
    assert_eq!(limits["budgets"]["max_concurrent_jobs"], 2, "{limited}");
    assert_eq!(limits["redaction_level"], "high", "{limited}");
    let (status, slowly) = plane.submit("job.slowly.x");
    assert_eq!((status, &slowly["code"]), (429, &json!("throttled")));
    let (status, no) = plane.submit("job.other.x");
    assert_eq!((status, &no["code"]), (403, &json!("policy_denied")));

    let (_, approved) = plane.post(
        &format!("approvals/{}/approve", id_of(&held)),
        &json!({"note": "seen"}),
    );
    assert_eq!(approved["job_id"], held["job_id"], "{approved}");
    plane.went_on(&id_of(&held));
}

#[test]
fn no_retries_at_all_is_obeyed_here_and_elsewhere_and_said_to_be_unknown_to_others() {
    let text = "rules:
  - {id: once, match: {topics: ['job.once.*']}, decision: allow, constraints: {max_retries: 0}}
  - {id: soon, match: {topics: ['job.soon.*']}, decision: allow, constraints: {max_runtime_sec: 60, max_retries: 0}}
";
    let mut kernel = Kernel::start(text, &[]);
    let policy = kernel.policy.to_str().unwrap().to_owned();
    let planes = [
        Plane::start(&["--policy", &policy], &[]),
        Plane::asking(&kernel.url, &[]),
    ];
    for topic in ["job.once.x", "job.soon.x"] {
        let ends = planes.each_ref().map(|plane| {
            let labels = json!({"demo.outcome": "failed_retryable", "demo.seconds": "0"});
            let (_, job) = plane.post("jobs", &json!({"topic": topic, "labels": labels}));
            let job = plane.job(&id_of(&job), "to end", |job| job["state"] == "FAILED");
            [
                "safety_decision",
                "safety_constraints",
                "attempts",
                "error_code",
            ]
            .map(|name| job[name].clone())
        });
        assert_eq!(ends[0], ends[1], "{topic}");
        let [decision, limits, attempts, code] = &ends[1];
        assert_eq!(decision, "ALLOW_WITH_CONSTRAINTS");
        assert_eq!(limits["budgets"]["max_retries"], 0, "{limits}");
        assert_eq!(
            (attempts, code),
            (&json!(1), &json!("max_retries_exceeded"))
        );
    }
    let other = kernel.ask(check(json!({"topic": "job.once.x"})));
    assert_eq!(other["constraints"], json!({"budgets": {}}));
    let says = "warning: max_retries: 0 of `once`, `soon` is known to planes of capdeck alone";
    let told = kernel.hear("max_retries");
    assert!(told.starts_with(says), "{told}");
    kernel.adopt(&text.replace("soon", "late"));
    let told = kernel.hear("max_retries");
    assert!(told.contains("0 of `once`, `late` is"), "{told}");
    kernel.adopt(&text.replace("max_retries: 0", "max_retries: 1"));
    let ran = kernel.end();
    assert!(ran.stderr.contains("the policy changed"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("max_retries"), "{}", ran.stderr);
}

#[test]
fn what_a_kernel_elsewhere_cannot_tell_is_said_and_the_rest_is_asked_of_it() {
    let kernel = Kernel::start(FIVE, &[]);
    let plane = Plane::asking(&kernel.url, &[]);
    let (_, status) = plane.get("status");
    let expected = json!({"ok": true, "address": kernel.url});
    assert_eq!(
        (&status["kernel"], &status["policy"]),
        (&expected, &Value::Null)
    );
    let (status, snapshots) = plane.get("policy/snapshots");
    assert_eq!(status, 200);
    assert_eq!(snapshots, json!({"snapshots": [kernel.snapshot]}));
    let (status, rules) = plane.get("policy/rules");
    assert_eq!((status, &rules["code"]), (404, &json!("rules_not_shown")));
    let says = rules["error"].as_str().unwrap();
    let begins = format!("the safety kernel at {} decides", kernel.url);
    assert!(says.starts_with(&begins), "{says}");
    let asked = json!({"job_id": "j", "topic": "job.rated.x", "tenant": "acme"});
    for route in ["simulate", "explain", "evaluate", "explain"] {
        let (status, answer) = plane.post(&format!("policy/{route}"), &asked);
        assert_eq!((status, &answer["ruleId"]), (200, &json!("unrated")));
        assert_eq!(answer.get("rules"), None, "{answer}");
    }
    let other = json!({"job_id": "k", "topic": "job.rated.x", "tenant": "acme"});
    let (_, answer) = plane.post("policy/simulate", &other);
    assert_eq!(answer["ruleId"], "rated", "evaluating counts");
}

#[test]
fn a_policy_that_changed_at_the_kernel_refuses_the_yes_and_leaves_the_job_waiting() {
    let kernel = Kernel::start(FIVE, &[]);
    let plane = Plane::asking(&kernel.url, &[]);
    let (_, held) = plane.submit("job.held.x");
    let id = id_of(&held);
    kernel.adopt(&FIVE.replace("look first", "look twice"));
    let yes = json!({"note": "seen"});
    let (status, refused) = plane.post(&format!("approvals/{id}/approve"), &yes);
    assert_eq!(
        (status, &refused["code"]),
        (409, &json!("approval_stale_snapshot")),
        "{refused}"
    );
    assert_eq!(refused["policy_snapshot"], json!(kernel.snapshot));
    let (_, job) = plane.get(&format!("jobs/{id}"));
    assert_eq!(job["state"], "APPROVAL_REQUIRED");
}

#[test]
fn jobs_wait_while_the_kernel_is_away_and_go_on_when_it_is_there() {
    let listen = format!("127.0.0.1:{}", free_port());
    let url = format!("http://{listen}");
    let plane = Plane::asking(&url, &[]);
    let says = format!("policy unknown, bus in memory, payloads in memory, kernel {url}\n");
    assert!(plane.ready().ends_with(&says), "{}", plane.ready());
    let (status, early) = plane.submit("job.yes.read");
    assert_eq!((status, &early["status"]), (200, &json!("pending")));
    let reason = early["reason"].as_str().unwrap();
    let begins = format!("the safety kernel does not answer: {url}: ");
    assert!(reason.starts_with(&begins), "{reason}");
    plane.waits_for_the_kernel(&id_of(&early));
    let (_, status) = plane.get("status");
    assert_eq!(status["kernel"]["ok"], false);
    let error = status["kernel"]["error"].as_str().unwrap();
    assert!(error.contains("Connection refused"), "{error}");

    let mut kernel = Kernel::start_at(&listen, FIVE, &[]);
    plane.went_on(&id_of(&early));
    let (_, held) = plane.submit("job.held.x");
    let held = id_of(&held);

    kernel.crash();
    let (status, late) = plane.submit("job.yes.read");
    assert_eq!((status, &late["status"]), (200, &json!("pending")));
    plane.waits_for_the_kernel(&id_of(&late));
    // Nobody can tell which policy is in force, so a yes is not taken.
    let yes = json!({"note": "seen"});
    let (status, refused) = plane.post(&format!("approvals/{held}/approve"), &yes);
    assert_eq!(
        (status, &refused["code"]),
        (503, &json!("kernel_unavailable"))
    );

    let _kernel = Kernel::start_at(&listen, FIVE, &[]);
    plane.went_on(&id_of(&late));
    let (status, approved) = plane.post(&format!("approvals/{held}/approve"), &yes);
    assert_eq!(status, 200, "{approved}");
    let said = plane.end();
    assert!(said.contains("no job goes on before it does"), "{said}");
}

#[test]
fn a_kernel_that_stands_still_is_waited_for_two_seconds_and_asked_again_later() {
    let kernel = Kernel::start(FIVE, &[]);
    let plane = Plane::asking(&kernel.url, &[]);
    kernel.running.signal(rustix::process::Signal::STOP);
    let (status, early) = plane.submit("job.yes.read");
    assert_eq!((status, &early["status"]), (200, &json!("pending")));
    let says = "the safety kernel did not answer in time";
    assert_eq!(early["reason"], says);
    plane.waits_for_the_kernel(&id_of(&early));
    kernel.running.signal(rustix::process::Signal::CONT);
    plane.went_on(&id_of(&early));
}

#[test]
fn a_kernel_that_can_never_be_asked_ends_the_start_with_2() {
    let capdeck = Capdeck::new();
    for (arguments, says) in [
        (
            &["--kernel", "http://k:1", "--policy", "p.yaml"][..],
            "error: the argument '--kernel <URL>' cannot be used with '--policy <FILE>'",
        ),
        (
            &["--kernel", "127.0.0.1:50051"],
            "error: `127.0.0.1:50051` is not the address of a safety kernel: one begins with \
             http:// or https://\n",
        ),
        (
            &["--kernel", "https://k:1", "--kernel-ca", "/nowhere/ca.pem"],
            "error: cannot read `/nowhere/ca.pem`: ",
        ),
        (
            &["--kernel-ca", "/nowhere/ca.pem"],
            "error: the following required arguments were not provided:\n  --kernel <URL>",
        ),
        (
            &["--kernel", "https://k:1", "--kernel-cert", "client.pem"],
            "error: the following required arguments were not provided:\n  --kernel-key <FILE>",
        ),
        (
            &[
                "--kernel",
                "http://127.0.0.1:1",
                "--kernel-cert",
                "client.pem",
                "--kernel-key",
                "client.key",
            ],
            "error: `http://127.0.0.1:1` is not the address of a safety kernel: http:// is not \
             encrypted, so certificates are of no use; say https://\n",
        ),
    ] {
        let ran = capdeck.run(&[&["up", "--http", "127.0.0.1:0"], arguments].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(
            ran.stderr.starts_with(says),
            "{arguments:?}: {}",
            ran.stderr
        );
    }
}

#[test]
fn a_demo_on_a_kernel_elsewhere_names_it_in_the_view_of_policy() {
    let kernel = Kernel::start(FIVE, &[]);
    let arguments = ["demo", "--http", "127.0.0.1:0", "--kernel", &kernel.url];
    let mut screen = Screen::capdeck(&arguments);
    screen.shows("LIVE");
    screen.press("5");
    screen.shows(&format!("by gRPC    {}", kernel.url));
    screen.shows("This gateway does not list its rules");
    screen.press("q");
    assert_eq!(screen.ends().code(), Some(0));
}
