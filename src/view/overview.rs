//! The overview: what is in flight, what is under pressure, what was decided,
//! what waits, and what is wrong.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::ids::PoolName;
use crate::state::State;
use crate::state::model::Model;
use crate::state::model::alerts::Alert;
use crate::state::model::decisions::SPANS_SHOWN;
use crate::state::model::jobs::{Decision, Job, JobState};
use crate::state::model::pools::Outlook;
use crate::state::model::rollbacks::{Rollback, Undone};
use crate::state::model::traffic::Kind;
use crate::state::model::workers::Standing;
use crate::state::ui::ListId;
use crate::state::ui::list::Subject;
use crate::time::{Elapsed, Timestamp};
use crate::view::{Prose, cause, shown};
use crate::wire::packet::JobStatus;

/// Spans of five seconds that the wire's sparklines show.
const WIRE_SPANS: usize = 48;

/// Full spans of five seconds over which a rate is taken.
const RATE_SPANS: usize = 6;

/// A pool under pressure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PressureRow {
    /// The pool.
    pub name: PoolName,
    /// Jobs that wait to be handed over.
    pub queued: u32,
    /// Jobs that came in the last full minute.
    pub arrived: u32,
    /// Jobs that ended in the last full minute.
    pub ended: u32,
    /// Whether anybody tells how many came and ended.
    pub heard: bool,
    /// Jobs its workers have.
    pub slots_used: u32,
    /// Jobs they may have at once.
    pub slots: u32,
    /// Whether a worker of it can take jobs, as far as is known.
    pub able: bool,
    /// What comes next if nothing changes.
    pub outlook: Outlook,
    /// How long nobody takes its jobs, where that is so and known.
    pub lasts: Option<Elapsed>,
    /// What blocks it, and the same in fewer words; empty if nothing does.
    pub blocks: [Prose; 2],
    /// The cursor is here.
    pub selected: bool,
}

/// All pools, soonest trouble first.
pub fn pressure(state: &State) -> Vec<PressureRow> {
    let (model, now) = shown(state);
    let list = state.ui.list(ListId::Pressure);
    let selected = list.state.selected().and_then(Subject::pool);
    let mut pools = model.pools_at(now);
    let holds = cause::Holds::of(model, &pools, now);
    pools.sort_by_key(|pool| (pool.trouble(), pool.name.clone()));
    pools
        .into_iter()
        .map(|pool| PressureRow {
            queued: pool.queued,
            arrived: pool.arrived,
            ended: pool.ended,
            heard: pool.heard,
            slots_used: pool.slots_used,
            slots: pool.slots,
            able: pool.able() + pool.workers(Standing::Unknown) > 0,
            outlook: pool.outlook(),
            lasts: cause::lasts(model, &pool, now),
            blocks: cause::blocks(model, &pool, &holds, now),
            selected: selected == Some(&pool.name),
            name: pool.name,
        })
        .collect()
}

/// How many jobs are in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateCount {
    /// The state.
    pub state: JobState,
    /// Jobs in it that are kept.
    pub count: u32,
    /// How many more than five minutes ago; `None` before that was seen.
    pub change: Option<i64>,
}

/// Jobs in flight by state, then those that ended and are still kept.
pub fn pipeline(state: &State) -> (Vec<StateCount>, Vec<StateCount>) {
    let (model, _) = shown(state);
    let counts = |states: &[JobState]| {
        states
            .iter()
            .map(|state| StateCount {
                state: *state,
                count: model.jobs.count(*state),
                change: model.pipeline.change(&model.jobs, *state),
            })
            .collect()
    };
    let in_flight = [
        JobState::Pending,
        JobState::ApprovalRequired,
        JobState::Scheduled,
        JobState::Dispatched,
        JobState::Running,
        JobState::Retrying,
    ];
    let ended = [
        JobState::Succeeded,
        JobState::Failed,
        JobState::Denied,
        JobState::Timeout,
        JobState::Cancelled,
        JobState::OutputQuarantined,
    ];
    (counts(&in_flight), counts(&ended))
}

/// Decisions of one outcome in the last five minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionRow {
    /// The outcome.
    pub decision: Decision,
    /// How many.
    pub count: u64,
    /// Over time, oldest first.
    pub series: Vec<u64>,
}

/// The decisions of the last five minutes by outcome; empty where nobody told of any.
pub fn decisions(state: &State) -> Vec<DecisionRow> {
    let (model, now) = shown(state);
    let rows: Vec<DecisionRow> = [
        Decision::Allow,
        Decision::AllowWithConstraints,
        Decision::RequireApproval,
        Decision::Throttle,
        Decision::Deny,
        Decision::Unavailable,
    ]
    .into_iter()
    .map(|decision| DecisionRow {
        decision,
        count: model.decisions.lately(decision, now),
        series: widened(&model.decisions.of(decision).last(now, SPANS_SHOWN)),
    })
    .filter(|row| row.count > 0 || row.decision != Decision::Unavailable)
    .collect();
    if rows.iter().all(|row| row.count == 0) {
        return Vec::new();
    }
    rows
}

fn widened(counts: &[u32]) -> Vec<u64> {
    counts.iter().map(|count| u64::from(*count)).collect()
}

/// What is heard of some kinds of packets.
#[derive(Clone, Debug, PartialEq)]
pub struct WireRow {
    /// Their name.
    pub name: &'static str,
    /// Packets a second over the last half minute.
    pub per_second: f64,
    /// Over the last four minutes, oldest first.
    pub series: Vec<u64>,
}

/// What is heard on the bus, by kind.
pub fn wire(state: &State) -> Vec<WireRow> {
    let (model, now) = shown(state);
    let groups: [(&'static str, &[Kind]); 6] = [
        ("heartbeat", &[Kind::Heartbeat]),
        ("progress", &[Kind::Progress]),
        ("submit", &[Kind::Submit, Kind::Dispatch]),
        ("result", &[Kind::Result]),
        ("cancel, dlq", &[Kind::Cancel, Kind::DeadLetter]),
        ("other", &[Kind::Alert, Kind::Other, Kind::Malformed]),
    ];
    groups
        .into_iter()
        .map(|(name, kinds)| {
            let mut series = vec![0u64; WIRE_SPANS];
            let mut sum = 0;
            for kind in kinds {
                let counts = model.traffic.of(*kind);
                sum += counts.sum_of_full(now, RATE_SPANS);
                for (total, count) in series.iter_mut().zip(counts.last(now, WIRE_SPANS)) {
                    *total += u64::from(count);
                }
            }
            WireRow {
                name,
                per_second: sum as f64 / (RATE_SPANS as f64 * 5.0),
                series,
            }
        })
        .collect()
}

/// A rollback, summed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollbackRow {
    /// When it began.
    pub at: Timestamp,
    /// Whose work is undone: a workflow, or a job.
    pub of: Arc<str>,
    /// Jobs that are to be undone, as far as they are known.
    pub to_undo: usize,
    /// How many of the jobs that undo them stand how, the worst last.
    pub steps: Vec<(JobState, usize)>,
    /// The rule that denied one of them.
    pub denied_by: Option<Arc<str>>,
    /// How long it took, once all of them have ended well.
    pub took: Option<Elapsed>,
}

/// The last `limit` rollbacks, the latest first.
pub fn rollbacks(state: &State, limit: usize) -> Vec<RollbackRow> {
    let (model, _) = shown(state);
    let rows = model.rollbacks.latest().into_iter().take(limit);
    rows.map(|(undone, rollback)| rollback_row(model, undone, rollback))
        .collect()
}

fn rollback_row(model: &Model, undone: &Undone, rollback: &Rollback) -> RollbackRow {
    let jobs: Vec<&Arc<Job>> = rollback
        .jobs
        .iter()
        .filter_map(|id| model.jobs.get(id))
        .collect();
    let (of, known) = match undone {
        Undone::Workflow(workflow) => {
            let known = model.jobs.of_workflow(workflow).filter(|job| {
                let undo = job.request.as_ref().is_some_and(|it| it.undo.is_some());
                let status = job.result.as_ref().and_then(|it| it.status);
                let happened = job.state == Some(JobState::Succeeded)
                    || status == Some(JobStatus::FailedFatal);
                undo && happened && model.rollbacks.undone_by(job).is_none()
            });
            (Arc::clone(workflow), known.count())
        }
        Undone::Job(job) => (Arc::from(job.as_str()), 1),
    };
    let order = [
        JobState::Succeeded,
        JobState::Running,
        JobState::Dispatched,
        JobState::Pending,
        JobState::ApprovalRequired,
        JobState::Cancelled,
        JobState::Timeout,
        JobState::Failed,
        JobState::Denied,
    ];
    let count = |state| jobs.iter().filter(|job| job.state == Some(state)).count();
    let steps: Vec<(JobState, usize)> = order
        .into_iter()
        .map(|state| (state, count(state)))
        .filter(|(_, count)| *count > 0)
        .collect();
    let denied = jobs
        .iter()
        .find(|job| job.state == Some(JobState::Denied) && !job.is_refused_by_worker());
    let all_done = count(JobState::Succeeded) == jobs.len() && jobs.len() >= known;
    let ended = jobs.iter().map(|job| job.since).max();
    RollbackRow {
        at: rollback.started,
        of,
        to_undo: known.max(jobs.len()),
        steps,
        denied_by: denied.and_then(|job| job.verdict.as_ref()?.rule_id.clone()),
        took: ended
            .filter(|_| all_done)
            .map(|ended| ended.since(rollback.started)),
    }
}

/// Firing alerts, the worst and then the oldest first.
pub fn alerts(model: &Model, now: Timestamp) -> Vec<Arc<Alert>> {
    let mut alerts: Vec<Arc<Alert>> = model
        .alerts
        .iter()
        .filter(|alert| alert.is_firing(now))
        .cloned()
        .collect();
    alerts.sort_by_key(|alert| (Reverse(alert.severity), alert.since));
    alerts
}
