//! The real binary in a pseudo terminal, with a stopwatch.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Bytes that end a painted frame: the end of a synchronized update.
const END_OF_FRAME: &[u8] = b"\x1b[?2026l";

/// Longer than anything measured here takes; past it the bench stops with a message.
const PATIENCE: Duration = Duration::from_secs(20);

/// A console that runs in a terminal of our own.
pub(crate) struct Console {
    pty: Arc<pty_process::blocking::Pty>,
    child: Child,
    frames: Receiver<Instant>,
    screen: Arc<Mutex<vt100::Parser>>,
    bytes: Arc<Mutex<u64>>,
    home: tempfile::TempDir,
    started: Instant,
}

impl Console {
    /// Starts `capdeck` with `args` in a terminal of `columns` by `rows` cells.
    pub(crate) fn start(args: &[&str], columns: u16, rows: u16) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let (pty, pts) = pty_process::blocking::open().expect("a pseudo terminal");
        pty.resize(pty_process::Size::new(rows, columns))
            .expect("a size");
        let started = Instant::now();
        let child = pty_process::blocking::Command::new(binary())
            .args(args)
            .env_clear()
            .env("TERM", "xterm-256color")
            .env("COLORTERM", "truecolor")
            .env("LANG", "C.UTF-8")
            .env("HOME", home.path())
            .spawn(pts)
            .expect("capdeck starts");
        let pty = Arc::new(pty);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(
            rows.try_into().expect("at least one row"),
            columns.try_into().expect("at least one column"),
            0,
        )));
        let bytes = Arc::new(Mutex::new(0));
        let (frame, frames) = channel();
        std::thread::spawn({
            let (pty, screen, bytes) = (Arc::clone(&pty), Arc::clone(&screen), Arc::clone(&bytes));
            move || {
                let mut buffer = vec![0; 1 << 16];
                let mut tail = Vec::new();
                // The read fails when the console is gone.
                while let Ok(len @ 1..) = (&*pty).read(&mut buffer) {
                    let now = Instant::now();
                    *bytes.lock().expect("no reader panics") += len as u64;
                    screen
                        .lock()
                        .expect("no reader panics")
                        .process(&buffer[..len]);
                    tail.extend_from_slice(&buffer[..len]);
                    while let Some(at) = find(&tail, END_OF_FRAME) {
                        tail.drain(..at + END_OF_FRAME.len());
                        if frame.send(now).is_err() {
                            return;
                        }
                    }
                    let keep = tail.len().saturating_sub(END_OF_FRAME.len());
                    tail.drain(..keep);
                }
            }
        });
        Self {
            pty,
            child,
            frames,
            screen,
            bytes,
            home,
            started,
        }
    }

    /// How long after the start the next frame was complete.
    pub(crate) fn first_frame(&self) -> Duration {
        let at = self.frames.recv_timeout(PATIENCE).expect("a first frame");
        at - self.started
    }

    /// Types `keys` and returns how long the next complete frame took.
    pub(crate) fn key_to_frame(&self, keys: &[u8]) -> Duration {
        while self.frames.try_recv().is_ok() {}
        let typed = Instant::now();
        (&*self.pty)
            .write_all(keys)
            .expect("the terminal takes keys");
        let at = self.frames.recv_timeout(PATIENCE).expect("a frame");
        at - typed
    }

    /// Waits until the screen shows `text`.
    pub(crate) fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.text().contains(text) {
            assert!(
                Instant::now() < deadline,
                "{text:?} never came; the screen is\n{}",
                self.text()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the terminal shows.
    pub(crate) fn text(&self) -> String {
        let screen = self.screen.lock().expect("no reader panics");
        screen.screen().contents()
    }

    /// Counts frames and bytes, and what the process used, for `span`.
    pub(crate) fn watch(&self, span: Duration) -> Usage {
        while self.frames.try_recv().is_ok() {}
        let before = (self.cpu_ticks(), self.wakeups(), self.bytes_so_far());
        let end = Instant::now() + span;
        let mut frames = 0;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.frames.recv_timeout(left) {
                Ok(_) => frames += 1,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        let seconds = span.as_secs_f64();
        Usage {
            // The kernel counts in hundredths of a second (USER_HZ).
            core_percent: (self.cpu_ticks() - before.0) as f64 / seconds,
            wakeups_per_second: (self.wakeups() - before.1) as f64 / seconds,
            frames_per_second: f64::from(frames) / seconds,
            bytes_per_second: (self.bytes_so_far() - before.2) as f64 / seconds,
            resident_mb: self.status("VmRSS:") as f64 / 1024.0,
        }
    }

    fn bytes_so_far(&self) -> u64 {
        *self.bytes.lock().expect("no reader panics")
    }

    fn cpu_ticks(&self) -> u64 {
        let stat = self.proc("stat");
        let after_name = stat.rsplit_once(')').expect("a process name").1;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        // Fields 14 and 15 of proc(5): user and system time.
        [11, 12]
            .map(|index| fields[index].parse::<u64>().expect("a number"))
            .iter()
            .sum()
    }

    fn wakeups(&self) -> u64 {
        let tasks = format!("/proc/{}/task", self.child.id());
        std::fs::read_dir(tasks)
            .expect("the process lives")
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok())
            .filter_map(|status| number_after(&status, "voluntary_ctxt_switches:"))
            .sum()
    }

    fn status(&self, key: &str) -> u64 {
        number_after(&self.proc("status"), key).expect("a line of proc(5)")
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))
            .expect("the process lives")
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // Gone already is as good.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
        debug_assert!(self.home.path().exists());
    }
}

/// What a console used in a span of time.
pub(crate) struct Usage {
    pub(crate) core_percent: f64,
    pub(crate) wakeups_per_second: f64,
    pub(crate) frames_per_second: f64,
    pub(crate) bytes_per_second: f64,
    pub(crate) resident_mb: f64,
}

/// The binary under test, of the same build as this bench.
pub(crate) fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_capdeck"))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

pub(crate) fn number_after(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
}
