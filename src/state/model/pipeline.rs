//! How many jobs stood where in the last minutes, so that a change can be told.

use std::collections::VecDeque;

use crate::state::model::jobs::{JobState, Jobs};
use crate::time::{Elapsed, Timestamp};

/// Between two counts.
const EVERY: Elapsed = Elapsed::from_secs(10);

/// Over this time a change is told.
pub const SPAN: Elapsed = Elapsed::from_secs(300);

/// Counts that span [`SPAN`].
const KEPT: usize = 31;

type Counts = [u32; JobState::ALL.len()];

/// Counts at equal distances, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pipeline {
    counts: VecDeque<Counts>,
    /// Number of the span that the last count closed.
    last: Option<i64>,
}

impl Pipeline {
    /// How many more jobs are in `state` than [`SPAN`] ago; `None` before that was seen.
    pub fn change(&self, jobs: &Jobs, state: JobState) -> Option<i64> {
        if self.counts.len() < KEPT {
            return None;
        }
        let before = self.counts.front()?[state as usize];
        Some(i64::from(jobs.count(state)) - i64::from(before))
    }

    /// Lets time pass up to `now`: the counts stand as the last event left them, so
    /// they do not depend on how often time is told.
    pub(crate) fn advance(&mut self, jobs: &Jobs, now: Timestamp) {
        let every = i64::try_from(EVERY.as_millis()).unwrap_or(i64::MAX);
        let span = now.as_millis().div_euclid(every);
        let Some(last) = self.last.replace(span) else {
            return;
        };
        let passed = usize::try_from(span.saturating_sub(last)).unwrap_or(0);
        for _ in 0..passed.min(KEPT) {
            if self.counts.len() == KEPT {
                self.counts.pop_front();
            }
            let mut counts = Counts::default();
            for (count, state) in counts.iter_mut().zip(JobState::ALL) {
                *count = jobs.count(*state);
            }
            self.counts.push_back(counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::script;

    fn check(script: &str, state: JobState, change: Option<i64>) {
        let ran = script::run(script).expect("a script");
        let model = &ran.model;
        assert_eq!(
            model.pipeline.change(&model.jobs, state),
            change,
            "{script}"
        );
    }

    #[test]
    fn a_change_is_told_once_five_minutes_were_seen() {
        check("0s submit a | 299s submit b", JobState::Pending, None);
        check("0s submit a | 311s submit b", JobState::Pending, Some(1));
        check(
            "0s submit a | 5s submit b | 320s submit c | 321s succeed a w1",
            JobState::Pending,
            Some(0),
        );
    }

    #[test]
    fn it_does_not_depend_on_how_often_time_is_told() {
        let ticks: String = (6..330).map(|s| format!("| {s}s tick ")).collect();
        check(
            &format!("0s submit a {ticks} | 331s submit b"),
            JobState::Pending,
            Some(1),
        );
        check("0s submit a | 331s submit b", JobState::Pending, Some(1));
    }
}
