//! How a job ends: what is closed, freed and written with it.

use std::sync::Arc;

use crate::control_plane::ledger::job::Phase;
use crate::control_plane::ledger::rollback::UndoKey;
use crate::control_plane::ledger::{ApprovalStatus, DeadLetter, JobState, Ledger, Step};
use crate::time::Timestamp;
use crate::wire::packet::JobStatus;

impl Ledger {
    /// Ends a job whose deadline passed.
    pub(in crate::control_plane::ledger) fn expire(&mut self, seq: u64, now: Timestamp) {
        self.close_approval(seq, ApprovalStatus::Expired, now);
        self.time_out(seq, "timeout: deadline expired", now);
    }

    /// Ends a job whose time is up. CAP schedulers tell nobody; ours leaves a dead
    /// letter, so that the bus hears of it and the job can be tried again.
    pub(super) fn time_out(&mut self, seq: u64, reason: &str, now: Timestamp) {
        let (state, status) = (JobState::Timeout, JobStatus::Timeout);
        let letter = self.bury(seq, state, status, "timeout", reason, now);
        self.outbox.push(Step::DeadLetter(letter));
    }

    /// Ends a job badly and writes its dead letter.
    pub(in crate::control_plane::ledger) fn bury(
        &mut self,
        seq: u64,
        state: JobState,
        status: JobStatus,
        code: &str,
        reason: &str,
        now: Timestamp,
    ) -> DeadLetter {
        let job = self.at_mut(seq);
        let letter = DeadLetter {
            job_id: job.id.clone(),
            topic: job.request.topic.clone(),
            request: Arc::clone(&job.request),
            status,
            reason_code: code.to_owned(),
            reason: reason.to_owned(),
            last_state: job.state,
            attempts: job.attempts,
            created_at: now,
        };
        code.clone_into(&mut job.error_code);
        reason.clone_into(&mut job.error_message);
        if job.result_ptr.is_empty() {
            job.result_ptr = format!("redis://res:{}", job.id);
        }
        self.letters.add(letter.clone());
        self.transition(seq, state, reason, now);
        letter
    }

    pub(super) fn end(&mut self, seq: u64, now: Timestamp) {
        self.close_approval(seq, ApprovalStatus::Invalidated, now);
        self.leave_line(seq);
        self.rest(seq);
        let job = self.at_mut(seq);
        job.phase = Phase::Unchecked;
        job.held = false;
        let id = job.id.clone();
        let undoes: Option<UndoKey> = job.undoes.clone();
        if let Some(key) = undoes {
            self.undo_ended(&key, &id, now);
        }
    }
}
