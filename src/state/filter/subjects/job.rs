//! What a job offers to filters.

use super::words::{STATES, VERDICTS, WAITS};
use super::{ms, request_texts};
use crate::state::filter::{Field, Subject};
use crate::state::model::jobs::Job;
use crate::time::Timestamp;

impl Subject for Job {
    const NAME: &'static str = "job";
    const FIELDS: &'static [Field] = &[
        Field::text("id"),
        Field::text("job"),
        Field::one_of("state", STATES),
        Field::one_of("is", &["ended", "active", "waiting", "stalled"]),
        Field::text("topic"),
        Field::text("tenant"),
        Field::text("worker"),
        Field::text("trace"),
        Field::text("workflow"),
        Field::text("parent"),
        Field::text("actor"),
        Field::text("principal"),
        Field::text("capability"),
        Field::text("pack"),
        Field::text("risk"),
        Field::one_of("decision", VERDICTS),
        Field::text("rule"),
        Field::one_of("waiting", WAITS),
        Field::text("error"),
        Field::text("message"),
        Field::number("percent"),
        Field::number("attempts"),
        Field::time("age"),
        Field::time("idle"),
    ];

    fn texts(&self, field: &str, _now: Timestamp, look: &mut dyn FnMut(&str) -> bool) -> bool {
        let verdict = self.verdict.as_deref();
        match field {
            "id" | "job" => look(self.id.as_str()),
            "state" => self
                .state
                .is_some_and(|it| look(it.name()) || look(it.word())),
            "is" => {
                let with_worker = self.state.is_some_and(|state| state.is_with_worker());
                (self.is_ended() && look("ended"))
                    || (with_worker && look("active"))
                    || (self.waits_on().is_some() && look("waiting"))
                    || (self.stalled && look("stalled"))
            }
            "worker" => self.worker().is_some_and(|it| look(it.as_str())),
            "trace" => self.trace.as_ref().is_some_and(|it| look(it.as_str())),
            "decision" => self
                .decision()
                .is_some_and(|it| look(it.name()) || look(it.word())),
            "rule" => verdict
                .and_then(|it| it.rule_id.as_deref())
                .is_some_and(look),
            "waiting" => self.waits_on().is_some_and(|it| look(it.name())),
            "error" => {
                self.error_code().is_some_and(&mut *look) || self.error_message().is_some_and(look)
            }
            "message" => self.message().is_some_and(look),
            _ => request_texts(self.request.as_deref(), field, look),
        }
    }

    fn amount(&self, field: &str, now: Timestamp) -> Option<i64> {
        match field {
            "percent" => Some(i64::from(self.percent()?) * 1_000),
            "attempts" => Some(i64::from(self.attempts()) * 1_000),
            "age" => Some(ms(now.since(self.since))),
            "idle" => Some(ms(now.since(self.updated_at))),
            _ => None,
        }
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.request.as_ref()?.label(key)
    }

    fn words(&self, look: &mut dyn FnMut(&str) -> bool) -> bool {
        look(self.id.as_str())
            || ["topic", "tenant", "workflow", "actor", "principal", "risk"]
                .iter()
                .any(|field| request_texts(self.request.as_deref(), field, look))
            || self
                .state
                .is_some_and(|it| look(it.name()) || look(it.word()))
            || self.worker().is_some_and(|it| look(it.as_str()))
            || self.message().is_some_and(&mut *look)
            || self.error_code().is_some_and(&mut *look)
            || self.error_message().is_some_and(look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::filter::Filter;

    #[test]
    fn what_a_table_says_of_a_job_finds_it() {
        let script = "0s submit a | 1s told a APPROVAL_REQUIRED decision=REQUIRE_APPROVAL | 2s submit b \
                      | 3s told b PENDING decision=ALLOW_WITH_CONSTRAINTS | 3s dispatch b w1";
        let state = crate::state::script::run(script).expect("a script");
        let now = Timestamp::from_millis(4_000);
        for (filter, found) in [
            ("state:approval", "a"),
            ("state:APPROVAL_REQUIRED", "a"),
            ("decision:approval", "a"),
            ("decision:limits", "b"),
            ("state:dispatched", "b"),
            ("limits", ""),
        ] {
            let asked = Filter::parse::<Job>(filter).expect("a filter");
            let jobs = state.model.jobs.by_attention();
            let ids: Vec<&str> = jobs
                .filter(|job| asked.matches_job(job, now))
                .map(|job| job.id.as_str())
                .collect();
            assert_eq!(ids.join(" "), found, "{filter}");
        }
    }
}
