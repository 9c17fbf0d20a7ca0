//! Output that nobody reads, and input that is no terminal.

use std::process::Stdio;

use crate::keys::Screen;
use crate::support::Capdeck;

/// Runs capdeck with its output into a pipe that is closed before the first byte, as
/// `| head -0` would.
#[track_caller]
pub fn ends_quietly_unread(home: &Capdeck, arguments: &[&str]) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = home
        .command(arguments)
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let says = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        (output.status.code(), says.as_str()),
        (Some(0), ""),
        "{arguments:?}"
    );
}

#[test]
fn a_reader_that_went_away_is_no_error_and_no_panic() {
    let home = Capdeck::new();
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/first-policy.yaml");
    let render = ["render", "jobs", "--size", "80x24"];
    for arguments in [
        &["keys"][..],
        &["themes"],
        &["config", "print"],
        &["completions", "bash"],
        &["policy", "check", policy],
        &["audit", "verify"],
        &["--help"],
        &["--version"],
        &render,
    ] {
        ends_quietly_unread(&home, arguments);
    }
}

#[test]
fn keys_that_come_from_no_terminal_are_refused_before_the_screen_is_taken() {
    let mut screen = Screen::of(
        "/bin/sh",
        &[
            "-c",
            r#""$0" attach --nats nats://127.0.0.1:1 </dev/null; echo "ended $?""#,
            env!("CARGO_BIN_EXE_capdeck"),
        ],
    );
    screen.shows("ended 2");
    screen.ends();
    let raw = screen.raw();
    assert!(
        raw.contains("error: capdeck needs a terminal; use capdeck get for pipes"),
        "{raw}"
    );
    assert!(!raw.contains("\x1b[?1049h"), "{raw:?}");
}
