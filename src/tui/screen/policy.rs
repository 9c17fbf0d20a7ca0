//! Policy: rules, kernel, snapshots.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::state::action::Drawn;
use crate::state::model::jobs::Decision;
use crate::state::ui::ListId;
use crate::text::{self, Shown};
use crate::tui::glyph::{Glyph, Glyphs};
use crate::tui::screen::jobs::inside;
use crate::tui::screen::{Scene, missing_screen, prose, what_if};
use crate::tui::theme::Role;
use crate::tui::widget::pane::{self, Title};
use crate::tui::widget::table::{Column, Row, Table};
use crate::tui::widget::words::{Ink, Words};
use crate::tui::widget::{indent, split_row, split_rows};
use crate::view::policy::{self, Health, PolicyView, RuleRow};

/// From this width on kernel and snapshots stand beside the rules.
const WIDE: u16 = 100;

/// Cells of the panes at the right, the gap before them included.
const SIDE: u16 = 42;

pub(super) fn draw(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) -> Drawn {
    let (above, below) = what_if::split(scene, area);
    let rules = (!above.is_empty()).then(|| draw_rules(scene, above, buf));
    let flips = (!below.is_empty()).then(|| what_if::draw(scene, below, buf));
    let drawn = if in_flips(scene) { flips } else { rules };
    drawn.unwrap_or_default()
}

fn in_flips(scene: &Scene<'_>) -> bool {
    scene.state.ui.list_id() == ListId::Flips
}

fn draw_rules(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) -> Drawn {
    let wide = area.width >= WIDE;
    // What does not depend on the height is asked for with none.
    let facts = policy::policy(scene.state, 0);
    let (left, right) = if wide {
        let side = SIDE.max(area.width / 3);
        let left = Rect {
            width: area.width - side,
            ..area
        };
        (left, indent(area, area.width - side + 2))
    } else {
        let (above, below) = split_rows(area, 2);
        brief(scene, &facts, above, buf);
        (below, Rect::ZERO)
    };
    let (title, rest) = split_row(left);
    let foot = u16::from(!facts.below.is_empty() && rest.height > 6) * 2;
    let rows = (facts.passing.min(2_000) as u16).saturating_add(1);
    let (table, below) = split_rows(rest, rest.height.saturating_sub(foot).min(rows.max(2)));
    let height = table.height.saturating_sub(1);
    let view = policy::policy(scene.state, usize::from(height));
    draw_title(scene, &view, title, buf);
    if view.rows.is_empty() {
        let words = match (&view.missing, view.filter.is_empty()) {
            (_, false) => missing_screen::no_match(scene, "rule", Some(view.known)),
            (Some(why), true) => {
                missing_screen::asking(scene).unwrap_or_else(|| prose::in_role(why, Role::Muted))
            }
            (None, true) => Words::new().muted("No rule has decided anything yet."),
        };
        missing_screen::sentence_here(scene, words, rest, buf);
    } else {
        let all = left.width >= 70;
        let columns = columns(all);
        let rows: Vec<Row> = view
            .rows
            .iter()
            .map(|row| {
                let mut drawn = rule_row(row, all, scene.glyphs);
                drawn.selected &= !in_flips(scene);
                if view.old.is_some() {
                    let cells = std::mem::take(&mut drawn.cells);
                    let cells = cells.into_iter().map(|cell| cell.in_role(Role::Stale));
                    drawn.cells = cells.collect();
                }
                drawn
            })
            .collect();
        Table::new(&columns, &rows).draw(scene.pen(), buf, table);
        if foot > 0 {
            let area = indent(below, 3);
            let area = Rect {
                width: area.width.saturating_sub(1),
                ..area
            };
            let lines = prose::in_role(&view.below, Role::Muted).wrap(usize::from(area.width));
            pane::rows(scene.pen(), buf, area, &lines);
        }
    }
    if wide {
        side(scene, &view, right, buf);
    }
    Drawn {
        height,
        rows: u32::try_from(view.passing).unwrap_or(u32::MAX),
        ..Drawn::default()
    }
}

fn draw_title(scene: &Scene<'_>, view: &PolicyView, area: Rect, buf: &mut Buffer) {
    let mut facts = old_words(view);
    if !view.filter.is_empty() {
        facts = facts
            .text(view.passing.to_string())
            .muted(format!(" of {} match ", view.known))
            .line(&view.filter, Role::Accent)
            .gap(3);
    } else if view.rows.len() < view.passing {
        facts = facts.muted(format!(
            "{}-{} of {}   ",
            view.first + 1,
            view.first + view.rows.len(),
            view.passing
        ));
    }
    if view.sort != "attention first" {
        facts = facts.muted(format!("{}   ", view.sort));
    }
    Title::new("Rules, first match wins", !in_flips(scene))
        .facts(facts.muted(view.hits.clone()))
        .draw(scene.pen(), buf, inside(area));
}

fn columns(all: bool) -> Vec<Column> {
    let mut columns = vec![
        Column::number("#", 2).rank(1).gap(1),
        Column::grow("RULE", 14).rank(0).gap(1),
        Column::fixed("DOES", 18).rank(2).gap(1),
    ];
    if all {
        columns.extend([
            Column::number("ALLOW", 6).rank(4),
            Column::number("LIMIT", 6).rank(5),
            Column::number("ASK", 4).rank(6),
            Column::number("THROTTLE", 8).rank(7),
            Column::number("DENY", 5).rank(8),
        ]);
    } else {
        columns.push(Column::number("HITS", 6).rank(3));
    }
    columns
}

/// What a rule decides: its sign and its word.
pub(in crate::tui) fn does(decision: Option<Decision>) -> (Glyph, &'static str, Ink) {
    let (glyph, role) = match decision {
        Some(Decision::Allow) => (Glyph::Check, Role::Text),
        Some(Decision::AllowWithConstraints) => (Glyph::Constrained, Role::Limit),
        Some(Decision::RequireApproval) => (Glyph::Human, Role::Human),
        Some(Decision::Throttle) => (Glyph::Throttle, Role::Warn),
        Some(Decision::Deny) => (Glyph::Denied, Role::Crit),
        Some(Decision::Unavailable) | None => (Glyph::Dot, Role::Muted),
    };
    let word = decision.map_or("unknown", Decision::effect);
    (glyph, word, role.into())
}

fn rule_row(row: &RuleRow, all: bool, glyphs: Glyphs) -> Row {
    // A rule that decides nothing steps back, whatever it would decide.
    let idle = row.hits() == 0;
    let role = if idle { Role::Muted } else { Role::Text };
    let number = match (row.number, &row.id) {
        (Some(number), _) => Words::new().ink(number.to_string(), role),
        (None, None) => Words::new().muted("·"),
        (None, Some(_)) => Words::new().muted("—"),
    };
    let name = match &row.id {
        Some(id) => Words::new().shown(Shown::head_of(id, 60), role),
        None => Words::new().ink("no rule matched", role),
    };
    let (glyph, word, ink) = does(row.decision);
    let ink = if idle { Ink::new(Role::Muted) } else { ink };
    let mut cells = vec![
        number,
        name,
        Words::new()
            .glyph(glyphs, glyph, ink)
            .ink(format!(" {word}"), ink),
    ];
    let count = |count: u64| match count {
        0 => Words::new().muted("·"),
        n => Words::new().text(text::thousands(n)),
    };
    if all {
        cells.extend(row.counts.map(count));
    } else {
        cells.push(count(row.hits()));
    }
    Row {
        cells,
        selected: row.selected,
        ..Row::default()
    }
}

fn health(health: Health) -> (Glyph, Ink) {
    match health {
        Health::Healthy => (Glyph::Check, Role::Ok.into()),
        Health::Slow => (Glyph::Late, Role::Warn.into()),
        Health::Down => (Glyph::Cross, Ink::new(Role::Crit).bold()),
        Health::Unknown => (Glyph::Dot, Role::Muted.into()),
    }
}

fn kernel_words(view: &PolicyView, glyphs: Glyphs) -> Words {
    let (glyph, ink) = health(view.kernel.health);
    let ink = match view.old {
        Some(_) => Role::Stale.into(),
        None => ink,
    };
    old_words(view)
        .glyph(glyphs, glyph, ink)
        .ink(format!(" {}", view.kernel.word), ink)
}

/// `35s old` before what nobody told again since.
fn old_words(view: &PolicyView) -> Words {
    match view.old {
        Some(old) => Words::new()
            .bold(format!("{} old", text::age(old)), Role::Warn)
            .gap(3),
        None => Words::new(),
    }
}

/// Kernel and snapshot in two lines.
fn brief(scene: &Scene<'_>, view: &PolicyView, area: Rect, buf: &mut Buffer) {
    let kernel = Words::new()
        .muted("kernel")
        .to(11)
        .then(kernel_words(view, scene.glyphs));
    let breaker = view
        .kernel
        .facts
        .iter()
        .find(|fact| fact.label == "breaker");
    let kernel = match breaker {
        Some(fact) => kernel.muted("   breaker ").then(prose::words(&fact.value)),
        None => kernel,
    };
    let current = view.snapshots.iter().find(|row| row.current);
    let snapshot = Words::new().muted("snapshot").to(11);
    let snapshot = match current {
        Some(row) => snapshot
            .glyph(scene.glyphs, Glyph::Check, Role::Ok)
            .gap(1)
            .line(&policy::short(&row.name), Role::Text)
            .muted(format!("   {}", row.since)),
        None => snapshot.muted("unknown: nobody has told"),
    };
    pane::rows(scene.pen(), buf, indent(area, 3), &[kernel, snapshot]);
}

fn side(scene: &Scene<'_>, view: &PolicyView, area: Rect, buf: &mut Buffer) {
    let pen = scene.pen();
    let area = Rect {
        width: area.width.saturating_sub(1),
        ..area
    };
    let (title, rest) = split_row(area);
    Title::new("Kernel", false)
        .facts(kernel_words(view, scene.glyphs))
        .draw(pen, buf, title);
    let inner = |area: Rect| indent(area, 2);
    let width = usize::from(area.width.saturating_sub(2));
    let mut lines = Vec::new();
    for fact in &view.kernel.facts {
        let words = prose::words(&fact.value).strong_in(Role::Crit);
        lines.extend(pane::fact_rows(fact.label, &words, width));
    }
    let rest = pane::rows(pen, buf, inner(rest), &lines);
    let rest = Rect {
        x: area.x,
        width: area.width,
        ..split_row(rest).1
    };
    let (title, rest) = split_row(rest);
    let old = match view.old {
        Some(old) => Words::new().bold(format!("{} old", text::age(old)), Role::Warn),
        None => Words::new(),
    };
    Title::new("Snapshots", false)
        .facts(old)
        .draw(pen, buf, title);
    let ended = prose::words(&view.ended).wrap(width);
    let ended: Vec<Words> = if view.ended.is_empty() {
        Vec::new()
    } else {
        ended
    };
    let room = usize::from(rest.height).saturating_sub(ended.len() + 1);
    let mut lines: Vec<Words> = view
        .snapshots
        .iter()
        .take(room)
        .map(|row| {
            let role = if row.current { Role::Text } else { Role::Muted };
            let words = if row.current {
                Words::new()
                    .glyph(scene.glyphs, Glyph::Check, Role::Ok)
                    .gap(1)
            } else {
                Words::new().gap(2)
            };
            let words = words
                .line(&policy::short(&row.name), role)
                .to(16)
                .ink(row.since.clone(), role);
            if row.current {
                words.muted("  current")
            } else {
                words
            }
        })
        .collect();
    if lines.is_empty() {
        lines.push(Words::new().muted("unknown: nobody has told"));
    }
    if !ended.is_empty() {
        lines.push(Words::new());
        lines.extend(ended);
    }
    pane::rows(pen, buf, inner(rest), &lines);
}

/// One line a row, for the smallest screens.
pub(super) fn least_rows(scene: &Scene<'_>, height: usize) -> Vec<(bool, Words)> {
    if let Some(rows) = what_if::least_rows(scene, height) {
        return rows;
    }
    let view = policy::policy(scene.state, height);
    let rows = view.rows.iter();
    rows.map(|row| {
        let (glyph, _, ink) = does(row.decision);
        let role = if row.hits() == 0 {
            Role::Muted
        } else {
            Role::Text
        };
        let name = row.id.as_deref().unwrap_or("no rule matched");
        let hits = match row.hits() {
            0 => "·".to_owned(),
            n => text::thousands(n),
        };
        let words = Words::new()
            .glyph(scene.glyphs, glyph, ink)
            .gap(1)
            .shown(Shown::head_of(name, 24), role)
            .to(28)
            .ink(format!("{hits:>8}"), role);
        (row.selected, words)
    })
    .collect()
}
