//! The jobs: a table, and what is known of the one under the cursor.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::state::action::Drawn;
use crate::state::model::jobs::{Asked, WaitingOn};
use crate::text::{self, Shown};
use crate::tui::glyph::Glyphs;
use crate::tui::screen::{Scene, missing_screen, prose, signs};
use crate::tui::theme::Role;
use crate::tui::widget::pane::{self, Title};
use crate::tui::widget::table::{Column, Row, Table};
use crate::tui::widget::words::{Ink, Words};
use crate::tui::widget::{bar, indent, split_row, split_rows};
use crate::view::change::Change;
use crate::view::jobs::{self, JobRow, JobsView, WaitPool, Why};
use crate::view::missing;

/// The cells of a progress bar.
const BAR: usize = 8;

/// From this width on the reasons are whole sentences.
const LONG: u16 = 100;

/// Rows of what is under the cursor, blank row and title included.
const UNDER: u16 = 6;

pub(super) fn draw(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) -> Drawn {
    let pen = scene.pen();
    let full = buf.area.height;
    let under = match full {
        30.. => UNDER,
        20.. => 2,
        _ => 0,
    };
    let (top, below) = split_rows(area, area.height.saturating_sub(under));
    let (title, table) = split_row(top);
    let height = usize::from(table.height.saturating_sub(1));
    let view = jobs::jobs(scene.state, height);
    draw_title(scene, &view, title, buf);
    if view.rows.is_empty() {
        missing_screen::no_jobs(scene, &view, table, buf);
    } else {
        let long = area.width >= LONG;
        let columns = columns(area.width, scene.state.ui.wide());
        let rows: Vec<Row> = view
            .rows
            .iter()
            .map(|job| row(job, long, scene.glyphs))
            .collect();
        Table::new(&columns, &rows).draw(pen, buf, table);
        if missing::jobs_silent_since(scene.state).is_some() {
            // The cursor stays where the keyboard is.
            pen.recolor(buf, indent(split_row(table).1, 1), Role::Stale);
        }
    }
    match (under, jobs::under_cursor(scene.state)) {
        (UNDER, Some((id, says))) => {
            let inside = inside(split_row(below).1);
            let (title, text) = split_row(inside);
            Title::new("Under the cursor", false)
                .facts(Words::new().line(id.as_str(), Role::Muted))
                .draw(pen, buf, title);
            let text = indent(text, 2);
            let lines = prose::words(&says).wrap(usize::from(text.width));
            pane::rows(pen, buf, text, &lines);
        }
        (2, Some((id, says))) => {
            let line = indent(split_row(below).1, 3);
            let words = Words::new()
                .muted("…")
                .line(text::id_tail(id.as_str()), Role::Muted)
                .gap(2)
                .then(prose::words(&says));
            pen.put(buf, line, &words);
        }
        _ => {}
    }
    Drawn {
        height: height as u16,
        rows: u32::try_from(view.passing).unwrap_or(u32::MAX),
        ..Drawn::default()
    }
}

/// The columns between the margins where titles stand.
pub(super) fn inside(area: Rect) -> Rect {
    Rect {
        width: area.width.saturating_sub(2),
        ..indent(area, 1)
    }
}

fn draw_title(scene: &Scene<'_>, view: &JobsView, area: Rect, buf: &mut Buffer) {
    let mut facts = Words::new();
    if let Some(frozen) = scene.state.ui.frozen() {
        facts = facts
            .bold(
                format!("frozen at {}", text::clock_millis(frozen.at)),
                Role::Warn,
            )
            .muted(format!(
                ", {} ago   ",
                text::age(scene.state.now.since(frozen.at))
            ));
    }
    if let Some(since) = missing::jobs_silent_since(scene.state) {
        let old = scene.state.ui.shown_at(scene.state.now).since(since);
        facts = facts.bold(format!("{} old   ", text::age(old)), Role::Warn);
    }
    // One that shows all its matches needs no range of them.
    let all = !view.filter.is_empty() && view.rows.len() == view.passing;
    if view.passing > 0 && !all {
        let range = format!(
            "{}-{} of ",
            text::thousands(view.first as u64 + 1),
            text::thousands((view.first + view.rows.len()) as u64)
        );
        facts = facts.text(range);
    }
    facts = facts.text(text::thousands(view.passing as u64));
    if !view.filter.is_empty() {
        facts = facts.muted(match all {
            true => format!(" of {} match ", text::thousands(view.known as u64)),
            false => format!(", of {} known, match ", text::thousands(view.known as u64)),
        });
        facts = facts.line(&view.filter, Role::Accent);
    }
    facts = facts.muted(format!(", {}", view.sort));
    if view.reversed {
        facts = facts.muted(", reversed");
    }
    facts = news(facts, view.new_above, view.changed);
    if let Some(held) = view.held {
        facts = facts.muted(format!("   {} held", text::age(held)));
    }
    if view.forgotten > 0 {
        facts = facts.ink(
            format!("   {} forgotten", text::thousands(view.forgotten)),
            Role::Warn,
        );
    }
    if view.marked > 0 {
        facts = facts.bold(format!("   {} marked", view.marked), Role::Accent);
    }
    Title::new("Jobs", true)
        .facts(facts)
        .draw(scene.pen(), buf, inside(area));
}

/// Rows that came above the window, and changes that are too many to be marked.
pub(super) fn news(facts: Words, new_above: usize, changed: usize) -> Words {
    let facts = match new_above {
        0 => facts,
        n => facts.ink(
            format!("   {} new above", text::thousands(n as u64)),
            Role::Accent,
        ),
    };
    match changed {
        0 => facts,
        n => facts.muted(format!("   {} changed", text::thousands(n as u64))),
    }
}

/// The mark of a row that has just changed.
pub(super) fn change_mark(change: Option<Change>) -> Option<char> {
    change.map(|change| match change {
        Change::New => '+',
        Change::Moved => '~',
    })
}

/// Width keeps: state, job, why, age, topic, worker, verdict, tries; wide adds
/// tenant and rule.
fn columns(width: u16, wide: bool) -> Vec<Column> {
    let mut columns = vec![
        Column::fixed("STATE", 13).rank(0),
        Column::fixed("…JOB", 8).rank(1).tail(),
        Column::content("job.TOPIC", 17, 24).rank(4).tail(),
        Column::grow("PROGRESS, LAST WORD, OR WHY IT WAITS", 25)
            .shorter(&[
                "PROGRESS, OR WHY IT WAITS",
                "PROGRESS OR WHY NOT",
                "PROGRESS",
            ])
            .rank(2),
        Column::content("WORKER", 11, 18).rank(5).tail(),
        Column::number("AGE", 6).rank(3),
        Column::fixed("VERDICT", 8).rank(6),
        Column::number("TRY", 3).rank(7),
    ];
    if wide || width >= 160 {
        columns.push(Column::content("TENANT", 8, 16).rank(8));
        columns.push(Column::content("RULE", 12, 24).rank(9));
    }
    columns
}

fn row(job: &JobRow, long: bool, glyphs: Glyphs) -> Row {
    let ended = job.is_ended();
    let role = if ended { Role::Muted } else { Role::Text };
    let topic = match &job.topic {
        Some(topic) => {
            let short = topic.strip_prefix("job.").unwrap_or(topic);
            Words::new().shown(Shown::tail_of(short, 40), role)
        }
        None => Words::new().muted("unknown"),
    };
    let outside = |value: &Option<std::sync::Arc<str>>| match value {
        Some(value) => Words::new().shown(Shown::head_of(value, 40), Role::Muted),
        None => Words::new().muted("—"),
    };
    let worker = match &job.worker {
        Some(worker) => Words::new().shown(Shown::tail_of(worker.as_str(), 24), role),
        None => Words::new().muted("—"),
    };
    let tries = match job.attempts {
        0 => Words::new().muted("—"),
        1 => Words::new().muted("1"),
        n => Words::new().bold(text::thousands(u64::from(n)), Role::Text),
    };
    Row {
        cells: vec![
            signs::job_words(glyphs, job.state),
            Words::new().shown(
                Shown::tail_of(text::id_tail(job.id.as_str()), 8),
                Role::Muted,
            ),
            topic,
            match job.ended_here {
                Some(ago) => Words::new()
                    .text(format!("ended {} ago", text::age(ago)))
                    .muted("; ")
                    .then(why_words(&job.why, long, glyphs)),
                None => why_words(&job.why, long, glyphs),
            },
            worker,
            Words::new().ink(text::age(job.age), role),
            signs::decision(job.decision),
            tries,
            outside(&job.tenant),
            outside(&job.rule),
        ],
        selected: job.selected,
        marked: job.marked,
        change: change_mark(job.change),
    }
}

/// Why a job is where it is; `long` where there is room for a sentence.
pub(super) fn why_words(why: &Why, long: bool, glyphs: Glyphs) -> Words {
    let words = Words::new();
    let message = |words: Words, message: &Option<std::sync::Arc<str>>, role| match message {
        Some(message) => words.shown(Shown::head_of(message, 240), role),
        None => words,
    };
    match why {
        Why::Progress {
            percent,
            message: said,
            stalled,
        } => {
            let role = if stalled.is_some() {
                Role::Warn
            } else {
                Role::Fill
            };
            let share = f64::from(*percent) / 100.0;
            let number = Ink::new(match stalled {
                Some(_) => Role::Warn,
                None => Role::Text,
            });
            let odd = !(0..=100).contains(percent);
            let number = if odd {
                Ink::new(Role::Warn).bold()
            } else {
                number
            };
            let words = words
                .then(bar::bar(glyphs, share, BAR, role))
                .ink(format!("{percent:>4}%"), number)
                .gap(if long { 2 } else { 1 });
            match stalled {
                Some(since) if long => {
                    let words = words.ink(format!("no move for {}", text::age(*since)), Role::Warn);
                    match said {
                        Some(_) => message(words.muted("; "), said, Role::Muted),
                        None => words,
                    }
                }
                Some(since) => words.ink(format!("stuck {}", text::age(*since)), Role::Warn),
                None => message(words, said, Role::Text),
            }
        }
        Why::NoProgress if long => words.text("no progress reported yet"),
        Why::NoProgress => words.text("no progress yet"),
        Why::HandedTo(Some(worker)) => words
            .text("handed to ")
            .shown(Shown::tail_of(worker.as_str(), 40), Role::Text),
        Why::HandedTo(None) => words.text("handed over"),
        Why::Waits {
            on,
            deadline,
            tenant,
            said,
            pool,
        } => {
            let named = |words: Words, pool: &WaitPool| {
                words.shown(Shown::tail_of(pool.name.as_str(), 24), Role::Text)
            };
            let sla = match deadline {
                Some(left) if left.as_millis() == 0 => ", deadline passed".to_owned(),
                Some(left) => format!(", SLA {}", text::age(*left)),
                None => String::new(),
            };
            match (on, long) {
                (WaitingOn::Approval, true) => words.text(format!("waits for a person{sla}")),
                (WaitingOn::Approval, false) => words.text(format!("person{sla}")),
                (WaitingOn::Throttled, true) => match said {
                    Some(_) => message(words.text("throttled by "), said, Role::Text),
                    None => words.text("throttled, asked again later"),
                },
                (WaitingOn::Throttled, false) => words.text("throttled"),
                (WaitingOn::NoWorkers, true) => match pool {
                    Some(pool) => {
                        let words = named(words.text("no live worker in pool "), pool);
                        match said {
                            Some(_) if pool.able > 0 => {
                                message(words.text(" has "), said, Role::Text)
                            }
                            Some(_) | None => words,
                        }
                    }
                    None => words.text("no live worker takes its topic"),
                },
                (WaitingOn::NoWorkers, false) => words.text("no live worker"),
                (WaitingOn::PoolOverloaded, true)
                    if said.is_some()
                        && pool.as_ref().is_some_and(|it| it.overloaded < it.able) =>
                {
                    message(words.text("no room on a worker with "), said, Role::Text)
                }
                (WaitingOn::PoolOverloaded, long) => match pool {
                    Some(pool) => {
                        let words = named(words.text("pool "), pool).text(" overloaded");
                        match long {
                            true => words
                                .text(format!(": {} of {} over 90%", pool.overloaded, pool.able)),
                            false => words,
                        }
                    }
                    None if long => words.text("its pool is overloaded"),
                    None => words.text("pool overloaded"),
                },
                (WaitingOn::NoPoolMapping, true) => match said {
                    Some(_) => {
                        message(words.text("no pool of its topic offers "), said, Role::Text)
                    }
                    None => words.text("no pool is mapped to its topic"),
                },
                (WaitingOn::NoPoolMapping, false) => words.text("no pool"),
                (WaitingOn::TenantLimit, true) => match tenant {
                    Some(_) => {
                        message(words.text("tenant "), tenant, Role::Text).text(" at its limit")
                    }
                    None => words.text("its tenant is at its limit"),
                },
                (WaitingOn::TenantLimit, false) => words.text("tenant limit"),
                (WaitingOn::KernelUnavailable, true) => {
                    words.text("kernel silent, asked again later")
                }
                (WaitingOn::KernelUnavailable, false) => words.text("kernel silent"),
                (WaitingOn::RetryBackoff, true) => match said {
                    Some(_) => message(words.text("worker said: retryable, "), said, Role::Text),
                    None => words.text("tried again later"),
                },
                (WaitingOn::RetryBackoff, false) => match said {
                    Some(_) => message(words, said, Role::Text),
                    None => words.text("tried again"),
                },
                (WaitingOn::BusUnavailable, true) => {
                    words.text("the bus did not take it, tried again later")
                }
                (WaitingOn::BusUnavailable, false) => words.text("bus away"),
                (WaitingOn::Unknown, true) => words.muted("unknown why it waits"),
                (WaitingOn::Unknown, false) => words.muted("unknown"),
            }
        }
        Why::Asked { what, ago, taken } => {
            let what = match what {
                Asked::Cancel => "cancel",
                Asked::Approve => "approve",
                Asked::Reject => "reject",
            };
            let how = if *taken {
                "taken by the plane"
            } else {
                "asked"
            };
            words.ink(
                format!("… {what}: {how} {} ago", text::duration(*ago)),
                Role::Accent,
            )
        }
        Why::StillReports { after } => words.ink(
            format!("worker still reports it after {}", text::age(*after)),
            Ink::new(Role::Crit).bold(),
        ),
        Why::Finished { after } => words.ink(
            format!(
                "worker did it all the same, {} after the cancel",
                text::duration(*after)
            ),
            Ink::new(Role::Crit).bold(),
        ),
        Why::Ended {
            said,
            code,
            asked_by,
            stopped_after,
        } => {
            let words = match stopped_after {
                Some(after) => {
                    words.muted(format!("worker stopped after {}; ", text::duration(*after)))
                }
                None => words,
            };
            let words = match asked_by {
                Some(_) => {
                    let words = message(words.muted("asked by "), asked_by, Role::Muted);
                    if said.is_some() {
                        words.muted(": ")
                    } else {
                        words
                    }
                }
                None => words,
            };
            match (said, code) {
                (Some(_), Some(_)) if long => message(
                    message(words, said, Role::Muted).muted(", "),
                    code,
                    Role::Muted,
                ),
                (Some(_), _) => message(words, said, Role::Muted),
                (None, Some(_)) => message(words, code, Role::Muted),
                (None, None) if words.is_empty() => words.muted("no last word"),
                (None, None) => words,
            }
        }
        Why::OnlyCancel => words.muted("only a wish to cancel it was heard"),
        Why::Unknown => words.muted("unknown: the plane did not tell"),
    }
}
