//! The pools: nothing of their own, all of it from workers, jobs and counters.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::PoolName;
use crate::state::event::{PoolFact, Source};
use crate::state::limits;
use crate::state::model::Model;
use crate::state::model::jobs::{Change, JobState};
use crate::state::model::traffic::Series;
use crate::state::model::workers::Standing;
use crate::time::{Elapsed, Timestamp};

/// What the plane says about pools, and how fast jobs come and go by topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pools {
    told: BTreeMap<PoolName, PoolFact>,
    flow: BTreeMap<Arc<str>, Arc<Flow>>,
}

/// Jobs of one topic that came and that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Flow {
    arrived: Series,
    ended: Series,
}

/// Spans of 5 s, so that the last minute and the last five minutes can be taken.
const SPAN: Elapsed = Elapsed::from_secs(5);
/// Full spans in a minute.
const MINUTE: usize = 12;

/// A pool at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The pool.
    pub name: PoolName,
    /// Workers by standing, in the order of [`Standing::ALL`].
    pub standing: [u32; Standing::ALL.len()],
    /// Jobs its workers say they have; lost and unknown workers are left out.
    pub slots_used: u32,
    /// Jobs its workers may have at once.
    pub slots: u32,
    /// Jobs its workers take before each of them is overloaded.
    pub slots_free: u32,
    /// Since when none of them takes another job, as far as it was heard; `None` while
    /// one does.
    pub full_since: Option<Timestamp>,
    /// Workers at or over nine tenths of something.
    pub overloaded: u32,
    /// Mean load of the processors of its workers, in percent.
    pub cpu: Option<u32>,
    /// Mean load of their memory, in percent.
    pub memory: Option<u32>,
    /// Mean load of their accelerators, in percent.
    pub gpu: Option<u32>,
    /// The largest pressure, in thousandths of a percent; `None` without a live worker.
    pub worst_pressure: Option<u32>,
    /// The longest silence of a worker.
    pub oldest_beat: Option<Elapsed>,
    /// Jobs that wait to be handed over.
    pub queued: u32,
    /// Jobs that wait for a person.
    pub approvals: u32,
    /// Jobs that came in the last full minute.
    pub arrived: u32,
    /// Jobs that ended in the last full minute.
    pub ended: u32,
    /// Whether the bus is heard, which alone tells when jobs come and end.
    pub heard: bool,
    /// Whether it takes no new jobs.
    pub draining: bool,
}

impl Pool {
    /// Workers that stand so.
    pub fn workers(&self, standing: Standing) -> u32 {
        self.standing[standing as usize]
    }

    /// Workers that can take jobs: live, late or zombie.
    pub fn able(&self) -> u32 {
        self.workers(Standing::Live) + self.workers(Standing::Late) + self.workers(Standing::Zombie)
    }

    /// Jobs that came minus jobs that ended, a minute.
    pub fn net(&self) -> i64 {
        i64::from(self.arrived) - i64::from(self.ended)
    }

    /// What comes next if nothing changes.
    pub fn outlook(&self) -> Outlook {
        let free = i64::from(self.slots_free);
        let net = self.net();
        if self.able() == 0 && self.workers(Standing::Unknown) == 0 {
            if self.queued > 0 || self.standing.iter().sum::<u32>() > 0 {
                return Outlook::Stuck;
            }
            return Outlook::Steady;
        }
        if self.slots > 0 && free == 0 {
            return Outlook::Full;
        }
        if !self.heard {
            return Outlook::Unknown;
        }
        if net > 0 && self.slots > 0 {
            let minutes = (free - i64::from(self.queued)).max(0);
            let ms = u64::try_from(minutes).unwrap_or(0) * 60_000 / net.unsigned_abs();
            return Outlook::FullIn(Elapsed::from_millis(ms));
        }
        if net < 0 && self.queued > 0 {
            let ms = u64::from(self.queued) * 60_000 / net.unsigned_abs();
            return Outlook::DrainsIn(Elapsed::from_millis(ms));
        }
        Outlook::Steady
    }

    /// The place in the order of trouble, the soonest first: stuck, full, soonest
    /// full, longest drain, steady.
    pub fn trouble(&self) -> (u8, u64) {
        match self.outlook() {
            Outlook::Stuck => (0, 0),
            Outlook::Full => (1, 0),
            Outlook::FullIn(time) => (2, time.as_millis()),
            Outlook::DrainsIn(time) => (3, u64::MAX - time.as_millis()),
            Outlook::Steady | Outlook::Unknown => (4, 0),
        }
    }
}

/// What comes next for a pool if nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outlook {
    /// Nobody can take its jobs.
    Stuck,
    /// Each of its workers is overloaded, so none takes another job.
    Full,
    /// It will be full after this time.
    FullIn(Elapsed),
    /// Its queue will be empty after this time.
    DrainsIn(Elapsed),
    /// Nothing.
    Steady,
    /// Nobody tells how many jobs come and end.
    Unknown,
}

impl Pools {
    /// Whether the plane says that `pool` takes no new jobs.
    pub fn drains(&self, pool: Option<&PoolName>) -> bool {
        pool.and_then(|pool| self.told.get(pool))
            .is_some_and(|told| told.draining)
    }

    pub(crate) fn told(&mut self, facts: &[PoolFact]) {
        self.told = facts
            .iter()
            .take(limits::TOPICS)
            .map(|fact| (fact.name.clone(), fact.clone()))
            .collect();
    }

    pub(crate) fn changed(&mut self, change: &Change, arrived_at: Timestamp, ended_at: Timestamp) {
        let Some(topic) = &change.topic else {
            return;
        };
        let ended = change.to.is_some_and(JobState::is_terminal)
            && !change.from.is_some_and(JobState::is_terminal);
        let arrived = change.from.is_none() && change.to.is_some();
        if !ended && !arrived {
            return;
        }
        if !self.flow.contains_key(topic) {
            if self.flow.len() >= limits::TOPICS {
                return;
            }
            let flow = Flow {
                arrived: Series::new(SPAN),
                ended: Series::new(SPAN),
            };
            self.flow.insert(Arc::clone(topic), Arc::new(flow));
        }
        let Some(flow) = self.flow.get_mut(topic) else {
            return;
        };
        let flow = Arc::make_mut(flow);
        if arrived {
            flow.arrived.add(arrived_at, 1);
        }
        if ended {
            flow.ended.add(ended_at, 1);
        }
    }
}

/// The pool that takes jobs of a topic: the one the plane maps it to, else the
/// one of its second part, else `default` where there is such a pool.
fn pool_of(topic: &str, pools: &Pools, known: impl Fn(&str) -> bool) -> PoolName {
    let mapped = |takes: fn(&str, &str) -> bool| {
        pools
            .told
            .values()
            .find(|told| told.topics.iter().any(|it| takes(it, topic)))
    };
    if let Some(told) = mapped(|mapped, topic| mapped == topic).or_else(|| mapped(covers)) {
        return told.name.clone();
    }
    let second = topic.split('.').nth(1).unwrap_or(topic);
    if !known(second) && known("default") {
        return PoolName::from("default");
    }
    PoolName::from(second)
}

/// Whether a mapped topic with a `*` at its end covers `topic`.
fn covers(mapped: &str, topic: &str) -> bool {
    mapped
        .strip_suffix('*')
        .is_some_and(|start| topic.starts_with(start))
}

#[derive(Default)]
struct Building {
    standing: [u32; Standing::ALL.len()],
    used: u64,
    slots: u64,
    free: u64,
    full_since: Option<Timestamp>,
    overloaded: u32,
    cpu: Mean,
    memory: Mean,
    gpu: Mean,
    worst: Option<u32>,
    oldest: Option<Elapsed>,
    queued: u32,
    approvals: u32,
    arrived: u64,
    ended: u64,
}

#[derive(Default)]
struct Mean {
    sum: u64,
    n: u64,
}

impl Mean {
    fn add(&mut self, load: Option<crate::state::model::workers::Load>) {
        if let Some(load) = load {
            self.sum += u64::from(load.milli_percent());
            self.n += 1;
        }
    }

    fn percent(&self) -> Option<u32> {
        let mean = self.sum.checked_div(self.n)?;
        Some(u32::try_from((mean + 500) / 1_000).unwrap_or(u32::MAX))
    }
}

/// The one of `pools` that takes jobs of `topic`; `None` if none of them does.
pub(super) fn taking<'a>(model: &Model, topic: &str, pools: &'a [Pool]) -> Option<&'a Pool> {
    let find = |name: &str| pools.iter().find(|pool| pool.name.as_str() == name);
    let name = pool_of(topic, &model.pools, |name| find(name).is_some());
    find(name.as_str())
}

/// The pools as they are at `now`, by name.
pub(super) fn at(model: &Model, now: Timestamp) -> Vec<Pool> {
    let mut pools: BTreeMap<PoolName, Building> = BTreeMap::new();
    for name in model.pools.told.keys() {
        pools.insert(name.clone(), Building::default());
    }
    for worker in model.workers.shown(now, &model.links.hearing) {
        let Some(name) = &worker.pool else { continue };
        let standing = model.standing(worker, now);
        if !pools.contains_key(name) {
            pools.insert(name.clone(), Building::default());
        }
        let Some(pool) = pools.get_mut(name) else {
            continue;
        };
        pool.standing[standing as usize] += 1;
        pool.oldest = pool.oldest.max(worker.silence(now));
        if matches!(standing, Standing::Lost) {
            // What it would have taken until then nobody takes since.
            let lost_at = worker.heard_at.map(|at| at.plus(limits::LOST));
            pool.full_since = pool.full_since.max(worker.full_since.or(lost_at));
            continue;
        }
        pool.used += u64::try_from(worker.active_jobs).unwrap_or(0);
        pool.slots += worker
            .max_parallel_jobs
            .and_then(|max| u64::try_from(max).ok())
            .unwrap_or(0);
        pool.free += worker.free_slots();
        pool.full_since = pool.full_since.max(worker.full_since);
        pool.cpu.add(worker.cpu);
        pool.memory.add(worker.memory);
        pool.gpu.add(worker.gpu);
        let pressure = worker.pressure_key();
        pool.worst = pool.worst.max(Some(pressure));
        pool.overloaded += u32::from(pressure >= 90_000);
    }
    for (topic, load) in model.jobs.topics() {
        if load.queued == 0 && load.approvals == 0 {
            continue;
        }
        let name = pool_of(topic, &model.pools, |name| pools.contains_key(name));
        let pool = pools.entry(name).or_default();
        pool.queued += load.queued;
        pool.approvals += load.approvals;
    }
    for (topic, flow) in &model.pools.flow {
        let arrived = flow.arrived.sum_of_full(now, MINUTE);
        let ended = flow.ended.sum_of_full(now, MINUTE);
        if arrived == 0 && ended == 0 {
            continue;
        }
        let name = pool_of(topic, &model.pools, |name| pools.contains_key(name));
        let pool = pools.entry(name).or_default();
        pool.arrived += arrived;
        pool.ended += ended;
    }
    let heard = model.links.of(Source::Bus).is_up();
    let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    pools
        .into_iter()
        .map(|(name, it)| Pool {
            draining: model.pools.drains(Some(&name)),
            name,
            standing: it.standing,
            slots_used: small(it.used),
            slots: small(it.slots),
            slots_free: small(it.free),
            full_since: it.full_since.filter(|_| it.free == 0),
            overloaded: it.overloaded,
            cpu: it.cpu.percent(),
            memory: it.memory.percent(),
            gpu: it.gpu.percent(),
            worst_pressure: it.worst,
            oldest_beat: it.oldest,
            queued: it.queued,
            approvals: it.approvals,
            arrived: small(it.arrived),
            ended: small(it.ended),
            heard,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::script;

    fn pool(script: &str, name: &str) -> Pool {
        let state = script::run(&format!("0s link nats up | {script}")).expect("a script");
        state
            .model
            .pools_at(state.now)
            .into_iter()
            .find(|pool| pool.name.as_str() == name)
            .expect("the pool is there")
    }

    #[test]
    fn a_pool_is_full_when_none_of_its_workers_takes_another_job() {
        for (beats, free, outlook) in [
            ("0s beat w1 pool=gpu slots=1/2", 1, Outlook::Steady),
            ("0s beat w1 pool=gpu slots=2/2", 0, Outlook::Full),
            ("0s beat w1 pool=gpu slots=1/2 cpu=95", 0, Outlook::Full),
            (
                "0s beat w1 pool=gpu slots=8/8 | 0s beat w2 pool=gpu slots=7/8",
                1,
                Outlook::Steady,
            ),
            ("0s beat w1 pool=gpu slots=5/4", 0, Outlook::Full),
        ] {
            let pool = pool(beats, "gpu");
            assert_eq!(
                (pool.slots_free, pool.outlook()),
                (free, outlook),
                "{beats}"
            );
        }
    }

    #[test]
    fn without_the_bus_nobody_knows_what_comes_next_but_who_is_there() {
        let beat = "0s pool gpu topics=job.gpu | 0s beat w1 pool=gpu slots=2/12 | 1s submit a topic=job.gpu";
        for (bus, outlook) in [("up", Outlook::Steady), ("down", Outlook::Unknown)] {
            let script = format!("{beat} | 2s link nats {bus}");
            assert_eq!(pool(&script, "gpu").outlook(), outlook, "{bus}");
        }
        let full = "0s beat w1 pool=gpu slots=2/2 | 2s link nats down";
        assert_eq!(pool(full, "gpu").outlook(), Outlook::Full);
    }

    /// `count` events of a kind, one for each of the jobs `j0`, `j1` and so on.
    fn each(count: usize, event: impl Fn(usize) -> String) -> String {
        (0..count).map(|at| format!(" | {}", event(at))).collect()
    }

    #[test]
    fn the_forecast_is_the_free_slots_or_the_queue_over_what_comes_and_goes_in_a_minute() {
        let beat = "0s pool gpu topics=job.gpu | 0s beat w1 pool=gpu slots=2/12";
        let submit = |at| format!("1s submit j{at} topic=job.gpu");
        let end = |at| format!("20s succeed j{at} w1");
        let check = |script: String, queued: u32, net: i64, outlook: Outlook| {
            let pool = pool(
                &format!("{script} | 30s beat w1 pool=gpu slots=2/12"),
                "gpu",
            );
            assert_eq!((pool.queued, pool.net()), (queued, net), "{script}");
            assert_eq!(pool.outlook(), outlook, "{script}");
        };
        // Up to 90 % of twelve, nine more are taken, two of them wait already, and two
        // jobs more come than end: seven slots last three and a half minutes.
        check(
            format!("{beat}{}{}", each(6, submit), each(4, end)),
            2,
            2,
            Outlook::FullIn(Elapsed::from_secs(210)),
        );
        // Three wait, and what came before the last minute ends in it: five a minute.
        let before = |at| format!("1s submit j{at} topic=job.gpu");
        let later = |at| format!("100s succeed j{at} w1");
        let drains = format!("{beat}{}{} | 110s tick", each(8, before), each(5, later));
        let pool = pool(
            &format!("{drains} | 111s beat w1 pool=gpu slots=2/12"),
            "gpu",
        );
        assert_eq!((pool.queued, pool.net()), (3, -5));
        assert_eq!(pool.outlook(), Outlook::DrainsIn(Elapsed::from_secs(36)));
    }

    #[test]
    fn the_soonest_trouble_is_first_and_of_two_queues_the_one_that_drains_longest() {
        let submit = |name: &'static str, count| {
            each(count, move |at| {
                format!("1s submit {name}{at} topic=job.{name}")
            })
        };
        let end = |name: &'static str| each(3, move |at| format!("100s succeed {name}{at} w"));
        let state = script::run(&format!(
            "0s link nats up | 0s pool stuck topics=job.stuck | 0s pool short topics=job.short \
             | 0s pool long topics=job.long | 0s pool rises topics=job.rises{}{}{} \
             | 90s submit rises0 topic=job.rises{}{} | 110s beat w1 pool=full slots=2/2 \
             | 110s beat w2 pool=steady slots=1/2 | 110s beat w3 pool=short slots=0/9 \
             | 110s beat w4 pool=long slots=0/9 | 110s beat w5 pool=rises slots=0/9",
            submit("stuck", 1),
            submit("short", 5),
            submit("long", 8),
            end("short"),
            end("long"),
        ))
        .expect("a script");
        let mut pools = state.model.pools_at(state.now);
        pools.sort_by_key(Pool::trouble);
        let names: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
        assert_eq!(names, ["stuck", "full", "rises", "long", "short", "steady"]);
    }

    #[test]
    fn a_pool_is_full_since_the_last_of_its_workers_is() {
        let since = |script: &str| {
            let full = pool(script, "gpu").full_since;
            full.map(|at| at.since(script::START).as_secs())
        };
        let full = "0s beat w1 pool=gpu slots=2/2 | 5s beat w2 pool=gpu slots=2/2 | 10s beat w1 pool=gpu slots=2/2";
        assert_eq!(since(full), Some(5));
        let free = format!("{full} | 12s beat w2 pool=gpu slots=0/2");
        assert_eq!(since(&free), None);
        assert_eq!(
            since(&format!("{free} | 15s beat w2 pool=gpu slots=2/2")),
            Some(15)
        );
        // The one that had room is lost, and the other goes on.
        let lost = format!("0s link nats up | {free} | 44s beat w1 pool=gpu slots=2/2");
        assert_eq!(since(&lost), Some(42));
    }

    #[test]
    fn a_topic_waits_in_the_pool_it_is_mapped_to() {
        let script = "0s pool crawl topics=job.crawl.fetch,job.web.* \
                      | 0s beat w1 pool=default slots=0/4 | 1s submit j1 topic=job.web.search | 1s submit j2 topic=job.other.thing";
        assert_eq!(pool(script, "crawl").queued, 1);
        assert_eq!(pool(script, "default").queued, 1);
    }
}
