use std::time::SystemTime;

use super::*;
use crate::time::ManualClock;
use crate::wire::packet::Body;

struct Bench {
    dir: tempfile::TempDir,
    clock: ManualClock,
    kernel: PolicyKernel,
}

impl Bench {
    fn with(text: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("policy.yaml");
        std::fs::write(&path, text).expect("written");
        let clock = ManualClock::at(Timestamp::from_millis(1_000));
        let kernel =
            PolicyKernel::from_file(&path, Arc::new(clock.clone())).expect("a good policy");
        Self { dir, clock, kernel }
    }

    fn write(&self, text: &str) {
        std::fs::write(self.dir.path().join("policy.yaml"), text).expect("written");
    }

    /// What the kernel decides about `job.a`, and what it says of itself.
    async fn tell(&self) -> String {
        let question = Question {
            topic: "job.a".to_owned(),
            ..Question::default()
        };
        let verdict = self.kernel.check(&question).await.expect("a verdict");
        let health = SafetyKernel::health(&self.kernel).expect("known");
        format!(
            "{} since {} {}",
            verdict.decision.name(),
            health.loaded_at.as_millis(),
            health.broken.map_or("good", |_| "broken")
        )
    }
}

const ALLOW: &str = "version: v1\nrules: [{id: a, decision: allow}]\n";
const DENY: &str = "version: v2\nrules: [{id: a, decision: deny}]\n";

#[tokio::test]
async fn a_changed_file_is_in_force_when_it_is_looked_at() {
    let bench = Bench::with(ALLOW);
    assert_eq!(bench.tell().await, "ALLOW since 1000 good");
    bench.write(DENY);
    bench.clock.advance(Elapsed::from_secs(2));
    bench.kernel.look(Look::Closely);
    assert_eq!(bench.tell().await, "DENY since 3000 good");
    let snapshots = bench.kernel.snapshots().await.expect("known");
    let versions: Vec<&str> = snapshots.iter().map(|s| &s[..3]).collect();
    assert_eq!(versions, ["v2:", "v1:"]);
}

#[tokio::test]
async fn a_change_of_length_is_seen_by_the_look_of_every_second() {
    let bench = Bench::with(ALLOW);
    bench.write(&format!("{DENY}\n# longer\n"));
    bench.kernel.look(Look::IfStamped);
    assert_eq!(bench.tell().await, "DENY since 1000 good");
}

#[tokio::test]
async fn a_change_that_neither_length_nor_time_tells_is_seen_by_the_next_look() {
    let bench = Bench::with(ALLOW);
    let path = bench.dir.path().join("policy.yaml");
    let stamp = std::fs::metadata(&path).and_then(|it| it.modified());
    bench.write(&DENY.replace("deny", "block").replace("v2", "v1"));
    std::fs::File::open(&path)
        .and_then(|file| file.set_modified(stamp?))
        .expect("the time before");
    bench.kernel.look(Look::IfStamped);
    assert_eq!(bench.tell().await, "DENY since 1000 good");
}

#[tokio::test]
async fn a_broken_or_missing_file_leaves_the_last_good_policy() {
    let bench = Bench::with(ALLOW);
    for broken in ["rules: [", "rules: [{id: a, decision: permits}]", ""] {
        bench.write(broken);
        bench.kernel.refresh().await;
        assert_eq!(bench.tell().await, "ALLOW since 1000 broken", "{broken}");
    }
    std::fs::remove_file(bench.dir.path().join("policy.yaml")).expect("removed");
    bench.kernel.refresh().await;
    assert_eq!(bench.tell().await, "ALLOW since 1000 broken");
    let health = SafetyKernel::health(&bench.kernel).expect("known");
    assert!(health.broken.expect("why").contains("cannot read"));
    bench.write(ALLOW);
    bench.kernel.refresh().await;
    assert_eq!(bench.tell().await, "ALLOW since 1000 good");
    assert_eq!(bench.kernel.snapshots().await.expect("known").len(), 1);
}

#[tokio::test]
async fn ten_snapshots_are_remembered() {
    let bench = Bench::with(ALLOW);
    for n in 0..20 {
        bench.write(&format!("version: v{n}\nrules: []\n"));
        bench.kernel.refresh().await;
    }
    let snapshots = bench.kernel.snapshots().await.expect("known");
    assert_eq!(snapshots.len(), SNAPSHOTS_KEPT);
    assert!(snapshots[0].starts_with("v19:"));
    assert!(snapshots[9].starts_with("v10:"));
}

/// Signs like the owner of the key that [`signed_bench`] trusts.
fn sign(bench: &Bench, text: &str) {
    let pair = pair();
    let path = bench.dir.path().join("policy.yaml.sig");
    std::fs::write(path, pair.sign(text.as_bytes()).as_ref()).expect("written");
}

fn pair() -> ring::signature::Ed25519KeyPair {
    ring::signature::Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed")
}

fn signed_bench() -> Bench {
    use ring::signature::KeyPair as _;
    use std::fmt::Write as _;
    let key = pair()
        .public_key()
        .as_ref()
        .iter()
        .fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("a string takes all");
            hex
        });
    let mut bench = Bench::with(ALLOW);
    sign(&bench, ALLOW);
    let path = bench.dir.path().join("policy.yaml");
    let clock = Arc::new(bench.clock.clone());
    let key = PolicyKey::parse(&key).expect("a key");
    bench.kernel = PolicyKernel::from_signed_file(&path, key, clock).expect("signed");
    bench
}

#[tokio::test]
async fn a_policy_that_is_not_signed_anew_leaves_the_last_good_one() {
    let bench = signed_bench();
    bench.clock.advance(Elapsed::from_secs(1));
    bench.write(DENY);
    bench.kernel.look(Look::IfStamped);
    assert_eq!(bench.tell().await, "ALLOW since 1000 broken");
    let health = SafetyKernel::health(&bench.kernel).expect("known");
    let says = health.broken.expect("broken");
    assert!(says.contains("policy.yaml.sig"), "{says}");
    assert!(health.signed);
    // The signature alone changes now.
    sign(&bench, DENY);
    std::fs::File::open(bench.dir.path().join("policy.yaml.sig"))
        .and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH))
        .expect("another time");
    bench.kernel.look(Look::IfStamped);
    assert_eq!(bench.tell().await, "DENY since 2000 good");
    std::fs::remove_file(bench.dir.path().join("policy.yaml.sig")).expect("removed");
    bench.kernel.look(Look::IfStamped);
    assert_eq!(bench.tell().await, "DENY since 2000 broken");
    sign(&bench, DENY);
    bench.kernel.look(Look::Closely);
    assert_eq!(bench.tell().await, "DENY since 2000 good");
}

#[tokio::test]
async fn what_happens_to_the_file_is_told_on_the_bus_once() {
    use crate::bus::Pattern;
    use crate::bus::local::LocalBus;
    use crate::wire::decode;

    let Bench { dir, clock, kernel } = Bench::with(ALLOW);
    let kernel = Arc::new(kernel);
    let bus = LocalBus::new();
    let all = Pattern::parse("sys.>").expect("a pattern");
    let mut heard = bus.subscribe(&all, None).await.expect("heard");
    let running = tokio::spawn(Arc::clone(&kernel).run(Arc::new(bus)));
    let write = |text: &str| {
        std::fs::write(dir.path().join("policy.yaml"), text).expect("written");
    };
    let mut told = Vec::new();
    for text in ["rules: [nonsense]", "rules: [nonsense]", ALLOW, DENY] {
        write(text);
        // Twice, for what was told is not told again.
        for _ in 0..2 {
            clock.advance(LOOK_EVERY);
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
    }
    running.abort();
    drop(running.await);
    while let Some(delivery) = heard.recv().await {
        let packet = decode::decode(&delivery).expect("a packet");
        assert_eq!(packet.warnings, [], "{packet:?}");
        let Body::Alert(alert) = packet.body else {
            panic!("not an alert: {packet:?}");
        };
        told.push(format!(
            "{} {} {}",
            delivery.subject, alert.level, alert.message
        ));
    }
    let path = dir.path().join("policy.yaml");
    assert_eq!(
        told,
        [
            format!(
                "sys.alert error the policy file cannot be used; the last good one stays in \
                 force: the policy file `{}` cannot be used: line 1, column 9: rule \
                 `number 1`: must be a mapping of fields, not text",
                path.display()
            ),
            "sys.config.changed info the policy file is good again".to_owned(),
            "sys.config.changed info the policy changed".to_owned(),
        ]
    );
}

#[test]
fn a_broken_file_at_the_start_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("policy.yaml");
    let clock = || Arc::new(ManualClock::at(Timestamp::from_millis(0)));
    let missing = PolicyKernel::from_file(&path, clock()).expect_err("no file");
    assert!(matches!(missing, PolicyFileError::Unreadable { .. }));
    std::fs::write(&path, "rules: 1").expect("written");
    let broken = PolicyKernel::from_file(&path, clock()).expect_err("no policy");
    assert!(
        broken
            .in_full()
            .ends_with("rules must be a list, not a number")
    );
}

#[test]
fn news_are_told_once_as_packets_that_receivers_accept() {
    let good = PolicyHealth {
        snapshot: "v1:a".to_owned(),
        rules: 1,
        default_tenant: "default".to_owned(),
        loaded_at: Timestamp::from_millis(0),
        path: None,
        signed: false,
        broken: None,
    };
    let moved = PolicyHealth {
        snapshot: "v2:b".to_owned(),
        ..good.clone()
    };
    let broken = PolicyHealth {
        broken: Some("line 1".to_owned()),
        ..good.clone()
    };
    let told = |after: &PolicyHealth, before: &PolicyHealth| {
        after.news_since(before).map(|news| {
            let (subject, packet) = news.packet(Timestamp::from_millis(5));
            let at = wire::subject(subject);
            encode::encode(&at, &packet).expect("a packet");
            subject
        })
    };
    assert_eq!(told(&good, &good), None);
    assert_eq!(told(&broken, &broken), None);
    assert_eq!(told(&moved, &good), Some(wire::CONFIG_CHANGED));
    assert_eq!(told(&broken, &good), Some(wire::ALERT));
    assert_eq!(told(&good, &broken), Some(wire::CONFIG_CHANGED));
}

#[tokio::test(start_paused = true)]
async fn a_change_and_a_broken_file_between_two_looks_are_both_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("p.yaml");
    let allow = |id: &str| format!("rules:\n  - id: {id}\n    decision: allow\n");
    std::fs::write(&path, allow("one")).expect("written");
    let clock: Arc<dyn Clock> = Arc::new(crate::time::SystemClock);
    let kernel = PolicyKernel::from_file(&path, clock).expect("a policy");
    let mut told = kernel.watch_health().borrow().clone();
    std::fs::write(&path, allow("another")).expect("written");
    kernel.refresh().await;
    std::fs::write(&path, "rules: [").expect("written");
    kernel.refresh().await;
    let first = kernel.news(&mut told).await;
    assert!(matches!(first, News::Changed { .. }), "{first:?}");
    let second = kernel.news(&mut told).await;
    assert!(matches!(second, News::Broken { .. }), "{second:?}");
    std::fs::write(&path, allow("another")).expect("written");
    let third = kernel.news(&mut told).await;
    assert!(matches!(third, News::Mended { .. }), "{third:?}");
}
