//! Trying a policy that nobody publishes on decisions that were made:
//! `POST /policy/replay`.
//!
//! The contract names the route and no shape, so the shape is ours. Nothing is
//! published, recorded or counted.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use super::actions::optional_json;
use super::answer::{Answer, Refusal, ok};
use super::keys::Caller;
use crate::control_plane::kernel::Question;
use crate::control_plane::kernel::policy::{Policy, PolicyError, Problem};
use crate::control_plane::kernel::replay::{Flip, Past, Replay, replay};
use crate::control_plane::ledger::{self, DecisionsQuery, Logged};
use crate::ids::JobId;

/// Decisions that are tried unless asked otherwise, and at most.
const MAX_TRIED: usize = 500;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    content: String,
    limit: Option<usize>,
}

/// Answers which of the last decisions the policy in the body would make otherwise.
pub(super) async fn try_policy(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let asked: Asked = optional_json(request).await?;
    let limit = asked.limit.unwrap_or(MAX_TRIED).clamp(1, MAX_TRIED);
    let past = past(&app, &caller);
    // A long policy takes its time, and nobody else should wait for it.
    let tried = tokio::task::spawn_blocking(move || {
        let policy = Policy::parse(asked.content.as_bytes())?;
        let found = replay(&policy, past.iter().map(question), limit);
        Ok((policy.snapshot, found))
    });
    match tried.await {
        Ok(Ok((snapshot, found))) => ok(&answer(&snapshot, &found)),
        Ok(Err(error)) => Err(bad_policy(&error)),
        Err(_) => {
            let says = "the policy could not be tried";
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Err(Refusal::new(status, "internal_error", says))
        }
    }
}

/// The decisions of policy that the caller reaches, the latest first. That an approved
/// job goes on was decided by a person, and stays so.
fn past(app: &App, caller: &Caller) -> Vec<Logged> {
    let query = DecisionsQuery {
        tenant: caller.tenant.as_deref(),
        ..DecisionsQuery::default()
    };
    let ledger = ledger::lock(&app.ledger);
    let decisions = ledger.decisions(query);
    decisions
        .filter(|logged| !logged.record.is_grant())
        .cloned()
        .collect()
}

fn question(logged: &Logged) -> Past {
    Past {
        job: logged.request.job_id.clone(),
        was: logged.record.decision,
        rule_id: logged.record.rule_id.clone(),
        question: Some(Question::from(&*logged.request)),
    }
}

fn answer(snapshot: &str, found: &Replay) -> Value {
    json!({
        "candidate_snapshot": snapshot,
        "considered": found.considered,
        "stays": found.stays,
        "unknown": found.without_request + found.without_verdict,
        "without_verdict": found.without_verdict,
        "velocity_counted": false,
        "flips": found.flips.iter().map(flip).collect::<Vec<_>>(),
    })
}

fn flip(flip: &Flip) -> Value {
    json!({
        "was": flip.was.name(),
        "would_be": flip.would_be.name(),
        "rule_id": flip.rule_id,
        "reason": flip.reason,
        "jobs": flip.jobs.iter().map(JobId::as_str).collect::<Vec<_>>(),
        "risk_tags": flip.tags,
    })
}

fn bad_policy(error: &PolicyError) -> Refusal {
    let mut problems = error.problems.iter();
    let says = problems.next().map_or_else(String::new, Problem::to_string);
    let says = match problems.count() {
        0 => says,
        1 => format!("{says}; and 1 more problem"),
        more => format!("{says}; and {more} more problems"),
    };
    let problems: Vec<Value> = error
        .problems
        .iter()
        .map(|problem| {
            json!({
                "line": problem.place.line,
                "column": problem.place.column,
                "rule": problem.rule,
                "field": problem.field,
                "says": problem.says,
                "nearest": problem.nearest,
            })
        })
        .collect();
    Refusal::bad_request("invalid_policy", says).with("problems", problems)
}
