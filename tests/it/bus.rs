//! What every bus promises, asked of the in-process one and of a real
//! nats-server; then what only a line to a server can show.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use capdeck::bus::local::LocalBus;
use capdeck::bus::nats::NatsBus;
use capdeck::bus::{
    Bus, BusError, Encoding, LinkState, Pattern, SUBSCRIPTION_BUFFER, Subject, Subscription,
};
use capdeck::config::{NatsAuth, Secret, Tls};

mod members;

use crate::support::{
    Certificates, NatsProcess, PATIENCE, clock, failure, free_port, link_is, nats_at, soon,
};

/// Runs a promise against both implementations, each on a bus of its own.
macro_rules! promises {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        mod local {
            $($(#[$doc])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let bus = std::sync::Arc::new(super::LocalBus::new());
                super::$name(super::Buses { one: bus.clone(), other: bus }).await;
            })+
        }
        mod nats {
            $($(#[$doc])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let server = super::NatsProcess::start();
                let one = super::connected(&server).await;
                let other = super::connected(&server).await;
                super::$name(super::Buses { one, other }).await;
            })+
        }
    };
}

promises!(
    a_message_comes_as_it_was_sent,
    one_publisher_is_heard_in_order,
    wildcards_match_by_the_rules_of_nats,
    a_queue_group_shares_and_an_observer_hears_all,
    a_dropped_subscription_hears_no_more_and_leaves_its_group,
    a_subscription_hears_what_is_published_after_it_returned,
    a_slow_reader_loses_what_does_not_fit_and_the_loss_is_counted,
    what_is_no_subject_cannot_be_asked_for,
);

/// Two handles on one bus, as two processes would have them.
struct Buses {
    one: Arc<dyn Bus>,
    other: Arc<dyn Bus>,
}

async fn connected(server: &NatsProcess) -> Arc<NatsBus> {
    let bus = Arc::new(NatsBus::connect(&server.config(), clock()).unwrap());
    link_is(&*bus, "a connection", |link| *link == LinkState::Up).await;
    bus
}

fn subject(text: &str) -> Subject {
    Subject::parse(text).unwrap()
}

async fn hear(bus: &Arc<dyn Bus>, pattern: &str, queue: Option<&str>) -> Subscription {
    let pattern = Pattern::parse(pattern).unwrap();
    soon("a subscription", bus.subscribe(&pattern, queue))
        .await
        .unwrap()
}

async fn say(bus: &dyn Bus, name: &str, text: impl ToString) {
    let text = Bytes::from(text.to_string());
    bus.publish(&subject(name), text).await.unwrap();
}

/// Everything heard up to the text `end`, which is not included.
async fn heard(subscription: &mut Subscription, end: &str) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        let delivery = soon(end, subscription.recv())
            .await
            .expect("the bus is there");
        let text = String::from_utf8(delivery.payload.to_vec()).unwrap();
        if text == end {
            return heard;
        }
        heard.push(text);
    }
}

async fn a_message_comes_as_it_was_sent(buses: Buses) {
    let mut subscription = hear(&buses.one, "a.b", None).await;
    for payload in [&b""[..], b"\0\xff\xfe\r\nPUB", &[7; 100_000]] {
        let payload = Bytes::from_static(Box::leak(payload.into()));
        buses
            .other
            .publish(&subject("a.b"), payload.clone())
            .await
            .unwrap();
        let delivery = soon("it", subscription.recv()).await.unwrap();
        assert_eq!(delivery.subject, subject("a.b"));
        assert_eq!(delivery.payload, payload);
        assert_eq!(delivery.encoding, Encoding::Proto);
    }
}

async fn one_publisher_is_heard_in_order(buses: Buses) {
    let mut subscription = hear(&buses.one, "n.>", None).await;
    for n in 0..2_000 {
        say(&*buses.other, ["n.a", "n.b", "n.c"][n % 3], n).await;
    }
    say(&*buses.other, "n.a", "end").await;
    let expected: Vec<_> = (0..2_000).map(|n| n.to_string()).collect();
    assert_eq!(heard(&mut subscription, "end").await, expected);
}

async fn wildcards_match_by_the_rules_of_nats(buses: Buses) {
    let patterns = ["a", "a.*", "a.>", "*.b", ">", "a.b.c", "a.*.c", "*.*.*"];
    let mut listeners = Vec::new();
    for pattern in patterns {
        listeners.push((pattern, hear(&buses.one, pattern, None).await));
    }
    let subjects = ["a", "a.b", "a.c", "x.b", "a.b.c", "a.x.c", "a.b.c.d", "A.b"];
    for name in subjects {
        say(&*buses.other, name, name).await;
    }
    for (pattern, listener) in &mut listeners {
        let parsed = Pattern::parse(pattern).unwrap();
        let expected: Vec<_> = subjects
            .into_iter()
            .filter(|name| parsed.matches(&subject(name)))
            .collect();
        let mut got = Vec::new();
        for _ in &expected {
            let delivery = soon(pattern, listener.recv()).await.unwrap();
            got.push(delivery.subject.to_string());
        }
        assert_eq!(got, expected, "{pattern}");
    }
}

async fn a_queue_group_shares_and_an_observer_hears_all(buses: Buses) {
    let mut observer = hear(&buses.one, "job.>", None).await;
    let (done, mut results) = tokio::sync::mpsc::channel(1_000);
    for (bus, member) in [(&buses.one, "m1"), (&buses.other, "m2"), (&buses.one, "m3")] {
        let mut subscription = hear(bus, "job.>", Some("workers")).await;
        let done = done.clone();
        tokio::spawn(async move {
            while let Some(delivery) = subscription.recv().await {
                done.send((member, delivery.payload)).await.unwrap();
            }
        });
    }
    let mut second = hear(&buses.other, "job.*", Some("auditors")).await;
    for n in 0..300 {
        say(&*buses.one, "job.x", n).await;
    }
    say(&*buses.one, "job.x", "end").await;
    assert_eq!(heard(&mut observer, "end").await.len(), 300);
    assert_eq!(heard(&mut second, "end").await.len(), 300);
    let mut members = BTreeSet::new();
    let mut messages = BTreeSet::new();
    for _ in 0..301 {
        let (member, message) = soon("every message once", results.recv()).await.unwrap();
        members.insert(member);
        assert!(messages.insert(message.clone()), "{message:?} came twice");
    }
    assert_eq!(members.len(), 3, "all of them work");
    assert!(results.try_recv().is_err());
}

async fn a_dropped_subscription_hears_no_more_and_leaves_its_group(buses: Buses) {
    let leaver = hear(&buses.one, "q", Some("g")).await;
    let mut stayer = hear(&buses.other, "q", Some("g")).await;
    drop(leaver);
    // The server learns of it in its own time, and not before it is told.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        for n in 0..20 {
            say(&*buses.one, "q", n).await;
        }
        say(&*buses.one, "q", "end").await;
        let got = tokio::time::timeout(Duration::from_secs(1), heard(&mut stayer, "end")).await;
        if got.is_ok_and(|got| got.len() == 20) {
            return;
        }
        assert!(Instant::now() < deadline, "it still gets its share");
        while tokio::time::timeout(Duration::from_millis(50), stayer.recv())
            .await
            .is_ok()
        {}
    }
}

async fn a_subscription_hears_what_is_published_after_it_returned(buses: Buses) {
    // On NATS two connections: without a confirmation this fails within a few.
    for n in 0..200 {
        let name = format!("fresh.{n}");
        let mut subscription = hear(&buses.one, &name, None).await;
        say(&*buses.other, &name, n).await;
        let delivery = soon("the first message", subscription.recv())
            .await
            .unwrap();
        assert_eq!(delivery.payload, n.to_string());
    }
}

async fn a_slow_reader_loses_what_does_not_fit_and_the_loss_is_counted(buses: Buses) {
    let mut slow = hear(&buses.one, "flood", None).await;
    let mut quick = hear(&buses.one, "flood", None).await;
    let reading = tokio::spawn(async move {
        let mut read = Vec::new();
        let mut all = 0;
        while all <= SUBSCRIPTION_BUFFER + 500 {
            let some = soon("the flood", quick.recv_many(&mut read, 10_000)).await;
            all += some;
            read.clear();
        }
        all
    });
    let sent = SUBSCRIPTION_BUFFER + 501;
    // Several at once, because each waits until its message left.
    let senders: Vec<_> = (0..32)
        .map(|k| {
            let bus = Arc::clone(&buses.other);
            tokio::spawn(async move {
                for n in (k..sent).step_by(32) {
                    say(&*bus, "flood", n).await;
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    assert_eq!(reading.await.unwrap(), sent, "another reader loses nothing");
    let expected = LinkState::Lagging { dropped: 501 };
    link_is(&*buses.one, "the count", |link| *link == expected).await;

    let mut kept = Vec::new();
    while kept.len() < SUBSCRIPTION_BUFFER {
        soon(
            "what was kept",
            slow.recv_many(&mut kept, SUBSCRIPTION_BUFFER),
        )
        .await;
    }
    say(&*buses.other, "flood", "later").await;
    let later = soon("a later one", slow.recv()).await.unwrap();
    assert_eq!(later.payload, "later");
    assert_eq!(*buses.one.link().borrow(), expected);
}

async fn what_is_no_subject_cannot_be_asked_for(buses: Buses) {
    // The types refuse before any bus is asked; the bus takes what they allow.
    assert!(Subject::parse("a b\r\nPUB x 0").is_err());
    assert!(Pattern::parse("a.>.b").is_err());
    let mut subscription = hear(&buses.one, "ü.*.ß", None).await;
    say(&*buses.other, "ü.漢字.ß", 1).await;
    let delivery = soon("it", subscription.recv()).await.unwrap();
    assert_eq!(delivery.subject.as_str(), "ü.漢字.ß");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_without_a_line_is_refused_and_never_arrives() {
    let mut server = NatsProcess::start();
    let bus = connected(&server).await;
    say(&*bus, "cancel", "before").await;
    server.stop();
    // From the first instant, noticed or not.
    let deadline = Instant::now() + Duration::from_secs(3);
    let mut refused = 0;
    while Instant::now() < deadline && refused < 200 {
        match bus.publish(&subject("cancel"), "too late".into()).await {
            Err(BusError::NotConnected { .. }) => refused += 1,
            Err(BusError::Broken { .. } | BusError::TimedOut { .. }) | Ok(()) => {}
            Err(other) => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(refused, 200);
    link_is(&*bus, "the loss of it", |link| {
        matches!(link, LinkState::Down { .. })
    })
    .await;

    server.restart();
    let witness: Arc<dyn Bus> = connected(&server).await;
    let mut everything = hear(&witness, ">", None).await;
    link_is(&*bus, "a connection", |link| *link == LinkState::Up).await;
    for n in 0..3 {
        say(&*bus, "cancel", n).await;
    }
    say(&*bus, "cancel", "end").await;
    assert_eq!(heard(&mut everything, "end").await, ["0", "1", "2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_is_given_up_and_gets_nothing_later() {
    let server = NatsProcess::start();
    let witness: Arc<dyn Bus> = connected(&server).await;
    let mut everything = hear(&witness, "c.>", None).await;
    let bus = connected(&server).await;
    server.freeze();
    // The kernel takes the first megabytes; whatever it takes may arrive.
    let big = Bytes::from(vec![b'x'; 900_000]);
    let began = Instant::now();
    let failed = loop {
        if let Err(failed) = bus.publish(&subject("c.big"), big.clone()).await {
            break failed;
        }
        assert!(began.elapsed() < Duration::from_secs(30));
    };
    assert!(
        matches!(
            failed,
            BusError::TimedOut {
                limit_ms: 2_000,
                ..
            }
        ),
        "{failed:?}"
    );
    let refused = failure(bus.publish(&subject("c.small"), "late".into()).await);
    assert!(
        matches!(refused, BusError::NotConnected { .. }),
        "{refused:?}"
    );
    server.thaw();
    link_is(&*bus, "a connection", |link| *link == LinkState::Up).await;
    say(&*bus, "c.small", "now").await;
    loop {
        let delivery = soon("now", everything.recv()).await.unwrap();
        if delivery.subject == subject("c.small") {
            assert_eq!(delivery.payload, "now");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_come_back_with_the_server() {
    let mut server = NatsProcess::start();
    let bus: Arc<NatsBus> = connected(&server).await;
    let object: Arc<dyn Bus> = bus.clone();
    let mut early = hear(&object, "a.*", None).await;
    say(&*bus, "a.1", "before").await;
    assert_eq!(soon("it", early.recv()).await.unwrap().payload, "before");
    server.stop();
    let down = link_is(
        &*bus,
        "the loss of it",
        |link| matches!(link, LinkState::Down { attempts, .. } if *attempts >= 2),
    )
    .await;
    let LinkState::Down { reason, .. } = &down else {
        unreachable!()
    };
    assert_eq!(&**reason, "connection refused", "{down:?}");
    let mut meanwhile = hear(&object, "a.>", Some("q")).await;

    server.restart();
    bus.reconnect_now();
    link_is(&*bus, "a connection", |link| *link == LinkState::Up).await;
    say(&*bus, "a.2", "after").await;
    say(&*bus, "a.2", "end").await;
    assert_eq!(heard(&mut early, "end").await, ["after"]);
    assert_eq!(heard(&mut meanwhile, "end").await, ["after"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_server_there_is_a_bus_that_keeps_trying() {
    let port = free_port();
    let began = Instant::now();
    let config = nats_at(&format!("nats://me:hush@127.0.0.1:{port}"));
    let bus: Arc<dyn Bus> = Arc::new(NatsBus::connect(&config, clock()).unwrap());
    let subscription = hear(&bus, "a", None).await;
    let refused = failure(bus.publish(&subject("a"), "x".into()).await);
    assert!(began.elapsed() < Duration::from_secs(2), "at once");
    assert_eq!(
        refused.to_string(),
        format!("the bus at nats://127.0.0.1:{port} is not connected; nothing was sent")
    );
    let down = link_is(
        &*bus,
        "a second attempt",
        |link| matches!(link, LinkState::Down { attempts, .. } if *attempts >= 2),
    )
    .await;
    for text in [
        format!("{down:?}"),
        format!("{bus:?}"),
        format!("{refused:?}"),
    ] {
        assert!(!text.contains("hush"), "{text}");
    }
    drop(subscription);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shut_bus_delivers_what_came_and_ends() {
    let server = NatsProcess::start();
    let bus = connected(&server).await;
    let object: Arc<dyn Bus> = bus.clone();
    let mut subscription = hear(&object, "a", None).await;
    for n in 0..100 {
        say(&*bus, "a", n).await;
    }
    say(&*bus, "a", "end").await;
    assert_eq!(heard(&mut subscription, "end").await.len(), 100);
    soon("the end", bus.shutdown()).await;
    assert!(soon("the end", subscription.recv()).await.is_none());
    let refused = failure(bus.publish(&subject("a"), "x".into()).await);
    assert!(matches!(refused, BusError::NotConnected { .. }));
    assert!(matches!(&*bus.link().borrow(), LinkState::Down { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_open_the_door_and_are_named_when_they_do_not() {
    let token = NatsProcess::start_with(&["--auth", "sesame"]);
    let user = NatsProcess::start_with(&["--user", "ann", "--pass", "p@ss"]);
    let secret = |text: &str| Secret::new(text);
    let ann = |password| NatsAuth::User {
        name: "ann".into(),
        password: secret(password),
    };
    for (server, auth, fits) in [
        (&token, NatsAuth::Token(secret("sesame")), true),
        (&token, NatsAuth::Token(secret("wrong-token")), false),
        (&token, NatsAuth::None, false),
        (&user, ann("p@ss"), true),
        (&user, ann("wrong-pass"), false),
    ] {
        let mut config = server.config();
        config.auth = auth;
        let bus = NatsBus::connect(&config, clock()).unwrap();
        let link = link_is(&bus, "an answer", |link| *link != LinkState::Connecting).await;
        if fits {
            assert_eq!(link, LinkState::Up);
            continue;
        }
        let LinkState::Down { reason, .. } = &link else {
            panic!("{link:?}")
        };
        assert_eq!(&**reason, "the server refused our credentials");
    }
    let url = user.url().replace("nats://", "nats://ann:p%40ss@");
    let bus = NatsBus::connect(&nats_at(&url), clock()).unwrap();
    link_is(&bus, "a connection", |link| *link == LinkState::Up).await;
    assert_eq!(bus.url(), user.url());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_line_is_trusted_by_its_authority_alone() {
    let made = Certificates::make();
    let [cert, key, ca] = ["server.pem", "server.key", "ca.pem"].map(|f| made.argument(f));
    let open = ["--tls", "--tlscert", &cert, "--tlskey", &key];
    let strict = [&open[..], &["--tlsverify", "--tlscacert", &ca]].concat();
    let tls = |ca: &str, client: bool| Tls {
        ca: Some(made.path(ca)),
        cert: client.then(|| made.path("client.pem")),
        key: client.then(|| made.path("client.key")),
    };
    for (arguments, tls, fits) in [
        (&open[..], tls("ca.pem", false), true),
        (&open, tls("stranger.pem", false), false),
        (&open, Tls::default(), false),
        (&strict, tls("ca.pem", true), true),
        (&strict, tls("ca.pem", false), false),
    ] {
        let server = NatsProcess::start_with(arguments);
        for scheme in ["nats://", "tls://"] {
            let mut config = nats_at(&server.url().replace("nats://", scheme));
            config.tls = tls.clone();
            let bus = NatsBus::connect(&config, clock()).unwrap();
            let link = link_is(&bus, "an answer", |link| *link != LinkState::Connecting).await;
            assert_eq!(
                link == LinkState::Up,
                fits,
                "{arguments:?} {tls:?}: {link:?}"
            );
            if !fits && tls.cert.is_none() && arguments.len() == open.len() {
                let said = format!("{link:?}");
                assert!(said.contains("certificate"), "{said}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_the_server_would_not_take_is_refused_alone() {
    let server = NatsProcess::start();
    let bus = connected(&server).await;
    let object: Arc<dyn Bus> = bus.clone();
    let mut subscription = hear(&object, "a", None).await;
    let large = Bytes::from(vec![0; 2 << 20]);
    let refused = failure(bus.publish(&subject("a"), large).await);
    assert!(matches!(refused, BusError::Refused { .. }), "{refused:?}");
    say(&*bus, "a", "small").await;
    let delivery = soon("the next", subscription.recv()).await.unwrap();
    assert_eq!(delivery.payload, "small");
    assert_eq!(*bus.link().borrow(), LinkState::Up);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_nkey_opens_the_door() {
    let made = Certificates::make();
    let (public, seed) = &made.nkey;
    let file = made.path("nats.conf");
    let users = format!("authorization {{ users = [ {{ nkey: {public} }} ] }}");
    std::fs::write(&file, users).unwrap();
    let server = NatsProcess::start_with(&["-c", file.to_str().unwrap()]);
    let stranger = Certificates::make().nkey.1;
    for (seed, expected) in [
        (seed.as_str(), None),
        (&stranger, Some("the server refused our credentials")),
        ("SUnonsense", Some("our credentials cannot be used")),
    ] {
        let mut config = server.config();
        config.auth = NatsAuth::Nkey(Secret::new(seed));
        let bus = NatsBus::connect(&config, clock()).unwrap();
        let link = link_is(&bus, "an answer", |link| *link != LinkState::Connecting).await;
        let reason = match &link {
            LinkState::Down { reason, .. } => Some(&**reason),
            _ => None,
        };
        assert_eq!(reason, expected);
    }
}

/// The whole process gets no time to run, so the loss happens inside the client.
#[test]
fn what_the_client_itself_loses_is_counted_too() {
    let server = NatsProcess::start();
    let one_thread = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let bus = one_thread.block_on(connected(&server));
    let object: Arc<dyn Bus> = bus.clone();
    let mut subscription = one_thread.block_on(hear(&object, "flood", None));
    let sent = 150_000_u64;
    // Raw, from outside of the runtime that stands still.
    let mut line =
        std::net::TcpStream::connect(server.url().trim_start_matches("nats://")).unwrap();
    let message = "PUB flood 0\r\n\r\n".repeat(sent as usize);
    std::io::Write::write_all(&mut line, b"CONNECT {\"verbose\":false}\r\n").unwrap();
    std::io::Write::write_all(&mut line, message.as_bytes()).unwrap();
    std::io::Write::write_all(&mut line, b"PING\r\n").unwrap();
    let mut answer = std::io::BufRead::lines(std::io::BufReader::new(line));
    while answer.next().unwrap().unwrap() != "PONG" {}

    let read = one_thread.block_on(async {
        let mut read = 0;
        let mut some = Vec::new();
        let deadline = Instant::now() + 3 * PATIENCE;
        loop {
            let more = subscription.recv_many(&mut some, 10_000);
            if let Ok(more) = tokio::time::timeout(Duration::from_millis(100), more).await {
                read += more as u64;
                some.clear();
            }
            let link = bus.link().borrow().clone();
            match link {
                LinkState::Lagging { dropped } if dropped + read == sent => return read,
                LinkState::Up if read == sent => return read,
                _ => assert!(Instant::now() < deadline, "{link:?} and {read} read"),
            }
        }
    });
    assert!(read < sent, "nothing was lost, so nothing was shown");
}

fn texts(deliveries: &[capdeck::bus::Delivery]) -> Vec<&str> {
    let texts = deliveries.iter().map(|it| std::str::from_utf8(&it.payload));
    texts.collect::<Result<_, _>>().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_jetstream_remembers_what_was_published_while_nobody_listened() {
    let mut server = NatsProcess::start_with(&["-js", "-sd", "jetstream"]);
    let one = connected(&server).await;
    let patterns = ["sys.job.submit", "sys.job.result"].map(|it| Pattern::parse(it).unwrap());
    assert!(
        one.replay(&patterns, clock().now())
            .await
            .unwrap()
            .is_empty()
    );
    for pattern in &patterns {
        assert!(one.remember(pattern).await.unwrap());
    }
    let began = clock().now();
    for n in 0..1_500 {
        let name = ["sys.job.submit", "sys.job.result", "sys.heartbeat"][n % 3];
        say(&*one, name, n).await;
    }
    // What was sent is there when the server has answered something that came later.
    let mut heard = hear(&(Arc::clone(&one) as Arc<dyn Bus>), "sys.end", None).await;
    say(&*one, "sys.end", "end").await;
    soon("the end", heard.recv()).await.unwrap();
    let expected: Vec<String> = (0..1_500)
        .filter(|n| n % 3 < 2)
        .map(|n| n.to_string())
        .collect();
    let since = began.minus(capdeck::time::Elapsed::from_secs(1));
    assert_eq!(
        texts(&one.replay(&patterns, since).await.unwrap()),
        expected
    );

    // It remembers beyond its own end, and nothing from before the instant.
    drop(one);
    server.stop();
    server.restart();
    let other = connected(&server).await;
    assert_eq!(
        texts(&other.replay(&patterns, since).await.unwrap()),
        expected
    );
    let later = clock().now();
    say(&*other, "sys.job.result", "later").await;
    let mut heard = hear(&(Arc::clone(&other) as Arc<dyn Bus>), "sys.end", None).await;
    say(&*other, "sys.end", "end").await;
    soon("the end", heard.recv()).await.unwrap();
    assert_eq!(
        texts(&other.replay(&patterns, later).await.unwrap()),
        ["later"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_captures_a_subject_already_is_used_as_it_is() {
    let server = NatsProcess::start_with(&["-js", "-sd", "jetstream"]);
    let theirs = async_nats::connect(server.url()).await.unwrap();
    let streams = async_nats::jetstream::new(theirs);
    let config = async_nats::jetstream::stream::Config {
        name: "THEIRS".to_owned(),
        subjects: vec!["sys.job.*".to_owned()],
        ..Default::default()
    };
    streams.create_stream(config).await.unwrap();
    let bus = connected(&server).await;
    let pattern = Pattern::parse("sys.job.submit").unwrap();
    assert!(bus.remember(&pattern).await.unwrap());
    assert!(
        streams.get_stream("CORDUM_SYS").await.is_err(),
        "no other is made"
    );
    let since = clock().now().minus(capdeck::time::Elapsed::from_secs(1));
    say(&*bus, "sys.job.submit", "one").await;
    let mut heard = hear(&(Arc::clone(&bus) as Arc<dyn Bus>), "sys.end", None).await;
    say(&*bus, "sys.end", "end").await;
    soon("the end", heard.recv()).await.unwrap();
    assert_eq!(
        texts(&bus.replay(&[pattern], since).await.unwrap()),
        ["one"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_without_jetstream_remembers_nothing_and_says_so() {
    let server = NatsProcess::start();
    let buses: [Arc<dyn Bus>; 2] = [connected(&server).await, Arc::new(LocalBus::new())];
    let pattern = Pattern::parse("sys.job.submit").unwrap();
    for bus in buses {
        assert!(!bus.remember(&pattern).await.unwrap());
        say(&*bus, "sys.job.submit", "one").await;
        let since = clock().now().minus(capdeck::time::Elapsed::from_secs(60));
        let heard = bus.replay(std::slice::from_ref(&pattern), since).await;
        assert!(heard.unwrap().is_empty());
    }
}
