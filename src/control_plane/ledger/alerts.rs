//! What the plane tells people about by itself, on `sys.alert`.

use super::Step;
use crate::wire::packet::{AlertSeverity, ErrorCode, SystemAlert};

/// What an alert is about.
pub(super) struct Told<'a> {
    /// Who speaks: one of the plane's senders.
    pub(super) sender: &'static str,
    pub(super) severity: AlertSeverity,
    pub(super) code: &'a str,
    pub(super) error: ErrorCode,
    pub(super) message: String,
    pub(super) details: &'a [(&'a str, String)],
}

impl Told<'_> {
    /// The alert in both shapes of the contract, so that readers of either
    /// generation understand it.
    pub(super) fn step(self) -> Step {
        let level = match self.severity {
            AlertSeverity::Critical => "critical",
            AlertSeverity::Error => "error",
            AlertSeverity::Warning => "warning",
            AlertSeverity::Info | AlertSeverity::Unspecified | AlertSeverity::Unknown(_) => "info",
        };
        Step::Alert(Box::new(SystemAlert {
            level: level.to_owned(),
            message: self.message,
            component: self.sender.to_owned(),
            code: self.code.to_owned(),
            severity: self.severity,
            error_code_enum: self.error,
            source_component: self.sender.to_owned(),
            details: self
                .details
                .iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            ..SystemAlert::default()
        }))
    }
}

/// Who publishes an alert: the contract wants the component and the sender equal.
pub fn sender_of(alert: &SystemAlert) -> &'static str {
    if alert.component == crate::wire::SENDER_SAGA {
        crate::wire::SENDER_SAGA
    } else {
        crate::wire::SENDER_SCHEDULER
    }
}
