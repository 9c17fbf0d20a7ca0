//! The keys that work here, those that ask, and those that cannot work now.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Front, boxed, typed};
use crate::state::action::{Action, Drawn};
use crate::state::ui::modal::Help;
use crate::tui::keymap::Mode;
use crate::tui::theme::Role;
use crate::tui::widget::pane::rows;
use crate::tui::widget::words::{Ink, Words};

const WIDTH: u16 = 74;

/// A key with what it does, or why it does not.
struct Line {
    keys: String,
    says: String,
    command: &'static str,
}

pub(super) fn draw(front: &Front<'_>, help: &Help, area: Rect, buf: &mut Buffer) -> Drawn {
    let ui = &front.state.ui;
    let width = usize::from(WIDTH.min(area.width.saturating_sub(6)));
    let mut groups: [(&str, Vec<Line>); 3] = [
        ("Looks", Vec::new()),
        ("Asks to change the world", Vec::new()),
        ("Cannot work now", Vec::new()),
    ];
    let mut of = 0;
    let search = help.search.value().trim().to_lowercase();
    for action in Action::named() {
        let keys = front.keymap.labels(Mode::View, action);
        let command = action.name().unwrap_or_default();
        if keys.is_empty() && *action != Action::Log {
            continue;
        }
        of += 1;
        let refused = ui.refusal(action, &front.state.model);
        let found = keys.to_lowercase().contains(&search)
            || action.help().to_lowercase().contains(&search)
            || command.contains(&search);
        if !found {
            continue;
        }
        let group = match (&refused, action.acts()) {
            (Some(_), _) => 2,
            (None, true) => 1,
            (None, false) => 0,
        };
        let says = match refused {
            Some(reason) => format!("{}: {reason}", action.help()),
            None => action.help().to_owned(),
        };
        groups[group].1.push(Line {
            keys,
            says,
            command,
        });
    }
    let shown: usize = groups.iter().map(|(_, lines)| lines.len()).sum();
    let mut lines = Vec::new();
    for (title, group) in groups {
        if group.is_empty() {
            continue;
        }
        if !lines.is_empty() {
            lines.push(Words::new());
        }
        lines.push(Words::new().bold(title, Role::Text));
        for line in group {
            lines.extend(row(&line, width));
        }
    }
    if lines.is_empty() {
        lines.push(Words::new().muted("Nothing here is called that. Esc clears the search."));
    }
    let count = if search.is_empty() {
        format!("{of}")
    } else {
        format!("{shown} of {of}")
    };
    let room = area.height.saturating_sub(2);
    let rows_wanted = (lines.len() as u16).saturating_add(4).min(room);
    let inside = boxed(
        front,
        area,
        buf,
        (WIDTH, rows_wanted),
        (
            &format!("Keys in {}", ui.view().title()),
            "",
            "type to search   Esc close   capdeck keys prints all",
        ),
        Role::Accent,
    );
    let head = Words::new()
        .ink("/", Ink::new(Role::Accent).bold())
        .gap(1)
        .then(typed(front.pen, &help.search, true, width / 2));
    front.pen.put(buf, inside, &head);
    let first = Rect {
        height: inside.height.min(1),
        ..inside
    };
    front.pen.put_right(buf, first, &Words::new().muted(count));
    let height = inside.height.saturating_sub(3);
    let list = Rect {
        y: inside.y.saturating_add(2),
        height: height.min(inside.height.saturating_sub(2)),
        ..inside
    };
    let scroll = help
        .scroll
        .min(lines.len().saturating_sub(usize::from(height)));
    rows(front.pen, buf, list, &lines[scroll..]);
    if inside.height > 3 {
        let last = Rect {
            y: inside.bottom() - 1,
            height: 1,
            ..inside
        };
        let rule = "Lower case looks, upper case asks, control chords never act.";
        front.pen.put(buf, last, &Words::new().muted(rule));
    }
    Drawn {
        height: list.height,
        rows: lines.len() as u32,
        ..Drawn::default()
    }
}

fn row(line: &Line, width: usize) -> Vec<Words> {
    let command = format!(":{}", line.command);
    let room = width.saturating_sub(9 + command.len() + 2);
    let mut wrapped = Words::new().text(line.says.clone()).wrap(room).into_iter();
    let first = wrapped.next().unwrap_or_default();
    let mut rows = vec![
        Words::new()
            .ink(line.keys.clone(), Ink::new(Role::Accent).bold())
            .to(9)
            .gap(usize::from(line.keys.chars().count() >= 9))
            .then(first)
            .to(width.saturating_sub(command.len()))
            .muted(command),
    ];
    rows.extend(wrapped.map(|rest| Words::new().gap(9).then(rest)));
    rows
}

/// `:log`: what was done in this session, the latest first.
pub(super) fn log(front: &Front<'_>, scroll: usize, area: Rect, buf: &mut Buffer) -> Drawn {
    let ui = &front.state.ui;
    let width = usize::from(WIDTH.min(area.width.saturating_sub(6)));
    let mut lines = Vec::new();
    for line in ui.log().rev() {
        let at = line.at.to_utc().map_or_else(
            || line.at.to_string(),
            |at| format!("{:02}:{:02}:{:02}Z", at.hour(), at.minute(), at.second()),
        );
        let text = Words::new().line(&line.text, Role::Text);
        for (row, rest) in text.wrap(width.saturating_sub(11)).into_iter().enumerate() {
            let label = if row == 0 { at.as_str() } else { "" };
            lines.push(Words::new().muted(label).to(11).then(rest));
        }
    }
    if lines.is_empty() {
        lines.push(Words::new().muted("You have not asked for anything in this session."));
    }
    let room = area.height.saturating_sub(2);
    let inside = boxed(
        front,
        area,
        buf,
        (WIDTH, (lines.len() as u16).min(room)),
        (
            "What you did",
            "",
            "Esc close   capdeck audit verify checks the record",
        ),
        Role::Accent,
    );
    let scroll = scroll.min(lines.len().saturating_sub(usize::from(inside.height)));
    rows(front.pen, buf, inside, &lines[scroll..]);
    Drawn {
        height: inside.height,
        rows: lines.len() as u32,
        ..Drawn::default()
    }
}
