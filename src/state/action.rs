//! Everything a user can ask for.
//!
//! A key chord, a palette command and a recording all become an [`Action`]; the
//! state never sees a key. Named actions have a kebab-case name that the key
//! table, the palette and the configuration file use, and a line for the help.
//! The rest carry what a name cannot: text, sizes, and what has been drawn.
//!
//! Start at [`Action::named`].

use std::fmt;
use std::str::FromStr;

use crate::nearest::closest;

/// Whether an action only looks, or asks to change the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Changes what this console shows and nothing else.
    Looks,
    /// Asks the control plane to change something. Bound to an upper-case letter,
    /// never to a control chord, and ignored while a guard runs.
    Acts,
}

macro_rules! actions {
    ($( $(#[$doc:meta])* $variant:ident = $name:literal, $reach:ident, $help:literal; )*) => {
        /// One thing a user can ask for.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Action {
            $( $(#[$doc])* #[doc = $help] $variant, )*
            /// Move the cursor by this many rows; negative is up. Pages are
            /// turned into rows before the stamp, so that a recording does not
            /// depend on the window.
            MoveBy(i64),
            /// Change the text that has the keyboard.
            Edit(Edit),
            /// Text from the clipboard, as the terminal brackets it.
            Paste(String),
            /// A key that means nothing here. A guard that waits for quiet hands
            /// starts again on it.
            Unbound,
            /// The terminal has this size now, in cells.
            Resize {
                /// Cells across.
                columns: u16,
                /// Cells down.
                rows: u16,
            },
            /// What the last frame really showed.
            Drawn(Drawn),
            /// The terminal got the focus, or lost it.
            Focused(bool),
        }

        impl Action {
            const NAMED: &'static [Action] = &[ $( Action::$variant ),* ];

            /// The kebab-case name; `None` for an action that carries data.
            pub fn name(&self) -> Option<&'static str> {
                match self {
                    $( Self::$variant => Some($name), )*
                    Self::MoveBy(_)
                    | Self::Edit(_)
                    | Self::Paste(_)
                    | Self::Unbound
                    | Self::Resize { .. }
                    | Self::Drawn(_)
                    | Self::Focused(_) => None,
                }
            }

            /// What it does, in a line of help; empty for an action that carries data.
            pub fn help(&self) -> &'static str {
                match self {
                    $( Self::$variant => $help, )*
                    Self::MoveBy(_)
                    | Self::Edit(_)
                    | Self::Paste(_)
                    | Self::Unbound
                    | Self::Resize { .. }
                    | Self::Drawn(_)
                    | Self::Focused(_) => "",
                }
            }

            /// Whether it only looks.
            pub fn reach(&self) -> Reach {
                match self {
                    $( Self::$variant => Reach::$reach, )*
                    Self::MoveBy(_)
                    | Self::Edit(_)
                    | Self::Paste(_)
                    | Self::Unbound
                    | Self::Resize { .. }
                    | Self::Drawn(_)
                    | Self::Focused(_) => Reach::Looks,
                }
            }
        }
    };
}

actions! {
    Down = "down", Looks, "move down one row";
    Up = "up", Looks, "move up one row";
    First = "first", Looks, "go to the first row";
    Last = "last", Looks, "go to the last row";
    HalfPageDown = "half-page-down", Looks, "move down half a page";
    HalfPageUp = "half-page-up", Looks, "move up half a page";
    PageDown = "page-down", Looks, "move down a page";
    PageUp = "page-up", Looks, "move up a page";
    Left = "left", Looks, "go to the pane or cell on the left; fold a row";
    Right = "right", Looks, "go to the pane or cell on the right; unfold a row";
    Open = "open", Looks, "open the row under the cursor";
    Detail = "detail", Looks, "open the detail of the job under the cursor";
    Back = "back", Looks, "go back, close or clear one thing; never quits";
    Close = "close", Looks, "close what is open; with nothing open, quit";
    Quit = "quit", Looks, "quit; twice within a second while an action is under way";
    Overview = "overview", Looks, "show the overview";
    Approvals = "approvals", Looks, "show the approvals that wait for a person";
    Jobs = "jobs", Looks, "show the jobs";
    Workers = "workers", Looks, "show the workers";
    Policy = "policy", Looks, "show the rules with their hits, the kernel and the snapshots";
    Rollbacks = "rollbacks", Looks, "show what is undone, and the dead letters";
    Traces = "traces", Looks, "show the trace or workflow of the job as a tree and over time";
    NextView = "next-view", Looks, "show the next view";
    PreviousView = "previous-view", Looks, "show the previous view";
    LastView = "last-view", Looks, "show the view before this one";
    HistoryBack = "history-back", Looks, "go back in the history of views";
    HistoryForward = "history-forward", Looks, "go forward in the history of views";
    Help = "help", Looks, "list the keys of this view, searchable";
    Palette = "palette", Looks, "type a command";
    Filter = "filter", Looks, "filter the rows of this view";
    NextMatch = "next-match", Looks, "go to the next match, or to the next job that is reviewed together";
    PreviousMatch = "previous-match", Looks, "go to the previous match, or to the previous job that is reviewed together";
    Sort = "sort", Looks, "sort by the next column";
    Reverse = "reverse", Looks, "reverse the order";
    Mark = "mark", Looks, "mark the row; marked rows are acted on together";
    Freeze = "freeze", Looks, "freeze what is shown, or go live again";
    Live = "live", Looks, "go live";
    Wide = "wide", Looks, "show more columns, or wrap long words";
    ByPool = "by-pool", Looks, "group the workers by pool";
    HeatMap = "heat-map", Looks, "show the workers as a heat map";
    CopyId = "copy-id", Looks, "copy the id under the cursor (OSC 52)";
    CopyJson = "copy-json", Looks, "copy what is under the cursor as JSON (OSC 52)";
    Json = "json", Looks, "show what is under the cursor as JSON, as capdeck get prints it";
    Explain = "explain", Looks, "explain rule by rule what policy says of the job now";
    WhatIf = "what-if", Looks, "try a candidate policy file on the last decisions; nothing is published";
    Undo = "undo", Looks, "take back cleared marks, a changed filter or a kept view, for 10 s";
    SaveView = "save-view", Looks, "keep this list with its filter under a name; :view shows it again";
    Reload = "reload", Looks, "read again: reload what is open, reconnect now";
    Theme = "theme", Looks, "use the next theme";
    Log = "log", Looks, "list what you have done in this session";
    Repaint = "repaint", Looks, "draw the whole screen again";
    Suspend = "suspend", Looks, "suspend to the shell; fg comes back";
    NextField = "next-field", Looks, "go to the next field or button of a dialog";
    PreviousField = "previous-field", Looks, "go to the previous field or button of a dialog";
    Confirm = "confirm", Looks, "take the field, or press the button that has the focus";
    Complete = "complete", Looks, "take the completion";
    Review = "review", Looks, "review the approval, or all marked ones together";
    Reveal = "reveal", Looks, "show the secrets of the payload for 10 s; the audit log keeps it";
    Approve = "approve", Acts, "approve the reviewed job, in a dialog";
    Reject = "reject", Acts, "reject the reviewed job, in a dialog";
    Cancel = "cancel", Acts, "cancel the job, or the marked jobs, in a dialog";
    Retry = "retry", Acts, "retry the dead letter as a new job, in a dialog";
}

impl Action {
    /// Every action that has a name, in the order the help lists them.
    pub fn named() -> impl Iterator<Item = &'static Action> {
        Self::NAMED.iter()
    }

    /// Whether it asks to change the world.
    pub fn acts(&self) -> bool {
        self.reach() == Reach::Acts
    }

    /// Whether a person's hands made it: false for what the console reports by itself.
    pub fn is_from_hands(&self) -> bool {
        !matches!(
            self,
            Self::Resize { .. } | Self::Drawn(_) | Self::Focused(_)
        )
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{self:?}"),
        }
    }
}

/// No action has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no action is called `{name}`")]
pub struct UnknownAction {
    /// What was asked for.
    pub name: String,
    /// The nearest name that exists.
    pub nearest: &'static str,
}

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(name: &str) -> Result<Self, UnknownAction> {
        Self::named()
            .find(|action| action.name() == Some(name))
            .cloned()
            .ok_or_else(|| UnknownAction {
                name: name.to_owned(),
                nearest: closest(name, Self::named().filter_map(Action::name)),
            })
    }
}

/// One change to a line or an area of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A character at the cursor.
    Insert(char),
    /// A line break, where the field has more than one line.
    Newline,
    /// Delete the character before the cursor.
    Backspace,
    /// Delete the character under the cursor.
    Delete,
    /// Delete the word before the cursor.
    DeleteWord,
    /// Delete everything before the cursor.
    DeleteToStart,
    /// Delete everything after the cursor.
    DeleteToEnd,
    /// Move one character left.
    Left,
    /// Move one character right.
    Right,
    /// Move one word left.
    WordLeft,
    /// Move one word right.
    WordRight,
    /// Move to the start of the line.
    Start,
    /// Move to the end of the line.
    End,
}

/// What a frame really showed; sent only when it differs from what the state knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    /// Lines that the list or text with the keyboard has on the screen.
    pub height: u16,
    /// Rows that this list or text has altogether, at this width.
    pub rows: u32,
    /// Cells in a line of the heat map; 0 where a row is a line.
    pub columns: u16,
    /// The part of the reviewed payload that was on the screen.
    pub payload: Option<PayloadDrawn>,
}

/// The part of the reviewed payload that a frame showed while the review had the
/// keyboard. Counted in bytes of the payload, so that another width of the window
/// does not make seen what was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadDrawn {
    /// Which reading of the payload it was: [`Review::reading`]. A frame of an
    /// earlier reading, or of another job, shows nothing of this one.
    ///
    /// [`Review::reading`]: crate::state::ui::review::Review::reading
    pub reading: u64,
    /// The first byte shown, from 0.
    pub from: u32,
    /// One past the last byte shown.
    pub to: u32,
    /// The size of the payload.
    pub of: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_kebab_case_unique_and_read_back() {
        let mut seen = std::collections::BTreeSet::new();
        for action in Action::named() {
            let name = action.name().expect("named");
            assert!(
                name.chars().all(|c| c.is_ascii_lowercase() || c == '-'),
                "{name}"
            );
            assert!(seen.insert(name), "{name} twice");
            assert_eq!(name.parse::<Action>().as_ref(), Ok(action));
            assert!(!action.help().is_empty());
        }
    }

    #[test]
    fn a_wrong_name_points_at_the_nearest() {
        let error = "aprove".parse::<Action>().expect_err("misspelt");
        assert_eq!(error.nearest, "approve");
        assert_eq!(error.to_string(), "no action is called `aprove`");
    }

    #[test]
    fn only_four_actions_change_the_world() {
        let acting: Vec<_> = Action::named()
            .filter(|a| a.acts())
            .filter_map(Action::name)
            .collect();
        assert_eq!(acting, ["approve", "reject", "cancel", "retry"]);
    }
}
