//! Keys and chords, and how they are written: `x`, `X`, `ctrl-x`, `PgUp`, `gg`.

use std::fmt;
use std::str::FromStr;

use crossterm::event::{KeyCode, KeyModifiers};

/// A key by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// A character, upper case when shift made it so.
    Char(char),
    /// A key with a name.
    Named(Named),
    /// A function key, from 1.
    F(u8),
}

/// Keys that have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    /// Return.
    Enter,
    /// Escape.
    Esc,
    /// The tabulator.
    Tab,
    /// Shift and the tabulator.
    BackTab,
    /// Rub out to the left.
    Backspace,
    /// Rub out under the cursor.
    Delete,
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Arrow left.
    Left,
    /// Arrow right.
    Right,
    /// Start of the line or list.
    Home,
    /// End of the line or list.
    End,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
}

const NAMES: [(Named, &str); 14] = [
    (Named::Enter, "Enter"),
    (Named::Esc, "Esc"),
    (Named::Tab, "Tab"),
    (Named::BackTab, "shift-Tab"),
    (Named::Backspace, "Backspace"),
    (Named::Delete, "Delete"),
    (Named::Up, "Up"),
    (Named::Down, "Down"),
    (Named::Left, "Left"),
    (Named::Right, "Right"),
    (Named::Home, "Home"),
    (Named::End, "End"),
    (Named::PageUp, "PgUp"),
    (Named::PageDown, "PgDn"),
];

/// A key with its modifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Which key.
    pub code: Code,
    /// Whether control was held.
    pub ctrl: bool,
    /// Whether alt was held.
    pub alt: bool,
}

impl Key {
    /// The key without modifiers.
    pub const fn plain(code: Code) -> Self {
        Self {
            code,
            ctrl: false,
            alt: false,
        }
    }

    /// What crossterm calls it; `None` for keys no table names, such as media keys.
    pub fn from_terminal(code: KeyCode, modifiers: KeyModifiers) -> Option<Self> {
        let code = match code {
            KeyCode::Char(c) => Code::Char(c),
            KeyCode::Enter => Code::Named(Named::Enter),
            KeyCode::Esc => Code::Named(Named::Esc),
            KeyCode::Tab => Code::Named(Named::Tab),
            KeyCode::BackTab => Code::Named(Named::BackTab),
            KeyCode::Backspace => Code::Named(Named::Backspace),
            KeyCode::Delete => Code::Named(Named::Delete),
            KeyCode::Up => Code::Named(Named::Up),
            KeyCode::Down => Code::Named(Named::Down),
            KeyCode::Left => Code::Named(Named::Left),
            KeyCode::Right => Code::Named(Named::Right),
            KeyCode::Home => Code::Named(Named::Home),
            KeyCode::End => Code::Named(Named::End),
            KeyCode::PageUp => Code::Named(Named::PageUp),
            KeyCode::PageDown => Code::Named(Named::PageDown),
            KeyCode::F(n) => Code::F(n),
            _ => return None,
        };
        Some(Self {
            code,
            ctrl: modifiers.contains(KeyModifiers::CONTROL),
            alt: modifiers.contains(KeyModifiers::ALT),
        })
    }

    /// The text it types, if it types any.
    pub(super) fn text(self) -> Option<char> {
        match self.code {
            Code::Char(c) if !self.ctrl && !self.alt && !c.is_control() => Some(c),
            Code::Char(_) | Code::Named(_) | Code::F(_) => None,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ctrl {
            f.write_str("ctrl-")?;
        }
        if self.alt {
            f.write_str("alt-")?;
        }
        match self.code {
            Code::Char(' ') => f.write_str("space"),
            Code::Char(c) => write!(f, "{c}"),
            Code::Named(named) => f.write_str(
                NAMES
                    .iter()
                    .find(|(key, _)| *key == named)
                    .map_or("?", |(_, name)| name),
            ),
            Code::F(n) => write!(f, "F{n}"),
        }
    }
}

impl FromStr for Key {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut rest = text;
        let (mut ctrl, mut alt) = (false, false);
        loop {
            let lower = rest.to_ascii_lowercase();
            if rest.len() > 5 && lower.starts_with("ctrl-") {
                (ctrl, rest) = (true, &rest[5..]);
            } else if rest.len() > 4 && lower.starts_with("alt-") {
                (alt, rest) = (true, &rest[4..]);
            } else {
                break;
            }
        }
        let mut chars = rest.chars();
        let code = match (chars.next(), chars.next()) {
            (Some(c), None) => Code::Char(c),
            (Some('F' | 'f'), Some(digit)) if digit.is_ascii_digit() => {
                Code::F(rest[1..].parse().map_err(|_| ())?)
            }
            _ if rest.eq_ignore_ascii_case("space") => Code::Char(' '),
            _ => Code::Named(
                NAMES
                    .iter()
                    .find(|(_, name)| name.eq_ignore_ascii_case(rest))
                    .map(|(key, _)| *key)
                    .ok_or(())?,
            ),
        };
        Ok(Self { code, ctrl, alt })
    }
}

/// One key, or two in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chord {
    pub(super) first: Key,
    pub(super) second: Option<Key>,
}

impl Chord {
    fn of(first: Key) -> Self {
        Self {
            first,
            second: None,
        }
    }

    /// Whether it is one upper-case letter, as acting keys must be.
    pub(super) fn is_capital(self) -> bool {
        self.second.is_none()
            && !self.first.ctrl
            && !self.first.alt
            && matches!(self.first.code, Code::Char(c) if c.is_uppercase())
    }
}

impl fmt::Display for Chord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)?;
        self.second.map_or(Ok(()), |second| second.fmt(f))
    }
}

impl FromStr for Chord {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Ok(key) = text.parse() {
            return Ok(Self::of(key));
        }
        let (first, second) = match text.split_once(' ') {
            Some(pair) => pair,
            None => {
                let at = text.chars().next().ok_or(())?.len_utf8();
                if text.chars().count() != 2 {
                    return Err(());
                }
                text.split_at(at)
            }
        };
        Ok(Self {
            first: first.parse()?,
            second: Some(second.parse()?),
        })
    }
}
