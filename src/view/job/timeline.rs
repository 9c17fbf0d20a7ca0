//! The timeline of a job: what happened to it, oldest first.

use std::sync::Arc;

use super::wire_name;
use crate::state::model::jobs::{Happened, Job, JobState, Moment};
use crate::time::{Elapsed, Timestamp};
use crate::view::Prose;

/// A gap of a timeline that is this many times its usual step is worth a look.
const LONG_GAP: u64 = 10;

/// A line of the timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineRow {
    /// When.
    pub at: Timestamp,
    /// Since the line before; `None` for the first.
    pub gap: Option<Elapsed>,
    /// Whether that is much longer than usual for this job.
    pub long: bool,
    /// The state it came into, if it did.
    pub state: Option<JobState>,
    /// What happened.
    pub what: Prose,
}

pub(super) fn timeline(job: &Job) -> Vec<TimelineRow> {
    let usual = job.usual_step().map(Elapsed::as_millis);
    let mut before: Option<Timestamp> = None;
    in_order(job)
        .into_iter()
        .map(|moment| {
            let gap = before.map(|before| moment.at.since(before));
            before = Some(moment.at);
            let (state, what) = happened(&moment.what);
            let long = match (gap, usual) {
                (Some(gap), Some(usual)) => {
                    usual > 0 && gap.as_millis() > usual.saturating_mul(LONG_GAP)
                }
                _ => false,
            };
            TimelineRow {
                at: moment.at,
                gap,
                long,
                state,
                what,
            }
        })
        .collect()
}

/// The life of a job in the order in which it happened. Requests, dispatches and reports
/// are heard on lines of their own, so that one overtakes another by a moment.
fn in_order(job: &Job) -> Vec<Moment> {
    let is_submit = |moment: &Moment| matches!(moment.what, Happened::Submitted(_));
    let mut moments: Vec<Moment> = job.history.to_vec();
    let submits = moments.iter().filter(|it| is_submit(it)).count();
    if submits == 1 && job.history_dropped == 0 {
        // Nothing happens to a job before somebody asks for it.
        let first = moments.iter().map(|it| it.at).min();
        for moment in moments.iter_mut().filter(|it| is_submit(it)) {
            moment.at = first.unwrap_or(moment.at);
        }
    }
    // What is of one instant stands in the order of a life, unless that began anew.
    let again = |it: &Moment| it.what == Happened::Became(JobState::Retrying);
    let again = submits > 1 || moments.iter().any(again);
    let rank = |moment: &Moment| match moment.what {
        _ if again => 0,
        Happened::Submitted(_) | Happened::Became(JobState::Pending) => 0,
        Happened::Decided(_) => 1,
        Happened::Became(JobState::Scheduled) => 2,
        Happened::Dispatched(_) | Happened::Became(JobState::Dispatched) => 3,
        Happened::FirstWord(_) | Happened::Became(JobState::Running) => 4,
        Happened::Became(_) | Happened::CancelAsked(_) | Happened::DeadLetter(_) => 5,
    };
    moments.sort_by_key(|moment| (moment.at, rank(moment)));
    moments
}

fn happened(what: &Happened) -> (Option<JobState>, Prose) {
    let says = Prose::new();
    let by = |says: Prose, who: &Option<Arc<str>>| match who {
        Some(who) => says.own(" by ").outside(who.clone()),
        None => says,
    };
    match what {
        Happened::Submitted(who) => (None, by(says.own("submitted"), who)),
        Happened::Dispatched(Some(worker)) => (
            Some(JobState::Dispatched),
            says.own("dispatched to ").outside(worker.as_str()),
        ),
        Happened::Dispatched(None) => (Some(JobState::Dispatched), says.own("dispatched")),
        Happened::FirstWord(Some(worker)) => (
            Some(JobState::Running),
            says.own("first word of ").outside(worker.as_str()),
        ),
        Happened::FirstWord(None) => (Some(JobState::Running), says.own("first word")),
        Happened::Became(state) => (
            Some(*state),
            says.own(state.name().to_lowercase().replace('_', " ")),
        ),
        Happened::Decided(decision) => {
            (None, says.own(format!("policy: {}", wire_name(*decision))))
        }
        Happened::CancelAsked(who) => (None, by(says.own("cancel asked"), who)),
        Happened::DeadLetter(Some(code)) => (None, says.own("dead letter: ").outside(code.clone())),
        Happened::DeadLetter(None) => (None, says.own("dead letter")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::script;

    /// The timeline of the one job of a script, by seconds.
    #[track_caller]
    fn check_timeline(script: &str, expected: &[&str]) {
        let state = script::run(script).expect("a script");
        let job = state.model.jobs.by_birth().next().expect("a job");
        let rows: Vec<String> = timeline(job)
            .into_iter()
            .map(|row| {
                let ms = row.at.since(script::START).as_millis();
                format!("{}.{:03} {}", ms / 1_000, ms % 1_000, row.what.plain())
            })
            .collect();
        assert_eq!(rows, expected, "{script}");
    }

    #[test]
    fn a_job_is_submitted_before_it_is_judged_and_dispatched_however_that_was_heard() {
        let heard = "1s dispatch a w1 topic=job.a | 1.001s submit a topic=job.a by=ann";
        check_timeline(heard, &["1.000 submitted by ann", "1.000 dispatched to w1"]);
        check_timeline(
            &format!(
                "{heard} | 9s told a DISPATCHED told=1s decision=ALLOW decided=1s record=1s:PENDING,1s:ALLOW,1s:SCHEDULED"
            ),
            &[
                "1.000 submitted by ann",
                "1.000 policy: allow",
                "1.000 scheduled",
                "1.000 dispatched to w1",
            ],
        );
        // What is tried again keeps the order in which it came.
        check_timeline(
            "1s submit a topic=job.a by=ann | 1s dispatch a w1 topic=job.a | 2s progress a 5% \
             | 3s dispatch a w2 topic=job.a sent=5s | 4s retryable a w1",
            &[
                "1.000 submitted by ann",
                "1.000 dispatched to w1",
                "2.000 first word of w1",
                "4.000 retrying",
                "4.000 dispatched to w2",
            ],
        );
    }
}
