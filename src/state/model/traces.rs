//! The jobs of a trace or a workflow as a tree, and where their time went.
//!
//! Derived from the jobs when a trace is looked at. Children stand under the job
//! that asked for them, what undoes a job under that job, and jobs whose parent
//! nobody has heard of in a group of their own. Start at [`tree()`] and [`spent`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::{JobId, TraceId};
use crate::state::limits;
use crate::state::model::Model;
use crate::state::model::jobs::Job;
use crate::state::model::rollbacks::Undone;

mod doing;
mod path;
mod tree;

pub use doing::{Doing, Spent, Stretch, end_of, is_unclear, spent, stretches};
pub use path::{Path, path};
pub use tree::{Node, tree};

/// Which jobs belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceOf {
    /// Those of a workflow, with the traces they are in.
    Workflow(Arc<str>),
    /// Those of a trace.
    Trace(TraceId),
    /// A job that names neither.
    Job(JobId),
}

impl TraceOf {
    /// What a job belongs to.
    pub fn job(job: &Job) -> Self {
        let request = job.request.as_ref();
        match request.and_then(|it| it.workflow_id.clone()) {
            Some(workflow) => Self::Workflow(workflow),
            None => match &job.trace {
                Some(trace) => Self::Trace(trace.clone()),
                None => Self::Job(job.id.clone()),
            },
        }
    }

    /// What `id` names: a trace, a workflow or a job that is known.
    pub fn named(model: &Model, id: &str) -> Option<Self> {
        let trace = TraceId::from(id);
        if model.jobs.of_trace(&trace).next().is_some() {
            return Some(Self::Trace(trace));
        }
        if model.jobs.of_workflow(id).next().is_some() {
            return Some(Self::Workflow(Arc::from(id)));
        }
        model.jobs.get(&JobId::from(id)).map(|job| Self::job(job))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Workflow(name) => name,
            Self::Trace(trace) => trace.as_str(),
            Self::Job(job) => job.as_str(),
        }
    }
}

/// The jobs of `of` with all that they came from, the oldest first; at most
/// [`limits::TRACE_JOBS`].
pub fn members<'a>(model: &'a Model, of: &TraceOf) -> Vec<&'a Arc<Job>> {
    let mut known: BTreeMap<&JobId, &Arc<Job>> = BTreeMap::new();
    let mut add = |job: &'a Arc<Job>| {
        if known.len() < limits::TRACE_JOBS {
            known.insert(&job.id, job);
        }
    };
    match of {
        TraceOf::Job(job) => model.jobs.get(job).into_iter().for_each(&mut add),
        TraceOf::Trace(trace) => model.jobs.of_trace(trace).for_each(&mut add),
        TraceOf::Workflow(workflow) => {
            model.jobs.of_workflow(workflow).for_each(&mut add);
            let traces: BTreeSet<&TraceId> = model
                .jobs
                .of_workflow(workflow)
                .take(limits::TRACE_JOBS)
                .filter_map(|job| job.trace.as_ref())
                .collect();
            for trace in traces {
                model.jobs.of_trace(trace).for_each(&mut add);
            }
            let undo = model.rollbacks.get(&Undone::Workflow(Arc::clone(workflow)));
            for id in undo.iter().flat_map(|undo| &undo.jobs) {
                model.jobs.get(id).into_iter().for_each(&mut add);
            }
        }
    }
    // What they came from, although it is in another trace.
    let mut open: Vec<&Arc<Job>> = known.values().copied().collect();
    while let Some(job) = open.pop() {
        let parent = parent_of(model, job).and_then(|parent| model.jobs.get(parent));
        if let Some(parent) = parent
            && known.len() < limits::TRACE_JOBS
            && known.insert(&parent.id, parent).is_none()
        {
            open.push(parent);
        }
    }
    let mut jobs: Vec<&Arc<Job>> = known.into_values().collect();
    jobs.sort_by_key(|job| (job.first_seen, job.id.clone()));
    jobs
}

/// The parent that a job names, else the job that it undoes as the gateway tells.
fn parent_of<'a>(model: &'a Model, job: &'a Job) -> Option<&'a JobId> {
    let named = job.request.as_ref().and_then(|it| it.parent.as_ref());
    named.or_else(|| model.rollbacks.told_undoes(&job.id))
}

/// The job that a job undoes, under which it stands; `None` if it is an ordinary one.
pub fn undoes<'a>(model: &'a Model, job: &'a Job) -> Option<&'a JobId> {
    model.rollbacks.undone_by(job)?;
    parent_of(model, job)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::script;

    pub(super) const TICKET: &str = "0s submit a topic=job.a trace=t workflow=wf | 1s dispatch a w1 | 12s succeed a w1 \
        | 13s submit c topic=job.c trace=t workflow=wf parent=a step=2 | 13s submit b topic=job.b trace=t workflow=wf parent=a step=1 \
        | 14s told c APPROVAL_REQUIRED | 14s dispatch b w1 | 20s succeed b w1 \
        | 21s submit d topic=job.d trace=t workflow=wf parent=c | 22s submit e topic=job.e trace=t workflow=wf parent=gone \
        | 23s submit x topic=job.x trace=other";

    pub(super) fn of(name: &str) -> TraceOf {
        TraceOf::Workflow(name.into())
    }

    #[test]
    fn a_name_is_a_trace_a_workflow_or_a_job() {
        let state = script::run(TICKET).expect("a script");
        let named = |id: &str| TraceOf::named(&state.model, id);
        assert_eq!(named("t"), Some(TraceOf::Trace("t".into())));
        assert_eq!(named("wf"), Some(of("wf")));
        assert_eq!(named("b"), Some(of("wf")));
        assert_eq!(named("x"), Some(TraceOf::Trace("other".into())));
        assert_eq!(named("nothing"), None);
    }

    #[test]
    fn a_job_forgotten_by_its_trace_leaves_no_index_behind() {
        // The trace of a request replaces that of a result.
        let script = "0s succeed a w trace=t1 | 1s submit a topic=job.a trace=t2";
        let state = script::run(script).expect("a script");
        let count = |trace: &str| state.model.jobs.of_trace(&trace.into()).count();
        assert_eq!((count("t1"), count("t2")), (0, 1));
    }
}
