//! Schedulers of another make on the bus of a plane: those that can be known of are left
//! alone.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use capdeck::bus::nats::NatsBus;
use capdeck::bus::{Bus as _, LinkState, Pattern};
use capdeck::store::Store as _;
use capdeck::store::redis::RedisStore;
use capdeck::wire;
use capdeck::wire::encode::encode;
use capdeck::wire::packet::{Body, JobRequest, Packet};

use super::ground::Ground;
use crate::acting::Plane;
use crate::support::{
    Capdeck, NatsProcess, PATIENCE, Ran, RedisProcess, clock, eventually, link_is,
};

/// A server of which nobody may ask who listens.
const MUM: &str = "authorization { users: [
    {user: u, password: p, permissions: {publish: {deny: [\"$SYS.>\"]}}}
] }
no_auth_user: u";

const ALONE: [&str; 2] = ["--no-workers", "--no-traffic"];

/// What a scheduler of a CAP deployment subscribes to in its group, with JetStream.
async fn scheduler(url: &str) -> (async_nats::Client, async_nats::Subscriber) {
    let client = async_nats::ConnectOptions::new().name("cordum-bus");
    let client = client.connect(url).await.unwrap();
    let group = "cordum-scheduler".to_owned();
    let ear = client.queue_subscribe("sys.job.cancel", group).await;
    client.flush().await.unwrap();
    (client, ear.unwrap())
}

/// Starts a plane that should end by itself; one that does not is killed.
fn up(servers: &[&str]) -> Ran {
    let home = Capdeck::new();
    let mut child = home
        .command(&["up", "--http", "127.0.0.1:0"])
        .args(ALONE)
        .args(servers)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    tokio::task::block_in_place(|| {
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        // Ended or not, it has ended now.
        child.kill().ok();
        Ran::of(child.wait_with_output().unwrap())
    })
}

#[track_caller]
fn refused(ran: &Ran, words: &[&str]) {
    assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
    for words in words {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_in_the_group_of_schedulers_is_left_alone_unless_one_is_told_to_join() {
    let ground = Ground::new();
    let (nats, redis) = (ground.nats.url(), ground.redis.url());
    let theirs = scheduler(&nats).await;
    let words = [
        "the scheduler cordum-bus (127.0.0.1:",
        ") works on this bus",
        "--join",
    ];
    // It may keep its record on another Redis server.
    for servers in [
        &["--nats", &nats][..],
        &["--nats", &nats, "--redis", &redis],
    ] {
        refused(&up(servers), &words);
    }
    let joins = [&ALONE[..], &["--nats", &nats, "--join"]].concat();
    let beside = tokio::task::block_in_place(|| Plane::up(Capdeck::new(), &joins));
    // A plane of ours that shares no record is no scheduler that leaves.
    refused(&up(&["--nats", &nats, "--join"]), &["the plane capdeck-"]);
    drop(beside);
    drop(theirs);
    let bus = NatsBus::connect(&ground.nats.config(), clock()).unwrap();
    link_is(&bus, "a connection", |link| *link == LinkState::Up).await;
    let shared = Pattern::parse("sys.job.*").unwrap();
    eventually("its end", async || {
        let members = bus.members(&shared, "cordum-scheduler").await.unwrap();
        members.is_some_and(|it| it.is_empty()).then_some(())
    })
    .await;
    let free = [&ALONE[..], &["--nats", &nats]].concat();
    drop(tokio::task::block_in_place(|| {
        Plane::up(Capdeck::new(), &free)
    }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planes_with_two_records_never_work_on_one_bus() {
    let ground = Ground::new();
    let elsewhere = RedisProcess::start();
    let (nats, redis) = (ground.nats.url(), elsewhere.url());
    let there = ["--nats", &nats, "--redis", &redis];
    let joining = [&there[..], &["--join"]].concat();
    let first = tokio::task::block_in_place(|| ground.plane(&[]));
    first.leads();
    for servers in [&there[..], &joining] {
        let words = [
            "the plane capdeck-",
            " works on this bus, with a record on other servers",
            "give the same --redis URL to all",
        ];
        refused(&up(servers), &words);
    }
    let store = RedisStore::connect(&elsewhere.config(), clock()).unwrap();
    let left = store.keys("", 10).await.unwrap();
    assert_eq!(left, [] as [String; 0], "nothing is done there before");
    // Whoever shares the record may stand beside it, after the store forgot it too.
    let ours = RedisStore::connect(&ground.redis.config(), clock()).unwrap();
    assert!(ours.delete("capdeck:record").await.unwrap());
    let second = tokio::task::block_in_place(|| ground.plane(&["--join"]));
    assert!(second.says.contains("stands by for"), "{}", second.says);
    first.dies();
    second.dies();

    let starts = [&ALONE[..], &there].concat();
    let other = tokio::task::block_in_place(|| Plane::up(Capdeck::new(), &starts));
    drop(other);
    let alone = [&ALONE[..], &["--nats", &nats]].concat();
    let without = tokio::task::block_in_place(|| Plane::up(Capdeck::new(), &alone));
    let words = [" works on this bus, with no record that it shares"];
    refused(&up(&joining), &words);
    drop(without);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plane_without_keys_stands_beside_none_that_asks_for_them() {
    let ground = Ground::new();
    let (nats, redis) = (ground.nats.url(), ground.redis.url());
    let keys = [("CORDUM_API_KEYS", "acme:ka:admin:ada")];
    let first = tokio::task::block_in_place(|| ground.plane_where(&[], &keys));
    let words = [
        "on this record asks for API keys, and this one would obey everybody",
        "give it the same CORDUM_API_KEYS",
    ];
    refused(&up(&["--nats", &nats, "--redis", &redis, "--join"]), &words);
    let beside = tokio::task::block_in_place(|| ground.plane_where(&["--join"], &keys));
    assert!(beside.says.contains("stands by for"), "{}", beside.says);
    drop((first, beside));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_tells_who_listens_a_scheduler_is_known_by_what_it_sends() {
    let (_dir, server) = NatsProcess::configured(MUM);
    let url = server.url();
    let (client, _ear) = scheduler(&url).await;
    let request = JobRequest {
        job_id: "j-1".into(),
        topic: "job.a".to_owned(),
        ..JobRequest::default()
    };
    let body = Body::JobRequest(Box::new(request));
    let subject = wire::worker_jobs(&"w-1".into()).unwrap();
    let dispatch = |sender: &str| {
        let packet = Packet::new("t-1".into(), sender.into(), clock().now(), body.clone());
        encode(&subject, &packet).unwrap()
    };
    let packets = [dispatch("somebody-else"), dispatch(wire::SENDER_SCHEDULER)];
    let subject = subject.to_string();
    let says = tokio::spawn(async move {
        loop {
            for packet in &packets {
                client
                    .publish(subject.clone(), packet.clone())
                    .await
                    .unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let words = ["the scheduler cordum-scheduler works on this bus", "--join"];
    refused(&up(&["--nats", &url]), &words);
    says.abort();
}

#[test]
fn where_nobody_tells_who_listens_and_nothing_is_heard_a_plane_says_what_it_cannot_know() {
    let (_dir, server) = NatsProcess::configured(MUM);
    let home = Capdeck::new();
    let mut child = home
        .command(&["up", "--http", "127.0.0.1:0", "--nats", &server.url()])
        .args(ALONE)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut ready).unwrap();
    assert!(ready.starts_with("ready: "), "{ready}");
    child.kill().unwrap();
    child.wait().unwrap();
    let mut told = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut told).unwrap();
    let words = "warning: this NATS server does not tell who listens on it";
    assert!(told.contains(words), "{told}");
}

#[test]
fn the_help_of_up_says_which_schedulers_it_cannot_see() {
    let help = Capdeck::new().run(&["up", "--help"]);
    let told = help.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    let words = "one that sends nothing for two seconds is not seen";
    assert!(told.contains(words), "{told}");
}
