//! Another try: dead letters and remediations.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::App;
use super::actions::optional_json;
use super::admission::{Admission, admit};
use super::answer::{Answer, Refusal};
use super::keys::Caller;
use super::routes::job_id;
use super::submission::{BadSubmission, Wanted};
use crate::control_plane::ledger::{self, Again, LedgerError, Via};
use crate::ids::SenderId;

/// `DELETE /dlq/{id}`.
pub(super) async fn drop_letter(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
) -> Answer {
    let id = job_id(id)?;
    let mut ledger = ledger::lock(&app.ledger);
    let letter = ledger.dead_letter(&id).ok_or(LedgerError::NoDeadLetter)?;
    caller.must_reach(letter.request.tenant())?;
    ledger.drop_dead_letter(&id);
    let mut gone = Response::default();
    *gone.status_mut() = StatusCode::NO_CONTENT;
    Ok(gone)
}

/// `POST /dlq/{id}/retry`.
pub(super) async fn retry(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
) -> Answer {
    let id = job_id(id)?;
    app.needs_bus()?;
    let again = {
        let mut ledger = ledger::lock(&app.ledger);
        let letter = ledger.dead_letter(&id).ok_or(LedgerError::NoDeadLetter)?;
        caller.must_reach(letter.request.tenant())?;
        ledger.once_more(&id)?
    };
    let admission = Admission {
        via: Via::Retry,
        replaces: Some(id),
        copies: Some(again.request.context_ptr.clone()),
        body_digest: String::new(),
    };
    admit(&app, &caller, wanted(again)?, admission).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RemediateBody {
    remediation_id: String,
}

/// `POST /jobs/{id}/remediate`.
pub(super) async fn remediate(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Answer {
    let id = job_id(id)?;
    let body: RemediateBody = optional_json(request).await?;
    if body.remediation_id.is_empty() {
        return Err(Refusal::bad_request(
            "invalid_field",
            "remediation_id is missing",
        ));
    }
    app.needs_bus()?;
    let again = {
        let mut ledger = ledger::lock(&app.ledger);
        let job = ledger.job(&id).ok_or(LedgerError::NotFound)?;
        caller.must_reach(Some(job.tenant()))?;
        ledger.remedied(&id, &body.remediation_id)?
    };
    let admission = Admission {
        via: Via::Gateway,
        replaces: None,
        copies: Some(again.request.context_ptr.clone()),
        body_digest: String::new(),
    };
    admit(&app, &caller, wanted(again)?, admission).await
}

/// # Errors
/// When the request could not be run: the record may be older than the check, and
/// the policy may have changed what it says.
fn wanted(again: Again) -> Result<Wanted, BadSubmission> {
    let wanted = Wanted {
        request: again.request,
        trace: again.trace,
        sender: SenderId::default(),
        sent_at: None,
        context: None,
        ignored: Vec::new(),
    };
    wanted.must_be_sound()?;
    Ok(wanted)
}
