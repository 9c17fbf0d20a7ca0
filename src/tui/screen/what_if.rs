//! What a candidate policy would change: the pane below the rules.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::state::action::Drawn;
use crate::state::ui::ListId;
use crate::text::{self, Shown};
use crate::tui::glyph::Glyphs;
use crate::tui::screen::jobs::inside;
use crate::tui::screen::policy::does;
use crate::tui::screen::{Scene, prose};
use crate::tui::theme::Role;
use crate::tui::widget::pane::{self, Title};
use crate::tui::widget::table::{Column, Row, Table};
use crate::tui::widget::words::Words;
use crate::tui::widget::{indent, split_row, split_rows};
use crate::view::what_if::pane::{FlipRow, WhatIfView, what_if};

/// From this width on the title says what its numbers are of.
const WIDE: u16 = 100;

/// Under this height rules and pane do not share the screen: the one with the
/// keyboard has it.
const BOTH: u16 = 15;

/// Divides the view between the rules and the pane, as far as each has something to
/// say; either may be without a row.
pub(super) fn split(scene: &Scene<'_>, area: Rect) -> (Rect, Rect) {
    let Some(view) = what_if(scene.state, 0) else {
        return (area, Rect::ZERO);
    };
    if area.height < BOTH {
        return if focused(scene) {
            (Rect::ZERO, area)
        } else {
            (area, Rect::ZERO)
        };
    }
    let parts = Parts::of(&view, area.width);
    let wanted = parts.height(table_rows(&view));
    let height = wanted.min(area.height / 2);
    let (rules, below) = split_rows(area, area.height - height - 1);
    (rules, split_row(below).1)
}

fn focused(scene: &Scene<'_>) -> bool {
    scene.state.ui.list_id() == ListId::Flips
}

/// Lines of the table: its head and all rows, or what stands in their place.
fn table_rows(view: &WhatIfView) -> u16 {
    match view.flips.min(500) as u16 {
        0 => u16::from(view.asking.is_some() || !view.none.is_empty()),
        flips => flips + 1,
    }
}

/// What stands below the rows.
struct Parts {
    notice: Vec<Words>,
    below: Vec<Words>,
}

impl Parts {
    fn of(view: &WhatIfView, width: u16) -> Self {
        let room = usize::from(width.saturating_sub(7));
        let lines = |words: Words| {
            if words.is_empty() {
                Vec::new()
            } else {
                words.wrap(room)
            }
        };
        let role = if view.wrong { Role::Warn } else { Role::Text };
        let asking = view.asking.as_ref().filter(|_| view.flips > 0);
        let below = match asking {
            Some(asking) => Words::new().muted(asking.clone()),
            None => prose::in_role(&view.below, Role::Muted),
        };
        Self {
            notice: lines(prose::in_role(&view.notice, role)),
            below: lines(below),
        }
    }

    /// Lines with a title and so many lines of a table.
    fn height(&self, table: u16) -> u16 {
        let part = |lines: &[Words]| match lines.len() as u16 {
            0 => 0,
            n => n + 1,
        };
        1 + table + part(&self.notice) + part(&self.below)
    }
}

pub(super) fn draw(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) -> Drawn {
    let pen = scene.pen();
    let Some(view) = what_if(scene.state, 0) else {
        return Drawn::default();
    };
    let (title, rest) = split_row(area);
    draw_title(scene, &view, title, buf);
    let parts = Parts::of(&view, area.width);
    let said = |lines: &[Words]| lines.len() as u16;
    // Blank lines go before words, and the rows give way to what is lost.
    let words = said(&parts.notice) + said(&parts.below);
    let blanks = u16::from(!parts.notice.is_empty()) + u16::from(!parts.below.is_empty());
    let rows = table_rows(&view);
    let airy = rows + words + blanks <= rest.height;
    let gap = u16::from(airy);
    let table = rows.min(rest.height.saturating_sub(words).max(2));
    let (table, mut below) = split_rows(rest, table);
    let height = table.height.saturating_sub(1);
    let seen = what_if(scene.state, usize::from(height)).unwrap_or(view);
    if seen.rows.is_empty() {
        let words = match &seen.asking {
            Some(asking) => Words::new().muted(asking.clone()),
            None => prose::in_role(&seen.none, Role::Muted),
        };
        let room = usize::from(table.width.saturating_sub(5));
        pane::rows(pen, buf, indent(table, 3), &words.wrap(room));
    } else {
        let columns = columns();
        let rows: Vec<Row> = seen
            .rows
            .iter()
            .map(|row| {
                let mut drawn = flip_row(row, seen.stale, scene.glyphs);
                drawn.selected &= focused(scene);
                drawn
            })
            .collect();
        Table::new(&columns, &rows).draw(pen, buf, table);
    }
    if !parts.notice.is_empty() {
        below = split_rows(below, gap).1;
        let role = if seen.wrong || seen.title.is_empty() {
            Role::Warn
        } else {
            Role::Accent
        };
        let area = Rect {
            width: below.width.saturating_sub(5),
            ..indent(below, 3)
        };
        let taken = pane::notice(pen, buf, area, role, &parts.notice);
        below = split_rows(below, taken).1;
    }
    if !parts.below.is_empty() {
        below = split_rows(below, gap).1;
        pane::rows(pen, buf, indent(below, 3), &parts.below);
    }
    Drawn {
        height,
        rows: u32::try_from(seen.flips).unwrap_or(u32::MAX),
        ..Drawn::default()
    }
}

fn draw_title(scene: &Scene<'_>, view: &WhatIfView, area: Rect, buf: &mut Buffer) {
    let mut facts = Words::new();
    if let Some(old) = view.old {
        facts = facts.muted(format!("asked {} ago", text::age(old))).gap(3);
    }
    let title = if area.width < WIDE {
        &view.short_title
    } else {
        &view.title
    };
    let facts = facts.then(prose::words(title));
    Title::new("What if", focused(scene))
        .facts(facts)
        .draw(scene.pen(), buf, inside(area));
}

fn columns() -> [Column; 6] {
    [
        Column::fixed("WAS", 18).rank(2).gap(2),
        Column::fixed("WOULD BE", 18).rank(0).gap(2),
        Column::number("JOBS", 6).rank(1).gap(2),
        Column::fixed("BY RULE", 19).rank(4).gap(2),
        Column::grow("FIRST REASON", 16).rank(5),
        Column::fixed("…JOB", 10).rank(3).gap(0),
    ]
}

fn flip_row(row: &FlipRow, stale: bool, glyphs: Glyphs) -> Row {
    let decision = |decision| {
        let (glyph, word, ink) = does(decision);
        Words::new()
            .glyph(glyphs, glyph, ink)
            .ink(format!(" {word}"), ink)
    };
    let none = || Words::new().muted("—");
    let cells = vec![
        decision(row.was),
        decision(row.would_be),
        Words::new().text(text::thousands(row.jobs)),
        match &row.rule_id {
            Some(rule) => Words::new().shown(Shown::head_of(rule, 60), Role::Text),
            None => Words::new().muted("no rule matched"),
        },
        match &row.reason {
            Some(reason) => Words::new().shown(Shown::head_of(reason, 120), Role::Text),
            None => none(),
        },
        match &row.job {
            Some(job) => Words::new().line(text::id_tail(job.as_str()), Role::Text),
            None => none(),
        },
    ];
    Row {
        cells: if stale {
            let stale = cells.into_iter().map(|cell| cell.in_role(Role::Stale));
            stale.collect()
        } else {
            cells
        },
        selected: row.selected,
        ..Row::default()
    }
}

/// One line a row, for the smallest screens; `None` where the pane has no keyboard.
pub(super) fn least_rows(scene: &Scene<'_>, height: usize) -> Option<Vec<(bool, Words)>> {
    if !focused(scene) {
        return None;
    }
    let view = what_if(scene.state, height)?;
    let says = |says: Words| vec![(false, says)];
    if view.wrong {
        return Some(says(prose::in_role(&view.notice, Role::Warn)));
    }
    if view.rows.is_empty() {
        let words = match view.asking {
            Some(asking) => Words::new().muted(asking),
            None => prose::in_role(&view.none, Role::Muted),
        };
        return Some(says(words));
    }
    let rows = view.rows.iter().map(|row| {
        let (was, _, was_ink) = does(row.was);
        let (glyph, word, ink) = does(row.would_be);
        let words = Words::new()
            .glyph(scene.glyphs, was, was_ink)
            .muted(" to ")
            .glyph(scene.glyphs, glyph, ink)
            .ink(format!(" {word}"), ink)
            .to(26)
            .text(format!("{:>8}", text::thousands(row.jobs)));
        (row.selected, words)
    });
    let notice = (!view.notice.is_empty()).then(|| {
        let words = prose::in_role(&view.notice, Role::Warn);
        (false, words)
    });
    Some(notice.into_iter().chain(rows).collect())
}
