//! What a candidate policy would say of decisions that were made.
//!
//! Asked for by a person, about a file of theirs; nothing of it is in force. Whoever
//! evaluates sends [`WhatIf`]; here is what it comes to in numbers.

use std::sync::Arc;

use crate::ids::JobId;
use crate::state::model::jobs::Decision;
use crate::state::shared::Text;

/// What a candidate would change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WhatIf {
    /// The candidate, as a person names it: the end of its path.
    pub file: Arc<str>,
    /// Decisions that were looked at.
    pub considered: u64,
    /// Those that would be the same.
    pub stays: u64,
    /// Those that cannot be told: no request or no verdict is stored.
    pub unknown: u64,
    /// How many of the unknown ones were none: the kernel gave no verdict.
    pub without_verdict: u64,
    /// The rest, the most jobs first.
    pub flips: Vec<Flip>,
}

/// Jobs that would be judged otherwise, and in the same way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flip {
    /// What was decided.
    pub was: Option<Decision>,
    /// What would be decided.
    pub would_be: Option<Decision>,
    /// By which rule; `None` if none matches.
    pub rule_id: Text,
    /// Why the first of the jobs flips.
    pub reason: Text,
    /// The jobs, the one that was decided last first.
    pub jobs: Vec<JobId>,
    /// Risk tags that all of them carry.
    pub tags: Vec<Arc<str>>,
}

impl Flip {
    /// What tells it from the others of one answer.
    pub fn key(&self) -> Arc<str> {
        let name = |decision: Option<Decision>| decision.map_or("unknown", Decision::name);
        let rule = self.rule_id.as_deref().unwrap_or_default();
        format!("{} {} {rule}", name(self.was), name(self.would_be)).into()
    }

    /// Whether a person decided, and nobody would be asked and nothing stopped.
    pub fn loses_a_person(&self) -> bool {
        self.was == Some(Decision::RequireApproval)
            && !matches!(
                self.would_be,
                Some(Decision::RequireApproval | Decision::Deny)
            )
    }

    /// Whether it was denied, and would not be.
    pub fn loses_a_deny(&self) -> bool {
        self.was == Some(Decision::Deny) && self.would_be != Some(Decision::Deny)
    }
}

impl WhatIf {
    /// How many decisions flip.
    pub fn flipped(&self) -> u64 {
        self.flips.iter().map(|flip| flip.jobs.len() as u64).sum()
    }

    /// The flip that is called `key`.
    pub fn flip(&self, key: &str) -> Option<&Flip> {
        self.flips.iter().find(|flip| &*flip.key() == key)
    }

    /// Jobs in the flips that `counts`, and the tags that all of them carry.
    pub fn lost(&self, counts: impl Fn(&Flip) -> bool) -> (u64, Vec<Arc<str>>) {
        let mut jobs = 0;
        let mut tags: Option<Vec<Arc<str>>> = None;
        for flip in self.flips.iter().filter(|flip| counts(flip)) {
            jobs += flip.jobs.len() as u64;
            match &mut tags {
                Some(tags) => tags.retain(|tag| flip.tags.contains(tag)),
                None => tags = Some(flip.tags.clone()),
            }
        }
        (jobs, tags.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_loses_a_person_or_a_deny_is_summed_with_the_tags_that_all_carry() {
        let flip = |was, would_be, jobs: &[&str], tags: &[&str]| Flip {
            was: Decision::read(was),
            would_be: Decision::read(would_be),
            jobs: jobs.iter().map(|job| JobId::from(*job)).collect(),
            tags: tags.iter().map(|tag| Arc::from(*tag)).collect(),
            ..Flip::default()
        };
        let ask = "REQUIRE_APPROVAL";
        let what_if = WhatIf {
            flips: vec![
                flip(ask, "ALLOW", &["a", "b"], &["pii", "prod"]),
                flip(ask, "THROTTLE", &["c"], &["pii"]),
                flip(ask, "DENY", &["d"], &[]),
                flip("DENY", "ALLOW", &["e"], &[]),
                flip("DENY", ask, &["f"], &[]),
                flip("ALLOW", ask, &["g"], &[]),
            ],
            ..WhatIf::default()
        };
        assert_eq!(what_if.flipped(), 7);
        assert_eq!(
            what_if.lost(Flip::loses_a_person),
            (3, vec![Arc::from("pii")])
        );
        assert_eq!(what_if.lost(Flip::loses_a_deny), (2, Vec::new()));
    }
}
