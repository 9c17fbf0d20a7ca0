//! The alerts that fire, and the last ones that did.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::focused;
use crate::state::ui::ListId;
use crate::state::ui::order::alert_row;
use crate::text::{self, Shown};
use crate::tui::glyph::Glyph;
use crate::tui::screen::jobs::inside;
use crate::tui::screen::{Scene, missing_screen};
use crate::tui::theme::Role;
use crate::tui::widget::pane::Title;
use crate::tui::widget::split_row;
use crate::tui::widget::table::{Column, Row, Table};
use crate::tui::widget::words::{Ink, Words};
use crate::view;
use crate::view::overview;
use crate::wire::packet::AlertSeverity;

pub(super) fn draw(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
    let pen = scene.pen();
    let (model, now) = view::shown(scene.state);
    let alerts = overview::alerts(model, now);
    let is_focused = focused(scene, ListId::Alerts);
    let (title, table) = split_row(area);
    let is_heard = view::frame::hears_alerts(model);
    let facts = match alerts.len() {
        0 if !is_heard => Words::new().muted("unknown"),
        0 => Words::new().muted("0 firing"),
        n => Words::new().bold(format!("{n} firing"), Role::Crit),
    };
    Title::new("Alerts", is_focused)
        .facts(facts)
        .draw(pen, buf, inside(title));
    if alerts.is_empty() {
        let last = model.alerts.iter().map(|alert| alert.last).max();
        let words = match last {
            Some(last) => Words::new().muted(format!(
                "No alert fires. The last one was heard at {}.",
                text::clock_near(last, now)
            )),
            None if !is_heard => {
                Words::new().muted("Alerts are heard on the bus alone, and none is attached.")
            }
            None => Words::new().muted("No alert fires."),
        };
        missing_screen::sentence_here(scene, words, table, buf);
        return;
    }
    let columns = [
        Column::fixed("LEVEL", 6).rank(0),
        Column::grow("ALERT", 10).rank(1),
        Column::content("SUBJECT", 7, 18).rank(2).gap(2).tail(),
        Column::number("FOR", 6).rank(3),
    ];
    let selected = scene.state.ui.list(ListId::Alerts).state.selected();
    let rows: Vec<Row> = alerts
        .iter()
        .take(usize::from(table.height.saturating_sub(1)))
        .map(|alert| {
            let (glyph, word, ink) = severity(alert.severity);
            Row {
                cells: vec![
                    Words::new()
                        .glyph(scene.glyphs, glyph, ink)
                        .ink(format!(" {word}"), ink),
                    Words::new().shown(Shown::head_of(&alert.name, 60), Role::Text),
                    Words::new().shown(Shown::tail_of(&alert.subject, 24), Role::Text),
                    Words::new().text(text::age(now.since(alert.since))),
                ],
                selected: is_focused && selected == Some(&alert_row(alert)),
                ..Row::default()
            }
        })
        .collect();
    Table::new(&columns, &rows).draw(pen, buf, table);
}

fn severity(severity: AlertSeverity) -> (Glyph, &'static str, Ink) {
    match severity {
        AlertSeverity::Critical => (Glyph::Critical, "CRIT", Ink::new(Role::Crit).bold()),
        AlertSeverity::Error => (Glyph::Critical, "ERR", Ink::new(Role::Crit)),
        AlertSeverity::Warning => (Glyph::Warning, "WARN", Ink::new(Role::Warn)),
        AlertSeverity::Info => (Glyph::Dot, "INFO", Ink::new(Role::Muted)),
        AlertSeverity::Unspecified | AlertSeverity::Unknown(_) => {
            (Glyph::Warning, "?", Ink::new(Role::Warn))
        }
    }
}
