//! The log of every evaluation of policy, across all jobs.
//!
//! A job keeps its own decisions; this log keeps those of all jobs in the order in
//! which they were made, also of submissions that were turned away and so never became
//! a job. A plane that is started anew makes it from what is on record, where repeated
//! evaluations of a waiting job are one with their number.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Asker, DecisionRecord, Ledger};
use crate::control_plane::kernel::Verdict;
use crate::time::Timestamp;
use crate::wire::packet::JobRequest;

/// Evaluations kept, the oldest go first: an hour of a busy demo.
pub const MAX_LOGGED: usize = 20_000;

/// One evaluation in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    /// Its place in the log, from 1; later ones are larger.
    pub number: u64,
    /// The request that was judged, as it was then.
    pub request: Arc<JobRequest>,
    /// What came of it.
    pub record: Arc<DecisionRecord>,
}

/// Which evaluations a listing wants; what is `None` does not matter.
#[derive(Clone, Copy, Debug, Default)]
pub struct DecisionsQuery<'a> {
    /// Made at or after.
    pub since: Option<Timestamp>,
    /// Made at or before.
    pub until: Option<Timestamp>,
    /// Of this topic.
    pub topic: Option<&'a str>,
    /// By this rule.
    pub rule_id: Option<&'a str>,
    /// With this outcome, by [`DecisionRecord::verdict`].
    pub verdict: Option<&'a str>,
    /// About a request of this actor.
    pub agent_id: Option<&'a str>,
    /// Of this tenant.
    pub tenant: Option<&'a str>,
    /// With a smaller number.
    pub before: Option<u64>,
}

impl DecisionsQuery<'_> {
    fn wants(&self, logged: &Logged) -> bool {
        let record = &logged.record;
        let tenant = logged.request.tenant().unwrap_or(super::DEFAULT_TENANT);
        let actor = || logged.request.meta.as_ref().map_or("", |it| &it.actor_id);
        self.since.is_none_or(|at| record.checked_at >= at)
            && self.until.is_none_or(|at| record.checked_at <= at)
            && self.topic.is_none_or(|it| it == logged.request.topic)
            && self
                .rule_id
                .is_none_or(|it| Some(it) == record.rule_id.as_deref())
            && self.verdict.is_none_or(|it| it == record.verdict())
            && self.agent_id.is_none_or(|it| it == actor())
            && self.tenant.is_none_or(|it| it == tenant)
            && self.before.is_none_or(|it| logged.number < it)
    }
}

/// The log, bounded.
#[derive(Clone, Debug, Default)]
pub(super) struct DecisionLog {
    kept: VecDeque<Logged>,
    last: u64,
}

impl DecisionLog {
    /// Whether the oldest have gone.
    fn is_cut(&self) -> bool {
        self.last > self.kept.len() as u64
    }

    pub(super) fn push(&mut self, request: Arc<JobRequest>, record: Arc<DecisionRecord>) {
        if self.kept.len() == MAX_LOGGED {
            self.kept.pop_front();
        }
        self.last += 1;
        self.kept.push_back(Logged {
            number: self.last,
            request,
            record,
        });
    }
}

impl Ledger {
    /// The evaluations that fit the query, the newest first. The log keeps the last
    /// [`MAX_LOGGED`].
    pub fn decisions<'a>(
        &'a self,
        query: DecisionsQuery<'a>,
    ) -> impl Iterator<Item = &'a Logged> + 'a {
        let kept = self.log.kept.iter().rev();
        kept.filter(move |logged| query.wants(logged))
    }

    /// Since when the log tells all decisions: at the latest since `started`, when this
    /// record began, unless the oldest had to go.
    pub fn decided_since(&self, started: Timestamp) -> Timestamp {
        let oldest = self.log.kept.front().map(|it| it.record.checked_at);
        match oldest {
            Some(oldest) if self.log.is_cut() => oldest,
            Some(oldest) => oldest.min(started),
            None => started,
        }
    }

    /// Puts on record that a submission was turned away for now, so that no job
    /// came of it.
    pub fn turned_away(&mut self, request: Arc<JobRequest>, verdict: Verdict, now: Timestamp) {
        let record = Arc::new(DecisionRecord::of(Ok(verdict), Asker::Gateway, now));
        self.notes.turned_away(&request, &record);
        self.log.push(request, record);
    }

    /// Keeps an evaluation with its job and in the log.
    pub(super) fn remember(&mut self, seq: u64, record: DecisionRecord) {
        let record = Arc::new(record);
        let job = self.at_mut(seq);
        job.remember(Arc::clone(&record));
        let request = Arc::clone(&job.request);
        self.log.push(request, record);
    }
}
