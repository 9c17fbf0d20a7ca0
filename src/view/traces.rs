//! A trace or a workflow as a tree and over time, and where its time went.

use std::sync::Arc;

use crate::ids::JobId;
use crate::state::State;
use crate::state::model::Model;
use crate::state::model::jobs::{Happened, Job, JobState};
use crate::state::model::traces::{
    self, Path, Spent, Stretch, TraceOf, end_of, path, spent, stretches,
};
use crate::state::ui::ListId;
use crate::state::ui::order::node_row;
use crate::text;
use crate::time::{Elapsed, Timestamp};
use crate::view::rollbacks::short;
use crate::view::{Prose, shown};

/// Jobs of a path that are named one by one.
const NAMED: usize = 4;

/// The trace that is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceView {
    /// The workflow, the trace or the job.
    pub name: Arc<str>,
    /// The trace of a workflow's jobs, where they share one.
    pub trace: Option<Arc<str>>,
    /// The rows that can be seen.
    pub rows: Vec<TraceRow>,
    /// Place of the first of them, from 0.
    pub first: usize,
    /// Rows that are unfolded and pass the filter.
    pub passing: usize,
    /// The filter as typed; empty shows all.
    pub filter: String,
    /// Jobs.
    pub jobs: usize,
    /// Jobs that wait for a person.
    pub waiting: usize,
    /// Jobs behind the one that waits longest.
    pub behind: usize,
    /// Where the time went.
    pub spent: Spent,
    /// What it begins with.
    pub start: Start,
    /// Whether a job goes on, so that the chart ends now.
    pub live: bool,
    /// What decides when it ends.
    pub says: Vec<Prose>,
    /// Whether only so many jobs are shown as the limit allows.
    pub cut: bool,
}

/// A row of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceRow {
    /// For each level above whether more follows there.
    pub rails: Vec<bool>,
    /// Whether more follows on its own level.
    pub more: bool,
    /// How many rows are folded away under it.
    pub folded: usize,
    /// The job; `None` heads those whose parent was not seen.
    pub job: Option<JobRow>,
    /// It is only here because a match is below it.
    pub muted: bool,
    /// The cursor is here.
    pub selected: bool,
}

/// The job of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    /// The job.
    pub id: JobId,
    /// Its topic.
    pub topic: Option<Arc<str>>,
    /// What it undoes: the topic, else the end of the id.
    pub undoes: Option<Arc<str>>,
    /// Its state.
    pub state: Option<JobState>,
    /// What it did when.
    pub stretches: Vec<Stretch>,
    /// When it ended, if it did.
    pub ended: Option<Timestamp>,
    /// From when it was heard of first to its end, or until now.
    pub took: Elapsed,
    /// Whether that began with its submission, so that it is all the time that it took.
    pub is_whole: bool,
}

/// What a trace is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A packet.
    Packet,
    /// The plane's word of when the first job was submitted.
    Submission,
    /// The plane's word of a state that a job was in already, at some time after its
    /// submission.
    Told,
}

/// The trace that is looked at, with the rows of `height` lines; `None` when none is
/// chosen, or nothing of it is known any more.
pub fn trace(state: &State, height: usize) -> Option<TraceView> {
    let (model, now) = shown(state);
    let of = state.ui.trace()?;
    let jobs = traces::members(model, of);
    if jobs.is_empty() {
        return None;
    }
    let nodes = traces::tree(model, of);
    let list = state.ui.list(ListId::Trace);
    let window = list.state.window(height);
    let first = window.start;
    let rows = list.state.order()[window].iter().filter_map(|subject| {
        let node = nodes.iter().find(|node| node_row(node) == *subject)?;
        let folded = node
            .job
            .as_ref()
            .is_some_and(|job| list.filter.is_none() && state.ui.folded().contains(job));
        let job = match &node.job {
            Some(id) => Some(model.jobs.get(id)?),
            None => None,
        };
        let passes = |filter: &crate::state::filter::Filter| {
            job.is_some_and(|job| filter.matches_job(job, now))
        };
        Some(TraceRow {
            rails: node.rails.clone(),
            more: node.more,
            folded: if folded { node.below } else { 0 },
            job: job.map(|job| job_row(model, job, now)),
            muted: list.filter.as_ref().is_some_and(|filter| !passes(filter)),
            selected: list.state.selected() == Some(subject),
        })
    });
    let path = path(model, &jobs, now);
    let waiting = jobs
        .iter()
        .filter(|job| job.state == Some(JobState::ApprovalRequired))
        .count();
    let spent = spent(&jobs, now);
    Some(TraceView {
        name: Arc::from(of.name()),
        trace: one_trace(model, of, &jobs),
        rows: rows.collect(),
        first,
        passing: list.state.order().len(),
        filter: list.filter_text.clone(),
        jobs: jobs.len(),
        waiting,
        behind: path.as_ref().map_or(0, |path| path.behind),
        live: jobs.iter().any(|job| !job.is_ended()),
        says: path.map_or_else(Vec::new, |path| says(model, &path, spent, now)),
        spent,
        start: start(&jobs),
        cut: jobs.len() >= crate::state::limits::TRACE_JOBS,
    })
}

/// What the first of `jobs` is known from.
fn start(jobs: &[&Arc<Job>]) -> Start {
    let Some(first) = jobs.iter().min_by_key(|job| job.first_seen) else {
        return Start::Told;
    };
    let heard = first.history.first().is_some_and(|moment| {
        let told = matches!(moment.what, Happened::Became(_) | Happened::Decided(_));
        moment.at <= first.first_seen && !told
    });
    // One that nobody told the beginning of may have come before all others.
    match (heard, jobs.iter().all(|job| job.is_birth_known())) {
        (true, _) => Start::Packet,
        (false, true) => Start::Submission,
        (false, false) => Start::Told,
    }
}

fn one_trace(model: &Model, of: &TraceOf, jobs: &[&Arc<Job>]) -> Option<Arc<str>> {
    let TraceOf::Workflow(_) = of else {
        return None;
    };
    // What undoes a job has a trace of its own.
    let mut own = jobs
        .iter()
        .filter(|job| traces::undoes(model, job).is_none());
    let first = own.next()?.trace.as_ref()?;
    own.all(|job| job.trace.as_ref().is_none_or(|it| it == first))
        .then(|| Arc::from(first.as_str()))
}

fn job_row(model: &Model, job: &Job, now: Timestamp) -> JobRow {
    let undoes = traces::undoes(model, job).map(|id| {
        let topic = model.jobs.get(id).and_then(|job| job.topic());
        Arc::from(topic.map_or(text::id_tail(id.as_str()), short))
    });
    JobRow {
        id: job.id.clone(),
        topic: job.topic().map(Arc::from),
        undoes,
        state: job.state,
        stretches: stretches(job, now),
        ended: job.is_ended().then_some(job.since),
        took: end_of(job, now).since(job.first_seen),
        is_whole: job.is_birth_known(),
    }
}

/// `mcp.update_ticket e41b9f2c`.
fn named(model: &Model, says: Prose, id: &JobId) -> Prose {
    let topic = model.jobs.get(id).and_then(|job| job.topic());
    says.outside(topic.map_or("unknown topic", short))
        .own(" ")
        .outside(text::id_tail(id.as_str()))
}

fn says(model: &Model, path: &Path, spent: Spent, now: Timestamp) -> Vec<Prose> {
    let Some(last) = path.jobs.last() else {
        return Vec::new();
    };
    let job = model.jobs.get(last);
    let behind = text::count(path.behind as u64, "job stands", "jobs stand");
    let started = match path.started {
        0 => "none has started".to_owned(),
        n => format!("{n} had started"),
    };
    let behind = match path.behind {
        0 => " Nothing stands behind it.".to_owned(),
        _ => format!(" {behind} behind it; {started}."),
    };
    let says = Prose::new();
    let first = if path.jobs.len() == 1 {
        named(model, says.own("The critical path is one job: "), last).own(".")
    } else {
        let chain: Elapsed = chain_took(model, path, now);
        let says = says.own(format!(
            "The critical path is {} jobs, {} of {}: ",
            path.jobs.len(),
            text::age(chain),
            text::age(spent.total())
        ));
        let skipped = path.jobs.len().saturating_sub(NAMED);
        let mut says = if skipped > 0 {
            says.own(format!("{skipped} earlier ones, then "))
        } else {
            says
        };
        for (at, id) in path.jobs.iter().skip(skipped).enumerate() {
            if at > 0 {
                says = says.own(", then ");
            }
            let topic = model.jobs.get(id).and_then(|job| job.topic());
            says = says.outside(topic.map_or("unknown topic", short));
        }
        named(model, says.own("; the longest is "), &path.longest).own(".")
    };
    let ended = job.is_some_and(|job| job.is_ended());
    let first = if ended { first } else { first.own(behind) };
    let mut lines = vec![first];
    if path.waits
        && let Some(deadline) = job.and_then(|job| job.deadline())
    {
        let stay = match path.behind {
            0 => String::new(),
            1 => ", and the one behind it stays pending until its own deadline".to_owned(),
            n => format!(", and the {n} behind it stay pending until their own deadlines"),
        };
        let at = text::clock_near(deadline, now);
        lines.push(Prose::new().own(if deadline <= now {
            format!("Its deadline, {at}, has passed; the plane ends it TIMEOUT when it looks. Nothing is undone{stay}.")
        } else {
            format!("At its deadline, {at}, it ends TIMEOUT: nothing is undone{stay}.")
        }));
    }
    if spent.unknown.as_millis() > 0 {
        lines.push(Prose::new().own(
            "What was done in the time marked ? is unknown: only ends were told, not all that came before.",
        ));
    }
    lines
}

/// How long at least one job of the path was on its way.
fn chain_took(model: &Model, path: &Path, now: Timestamp) -> Elapsed {
    let jobs = path.jobs.iter().filter_map(|id| model.jobs.get(id));
    let jobs: Vec<&Arc<Job>> = jobs.collect();
    let spent = spent(&jobs, now);
    let parts = [spent.worked, spent.unknown, spent.person, spent.queued];
    Elapsed::from_millis(parts.iter().map(|part| part.as_millis()).sum())
}
