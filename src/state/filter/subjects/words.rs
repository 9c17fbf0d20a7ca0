//! The words of fields that hold one of a few: those of the contract, and those that a
//! table shows in their place.

/// The names of the contract, and the words of the tables that are others.
pub(super) const STATES: &[&str] = &[
    "PENDING",
    "APPROVAL_REQUIRED",
    "SCHEDULED",
    "DISPATCHED",
    "RUNNING",
    "RETRYING",
    "SUCCEEDED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "DENIED",
    "OUTPUT_QUARANTINED",
    "approval",
    "quarantined",
];
/// What policy can decide, by the names of the contract.
pub const DECISIONS: &[&str] = &[
    "ALLOW",
    "ALLOW_WITH_CONSTRAINTS",
    "REQUIRE_APPROVAL",
    "THROTTLE",
    "DENY",
    "UNAVAILABLE",
];
/// The same, and the words of the tables that are others.
pub(super) const VERDICTS: &[&str] = &[
    "ALLOW",
    "ALLOW_WITH_CONSTRAINTS",
    "REQUIRE_APPROVAL",
    "THROTTLE",
    "DENY",
    "UNAVAILABLE",
    "limits",
    "approval",
    "unknown",
];
/// What a rule can do: the names, and the words of the list of rules that are others.
pub(super) const EFFECTS: &[&str] = &[
    "ALLOW",
    "ALLOW_WITH_CONSTRAINTS",
    "REQUIRE_APPROVAL",
    "THROTTLE",
    "DENY",
    "UNAVAILABLE",
    "constrained",
    "unknown",
];
pub(super) const WAITS: &[&str] = &[
    "approval",
    "throttled",
    "no_workers",
    "pool_overloaded",
    "no_pool_mapping",
    "tenant_limit",
    "kernel_unavailable",
    "retry_backoff",
    "bus_unavailable",
    "unknown",
];
pub(super) const STANDINGS: &[&str] = &["lost", "zombie", "late", "draining", "live", "unknown"];
pub(super) const STACKS: &[&str] = &[
    "broken", "approval", "running", "unknown", "undone", "armed",
];
pub(super) const STATUSES: &[&str] = &[
    "pending",
    "approved",
    "rejected",
    "expired",
    "invalidated",
    "repaired",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::model::jobs::{Decision, JobState, WaitingOn};
    use crate::state::model::workers::Standing;

    #[test]
    fn the_words_of_a_field_are_those_that_the_model_uses() {
        let names = |names: Vec<&'static str>| names;
        // The names of the contract, then the words of the tables that are others.
        let and_words = |pairs: Vec<(&'static str, &'static str)>| {
            let other = |(name, word): &(&'static str, &'static str)| {
                (!name.eq_ignore_ascii_case(word)).then_some(*word)
            };
            let words: Vec<&str> = pairs.iter().filter_map(other).collect();
            let names = pairs.into_iter().map(|(name, _)| name);
            names.chain(words).collect::<Vec<&str>>()
        };
        let states = JobState::ALL.iter().map(|it| (it.name(), it.word()));
        assert_eq!(and_words(states.collect()), STATES);
        let decisions = Decision::ALL.iter().map(|it| (it.name(), it.word()));
        assert_eq!(and_words(decisions.collect()), VERDICTS);
        let decisions = Decision::ALL.iter().map(|it| it.name());
        assert_eq!(names(decisions.collect()), DECISIONS);
        let effects = Decision::ALL.iter().map(|it| (it.name(), it.effect()));
        assert_eq!(and_words(effects.collect()), EFFECTS);
        assert_eq!(
            names(WaitingOn::ALL.iter().map(|it| it.name()).collect()),
            WAITS
        );
        assert_eq!(
            names(Standing::ALL.iter().map(|it| it.name()).collect()),
            STANDINGS
        );
    }
}
