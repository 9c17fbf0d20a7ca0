//! The last packets about jobs, so that a job's detail can show its own.
//!
//! What a packet says is kept, not its bytes, newest last. Kept in chunks that a
//! frozen copy shares, so a freeze costs one chunk. Start at [`Packets::of_job`].

use std::collections::VecDeque;
use std::sync::Arc;

use crate::ids::{JobId, SenderId};
use crate::state::event::{Heard, Route};
use crate::state::limits;
use crate::state::model::jobs::error_name;
use crate::state::shared::{Text, text};
use crate::time::Timestamp;
use crate::wire::packet::{Body, ErrorCode, JobStatus};

/// Packets in one shared piece.
const CHUNK: usize = 256;

/// Letters of a message that are kept; the job itself keeps all of its last one.
const WORDS: usize = 200;

/// A packet about a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// When it was heard.
    pub at: Timestamp,
    /// Where.
    pub subject: Arc<str>,
    /// Who says that it sent it.
    pub sender: SenderId,
    /// The job it is about.
    pub job: JobId,
    /// What it says.
    pub says: Says,
    /// Rules of the contract that it breaks, and fields the contract does not have.
    pub findings: usize,
}

/// What a packet about a job says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// The job is asked for.
    Submitted,
    /// The job is handed over.
    Dispatched,
    /// How far it is.
    Progress {
        /// As reported.
        percent: i32,
        /// The worker's word.
        message: Text,
    },
    /// What came of it.
    Result {
        /// As sent.
        status: JobStatus,
        /// Whether it is a dead letter.
        dead_letter: bool,
        /// The cause, for people, else machine-readable.
        cause: Text,
    },
    /// Somebody asks that it stops.
    Cancel {
        /// Who.
        by: Text,
        /// Why.
        reason: Text,
    },
}

/// The last packets about jobs, at most [`limits::PACKETS`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packets {
    chunks: VecDeque<Arc<Vec<Kept>>>,
    dropped: u64,
}

impl Packets {
    /// The kept packets about `job`, the newest first.
    pub fn of_job(&self, job: &JobId) -> impl Iterator<Item = &Kept> {
        self.chunks
            .iter()
            .rev()
            .flat_map(|chunk| chunk.iter().rev())
            .filter(move |kept| kept.job == *job)
    }

    /// Packets that were forgotten because too many were kept.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(crate) fn heard(&mut self, heard: &Heard, at: Timestamp) {
        let Some((job, says)) = read(heard) else {
            return;
        };
        let kept = Kept {
            at,
            subject: Arc::clone(&heard.subject),
            sender: heard.packet.sender.clone(),
            job: job.clone(),
            says,
            findings: heard.packet.warnings.len(),
        };
        match self.chunks.back_mut() {
            Some(chunk) if chunk.len() < CHUNK => Arc::make_mut(chunk).push(kept),
            Some(_) | None => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(kept);
                self.chunks.push_back(Arc::new(chunk));
            }
        }
        if self.chunks.len() > limits::PACKETS.div_ceil(CHUNK)
            && let Some(oldest) = self.chunks.pop_front()
        {
            self.dropped += oldest.len() as u64;
        }
    }
}

fn read(heard: &Heard) -> Option<(&JobId, Says)> {
    let read = match (&heard.packet.body, &heard.route) {
        (Body::JobRequest(request), Route::Dispatch { .. }) => (&request.job_id, Says::Dispatched),
        (Body::JobRequest(request), _) => (&request.job_id, Says::Submitted),
        (Body::JobProgress(progress), _) => (
            &progress.job_id,
            Says::Progress {
                percent: progress.percent,
                message: words(&progress.message),
            },
        ),
        (Body::JobResult(result), route) => (
            &result.job_id,
            Says::Result {
                status: result.status,
                dead_letter: *route == Route::DeadLetter,
                cause: words(&result.error_message)
                    .or_else(|| words(&result.error_code))
                    .or_else(|| named(result.error_code_enum)),
            },
        ),
        (Body::JobCancel(cancel), _) => (
            &cancel.job_id,
            Says::Cancel {
                by: words(&cancel.requested_by),
                reason: words(&cancel.reason),
            },
        ),
        (
            Body::Heartbeat(_) | Body::Alert(_) | Body::Handshake(_) | Body::WorkerHandshake(_),
            _,
        ) => return None,
    };
    (!read.0.is_empty()).then_some(read)
}

fn named(code: ErrorCode) -> Text {
    (code != ErrorCode::Unspecified).then(|| error_name(code).into())
}

fn words(said: &str) -> Text {
    let end = said.char_indices().nth(WORDS).map(|(end, _)| end);
    text(end.map_or(said, |end| &said[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::script;

    fn of(script: &str, job: &str) -> Vec<String> {
        let state = script::run(script).expect("a script");
        let job = JobId::from(job);
        let kept = state.model.packets.of_job(&job);
        kept.map(|it| format!("{} {:?}", it.subject, it.says))
            .collect()
    }

    #[test]
    fn a_job_has_its_own_packets_the_newest_first() {
        let script = "0s submit a topic=job.x | 0s submit b topic=job.x | 1s dispatch a w1 topic=job.x \
                      | 2s progress a 40% message=\"reading\" | 3s progress b 1% | 4s fail a w1 message=\"no disk\" \
                      | 5s beat w1 | 6s cancel a for=ann reason=\"too late\" | 7s dlq a FAILED code=no_disk";
        assert_eq!(
            of(script, "a"),
            [
                "sys.job.dlq Result { status: Failed, dead_letter: true, cause: Some(\"no_disk\") }",
                "sys.job.cancel Cancel { by: Some(\"ann\"), reason: Some(\"too late\") }",
                "sys.job.result Result { status: Failed, dead_letter: false, cause: Some(\"no disk\") }",
                "sys.job.progress Progress { percent: 40, message: Some(\"reading\") }",
                "worker.w1.jobs Dispatched",
                "sys.job.submit Submitted",
            ]
        );
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let state = script::run("0s submit a topic=job.x").expect("a script");
        let mut packets = state.model.packets.clone();
        let event = script::events("0s progress a 1%")
            .expect("a script")
            .remove(0);
        let crate::state::Event::Packet(heard) = event.value else {
            panic!("a packet");
        };
        let many = limits::PACKETS + 2 * CHUNK;
        for _ in 0..many {
            packets.heard(&heard, event.at);
        }
        let kept = packets.of_job(&JobId::from("a")).count();
        assert!(kept <= limits::PACKETS + CHUNK, "{kept}");
        assert_eq!(kept as u64 + packets.dropped(), many as u64 + 1);
    }
}
