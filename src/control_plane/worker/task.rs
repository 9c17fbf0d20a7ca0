//! One job in the hands of a worker.

use bytes::Bytes;

use super::behavior::{Behavior, error_number};
use crate::control_plane::scenario::Outcome;
use crate::ids::{JobId, TraceId, WorkerId};
use crate::time::{Elapsed, Timestamp};
use crate::wire::packet::{JobRequest, JobResult, JobStatus};

/// A report about every so often, in milliseconds of work.
const REPORT_EVERY_MS: u64 = 1_500;
/// Reports of one job, at least and at most.
const REPORTS: (u64, u64) = (2, 60);

/// One job in the hands of a worker.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) behavior: Behavior,
    pub(super) trace: TraceId,
    job_id: JobId,
    topic: String,
    started_at: Timestamp,
    /// Work that is done, in thousandths of a millisecond at full speed.
    done: u64,
    /// Reports that were made.
    reports: u64,
    /// Reports until the end.
    reports_total: u64,
}

/// What a task has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Report {
    Progress {
        percent: u64,
        step: usize,
        message: String,
    },
    End,
}

impl Task {
    pub(super) fn new(
        request: &JobRequest,
        trace: TraceId,
        behavior: Behavior,
        now: Timestamp,
    ) -> Self {
        let reports = behavior.takes.as_millis() / REPORT_EVERY_MS;
        Self {
            trace,
            job_id: request.job_id.clone(),
            topic: request.topic.clone(),
            started_at: now,
            done: 0,
            reports: 0,
            reports_total: reports.clamp(REPORTS.0, REPORTS.1),
            behavior,
        }
    }

    /// Works for `spent` at `speed` thousandths of full speed.
    pub(super) fn work(&mut self, spent: Elapsed, speed: u64) {
        let done = spent.as_millis().saturating_mul(speed);
        self.done = self.done.saturating_add(done);
    }

    /// How long until the next report at `speed`; `None` if there is none any more,
    /// or not at this speed.
    pub(super) fn until_report(&self, speed: u64) -> Option<Elapsed> {
        let needed = self.needed()?;
        if speed == 0 {
            return None;
        }
        let missing = needed.saturating_sub(self.done);
        Some(Elapsed::from_millis(missing.div_ceil(speed)))
    }

    /// The next report, if it has come.
    pub(super) fn report(&mut self) -> Option<Report> {
        if self.done < self.needed()? {
            return None;
        }
        let number = self.reports;
        self.reports += 1;
        // The end comes right after the last report, which only success makes.
        if number > self.reports_total
            || (number == self.reports_total && self.behavior.reach() < 100)
        {
            return Some(Report::End);
        }
        let steps = &self.behavior.steps;
        let step = (number as usize * steps.len() / self.reports_total as usize)
            .min(steps.len().saturating_sub(1));
        let message = steps.get(step).map_or("", String::as_str);
        let percent = number * self.behavior.reach() / self.reports_total;
        Some(Report::Progress {
            percent,
            step,
            message: message.replace("{{percent}}", &percent.to_string()),
        })
    }

    /// The work after which the next report comes; `None` after the end, and at
    /// the end of what never ends.
    fn needed(&self) -> Option<u64> {
        let total = self.behavior.takes.as_millis().saturating_mul(1_000);
        let last = match self.behavior.outcome {
            Outcome::Succeeded => self.reports_total + 1,
            Outcome::Hang => self.reports_total - 1,
            Outcome::Failed
            | Outcome::FailedRetryable
            | Outcome::FailedFatal
            | Outcome::Timeout => self.reports_total,
        };
        if self.reports > last {
            return None;
        }
        let number = self.reports.min(self.reports_total);
        Some((u128::from(total) * u128::from(number) / u128::from(self.reports_total)) as u64)
    }

    /// The result of this job as `worker` gives it at `now`.
    pub(super) fn result(&self, worker: &WorkerId, now: Timestamp) -> JobResult {
        let status = self.behavior.status().unwrap_or(JobStatus::Failed);
        let well = status == JobStatus::Succeeded;
        let cause = &self.behavior.cause;
        let code = if well { "" } else { &cause.code };
        JobResult {
            job_id: self.job_id.clone(),
            status,
            result_ptr: if well {
                format!("redis://{}", self.result_key())
            } else {
                String::new()
            },
            worker_id: worker.clone(),
            execution_ms: i64::try_from(now.since(self.started_at).as_millis()).unwrap_or(i64::MAX),
            error_code: code.to_owned(),
            error_message: if well {
                String::new()
            } else {
                cause.message.clone()
            },
            error_code_enum: error_number(code),
            ..JobResult::default()
        }
    }

    /// What is stored of a job that ended well: key and JSON.
    pub(super) fn result_payload(
        &self,
        worker: &WorkerId,
        now: Timestamp,
    ) -> Option<(String, Bytes)> {
        if self.behavior.status() != Some(JobStatus::Succeeded) {
            return None;
        }
        let payload = serde_json::json!({
            "job_id": self.job_id.as_str(),
            "topic": self.topic,
            "worker_id": worker.as_str(),
            "status": "JOB_STATUS_SUCCEEDED",
            "execution_ms": now.since(self.started_at).as_millis(),
            "completed_at": now.to_string(),
            "steps": *self.behavior.steps,
        });
        Some((self.result_key(), Bytes::from(format!("{payload:#}"))))
    }

    fn result_key(&self) -> String {
        format!("res:{}", self.job_id)
    }
}
