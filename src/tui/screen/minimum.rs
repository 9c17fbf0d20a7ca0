//! What is left on a very small screen: mode, lamps, counts, and one line a row.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::state::action::Drawn;
use crate::state::model::jobs::JobState;
use crate::state::ui::{ListId, View};
use crate::text::{self, Shown};
use crate::tui::glyph::Glyph;
use crate::tui::screen::frame::{counted_alerts, lamp_sign};
use crate::tui::screen::{
    LEAST, NARROW, Scene, approvals as approvals_screen, jobs as jobs_screen,
    policy as policy_screen, review as review_screen, rollbacks as rollbacks_screen, signs,
    traces as traces_screen,
};
use crate::tui::theme::Role;
use crate::tui::widget::pane::{self, Title};
use crate::tui::widget::words::{Ink, Words};
use crate::tui::widget::{Pen, indent, split_row, split_rows};
use crate::view::frame::{Header, Mode, header};
use crate::view::{self, jobs, missing, rollbacks, workers};

/// The one line under the least size: what is needed, what there is, and what
/// must not be missed.
pub(super) fn too_small(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
    let pen = scene.pen();
    let facts = header(scene.state);
    let urgent = urgent(pen, &facts);
    let needs = format!("capdeck needs {}x{}", LEAST.0, LEAST.1);
    let is = format!("this is {}x{}", area.width, area.height);
    let size = Words::new().text(format!("{needs}, {is}"));
    if usize::from(area.width) >= size.width() + urgent.width() + 2 {
        pen.put(buf, area, &size);
        pen.put_right(buf, area, &urgent);
    } else if area.height > 1 {
        let (first, rest) = split_row(area);
        pen.put(buf, first, &urgent);
        let lines = match usize::from(area.width) >= size.width() {
            true => vec![size],
            false => vec![Words::new().text(needs), Words::new().text(is)],
        };
        for (row, line) in (0..rest.height).zip(&lines) {
            let at = Rect {
                y: rest.y + row,
                height: 1,
                ..rest
            };
            pen.put(buf, at, line);
        }
    } else {
        pen.put(buf, area, &urgent.gap(1).then(size));
    }
}

pub(super) fn draw(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) -> Drawn {
    let (head, rest) = split_row(area);
    draw_header(scene, head, buf);
    let (body, last) = split_rows(rest, rest.height.saturating_sub(1));
    let state = scene.state;
    let width = usize::from(last.width);
    if let Some(footer) = state.ui.footer(state.now) {
        scene
            .pen()
            .put(buf, last, &Words::new().line(&footer.text, Role::Text));
    } else {
        let keys = scene.hints.keys.iter();
        let words = pane::hints(
            keys.map(|hint| (hint.key.as_str(), hint.says.as_str())),
            width,
        );
        scene.pen().put(buf, last, &words);
    }
    let (title, body) = split_row(body);
    let name = state.ui.view().title();
    Title::new(name, true).draw(scene.pen(), buf, title);
    let height = usize::from(body.height);
    let rows = match state.ui.view() {
        View::Jobs => job_rows(scene, height),
        View::Workers => worker_rows(scene, height),
        View::Overview => overview_rows(scene),
        View::Approvals => approval_rows(scene, height),
        View::Rollbacks => rollback_rows(scene, height),
        View::Policy => policy_screen::least_rows(scene, height),
        View::Traces => traces_screen::least_rows(scene, height),
    };
    let instead = if state.ui.review().is_some() {
        Some(review_screen::needs_room())
    } else if state.ui.detail().is_some() {
        Some(format!(
            "Make the window wider to see this job: {NARROW} columns at least."
        ))
    } else {
        rows.is_empty().then(|| nothing(scene))
    };
    if let Some(says) = instead {
        let width = usize::from(body.width).saturating_sub(2);
        let lines = Words::new().muted(says).wrap(width);
        for (row, line) in (0..body.height).zip(lines) {
            let at = Rect {
                y: body.y + row,
                height: 1,
                ..body
            };
            scene.pen().put(buf, indent(at, 1), &line);
        }
        return Drawn {
            height: body.height,
            ..Drawn::default()
        };
    }
    for (row, (selected, words)) in (0u16..).zip(rows.iter().take(height)) {
        let line = Rect {
            y: body.y + row,
            height: 1,
            ..body
        };
        scene.pen().put(buf, indent(line, 1), words);
        if *selected {
            scene.pen().put(
                buf,
                line,
                &Words::new().glyph(scene.glyphs, Glyph::Cursor, Ink::new(Role::Accent).bold()),
            );
            scene.pen().select(buf, line);
        }
    }
    Drawn {
        height: body.height,
        rows: u32::try_from(state.ui.current().state.order().len()).unwrap_or(u32::MAX),
        ..Drawn::default()
    }
}

/// Why a list has no rows. Nothing is said to be none before somebody told.
fn nothing(scene: &Scene<'_>) -> String {
    let state = scene.state;
    let view = state.ui.view();
    if !state.ui.current().filter_text.is_empty() {
        return "Nothing matches the filter. Esc shows all.".to_owned();
    }
    let never = missing::first_run(state).is_some();
    let says = match view {
        View::Overview => "",
        View::Approvals => return approvals_screen::nobody_waits(scene),
        View::Jobs | View::Workers if never => "No server has answered yet.",
        View::Jobs => "No job has been seen.",
        View::Workers => "No worker has been heard.",
        View::Policy if state.ui.policy_refused().is_some() => "Policy could not be read.",
        View::Policy => "No rule is known.",
        View::Traces => "No trace is selected: 7 on a job.",
        View::Rollbacks => match state.ui.list_id() {
            ListId::DeadLetters => "No dead letter is known.",
            _ if !state.model.links.was_told() => "No rollback was heard of.",
            _ => "No workflow is armed.",
        },
    };
    says.to_owned()
}

/// What must not be missed: approvals that wait, and alerts.
fn urgent(pen: Pen<'_>, facts: &Header) -> Words {
    Words::new()
        .bold(
            format!("{} {}", pen.glyph(Glyph::Human), facts.approvals),
            Role::Human,
        )
        .gap(1)
        .bold(
            format!(
                "{} {}",
                pen.glyph(Glyph::Critical),
                counted_alerts(facts.alerts)
            ),
            Role::Crit,
        )
}

fn draw_header(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
    let pen = scene.pen();
    let facts = header(scene.state);
    let name = Shown::head_of(&scene.context.name, 14);
    let block = format!(" {} ", name.as_str());
    let width = (text::width(&block) as u16).min(area.width);
    let block_area = Rect { width, ..area };
    pen.put(buf, block_area, &Words::new().text(block));
    let style = scene.theme.context(scene.context.ground);
    for position in block_area.intersection(buf.area).positions() {
        if let Some(cell) = buf.cell_mut(position) {
            cell.set_style(style);
        }
    }
    let mut words = Words::new().gap(1);
    words = match facts.mode {
        Mode::Live => words.ink("LIVE", Role::Ok),
        Mode::Frozen => words.badge("FROZEN", Role::Warn),
        Mode::NoLink => words.badge("NO LINK", Role::Warn),
    };
    words = words.gap(1);
    for lamp in &facts.lamps {
        let (glyph, ink) = lamp_sign(lamp.state);
        words = words.glyph(scene.glyphs, glyph, ink);
    }
    pen.put(buf, indent(area, width), &words);
    let clock = text::clock(facts.now);
    let clock = clock.get(..5).unwrap_or(&clock);
    let right = urgent(pen, &facts);
    let used = usize::from(width) + words.width();
    let with_clock = right.clone().gap(1).text(format!("{clock}Z"));
    let fits = used + with_clock.width() < usize::from(area.width);
    let right = if fits { with_clock } else { right };
    pen.put_right(buf, area, &right);
}

fn job_rows(scene: &Scene<'_>, height: usize) -> Vec<(bool, Words)> {
    let view = jobs::jobs(scene.state, height);
    let rows = view.rows.iter();
    rows.map(|job| {
        let (glyph, _, ink) = signs::job_state(job.state);
        let words = Words::new()
            .glyph(scene.glyphs, glyph, ink)
            .gap(1)
            .shown(
                Shown::tail_of(text::id_tail(job.id.as_str()), 8),
                Role::Muted,
            )
            .to(11)
            .then(jobs_screen::why_words(&job.why, false, scene.glyphs));
        (job.selected, words)
    })
    .collect()
}

fn worker_rows(scene: &Scene<'_>, height: usize) -> Vec<(bool, Words)> {
    let view = workers::workers(scene.state, height);
    let rows = view.rows.iter();
    rows.map(|worker| {
        let (glyph, word, ink) = signs::standing(worker.standing);
        let mut words = Words::new()
            .glyph(scene.glyphs, glyph, ink)
            .gap(1)
            .shown(Shown::tail_of(worker.id.as_str(), 14), Role::Text)
            .to(17)
            .ink(word, ink)
            .to(26);
        if let Some(pressure) = worker.pressure {
            words = words.text(format!("{pressure:.2}"));
        }
        if let Some(silence) = worker.silence {
            words = words.to(31).muted(text::age(silence));
        }
        (worker.selected, words)
    })
    .collect()
}

fn approval_rows(scene: &Scene<'_>, height: usize) -> Vec<(bool, Words)> {
    let (model, now) = view::shown(scene.state);
    let list = scene.state.ui.list(ListId::Approvals);
    let window = list.state.window(height);
    let subjects = list.state.order()[window].iter();
    subjects
        .filter_map(|subject| {
            let job = subject.job()?;
            let approval = model.approvals.get(job)?;
            let words = Words::new()
                .glyph(scene.glyphs, Glyph::Human, Ink::new(Role::Human).bold())
                .gap(1)
                .shown(Shown::tail_of(text::id_tail(job.as_str()), 8), Role::Muted)
                .to(11)
                .text(format!("waits {}", text::age(approval.wait(now))));
            Some((list.state.selected() == Some(subject), words))
        })
        .collect()
}

/// One line a row of the list that has the keyboard.
fn rollback_rows(scene: &Scene<'_>, height: usize) -> Vec<(bool, Words)> {
    match scene.state.ui.list_id() {
        ListId::Steps => {
            let view = rollbacks::under_cursor(scene.state, height);
            let steps = view.map(|view| view.steps).unwrap_or_default().into_iter();
            steps
                .map(|step| {
                    let (glyph, word, ink) = rollbacks_screen::step_sign(step.state);
                    let topic = step.with.as_deref().map_or("unknown", rollbacks::short);
                    let words = Words::new()
                        .glyph(scene.glyphs, glyph, ink)
                        .ink(format!(" {word}"), ink)
                        .to(14)
                        .shown(Shown::tail_of(topic, 24), Role::Text);
                    (step.selected, words)
                })
                .collect()
        }
        ListId::DeadLetters => {
            let view = rollbacks::letters(scene.state, height);
            let rows = view.rows.iter();
            rows.map(|row| {
                let code = row.reason_code.as_deref().unwrap_or("unknown");
                let words = Words::new()
                    .shown(
                        Shown::tail_of(text::id_tail(row.job.as_str()), 8),
                        Role::Muted,
                    )
                    .to(10)
                    .shown(Shown::head_of(code, 20), Role::Text)
                    .to(32)
                    .text(text::age(row.age));
                (row.selected, words)
            })
            .collect()
        }
        _ => {
            let view = rollbacks::rollbacks(scene.state, height);
            let rows = view.rows.iter();
            rows.map(|row| {
                let (glyph, word, ink) = rollbacks_screen::stack_sign(row);
                let words = Words::new()
                    .glyph(scene.glyphs, glyph, ink)
                    .ink(format!(" {word}"), ink)
                    .to(14)
                    .text(format!("{} of {}", row.undone, row.steps))
                    .to(22)
                    .shown(Shown::tail_of(&row.name, 17), Role::Text);
                (row.selected, words)
            })
            .collect()
        }
    }
}

fn overview_rows(scene: &Scene<'_>) -> Vec<(bool, Words)> {
    let (model, now) = view::shown(scene.state);
    let count = |state| text::thousands(u64::from(model.jobs.count(state)));
    let mut rows = vec![
        (
            false,
            Words::new()
                .muted("pending ")
                .text(count(JobState::Pending))
                .muted("  running ")
                .text(count(JobState::Running))
                .muted("  failed ")
                .text(count(JobState::Failed)),
        ),
        (false, Words::new()),
    ];
    let mut pools = view::overview::pressure(scene.state);
    pools.truncate(4);
    for pool in pools {
        let (next, role) = super::overview::pressure::outlook_words(&pool);
        let words = Words::new()
            .shown(
                Shown::head_of(pool.name.as_str(), 9),
                Ink::new(Role::Text).bold(),
            )
            .to(10)
            .ink(next, role)
            .to(24)
            .then(if pool.blocks[1].is_empty() {
                Words::new().text(format!("{} wait", text::thousands(u64::from(pool.queued))))
            } else {
                super::prose::words(&pool.blocks[1])
            });
        rows.push((false, words));
    }
    rows.push((false, Words::new()));
    if let Some(alert) = view::overview::alerts(model, now).first() {
        rows.push((
            false,
            Words::new()
                .glyph(scene.glyphs, Glyph::Critical, Ink::new(Role::Crit).bold())
                .gap(1)
                .shown(Shown::head_of(&alert.name, 17), Role::Text)
                .to(19)
                .shown(Shown::head_of(&alert.subject, 12), Role::Text)
                .to(32)
                .muted(text::age(now.since(alert.since))),
        ));
    }
    if let Some(approval) = model.approvals.by_cost(&model.jobs, now).first() {
        rows.push((
            false,
            Words::new()
                .glyph(scene.glyphs, Glyph::Human, Ink::new(Role::Human).bold())
                .gap(1)
                .shown(
                    Shown::tail_of(text::id_tail(approval.id().as_str()), 8),
                    Role::Text,
                )
                .to(12)
                .text(format!("waits {}", text::age(approval.wait(now)))),
        ));
    }
    rows
}
