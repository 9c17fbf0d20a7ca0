//! The queue of approvals. Nothing is approved from here: a row opens its review.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::state::action::Drawn;
use crate::state::model::approvals::ApprovalStatus;
use crate::state::model::approvals::alike::WhatRuns;
use crate::state::ui::ListId;
use crate::text::{self, Shown};
use crate::tui::glyph::Glyph;
use crate::tui::screen::jobs::inside;
use crate::tui::screen::{Scene, missing_screen, prose};
use crate::tui::theme::Role;
use crate::tui::widget::pane::{self, Title};
use crate::tui::widget::table::{Column, Row, Table};
use crate::tui::widget::words::{Ink, Words};
use crate::tui::widget::{indent, split_row, split_rows};
use crate::view::approvals::{self, ApprovalRow, ApprovalsView, DecidedRow, Standing};
use crate::view::missing;

/// From this width on the foot says what the marked ones have in common.
const WIDE: u16 = 100;

/// An answer of the gateway that is older than this is old.
const OLD_SECS: u64 = 12;

/// The parts of a row, so that the overview can draw some of them.
pub(super) struct Cells {
    pub(super) wait: Words,
    pub(super) sla: Words,
    pub(super) held: Words,
    pub(super) action: Words,
    pub(super) rule: Words,
    pub(super) risk: Words,
    pub(super) undo: Words,
    pub(super) requester: Words,
    pub(super) standing: Words,
    pub(super) job: Words,
}

pub(super) fn draw(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) -> Drawn {
    let pen = scene.pen();
    let under = match buf.area.height {
        30.. => 9,
        20.. => 2,
        _ => 0,
    };
    let (title, rest) = split_row(area);
    let decided = approvals::decided(scene.state, 10).rows;
    let marked = !scene
        .state
        .ui
        .list(ListId::Approvals)
        .state
        .marks()
        .is_empty();
    let foot = match buf.area.height {
        34.. => 3,
        30.. => 2,
        16.. if marked => 1,
        _ => 0,
    };
    let (rest, foot_area) = split_rows(rest, rest.height.saturating_sub(foot));
    let waiting = approvals::approvals(scene.state, usize::MAX / 2).passing;
    // The queue gets what it needs before what is under it does.
    let room = rest.height.saturating_sub(under);
    let wanted = u16::try_from(waiting.max(2))
        .unwrap_or(u16::MAX)
        .saturating_add(1);
    let lower = if decided.is_empty() || buf.area.height < 24 {
        0
    } else {
        (decided.len() as u16 + 3).min(room.saturating_sub(wanted.min(room)))
    };
    let lower = if lower < 4 { 0 } else { lower };
    let (table, rest) = split_rows(rest, room - lower);
    let height = usize::from(table.height.saturating_sub(1));
    let view = approvals::approvals(scene.state, height);
    draw_title(scene, &view, title, buf);
    if view.rows.is_empty() {
        let words = if view.filter.is_empty() {
            nothing(scene)
        } else {
            missing_screen::no_match(scene, "approval", None)
        };
        missing_screen::sentence(scene, words, table, buf);
    } else {
        let wide = scene.state.ui.wide() || area.width >= 160;
        let rows = view.rows.iter().map(|row| queue_row(scene, row, wide));
        let rows: Vec<Row> = rows.collect();
        let stale = is_old(&view);
        let rows = if stale { in_stale(rows) } else { rows };
        Table::new(&columns(wide), &rows).draw(pen, buf, table);
    }
    draw_foot(scene, &view, foot_area, buf);
    let (under_area, lower_area) = split_rows(rest, under);
    draw_under(scene, under, under_area, buf);
    if lower > 0 {
        draw_decided(scene, lower_area, buf);
    }
    Drawn {
        height: height as u16,
        rows: u32::try_from(view.passing).unwrap_or(u32::MAX),
        ..Drawn::default()
    }
}

fn is_old(view: &ApprovalsView) -> bool {
    view.told.is_some_and(|told| told.as_secs() > OLD_SECS)
}

fn in_stale(rows: Vec<Row>) -> Vec<Row> {
    rows.into_iter()
        .map(|row| Row {
            cells: row
                .cells
                .into_iter()
                .map(|cell| cell.in_role(Role::Stale))
                .collect(),
            ..row
        })
        .collect()
}

/// Why no approval is shown.
pub(super) fn nothing(scene: &Scene<'_>) -> Words {
    Words::new().muted(nobody_waits(scene))
}

/// Why nobody waits, in a sentence.
pub(super) fn nobody_waits(scene: &Scene<'_>) -> String {
    if !approvals::can_be_known(scene.state) {
        return "Approvals do not travel on the bus. Attach a gateway or Redis to see them."
            .to_owned();
    }
    if scene.state.model.approvals.told_at().is_none() {
        let teller = missing::teller(&scene.state.model);
        return format!("Asking {teller} for approvals.");
    }
    let nobody = "Nobody has to decide anything.";
    match approvals::decided(scene.state, 0).lately {
        0 => nobody.to_owned(),
        1 => format!("{nobody} 1 was decided in the last hour."),
        many => format!("{nobody} {many} were decided in the last hour."),
    }
}

fn draw_title(scene: &Scene<'_>, view: &ApprovalsView, area: Rect, buf: &mut Buffer) {
    let mut facts = Words::new();
    if let (true, Some(told)) = (is_old(view), view.told) {
        facts = facts
            .bold(format!("{} old", text::age(told)), Role::Warn)
            .gap(3);
    }
    facts = facts
        .text(text::thousands(view.waiting as u64))
        .muted(format!(", {}", view.sort));
    if view.marked > 0 {
        facts = facts.bold(format!("   {} marked", view.marked), Role::Accent);
    }
    if !view.filter.is_empty() {
        facts = facts.gap(3).line(&view.filter, Role::Accent);
    }
    if let Some(snapshot) = &view.snapshot {
        facts = facts
            .muted("   snapshot ")
            .line(&text::digest(snapshot), Role::Text);
    }
    Title::new("Waiting for a person", true)
        .facts(facts)
        .draw(scene.pen(), buf, inside(area));
}

/// Width keeps: action, wait, state, undo, job, SLA, risk, rule, held, requester;
/// wide adds tenant, resource and snapshot.
fn columns(wide: bool) -> Vec<Column> {
    let mut columns = vec![
        Column::number("WAIT", 6).rank(1).gap(2),
        Column::number("SLA", 6).rank(5).gap(2),
        Column::number("HELD", 4).rank(8).gap(2),
        Column::grow("ACTION", 21).rank(0),
        Column::content("RULE", 12, 24).rank(7).gap(2),
        Column::content("RISK", 4, 14).rank(6).gap(2),
        Column::fixed("UNDO", 4).rank(3).gap(2),
        Column::content("REQUESTER", 9, 16).rank(9).gap(2),
        Column::content("STATE", 10, 16).rank(2).gap(2),
        Column::fixed("…JOB", 8).rank(4).tail(),
    ];
    if wide {
        columns.push(Column::content("TENANT", 6, 16).rank(10).gap(2));
        columns.push(Column::content("RESOURCE", 8, 24).rank(11).gap(2));
        columns.push(Column::content("SNAPSHOT", 12, 16).rank(12).gap(2));
    }
    columns
}

fn queue_row(scene: &Scene<'_>, row: &ApprovalRow, wide: bool) -> Row {
    let cells = cells(scene, row);
    let outside = |value: Option<&str>| match value {
        Some(value) => Words::new().shown(Shown::head_of(value, 40), Role::Text),
        None => Words::new().muted("unknown"),
    };
    let snapshot = row.snapshot.as_deref().map(text::digest);
    let more = [
        outside(row.tenant.as_deref()),
        outside(row.action.resource.as_deref()),
        outside(snapshot.as_deref()),
    ];
    let mut row = Row {
        cells: vec![
            cells.wait,
            cells.sla,
            cells.held,
            cells.action,
            cells.rule,
            cells.risk,
            cells.undo,
            cells.requester,
            cells.standing,
            cells.job,
        ],
        selected: row.selected,
        marked: row.marked,
        change: None,
    };
    if wide {
        row.cells.extend(more);
    }
    row
}

/// What the marks are for. Nothing is decided in this list.
fn draw_foot(scene: &Scene<'_>, view: &ApprovalsView, area: Rect, buf: &mut Buffer) {
    let area = if area.height > 2 {
        split_row(area).1
    } else {
        area
    };
    let words = Words::new();
    let review = |words: Words| words.bold("a", Role::Accent);
    let wide = area.width >= WIDE;
    let words = match view.marked {
        0 if view.rows.is_empty() => return,
        0 => review(words.muted("Nothing is approved from this list: "))
            .muted(" reviews the row under the cursor."),
        1 => review(words.muted("Nothing is approved from this list. "))
            .muted(" reviews the marked one."),
        marked if wide => review(words.muted(format!(
            "Nothing is approved from this list. The {marked} marked share rule, tenant, action and snapshot: "
        )))
        .muted(" reviews them together."),
        marked => review(words.muted(format!("{marked} marked are alike: ")))
            .muted(" reviews them together."),
    };
    scene.pen().put(buf, indent(area, 3), &words);
}

/// The parts of one row.
pub(super) fn cells(scene: &Scene<'_>, row: &ApprovalRow) -> Cells {
    let sla = match (row.left, row.band) {
        (None, _) => Words::new().muted("—"),
        (Some(left), band) => {
            let ink = match band {
                0 => Ink::new(Role::Crit).bold(),
                1 => Ink::new(Role::Warn),
                _ => Ink::new(Role::Text),
            };
            let says = if left.as_millis() == 0 {
                "passed".to_owned()
            } else {
                text::age(left)
            };
            Words::new().ink(says, ink)
        }
    };
    let held = match row.held {
        None => Words::new().muted("?"),
        Some(0) => Words::new().muted("0"),
        Some(held) => Words::new().text(text::thousands(u64::from(held))),
    };
    let mut risk = Words::new();
    for (at, tag) in row.risk.iter().take(6).enumerate() {
        if at > 0 {
            risk = risk.gap(1);
        }
        risk = risk.shown(Shown::head_of(tag, 24), Role::Text);
    }
    if row.risk.is_empty() {
        risk = risk.muted("none");
    }
    let undo = match row.undo {
        Some(true) => Words::new().text("yes"),
        Some(false) => Words::new().bold("NO", Role::Crit),
        None => Words::new().muted("?"),
    };
    let named = |name: &Option<std::sync::Arc<str>>| match name {
        Some(name) => Words::new().shown(Shown::head_of(name, 60), Role::Text),
        None => Words::new().muted("unknown"),
    };
    Cells {
        wait: Words::new().text(text::age(row.wait)),
        sla,
        held,
        action: action_words(&row.action),
        rule: named(&row.rule),
        risk,
        undo,
        requester: named(&row.requester),
        standing: standing_words(scene, &row.standing),
        job: Words::new().shown(
            Shown::tail_of(text::id_tail(row.id.as_str()), 8),
            Role::Muted,
        ),
    }
}

/// What a job would do, on what.
fn action_words(action: &WhatRuns) -> Words {
    let words = match &action.what {
        Some(what) => Words::new().shown(Shown::head_of(what, 120), Role::Text),
        None => Words::new().muted("unknown"),
    };
    match &action.system {
        Some(system) => words
            .text(" on ")
            .shown(Shown::head_of(system, 60), Role::Text),
        None => words,
    }
}

fn standing_words(scene: &Scene<'_>, standing: &Standing) -> Words {
    let words = Words::new();
    match standing {
        Standing::Ready => words
            .glyph(scene.glyphs, Glyph::Check, Role::Text)
            .text(" ready"),
        Standing::Moved => words
            .glyph(scene.glyphs, Glyph::Moved, Role::Warn)
            .ink(" moved", Role::Warn),
        Standing::Changed => words
            .glyph(scene.glyphs, Glyph::Moved, Ink::new(Role::Crit).bold())
            .bold(" changed", Role::Crit),
        Standing::NotActionable(why) => words
            .glyph(scene.glyphs, Glyph::Cross, Role::Warn)
            .gap(1)
            .shown(Shown::head_of(why, 40), Role::Warn),
        Standing::NoPayload => words
            .glyph(scene.glyphs, Glyph::Cross, Role::Warn)
            .ink(" no payload", Role::Warn),
        Standing::Yours if scene.glyphs.is_ascii() => words.muted("- yours"),
        Standing::Yours => words.muted("– yours"),
        Standing::Deciding => words.ink("… deciding", Role::Accent),
        Standing::Ended(status) => {
            let (glyph, role) = ended(*status);
            words
                .glyph(scene.glyphs, glyph, role)
                .ink(format!(" {}", status.name()), role)
        }
    }
}

fn draw_under(scene: &Scene<'_>, rows: u16, area: Rect, buf: &mut Buffer) {
    let pen = scene.pen();
    let Some((id, sentence, facts)) = approvals::under_cursor(scene.state) else {
        return;
    };
    if rows < 4 {
        let words = prose::words(&sentence);
        pen.put(buf, indent(split_row(area).1, 3), &words);
        return;
    }
    let (title, rest) = split_row(inside(split_row(area).1));
    Title::new("Under the cursor", false)
        .facts(Words::new().line(id.as_str(), Role::Muted))
        .draw(pen, buf, title);
    let text = indent(rest, 2);
    let width = usize::from(text.width);
    let bold: Vec<Words> = prose::words(&sentence)
        .all_bold()
        .wrap(width)
        .into_iter()
        .take(2)
        .collect();
    let left = pane::rows(pen, buf, text, &bold);
    let (_, left) = split_row(left);
    let lines: Vec<Words> = facts
        .iter()
        .map(|fact| pane::fact(fact.label, prose::words(&fact.value)))
        .collect();
    // Facts stand in two columns: there are more of them than rows.
    let half = lines.len().div_ceil(2);
    let column = left.width * 7 / 12;
    let room = usize::from(column.saturating_sub(2));
    let firsts: Vec<Words> = lines[..half]
        .iter()
        .map(|line| line.clone().head(room))
        .collect();
    pane::rows(pen, buf, left, &firsts);
    let right = indent(left, column);
    pane::rows(pen, buf, right, &lines[half..]);
}

fn draw_decided(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
    let pen = scene.pen();
    let (_, rest) = split_row(area);
    let (title, table) = split_row(rest);
    let height = usize::from(table.height.saturating_sub(1));
    let view = approvals::decided(scene.state, height);
    // What does not fit is counted in the place of the last row.
    let shown = if view.total > height {
        height.saturating_sub(1)
    } else {
        view.rows.len()
    };
    let facts = format!(
        "{}: {} by a person, {} without one",
        text::thousands(view.total as u64),
        text::thousands(view.by_a_person as u64),
        text::thousands((view.total - view.by_a_person) as u64)
    );
    Title::new("Decided", false)
        .facts(Words::new().muted(facts))
        .draw(pen, buf, inside(title));
    let columns = [
        Column::content("AT", 9, 12).rank(2).gap(2),
        Column::fixed("OUTCOME", 13).rank(0).gap(2),
        Column::grow("ACTION", 20).rank(1),
        Column::content("RULE", 12, 24).rank(5).gap(2),
        Column::content("BY", 8, 16).rank(3).gap(2),
        Column::content("NOTE OR REASON", 14, 40).rank(6).gap(2),
        Column::fixed("…JOB", 8).rank(4).tail(),
    ];
    let now = scene.state.ui.shown_at(scene.state.now);
    let rows: Vec<Row> = view
        .rows
        .iter()
        .take(shown)
        .map(|row| decided_row(scene, row, now))
        .collect();
    Table::new(&columns, &rows).draw(pen, buf, table);
    if shown < view.total {
        let (_, last) = split_rows(table, table.height.saturating_sub(1));
        let more = text::thousands((view.total - shown) as u64);
        pen.put(
            buf,
            indent(last, 3),
            &Words::new().muted(format!("{more} more")),
        );
    }
}

/// The sign of an approval that has ended.
fn ended(status: ApprovalStatus) -> (Glyph, Role) {
    match status {
        ApprovalStatus::Approved => (Glyph::Check, Role::Text),
        ApprovalStatus::Rejected => (Glyph::Denied, Role::Text),
        ApprovalStatus::Expired => (Glyph::Timeout, Role::Warn),
        ApprovalStatus::Invalidated => (Glyph::Moved, Role::Warn),
        ApprovalStatus::Repaired | ApprovalStatus::Pending => (Glyph::Dot, Role::Muted),
    }
}

fn decided_row(scene: &Scene<'_>, row: &DecidedRow, now: crate::time::Timestamp) -> Row {
    let (glyph, role) = ended(row.status);
    let outside = |value: &Option<std::sync::Arc<str>>, missing: &str| match value {
        Some(value) => Words::new().shown(Shown::head_of(value, 120), Role::Text),
        None => Words::new().muted(missing),
    };
    // What ended without a person is nobody's decision, never a rejection; a part of
    // the plane that the record names in a person's place is no person either.
    let (by, how) = match row.status {
        ApprovalStatus::Expired => (Words::new().muted("nobody"), "its deadline passed"),
        ApprovalStatus::Invalidated => (Words::new().muted("nobody"), "policy or request moved"),
        ApprovalStatus::Repaired => (Words::new().muted("nobody"), "the plane mended its record"),
        ApprovalStatus::Approved | ApprovalStatus::Rejected | ApprovalStatus::Pending => {
            (outside(&row.by, "unknown"), "—")
        }
    };
    Row {
        cells: vec![
            match row.at {
                Some(at) => Words::new().muted(text::clock_near(at, now)),
                None => Words::new().muted("unknown"),
            },
            Words::new()
                .glyph(scene.glyphs, glyph, role)
                .ink(format!(" {}", row.status.name()), role),
            action_words(&row.action),
            outside(&row.rule, "unknown"),
            by,
            outside(&row.comment, how),
            Words::new().shown(
                Shown::tail_of(text::id_tail(row.id.as_str()), 8),
                Role::Muted,
            ),
        ],
        ..Row::default()
    }
}
