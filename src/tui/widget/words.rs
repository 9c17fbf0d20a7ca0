//! A row of text in roles.

use crate::text::Shown;
use crate::tui::glyph::{Glyph, Glyphs};
use crate::tui::theme::Role;

/// How a stretch of text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ink {
    /// What it means.
    pub role: Role,
    /// It has the focus or is urgent.
    pub bold: bool,
    /// It stands as a block.
    pub badge: bool,
    /// It is where one is.
    pub underlined: bool,
}

impl Ink {
    /// Plain words of a role.
    pub fn new(role: Role) -> Self {
        Self {
            role,
            bold: false,
            badge: false,
            underlined: false,
        }
    }

    /// The same, bold.
    #[must_use]
    pub fn bold(self) -> Self {
        Self { bold: true, ..self }
    }
}

impl From<Role> for Ink {
    fn from(role: Role) -> Self {
        Self::new(role)
    }
}

/// A stretch of text that looks alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The text, safe to draw.
    pub text: Shown,
    /// Its look.
    pub ink: Ink,
}

/// A row of text in roles, built from left to right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    spans: Vec<Span>,
}

impl Words {
    /// No words.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds text that is already safe to draw.
    #[must_use]
    pub fn shown(mut self, text: Shown, ink: impl Into<Ink>) -> Self {
        if !text.is_empty() {
            self.spans.push(Span {
                text,
                ink: ink.into(),
            });
        }
        self
    }

    /// Adds text of our own.
    #[must_use]
    pub fn ink(self, text: impl Into<String>, ink: impl Into<Ink>) -> Self {
        self.shown(Shown::own(text), ink)
    }

    /// Adds text from outside, on one line.
    #[must_use]
    pub fn line(self, raw: &str, ink: impl Into<Ink>) -> Self {
        self.shown(Shown::line(raw), ink)
    }

    /// Adds plain text of our own.
    #[must_use]
    pub fn text(self, text: impl Into<String>) -> Self {
        self.ink(text, Role::Text)
    }

    /// Adds a label of our own.
    #[must_use]
    pub fn muted(self, text: impl Into<String>) -> Self {
        self.ink(text, Role::Muted)
    }

    /// Adds bold text of our own.
    #[must_use]
    pub fn bold(self, text: impl Into<String>, role: Role) -> Self {
        self.ink(text, Ink::new(role).bold())
    }

    /// Adds a word that stands as a block.
    #[must_use]
    pub fn badge(self, text: impl Into<String>, role: Role) -> Self {
        self.ink(
            text,
            Ink {
                badge: true,
                ..Ink::new(role)
            },
        )
    }

    /// Adds a sign.
    #[must_use]
    pub fn glyph(self, glyphs: Glyphs, glyph: Glyph, ink: impl Into<Ink>) -> Self {
        self.ink(glyphs.get(glyph), ink)
    }

    /// Adds blanks.
    #[must_use]
    pub fn gap(self, cells: usize) -> Self {
        self.ink(" ".repeat(cells), Role::Text)
    }

    /// Adds blanks until the row has `cells` cells.
    #[must_use]
    pub fn to(self, cells: usize) -> Self {
        let used = self.width();
        self.gap(cells.saturating_sub(used))
    }

    /// Adds other words.
    #[must_use]
    pub fn then(mut self, words: Self) -> Self {
        self.spans.extend(words.spans);
        self
    }

    /// The stretches.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// How many cells they take.
    pub fn width(&self) -> usize {
        self.spans.iter().map(|span| span.text.width()).sum()
    }

    /// The same words in one role: what was known when its source fell silent.
    #[must_use]
    pub fn in_role(mut self, role: Role) -> Self {
        for span in &mut self.spans {
            span.ink = Ink::new(role);
        }
        self
    }

    /// The same words, all of them bold.
    #[must_use]
    pub fn all_bold(mut self) -> Self {
        for span in &mut self.spans {
            span.ink.bold = true;
        }
        self
    }

    /// The same words, the bold ones in `role`.
    #[must_use]
    pub fn strong_in(mut self, role: Role) -> Self {
        for span in self.spans.iter_mut().filter(|span| span.ink.bold) {
            span.ink.role = role;
        }
        self
    }

    /// At most `width` cells, the beginning kept.
    #[must_use]
    pub fn head(self, width: usize) -> Self {
        if self.width() <= width {
            return self;
        }
        let mut cut = Self::new();
        let mut left = width;
        let total = self.spans.len();
        for (at, span) in self.spans.into_iter().enumerate() {
            let wide = span.text.width();
            let last = at + 1 == total;
            // A stretch that ends at the very edge still has to say that more was there.
            if wide < left || (wide == left && last) {
                left -= wide;
                cut.spans.push(span);
            } else {
                let text = if wide == left {
                    span.text.followed_by_more()
                } else {
                    span.text.head(left)
                };
                if !text.is_empty() {
                    cut.spans.push(Span {
                        text,
                        ink: span.ink,
                    });
                }
                break;
            }
        }
        cut
    }

    /// At most `width` cells, the end kept.
    #[must_use]
    pub fn tail(self, width: usize) -> Self {
        let wide = self.width();
        if wide <= width {
            return self;
        }
        let mut surplus = wide - width;
        let mut dropped = false;
        let mut cut = Self::new();
        for span in self.spans {
            let wide = span.text.width();
            if surplus >= wide {
                surplus -= wide;
                dropped = true;
                continue;
            }
            let text = if surplus > 0 {
                span.text.tail(wide - surplus)
            } else if dropped {
                span.text.preceded_by_more()
            } else {
                span.text
            };
            surplus = 0;
            dropped = false;
            cut.spans.push(Span {
                text,
                ink: span.ink,
            });
        }
        cut
    }

    /// The same words on lines of at most `width` cells, broken at blanks.
    pub fn wrap(&self, width: usize) -> Vec<Self> {
        self.wrapped(width, true)
    }

    /// The same words on lines of at most `width` cells, broken anywhere, so that
    /// no blank is lost.
    pub fn wrap_anywhere(&self, width: usize) -> Vec<Self> {
        self.wrapped(width, false)
    }

    fn wrapped(&self, width: usize, at_blanks: bool) -> Vec<Self> {
        let width = width.max(1);
        let mut lines: Vec<Vec<(String, usize, bool, Ink)>> = vec![Vec::new()];
        let mut used = 0;
        for span in &self.spans {
            for unit in span.text.units() {
                if used + unit.width > width {
                    if at_blanks && unit.text == " " {
                        lines.push(Vec::new());
                        used = 0;
                        continue;
                    }
                    let line = lines.last_mut().expect("there is always a line");
                    // Blanks at the beginning are an indent, not a place to break.
                    let blank = line
                        .iter()
                        .rposition(|(text, ..)| text == " ")
                        .filter(|at| at_blanks && line[..*at].iter().any(|(text, ..)| text != " "));
                    let rest = match blank {
                        Some(at) => {
                            let rest = line.split_off(at + 1);
                            line.pop();
                            rest
                        }
                        None => Vec::new(),
                    };
                    used = rest.iter().map(|(_, width, ..)| width).sum();
                    lines.push(rest);
                }
                used += unit.width;
                lines.last_mut().expect("there is always a line").push((
                    unit.text.to_owned(),
                    unit.width,
                    unit.escaped,
                    span.ink,
                ));
            }
        }
        lines.into_iter().map(Self::of_units).collect()
    }

    fn of_units(units: Vec<(String, usize, bool, Ink)>) -> Self {
        let mut words = Self::new();
        let mut run = String::new();
        let mut ink = None;
        for (text, _, escaped, unit_ink) in units {
            if escaped || ink != Some(unit_ink) {
                words = words.flush(&mut run, ink);
            }
            ink = Some(unit_ink);
            if escaped {
                words = words.shown(Shown::escaped(text), unit_ink);
            } else {
                run.push_str(&text);
            }
        }
        words.flush(&mut run, ink)
    }

    fn flush(self, run: &mut String, ink: Option<Ink>) -> Self {
        match ink {
            Some(ink) => self.ink(std::mem::take(run), ink),
            None => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Words {
        /// The words as they read.
        pub(crate) fn plain(&self) -> String {
            let texts = self.spans().iter().map(|span| span.text.as_str());
            texts.collect()
        }
    }

    #[test]
    fn words_are_cut_at_either_end_with_a_mark() {
        let words = || Words::new().text("abc").muted("def").text("ghi");
        assert_eq!(words().head(9).plain(), "abcdefghi");
        assert_eq!(words().head(8).plain(), "abcdefg…");
        assert_eq!(words().head(6).plain(), "abcde…");
        assert_eq!(words().head(4).plain(), "abc…");
        assert_eq!(words().head(0).plain(), "");
        assert_eq!(words().tail(5).plain(), "…fghi");
        assert_eq!(words().tail(3).plain(), "…hi");
    }

    #[test]
    fn sentences_wrap_at_blanks_and_keep_their_roles() {
        let words = Words::new()
            .text("about ")
            .bold("2m50s", Role::Text)
            .text(" if nothing changes\x1b now");
        let lines: Vec<String> = words.wrap(12).iter().map(Words::plain).collect();
        assert_eq!(lines, ["about 2m50s", "if nothing", "changes⟨ESC⟩", "now"]);
        assert!(words.wrap(12)[0].spans()[1].ink.bold);
    }
}
