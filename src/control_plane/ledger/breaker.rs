//! The breaker before the safety kernel: a kernel that failed three times is not
//! asked for half a minute, so that a dying one is not asked to death and jobs do
//! not wait two seconds each for an answer that will not come. After that a few
//! questions try it, and only their answers close the breaker again.

use crate::time::{Elapsed, Timestamp};

/// Failures in a row that open it.
pub const THRESHOLD: u32 = 3;
/// How long it stays open; failures further apart than this are not in a row.
pub const COOLDOWN: Elapsed = Elapsed::from_secs(30);
/// Questions that may try the kernel at a time, and answers in a row that close
/// the breaker.
pub const PROBES: u32 = 2;
/// A trying question that was not answered for this long is forgotten, for whoever
/// asked it may be gone.
const PROBE_LIMIT: Elapsed = Elapsed::from_secs(5);

/// Whether the kernel is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// It is.
    Closed,
    /// It is not.
    Open,
    /// A few questions try it.
    HalfOpen,
}

impl BreakerState {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Counts failures in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Breaker {
    pub(super) failures: u32,
    pub(super) last_failure: Timestamp,
    /// When it opened; `None` while it is closed.
    pub(super) opened_at: Option<Timestamp>,
    /// Questions that try the kernel now, and when the last of them was asked.
    pub(super) trying: u32,
    pub(super) tried_at: Timestamp,
    /// Of those that tried it, how many were answered.
    pub(super) answered: u32,
}

impl Breaker {
    /// Where it stands.
    pub fn state(&self, now: Timestamp) -> BreakerState {
        match self.opened_at {
            None => BreakerState::Closed,
            Some(at) if now < at.plus(COOLDOWN) => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// Failures in a row that still count.
    pub fn failures(&self, now: Timestamp) -> u32 {
        let old = now >= self.last_failure.plus(COOLDOWN);
        if self.opened_at.is_none() && old {
            0
        } else {
            self.failures
        }
    }

    /// How long nobody is asked any more; `None` unless it is open.
    pub fn cooldown(&self, now: Timestamp) -> Option<Elapsed> {
        let at = self.opened_at?.plus(COOLDOWN);
        (now < at).then(|| at.since(now))
    }

    /// How long its failures count, or keep it open; `None` when they do no more.
    pub fn counts_for(&self, now: Timestamp) -> Option<Elapsed> {
        let until = self.last_failure.plus(COOLDOWN);
        (self.failures > 0 && now < until).then(|| until.since(now))
    }

    /// The same in the eyes of one whose clock is behind: it is open no longer than usual.
    pub(super) fn not_after(self, now: Timestamp) -> Self {
        Self {
            last_failure: self.last_failure.min(now),
            opened_at: self.opened_at.map(|at| at.min(now)),
            ..self
        }
    }

    /// The same, but nobody tries the kernel: what another process may go on from.
    pub(super) fn without_tries(self) -> Self {
        Self {
            trying: 0,
            tried_at: Timestamp::default(),
            ..self
        }
    }

    /// Whether a question may be asked now. One that may has to be followed by
    /// [`Self::failed`] or [`Self::succeeded`].
    pub(super) fn admit(&mut self, now: Timestamp) -> bool {
        match self.state(now) {
            BreakerState::Closed => true,
            BreakerState::Open => false,
            BreakerState::HalfOpen => {
                if now >= self.tried_at.plus(PROBE_LIMIT) {
                    self.trying = 0;
                }
                let free = self.trying < PROBES;
                if free {
                    self.trying += 1;
                    self.tried_at = now;
                }
                free
            }
        }
    }

    pub(super) fn failed(&mut self, now: Timestamp) {
        match self.state(now) {
            BreakerState::Closed => {
                self.failures = self.failures(now).saturating_add(1);
                self.last_failure = now;
                if self.failures >= THRESHOLD {
                    self.open(now);
                }
            }
            BreakerState::HalfOpen => self.open(now),
            // An answer to what was asked before it opened.
            BreakerState::Open => {}
        }
    }

    pub(super) fn succeeded(&mut self, now: Timestamp) {
        match self.state(now) {
            BreakerState::Closed => *self = Self::default(),
            BreakerState::HalfOpen => {
                self.trying = self.trying.saturating_sub(1);
                self.answered += 1;
                if self.answered >= PROBES {
                    *self = Self::default();
                }
            }
            BreakerState::Open => {}
        }
    }

    fn open(&mut self, now: Timestamp) {
        *self = Self {
            failures: self.failures.max(THRESHOLD),
            last_failure: now,
            opened_at: Some(now),
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each word is a second and what happens then: `x` a failure, `o` a success,
    /// `?` a question, followed by whether it may be asked.
    fn check(script: &str, at: i64, expected: &str) {
        let at_second = |s: i64| Timestamp::from_millis(1_000_000 + s * 1_000);
        let mut breaker = Breaker::default();
        for event in script.split_whitespace() {
            let digits = event.trim_end_matches(|c: char| !c.is_ascii_digit());
            let now = at_second(digits.parse().expect("seconds"));
            match &event[digits.len()..] {
                "x" => breaker.failed(now),
                "o" => breaker.succeeded(now),
                "?yes" => assert!(breaker.admit(now), "{event} of {script}"),
                "?no" => assert!(!breaker.admit(now), "{event} of {script}"),
                other => panic!("no event {other}"),
            }
        }
        let now = at_second(at);
        let cooldown = breaker.cooldown(now).map_or(0, Elapsed::as_secs);
        let says = format!("{} {cooldown}s", breaker.state(now).name());
        assert_eq!(says, expected, "{script}");
    }

    #[test]
    fn three_failures_in_a_row_open_it_for_half_a_minute() {
        check("1x 2x", 3, "closed 0s");
        check("1x 2x 3x", 3, "open 30s");
        check("1x 2x 3x 3?no", 32, "open 1s");
        check("1x 2x 3o 4x", 5, "closed 0s");
        check("1x 2x 40x", 41, "closed 0s");
        check("1x 2x 3x 4x 5o", 33, "half_open 0s");
    }

    #[test]
    fn two_answered_tries_close_it_and_a_failed_one_opens_it_again() {
        check("1x 2x 3x 33?yes 33?yes 33?no", 33, "half_open 0s");
        check("1x 2x 3x 33?yes 34o", 34, "half_open 0s");
        check("1x 2x 3x 33?yes 34o 34?yes 35o", 35, "closed 0s");
        check("1x 2x 3x 33?yes 34x", 34, "open 30s");
        check("1x 2x 3x 33?yes 33?yes 34o 35x", 35, "open 30s");
    }

    #[test]
    fn a_try_whose_asker_is_gone_does_not_block_the_next_for_ever() {
        check("1x 2x 3x 33?yes 33?yes 37?no 38?yes", 38, "half_open 0s");
    }
}
