//! Bars, levels and sparklines: quantities as words.

use crate::tui::glyph::{Glyph, Glyphs};
use crate::tui::theme::Role;
use crate::tui::widget::words::Words;

/// From here on a load is a warning.
const WARN: f64 = 0.75;

/// From here on a load is critical.
const CRIT: f64 = 0.90;

/// The role of a load between 0 and 1; more is critical too.
pub fn load_role(share: f64) -> Role {
    if share >= CRIT {
        Role::Crit
    } else if share >= WARN {
        Role::Warn
    } else {
        Role::Fill
    }
}

/// A bar of `width` cells in steps of half a cell; `share` is 0 to 1, what is
/// beyond is drawn as the end.
pub fn bar(glyphs: Glyphs, share: f64, width: usize, role: Role) -> Words {
    let share = if share.is_finite() {
        share.clamp(0.0, 1.0)
    } else {
        0.0
    };
    // Half a step is not yet a step.
    let halves = (share * width as f64 * 2.0 + 0.499_999).floor() as usize;
    let (full, half) = (halves / 2, halves % 2);
    Words::new()
        .ink(glyphs.get(Glyph::BarFull).repeat(full), role)
        .ink(glyphs.get(Glyph::BarHalf).repeat(half), role)
        .ink(
            glyphs
                .get(Glyph::BarEmpty)
                .repeat(width.saturating_sub(full + half)),
            Role::Mark,
        )
}

/// A part of a stacked bar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Its quantity, in any unit that all parts share.
    pub amount: u64,
    /// Its role.
    pub role: Role,
}

/// Parts of a whole side by side in `width` cells, each ending in half a cell so
/// that they are told apart without color. A part that is there has at least one
/// cell, as long as there is room.
pub fn stacked(glyphs: Glyphs, parts: &[Part], width: usize) -> Words {
    let total: u64 = parts.iter().map(|part| part.amount).sum();
    let present: Vec<&Part> = parts.iter().filter(|part| part.amount > 0).collect();
    if total == 0 || present.len() > width {
        return Words::new().ink(glyphs.get(Glyph::BarEmpty).repeat(width), Role::Mark);
    }
    let mut cells: Vec<usize> = present
        .iter()
        .map(|part| ((part.amount as f64 / total as f64 * width as f64).round() as usize).max(1))
        .collect();
    // Rounding may leave too many or too few: the largest part gives or takes.
    while let Some(largest) = (0..cells.len()).max_by_key(|at| cells[*at]) {
        let sum: usize = cells.iter().sum();
        match sum.cmp(&width) {
            std::cmp::Ordering::Equal => break,
            std::cmp::Ordering::Less => cells[largest] += width - sum,
            std::cmp::Ordering::Greater if cells[largest] > 1 => cells[largest] -= 1,
            std::cmp::Ordering::Greater => break,
        }
    }
    let last = cells.len().saturating_sub(1);
    let mut words = Words::new();
    for (at, (part, cells)) in present.iter().zip(&cells).enumerate() {
        let half = usize::from(at != last);
        words = words
            .ink(
                glyphs
                    .get(Glyph::BarFull)
                    .repeat(cells.saturating_sub(half)),
                part.role,
            )
            .ink(glyphs.get(Glyph::BarHalf).repeat(half), part.role);
    }
    words
}

/// One cell that stands for a share between 0 and 1 by its height.
pub fn level(glyphs: Glyphs, share: f64) -> Words {
    let share = if share.is_finite() {
        share.clamp(0.0, 1.0)
    } else {
        0.0
    };
    let eighths = ((share * 8.0).round() as u8).max(1);
    Words::new().ink(glyphs.level(eighths), load_role(share))
}

/// Quantities over time, a cell each, on their own scale; blank where nothing happened.
pub fn sparkline(glyphs: Glyphs, values: &[u64], role: Role) -> Words {
    let most = values.iter().copied().max().unwrap_or(0).max(1);
    let cells: String = values
        .iter()
        .map(|value| match value {
            0 => glyphs.level(0),
            value => {
                let eighths = (*value as f64 / most as f64 * 8.0).ceil();
                glyphs.level(eighths as u8)
            }
        })
        .collect();
    Words::new().ink(cells, role)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_moves_in_half_cells() {
        for (share, expected) in [
            (0.58, "━━━━╸───"),
            (0.83, "━━━━━━╸─"),
            (0.12, "━───────"),
            (0.0, "────────"),
            (7.0, "━━━━━━━━"),
            (f64::NAN, "────────"),
        ] {
            assert_eq!(bar(Glyphs::UNICODE, share, 8, Role::Fill).plain(), expected);
        }
        assert_eq!(bar(Glyphs::ASCII, 0.58, 8, Role::Fill).plain(), "====-...");
    }

    #[test]
    fn a_stacked_bar_shows_every_part_and_fills_its_width() {
        let parts = [(1_204, Role::Fill), (9, Role::Human), (41, Role::Crit)]
            .map(|(amount, role)| Part { amount, role });
        for width in 3..60 {
            assert_eq!(stacked(Glyphs::UNICODE, &parts, width).width(), width);
        }
        assert_eq!(stacked(Glyphs::UNICODE, &parts, 12).plain(), "━━━━━━━━━╸╸━");
        assert_eq!(stacked(Glyphs::UNICODE, &[], 3).plain(), "───");
    }

    #[test]
    fn a_sparkline_is_blank_where_nothing_happened() {
        assert_eq!(
            sparkline(Glyphs::UNICODE, &[0, 1, 4, 8], Role::Fill).plain(),
            " ▁▄█"
        );
        assert_eq!(
            sparkline(Glyphs::UNICODE, &[0, 0], Role::Fill).plain(),
            "  "
        );
        assert_eq!(level(Glyphs::UNICODE, 0.99).plain(), "█");
        assert_eq!(level(Glyphs::UNICODE, 0.0).plain(), "▁");
    }
}
