//! The dialogs: what will happen, to what, and the way back.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Front, area_rows, boxed, typed};
use crate::ids::JobId;
use crate::state::event::Source;
use crate::state::model::jobs::{Job, JobState};
use crate::state::ui::modal::{CancelDialog, DecideDialog, Focus, Form, Modal};
use crate::state::ui::prompt::NOTE_BYTES;
use crate::text;
use crate::time::Elapsed;
use crate::tui::glyph::Glyph;
use crate::tui::theme::Role;
use crate::tui::widget::pane::{fact, rows};
use crate::tui::widget::words::{Ink, Words};

/// Cells across, the edge not counted.
const WIDTH: u16 = 70;

/// Jobs that a dialog lists one by one.
const LISTED: usize = 12;

pub(super) fn draw(front: &Front<'_>, modal: &Modal, area: Rect, buf: &mut Buffer) {
    let width = usize::from(WIDTH.min(area.width.saturating_sub(6)));
    let (title, mut lines) = match modal {
        Modal::Cancel(dialog) => cancel(front, dialog, width),
        Modal::Approve(dialog) => approve(front, dialog, width),
        Modal::Reject(dialog) => reject(front, dialog, width),
        Modal::Help(_) | Modal::Palette(_) | Modal::Filter(_) | Modal::Log(_) | Modal::Json(_) => {
            return;
        }
    };
    lines.insert(0, Words::new());
    lines.push(Words::new());
    // What is typed and the buttons must stay in sight, so a long list gives way.
    let room = usize::from(area.height.saturating_sub(2));
    if lines.len() > room {
        let cut = lines.len() - room;
        let from = 4.min(lines.len() - cut);
        lines.drain(from..from + cut);
    }
    let edge = match front.ground {
        Role::Frame => Role::Crit,
        Role::Bg | Role::Panel | Role::Sel | Role::OnFrame => Role::Accent,
        chosen => chosen,
    };
    let inside = boxed(
        front,
        area,
        buf,
        (WIDTH, lines.len() as u16),
        (&title, front.context, "Esc go back   Tab next field"),
        edge,
    );
    rows(front.pen, buf, inside, &lines);
}

fn sentences(text: &str, width: usize, role: Role) -> Vec<Words> {
    Words::new().line(text, role).wrap(width)
}

fn cancel(front: &Front<'_>, dialog: &CancelDialog, width: usize) -> (String, Vec<Words>) {
    let model = &front.state.model;
    let now = front.state.now;
    let left: Vec<&JobId> = dialog.left().collect();
    let mut lines = Vec::new();
    let title;
    let act;
    if let [only] = dialog.jobs.as_slice() {
        title = "Cancel this job".to_owned();
        act = "Cancel the job".to_owned();
        match model.jobs.get(only) {
            Some(job) => lines.extend(sentences(&what_stops(job, now), width, Role::Text)),
            None => lines.extend(sentences("The job is no longer known.", width, Role::Warn)),
        }
        lines.push(
            Words::new().text("Nothing is undone: a cancel never starts the workflow's rollback."),
        );
        lines.push(Words::new());
        lines.push(fact("job", Words::new().line(only.as_str(), Role::Text)));
        lines.push(fact("asks", Words::new().text(asks(front, only))));
        if left.is_empty() {
            lines.push(Words::new().ink("It ended by itself; nothing to cancel.", Role::Warn));
        }
    } else {
        title = format!("Cancel {} jobs", left.len());
        act = title.clone();
        let running = |job: &&JobId| {
            model
                .jobs
                .get(job)
                .is_some_and(|job| job.state.is_some_and(JobState::is_with_worker))
        };
        let run = left.iter().copied().filter(|job| running(job)).count();
        let waiting = left.len() - run;
        lines.extend(sentences(
            &format!("{run} running jobs lose their work, {waiting} waiting jobs never start."),
            width,
            Role::Text,
        ));
        lines.push(Words::new().text("Nothing is undone."));
        lines.push(Words::new());
        for id in dialog.jobs.iter().take(LISTED) {
            lines.push(listed(front, id, dialog.ended.contains(id)));
        }
        if dialog.jobs.len() > LISTED {
            lines.push(Words::new().muted(format!("and {} more", dialog.jobs.len() - LISTED)));
        }
        lines.push(Words::new());
        lines.push(Words::new().muted(if dialog.ended.is_empty() {
            format!(
                "All {} still exist. One that ends before you confirm is left out.",
                left.len()
            )
        } else {
            format!(
                "{} ended by themselves and are left out.",
                dialog.ended.len()
            )
        }));
    }
    lines.push(Words::new());
    lines.extend(note_rows(front, &dialog.form, "reason", 1, width));
    buttons(front, &dialog.form, "type", &act, width, &mut lines);
    (title, lines)
}

fn what_stops(job: &Job, now: crate::time::Timestamp) -> String {
    let topic = job
        .request
        .as_ref()
        .and_then(|request| request.topic.as_deref())
        .unwrap_or("a job of unknown topic");
    let since = duration(now.since(job.since));
    match (job.state, job.worker()) {
        (Some(JobState::Running), Some(worker)) => match job.percent() {
            Some(percent) => format!("{topic} on {worker} stops at {percent}%, after {since}."),
            None => format!("{topic} on {worker} stops, after {since}."),
        },
        (Some(JobState::Dispatched), Some(worker)) => {
            format!("{topic} was handed to {worker} {since} ago and stops.")
        }
        (Some(JobState::Running | JobState::Dispatched | JobState::Retrying), _) => {
            format!("{topic} stops, after {since}.")
        }
        _ => format!("{topic} never starts; it has waited for {since}."),
    }
}

fn asks(front: &Front<'_>, job: &JobId) -> String {
    let links = &front.state.model.links;
    let worker = front
        .state
        .model
        .jobs
        .get(job)
        .and_then(|job| job.worker().map(ToString::to_string))
        .unwrap_or_else(|| "its worker".to_owned());
    if links.of(Source::Gateway).is_up() {
        format!("the gateway, then {worker}; both answers are shown")
    } else {
        format!("{worker} over the bus; no gateway records the reason")
    }
}

fn listed(front: &Front<'_>, id: &JobId, ended: bool) -> Words {
    let pen = front.pen;
    let Some(job) = front.state.model.jobs.get(id) else {
        return Words::new().ink(format!("{id}  gone"), Role::Muted);
    };
    let state = job.state.map_or("unknown", |state| state.name());
    let (glyph, role) = match job.state {
        Some(JobState::Running) => (Glyph::Running, Role::Text),
        Some(JobState::ApprovalRequired) => (Glyph::Human, Role::Human),
        _ => (Glyph::Open, Role::Text),
    };
    let role = if ended { Role::Muted } else { role };
    let topic = job.request.as_ref().and_then(|it| it.topic.as_deref());
    let topic = topic.unwrap_or("unknown");
    let words = Words::new()
        .glyph(pen.glyphs, glyph, role)
        .gap(1)
        .ink(state.to_ascii_lowercase(), role)
        .to(20)
        .line(&tail(id.as_str()), role)
        .gap(2)
        .line(topic.strip_prefix("job.").unwrap_or(topic), role);
    match (ended, job.percent(), job.worker()) {
        (true, _, _) => words.gap(2).ink("ended by itself", Role::Muted),
        (false, Some(percent), Some(worker)) => words
            .gap(2)
            .line(&format!("{percent}% on {worker}"), Role::Text),
        (false, _, _) => words,
    }
}

fn approve(front: &Front<'_>, dialog: &DecideDialog, width: usize) -> (String, Vec<Words>) {
    let mut lines = about(front, dialog, width, true);
    lines.push(Words::new());
    lines.extend(note_rows(front, &dialog.form, "note", 2, width));
    lines.push(Words::new());
    buttons(
        front,
        &dialog.form,
        "type the last four of the job id",
        "Approve",
        width,
        &mut lines,
    );
    ("Approve this job".to_owned(), lines)
}

fn reject(front: &Front<'_>, dialog: &DecideDialog, width: usize) -> (String, Vec<Words>) {
    let mut lines = about(front, dialog, width, false);
    lines.push(Words::new());
    let bytes = format!("{}/{NOTE_BYTES} bytes", dialog.form.note.value().len());
    let head = "reason (the agent and the audit record read it)";
    let gap = width.saturating_sub(head.len() + bytes.len());
    lines.push(Words::new().muted(head).gap(gap).muted(bytes));
    let focused = dialog.form.focus == Focus::Note;
    let mut reason = area_rows(front.pen, &dialog.form.note, focused, width - 1, 4);
    reason.resize(4, Words::new());
    lines.extend(
        reason
            .into_iter()
            .map(|line| Words::new().gap(1).then(line)),
    );
    buttons(front, &dialog.form, "", "Reject", width, &mut lines);
    ("Reject this job".to_owned(), lines)
}

fn about(front: &Front<'_>, dialog: &DecideDialog, width: usize, yes: bool) -> Vec<Words> {
    let Some(id) = dialog.jobs.first() else {
        return Vec::new();
    };
    let model = &front.state.model;
    let approval = model.approvals.get(id);
    let request = approval.and_then(|it| it.fact.job.request.as_ref());
    let actor = request
        .and_then(|it| it.actor.as_deref().or(it.principal.as_deref()))
        .unwrap_or("an unknown actor");
    let topic = request
        .and_then(|it| it.topic.as_deref())
        .unwrap_or("unknown");
    let tenant = request
        .and_then(|it| it.tenant.as_deref())
        .unwrap_or("unknown");
    let mut lines = Vec::new();
    if yes {
        let says = format!("{actor} will run {topic}, tenant {tenant}.");
        lines.extend(sentences(&says, width, Role::Text));
        let undo = match approval.and_then(|it| it.undo()) {
            Some(Some(undo)) => format!("Undo: {}.", undo.topic),
            Some(None) => "Undo: none. What it does stays done.".to_owned(),
            None => "Undo: unknown; the plane does not tell.".to_owned(),
        };
        lines.extend(sentences(&undo, width, Role::Text));
    } else {
        let says = format!("{actor} will not run {topic}. The job ends DENIED.");
        lines.extend(sentences(&says, width, Role::Text));
    }
    lines.push(Words::new());
    lines.push(fact("job", Words::new().line(id.as_str(), Role::Text)));
    if yes && let Some(review) = front.state.ui.review() {
        let part = |text: &Option<std::sync::Arc<str>>| {
            text.as_deref().map_or("unknown".to_owned(), short_hash)
        };
        let bound = format!(
            "policy {}, request {}, payload {}",
            part(&review.read.policy_snapshot),
            part(&review.read.job_hash),
            review
                .read
                .payload_sha256
                .as_deref()
                .map_or("none".to_owned(), short_hash),
        );
        lines.push(fact("bound to", Words::new().line(&bound, Role::Text)));
    }
    lines
}

fn note_rows(front: &Front<'_>, form: &Form, label: &str, rows: usize, width: usize) -> Vec<Words> {
    let focused = form.focus == Focus::Note;
    let room = width.saturating_sub(11);
    let mut lines = area_rows(front.pen, &form.note, focused, room, rows);
    lines.resize(rows.max(1), Words::new());
    lines
        .into_iter()
        .enumerate()
        .map(|(row, line)| fact(if row == 0 { label } else { "" }, line))
        .collect()
}

/// The line that must match, and the buttons.
fn buttons(
    front: &Front<'_>,
    form: &Form,
    ask: &str,
    act: &str,
    width: usize,
    lines: &mut Vec<Words>,
) {
    let pen = front.pen;
    let guarded = front.state.ui.is_guarded(front.state.now);
    if let Some(wanted) = &form.wanted {
        let value = form.typed.value();
        let right = value
            .char_indices()
            .zip(wanted.chars())
            .take_while(|((_, typed), wanted)| typed == wanted)
            .last()
            .map_or(0, |((at, c), _)| at + c.len_utf8());
        let label = if wanted.contains(' ') {
            Words::new()
                .muted(ask)
                .to(11)
                .line(wanted, Role::Text)
                .gap(4)
        } else {
            Words::new().muted(ask).gap(3)
        };
        let words = if form.focus == Focus::Typed && value.is_empty() {
            typed(pen, &form.typed, true, width / 2)
        } else {
            let mut words = Words::new()
                .line(&value[..right], Ink::new(Role::Text).bold())
                .line(&value[right..], Ink::new(Role::Crit).bold());
            if form.focus == Focus::Typed {
                let cursor = if pen.glyphs.is_ascii() { "|" } else { "▏" };
                words = words.ink(cursor, Ink::new(Role::Accent).bold());
            }
            words
        };
        let mut line = label.then(words);
        if right < value.len() && !wanted.contains(' ') {
            line = line
                .gap(3)
                .ink(format!("the id ends in {wanted}"), Role::Crit);
        }
        lines.push(line);
        lines.push(Words::new());
    } else {
        lines.push(Words::new());
    }
    let button = |name: &str, focus: Focus, works: bool| {
        let name = format!(" {name} ");
        if guarded || !works {
            Words::new().ink(name, Role::Muted)
        } else if form.focus == focus {
            Words::new().badge(name, Role::Accent)
        } else {
            Words::new().bold(name, Role::Text)
        }
    };
    let hint = match (form.focus, form.ready()) {
        _ if guarded => "",
        (Focus::Note, _) if form.wanted.is_none() => "Tab twice, then Enter",
        (_, false) if !form.matches() => "Enter does nothing until it matches",
        (_, false) => "a text is needed",
        (Focus::Typed, true) => "Enter confirms",
        (Focus::GoBack, true) => "Enter goes back",
        (Focus::Act, true) => "Enter confirms",
        (Focus::Note, true) => "Tab goes on",
    };
    lines.push(
        Words::new()
            .gap(2)
            .then(button("Go back", Focus::GoBack, true))
            .gap(3)
            .then(button(act, Focus::Act, form.ready()))
            .gap(3)
            .muted(hint),
    );
}

fn duration(elapsed: Elapsed) -> String {
    text::duration(elapsed)
}

/// The last eight characters of an id.
fn tail(id: &str) -> String {
    let count = id.chars().count();
    id.chars().skip(count.saturating_sub(8)).collect()
}

/// `8c1f…a2e7`.
fn short_hash(hash: &str) -> String {
    let count = hash.chars().count();
    if count <= 16 {
        return hash.to_owned();
    }
    let head: String = hash.chars().take(4).collect();
    let end: String = hash.chars().skip(count - 4).collect();
    format!("{head}…{end}")
}
