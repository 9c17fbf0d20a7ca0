//! `capdeck render`: one frame of a view as text, with colors, or as a picture,
//! from a demo that runs on a virtual clock: same seed and instant, same frame.
//!
//! It hears the bus of that demo and nothing else, as a console without a gateway does.

use std::fmt::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use crate::cli::{CliError, print, themes};
use crate::control_plane::simulation::Simulation;
use crate::runtime::event_of;
use crate::state::State;
use crate::state::action::Action;
use crate::state::effect::EffectQueue;
use crate::state::event::{Event, LinkState, Source, Stamped};
use crate::text;
use crate::time::{Elapsed, Timestamp};
use crate::tui::glyph::Glyphs;
use crate::tui::keymap::Keymap;
use crate::tui::screen::Context;
use crate::tui::theme::{self, Depth, Role, Theme};
use crate::tui::{Look, paint};

/// The largest picture, in cells across or down.
const LARGEST: u16 = 500;

/// Width and height of a cell of a picture, in its units.
const CELL: (u16, u16) = (10, 21);

/// What `capdeck render` takes.
#[derive(Debug, clap::Args)]
pub(super) struct RenderArgs {
    /// What to draw
    view: Which,
    /// Columns and rows
    #[arg(long, default_value = "120x40", value_name = "COLUMNSxROWS", value_parser = size)]
    size: (u16, u16),
    /// How to write it
    #[arg(short, long, default_value = "text")]
    output: Output,
    /// The color theme
    #[arg(long, default_value = theme::DEFAULT)]
    theme: String,
    /// Only ASCII signs
    #[arg(long)]
    ascii: bool,
    /// The seed of the demo
    #[arg(long, default_value_t = 1, value_name = "SEED")]
    demo: u64,
    /// How long the demo has run, such as 20s or 5m
    #[arg(long, default_value = "20s", value_parser = elapsed)]
    at: Elapsed,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Which {
    Overview,
    Jobs,
    /// The detail of the first job
    Job,
    Workers,
    Pools,
    Heat,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Output {
    Text,
    Ansi,
    Svg,
}

fn size(given: &str) -> Result<(u16, u16), String> {
    let sides = given.split_once('x');
    let side = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|side| (1..=LARGEST).contains(side))
    };
    sides
        .and_then(|(columns, rows)| Some((side(columns)?, side(rows)?)))
        .ok_or_else(|| format!("a size is columns x rows, such as 120x40, at most {LARGEST} each"))
}

fn elapsed(given: &str) -> Result<Elapsed, String> {
    let read = |unit: char, seconds: u64| {
        let number = given.strip_suffix(unit)?.parse::<u64>().ok()?;
        number.checked_mul(seconds).filter(|all| *all <= 3_600)
    };
    read('s', 1)
        .or_else(|| read('m', 60))
        .map(Elapsed::from_secs)
        .ok_or_else(|| "a time is a number and s or m, at most an hour".to_owned())
}

/// Draws one frame and writes it.
pub(super) fn run(args: &RenderArgs) -> Result<(), CliError> {
    let (theme, warnings) =
        Theme::choose(None, Some(&args.theme), Depth::True).map_err(themes::as_cli_error)?;
    for warning in warnings {
        print::note(&format!("warning: {warning}"));
    }
    let mut console = Console::default();
    let mut demo = Simulation::demo(args.demo);
    console.step(demo.now(), Event::Link(Source::Bus, LinkState::Up));
    demo.run_until(args.at);
    let end = demo.now();
    for heard in demo.take_heard() {
        console.step(heard.at, event_of(&heard.delivery));
    }
    console.step(end, Event::Tick);
    let actions = match args.view {
        Which::Overview => vec![Action::Overview],
        Which::Jobs => vec![Action::Jobs],
        Which::Job => vec![Action::Jobs, Action::Open],
        Which::Workers => vec![Action::Workers],
        Which::Pools => vec![Action::Workers, Action::ByPool],
        Which::Heat => vec![Action::Workers, Action::HeatMap],
    };
    for action in actions {
        console.step(end, Event::User(action));
    }
    let (columns, rows) = args.size;
    console.step(end, Event::User(Action::Resize { columns, rows }));
    let look = Look {
        themes: vec![theme.clone()],
        glyphs: if args.ascii {
            Glyphs::ASCII
        } else {
            Glyphs::UNICODE
        },
        keymap: Keymap::default(),
        context: Context {
            name: format!("demo {}", args.demo),
            ground: Role::Panel,
            ..Context::default()
        },
    };
    let area = Rect::new(0, 0, columns, rows);
    let mut buf = Buffer::empty(area);
    // The second frame knows how many rows the first one could show.
    for _ in 0..2 {
        buf = Buffer::empty(area);
        let drawn = paint(&console.state, &look, area, &mut buf);
        console.step(end, Event::User(Action::Drawn(drawn)));
    }
    let out = match args.output {
        Output::Text => as_text(&buf),
        Output::Ansi => as_ansi(&buf),
        Output::Svg => as_svg(&buf, &theme),
    };
    print::out(out.as_bytes());
    Ok(())
}

/// A state that is fed by hand.
#[derive(Default)]
struct Console {
    state: State,
    seq: u64,
}

impl Console {
    fn step(&mut self, at: Timestamp, value: Event) {
        let event = Stamped {
            seq: self.seq,
            at,
            value,
        };
        self.seq += 1;
        self.state.step(&event, &mut EffectQueue::new());
    }
}

/// Cells of a row that look alike, from left to right, with their place.
fn runs(buf: &Buffer, y: u16) -> Vec<(u16, u16, String, Cell)> {
    let mut runs: Vec<(u16, u16, String, Cell)> = Vec::new();
    let mut x = buf.area.x;
    while x < buf.area.right() {
        let cell = &buf[(x, y)];
        let width = text::width(cell.symbol()).max(1) as u16;
        match runs.last_mut() {
            Some((_, wide, text, before)) if before.style() == cell.style() => {
                *wide += width;
                text.push_str(cell.symbol());
            }
            _ => runs.push((x, width, cell.symbol().to_owned(), cell.clone())),
        }
        x += width;
    }
    runs
}

fn as_text(buf: &Buffer) -> String {
    let mut out = String::new();
    for y in buf.area.top()..buf.area.bottom() {
        let line: String = runs(buf, y)
            .into_iter()
            .map(|(_, _, text, _)| text)
            .collect();
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn as_ansi(buf: &Buffer) -> String {
    let mut out = String::new();
    for y in buf.area.top()..buf.area.bottom() {
        for (_, _, text, cell) in runs(buf, y) {
            let mut codes = String::from("0");
            let style = cell.style();
            for (modifier, code) in [
                (Modifier::BOLD, ";1"),
                (Modifier::DIM, ";2"),
                (Modifier::UNDERLINED, ";4"),
                (Modifier::REVERSED, ";7"),
            ] {
                if style.add_modifier.contains(modifier) {
                    codes.push_str(code);
                }
            }
            for (which, color) in [("38", style.fg), ("48", style.bg)] {
                if let Some((red, green, blue)) = theme::rgb(color) {
                    codes.push_str(&format!(";{which};2;{red};{green};{blue}"));
                }
            }
            out.push_str(&format!("\x1b[{codes}m{text}"));
        }
        out.push_str("\x1b[0m\n");
    }
    out
}

fn as_svg(buf: &Buffer, theme: &Theme) -> String {
    let base = theme.ground(Role::Bg);
    let ground = theme::rgb(base.bg).unwrap_or((0x10, 0x10, 0x10));
    let ink = theme::rgb(base.fg).unwrap_or((0xe0, 0xe0, 0xe0));
    let hex = |(red, green, blue): (u8, u8, u8)| format!("#{red:02x}{green:02x}{blue:02x}");
    let (width, height) = (
        u32::from(buf.area.width) * u32::from(CELL.0) + 12,
        u32::from(buf.area.height) * u32::from(CELL.1) + 12,
    );
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"16\">\n<rect width=\"100%\" height=\"100%\" fill=\"{}\"/>\n",
        hex(ground)
    );
    for y in buf.area.top()..buf.area.bottom() {
        let top = u32::from(y - buf.area.top()) * u32::from(CELL.1) + 6;
        for (x, wide, text, cell) in runs(buf, y) {
            let style = cell.style();
            let mut over = theme::rgb(style.fg).unwrap_or(ink);
            let mut under = theme::rgb(style.bg).unwrap_or(ground);
            if style.add_modifier.contains(Modifier::REVERSED) {
                std::mem::swap(&mut over, &mut under);
            }
            let left = u32::from(x - buf.area.left()) * u32::from(CELL.0) + 6;
            let span = u32::from(wide) * u32::from(CELL.0);
            if under != ground {
                let line = format!(
                    "<rect x=\"{left}\" y=\"{top}\" width=\"{span}\" height=\"{}\" fill=\"{}\"/>\n",
                    CELL.1,
                    hex(under)
                );
                out.push_str(&line);
            }
            if text.trim().is_empty() {
                continue;
            }
            let mut looks = String::new();
            for (modifier, look) in [
                (Modifier::BOLD, " font-weight=\"bold\""),
                (Modifier::UNDERLINED, " text-decoration=\"underline\""),
                (Modifier::DIM, " opacity=\"0.6\""),
            ] {
                if style.add_modifier.contains(modifier) {
                    looks.push_str(look);
                }
            }
            writeln!(
                out,
                "<text x=\"{left}\" y=\"{}\" textLength=\"{span}\" lengthAdjust=\"spacingAndGlyphs\" xml:space=\"preserve\" fill=\"{}\"{looks}>{}</text>",
                top + 16,
                hex(over),
                escaped(&text)
            )
            .expect("writing to a string cannot fail");
        }
    }
    out.push_str("</svg>\n");
    out
}

/// Text as XML has it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_or_refused_with_words() {
        assert_eq!(size("120x40"), Ok((120, 40)));
        assert!(size("120").is_err());
        assert!(size("0x40").is_err());
        assert_eq!(elapsed("20s"), Ok(Elapsed::from_secs(20)));
        assert_eq!(elapsed("5m"), Ok(Elapsed::from_secs(300)));
        assert!(elapsed("20").is_err());
        assert!(elapsed("").is_err());
        assert!(elapsed("99m").is_err());
    }

    #[test]
    fn words_from_outside_cannot_end_an_element() {
        assert_eq!(escaped("<a & b>"), "&lt;a &amp; b&gt;");
    }
}
