//! The overview.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::state::action::Drawn;
use crate::state::model::jobs::{Decision, JobState};
use crate::state::model::pools::Outlook;
use crate::state::ui::ListId;
use crate::state::ui::order::alert_row;
use crate::text::{self, Shown};
use crate::tui::glyph::Glyph;
use crate::tui::screen::jobs::inside;
use crate::tui::screen::{Scene, approvals, missing_screen, prose, signs};
use crate::tui::theme::Role;
use crate::tui::widget::bar::{self, Part};
use crate::tui::widget::pane::Title;
use crate::tui::widget::table::{Column, Row, Table};
use crate::tui::widget::words::{Ink, Words};
use crate::tui::widget::{indent, split_row, split_rows};
use crate::view::overview::{self, PressureRow, RollbackRow, StateCount};
use crate::view::{self};
use crate::wire::packet::AlertSeverity;

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
    draw_pipeline(scene, wide, pipeline, buf);
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
    draw_pressure(scene, &pools, shown, pressure, buf);
    let rest = blank(rest);
    let (middle, rest) = split_rows(rest, middle_rows);
    if middle_rows == 7 {
        let (left, right) = halves(middle, 75);
        if decisions.is_empty() {
            draw_wire(scene, middle, buf);
        } else {
            draw_decisions(scene, &decisions, left, buf);
            draw_wire(scene, right, buf);
        }
    } else if middle_rows == 2 {
        draw_decisions_line(scene, &decisions, middle, buf);
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
        draw_oldest(scene, left, buf);
        draw_alerts(scene, right, buf);
        if undone > 0 {
            draw_rollbacks(scene, &rollbacks, split_row(rest).1, buf);
        }
        lists.height.saturating_sub(2)
    } else {
        let room = rest.height.saturating_sub(alert_rows);
        let (oldest, rest) = split_rows(rest, room.min(2 + LISTED));
        draw_oldest(scene, oldest, buf);
        if rollbacks.is_empty() {
            draw_alerts(scene, rest, buf);
        } else {
            let (left, right) = halves(rest, 59);
            draw_alerts(scene, left, buf);
            draw_rollbacks(scene, &rollbacks, right, buf);
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

fn draw_pipeline(scene: &Scene<'_>, wide: bool, area: Rect, buf: &mut Buffer) {
    let (in_flight, ended) = overview::pipeline(scene.state);
    let sum = |counts: &[StateCount]| counts.iter().map(|it| u64::from(it.count)).sum::<u64>();
    let (flying, over) = (sum(&in_flight), sum(&ended));
    let all: Vec<&StateCount> = in_flight.iter().chain(&ended).collect();
    let (left, right) = halves(area, 59);
    if wide {
        counts_pane(
            scene,
            "In flight",
            text::count(flying, "job", "jobs"),
            in_flight.iter(),
            left,
            buf,
        );
        counts_pane(
            scene,
            "Ended",
            format!("{} kept", text::count(over, "job", "jobs")),
            ended.iter(),
            right,
            buf,
        );
    } else {
        counts_pane(
            scene,
            "Pipeline",
            format!(
                "{} in flight, {} ended",
                text::thousands(flying),
                text::thousands(over)
            ),
            all.into_iter(),
            area,
            buf,
        );
    }
}

fn counts_pane<'a>(
    scene: &Scene<'_>,
    name: &str,
    facts: String,
    counts: impl Iterator<Item = &'a StateCount>,
    area: Rect,
    buf: &mut Buffer,
) {
    let pen = scene.pen();
    let (title, rest) = split_row(area);
    Title::new(name, false)
        .facts(Words::new().muted(facts))
        .draw(pen, buf, inside(title));
    let (mut labels, mut numbers, mut changes) = (Words::new(), Words::new(), Words::new());
    for count in counts {
        let (_, word, ink) = signs::job_state(Some(count.state));
        let word = if area.width < WIDE / 2 + 5 || area.width == buf.area.width {
            short_state(count.state, word, area.width)
        } else {
            word
        };
        let number = text::thousands(u64::from(count.count));
        let width = word.len().max(number.len());
        let gap = usize::from(!labels.is_empty());
        labels = labels.gap(gap + width - word.len()).muted(word);
        let ink = match count.state {
            _ if count.count == 0 => Ink::new(Role::Muted),
            JobState::ApprovalRequired => ink,
            _ => Ink::new(Role::Text).bold(),
        };
        numbers = numbers.gap(gap + width - number.len()).ink(number, ink);
        let change = match count.change {
            None | Some(0) => String::new(),
            Some(more) => text::signed(more),
        };
        changes = changes
            .gap(gap + width.saturating_sub(change.len()))
            .muted(change);
    }
    let (first, rest) = split_row(rest);
    let (second, third) = split_row(rest);
    pen.put(buf, indent(first, 2), &labels);
    pen.put(buf, indent(second, 2), &numbers);
    pen.put(buf, indent(third, 2), &changes);
}

/// States by short words where twelve of them stand in one row.
fn short_state(state: JobState, word: &'static str, width: u16) -> &'static str {
    if width >= WIDE {
        return word;
    }
    match state {
        JobState::Pending => "pend",
        JobState::ApprovalRequired => "appr",
        JobState::Scheduled => "sched",
        JobState::Dispatched => "disp",
        JobState::Running => "run",
        JobState::Retrying => "retry",
        JobState::Succeeded => "ok",
        JobState::Failed => "failed",
        JobState::Denied => "denied",
        JobState::Timeout => "timeout",
        JobState::Cancelled => "canc",
        JobState::OutputQuarantined => "quar",
    }
}

/// What comes next for a pool, in two words, and how it is lit.
pub(super) fn outlook_words(pool: &PressureRow) -> (String, Role) {
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

fn draw_pressure(
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

fn outcome(decision: Decision) -> (&'static str, Role) {
    match decision {
        Decision::Allow => ("allow", Role::Fill),
        Decision::AllowWithConstraints => ("constrained", Role::Limit),
        Decision::RequireApproval => ("approval", Role::Human),
        Decision::Throttle => ("throttle", Role::Warn),
        Decision::Deny => ("deny", Role::Crit),
        Decision::Unavailable => ("no answer", Role::Warn),
    }
}

fn draw_decisions(
    scene: &Scene<'_>,
    decisions: &[overview::DecisionRow],
    area: Rect,
    buf: &mut Buffer,
) {
    let pen = scene.pen();
    let total: u64 = decisions.iter().map(|row| row.count).sum();
    let (title, rest) = split_row(area);
    Title::new("Decisions", false)
        .facts(Words::new().muted(format!("{} in the last 5 min", text::thousands(total))))
        .draw(pen, buf, inside(title));
    let chart = usize::from(area.width).saturating_sub(30);
    let parts: Vec<Part> = decisions
        .iter()
        .map(|row| Part {
            amount: row.count,
            role: outcome(row.decision).1,
        })
        .collect();
    let (stacked, mut left) = split_row(rest);
    let words = Words::new()
        .to(26)
        .then(bar::stacked(scene.glyphs, &parts, chart));
    pen.put(buf, indent(stacked, 3), &words);
    for row in decisions {
        let (line, below) = split_row(left);
        left = below;
        if line.is_empty() {
            break;
        }
        let (word, role) = outcome(row.decision);
        let count = text::thousands(row.count);
        let percent = row.count as f64 * 100.0 / total.max(1) as f64;
        let from = row.series.len().saturating_sub(chart);
        let words = Words::new()
            .text(word)
            .to(17usize.saturating_sub(count.len()))
            .text(count)
            .muted(format!("  {percent:>4.1}%  "))
            .to(26)
            .then(bar::sparkline(scene.glyphs, &row.series[from..], role));
        pen.put(buf, indent(line, 3), &words);
    }
}

fn draw_decisions_line(
    scene: &Scene<'_>,
    decisions: &[overview::DecisionRow],
    area: Rect,
    buf: &mut Buffer,
) {
    let pen = scene.pen();
    let total: u64 = decisions.iter().map(|row| row.count).sum();
    let (title, line) = split_row(area);
    Title::new("Decisions", false)
        .facts(Words::new().muted(format!("{} in 5 min", text::thousands(total))))
        .draw(pen, buf, inside(title));
    let mut words = Words::new();
    for row in decisions {
        let (word, role) = outcome(row.decision);
        let role = if role == Role::Fill { Role::Text } else { role };
        let percent = row.count as f64 * 100.0 / total.max(1) as f64;
        words = words
            .ink(format!("{word} "), role)
            .muted(format!("{percent:.0}%"))
            .gap(2);
    }
    pen.put(buf, indent(line, 3), &words);
}

fn draw_wire(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
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

fn draw_oldest(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
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

fn draw_alerts(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
    let pen = scene.pen();
    let (model, now) = view::shown(scene.state);
    let alerts = overview::alerts(model, now);
    let is_focused = focused(scene, ListId::Alerts);
    let (title, table) = split_row(area);
    let is_heard = view::frame::hears_alerts(model);
    let facts = match alerts.len() {
        0 if !is_heard => Words::new().muted("unknown"),
        0 => Words::new().muted("0 firing"),
        n => Words::new().bold(format!("{n} firing"), Role::Crit),
    };
    Title::new("Alerts", is_focused)
        .facts(facts)
        .draw(pen, buf, inside(title));
    if alerts.is_empty() {
        let last = model.alerts.iter().map(|alert| alert.last).max();
        let words = match last {
            Some(last) => Words::new().muted(format!(
                "No alert fires. The last one was heard at {}.",
                text::clock_near(last, now)
            )),
            None if !is_heard => {
                Words::new().muted("Alerts are heard on the bus alone, and none is attached.")
            }
            None => Words::new().muted("No alert fires."),
        };
        missing_screen::sentence_here(scene, words, table, buf);
        return;
    }
    let columns = [
        Column::fixed("LEVEL", 6).rank(0),
        Column::grow("ALERT", 10).rank(1),
        Column::content("SUBJECT", 7, 18).rank(2).gap(2).tail(),
        Column::number("FOR", 6).rank(3),
    ];
    let selected = scene.state.ui.list(ListId::Alerts).state.selected();
    let rows: Vec<Row> = alerts
        .iter()
        .take(usize::from(table.height.saturating_sub(1)))
        .map(|alert| {
            let (glyph, word, ink) = severity(alert.severity);
            Row {
                cells: vec![
                    Words::new()
                        .glyph(scene.glyphs, glyph, ink)
                        .ink(format!(" {word}"), ink),
                    Words::new().shown(Shown::head_of(&alert.name, 60), Role::Text),
                    Words::new().shown(Shown::tail_of(&alert.subject, 24), Role::Text),
                    Words::new().text(text::age(now.since(alert.since))),
                ],
                selected: is_focused && selected == Some(&alert_row(alert)),
                ..Row::default()
            }
        })
        .collect();
    Table::new(&columns, &rows).draw(pen, buf, table);
}

fn draw_rollbacks(scene: &Scene<'_>, rollbacks: &[RollbackRow], area: Rect, buf: &mut Buffer) {
    let pen = scene.pen();
    let (title, mut left) = split_row(area);
    let wide = area.width >= WIDE;
    let name = if wide { "Last rollbacks" } else { "Rollbacks" };
    Title::new(name, false).draw(pen, buf, inside(title));
    if rollbacks.is_empty() {
        let words = Words::new().muted("No rollback has been heard of.");
        pen.put(buf, indent(left, 3), &words);
        return;
    }
    for row in rollbacks {
        let (line, below) = split_row(left);
        left = below;
        if line.is_empty() {
            break;
        }
        let inside = indent(line, 3);
        let words = rollback_words(scene, row, wide).head(usize::from(inside.width));
        pen.put(buf, inside, &words);
    }
}

fn rollback_words(scene: &Scene<'_>, row: &RollbackRow, wide: bool) -> Words {
    let of = Shown::tail_of(&row.of, if wide { 18 } else { 15 });
    let mut words = Words::new();
    if wide {
        words = words.muted(text::clock(row.at)).gap(2);
    }
    let named = Words::new().shown(of, Role::Text);
    words = words.then(named.to(if wide { 19 } else { 16 }));
    if wide {
        let count = text::thousands(row.to_undo as u64);
        words = words.text(format!("{count} to undo")).gap(3);
    }
    // Where there is little room, only the worst is said.
    let from = if wide {
        0
    } else {
        row.steps.len().saturating_sub(1)
    };
    for (at, (state, count)) in row.steps[from..].iter().enumerate() {
        let (glyph, word, ink) = signs::job_state(Some(*state));
        let word = match state {
            JobState::Succeeded => "undone",
            JobState::Denied if wide => "denied by policy",
            _ => word,
        };
        words = words
            .gap(if at > 0 { 2 } else { 0 })
            .glyph(scene.glyphs, glyph, ink)
            .ink(format!(" {count} {word}"), ink);
    }
    match (&row.denied_by, row.took) {
        (Some(rule), _) if wide => words
            .gap(3)
            .muted("rule ")
            .shown(Shown::head_of(rule, 40), Role::Text),
        (None, Some(took)) if wide => {
            words.muted(format!(", finished in {}", text::duration(took)))
        }
        _ => words,
    }
}

fn severity(severity: AlertSeverity) -> (Glyph, &'static str, Ink) {
    match severity {
        AlertSeverity::Critical => (Glyph::Critical, "CRIT", Ink::new(Role::Crit).bold()),
        AlertSeverity::Error => (Glyph::Critical, "ERR", Ink::new(Role::Crit)),
        AlertSeverity::Warning => (Glyph::Warning, "WARN", Ink::new(Role::Warn)),
        AlertSeverity::Info => (Glyph::Dot, "INFO", Ink::new(Role::Muted)),
        AlertSeverity::Unspecified | AlertSeverity::Unknown(_) => {
            (Glyph::Warning, "?", Ink::new(Role::Warn))
        }
    }
}
