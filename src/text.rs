//! Words and numbers as a person reads them in a terminal.
//!
//! Text from outside is never obeyed and never silently changed: [`Shown`] makes
//! every character visible that a terminal would act on, hide or reorder, and
//! remembers where, so that whoever draws it can mark those places. Widths are
//! cells of a terminal. Nothing here knows colors or screens. Start at
//! [`Shown::line`] for text from outside and at [`duration`] for numbers.

use crate::time::{Elapsed, Timestamp};

mod shown;
mod units;

pub use shown::{Piece, Shown, TAB_CELLS, hidden_characters};
pub use units::{Unit, width};

/// A length of time in at most two units and six cells: `877ms`, `8s`, `3m40s`,
/// `2h04m`, `3d07h`; from 1,000 days on, days alone. Rounded down.
pub fn duration(elapsed: Elapsed) -> String {
    let seconds = elapsed.as_secs();
    match seconds {
        0 if elapsed.as_millis() > 0 => format!("{}ms", elapsed.as_millis()),
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        86_400..86_400_000 => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
        _ => format!("{}d", (seconds / 86_400).min(99_999)),
    }
}

/// An age in whole seconds at least: like [`duration`], but `0s` below one second,
/// for lamps and clocks that count once a second.
pub fn age(elapsed: Elapsed) -> String {
    duration(Elapsed::from_secs(elapsed.as_secs()))
}

/// A number with commas in its thousands: `4,812`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A change with its sign: `+1,204`, `-3`, `0`.
pub fn signed(change: i64) -> String {
    let sign = match change {
        1.. => "+",
        0 => "",
        _ => "-",
    };
    format!("{sign}{}", thousands(change.unsigned_abs()))
}

/// `1 job`, `2 jobs`, `4,812 jobs`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        thousands(number),
        if number == 1 { one } else { many }
    )
}

/// The time of day in UTC, `14:03:27Z`; `unknown` for an instant that no calendar holds.
pub fn clock(at: Timestamp) -> String {
    match at.to_utc() {
        Some(utc) => format!("{:02}:{:02}:{:02}Z", utc.hour(), utc.minute(), utc.second()),
        None => "unknown".to_owned(),
    }
}

/// The time of day in UTC with milliseconds, `14:03:26.402`.
pub fn clock_millis(at: Timestamp) -> String {
    match at.to_utc() {
        Some(utc) => format!(
            "{:02}:{:02}:{:02}.{:03}",
            utc.hour(),
            utc.minute(),
            utc.second(),
            utc.millisecond()
        ),
        None => "unknown".to_owned(),
    }
}

/// The time of day in UTC, or `11-21 14:03Z` when it is more than a day from `now`.
pub fn clock_near(at: Timestamp, now: Timestamp) -> String {
    const DAY: u64 = 86_400;
    let far = now.since(at).as_secs() >= DAY || at.since(now).as_secs() >= DAY;
    match at.to_utc() {
        Some(utc) if far => format!(
            "{:02}-{:02} {:02}:{:02}Z",
            utc.month(),
            utc.day(),
            utc.hour(),
            utc.minute()
        ),
        _ => clock(at),
    }
}

/// The last eight characters of an id, by which people tell jobs apart.
pub fn id_tail(id: &str) -> &str {
    id.char_indices()
        .rev()
        .nth(7)
        .map_or(id, |(at, _)| &id[at..])
}

/// A digest as its first and last four digits, `8c1f…a2e7`, with what stands
/// before its last colon kept (`v3:8c1f…a2e7`) except the name of the algorithm.
pub fn digest(hash: &str) -> String {
    let (prefix, digits) = match hash.rsplit_once(':') {
        Some((prefix, digits)) => (prefix, digits),
        None => ("", hash),
    };
    let letters: Vec<char> = digits.chars().collect();
    let short = if letters.len() > 12 {
        let head: String = letters[..4].iter().collect();
        let tail: String = letters[letters.len() - 4..].iter().collect();
        format!("{head}…{tail}")
    } else {
        digits.to_owned()
    };
    match prefix {
        "" | "sha256" => short,
        prefix => format!("{prefix}:{short}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_two_units_and_six_cells() {
        for (ms, expected) in [
            (0, "0s"),
            (877, "877ms"),
            (8_000, "8s"),
            (220_900, "3m40s"),
            (7_440_000, "2h04m"),
            (284_400_000, "3d07h"),
            (86_400_000_000, "1000d"),
            (u64::MAX, "99999d"),
        ] {
            assert_eq!(duration(Elapsed::from_millis(ms)), expected);
            assert!(expected.len() <= 6);
        }
        assert_eq!(age(Elapsed::from_millis(900)), "0s");
    }

    #[test]
    fn numbers_clocks_and_digests_are_short() {
        assert_eq!(thousands(4_812), "4,812");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000_000), "1,000,000");
        assert_eq!(count(1, "job", "jobs"), "1 job");
        let at = Timestamp::parse_rfc3339("2026-11-21T14:03:27.402Z").expect("an instant");
        assert_eq!(clock(at), "14:03:27Z");
        assert_eq!(clock_millis(at), "14:03:27.402");
        assert_eq!(
            clock_near(at, at.plus(Elapsed::from_secs(90_000))),
            "11-21 14:03Z"
        );
        assert_eq!(clock(Timestamp::from_millis(i64::MAX)), "unknown");
        assert_eq!(digest("v3:8c1f00112233a2e7"), "v3:8c1f…a2e7");
        assert_eq!(digest("sha256:9b2e0000111101c4"), "9b2e…01c4");
        assert_eq!(digest("v1"), "v1");
    }

    #[test]
    fn jobs_are_told_apart_by_the_tail_of_their_id() {
        assert_eq!(id_tail("6f1c02d4-8a57-4e0b-b3a9-77d0e41b9f2c"), "e41b9f2c");
        assert_eq!(id_tail("j-1"), "j-1");
    }
}
