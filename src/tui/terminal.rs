//! The terminal: taken once, given back whatever happens.
//!
//! [`TerminalGuard`] owns raw mode, the alternate screen, bracketed paste and
//! focus reports.
//! `ratatui::init` is not used: its panic hook gives the terminal back on a panic
//! of *any* thread, while the console goes on drawing, and it leaves bracketed
//! paste switched on. Ours restores for the drawing thread alone and logs the others.
//!
//! A terminal that vanished is not written to again: [`vanished`] ends the process
//! without drops, because both crossterm's reader and ratatui's `Drop` misbehave
//! on a dead line (the one spins, the other panics while printing).

use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write as _};
use std::mem::ManuallyDrop;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossterm::clipboard::CopyToClipboard;
use crossterm::cursor::{Hide, Show};
use crossterm::event::{
    DisableBracketedPaste, DisableFocusChange, EnableBracketedPaste, EnableFocusChange,
};
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use rustix::process::{Signal, kill_current_process_group};
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};

use crate::tui::theme::Depth;

/// The exit code of a process whose terminal hung up: 128 + SIGHUP.
pub const HUNG_UP: i32 = 129;

/// How long a stop that we asked for may take to arrive. A process group that no
/// shell controls cannot be stopped, and then the console simply goes on.
const STOP_ARRIVES: Duration = Duration::from_millis(200);

/// Bytes of a frame that go out in one write: a whole screen of 200x60 cells in as
/// many colors as it can have.
const FRAME: usize = 256 * 1024;

/// Why the screen cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// Standard input or output is a pipe or a file.
    #[error("capdeck needs a terminal; use capdeck get for pipes")]
    NotATerminal,
    /// The terminal refused.
    #[error("cannot take the terminal")]
    Refused(#[source] io::Error),
}

mod sixteen;
use sixteen::Sixteen;

type Screen = Terminal<CrosstermBackend<BufWriter<Sixteen<Stdout>>>>;

/// The terminal while it is ours.
pub struct TerminalGuard {
    // Its own drop prints on failure, and printing to a dead terminal panics.
    screen: ManuallyDrop<Screen>,
    continued: SignalStream,
}

impl TerminalGuard {
    /// Takes the terminal, which has colors of this depth: raw mode, alternate
    /// screen, bracketed paste.
    ///
    /// Call it on the thread that draws, within a tokio runtime, after everything
    /// else is up: it is the last to be born and the first to die, so that every
    /// error before and after prints on a sane screen.
    ///
    /// # Errors
    /// [`TerminalError::NotATerminal`] when stdin or stdout is none; crossterm's
    /// event stream would panic there.
    pub fn take(depth: Depth) -> Result<Self, TerminalError> {
        check_terminal()?;
        // With NO_COLOR set crossterm writes a reset for every color change, and
        // that takes reverse and bold with it: the selection bar would vanish. The
        // monochrome theme honors NO_COLOR; crossterm must only write what it says.
        crossterm::style::force_color_output(true);
        let continued = signal(SignalKind::from_raw(SIGCONT)).map_err(TerminalError::Refused)?;
        restore_on_panic_of_this_thread();
        enter().map_err(|error| {
            leave();
            TerminalError::Refused(error)
        })?;
        let out = Sixteen::new(io::stdout(), depth == Depth::Sixteen);
        let backend = CrosstermBackend::new(BufWriter::with_capacity(FRAME, out));
        let screen = Terminal::new(backend).map_err(|error| {
            leave();
            TerminalError::Refused(error)
        })?;
        Ok(Self {
            screen: ManuallyDrop::new(screen),
            continued,
        })
    }

    /// Draws one frame in one synchronized update and one write, so that no terminal
    /// shows half of it or waits for its end.
    ///
    /// # Errors
    /// The terminal does not take bytes any more; see [`vanished`].
    pub fn draw(&mut self, paint: impl FnOnce(Rect, &mut Buffer)) -> io::Result<()> {
        // Not `Terminal::draw`: it asks for the size and hides the cursor again in each
        // frame, the latter with a write of its own before the end of the update.
        queue!(self.screen.backend_mut(), BeginSynchronizedUpdate)?;
        let mut frame = self.screen.get_frame();
        paint(frame.area(), frame.buffer_mut());
        self.screen.flush()?;
        self.screen.swap_buffers();
        execute!(self.screen.backend_mut(), EndSynchronizedUpdate)
    }

    /// The size in cells.
    ///
    /// # Errors
    /// The terminal does not answer.
    pub fn size(&self) -> io::Result<(u16, u16)> {
        let size = self.screen.size()?;
        Ok((size.width, size.height))
    }

    /// Forgets what the terminal shows and how large it was, so that the next frame
    /// draws every cell of it; to be called after each resize.
    ///
    /// # Errors
    /// The terminal does not take bytes any more.
    pub fn repaint(&mut self) -> io::Result<()> {
        // Not `clear`: it asks the terminal where its cursor is, and the answer would
        // go to the task that reads the keys.
        let size = self.screen.size()?;
        self.screen.resize(Rect::new(0, 0, size.width, size.height))
    }

    /// Puts `text` on the clipboard of the terminal (OSC 52), also through ssh.
    ///
    /// # Errors
    /// The terminal does not take bytes any more.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        execute!(
            self.screen.backend_mut(),
            CopyToClipboard::to_clipboard_from(text)
        )
    }

    /// Rings.
    ///
    /// # Errors
    /// The terminal does not take bytes any more.
    pub fn bell(&mut self) -> io::Result<()> {
        let backend = self.screen.backend_mut();
        backend.write_all(b"\x07")?;
        io::Write::flush(backend)
    }

    /// Gives the terminal back, stops the process as `ctrl-z` does in a shell, and
    /// takes the terminal again when it is continued.
    ///
    /// # Errors
    /// The terminal does not take bytes any more.
    pub async fn suspend(&mut self) -> io::Result<()> {
        leave();
        // The whole group, as the terminal driver would: in a pipeline every part stops.
        if kill_current_process_group(Signal::TSTP).is_ok() {
            let _continued_or_never_stopped =
                tokio::time::timeout(STOP_ARRIVES, self.continued.recv()).await;
        }
        enter()?;
        self.repaint()
    }

    /// Waits until somebody continues a process that was stopped from outside.
    pub async fn continued(&mut self) {
        if self.continued.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Takes the terminal again after a stop from outside, when nobody gave it back.
    ///
    /// # Errors
    /// The terminal does not take bytes any more.
    pub fn retake(&mut self) -> io::Result<()> {
        // crossterm believes that raw mode is still on; the shell switched it off.
        let _shell_owned_it = disable_raw_mode();
        enter()?;
        self.repaint()
    }
}

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        leave();
    }
}

/// Whether there is a terminal to draw on and to read from.
///
/// # Errors
/// [`TerminalError::NotATerminal`].
pub fn check_terminal() -> Result<(), TerminalError> {
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        Ok(())
    } else {
        Err(TerminalError::NotATerminal)
    }
}

/// Its number differs from system to system.
const SIGCONT: i32 = Signal::CONT.as_raw();

/// Whether the terminal is ours. Leaving twice would put the cursor back to where it
/// was before, and what is printed next would cover what a panic has said.
static OURS: AtomicBool = AtomicBool::new(false);

fn enter() -> io::Result<()> {
    OURS.store(true, Ordering::Relaxed);
    enable_raw_mode()?;
    execute!(
        io::stdout(),
        EnterAlternateScreen,
        Hide,
        EnableBracketedPaste,
        EnableFocusChange
    )
}

/// Undoes everything, in reverse; a part that fails does not keep the next from being undone.
fn leave() {
    if !OURS.swap(false, Ordering::Relaxed) {
        return;
    }
    let mut stdout = io::stdout();
    let _gone = execute!(
        stdout,
        EndSynchronizedUpdate,
        DisableFocusChange,
        DisableBracketedPaste,
        LeaveAlternateScreen,
        Show
    );
    let _gone = stdout.flush();
    let _gone = disable_raw_mode();
}

/// Ends a process whose terminal is gone: no drops, nothing printed.
///
/// Logs are written line by line, so there is nothing to flush.
pub fn vanished(why: &str) -> ! {
    tracing::error!(why, "the terminal is gone");
    std::process::exit(HUNG_UP)
}

/// Ends the process on SIGHUP for as long as the returned future is polled.
///
/// # Errors
/// The signal cannot be listened to.
pub fn exit_on_hangup() -> io::Result<impl Future<Output = ()> + Send> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        if hangup.recv().await.is_some() {
            vanished("SIGHUP");
        }
    })
}

fn restore_on_panic_of_this_thread() {
    let drawing = std::thread::current().id();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
        let thread = std::thread::current();
        let message = panic
            .payload_as_str()
            .unwrap_or("a panic without a message");
        let place = panic.location().map(ToString::to_string);
        tracing::error!(
            thread = thread.name().unwrap_or("unnamed"),
            place,
            message,
            "panic"
        );
        if thread.id() == drawing {
            leave();
            before(panic);
        }
    }));
}
