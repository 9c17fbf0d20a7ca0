//! The command line and the filter line.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Front, boxed, typed};
use crate::state::action::Drawn;
use crate::state::ui::modal::{FilterPrompt, Palette};
use crate::tui::glyph::Glyph;
use crate::tui::theme::Role;
use crate::tui::widget::pane::rows;
use crate::tui::widget::words::{Ink, Words};

const WIDTH: u16 = 74;

/// Cells of a completed command before its help.
const COMMAND: usize = 34;

pub(super) fn draw(front: &Front<'_>, palette: &Palette, area: Rect, buf: &mut Buffer) -> Drawn {
    let width = usize::from(WIDTH.min(area.width.saturating_sub(6)));
    let ui = &front.state.ui;
    let offered = ui.completions(palette.line.value());
    let mut lines = vec![
        Words::new(),
        Words::new()
            .ink(":", Ink::new(Role::Accent).bold())
            .then(typed(
                front.pen,
                &palette.line,
                true,
                width.saturating_sub(1),
            )),
        Words::new(),
    ];
    for (at, completion) in offered.iter().enumerate() {
        let cursor = if at == palette.chosen {
            Words::new().glyph(
                front.pen.glyphs,
                Glyph::Cursor,
                Ink::new(Role::Accent).bold(),
            )
        } else {
            Words::new().gap(1)
        };
        let role = if at == palette.chosen {
            Role::Text
        } else {
            Role::Muted
        };
        lines.push(
            cursor
                .line(&completion.line, role)
                .to(COMMAND.min(width / 2))
                .gap(1)
                .ink(completion.help.clone(), Role::Muted)
                .head(width),
        );
    }
    lines.push(Words::new());
    let says = match &palette.error {
        Some(error) => Words::new().line(error, Role::Warn),
        None => {
            let line = palette.line.value();
            let preview = ui.preview(line, &front.state.model, front.state.now);
            Words::new().line(&preview, Role::Muted)
        }
    };
    lines.extend(says.wrap(width));
    let inside = boxed(
        front,
        area,
        buf,
        (WIDTH, lines.len() as u16),
        ("Command", "", "Tab complete   Enter run   Esc close"),
        Role::Accent,
    );
    rows(front.pen, buf, inside, &lines);
    Drawn::default()
}

/// The filter is typed in the last row; the list above follows while it is typed.
pub(super) fn filter(front: &Front<'_>, prompt: &FilterPrompt, area: Rect, buf: &mut Buffer) {
    let row = Rect {
        y: area.bottom().saturating_sub(1),
        height: area.height.min(1),
        ..area
    };
    front.pen.ground(buf, row, Role::Panel);
    let width = usize::from(row.width);
    let says = match &prompt.error {
        // What is wrong and what to write comes first; that the list stays is seen,
        // and said once it does.
        Some(error) => {
            let room = (width / 2).max(width.saturating_sub(prompt.line.value().len() + 6));
            let error = Words::new().line(error, Role::Warn);
            let stays = error.clone().ink(". The old filter stays.", Role::Warn);
            if prompt.refused && stays.width() <= room {
                stays
            } else {
                error.head(room)
            }
        }
        None => Words::new().muted("Enter keep   Esc back").tail(width / 2),
    };
    let room = width.saturating_sub(says.width() + 5);
    let words = Words::new()
        .gap(1)
        .ink("/", Ink::new(Role::Accent).bold())
        .gap(1)
        .then(typed(front.pen, &prompt.line, true, room));
    front.pen.put(buf, row, &words);
    let inside = Rect {
        width: row.width.saturating_sub(1),
        ..row
    };
    front.pen.put_right(buf, inside, &says);
}
