//! A table of the rows that can be seen, and no others.
//!
//! Columns say how much they matter; when the width does not hold them all, the
//! least important ones go, and numbers are never cut.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::tui::glyph::Glyph;
use crate::tui::theme::Role;
use crate::tui::widget::words::{Ink, Words};
use crate::tui::widget::{Pen, split_row};

/// Cells before the first column: cursor, mark, change.
pub const GUTTER: u16 = 3;

/// What a column does with its width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// Always this wide.
    Fixed(u16),
    /// As wide as what it holds, within these bounds.
    Content { least: u16, most: u16 },
    /// At least this wide, and all that is left over.
    Grow(u16),
}

/// A column of a [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    title: &'static str,
    /// The title while the column before it is left out.
    alone: &'static str,
    shorter: &'static [&'static str],
    fit: Fit,
    right: bool,
    keeps_tail: bool,
    rank: u8,
    gap: u16,
}

impl Column {
    /// A column that is always `width` cells wide.
    pub fn fixed(title: &'static str, width: u16) -> Self {
        Self {
            title,
            alone: title,
            shorter: &[],
            fit: Fit::Fixed(width),
            right: false,
            keeps_tail: false,
            rank: 0,
            gap: 1,
        }
    }

    /// A column that is as wide as its longest visible text, from `least` to `most` cells.
    pub fn content(title: &'static str, least: u16, most: u16) -> Self {
        Self {
            fit: Fit::Content { least, most },
            ..Self::fixed(title, 0)
        }
    }

    /// A column of numbers: at the right, at least `least` cells, never cut.
    pub fn number(title: &'static str, least: u16) -> Self {
        Self {
            fit: Fit::Content { least, most: 24 },
            right: true,
            ..Self::fixed(title, 0)
        }
    }

    /// A column of at least `least` cells that takes what the others leave.
    pub fn grow(title: &'static str, least: u16) -> Self {
        Self {
            fit: Fit::Grow(least),
            gap: 2,
            ..Self::fixed(title, 0)
        }
    }

    /// How early it goes when the width does not hold all: 0 is kept longest.
    #[must_use]
    pub fn rank(self, rank: u8) -> Self {
        Self { rank, ..self }
    }

    /// The title it takes while the column before it is left out: that of both.
    #[must_use]
    pub fn alone(self, title: &'static str) -> Self {
        Self {
            alone: title,
            ..self
        }
    }

    /// Shorter titles for where the whole one does not fit, the longest first.
    #[must_use]
    pub fn shorter(self, shorter: &'static [&'static str]) -> Self {
        Self { shorter, ..self }
    }

    /// Blanks after it.
    #[must_use]
    pub fn gap(self, gap: u16) -> Self {
        Self { gap, ..self }
    }

    /// Cut text keeps its end.
    #[must_use]
    pub fn tail(self) -> Self {
        Self {
            keeps_tail: true,
            ..self
        }
    }

    /// Text stands at the right.
    #[must_use]
    pub fn right(self) -> Self {
        Self {
            right: true,
            ..self
        }
    }
}

/// A visible row.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// What stands in each column, in the order of the columns.
    pub cells: Vec<Words>,
    /// The cursor is here.
    pub selected: bool,
    /// The row is marked.
    pub marked: bool,
    /// It is new (`+`) or its state is (`~`).
    pub change: Option<char>,
}

/// A table over the rows that can be seen.
#[derive(Clone, Debug)]
pub struct Table<'a> {
    columns: &'a [Column],
    rows: &'a [Row],
}

impl<'a> Table<'a> {
    /// A table of `rows`; the caller cuts them to the height.
    pub fn new(columns: &'a [Column], rows: &'a [Row]) -> Self {
        Self { columns, rows }
    }

    /// The width of each column at `width` cells, `None` for those left out.
    fn layout(&self, width: u16) -> Vec<Option<u16>> {
        let content = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.cells.get(at));
            cells.map(Words::width).max().unwrap_or(0).min(1_000) as u16
        };
        let least = |at: usize, column: &Column| match column.fit {
            Fit::Fixed(width) | Fit::Grow(width) => width,
            // Numbers are never cut, so they need their content from the start.
            Fit::Content { least, most } if column.right => content(at).clamp(least, most),
            Fit::Content { least, .. } => least,
        };
        let mut order: Vec<usize> = (0..self.columns.len()).collect();
        order.sort_by_key(|at| self.columns[*at].rank);
        let mut widths = vec![None; self.columns.len()];
        let mut left = width.saturating_sub(GUTTER);
        for at in order {
            let column = &self.columns[at];
            let needs = least(at, column);
            let first = widths.iter().all(Option::is_none);
            if first {
                widths[at] = Some(needs.min(left));
                left = left.saturating_sub(needs + column.gap);
            } else if needs <= left {
                widths[at] = Some(needs);
                left = left.saturating_sub(needs + column.gap);
            } else {
                break;
            }
        }
        // The gap after the last column is not needed.
        if let Some(last) = widths.iter().rposition(Option::is_some) {
            let used: u16 = (0..=last)
                .filter_map(|at| widths[at].map(|wide| wide + self.columns[at].gap))
                .sum();
            left = width
                .saturating_sub(GUTTER)
                .saturating_sub(used.saturating_sub(self.columns[last].gap));
        }
        for (at, column) in self.columns.iter().enumerate() {
            if let (Some(wide), Fit::Content { most, .. }) = (&mut widths[at], column.fit) {
                let more = content(at).min(most).saturating_sub(*wide).min(left);
                *wide += more;
                left -= more;
            }
        }
        for (at, column) in self.columns.iter().enumerate() {
            if let (Some(wide), Fit::Grow(_)) = (&mut widths[at], column.fit) {
                *wide += left;
                left = 0;
            }
        }
        widths
    }

    /// Draws the header into the first row of `area` and the rows below it.
    pub fn draw(&self, pen: Pen<'_>, buf: &mut Buffer, area: Rect) {
        let widths = self.layout(area.width);
        let (head, mut below) = split_row(area);
        let mut x = head.x.saturating_add(GUTTER);
        let mut before_is_shown = true;
        for (at, (column, wide)) in self.columns.iter().zip(&widths).enumerate() {
            if let Some(wide) = wide {
                let title = if before_is_shown {
                    column.title
                } else {
                    column.alone
                };
                // A title may reach over a column that has none.
                let next = self.columns[at + 1..].iter().zip(&widths[at + 1..]);
                let over: u16 = match next.map(|(next, wide)| (next.title, *wide)).next() {
                    Some(("", Some(more))) if !column.right => column.gap + more,
                    _ => 0,
                };
                let room = usize::from(*wide + over);
                let titles = std::iter::once(&title).chain(column.shorter);
                let mut titles = titles.filter(|title| title.chars().count() <= room);
                let title = titles.next().copied().unwrap_or(title);
                let cell = clipped(x, *wide + over, head);
                place(pen, buf, cell, column, &Words::new().muted(title));
                x = x.saturating_add(wide + column.gap);
            }
            before_is_shown = wide.is_some();
        }
        for row in self.rows {
            if below.is_empty() {
                break;
            }
            let (line, rest) = split_row(below);
            below = rest;
            self.draw_row(pen, buf, line, row, &widths);
        }
    }

    fn draw_row(
        &self,
        pen: Pen<'_>,
        buf: &mut Buffer,
        line: Rect,
        row: &Row,
        widths: &[Option<u16>],
    ) {
        let gutter = Words::new()
            .ink(
                if row.selected {
                    pen.glyph(Glyph::Cursor)
                } else {
                    " "
                },
                Ink::new(Role::Accent).bold(),
            )
            .bold(if row.marked { "*" } else { " " }, Role::Accent)
            .ink(row.change.unwrap_or(' ').to_string(), Role::Accent);
        pen.put(buf, line, &gutter);
        let mut x = line.x.saturating_add(GUTTER);
        for ((column, wide), cell) in self.columns.iter().zip(widths).zip(&row.cells) {
            if let Some(wide) = wide {
                place(pen, buf, clipped(x, *wide, line), column, cell);
                x = x.saturating_add(wide + column.gap);
            }
        }
        if row.selected {
            pen.select(buf, line);
        }
    }
}

fn clipped(x: u16, width: u16, line: Rect) -> Rect {
    Rect {
        x,
        width: width.min(line.right().saturating_sub(x)),
        ..line
    }
}

fn place(pen: Pen<'_>, buf: &mut Buffer, cell: Rect, column: &Column, words: &Words) {
    // Only the end that is to stay matters here: a pen keeps the beginning itself.
    let width = usize::from(cell.width);
    let cut;
    let words = if column.keeps_tail && words.width() > width {
        cut = words.clone().tail(width);
        &cut
    } else {
        words
    };
    if column.right {
        pen.put_right(buf, cell, words);
    } else {
        pen.put(buf, cell, words);
    }
}

/// Where the window of a list begins: the selected row stays in sight, and the
/// window moves no further than it must. A pure function of its arguments, so
/// nothing has to be remembered between frames.
pub fn first_visible(selected: Option<usize>, rows: usize, height: usize, wanted: usize) -> usize {
    let last = rows.saturating_sub(height);
    let first = wanted.min(last);
    match selected {
        Some(selected) if selected < first => selected,
        Some(selected) if height > 0 && selected >= first + height => (selected + 1)
            .saturating_sub(height)
            .min(last.max(selected)),
        _ => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::glyph::Glyphs;
    use crate::tui::theme::{Depth, Theme};
    use crate::tui::widget::tests::text_of;

    fn drawn(width: u16, height: u16) -> String {
        let columns = [
            Column::fixed("STATE", 9).rank(0),
            Column::content("TOPIC", 5, 12).rank(3).tail(),
            Column::grow("WHY", 6).rank(2),
            Column::number("AGE", 3).rank(1),
        ];
        let row = |selected, topic: &str, why: &str, age: &str| Row {
            cells: vec![
                Words::new().text("● running"),
                Words::new().line(topic, Role::Text),
                Words::new().line(why, Role::Text),
                Words::new().text(age),
            ],
            selected,
            marked: selected,
            change: None,
        };
        let rows = [
            row(false, "mcp.list", "page 9 of 10", "22s"),
            row(
                true,
                "batch.summarize",
                "a long word from outside",
                "12m20s",
            ),
        ];
        let theme = Theme::shipped("dark", Depth::True);
        let area = Rect::new(0, 0, width, height);
        let mut buf = Buffer::empty(area);
        Table::new(&columns, &rows).draw(Pen::new(&theme, Glyphs::UNICODE), &mut buf, area);
        text_of(&buf)
    }

    #[test]
    fn the_least_important_column_goes_first_and_numbers_are_never_cut() {
        assert_eq!(
            drawn(50, 3),
            "   STATE     TOPIC        WHY                  AGE
   ● running mcp.list     page 9 of 10         22s
▌* ● running …h.summarize a long word fro…  12m20s
"
        );
        assert_eq!(
            drawn(29, 3),
            "   STATE     WHY          AGE
   ● running page 9 …     22s
▌* ● running a long …  12m20s
"
        );
        assert_eq!(drawn(8, 2), "   STATE\n   ● ru…\n");
        assert_eq!(drawn(0, 0), "");
    }

    #[test]
    fn the_window_follows_the_cursor_no_further_than_it_must() {
        assert_eq!(first_visible(None, 100, 10, 0), 0);
        assert_eq!(first_visible(Some(9), 100, 10, 0), 0);
        assert_eq!(first_visible(Some(10), 100, 10, 0), 1);
        assert_eq!(first_visible(Some(3), 100, 10, 5), 3);
        assert_eq!(first_visible(Some(99), 100, 10, 0), 90);
        assert_eq!(first_visible(None, 5, 10, 90), 0);
        assert_eq!(first_visible(Some(5), 6, 0, 0), 0);
    }
}
