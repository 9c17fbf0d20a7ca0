//! How many jobs are where, and how many ended how.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{WIDE, halves};
use crate::state::model::jobs::JobState;
use crate::text;
use crate::tui::screen::jobs::inside;
use crate::tui::screen::{Scene, signs};
use crate::tui::theme::Role;
use crate::tui::widget::pane::Title;
use crate::tui::widget::words::{Ink, Words};
use crate::tui::widget::{indent, split_row};
use crate::view::overview::{self, StateCount};

pub(super) fn draw(scene: &Scene<'_>, wide: bool, area: Rect, buf: &mut Buffer) {
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
