//! What the ledger tells who asks; nothing here changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;
use std::str::FromStr;

use super::{Breaker, Counters, DeadLetter, Fleet, Job, JobState, Ledger, PoolSummary};
use crate::ids::JobId;
use crate::time::Timestamp;

/// Which jobs a listing wants.
#[derive(Clone, Copy, Debug, Default)]
pub struct JobsQuery {
    /// Only those in this state.
    pub state: Option<JobState>,
    /// Only those that changed before.
    pub before: Option<Timestamp>,
    /// Only those that changed at or after.
    pub since: Option<Timestamp>,
}

/// A place in the list of approvals: the waiting ones, the oldest first, then the resolved
/// ones, the latest first. It stays where it is when others come, are resolved or are
/// forgotten, so that whoever reads page by page misses none that waits. As text it is
/// `w<us>-<number>` or `r<us>-<number>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApprovalPlace {
    /// Since when it waits, and the number of its job.
    Waits(Timestamp, u64),
    /// When it was resolved, and the number of its job.
    Resolved(Timestamp, u64),
}

impl fmt::Display for ApprovalPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, at, seq) = match self {
            Self::Waits(at, seq) => ('w', at, seq),
            Self::Resolved(at, seq) => ('r', at, seq),
        };
        write!(f, "{kind}{}-{seq}", at.as_micros())
    }
}

impl FromStr for ApprovalPlace {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let place = |kind: fn(Timestamp, u64) -> Self, rest: &str| {
            let (at, seq) = rest.split_once('-')?;
            let at = Timestamp::from_micros(at.parse().ok()?);
            Some(kind(at, seq.parse().ok()?))
        };
        let read = match (text.strip_prefix('w'), text.strip_prefix('r')) {
            (Some(rest), _) => place(Self::Waits, rest),
            (None, Some(rest)) => place(Self::Resolved, rest),
            (None, None) => None,
        };
        read.ok_or(NoPlace)
    }
}

/// The text names no [`ApprovalPlace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPlace;

impl Ledger {
    /// Approvals after a place, or from the first on; the `resolved` ones only if asked for.
    pub fn approvals_after(
        &self,
        after: Option<ApprovalPlace>,
        resolved: bool,
    ) -> impl Iterator<Item = (ApprovalPlace, &Job)> {
        let waiting = match after {
            None => Some(Bound::Unbounded),
            Some(ApprovalPlace::Waits(at, seq)) => Some(Bound::Excluded((at, seq))),
            Some(ApprovalPlace::Resolved(..)) => None,
        };
        let index = self.by_state.get(&JobState::ApprovalRequired).zip(waiting);
        let waiting = index.map(|(index, from)| index.range((from, Bound::Unbounded)));
        let waiting = waiting.into_iter().flatten();
        let to = match after {
            Some(ApprovalPlace::Resolved(at, seq)) => Bound::Excluded((at, seq)),
            None | Some(ApprovalPlace::Waits(..)) => Bound::Unbounded,
        };
        let ended = resolved.then(|| self.resolved.range((Bound::Unbounded, to)).rev());
        let ended = ended.into_iter().flatten();
        let waiting = waiting.map(|(at, seq)| (ApprovalPlace::Waits(*at, *seq), seq));
        let ended = ended.map(|(at, seq)| (ApprovalPlace::Resolved(*at, *seq), seq));
        waiting
            .chain(ended)
            .filter_map(|(place, seq)| Some((place, self.jobs.get(seq)?)))
    }

    /// A job by its name.
    pub fn job(&self, id: &JobId) -> Option<&Job> {
        self.jobs.get(self.ids.get(id)?)
    }

    /// Jobs, the last changed first.
    pub fn jobs(&self, query: JobsQuery) -> impl Iterator<Item = &Job> {
        let from = query.since.unwrap_or(Timestamp::from_millis(i64::MIN));
        let to = query.before.unwrap_or(Timestamp::from_millis(i64::MAX));
        let mut rows: Vec<_> = self
            .by_state
            .iter()
            .filter(|(state, _)| query.state.is_none_or(|wanted| wanted == **state))
            .map(|(_, index)| {
                let valid = from < to;
                let range = valid.then(|| index.range((from, 0)..(to, 0)).rev());
                range.into_iter().flatten().peekable()
            })
            .collect();
        std::iter::from_fn(move || {
            let newest = rows
                .iter_mut()
                .enumerate()
                .filter_map(|(i, row)| row.peek().map(|key| (**key, i)))
                .max()?
                .1;
            let (_, seq) = rows[newest].next()?;
            self.jobs.get(seq)
        })
    }

    /// Jobs in one state, the one that entered it first first.
    pub fn in_state(&self, state: JobState) -> impl Iterator<Item = &Job> {
        self.by_state
            .get(&state)
            .into_iter()
            .flatten()
            .filter_map(|(_, seq)| self.jobs.get(seq))
    }

    /// How many jobs are in each state.
    pub fn counts(&self) -> BTreeMap<JobState, usize> {
        JobState::ALL
            .into_iter()
            .map(|state| (state, self.by_state.get(&state).map_or(0, BTreeSet::len)))
            .collect()
    }

    /// The workers.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The pools that have or had workers, and those that jobs wait for.
    pub fn pools(&self) -> Vec<PoolSummary> {
        let mut pools: BTreeMap<_, _> = self
            .fleet
            .pools()
            .into_iter()
            .map(|pool| (pool.name.clone(), pool))
            .collect();
        for (name, line) in &self.lines {
            let pool = pools.entry(name.clone()).or_insert_with(|| PoolSummary {
                name: name.clone(),
                workers: 0,
                active_jobs: 0,
                capacity: 0,
                queued: 0,
                topics: Vec::new(),
            });
            pool.queued = u32::try_from(line.len()).unwrap_or(u32::MAX);
        }
        pools.into_values().collect()
    }

    /// Dead letters, the newest first.
    pub fn dead_letters(&self) -> impl Iterator<Item = &DeadLetter> {
        self.letters.newest_first()
    }

    /// The dead letter of a job.
    pub fn dead_letter(&self, id: &JobId) -> Option<&DeadLetter> {
        self.letters.get(id)
    }

    /// The breaker before the safety kernel.
    pub fn breaker(&self) -> Breaker {
        self.breaker
    }

    /// What was ignored or let go.
    pub fn counters(&self) -> Counters {
        Counters {
            forgotten_undos: self.rollbacks.dropped,
            ..self.counters
        }
    }
}
