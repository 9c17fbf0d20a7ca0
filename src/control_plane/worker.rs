//! The workers of the embedded plane: they take jobs, report, and fail as scripted.
//!
//! [`Fleet`] is all of them as one pure step function: packets, incidents and the
//! time go in, packets and stored results come out. What a worker does with one
//! request is [`behavior`]'s; [`run`] is the thin shell that connects a fleet to a
//! bus. What befalls workers befalls the scenario's own jobs alone: a job that
//! somebody submitted runs to its end wherever it is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::bus::{BusError, Subject};
use crate::control_plane::scenario::{Change, Mishap, Pool, Scenario, Span, WorkerIncident};
use crate::ids::{JobId, SenderId, TraceId, WorkerId};
use crate::time::{Elapsed, Timestamp};
use crate::wire;
use crate::wire::packet::{
    Body, ComponentRole, Handshake, Heartbeat, JobCancel, JobProgress, JobRequest, JobResult,
    JobStatus, PROTOCOL_VERSION, Packet,
};

pub mod behavior;
mod run;
mod task;

pub use run::run;
use task::{Report, Task};

/// How often a worker beats.
pub const HEARTBEAT_EVERY: Elapsed = Elapsed::from_secs(2);
/// First beats are this far apart, so that a fleet does not beat as one.
const FIRST_BEATS_APART: Elapsed = Elapsed::from_millis(7);
/// Ended jobs that are remembered, so that a repeated dispatch is not a second run.
const REMEMBERED_JOBS: usize = 16_384;
/// A worker refuses a job of the scenario beyond this many times its slots.
const OVERCOMMIT: usize = 4;

/// What a fleet wants done.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are packets, and each is gone at once"
)]
pub enum Out {
    /// A packet is published.
    Publish {
        /// Where.
        subject: Subject,
        /// What.
        packet: Packet,
    },
    /// A result is stored, before the packet that points at it.
    Store {
        /// The key.
        key: String,
        /// The bytes.
        value: Bytes,
    },
}

/// All workers of a scenario.
#[derive(Clone, Debug)]
pub struct Fleet {
    scenario: Arc<Scenario>,
    seed: u64,
    workers: Vec<Worker>,
    by_id: BTreeMap<WorkerId, usize>,
    /// Every worker that has something to do, under the instant of it.
    agenda: BTreeSet<(Timestamp, usize)>,
    past: BTreeMap<JobId, Past>,
    /// The keys of `past`, oldest first.
    past_order: VecDeque<JobId>,
}

/// What is remembered about a job that is not running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Past {
    Ended,
    /// So many attempts ended FAILED_RETRYABLE; another may come.
    Failed(u32),
}

/// One worker.
#[derive(Clone, Debug)]
struct Worker {
    id: WorkerId,
    pool: usize,
    region: String,
    tasks: BTreeMap<JobId, Task>,
    next_beat: Timestamp,
    beats: u64,
    /// Its introduction is still to be sent.
    new: bool,
    /// All work was counted up to here.
    worked_until: Timestamp,
    /// Where it stands in the agenda.
    noted: Option<Timestamp>,
    percent: u64,
    memo: String,
    plight: Plight,
}

/// The mishaps that hold now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plight {
    dead: bool,
    silent: bool,
    stalled: bool,
    draining: bool,
    ignores_cancels: bool,
    claims: Option<u32>,
    /// Work takes this many times as long, in thousandths.
    slow: u32,
}

impl Plight {
    const NONE: Self = Self {
        dead: false,
        silent: false,
        stalled: false,
        draining: false,
        ignores_cancels: false,
        claims: None,
        slow: 1_000,
    };
}

impl Fleet {
    /// The workers of `scenario`, idle, from `start` on. `seed` moves their loads
    /// and the durations of jobs that bring no script.
    pub fn new(scenario: Arc<Scenario>, seed: u64, start: Timestamp) -> Self {
        let mut workers = Vec::new();
        let mut first_beat = start;
        for (pool, members) in scenario.pools.iter().enumerate() {
            for (n, id) in members.worker_ids().enumerate() {
                workers.push(Worker {
                    id,
                    pool,
                    region: members.regions[n % members.regions.len()].clone(),
                    tasks: BTreeMap::new(),
                    next_beat: first_beat,
                    beats: 0,
                    new: true,
                    worked_until: start,
                    noted: None,
                    percent: 0,
                    memo: String::new(),
                    plight: Plight::NONE,
                });
                let offset = first_beat.plus(FIRST_BEATS_APART).since(start).as_millis();
                let within = offset % HEARTBEAT_EVERY.as_millis();
                first_beat = start.plus(Elapsed::from_millis(within));
            }
        }
        let mut fleet = Self {
            by_id: workers
                .iter()
                .enumerate()
                .map(|(i, worker)| (worker.id.clone(), i))
                .collect(),
            agenda: BTreeSet::new(),
            past: BTreeMap::new(),
            past_order: VecDeque::new(),
            scenario,
            seed,
            workers,
        };
        for i in 0..fleet.workers.len() {
            fleet.note(i);
        }
        fleet
    }

    /// The workers, in the order of the scenario.
    pub fn worker_ids(&self) -> impl Iterator<Item = &WorkerId> {
        self.workers.iter().map(|worker| &worker.id)
    }

    /// Where the fleet must listen: the subject of each worker's own jobs.
    ///
    /// # Errors
    /// When a worker's name cannot be a token of a subject, which the scenario's
    /// format excludes.
    pub fn job_subjects(&self) -> Result<Vec<Subject>, BusError> {
        self.worker_ids().map(wire::worker_jobs).collect()
    }

    /// When the fleet has something to do next; `None` while nobody lives.
    pub fn next_at(&self) -> Option<Timestamp> {
        self.agenda.first().map(|(at, _)| *at)
    }

    /// What workers do by themselves up to `now`, in order of time.
    pub fn due(&mut self, now: Timestamp) -> Vec<Out> {
        let mut out = Vec::new();
        while let Some((at, i)) = self.agenda.first().copied() {
            if at > now {
                break;
            }
            self.agenda.remove(&(at, i));
            self.workers[i].noted = None;
            self.act(i, at, now, &mut out);
            self.note(i);
        }
        out
    }

    /// A request on `worker.<worker>.jobs`. Whoever is not of this fleet is ignored.
    pub fn dispatched(&mut self, worker: &WorkerId, packet: &Packet, now: Timestamp) -> Vec<Out> {
        let (Some(&i), Body::JobRequest(request)) = (self.by_id.get(worker), &packet.body) else {
            return Vec::new();
        };
        let mut out = self.due(now);
        self.take(i, request, &packet.trace, now, &mut out);
        self.note(i);
        out
    }

    /// A wish on [`wire::CANCEL`], heard by every worker.
    pub fn cancelled(&mut self, cancel: &JobCancel, now: Timestamp) -> Vec<Out> {
        let mut out = self.due(now);
        for i in 0..self.workers.len() {
            let worker = &mut self.workers[i];
            let Some(task) = worker.tasks.get(&cancel.job_id) else {
                continue;
            };
            let plight = worker.plight;
            let deaf = plight.ignores_cancels || plight.stalled || plight.dead;
            if deaf && task.behavior.scripted {
                continue;
            }
            worker.work_until(now);
            if let Some(task) = worker.tasks.remove(&cancel.job_id) {
                let result = JobResult {
                    status: JobStatus::Cancelled,
                    error_code: "cancelled".to_owned(),
                    error_message: cancel.reason.clone(),
                    ..task.result(&worker.id, now)
                };
                out.push(publish_result(worker, &task, result, now));
                self.remember(&cancel.job_id, Past::Ended);
            }
            self.note(i);
        }
        out
    }

    /// Something befalls workers, or is over.
    pub fn befall(&mut self, incident: &WorkerIncident, now: Timestamp) -> Vec<Out> {
        let mut out = self.due(now);
        for id in incident.workers.iter() {
            let Some(&i) = self.by_id.get(id) else {
                continue;
            };
            let worker = &mut self.workers[i];
            worker.work_until(now);
            worker.befall(incident.change, now);
            self.act(i, now, now, &mut out);
            self.note(i);
        }
        out
    }

    fn note(&mut self, i: usize) {
        let worker = &mut self.workers[i];
        let next = worker.next_at();
        if worker.noted != next {
            if let Some(old) = worker.noted {
                self.agenda.remove(&(old, i));
            }
            if let Some(at) = next {
                self.agenda.insert((at, i));
            }
            worker.noted = next;
        }
    }

    /// Everything of one worker that has come by `at`.
    fn act(&mut self, i: usize, at: Timestamp, now: Timestamp, out: &mut Vec<Out>) {
        let worker = &mut self.workers[i];
        worker.work_until(at);
        let ids: Vec<JobId> = worker.tasks.keys().cloned().collect();
        for id in ids {
            self.report(i, &id, at, out);
        }
        let worker = &mut self.workers[i];
        if worker.plight.dead || worker.next_beat > at {
            return;
        }
        let pool = &self.scenario.pools[worker.pool];
        if !worker.plight.silent {
            if worker.new {
                worker.new = false;
                out.push(worker.handshake(pool, at));
            }
            out.push(worker.beat(pool, self.seed, at));
        }
        // After a suspension one beat is enough for all that were missed.
        let next = at.plus(HEARTBEAT_EVERY);
        worker.next_beat = if now.since(next) > HEARTBEAT_EVERY {
            now
        } else {
            next
        };
    }

    fn report(&mut self, i: usize, id: &JobId, at: Timestamp, out: &mut Vec<Out>) {
        loop {
            let worker = &mut self.workers[i];
            let Some(task) = worker.tasks.get_mut(id) else {
                return;
            };
            match task.report() {
                None => return,
                Some(Report::Progress {
                    percent,
                    step,
                    message,
                }) => {
                    let progress = JobProgress {
                        job_id: id.clone(),
                        step_id: format!("step-{}", step + 1),
                        percent: i32::try_from(percent).unwrap_or(100),
                        message: message.clone(),
                        status: JobStatus::Running,
                        ..JobProgress::default()
                    };
                    let (trace, body) = (task.trace.clone(), Body::JobProgress(Box::new(progress)));
                    let packet = worker.packet(trace, at, body);
                    out.push(publish(wire::PROGRESS, packet));
                    worker.percent = percent;
                    worker.memo = message;
                }
                Some(Report::End) => {
                    let Some(task) = worker.tasks.remove(id) else {
                        return;
                    };
                    if let Some((key, value)) = task.result_payload(&worker.id, at) {
                        out.push(Out::Store { key, value });
                    }
                    let result = task.result(&worker.id, at);
                    let past = match (result.status, self.past.get(id)) {
                        (JobStatus::FailedRetryable, Some(Past::Failed(n))) => Past::Failed(n + 1),
                        (JobStatus::FailedRetryable, _) => Past::Failed(1),
                        _ => Past::Ended,
                    };
                    out.push(publish_result(worker, &task, result, at));
                    self.remember(id, past);
                    return;
                }
            }
        }
    }

    fn take(
        &mut self,
        i: usize,
        request: &JobRequest,
        trace: &TraceId,
        now: Timestamp,
        out: &mut Vec<Out>,
    ) {
        let attempt = match self.past.get(&request.job_id) {
            Some(Past::Ended) => return,
            Some(Past::Failed(n)) => n + 1,
            None => 1,
        };
        let behavior = behavior::Behavior::of(request, &self.scenario, self.seed, attempt);
        let worker = &mut self.workers[i];
        if worker.tasks.contains_key(&request.job_id) {
            return;
        }
        if worker.plight.dead && behavior.scripted {
            return;
        }
        worker.work_until(now);
        let task = Task::new(request, trace.clone(), behavior, now);
        let slots = self.scenario.pools[worker.pool].slots as usize;
        let full = worker.tasks.len() >= slots * OVERCOMMIT;
        if task.behavior.scripted && (full || worker.plight.draining) {
            let result = JobResult {
                status: JobStatus::FailedRetryable,
                error_code: "ERROR_CODE_JOB_RESOURCE_EXHAUSTED".to_owned(),
                error_message: if full {
                    "the worker has no slot left".to_owned()
                } else {
                    "the worker is draining".to_owned()
                },
                ..task.result(&worker.id, now)
            };
            out.push(publish_result(worker, &task, result, now));
            return;
        }
        worker.tasks.insert(request.job_id.clone(), task);
        self.report(i, &request.job_id, now, out);
    }

    fn remember(&mut self, id: &JobId, past: Past) {
        if self.past.insert(id.clone(), past).is_some() {
            return;
        }
        self.past_order.push_back(id.clone());
        if self.past_order.len() > REMEMBERED_JOBS
            && let Some(oldest) = self.past_order.pop_front()
        {
            self.past.remove(&oldest);
        }
    }
}

impl Worker {
    /// Counts the work that was done up to `at`.
    fn work_until(&mut self, at: Timestamp) {
        let spent = at.since(self.worked_until);
        if spent == Elapsed::ZERO {
            return;
        }
        self.worked_until = at;
        let plight = self.plight;
        for task in self.tasks.values_mut() {
            task.work(spent, speed(plight, task));
        }
    }

    fn next_at(&self) -> Option<Timestamp> {
        let beat = (!self.plight.dead).then_some(self.next_beat);
        let tasks = self.tasks.values().filter_map(|task| {
            let wait = task.until_report(speed(self.plight, task))?;
            Some(self.worked_until.plus(wait))
        });
        tasks.chain(beat).min()
    }

    fn befall(&mut self, change: Change, now: Timestamp) {
        let plight = &mut self.plight;
        match change {
            Change::Begins(Mishap::Die) => {
                plight.dead = true;
                self.tasks.retain(|_, task| !task.behavior.scripted);
            }
            Change::Ends(Mishap::Die) => {
                plight.dead = false;
                self.new = true;
                self.percent = 0;
                self.memo.clear();
                self.next_beat = now;
            }
            Change::Begins(Mishap::Silent) => plight.silent = true,
            Change::Ends(Mishap::Silent) => {
                plight.silent = false;
                self.next_beat = now;
            }
            Change::Begins(Mishap::Stall) => plight.stalled = true,
            Change::Ends(Mishap::Stall) => plight.stalled = false,
            Change::Begins(Mishap::Drain) => plight.draining = true,
            Change::Ends(Mishap::Drain) => plight.draining = false,
            Change::Begins(Mishap::IgnoreCancels) => plight.ignores_cancels = true,
            Change::Ends(Mishap::IgnoreCancels) => plight.ignores_cancels = false,
            Change::Begins(Mishap::ClaimJobs(jobs)) => plight.claims = Some(jobs),
            Change::Ends(Mishap::ClaimJobs(_)) => plight.claims = None,
            Change::Begins(Mishap::Slow(times)) => plight.slow = times,
            Change::Ends(Mishap::Slow(_)) => plight.slow = 1_000,
        }
    }

    fn packet(&self, trace: TraceId, at: Timestamp, body: Body) -> Packet {
        Packet::new(trace, SenderId::from(self.id.as_str()), at, body)
    }

    fn handshake(&self, pool: &Pool, at: Timestamp) -> Out {
        let exact = pool.topics.iter().filter(|topic| !topic.ends_with('*'));
        let handshake = Handshake {
            component_id: self.id.to_string(),
            role: ComponentRole::Worker,
            supported_versions: vec![PROTOCOL_VERSION],
            capabilities: pool
                .capabilities
                .iter()
                .map(|capability| (capability.clone(), true))
                .collect(),
            sdk_version: concat!("capdeck/", env!("CARGO_PKG_VERSION")).to_owned(),
            ready_topics: exact.cloned().collect(),
            agent_name: pool.agent.clone(),
        };
        let trace = TraceId::from(self.id.as_str());
        let packet = self.packet(trace, at, Body::Handshake(handshake));
        publish(wire::HANDSHAKE, packet)
    }

    fn beat(&mut self, pool: &Pool, seed: u64, at: Timestamp) -> Out {
        self.beats += 1;
        let active = u32::try_from(self.tasks.len()).unwrap_or(u32::MAX);
        let taken = f64::from(active.min(pool.slots)) / f64::from(pool.slots);
        let load = |span: Span, salt: u64| {
            let drawn = behavior::mix(seed, self.id.as_str(), self.beats * 4 + salt) % 61;
            // Three percent up or down; a part that is not there stays at zero.
            let jitter = (drawn as f64 - 30.0) / 10.0;
            let load = span.low + taken * (span.high - span.low);
            let load = if span.high > 0.0 { load + jitter } else { 0.0 };
            ((load.clamp(0.0, 100.0) * 10.0).round() / 10.0) as f32
        };
        let mut labels = pool.labels.clone();
        if self.plight.draining {
            labels.insert("draining".to_owned(), "true".to_owned());
        }
        let idle = self.tasks.is_empty();
        let heartbeat = Heartbeat {
            worker_id: self.id.clone(),
            region: self.region.clone(),
            kind: pool.kind.clone(),
            cpu_load: load(pool.cpu, 0),
            memory_load: load(pool.memory, 1),
            gpu_utilization: load(pool.gpu, 2),
            active_jobs: i32::try_from(self.plight.claims.unwrap_or(active)).unwrap_or(i32::MAX),
            capabilities: pool.capabilities.clone(),
            pool: pool.name.clone(),
            max_parallel_jobs: i32::try_from(pool.slots).unwrap_or(i32::MAX),
            labels,
            progress_pct: if idle {
                0
            } else {
                i32::try_from(self.percent).unwrap_or(100)
            },
            last_memo: if idle {
                String::new()
            } else {
                self.memo.clone()
            },
            agent_name: pool.agent.clone(),
            has_auth_token: false,
        };
        let trace = TraceId::from(self.id.as_str());
        let packet = self.packet(trace, at, Body::Heartbeat(Box::new(heartbeat)));
        publish(wire::HEARTBEAT, packet)
    }
}

/// How fast a task advances, in thousandths.
fn speed(plight: Plight, task: &Task) -> u64 {
    if !task.behavior.scripted {
        return 1_000;
    }
    if plight.dead || plight.stalled {
        return 0;
    }
    1_000_000 / u64::from(plight.slow.max(1))
}

fn publish(subject: &'static str, packet: Packet) -> Out {
    Out::Publish {
        subject: wire::subject(subject),
        packet,
    }
}

fn publish_result(worker: &Worker, task: &Task, result: JobResult, at: Timestamp) -> Out {
    let body = Body::JobResult(Box::new(result));
    publish(wire::RESULT, worker.packet(task.trace.clone(), at, body))
}

#[cfg(test)]
mod tests;
