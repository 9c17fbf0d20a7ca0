//! Agents on the public SDK as the only workers of a plane: what they report counts, and
//! what they do after a cancel that they never heard is seen.

use serde_json::{Value, json};

use crate::acting::{Plane, check};
use crate::keys::Screen;
use crate::support::{Capdeck, NatsProcess, Peer, RedisProcess, wait_until};

fn job(plane: &Plane, id: &str) -> Value {
    let ran = plane.run(&["get", "jobs", id, "-o", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    document["items"][0].clone()
}

#[test]
fn an_agent_of_the_sdk_does_jobs_and_goes_on_with_a_cancelled_one_which_is_seen() {
    let (nats, redis) = (NatsProcess::start(), RedisProcess::start());
    let mut peer = Peer::start(
        "thinker.py",
        &["--nats", &nats.url(), "--redis", &redis.url()],
    );
    let mut lines = peer.lines();
    lines.wait_for("being ready", |line| line.contains("\"ready\""));
    let home = Capdeck::new();
    let policy = home.home().join("open.yaml");
    let allow =
        "version: v1\nrules:\n  - id: all\n    match: {topics: ['job.*']}\n    decision: allow\n";
    std::fs::write(&policy, allow).unwrap();
    let until = home.home().join("until");
    let (url, store) = (nats.url(), redis.url());
    let plane = Plane::up(
        home,
        &[
            "--no-workers",
            "--no-traffic",
            "--policy",
            policy.to_str().unwrap(),
            "--nats",
            &url,
            "--redis",
            &store,
        ],
    );
    let think = |id: &str| {
        json!({
            "job_id": id, "topic": "job.agent.think", "prompt": "why",
            "context": {"until": until.to_str().unwrap()},
        })
    };
    let screen = Screen::capdeck(&["attach", "--nats", &url, "--gateway", &plane.url]);
    screen.shows("LIVE");
    screen.press("3");
    for id in ["j-done", "j-cancelled"] {
        check(&plane.submit(&think(id), &[]), 0, "accepted");
        lines.wait_for("the job", |line| {
            line.contains("\"took\"") && line.contains(id)
        });
    }
    wait_until("its progress", || {
        (job(&plane, "j-done")["percent"] == 50).then_some(())
    });
    let cancelled = plane.run(&["cancel", "j-cancelled", "--reason", "not needed"]);
    check(&cancelled, 0, "j-cancelled CANCELLED");
    assert_eq!(job(&plane, "j-cancelled")["state"], "CANCELLED");

    std::fs::write(&until, "").unwrap();
    for _ in 0..2 {
        lines.wait_for("an end", |line| line.contains("\"done\""));
    }
    wait_until("its result", || {
        (job(&plane, "j-done")["state"] == "SUCCEEDED").then_some(())
    });
    let done = job(&plane, "j-done");
    assert_eq!(done["worker_id"], "thinker", "{done}");
    assert_eq!(done["result_ptr"], "redis://res:j-done", "{done}");
    // Its success came, and changes nothing but what is told.
    screen.until("that the worker went on", |text| {
        text.lines()
            .any(|line| line.contains("cancelled") && line.contains("worker did it all the same, "))
    });
    assert_eq!(job(&plane, "j-cancelled")["state"], "CANCELLED");
    screen.press("1");
    screen.until("the alert of it", |text| {
        text.lines().any(|line| line.contains("ERR  cancel_no"))
    });
}
