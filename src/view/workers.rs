//! The workers as a table, and what is known of the one under the cursor.

use std::sync::Arc;

use crate::ids::{PoolName, WorkerId};
use crate::state::State;
use crate::state::model::Model;
use crate::state::model::workers::{Standing, Worker};
use crate::state::ui::ListId;
use crate::state::ui::list::Subject;
use crate::text;
use crate::time::{Elapsed, Timestamp};
use crate::view::{Prose, shown};

/// How many workers stand how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standings {
    counts: [usize; Standing::ALL.len()],
}

impl Standings {
    /// Workers that stand so.
    pub fn of(&self, standing: Standing) -> usize {
        self.counts[Self::slot(standing)]
    }

    /// All workers.
    pub fn total(&self) -> usize {
        self.counts.iter().sum()
    }

    /// One more.
    pub fn add(&mut self, standing: Standing) {
        self.counts[Self::slot(standing)] += 1;
    }

    fn slot(standing: Standing) -> usize {
        Standing::ALL
            .iter()
            .position(|it| *it == standing)
            .unwrap_or(0)
    }
}

/// The visible part of the workers.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkersView {
    /// The rows that can be seen.
    pub rows: Vec<WorkerRow>,
    /// Place of the first of them, from 0.
    pub first: usize,
    /// Rows that pass the filter.
    pub passing: usize,
    /// How all workers stand.
    pub standings: Standings,
    /// What they are sorted by, in words.
    pub sort: &'static str,
    /// The filter as typed; empty shows all.
    pub filter: String,
    /// Since when the bus is silent because of us.
    pub silent_since: Option<Timestamp>,
    /// Workers that were already lost when it fell silent, at most three.
    pub lost_before: Vec<WorkerId>,
}

/// A worker in the table.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerRow {
    /// The worker.
    pub id: WorkerId,
    /// How it stands.
    pub standing: Standing,
    /// Its pool.
    pub pool: Option<PoolName>,
    /// Where it runs.
    pub region: Option<Arc<str>>,
    /// The largest of its loads, 0 to 1.
    pub pressure: Option<f64>,
    /// Percent.
    pub cpu: Option<f64>,
    /// Percent.
    pub memory: Option<f64>,
    /// Percent; `None` also for one that has no accelerator.
    pub gpu: Option<f64>,
    /// Jobs it works on.
    pub active: i32,
    /// Jobs it may work on at once.
    pub slots: Option<i32>,
    /// Heartbeat, slots, progress.
    pub lamps: [WorkerLamp; 3],
    /// How far it says its job is; `None` without a job.
    pub percent: Option<i32>,
    /// Its last word on its job.
    pub memo: Option<Arc<str>>,
    /// How long its jobs have not moved, if that is too long.
    pub stalled: Option<Elapsed>,
    /// How long it was not heard.
    pub silence: Option<Elapsed>,
    /// The cursor is here.
    pub selected: bool,
}

/// One of a worker's three lamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerLamp {
    /// As it should be.
    Good,
    /// Late.
    Late,
    /// Lost.
    Lost,
    /// Wrong.
    Bad,
    /// There is nothing to judge.
    Idle,
    /// We cannot know.
    Unknown,
}

/// The workers that are visible in `height` rows.
pub fn workers(state: &State, height: usize) -> WorkersView {
    let (model, now) = shown(state);
    let list = state.ui.list(ListId::Workers);
    let window = list.state.window(height);
    let first = window.start;
    let rows = list.state.order()[window]
        .iter()
        .filter_map(|subject| {
            let worker = model.workers.get(subject.worker()?)?;
            Some(WorkerRow {
                selected: list.state.selected() == Some(subject),
                ..row(model, worker, now)
            })
        })
        .collect();
    let silent_since = model.links.hearing.deaf_since();
    let lost_before = match silent_since {
        Some(_) => model
            .workers
            .shown(now, &model.links.hearing)
            .filter(|worker| model.standing(worker, now) == Standing::Lost)
            .map(|worker| worker.id.clone())
            .take(3)
            .collect(),
        None => Vec::new(),
    };
    WorkersView {
        rows,
        first,
        passing: list.state.order().len(),
        standings: standings(model, now),
        sort: match list.sort(ListId::Workers).word() {
            "attention first" => "worst first",
            other => other,
        },
        filter: list.filter_text.clone(),
        silent_since,
        lost_before,
    }
}

/// How all workers stand.
pub fn standings(model: &Model, now: Timestamp) -> Standings {
    let mut standings = Standings::default();
    for worker in model.workers.shown(now, &model.links.hearing) {
        standings.add(model.standing(worker, now));
    }
    standings
}

/// One worker as a row, without cursor.
pub fn row(model: &Model, worker: &Worker, now: Timestamp) -> WorkerRow {
    let standing = model.standing(worker, now);
    let unknown = standing == Standing::Unknown;
    let stalled = model
        .jobs
        .of_worker(&worker.id)
        // What does not move while we are deaf may well move.
        .filter(|job| job.stalled && !unknown)
        .filter_map(|job| job.progress.as_ref())
        .map(|progress| now.since(progress.last_move))
        .max();
    let works = worker.active_jobs > 0 || model.jobs.of_worker(&worker.id).next().is_some();
    let lamps = if unknown {
        [WorkerLamp::Unknown; 3]
    } else if standing == Standing::Lost {
        [WorkerLamp::Lost, WorkerLamp::Idle, WorkerLamp::Idle]
    } else {
        [
            if standing == Standing::Late {
                WorkerLamp::Late
            } else {
                WorkerLamp::Good
            },
            if worker.slots_overrun() {
                WorkerLamp::Bad
            } else {
                WorkerLamp::Good
            },
            match (stalled, works) {
                (Some(_), _) => WorkerLamp::Bad,
                (None, true) => WorkerLamp::Good,
                (None, false) => WorkerLamp::Idle,
            },
        ]
    };
    let lost = standing == Standing::Lost;
    let percent = |load: Option<crate::state::model::workers::Load>| {
        load.filter(|_| !lost).map(|load| load.percent())
    };
    WorkerRow {
        id: worker.id.clone(),
        standing,
        pool: worker.pool.clone(),
        region: worker.region.clone(),
        pressure: worker.pressure().filter(|_| !lost),
        cpu: percent(worker.cpu),
        memory: percent(worker.memory),
        gpu: percent(worker.gpu).filter(|gpu| *gpu > 0.0),
        active: worker.active_jobs,
        slots: worker.max_parallel_jobs,
        lamps,
        percent: works.then_some(worker.progress_pct),
        memo: worker.last_memo.clone(),
        stalled,
        silence: worker.silence(now),
        selected: false,
    }
}

/// What is known of the worker under the cursor, as sentences a line; `None` without one.
pub fn under_cursor(state: &State) -> Option<(WorkerId, Vec<Prose>)> {
    let (model, now) = shown(state);
    let subject = state.ui.list(ListId::Workers).state.selected()?;
    let Subject::Worker(id) = subject else {
        return None;
    };
    let worker = model.workers.get(id)?;
    Some((id.clone(), sentences(model, worker, now)))
}

fn sentences(model: &Model, worker: &Worker, now: Timestamp) -> Vec<Prose> {
    let row = row(model, worker, now);
    let silence = row.silence.map(text::age);
    let silence = silence.as_deref().unwrap_or("an unknown time");
    let interval = text::duration(worker.interval());
    let first = Prose::new().strong(format!("{}: ", row.standing.name()));
    let first = match (row.standing, row.stalled) {
        (Standing::Lost, _) => first.own(format!(
            "not heard for {silence}. It has {}.",
            text::count(
                model.jobs.of_worker(&worker.id).count() as u64,
                "job",
                "jobs"
            )
        )),
        (Standing::Zombie, stalled) => first.own(format!(
            "it beats every {interval}, but a job of it has not moved for {}.",
            text::age(stalled.unwrap_or(Elapsed::ZERO))
        )),
        (Standing::Late, _) => first.own(format!(
            "it beat every {interval} and was last heard {silence} ago."
        )),
        (Standing::Draining, _) => first.own("it finishes its jobs and takes no new ones."),
        (Standing::Live, _) => first.own(format!("it beats every {interval}.")),
        (Standing::Unknown, _) => first.own("our own line is cut, so its silence proves nothing."),
    };
    let mut second = Prose::new();
    if let Some(skew) = worker.clock_skew_ms {
        let word = if skew < 0 { "behind" } else { "ahead of" };
        second = second.own(format!(
            "Its clock is {:.1}s {word} ours. ",
            skew.unsigned_abs() as f64 / 1_000.0
        ));
    }
    second = listed(second, "Can do: ", worker.capabilities.iter().cloned());
    second = listed(
        second,
        "Labels: ",
        worker
            .labels
            .iter()
            .map(|(key, value)| Arc::from(format!("{key}={value}"))),
    );
    let session = if worker.has_session {
        "Its heartbeats carry a session token."
    } else {
        "Its heartbeats carry no session token."
    };
    let mut jobs = Prose::new();
    let mut count = 0;
    for job in model.jobs.of_worker(&worker.id).take(6) {
        jobs = jobs
            .own(if count == 0 { "Jobs: " } else { ", " })
            .outside(text::id_tail(job.id.as_str()));
        count += 1;
    }
    let mut lines = vec![first, second.own(session)];
    if count > 0 {
        lines.push(jobs.own("."));
    }
    lines
}

fn listed(says: Prose, label: &str, items: impl Iterator<Item = Arc<str>>) -> Prose {
    let mut says = says;
    let mut any = false;
    for item in items.take(6) {
        says = says.own(if any { ", " } else { label }).outside(item);
        any = true;
    }
    if any { says.own(". ") } else { says }
}
