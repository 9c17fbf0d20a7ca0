//! What travels on the bus.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::text;
use crate::tui::screen::Scene;
use crate::tui::screen::jobs::inside;
use crate::tui::theme::Role;
use crate::tui::widget::bar;
use crate::tui::widget::pane::Title;
use crate::tui::widget::words::Words;
use crate::tui::widget::{indent, split_row};
use crate::view;
use crate::view::overview;

pub(super) fn draw(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
    let pen = scene.pen();
    let (title, mut left) = split_row(area);
    let rate = view::frame::header(scene.state).packets_per_second;
    let facts = match rate {
        Some(rate) => Words::new().muted(format!("{} pkt/s", text::thousands(rate))),
        None => Words::new().ink("not heard", Role::Warn),
    };
    Title::new("Wire", false)
        .facts(facts)
        .draw(pen, buf, inside(title));
    let chart = usize::from(area.width).saturating_sub(22);
    for row in overview::wire(scene.state) {
        let (line, below) = split_row(left);
        left = below;
        if line.is_empty() {
            break;
        }
        let rate = if row.per_second >= 10.0 || row.per_second == 0.0 {
            format!("{:.0}", row.per_second)
        } else {
            format!("{:.1}", row.per_second)
        };
        let from = row.series.len().saturating_sub(chart);
        let words = Words::new()
            .text(row.name)
            .to(17usize.saturating_sub(rate.len()))
            .text(rate)
            .gap(2)
            .then(bar::sparkline(
                scene.glyphs,
                &row.series[from..],
                Role::Fill,
            ));
        pen.put(buf, indent(line, 1), &words);
    }
}
