//! What a plane counted goes on with the next one: rates, and the failures of a kernel.

use capdeck::store::Store as _;
use capdeck::store::redis::RedisStore;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::ground::{Ground, Plane, call, wait_long};
use crate::support::{clock, free_port};

/// Three jobs of a tenant in an hour, and no more.
const RATE: &str = "
version: v1
default_decision: allow
rules:
  - id: rate
    decision: throttle
    reason: that is enough for now
    velocity: {max_requests: 3, window_seconds: 3600, key: tenant}
";

fn submit(plane: &Plane, id: &str, tenant: &str) -> (u16, Value) {
    let job = json!({"job_id": id, "topic": "job.toil.run", "tenant_id": tenant});
    plane.post("/jobs", &job)
}

#[test]
fn a_rate_holds_when_its_leader_is_killed_and_when_a_plane_starts_again() {
    let ground = Ground::new();
    let policy = ground.home.home().join("rate.yaml");
    std::fs::write(&policy, RATE).unwrap();
    let policy = ["--policy", policy.to_str().unwrap()];
    let first = ground.plane(&policy);
    first.leads();
    let mut second = ground.plane(&[&policy[..], &["--join"]].concat());
    for (plane, id) in [(&first, "j-1"), (&second, "j-2"), (&first, "j-3")] {
        let (status, answer) = submit(plane, id, "acme");
        assert_eq!(status, 200, "{answer}");
    }
    let is_full = |plane: &Plane, id: &str| {
        let (status, answer) = submit(plane, id, "acme");
        assert_eq!(
            (status, &answer["code"]),
            (429, &json!("throttled")),
            "{answer}"
        );
        assert_eq!(
            submit(plane, "j-2", "acme").0,
            200,
            "known, so it counts once"
        );
    };
    is_full(&second, "j-4");
    first.dies();
    second.answers();
    is_full(&second, "j-5");
    let (status, answer) = submit(&second, "j-other", "other");
    assert_eq!(status, 200, "{answer}");
    assert_eq!(second.end(Signal::TERM).code(), Some(0));
    let third = ground.plane(&policy);
    third.leads();
    is_full(&third, "j-6");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kernel_that_is_left_alone_is_left_alone_by_the_next_leader() {
    let ground = Ground::new();
    // Nobody answers there.
    let kernel = format!("http://127.0.0.1:{}", free_port());
    let kernel = ["--kernel", &kernel];
    let breaker = |plane: &Plane| plane.get("/status")["circuit_breakers"]["input"].clone();
    let (mut first, second) = tokio::task::block_in_place(|| {
        let first = ground.plane(&kernel);
        assert!(
            first.says.contains(", record redis, leads, "),
            "{}",
            first.says
        );
        let second = ground.plane(&[&kernel[..], &["--join"]].concat());
        for id in ["j-1", "j-2", "j-3"] {
            let (status, answer) = submit(&second, id, "acme");
            assert_eq!((status, &answer["status"]), (200, &json!("pending")));
        }
        (first, second)
    });
    assert_eq!(breaker(&first)["state"], "open");
    assert_eq!(breaker(&second), Value::Null, "it asks nobody");
    // As CAP deployments tell each other.
    let store = RedisStore::connect(&ground.redis.config(), clock()).unwrap();
    let failures = store.get("cordum:cb:safety:failures").await.unwrap();
    assert_eq!(failures.as_deref(), Some(&b"3"[..]));
    tokio::task::block_in_place(|| {
        assert_eq!(first.end(Signal::TERM).code(), Some(0));
        wait_long("another leader", || {
            let (status, told) = call(&second.url, "GET", "/status", None)?;
            (status == 200 && told["plane"]["leads"] == true).then_some(())
        });
    });
    let known = breaker(&second);
    assert_eq!(
        (&known["state"], &known["failures"]),
        (&json!("open"), &json!(3))
    );
}
