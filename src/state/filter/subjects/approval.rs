//! What an approval offers to filters.

use super::words::STATUSES;
use super::{ms, request_texts};
use crate::state::filter::{Field, Subject};
use crate::state::model::approvals::Approval;
use crate::time::Timestamp;

/// An approval with what is derived about it.
#[derive(Clone, Copy, Debug)]
pub struct ApprovalRow<'a> {
    /// The approval.
    pub approval: &'a Approval,
    /// Jobs that it holds up; `None` if not known.
    pub held: Option<u32>,
}

impl Subject for ApprovalRow<'_> {
    const NAME: &'static str = "approval";
    const FIELDS: &'static [Field] = &[
        Field::text("id"),
        Field::text("job"),
        Field::one_of("status", STATUSES),
        Field::text("topic"),
        Field::text("tenant"),
        Field::text("rule"),
        Field::text("reason"),
        Field::text("risk"),
        Field::text("actor"),
        Field::text("principal"),
        Field::text("workflow"),
        Field::text("capability"),
        Field::text("snapshot"),
        Field::one_of("undo", &["yes", "no", "unknown"]),
        Field::number("held"),
        Field::time("wait"),
        Field::time("age"),
        Field::time("left"),
    ];

    fn texts(&self, field: &str, _now: Timestamp, look: &mut dyn FnMut(&str) -> bool) -> bool {
        let fact = &self.approval.fact;
        let verdict = fact.job.verdict.as_ref();
        match field {
            "id" | "job" => look(self.approval.id().as_str()),
            "status" => look(fact.status.name()),
            "rule" => verdict
                .and_then(|it| it.rule_id.as_deref())
                .is_some_and(look),
            "reason" => verdict
                .and_then(|it| it.reason.as_deref())
                .is_some_and(look),
            "snapshot" => verdict
                .and_then(|it| it.snapshot.as_deref())
                .is_some_and(look),
            "undo" => look(match self.approval.undo() {
                Some(Some(_)) => "yes",
                Some(None) => "no",
                None => "unknown",
            }),
            _ => request_texts(fact.job.request.as_ref(), field, look),
        }
    }

    fn amount(&self, field: &str, now: Timestamp) -> Option<i64> {
        match field {
            "held" => Some(i64::from(self.held?) * 1_000),
            "wait" | "age" => Some(ms(self.approval.wait(now))),
            "left" => self.approval.time_left(now).map(ms),
            _ => None,
        }
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.approval.fact.job.request.as_ref()?.label(key)
    }

    fn words(&self, look: &mut dyn FnMut(&str) -> bool) -> bool {
        let fact = &self.approval.fact;
        let verdict = fact.job.verdict.as_ref();
        look(self.approval.id().as_str())
            || ["topic", "tenant", "actor", "principal", "risk", "workflow"]
                .iter()
                .any(|field| request_texts(fact.job.request.as_ref(), field, look))
            || fact
                .job
                .request
                .as_ref()
                .is_some_and(|it| it.labels.iter().any(|(_, value)| look(value)))
            || verdict
                .and_then(|it| it.rule_id.as_deref())
                .is_some_and(&mut *look)
            || verdict
                .and_then(|it| it.reason.as_deref())
                .is_some_and(look)
    }
}
