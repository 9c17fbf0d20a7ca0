//! What policy would say of the jobs that would undo others.
//!
//! Nobody tells this by itself: it is asked for while somebody looks at an undo, and
//! holds only for the policy that was asked. Start at [`Compensations::of`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::ids::JobId;
use crate::state::limits;
use crate::state::model::jobs::Decision;
use crate::state::shared::Text;

/// What policy would say of the job that would undo another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// The job that would be undone.
    pub job: JobId,
    /// What would be decided.
    pub decision: Option<Decision>,
    /// By which rule; `None` if none matches.
    pub rule_id: Text,
    /// Why.
    pub reason: Text,
    /// Under which snapshot.
    pub snapshot: Text,
}

/// What policy would say of undoing, by the job that would be undone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compensations {
    judged: BTreeMap<JobId, Arc<Judged>>,
    /// The order in which they were told, the oldest first.
    told: VecDeque<JobId>,
}

impl Compensations {
    /// What the policy in force would say of undoing `job`; `None` if it was not
    /// asked, or another one was.
    pub fn of(&self, job: &JobId, in_force: Option<&str>) -> Option<&Arc<Judged>> {
        let judged = self.judged.get(job)?;
        let moved = match (judged.snapshot.as_deref(), in_force) {
            (Some(asked), Some(in_force)) => asked != in_force,
            _ => false,
        };
        (!moved).then_some(judged)
    }

    /// Takes in an answer; the ones that were told longest ago go first.
    pub(crate) fn learn(&mut self, judged: &Judged) {
        let new = self
            .judged
            .insert(judged.job.clone(), Arc::new(judged.clone()))
            .is_none();
        if !new {
            self.told.retain(|job| *job != judged.job);
        }
        self.told.push_back(judged.job.clone());
        while self.told.len() > limits::COMPENSATIONS {
            if let Some(oldest) = self.told.pop_front() {
                self.judged.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_for_its_policy_and_the_oldest_go_first() {
        let judged = |job: String, snapshot: &str| Judged {
            job: JobId::from(job),
            decision: Some(Decision::Deny),
            snapshot: Some(snapshot.into()),
            ..Judged::default()
        };
        let job = |n: usize| JobId::from(format!("j{n}"));
        let mut all = Compensations::default();
        for n in 0..=limits::COMPENSATIONS {
            all.learn(&judged(format!("j{n}"), "s1"));
            all.learn(&judged(format!("j{n}"), "s2"));
        }
        assert_eq!(all.of(&job(0), Some("s2")), None, "it went first");
        assert!(all.of(&job(1), Some("s2")).is_some());
        assert!(all.of(&job(1), None).is_some(), "nobody told of another");
        assert_eq!(all.of(&job(1), Some("s3")), None, "the policy moved");
        assert_eq!(all.told.len(), all.judged.len());
    }
}
