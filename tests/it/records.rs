//! A deployment that only its Redis tells of: keys on a real redis-server as
//! planes of both generations write them, read by the real binary.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use bytes::Bytes;
use capdeck::store::Store as _;
use capdeck::store::redis::RedisStore;
use capdeck::time::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::keys::Screen;
use crate::support::{Capdeck, NatsProcess, RedisProcess, clock, free_port, wait_until};

/// The hash of `REQUEST`.
const HASH: &str = "dcfacd65f7dd07eb5bac5447d27beb65af3ae02215d45024dec65f50dfdebefe";
/// The request whose hash the contract publishes, as Redis has it.
const REQUEST: &str = r#"{"jobId":"job-1","topic":"job.demo.echo","priority":"JOB_PRIORITY_INTERACTIVE","contextPtr":"redis://ctx:job-1","adapterId":"","env":{"tenant_id":"default"},"parentJobId":"","workflowId":"","stepIndex":0,"memoryId":"","contextHints":null,"budget":{"maxInputTokens":"0","maxOutputTokens":"0","maxTotalTokens":"0","deadlineMs":"60000"},"tenantId":"default","principalId":"alice","labels":{"app":"a","zone":"b"},"meta":{"tenantId":"default","actorId":"","actorType":"ACTOR_TYPE_HUMAN","idempotencyKey":"","capability":"demo.echo","riskTags":["write"],"requires":[],"packId":"","labels":{}}}"#;

/// A redis-server with the records of a plane.
struct Plane {
    redis: RedisProcess,
    store: RedisStore,
    /// Microseconds since 1970: everything happened in the last minute.
    now: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Generation {
    Older,
    Newer,
}

impl Plane {
    async fn start(generation: Generation) -> Self {
        let redis = RedisProcess::start();
        let store = RedisStore::connect(&redis.config(), clock()).unwrap();
        let now = SystemClock.now().as_micros();
        let plane = Self { redis, store, now };
        plane.fill(generation).await;
        plane
    }

    async fn put(&self, key: &str, value: &str) {
        let value = Bytes::from(value.to_owned());
        self.store.put(key, value, None).await.unwrap();
    }

    async fn push(&self, key: &str, value: &str) {
        let value = Bytes::from(value.to_owned());
        self.store.list_push(key, value).await.unwrap();
    }

    /// A job's hash, and its place in the indexes of recent jobs and of its state.
    async fn job(&self, id: &str, state: &str, ago_s: i64, fields: &[(&str, &str)]) {
        let updated = self.now - ago_s * 1_000_000;
        let key = format!("job:meta:{id}");
        let updated_text = updated.to_string();
        let own = [
            ("state", state),
            ("updated_at", &*updated_text),
            ("tenant", "default"),
            ("trace_id", "t-1"),
        ];
        self.store.hash_put(&key, &own).await.unwrap();
        self.store.hash_put(&key, fields).await.unwrap();
        let index = format!("job:index:{}", state.to_lowercase());
        for index in ["job:recent", &*index] {
            self.store.index_put(index, id, updated).await.unwrap();
        }
    }

    async fn fill(&self, generation: Generation) {
        let newer = generation == Generation::Newer;
        let event = |ago_s: i64, state: &str| {
            let at = self.now - ago_s * 1_000_000;
            match newer {
                true => json!({"ts": at, "state": state, "ctx": {"by": "api"}}).to_string(),
                false => format!("{at}|{state}"),
            }
        };
        // The deadline is in microseconds now and was in seconds.
        let hour = self.now + 3_600_000_000;
        let deadline = if newer { hour } else { hour / 1_000_000 }.to_string();
        let constraints = match newer {
            true => r#"{"budgets":{"maxRuntimeMs":"120000","maxRetries":1}}"#,
            false => r#"{"budgets":{"max_runtime_ms":120000,"max_retries":1}}"#,
        };
        let mut fields = vec![
            ("topic", "job.demo.echo"),
            ("principal", "alice"),
            ("risk_tags", r#"["write"]"#),
            ("deadline_unix", &*deadline),
            ("safety_decision", "REQUIRE_APPROVAL"),
            ("safety_rule_id", "approval-prod-write"),
            ("safety_reason", "a person decides"),
            ("safety_snapshot", "v1:ab"),
            ("safety_constraints", constraints),
            ("safety_approval_required", "true"),
            ("safety_approval_ref", "job-1"),
            ("safety_job_hash", HASH),
        ];
        if newer {
            fields.push(("approval_status", "pending"));
            fields.push(("approval_actionability", "actionable"));
            fields.push(("approval_revision", "1"));
        }
        self.job("job-1", "APPROVAL_REQUIRED", 40, &fields).await;
        self.put("job:req:job-1", REQUEST).await;
        self.put("ctx:job-1", r#"{"prompt":"say hello"}"#).await;
        self.push("job:events:job-1", &event(41, "PENDING")).await;
        self.push("job:events:job-1", &event(40, "APPROVAL_REQUIRED"))
            .await;

        let fields = [
            ("topic", "job.batch.embed"),
            ("attempts", "2"),
            ("safety_decision", "ALLOW"),
            ("safety_rule_id", "allow-read-path"),
        ];
        self.job("job-2", "FAILED", 20, &fields).await;
        self.put("job:result_ptr:job-2", "redis://res:job-2").await;
        let letter = r#"{"job_id":"job-2","topic":"job.batch.embed","status":"JOB_STATUS_FAILED","reason":"3 of 412","reason_code":"tests_failed","last_state":"RUNNING","attempts":2,"created_at":"2026-01-01T00:00:00Z"}"#;
        self.put("dlq:entry:job-2", letter).await;
        self.push("job:events:job-2", &event(30, "RUNNING")).await;
        self.push("job:events:job-2", &event(20, "FAILED")).await;

        // What is left of a job whose record expired.
        self.store
            .index_put("job:recent", "gone", self.now)
            .await
            .unwrap();
        let waiting = "job:index:approval_required";
        self.store
            .index_put(waiting, "gone", self.now)
            .await
            .unwrap();

        if newer {
            self.push("cordum:safety:snapshots", "v1:ab").await;
            self.push("cordum:safety:snapshots", "v1:00").await;
        }
        let captured = SystemClock.now().to_string();
        let fleet = json!({
            "captured_at": captured,
            "pools": {"demo": {"workers": 1, "active_jobs": 1, "capacity": 4}},
            "topics": {"job.demo.echo": {"pool": "demo", "workers": 1, "capacity": 4, "available": true}},
            "workers": [{"worker_id": "w1", "pool": "demo", "active_jobs": 1, "max_parallel_jobs": 4,
                "capabilities": ["demo"], "cpu_load": 12.5, "gpu_utilization": 0}],
        });
        self.put("sys:workers:snapshot", &fleet.to_string()).await;
    }

    fn get(&self, arguments: &[&str]) -> Value {
        let url = self.redis.url();
        let all = [&["get"], arguments, &["-o", "json", "--redis", &url]].concat();
        Capdeck::new().json(&all)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_alone_tells_what_waits_for_a_person() {
    for generation in [Generation::Older, Generation::Newer] {
        let plane = Plane::start(generation).await;
        let document = plane.get(&["approvals"]);
        let sources = json!({"nats": "absent", "gateway": "absent", "redis": "up"});
        assert_eq!(document["sources"], sources);
        assert_eq!(document["items"].as_array().unwrap().len(), 1, "{document}");
        let item = &document["items"][0];
        // The older generation does not write down which policy is in force.
        let current = match generation {
            Generation::Older => Value::Null,
            Generation::Newer => true.into(),
        };
        for (name, expected) in [
            ("job_id", json!("job-1")),
            ("topic", json!("job.demo.echo")),
            ("status", json!("pending")),
            ("decision", json!("REQUIRE_APPROVAL")),
            ("rule_id", json!("approval-prod-write")),
            ("reason", json!("a person decides")),
            ("policy_snapshot", json!("v1:ab")),
            ("snapshot_current", current),
            ("job_hash", json!(HASH)),
            ("hash_matches", json!(true)),
            ("approval_ref", json!("job-1")),
            ("risk_tags", json!(["write"])),
            ("undo", json!(false)),
        ] {
            assert_eq!(item[name], expected, "{name} of {item}");
        }
        let waited = item["wait_ms"].as_u64().unwrap();
        assert!((40_000..100_000).contains(&waited), "{waited} ms");

        let changed = REQUEST.replace("\"zone\":\"b\"", "\"zone\":\"prod\"");
        plane.put("job:req:job-1", &changed).await;
        let document = plane.get(&["approvals"]);
        assert_eq!(document["items"][0]["hash_matches"], false);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_alone_tells_jobs_and_workers() {
    for generation in [Generation::Older, Generation::Newer] {
        let plane = Plane::start(generation).await;
        let document = plane.get(&["jobs"]);
        let mut jobs: Vec<String> = document["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|job| {
                [
                    "job_id",
                    "state",
                    "topic",
                    "decision",
                    "waiting_on",
                    "attempts",
                ]
                .map(|name| job[name].to_string().replace('"', ""))
                .join(" ")
            })
            .collect();
        jobs.sort();
        assert_eq!(
            jobs,
            [
                "job-1 APPROVAL_REQUIRED job.demo.echo REQUIRE_APPROVAL approval 0",
                "job-2 FAILED job.batch.embed ALLOW null 2",
            ]
        );
        let one = &plane.get(&["jobs", "job-2"])["items"][0];
        assert_eq!(one["error_code"], "tests_failed");
        assert_eq!(one["result_status"], "FAILED");
        assert_eq!(one["result_ptr"], "redis://res:job-2");

        let workers = plane.get(&["workers"]);
        let worker = &workers["items"][0];
        assert_eq!(worker["worker_id"], "w1");
        assert_eq!(worker["standing"], "live");
        assert_eq!(worker["max_parallel_jobs"], 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_cannot_tell_is_said_with_its_exit_code() {
    let plane = Plane::start(Generation::Newer).await;
    let url = plane.redis.url();
    let get = |arguments: &[&str]| {
        let all = [&["get"], arguments, &["--redis", &url]].concat();
        let ran = Capdeck::new().run(&all);
        (ran.code, ran.stderr)
    };
    // Once: the table adds nothing to it.
    let ran = Capdeck::new().run(&["get", "jobs", "job-9", "--redis", &url]);
    let says = "error: no job with the id job-9 is known\n";
    assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (1, "", says));
    for kind in ["alerts", "senders"] {
        let (code, says) = get(&[kind]);
        assert_eq!(code, 2);
        let expected = format!("error: {kind} are heard on the bus alone; give --nats\n");
        assert!(says.starts_with(&expected), "{says}");
    }
    assert_eq!(get(&["jobs"]), (0, String::new()));
    plane.put("job:meta:odd", "no hash").await;
    plane
        .store
        .index_put("job:recent", "odd", plane.now)
        .await
        .unwrap();
    let (code, says) = get(&["jobs"]);
    assert_eq!(code, 0);
    assert!(
        says.starts_with("note: 1 record in Redis could not be read and may be missing here, such as the store at redis://")
            && says.contains("refused to read `job:meta:odd`"),
        "{says}"
    );

    let away = format!("redis://127.0.0.1:{}", free_port());
    let ran = Capdeck::new().run(&["get", "approvals", "--redis", &away]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    let expected = format!("error: cannot reach redis at {away}: Connection refused");
    assert!(ran.stderr.starts_with(&expected), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_shows_what_redis_tells_and_says_what_it_cannot_do() {
    let mut plane = Plane::start(Generation::Newer).await;
    let mut screen = Screen::capdeck(&["attach", "--redis", &plane.redis.url()]);
    screen.press("2");
    screen.shows("approval-prod-write");
    screen.shows("A R X T need a gateway");
    screen.press("\r");
    screen.shows("say hello");
    screen.shows("✓ matches");
    screen.shows("✓ current");
    let says = "Redis only shows approvals. Deciding one needs a gateway";
    for key in ["A", "R"] {
        screen.press(key);
        screen.shows(says);
        screen.press("\u{1b}");
        screen.until("the message goes", |text| !text.contains(says));
    }
    screen.press("3");
    screen.shows("batch.embed");
    plane.redis.stop();
    screen.shows("Redis is gone for ");
    screen.shows("Everything is as of ");
    plane.redis.restart();
    screen.shows("Redis is back after ");
    screen.press("q");
    assert_eq!(screen.ends().code(), Some(0));
}

#[test]
fn redis_and_the_gateway_say_the_same_of_a_job_that_a_person_allowed() {
    let (nats, redis) = (NatsProcess::start(), RedisProcess::start());
    let capdeck = Capdeck::new();
    let policy = capdeck.home().join("policy.yaml");
    std::fs::write(&policy, include_str!("../../demo/first-policy.yaml")).unwrap();
    let mut plane = capdeck
        .command(&[
            "up",
            "--no-traffic",
            "--http",
            "127.0.0.1:0",
            "--nats",
            &nats.url(),
        ])
        .args(["--redis", &redis.url(), "--policy"])
        .arg(&policy)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    let mut says = BufReader::new(plane.stdout.take().unwrap());
    says.read_line(&mut ready).unwrap();
    let url = ready.split_once("gateway ").unwrap().1;
    let url = url.split_once(',').unwrap().0;
    let file = capdeck.home().join("job.json");
    let job = json!({
        "job_id": "j-prod", "topic": "job.mcp-bridge.write.update_ticket", "risk_tags": ["prod"],
        "labels": {"mcp.action": "write", "demo.seconds": "0.1"},
    });
    std::fs::write(&file, job.to_string()).unwrap();
    let ran = |arguments: &[&str]| {
        let ran = capdeck.run(arguments);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    };
    ran(&["submit", "-f", file.to_str().unwrap(), "--gateway", url]);
    let sources = [["--gateway", url], ["--redis", &redis.url()]];
    let told = |source: &[&str; 2]| {
        // The list: the page of one job is read after it and would hide what it says.
        let get = ["get", "jobs", "-o", "json", source[0], source[1]];
        let job = capdeck.json(&get)["items"][0].clone();
        assert_eq!(job["job_id"], "j-prod");
        ["state", "decision", "approval_status", "rule_id"].map(|name| job[name].clone())
    };
    let held = [
        "APPROVAL_REQUIRED",
        "REQUIRE_APPROVAL",
        "pending",
        "approval-prod-write",
    ];
    for source in &sources {
        assert_eq!(told(source), held.map(Value::from), "{source:?}");
    }
    ran(&["approve", "j-prod", "--note", "go", "--gateway", url]);
    wait_until("its end", || {
        (told(&sources[0])[0] == "SUCCEEDED").then_some(())
    });
    let ran = ["SUCCEEDED", "ALLOW", "approved", "approval-prod-write"];
    for source in &sources {
        assert_eq!(told(source), ran.map(Value::from), "{source:?}");
        let get = [
            "get",
            "approvals",
            "j-prod",
            "-o",
            "json",
            source[0],
            source[1],
        ];
        let approval = &capdeck.json(&get)["items"][0];
        assert_eq!(approval["decision"], "REQUIRE_APPROVAL", "{source:?}");
    }
    plane.kill().unwrap();
    plane.wait().unwrap();
}
