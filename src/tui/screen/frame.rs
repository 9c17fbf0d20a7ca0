//! Around every view: header, tabs, notices and the last row.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::state::event::Source;
use crate::state::ui::{Tone, View};
use crate::text;
use crate::tui::glyph::Glyph;
use crate::tui::screen::{Scene, prose};
use crate::tui::theme::Role;
use crate::tui::widget::words::{Ink, Words};
use crate::tui::widget::{Pen, indent, pane, split_row, split_rows};
use crate::view::frame::{Header, Lamp, LampState, Mode, header};
use crate::view::missing::{self, Weight};

/// Under this many rows the tabs go.
const TABS_FROM: u16 = 14;

/// From this many rows on a blank row stands above the view.
const AIRY_FROM: u16 = 30;

/// The outcome of an action takes at most this many rows.
const OUTCOME_ROWS: usize = 2;

/// From this width on the header has room for words.
const WIDE: u16 = 100;

/// What the header leaves out as it gets narrower, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Brevity {
    Whole,
    NoWords,
    NoSeconds,
    NoRequests,
    NoRate,
    NoZeros,
    NoAges,
    NoClock,
    NoNames,
}

impl Brevity {
    const ALL: [Self; 9] = [
        Self::Whole,
        Self::NoWords,
        Self::NoSeconds,
        Self::NoRequests,
        Self::NoRate,
        Self::NoZeros,
        Self::NoAges,
        Self::NoClock,
        Self::NoNames,
    ];
}

/// Draws the frame; returns what is left for the view.
pub(super) fn draw(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) -> Rect {
    let pen = scene.pen();
    let (head, mut rest) = split_row(area);
    draw_header(scene, head, buf);
    if area.height >= TABS_FROM {
        let (tabs, below) = split_row(rest);
        draw_tabs(scene, tabs, buf);
        rest = below;
    }
    let outcome = outcome(scene, area);
    let rows = u16::try_from(outcome.len().max(1)).unwrap_or(1);
    let (mut rest, last) = split_rows(rest, rest.height.saturating_sub(rows));
    draw_footer(scene, &outcome, last, buf);
    for notice in missing::notices(scene.state) {
        let role = match notice.weight {
            Weight::Good => Role::Ok,
            Weight::Missing => Role::Warn,
        };
        let lines: Vec<Words> = notice
            .lines
            .iter()
            .enumerate()
            .map(|(at, line)| {
                // The first words of a notice say what happened.
                if at == 0 {
                    prose::words(line).strong_in(role)
                } else {
                    prose::words(line)
                }
            })
            .collect();
        let room = Rect {
            height: rest.height.saturating_sub(6),
            ..rest
        };
        let rows = pane::notice(pen, buf, room, role, &lines);
        rest = crate::tui::widget::split_rows(rest, rows).1;
    }
    if area.height >= AIRY_FROM {
        rest = split_row(rest).1;
    }
    rest
}

fn draw_header(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
    let pen = scene.pen();
    let facts = header(scene.state);
    let wide = area.width >= WIDE;
    let room = if wide {
        area.width.saturating_sub(1)
    } else {
        area.width
    };
    let inside = Rect {
        width: room,
        ..area
    };
    let block = format!(" {} ", text::Shown::line(&scene.context.name).as_str());
    let mut block_width = 0;
    let (mut left, mut right) = (Words::new(), Words::new());
    for brevity in Brevity::ALL {
        left = header_left(pen, &facts, wide, brevity);
        right = header_right(pen, &facts, wide, brevity);
        // A long name gives way before a lamp does.
        let most = match brevity {
            Brevity::NoAges | Brevity::NoClock | Brevity::NoNames => 3,
            _ => 2,
        };
        block_width = text::width(&block).min(usize::from(room) / most);
        if block_width + left.width() + right.width() < usize::from(room) {
            break;
        }
    }
    let block_area = Rect {
        width: block_width as u16,
        ..inside
    };
    pen.put(buf, block_area, &Words::new().text(block));
    let style = scene.theme.context(scene.context.ground);
    for position in block_area.intersection(buf.area).positions() {
        if let Some(cell) = buf.cell_mut(position) {
            cell.set_style(style);
        }
    }
    let beside = indent(inside, block_width as u16);
    let right_width = (right.width() as u16).min(beside.width);
    let left_area = Rect {
        width: beside.width.saturating_sub(right_width.saturating_add(1)),
        ..beside
    };
    pen.put(buf, left_area, &left);
    pen.put_right(buf, beside, &right);
}

fn header_left(pen: Pen<'_>, facts: &Header, wide: bool, brevity: Brevity) -> Words {
    let mut words = Words::new().gap(1);
    words = match facts.mode {
        Mode::Live => words.ink("LIVE", Role::Ok),
        Mode::Frozen => words.badge(" FROZEN ", Role::Warn),
        Mode::NoLink => words.badge(" NO LINK ", Role::Warn),
    };
    words = words.gap(if wide { 3 } else { 2 });
    for (at, lamp) in facts.lamps.iter().enumerate() {
        let gap = match (at, wide) {
            (0, _) => 0,
            (_, true) => 2,
            (_, false) => 1,
        };
        words = words.gap(gap).then(lamp_words(pen, lamp, wide, brevity));
        if let (Source::Gateway, Some(requests)) = (lamp.source, facts.requests_a_minute)
            && lamp.is_up()
            && brevity < Brevity::NoRequests
        {
            let blank = if wide { " " } else { "" };
            words = words.muted(format!("{blank}{}/min", compact(requests)));
        }
    }
    if brevity >= Brevity::NoZeros && facts.dropped == 0 && facts.malformed == 0 {
        return words;
    }
    words = words.gap(if wide { 3 } else { 2 });
    if brevity < Brevity::NoRate {
        let rate = match facts.packets_per_second {
            Some(rate) if wide => format!("{} pkt/s", compact(rate)),
            Some(rate) => format!("{}/s", compact(rate)),
            None if wide => "— pkt/s".to_owned(),
            None => "—/s".to_owned(),
        };
        words = words.muted(rate).gap(2);
    }
    let gap = if wide { 2 } else { 1 };
    words = counted(words, "drop", facts.dropped).gap(gap);
    counted(words, "bad", facts.malformed)
}

fn counted(words: Words, label: &str, count: u64) -> Words {
    let text = format!("{label} {}", text::thousands(count));
    if count == 0 {
        words.muted(text)
    } else {
        words.ink(text, Role::Warn)
    }
}

/// How many alerts fire, or that nobody tells.
pub(super) fn counted_alerts(alerts: Option<usize>) -> String {
    alerts.map_or_else(|| "—".to_owned(), |count| text::thousands(count as u64))
}

fn header_right(pen: Pen<'_>, facts: &Header, wide: bool, brevity: Brevity) -> Words {
    let (approvals, alerts) = (
        text::thousands(facts.approvals as u64),
        counted_alerts(facts.alerts),
    );
    let (gap, with_words) = if wide {
        (2, brevity == Brevity::Whole)
    } else {
        (1, false)
    };
    let word = |one: &str, many: &str, count: usize| match (with_words, count) {
        (false, _) => String::new(),
        (true, 1) => format!(" {one}"),
        (true, _) => format!(" {many}"),
    };
    let ink = |count: usize, role| {
        if count > 0 {
            Ink::new(role).bold()
        } else {
            Ink::new(Role::Muted)
        }
    };
    let human = ink(facts.approvals, Role::Human);
    let firing = facts.alerts.unwrap_or(0);
    let crit = ink(firing, Role::Crit);
    Words::new()
        .ink(
            format!(
                "{} {approvals}{}",
                pen.glyph(Glyph::Human),
                word("approval", "approvals", facts.approvals)
            ),
            human,
        )
        .gap(gap)
        .ink(
            format!(
                "{} {alerts}{}",
                pen.glyph(Glyph::Critical),
                word("alert", "alerts", firing)
            ),
            crit,
        )
        .gap(gap)
        .text(match brevity < Brevity::NoClock {
            true => text::clock(facts.now),
            false => String::new(),
        })
}

/// The sign and the look of a lamp.
pub(super) fn lamp_sign(lamp: LampState) -> (Glyph, Ink) {
    match lamp {
        LampState::Absent => (Glyph::Dot, Ink::new(Role::Muted)),
        LampState::Connecting => (Glyph::Open, Ink::new(Role::Warn)),
        LampState::Heard => (Glyph::Running, Ink::new(Role::Ok)),
        LampState::Quiet => (Glyph::Late, Ink::new(Role::Warn)),
        LampState::Down => (Glyph::Open, Ink::new(Role::Crit).bold()),
    }
}

fn lamp_words(pen: Pen<'_>, lamp: &Lamp, wide: bool, brevity: Brevity) -> Words {
    let name = match (lamp.source, wide) {
        (Source::Gateway, false) => "gw",
        (source, _) => source.name(),
    };
    let (glyph, ink) = lamp_sign(lamp.state);
    let blank = if wide { " " } else { "" };
    let healthy = matches!(lamp.state, LampState::Heard | LampState::Absent);
    let label = if healthy { Ink::new(Role::Muted) } else { ink };
    let named = match brevity < Brevity::NoNames {
        true => format!("{name}{blank}"),
        false => String::new(),
    };
    let mut words = Words::new().ink(named, label).glyph(pen.glyphs, glyph, ink);
    let after = match lamp.age {
        Some(_) if brevity >= Brevity::NoAges => None,
        Some(_) if healthy && brevity >= Brevity::NoSeconds => None,
        Some(age) => Some(text::age(age)),
        None => None,
    };
    if let Some(after) = after {
        words = words.ink(format!("{blank}{after}"), label);
    }
    words
}

fn compact(rate: u64) -> String {
    match rate {
        0..10_000 => text::thousands(rate),
        10_000..1_000_000 => format!("{}k", rate / 1_000),
        _ => format!("{}M", rate / 1_000_000),
    }
}

fn draw_tabs(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
    let gap = if area.width >= 120 { 3 } else { 2 };
    let mut words = Words::new();
    for view in View::ALL {
        let current = scene.state.ui.view() == view;
        let title = match area.width {
            WIDE.. => view.title(),
            80.. => view.title().get(..4).unwrap_or(view.title()),
            _ => "",
        };
        let ink = if current {
            Ink::new(Role::Accent).bold()
        } else {
            Ink::new(Role::Muted)
        };
        if !words.is_empty() {
            words = words.gap(gap);
        }
        let line = Ink {
            underlined: current,
            ..ink
        };
        words = if title.is_empty() {
            words.ink(view.number().to_string(), line)
        } else {
            words
                .ink(format!("{} ", view.number()), ink)
                .ink(title, line)
        };
    }
    scene.pen().put(buf, indent(area, 1), &words);
}

/// The outcome of an action that takes the place of the keys, in one row, or in two
/// where one would cut what it means or the command that it names.
fn outcome(scene: &Scene<'_>, area: Rect) -> Vec<Words> {
    let Some(footer) = scene.state.ui.footer(scene.state.now) else {
        return Vec::new();
    };
    let (glyph, role) = match footer.tone {
        Tone::Done => (Some(Glyph::Check), Role::Ok),
        Tone::Muted => (None, Role::Muted),
        Tone::Warning => (Some(Glyph::Warning), Role::Warn),
        Tone::Failed => (Some(Glyph::Cross), Role::Crit),
    };
    let mut sign = Words::new();
    if let Some(glyph) = glyph {
        sign = sign
            .glyph(scene.glyphs, glyph, Ink::new(role).bold())
            .gap(1);
    }
    let ink = if footer.tone == Tone::Muted {
        Role::Muted
    } else {
        Role::Text
    };
    let words = sign.clone().line(&footer.text, ink);
    let width = usize::from(area.width.saturating_sub(2));
    if words.width() <= width || area.height < TABS_FROM {
        return vec![words];
    }
    // A command stands in a row of its own, so that it can be copied.
    if let Some((says, command)) = footer.text.split_once("  capdeck ") {
        let command = Words::new().line(&format!("capdeck {command}"), ink);
        return vec![sign.line(says, ink).head(width), command.head(width)];
    }
    let mut lines = words.wrap(width);
    if lines.len() > OUTCOME_ROWS {
        lines.truncate(OUTCOME_ROWS);
        if let Some(last) = lines.last_mut() {
            *last = last.clone().text(" …").head(width);
        }
    }
    lines
}

fn draw_footer(scene: &Scene<'_>, outcome: &[Words], area: Rect, buf: &mut Buffer) {
    let pen = scene.pen();
    let inside = Rect {
        width: area.width.saturating_sub(2),
        ..indent(area, 1)
    };
    let state = scene.state;
    if !outcome.is_empty() {
        pane::rows(pen, buf, inside, outcome);
        return;
    }
    if let Some(ignored) = state.ui.ignored(state.now) {
        let words = Words::new().muted(format!("{} ignored: {}", ignored.action, ignored.why));
        pen.put(buf, inside, &words);
        return;
    }
    let width = usize::from(inside.width);
    let cannot = Words::new().muted(scene.hints.cannot.clone());
    let keys = |room: usize| {
        let pairs = scene.hints.keys.iter();
        pane::hints(
            pairs.map(|hint| (hint.key.as_str(), hint.says.as_str())),
            room,
        )
    };
    let all = keys(width);
    let room_beside = width.saturating_sub(all.width() + 2);
    pen.put(buf, inside, &all);
    if !cannot.is_empty() && cannot.width() <= room_beside {
        pen.put_right(buf, inside, &cannot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_rates_are_short() {
        assert_eq!(compact(412), "412");
        assert_eq!(compact(9_999), "9,999");
        assert_eq!(compact(203_000), "203k");
        assert_eq!(compact(1_200_000), "1M");
    }
}
