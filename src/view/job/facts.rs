//! The facts of a job: what policy decided, how it ended and is undone, and what was asked
//! for.

use std::sync::Arc;

use super::wire_name;
use crate::ids::JobId;
use crate::state::State;
use crate::state::model::Model;
use crate::state::model::jobs::{Job, JobState};
use crate::state::model::rollbacks::{Rollback, StepState, Undone};
use crate::state::model::traces;
use crate::text;
use crate::time::Timestamp;
use crate::view::jobs::status_words;
use crate::view::{Fact, Prose, compensations, shown};
use crate::wire::packet::{ActorType, JobPriority, WireEnum as _};
use crate::wire::{SENDER_GATEWAY, SENDER_GATEWAY_HTTP};

pub(super) fn verdict(job: &Job) -> Vec<Fact> {
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

pub(super) fn outcome(state: &State, job: &Job) -> Vec<Fact> {
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
        None => {
            let none = if job.is_ended() {
                "none was told"
            } else {
                "none yet"
            };
            facts.push(Fact::new("result", Prose::new().own(none)));
        }
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
        .filter(|undo| traces::undoes(model, undo) == Some(&job.id))
        .max_by_key(|undo| undo.first_seen);
    let (id, state) = match by {
        Some(by) => (&by.id, by.state),
        None => told_undone(rollback, &job.id)?,
    };
    let state = state.map_or("unknown", JobState::name);
    let says = Prose::new().own("by ").outside(text::id_tail(id.as_str()));
    Some(says.own(format!(
        ", {}",
        state.to_ascii_lowercase().replace('_', " ")
    )))
}

/// The job that undoes `job`, and how it stands, as the gateway tells it.
fn told_undone<'a>(rollback: &'a Rollback, job: &JobId) -> Option<(&'a JobId, Option<JobState>)> {
    let mut steps = rollback.told.as_ref()?.steps.iter();
    let step = steps.find(|step| step.job.is_some() && step.undoes.as_ref() == Some(job))?;
    let state = match step.state {
        StepState::Job(state) => state,
        StepState::Armed
        | StepState::WillRun
        | StepState::NotRun
        | StepState::Refused
        | StepState::Skipped
        | StepState::Unknown => None,
    };
    Some((step.job.as_ref()?, state))
}

/// Senders that publish what others ask them for.
const GATEWAYS: [&str; 2] = [SENDER_GATEWAY, SENDER_GATEWAY_HTTP];

pub(super) fn request(job: &Job, now: Timestamp) -> Vec<Fact> {
    let Some(request) = &job.request else {
        return vec![Fact::new(
            "request",
            Prose::new().own("unknown: it was sent before we attached"),
        )];
    };
    let mut who = match (&request.actor, &request.principal) {
        (Some(actor), _) => Prose::new().outside(actor.clone()),
        (None, Some(principal)) => Prose::new().outside(principal.clone()),
        // A gateway sends on for somebody.
        (None, None) => match &request.sender {
            Some(sender) if !GATEWAYS.contains(&&**sender) => Prose::new().outside(sender.clone()),
            Some(_) | None => Prose::new().own("unknown"),
        },
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
    use crate::view::jobs::{Why, row};

    /// Facts as they read.
    fn words(facts: &[Fact]) -> Vec<String> {
        facts
            .iter()
            .map(|fact| format!("{} {}", fact.label, fact.value.plain()))
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

    #[test]
    fn labels_and_risk_tags_that_nobody_told_are_unknown_and_not_none() {
        let check = |script: &str, expected: [&str; 2]| {
            let state = script::run(script).expect("a script");
            let job = state.model.jobs.by_birth().next().expect("a job");
            let facts = words(&request(job, state.now));
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
            "rollback none | result none was told | cancel asked by ops-anna: wrong tenant",
        );
        // A wish that says nothing takes nothing away.
        check_outcome(
            &format!("9s {told} | 10s cancel j1"),
            "rollback none | result none was told | cancel asked by ops-anna: wrong tenant",
        );
    }

    #[test]
    fn a_cancel_is_followed_to_its_end_and_so_is_an_undo() {
        let undo =
            "0s submit j1 topic=job.a undo=job.undo_a | 1s dispatch j1 w1 | 1s progress j1 10%";
        let cancel = format!("{undo} | 2s cancel j1 for=ann reason=late | 2s told j1 CANCELLED");
        let begins = "rollback job.undo_a, which does not run: a cancel undoes nothing \
                      | its key j1/undo | result none was told | cancel asked by ann: late";
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
    fn a_job_says_what_undid_it_where_only_the_gateway_tells_which_undoes_which() {
        let list = "0s told j1 SUCCEEDED topic=job.a workflow=wf undo=job.undo_a \
                    | 0s told u SUCCEEDED topic=job.undo_a partial=1";
        let told = format!("{list} | 1s rollback wf started=0s steps=j1:u:SUCCEEDED");
        check_outcome(
            &told,
            "rollback job.undo_a | undone by u, succeeded | result none was told",
        );
        // Before its job is known, the step itself says how it stands.
        let first = list.split(" | ").next().expect("a step");
        check_outcome(
            &format!("{first} | 1s rollback wf started=0s steps=j1:u:DENIED"),
            "rollback job.undo_a | undone by u, denied | result none was told",
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

    #[test]
    fn who_asked_is_whoever_the_plane_names_and_never_the_gateway() {
        for (script, who) in [
            ("0s submit j1 by=api-gateway-http", "unknown (service)"),
            ("0s submit j1 by=ci-bot", "ci-bot (service)"),
            ("0s submit j1 by=ci-bot actor=agent-7", "agent-7 (service)"),
        ] {
            let state = crate::state::script::run(script).expect("a script");
            let job = state.model.jobs.get(&JobId::from("j1")).expect("the job");
            let facts = request(job, state.now);
            let asked = facts.iter().find(|fact| fact.label == "asked by");
            let says = asked.map(|fact| fact.value.plain());
            assert_eq!(says.as_deref(), Some(who), "{script}");
        }
    }
}
