//! How much is heard, by kind, counted and never averaged: whoever wants a rate divides.

use std::collections::VecDeque;

use crate::state::event::{Heard, Malformed, Route};
use crate::state::limits;
use crate::time::{Elapsed, Timestamp};
use crate::wire::packet::Body;

/// Counts in a row of equal spans of time, the last one being the present one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    width_ms: u32,
    newest: i64,
    counts: [u32; Self::SPANS],
    total: u64,
}

impl Series {
    /// How many spans are kept.
    pub const SPANS: usize = 64;

    /// An empty row of spans `width` long, at least 1 ms.
    pub fn new(width: Elapsed) -> Self {
        Self {
            width_ms: u32::try_from(width.as_millis().max(1)).unwrap_or(u32::MAX),
            newest: 0,
            counts: [0; Self::SPANS],
            total: 0,
        }
    }

    /// Counts `n` more at `at`.
    pub fn add(&mut self, at: Timestamp, n: u32) {
        let span = self.span(at);
        if span > self.newest {
            // When more time passed than is kept, every span is cleared once.
            let oldest = span.saturating_sub(Self::SPANS as i64 - 1);
            for fresh in oldest.max(self.newest.saturating_add(1))..=span {
                self.counts[Self::slot(fresh)] = 0;
            }
            self.newest = span;
        }
        if self.newest.saturating_sub(span) < Self::SPANS as i64 {
            let count = &mut self.counts[Self::slot(span)];
            *count = count.saturating_add(n);
        }
        self.total = self.total.saturating_add(u64::from(n));
    }

    /// All that was ever counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How long one span is.
    pub fn width(&self) -> Elapsed {
        Elapsed::from_millis(u64::from(self.width_ms))
    }

    /// The counts of the last `n` spans until `now`, oldest first; at most
    /// [`Self::SPANS`].
    pub fn last(&self, now: Timestamp, n: usize) -> Vec<u32> {
        let newest = self.span(now);
        (0..n.min(Self::SPANS) as i64)
            .rev()
            .map(|back| self.at_span(newest.saturating_sub(back)))
            .collect()
    }

    /// The sum over the last `n` full spans before the present one.
    pub fn sum_of_full(&self, now: Timestamp, n: usize) -> u64 {
        let newest = self.span(now);
        (1..=n.min(Self::SPANS - 1) as i64)
            .map(|back| u64::from(self.at_span(newest.saturating_sub(back))))
            .sum()
    }

    fn at_span(&self, span: i64) -> u32 {
        let age = self.newest.saturating_sub(span);
        if (0..Self::SPANS as i64).contains(&age) {
            self.counts[Self::slot(span)]
        } else {
            0
        }
    }

    fn span(&self, at: Timestamp) -> i64 {
        at.as_millis().div_euclid(i64::from(self.width_ms))
    }

    fn slot(span: i64) -> usize {
        usize::try_from(span.rem_euclid(Self::SPANS as i64)).unwrap_or(0)
    }
}

/// What kind of packet was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A worker's sign of life.
    Heartbeat,
    /// How far a job is.
    Progress,
    /// A request on its way to the scheduler.
    Submit,
    /// A request on its way to a worker.
    Dispatch,
    /// What came of a job.
    Result,
    /// A wish that a job stops.
    Cancel,
    /// A dead letter.
    DeadLetter,
    /// An alert.
    Alert,
    /// Everything else that is a packet.
    Other,
    /// What is not a packet.
    Malformed,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Heartbeat,
        Self::Progress,
        Self::Submit,
        Self::Dispatch,
        Self::Result,
        Self::Cancel,
        Self::DeadLetter,
        Self::Alert,
        Self::Other,
        Self::Malformed,
    ];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Progress => "progress",
            Self::Submit => "submit",
            Self::Dispatch => "dispatch",
            Self::Result => "result",
            Self::Cancel => "cancel",
            Self::DeadLetter => "dlq",
            Self::Alert => "alert",
            Self::Other => "other",
            Self::Malformed => "malformed",
        }
    }

    fn of(heard: &Heard) -> Self {
        match (&heard.route, &heard.packet.body) {
            (Route::Heartbeat, Body::Heartbeat(_)) => Self::Heartbeat,
            (Route::Progress, Body::JobProgress(_)) => Self::Progress,
            (Route::Submit, Body::JobRequest(_)) => Self::Submit,
            (Route::Dispatch { .. }, Body::JobRequest(_)) => Self::Dispatch,
            (Route::Result, Body::JobResult(_)) => Self::Result,
            (Route::DeadLetter, Body::JobResult(_)) => Self::DeadLetter,
            (Route::Cancel, Body::JobCancel(_)) => Self::Cancel,
            (Route::Alert, Body::Alert(_)) => Self::Alert,
            _ => Self::Other,
        }
    }
}

/// Spans of 5 s: the last five minutes and a little more.
const MINUTES: Elapsed = Elapsed::from_secs(5);
/// Spans of 1 s: the last minute.
const SECONDS: Elapsed = Elapsed::from_secs(1);
/// The packet rate of the header is taken over this many full seconds.
const RATE_OVER: usize = 5;

/// Counters of everything that was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    kinds: [Series; Kind::ALL.len()],
    all: Series,
    first: Option<Timestamp>,
    malformed: VecDeque<(Timestamp, Malformed)>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            kinds: std::array::from_fn(|_| Series::new(MINUTES)),
            all: Series::new(SECONDS),
            first: None,
            malformed: VecDeque::new(),
        }
    }
}

impl Traffic {
    /// The counts of one kind, in spans of 5 s.
    pub fn of(&self, kind: Kind) -> &Series {
        &self.kinds[kind as usize]
    }

    /// The counts of all kinds, in spans of 1 s.
    pub fn all(&self) -> &Series {
        &self.all
    }

    /// Packets a second over the last five full seconds, rounded; `None` before
    /// anything was heard.
    pub fn per_second(&self, now: Timestamp) -> Option<u64> {
        let first = self.first?;
        let seconds = now.since(first).as_secs().clamp(1, RATE_OVER as u64);
        let sum = self
            .all
            .sum_of_full(now, usize::try_from(seconds).unwrap_or(RATE_OVER));
        Some((sum + seconds / 2) / seconds)
    }

    /// Everything that was heard, malformed bytes included.
    pub fn packets(&self) -> u64 {
        self.all.total()
    }

    /// Bytes that were not packets.
    pub fn malformed(&self) -> u64 {
        self.of(Kind::Malformed).total()
    }

    /// The last malformed deliveries, oldest first, at most [`limits::MALFORMED`].
    pub fn malformed_kept(&self) -> impl DoubleEndedIterator<Item = &(Timestamp, Malformed)> {
        self.malformed.iter()
    }

    pub(crate) fn heard(&mut self, heard: &Heard, at: Timestamp) {
        self.count(Kind::of(heard), at);
    }

    pub(crate) fn broken(&mut self, broken: &Malformed, at: Timestamp) {
        self.count(Kind::Malformed, at);
        if self.malformed.len() >= limits::MALFORMED {
            self.malformed.pop_front();
        }
        self.malformed.push_back((at, broken.clone()));
    }

    fn count(&mut self, kind: Kind, at: Timestamp) {
        self.first.get_or_insert(at);
        self.kinds[kind as usize].add(at, 1);
        self.all.add(at, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + s * 1_000)
    }

    #[test]
    fn spans_slide_with_time_and_old_ones_are_forgotten() {
        let mut series = Series::new(Elapsed::from_secs(1));
        series.add(at(0), 3);
        series.add(at(2), 5);
        assert_eq!(series.last(at(2), 4), [0, 3, 0, 5]);
        assert_eq!(series.last(at(4), 4), [0, 5, 0, 0]);
        assert_eq!(series.sum_of_full(at(3), 3), 8);
        series.add(at(65), 1);
        assert_eq!(series.last(at(65), 64).iter().sum::<u32>(), 6);
        series.add(at(10_000), 7);
        assert_eq!(series.last(at(10_000), 64).iter().sum::<u32>(), 7);
        assert_eq!(series.total(), 16);
    }
}
