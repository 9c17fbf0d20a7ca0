//! What was decided, and what can be known before somebody decides: the log of all
//! evaluations, the context of an approval, dead letters, rollbacks.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use serde_json::{Value, json};

use super::App;
use super::answer::{Answer, Refusal, ok};
use super::keys::Caller;
use super::routes::{Asked, LONG_PAGE, Named, PAGE, job_id, limit, parameters, text};
use super::types;
use super::types::governance as records;
use crate::control_plane::ledger::{self, DecisionsQuery, LedgerError, Rollback};
use crate::time::{Elapsed, Timestamp};

/// How far back the log of decisions is read unless asked otherwise.
const A_DAY: Elapsed = Elapsed::from_secs(24 * 3_600);
/// Earlier approvals that the context of one shows.
const PRIOR: usize = 20;
/// Outcomes by the names of the log.
const VERDICTS: [&str; 6] = [
    "allow",
    "deny",
    "require_approval",
    "throttle",
    "constrain",
    "unavailable",
];

/// `GET /governance/decisions`.
pub(super) async fn decisions(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    asked: Asked,
) -> Answer {
    let asked = parameters(asked)?;
    let limit = limit(&asked, PAGE)?;
    let verdict = text(&asked, "verdict");
    if let Some(name) = verdict.filter(|name| !VERDICTS.contains(name)) {
        let says = format!("`{name}` is no outcome; there are {}", VERDICTS.join(", "));
        return Err(Refusal::bad_request("invalid_parameter", says));
    }
    let instant = |name: &str| -> Result<Option<Timestamp>, Refusal> {
        let Some(value) = text(&asked, name) else {
            return Ok(None);
        };
        let read = match value.parse() {
            Ok(ms) => Some(Timestamp::from_millis(ms)),
            Err(_) => Timestamp::parse_rfc3339(value),
        };
        read.map(Some).ok_or_else(|| {
            let says = format!("{name} must be milliseconds or RFC 3339, not `{value}`");
            Refusal::bad_request("invalid_parameter", says)
        })
    };
    let before = match text(&asked, "cursor") {
        None => None,
        Some(cursor) => Some(cursor.parse().map_err(|_| {
            Refusal::bad_request("invalid_parameter", "the cursor is of no earlier page")
        })?),
    };
    let query = DecisionsQuery {
        since: instant("since")?.or_else(|| Some(app.clock.now().minus(A_DAY))),
        until: instant("until")?,
        topic: text(&asked, "topic"),
        rule_id: text(&asked, "rule_id"),
        verdict,
        agent_id: text(&asked, "agent_id"),
        tenant: caller.tenant.as_deref(),
        before,
    };
    let ledger = ledger::lock(&app.ledger);
    let mut found = ledger.decisions(query).peekable();
    let mut items = Vec::new();
    let mut last = None;
    while let Some(logged) = found.next_if(|_| items.len() < limit) {
        last = Some(logged.number);
        items.push(records::logged_item(&ledger, logged));
    }
    let next = found.peek().and(last).map(|number| number.to_string());
    let since = ledger.decided_since(app.started_at).as_micros();
    ok(&json!({ "items": items, "next_cursor": next, "record_since": since }))
}

/// `GET /approvals/{id}/context`.
pub(super) async fn approval_context(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Named,
) -> Answer {
    let id = job_id(id)?;
    let now = app.clock.now();
    let rules = app.kernel.health().map(|health| health.rules);
    let ledger = ledger::lock(&app.ledger);
    let job = ledger.job(&id).ok_or(LedgerError::NotFound)?;
    caller.must_reach(Some(job.tenant()))?;
    let Some(approval) = &job.approval else {
        return Err(LedgerError::NotActionable {
            state: job.state,
            status: None,
        }
        .into());
    };
    let prior: Vec<Value> = ledger
        .prior_approvals(job)
        .take(PRIOR)
        .filter_map(records::prior_approval)
        .collect();
    ok(&records::approval_context(
        &ledger, job, approval, prior, rules, now,
    ))
}

/// `GET /dlq`.
pub(super) async fn dead_letters(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    asked: Asked,
) -> Answer {
    let limit = limit(&parameters(asked)?, LONG_PAGE)?;
    let ledger = ledger::lock(&app.ledger);
    let items: Vec<Value> = ledger
        .dead_letters()
        .filter(|letter| caller.reaches_request(&letter.request))
        .take(limit)
        .map(types::dead_letter_item)
        .collect();
    ok(&json!({ "items": items }))
}

/// `GET /dlq/page`. The cursor is the instant of the last letter that was sent.
pub(super) async fn dead_letters_page(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    asked: Asked,
) -> Answer {
    let asked = parameters(asked)?;
    let limit = limit(&asked, LONG_PAGE)?;
    let before = super::routes::instant(&asked, "cursor")?;
    let ledger = ledger::lock(&app.ledger);
    let mut found = ledger
        .dead_letters()
        .filter(|letter| caller.reaches_request(&letter.request))
        .filter(|letter| before.is_none_or(|at| letter.created_at < at))
        .peekable();
    let mut items = Vec::new();
    let mut last = None;
    // The cursor is an instant, so a page ends only between two instants.
    while let Some(letter) =
        found.next_if(|letter| items.len() < limit || last == Some(letter.created_at))
    {
        last = Some(letter.created_at);
        items.push(types::dead_letter_item(letter));
    }
    let next = found.peek().and(last).map(Timestamp::as_micros);
    ok(&json!({ "items": items, "next_cursor": next }))
}

/// `GET /workflows/{id}/rollback`; a job without a workflow is asked for by its id.
pub(super) async fn rollback(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Named,
) -> Answer {
    let id = job_id(id)?;
    let ledger = ledger::lock(&app.ledger);
    let none = || {
        Refusal::new(
            axum::http::StatusCode::NOT_FOUND,
            "rollback_not_found",
            "nothing of that workflow can be undone, or was",
        )
    };
    let rollback = ledger.rollback(id.as_str()).ok_or_else(none)?;
    if !reaches(&caller, &rollback) {
        return Err(Refusal::other_tenant());
    }
    ok(&records::rollback_item(&ledger, &rollback))
}

/// `GET /rollbacks`: those that something failed for, the last failure first.
pub(super) async fn rollbacks(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    asked: Asked,
) -> Answer {
    let limit = limit(&parameters(asked)?, PAGE)?;
    let ledger = ledger::lock(&app.ledger);
    let items: Vec<Value> = ledger
        .begun_rollbacks()
        .iter()
        .filter(|rollback| reaches(&caller, rollback))
        .take(limit)
        .map(|rollback| records::rollback_item(&ledger, rollback))
        .collect();
    ok(&json!({ "items": items }))
}

fn reaches(caller: &Caller, rollback: &Rollback<'_>) -> bool {
    rollback
        .steps
        .iter()
        .all(|step| caller.reaches(step.tenant()))
}
