//! Keys as deployments of both generations write them, facts out.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::state::model::approvals::ApprovalStatus;
use crate::state::model::jobs::{Decision, JobState};
use crate::store::memory::MemoryStore;
use crate::time::{ManualClock, Timestamp};
use crate::wire::packet::ActorType;

/// The request whose hash the contract publishes, as stores have it.
const VECTOR: &str = r#"{"jobId":"job-1","topic":"job.demo.echo","priority":"JOB_PRIORITY_INTERACTIVE","contextPtr":"redis://ctx:job-1","adapterId":"","env":{"tenant_id":"default"},"budget":{"deadlineMs":"60000","maxInputTokens":"0"},"tenantId":"default","principalId":"alice","labels":{"app":"a","zone":"b"},"meta":{"tenantId":"default","actorType":"ACTOR_TYPE_HUMAN","capability":"demo.echo","riskTags":["write"]},"compensation":null}"#;
const VECTOR_HASH: &str = "dcfacd65f7dd07eb5bac5447d27beb65af3ae02215d45024dec65f50dfdebefe";

/// A store with `keys`: an object is a hash, a list a list, a text a value.
async fn store(keys: &[(&str, Value)]) -> Arc<dyn Store> {
    let store = MemoryStore::new(Arc::new(ManualClock::at(Timestamp::from_millis(0))));
    for (key, value) in keys {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let value = value.as_str().expect("fields are text");
                    store.hash_put(key, &[(name, value)]).await.expect("room");
                }
            }
            Value::Array(elements) => {
                for element in elements {
                    let bytes = Bytes::from(element.as_str().expect("text").to_owned());
                    store.list_push(key, bytes).await.expect("room");
                }
            }
            other => {
                let bytes = Bytes::from(other.as_str().expect("text").to_owned());
                store.put(key, bytes, None).await.expect("room");
            }
        }
    }
    Arc::new(store)
}

async fn read(keys: &[(&str, Value)], depth: Depth) -> (Option<Record>, Vec<String>) {
    let store = store(keys).await;
    let mut troubles = Troubles::default();
    let id = JobId::from("job-1");
    let record = record(
        &*store,
        &id,
        Some(1_767_225_600_000_000),
        depth,
        &mut troubles,
    )
    .await;
    (record.expect("the store answers"), troubles.0)
}

/// The hash of a job, with `more` over it.
fn meta(more: Value) -> Value {
    let mut meta = json!({
        "state": "RUNNING", "updated_at": "1767225603000000", "attempts": "2",
        "topic": "job.demo.echo", "tenant": "default", "principal": "alice",
        "trace_id": "t-1", "actor_id": "agent-7", "actor_type": "service",
        "risk_tags": "[\"write\"]", "requires": "null", "labels": "{\"app\":\"a\"}",
        "safety_decision": "ALLOW_WITH_CONSTRAINTS", "safety_rule_id": "r1",
        "safety_reason": "small steps", "safety_snapshot": "v1:ab",
        "safety_checked_at": "1767225601000000",
    });
    for (name, value) in more.as_object().expect("fields") {
        meta[name] = value.clone();
    }
    meta
}

#[tokio::test]
async fn a_job_of_either_generation_is_the_same_job() {
    let newer = [
        (
            "job:meta:job-1",
            meta(json!({
                "deadline_unix": "1767229200000000",
                "safety_constraints": r#"{"budgets":{"maxRuntimeMs":"120000","maxRetries":1}}"#,
            })),
        ),
        (
            "job:events:job-1",
            json!([
                r#"{"ts":1767225600000000,"state":"PENDING","ctx":{"by":"api"}}"#,
                "1767225602000000|SCHEDULED",
                r#"{"ts":1767225603000000,"state":"RUNNING"}"#,
            ]),
        ),
    ];
    let older = [
        (
            "job:meta:job-1",
            meta(json!({
                "deadline_unix": "1767229200",
                "safety_constraints": r#"{"budgets":{"max_runtime_ms":120000,"max_retries":1}}"#,
            })),
        ),
        (
            "job:events:job-1",
            json!([
                "1767225600000000|PENDING",
                "1767225602000000|SCHEDULED",
                "1767225603000000|RUNNING",
            ]),
        ),
    ];
    let (newer, troubles) = read(&newer, Depth::Page).await;
    assert_eq!(troubles, [""; 0]);
    let (older, troubles) = read(&older, Depth::Page).await;
    assert_eq!(troubles, [""; 0]);
    let job = newer.expect("a record").job;
    assert_eq!(job, older.expect("a record").job);
    let at = |seconds: i64| Some(Timestamp::from_millis(1_767_225_600_000 + seconds * 1_000));
    assert_eq!(
        (job.created_at, job.decided_at, job.updated_at),
        (at(0), at(1), at(3))
    );
    assert_eq!(
        (job.state, job.attempts),
        (Some(JobState::Running), Some(2))
    );
    let states: Vec<_> = job
        .moments
        .iter()
        .map(|it| (Some(it.at), &it.what))
        .collect();
    assert_eq!(
        states,
        [
            (at(0), &Happened::Became(JobState::Pending)),
            (at(2), &Happened::Became(JobState::Scheduled)),
            (at(3), &Happened::Became(JobState::Running)),
        ]
    );
    let verdict = job.verdict.expect("a verdict");
    assert_eq!(verdict.decision, Some(Decision::AllowWithConstraints));
    let limits: Vec<&str> = verdict.constraints.iter().map(|it| &**it).collect();
    assert_eq!(
        limits,
        ["budgets.max_runtime_ms 120000", "budgets.max_retries 1"]
    );
    let request = job.request.expect("what the hash repeats");
    assert_eq!(request.deadline_at, at(3_600));
    assert_eq!(request.actor_type, ActorType::Service);
    assert_eq!(
        (request.label("app"), request.risk_tags.len()),
        (Some("a"), 1)
    );
    assert!(!request.complete, "an undo may be in the stored request");
}

#[tokio::test]
async fn a_row_that_undoes_a_job_tells_also_which_and_when_it_was_submitted() {
    let labels = r#"{"saga_compensation":"true","saga_workflow_id":"wf-1"}"#;
    let request = r#"{"jobId":"job-1","topic":"job.undo","parentJobId":"job-0","labels":{"saga_compensation":"true","saga_workflow_id":"wf-1"}}"#;
    let row = |labels: &str| {
        [
            ("job:meta:job-1", meta(json!({"labels": labels}))),
            ("job:req:job-1", json!(request)),
            ("job:events:job-1", json!(["1767225600000000|PENDING"])),
        ]
    };
    let told = async |labels: &str| {
        let (record, troubles) = read(&row(labels), Depth::Row).await;
        assert_eq!(troubles, [""; 0]);
        let job = record.expect("a record").job;
        let parent = job.request.and_then(|it| it.parent);
        (parent, job.created_at.map(Timestamp::as_millis))
    };
    let whole = (Some(JobId::from("job-0")), Some(1_767_225_600_000));
    assert_eq!(told(labels).await, whole);
    assert_eq!(told(r#"{"app":"a"}"#).await, (None, None));
}

#[tokio::test]
async fn the_hash_of_the_stored_request_is_computed_here() {
    let waits = meta(json!({
        "state": "APPROVAL_REQUIRED", "safety_decision": "REQUIRE_APPROVAL",
        "safety_approval_required": "true", "safety_approval_ref": "job-1",
        "safety_job_hash": VECTOR_HASH, "submitted_by": "apikey:00|principal:alice",
    }));
    let keys = [
        ("job:meta:job-1", waits.clone()),
        ("job:req:job-1", json!(VECTOR)),
        ("job:events:job-1", json!(["1767225600000000|PENDING"])),
    ];
    let (record, troubles) = read(&keys, Depth::Review).await;
    assert_eq!(troubles, [""; 0]);
    let record = record.expect("a record");
    assert!(record.waits);
    let approval = record.approval.expect("an approval");
    assert_eq!(approval.own_hash.as_deref(), Some(VECTOR_HASH));
    assert_eq!(approval.job_hash, approval.own_hash);
    assert_eq!(approval.status, ApprovalStatus::Pending);
    let born = Timestamp::from_millis(1_767_225_600_000);
    assert_eq!(approval.job.created_at, Some(born));
    let request = approval.job.request.expect("the stored request");
    assert!(request.complete, "that there is no undo is known");
    assert_eq!(request.context_ptr.as_deref(), Some("redis://ctx:job-1"));
    assert_eq!(request.label("zone"), Some("b"));

    let changed = VECTOR.replace("\"zone\":\"b\"", "\"zone\":\"c\"");
    let keys = [
        ("job:meta:job-1", waits.clone()),
        ("job:req:job-1", json!(changed)),
    ];
    let (record, _) = read(&keys, Depth::Review).await;
    let approval = record.and_then(|it| it.approval).expect("an approval");
    assert!(approval.own_hash.is_some() && approval.own_hash != approval.job_hash);

    let (record, _) = read(&[("job:meta:job-1", waits)], Depth::Review).await;
    let approval = record.and_then(|it| it.approval).expect("an approval");
    assert_eq!(
        approval.own_hash, None,
        "nothing is stored that could be hashed"
    );
    assert!(!approval.job.request.expect("of the hash").complete);
}

#[tokio::test]
async fn an_index_entry_without_its_record_is_no_job() {
    let (record, troubles) = read(&[("job:req:job-1", json!(VECTOR))], Depth::Page).await;
    assert!(record.is_none());
    assert_eq!(troubles, [""; 0], "expired is how records end");
}

/// Reads all of a job and compares what could not be read.
async fn check_troubles(keys: &[(&str, Value)], expected: &[&str]) -> Record {
    let (record, troubles) = read(keys, Depth::Page).await;
    assert_eq!(troubles, expected);
    record.expect("the rest is told")
}

#[tokio::test]
async fn what_cannot_be_read_is_named_and_the_rest_is_told() {
    let keys = [
        (
            "job:meta:job-1",
            meta(json!({
                "state": "PAUSED", "risk_tags": "[prod", "labels": "{\"a\":1}",
                "deadline_unix": "soon", "updated_at": "yesterday",
            })),
        ),
        (
            "job:events:job-1",
            json!(["now|RUNNING", "1767225600000000|PENDING", "{\"ts\":1}"]),
        ),
        ("job:decisions:job-1", json!(["{}", "not JSON"])),
        ("job:req:job-1", json!("{\"jobId\":")),
        ("dlq:entry:job-1", json!("[]]")),
    ];
    let record = check_troubles(
        &keys,
        &[
            "job:req:job-1: line 1, column 9: EOF while parsing a value",
            "job:meta:job-1: no state is called `PAUSED`",
            "job:meta:job-1: updated_at is no number",
            "job:meta:job-1: deadline_unix is no number",
            "job:meta:job-1: labels: invalid type: integer `1`, expected a string at line 1 column 6",
            "job:meta:job-1: risk_tags: expected value at line 1 column 2",
            "job:events:job-1: an event cannot be read",
            "job:events:job-1: an event cannot be read",
            "job:decisions:job-1: a decision cannot be read",
            "job:decisions:job-1: a decision cannot be read",
            "dlq:entry:job-1: trailing characters at line 1 column 3",
        ],
    )
    .await;
    assert_eq!(record.job.state, None, "unknown, not guessed");
    let indexed = Timestamp::from_millis(1_767_225_600_000);
    assert_eq!(record.job.updated_at, Some(indexed));
    let request = record.job.request.expect("a request");
    assert_eq!(request.topic.as_deref(), Some("job.demo.echo"));
    assert!(request.risk_tags.is_empty() && !request.complete);
    assert_eq!(record.job.moments.len(), 1);
}

#[tokio::test]
async fn huge_values_are_cut_or_left_and_named() {
    let keys = [
        (
            "job:meta:job-1",
            meta(json!({
                "topic": format!("job.{}", "é".repeat(500_000)),
                "labels": format!("{{\"a\":\"{}\"}}", "x".repeat(300_000)),
            })),
        ),
        ("job:req:job-1", json!(" ".repeat(3_000_000))),
    ];
    let record = check_troubles(
        &keys,
        &[
            "job:req:job-1: 3000000 bytes are too many to read",
            "job:meta:job-1: labels is 300008 bytes long and was not read",
        ],
    )
    .await;
    let topic = record.job.request.and_then(|it| it.topic).expect("a topic");
    assert!((4_090..=4_096).contains(&topic.len()), "{}", topic.len());
}

#[tokio::test]
async fn a_key_of_another_shape_is_the_trouble_of_one_record() {
    let keys = [
        ("job:meta:job-1", meta(json!({}))),
        ("job:events:job-1", json!("no list")),
    ];
    let troubles =
        ["the store at memory: refused to read `job:events:job-1`: the key holds a value"];
    let record = check_troubles(&keys, &troubles).await;
    assert_eq!(record.job.attempts, Some(2));
    let (record, troubles) = read(&[("job:meta:job-1", json!("no hash"))], Depth::Row).await;
    assert!(record.is_none());
    assert_eq!(troubles.len(), 1);
}

#[tokio::test]
async fn how_an_approval_ended_is_told_by_either_generation() {
    let cases = [
        // The newer generation says it in a word.
        (
            json!({"approval_status": "pending", "state": "APPROVAL_REQUIRED"}),
            Some("pending"),
        ),
        (
            json!({"approval_status": "approved", "state": "PENDING"}),
            Some("approved"),
        ),
        (
            json!({"approval_status": "invalidated", "state": "DENIED"}),
            Some("invalidated"),
        ),
        (
            json!({"approval_status": "expired", "state": "TIMEOUT"}),
            Some("expired"),
        ),
        // A record that was left behind makes nothing wait, one that waits is shown.
        (
            json!({"approval_status": "pending", "state": "RUNNING"}),
            None,
        ),
        (
            json!({"approval_status": "odd", "state": "APPROVAL_REQUIRED"}),
            Some("pending"),
        ),
        // The older one says who, and the state what.
        (json!({"state": "APPROVAL_REQUIRED"}), Some("pending")),
        (
            json!({"approval_by": "ann", "state": "SUCCEEDED"}),
            Some("approved"),
        ),
        (
            json!({"approval_by": "ann", "state": "DENIED"}),
            Some("rejected"),
        ),
        (json!({"state": "DENIED"}), None),
    ];
    for (fields, expected) in cases {
        let says = fields.to_string();
        let (record, _) = read(&[("job:meta:job-1", meta(fields))], Depth::Row).await;
        let approval = record.expect("a record").approval;
        let status = approval.map(|it| it.status.name());
        assert_eq!(status, expected, "{says}");
    }
    let decided = json!({
        "state": "SUCCEEDED", "approval_by": "ann", "approval_at": "1767225602000000",
        "approval_note": "in the window",
    });
    let (record, _) = read(&[("job:meta:job-1", meta(decided))], Depth::Row).await;
    let approval = record.and_then(|it| it.approval).expect("an approval");
    assert_eq!(approval.resolved_by.as_deref(), Some("ann"));
    assert_eq!(approval.resolved_comment.as_deref(), Some("in the window"));
    let at = Timestamp::from_millis(1_767_225_602_000);
    assert_eq!(approval.resolved_at, Some(at));
}

#[tokio::test]
async fn the_page_of_an_ended_job_says_why_and_where_its_result_is() {
    let keys = [
        ("job:meta:job-1", meta(json!({"state": "FAILED"}))),
        ("job:result_ptr:job-1", json!("redis://res:job-1")),
        (
            "dlq:entry:job-1",
            json!(
                r#"{"job_id":"job-1","status":"JOB_STATUS_FAILED","reason":"3 of 412","reason_code":"tests_failed","attempts":2,"created_at":"2026-01-01T00:00:00Z"}"#
            ),
        ),
        (
            "job:decisions:job-1",
            json!([
                r#"{"decision":"THROTTLE","checked_at":1767225600500000}"#,
                r#"{"decision":"ALLOW","checked_at":1767225601000000,"constraints":{"budgets":{"maxRetries":"3"},"sandbox":{"isolated":true,"networkAllowlist":[]}}}"#,
            ]),
        ),
    ];
    let job = check_troubles(&keys, &[]).await.job;
    assert_eq!(job.result_ptr.as_deref(), Some("redis://res:job-1"));
    assert_eq!(job.error_code.as_deref(), Some("tests_failed"));
    assert_eq!(job.error_message.as_deref(), Some("3 of 412"));
    assert_eq!(
        job.result_status,
        Some(crate::wire::packet::JobStatus::Failed)
    );
    let limits: Vec<String> = job
        .verdict
        .expect("a verdict")
        .constraints
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(limits, ["budgets.max_retries 3", "sandbox.isolated true"]);
    assert_eq!(job.moments.len(), 2);
}

#[tokio::test]
async fn the_fleet_is_what_the_scheduler_wrote_down() {
    let older = r#"{"captured_at":"2026-01-01T00:00:00Z","pools":{"ops":{"workers":1,"active_jobs":1,"capacity":4}},"workers":[{"worker_id":"w1","pool":"ops","active_jobs":1,"max_parallel_jobs":4,"capabilities":["ops"],"cpu_load":12.5,"gpu_utilization":0}]}"#;
    let newer = r#"{"captured_at":"2026-01-01T00:00:00Z","writer_id":"s","pools":{"ops":{}},"topics":{"job.ops.write":{"pool":"ops","available":true}},"workers":[{"worker_id":"w1","pool":"ops","active_jobs":1,"max_parallel_jobs":4,"cpu_load":12.5,"gpu_utilization":0,"memory_load":30,"region":"eu","labels":{}},{"worker_id":""},{"worker_id":"w2","active_jobs":"many"}]}"#;
    let read = async |text: &str| {
        let store = store(&[(WORKERS, json!(text))]).await;
        let mut troubles = Troubles::default();
        let fleet = fleet(&*store, &mut troubles).await.expect("an answer");
        (fleet.expect("a snapshot"), troubles.0)
    };
    let ((workers, pools), troubles) = read(older).await;
    assert_eq!(troubles, [""; 0]);
    assert_eq!((workers.len(), pools.len()), (1, 1));
    assert_eq!(
        workers[0].heard_at,
        Timestamp::parse_rfc3339("2026-01-01T00:00:00Z")
    );
    assert_eq!(pools[0].topics, [""; 0].map(Arc::from));
    let ((workers, pools), troubles) = read(newer).await;
    assert_eq!(workers.len(), 1);
    assert_eq!((&*workers[0].region, workers[0].memory_load), ("eu", 30.0));
    assert_eq!(pools[0].topics, [Arc::from("job.ops.write")]);
    assert_eq!(
        troubles,
        [
            "sys:workers:snapshot: a worker has no id",
            "sys:workers:snapshot: invalid type: string \"many\", expected i32",
        ]
    );
    let ((workers, _), troubles) = read("{\"workers\":[").await;
    assert_eq!((workers.len(), troubles.len()), (0, 1));
}

#[tokio::test]
async fn the_policy_in_force_is_the_first_of_the_snapshots() {
    let snapshot_of = async |keys: &[(&str, Value)]| {
        let store = store(keys).await;
        let mut troubles = Troubles::default();
        snapshot(&*store, &mut troubles).await.expect("an answer")
    };
    let both = [("cordum:safety:snapshots", json!(["v1:cd", "v1:ab"]))];
    assert_eq!(snapshot_of(&both).await.as_deref(), Some("v1:cd"));
    assert_eq!(
        snapshot_of(&[]).await,
        None,
        "the older generation writes none"
    );
}

#[tokio::test]
async fn an_index_says_that_it_was_not_read_to_its_end() {
    let store = store(&[]).await;
    for n in 0..4 {
        let id = format!("j{n}");
        store.index_put(RECENT, &id, n).await.expect("room");
    }
    let read = async |most| {
        let mut troubles = Troubles::default();
        let entries = index(&*store, RECENT, most, &mut troubles).await;
        let entries: BTreeMap<JobId, i64> = entries.expect("an answer").into_iter().collect();
        (entries.len(), troubles.0)
    };
    assert_eq!(read(4).await, (4, vec![]));
    assert_eq!(
        read(3).await,
        (
            3,
            vec!["job:recent: it has more than 3 jobs, and the oldest were not read".to_owned()]
        )
    );
}
