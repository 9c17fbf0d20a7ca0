//! Which of the rows on the screen have just changed.
//!
//! A change is marked for [`SHOWN`]; when many come at once, marks would only
//! flicker, so they are counted instead. Derived from stamps, so that a replay
//! marks the same rows.

use crate::time::{Elapsed, Timestamp};

/// How long a mark stands.
pub const SHOWN: Elapsed = Elapsed::from_secs(3);

/// More changes than this within a second are counted, not marked.
pub const BURST: usize = 10;

/// What has just happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It came.
    New,
    /// It came into another state.
    Moved,
}

/// When a row came, and when it came into its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamps {
    /// When it was heard of first.
    pub born: Timestamp,
    /// When it came into its state.
    pub since: Timestamp,
}

/// The marks of some rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// A mark for each row, in their order.
    pub marks: Vec<Option<Change>>,
    /// How many rows changed, when they are too many to be marked; else 0.
    pub counted: usize,
}

/// The marks of `rows` at `now`; what was there at `listed_since`, when the list was
/// shown first, is not new.
pub fn changes(rows: &[Stamps], listed_since: Option<Timestamp>, now: Timestamp) -> Changes {
    let Some(listed_since) = listed_since else {
        return Changes {
            marks: vec![None; rows.len()],
            counted: 0,
        };
    };
    let just = |at: Timestamp| at > listed_since && at <= now && now.since(at) < SHOWN;
    let marks: Vec<Option<Change>> = rows
        .iter()
        .map(|row| {
            if just(row.born) {
                Some(Change::New)
            } else {
                just(row.since).then_some(Change::Moved)
            }
        })
        .collect();
    let mut at: Vec<Timestamp> = rows
        .iter()
        .zip(&marks)
        .filter(|(_, mark)| mark.is_some())
        .map(|(row, _)| row.since.max(row.born))
        .collect();
    at.sort_unstable();
    let burst = at
        .windows(BURST + 1)
        .any(|some| some[BURST].since(some[0]).as_millis() < 1_000);
    if burst {
        Changes {
            marks: vec![None; rows.len()],
            counted: at.len(),
        }
    } else {
        Changes { marks, counted: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows as `born-since` in seconds, looked at in second 100 in a list shown
    /// since second 90: `+`, `~` or `.` each, then what was counted.
    fn check(rows: &str, expected: &str) {
        let at = |text: &str| {
            let seconds: f64 = text.parse().expect("seconds");
            Timestamp::from_millis((seconds * 1_000.0) as i64)
        };
        let stamps: Vec<Stamps> = rows
            .split_whitespace()
            .map(|row| {
                let (born, since) = row.split_once('-').expect("two stamps");
                Stamps {
                    born: at(born),
                    since: at(since),
                }
            })
            .collect();
        let found = changes(&stamps, Some(at("90")), at("100"));
        let marks: String = found
            .marks
            .iter()
            .map(|mark| match mark {
                Some(Change::New) => '+',
                Some(Change::Moved) => '~',
                None => '.',
            })
            .collect();
        assert_eq!(format!("{marks} {}", found.counted), expected, "{rows}");
    }

    #[test]
    fn a_new_row_and_a_new_state_are_marked_for_three_seconds() {
        check("98-98 50-98 97-97 50-50 97.1-99", "+~..+ 0");
    }

    #[test]
    fn what_was_there_when_the_list_was_shown_first_is_not_new() {
        let row = Stamps {
            born: Timestamp::from_millis(99_000),
            since: Timestamp::from_millis(99_000),
        };
        let now = Timestamp::from_millis(100_000);
        assert_eq!(changes(&[row], Some(row.born), now).marks, [None]);
        assert_eq!(changes(&[row], None, now).marks, [None]);
    }

    #[test]
    fn a_burst_is_counted_and_a_steady_stream_is_marked() {
        let burst = "50-99.1 ".repeat(11);
        check(&burst, "........... 11");
        let stream: String = (0..12)
            .map(|n| format!("50-{:.2} ", 97.1 + f64::from(n) * 0.2))
            .collect();
        check(&stream, "~~~~~~~~~~~~ 0");
    }
}
