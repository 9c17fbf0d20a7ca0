//! What is promised when something dies under two planes: how soon the work goes on, and
//! what runs more than once.

use std::time::{Duration, Instant};

use capdeck::time::{Clock as _, Elapsed, SystemClock, Timestamp};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::ground::{Ground, Plane, Submitters, call, executions, names, wait_long};
use crate::support::wait_until;

/// What a dead plane held is taken over within this: the promise itself.
const TAKEN_OVER: Elapsed = Elapsed::from_secs(15);

/// When each event of a job was whose note says `words`.
fn events(plane: &Plane, id: &str, words: &str) -> Vec<Timestamp> {
    let job = plane.get(&format!("/jobs/{id}"));
    let events = job["events"].as_array().unwrap();
    let noted = events.iter().filter(|event| {
        let note = event["note"].as_str().unwrap_or_default();
        note.contains(words)
    });
    noted
        .map(|event| Timestamp::from_millis(event["ts"].as_i64().unwrap() / 1_000))
        .collect()
}

/// Waits until all jobs have ended well; on a busy machine two thousand take minutes.
fn all_succeed(plane: &Plane, jobs: usize) {
    let mut before = Value::Null;
    loop {
        // As long as anything moves, it goes on.
        before = wait_long("the end of every job, or of one more", || {
            let (status, told) = call(&plane.url, "GET", "/status", None)?;
            let now = told["pipeline"].clone();
            (status == 200 && now != before).then_some(now)
        });
        if before["succeeded"] == json!(jobs) {
            return;
        }
    }
}

#[test]
fn what_a_dead_leader_held_goes_on_within_fifteen_seconds() {
    let ground = Ground::new();
    let _toilers = ground.toilers(1);
    let first = ground.plane(&[]);
    first.leads();
    let second = ground.plane(&["--join"]);
    // More than its worker has room for, so that some wait; the SDK does one at a time.
    let ids = names(12);
    for id in &ids {
        let job = json!({"job_id": id, "topic": "job.toil.run", "labels": {"toil.seconds": "2"}});
        assert_eq!(first.post("/jobs", &job).0, 200);
    }
    wait_until("jobs at work and jobs that wait", || {
        let pipeline = first.get("/status")["pipeline"].clone();
        (pipeline["running"] == json!(ROOM) && pipeline["pending"] != 0).then_some(())
    });
    let died_at = SystemClock.now();
    first.dies();
    all_succeed(&second, ids.len());
    // By the stamps on record, whatever else this machine did meanwhile.
    let sent: Vec<Timestamp> = ids
        .iter()
        .flat_map(|id| events(&second, id, "to toil-w"))
        .filter(|at| *at > died_at)
        .collect();
    let first_sent = sent.into_iter().min();
    let pause = first_sent.expect("some waited").since(died_at);
    assert!(pause <= TAKEN_OVER, "it went on after {pause:?}");
    assert!(executions(&ground.log()).values().all(|times| *times == 1));
}

#[test]
fn another_plane_leads_within_fifteen_seconds_and_says_so() {
    let ground = Ground::new();
    let first = ground.plane(&[]);
    first.leads();
    let second = ground.plane(&["--join"]);
    let name = second.get("/status")["plane"]["name"].clone();
    let died_at = Instant::now();
    first.dies();
    loop {
        let told = call(&second.url, "GET", "/status", None);
        let plane = told.map(|(_, told)| told["plane"].clone());
        if plane.as_ref().is_some_and(|it| it["leads"] == true) {
            assert_eq!(plane.unwrap()["leader"], name);
            return;
        }
        let limit = Duration::from_millis(TAKEN_OVER.as_millis());
        assert!(died_at.elapsed() < limit, "nobody leads: {plane:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_the_workers_of_a_dead_plane_had_is_given_to_others_within_fifteen_seconds() {
    let ground = Ground::new();
    let first = ground.plane(&[]);
    first.leads();
    let second = ground.plane_with_workers(&["--join"]);
    let job = json!({
        "job_id": "j-long", "topic": "job.mcp.run",
        "labels": {"demo.seconds": "60", "demo.outcome": "succeeded"},
    });
    assert_eq!(first.post("/jobs", &job).0, 200);
    wait_until("its worker", || {
        (first.state("j-long") == "RUNNING").then_some(())
    });
    let died_at = SystemClock.now();
    second.dies();
    let given = wait_long("another attempt", || {
        let told = events(&first, "j-long", "its worker ended with its plane");
        told.first().copied()
    });
    let pause = given.since(died_at);
    assert!(
        pause <= TAKEN_OVER,
        "it was given to others after {pause:?}"
    );
}

/// What came of jobs while a server was gone for a moment.
#[derive(Debug)]
struct Counts {
    /// Executions beyond one for each job.
    beyond_one: usize,
    /// Jobs that were sent again, as their record tells.
    sent_again: usize,
}

/// Holds every job to one end, and counts how often it was begun beyond that.
fn counts(ground: &Ground, plane: &Plane, ids: &[String]) -> Counts {
    all_succeed(plane, ids.len());
    let begun = executions(&ground.log());
    assert_eq!(begun.len(), ids.len(), "each ran, and no other");
    let mut counts = Counts {
        beyond_one: 0,
        sent_again: 0,
    };
    for id in ids {
        let job = plane.get(&format!("/jobs/{id}"));
        let events = job["events"].as_array().unwrap();
        let ends = events.iter().filter(|event| event["state"] == "SUCCEEDED");
        assert_eq!(ends.count(), 1, "{job}");
        let causes = ["sent again under the same attempt", "dispatch failed: "];
        let told = events.iter().filter(|event| {
            let note = event["note"].as_str().unwrap_or_default();
            causes.iter().any(|cause| note.contains(cause))
        });
        let (more, told) = (begun[id] - 1, told.count());
        counts.beyond_one += more;
        counts.sent_again += usize::from(told > 0);
        assert!(more <= told, "{} executions of {job}", begun[id]);
    }
    counts
}

/// Workers of the public SDK, and the jobs that each of them takes at a time.
const SDK_WORKERS: usize = 6;
const ROOM: usize = 4;

/// Runs jobs on two planes, lets `fault` happen in the middle, and prints what came of it.
#[expect(clippy::print_stdout, reason = "the counts are asked for by people")]
fn run_through(count: usize, fault: impl FnOnce(&mut Ground)) -> Counts {
    let mut ground = Ground::new();
    let _toilers = ground.toilers(SDK_WORKERS);
    let first = ground.plane(&[]);
    first.leads();
    let second = ground.plane(&["--join"]);
    let ids = names(count);
    let submitters = Submitters::of(&ids, &[first.url.clone(), second.url.clone()]);
    submitters.reach(count / 3);
    fault(&mut ground);
    submitters.finish();
    let leader = wait_long("one that leads", || {
        let leads = |plane: &&Plane| plane.get("/status")["plane"]["leads"] == true;
        [&first, &second].into_iter().find(leads)
    });
    let counts = counts(&ground, leader, &ids);
    println!("{count} jobs: {counts:?}");
    counts
}

#[test]
fn of_two_thousand_jobs_none_is_lost_when_redis_is_killed_under_two_planes() {
    let counts = run_through(2_000, |ground| {
        ground.redis.stop();
        ground.redis.restart();
    });
    // Whoever leads goes through that moment one job at a time.
    assert!(counts.beyond_one <= 1, "{counts:?}");
}

#[test]
fn of_two_thousand_jobs_none_is_lost_when_nats_is_killed_under_two_planes() {
    let counts = run_through(2_000, |ground| {
        ground.nats.stop();
        ground.nats.restart();
    });
    // What left shortly before the gap and was not heard of is sent again: no more than
    // the workers had room for.
    assert!(counts.beyond_one <= SDK_WORKERS * ROOM, "{counts:?}");
}

#[test]
fn a_policy_that_changed_while_no_plane_ran_ends_what_waited_under_the_old_one() {
    let ground = Ground::new();
    let mut first = ground.plane(&[]);
    first.leads();
    let held = json!({"job_id": "j-held", "topic": "job.toil.run", "labels": {"ask": "yes"}});
    assert_eq!(first.post("/jobs", &held).1["status"], "approval_required");
    let before = first.get("/policy/snapshots")["snapshots"][0].clone();
    assert_eq!(first.end(Signal::TERM).code(), Some(0));
    let policy = ground.home.home().join("policy.yaml");
    let text = std::fs::read_to_string(&policy).unwrap();
    std::fs::write(&policy, text.replace("version: v1", "version: v2")).unwrap();

    let second = ground.plane(&[]);
    second.leads();
    let snapshots = second.get("/policy/snapshots")["snapshots"].clone();
    assert_eq!(snapshots.as_array().map(Vec::len), Some(2), "{snapshots}");
    assert_eq!(snapshots[1], before);
    let waiting = |plane: &Plane| plane.get("/approvals")["items"][0].clone();
    let shown: Value = waiting(&second);
    assert_eq!(shown["snapshot_current"], false, "{shown}");
    wait_long("the end of the approval", || {
        (second.state("j-held") == "DENIED").then_some(())
    });
    let ended = waiting(&second);
    assert_eq!(ended["approval_status"], "invalidated", "{ended}");
    let letters = second.get("/dlq");
    assert_eq!(
        letters["items"][0]["reason_code"], "approval_invalidated",
        "{letters}"
    );
}
