//! The breaker before the safety kernel: a kernel that failed three times is not
//! asked for half a minute, so that a dying one is not asked to death and jobs do
//! not wait two seconds each for an answer that will not come.

use crate::time::{Elapsed, Timestamp};

/// Failures in a row that open it.
pub const THRESHOLD: u32 = 3;
/// How long it stays open after the last failure; failures further apart than
/// this are not in a row.
pub const COOLDOWN: Elapsed = Elapsed::from_secs(30);

/// Counts failures in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Breaker {
    failures: u32,
    forget_at: Timestamp,
}

impl Breaker {
    /// Failures in a row that still count.
    pub fn failures(&self, now: Timestamp) -> u32 {
        if now >= self.forget_at {
            0
        } else {
            self.failures
        }
    }

    /// How long nobody is asked any more; `None` when it is closed.
    pub fn cooldown(&self, now: Timestamp) -> Option<Elapsed> {
        (self.failures(now) >= THRESHOLD).then(|| self.forget_at.since(now))
    }

    pub(super) fn failed(&mut self, now: Timestamp) {
        self.failures = self.failures(now).saturating_add(1);
        self.forget_at = now.plus(COOLDOWN);
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `x` is a failure, `o` a success, each at the second before it.
    fn check(script: &str, at: i64, expected: Option<u64>) {
        let at_second = |s: i64| Timestamp::from_millis(1_000_000 + s * 1_000);
        let mut breaker = Breaker::default();
        for event in script.split_whitespace() {
            let (seconds, kind) = event.split_at(event.len() - 1);
            let now = at_second(seconds.parse().expect("seconds"));
            match kind {
                "x" => breaker.failed(now),
                _ => breaker.succeeded(),
            }
        }
        assert_eq!(
            breaker.cooldown(at_second(at)).map(Elapsed::as_secs),
            expected,
            "{script}"
        );
    }

    #[test]
    fn three_failures_in_a_row_open_it_for_half_a_minute() {
        check("1x 2x", 3, None);
        check("1x 2x 3x", 3, Some(30));
        check("1x 2x 3x", 32, Some(1));
        check("1x 2x 3x", 33, None);
        check("1x 2x 3o 4x", 5, None);
        check("1x 2x 40x", 41, None);
    }
}
