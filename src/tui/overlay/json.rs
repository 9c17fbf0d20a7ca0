//! `y`: what is under the cursor as JSON, drawn literally behind a rail.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Front, scrolled};
use crate::state::action::Drawn;
use crate::text::Shown;
use crate::tui::glyph::Glyph;
use crate::tui::theme::Role;
use crate::tui::widget::words::Words;

/// The widest that lines are worth: a job id, a label and a pointer.
const WIDTH: u16 = 110;

/// Draws it over all of `area` that it needs.
pub(super) fn draw(front: &Front<'_>, scroll: usize, area: Rect, buf: &mut Buffer) -> Drawn {
    let width = usize::from(WIDTH.min(area.width.saturating_sub(6)));
    let rail = front.pen.glyph(Glyph::Rail);
    let lines: Vec<Words> = match (front.json)(front.state) {
        Some(text) => text
            .lines()
            .flat_map(|line| {
                Words::new()
                    .shown(Shown::payload_line(line), Role::Text)
                    .wrap(width.saturating_sub(2))
            })
            .map(|line| Words::new().ink(rail, Role::Accent).gap(1).then(line))
            .collect(),
        None => vec![Words::new().muted("Nothing is known of it any more.")],
    };
    let titles = ("As JSON", "", "j k scroll   Esc close   C copies it");
    scrolled(front, area, buf, WIDTH, titles, &lines, scroll)
}
