//! The states of a job, what policy decided about it, and why it waits.

use std::fmt;

use crate::wire::packet::JobStatus;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// All of them, in the order of a job's life.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name in JSON and in filters.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// Reads [`Self::name`].
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

words! {
    /// The states that a CAP control plane persists.
    JobState {
        /// Nobody has looked at it yet, or it is to be looked at again.
        Pending = "PENDING",
        /// A person has to decide.
        ApprovalRequired = "APPROVAL_REQUIRED",
        /// A worker was chosen.
        Scheduled = "SCHEDULED",
        /// It was handed to a worker.
        Dispatched = "DISPATCHED",
        /// It is worked on.
        Running = "RUNNING",
        /// An attempt failed; another follows.
        Retrying = "RETRYING",
        /// It ended well.
        Succeeded = "SUCCEEDED",
        /// It ended badly.
        Failed = "FAILED",
        /// It ended because somebody asked.
        Cancelled = "CANCELLED",
        /// It ended because its time was up.
        Timeout = "TIMEOUT",
        /// Policy or a person said no before it ran, or its worker would not do it.
        Denied = "DENIED",
        /// It ended well and its output is held back.
        OutputQuarantined = "OUTPUT_QUARANTINED",
    }
}

impl JobState {
    /// The word of the tables, which is also found by a filter.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::ApprovalRequired => "approval",
            Self::Scheduled => "scheduled",
            Self::Dispatched => "dispatched",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Timeout => "timeout",
            Self::Denied => "denied",
            Self::OutputQuarantined => "quarantined",
        }
    }

    /// Whether it has ended.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Succeeded
            | Self::Failed
            | Self::Cancelled
            | Self::Timeout
            | Self::Denied
            | Self::OutputQuarantined => true,
            Self::Pending
            | Self::ApprovalRequired
            | Self::Scheduled
            | Self::Dispatched
            | Self::Running
            | Self::Retrying => false,
        }
    }

    /// Whether a worker has it.
    pub fn is_with_worker(self) -> bool {
        matches!(self, Self::Dispatched | Self::Running)
    }

    /// The place in one attempt: a packet moves a job only to a higher rank.
    pub fn rank(self) -> u8 {
        match self {
            Self::Pending => 1,
            Self::ApprovalRequired => 2,
            Self::Scheduled => 3,
            Self::Dispatched => 4,
            Self::Running => 5,
            Self::Retrying => 6,
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Timeout | Self::Denied => 7,
            Self::OutputQuarantined => 8,
        }
    }

    /// What a result says about the job; `None` for one that ends nothing. A
    /// status that the contract does not have is a failure, as in every scheduler.
    pub fn from_result(status: JobStatus) -> Option<Self> {
        match status {
            JobStatus::Pending
            | JobStatus::Scheduled
            | JobStatus::Dispatched
            | JobStatus::Running => None,
            JobStatus::Succeeded => Some(Self::Succeeded),
            JobStatus::Failed
            | JobStatus::FailedFatal
            | JobStatus::Unspecified
            | JobStatus::Unknown(_) => Some(Self::Failed),
            JobStatus::FailedRetryable => Some(Self::Retrying),
            JobStatus::Cancelled => Some(Self::Cancelled),
            JobStatus::Denied => Some(Self::Denied),
            JobStatus::Timeout => Some(Self::Timeout),
        }
    }

    /// Whether a control plane may move a job from this state to `to`. A worker may answer
    /// DENIED to what it was given, so a job under way may end in every way.
    pub fn may_become(self, to: Self) -> bool {
        match self {
            Self::Pending => to != Self::OutputQuarantined && to != self,
            Self::ApprovalRequired => {
                to != Self::OutputQuarantined && to != self && to != Self::Retrying
            }
            Self::Scheduled => !matches!(to, Self::Pending | Self::ApprovalRequired),
            Self::Dispatched => !matches!(to, Self::Pending | Self::ApprovalRequired) && to != self,
            Self::Running => to.rank() > self.rank(),
            Self::Retrying => !matches!(to, Self::Pending | Self::ApprovalRequired),
            Self::Succeeded => to == Self::OutputQuarantined,
            Self::Failed
            | Self::Cancelled
            | Self::Timeout
            | Self::Denied
            | Self::OutputQuarantined => false,
        }
    }
}

words! {
    /// What policy decided, or that it could not.
    Decision {
        /// Run it.
        Allow = "ALLOW",
        /// Run it within limits.
        AllowWithConstraints = "ALLOW_WITH_CONSTRAINTS",
        /// A person decides.
        RequireApproval = "REQUIRE_APPROVAL",
        /// Not now; it is asked again.
        Throttle = "THROTTLE",
        /// Never run it.
        Deny = "DENY",
        /// The safety kernel gave no answer.
        Unavailable = "UNAVAILABLE",
    }
}

impl Decision {
    /// The word of the tables, which is also found by a filter.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::AllowWithConstraints => "limits",
            Self::RequireApproval => "approval",
            Self::Throttle => "throttle",
            Self::Deny => "deny",
            Self::Unavailable => "unknown",
        }
    }

    /// What a rule with this decision does, in the word of the list of rules, which is
    /// also found by a filter.
    pub fn effect(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::AllowWithConstraints => "constrained",
            Self::RequireApproval => "require_approval",
            Self::Throttle => "throttle",
            Self::Deny => "deny",
            Self::Unavailable => "unknown",
        }
    }

    /// Reads any of the names that gateways, stores and policies use.
    pub fn read(name: &str) -> Option<Self> {
        let name = name.to_ascii_uppercase().replace('-', "_");
        match name.strip_prefix("DECISION_TYPE_").unwrap_or(&name) {
            "ALLOW" | "PERMIT" => Some(Self::Allow),
            "DENY" | "BLOCK" => Some(Self::Deny),
            "REQUIRE_APPROVAL" | "REQUIRE_HUMAN" => Some(Self::RequireApproval),
            "THROTTLE" => Some(Self::Throttle),
            "ALLOW_WITH_CONSTRAINTS" | "CONSTRAIN" => Some(Self::AllowWithConstraints),
            "UNAVAILABLE" => Some(Self::Unavailable),
            _ => None,
        }
    }
}

words! {
    /// Why a job waits.
    WaitingOn {
        /// A person decides.
        Approval = "approval",
        /// Policy said not now.
        Throttled = "throttled",
        /// No worker of its pool lives, or none that lives has the labels it is placed by.
        NoWorkers = "no_workers",
        /// Every worker of its pool is overloaded.
        PoolOverloaded = "pool_overloaded",
        /// No pool takes its topic, or none that does offers what it requires.
        NoPoolMapping = "no_pool_mapping",
        /// Its tenant has as many jobs as it may.
        TenantLimit = "tenant_limit",
        /// The safety kernel gives no answer.
        KernelUnavailable = "kernel_unavailable",
        /// An attempt failed; the next one comes.
        RetryBackoff = "retry_backoff",
        /// The bus did not take it; it is handed over again.
        BusUnavailable = "bus_unavailable",
        /// Nobody tells.
        Unknown = "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back() {
        for state in JobState::ALL {
            assert_eq!(JobState::from_name(state.name()), Some(*state));
        }
        for decision in Decision::ALL {
            assert_eq!(Decision::read(decision.name()), Some(*decision));
        }
        assert_eq!(
            Decision::read("DECISION_TYPE_REQUIRE_HUMAN"),
            Some(Decision::RequireApproval)
        );
        assert_eq!(Decision::read("maybe"), None);
    }

    #[test]
    fn what_has_ended_stays_ended_but_for_a_held_output() {
        for from in JobState::ALL.iter().filter(|state| state.is_terminal()) {
            for to in JobState::ALL {
                let held = *from == JobState::Succeeded && *to == JobState::OutputQuarantined;
                assert_eq!(from.may_become(*to), held, "{from} to {to}");
            }
        }
        for from in JobState::ALL.iter().filter(|state| !state.is_terminal()) {
            for to in [
                JobState::Succeeded,
                JobState::Failed,
                JobState::Cancelled,
                JobState::Timeout,
                JobState::Denied,
            ] {
                assert!(from.may_become(to), "{from} to {to}");
            }
        }
        assert!(JobState::Dispatched.may_become(JobState::Scheduled));
        assert!(JobState::ApprovalRequired.may_become(JobState::Pending));
    }
}
