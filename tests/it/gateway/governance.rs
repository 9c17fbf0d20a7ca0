//! The log of decisions, what a person is told before they decide, rollbacks, and the
//! breaker, by HTTP.

use capdeck::control_plane::kernel::{Decision, Verdict};
use capdeck::control_plane::ledger::saved::Saved;
use capdeck::control_plane::ledger::{Asker, Ledger, Ruling, Submission};
use capdeck::ids::{JobId, PoolName, WorkerId};
use capdeck::time::{Clock, Elapsed};
use capdeck::wire::packet::{Heartbeat, JobRequest, JobResult, JobStatus};
use serde_json::{Value, json};

use super::bench::Bench;

#[tokio::test]
async fn every_decision_is_in_the_log_whatever_became_of_it() {
    let bench = Bench::start().await;
    let job = |action: &str| json!({"topic": "job.a", "labels": {"mcp.action": action}, "tenant_id": "acme"});
    bench.submit(job("read")).await;
    bench.clock.advance(Elapsed::from_secs(1));
    let held = bench.submit(job("write")).await;
    let mut delete = job("delete");
    delete["actor_id"] = json!("agent-7");
    bench.submit(delete).await;
    bench.submit(json!({"topic": "job.web.search"})).await;
    bench.submit(json!({"topic": "job.batch.embed"})).await;
    *bench.kernel.down.lock().unwrap() = true;
    bench.submit(job("read")).await;

    let verdicts = async |query: &str| -> String {
        let page = bench
            .get(&format!("/api/v1/governance/decisions?{query}"))
            .await;
        assert_eq!(page.status, 200, "{}", page.body);
        let items = page.body["items"].as_array().unwrap().clone();
        let names = items.iter().map(|it| it["verdict"].as_str().unwrap());
        names.collect::<Vec<_>>().join(" ")
    };
    let all = "unavailable constrain throttle deny require_approval allow";
    assert_eq!(verdicts("").await, all);
    assert_eq!(verdicts("verdict=constrain").await, "constrain");
    assert_eq!(verdicts("rule_id=stop").await, "deny");
    assert_eq!(verdicts("agent_id=agent-7").await, "deny");
    assert_eq!(verdicts("agent_id=nobody").await, "");
    assert_eq!(verdicts("topic=job.web.search").await, "throttle");
    assert_eq!(verdicts("until=1767225600500").await, "allow");
    assert_eq!(verdicts("until=2026-01-01T00:00:00.500Z").await, "allow");
    assert_eq!(verdicts("since=1767225700000").await, "");
    let page = bench.get("/api/v1/governance/decisions?limit=4").await;
    let cursor = page.body["next_cursor"].as_str().unwrap();
    let older = verdicts(&format!("limit=4&cursor={cursor}")).await;
    assert_eq!(older, "require_approval allow");

    let page = bench
        .get("/api/v1/governance/decisions?verdict=require_approval")
        .await;
    assert_eq!(page.body["next_cursor"], Value::Null);
    // Since the gateway began, for nothing had to go yet.
    assert_eq!(page.body["record_since"], 1_767_225_600_000_000_i64);
    let item = &page.body["items"][0];
    assert_eq!(item["job_id"], held.body["job_id"]);
    assert_eq!(item["matched_rule"], "hold");
    assert_eq!(item["reason"], "look first");
    assert_eq!(item["approval_status"], "pending");
    assert_eq!(item["constraints"]["budgets"]["max_runtime_ms"], 60_000);
    assert_eq!(item["timestamp"], 1_767_225_601_000_i64);
    assert!(item["policy_version"].as_str().unwrap().starts_with("v1:"));
    for bad in ["verdict=maybe", "since=yesterday", "cursor=x", "limit=x"] {
        let page = bench
            .get(&format!("/api/v1/governance/decisions?{bad}"))
            .await;
        assert_eq!(page.short(), "400 invalid_parameter", "{bad}");
    }
}

/// A record says what it is of, so that a reader can tell two looks at a job from two jobs.
#[tokio::test]
async fn a_decision_on_record_says_what_was_checked() {
    let mut bench = Bench::start().await;
    let held = bench.hold().await;
    bench.submit(json!({"topic": "job.web.search"})).await;
    let read = json!({"topic": "job.a", "labels": {"mcp.action": "read"}});
    let read = bench.submit(read).await.job_id();
    let path = format!("/api/v1/approvals/{held}/approve");
    assert_eq!(bench.post(&path, &Value::Null).await.status, 200);
    bench.clock.advance(Elapsed::from_secs(3));
    assert_eq!(bench.schedule().await, [format!("asked {read}")]);
    let page = bench.get("/api/v1/governance/decisions").await;
    let lines: Vec<String> = page.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            let word = |name: &str| it[name].as_str().unwrap_or("-").to_owned();
            let (rule, verdict) = (word("matched_rule"), word("verdict"));
            format!("{rule} {verdict} {}", word("check"))
        })
        .collect();
    assert_eq!(
        lines,
        [
            "read allow dispatch",
            "hold allow approval",
            "read allow submit",
            "slow throttle submit",
            "hold require_approval submit",
        ]
    );
    let own = bench.get(&format!("/api/v1/jobs/{held}/decisions")).await;
    assert_eq!(own.body[0]["check"], "approval");
    assert_eq!(own.body[1]["check"], "submit");
}

#[tokio::test]
async fn a_person_is_told_what_an_approval_touches_and_what_was_said_before() {
    let bench = Bench::start().await;
    let job = |deadline: u64| {
        json!({
            "topic": "job.mcp.update", "deadline_ms": deadline,
            "labels": {"mcp.action": "write", "system:jira": "true", "resource:OPS-1": "true"},
            "compensation": {"topic": "job.mcp.revert"},
        })
    };
    let before = bench.submit(job(0)).await.job_id();
    let path = format!("/api/v1/approvals/{before}/reject");
    let no = bench
        .send(
            "POST",
            &path,
            &[("X-Principal-Id", "ada")],
            b"{\"reason\":\"no\"}",
        )
        .await;
    assert_eq!(no.status, 200);
    let id = bench.submit(job(60_000)).await.job_id();
    bench.clock.advance(Elapsed::from_secs(20));
    let told = bench.get(&format!("/api/v1/approvals/{id}/context")).await;
    assert_eq!(told.status, 200, "{}", told.body);
    let told = told.body;
    assert_eq!(told["approval"]["job"]["id"], id);
    assert_eq!(told["approval"]["approval_revision"], 1);
    assert_eq!(
        told["blast_radius"],
        json!({"scope_description": "resource OPS-1 in system jira",
               "systems": ["jira"], "resources": ["OPS-1"]})
    );
    assert_eq!(told["rollback_hint"], "job.mcp.revert");
    assert_eq!(told["time_remaining_ms"], 40_000);
    assert_eq!(told["constraints"]["budgets"]["max_runtime_ms"], 60_000);
    let summary = &told["policy_snapshot_summary"];
    assert_eq!(
        summary["matched_rule"],
        json!({"id": "hold", "description": "look first", "decision": "REQUIRE_APPROVAL",
               "constraints_summary": "budgets"})
    );
    assert_eq!(
        summary["policy_version"],
        told["approval"]["policy_snapshot"]
    );
    let prior = &told["prior_approvals"];
    assert_eq!(prior.as_array().unwrap().len(), 1);
    assert_eq!(prior[0]["job_id"], before);
    assert_eq!(prior[0]["decision"], "reject");
    assert_eq!(prior[0]["was_approved"], false);
    assert_eq!(prior[0]["resolved_by"], "ada");

    let endless = bench.submit(job(0)).await.job_id();
    let told = bench
        .get(&format!("/api/v1/approvals/{endless}/context"))
        .await;
    assert_eq!(told.body["time_remaining_ms"], Value::Null);
    let read = bench
        .submit(json!({"topic": "job.a", "labels": {"mcp.action": "read"}}))
        .await;
    for (id, expected) in [
        (read.job_id(), "409 approval_not_actionable"),
        ("nope".to_owned(), "404 job_not_found"),
    ] {
        let reply = bench.get(&format!("/api/v1/approvals/{id}/context")).await;
        assert_eq!(reply.short(), expected);
    }
}

#[tokio::test]
async fn an_approval_that_a_policy_change_ended_says_so() {
    let bench = Bench::start().await;
    let held = bench
        .submit(json!({"topic": "job.a", "labels": {"mcp.action": "write"}}))
        .await;
    let id = held.job_id();
    let now = bench.clock.now();
    {
        let mut ledger = bench.ledger.lock().unwrap();
        ledger.policy_changed("v1:old", now);
        ledger.policy_changed("v2:new", now);
    }
    bench.clock.advance(Elapsed::from_secs(31));
    bench.plan();
    let path = format!("/api/v1/approvals/{id}/approve");
    let late = bench.post(&path, &Value::Null).await;
    assert_eq!(late.short(), "409 approval_not_actionable");
    assert_eq!(late.body["approval_status"], "invalidated");
    let detail = bench.detail(&id).await;
    assert_eq!(detail["state"], "DENIED");
    assert_eq!(detail["approval_decision"], "invalidate");
    assert_eq!(detail["approval_by"], "system/reconciler");
    assert_eq!(detail["approval_reason"], "policy v2:new is in force now");
    assert_eq!(detail["approval_revision"], 2);
    assert!(detail["approval_at"].is_number());
    let letters = bench.get("/api/v1/dlq").await;
    assert_eq!(
        letters.body["items"][0]["reason_code"],
        "approval_invalidated"
    );
}

#[tokio::test]
async fn how_often_policy_was_asked_about_a_job_that_waits_is_told_also_after_a_restart() {
    let bench = Bench::start().await;
    let id = JobId::from("j1");
    let mut ledger = Ledger::new(1_000, 7).keeping();
    let request = JobRequest {
        job_id: id.clone(),
        topic: "job.a".to_owned(),
        ..JobRequest::default()
    };
    let submission = Submission {
        request,
        ..Submission::default()
    };
    ledger.submit(submission, bench.clock.now()).unwrap();
    // A policy that was edited 55 times, and asked twice more in the end.
    for edit in (0..55).chain([54, 54]) {
        bench.clock.advance(Elapsed::from_secs(5));
        let verdict = Verdict {
            decision: Decision::Throttle,
            rule_id: Some("busy".to_owned()),
            reason: "not now".to_owned(),
            snapshot: format!("v{edit}"),
            constraints: None,
            remediations: Vec::new(),
        };
        let now = bench.clock.now();
        let ruling = ledger.record_decision(&id, Ok(verdict), Asker::Scheduler, now);
        assert_eq!(ruling, Ok(Ruling::Throttled));
    }
    let mut saved = Saved::default();
    for job in ledger.take_changes().jobs {
        saved.add_job(job.document().as_bytes()).unwrap();
    }
    let now = bench.clock.now();
    *bench.ledger.lock().unwrap() = ledger.restored(saved, 1, now);

    let decisions = bench.get("/api/v1/jobs/j1/decisions?limit=500").await.body;
    assert_eq!(decisions.as_array().map(Vec::len), Some(50));
    let (last, before) = (&decisions[0], &decisions[1]);
    assert_eq!(last["times"], 3);
    assert_eq!(last["checked_at"], now.as_micros());
    let first = now.minus(Elapsed::from_secs(10));
    assert_eq!(last["first_checked_at"], first.as_micros());
    assert_eq!(before["times"], Value::Null, "once");
    assert_eq!(bench.detail("j1").await["decisions_left_out"], 5);
    let log = bench.get("/api/v1/governance/decisions?limit=1").await;
    let logged = &log.body["items"][0];
    assert_eq!(logged["times"], 3);
    assert_eq!(logged["timestamp"], now.as_millis());
    assert_eq!(logged["first_timestamp"], first.as_millis());
}

#[tokio::test]
async fn policies_that_are_on_record_are_shown_behind_those_that_the_kernel_remembers() {
    let bench = Bench::start().await;
    let path = "/api/v1/policy/snapshots";
    let own = bench.get(path).await.body["snapshots"][0].clone();
    let now = bench.clock.now();
    {
        let mut ledger = bench.ledger.lock().unwrap();
        for snapshot in ["v0:of an earlier plane", own.as_str().unwrap()] {
            ledger.policy_changed(snapshot, now);
        }
    }
    let shown = bench.get(path).await;
    assert_eq!(
        shown.body["snapshots"],
        json!([own, "v0:of an earlier plane"])
    );
}

#[tokio::test]
async fn a_rollback_is_shown_step_by_step() {
    let bench = Bench::start().await;
    let step = |n: u32, undo: &str| {
        json!({
            "job_id": format!("s{n}"), "topic": "job.a", "workflow_id": "wf-1", "step_index": n,
            "labels": {"mcp.action": "read"},
            "compensation": {"topic": undo, "meta": {"idempotency_key": format!("s{n}/undo")}},
        })
    };
    let end = |id: &str, status: JobStatus| {
        let result = JobResult {
            job_id: JobId::from(id),
            status,
            ..JobResult::default()
        };
        let now = bench.clock.now();
        bench.ledger.lock().unwrap().result(result, now);
    };
    let path = "/api/v1/workflows/wf-1/rollback";
    assert_eq!(bench.get(path).await.short(), "404 rollback_not_found");
    bench.submit(step(1, "job.undo.a")).await;
    bench.submit(step(2, "job.undo.b")).await;
    end("s1", JobStatus::Succeeded);
    let recorded = bench.get(path).await.body;
    assert_eq!(recorded["state"], "recorded");
    let begun = async || bench.get("/api/v1/rollbacks").await.body["items"].clone();
    assert_eq!(begun().await, json!([]));
    assert_eq!(
        recorded["steps"],
        json!([{"order": 1, "state": "recorded", "undoes": "s1", "topic": "job.undo.a",
                "idempotency_key": "s1/undo"}])
    );
    end("s2", JobStatus::FailedFatal);
    let running = bench.get(path).await.body;
    assert_eq!(running["state"], "running");
    assert_eq!(running["failed_job_id"], "s2");
    assert_eq!(begun().await, json!([running]));
    assert_eq!(running["steps"][0]["undoes"], "s2");
    assert_eq!(running["steps"][0]["state"], "PENDING");
    assert_eq!(running["steps"][1]["state"], "waiting");

    let undo = running["steps"][0]["job_id"].as_str().unwrap();
    end(undo, JobStatus::Failed);
    let stopped = bench.get(path).await.body;
    assert_eq!(stopped["state"], "stopped");
    assert_eq!(stopped["stopped_by_job_id"], undo);
    assert_eq!(stopped["stopped_reason"], "it ended FAILED: failed");
    assert_eq!(stopped["steps"][1]["state"], "waiting");

    let retried = bench
        .post(&format!("/api/v1/dlq/{undo}/retry"), &Value::Null)
        .await;
    assert_eq!(retried.status, 200, "{}", retried.body);
    let resumed = bench.get(path).await.body;
    assert_eq!(resumed["state"], "running");
    assert_eq!(resumed["steps"][0]["job_id"], retried.body["job_id"]);
    assert_eq!(resumed["steps"][0]["verdict"], "allow");
    assert_eq!(resumed["steps"][0]["rule_id"], "read");
    end(&retried.job_id(), JobStatus::Succeeded);
    let next = bench.get(path).await.body;
    assert_eq!(next["steps"][0]["state"], "SUCCEEDED");
    assert_eq!(next["steps"][1]["state"], "PENDING");
    end(
        next["steps"][1]["job_id"].as_str().unwrap(),
        JobStatus::Succeeded,
    );
    assert_eq!(bench.get(path).await.body["state"], "done");
    let trace = bench.get("/api/v1/traces/wf-1").await.body;
    assert_eq!(trace.as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn jobs_of_a_tenant_at_its_limit_wait_until_one_of_them_ends() {
    let bench = Bench::start().await;
    let policy = "version: v1
tenants: {acme: {max_concurrent_jobs: 1}}
rules: [{id: all, decision: allow}]
";
    std::fs::write(&bench.policy, policy).unwrap();
    bench.refresh().await;
    let beat = Heartbeat {
        worker_id: WorkerId::from("w-1"),
        pool: PoolName::from("batch"),
        max_parallel_jobs: 4,
        ..Heartbeat::default()
    };
    let now = bench.clock.now();
    bench.ledger.lock().unwrap().heartbeat(beat, now);
    let job = |id: &str, tenant: &str| json!({"job_id": id, "topic": "job.batch.embed", "prompt": "x", "tenant_id": tenant});
    bench.submit(job("a1", "acme")).await;
    bench.submit(job("a2", "acme")).await;
    bench.submit(job("b1", "other")).await;
    bench.clock.advance(Elapsed::from_secs(2));
    let did = bench.schedule().await;
    assert_eq!(
        did.iter().filter(|it| it.starts_with("dispatched")).count(),
        2
    );
    assert_eq!(bench.detail("a1").await["state"], "RUNNING");
    assert_eq!(bench.detail("b1").await["state"], "RUNNING");
    let waits = bench.detail("a2").await;
    assert_eq!(waits["state"], "PENDING");
    assert_eq!(waits["waiting_on"], "tenant_limit");
    assert_eq!(waits["safety_decision"], "ALLOW_WITH_CONSTRAINTS");
    let limit = &waits["safety_constraints"]["budgets"]["max_concurrent_jobs"];
    assert_eq!(limit, 1);
    bench.clock.advance(Elapsed::from_secs(2));
    assert_eq!(bench.schedule().await, ["asked a2"]);
    let result = JobResult {
        job_id: JobId::from("a1"),
        status: JobStatus::Succeeded,
        worker_id: WorkerId::from("w-1"),
        ..JobResult::default()
    };
    let now = bench.clock.now();
    bench.ledger.lock().unwrap().result(result, now);
    bench.clock.advance(Elapsed::from_secs(2));
    assert_eq!(bench.schedule().await, ["asked a2", "dispatched a2"]);
}

#[tokio::test]
async fn the_status_tells_how_fast_the_kernel_answers_and_how_often_it_is_asked() {
    let bench = Bench::start().await;
    let kernel = async || bench.get("/api/v1/status").await.body["kernel"].clone();
    assert_eq!(kernel().await, json!({"ok": true}));
    let body = json!({"topic": "job.a", "labels": {"mcp.action": "read"}});
    for took in [2, 2, 2, 45] {
        *bench.kernel.takes.lock().unwrap() = Elapsed::from_millis(took);
        bench.submit(body.clone()).await;
    }
    let asked = json!({"ok": true, "p50_ms": 3, "p99_ms": 50, "asked_per_minute": 4});
    assert_eq!(kernel().await, asked);
    // What only looks on is no question of a job.
    bench.post("/api/v1/policy/simulate", &body).await;
    assert_eq!(kernel().await, asked);
    bench.clock.advance(Elapsed::from_secs(61));
    assert_eq!(kernel().await, json!({"ok": true}));
    let policy = bench.get("/api/v1/status").await.body["policy"].clone();
    assert_eq!(policy["loaded_at"], "2026-01-01T00:00:00.000Z");
}

#[tokio::test]
async fn a_failing_kernel_is_left_alone_and_the_status_says_so() {
    let bench = Bench::start().await;
    let breaker = async || {
        let status = bench.get("/api/v1/status").await.body;
        assert_eq!(status["fail_mode"], "closed");
        let it = status["circuit_breakers"]["input"].clone();
        assert_eq!(it["fail_threshold"], 3);
        let state = it["state"].as_str().unwrap();
        format!("{state} {} {}", it["failures"], it["cooldown_remaining_ms"])
    };
    let submit = async || {
        let body = json!({"topic": "job.a", "labels": {"mcp.action": "read"}});
        bench.submit(body).await.body
    };
    assert_eq!(breaker().await, "closed 0 0");
    *bench.kernel.down.lock().unwrap() = true;
    for _ in 0..3 {
        let waits = submit().await;
        assert_eq!(waits["status"], "pending");
        assert_eq!(
            waits["reason"],
            "the safety kernel does not answer: it is away"
        );
    }
    assert_eq!(breaker().await, "open 3 30000");
    *bench.kernel.down.lock().unwrap() = false;
    let waits = submit().await;
    assert_eq!(
        waits["reason"],
        "the safety kernel does not answer: it failed 3 times in a row and is not asked for 30 s"
    );
    bench.clock.advance(Elapsed::from_secs(30));
    assert_eq!(breaker().await, "half_open 3 0");
    assert_eq!(submit().await["status"], Value::Null);
    assert_eq!(breaker().await, "half_open 3 0");
    assert_eq!(submit().await["status"], Value::Null);
    assert_eq!(breaker().await, "closed 0 0");
}
