use std::sync::Arc;

use bytes::Bytes;

use super::{Identity, Runtime, Sources};
use crate::audit::AuditLog;
use crate::bus::local::LocalBus;
use crate::bus::{Bus as _, Delivery, Encoding, Pattern, Subject};
use crate::gateway_client::{Endpoint, GatewayClient};
use crate::ids::{JobId, SenderId, TraceId};
use crate::state::effect::{Binding, Effect, EffectQueue, Looked, Outcome, Ruling};
use crate::state::event::{Event, Source};
use crate::state::step::State;
use crate::store::memory::MemoryStore;
use crate::store::{Store, Write};
use crate::time::{Clock as _, SystemClock, Timestamp};
use crate::wire::packet::{Body, JobRequest, Packet};
use crate::wire::{SUBMIT, decode, encode, subject};

mod policy;

fn identity(dir: &tempfile::TempDir) -> Identity {
    Identity {
        operator: "oncall-1".to_owned(),
        console: SenderId::from("capdeck-0badcafe"),
        audit: Some(AuditLog::at(dir.path().join("audit.jsonl"))),
        read_only: false,
    }
}

async fn run_until(runtime: &mut Runtime, state: &mut State, done: impl Fn(&State) -> bool) {
    let mut effects = EffectQueue::new();
    let mut batch = Vec::new();
    let mut seq = None;
    for _ in 0..200 {
        if done(state) {
            return;
        }
        assert!(
            runtime.next_batch(None, &mut batch).await,
            "the runtime goes on"
        );
        for event in batch.drain(..) {
            assert!(
                seq.is_none_or(|last| event.seq == last + 1),
                "numbers are dense"
            );
            assert!(event.at >= state.now, "time never goes back");
            seq = Some(event.seq);
            state.step(&event, &mut effects);
        }
    }
    panic!("it did not happen in 200 batches");
}

#[tokio::test]
async fn what_is_published_reaches_the_model_and_what_is_broken_is_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let bus = Arc::new(LocalBus::new());
    let sources = Sources {
        bus: Some(Arc::clone(&bus) as Arc<dyn crate::bus::Bus>),
        ..Sources::default()
    };
    let mut runtime = Runtime::start(sources, identity(&dir), Arc::new(SystemClock));
    let mut state = State::default();
    run_until(&mut runtime, &mut state, |state| {
        state.model.links.of(Source::Bus).is_up()
    })
    .await;
    // A subscription is made by its own task; publish until one message came through.
    let request = JobRequest {
        job_id: JobId::from("j1"),
        topic: "job.demo.echo".to_owned(),
        ..JobRequest::default()
    };
    let packet = Packet::new(
        TraceId::from("t1"),
        SenderId::from("client"),
        SystemClock.now(),
        Body::JobRequest(Box::new(request)),
    );
    let bytes = encode::encode(&subject(SUBMIT), &packet).expect("a valid request");
    let broken = Subject::parse("sys.job.submit").expect("a subject");
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    bus.publish(&subject(SUBMIT), bytes)
        .await
        .expect("published");
    bus.publish(&broken, Bytes::from_static(b"\xff\xff"))
        .await
        .expect("published");
    run_until(&mut runtime, &mut state, |state| {
        state.model.jobs.len() == 1 && state.model.traffic.malformed() == 1
    })
    .await;
    runtime.shutdown().await;
}

#[tokio::test]
async fn a_cancel_is_written_down_then_published_as_a_packet_that_a_careful_receiver_takes() {
    let dir = tempfile::tempdir().expect("a directory");
    let bus = Arc::new(LocalBus::new());
    let mut heard = bus
        .subscribe(&Pattern::parse("sys.job.cancel").expect("a pattern"), None)
        .await
        .expect("subscribed");
    let sources = Sources {
        bus: Some(Arc::clone(&bus) as Arc<dyn crate::bus::Bus>),
        ..Sources::default()
    };
    let mut runtime = Runtime::start(sources, identity(&dir), Arc::new(SystemClock));
    let mut effects = EffectQueue::new();
    effects.push(Effect::Cancel {
        job: JobId::from("j1"),
        reason: Arc::from("duplicate"),
    });
    effects.push(Effect::Quit);
    let own = runtime.run(&mut effects);
    assert_eq!(own.len(), 1, "quitting is the terminal's business");
    let delivery: Delivery = heard.recv().await.expect("a cancel");
    assert_eq!(delivery.encoding, Encoding::Proto);
    let packet = decode::decode(&delivery).expect("a packet");
    assert_eq!(packet.warnings, []);
    assert_eq!(packet.sender.as_str(), "capdeck-0badcafe");
    let Body::JobCancel(cancel) = packet.body else {
        panic!("not a cancel");
    };
    assert_eq!(
        (
            cancel.job_id.as_str(),
            &*cancel.reason,
            &*cancel.requested_by
        ),
        ("j1", "duplicate", "oncall-1")
    );
    let mut batch = Vec::new();
    while !batch
        .iter()
        .any(|event: &crate::state::event::Stamped<Event>| {
            matches!(event.value, Event::Outcome(_, Outcome::Done(None)))
        })
    {
        assert!(runtime.next_batch(None, &mut batch).await);
    }
    let log = std::fs::read_to_string(dir.path().join("audit.jsonl")).expect("a log");
    let actions: Vec<bool> = log
        .lines()
        .map(|line| line.contains("cancel.outcome"))
        .collect();
    assert_eq!(actions, [false, true]);
    runtime.shutdown().await;
}

#[tokio::test]
async fn a_console_that_only_reads_asks_for_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let identity = Identity {
        read_only: true,
        ..identity(&dir)
    };
    let runtime = Runtime::start(Sources::default(), identity, Arc::new(SystemClock));
    let outcome = runtime
        .run_now(&Effect::Cancel {
            job: JobId::from("j1"),
            reason: Arc::default(),
        })
        .await;
    let Outcome::Refused(refusal) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(&*refusal.code, "read_only");
    assert!(!dir.path().join("audit.jsonl").exists());
}

/// A store with one job that waits, as a plane keeps it.
async fn kept() -> Arc<dyn Store> {
    let store = MemoryStore::new(Arc::new(SystemClock));
    let fields = [
        ("state", "APPROVAL_REQUIRED"),
        ("topic", "job.a"),
        ("safety_decision", "REQUIRE_APPROVAL"),
        ("updated_at", "1767225602000000"),
    ];
    store.hash_put("job:meta:j1", &fields).await.expect("room");
    for (key, value) in [
        ("job:events:j1", "1767225600000000|PENDING"),
        (
            "job:decisions:j1",
            r#"{"decision":"REQUIRE_APPROVAL","checked_at":1767225601000000,"constraints":{"budgets":{"maxRetries":1}}}"#,
        ),
    ] {
        let element = Bytes::from(value);
        store.list_push(key, element).await.expect("room");
    }
    let request = Bytes::from(r#"{"jobId":"j1","topic":"job.a","labels":{"a":"b"}}"#);
    store.put("job:req:j1", request, None).await.expect("room");
    for index in ["job:recent", "job:index:approval_required"] {
        let put = store.index_put(index, "j1", 1_767_225_602_000_000);
        put.await.expect("room");
    }
    Arc::new(store)
}

/// What is known of `j1` after its page was read.
async fn page_of_j1(sources: Sources) -> (Outcome, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut runtime = Runtime::start(sources, identity(&dir), Arc::new(SystemClock));
    let outcome = runtime.run_now(&Effect::ReadJob(JobId::from("j1"))).await;
    let mut state = State::default();
    let all = |state: &State| {
        let job = state.model.jobs.get(&JobId::from("j1"));
        job.is_some_and(|job| job.history.len() > 2)
    };
    run_until(&mut runtime, &mut state, all).await;
    let job = state.model.jobs.get(&JobId::from("j1")).expect("known");
    let request = job.request.as_ref().expect("a request");
    let limits: Vec<&str> = job
        .verdict
        .iter()
        .flat_map(|verdict| verdict.constraints.iter())
        .map(|it| &**it)
        .collect();
    let moments: Vec<String> = job
        .history
        .iter()
        .map(|moment| format!("{:?}", moment.what))
        .collect();
    let says = format!(
        "{} | whole request: {} | {} | {}",
        job.state.map_or("?", |it| it.name()),
        request.complete,
        limits.join(", "),
        moments.join(", ")
    );
    runtime.shutdown().await;
    (outcome, says)
}

const PAGE: &str = "APPROVAL_REQUIRED | whole request: true | budgets.max_retries 1 \
    | Became(Pending), Decided(RequireApproval), Became(ApprovalRequired)";

#[tokio::test]
async fn the_page_of_a_job_is_read_from_the_store_where_there_is_no_gateway() {
    let sources = Sources {
        store: Some(kept().await),
        ..Sources::default()
    };
    let (outcome, page) = page_of_j1(sources).await;
    assert_eq!((outcome, &*page), (Outcome::Done(None), PAGE));
}

#[tokio::test]
async fn what_jobs_were_before_is_read_past_one_that_nobody_keeps() {
    let dir = tempfile::tempdir().expect("a directory");
    let sources = Sources {
        store: Some(kept().await),
        ..Sources::default()
    };
    let mut runtime = Runtime::start(sources, identity(&dir), Arc::new(SystemClock));
    let jobs = ["j9", "j1"].map(JobId::from).to_vec();
    let outcome = runtime.run_now(&Effect::ReadLives { jobs }).await;
    assert_eq!(outcome, Outcome::Done(None));
    let mut state = State::default();
    let born = Timestamp::from_millis(1_767_225_600_000);
    let told = |state: &State| {
        let job = state.model.jobs.get(&JobId::from("j1"));
        job.is_some_and(|job| job.told_until() == Some(born) && job.first_seen == born)
    };
    run_until(&mut runtime, &mut state, told).await;
    runtime.shutdown().await;
}

/// What came of asking for two traces, and the jobs that are known then.
async fn jobs_of_traces(sources: Sources, known: usize) -> (Outcome, Vec<String>) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut runtime = Runtime::start(sources, identity(&dir), Arc::new(SystemClock));
    let names = ["t1", "none"].map(Arc::from).to_vec();
    let outcome = runtime.run_now(&Effect::ReadTrace { names }).await;
    let mut state = State::default();
    let all = |state: &State| state.model.jobs.len() == known;
    run_until(&mut runtime, &mut state, all).await;
    let jobs = state.model.jobs.by_birth();
    let told = jobs.map(|job| {
        let trace = job.trace.as_ref().map_or("-", |it| it.as_str());
        let state = job.state.map_or("-", |it| it.name());
        format!("{} of {trace} {state}", job.id)
    });
    let told = told.collect();
    runtime.shutdown().await;
    (outcome, told)
}

#[tokio::test]
async fn the_jobs_of_a_trace_are_read_where_no_list_tells_of_them() {
    let store = MemoryStore::new(Arc::new(SystemClock));
    let fields = [
        ("state", "SUCCEEDED"),
        ("topic", "job.a"),
        ("trace_id", "t1"),
    ];
    store.hash_put("job:meta:j1", &fields).await.expect("room");
    store
        .put("guard", Bytes::from("1"), None)
        .await
        .expect("room");
    // What is left of another one is its name.
    let members = ["j1", "gone"].map(|member| Write::Member {
        key: "trace:t1".to_owned(),
        member: member.to_owned(),
        ttl: None,
    });
    let done = store.commit(("guard", b"1"), &members).await;
    assert!(done.expect("room"));
    let of_store = Sources {
        store: Some(Arc::new(store)),
        ..Sources::default()
    };
    let told = (Outcome::Done(None), vec!["j1 of t1 SUCCEEDED".to_owned()]);
    assert_eq!(jobs_of_traces(of_store, 1).await, told);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let page = r#"[{"id":"j1","trace_id":"t1","state":"SUCCEEDED","updated_at":1767225602000000}]"#;
    // Of the other trace it says that there is no such page.
    let app = axum::Router::new().route(
        "/api/v1/traces/t1",
        axum::routing::get(move || async move { page }),
    );
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let of_gateway = Sources {
        gateway: Some(Arc::new(gateway_at(&url))),
        ..Sources::default()
    };
    assert_eq!(jobs_of_traces(of_gateway, 1).await, told);
    serving.abort();

    let (outcome, _) = jobs_of_traces(Sources::default(), 0).await;
    let says = "the jobs of a trace are read from a gateway or from Redis";
    assert_eq!(
        outcome,
        Outcome::Failed {
            reason: Arc::from(says)
        }
    );
}

/// A gateway with `approvals` in its order, those that wait by `true`.
async fn gateway_with(approvals: Vec<bool>) -> (Arc<GatewayClient>, tokio::task::JoinHandle<()>) {
    type Asked = axum::extract::Query<std::collections::BTreeMap<String, String>>;
    let list = move |axum::extract::Query(asked): Asked| async move {
        let number = |name: &str| asked.get(name).and_then(|it| it.parse::<usize>().ok());
        let resolved_too = asked.get("include_resolved").is_none_or(|it| it == "true");
        let all: Vec<(usize, bool)> = approvals.iter().copied().enumerate().collect();
        let wanted = all.into_iter().filter(|(_, waits)| *waits || resolved_too);
        let (skip, limit) = (number("cursor").unwrap_or(0), number("limit").unwrap_or(50));
        let rest: Vec<(usize, bool)> = wanted.skip(skip).collect();
        let items = rest.iter().take(limit).map(|(n, waits)| {
            let status = if *waits { "pending" } else { "approved" };
            let job = serde_json::json!({"id": format!("j{n}"), "state": "APPROVAL_REQUIRED"});
            serde_json::json!({"job": job, "approval_status": status})
        });
        let items: Vec<serde_json::Value> = items.collect();
        let next = (rest.len() > limit).then(|| (skip + limit).to_string());
        axum::Json(serde_json::json!({"items": items, "next_cursor": next}))
    };
    let app = axum::Router::new()
        .route("/api/v1/approvals", axum::routing::get(list))
        .route("/api/v1/jobs", axum::routing::get(async || "[]"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let serving = tokio::spawn(async move {
        axum::serve(listener, app).await.expect("it serves");
    });
    (Arc::new(gateway_at(&url)), serving)
}

#[tokio::test]
async fn every_approval_that_waits_is_known_however_many_there_are() {
    let ours = [vec![true; 1_100], vec![false; 700]].concat();
    // Another gateway lists the latest first, whatever became of it.
    let mixed: Vec<bool> = (0..1_800).map(|n| n % 18 < 11).collect();
    for approvals in [ours, mixed] {
        let (gateway, serving) = gateway_with(approvals).await;
        let dir = tempfile::tempdir().expect("a directory");
        let sources = Sources {
            gateway: Some(gateway),
            ..Sources::default()
        };
        let mut runtime = Runtime::start(sources, identity(&dir), Arc::new(SystemClock));
        let mut state = State::default();
        let told = |state: &State| state.model.approvals.told_at().is_some();
        run_until(&mut runtime, &mut state, told).await;
        let waiting = state.model.approvals.waiting();
        assert_eq!(waiting, 1_100);
        runtime.shutdown().await;
        serving.abort();
    }
}

#[tokio::test]
async fn the_store_adds_to_a_gateway_s_page_what_the_gateway_does_not_tell() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let page = r#"{"id":"j1","state":"APPROVAL_REQUIRED","updated_at":1767225602000000,"topic":"job.a","safety_decision":"REQUIRE_APPROVAL","safety_constraints":null}"#;
    let app = axum::Router::new().route(
        "/api/v1/jobs/j1",
        axum::routing::get(move || async move { page }),
    );
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let sources = Sources {
        gateway: Some(Arc::new(gateway_at(&url))),
        store: Some(kept().await),
        ..Sources::default()
    };
    let (outcome, page) = page_of_j1(sources).await;
    assert_eq!((outcome, &*page), (Outcome::Done(None), PAGE));
    serving.abort();
}

#[tokio::test]
async fn beside_a_gateway_the_store_is_no_second_source_of_jobs() {
    let dir = tempfile::tempdir().expect("a directory");
    let sources = Sources {
        // Nothing listens there.
        gateway: Some(Arc::new(gateway_at("http://127.0.0.1:1"))),
        store: Some(kept().await),
        ..Sources::default()
    };
    let mut runtime = Runtime::start(sources, identity(&dir), Arc::new(SystemClock));
    let mut state = State::default();
    run_until(&mut runtime, &mut state, |state| {
        let links = &state.model.links;
        links.of(Source::Store).is_up() && links.of(Source::Gateway).reason().is_some()
    })
    .await;
    assert!(state.model.jobs.is_empty());
    assert_eq!(state.model.approvals.told_at(), None);
    runtime.shutdown().await;
}

#[tokio::test]
async fn a_job_that_nobody_keeps_is_not_found_and_nothing_is_decided_by_a_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let sources = Sources {
        store: Some(kept().await),
        ..Sources::default()
    };
    let runtime = Runtime::start(sources, identity(&dir), Arc::new(SystemClock));
    let outcome = runtime.run_now(&Effect::ReadJob(JobId::from("j9"))).await;
    let Outcome::Refused(refusal) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(
        (refusal.status, &*refusal.text),
        (404, "Redis has no record of it")
    );
    let decide = Effect::Decide {
        job: JobId::from("j1"),
        ruling: Ruling::Approve(Arc::from("ok")),
        binding: Binding {
            job_hash: None,
            policy_snapshot: None,
            payload_sha256: None,
        },
        looked: Looked::default(),
    };
    let outcome = runtime.run_now(&decide).await;
    assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
    assert!(
        !dir.path().join("audit.jsonl").exists(),
        "nothing was asked"
    );
}

fn gateway_at(url: &str) -> GatewayClient {
    let endpoint = Endpoint {
        url: url.to_owned(),
        ..Endpoint::default()
    };
    GatewayClient::new(&endpoint).expect("an address")
}

#[tokio::test]
async fn an_effect_that_breaks_is_answered_as_unknown_and_not_waited_for_for_ever() {
    let dir = tempfile::tempdir().expect("a folder");
    let sources = Sources {
        keep_view: Some(Arc::new(|_, _| panic!("the disk made a strange noise"))),
        ..Sources::default()
    };
    let mut runtime = Runtime::start(sources, identity(&dir), Arc::new(SystemClock));
    let mut effects = EffectQueue::new();
    let asked = effects.push(Effect::KeepView {
        name: Arc::from("mine"),
        kept: None,
    });
    assert!(runtime.run(&mut effects).is_empty());
    let mut batch = Vec::new();
    let answered = |batch: &[crate::state::Stamped<Event>]| {
        batch
            .iter()
            .any(|it| it.value == Event::Outcome(asked, Outcome::TimedOut))
    };
    while !answered(&batch) {
        assert!(runtime.next_batch(None, &mut batch).await);
    }
    runtime.shutdown().await;
}

#[tokio::test]
async fn a_part_that_breaks_is_told_as_the_loss_of_its_server() {
    let (answers, mut told) = tokio::sync::mpsc::channel(1);
    let clock: Arc<dyn crate::time::Clock> = Arc::new(SystemClock);
    let part = async { panic!("a gateway said something odd") };
    super::told_if_it_breaks(part, answers, super::broke(Source::Gateway, &clock)).await;
    let Some(Event::Link(Source::Gateway, crate::state::event::LinkState::Down { reason, .. })) =
        told.recv().await
    else {
        panic!("nothing was told");
    };
    assert!(reason.contains("capdeck.log"), "{reason}");
}

/// A gateway that answers a retry of `j1` and knows no other letter.
async fn gateway_with_a_letter() -> (Arc<GatewayClient>, tokio::task::JoinHandle<()>) {
    let app = axum::Router::new().route(
        "/api/v1/dlq/j1/retry",
        axum::routing::post(async || r#"{"job_id":"j1-retry-0badcafe"}"#),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
    let endpoint = Endpoint {
        url,
        ..Endpoint::default()
    };
    let client = GatewayClient::new(&endpoint).expect("an endpoint");
    (Arc::new(client), task)
}

#[tokio::test]
async fn a_retry_is_written_down_first_and_names_the_new_job() {
    let dir = tempfile::tempdir().expect("a directory");
    let (gateway, task) = gateway_with_a_letter().await;
    let sources = Sources {
        gateway: Some(gateway),
        ..Sources::default()
    };
    let runtime = Runtime::start(sources, identity(&dir), Arc::new(SystemClock));
    let retry = async |job: &str| {
        let job = JobId::from(job);
        runtime.run_now(&Effect::Retry { job }).await
    };
    let made = Outcome::Done(Some(Arc::from("j1-retry-0badcafe")));
    assert_eq!(retry("j1").await, made);
    let Outcome::Refused(refusal) = retry("j2").await else {
        panic!("there is no such letter");
    };
    assert_eq!((&*refusal.code, refusal.status), ("no_dead_letter", 404));
    let log = std::fs::read_to_string(dir.path().join("audit.jsonl")).expect("a log");
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let said: Vec<String> = lines
        .iter()
        .map(|line| format!("{} {}", line["action"], line["object"]).replace('"', ""))
        .collect();
    assert_eq!(
        said,
        [
            "retry j1",
            "retry.outcome j1",
            "retry j2",
            "retry.outcome j2"
        ]
    );
    task.abort();
}

/// A gateway of which `j1` can be explained, with one rule and no log.
fn explaining() -> axum::Router {
    use axum::Json;
    use axum::routing::{get, post};
    use serde_json::{Value, json};
    axum::Router::new()
        .route("/api/v1/status", get(async || r#"{"fail_mode":"closed"}"#))
        .route(
            "/api/v1/policy/rules",
            get(async || r#"{"items":[{"id":"r1","decision":"allow","constraints":{"budgets":{"max_retries":1}}}]}"#),
        )
        .route("/api/v1/policy/snapshots", get(async || r#"{"snapshots":["v1:ab"]}"#))
        .route(
            "/api/v1/jobs/j1",
            get(async || r#"{"id":"j1","state":"PENDING","request":{"jobId":"j1","topic":"job.a","tenantId":"acme","labels":{"env":"stage"},"meta":{"riskTags":["prod"]}}}"#),
        )
        .route(
            "/api/v1/policy/explain",
            post(async |Json(asked): Json<Value>| {
                // What was asked comes back, so that a test sees it.
                let reason = format!("{} {} {} {}", asked["topic"], asked["tenant"], asked["labels"]["env"], asked["meta"]["risk_tags"][0]);
                Json(json!({"decision": "DECISION_TYPE_ALLOW", "ruleId": "r1", "reason": reason}))
            }),
        )
}

#[tokio::test]
async fn policy_is_read_and_a_stored_request_is_explained_with_all_that_policy_looks_at() {
    let dir = tempfile::tempdir().expect("a directory");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let task =
        tokio::spawn(async move { axum::serve(listener, explaining()).await.expect("serves") });
    let endpoint = Endpoint {
        url,
        ..Endpoint::default()
    };
    let sources = Sources {
        gateway: Some(Arc::new(
            GatewayClient::new(&endpoint).expect("an endpoint"),
        )),
        ..Sources::default()
    };
    let mut runtime = Runtime::start(sources, identity(&dir), Arc::new(SystemClock));
    let mut state = State::default();
    let job = JobId::from("j1");
    let done = Outcome::Done(None);
    assert_eq!(runtime.run_now(&Effect::ReadPolicy).await, done);
    let explain = Effect::Explain { job: job.clone() };
    assert_eq!(runtime.run_now(&explain).await, done);
    run_until(&mut runtime, &mut state, |state| {
        state.model.policy.explained(&job).is_some() && state.model.policy.told().is_some()
    })
    .await;
    let explained = state.model.policy.explained(&job).expect("explained");
    assert_eq!(
        explained.reason.as_deref(),
        Some(r#""job.a" "acme" "stage" "prod""#)
    );
    assert!(explained.stored && explained.rules.is_empty());
    let rows = state.model.policy.rows();
    let rule = rows[0]
        .decision
        .map(crate::state::model::jobs::Decision::name);
    assert_eq!(rule, Some("ALLOW_WITH_CONSTRAINTS"));
    assert!(state.model.policy.log().is_none(), "a 404 is no empty log");
    let missing = Effect::Explain {
        job: JobId::from("j2"),
    };
    let refused = runtime.run_now(&missing).await;
    assert!(matches!(refused, Outcome::Refused(_)), "{refused:?}");
    task.abort();
}
