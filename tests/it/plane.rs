//! The embedded plane: the real `capdeck up`, and the same plane in this process
//! where the test has to hear its bus.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use capdeck::bus::local::LocalBus;
use capdeck::bus::{Bus as _, Pattern, Subscription};
use capdeck::control_plane::ledger::MAX_JOBS;
use capdeck::control_plane::scenario::Scenario;
use capdeck::control_plane::{ControlPlane, Options, Rules, gateway};
use capdeck::store::memory::MemoryStore;
use capdeck::wire::packet::{Body, ErrorCode, JobRequest, JobResult, JobStatus, Packet};
use capdeck::wire::{self, decode, encode, json};
use serde_json::{Value, json};

use crate::keys::Screen;
use crate::running::{self, Running};
use crate::support::{
    Capdeck, NatsProcess, PATIENCE, Ran, RedisProcess, clock, run_peer, wait_until,
};

mod placement;
mod policy_file;
mod undo;
mod what_if;

const FIRST_POLICY: &str = include_str!("../../demo/first-policy.yaml");

/// `capdeck up` with a copy of the first policy and without traffic.
struct Up {
    _capdeck: Capdeck,
    running: Running,
    policy: PathBuf,
    addr: SocketAddr,
}

impl Up {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(more: &[&str]) -> Self {
        Self::start_where(|command, _policy| {
            command.args(more);
        })
    }

    /// Starts it when `prepare` has seen the command and the policy file.
    fn start_where(prepare: impl FnOnce(&mut Command, &Path)) -> Self {
        let capdeck = Capdeck::new();
        let policy = capdeck.home().join("policy.yaml");
        std::fs::write(&policy, FIRST_POLICY).unwrap();
        let mut command =
            capdeck.command(&["up", "--no-traffic", "--http", "127.0.0.1:0", "--policy"]);
        command.arg(&policy);
        prepare(&mut command, &policy);
        let running = Running::start(&mut command);
        assert!(running.ready.contains("policy v1:"), "{}", running.ready);
        Self {
            _capdeck: capdeck,
            policy,
            addr: running::gateway(&running.ready).parse().unwrap(),
            running,
        }
    }

    fn submit(&self, body: &Value) -> (u16, Value) {
        http(self.addr, "POST", "/api/v1/jobs", Some(body))
    }

    fn approve(&self, id: &str) -> (u16, Value) {
        let body = json!({"note": "approved in maintenance window"});
        let path = format!("/api/v1/approvals/{id}/approve");
        http(self.addr, "POST", &path, Some(&body))
    }

    fn job(&self, id: &str) -> Value {
        let (status, job) = http(self.addr, "GET", &format!("/api/v1/jobs/{id}"), None);
        assert_eq!(status, 200, "{job}");
        job
    }

    fn waits_in(&self, id: &str, state: &str) -> Value {
        wait_until(&format!("{id} in {state}"), || {
            let job = self.job(id);
            (job["state"] == state).then_some(job)
        })
    }

    fn terminate(self) -> Ran {
        self.running.end()
    }
}

/// One call over a connection of its own: status and JSON, null without a body.
pub(crate) fn http(
    addr: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> (u16, Value) {
    let mut line = TcpStream::connect(addr).unwrap();
    line.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    line.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    line.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

pub(crate) fn id_of(answer: &Value) -> String {
    answer["job_id"]
        .as_str()
        .unwrap_or_else(|| panic!("no job id in {answer}"))
        .to_owned()
}

fn production_write() -> Value {
    json!({
        "topic": "job.mcp-bridge.write.update_ticket",
        "tenant_id": "default",
        "risk_tags": ["prod"],
        "labels": {"mcp.action": "write"},
    })
}

#[test]
fn a_trace_of_a_job_that_ended_before_anybody_looked_is_told_by_its_page() {
    let up = Up::start();
    let (_, answer) = up.submit(&json!({
        "topic": "job.mcp-bridge.read.ticket",
        "labels": {"mcp.action": "read", "demo.outcome": "succeeded", "demo.seconds": "1.5"},
    }));
    let id = id_of(&answer);
    wait_until("its end", || {
        let (_, job) = http(up.addr, "GET", &format!("/api/v1/jobs/{id}"), None);
        (job["state"] == "SUCCEEDED").then_some(())
    });
    let url = format!("http://{}", up.addr);
    let screen = Screen::capdeck(&["attach", "--gateway", &url]);
    screen.shows("LIVE");
    screen.press("3");
    screen.until("the job under the cursor", |text| {
        text.lines()
            .any(|line| line.starts_with('▌') && line.contains("succeeded"))
    });
    screen.press("7");
    screen.shows("1s from the first submission");
    screen.until("what a worker had", |text| {
        let spent = text.lines().find(|line| line.contains("worked  1s"));
        spent.is_some_and(|line| !line.contains("unknown"))
    });
}

#[test]
fn a_rollback_that_is_over_before_a_console_comes_is_told_to_it() {
    let up = Up::start();
    let (_, answer) = up.submit(&json!({
        "topic": "job.mcp-bridge.write.update_ticket",
        "labels": {
            "mcp.action": "read", "demo.outcome": "failed_fatal", "demo.seconds": "0.1",
        },
        "compensation": {
            "topic": "job.mcp-bridge.write.revert_ticket",
            "context_ptr": "redis://ctx:x:undo",
            "labels": {"mcp.action": "read", "demo.outcome": "succeeded", "demo.seconds": "0.1"},
            "meta": {"idempotency_key": "x/undo"},
        },
    }));
    let id = id_of(&answer);
    let step = wait_until("the rollback to be done", || {
        let (_, told) = http(up.addr, "GET", "/api/v1/rollbacks", None);
        let rollback = &told["items"][0];
        (rollback["state"] == "done").then(|| rollback["steps"][0].clone())
    });
    let url = format!("http://{}", up.addr);
    let console = Capdeck::new();
    let told = console.json(&["get", "rollbacks", "--gateway", &url, "-o", "json"]);
    assert_eq!(
        told["items"],
        json!([{
            "workflow_id": null, "job_id": step["job_id"],
            "topic": "job.mcp-bridge.write.revert_ticket", "state": "SUCCEEDED",
            "idempotency_key": "x/undo", "undoes": id, "decision": "ALLOW",
            "would_decide": null, "would_rule_id": null, "would_reason": null,
            "rollback_state": "undone", "started_by": id,
        }]),
        "{step}"
    );
}

#[test]
fn what_policy_would_say_of_an_undo_that_waits_is_printed_with_it() {
    let up = Up::start();
    let step = |outcome: &str, seconds: &str| {
        let (_, answer) = up.submit(&json!({
            "topic": "job.mcp-bridge.write.update_ticket", "workflow_id": "wf-1",
            "labels": {
                "mcp.action": "read", "demo.outcome": outcome, "demo.seconds": "0.1",
                "workflow_id": "wf-1",
            },
            "compensation": {
                "topic": "job.mcp-bridge.write.revert_ticket",
                "labels": {"mcp.action": "read", "demo.outcome": "succeeded", "demo.seconds": seconds},
            },
        }));
        id_of(&answer)
    };
    let first = step("succeeded", "0.1");
    wait_until("the first step to succeed", || {
        let (_, job) = http(up.addr, "GET", &format!("/api/v1/jobs/{first}"), None);
        (job["state"] == "SUCCEEDED").then_some(())
    });
    // Its own undo goes first, and takes its time.
    step("failed_fatal", "600");
    wait_until("the rollback to run", || {
        let (_, told) = http(up.addr, "GET", "/api/v1/rollbacks", None);
        (told["items"][0]["steps"][0]["state"] == "RUNNING").then_some(())
    });
    let url = format!("http://{}", up.addr);
    let console = Capdeck::new();
    let told = console.json(&["get", "rollbacks", "--gateway", &url, "-o", "json"]);
    let waits = &told["items"][1];
    assert_eq!(
        [
            &waits["undoes"],
            &waits["state"],
            &waits["would_decide"],
            &waits["would_rule_id"]
        ],
        [
            &json!(first),
            &json!("WAITING"),
            &json!("ALLOW"),
            &json!("allow-read-path")
        ],
        "{told}"
    );
}

#[test]
fn the_three_calls_of_the_first_policy_do_what_they_say() {
    let up = Up::start();
    let (status, answer) = up.submit(&production_write());
    assert_eq!(
        (status, &answer["status"]),
        (200, &json!("approval_required"))
    );
    let id = id_of(&answer);

    let path = "/api/v1/approvals?include_resolved=false";
    let (status, waiting) = http(up.addr, "GET", path, None);
    assert_eq!(status, 200);
    assert_eq!(waiting["items"][0]["job"]["id"], json!(id));
    assert_eq!(waiting["items"][0]["job"]["state"], "APPROVAL_REQUIRED");
    assert_eq!(waiting["items"][0]["snapshot_current"], true);

    assert_eq!(up.approve(&id).0, 200);
    let (status, refused) = up.approve(&id);
    assert_eq!(
        (status, &refused["code"]),
        (409, &json!("approval_already_resolved"))
    );
    wait_until("visible progress", || {
        let percent = up.job(&id)["percent"].as_i64()?;
        (1..100).contains(&percent).then_some(())
    });
    let job = up.waits_in(&id, "SUCCEEDED");
    assert_eq!(job["attempts"], 1);
    assert_eq!(job["approval_note"], "approved in maintenance window");
    let (_, waiting) = http(up.addr, "GET", path, None);
    assert_eq!(waiting["items"], json!([]));
    assert_eq!(up.terminate().code, 0);
}

#[test]
fn a_policy_that_changed_in_between_refuses_the_yes_and_leaves_the_job_waiting() {
    let up = Up::start();
    let id = id_of(&up.submit(&production_write()).1);
    let moved = FIRST_POLICY.replace("human review", "two human reviews");
    assert_ne!(moved, FIRST_POLICY);
    std::fs::write(&up.policy, moved).unwrap();
    let (status, refused) = up.approve(&id);
    assert_eq!(
        (status, &refused["code"]),
        (409, &json!("approval_stale_snapshot"))
    );
    let (_, waiting) = http(up.addr, "GET", "/api/v1/approvals", None);
    assert_eq!(waiting["items"][0]["snapshot_current"], false);
    assert_eq!(waiting["items"][0]["approval_status"], "pending");
    assert_eq!(up.job(&id)["state"], "APPROVAL_REQUIRED");

    std::fs::write(&up.policy, FIRST_POLICY).unwrap();
    assert_eq!(up.approve(&id).0, 200);
}

#[test]
fn each_rule_of_the_first_policy_decides_its_job_and_no_rule_denies() {
    let up = Up::start();
    let job = |topic: &str, labels: Value| json!({"topic": topic, "labels": labels});
    let quick = json!({"mcp.action": "read", "demo.seconds": "0.1"});

    let (status, answer) = up.submit(&job("job.default", quick));
    assert_eq!(status, 200, "{answer}");
    let read = up.waits_in(&id_of(&answer), "SUCCEEDED");
    assert_eq!(read["safety_decision"], "ALLOW");
    assert_eq!(read["safety_rule_id"], "allow-read-path");

    let held = up.job(&id_of(&up.submit(&production_write()).1));
    assert_eq!(held["safety_decision"], "REQUIRE_APPROVAL");
    assert_eq!(held["safety_rule_id"], "approval-prod-write");

    let (status, answer) = up.submit(&job("job.default", json!({"mcp.action": "delete"})));
    assert_eq!(status, 403, "{answer}");
    let denied = up.job(&id_of(&answer));
    assert_eq!(
        (&denied["state"], &denied["safety_decision"]),
        (&json!("DENIED"), &json!("DENY"))
    );
    assert_eq!(denied["safety_rule_id"], "deny-destructive");

    let (_, answer) = up.submit(&job("job.batch.embed", json!({"demo.seconds": "0.1"})));
    let heavy = up.waits_in(&id_of(&answer), "SUCCEEDED");
    assert_eq!(heavy["safety_decision"], "ALLOW_WITH_CONSTRAINTS");
    assert_eq!(heavy["safety_rule_id"], "constrain-heavy-jobs");
    assert_eq!(
        heavy["dispatched_request"]["budget"]["deadlineMs"],
        "120000"
    );
    assert_eq!(
        heavy["dispatched_request"]["env"]["CORDUM_MAX_RETRIES"],
        "1"
    );
    assert_eq!(heavy["request"]["budget"], Value::Null);

    let (status, answer) = up.submit(&job("job.unheard.of", json!({})));
    assert_eq!(status, 403, "{answer}");
    let unmatched = up.job(&id_of(&answer));
    assert_eq!(unmatched["safety_decision"], "DENY");
    assert_eq!(unmatched["safety_rule_id"], Value::Null);
}

#[test]
fn a_plane_on_real_servers_carries_packets_and_payloads_over_them() {
    let (nats, redis) = (NatsProcess::start(), RedisProcess::start());
    let up = Up::start_with(&["--nats", &nats.url(), "--redis", &redis.url()]);
    let job = json!({
        "topic": "job.default",
        "prompt": "say hello",
        "labels": {"mcp.action": "read", "demo.seconds": "0.1"},
    });
    let (status, answer) = up.submit(&job);
    assert_eq!(status, 200, "{answer}");
    let id = id_of(&answer);
    let done = up.waits_in(&id, "SUCCEEDED");
    assert_eq!(done["result"]["job_id"], json!(id));
    let path = format!("/api/v1/memory?ptr=redis://ctx:{id}");
    let (_, memory) = http(up.addr, "GET", &path, None);
    assert_eq!(memory["json"]["prompt"], "say hello");
    assert_eq!(up.terminate().code, 0);
}

#[test]
fn a_plane_that_cannot_start_says_why_and_exits_with_two() {
    let capdeck = Capdeck::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let held_addr = held.local_addr().unwrap().to_string();
    let bad_policy = capdeck.home().join("bad.yaml");
    std::fs::write(
        &bad_policy,
        "version: v1\nrules:\n  - id: a\n    decison: allow\n",
    )
    .unwrap();
    let bad_scenario = capdeck.home().join("bad.toml");
    std::fs::write(&bad_scenario, "name = \"x\"\nabuot = \"y\"\n").unwrap();
    let (policy, scenario) = (
        bad_policy.display().to_string(),
        bad_scenario.display().to_string(),
    );
    let cases: [(&[&str], &[&str]); 5] = [
        (&["--http", &held_addr], &[&held_addr, "taken"]),
        (&["--http", "0.0.0.0:0"], &["0.0.0.0", "CORDUM_API_KEY"]),
        (
            &["--http", &taken, "--policy", &policy],
            &["bad.yaml", "4", "decison", "`decision`"],
        ),
        (
            &["--http", &taken, "--scenario", &scenario],
            &["bad.toml:2", "abuot", "`about`"],
        ),
        (&["--scenario", "nowhere.toml"], &["nowhere.toml", "quiet"]),
    ];
    for (arguments, words) in cases {
        let mut all = vec!["up", "--no-traffic"];
        all.extend(arguments);
        let ran = capdeck.run(&all);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        for word in words {
            assert!(
                ran.stderr.contains(word),
                "{arguments:?} does not say {word}: {}",
                ran.stderr
            );
        }
    }
    let ran = capdeck.run(&["up", "--nats", "nats://127.0.0.1:1"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("nats://127.0.0.1:1"), "{}", ran.stderr);
}

#[test]
fn keys_come_from_the_environment_or_a_file_that_nobody_else_can_read() {
    let capdeck = Capdeck::new();
    let file = capdeck.home().join("keys");
    std::fs::write(&file, "acme:k1:viewer:vera\n").unwrap();
    let mode = |bits| {
        let bits = std::fs::Permissions::from_mode(bits);
        std::fs::set_permissions(&file, bits).unwrap();
    };
    let up = || {
        let mut command = capdeck.command(&["up", "--no-traffic", "--http", "127.0.0.1:0"]);
        command.env("CORDUM_API_KEYS_PATH", &file);
        command
    };
    mode(0o644);
    let refused = up().output().unwrap();
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{stderr}");
    for word in ["mode 644", "needed is 600", "hint: chmod 600"] {
        assert!(stderr.contains(word), "{stderr}");
    }
    mode(0o600);
    let bad = up()
        .env("CORDUM_API_KEYS", "acme:s3cret:boss")
        .output()
        .unwrap();
    let stderr = String::from_utf8(bad.stderr).unwrap();
    assert_eq!(bad.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("API key 1: the role"), "{stderr}");
    assert!(stderr.contains("CORDUM_API_KEYS"), "{stderr}");
    assert!(!stderr.contains("s3cret"), "{stderr}");

    let running = Running::start(&mut up());
    let addr = running::gateway(&running.ready).parse().unwrap();
    let (without, _) = http(addr, "GET", "/api/v1/jobs", None);
    assert_eq!(without, 401);
}

#[test]
fn a_stranger_who_reads_the_document_meets_no_error_of_ours_and_nothing_untold() {
    let up = Up::start();
    for answer in [production_write(), json!({"topic": "job.unheard.of"})] {
        up.submit(&answer);
    }
    run_peer("interface.py", &[&format!("http://{}", up.addr)]);
    assert_eq!(up.terminate().code, 0);
}

#[test]
fn a_plane_fails_closed_unless_it_was_told_otherwise_in_so_many_words() {
    for (arguments, mode) in [(&[][..], "closed"), (&["--fail-open"][..], "open")] {
        let up = Up::start_with(arguments);
        let (_, status) = http(up.addr, "GET", "/api/v1/status", None);
        assert_eq!(status["fail_mode"], mode);
        assert_eq!(status["circuit_breakers"]["input"]["state"], "closed");
    }
}

/// The plane in this process, with an ear on what goes to workers.
struct Inside {
    plane: ControlPlane,
    bus: LocalBus,
    dispatches: Subscription,
    _home: tempfile::TempDir,
}

impl Inside {
    async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let policy = home.path().join("policy.yaml");
        std::fs::write(&policy, FIRST_POLICY).unwrap();
        let bus = LocalBus::new();
        let to_workers = Pattern::parse("worker.*.jobs").unwrap();
        let dispatches = bus.subscribe(&to_workers, None).await.unwrap();
        let options = Options {
            rules: Rules::File(policy),
            scenario: Scenario::built_in("quiet").unwrap(),
            workers: true,
            traffic: false,
            speed: 1.0,
            seed: 7,
            http: gateway::Options {
                listen: "127.0.0.1:0".parse().unwrap(),
                keys: gateway::Keyring::default(),
                next_free_port: false,
            },
            max_jobs: MAX_JOBS,
            fail_open: false,
            shared_as: None,
        };
        let store = Arc::new(MemoryStore::new(clock()));
        let plane = ControlPlane::start(Arc::new(bus.clone()), store, clock(), options)
            .await
            .unwrap();
        Self {
            plane,
            bus,
            dispatches,
            _home: home,
        }
    }

    async fn call(&self, method: &'static str, path: String, body: Option<Value>) -> (u16, Value) {
        let addr = self.plane.http_addr();
        tokio::task::spawn_blocking(move || http(addr, method, &path, body.as_ref()))
            .await
            .unwrap()
    }

    async fn waits_in(&self, id: &str, state: &str) -> Value {
        crate::support::eventually(&format!("{id} in {state}"), || async {
            let (_, job) = self.call("GET", format!("/api/v1/jobs/{id}"), None).await;
            (job["state"] == state).then_some(job)
        })
        .await
    }

    async fn publish(&self, packet: &Packet, subject: &'static str) {
        let subject = wire::subject(subject);
        let bytes = encode::encode(&subject, packet).unwrap();
        self.bus.publish(&subject, bytes).await.unwrap();
    }

    /// The next request that went to a worker.
    async fn dispatched(&mut self) -> JobRequest {
        let delivery = tokio::time::timeout(PATIENCE, self.dispatches.recv())
            .await
            .expect("something is dispatched")
            .expect("the bus lives");
        match decode::decode(&delivery).unwrap().body {
            Body::JobRequest(request) => *request,
            other => panic!("{other:?} went to a worker"),
        }
    }

    /// Ends the plane; what was dispatched and not looked at, by topic.
    async fn end(mut self) -> Vec<String> {
        self.plane.shutdown().await;
        let mut rest = Vec::new();
        loop {
            let more = tokio::time::timeout(Duration::from_millis(50), self.dispatches.recv());
            let Ok(Some(delivery)) = more.await else {
                return rest;
            };
            if let Body::JobRequest(request) = decode::decode(&delivery).unwrap().body {
                rest.push(request.topic);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_yeses_at_once_one_counts_and_the_job_runs_once() {
    let mut inside = Inside::start().await;
    let (_, answer) = inside
        .call("POST", "/api/v1/jobs".to_owned(), Some(production_write()))
        .await;
    let id = id_of(&answer);
    let addr = inside.plane.http_addr();
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let path = format!("/api/v1/approvals/{id}/approve");
            std::thread::spawn(move || http(addr, "POST", &path, Some(&json!({}))).0)
        })
        .collect();
    let statuses = tokio::task::spawn_blocking(move || {
        let mut statuses: Vec<_> = calls.into_iter().map(|call| call.join().unwrap()).collect();
        statuses.sort_unstable();
        statuses
    })
    .await
    .unwrap();
    let mut expected = vec![409; 50];
    expected[0] = 200;
    assert_eq!(statuses, expected);
    assert_eq!(inside.dispatched().await.job_id.as_str(), id);
    inside.waits_in(&id, "SUCCEEDED").await;
    assert_eq!(inside.end().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_undoes_a_job_that_failed_for_good_is_joined_to_it_and_runs_once() {
    let mut inside = Inside::start().await;
    let envelope = json!({
        "traceId": "trace-1",
        "senderId": "agent-7",
        "createdAt": "2026-01-01T00:00:00Z",
        "protocolVersion": 1,
        "jobRequest": {
            "jobId": "job-7",
            "topic": "job.mcp-bridge.write.update_ticket",
            "tenantId": "default",
            "contextPtr": "redis://ctx:job-7",
            "labels": {
                "mcp.server": "jira", "mcp.tool": "update_ticket", "mcp.action": "read",
                "demo.outcome": "failed_fatal", "demo.error_code": "ERROR_CODE_JOB_TIMEOUT",
                "demo.seconds": "0.1",
            },
            "compensation": {
                "topic": "job.mcp-bridge.write.revert_ticket",
                "contextPtr": "redis://ctx:job-7:undo",
                "meta": {"idempotencyKey": "job-7/undo"},
            },
        },
    });
    let text = envelope.to_string();
    let (packet, _) = json::packet_from_json(text.as_bytes(), json::Unknown::Refuse).unwrap();
    let packet = packet.unwrap();
    for _ in 0..3 {
        inside.publish(&packet, wire::SUBMIT).await;
    }
    let job = inside.waits_in("job-7", "FAILED").await;
    assert_eq!(job["trace_id"], "trace-1");
    assert_eq!(job["error_code"], "ERROR_CODE_JOB_TIMEOUT");
    let joined = &job["compensation"];
    assert_eq!(joined["topic"], "job.mcp-bridge.write.revert_ticket");
    assert_eq!(joined["context_ptr"], "redis://ctx:job-7:undo");
    assert_eq!(joined["meta"], json!({"idempotency_key": "job-7/undo"}));

    let sent = inside.dispatched().await;
    assert_eq!(sent.labels["mcp.tool"], "update_ticket");
    assert_eq!(sent.context_ptr, "redis://ctx:job-7");
    let undo = inside.dispatched().await;
    assert_eq!(undo.topic, "job.mcp-bridge.write.revert_ticket");
    assert_eq!(undo.context_ptr, "redis://ctx:job-7:undo");
    assert_eq!(undo.parent_job_id.as_str(), "job-7");
    assert_eq!(undo.labels["saga_compensation"], "true");
    let meta = undo.meta.as_ref().unwrap();
    assert_eq!(meta.idempotency_key, "job-7/undo");

    // The same end, told again and again, undoes nothing more.
    let worker = sent.dispatch.as_ref().unwrap().assigned_worker_id.clone();
    let result = JobResult {
        job_id: sent.job_id.clone(),
        status: JobStatus::FailedFatal,
        error_code_enum: ErrorCode::JobTimeout,
        worker_id: worker.clone(),
        ..JobResult::default()
    };
    let body = Body::JobResult(Box::new(result));
    let again = Packet::new(
        "trace-1".into(),
        worker.as_str().into(),
        clock().now(),
        body,
    );
    for _ in 0..3 {
        inside.publish(&again, wire::RESULT).await;
    }
    inside.waits_in(undo.job_id.as_str(), "SUCCEEDED").await;
    assert_eq!(inside.end().await, Vec::<String>::new());
}
