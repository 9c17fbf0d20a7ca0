//! A console that plays an event script, and what is on its screen.

use capdeck::state::State;
use capdeck::state::action::{Action, Edit};
use capdeck::state::effect::{EffectId, EffectQueue, Outcome};
use capdeck::state::event::{Event, Stamped};
use capdeck::state::script;
use capdeck::text;
use capdeck::time::{Elapsed, Timestamp};
use capdeck::tui::glyph::Glyphs;
use capdeck::tui::hints::KeyHint;
use capdeck::tui::keymap::Keymap;
use capdeck::tui::screen::{self, Context, Hints, Scene};
use capdeck::tui::theme::{Depth, Role, Theme};
use capdeck::tui::{Look, paint};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

/// A deployment at work: jobs in every state, workers in every standing.
pub(super) const LIVE: &str = include_str!("live.events");

/// Workflows that are undone, armed and held up by a person, what policy says, and
/// jobs that could not be done.
pub(super) const SAGAS: &str = include_str!("sagas.events");

/// Some time after all lines were cut.
pub(super) const DARK: &str = "\n760s link nats down reason=\"connection refused\" attempts=7 \
    \n761s link gateway down reason=\"connection refused\" attempts=3\n790s tick";

/// The same deployment 41 s after its bus was cut.
pub(super) const CUT: &str = "\n141s link nats down reason=\"connection refused\" attempts=6 again=186s\n181s tick\n182s tick";

pub(super) fn conditions() -> [(&'static str, String); 5] {
    [
        ("empty", "0s link nats up | 0s link gateway up | 1s nothing-waits | 3s tick".to_owned()),
        ("loading", "0s link nats connecting | 0s link gateway connecting | 1s tick".to_owned()),
        ("live", LIVE.to_owned()),
        ("stale", format!("{LIVE}{CUT}")),
        (
            "error",
            "0s link nats down attempts=3 again=10s | 0s link gateway down attempts=2 again=13s reason=\"connection refused\" | 9s tick"
                .to_owned(),
        ),
    ]
}

/// The conditions of the views that look at workflows.
pub(super) fn saga_conditions() -> [(&'static str, String); 5] {
    conditions().map(|(condition, script)| match condition {
        "live" => (condition, SAGAS.to_owned()),
        "stale" => (condition, format!("{SAGAS}{DARK}")),
        _ => (condition, script),
    })
}

pub(super) struct Console {
    pub(super) state: State,
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    /// An effect that has not been answered.
    open: Option<EffectId>,
}

impl Console {
    pub(super) fn play(script: &str) -> Self {
        let mut console = Self {
            state: State::default(),
            seq: 0,
            at: script::START,
            open: None,
        };
        // A console starts with its own size and view; everything else is heard.
        console.user(Action::Resize {
            columns: 120,
            rows: 36,
        });
        let mut effects = EffectQueue::new();
        for event in merged(script::events(&with_controls(script)).unwrap()) {
            console.at = event.at;
            console.state.step(&event, &mut effects);
            console.seq = event.seq + 1;
        }
        console
    }

    pub(super) fn user(&mut self, action: Action) {
        let mut effects = EffectQueue::new();
        self.seq += 1;
        let event = Stamped {
            seq: self.seq,
            at: self.at,
            value: Event::User(action),
        };
        self.state.step(&event, &mut effects);
        // What is asked is answered at once: everything has been read already.
        let asked: Vec<_> = effects.drain().collect();
        for (id, _) in asked {
            self.seq += 1;
            let event = Stamped {
                seq: self.seq,
                at: self.at,
                value: Event::Outcome(id, Outcome::Done(None)),
            };
            self.state.step(&event, &mut EffectQueue::new());
        }
    }

    /// An action whose effect is answered later, by [`Console::end`].
    pub(super) fn leave_open(&mut self, action: Action) {
        self.at = self.at.plus(Elapsed::from_secs(1));
        self.seq += 1;
        let event = Stamped {
            seq: self.seq,
            at: self.at,
            value: Event::User(action),
        };
        let mut effects = EffectQueue::new();
        self.state.step(&event, &mut effects);
        self.open = effects.drain().map(|(id, _)| id).last();
    }

    pub(super) fn end(&mut self, outcome: Outcome) {
        let id = self.open.take().expect("an effect that was left open");
        self.seq += 1;
        let event = Stamped {
            seq: self.seq,
            at: self.at,
            value: Event::Outcome(id, outcome),
        };
        self.state.step(&event, &mut EffectQueue::new());
    }

    /// Actions by name a second apart, so that no guard holds; `"text"` types, and
    /// anything with a blank is heard as in event files, `;` between events.
    pub(super) fn press(&mut self, keys: &str) {
        for key in keys.split('|').map(str::trim) {
            self.at = self.at.plus(Elapsed::from_secs(1));
            if let Some(text) = key.strip_prefix('"') {
                for c in text.trim_end_matches('"').chars() {
                    self.user(Action::Edit(Edit::Insert(c)));
                }
            } else if key.contains(' ') {
                let told = key.replace(';', "\n0s ");
                for event in merged(script::events(&format!("0s {told}")).unwrap()) {
                    self.seq += 1;
                    let event = Stamped {
                        seq: self.seq,
                        at: self.at,
                        ..event
                    };
                    self.state.step(&event, &mut EffectQueue::new());
                }
            } else {
                self.user(key.parse().unwrap());
                self.paint(120, 36);
            }
        }
    }

    /// Draws all of the screen with what stands in front, as the loop does.
    pub(super) fn paint(&mut self, columns: u16, rows: u16) -> Buffer {
        self.user(Action::Resize { columns, rows });
        let look = Look {
            themes: vec![dark()],
            glyphs: Glyphs::UNICODE,
            keymap: Keymap::default(),
            context: Context {
                name: "PROD eu-1".to_owned(),
                ground: Role::Frame,
                ..Context::default()
            },
            json: |_| None,
        };
        let area = Rect::new(0, 0, columns, rows);
        let mut buf = Buffer::empty(area);
        for _ in 0..2 {
            buf = Buffer::empty(area);
            let drawn = paint(&self.state, &look, area, &mut buf);
            self.user(Action::Drawn(drawn));
        }
        buf
    }

    /// Draws until what was drawn no longer changes the state, as the loop does.
    pub(super) fn draw(
        &mut self,
        theme: &Theme,
        glyphs: Glyphs,
        columns: u16,
        rows: u16,
    ) -> Buffer {
        self.user(Action::Resize { columns, rows });
        let context = Context {
            name: "PROD eu-1".to_owned(),
            ground: Role::Frame,
            addresses: [
                Some("nats://localhost:4222".to_owned()),
                Some("http://localhost:8081".to_owned()),
                None,
            ],
        };
        let hints = Hints {
            keys: [
                ("Enter", "detail"),
                ("space", "mark"),
                ("/", "filter"),
                ("?", "help"),
            ]
            .map(|(key, says)| KeyHint {
                key: key.to_owned(),
                says: says.to_owned(),
            })
            .to_vec(),
            cannot: "A works in a review".to_owned(),
        };
        let area = Rect::new(0, 0, columns, rows);
        let mut buf = Buffer::empty(area);
        for _ in 0..2 {
            buf = Buffer::empty(area);
            let scene = Scene {
                state: &self.state,
                context: &context,
                hints: &hints,
                theme,
                glyphs,
            };
            let drawn = screen::draw(&scene, area, &mut buf);
            self.user(Action::Drawn(drawn));
        }
        buf
    }
}

/// Control characters are written by name in event files, which people read.
pub(super) fn with_controls(script: &str) -> String {
    script.replace("{ESC}", "\x1b").replace("{CR}", "\r")
}

/// A gateway answers with all its approvals, or dead letters, at once: those that stand together in
/// a script are one answer.
pub(super) fn merged(events: Vec<Stamped<Event>>) -> Vec<Stamped<Event>> {
    let mut merged: Vec<Stamped<Event>> = Vec::new();
    for event in events {
        if let (Event::Approvals(more), Some(last)) = (&event.value, merged.last_mut())
            && let Event::Approvals(facts) = &mut last.value
        {
            facts.extend(more.iter().cloned());
            continue;
        }
        if let (Event::DeadLetters(more), Some(last)) = (&event.value, merged.last_mut())
            && let Event::DeadLetters(fact) = &mut last.value
        {
            fact.letters.extend(more.letters.iter().cloned());
            continue;
        }
        merged.push(event);
    }
    merged
}

pub(super) fn dark() -> Theme {
    Theme::shipped("dark", Depth::True)
}

pub(super) fn text_of(buf: &Buffer) -> String {
    let mut out = String::new();
    for row in buf.area.rows() {
        let mut line = String::new();
        let mut hidden = 0;
        for cell in row.columns() {
            if hidden > 0 {
                hidden -= 1;
                continue;
            }
            let symbol = buf[(cell.x, cell.y)].symbol();
            hidden = text::width(symbol).saturating_sub(1);
            line.push_str(symbol);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// One letter a cell: the role of its words, in upper case where they are bold;
/// `#` where they stand on a block of color, `_` on the cursor row's blanks.
pub(super) fn roles_of(buf: &Buffer, theme: &Theme) -> String {
    let mut out = String::new();
    for row in buf.area.rows() {
        let mut line = String::new();
        for cell in row.columns() {
            let cell = &buf[(cell.x, cell.y)];
            line.push(role_letter(theme, cell.style(), cell.symbol()));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

pub(super) fn role_letter(theme: &Theme, style: Style, symbol: &str) -> char {
    let ground = theme.ground_of(style);
    if symbol == " " {
        return match ground {
            None => ' ',
            Some(Role::Sel | Role::Panel) => '_',
            Some(_) => '#',
        };
    }
    match ground {
        Some(Role::Sel | Role::Panel) | None => {}
        Some(_) => return '#',
    }
    let letter = theme.role_of(style).map_or('?', Role::letter);
    if style.add_modifier.contains(Modifier::BOLD) {
        letter.to_ascii_uppercase()
    } else {
        letter
    }
}
