//! Signs and words of states: no state is told by color alone.

use crate::state::model::jobs::{Decision, JobState};
use crate::state::model::workers::Standing;
use crate::tui::glyph::{Glyph, Glyphs};
use crate::tui::theme::Role;
use crate::tui::widget::words::{Ink, Words};
use crate::view::workers::WorkerLamp;

/// A state of a job: its sign, its word, its look.
pub(in crate::tui) fn job_state(state: Option<JobState>) -> (Glyph, &'static str, Ink) {
    let plain = Ink::new;
    let (glyph, ink) = match state {
        Some(JobState::Pending) => (Glyph::Open, plain(Role::Text)),
        Some(JobState::ApprovalRequired) => (Glyph::Human, plain(Role::Human).bold()),
        Some(JobState::Scheduled) => (Glyph::Scheduled, plain(Role::Text)),
        Some(JobState::Dispatched) => (Glyph::Dispatched, plain(Role::Text)),
        Some(JobState::Running) => (Glyph::Running, plain(Role::Text)),
        Some(JobState::Retrying) => (Glyph::Retrying, plain(Role::Warn)),
        Some(JobState::Succeeded) => (Glyph::Check, plain(Role::Muted)),
        Some(JobState::Failed) => (Glyph::Cross, plain(Role::Crit)),
        Some(JobState::Cancelled) => (Glyph::Cancelled, plain(Role::Muted)),
        Some(JobState::Timeout) => (Glyph::Timeout, plain(Role::Warn)),
        Some(JobState::Denied) => (Glyph::Denied, plain(Role::Crit)),
        Some(JobState::OutputQuarantined) => (Glyph::Quarantined, plain(Role::Crit)),
        None => (Glyph::Dot, plain(Role::Muted)),
    };
    (glyph, state.map_or("unknown", JobState::word), ink)
}

/// A state of a job as sign and word.
pub(super) fn job_words(glyphs: Glyphs, state: Option<JobState>) -> Words {
    let (glyph, word, ink) = job_state(state);
    Words::new()
        .glyph(glyphs, glyph, ink)
        .ink(format!(" {word}"), ink)
}

/// How a worker stands: its sign, its word, its look.
pub(super) fn standing(standing: Standing) -> (Glyph, &'static str, Ink) {
    let (glyph, ink) = match standing {
        Standing::Lost => (Glyph::Open, Ink::new(Role::Crit).bold()),
        Standing::Zombie => (Glyph::Zombie, Ink::new(Role::Warn).bold()),
        Standing::Late => (Glyph::Late, Ink::new(Role::Warn)),
        Standing::Draining => (Glyph::Draining, Ink::new(Role::Muted)),
        Standing::Live => (Glyph::Running, Ink::new(Role::Text)),
        Standing::Unknown => (Glyph::Dot, Ink::new(Role::Stale)),
    };
    (glyph, standing.name(), ink)
}

/// How a worker stands as sign and word.
pub(super) fn standing_words(glyphs: Glyphs, stands: Standing) -> Words {
    let (glyph, word, ink) = standing(stands);
    let sign = if stands == Standing::Unknown {
        "?"
    } else {
        glyphs.get(glyph)
    };
    Words::new().ink(sign, ink).ink(format!(" {word}"), ink)
}

/// What policy decided, in the word of the tables.
pub(super) fn decision(decision: Option<Decision>) -> Words {
    let role = match decision {
        Some(Decision::Allow | Decision::AllowWithConstraints) | None => Role::Muted,
        Some(Decision::RequireApproval) => Role::Human,
        Some(Decision::Throttle | Decision::Unavailable) => Role::Warn,
        Some(Decision::Deny) => Role::Crit,
    };
    let word = decision.map_or("—", Decision::word);
    Words::new().ink(word, role)
}

/// One of a worker's lamps, in the middle of four cells.
pub(super) fn lamp(glyphs: Glyphs, lamp: WorkerLamp) -> Words {
    let words = Words::new().gap(1);
    match lamp {
        WorkerLamp::Good => words.glyph(glyphs, Glyph::Running, Role::Muted),
        WorkerLamp::Late => words.glyph(glyphs, Glyph::Late, Role::Warn),
        WorkerLamp::Lost => words.glyph(glyphs, Glyph::Open, Ink::new(Role::Crit).bold()),
        WorkerLamp::Bad => words.glyph(glyphs, Glyph::Cross, Ink::new(Role::Crit).bold()),
        WorkerLamp::Idle => words.glyph(glyphs, Glyph::Dot, Role::Muted),
        WorkerLamp::Unknown => words.ink("?", Role::Stale),
    }
}
