//! The rollbacks: workflows, the steps of the one under the cursor, dead letters.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::state::action::Drawn;
use crate::state::model::compensations::Judged;
use crate::state::model::jobs::Decision;
use crate::state::model::rollbacks::{StackState, StepState};
use crate::state::ui::ListId;
use crate::text::{self, Shown};
use crate::tui::glyph::{Glyph, Glyphs};
use crate::tui::screen::jobs::inside;
use crate::tui::screen::{Scene, missing_screen, prose, signs};
use crate::tui::theme::Role;
use crate::tui::widget::pane::{self, Title};
use crate::tui::widget::table::{Column, Row, Table};
use crate::tui::widget::words::{Ink, Words};
use crate::tui::widget::{indent, split_row, split_rows};
use crate::view::rollbacks::{self, LettersView, RollbacksView, StackRow, StepRow};
use crate::view::{compensations, missing};

/// From this width on the steps stand beside the list.
const WIDE: u16 = 100;

/// Lines of a step: what undoes what, what happened, its key.
const STEP: u16 = 3;

/// Rows of the dead letter under the cursor, the blank one above included.
const UNDER: u16 = 4;

pub(super) fn draw(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) -> Drawn {
    let wide = area.width >= WIDE;
    let foot = if buf.area.height >= 30 { 2 } else { 1 };
    let (body, last) = split_rows(area, area.height.saturating_sub(foot));
    let last = split_rows(last, foot - 1).1;
    let armed = if wide {
        "armed: would be undone if its workflow ended FAILED_FATAL. FAILED, TIMEOUT, DENIED and a cancel undo nothing."
    } else {
        "armed: would be undone if its workflow ended FAILED_FATAL."
    };
    scene
        .pen()
        .put(buf, indent(last, 1), &Words::new().muted(armed));
    let mut panes = Panes {
        scene,
        focus: scene.state.ui.list_id(),
        drawn: Drawn::default(),
    };
    if wide {
        let left = (area.width * 2 / 5).clamp(47, 80);
        let (list, steps) = (
            Rect {
                width: left,
                ..body
            },
            indent(body, left + 1),
        );
        let known = scene.state.ui.list(ListId::Rollbacks).state.order().len();
        let wanted = (known.min(200) as u16).max(2) + 2;
        let (workflows, letters) = split_rows(list, wanted.min(body.height / 2));
        panes.workflows(workflows, buf);
        panes.letters(split_row(letters).1, buf);
        panes.steps(steps, buf);
    } else {
        let known = scene.state.ui.list(ListId::Rollbacks).state.order().len();
        let letters = scene.state.ui.list(ListId::DeadLetters).state.order().len();
        let rows = |count: usize, most: u16| (count.min(50) as u16).clamp(1, most.max(1)) + 2;
        let (workflows, rest) = split_rows(body, rows(known, body.height / 7));
        let below = rows(letters, body.height / 10);
        let (steps, letters) = split_rows(rest, rest.height.saturating_sub(below));
        panes.workflows(workflows, buf);
        panes.steps(steps, buf);
        panes.letters(letters, buf);
    }
    panes.drawn
}

struct Panes<'a> {
    scene: &'a Scene<'a>,
    focus: ListId,
    drawn: Drawn,
}

impl Panes<'_> {
    /// What the frame shows of the list with the keyboard.
    fn showed(&mut self, id: ListId, height: u16) {
        if id == self.focus {
            let rows = self.scene.state.ui.list(id).state.order().len();
            self.drawn.height = height;
            self.drawn.rows = u32::try_from(rows).unwrap_or(u32::MAX);
        }
    }

    fn old(&self) -> Words {
        match missing::jobs_silent_since(self.scene.state) {
            Some(since) => {
                let old = text::age(self.scene.state.now.since(since));
                Words::new().bold(format!("{old} old"), Role::Warn).gap(3)
            }
            None => Words::new(),
        }
    }

    fn table(&self, columns: &[Column], mut rows: Vec<Row>, area: Rect, buf: &mut Buffer) {
        if missing::jobs_silent_since(self.scene.state).is_some() {
            for row in &mut rows {
                let cells = std::mem::take(&mut row.cells);
                row.cells = cells
                    .into_iter()
                    .map(|it| it.in_role(Role::Stale))
                    .collect();
            }
        }
        Table::new(columns, &rows).draw(self.scene.pen(), buf, area);
    }

    fn workflows(&mut self, area: Rect, buf: &mut Buffer) {
        let scene = self.scene;
        let (title, table) = split_row(area);
        let height = table.height.saturating_sub(1);
        let view = rollbacks::rollbacks(scene.state, usize::from(height));
        Title::new("Workflows", self.focus == ListId::Rollbacks)
            .facts(self.old().then(workflow_facts(&view)))
            .draw(scene.pen(), buf, inside(title));
        self.showed(ListId::Rollbacks, height);
        if view.rows.is_empty() {
            let words = if view.filter.is_empty() {
                missing_screen::asking(scene).unwrap_or_else(|| {
                    Words::new().muted(if scene.state.model.links.was_told() {
                        "No workflow is armed: no job that succeeded declared a compensation."
                    } else {
                        "None was heard of; nobody tells of those from before."
                    })
                })
            } else {
                Words::new()
                    .muted("No workflow matches ")
                    .line(&view.filter, Role::Text)
                    .muted(format!(". Esc shows all {}.", view.known))
            };
            missing_screen::sentence_here(scene, words, table, buf);
            return;
        }
        let columns = [
            Column::fixed("STATE", 15).rank(0),
            Column::grow("WORKFLOW", 14).rank(1).tail(),
            Column::number("UNDONE", 6).rank(2),
        ];
        let rows = view.rows.iter().map(|row| stack_row(row, scene.glyphs));
        self.table(&columns, rows.collect(), table, buf);
    }

    fn letters(&mut self, area: Rect, buf: &mut Buffer) {
        let scene = self.scene;
        let (title, rest) = split_row(area);
        let airy = area.height >= 12;
        let under = if airy { UNDER } else { 0 };
        let known = scene.state.ui.list(ListId::DeadLetters).state.order().len();
        let wanted = (known.min(500) as u16).max(1) + 1;
        let table = rest.height.saturating_sub(under).min(wanted);
        let (table, below) = split_rows(rest, table);
        let height = table.height.saturating_sub(1);
        let view = rollbacks::letters(scene.state, usize::from(height));
        Title::new("Dead letters", self.focus == ListId::DeadLetters)
            .facts(self.old().then(letter_facts(&view)))
            .draw(scene.pen(), buf, inside(title));
        self.showed(ListId::DeadLetters, height);
        if view.rows.is_empty() {
            let words = if !view.filter.is_empty() {
                Words::new()
                    .muted("No dead letter matches ")
                    .line(&view.filter, Role::Text)
                    .muted(". Esc shows all.")
            } else if view.heard_only {
                Words::new().muted("None was heard; no gateway lists those from before.")
            } else {
                Words::new().muted("None: every job could be done.")
            };
            missing_screen::sentence_here(scene, words, table, buf);
            return;
        }
        let columns = [
            Column::fixed("…JOB", 8).rank(0).tail(),
            Column::grow("REASON CODE", 16).rank(1),
            Column::number("AGE", 6).rank(2),
        ];
        let rows = view.rows.iter().map(|row| {
            let code = match (&row.reason_code, row.asked) {
                (_, true) => Words::new().ink("… retry asked", Role::Accent),
                (Some(code), false) => Words::new().shown(Shown::head_of(code, 60), Role::Text),
                (None, false) => Words::new().muted("unknown"),
            };
            Row {
                cells: vec![
                    Words::new().shown(
                        Shown::tail_of(text::id_tail(row.job.as_str()), 8),
                        Role::Muted,
                    ),
                    code,
                    Words::new().text(text::age(row.age)),
                ],
                selected: row.selected && self.focus == ListId::DeadLetters,
                ..Row::default()
            }
        });
        self.table(&columns, rows.collect(), table, buf);
        if let Some(letter) = view.under.filter(|_| airy) {
            let lines = [
                Words::new(),
                prose::words(&letter.what),
                match &letter.reason {
                    Some(reason) => Words::new().line(reason, Role::Text),
                    None => Words::new().muted("unknown why"),
                },
                Words::new().muted("T makes a new job; this entry goes away."),
            ];
            let area = indent(below, 3);
            let area = Rect {
                width: area.width.saturating_sub(1),
                ..area
            };
            pane::rows(scene.pen(), buf, area, &lines);
        }
    }

    fn steps(&mut self, area: Rect, buf: &mut Buffer) {
        let scene = self.scene;
        let pen = scene.pen();
        let focused = self.focus == ListId::Steps;
        let (title, rest) = split_row(area);
        // The notice is part of what must be read, so the steps give way to it.
        let all = rollbacks::under_cursor(scene.state, usize::MAX / 4);
        let Some(all) = all else {
            Title::new("Steps", focused).draw(pen, buf, inside(title));
            self.showed(ListId::Steps, 0);
            return;
        };
        let width = usize::from(area.width.saturating_sub(6));
        let notice: Vec<Words> = all
            .notice
            .iter()
            .flat_map(|line| prose::words(line).strong_in(Role::Crit).wrap(width))
            .collect();
        let wide = area.height >= 16;
        let head = if wide { 2 } else { 0 };
        let gap = u16::from(wide);
        let below = match notice.len() as u16 {
            0 => 0,
            lines => (lines + gap).min(rest.height / 2),
        };
        let (top, rest) = split_rows(rest, head);
        let (columns, rest) = split_row(rest);
        let room = rest.height.saturating_sub(below);
        // A blank row between steps where all of them fit with it.
        let all_rows = u16::try_from(all.total)
            .unwrap_or(u16::MAX)
            .saturating_mul(STEP + 1);
        let airy = all_rows <= room;
        let step = if airy { STEP + 1 } else { STEP };
        // A step is only taken apart where not even one fits.
        let height = (room / step).max(u16::from(room > 0));
        let view = rollbacks::under_cursor(scene.state, usize::from(height)).unwrap_or(all);
        self.showed(ListId::Steps, height);
        let order = match (view.state, area.width) {
            (_, ..60) if !view.is_order_known => "order unknown",
            _ if !view.is_order_known => "as they were heard of: which ran first is unknown",
            (StackState::Armed, _) => "in the order they would run: last success first",
            (_, ..60) => "in the order they run",
            _ => "in the order they run: last success first",
        };
        let mut facts = self.old().muted(order);
        if view.steps.len() < view.total {
            facts = facts.muted(format!(
                ", {}-{} of {}",
                view.first + 1,
                view.first + view.steps.len(),
                view.total
            ));
        }
        let name = Shown::tail_of(&view.name, 30);
        Title::new(name.as_str(), focused)
            .facts(facts)
            .draw(pen, buf, inside(title));
        pen.put(
            buf,
            indent(top, 3),
            &prose::in_role(&view.started, Role::Muted),
        );
        let plan = Plan::of(area.width);
        pen.put(buf, indent(columns, 3), &plan.head());
        let stale = missing::jobs_silent_since(scene.state).is_some();
        let mut left = Rect {
            height: room,
            ..rest
        };
        for step in &view.steps {
            let mut lines = plan.lines(step, scene.glyphs).to_vec();
            lines.extend(airy.then(Words::new));
            for (at, line) in lines.into_iter().enumerate() {
                if left.is_empty() {
                    break;
                }
                let (row, more) = split_row(left);
                left = more;
                let line = if stale {
                    line.in_role(Role::Stale)
                } else {
                    line
                };
                pen.put(buf, indent(row, 3), &line);
                if at == 0 && step.selected && focused {
                    let cursor = Ink::new(Role::Accent).bold();
                    pen.put(
                        buf,
                        row,
                        &Words::new().glyph(scene.glyphs, Glyph::Cursor, cursor),
                    );
                    pen.select(buf, row);
                }
            }
        }
        if !notice.is_empty() {
            let used = room - left.height;
            let (_, below) = split_rows(rest, used);
            let gap = u16::from(!airy).min(gap);
            let area = indent(split_rows(below, gap).1, 3);
            let area = Rect {
                width: area.width.saturating_sub(1),
                ..area
            };
            pane::notice(pen, buf, area, Role::Crit, &notice);
        }
    }
}

fn workflow_facts(view: &RollbacksView) -> Words {
    let mut facts = Words::new();
    if !view.filter.is_empty() {
        facts = facts
            .text(text::thousands(view.passing as u64))
            .muted(format!(" of {} match ", text::thousands(view.known as u64)))
            .line(&view.filter, Role::Accent)
            .gap(3);
    } else if view.rows.len() < view.passing {
        facts = facts.muted(format!(
            "{}-{} of {}   ",
            view.first + 1,
            view.first + view.rows.len(),
            text::thousands(view.passing as u64)
        ));
    }
    facts = facts.muted(format!("{} today", text::thousands(view.today as u64)));
    if view.sort != "attention first" {
        facts = facts.muted(format!(", {}", view.sort));
    }
    if view.forgotten > 0 {
        facts = facts.ink(
            format!("   {} forgotten", text::thousands(view.forgotten)),
            Role::Warn,
        );
    }
    facts
}

fn letter_facts(view: &LettersView) -> Words {
    let passing = text::thousands(view.passing as u64);
    let or_more = if view.more { " or more" } else { "" };
    let mut facts = if !view.filter.is_empty() {
        Words::new()
            .text(passing)
            .muted(format!(
                " of {}{or_more} match ",
                text::thousands(view.known as u64)
            ))
            .line(&view.filter, Role::Accent)
    } else if view.rows.len() < view.passing {
        let last = view.first + view.rows.len();
        Words::new().muted(format!("{}-{last} of {passing}{or_more}", view.first + 1))
    } else {
        Words::new().muted(format!("{passing}{or_more}"))
    };
    if view.heard_only && view.passing > 0 {
        facts = facts.muted(", heard since the start");
    }
    facts
}

/// The sign, the words and the look of an undo.
pub(super) fn stack_sign(row: &StackRow) -> (Glyph, String, Ink) {
    let crit = Ink::new(Role::Crit).bold();
    match (row.state, row.broken) {
        (StackState::Broken, Some((state, count))) => {
            let (glyph, word, _) = signs::job_state(Some(state));
            (glyph, format!("{count} {word}"), crit)
        }
        (StackState::Broken, None) => (Glyph::Cross, "broken".to_owned(), crit),
        (StackState::Approval, _) => (
            Glyph::Human,
            "approval".to_owned(),
            Ink::new(Role::Human).bold(),
        ),
        (StackState::Running, _) => (Glyph::Running, "running".to_owned(), Role::Text.into()),
        (StackState::Unknown, _) => (Glyph::Warning, "unknown".to_owned(), Role::Warn.into()),
        (StackState::Undone, _) => (Glyph::Check, "undone".to_owned(), Role::Muted.into()),
        (StackState::Armed, _) => (Glyph::Open, "armed".to_owned(), Role::Muted.into()),
    }
}

fn stack_row(row: &StackRow, glyphs: Glyphs) -> Row {
    let (glyph, word, ink) = stack_sign(row);
    let quiet = matches!(row.state, StackState::Undone | StackState::Armed);
    let role = if quiet { Role::Muted } else { Role::Text };
    Row {
        cells: vec![
            Words::new()
                .glyph(glyphs, glyph, ink)
                .ink(format!(" {word}"), ink),
            Words::new().shown(Shown::tail_of(&row.name, 60), role),
            Words::new().ink(format!("{} of {}", row.undone, row.steps), role),
        ],
        selected: row.selected,
        ..Row::default()
    }
}

/// The sign, the word and the look of a step.
pub(super) fn step_sign(state: StepState) -> (Glyph, &'static str, Ink) {
    match state {
        StepState::Armed => (Glyph::Open, "armed", Role::Muted.into()),
        StepState::WillRun => (Glyph::Open, "will run", Role::Text.into()),
        StepState::NotRun => (Glyph::Never, "not run", Role::Warn.into()),
        StepState::Unknown => (Glyph::Warning, "unknown", Role::Warn.into()),
        StepState::Refused => (Glyph::Denied, "refused", Role::Crit.into()),
        StepState::Skipped => (Glyph::Warning, "left out", Role::Warn.into()),
        StepState::Job(state) => signs::job_state(state),
    }
}

/// Where the columns of the steps begin.
struct Plan {
    with: usize,
    state: usize,
    policy: usize,
    width: usize,
}

impl Plan {
    fn of(width: u16) -> Self {
        let width = usize::from(width.saturating_sub(5));
        // STATE needs 14 cells and POLICY 11; topics share what is left.
        let topics = width.saturating_sub(3 + 14 + 11);
        Self {
            with: 3 + topics.div_ceil(2),
            state: 3 + topics,
            policy: 3 + topics + 14,
            width,
        }
    }

    fn head(&self) -> Words {
        Words::new()
            .muted("#")
            .to(3)
            .muted("UNDOES")
            .to(self.with)
            .muted("WITH")
            .to(self.state)
            .muted("STATE")
            .to(self.policy)
            .muted("POLICY")
    }

    fn lines(&self, step: &StepRow, glyphs: Glyphs) -> [Words; 3] {
        let topic = |topic: &Option<std::sync::Arc<str>>, cells: usize| match topic {
            Some(topic) => Words::new()
                .shown(Shown::tail_of(rollbacks::short(topic), 80), Role::Text)
                .tail(cells.saturating_sub(2)),
            None => Words::new().muted("unknown"),
        };
        let (glyph, word, ink) = step_sign(step.state);
        let policy = match (step.decision, step.state) {
            (None, _) if step.would.is_some() => would(step.would.as_deref()),
            (None, StepState::Job(_)) => Words::new().muted("unknown"),
            (None, StepState::Armed | StepState::WillRun | StepState::NotRun) => {
                Words::new().muted("not asked")
            }
            (decision, _) => signs::decision(decision),
        };
        let first = Words::new()
            .text(step.number.to_string())
            .to(3)
            .then(topic(&step.undoes, self.with - 3))
            .to(self.with)
            .then(topic(&step.with, self.state - self.with))
            .to(self.state)
            .glyph(glyphs, glyph, ink)
            .ink(format!(" {word}"), ink)
            .to(self.policy)
            .then(policy);
        let key = match &step.key {
            Some(key) => Words::new().shown(key_of(key), Role::Muted),
            None => Words::new().muted("its key is derived when it runs"),
        };
        let below = |words: Words| {
            Words::new()
                .gap(3)
                .then(words.head(self.width.saturating_sub(3)))
        };
        [first, below(prose::words(&step.happened)), below(key)]
    }
}

/// What policy would say of a step that has not run.
fn would(judged: Option<&Judged>) -> Words {
    let Some(judged) = judged else {
        return Words::new();
    };
    let role = match judged.decision {
        Some(Decision::Deny) => Role::Crit,
        Some(Decision::RequireApproval) => Role::Human,
        Some(Decision::Throttle | Decision::Unavailable) | None => Role::Warn,
        Some(Decision::Allow | Decision::AllowWithConstraints) => Role::Muted,
    };
    Words::new().ink(compensations::word(judged), role)
}

/// A derived key is a prefix and a digest; other keys are shown as they are.
fn key_of(key: &str) -> Shown {
    match key.strip_prefix("saga:") {
        Some(digest) if digest.len() > 16 => Shown::line(&format!("saga:{}", text::digest(digest))),
        _ => Shown::head_of(key, 80),
    }
}
