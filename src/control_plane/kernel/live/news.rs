//! What people are told when something happens to a policy.

use super::SENDER;
use crate::ids::{SenderId, TraceId};
use crate::time::Timestamp;
use crate::wire;
use crate::wire::packet::{AlertSeverity, Body, ErrorCode, Packet, SystemAlert};

/// What happened to a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Another policy is in force.
    Changed {
        /// The snapshot before.
        from: String,
        /// The snapshot now.
        to: String,
    },
    /// The file cannot be used.
    Broken {
        /// Why.
        says: String,
        /// The snapshot that stays in force.
        in_force: String,
    },
    /// The file is again what it was when it was good.
    Mended {
        /// The snapshot in force.
        in_force: String,
    },
}

impl News {
    /// The packet that tells it, and the subject it belongs on.
    pub fn packet(&self, now: Timestamp) -> (&'static str, Packet) {
        let (subject, severity, message, details) = match self {
            Self::Changed { from, to } => (
                wire::CONFIG_CHANGED,
                AlertSeverity::Info,
                "the policy changed".to_owned(),
                vec![("policy_snapshot_before", from), ("policy_snapshot", to)],
            ),
            Self::Broken { says, in_force } => (
                wire::ALERT,
                AlertSeverity::Error,
                format!("the policy file cannot be used; the last good one stays in force: {says}"),
                vec![("policy_snapshot", in_force)],
            ),
            Self::Mended { in_force } => (
                wire::CONFIG_CHANGED,
                AlertSeverity::Info,
                "the policy file is good again".to_owned(),
                vec![("policy_snapshot", in_force)],
            ),
        };
        let mut alert = SystemAlert {
            // Both shapes, so that readers of either generation understand it.
            level: severity_word(severity).to_owned(),
            component: SENDER.to_owned(),
            code: "policy".to_owned(),
            message,
            severity,
            error_code_enum: ErrorCode::SafetyPolicyViolation,
            source_component: SENDER.to_owned(),
            ..SystemAlert::default()
        };
        for (key, value) in details {
            alert.details.insert(key.to_owned(), value.clone());
        }
        let trace = TraceId::new(format!("policy-{}", now.as_millis()));
        let body = Body::Alert(Box::new(alert));
        (
            subject,
            Packet::new(trace, SenderId::from(SENDER), now, body),
        )
    }
}

fn severity_word(severity: AlertSeverity) -> &'static str {
    match severity {
        AlertSeverity::Error | AlertSeverity::Critical => "error",
        AlertSeverity::Warning => "warning",
        AlertSeverity::Info | AlertSeverity::Unspecified | AlertSeverity::Unknown(_) => "info",
    }
}
