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

use crate::ids::{JobId, PoolName, SenderId, TraceId, WorkerId};
use crate::state::effect::{EffectQueue, Outcome};
use crate::state::event::{
    Event, Heard, LinkState, Malformed, PoolFact, Route, Source, Stamped, WorkerFact,
};
use crate::state::model::approvals::{ApprovalFact, ApprovalStatus, Content, Payload};
use crate::state::model::compensations::Judged;
use crate::state::model::jobs::{
    Decision, Happened, JobFact, JobState, Moment, Request, Undo, Verdict, WaitingOn,
};
use crate::state::model::letters::{DeadLetter, LettersFact};
use crate::state::model::policy::{Breaker, Kernel, Log, PolicyFact, Rule};
use crate::state::model::rollbacks::{RollbackFact, StepState, ToldStep, Undone};
use crate::state::model::what_if::{Flip, WhatIf};
use crate::state::shared::{Text, text};
use crate::state::step::State;
use crate::time::{Elapsed, Timestamp};
use crate::wire::packet::{
    ActorType, Body, Budget, Compensation, Heartbeat, JobCancel, JobMetadata, JobProgress,
    JobRequest, JobResult, JobStatus, Packet, SystemAlert, WireWarning,
};

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

    fn packet(
        &self,
        route: Route,
        subject: &str,
        sender: &str,
        body: Body,
    ) -> Result<Event, String> {
        let sent = match self.value("sent") {
            Some("never") => None,
            Some(at) => Some(instant(at)?),
            None => Some(self.at),
        };
        let sender = self.value("by").unwrap_or(sender);
        let sender = if sender.is_empty() { "w1" } else { sender };
        let trace = TraceId::from(self.value("trace").unwrap_or(""));
        let mut packet = Packet::new(trace, SenderId::from(sender), self.at, body);
        packet.sent_at = sent;
        if let Some(says) = self.value("breaks") {
            packet.warnings.push(WireWarning::Violation {
                field: "payload",
                says: says.to_owned(),
            });
        }
        Ok(Event::Packet(Box::new(Heard {
            route,
            subject: Arc::from(subject),
            packet,
        })))
    }

    fn request(&self, job: &str) -> Result<Body, String> {
        let meta = JobMetadata {
            actor_id: self.text("actor"),
            actor_type: ActorType::Service,
            capability: self.text("capability"),
            idempotency_key: self.text("key"),
            risk_tags: self.list("risk").iter().map(|it| it.to_string()).collect(),
            ..JobMetadata::default()
        };
        let compensation = self.value("undo").map(|topic| {
            Box::new(Compensation {
                topic: topic.to_owned(),
                context_ptr: format!("redis://ctx:{job}:undo"),
                meta: Some(JobMetadata {
                    idempotency_key: format!("{job}/undo"),
                    ..JobMetadata::default()
                }),
                ..Compensation::default()
            })
        });
        let deadline = match self.value("deadline") {
            Some(after) => instant(after)?.since(START).as_millis(),
            None => 0,
        };
        Ok(Body::JobRequest(Box::new(JobRequest {
            job_id: JobId::from(job),
            topic: self.text("topic"),
            tenant_id: self.text("tenant"),
            principal_id: self.text("principal"),
            context_ptr: self.text("context"),
            workflow_id: self.text("workflow"),
            step_index: self.number("step")?.unwrap_or(0),
            parent_job_id: JobId::from(self.value("parent").unwrap_or("")),
            labels: self.labels(),
            meta: Some(meta),
            compensation,
            budget: (deadline > 0).then(|| Budget {
                deadline_ms: i64::try_from(deadline).unwrap_or(i64::MAX),
                ..Budget::default()
            }),
            ..JobRequest::default()
        })))
    }

    fn result(&self, job: &str, worker: &str, status: JobStatus) -> Result<Event, String> {
        let body = self.result_body(job, worker, status);
        self.packet(Route::Result, "sys.job.result", worker, body)
    }

    fn result_body(&self, job: &str, worker: &str, status: JobStatus) -> Body {
        Body::JobResult(Box::new(JobResult {
            job_id: JobId::from(job),
            status,
            worker_id: WorkerId::from(worker),
            error_code: self.text("code"),
            error_message: self.text("message"),
            result_ptr: self.text("result"),
            ..JobResult::default()
        }))
    }

    fn beat(&self, worker: &str) -> Result<Event, String> {
        let percent = |key| -> Result<f32, String> {
            let value = self.value(key).map(str::parse::<f32>);
            value
                .transpose()
                .map_err(|_| format!("{key} is no number"))
                .map(|it| it.unwrap_or(0.0))
        };
        let (active, max) = match self.value("slots").map(|slots| slots.split_once('/')) {
            Some(Some((active, max))) => (active.parse(), max.parse()),
            Some(None) => return Err("slots are active/max".to_owned()),
            None => (Ok(0), Ok(0)),
        };
        let body = Body::Heartbeat(Box::new(Heartbeat {
            worker_id: WorkerId::from(worker),
            pool: PoolName::from(self.value("pool").unwrap_or("")),
            region: self.text("region"),
            cpu_load: percent("cpu")?,
            memory_load: percent("mem")?,
            gpu_utilization: percent("gpu")?,
            active_jobs: active.map_err(|_| "no active jobs")?,
            max_parallel_jobs: max.map_err(|_| "no slots")?,
            progress_pct: self.number("pct")?.unwrap_or(0),
            last_memo: self.text("memo"),
            labels: self.labels(),
            ..Heartbeat::default()
        }));
        self.packet(Route::Heartbeat, "sys.heartbeat", worker, body)
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

    fn fact(&self, job: &str, state: &str) -> Result<JobFact, String> {
        let told = self.value("told").map(instant).transpose()?;
        let verdict = Verdict {
            decision: self.value("decision").and_then(Decision::read),
            rule_id: self.optional("rule"),
            reason: self.optional("reason"),
            snapshot: self.optional("snapshot"),
            constraints: self.list("limits").into(),
        };
        Ok(JobFact {
            id: JobId::from(job),
            state: match state {
                "" => None,
                name => Some(JobState::from_name(name).ok_or("no such state")?),
            },
            updated_at: told.or(Some(self.at)),
            attempts: self
                .number("attempts")?
                .and_then(|it| u32::try_from(it).ok()),
            request: Some(self.told_request(told)?),
            verdict: (verdict != Verdict::default()).then_some(verdict),
            waiting_on: self.value("waiting").and_then(WaitingOn::from_name),
            worker: self.value("worker").map(WorkerId::from),
            error_code: self.optional("code"),
            result_status: self.value("ended").and_then(JobStatus::from_name),
            percent: self.number("percent")?,
            message: self.optional("message"),
            cancel_by: self.optional("cancelled-by"),
            cancel_reason: self.optional("because"),
            decided_at: self.value("decided").map(instant).transpose()?,
            moments: self.on_record()?,
            is_whole_life: self.value("record").is_some(),
            created_at: self.value("born").map(instant).transpose()?,
            ..JobFact::default()
        })
    }

    /// `record=0s:PENDING,0.2s:ALLOW`: the plane's record of states and decisions.
    fn on_record(&self) -> Result<Vec<Moment>, String> {
        let moment = |entry: Arc<str>| {
            let (at, what) = entry.split_once(':').ok_or("no time and state")?;
            let state = JobState::from_name(what).map(Happened::Became);
            let what = state.or_else(|| Decision::from_name(what).map(Happened::Decided));
            Ok(Moment {
                at: instant(at)?,
                what: what.ok_or("no such state or decision")?,
            })
        };
        let entries: Vec<Arc<str>> = self.list("record");
        entries.into_iter().map(moment).collect()
    }

    fn told_request(&self, told: Option<Timestamp>) -> Result<Request, String> {
        let deadline = match self.value("deadline") {
            Some(after) => instant(after)?.since(START).as_millis(),
            None => 0,
        };
        Ok(Request {
            topic: self.optional("topic"),
            tenant: self.optional("tenant"),
            principal: self.optional("principal"),
            actor: self.optional("actor"),
            actor_type: ActorType::Service,
            capability: self.optional("capability"),
            context_ptr: self.optional("context"),
            workflow_id: self.optional("workflow"),
            step_index: self.number("step")?.unwrap_or(0),
            parent: self.value("parent").map(JobId::from),
            risk_tags: self.list("risk").into(),
            labels: self
                .labels()
                .into_iter()
                .map(|(key, value)| (Arc::from(key), Arc::from(value)))
                .collect(),
            deadline_ms: i64::try_from(deadline).unwrap_or(i64::MAX),
            undo: self.value("undo").map(|topic| {
                Arc::new(Undo {
                    topic: Arc::from(topic),
                    ..Undo::default()
                })
            }),
            sent_at: told.or(Some(self.at)),
            complete: self.value("partial").is_none(),
            ..Request::default()
        })
    }

    /// `rules deny-pii:DENY,allow:ALLOW log=allow:ALLOW:500 snapshots=s2,s1 breaker=open
    /// failures=3 tries=30s answers=no p99=6 fails=open broken="line 3"`.
    fn rules(&self, rules: &str) -> Result<PolicyFact, String> {
        let decision = |name: &str| Decision::read(name).ok_or(format!("no decision `{name}`"));
        let mut fact = PolicyFact {
            rules: (!rules.is_empty()).then(Vec::new),
            unmatched: self.value("unmatched").and_then(Decision::read),
            snapshots: self.list("snapshots"),
            ..PolicyFact::default()
        };
        for rule in rules.split(',').filter(|it| !it.is_empty()) {
            let (id, does) = rule.split_once(':').ok_or("a rule is id:DECISION")?;
            fact.rules.get_or_insert_default().push(Rule {
                id: Arc::from(id),
                decision: Some(decision(does)?),
                reason: None,
            });
        }
        if let Some(log) = self.value("log") {
            let mut kept = Log::default();
            for line in log.split(',') {
                let parts: Vec<&str> = line.split(':').collect();
                let [id, does, count] = parts.as_slice() else {
                    return Err("a log is rule:DECISION:count".to_owned());
                };
                let count: u64 = count.parse().map_err(|_| "no count")?;
                kept.counts.entry(text(id)).or_default()[decision(does)? as usize] += count;
                kept.read += usize::try_from(count).unwrap_or(0);
            }
            kept.since = self.value("since").map(instant).transpose()?;
            fact.log = Some(kept);
        }
        let millis = |key| -> Result<Option<Elapsed>, String> {
            let ms = self.number(key)?;
            Ok(ms
                .and_then(|ms| u64::try_from(ms).ok())
                .map(Elapsed::from_millis))
        };
        let count = |key| -> Result<Option<u64>, String> {
            Ok(self.number(key)?.and_then(|it| u64::try_from(it).ok()))
        };
        fact.kernel = self.value("answers").map(|answers| Kernel {
            answers: Some(answers == "yes"),
            error: self.optional("error"),
            address: self.optional("address"),
            fails_open: self.value("fails").map(|it| it == "open"),
            broken: self.optional("broken"),
            ..Kernel::default()
        });
        if let Some(kernel) = &mut fact.kernel {
            kernel.p50 = millis("p50")?;
            kernel.p99 = millis("p99")?;
            if let Some(state) = self.value("breaker") {
                kernel.breaker = Some(Breaker {
                    state: Arc::from(state),
                    failures: count("failures")?,
                    threshold: Some(3),
                    tries_at: self.value("tries").map(instant).transpose()?,
                });
            }
        }
        Ok(fact)
    }

    /// What a candidate would change: `flips=WAS:WOULD_BE:rule:job+job:reason:tag+tag,…`.
    fn tried(&self, file: &str) -> Result<WhatIf, String> {
        let count = |key| -> Result<u64, String> {
            Ok(u64::try_from(self.number(key)?.unwrap_or(0)).unwrap_or(0))
        };
        let flips = self.list("flips");
        let flips = flips.iter().map(|flip| {
            let parts: Vec<&str> = flip.split(':').collect();
            let [was, would_be, rule, jobs, reason, tags] = parts.as_slice() else {
                return Err("a flip is WAS:WOULD_BE:rule:jobs:reason:tags".to_owned());
            };
            let several = |names: &str| -> Vec<String> {
                let names = names.split('+').filter(|name| !name.is_empty());
                names.map(str::to_owned).collect()
            };
            Ok(Flip {
                was: Decision::read(was),
                would_be: Decision::read(would_be),
                rule_id: text(rule),
                reason: text(reason.trim_matches('"')),
                jobs: several(jobs).into_iter().map(JobId::from).collect(),
                tags: several(tags).into_iter().map(Arc::from).collect(),
            })
        });
        let flips = flips.collect::<Result<Vec<_>, String>>()?;
        let unknown = count("unknown")?;
        let stays = count("stays")?;
        let flipped: u64 = flips.iter().map(|flip| flip.jobs.len() as u64).sum();
        Ok(WhatIf {
            file: Arc::from(file),
            considered: stays + unknown + flipped,
            stays,
            unknown,
            without_verdict: count("unjudged")?,
            flips,
        })
    }

    fn letter(&self, job: &str, status: &str) -> Result<LettersFact, String> {
        let told = self.value("told").map(instant).transpose()?;
        let letter = DeadLetter {
            job: JobId::from(job),
            topic: self.optional("topic"),
            status: Some(JobStatus::from_name(status).ok_or("no such status")?),
            reason_code: self.optional("code"),
            reason: self.optional("reason"),
            last_state: self.value("last").and_then(JobState::from_name),
            attempts: self
                .number("attempts")?
                .and_then(|it| u32::try_from(it).ok()),
            at: told.unwrap_or(self.at),
        };
        Ok(LettersFact {
            letters: vec![letter],
            retry_copies: match self.value("drops") {
                Some(_) => Some(false),
                None => Some(true),
            },
            more: false,
        })
    }

    /// Steps are `UNDOES:JOB:STATE`, with `:VERDICT` behind; without a job nothing is
    /// between the colons.
    fn rollback(&self, of: &str, alone: &str) -> Result<RollbackFact, String> {
        let step = |text: &Arc<str>| -> Result<ToldStep, String> {
            let parts: Vec<&str> = text.split(':').collect();
            let &[undoes, job, state, ref verdict @ ..] = parts.as_slice() else {
                return Err(format!("`{text}` is no step"));
            };
            let state = match state {
                "WAITING" => StepState::WillRun,
                "NOT_RUN" => StepState::NotRun,
                "RECORDED" => StepState::Armed,
                "REFUSED" => StepState::Refused,
                "SKIPPED" => StepState::Skipped,
                state => StepState::Job(JobState::from_name(state)),
            };
            Ok(ToldStep {
                undoes: Some(JobId::from(undoes)),
                job: (!job.is_empty()).then(|| JobId::from(job)),
                topic: Some(Arc::from(format!("job.undo_{undoes}"))),
                idempotency_key: Some(Arc::from(format!("{undoes}/undo"))),
                state,
                decision: verdict.first().and_then(|name| Decision::read(name)),
            })
        };
        Ok(RollbackFact {
            of: match alone {
                "alone" => Undone::Job(JobId::from(of)),
                _ => Undone::Workflow(Arc::from(of)),
            },
            failed: self.value("failed").map(JobId::from),
            started: self.value("started").map(instant).transpose()?,
            steps: self
                .list("steps")
                .iter()
                .map(step)
                .collect::<Result<_, _>>()?,
        })
    }

    fn approval(&self, job: &str) -> Result<ApprovalFact, String> {
        let mut fact = self.fact(job, "APPROVAL_REQUIRED")?;
        let status = self.value("status").unwrap_or("pending");
        let status = ApprovalStatus::read(status).ok_or("no such status")?;
        if status != ApprovalStatus::Pending {
            fact.state = None;
        }
        Ok(ApprovalFact {
            job: fact,
            stands: None,
            status,
            job_hash: self.optional("hash"),
            own_hash: self.optional("own").or_else(|| self.optional("hash")),
            approval_ref: text(job),
            submitted_by: self.optional("submitted"),
            resolved_by: self.optional("who"),
            resolved_comment: self.optional("note"),
            resolved_at: (status != ApprovalStatus::Pending).then_some(self.at),
            not_actionable: None,
        })
    }

    fn payload(&self, job: &str) -> Payload {
        let body = self.value("text").unwrap_or("{}").replace("\\n", "\n");
        Payload {
            job: JobId::from(job),
            pointer: Arc::from(self.value("pointer").unwrap_or("redis://ctx:j")),
            read_at: self.at,
            size: Some(body.len() as u64),
            sha256: self.optional("sha256"),
            content: match self.value("is") {
                Some("missing") => Content::Missing,
                Some("binary") => Content::Binary(Arc::from(body.as_bytes())),
                Some("long") => Content::TooLong { readable: 2 },
                Some(why) => Content::Unreadable(Arc::from(why)),
                None => Content::Text {
                    lines: u32::try_from(body.lines().count()).unwrap_or(u32::MAX),
                    text: Arc::from(body),
                    secrets: Arc::default(),
                },
            },
        }
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
