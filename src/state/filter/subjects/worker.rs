//! What a worker offers to filters.

use super::ms;
use super::words::STANDINGS;
use crate::state::filter::{Field, Subject};
use crate::state::model::workers::{Standing, Worker};
use crate::time::Timestamp;

/// A worker with what is derived about it.
#[derive(Clone, Copy, Debug)]
pub struct WorkerRow<'a> {
    /// The worker.
    pub worker: &'a Worker,
    /// How it stands now.
    pub standing: Standing,
}

impl Subject for WorkerRow<'_> {
    const NAME: &'static str = "worker";
    const FIELDS: &'static [Field] = &[
        Field::text("id"),
        Field::text("worker"),
        Field::one_of("standing", STANDINGS),
        Field::text("pool"),
        Field::text("region"),
        Field::text("kind"),
        Field::text("agent"),
        Field::text("capability"),
        Field::number("pressure"),
        Field::number("cpu"),
        Field::number("mem"),
        Field::number("gpu"),
        Field::number("slots"),
        Field::number("active"),
        Field::time("heard"),
        Field::time("age"),
    ];

    fn texts(&self, field: &str, _now: Timestamp, look: &mut dyn FnMut(&str) -> bool) -> bool {
        let worker = self.worker;
        match field {
            "id" | "worker" => look(worker.id.as_str()),
            "standing" => look(self.standing.name()),
            "pool" => worker.pool.as_ref().is_some_and(|it| look(it.as_str())),
            "region" => worker.region.as_deref().is_some_and(look),
            "kind" => worker.kind.as_deref().is_some_and(look),
            "agent" => worker.agent.as_deref().is_some_and(look),
            "capability" => worker.capabilities.iter().any(|it| look(it)),
            _ => false,
        }
    }

    fn amount(&self, field: &str, now: Timestamp) -> Option<i64> {
        let worker = self.worker;
        let milli = |load: Option<crate::state::model::workers::Load>| {
            load.map(|load| i64::from(load.milli_percent()))
        };
        match field {
            "pressure" => worker
                .pressure()
                .map(|_| i64::from(worker.pressure_key()) / 100),
            "cpu" => milli(worker.cpu),
            "mem" => milli(worker.memory),
            "gpu" => milli(worker.gpu),
            "slots" => milli(worker.slots()).map(|it| it / 100),
            "active" => Some(i64::from(worker.active_jobs) * 1_000),
            "heard" | "age" => worker.silence(now).map(ms),
            _ => None,
        }
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.worker.label(key)
    }

    fn words(&self, look: &mut dyn FnMut(&str) -> bool) -> bool {
        let worker = self.worker;
        look(worker.id.as_str())
            || look(self.standing.name())
            || worker.pool.as_ref().is_some_and(|it| look(it.as_str()))
            || worker.region.as_deref().is_some_and(&mut *look)
            || worker.last_memo.as_deref().is_some_and(look)
    }
}
