//! What a dead letter offers to filters.

use super::{ms, request_texts};
use crate::state::filter::{Field, Subject};
use crate::state::model::jobs::Job;
use crate::state::model::letters::DeadLetter;
use crate::time::Timestamp;
use crate::wire::packet::WireEnum as _;

/// A dead letter with its job, where that is known.
#[derive(Clone, Copy, Debug)]
pub struct LetterRow<'a> {
    /// The letter.
    pub letter: &'a DeadLetter,
    /// Its job.
    pub job: Option<&'a Job>,
}

impl LetterRow<'_> {
    fn topic(&self) -> Option<&str> {
        let told = self.letter.topic.as_deref();
        told.or_else(|| self.job?.topic())
    }
}

impl Subject for LetterRow<'_> {
    const NAME: &'static str = "dead letter";
    const FIELDS: &'static [Field] = &[
        Field::text("id"),
        Field::text("job"),
        Field::text("reason"),
        Field::text("error"),
        Field::text("status"),
        Field::text("topic"),
        Field::text("tenant"),
        Field::text("workflow"),
        Field::text("risk"),
        Field::number("attempts"),
        Field::time("age"),
    ];

    fn texts(&self, field: &str, _now: Timestamp, look: &mut dyn FnMut(&str) -> bool) -> bool {
        let letter = self.letter;
        match field {
            "id" | "job" => look(letter.job.as_str()),
            "reason" => letter.reason_code.as_deref().is_some_and(look),
            "error" => letter.reason.as_deref().is_some_and(look),
            "status" => letter.status.is_some_and(|status| look(&status.name())),
            "topic" => self.topic().is_some_and(look),
            _ => request_texts(self.job.and_then(|job| job.request.as_deref()), field, look),
        }
    }

    fn amount(&self, field: &str, now: Timestamp) -> Option<i64> {
        match field {
            "attempts" => Some(i64::from(self.letter.attempts?) * 1_000),
            "age" => Some(ms(now.since(self.letter.at))),
            _ => None,
        }
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.job?.request.as_ref()?.label(key)
    }

    fn words(&self, look: &mut dyn FnMut(&str) -> bool) -> bool {
        look(self.letter.job.as_str())
            || self.letter.reason_code.as_deref().is_some_and(&mut *look)
            || self.letter.reason.as_deref().is_some_and(&mut *look)
            || self.topic().is_some_and(&mut *look)
            || self.job.and_then(Job::tenant).is_some_and(look)
    }
}
