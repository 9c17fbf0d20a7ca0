//! Text from outside, made safe to draw, measured, cut and wrapped.

use std::fmt::Write as _;
use std::ops::Range;

use unicode_width::UnicodeWidthChar as _;

use super::units::{Unit, Units, split_to};

/// Combining marks that one character may carry; accents and vowel signs of
/// living scripts need two, piles of them hide the lines above.
const MARKS_PER_CHARACTER: usize = 2;

/// How many cells a tab reaches at most in a payload.
pub const TAB_CELLS: usize = 4;

/// Text that is safe to draw: what would act on a terminal is spelled out.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Shown {
    text: String,
    /// Byte ranges of `text` that we wrote in the place of a character.
    escapes: Vec<Range<usize>>,
}

/// A stretch of [`Shown`] text, all of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// What to draw.
    pub text: &'a str,
    /// Whether it stands for a character that cannot be drawn: to be marked, so
    /// that an agent who types the same brackets gains nothing.
    pub escaped: bool,
}

impl Shown {
    /// Text from outside, on one line: line breaks and tabs are spelled out too.
    pub fn line(raw: &str) -> Self {
        Self::read(raw, None)
    }

    /// A line of a payload, without its line break: a tab reaches to the next
    /// multiple of four cells, everything else is as in [`Shown::line`].
    pub fn payload_line(raw: &str) -> Self {
        Self::read(raw, Some(TAB_CELLS))
    }

    /// Text from outside that has at most `width` cells, cut at its end with `…`.
    /// Looks at no more of `raw` than that needs, so a long message costs no
    /// more than a short one.
    pub fn head_of(raw: &str, width: usize) -> Self {
        let enough = raw
            .char_indices()
            .nth(
                width
                    .saturating_add(1)
                    .saturating_mul(MARKS_PER_CHARACTER + 2),
            )
            .map_or(raw.len(), |(at, _)| at);
        Self::line(&raw[..enough]).head(width)
    }

    /// Text from outside that has at most `width` cells, cut at its beginning with `…`.
    pub fn tail_of(raw: &str, width: usize) -> Self {
        let enough = raw
            .char_indices()
            .rev()
            .nth(
                width
                    .saturating_add(1)
                    .saturating_mul(MARKS_PER_CHARACTER + 2),
            )
            .map_or(0, |(at, _)| at);
        Self::line(&raw[enough..]).tail(width)
    }

    /// Text of our own, in which nothing needs to be spelled out.
    pub fn own(text: impl Into<String>) -> Self {
        let text = text.into();
        if text.chars().any(|c| hides(c) || c.is_control()) {
            return Self::line(&text);
        }
        Self {
            text,
            escapes: Vec::new(),
        }
    }

    fn read(raw: &str, tab: Option<usize>) -> Self {
        let mut shown = Self {
            text: String::with_capacity(raw.len()),
            escapes: Vec::new(),
        };
        // Starts above the limit: a mark without a character to carry it is shown by itself.
        let mut marks = MARKS_PER_CHARACTER;
        for c in raw.chars() {
            match (c, tab) {
                ('\t', Some(cells)) => {
                    let reach = cells - shown.width() % cells;
                    shown.text.extend(std::iter::repeat_n(' ', reach));
                    marks = 0;
                }
                _ if c.is_control() || hides(c) => {
                    shown.escape(c);
                    marks = MARKS_PER_CHARACTER;
                }
                _ if c.width() == Some(0) => {
                    if marks < MARKS_PER_CHARACTER {
                        marks += 1;
                        shown.text.push(c);
                    } else {
                        shown.escape(c);
                    }
                }
                _ => {
                    shown.text.push(c);
                    marks = 0;
                }
            }
        }
        shown
    }

    fn escape(&mut self, c: char) {
        let start = self.text.len();
        let written = match control_name(c) {
            Some(name) => write!(self.text, "⟨{name}⟩"),
            None => write!(self.text, "⟨U+{:04X}⟩", u32::from(c)),
        };
        written.expect("writing to a string cannot fail");
        self.escapes.push(start..self.text.len());
    }

    /// All of it as plain text, escapes spelled out.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether there is nothing to draw.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// How many characters had to be spelled out.
    pub fn escapes(&self) -> usize {
        self.escapes.len()
    }

    /// Its width in cells.
    pub fn width(&self) -> usize {
        if self.text.is_ascii() {
            // Without control characters, which are spelled out, each is one cell.
            return self.text.len();
        }
        self.units().map(|unit| unit.width).sum()
    }

    /// The stretches in order, plain and escaped.
    pub fn pieces(&self) -> Vec<Piece<'_>> {
        let mut pieces = Vec::with_capacity(self.escapes.len() * 2 + 1);
        let mut from = 0;
        for range in &self.escapes {
            if from < range.start {
                pieces.push(Piece {
                    text: &self.text[from..range.start],
                    escaped: false,
                });
            }
            pieces.push(Piece {
                text: &self.text[range.clone()],
                escaped: true,
            });
            from = range.end;
        }
        if from < self.text.len() {
            pieces.push(Piece {
                text: &self.text[from..],
                escaped: false,
            });
        }
        pieces
    }

    /// What can be drawn one after the other, an escape as one unit.
    pub fn units(&self) -> impl Iterator<Item = Unit<'_>> {
        Units::of(&self.text, &self.escapes)
    }

    fn of_units<'a>(units: impl IntoIterator<Item = Unit<'a>>) -> Self {
        let mut shown = Self::default();
        for unit in units {
            let start = shown.text.len();
            shown.text.push_str(unit.text);
            if unit.escaped {
                shown.escapes.push(start..shown.text.len());
            }
        }
        shown
    }

    /// At most `width` cells of it, the beginning kept, `…` where it was cut.
    #[must_use]
    pub fn head(self, width: usize) -> Self {
        if self.width() <= width {
            return self;
        }
        if width == 0 {
            return Self::default();
        }
        let mut left = width - 1;
        let kept: Vec<_> = self
            .units()
            .take_while(|unit| {
                let fits = unit.width <= left;
                left = if fits { left - unit.width } else { 0 };
                fits
            })
            .collect();
        let mut cut = Self::of_units(kept);
        cut.text.push('…');
        cut
    }

    /// At most `width` cells of it, the end kept, `…` where it was cut.
    #[must_use]
    pub fn tail(self, width: usize) -> Self {
        if self.width() <= width {
            return self;
        }
        if width == 0 {
            return Self::default();
        }
        let units: Vec<_> = self.units().collect();
        let mut left = width - 1;
        let mut from = units.len();
        while from > 0 && units[from - 1].width <= left {
            from -= 1;
            left -= units[from].width;
        }
        let dots = Unit {
            text: "…",
            width: 1,
            escaped: false,
        };
        Self::of_units(std::iter::once(dots).chain(units[from..].iter().copied()))
    }

    /// The same text, its last character replaced by `…` because more follows.
    #[must_use]
    pub fn followed_by_more(self) -> Self {
        let units: Vec<_> = self.units().collect();
        let kept = units.len().saturating_sub(1);
        let mut cut = Self::of_units(units[..kept].iter().copied());
        cut.text.push('…');
        cut
    }

    /// The same text, its first character replaced by `…` because more came before.
    #[must_use]
    pub fn preceded_by_more(self) -> Self {
        let dots = Unit {
            text: "…",
            width: 1,
            escaped: false,
        };
        Self::of_units(std::iter::once(dots).chain(self.units().skip(1)))
    }

    /// An escape that was taken from other shown text.
    pub(crate) fn escaped(text: String) -> Self {
        let all = 0..text.len();
        Self {
            text,
            escapes: vec![all],
        }
    }

    /// The same text on lines of at most `width` cells. Breaks after a blank
    /// where there is one (`at_blanks`), else anywhere; nothing is lost but one
    /// blank at a break. Always at least one line; an escape is never split
    /// unless a line cannot hold it.
    pub fn wrap(&self, width: usize, at_blanks: bool) -> Vec<Self> {
        let width = width.max(1);
        let mut lines = Vec::new();
        let mut line: Vec<Unit<'_>> = Vec::new();
        let mut used = 0;
        for unit in self.units().flat_map(|unit| split_to(unit, width)) {
            if used + unit.width > width {
                if unit.text == " " && !unit.escaped && at_blanks {
                    lines.push(Self::of_units(line.drain(..)));
                    used = 0;
                    continue;
                }
                let blank = line
                    .iter()
                    .rposition(|before| before.text == " " && !before.escaped)
                    .filter(|at| at_blanks && line[..*at].iter().any(|before| before.text != " "));
                let rest = match blank {
                    Some(at) => {
                        let rest = line.split_off(at + 1);
                        line.truncate(at);
                        rest
                    }
                    None => Vec::new(),
                };
                lines.push(Self::of_units(line.drain(..)));
                used = rest.iter().map(|unit| unit.width).sum();
                line = rest;
            }
            used += unit.width;
            line.push(unit);
        }
        if !line.is_empty() || lines.is_empty() {
            lines.push(Self::of_units(line));
        }
        lines
    }
}

impl From<&str> for Shown {
    fn from(raw: &str) -> Self {
        Self::line(raw)
    }
}

/// How many characters of `raw` have to be spelled out when it is drawn as a
/// payload; line breaks and tabs are not counted.
pub fn hidden_characters(raw: &str) -> usize {
    raw.lines()
        .map(|line| Shown::payload_line(line).escapes())
        .sum()
}

/// Whether a terminal hides `c`, reorders by it or can be told things with it.
fn hides(c: char) -> bool {
    matches!(u32::from(c),
        0xAD // soft hyphen
        | 0x034F // grapheme joiner
        | 0x061C // Arabic letter mark
        | 0x115F..=0x1160 | 0x3164 | 0xFFA0 // Hangul fillers
        | 0x17B4..=0x17B5 // Khmer inherent vowels
        | 0x180B..=0x180F // Mongolian selectors
        | 0x200B..=0x200F // zero width, direction marks
        | 0x2028..=0x202E // separators, embeddings, overrides
        | 0x2060..=0x206F // joiners, invisible operators, isolates
        | 0xFE00..=0xFE0F // variation selectors
        | 0xFEFF // zero width no-break space
        | 0xFFF0..=0xFFFB // interlinear annotation
        | 0x1BCA0..=0x1BCA3 // shorthand controls
        | 0x1D173..=0x1D17A // musical controls
        | 0xE0000..=0xE0FFF // tag characters, variation selectors
    )
}

fn control_name(c: char) -> Option<&'static str> {
    const C0: [&str; 32] = [
        "NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "TAB", "LF", "VT", "FF",
        "CR", "SO", "SI", "DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM",
        "SUB", "ESC", "FS", "GS", "RS", "US",
    ];
    match u32::from(c) {
        at @ 0..=31 => C0.get(at as usize).copied(),
        0x7F => Some("DEL"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_segmentation::UnicodeSegmentation as _;

    use super::*;
    use crate::text::width;

    fn check(raw: &str, expected: &str) {
        assert_eq!(Shown::line(raw).as_str(), expected);
    }

    #[test]
    fn what_a_terminal_would_obey_hide_or_reorder_is_spelled_out() {
        check("done\x1b[2K\rNo action", "done⟨ESC⟩[2K⟨CR⟩No action");
        check("a\tb\nc\0", "a⟨TAB⟩b⟨LF⟩c⟨NUL⟩");
        check("\u{7f}\u{9b}31m", "⟨DEL⟩⟨U+009B⟩31m");
        check("abc\u{202e}fdp.exe", "abc⟨U+202E⟩fdp.exe");
        check("a\u{200b}b\u{feff}c\u{ad}d", "a⟨U+200B⟩b⟨U+FEFF⟩c⟨U+00AD⟩d");
        check("x\u{e0041}\u{e0001}", "x⟨U+E0041⟩⟨U+E0001⟩");
        check("plain, ünïcode, 日本", "plain, ünïcode, 日本");
    }

    #[test]
    fn a_pile_of_combining_marks_is_cut_to_two_and_the_rest_spelled_out() {
        check("e\u{301}", "e\u{301}");
        check("e\u{301}\u{301}\u{301}!", "e\u{301}\u{301}⟨U+0301⟩!");
        check("\u{301}a", "⟨U+0301⟩a");
        check("\x1b\u{301}", "⟨ESC⟩⟨U+0301⟩");
    }

    #[test]
    fn an_agent_that_types_the_brackets_itself_is_not_marked() {
        let shown = Shown::line("⟨ESC⟩\x1b");
        assert_eq!(
            shown.pieces(),
            [
                Piece {
                    text: "⟨ESC⟩",
                    escaped: false
                },
                Piece {
                    text: "⟨ESC⟩",
                    escaped: true
                },
            ]
        );
        assert_eq!(shown.escapes(), 1);
        assert_eq!(hidden_characters("a\tb\n\x1b\r\r\nc\u{202e}"), 3);
    }

    #[test]
    fn what_is_cut_keeps_its_tail_or_its_head() {
        assert_eq!(Shown::head_of("fetching page 12", 9).as_str(), "fetching…");
        assert_eq!(Shown::tail_of("mcp.update_ticket", 8).as_str(), "…_ticket");
        assert_eq!(Shown::head_of("日本語", 4).as_str(), "日…");
        assert_eq!(Shown::head_of("ab\x1bcd", 5).as_str(), "ab…");
        assert_eq!(Shown::head_of("abc", 0).as_str(), "");
        assert_eq!(Shown::tail_of("abc", 1).as_str(), "…");
    }

    #[test]
    fn payload_lines_wrap_at_blanks_and_lose_nothing() {
        let wrap = |raw: &str, width| {
            Shown::payload_line(raw)
                .wrap(width, true)
                .iter()
                .map(|line| line.as_str().to_owned())
                .collect::<Vec<_>>()
                .join("|")
        };
        assert_eq!(wrap("  tell the customer", 11), "  tell the|customer");
        assert_eq!(wrap("abcdefgh", 3), "abc|def|gh");
        assert_eq!(wrap("ab\x1b\x1bcd", 6), "ab|⟨ESC⟩|⟨ESC⟩c|d");
        assert_eq!(wrap("\tx", 20), "    x");
        assert_eq!(wrap("", 5), "");
        let whole = Shown::line("a b c").wrap(2, false);
        assert_eq!(whole.len(), 3);
    }

    proptest! {
        #[test]
        fn no_text_brings_a_control_character_onto_the_screen(raw in any::<String>(), width in 0usize..40) {
            let shown = Shown::line(&raw);
            prop_assert!(!shown.as_str().chars().any(|c| c.is_control() || hides(c)));
            for cut in [Shown::head_of(&raw, width), Shown::tail_of(&raw, width)] {
                prop_assert!(cut.width() <= width, "{cut:?}");
            }
            for line in Shown::payload_line(&raw).wrap(width, true) {
                prop_assert!(line.width() <= width.max(2), "{line:?}");
            }
        }

        #[test]
        fn units_are_clusters_and_chains_of_them_are_taken_apart(raw in "[ -~àe\u{300}\u{1F1E6}-\u{1F1FF}\u{1100}-\u{1175}\u{915}-\u{94D}\u{1F468}\u{1F3FB}世]{0,24}|\\PC{0,24}") {
            let shown = Shown::line(&raw);
            let units: Vec<Unit<'_>> = shown.units().collect();
            prop_assert_eq!(&units, &in_clusters(&shown));
            prop_assert_eq!(shown.width(), units.iter().map(|unit| unit.width).sum::<usize>());
        }

        #[test]
        fn wrapping_anywhere_keeps_every_character(raw in any::<String>(), width in 8usize..40) {
            let shown = Shown::line(&raw);
            let joined: String = shown.wrap(width, false).iter().map(Shown::as_str).collect();
            prop_assert_eq!(joined, shown.as_str());
        }
    }

    /// The units as the segmentation of whole texts finds them.
    fn in_clusters(shown: &Shown) -> Vec<Unit<'_>> {
        let mut units = Vec::new();
        for piece in shown.pieces() {
            let unit = |text| Unit {
                text,
                width: width(text),
                escaped: piece.escaped,
            };
            if piece.escaped {
                units.push(unit(piece.text));
                continue;
            }
            for cluster in piece.text.graphemes(true) {
                let mut from = 0;
                if width(cluster) > 2 {
                    for (at, c) in cluster.char_indices().skip(1) {
                        if c.width() != Some(0) {
                            units.push(unit(&cluster[from..at]));
                            from = at;
                        }
                    }
                }
                units.push(unit(&cluster[from..]));
            }
        }
        units
    }
}
