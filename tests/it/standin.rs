//! A gateway that answers as a test says: one job that waits for approval, in the
//! words of either generation, and refusals, silence and broken lines on demand.
//!
//! Plain sockets, because an HTTP server does not close a connection that it owes
//! an answer. Each request is answered and its connection closed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use capdeck::wire::job_hash::job_hash;
use capdeck::wire::json::{Unknown, job_request_from_json};
use serde_json::{Value, json};

use crate::keys::Screen;
use crate::support::{Capdeck, PATIENCE};

/// The job that waits.
pub const JOB: &str = "6f1c02d4-8a57-4e0b-b3a9-77d0e41b9f2c";

/// How lists and titles show it.
pub const TAIL: &str = "e41b9f2c";

/// The end of its id, which is typed to approve it.
pub const LAST_FOUR: &str = "9f2c";

/// One request to the gateway.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// Without `/api/v1` and without its query.
    pub path: String,
    pub query: String,
    pub body: String,
}

/// What a test wants a request to be answered with.
pub enum Answer {
    /// A status and a body.
    Says(u16, String),
    /// The same with one more header.
    SaysWith(u16, &'static str, String),
    /// Read to its end and the connection closed without a word.
    HangsUp,
}

impl Answer {
    /// A refusal in the shape of the newer generation.
    pub fn refusal(http: u16, status: u16, code: &str, text: &str) -> Self {
        let body = json!({"error": text, "code": code, "status": status});
        Self::Says(http, body.to_string())
    }
}

/// What it knows, which a test may change behind a console's back.
pub struct Knows {
    /// Whether it speaks as the newer generation does.
    pub newer: bool,
    /// The policy in force.
    pub policy: String,
    /// The policy that asked for the approval.
    pub judged_by: String,
    /// The stored request.
    pub request: Value,
    /// What policy judged, if it is not what is stored.
    pub judged_hash: Option<String>,
    /// The payload behind the job's context pointer.
    pub payload: String,
    /// The job's state.
    pub state: &'static str,
}

impl Knows {
    fn stored_hash(&self) -> String {
        let stored = self.request.to_string();
        let (request, _) = job_request_from_json(stored.as_bytes(), Unknown::Refuse).unwrap();
        job_hash(&request).to_string()
    }

    fn hash(&self) -> String {
        self.judged_hash
            .clone()
            .unwrap_or_else(|| self.stored_hash())
    }

    pub fn record(&self) -> Value {
        json!({
            "id": JOB, "trace_id": "t-1", "updated_at": 1_767_225_600_123_456_i64,
            "state": self.state, "topic": "job.mcp-bridge.write.update_ticket",
            "tenant": "default", "risk_tags": ["prod"], "safety_decision": "REQUIRE_APPROVAL",
            "safety_rule_id": "approval-prod-write", "safety_snapshot": self.judged_by,
        })
    }

    fn detail(&self) -> Value {
        let mut detail = self.record();
        detail["safety_job_hash"] = json!(self.hash());
        detail["context_ptr"] = json!(format!("redis://ctx:{JOB}"));
        detail["labels"] = self.request["labels"].clone();
        if self.newer {
            detail["request"] = self.request.clone();
        }
        detail
    }

    fn approvals(&self) -> Value {
        if self.state != "APPROVAL_REQUIRED" {
            return json!({"items": [], "next_cursor": null});
        }
        let mut item = json!({
            "job": self.record(), "decision": "REQUIRE_APPROVAL",
            "policy_snapshot": self.judged_by, "policy_rule_id": "approval-prod-write",
            "policy_reason": "Production writes require human review", "constraints": null,
            "job_hash": self.hash(), "approval_required": true, "approval_ref": JOB,
        });
        if self.newer {
            item["approval_status"] = json!("pending");
            item["approval_actionability"] = json!("actionable");
        }
        json!({"items": [item], "next_cursor": null})
    }

    fn answer(&mut self, asked: &Asked) -> Answer {
        let fine = |body: Value| Answer::Says(200, body.to_string());
        let job = format!("/jobs/{JOB}");
        match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/status") if self.newer => fine(json!({"capabilities": ["expect"]})),
            ("GET", "/status") => fine(json!({"uptime_seconds": 4, "workers": {"count": 1}})),
            ("GET", "/policy/snapshots") => fine(json!({"snapshots": [self.policy]})),
            ("GET", "/approvals") => fine(self.approvals()),
            ("GET", "/jobs") => fine(json!({"items": [self.record()], "next_cursor": null})),
            ("GET", path) if path == job => fine(self.detail()),
            ("GET", "/memory") => fine(json!({
                "pointer": format!("redis://ctx:{JOB}"), "key": format!("ctx:{JOB}"),
                "kind": "context", "size_bytes": self.payload.len(), "text": self.payload,
            })),
            ("GET", "/workers") if self.newer => fine(json!({"items": []})),
            // The older generation writes heartbeats as they came, in a bare array.
            ("GET", "/workers") => fine(json!([{
                "worker_id": "w-jan-1", "region": "eu-1", "type": "python", "cpu_load": 12.5,
                "active_jobs": 1, "capabilities": null, "pool": "tickets",
                "max_parallel_jobs": 4,
            }])),
            ("GET", "/pools") if self.newer => fine(json!([])),
            ("POST", path) if path == format!("{job}/cancel") => {
                self.state = "CANCELLED";
                fine(json!({"id": JOB, "state": "CANCELLED"}))
            }
            ("POST", path) if path == format!("/approvals/{JOB}/approve") => {
                self.state = "PENDING";
                fine(json!({"job_id": JOB, "trace_id": "t-1"}))
            }
            ("POST", path) if path == format!("/approvals/{JOB}/reject") => {
                self.state = "DENIED";
                fine(json!({"job_id": JOB}))
            }
            _ if self.newer => Answer::refusal(404, 404, "not_found", "not found"),
            _ => Answer::Says(404, "404 page not found\n".to_owned()),
        }
    }
}

/// Answers in a test's place; `None` leaves it to [`Knows`].
type Instead = Box<dyn FnMut(&Asked, &mut Knows) -> Option<Answer> + Send>;

/// The gateway. It ends with the process.
pub struct StandIn {
    pub url: String,
    pub knows: Arc<Mutex<Knows>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    instead: Arc<Mutex<Option<Instead>>>,
}

impl StandIn {
    pub fn start(newer: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let policy = "v1:8c1f00112233445566778899aabba2e7".to_owned();
        let knows = Knows {
            newer,
            judged_by: policy.clone(),
            policy,
            request: json!({
                "jobId": JOB, "topic": "job.mcp-bridge.write.update_ticket",
                "tenantId": "default", "contextPtr": format!("redis://ctx:{JOB}"),
                "labels": {"mcp.server": "jira", "mcp.tool": "update_ticket", "mcp.action": "write"},
                "meta": {"riskTags": ["prod"]},
            }),
            judged_hash: None,
            payload: "{\n  \"ticket\": \"OPS-1163\",\n  \"token\": \"ghp_0123456789abcdefghijklmnopqrstuvwxyz\"\n}\n"
                .to_owned(),
            state: "APPROVAL_REQUIRED",
        };
        let it = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            knows: Arc::new(Mutex::new(knows)),
            asked: Arc::default(),
            instead: Arc::default(),
        };
        let (knows, asked) = (Arc::clone(&it.knows), Arc::clone(&it.asked));
        let instead = Arc::clone(&it.instead);
        std::thread::spawn(move || {
            for line in listener.incoming().flatten() {
                let (knows, asked) = (Arc::clone(&knows), Arc::clone(&asked));
                let instead = Arc::clone(&instead);
                std::thread::spawn(move || {
                    let Some(request) = read(&line) else { return };
                    asked.lock().unwrap().push(request.clone());
                    let mut knows = knows.lock().unwrap();
                    let told = instead
                        .lock()
                        .unwrap()
                        .as_mut()
                        .and_then(|answer| answer(&request, &mut knows));
                    let answer = told.unwrap_or_else(|| knows.answer(&request));
                    drop(knows);
                    write(line, answer);
                });
            }
        });
        it
    }

    /// From now on `answer` is asked first.
    pub fn instead(
        &self,
        answer: impl FnMut(&Asked, &mut Knows) -> Option<Answer> + Send + 'static,
    ) {
        *self.instead.lock().unwrap() = Some(Box::new(answer));
    }

    /// Everything that was meant to change something, in order.
    pub fn posts(&self) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|it| it.method == "POST")
            .cloned()
            .collect()
    }

    /// Whether `path` was asked for with this query.
    pub fn was_asked(&self, path: &str, query: &str) -> bool {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .any(|it| it.path == path && it.query.contains(query))
    }
}

fn read(line: &TcpStream) -> Option<Asked> {
    let mut from = BufReader::new(line);
    let mut first = String::new();
    from.read_line(&mut first).ok()?;
    let mut words = first.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut header = String::new();
        from.read_line(&mut header).ok()?;
        let header = header.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(bytes) = header.strip_prefix("content-length:") {
            length = bytes.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Some(Asked {
        method,
        path: path.strip_prefix("/api/v1").unwrap_or(path).to_owned(),
        query: query.to_owned(),
        body: String::from_utf8(body).ok()?,
    })
}

fn write(mut line: TcpStream, answer: Answer) {
    let (status, header, body) = match answer {
        Answer::Says(status, body) => (status, "", body),
        Answer::SaysWith(status, header, body) => (status, header, body),
        Answer::HangsUp => return,
    };
    let header = if header.is_empty() {
        String::new()
    } else {
        format!("{header}\r\n")
    };
    let length = body.len();
    // A console that went away does not read its answer.
    let _gone = write!(
        line,
        "HTTP/1.1 {status} Status\r\n{header}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
}

/// A console on the gateway alone, in a home that a test has prepared.
pub fn console(gateway: &StandIn, home: Capdeck) -> Screen {
    let arguments = ["attach", "--gateway", &gateway.url, "--as", "ann"];
    Screen::at_home(home, &arguments, &[])
}

/// What the screen says, whether a sentence is wrapped or not.
pub fn flat(screen: &Screen) -> String {
    let text = screen.text();
    let lines = text.lines().map(|line| line.trim_start_matches('▌').trim());
    lines.collect::<Vec<_>>().join(" ")
}

/// Waits until the screen says `sentence`, wrapped or not.
#[track_caller]
pub fn says(screen: &Screen, sentence: &str) {
    screen.until(sentence, |_| flat(screen).contains(sentence));
}

/// From the first screen to the review of the job, its payload seen.
#[track_caller]
pub fn open_review(screen: &Screen) {
    screen.shows("LIVE");
    screen.press("2");
    screen.until("the approval under the cursor", |text| {
        text.lines()
            .any(|line| line.starts_with('▌') && line.contains(TAIL))
    });
    screen.press("a");
    screen.shows("✓ payload seen");
}

/// Opens a dialog and types `text` into its first field, once it takes letters.
#[track_caller]
pub fn open_dialog(screen: &Screen, key: &str, title: &str, text: &str) {
    screen.press(key);
    screen.shows(title);
    let (first, rest) = text.split_at(1);
    let shown = format!("{first}▏");
    let deadline = Instant::now() + PATIENCE;
    while !screen.text().contains(&shown) {
        assert!(Instant::now() < deadline, "{}", screen.text());
        screen.press(first);
        std::thread::sleep(Duration::from_millis(500));
    }
    screen.press(rest);
    screen.shows(text);
}

/// Approves in the open review by keys: a note, then the end of the id.
#[track_caller]
pub fn approve(screen: &Screen, note: &str) {
    open_dialog(screen, "A", "Approve this job", note);
    screen.press("\r");
    screen.press(&format!("{LAST_FOUR}\r"));
}

/// Presses `A` again after a refusal: the note is still there.
#[track_caller]
pub fn approve_again(screen: &Screen) {
    screen.press("A");
    screen.shows("Approve this job");
    let deadline = Instant::now() + PATIENCE;
    // Too early they are ignored, all of them.
    while screen.text().contains("Approve this job") {
        assert!(Instant::now() < deadline, "{}", screen.text());
        std::thread::sleep(Duration::from_millis(600));
        screen.press(&format!("\r{LAST_FOUR}\r"));
        // Keys that come a second time would be taken by what is behind the dialog.
        let taken = Instant::now() + Duration::from_secs(3);
        while Instant::now() < taken && screen.text().contains("Approve this job") {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
