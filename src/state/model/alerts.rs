//! Alerts that were heard on the bus, in the old shape and the new one.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::ids::{SenderId, TraceId};
use crate::state::limits;
use crate::state::model::jobs::{bounded, error_name};
use crate::state::shared::{Text, text};
use crate::time::Timestamp;
use crate::wire::packet::{AlertSeverity, ErrorCode, Packet, SystemAlert};

/// Something a person should know. The same thing said again is one alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What it is called: its code, else what it is about.
    pub name: Arc<str>,
    /// How bad it is.
    pub severity: AlertSeverity,
    /// Who it is about: the component that it names, else its sender.
    pub subject: Arc<str>,
    /// What happened.
    pub message: Text,
    /// Who sent it.
    pub sender: SenderId,
    /// The trace it is about.
    pub trace: Option<TraceId>,
    /// More facts.
    pub details: Arc<[(Arc<str>, Arc<str>)]>,
    /// When it was heard first.
    pub since: Timestamp,
    /// When it was heard last.
    pub last: Timestamp,
    /// How often it was heard.
    pub times: u32,
    sent: Option<Timestamp>,
}

impl Alert {
    /// The name under which it has its row in a list.
    pub fn row(&self) -> String {
        format!("{} {}", self.name, self.subject)
    }

    /// Whether it still counts as firing: heard within [`limits::ALERT_FIRES`],
    /// for nobody sends the end of an alert. What is only good to know never fires.
    pub fn is_firing(&self, now: Timestamp) -> bool {
        self.severity != AlertSeverity::Info
            && now.since(self.last).as_millis() < limits::ALERT_FIRES.as_millis()
    }

    /// The name in JSON.
    pub fn status(&self, now: Timestamp) -> &'static str {
        if self.is_firing(now) {
            "firing"
        } else {
            "cleared"
        }
    }
}

/// The alerts that were heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alerts {
    rows: VecDeque<Arc<Alert>>,
    dropped: u64,
}

impl Alerts {
    /// How many alerts are kept.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Alerts that were forgotten because [`limits::ALERTS`] were kept.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// All alerts, the one heard first before the others.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Alert>> {
        self.rows.iter()
    }

    /// How many are firing.
    pub fn firing(&self, now: Timestamp) -> usize {
        self.rows
            .iter()
            .filter(|alert| alert.is_firing(now))
            .count()
    }

    pub(crate) fn heard(&mut self, alert: &SystemAlert, packet: &Packet, at: Timestamp) {
        let name = name_of(alert);
        let subject = [&alert.source_component, &alert.component]
            .into_iter()
            .find(|it| !it.is_empty())
            .map_or(packet.sender.as_str(), String::as_str);
        let message = text(bounded(&alert.message));
        let severity = severity_of(alert);
        let known = self.rows.iter_mut().rev().find(|row| {
            *row.name == *name
                && *row.subject == *bounded(subject)
                && row.sender == packet.sender
                && row.message == message
        });
        if let Some(row) = known {
            if packet.sent_at.is_some() && row.sent == packet.sent_at {
                return;
            }
            let row = Arc::make_mut(row);
            row.severity = severity;
            row.last = at;
            row.times = row.times.saturating_add(1);
            row.sent = packet.sent_at;
            return;
        }
        if self.rows.len() >= limits::ALERTS {
            self.rows.pop_front();
            self.dropped += 1;
        }
        let trace = [&alert.trace_id, &packet.trace]
            .into_iter()
            .find(|trace| !trace.is_empty());
        self.rows.push_back(Arc::new(Alert {
            name: Arc::from(name),
            severity,
            subject: Arc::from(bounded(subject)),
            message,
            sender: packet.sender.clone(),
            trace: trace.cloned(),
            details: alert
                .details
                .iter()
                .take(limits::LABELS)
                .map(|(key, value)| (Arc::from(bounded(key)), Arc::from(bounded(value))))
                .collect(),
            since: at,
            last: at,
            times: 1,
            sent: packet.sent_at,
        }));
    }
}

fn name_of(alert: &SystemAlert) -> String {
    if !alert.code.is_empty() {
        return bounded(&alert.code).to_owned();
    }
    if alert.error_code_enum != ErrorCode::Unspecified {
        return error_name(alert.error_code_enum);
    }
    // Notices of workflows and configuration changes carry no code; what they are
    // about is all the name they have.
    ["event_type", "scope"]
        .iter()
        .find_map(|key| alert.details.get(*key))
        .filter(|it| !it.is_empty())
        .map_or_else(
            || {
                [&alert.component, &alert.source_component]
                    .into_iter()
                    .find(|it| !it.is_empty())
                    .map_or_else(|| "alert".to_owned(), |it| bounded(it).to_owned())
            },
            |it| bounded(it).to_owned(),
        )
}

fn severity_of(alert: &SystemAlert) -> AlertSeverity {
    if alert.severity != AlertSeverity::Unspecified {
        return alert.severity;
    }
    match alert.level.to_ascii_lowercase().as_str() {
        "debug" | "info" | "notice" => AlertSeverity::Info,
        "warn" | "warning" => AlertSeverity::Warning,
        "error" | "err" => AlertSeverity::Error,
        "crit" | "critical" | "fatal" | "emergency" => AlertSeverity::Critical,
        _ => AlertSeverity::Unspecified,
    }
}
