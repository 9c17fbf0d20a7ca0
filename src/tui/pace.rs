//! When to draw: at once for what a person waits for, seldom for what only ticks.
//!
//! A key, a decision or a link change is drawn at once; packets at most 30 times a
//! second; heartbeats and clocks at most 4 times. When nothing changed nothing is
//! drawn. Pure: the loop asks [`Pace::due`] and sleeps until then.

use crate::state::event::{Event, Route};
use crate::time::{Elapsed, Timestamp};

/// Between two frames for packets: 30 a second.
pub const PACKETS: Elapsed = Elapsed::from_millis(33);

/// Between two frames while only heartbeats and clocks move: 4 a second.
pub const BEATS: Elapsed = Elapsed::from_millis(250);

/// How soon a change must be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Heartbeats and clocks.
    Beat,
    /// Packets and lists.
    Packet,
    /// Keys, decisions, link changes, answers to what was asked.
    Now,
}

impl Urgency {
    /// How soon `event` must be seen; `None` if it changes nothing that is drawn.
    pub fn of(event: &Event) -> Option<Self> {
        match event {
            Event::User(_)
            | Event::Outcome(..)
            | Event::Link(..)
            | Event::Approvals(_)
            | Event::Policy(_)
            | Event::PolicyTold(_)
            | Event::Explained(_)
            | Event::Tried(_)
            | Event::CompensationJudged(_)
            | Event::Payload(_) => Some(Self::Now),
            Event::Packet(heard) if heard.route == Route::Heartbeat => Some(Self::Beat),
            Event::Packet(_)
            | Event::Malformed(_)
            | Event::Jobs(_)
            | Event::Workers(_)
            | Event::Pools(_)
            | Event::DeadLetters(_)
            | Event::Rollbacks(_)
            | Event::Unreadable(_) => Some(Self::Packet),
            Event::Answered(_) | Event::Requests(_) => Some(Self::Beat),
            Event::Tick => None,
        }
    }
}

/// When the last frame was drawn, and what changed since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    drawn_at: Option<Timestamp>,
    waiting: Option<Urgency>,
}

impl Pace {
    /// Something changed.
    pub fn changed(&mut self, urgency: Urgency) {
        self.waiting = self.waiting.max(Some(urgency));
    }

    /// Time went by: the clocks on the screen move once a second.
    pub fn tick(&mut self, now: Timestamp) {
        let second = |at: Timestamp| at.as_millis().div_euclid(1_000);
        if self.drawn_at.is_none_or(|at| second(at) != second(now)) {
            self.changed(Urgency::Beat);
        }
    }

    /// When the next frame is to be drawn; `None` while nothing changed.
    pub fn due(&self) -> Option<Timestamp> {
        let waiting = self.waiting?;
        let Some(last) = self.drawn_at else {
            return Some(Timestamp::default());
        };
        Some(match waiting {
            Urgency::Now => last,
            Urgency::Packet => last.plus(PACKETS),
            Urgency::Beat => last.plus(BEATS),
        })
    }

    /// Whether a frame is to be drawn now.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.due().is_some_and(|due| due <= now)
    }

    /// A frame was drawn.
    pub fn drawn(&mut self, now: Timestamp) {
        self.drawn_at = Some(now);
        self.waiting = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Drawn at 1,000 ms, then changed; says when the next frame is due.
    fn check(changes: &[Urgency], due_ms: Option<i64>) {
        let mut pace = Pace::default();
        pace.drawn(Timestamp::from_millis(1_000));
        for change in changes {
            pace.changed(*change);
        }
        assert_eq!(pace.due().map(Timestamp::as_millis), due_ms);
    }

    #[test]
    fn a_key_is_drawn_at_once_packets_30_times_and_beats_4_times_a_second() {
        check(&[], None);
        check(&[Urgency::Now], Some(1_000));
        check(&[Urgency::Packet], Some(1_033));
        check(&[Urgency::Beat], Some(1_250));
        check(&[Urgency::Beat, Urgency::Now, Urgency::Packet], Some(1_000));
    }

    #[test]
    fn clocks_move_once_a_second_and_not_between() {
        let mut pace = Pace::default();
        assert!(!pace.is_due(Timestamp::from_millis(1_000)));
        pace.changed(Urgency::Beat);
        assert!(
            pace.is_due(Timestamp::from_millis(1_000)),
            "the first frame waits for nothing"
        );
        pace.drawn(Timestamp::from_millis(1_000));
        pace.tick(Timestamp::from_millis(1_999));
        assert_eq!(pace.due(), None);
        pace.tick(Timestamp::from_millis(2_000));
        assert!(pace.is_due(Timestamp::from_millis(2_000)));
    }
}
