//! Text that a person types: a line, or an area of a few lines.
//!
//! Kept here and not in a widget, because what was typed decides what happens:
//! it belongs to the state, is replayed with it and tested without a screen. The
//! cursor moves by what a reader calls a character.

use unicode_segmentation::UnicodeSegmentation as _;

use crate::state::action::Edit;

/// Bytes of a note or a reason: the plane's own limit, so that what is recorded
/// is what was written.
pub const NOTE_BYTES: usize = 512;

/// Bytes of a filter, a command or a search.
pub const LINE_BYTES: usize = 1_024;

/// A text with a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    value: String,
    /// A byte position, always between two characters.
    cursor: usize,
    limit: usize,
    lines: bool,
}

impl Text {
    /// An empty line.
    pub fn line() -> Self {
        Self {
            value: String::new(),
            cursor: 0,
            limit: LINE_BYTES,
            lines: false,
        }
    }

    /// An empty area of several lines, at most [`NOTE_BYTES`] long.
    pub fn note() -> Self {
        Self {
            limit: NOTE_BYTES,
            lines: true,
            ..Self::line()
        }
    }

    /// The same with `value` in it and the cursor at its end.
    #[must_use]
    pub fn holding(mut self, value: &str) -> Self {
        self.clear();
        self.paste(value);
        self
    }

    /// What was typed.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The cursor, as a byte position in [`Text::value`].
    pub fn cursor(&self) -> usize {
        self.cursor
    }

    /// How many bytes fit.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether nothing but blanks was typed.
    pub fn is_blank(&self) -> bool {
        self.value.trim().is_empty()
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.value.clear();
        self.cursor = 0;
    }

    /// Inserts `text` as far as it fits. Control characters are left out; a line
    /// break becomes a blank where there is one line only. Terminals send the breaks
    /// of what is pasted as CR, files have LF or CRLF: each is one break.
    pub fn paste(&mut self, text: &str) {
        let mut after_return = false;
        for c in text.chars() {
            let c = match c {
                '\n' if std::mem::take(&mut after_return) => continue,
                '\r' => {
                    after_return = true;
                    '\n'
                }
                c => {
                    after_return = false;
                    c
                }
            };
            match c {
                '\n' if self.lines => self.insert('\n'),
                '\n' | '\t' => self.insert(' '),
                c if c.is_control() => {}
                c => self.insert(c),
            }
        }
    }

    /// Makes one change. Says whether anything is different.
    pub fn edit(&mut self, edit: Edit) -> bool {
        let before = (self.value.len(), self.cursor);
        match edit {
            Edit::Insert(c) if c.is_control() => {}
            Edit::Insert(c) => self.insert(c),
            Edit::Newline if self.lines => self.insert('\n'),
            Edit::Newline => {}
            Edit::Backspace => self.delete(self.left(), self.cursor),
            Edit::Delete => self.delete(self.cursor, self.right()),
            Edit::DeleteWord => self.delete(self.word_left(), self.cursor),
            Edit::DeleteToStart => self.delete(self.start(), self.cursor),
            Edit::DeleteToEnd => self.delete(self.cursor, self.end()),
            Edit::Left => self.cursor = self.left(),
            Edit::Right => self.cursor = self.right(),
            Edit::WordLeft => self.cursor = self.word_left(),
            Edit::WordRight => self.cursor = self.word_right(),
            Edit::Start => self.cursor = self.start(),
            Edit::End => self.cursor = self.end(),
        }
        before != (self.value.len(), self.cursor)
    }

    fn insert(&mut self, c: char) {
        if self.value.len() + c.len_utf8() <= self.limit {
            self.value.insert(self.cursor, c);
            self.cursor += c.len_utf8();
        }
    }

    fn delete(&mut self, from: usize, to: usize) {
        self.value.replace_range(from..to, "");
        self.cursor = from;
    }

    fn left(&self) -> usize {
        let before = &self.value[..self.cursor];
        before
            .grapheme_indices(true)
            .next_back()
            .map_or(0, |(at, _)| at)
    }

    fn right(&self) -> usize {
        let after = &self.value[self.cursor..];
        self.cursor + after.graphemes(true).next().map_or(0, str::len)
    }

    fn word_left(&self) -> usize {
        let before = self.value[..self.cursor].trim_end();
        before.rfind(char::is_whitespace).map_or(0, |at| {
            at + before[at..].chars().next().map_or(0, char::len_utf8)
        })
    }

    fn word_right(&self) -> usize {
        let after = &self.value[self.cursor..];
        let blanks = after.len() - after.trim_start().len();
        let word = after[blanks..]
            .find(char::is_whitespace)
            .unwrap_or(after.len() - blanks);
        self.cursor + blanks + word
    }

    fn start(&self) -> usize {
        self.value[..self.cursor].rfind('\n').map_or(0, |at| at + 1)
    }

    fn end(&self) -> usize {
        self.value[self.cursor..]
            .find('\n')
            .map_or(self.value.len(), |at| self.cursor + at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs edits on `before` (`|` is the cursor) and compares with `after`.
    fn check(before: &str, edits: &[Edit], after: &str) {
        let cursor = before.find('|').expect("a cursor");
        let mut text = Text {
            value: before.replace('|', ""),
            cursor,
            ..Text::note()
        };
        for edit in edits {
            text.edit(*edit);
        }
        let mut shown = text.value().to_owned();
        shown.insert(text.cursor(), '|');
        assert_eq!(shown, after);
    }

    #[test]
    fn words_and_lines_are_edited_as_in_a_shell() {
        check("fix the pool|", &[Edit::DeleteWord], "fix the |");
        check("fix the   |", &[Edit::DeleteWord], "fix |");
        check("one\ntwo|", &[Edit::DeleteToStart], "one\n|");
        check("one\nt|wo", &[Edit::Start, Edit::Insert('_')], "one\n_|two");
        check("o|ne\ntwo", &[Edit::DeleteToEnd], "o|\ntwo");
        check("|a bc d", &[Edit::WordRight, Edit::WordRight], "a bc| d");
        check("a bc| d", &[Edit::WordLeft, Edit::Delete], "a |c d");
        check("a|", &[Edit::Newline, Edit::Insert('b')], "a\nb|");
    }

    #[test]
    fn a_family_of_code_points_is_one_character() {
        check("e\u{301}|", &[Edit::Backspace], "|");
        check("a|👩‍🚒b", &[Edit::Right, Edit::Right, Edit::Left], "a👩‍🚒|b");
    }

    #[test]
    fn no_edit_leaves_the_text() {
        check("|", &[Edit::Backspace, Edit::Left, Edit::DeleteWord], "|");
        check("|", &[Edit::Delete, Edit::Right, Edit::WordRight], "|");
    }

    #[test]
    fn a_note_holds_512_bytes_and_never_half_a_character() {
        let text = Text::note().holding(&"é".repeat(300));
        assert_eq!(text.value().len(), 512);
        let mut text = Text::note().holding(&"x".repeat(511));
        text.edit(Edit::Insert('é'));
        assert_eq!(text.value().len(), 511);
    }

    #[test]
    fn pasted_control_characters_are_left_out() {
        let text = Text::line().holding("a\u{1b}[31m\r\nb\tc");
        assert_eq!(text.value(), "a[31m b c");
        assert_eq!(Text::note().holding("a\r\nb").value(), "a\nb");
    }

    #[test]
    fn every_kind_of_pasted_line_break_is_one() {
        for (pasted, note) in [
            ("a\rb", "a\nb"),
            ("a\nb", "a\nb"),
            ("a\r\nb\r\n", "a\nb\n"),
            ("a\r\rb", "a\n\nb"),
            ("a\n\nb", "a\n\nb"),
            ("a\n\rb", "a\n\nb"),
        ] {
            assert_eq!(Text::note().holding(pasted).value(), note, "{pasted:?}");
            let line = note.replace('\n', " ");
            assert_eq!(Text::line().holding(pasted).value(), line, "{pasted:?}");
        }
    }
}
