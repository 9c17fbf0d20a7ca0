//! The safety kernel: asked before every dispatch, answers with a verdict.
//!
//! Evaluation is pure and lives in the rooms below; this room names the question,
//! the answer, and the seam that the scheduler and the gateway ask through, so
//! that an in-process kernel, a remote one and one that never answers look alike.
//! [`evaluate::evaluate`] decides, [`live::PolicyKernel`] keeps a policy in force,
//! [`serve::KernelServer`] lets others ask a kernel and [`remote::RemoteKernel`] asks
//! one that others serve.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::ids::JobId;
use crate::time::BoxFuture;
use crate::wire::packet::{ActorType, JobMetadata, JobRequest};

#[cfg(test)]
mod cases;
pub mod condition;
pub mod cover;
mod document;
pub mod evaluate;
pub mod explain;
pub mod glob;
pub mod latency;
pub mod live;
mod message;
pub mod policy;
pub mod remote;
pub mod replay;
pub mod serve;
pub mod signature;
pub mod tls;
pub mod velocity;

// Limits and remediations are the contract's own; policy files write them too.
pub use crate::wire::safety::{
    BudgetConstraints, Constraints, DiffConstraints, Remediation, SandboxProfile,
    ToolchainConstraints,
};

/// What policy decides about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// Run it.
    Allow,
    /// Never run it.
    Deny,
    /// A person decides.
    RequireApproval,
    /// Not now; ask again.
    Throttle,
    /// Run it within limits.
    AllowWithConstraints,
}

impl Decision {
    /// Every decision.
    pub const ALL: [Self; 5] = [
        Self::Allow,
        Self::Deny,
        Self::RequireApproval,
        Self::Throttle,
        Self::AllowWithConstraints,
    ];

    /// The name in HTTP answers and in Redis, such as `REQUIRE_APPROVAL`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
            Self::RequireApproval => "REQUIRE_APPROVAL",
            Self::Throttle => "THROTTLE",
            Self::AllowWithConstraints => "ALLOW_WITH_CONSTRAINTS",
        }
    }
}

/// What the kernel is asked: the facts of a request that policy may read.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Question {
    /// The job; empty when policy is asked about one that does not exist.
    pub job_id: JobId,
    /// The workflow it is a step of; empty if none.
    pub workflow_id: String,
    /// The topic, `job.` included.
    pub topic: String,
    /// The tenant; empty if the request names none.
    pub tenant: String,
    /// Who asks, as a principal.
    pub principal_id: String,
    /// Labels of the request.
    pub labels: BTreeMap<String, String>,
    /// What the job is able to do.
    pub capability: String,
    /// What makes it risky.
    pub risk_tags: Vec<String>,
    /// What its pool must have.
    pub requires: Vec<String>,
    /// The pack it comes from.
    pub pack_id: String,
    /// Who asks, as an actor.
    pub actor_id: String,
    /// A person or a program.
    pub actor_type: ActorType,
}

impl From<&JobRequest> for Question {
    fn from(request: &JobRequest) -> Self {
        Self {
            job_id: request.job_id.clone(),
            workflow_id: request.workflow_id.clone(),
            topic: request.topic.clone(),
            tenant: request.tenant().unwrap_or_default().to_owned(),
            principal_id: request.principal_id.clone(),
            labels: request.labels.clone(),
            ..Self::from(request.meta.clone().unwrap_or_default())
        }
    }
}

/// What the metadata alone says.
impl From<JobMetadata> for Question {
    fn from(meta: JobMetadata) -> Self {
        Self {
            tenant: meta.tenant_id,
            capability: meta.capability,
            risk_tags: meta.risk_tags,
            requires: meta.requires,
            pack_id: meta.pack_id,
            actor_id: meta.actor_id,
            actor_type: meta.actor_type,
            ..Self::default()
        }
    }
}

/// What the kernel answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What is to happen.
    pub decision: Decision,
    /// The rule that decided; `None` when none matched.
    pub rule_id: Option<String>,
    /// Why, for people.
    pub reason: String,
    /// The policy that was asked, as `<version>:<sha256 of the file>`.
    pub snapshot: String,
    /// Limits that ride on a yes.
    pub constraints: Option<Constraints>,
    /// Changes to the request that policy would accept.
    pub remediations: Vec<Remediation>,
}

/// Why there is no verdict. The caller keeps the job pending and asks again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KernelError {
    /// No answer within the caller's limit.
    #[error("the safety kernel did not answer in time")]
    TimedOut,
    /// The kernel is gone or broke.
    #[error("the safety kernel does not answer: {0}")]
    Unavailable(String),
    /// The kernel answered, and nobody here knows what that means. It is no verdict
    /// and no outage: also a plane that fails open keeps the job.
    #[error("the safety kernel's answer is not understood: {0}")]
    NotUnderstood(String),
}

impl KernelError {
    /// Whether nobody answered.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::TimedOut | Self::Unavailable(_) => true,
            Self::NotUnderstood(_) => false,
        }
    }
}

/// Who answers questions about policy.
pub trait SafetyKernel: Send + Sync + fmt::Debug + 'static {
    /// Asks for a verdict. A request that passes a rule with a velocity is counted.
    ///
    /// # Errors
    /// [`KernelError`] when there is none; never a guess.
    fn check<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Verdict, KernelError>>;

    /// Asks what [`SafetyKernel::check`] would answer now, and counts nothing. A
    /// kernel that never counts answers both alike.
    ///
    /// # Errors
    /// [`KernelError`] when there is no verdict.
    fn simulate<'a>(
        &'a self,
        question: &'a Question,
    ) -> BoxFuture<'a, Result<Verdict, KernelError>> {
        self.check(question)
    }

    /// As [`SafetyKernel::simulate`], with how each rule met the question.
    ///
    /// # Errors
    /// [`KernelError`] when there is no verdict.
    fn explain<'a>(
        &'a self,
        question: &'a Question,
    ) -> BoxFuture<'a, Result<explain::Explained, KernelError>> {
        Box::pin(async move {
            Ok(explain::Explained {
                verdict: self.simulate(question).await?,
                rules: None,
            })
        })
    }

    /// The policy in force; `None` from a kernel that does not show it.
    fn policy_in_force(&self) -> Option<Arc<policy::Policy>> {
        None
    }

    /// Snapshots that were in force, newest first; the first is in force now.
    ///
    /// # Errors
    /// [`KernelError`] when the kernel does not answer.
    fn snapshots(&self) -> BoxFuture<'_, Result<Vec<String>, KernelError>>;

    /// Looks at the source of the policy once more, so that the next answer is of
    /// the policy that is in force now. A kernel that has no source to look at
    /// returns at once.
    fn refresh(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// What is known of the policy and its source; `None` when the kernel does not say.
    fn health(&self) -> Option<live::PolicyHealth> {
        None
    }

    /// Where it is asked, for people; `None` inside this process.
    fn address(&self) -> Option<&str> {
        None
    }
}
