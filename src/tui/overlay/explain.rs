//! `E`: what policy says of a job now, rule by rule.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Front, scrolled};
use crate::ids::JobId;
use crate::state::action::Drawn;
use crate::state::model::jobs::Decision;
use crate::state::model::policy::{FactTrace, RuleTrace};
use crate::tui::glyph::Glyph;
use crate::tui::screen::prose;
use crate::tui::theme::Role;
use crate::tui::widget::Pen;
use crate::tui::widget::words::{Ink, Words};
use crate::view::policy;

/// Wide enough for a rule and what it asks.
const WIDTH: u16 = 100;

pub(super) fn draw(
    front: &Front<'_>,
    job: &JobId,
    scroll: usize,
    area: Rect,
    buf: &mut Buffer,
) -> Drawn {
    let width = usize::from(WIDTH.min(area.width.saturating_sub(6)));
    let view = policy::explain(front.state, job);
    let mut lines = Words::new()
        .muted("job ")
        .line(job.as_str(), Role::Text)
        .wrap(width);
    for says in &view.says {
        lines.extend(prose::words(says).wrap(width));
    }
    if !view.rules.is_empty() {
        lines.push(Words::new());
    }
    for (at, rule) in view.rules.iter().enumerate() {
        lines.extend(rule_rows(front.pen, at + 1, rule, width));
    }
    let titles = ("What policy says now", "", "j k scroll   Esc close");
    scrolled(front, area, buf, WIDTH, titles, &lines, scroll)
}

/// `3 approval-prod-write  topics ✓  labels.env prod ✗ (is "stage")`.
fn rule_rows(pen: Pen<'_>, number: usize, rule: &RuleTrace, width: usize) -> Vec<Words> {
    let met = rule.facts.iter().all(|fact| fact.holds);
    let decides = rule
        .outcome
        .as_deref()
        .is_some_and(|it| it.starts_with("decides"));
    let role = if met { Role::Text } else { Role::Muted };
    let ink = if decides {
        Ink::new(Role::Text).bold()
    } else {
        Ink::new(role)
    };
    let mut words = Words::new()
        .ink(format!("{number:>2} "), role)
        .line(&rule.id, ink)
        .gap(2);
    if rule.facts.is_empty() {
        words = words.muted("matches everything").gap(2);
    }
    for fact in &rule.facts {
        words = words.then(fact_words(pen, fact)).gap(2);
    }
    let would = rule
        .decision
        .map(Decision::name)
        .map(str::to_ascii_lowercase);
    words = match (&rule.outcome, would) {
        (Some(outcome), Some(would)) => words.line(outcome, ink).muted(format!(" ({would})")),
        (Some(outcome), None) => words.line(outcome, ink),
        (None, Some(would)) => words.muted(would),
        (None, None) => words,
    };
    let mut lines = words.wrap(width.saturating_sub(3)).into_iter();
    let mut all: Vec<Words> = lines.next().into_iter().collect();
    all.extend(lines.map(|line| Words::new().gap(3).then(line)));
    all
}

fn fact_words(pen: Pen<'_>, fact: &FactTrace) -> Words {
    let words = Words::new().line(&fact.field, Role::Muted).gap(1);
    if fact.holds {
        return words.glyph(pen.glyphs, Glyph::Check, Role::Text);
    }
    let words = match &fact.wanted {
        Some(wanted) => words.muted("wants ").line(wanted, Role::Text).gap(1),
        None => words,
    };
    let words = words.glyph(pen.glyphs, Glyph::Cross, Role::Warn);
    match &fact.seen {
        Some(seen) => words.muted(" (is \"").line(seen, Role::Text).muted("\")"),
        None => words.muted(" (is not there)"),
    }
}
