//! The workers, by what they say of themselves.
//!
//! A worker is what its last heartbeat says. Whether it lives is not kept but
//! derived from stamps, the present instant and our own line: silence that we
//! could not have heard through proves nothing about a worker. Start at
//! [`Worker::standing`].

use std::sync::Arc;

use crate::ids::{PoolName, WorkerId};
use crate::state::event::WorkerFact;
use crate::state::limits;
use crate::state::model::jobs::{Labels, bounded, labels};
use crate::state::model::link::Hearing;
use crate::state::shared::{Interner, SharedMap, Text, text};
use crate::time::{Elapsed, Timestamp};
use crate::wire::packet::{Heartbeat, Packet};

/// A share of something in thousandths of a percent, so that it can be compared and added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Load(u32);

impl Load {
    /// Reads percent as reported; `None` for what is not a number or below zero.
    pub fn from_percent(percent: f32) -> Option<Self> {
        let milli = f64::from(percent) * 1_000.0;
        // A float-to-integer cast saturates, so a worker that reports 1e30 % is
        // shown with the largest load there is.
        (milli >= 0.0).then_some(Self(milli.round() as u32))
    }

    /// Percent, as reported.
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 1_000.0
    }

    /// Thousandths of a percent.
    pub fn milli_percent(self) -> u32 {
        self.0
    }
}

/// How a worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Silent for [`limits::LOST`] and more.
    Lost,
    /// It lives, and a job it has does not move.
    Zombie,
    /// Silent for more than two of its intervals.
    Late,
    /// It lives and takes no new jobs.
    Draining,
    /// It lives.
    Live,
    /// We have not been able to hear it.
    Unknown,
}

impl Standing {
    /// All of them, worst first.
    pub const ALL: &[Self] = &[
        Self::Lost,
        Self::Zombie,
        Self::Late,
        Self::Draining,
        Self::Live,
        Self::Unknown,
    ];

    /// The name in JSON and in filters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Zombie => "zombie",
            Self::Late => "late",
            Self::Draining => "draining",
            Self::Live => "live",
            Self::Unknown => "unknown",
        }
    }
}

/// A worker as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// The worker.
    pub id: WorkerId,
    /// Its pool.
    pub pool: Option<PoolName>,
    /// Where it runs.
    pub region: Text,
    /// What kind of worker it is.
    pub kind: Text,
    /// The agent it runs.
    pub agent: Text,
    /// Jobs it says it works on.
    pub active_jobs: i32,
    /// Jobs it may work on at once; `None` if it does not say.
    pub max_parallel_jobs: Option<i32>,
    /// Load of its processors.
    pub cpu: Option<Load>,
    /// Load of its memory.
    pub memory: Option<Load>,
    /// Load of its accelerators; zero is also what one without any says.
    pub gpu: Option<Load>,
    /// How far it says the job it is at is, 0 to 100.
    pub progress_pct: i32,
    /// Its last word on that job.
    pub last_memo: Text,
    /// What it can do.
    pub capabilities: Arc<[Arc<str>]>,
    /// Its labels.
    pub labels: Labels,
    /// Whether its heartbeats carry a session token.
    pub has_session: bool,
    /// Since when it takes no more jobs, as far as it was heard; `None` while it does.
    pub full_since: Option<Timestamp>,
    /// When it was heard of first.
    pub first_seen: Timestamp,
    /// Heartbeats heard.
    pub beats: u64,
    /// When it was heard last; `None` if only the plane told about it.
    pub heard_at: Option<Timestamp>,
    /// When the plane heard it, where the bus tells nothing.
    pub told_at: Option<Timestamp>,
    /// Its clock minus ours at the last heartbeat, in milliseconds, delay included.
    pub clock_skew_ms: Option<i64>,
    interval: Option<Elapsed>,
    deaf_before: Elapsed,
    sent: Option<Timestamp>,
}

impl Worker {
    fn new(id: WorkerId, at: Timestamp) -> Self {
        Self {
            id,
            pool: None,
            region: None,
            kind: None,
            agent: None,
            active_jobs: 0,
            max_parallel_jobs: None,
            cpu: None,
            memory: None,
            gpu: None,
            progress_pct: 0,
            last_memo: None,
            capabilities: Arc::default(),
            labels: Arc::default(),
            has_session: false,
            full_since: None,
            first_seen: at,
            beats: 0,
            heard_at: None,
            told_at: None,
            clock_skew_ms: None,
            interval: None,
            deaf_before: Elapsed::ZERO,
            sent: None,
        }
    }

    /// How often it beats, from the gaps heard, between 1 s and 15 s; assumed to be [`limits::BEAT`] before the second beat.
    pub fn interval(&self) -> Elapsed {
        self.interval.unwrap_or(limits::BEAT)
    }

    /// How long ago it was heard, by us or else by the plane; `None` if never.
    pub fn silence(&self, now: Timestamp) -> Option<Elapsed> {
        Some(now.since(self.heard_at.or(self.told_at)?))
    }

    /// How it stands. `stalled` is whether a job it has is stalled, `pool_drains`
    /// whether its pool takes no new jobs.
    ///
    /// Only time in which we could hear counts: a worker that was lost before our
    /// line was cut stays lost, and none becomes lost because of the cut.
    pub fn standing(
        &self,
        now: Timestamp,
        hearing: &Hearing,
        stalled: bool,
        pool_drains: bool,
    ) -> Standing {
        let Some(silence) = self.silence(now) else {
            return Standing::Unknown;
        };
        // The plane hears on the same bus, so what cuts us off may cut it off as well.
        let deaf = hearing.deaf_in_all(now).as_millis();
        let deaf = deaf.saturating_sub(self.deaf_before.as_millis());
        let heard_silence = silence.as_millis().saturating_sub(deaf);
        let two_beats = self.interval().as_millis().saturating_mul(2);
        let told_only = self.heard_at.is_none();
        if heard_silence >= limits::LOST.as_millis() {
            Standing::Lost
        } else if deaf > 0 && silence.as_millis() > two_beats {
            Standing::Unknown
        } else if heard_silence > two_beats && !told_only {
            Standing::Late
        } else if stalled {
            Standing::Zombie
        } else if pool_drains || self.says_it_drains() {
            Standing::Draining
        } else {
            Standing::Live
        }
    }

    /// Whether its row is no longer shown: lost for [`limits::GONE`].
    pub fn is_gone(&self, now: Timestamp, hearing: &Hearing) -> bool {
        let deaf = hearing
            .deaf_in_all(now)
            .as_millis()
            .saturating_sub(self.deaf_before.as_millis());
        self.silence(now).is_some_and(|silence| {
            silence.as_millis().saturating_sub(deaf)
                >= limits::LOST.as_millis() + limits::GONE.as_millis()
        })
    }

    /// Whether more jobs are active than it may have.
    pub fn slots_overrun(&self) -> bool {
        self.max_parallel_jobs
            .is_some_and(|max| self.active_jobs > max)
    }

    /// The share of its slots in use; `None` if it does not say how many it has.
    pub fn slots(&self) -> Option<Load> {
        let max = u64::try_from(self.max_parallel_jobs?)
            .ok()
            .filter(|max| *max > 0)?;
        let active = u64::try_from(self.active_jobs).unwrap_or(0);
        let milli = (active * 100_000 / max).min(u64::from(u32::MAX));
        Some(Load(u32::try_from(milli).unwrap_or(u32::MAX)))
    }

    /// Jobs that it takes before it is overloaded: at nine tenths of its slots, or at
    /// 90 % of cpu or gpu. Memory does not count. This is the rule by which CAP
    /// schedulers place jobs.
    pub fn free_slots(&self) -> u64 {
        let hot = [self.cpu, self.gpu]
            .into_iter()
            .flatten()
            .any(|load| load.milli_percent() >= 90_000);
        let max = self
            .max_parallel_jobs
            .and_then(|max| u64::try_from(max).ok());
        let (Some(max), false) = (max, hot) else {
            return 0;
        };
        let active = u64::try_from(self.active_jobs).unwrap_or(0);
        (max * 9).div_ceil(10).saturating_sub(active)
    }

    fn fill_up(&mut self, at: Timestamp) {
        self.full_since = match self.free_slots() {
            0 => self.full_since.or(Some(at)),
            _ => None,
        };
    }

    /// The largest of its slots, processors, memory and accelerators, at most 1;
    /// `None` if it reports none of them.
    pub fn pressure(&self) -> Option<f64> {
        let largest = [self.slots(), self.cpu, self.memory, self.gpu]
            .into_iter()
            .flatten()
            .max()?;
        Some((largest.percent() / 100.0).min(1.0))
    }

    /// The order by pressure, in thousandths of a percent, at most 100,000.
    pub fn pressure_key(&self) -> u32 {
        [self.slots(), self.cpu, self.memory, self.gpu]
            .into_iter()
            .flatten()
            .max()
            .map_or(0, |load| load.milli_percent().min(100_000))
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels
            .iter()
            .find(|(key, _)| &**key == name)
            .map(|(_, value)| &**value)
    }

    fn says_it_drains(&self) -> bool {
        self.label("draining") == Some("true")
            || ["state", "status"]
                .iter()
                .any(|name| self.label(name) == Some("draining"))
    }
}

/// The workers that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workers {
    rows: SharedMap<WorkerId, Arc<Worker>>,
    dropped: u64,
    interner: Interner,
}

impl Workers {
    /// How many workers are kept, those that are gone included until room is needed.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no worker is known.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Workers that found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// A worker by its id.
    pub fn get(&self, id: &WorkerId) -> Option<&Arc<Worker>> {
        self.rows.get(id)
    }

    /// All workers that are shown, in an order that is fixed but means nothing.
    pub fn shown<'a>(
        &'a self,
        now: Timestamp,
        hearing: &'a Hearing,
    ) -> impl Iterator<Item = &'a Arc<Worker>> {
        self.rows
            .values()
            .filter(move |row| !row.is_gone(now, hearing))
    }

    pub(crate) fn beat(
        &mut self,
        beat: &Heartbeat,
        packet: &Packet,
        at: Timestamp,
        hearing: &Hearing,
    ) {
        let id = if beat.worker_id.is_empty() {
            WorkerId::from(packet.sender.as_str())
        } else {
            beat.worker_id.clone()
        };
        if id.is_empty() {
            return;
        }
        let Some(row) = self.row(&id, at, hearing) else {
            return;
        };
        let overtaken = packet
            .sent_at
            .is_some_and(|sent| row.sent.is_some_and(|last| sent < last && last <= at));
        let repeated = packet.sent_at.is_some() && packet.sent_at == row.sent;
        if overtaken || repeated {
            return;
        }
        let deaf = hearing.deaf_in_all(at);
        let mut interner = std::mem::take(&mut self.interner);
        let Some(row) = self.rows.get_mut(&id) else {
            return;
        };
        let row = Arc::make_mut(row);
        if let Some(last) = row.heard_at
            && deaf == row.deaf_before
        {
            let gap = at.since(last).as_millis();
            // Gaps of a stalled worker or of packets that queued up say nothing
            // about how often it means to beat.
            if (500..=limits::LOST.as_millis() / 2).contains(&gap) {
                let usual = row
                    .interval
                    .map_or(gap, |it| (it.as_millis() * 3 + gap) / 4);
                row.interval = Some(Elapsed::from_millis(usual.max(1_000)));
            }
        }
        row.heard_at = Some(at);
        row.deaf_before = deaf;
        row.beats = row.beats.saturating_add(1);
        row.sent = packet.sent_at.or(row.sent);
        row.clock_skew_ms = packet
            .sent_at
            .map(|sent| sent.as_millis().saturating_sub(at.as_millis()));
        if !beat.pool.is_empty() {
            row.pool = Some(beat.pool.clone());
        }
        let mut learn = |known: &mut Text, news: &str| {
            if !news.is_empty() && known.as_deref() != Some(bounded(news)) {
                *known = interner.text(bounded(news));
            }
        };
        learn(&mut row.region, &beat.region);
        learn(&mut row.kind, &beat.kind);
        learn(&mut row.agent, &beat.agent_name);
        if row.last_memo.as_deref() != Some(bounded(&beat.last_memo)) {
            row.last_memo = text(bounded(&beat.last_memo));
        }
        row.active_jobs = beat.active_jobs;
        row.max_parallel_jobs = (beat.max_parallel_jobs > 0).then_some(beat.max_parallel_jobs);
        row.cpu = Load::from_percent(beat.cpu_load);
        row.memory = Load::from_percent(beat.memory_load);
        row.gpu = Load::from_percent(beat.gpu_utilization);
        row.fill_up(at);
        row.progress_pct = beat.progress_pct;
        row.has_session = beat.has_auth_token;
        let same = row.capabilities.len() == beat.capabilities.len().min(limits::LABELS)
            && row
                .capabilities
                .iter()
                .zip(&beat.capabilities)
                .all(|(known, news)| **known == *bounded(news));
        if !same {
            row.capabilities = beat
                .capabilities
                .iter()
                .take(limits::LABELS)
                .map(|it| interner.text(bounded(it)).unwrap_or_default())
                .collect();
        }
        let same = row.labels.len() == beat.labels.len().min(limits::LABELS)
            && row
                .labels
                .iter()
                .zip(&beat.labels)
                .all(|((key, value), (k, v))| **key == *bounded(k) && **value == *bounded(v));
        if !same {
            row.labels = labels(beat.labels.iter(), &mut interner);
        }
        self.interner = interner;
    }

    /// The plane's word counts only for workers that we do not hear ourselves.
    pub(crate) fn told(&mut self, fact: &WorkerFact, at: Timestamp, hearing: &Hearing) {
        if fact.worker_id.is_empty() {
            return;
        }
        let Some(row) = self.row(&fact.worker_id, at, hearing) else {
            return;
        };
        if row.heard_at.is_some() && hearing.hears() {
            return;
        }
        let row = Arc::make_mut(row);
        let told_at = Some(fact.heard_at.map_or(at, |told| told.min(at)));
        if row.heard_at.is_none() && told_at > row.told_at {
            row.deaf_before = hearing.deaf_in_all(at);
        }
        row.told_at = told_at;
        if !fact.pool.is_empty() {
            row.pool = Some(fact.pool.clone());
        }
        if !fact.region.is_empty() {
            row.region = Some(Arc::clone(&fact.region));
        }
        row.active_jobs = fact.active_jobs;
        row.max_parallel_jobs = (fact.max_parallel_jobs > 0).then_some(fact.max_parallel_jobs);
        row.cpu = Load::from_percent(fact.cpu_load);
        row.memory = Load::from_percent(fact.memory_load);
        row.gpu = Load::from_percent(fact.gpu_utilization);
        row.fill_up(at);
    }

    fn row(&mut self, id: &WorkerId, at: Timestamp, hearing: &Hearing) -> Option<&mut Arc<Worker>> {
        if self.rows.get(id).is_none() && self.rows.len() >= limits::WORKERS {
            let gone: Vec<WorkerId> = self
                .rows
                .values()
                .filter(|row| row.is_gone(at, hearing))
                .map(|row| row.id.clone())
                .collect();
            for id in &gone {
                self.rows.remove(id);
            }
            if gone.is_empty() {
                self.dropped += 1;
                return None;
            }
        }
        Some(
            self.rows
                .get_or_insert_with(id, || Arc::new(Worker::new(id.clone(), at))),
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::state::script;

    /// How worker `w` stands after a script.
    #[track_caller]
    fn check(script: &str, expected: &str) {
        let state = script::run(script).expect("a script");
        let worker = state.model.workers.get(&"w".into()).expect("worker w");
        let standing = state.model.standing(worker, state.now);
        assert_eq!(standing.name(), expected, "{script}");
    }

    const BEATS: &str = "0s link nats up | 1s beat w | 3s beat w";

    #[test]
    fn a_worker_that_is_not_heard_is_late_and_then_lost() {
        check(&format!("{BEATS} | 4s tick"), "live");
        check(&format!("{BEATS} | 10s tick"), "late");
        check(&format!("{BEATS} | 33s tick"), "lost");
    }

    #[test]
    fn no_worker_turns_lost_while_our_own_line_is_cut_nor_when_it_is_back() {
        let cut = format!("{BEATS} | 4s link nats down");
        check(&format!("{cut} | 6s tick"), "live");
        check(&format!("{cut} | 64s tick"), "unknown");
        check(&format!("{cut} | 64s link nats up | 65s tick"), "unknown");
        check(&format!("{cut} | 64s link nats up | 65s beat w"), "live");
        // From then on silence counts again.
        check(&format!("{cut} | 64s link nats up | 94s tick"), "lost");
        check(&format!("{BEATS} | 40s link nats down | 64s tick"), "lost");
    }

    #[test]
    fn a_worker_that_only_the_plane_told_of_is_not_lost_by_a_cut_either() {
        let told = "0s link nats up | 0s link gateway up | 1s worker w heard=1s";
        let cut = format!("{told} | 2s link nats down | 5s worker w heard=1s");
        check(&format!("{cut} | 64s tick"), "unknown");
        check(&format!("{cut} | 64s link nats up | 65s tick"), "unknown");
        check(&format!("{cut} | 64s link nats up | 94s tick"), "lost");
        // As long as the plane hears it, it lives.
        check(
            &format!("{cut} | 60s worker w heard=60s | 61s tick"),
            "live",
        );
        // Where there is no bus the plane's word is all there is.
        check(
            "0s link gateway up | 1s worker w heard=1s | 64s tick",
            "lost",
        );
    }
}
