//! The chain of jobs that decides when a trace ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{end_of, parent_of, undoes};
use crate::ids::JobId;
use crate::state::model::Model;
use crate::state::model::jobs::{Job, JobState};
use crate::time::Timestamp;

/// The chain of jobs that decides when a trace ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// From the first to the last of them.
    pub jobs: Vec<JobId>,
    /// The one that took longest.
    pub longest: JobId,
    /// Jobs behind the last one that have not ended.
    pub behind: usize,
    /// How many of those have been with a worker.
    pub started: usize,
    /// Whether the last one waits for a person.
    pub waits: bool,
}

/// The chain that decides when `jobs` end; `None` when there is no job.
///
/// What waits for a person decides alone, the longest wait first: nothing else can
/// move it. Else it is the job that goes on, or ended, last, with those it came from.
pub fn path(model: &Model, jobs: &[&Arc<Job>], now: Timestamp) -> Option<Path> {
    let known: BTreeMap<&JobId, &Arc<Job>> = jobs.iter().map(|job| (&job.id, *job)).collect();
    let waits = |job: &&&Arc<Job>| job.state == Some(JobState::ApprovalRequired);
    let longest_wait = jobs
        .iter()
        .filter(waits)
        .min_by_key(|job| (job.since, job.id.clone()));
    let last = longest_wait.or_else(|| {
        // What a worker has now is nearer to the end than what still waits for it.
        jobs.iter().max_by_key(|job| {
            let with_worker = job.state.is_some_and(JobState::is_with_worker);
            let ends = (!job.is_ended(), with_worker, end_of(job, now));
            (ends, std::cmp::Reverse(job.first_seen), job.id.clone())
        })
    })?;
    let took = |job: &Job| end_of(job, now).since(job.first_seen);
    let mut chain = vec![*last];
    if longest_wait.is_none() {
        let mut seen = BTreeSet::from([&last.id]);
        let mut at = *last;
        while let Some(before) = came_from(model, at, jobs, &known)
            && seen.insert(&before.id)
        {
            chain.push(before);
            at = before;
        }
    }
    chain.reverse();
    let longest = chain.iter().max_by_key(|job| took(job))?;
    let behind: Vec<&&Arc<Job>> = jobs
        .iter()
        .filter(|job| !job.is_ended() && stands_behind(model, job, &last.id, &known))
        .collect();
    Some(Path {
        longest: longest.id.clone(),
        started: behind.iter().filter(|job| job.attempts() > 0).count(),
        behind: behind.len(),
        waits: longest_wait.is_some(),
        jobs: chain.iter().map(|job| job.id.clone()).collect(),
    })
}

/// What had to end before `job` could begin: its parent; but for what undoes a job the
/// undo before it, or the failure that began the rollback.
fn came_from<'a>(
    model: &Model,
    job: &Job,
    jobs: &[&'a Arc<Job>],
    known: &BTreeMap<&JobId, &'a Arc<Job>>,
) -> Option<&'a Arc<Job>> {
    let parent = parent_of(model, job)
        .and_then(|parent| known.get(parent))
        .copied();
    if undoes(model, job).is_none() {
        return parent;
    }
    let ended_before = jobs.iter().filter(|other| {
        let failed = other.state == Some(JobState::Failed);
        let counts = undoes(model, other).is_some() || failed;
        counts && other.is_ended() && other.since <= job.first_seen && other.id != job.id
    });
    let last = ended_before.max_by_key(|other| (other.since, other.first_seen));
    last.copied().or(parent)
}

fn stands_behind(
    model: &Model,
    job: &Job,
    ancestor: &JobId,
    known: &BTreeMap<&JobId, &Arc<Job>>,
) -> bool {
    let mut seen = BTreeSet::from([&job.id]);
    let mut at = parent_of(model, job);
    while let Some(parent) = at {
        if parent == ancestor {
            return true;
        }
        if !seen.insert(parent) {
            return false;
        }
        at = known.get(parent).and_then(|job| parent_of(model, job));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::model::traces::tests::{TICKET, of};
    use crate::state::model::traces::{TraceOf, members};
    use crate::state::script;

    #[test]
    fn what_waits_for_a_person_is_the_path_and_who_stands_behind_it_is_counted() {
        let state = script::run(&format!("{TICKET} | 40s tick")).expect("a script");
        let jobs = members(&state.model, &of("wf"));
        let path = path(&state.model, &jobs, state.now).expect("a path");
        assert_eq!(path.jobs, [JobId::from("c")]);
        assert_eq!((path.behind, path.started, path.waits), (1, 0, true));
    }

    #[test]
    fn of_ended_jobs_the_last_to_end_and_what_it_came_from_are_the_path() {
        let script = "0s submit a topic=job.a trace=t | 1s dispatch a w | 5s succeed a w \
             | 5s submit b topic=job.b trace=t parent=a | 5s submit c topic=job.c trace=t parent=a \
             | 6s dispatch b w | 30s succeed b w | 31s dispatch c w | 32s tick";
        let ended = format!(
            "{} | 33s succeed c w",
            script.rsplit_once(" | 32s").expect("a step").0
        );
        for (script, chain, longest) in [(script, "a c", "c"), (&ended, "a c", "c")] {
            let state = script::run(script).expect("a script");
            let jobs = members(&state.model, &TraceOf::Trace("t".into()));
            let path = path(&state.model, &jobs, state.now).expect("a path");
            let ids: Vec<&str> = path.jobs.iter().map(JobId::as_str).collect();
            assert_eq!(
                (ids.join(" ").as_str(), path.longest.as_str()),
                (chain, longest)
            );
            assert!(!path.waits);
        }
    }

    #[test]
    fn the_path_of_a_rollback_goes_through_the_failure_and_every_undo_before() {
        let step = |at: u32, name: &str, parent: &str, ends: &str| {
            format!(
                "{at}s submit {name} topic=job.{name} trace=t workflow=wf {parent} | {at}s dispatch {name} w \
                 | {}s {ends} {name} w",
                at + 2
            )
        };
        let undo = |at: u32, name: &str| {
            let saga = "labels=saga_compensation:true,saga_workflow_id:wf";
            step(
                at,
                &format!("undo-{name}"),
                &format!("parent={name} {saga}"),
                "succeed",
            )
        };
        let script = [
            step(0, "a", "", "succeed"),
            step(2, "b", "parent=a", "succeed"),
            step(4, "c", "parent=b", "fatal"),
            undo(6, "b"),
            undo(8, "a"),
        ]
        .join(" | ");
        let state = script::run(&script).expect("a script");
        let jobs = members(&state.model, &of("wf"));
        let path = path(&state.model, &jobs, state.now).expect("a path");
        let ids: Vec<&str> = path.jobs.iter().map(JobId::as_str).collect();
        assert_eq!(ids, ["a", "b", "c", "undo-b", "undo-a"]);
    }

    #[test]
    fn a_rollback_whose_labels_are_in_no_list_is_a_path_as_the_gateway_tells_it() {
        let told = |at: u32, name: &str, state: &str, ended: u32, more: &str| {
            format!(
                "{at}s told {name} {state} topic=job.{name} partial=1 born={}s told={ended}s {more}",
                ended - 2
            )
        };
        let jobs = [
            told(20, "a", "SUCCEEDED", 2, "workflow=wf"),
            told(20, "b", "SUCCEEDED", 4, "workflow=wf parent=a"),
            told(20, "c", "FAILED", 6, "workflow=wf parent=b"),
            told(20, "undo-b", "SUCCEEDED", 8, ""),
            told(20, "undo-a", "SUCCEEDED", 10, ""),
        ]
        .join(" | ");
        let steps = "steps=b:undo-b:SUCCEEDED,a:undo-a:SUCCEEDED";
        let script = format!("{jobs} | 21s rollback wf failed=c started=6s {steps}");
        let state = script::run(&script).expect("a script");
        let jobs = members(&state.model, &of("wf"));
        let path = path(&state.model, &jobs, state.now).expect("a path");
        let ids: Vec<&str> = path.jobs.iter().map(JobId::as_str).collect();
        assert_eq!(ids, ["a", "b", "c", "undo-b", "undo-a"]);
        let job = state.model.jobs.get(&"undo-b".into()).expect("a job");
        assert_eq!(undoes(&state.model, job), Some(&JobId::from("b")));
    }
}
