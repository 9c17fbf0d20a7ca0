//! `capdeck get`: its three forms tell of the same things.

use std::process::Stdio;

use capdeck::bus::nats::NatsBus;
use capdeck::bus::{Bus as _, LinkState};
use capdeck::control_plane::scenario::Scenario;
use capdeck::wire::encode::encode;
use capdeck::wire::packet::{AlertSeverity, Body, ErrorCode, Packet, SystemAlert};
use capdeck::{text, wire};
use serde_json::{Value, json};

use crate::acting::{Plane, check, write};
use crate::running::{Running, gateway};
use crate::support::{Capdeck, Lines, NatsProcess, Ran, clock, link_is, wait_until};

/// The items of a kind without what time alone changes, whichever way they came.
fn steady(items: Vec<Value>, moves: &[&str]) -> Vec<Value> {
    let mut items = items;
    for item in &mut items {
        let fields = item.as_object_mut().unwrap();
        for name in moves {
            assert!(fields.remove(*name).is_some(), "no {name} in {fields:?}");
        }
    }
    items
}

/// What came of the three forms of one question.
struct Forms {
    json: Ran,
    jsonl: Ran,
    table: Ran,
}

/// Compares the forms; `moves` are the members that change by time alone, `heads` the
/// columns of the table, and `key` is the one that names an item, in column `at`.
#[track_caller]
fn agree(forms: &Forms, kind: &str, moves: &[&str], heads: &[&str], (key, at): (&str, usize)) {
    check(&forms.json, 0, "");
    check(&forms.jsonl, 0, "");
    check(&forms.table, 0, "");
    let document: Value = serde_json::from_str(&forms.json.stdout).unwrap();
    assert_eq!(document["schema"], "capdeck/1");
    assert_eq!(document["kind"], kind);
    let mut items = document["items"].as_array().unwrap().clone();
    assert!(items.len() > 1, "{document}");
    // Who begins to listen while alerts are told hears either of them first.
    let any_order = kind == "alerts";
    let by_key = |item: &Value| item[key].as_str().map(str::to_owned);

    let mut lines = Vec::new();
    for line in forms.jsonl.stdout.lines() {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let fields = line.as_object_mut().unwrap();
        assert_eq!(fields.remove("schema"), Some(json!("capdeck/1")));
        assert_eq!(fields.remove("kind"), Some(json!(kind)));
        lines.push(line);
    }
    if any_order {
        items.sort_by_key(by_key);
        lines.sort_by_key(by_key);
    }
    assert_eq!(steady(lines, moves), steady(items.clone(), moves), "{kind}");

    let mut rows = forms.table.stdout.lines();
    let head = rows.next().unwrap();
    let named: Vec<&str> = head.split("  ").filter(|it| !it.is_empty()).collect();
    assert_eq!(named.iter().map(|it| it.trim()).collect::<Vec<_>>(), heads);
    let from = text::width(head.split_once(heads[at]).unwrap().0);
    let mut rows: Vec<&str> = rows.collect();
    if any_order {
        rows.sort_by_key(|row| row.chars().skip(from).collect::<String>());
    }
    assert_eq!(rows.len(), items.len(), "{}", forms.table.stdout);
    for (row, item) in rows.iter().zip(&items) {
        let cell: String = row.chars().skip(from).collect();
        let name = item[key].as_str().unwrap();
        assert!(cell.starts_with(&format!("{name} ")), "{name}: {row:?}");
    }
}

impl Forms {
    /// Asks a plane.
    fn of(plane: &Plane, kind: &str) -> Self {
        let ask = |output: &str| plane.run(&["get", kind, "-o", output]);
        Self {
            json: ask("json"),
            jsonl: ask("jsonl"),
            table: ask("table"),
        }
    }
}

#[test]
fn jobs_workers_and_approvals_are_the_same_in_a_table_and_as_json() {
    let plane = Plane::start();
    // Before there is a job: what a worker has would change with it.
    let scenario = Scenario::built_in("default").unwrap();
    let all: u32 = scenario.pools.iter().map(|pool| pool.workers).sum();
    wait_until("every worker", || {
        let ran = plane.run(&["get", "workers", "-o", "jsonl"]);
        (ran.stdout.lines().count() == all as usize).then_some(())
    });
    agree(
        &Forms::of(&plane, "workers"),
        "workers",
        &[
            "heartbeat_age_ms",
            "heartbeats",
            "cpu_load",
            "memory_load",
            "gpu_utilization",
            "pressure",
        ],
        &[
            "STANDING",
            "WORKER",
            "POOL",
            "REGION",
            "PRESSURE",
            "CPU",
            "MEM",
            "GPU",
            "ACTIVE",
            "MAX",
            "HEARD",
            "LAST WORD",
        ],
        ("worker_id", 1),
    );
    for name in ["j-one", "j-two"] {
        let mut job = write();
        job["job_id"] = json!(name);
        check(&plane.submit(&job, &[]), 0, "waits for approval");
    }
    let mut done = write();
    done["job_id"] = json!("j-done");
    done["labels"] = json!({"mcp.action": "read", "demo.seconds": "0.1"});
    check(&plane.submit(&done, &["--wait"]), 0, "j-done SUCCEEDED");
    let jobs = Forms::of(&plane, "jobs");
    for word in ["j-one", "j-two", "j-done"] {
        check(&jobs.table, 0, word);
    }
    agree(
        &jobs,
        "jobs",
        // Each of the three runs saw them first for itself.
        &["first_seen", "updated_at"],
        &[
            "STATE", "JOB", "TOPIC", "PERCENT", "WORKER", "DECISION", "TRY", "WAITS ON", "ERROR",
            "MESSAGE",
        ],
        ("job_id", 1),
    );
    agree(
        &Forms::of(&plane, "approvals"),
        "approvals",
        &["wait_ms"],
        &[
            "WAIT", "STATUS", "JOB", "TOPIC", "RULE", "RISK", "UNDO", "CURRENT", "HASH", "REASON",
        ],
        ("job_id", 2),
    );
}

#[test]
fn decisions_are_the_same_in_a_table_and_as_json_and_can_be_asked_for_by_job_and_filter() {
    let plane = Plane::start();
    let mut held = write();
    held["job_id"] = json!("j-held");
    held["actor_id"] = json!("agent-7");
    check(&plane.submit(&held, &[]), 0, "waits for approval");
    let mut done = write();
    done["job_id"] = json!("j-done");
    done["labels"] = json!({"mcp.action": "read", "demo.seconds": "0.1"});
    check(&plane.submit(&done, &["--wait"]), 0, "j-done SUCCEEDED");
    agree(
        &Forms::of(&plane, "decisions"),
        "decisions",
        &[],
        &[
            "AT", "TIMES", "DECISION", "RULE", "JOB", "TOPIC", "CHECK", "REASON",
        ],
        ("job_id", 4),
    );
    let items = |more: &[&str]| {
        let ran = plane.run(&[&["get", "decisions", "-o", "json"], more].concat());
        check(&ran, 0, "");
        let document: Value = serde_json::from_str(&ran.stdout).unwrap();
        document["items"].as_array().unwrap().clone()
    };
    let told = |items: Vec<Value>| -> Vec<String> {
        let line = |it: &Value| {
            let word = |name: &str| it[name].as_str().unwrap_or("-").to_owned();
            format!("{} {} {}", word("job_id"), word("decision"), word("check"))
        };
        items.iter().map(line).collect()
    };
    let all = [
        "j-done ALLOW dispatch",
        "j-done ALLOW submit",
        "j-held REQUIRE_APPROVAL submit",
    ];
    assert_eq!(told(items(&[])), all);
    assert_eq!(
        told(items(&["--filter", "decision:allow check:submit"])),
        all[1..2]
    );
    assert_eq!(told(items(&["--filter", "actor:agent-7 age<1h"])), all[2..]);
    assert_eq!(told(items(&["--filter", "age>1h"])), [""; 0]);
    let of_job = items(&["j-held"]);
    assert_eq!(of_job.len(), 1);
    let kept = &of_job[0];
    assert_eq!(kept["topic"], write()["topic"]);
    assert_eq!(kept["approval_ref"], "j-held");
    assert_eq!(kept["approval_status"], "pending");
    assert_eq!(kept["job_hash"].as_str().map(str::len), Some(64));

    check(
        &plane.run(&["get", "decisions", "nope"]),
        1,
        "no job with the id nope",
    );
    let none = plane.run(&["get", "decisions", "--filter", "decision:alow"]);
    check(&none, 0, "no decisions match decision:alow; did you mean");
    let bad = plane.run(&["get", "decisions", "--filter", "pressure>1"]);
    check(&bad, 2, "bad filter");
    let by_bus = Capdeck::new().run(&["get", "decisions", "--nats", "nats://127.0.0.1:1"]);
    check(&by_bus, 2, "give --gateway");
}

#[test]
fn what_was_turned_away_at_submission_is_found_by_its_id_too() {
    let home = Capdeck::new();
    let policy = home.home().join("policy.yaml");
    let text = "version: v1\nrules: [{id: slow, decision: throttle, reason: not now}]\n";
    std::fs::write(&policy, text).unwrap();
    let plane = Plane::up(
        home,
        &["--no-traffic", "--policy", policy.to_str().unwrap()],
    );
    let mut job = write();
    job["job_id"] = json!("j-away");
    let ran = plane.submit(&job, &[]);
    assert_ne!(ran.code, 0, "{}", ran.stdout);
    let ran = plane.run(&["get", "decisions", "j-away", "-o", "json"]);
    check(&ran, 0, "THROTTLE");
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["items"][0]["rule_id"], "slow");
    let ran = plane.run(&["get", "decisions", "j-none"]);
    check(&ran, 1, "no job with the id j-none is known");
}

#[test]
fn whoever_has_no_key_or_a_wrong_one_is_told_so() {
    let home = Capdeck::new();
    let keys = ("CORDUM_API_KEYS", "acme:right:admin:ada");
    let up = &["up", "--no-traffic", "--http", "127.0.0.1:0"];
    let plane = Running::start(home.command(up).env(keys.0, keys.1));
    let server = format!("http://{}", gateway(&plane.ready));
    for key in ["", "wrong"] {
        let mut get = home.command(&["get", "jobs", "--gateway", &server]);
        let ran = Ran::of(get.env("CORDUM_API_KEY", key).output().unwrap());
        check(&ran, 1, "error: the gateway refuses the key");
        check(&ran, 1, "hint: CORDUM_API_KEY holds the key");
    }
    drop(plane);
}

#[test]
fn whoever_watches_decisions_is_told_when_the_gateway_is_away_and_goes_on_after() {
    let home = Capdeck::new();
    let start =
        |http: &str| Running::start(&mut home.command(&["up", "--no-traffic", "--http", http]));
    let mut plane = start("127.0.0.1:0");
    let addr = gateway(&plane.ready).to_owned();
    let server = format!("http://{addr}");
    let submit = |id: &str| {
        let job = json!({"job_id": id, "topic": "job.demo.echo"});
        let file = home.home().join("job.json");
        std::fs::write(&file, job.to_string()).unwrap();
        let file = file.to_str().unwrap();
        home.run(&["submit", "-f", file, "--gateway", &server]);
    };
    submit("before");
    let arguments = ["get", "decisions", "--watch", "--gateway", &server];
    let mut watch = home
        .command(&arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = Lines::of(watch.stdout.take().unwrap(), "the watch".to_owned());
    let mut notes = Lines::of(watch.stderr.take().unwrap(), "its notes".to_owned());
    let of = |id: &'static str| move |line: &str| line.contains(&format!("\"job_id\":\"{id}\""));
    lines.wait_for("the first job", of("before"));
    submit("later");
    lines.wait_for("the next job", of("later"));
    plane.crash();
    notes.wait_for("the loss", |line| {
        line.ends_with("it is asked again and again")
    });
    let again = start(&addr);
    notes.wait_for("the return", |line| {
        line == "note: the gateway answers again"
    });
    submit("after");
    lines.wait_for("the job after it", of("after"));
    let before = lines.seen().iter().filter(|line| of("before")(line));
    let asked = before.filter(|line| line.contains("\"check\":\"submit\""));
    assert_eq!(asked.count(), 1, "what was printed is not printed again");
    watch.kill().unwrap();
    watch.wait().unwrap();
    drop(again);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_on_the_wire_are_the_same_in_a_table_and_as_json() {
    let nats = NatsProcess::start();
    let bus = NatsBus::connect(&nats.config(), clock()).unwrap();
    link_is(&bus, "a connection", |link| *link == LinkState::Up).await;
    let subject = wire::subject(wire::ALERT);
    let alerts: Vec<_> = [
        ("disk full", ErrorCode::JobResourceExhausted, "store-1"),
        ("too slow", ErrorCode::JobTimeout, "pool-7"),
    ]
    .map(|(message, error_code_enum, component)| {
        let alert = SystemAlert {
            message: message.to_owned(),
            severity: AlertSeverity::Critical,
            error_code_enum,
            source_component: component.to_owned(),
            ..SystemAlert::default()
        };
        let body = Body::Alert(Box::new(alert));
        let packet = Packet::new("t-1".into(), component.into(), clock().now(), body);
        encode(&subject, &packet).unwrap()
    })
    .into();

    let url = nats.url();
    let ask = |output: &'static str| {
        let url = url.clone();
        tokio::task::spawn_blocking(move || {
            let listen = ["--nats", &url, "--listen", "6s", "-o", output];
            Capdeck::new().run(&[&["get", "alerts"], &listen[..]].concat())
        })
    };
    let asked = [ask("json"), ask("jsonl"), ask("table")];
    // Told again and again, so that whoever listens hears each of them in that time.
    while !asked.iter().all(tokio::task::JoinHandle::is_finished) {
        for alert in &alerts {
            bus.publish(&subject, alert.clone()).await.unwrap();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let [json, jsonl, table] = asked;
    let forms = Forms {
        json: json.await.unwrap(),
        jsonl: jsonl.await.unwrap(),
        table: table.await.unwrap(),
    };
    for word in ["CRITICAL", "disk full", "too slow", "store-1", "pool-7"] {
        check(&forms.json, 0, word);
        check(&forms.table, 0, word);
    }
    agree(
        &forms,
        "alerts",
        &["since", "times"],
        &[
            "STATUS", "SEVERITY", "ALERT", "SUBJECT", "TIMES", "SINCE", "MESSAGE",
        ],
        ("subject", 3),
    );
}
