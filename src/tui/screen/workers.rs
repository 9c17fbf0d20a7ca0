//! The workers: a table, and what is known of the one under the cursor.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::state::action::Drawn;
use crate::state::model::workers::Standing;
use crate::text::{self, Shown};
use crate::tui::glyph::Glyphs;
use crate::tui::screen::jobs::inside;
use crate::tui::screen::{Scene, missing_screen, prose, signs};
use crate::tui::theme::Role;
use crate::tui::widget::pane::{self, Title};
use crate::tui::widget::table::{Column, Row, Table};
use crate::tui::widget::words::{Ink, Words};
use crate::tui::widget::{bar, indent, split_row, split_rows};
use crate::view::workers::{self, Standings, WorkerRow, WorkersView};

/// The cells of a pressure bar.
const BAR: usize = 7;

/// Rows of what is under the cursor, blank row and title included.
const UNDER: u16 = 8;

pub(super) fn draw(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) -> Drawn {
    let pen = scene.pen();
    let under = match buf.area.height {
        30.. => UNDER,
        20.. => 2,
        _ => 0,
    };
    let (top, below) = split_rows(area, area.height.saturating_sub(under));
    let (title, table) = split_row(top);
    let height = usize::from(table.height.saturating_sub(1));
    let view = workers::workers(scene.state, height);
    draw_title(scene, &view, title, buf);
    let stale = view.silent_since.is_some();
    if view.rows.is_empty() {
        missing_screen::no_workers(scene, &view, table, buf);
    } else {
        let columns = columns();
        let rows: Vec<Row> = view
            .rows
            .iter()
            .map(|worker| row(worker, stale, scene.glyphs))
            .collect();
        Table::new(&columns, &rows).draw(pen, buf, table);
    }
    if under == UNDER && stale {
        draw_silence(scene, &view, below, buf);
    } else {
        draw_under(scene, under, below, buf);
    }
    Drawn {
        height: height as u16,
        rows: u32::try_from(view.passing).unwrap_or(u32::MAX),
        ..Drawn::default()
    }
}

fn draw_silence(scene: &Scene<'_>, view: &WorkersView, area: Rect, buf: &mut Buffer) {
    let mut words = Words::new().muted("No worker turns lost because our own line is cut");
    for (at, lost) in view.lost_before.iter().enumerate() {
        words = words
            .muted(if at == 0 { "; " } else { ", " })
            .shown(Shown::tail_of(lost.as_str(), 24), Role::Muted);
    }
    words = match view.lost_before.len() {
        0 => words.muted("."),
        1 => words.muted(" was lost before that."),
        _ => words.muted(" were lost before that."),
    };
    let line = indent(split_row(area).1, 3);
    scene.pen().put(buf, line, &words);
}

fn draw_under(scene: &Scene<'_>, under: u16, area: Rect, buf: &mut Buffer) {
    let pen = scene.pen();
    let Some((id, says)) = workers::under_cursor(scene.state) else {
        return;
    };
    if under == UNDER {
        let (title, text) = split_row(inside(split_row(area).1));
        Title::new("Under the cursor", false)
            .facts(Words::new().shown(Shown::tail_of(id.as_str(), 40), Role::Muted))
            .draw(pen, buf, title);
        let text = indent(text, 2);
        let lines: Vec<Words> = says
            .iter()
            .flat_map(|line| prose::words(line).wrap(usize::from(text.width)))
            .collect();
        pane::rows(pen, buf, text, &lines);
    } else if under > 0
        && let Some(first) = says.first()
    {
        let words = Words::new()
            .shown(Shown::tail_of(id.as_str(), 20), Role::Muted)
            .gap(2)
            .then(prose::words(first));
        pen.put(buf, indent(split_row(area).1, 3), &words);
    }
}

/// How the workers stand, in words, the worst lit.
pub(super) fn standings_words(standings: &Standings) -> Words {
    let mut words = Words::new();
    let order = [
        Standing::Live,
        Standing::Late,
        Standing::Lost,
        Standing::Draining,
        Standing::Zombie,
        Standing::Unknown,
    ];
    for standing in order {
        let count = standings.of(standing);
        if count == 0 {
            continue;
        }
        let (_, word, ink) = signs::standing(standing);
        let ink = if standing == Standing::Live {
            Ink::new(Role::Muted)
        } else {
            ink
        };
        if !words.is_empty() {
            words = words.gap(2);
        }
        words = words.ink(format!("{} {word}", text::thousands(count as u64)), ink);
    }
    words
}

fn draw_title(scene: &Scene<'_>, view: &WorkersView, area: Rect, buf: &mut Buffer) {
    let mut facts = Words::new();
    let now = scene.state.ui.shown_at(scene.state.now);
    if let Some(frozen) = scene.state.ui.frozen() {
        facts = facts.bold(
            format!("frozen at {}   ", text::clock_millis(frozen.at)),
            Role::Warn,
        );
    }
    match view.silent_since {
        Some(since) => {
            facts = facts
                .bold(format!("{} old", text::age(now.since(since))), Role::Warn)
                .muted(format!(
                    "   {} known, standing unknown since {}",
                    text::thousands(view.standings.total() as u64),
                    text::clock(since)
                ));
        }
        None => {
            if view.passing > 0 {
                facts = facts.text(format!(
                    "{}-{} of {}: ",
                    text::thousands(view.first as u64 + 1),
                    text::thousands((view.first + view.rows.len()) as u64),
                    text::thousands(view.passing as u64)
                ));
            }
            facts = facts.then(standings_words(&view.standings));
        }
    }
    if !view.filter.is_empty() {
        facts = facts.gap(2).line(&view.filter, Role::Accent);
    }
    facts = facts.muted(format!("   {}", view.sort));
    Title::new("Workers", true)
        .facts(facts)
        .draw(scene.pen(), buf, inside(area));
}

/// Width keeps: standing, worker, lamps, pressure, heard, slots, pool, last word,
/// bar, loads, region.
fn columns() -> Vec<Column> {
    vec![
        Column::fixed("STANDING", 10).rank(0),
        Column::content("WORKER", 11, 20).rank(1).tail(),
        Column::content("POOL", 7, 12).rank(9),
        Column::content("REG", 4, 8).rank(15),
        Column::fixed("PRESSURE", BAR as u16).rank(11),
        Column::number("", 4).alone("PRES").rank(5).gap(2),
        Column::number(" CPU", 4).rank(12),
        Column::number(" MEM", 4).rank(13),
        Column::number(" GPU", 4).rank(14).gap(2),
        Column::number("SLOTS", 5).rank(7).gap(2),
        Column::fixed("BEAT", 4).rank(2),
        Column::fixed("SLOT", 4).rank(3),
        Column::fixed("MOVE", 4).rank(4).gap(2),
        Column::grow("PROGRESS, LAST WORD", 10).rank(10),
        Column::number("HEARD", 6).rank(6),
    ]
}

/// A load as a level and a number, or a dash.
pub(super) fn load_words(glyphs: Glyphs, percent: Option<f64>) -> Words {
    match percent {
        Some(percent) => {
            bar::level(glyphs, percent / 100.0).ink(format!("{percent:>3.0}"), Role::Text)
        }
        None => Words::new().muted("—"),
    }
}

/// The role of the number beside a pressure bar: lit only where it matters.
pub(super) fn pressure_role(pressure: f64) -> Role {
    match bar::load_role(pressure) {
        Role::Fill => Role::Text,
        lit => lit,
    }
}

fn row(worker: &WorkerRow, stale: bool, glyphs: Glyphs) -> Row {
    let lost = worker.standing == Standing::Lost;
    let (pressure_bar, pressure) = match worker.pressure {
        Some(pressure) => (
            bar::bar(glyphs, pressure, BAR, bar::load_role(pressure)),
            Words::new().ink(format!("{pressure:.2}"), pressure_role(pressure)),
        ),
        None => (Words::new().muted("unknown"), Words::new()),
    };
    let slots = match (worker.slots, lost) {
        (_, true) => Words::new().muted("—"),
        (Some(slots), false) => {
            let ink = if worker.active > slots {
                Ink::new(Role::Crit).bold()
            } else {
                Ink::new(Role::Text)
            };
            Words::new().ink(format!("{}/{slots}", worker.active), ink)
        }
        (None, false) => Words::new().text(format!("{}/?", worker.active)),
    };
    let memo = |words: Words, role| match &worker.memo {
        Some(memo) => words.shown(Shown::head_of(memo, 160), role),
        None => words,
    };
    let word = match (worker.standing, worker.percent, worker.stalled) {
        (Standing::Lost, ..) => memo(Words::new().ink("last said: ", Role::Stale), Role::Stale),
        (_, None, _) => match &worker.memo {
            Some(_) => memo(Words::new(), Role::Muted),
            None => Words::new().muted("none yet"),
        },
        (_, Some(percent), Some(stalled)) => memo(
            Words::new().text(format!("{percent}% for {}: ", text::age(stalled))),
            Role::Text,
        ),
        (_, Some(0), None) if worker.memo.is_none() => Words::new().muted("no progress reported"),
        (_, Some(percent), None) => memo(
            Words::new().text(format!("{:<5}", format!("{percent}%"))),
            Role::Text,
        ),
    };
    let heard = match worker.silence {
        Some(silence) => {
            let ink = match worker.standing {
                Standing::Lost => Ink::new(Role::Crit).bold(),
                Standing::Late => Ink::new(Role::Warn),
                _ => Ink::new(Role::Muted),
            };
            Words::new().ink(text::age(silence), ink)
        }
        None => Words::new().muted("never"),
    };
    let named = |name: Option<&str>| match name {
        Some(name) => Words::new().shown(Shown::head_of(name, 24), Role::Muted),
        None => Words::new().muted("—"),
    };
    let mut cells = vec![
        signs::standing_words(glyphs, worker.standing),
        Words::new().shown(Shown::tail_of(worker.id.as_str(), 40), Role::Text),
        named(worker.pool.as_ref().map(|pool| pool.as_str())),
        named(worker.region.as_deref()),
        pressure_bar,
        pressure,
        load_words(glyphs, worker.cpu),
        load_words(glyphs, worker.memory),
        load_words(glyphs, worker.gpu),
        slots,
        signs::lamp(glyphs, worker.lamps[0]),
        signs::lamp(glyphs, worker.lamps[1]),
        signs::lamp(glyphs, worker.lamps[2]),
        word,
        heard,
    ];
    if stale {
        cells = cells
            .into_iter()
            .map(|cell| cell.in_role(Role::Stale))
            .collect();
    }
    Row {
        cells,
        selected: worker.selected,
        marked: false,
        change: None,
    }
}
