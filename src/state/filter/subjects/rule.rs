//! What a rule of a policy offers to filters.

use super::words::EFFECTS;
use crate::state::filter::{Field, Subject};
use crate::state::model::policy::RuleRow;
use crate::time::Timestamp;

impl Subject for RuleRow {
    const NAME: &'static str = "rule";
    const FIELDS: &'static [Field] = &[
        Field::text("id"),
        Field::text("rule"),
        Field::one_of("does", EFFECTS),
        Field::text("reason"),
        Field::number("hits"),
    ];

    fn texts(&self, field: &str, _now: Timestamp, look: &mut dyn FnMut(&str) -> bool) -> bool {
        match field {
            "id" | "rule" => self.id.as_deref().is_some_and(look),
            "does" => self
                .decision
                .is_some_and(|it| look(it.name()) || look(it.effect())),
            "reason" => self.reason.as_deref().is_some_and(look),
            _ => false,
        }
    }

    fn amount(&self, field: &str, _now: Timestamp) -> Option<i64> {
        match field {
            "hits" => i64::try_from(self.hits()).ok()?.checked_mul(1_000),
            _ => None,
        }
    }

    fn label(&self, _key: &str) -> Option<&str> {
        None
    }

    fn words(&self, look: &mut dyn FnMut(&str) -> bool) -> bool {
        self.id.as_deref().is_some_and(&mut *look)
            || self
                .decision
                .is_some_and(|it| look(it.name()) || look(it.effect()))
            || self.reason.as_deref().is_some_and(look)
    }
}
