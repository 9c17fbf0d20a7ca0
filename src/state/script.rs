//! Events as a person writes them: what tests, snapshots and pictures are made from.
//!
//! A script is steps between `|` or line ends: seconds, a verb, names, and
//! `key=value` pairs, with quotes around a value that has blanks.
//! ```text
//! 0s submit j1 topic=job.batch.embed | 1s dispatch j1 w1 | 2s progress j1 40% | 3s succeed j1 w1
//! ```
//! A packet is sent when it is heard; `sent=2s` makes it a late one. `by=` names
//! the sender. Start at [`events`]; the verbs are in [`Step::event`].

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{JobId, PoolName, WorkerId};
use crate::state::effect::{EffectQueue, Outcome};
use crate::state::event::{
    Event, LinkState, Malformed, PoolFact, Route, Source, Stamped, WorkerFact,
};
use crate::state::model::compensations::Judged;
use crate::state::model::jobs::Decision;
use crate::state::model::letters::LettersFact;
use crate::state::shared::{Text, text};
use crate::state::step::State;
use crate::time::Timestamp;
use crate::wire::packet::{Body, JobCancel, JobProgress, JobStatus, SystemAlert};

mod facts;
mod packets;
mod policy;

/// The instant of second 0: 2026-01-01 00:00:00 UTC.
pub const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// The events of a script, stamped.
///
/// # Errors
/// The step that cannot be read, and why.
pub fn events(script: &str) -> Result<Vec<Stamped<Event>>, String> {
    let mut events = Vec::new();
    let mut at = START;
    for line in split(script, |c| c == '|' || c == '\n') {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let step = Step::parse(line).map_err(|why| format!("`{line}`: {why}"))?;
        at = at.max(step.at);
        let value = step.event().map_err(|why| format!("`{line}`: {why}"))?;
        let seq = events.len() as u64;
        events.push(Stamped { seq, at, value });
    }
    Ok(events)
}

/// The state after a script.
///
/// # Errors
/// As [`events`].
pub fn run(script: &str) -> Result<State, String> {
    let mut state = State::default();
    let mut effects = EffectQueue::new();
    for event in events(script)? {
        state.step(&event, &mut effects);
    }
    Ok(state)
}

struct Step<'a> {
    at: Timestamp,
    verb: &'a str,
    names: Vec<&'a str>,
    values: BTreeMap<&'a str, &'a str>,
}

impl<'a> Step<'a> {
    fn parse(line: &'a str) -> Result<Self, String> {
        let mut words = split(line, char::is_whitespace).filter(|word| !word.is_empty());
        let at = instant(words.next().unwrap_or(""))?;
        let verb = words.next().ok_or("no verb")?;
        let mut names = Vec::new();
        let mut values = BTreeMap::new();
        for word in words {
            match word.split_once('=') {
                Some((key, value)) => {
                    values.insert(key, value.trim_matches('"'));
                }
                None => names.push(word.trim_matches('"')),
            }
        }
        Ok(Self {
            at,
            verb,
            names,
            values,
        })
    }

    /// Reads the verb. Packets: `submit dispatch progress succeed fail fatal
    /// retryable denied timeout cancelled inflight odd dlq cancel beat alert`; the
    /// rest: `malformed link tick told pool letter no-letters rollback rules policy judged tried approval
    /// decided nothing-waits
    /// payload`.
    fn event(&self) -> Result<Event, String> {
        let job = self.names.first().copied().unwrap_or("");
        let worker = self.names.get(1).copied().unwrap_or("");
        Ok(match self.verb {
            "submit" => {
                let request = self.request(job)?;
                self.packet(Route::Submit, "sys.job.submit", "client", request)?
            }
            "dispatch" => {
                let request = self.request(job)?;
                let worker = (!worker.is_empty()).then(|| WorkerId::from(worker));
                let subject = match &worker {
                    Some(worker) => format!("worker.{worker}.jobs"),
                    None => self.value("topic").unwrap_or("job.default").to_owned(),
                };
                self.packet(
                    Route::Dispatch { worker },
                    &subject,
                    "cordum-scheduler",
                    request,
                )?
            }
            "progress" => {
                let percent = worker.trim_end_matches('%');
                let body = Body::JobProgress(Box::new(JobProgress {
                    job_id: JobId::from(job),
                    percent: percent.parse().map_err(|_| "no percent")?,
                    message: self.text("message"),
                    result_ptr: self.text("result"),
                    ..JobProgress::default()
                }));
                let audit = self.value("subject").is_some();
                let route = if audit { Route::Audit } else { Route::Progress };
                let subject = self.value("subject").unwrap_or("sys.job.progress");
                self.packet(route, subject, "", body)?
            }
            "succeed" => self.result(job, worker, JobStatus::Succeeded)?,
            "fail" => self.result(job, worker, JobStatus::Failed)?,
            "fatal" => self.result(job, worker, JobStatus::FailedFatal)?,
            "retryable" => self.result(job, worker, JobStatus::FailedRetryable)?,
            "denied" => self.result(job, worker, JobStatus::Denied)?,
            "timeout" => self.result(job, worker, JobStatus::Timeout)?,
            "cancelled" => self.result(job, worker, JobStatus::Cancelled)?,
            "inflight" => self.result(job, worker, JobStatus::Running)?,
            "odd" => self.result(job, worker, JobStatus::Unknown(77))?,
            "dlq" => {
                let status = JobStatus::from_name(worker).ok_or("no such status")?;
                let body = self.result_body(job, "", status);
                self.packet(Route::DeadLetter, "sys.job.dlq", "cordum-scheduler", body)?
            }
            "cancel" => {
                let body = Body::JobCancel(JobCancel {
                    job_id: JobId::from(job),
                    reason: self.text("reason"),
                    requested_by: self.text("for"),
                    ..JobCancel::default()
                });
                self.packet(Route::Cancel, "sys.job.cancel", "api-gateway", body)?
            }
            "beat" => self.beat(job)?,
            "alert" => {
                let body = Body::Alert(Box::new(SystemAlert {
                    level: self.text("level"),
                    message: self.text("message"),
                    component: self.text("component"),
                    code: job.to_owned(),
                    ..SystemAlert::default()
                }));
                self.packet(Route::Alert, "sys.alert", "monitor", body)?
            }
            "malformed" => Event::Malformed(Malformed {
                subject: Arc::from(job),
                len: 3,
                reason: Arc::from("not a BusPacket"),
            }),
            "link" => Event::Link(source(job)?, self.link(worker)?),
            "tick" => Event::Tick,
            "requests" => Event::Requests(job.parse().map_err(|_| "no number")?),
            "told" => Event::Jobs(vec![self.fact(job, worker)?]),
            "pool" => Event::Pools(vec![PoolFact {
                name: PoolName::from(job),
                topics: self.list("topics"),
                draining: self.value("draining").is_some(),
            }]),
            "worker" => Event::Workers(vec![WorkerFact {
                worker_id: WorkerId::from(job),
                pool: PoolName::from(self.value("pool").unwrap_or("")),
                region: Arc::from(self.text("region")),
                active_jobs: 0,
                max_parallel_jobs: 0,
                cpu_load: 0.0,
                memory_load: 0.0,
                gpu_utilization: 0.0,
                heard_at: self.value("heard").map(instant).transpose()?,
            }]),
            "letter" => Event::DeadLetters(self.letter(job, worker)?),
            "no-letters" => Event::DeadLetters(LettersFact {
                retry_copies: Some(true),
                ..LettersFact::default()
            }),
            "rollback" => Event::Rollbacks(vec![self.rollback(job, worker)?]),
            "rules" => Event::PolicyTold(Box::new(self.rules(job)?)),
            "policy" => Event::Policy(Arc::from(job)),
            "judged" => Event::CompensationJudged(Box::new(Judged {
                job: JobId::from(job),
                decision: Decision::read(worker),
                rule_id: self.optional("rule"),
                reason: self.optional("reason"),
                snapshot: self.optional("snapshot"),
            })),
            "tried" => Event::Tried(Box::new(self.tried(job)?)),
            "approval" => Event::Approvals(vec![self.approval(job)?]),
            "nothing-waits" => Event::Approvals(Vec::new()),
            "payload" => Event::Payload(Box::new(self.payload(job))),
            "done" => {
                let n = job.parse::<u64>().map_err(|_| "no number")?;
                let word = text(worker);
                Event::Outcome(crate::state::effect::EffectId::nth(n), Outcome::Done(word))
            }
            other => return Err(format!("no verb `{other}`")),
        })
    }

    fn link(&self, state: &str) -> Result<LinkState, String> {
        Ok(match state {
            "absent" => LinkState::Absent,
            "connecting" => LinkState::Connecting,
            "up" => LinkState::Up,
            "lagging" => LinkState::Lagging {
                dropped: u64::try_from(self.number("dropped")?.unwrap_or(0)).unwrap_or(0),
            },
            "down" => LinkState::Down {
                since: self.at,
                reason: Arc::from(self.value("reason").unwrap_or("connection refused")),
                attempts: u32::try_from(self.number("attempts")?.unwrap_or(1)).unwrap_or(1),
                again_at: self.value("again").map(instant).transpose()?,
            },
            other => return Err(format!("no link state `{other}`")),
        })
    }

    fn value(&self, key: &str) -> Option<&'a str> {
        self.values.get(key).copied()
    }

    fn text(&self, key: &str) -> String {
        self.value(key).unwrap_or("").to_owned()
    }

    fn optional(&self, key: &str) -> Text {
        self.value(key).and_then(text)
    }

    fn number(&self, key: &str) -> Result<Option<i32>, String> {
        let number = self.value(key).map(str::parse).transpose();
        number.map_err(|_| format!("{key} is no number"))
    }

    fn list(&self, key: &str) -> Vec<Arc<str>> {
        let list = self.value(key).unwrap_or("");
        list.split(',')
            .filter(|it| !it.is_empty())
            .map(Arc::from)
            .collect()
    }

    fn labels(&self) -> BTreeMap<String, String> {
        self.value("labels")
            .unwrap_or("")
            .split(',')
            .filter_map(|pair| pair.split_once(':'))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }
}

fn source(name: &str) -> Result<Source, String> {
    Source::ALL
        .into_iter()
        .find(|source| source.name() == name)
        .ok_or_else(|| format!("no source `{name}`"))
}

/// `90s` or `1.5s` after [`START`].
fn instant(text: &str) -> Result<Timestamp, String> {
    let bad = || format!("`{text}` is no time such as 1.5s");
    let number = text.strip_suffix('s').ok_or_else(bad)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let whole: i64 = whole.parse().map_err(|_| bad())?;
    let part: i64 = format!("{part:0<3}").parse().map_err(|_| bad())?;
    Ok(Timestamp::from_millis(
        START.as_millis() + whole * 1_000 + part,
    ))
}

/// Splits at characters that stand outside quotes.
fn split(text: &str, at: impl Fn(char) -> bool) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        !quoted && at(c)
    })
}
