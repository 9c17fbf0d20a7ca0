//! Asks the store for what a gateway would tell, where there is none: jobs at the
//! start and after a gap, then those that changed; approvals and the policy all
//! the time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{Notify, watch};

use super::{Asked, DETAIL_AGAIN, FAR, FAR_ROUNDS, NEAR, NEAR_ROUNDS, Sink, beside_address};
use crate::bus::LinkState as BusLink;
use crate::bus::gap::Gap;
use crate::ids::JobId;
use crate::runtime::records::{self, Depth, OPEN, RECENT, Record, Troubles, WAITING};
use crate::state::event::{Event, Source, Unreadable};
use crate::state::limits;
use crate::state::model::approvals::{ApprovalFact, ApprovalStatus};
use crate::state::model::jobs::{JobFact, JobState};
use crate::store::{Store, StoreError};
use crate::time::{Timestamp, sleep};

#[cfg(test)]
mod tests;

/// Jobs that are read of one index: ten times what planes keep as recent, and
/// more open ones than a person can look at.
const MOST: usize = 10_000;
/// Jobs that are told at once, so that the first are on the screen while the
/// others are read.
const CHUNK: usize = 500;
/// Approvals that are read again in one round although nothing says they changed.
const AGAIN: usize = 500;
/// Troubles that are kept, a job each; a store with more of them is no plane's.
const TROUBLES: usize = 1_000;

/// Asks until dropped.
pub(in crate::runtime) async fn store_records(
    store: Arc<dyn Store>,
    bus: Option<watch::Receiver<BusLink>>,
    sink: Sink,
    refresh: Arc<Notify>,
) {
    let (pause, every) = if store.is_near() {
        (NEAR, NEAR_ROUNDS)
    } else {
        (FAR, FAR_ROUNDS)
    };
    let mut line = Asked::new(Source::Store, sink.clone());
    let mut poll = Poll::new(store, sink);
    let mut gap = Gap::new(bus);
    let mut behind = true;
    let mut round = 0_u64;
    loop {
        // Taken before the questions, so that a wish in the middle of them counts.
        let again = refresh.notified();
        behind |= gap.has_ended();
        match poll.round(behind, round.is_multiple_of(every)).await {
            Ok(()) => {
                line.answered().await;
                behind = false;
                round += 1;
            }
            Err(error) => {
                line.failed(beside_address(&error), pause).await;
                behind = true;
            }
        }
        tokio::select! {
            () = sleep(poll.sink.clock.as_ref(), pause) => {}
            () = again => {
                poll.read_again();
                round = 0;
            }
        }
    }
}

struct Poll {
    store: Arc<dyn Store>,
    sink: Sink,
    /// Recent jobs: the score when they were read, and whether they had ended.
    seen: BTreeMap<JobId, (i64, bool)>,
    /// Jobs that had not ended when they were read last.
    open: BTreeSet<JobId>,
    /// Jobs that any index named when everything was asked for.
    named: BTreeSet<JobId>,
    /// Jobs that the index of recent ones names now.
    recent: BTreeSet<JobId>,
    /// Jobs that the index of waiting ones names now.
    queue: BTreeSet<JobId>,
    /// Jobs that wait for a person.
    waiting: BTreeMap<JobId, Waiting>,
    troubles: BTreeMap<Part, Vec<String>>,
    told: Unreadable,
}

struct Waiting {
    score: i64,
    /// When it was read; `None` when it is to be read again.
    at: Option<Timestamp>,
    fact: ApprovalFact,
}

/// A part of the store's answers, for what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// The index of recent jobs.
    Recent,
    /// The indexes of open jobs.
    Open,
    /// The index of waiting jobs.
    Queue,
    /// The policy in force.
    Policy,
    /// Workers and pools.
    Fleet,
    /// A job in a list.
    Row(JobId),
    /// A job that waits.
    Review(JobId),
}

impl Poll {
    fn new(store: Arc<dyn Store>, sink: Sink) -> Self {
        Self {
            store,
            sink,
            seen: BTreeMap::new(),
            open: BTreeSet::new(),
            named: BTreeSet::new(),
            recent: BTreeSet::new(),
            queue: BTreeSet::new(),
            waiting: BTreeMap::new(),
            troubles: BTreeMap::new(),
            told: Unreadable::default(),
        }
    }

    fn read_again(&mut self) {
        self.seen.clear();
        for waiting in self.waiting.values_mut() {
            waiting.at = None;
        }
    }

    /// One round of questions: `behind` asks for everything, `all` also for what
    /// changes slowly.
    async fn round(&mut self, behind: bool, all: bool) -> Result<(), StoreError> {
        let mut ended = Vec::new();
        if behind || all {
            ended = self.jobs(behind).await?;
        }
        let mut troubles = Troubles::default();
        let snapshot = records::snapshot(&*self.store, &mut troubles).await?;
        self.note(Part::Policy, troubles);
        if let Some(snapshot) = snapshot {
            self.sink.send(Event::Policy(snapshot)).await;
        }
        self.approvals(ended).await?;
        if behind || all {
            let mut troubles = Troubles::default();
            let fleet = records::fleet(&*self.store, &mut troubles).await?;
            self.note(Part::Fleet, troubles);
            if let Some((workers, pools)) = fleet {
                self.sink.send(Event::Workers(workers)).await;
                self.sink.send(Event::Pools(pools)).await;
            }
        }
        self.tell_troubles().await;
        Ok(())
    }

    /// Tells of the jobs that may have changed. Returns the approvals among them
    /// that are over.
    async fn jobs(&mut self, behind: bool) -> Result<Vec<ApprovalFact>, StoreError> {
        let recent = self.index(RECENT, Part::Recent).await?;
        let mut wanted: BTreeMap<JobId, i64> = recent
            .iter()
            .filter(|(id, score)| behind || self.seen.get(id) != Some(&(*score, true)))
            .cloned()
            .collect();
        if behind {
            for key in OPEN {
                for (id, score) in self.index(key, Part::Open).await? {
                    wanted.entry(id).or_insert(score);
                }
            }
            // What was open and is in no index any more has ended meanwhile.
            for id in &self.open {
                wanted.entry(id.clone()).or_default();
            }
        }
        let listed: BTreeMap<JobId, i64> = recent.into_iter().collect();
        self.recent = listed.keys().cloned().collect();
        if behind {
            self.named = wanted.keys().cloned().collect();
        }
        self.seen.retain(|id, _| listed.contains_key(id));
        let mut over = Vec::new();
        let wanted: Vec<(JobId, i64)> = wanted.into_iter().collect();
        for chunk in wanted.chunks(CHUNK) {
            let read = self.read(chunk.to_vec(), Depth::Row).await?;
            let mut facts = Vec::with_capacity(read.len());
            for (id, record) in read {
                let Some(record) = record else {
                    self.open.remove(&id);
                    self.seen.remove(&id);
                    continue;
                };
                let ended = record.job.state.is_some_and(JobState::is_terminal);
                if ended {
                    self.open.remove(&id);
                } else {
                    self.open.insert(id.clone());
                }
                if let Some(score) = listed.get(&id) {
                    self.seen.insert(id, (*score, ended));
                }
                over.extend(record.approval.filter(is_over));
                facts.push(record.job);
            }
            self.sink.send(Event::Jobs(facts)).await;
        }
        Ok(over)
    }

    /// Tells of all approvals that wait, and of those that are `over`.
    async fn approvals(&mut self, mut over: Vec<ApprovalFact>) -> Result<(), StoreError> {
        let now = self.sink.clock.now();
        let queue = self.index(WAITING, Part::Queue).await?;
        self.queue = queue.iter().map(|(id, _)| id.clone()).collect();
        let gone: Vec<JobId> = self
            .waiting
            .keys()
            .filter(|id| !self.queue.contains(*id))
            .cloned()
            .collect();
        over.extend(self.follow(gone).await?);

        let mut again = AGAIN;
        let mut wanted = Vec::new();
        for (id, score) in &queue {
            let known = self.waiting.get(id).filter(|it| it.score == *score);
            let read_at = known.and_then(|it| it.at);
            let wants = match read_at {
                None => true,
                Some(at) if now.since(at).as_millis() < DETAIL_AGAIN.as_millis() => false,
                Some(_) => {
                    // A stored request can change without a word.
                    let left = again > 0;
                    again = again.saturating_sub(1);
                    left
                }
            };
            if wants {
                wanted.push((id.clone(), *score));
            }
        }
        for chunk in wanted.chunks(CHUNK) {
            let scores: BTreeMap<JobId, i64> = chunk.iter().cloned().collect();
            for (id, record) in self.read(chunk.to_vec(), Depth::Review).await? {
                // An entry can outlive its job's waiting, and even its record.
                let waits = record.as_ref().is_some_and(|it| it.waits);
                match record.and_then(|it| it.approval) {
                    Some(fact) if waits && !is_over(&fact) => {
                        let waiting = Waiting {
                            score: scores.get(&id).copied().unwrap_or_default(),
                            at: Some(now),
                            fact,
                        };
                        self.waiting.insert(id, waiting);
                    }
                    other => {
                        self.waiting.remove(&id);
                        over.extend(other.filter(is_over));
                    }
                }
            }
        }
        // More would only push each other out.
        over.sort_by_key(|it| Reverse(it.resolved_at));
        over.truncate(limits::DECIDED);
        let mut facts: Vec<ApprovalFact> =
            self.waiting.values().map(|it| it.fact.clone()).collect();
        facts.extend(over);
        self.sink.send(Event::Approvals(facts)).await;
        Ok(())
    }

    /// Tells what became of jobs that waited. Returns their approvals.
    async fn follow(&mut self, gone: Vec<JobId>) -> Result<Vec<ApprovalFact>, StoreError> {
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        let entries = gone.iter().map(|id| (id.clone(), 0)).collect();
        let read = self.read(entries, Depth::Row).await?;
        for id in &gone {
            self.waiting.remove(id);
        }
        let mut over = Vec::new();
        let mut facts: Vec<JobFact> = Vec::new();
        for (_, record) in read {
            let Some(record) = record else { continue };
            over.extend(record.approval.filter(is_over));
            facts.push(record.job);
        }
        // Before the list, which would only show that they are gone.
        self.sink.send(Event::Jobs(facts)).await;
        Ok(over)
    }

    async fn index(&mut self, key: &str, part: Part) -> Result<Vec<(JobId, i64)>, StoreError> {
        let mut troubles = Troubles::default();
        let entries = records::index(&*self.store, key, MOST, &mut troubles).await?;
        self.note(part, troubles);
        Ok(entries)
    }

    async fn read(
        &mut self,
        entries: Vec<(JobId, i64)>,
        depth: Depth,
    ) -> Result<Vec<(JobId, Option<Record>)>, StoreError> {
        let read = records::records(&self.store, entries, depth).await?;
        Ok(read
            .into_iter()
            .map(|(id, record, troubles)| {
                let part = match depth {
                    Depth::Row => Part::Row(id.clone()),
                    Depth::Review | Depth::Page => Part::Review(id.clone()),
                };
                self.note(part, troubles);
                (id, record)
            })
            .collect())
    }

    fn note(&mut self, part: Part, troubles: Troubles) {
        if troubles.0.is_empty() {
            self.troubles.remove(&part);
            return;
        }
        let known = self.troubles.get(&part);
        if known == Some(&troubles.0) || (known.is_none() && self.troubles.len() >= TROUBLES) {
            return;
        }
        troubles.log();
        self.troubles.insert(part, troubles.0);
    }

    async fn tell_troubles(&mut self) {
        let (named, recent, queue) = (&self.named, &self.recent, &self.queue);
        self.troubles.retain(|part, _| match part {
            Part::Row(id) => named.contains(id) || recent.contains(id),
            Part::Review(id) => queue.contains(id),
            Part::Recent | Part::Open | Part::Queue | Part::Policy | Part::Fleet => true,
        });
        // The list and the review of one job find the same things.
        let says: BTreeSet<&String> = self.troubles.values().flatten().collect();
        let told = Unreadable {
            records: says.len() as u64,
            such_as: says
                .first()
                .map_or_else(Arc::default, |it| Arc::from(it.as_str())),
        };
        if told != self.told {
            self.told = told.clone();
            self.sink.send(Event::Unreadable(told)).await;
        }
    }
}

fn is_over(approval: &ApprovalFact) -> bool {
    approval.status != ApprovalStatus::Pending
}
