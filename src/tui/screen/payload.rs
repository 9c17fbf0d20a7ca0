//! Payloads: long text from outside, behind a rail, whole, with nothing obeyed.

use std::ops::Range;

use crate::state::model::approvals::{Content, Payload};
use crate::text::{self, Shown};
use crate::tui::glyph::Glyph;
use crate::tui::screen::{Scene, prose};
use crate::tui::theme::Role;
use crate::tui::widget::words::Words;
use crate::view::job::PayloadView;

/// Bytes in a row of hex.
const HEX: usize = 12;

/// A row of a payload.
#[expect(dead_code, reason = "the review counts by these what has been seen")]
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
    rows(scene, payload, width, false, true)
        .into_iter()
        .map(|row| row.words)
        .collect()
}

/// The rows of a payload that was read: text line by line, wrapped; bytes as hex.
pub(super) fn rows(
    scene: &Scene<'_>,
    payload: &Payload,
    width: usize,
    reveal: bool,
    at_blanks: bool,
) -> Vec<PayloadRow> {
    match &payload.content {
        Content::Text { text, secrets, .. } => {
            text_rows(scene, text, secrets, width, reveal, at_blanks)
        }
        Content::Binary(bytes) => hex_rows(scene, bytes),
        Content::TooLong { .. } | Content::Missing | Content::Unreadable(_) => Vec::new(),
    }
}

fn text_rows(
    scene: &Scene<'_>,
    text: &str,
    secrets: &[Range<usize>],
    width: usize,
    reveal: bool,
    at_blanks: bool,
) -> Vec<PayloadRow> {
    let lines: Vec<&str> = text.split('\n').collect();
    // The break at the very end opens no line.
    let lines = match lines.split_last() {
        Some((&"", before)) if !before.is_empty() => before,
        _ => &lines[..],
    };
    let number = lines.len().to_string().len().max(2);
    let room = width.saturating_sub(number + 4).max(8);
    let mut rows = Vec::new();
    let mut start = 0;
    for (at, line) in lines.iter().enumerate() {
        let range = start..(start + line.len() + 1).min(text.len());
        let words = line_words(line, start, secrets, reveal);
        let wrapped = if at_blanks {
            words.wrap(room)
        } else {
            words.wrap_anywhere(room)
        };
        let count = wrapped.len();
        for (part, words) in wrapped.into_iter().enumerate() {
            let first = part == 0;
            let label = if first {
                format!("{:>number$}", at + 1)
            } else {
                " ".repeat(number)
            };
            let rail = if first { Glyph::Rail } else { Glyph::RailMore };
            // A line counts as seen when its last row was drawn, so its bytes
            // belong to that row and the rows before it hold none.
            let bytes = if part + 1 == count {
                range.clone()
            } else {
                range.start..range.start
            };
            rows.push(PayloadRow {
                words: Words::new()
                    .gap(1)
                    .ink(label, Role::Mark)
                    .gap(1)
                    .glyph(scene.glyphs, rail, Role::Accent)
                    .gap(1)
                    .then(words),
                bytes,
                line: at + 1,
            });
        }
        start += line.len() + 1;
    }
    rows
}

/// One line with its secrets masked.
fn line_words(line: &str, start: usize, secrets: &[Range<usize>], reveal: bool) -> Words {
    let end = start + line.len();
    let mut words = Words::new();
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
        words = words.shown(Shown::payload_line(before), Role::Text);
        words = if reveal {
            words.shown(Shown::payload_line(hidden), Role::Warn)
        } else {
            words.badge(
                format!("[secret, {} chars]", hidden.chars().count()),
                Role::Muted,
            )
        };
        at = to;
    }
    match line.get(at.saturating_sub(start)..) {
        Some(rest) => words.shown(Shown::payload_line(rest), Role::Text),
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
