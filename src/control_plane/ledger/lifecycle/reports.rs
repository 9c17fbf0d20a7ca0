//! What others say about a job that was handed over: the bus, its worker, and
//! whoever wants it stopped.

use std::sync::Arc;

use super::{
    Cancelled, Heard, MAX_PLACEMENT_TRIES, MAX_RETRIES, PUBLISH_PAUSE, RUNNING_LIMIT,
    SCHEDULE_LIMIT, backoff, is_late, limits,
};
use crate::control_plane::ledger::alerts::Told;
use crate::control_plane::ledger::job::Phase;
use crate::control_plane::ledger::{
    CancelNote, JobState, Ledger, LedgerError, Progress, Step, WaitingOn, error_code_of,
    error_message_of,
};
use crate::ids::{JobId, WorkerId};
use crate::time::{Elapsed, Timestamp};
use crate::wire::packet::{AlertSeverity, ErrorCode, JobCancel, JobProgress, JobResult, JobStatus};

/// How long after a cancel the worker of the job may still be heard: the wish and the
/// next report may have crossed.
const CANCEL_PATIENCE: Elapsed = Elapsed::from_secs(5);

impl Ledger {
    /// The request left this process: the job is RUNNING, for CAP has no
    /// acknowledgement by workers.
    pub fn dispatched(&mut self, id: &JobId, attempt: u32, now: Timestamp) {
        let Ok(seq) = self.seq(id) else { return };
        let job = self.at(seq);
        if job.state == JobState::Dispatched && job.attempts == attempt {
            self.run(seq, now);
        }
    }

    /// The bus refused the request: the job goes back to SCHEDULED and is tried again
    /// after [`PUBLISH_PAUSE`], then after pauses that grow to 30 s, until
    /// [`SCHEDULE_LIMIT`] or [`MAX_PLACEMENT_TRIES`].
    pub fn dispatch_failed(&mut self, id: &JobId, attempt: u32, why: &str, now: Timestamp) {
        let Ok(seq) = self.seq(id) else { return };
        let job = self.at(seq);
        if job.state == JobState::Dispatched && job.attempts == attempt {
            self.free_slot(seq, now);
            let job = self.at_mut(seq);
            job.placement_tries += 1;
            let until = job.refused_since.get_or_insert(now).plus(SCHEDULE_LIMIT);
            let tries = job.placement_tries;
            if tries >= MAX_PLACEMENT_TRIES {
                let reason = format!("it was not sent in {tries} tries, the last time: {why}");
                self.give_up_placing(seq, &reason, now);
                return;
            }
            self.transition(
                seq,
                JobState::Scheduled,
                format!("dispatch failed: {why}"),
                now,
            );
            self.at_mut(seq).waiting_on = Some(WaitingOn::BusUnavailable);
            let pause = PUBLISH_PAUSE.max(backoff(tries - 1, seq));
            self.alarm(seq, Some(now.plus(pause).min(until)));
        }
    }

    /// The request cannot be written as a packet: the job fails.
    pub fn undeliverable(&mut self, id: &JobId, why: &str, now: Timestamp) {
        let Ok(seq) = self.seq(id) else { return };
        if !self.at(seq).state.is_ended() {
            let (state, status) = (JobState::Failed, JobStatus::Failed);
            self.fail(seq, state, status, "dispatch_failed", why, now);
        }
    }

    /// Takes a progress report; `sent_at` gives its order.
    pub fn progress(
        &mut self,
        progress: &JobProgress,
        sent_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Heard {
        let Ok(seq) = self.seq(&progress.job_id) else {
            return Heard::Unknown;
        };
        let job = self.at(seq);
        let attempt = progress.dispatch.as_ref().map(|dispatch| dispatch.attempt);
        let older = match (&job.progress, sent_at) {
            (Some(known), Some(sent_at)) => known.sent_at.is_some_and(|at| at > sent_at),
            (Some(_) | None, _) => false,
        };
        let at_work = matches!(job.state, JobState::Dispatched | JobState::Running);
        if !at_work || older || attempt.is_some_and(|n| n != u64::from(job.attempts)) {
            let long = now.since(job.updated_at) >= CANCEL_PATIENCE;
            self.counters.late_progress += 1;
            if long {
                self.tell_going_on(seq, "still reports progress");
            }
            return Heard::Late;
        }
        if job.state == JobState::Dispatched {
            self.run(seq, now);
        }
        self.at_mut(seq).progress = Some(Progress {
            percent: progress.percent,
            message: progress.message.clone(),
            result_ptr: progress.result_ptr.clone(),
            at: now,
            sent_at,
        });
        Heard::Taken
    }

    /// Tells once that the worker of a cancelled job does not stop.
    fn tell_going_on(&mut self, seq: u64, what: &str) {
        let job = self.at(seq);
        if job.state != JobState::Cancelled || job.going_on_told {
            return;
        }
        let worker = job.worker.as_ref().map_or("its worker", WorkerId::as_str);
        let step = Told {
            sender: crate::wire::SENDER_SCHEDULER,
            severity: AlertSeverity::Error,
            code: "cancel_not_honoured",
            error: ErrorCode::SafetyPolicyViolation,
            message: format!(
                "job {} is cancelled, and {worker} {what}: what it did is not undone",
                job.id
            ),
            details: &[
                ("job_id", job.id.to_string()),
                ("worker_id", worker.to_owned()),
                ("topic", job.request.topic.clone()),
            ],
        }
        .step();
        self.at_mut(seq).going_on_told = true;
        self.outbox.push(step);
    }

    fn run(&mut self, seq: u64, now: Timestamp) {
        self.transition(seq, JobState::Running, "", now);
        let job = self.at_mut(seq);
        job.placement_tries = 0;
        job.refused_since = None;
        let limit = limits(job)
            .and_then(|limits| limits.max_runtime_ms)
            .and_then(|ms| u64::try_from(ms).ok())
            .filter(|ms| *ms > 0)
            .map_or(RUNNING_LIMIT, Elapsed::from_millis);
        self.alarm(seq, Some(now.plus(limit)));
    }

    /// Takes a result. One with an in-flight status ends nothing; one of an ended
    /// job or of an earlier attempt changes nothing.
    pub fn result(&mut self, result: JobResult, now: Timestamp) -> Heard {
        let Ok(seq) = self.seq(&result.job_id) else {
            self.counters.unknown_jobs += 1;
            return Heard::Unknown;
        };
        let job = self.at(seq);
        if result.status.is_in_flight() || result.status == JobStatus::Unspecified {
            return Heard::Nothing;
        }
        if is_late(job, &result) {
            self.counters.late_results += 1;
            if result.status == JobStatus::Succeeded {
                self.tell_going_on(seq, "went on and finished it");
            }
            return Heard::Late;
        }
        let code = error_code_of(&result);
        let message = error_message_of(&result);
        let status = result.status;
        let job = self.at_mut(seq);
        if !result.worker_id.is_empty() {
            job.worker = Some(result.worker_id.clone());
        }
        if !result.result_ptr.is_empty() {
            job.result_ptr.clone_from(&result.result_ptr);
        }
        job.error_code.clone_from(&code);
        job.error_message.clone_from(&message);
        job.result = Some(Arc::new(result));
        match status {
            JobStatus::Succeeded => {
                self.transition(seq, JobState::Succeeded, "", now);
                self.record_undo(seq);
            }
            JobStatus::FailedRetryable => self.retry(seq, &code, &message, now),
            JobStatus::Cancelled => {
                self.fail(seq, JobState::Cancelled, status, &code, &message, now);
            }
            JobStatus::Denied => self.fail(seq, JobState::Denied, status, &code, &message, now),
            JobStatus::Timeout => self.fail(seq, JobState::Timeout, status, &code, &message, now),
            JobStatus::FailedFatal => {
                self.fail(seq, JobState::Failed, status, &code, &message, now);
                self.roll_back(seq, now);
            }
            JobStatus::Failed
            | JobStatus::Unknown(_)
            | JobStatus::Unspecified
            | JobStatus::Pending
            | JobStatus::Scheduled
            | JobStatus::Dispatched
            | JobStatus::Running => {
                let status = JobStatus::Failed;
                self.fail(seq, JobState::Failed, status, &code, &message, now);
            }
        }
        Heard::Taken
    }

    fn retry(&mut self, seq: u64, code: &str, message: &str, now: Timestamp) {
        let job = self.at_mut(seq);
        job.failures += 1;
        let failures = job.failures;
        let allowed = limits(job)
            .and_then(|limits| limits.max_retries)
            .map_or(MAX_RETRIES, |retries| u32::try_from(retries).unwrap_or(0));
        if failures > allowed {
            let said = if message.is_empty() { code } else { message };
            let reason = format!("failed {failures} times, the last time: {said}");
            self.fail(
                seq,
                JobState::Failed,
                JobStatus::Failed,
                "max_retries_exceeded",
                &reason,
                now,
            );
            return;
        }
        self.transition(seq, JobState::Retrying, message, now);
        let job = self.at_mut(seq);
        job.waiting_on = Some(WaitingOn::RetryBackoff);
        job.phase = Phase::Unchecked;
        if let Some(worker) = job.worker.clone() {
            job.past_workers.push(worker);
        }
        let pause = backoff(failures, seq);
        self.alarm(seq, Some(now.plus(pause)));
    }

    fn fail(
        &mut self,
        seq: u64,
        state: JobState,
        status: JobStatus,
        code: &str,
        reason: &str,
        now: Timestamp,
    ) {
        let letter = self.bury(seq, state, status, code, reason, now);
        self.outbox.push(Step::DeadLetter(letter));
    }

    /// Ends a job that is not to run any more, on behalf of `by`, and the jobs that it
    /// is the parent of. The caller publishes the result and the cancel of the job
    /// itself; those of its children are steps.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`]; [`LedgerError::AlreadyEnded`].
    pub fn cancel(
        &mut self,
        id: &JobId,
        by: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<Cancelled, LedgerError> {
        let seq = self.seq(id)?;
        let job = self.at_mut(seq);
        if job.state.is_ended() {
            return Err(LedgerError::AlreadyEnded { state: job.state });
        }
        let was = job.state;
        job.cancel = Some(CancelNote {
            requested_by: by.to_owned(),
            reason: reason.to_owned(),
            at: now,
        });
        let cancelled = Cancelled {
            trace: job.trace.clone(),
            was,
            worker: job.slot.clone(),
        };
        let undoes = job.undoes.is_some();
        let mut says = format!("cancelled by {by}");
        if undoes {
            // Its rollback stops here, and goes on when its dead letter is tried again.
            if !reason.is_empty() {
                says.push_str(": ");
                says.push_str(reason);
            }
            let (state, status) = (JobState::Cancelled, JobStatus::Cancelled);
            self.fail(seq, state, status, "cancelled", &says, now);
        } else {
            self.transition(seq, JobState::Cancelled, says, now);
        }
        self.cancel_children(id, by, now);
        Ok(cancelled)
    }

    /// Ends what a cancelled job began: its children, theirs, and so on. What undoes a
    /// job and what was chosen in its place go on.
    fn cancel_children(&mut self, parent: &JobId, by: &str, now: Timestamp) {
        let mut parents = vec![parent.clone()];
        while let Some(parent) = parents.pop() {
            let children = self.children.get(&parent).cloned().unwrap_or_default();
            for seq in children {
                let job = self.at_mut(seq);
                let goes_on =
                    job.is_compensation() || job.request.labels.contains_key("remediation_of");
                if job.state.is_ended() || goes_on {
                    continue;
                }
                let reason = format!("its parent {parent} was cancelled");
                job.cancel = Some(CancelNote {
                    requested_by: by.to_owned(),
                    reason: reason.clone(),
                    at: now,
                });
                parents.push(job.id.clone());
                let trace = job.trace.clone();
                let result = JobResult {
                    job_id: job.id.clone(),
                    status: JobStatus::Cancelled,
                    worker_id: WorkerId::from(crate::wire::SENDER_SCHEDULER),
                    error_message: reason.clone(),
                    ..JobResult::default()
                };
                let wish = (job.attempts > 0).then(|| JobCancel {
                    job_id: job.id.clone(),
                    reason: reason.clone(),
                    requested_by: by.to_owned(),
                    dispatch: job
                        .dispatched_request
                        .as_ref()
                        .and_then(|request| request.dispatch.clone()),
                    ..JobCancel::default()
                });
                job.cancel_relayed = true;
                self.transition(seq, JobState::Cancelled, reason, now);
                self.outbox.push(Step::Result {
                    trace,
                    result: Box::new(result),
                });
                self.outbox.extend(wish.map(Step::Cancel));
            }
        }
    }

    /// Takes a cancel from the bus. A job under way ends, and a result says so. A
    /// worker that had it hears the wish once more, after its request: the first
    /// one may have overtaken it.
    pub fn cancel_heard(&mut self, cancel: &JobCancel, now: Timestamp) -> Heard {
        let Ok(seq) = self.seq(&cancel.job_id) else {
            self.counters.unknown_jobs += 1;
            return Heard::Unknown;
        };
        let cancelled = self.cancel(&cancel.job_id, &cancel.requested_by, &cancel.reason, now);
        let job = self.at_mut(seq);
        let heard = match cancelled {
            Ok(cancelled) => {
                let result = JobResult {
                    job_id: job.id.clone(),
                    status: JobStatus::Cancelled,
                    worker_id: WorkerId::from(crate::wire::SENDER_SCHEDULER),
                    error_message: cancel.reason.clone(),
                    ..JobResult::default()
                };
                self.outbox.push(Step::Result {
                    trace: cancelled.trace,
                    result: Box::new(result),
                });
                Heard::Taken
            }
            Err(_) if job.state == JobState::Cancelled => Heard::Nothing,
            Err(_) => return Heard::Late,
        };
        let job = self.at_mut(seq);
        if job.attempts > 0 && !job.cancel_relayed {
            job.cancel_relayed = true;
            let dispatch = job
                .dispatched_request
                .as_ref()
                .and_then(|request| request.dispatch.clone());
            let relayed = JobCancel {
                dispatch,
                ..cancel.clone()
            };
            self.outbox.push(Step::Cancel(relayed));
        }
        heard
    }
}
