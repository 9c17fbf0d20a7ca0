//! Which worker of a real plane gets a job.

use serde_json::{Value, json};

use super::{Up, id_of};
use crate::support::wait_until;

#[test]
fn a_job_goes_only_to_a_worker_that_offers_what_it_requires() {
    let up = Up::start();
    let submit = |requires: Value, labels: Value| {
        let mut all = json!({"mcp.action": "read", "demo.seconds": "0.1"});
        for (key, value) in labels.as_object().unwrap() {
            all[key] = value.clone();
        }
        let body = json!({"topic": "job.gpu.embed", "requires": requires, "labels": all});
        let (status, answer) = up.submit(&body);
        assert_eq!(status, 200, "{answer}");
        id_of(&answer)
    };
    let waits = |id: &str, why: &str| {
        wait_until(&format!("{id} waits for {why}"), || {
            (up.job(id)["waiting_on"] == why).then_some(())
        });
        assert_eq!(up.job(id)["state"], "PENDING");
    };
    let able = submit(json!(["GPU", "inference"]), json!({}));
    let job = up.waits_in(&able, "SUCCEEDED");
    let worker = job["worker_id"].as_str().unwrap();
    assert!(worker.starts_with("w-gpu-"), "{worker}");
    let unable = submit(json!(["gpu", "tpu"]), json!({}));
    waits(&unable, "no_pool_mapping");
    let nowhere = submit(json!(["gpu"]), json!({"node.zone": "eu"}));
    waits(&nowhere, "no_workers");
    assert_eq!(up.terminate().code, 0);
}
