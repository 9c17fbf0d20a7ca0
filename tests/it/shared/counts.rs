//! What a plane counted goes on with the next one.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::ground::{Ground, Plane};

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
