//! A gateway over a real listener, with a kernel that can be taken away.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use capdeck::bus::local::LocalBus;
use capdeck::bus::{Bus, Pattern, Subject, Subscription};
use capdeck::control_plane::gateway::{Gateway, Keyring, Options, Parts};
use capdeck::control_plane::kernel::explain::Explained;
use capdeck::control_plane::kernel::live::{PolicyHealth, PolicyKernel};
use capdeck::control_plane::kernel::policy::Policy;
use capdeck::control_plane::kernel::{KernelError, Question, SafetyKernel, Verdict};
use capdeck::control_plane::ledger::{Ledger, SharedLedger, Step};
use capdeck::control_plane::scheduler::placement::Routes;
use capdeck::control_plane::scheduler::plan::plan;
use capdeck::ids::PoolName;
use capdeck::store::Store;
use capdeck::store::memory::MemoryStore;
use capdeck::time::{BoxFuture, Clock, Elapsed, ManualClock, Timestamp};
use capdeck::wire::decode;
use capdeck::wire::packet::{Body, Packet, WireEnum as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::openapi::hold;

pub const POLICY: &str = "version: v1
rules:
  - {id: read, match: {labels: {mcp.action: read}}, decision: allow, reason: reading is fine}
  - id: hold
    match: {labels: {mcp.action: write}}
    decision: require_approval
    reason: look first
    constraints: {max_runtime_sec: 60}
    remediations: [{id: ro, title: Read only}]
  - {id: stop, match: {labels: {mcp.action: delete}}, decision: deny, reason: never}
  - {id: slow, match: {topics: [job.web.search]}, decision: throttle, reason: later}
  - {id: capped, match: {topics: ['job.batch.*']}, decision: allow_with_constraints, constraints: {max_runtime_sec: 120, max_retries: 1}}
";

/// A kernel that can be taken away.
#[derive(Debug)]
pub struct Scripted {
    pub policy: PolicyKernel,
    pub down: Mutex<bool>,
    /// How long a check takes.
    pub takes: Mutex<Elapsed>,
    clock: ManualClock,
}

impl Scripted {
    fn gone(&self) -> Option<KernelError> {
        let down = *self.down.lock().unwrap();
        down.then(|| KernelError::Unavailable("it is away".to_owned()))
    }
}

impl SafetyKernel for Scripted {
    fn check<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Verdict, KernelError>> {
        self.clock.advance(*self.takes.lock().unwrap());
        match self.gone() {
            Some(error) => Box::pin(async { Err(error) }),
            None => self.policy.check(question),
        }
    }

    fn simulate<'a>(
        &'a self,
        question: &'a Question,
    ) -> BoxFuture<'a, Result<Verdict, KernelError>> {
        match self.gone() {
            Some(error) => Box::pin(async { Err(error) }),
            None => self.policy.simulate(question),
        }
    }

    fn explain<'a>(
        &'a self,
        question: &'a Question,
    ) -> BoxFuture<'a, Result<Explained, KernelError>> {
        match self.gone() {
            Some(error) => Box::pin(async { Err(error) }),
            None => self.policy.explain(question),
        }
    }

    fn policy_in_force(&self) -> Option<Arc<Policy>> {
        self.policy.policy_in_force()
    }

    fn snapshots(&self) -> BoxFuture<'_, Result<Vec<String>, KernelError>> {
        match self.gone() {
            Some(error) => Box::pin(async { Err(error) }),
            None => self.policy.snapshots(),
        }
    }

    fn refresh(&self) -> BoxFuture<'_, ()> {
        self.policy.refresh()
    }

    fn health(&self) -> Option<PolicyHealth> {
        self.policy.health()
    }
}

pub struct Bench {
    pub gateway: Gateway,
    pub ledger: SharedLedger,
    pub bus: LocalBus,
    pub store: MemoryStore,
    pub clock: ManualClock,
    pub kernel: Arc<Scripted>,
    pub heard: Subscription,
    pub policy: PathBuf,
    pub _dir: tempfile::TempDir,
}

pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Value,
}

impl Reply {
    /// Status and code, as `403 policy_denied`.
    pub fn short(&self) -> String {
        match self.body["code"].as_str() {
            Some(code) => {
                assert_eq!(self.body["status"], self.status, "{}", self.body);
                assert!(self.body["error"].is_string(), "{}", self.body);
                format!("{} {code}", self.status)
            }
            None => self.status.to_string(),
        }
    }

    pub fn job_id(&self) -> String {
        self.body["job_id"].as_str().unwrap().to_owned()
    }
}

impl Bench {
    pub async fn start() -> Self {
        Self::with(Keyring::default()).await
    }

    pub async fn with(keys: Keyring) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let policy = dir.path().join("policy.yaml");
        std::fs::write(&policy, POLICY).unwrap();
        let clock = ManualClock::at(Timestamp::from_millis(1_767_225_600_000));
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let kernel = Arc::new(Scripted {
            policy: PolicyKernel::from_file(&policy, Arc::clone(&shared)).unwrap(),
            down: Mutex::new(false),
            takes: Mutex::default(),
            clock: clock.clone(),
        });
        let bus = LocalBus::new();
        let heard = bus
            .subscribe(&Pattern::parse(">").unwrap(), None)
            .await
            .unwrap();
        let store = MemoryStore::new(Arc::clone(&shared));
        let ledger: SharedLedger = Arc::new(Mutex::new(Ledger::new(1_000, 7)));
        let parts = Parts {
            bus: Arc::new(bus.clone()),
            store: Arc::new(store.clone()),
            clock: shared,
            ledger: Arc::clone(&ledger),
            kernel: kernel.clone(),
            routes: Arc::new(Routes::new([(
                "job.batch.*".to_owned(),
                vec![PoolName::from("batch")],
            )])),
            wake: Arc::default(),
            keeper: None,
        };
        let options = Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            keys,
            next_free_port: false,
        };
        let gateway = Gateway::start(parts, options).await.unwrap();
        Self {
            gateway,
            ledger,
            bus,
            store,
            clock,
            kernel,
            heard,
            policy,
            _dir: dir,
        }
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let reply = call(self.gateway.addr(), method, path, headers, body).await;
        hold(method, path, reply.status, &reply.body);
        reply
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        let text = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        self.send("POST", path, &[], text.as_bytes()).await
    }

    /// Lets the kernel read its file again.
    pub async fn refresh(&self) {
        self.kernel.policy.refresh().await;
    }

    /// Does what the ledger has to do now, as a scheduler would, without the outside.
    pub fn plan(&self) {
        let mut ledger = self.ledger.lock().unwrap();
        plan(&mut ledger, &Routes::default(), self.clock.now(), 1_000);
    }

    /// Does what the ledger has to do now, asks policy and hands jobs to workers, as a
    /// scheduler would. Returns what it did, such as `asked j1`.
    pub async fn schedule(&self) -> Vec<String> {
        let mut did = Vec::new();
        loop {
            let now = self.clock.now();
            let steps = {
                let mut ledger = self.ledger.lock().unwrap();
                plan(&mut ledger, &Routes::default(), now, 1_000)
            };
            let before = did.len();
            for step in steps {
                match step {
                    Step::Ask {
                        job,
                        ticket,
                        question,
                    } => {
                        let answer = self.kernel.check(&question).await;
                        let mut ledger = self.ledger.lock().unwrap();
                        ledger.answered(&job, ticket, answer, now);
                        did.push(format!("asked {job}"));
                    }
                    Step::Dispatch { job, attempt, .. } => {
                        let mut ledger = self.ledger.lock().unwrap();
                        ledger.dispatched(&job, attempt, now);
                        did.push(format!("dispatched {job}"));
                    }
                    _ => {}
                }
            }
            if did.len() == before {
                return did;
            }
        }
    }

    pub async fn submit(&self, body: Value) -> Reply {
        self.post("/api/v1/jobs", &body).await
    }

    /// Submits a job that waits for a person, and forgets what the bus heard.
    pub async fn hold(&mut self) -> String {
        let held = self
            .submit(json!({"topic":"job.mcp.update","labels":{"mcp.action":"write"}}))
            .await;
        assert_eq!(held.body["status"], "approval_required", "{}", held.body);
        assert_eq!(self.heard(), Vec::<String>::new());
        held.job_id()
    }

    pub async fn detail(&self, id: &str) -> Value {
        let reply = self.get(&format!("/api/v1/jobs/{id}")).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.body
    }

    /// What the bus heard since the last time, as `subject kind sender status`.
    pub fn heard(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for (subject, packet) in self.packets() {
            let more = match &packet.body {
                Body::JobResult(result) => {
                    format!(" {} {}", result.status.name(), result.error_code)
                }
                Body::JobCancel(cancel) => {
                    format!(" {} {}", cancel.requested_by, cancel.reason)
                }
                _ => String::new(),
            };
            let line = format!("{subject} {} {}{more}", packet.body.kind(), packet.sender);
            lines.push(line.trim_end().to_owned());
        }
        lines
    }

    /// The packets that the bus heard since the last time, with their subjects.
    pub fn packets(&mut self) -> Vec<(Subject, Packet)> {
        let mut packets = Vec::new();
        while let Some(delivery) = now_or_never(self.heard.recv()) {
            let delivery = delivery.expect("the bus lives");
            let packet = decode::decode(&delivery).unwrap();
            packets.push((delivery.subject, packet));
        }
        packets
    }

    pub async fn context(&self, id: &str) -> Option<Bytes> {
        self.store.get(&format!("ctx:{id}")).await.unwrap()
    }
}

fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let waker = std::task::Waker::noop();
    match future
        .as_mut()
        .poll(&mut std::task::Context::from_waker(waker))
    {
        std::task::Poll::Ready(it) => Some(it),
        std::task::Poll::Pending => None,
    }
}

pub async fn call(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        request.push_str(&format!("Host: {addr}\r\n"));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    // A gateway that refuses by the head alone may close before it read the body.
    let _refused_early = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _reset_after_answer = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8(answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
    Reply {
        status: head[9..12].parse().unwrap(),
        head: head.to_lowercase(),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
    }
}
