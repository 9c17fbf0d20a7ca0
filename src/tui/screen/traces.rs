//! A trace: the same rows as a tree and as a chart over time.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::state::action::Drawn;
use crate::state::model::jobs::JobState;
use crate::state::model::traces::{Doing, Spent, Stretch};
use crate::text::{self, Shown};
use crate::time::{Elapsed, Timestamp};
use crate::tui::glyph::{Glyph, Glyphs};
use crate::tui::screen::jobs::inside;
use crate::tui::screen::{Scene, missing_screen, prose, signs};
use crate::tui::theme::Role;
use crate::tui::widget::pane::{self, Title};
use crate::tui::widget::words::{Ink, Words};
use crate::tui::widget::{indent, split_row, split_rows};
use crate::view::missing;
use crate::view::rollbacks::short;
use crate::view::traces::{self, JobRow, Start, TraceRow, TraceView};

/// From this width on there is a chart.
const CHART: u16 = 80;

/// From this width on there is room for the ends of the ids.
const IDS: u16 = 100;

/// Cells from one instant of the axis to the next.
const TICK: usize = 13;

/// Levels of the tree that are drawn one by one; deeper ones share the last place.
const LEVELS: usize = 6;

/// Where the columns begin, counted from the third cell.
struct Plan {
    id: Option<usize>,
    state: usize,
    chart: Option<(usize, usize)>,
    took: usize,
    share: bool,
    width: usize,
}

impl Plan {
    fn of(width: u16) -> Self {
        let room = usize::from(width.saturating_sub(5));
        let ids = width >= IDS;
        let has_chart = width >= CHART;
        let share = if has_chart { 0 } else { 7 };
        let others = 15 + 8 + share + if ids { 10 } else { 0 };
        // The tree gets what it needs before the chart grows.
        let topic = if has_chart {
            (room.saturating_sub(others) / 2).clamp(18, if width >= 160 { 48 } else { 28 })
        } else {
            room.saturating_sub(others)
        };
        let state = topic + 2 + if ids { 10 } else { 0 };
        let took = room.saturating_sub(6 + share);
        let chart = state + 15;
        Self {
            id: ids.then_some(topic + 2),
            state,
            chart: has_chart.then(|| (chart, took.saturating_sub(chart + 2))),
            took,
            share: !has_chart,
            width: room,
        }
    }

    fn topic(&self) -> usize {
        self.id.unwrap_or(self.state).saturating_sub(2)
    }
}

pub(super) fn draw(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) -> Drawn {
    let pen = scene.pen();
    let (title, rest) = split_row(area);
    let foot = match buf.area.height {
        30.. => 8,
        20.. => 4,
        _ => 0,
    };
    let rows = scene.state.ui.current().state.order().len();
    let table = rest
        .height
        .saturating_sub(foot)
        .min((rows.min(1_000) as u16).saturating_add(1));
    let (table, below) = split_rows(rest, table);
    let height = table.height.saturating_sub(1);
    let Some(view) = traces::trace(scene.state, usize::from(height)) else {
        Title::new("Traces", true).draw(pen, buf, inside(title));
        let words = missing_screen::asking(scene).unwrap_or_else(|| {
            Words::new().muted(match scene.state.ui.trace() {
                None => "No trace is selected: press 7 on a job, or type its trace id after :trace.",
                Some(_) if scene.state.ui.is_asking_for_trace() => {
                    "Asking the plane which jobs belong to it."
                }
                Some(_) => {
                    "No job of this trace is known: ended ones are forgotten when there are too many."
                }
            })
        });
        missing_screen::sentence(scene, words, rest, buf);
        return Drawn::default();
    };
    let stale = missing::jobs_silent_since(scene.state);
    draw_title(scene, &view, stale, title, buf);
    let plan = Plan::of(area.width);
    let (head, lines) = split_row(table);
    pen.put(buf, indent(head, 3), &head_words(&plan, &view));
    let mut left = lines;
    if view.rows.is_empty() && !view.filter.is_empty() {
        let words = missing_screen::no_match(scene, "job of it", None);
        missing_screen::sentence_here(scene, words, rest, buf);
    }
    for row in &view.rows {
        let (line, more) = split_row(left);
        left = more;
        let words = row_words(&plan, &view, row, scene.glyphs);
        let words = if stale.is_some() {
            words.in_role(Role::Stale)
        } else {
            words
        };
        pen.put(buf, indent(line, 3), &words);
        if row.selected {
            let cursor = Ink::new(Role::Accent).bold();
            pen.put(
                buf,
                line,
                &Words::new().glyph(scene.glyphs, Glyph::Cursor, cursor),
            );
            pen.select(buf, line);
        }
    }
    if foot > 0 && !view.rows.is_empty() {
        draw_foot(scene, &plan, &view, foot, below, buf);
    }
    Drawn {
        height,
        rows: u32::try_from(view.passing).unwrap_or(u32::MAX),
        ..Drawn::default()
    }
}

fn draw_title(
    scene: &Scene<'_>,
    view: &TraceView,
    stale: Option<Timestamp>,
    area: Rect,
    buf: &mut Buffer,
) {
    let mut facts = Words::new();
    if let Some(since) = stale {
        let old = text::age(scene.state.now.since(since));
        facts = facts.bold(format!("{old} old"), Role::Warn).gap(3);
    }
    if let Some(trace) = &view.trace {
        facts = facts
            .muted("trace …")
            .shown(Shown::tail_of(text::id_tail(trace), 8), Role::Muted)
            .gap(3);
    }
    facts = facts.text(text::count(view.jobs as u64, "job", "jobs"));
    if view.cut {
        facts = facts.ink(", the others are not shown", Role::Warn);
    }
    if view.waiting > 0 {
        let wait = if view.waiting == 1 { "waits" } else { "wait" };
        facts = facts
            .ink(
                format!(", {} {wait} for a person", view.waiting),
                Role::Human,
            )
            .muted(format!(", {} behind it", view.behind));
    }
    if !view.filter.is_empty() {
        facts = facts.muted("   matching ").line(&view.filter, Role::Accent);
    } else if view.rows.len() < view.passing {
        facts = facts.muted(format!(
            "   {}-{} of {}",
            view.first + 1,
            view.first + view.rows.len(),
            view.passing
        ));
    }
    let name = Shown::tail_of(&view.name, 48);
    Title::new(name.as_str(), true)
        .facts(facts)
        .draw(scene.pen(), buf, inside(area));
}

fn head_words(plan: &Plan, view: &TraceView) -> Words {
    let mut words = Words::new().muted("job.TOPIC");
    if let Some(id) = plan.id {
        words = words.to(id).muted("…JOB");
    }
    words = words.to(plan.state).muted("STATE");
    if let Some((chart, width)) = plan.chart {
        let total = view.spent.total().as_millis();
        let mut at = 0;
        while at + 9 <= width {
            let passed = total * at as u64 / width.max(1) as u64;
            let clock = text::clock(view.spent.from.plus(Elapsed::from_millis(passed)));
            let clock = clock.trim_end_matches('Z').to_owned();
            words = words.to(chart + at).ink("│", Role::Mark).muted(clock);
            at += TICK;
        }
    }
    words = words.to(plan.took).muted("  TOOK");
    if plan.share {
        words = words.muted("  SHARE");
    }
    words
}

fn row_words(plan: &Plan, view: &TraceView, row: &TraceRow, glyphs: Glyphs) -> Words {
    let Some(job) = &row.job else {
        return Words::new().ink("parent not seen", Role::Warn);
    };
    let ended_well = job.state == Some(JobState::Succeeded);
    let role = if row.muted || ended_well {
        Role::Muted
    } else {
        Role::Text
    };
    let mut words = tree_words(row, job, role, glyphs)
        .head(plan.topic())
        .to(plan.id.unwrap_or(plan.state));
    if plan.id.is_some() {
        words = words
            .shown(
                Shown::tail_of(text::id_tail(job.id.as_str()), 8),
                Role::Muted,
            )
            .to(plan.state);
    }
    let state = signs::job_words(glyphs, job.state);
    words = words.then(if row.muted {
        state.in_role(Role::Muted)
    } else {
        state
    });
    if let Some((chart, width)) = plan.chart {
        words = words
            .to(chart)
            .then(chart_words(view, job, width, glyphs))
            .to(plan.took);
    } else {
        words = words.to(plan.took);
    }
    words = words.ink(format!("{:>6}", took(job)), role);
    if plan.share {
        words = words.muted(match job.is_whole || job.took.as_millis() > 0 {
            true => format!("{:>6}%", view.spent.percent(job.took)),
            false => format!("{:>7}", "?"),
        });
    }
    words
}

/// `11m20s`, `>3m40s` where it began at some time before, `?` where only its end is known.
fn took(job: &JobRow) -> String {
    match (job.is_whole, job.took.as_millis()) {
        (true, _) => text::age(job.took),
        (false, 0) => "?".to_owned(),
        (false, _) => format!(">{}", text::age(job.took)),
    }
}

fn tree_words(row: &TraceRow, job: &JobRow, role: Role, glyphs: Glyphs) -> Words {
    let depth = row.rails.len();
    let mut words = Words::new();
    // The outermost level has no branches, so its rail is never drawn.
    for more in row.rails.iter().skip(1).take(LEVELS) {
        words = if *more {
            words.glyph(glyphs, Glyph::Rail, Role::Mark).gap(2)
        } else {
            words.gap(3)
        };
    }
    if depth > LEVELS + 1 {
        words = words.muted(format!("{depth} deep "));
    }
    if depth > 0 {
        let branch = if row.more {
            Glyph::Branch
        } else {
            Glyph::LastBranch
        };
        words = words.glyph(glyphs, branch, Role::Mark).gap(1);
    }
    if row.folded > 0 {
        words = words.glyph(glyphs, Glyph::Folded, Role::Accent).gap(1);
    }
    words = match (&job.undoes, &job.topic) {
        (Some(undone), _) => {
            let name = undone.rsplit('.').next().unwrap_or(undone);
            words.muted("undoes ").shown(Shown::head_of(name, 60), role)
        }
        (None, Some(topic)) => words.shown(Shown::head_of(short(topic), 80), role),
        (None, None) => words.muted("unknown"),
    };
    match row.folded {
        0 => words,
        n => words.muted(format!(" +{n}")),
    }
}

/// The part of a trace's time that a cell of the chart stands for, from 0.
fn cell_of(spent: Spent, at: Timestamp, width: usize) -> usize {
    let total = spent.total().as_millis().max(1);
    let passed = at.since(spent.from).as_millis().min(total);
    usize::try_from(passed * width as u64 / total).unwrap_or(width)
}

fn chart_words(view: &TraceView, job: &JobRow, width: usize, glyphs: Glyphs) -> Words {
    if width < 4 {
        return Words::new();
    }
    // The last cell is the line of now.
    let inner = if view.live { width - 1 } else { width };
    let mut cells: Vec<Option<(Glyph, Ink)>> = vec![None; width];
    let mut paint = |stretch: &Stretch, least: usize, glyph: Glyph, ink: Ink| {
        let from = cell_of(view.spent, stretch.from, inner).min(inner - 1);
        let to = cell_of(view.spent, stretch.to, inner)
            .max(from + least)
            .min(inner);
        for cell in &mut cells[from..to] {
            *cell = Some((glyph, ink));
        }
    };
    // Short work must be seen, so it is painted last and has a cell at least.
    for doing in [Doing::Queued, Doing::Unknown, Doing::Person, Doing::Worked] {
        let (least, glyph, ink) = match doing {
            Doing::Queued => (0, Glyph::Dot, Ink::new(Role::Mark)),
            Doing::Unknown => (1, Glyph::Unknown, Ink::new(Role::Muted)),
            Doing::Person => (1, Glyph::BarPerson, Ink::new(Role::Human)),
            Doing::Worked => (1, Glyph::BarFull, Ink::new(Role::Fill)),
        };
        for stretch in job.stretches.iter().filter(|it| it.doing == doing) {
            paint(stretch, least, glyph, ink);
        }
    }
    let badly = job.state.is_some_and(|state| {
        state.is_terminal() && !matches!(state, JobState::Succeeded | JobState::Cancelled)
    });
    if let Some(ended) = job.ended.filter(|_| badly) {
        let (glyph, _, ink) = signs::job_state(job.state);
        let at = cell_of(view.spent, ended, inner).min(inner - 1);
        cells[at] = Some((glyph, ink));
    }
    if view.live {
        cells[width - 1] = Some((Glyph::Rail, Ink::new(Role::Accent)));
    }
    cells
        .into_iter()
        .fold(Words::new(), |words, cell| match cell {
            Some((glyph, ink)) => words.glyph(glyphs, glyph, ink),
            None => words.gap(1),
        })
}

fn draw_foot(
    scene: &Scene<'_>,
    plan: &Plan,
    view: &TraceView,
    foot: u16,
    area: Rect,
    buf: &mut Buffer,
) {
    let pen = scene.pen();
    let glyphs = scene.glyphs;
    let airy = foot >= 8;
    let mut left = area;
    if airy && let Some((chart, width)) = plan.chart {
        let (line, rest) = split_row(left);
        left = rest;
        let clock = text::clock(view.spent.to);
        let clock = clock.trim_end_matches('Z');
        let at = (chart + width).saturating_sub(clock.len());
        let words = Words::new().to(at);
        let role = if view.live { Role::Accent } else { Role::Muted };
        pen.put(buf, indent(line, 3), &words.ink(clock.to_owned(), role));
        let (line, rest) = split_row(left);
        left = split_row(rest).1;
        let mut legend = Words::new()
            .glyph(glyphs, Glyph::BarFull, Role::Fill)
            .muted(" worked   ")
            .glyph(glyphs, Glyph::BarPerson, Role::Human)
            .muted(" waits for a person   ")
            .glyph(glyphs, Glyph::Dot, Role::Mark)
            .muted(" waits for another job or a worker");
        let unknown = |row: &TraceRow| {
            let stretches = row.job.iter().flat_map(|job| &job.stretches);
            stretches.into_iter().any(|it| it.doing == Doing::Unknown)
        };
        if view.rows.iter().any(unknown) {
            legend = legend
                .muted("   ")
                .glyph(glyphs, Glyph::Unknown, Role::Muted)
                .muted(" not told");
        }
        if view.live {
            legend = legend
                .muted("   ")
                .glyph(glyphs, Glyph::Rail, Role::Accent)
                .muted(" now");
        }
        pen.put(buf, indent(line, 3), &legend);
    }
    let (title, rest) = split_row(left);
    let total = text::age(view.spent.total());
    let facts = match view.start {
        Start::Packet => format!("{total} from the first packet"),
        Start::Submission => format!("{total} from the first submission"),
        Start::Told if view.spent.total().as_millis() == 0 => {
            "unknown: only an end was told".to_owned()
        }
        Start::Told => format!("{total} from what was told first, the beginning is unknown"),
    };
    Title::new("Where the time went", false)
        .facts(Words::new().muted(facts))
        .draw(pen, buf, inside(title));
    let spent = view.spent;
    let parts = [
        ("worked", spent.worked, Role::Text),
        ("queued", spent.queued, Role::Text),
        ("waits for a person", spent.person, Role::Human),
        ("unknown", spent.unknown, Role::Muted),
        ("no job on its way", spent.idle, Role::Muted),
    ];
    let mut words = Words::new();
    for (name, part, role) in parts {
        if part.as_millis() == 0 && role != Role::Text {
            continue;
        }
        if !words.is_empty() {
            words = words.gap(4);
        }
        words = words
            .muted(format!("{name}  "))
            .ink(text::age(part), role)
            .muted(format!("  {}%", spent.percent(part)));
    }
    let area = indent(rest, 3);
    let area = Rect {
        width: area.width.min(plan.width as u16),
        ..area
    };
    let left = pane::rows(pen, buf, area, &[words]);
    let left = if airy { split_row(left).1 } else { left };
    let lines: Vec<Words> = view
        .says
        .iter()
        .flat_map(|says| prose::words(says).wrap(usize::from(left.width)))
        .collect();
    pane::rows(pen, buf, left, &lines);
}

/// One line a row, for the smallest screens.
pub(super) fn least_rows(scene: &Scene<'_>, height: usize) -> Vec<(bool, Words)> {
    let view = traces::trace(scene.state, height);
    let rows = view.map(|view| view.rows).unwrap_or_default().into_iter();
    rows.map(|row| {
        let Some(job) = &row.job else {
            let words = Words::new().ink("parent not seen", Role::Warn);
            return (row.selected, words);
        };
        let (glyph, _, ink) = signs::job_state(job.state);
        let words = Words::new()
            .glyph(scene.glyphs, glyph, ink)
            .gap(1)
            .then(tree_words(&row, job, Role::Text, scene.glyphs).head(26))
            .to(29)
            .text(format!("{:>7}", took(job)));
        (row.selected, words)
    })
    .collect()
}
