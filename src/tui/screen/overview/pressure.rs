//! Pools, the one in trouble soonest first.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{WIDE, focused};
use crate::state::model::pools::Outlook;
use crate::state::ui::ListId;
use crate::text::{self, Shown};
use crate::tui::screen::jobs::inside;
use crate::tui::screen::{Scene, prose};
use crate::tui::theme::Role;
use crate::tui::widget::bar;
use crate::tui::widget::pane::Title;
use crate::tui::widget::table::{Column, Row, Table};
use crate::tui::widget::words::{Ink, Words};
use crate::tui::widget::{indent, split_row};
use crate::view::overview::PressureRow;

/// What comes next for a pool, in two words, and how it is lit.
pub(in crate::tui::screen) fn outlook_words(pool: &PressureRow) -> (String, Role) {
    match pool.outlook {
        Outlook::Stuck | Outlook::Full => {
            let word = match pool.outlook {
                Outlook::Stuck => "stuck",
                _ => "full",
            };
            match pool.lasts {
                Some(lasts) => (format!("{word} {}", text::age(lasts)), Role::Crit),
                None => (word.to_owned(), Role::Crit),
            }
        }
        Outlook::FullIn(left) => {
            let role = if left.as_secs() < 300 {
                Role::Warn
            } else {
                Role::Text
            };
            (format!("full in {}", text::age(left)), role)
        }
        Outlook::DrainsIn(left) => (format!("drains {}", text::age(left)), Role::Text),
        Outlook::Steady => ("steady".to_owned(), Role::Muted),
        Outlook::Unknown => ("?".to_owned(), Role::Muted),
    }
}

pub(super) fn draw(
    scene: &Scene<'_>,
    pools: &[PressureRow],
    shown: usize,
    area: Rect,
    buf: &mut Buffer,
) {
    let pen = scene.pen();
    let (title, table) = split_row(area);
    let hidden = pools.len() - shown.min(pools.len());
    let facts = match hidden {
        0 => "soonest trouble first".to_owned(),
        n => format!(
            "{} not shown, soonest trouble first",
            text::count(n as u64, "pool", "pools")
        ),
    };
    Title::new("Pressure", focused(scene, ListId::Pressure))
        .facts(Words::new().muted(facts))
        .draw(pen, buf, inside(title));
    if pools.is_empty() {
        let words = Words::new().muted("No pool is known: no worker has been heard.");
        pen.put(buf, indent(table, 3), &words);
        return;
    }
    let columns = [
        Column::content("POOL", 7, 16).rank(0).gap(2),
        Column::number("QUEUE", 5).rank(4).gap(2),
        Column::number("IN/m", 5).rank(8).gap(2),
        Column::number("OUT/m", 5).rank(7).gap(2),
        Column::number("NET", 5).rank(5).gap(2),
        Column::fixed("SLOTS", 10).rank(6).gap(1),
        Column::number("", 6).alone("SLOTS").rank(3).gap(2),
        Column::fixed("NEXT", 14).rank(1),
        Column::grow("WHAT BLOCKS IT", 24).rank(2),
    ];
    let rows: Vec<Row> = pools
        .iter()
        .take(shown)
        .map(|pool| pressure_row(scene, pool, area.width < WIDE))
        .collect();
    Table::new(&columns, &rows).draw(pen, buf, table);
}

fn pressure_row(scene: &Scene<'_>, pool: &PressureRow, short: bool) -> Row {
    let rate = |count: u32| match pool.heard {
        true => Words::new().text(format!("{count}.0")),
        false => Words::new().muted("?"),
    };
    let net = i64::from(pool.arrived) - i64::from(pool.ended);
    let net = match (pool.heard, net) {
        (false, _) => Words::new().muted("?"),
        (true, 0) => Words::new().muted("0.0"),
        (true, net) if net > 0 => Words::new().ink(format!("+{net}.0"), Role::Warn),
        (true, net) => Words::new().text(format!("{net}.0")),
    };
    let share = f64::from(pool.slots_used) / f64::from(pool.slots.max(1));
    let slots_bar = if pool.able {
        bar::bar(scene.glyphs, share, 10, bar::load_role(share))
    } else {
        Words::new().ink("no workers", Role::Crit)
    };
    let (next, role) = outlook_words(pool);
    let queue = match pool.queued {
        0 => Words::new().muted("0"),
        n => Words::new().text(text::thousands(u64::from(n))),
    };
    Row {
        cells: vec![
            Words::new().shown(
                Shown::head_of(pool.name.as_str(), 16),
                Ink::new(Role::Text).bold(),
            ),
            queue,
            rate(pool.arrived),
            rate(pool.ended),
            net,
            slots_bar,
            Words::new().text(format!("{}/{}", pool.slots_used, pool.slots)),
            Words::new().ink(next, role),
            prose::words(&pool.blocks[usize::from(short)]),
        ],
        selected: pool.selected && focused(scene, ListId::Pressure),
        ..Row::default()
    }
}
