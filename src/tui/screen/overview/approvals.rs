//! The approvals that wait longest.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::focused;
use crate::state::ui::ListId;
use crate::text;
use crate::tui::screen::jobs::inside;
use crate::tui::screen::{Scene, approvals, missing_screen};
use crate::tui::widget::pane::Title;
use crate::tui::widget::split_row;
use crate::tui::widget::table::{Column, Row, Table};
use crate::tui::widget::words::Words;
use crate::view;

pub(super) fn draw(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
    let pen = scene.pen();
    let (title, table) = split_row(area);
    let waiting = view::frame::header(scene.state).approvals;
    let is_focused = focused(scene, ListId::OldestApprovals);
    Title::new("Oldest approvals", is_focused)
        .facts(Words::new().muted(format!(
            "{} {}",
            text::thousands(waiting as u64),
            if waiting == 1 { "waits" } else { "wait" }
        )))
        .draw(pen, buf, inside(title));
    let height = usize::from(table.height.saturating_sub(1));
    let rows = view::approvals::oldest(scene.state, height);
    if rows.is_empty() {
        let words = approvals::nothing(scene);
        missing_screen::sentence_here(scene, words, table, buf);
        return;
    }
    let columns = [
        Column::number("WAIT", 6).rank(1).gap(2),
        Column::number("SLA", 6).rank(4).gap(2),
        Column::grow("ACTION", 16).rank(0),
        Column::content("RISK", 4, 12).rank(5).gap(2),
        Column::fixed("UNDO", 4).rank(3).gap(2),
        Column::fixed("…JOB", 8).rank(2).tail(),
    ];
    let rows: Vec<Row> = rows
        .iter()
        .map(|approval| {
            let cells = approvals::cells(scene, approval);
            Row {
                cells: vec![
                    cells.wait,
                    cells.sla,
                    cells.action,
                    cells.risk,
                    cells.undo,
                    cells.job,
                ],
                selected: approval.selected && is_focused,
                ..Row::default()
            }
        })
        .collect();
    Table::new(&columns, &rows).draw(pen, buf, table);
}
