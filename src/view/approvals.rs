//! The queue of approvals, what was decided lately, and the one under the cursor.

use std::sync::Arc;

use crate::ids::JobId;
use crate::state::State;
use crate::state::event::Source;
use crate::state::model::Model;
use crate::state::model::approvals::alike::WhatRuns;
use crate::state::model::approvals::{Approval, ApprovalStatus, Check, Content, Payload, held};
use crate::state::ui::ListId;
use crate::state::ui::list::Subject;
use crate::text;
use crate::time::{Elapsed, Timestamp};
use crate::view::{Fact, Prose, compensations, rollbacks, shown};

/// The visible part of the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalsView {
    /// The rows that can be seen.
    pub rows: Vec<ApprovalRow>,
    /// Rows that pass the filter, and those that ended and are still on the screen.
    pub passing: usize,
    /// Those of them that wait.
    pub waiting: usize,
    /// Rows that are marked.
    pub marked: usize,
    /// What they are sorted by, in words.
    pub sort: &'static str,
    /// The filter as typed.
    pub filter: String,
    /// The policy in force; `None` if nobody told.
    pub snapshot: Option<Arc<str>>,
    /// How old the plane's last answer is; `None` if it never answered.
    pub told: Option<Elapsed>,
}

/// An approval in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalRow {
    /// The job that waits.
    pub id: JobId,
    /// How long it waits.
    pub wait: Elapsed,
    /// Time to its deadline, zero if that has passed; `None` without one.
    pub left: Option<Elapsed>,
    /// How close the deadline is: 0 under five minutes, 1 under fifteen, 2 beyond.
    pub band: u8,
    /// Known jobs that stand behind it; `None` if the plane does not say.
    pub held: Option<u32>,
    /// What would run, on what.
    pub action: WhatRuns,
    /// The rule that holds it.
    pub rule: Option<Arc<str>>,
    /// What makes it risky.
    pub risk: Vec<Arc<str>>,
    /// Whether it can be undone; `None` is not known.
    pub undo: Option<bool>,
    /// Who asked.
    pub requester: Option<Arc<str>>,
    /// For which tenant.
    pub tenant: Option<Arc<str>>,
    /// The policy that asked for a person.
    pub snapshot: Option<Arc<str>>,
    /// Whether it can be decided as it is.
    pub standing: Standing,
    /// The cursor is here.
    pub selected: bool,
    /// It is marked.
    pub marked: bool,
}

/// Whether an approval can be decided as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can.
    Ready,
    /// The policy moved since it was asked for.
    Moved,
    /// The stored request is not the one that policy judged.
    Changed,
    /// Its payload was looked for and is gone, so nothing can be read and approved.
    NoPayload,
    /// The plane says that it can no longer be decided, in its word.
    NotActionable(Arc<str>),
    /// You asked for the job yourself.
    Yours,
    /// This console decided and has not seen it done.
    Deciding,
    /// It ended while it was on the screen.
    Ended(ApprovalStatus),
}

/// An approval that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecidedRow {
    /// The job.
    pub id: JobId,
    /// When; `None` if the plane does not say.
    pub at: Option<Timestamp>,
    /// How.
    pub status: ApprovalStatus,
    /// What would have run.
    pub action: WhatRuns,
    /// The rule that held it.
    pub rule: Option<Arc<str>>,
    /// Who decided.
    pub by: Option<Arc<str>>,
    /// The note or the reason.
    pub comment: Option<Arc<str>>,
}

/// The queue as it is visible in `height` rows.
pub fn approvals(state: &State, height: usize) -> ApprovalsView {
    let (model, now) = shown(state);
    let list = state.ui.list(ListId::Approvals);
    let rows = list.state.order()[list.state.window(height)]
        .iter()
        .filter_map(|subject| {
            let approval = model.approvals.get(subject.job()?)?;
            Some(ApprovalRow {
                selected: list.state.selected() == Some(subject),
                marked: list.state.marks().contains(subject),
                ..row(state, model, approval, now)
            })
        })
        .collect();
    ApprovalsView {
        rows,
        passing: list.state.order().len(),
        waiting: list
            .state
            .order()
            .iter()
            .filter_map(|subject| model.approvals.get(subject.job()?))
            .filter(|approval| approval.fact.status == ApprovalStatus::Pending)
            .count(),
        marked: list.state.marks().len(),
        sort: match list.sort(ListId::Approvals).word() {
            "attention first" => "cost of waiting first",
            other => other,
        },
        filter: list.filter_text.clone(),
        snapshot: model.snapshot.clone(),
        told: model.approvals.told_at().map(|at| now.since(at)),
    }
}

/// The approvals that wait longest, as they are visible in `height` rows of the overview.
pub fn oldest(state: &State, height: usize) -> Vec<ApprovalRow> {
    let (model, now) = shown(state);
    let list = &state.ui.list(ListId::OldestApprovals).state;
    list.order()[list.window(height)]
        .iter()
        .filter_map(|subject| model.approvals.get(subject.job()?))
        .filter(|approval| approval.fact.status == ApprovalStatus::Pending)
        .map(|approval| ApprovalRow {
            selected: list.selected().and_then(Subject::job) == Some(approval.id()),
            ..row(state, model, approval, now)
        })
        .collect()
}

/// One approval as a row, without cursor and mark.
pub fn row(state: &State, model: &Model, approval: &Approval, now: Timestamp) -> ApprovalRow {
    let request = approval.fact.job.request.as_ref();
    // A deadline says nothing about what nobody can decide any more.
    let fact = &approval.fact;
    let counts = fact.status == ApprovalStatus::Pending && fact.not_actionable.is_none();
    ApprovalRow {
        id: approval.id().clone(),
        wait: approval.wait(now),
        left: approval.time_left(now).filter(|_| counts),
        band: if counts { approval.sla_band(now) } else { 2 },
        held: held(approval, &model.jobs),
        action: approval.what_runs(),
        rule: approval
            .fact
            .job
            .verdict
            .as_ref()
            .and_then(|verdict| verdict.rule_id.clone()),
        risk: request.map_or_else(Vec::new, |request| request.risk_tags.to_vec()),
        undo: approval.undo().map(|undo| undo.is_some()),
        requester: approval.requester(),
        tenant: request.and_then(|request| request.tenant.clone()),
        snapshot: approval
            .fact
            .job
            .verdict
            .as_ref()
            .and_then(|verdict| verdict.snapshot.clone()),
        standing: standing(state, model, approval),
        selected: false,
        marked: false,
    }
}

fn standing(state: &State, model: &Model, approval: &Approval) -> Standing {
    let deciding = model
        .jobs
        .get(approval.id())
        .is_some_and(|job| job.pending.is_some());
    let gone = approval
        .context_ptr()
        .and_then(|pointer| model.approvals.payload(approval.id(), pointer))
        .is_some_and(|payload| payload.content == Content::Missing);
    if approval.fact.status != ApprovalStatus::Pending {
        Standing::Ended(approval.fact.status)
    } else if deciding || state.ui.is_deciding(approval.id()) {
        Standing::Deciding
    } else if let Some(why) = &approval.fact.not_actionable {
        Standing::NotActionable(Arc::clone(why))
    } else if approval.hash() == Check::Differs {
        Standing::Changed
    } else if approval.snapshot(model.snapshot.as_deref()) == Check::Differs {
        Standing::Moved
    } else if gone {
        Standing::NoPayload
    } else if approval.is_asked_by(&state.ui.manners.operator) {
        Standing::Yours
    } else {
        Standing::Ready
    }
}

/// Approvals that have ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecidedView {
    /// The rows that can be seen, the last one first.
    pub rows: Vec<DecidedRow>,
    /// How many are known.
    pub total: usize,
    /// How many of them a person decided.
    pub by_a_person: usize,
    /// How many a person decided within the last hour.
    pub lately: usize,
}

/// Approvals that have ended, at most `limit` of them as rows.
pub fn decided(state: &State, limit: usize) -> DecidedView {
    let (model, now) = shown(state);
    let ended = model.approvals.ended();
    let person = |it: &&Arc<Approval>| it.fact.status.is_by_a_person();
    let within_an_hour = |it: &Arc<Approval>| {
        let at = it.fact.resolved_at;
        at.is_some_and(|at| now.since(at) <= Elapsed::from_secs(3_600))
    };
    DecidedView {
        total: ended.len(),
        by_a_person: ended.iter().copied().filter(person).count(),
        lately: ended
            .iter()
            .copied()
            .filter(person)
            .filter(|it| within_an_hour(it))
            .count(),
        rows: ended
            .into_iter()
            .take(limit)
            .map(|approval| DecidedRow {
                id: approval.id().clone(),
                at: approval.fact.resolved_at,
                status: approval.fact.status,
                action: approval.what_runs(),
                rule: approval
                    .fact
                    .job
                    .verdict
                    .as_ref()
                    .and_then(|verdict| verdict.rule_id.clone()),
                by: approval.fact.resolved_by.clone(),
                comment: approval.fact.resolved_comment.clone(),
            })
            .collect(),
    }
}

/// Whether approvals can be known at all: they do not travel on the bus.
pub fn can_be_known(state: &State) -> bool {
    let links = &state.model.links;
    [Source::Gateway, Source::Store]
        .iter()
        .any(|source| links.of(*source).name() != "absent")
}

/// What a yes means, in one sentence.
pub fn sentence(approval: &Approval) -> Prose {
    let action = approval.what_runs();
    let verdict = approval.fact.job.verdict.as_ref();
    let said = |says: Prose, value: &Option<Arc<str>>, missing: &str| match value {
        Some(value) => says.outside(value.clone()),
        None => says.own(missing),
    };
    let says = Prose::new().strong("Approve lets ");
    let says = said(says, &approval.requester(), "an unknown requester");
    let says = said(says.strong(" run "), &action.what, "an unknown action");
    let says = said(says.strong(" on "), &action.system, "an unknown system");
    let says = match &action.resource {
        Some(resource) => says.own(" (").outside(resource.clone()).own(")"),
        None => says,
    };
    let says = says.strong(", held by rule ");
    let rule = verdict.and_then(|verdict| verdict.rule_id.clone());
    let says = said(says, &rule, "unknown");
    match verdict.and_then(|verdict| verdict.reason.clone()) {
        Some(reason) => says.own(": ").outside(reason).own("."),
        None => says.own("."),
    }
}

/// The facts under the queue for the approval with the cursor.
pub fn under_cursor(state: &State) -> Option<(JobId, Prose, Vec<Fact>)> {
    let (model, now) = shown(state);
    let selected = state.ui.list(ListId::Approvals).state.selected()?;
    let approval = model.approvals.get(selected.job()?)?;
    let steps = rollbacks::steps_behind(model, approval.id(), now);
    let held = match (steps, held(approval, &model.jobs)) {
        (Some(steps), _) => Prose::new().own(format!("{} behind it", rollbacks::more_steps(steps))),
        (None, Some(0)) => Prose::new().own("no known job stands behind it"),
        (None, Some(held)) => Prose::new().own(format!(
            "{} behind it",
            text::count(u64::from(held), "known job", "known jobs")
        )),
        (None, None) => Prose::new().own("unknown: the plane does not tell"),
    };
    let undo = match approval.undo() {
        Some(Some(undo)) => Prose::new()
            .outside(undo.topic.clone())
            .then(compensations::clause(state, approval.id())),
        Some(None) => Prose::new().strong("none: what it does stays done"),
        None => Prose::new().own("unknown: the plane does not tell"),
    };
    let snapshot = match approval.snapshot(model.snapshot.as_deref()) {
        Check::Matches => Prose::new().own("✓ snapshot current"),
        Check::Differs => Prose::new().strong("≠ the policy moved since"),
        Check::Unknown => Prose::new().own("unknown whether the policy moved"),
    };
    let hash = match approval.hash() {
        Check::Matches => Prose::new().own("✓ hash matches"),
        Check::Differs => Prose::new().strong("≠ the request changed since"),
        Check::Unknown => Prose::new().own("unknown whether it changed"),
    };
    let deadline = match approval.time_left(now) {
        Some(left) if left == Elapsed::ZERO => Prose::new().strong("has passed"),
        Some(left) => Prose::new().own(format!("{}, then timeout", text::age(left))),
        None => Prose::new().own("none"),
    };
    let payload = match approval.context_ptr() {
        None => Prose::new().own("none that the plane tells"),
        Some(pointer) => match model.approvals.payload(approval.id(), pointer) {
            None => Prose::new().own("not read yet; a review reads it"),
            Some(payload) => payload_in_short(payload),
        },
    };
    let facts = vec![
        Fact::new("holds up", held),
        Fact::new("undo", undo),
        Fact::new("payload", payload),
        Fact::new("policy", snapshot),
        Fact::new("request", hash),
        Fact::new("deadline", deadline),
    ];
    Some((approval.id().clone(), sentence(approval), facts))
}

/// What was read behind a pointer, in a few words.
fn payload_in_short(payload: &Payload) -> Prose {
    let size = match payload.size {
        Some(size) => format!("{} bytes", text::thousands(size)),
        None => "unknown size".to_owned(),
    };
    match &payload.content {
        Content::Text {
            text: it, secrets, ..
        } => {
            let mut says = size;
            for (count, one, many) in [
                (
                    text::hidden_characters(it),
                    "control character",
                    "control characters",
                ),
                (secrets.len(), "secret masked", "secrets masked"),
            ] {
                if count > 0 {
                    says = format!("{says}, {}", text::count(count as u64, one, many));
                }
            }
            Prose::new().own(says)
        }
        Content::Binary(_) => Prose::new().own(format!("{size}, binary")),
        Content::TooLong { .. } => Prose::new().own(format!("{size}, too long to be read")),
        Content::Missing => Prose::new().strong("gone: it cannot be approved"),
        Content::Unreadable(why) => Prose::new().own("unreadable: ").outside(why.clone()),
    }
}
