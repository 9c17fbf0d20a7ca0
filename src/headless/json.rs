//! The stable JSON of `get`: `"schema": "capdeck/1"`.
//!
//! Names are those of the wire; what is not known is `null`. Screens and the model
//! may change, these shapes only grow.

use serde_json::{Map, Value, json};

use super::{Kind, Snapshot, Wanted};
use crate::ids::{JobId, WorkerId};
use crate::state::State;
use crate::state::event::Source;
use crate::state::filter::{ApprovalRow, WorkerRow};
use crate::state::model::Model;
use crate::state::model::alerts::Alert;
use crate::state::model::approvals::{Approval, ApprovalStatus, held};
use crate::state::model::jobs::{Job, Request, Undo};
use crate::state::model::rollbacks::{self, Stack, Step, Undone};
use crate::state::model::senders::Sender;
use crate::state::model::workers::{Load, Standing, Worker};
use crate::state::ui::View;
use crate::state::ui::list::Subject;
use crate::time::Timestamp;
use crate::wire::packet::WireEnum as _;

/// The version of every shape here.
pub const SCHEMA: &str = "capdeck/1";

/// One document with everything that is wanted.
pub fn document(kind: Kind, snapshot: &Snapshot, wanted: &Wanted) -> String {
    let model = &snapshot.model;
    let sources: Map<String, Value> = Source::ALL
        .into_iter()
        .map(|source| {
            let state = model.links.of(source).name();
            (source.name().to_owned(), Value::from(state))
        })
        .collect();
    let document = json!({
        "schema": SCHEMA,
        "kind": kind.name(),
        "at": snapshot.now.to_string(),
        "listened_ms": snapshot.listened.as_millis(),
        "sources": sources,
        "dropped": model.links.dropped(),
        "malformed": model.traffic.malformed(),
        "items": items(kind, snapshot, wanted),
    });
    let text = serde_json::to_string_pretty(&document).unwrap_or_default();
    harmless(&text)
}

/// One item as a line of its own.
pub fn line(kind: Kind, item: &Value) -> String {
    let mut line = Map::new();
    line.insert("schema".to_owned(), SCHEMA.into());
    line.insert("kind".to_owned(), kind.name().into());
    if let Value::Object(fields) = item {
        line.extend(fields.clone());
    }
    harmless(&Value::Object(line).to_string())
}

/// Everything that is wanted, in a fixed order.
pub fn items(kind: Kind, snapshot: &Snapshot, wanted: &Wanted) -> Vec<Value> {
    let (model, now) = (&snapshot.model, snapshot.now);
    let filter = wanted.filter.as_ref();
    let is_wanted = |id: &str| wanted.id.as_deref().is_none_or(|wanted| wanted == id);
    match kind {
        Kind::Jobs => {
            let one = wanted.id.as_deref().map(JobId::from);
            let found: Box<dyn Iterator<Item = _>> = match &one {
                Some(id) => Box::new(model.jobs.get(id).into_iter()),
                None => Box::new(model.jobs.by_birth()),
            };
            found
                .filter(|job| filter.is_none_or(|it| it.matches_job(job, now)))
                .map(|job| self::job(job, model))
                .collect()
        }
        Kind::Workers => {
            let mut rows: Vec<_> = model.workers.shown(now, &model.links.hearing).collect();
            rows.retain(|row| is_wanted(row.id.as_str()));
            rows.sort_by(|a, b| a.id.cmp(&b.id));
            rows.into_iter()
                .map(|worker| (worker, model.standing(worker, now)))
                .filter(|(worker, standing)| {
                    let row = WorkerRow {
                        worker,
                        standing: *standing,
                    };
                    filter.is_none_or(|it| it.matches(&row, now))
                })
                .map(|(worker, standing)| self::worker(worker, standing, now))
                .collect()
        }
        Kind::Approvals => {
            let mut rows = model.approvals.by_cost(&model.jobs, now);
            // A filter or an id can ask for those that ended, the plain list is the queue.
            if wanted.id.is_some() || filter.is_some() {
                rows.extend(model.approvals.ended());
            }
            rows.into_iter()
                .filter(|row| is_wanted(row.id().as_str()))
                .filter(|approval| {
                    let held = held(approval, &model.jobs);
                    filter.is_none_or(|it| it.matches(&ApprovalRow { approval, held }, now))
                })
                .map(|row| approval(row, model, now))
                .collect()
        }
        Kind::Rollbacks => rollbacks::stacks(model, now)
            .iter()
            .filter(|stack| match &stack.of {
                Undone::Workflow(workflow) => is_wanted(workflow),
                Undone::Job(job) => is_wanted(job.as_str()),
            })
            .filter(|stack| filter.is_none_or(|it| it.matches_rollback(stack, model, now)))
            .flat_map(|stack| {
                stack
                    .steps
                    .iter()
                    .map(|step| rollback_step(model, stack, step))
            })
            .collect(),
        Kind::Alerts => model
            .alerts
            .iter()
            .filter(|alert| is_wanted(&alert.name))
            .filter(|alert| filter.is_none_or(|it| it.matches(alert.as_ref(), now)))
            .map(|alert| self::alert(alert, now))
            .collect(),
        Kind::Senders => {
            let mut rows: Vec<_> = model.senders.iter().collect();
            rows.retain(|(id, _)| is_wanted(id.as_str()));
            rows.sort_by(|a, b| a.0.cmp(b.0));
            rows.into_iter()
                .map(|(id, row)| sender(id.as_str(), row))
                .collect()
        }
    }
}

/// What the operator's cursor is on, as the item that `get` prints for it; a job in
/// the view of approvals is an approval. `None` when nothing is known of it.
pub fn subject(state: &State) -> Option<String> {
    let (model, now) = (state.ui.shown(&state.model), state.ui.shown_at(state.now));
    let item = match state.ui.subject()? {
        Subject::Job(id) => match model.approvals.get(&id) {
            Some(row) if state.ui.view() == View::Approvals => approval(row, model, now),
            _ => job(model.jobs.get(&id)?, model),
        },
        Subject::Worker(id) => {
            let row = model.workers.get(&id)?;
            worker(row, model.standing(row, now), now)
        }
        Subject::Alert(row) => {
            let found = model.alerts.iter().find(|it| it.row() == *row)?;
            alert(found, now)
        }
        Subject::Workflow(workflow) => {
            let stack = rollbacks::stack(model, &Undone::Workflow(workflow), now)?;
            let steps = stack.steps.iter();
            steps
                .map(|step| rollback_step(model, &stack, step))
                .collect()
        }
        Subject::Pool(_) | Subject::Unseen | Subject::Rule(_) | Subject::Flip(_) => return None,
    };
    let text = serde_json::to_string_pretty(&item).ok()?;
    Some(harmless(&text))
}

/// A job. Its decision is the last one that the plane made, so that of a person too.
fn job(job: &Job, model: &Model) -> Value {
    let approval = model.approvals.get(&job.id);
    let request = job.request.as_deref();
    let result = job.result.as_deref();
    let progress = job.progress.as_ref();
    let verdict = job.verdict.as_deref();
    let status = result.and_then(|it| it.status);
    json!({
        "job_id": job.id.as_str(),
        "state": job.state.map(|state| state.name()),
        "result_status": status.map(|status| status.name()),
        "topic": job.topic(),
        "percent": job.percent(),
        "message": job.message(),
        "worker_id": job.worker().map(WorkerId::as_str),
        "trace_id": job.trace.as_ref().map(|trace| trace.as_str()),
        "workflow_id": request.and_then(|it| it.workflow_id.as_deref()),
        "parent_job_id": request.and_then(|it| it.parent.as_ref()).map(JobId::as_str),
        "tenant_id": job.tenant(),
        "decision": job.decision().map(|decision| decision.name()),
        "approval_status": approval.map(|approval| approval.fact.status.name()),
        "rule_id": verdict.and_then(|it| it.rule_id.as_deref()),
        "reason": verdict.and_then(|it| it.reason.as_deref()),
        "policy_snapshot": verdict.and_then(|it| it.snapshot.as_deref()),
        "waiting_on": job.waits_on().map(|waiting| waiting.name()),
        "attempts": job.attempts(),
        "error_code": job.error_code(),
        "error_message": job.error_message(),
        "context_ptr": request.and_then(|it| it.context_ptr.as_deref()),
        "result_ptr": result.and_then(|it| it.result_ptr.as_deref()),
        "progress_result_ptr": progress.and_then(|it| it.result_ptr.as_deref()),
        "artifact_ptrs": job.artifact_ptrs().iter().map(|it| &**it).collect::<Vec<_>>(),
        "compensation": request.and_then(|it| it.undo.as_ref()).map(|undo| &*undo.topic),
        "compensation_request": request.and_then(|it| it.undo.as_deref()).map(undo),
        "risk_tags": request.and_then(risk_tags),
        "labels": request.and_then(labels),
        "stalled": job.stalled,
        "cancel_requested_by": job.cancel.as_ref().and_then(|it| it.by.as_deref()),
        "cancel_reason": job.cancel.as_ref().and_then(|it| it.reason.as_deref()),
        "first_seen": job.first_seen.to_string(),
        "updated_at": job.updated_at.to_string(),
    })
}

/// The risk tags of a request; `None` unless there are some or the whole request
/// was seen, as a list can leave them out.
fn risk_tags(request: &Request) -> Option<Vec<&str>> {
    let known = request.complete || !request.risk_tags.is_empty();
    known.then(|| request.risk_tags.iter().map(|tag| &**tag).collect())
}

/// The labels of a request, with the rule of [`risk_tags`].
fn labels(request: &Request) -> Option<Map<String, Value>> {
    let known = request.complete || !request.labels.is_empty();
    known.then(|| pairs(&request.labels))
}

fn undo(undo: &Undo) -> Value {
    json!({
        "topic": &*undo.topic,
        "context_ptr": undo.context_ptr.as_deref(),
        "idempotency_key": undo.idempotency_key.as_deref(),
    })
}

fn pairs(pairs: &[(std::sync::Arc<str>, std::sync::Arc<str>)]) -> Map<String, Value> {
    pairs
        .iter()
        .map(|(key, value)| (key.to_string(), Value::from(&**value)))
        .collect()
}

fn worker(worker: &Worker, standing: Standing, now: Timestamp) -> Value {
    let percent = |load: Option<Load>| load.map(Load::percent);
    // What a worker said before it fell silent is no pressure that it has now.
    let pressure = worker.pressure().filter(|_| standing != Standing::Lost);
    json!({
        "worker_id": worker.id.as_str(),
        "pool": worker.pool.as_ref().map(|pool| pool.as_str()),
        "region": worker.region.as_deref(),
        "active_jobs": worker.active_jobs,
        "max_parallel_jobs": worker.max_parallel_jobs,
        "cpu_load": percent(worker.cpu),
        "memory_load": percent(worker.memory),
        "gpu_utilization": percent(worker.gpu),
        "progress_pct": worker.progress_pct,
        "last_memo": worker.last_memo.as_deref(),
        "pressure": pressure,
        "standing": standing.name(),
        "heartbeat_age_ms": worker.silence(now).map(|silence| silence.as_millis()),
        "heartbeats": worker.beats,
        "type": worker.kind.as_deref(),
        "agent_name": worker.agent.as_deref(),
        "capabilities": worker.capabilities.iter().map(|it| &**it).collect::<Vec<_>>(),
        "labels": pairs(&worker.labels),
    })
}

fn approval(approval: &Approval, model: &Model, now: Timestamp) -> Value {
    let fact = &approval.fact;
    let request = fact.job.request.as_ref();
    let verdict = fact.job.verdict.as_ref();
    let current = approval.snapshot(model.snapshot.as_deref());
    json!({
        "job_id": approval.id().as_str(),
        "topic": request.and_then(|it| it.topic.as_deref()),
        "decision": verdict.and_then(|it| it.decision).map(|it| it.name()),
        "rule_id": verdict.and_then(|it| it.rule_id.as_deref()),
        "reason": verdict.and_then(|it| it.reason.as_deref()),
        "policy_snapshot": verdict.and_then(|it| it.snapshot.as_deref()),
        "snapshot_current": current.as_bool(),
        "job_hash": fact.job_hash.as_deref(),
        "hash_matches": approval.hash().as_bool(),
        "approval_ref": fact.approval_ref.as_deref(),
        "risk_tags": request.and_then(risk_tags),
        "undo": match approval.undo() {
            Some(Some(undo)) => Value::from(&*undo.topic),
            Some(None) => Value::Bool(false),
            None => Value::Null,
        },
        "wait_ms": approval.wait(now).as_millis(),
        "status": fact.status.name(),
        "tenant_id": request.and_then(|it| it.tenant.as_deref()),
        "actor_id": request.and_then(|it| it.actor.as_deref()),
        "principal_id": request.and_then(|it| it.principal.as_deref()),
        "workflow_id": request.and_then(|it| it.workflow_id.as_deref()),
        "context_ptr": approval.context_ptr().map(|it| &**it),
        "labels": request.and_then(labels),
        "held": held(approval, &model.jobs),
        "deadline": approval.deadline().map(|at| at.to_string()),
        "resolved_by": fact.resolved_by.as_deref(),
        "resolved_at": fact.resolved_at
            .filter(|_| fact.status != ApprovalStatus::Pending)
            .map(|at| at.to_string()),
    })
}

/// A step of an undo. A job that is not known yet is `null`; the steps of one
/// workflow come in the order in which they run, as far as that is known.
///
/// What policy would say of a step is of the policy in force, where it was asked.
fn rollback_step(model: &Model, stack: &Stack, step: &Step) -> Value {
    let judged = step.waits_to_undo().and_then(|job| {
        let in_force = model.snapshot.as_deref();
        model.compensations.of(job, in_force)
    });
    json!({
        "workflow_id": match &stack.of {
            Undone::Workflow(workflow) => Some(&**workflow),
            Undone::Job(_) => None,
        },
        "job_id": step.job.as_ref().map(JobId::as_str),
        "topic": step.topic.as_deref(),
        "state": step.state.name(),
        "idempotency_key": step.idempotency_key.as_deref(),
        "undoes": step.undoes.as_ref().map(JobId::as_str),
        "decision": step.decision.map(|decision| decision.name()),
        "would_decide": judged.and_then(|it| it.decision).map(|decision| decision.name()),
        "would_rule_id": judged.and_then(|it| it.rule_id.as_deref()),
        "would_reason": judged.and_then(|it| it.reason.as_deref()),
        "rollback_state": stack.state.name(),
        "started_by": stack.failed.first().map(JobId::as_str),
    })
}

fn alert(alert: &Alert, now: Timestamp) -> Value {
    json!({
        "name": &*alert.name,
        "source": "bus",
        "severity": alert.severity.name(),
        "subject": &*alert.subject,
        "value": Value::Null,
        "since": alert.since.to_string(),
        "status": alert.status(now),
        "message": alert.message.as_deref(),
        "runbook": Value::Null,
        "sender_id": alert.sender.as_str(),
        "times": alert.times,
        "details": pairs(&alert.details),
    })
}

fn sender(id: &str, sender: &Sender) -> Value {
    json!({
        "sender_id": (!id.is_empty()).then_some(id),
        "packets": sender.packets,
        "malformed": sender.malformed,
        "unknown_fields": sender.unknown_fields,
        "violations": sender.violations,
        "signature": sender.signature(),
        "findings": sender.findings.keys().map(|it| &**it).collect::<Vec<_>>(),
    })
}

/// What names an item.
pub(super) fn key_of(item: &Value) -> String {
    let member = |name| item.get(name).and_then(Value::as_str);
    ["job_id", "worker_id", "sender_id", "undoes"]
        .into_iter()
        .find_map(member)
        .map_or_else(
            || {
                let (name, subject) = (member("name"), member("subject"));
                format!("{} {}", name.unwrap_or(""), subject.unwrap_or(""))
            },
            str::to_owned,
        )
}

/// The item without what changes by time alone.
pub(super) fn without_ages(item: &Value) -> String {
    let mut item = item.clone();
    if let Value::Object(fields) = &mut item {
        for age in ["heartbeat_age_ms", "wait_ms", "heartbeats"] {
            fields.remove(age);
        }
    }
    item.to_string()
}

/// JSON that no terminal obeys: what a terminal or an eye could be fooled by is
/// written as an escape, which is the same text to every reader of JSON.
pub fn harmless(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    let mut units = [0; 2];
    for c in json.chars() {
        let fools = matches!(c,
            '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
        if fools {
            for unit in c.encode_utf16(&mut units) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod told;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::script;
    use crate::time::Elapsed;

    fn snapshot(script: &str) -> Snapshot {
        let state = script::run(script).expect("a script");
        Snapshot {
            model: state.model,
            now: state.now,
            listened: Elapsed::from_secs(6),
        }
    }

    #[test]
    fn jobs_are_printed_with_null_for_what_is_not_known() {
        let snapshot = snapshot(
            "0s link nats up \
             | 0s submit j1 topic=job.batch.embed tenant=acme trace=t1 undo=job.batch.drop workflow=wf-1 context=redis://ctx:j1 \
             | 1s dispatch j1 w1 | 2s progress j1 40% message=\"chunk 4\" | 3s fatal j1 w1 code=ERROR_CODE_JOB_TIMEOUT result=redis://res:j1 \
             | 4s progress j2 7% by=w2 | 5s malformed sys.job.submit | 6s tick",
        );
        insta::assert_snapshot!(document(Kind::Jobs, &snapshot, &Wanted::default()));
    }

    #[test]
    fn workers_alerts_and_senders_are_printed() {
        let snapshot = snapshot(
            "0s link nats up | 0s beat w1 pool=gpu region=eu cpu=12.5 mem=40 gpu=97 slots=2/4 pct=31 memo=\"epoch 2\" \
             | 2s beat w2 pool=gpu | 3s alert DISK level=warn component=node-1 message=\"disk is full\" breaks=odd | 40s beat w1 pool=gpu cpu=1 slots=0/4",
        );
        let text = [Kind::Workers, Kind::Alerts, Kind::Senders]
            .map(|kind| document(kind, &snapshot, &Wanted::default()))
            .join("\n");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn approvals_are_printed_dearest_first() {
        let snapshot = snapshot(
            "0s link gateway up | 0s policy v1:ab \
             | 10s approval j1 topic=job.mcp.write decision=REQUIRE_APPROVAL rule=prod reason=\"a person decides\" snapshot=v1:ab hash=41d0 own=77be risk=prod,write undo=job.mcp.revert \
             | 70s tick",
        );
        insta::assert_snapshot!(document(Kind::Approvals, &snapshot, &Wanted::default()));
    }

    #[test]
    fn rollbacks_are_printed_step_by_step_with_null_for_a_job_that_is_not_known() {
        let snapshot = snapshot(
            "0s submit a topic=job.a workflow=wf undo=job.undo_a | 1s succeed a w1 \
             | 2s submit b topic=job.b workflow=wf undo=job.undo_b | 3s fatal b w1 \
             | 4s submit c topic=job.undo_b parent=b workflow=wf key=k1 labels=saga_compensation:true,saga_workflow_id:wf \
             | 5s told c DENIED decision=DENY",
        );
        let items = items(Kind::Rollbacks, &snapshot, &Wanted::default());
        let least: Vec<Value> = items
            .iter()
            .map(|it| {
                json!([
                    it["workflow_id"],
                    it["job_id"],
                    it["topic"],
                    it["state"],
                    it["idempotency_key"]
                ])
            })
            .collect();
        let expected = json!([
            ["wf", "c", "job.undo_b", "DENIED", "k1"],
            ["wf", null, "job.undo_a", null, "a/undo"],
        ]);
        assert_eq!(Value::from(least), expected);
        assert_eq!(items[1]["undoes"], "a");
        let keys: Vec<String> = items.iter().map(key_of).collect();
        assert_eq!(keys, ["c", "a"], "a watch tells the steps apart");
        let other = Wanted {
            id: Some("other".to_owned()),
            ..Wanted::default()
        };
        assert!(self::items(Kind::Rollbacks, &snapshot, &other).is_empty());
    }

    #[test]
    fn the_decision_of_a_job_is_the_last_one_and_that_a_person_was_asked_stands_beside_it() {
        let waits = "0s told j1 APPROVAL_REQUIRED decision=REQUIRE_APPROVAL \
             | 0s approval j1 decision=REQUIRE_APPROVAL rule=prod";
        let told = |more: &str| {
            let snapshot = snapshot(&format!("{waits} | {more}"));
            let job = &items(Kind::Jobs, &snapshot, &Wanted::default())[0];
            let wanted = Wanted {
                id: Some("j1".to_owned()),
                ..Wanted::default()
            };
            let approval = &items(Kind::Approvals, &snapshot, &wanted)[0];
            [
                &job["decision"],
                &job["approval_status"],
                &approval["decision"],
            ]
            .map(Value::clone)
        };
        let asked = json!("REQUIRE_APPROVAL");
        assert_eq!(
            told("1s tick"),
            [asked.clone(), json!("pending"), asked.clone()]
        );
        // The list of approvals goes on to tell what policy said then, in each round.
        let yes = "2s told j1 RUNNING decision=ALLOW | 2s approval j1 status=approved decision=REQUIRE_APPROVAL rule=prod";
        assert_eq!(told(yes), [json!("ALLOW"), json!("approved"), asked]);
    }

    #[test]
    fn a_step_that_has_not_run_tells_what_the_policy_in_force_would_say_of_it() {
        let armed =
            "0s policy s1 | 0s submit a topic=job.a workflow=wf undo=job.undo_a | 1s succeed a w1";
        let told = |more: &str| {
            let snapshot = snapshot(&format!("{armed} | {more}"));
            let items = items(Kind::Rollbacks, &snapshot, &Wanted::default());
            let one = &items[0];
            [
                &one["would_decide"],
                &one["would_rule_id"],
                &one["would_reason"],
            ]
            .map(Value::clone)
        };
        let judged = "2s judged a DENY rule=r1 reason=never snapshot=s1";
        assert_eq!(told(judged), [json!("DENY"), json!("r1"), json!("never")]);
        assert_eq!(told("2s tick"), [Value::Null, Value::Null, Value::Null]);
        let moved = format!("{judged} | 3s policy s2");
        assert_eq!(told(&moved)[0], Value::Null, "of another policy");
        let ran = format!(
            "{judged} | 3s submit c topic=job.undo_a parent=a labels=saga_compensation:true,saga_workflow_id:wf"
        );
        assert_eq!(told(&ran)[0], Value::Null, "what runs was decided");
    }

    #[test]
    fn hostile_text_stays_what_it_is_and_no_terminal_obeys_it() {
        let snapshot = snapshot(
            "0s dispatch j1 w1 | 1s progress j1 1% message=\"a\u{1b}[2J\u{202e}b\u{9b}c\u{e0041}\"",
        );
        let line = line(
            Kind::Jobs,
            &items(Kind::Jobs, &snapshot, &Wanted::default())[0],
        );
        assert!(
            line.contains(r"a\u001b[2J\u202eb\u009bc\udb40\udc41"),
            "{line}"
        );
        let read: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(read["message"], "a\u{1b}[2J\u{202e}b\u{9b}c\u{e0041}");
    }

    #[test]
    fn a_watch_prints_what_changed_and_ages_are_no_change() {
        let mut watch = super::super::Watch::default();
        let wanted = Wanted::default();
        let first = snapshot("0s link nats up | 0s beat w1 cpu=5");
        assert_eq!(watch.changes(Kind::Workers, &first, &wanted).len(), 1);
        let later = snapshot("0s link nats up | 0s beat w1 cpu=5 | 3s tick");
        assert_eq!(watch.changes(Kind::Workers, &later, &wanted).len(), 0);
        let moved = snapshot("0s link nats up | 0s beat w1 cpu=5 | 3s beat w1 cpu=6");
        assert_eq!(watch.changes(Kind::Workers, &moved, &wanted).len(), 1);
    }
}
