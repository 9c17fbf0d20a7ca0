//! Keys become actions by one table of (mode, chord, action).
//!
//! The help, the footer, the README and `capdeck keys` are made from the same
//! table, so none of them can promise a key that does nothing. Start at
//! [`Keymap::default`]; [`Keymap::with_overrides`] applies the user's file;
//! [`Chords`] turns keys into actions and is the only part with a memory: the
//! first half of a chord such as `gg`, dropped after [`CHORD_WAITS`] by the stamps.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::state::action::{Action, Edit, UnknownAction};
use crate::time::{Elapsed, Timestamp};

mod chord;

pub use chord::{Chord, Code, Key, Named};

/// How long the first key of a chord waits for the second.
pub const CHORD_WAITS: Elapsed = Elapsed::from_millis(1_000);

/// What has the keyboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// A view, a detail or the review.
    View,
    /// A line of text: filter, palette, the search of the help.
    Prompt,
    /// A dialog with fields and buttons.
    Dialog,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::View, Self::Prompt, Self::Dialog];

    /// Its word in tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Prompt => "prompt",
            Self::Dialog => "dialog",
        }
    }

    /// Whether letters are text here.
    fn takes_text(self) -> bool {
        matches!(self, Self::Prompt | Self::Dialog)
    }
}

use Mode::{Dialog, Prompt, View};

/// The table. Order is that of the help.
const DEFAULTS: &[(Mode, &str, Action)] = &[
    (View, "j", Action::Down),
    (View, "Down", Action::Down),
    (View, "k", Action::Up),
    (View, "Up", Action::Up),
    (View, "gg", Action::First),
    (View, "Home", Action::First),
    (View, "G", Action::Last),
    (View, "End", Action::Last),
    (View, "ctrl-d", Action::HalfPageDown),
    (View, "ctrl-u", Action::HalfPageUp),
    (View, "PgDn", Action::PageDown),
    (View, "PgUp", Action::PageUp),
    (View, "h", Action::Left),
    (View, "Left", Action::Left),
    (View, "l", Action::Right),
    (View, "Right", Action::Right),
    (View, "Enter", Action::Open),
    (View, "d", Action::Detail),
    (View, "Esc", Action::Back),
    (View, "q", Action::Close),
    (View, "ctrl-c", Action::Quit),
    (View, "1", Action::Overview),
    (View, "2", Action::Approvals),
    (View, "3", Action::Jobs),
    (View, "4", Action::Workers),
    (View, "5", Action::Policy),
    (View, "6", Action::Rollbacks),
    (View, "7", Action::Traces),
    (View, "Tab", Action::NextView),
    (View, "shift-Tab", Action::PreviousView),
    (View, "-", Action::LastView),
    (View, "[", Action::HistoryBack),
    (View, "]", Action::HistoryForward),
    (View, "?", Action::Help),
    (View, ":", Action::Palette),
    (View, "/", Action::Filter),
    (View, "n", Action::NextMatch),
    (View, "N", Action::PreviousMatch),
    (View, "s", Action::Sort),
    (View, "S", Action::Reverse),
    (View, "space", Action::Mark),
    (View, "f", Action::Freeze),
    (View, "L", Action::Live),
    (View, "w", Action::Wide),
    (View, "p", Action::ByPool),
    (View, "m", Action::HeatMap),
    (View, "y", Action::Json),
    (View, "c", Action::CopyId),
    (View, "C", Action::CopyJson),
    (View, "E", Action::Explain),
    (View, "P", Action::WhatIf),
    (View, "u", Action::Undo),
    (View, "ctrl-s", Action::SaveView),
    (View, "r", Action::Reload),
    (View, "t", Action::Theme),
    (View, "ctrl-l", Action::Repaint),
    (View, "ctrl-z", Action::Suspend),
    (View, "a", Action::Review),
    (View, "V", Action::Reveal),
    (View, "A", Action::Approve),
    (View, "R", Action::Reject),
    (View, "X", Action::Cancel),
    (View, "T", Action::Retry),
    (Prompt, "Enter", Action::Confirm),
    (Prompt, "Esc", Action::Back),
    (Prompt, "Tab", Action::Complete),
    (Prompt, "Down", Action::Down),
    (Prompt, "Up", Action::Up),
    (Prompt, "PgDn", Action::PageDown),
    (Prompt, "PgUp", Action::PageUp),
    (Prompt, "ctrl-c", Action::Quit),
    (Prompt, "ctrl-l", Action::Repaint),
    (Prompt, "ctrl-z", Action::Suspend),
    (Dialog, "Enter", Action::Confirm),
    (Dialog, "Esc", Action::Back),
    (Dialog, "Tab", Action::NextField),
    (Dialog, "shift-Tab", Action::PreviousField),
    (Dialog, "Down", Action::NextField),
    (Dialog, "Up", Action::PreviousField),
    (Dialog, "ctrl-c", Action::Quit),
    (Dialog, "ctrl-l", Action::Repaint),
    (Dialog, "ctrl-z", Action::Suspend),
];

/// Editing keys of every text; not remapped, for they are what shells have.
const EDITS: &[(&str, Edit)] = &[
    ("Backspace", Edit::Backspace),
    ("ctrl-h", Edit::Backspace),
    ("Delete", Edit::Delete),
    ("ctrl-w", Edit::DeleteWord),
    ("alt-Backspace", Edit::DeleteWord),
    ("ctrl-u", Edit::DeleteToStart),
    ("ctrl-k", Edit::DeleteToEnd),
    ("Left", Edit::Left),
    ("Right", Edit::Right),
    ("ctrl-b", Edit::Left),
    ("ctrl-f", Edit::Right),
    ("alt-b", Edit::WordLeft),
    ("alt-f", Edit::WordRight),
    ("Home", Edit::Start),
    ("End", Edit::End),
    ("ctrl-a", Edit::Start),
    ("ctrl-e", Edit::End),
    ("ctrl-j", Edit::Newline),
    ("alt-Enter", Edit::Newline),
];

/// What the configuration file says about one action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The action's name, as written.
    pub action: String,
    /// Its chords, as written; they replace the defaults in every mode that has it.
    pub chords: Vec<String>,
    /// Where it is written.
    pub file: PathBuf,
    /// On which line, from 1.
    pub line: usize,
}

/// Why a key table cannot be used. Every kind names file and line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeymapError {
    /// No action is called that.
    #[error("{}:{line}: {unknown}; did you mean `{}`?", file.display(), unknown.nearest)]
    UnknownAction {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The name and the nearest.
        unknown: UnknownAction,
    },
    /// The action exists and has no key in any mode.
    #[error("{}:{line}: `{action}` has no key to change; it is a command", file.display())]
    NotAKey {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The action.
        action: &'static str,
    },
    /// The chord cannot be read.
    #[error("{}:{line}: `{chord}` is no key; write `x`, `X`, `ctrl-x`, `F5`, `PgUp` or two keys as `g g`", file.display())]
    BadChord {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What was written.
        chord: String,
    },
    /// An acting key must be one upper-case letter.
    #[error("{}:{line}: `{action}` changes the world, so its key is one upper-case letter, not `{chord}`", file.display())]
    NotCapital {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The action.
        action: &'static str,
        /// What was written.
        chord: String,
    },
    /// Letters are text in this mode.
    #[error("{}:{line}: `{chord}` is text where `{action}` works, so it cannot be its key", file.display())]
    IsText {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The action.
        action: &'static str,
        /// What was written.
        chord: String,
    },
    /// Two actions want the same key.
    #[error("{}:{line}: `{chord}` would mean both `{first}` and `{second}`", file.display())]
    Conflict {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        chord: String,
        /// The action that has it.
        first: &'static str,
        /// The action that wants it.
        second: &'static str,
    },
}

/// One row of the key table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Where it works.
    pub mode: Mode,
    /// The key or keys.
    pub chord: Chord,
    /// What it asks for.
    pub action: Action,
}

/// The key table in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keymap {
    bindings: Vec<Binding>,
    edits: BTreeMap<Key, Edit>,
}

impl Default for Keymap {
    fn default() -> Self {
        let bindings = DEFAULTS
            .iter()
            .map(|(mode, chord, action)| Binding {
                mode: *mode,
                chord: chord.parse().expect("a test reads every default chord"),
                action: action.clone(),
            })
            .collect();
        let edits = EDITS
            .iter()
            .map(|(key, edit)| (key.parse().expect("a test reads every editing key"), *edit))
            .collect();
        Self { bindings, edits }
    }
}

impl Keymap {
    /// The default table with the user's keys in place of the default ones.
    ///
    /// # Errors
    /// The first entry that cannot be used, with its file and line.
    pub fn with_overrides(overrides: &[Override]) -> Result<Self, KeymapError> {
        let mut map = Self::default();
        let mut mine = Vec::new();
        for entry in overrides {
            let (file, line) = (entry.file.clone(), entry.line);
            let action: Action = match entry.action.parse() {
                Ok(action) => action,
                Err(unknown) => {
                    return Err(KeymapError::UnknownAction {
                        file,
                        line,
                        unknown,
                    });
                }
            };
            let name = action.name().unwrap_or_default();
            let modes: Vec<Mode> = Mode::ALL
                .into_iter()
                .filter(|mode| {
                    DEFAULTS
                        .iter()
                        .any(|(m, _, default)| m == mode && *default == action)
                })
                .collect();
            if modes.is_empty() {
                return Err(KeymapError::NotAKey {
                    file,
                    line,
                    action: name,
                });
            }
            let mut chords = Vec::new();
            for written in &entry.chords {
                let Ok(chord) = written.parse::<Chord>() else {
                    return Err(KeymapError::BadChord {
                        file,
                        line,
                        chord: written.clone(),
                    });
                };
                if action.acts() && !chord.is_capital() {
                    return Err(KeymapError::NotCapital {
                        file,
                        line,
                        action: name,
                        chord: written.clone(),
                    });
                }
                chords.push(chord);
            }
            for mode in &modes {
                let is_text = |chord: &&Chord| mode.takes_text() && chord.first.text().is_some();
                if let Some(text) = chords.iter().find(is_text) {
                    // `k` for up must not take the letter from a filter, whose
                    // arrows then stay as they are.
                    if modes.contains(&View) {
                        continue;
                    }
                    return Err(KeymapError::IsText {
                        file,
                        line,
                        action: name,
                        chord: text.to_string(),
                    });
                }
                let is_old = |b: &Binding| b.mode == *mode && b.action == action;
                let at = map.bindings.iter().position(is_old).unwrap_or_default();
                map.bindings.retain(|b| !is_old(b));
                map.bindings.splice(
                    at..at,
                    chords.iter().map(|chord| Binding {
                        mode: *mode,
                        chord: *chord,
                        action: action.clone(),
                    }),
                );
            }
            mine.push((action, entry));
        }
        // Only when all are in place: two actions may trade their keys.
        match map.conflict() {
            None => Ok(map),
            Some((first, second)) => {
                let (wants, has) = if mine.iter().any(|(action, _)| *action == second.action) {
                    (second, first)
                } else {
                    (first, second)
                };
                let entry = mine
                    .iter()
                    .find(|(action, _)| *action == wants.action)
                    .map(|(_, entry)| entry)
                    .expect("the defaults do not conflict, so one of the two is the user's");
                Err(KeymapError::Conflict {
                    file: entry.file.clone(),
                    line: entry.line,
                    chord: wants.chord.to_string(),
                    first: has.action.name().unwrap_or_default(),
                    second: wants.action.name().unwrap_or_default(),
                })
            }
        }
    }

    /// Two rows of one mode that cannot both be reached: the same chord twice, or
    /// one that is the beginning of the other.
    fn conflict(&self) -> Option<(&Binding, &Binding)> {
        self.bindings.iter().enumerate().find_map(|(i, a)| {
            self.bindings[i + 1..]
                .iter()
                .find(|b| {
                    a.mode == b.mode
                        && a.chord.first == b.chord.first
                        && (a.chord.second == b.chord.second
                            || a.chord.second.is_none()
                            || b.chord.second.is_none())
                })
                .map(|b| (a, b))
        })
    }

    /// The rows of the table, in the order of the help.
    pub fn bindings(&self) -> &[Binding] {
        &self.bindings
    }

    /// The first chord of `action` in `mode`, for hints; `None` when it has no key there.
    pub fn label(&self, mode: Mode, action: &Action) -> Option<String> {
        self.bindings
            .iter()
            .find(|binding| binding.mode == mode && binding.action == *action)
            .map(|binding| binding.chord.to_string())
    }

    /// Every chord of `action` in `mode`, separated by blanks.
    pub fn labels(&self, mode: Mode, action: &Action) -> String {
        let chords: Vec<String> = self
            .bindings
            .iter()
            .filter(|binding| binding.mode == mode && binding.action == *action)
            .map(|binding| binding.chord.to_string())
            .collect();
        chords.join(" ")
    }

    fn find(&self, mode: Mode, first: Key, second: Option<Key>) -> Option<&Action> {
        self.bindings
            .iter()
            .find(|b| b.mode == mode && b.chord.first == first && b.chord.second == second)
            .map(|b| &b.action)
    }

    fn begins_a_chord(&self, mode: Mode, key: Key) -> bool {
        self.bindings
            .iter()
            .any(|b| b.mode == mode && b.chord.first == key && b.chord.second.is_some())
    }
}

/// Turns keys into actions; remembers the first half of a chord.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chords {
    begun: Option<(Mode, Key, Timestamp)>,
}

impl Chords {
    /// What `key`, pressed at `at` in `mode`, asks for; `None` while a chord waits
    /// for its second key.
    pub fn press(
        &mut self,
        keymap: &Keymap,
        mode: Mode,
        key: Key,
        at: Timestamp,
    ) -> Option<Action> {
        if let Some((begun_in, first, since)) = self.begun.take()
            && begun_in == mode
            && at.since(since) <= CHORD_WAITS
            && let Some(action) = keymap.find(mode, first, Some(key))
        {
            return Some(action.clone());
        }
        if let Some(action) = keymap.find(mode, key, None) {
            return Some(action.clone());
        }
        if keymap.begins_a_chord(mode, key) {
            self.begun = Some((mode, key, at));
            return None;
        }
        if mode.takes_text() {
            if let Some(edit) = keymap.edits.get(&key) {
                return Some(Action::Edit(*edit));
            }
            if let Some(c) = key.text() {
                return Some(Action::Edit(Edit::Insert(c)));
            }
        }
        Some(Action::Unbound)
    }

    /// The first half of a chord that waits, for the footer.
    pub fn begun(&self, now: Timestamp) -> Option<Key> {
        self.begun
            .filter(|(_, _, since)| now.since(*since) <= CHORD_WAITS)
            .map(|(_, key, _)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressed(keys: &str) -> String {
        let keymap = Keymap::default();
        let mut chords = Chords::default();
        let mut mode = View;
        let mut at = Timestamp::from_millis(0);
        let mut out = Vec::new();
        for word in keys.split(' ') {
            match word {
                "@prompt" => mode = Prompt,
                "@dialog" => mode = Dialog,
                "+2s" => at = at.plus(Elapsed::from_secs(2)),
                key => {
                    let key = key.parse().expect("a key");
                    if let Some(action) = chords.press(&keymap, mode, key, at) {
                        out.push(action.to_string());
                    }
                }
            }
        }
        out.join(" ")
    }

    fn overridden(entries: &[(&str, &[&str])]) -> Result<Keymap, String> {
        let overrides: Vec<Override> = entries
            .iter()
            .enumerate()
            .map(|(i, (action, chords))| Override {
                action: (*action).to_owned(),
                chords: chords.iter().map(|c| (*c).to_owned()).collect(),
                file: "keys.toml".into(),
                line: i + 1,
            })
            .collect();
        Keymap::with_overrides(&overrides).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_read_and_do_not_conflict() {
        let keymap = Keymap::default();
        assert_eq!(keymap.conflict(), None);
        assert_eq!(keymap.edits.len(), EDITS.len());
        for (binding, (_, written, _)) in keymap.bindings.iter().zip(DEFAULTS) {
            assert_eq!(binding.chord.to_string(), *written);
        }
    }

    #[test]
    fn keys_that_change_the_world_are_capitals_and_work_in_views_alone() {
        let acting: Vec<String> = Keymap::default()
            .bindings
            .iter()
            .filter(|b| b.action.acts())
            .map(|b| {
                assert!(b.chord.is_capital() && b.mode == View);
                b.chord.to_string()
            })
            .collect();
        assert_eq!(acting, ["A", "R", "X", "T"]);
    }

    #[test]
    fn a_chord_needs_both_keys_in_time() {
        assert_eq!(pressed("g g"), "first");
        assert_eq!(pressed("g j"), "down");
        assert_eq!(pressed("g +2s g"), "");
        assert_eq!(pressed("g +2s g g"), "first");
    }

    #[test]
    fn letters_are_text_in_a_prompt_and_control_chords_edit() {
        assert_eq!(
            pressed("@prompt X ctrl-w Enter"),
            "Edit(Insert('X')) Edit(DeleteWord) confirm"
        );
        assert_eq!(pressed("@dialog q Esc"), "Edit(Insert('q')) back");
        assert_eq!(pressed("ctrl-x F9"), "Unbound Unbound");
    }

    #[test]
    fn two_actions_may_trade_keys() {
        let keymap = overridden(&[("down", &["k"]), ("up", &["j"])]).expect("no conflict");
        assert_eq!(keymap.label(View, &Action::Up).as_deref(), Some("j"));
        // A letter cannot move in a prompt, so the arrows stay there.
        assert_eq!(keymap.label(Prompt, &Action::Down).as_deref(), Some("Down"));
    }

    #[test]
    fn what_is_wrong_with_a_key_is_said_once() {
        let entry = Override {
            action: "freze".to_owned(),
            chords: vec!["F6".to_owned()],
            file: PathBuf::from("keys.toml"),
            line: 1,
        };
        let error = Keymap::with_overrides(&[entry]).expect_err("no such action");
        assert!(std::error::Error::source(&error).is_none(), "{error}");
    }

    #[test]
    fn a_wrong_key_table_says_where_and_what() {
        let check = |entries: &[(&str, &[&str])], says: &str| {
            assert_eq!(overridden(entries).map(|_| ()), Err(says.to_owned()));
        };
        check(
            &[("aprove", &["Y"])],
            "keys.toml:1: no action is called `aprove`; did you mean `approve`?",
        );
        check(
            &[("jobs", &["9"]), ("freeze", &["c"])],
            "keys.toml:2: `c` would mean both `copy-id` and `freeze`",
        );
        check(
            &[("freeze", &["g"])],
            "keys.toml:1: `g` would mean both `first` and `freeze`",
        );
        check(
            &[("cancel", &["ctrl-x"])],
            "keys.toml:1: `cancel` changes the world, so its key is one upper-case letter, not `ctrl-x`",
        );
        check(
            &[("confirm", &["y"])],
            "keys.toml:1: `y` is text where `confirm` works, so it cannot be its key",
        );
        check(
            &[("help", &["hyper-q"])],
            "keys.toml:1: `hyper-q` is no key; write `x`, `X`, `ctrl-x`, `F5`, `PgUp` or two keys as `g g`",
        );
        check(
            &[("log", &["l"])],
            "keys.toml:1: `log` has no key to change; it is a command",
        );
    }
}
