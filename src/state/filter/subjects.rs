//! What each kind of thing offers to filters: a room for each.

use crate::state::model::jobs::Request;
use crate::time::Elapsed;

mod alert;
mod approval;
mod job;
mod letter;
mod rollback;
mod rule;
mod words;
mod worker;

pub use approval::ApprovalRow;
pub use letter::LetterRow;
pub use rollback::RollbackRow;
pub use words::DECISIONS;
pub use worker::WorkerRow;

fn ms(elapsed: Elapsed) -> i64 {
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// Shows the texts of a field that comes from a request.
fn request_texts(
    request: Option<&Request>,
    field: &str,
    look: &mut dyn FnMut(&str) -> bool,
) -> bool {
    let Some(request) = request else {
        return false;
    };
    let one = match field {
        "topic" => &request.topic,
        "tenant" => &request.tenant,
        "actor" => &request.actor,
        "principal" => &request.principal,
        "workflow" => &request.workflow_id,
        "capability" => &request.capability,
        "pack" => &request.pack_id,
        "parent" => return request.parent.as_ref().is_some_and(|it| look(it.as_str())),
        "risk" => return request.risk_tags.iter().any(|tag| look(tag)),
        _ => return false,
    };
    one.as_deref().is_some_and(look)
}
