//! Screens and sentences for what is not there: no server, no job, no worker.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::state::event::{LinkState, Source};
use crate::text;
use crate::tui::glyph::Glyph;
use crate::tui::screen::Scene;
use crate::tui::screen::jobs::inside;
use crate::tui::theme::Role;
use crate::tui::widget::pane::{self, Title};
use crate::tui::widget::table::{Column, Row, Table};
use crate::tui::widget::words::{Ink, Words};
use crate::tui::widget::{indent, split_row, split_rows};
use crate::view::jobs::JobsView;
use crate::view::missing::ServerRow;
use crate::view::workers::WorkersView;

/// Nothing has ever answered.
pub(super) fn first_run(scene: &Scene<'_>, servers: &[ServerRow], area: Rect, buf: &mut Buffer) {
    let pen = scene.pen();
    let area = if area.height > 17 {
        split_row(area).1
    } else {
        area
    };
    let intro = [
        Words::new().bold("Nothing is reachable yet.", Role::Text),
        Words::new().text("capdeck keeps trying and fills this screen when something answers."),
        Words::new(),
    ];
    let left = pane::rows(pen, buf, indent(area, 3), &intro);
    let table = Rect {
        x: area.x,
        width: area.width,
        ..left
    };
    let columns = [
        Column::fixed("SERVER", 9).rank(0),
        Column::content("ADDRESS", 20, 44).rank(1).gap(3),
        Column::grow("LAST ERROR", 20).rank(2).gap(3),
        Column::content("TRIES AGAIN", 11, 12).rank(3),
    ];
    let rows: Vec<Row> = servers
        .iter()
        .enumerate()
        .map(|(at, server)| {
            let address = scene.context.addresses.get(at).and_then(Option::as_deref);
            server_row(scene, server, address)
        })
        .collect();
    let (table, below) = split_rows(table, 1 + servers.len() as u16);
    Table::new(&columns, &rows).draw(pen, buf, table);
    let (_, below) = split_row(below);
    let (title, below) = split_row(below);
    Title::new("What you can do", false).draw(pen, buf, inside(title));
    let offers = [
        ("capdeck demo", "a whole control plane in this terminal"),
        ("capdeck attach --gateway URL", "a gateway alone is enough"),
        (
            "capdeck attach --nats URL",
            "the bus alone is enough to watch",
        ),
    ];
    let mut rows: Vec<Words> = offers
        .iter()
        .map(|(command, says)| Words::new().bold(*command, Role::Text).to(30).muted(*says))
        .collect();
    rows.push(Words::new());
    rows.push(Words::new().muted("No approval, job or worker is hidden: none has been seen."));
    pane::rows(pen, buf, indent(below, 3), &rows);
}

fn server_row(scene: &Scene<'_>, server: &ServerRow, address: Option<&str>) -> Row {
    let now = scene.state.now;
    let name = server.source.name();
    let none = || Words::new().muted("—");
    let (sign, ink, error, tried) = match &server.state {
        LinkState::Absent => (Glyph::Dot, Ink::new(Role::Muted), none(), none()),
        LinkState::Connecting => (
            Glyph::Open,
            Ink::new(Role::Warn),
            Words::new().muted("none yet"),
            Words::new().muted("now"),
        ),
        LinkState::Up | LinkState::Lagging { .. } => (
            Glyph::Running,
            Ink::new(Role::Ok),
            none(),
            Words::new().muted("now"),
        ),
        LinkState::Down {
            reason, again_at, ..
        } => (
            Glyph::Open,
            Ink::new(Role::Crit),
            Words::new().line(reason, Role::Crit),
            Words::new().muted(match again_at.map(|at| at.since(now)) {
                Some(left) if left.as_millis() > 0 => {
                    format!("in {}s", left.as_millis().div_ceil(1_000))
                }
                Some(_) => "now".to_owned(),
                None => "—".to_owned(),
            }),
        ),
    };
    let address = match (&server.state, address) {
        (LinkState::Absent, _) => Words::new().muted("not configured"),
        (_, Some(address)) => Words::new().line(address, Role::Text),
        (_, None) => Words::new().muted("unknown"),
    };
    Row {
        cells: vec![
            Words::new()
                .glyph(scene.glyphs, sign, ink)
                .text(format!(" {name}")),
            address,
            error,
            tried,
        ],
        ..Row::default()
    }
}

/// One muted sentence where a list would be, wrapped.
pub(super) fn sentence(scene: &Scene<'_>, words: Words, area: Rect, buf: &mut Buffer) {
    let area = indent(split_row(area).1, 3);
    let width = usize::from(area.width.saturating_sub(2));
    pane::rows(scene.pen(), buf, area, &words.wrap(width));
}

/// One muted sentence in the first rows of a pane, wrapped.
pub(super) fn sentence_here(scene: &Scene<'_>, words: Words, area: Rect, buf: &mut Buffer) {
    let area = indent(area, 3);
    let width = usize::from(area.width.saturating_sub(2));
    pane::rows(scene.pen(), buf, area, &words.wrap(width));
}

/// That nothing passes the filter of the present list, what was probably meant, and
/// how many rows there are without it.
pub(super) fn no_match(scene: &Scene<'_>, what: &str, known: Option<usize>) -> Words {
    let list = scene.state.ui.current();
    let words = Words::new()
        .muted(format!("No {what} matches "))
        .line(&list.filter_text, Role::Text)
        .muted(". ");
    let meant = list.filter.as_ref().and_then(|filter| filter.suggestion());
    let words = match meant {
        Some(meant) => words
            .muted("Did you mean ")
            .line(meant, Role::Text)
            .muted("? "),
        None => words,
    };
    words.muted(match known {
        Some(known) => format!("Esc shows all {}.", text::thousands(known as u64)),
        None => "Esc shows all.".to_owned(),
    })
}

/// Why the table of jobs is empty, and how to fill it.
pub(super) fn no_jobs(scene: &Scene<'_>, view: &JobsView, area: Rect, buf: &mut Buffer) {
    let words = if view.filter.is_empty() {
        match asking(scene) {
            Some(words) => words,
            None => {
                Words::new().muted("No job has been seen. capdeck submit -f JOB.json sends one.")
            }
        }
    } else {
        no_match(scene, "job", Some(view.known))
    };
    sentence(scene, words, area, buf);
}

/// Why the table of workers is empty.
pub(super) fn no_workers(scene: &Scene<'_>, view: &WorkersView, area: Rect, buf: &mut Buffer) {
    let words = if view.filter.is_empty() {
        asking(scene).unwrap_or_else(|| {
            Words::new().muted("No worker has been heard; they beat every 2 to 5 s.")
        })
    } else {
        no_match(scene, "worker", Some(view.standings.total()))
    };
    sentence(scene, words, area, buf);
}

/// What is being waited for, with its age; `None` once a server has answered.
pub(super) fn asking(scene: &Scene<'_>) -> Option<Words> {
    let links = &scene.state.model.links;
    let now = scene.state.now;
    let waiting: Vec<Source> = Source::ALL
        .into_iter()
        .filter(|source| links.of(*source).state == LinkState::Connecting)
        .collect();
    let source = waiting.first()?;
    if links.any_up() {
        return None;
    }
    let since = now.since(links.of(*source).since);
    Some(Words::new().muted(format!(
        "Connecting to {}, {}.",
        source.name(),
        text::duration(since)
    )))
}
