//! The only room that writes to stdout and stderr.
//!
//! A reader that went away (`| head`) is not an error: the process ends quietly.
#![expect(
    clippy::print_stderr,
    reason = "the one place that talks to a person at a prompt"
)]

use std::io::Write as _;

use super::CliError;

/// Writes to stdout; ends the process with 0 when nobody reads any more.
pub fn out(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    if stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .is_err()
    {
        std::process::exit(0);
    }
}

/// Writes one line to stdout.
pub fn line(text: &str) {
    out(format!("{text}\n").as_bytes());
}

/// Writes a remark to stderr.
pub fn note(text: &str) {
    eprintln!("{text}");
}

/// Writes an error with its causes, then its hints, to stderr.
pub fn error(error: &CliError) {
    eprintln!("error: {error}");
    for hint in &error.hints {
        eprintln!("hint: {hint}");
    }
}
