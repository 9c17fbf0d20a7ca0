//! The real binary while it serves: started, ready, spoken to, ended.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Ran, wait_until};

/// Starts `command` and waits for the line by which it says that it serves.
pub fn ready(command: &mut Command) -> (Child, String) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut ready).unwrap();
    assert!(ready.starts_with("ready: "), "not ready: {ready}");
    (child, ready)
}

/// Where the gateway of a plane is that said that it is ready, as `127.0.0.1:8081`.
pub fn gateway(ready: &str) -> &str {
    ready
        .split_once("gateway http://")
        .and_then(|(_, rest)| rest.split_once(','))
        .map(|(addr, _)| addr)
        .unwrap_or_else(|| panic!("no gateway: {ready}"))
}

/// A process that serves. It ends with the value.
pub struct Running {
    child: Child,
    /// The line by which it said so.
    pub ready: String,
}

impl Running {
    /// Starts `command` and waits until it serves.
    pub fn start(command: &mut Command) -> Self {
        let (child, ready) = ready(command);
        Self { child, ready }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it says something of `word` on stderr, which is piped; all that it
    /// said until then.
    pub fn hear(&mut self, word: &str) -> String {
        let mut said = BufReader::new(self.child.stderr.take().unwrap());
        let mut told = String::new();
        while !told.contains(word) {
            assert_ne!(said.read_line(&mut told).unwrap(), 0, "it ended: {told}");
        }
        self.child.stderr = Some(said.into_inner());
        told
    }

    /// Sends it a signal, and waits for its end.
    pub fn end_by(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        wait_until("its end", || self.child.try_wait().unwrap())
    }

    /// Ends it as its owner does, and says what it said if stderr is piped.
    pub fn end(mut self) -> Ran {
        self.signal(Signal::TERM);
        let stderr = self.rest();
        let status = self.child.wait().unwrap();
        Ran {
            code: status.code().unwrap_or(-1),
            stdout: String::new(),
            stderr,
        }
    }

    /// Ends it as a crash does, and says what it said if stderr is piped.
    pub fn crash(&mut self) -> String {
        self.child.kill().unwrap();
        let stderr = self.rest();
        self.child.wait().unwrap();
        stderr
    }

    fn rest(&mut self) -> String {
        let mut stderr = String::new();
        if let Some(mut said) = self.child.stderr.take() {
            said.read_to_string(&mut stderr).unwrap();
        }
        stderr
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended or not, it is gone afterwards.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
