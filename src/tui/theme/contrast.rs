//! Whether words can be read on their grounds: contrast as WCAG 2 defines it.

use std::fmt;

use ratatui::style::Color;

use super::file::Parsed;
use super::{Depth, Role};

/// The least contrast of words.
const WORDS: f64 = 4.5;

/// The least contrast of rules, bars and line numbers.
const MARKS: f64 = 3.0;

/// A role that is hard to read in a theme that can be used all the same.
#[derive(Clone, Debug, PartialEq)]
pub struct ThemeWarning {
    /// The theme.
    pub theme: String,
    /// The role of the words.
    pub role: Role,
    /// The ground they stand on.
    pub ground: Role,
    /// At which depth.
    pub depth: Depth,
    /// The contrast, 1 to 21.
    pub ratio: f64,
    /// What it should be at least.
    pub limit: f64,
}

impl fmt::Display for ThemeWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let depth = match self.depth {
            Depth::Indexed => " in 256 colors",
            Depth::Mono | Depth::Sixteen | Depth::True => "",
        };
        write!(
            f,
            "theme {}: {} on {}{depth} has a contrast of {:.1}, less than {:.1}",
            self.theme, self.role, self.ground, self.ratio, self.limit
        )
    }
}

/// Which role stands on which ground, and how well it must be seen there.
fn pairs() -> Vec<(Role, Role, f64)> {
    let grounds = [Role::Bg, Role::Panel, Role::Sel];
    let words = [
        Role::Text,
        Role::Muted,
        Role::Stale,
        Role::Ok,
        Role::Warn,
        Role::Crit,
        Role::Human,
        Role::Accent,
    ];
    let marks = [Role::Mark, Role::Fill, Role::Limit];
    let mut pairs = vec![
        (Role::OnFrame, Role::Frame, WORDS),
        (Role::Bg, Role::Warn, WORDS),
    ];
    for ground in grounds {
        pairs.extend(words.map(|role| (role, ground, WORDS)));
        pairs.extend(marks.map(|role| (role, ground, MARKS)));
    }
    pairs
}

/// What is hard to read in a theme.
pub(super) fn check(theme: &str, parsed: &Parsed) -> Vec<ThemeWarning> {
    let mut warnings = Vec::new();
    for depth in [Depth::True, Depth::Indexed] {
        for (role, ground, limit) in pairs() {
            let color = |role| parsed.color(role, depth).and_then(rgb);
            let (Some(words), Some(under)) = (color(role), color(ground)) else {
                continue;
            };
            let ratio = ratio(words, under);
            if ratio < limit {
                warnings.push(ThemeWarning {
                    theme: theme.to_owned(),
                    role,
                    ground,
                    depth,
                    ratio,
                    limit,
                });
            }
        }
    }
    warnings
}

fn ratio(a: (u8, u8, u8), b: (u8, u8, u8)) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

fn luminance((red, green, blue): (u8, u8, u8)) -> f64 {
    let linear = |channel: u8| {
        let share = f64::from(channel) / 255.0;
        if share <= 0.040_45 {
            share / 12.92
        } else {
            ((share + 0.055) / 1.055).powf(2.4)
        }
    };
    0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
}

/// The channels of a color that every terminal shows alike.
pub(super) fn rgb(color: Color) -> Option<(u8, u8, u8)> {
    const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    match color {
        Color::Rgb(red, green, blue) => Some((red, green, blue)),
        Color::Indexed(index @ 16..=231) => {
            let index = usize::from(index - 16);
            Some((LEVELS[index / 36], LEVELS[index / 6 % 6], LEVELS[index % 6]))
        }
        Color::Indexed(index @ 232..=255) => {
            let level = 8 + 10 * (index - 232);
            Some((level, level, level))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::theme::{ThemeError, file};

    #[test]
    fn black_on_white_is_21_and_a_color_on_itself_is_1() {
        assert!((ratio((0, 0, 0), (255, 255, 255)) - 21.0).abs() < 0.001);
        assert!((ratio((9, 99, 200), (9, 99, 200)) - 1.0).abs() < 0.001);
    }

    #[test]
    fn a_role_that_is_hard_to_read_is_named_with_ratio_and_limit() {
        let dark = include_str!("../../../themes/dark.toml");
        let mine = "inherits = \"dark\"\n[ink]\nmuted = [\"#444444\", 248, \"default\"]\n";
        let parsed = file::read(mine, "mine.toml", &|_| Ok::<_, ThemeError>(dark.to_owned()))
            .expect("a theme");
        let warnings: Vec<String> = check("mine", &parsed)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(warnings.len(), 3);
        assert_eq!(
            warnings[0],
            "theme mine: muted on bg has a contrast of 1.9, less than 4.5"
        );
    }
}
