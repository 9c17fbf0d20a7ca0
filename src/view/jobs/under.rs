//! What is known of the job under the cursor, as sentences.

use crate::ids::JobId;
use crate::state::State;
use crate::state::model::Model;
use crate::state::model::jobs::{Job, JobState, WaitingOn};
use crate::state::model::pools::Pool;
use crate::state::model::workers::Standing;
use crate::state::ui::ListId;
use crate::state::ui::list::Subject;
use crate::text;
use crate::time::{Elapsed, Timestamp};
use crate::view::{Prose, shown};

/// What is known of the job under the cursor, as sentences; `None` without one.
pub fn under_cursor(state: &State) -> Option<(JobId, Prose)> {
    let (model, now) = shown(state);
    let subject = state.ui.list(ListId::Jobs).state.selected()?;
    let Subject::Job(id) = subject else {
        return None;
    };
    let job = model.jobs.get(id)?;
    let says = sentences(job, now).then(way_ahead(model, job, now));
    Some((id.clone(), says))
}

/// Jobs before one in its line that are counted, so that a long line costs no frame.
const LINE: usize = 10_000;

/// Whether a job waits although workers of its pool live, for something that none of them
/// has: not for room.
fn waits_for_no_room(job: &Job, pool: &Pool) -> bool {
    match job.waits_on() {
        Some(WaitingOn::NoPoolMapping) => true,
        Some(WaitingOn::NoWorkers) => pool.able() > 0,
        _ => false,
    }
}

/// What must happen before a job that waits for its pool can start.
fn way_ahead(model: &Model, job: &Job, now: Timestamp) -> Prose {
    let says = Prose::new();
    if !matches!(job.state, Some(JobState::Pending | JobState::Scheduled)) {
        return says;
    }
    if job.waits_on() == Some(WaitingOn::NoPoolMapping) {
        return match job.asks_for() {
            Some(what) => says
                .own("No pool of its topic offers ")
                .outside(what)
                .own(". "),
            None => says,
        };
    }
    let pools = model.pools_at(now);
    let Some(pool) = job
        .topic()
        .and_then(|topic| model.pool_taking(topic, &pools))
    else {
        return says;
    };
    let says = says.own("Pool ").outside(pool.name.as_str());
    if waits_for_no_room(job, pool) {
        let workers = text::count(u64::from(pool.able()), "worker", "workers");
        let says = says.own(format!(": none of {workers} "));
        return match job.asks_for() {
            Some(what) => says.own("has ").outside(what).own(". "),
            None => says.own("takes it. "),
        };
    }
    if let Some(what) = job.asks_for().filter(|_| pool.overloaded < pool.able()) {
        // How fast the pool as a whole moves says nothing of these workers.
        return says
            .own(": none of its workers with ")
            .outside(what)
            .own(" has room. ");
    }
    if pool.able() == 0 {
        return says.own(match pool.workers(Standing::Unknown) {
            0 => " has no live worker. ",
            _ => ": its workers are not heard. ",
        });
    }
    let says = says.own(format!(
        ": {} of {} over 90%",
        pool.overloaded,
        text::count(u64::from(pool.able()), "worker", "workers"),
    ));
    let says = match pool.heard {
        true => says.own(format!(
            ", {} a minute",
            text::count(u64::from(pool.ended), "job ends", "jobs end")
        )),
        false => says,
    };
    let rank = model.jobs.attention_rank(&job.id).unwrap_or(0);
    let ahead = model
        .jobs
        .by_attention()
        .take(rank.min(LINE))
        .filter(|other| matches!(other.state, Some(JobState::Pending | JobState::Scheduled)))
        .filter(|other| !waits_for_no_room(other, pool))
        .filter(|other| {
            let taking = other
                .topic()
                .and_then(|topic| model.pool_taking(topic, &pools));
            taking.is_some_and(|taking| taking.name == pool.name)
        })
        .count();
    let says = match ahead {
        0 => says.own("; it is the next"),
        n => says.own(format!(
            ", {} ahead",
            text::count(n as u64, "job is", "jobs are")
        )),
    };
    match (pool.ended, rank) {
        (1.., 0..LINE) if pool.heard => {
            let ms = (ahead as u64 + 1) * 60_000 / u64::from(pool.ended);
            let about = text::age(Elapsed::from_millis(ms));
            says.own(": about ")
                .strong(about)
                .own(" if nothing changes. ")
        }
        _ => says.own(". "),
    }
}

fn sentences(job: &Job, now: Timestamp) -> Prose {
    let since = text::age(now.since(job.since));
    let mut says = Prose::new();
    says = match job.state {
        Some(JobState::ApprovalRequired) => {
            let says = says.own("Waits for a person for ").strong(since);
            match job.deadline() {
                Some(deadline) if deadline > now => says
                    .own("; ")
                    .strong(text::age(deadline.since(now)))
                    .own(" to its deadline. "),
                Some(_) => says.own("; its deadline has passed. "),
                None => says.own(", without a deadline. "),
            }
        }
        Some(JobState::Pending | JobState::Scheduled | JobState::Retrying) => {
            let tried = match job.attempts() {
                0 => String::new(),
                n => format!("Tried {}. ", text::count(u64::from(n), "time", "times")),
            };
            says.own(tried).own("Waits for ").strong(since).own(". ")
        }
        Some(JobState::Dispatched | JobState::Running) => {
            let says = match job.worker() {
                Some(worker) => says.own("On ").outside(worker.as_str()).own(" for "),
                None => says.own("On an unknown worker for "),
            };
            let says = says.strong(since).own(". ");
            match &job.progress {
                Some(progress) => {
                    let says = says.own(format!(
                        "Last word {} ago, {}. ",
                        text::age(now.since(progress.at)),
                        text::count(u64::from(progress.moves), "move", "moves"),
                    ));
                    match job.usual_step() {
                        Some(step) => says.own(format!(
                            "It moves every {} on the mean. ",
                            text::duration(step)
                        )),
                        None => says,
                    }
                }
                None => says.own("It has reported nothing. "),
            }
        }
        Some(_) => {
            let says = says.own("Ended ").strong(since).own(" ago");
            match &job.result {
                Some(result) if result.execution_ms > 0 => says.own(format!(
                    " after {} of work. ",
                    text::duration(Elapsed::from_millis(result.execution_ms.unsigned_abs()))
                )),
                _ => says.own(". "),
            }
        }
        None if job.cancel.is_some() => {
            says.own("Only a wish to cancel it was heard; its state is unknown. ")
        }
        None => says.own("Its state is unknown: the plane did not tell. "),
    };
    if let Some(request) = &job.request {
        if let Some(tenant) = &request.tenant {
            says = says.own("Tenant ").outside(tenant.clone()).own(". ");
        }
        if let Some(workflow) = &request.workflow_id {
            let place = match request.step_index {
                // The first step, or one that has no number.
                0 => "In workflow ".to_owned(),
                step => format!("Step {step} of "),
            };
            says = says.own(place).outside(workflow.clone()).own(". ");
        }
        if let Some(undo) = &request.undo {
            says = says.outside(undo.topic.clone()).own(" would undo it. ");
        }
    }
    match job.error_code() {
        Some(code) => says.own("Code ").outside(code).own("."),
        None => says,
    }
}
