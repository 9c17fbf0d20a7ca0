//! `Enter` on a flip: the jobs that a candidate policy would judge otherwise.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Front, scrolled};
use crate::state::action::Drawn;
use crate::tui::screen::policy::does;
use crate::tui::theme::Role;
use crate::tui::widget::words::Words;
use crate::view::what_if::pane;

/// An id, a state and a topic side by side.
const WIDTH: u16 = 92;

pub(super) fn draw(
    front: &Front<'_>,
    key: &str,
    scroll: usize,
    area: Rect,
    buf: &mut Buffer,
) -> Drawn {
    let width = usize::from(WIDTH.min(area.width.saturating_sub(6)));
    let view = pane::flip(front.state, key);
    let mut lines = Vec::new();
    match &view.row {
        Some(row) => {
            let glyphs = front.pen.glyphs;
            let decision = |words: Words, decision| {
                let (glyph, word, ink) = does(decision);
                words.glyph(glyphs, glyph, ink).ink(format!(" {word}"), ink)
            };
            let words = decision(Words::new().muted("was "), row.was);
            let words = decision(words.muted(", would be "), row.would_be);
            let words = match &row.rule_id {
                Some(rule) => words.muted(" by rule ").line(rule, Role::Text),
                None => words.muted(", no rule matches"),
            };
            let words = match &row.reason {
                Some(reason) => words.muted(": ").line(reason, Role::Text),
                None => words,
            };
            lines.extend(words.wrap(width));
            lines.push(Words::new());
        }
        None => {
            let says = "Another candidate was tried since.";
            lines.extend(Words::new().muted(says).wrap(width));
        }
    }
    for job in &view.jobs {
        let state = job.state.map_or("unknown here", |state| state.name());
        let words = Words::new()
            .line(job.job.as_str(), Role::Text)
            .to(38)
            .muted(state.to_ascii_lowercase())
            .to(58);
        let words = match &job.topic {
            Some(topic) => words.line(topic, Role::Text),
            None => words,
        };
        lines.extend(words.wrap(width));
    }
    let titles = ("Jobs of this flip", "", "j k scroll   Esc close");
    scrolled(front, area, buf, WIDTH, titles, &lines, scroll)
}
