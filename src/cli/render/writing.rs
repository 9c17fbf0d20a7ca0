//! A frame as text, with colors, or as a picture.

use std::fmt::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::Modifier;

use crate::text;
use crate::tui::theme::{self, Role, Theme};

/// Width and height of a cell of a picture, in its units.
const CELL: (u16, u16) = (10, 21);

/// Cells of a row that look alike, from left to right, with their place.
fn runs(buf: &Buffer, y: u16) -> Vec<(u16, u16, String, Cell)> {
    let mut runs: Vec<(u16, u16, String, Cell)> = Vec::new();
    let mut x = buf.area.x;
    while x < buf.area.right() {
        let cell = &buf[(x, y)];
        let width = text::width(cell.symbol()).max(1) as u16;
        match runs.last_mut() {
            Some((_, wide, text, before)) if before.style() == cell.style() => {
                *wide += width;
                text.push_str(cell.symbol());
            }
            _ => runs.push((x, width, cell.symbol().to_owned(), cell.clone())),
        }
        x += width;
    }
    runs
}

pub(super) fn as_text(buf: &Buffer) -> String {
    let mut out = String::new();
    for y in buf.area.top()..buf.area.bottom() {
        let line: String = runs(buf, y)
            .into_iter()
            .map(|(_, _, text, _)| text)
            .collect();
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

pub(super) fn as_ansi(buf: &Buffer) -> String {
    let mut out = String::new();
    for y in buf.area.top()..buf.area.bottom() {
        for (_, _, text, cell) in runs(buf, y) {
            let mut codes = String::from("0");
            let style = cell.style();
            for (modifier, code) in [
                (Modifier::BOLD, ";1"),
                (Modifier::DIM, ";2"),
                (Modifier::UNDERLINED, ";4"),
                (Modifier::REVERSED, ";7"),
            ] {
                if style.add_modifier.contains(modifier) {
                    codes.push_str(code);
                }
            }
            for (which, color) in [("38", style.fg), ("48", style.bg)] {
                if let Some((red, green, blue)) = theme::rgb(color) {
                    codes.push_str(&format!(";{which};2;{red};{green};{blue}"));
                }
            }
            out.push_str(&format!("\x1b[{codes}m{text}"));
        }
        out.push_str("\x1b[0m\n");
    }
    out
}

pub(super) fn as_svg(buf: &Buffer, theme: &Theme) -> String {
    let base = theme.ground(Role::Bg);
    let ground = theme::rgb(base.bg).unwrap_or((0x10, 0x10, 0x10));
    let ink = theme::rgb(base.fg).unwrap_or((0xe0, 0xe0, 0xe0));
    let hex = |(red, green, blue): (u8, u8, u8)| format!("#{red:02x}{green:02x}{blue:02x}");
    let (width, height) = (
        u32::from(buf.area.width) * u32::from(CELL.0) + 12,
        u32::from(buf.area.height) * u32::from(CELL.1) + 12,
    );
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"16\">\n<rect width=\"100%\" height=\"100%\" fill=\"{}\"/>\n",
        hex(ground)
    );
    for y in buf.area.top()..buf.area.bottom() {
        let top = u32::from(y - buf.area.top()) * u32::from(CELL.1) + 6;
        for (x, wide, text, cell) in runs(buf, y) {
            let style = cell.style();
            let mut over = theme::rgb(style.fg).unwrap_or(ink);
            let mut under = theme::rgb(style.bg).unwrap_or(ground);
            if style.add_modifier.contains(Modifier::REVERSED) {
                std::mem::swap(&mut over, &mut under);
            }
            let left = u32::from(x - buf.area.left()) * u32::from(CELL.0) + 6;
            let span = u32::from(wide) * u32::from(CELL.0);
            if under != ground {
                let line = format!(
                    "<rect x=\"{left}\" y=\"{top}\" width=\"{span}\" height=\"{}\" fill=\"{}\"/>\n",
                    CELL.1,
                    hex(under)
                );
                out.push_str(&line);
            }
            let mut looks = String::new();
            for (modifier, look) in [
                (Modifier::BOLD, " font-weight=\"bold\""),
                (Modifier::UNDERLINED, " text-decoration=\"underline\""),
                (Modifier::DIM, " opacity=\"0.6\""),
            ] {
                if style.add_modifier.contains(modifier) {
                    looks.push_str(look);
                }
            }
            // Words far apart are placed one by one, so that columns stand where they
            // should also in a renderer that ignores the length of a run.
            for (cell, words) in apart(&text) {
                let x = left + cells(cell);
                let span = cells(text::width(words));
                writeln!(
                    out,
                    "<text x=\"{x}\" y=\"{}\" textLength=\"{span}\" lengthAdjust=\"spacingAndGlyphs\" xml:space=\"preserve\" fill=\"{}\"{looks}>{}</text>",
                    top + 16,
                    hex(over),
                    escaped(words)
                )
                .expect("writing to a string cannot fail");
            }
        }
    }
    out.push_str("</svg>\n");
    out
}

/// How wide so many cells are in a picture.
fn cells(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(0) * u32::from(CELL.0)
}

/// The parts of a row between two or more blanks, each with the cell it starts in.
fn apart(row: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let mut rest = row;
    let mut cell = 0;
    while !rest.is_empty() {
        let part = rest.split_once("  ").map_or(rest, |(part, _)| part);
        if !part.trim().is_empty() {
            let blanks = part.len() - part.trim_start_matches(' ').len();
            parts.push((cell + blanks, part.trim_matches(' ')));
        }
        let taken = &rest[..(part.len() + 2).min(rest.len())];
        cell += text::width(taken);
        rest = &rest[taken.len()..];
    }
    parts
}

/// Text as XML has it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_far_apart_keep_their_cells_in_a_picture() {
        assert_eq!(apart("  one two   three "), [(2, "one two"), (12, "three")]);
        assert_eq!(apart("a    b"), [(0, "a"), (5, "b")]);
        assert_eq!(apart("日本  x"), [(0, "日本"), (6, "x")]);
        assert_eq!(apart("    "), []);
    }

    #[test]
    fn words_from_outside_cannot_end_an_element() {
        assert_eq!(escaped("<a & b>"), "&lt;a &amp; b&gt;");
    }
}
