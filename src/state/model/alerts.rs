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
    /// When its sender said that it is over; `None` when it did not, or said it again since.
    pub over: Option<Timestamp>,
    sent: Option<Timestamp>,
}

impl Alert {
    /// The name under which it has its row in a list.
    pub fn row(&self) -> String {
        format!("{} {}", self.name, self.subject)
    }

    /// Whether it still counts as firing: heard within [`limits::ALERT_FIRES`], for hardly
    /// anybody sends the end of an alert, and not said to be over. What is only good to
    /// know never fires.
    pub fn is_firing(&self, now: Timestamp) -> bool {
        self.severity != AlertSeverity::Info
            && self.over.is_none()
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
        // Without a code nobody knows that it is about the same thing.
        if severity == AlertSeverity::Info && !alert.code.is_empty() {
            self.end(&name, bounded(subject), packet, at);
        }
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
            row.over = None;
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
            over: None,
            sent: packet.sent_at,
        }));
    }

    /// Ends what the sender of `packet` said before under the same code: all is well again.
    fn end(&mut self, name: &str, subject: &str, packet: &Packet, at: Timestamp) {
        let sent_before = |row: &Alert| row.sent.is_none() || row.sent <= packet.sent_at;
        for row in &mut self.rows {
            let is_its = *row.name == *name && *row.subject == *subject;
            if is_its && row.sender == packet.sender && row.over.is_none() && sent_before(row) {
                Arc::make_mut(row).over = Some(at);
            }
        }
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

#[cfg(test)]
mod tests {
    use crate::state::script;

    /// The alerts that fire after a script, by name and message.
    #[track_caller]
    fn check(script: &str, expected: &str) {
        let state = script::run(script).expect("a script");
        let rows = state.model.alerts.iter();
        let firing = rows.filter(|it| it.is_firing(state.now));
        let told = firing.map(|it| format!("{} {}", it.name, it.message.as_deref().unwrap_or("")));
        assert_eq!(told.collect::<Vec<_>>().join(", "), expected, "{script}");
    }

    #[test]
    fn an_alert_is_over_when_its_sender_says_that_all_is_well_again() {
        let broken = "0s alert policy level=error component=kernel message=broken \
             | 1s alert disk level=error component=kernel message=full";
        check(broken, "policy broken, disk full");
        let mended =
            format!("{broken} | 4s alert policy level=info component=kernel message=mended");
        check(&mended, "disk full");
        let again = "alert policy level=error component=kernel message=broken";
        check(
            &format!("{mended} | 9s {again}"),
            "policy broken, disk full",
        );
        // Said late, it is no word about what came after it.
        check(
            &format!(
                "{mended} | 9s {again} | 10s alert policy level=info component=kernel message=mended sent=4s"
            ),
            "policy broken, disk full",
        );
        // Another component's.
        check(
            &format!("{broken} | 4s alert policy level=info component=other message=mended"),
            "policy broken, disk full",
        );
    }
}
