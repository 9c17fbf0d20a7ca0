//! What comes from the keyboard: crossterm's events become [`Input`].
//!
//! A thread of crossterm's waits for the terminal; the loop that draws takes what it
//! has read, with no task between the two, so that a key is one wake-up away from its
//! frame. It looks here before it looks at packets. Meaning is given by
//! [`super::keymap`], not here.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use crossterm::event::{Event, EventStream, KeyEvent, KeyEventKind};
use futures_util::StreamExt as _;
use futures_util::stream::{SelectAll, select_all};

use super::keymap::Key;

/// Keys that are handled before the next frame. A person types ten a second; a
/// paste is one.
const AT_ONCE: usize = 1_024;

/// One thing that happened at the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A key went down.
    Key(Key),
    /// Text was pasted.
    Paste(String),
    /// The window has this size now.
    Resize {
        /// Cells across.
        columns: u16,
        /// Cells down.
        rows: u16,
    },
    /// The terminal got the focus, or lost it; many never tell.
    Focused(bool),
    /// Nothing will come any more: the terminal is gone.
    Gone(String),
}

/// The terminal as a source of [`Input`].
pub struct Keyboard {
    /// One stream, in a set because a set asks only those that have called: to be
    /// asked in vain costs crossterm a lock that its own thread holds, and a dozen
    /// calls to the system.
    events: SelectAll<EventStream>,
}

impl Keyboard {
    /// Begins to listen: from here on no resize is missed.
    ///
    /// Call it only when stdin is a terminal, for crossterm panics on anything else,
    /// and before the size is asked for, for a resize that nobody listens to is told
    /// to nobody.
    pub fn listen() -> Self {
        Self {
            events: select_all([EventStream::new()]),
        }
    }

    /// Waits for something to happen and puts all that has happened into `into`, at
    /// most [`AT_ONCE`]. Nothing comes after [`Input::Gone`]. Safe to drop at any
    /// await.
    pub async fn read(&mut self, into: &mut Vec<Input>) {
        poll_fn(|context| {
            while into.len() < AT_ONCE && !matches!(into.last(), Some(Input::Gone(_))) {
                match self.events.poll_next_unpin(context) {
                    Poll::Ready(Some(event)) => into.extend(translate(event)),
                    Poll::Ready(None) => into.push(Input::Gone("end of input".to_owned())),
                    Poll::Pending => break,
                }
            }
            if into.is_empty() {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }
}

fn translate(event: io::Result<Event>) -> Option<Input> {
    match event {
        // Terminals that report releases would make every key count twice.
        Ok(Event::Key(KeyEvent {
            code,
            modifiers,
            kind: KeyEventKind::Press | KeyEventKind::Repeat,
            ..
        })) => Key::from_terminal(code, modifiers).map(Input::Key),
        Ok(Event::FocusGained) => Some(Input::Focused(true)),
        Ok(Event::FocusLost) => Some(Input::Focused(false)),
        Ok(Event::Key(_) | Event::Mouse(_)) => None,
        Ok(Event::Paste(text)) => Some(Input::Paste(text)),
        Ok(Event::Resize(columns, rows)) => Some(Input::Resize { columns, rows }),
        Err(error) => Some(Input::Gone(error.to_string())),
    }
}

/// Keeps the last size of a batch alone: a storm of resizes is one.
pub fn coalesce_resizes(batch: &mut Vec<Input>) {
    let Some(last) = batch
        .iter()
        .rposition(|input| matches!(input, Input::Resize { .. }))
    else {
        return;
    };
    let mut place = 0;
    batch.retain(|input| {
        let keep = place == last || !matches!(input, Input::Resize { .. });
        place += 1;
        keep
    });
}

#[cfg(test)]
mod tests {
    use crossterm::event::{KeyCode, KeyModifiers};

    use super::*;

    #[test]
    fn a_released_key_is_not_a_second_press() {
        let mut key = KeyEvent::new(KeyCode::Char('X'), KeyModifiers::SHIFT);
        assert!(translate(Ok(Event::Key(key))).is_some());
        key.kind = KeyEventKind::Release;
        assert_eq!(translate(Ok(Event::Key(key))), None);
    }

    #[test]
    fn a_storm_of_resizes_is_one_and_keeps_the_keys() {
        let size = |columns| Input::Resize { columns, rows: 1 };
        let key = Input::Paste("k".to_owned());
        let mut batch = vec![size(1), key.clone(), size(2), size(3), key.clone()];
        coalesce_resizes(&mut batch);
        assert_eq!(batch, [key.clone(), size(3), key]);
    }
}
