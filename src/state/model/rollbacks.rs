//! What was undone lately, from the jobs that do it.
//!
//! A compensation is an ordinary job that its labels tell apart:
//! `saga_compensation` or `is_compensation` is `true`, `saga_workflow_id` names the
//! workflow, and its parent is the job it undoes. Nothing else travels about a
//! rollback, so this is what the packets and the plane's answers tell.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::JobId;
use crate::state::limits;
use crate::state::model::jobs::Job;
use crate::time::Timestamp;

/// Whose work is undone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Undone {
    /// A workflow's.
    Workflow(Arc<str>),
    /// That of a job without a workflow.
    Job(JobId),
}

/// A rollback: the jobs that undo something, in the order in which they were heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// When the first of them was heard of.
    pub started: Timestamp,
    /// The jobs.
    pub jobs: Vec<JobId>,
}

/// The rollbacks that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollbacks {
    rows: BTreeMap<Undone, Arc<Rollback>>,
    dropped: u64,
}

impl Rollbacks {
    /// All rollbacks, the one that began last first.
    pub fn latest(&self) -> Vec<(&Undone, &Arc<Rollback>)> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by(|a, b| (b.1.started, a.0).cmp(&(a.1.started, b.0)));
        rows
    }

    /// Rollbacks that were forgotten because [`limits::ROLLBACKS`] were kept.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes in a job that changed, if it undoes another.
    pub(crate) fn changed(&mut self, job: &Job) {
        let Some(undone) = undone_by(job) else { return };
        let row = self.rows.entry(undone).or_insert_with(|| {
            Arc::new(Rollback {
                started: job.first_seen,
                jobs: Vec::new(),
            })
        });
        if row.jobs.contains(&job.id) || row.jobs.len() >= limits::ROLLBACK_STEPS {
            return;
        }
        Arc::make_mut(row).jobs.push(job.id.clone());
        if self.rows.len() > limits::ROLLBACKS {
            let oldest = self.rows.iter().min_by_key(|(_, row)| row.started);
            if let Some(oldest) = oldest.map(|(undone, _)| undone.clone()) {
                self.rows.remove(&oldest);
                self.dropped += 1;
            }
        }
    }
}

/// Whose work a job undoes; `None` if it is an ordinary one.
pub fn undone_by(job: &Job) -> Option<Undone> {
    let request = job.request.as_ref()?;
    let says = |name: &str| request.label(name) == Some("true");
    if !says("saga_compensation") && !says("is_compensation") {
        return None;
    }
    let workflow = request.label("saga_workflow_id").map(Arc::from);
    workflow
        .or_else(|| request.workflow_id.clone())
        .map(Undone::Workflow)
        .or_else(|| request.parent.clone().map(Undone::Job))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::script;

    fn check(script: &str, expected: &[&str]) {
        let state = script::run(script).expect("a script");
        let rows: Vec<String> = state
            .model
            .rollbacks
            .latest()
            .into_iter()
            .map(|(undone, row)| {
                let jobs: Vec<&str> = row.jobs.iter().map(JobId::as_str).collect();
                format!("{undone:?} {}", jobs.join(" "))
            })
            .collect();
        assert_eq!(rows, expected, "{script}");
    }

    #[test]
    fn the_jobs_that_undo_a_workflow_are_one_rollback_the_last_one_first() {
        check(
            "0s submit c1 topic=job.a labels=saga_compensation:true,saga_workflow_id:wf-1 \
             | 1s submit x topic=job.a workflow=wf-1 \
             | 2s submit c2 topic=job.b labels=is_compensation:true,saga_workflow_id:wf-1 \
             | 3s succeed c1 w1 \
             | 4s submit c3 topic=job.b labels=saga_compensation:true parent=j9 \
             | 5s submit c4 topic=job.b labels=saga_compensation:no",
            &["Job(\"j9\") c3", "Workflow(\"wf-1\") c1 c2"],
        );
    }
}
