//! The heat map of the workers.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::state::action::Drawn;
use crate::state::model::workers::Standing;
use crate::text::{self, Shown};
use crate::tui::glyph::Glyph;
use crate::tui::screen::jobs::inside;
use crate::tui::screen::workers::{pressure_role, standings_words};
use crate::tui::screen::{Scene, missing_screen};
use crate::tui::theme::Role;
use crate::tui::widget::heat::{self, Heat};
use crate::tui::widget::pane::Title;
use crate::tui::widget::words::Words;
use crate::tui::widget::{indent, split_row, split_rows};
use crate::view::heat::{HeatCell, HeatPool, HeatView};
use crate::view::missing;

/// Cells for the name and the size of a pool, before its cells.
const LABEL: u16 = 16;

/// Rows below the map: blank, legend, blank, the worker under the cursor.
const BELOW: u16 = 4;

pub(super) fn draw(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) -> Drawn {
    let pen = scene.pen();
    let view = crate::view::heat::heat(scene.state);
    let (title, rest) = split_row(area);
    let (_, rest) = split_row(rest);
    let (map, below) = split_rows(rest, rest.height.saturating_sub(BELOW));
    let width = usize::from(map.width.saturating_sub(LABEL + 4)).max(1);
    let per_cell = workers_per_cell(&view, width, usize::from(map.height));
    draw_title(scene, &view, per_cell, title, buf);
    if view.pools.is_empty() {
        missing_screen::sentence(
            scene,
            Words::new().muted("No worker has been heard; they beat every 2 to 5 s."),
            map,
            buf,
        );
    }
    let mut left = map;
    for pool in &view.pools {
        if left.is_empty() {
            break;
        }
        let rows = pool.cells.len().div_ceil(per_cell).div_ceil(width);
        let (rows_area, rest) = split_rows(left, u16::try_from(rows).unwrap_or(u16::MAX));
        left = rest;
        draw_pool(scene, pool, per_cell, rows_area, buf);
    }
    let (_, below) = split_row(below);
    let (legend, below) = split_row(below);
    let words = heat::legend(scene.glyphs)
        .gap(5)
        .glyph(scene.glyphs, Glyph::Late, Role::Warn)
        .muted(" late  ")
        .glyph(scene.glyphs, Glyph::Open, Role::Crit)
        .muted(" lost  ")
        .glyph(scene.glyphs, Glyph::Zombie, Role::Warn)
        .muted(" zombie  ")
        .glyph(scene.glyphs, Glyph::Draining, Role::Muted)
        .muted(" draining");
    pen.put(buf, indent(legend, 1), &words);
    let (_, line) = split_row(below);
    draw_selected(scene, &view, indent(line, 1), buf);
    if missing::bus_silent_since(scene.state).is_some() {
        pen.recolor(buf, map, Role::Stale);
    }
    Drawn {
        height: map.height,
        rows: u32::try_from(view.standings.total()).unwrap_or(u32::MAX),
        columns: width as u16,
        payload: None,
    }
}

/// How many workers share a cell so that all pools fit: 1, 2, 4, 8 and so on.
fn workers_per_cell(view: &HeatView, width: usize, height: usize) -> usize {
    let rows_at = |per_cell: usize| -> usize {
        let pools = view.pools.iter();
        pools
            .map(|pool| pool.cells.len().div_ceil(per_cell).div_ceil(width))
            .sum()
    };
    let mut per_cell = 1;
    while rows_at(per_cell) > height.max(view.pools.len()) && per_cell < 1 << 20 {
        per_cell *= 2;
    }
    per_cell
}

fn draw_title(scene: &Scene<'_>, view: &HeatView, per_cell: usize, area: Rect, buf: &mut Buffer) {
    let mut facts = Words::new();
    if let Some(since) = missing::bus_silent_since(scene.state) {
        facts = facts
            .bold(
                format!("{} old", text::age(scene.state.now.since(since))),
                Role::Warn,
            )
            .gap(3);
    }
    facts = facts
        .text(format!(
            "{}: ",
            text::thousands(view.standings.total() as u64)
        ))
        .then(standings_words(&view.standings));
    if per_cell > 1 {
        facts = facts.muted(format!("   {per_cell} workers a cell, worst shown"));
    }
    Title::new("Workers, heat map by pressure", true)
        .facts(facts)
        .draw(scene.pen(), buf, inside(area));
}

fn draw_pool(scene: &Scene<'_>, pool: &HeatPool, per_cell: usize, area: Rect, buf: &mut Buffer) {
    let pen = scene.pen();
    let name = match &pool.name {
        Some(name) => Words::new().shown(
            Shown::head_of(name.as_str(), 9),
            crate::tui::widget::words::Ink::new(Role::Text).bold(),
        ),
        None => Words::new().muted("no pool"),
    };
    let count = text::thousands(pool.cells.len() as u64);
    let label = name
        .to(15usize.saturating_sub(count.len() + 1))
        .muted(count);
    let label_area = Rect {
        width: LABEL.saturating_sub(1).min(area.width),
        ..indent(area, 1)
    };
    pen.put(buf, label_area, &label);
    let cells = Rect {
        width: area.width.saturating_sub(LABEL + 4),
        ..indent(area, LABEL)
    };
    let cursor = pool
        .cells
        .chunks(per_cell)
        .position(|chunk| chunk.iter().any(|cell| cell.selected));
    let heats = pool.cells.chunks(per_cell).map(|chunk| {
        chunk
            .iter()
            .map(heat_of)
            .reduce(Heat::worse)
            .unwrap_or(Heat::Load(0.0))
    });
    heat::draw(pen, buf, cells, heats, cursor);
}

fn heat_of(cell: &HeatCell) -> Heat {
    match cell.standing {
        Standing::Lost => Heat::Sign(Glyph::Open, Role::Crit),
        Standing::Zombie => Heat::Sign(Glyph::Zombie, Role::Warn),
        Standing::Late => Heat::Sign(Glyph::Late, Role::Warn),
        Standing::Draining => Heat::Sign(Glyph::Draining, Role::Muted),
        Standing::Live | Standing::Unknown => Heat::Load(cell.pressure.unwrap_or(0.0)),
    }
}

fn draw_selected(scene: &Scene<'_>, view: &HeatView, area: Rect, buf: &mut Buffer) {
    let Some(worker) = &view.selected else {
        return;
    };
    let mut words = Words::new()
        .shown(
            Shown::tail_of(worker.id.as_str(), 30),
            crate::tui::widget::words::Ink::new(Role::Text).bold(),
        )
        .muted("   pool ");
    words = match &worker.pool {
        Some(pool) => words.shown(Shown::head_of(pool.as_str(), 20), Role::Text),
        None => words.muted("unknown"),
    };
    if let Some(region) = &worker.region {
        words = words
            .muted(", ")
            .shown(Shown::head_of(region, 12), Role::Text);
    }
    words = words.muted("   pressure ");
    words = match worker.pressure {
        Some(pressure) => words.ink(format!("{pressure:.2}"), pressure_role(pressure)),
        None => words.muted("unknown"),
    };
    for (label, percent) in [
        ("cpu", worker.cpu),
        ("mem", worker.memory),
        ("gpu", worker.gpu),
    ] {
        if let Some(percent) = percent {
            words = words
                .muted(format!("   {label} "))
                .text(format!("{percent:.0}"));
        }
    }
    if let Some(slots) = worker.slots {
        words = words
            .muted("   slots ")
            .text(format!("{}/{slots}", worker.active));
    }
    if let Some(silence) = worker.silence {
        words = words.muted("   beat ").text(text::age(silence));
    }
    if let Some(percent) = worker.percent {
        words = words.text(format!("   {percent}%"));
    }
    if let Some(memo) = &worker.memo {
        words = words.gap(2).shown(Shown::head_of(memo, 80), Role::Text);
    }
    scene.pen().put(buf, area, &words);
}
