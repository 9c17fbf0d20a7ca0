//! What a rollback offers to filters.

use super::ms;
use super::words::STACKS;
use crate::state::filter::{Field, Subject};
use crate::state::model::jobs::Jobs;
use crate::state::model::rollbacks::{Stack, Undone};
use crate::time::Timestamp;

/// An undo with the jobs that are its steps.
#[derive(Clone, Copy, Debug)]
pub struct RollbackRow<'a> {
    /// The undo.
    pub stack: &'a Stack,
    /// The jobs.
    pub jobs: &'a Jobs,
}

impl RollbackRow<'_> {
    fn name(&self) -> &str {
        match &self.stack.of {
            Undone::Workflow(workflow) => workflow,
            Undone::Job(job) => job.as_str(),
        }
    }

    fn tenants(&self, look: &mut dyn FnMut(&str) -> bool) -> bool {
        let steps = self.stack.steps.iter();
        let jobs = steps.flat_map(|step| [step.job.as_ref(), step.undoes.as_ref()]);
        let mut jobs = jobs.flatten().filter_map(|id| self.jobs.get(id));
        jobs.any(|job| job.tenant().is_some_and(&mut *look))
    }

    fn topics(&self, look: &mut dyn FnMut(&str) -> bool) -> bool {
        let mut steps = self.stack.steps.iter();
        steps.any(|step| {
            let both = [&step.topic, &step.undoes_topic];
            both.into_iter().flatten().any(|topic| look(topic))
        })
    }

    fn job_ids(&self, look: &mut dyn FnMut(&str) -> bool) -> bool {
        let steps = self.stack.steps.iter();
        let mut ids = steps
            .flat_map(|step| [step.job.as_ref(), step.undoes.as_ref()])
            .chain(self.stack.failed.iter().map(Some))
            .flatten();
        ids.any(|id| look(id.as_str()))
    }
}

impl Subject for RollbackRow<'_> {
    const NAME: &'static str = "rollback";
    const FIELDS: &'static [Field] = &[
        Field::text("id"),
        Field::text("workflow"),
        Field::one_of("state", STACKS),
        Field::text("job"),
        Field::text("topic"),
        Field::text("tenant"),
        Field::number("undone"),
        Field::number("steps"),
        Field::time("age"),
    ];

    fn texts(&self, field: &str, _now: Timestamp, look: &mut dyn FnMut(&str) -> bool) -> bool {
        match field {
            "id" => look(self.name()),
            "workflow" => matches!(self.stack.of, Undone::Workflow(_)) && look(self.name()),
            "state" => look(self.stack.state.name()),
            "job" => self.job_ids(look),
            "topic" => self.topics(look),
            "tenant" => self.tenants(look),
            _ => false,
        }
    }

    fn amount(&self, field: &str, now: Timestamp) -> Option<i64> {
        let count = |count: usize| i64::try_from(count).ok()?.checked_mul(1_000);
        match field {
            "undone" => count(self.stack.undone()),
            "steps" => count(self.stack.steps.len()),
            "age" => Some(ms(now.since(self.stack.last))),
            _ => None,
        }
    }

    fn label(&self, _key: &str) -> Option<&str> {
        None
    }

    fn words(&self, look: &mut dyn FnMut(&str) -> bool) -> bool {
        look(self.name())
            || look(self.stack.state.name())
            || self.topics(look)
            || self.tenants(look)
            || self.job_ids(look)
    }
}
