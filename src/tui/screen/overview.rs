//! The overview: where its panes stand. Each of them is a room.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::state::action::Drawn;
use crate::state::ui::ListId;
use crate::tui::screen::Scene;
use crate::tui::widget::{indent, split_row, split_rows};
use crate::view;
use crate::view::overview;

mod alerts;
mod approvals;
mod decisions;
mod pipeline;
pub(super) mod pressure;
mod rollbacks;
mod wire;

/// From this width on panes stand side by side.
const WIDE: u16 = 100;

/// Pools that are shown before those that are steady are folded.
const POOLS: usize = 8;

/// Rows that the lists at the bottom have at least.
const LISTED: u16 = 3;

/// Rollbacks that are shown.
const ROLLBACKS: usize = 2;

pub(super) fn draw(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) -> Drawn {
    let wide = area.width >= WIDE;
    let airy = buf.area.height >= 30;
    let blank = |area: Rect| if airy { split_row(area).1 } else { area };
    let pools = overview::pressure(scene.state);
    let decisions = overview::decisions(scene.state);

    let rollbacks = overview::rollbacks(scene.state, ROLLBACKS);
    let (model, now) = view::shown(scene.state);
    let alerts = overview::alerts(model, now).len();
    let waiting = view::frame::header(scene.state).approvals;

    // Approvals and alerts are never folded, so they get their rows first; where panes
    // stand above each other, no more than they need, for pools need some too.
    let needs = |rows: usize| u16::try_from(rows).unwrap_or(LISTED).clamp(1, LISTED);
    // A head stands above alerts, and none above rollbacks.
    let alert_rows = 1 + needs((alerts + usize::from(alerts > 0)).max(rollbacks.len()));
    let bottom_rows = if wide {
        2 + LISTED
    } else {
        1 + u16::from(waiting > 0) + needs(waiting) + alert_rows
    };
    // Counts, and below them how they changed where there is room.
    let (pipeline, rest) = split_rows(area, if wide && airy { 4 } else { 3 });
    pipeline::draw(scene, wide, pipeline, buf);
    let rest = blank(rest);
    let spare = rest
        .height
        .saturating_sub(bottom_rows + if airy { 2 } else { 0 });
    let middle_rows = match (wide, decisions.is_empty()) {
        (true, _) if spare >= 7 + 5 => 7,
        (false, false) if spare >= 2 + 4 => 2,
        _ => 0,
    };
    let most = spare.saturating_sub(middle_rows).saturating_sub(2);
    let shown = pools.len().min(POOLS).min(usize::from(most));
    let pressure_rows = (2 + shown.max(1) as u16).min(spare.saturating_sub(middle_rows));
    let (pressure, rest) = split_rows(rest, pressure_rows);
    pressure::draw(scene, &pools, shown, pressure, buf);
    let rest = blank(rest);
    let (middle, rest) = split_rows(rest, middle_rows);
    if middle_rows == 7 {
        let (left, right) = halves(middle, 75);
        if decisions.is_empty() {
            wire::draw(scene, middle, buf);
        } else {
            decisions::draw(scene, &decisions, left, buf);
            wire::draw(scene, right, buf);
        }
    } else if middle_rows == 2 {
        decisions::draw_line(scene, &decisions, middle, buf);
    }
    let rest = if middle_rows > 0 { blank(rest) } else { rest };
    let listed = if wide {
        // Rollbacks give way first, and take what the lists above them leave.
        let undone = 1 + rollbacks.len().max(1) as u16;
        let undone = match rest.height.checked_sub(2 + LISTED + 1) {
            Some(room) if room >= 2 => undone.min(room),
            Some(_) | None => 0,
        };
        let room = rest.height.saturating_sub(undone + u16::from(undone > 0));
        let wanted = u16::try_from(waiting.max(alerts)).unwrap_or(u16::MAX);
        let (lists, rest) = split_rows(rest, wanted.max(LISTED).saturating_add(2).min(room));
        let (left, right) = halves(lists, 75);
        approvals::draw(scene, left, buf);
        alerts::draw(scene, right, buf);
        if undone > 0 {
            rollbacks::draw(scene, &rollbacks, split_row(rest).1, buf);
        }
        lists.height.saturating_sub(2)
    } else {
        let room = rest.height.saturating_sub(alert_rows);
        let (oldest, rest) = split_rows(rest, room.min(2 + LISTED));
        approvals::draw(scene, oldest, buf);
        if rollbacks.is_empty() {
            alerts::draw(scene, rest, buf);
        } else {
            let (left, right) = halves(rest, 59);
            alerts::draw(scene, left, buf);
            rollbacks::draw(scene, &rollbacks, right, buf);
        }
        oldest.height.saturating_sub(2)
    };
    Drawn {
        height: match scene.state.ui.list_id() {
            ListId::Pressure => shown as u16,
            _ => listed,
        },
        rows: u32::try_from(scene.state.ui.current().state.order().len()).unwrap_or(u32::MAX),
        ..Drawn::default()
    }
}

/// The left part of an area with its margins, and what is right of it.
fn halves(area: Rect, left: u16) -> (Rect, Rect) {
    let left = area.width * left / 118;
    let first = Rect {
        width: left.saturating_sub(1),
        ..area
    };
    (first, indent(area, left))
}

fn focused(scene: &Scene<'_>, list: ListId) -> bool {
    scene.state.ui.list_id() == list
}
