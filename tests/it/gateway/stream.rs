//! The WebSocket stream, spoken by hand: what is heard on the bus comes through, to
//! those who may hear it.

use capdeck::bus::{Bus, Subject};
use capdeck::control_plane::gateway::Keyring;
use capdeck::ids::{JobId, SenderId, TraceId, WorkerId};
use capdeck::time::{Clock, Elapsed};
use capdeck::wire::encode::encode;
use capdeck::wire::packet::{Body, Heartbeat, JobProgress, JobResult, JobStatus, Packet};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::bench::Bench;

/// A WebSocket client as small as it can be.
struct Client {
    line: TcpStream,
    head: String,
}

impl Client {
    async fn open(bench: &Bench, query: &str, headers: &[(&str, &str)]) -> Self {
        let addr = bench.gateway.addr();
        let mut request = format!(
            "GET /api/v1/stream{query} HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        if !headers.iter().any(|(name, _)| *name == "Host") {
            request.push_str(&format!("Host: {addr}\r\n"));
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        let mut line = TcpStream::connect(addr).await.unwrap();
        line.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(line.read_u8().await.unwrap());
        }
        Self {
            line,
            head: String::from_utf8(head).unwrap(),
        }
    }

    fn status(&self) -> &str {
        &self.head[9..12]
    }

    /// The next frame: its opcode and what it carries; `None` when the line is cut.
    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let opcode = self.line.read_u8().await.ok()? & 0x0f;
        let len = match self.line.read_u8().await.ok()? {
            126 => u64::from(self.line.read_u16().await.ok()?),
            127 => self.line.read_u64().await.ok()?,
            len => u64::from(len),
        };
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        self.line.read_exact(&mut payload).await.ok()?;
        Some((opcode, payload))
    }

    async fn packet(&mut self) -> Value {
        let (opcode, payload) = self.frame().await.expect("a frame");
        assert_eq!(opcode, 1, "{payload:?}");
        serde_json::from_slice(&payload).unwrap()
    }
}

async fn say(bench: &Bench, subject: &str, body: Body) {
    let subject = Subject::parse(subject).unwrap();
    let now = bench.clock.now();
    let packet = Packet::new(TraceId::from("t"), SenderId::from("w-1"), now, body);
    let bytes = encode(&subject, &packet).unwrap();
    bench.bus.publish(&subject, bytes).await.unwrap();
}

fn progress(id: &str, percent: i32, message: String) -> Body {
    Body::JobProgress(Box::new(JobProgress {
        job_id: JobId::from(id),
        percent,
        message,
        ..JobProgress::default()
    }))
}

fn heartbeat() -> Body {
    Body::Heartbeat(Box::new(Heartbeat {
        worker_id: WorkerId::from("w-1"),
        ..Heartbeat::default()
    }))
}

#[tokio::test]
async fn what_is_heard_on_the_bus_comes_through_as_protojson() {
    let bench = Bench::start().await;
    let mut client = Client::open(&bench, "", &[]).await;
    assert_eq!(client.status(), "101", "{}", client.head);
    say(&bench, "sys.heartbeat", heartbeat()).await;
    let heard = client.packet().await;
    assert_eq!(heard["heartbeat"], json!({"workerId": "w-1"}));
    assert_eq!(heard["senderId"], "w-1");
    let job = bench
        .submit(json!({"topic": "job.a", "labels": {"mcp.action": "read"}}))
        .await;
    let heard = client.packet().await;
    assert_eq!(heard["jobRequest"]["jobId"], job.body["job_id"]);
    say(&bench, "sys.job.progress", progress("j", 40, String::new())).await;
    assert_eq!(client.packet().await["jobProgress"]["percent"], 40);
    let status = bench.get("/api/v1/status").await.body;
    assert_eq!(status["active_ws_clients"], 1);
    bench.gateway.shutdown().await;
    let (opcode, payload) = client.frame().await.expect("a goodbye");
    assert_eq!((opcode, &payload[2..]), (8, &b"the gateway ends"[..]));
    assert_eq!(client.frame().await, None);
}

#[tokio::test]
async fn what_a_denied_job_left_is_not_pointed_at() {
    let bench = Bench::start().await;
    let mut client = Client::open(&bench, "", &[]).await;
    for (status, expected) in [
        (JobStatus::Denied, Value::Null),
        (JobStatus::Failed, json!("redis://res:j")),
    ] {
        let result = JobResult {
            job_id: JobId::from("j"),
            worker_id: WorkerId::from("w-1"),
            status,
            result_ptr: "redis://res:j".to_owned(),
            ..JobResult::default()
        };
        say(&bench, "sys.job.result", Body::JobResult(Box::new(result))).await;
        assert_eq!(client.packet().await["jobResult"]["resultPtr"], expected);
    }
}

#[tokio::test]
async fn there_is_room_for_so_many_listeners_and_a_place_is_free_again_when_one_goes() {
    let bench = Bench::start().await;
    let mut clients = Vec::new();
    for _ in 0..64 {
        clients.push(Client::open(&bench, "", &[]).await);
    }
    assert!(clients.iter().all(|client| client.status() == "101"));
    let one_more = Client::open(&bench, "", &[]).await;
    assert_eq!(one_more.status(), "503");
    let mut last = clients.pop().unwrap();
    // A goodbye, masked with zeros as clients have to.
    last.line
        .write_all(&[0x88, 0x80, 0, 0, 0, 0])
        .await
        .unwrap();
    while last.frame().await.is_some() {}
    let after = Client::open(&bench, "", &[]).await;
    assert_eq!(after.status(), "101");
}

#[tokio::test]
async fn the_stream_opens_to_keys_only_and_never_to_pages_of_others() {
    let keys = Keyring::parse("acme:ka:admin, acme:kv:viewer").unwrap();
    let bench = Bench::with(keys).await;
    // `ka` in base64 for URLs.
    for (headers, expected) in [
        (vec![], "401"),
        (vec![("X-API-Key", "wrong")], "401"),
        (vec![("X-API-Key", "kv")], "403"),
        (vec![("X-API-Key", "ka")], "101"),
        (
            vec![("Sec-WebSocket-Protocol", "cordum-api-key, a2E")],
            "101",
        ),
        (
            vec![("Sec-WebSocket-Protocol", "cordum-api-key, a2F")],
            "401",
        ),
        (
            vec![("Sec-WebSocket-Protocol", "cordum-api-key.a2E")],
            "101",
        ),
        (
            vec![("Sec-WebSocket-Protocol", "cordum-api-key.a2F")],
            "401",
        ),
        (
            vec![("X-API-Key", "ka"), ("Origin", "http://evil.example")],
            "403",
        ),
        (vec![("X-API-Key", "ka"), ("Host", "evil.example")], "403"),
    ] {
        let client = Client::open(&bench, "", &headers).await;
        assert_eq!(client.status(), expected, "{headers:?}");
        // One that the client offers, or a browser would hang up.
        let offered = headers.iter().find(|(name, _)| name.starts_with("Sec-"));
        if let Some((_, offered)) = offered.filter(|_| expected == "101") {
            let chosen = offered.split(',').next().unwrap();
            let line = format!("sec-websocket-protocol: {chosen}\r\n");
            assert!(client.head.contains(&line), "{}", client.head);
        }
    }
    let other = Client::open(&bench, "?tenant_id=other", &[("X-API-Key", "ka")]).await;
    assert_eq!(other.status(), "403");
    let plain = bench
        .send("GET", "/api/v1/stream", &[("X-API-Key", "ka")], b"")
        .await;
    assert_eq!(plain.short(), "426 upgrade_required");
}

#[tokio::test]
async fn a_key_of_one_tenant_hears_of_its_jobs_alone() {
    let keys = Keyring::parse("acme:ka:admin, other:ko:admin").unwrap();
    let bench = Bench::with(keys).await;
    let mut client = Client::open(&bench, "", &[("X-API-Key", "ka")]).await;
    let submit = async |key: &str| {
        let body = br#"{"topic":"job.a","labels":{"mcp.action":"read"}}"#;
        let headers = [("X-API-Key", key)];
        bench
            .send("POST", "/api/v1/jobs", &headers, body)
            .await
            .job_id()
    };
    let theirs = submit("ko").await;
    say(&bench, "sys.heartbeat", heartbeat()).await;
    say(
        &bench,
        "sys.job.progress",
        progress(&theirs, 1, String::new()),
    )
    .await;
    say(
        &bench,
        "sys.job.progress",
        progress("nobody", 2, String::new()),
    )
    .await;
    let mine = submit("ka").await;
    assert_eq!(client.packet().await["jobRequest"]["jobId"], mine);
    say(
        &bench,
        "sys.job.progress",
        progress(&mine, 3, String::new()),
    )
    .await;
    assert_eq!(client.packet().await["jobProgress"]["percent"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_keep_up_is_cut_and_hears_why_when_it_reads_again() {
    let bench = Bench::start().await;
    let mut client = Client::open(&bench, "", &[]).await;
    // More than any socket buffers for a client that reads nothing.
    let text = "x".repeat(64 << 10);
    let mut said = 0;
    for n in 0..2_000 {
        let more = progress("j", n % 100, text.clone());
        say(&bench, "sys.job.progress", more).await;
        said += 1;
        if bench.get("/api/v1/status").await.body["active_ws_clients"] == 0 {
            break;
        }
    }
    let status = bench.get("/api/v1/status").await.body;
    assert_eq!(status["active_ws_clients"], 0);
    assert!(said > 256, "as many frames may wait for it: {said}");
    let (code, reason) = loop {
        match client.frame().await {
            Some((8, payload)) => {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                break (code, payload[2..].to_vec());
            }
            Some(_) => {}
            None => panic!("cut without a word"),
        }
    };
    assert_eq!((code, reason), (1013, b"slow client".to_vec()));
    assert_eq!(client.frame().await, None);
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_cut() {
    let bench = Bench::start().await;
    let mut client = Client::open(&bench, "", &[]).await;
    // The gateway has begun to listen to it once a packet came through.
    say(&bench, "sys.heartbeat", heartbeat()).await;
    client.packet().await;
    bench.clock.advance(Elapsed::from_secs(30));
    let (opcode, _) = client.frame().await.expect("a ping");
    assert_eq!(opcode, 9);
    // A pong, masked with zeros as clients have to.
    client
        .line
        .write_all(&[0x8a, 0x80, 0, 0, 0, 0])
        .await
        .unwrap();
    let mut pings = 1;
    loop {
        // Answered after the pong was written, so the pong has been heard.
        bench.get("/api/v1/status").await;
        bench.clock.advance(Elapsed::from_secs(30));
        match client.frame().await {
            Some((9, _)) => pings += 1,
            Some((8, payload)) => {
                assert_eq!(&payload[2..], b"no answer to a ping");
                break;
            }
            Some(_) => {}
            None => panic!("cut without a word after {pings} pings"),
        }
    }
    assert!(pings >= 2, "its pong was heard");
}
