//! The workers by pool.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::state::action::Drawn;
use crate::state::model::workers::Standing;
use crate::state::ui::ListId;
use crate::text::{self, Shown};
use crate::tui::glyph::{Glyph, Glyphs};
use crate::tui::screen::jobs::inside;
use crate::tui::screen::workers::{load_words, pressure_role};
use crate::tui::screen::{Scene, missing_screen, signs};
use crate::tui::theme::Role;
use crate::tui::widget::pane::Title;
use crate::tui::widget::table::{Column, Row, Table};
use crate::tui::widget::words::{Ink, Words};
use crate::tui::widget::{bar, split_row};
use crate::view::missing;
use crate::view::pools::{self, PoolLine, PoolRow};
use crate::view::workers::WorkerRow;

pub(super) fn draw(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) -> Drawn {
    let pen = scene.pen();
    let (title, table) = split_row(area);
    let height = usize::from(table.height.saturating_sub(1));
    let view = pools::pools(scene.state, height);
    let mut facts = Words::new();
    let stale = missing::bus_silent_since(scene.state);
    if let Some(since) = stale {
        facts = facts
            .bold(
                format!("{} old", text::age(scene.state.now.since(since))),
                Role::Warn,
            )
            .gap(3);
    }
    facts = facts.muted(format!(
        "{}, {}",
        text::count(view.pools as u64, "pool", "pools"),
        text::count(view.workers, "worker", "workers"),
    ));
    if view.without_pool > 0 {
        facts = facts.ink(
            format!(", {} without a pool", view.without_pool),
            Role::Warn,
        );
    }
    let sort = match scene
        .state
        .ui
        .list(ListId::Pools)
        .sort(ListId::Pools)
        .word()
    {
        "attention first" => "worst first",
        other => other,
    };
    Title::new("Workers by pool", true)
        .facts(facts.muted(format!(", {sort}")))
        .draw(pen, buf, inside(title));
    if view.lines.is_empty() {
        missing_screen::sentence(
            scene,
            Words::new().muted("No pool is known: no worker has been heard and no job waits."),
            table,
            buf,
        );
    }
    let rows: Vec<Row> = view
        .lines
        .iter()
        .map(|line| {
            let mut row = match line {
                PoolLine::Pool(pool) => pool_row(pool, scene.glyphs),
                PoolLine::Worker(worker) => worker_row(worker, scene.glyphs),
            };
            if stale.is_some() {
                row.cells = row
                    .cells
                    .into_iter()
                    .map(|cell| cell.in_role(Role::Stale))
                    .collect();
            }
            row
        })
        .collect();
    if !rows.is_empty() {
        Table::new(&columns(), &rows).draw(pen, buf, table);
    }
    Drawn {
        height: height as u16,
        rows: u32::try_from(scene.state.ui.list(ListId::Pools).state.order().len())
            .unwrap_or(u32::MAX),
        ..Drawn::default()
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::content("POOL", 13, 24).rank(0).tail(),
        Column::number("LIVE", 4).rank(1).gap(2),
        Column::number("LATE", 4).rank(4).gap(2),
        Column::number("LOST", 4).rank(2).gap(2),
        Column::number("DRAIN", 5).rank(9).gap(2),
        Column::number("ZOMBIE", 6).rank(5).gap(3),
        Column::fixed("SLOTS", 12).rank(8),
        Column::number("", 6).alone("SLOTS").rank(3).gap(3),
        Column::number("CPU", 4).rank(10).gap(2),
        Column::number("MEM", 4).rank(11).gap(2),
        Column::number("GPU", 4).rank(12).gap(2),
        Column::fixed("WORST PRESSURE", 8).rank(13),
        Column::number("", 5).alone("WORST").rank(6).gap(2),
        Column::number("OLDEST BEAT", 11).rank(7),
    ]
}

fn count(count: u32, lit: Ink) -> Words {
    match count {
        0 => Words::new().muted("0"),
        n => Words::new().ink(text::thousands(u64::from(n)), lit),
    }
}

fn pool_row(row: &PoolRow, glyphs: Glyphs) -> Row {
    let pool = &row.pool;
    let fold = if row.open {
        Glyph::Unfolded
    } else {
        Glyph::Folded
    };
    let plain = Ink::new(Role::Text);
    let slots = f64::from(pool.slots_used) / f64::from(pool.slots.max(1));
    let able = pool.able() + pool.workers(Standing::Draining) + pool.workers(Standing::Unknown);
    let (slots_bar, slots_text) = if able == 0 {
        (
            Words::new().ink("no worker", Role::Crit),
            Words::new().muted("0/0"),
        )
    } else {
        (
            bar::bar(glyphs, slots, 12, bar::load_role(slots)),
            Words::new().text(format!("{}/{}", pool.slots_used, pool.slots)),
        )
    };
    let (worst_bar, worst) = match pool.worst_pressure {
        Some(milli) => {
            let pressure = f64::from(milli) / 100_000.0;
            (
                bar::bar(glyphs, pressure, 8, bar::load_role(pressure)),
                Words::new().ink(format!("{pressure:.2}"), pressure_role(pressure)),
            )
        }
        None => (Words::new().muted("unknown"), Words::new()),
    };
    let percent = |percent: Option<u32>| percent.filter(|it| *it > 0).map(f64::from);
    Row {
        cells: vec![
            Words::new()
                .glyph(glyphs, fold, Role::Muted)
                .gap(1)
                .shown(Shown::head_of(pool.name.as_str(), 40), plain.bold()),
            count(pool.workers(Standing::Live), plain),
            count(pool.workers(Standing::Late), Ink::new(Role::Warn)),
            count(pool.workers(Standing::Lost), Ink::new(Role::Crit).bold()),
            count(pool.workers(Standing::Draining), plain),
            count(pool.workers(Standing::Zombie), Ink::new(Role::Warn).bold()),
            slots_bar,
            slots_text,
            load_words(glyphs, percent(pool.cpu)),
            load_words(glyphs, percent(pool.memory)),
            load_words(glyphs, percent(pool.gpu)),
            worst_bar,
            worst,
            match pool.oldest_beat {
                Some(age) => Words::new().muted(text::age(age)),
                None => Words::new().muted("—"),
            },
        ],
        selected: row.selected,
        ..Row::default()
    }
}

fn worker_row(worker: &WorkerRow, glyphs: Glyphs) -> Row {
    let (glyph, _, ink) = signs::standing(worker.standing);
    let slots = worker.slots.filter(|slots| *slots > 0);
    let (slots_bar, slots_text) = match slots {
        Some(slots) => {
            let share = f64::from(worker.active) / f64::from(slots);
            (
                bar::bar(glyphs, share, 12, bar::load_role(share)),
                Words::new().text(format!("{}/{slots}", worker.active)),
            )
        }
        None => (Words::new(), Words::new().muted("—")),
    };
    let (pressure_bar, pressure) = match worker.pressure {
        Some(pressure) => (
            bar::bar(glyphs, pressure, 8, bar::load_role(pressure)),
            Words::new().ink(format!("{pressure:.2}"), pressure_role(pressure)),
        ),
        None => (Words::new().muted("unknown"), Words::new()),
    };
    Row {
        cells: vec![
            Words::new()
                .gap(2)
                .glyph(glyphs, glyph, ink)
                .gap(1)
                .shown(Shown::tail_of(worker.id.as_str(), 20), Role::Text),
            Words::new(),
            Words::new(),
            Words::new(),
            Words::new(),
            Words::new(),
            slots_bar,
            slots_text,
            load_words(glyphs, worker.cpu),
            load_words(glyphs, worker.memory),
            load_words(glyphs, worker.gpu),
            pressure_bar,
            pressure,
            match worker.silence {
                Some(age) => Words::new().muted(text::age(age)),
                None => Words::new().muted("—"),
            },
        ],
        selected: worker.selected,
        ..Row::default()
    }
}
