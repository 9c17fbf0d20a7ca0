//! Approvals: what a person was asked, bound to the request and the policy that
//! raised the question.
//!
//! The binding is strict. A yes counts only for the request that was hashed and
//! for the policy snapshot that asked; when either has moved, the approval is
//! refused and stays open. A moved policy closes nothing by itself: the waiting
//! approval is listed as such until somebody rejects it, submits the job anew, or
//! the policy comes back.

use std::sync::Arc;

use super::{DeadLetter, Job, JobState, Ledger, LedgerError, Step, WaitingOn};
use crate::ids::{JobId, TraceId};
use crate::time::{Elapsed, Timestamp};
use crate::wire::job_hash;
use crate::wire::packet::{JobRequest, JobStatus};

/// Where an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ApprovalStatus {
    /// Somebody has to decide.
    Pending,
    /// Somebody said yes.
    Approved,
    /// Somebody said no.
    Rejected,
    /// The job's deadline passed first.
    Expired,
    /// The job ended otherwise first.
    Invalidated,
}

impl ApprovalStatus {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Invalidated => "invalidated",
        }
    }

    /// What can be done with it, by the name in JSON.
    pub fn actionability(self) -> &'static str {
        match self {
            Self::Pending => "actionable",
            Self::Approved | Self::Rejected => "resolved",
            Self::Expired => "expired",
            Self::Invalidated => "invalidated",
        }
    }

    /// What was done with it, by the name in JSON; `None` while it waits.
    pub fn decision(self) -> Option<&'static str> {
        match self {
            Self::Pending => None,
            Self::Approved => Some("approve"),
            Self::Rejected => Some("reject"),
            Self::Expired => Some("expire"),
            Self::Invalidated => Some("invalidate"),
        }
    }
}

/// What a person was asked, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Where it stands.
    pub status: ApprovalStatus,
    /// 1 at first; one more with each change.
    pub revision: u32,
    /// The policy that asked.
    pub policy_snapshot: String,
    /// The hash of the request that was asked about.
    pub job_hash: String,
    /// When it was asked.
    pub requested_at: Timestamp,
    /// Who resolved it; empty while it waits.
    pub resolved_by: String,
    /// When it was resolved.
    pub resolved_at: Option<Timestamp>,
    /// The reason given; may be empty.
    pub reason: String,
    /// The note given; may be empty.
    pub note: String,
}

/// What the person saw and therefore expects; each is compared when it is given.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Expected {
    /// The hash on the screen.
    pub job_hash: Option<String>,
    /// The snapshot on the screen.
    pub policy_snapshot: Option<String>,
    /// The digest of the payload on the screen, lower-case hex.
    pub context_sha256: Option<String>,
}

/// A person's yes.
#[derive(Clone, Debug, Default)]
pub struct Yes<'a> {
    /// Who.
    pub by: &'a str,
    /// The note given; may be empty.
    pub note: &'a str,
    /// The reason given; may be empty.
    pub reason: &'a str,
    /// The policy in force now.
    pub current_snapshot: &'a str,
    /// What the person saw.
    pub expected: Expected,
    /// The digest of the payload as it is stored now; `None` if there is none.
    pub context_sha256: Option<&'a str>,
}

/// What has to be published after a yes, on `sys.job.submit`.
#[derive(Clone, Debug)]
pub struct Approved {
    /// The trace of the job.
    pub trace: TraceId,
    /// The stored request, with the labels of its approval.
    pub request: Arc<JobRequest>,
}

impl Ledger {
    /// Records a yes: the job becomes PENDING again and its request carries the
    /// labels that let it pass the next check. Publish the returned request.
    ///
    /// # Errors
    /// In this order: [`LedgerError::NotFound`]; [`LedgerError::AlreadyResolved`];
    /// [`LedgerError::NotActionable`]; [`LedgerError::StaleRequest`] when the stored
    /// request hashes differently from what was asked about, or the caller saw
    /// another hash or payload; [`LedgerError::StaleSnapshot`] when the policy that
    /// asked is not the one in force, or not the one the caller saw. On an error
    /// nothing has changed.
    pub fn approve(
        &mut self,
        id: &JobId,
        yes: &Yes<'_>,
        now: Timestamp,
    ) -> Result<Approved, LedgerError> {
        let seq = self.seq(id)?;
        let approval = self.actionable(seq, now)?.clone();
        let job = self.at(seq);
        let expected = &yes.expected;
        let hash = hash_of(&job.request);
        if hash != approval.job_hash {
            return Err(LedgerError::StaleRequest {
                what: "the stored request is not the one that was held",
            });
        }
        if expected.job_hash.as_ref().is_some_and(|seen| *seen != hash) {
            return Err(LedgerError::StaleRequest {
                what: "the request is not the one that was seen",
            });
        }
        if expected.context_sha256.is_some()
            && expected.context_sha256.as_deref() != yes.context_sha256
        {
            return Err(LedgerError::StaleRequest {
                what: "the payload is not the one that was seen",
            });
        }
        let moved = approval.policy_snapshot != yes.current_snapshot;
        let unseen = expected
            .policy_snapshot
            .as_ref()
            .is_some_and(|seen| *seen != approval.policy_snapshot);
        if moved || unseen {
            return Err(LedgerError::StaleSnapshot {
                asked_under: approval.policy_snapshot,
                current: yes.current_snapshot.to_owned(),
            });
        }

        self.resolve(
            seq,
            ApprovalStatus::Approved,
            yes.by,
            yes.reason,
            yes.note,
            now,
        );
        self.transition(
            seq,
            JobState::Pending,
            format!("approved by {}", yes.by),
            now,
        );
        let job = self.at_mut(seq);
        let labels = &mut Arc::make_mut(&mut job.request).labels;
        labels.insert("approval_granted".to_owned(), "true".to_owned());
        labels.insert("approval_reason".to_owned(), yes.reason.to_owned());
        if !yes.note.is_empty() {
            labels.insert("approval_note".to_owned(), yes.note.to_owned());
        }
        labels.insert("approval_snapshot".to_owned(), approval.policy_snapshot);
        labels.insert("cordum.bus_msg_id".to_owned(), format!("approval:{id}"));
        let approved = Approved {
            trace: job.trace.clone(),
            request: Arc::clone(&job.request),
        };
        self.hold(seq, now);
        Ok(approved)
    }

    /// Records a no: the job ends DENIED. Publish the returned dead letter.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], [`LedgerError::AlreadyResolved`],
    /// [`LedgerError::NotActionable`]. A moved request or policy does not hinder a no.
    pub fn reject(
        &mut self,
        id: &JobId,
        by: &str,
        reason: &str,
        note: &str,
        now: Timestamp,
    ) -> Result<DeadLetter, LedgerError> {
        let seq = self.seq(id)?;
        self.actionable(seq, now)?;
        self.resolve(seq, ApprovalStatus::Rejected, by, reason, note, now);
        let said = if reason.is_empty() {
            "approval rejected"
        } else {
            reason
        };
        let letter = self.bury(
            seq,
            JobState::Denied,
            JobStatus::Denied,
            "approval_rejected",
            said,
            now,
        );
        self.outbox.push(Step::StoreDeadLetter(letter.clone()));
        Ok(letter)
    }

    /// Takes note that another policy is in force. Waiting approvals keep
    /// waiting; [`Self::snapshot_is_current`] tells which of them it concerns.
    /// Returns whether it is news.
    pub fn policy_changed(&mut self, snapshot: &str) -> bool {
        let news = self.snapshot.as_deref() != Some(snapshot);
        if news {
            self.snapshot = Some(snapshot.to_owned());
        }
        news
    }

    /// The policy in force, as last reported; `None` before the first report.
    pub fn current_snapshot(&self) -> Option<&str> {
        self.snapshot.as_deref()
    }

    /// Whether the policy that asked is the one in force; `None` when no policy
    /// was reported yet.
    pub fn snapshot_is_current(&self, approval: &Approval) -> Option<bool> {
        self.snapshot
            .as_ref()
            .map(|current| *current == approval.policy_snapshot)
    }

    /// Jobs with a waiting approval, the oldest first.
    pub fn waiting_approvals(&self) -> impl Iterator<Item = &Job> {
        self.in_state(JobState::ApprovalRequired)
            .filter(|job| job.approval.is_some())
    }

    /// Jobs whose approval was resolved, the latest first.
    pub fn resolved_approvals(&self) -> impl Iterator<Item = &Job> {
        self.resolved
            .iter()
            .rev()
            .filter_map(|(_, seq)| self.jobs.get(seq))
    }

    /// Holds the job for a person; the pinned hash is that of the stored request.
    pub(super) fn ask_a_person(&mut self, seq: u64, snapshot: &str, now: Timestamp) -> String {
        let job = self.at_mut(seq);
        let hash = hash_of(&job.request);
        let revision = job.approval.as_ref().map_or(1, |old| old.revision + 1);
        let reopened = job.approval.as_ref().and_then(|old| old.resolved_at);
        job.approval = Some(Approval {
            status: ApprovalStatus::Pending,
            revision,
            policy_snapshot: snapshot.to_owned(),
            job_hash: hash.clone(),
            requested_at: now,
            resolved_by: String::new(),
            resolved_at: None,
            reason: String::new(),
            note: String::new(),
        });
        if let Some(at) = reopened {
            self.resolved.remove(&(at, seq));
        }
        self.transition(seq, JobState::ApprovalRequired, "held for approval", now);
        self.at_mut(seq).waiting_on = Some(WaitingOn::Approval);
        self.rest(seq);
        hash
    }

    /// Marks the approval of a job that ends without a person's word.
    pub(super) fn close_approval(&mut self, seq: u64, status: ApprovalStatus, now: Timestamp) {
        let waits = self
            .at(seq)
            .approval
            .as_ref()
            .is_some_and(|approval| approval.status == ApprovalStatus::Pending);
        if waits {
            self.resolve(seq, status, "", "", "", now);
        }
    }

    /// Whether a request may pass because a person said yes to exactly it: the
    /// labels alone are worth nothing without the record.
    pub(super) fn is_granted(job: &Job) -> bool {
        let label = |key: &str| job.request.labels.get(key).map(String::as_str);
        job.approval.as_ref().is_some_and(|approval| {
            approval.status == ApprovalStatus::Approved
                && label("approval_granted") == Some("true")
                && label("approval_snapshot") == Some(approval.policy_snapshot.as_str())
                && approval.job_hash == hash_of(&job.request)
        })
    }

    fn actionable(&mut self, seq: u64, now: Timestamp) -> Result<&Approval, LedgerError> {
        let job = self.at(seq);
        let due = job.deadline_at.is_some_and(|at| at <= now);
        if due && job.state == JobState::ApprovalRequired {
            self.expire(seq, now);
        }
        let job = self.at(seq);
        match &job.approval {
            Some(approval) => match approval.status {
                ApprovalStatus::Pending if job.state == JobState::ApprovalRequired => Ok(approval),
                ApprovalStatus::Approved | ApprovalStatus::Rejected => {
                    Err(LedgerError::AlreadyResolved {
                        status: approval.status,
                        by: approval.resolved_by.clone(),
                        at: approval.resolved_at.unwrap_or(job.updated_at),
                    })
                }
                ApprovalStatus::Pending | ApprovalStatus::Expired | ApprovalStatus::Invalidated => {
                    Err(LedgerError::NotActionable {
                        state: job.state,
                        status: Some(approval.status),
                    })
                }
            },
            None => Err(LedgerError::NotActionable {
                state: job.state,
                status: None,
            }),
        }
    }

    fn resolve(
        &mut self,
        seq: u64,
        status: ApprovalStatus,
        by: &str,
        reason: &str,
        note: &str,
        now: Timestamp,
    ) {
        if let Some(approval) = &mut self.at_mut(seq).approval {
            approval.status = status;
            approval.revision += 1;
            approval.resolved_by = by.to_owned();
            approval.resolved_at = Some(now);
            approval.reason = reason.to_owned();
            approval.note = note.to_owned();
            self.resolved.insert((now, seq));
        }
    }
}

/// How long after a record changed the scheduler goes on without the packet that
/// announces it: the packet normally comes within a millisecond, and a lost one
/// must not lose the job.
pub(super) const ANNOUNCEMENT: Elapsed = Elapsed::from_secs(2);

/// The hash that pins a request.
fn hash_of(request: &JobRequest) -> String {
    job_hash::job_hash(request).to_string()
}
