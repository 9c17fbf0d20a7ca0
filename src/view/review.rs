//! The review of one approval: everything that can be known before a yes.

use std::sync::Arc;

use crate::ids::JobId;
use crate::state::State;
use crate::state::model::Model;
use crate::state::model::approvals::{Approval, Check, held};
use crate::state::ui::ListId;
use crate::state::ui::review::{Condition, Met, Refused};
use crate::text;
use crate::time::{Elapsed, Timestamp};
use crate::view::approvals::sentence;
use crate::view::compensations;
use crate::view::job::PayloadView;
use crate::view::limits::limits;
use crate::view::missing::teller;
use crate::view::{Fact, Prose, rollbacks};
use crate::wire::packet::{ActorType, JobPriority, WireEnum as _};

/// The open review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewView {
    /// The job that waits.
    pub id: JobId,
    /// Its place in the queue, from 1, and how many wait.
    pub place: Option<(usize, usize)>,
    /// Whether that is its place among jobs that are reviewed together.
    pub together: bool,
    /// How long it waits.
    pub wait: Elapsed,
    /// Time to its deadline, zero if that has passed; `None` without one.
    pub left: Option<Elapsed>,
    /// How close the deadline is: 0 under five minutes, 1 under fifteen, 2 beyond.
    pub band: u8,
    /// What a yes means.
    pub sentence: Prose,
    /// What the request does not say although it should; empty if it says all.
    pub partial: Prose,
    /// What was asked for.
    pub request: Vec<Fact>,
    /// What policy said, and whether it still says so.
    pub policy: Vec<Fact>,
    /// What it touches.
    pub blast: Vec<Fact>,
    /// How it would be undone.
    pub undo: Vec<Fact>,
    /// Limits that ride on a yes.
    pub limits: Vec<Fact>,
    /// How jobs like this one were decided.
    pub precedents: Vec<Fact>,
    /// What is known to be decided, such as `of 12 the plane lists`.
    pub precedents_of: String,
    /// The payload.
    pub payload: PayloadView,
    /// Lines of the payload that a reload changed and that were not passed since.
    pub changed: Vec<usize>,
    /// Which reading of the payload it is, if all was read; frames name it.
    pub reading: Option<u64>,
    /// Whether its secrets are shown.
    pub reveals: bool,
    /// What must hold before a yes, in order.
    pub gate: Vec<Condition>,
    /// Whether something moved, so that what is shown is only what was read.
    pub moved: bool,
    /// When it was read.
    pub read_at: Timestamp,
    /// How old the plane's last answer is, while it gives none; `None` while it does.
    pub old: Option<Elapsed>,
    /// The last refusal.
    pub refused: Option<Refused>,
    /// First payload row on the screen.
    pub scroll: usize,
    /// Whether the facts have the keyboard.
    pub facts_focused: bool,
    /// First row of the facts on the screen.
    pub facts_scroll: usize,
}

/// The open review; `None` without one, or when the plane no longer lists it.
pub fn review(state: &State) -> Option<ReviewView> {
    // A review is about what is now: a freeze does not hold it.
    let (model, now) = (&state.model, state.now);
    let reviews = state.ui.reviews()?;
    let review = reviews.shown();
    let live = model.approvals.get(&review.job)?;
    let as_of = silent_since(model);
    let mut gate = state.ui.gate(model);
    if as_of.is_some() {
        for condition in gate.iter_mut().filter(|it| it.met == Met::Yes) {
            // What the plane says of these can have changed since it fell silent.
            let now = match condition.text.as_str() {
                "policy current" => "policy not known now",
                "request unchanged" => "request not known now",
                _ => continue,
            };
            condition.text = now.to_owned();
            condition.met = Met::NotYet;
        }
    }
    let moved = reviews
        .conditions(review, model, &|job| state.ui.is_reading(job))
        .iter()
        .any(|it| it.met == Met::Moved);
    // What moved is not put in the place of what was read: that copy stays.
    let copy = review.read.approval.as_ref().filter(|_| moved);
    let approval: &Approval = copy.unwrap_or(live);
    let order = state.ui.list(ListId::Approvals).state.order();
    let together = reviews.are_several();
    let place = if together {
        Some(reviews.place())
    } else {
        order
            .iter()
            .position(|subject| subject.job() == Some(&review.job))
            .map(|at| (at + 1, order.len()))
    };
    let verdict = approval.fact.job.verdict.as_ref();
    let request = approval.fact.job.request.as_ref();
    let pointer = request.and_then(|request| request.context_ptr.clone());
    let read = review.read.payload.as_ref().filter(|_| moved);
    // What is on the screen is what was read, and nothing that came since.
    let shows_reading = review.bound && (!moved || read.is_some());
    let payload = match (read, pointer) {
        (Some(read), _) => PayloadView::Read(Arc::clone(read)),
        (None, Some(pointer)) => match model.approvals.payload(&review.job, &pointer) {
            Some(payload) => PayloadView::Read(Arc::clone(payload)),
            None => PayloadView::Unread(pointer),
        },
        (None, None) if request.is_some_and(|request| request.complete) => PayloadView::None,
        (None, None) => PayloadView::Unknown,
    };
    let partial = if !approval.what_runs().declares_blast_radius() {
        Prose::new().own("Context is partial: no blast radius was declared.")
    } else {
        Prose::new()
    };
    let (precedents, precedents_of) = precedent_facts(model, approval, now);
    Some(ReviewView {
        id: review.job.clone(),
        place,
        together,
        wait: approval.wait(now),
        left: approval.time_left(now),
        band: approval.sla_band(now),
        sentence: sentence(approval),
        partial,
        request: request_facts(model, approval, now),
        policy: policy_facts(model, approval, as_of.is_some()),
        blast: blast_facts(model, approval, now),
        undo: undo_facts(state, model, approval),
        limits: limits(verdict.map_or(&[], |verdict| &verdict.constraints)),
        precedents,
        precedents_of,
        payload,
        changed: review.changed().collect(),
        reading: shows_reading.then_some(review.reading),
        reveals: review.reveals(now),
        moved,
        gate,
        read_at: review.read.at,
        old: as_of.map(|at| now.since(at)),
        refused: review.refused.clone(),
        scroll: review.scroll,
        facts_focused: review.facts,
        facts_scroll: review.facts_scroll,
    })
}

/// When the server that tells of approvals last did, if it does not answer now.
fn silent_since(model: &Model) -> Option<Timestamp> {
    let line = model.links.of(model.links.teller()?);
    let told_at = model.approvals.told_at()?;
    (!line.is_up()).then_some(told_at)
}

fn told(model: &Model, value: &Option<Arc<str>>) -> Prose {
    match value {
        Some(value) => Prose::new().outside(value.clone()),
        None => not_told(model),
    }
}

fn not_told(model: &Model) -> Prose {
    Prose::new().own(format!("unknown: {} does not tell", teller(model)))
}

fn request_facts(model: &Model, approval: &Approval, now: Timestamp) -> Vec<Fact> {
    let mut facts = vec![Fact::new(
        "job",
        Prose::new().outside(approval.id().as_str()),
    )];
    let Some(request) = &approval.fact.job.request else {
        facts.push(Fact::new("request", not_told(model)));
        return facts;
    };
    let mut who = told(model, &approval.requester());
    who = match request.actor_type {
        ActorType::Human => who.own(" (human)"),
        ActorType::Service => who.own(" (service)"),
        ActorType::Unspecified | ActorType::Unknown(_) => who,
    };
    if let Some(principal) = &request.principal {
        who = who.own(" for principal ").outside(principal.clone());
    }
    who = match &request.tenant {
        Some(tenant) => who.own(", tenant ").outside(tenant.clone()),
        None => who.own(", tenant unknown"),
    };
    facts.push(Fact::new("asked by", who));
    let mut topic = told(model, &request.topic);
    if request.priority != JobPriority::Unspecified {
        topic = topic.own(format!(", {}", request.priority.name().to_lowercase()));
    }
    if let Some(workflow) = &request.workflow_id {
        let place = match request.step_index {
            // The first step, or one that has no number.
            0 => ", in workflow ".to_owned(),
            step => format!(", step {step} of "),
        };
        topic = topic.own(place).outside(workflow.clone());
    }
    facts.push(Fact::new("topic", topic));
    // A gateway may not tell when, but the request may have been heard on the bus.
    let heard = || model.jobs.get(approval.id())?.request.as_ref()?.sent_at;
    let sent = match request
        .sent_at
        .or(approval.fact.job.created_at)
        .or_else(heard)
    {
        Some(at) => Prose::new().own(text::clock_near(at, now)),
        None => Prose::new().own("unknown"),
    };
    let sent = if request.max_total_tokens > 0 {
        sent.own(format!(
            ", budget {} tokens",
            text::thousands(request.max_total_tokens.unsigned_abs())
        ))
    } else {
        sent
    };
    facts.push(Fact::new(
        "sent",
        match approval.deadline() {
            Some(deadline) => sent.own(format!(", deadline {}", text::clock_near(deadline, now))),
            None => sent.own(", no deadline"),
        },
    ));
    if let Some(reference) = &approval.fact.approval_ref
        && **reference != *approval.id().as_str()
    {
        facts.push(Fact::new(
            "reference",
            Prose::new().outside(reference.clone()),
        ));
    }
    facts
}

fn policy_facts(model: &Model, approval: &Approval, silent: bool) -> Vec<Fact> {
    let verdict = approval.fact.job.verdict.clone().unwrap_or_default();
    let mut risk = Prose::new();
    if let Some(request) = &approval.fact.job.request {
        for (at, tag) in request.risk_tags.iter().enumerate() {
            risk = risk
                .own(if at > 0 { "  " } else { "" })
                .outside(tag.clone());
        }
    }
    if risk.is_empty() {
        risk = risk.own("none");
    }
    let digest = |value: &Option<Arc<str>>| match value {
        Some(value) => Prose::new().outside(text::digest(value)),
        None => Prose::new().own("unknown"),
    };
    let snapshot = match approval.snapshot(model.snapshot.as_deref()) {
        Check::Matches if silent => Prose::new().own("? was current  "),
        Check::Matches => Prose::new().own("✓ current  "),
        Check::Differs => Prose::new().strong("≠ moved  "),
        Check::Unknown => Prose::new().own("? not told  "),
    };
    let hash = match approval.hash() {
        Check::Matches if silent => Prose::new().own("? matched  "),
        Check::Matches => Prose::new().own("✓ matches  "),
        Check::Differs => Prose::new().strong("≠ differs  "),
        Check::Unknown => Prose::new().own("? not told  "),
    };
    vec![
        Fact::new(
            "verdict",
            match verdict.decision {
                Some(decision) => Prose::new().own(decision.name().to_lowercase()),
                None => Prose::new().own("unknown"),
            },
        ),
        Fact::new("rule", told(model, &verdict.rule_id)),
        Fact::new("reason", told(model, &verdict.reason)),
        Fact::new("risk", risk),
        Fact::new("snapshot", snapshot.then(digest(&verdict.snapshot))),
        Fact::new("job hash", hash.then(digest(&approval.fact.job_hash))),
    ]
}

fn blast_facts(model: &Model, approval: &Approval, now: Timestamp) -> Vec<Fact> {
    let runs = approval.what_runs();
    let undeclared = |value: &Option<Arc<str>>| match value {
        Some(value) => Prose::new().outside(value.clone()),
        None => Prose::new().own("not declared"),
    };
    let request = approval.fact.job.request.as_ref();
    let told = runs.clone();
    let mut system = undeclared(&runs.system);
    if let Some(namespace) = runs.namespace {
        system = system.own(", namespace ").outside(namespace);
    }
    let mut facts = vec![
        Fact::new("system", system),
        Fact::new("resource", undeclared(&runs.resource)),
    ];
    if let Some(request) = request {
        let mut labels = Prose::new();
        let told = [&told.what, &told.system, &told.namespace, &told.resource];
        for (key, value) in request.labels.iter() {
            // What stands in the sentence or above needs no second row.
            let declared = key
                .split_once(':')
                .filter(|_| matches!(&**value, "true" | ""));
            let named = declared.map_or(&**value, |(_, name)| name);
            if told.iter().any(|it| it.as_deref() == Some(named)) {
                continue;
            }
            let between = if labels.is_empty() { "" } else { ", " };
            labels = labels.own(between).outside(format!("{key}={value}"));
        }
        if !labels.is_empty() {
            facts.push(Fact::new("labels", labels));
        }
    }
    let steps = rollbacks::steps_behind(model, approval.id(), now);
    facts.push(Fact::new(
        "behind it",
        match (steps, held(approval, &model.jobs)) {
            (Some(steps), _) => Prose::new().own(rollbacks::more_steps(steps)),
            (None, Some(0)) => Prose::new().own("no known job"),
            (None, Some(held)) => {
                Prose::new().own(text::count(u64::from(held), "known job", "known jobs"))
            }
            (None, None) => not_told(model),
        },
    ));
    facts
}

fn undo_facts(state: &State, model: &Model, approval: &Approval) -> Vec<Fact> {
    match approval.undo() {
        Some(Some(undo)) => vec![
            Fact::new("runs", Prose::new().own("✓ ").outside(undo.topic.clone())),
            Fact::new(
                "context",
                match &undo.context_ptr {
                    Some(pointer) => Prose::new().outside(pointer.clone()),
                    None => Prose::new().own("none"),
                },
            ),
            Fact::new("policy", compensations::fact(state, approval.id())),
            Fact::new(
                "key",
                match &undo.idempotency_key {
                    Some(key) => Prose::new().outside(key.clone()),
                    None => Prose::new().own("none: it could run twice"),
                },
            ),
        ],
        Some(None) => vec![Fact::new(
            "runs",
            Prose::new().strong("NO undo: what it does stays done"),
        )],
        None => vec![Fact::new("runs", not_told(model))],
    }
}

/// How the known decisions about jobs like this one went, and what is known.
fn precedent_facts(model: &Model, approval: &Approval, now: Timestamp) -> (Vec<Fact>, String) {
    let found = model.approvals.precedents(approval);
    let listed = model.approvals.iter().count() - model.approvals.waiting();
    let of = match model.approvals.dropped() {
        0 => format!("of {listed} the plane lists"),
        _ => format!("of the last {listed} listed"),
    };
    let mut before = Vec::new();
    for (count, says) in [
        (found.approved, "approved"),
        (found.rejected, "rejected"),
        (found.without_a_person, "without a person"),
    ] {
        if count > 0 {
            before.push(format!("{} {says}", text::thousands(u64::from(count))));
        }
    }
    if before.is_empty() {
        let none = Fact::new("before", Prose::new().own("none known"));
        return (vec![none], of);
    }
    let mut facts = vec![Fact::new("before", Prose::new().own(before.join(", ")))];
    if let Some(last) = found.last {
        let says = match last.at {
            Some(at) => Prose::new().own(text::clock_near(at, now)),
            None => Prose::new().own("at an unknown time"),
        };
        let verb = if last.approved {
            "approved"
        } else {
            "rejected"
        };
        let says = says.own(format!(" {verb} by "));
        facts.push(Fact::new(
            "last",
            match last.by {
                Some(by) => says.outside(by),
                None => says.own("somebody"),
            },
        ));
    }
    (facts, of)
}
