//! Payloads: long text from outside, behind a rail, whole, with nothing obeyed.

use std::ops::Range;

use crate::state::diff;
use crate::state::model::approvals::{Content, Payload};
use crate::text::{self, Shown};
use crate::tui::glyph::Glyph;
use crate::tui::screen::{Scene, prose};
use crate::tui::theme::Role;
use crate::tui::widget::words::{Ink, Words};
use crate::view::job::PayloadView;

/// Bytes in a row of hex.
const HEX: usize = 12;

/// A row of a payload.
#[derive(Clone, Debug)]
pub(super) struct PayloadRow {
    /// What to draw.
    pub(super) words: Words,
    /// The bytes of the payload that it shows.
    pub(super) bytes: Range<usize>,
    /// The line it belongs to, from 1.
    pub(super) line: usize,
}

/// Size and digest for a title.
pub(super) fn title_facts(view: &PayloadView) -> Words {
    let PayloadView::Read(payload) = view else {
        return Words::new();
    };
    let mut words = Words::new();
    if let Some(size) = payload.size {
        words = words.muted(format!("{} bytes", text::thousands(size)));
    }
    if let Some(sha) = &payload.sha256 {
        words = words
            .muted(", sha256 ")
            .line(&text::digest(sha), Role::Muted);
    }
    words
}

/// All rows of a payload at `width` cells with its secrets masked, or the sentence
/// that stands in its place.
pub(super) fn all_rows(scene: &Scene<'_>, view: &PayloadView, width: usize) -> Vec<Words> {
    if let Some(instead) = view.instead()
        && !matches!(view, PayloadView::Read(payload) if matches!(payload.content, Content::Binary(_)))
    {
        return prose::words(&instead).wrap(width);
    }
    let PayloadView::Read(payload) = view else {
        return Vec::new();
    };
    let look = Look {
        at_blanks: true,
        ..Look::default()
    };
    rows(scene, payload, width, look)
        .into_iter()
        .map(|row| row.words)
        .collect()
}

/// How a payload is shown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look<'a> {
    /// Its secrets are not masked.
    pub(super) reveal: bool,
    /// Lines break after blanks where that can be.
    pub(super) at_blanks: bool,
    /// Lines that carry `~` beside their number, from 1, in order.
    pub(super) changed: &'a [usize],
}

/// The rows of a payload that was read: text line by line, wrapped; bytes as hex.
pub(super) fn rows(
    scene: &Scene<'_>,
    payload: &Payload,
    width: usize,
    look: Look<'_>,
) -> Vec<PayloadRow> {
    match &payload.content {
        Content::Text { text, secrets, .. } => text_rows(scene, text, secrets, width, look),
        Content::Binary(bytes) => hex_rows(scene, bytes),
        Content::TooLong { .. } | Content::Missing | Content::Unreadable(_) => Vec::new(),
    }
}

fn text_rows(
    scene: &Scene<'_>,
    text: &str,
    secrets: &[Range<usize>],
    width: usize,
    look: Look<'_>,
) -> Vec<PayloadRow> {
    let lines = diff::lines(text);
    let number = lines.len().to_string().len().max(2);
    let room = width.saturating_sub(number + 4).max(8);
    let mut rows = Vec::new();
    let mut start = 0;
    for (at, line) in lines.iter().enumerate() {
        let end = (start + line.len() + 1).min(text.len());
        let atoms = atoms(line, start, secrets, look.reveal);
        let mut from = start;
        let wrapped = wrap(atoms, room, look.at_blanks);
        let count = wrapped.len();
        for (part, atoms) in wrapped.into_iter().enumerate() {
            let first = part == 0;
            let label = if first {
                format!("{:>number$}", at + 1)
            } else {
                " ".repeat(number)
            };
            let change = if first && look.changed.binary_search(&(at + 1)).is_ok() {
                Words::new().bold("~", Role::Warn)
            } else {
                Words::new().gap(1)
            };
            let rail = if first { Glyph::Rail } else { Glyph::RailMore };
            // The line break belongs to the last row of its line.
            let to = if part + 1 == count {
                end
            } else {
                atoms.last().map_or(from, |atom| atom.end)
            };
            rows.push(PayloadRow {
                words: Words::new()
                    .gap(1)
                    .ink(label, Role::Mark)
                    .then(change)
                    .glyph(scene.glyphs, rail, Role::Accent)
                    .gap(1)
                    .then(words_of(&atoms)),
                bytes: from..to,
                line: at + 1,
            });
            from = to;
        }
        start += line.len() + 1;
    }
    rows
}

/// The smallest part of a line that stands on one row, with the byte of the
/// payload after it: so it is known which bytes a row has shown, at any width.
struct Atom {
    text: String,
    width: usize,
    ink: Ink,
    escaped: bool,
    end: usize,
}

/// One line as atoms, its secrets masked.
fn atoms(line: &str, start: usize, secrets: &[Range<usize>], reveal: bool) -> Vec<Atom> {
    let end = start + line.len();
    let mut atoms = Vec::new();
    let mut at = start;
    for secret in secrets {
        let (from, to) = (secret.start.max(at), secret.end.min(end));
        if from >= to {
            continue;
        }
        let (Some(before), Some(hidden)) = (
            line.get(at - start..from - start),
            line.get(from - start..to - start),
        ) else {
            continue;
        };
        plain_atoms(&mut atoms, before, at, Ink::new(Role::Text));
        if reveal {
            plain_atoms(&mut atoms, hidden, from, Ink::new(Role::Warn));
        } else {
            let mask = format!("[secret, {} chars]", hidden.chars().count());
            let ink = Ink {
                badge: true,
                ..Ink::new(Role::Muted)
            };
            let last = mask.len() - 1;
            // Only its last letter shows the secret's bytes as shown.
            atoms.extend(mask.char_indices().map(|(place, letter)| Atom {
                text: letter.to_string(),
                width: 1,
                ink,
                escaped: false,
                end: if place == last { to } else { from },
            }));
        }
        at = to;
    }
    if let Some(rest) = line.get(at.saturating_sub(start)..) {
        plain_atoms(&mut atoms, rest, at, Ink::new(Role::Text));
    }
    atoms
}

/// Text from outside as atoms; `start` is where it begins in the payload.
fn plain_atoms(atoms: &mut Vec<Atom>, raw: &str, start: usize, ink: Ink) {
    let shown = Shown::payload_line(raw);
    let mut at = 0;
    let mut column = 0;
    let mut tab = 0;
    for unit in shown.units() {
        let rest = raw.get(at..).unwrap_or("");
        if unit.escaped {
            at += rest.chars().next().map_or(0, char::len_utf8);
        } else if rest.starts_with('\t') {
            // A tab is some blanks; the last of them is the tab itself.
            if tab == 0 {
                tab = text::TAB_CELLS - column % text::TAB_CELLS;
            }
            tab -= 1;
            at += usize::from(tab == 0);
        } else {
            at += unit.text.len();
        }
        column += unit.width;
        atoms.push(Atom {
            text: unit.text.to_owned(),
            width: unit.width,
            ink,
            escaped: unit.escaped,
            end: start + at.min(raw.len()),
        });
    }
}

/// Atoms on rows of at most `room` cells, broken after blanks where that can be.
fn wrap(atoms: Vec<Atom>, room: usize, at_blanks: bool) -> Vec<Vec<Atom>> {
    let mut rows: Vec<Vec<Atom>> = Vec::new();
    let mut row: Vec<Atom> = Vec::new();
    let mut used = 0;
    for atom in atoms {
        if used + atom.width > room && !row.is_empty() {
            let blank = row
                .iter()
                .rposition(|before| before.text == " ")
                .filter(|at| at_blanks && row[..*at].iter().any(|before| before.text != " "));
            // What stands after the last blank moves down; all cells stay.
            let rest = match blank {
                Some(at) if atom.text != " " => row.split_off(at + 1),
                _ => Vec::new(),
            };
            used = rest.iter().map(|atom| atom.width).sum();
            rows.push(std::mem::replace(&mut row, rest));
        }
        used += atom.width;
        row.push(atom);
    }
    if !row.is_empty() || rows.is_empty() {
        rows.push(row);
    }
    rows
}

fn words_of(atoms: &[Atom]) -> Words {
    let mut words = Words::new();
    let mut run = String::new();
    let mut ink: Option<Ink> = None;
    for atom in atoms {
        if let Some(before) = ink
            && (atom.escaped || before != atom.ink)
        {
            words = words.ink(std::mem::take(&mut run), before);
        }
        if atom.escaped {
            words = words.shown(Shown::escaped(atom.text.clone()), atom.ink);
            ink = None;
        } else {
            run.push_str(&atom.text);
            ink = Some(atom.ink);
        }
    }
    match ink {
        Some(ink) => words.ink(run, ink),
        None => words,
    }
}

fn hex_rows(scene: &Scene<'_>, bytes: &[u8]) -> Vec<PayloadRow> {
    bytes
        .chunks(HEX)
        .enumerate()
        .map(|(at, chunk)| {
            let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
            let plain: String = chunk
                .iter()
                .map(|byte| match byte {
                    0x20..=0x7E => char::from(*byte),
                    _ => '.',
                })
                .collect();
            PayloadRow {
                words: Words::new()
                    .ink(format!("{:04x} ", at * HEX), Role::Mark)
                    .glyph(scene.glyphs, Glyph::Rail, Role::Accent)
                    .text(format!(" {:<36} ", hex.join(" ")))
                    .text(plain),
                bytes: at * HEX..at * HEX + chunk.len(),
                line: at + 1,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_line_is_on_exactly_one_row_at_any_width() {
        let line =
            "\t'comment': 'Fixed\u{1b}[2K, 日本語 e\u{301}\u{301}\u{301} and a token abcdefgh '\r";
        let secret = line.find("abcdefgh").expect("the secret");
        let secrets = vec![Range {
            start: secret,
            end: secret + 8,
        }];
        for reveal in [false, true] {
            for at_blanks in [false, true] {
                for room in 8..70 {
                    let rows = wrap(atoms(line, 0, &secrets, reveal), room, at_blanks);
                    let mut end = 0;
                    for row in &rows {
                        for atom in row {
                            assert!(atom.end >= end, "bytes go back");
                            end = atom.end;
                        }
                        let width: usize = row.iter().map(|atom| atom.width).sum();
                        assert!(width <= room.max(8));
                    }
                    assert_eq!(end, line.len(), "at {room}");
                }
            }
        }
    }

    #[test]
    fn a_masked_secret_is_not_on_the_screen() {
        let secret = Range { start: 6, end: 14 };
        let masked = words_of(&atoms(
            "token=abcdefgh!",
            0,
            std::slice::from_ref(&secret),
            false,
        ));
        assert_eq!(masked.plain(), "token=[secret, 8 chars]!");
    }
}
