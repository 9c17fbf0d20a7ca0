//! The rows of the lists of jobs: in the order that was asked for, approvals, undoes, dead
//! letters and the tree of a trace among them.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::{node_row, step_row, undone_row};
use crate::ids::JobId;
use crate::state::model::Model;
use crate::state::model::approvals::{Approval, Check, held};
use crate::state::model::jobs::{Job, JobState};
use crate::state::model::letters::DeadLetter;
use crate::state::model::rollbacks::{self, Undone};
use crate::state::model::traces::{self, Node, TraceOf};
use crate::state::ui::list::{SortKey, Subject};
use crate::state::ui::{List, ListId};
use crate::time::Timestamp;

pub(super) fn jobs(list: &List, model: &Model, now: Timestamp) -> (Vec<Subject>, usize) {
    let all = model.jobs.len();
    let key = list.sort(ListId::Jobs);
    if key == SortKey::Attention && list.filter.is_none() {
        // 100,000 jobs are put in order every two seconds: none is looked up.
        let ids = model.jobs.ids_by_attention();
        return (ids.cloned().map(Subject::Job).collect(), all);
    }
    let passes = |job: &Job| list.passes(|filter| filter.matches_job(job, now));
    let rows = model.jobs.by_attention().filter(|job| passes(job));
    if key == SortKey::Attention {
        return (rows.map(|job| Subject::Job(job.id.clone())).collect(), all);
    }
    let mut rows: Vec<_> = rows.collect();
    let text = |value: Option<&Arc<str>>| (value.is_none(), value.cloned());
    match key {
        SortKey::Topic => rows.sort_by_cached_key(|job| {
            let topic = job.request.as_ref().and_then(|it| it.topic.as_ref());
            (text(topic), job.since, job.id.clone())
        }),
        SortKey::Worker => rows.sort_by_cached_key(|job| {
            let worker = job.worker();
            (worker.is_none(), worker.cloned(), job.since, job.id.clone())
        }),
        SortKey::Updated => rows.sort_by_key(|job| (Reverse(job.updated_at), job.id.clone())),
        SortKey::State => rows.sort_by_key(|job| {
            let state = job.state;
            let place = JobState::ALL.iter().position(|it| Some(*it) == state);
            (place.is_none(), place, job.since, job.id.clone())
        }),
        SortKey::Progress => rows.sort_by_key(|job| {
            let percent = job.percent();
            (
                percent.is_none(),
                Reverse(percent),
                job.since,
                job.id.clone(),
            )
        }),
        SortKey::Verdict => rows.sort_by_key(|job| {
            let name = job.decision().map(|decision| decision.name());
            (name.is_none(), name, job.since, job.id.clone())
        }),
        SortKey::Tries => rows.sort_by_key(|job| (Reverse(job.attempts()), job.id.clone())),
        SortKey::Tenant => rows.sort_by_cached_key(|job| {
            let tenant = job.request.as_ref().and_then(|it| it.tenant.as_ref());
            (text(tenant), job.since, job.id.clone())
        }),
        SortKey::Rule => rows.sort_by_cached_key(|job| {
            let verdict = job.verdict.as_ref();
            let rule = verdict.and_then(|it| it.rule_id.as_ref());
            (text(rule), job.since, job.id.clone())
        }),
        SortKey::Name => rows.sort_by(|a, b| a.id.cmp(&b.id)),
        _ => rows.sort_by_key(|job| (job.since, job.id.clone())),
    }
    let rows = rows.into_iter().map(|job| Subject::Job(job.id.clone()));
    (rows.collect(), all)
}

pub(super) fn approvals(
    list: &List,
    id: ListId,
    model: &Model,
    now: Timestamp,
) -> (Vec<Subject>, usize) {
    let mut rows = model.approvals.by_cost(&model.jobs, now);
    let all = rows.len();
    rows.retain(|row| list.passes(|filter| filter.matches_approval(row, model, now)));
    let text = |value: Option<Arc<str>>| (value.is_none(), value);
    let request = |row: &Approval| row.fact.job.request.clone().unwrap_or_default();
    match list.sort(id) {
        _ if id == ListId::OldestApprovals => rows.sort_by_key(|row| (row.since, row.id().clone())),
        SortKey::Attention => {}
        SortKey::Sla => rows.sort_by_key(|row| {
            let deadline = row.deadline();
            (deadline.is_none(), deadline, row.since, row.id().clone())
        }),
        SortKey::Held => rows.sort_by_cached_key(|row| {
            let held = held(row, &model.jobs);
            (held.is_none(), Reverse(held), row.since, row.id().clone())
        }),
        SortKey::Topic => rows.sort_by_cached_key(|row| (text(request(row).topic), row.since)),
        SortKey::Rule => rows.sort_by_cached_key(|row| {
            let verdict = row.fact.job.verdict.as_ref();
            (text(verdict.and_then(|it| it.rule_id.clone())), row.since)
        }),
        SortKey::Risk => {
            rows.sort_by_cached_key(|row| {
                let tags = request(row).risk_tags.to_vec();
                (tags.is_empty(), tags, row.since)
            });
        }
        SortKey::Undo => rows.sort_by_key(|row| {
            let undo = row.undo().map(|undo| undo.is_some());
            (undo.is_none(), undo, row.since, row.id().clone())
        }),
        SortKey::Requester => rows.sort_by_cached_key(|row| {
            let request = request(row);
            (text(request.actor.or(request.principal)), row.since)
        }),
        SortKey::State => rows.sort_by_key(|row| (trust(row, model), row.since, row.id().clone())),
        SortKey::Tenant => rows.sort_by_cached_key(|row| (text(request(row).tenant), row.since)),
        SortKey::Resource => {
            rows.sort_by_cached_key(|row| (text(row.what_runs().resource), row.since));
        }
        SortKey::Snapshot => rows.sort_by_cached_key(|row| {
            let verdict = row.fact.job.verdict.as_ref();
            (text(verdict.and_then(|it| it.snapshot.clone())), row.since)
        }),
        SortKey::Name => rows.sort_by(|a, b| a.id().cmp(b.id())),
        _ => rows.sort_by_key(|row| (row.since, row.id().clone())),
    }
    let rows = rows.into_iter().map(|row| Subject::Job(row.id().clone()));
    (rows.collect(), all)
}

/// What can no longer be decided first, then what is not as it was judged, then what is
/// ready.
fn trust(row: &Approval, model: &Model) -> u8 {
    if row.fact.not_actionable.is_some() {
        0
    } else if row.hash() == Check::Differs {
        1
    } else if row.snapshot(model.snapshot.as_deref()) == Check::Differs {
        2
    } else {
        3
    }
}

/// The tree without what is folded; with a filter the matches and all above them.
pub(super) fn trace_rows(
    list: &List,
    of: Option<&TraceOf>,
    folded: &BTreeSet<JobId>,
    model: &Model,
    now: Timestamp,
) -> (Vec<Subject>, usize) {
    let nodes = of.map_or_else(Vec::new, |of| traces::tree(model, of));
    let all = nodes.iter().filter(|node| node.job.is_some()).count();
    let mut rows = Vec::new();
    if let Some(filter) = &list.filter {
        let matches = |node: &Node| {
            let job = node.job.as_ref().and_then(|job| model.jobs.get(job));
            job.is_some_and(|job| filter.matches_job(job, now))
        };
        // From the last row on, so that each knows whether one below it matches.
        let mut wanted_depth = 0;
        for node in nodes.iter().rev() {
            let depth = node.rails.len();
            if depth < wanted_depth || matches(node) {
                rows.push(node_row(node));
                wanted_depth = depth;
            }
            wanted_depth = wanted_depth.min(depth);
        }
        rows.reverse();
        return (rows, all);
    }
    let mut hidden = 0;
    for node in &nodes {
        if hidden > 0 {
            hidden -= 1;
            continue;
        }
        if node.job.as_ref().is_some_and(|job| folded.contains(job)) {
            hidden = node.below;
        }
        rows.push(node_row(node));
    }
    (rows, all)
}

pub(super) fn rollbacks(list: &List, model: &Model, now: Timestamp) -> (Vec<Subject>, usize) {
    let mut rows = rollbacks::stacks(model, now);
    let all = rows.len();
    rows.retain(|row| list.passes(|filter| filter.matches_rollback(row, model, now)));
    match list.sort(ListId::Rollbacks) {
        SortKey::State => rows.sort_by_key(|row| row.state),
        SortKey::Name => rows.sort_by_key(|row| undone_row(&row.of).id().to_owned()),
        SortKey::Undone => rows.sort_by_key(|row| (row.undone(), Reverse(row.steps.len()))),
        SortKey::Updated => rows.sort_by_key(|row| Reverse(row.last)),
        _ => {}
    }
    (rows.iter().map(|row| undone_row(&row.of)).collect(), all)
}

pub(super) fn steps(of: Option<&Undone>, model: &Model, now: Timestamp) -> (Vec<Subject>, usize) {
    let stack = of.and_then(|of| rollbacks::stack(model, of, now));
    let rows: Vec<Subject> = stack
        .iter()
        .flat_map(|stack| stack.steps.iter().filter_map(step_row))
        .collect();
    let all = rows.len();
    (rows, all)
}

pub(super) fn letters(list: &List, model: &Model, now: Timestamp) -> (Vec<Subject>, usize) {
    let passes =
        |letter: &DeadLetter| list.passes(|filter| filter.matches_letter(letter, model, now));
    let mut rows: Vec<_> = model
        .letters
        .newest()
        .filter(|letter| passes(letter))
        .collect();
    match list.sort(ListId::DeadLetters) {
        SortKey::Reason => rows.sort_by_key(|row| (row.reason_code.is_none(), &row.reason_code)),
        SortKey::Topic => rows.sort_by_cached_key(|row| {
            let topic = row.topic.clone().or_else(|| {
                let job = model.jobs.get(&row.job)?;
                job.request.as_ref()?.topic.clone()
            });
            (topic.is_none(), topic)
        }),
        SortKey::Name => rows.sort_by(|a, b| a.job.cmp(&b.job)),
        _ => {}
    }
    let rows = rows.into_iter().map(|row| Subject::Job(row.job.clone()));
    (rows.collect(), model.letters.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::script;
    use crate::state::ui::order::tests::check;

    #[test]
    fn jobs_are_sorted_by_any_column_and_what_is_unknown_comes_last() {
        for (key, expected) in [
            (SortKey::Name, "j1 j2 j3"),
            (SortKey::Topic, "j2 j1 j3"),
            (SortKey::Tenant, "j2 j1 j3"),
            (SortKey::Worker, "j2 j1 j3"),
            (SortKey::Progress, "j1 j2 j3"),
            (SortKey::Tries, "j1 j2 j3"),
            (SortKey::State, "j3 j1 j2"),
        ] {
            check(ListId::Jobs, key, expected);
        }
    }

    #[test]
    fn approvals_are_sorted_by_any_column() {
        let script = "0s link gateway up | 1s approval a topic=job.z rule=r1 risk=prod actor=zoe undo=job.u deadline=900s tenant=orbit labels=mcp.resource:db snapshot=s1";
        let mut state = script::run(script).expect("a script");
        let more = script::run(
            "1s approval b topic=job.a rule=r2 deadline=60s tenant=acme snapshot=s0 hash=h own=g",
        )
        .expect("a script");
        let facts: Vec<_> = [&state, &more]
            .iter()
            .flat_map(|it| it.model.approvals.iter().map(|row| row.fact.clone()))
            .collect();
        let now = state.now;
        let model = &mut state.model;
        model.approvals.told(&facts, &model.jobs, now);
        for (key, expected) in [
            (SortKey::Name, "a b"),
            (SortKey::Topic, "b a"),
            (SortKey::Sla, "b a"),
            (SortKey::Rule, "a b"),
            (SortKey::Risk, "a b"),
            (SortKey::Requester, "a b"),
            (SortKey::Undo, "b a"),
            (SortKey::Tenant, "b a"),
            (SortKey::Resource, "a b"),
            (SortKey::Snapshot, "b a"),
            (SortKey::State, "b a"),
        ] {
            let mut list = List::default();
            assert!(list.sort_by(ListId::Approvals, key));
            let (rows, _) = approvals(&list, ListId::Approvals, &state.model, now);
            let rows: Vec<&str> = rows.iter().map(Subject::id).collect();
            assert_eq!(rows.join(" "), expected, "{key:?}");
        }
    }
}
