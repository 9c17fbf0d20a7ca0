//! Servers, workers and planes that the tests put together, and what they hold them to.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::running::{gateway, ready};
use crate::support::{Capdeck, Lines, NatsProcess, PATIENCE, Peer, RedisProcess, wait_until};

/// What whoever waits for two thousand jobs, or for another plane to take over, allows.
pub(super) const LONG: Duration = Duration::from_secs(90);

pub(super) const POLICY: &str = r"
version: v1
rules:
  - id: hold
    match: {labels: {ask: 'yes'}}
    decision: require_approval
    reason: somebody has to look
  - id: rest
    match: {topics: ['job.*']}
    decision: allow
";

/// The servers, with all they know on disk.
pub(super) struct Ground {
    pub(super) nats: NatsProcess,
    pub(super) redis: RedisProcess,
    pub(super) home: Capdeck,
}

impl Ground {
    pub(super) fn new() -> Self {
        let home = Capdeck::new();
        std::fs::write(home.home().join("policy.yaml"), POLICY).unwrap();
        Self {
            nats: NatsProcess::start_with(&["-js", "-sd", "jetstream"]),
            redis: RedisProcess::start_with(&["--appendonly", "yes", "--appendfsync", "always"]),
            home,
        }
    }

    pub(super) fn log(&self) -> PathBuf {
        self.home.home().join("toil.log")
    }

    /// Workers of the SDK that do short jobs.
    pub(super) fn toilers(&self, count: usize) -> (Peer, Lines) {
        let (url, log) = (self.nats.url(), self.log());
        let (log, count) = (log.to_str().unwrap(), count.to_string());
        let arguments = ["--nats", &url, "--log", log, "--workers", &count];
        let mut peer = Peer::start("toilers.py", &arguments);
        let mut lines = peer.lines();
        lines.wait_for("being ready", |line| line.contains("\"ready\""));
        (peer, lines)
    }

    /// Whether a worker is done with a job.
    pub(super) fn toiled(&self, id: &str) -> bool {
        let log = std::fs::read_to_string(self.log()).unwrap();
        log.lines()
            .any(|line| line.strip_prefix("done ") == Some(id))
    }

    pub(super) fn plane(&self, more: &[&str]) -> Plane {
        Plane::start(self, &[&["--no-workers"], more].concat())
    }

    pub(super) fn plane_with_workers(&self, more: &[&str]) -> Plane {
        Plane::start(self, more)
    }

    /// One whose environment says more.
    pub(super) fn plane_where(&self, more: &[&str], variables: &[(&str, &str)]) -> Plane {
        Plane::start_where(self, &[&["--no-workers"], more].concat(), variables)
    }
}

/// A plane that submits nothing by itself.
pub(super) struct Plane {
    pub(super) child: Child,
    pub(super) url: String,
    pub(super) says: String,
}

impl Plane {
    pub(super) fn start(ground: &Ground, more: &[&str]) -> Self {
        Self::start_where(ground, more, &[])
    }

    fn start_where(ground: &Ground, more: &[&str], variables: &[(&str, &str)]) -> Self {
        let policy = ground.home.home().join("policy.yaml");
        let policy = ["--policy", policy.to_str().unwrap()];
        let has = |flag| more.contains(&flag);
        let policy = if has("--policy") || has("--kernel") {
            &[][..]
        } else {
            &policy
        };
        let (child, says) = ready(
            ground
                .home
                .command(&["up", "--http", "127.0.0.1:0", "--no-traffic"])
                .args(["--nats", &ground.nats.url(), "--redis", &ground.redis.url()])
                .args(policy)
                .args(more)
                .envs(variables.iter().copied()),
        );
        let url = gateway(&says).to_owned();
        Self { child, url, says }
    }

    #[track_caller]
    pub(super) fn leads(&self) {
        assert!(
            self.says.ends_with(", record redis, leads\n"),
            "{}",
            self.says
        );
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(super) fn end(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        wait_until("its end", || self.child.try_wait().unwrap())
    }

    /// Ends it at once, as a crash would.
    pub(super) fn dies(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(super) fn get(&self, path: &str) -> Value {
        let (status, answer) = call(&self.url, "GET", path, None).unwrap();
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        call(&self.url, "POST", path, Some(body)).unwrap()
    }

    pub(super) fn state(&self, id: &str) -> String {
        self.get(&format!("/jobs/{id}"))["state"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Waits until it answers as one that leads, or that knows who does.
    pub(super) fn answers(&self) {
        wait_long("an answer", || {
            let (status, _) = call(&self.url, "GET", "/jobs?limit=1", None)?;
            (status == 200).then_some(())
        });
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        // Ended or not, it is gone afterwards.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// One call: status and JSON; `None` when there was no whole answer.
pub(super) fn call(
    url: &str,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Option<(u16, Value)> {
    let (head, body) = exchange(url, method, path, "", body)?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(&body).ok()?))
}

/// One call with further headers, each with its line end: the head and the body of the
/// answer.
pub(super) fn exchange(
    url: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: Option<&Value>,
) -> Option<(String, String)> {
    let mut line = TcpStream::connect(url).ok()?;
    line.set_read_timeout(Some(PATIENCE)).ok()?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = format!(
        "{method} /api/v1{path} HTTP/1.1\r\nHost: {url}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}",
        body.len()
    );
    line.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    line.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.to_owned(), body.to_owned()))
}

pub(super) fn wait_long<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(super) fn toil(id: &str) -> Value {
    json!({"job_id": id, "topic": "job.toil.run", "labels": {"toil.seconds": "0.02"}})
}

/// Submits jobs from several threads, each until somebody says 200, at whichever of the
/// addresses answers.
pub(super) struct Submitters {
    pub(super) accepted: Arc<AtomicUsize>,
    pub(super) threads: Vec<std::thread::JoinHandle<()>>,
}

impl Submitters {
    pub(super) fn of(ids: &[String], urls: &[String]) -> Self {
        const THREADS: usize = 6;
        let accepted = Arc::new(AtomicUsize::new(0));
        let threads = (0..THREADS).map(|thread| {
            let ids: Vec<String> = ids.iter().skip(thread).step_by(THREADS).cloned().collect();
            let (urls, accepted) = (urls.to_vec(), Arc::clone(&accepted));
            std::thread::spawn(move || {
                for (turn, id) in ids.iter().enumerate() {
                    let mut tries = turn;
                    wait_long("a job to be accepted", || {
                        tries += 1;
                        let url = &urls[tries % urls.len()];
                        let (status, _) = call(url, "POST", "/jobs", Some(&toil(id)))?;
                        (status == 200).then_some(())
                    });
                    accepted.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        Self {
            threads: threads.collect(),
            accepted,
        }
    }

    pub(super) fn reach(&self, count: usize) {
        wait_long("accepted jobs", || {
            (self.accepted.load(Ordering::SeqCst) >= count).then_some(())
        });
    }

    pub(super) fn finish(self) {
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

pub(super) fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("j-{n:05}")).collect()
}

/// How often each job was begun.
pub(super) fn executions(log: &Path) -> BTreeMap<String, usize> {
    let mut begun = BTreeMap::new();
    let log = std::fs::read_to_string(log).unwrap_or_default();
    for line in log.lines().filter(|line| !line.starts_with("done ")) {
        let id = line.split(' ').next().unwrap().to_owned();
        *begun.entry(id).or_default() += 1;
    }
    begun
}

/// Waits until every job has ended well, and holds the record to it: one end each, and
/// where a job was begun more than once, its record says why. Returns how many were.
pub(super) fn all_done_once(plane: &Plane, ids: &[String], log: &Path) -> usize {
    let deadline = Instant::now() + LONG;
    loop {
        let pipeline = plane.get("/status")["pipeline"].clone();
        if pipeline["succeeded"] == json!(ids.len()) {
            break;
        }
        if Instant::now() > deadline {
            let states = [
                "pending",
                "running",
                "dispatched",
                "retrying",
                "failed",
                "timeout",
            ];
            let open =
                states.map(|it| plane.get(&format!("/jobs?state={it}&limit=3"))["items"].clone());
            let id = open
                .iter()
                .find_map(|it| it[0]["id"].as_str())
                .unwrap_or("none");
            let one = call(&plane.url, "GET", &format!("/jobs/{id}"), None);
            panic!("not every job has ended: {pipeline}, one is {one:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let begun = executions(log);
    let named: BTreeSet<&String> = ids.iter().collect();
    assert_eq!(
        begun.keys().collect::<BTreeSet<_>>(),
        named,
        "each ran, and no other"
    );
    let mut again = 0;
    for id in ids {
        let job = plane.get(&format!("/jobs/{id}"));
        let events = job["events"].as_array().unwrap();
        let ends = events.iter().filter(|event| event["state"] == "SUCCEEDED");
        assert_eq!(ends.count(), 1, "{job}");
        let says = |words: &str| {
            let mut notes = events.iter().filter_map(|event| event["note"].as_str());
            notes.any(|note| note.contains(words))
        };
        // The bus refused a request, so that it was tried anew.
        let refused = says("dispatch failed: ");
        assert_eq!(job["attempts"], if refused { 2 } else { 1 }, "{job}");
        if begun[id] > 1 {
            again += 1;
            let told = refused || says("sent again under the same attempt");
            assert!(told, "{} executions of {job}", begun[id]);
        }
    }
    again
}
