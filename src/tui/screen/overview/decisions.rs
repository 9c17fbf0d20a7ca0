//! What policy decided lately.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::state::model::jobs::Decision;
use crate::text;
use crate::tui::screen::Scene;
use crate::tui::screen::jobs::inside;
use crate::tui::theme::Role;
use crate::tui::widget::bar::{self, Part};
use crate::tui::widget::pane::Title;
use crate::tui::widget::words::Words;
use crate::tui::widget::{indent, split_row};
use crate::view::overview;

fn outcome(decision: Decision) -> (&'static str, Role) {
    match decision {
        Decision::Allow => ("allow", Role::Fill),
        Decision::AllowWithConstraints => ("constrained", Role::Limit),
        Decision::RequireApproval => ("approval", Role::Human),
        Decision::Throttle => ("throttle", Role::Warn),
        Decision::Deny => ("deny", Role::Crit),
        Decision::Unavailable => ("no answer", Role::Warn),
    }
}

pub(super) fn draw(
    scene: &Scene<'_>,
    decisions: &[overview::DecisionRow],
    area: Rect,
    buf: &mut Buffer,
) {
    let pen = scene.pen();
    let total: u64 = decisions.iter().map(|row| row.count).sum();
    let (title, rest) = split_row(area);
    Title::new("Decisions", false)
        .facts(Words::new().muted(format!("{} in the last 5 min", text::thousands(total))))
        .draw(pen, buf, inside(title));
    let chart = usize::from(area.width).saturating_sub(30);
    let parts: Vec<Part> = decisions
        .iter()
        .map(|row| Part {
            amount: row.count,
            role: outcome(row.decision).1,
        })
        .collect();
    let (stacked, mut left) = split_row(rest);
    let words = Words::new()
        .to(26)
        .then(bar::stacked(scene.glyphs, &parts, chart));
    pen.put(buf, indent(stacked, 3), &words);
    for row in decisions {
        let (line, below) = split_row(left);
        left = below;
        if line.is_empty() {
            break;
        }
        let (word, role) = outcome(row.decision);
        let count = text::thousands(row.count);
        let percent = row.count as f64 * 100.0 / total.max(1) as f64;
        let from = row.series.len().saturating_sub(chart);
        let words = Words::new()
            .text(word)
            .to(17usize.saturating_sub(count.len()))
            .text(count)
            .muted(format!("  {percent:>4.1}%  "))
            .to(26)
            .then(bar::sparkline(scene.glyphs, &row.series[from..], role));
        pen.put(buf, indent(line, 3), &words);
    }
}

pub(super) fn draw_line(
    scene: &Scene<'_>,
    decisions: &[overview::DecisionRow],
    area: Rect,
    buf: &mut Buffer,
) {
    let pen = scene.pen();
    let total: u64 = decisions.iter().map(|row| row.count).sum();
    let (title, line) = split_row(area);
    Title::new("Decisions", false)
        .facts(Words::new().muted(format!("{} in 5 min", text::thousands(total))))
        .draw(pen, buf, inside(title));
    let mut words = Words::new();
    for row in decisions {
        let (word, role) = outcome(row.decision);
        let role = if role == Role::Fill { Role::Text } else { role };
        let percent = row.count as f64 * 100.0 / total.max(1) as f64;
        words = words
            .ink(format!("{word} "), role)
            .muted(format!("{percent:.0}%"))
            .gap(2);
    }
    pen.put(buf, indent(line, 3), &words);
}
