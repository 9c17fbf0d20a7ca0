//! What would be undone, what is, and what was, from the jobs that do it.
//!
//! A compensation is an ordinary job that its labels tell apart:
//! `saga_compensation` or `is_compensation` is `true`, `saga_workflow_id` names the
//! workflow, and its parent is the job it undoes. Nothing else travels about a
//! rollback, so this is what the packets and the plane's answers tell. A job that
//! succeeded in a workflow and carries a compensation is armed: it would be undone
//! if its workflow ended FAILED_FATAL.
//!
//! Here it is kept whose undo is known; [`stack`] tells how each stands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::JobId;
use crate::state::limits;
use crate::state::model::jobs::{Job, JobState};
use crate::time::Timestamp;
use crate::wire::packet::JobStatus;

mod stack;
mod step;
mod told;

pub use stack::{Stack, StackState, stack, stacks};
pub use step::{Step, StepState};
pub use told::{RollbackFact, ToldStep};

/// Whose work is undone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Undone {
    /// A workflow's.
    Workflow(Arc<str>),
    /// That of a job without a workflow.
    Job(JobId),
}

/// A rollback: the jobs that undo something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// When the first of them was heard of.
    pub started: Timestamp,
    /// The jobs: as the gateway named them, else in the order in which they were
    /// submitted, as far as [`Rollback::is_order_known`].
    pub jobs: Vec<JobId>,
    /// For the jobs that were heard of when that was first, and whether it is when they
    /// were submitted.
    begun: BTreeMap<JobId, Begun>,
    /// What the gateway said of it last; `None` if it never did.
    pub told: Option<Arc<RollbackFact>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Begun {
    at: Timestamp,
    is_birth: bool,
}

impl Rollback {
    fn new(started: Timestamp) -> Self {
        Self {
            started,
            jobs: Vec::new(),
            begun: BTreeMap::new(),
            told: None,
        }
    }

    /// Whether the jobs are known to have run in the order that they have here: the
    /// gateway tells it, or it is known of each but the first when it was submitted.
    pub fn is_order_known(&self) -> bool {
        let is_born = |id: &JobId| self.begun.get(id).is_some_and(|it| it.is_birth);
        self.told.is_some() || self.jobs.iter().skip(1).all(is_born)
    }

    /// Takes in when a job began.
    fn begin(&mut self, job: &Job) {
        let begun = Begun {
            at: job.first_seen,
            is_birth: job.is_birth_known(),
        };
        self.begun.insert(job.id.clone(), begun);
        // What the gateway named stands as it named it.
        if self.told.is_none() {
            let begun = &self.begun;
            self.jobs.sort_by_key(|id| begun.get(id).map(|it| it.at));
        }
    }

    fn knows(&self, job: &Job) -> bool {
        let known = self.begun.get(&job.id);
        known.is_some_and(|it| it.at == job.first_seen && it.is_birth == job.is_birth_known())
    }
}

/// What a job undoes, as the gateway gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ToldUndo {
    of: Undone,
    undoes: Option<JobId>,
}

/// The rollbacks that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollbacks {
    rows: BTreeMap<Undone, Arc<Rollback>>,
    /// What each job undoes that the gateway named as a step of one of `rows`.
    told: BTreeMap<JobId, ToldUndo>,
    armed: BTreeMap<Undone, Timestamp>,
    armed_by_age: BTreeSet<(Timestamp, Undone)>,
    dropped: u64,
}

impl Rollbacks {
    /// All rollbacks, the one that began last first.
    pub fn latest(&self) -> Vec<(&Undone, &Arc<Rollback>)> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by(|a, b| (b.1.started, a.0).cmp(&(a.1.started, b.0)));
        rows
    }

    /// Everything of which an undo is known, armed or not, in the order of names.
    pub fn all(&self) -> impl Iterator<Item = &Undone> {
        let armed = self.armed.keys().filter(|of| !self.rows.contains_key(*of));
        self.rows.keys().chain(armed)
    }

    /// Whether an undo of `of` is known.
    pub fn has(&self, of: &Undone) -> bool {
        self.rows.contains_key(of) || self.armed.contains_key(of)
    }

    /// The jobs that undo the work of `of`.
    pub fn get(&self, of: &Undone) -> Option<&Arc<Rollback>> {
        self.rows.get(of)
    }

    /// Whose work a job undoes, by its own labels or else as the gateway tells, whose
    /// lists leave labels out; `None` if it is an ordinary one.
    pub fn undone_by(&self, job: &Job) -> Option<Undone> {
        undone_by(job).or_else(|| Some(self.told.get(&job.id)?.of.clone()))
    }

    /// The job that `job` undoes, as the gateway tells; `None` if it did not tell.
    pub fn told_undoes(&self, job: &JobId) -> Option<&JobId> {
        self.told.get(job)?.undoes.as_ref()
    }

    /// Rollbacks that were forgotten because [`limits::ROLLBACKS`] were kept, and
    /// armed workflows because of [`limits::ARMED`].
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes in a job that changed, if it undoes another or would be undone.
    pub(crate) fn changed(&mut self, job: &Job) {
        let Some(undone) = undone_by(job) else {
            return self.arm(job);
        };
        let new = || Arc::new(Rollback::new(job.first_seen));
        let row = self.rows.entry(undone).or_insert_with(new);
        let is_known = row.jobs.contains(&job.id);
        if row.knows(job) || (!is_known && row.jobs.len() >= limits::ROLLBACK_STEPS) {
            return;
        }
        let row = Arc::make_mut(row);
        if !is_known {
            row.jobs.push(job.id.clone());
        }
        row.begin(job);
        self.forget();
    }

    /// Lets the oldest go where there are too many.
    fn forget(&mut self) {
        if self.rows.len() > limits::ROLLBACKS {
            let oldest = self.rows.iter().min_by_key(|(_, row)| row.started);
            if let Some(oldest) = oldest.map(|(undone, _)| undone.clone()) {
                let gone = self.rows.remove(&oldest);
                for job in gone.iter().flat_map(|row| &row.jobs) {
                    self.told.remove(job);
                }
                self.dropped += 1;
            }
        }
    }
}

impl Rollbacks {
    fn arm(&mut self, job: &Job) {
        let Some(of) = stack::armed_by(job) else {
            return;
        };
        let at = job.since;
        match self.armed.get_mut(&of) {
            Some(known) if *known >= at => return,
            Some(known) => {
                self.armed_by_age.remove(&(*known, of.clone()));
                *known = at;
            }
            None => {
                self.armed.insert(of.clone(), at);
            }
        }
        self.armed_by_age.insert((at, of));
        if self.armed.len() > limits::ARMED
            && let Some((_, oldest)) = self.armed_by_age.pop_first()
        {
            self.armed.remove(&oldest);
            self.dropped += 1;
        }
    }
}

/// Whether a job ended FAILED_FATAL, which is what starts a rollback.
pub fn is_fatal(job: &Job) -> bool {
    let status = job.result.as_ref().and_then(|it| it.status);
    job.state == Some(JobState::Failed) && status == Some(JobStatus::FailedFatal)
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
    fn what_is_armed_is_bounded_and_the_oldest_goes_first() {
        let script: String = (0..=limits::ARMED)
            .map(|n| {
                format!(
                    "{n}s submit j{n} topic=job.a workflow=w{n} undo=job.u | {n}s succeed j{n} w |"
                )
            })
            .collect();
        let state = script::run(&script).expect("a script");
        let rollbacks = &state.model.rollbacks;
        let has = |name: &str| rollbacks.has(&Undone::Workflow(name.into()));
        assert_eq!(rollbacks.all().count(), limits::ARMED);
        assert_eq!(
            (rollbacks.dropped(), has("w0"), has("w1")),
            (1, false, true)
        );
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

    #[test]
    fn the_jobs_of_a_rollback_stand_in_the_order_of_their_submission_or_it_is_unknown() {
        let order = |script: &str| {
            let state = script::run(script).expect("a script");
            let rows = state.model.rollbacks.latest();
            let (_, row) = rows.first().expect("a rollback");
            let jobs: Vec<&str> = row.jobs.iter().map(JobId::as_str).collect();
            (jobs.join(" "), row.is_order_known())
        };
        let told = |id: &str, more: &str| {
            let saga = "labels=saga_compensation:true,saga_workflow_id:wf";
            format!("20s told {id} SUCCEEDED topic=job.u {saga} {more}")
        };
        // A store gives them by their ids.
        let script = [
            told("u1", "told=9s born=8s"),
            told("u3", "told=7s born=4s"),
            told("u4", "told=3s born=2s"),
        ];
        assert_eq!(order(&script.join(" | ")), ("u4 u3 u1".to_owned(), true));
        // The first may have begun at any time before it was heard of.
        let script = [told("u1", "told=9s born=8s"), told("u3", "told=7s")];
        assert_eq!(order(&script.join(" | ")), ("u3 u1".to_owned(), true));
        let script = [told("u1", "told=9s"), told("u3", "told=7s")];
        assert_eq!(order(&script.join(" | ")), ("u3 u1".to_owned(), false));
        // What was not told is learnt later.
        let later = [script.join(" | "), told("u1", "born=1s")].join(" | ");
        assert_eq!(order(&later).0, "u1 u3");
        assert!(!order(&later).1);
        let heard = "0s submit u9 topic=job.u labels=saga_compensation:true,saga_workflow_id:wf \
            | 1s submit u1 topic=job.u labels=saga_compensation:true,saga_workflow_id:wf";
        assert_eq!(order(heard), ("u9 u1".to_owned(), true));
    }
}
