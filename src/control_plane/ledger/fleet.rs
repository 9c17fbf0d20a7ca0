//! Workers as their heartbeats describe them, ordered so that the least loaded
//! one of a pool is found without looking at the others.
//!
//! A heartbeat is up to seconds old when it is read, so a worker's load is what
//! we gave it and have not got back, plus the jobs its last heartbeat counted
//! beyond that, which others gave it.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{PoolName, WorkerId};
use crate::time::{Elapsed, Timestamp};
use crate::wire::packet::{Handshake, Heartbeat, JobRequest, is_placement_label};

/// A worker that was silent for this long gets no job any more.
pub const STALE: Elapsed = Elapsed::from_secs(30);

/// Workers kept; the longest silent one goes first.
const MAX_WORKERS: usize = 20_000;

/// A job is not placed on a worker whose CPU or GPU is this busy, in percent.
const BUSY_PERCENT: f32 = 90.0;

/// The labels of a job that its worker must have too.
fn placement_labels(labels: &BTreeMap<String, String>) -> impl Iterator<Item = (&String, &String)> {
    labels.iter().filter(|(key, _)| is_placement_label(key))
}

/// What a job asks of the worker that takes it.
#[derive(Clone, Copy, Debug)]
pub struct Demands<'a> {
    request: &'a JobRequest,
}

impl<'a> Demands<'a> {
    /// Those of a request: what `meta.requires` names, and the labels for which
    /// [`is_placement_label`] holds.
    pub fn of(request: &'a JobRequest) -> Self {
        Self { request }
    }

    fn requires(self) -> &'a [String] {
        self.request
            .meta
            .as_ref()
            .map_or(&[], |meta| &meta.requires)
    }

    /// Whether any worker will do.
    fn are_none(self) -> bool {
        self.requires().is_empty() && placement_labels(&self.request.labels).next().is_none()
    }

    /// Whether a worker tells each capability that is required, letter case aside.
    pub fn are_offered_by(self, worker: &Worker) -> bool {
        self.requires().iter().all(|wanted| {
            let wanted = wanted.to_lowercase();
            let offered = &worker.heartbeat.capabilities;
            offered.iter().any(|offer| offer.to_lowercase() == wanted)
        })
    }

    /// Whether a worker has the labels too.
    pub fn are_met_by(self, worker: &Worker) -> bool {
        let has = &worker.heartbeat.labels;
        placement_labels(&self.request.labels).all(|(key, value)| has.get(key) == Some(value))
            && self.are_offered_by(worker)
    }
}

/// A worker as it describes itself, and what we gave it.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its last heartbeat.
    pub heartbeat: Heartbeat,
    /// When we heard it.
    pub seen_at: Timestamp,
    /// Topics it named in its last handshake.
    pub ready_topics: Vec<String>,
    /// Jobs we gave it that have not ended.
    pub in_flight: u32,
    others: u32,
    live: bool,
    addressable: bool,
    place: Option<(PoolName, u64)>,
}

impl Worker {
    /// Whether it was heard within [`STALE`].
    pub fn is_live(&self, now: Timestamp) -> bool {
        now.since(self.seen_at) < STALE
    }

    /// Whether it was heard lately, so that it may get jobs.
    pub(super) fn counts(&self) -> bool {
        self.live
    }

    /// Jobs it works on, ours and those of others.
    pub fn active(&self) -> u32 {
        self.in_flight.saturating_add(self.others)
    }

    /// Its slots; zero when it did not say.
    pub fn capacity(&self) -> u32 {
        u32::try_from(self.heartbeat.max_parallel_jobs).unwrap_or(0)
    }

    /// Whether it says that it takes no new job.
    pub fn is_draining(&self) -> bool {
        let label = self.heartbeat.labels.get("draining");
        label.is_some_and(|value| value == "true")
    }

    fn is_full(&self, more: u32) -> bool {
        let active = u64::from(self.active()) + u64::from(more);
        let capacity = u64::from(self.capacity());
        (capacity > 0 && active * 10 >= capacity * 9)
            || self.is_draining()
            || self.heartbeat.cpu_load >= BUSY_PERCENT
            || self.heartbeat.gpu_utilization >= BUSY_PERCENT
    }

    /// Jobs that fit until it is full.
    fn free(&self) -> u32 {
        if self.capacity() == 0 {
            return if self.is_full(0) { 0 } else { UNKNOWN_CAPACITY };
        }
        (0..self.capacity())
            .take_while(|more| !self.is_full(*more))
            .count()
            .try_into()
            .unwrap_or(u32::MAX)
    }

    /// Thousandths of `active_jobs + cpu_load/100 + gpu_utilization/100`.
    fn score(&self) -> u64 {
        let permille = |percent: f32| (percent.clamp(0.0, 1_000.0) * 10.0) as u64;
        u64::from(self.active()) * 1_000
            + permille(self.heartbeat.cpu_load)
            + permille(self.heartbeat.gpu_utilization)
    }

    fn topics(&self) -> BTreeSet<&str> {
        self.heartbeat
            .capabilities
            .iter()
            .chain(&self.ready_topics)
            .map(String::as_str)
            .filter(|topic| topic.starts_with("job."))
            .collect()
    }
}

/// Jobs that a worker without a stated capacity is woken for at once.
const UNKNOWN_CAPACITY: u32 = 64;

/// A pool as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSummary {
    /// Its name.
    pub name: PoolName,
    /// Live workers.
    pub workers: u32,
    /// Jobs they work on.
    pub active_jobs: u32,
    /// Their slots; workers that did not say count as none.
    pub capacity: u32,
    /// Jobs that wait for one of them.
    pub queued: u32,
    /// Topics its live workers name.
    pub topics: Vec<String>,
}

/// What a heartbeat or an ended job changed for those who wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Freed {
    pub(super) pool: PoolName,
    pub(super) worker: WorkerId,
    pub(super) slots: u32,
    /// A worker came that was not there before, or a topic, a capability or a label that
    /// jobs are placed by.
    pub(super) joined: bool,
}

/// All workers.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    workers: BTreeMap<WorkerId, Worker>,
    pools: BTreeMap<PoolName, Pool>,
    topics: BTreeMap<String, BTreeMap<PoolName, u32>>,
    silence: BTreeSet<(Timestamp, WorkerId)>,
    introduced: BTreeMap<WorkerId, Vec<String>>,
}

#[derive(Clone, Debug, Default)]
struct Pool {
    live: BTreeSet<WorkerId>,
    free: BTreeSet<(u64, WorkerId)>,
}

impl Fleet {
    /// A worker by its name.
    pub fn get(&self, id: &WorkerId) -> Option<&Worker> {
        self.workers.get(id)
    }

    /// All workers, live or not, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&WorkerId, &Worker)> {
        self.workers.iter()
    }

    /// Live workers of a pool.
    pub fn live_in(&self, pool: &PoolName) -> u32 {
        let live = self.pools.get(pool).map_or(0, |pool| pool.live.len());
        u32::try_from(live).unwrap_or(u32::MAX)
    }

    /// Whether a live worker of a pool is as `wanted`.
    pub fn any_in(&self, pool: &PoolName, wanted: impl Fn(&Worker) -> bool) -> bool {
        let pool = self.pools.get(pool);
        let mut live = pool.into_iter().flat_map(|pool| &pool.live);
        live.any(|id| self.workers.get(id).is_some_and(&wanted))
    }

    /// Whether any worker lives.
    pub fn any_live(&self) -> bool {
        !self.silence.is_empty()
    }

    /// Pools with live workers that name this topic.
    pub fn pools_naming(&self, topic: &str) -> impl Iterator<Item = &PoolName> {
        self.topics.get(topic).into_iter().flat_map(BTreeMap::keys)
    }

    /// The least loaded worker of a pool that has room and meets the demands, with its
    /// score; the first by name among equals.
    pub fn least_loaded(&self, pool: &PoolName, demands: Demands<'_>) -> Option<(u64, &WorkerId)> {
        let free = &self.pools.get(pool)?.free;
        let any = demands.are_none();
        let (score, id) = free.iter().find(|(_, id)| any || self.meets(id, demands))?;
        Some((*score, id))
    }

    /// Whether a worker is known and meets the demands.
    pub fn meets(&self, id: &WorkerId, demands: Demands<'_>) -> bool {
        let worker = self.workers.get(id);
        worker.is_some_and(|worker| demands.are_met_by(worker))
    }

    /// Whether a worker is live and has room.
    pub fn has_room(&self, id: &WorkerId) -> bool {
        self.workers
            .get(id)
            .is_some_and(|worker| worker.place.is_some() && !worker.is_full(0))
    }

    /// Each pool that has or had a worker, by name.
    pub(super) fn pools(&self) -> Vec<PoolSummary> {
        let mut pools: BTreeMap<&PoolName, PoolSummary> = BTreeMap::new();
        for worker in self.workers.values() {
            let name = &worker.heartbeat.pool;
            let pool = pools.entry(name).or_insert_with(|| PoolSummary {
                name: name.clone(),
                workers: 0,
                active_jobs: 0,
                capacity: 0,
                queued: 0,
                topics: Vec::new(),
            });
            if worker.live {
                pool.workers += 1;
                pool.active_jobs = pool.active_jobs.saturating_add(worker.active());
                pool.capacity = pool.capacity.saturating_add(worker.capacity());
            }
        }
        for (topic, of) in &self.topics {
            for name in of.keys() {
                if let Some(pool) = pools.get_mut(name) {
                    pool.topics.push(topic.clone());
                }
            }
        }
        pools.into_values().collect()
    }

    /// Takes a heartbeat; one without a name says nothing.
    pub(super) fn heartbeat(&mut self, heartbeat: Heartbeat, now: Timestamp) -> Option<Freed> {
        let id = heartbeat.worker_id.clone();
        if id.is_empty() {
            return None;
        }
        let old = self.detach(&id);
        let joined = old.as_ref().is_none_or(|old| {
            !old.live
                || old.heartbeat.pool != heartbeat.pool
                || old.heartbeat.capabilities != heartbeat.capabilities
                || !placement_labels(&old.heartbeat.labels).eq(placement_labels(&heartbeat.labels))
        });
        let in_flight = old.as_ref().map_or(0, |old| old.in_flight);
        let counted = u32::try_from(heartbeat.active_jobs).unwrap_or(0);
        let worker = Worker {
            seen_at: now,
            ready_topics: match old {
                Some(old) => old.ready_topics,
                None => self.introduced.remove(&id).unwrap_or_default(),
            },
            in_flight,
            others: counted.saturating_sub(in_flight),
            live: true,
            addressable: crate::wire::worker_jobs(&id).is_ok(),
            place: None,
            heartbeat,
        };
        self.attach(id.clone(), worker);
        self.bound();
        self.freed(&id, joined)
    }

    /// Takes the topics of a handshake.
    pub(super) fn handshake(&mut self, handshake: Handshake) -> Option<Freed> {
        let id = WorkerId::from(handshake.component_id);
        match self.detach(&id) {
            Some(mut worker) => {
                let joined = worker.ready_topics != handshake.ready_topics;
                worker.ready_topics = handshake.ready_topics;
                self.attach(id.clone(), worker);
                self.freed(&id, joined)
            }
            None => {
                if self.introduced.len() < MAX_WORKERS && !id.is_empty() {
                    self.introduced.insert(id, handshake.ready_topics);
                }
                None
            }
        }
    }

    /// Forgets what was given to workers; what they say of themselves stays.
    pub(super) fn without_jobs(&mut self) {
        self.each(|worker| worker.in_flight = 0);
        self.count_others();
    }

    /// Counts anew what others gave, from what workers said last and we gave.
    pub(super) fn count_others(&mut self) {
        self.each(|worker| {
            let counted = u32::try_from(worker.heartbeat.active_jobs).unwrap_or(0);
            worker.others = counted.saturating_sub(worker.in_flight);
        });
    }

    /// Counts on no worker until it is heard again.
    pub(super) fn doubt_all(&mut self) {
        self.each(|worker| worker.live = false);
    }

    /// Counts on no worker of these until it is heard again.
    pub(super) fn doubt(&mut self, which: impl Fn(&WorkerId) -> bool) {
        let ids: Vec<WorkerId> = self
            .workers
            .keys()
            .filter(|id| which(id))
            .cloned()
            .collect();
        for id in ids {
            if let Some(mut worker) = self.detach(&id) {
                worker.live = false;
                self.attach(id, worker);
            }
        }
    }

    fn each(&mut self, change: impl Fn(&mut Worker)) {
        let ids: Vec<WorkerId> = self.workers.keys().cloned().collect();
        for id in ids {
            if let Some(mut worker) = self.detach(&id) {
                change(&mut worker);
                self.attach(id, worker);
            }
        }
    }

    /// Counts a job that was given to a worker.
    pub(super) fn give(&mut self, id: &WorkerId) {
        if let Some(mut worker) = self.detach(id) {
            worker.in_flight = worker.in_flight.saturating_add(1);
            self.attach(id.clone(), worker);
        }
    }

    /// Counts a job that a worker no longer has.
    pub(super) fn take_back(&mut self, id: &WorkerId) -> Option<Freed> {
        let mut worker = self.detach(id)?;
        worker.in_flight = worker.in_flight.saturating_sub(1);
        self.attach(id.clone(), worker);
        self.freed(id, false)
    }

    /// Stops counting on workers that were silent for [`STALE`].
    pub(super) fn lose_silent(&mut self, now: Timestamp) {
        while let Some((seen_at, id)) = self.silence.first().cloned() {
            if now.since(seen_at) < STALE {
                break;
            }
            if let Some(mut worker) = self.detach(&id) {
                worker.live = false;
                self.attach(id, worker);
            }
        }
    }

    /// When the next worker is lost if it stays silent.
    pub(super) fn next_loss(&self) -> Option<Timestamp> {
        self.silence.first().map(|(seen_at, _)| seen_at.plus(STALE))
    }

    fn freed(&self, id: &WorkerId, joined: bool) -> Option<Freed> {
        let worker = self.workers.get(id)?;
        let (pool, _) = worker.place.as_ref()?;
        let slots = worker.free();
        (joined || slots > 0).then(|| Freed {
            pool: pool.clone(),
            worker: id.clone(),
            slots,
            joined,
        })
    }

    fn bound(&mut self) {
        while self.workers.len() > MAX_WORKERS {
            let lost = self
                .workers
                .iter()
                .min_by_key(|(_, worker)| worker.seen_at)
                .map(|(id, _)| id.clone());
            let Some(id) = lost else { return };
            self.detach(&id);
        }
    }

    fn attach(&mut self, id: WorkerId, mut worker: Worker) {
        worker.place = None;
        if worker.live {
            self.silence.insert((worker.seen_at, id.clone()));
            if worker.addressable {
                let name = worker.heartbeat.pool.clone();
                for topic in worker.topics() {
                    let of = self.topics.entry(topic.to_owned()).or_default();
                    *of.entry(name.clone()).or_default() += 1;
                }
                let score = worker.score();
                let pool = self.pools.entry(name.clone()).or_default();
                pool.live.insert(id.clone());
                if !worker.is_full(0) {
                    pool.free.insert((score, id.clone()));
                }
                worker.place = Some((name, score));
            }
        }
        self.workers.insert(id, worker);
    }

    fn detach(&mut self, id: &WorkerId) -> Option<Worker> {
        let mut worker = self.workers.remove(id)?;
        self.silence.remove(&(worker.seen_at, id.clone()));
        if let Some((name, score)) = worker.place.take() {
            for topic in worker.topics() {
                if let Some(of) = self.topics.get_mut(topic) {
                    if let Some(count) = of.get_mut(&name) {
                        *count -= 1;
                        if *count == 0 {
                            of.remove(&name);
                        }
                    }
                    if of.is_empty() {
                        self.topics.remove(topic);
                    }
                }
            }
            if let Some(pool) = self.pools.get_mut(&name) {
                pool.live.remove(id);
                pool.free.remove(&(score, id.clone()));
                if pool.live.is_empty() {
                    self.pools.remove(&name);
                }
            }
        }
        Some(worker)
    }
}
