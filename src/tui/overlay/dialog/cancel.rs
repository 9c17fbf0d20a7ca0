//! The dialog of a cancel: what stops, whose jobs they are, and who is asked.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{buttons, duration, note_rows, sentences, tail};
use crate::ids::{JobId, WorkerId};
use crate::state::event::{LinkState, Source};
use crate::state::model::Model;
use crate::state::model::jobs::{Job, JobState};
use crate::state::model::workers::Standing;
use crate::state::ui::modal::CancelDialog;
use crate::text::{self};
use crate::time::Elapsed;
use crate::tui::overlay::Front;
use crate::tui::screen::{prose, signs};
use crate::tui::theme::Role;
use crate::tui::widget::pane::{fact, fact_rows};
use crate::tui::widget::words::Words;
use crate::view::{Prose, compensations};

/// Jobs that a dialog lists one by one.
const LISTED: usize = 12;

/// Tenants and pools that a dialog names.
const NAMED: usize = 4;

pub(super) fn draw(front: &Front<'_>, dialog: &CancelDialog, width: usize) -> (String, Vec<Words>) {
    let model = &front.state.model;
    let now = front.state.now;
    let left: Vec<&JobId> = dialog.left().collect();
    let mut lines = Vec::new();
    let title;
    let act;
    if let [only] = dialog.jobs.as_slice() {
        title = "Cancel this job".to_owned();
        act = "Cancel the job".to_owned();
        match model.jobs.get(only) {
            Some(job) => lines.extend(sentences(&what_stops(model, job, now), width, Role::Text)),
            None => lines.extend(sentences("The job is no longer known.", width, Role::Warn)),
        }
        lines.push(
            Words::new().text("Nothing is undone: a cancel never starts the workflow's rollback."),
        );
        lines.push(Words::new());
        lines.push(fact("job", Words::new().line(only.as_str(), Role::Text)));
        lines.push(fact("asks", Words::new().text(asks(front, only))));
        let request = model.jobs.get(only).and_then(|job| job.request.as_ref());
        if let Some(undo) = request.and_then(|request| request.undo.as_ref()) {
            // What a person would run by hand, since the cancel does not.
            let says = Prose::new()
                .outside(undo.topic.clone())
                .own(", policy ")
                .then(compensations::fact(front.state, only));
            let says = prose::words(&says).strong_in(Role::Crit);
            lines.extend(fact_rows("undo", &says, width));
        }
        if left.is_empty() {
            lines.push(Words::new().ink("It ended by itself; nothing to cancel.", Role::Warn));
        }
    } else {
        title = format!("Cancel {} jobs", left.len());
        act = title.clone();
        let running = |job: &&JobId| {
            model
                .jobs
                .get(job)
                .is_some_and(|job| job.state.is_some_and(JobState::is_with_worker))
        };
        let run: Vec<&JobId> = left.iter().copied().filter(running).collect();
        let waiting = (left.len() - run.len()) as u64;
        let mut effect = Vec::new();
        if !run.is_empty() {
            let work = run.iter().filter_map(|job| model.jobs.get(job));
            let work = work.map(|job| now.since(job.since).as_millis()).sum();
            effect.push(format!(
                "{} {} of work",
                text::count(run.len() as u64, "running job loses", "running jobs lose"),
                duration(Elapsed::from_millis(work))
            ));
        }
        if waiting > 0 {
            effect.push(text::count(
                waiting,
                "waiting job never starts",
                "waiting jobs never start",
            ));
        }
        let effect = match effect.is_empty() {
            true => "Nothing is left to cancel.".to_owned(),
            false => format!("{}.", effect.join(", ")),
        };
        lines.extend(sentences(&effect, width, Role::Text));
        let whose = format!("Nothing is undone. {}", whose(front, &left));
        lines.extend(sentences(whose.trim_end(), width, Role::Text));
        let undos = compensations::of_many(front.state, left.iter().copied());
        if !undos.is_empty() {
            lines.extend(prose::words(&undos).wrap(width));
        }
        lines.push(Words::new());
        for id in dialog.jobs.iter().take(LISTED) {
            lines.push(listed(front, id, dialog.ended.contains(id)));
        }
        if dialog.jobs.len() > LISTED {
            lines.push(Words::new().muted(format!("and {} more", dialog.jobs.len() - LISTED)));
        }
        lines.push(Words::new());
        lines.push(Words::new().muted(if dialog.ended.is_empty() {
            format!(
                "All {} still exist. One that ends before you confirm is left out.",
                left.len()
            )
        } else {
            format!(
                "{} ended by themselves and are left out.",
                dialog.ended.len()
            )
        }));
    }
    lines.push(Words::new());
    lines.extend(note_rows(front, &dialog.form, "reason", 1, width));
    buttons(front, &dialog.form, "type", &act, width, &mut lines);
    (title, lines)
}

/// Whose jobs they are and where they run: `Tenants: acme 4, orbit 1. All in pool
/// gpu.`; nothing of what nobody told.
fn whose(front: &Front<'_>, jobs: &[&JobId]) -> String {
    let model = &front.state.model;
    let pools = model.pools_at(front.state.now);
    let mut tenants: BTreeMap<String, usize> = BTreeMap::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for job in jobs.iter().filter_map(|id| model.jobs.get(id)) {
        if let Some(tenant) = job.tenant() {
            *tenants.entry(tenant.to_owned()).or_default() += 1;
        }
        let worker = job.worker().and_then(|worker| model.workers.get(worker));
        let pool = worker.and_then(|worker| worker.pool.clone()).or_else(|| {
            let taking = job.topic().and_then(|it| model.pool_taking(it, &pools));
            taking.map(|pool| pool.name.clone())
        });
        if let Some(pool) = pool {
            *places.entry(pool.to_string()).or_default() += 1;
        }
    }
    let says = |one: &str, many: &str, of: BTreeMap<String, usize>| {
        let mut of: Vec<(String, usize)> = of.into_iter().collect();
        of.sort_by_key(|(_, count)| Reverse(*count));
        match of.as_slice() {
            [] => String::new(),
            [(only, count)] if *count == jobs.len() => format!("All {one} {only}. "),
            some => {
                let more = some.len().saturating_sub(NAMED);
                let named = some.iter().take(NAMED);
                let mut named: Vec<String> = named
                    .map(|(name, count)| format!("{name} {count}"))
                    .collect();
                if more > 0 {
                    named.push(format!("{more} more"));
                }
                format!("{many}: {}. ", named.join(", "))
            }
        }
    };
    says("of tenant", "Tenants", tenants) + &says("in pool", "Pools", places)
}

fn what_stops(model: &Model, job: &Job, now: crate::time::Timestamp) -> String {
    let topic = job
        .request
        .as_ref()
        .and_then(|request| request.topic.as_deref())
        .unwrap_or("a job of unknown topic");
    let since = duration(now.since(job.since));
    if let Some((worker, silence)) = lost_worker(model, job, now) {
        return format!(
            "{topic} was on {worker}, which was last heard {silence} ago: nobody knows whether it goes on."
        );
    }
    match (job.state, job.worker()) {
        (Some(JobState::Running), Some(worker)) => match job.percent() {
            Some(percent) => format!("{topic} on {worker} stops at {percent}%, after {since}."),
            None => format!("{topic} on {worker} stops, after {since}."),
        },
        (Some(JobState::Dispatched), Some(worker)) => {
            format!("{topic} was handed to {worker} {since} ago and stops.")
        }
        (Some(JobState::Running | JobState::Dispatched | JobState::Retrying), _) => {
            format!("{topic} stops, after {since}.")
        }
        _ => format!("{topic} never starts; it has waited for {since}."),
    }
}

/// The worker of a job, and how long it is silent, if it is lost.
fn lost_worker(
    model: &Model,
    job: &Job,
    now: crate::time::Timestamp,
) -> Option<(WorkerId, String)> {
    let with_worker = job.state.is_some_and(JobState::is_with_worker);
    let worker = model.workers.get(job.worker().filter(|_| with_worker)?)?;
    let is_lost = model.standing(worker, now) == Standing::Lost;
    let silence = worker.silence(now).filter(|_| is_lost)?;
    Some((worker.id.clone(), duration(silence)))
}

fn asks(front: &Front<'_>, job: &JobId) -> String {
    let model = &front.state.model;
    let line = model.links.of(Source::Gateway);
    let gateway = line.state != LinkState::Absent;
    if gateway && !line.is_up() {
        return "the gateway, which does not answer now; nothing is sent".to_owned();
    }
    let job = model.jobs.get(job);
    let running = job.is_some_and(|job| job.state.is_none_or(JobState::is_with_worker));
    let worker = match job.and_then(|job| job.worker()) {
        Some(worker) => worker.to_string(),
        None if running => "its worker".to_owned(),
        None if gateway => return "the gateway; no worker has it yet".to_owned(),
        None => return "every worker over the bus; no gateway records the reason".to_owned(),
    };
    let lost = job.is_some_and(|job| lost_worker(model, job, front.state.now).is_some());
    if gateway && lost {
        format!("the gateway, then {worker}, which may not answer: it is lost")
    } else if gateway && !model.links.of(Source::Bus).is_up() {
        format!("the gateway; only the bus tells what {worker} answers")
    } else if gateway {
        format!("the gateway, then {worker}; both answers are shown")
    } else {
        format!("{worker} over the bus; no gateway records the reason")
    }
}

fn listed(front: &Front<'_>, id: &JobId, ended: bool) -> Words {
    let pen = front.pen;
    let Some(job) = front.state.model.jobs.get(id) else {
        return Words::new().ink(format!("{id}  gone"), Role::Muted);
    };
    let (glyph, state, _) = signs::job_state(job.state);
    let role = match job.state {
        Some(JobState::ApprovalRequired) => Role::Human,
        _ => Role::Text,
    };
    let role = if ended { Role::Muted } else { role };
    let topic = job.request.as_ref().and_then(|it| it.topic.as_deref());
    let topic = topic.unwrap_or("unknown");
    let words = Words::new()
        .glyph(pen.glyphs, glyph, role)
        .gap(1)
        .ink(state, role)
        .to(12)
        .line(&tail(id.as_str()), role)
        .gap(2)
        .line(topic.strip_prefix("job.").unwrap_or(topic), role);
    match (ended, job.percent(), job.worker()) {
        (true, _, _) => words.gap(2).ink("ended by itself", Role::Muted),
        (false, Some(percent), Some(worker)) => words
            .gap(2)
            .line(&format!("{percent}% on {worker}"), Role::Text),
        (false, _, _) => words,
    }
}
