//! Dead letters: what became of jobs that could not be done.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::JobState;
use crate::ids::{JobId, WorkerId};
use crate::time::Timestamp;
use crate::wire::packet::{JobRequest, JobResult, JobStatus, WireEnum as _};

/// Dead letters kept, the oldest go first: the limit of CAP deployments.
const MAX_LETTERS: usize = 10_000;

/// A job that could not be done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The job.
    pub job_id: JobId,
    /// Its topic.
    pub topic: String,
    /// The request as it stood, for another try.
    pub request: Arc<JobRequest>,
    /// The status of the packet on `sys.job.dlq`.
    pub status: JobStatus,
    /// Why, as a code such as `safety_denied`.
    pub reason_code: String,
    /// Why, for people.
    pub reason: String,
    /// Where the job stood before.
    pub last_state: JobState,
    /// How often it had been handed to a worker.
    pub attempts: u32,
    /// When.
    pub created_at: Timestamp,
}

impl DeadLetter {
    /// What travels on `sys.job.dlq`: a job result that names no worker, with the
    /// job as its trace, as CAP schedulers send it.
    pub fn result(&self) -> JobResult {
        JobResult {
            job_id: self.job_id.clone(),
            status: self.status,
            worker_id: WorkerId::default(),
            error_code: self.reason_code.clone(),
            error_message: self.reason.clone(),
            ..JobResult::default()
        }
    }

    /// What is stored at `res:<job id>` for whoever asks for the job's result.
    pub fn stored_result(&self) -> String {
        serde_json::json!({
            "job_id": self.job_id.as_str(),
            "status": format!("JOB_STATUS_{}", self.status.name()),
            "error": { "message": self.reason },
            "processed_by": crate::wire::SENDER_SCHEDULER,
            "completed_at": self.created_at.to_string(),
        })
        .to_string()
    }
}

/// The last dead letter of each job, bounded.
#[derive(Clone, Debug, Default)]
pub(super) struct Letters {
    letters: BTreeMap<u64, DeadLetter>,
    by_job: BTreeMap<JobId, u64>,
    next: u64,
}

impl Letters {
    pub(super) fn add(&mut self, letter: DeadLetter) {
        self.remove(&letter.job_id);
        self.by_job.insert(letter.job_id.clone(), self.next);
        self.letters.insert(self.next, letter);
        self.next += 1;
        if self.letters.len() > MAX_LETTERS
            && let Some((_, oldest)) = self.letters.pop_first()
        {
            self.by_job.remove(&oldest.job_id);
        }
    }

    pub(super) fn remove(&mut self, id: &JobId) -> Option<DeadLetter> {
        let number = self.by_job.remove(id)?;
        self.letters.remove(&number)
    }

    pub(super) fn get(&self, id: &JobId) -> Option<&DeadLetter> {
        self.letters.get(self.by_job.get(id)?)
    }

    pub(super) fn newest_first(&self) -> impl Iterator<Item = &DeadLetter> {
        self.letters.values().rev()
    }
}
