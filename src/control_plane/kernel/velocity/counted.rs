//! Counts that outlive the process: what was counted since the last time, and counts
//! made anew from what was kept.
//!
//! What was not handed out yet is known by its place at the end of its window, so that
//! noting it takes no room of its own: what is forgotten in between is never handed out.

use std::collections::BTreeMap;

use super::Rates;
use crate::ids::JobId;
use crate::time::{Elapsed, Timestamp};

/// What was counted since the last time.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Counted(pub Vec<CountedRule>);

/// What was counted for a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedRule {
    /// The rule, by its id.
    pub rule: String,
    /// How long requests count for it.
    pub window: Elapsed,
    /// Requests that passed it by; those of one key in their order.
    pub passed: Vec<Passed>,
}

/// A request that passed a rule by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// When.
    pub at: Timestamp,
    /// What it is counted by.
    pub key: String,
    /// Its job; empty when policy was asked about none.
    pub job: JobId,
    /// What tells requests without a job from each other; 0 for one with a job.
    pub number: u64,
}

impl Counted {
    /// Whether nothing was.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Rates {
    /// From here on notes what it counts, for [`Self::take_counted`].
    pub fn keep(&mut self) {
        self.keeping = true;
    }

    /// What was counted and not handed out yet. A rule whose window changed is among it
    /// without requests, for what was handed out counts for another time now.
    pub fn take_counted(&mut self) -> Counted {
        let mut counted = Vec::new();
        for (rule, keys) in &mut self.rules {
            let changed = std::mem::take(&mut keys.changed);
            if keys.news.is_empty() && !changed {
                continue;
            }
            let mut passed = Vec::new();
            for key in std::mem::take(&mut keys.news) {
                let Some(window) = keys.windows.get_mut(&key) else {
                    continue;
                };
                let from = window.passed.len() - std::mem::take(&mut window.news);
                for (at, job) in window.passed.range(from..) {
                    self.nameless += u64::from(job.is_empty());
                    passed.push(Passed {
                        at: *at,
                        key: key.clone(),
                        job: job.clone(),
                        number: if job.is_empty() { self.nameless } else { 0 },
                    });
                }
            }
            counted.push(CountedRule {
                rule: rule.clone(),
                window: keys.window,
                passed,
            });
        }
        Counted(counted)
    }

    /// Takes back what was handed out last and may not have been written down. A request
    /// without a job gets another number, so one that was written counts twice later on.
    pub fn give_back(&mut self, counted: Counted) {
        for CountedRule { rule, passed, .. } in counted.0 {
            let Some(keys) = self.rules.get_mut(&rule) else {
                continue;
            };
            keys.changed = true;
            for Passed { key, .. } in passed {
                if let Some(window) = keys.windows.get_mut(&key) {
                    window.news = window.passed.len().min(window.news + 1);
                    keys.news.insert(key);
                }
            }
        }
    }

    /// Counts what was kept, by the ids of its rules, in place of what is counted. The
    /// oldest are left out when there is no room for all.
    pub fn restore(&mut self, kept: BTreeMap<String, Vec<Passed>>) {
        self.rules.clear();
        self.counted = 0;
        let mut all: Vec<(String, Passed)> = Vec::new();
        for (rule, passed) in kept {
            all.extend(passed.into_iter().map(|it| (rule.clone(), it)));
        }
        all.sort_by_key(|(_, passed)| passed.at);
        let left_out = all.len().saturating_sub(self.room);
        for (rule, passed) in all.drain(left_out..) {
            let Passed { at, key, job, .. } = passed;
            // What was kept under a number is not to be written over.
            self.nameless = self.nameless.max(passed.number);
            let keys = self.rules.entry(rule).or_default();
            let window = keys.windows.entry(key).or_default();
            if job.is_empty() || window.jobs.insert(job.clone()) {
                window.passed.push_back((at, job));
                self.counted += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{KeyPart, Velocity};
    use super::*;

    const WINDOW_S: u64 = 10;

    fn two() -> Velocity {
        Velocity {
            max_requests: 2,
            window: Elapsed::from_secs(WINDOW_S),
            key: vec![KeyPart::Tenant],
        }
    }

    fn keeping() -> Rates {
        let mut rates = Rates::default();
        rates.keep();
        rates
    }

    /// Counts each `<second><key><job>`; the answer is a `.` for each that passed.
    fn count(rates: &mut Rates, script: &str) -> String {
        let words = script.split_whitespace().map(|word| {
            let at = word.find(char::is_alphabetic).expect("a key");
            let (second, rest) = word.split_at(at);
            let (key, job) = rest.split_at(1);
            let now = Timestamp::from_millis(second.parse::<i64>().expect("a second") * 1_000);
            let fires = rates.count("r", &two(), key, &JobId::from(job), now);
            if fires { 'x' } else { '.' }
        });
        words.collect()
    }

    /// As in [`count`], with the number of those without a job.
    fn told(counted: &Counted) -> String {
        let mut words = Vec::new();
        for passed in counted.0.iter().flat_map(|rule| &rule.passed) {
            let Passed { at, key, job, .. } = passed;
            let number = match passed.number {
                0 => String::new(),
                number => format!("#{number}"),
            };
            words.push(format!("{}{key}{job}{number}", at.as_millis() / 1_000));
        }
        words.join(" ")
    }

    fn kept(parts: &[Counted]) -> BTreeMap<String, Vec<Passed>> {
        let mut kept: BTreeMap<String, Vec<Passed>> = BTreeMap::new();
        for rule in parts.iter().flat_map(|part| &part.0) {
            let passed = rule.passed.iter().cloned();
            kept.entry(rule.rule.clone()).or_default().extend(passed);
        }
        kept
    }

    #[test]
    fn what_is_counted_is_handed_out_once() {
        let mut rates = keeping();
        assert_eq!(count(&mut rates, "0a1 0a1 1b2 2a3 2a4"), "....x");
        assert_eq!(told(&rates.take_counted()), "0a1 2a3 1b2");
        assert!(rates.take_counted().is_empty());
        assert_eq!(count(&mut rates, "3b5 3b 13b 13b"), ".x..");
        assert_eq!(told(&rates.take_counted()), "13b#1 13b#2");
        let mut careless = Rates::default();
        count(&mut careless, "0a1");
        assert!(careless.take_counted().is_empty());
    }

    #[test]
    fn what_is_given_back_is_handed_out_again_with_what_came_since() {
        let mut rates = keeping();
        count(&mut rates, "0a1 1b2");
        let counted = rates.take_counted();
        count(&mut rates, "2a3");
        rates.give_back(counted);
        assert_eq!(told(&rates.take_counted()), "0a1 2a3 1b2");
        // What is over meanwhile is nobody's business any more.
        count(&mut rates, "3b4");
        let counted = rates.take_counted();
        count(&mut rates, "30b5");
        rates.give_back(counted);
        assert_eq!(told(&rates.take_counted()), "30b5");
    }

    #[test]
    fn counts_go_on_where_they_were_kept() {
        let mut before = keeping();
        count(&mut before, "0a1 2a2 5b");
        let first = before.take_counted();
        count(&mut before, "6b4");
        let parts = [first, before.take_counted()];
        let mut after = keeping();
        count(&mut after, "0a8 0a9");
        after.restore(kept(&parts));
        assert_eq!(after.len(), 4);
        // Known jobs count once, and windows slide as they would have.
        let script = "7a5 7a2 7b6 11a5 11a6 13a6 16b 16b7";
        assert_eq!(count(&mut after, script), "x.x.x...");
        assert_eq!(told(&after.take_counted()), "11a5 13a6 16b#2 16b7");
    }

    #[test]
    fn when_there_is_no_room_the_oldest_are_left_out() {
        let mut before = keeping();
        count(&mut before, "0a1 1b2 2c3");
        let mut after = Rates::with_room(2);
        after.restore(kept(&[before.take_counted()]));
        assert_eq!(after.len(), 2);
        assert_eq!(
            after.counts("r", &two(), "a", Timestamp::from_millis(2_000)),
            0
        );
    }

    #[test]
    fn a_window_that_changed_is_handed_out_also_when_nothing_was_counted() {
        let policy = |seconds: u32| {
            let text = format!(
                "rules: [{{id: r, decision: deny, velocity: \
                 {{max_requests: 2, window_seconds: {seconds}, key: tenant}}}}]"
            );
            crate::control_plane::kernel::policy::Policy::parse(text.as_bytes()).expect("a policy")
        };
        let mut rates = keeping();
        count(&mut rates, "0a1");
        rates.take_counted();
        rates.keep_rules_of(&policy(10));
        assert!(rates.take_counted().is_empty());
        rates.keep_rules_of(&policy(60));
        let counted = rates.take_counted();
        assert_eq!(counted.0.len(), 1);
        assert_eq!(counted.0[0].window, Elapsed::from_secs(60));
        assert!(rates.take_counted().is_empty());
    }
}
