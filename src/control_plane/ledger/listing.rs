//! What the ledger tells who asks; nothing here changes it.

use std::collections::{BTreeMap, BTreeSet};

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

impl Ledger {
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
