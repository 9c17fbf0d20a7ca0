//! The last rollbacks.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::WIDE;
use crate::state::model::jobs::JobState;
use crate::text::{self, Shown};
use crate::tui::screen::jobs::inside;
use crate::tui::screen::{Scene, signs};
use crate::tui::theme::Role;
use crate::tui::widget::pane::Title;
use crate::tui::widget::words::Words;
use crate::tui::widget::{indent, split_row};
use crate::view::overview::RollbackRow;

pub(super) fn draw(scene: &Scene<'_>, rollbacks: &[RollbackRow], area: Rect, buf: &mut Buffer) {
    let pen = scene.pen();
    let (title, mut left) = split_row(area);
    let wide = area.width >= WIDE;
    let name = if wide { "Last rollbacks" } else { "Rollbacks" };
    Title::new(name, false).draw(pen, buf, inside(title));
    if rollbacks.is_empty() {
        let words = Words::new().muted("No rollback has been heard of.");
        pen.put(buf, indent(left, 3), &words);
        return;
    }
    for row in rollbacks {
        let (line, below) = split_row(left);
        left = below;
        if line.is_empty() {
            break;
        }
        let inside = indent(line, 3);
        let words = rollback_words(scene, row, wide).head(usize::from(inside.width));
        pen.put(buf, inside, &words);
    }
}

fn rollback_words(scene: &Scene<'_>, row: &RollbackRow, wide: bool) -> Words {
    let of = Shown::tail_of(&row.of, if wide { 18 } else { 15 });
    let mut words = Words::new();
    if wide {
        words = words.muted(text::clock(row.at)).gap(2);
    }
    let named = Words::new().shown(of, Role::Text);
    words = words.then(named.to(if wide { 19 } else { 16 }));
    if wide {
        let count = text::thousands(row.to_undo as u64);
        words = words.text(format!("{count} to undo")).gap(3);
    }
    // Where there is little room, only the worst is said.
    let from = if wide {
        0
    } else {
        row.steps.len().saturating_sub(1)
    };
    for (at, (state, count)) in row.steps[from..].iter().enumerate() {
        let (glyph, word, ink) = signs::job_state(Some(*state));
        let word = match state {
            JobState::Succeeded => "undone",
            JobState::Denied if wide && row.denied_by.is_some() => "denied by policy",
            _ => word,
        };
        words = words
            .gap(if at > 0 { 2 } else { 0 })
            .glyph(scene.glyphs, glyph, ink)
            .ink(format!(" {count} {word}"), ink);
    }
    match (&row.denied_by, row.took) {
        (Some(rule), _) if wide => words
            .gap(3)
            .muted("rule ")
            .shown(Shown::head_of(rule, 40), Role::Text),
        (None, Some(took)) if wide => {
            words.muted(format!(", finished in {}", text::duration(took)))
        }
        _ => words,
    }
}
