//! How fast a kernel answers, and how often it is asked.
//!
//! Pure: whoever asks measures, and says what was measured and when. What is older
//! than a minute is forgotten, and the rest is kept as counts by second and duration,
//! so that it stays small however often a kernel is asked.

use std::collections::VecDeque;

use crate::time::{Elapsed, Timestamp};

/// How far back it looks.
pub const WINDOW: Elapsed = Elapsed::from_secs(60);
/// Bounds of durations in milliseconds, each above what it counts. A question is given
/// up after two seconds, so the last one takes whatever is longer.
const BOUNDS: [u64; 33] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120, 150, 200, 250,
    300, 400, 500, 600, 800, 1_000, 1_200, 1_500, 2_000,
];

/// The answers of one second.
#[derive(Clone, Debug)]
struct Slot {
    second: i64,
    counts: [u32; BOUNDS.len()],
}

/// The answers of the last minute.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    /// At most one for each second of the window, the oldest first.
    slots: VecDeque<Slot>,
}

/// What the last minute was like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Questions in that minute.
    pub asked: u64,
    /// Half of the answers took less than this; whole milliseconds, coarser above 10.
    pub p50: Elapsed,
    /// 99 of 100 answers took less than this.
    pub p99: Elapsed,
}

impl Latency {
    /// A question was answered, or given up, at `now` after `took`.
    pub fn answered(&mut self, took: Elapsed, now: Timestamp) {
        let second = second_of(now);
        // A clock that was set back counts on in the last second that is known.
        if self.slots.back().is_none_or(|slot| slot.second < second) {
            self.slots.push_back(Slot {
                second,
                counts: [0; BOUNDS.len()],
            });
            let begins = begin_of_window(now);
            while self.slots.front().is_some_and(|slot| slot.second < begins) {
                self.slots.pop_front();
            }
        }
        let took = took.as_millis();
        let place = BOUNDS.iter().position(|bound| took < *bound);
        if let Some(slot) = self.slots.back_mut() {
            slot.counts[place.unwrap_or(BOUNDS.len() - 1)] += 1;
        }
    }

    /// The minute before `now`; `None` when nothing was asked in it.
    pub fn summary(&self, now: Timestamp) -> Option<Summary> {
        let begins = begin_of_window(now);
        let mut counts = [0_u64; BOUNDS.len()];
        for slot in self.slots.iter().filter(|slot| slot.second >= begins) {
            for (sum, count) in counts.iter_mut().zip(slot.counts) {
                *sum += u64::from(count);
            }
        }
        let asked: u64 = counts.iter().sum();
        let below = |percent: u64| {
            let wanted = (asked * percent).div_ceil(100);
            let mut seen = 0;
            let place = counts.iter().position(|count| {
                seen += count;
                seen >= wanted
            });
            Elapsed::from_millis(BOUNDS[place.unwrap_or(BOUNDS.len() - 1)])
        };
        (asked > 0).then(|| Summary {
            asked,
            p50: below(50),
            p99: below(99),
        })
    }
}

fn second_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(1_000)
}

/// The first second of the window that ends with the one of `now`.
fn begin_of_window(now: Timestamp) -> i64 {
    second_of(now.minus(WINDOW)) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers as `second:took_ms`, and the minute before a second.
    #[track_caller]
    fn check(answers: &[(u64, u64)], at: u64, expected: &str) {
        let start = Timestamp::from_millis(1_767_225_600_000);
        let second = |at: u64| start.plus(Elapsed::from_secs(at));
        let mut latency = Latency::default();
        for (at, took) in answers {
            latency.answered(Elapsed::from_millis(*took), second(*at));
        }
        assert!(latency.slots.len() <= 60, "{}", latency.slots.len());
        let got = match latency.summary(second(at)) {
            None => "-".to_owned(),
            Some(it) => {
                let (p50, p99) = (it.p50.as_millis(), it.p99.as_millis());
                format!("{} p50 {p50} p99 {p99}", it.asked)
            }
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn a_minute_is_summed_up_by_what_most_answers_stayed_below() {
        check(&[], 0, "-");
        check(&[(0, 0)], 0, "1 p50 1 p99 1");
        check(&[(0, 0), (1, 4), (2, 70)], 2, "3 p50 5 p99 80");
        let mostly: Vec<_> = (0..100)
            .map(|n| (0, if n < 99 { 2 } else { 700 }))
            .collect();
        check(&mostly, 0, "100 p50 3 p99 3");
        let often: Vec<_> = (0..100)
            .map(|n| (0, if n < 98 { 2 } else { 700 }))
            .collect();
        check(&often, 0, "100 p50 3 p99 800");
        check(&[(0, 2_000), (0, 9_000)], 0, "2 p50 2000 p99 2000");
    }

    #[test]
    fn what_is_older_than_a_minute_is_forgotten() {
        check(&[(0, 5), (1, 5)], 59, "2 p50 6 p99 6");
        check(&[(0, 5), (1, 5)], 60, "1 p50 6 p99 6");
        check(&[(0, 5), (1, 5)], 61, "-");
        let long: Vec<_> = (0..500).map(|at| (at, 1)).collect();
        check(&long, 499, "60 p50 2 p99 2");
    }

    #[test]
    fn a_clock_that_is_set_back_loses_no_answer() {
        check(&[(9, 1), (5, 1), (9, 1)], 9, "3 p50 2 p99 2");
    }
}
