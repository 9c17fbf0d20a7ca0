//! What screens are made of. A widget draws what it is given, survives any area,
//! and knows roles, not colors.
//!
//! Most of them make [`Words`]: a row of text in roles, which a [`Pen`] puts on
//! the screen. Start there.

pub mod bar;
pub mod heat;
pub mod pane;
pub mod table;
pub mod words;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use crate::tui::glyph::{Glyph, Glyphs};
use crate::tui::theme::{Role, Theme};
use words::{Ink, Words};

/// Puts words on a buffer in the looks of a theme.
#[derive(Clone, Copy, Debug)]
pub struct Pen<'a> {
    /// How roles look.
    pub theme: &'a Theme,
    /// Which signs can be drawn.
    pub glyphs: Glyphs,
}

impl<'a> Pen<'a> {
    /// A pen for a terminal.
    pub fn new(theme: &'a Theme, glyphs: Glyphs) -> Self {
        Self { theme, glyphs }
    }

    /// The sign to draw.
    pub fn glyph(self, glyph: Glyph) -> &'static str {
        self.glyphs.get(glyph)
    }

    /// Draws words from the left edge of the first row of `area`; what does not
    /// fit is cut with `…`. Returns how many cells were used.
    pub fn put(self, buf: &mut Buffer, area: Rect, words: &Words) -> u16 {
        let area = area.intersection(buf.area);
        if area.is_empty() {
            return 0;
        }
        let fits = words.width() <= usize::from(area.width);
        let cut;
        let words = if fits {
            words
        } else {
            cut = words.clone().head(usize::from(area.width));
            &cut
        };
        let mut x = area.x;
        for span in words.spans() {
            let style = self.style(span.ink);
            for unit in span.text.units() {
                let style = if unit.escaped {
                    self.theme.badge(Role::Warn)
                } else {
                    style
                };
                x = self.put_unit(buf, (x, area.y), area.right(), unit.text, unit.width, style);
            }
        }
        x - area.x
    }

    /// Draws words so that they end at the right edge of the first row of `area`.
    pub fn put_right(self, buf: &mut Buffer, area: Rect, words: &Words) -> u16 {
        let width = words.width().min(usize::from(area.width)) as u16;
        let at = Rect {
            x: area.right().saturating_sub(width),
            width,
            ..area
        };
        self.put(buf, at, words)
    }

    fn put_unit(
        self,
        buf: &mut Buffer,
        (x, y): (u16, u16),
        right: u16,
        text: &str,
        width: usize,
        style: Style,
    ) -> u16 {
        if self.glyphs.is_ascii() && !text.is_ascii() {
            let plain: String = text.chars().filter_map(ascii).collect();
            let mut x = x;
            for at in 0..width {
                let symbol = plain.get(at..=at).unwrap_or("?");
                if x < right {
                    self.put_cell(buf, x, y, symbol, style);
                    x += 1;
                }
            }
            return x;
        }
        // An escape is many cells and one unit: each of its letters has its own cell.
        if width > 2 || (width > 1 && text.is_ascii()) {
            let mut x = x;
            for letter in text.split_inclusive(|_| true) {
                if x < right {
                    self.put_cell(buf, x, y, letter, style);
                    x += 1;
                }
            }
            return x;
        }
        let width = width as u16;
        if width == 0 || right.saturating_sub(x) < width {
            return x;
        }
        self.put_cell(buf, x, y, text, style);
        for hidden in 1..width {
            self.put_cell(buf, x + hidden, y, " ", style);
        }
        x + width
    }

    fn put_cell(self, buf: &mut Buffer, x: u16, y: u16, symbol: &str, style: Style) {
        if let Some(cell) = buf.cell_mut((x, y)) {
            cell.set_symbol(symbol).set_style(style);
        }
    }

    fn style(self, ink: Ink) -> Style {
        let style = match (ink.badge, ink.bold) {
            (true, _) => self.theme.badge(ink.role),
            (false, true) => self.theme.bold(ink.role),
            (false, false) => self.theme.style(ink.role),
        };
        if ink.underlined {
            style.add_modifier(Modifier::UNDERLINED)
        } else {
            style
        }
    }

    /// Clears `area` to a ground role: the screen, a panel, the cursor row.
    pub fn ground(self, buf: &mut Buffer, area: Rect, ground: Role) {
        let style = self.theme.ground(ground);
        let area = area.intersection(buf.area);
        for position in area.positions() {
            if let Some(cell) = buf.cell_mut(position) {
                cell.reset();
                cell.set_style(style);
            }
        }
    }

    /// Shows that the cursor is in this area, without changing its words.
    pub fn select(self, buf: &mut Buffer, area: Rect) {
        for position in area.intersection(buf.area).positions() {
            if let Some(cell) = buf.cell_mut(position) {
                let style = self.theme.selected(cell.style());
                cell.set_style(style);
            }
        }
    }

    /// Draws everything in `area` again in one role, as behind a dialog or when
    /// its source fell silent.
    pub fn recolor(self, buf: &mut Buffer, area: Rect, role: Role) {
        let style = self.theme.style(role);
        for position in area.intersection(buf.area).positions() {
            if let Some(cell) = buf.cell_mut(position) {
                cell.set_style(style);
            }
        }
    }
}

/// The first row of an area and what is below it.
pub fn split_row(area: Rect) -> (Rect, Rect) {
    split_rows(area, 1)
}

/// The first `rows` rows of an area and what is below them.
pub fn split_rows(area: Rect, rows: u16) -> (Rect, Rect) {
    let rows = rows.min(area.height);
    (
        Rect {
            height: rows,
            ..area
        },
        Rect {
            y: area.y.saturating_add(rows),
            height: area.height - rows,
            ..area
        },
    )
}

/// An area without its first `columns` columns.
pub fn indent(area: Rect, columns: u16) -> Rect {
    let columns = columns.min(area.width);
    Rect {
        x: area.x.saturating_add(columns),
        width: area.width - columns,
        ..area
    }
}

/// The plain form of a character where only ASCII can be drawn.
fn ascii(c: char) -> Option<char> {
    match c {
        '⟨' => Some('<'),
        '⟩' => Some('>'),
        '…' => Some('~'),
        '—' | '–' => Some('-'),
        '·' => Some('.'),
        c if c.is_ascii() => Some(c),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::tui::theme::Depth;

    /// The text of a buffer, a line a row, blanks at the ends removed.
    pub(crate) fn text_of(buf: &Buffer) -> String {
        let mut out = String::new();
        for y in buf.area.rows() {
            let mut line = String::new();
            let mut skip = 0;
            for x in y.columns() {
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                let symbol = buf[(x.x, y.y)].symbol();
                skip = crate::text::width(symbol).saturating_sub(1);
                line.push_str(symbol);
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }

    #[test]
    fn words_are_cut_at_the_edge_and_escapes_are_marked() {
        let theme = Theme::shipped("dark", Depth::True);
        let pen = Pen::new(&theme, Glyphs::UNICODE);
        let area = Rect::new(0, 0, 12, 1);
        let mut buf = Buffer::empty(area);
        pen.put(&mut buf, area, &Words::new().line("a\x1bb", Role::Text));
        assert_eq!(text_of(&buf), "a⟨ESC⟩b\n");
        assert_eq!(buf[(1, 0)].style().bg, theme.badge(Role::Warn).bg);
        assert_ne!(buf[(6, 0)].style().bg, theme.badge(Role::Warn).bg);
        pen.put(
            &mut buf,
            area,
            &Words::new().line("日本語日本語日", Role::Text),
        );
        assert_eq!(text_of(&buf), "日本語日本…\n");
        pen.put(&mut buf, Rect::new(90, 3, 7, 7), &Words::new().text("far"));
    }

    #[test]
    fn without_unicode_nothing_but_ascii_is_drawn() {
        let theme = Theme::shipped("mono", Depth::Mono);
        let pen = Pen::new(&theme, Glyphs::ASCII);
        let area = Rect::new(0, 0, 16, 1);
        let mut buf = Buffer::empty(area);
        let words = Words::new().line("é日\x1b ", Role::Text).text("a—b…");
        pen.put(&mut buf, area, &words);
        assert_eq!(text_of(&buf), "???<ESC> a-b~\n");
    }
}
