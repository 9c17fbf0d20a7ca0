//! A policy in force: from a file that may change, or from a fixed text.
//!
//! The file is looked at once a second ([`PolicyKernel::run`]) and whenever
//! somebody asks for it ([`SafetyKernel::refresh`], before an approval). A
//! broken file never replaces a good policy: the last good one stays in force
//! and [`PolicyHealth::broken`] says what is wrong. Where a key is configured, a
//! file whose signature is missing or wrong is as broken as one that is no policy.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use thiserror::Error;
use tokio::sync::watch;

use super::evaluate::{evaluate, simulate};
use super::policy::{MAX_POLICY_BYTES, Policy, PolicyError};
use super::signature::{self, BadSignature, MAX_SIGNATURE_FILE, PolicyKey};
use super::velocity::Rates;
use super::{KernelError, Question, SafetyKernel, Verdict};
use crate::bus::Bus;
use crate::ids::{SenderId, TraceId};
use crate::time::{BoxFuture, Clock, Elapsed, Timestamp, sleep};
use crate::wire::packet::{AlertSeverity, Body, ErrorCode, Packet, SystemAlert};
use crate::wire::{self, encode};

/// How often the file is looked at: a change is in force within this time.
pub const LOOK_EVERY: Elapsed = Elapsed::from_secs(1);

/// How many snapshots are remembered, as CAP safety kernels do.
pub const SNAPSHOTS_KEPT: usize = 10;

/// The sender name of the embedded safety kernel.
pub const SENDER: &str = "capdeck-safety-kernel";

/// What is known of the policy and its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyHealth {
    /// The policy in force.
    pub snapshot: String,
    /// How many rules it has.
    pub rules: usize,
    /// Since when it is in force.
    pub loaded_at: Timestamp,
    /// The file it comes from; `None` if it is built in.
    pub path: Option<PathBuf>,
    /// Whether its signature was checked.
    pub signed: bool,
    /// Why the file as it is now cannot be used, while the last good one stays.
    pub broken: Option<String>,
}

impl PolicyHealth {
    /// What people should be told when `before` became this; `None` if nothing
    /// they could care about.
    pub fn news_since(&self, before: &Self) -> Option<News> {
        if self.snapshot != before.snapshot {
            return Some(News::Changed {
                from: before.snapshot.clone(),
                to: self.snapshot.clone(),
            });
        }
        match (&before.broken, &self.broken) {
            (old, Some(new)) if old.as_ref() != Some(new) => Some(News::Broken {
                says: new.clone(),
                in_force: self.snapshot.clone(),
            }),
            (Some(_), None) => Some(News::Mended {
                in_force: self.snapshot.clone(),
            }),
            _ => None,
        }
    }
}

/// What happened to a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Another policy is in force.
    Changed {
        /// The snapshot before.
        from: String,
        /// The snapshot now.
        to: String,
    },
    /// The file cannot be used.
    Broken {
        /// Why.
        says: String,
        /// The snapshot that stays in force.
        in_force: String,
    },
    /// The file is again what it was when it was good.
    Mended {
        /// The snapshot in force.
        in_force: String,
    },
}

impl News {
    /// The packet that tells it, and the subject it belongs on.
    pub fn packet(&self, now: Timestamp) -> (&'static str, Packet) {
        let (subject, severity, message, details) = match self {
            Self::Changed { from, to } => (
                wire::CONFIG_CHANGED,
                AlertSeverity::Info,
                "the policy changed".to_owned(),
                vec![("policy_snapshot_before", from), ("policy_snapshot", to)],
            ),
            Self::Broken { says, in_force } => (
                wire::ALERT,
                AlertSeverity::Error,
                format!("the policy file cannot be used; the last good one stays in force: {says}"),
                vec![("policy_snapshot", in_force)],
            ),
            Self::Mended { in_force } => (
                wire::CONFIG_CHANGED,
                AlertSeverity::Info,
                "the policy file is good again".to_owned(),
                vec![("policy_snapshot", in_force)],
            ),
        };
        let mut alert = SystemAlert {
            // Both shapes, so that readers of either generation understand it.
            level: severity_word(severity).to_owned(),
            component: SENDER.to_owned(),
            code: "policy".to_owned(),
            message,
            severity,
            error_code_enum: ErrorCode::SafetyPolicyViolation,
            source_component: SENDER.to_owned(),
            ..SystemAlert::default()
        };
        for (key, value) in details {
            alert.details.insert(key.to_owned(), value.clone());
        }
        let trace = TraceId::new(format!("policy-{}", now.as_millis()));
        let body = Body::Alert(Box::new(alert));
        (
            subject,
            Packet::new(trace, SenderId::from(SENDER), now, body),
        )
    }
}

fn severity_word(severity: AlertSeverity) -> &'static str {
    match severity {
        AlertSeverity::Error | AlertSeverity::Critical => "error",
        AlertSeverity::Warning => "warning",
        AlertSeverity::Info | AlertSeverity::Unspecified | AlertSeverity::Unknown(_) => "info",
    }
}

/// Why a policy file cannot be used.
#[derive(Debug, Error)]
pub enum PolicyFileError {
    /// It cannot be read.
    #[error("cannot read the policy file `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is not a policy.
    #[error("the policy file `{}` cannot be used", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: PolicyError,
    },
    /// A key is configured, and there is no signature to check.
    #[error("cannot read the signature `{}` of the policy file", path.display())]
    Unsigned {
        /// The file of the signature.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A key is configured, and the signature is not good.
    #[error("the signature `{}` of the policy file is refused", path.display())]
    BadSignature {
        /// The file of the signature.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: BadSignature,
    },
}

impl PolicyFileError {
    fn in_full(&self) -> String {
        match self {
            Self::Unreadable { source, .. } | Self::Unsigned { source, .. } => {
                format!("{self}: {source}")
            }
            Self::Invalid { source, .. } => format!("{self}: {source}"),
            Self::BadSignature { source, .. } => format!("{self}: {source}"),
        }
    }
}

/// Reads a policy file, and with a key its signature first.
///
/// # Errors
/// [`PolicyFileError`] when it cannot be read, is not signed by the key, or is not
/// a policy.
pub fn read_file(path: &Path, key: Option<&PolicyKey>) -> Result<Policy, PolicyFileError> {
    let content =
        read_bytes(path, MAX_POLICY_BYTES).map_err(|source| PolicyFileError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
    if let Some(key) = key {
        let beside = signature::beside(path);
        let signed = read_bytes(&beside, MAX_SIGNATURE_FILE).map_err(|source| {
            PolicyFileError::Unsigned {
                path: beside.clone(),
                source,
            }
        })?;
        key.verify(&content, &signed)
            .map_err(|source| PolicyFileError::BadSignature {
                path: beside,
                source,
            })?;
    }
    parse(path, &content)
}

/// Reads at most one byte more than a file may have, so that one that is far too
/// long is refused without being read.
fn read_bytes(path: &Path, most: usize) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut content = Vec::new();
    std::fs::File::open(path)?
        .take(most as u64 + 1)
        .read_to_end(&mut content)?;
    Ok(content)
}

fn parse(path: &Path, content: &[u8]) -> Result<Policy, PolicyFileError> {
    Policy::parse(content).map_err(|source| PolicyFileError::Invalid {
        path: path.to_owned(),
        source,
    })
}

/// The safety kernel inside this process.
pub struct PolicyKernel {
    source: Option<Source>,
    clock: Arc<dyn Clock>,
    in_force: Mutex<InForce>,
    rates: Mutex<Rates>,
    health: watch::Sender<PolicyHealth>,
}

struct InForce {
    policy: Arc<Policy>,
    /// Newest first.
    snapshots: Vec<String>,
    /// Its files when they were read, to be compared with [`Source::stamp`].
    seen: Option<[Option<Stamp>; 2]>,
}

/// A policy file, and whose signature it must carry, if any.
struct Source {
    path: PathBuf,
    key: Option<PolicyKey>,
}

impl Source {
    fn read(&self) -> Result<Policy, PolicyFileError> {
        read_file(&self.path, self.key.as_ref())
    }

    /// `None` when one of its files is not there.
    fn stamp(&self) -> Option<[Option<Stamp>; 2]> {
        let policy = Stamp::of(&self.path)?;
        let signature = match self.key {
            None => None,
            Some(_) => Some(Stamp::of(&signature::beside(&self.path))?),
        };
        Some([Some(policy), signature])
    }
}

/// What tells a changed file from an unchanged one without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let meta = std::fs::metadata(path).ok()?;
        Some(Self {
            modified: meta.modified().ok(),
            len: meta.len(),
        })
    }
}

impl PolicyKernel {
    /// A kernel with a policy that never changes.
    pub fn new(policy: Policy, clock: Arc<dyn Clock>) -> Self {
        Self::with(policy, None, None, clock)
    }

    /// A kernel that follows a file.
    ///
    /// # Errors
    /// [`PolicyFileError`] when the file is not good at the start.
    pub fn from_file(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, PolicyFileError> {
        let path = path.to_owned();
        Self::following(Source { path, key: None }, clock)
    }

    /// A kernel that follows a file which must be signed.
    ///
    /// # Errors
    /// [`PolicyFileError`] when the file or its signature is not good at the start.
    pub fn from_signed_file(
        path: &Path,
        key: PolicyKey,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PolicyFileError> {
        let (path, key) = (path.to_owned(), Some(key));
        Self::following(Source { path, key }, clock)
    }

    fn following(source: Source, clock: Arc<dyn Clock>) -> Result<Self, PolicyFileError> {
        let seen = source.stamp();
        let policy = source.read()?;
        Ok(Self::with(policy, Some(source), seen, clock))
    }

    fn with(
        policy: Policy,
        source: Option<Source>,
        seen: Option<[Option<Stamp>; 2]>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let health = PolicyHealth {
            snapshot: policy.snapshot.clone(),
            rules: policy.rules.len(),
            loaded_at: clock.now(),
            path: source.as_ref().map(|source| source.path.clone()),
            signed: source.as_ref().is_some_and(|source| source.key.is_some()),
            broken: None,
        };
        Self {
            source,
            clock,
            in_force: Mutex::new(InForce {
                snapshots: vec![policy.snapshot.clone()],
                policy: Arc::new(policy),
                seen,
            }),
            rates: Mutex::default(),
            health: watch::Sender::new(health),
        }
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.lock().policy)
    }

    /// The health as it is, and as it changes.
    pub fn watch_health(&self) -> watch::Receiver<PolicyHealth> {
        self.health.subscribe()
    }

    /// Follows the file for ever, and tells the bus what happens to it. Ends
    /// when it is dropped.
    pub async fn run(self: Arc<Self>, bus: Arc<dyn Bus>) {
        let mut told = self.health.borrow().clone();
        loop {
            sleep(&*self.clock, LOOK_EVERY).await;
            self.look(Look::IfStamped);
            let now = self.health.borrow().clone();
            if let Some(news) = now.news_since(&told) {
                let (subject, packet) = news.packet(self.clock.now());
                let subject = wire::subject(subject);
                match encode::encode(&subject, &packet) {
                    // Without a line nobody hears it; the status tells it all the same.
                    Ok(bytes) => match bus.publish(&subject, bytes).await {
                        Ok(()) => {}
                        Err(error) => tracing::warn!(%error, "the policy's news was not sent"),
                    },
                    Err(error) => tracing::error!(%error, "the policy's news was not written"),
                }
            }
            told = now;
        }
    }

    /// Looks at the file; does nothing without one.
    fn look(&self, how: Look) {
        let Some(source) = &self.source else { return };
        // The lock is held while the file is read, so that an older reading
        // never replaces a newer one.
        let mut in_force = self.lock();
        let stamp = source.stamp();
        if matches!(how, Look::IfStamped) && stamp.is_some() && stamp == in_force.seen {
            return;
        }
        in_force.seen = stamp;
        match source.read() {
            Ok(policy) => {
                self.put_in_force(&mut in_force, policy);
            }
            Err(error) => {
                let says = error.in_full();
                self.health.send_if_modified(|health| {
                    let news = health.broken.as_ref() != Some(&says);
                    health.broken = Some(says);
                    news
                });
            }
        }
    }

    /// Puts another policy in force, until the file says otherwise, if there is one.
    pub fn adopt(&self, policy: Policy) {
        let mut in_force = self.lock();
        self.put_in_force(&mut in_force, policy);
    }

    fn put_in_force(&self, in_force: &mut InForce, policy: Policy) {
        let changed = policy.snapshot != in_force.policy.snapshot;
        if changed {
            in_force.snapshots.insert(0, policy.snapshot.clone());
            in_force.snapshots.truncate(SNAPSHOTS_KEPT);
            // A rule that keeps its name keeps its counts.
            self.rates().keep_rules_of(&policy);
            in_force.policy = Arc::new(policy);
        }
        self.health.send_if_modified(|health| {
            let mended = health.broken.take().is_some();
            if changed {
                health.snapshot.clone_from(&in_force.policy.snapshot);
                health.rules = in_force.policy.rules.len();
                health.loaded_at = self.clock.now();
            }
            changed || mended
        });
    }

    fn rates(&self) -> std::sync::MutexGuard<'_, Rates> {
        // A panic while it was held at worst left one request uncounted.
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, InForce> {
        // A panic while it was held left a whole policy in it.
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Look {
    /// Only if length or time of the file changed.
    IfStamped,
    /// In any case: the clock of a file system may be too coarse to tell.
    Closely,
}

impl fmt::Debug for PolicyKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyKernel")
            .field("health", &*self.health.borrow())
            .finish_non_exhaustive()
    }
}

impl SafetyKernel for PolicyKernel {
    fn check<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Verdict, KernelError>> {
        let policy = self.policy();
        Box::pin(async move {
            let now = self.clock.now();
            Ok(evaluate(&policy, question, &mut self.rates(), now))
        })
    }

    fn simulate<'a>(
        &'a self,
        question: &'a Question,
    ) -> BoxFuture<'a, Result<Verdict, KernelError>> {
        let policy = self.policy();
        Box::pin(async move {
            let now = self.clock.now();
            Ok(simulate(&policy, question, &self.rates(), now))
        })
    }

    fn snapshots(&self) -> BoxFuture<'_, Result<Vec<String>, KernelError>> {
        let snapshots = self.lock().snapshots.clone();
        Box::pin(std::future::ready(Ok(snapshots)))
    }

    fn refresh(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.look(Look::Closely) })
    }

    fn health(&self) -> Option<PolicyHealth> {
        Some(self.health.borrow().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::ManualClock;

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
}
