//! `capdeck up`: what it is told to run, and how it ends.

use std::net::TcpListener;

use capdeck::bus::nats::NatsBus;
use capdeck::bus::{Bus as _, LinkState, Pattern};
use capdeck::wire;
use capdeck::wire::decode::decode;
use capdeck::wire::encode::encode;
use capdeck::wire::packet::{Body, Heartbeat, Packet};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::acting::{FIRST_POLICY, Plane, check};
use crate::support::{Capdeck, NatsProcess, clock, link_is, soon, wait_until};

/// A pool of one worker, and a job for it that comes at `at` seconds.
fn scenario(at: u32) -> String {
    format!(
        r#"
name = "forge"
about = "one job"

[[pool]]
name = "forge"
workers = 1
slots = 2
topics = ["job.forge.*"]

[job.hammer]
topic = "job.forge.hammer"
tenants = ["default"]
principals = ["smith"]
labels = {{ "mcp.action" = "read" }}
seconds = 0.1

[[once]]
at = {at}
job = "hammer"
"#
    )
}

/// A plane on a scenario of its own, under the first policy.
fn plane(at: u32, more: &[&str]) -> Plane {
    let home = Capdeck::new();
    let file = |name: &str, text: &str| {
        let path = home.home().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let policy = file("policy.yaml", FIRST_POLICY);
    let forge = file("forge.toml", &scenario(at));
    let fixed = ["--policy", &policy, "--scenario", &forge];
    Plane::up(home, &[&fixed, more].concat())
}

fn items(plane: &Plane, what: &[&str]) -> Vec<Value> {
    let ran = plane.run(&[&["get"], what, &["-o", "json"]].concat());
    check(&ran, 0, "\"items\"");
    let mut document: Value = serde_json::from_str(&ran.stdout).unwrap();
    serde_json::from_value(document["items"].take()).unwrap()
}

/// Waits until the job of the scenario has ended well; who did it.
fn hammered(plane: &Plane) -> Value {
    wait_until("the job of the scenario", || {
        let jobs = items(plane, &["jobs"]);
        let job = jobs.into_iter().find(|job| job["state"] == "SUCCEEDED")?;
        assert_eq!(job["topic"], "job.forge.hammer", "{job}");
        Some(job["worker_id"].clone())
    })
}

#[test]
fn a_scenario_of_ones_own_brings_its_pool_and_its_job() {
    let plane = plane(0, &[]);
    assert_eq!(hammered(&plane), "w-forge-01");
    let workers = items(&plane, &["workers"]);
    assert_eq!(workers.len(), 1, "{workers:?}");
    assert_eq!(workers[0]["pool"], "forge");
    assert_eq!(workers[0]["worker_id"], "w-forge-01");
    assert_eq!(workers[0]["max_parallel_jobs"], 2);
}

#[test]
fn without_traffic_the_jobs_of_a_scenario_are_left_out() {
    let plane = plane(0, &["--no-traffic"]);
    let job = json!({"topic": "job.forge.bend", "labels": {"mcp.action": "read"}});
    check(&plane.submit(&job, &["--wait"]), 0, " SUCCEEDED\n");
    // What was to come at the start would have been first.
    let jobs = items(&plane, &["jobs"]);
    let topics: Vec<&Value> = jobs.iter().map(|job| &job["topic"]).collect();
    assert_eq!(topics, ["job.forge.bend"]);
}

#[test]
fn at_a_thousand_times_the_speed_a_job_of_the_next_hour_is_there_while_one_waits() {
    // Half an hour is more than anything here is waited for.
    let plane = plane(1_800, &["--speed", "1000"]);
    assert_eq!(hammered(&plane), "w-forge-01");
}

#[test]
fn a_speed_that_is_none_is_refused() {
    for speed in ["0", "0.001", "1001", "-1", "fast", "nan"] {
        let given = format!("--speed={speed}");
        let ran = Capdeck::new().run(&["up", &given, "--http", "127.0.0.1:0"]);
        check(&ran, 2, "a number from 0.01 to 1000 is needed");
        check(&ran, 2, "--speed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_workers_a_job_waits_until_somebody_elses_beats_on_the_bus() {
    let nats = NatsProcess::start();
    let bus = NatsBus::connect(&nats.config(), clock()).unwrap();
    link_is(&bus, "a connection", |link| *link == LinkState::Up).await;
    let all = Pattern::parse(">").unwrap();
    let mut heard = bus.subscribe(&all, None).await.unwrap();
    let url = nats.url();
    let start = move || plane(0, &["--no-workers", "--nats", &url]);
    let plane = tokio::task::spawn_blocking(start).await.unwrap();
    let job = wait_until("a job that waits", || {
        let jobs = items(&plane, &["jobs"]);
        jobs.into_iter().find(|job| job["waiting_on"].is_string())
    });
    assert_eq!(job["topic"], "job.forge.hammer");
    assert_eq!(job["waiting_on"], "no_workers");
    assert_eq!(job["state"], "PENDING");
    assert_eq!(job["worker_id"], Value::Null);
    assert_eq!(items(&plane, &["workers"]), [] as [Value; 0]);

    let beat = Heartbeat {
        worker_id: "w-foreign".into(),
        pool: "forge".into(),
        max_parallel_jobs: 1,
        ..Heartbeat::default()
    };
    let body = Body::Heartbeat(Box::new(beat));
    let packet = Packet::new("t-1".into(), "w-foreign".into(), clock().now(), body);
    let subject = wire::subject(wire::HEARTBEAT);
    let bytes = encode(&subject, &packet).unwrap();
    bus.publish(&subject, bytes).await.unwrap();
    loop {
        let delivery = soon("the job", heard.recv()).await.unwrap();
        // What the plane asks the bus, and other planes, is no packet.
        let subject = delivery.subject.as_str();
        let asked = ["_INBOX.", "capdeck.", "$SYS."];
        if asked.iter().any(|it| subject.starts_with(it)) {
            continue;
        }
        match decode(&delivery).unwrap().body {
            // A worker of the plane would have beaten before.
            Body::Heartbeat(beat) => assert_eq!(beat.worker_id.as_str(), "w-foreign"),
            Body::JobRequest(_) if delivery.subject.as_str() == "worker.w-foreign.jobs" => break,
            _ => {}
        }
    }
}

#[test]
fn either_signal_ends_it_with_exit_code_0_and_frees_its_port() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut plane = plane(0, &[]);
        let address = plane.url.strip_prefix("http://").unwrap().to_owned();
        let taken = TcpListener::bind(&address).unwrap_err();
        assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
        assert_eq!(plane.end(signal).code(), Some(0), "{signal:?}");
        wait_until("its port", || TcpListener::bind(&address).ok());
    }
}
