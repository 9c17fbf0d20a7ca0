//! The screen: keys in, frames out, around the runtime.
//!
//! The loop runs on the main task and never waits for a server: it takes what has
//! happened, steps the state, runs what the state asks for, and draws when
//! something that is drawn has changed. It takes the keys itself, before all else, so
//! that a key is one wake-up away from its frame. Start at [`Tui::run`].

use std::io;
use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::runtime::Runtime;
use crate::state::State;
use crate::state::action::{Action, Drawn};
use crate::state::effect::{Effect, EffectQueue, Outcome};
use crate::state::event::{Event, Stamped};
use crate::state::ui::modal::Modal;
use crate::state::ui::{Manners, UiState};
use crate::time::{Clock, Elapsed, Timestamp};
use crate::tui::glyph::Glyphs;
use crate::tui::input::{Input, Keyboard};
use crate::tui::keymap::{Chords, Keymap, Mode};
use crate::tui::pace::{Pace, Urgency};
use crate::tui::screen::{Context, Hints, Scene};
use crate::tui::terminal::{TerminalError, TerminalGuard};
use crate::tui::theme::{Depth, Theme};
use crate::tui::widget::Pen;

pub mod glyph;
pub mod hints;
pub mod input;
pub mod keymap;
pub mod overlay;
pub mod pace;
pub mod screen;
pub mod terminal;
pub mod theme;
pub mod widget;

/// A key that waits for its second half, and a guard that ends, are looked at again
/// after this time.
const LOOK_AGAIN: Elapsed = Elapsed::from_millis(400);

/// What the screen looks like and what it may do.
pub struct Look {
    /// The themes that `t` goes through, the first one in force. Never empty.
    pub themes: Vec<Theme>,
    /// Which signs can be drawn.
    pub glyphs: Glyphs,
    /// The keys in force.
    pub keymap: Keymap,
    /// Where one is.
    pub context: Context,
    /// What is under the cursor as JSON, in the shape that `capdeck get` prints;
    /// `None` when there is nothing, or nothing is known of it any more.
    pub json: fn(&State) -> Option<String>,
}

/// The console on a terminal.
pub struct Tui {
    look: Look,
    clock: Arc<dyn Clock>,
    state: State,
    effects: EffectQueue,
    chords: Chords,
    pace: Pace,
    /// Whether the terminal may have lost what was drawn.
    repaint: bool,
}

impl Tui {
    /// A console that has not taken the terminal yet.
    pub fn new(look: Look, manners: Manners, clock: Arc<dyn Clock>) -> Self {
        let state = State {
            now: clock.now(),
            ui: UiState::new(manners),
            ..State::default()
        };
        Self {
            look,
            clock,
            state,
            effects: EffectQueue::new(),
            chords: Chords::default(),
            pace: Pace::default(),
            repaint: false,
        }
    }

    /// Shows what `runtime` tells until the operator quits or SIGTERM comes; then
    /// the terminal is as it was. The runtime is given back to be shut down.
    ///
    /// A terminal that vanishes ends the process at once, with 129.
    ///
    /// # Errors
    /// There is no terminal, or it cannot be taken.
    pub async fn run(mut self, mut runtime: Runtime) -> Result<Runtime, TerminalError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(TerminalError::Refused)?;
        let hangup = terminal::exit_on_hangup().map_err(TerminalError::Refused)?;
        let depth = self.look.themes.first().map_or(Depth::Mono, Theme::depth);
        let mut terminal = TerminalGuard::take(depth)?;
        let mut keyboard = Keyboard::listen();
        let mut tasks = JoinSet::new();
        tasks.spawn(hangup);

        if let Ok((columns, rows)) = terminal.size() {
            // It may have changed since the terminal was taken, when nobody listened.
            self.repaint = true;
            self.user(&mut runtime, Action::Resize { columns, rows });
        }
        self.pace.changed(Urgency::Now);
        let mut keys = Vec::new();
        let mut batch: Vec<Stamped<Event>> = Vec::new();
        while !self.state.ui.quitting() {
            if self.pace.is_due(self.clock.now()) {
                self.draw(&mut terminal, &mut runtime)
                    .unwrap_or_else(|error| terminal::vanished(&error.to_string()));
            }
            let wake = self.wake();
            tokio::select! {
                biased;
                _ = terminate.recv() => break,
                () = terminal.continued() => {
                    terminal.retake()
                        .unwrap_or_else(|error| terminal::vanished(&error.to_string()));
                    self.pace.changed(Urgency::Now);
                }
                () = keyboard.read(&mut keys) => {
                    input::coalesce_resizes(&mut keys);
                    for input in keys.drain(..) {
                        self.typed(&mut runtime, input);
                    }
                }
                more = runtime.next_batch(wake, &mut batch) => {
                    for event in batch.drain(..) {
                        match Urgency::of(&event.value) {
                            Some(urgency) => self.pace.changed(urgency),
                            None => self.pace.tick(event.at),
                        }
                        self.state.step(&event, &mut self.effects);
                    }
                    if !more {
                        break;
                    }
                }
            }
            self.run_effects(&mut terminal, &mut runtime)
                .await
                .unwrap_or_else(|error| terminal::vanished(&error.to_string()));
        }
        drop(terminal);
        tasks.shutdown().await;
        Ok(runtime)
    }

    /// When something on the screen changes by time alone: the next frame that is
    /// due, or a guard or footer that ends.
    fn wake(&self) -> Option<Timestamp> {
        let now = self.clock.now();
        let ends = self.state.ui.ignored(now).is_some()
            || self.state.ui.footer(now).is_some()
            || self.state.ui.is_guarded(now);
        let look_again = ends.then(|| now.plus(LOOK_AGAIN));
        match (self.pace.due(), look_again) {
            (Some(due), Some(again)) => Some(due.min(again)),
            (due, again) => due.or(again),
        }
    }

    fn user(&mut self, runtime: &mut Runtime, action: Action) {
        let event = runtime.stamp(Event::User(action));
        self.state.step(&event, &mut self.effects);
        self.pace.changed(Urgency::Now);
    }

    fn typed(&mut self, runtime: &mut Runtime, input: Input) {
        match input {
            Input::Key(key) => {
                let now = self.clock.now();
                let mode = mode(&self.state.ui);
                let pressed = self.chords.press(&self.look.keymap, mode, key, now);
                if let Some(action) = pressed {
                    let action = in_rows(action, &self.state.ui);
                    self.user(runtime, action);
                }
            }
            Input::Paste(text) => self.user(runtime, Action::Paste(text)),
            Input::Resize { columns, rows } => {
                // A window that shrank and grew back has lost cells, and its size
                // does not tell.
                self.repaint = true;
                self.user(runtime, Action::Resize { columns, rows });
            }
            Input::Focused(focused) => self.user(runtime, Action::Focused(focused)),
            Input::Gone(why) => terminal::vanished(&why),
        }
    }

    async fn run_effects(
        &mut self,
        terminal: &mut TerminalGuard,
        runtime: &mut Runtime,
    ) -> io::Result<()> {
        while !self.effects.is_empty() {
            for (id, effect) in runtime.run(&mut self.effects) {
                match effect {
                    Effect::CopyText(text) => terminal.copy(&text)?,
                    Effect::CopyJson => {
                        if let Some(text) = (self.look.json)(&self.state) {
                            terminal.copy(&text)?;
                        }
                    }
                    Effect::Bell => terminal.bell()?,
                    Effect::Suspend => {
                        terminal.suspend().await?;
                        self.pace.changed(Urgency::Now);
                    }
                    Effect::Repaint => {
                        terminal.repaint()?;
                        self.pace.changed(Urgency::Now);
                    }
                    Effect::Quit
                    | Effect::Cancel { .. }
                    | Effect::Decide { .. }
                    | Effect::Retry { .. }
                    | Effect::ReadPayload { .. }
                    | Effect::ReadJob(_)
                    | Effect::ReadTrace { .. }
                    | Effect::ReadLives { .. }
                    | Effect::ReadPolicy
                    | Effect::Explain { .. }
                    | Effect::Try { .. }
                    | Effect::JudgeCompensation { .. }
                    | Effect::Refresh
                    | Effect::KeepView { .. }
                    | Effect::LogReveal { .. } => {}
                }
                let done = runtime.stamp(Event::Outcome(id, Outcome::Done(None)));
                self.state.step(&done, &mut self.effects);
            }
        }
        Ok(())
    }

    fn draw(&mut self, terminal: &mut TerminalGuard, runtime: &mut Runtime) -> io::Result<()> {
        if std::mem::take(&mut self.repaint) {
            terminal.repaint()?;
        }
        let mut drawn = Drawn::default();
        let (state, look) = (&self.state, &self.look);
        terminal.draw(|area, buf| drawn = paint(state, look, area, buf))?;
        self.pace.drawn(self.clock.now());
        if drawn != self.state.ui.drawn() {
            // Drawn again only if what was shown opens something, such as the gate
            // of a review: the next frame then shows it.
            self.user(runtime, Action::Drawn(drawn));
        }
        Ok(())
    }
}

/// Draws one frame of `state`.
pub fn paint(state: &State, look: &Look, area: Rect, buf: &mut Buffer) -> Drawn {
    let themes = &look.themes;
    let forward = state.ui.themes_forward() as usize;
    let Some(theme) = themes.get(forward % themes.len().max(1)) else {
        return Drawn::default();
    };
    let (keys, cannot) = hints::hints(state, &look.keymap);
    let hints = Hints { keys, cannot };
    let scene = Scene {
        state,
        context: &look.context,
        hints: &hints,
        theme,
        glyphs: look.glyphs,
    };
    let drawn = screen::draw(&scene, area, buf);
    let front = overlay::Front {
        state,
        keymap: &look.keymap,
        pen: Pen::new(theme, look.glyphs),
        context: &look.context.name,
        ground: look.context.ground,
        json: look.json,
    };
    overlay::draw(&front, area, buf).unwrap_or(drawn)
}

/// What has the keyboard.
fn mode(ui: &UiState) -> Mode {
    match ui.modal() {
        Some(modal) if modal.is_dialog() => Mode::Dialog,
        Some(Modal::Log(_) | Modal::Json(_)) | None => Mode::View,
        Some(_) => Mode::Prompt,
    }
}

/// Pages as rows of the present window, so that a recording does not depend on it.
fn in_rows(action: Action, ui: &UiState) -> Action {
    if ui.modal().is_some() {
        return action;
    }
    let page = i64::from(ui.drawn().height.max(1));
    match action {
        Action::PageDown => Action::MoveBy(page),
        Action::PageUp => Action::MoveBy(-page),
        Action::HalfPageDown => Action::MoveBy((page / 2).max(1)),
        Action::HalfPageUp => Action::MoveBy(-(page / 2).max(1)),
        other => other,
    }
}
