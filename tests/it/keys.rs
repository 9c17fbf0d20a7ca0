//! The real binary in a pseudo terminal: what keys do, and how it ends.

use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pty_process::Size;
use pty_process::blocking::{Command, Pty};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::support::{Capdeck, PATIENCE};

const ROWS: u16 = 36;
const COLUMNS: u16 = 120;

/// An address where nothing listens: the console starts and says so.
pub const NOWHERE: [&str; 3] = ["attach", "--nats", "nats://127.0.0.1:1"];

/// A program on a terminal of its own, and what it drew there.
pub struct Screen {
    pty: Arc<Pty>,
    child: Child,
    seen: Arc<Mutex<(vt100::Parser, Vec<u8>)>>,
    home: Capdeck,
}

fn cells(count: u16) -> NonZero<u16> {
    NonZero::new(count).unwrap()
}

fn start(
    home: &Capdeck,
    program: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> (Pty, Child) {
    let (pty, pts) = pty_process::blocking::open().unwrap();
    pty.resize(Size::new(ROWS, COLUMNS)).unwrap();
    let child = Command::new(program)
        .args(arguments)
        .env_remove("NO_COLOR")
        .env_remove("COLORTERM")
        .env_remove("NATS_URL")
        .env_remove("CORDUM_GATEWAY")
        .env_remove("REDIS_URL")
        .env_remove("CAPDECK_CONFIG")
        .env("TERM", "xterm-256color")
        .env("LANG", "C.UTF-8")
        .env("PS1", "shell> ")
        .env("HOME", home.home())
        .env("XDG_CONFIG_HOME", home.home())
        .env("XDG_STATE_HOME", home.home())
        .envs(environment.iter().copied())
        .spawn(pts)
        .unwrap();
    (pty, child)
}

impl Screen {
    pub fn capdeck(arguments: &[&str]) -> Self {
        Self::of(env!("CARGO_BIN_EXE_capdeck"), arguments)
    }

    /// Any program on a terminal of its own.
    pub fn of(program: &str, arguments: &[&str]) -> Self {
        Self::with(Capdeck::new(), program, arguments, &[])
    }

    /// capdeck in a home that a test has prepared, told more by its environment.
    pub fn at_home(home: Capdeck, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::with(home, env!("CARGO_BIN_EXE_capdeck"), arguments, environment)
    }

    /// Any program, told more by its environment.
    pub fn with(
        home: Capdeck,
        program: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let (pty, child) = start(&home, program, arguments, environment);
        let pty = Arc::new(pty);
        let parser = vt100::Parser::new(cells(ROWS), cells(COLUMNS), 0);
        let seen = Arc::new(Mutex::new((parser, Vec::new())));
        let (reader, into) = (Arc::clone(&pty), Arc::clone(&seen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // EIO is how a terminal says that nobody is left on the other side.
            while let Ok(read) = (&*reader).read(&mut bytes) {
                if read == 0 {
                    break;
                }
                let mut seen = into.lock().unwrap();
                seen.0.process(&bytes[..read]);
                seen.1.extend_from_slice(&bytes[..read]);
            }
        });
        Self {
            pty,
            child,
            seen,
            home,
        }
    }

    pub fn text(&self) -> String {
        self.seen.lock().unwrap().0.screen().contents()
    }

    /// Every byte that came so far.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap().1).into_owned()
    }

    /// The terminal as it is after all bytes so far.
    pub fn look<T>(&self, at: impl FnOnce(&vt100::Screen) -> T) -> T {
        at(self.seen.lock().unwrap().0.screen())
    }

    pub fn press(&self, keys: &str) {
        (&*self.pty).write_all(keys.as_bytes()).unwrap();
    }

    /// Types `text` into the first field of a dialog that has just opened: keys are
    /// swallowed until the hands were quiet, so its first letter is tried until it is there.
    #[track_caller]
    pub fn type_after_guard(&self, text: &str) {
        let (first, rest) = text.split_at(1);
        let deadline = Instant::now() + PATIENCE;
        let typed = format!("  {first}");
        while !self.text().lines().any(|line| {
            ["reason", "note"].iter().any(|label| line.contains(label)) && line.contains(&typed)
        }) {
            assert!(Instant::now() < deadline, "{}", self.text());
            self.press(first);
            std::thread::sleep(Duration::from_millis(600));
        }
        self.press(rest);
    }

    /// Waits until the screen shows `text`.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        self.until(text, |screen| screen.contains(text));
    }

    #[track_caller]
    pub fn until(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(&self.text()) {
            assert!(
                Instant::now() < deadline,
                "never seen: {what}; the screen is\n{}",
                self.text()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The operator's log, which must be whole.
    #[track_caller]
    pub fn audit_log(&self) -> String {
        let file = self.home.home().join("capdeck/audit.jsonl");
        let ran = self
            .home
            .run(&["audit", "verify", "--file", file.to_str().unwrap()]);
        assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
        std::fs::read_to_string(file).unwrap()
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        let mut seen = self.seen.lock().unwrap();
        seen.0.screen_mut().set_size(cells(rows), cells(columns));
        self.pty.resize(Size::new(rows, columns)).unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Tells all processes on the terminal that no shell has put aside.
    pub fn signal_group(&self, signal: Signal) {
        kill_process_group(Pid::from_child(&self.child), signal).unwrap();
    }

    #[track_caller]
    pub fn ends(&mut self) -> ExitStatus {
        end_of(&mut self.child)
    }

    /// Whether the terminal is as it was: the other screen left, paste and cursor as before.
    #[track_caller]
    pub fn is_restored(&self) {
        self.until("the shell's screen", |_| {
            let seen = self.seen.lock().unwrap();
            let bytes = String::from_utf8_lossy(&seen.1).into_owned();
            let after = |on: &str, off: &str| bytes.rfind(off) > bytes.rfind(on);
            // A frame that was begun would never be shown.
            after("\x1b[?2026h", "\x1b[?2026l")
                && after("\x1b[?1004h", "\x1b[?1004l")
                && after("\x1b[?1049h", "\x1b[?1049l")
                && after("\x1b[?2004h", "\x1b[?2004l")
                && after("\x1b[?25l", "\x1b[?25h")
        });
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A program on a terminal that is gone as soon as nothing was found to be reachable.
pub fn vanish(home: &Capdeck, program: &str, arguments: &[&str]) -> Child {
    let (pty, child) = start(home, program, arguments, &[]);
    let mut drawn = Vec::new();
    while !String::from_utf8_lossy(&drawn).contains("reachable") {
        let mut bytes = [0; 4096];
        let read = (&pty).read(&mut bytes).unwrap();
        drawn.extend_from_slice(&bytes[..read]);
    }
    child
}

#[track_caller]
pub fn end_of(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "it does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn demo() -> Screen {
    Screen::capdeck(&["demo", "--seed", "7", "--http", "127.0.0.1:0"])
}

#[test]
fn a_job_is_found_by_filter_and_cancelled_by_keys() {
    let mut screen = demo();
    screen.shows("LIVE");
    screen.press("3");
    screen.shows("attention first");
    screen.press("/topic:job.batch.reindex\r");
    screen.until("the long job alone", |text| {
        text.contains("batch.reindex") && !text.contains("crawl.fetch")
    });
    screen.until("a running job under the cursor", |text| {
        text.lines()
            .any(|line| line.starts_with('▌') && line.contains("running"))
    });
    // All in one write, so the letters arrive while the dialog is new.
    screen.press("Xzzz");
    screen.shows("Cancel this job");
    screen.shows("ignored: the dialog had just opened");
    assert!(!screen.text().contains("zzz"), "{}", screen.text());
    // Once hands were quiet for 350 ms a letter is a letter again.
    let deadline = Instant::now() + PATIENCE;
    while !screen.text().contains("reason     w") {
        assert!(Instant::now() < deadline, "{}", screen.text());
        screen.press("w");
        std::thread::sleep(Duration::from_millis(600));
    }
    screen.press("\r");
    screen.press("\t\t\r");
    screen.until("the plane's word", |text| {
        text.contains("taken in") && text.contains("cancelled")
    });
    screen.press("q");
    assert_eq!(screen.ends().code(), Some(0));
    screen.is_restored();
    let log = screen.audit_log();
    let first = log.lines().next().unwrap();
    assert!(first.contains(r#""action":"cancel""#), "{log}");
}

#[test]
fn a_reviewed_job_is_approved_by_keys_and_its_last_four() {
    let mut screen = demo();
    screen.shows("LIVE");
    screen.press("2");
    screen.until("an approval that can be decided", |text| {
        text.contains("update_ticket on jira") && text.contains("✓ ready")
    });
    screen.press("/id:");
    let text = screen.text();
    let row = text.lines().find(|line| line.contains("✓ ready")).unwrap();
    let tail = row.split_whitespace().last().unwrap().to_owned();
    screen.press(&format!("*{tail}\r"));
    screen.until("it alone, under the cursor", |text| {
        text.lines()
            .any(|line| line.starts_with('▌') && line.contains(&tail))
    });
    screen.press("a");
    screen.shows("✓ payload seen");
    screen.press("A");
    screen.shows("Approve this job");
    let deadline = Instant::now() + PATIENCE;
    while !screen.text().contains("note       w") {
        assert!(Instant::now() < deadline, "{}", screen.text());
        screen.press("w");
        std::thread::sleep(Duration::from_millis(600));
    }
    screen.press("\r");
    screen.press(&format!("{}\r", &tail[tail.len() - 4..]));
    screen.shows(&format!("approved {tail} in"));
    // A yes alone is not the end of it: the job is let go.
    screen.press("3");
    screen.shows("attention first");
    screen.press(&format!("/id:*{tail}\r"));
    screen.until("that it works, or has worked", |text| {
        text.lines().any(|line| {
            line.starts_with('▌')
                && line.contains(&tail)
                && ["● running", "✓ succeeded"]
                    .iter()
                    .any(|it| line.contains(it))
        })
    });
    screen.press("\x03");
    assert_eq!(screen.ends().code(), Some(0));
}

#[test]
fn a_reviewed_job_is_rejected_by_keys() {
    let mut screen = demo();
    screen.shows("LIVE");
    screen.press("2");
    screen.until("an approval that can be decided", |text| {
        text.contains("update_ticket on jira") && text.contains("✓ ready")
    });
    let text = screen.text();
    let row = text.lines().find(|line| line.contains("✓ ready")).unwrap();
    let tail = row.split_whitespace().last().unwrap().to_owned();
    screen.press(&format!("/id:*{tail}\r"));
    screen.until("it alone, under the cursor", |text| {
        text.lines()
            .any(|line| line.starts_with('▌') && line.contains(&tail))
    });
    screen.press("a");
    screen.shows("✓ payload seen");
    screen.press("V");
    screen.shows("No secret is masked here.");
    screen.press("R");
    screen.shows("Reject this job");
    std::thread::sleep(Duration::from_millis(600));
    screen.press("wrong ticket");
    screen.shows("wrong ticket");
    screen.press("\t\t\r");
    screen.shows(&format!("rejected {tail} in"));
    screen.press("3");
    screen.until("the plane's word", |text| {
        text.contains("denied") && text.contains("Code approval_rejected")
    });
    screen.press("\x03");
    assert_eq!(screen.ends().code(), Some(0));
    let log = screen.audit_log();
    let first = log.lines().next().unwrap();
    assert!(first.contains(r#""action":"reject""#), "{log}");
    assert!(first.contains("wrong ticket"), "{log}");
}

#[test]
fn a_dead_letter_is_found_and_its_retry_is_recorded_before_it_is_asked() {
    let mut screen = demo();
    screen.shows("LIVE");
    screen.press("6");
    screen.until("a dead letter", |text| {
        text.contains("Workflows") && text.contains("T makes a new job")
    });
    screen.press("h");
    screen.until("the cursor on it", |text| {
        let letters = text
            .lines()
            .skip_while(|line| !line.contains("Dead letters"));
        letters.into_iter().any(|line| line.starts_with('▌'))
    });
    std::thread::sleep(Duration::from_millis(600));
    screen.press("T");
    screen.shows("Retry makes a new job with a new id");
    screen.shows("Labels and risk tags are copied: yes.");
    std::thread::sleep(Duration::from_millis(600));
    screen.press("\t\r");
    // Policy is asked anew about the new job and may deny it; either is said.
    screen.until("what came of it", |text| {
        text.contains("as the new job") || text.contains("Not retried: ")
    });
    screen.press("\x03");
    assert_eq!(screen.ends().code(), Some(0));
    let log = screen.audit_log();
    assert!(log.contains(r#""action":"retry""#), "{log}");
    assert!(log.contains(r#""action":"retry.outcome""#), "{log}");
}

#[test]
fn policy_is_shown_and_a_job_is_explained() {
    let mut screen = demo();
    screen.shows("LIVE");
    screen.press("5");
    screen.shows("Rules, first match wins");
    screen.until("a rule and the snapshot in force", |text| {
        text.contains("no rule matched") && text.contains("current")
    });
    screen.press("3");
    screen.shows("attention first");
    screen.until("a job under the cursor", |text| {
        text.lines().any(|line| line.starts_with('▌'))
    });
    screen.press("E");
    screen.shows("Now policy says");
    screen.press("\x1b");
    screen.until("the window closed", |text| {
        !text.contains("Now policy says")
    });
    screen.press("\x03");
    assert_eq!(screen.ends().code(), Some(0));
}

#[test]
fn from_a_job_its_trace_is_one_key_away_and_enter_comes_back_to_it() {
    let mut screen = demo();
    screen.shows("LIVE");
    screen.press("3");
    screen.shows("attention first");
    screen.until("a job under the cursor", |text| {
        text.lines().any(|line| line.starts_with('▌'))
    });
    screen.press("7");
    screen.shows("Where the time went");
    screen.shows("The critical path is");
    screen.press("\r");
    screen.shows("Timeline");
    screen.press("\x03");
    assert_eq!(screen.ends().code(), Some(0));
}

#[test]
fn help_is_searched_and_escape_never_quits() {
    let mut screen = demo();
    screen.shows("LIVE");
    screen.press("?");
    screen.shows("Keys in Overview");
    screen.press("freeze");
    screen.shows(":freeze");
    screen.until("what was not searched is gone", |text| {
        !text.contains(":half-page-down")
    });
    screen.press("\x1b");
    screen.shows(":half-page-down");
    screen.press("\x1b");
    screen.until("the help closed", |text| !text.contains("Keys in Overview"));
    screen.press(":jobs\r");
    screen.shows("attention first");
    screen.press("\x03");
    assert_eq!(screen.ends().code(), Some(0));
    screen.is_restored();
}

#[test]
fn any_size_is_survived() {
    let screen = demo();
    screen.shows("LIVE");
    for (rows, columns) in [
        (24, 80),
        (12, 40),
        (5, 20),
        (1, 1),
        (2, 200),
        (60, 3),
        (1, 1),
    ] {
        screen.resize(rows, columns);
    }
    screen.resize(ROWS, COLUMNS);
    screen.press("4");
    screen.shows("worst first");
    screen.shows("3 Jobs   4 Workers");
}

#[test]
fn with_no_server_the_screen_is_there_and_sigterm_gives_the_terminal_back() {
    let mut screen = Screen::capdeck(&NOWHERE);
    screen.shows("Nothing is reachable yet");
    screen.signal(Signal::TERM);
    assert_eq!(screen.ends().code(), Some(0));
    screen.is_restored();
}

#[test]
fn a_hangup_ends_it_without_a_crash() {
    let mut screen = Screen::capdeck(&NOWHERE);
    screen.shows("Nothing is reachable yet");
    screen.signal(Signal::HUP);
    let status = screen.ends();
    assert_eq!((status.code(), status.signal()), (Some(129), None));
}

#[test]
fn a_vanished_terminal_ends_it_without_spinning() {
    let home = Capdeck::new();
    let mut child = vanish(&home, env!("CARGO_BIN_EXE_capdeck"), &NOWHERE);
    assert_eq!(end_of(&mut child).code(), Some(129));
}

#[test]
fn it_is_suspended_and_comes_back() {
    let screen = Screen::of("/bin/bash", &["--norc", "--noprofile", "-i"]);
    screen.shows("shell>");
    screen.press(&format!(
        "{} {}\r",
        env!("CARGO_BIN_EXE_capdeck"),
        NOWHERE.join(" ")
    ));
    screen.shows("Nothing is reachable yet");
    screen.press("\x1a");
    screen.until("the shell's screen", |text| {
        text.contains("Stopped") && !text.contains("reachable")
    });
    screen.press("fg\r");
    screen.shows("Nothing is reachable yet");
    screen.press("q");
    screen.until("the prompt", |text| text.trim_end().ends_with("shell>"));
}

#[test]
fn without_a_terminal_it_says_so() {
    let home = Capdeck::new();
    let ran = home
        .command(&["demo"])
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(2));
    let says = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(
        says,
        "error: capdeck needs a terminal; use capdeck get for pipes\n"
    );
    assert!(ran.stdout.is_empty());
}
