//! The times in which nothing was heard on the bus.

use tokio::sync::watch;

use super::LinkState as BusLink;

/// Tells once for each connection of the bus that it is there: what happened before it
/// is only on record.
#[derive(Debug)]
pub struct Gap {
    bus: Option<watch::Receiver<BusLink>>,
    last: BusLink,
}

impl Gap {
    /// Watches a line that was not seen up yet; `None` is no bus, and has no gaps.
    pub fn new(bus: Option<watch::Receiver<BusLink>>) -> Self {
        Self {
            bus,
            last: BusLink::Connecting,
        }
    }

    /// Waits until the line has changed; for ever when it does not any more.
    pub async fn changed(&mut self) {
        if let Some(bus) = &mut self.bus
            && bus.changed().await.is_ok()
        {
            // Left for the next question.
            bus.mark_changed();
            return;
        }
        std::future::pending().await
    }

    /// Whether the bus was connected since the last question, even if it went and came
    /// back in between. A loss and the next dropped message between two questions look
    /// like the message alone.
    pub fn has_ended(&mut self) -> bool {
        let Some(bus) = &mut self.bus else {
            return false;
        };
        // An error is a bus that was closed: nothing changes any more.
        let told = bus.has_changed().unwrap_or(false);
        let now = bus.borrow_and_update().clone();
        let ended = match (&self.last, &now) {
            // A bus that is up and is told again was connected anew.
            (BusLink::Up, BusLink::Up) => told,
            (BusLink::Lagging { dropped: before }, BusLink::Lagging { dropped }) => {
                told && before == dropped
            }
            (BusLink::Up, BusLink::Lagging { .. }) => false,
            (_, now) => matches!(now, BusLink::Up | BusLink::Lagging { .. }),
        };
        self.last = now;
        ended
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::time::Timestamp;

    /// Sends each group of words to the bus and asks once after it; the answers.
    #[track_caller]
    fn check(groups: &[&str], expected: &[bool]) {
        let sender = watch::Sender::new(BusLink::Connecting);
        let mut gap = Gap::new(Some(sender.subscribe()));
        let mut told = Vec::new();
        for group in groups {
            for word in group.split_whitespace() {
                sender.send_replace(match word {
                    "up" => BusLink::Up,
                    "down" => BusLink::Down {
                        since: Timestamp::from_millis(0),
                        reason: Arc::from("gone"),
                        attempts: 1,
                        again_at: None,
                    },
                    dropped => BusLink::Lagging {
                        dropped: dropped.parse().expect("a number of dropped messages"),
                    },
                });
            }
            told.push(gap.has_ended());
        }
        assert_eq!(told, expected, "{groups:?}");
    }

    #[test]
    fn each_connection_is_told_once() {
        check(
            &["", "up", "", "down", "", "up", ""],
            &[false, true, false, false, false, true, false],
        );
    }

    #[test]
    fn a_gap_shorter_than_a_round_is_told_too() {
        check(&["up", "down up", ""], &[true, true, false]);
        check(&["3", "down 3", ""], &[true, true, false]);
    }

    #[test]
    fn dropped_messages_are_no_gap() {
        check(
            &["up", "1", "2", "down", "2"],
            &[true, false, false, false, true],
        );
    }

    #[test]
    fn without_a_bus_there_is_no_gap() {
        assert!(!Gap::new(None).has_ended());
    }
}
