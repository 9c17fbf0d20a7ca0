//! A panic in a real terminal: that of the drawing thread gives the terminal back,
//! that of any other leaves the console drawing.
//!
//! There is no switch for it in the program: this test binary starts itself as the
//! child on the terminal, and there it is the console.

use std::sync::Arc;

use capdeck::runtime::{Identity, Runtime, Sources};
use capdeck::state::ui::Manners;
use capdeck::time::{Clock, SystemClock};
use capdeck::tui::glyph::Glyphs;
use capdeck::tui::keymap::Keymap;
use capdeck::tui::screen::Context;
use capdeck::tui::terminal::TerminalGuard;
use capdeck::tui::theme::{Depth, Role, Theme};
use capdeck::tui::{Look, Tui};
use ratatui::widgets::{Paragraph, Widget as _};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::keys::Screen;
use crate::support::Capdeck;

/// Says that this process is the child on the terminal.
const CHILD: &str = "CAPDECK_TEST_IS_THE_CHILD";

fn is_the_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// The test `name` of this binary on a terminal, in a shell that tells afterwards
/// what became of the terminal.
fn on_a_terminal(name: &str) -> Screen {
    let program = std::env::current_exe().unwrap();
    // The signal that sets the panic off is for the child alone.
    let then = r#"trap '' USR1; "$0" --exact "$1" --nocapture; stty -a; echo "shell goes on""#;
    Screen::with(
        Capdeck::new(),
        "/bin/sh",
        &["-c", then, program.to_str().unwrap(), name],
        &[(CHILD, "1"), ("RUST_BACKTRACE", "0")],
    )
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// The child: takes the terminal, draws, and panics in the middle of a frame.
fn panics_while_it_draws() {
    runtime().block_on(async {
        let mut terminal = TerminalGuard::take(Depth::True).unwrap();
        terminal
            .draw(|area, buf| Paragraph::new("the first frame").render(area, buf))
            .unwrap();
        let mut told = signal(SignalKind::user_defined1()).unwrap();
        terminal
            .draw(|area, buf| Paragraph::new("waits for a signal").render(area, buf))
            .unwrap();
        told.recv().await;
        terminal
            .draw(|area, buf| {
                Paragraph::new("half a frame").render(area, buf);
                panic!("the roof fell in while drawing");
            })
            .unwrap();
    });
}

#[test]
fn a_panic_while_drawing_gives_the_terminal_back_and_says_what_happened() {
    const NAME: &str =
        "panics::a_panic_while_drawing_gives_the_terminal_back_and_says_what_happened";
    if is_the_child() {
        return panics_while_it_draws();
    }
    let mut screen = on_a_terminal(NAME);
    screen.shows("waits for a signal");
    screen.look(|it| assert!(it.alternate_screen() && it.bracketed_paste() && it.hide_cursor()));
    assert!(!screen.text().contains("icanon"));
    screen.signal_group(Signal::USR1);
    screen.shows("shell goes on");
    screen.ends();
    let text = screen.text();
    assert!(text.contains("the roof fell in while drawing"), "{text}");
    assert!(text.contains("panics.rs:"), "{text}");
    assert!(text.contains("isig icanon iexten echo "), "{text}");
    screen.look(|it| {
        assert!(!it.alternate_screen(), "the alternate screen");
        assert!(!it.bracketed_paste(), "bracketed paste");
        assert!(!it.hide_cursor(), "the cursor");
    });
    screen.is_restored();
    // A frame that was begun would keep what the panic says from being shown.
    let raw = screen.raw();
    assert!(
        raw.rfind("\x1b[?2026l") > raw.rfind("\x1b[?2026h"),
        "{raw:?}"
    );
}

/// The child: the whole console, and a task beside it that panics when told.
fn panics_beside_it() {
    runtime().block_on(async {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let look = Look {
            themes: vec![Theme::shipped("dark", Depth::True)],
            glyphs: Glyphs::UNICODE,
            keymap: Keymap::default(),
            context: Context {
                name: "test".to_owned(),
                ground: Role::Panel,
                addresses: [None, None, None],
            },
            json: |_| None,
        };
        let identity = Identity {
            operator: "ann".to_owned(),
            console: "capdeck-0badcafe".into(),
            audit: None,
            read_only: false,
        };
        let mut told = signal(SignalKind::user_defined1()).unwrap();
        let beside = tokio::spawn(async move {
            told.recv().await;
            panic!("a task fell over");
        });
        let runtime = Runtime::start(Sources::default(), identity, Arc::clone(&clock));
        let ended = Tui::new(look, Manners::default(), clock).run(runtime).await;
        ended.unwrap().shutdown().await;
        assert!(beside.await.unwrap_err().is_panic());
    });
}

#[test]
fn a_panic_of_another_task_leaves_the_console_drawing() {
    const NAME: &str = "panics::a_panic_of_another_task_leaves_the_console_drawing";
    if is_the_child() {
        return panics_beside_it();
    }
    let mut screen = on_a_terminal(NAME);
    screen.shows("1 Overview");
    screen.signal_group(Signal::USR1);
    // It answers keys, and the screen is still its own.
    for (key, shows) in [("3", "attention first"), ("4", "worst first")] {
        screen.press(key);
        screen.shows(shows);
    }
    screen.look(|it| assert!(it.alternate_screen() && it.bracketed_paste()));
    assert!(!screen.raw().contains("a task fell over"));
    screen.press("q");
    screen.shows("shell goes on");
    screen.ends();
    let text = screen.text();
    assert!(text.contains("1 passed"), "the task did not panic: {text}");
    assert!(text.contains(" icanon"), "{text}");
    screen.is_restored();
}
