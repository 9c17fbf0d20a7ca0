//! The document of a rollback: its steps, and what stopped it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{KeyDocument, VERSION, at, bad, request_of, text_of};
use crate::control_plane::ledger::rollback::{Stack, Stop, Undo, UndoKey, UndoState};
use crate::control_plane::ledger::saved::BadDocument;
use crate::ids::JobId;

/// A rollback.
#[derive(Serialize, Deserialize)]
pub(in crate::control_plane::ledger::saved) struct StackDocument {
    version: u32,
    key: KeyDocument,
    recorded: Vec<UndoDocument>,
    queue: Vec<UndoDocument>,
    done: Vec<UndoDocument>,
    running: Option<String>,
    failed: Option<(String, i64)>,
    stopped: Option<StopDocument>,
}

#[derive(Serialize, Deserialize)]
struct UndoDocument {
    undoes: String,
    job_id: Option<String>,
    state: String,
    workflow_id: String,
    template: String,
}

#[derive(Serialize, Deserialize)]
struct StopDocument {
    job_id: String,
    at: i64,
    why: String,
}

impl StackDocument {
    pub(in crate::control_plane::ledger::saved) fn of(key: &UndoKey, stack: &Stack) -> Self {
        let all = |undos: &[Undo]| undos.iter().map(undo_document).collect();
        Self {
            version: VERSION,
            key: KeyDocument::of(key),
            recorded: all(&stack.recorded),
            queue: stack.queue.iter().map(undo_document).collect(),
            done: all(&stack.done),
            running: stack.running.as_ref().map(ToString::to_string),
            failed: stack
                .failed
                .as_ref()
                .map(|(job, at)| (job.to_string(), at.as_millis())),
            stopped: stack.stopped.as_ref().map(|stop| StopDocument {
                job_id: stop.job_id.to_string(),
                at: stop.at.as_millis(),
                why: stop.why.clone(),
            }),
        }
    }

    pub(in crate::control_plane::ledger::saved) fn into_stack(
        self,
    ) -> Result<(UndoKey, Stack), BadDocument> {
        fn all<C: FromIterator<Undo>>(undos: Vec<UndoDocument>) -> Result<C, BadDocument> {
            undos.into_iter().map(undo_of).collect()
        }
        let stack = Stack {
            recorded: all(self.recorded)?,
            queue: all(self.queue)?,
            done: all(self.done)?,
            running: self.running.map(JobId::from),
            failed: self.failed.map(|(job, ms)| (JobId::from(job), at(ms))),
            stopped: self.stopped.map(|stop| Stop {
                job_id: JobId::from(stop.job_id),
                at: at(stop.at),
                why: stop.why,
            }),
        };
        Ok((self.key.into_key(), stack))
    }
}

fn undo_document(undo: &Undo) -> UndoDocument {
    UndoDocument {
        undoes: undo.undoes.to_string(),
        job_id: undo.job_id.as_ref().map(ToString::to_string),
        state: undo.state.name().to_owned(),
        workflow_id: undo.workflow_id.clone(),
        template: text_of(undo.template()),
    }
}

fn undo_of(it: UndoDocument) -> Result<Undo, BadDocument> {
    let state = UndoState::ALL
        .into_iter()
        .find(|state| state.name() == it.state)
        .ok_or_else(|| bad("rollback", format!("`{}` is no state of a step", it.state)))?;
    let template = request_of(&it.template, "rollback")?;
    let mut undo = Undo::new(
        Arc::unwrap_or_clone(template),
        JobId::from(it.undoes),
        state,
    );
    undo.workflow_id = it.workflow_id;
    undo.job_id = it.job_id.map(JobId::from);
    Ok(undo)
}
