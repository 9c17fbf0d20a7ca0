//! A script played through ledger and plan, and the story that it makes.
//!
//! A script is a row of `<seconds>s <event>` between bars. Policy is played by the
//! third part of a topic: `job.a.allow`, `.deny`, `.hold`, `.throttle`, `.limit`
//! (two retries less, one job at a time, 60 s), `.once` (no retry). A fourth part
//! `limit` puts the limits on what the third one says.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::super::saved::Saved;
use super::super::*;
use crate::control_plane::kernel::{
    BudgetConstraints, Constraints, Decision, KernelError, Remediation, Verdict,
};
use crate::control_plane::scheduler::placement::Routes;
use crate::control_plane::scheduler::plan::plan;
use crate::wire::packet::{
    Budget, Compensation, DispatchIdentity, ErrorCode, JobMetadata, JobProgress, JobStatus,
    WireEnum as _,
};

pub(super) struct Play {
    pub(super) ledger: Ledger,
    pub(super) log: String,
    pub(super) snapshot: String,
    pub(super) kernel_up: bool,
    pub(super) bus_up: bool,
    /// Whether the bus neither takes nor refuses what it is given.
    bus_hangs: bool,
    pub(super) now: Timestamp,
    undos: BTreeMap<String, String>,
    kept: Option<Kept>,
}

/// Runs a script and compares what was done and how the jobs stand, line by line.
#[track_caller]
pub(super) fn check(script: &str, expected: &[&str]) {
    let compare = |story: &str, what: &str| {
        let got: Vec<_> = story.lines().collect();
        assert_eq!(got, expected, "{what}\n{story}");
    };
    compare(&run(script).story(), "in one life");
    // The record is all there is: whoever takes it over, at any moment, goes on alike.
    compare(&play(script, true).story(), "taken over after each event");
}

/// As [`check`], where what matters is known to a process alone.
#[track_caller]
pub(super) fn check_in_one_life(script: &str, expected: &[&str]) {
    let story = run(script).story();
    let got: Vec<_> = story.lines().collect();
    assert_eq!(got, expected, "\n{story}");
}

pub(super) fn run(script: &str) -> Play {
    play(script, false)
}

pub(super) fn play(script: &str, taken_over: bool) -> Play {
    let mut play = Play {
        kept: taken_over.then(Kept::default),
        ledger: Ledger::new(100, 7).keeping(),
        log: String::new(),
        snapshot: "v1".to_owned(),
        kernel_up: true,
        bus_up: true,
        bus_hangs: false,
        now: Timestamp::from_millis(0),
        undos: BTreeMap::new(),
    };
    for line in script.split('|').map(str::trim) {
        let (at, event) = line.split_once("s ").expect("a time and an event");
        let seconds: f64 = at.parse().expect("seconds");
        let until = Timestamp::from_millis((seconds * 1_000.0) as i64);
        // Alarms between two events ring at their own time.
        while let Some(alarm) = play.ledger.next_alarm().filter(|at| *at < until) {
            play.now = alarm.max(play.now);
            play.settle();
        }
        play.now = until;
        play.event(event);
        play.settle();
        play.take_over();
    }
    play
}

/// The documents of a ledger, by their names.
#[derive(Default)]
struct Kept {
    jobs: BTreeMap<JobId, String>,
    stacks: BTreeMap<String, String>,
}

impl Play {
    /// Writes down what changed, and goes on with a ledger that has read it: one of a
    /// process that hears the workers already, and is told of the policy only then.
    fn take_over(&mut self) {
        let Some(saved) = self.write_down() else {
            return;
        };
        let snapshot = self.ledger.snapshot.take();
        self.ledger = self.ledger.restored(saved, 1, self.now);
        if let Some(snapshot) = snapshot {
            self.ledger.policy_changed(&snapshot, self.now);
        }
    }

    /// Ends, and begins anew with the record alone: nobody was heard and no policy told.
    pub(super) fn restart(&mut self) {
        self.kept.get_or_insert_default();
        let saved = self.write_down().expect("it is kept");
        let fresh = Ledger::new(100, 7).keeping();
        self.ledger = fresh.restored(saved, 1, self.now);
    }

    /// Writes down what changed, and reads all of it.
    fn write_down(&mut self) -> Option<Saved> {
        let kept = self.kept.as_mut()?;
        let changes = self.ledger.take_changes();
        for job in &changes.jobs {
            kept.jobs.insert(job.job.id.clone(), job.document());
        }
        for stack in &changes.stacks {
            match stack.document() {
                Some(document) => kept.stacks.insert(stack.name(), document),
                None => kept.stacks.remove(&stack.name()),
            };
        }
        for (id, _) in &changes.forgotten {
            kept.jobs.remove(id);
        }
        let mut saved = Saved::default();
        for document in kept.jobs.values() {
            saved
                .add_job(document.as_bytes())
                .expect("what was written");
        }
        for document in kept.stacks.values() {
            saved
                .add_stack(document.as_bytes())
                .expect("what was written");
        }
        Some(saved)
    }

    fn say(&mut self, what: &str) {
        let ms = self.now.as_millis();
        let at = if ms % 1_000 == 0 {
            format!("{}s", ms / 1_000)
        } else {
            format!("{}.{}s", ms / 1_000, ms % 1_000 / 100)
        };
        writeln!(self.log, "{at} {what}").expect("a string takes all");
    }

    /// A rollback's job by the order of its submission, for its id is random.
    fn name(&mut self, id: &JobId) -> String {
        if let Some(name) = self.undos.get(id.as_str()) {
            return name.clone();
        }
        let Some(random) = id.as_str().strip_prefix("comp-") else {
            return id.to_string();
        };
        let next = format!("undo{}", self.undos.len() + 1);
        self.undos.entry(random.to_owned()).or_insert(next).clone()
    }

    pub(super) fn id(&self, name: &str) -> JobId {
        self.undos
            .iter()
            .find(|(_, known)| *known == name)
            .map_or_else(
                || JobId::from(name),
                |(random, _)| match random.contains("-retry-") {
                    true => JobId::from(random.as_str()),
                    false => JobId::from(format!("comp-{random}")),
                },
            )
    }

    fn begin(&mut self, request: JobRequest, via: Via) {
        let submission = Submission {
            request,
            via,
            ..Submission::default()
        };
        self.ledger.submit(submission, self.now).expect("it is new");
    }

    pub(super) fn settle(&mut self) {
        loop {
            let steps = plan(&mut self.ledger, &Routes::default(), self.now, 1_000);
            if steps.is_empty() {
                return;
            }
            for step in steps {
                self.act(step);
            }
        }
    }

    fn act(&mut self, step: Step) {
        match step {
            Step::Ask {
                job,
                ticket,
                question,
            } => {
                let answer = self.verdict(&question.topic);
                self.ledger.answered(&job, ticket, answer, self.now);
            }
            Step::Dispatch {
                job,
                attempt,
                worker,
                ..
            } => {
                let name = self.name(&job);
                if self.bus_hangs {
                    self.say(&format!("hands {name}#{attempt} to a bus that hangs"));
                } else if self.bus_up {
                    self.say(&format!("dispatch {name}#{attempt} {worker}"));
                    self.ledger.dispatched(&job, attempt, self.now);
                } else {
                    let why = "the bus is away";
                    self.ledger.dispatch_failed(&job, attempt, why, self.now);
                }
            }
            Step::Submit { request, trace } => {
                let name = self.name(&request.job_id);
                self.say(&format!(
                    "submit {name} {} undoes {}",
                    request.topic, request.parent_job_id
                ));
                let announced = Submission {
                    request: (*request).clone(),
                    trace,
                    via: Via::Bus,
                    ..Submission::default()
                };
                self.ledger.submit(announced, self.now).expect("known");
            }
            Step::DeadLetter(letter) => {
                let name = self.name(&letter.job_id);
                self.say(&format!(
                    "dlq {name} {} {}",
                    letter.status.name(),
                    letter.reason_code
                ));
            }
            Step::StoreDeadLetter(_) | Step::StoreContext { .. } => {}
            Step::Result { result, .. } => {
                let name = self.name(&result.job_id);
                self.say(&format!("result {name} {}", result.status.name()));
            }
            Step::Cancel(cancel) => {
                let said = format!("cancel {}", self.name(&cancel.job_id));
                // Whoever takes over says it again: it ends what has ended already.
                let again = self.kept.is_some() && self.log.contains(&format!(" {said}\n"));
                if !again {
                    self.say(&said);
                }
            }
            Step::Alert(alert) => self.say(&format!("alert {}", alert.code)),
        }
    }

    pub(super) fn verdict(&self, topic: &str) -> Result<Verdict, KernelError> {
        if !self.kernel_up {
            return Err(KernelError::TimedOut);
        }
        let rule = topic.split('.').nth(2).unwrap_or("allow");
        if rule == "odd" {
            return Err(KernelError::NotUnderstood("an odd answer".to_owned()));
        }
        let decision = match rule {
            "deny" => Decision::Deny,
            "hold" => Decision::RequireApproval,
            "throttle" => Decision::Throttle,
            "limit" | "once" => Decision::AllowWithConstraints,
            _ => Decision::Allow,
        };
        Ok(Verdict {
            decision,
            rule_id: Some(rule.to_owned()),
            reason: format!("rule {rule}"),
            snapshot: self.snapshot.clone(),
            constraints: (rule == "once" || topic.ends_with(".limit")).then(|| Constraints {
                budgets: Some(BudgetConstraints {
                    max_runtime_ms: Some(60_000),
                    max_retries: Some(i32::from(rule != "once")),
                    max_concurrent_jobs: Some(1),
                    ..BudgetConstraints::default()
                }),
                ..Constraints::default()
            }),
            remediations: vec![Remediation {
                id: "ro".to_owned(),
                replacement_topic: "job.a.allow".to_owned(),
                add_labels: [("mode".to_owned(), "read".to_owned())].into(),
                remove_labels: vec!["force".to_owned()],
                ..Remediation::default()
            }],
        })
    }

    pub(super) fn event(&mut self, event: &str) {
        let mut words = event.split_whitespace();
        let verb = words.next().expect("a verb");
        let words: Vec<_> = words.collect();
        let word = |i: usize| words.get(i).copied().unwrap_or_default();
        let option = |key: &str| {
            words
                .iter()
                .find_map(|word| word.split_once('=').filter(|(name, _)| *name == key))
                .map(|(_, value)| value)
        };
        let now = self.now;
        let id = self.id(word(0));
        match verb {
            "beat" => {
                let (worker, pool) = word(0).split_once('@').expect("worker@pool");
                let (active, max) = word(1).split_once('/').expect("active/max");
                let heartbeat = Heartbeat {
                    worker_id: WorkerId::from(worker),
                    pool: PoolName::from(pool),
                    active_jobs: active.parse().expect("a number"),
                    max_parallel_jobs: max.parse().expect("a number"),
                    capabilities: listed(option("can")),
                    labels: option("where").and_then(label).into_iter().collect(),
                    ..Heartbeat::default()
                };
                self.ledger.heartbeat(heartbeat, now);
            }
            "submit" => {
                let request = request(word(0), word(1), option);
                let via = match option("via") {
                    Some("http") => Via::Gateway,
                    _ => Via::Bus,
                };
                let submission = Submission {
                    request,
                    trace: TraceId::default(),
                    via,
                    ..Submission::default()
                };
                match self.ledger.submit(submission, now) {
                    Ok(submitted) if submitted.repeated => {
                        self.say(&format!("known as {}", submitted.job_id));
                    }
                    Ok(_) => {}
                    Err(error) => self.say(&format!("refused {}", error.code())),
                }
            }
            "progress" => {
                let progress = JobProgress {
                    job_id: id,
                    percent: word(1).parse().expect("a number"),
                    dispatch: option("attempt").map(attempt),
                    ..JobProgress::default()
                };
                let sent = option("sent").map(|s| s.parse::<i64>().expect("seconds"));
                let sent = sent.map(|s| Timestamp::from_millis(s * 1_000));
                let heard = self.ledger.progress(&progress, sent.or(Some(now)), now);
                if heard != Heard::Taken {
                    self.say(&format!("{heard:?}").to_lowercase());
                }
            }
            "succeed" | "fail" | "fatal" | "retryable" | "stopped" | "running" | "refuse"
            | "overrun" | "odd" => {
                let (status, code) = match verb {
                    "succeed" => (JobStatus::Succeeded, ErrorCode::Unspecified),
                    "fail" => (JobStatus::Failed, ErrorCode::JobInvalidInput),
                    "fatal" => (JobStatus::FailedFatal, ErrorCode::JobTimeout),
                    "retryable" => (JobStatus::FailedRetryable, ErrorCode::JobWorkerUnavailable),
                    "running" => (JobStatus::Running, ErrorCode::Unspecified),
                    "refuse" => (JobStatus::Denied, ErrorCode::Unspecified),
                    "overrun" => (JobStatus::Timeout, ErrorCode::Unspecified),
                    "odd" => (JobStatus::Unknown(99), ErrorCode::Unspecified),
                    _ => (JobStatus::Cancelled, ErrorCode::Unspecified),
                };
                let worker = option("worker").map(WorkerId::from).or_else(|| {
                    let job = self.ledger.job(&id)?;
                    job.worker.clone()
                });
                let result = JobResult {
                    job_id: id,
                    status,
                    error_code_enum: code,
                    worker_id: worker.unwrap_or_default(),
                    dispatch: option("attempt").map(attempt),
                    ..JobResult::default()
                };
                let heard = self.ledger.result(result, now);
                if heard != Heard::Taken {
                    self.say(&format!("{heard:?}").to_lowercase());
                }
            }
            "cancel" => {
                let cancel = JobCancel {
                    job_id: id,
                    requested_by: "ada".to_owned(),
                    ..JobCancel::default()
                };
                let heard = self.ledger.cancel_heard(&cancel, now);
                if heard != Heard::Taken {
                    self.say(&format!("{heard:?}").to_lowercase());
                }
            }
            "halt" => match self.ledger.cancel(&id, "ada", "", now) {
                Ok(cancelled) => self.say(&format!("cancelled a {} job", cancelled.was.name())),
                Err(error) => self.say(error.code()),
            },
            "approve" => {
                let snapshot = self.snapshot.clone();
                let yes = Yes {
                    by: "ada",
                    note: "go",
                    current_snapshot: &snapshot,
                    expected: Expected {
                        job_hash: option("hash").map(str::to_owned),
                        policy_snapshot: option("snapshot").map(str::to_owned),
                        context_sha256: option("saw").map(str::to_owned),
                    },
                    context_sha256: option("stored"),
                    ..Yes::default()
                };
                match self.ledger.approve(&id, &yes, now) {
                    Ok(approved) => {
                        self.say(&format!("approved {}", word(0)));
                        if option("announce") != Some("no") {
                            self.act(Step::Submit {
                                trace: approved.trace,
                                request: approved.request,
                            });
                        }
                    }
                    Err(error) => self.say(error.code()),
                }
            }
            "remedy" => match self.ledger.remedied(&id, word(1)) {
                Ok(again) => {
                    let request = again.request;
                    self.say(&format!("remedied as {}", request.topic));
                    self.begin(request, Via::Gateway);
                }
                Err(error) => self.say(error.code()),
            },
            "again" => match self.ledger.once_more(&id) {
                Ok(again) => {
                    let new = again.request.job_id.clone();
                    self.say(&format!("tried again with {:?}", again.request.labels));
                    self.begin(again.request, Via::Retry);
                    self.ledger.replaced(&id, &new).expect("it was there");
                    self.undos
                        .insert(new.to_string(), format!("{}again", word(0)));
                }
                Err(error) => self.say(error.code()),
            },
            "reject" => match self.ledger.reject(&id, ("ada", ""), "not today", "", now) {
                Ok(letter) => self.say(&format!("rejected {}", letter.reason_code)),
                Err(error) => self.say(error.code()),
            },
            "tamper" => {
                let seq = self.ledger.seq(&id).expect("known");
                let request = Arc::make_mut(&mut self.ledger.at_mut(seq).request);
                request.context_ptr = "redis://ctx:other".to_owned();
            }
            "policy" => {
                self.snapshot = word(0).to_owned();
                self.ledger.policy_changed(word(0), now);
            }
            "restart" => self.restart(),
            "kernel" => self.kernel_up = word(0) == "up",
            "bus" => {
                self.bus_up = word(0) == "up";
                self.bus_hangs = word(0) == "hangs";
            }
            "line" => self.ledger.line_is_back(now),
            "tick" => {}
            other => panic!("no event {other}"),
        }
    }

    pub(super) fn story(mut self) -> String {
        let mut ids: Vec<_> = self
            .ledger
            .jobs
            .values()
            .map(|job| job.id.clone())
            .collect();
        ids.sort();
        let mut jobs = Vec::new();
        for id in ids {
            let name = self.name(&id);
            let job = self.ledger.job(&id).expect("known");
            let mut line = format!("{name} {}", job.state.name());
            if let Some(waiting_on) = job.waiting_on {
                write!(line, " waits for {}", waiting_on.name()).expect("written");
            }
            if let Some(worker) = &job.worker {
                write!(line, " {worker}").expect("written");
            }
            if let Some(progress) = &job.progress {
                write!(line, " {}%", progress.percent).expect("written");
            }
            if !job.error_code.is_empty() {
                write!(line, " {}", job.error_code).expect("written");
            }
            jobs.push(line);
        }
        jobs.sort();
        self.log + &jobs.join("\n")
    }
}

/// `gpu,net` as a list.
fn listed(words: Option<&str>) -> Vec<String> {
    let words = words.into_iter().flat_map(|words| words.split(','));
    words.map(str::to_owned).collect()
}

/// `node.zone:eu` as a label.
fn label(written: &str) -> Option<(String, String)> {
    let (key, value) = written.split_once(':')?;
    Some((key.to_owned(), value.to_owned()))
}

pub(super) fn attempt(n: &str) -> DispatchIdentity {
    DispatchIdentity {
        attempt: n.parse().expect("a number"),
        ..DispatchIdentity::default()
    }
}

pub(super) fn request<'a>(
    id: &str,
    topic: &str,
    option: impl Fn(&str) -> Option<&'a str>,
) -> JobRequest {
    JobRequest {
        job_id: JobId::from(id),
        topic: topic.to_owned(),
        workflow_id: option("wf").unwrap_or_default().to_owned(),
        parent_job_id: JobId::from(option("parent").unwrap_or_default()),
        tenant_id: option("tenant").unwrap_or_default().to_owned(),
        labels: option("label")
            .map(|label| (label.to_owned(), "true".to_owned()))
            .into_iter()
            .chain(option("where").and_then(label))
            .collect(),
        budget: option("deadline").map(|ms| Budget {
            deadline_ms: ms.parse().expect("a number"),
            ..Budget::default()
        }),
        meta: option("key").or(option("requires")).map(|_| JobMetadata {
            idempotency_key: option("key").unwrap_or_default().to_owned(),
            requires: listed(option("requires")),
            ..JobMetadata::default()
        }),
        compensation: option("undo").map(|topic| {
            Box::new(Compensation {
                topic: topic.to_owned(),
                context_ptr: format!("redis://ctx:{id}:undo"),
                meta: option("undokey").map(|key| JobMetadata {
                    idempotency_key: key.to_owned(),
                    ..JobMetadata::default()
                }),
                ..Compensation::default()
            })
        }),
        ..JobRequest::default()
    }
}
