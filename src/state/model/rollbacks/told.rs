//! What the plane says about rollbacks, and how that joins what packets told.
//!
//! A console that came later has not heard which job undoes which, and lists of jobs
//! leave out the labels that would tell. Where a gateway lists rollbacks, it is the
//! source of their steps; how a job of a step stands is still known best from the job.

use std::sync::Arc;

use super::{Rollback, Rollbacks, StepState, ToldUndo, Undone};
use crate::ids::JobId;
use crate::state::limits;
use crate::state::model::jobs::Decision;
use crate::state::shared::Text;
use crate::time::Timestamp;

/// A rollback as the gateway gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollbackFact {
    /// Whose work is undone.
    pub of: Undone,
    /// The job whose end started it.
    pub failed: Option<JobId>,
    /// When, by the plane's clock.
    pub started: Option<Timestamp>,
    /// Its steps, in the order in which they run.
    pub steps: Vec<ToldStep>,
}

/// A step as the gateway gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldStep {
    /// The job that is undone.
    pub undoes: Option<JobId>,
    /// The job that does it; `None` before there is one.
    pub job: Option<JobId>,
    /// What undoes it: a topic.
    pub topic: Text,
    /// It runs once for this key.
    pub idempotency_key: Text,
    /// How it stands.
    pub state: StepState,
    /// What policy decided about it.
    pub decision: Option<Decision>,
}

impl Rollbacks {
    /// Takes in the rollbacks that the gateway lists. One that it no longer lists is
    /// kept: lists are cut.
    pub(crate) fn told(&mut self, facts: &[RollbackFact], now: Timestamp) {
        for fact in facts {
            let started = fact.started.map_or(now, |told| told.min(now));
            let new = || Arc::new(Rollback::new(started));
            let row = self.rows.entry(fact.of.clone()).or_insert_with(new);
            if row.told.as_deref() == Some(fact) {
                continue;
            }
            let row = Arc::make_mut(row);
            if fact.started.is_some() {
                row.started = row.started.min(started);
            }
            let mut fact = fact.clone();
            fact.steps.truncate(limits::ROLLBACK_STEPS);
            for step in &fact.steps {
                let Some(job) = &step.job else {
                    continue;
                };
                if !row.jobs.contains(job) {
                    if row.jobs.len() >= limits::ROLLBACK_STEPS {
                        continue;
                    }
                    row.jobs.push(job.clone());
                }
                let told = ToldUndo {
                    of: fact.of.clone(),
                    undoes: step.undoes.clone(),
                };
                self.told.insert(job.clone(), told);
            }
            row.told = Some(Arc::new(fact));
            self.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_of_a_rollback_goes_with_it() {
        let at = |n: usize| Timestamp::from_millis(i64::try_from(n).expect("a small number"));
        let fact = |n: usize| RollbackFact {
            of: Undone::Workflow(format!("w{n}").into()),
            failed: None,
            started: Some(at(n)),
            steps: vec![ToldStep {
                undoes: Some(format!("j{n}").as_str().into()),
                job: Some(format!("undo{n}").as_str().into()),
                topic: None,
                idempotency_key: None,
                state: StepState::Job(None),
                decision: None,
            }],
        };
        let mut rollbacks = Rollbacks::default();
        let most = limits::ROLLBACKS + 2;
        let facts: Vec<RollbackFact> = (1..=most).map(fact).collect();
        rollbacks.told(&facts, at(most));
        assert_eq!(rollbacks.dropped(), 2);
        let undoes = |n: usize| rollbacks.told_undoes(&format!("undo{n}").as_str().into());
        assert_eq!([undoes(1), undoes(2)], [None, None]);
        assert_eq!(undoes(3).map(JobId::as_str), Some("j3"));
        assert_eq!(rollbacks.told.len(), limits::ROLLBACKS);
    }
}
