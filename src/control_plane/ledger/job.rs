//! One job as the plane remembers it, and the states it may pass through.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Approval;
use super::lifecycle::{APPROVAL_GRANTED, Asker};
use crate::control_plane::kernel::{Constraints, Decision, KernelError, Remediation, Verdict};
use crate::ids::{JobId, TraceId, WorkerId};
use crate::time::Timestamp;
use crate::wire::packet::{JobRequest, JobResult};

/// Where a job stands, by the names that CAP deployments persist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobState {
    /// Not dispatched yet; [`Job::waiting_on`] says why.
    Pending,
    /// A person decides.
    ApprovalRequired,
    /// A worker was chosen.
    Scheduled,
    /// The request is on its way to the worker.
    Dispatched,
    /// The request was handed to the bus; CAP knows no acknowledgement.
    Running,
    /// An attempt failed and another one follows.
    Retrying,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Ended because somebody asked.
    Cancelled,
    /// Ended because its time was up.
    Timeout,
    /// Policy or a person said no before it ran, or its worker would not do it.
    Denied,
}

impl JobState {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 11] = [
        Self::Pending,
        Self::ApprovalRequired,
        Self::Scheduled,
        Self::Dispatched,
        Self::Running,
        Self::Retrying,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Timeout,
        Self::Denied,
    ];

    /// The persisted name, such as `APPROVAL_REQUIRED`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::ApprovalRequired => "APPROVAL_REQUIRED",
            Self::Scheduled => "SCHEDULED",
            Self::Dispatched => "DISPATCHED",
            Self::Running => "RUNNING",
            Self::Retrying => "RETRYING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::Timeout => "TIMEOUT",
            Self::Denied => "DENIED",
        }
    }

    /// Reads a persisted name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|state| state.name().eq_ignore_ascii_case(name))
    }

    /// Whether nothing follows any more.
    pub fn is_ended(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Timeout | Self::Denied => true,
            Self::Pending
            | Self::ApprovalRequired
            | Self::Scheduled
            | Self::Dispatched
            | Self::Running
            | Self::Retrying => false,
        }
    }

    /// Whether the job takes up a slot of a worker.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Scheduled | Self::Dispatched | Self::Running)
    }

    /// Whether a job may go from here to `to`: the table of CAP deployments, and four
    /// edges more. A retry is checked like a first attempt and may then be denied or
    /// held for approval; and a worker may answer DENIED to what it was given, which
    /// ends a job as every other end does.
    pub fn may_become(self, to: Self) -> bool {
        use JobState as S;
        match self {
            S::Pending => to != S::Pending,
            S::ApprovalRequired => !matches!(to, S::ApprovalRequired | S::Retrying),
            S::Scheduled => !matches!(to, S::Pending | S::ApprovalRequired),
            S::Dispatched => to.is_ended() || matches!(to, S::Scheduled | S::Running | S::Retrying),
            S::Running => to.is_ended() || matches!(to, S::Running | S::Retrying),
            S::Retrying => to != S::Pending,
            S::Succeeded | S::Failed | S::Cancelled | S::Timeout | S::Denied => false,
        }
    }
}

/// Why a job that could go on does not, by the names of `waiting_on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WaitingOn {
    /// A person decides.
    Approval,
    /// Policy says: not now.
    Throttled,
    /// No live worker takes this topic, or none that does has the labels that the job is
    /// placed by.
    NoWorkers,
    /// All live workers that could take it are full.
    PoolOverloaded,
    /// No pool is known for this topic, or none of its pools has a live worker that tells
    /// all that the job requires.
    NoPoolMapping,
    /// The tenant has as many jobs at work as policy allows.
    TenantLimit,
    /// Policy cannot be asked.
    KernelUnavailable,
    /// The pause before the next attempt.
    RetryBackoff,
    /// The request could not be handed to the bus.
    BusUnavailable,
}

impl WaitingOn {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::Approval,
        Self::Throttled,
        Self::NoWorkers,
        Self::PoolOverloaded,
        Self::NoPoolMapping,
        Self::TenantLimit,
        Self::KernelUnavailable,
        Self::RetryBackoff,
        Self::BusUnavailable,
    ];

    /// The name in JSON, such as `no_workers`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Throttled => "throttled",
            Self::NoWorkers => "no_workers",
            Self::PoolOverloaded => "pool_overloaded",
            Self::NoPoolMapping => "no_pool_mapping",
            Self::TenantLimit => "tenant_limit",
            Self::KernelUnavailable => "kernel_unavailable",
            Self::RetryBackoff => "retry_backoff",
            Self::BusUnavailable => "bus_unavailable",
        }
    }
}

/// One evaluation of policy, kept for ever with the job; or several in a row that said
/// the same of a job that waited.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionRecord {
    /// What policy said; `None` when it could not be asked.
    pub decision: Option<Decision>,
    /// Why, for people; of several, what was said the last time.
    pub reason: String,
    /// The rule that decided, if one did.
    pub rule_id: Option<String>,
    /// The policy that was asked; empty when it could not be.
    pub policy_snapshot: String,
    /// Limits that ride on a yes.
    pub constraints: Option<Constraints>,
    /// Changes to the request that policy would accept.
    pub remediations: Vec<Remediation>,
    /// The hash of the request, when a person has to decide on it.
    pub job_hash: Option<String>,
    /// Who asked; `None` in records of planes that did not write it down.
    pub asker: Option<Asker>,
    /// When policy was asked, the last time.
    pub checked_at: Timestamp,
    /// When it was asked the first time.
    pub first_checked_at: Timestamp,
    /// How often it was asked and said this.
    pub times: u32,
}

impl DecisionRecord {
    /// The record of an answer, or of there being none.
    pub(super) fn of(answer: Result<Verdict, KernelError>, asker: Asker, now: Timestamp) -> Self {
        let asker = Some(asker);
        match answer {
            Ok(verdict) => Self {
                decision: Some(verdict.decision),
                reason: verdict.reason,
                rule_id: verdict.rule_id,
                policy_snapshot: verdict.snapshot,
                constraints: verdict.constraints,
                remediations: verdict.remediations,
                job_hash: None,
                asker,
                checked_at: now,
                first_checked_at: now,
                times: 1,
            },
            Err(error) => Self {
                decision: None,
                reason: error.to_string(),
                rule_id: None,
                policy_snapshot: String::new(),
                constraints: None,
                remediations: Vec::new(),
                job_hash: None,
                asker,
                checked_at: now,
                first_checked_at: now,
                times: 1,
            },
        }
    }

    /// Whether another evaluation said the same, whatever numbers it named: for how long a
    /// kernel is left alone changes from one to the next.
    fn says_the_same(&self, other: &Self) -> bool {
        fn words(reason: &str) -> impl Iterator<Item = char> {
            reason.chars().filter(|letter| !letter.is_ascii_digit())
        }
        self.decision == other.decision
            && words(&self.reason).eq(words(&other.reason))
            && self.rule_id == other.rule_id
            && self.policy_snapshot == other.policy_snapshot
            && self.constraints == other.constraints
            && self.remediations == other.remediations
            && self.job_hash == other.job_hash
            && self.asker == other.asker
    }

    /// The outcome by the names of the governance log; `unavailable` when policy
    /// could not be asked.
    pub fn verdict(&self) -> &'static str {
        match self.decision {
            Some(Decision::Allow) => "allow",
            Some(Decision::Deny) => "deny",
            Some(Decision::RequireApproval) => "require_approval",
            Some(Decision::Throttle) => "throttle",
            Some(Decision::AllowWithConstraints) => "constrain",
            None => "unavailable",
        }
    }

    /// The name in JSON; `UNAVAILABLE` when policy could not be asked.
    pub fn name(&self) -> &'static str {
        self.decision.map_or("UNAVAILABLE", Decision::name)
    }

    /// Whether it only says that a person let the job go on; the rule beside it is the
    /// one that asked for them.
    pub fn is_grant(&self) -> bool {
        self.decision == Some(Decision::Allow) && self.reason == APPROVAL_GRANTED
    }

    /// What it is a record of, by the name in JSON: policy was asked when the job was
    /// submitted, or before it goes to a worker, or a person's yes let it go on.
    pub fn check(&self) -> Option<&'static str> {
        if self.is_grant() {
            return Some("approval");
        }
        self.asker.map(Asker::check)
    }

    /// Whether a person has to decide.
    pub fn approval_required(&self) -> bool {
        self.decision == Some(Decision::RequireApproval)
    }
}

/// A step of a job's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEvent {
    /// When.
    pub at: Timestamp,
    /// The state it entered or was in.
    pub state: JobState,
    /// Why, for people; may be empty.
    pub note: String,
}

/// How far a job is, as its worker last said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// As reported; 0 to 100 by the contract.
    pub percent: i32,
    /// As reported.
    pub message: String,
    /// A result that can be read already; may be empty.
    pub result_ptr: String,
    /// When we heard it.
    pub at: Timestamp,
    /// The worker's clock, which orders reports of one attempt.
    pub sent_at: Option<Timestamp>,
}

/// Somebody wanted the job to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelNote {
    /// Who.
    pub requested_by: String,
    /// Why; may be empty.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// A job as the plane remembers it. Only the ledger changes one.
#[derive(Clone, Debug)]
pub struct Job {
    /// The job.
    pub id: JobId,
    /// Ties its packets together.
    pub trace: TraceId,
    /// The stored request, which the job hash is computed over.
    pub request: Arc<JobRequest>,
    /// The request as the worker got it, limits applied; `None` before dispatch.
    pub dispatched_request: Option<Arc<JobRequest>>,
    /// Where it stands.
    pub state: JobState,
    /// Why it does not go on, if it could.
    pub waiting_on: Option<WaitingOn>,
    /// When it came.
    pub submitted_at: Timestamp,
    /// Who submitted it, as the gateway saw it; empty for the bus.
    pub submitted_by: String,
    /// The key it was submitted with, by its public id; empty without one.
    pub submitter_key: String,
    /// The digest of the HTTP body it came in; empty for the bus.
    pub body_digest: String,
    /// When its state last changed.
    pub updated_at: Timestamp,
    /// When the present attempt was handed to a worker.
    pub dispatched_at: Option<Timestamp>,
    /// When it ends as TIMEOUT whatever it does; `None` without a deadline.
    pub deadline_at: Option<Timestamp>,
    /// How often it was handed to a worker.
    pub attempts: u32,
    /// How often no worker could be found, or the bus refused the request, since the last
    /// dispatch.
    pub placement_tries: u32,
    /// Every evaluation of policy, oldest first; the first
    /// [`Self::FIRST_DECISIONS`] and the last of [`Self::MAX_DECISIONS`].
    pub decisions: VecDeque<Arc<DecisionRecord>>,
    /// Evaluations between the first and the last ones that were left out.
    pub decisions_left_out: u32,
    /// What a person has to decide or decided.
    pub approval: Option<Approval>,
    /// Who has or had it.
    pub worker: Option<WorkerId>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// The result that ended it or its last attempt.
    pub result: Option<Arc<JobResult>>,
    /// Where its result is; may be empty.
    pub result_ptr: String,
    /// What went wrong, as a code; empty if nothing did.
    pub error_code: String,
    /// What went wrong, for people; empty if nothing did.
    pub error_message: String,
    /// Who wanted it to stop.
    pub cancel: Option<CancelNote>,
    /// Its life, oldest first; the last [`Self::MAX_EVENTS`].
    pub events: VecDeque<JobEvent>,
    pub(super) alarm: Option<Timestamp>,
    pub(super) phase: Phase,
    pub(super) held: bool,
    pub(super) line: Option<super::Line>,
    pub(super) slot: Option<WorkerId>,
    pub(super) failures: u32,
    /// Since when the bus refuses the request for its worker.
    pub(super) refused_since: Option<Timestamp>,
    pub(super) cancel_relayed: bool,
    /// Whether it was told that its worker goes on although it was cancelled.
    pub(super) going_on_told: bool,
    pub(super) past_workers: Vec<WorkerId>,
    pub(super) undoes: Option<super::UndoKey>,
    pub(super) kept: super::saved::Kept,
}

/// What the scheduler does next with a job that is not at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Policy is to be asked.
    Unchecked,
    /// Policy was asked with this ticket.
    Asked(u64),
    /// Policy said yes; a worker is to be found.
    Cleared,
}

impl Job {
    /// Records of evaluations kept. What policy says again of a job that waits, as every
    /// 5 s of a throttled one, is counted in the same record.
    pub const MAX_DECISIONS: usize = 50;
    /// Of those, as many are the first ones.
    pub const FIRST_DECISIONS: usize = 10;
    /// Events kept.
    pub const MAX_EVENTS: usize = 64;

    /// The last evaluation of policy.
    pub fn decision(&self) -> Option<&DecisionRecord> {
        self.decisions.back().map(AsRef::as_ref)
    }

    /// The workflow it is a step of: the field, else the label; `None` if none.
    pub fn workflow(&self) -> Option<&str> {
        workflow_of(&self.request)
    }

    /// Whether it undoes another job.
    pub fn is_compensation(&self) -> bool {
        is_compensation(&self.request)
    }

    /// The tenant, `default` when the request names none.
    pub fn tenant(&self) -> &str {
        self.request.tenant().unwrap_or(super::DEFAULT_TENANT)
    }

    pub(super) fn note(&mut self, at: Timestamp, note: impl Into<String>) {
        if self.events.len() == Self::MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(JobEvent {
            at,
            state: self.state,
            note: note.into(),
        });
    }

    pub(super) fn remember(&mut self, record: Arc<DecisionRecord>) {
        if let Some(last) = self.decisions.back_mut() {
            // An attempt has an evaluation of its own.
            let attempted = self.dispatched_at.is_some_and(|at| at >= last.checked_at);
            if self.waiting_on.is_some() && !attempted && last.says_the_same(&record) {
                *last = Arc::new(DecisionRecord {
                    first_checked_at: last.first_checked_at,
                    times: last.times.saturating_add(record.times),
                    ..Arc::unwrap_or_clone(record)
                });
                return;
            }
        }
        if self.decisions.len() == Self::MAX_DECISIONS
            && let Some(left_out) = self.decisions.remove(Self::FIRST_DECISIONS)
        {
            self.decisions_left_out = self.decisions_left_out.saturating_add(left_out.times);
        }
        self.decisions.push_back(record);
    }
}

/// The workflow of a request: its field, else its label `workflow_id`.
pub fn workflow_of(request: &JobRequest) -> Option<&str> {
    [
        Some(request.workflow_id.as_str()),
        request.labels.get("workflow_id").map(String::as_str),
    ]
    .into_iter()
    .flatten()
    .find(|id| !id.is_empty())
}

/// Whether a label says something of one job alone: that it was approved, or the id
/// of the message that said so.
pub(in crate::control_plane) fn is_personal(label: &str) -> bool {
    label.to_ascii_lowercase().starts_with("approval_") || label == "cordum.bus_msg_id"
}

/// Whether a request undoes another job.
pub fn is_compensation(request: &JobRequest) -> bool {
    ["saga_compensation", "is_compensation"]
        .iter()
        .any(|label| {
            request
                .labels
                .get(*label)
                .is_some_and(|value| value == "true")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_may_become_what_the_table_says() {
        let table: String = JobState::ALL
            .into_iter()
            .map(|from| {
                let to: Vec<_> = JobState::ALL
                    .into_iter()
                    .filter(|to| from.may_become(*to))
                    .map(JobState::name)
                    .collect();
                format!("{} -> {}\n", from.name(), to.join(" "))
            })
            .collect();
        insta::assert_snapshot!(table, @r"
        PENDING -> APPROVAL_REQUIRED SCHEDULED DISPATCHED RUNNING RETRYING SUCCEEDED FAILED CANCELLED TIMEOUT DENIED
        APPROVAL_REQUIRED -> PENDING SCHEDULED DISPATCHED RUNNING SUCCEEDED FAILED CANCELLED TIMEOUT DENIED
        SCHEDULED -> SCHEDULED DISPATCHED RUNNING RETRYING SUCCEEDED FAILED CANCELLED TIMEOUT DENIED
        DISPATCHED -> SCHEDULED RUNNING RETRYING SUCCEEDED FAILED CANCELLED TIMEOUT DENIED
        RUNNING -> RUNNING RETRYING SUCCEEDED FAILED CANCELLED TIMEOUT DENIED
        RETRYING -> APPROVAL_REQUIRED SCHEDULED DISPATCHED RUNNING RETRYING SUCCEEDED FAILED CANCELLED TIMEOUT DENIED
        SUCCEEDED -> 
        FAILED -> 
        CANCELLED -> 
        TIMEOUT -> 
        DENIED -> 
        ");
    }

    #[test]
    fn a_state_is_read_back_from_its_name() {
        for state in JobState::ALL {
            assert_eq!(
                JobState::from_name(&state.name().to_lowercase()),
                Some(state)
            );
        }
        assert_eq!(JobState::from_name("GONE"), None);
    }
}
