//! What a gap of the bus leaves in doubt: whether workers are there, and whether requests
//! that were sent around its beginning arrived.

use std::collections::BTreeSet;

use super::{JobState, Ledger, Step, WaitingOn};
use crate::ids::WorkerId;
use crate::time::{Elapsed, Timestamp};
use crate::wire::packet::{JobResult, JobStatus};

/// A request that was sent this long before a gap was noticed may be lost: what a server
/// had taken and not handed on when it ended, and what was sent until that was seen.
const IN_DOUBT: Elapsed = Elapsed::from_secs(3);

impl Ledger {
    /// The line to the bus was cut since then, and is back. What the bus refused meanwhile
    /// is tried anew without delay. No worker gets a job until it
    /// is heard again, for a message to one that is not there yet is lost. A request that
    /// may have been lost is sent again when its worker is heard, under the same attempt,
    /// unless its worker has said something of it.
    pub fn line_is_back(&mut self, since: Timestamp) {
        self.fleet.doubt_all();
        let refused: Vec<u64> = self
            .in_state(JobState::Scheduled)
            .filter(|job| job.waiting_on == Some(WaitingOn::BusUnavailable))
            .filter_map(|job| self.ids.get(&job.id).copied())
            .collect();
        for seq in refused {
            self.alarm(seq, Some(since));
        }
        let from = since.minus(IN_DOUBT);
        let in_doubt: Vec<_> = [JobState::Dispatched, JobState::Running]
            .into_iter()
            .flat_map(|state| self.in_state(state))
            .filter(|job| job.progress.is_none() && job.dispatched_at.is_some_and(|at| at >= from))
            .filter_map(|job| Some((job.slot.clone()?, job.id.clone())))
            .collect();
        for (worker, id) in in_doubt {
            self.in_doubt.entry(worker).or_default().insert(id);
        }
    }

    /// What the names of workers of planes that share a record end in, eight hexadecimal
    /// digits after a hyphen: of those that are known, and of those that have jobs.
    pub(in crate::control_plane) fn worker_tags(&self) -> BTreeSet<String> {
        let known = self.fleet.iter().filter(|(_, worker)| worker.counts());
        let at_work = [JobState::Dispatched, JobState::Running]
            .into_iter()
            .flat_map(|state| self.in_state(state))
            .filter_map(|job| job.slot.as_ref());
        known
            .map(|(id, _)| id)
            .chain(at_work)
            .filter_map(|id| tag_of(id.as_str()))
            .map(str::to_owned)
            .collect()
    }

    /// The plane whose workers' names end in `tag` is gone, and they with it: their jobs
    /// are tried anew, by others. Returns how many there were.
    pub(in crate::control_plane) fn workers_are_gone(
        &mut self,
        tag: &str,
        now: Timestamp,
    ) -> usize {
        let is_theirs = |id: &WorkerId| tag_of(id.as_str()) == Some(tag);
        self.fleet.doubt(is_theirs);
        let left: Vec<_> = [JobState::Dispatched, JobState::Running]
            .into_iter()
            .flat_map(|state| self.in_state(state))
            .filter_map(|job| Some((job.id.clone(), job.slot.clone().filter(is_theirs)?)))
            .collect();
        for (job_id, worker_id) in &left {
            let result = JobResult {
                job_id: job_id.clone(),
                worker_id: worker_id.clone(),
                status: JobStatus::FailedRetryable,
                error_code: "worker_gone".to_owned(),
                error_message: "its worker ended with its plane".to_owned(),
                ..JobResult::default()
            };
            self.result(result, now);
        }
        left.len()
    }

    /// A worker is heard: what it may not have got is sent again.
    pub(super) fn send_what_is_in_doubt(&mut self, worker: &WorkerId, now: Timestamp) {
        for id in self.in_doubt.remove(worker).unwrap_or_default() {
            let Ok(seq) = self.seq(&id) else { continue };
            let job = self.at(seq);
            let still = matches!(job.state, JobState::Dispatched | JobState::Running)
                && job.slot.as_ref() == Some(worker)
                && job.progress.is_none();
            if still {
                self.send_again(
                    seq,
                    "the bus was gone; sent again under the same attempt",
                    now,
                );
            }
        }
    }

    /// Sends a request that may not have arrived: under its attempt, to its worker, so
    /// that a worker which has it knows it again.
    pub(super) fn send_again(&mut self, seq: u64, why: &str, now: Timestamp) {
        let job = self.at_mut(seq);
        let (Some(worker), Some(request)) = (job.worker.clone(), job.dispatched_request.clone())
        else {
            return;
        };
        job.note(now, why);
        let step = Step::Dispatch {
            job: job.id.clone(),
            attempt: job.attempts,
            worker,
            trace: job.trace.clone(),
            request,
        };
        self.outbox.push(step);
    }
}

/// The end of a worker's name by which it belongs to a plane; `None` for others.
fn tag_of(worker: &str) -> Option<&str> {
    let (_, tag) = worker.rsplit_once('-')?;
    let is_one = tag.len() == 8 && tag.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then_some(tag)
}
