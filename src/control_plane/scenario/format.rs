//! The scenario file: TOML in, a checked [`Scenario`] out.
//!
//! Unknown keys, names that refer to nothing and numbers out of range are errors
//! with file and line; nothing is guessed. Start at [`parse`].

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;

use self::raw::{
    Ends, File, RawAlert, RawIncident, RawJob, RawOnce, RawPayload, RawPool, RawStream, RawWorkflow,
};
use super::error::{Located, ScenarioError};
use super::{
    Alert, Cause, Happening, Incident, JobTemplate, Mishap, Outcome, PolicyEdit, Pool, Scenario,
    Scripted, Span, Stream, Twist, Undo, Window, Workflow, WorkflowStep,
};
use crate::bus::Subject;
use crate::ids::{PoolName, WorkerId};
use crate::wire::packet::{ActorType, AlertSeverity, ErrorCode, JobPriority};

mod raw;
mod values;

/// Workers of one pool at most: a heartbeat each every two seconds is plenty for one task.
const MAX_WORKERS: u32 = 5_000;
/// Slots of one worker at most.
const MAX_SLOTS: u32 = 1_000;
/// Jobs a minute of one stream at most, which is a thousand a second.
const MAX_PER_MINUTE: f64 = 60_000.0;

/// Reads the text of a scenario file. `path` is for errors; `read` gives the text
/// of a payload file by its name in the scenario.
///
/// # Errors
/// [`ScenarioError::Invalid`] for the first thing that is wrong.
pub fn parse(
    text: &str,
    path: &str,
    read: &dyn Fn(&str) -> io::Result<String>,
) -> Result<Scenario, ScenarioError> {
    let at = Located { path, text };
    let file: File = toml::from_str(text).map_err(|error| at.syntax(&error))?;
    let mut check = Check {
        at,
        pools: Vec::new(),
        payloads: BTreeMap::new(),
        jobs: BTreeMap::new(),
    };
    for (name, payload) in file.payload {
        let text = check.payload(payload, read)?;
        check.payloads.insert(name, text);
    }
    for pool in file.pool {
        let pool = check.pool(pool)?;
        check.pools.push(pool);
    }
    for (name, job) in file.job {
        let job = check.job(job)?;
        check.jobs.insert(name, job);
    }
    let streams = each(file.stream, |stream| check.stream(stream))?;
    let scripts = each(file.once, |script| check.script(script))?;
    let workflows = each(file.workflow, |workflow| check.workflow(workflow))?;
    let alerts = each(file.alert, |alert| check.alert(alert))?;
    let incidents = each(file.incident, |incident| check.incident(incident))?;
    Ok(Scenario {
        name: file.name,
        about: file.about,
        pools: check.pools,
        jobs: check.jobs,
        payloads: check.payloads,
        streams,
        scripts,
        workflows,
        alerts,
        incidents,
    })
}

fn each<A, B>(
    items: Vec<A>,
    check: impl FnMut(A) -> Result<B, ScenarioError>,
) -> Result<Vec<B>, ScenarioError> {
    items.into_iter().map(check).collect()
}

/// What was checked so far, which is what later names may refer to.
struct Check<'a> {
    at: Located<'a>,
    pools: Vec<Pool>,
    payloads: BTreeMap<String, String>,
    jobs: BTreeMap<String, JobTemplate>,
}

impl Check<'_> {
    fn payload(
        &self,
        payload: Spanned<RawPayload>,
        read: &dyn Fn(&str) -> io::Result<String>,
    ) -> Result<String, ScenarioError> {
        let span = payload.span();
        match payload.into_inner() {
            RawPayload {
                text: Some(text),
                file: None,
            } => Ok(text),
            RawPayload {
                text: None,
                file: Some(file),
            } => read(&file).map_err(|error| {
                let says = format!("cannot read payload file `{file}`: {error}");
                self.at.error(&span, says)
            }),
            RawPayload { .. } => Err(self
                .at
                .error(&span, "a payload has either `file` or `text`")),
        }
    }

    fn pool(&self, raw: RawPool) -> Result<Pool, ScenarioError> {
        let at = &self.at;
        let (name_span, name) = parts(raw.name);
        if name.contains('.') || Subject::parse(&name).is_err() {
            let says = format!("`{name}` cannot be part of a subject, so it cannot name a pool");
            return Err(at.error(&name_span, says));
        }
        if self.pools.iter().any(|pool| pool.name.as_str() == name) {
            return Err(at.error(&name_span, format!("there are two pools `{name}`")));
        }
        let topics = each(raw.topics, |topic| {
            let (span, topic) = parts(topic);
            self.topic(&span, topic.strip_suffix('*').unwrap_or(&topic))?;
            Ok(topic)
        })?;
        Ok(Pool {
            workers: self.count(raw.workers, "workers", MAX_WORKERS)?,
            slots: self.count(raw.slots, "slots", MAX_SLOTS)?,
            tag: String::new(),
            regions: or_default(raw.regions, "eu-1"),
            topics,
            capabilities: raw.capabilities,
            kind: if raw.kind.is_empty() {
                "cpu".to_owned()
            } else {
                raw.kind
            },
            agent: raw.agent,
            labels: raw.labels,
            cpu: self.load(
                raw.cpu,
                Span {
                    low: 6.0,
                    high: 62.0,
                },
            )?,
            memory: self.load(
                raw.memory,
                Span {
                    low: 18.0,
                    high: 55.0,
                },
            )?,
            gpu: self.load(
                raw.gpu,
                Span {
                    low: 0.0,
                    high: 0.0,
                },
            )?,
            name: PoolName::from(name),
        })
    }

    fn job(&self, raw: RawJob) -> Result<JobTemplate, ScenarioError> {
        let at = &self.at;
        let (topic_span, topic) = parts(raw.topic);
        self.topic(&topic_span, &topic)?;
        for (name, values) in &raw.vary {
            if values.get_ref().is_empty() {
                let says = format!("`vary.{name}` has no value to draw");
                return Err(at.error(&values.span(), says));
            }
        }
        let undo = match raw.undo {
            None => None,
            Some(undo) => {
                let (span, topic) = parts(undo.topic);
                self.topic(&span, &topic)?;
                let seconds = match undo.seconds {
                    Some(seconds) => self.seconds(seconds)?,
                    None => Span {
                        low: 3.0,
                        high: 5.0,
                    },
                };
                Some(Undo {
                    topic,
                    payload: self.payload_name(undo.payload)?,
                    labels: undo.labels,
                    seconds,
                })
            }
        };
        Ok(JobTemplate {
            topic,
            priority: self
                .known(raw.priority, "priority", PRIORITIES)?
                .unwrap_or_default(),
            tenants: or_default(raw.tenants, "default"),
            principals: or_default(raw.principals, "demo"),
            actor: raw.actor,
            actor_type: self
                .known(raw.actor_type, "actor type", ACTOR_TYPES)?
                .unwrap_or(ActorType::Service),
            sender: raw.sender,
            capability: raw.capability,
            risk_tags: raw.risk_tags,
            requires: raw.requires,
            pack: raw.pack,
            labels: raw.labels,
            vary: raw
                .vary
                .into_iter()
                .map(|(name, values)| (name, values.into_inner()))
                .collect(),
            payload: self.payload_name(raw.payload)?,
            undo,
            seconds: self.seconds(raw.seconds)?,
            steps: raw.steps,
            odds: self.odds(raw.odds)?,
            error: raw.error.map(|cause| Cause {
                code: cause.code,
                message: cause.message,
            }),
            deadline: self.instant(raw.deadline)?,
        })
    }

    fn stream(&self, raw: RawStream) -> Result<Stream, ScenarioError> {
        let rate = |span: &Range<usize>, rate: f64| {
            if (0.0..=MAX_PER_MINUTE).contains(&rate) {
                return Ok(rate);
            }
            let says = format!("`per_minute` is {rate}; it goes from 0 to {MAX_PER_MINUTE}");
            Err(self.at.error(span, says))
        };
        let windows = each(raw.windows, |window| {
            let (span, window) = parts(window);
            let at = |seconds: f64| self.instant_at(&span, seconds);
            let (from, to) = (at(window.from)?, at(window.to)?);
            let every = window.every.map(at).transpose()?;
            if from >= to {
                return Err(self
                    .at
                    .error(&span, "a window's `to` comes after its `from`"));
            }
            if every.is_some_and(|every| every.as_millis() < to.as_millis() - from.as_millis()) {
                let says = "a window that comes again ends before it does so";
                return Err(self.at.error(&span, says));
            }
            Ok(Window {
                from,
                to,
                begin_per_minute: rate(&span, window.per_minute.0)?,
                end_per_minute: rate(&span, window.per_minute.1)?,
                every,
            })
        })?;
        let (span, per_minute) = parts(raw.per_minute);
        Ok(Stream {
            job: self.job_name(raw.job)?,
            per_minute: rate(&span, per_minute)?,
            first: self.instant(raw.first)?,
            windows,
        })
    }

    fn script(&self, raw: RawOnce) -> Result<Scripted, ScenarioError> {
        Ok(Scripted {
            at: self.instant_of(raw.at)?,
            every: self.every(raw.every)?,
            job: self.job_name(raw.job)?,
            change: Twist {
                cancel_after: self.instant(raw.cancel_after)?,
                ..self.twist(raw.outcome, raw.takes, raw.labels, raw.payload)?
            },
        })
    }

    fn workflow(&self, raw: RawWorkflow) -> Result<Workflow, ScenarioError> {
        let steps = each(raw.steps, |step| {
            Ok(WorkflowStep {
                job: self.job_name(step.job)?,
                after: self.instant_of(step.after)?,
                change: Twist {
                    cancel_after: self.instant(step.cancel_after)?,
                    ..self.twist(step.outcome, step.takes, step.labels, step.payload)?
                },
            })
        })?;
        Ok(Workflow {
            name: raw.name,
            at: self.instant_of(raw.at)?,
            every: self.every(raw.every)?,
            steps,
        })
    }

    fn alert(&self, raw: RawAlert) -> Result<Alert, ScenarioError> {
        let error = match raw.error {
            None => None,
            Some(error) => {
                let (span, name) = parts(error);
                match ErrorCode::from_name(name.trim_start_matches("ERROR_CODE_")) {
                    Some(code) => Some(code),
                    None => {
                        let says = format!("`{name}` is no error code of the contract");
                        return Err(self.at.error(&span, says));
                    }
                }
            }
        };
        let severity = self.known(Some(raw.severity), "severity", SEVERITIES)?;
        Ok(Alert {
            at: self.instant_of(raw.at)?,
            every: self.every(raw.every)?,
            workflow_event: raw.workflow_event,
            severity: severity.unwrap_or_default(),
            component: raw.component,
            code: raw.code,
            error,
            message: raw.message,
            details: raw.details,
        })
    }

    fn incident(&self, raw: RawIncident) -> Result<Incident, ScenarioError> {
        let at = &self.at;
        let (span, what) = parts(raw.what);
        let mishap = match what.as_str() {
            "die" => Some(Mishap::Die),
            "silent" => Some(Mishap::Silent),
            "stall" => Some(Mishap::Stall),
            "drain" => Some(Mishap::Drain),
            "ignore-cancels" => Some(Mishap::IgnoreCancels),
            "claim-jobs" => match raw.jobs {
                Some(jobs) => Some(Mishap::ClaimJobs(jobs)),
                None => return Err(at.error(&span, "`claim-jobs` needs `jobs`, a number")),
            },
            "slow" => match &raw.times {
                Some(times) if (1.0..=1_000.0).contains(times.get_ref()) => {
                    Some(Mishap::Slow((times.get_ref() * 1_000.0) as u32))
                }
                _ => return Err(at.error(&span, "`slow` needs `times`, from 1 to 1000")),
            },
            "edit-policy" => None,
            _ => return Err(at.unknown(&span, "incident", &what, INCIDENTS.iter().copied())),
        };
        let what = match mishap {
            Some(mishap) => Happening::Workers {
                workers: self.workers(&span, raw.worker, raw.pool)?,
                mishap,
            },
            None => Happening::EditPolicy(Arc::new(match (raw.find, raw.replace, raw.append) {
                (Some(find), Some(replace), None) => PolicyEdit::Replace { find, replace },
                (None, None, Some(text)) => PolicyEdit::Append { text },
                _ => {
                    let says = "`edit-policy` needs either `find` and `replace`, or `append`";
                    return Err(at.error(&span, says));
                }
            })),
        };
        Ok(Incident {
            at: self.instant_of(raw.at)?,
            lasts: self.instant(raw.lasts)?,
            every: self.every(raw.every)?,
            what,
        })
    }

    fn workers(
        &self,
        span: &Range<usize>,
        worker: Option<Spanned<String>>,
        pool: Option<Spanned<String>>,
    ) -> Result<Vec<WorkerId>, ScenarioError> {
        match (worker, pool) {
            (Some(worker), None) => {
                let (span, name) = parts(worker);
                let id = WorkerId::from(name.as_str());
                if self
                    .pools
                    .iter()
                    .any(|pool| pool.worker_ids().any(|known| known == id))
                {
                    return Ok(vec![id]);
                }
                let all: Vec<WorkerId> = self.pools.iter().flat_map(Pool::worker_ids).collect();
                let names = all.iter().map(WorkerId::as_str);
                Err(self.at.unknown(&span, "worker", &name, names))
            }
            (None, Some(pool)) => {
                let (span, name) = parts(pool);
                match self.pools.iter().find(|pool| pool.name.as_str() == name) {
                    Some(pool) => Ok(pool.worker_ids().collect()),
                    None => {
                        let names = self.pools.iter().map(|pool| pool.name.as_str());
                        Err(self.at.unknown(&span, "pool", &name, names))
                    }
                }
            }
            _ => Err(self
                .at
                .error(span, "this incident needs either `worker` or `pool`")),
        }
    }

    fn twist(
        &self,
        outcome: Option<Spanned<String>>,
        takes: Option<Spanned<Ends>>,
        labels: BTreeMap<String, String>,
        payload: Option<Spanned<String>>,
    ) -> Result<Twist, ScenarioError> {
        Ok(Twist {
            outcome: self.known(outcome, "outcome", Outcome::NAMED)?,
            takes: takes.map(|takes| self.seconds(takes)).transpose()?,
            labels,
            payload: self.payload_name(payload)?,
            cancel_after: None,
        })
    }

    fn topic(&self, span: &Range<usize>, topic: &str) -> Result<(), ScenarioError> {
        let whole = topic.strip_suffix('.').unwrap_or(topic);
        if topic.starts_with("job.") && Subject::parse(whole).is_ok() {
            return Ok(());
        }
        let says =
            format!("`{topic}` is not a topic: a topic is a subject that begins with `job.`");
        Err(self.at.error(span, says))
    }

    fn job_name(&self, name: Spanned<String>) -> Result<String, ScenarioError> {
        let (span, name) = parts(name);
        if self.jobs.contains_key(&name) {
            return Ok(name);
        }
        let names = self.jobs.keys().map(String::as_str);
        Err(self.at.unknown(&span, "job", &name, names))
    }

    fn payload_name(&self, name: Option<Spanned<String>>) -> Result<Option<String>, ScenarioError> {
        let Some(name) = name else { return Ok(None) };
        let (span, name) = parts(name);
        if self.payloads.contains_key(&name) {
            return Ok(Some(name));
        }
        let names = self.payloads.keys().map(String::as_str);
        Err(self.at.unknown(&span, "payload", &name, names))
    }

    fn known<T: Copy>(
        &self,
        name: Option<Spanned<String>>,
        what: &str,
        table: &[(&'static str, T)],
    ) -> Result<Option<T>, ScenarioError> {
        let Some(name) = name else { return Ok(None) };
        let (span, name) = parts(name);
        match table.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => Ok(Some(*value)),
            None => {
                let names = table.iter().map(|(known, _)| *known);
                Err(self.at.unknown(&span, what, &name, names))
            }
        }
    }
}

const INCIDENTS: &[&str] = &[
    "die",
    "silent",
    "stall",
    "drain",
    "ignore-cancels",
    "claim-jobs",
    "slow",
    "edit-policy",
];

const PRIORITIES: &[(&str, JobPriority)] = &[
    ("interactive", JobPriority::Interactive),
    ("batch", JobPriority::Batch),
    ("critical", JobPriority::Critical),
];

const ACTOR_TYPES: &[(&str, ActorType)] =
    &[("human", ActorType::Human), ("service", ActorType::Service)];

const SEVERITIES: &[(&str, AlertSeverity)] = &[
    ("info", AlertSeverity::Info),
    ("warning", AlertSeverity::Warning),
    ("error", AlertSeverity::Error),
    ("critical", AlertSeverity::Critical),
];

fn parts<T>(spanned: Spanned<T>) -> (Range<usize>, T) {
    (spanned.span(), spanned.into_inner())
}

fn or_default(values: Vec<String>, usual: &str) -> Vec<String> {
    if values.is_empty() {
        vec![usual.to_owned()]
    } else {
        values
    }
}
