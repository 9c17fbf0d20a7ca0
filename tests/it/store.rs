//! What every store promises, asked of the one in memory and of a real
//! redis-server; then what only a server can show.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use capdeck::config::{Secret, Tls};
use capdeck::store::memory::MemoryStore;
use capdeck::store::redis::RedisStore;
use capdeck::store::{Scored, Store, StoreError, Write};
use capdeck::time::{Elapsed, ManualClock, Timestamp};

use crate::support::{
    Certificates, RedisProcess, chain, clock, eventually, failure, free_port, redis_at, soon,
};

/// Runs a promise against both implementations, each on a store of its own.
macro_rules! promises {
    ($($name:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let store = super::MemoryStore::new(super::clock());
                super::$name(std::sync::Arc::new(store)).await;
            })+
        }
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let server = super::RedisProcess::start();
                let store = super::RedisStore::connect(&server.config(), super::clock()).unwrap();
                super::$name(std::sync::Arc::new(store)).await;
            })+
        }
    };
}

promises!(
    bytes_come_back_as_they_were_written,
    a_value_with_a_time_to_live_goes_when_it_is_over,
    a_new_value_forgets_the_old_time_to_live,
    of_many_who_compare_and_set_one_wins,
    compare_and_set_writes_only_over_what_was_expected,
    whatever_is_deleted_is_gone,
    a_hash_keeps_the_fields_that_are_not_set,
    an_index_gives_the_newest_first,
    a_list_keeps_its_order,
    the_end_of_a_list_is_its_last_elements,
    a_key_of_another_shape_is_refused_by_name,
    a_commit_does_all_or_nothing,
    a_commit_that_is_done_twice_is_done_once,
    many_keys_are_read_in_their_order,
    keys_are_found_by_how_they_begin,
    what_is_not_there_is_empty_not_an_error,
);

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn bytes_come_back_as_they_were_written(store: Arc<dyn Store>) {
    for value in [vec![], b"\0\xff\r\n$-1".to_vec(), vec![7; 3_000_000]] {
        let value = Bytes::from(value);
        store.put("ctx:j1", value.clone(), None).await.unwrap();
        assert_eq!(store.len("ctx:j1").await.unwrap(), Some(value.len() as u64));
        assert_eq!(store.get("ctx:j1").await.unwrap(), Some(value));
    }
    store
        .put("ctx:ü \r\n*", bytes("odd key"), None)
        .await
        .unwrap();
    assert_eq!(
        store.get("ctx:ü \r\n*").await.unwrap(),
        Some(bytes("odd key"))
    );
}

/// One write of each kind.
fn writes() -> Vec<Write> {
    let ttl = Some(Elapsed::from_secs(60));
    let key = |key: &str| key.to_owned();
    let index = |member: &str, score| Write::Index {
        key: key("job:recent"),
        member: member.to_owned(),
        score,
    };
    let member = |member: &str| Write::Member {
        key: key("trace:t1"),
        member: key(member),
        ttl,
    };
    vec![
        Write::Put {
            key: key("job:req:j1"),
            value: bytes("\0\u{fe}"),
            ttl,
        },
        Write::Delete { key: key("old") },
        Write::Fields {
            key: key("job:meta:j1"),
            fields: vec![(key("state"), key("RUNNING")), (key("topic"), key("job.a"))],
            ttl,
        },
        Write::Fields {
            key: key("nothing"),
            fields: Vec::new(),
            ttl,
        },
        index("j1", 10),
        index("j2", 20),
        index("j3", 30),
        index("j4", 40),
        Write::Unindex {
            key: key("job:recent"),
            member: key("j4"),
        },
        Write::Newest {
            key: key("job:recent"),
            keep: 2,
        },
        member("j1"),
        member("j2"),
        member("j3"),
        member("j2"),
        Write::Unmember {
            key: key("trace:t1"),
            member: key("j3"),
        },
        Write::Unmember {
            key: key("no trace"),
            member: key("j3"),
        },
        Write::Member {
            key: key("left by all"),
            member: key("j1"),
            ttl: None,
        },
        Write::Unmember {
            key: key("left by all"),
            member: key("j1"),
        },
        Write::List {
            key: key("job:events:j1"),
            elements: vec![bytes("one"), bytes("two")],
            ttl,
        },
        Write::Window {
            key: key("counts"),
            members: vec![(key("late"), 20), (key("later"), 30), (key("early"), 10)],
            from: 20,
            ttl: Elapsed::from_secs(60),
        },
        Write::Window {
            key: key("no members"),
            members: vec![(key("early"), 10)],
            from: 11,
            ttl: Elapsed::from_secs(60),
        },
        Write::List {
            key: key("no elements"),
            elements: Vec::new(),
            ttl: None,
        },
    ]
}

async fn is_written(store: &dyn Store) {
    let read = store.get("job:req:j1").await.unwrap();
    assert_eq!(read, Some(bytes("\0\u{fe}")));
    assert_eq!(store.len("old").await.unwrap(), None);
    let meta = store.hash("job:meta:j1").await.unwrap();
    assert_eq!(meta["state"], "RUNNING");
    assert_eq!(meta["topic"], "job.a");
    assert_eq!(meta["tenant"], "acme", "the others stay");
    let newest = store.newest("job:recent", 9).await.unwrap();
    let newest: Vec<_> = newest.iter().map(|it| it.member.as_str()).collect();
    assert_eq!(newest, ["j3", "j2"]);
    let events = store.list("job:events:j1").await.unwrap();
    assert_eq!(events, [bytes("one"), bytes("two")]);
    let mut members = store.members("trace:t1", 9).await.unwrap();
    members.sort();
    assert_eq!(members, ["j1", "j2"]);
    assert_eq!(store.members("trace:t1", 1).await.unwrap().len(), 1);
    assert_eq!(store.members("nothing", 9).await.unwrap(), [""; 0]);
    assert!(store.members("job:recent", 9).await.is_err());
    let counts = store.newest("counts", 9).await.unwrap();
    let counts: Vec<_> = counts.iter().map(|it| (&*it.member, it.score)).collect();
    assert_eq!(counts, [("later", 30), ("late", 20)]);
    for none in [
        "nothing",
        "no elements",
        "no members",
        "no trace",
        "left by all",
    ] {
        assert!(!store.delete(none).await.unwrap(), "{none} is a key");
    }
}

async fn a_commit_does_all_or_nothing(store: Arc<dyn Store>) {
    store.put("epoch", bytes("7 me"), None).await.unwrap();
    store.put("old", bytes("x"), None).await.unwrap();
    store
        .hash_put("job:meta:j1", &[("tenant", "acme")])
        .await
        .unwrap();
    let writes = writes();
    for (key, other) in [("epoch", "8 you"), ("epoch", ""), ("no such key", "7 me")] {
        let guard = (key, other.as_bytes());
        assert!(
            !store.commit(guard, &writes).await.unwrap(),
            "{key} {other}"
        );
    }
    assert_eq!(store.get("job:req:j1").await.unwrap(), None);
    assert_eq!(store.get("old").await.unwrap(), Some(bytes("x")));
    assert!(store.newest("job:recent", 9).await.unwrap().is_empty());

    assert!(store.commit(("epoch", b"7 me"), &writes).await.unwrap());
    is_written(&*store).await;
    // Nothing to write still tells whether the guard holds.
    assert!(store.commit(("epoch", b"7 me"), &[]).await.unwrap());
    assert!(!store.commit(("epoch", b"8 you"), &[]).await.unwrap());
}

async fn a_commit_that_is_done_twice_is_done_once(store: Arc<dyn Store>) {
    store.put("epoch", bytes("7 me"), None).await.unwrap();
    store
        .hash_put("job:meta:j1", &[("tenant", "acme")])
        .await
        .unwrap();
    for _ in 0..2 {
        assert!(store.commit(("epoch", b"7 me"), &writes()).await.unwrap());
        is_written(&*store).await;
    }
    // Times to live begin anew, and a list that is set is not what it was.
    let short = Write::List {
        key: "job:events:j1".to_owned(),
        elements: vec![bytes("three")],
        ttl: Some(Elapsed::from_millis(50)),
    };
    let fields = Write::Fields {
        key: "job:meta:j1".to_owned(),
        fields: vec![("state".to_owned(), "DENIED".to_owned())],
        ttl: Some(Elapsed::from_millis(50)),
    };
    let window = Write::Window {
        key: "counts".to_owned(),
        members: Vec::new(),
        from: 0,
        ttl: Elapsed::from_millis(50),
    };
    let again = [short, fields, window];
    let again = store.commit(("epoch", b"7 me"), &again).await;
    assert!(again.unwrap());
    eventually("all gone", async || {
        let list = store.list("job:events:j1").await.unwrap();
        let hash = store.hash("job:meta:j1").await.unwrap();
        let index = store.newest("counts", 9).await.unwrap();
        (list.is_empty() && hash.is_empty() && index.is_empty()).then_some(())
    })
    .await;
}

async fn many_keys_are_read_in_their_order(store: Arc<dyn Store>) {
    store.put("b", bytes("2"), None).await.unwrap();
    store.put("a", bytes("1"), None).await.unwrap();
    store.index_put("index", "j1", 1).await.unwrap();
    let keys = ["b", "none", "a", "index", "b"].map(str::to_owned);
    let read = store.get_many(&keys).await.unwrap();
    let (a, b) = (Some(bytes("1")), Some(bytes("2")));
    assert_eq!(read, [b.clone(), None, a, None, b]);
    assert!(store.get_many(&[]).await.unwrap().is_empty());
}

async fn keys_are_found_by_how_they_begin(store: Arc<dyn Store>) {
    for n in 0..2_500 {
        store
            .put(&format!("other:{n}"), bytes("x"), None)
            .await
            .unwrap();
    }
    for key in ["at:*:1", "at:*:2", "at:x:1", "at", "bat:*:1"] {
        store.put(key, bytes("x"), None).await.unwrap();
    }
    let mut found = store.keys("at:*:", 10).await.unwrap();
    found.sort();
    assert_eq!(found, ["at:*:1", "at:*:2"], "a star is a star");
    assert_eq!(store.keys("at:", 10).await.unwrap().len(), 3);
    assert_eq!(store.keys("at:", 1).await.unwrap().len(), 1);
    assert!(store.keys("none:", 10).await.unwrap().is_empty());
}

async fn a_value_with_a_time_to_live_goes_when_it_is_over(store: Arc<dyn Store>) {
    let ttl = Some(Elapsed::from_millis(150));
    let began = Instant::now();
    store.put("a", bytes("short"), ttl).await.unwrap();
    assert!(
        store
            .compare_and_set("b", None, bytes("short"), ttl)
            .await
            .unwrap(),
        "there was none"
    );
    for key in ["a", "b"] {
        eventually("its end", async || {
            store.get(key).await.unwrap().is_none().then_some(())
        })
        .await;
        assert_eq!(store.len(key).await.unwrap(), None);
        assert!(!store.delete(key).await.unwrap());
    }
    assert!(began.elapsed() >= Duration::from_millis(150), "not before");
}

async fn a_new_value_forgets_the_old_time_to_live(store: Arc<dyn Store>) {
    let short = Some(Elapsed::from_millis(50));
    store.put("a", bytes("1"), short).await.unwrap();
    store.put("a", bytes("2"), None).await.unwrap();
    store.put("b", bytes("1"), short).await.unwrap();
    eventually("the end of another", async || {
        store.get("b").await.unwrap().is_none().then_some(())
    })
    .await;
    assert_eq!(store.get("a").await.unwrap(), Some(bytes("2")));
}

async fn of_many_who_compare_and_set_one_wins(store: Arc<dyn Store>) {
    for round in 0..20 {
        let key: Arc<str> = format!("decision:{round}").into();
        let expected = (round % 2 == 1).then(|| bytes("open"));
        if let Some(open) = &expected {
            store.put(&key, open.clone(), None).await.unwrap();
        }
        let racers: Vec<_> = (0..50)
            .map(|racer| {
                let (store, key) = (Arc::clone(&store), Arc::clone(&key));
                let expected = expected.clone();
                tokio::spawn(async move {
                    let value = Bytes::from(format!("racer {racer}"));
                    let won = store
                        .compare_and_set(&key, expected.as_deref(), value.clone(), None)
                        .await
                        .unwrap();
                    won.then_some(value)
                })
            })
            .collect();
        let mut winners = Vec::new();
        for racer in racers {
            winners.extend(racer.await.unwrap());
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(store.get(&key).await.unwrap().as_ref(), winners.first());
    }
}

async fn compare_and_set_writes_only_over_what_was_expected(store: Arc<dyn Store>) {
    let set = async |expected: Option<&str>, value: &str| {
        let expected = expected.map(str::as_bytes);
        store
            .compare_and_set("k", expected, bytes(value), None)
            .await
            .unwrap()
    };
    assert!(!set(Some(""), "x").await, "nothing is not the empty value");
    assert!(!set(Some("a"), "x").await);
    assert!(set(None, "").await);
    assert!(!set(None, "x").await, "the empty value is not nothing");
    assert!(set(Some(""), "a").await);
    assert!(!set(Some("A"), "x").await);
    assert!(set(Some("a"), "b").await);
    assert_eq!(store.get("k").await.unwrap(), Some(bytes("b")));
}

async fn whatever_is_deleted_is_gone(store: Arc<dyn Store>) {
    store.put("value", bytes("1"), None).await.unwrap();
    store.hash_put("hash", &[("f", "1")]).await.unwrap();
    store.index_put("index", "m", 1).await.unwrap();
    store.list_push("list", bytes("1")).await.unwrap();
    for key in ["value", "hash", "index", "list"] {
        assert!(store.delete(key).await.unwrap(), "{key}");
        assert!(!store.delete(key).await.unwrap(), "{key}");
        assert_eq!(store.get(key).await.unwrap(), None, "{key}");
    }
}

async fn a_hash_keeps_the_fields_that_are_not_set(store: Arc<dyn Store>) {
    store
        .hash_put("job:meta:1", &[("state", "PENDING"), ("topic", "job.a")])
        .await
        .unwrap();
    store
        .hash_put("job:meta:1", &[("state", "RUNNING"), ("", "\u{1b}[31m")])
        .await
        .unwrap();
    store.hash_put("job:meta:1", &[]).await.unwrap();
    let fields = store.hash("job:meta:1").await.unwrap();
    let fields: Vec<_> = fields
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(
        fields,
        [("", "\u{1b}[31m"), ("state", "RUNNING"), ("topic", "job.a")]
    );
}

async fn an_index_gives_the_newest_first(store: Arc<dyn Store>) {
    let micros = 1_767_225_600_000_001;
    for (member, score) in [
        ("b", micros),
        ("a", micros),
        ("new", micros + 1),
        ("old", -5),
    ] {
        store.index_put("job:recent", member, score).await.unwrap();
    }
    store
        .index_put("job:recent", "old", micros - 1)
        .await
        .unwrap();
    let newest = async |limit| {
        let found: Vec<Scored> = store.newest("job:recent", limit).await.unwrap();
        found
            .into_iter()
            .map(|s| (s.member, s.score - micros))
            .collect::<Vec<_>>()
    };
    let all = [("new", 1), ("b", 0), ("a", 0), ("old", -1)].map(|(m, s)| (m.to_owned(), s));
    assert_eq!(newest(usize::MAX).await, all);
    assert_eq!(newest(2).await, all[..2]);
    assert_eq!(newest(0).await, []);
    for (skip, limit) in [(0, 2), (1, 1), (1, 9), (9, 9), (usize::MAX, usize::MAX)] {
        let part = store.newest_after("job:recent", skip, limit).await.unwrap();
        let part = part.into_iter().map(|it| (it.member, it.score - micros));
        let part: Vec<_> = part.collect();
        let expected: Vec<_> = all.iter().skip(skip).take(limit).cloned().collect();
        assert_eq!(part, expected, "{skip} {limit}");
    }
}

async fn a_list_keeps_its_order(store: Arc<dyn Store>) {
    for n in 0..100 {
        store
            .list_push("job:events:1", bytes(&n.to_string()))
            .await
            .unwrap();
    }
    let expected: Vec<_> = (0..100).map(|n| bytes(&n.to_string())).collect();
    assert_eq!(store.list("job:events:1").await.unwrap(), expected);
}

async fn the_end_of_a_list_is_its_last_elements(store: Arc<dyn Store>) {
    for n in 0..5 {
        let element = bytes(&n.to_string());
        store.list_push("job:events:1", element).await.unwrap();
    }
    let end = async |limit| store.list_end("job:events:1", limit).await.unwrap();
    let all: Vec<_> = (0..5).map(|n| bytes(&n.to_string())).collect();
    assert_eq!(end(2).await, all[3..]);
    assert_eq!(end(5).await, all);
    assert_eq!(end(usize::MAX).await, all);
    assert_eq!(end(0).await, all[5..]);
}

async fn a_key_of_another_shape_is_refused_by_name(store: Arc<dyn Store>) {
    store.hash_put("h", &[("f", "1")]).await.unwrap();
    store.put("v", bytes("1"), None).await.unwrap();
    let refusals = [
        failure(store.get("h").await),
        failure(store.len("h").await),
        failure(store.compare_and_set("h", None, bytes("x"), None).await),
        failure(store.hash("v").await),
        failure(store.hash_put("v", &[("f", "1")]).await),
        failure(store.newest("v", 1).await),
        failure(store.index_put("v", "m", 1).await),
        failure(store.list("v").await),
        failure(store.list_end("v", 1).await),
        failure(store.list_push("h", bytes("x")).await),
    ];
    for refusal in refusals {
        let StoreError::Refused { what, .. } = &refusal else {
            panic!("{refusal:?}")
        };
        assert!(what.ends_with("`h`") || what.ends_with("`v`"), "{what}");
    }
    store.put("h", bytes("a value now"), None).await.unwrap();
    assert_eq!(store.get("h").await.unwrap(), Some(bytes("a value now")));
}

async fn what_is_not_there_is_empty_not_an_error(store: Arc<dyn Store>) {
    assert_eq!(store.get("x").await.unwrap(), None);
    assert_eq!(store.len("x").await.unwrap(), None);
    assert!(store.hash("x").await.unwrap().is_empty());
    assert!(store.newest("x", 5).await.unwrap().is_empty());
    assert!(store.list("x").await.unwrap().is_empty());
    assert!(store.list_end("x", 5).await.unwrap().is_empty());
    assert!(!store.delete("x").await.unwrap());
}

#[tokio::test]
async fn the_memory_store_ages_by_its_clock_alone() {
    let time = ManualClock::at(Timestamp::from_millis(0));
    let store = MemoryStore::new(Arc::new(time.clone()));
    let second = Some(Elapsed::from_secs(1));
    store.put("a", bytes("1"), second).await.unwrap();
    time.advance(Elapsed::from_millis(999));
    assert!(store.get("a").await.unwrap().is_some());
    time.advance(Elapsed::from_millis(1));
    assert!(store.get("a").await.unwrap().is_none());
    let again = store.compare_and_set("a", None, bytes("2"), second).await;
    assert!(again.unwrap(), "what is over is not there");
}

#[tokio::test]
async fn a_full_memory_store_refuses_and_has_room_again() {
    let time = ManualClock::at(Timestamp::from_millis(0));
    let store = MemoryStore::with_capacity(Arc::new(time.clone()), 2_000);
    let kilobyte = Bytes::from(vec![0; 1_000]);
    let minute = Some(Elapsed::from_secs(60));
    store.put("a", kilobyte.clone(), minute).await.unwrap();
    let full = failure(store.put("b", kilobyte.clone(), None).await);
    assert_eq!(
        chain(&full),
        "the store at memory: refused to write `b`: its 2000 bytes are used up"
    );
    let replaced = Bytes::from(vec![1; 1_500]);
    store.put("a", replaced, minute).await.unwrap();
    for n in 0..100 {
        if store.list_push("l", bytes(&n.to_string())).await.is_err() {
            assert!((1..10).contains(&n), "{n}");
            break;
        }
        assert!(n < 99, "lists count too");
    }
    time.advance(Elapsed::from_secs(60));
    store.put("b", kilobyte, None).await.unwrap();
}

#[tokio::test]
async fn a_dead_server_is_an_error_within_three_seconds() {
    let config = redis_at(&format!("redis://127.0.0.1:{}", free_port()));
    let store = RedisStore::connect(&config, clock()).unwrap();
    for _ in 0..3 {
        let began = Instant::now();
        let dead = failure(store.get("a").await);
        assert!(matches!(dead, StoreError::Unreachable { .. }), "{dead:?}");
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "{:?}",
            began.elapsed()
        );
    }
}

#[tokio::test]
async fn a_silent_server_is_an_error_within_three_seconds() {
    // The kernel takes the connection, and nobody ever reads from it.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let config = redis_at(&format!("redis://{}", silent.local_addr().unwrap()));
    let store = RedisStore::connect(&config, clock()).unwrap();
    let began = Instant::now();
    let dead = failure(store.put("a", bytes("1"), None).await);
    assert!(matches!(dead, StoreError::Unreachable { .. }), "{dead:?}");
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_server_that_comes_back_is_used_by_the_very_next_call() {
    let mut server = RedisProcess::start();
    let store = RedisStore::connect(&server.config(), clock()).unwrap();
    store.put("a", bytes("1"), None).await.unwrap();
    for _ in 0..3 {
        server.stop();
        server.restart();
        soon("an answer", store.get("a")).await.unwrap();
        server.stop();
        let dead = failure(store.get("a").await);
        assert!(matches!(dead, StoreError::Unreachable { .. }), "{dead:?}");
        server.restart();
        let won = soon(
            "an answer",
            store.compare_and_set("b", None, bytes("1"), None),
        )
        .await;
        assert!(won.unwrap());
    }
}

#[tokio::test]
async fn a_password_opens_the_door_and_is_never_shown() {
    let server = RedisProcess::start_with(&["--requirepass", "sesame"]);
    let mut config = server.config();
    config.password = Some(Secret::new("sesame"));
    let store = RedisStore::connect(&config, clock()).unwrap();
    store.put("a", bytes("1"), None).await.unwrap();

    let in_url = server.url().replace("redis://", "redis://:sesame@");
    let store = RedisStore::connect(&redis_at(&in_url), clock()).unwrap();
    assert_eq!(store.get("a").await.unwrap(), Some(bytes("1")));
    assert!(!format!("{store:?} {}", store.url()).contains("sesame"));

    config.password = Some(Secret::new("wrong-word"));
    let store = RedisStore::connect(&config, clock()).unwrap();
    let refused = failure(store.get("a").await);
    assert!(matches!(refused, StoreError::Refused { .. }), "{refused:?}");
    assert!(!format!("{refused:?} {}", chain(&refused)).contains("wrong-word"));
}

#[tokio::test]
async fn an_encrypted_line_is_trusted_by_its_authority_alone() {
    let made = Certificates::make();
    let [cert, key, ca] = ["server.pem", "server.key", "ca.pem"].map(|f| made.argument(f));
    let port = free_port().to_string();
    let server = RedisProcess::start_with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
    ]);
    let tls = |ca: &str, client: bool| Tls {
        ca: Some(made.path(ca)),
        cert: client.then(|| made.path("client.pem")),
        key: client.then(|| made.path("client.key")),
    };
    for (tls, fits) in [
        (tls("ca.pem", true), true),
        (tls("stranger.pem", true), false),
        // This server asks for a certificate of ours.
        (tls("ca.pem", false), false),
    ] {
        let mut config = redis_at(&format!("rediss://127.0.0.1:{port}"));
        config.tls = tls;
        let store = RedisStore::connect(&config, clock()).unwrap();
        let put = store.put("a", bytes("1"), None).await;
        assert_eq!(put.is_ok(), fits, "{:?}: {put:?}", config.tls);
    }
    drop(server);
}
