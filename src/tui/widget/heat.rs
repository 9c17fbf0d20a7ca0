//! The heat map: a cell a worker, places fixed by name so that eyes can learn them.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::tui::glyph::{Glyph, Glyphs};
use crate::tui::theme::Role;
use crate::tui::widget::Pen;
use crate::tui::widget::words::{Ink, Words};

/// What one cell shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Heat {
    /// A load between 0 and 1.
    Load(f64),
    /// Something that matters more than its load.
    Sign(Glyph, Role),
}

impl Heat {
    /// Its word on the screen.
    pub fn words(self, glyphs: Glyphs) -> Words {
        match self {
            Self::Load(share) => {
                let (shade, role) = shade(share);
                Words::new().ink(glyphs.heat(shade), role)
            }
            Self::Sign(glyph, role) => Words::new().glyph(glyphs, glyph, Ink::new(role).bold()),
        }
    }

    /// Which of two matters more: signs before loads, then the higher load.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::Load(a), Self::Load(b)) => Self::Load(a.max(b)),
            (Self::Load(_), sign) => sign,
            (sign, _) => sign,
        }
    }
}

fn shade(share: f64) -> (u8, Role) {
    match share {
        share if share >= 0.90 => (4, Role::Crit),
        share if share >= 0.75 => (3, Role::Warn),
        share if share >= 0.50 => (2, Role::Fill),
        share if share >= 0.20 => (1, Role::Fill),
        _ => (0, Role::Mark),
    }
}

/// The legend under the map.
pub fn legend(glyphs: Glyphs) -> Words {
    let mut words = Words::new().muted("pressure ");
    for (share, says) in [
        (0.0, "under 20%"),
        (0.3, "under 50%"),
        (0.6, "under 75%"),
        (0.8, "under 90%"),
        (1.0, "90% up"),
    ] {
        words = words
            .gap(2)
            .then(Heat::Load(share).words(glyphs))
            .muted(format!(" {says}"));
    }
    words
}

/// Draws cells row by row into `area`; the one at `cursor` is reversed.
pub fn draw(
    pen: Pen<'_>,
    buf: &mut Buffer,
    area: Rect,
    cells: impl IntoIterator<Item = Heat>,
    cursor: Option<usize>,
) {
    let width = usize::from(area.width);
    if area.is_empty() {
        return;
    }
    for (at, heat) in cells.into_iter().enumerate() {
        let (row, column) = (at / width, at % width);
        if row >= usize::from(area.height) {
            break;
        }
        let cell = Rect::new(area.x + column as u16, area.y + row as u16, 1, 1);
        let words = if cursor == Some(at) {
            let plain = heat.words(pen.glyphs);
            let sign = plain.spans().first().map_or(" ", |span| span.text.as_str());
            Words::new().badge(sign, Role::Accent)
        } else {
            heat.words(pen.glyphs)
        };
        pen.put(buf, cell, &words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::theme::{Depth, Theme};
    use crate::tui::widget::tests::text_of;

    #[test]
    fn cells_fill_rows_and_signs_win_over_loads() {
        let theme = Theme::shipped("dark", Depth::True);
        let area = Rect::new(0, 0, 4, 2);
        let mut buf = Buffer::empty(area);
        let lost = Heat::Sign(Glyph::Open, Role::Crit);
        let cells = [0.1, 0.3, 0.6, 0.8, 1.0, 0.0]
            .map(Heat::Load)
            .into_iter()
            .chain([Heat::Load(1.0).worse(lost)]);
        draw(
            Pen::new(&theme, Glyphs::UNICODE),
            &mut buf,
            area,
            cells,
            None,
        );
        assert_eq!(text_of(&buf), "·░▒▓\n█·○\n");
    }
}
