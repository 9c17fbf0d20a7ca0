//! One record for several planes on the same servers.
//!
//! One plane leads: it alone schedules, and its ledger is the record. It writes every
//! change to the store before anything follows from it ([`Keeper::keep`]). The others
//! stand by: they take in requests and pass them on, run workers, listen, and take over
//! when the leader's lease runs out ([`Keeper::run`]). The lease only says who may try;
//! what makes a second leader harmless is the epoch, which each new one raises and every
//! write is bound to: whoever was deposed without noticing cannot write, and so can
//! publish nothing either.
//!
//! Packets that nobody heard between two leaders are made up for from what the others
//! heard meanwhile, and from the server's own memory of the bus where it has one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::bus::gap::Gap;
use crate::bus::{Bus, Delivery, Pattern, is_up};
use crate::control_plane::kernel::live::PolicyKernel;
use crate::control_plane::ledger::keys::MAX_PAST_KEYS;
use crate::control_plane::ledger::saved::{MAX_TURNED_AWAY, Saved};
use crate::control_plane::ledger::{SharedLedger, lock};
use crate::store::{Store, StoreError, Write};
use crate::time::{Clock, Elapsed, Timestamp, sleep};
use crate::wire;

mod counts;
mod records;
mod taken;

use taken::Taken;

pub use records::{JOB, JOBS, KEY, KEYS, ROLLBACK, ROLLBACKS, TURNED_AWAY};

/// Who leads, for [`LEASE_LIVES`].
pub const LEASE: &str = "capdeck:lease";
/// How often a leader began, and who it was: `<number> <plane>`.
pub const EPOCH: &str = "capdeck:epoch";
/// Until when a leader heard the bus, in milliseconds since 1970.
const HEARD: &str = "capdeck:heard";

/// A leader that says nothing for this long is taken for dead.
pub const LEASE_LIVES: Elapsed = Elapsed::from_secs(8);
/// A plane is gone when it showed no sign of life at so many looks in a row: one may have
/// been kept from it by the store.
const MISSED_LOOKS: u32 = 3;
/// What the names of planes begin with; the rest is the end of their workers' names.
const PLANE: &str = "capdeck-";
/// How often the lease is renewed, and looked at by those who stand by.
const LOOK: Elapsed = Elapsed::from_secs(2);
/// What was heard is remembered by those who stand by for this long: the lease, a look,
/// and as much again.
const MISSED_FOR: Elapsed = Elapsed::from_secs(20);
/// As many packets at most.
const MISSED: usize = 50_000;
/// Packets this much older than the gap are read again, for clocks differ.
const OVERLAP: Elapsed = Elapsed::from_secs(5);
/// Documents read at once.
const READ_AT_ONCE: usize = 500;
/// Changes that one commit carries; a commit keeps the store busy while it lasts.
const WRITES_AT_ONCE: usize = 2_000;

/// What a keeper works with.
#[derive(Clone)]
pub struct Parts {
    /// Where the record is.
    pub store: Arc<dyn Store>,
    /// Where packets are heard.
    pub bus: Arc<dyn Bus>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The record of this process, which counts while it leads.
    pub ledger: SharedLedger,
    /// The kernel of this process, whose counts are part of the record; `None` where the
    /// kernel is elsewhere, and its counts are its own.
    pub kernel: Option<Arc<PolicyKernel>>,
    /// Told whenever there is something new to do.
    pub wake: Arc<Notify>,
}

/// Where this plane stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Another one leads, or nobody does yet.
    By {
        /// Who leads, as far as is known.
        leader: Option<String>,
    },
    /// This one leads.
    Leads {
        /// What [`EPOCH`] holds as long as it does.
        epoch: String,
    },
}

/// Why a change is not on record.
#[derive(Debug, Error)]
pub enum NotKept {
    /// Another plane leads now; what this one knows does not count.
    #[error("another plane leads now")]
    Deposed,
    /// The store does not answer; the change waits.
    #[error(transparent)]
    Away(#[from] StoreError),
}

/// Keeps the record of a plane on a store that it shares with others.
pub struct Keeper {
    parts: Parts,
    /// The name of this plane, which no other has.
    name: String,
    standing: watch::Sender<Standing>,
    /// Held while writing, so that an older state never follows a newer one.
    turn: tokio::sync::Mutex<()>,
    missed: Mutex<VecDeque<(Timestamp, Delivery)>>,
    /// When the lease was renewed last, in milliseconds since 1970.
    renewed_at: AtomicI64,
    /// Told when there is reason to look who leads.
    doubt: Notify,
    /// Planes that showed no sign of life, by their tags, with how often in a row.
    silent: Mutex<BTreeMap<String, u32>>,
    /// Whether the leader has another policy than this plane.
    policy_differs: AtomicBool,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper")
            .field("name", &self.name)
            .field("standing", &*self.standing.borrow())
            .finish_non_exhaustive()
    }
}

impl Keeper {
    /// A keeper that stands by, under a name that no other plane has.
    pub fn new(parts: Parts, name: String) -> Self {
        if let Some(kernel) = &parts.kernel {
            kernel.rates().keep();
        }
        Self {
            parts,
            name,
            standing: watch::Sender::new(Standing::By { leader: None }),
            turn: tokio::sync::Mutex::new(()),
            missed: Mutex::default(),
            renewed_at: AtomicI64::new(0),
            doubt: Notify::new(),
            silent: Mutex::default(),
            policy_differs: AtomicBool::new(false),
        }
    }

    /// The name of this plane.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where this plane stands, and how that changes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Whether this plane leads.
    pub fn leads(&self) -> bool {
        matches!(*self.standing.borrow(), Standing::Leads { .. })
    }

    /// Where this plane stands, looked at once more when it leads as far as it knows and
    /// its lease may have run out: what it knows may be old then.
    pub async fn sure_standing(&self) -> Standing {
        let renewed_at = Timestamp::from_millis(self.renewed_at.load(Ordering::Relaxed));
        if self.leads() && self.parts.clock.now().since(renewed_at) >= LEASE_LIVES {
            self.look().await;
        }
        self.standing.borrow().clone()
    }

    /// Writes down what changed. When it returns, everything that was changed before it
    /// was called is on record.
    ///
    /// # Errors
    /// [`NotKept::Deposed`]: the ledger is empty then, and nothing may follow from what
    /// it said. [`NotKept::Away`]: the changes wait for the next call.
    pub async fn keep(&self) -> Result<(), NotKept> {
        let _turn = self.turn.lock().await;
        loop {
            let Standing::Leads { epoch } = self.standing.borrow().clone() else {
                return Err(NotKept::Deposed);
            };
            let Some(taken) = Taken::from(&self.parts) else {
                return Ok(());
            };
            let writes = taken.writes(self.parts.clock.now());
            for some in writes.chunks(WRITES_AT_ONCE) {
                let guard = (EPOCH, epoch.as_bytes());
                // With an error what was taken is given back.
                if !self.parts.store.commit(guard, some).await? {
                    taken.done();
                    self.step_down("another one has begun");
                    return Err(NotKept::Deposed);
                }
            }
            taken.done();
        }
    }

    /// Remembers a packet that the leader may not get to hear.
    pub fn missed(&self, delivery: Delivery) {
        let now = self.parts.clock.now();
        let mut missed = self.lock_missed();
        while missed.len() >= MISSED
            || missed
                .front()
                .is_some_and(|(at, _)| now.since(*at) > MISSED_FOR)
        {
            missed.pop_front();
        }
        missed.push_back((now, delivery));
    }

    /// Hands out what was remembered, in its order.
    pub fn take_missed(&self) -> Vec<Delivery> {
        let missed = std::mem::take(&mut *self.lock_missed());
        missed.into_iter().map(|(_, delivery)| delivery).collect()
    }

    fn lock_missed(&self) -> MutexGuard<'_, VecDeque<(Timestamp, Delivery)>> {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews the lease, or takes it when it is free, until `stop`; then gives it back,
    /// so that another one need not wait for its end.
    pub async fn run(&self, stop: CancellationToken) {
        let mut gap = Gap::new(Some(self.parts.bus.link()));
        // The first connection ends no gap.
        let _connected = gap.has_ended();
        let mut heard_at = self.parts.clock.now();
        loop {
            self.look().await;
            if gap.has_ended() && self.leads() {
                self.hear_again(heard_at).await;
                self.parts.wake.notify_one();
            }
            if is_up(&self.parts.bus.link().borrow()) {
                heard_at = self.parts.clock.now();
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(&*self.parts.clock, LOOK) => {}
                () = self.doubt.notified() => {}
                () = gap.changed() => {}
            }
        }
        if self.leads() {
            self.give_up().await;
        }
        let (key, _) = records::instance(&self.name, self.parts.clock.now());
        if let Err(error) = self.parts.store.delete(&key).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the sign of life runs out by itself");
        }
    }

    /// Looks once who leads, and leads if nobody does. It is logged when the store does
    /// not answer: who leads then keeps its standing, for nobody else can lead either.
    pub async fn look(&self) {
        let looked = async {
            self.show_life().await?;
            if self.leads() {
                self.renew().await?;
                self.miss_planes().await
            } else {
                self.take_over().await
            }
        };
        let looked = looked.await;
        if let Err(error) = looked {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot see who leads"
            );
        }
    }

    async fn renew(&self) -> Result<(), StoreError> {
        let Standing::Leads { epoch } = self.standing.borrow().clone() else {
            return Ok(());
        };
        let now = self.parts.clock.now();
        let lease = Bytes::copy_from_slice(self.name.as_bytes());
        let mut writes = vec![Write::Put {
            key: LEASE.to_owned(),
            value: lease,
            ttl: Some(LEASE_LIVES),
        }];
        if is_up(&self.parts.bus.link().borrow()) {
            writes.push(Write::Put {
                key: HEARD.to_owned(),
                value: Bytes::from(now.as_millis().to_string()),
                ttl: None,
            });
        }
        writes.extend(records::signs_of_life(
            &self.name,
            &lock(&self.parts.ledger),
            now,
        ));
        // The epoch is still ours: nobody took over, even if the lease had run out.
        let guard = (EPOCH, epoch.as_bytes());
        if self.parts.store.commit(guard, &writes).await? {
            // From when it was asked: the lease runs from then on at the earliest.
            self.renewed_at.store(now.as_millis(), Ordering::Relaxed);
        } else {
            self.step_down("another one has begun");
        }
        Ok(())
    }

    /// Leaves the sign that this plane lives, and its workers with it.
    async fn show_life(&self) -> Result<(), StoreError> {
        let now = self.parts.clock.now();
        let (key, sign) = records::instance(&self.name, now);
        let sign = Bytes::from(sign.to_string());
        self.parts.store.put(&key, sign, Some(LEASE_LIVES)).await
    }

    /// Looks for planes that are gone, and gives the jobs of their workers to others:
    /// the workers of a plane end with it.
    async fn miss_planes(&self) -> Result<(), StoreError> {
        if !self.leads() {
            return Ok(());
        }
        let own = tag(&self.name);
        let mut tags = lock(&self.parts.ledger).worker_tags();
        tags.retain(|it| it != own);
        let keys: Vec<String> = tags
            .iter()
            .map(|tag| records::instance_key(&format!("{PLANE}{tag}")))
            .collect();
        let signs = self.parts.store.get_many(&keys).await?;
        let mut gone = Vec::new();
        {
            let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
            silent.retain(|tag, _| tags.contains(tag));
            for (tag, sign) in tags.into_iter().zip(signs) {
                if sign.is_some() {
                    silent.remove(&tag);
                    continue;
                }
                let times = silent.entry(tag.clone()).or_default();
                *times = times.saturating_add(1);
                if *times >= MISSED_LOOKS {
                    gone.push(tag);
                }
            }
        }
        let now = self.parts.clock.now();
        for tag in gone {
            let jobs = lock(&self.parts.ledger).workers_are_gone(&tag, now);
            if jobs > 0 {
                tracing::warn!(
                    plane = format!("{PLANE}{tag}"),
                    jobs,
                    "a plane is gone; others get its jobs"
                );
                self.parts.wake.notify_one();
            }
        }
        Ok(())
    }

    async fn take_over(&self) -> Result<(), StoreError> {
        let store = &*self.parts.store;
        let lease = Bytes::copy_from_slice(self.name.as_bytes());
        let free = store.compare_and_set(LEASE, None, lease, Some(LEASE_LIVES));
        if !free.await? {
            let leader = store.get(LEASE).await?;
            let leader = leader.map(|it| String::from_utf8_lossy(&it).into_owned());
            // Our own, from a try that was cut short.
            if leader.as_deref() != Some(&self.name) {
                self.compare_policies().await?;
                self.standing.send_if_modified(|standing| {
                    let now = Standing::By { leader };
                    let news = *standing != now;
                    *standing = now;
                    news
                });
                return Ok(());
            }
        }
        let before = store.get(EPOCH).await?;
        let number = before
            .as_deref()
            .and_then(|it| {
                std::str::from_utf8(it)
                    .ok()?
                    .split_once(' ')?
                    .0
                    .parse()
                    .ok()
            })
            .unwrap_or(0_u64);
        let epoch = format!("{} {}", number.saturating_add(1), self.name);
        let value = Bytes::copy_from_slice(epoch.as_bytes());
        if !store
            .compare_and_set(EPOCH, before.as_deref(), value, None)
            .await?
        {
            return Ok(());
        }
        // Nobody else writes from here on.
        let saved = self.read().await?;
        let counts = match &self.parts.kernel {
            Some(kernel) => Some((kernel, counts::read(store, &kernel.policy()).await?)),
            None => None,
        };
        let heard = store.get(HEARD).await?;
        let heard = heard.and_then(|it| std::str::from_utf8(&it).ok()?.parse().ok());
        if let Some(ms) = heard {
            self.hear_again(Timestamp::from_millis(ms)).await;
        }
        let (jobs, now) = (saved.len(), self.parts.clock.now());
        {
            let _turn = self.turn.lock().await;
            let mut ledger = lock(&self.parts.ledger);
            *ledger = ledger.restored(saved, number, now);
            if let Some((kernel, counts)) = counts {
                kernel.rates().restore(counts);
            }
            self.standing.send_replace(Standing::Leads {
                epoch: epoch.clone(),
            });
        }
        // Not news of every start, but of every death: somebody wants to read it.
        if number > 0 {
            tracing::warn!(plane = self.name, epoch, jobs, "this plane leads now");
        }
        self.parts.wake.notify_one();
        self.renew().await
    }

    /// Whether the plane that leads has another policy than this one, which would put its
    /// own in force if it took over.
    pub fn policy_differs(&self) -> bool {
        self.policy_differs.load(Ordering::Relaxed) && !self.leads()
    }

    async fn compare_policies(&self) -> Result<(), StoreError> {
        let theirs = self.parts.store.list(records::SNAPSHOTS).await?;
        let theirs = theirs
            .first()
            .map(|it| String::from_utf8_lossy(it).into_owned());
        let ours = lock(&self.parts.ledger)
            .current_snapshot()
            .map(str::to_owned);
        let (Some(theirs), Some(ours)) = (theirs, ours) else {
            return Ok(());
        };
        let differs = theirs != ours;
        if self.policy_differs.swap(differs, Ordering::Relaxed) != differs {
            if differs {
                tracing::warn!(
                    theirs,
                    ours,
                    "the plane that leads has another policy; this one's would be in force if it took over"
                );
            } else {
                tracing::warn!(ours, "the planes have the same policy again");
            }
        }
        Ok(())
    }

    /// Reads the record. A document that cannot be read stays where it is and is told.
    async fn read(&self) -> Result<Saved, StoreError> {
        let store = &*self.parts.store;
        let mut saved = Saved::default();
        match store.list(records::SNAPSHOTS).await {
            Ok(snapshots) => {
                for snapshot in snapshots {
                    saved.add_snapshot(&String::from_utf8_lossy(&snapshot));
                }
            }
            // Nobody waits for it, and it is written anew.
            Err(error @ StoreError::Refused { .. }) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the policies of before are not known");
            }
            Err(error) => return Err(error),
        }
        let limit = lock(&self.parts.ledger).limit();
        let mut places = Vec::new();
        for (index, prefix, limit) in [
            (JOBS, JOB, limit),
            (ROLLBACKS, ROLLBACK, limit),
            (KEYS, KEY, MAX_PAST_KEYS),
        ] {
            let listed = store.newest(index, limit).await?;
            let listed = listed.into_iter();
            places.push((
                prefix,
                listed.map(|it| format!("{prefix}{}", it.member)).collect(),
            ));
        }
        let turned_away = (0..MAX_TURNED_AWAY).map(|place| format!("{TURNED_AWAY}{place}"));
        places.push((TURNED_AWAY, turned_away.collect::<Vec<_>>()));
        for (prefix, keys) in places {
            for some in keys.chunks(READ_AT_ONCE) {
                let documents = store.get_many(some).await?;
                for (key, document) in some.iter().zip(documents) {
                    // One that ended long ago is listed longer than it lives, and of the
                    // places of those that were turned away not all are taken.
                    let Some(document) = document else { continue };
                    let added = match prefix {
                        JOB => saved.add_job(&document),
                        KEY => saved.add_key(&document),
                        TURNED_AWAY => saved.add_turned_away(&document),
                        _ => saved.add_stack(&document),
                    };
                    if let Err(error) = added {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(key, error, "a record is left out");
                    }
                }
            }
        }
        if let Some(document) = store.get(records::BREAKER).await?
            && let Err(error) = saved.set_breaker(&document)
        {
            let (key, error) = (records::BREAKER, &error as &dyn std::error::Error);
            tracing::error!(key, error, "a record is left out");
        }
        Ok(saved)
    }

    /// Hears again what went over the bus since an instant, where the server knows it.
    async fn hear_again(&self, since: Timestamp) {
        let patterns = [wire::SUBMIT, wire::RESULT, wire::CANCEL]
            .map(|name| Pattern::from(&wire::subject(name)));
        let since = since.minus(OVERLAP);
        match self.parts.bus.replay(&patterns, since).await {
            Ok(deliveries) => {
                let now = self.parts.clock.now();
                let mut missed = self.lock_missed();
                for delivery in deliveries.into_iter().rev() {
                    missed.push_front((now, delivery));
                }
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, %since, "what went over the bus cannot be read again");
            }
        }
    }

    fn step_down(&self, why: &str) {
        if !self.leads() {
            return;
        }
        tracing::warn!(plane = self.name, why, "this plane leads no more");
        let now = self.parts.clock.now();
        let mut ledger = lock(&self.parts.ledger);
        *ledger = ledger.restored(Saved::default(), 0, now);
        self.standing.send_replace(Standing::By { leader: None });
    }

    /// Lets another one lead at once.
    async fn give_up(&self) {
        if let Err(error) = self.keep().await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the last changes are not on record");
        }
        let Standing::Leads { epoch } = self.standing.borrow().clone() else {
            return;
        };
        let free = [Write::Delete {
            key: LEASE.to_owned(),
        }];
        let guard = (EPOCH, epoch.as_bytes());
        if let Err(error) = self.parts.store.commit(guard, &free).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the lease runs out by itself");
        }
    }
}

/// The end of the names of a plane's workers.
fn tag(plane: &str) -> &str {
    plane.strip_prefix(PLANE).unwrap_or(plane)
}

#[cfg(test)]
mod tests;
