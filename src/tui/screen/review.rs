//! The review: the payload at the left and whole, the facts beside or below it,
//! and what must hold before a yes.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::state::action::{Drawn, PayloadDrawn};
use crate::state::model::approvals::Content;
use crate::state::ui::review::{Condition, Met};
use crate::text;
use crate::tui::glyph::Glyph;
use crate::tui::screen::jobs::inside;
use crate::tui::screen::{Scene, missing_screen, payload, prose};
use crate::tui::theme::Role;
use crate::tui::widget::pane::{self, Title};
use crate::tui::widget::words::{Ink, Words};
use crate::tui::widget::{indent, split_row, split_rows};
use crate::view::job::PayloadView;
use crate::view::review::{self, ReviewView};
use crate::view::{Fact, compensations};

/// From this width on the facts stand beside the payload.
const WIDE: u16 = 100;

/// The smallest screen on which one can decide.
const LEAST: (u16, u16) = (60, 16);

/// What is said where the screen is too small to decide on.
pub(super) fn needs_room() -> String {
    format!(
        "Make the window larger to decide: {}x{} at least.",
        LEAST.0, LEAST.1
    )
}

/// Draws the open review.
pub(super) fn draw(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) -> Drawn {
    let pen = scene.pen();
    if buf.area.width < LEAST.0 || buf.area.height < LEAST.1 {
        let words = Words::new().bold(needs_room(), Role::Warn);
        missing_screen::sentence(scene, words, area, buf);
        return Drawn::default();
    }
    let Some(view) = review::review(scene.state) else {
        let words = Words::new()
            .muted("The plane no longer lists this approval. Esc returns to the queue.");
        missing_screen::sentence(scene, words, area, buf);
        return Drawn::default();
    };
    let (title, rest) = split_row(area);
    draw_title(scene, &view, title, buf);
    let rest = draw_notices(scene, &view, rest, buf);
    let width = usize::from(area.width.saturating_sub(2));

    // Sentence and gate never scroll away, so they get their rows first.
    let mut sentence = prose::words(&view.sentence).all_bold().wrap(width);
    let most = usize::from(rest.height / 4).max(2);
    if sentence.len() > most {
        sentence.truncate(most);
        if let Some(last) = sentence.last_mut() {
            *last = last.clone().text(" …").head(width);
        }
    }
    if !view.partial.is_empty() {
        sentence.push(prose::in_role(&view.partial, Role::Warn));
    }
    let wide = area.width >= WIDE;
    let gate = gate_rows(scene, &view, width, wide);
    let copy = rest;
    let (head, rest) = split_rows(rest, sentence.len() as u16);
    pane::rows(pen, buf, inside(head), &sentence);
    let gate_height = (gate.len() as u16 + u16::from(wide)).min(rest.height / 2);
    let (middle, bottom) = split_rows(rest, rest.height.saturating_sub(gate_height));
    let drawn = if wide {
        let (rule, lines) = split_row(bottom);
        Title::new("Before A works", false).draw(pen, buf, inside(rule));
        pane::rows(pen, buf, inside(lines), &gate);
        let (_, middle) = split_row(middle);
        draw_wide(scene, &view, middle, buf)
    } else {
        pane::rows(pen, buf, inside(bottom), &gate);
        draw_narrow(scene, &view, middle, buf)
    };
    if view.moved {
        // All of the copy is what was known before something moved.
        let copy = Rect {
            height: bottom.y.saturating_sub(copy.y),
            ..copy
        };
        pen.recolor(buf, copy, Role::Stale);
    }
    drawn
}

fn draw_title(scene: &Scene<'_>, view: &ReviewView, area: Rect, buf: &mut Buffer) {
    let name = match view.place {
        Some((at, of)) if view.together => format!("Review {at} of {of} marked"),
        Some((at, of)) => format!("Review {at} of {of}"),
        None => "Review".to_owned(),
    };
    let mut waits = Words::new();
    if let Some(old) = view.old {
        waits = waits
            .bold(format!("{} old", text::age(old)), Role::Warn)
            .gap(3);
    }
    let waits = waits.muted("waits ").text(text::age(view.wait)).gap(3);
    let facts = match (view.left, view.band) {
        (None, _) => waits.muted("no deadline"),
        (Some(left), _) if left.as_millis() == 0 => {
            waits.bold("its deadline has passed", Role::Crit)
        }
        (Some(left), 0) => waits.bold(
            format!(
                "SLA critical: {} to the deadline, then timeout",
                text::age(left)
            ),
            Role::Crit,
        ),
        (Some(left), 1) => waits.ink(
            format!("SLA {} to the deadline", text::age(left)),
            Role::Warn,
        ),
        (Some(left), _) => waits.text(format!("SLA {}", text::age(left))),
    };
    Title::new(&name, true)
        .facts(facts)
        .draw(scene.pen(), buf, inside(area));
}

fn draw_notices(scene: &Scene<'_>, view: &ReviewView, area: Rect, buf: &mut Buffer) -> Rect {
    let pen = scene.pen();
    let width = usize::from(area.width.saturating_sub(3));
    let mut lines = Vec::new();
    let mut role = Role::Warn;
    if let Some(refused) = &view.refused {
        role = Role::Crit;
        lines.push(
            Words::new()
                .glyph(scene.glyphs, Glyph::Denied, Ink::new(Role::Crit).bold())
                .bold(format!(" {}   ", refused.what), Role::Crit)
                .line(&refused.code, Role::Text),
        );
        lines.extend(Words::new().line(&refused.text, Role::Text).wrap(width));
    }
    for condition in &view.gate {
        if condition.met == Met::Moved {
            lines.extend(Words::new().line(&condition.why, Role::Text).wrap(width));
        }
    }
    if view.moved {
        lines.push(Words::new().muted(format!(
            "What follows is the copy that you read, frozen at {}.",
            text::clock(view.read_at)
        )));
    }
    let room = Rect {
        height: area.height / 3,
        ..area
    };
    let rows = pane::notice(pen, buf, room, role, &lines);
    split_rows(area, rows).1
}

/// The conditions of a yes: the first one that is not met is lit.
fn gate_rows(scene: &Scene<'_>, view: &ReviewView, width: usize, wide: bool) -> Vec<Words> {
    let mut lit = false;
    let mut lines = vec![if wide {
        Words::new()
    } else {
        Words::new().muted("Before A")
    }];
    for condition in &view.gate {
        let unmet = condition.met != Met::Yes;
        let words = condition_words(scene, condition, unmet && !lit);
        lit |= unmet;
        let last = lines.last_mut().expect("there is always a line");
        let gap = if last.is_empty() { 0 } else { 3 };
        if last.is_empty() || last.width() + gap + words.width() <= width {
            *last = last.clone().gap(gap).then(words);
        } else {
            lines.push(words);
        }
    }
    lines
}

fn condition_words(scene: &Scene<'_>, condition: &Condition, first_unmet: bool) -> Words {
    let (glyph, ink) = match condition.met {
        Met::Yes => (Glyph::Check, Ink::new(Role::Ok)),
        Met::NotYet => (Glyph::Open, Ink::new(Role::Muted)),
        Met::Moved => (Glyph::Moved, Ink::new(Role::Warn)),
        Met::Never => (Glyph::Cross, Ink::new(Role::Crit)),
    };
    let ink = match (first_unmet, condition.met) {
        (true, Met::Never) => Ink::new(Role::Crit).bold(),
        (true, _) => Ink::new(Role::Warn).bold(),
        (false, _) => ink,
    };
    let word = if first_unmet {
        ink
    } else {
        Ink::new(Role::Muted)
    };
    Words::new()
        .glyph(scene.glyphs, glyph, ink)
        .gap(1)
        .line(&condition.text, word)
}

fn fact_rows(facts: &[Fact], width: usize) -> Vec<Words> {
    facts
        .iter()
        .flat_map(|fact| pane::fact_rows(fact.label, &lit(&prose::words(&fact.value)), width))
        .collect()
}

/// Checks that hold are lit where somebody relies on them, and so are those that do not.
/// `, allowed`: whether policy would let the undo run.
fn undo_in_short(scene: &Scene<'_>) -> Words {
    let review = scene.state.ui.review();
    let judged = review.and_then(|review| compensations::judged(scene.state, &review.job));
    match judged {
        Some(judged) => {
            let (word, fine) = compensations::in_short(judged);
            let ink = if fine {
                Ink::new(Role::Text)
            } else {
                Ink::new(Role::Crit).bold()
            };
            Words::new().muted(", ").ink(word, ink)
        }
        None => Words::new(),
    }
}

fn lit(words: &Words) -> Words {
    let mut out = Words::new();
    for span in words.spans() {
        let text = span.text.as_str();
        out = if let Some(rest) = text.strip_prefix('✓').filter(|_| span.text.escapes() == 0)
            && rest.starts_with(' ')
            && words.spans().len() > 1
        {
            out.ink("✓", Role::Ok).ink(rest.to_owned(), Role::Ok)
        } else if span.ink.bold {
            out.shown(span.text.clone(), Ink::new(Role::Crit).bold())
        } else {
            out.shown(span.text.clone(), span.ink)
        };
    }
    out
}

fn draw_wide(scene: &Scene<'_>, view: &ReviewView, area: Rect, buf: &mut Buffer) -> Drawn {
    let pen = scene.pen();
    let area = inside(area);
    let left_width = area.width * 73 / 118;
    let left = Rect {
        width: left_width,
        ..area
    };
    let right = indent(area, left_width + 3);
    let request = fact_rows(&view.request, usize::from(left.width));
    let (title, rest) = split_row(left);
    Title::new("Request", false).draw(pen, buf, title);
    let (facts, rest) = split_rows(rest, (request.len() as u16).min(rest.height / 3));
    pane::rows(pen, buf, facts, &request);
    let (_, rest) = split_row(rest);
    let mut drawn = draw_payload(scene, view, rest, buf);
    let width = usize::from(right.width);
    let mut rows = Vec::new();
    for (name, note, facts) in sections(view) {
        if !rows.is_empty() {
            rows.push(Words::new());
        }
        rows.push(rule(scene, name, note, width));
        rows.extend(fact_rows(facts, width));
    }
    let most = rows.len().saturating_sub(usize::from(right.height));
    let from = view.facts_scroll.min(most);
    pane::rows(pen, buf, right, &rows[from..]);
    if most > from {
        let last = Rect {
            y: right.bottom().saturating_sub(1),
            height: right.height.min(1),
            ..right
        };
        let words = Words::new()
            .muted(format!(
                "{} more, ",
                text::count((most - from) as u64, "row", "rows")
            ))
            .bold("h l", Role::Accent)
            .muted(" goes there");
        pen.ground(buf, last, Role::Bg);
        pen.put(buf, last, &words);
    }
    if view.facts_focused {
        drawn.height = right.height;
        drawn.rows = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    }
    drawn
}

/// Name, note at the right, and facts of what is beside the payload.
fn sections(view: &ReviewView) -> [(&'static str, &str, &[Fact]); 5] {
    [
        ("Policy", "", &view.policy),
        ("Blast radius", "", &view.blast),
        ("Undo", "", &view.undo),
        ("If you say yes", "", &view.limits),
        ("Like this one", &view.precedents_of, &view.precedents),
    ]
}

fn rule(scene: &Scene<'_>, name: &str, note: &str, width: usize) -> Words {
    let words = Words::new().bold(name, Role::Text).gap(1);
    let note = Words::new().gap(usize::from(!note.is_empty())).muted(note);
    let left = width.saturating_sub(words.width() + note.width());
    words
        .ink(scene.glyphs.get(Glyph::Rule).repeat(left), Role::Mark)
        .then(note)
}

fn draw_narrow(scene: &Scene<'_>, view: &ReviewView, area: Rect, buf: &mut Buffer) -> Drawn {
    let pen = scene.pen();
    let area = inside(area);
    let width = usize::from(area.width);
    if view.facts_focused {
        let mut rows = fact_rows(&view.request, width);
        for (name, note, facts) in sections(view) {
            rows.push(Words::new());
            rows.push(rule(scene, name, note, width));
            rows.extend(fact_rows(facts, width));
        }
        let most = rows.len().saturating_sub(usize::from(area.height));
        pane::rows(pen, buf, area, &rows[view.facts_scroll.min(most)..]);
        return Drawn {
            height: area.height,
            rows: u32::try_from(rows.len()).unwrap_or(u32::MAX),
            ..Drawn::default()
        };
    }
    let find = |facts: &[Fact], label: &str| {
        facts
            .iter()
            .find(|fact| fact.label == label)
            .map(|fact| lit(&prose::words(&fact.value)))
            .unwrap_or_default()
    };
    let facts = [
        pane::fact("asked by", find(&view.request, "asked by")),
        pane::fact(
            "risk",
            find(&view.policy, "risk")
                .muted("   undo ")
                .then(find(&view.undo, "runs"))
                .then(undo_in_short(scene)),
        ),
        pane::fact(
            "bound to",
            find(&view.policy, "snapshot")
                .gap(2)
                .then(find(&view.policy, "job hash")),
        ),
    ];
    let left = pane::rows(pen, buf, area, &facts);
    draw_payload(scene, view, left, buf)
}

/// The payload with its title and the line that says how much of it was shown.
fn draw_payload(scene: &Scene<'_>, view: &ReviewView, area: Rect, buf: &mut Buffer) -> Drawn {
    let pen = scene.pen();
    let (title, rest) = split_row(area);
    Title::new("Payload", !view.facts_focused)
        .facts(payload::title_facts(&view.payload))
        .draw(pen, buf, title);
    let (body, status) = split_rows(rest, rest.height.saturating_sub(1));
    let width = usize::from(body.width);
    let PayloadView::Read(read) = &view.payload else {
        let words = payload::all_rows(scene, &view.payload, width);
        pane::rows(pen, buf, indent(body, 1), &words);
        return Drawn {
            height: body.height,
            rows: u32::try_from(words.len()).unwrap_or(u32::MAX),
            ..Drawn::default()
        };
    };
    let look = payload::Look {
        reveal: view.reveals,
        at_blanks: !scene.state.ui.wide(),
        changed: &view.changed,
    };
    let rows = payload::rows(scene, read, width, look);
    if rows.is_empty() {
        let words = payload::all_rows(scene, &view.payload, width);
        pane::rows(pen, buf, indent(body, 1), &words);
        return Drawn {
            height: body.height,
            rows: u32::try_from(words.len()).unwrap_or(u32::MAX),
            ..Drawn::default()
        };
    }
    let height = usize::from(body.height);
    let from = view.scroll.min(rows.len().saturating_sub(height));
    let shown = &rows[from..rows.len().min(from + height)];
    let words: Vec<Words> = shown.iter().map(|row| row.words.clone()).collect();
    pane::rows(pen, buf, body, &words);
    let payload = match (&read.content, shown.first(), shown.last()) {
        (Content::Text { text, .. }, Some(first), Some(last)) => {
            let byte = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
            view.reading.map(|reading| PayloadDrawn {
                reading,
                from: byte(first.bytes.start),
                to: byte(last.bytes.end),
                of: byte(text.len()),
            })
        }
        _ => None,
    };
    draw_status(scene, view, &rows, shown, status, buf);
    Drawn {
        height: body.height,
        rows: u32::try_from(rows.len()).unwrap_or(u32::MAX),
        payload,
        ..Drawn::default()
    }
}

fn draw_status(
    scene: &Scene<'_>,
    view: &ReviewView,
    rows: &[payload::PayloadRow],
    shown: &[payload::PayloadRow],
    area: Rect,
    buf: &mut Buffer,
) {
    let (Some(first), Some(last), Some(end)) = (shown.first(), shown.last(), rows.last()) else {
        return;
    };
    let all = shown.len() == rows.len();
    let role = if all { Role::Muted } else { Role::Warn };
    let mut words = Words::new().ink(
        format!("lines {}-{} of {}", first.line, last.line, end.line),
        role,
    );
    if !view.changed.is_empty() {
        let lines = text::count(view.changed.len() as u64, "line", "lines");
        words = words
            .muted("   ")
            .ink(format!("~ {lines} changed"), Role::Warn);
    }
    if let PayloadView::Read(read) = &view.payload {
        match &read.content {
            Content::Text { text, secrets, .. } => {
                let hidden = text::hidden_characters(text);
                if hidden > 0 {
                    words = words.muted("   ").ink(
                        text::count(hidden as u64, "control character", "control characters"),
                        Role::Warn,
                    );
                }
                if !secrets.is_empty() {
                    let count = text::count(secrets.len() as u64, "secret", "secrets");
                    words = if view.reveals {
                        words.ink(format!("   {count} shown"), Role::Warn)
                    } else {
                        words
                            .muted(format!("   {count} masked, "))
                            .bold("V", Role::Accent)
                            .muted(" reveals")
                    };
                }
            }
            Content::Binary(_) => words = words.muted("   binary, shown as hex"),
            Content::TooLong { .. } | Content::Missing | Content::Unreadable(_) => {}
        }
    }
    scene.pen().put(buf, area, &words);
}
