//! Why the ledger refuses, with the codes and statuses of HTTP answers.

use thiserror::Error;

use super::{ApprovalStatus, JobState};
use crate::ids::JobId;
use crate::time::Timestamp;

/// Why the ledger refused. `code` is what an HTTP answer carries.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LedgerError {
    /// Nobody knows the job.
    #[error("there is no such job")]
    NotFound,
    /// The request cannot be a job.
    #[error("the request has no {0}")]
    Invalid(&'static str),
    /// Another job was submitted with the same idempotency key or job id.
    #[error("that job id or idempotency key is of job {existing}, which was asked for differently")]
    IdempotencyConflict {
        /// The job that has it.
        existing: JobId,
    },
    /// So many jobs are under way that no more is taken.
    #[error("{limit} jobs are under way and no more is taken")]
    Full {
        /// The limit.
        limit: usize,
    },
    /// Somebody decided before.
    #[error("the approval was already {} by {by}", status.name())]
    AlreadyResolved {
        /// How.
        status: ApprovalStatus,
        /// Who.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// There is nothing to decide.
    #[error("{}", not_actionable(*state, *status))]
    NotActionable {
        /// Where the job stands.
        state: JobState,
        /// Where its approval stands, if it ever had one.
        status: Option<ApprovalStatus>,
    },
    /// The request moved since it was held or seen.
    #[error("{what}")]
    StaleRequest {
        /// What differs.
        what: &'static str,
    },
    /// The policy moved since it asked or was seen.
    #[error("{}", stale_snapshot(asked_under, current))]
    StaleSnapshot {
        /// The policy that asked.
        asked_under: String,
        /// The policy in force.
        current: String,
    },
    /// The workflow of the job has failed and is undone since it asked.
    #[error("workflow {workflow} has failed since; its steps are undone, not begun")]
    TerminalRun {
        /// The workflow.
        workflow: String,
    },
    /// Nobody keeps a dead letter of the job, or no longer.
    #[error("there is no dead letter of that job")]
    NoDeadLetter,
    /// Policy offered no other way.
    #[error("policy offered no remediation for the job")]
    NoRemediations,
    /// Policy offered other ways, not this one.
    #[error("policy did not offer that remediation")]
    NoSuchRemediation,
    /// The job has ended.
    #[error("the job has already ended as {}", state.name())]
    AlreadyEnded {
        /// How.
        state: JobState,
    },
}

impl LedgerError {
    /// The code of an HTTP answer.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "job_not_found",
            Self::Invalid(_) => "invalid_request",
            Self::IdempotencyConflict { .. } => "IDEMPOTENCY_CONFLICT",
            Self::Full { .. } => "BACKPRESSURE",
            Self::AlreadyResolved { .. } => "approval_already_resolved",
            Self::NotActionable { .. } => "approval_not_actionable",
            Self::StaleRequest { .. } => "approval_stale_request",
            Self::StaleSnapshot { .. } => "approval_stale_snapshot",
            Self::TerminalRun { .. } => "approval_terminal_run",
            Self::NoDeadLetter => "dlq_entry_not_found",
            Self::NoRemediations => "no_remediations",
            Self::NoSuchRemediation => "remediation_not_found",
            Self::AlreadyEnded { .. } => "job_already_terminal",
        }
    }

    /// The status of an HTTP answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::NotFound | Self::NoDeadLetter | Self::NoSuchRemediation => 404,
            Self::Invalid(_) => 400,
            Self::Full { .. } => 429,
            Self::IdempotencyConflict { .. }
            | Self::AlreadyResolved { .. }
            | Self::NotActionable { .. }
            | Self::StaleRequest { .. }
            | Self::StaleSnapshot { .. }
            | Self::TerminalRun { .. }
            | Self::NoRemediations
            | Self::AlreadyEnded { .. } => 409,
        }
    }
}

fn stale_snapshot(asked_under: &str, current: &str) -> &'static str {
    if asked_under == current {
        "the policy that asked is not the one that was seen"
    } else {
        "the policy that asked is not the one in force"
    }
}

fn not_actionable(state: JobState, status: Option<ApprovalStatus>) -> String {
    match status {
        Some(ApprovalStatus::Invalidated) => {
            "the approval was ended without a person's word; ask for a new request".to_owned()
        }
        Some(ApprovalStatus::Expired) => "the approval has expired".to_owned(),
        Some(ApprovalStatus::Pending | ApprovalStatus::Approved | ApprovalStatus::Rejected)
        | None => format!("the job is {} and does not wait for approval", state.name()),
    }
}
