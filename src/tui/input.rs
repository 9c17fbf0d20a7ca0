//! What comes from the keyboard: crossterm's events become [`Input`].
//!
//! Read by its own task, so that a slow frame never delays a key and a key never
//! waits for a packet. Meaning is given by [`super::keymap`], not here.

use std::io;

use crossterm::event::{Event, EventStream, KeyEvent, KeyEventKind};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::keymap::Key;

/// Keys that wait to be handled. A person types ten a second; a paste is one.
pub const WAITING: usize = 1_024;

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

/// Begins to listen: from here on no resize is missed.
///
/// Call it only when stdin is a terminal, for crossterm panics on anything else, and
/// before the size is asked for, for a resize that nobody listens to is told to nobody.
pub fn listen() -> EventStream {
    EventStream::new()
}

/// Reads the terminal until `stop` or until it is gone.
pub async fn read(mut events: EventStream, inputs: mpsc::Sender<Input>, stop: CancellationToken) {
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = events.next() => event,
        };
        let input = match event {
            Some(event) => translate(event),
            None => Some(Input::Gone("end of input".to_owned())),
        };
        let Some(input) = input else { continue };
        let last = matches!(input, Input::Gone(_));
        if inputs.send(input).await.is_err() || last {
            return;
        }
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
