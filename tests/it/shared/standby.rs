//! What a caller of a plane that stands by sees of the one that leads, and who they are to
//! it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use capdeck::bus::nats::NatsBus;
use capdeck::bus::{Bus as _, LinkState, Pattern};
use capdeck::wire;
use capdeck::wire::decode::decode;
use capdeck::wire::packet::Body;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::ground::{Ground, POLICY, Plane, exchange, toil};
use crate::support::{PATIENCE, clock, link_is, run_peer, soon, wait_until};

/// Keys of two tenants, and one for all of them.
const KEYS: &str = "acme:ka:admin:ada, acme:kb:admin:bob, acme:ku:user:uma, acme:kv:viewer:vic, \
                    other:ko:admin:otto";

/// A leader and one that stands by, with the same keys.
fn two_with_keys(ground: &Ground) -> (Plane, Plane) {
    let keys = [("CORDUM_API_KEYS", KEYS)];
    let first = ground.plane_where(&[], &keys);
    first.leads();
    (first, ground.plane_where(&["--join"], &keys))
}

/// A call with a key, by somebody who says to be mallory.
fn call_as(plane: &Plane, key: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let headers = format!("X-API-Key: {key}\r\nX-Principal-Id: mallory\r\n");
    let body = Some(body).filter(|body| !body.is_null());
    let (head, body) = exchange(&plane.url, method, path, &headers, body).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(&body).unwrap())
}

/// The stream of a plane, to a client as small as it can be.
struct Stream(TcpStream);

impl Stream {
    fn open(plane: &Plane, headers: &str) -> Self {
        let url = &plane.url;
        let mut line = TcpStream::connect(url).unwrap();
        line.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET /api/v1/stream HTTP/1.1\r\nHost: {url}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        line.write_all(request.as_bytes()).unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            line.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self(line)
    }

    fn packet(&mut self) -> Value {
        loop {
            let mut head = [0; 2];
            self.0.read_exact(&mut head).unwrap();
            let len = match head[1] {
                126 => {
                    let mut long = [0; 2];
                    self.0.read_exact(&mut long).unwrap();
                    usize::from(u16::from_be_bytes(long))
                }
                len => usize::from(len),
            };
            let mut payload = vec![0; len];
            self.0.read_exact(&mut payload).unwrap();
            match head[0] & 0x0f {
                1 => return serde_json::from_slice(&payload).unwrap(),
                opcode => assert_eq!(opcode, 9, "only pings come between"),
            }
        }
    }

    /// Who sent the next packet of this kind, and about which job.
    fn next(&mut self, kind: &str) -> Value {
        loop {
            let packet = self.packet();
            if let Some(body) = packet.get(kind) {
                return json!({"sender": packet["senderId"], "job": body["jobId"]});
            }
        }
    }
}

#[test]
fn the_stream_of_a_plane_that_stands_by_shows_what_the_leader_publishes() {
    let ground = Ground::new();
    let _toilers = ground.toilers(1);
    let first = ground.plane(&[]);
    first.leads();
    let second = ground.plane(&["--join"]);
    let mut stream = Stream::open(&second, "");
    assert_eq!(first.post("/jobs", &toil("j-done")).0, 200);
    let heard = stream.next("jobRequest");
    assert_eq!(
        heard,
        json!({"sender": "api-gateway-http", "job": "j-done"})
    );
    let heard = stream.next("jobResult");
    assert_eq!(heard, json!({"sender": "toil-w0", "job": "j-done"}));
    let held = json!({"job_id": "j-held", "topic": "job.toil.run", "labels": {"ask": "yes"}});
    assert_eq!(second.post("/jobs", &held).0, 200);
    let no = json!({"reason": "not today"});
    assert_eq!(first.post("/approvals/j-held/reject", &no).0, 200);
    let dead = stream.next("jobResult");
    assert_eq!(dead, json!({"sender": "api-gateway", "job": "j-held"}));
}

#[test]
fn a_key_of_one_tenant_hears_of_its_jobs_also_where_the_record_is_not() {
    let ground = Ground::new();
    let _toilers = ground.toilers(1);
    let (first, second) = two_with_keys(&ground);
    // Asked for before the stream was opened, so that only the record tells whose it is.
    let slow = json!({"job_id": "j-mine", "topic": "job.toil.run", "labels": {"ask": "yes"}});
    assert_eq!(call_as(&first, "ku", "POST", "/jobs", &slow).0, 200);
    let mut stream = Stream::open(&second, "X-API-Key: ka\r\n");
    for id in ["j-theirs", "j-theirs-too"] {
        let (status, answer) = call_as(&first, "ko", "POST", "/jobs", &toil(id));
        assert_eq!(status, 200, "{answer}");
        wait_until("its end", || {
            let path = format!("/jobs/{id}");
            let (_, job) = call_as(&first, "ko", "GET", &path, &Value::Null);
            (job["state"] == "SUCCEEDED").then_some(())
        });
    }
    let no = json!({"reason": "not today"});
    let (status, answer) = call_as(&first, "ka", "POST", "/approvals/j-mine/reject", &no);
    assert_eq!(status, 200, "{answer}");
    // Heartbeats are nobody's, and what is another one's is not passed on.
    let heard = stream.packet();
    assert_eq!(heard["jobResult"]["jobId"], "j-mine", "{heard}");
}

#[test]
fn a_caller_is_to_the_leader_who_their_key_says_also_through_a_plane_that_stands_by() {
    let ground = Ground::new();
    let (first, second) = two_with_keys(&ground);
    let held = |id: &str| json!({"job_id": id, "topic": "job.toil.run", "principal_id": "boss", "labels": {"ask": "yes"}, "risk_tags": ["prod"]});
    let short = |(status, answer): (u16, Value)| match answer["code"].as_str() {
        Some(code) => format!("{status} {code}"),
        None => status.to_string(),
    };
    for (key, id, expected) in [
        ("kv", "j-1", "403 forbidden"),
        ("wrong", "j-1", "401 unauthorized"),
        ("ku", "j-1", "200"),
        ("kb", "j-2", "200"),
    ] {
        let told = short(call_as(&second, key, "POST", "/jobs", &held(id)));
        assert_eq!(told, expected, "{key} {id}");
    }
    for (key, path, expected) in [
        ("kv", "/approvals/j-1/approve", "403 forbidden"),
        ("ku", "/approvals/j-1/approve", "403 forbidden"),
        ("ko", "/approvals/j-1/approve", "403 tenant_access_denied"),
        ("kb", "/approvals/j-2/approve", "403 self_approval_denied"),
        ("kb", "/approvals/j-2/reject", "403 self_approval_denied"),
        ("kb", "/approvals/j-1/approve", "200"),
        (
            "ka",
            "/approvals/j-1/approve",
            "409 approval_already_resolved",
        ),
        ("ka", "/approvals/j-2/approve", "200"),
    ] {
        let note = json!({"note": "looked at"});
        let told = short(call_as(&second, key, "POST", path, &note));
        assert_eq!(told, expected, "{key} {path}");
    }
    for plane in [&first, &second] {
        let (_, job) = call_as(plane, "kv", "GET", "/jobs/j-1", &Value::Null);
        for (field, expected) in [
            ("submitted_by", "uma"),
            ("principal", "uma"),
            ("tenant", "acme"),
            ("approval_by", "bob"),
            ("approval_role", "admin"),
        ] {
            assert_eq!(job[field], expected, "{field}: {job}");
        }
        let theirs = call_as(plane, "ko", "GET", "/jobs/j-1", &Value::Null);
        assert_eq!(short(theirs), "403 tenant_access_denied");
        let (_, list) = call_as(plane, "ko", "GET", "/jobs", &Value::Null);
        assert_eq!(list["items"], json!([]));
    }
}

#[test]
fn an_answer_through_a_plane_that_stands_by_has_the_headers_of_the_leaders() {
    let ground = Ground::new();
    let first = ground.plane(&[]);
    first.leads();
    let second = ground.plane(&["--join"]);
    let header = |plane: &Plane, method: &str, path: &str, body: &Value, name: &str| {
        let own = "X-Request-Id: mine-7\r\n";
        let (head, _) = exchange(&plane.url, method, path, own, Some(body)).unwrap();
        assert!(head.contains("x-request-id: mine-7\r\n"), "{head}");
        let lines = head.lines();
        let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        values.next().map(str::to_owned)
    };
    // Asked for at the first one, known at the second.
    let traces = [&first, &second].map(|plane| {
        let kind = header(plane, "GET", "/jobs", &Value::Null, "content-type");
        assert_eq!(kind.as_deref(), Some("application/json"));
        header(plane, "POST", "/jobs", &toil("j-1"), "x-trace-id").expect("a trace")
    });
    assert_eq!(traces[0], traces[1]);
    let allowed = |plane| header(plane, "PUT", "/jobs", &Value::Null, "allow");
    assert_eq!(allowed(&first), allowed(&second));
    assert!(allowed(&second).is_some_and(|it| it.contains("POST")));
}

/// Signs what stands in a policy file.
fn sign(policy: &Path) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
    let text = std::fs::read(policy).unwrap();
    let signature = policy.with_extension("yaml.sig");
    std::fs::write(signature, pair.sign(&text).as_ref()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plane_whose_policy_is_not_signed_keeps_its_last_good_one_and_says_so() {
    let ground = Ground::new();
    let bus = NatsBus::connect(&ground.nats.config(), clock()).unwrap();
    link_is(&bus, "a connection", |link| *link == LinkState::Up).await;
    let alerts = Pattern::from(&wire::subject(wire::ALERT));
    let mut alerts = bus.subscribe(&alerts, None).await.unwrap();
    let pair = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
    let bytes = pair.public_key().as_ref().iter();
    let key: String = bytes.map(|byte| format!("{byte:02x}")).collect();
    let files = ["first.yaml", "second.yaml"].map(|name| ground.home.home().join(name));
    for file in &files {
        std::fs::write(file, POLICY).unwrap();
        sign(file);
    }
    let key = [("SAFETY_POLICY_PUBLIC_KEY", key.as_str())];
    let planes = tokio::task::block_in_place(|| {
        let policy = |n: usize| ["--policy", files[n].to_str().unwrap()];
        let first = ground.plane_where(&policy(0), &key);
        first.leads();
        [
            first,
            ground.plane_where(&[&policy(1)[..], &["--join"]].concat(), &key),
        ]
    });
    let told = |plane: &Plane| plane.get("/status")["policy"].clone();
    let before = planes.each_ref().map(told);
    for policy in &before {
        assert_eq!(
            (&policy["signed"], &policy["broken"]),
            (&json!(true), &Value::Null)
        );
    }
    assert_eq!(before[0]["snapshot"], before[1]["snapshot"]);
    // Somebody writes another policy over both, and can sign neither.
    let open = "version: v2\nrules: [{id: all, decision: allow}]\n";
    for n in [1, 0] {
        std::fs::write(&files[n], open).unwrap();
        let broken = tokio::task::block_in_place(|| {
            wait_until("what is broken", || {
                let policy = told(&planes[n]);
                policy["broken"].is_string().then_some(policy)
            })
        });
        assert_eq!(broken["snapshot"], before[n]["snapshot"]);
        let says = broken["broken"].as_str().unwrap();
        assert!(
            says.contains("the signature is not by the configured key"),
            "{says}"
        );
        let alert = soon("an alert", alerts.recv()).await.unwrap();
        let Body::Alert(alert) = decode(&alert).unwrap().body else {
            panic!("no alert");
        };
        assert!(
            alert.message.contains("the last good one stays in force"),
            "{}",
            alert.message
        );
        // The leader decides, whichever plane is asked.
        let held =
            json!({"job_id": format!("j-{n}"), "topic": "job.toil.run", "labels": {"ask": "yes"}});
        let (status, answer) = tokio::task::block_in_place(|| planes[1].post("/jobs", &held));
        assert_eq!(
            (status, &answer["status"]),
            (200, &json!("approval_required"))
        );
    }
    // Signed at the leader alone: the one that stands by says that its own differs.
    sign(&files[0]);
    tokio::task::block_in_place(|| {
        wait_until("the new policy", || {
            let policy = told(&planes[0]);
            let snapshot = policy["snapshot"].as_str().unwrap();
            (snapshot.starts_with("v2:") && policy["broken"].is_null()).then_some(())
        });
        wait_until("the difference", || {
            (planes[1].get("/status")["plane"]["policy_differs"] == true).then_some(())
        });
        assert_eq!(told(&planes[1])["snapshot"], before[1]["snapshot"]);
        assert!(told(&planes[1])["broken"].is_string());
    });
}

#[test]
fn a_stranger_who_reads_the_document_meets_nothing_untold_at_a_plane_that_stands_by() {
    let ground = Ground::new();
    let first = ground.plane(&[]);
    first.leads();
    let second = ground.plane(&["--join"]);
    let held = json!({"topic": "job.toil.run", "labels": {"ask": "yes"}});
    assert_eq!(second.post("/jobs", &held).0, 200);
    run_peer("interface.py", &[&format!("http://{}", second.url)]);
    let (leads, beside) = (first.get("/status"), second.get("/status"));
    assert_eq!(beside["plane"]["leads"], false);
    // Of jobs it knows nothing, which is not that there are none.
    for name in [
        "pipeline",
        "dead_letters",
        "counters",
        "circuit_breakers",
        "input_fail_open_total",
    ] {
        assert!(!leads[name].is_null(), "{name}: {leads}");
        assert_eq!(beside.get(name), None, "{name}: {beside}");
    }
}
