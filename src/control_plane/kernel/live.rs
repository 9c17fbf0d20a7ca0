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

use tokio::sync::watch;

use super::evaluate::{evaluate, simulate};
use super::explain::{Explained, explain};
use super::policy::Policy;
use super::signature::PolicyKey;
use super::velocity::Rates;
use super::{KernelError, Question, SafetyKernel, Verdict};
use crate::bus::Bus;
use crate::time::{BoxFuture, Clock, Elapsed, Timestamp, sleep};
use crate::wire::{self, encode};

mod file;
mod news;
#[cfg(test)]
mod tests;

pub use file::{PolicyFileError, read_file};
use file::{Source, Stamp};
pub use news::News;

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
    /// The tenant of a request that names none.
    pub default_tenant: String,
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

impl PolicyHealth {
    /// What people know once they heard `news`: a change and a broken file that came
    /// between two looks are told one after the other.
    fn told(self, news: &News, knew: &mut Self) {
        let broken = match news {
            News::Changed { .. } => knew.broken.take(),
            News::Broken { .. } | News::Mended { .. } => self.broken.clone(),
        };
        *knew = Self { broken, ..self };
    }
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
    /// Whether they were read once more since then. What was written right after the
    /// first reading may have the time of what that one read.
    settled: bool,
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
            default_tenant: policy.default_tenant.clone(),
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
                settled: false,
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
            let news = self.news(&mut told).await;
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
    }

    /// Follows the file until something happens to it that people should be told.
    /// `told` is what they know, and knows it too afterwards.
    pub async fn news(&self, told: &mut PolicyHealth) -> News {
        loop {
            sleep(&*self.clock, LOOK_EVERY).await;
            self.look(Look::IfStamped);
            let now = self.health.borrow().clone();
            if let Some(news) = now.news_since(told) {
                now.told(&news, told);
                return news;
            }
            *told = now;
        }
    }

    /// Looks at the file; does nothing without one.
    fn look(&self, how: Look) {
        let Some(source) = &self.source else { return };
        // The lock is held while the file is read, so that an older reading
        // never replaces a newer one.
        let mut in_force = self.lock();
        let stamp = source.stamp();
        let unchanged = stamp.is_some() && stamp == in_force.seen;
        if matches!(how, Look::IfStamped) && unchanged && in_force.settled {
            return;
        }
        in_force.settled = unchanged;
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
                health
                    .default_tenant
                    .clone_from(&in_force.policy.default_tenant);
                health.loaded_at = self.clock.now();
            }
            changed || mended
        });
    }

    /// What it counted.
    pub(in crate::control_plane) fn rates(&self) -> std::sync::MutexGuard<'_, Rates> {
        // A panic while it was held at worst left one request uncounted.
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, InForce> {
        // A panic while it was held left a whole policy in it.
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Look {
    /// Only if length or time of the file changed, at this look or at the one before.
    IfStamped,
    /// In any case: whoever asks cannot wait for the next look.
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

    fn explain<'a>(
        &'a self,
        question: &'a Question,
    ) -> BoxFuture<'a, Result<Explained, KernelError>> {
        let policy = self.policy();
        Box::pin(async move {
            let now = self.clock.now();
            let explained = explain(&policy, question, &self.rates(), now);
            Ok(Explained {
                verdict: explained.verdict,
                rules: Some(explained.rules),
            })
        })
    }

    fn policy_in_force(&self) -> Option<Arc<Policy>> {
        Some(self.policy())
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
