//! What each kind of thing offers to filters.

use super::{Field, Subject};
use crate::state::model::alerts::Alert;
use crate::state::model::approvals::Approval;
use crate::state::model::jobs::{Job, Jobs, Request};
use crate::state::model::letters::DeadLetter;
use crate::state::model::policy::RuleRow;
use crate::state::model::rollbacks::{Stack, Undone};
use crate::state::model::workers::{Standing, Worker};
use crate::time::{Elapsed, Timestamp};
use crate::wire::packet::WireEnum as _;

/// The names of the contract, and the words of the tables that are others.
const STATES: &[&str] = &[
    "PENDING",
    "APPROVAL_REQUIRED",
    "SCHEDULED",
    "DISPATCHED",
    "RUNNING",
    "RETRYING",
    "SUCCEEDED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "DENIED",
    "OUTPUT_QUARANTINED",
    "approval",
    "quarantined",
];
/// What policy can decide, by the names of the contract.
pub const DECISIONS: &[&str] = &[
    "ALLOW",
    "ALLOW_WITH_CONSTRAINTS",
    "REQUIRE_APPROVAL",
    "THROTTLE",
    "DENY",
    "UNAVAILABLE",
];
/// The same, and the words of the tables that are others.
const VERDICTS: &[&str] = &[
    "ALLOW",
    "ALLOW_WITH_CONSTRAINTS",
    "REQUIRE_APPROVAL",
    "THROTTLE",
    "DENY",
    "UNAVAILABLE",
    "limits",
    "approval",
    "unknown",
];
/// What a rule can do: the names, and the words of the list of rules that are others.
const EFFECTS: &[&str] = &[
    "ALLOW",
    "ALLOW_WITH_CONSTRAINTS",
    "REQUIRE_APPROVAL",
    "THROTTLE",
    "DENY",
    "UNAVAILABLE",
    "constrained",
    "unknown",
];
const WAITS: &[&str] = &[
    "approval",
    "throttled",
    "no_workers",
    "pool_overloaded",
    "no_pool_mapping",
    "tenant_limit",
    "kernel_unavailable",
    "retry_backoff",
    "bus_unavailable",
    "unknown",
];
const STANDINGS: &[&str] = &["lost", "zombie", "late", "draining", "live", "unknown"];
const STACKS: &[&str] = &[
    "broken", "approval", "running", "unknown", "undone", "armed",
];
const STATUSES: &[&str] = &[
    "pending",
    "approved",
    "rejected",
    "expired",
    "invalidated",
    "repaired",
];

fn ms(elapsed: Elapsed) -> i64 {
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// Shows the texts of a field that comes from a request.
fn request_texts(
    request: Option<&Request>,
    field: &str,
    look: &mut dyn FnMut(&str) -> bool,
) -> bool {
    let Some(request) = request else {
        return false;
    };
    let one = match field {
        "topic" => &request.topic,
        "tenant" => &request.tenant,
        "actor" => &request.actor,
        "principal" => &request.principal,
        "workflow" => &request.workflow_id,
        "capability" => &request.capability,
        "pack" => &request.pack_id,
        "parent" => return request.parent.as_ref().is_some_and(|it| look(it.as_str())),
        "risk" => return request.risk_tags.iter().any(|tag| look(tag)),
        _ => return false,
    };
    one.as_deref().is_some_and(look)
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::filter::Filter;
    use crate::state::model::jobs::{Decision, JobState, WaitingOn};

    #[test]
    fn the_words_of_a_field_are_those_that_the_model_uses() {
        let names = |names: Vec<&'static str>| names;
        // The names of the contract, then the words of the tables that are others.
        let and_words = |pairs: Vec<(&'static str, &'static str)>| {
            let other = |(name, word): &(&'static str, &'static str)| {
                (!name.eq_ignore_ascii_case(word)).then_some(*word)
            };
            let words: Vec<&str> = pairs.iter().filter_map(other).collect();
            let names = pairs.into_iter().map(|(name, _)| name);
            names.chain(words).collect::<Vec<&str>>()
        };
        let states = JobState::ALL.iter().map(|it| (it.name(), it.word()));
        assert_eq!(and_words(states.collect()), STATES);
        let decisions = Decision::ALL.iter().map(|it| (it.name(), it.word()));
        assert_eq!(and_words(decisions.collect()), VERDICTS);
        let decisions = Decision::ALL.iter().map(|it| it.name());
        assert_eq!(names(decisions.collect()), DECISIONS);
        let effects = Decision::ALL.iter().map(|it| (it.name(), it.effect()));
        assert_eq!(and_words(effects.collect()), EFFECTS);
        assert_eq!(
            names(WaitingOn::ALL.iter().map(|it| it.name()).collect()),
            WAITS
        );
        assert_eq!(
            names(Standing::ALL.iter().map(|it| it.name()).collect()),
            STANDINGS
        );
    }

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
