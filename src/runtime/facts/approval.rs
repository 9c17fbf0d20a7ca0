//! An approval in the model's words, and the hash that it is held against.
//!
//! The hash is computed here, from the stored request, before the answer becomes an event:
//! the model compares two texts and trusts neither.

use std::sync::Arc;

use super::job::{detail_fact, job_fact, limits, stored_request};
use crate::gateway_client::types::{ApprovalItem, JobDetail};
use crate::state::model::approvals::{ApprovalFact, ApprovalStatus};
use crate::state::model::jobs::{Decision, JobState, Verdict};
use crate::state::shared::{Text, text};
use crate::wire::job_hash::job_hash;

/// An approval from the list, with the job's own page where it was read.
pub fn approval_fact(
    item: &ApprovalItem,
    detail: Option<&JobDetail>,
    own_hash: Text,
) -> ApprovalFact {
    let mut job = match detail {
        Some(detail) => detail_fact(detail),
        None => job_fact(&item.job),
    };
    let stands = job.verdict.clone();
    let verdict = job.verdict.get_or_insert_with(Verdict::default);
    verdict.decision = Decision::read(&item.decision).or(verdict.decision);
    verdict.rule_id = text(&item.policy_rule_id).or(verdict.rule_id.take());
    verdict.reason = text(&item.policy_reason).or(verdict.reason.take());
    verdict.snapshot = text(&item.policy_snapshot).or(verdict.snapshot.take());
    if let Some(constraints) = &item.constraints {
        verdict.constraints = limits(constraints);
    }
    if let Some(request) = &mut job.request {
        request.context_ptr = request
            .context_ptr
            .take()
            .or_else(|| text(&item.context_ptr));
        request.workflow_id = request
            .workflow_id
            .take()
            .or_else(|| text(&item.workflow_id));
    }
    let status = match ApprovalStatus::read(&item.approval_status) {
        Some(status) => status,
        // The older generation lists what waits, and nothing else.
        None => match item.approval_decision.as_str() {
            "approve" => ApprovalStatus::Approved,
            "reject" => ApprovalStatus::Rejected,
            _ => ApprovalStatus::Pending,
        },
    };
    if status == ApprovalStatus::Pending {
        job.state = Some(JobState::ApprovalRequired);
    }
    let actionable = matches!(item.approval_actionability.as_str(), "" | "actionable");
    ApprovalFact {
        job,
        stands,
        status,
        job_hash: text(&item.job_hash)
            .or_else(|| detail.and_then(|detail| text(&detail.safety_job_hash))),
        own_hash,
        approval_ref: text(&item.approval_ref),
        submitted_by: text(&item.submitted_by),
        resolved_by: text(&item.resolved_by),
        resolved_comment: text(&item.resolved_comment),
        resolved_at: item.resolved_at,
        not_actionable: (!actionable).then(|| Arc::from(item.approval_actionability.as_str())),
    }
}

/// The hash of a stored request as we compute it; `None` if it is not given or not read.
pub(in crate::runtime) fn own_hash(detail: &JobDetail) -> Text {
    let stored = stored_request(detail.request.as_ref())?;
    Some(Arc::from(job_hash(&stored).as_str()))
}
