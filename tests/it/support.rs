//! Real servers and the real binary, for tests.
//!
//! `tests/run` installs the servers. A test that needs one and cannot find it
//! fails and says so; it is never skipped. A server gets a free port on the
//! loopback interface and a temporary directory, and ends, by its process id,
//! with the value that stands for it.

#![allow(
    dead_code,
    reason = "each test file uses its own part of these helpers"
)]

use std::ffi::OsString;
use std::fmt::Debug;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use capdeck::bus::{Bus, LinkState};
use capdeck::config::{NatsAuth, NatsServer, RedisServer, Tls};
use capdeck::time::{Clock, SystemClock};
use tempfile::TempDir;

/// How long anything may take that should take an instant: tests share a machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The root of the package.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The real clock, as the library takes it.
pub fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// The program that `variable` names, or the one in the virtual environment of
/// `tests/run`, or the one in `PATH`.
fn program(name: &str, variable: &str) -> PathBuf {
    let mut candidates: Vec<PathBuf> = Vec::new();
    if let Some(named) = std::env::var_os(variable) {
        candidates.push(named.into());
    } else {
        candidates.push(root().join("target/test-venv/bin").join(name));
        if let Some(path) = std::env::var_os("PATH") {
            candidates.extend(std::env::split_paths(&path).map(|dir| dir.join(name)));
        }
    }
    candidates
        .into_iter()
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| {
            panic!("{name} is not installed: run tests/run, or set {variable} to its path")
        })
}

/// A port on which nothing listens, which no other test of this run gets, and
/// which no outgoing connection is given: a server that is stopped for a while
/// finds it free again.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Below the ports that Linux gives to connections, spread by process.
    let first = std::process::id().wrapping_mul(131) % 20_000;
    loop {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(10_000 + (first + step) % 20_000).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// A server process with its own port and directory.
struct Server {
    program: PathBuf,
    arguments: Vec<OsString>,
    port: u16,
    /// What it says when it listens, on the first bytes of a connection.
    answers: fn(&mut TcpStream) -> bool,
    child: Option<Child>,
    dir: TempDir,
}

impl Server {
    fn start(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = std::fs::File::create(self.dir.path().join("log")).unwrap();
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.program.display()));
        self.child = Some(child);
        let deadline = Instant::now() + PATIENCE;
        while !self.is_ready() {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                panic!(
                    "{} does not answer on port {} ({ended:?}):\n{log}",
                    self.program.display(),
                    self.port
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn is_ready(&self) -> bool {
        let address = (Ipv4Addr::LOCALHOST, self.port).into();
        let Ok(mut line) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else {
            return false;
        };
        line.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        (self.answers)(&mut line)
    }

    /// Ends it at once, as a crash would.
    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Picks a port and starts a server on it, again if another process was faster.
fn start_server(
    program: &Path,
    arguments: impl Fn(u16, &Path) -> Vec<OsString>,
    answers: fn(&mut TcpStream) -> bool,
) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut server = Server {
        program: program.to_owned(),
        arguments: arguments(port, dir.path()),
        port,
        answers,
        child: None,
        dir,
    };
    server.start();
    server
}

/// A nats-server of our own.
pub struct NatsProcess(Server);

impl NatsProcess {
    /// Starts one that lets everybody in.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with further arguments.
    pub fn start_with(more: &[&str]) -> Self {
        let program = program("nats-server", "CAPDECK_TEST_NATS_SERVER");
        let arguments = |port: u16, _: &Path| {
            let port = port.to_string();
            ["-a", "127.0.0.1", "-p", &port]
                .iter()
                .chain(more)
                .map(OsString::from)
                .collect()
        };
        let answers = |line: &mut TcpStream| {
            let mut first = [0; 5];
            line.read_exact(&mut first).is_ok() && &first == b"INFO "
        };
        Self(start_server(&program, arguments, answers))
    }

    /// Starts one with a configuration, which lives as long as the directory.
    pub fn configured(text: &str) -> (TempDir, Self) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nats.conf");
        std::fs::write(&path, text).unwrap();
        let server = Self::start_with(&["-c", path.to_str().unwrap()]);
        (dir, server)
    }

    /// Where it listens, running or not.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.0.port)
    }

    /// How the library is told of it.
    pub fn config(&self) -> NatsServer {
        nats_at(&self.url())
    }

    /// Ends it at once, as a crash would.
    pub fn stop(&mut self) {
        self.0.stop();
    }

    /// Starts it again on the same port.
    pub fn restart(&mut self) {
        self.0.start();
    }

    /// Lets it stand still without closing its connections.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets a frozen one go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.0.child.as_ref().unwrap().id().to_string();
        let done = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(done.success());
    }
}

/// A server without credentials at `url`.
pub fn nats_at(url: &str) -> NatsServer {
    NatsServer {
        url: url.to_owned(),
        auth: NatsAuth::None,
        tls: Tls::default(),
    }
}

/// A redis-server of our own.
pub struct RedisProcess(Server);

impl RedisProcess {
    /// Starts one that lets everybody in and keeps nothing on disk.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with further arguments.
    pub fn start_with(more: &[&str]) -> Self {
        let program = program("redis-server", "CAPDECK_TEST_REDIS_SERVER");
        let arguments = |port: u16, dir: &Path| {
            let port = port.to_string();
            let dir = dir.to_str().unwrap();
            let fixed = [
                "--port",
                &port,
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--dir",
                dir,
            ];
            fixed.iter().chain(more).map(OsString::from).collect()
        };
        let answers = |line: &mut TcpStream| {
            let mut first = [0; 1];
            line.write_all(b"PING\r\n").is_ok()
                && line.read_exact(&mut first).is_ok()
                && (&first == b"+" || &first == b"-")
        };
        Self(start_server(&program, arguments, answers))
    }

    /// Where it listens, running or not.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.0.port)
    }

    /// How the library is told of it.
    pub fn config(&self) -> RedisServer {
        redis_at(&self.url())
    }

    /// Ends it at once, as a crash would; what it held is gone.
    pub fn stop(&mut self) {
        self.0.stop();
    }

    /// Starts it again on the same port.
    pub fn restart(&mut self) {
        self.0.start();
    }
}

/// A server without credentials at `url`.
pub fn redis_at(url: &str) -> RedisServer {
    RedisServer {
        url: url.to_owned(),
        password: None,
        tls: Tls::default(),
    }
}

/// A Python program of `tests/peers/`, with the public SDK at hand.
pub struct Peer {
    child: Child,
    name: String,
}

impl Peer {
    /// Starts `tests/peers/<name>`; what it prints is in [`Peer::lines`].
    pub fn start(name: &str, arguments: &[&str]) -> Self {
        let child = peer(name, arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        Self {
            child,
            name: name.to_owned(),
        }
    }

    /// The lines it prints, one by one as they come. Can be taken once.
    pub fn lines(&mut self) -> Lines {
        let output = self.child.stdout.take().expect("taken once");
        Lines::of(output, self.name.clone())
    }

    /// Ends it at once.
    pub fn stop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs `tests/peers/<name>` to its end, which must be a good one.
pub fn run_peer(name: &str, arguments: &[&str]) -> String {
    let output = peer(name, arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{name} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn peer(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("python3", "CAPDECK_TEST_PYTHON"));
    command
        .arg("-u")
        .arg(root().join("tests/peers").join(name))
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Certificates, keys and an nkey in a directory of their own.
pub struct Certificates {
    dir: TempDir,
    /// The public key of a NATS user, and its seed.
    pub nkey: (String, String),
}

impl Certificates {
    /// Makes new ones; see `tests/peers/certificates.py`.
    pub fn make() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = run_peer("certificates.py", &[dir.path().to_str().unwrap()]);
        let made: serde_json::Value = serde_json::from_str(&made).unwrap();
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        Self {
            nkey: (text("public"), text("seed")),
            dir,
        }
    }

    /// The path of one of the files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The path of one of the files, as an argument.
    pub fn argument(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}

/// The lines of a process, read by a thread so that a test can wait for one.
pub struct Lines {
    lines: std::sync::mpsc::Receiver<String>,
    seen: Vec<String>,
    name: String,
}

impl Lines {
    pub fn of(output: impl Read + Send + 'static, name: String) -> Self {
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let lines = std::io::BufRead::lines(std::io::BufReader::new(output));
            for line in lines.map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            lines,
            seen: Vec::new(),
            name,
        }
    }

    /// The next line for which `wanted` holds; those before it are kept in
    /// [`Lines::seen`].
    pub fn wait_for(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if wanted(&line) {
                        return line;
                    }
                }
                Err(ended) => panic!(
                    "{} said nothing of {what} ({ended}); it said:\n{}",
                    self.name,
                    self.seen.join("\n")
                ),
            }
        }
    }

    /// All lines so far, those that were waited for included.
    pub fn seen(&mut self) -> &[String] {
        self.seen.extend(self.lines.try_iter());
        &self.seen
    }
}

/// The real binary with an environment of its own.
pub struct Capdeck {
    home: TempDir,
}

impl Capdeck {
    /// A home directory in which nothing was ever configured.
    pub fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
        }
    }

    /// Its home directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The command with `arguments`, to be started as the test likes.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_capdeck"));
        clean(&mut command, self.home.path());
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().unwrap();
        Ran::of(output)
    }

    /// Runs it to its end and reads what it printed as JSON; it must succeed.
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
        serde_json::from_str(&ran.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error} in {}", ran.stdout))
    }
}

/// Clears what the machine's environment would tell capdeck, and gives it the
/// directories below `home`.
pub fn clean(command: &mut Command, home: &Path) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let ours = ["NATS_", "REDIS_", "CORDUM_", "CAPDECK_", "SAFETY_", "XDG_"];
        if ours.iter().any(|prefix| text.starts_with(prefix))
            || ["NO_COLOR", "COLORTERM", "RUST_LOG"].contains(&&*text)
        {
            command.env_remove(&name);
        }
    }
    command
        .env("RUST_BACKTRACE", "0")
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("XDG_STATE_HOME", home.join("state"))
        .env("XDG_DATA_HOME", home.join("data"))
        .env("XDG_CACHE_HOME", home.join("cache"))
        .env("XDG_RUNTIME_DIR", home.join("run"));
}

/// What came of a run.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; 128 and the signal's number when it was killed.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Reads what a finished process left.
    pub fn of(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let signal = output.status.signal().unwrap_or_default();
        Self {
            code: output.status.code().unwrap_or(128 + signal),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Asks `look` again and again until it has an answer.
pub fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asks `look` again and again until it has an answer, without holding up the
/// tasks of the test.
pub async fn eventually<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The result of `work`, which must come soon.
pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Waits until the line of `bus` is as `wanted` says.
pub async fn link_is(
    bus: &dyn Bus,
    what: &str,
    wanted: impl FnMut(&LinkState) -> bool,
) -> LinkState
where
{
    let mut link = bus.link();
    let found = soon(what, link.wait_for(wanted)).await.unwrap();
    found.clone()
}

/// What failed, as text with its causes.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// The error of `result`, which must have one.
pub fn failure<T: Debug, E>(result: Result<T, E>) -> E {
    match result {
        Ok(fine) => panic!("it should have failed and gave {fine:?}"),
        Err(error) => error,
    }
}
