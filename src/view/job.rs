//! The detail of one job: its timeline, its verdict, its request, its payload and
//! its end.

use std::sync::Arc;

use crate::ids::{JobId, SenderId};
use crate::state::State;
use crate::state::model::jobs::{Decision, Job};
use crate::state::model::packets::{Kept, Says};
use crate::text;
use crate::time::{Elapsed, Timestamp};
use crate::view::jobs::{JobRow, row, status_words};
use crate::view::{Fact, Prose, shown};

mod facts;
mod payload;
mod timeline;

pub use payload::{PayloadView, payload};
pub use timeline::TimelineRow;

use facts::{outcome, request, verdict};
use timeline::timeline;

/// The detail of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobView {
    /// The job.
    pub id: JobId,
    /// Its row in the table.
    pub row: JobRow,
    /// When something about it changed last.
    pub age: Elapsed,
    /// Where it belongs: topic, tenant, trace, workflow.
    pub place: Prose,
    /// What happened, oldest first.
    pub timeline: Vec<TimelineRow>,
    /// Moments that the timeline lost.
    pub lost_moments: u32,
    /// What policy decided.
    pub verdict: Vec<Fact>,
    /// How it is undone and how it ended.
    pub outcome: Vec<Fact>,
    /// What was asked for.
    pub request: Vec<Fact>,
    /// Its payload.
    pub payload: PayloadView,
    /// The packets about it that are kept, the newest first.
    pub packets: Vec<PacketRow>,
    /// How many of them have findings.
    pub odd_packets: usize,
    /// Whether older ones may have been forgotten.
    pub packets_forgotten: bool,
}

/// A packet about a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketRow {
    /// When it was heard.
    pub at: Timestamp,
    /// Where.
    pub subject: Arc<str>,
    /// Who says that it sent it.
    pub from: SenderId,
    /// What it says.
    pub says: Prose,
    /// How much is odd about it.
    pub findings: usize,
}

/// The detail of the job that is open; `None` without one, or when it is no longer known.
pub fn job(state: &State) -> Option<JobView> {
    let (model, now) = shown(state);
    let id = &state.ui.detail()?.job;
    let job = model.jobs.get(id)?;
    let packets: Vec<PacketRow> = model.packets.of_job(id).map(packet).collect();
    Some(JobView {
        odd_packets: packets.iter().filter(|it| it.findings > 0).count(),
        packets_forgotten: model.packets.dropped() > 0,
        packets,
        id: id.clone(),
        row: row(model, job, &model.pools_at(now), now),
        age: now.since(job.updated_at),
        place: place(job),
        timeline: timeline(job),
        lost_moments: job.history_dropped,
        verdict: verdict(job),
        outcome: outcome(state, job),
        request: request(job, now),
        payload: payload(model, job),
    })
}

fn packet(kept: &Kept) -> PacketRow {
    let says = Prose::new();
    let with = |says: Prose, before: &str, said: &Option<Arc<str>>| match said {
        Some(said) => says.own(before).outside(said.clone()),
        None => says,
    };
    PacketRow {
        at: kept.at,
        subject: Arc::clone(&kept.subject),
        from: kept.sender.clone(),
        findings: kept.findings,
        says: match &kept.says {
            Says::Submitted => says.own("job_request"),
            Says::Dispatched => says.own("job_request, dispatch"),
            Says::Progress { percent, message } => {
                with(says.own(format!("{percent}%")), "  ", message)
            }
            Says::Result {
                status,
                dead_letter,
                cause,
            } => {
                let what = if *dead_letter { ", dead letter" } else { "" };
                let says = says.own(format!("job_result {}{what}", status_words(*status)));
                with(says, ": ", cause)
            }
            Says::Cancel { by, reason } => {
                with(with(says.own("job_cancel"), " for ", by), ": ", reason)
            }
        },
    }
}

fn place(job: &Job) -> Prose {
    let mut says = Prose::new();
    let mut add = |label: &str, value: Option<Arc<str>>| {
        let own = std::mem::take(&mut says);
        let own = own.aside(format!("   {label} "));
        says = match value {
            Some(value) => own.outside(value),
            None => own.aside("unknown"),
        };
    };
    let request = job.request.as_ref();
    add("topic", request.and_then(|request| request.topic.clone()));
    add("tenant", request.and_then(|request| request.tenant.clone()));
    if let Some(trace) = &job.trace {
        let tail = text::id_tail(trace.as_str());
        let dots = if tail.len() < trace.as_str().len() {
            "…"
        } else {
            ""
        };
        add("trace", Some(Arc::from(format!("{dots}{tail}"))));
    }
    match request.and_then(|request| Some((request.step_index, request.workflow_id.clone()?))) {
        // The first step, or one that has no number.
        Some((0, workflow)) => says.aside("   in ").outside(workflow),
        Some((step, workflow)) => says
            .aside("   step ")
            .own(step.to_string())
            .aside(" of ")
            .outside(workflow),
        None => says,
    }
}

fn wire_name(decision: Decision) -> String {
    decision.name().to_lowercase()
}
