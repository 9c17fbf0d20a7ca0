//! Approvals: what a person was asked, bound to the request and the policy that
//! raised the question.
//!
//! The binding is strict. A yes counts only for the request that was hashed and
//! for the policy snapshot that asked; when either has moved, the yes is refused.
//! A moved policy leaves the approvals that it did not ask for open until the next
//! look ([`RECONCILE_AFTER`]), so that an edit that is taken back at once ends
//! nothing; then they are invalidated by [`RECONCILER`], their jobs end DENIED, and
//! an alert says which.

use std::sync::Arc;

use super::alerts::Told;
use super::rollback::UndoKey;
use super::{DeadLetter, Job, JobState, Ledger, LedgerError, Step, WaitingOn};
use crate::control_plane::kernel::live::SNAPSHOTS_KEPT;
use crate::ids::{JobId, TraceId};
use crate::time::{Elapsed, Timestamp};
use crate::wire::job_hash;
use crate::wire::packet::{AlertSeverity, ErrorCode, JobRequest, JobStatus};

/// How long after a change of policy the approvals of the old one are ended: the
/// tick of CAP reconcilers.
pub const RECONCILE_AFTER: Elapsed = Elapsed::from_secs(30);
/// Who ends an approval that nobody can decide any more.
pub const RECONCILER: &str = "system/reconciler";
/// Job ids that an alert names; the rest is counted.
const NAMED: usize = 20;

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
    /// Every status.
    pub(super) const ALL: [Self; 5] = [
        Self::Pending,
        Self::Approved,
        Self::Rejected,
        Self::Expired,
        Self::Invalidated,
    ];

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
    /// In which role they did, such as `admin`; empty when it is not known.
    pub resolved_role: String,
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
    /// In which role; may be empty.
    pub role: &'a str,
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
    /// asked is not the one in force, or not the one the caller saw;
    /// [`LedgerError::TerminalRun`] when the workflow of the job has failed since.
    /// On an error nothing has changed.
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

        if let Some(workflow) = self.failed_run(seq) {
            return Err(LedgerError::TerminalRun { workflow });
        }

        self.resolve(
            seq,
            ApprovalStatus::Approved,
            (yes.by, yes.role),
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

    /// Records a no of a person in a role (which may be empty): the job ends DENIED.
    /// Publish the returned dead letter.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], [`LedgerError::AlreadyResolved`],
    /// [`LedgerError::NotActionable`]. A moved request or policy does not hinder a no.
    pub fn reject(
        &mut self,
        id: &JobId,
        (by, role): (&str, &str),
        reason: &str,
        note: &str,
        now: Timestamp,
    ) -> Result<DeadLetter, LedgerError> {
        let seq = self.seq(id)?;
        self.actionable(seq, now)?;
        let who = (by, role);
        self.resolve(seq, ApprovalStatus::Rejected, who, reason, note, now);
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

    /// Takes note that another policy is in force. Waiting approvals that it did not
    /// ask for are ended [`RECONCILE_AFTER`] later, unless the old one is back by
    /// then; [`Self::snapshot_is_current`] tells which of them it concerns. The first
    /// policy that a plane has may be another one than asked when the record was written,
    /// so it is news too. Returns whether it is news.
    pub fn policy_changed(&mut self, snapshot: &str, now: Timestamp) -> bool {
        let news = self.snapshot.as_deref() != Some(snapshot);
        if news {
            self.snapshot = Some(snapshot.to_owned());
            self.list_snapshot();
            self.look_after_stale(now);
        }
        news
    }

    /// Puts the policy in force at the head of those that were.
    pub(super) fn list_snapshot(&mut self) {
        if let Some(current) = &self.snapshot
            && self.snapshots.first() != Some(current)
        {
            self.snapshots.insert(0, current.clone());
            self.snapshots.truncate(SNAPSHOTS_KEPT);
        }
    }

    /// The policies that were in force, the newest first, at most [`SNAPSHOTS_KEPT`], with
    /// those of planes that led before on the same record.
    pub fn snapshots(&self) -> &[String] {
        &self.snapshots
    }

    /// Has those looked at in time that wait under another policy than the one in force.
    pub(super) fn look_after_stale(&mut self, now: Timestamp) {
        let stale = self.waiting_approvals().any(|job| {
            let approval = job.approval.as_ref();
            approval.is_some_and(|it| self.snapshot_is_current(it) == Some(false))
        });
        if stale {
            self.look_after(now);
        }
    }

    pub(super) fn look_after(&mut self, now: Timestamp) {
        let at = now.plus(RECONCILE_AFTER);
        self.reconcile_at = Some(self.reconcile_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Ends the approvals that nobody can decide any more, when the time for that has
    /// come: those of an earlier policy, and those whose request is not the one that
    /// was held.
    pub(in crate::control_plane) fn reconcile(&mut self, now: Timestamp) {
        if self.reconcile_at.is_none_or(|at| at > now) {
            return;
        }
        self.reconcile_at = None;
        let Some(current) = self.snapshot.clone() else {
            return;
        };
        let stale: Vec<_> = self
            .waiting_approvals()
            .filter_map(|job| {
                let approval = job.approval.as_ref()?;
                let why = if approval.policy_snapshot != current {
                    format!("policy {} is in force now", short(&current))
                } else if approval.job_hash != hash_of(&job.request) {
                    "the stored request is not the one that was held".to_owned()
                } else {
                    return None;
                };
                Some((job.id.clone(), why))
            })
            .collect();
        if stale.is_empty() {
            return;
        }
        for (id, why) in &stale {
            let Ok(seq) = self.seq(id) else { continue };
            let status = ApprovalStatus::Invalidated;
            self.resolve(seq, status, (RECONCILER, ""), why, "", now);
            let reason = format!("approval invalidated: {why}");
            let (state, told) = (JobState::Denied, JobStatus::Denied);
            let letter = self.bury(seq, state, told, "approval_invalidated", &reason, now);
            self.outbox.push(Step::DeadLetter(letter));
        }
        let names: Vec<&str> = stale.iter().map(|(id, _)| id.as_str()).collect();
        let step = Told {
            sender: crate::wire::SENDER_SCHEDULER,
            severity: AlertSeverity::Warning,
            code: "approval_invalidated",
            error: ErrorCode::SafetyPolicyViolation,
            message: format!(
                "{} waiting approvals ended without a person's word, because policy or request moved",
                stale.len()
            ),
            details: &[
                ("count", stale.len().to_string()),
                ("job_ids", names[..names.len().min(NAMED)].join(" ")),
                ("policy_snapshot", current),
                ("resolved_by", RECONCILER.to_owned()),
            ],
        }
        .step();
        self.outbox.push(step);
    }

    /// Approvals of the same tenant and topic that were resolved, the latest first.
    pub fn prior_approvals<'a>(&'a self, job: &'a Job) -> impl Iterator<Item = &'a Job> {
        self.resolved_approvals().filter(move |other| {
            other.id != job.id
                && other.request.topic == job.request.topic
                && other.tenant() == job.tenant()
        })
    }

    /// The workflow of a job, if it has failed since the job was submitted. What
    /// undoes its steps is not concerned.
    fn failed_run(&self, seq: u64) -> Option<String> {
        let job = self.at(seq);
        let workflow = job.workflow().filter(|_| !job.is_compensation())?;
        let key = UndoKey::Workflow(workflow.to_owned());
        let failed_at = self.rollbacks.failed_at(&key)?;
        (failed_at >= job.submitted_at).then(|| workflow.to_owned())
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
            resolved_role: String::new(),
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
        // The policy moved while it was being asked.
        if self.snapshot.as_deref().is_some_and(|now| now != snapshot) {
            self.look_after(now);
        }
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
            self.resolve(seq, status, ("", ""), "", "", now);
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
        (by, role): (&str, &str),
        reason: &str,
        note: &str,
        now: Timestamp,
    ) {
        if let Some(approval) = &mut self.at_mut(seq).approval {
            approval.status = status;
            approval.revision += 1;
            approval.resolved_by = by.to_owned();
            approval.resolved_role = role.to_owned();
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

/// As much of a snapshot as a person compares: its version and eight digits.
fn short(snapshot: &str) -> String {
    match snapshot.split_once(':') {
        Some((version, hash)) => {
            format!("{version}:{}", &hash[..hash.floor_char_boundary(8)])
        }
        None => snapshot[..snapshot.floor_char_boundary(16)].to_owned(),
    }
}

/// The hash that pins a request.
fn hash_of(request: &JobRequest) -> String {
    job_hash::job_hash(request).to_string()
}
