//! The detail of one job.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::state::action::Drawn;
use crate::state::ui::Detail;
use crate::text::{self, Shown};
use crate::tui::glyph::Glyph;
use crate::tui::screen::jobs::{inside, why_words};
use crate::tui::screen::payload;
use crate::tui::screen::{Scene, missing_screen, prose, signs};
use crate::tui::theme::Role;
use crate::tui::widget::bar;
use crate::tui::widget::pane::{self, Title};
use crate::tui::widget::words::{Ink, Words};
use crate::tui::widget::{indent, split_row, split_rows};
use crate::view::Fact;
use crate::view::job::{self, JobView, TimelineRow};
use crate::view::jobs::Why;

/// From this width on panes stand in two columns.
const WIDE: u16 = 100;

/// The cells of the progress bar.
const BAR: usize = 44;

/// Place of the packets among the panes.
const PACKETS: usize = 5;

/// A pane of the detail: its title, the facts of the title, a row that does not
/// scroll, and its rows.
struct Pane {
    name: &'static str,
    facts: Words,
    head: Option<Words>,
    rows: Vec<Words>,
}

pub(super) fn draw(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) -> Drawn {
    let pen = scene.pen();
    let Some(view) = job::job(scene.state) else {
        let words = Words::new().muted(
            "This job is no longer known: ended jobs are forgotten when there are too many. Esc goes back.",
        );
        missing_screen::sentence(scene, words, area, buf);
        return Drawn::default();
    };
    let (title, rest) = split_row(area);
    let name = format!("Job {}", Shown::head_of(view.id.as_str(), 80).as_str());
    Title::new(&name, false)
        .facts(Words::new().muted(format!("{} ago", text::age(view.age))))
        .draw(pen, buf, inside(title));
    let width = usize::from(area.width.saturating_sub(2));
    let mut head = status_line(scene, &view).wrap(width);
    head.truncate(3);
    head.push(progress_line(scene, &view));
    let (head_area, rest) = split_rows(rest, head.len() as u16);
    pane::rows(pen, buf, inside(head_area), &head);
    let rest = if buf.area.height >= 30 {
        split_row(rest).1
    } else {
        rest
    };
    let body = inside(rest);
    let (pane_index, scroll) = match scene.state.ui.detail() {
        Some(detail) => (detail.pane, detail.scroll),
        None => (0, [0; Detail::PANES]),
    };
    let wide = area.width >= WIDE;
    let column = if wide { width / 2 - 1 } else { width };
    let panes = panes(
        scene,
        &view,
        column,
        width.saturating_sub(column + 3),
        width,
    );
    let mut drawn = Drawn::default();
    if wide {
        // Title and head, and a blank row above where there is room; a third of the
        // room at most: the newest ones are seen.
        let airy = u16::from(buf.area.height >= 30);
        let foot = panes[PACKETS].rows.len().min(64) as u16 + 2 + airy;
        let foot = foot.min(body.height / 3);
        let (body, below) = split_rows(body, body.height.saturating_sub(foot));
        let left = Rect {
            width: column as u16,
            ..body
        };
        let right = indent(body, column as u16 + 3);
        let sides = [(left, &[0usize, 1, 2][..]), (right, &[3usize, 4][..])];
        for (area, members) in sides {
            let chosen: Vec<(usize, &Pane)> = members.iter().map(|at| (*at, &panes[*at])).collect();
            column_of(scene, &chosen, area, pane_index, &scroll, buf, &mut drawn);
        }
        let below = split_rows(below, airy).1;
        let chosen = [(PACKETS, &panes[PACKETS])];
        column_of(scene, &chosen, below, pane_index, &scroll, buf, &mut drawn);
    } else {
        // One column in reading order; the pane with the keyboard comes first
        // when not all of them fit.
        let order = [0usize, 1, 3, 2, 4, PACKETS];
        let from = order.iter().position(|at| *at == pane_index).unwrap_or(0);
        let total: usize = panes.iter().map(|pane| pane.rows.len() + 2).sum();
        let fits = total <= usize::from(body.height);
        let from = if fits { 0 } else { from };
        let chosen: Vec<(usize, &Pane)> =
            order[from..].iter().map(|at| (*at, &panes[*at])).collect();
        column_of(scene, &chosen, body, pane_index, &scroll, buf, &mut drawn);
    }
    drawn
}

fn status_line(scene: &Scene<'_>, view: &JobView) -> Words {
    let (glyph, word, ink) = signs::job_state(view.row.state);
    let mut words = Words::new()
        .glyph(scene.glyphs, glyph, ink)
        .gap(1)
        .ink(word, ink.bold());
    if let Some(worker) = &view.row.worker {
        words = words.muted(" on ").line(worker.as_str(), Role::Text);
    }
    let since = text::age(view.row.age);
    words = if view.row.is_ended() {
        words.text(format!(" {since}")).muted(" ago")
    } else {
        words.muted(" for ").text(since)
    };
    words.then(prose::words(&view.place))
}

fn progress_line(scene: &Scene<'_>, view: &JobView) -> Words {
    match &view.row.why {
        Why::Progress {
            percent,
            message,
            stalled,
        } => {
            let role = if stalled.is_some() {
                Role::Warn
            } else {
                Role::Fill
            };
            let mut words = bar::bar(scene.glyphs, f64::from(*percent) / 100.0, BAR, role)
                .gap(3)
                .bold(format!("{percent}%"), Role::Text)
                .gap(3);
            if let Some(since) = stalled {
                words = words
                    .ink(format!("no move for {}", text::age(*since)), Role::Warn)
                    .gap(3);
            }
            match message {
                Some(message) => words.line(message, Role::Text),
                None => words,
            }
        }
        why => why_words(why, true, scene.glyphs),
    }
}

fn panes(scene: &Scene<'_>, view: &JobView, left: usize, right: usize, whole: usize) -> Vec<Pane> {
    let facts = |facts: &[Fact], width: usize| -> Vec<Words> {
        facts
            .iter()
            .flat_map(|fact| pane::fact_rows(fact.label, &prose::words(&fact.value), width))
            .collect()
    };
    let right = if right < 20 { left } else { right };
    let timeline = if view.lost_moments > 0 {
        Words::new().ink(format!("{} older ones lost", view.lost_moments), Role::Warn)
    } else {
        Words::new()
    };
    let rows = view
        .timeline
        .iter()
        .map(|row| timeline_row(scene, row))
        .collect();
    vec![
        Pane {
            name: "Timeline",
            facts: timeline,
            head: None,
            rows,
        },
        Pane {
            name: "Verdict",
            facts: Words::new(),
            head: None,
            rows: facts(&view.verdict, left),
        },
        Pane {
            name: "Undo and result",
            facts: Words::new(),
            head: None,
            rows: facts(&view.outcome, left),
        },
        Pane {
            name: "Payload",
            facts: payload::title_facts(&view.payload),
            head: None,
            rows: payload::all_rows(scene, &view.payload, right),
        },
        Pane {
            name: "Request",
            facts: Words::new(),
            head: None,
            rows: facts(&view.request, right),
        },
        packets(view, whole),
    ]
}

/// The packets about the job: when, where, from whom, what.
fn packets(view: &JobView, width: usize) -> Pane {
    let kept = text::thousands(view.packets.len() as u64);
    let mut facts = Words::new().muted(format!("{kept} kept, "));
    let odd = format!("{} with findings", text::thousands(view.odd_packets as u64));
    facts = match view.odd_packets {
        0 => facts.muted(odd),
        _ => facts.ink(odd, Role::Warn),
    };
    if view.packets_forgotten {
        facts = facts.muted(", older ones may be forgotten");
    }
    let wide = width >= usize::from(WIDE);
    let (subject, from) = if wide { (26, 21) } else { (18, 14) };
    let columns = |at: Words, where_: Words, who: Words, says: Words| {
        at.to(14)
            .then(where_.tail(subject - 1).to(subject))
            .then(who.tail(from - 1).to(from))
            .then(says)
            .head(width.saturating_sub(2))
    };
    if view.packets.is_empty() {
        return Pane {
            name: "Packets",
            facts,
            head: None,
            rows: vec![Words::new().muted("No packet about it has been heard.")],
        };
    }
    let rows = view
        .packets
        .iter()
        .map(|packet| {
            let says = prose::words(&packet.says);
            let says = match packet.findings {
                0 => says,
                n => says.ink(
                    format!("  {}", text::count(n as u64, "finding", "findings")),
                    Role::Warn,
                ),
            };
            columns(
                Words::new().muted(text::clock_millis(packet.at)),
                Words::new().line(&packet.subject, Role::Muted),
                Words::new().line(packet.from.as_str(), Role::Muted),
                says,
            )
        })
        .map(|row| Words::new().gap(2).then(row))
        .collect();
    let head = columns(
        Words::new().muted("AT"),
        Words::new().muted("SUBJECT"),
        Words::new().muted("FROM"),
        Words::new().muted("WHAT IT SAYS"),
    );
    Pane {
        name: "Packets",
        facts,
        head: Some(Words::new().gap(2).then(head)),
        rows,
    }
}

fn timeline_row(scene: &Scene<'_>, row: &TimelineRow) -> Words {
    let gap = match row.gap {
        Some(gap) => format!("+{}", text::duration(gap)),
        None => String::new(),
    };
    let gap_role = if row.long { Role::Warn } else { Role::Muted };
    let (glyph, ink) = match row.state {
        Some(state) => {
            let (glyph, _, ink) = signs::job_state(Some(state));
            (glyph, ink)
        }
        None => (Glyph::Dot, Ink::new(Role::Muted)),
    };
    Words::new()
        .muted(text::clock_millis(row.at))
        .ink(format!("{gap:>8}"), gap_role)
        .gap(2)
        .glyph(scene.glyphs, glyph, ink)
        .gap(1)
        .then(prose::words(&row.what))
}

/// Draws panes from top to bottom: each has the rows it needs as long as there is
/// room; the last one and the one with the keyboard scroll in what is left.
fn column_of(
    scene: &Scene<'_>,
    panes: &[(usize, &Pane)],
    area: Rect,
    focus: usize,
    scroll: &[usize],
    buf: &mut Buffer,
    drawn: &mut Drawn,
) {
    let pen = scene.pen();
    let mut left = area;
    for (place, (at, pane)) in panes.iter().enumerate() {
        if left.height < 2 {
            break;
        }
        let after: u16 = panes[place + 1..]
            .iter()
            .map(|(_, pane)| u16::try_from(pane.rows.len()).unwrap_or(u16::MAX).min(4) + 2)
            .sum();
        let head = pane.head.as_ref().filter(|_| !pane.rows.is_empty());
        let wanted = (pane.rows.len() as u16)
            .saturating_add(1)
            .saturating_add(u16::from(head.is_some()));
        let room = left
            .height
            .saturating_sub(after)
            .max(left.height.min(3))
            .min(wanted);
        let (title, rest) = split_row(left);
        let (body, rest) = split_rows(rest, room.saturating_sub(1));
        let body = match head {
            Some(head) if body.height > 1 => pane::rows(pen, buf, body, std::slice::from_ref(head)),
            Some(_) | None => body,
        };
        let height = usize::from(body.height);
        let most = pane.rows.len().saturating_sub(height);
        let from = scroll.get(*at).copied().unwrap_or(0).min(most);
        let mut facts = pane.facts.clone();
        if most > 0 {
            let range = format!(
                "{}-{} of {}",
                from + 1,
                (from + height).min(pane.rows.len()),
                pane.rows.len()
            );
            facts = if facts.is_empty() {
                facts.muted(range)
            } else {
                facts.muted(format!("   {range}"))
            };
        }
        Title::new(pane.name, *at == focus)
            .facts(facts)
            .draw(pen, buf, title);
        pane::rows(pen, buf, body, &pane.rows[from..]);
        if *at == focus {
            drawn.height = body.height;
            drawn.rows = u32::try_from(pane.rows.len()).unwrap_or(u32::MAX);
        }
        left = split_row(rest).1;
    }
}
