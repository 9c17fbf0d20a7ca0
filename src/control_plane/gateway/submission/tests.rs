//! Bodies in; what is wanted, or what is wrong, out.

use super::limits::MAX_TOPIC;
use super::*;
use crate::control_plane::kernel::Question;

fn wanted(body: &str) -> Wanted {
    read(body.as_bytes()).expect(body)
}

fn refused(body: &str) -> String {
    let read = read(body.as_bytes());
    match read.and_then(|wanted| wanted.must_be_sound().map(|()| wanted)) {
        Ok(wanted) => format!("accepted: {wanted:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn no_shape_loses_the_risk_tags_of_another() {
    let named = wanted(r#"{"job_id":"j-1","topic":"job.a","risk_tags":["prod"]}"#);
    assert_eq!(named.request.job_id.as_str(), "j-1");
    assert_eq!(Question::from(&named.request).risk_tags, ["prod"]);
    assert_eq!(named.ignored, Vec::<String>::new());
    assert_eq!(
        refused(r#"{"topic":"job.a","meta":{"capability":"x"},"risk_tags":["prod"]}"#),
        "the body is not a job: `meta` is of a JobRequest and `risk_tags` of the HTTP body"
    );
}

#[test]
fn the_http_body_becomes_a_request_with_what_policy_reads() {
    let wanted = wanted(
        r#"{"topic":"job.mcp-bridge.write.update_ticket","tenant_id":"default",
            "risk_tags":["prod"],"labels":{"mcp.action":"write"}}"#,
    );
    let question = Question::from(&wanted.request);
    assert_eq!(question.topic, "job.mcp-bridge.write.update_ticket");
    assert_eq!(question.tenant, "default");
    assert_eq!(question.risk_tags, ["prod"]);
    assert_eq!(question.labels.len(), 1);
    assert_eq!(wanted.request.priority, JobPriority::Interactive);
    assert_eq!(wanted.request.budget, None);
    assert_eq!(wanted.ignored, Vec::<String>::new());
    let now = Timestamp::from_millis(0);
    let context = wanted
        .context
        .expect("a context")
        .to_json(&wanted.request, now);
    assert_eq!(
        context.to_string(),
        r#"{"priority":"interactive","topic":"job.mcp-bridge.write.update_ticket","created_at":"1970-01-01T00:00:00.000Z","tenant_id":"default"}"#
    );
}

#[test]
fn unknown_fields_are_left_out_and_named() {
    let wanted = wanted(r#"{"prompt":"hi","delegation_token":"x","context":[1],"zzz":null}"#);
    assert_eq!(wanted.ignored, ["delegation_token", "zzz"]);
    assert_eq!(wanted.request.topic, "job.default");
    let now = Timestamp::from_millis(0);
    let context = wanted
        .context
        .expect("a context")
        .to_json(&wanted.request, now);
    assert_eq!(context["prompt"], "hi");
    assert_eq!(context["context"], serde_json::json!([1]));
}

#[test]
fn a_compensation_may_carry_what_the_contract_knows() {
    let wanted = wanted(
        r#"{"topic":"job.a","workflow_id":"wf-1","step_index":2,"parent_job_id":"p",
            "context_ptr":"redis://ctx:x",
            "compensation":{"topic":"job.undo","context_ptr":"redis://ctx:x:undo",
                            "meta":{"idempotency_key":"x/undo"}}}"#,
    );
    let undo = wanted.request.compensation.expect("an undo");
    assert_eq!(undo.topic, "job.undo");
    assert_eq!(undo.context_ptr, "redis://ctx:x:undo");
    assert_eq!(undo.meta.expect("meta").idempotency_key, "x/undo");
    assert_eq!(wanted.request.workflow_id, "wf-1");
    assert_eq!(wanted.request.step_index, 2);
    assert_eq!(wanted.request.context_ptr, "redis://ctx:x");
    assert_eq!(wanted.context, None);
}

#[test]
fn an_envelope_and_a_bare_request_keep_their_ids() {
    let envelope = wanted(
        r#"{"trace_id":"t-1","sender_id":"s","created_at":"2026-01-01T00:00:00Z",
            "protocol_version":1,"job_request":{"job_id":"j-1","topic":"job.a",
            "tenant_id":"acme","context_ptr":"redis://ctx:j-1",
            "labels":{"mcp.server":"jira","mcp.tool":"update","mcp.action":"write"}}}"#,
    );
    assert_eq!(envelope.trace.as_str(), "t-1");
    assert_eq!(envelope.sender.as_str(), "s");
    assert_eq!(envelope.request.job_id.as_str(), "j-1");
    assert_eq!(envelope.request.labels.len(), 3);
    assert_eq!(envelope.context, None);
    let bare = wanted(r#"{"jobId":"j-2","topic":"job.b","meta":{"riskTags":["x"]}}"#);
    assert_eq!(bare.request.job_id.as_str(), "j-2");
    assert_eq!(Question::from(&bare.request).risk_tags, ["x"]);
    assert!(bare.context.is_some());
}

#[test]
fn what_is_no_job_is_refused_with_the_field() {
    for (body, expected) in [
        (
            "",
            "the body is not JSON: EOF while parsing a value at line 1 column 0",
        ),
        (
            "[]",
            "the body is not a job: it must be an object of fields",
        ),
        (
            r#"{"topic":"sys.job.submit"}"#,
            "topic must begin with `job.`",
        ),
        (
            r#"{"topic":"job.a b"}"#,
            "topic is not a subject: it has a blank or a control character",
        ),
        (
            r#"{"topic":"job."}"#,
            "topic is not a subject: it has an empty token",
        ),
        (
            r#"{"topic":"job.>"}"#,
            "topic is not a subject: a wildcard can be subscribed to, not published on",
        ),
        (
            r#"{"topic":"job.a","labels":{"a":1}}"#,
            "the body is not a job: invalid type: integer `1`, expected a string",
        ),
        (
            r#"{"topic":"job.a","deadline_ms":-1}"#,
            "deadline_ms is -1; 0 and more are allowed",
        ),
        (
            r#"{"topic":"job.a","step_index":-1}"#,
            "step_index is -1; 0 and more are allowed",
        ),
        (
            r#"{"topic":"job.a","max_total_tokens":10000000001}"#,
            "max_total_tokens is 10000000001; 0 to 10000000000 are allowed",
        ),
        (
            r#"{"topic":"job.a","max_input_tokens":3000000000}"#,
            "max_input_tokens is 3000000000; 0 to 2147483647 are allowed",
        ),
        (
            r#"{"job_id":"a","topic":"job.a","priority":9}"#,
            "priority is 9; 0 to 3 are allowed",
        ),
        (
            r#"{"topic":"job.a","compensation":{"topic":"job.undo","budget":{"deadline_ms":-1}}}"#,
            "compensation.budget.deadline_ms is -1; 0 and more are allowed",
        ),
        (
            r#"{"topic":"job.a","actor_type":"robot"}"#,
            "actor_type must be human or service",
        ),
        (
            r#"{"topic":"job.a","context_ptr":"redis://ctx:a","prompt":"x"}"#,
            "context_ptr cannot be given together with prompt or context",
        ),
        (
            r#"{"topic":"job.a","compensation":{"topic":"sys.x"}}"#,
            "compensation.topic must begin with `job.`",
        ),
        (
            r#"{"topic":"job.a","compensation":{"topic":"job.x","contxt":"y"}}"#,
            "compensation has an unknown field contxt",
        ),
        (
            r#"{"job_id":"a/b","topic":"job.a"}"#,
            "job_id may have letters, digits and . _ : @ - only, 256 at most",
        ),
        (r#"{"job_request":null}"#, "job_request is missing"),
        (r#"{"job_request":{"job_id":"a"}}"#, "topic is missing"),
    ] {
        assert_eq!(refused(body), expected, "{body}");
    }
    let long = format!(r#"{{"topic":"job.{}"}}"#, "x".repeat(MAX_TOPIC));
    assert_eq!(refused(&long), "topic is longer than 256 characters");
    let wide = format!(
        r#"{{"topic":"job.a","adapter_id":"{}"}}"#,
        "x".repeat(1 << 20)
    );
    assert_eq!(
        refused(&wide),
        "the body is not a job: it takes 1048589 bytes on the bus, without prompt and \
         context; 1032192 are allowed"
    );
}

#[test]
fn the_undo_of_a_body_has_as_many_labels_as_its_job_and_no_more() {
    let body = |of_job: usize, of_undo: usize| {
        let labels = |count: usize| {
            let labels: Vec<_> = (0..count).map(|n| format!(r#""l{n}":"""#)).collect();
            labels.join(",")
        };
        let (of_job, of_undo) = (labels(of_job), labels(of_undo));
        format!(
            r#"{{"topic":"job.a","labels":{{{of_job}}},
                "compensation":{{"topic":"job.undo","labels":{{{of_undo}}}}}}}"#
        )
    };
    assert_eq!(wanted(&body(50, 50)).request.labels.len(), 50);
    assert_eq!(refused(&body(51, 0)), "labels has more than 50 entries");
    assert_eq!(
        refused(&body(0, 51)),
        "compensation.labels has more than 50 entries"
    );
}

#[test]
fn what_a_client_may_not_write_goes_out_of_every_shape_and_is_named() {
    let request = r#""labels":{"_source":"pack","mcp.action":"read"},
        "compensation":{"topic":"job.undo","labels":{"_x":"y"}}"#;
    for body in [
        format!(r#"{{"prompt":"hi","topic":"job.a",{request}}}"#),
        format!(r#"{{"job_id":"j","topic":"job.a",{request}}}"#),
        format!(
            r#"{{"trace_id":"t","sender_id":"s","job_request":{{"job_id":"j","topic":"job.a",{request}}}}}"#
        ),
    ] {
        let mut wanted = wanted(&body);
        wanted.strip();
        let names = ["labels._source", "compensation.labels._x"];
        assert_eq!(wanted.ignored, names, "{body}");
        let labels: Vec<_> = wanted.request.labels.keys().collect();
        assert_eq!(labels, ["mcp.action"], "{body}");
        let undo = wanted.request.compensation.expect("an undo");
        assert!(undo.labels.is_empty(), "{body}");
    }
}
