//! What is printed of jobs that a gateway told of.

use serde_json::{Value, json};

use super::items;
use crate::headless::{Kind, Snapshot, Wanted};
use crate::runtime::answers::{self, Answers};
use crate::state::script;
use crate::time::{Elapsed, Timestamp};

fn instant(after: u64) -> Timestamp {
    script::START.plus(Elapsed::from_secs(after))
}

/// The instant `after` seconds as gateways write it, in microseconds.
fn micros(after: u64) -> i64 {
    instant(after).as_micros()
}

/// The one job after a script, then the list of a gateway, then its page of the job.
#[track_caller]
fn printed(script: &str, list: Option<Value>, page: Option<Value>) -> Value {
    let state = script::run(script).expect("a script");
    let mut snapshot = Snapshot {
        model: state.model,
        now: state.now,
        listened: Elapsed::ZERO,
    };
    let nothing = || json!({"items": []});
    let mut events = Vec::new();
    if let Some(record) = list {
        let all = Answers {
            jobs: json!({"items": [record]}),
            snapshots: json!({}),
            approvals: nothing(),
            workers: nothing(),
            pools: nothing(),
            dead_letters: nothing(),
        };
        events.extend(answers::round(all, |_| None).expect("answers"));
    }
    if let Some(page) = page {
        events.push(answers::job(page).expect("a page"));
    }
    for event in events {
        snapshot.model.apply(&event, snapshot.now);
    }
    let mut items = items(Kind::Jobs, &snapshot, &Wanted::default());
    assert_eq!(items.len(), 1, "{items:?}");
    items.remove(0)
}

/// Some members of what is printed.
#[track_caller]
fn check(item: &Value, expected: Value) {
    let expected = expected.as_object().expect("an object");
    for (name, value) in expected {
        assert_eq!(item.get(name), Some(value), "{name} of {item:#}");
    }
}

#[test]
fn a_job_changed_when_the_plane_says_and_not_when_it_answered() {
    let list = json!({"id": "j1", "state": "RUNNING", "updated_at": micros(10)});
    let told = printed("60s tick", Some(list.clone()), None);
    check(&told, json!({"updated_at": instant(10).to_string()}));
    let silent = json!({"id": "j1", "state": "RUNNING"});
    let told = printed("60s tick", Some(silent), None);
    check(&told, json!({"updated_at": instant(60).to_string()}));
    // Its clock is ahead.
    let ahead = json!({"id": "j1", "state": "RUNNING", "updated_at": micros(90)});
    let told = printed("60s tick", Some(ahead), None);
    check(&told, json!({"updated_at": instant(60).to_string()}));
    // More is told later of what had changed before.
    let page =
        json!({"id": "j1", "state": "RUNNING", "updated_at": micros(10), "labels": {"a": "b"}});
    let told = printed("60s tick", Some(list), Some(page));
    check(
        &told,
        json!({"updated_at": instant(10).to_string(), "labels": {"a": "b"}}),
    );
}

#[test]
fn a_packet_that_was_heard_after_the_plane_s_change_is_the_last_change() {
    let heard = "0s submit j1 | 1s dispatch j1 w1 | 30s progress j1 5% | 60s tick";
    let list = json!({
        "id": "j1", "state": "RUNNING", "updated_at": micros(10), "safety_decision": "ALLOW",
    });
    let told = printed(heard, Some(list), None);
    check(
        &told,
        json!({"updated_at": instant(30).to_string(), "decision": "ALLOW"}),
    );
}

#[test]
fn a_job_is_as_old_as_its_submission_where_the_plane_tells_it() {
    let list =
        || json!({"id": "j1", "state": "SUCCEEDED", "updated_at": micros(10), "topic": "job.a"});
    let told = printed("60s tick", Some(list()), None);
    check(&told, json!({"first_seen": instant(10).to_string()}));
    let mut whole = list();
    whole["submitted_at"] = micros(2).into();
    let told = printed("60s tick", Some(whole.clone()), None);
    check(
        &told,
        json!({"first_seen": instant(2).to_string(), "updated_at": instant(10).to_string()}),
    );
    // The list does not tell it, the page does.
    let told = printed("60s tick", Some(list()), Some(whole.clone()));
    check(&told, json!({"first_seen": instant(2).to_string()}));
    let heard = printed("5s submit j1 topic=job.a | 60s tick", Some(whole), None);
    check(&heard, json!({"first_seen": instant(5).to_string()}));
}

#[test]
fn labels_and_risk_tags_that_no_list_carries_are_null_and_those_of_a_whole_request_are_not() {
    let list = || json!({"id": "j1", "state": "RUNNING", "updated_at": micros(1)});
    let told = printed("9s tick", Some(list()), None);
    check(&told, json!({"labels": null, "risk_tags": null}));
    let mut page = list();
    page["request"] = json!({"jobId": "j1", "topic": "job.a"});
    let told = printed("9s tick", Some(list()), Some(page));
    check(&told, json!({"labels": {}, "risk_tags": []}));
    let mut tagged = list();
    tagged["risk_tags"] = json!(["prod"]);
    let told = printed("9s tick", Some(tagged), None);
    check(&told, json!({"labels": null, "risk_tags": ["prod"]}));
}

#[test]
fn the_page_of_a_job_tells_the_status_that_its_list_record_does_not() {
    let list = || {
        json!({
            "id": "j1", "state": "FAILED", "updated_at": micros(9), "failure_reason": "3 of 412",
        })
    };
    let with = |members: Value| {
        let mut page = list();
        let page_of = page.as_object_mut().expect("an object");
        page_of.extend(members.as_object().expect("an object").clone());
        page
    };
    let status = |members: Value| {
        let told = printed("60s tick", Some(list()), Some(with(members)));
        check(&told, json!({"error_message": "3 of 412"}));
        told["result_status"].clone()
    };
    assert_eq!(status(json!({})), Value::Null);
    assert_eq!(
        status(json!({"error_status": "JOB_STATUS_FAILED_FATAL"})),
        "FAILED_FATAL"
    );
    assert_eq!(status(json!({"error_status": "JOB_STATUS_99"})), "99");
    assert_eq!(
        status(json!({"result_status": "FAILED_FATAL"})),
        "FAILED_FATAL"
    );
    // An attempt before the last one.
    assert_eq!(
        status(
            json!({"result_status": "FAILED_RETRYABLE", "status": "JOB_STATUS_FAILED_RETRYABLE"})
        ),
        Value::Null
    );
    // A result that was heard is what its worker said.
    let heard = "0s submit j1 | 1s fail j1 w1 | 60s tick";
    let page = with(json!({"error_status": "JOB_STATUS_FAILED_FATAL"}));
    check(
        &printed(heard, Some(list()), Some(page)),
        json!({"result_status": "FAILED"}),
    );
}

#[test]
fn progress_is_told_where_no_report_was_heard() {
    let list = |percent: i32, message: &str| {
        json!({
            "id": "j1", "state": "RUNNING", "updated_at": micros(1),
            "percent": percent, "message": message,
        })
    };
    let told = printed("60s tick", Some(list(40, "chunk 4")), None);
    check(
        &told,
        json!({"percent": 40, "message": "chunk 4", "updated_at": instant(1).to_string()}),
    );
    let moved = printed("60s tick", Some(list(40, "chunk 4")), Some(list(50, "")));
    check(
        &moved,
        json!({"percent": 50, "message": "chunk 4", "updated_at": instant(60).to_string()}),
    );
    let heard =
        "0s submit j1 | 1s dispatch j1 w1 | 30s progress j1 70% message=\"chunk 7\" | 60s tick";
    let told = printed(heard, Some(list(40, "chunk 4")), None);
    check(&told, json!({"percent": 70, "message": "chunk 7"}));
    let silent = json!({"id": "j1", "state": "RUNNING", "updated_at": micros(1)});
    let told = printed("60s tick", Some(silent), None);
    check(&told, json!({"percent": null, "message": null}));
}

#[test]
fn who_stopped_a_job_and_why_is_told_by_its_page() {
    let list = || json!({"id": "j1", "state": "CANCELLED", "updated_at": micros(9)});
    let mut page = list();
    page["cancel_requested_by"] = "ops-anna".into();
    page["cancel_reason"] = "wrong tenant".into();
    let told = printed("60s tick", Some(list()), Some(page.clone()));
    let named = json!({"cancel_requested_by": "ops-anna", "cancel_reason": "wrong tenant"});
    check(&told, named);
    let unnamed = json!({"cancel_requested_by": null, "cancel_reason": null});
    check(&printed("60s tick", Some(list()), Some(list())), unnamed);
    // The wish that was heard says it in its own words.
    let heard = "0s submit j1 | 9s cancel j1 for=ops-ben | 60s tick";
    check(
        &printed(heard, Some(list()), Some(page)),
        json!({"cancel_requested_by": "ops-ben", "cancel_reason": "wrong tenant"}),
    );
}

#[test]
fn the_page_of_a_job_that_ended_tells_its_artifacts() {
    let list = || json!({"id": "j1", "state": "SUCCEEDED", "updated_at": micros(9)});
    let mut page = list();
    page["artifact_ptrs"] = json!(["redis://art:1"]);
    let told = printed("60s tick", Some(list()), Some(page.clone()));
    check(&told, json!({"artifact_ptrs": ["redis://art:1"]}));
    let heard = "0s submit j1 | 9s succeed j1 w1 | 60s tick";
    check(
        &printed(heard, Some(list()), Some(page)),
        json!({"artifact_ptrs": ["redis://art:1"], "result_status": "SUCCEEDED"}),
    );
}
