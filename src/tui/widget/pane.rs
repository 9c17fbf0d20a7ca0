//! Titles with their rule, notices, key hints, and labels with values.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::tui::glyph::Glyph;
use crate::tui::theme::Role;
use crate::tui::widget::Pen;
use crate::tui::widget::words::{Ink, Words};

/// The cells of a label before its value.
const LABEL: usize = 11;

/// A pane's title: name, rule, and facts at the right.
#[derive(Clone, Debug, Default)]
pub struct Title {
    name: Words,
    facts: Words,
}

impl Title {
    /// The title of a pane; `focused` when the keyboard is in it.
    pub fn new(name: &str, focused: bool) -> Self {
        let role = if focused { Role::Accent } else { Role::Text };
        Self {
            name: Words::new().ink(name, Ink::new(role).bold()),
            facts: Words::new(),
        }
    }

    /// What stands at the right.
    #[must_use]
    pub fn facts(mut self, facts: Words) -> Self {
        self.facts = facts;
        self
    }

    /// Draws it into the first row of `area`.
    pub fn draw(&self, pen: Pen<'_>, buf: &mut Buffer, area: Rect) {
        let width = usize::from(area.width);
        let name = self.name.width();
        let room = width.saturating_sub(name + 4);
        let facts = if self.facts.width() <= room {
            self.facts.clone()
        } else if room >= 8 {
            self.facts.clone().head(room)
        } else {
            Words::new()
        };
        let taken = if facts.is_empty() {
            0
        } else {
            facts.width() + 1
        };
        let rule = width.saturating_sub(name + 1 + taken);
        let words = self
            .name
            .clone()
            .gap(1)
            .ink(pen.glyph(Glyph::Rule).repeat(rule), Role::Mark)
            .gap(usize::from(taken > 0))
            .then(facts);
        pen.put(buf, area, &words);
    }
}

/// Something that all of the screen should know: rows behind a bar. Returns how
/// many rows it took.
pub fn notice(pen: Pen<'_>, buf: &mut Buffer, area: Rect, role: Role, lines: &[Words]) -> u16 {
    let rows = (lines.len() as u16).min(area.height);
    for (row, words) in (0..rows).zip(lines) {
        let line = Rect {
            y: area.y + row,
            height: 1,
            ..area
        };
        pen.ground(buf, line, Role::Panel);
        let words = Words::new()
            .glyph(pen.glyphs, Glyph::Cursor, Ink::new(role).bold())
            .gap(1)
            .then(words.clone());
        pen.put(buf, line, &words);
    }
    rows
}

/// Keys and what they do, in one row. What does not fit is left out whole, from the
/// end; the last one, the help that tells of the others, stays longest.
pub fn hints<'a>(keys: impl IntoIterator<Item = (&'a str, &'a str)>, width: usize) -> Words {
    let hint = |(key, says): (&str, &str)| {
        Words::new()
            .bold(key, Role::Accent)
            .muted(format!(" {says}"))
    };
    let mut hints: Vec<Words> = keys.into_iter().map(hint).collect();
    let Some(last) = hints.pop().filter(|last| last.width() <= width) else {
        return Words::new();
    };
    let mut words = Words::new();
    for more in hints {
        if words.width() + more.width() + 2 + last.width() > width {
            break;
        }
        words = words.then(more).gap(2);
    }
    words.then(last)
}

/// A label and its value.
pub fn fact(label: &str, value: Words) -> Words {
    Words::new().muted(label).to(LABEL).then(value)
}

/// A label and a value that wraps under itself: the rows it takes at `width` cells.
pub fn fact_rows(label: &str, value: &Words, width: usize) -> Vec<Words> {
    value
        .wrap(width.saturating_sub(LABEL))
        .into_iter()
        .enumerate()
        .map(|(row, line)| fact(if row == 0 { label } else { "" }, line))
        .collect()
}

/// Draws rows from the top of `area`; returns what is left below.
pub fn rows(pen: Pen<'_>, buf: &mut Buffer, area: Rect, rows: &[Words]) -> Rect {
    let mut left = area;
    for words in rows {
        if left.is_empty() {
            break;
        }
        pen.put(buf, left, words);
        left = super::split_row(left).1;
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::glyph::Glyphs;
    use crate::tui::theme::{Depth, Theme};
    use crate::tui::widget::tests::text_of;

    #[test]
    fn a_title_keeps_its_name_and_drops_facts_that_do_not_fit() {
        let theme = Theme::shipped("dark", Depth::True);
        let pen = Pen::new(&theme, Glyphs::UNICODE);
        let title = Title::new("Jobs", true).facts(Words::new().text("1-24 of 4,812"));
        for (width, expected) in [
            (30, "Jobs ──────────── 1-24 of 4,812\n"),
            (18, "Jobs ── 1-24 of 4…\n"),
            (10, "Jobs ─────\n"),
            (3, "Jo…\n"),
        ] {
            let area = Rect::new(0, 0, width, 1);
            let mut buf = Buffer::empty(area);
            title.draw(pen, &mut buf, area);
            let text = text_of(&buf);
            if width == 30 {
                assert_eq!(text.trim_end().chars().count(), 30, "{text}");
            } else {
                assert_eq!(text, expected);
            }
        }
    }

    #[test]
    fn hints_that_do_not_fit_are_left_out_whole_and_help_is_the_last_to_go() {
        let theme = Theme::shipped("dark", Depth::True);
        let pen = Pen::new(&theme, Glyphs::UNICODE);
        let keys = [("Enter", "detail"), ("space", "mark"), ("?", "help")];
        for (width, expected) in [
            (80, "Enter detail  space mark  ? help"),
            (32, "Enter detail  space mark  ? help"),
            (31, "Enter detail  ? help"),
            (19, "? help"),
            (5, ""),
        ] {
            let area = Rect::new(0, 0, width, 1);
            let mut buf = Buffer::empty(area);
            pen.put(&mut buf, area, &hints(keys, usize::from(width)));
            assert_eq!(text_of(&buf).trim_end(), expected, "{width}");
        }
    }

    #[test]
    fn a_notice_takes_no_more_rows_than_there_are() {
        let theme = Theme::shipped("dark", Depth::True);
        let pen = Pen::new(&theme, Glyphs::UNICODE);
        let area = Rect::new(0, 0, 20, 1);
        let mut buf = Buffer::empty(area);
        let lines = [
            Words::new().text("NATS is gone"),
            Words::new().text("still"),
        ];
        assert_eq!(notice(pen, &mut buf, area, Role::Warn, &lines), 1);
        assert_eq!(text_of(&buf), "▌ NATS is gone\n");
        assert_eq!(notice(pen, &mut buf, Rect::ZERO, Role::Warn, &lines), 0);
    }
}
