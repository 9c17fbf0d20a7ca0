//! The signs of the screen, each one cell wide, each with a plain ASCII form.

/// A sign with a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Glyph {
    /// Pending, a lamp that is down, a condition not met.
    Open,
    /// Succeeded, allowed, a check that holds.
    Check,
    /// Failed, invalid.
    Cross,
    /// Cancelled.
    Cancelled,
    /// Waits for a person.
    Human,
    /// Scheduled, asking.
    Scheduled,
    /// Dispatched.
    Dispatched,
    /// Retrying.
    Retrying,
    /// Throttled.
    Throttle,
    /// Constrained.
    Constrained,
    /// Timed out, expired.
    Timeout,
    /// Quarantined.
    Quarantined,
    /// Denied, rejected, refused.
    Denied,
    /// Running, live, a lamp that is up.
    Running,
    /// Late.
    Late,
    /// Zombie: alive, but its work does not move.
    Zombie,
    /// Draining.
    Draining,
    /// Critical.
    Critical,
    /// Warning.
    Warning,
    /// Moved, changed.
    Moved,
    /// Nothing to say: no job, not configured, information.
    Dot,
    /// Nobody told.
    Unknown,
    /// Folded.
    Folded,
    /// Unfolded.
    Unfolded,
    /// Rail beside text from outside.
    Rail,
    /// The same beside a continued line.
    RailMore,
    /// Cursor of a row, edge of a notice.
    Cursor,
    /// The rest was cut.
    Cut,
    /// Cannot apply.
    Never,
    /// A rule.
    Rule,
    /// The filled part of a bar.
    BarFull,
    /// Half a cell of a bar.
    BarHalf,
    /// The empty part of a bar.
    BarEmpty,
    /// The part of a chart in which a job waits for a person.
    BarPerson,
    /// A branch of a tree with more below it.
    Branch,
    /// The last branch of a tree.
    LastBranch,
}

/// Which form of the signs this terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Glyphs {
    ascii: bool,
}

impl Glyphs {
    /// The signs as designed.
    pub const UNICODE: Self = Self { ascii: false };

    /// Their ASCII forms, for locales that are not UTF-8.
    pub const ASCII: Self = Self { ascii: true };

    /// Whether only ASCII may be drawn.
    pub fn is_ascii(self) -> bool {
        self.ascii
    }

    /// The sign to draw.
    pub fn get(self, glyph: Glyph) -> &'static str {
        let (unicode, ascii) = forms(glyph);
        if self.ascii { ascii } else { unicode }
    }

    /// One of eight heights; `eighths` is 1 to 8, more is 8, 0 is blank.
    pub fn level(self, eighths: u8) -> &'static str {
        const UNICODE: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
        const ASCII: [&str; 9] = [" ", ".", ":", "-", "=", "+", "*", "%", "@"];
        let at = usize::from(eighths.min(8));
        if self.ascii { ASCII[at] } else { UNICODE[at] }
    }

    /// One of five shades of the heat map; `fifth` is 0 to 4.
    pub fn heat(self, fifth: u8) -> &'static str {
        const UNICODE: [&str; 5] = ["·", "░", "▒", "▓", "█"];
        const ASCII: [&str; 5] = [".", ":", "+", "#", "@"];
        let at = usize::from(fifth.min(4));
        if self.ascii { ASCII[at] } else { UNICODE[at] }
    }
}

fn forms(glyph: Glyph) -> (&'static str, &'static str) {
    match glyph {
        Glyph::Open => ("○", "o"),
        Glyph::Check => ("✓", "+"),
        Glyph::Cross => ("✗", "x"),
        Glyph::Cancelled => ("⊘", "/"),
        Glyph::Human => ("◆", "?"),
        Glyph::Scheduled => ("◌", "."),
        Glyph::Dispatched => ("◑", ">"),
        Glyph::Retrying => ("↻", "r"),
        Glyph::Throttle => ("◔", "t"),
        Glyph::Constrained => ("◧", "c"),
        Glyph::Timeout => ("◷", "T"),
        Glyph::Quarantined => ("▣", "Q"),
        Glyph::Denied => ("■", "D"),
        Glyph::Running => ("●", "*"),
        Glyph::Late => ("◐", "~"),
        Glyph::Zombie => ("◎", "z"),
        Glyph::Draining => ("▽", "v"),
        Glyph::Critical => ("▲", "!"),
        Glyph::Warning => ("△", "^"),
        Glyph::Moved => ("≠", "#"),
        Glyph::Dot => ("·", "."),
        Glyph::Unknown => ("?", "?"),
        Glyph::Folded => ("▸", "+"),
        Glyph::Unfolded => ("▾", "-"),
        Glyph::Rail => ("│", "|"),
        Glyph::RailMore => ("┆", ":"),
        Glyph::Cursor => ("▌", ">"),
        Glyph::Cut => ("…", "~"),
        Glyph::Never => ("—", "-"),
        Glyph::Rule => ("─", "-"),
        Glyph::BarFull => ("━", "="),
        Glyph::BarHalf => ("╸", "-"),
        Glyph::BarEmpty => ("─", "."),
        Glyph::BarPerson => ("╍", "~"),
        Glyph::Branch => ("├", "+"),
        Glyph::LastBranch => ("└", "+"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text;

    #[test]
    fn every_sign_is_one_cell_wide_in_both_forms() {
        for glyphs in [Glyphs::UNICODE, Glyphs::ASCII] {
            for glyph in [Glyph::Open, Glyph::Human, Glyph::Cut, Glyph::BarHalf] {
                assert_eq!(text::width(glyphs.get(glyph)), 1, "{glyph:?}");
            }
            for at in 0..=9 {
                assert_eq!(text::width(glyphs.level(at)), 1);
                assert_eq!(text::width(glyphs.heat(at)), 1);
            }
        }
        assert!(Glyphs::ASCII.get(Glyph::Rail).is_ascii());
    }
}
