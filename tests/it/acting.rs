//! The acting verbs against the real plane: `capdeck submit`, `approve`,
//! `reject` and `cancel` on `capdeck up` with the first policy.

use std::path::PathBuf;
use std::process::ExitStatus;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::running::{Running, gateway};
use crate::support::{Capdeck, Ran};

pub const FIRST_POLICY: &str = include_str!("../../demo/first-policy.yaml");

/// A plane without traffic, and a console's home directory.
pub struct Plane {
    capdeck: Capdeck,
    running: Running,
    policy: PathBuf,
    pub url: String,
}

impl Plane {
    pub fn start() -> Self {
        let capdeck = Capdeck::new();
        let policy = capdeck.home().join("policy.yaml");
        std::fs::write(&policy, FIRST_POLICY).unwrap();
        Self::up(
            capdeck,
            &["--no-traffic", "--policy", policy.to_str().unwrap()],
        )
    }

    /// `capdeck up` on a free port, told more by `arguments`.
    pub fn up(capdeck: Capdeck, arguments: &[&str]) -> Self {
        let policy = capdeck.home().join("policy.yaml");
        let running = Running::start(
            capdeck
                .command(&["up", "--http", "127.0.0.1:0"])
                .args(arguments),
        );
        Self {
            capdeck,
            policy,
            url: format!("http://{}", gateway(&running.ready)),
            running,
        }
    }

    /// Puts another policy into its file.
    pub fn publish(&self, policy: &str) {
        std::fs::write(&self.policy, policy).unwrap();
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        let server = ["--gateway", &self.url];
        self.capdeck.run(&[arguments, &server].concat())
    }

    pub fn submit(&self, job: &Value, more: &[&str]) -> Ran {
        let file = self.capdeck.home().join("job.json");
        std::fs::write(&file, job.to_string()).unwrap();
        self.run(&[&["submit", "-f", file.to_str().unwrap()], more].concat())
    }

    /// Submits a job that waits for a person; its id.
    fn held(&self) -> String {
        let ran = self.submit(&write(), &["-o", "json"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let document: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(document["status"], "approval_required");
        document["job_id"].as_str().unwrap().to_owned()
    }

    /// Sends it a signal, and waits for its end.
    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        self.running.end_by(signal)
    }

    fn stop(&mut self) {
        self.running.crash();
    }
}

/// The job of the first curl call.
pub fn write() -> Value {
    json!({
        "topic": "job.mcp-bridge.write.update_ticket", "tenant_id": "default",
        "risk_tags": ["prod"], "labels": {"mcp.action": "write", "demo.seconds": "1"},
    })
}

fn read() -> Value {
    json!({"topic": "job.demo.echo", "labels": {"mcp.action": "read", "demo.seconds": "1"}})
}

#[track_caller]
pub fn check(ran: &Ran, code: i32, says: &str) {
    assert_eq!(ran.code, code, "{}{}", ran.stdout, ran.stderr);
    let text = if code == 0 { &ran.stdout } else { &ran.stderr };
    assert!(text.contains(says), "{says:?} is not in {text:?}");
}

#[test]
fn a_job_is_held_approved_once_and_runs_to_its_end() {
    let plane = Plane::start();
    let id = plane.held();
    let stale = plane.run(&["approve", &id, "--job-hash", &"0".repeat(64)]);
    check(&stale, 1, "its job hash is ");
    let note = ["--note", "approved in maintenance window", "--as", "ann"];
    let first = plane.run(&[&["approve", &id, "-o", "json"][..], &note].concat());
    check(&first, 0, r#""kind":"decision""#);
    let document: Value = serde_json::from_str(&first.stdout).unwrap();
    assert_eq!(document["bound"], true, "compared under the job's lock");
    assert_eq!(document["job_hash"].as_str().map(str::len), Some(64));
    let second = plane.run(&["approve", &id, "--as", "bob"]);
    check(
        &second,
        1,
        &format!("error: ann approved {id} already, at "),
    );
    let no = plane.run(&["reject", &id, "--reason", "too late", "--as", "bob"]);
    check(&no, 1, &format!("error: ann approved {id} already, at "));
    let mut named = write();
    named["job_id"] = json!("j-named");
    check(&plane.submit(&named, &[]), 0, "j-named waits for approval");
    check(
        &plane.run(&["approve", "j-named", "--as", "Åsa"]),
        0,
        "approved j-named",
    );
    check(
        &plane.run(&["approve", "j-named"]),
        1,
        "error: Åsa approved j-named already",
    );

    let log = plane.capdeck.run(&["audit", "verify"]);
    check(&log, 0, ": 10 lines, unbroken");
}

#[test]
fn what_policy_allows_is_followed_to_success_and_what_it_denies_is_refused() {
    let plane = Plane::start();
    let ran = plane.submit(&read(), &["--wait"]);
    check(&ran, 0, " SUCCEEDED\n");
    let denied = json!({"topic": "job.demo.echo", "labels": {"mcp.action": "delete"}});
    let ran = plane.submit(&denied, &[]);
    check(&ran, 1, "error: policy denies the job: ");
    assert!(
        ran.stderr.contains("Destructive actions blocked"),
        "{}",
        ran.stderr
    );
    let failing = json!({
        "topic": "job.demo.echo",
        "labels": {"mcp.action": "read", "demo.seconds": "1", "demo.outcome": "failed"},
    });
    check(&plane.submit(&failing, &["--wait"]), 1, " ended FAILED");
}

#[test]
fn a_rejected_job_ends_denied() {
    let plane = Plane::start();
    let id = plane.held();
    check(
        &plane.run(&["reject", &id, "--reason", "not tonight"]),
        0,
        "rejected ",
    );
    let again = plane.run(&["approve", &id]);
    check(&again, 1, " rejected ");
    let gone = plane.run(&["approve", "no-such-job"]);
    check(
        &gone,
        1,
        "error: no-such-job was not approved: the plane does not know it",
    );
}

#[test]
fn a_policy_that_moved_while_a_job_waited_is_said_and_nothing_runs() {
    let plane = Plane::start();
    let id = plane.held();
    plane.publish(&FIRST_POLICY.replace("version: v1", "version: v2"));
    let ran = plane.run(&["approve", &id]);
    check(&ran, 1, "the policy moved since it was judged");
    check(&ran, 1, "(approval_stale_snapshot)");
}

#[test]
fn an_envelope_keeps_its_id_and_a_running_job_can_be_cancelled() {
    let plane = Plane::start();
    let envelope = json!({
        "trace_id": "t-7", "sender_id": "me", "created_at": "2026-01-01T00:00:00Z",
        "protocol_version": 1,
        "job_request": {
            "job_id": "j-7", "topic": "job.demo.echo", "tenant_id": "default",
            "context_ptr": "redis://ctx:j-7",
            "labels": {"mcp.server": "s", "mcp.tool": "t", "mcp.action": "read", "demo.seconds": "60"},
        },
    });
    check(&plane.submit(&envelope, &[]), 0, "j-7 accepted");
    check(
        &plane.run(&["cancel", "j-7", "--reason", "wrong one"]),
        0,
        "j-7 CANCELLED",
    );
    let ran = plane.submit(&read(), &["--wait"]);
    check(&ran, 0, "SUCCEEDED");
    let id = ran.stdout.split(' ').next().unwrap();
    let late = plane.run(&["cancel", id]);
    check(
        &late,
        1,
        "had already ended: SUCCEEDED; nothing was cancelled",
    );
}

#[test]
fn a_plane_that_went_away_is_a_server_that_cannot_be_reached() {
    let mut plane = Plane::start();
    let id = plane.held();
    plane.stop();
    for verb in [
        &["approve", &id][..],
        &["reject", &id, "--reason", "x"],
        &["cancel", &id],
    ] {
        check(
            &plane.run(verb),
            3,
            "error: cannot reach the gateway at http://127.0.0.1:",
        );
    }
    check(&plane.submit(&read(), &[]), 3, "cannot reach the gateway");
}
