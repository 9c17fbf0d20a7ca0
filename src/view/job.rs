//! The detail of one job: its timeline, its verdict, its request, its payload and
//! its end.

use std::sync::Arc;

use crate::ids::{JobId, SenderId};
use crate::state::State;
use crate::state::model::Model;
use crate::state::model::approvals::{Content, Payload};
use crate::state::model::jobs::{Decision, Happened, Job, JobState, Moment};
use crate::state::model::packets::{Kept, Says};
use crate::state::model::rollbacks::Undone;
use crate::state::model::traces;
use crate::text;
use crate::time::{Elapsed, Timestamp};
use crate::view::jobs::{JobRow, row, status_words};
use crate::view::{Fact, Prose, compensations, shown};
use crate::wire::packet::{ActorType, JobPriority, WireEnum as _};

/// A gap of a timeline that is this many times its usual step is worth a look.
const LONG_GAP: u64 = 10;

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

/// What is behind a pointer, or why it is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayloadView {
    /// The job carries none.
    None,
    /// It is not known whether it carries one.
    Unknown,
    /// It was not read yet.
    Unread(Arc<str>),
    /// It was read.
    Read(Arc<Payload>),
}

impl PayloadView {
    /// The size, in words; `None` while it is not known.
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::Read(payload) => payload.size,
            Self::None | Self::Unknown | Self::Unread(_) => None,
        }
    }

    /// What there is instead of text to show; `None` for text.
    pub fn instead(&self) -> Option<Prose> {
        let says = Prose::new();
        Some(match self {
            Self::None => says.own("This job carries no payload."),
            Self::Unknown => says.own("unknown: its request has not been seen"),
            Self::Unread(pointer) => says.own("Not read yet: ").outside(pointer.clone()),
            Self::Read(payload) => match &payload.content {
                Content::Text { .. } => return None,
                Content::Binary(bytes) => says.own(format!(
                    "Binary, {} bytes, shown as hex to its end.",
                    text::thousands(bytes.len() as u64)
                )),
                Content::TooLong { readable } => says.own(format!(
                    "Only {} of {} bytes can be read. What cannot be read cannot be approved; R works.",
                    text::thousands(*readable),
                    payload
                        .size
                        .map_or_else(|| "unknown".to_owned(), text::thousands),
                )),
                Content::Missing => says.own(
                    "The payload is gone (contexts live 24 h). What cannot be read cannot be approved; R works.",
                ),
                Content::Unreadable(why) => says
                    .own("It could not be read: ")
                    .outside(why.clone())
                    .own(". What cannot be read cannot be approved; R works."),
            },
        })
    }
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
        request: request(model, job, now),
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

/// The payload of a job, as far as it is known.
pub fn payload(model: &Model, job: &Job) -> PayloadView {
    let Some(request) = &job.request else {
        return PayloadView::Unknown;
    };
    match &request.context_ptr {
        Some(pointer) => match model.approvals.payload(&job.id, pointer) {
            Some(payload) => PayloadView::Read(Arc::clone(payload)),
            None => PayloadView::Unread(Arc::clone(pointer)),
        },
        None if request.complete => PayloadView::None,
        None => PayloadView::Unknown,
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
        Some((step, workflow)) => says
            .aside("   step ")
            .own(step.to_string())
            .aside(" of ")
            .outside(workflow),
        None => says,
    }
}

fn timeline(job: &Job) -> Vec<TimelineRow> {
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

fn wire_name(decision: Decision) -> String {
    decision.name().to_lowercase()
}

fn verdict(job: &Job) -> Vec<Fact> {
    let Some(verdict) = &job.verdict else {
        return vec![Fact::new(
            "verdict",
            Prose::new().own("unknown: decisions do not travel on the bus"),
        )];
    };
    let text = |value: &Option<Arc<str>>| match value {
        Some(value) => Prose::new().outside(value.clone()),
        None => Prose::new().own("unknown"),
    };
    let mut facts = vec![
        Fact::new(
            "verdict",
            match verdict.decision {
                Some(decision) => Prose::new().own(wire_name(decision)),
                None => Prose::new().own("unknown"),
            },
        ),
        Fact::new("rule", text(&verdict.rule_id)),
    ];
    if verdict.reason.is_some() {
        facts.push(Fact::new("reason", text(&verdict.reason)));
    }
    facts.push(Fact::new(
        "snapshot",
        match &verdict.snapshot {
            Some(snapshot) => Prose::new().outside(text::digest(snapshot)),
            None => Prose::new().own("unknown"),
        },
    ));
    let mut limits = Prose::new();
    for (at, limit) in verdict.constraints.iter().enumerate() {
        limits = limits
            .own(if at > 0 { ", " } else { "" })
            .outside(limit.clone());
    }
    if !limits.is_empty() {
        facts.push(Fact::new("limits", limits));
    }
    facts
}

fn outcome(state: &State, job: &Job) -> Vec<Fact> {
    let mut facts = Vec::new();
    let request = job.request.as_ref();
    let undone = undone(shown(state).0, job);
    facts.push(Fact::new(
        "rollback",
        match request.map(|request| (&request.undo, request.complete)) {
            Some((Some(undo), _)) if undone.is_some() => Prose::new().outside(undo.topic.clone()),
            Some((Some(undo), _)) if job.state == Some(JobState::Cancelled) => Prose::new()
                .outside(undo.topic.clone())
                .own(", which does not run: a cancel undoes nothing"),
            Some((Some(undo), _)) => {
                compensations::then_which(Prose::new().outside(undo.topic.clone()), state, &job.id)
            }
            Some((None, true)) => Prose::new().own("none"),
            Some((None, false)) | None => Prose::new().own("unknown"),
        },
    ));
    if let Some(key) = request.and_then(|request| request.undo.as_ref()?.idempotency_key.clone()) {
        facts.push(Fact::new("its key", Prose::new().outside(key)));
    }
    facts.extend(undone.map(|by| Fact::new("undone", by)));
    match &job.result {
        None => facts.push(Fact::new("result", Prose::new().own("none yet"))),
        Some(result) => {
            let status = match result.status {
                Some(status) => status_words(status),
                None => "told by the plane".to_owned(),
            };
            facts.push(Fact::new(
                "result",
                match &result.result_ptr {
                    Some(pointer) => Prose::new()
                        .own(format!("{status}  "))
                        .outside(pointer.clone()),
                    None => Prose::new().own(status),
                },
            ));
            if let Some(code) = &result.error_code {
                facts.push(Fact::new("code", Prose::new().outside(code.clone())));
            }
            if let Some(message) = &result.error_message {
                facts.push(Fact::new("said", Prose::new().outside(message.clone())));
            }
        }
    }
    for pointer in job.artifact_ptrs().iter().take(3) {
        facts.push(Fact::new("artifact", Prose::new().outside(pointer.clone())));
    }
    if let Some(cancel) = &job.cancel {
        let mut says = Prose::new();
        if let Some(by) = &cancel.by {
            says = says.own("asked by ").outside(by.clone());
        } else {
            says = says.own("asked");
        }
        if let Some(reason) = &cancel.reason {
            says = says.own(": ").outside(reason.clone());
        }
        if let (Some(heard), Some(stopped)) = (cancel.heard_at, cancel.worker_stopped_at) {
            let after = text::duration(stopped.since(heard));
            says = says.own(if cancel.worker_finished {
                format!(", worker did it all the same, {after} after that")
            } else {
                format!(", worker stopped after {after}")
            });
        } else if let (Some(heard), Some(still)) = (cancel.heard_at, cancel.still_reported_at) {
            let after = text::duration(still.since(heard));
            says = says.strong(format!(", worker still reported it after {after}"));
        }
        facts.push(Fact::new("cancel", says));
    }
    facts
}

/// What undid `job`, or is about to, and how that stands; `None` if nothing was asked to.
fn undone(model: &Model, job: &Job) -> Option<Prose> {
    let workflow = job.request.as_ref()?.workflow_id.clone();
    let of = workflow.map_or_else(|| Undone::Job(job.id.clone()), Undone::Workflow);
    let rollback = model.rollbacks.get(&of)?;
    let jobs = rollback.jobs.iter().filter_map(|id| model.jobs.get(id));
    let by = jobs
        .filter(|undo| traces::undoes(undo) == Some(&job.id))
        .max_by_key(|undo| undo.first_seen)?;
    let state = by.state.map_or("unknown", JobState::name);
    let says = Prose::new()
        .own("by ")
        .outside(text::id_tail(by.id.as_str()));
    Some(says.own(format!(
        ", {}",
        state.to_ascii_lowercase().replace('_', " ")
    )))
}

fn request(_model: &Model, job: &Job, now: Timestamp) -> Vec<Fact> {
    let Some(request) = &job.request else {
        return vec![Fact::new(
            "request",
            Prose::new().own("unknown: it was sent before we attached"),
        )];
    };
    let mut who = match (&request.actor, &request.principal) {
        (Some(actor), _) => Prose::new().outside(actor.clone()),
        (None, Some(principal)) => Prose::new().outside(principal.clone()),
        (None, None) => Prose::new().own("unknown"),
    };
    who = match request.actor_type {
        ActorType::Human => who.own(" (human)"),
        ActorType::Service => who.own(" (service)"),
        ActorType::Unspecified | ActorType::Unknown(_) => who,
    };
    if let (Some(_), Some(principal)) = (&request.actor, &request.principal) {
        who = who.own(" for principal ").outside(principal.clone());
    }
    let mut priority = match request.priority {
        JobPriority::Unspecified => Prose::new().own("none given"),
        known => Prose::new().own(known.name().to_lowercase()),
    };
    priority = match job.deadline() {
        Some(deadline) => priority.own(format!(", deadline {}", text::clock_near(deadline, now))),
        None => priority.own(", no deadline"),
    };
    if request.max_total_tokens > 0 {
        priority = priority.own(format!(
            ", {} tokens",
            text::thousands(request.max_total_tokens.unsigned_abs())
        ));
    }
    let list = |items: Vec<Arc<str>>| {
        let mut says = Prose::new();
        for (at, item) in items.into_iter().enumerate() {
            says = says.own(if at > 0 { ", " } else { "" }).outside(item);
        }
        if says.is_empty() {
            Prose::new().own("none")
        } else {
            says
        }
    };
    // What a list leaves out is not known to be none.
    let unless_unknown = |items: Vec<Arc<str>>| match items.is_empty() && !request.complete {
        true => Prose::new().own("unknown"),
        false => list(items),
    };
    let labels = request
        .labels
        .iter()
        .map(|(key, value)| Arc::from(format!("{key}={value}")))
        .collect();
    vec![
        Fact::new("asked by", who),
        Fact::new("priority", priority),
        Fact::new("labels", unless_unknown(labels)),
        Fact::new("risk tags", unless_unknown(request.risk_tags.to_vec())),
        Fact::new(
            "parent",
            match &request.parent {
                Some(parent) => Prose::new().outside(parent.as_str()),
                None => Prose::new().own("none"),
            },
        ),
        Fact::new(
            "context",
            match &request.context_ptr {
                Some(pointer) => Prose::new().outside(pointer.clone()),
                None => Prose::new().own("none"),
            },
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::script;
    use crate::view::Part;
    use crate::view::jobs::Why;

    /// Facts as they read.
    fn words(facts: &[Fact]) -> Vec<String> {
        facts
            .iter()
            .map(|fact| {
                let parts = fact.value.0.iter().map(|part| match part {
                    Part::Own(text) | Part::Strong(text) | Part::Aside(text) => text,
                    Part::Outside(text) => &**text,
                });
                format!("{} {}", fact.label, parts.collect::<String>())
            })
            .collect()
    }

    /// The facts of the end of the one job of a script.
    #[track_caller]
    fn check_outcome(script: &str, expected: &str) {
        let state = script::run(script).expect("a script");
        let job = state.model.jobs.by_birth().next().expect("a job");
        assert_eq!(
            words(&outcome(&state, job)).join(" | "),
            expected,
            "{script}"
        );
    }

    /// The timeline of the one job of a script, by seconds.
    #[track_caller]
    fn check_timeline(script: &str, expected: &[&str]) {
        let state = script::run(script).expect("a script");
        let job = state.model.jobs.by_birth().next().expect("a job");
        let rows: Vec<String> = timeline(job)
            .into_iter()
            .map(|row| {
                let ms = row.at.since(script::START).as_millis();
                let says = words(&[Fact::new("", row.what)]).join("");
                format!("{}.{:03}{says}", ms / 1_000, ms % 1_000)
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

    #[test]
    fn labels_and_risk_tags_that_nobody_told_are_unknown_and_not_none() {
        let check = |script: &str, expected: [&str; 2]| {
            let state = script::run(script).expect("a script");
            let job = state.model.jobs.by_birth().next().expect("a job");
            let facts = words(&request(&state.model, job, state.now));
            let [labels, risk] = expected;
            for said in [format!("labels {labels}"), format!("risk tags {risk}")] {
                assert!(facts.contains(&said), "{said} of {facts:?}, {script}");
            }
        };
        check("0s told j1 RUNNING partial=yes", ["unknown", "unknown"]);
        check(
            "0s told j1 RUNNING partial=yes risk=prod",
            ["unknown", "prod"],
        );
        check("0s submit j1", ["none", "none"]);
    }

    #[test]
    fn the_detail_says_who_stopped_a_job_whether_that_was_told_or_heard() {
        let told = "told j1 CANCELLED cancelled-by=ops-anna because=\"wrong tenant\"";
        check_outcome(
            &format!("9s {told}"),
            "rollback none | result none yet | cancel asked by ops-anna: wrong tenant",
        );
        // A wish that says nothing takes nothing away.
        check_outcome(
            &format!("9s {told} | 10s cancel j1"),
            "rollback none | result none yet | cancel asked by ops-anna: wrong tenant",
        );
    }

    #[test]
    fn a_cancel_is_followed_to_its_end_and_so_is_an_undo() {
        let undo =
            "0s submit j1 topic=job.a undo=job.undo_a | 1s dispatch j1 w1 | 1s progress j1 10%";
        let cancel = format!("{undo} | 2s cancel j1 for=ann reason=late | 2s told j1 CANCELLED");
        let begins = "rollback job.undo_a, which does not run: a cancel undoes nothing \
                      | its key j1/undo | result none yet | cancel asked by ann: late";
        check_outcome(&cancel, begins);
        check_outcome(
            &format!("{cancel} | 9s progress j1 20%"),
            &format!("{begins}, worker still reported it after 7s"),
        );
        let saga = "workflow=wf | 1s dispatch j1 w1 | 2s succeed j1 w1 \
                    | 3s submit u topic=job.undo_a parent=j1 labels=saga_compensation:true,saga_workflow_id:wf";
        check_outcome(
            &format!("0s submit j1 topic=job.a undo=job.undo_a {saga} | 4s succeed u w1"),
            "rollback job.undo_a | its key j1/undo | undone by u, succeeded | result SUCCEEDED",
        );
    }

    #[test]
    fn the_detail_says_what_policy_would_say_of_the_undo() {
        let undo = "0s policy s1 | 0s submit j1 topic=job.a undo=job.undo_a";
        check_outcome(
            &format!("{undo} | 1s judged j1 DENY rule=r1 reason=never snapshot=s1"),
            "rollback job.undo_a, which policy would deny: rule r1, never | its key j1/undo | result none yet",
        );
        check_outcome(
            undo,
            "rollback job.undo_a; whether policy would allow it is unknown | its key j1/undo | result none yet",
        );
    }

    #[test]
    fn a_status_that_the_contract_does_not_have_is_shown_by_its_number() {
        let check = |script: &str, said: &str| {
            let state = script::run(script).expect("a script");
            let job = state.model.jobs.by_birth().next().expect("a job");
            let row = row(&state.model, job, &[], state.now);
            assert_eq!(row.state, Some(JobState::Failed), "{script}");
            let Why::Ended { said: row, .. } = row.why else {
                panic!("{:?}", row.why);
            };
            assert_eq!(row.as_deref(), Some(said), "{script}");
        };
        check("0s submit j1 | 1s odd j1 w1", "status 77");
        let worded = "0s submit j1 | 1s odd j1 w1 message=\"it is odd\"";
        check(worded, "status 77: it is odd");
        check("0s submit j1 | 1s fail j1 w1 message=boom", "boom");
        check_outcome(worded, "rollback none | result status 77 | said it is odd");
    }
}
