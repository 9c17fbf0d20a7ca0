//! What an alert offers to filters.

use super::ms;
use crate::state::filter::{Field, Subject};
use crate::state::model::alerts::Alert;
use crate::time::Timestamp;
use crate::wire::packet::WireEnum as _;

impl Subject for Alert {
    const NAME: &'static str = "alert";
    const FIELDS: &'static [Field] = &[
        Field::text("name"),
        Field::one_of("severity", &["INFO", "WARNING", "ERROR", "CRITICAL"]),
        Field::text("subject"),
        Field::one_of("status", &["firing", "cleared"]),
        Field::text("message"),
        Field::text("sender"),
        Field::one_of("source", &["bus"]),
        Field::number("times"),
        Field::time("age"),
    ];

    fn texts(&self, field: &str, now: Timestamp, look: &mut dyn FnMut(&str) -> bool) -> bool {
        match field {
            "name" => look(&self.name),
            "severity" => look(&self.severity.name()),
            "subject" => look(&self.subject),
            "status" => look(self.status(now)),
            "message" => self.message.as_deref().is_some_and(look),
            "sender" => look(self.sender.as_str()),
            "source" => look("bus"),
            _ => false,
        }
    }

    fn amount(&self, field: &str, now: Timestamp) -> Option<i64> {
        match field {
            "times" => Some(i64::from(self.times) * 1_000),
            "age" => Some(ms(now.since(self.since))),
            _ => None,
        }
    }

    fn label(&self, key: &str) -> Option<&str> {
        let found = self.details.iter().find(|(name, _)| &**name == key);
        found.map(|(_, value)| &**value)
    }

    fn words(&self, look: &mut dyn FnMut(&str) -> bool) -> bool {
        look(&self.name)
            || look(&self.subject)
            || look(self.sender.as_str())
            || self.message.as_deref().is_some_and(look)
    }
}
