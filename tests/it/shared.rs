//! Several planes on the same NATS and Redis, with workers of the public SDK alone: what
//! one of them said yes to is done once, whoever dies in between.

use std::collections::BTreeMap;

use capdeck::store::Store as _;
use capdeck::store::redis::RedisStore;
use capdeck::time::Elapsed;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Capdeck, NatsProcess, clock, run_peer, wait_until};

mod counts;
mod faults;
mod foreign;
mod ground;
mod standby;

use ground::{Ground, Plane, Submitters, all_done_once, call, executions, names, toil, wait_long};

#[test]
fn two_planes_show_one_record_and_a_stranger_is_not_let_in() {
    let ground = Ground::new();
    let _toilers = ground.toilers(2);
    let first = ground.plane(&[]);
    first.leads();
    let plane = &first.get("/status")["plane"];
    assert_eq!(plane["leads"], true, "{plane}");
    // Without being told so, another one does not start beside it.
    let refused = ground.home.run(&[
        "up",
        "--http",
        "127.0.0.1:0",
        "--nats",
        &ground.nats.url(),
        "--redis",
        &ground.redis.url(),
    ]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(
        refused.stderr.contains(" leads on these servers"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("--join"), "{}", refused.stderr);
    let second = ground.plane(&["--join"]);
    assert!(
        second
            .says
            .contains(", record redis, stands by for capdeck-"),
        "{}",
        second.says
    );

    let beside = &second.get("/status")["plane"];
    assert_eq!(
        (&beside["leads"], &beside["leader"]),
        (&json!(false), &plane["name"])
    );

    let held = json!({"job_id": "j-held", "topic": "job.toil.run", "labels": {"ask": "yes"}});
    let (status, answer) = second.post("/jobs", &held);
    assert_eq!(
        (status, &answer["status"]),
        (200, &json!("approval_required"))
    );
    let (status, answer) = second.post("/jobs", &toil("j-free"));
    assert_eq!((status, &answer["job_id"]), (200, &json!("j-free")));
    wait_until("its end", || {
        (second.state("j-free") == "SUCCEEDED").then_some(())
    });
    for path in [
        "/jobs",
        "/approvals",
        "/jobs/j-held",
        "/governance/decisions",
        "/workers",
    ] {
        let steady = |plane: &Plane| {
            let mut answer = plane.get(path).to_string();
            // The age of a heartbeat is that of the moment.
            for (name, rest) in [("\"age_ms\":", ","), ("\"heartbeat_age_ms\":", ",")] {
                while let Some(at) = answer.find(name) {
                    let end = answer[at..].find(rest).map_or(answer.len(), |end| at + end);
                    answer.replace_range(at..end, "");
                }
            }
            answer
        };
        if path == "/workers" {
            assert_eq!(
                second.get(path)["items"].as_array().map(Vec::len),
                first.get(path)["items"].as_array().map(Vec::len)
            );
        } else {
            assert_eq!(steady(&first), steady(&second), "{path}");
        }
    }
    let body = json!({"note": "looked at"});
    let (status, answer) = second.post("/approvals/j-held/approve", &body);
    assert_eq!(status, 200, "{answer}");
    let (status, _) = first.post("/approvals/j-held/approve", &body);
    assert_eq!(status, 409);
    wait_until("its end", || {
        (first.state("j-held") == "SUCCEEDED").then_some(())
    });
    let (status, answer) = second.post("/jobs", &json!({"topic": "not a topic"}));
    assert_eq!(status, 400, "a refusal comes as it is: {answer}");
}

#[test]
fn of_two_thousand_jobs_none_is_lost_when_the_plane_that_leads_is_killed_in_the_middle() {
    let ground = Ground::new();
    let _toilers = ground.toilers(6);
    let first = ground.plane(&[]);
    first.leads();
    let second = ground.plane(&["--join"]);
    let ids = names(2_000);
    let submitters = Submitters::of(&ids, &[first.url.clone(), second.url.clone()]);
    submitters.reach(700);
    first.dies();
    second.answers();
    // One that comes back stands by.
    let third = ground.plane(&["--join"]);
    submitters.finish();
    let again = all_done_once(&second, &ids, &ground.log());
    // It leads one job at a time through the moment that cannot be made up for.
    assert!(again <= 1, "{again} jobs were begun twice");
    assert_eq!(third.get("/jobs/j-00000")["state"], "SUCCEEDED");
}

#[test]
fn a_plane_that_was_deposed_without_noticing_sends_nothing_any_more() {
    let ground = Ground::new();
    let first = ground.plane(&[]);
    first.leads();
    let second = ground.plane(&["--join"]);
    // Nobody is there who could take it, so it waits.
    let (status, _) = first.post("/jobs", &toil("j-waits"));
    assert_eq!(status, 200);
    first.signal(Signal::STOP);
    second.answers();
    let _toilers = ground.toilers(2);
    wait_long("its end", || {
        (second.state("j-waits") == "SUCCEEDED").then_some(())
    });
    first.signal(Signal::CONT);
    first.answers();
    assert_eq!(first.state("j-waits"), "SUCCEEDED");
    let (status, _) = first.post("/jobs", &toil("j-more"));
    assert_eq!(status, 200);
    wait_long("its end", || {
        (second.state("j-more") == "SUCCEEDED").then_some(())
    });
    let begun = executions(&ground.log());
    assert!(begun.values().all(|times| *times == 1), "{begun:?}");
}

#[test]
fn a_rollback_goes_on_where_it_was_when_its_plane_is_killed_in_the_middle() {
    let ground = Ground::new();
    let _toilers = ground.toilers(2);
    let first = ground.plane(&[]);
    first.leads();
    let step = |n: usize, outcome: &str, undo: bool| {
        let mut job = json!({
            "job_id": format!("step-{n}"), "topic": "job.toil.run", "workflow_id": "wf-1",
            "step_index": n, "labels": {"toil.outcome": outcome},
        });
        if undo {
            job["compensation"] = json!({
                "topic": "job.toil.undo", "labels": {"toil.seconds": "1.5", "toil.outcome": "succeed"},
                "meta": {"idempotency_key": format!("step-{n}/undo")},
            });
        }
        job
    };
    for n in 1..=3 {
        let (status, answer) = first.post("/jobs", &step(n, "succeed", true));
        assert_eq!(status, 200, "{answer}");
        let id = format!("step-{n}");
        wait_until("a step", || (first.state(&id) == "SUCCEEDED").then_some(()));
    }
    let (status, _) = first.post("/jobs", &step(4, "fatal", false));
    assert_eq!(status, 200);
    let undone = |plane: &Plane| {
        let (status, told) = call(&plane.url, "GET", "/workflows/wf-1/rollback", None)?;
        (status == 200).then(|| told["steps"].as_array().unwrap().clone())
    };
    // The first undo is at work, the others wait.
    wait_until("an undo at work", || {
        let steps = undone(&first)?;
        let states: Vec<_> = steps
            .iter()
            .map(|step| step["state"].as_str().unwrap())
            .collect();
        states.contains(&"RUNNING").then_some(())
    });
    first.dies();
    let second = ground.plane(&[]);
    second.leads();
    let steps = wait_long("the end of the rollback", || {
        let steps = undone(&second)?;
        steps
            .iter()
            .all(|step| step["state"] == "SUCCEEDED")
            .then_some(steps)
    });
    let order: Vec<_> = steps
        .iter()
        .map(|step| step["undoes"].as_str().unwrap())
        .collect();
    assert_eq!(
        order,
        ["step-3", "step-2", "step-1"],
        "the last success first"
    );
    let begun = executions(&ground.log());
    for step in &steps {
        let id = step["job_id"].as_str().unwrap();
        assert_eq!(begun[id], 1, "{step}");
    }
    assert_eq!(begun.len(), 7, "four steps and three undos: {begun:?}");
}

#[test]
fn redis_alone_tells_what_the_gateway_of_a_plane_tells() {
    let ground = Ground::new();
    let _toilers = ground.toilers(2);
    let plane = ground.plane(&[]);
    let job = |id: &str, labels: Value| {
        let job = json!({
            "job_id": id, "topic": "job.toil.run", "tenant_id": "acme", "labels": labels,
            "risk_tags": ["prod"], "principal_id": "ann",
        });
        assert_eq!(plane.post("/jobs", &job).0, 200);
    };
    job("j-done", json!({}));
    job("j-held", json!({"ask": "yes"}));
    job("j-fatal", json!({"toil.outcome": "fatal"}));
    job("j-yes", json!({"ask": "yes"}));
    assert_eq!(
        plane
            .post("/approvals/j-yes/approve", &json!({"note": "go"}))
            .0,
        200
    );
    for (id, state) in [
        ("j-done", "SUCCEEDED"),
        ("j-fatal", "FAILED"),
        ("j-yes", "SUCCEEDED"),
    ] {
        wait_until(state, || (plane.state(id) == state).then_some(()));
    }
    let redis = ground.redis.url();
    let gateway = format!("http://{}", plane.url);
    let ask = |kind: &str, by: &str, url: &str| {
        let mut document = ground.home.json(&["get", kind, by, url, "-o", "json"]);
        let items: Vec<Value> = serde_json::from_value(document["items"].take()).unwrap();
        let of = |item: &Value| item["job_id"].as_str().unwrap_or_default().to_owned();
        items
            .into_iter()
            .map(|item| (of(&item), item))
            .collect::<BTreeMap<_, _>>()
    };
    // Workers and policy are written down every other second.
    wait_until("the workers on record", || {
        let workers = ground
            .home
            .json(&["get", "workers", "--redis", &redis, "-o", "json"]);
        (workers["items"].as_array()?.len() == 2).then_some(())
    });
    let agree = |kind: &str, names: &[&str]| {
        let (told, kept) = (
            ask(kind, "--gateway", &gateway),
            ask(kind, "--redis", &redis),
        );
        assert_eq!(
            told.keys().collect::<Vec<_>>(),
            kept.keys().collect::<Vec<_>>(),
            "{kind}"
        );
        for (id, told) in &told {
            // After a yes one tells what policy asked, the other what came of it.
            let names = names
                .iter()
                .filter(|name| (id.as_str(), **name) != ("j-yes", "decision"));
            for name in names {
                assert_eq!(told[*name], kept[id][*name], "{kind} {id} {name}");
            }
        }
        kept
    };
    let jobs = agree(
        "jobs",
        &[
            "state",
            "topic",
            "tenant_id",
            "trace_id",
            "worker_id",
            "decision",
            "rule_id",
            "attempts",
            "updated_at",
        ],
    );
    assert_eq!(jobs.len(), 4);
    assert_eq!(jobs["j-fatal"]["state"], "FAILED");
    let approvals = agree(
        "approvals",
        &[
            "topic",
            "decision",
            "rule_id",
            "reason",
            "policy_snapshot",
            "snapshot_current",
            "job_hash",
            "hash_matches",
            "approval_ref",
            "risk_tags",
            "undo",
            "status",
        ],
    );
    assert_eq!(approvals["j-held"]["hash_matches"], true);
    let workers = ground
        .home
        .json(&["get", "workers", "--redis", &redis, "-o", "json"]);
    assert_eq!(
        workers["items"].as_array().map(Vec::len),
        Some(2),
        "{workers}"
    );
}

#[test]
fn a_plane_that_starts_again_goes_on_with_what_waited_ran_and_was_said_meanwhile() {
    let ground = Ground::new();
    let _toilers = ground.toilers(2);
    let mut first = ground.plane(&[]);
    let job =
        |id: &str, labels: Value| json!({"job_id": id, "topic": "job.toil.run", "labels": labels});
    let held = job("j-held", json!({"ask": "yes"}));
    assert_eq!(first.post("/jobs", &held).1["status"], "approval_required");
    let hash = first.get("/jobs/j-held")["safety_job_hash"].clone();
    let homeless = json!({"job_id": "j-homeless", "topic": "job.nowhere.run"});
    assert_eq!(first.post("/jobs", &homeless).0, 200);
    wait_until("why it waits", || {
        (first.get("/jobs/j-homeless")["waiting_on"] == "no_workers").then_some(())
    });
    assert_eq!(
        first
            .post("/jobs", &job("j-runs", json!({"toil.seconds": "3"})))
            .0,
        200
    );
    wait_until("its worker", || {
        executions(&ground.log())
            .contains_key("j-runs")
            .then_some(())
    });
    let end = first.end(Signal::TERM);
    assert_eq!(end.code(), Some(0));

    // Nobody leads: what is published now is heard by the server alone.
    let submitted = json!({"job_id": "j-bus", "topic": "job.toil.run", "labels": {}});
    run_peer(
        "client.py",
        &["--nats", &ground.nats.url(), &submitted.to_string()],
    );
    wait_until("the end of the work", || {
        // Told by the worker when it is done with it; its result has left then.
        let results = ground.toiled("j-runs");
        results.then_some(())
    });

    let second = ground.plane(&[]);
    second.leads();
    for id in ["j-runs", "j-bus"] {
        wait_until(id, || (second.state(id) == "SUCCEEDED").then_some(()));
    }
    assert_eq!(
        executions(&ground.log())["j-runs"],
        1,
        "its result was read, not its work done anew"
    );
    assert_eq!(second.state("j-homeless"), "PENDING");
    let waits = second.get("/jobs/j-held");
    assert_eq!(waits["state"], "APPROVAL_REQUIRED");
    assert_eq!(waits["safety_job_hash"], hash);
    let expect = json!({"note": "go", "expect": {"job_hash": hash}});
    let (status, answer) = second.post("/approvals/j-held/approve", &expect);
    assert_eq!(status, 200, "{answer}");
    wait_until("its end", || {
        (second.state("j-held") == "SUCCEEDED").then_some(())
    });
    let decisions = second.get("/governance/decisions?limit=100");
    let text = decisions.to_string();
    for id in ["j-held", "j-runs", "j-bus"] {
        assert!(text.contains(id), "{id} is in no decision: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_of_another_scheduler_are_left_alone_unless_one_is_told_to_join() {
    let ground = Ground::new();
    let store = RedisStore::connect(&ground.redis.config(), clock()).unwrap();
    let servers = ["--nats", &ground.nats.url(), "--redis", &ground.redis.url()];
    let refused = || {
        let up = [
            &["up", "--http", "127.0.0.1:0", "--no-workers"][..],
            &servers,
        ]
        .concat();
        let ran = ground.home.run(&up);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(
            ran.stderr
                .contains("the scheduler sched-1 works on these servers"),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.contains("--join"), "{}", ran.stderr);
    };
    let instance = "cordum:instance:scheduler:sched-1";
    store.put(instance, "{}".into(), None).await.unwrap();
    tokio::task::block_in_place(refused);
    store.delete(instance).await.unwrap();
    let now = clock().now();
    let written = json!({"captured_at": now.to_string(), "writer_id": "sched-1", "workers": []});
    let workers = "sys:workers:snapshot";
    store
        .put(workers, written.to_string().into(), None)
        .await
        .unwrap();
    tokio::task::block_in_place(refused);
    // One that wrote long ago is gone.
    let old = now.minus(Elapsed::from_secs(60));
    let written = json!({"captured_at": old.to_string(), "writer_id": "sched-1", "workers": []});
    store
        .put(workers, written.to_string().into(), None)
        .await
        .unwrap();
    let alone = tokio::task::block_in_place(|| ground.plane(&[]));
    alone.leads();
    drop(alone);
    store.put(instance, "{}".into(), None).await.unwrap();
    let beside = tokio::task::block_in_place(|| ground.plane(&["--join"]));
    assert!(beside.says.contains(", record redis, "), "{}", beside.says);
}

#[test]
fn what_the_workers_of_a_plane_had_is_done_by_others_when_it_is_gone() {
    let ground = Ground::new();
    let first = ground.plane_with_workers(&[]);
    first.leads();
    let mut others: Vec<Plane> = vec![
        ground.plane_with_workers(&["--join"]),
        ground.plane_with_workers(&["--join"]),
    ];
    let names: Vec<String> = others
        .iter()
        .map(|plane| {
            plane.get("/status")["plane"]["name"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let tags: Vec<&str> = names
        .iter()
        .map(|name| name.trim_start_matches("capdeck"))
        .collect();
    wait_until("all workers", || {
        let workers = first.get("/workers").to_string();
        tags.iter().all(|tag| workers.contains(tag)).then_some(())
    });
    let ids: Vec<String> = (0..40).map(|n| format!("j-{n}")).collect();
    for id in &ids {
        let labels = json!({"demo.seconds": "6", "demo.outcome": "succeeded"});
        let job = json!({"job_id": id, "topic": "job.mcp.run", "labels": labels});
        assert_eq!(first.post("/jobs", &job).0, 200);
    }
    let at_work = |tag: &str| {
        let jobs = first.get("/jobs?state=running&limit=500");
        let jobs = jobs["items"].as_array().unwrap().clone();
        let theirs = |job: &Value| {
            job["worker_id"]
                .as_str()
                .is_some_and(|it| it.ends_with(tag))
        };
        jobs.into_iter().filter(theirs).count()
    };
    wait_until("jobs on the workers of each", || {
        tags.iter().all(|tag| at_work(tag) > 0).then_some(())
    });
    // One ends as it should, the other as in a crash.
    assert_eq!(others[0].end(Signal::TERM).code(), Some(0));
    others.pop().unwrap().dies();
    wait_long("the end of every job", || {
        let pipeline = first.get("/status")["pipeline"].clone();
        (pipeline["succeeded"] == json!(ids.len())).then_some(())
    });
    let again = ids.iter().filter(|id| {
        let job = first.get(&format!("/jobs/{id}"));
        let events = job["events"].to_string();
        events.contains("its worker ended with its plane")
    });
    assert!(again.count() >= 2, "some were with either");
}

#[test]
fn a_plane_without_a_shared_record_starts_on_no_bus_where_another_one_is() {
    let nats = NatsProcess::start();
    let home = Capdeck::new();
    let alone = crate::acting::Plane::up(
        Capdeck::new(),
        &["--no-traffic", "--no-workers", "--nats", &nats.url()],
    );
    let up = [
        "up",
        "--http",
        "127.0.0.1:0",
        "--no-workers",
        "--nats",
        &nats.url(),
    ];
    let refused = home.run(&up);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    for words in [
        "the plane capdeck-",
        " works on this bus",
        "give --redis URL to both",
    ] {
        assert!(
            refused.stderr.contains(words),
            "{words}: {}",
            refused.stderr
        );
    }
    drop(alone);
}

#[test]
fn planes_with_different_policies_say_so_until_they_have_the_same() {
    let ground = Ground::new();
    let first = ground.plane(&[]);
    first.leads();
    let other = ground.home.home().join("other.yaml");
    std::fs::write(
        &other,
        "version: v2\nrules:\n  - id: none\n    match: {topics: ['job.*']}\n    decision: deny\n",
    )
    .unwrap();
    let second = ground.plane_with_workers(&[
        "--join",
        "--no-workers",
        "--policy",
        other.to_str().unwrap(),
    ]);
    let differs = |plane: &Plane| plane.get("/status")["plane"]["policy_differs"].clone();
    wait_until("the difference", || {
        (differs(&second) == true).then_some(())
    });
    assert_eq!(differs(&first), false, "the leader's is the one in force");
    let same = std::fs::read(ground.home.home().join("policy.yaml")).unwrap();
    std::fs::write(&other, same).unwrap();
    wait_until("the same policy", || {
        (differs(&second) == false).then_some(())
    });
}
