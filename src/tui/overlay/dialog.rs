//! The dialogs: what will happen, to what, and the way back.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Front, area_rows, boxed, typed};
use crate::state::action::Action;
use crate::state::model::approvals::held;
use crate::state::ui::modal::{DecideDialog, Focus, Form, Modal, RetryDialog};
use crate::state::ui::prompt::NOTE_BYTES;
use crate::text::{self, Shown};
use crate::time::Elapsed;
use crate::tui::glyph::Glyph;
use crate::tui::screen::prose;
use crate::tui::theme::Role;
use crate::tui::widget::pane::{fact, fact_rows, rows};
use crate::tui::widget::words::{Ink, Words};
use crate::view::together::{TogetherRow, deed, together};
use crate::view::{self, Prose, compensations};

mod cancel;

/// Cells across, the edge not counted.
const WIDTH: u16 = 70;

pub(super) fn draw(front: &Front<'_>, modal: &Modal, area: Rect, buf: &mut Buffer) {
    let width = usize::from(WIDTH.min(area.width.saturating_sub(6)));
    // Without the edge and the blank rows at its inside.
    let room = usize::from(area.height.saturating_sub(4));
    let (title, mut lines) = match modal {
        Modal::Cancel(dialog) => cancel::draw(front, dialog, width),
        Modal::Approve(dialog) | Modal::Reject(dialog) if dialog.jobs.len() > 1 => {
            decide_several(front, dialog, width, room)
        }
        Modal::Approve(dialog) => approve(front, dialog, width),
        Modal::Reject(dialog) => reject(front, dialog, width),
        Modal::Retry(dialog) => retry(front, dialog, width),
        Modal::Help(_)
        | Modal::Palette(_)
        | Modal::Filter(_)
        | Modal::Log(_)
        | Modal::Json(_)
        | Modal::Explain { .. }
        | Modal::Cause { .. }
        | Modal::Flip { .. } => return,
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
    refused(front, &Action::Approve, width, &mut lines);
    ("Approve this job".to_owned(), lines)
}

/// Says in place of the buttons why they would not work: what was so when the dialog
/// opened need not be so any more.
fn refused(front: &Front<'_>, action: &Action, width: usize, lines: &mut Vec<Words>) {
    if let Some(reason) = front.state.ui.refusal(action, &front.state.model) {
        lines.pop();
        let says = format!("Not now: {reason}");
        lines.extend(sentences(&says, width, Role::Warn));
    }
}

fn reject(front: &Front<'_>, dialog: &DecideDialog, width: usize) -> (String, Vec<Words>) {
    let mut lines = about(front, dialog, width, false);
    lines.push(Words::new());
    lines.extend(reason_rows(front, &dialog.form, width, 4));
    buttons(front, &dialog.form, "", "Reject", width, &mut lines);
    refused(front, &Action::Reject, width, &mut lines);
    ("Reject this job".to_owned(), lines)
}

fn reason_rows(front: &Front<'_>, form: &Form, width: usize, rows: usize) -> Vec<Words> {
    let bytes = format!("{}/{NOTE_BYTES} bytes", form.note.value().len());
    let head = "reason (the agent and the audit record read it)";
    let gap = width.saturating_sub(head.len() + bytes.len());
    let mut lines = vec![Words::new().muted(head).gap(gap).muted(bytes)];
    let focused = form.focus == Focus::Note;
    let mut reason = area_rows(front.pen, &form.note, focused, width - 1, rows);
    reason.resize(rows, Words::new());
    lines.extend(
        reason
            .into_iter()
            .map(|line| Words::new().gap(1).then(line)),
    );
    lines
}

/// One decision about several jobs: what it does, to which, and their number.
fn decide_several(
    front: &Front<'_>,
    dialog: &DecideDialog,
    width: usize,
    room: usize,
) -> (String, Vec<Words>) {
    let view = together(&front.state.model, dialog);
    let yes = dialog.verb == "approve";
    let left = dialog.left().count();
    let jobs = text::count(left as u64, "job", "jobs");
    let title = format!("{} {jobs}", if yes { "Approve" } else { "Reject" });
    let mut head = prose::words(&view.sentence).wrap(width);
    if left == 0 {
        // Nothing happens, so there is nothing to sum up.
    } else if yes {
        let undo = view.undo.then(Prose::new().own(" ")).then(view.behind);
        for says in [&view.touches, &undo] {
            head.extend(prose::words(says).wrap(width));
        }
    } else {
        let ends = Prose::new().own("They end DENIED. ").then(view.behind);
        head.extend(prose::words(&ends).wrap(width));
    }
    head.push(Words::new());
    let mut below = vec![Words::new()];
    if yes {
        below.extend(note_rows(front, &dialog.form, "note", 2, width));
    } else {
        below.extend(reason_rows(front, &dialog.form, width, 2));
    }
    below.push(Words::new());
    if let (Some(all), Some(one)) = (&dialog.form.wanted, &dialog.form.or) {
        let says = format!("{all} for all of them, {one} for ");
        let shown = tail(dialog.shown.as_str());
        let says = Words::new().muted(says).line(&shown, Role::Muted);
        below.push(fact("", says.muted(" alone")));
    }
    buttons(front, &dialog.form, "type", &title, width, &mut below);
    let rows: Vec<Words> = view
        .rows
        .iter()
        .map(|row| several_row(front, dialog, row))
        .collect();
    if head.len() + below.len() + rows.len() > room {
        // Blank rows give way before anything that says something.
        head.retain(|words| !words.is_empty());
        below.retain(|words| !words.is_empty());
    }
    let list_room = room.saturating_sub(head.len() + below.len()).max(1);
    let mut lines = head;
    if rows.len() <= list_room {
        lines.extend(rows);
    } else {
        let shown = list_room - 1;
        let hidden = rows.len() - shown;
        lines.extend(rows.into_iter().take(shown));
        lines.push(Words::new().ink(
            format!("{hidden} more; a taller window lists them"),
            Role::Warn,
        ));
    }
    lines.extend(below);
    (title, lines)
}

fn several_row(front: &Front<'_>, dialog: &DecideDialog, row: &TogetherRow) -> Words {
    let glyphs = front.pen.glyphs;
    let role = if row.out.is_some() {
        Role::Muted
    } else {
        Role::Text
    };
    let here = row.id == dialog.shown;
    let name = |value: &Option<std::sync::Arc<str>>, missing: &str| match value {
        Some(value) => Words::new().shown(Shown::head_of(value, 20), role),
        None => Words::new().ink(missing, Role::Muted),
    };
    let words = Words::new()
        .glyph(glyphs, if here { Glyph::Cursor } else { Glyph::Dot }, role)
        .gap(1)
        .shown(Shown::tail_of(&tail(row.id.as_str()), 8), role)
        .gap(2)
        .then(name(&row.requester, "unknown"))
        .to(24)
        .then(name(&row.resource, "no resource"))
        .to(46);
    match (&row.out, row.undo) {
        (Some(out), _) => words.line(out, Role::Warn),
        (None, Some(true)) => words.ink("undo yes", role),
        (None, Some(false)) => words.bold("undo NO", Role::Crit),
        (None, None) => words.muted("undo unknown"),
    }
}

fn retry(front: &Front<'_>, dialog: &RetryDialog, width: usize) -> (String, Vec<Words>) {
    let model = &front.state.model;
    let letter = model.letters.get(&dialog.job);
    let mut lines = Vec::new();
    lines.extend(sentences(
        "Retry makes a new job with a new id; this entry goes away.",
        width,
        Role::Text,
    ));
    let (copies, role) = match model.letters.retry_copies() {
        Some(true) => ("Labels and risk tags are copied: yes.", Role::Text),
        Some(false) => (
            "This gateway drops labels and risk tags, so policy may judge the new job differently.",
            Role::Warn,
        ),
        None => (
            "Whether labels and risk tags are copied is unknown: no gateway has listed it.",
            Role::Warn,
        ),
    };
    lines.extend(sentences(copies, width, role));
    let job = model.jobs.get(&dialog.job);
    let done = if job.is_some_and(|job| view::rollbacks::never_ran(job)) {
        "It never ran, so it has done nothing."
    } else if view::rollbacks::was_undone(model, &dialog.job, front.state.now) {
        "What it did before it died was undone since."
    } else {
        "Nothing is undone first: what it did before it died stays done."
    };
    lines.push(Words::new().text(done));
    lines.push(Words::new());
    let mut part = |label: &str, value: Option<&str>| {
        let value = value.unwrap_or("unknown");
        lines.extend(fact_rows(
            label,
            &Words::new().line(value, Role::Text),
            width,
        ));
    };
    part("job", Some(dialog.job.as_str()));
    let topic = letter.and_then(|it| it.topic.as_deref());
    part("topic", topic.or_else(|| job.and_then(|job| job.topic())));
    part("tenant", job.and_then(|job| job.tenant()));
    part("died of", letter.and_then(|it| it.reason_code.as_deref()));
    part("", letter.and_then(|it| it.reason.as_deref()));
    if letter.is_none() {
        lines.push(Words::new());
        lines.push(Words::new().ink(
            "It is no longer among the dead letters; nothing to retry.",
            Role::Warn,
        ));
    }
    buttons(
        front,
        &dialog.form,
        "",
        "Retry as a new job",
        width,
        &mut lines,
    );
    ("Retry this dead letter".to_owned(), lines)
}

fn about(front: &Front<'_>, dialog: &DecideDialog, width: usize, yes: bool) -> Vec<Words> {
    let Some(id) = dialog.jobs.first() else {
        return Vec::new();
    };
    let model = &front.state.model;
    let approval = model.approvals.get(id).map(AsRef::as_ref);
    let request = approval.and_then(|it| it.fact.job.request.as_ref());
    let held = approval.and_then(|it| held(it, &model.jobs));
    let behind = text::count(
        u64::from(held.unwrap_or(0)),
        "known job stands",
        "known jobs stand",
    );
    let mut lines = Vec::new();
    if yes {
        let says = deed(approval, " will run ").own(", tenant ");
        let says = match request.and_then(|it| it.tenant.clone()) {
            Some(tenant) => says.outside(tenant),
            None => says.own("unknown"),
        };
        lines.extend(prose::words(&says.own(".")).wrap(width));
        if held.is_some_and(|held| held > 0) {
            lines.push(Words::new().text(format!("{behind} behind it.")));
        }
        let undo = Prose::new();
        let undo = match approval.and_then(|it| it.undo()) {
            Some(Some(undo_by)) => undo
                .own("Undo: ")
                .outside(undo_by.topic.clone())
                .then(compensations::which(front.state, id))
                .own("."),
            Some(None) => undo.own("Undo: none. What it does stays done."),
            None => undo.own("Undo: unknown; the plane does not tell."),
        };
        lines.extend(prose::words(&undo).strong_in(Role::Crit).wrap(width));
    } else {
        let says = deed(approval, " will not run ").own(".");
        lines.extend(prose::words(&says).wrap(width));
        let steps = view::rollbacks::steps_behind(model, id, front.state.now);
        let ends = match (steps, held) {
            (Some(steps), _) => format!(
                "The job ends DENIED and the rollback stops here: {} behind it.",
                view::rollbacks::more_steps(steps)
            ),
            (None, Some(1..)) => format!("The job ends DENIED; {behind} behind it."),
            (None, Some(0) | None) => "The job ends DENIED.".to_owned(),
        };
        lines.extend(sentences(&ends, width, Role::Text));
    }
    lines.push(Words::new());
    lines.push(fact("job", Words::new().line(id.as_str(), Role::Text)));
    let reviews = front.state.ui.reviews();
    if yes && let Some(review) = reviews.and_then(|it| it.get(id)) {
        let part = |value: &Option<std::sync::Arc<str>>, missing: &str| {
            value.as_deref().map_or(missing.to_owned(), text::digest)
        };
        let bound = format!(
            "policy {}, request {}, payload {}",
            part(&review.read.policy_snapshot, "unknown"),
            part(&review.read.job_hash, "unknown"),
            part(&review.read.payload_sha256, "none"),
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
        let agrees = |wanted: &str| {
            value
                .char_indices()
                .zip(wanted.chars())
                .take_while(|((_, typed), wanted)| typed == wanted)
                .last()
                .map_or(0, |((at, c), _)| at + c.len_utf8())
        };
        let right = agrees(wanted).max(form.or.as_deref().map_or(0, agrees));
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
        if !wanted.contains(' ') {
            let missing = wanted.chars().count() - value[..right].chars().count();
            line = match (right < value.len(), missing) {
                (true, _) => line
                    .gap(3)
                    .ink(format!("the id ends in {wanted}"), Role::Crit),
                (false, 0) => line,
                (false, missing) => line.gap(3).muted(format!("{missing} more")),
            };
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
