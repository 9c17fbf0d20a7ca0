//! The jobs as a table, and what is known of the one under the cursor.

use std::sync::Arc;

use crate::ids::{JobId, PoolName, WorkerId};
use crate::state::State;
use crate::state::model::Model;
use crate::state::model::approvals::ApprovalStatus;
use crate::state::model::jobs::{Asked, Decision, Job, JobState, WaitingOn};
use crate::state::model::pools::Pool;
use crate::state::ui::ListId;
use crate::state::ui::list::Subject;
use crate::time::{Elapsed, Timestamp};
use crate::view::change::{self, Change, Stamps};
use crate::view::shown;
use crate::wire::packet::{JobStatus, WireEnum as _};

mod under;

pub use under::under_cursor;

/// The visible part of the jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobsView {
    /// The rows that can be seen.
    pub rows: Vec<JobRow>,
    /// Place of the first of them, from 0.
    pub first: usize,
    /// Rows that pass the filter.
    pub passing: usize,
    /// Rows without the filter.
    pub known: usize,
    /// Rows that are marked.
    pub marked: usize,
    /// What they are sorted by, in words.
    pub sort: &'static str,
    /// Whether that order is turned around.
    pub reversed: bool,
    /// The filter as typed; empty shows all.
    pub filter: String,
    /// Jobs that were forgotten because too many were known.
    pub forgotten: u64,
    /// Rows that came above the window since a key last moved in it.
    pub new_above: usize,
    /// For how long keys have kept the rows from being ordered, from
    /// [`HELD_LONG`] on: what came since is not among them.
    pub held: Option<Elapsed>,
    /// Rows on the screen that have just changed, when they are too many to be marked.
    pub changed: usize,
}

/// A job in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    /// The job.
    pub id: JobId,
    /// Its state; `None` is unknown.
    pub state: Option<JobState>,
    /// Its topic, as sent.
    pub topic: Option<Arc<str>>,
    /// How far it is, why it waits, or how it ended.
    pub why: Why,
    /// The worker that has or had it.
    pub worker: Option<WorkerId>,
    /// Time in this state, for ended jobs since the end.
    pub age: Elapsed,
    /// What policy decided.
    pub decision: Option<Decision>,
    /// How often it was handed over.
    pub attempts: u32,
    /// Its tenant.
    pub tenant: Option<Arc<str>>,
    /// The rule that decided.
    pub rule: Option<Arc<str>>,
    /// The cursor is here.
    pub selected: bool,
    /// It is marked.
    pub marked: bool,
    /// What has just happened to it.
    pub change: Option<Change>,
    /// How long ago it ended, if it did under the cursor, which holds it in its place.
    pub ended_here: Option<Elapsed>,
}

impl JobRow {
    /// Whether it has ended.
    pub fn is_ended(&self) -> bool {
        self.state.is_some_and(JobState::is_terminal)
    }
}

/// How far a job is, why it waits, or how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It runs and has reported.
    Progress {
        /// As reported.
        percent: i32,
        /// The last word of its worker.
        message: Option<Arc<str>>,
        /// How long it has not moved, if that is too long.
        stalled: Option<Elapsed>,
    },
    /// It runs and has not reported.
    NoProgress,
    /// It was handed over.
    HandedTo(Option<WorkerId>),
    /// It waits.
    Waits {
        /// For what.
        on: WaitingOn,
        /// Time to its deadline, zero if that has passed; `None` if it has none.
        deadline: Option<Elapsed>,
        /// Its tenant.
        tenant: Option<Arc<str>>,
        /// What the last attempt said, the rule that holds it, or what it asks of its
        /// worker.
        said: Option<Arc<str>>,
        /// The pool that would take it, where that is why it waits.
        pool: Option<WaitPool>,
    },
    /// This console asked something and has not seen it done.
    Asked {
        /// What.
        what: Asked,
        /// How long ago.
        ago: Elapsed,
        /// Whether the plane answered that it took it.
        taken: bool,
    },
    /// Somebody asked that it stops, and its worker goes on.
    StillReports {
        /// How long after the job ended the worker was heard.
        after: Elapsed,
    },
    /// Somebody asked that it stops, and its worker did it to the end.
    Finished {
        /// How long after the cancel.
        after: Elapsed,
    },
    /// It ended; what there is to say about it.
    Ended {
        /// The cause or the last word, from outside, behind a status that has no name.
        said: Option<Arc<str>>,
        /// The machine-readable cause.
        code: Option<Arc<str>>,
        /// Who asked that it stops.
        asked_by: Option<Arc<str>>,
        /// How long after that its worker stopped.
        stopped_after: Option<Elapsed>,
    },
    /// Only a wish that it stops was heard.
    OnlyCancel,
    /// Its state is not known.
    Unknown,
}

/// The pool that a job waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitPool {
    /// The pool.
    pub name: PoolName,
    /// Workers that take jobs.
    pub able: u32,
    /// Those of them at or over nine tenths of something.
    pub overloaded: u32,
}

/// From this time on it is told that rows were not ordered again.
const HELD_LONG: Elapsed = Elapsed::from_secs(6);

/// The jobs that are visible in `height` rows.
pub fn jobs(state: &State, height: usize) -> JobsView {
    let (model, now) = shown(state);
    let list = state.ui.list(ListId::Jobs);
    let window = list.state.window(height);
    let first = window.start;
    let seen: Vec<(&Subject, &Arc<Job>)> = list.state.order()[window]
        .iter()
        .filter_map(|subject| Some((subject, model.jobs.get(subject.job()?)?)))
        .collect();
    let stamps: Vec<Stamps> = seen
        .iter()
        .map(|(_, job)| Stamps {
            born: job.first_seen,
            since: job.since,
        })
        .collect();
    let changes = change::changes(&stamps, list.state.listed_since(), now);
    // Pools are summed up from all workers, so only where a row is about one.
    let pools = match seen.iter().any(|(_, job)| waits_for_pool(job)) {
        true => model.pools_at(now),
        false => Vec::new(),
    };
    let rows = seen
        .iter()
        .zip(&changes.marks)
        .map(|((subject, job), change)| {
            let selected = list.state.selected() == Some(*subject);
            let arrived = list.state.arrived_at().filter(|_| selected);
            let ended = job.is_ended() && arrived.is_some_and(|at| job.since >= at);
            JobRow {
                selected,
                marked: list.state.marks().contains(*subject),
                change: *change,
                ended_here: ended.then(|| now.since(job.since)),
                ..row(model, job, &pools, now)
            }
        })
        .collect();
    JobsView {
        rows,
        new_above: list.state.new_above(height),
        held: list
            .state
            .ordered_at()
            .filter(|_| state.ui.frozen().is_none())
            .map(|at| now.since(at))
            .filter(|held| *held >= HELD_LONG),
        changed: changes.counted,
        first,
        passing: list.state.order().len(),
        known: model.jobs.len(),
        marked: list.state.marks().len(),
        sort: list.sort(ListId::Jobs).word(),
        reversed: list.reverse,
        filter: list.filter_text.clone(),
        forgotten: model.jobs.dropped(),
    }
}

/// Whether a job waits for its pool.
fn waits_for_pool(job: &Job) -> bool {
    matches!(
        job.waits_on(),
        Some(WaitingOn::NoWorkers | WaitingOn::PoolOverloaded)
    )
}

/// One job as a row, without cursor and mark.
pub fn row(model: &Model, job: &Job, pools: &[Pool], now: Timestamp) -> JobRow {
    let request = job.request.as_deref();
    JobRow {
        id: job.id.clone(),
        state: job.state,
        topic: request.and_then(|request| request.topic.clone()),
        why: why(model, job, pools, now),
        worker: job.worker().cloned(),
        age: now.since(job.since),
        decision: job.decision(),
        attempts: job.attempts(),
        tenant: request.and_then(|request| request.tenant.clone()),
        rule: job
            .verdict
            .as_ref()
            .and_then(|verdict| verdict.rule_id.clone()),
        selected: false,
        marked: false,
        change: None,
        ended_here: None,
    }
}

fn why(model: &Model, job: &Job, pools: &[Pool], now: Timestamp) -> Why {
    if let Some(pending) = &job.pending {
        return Why::Asked {
            what: pending.what,
            ago: now.since(pending.asked_at),
            taken: pending.taken_at.is_some(),
        };
    }
    if let Some(cancel) = &job.cancel
        && let Some(finished) = cancel.worker_stopped_at.filter(|_| cancel.worker_finished)
        && job.state == Some(JobState::Cancelled)
    {
        return Why::Finished {
            after: finished.since(cancel.heard_at.unwrap_or(finished)),
        };
    }
    if let Some(cancel) = &job.cancel
        && let Some(still) = cancel.still_reported_at
        && job.is_ended()
    {
        return Why::StillReports {
            after: still.since(job.since),
        };
    }
    let verdict = job.verdict.as_deref();
    let rule_said = || {
        verdict.and_then(|verdict| match (&verdict.rule_id, &verdict.reason) {
            (Some(rule), Some(reason)) => Some(Arc::from(format!("{rule}: {reason}"))),
            (Some(only), None) | (None, Some(only)) => Some(Arc::clone(only)),
            (None, None) => None,
        })
    };
    match job.state {
        Some(JobState::Running) => match &job.progress {
            Some(progress) => Why::Progress {
                percent: progress.percent,
                message: progress.message.clone(),
                stalled: job.stalled.then(|| now.since(progress.last_move)),
            },
            None => Why::NoProgress,
        },
        Some(JobState::Dispatched) => Why::HandedTo(job.worker().cloned()),
        Some(
            JobState::Pending
            | JobState::ApprovalRequired
            | JobState::Scheduled
            | JobState::Retrying,
        ) => Why::Waits {
            on: job.waits_on().unwrap_or(WaitingOn::Unknown),
            deadline: job.deadline().map(|deadline| deadline.since(now)),
            tenant: job.tenant().map(Arc::from),
            pool: job
                .topic()
                .filter(|_| waits_for_pool(job))
                .and_then(|topic| model.pool_taking(topic, pools))
                .map(|pool| WaitPool {
                    name: pool.name.clone(),
                    able: pool.able(),
                    overloaded: pool.overloaded,
                }),
            said: if job.state == Some(JobState::Retrying) {
                job.result
                    .as_ref()
                    .and_then(|result| result.error_message.clone().or(result.error_code.clone()))
            } else if matches!(
                job.waits_on(),
                Some(WaitingOn::NoWorkers | WaitingOn::NoPoolMapping | WaitingOn::PoolOverloaded)
            ) {
                job.asks_for()
            } else {
                verdict.and_then(|verdict| verdict.rule_id.clone())
            },
        },
        Some(JobState::Denied) => Why::Ended {
            // The rule asked a person; it did not say no.
            said: if was_invalidated(model, job) {
                Some(Arc::from(
                    "the policy moved while it waited, nobody decided",
                ))
            } else if job.is_refused_by_worker() {
                said(job)
            } else {
                rule_said().or_else(|| said(job))
            },
            code: job.error_code().map(Arc::from),
            asked_by: None,
            stopped_after: None,
        },
        Some(JobState::Cancelled) => Why::Ended {
            said: job
                .cancel
                .as_ref()
                .and_then(|cancel| cancel.reason.clone())
                .or_else(|| said(job)),
            code: None,
            asked_by: job.cancel.as_ref().and_then(|cancel| cancel.by.clone()),
            stopped_after: job
                .cancel
                .as_ref()
                .and_then(|cancel| Some(cancel.worker_stopped_at?.since(cancel.heard_at?))),
        },
        Some(
            JobState::Succeeded
            | JobState::Failed
            | JobState::Timeout
            | JobState::OutputQuarantined,
        ) => Why::Ended {
            said: said(job),
            code: job.error_code().map(Arc::from),
            asked_by: None,
            stopped_after: None,
        },
        None if job.cancel.is_some() => Why::OnlyCancel,
        None => Why::Unknown,
    }
}

fn was_invalidated(model: &Model, job: &Job) -> bool {
    let approval = model.approvals.get(&job.id);
    approval.is_some_and(|it| it.fact.status == ApprovalStatus::Invalidated)
}

/// The cause or the last word, behind the status where no state stands for it.
fn said(job: &Job) -> Option<Arc<str>> {
    let result = job.result.as_ref();
    let cause = result.and_then(|result| result.error_message.clone());
    let said = cause.or_else(|| {
        job.progress
            .as_ref()
            .and_then(|progress| progress.message.clone())
    });
    let Some(status) = result
        .and_then(|result| result.status)
        .filter(|it| !it.is_known())
    else {
        return said;
    };
    let number = status_words(status);
    Some(match said {
        // The plane tells the number itself.
        Some(said) if said.contains(&number) => said,
        Some(said) => Arc::from(format!("{number}: {said}")),
        None => Arc::from(number),
    })
}

/// A status as the contract names it, or by its number where the contract has none.
pub(super) fn status_words(status: JobStatus) -> String {
    if status.is_known() {
        status.name().into_owned()
    } else {
        format!("status {}", status.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::script;

    #[track_caller]
    fn check(script: &str, expected: &str) {
        let state = script::run(script).expect("a script");
        let job = state.model.jobs.by_birth().next().expect("a job");
        let Why::Ended { said, .. } = row(&state.model, job, &[], state.now).why else {
            panic!("{script}: it has not ended");
        };
        assert_eq!(said.as_deref(), Some(expected), "{script}");
    }

    #[test]
    fn a_status_that_no_state_stands_for_is_told_once() {
        let odd = "0s submit a | 1s dispatch a w1 | 2s odd a w1";
        check(odd, "status 77");
        check(&format!("{odd} message=full"), "status 77: full");
        let told =
            "3s dlq a FAILED code=unknown_status message=\"reported status 77, of no meaning\"";
        check(
            &format!("{odd} | {told}"),
            "reported status 77, of no meaning",
        );
        check(&format!("{odd} message=full | {told}"), "status 77: full");
    }

    #[test]
    fn a_job_that_its_worker_refused_was_not_denied_by_the_rule_that_let_it_go() {
        let under_way =
            "0s submit a | 1s dispatch a w1 | 1s told a RUNNING decision=ALLOW rule=r reason=fine";
        let refused = "2s denied a w1 message=\"not on this host\"";
        check(&format!("{under_way} | {refused}"), "not on this host");
        check(
            "0s submit a | 1s told a DENIED decision=DENY rule=r reason=never",
            "r: never",
        );
    }

    #[test]
    fn a_job_whose_approval_the_policy_ended_was_not_denied_by_its_rule() {
        let held = "0s approval a rule=w reason=\"needs a person\"";
        check(
            &format!("{held} | 9s told a DENIED rule=w reason=\"needs a person\""),
            "w: needs a person",
        );
        check(
            &format!("{held} | 9s told a DENIED rule=w | 9s approval a status=invalidated rule=w"),
            "the policy moved while it waited, nobody decided",
        );
    }
}
