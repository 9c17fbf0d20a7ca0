//! The message contract of CAP: which subject carries which packet, and how
//! bytes become packets and back.
//!
//! The way in is [`decode::decode`], total over any bytes; the way out is
//! [`encode::encode`], strict about the rules that receivers check. The types
//! between are [`packet`]'s. Generated protobuf code is named nowhere outside
//! this module.

use crate::bus::{Pattern, Subject};
use crate::ids::WorkerId;

pub mod contract;
mod convert;
pub mod decode;
pub mod encode;
#[rustfmt::skip]
#[allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "written by prost-build and tonic-prost-build, compared by a test; not all that \
              they write is used"
)]
mod generated;
pub mod job_hash;
pub mod json;
pub mod packet;
pub mod pointer;
pub mod safety;
pub mod stored;

/// Requests to run a job: from gateways and clients to the scheduler.
pub const SUBMIT: &str = "sys.job.submit";
/// Results of jobs: from workers to the scheduler.
pub const RESULT: &str = "sys.job.result";
/// Progress of jobs: from workers to whoever looks.
pub const PROGRESS: &str = "sys.job.progress";
/// Wishes that a job stops: to the scheduler and to all workers.
pub const CANCEL: &str = "sys.job.cancel";
/// Dead letters, each a job result.
pub const DLQ: &str = "sys.job.dlq";
/// Signs of life of workers.
pub const HEARTBEAT: &str = "sys.heartbeat";
/// Components introduce themselves.
pub const HANDSHAKE: &str = "sys.handshake";
/// Alerts; no core component publishes there, so ours and foreign ones do.
pub const ALERT: &str = "sys.alert";
/// Notices of workflows, each an alert.
pub const WORKFLOW_EVENT: &str = "sys.workflow.event";
/// A configuration or the policy changed, an alert.
pub const CONFIG_CHANGED: &str = "sys.config.changed";

/// The sender name of a scheduler.
pub const SENDER_SCHEDULER: &str = "cordum-scheduler";
/// The sender name of a gateway that decides, cancels or retries.
pub const SENDER_GATEWAY: &str = "api-gateway";
/// The sender name of a gateway that submits what came by HTTP.
pub const SENDER_GATEWAY_HTTP: &str = "api-gateway-http";
/// The sender name of the part of a scheduler that rolls back.
pub const SENDER_SAGA: &str = "cordum-scheduler-saga";

/// The subject of `name`, one of the constants of this module.
pub fn subject(name: &'static str) -> Subject {
    Subject::known(name)
}

/// What an observer listens to, so that it sees the whole bus: the control
/// subjects, dispatches by topic, and dispatches to one worker.
pub fn observed() -> [Pattern; 3] {
    [
        Pattern::known("sys.>"),
        Pattern::known("job.>"),
        Pattern::known("worker.*.jobs"),
    ]
}

/// Where jobs for one worker are published.
///
/// # Errors
/// When the worker's name cannot be a token of a subject.
pub fn worker_jobs(worker: &WorkerId) -> Result<Subject, crate::bus::BusError> {
    Subject::parse(&format!("worker.{worker}.jobs"))
}

/// What a subject of the contract is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// [`SUBMIT`].
    Submit,
    /// `job.*` or `worker.<id>.jobs`: a request on its way to a worker.
    Dispatch {
        /// The worker, when the subject names one.
        worker: Option<WorkerId>,
    },
    /// [`RESULT`].
    Result,
    /// [`PROGRESS`].
    Progress,
    /// [`CANCEL`].
    Cancel,
    /// [`DLQ`].
    DeadLetter,
    /// [`HEARTBEAT`].
    Heartbeat,
    /// [`HANDSHAKE`] and the subjects below `sys.worker.handshake`.
    Handshake,
    /// [`ALERT`], [`WORKFLOW_EVENT`] and [`CONFIG_CHANGED`].
    Alert,
    /// `sys.audit.*`: records of what happened, never the thing itself.
    Audit,
    /// Anything else.
    Other,
}

impl Channel {
    /// What `subject` is for, by its name alone.
    pub fn of(subject: &Subject) -> Self {
        let name = subject.as_str();
        match name {
            SUBMIT => Self::Submit,
            RESULT => Self::Result,
            PROGRESS => Self::Progress,
            CANCEL => Self::Cancel,
            DLQ => Self::DeadLetter,
            HEARTBEAT => Self::Heartbeat,
            HANDSHAKE => Self::Handshake,
            ALERT | WORKFLOW_EVENT | CONFIG_CHANGED => Self::Alert,
            _ if name.starts_with("sys.worker.handshake") => Self::Handshake,
            _ if name.starts_with("sys.audit.") => Self::Audit,
            _ if name.starts_with("job.") => Self::Dispatch { worker: None },
            _ => match name
                .strip_prefix("worker.")
                .and_then(|rest| rest.strip_suffix(".jobs"))
            {
                Some(worker) if !worker.is_empty() && !worker.contains('.') => Self::Dispatch {
                    worker: Some(WorkerId::from(worker)),
                },
                _ => Self::Other,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_tells_what_it_carries() {
        let of = |name: &str| Channel::of(&Subject::received(name));
        assert_eq!(of("sys.job.submit"), Channel::Submit);
        assert_eq!(of("job.batch.embed"), Channel::Dispatch { worker: None });
        assert_eq!(
            of("worker.w-1.jobs"),
            Channel::Dispatch {
                worker: Some(WorkerId::from("w-1"))
            }
        );
        assert_eq!(of("worker.jobs"), Channel::Other);
        assert_eq!(of("worker.a.b.jobs"), Channel::Other);
        assert_eq!(of("sys.audit.output_policy"), Channel::Audit);
        assert_eq!(of("sys.worker.handshake.renew"), Channel::Handshake);
        assert_eq!(of("sys.job.progress"), Channel::Progress);
        assert_eq!(of("_INBOX.x"), Channel::Other);
    }

    #[test]
    fn every_subject_of_ours_is_observed() {
        let observed = observed();
        for name in [
            SUBMIT, RESULT, PROGRESS, CANCEL, DLQ, HEARTBEAT, HANDSHAKE, ALERT,
        ] {
            let subject = subject(name);
            assert_eq!(
                observed.iter().filter(|p| p.matches(&subject)).count(),
                1,
                "{name}"
            );
        }
        let worker = worker_jobs(&WorkerId::from("w-1")).expect("a subject");
        assert!(observed[2].matches(&worker));
        assert!(worker_jobs(&WorkerId::from("w 1")).is_err());
    }
}
