//! What the plane says about a job, and how that joins what packets told.
//!
//! Many things never travel on the bus: decisions, approvals, SCHEDULED, TIMEOUT,
//! throttling. They are asked for, and merged by the same order as packets.

use std::sync::Arc;

use crate::ids::{JobId, TraceId, WorkerId};
use crate::state::limits;
use crate::state::model::jobs::job::{Happened, Job, Moment, Progress, ResultFacts, Verdict};
use crate::state::model::jobs::phase::{JobState, WaitingOn};
use crate::state::model::jobs::request::Request;
use crate::state::shared::{Text, learn, learn_first};
use crate::time::{Elapsed, Timestamp};
use crate::wire::packet::JobStatus;

/// What was heard this close to the plane's record of it is the same moment: the
/// way over the bus, and clocks that differ a little.
const ONE_MOMENT: Elapsed = Elapsed::from_secs(5);

/// A job as the gateway or the store gives it. What is `None` it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFact {
    /// The job.
    pub id: JobId,
    /// Its state.
    pub state: Option<JobState>,
    /// When the plane changed it last, by the plane's clock.
    pub updated_at: Option<Timestamp>,
    /// When it was submitted, by the plane's clock.
    pub created_at: Option<Timestamp>,
    /// How often it was scheduled.
    pub attempts: Option<u32>,
    /// What was asked for; [`Request::complete`] when the stored request was read.
    pub request: Option<Request>,
    /// Its trace.
    pub trace: Option<TraceId>,
    /// What policy decided.
    pub verdict: Option<Verdict>,
    /// When policy decided it, by the plane's clock.
    pub decided_at: Option<Timestamp>,
    /// What the plane has on record of its life, by the plane's clock.
    pub moments: Vec<Moment>,
    /// Whether those are all states that it came into, up to the last of them.
    pub is_whole_life: bool,
    /// Why it waits.
    pub waiting_on: Option<WaitingOn>,
    /// The worker that has or had it.
    pub worker: Option<WorkerId>,
    /// Where its result is.
    pub result_ptr: Text,
    /// Where its artifacts are.
    pub artifact_ptrs: Arc<[Arc<str>]>,
    /// The cause of its end, machine-readable.
    pub error_code: Text,
    /// The cause of its end, for people.
    pub error_message: Text,
    /// The status of its last result.
    pub result_status: Option<JobStatus>,
    /// How far it is, as its worker reported; 0 to 100 by the contract.
    pub percent: Option<i32>,
    /// What its worker reported with that.
    pub message: Text,
    /// Who asked that it stops.
    pub cancel_by: Text,
    /// Why.
    pub cancel_reason: Text,
}

impl JobFact {
    pub(super) fn apply(&self, job: &mut Job, at: Timestamp) -> bool {
        let mut changed = self.learn_what_was_asked(job);
        changed |= learn_first(&mut job.trace, self.trace.clone());
        if let Some(attempts) = self.attempts
            && attempts > job.told_attempts
        {
            job.told_attempts = attempts;
            changed = true;
        }
        changed |= learn(&mut job.told_worker, self.worker.clone());
        let verdict = self.verdict.as_ref();
        if let Some(verdict) = verdict.map(|told| whole(told, job.verdict.as_deref()))
            && job.verdict.as_deref() != Some(&verdict)
        {
            if let Some(decision) = verdict.decision
                && job.decision() != Some(decision)
            {
                let when = self.decided_at.map_or(at, |told| told.min(at));
                job.note(when, Happened::Decided(decision));
            }
            job.verdict = Some(Arc::new(verdict));
            changed = true;
        }
        changed |= self.learn_state(job, at);
        changed |= self.learn_birth(job);
        if self.waiting_on != job.waiting_on && self.state == job.state {
            job.waiting_on = self.waiting_on;
            changed = true;
        }
        changed |= self.learn_end(job, at);
        changed |= self.learn_progress(job, at);
        changed |= self.learn_cancel(job);
        changed | self.learn_moments(job)
    }

    fn learn_what_was_asked(&self, job: &mut Job) -> bool {
        let Some(request) = &self.request else {
            return false;
        };
        match &mut job.request {
            Some(known) => {
                // A row is filled only where it says nothing, so look before copying.
                let mut filled = Request::clone(known);
                let changed = filled.fill(request);
                if changed {
                    *known = Arc::new(filled);
                }
                changed
            }
            none => {
                *none = Some(Arc::new(request.clone()));
                true
            }
        }
    }

    /// The plane's word moves a job where the plane may move it, unless it is older
    /// than what moved it last. An end is believed whatever the clocks say: the
    /// plane never takes one back.
    fn learn_state(&self, job: &mut Job, at: Timestamp) -> bool {
        let Some(to) = self.state else {
            return false;
        };
        let Some(from) = job.state else {
            return self.moved(job, to, at);
        };
        if from == to || !from.may_become(to) {
            return false;
        }
        let older = match (self.updated_at, job.moved_sent) {
            (Some(told), Some(moved)) => told < moved,
            _ => false,
        };
        if older && !to.is_terminal() {
            return false;
        }
        if self.updated_at.is_none() && to.rank() < from.rank() {
            return false;
        }
        if from == JobState::Retrying && !to.is_terminal() {
            job.attempt += 1;
            job.opened = self.updated_at.or(job.opened);
        }
        if from == JobState::ApprovalRequired && to == JobState::Pending {
            job.attempt += 1;
        }
        self.moved(job, to, at)
    }

    fn moved(&self, job: &mut Job, to: JobState, at: Timestamp) -> bool {
        // The plane's own stamp tells since when; ours only when it was asked. A
        // plane whose clock is ahead must not put it into the future.
        let since = self.updated_at.map_or(at, |told| told.min(at));
        if job.state.is_none() {
            job.first_seen = job.first_seen.min(since);
        }
        job.enter(to, since);
        job.moved_sent = self.updated_at.or(job.moved_sent);
        job.note(since, Happened::Became(to));
        true
    }

    /// A list can leave out what the job's own page tells. A request that was heard
    /// is of our clock, and so are the packets that it stands among.
    fn learn_birth(&self, job: &mut Job) -> bool {
        let heard = |it: &Moment| matches!(it.what, Happened::Submitted(_));
        let Some(born) = self.created_at else {
            return false;
        };
        let news = !job.born_told;
        job.born_told = true;
        if born >= job.first_seen || job.history.iter().any(heard) {
            return news;
        }
        job.first_seen = born;
        true
    }

    /// A report that was heard is newer than any that is told, which carries no stamp
    /// that could say otherwise.
    fn learn_progress(&self, job: &mut Job, at: Timestamp) -> bool {
        let Some(percent) = self.percent else {
            return false;
        };
        let Some(known) = &mut job.progress else {
            job.progress = Some(Progress {
                percent,
                message: self.message.clone(),
                step_id: None,
                at,
                result_ptr: None,
                artifact_ptrs: Arc::default(),
                moves: 1,
                first_move: at,
                last_move: at,
                told: true,
                sent: None,
            });
            return true;
        };
        let says_more = self.message.is_some() && known.message != self.message;
        if !known.told || (known.percent == percent && !says_more) {
            return false;
        }
        known.percent = percent;
        learn(&mut known.message, self.message.clone());
        if known.moves == 0 {
            known.first_move = at;
        }
        known.moves = known.moves.saturating_add(1);
        known.at = at;
        known.last_move = at;
        // The plane's own stamp does not move with reports.
        job.updated_at = job.updated_at.max(at);
        true
    }

    /// What a wish that was heard leaves open is filled; it is nothing that is heard.
    fn learn_cancel(&self, job: &mut Job) -> bool {
        if self.cancel_by.is_none() && self.cancel_reason.is_none() {
            return false;
        }
        let mut cancel = job.cancel.as_deref().cloned().unwrap_or_default();
        let changed = learn_first(&mut cancel.by, self.cancel_by.clone())
            | learn_first(&mut cancel.reason, self.cancel_reason.clone());
        if changed {
            job.cancel = Some(Arc::new(cancel));
        }
        changed
    }

    /// Fills the timeline. Each moment that is known stands for one told record of it,
    /// so that nothing is in the timeline twice, however often it is told.
    fn learn_moments(&self, job: &mut Job) -> bool {
        let became = |it: &&Moment| matches!(it.what, Happened::Became(_));
        let last = self.moments.iter().filter(became).map(|it| it.at).max();
        let until = last.filter(|_| self.is_whole_life).max(job.told_until);
        let told_more = until != job.told_until;
        job.told_until = until;
        self.fill_timeline(job) | told_more
    }

    fn fill_timeline(&self, job: &mut Job) -> bool {
        let known = job.history.iter();
        let mut timeline: Vec<Entry> = known
            .map(|it| Entry {
                moment: it.clone(),
                told: None,
            })
            .collect();
        let told = self.moments.iter().enumerate();
        let unknown: Vec<(usize, &Moment)> = told
            .filter(|told| take(&mut timeline, *told, |at| at == told.1.at).is_none())
            .collect();
        let full = job.history.len() >= limits::MOMENTS;
        let oldest = job.history.first().map(|it| it.at).filter(|_| full);
        let mut changed = false;
        for (place, told) in unknown {
            let fresh = || Entry {
                moment: told.clone(),
                told: Some(place),
            };
            if oldest.is_some_and(|oldest| told.at < oldest) {
                continue;
            }
            // A decision is never heard: it is known from when it was told, until the
            // record says when it was made.
            if matches!(told.what, Happened::Decided(_)) {
                match take(&mut timeline, (place, told), |at| at > told.at) {
                    Some(known) => known.at = told.at,
                    None => timeline.push(fresh()),
                }
                changed = true;
                continue;
            }
            let is_close = |at: Timestamp| at.since(told.at).max(told.at.since(at)) <= ONE_MOMENT;
            if take(&mut timeline, (place, told), is_close).is_none() {
                timeline.push(fresh());
                changed = true;
            }
        }
        if changed {
            in_order(&mut timeline);
            let dropped = timeline.len().saturating_sub(limits::MOMENTS);
            let kept = timeline.into_iter().skip(dropped);
            job.history = kept.map(|it| it.moment).collect();
            let dropped = u32::try_from(dropped).unwrap_or(u32::MAX);
            job.history_dropped = job.history_dropped.saturating_add(dropped);
        }
        changed
    }

    fn learn_end(&self, job: &mut Job, at: Timestamp) -> bool {
        let says = self.result_ptr.is_some()
            || !self.artifact_ptrs.is_empty()
            || self.error_code.is_some()
            || self.error_message.is_some()
            || self.result_status.is_some();
        if !says || !job.is_ended() {
            return false;
        }
        let Some(known) = &mut job.result else {
            job.result = Some(Arc::new(ResultFacts {
                status: self.result_status,
                at,
                dead_letter: true,
                result_ptr: self.result_ptr.clone(),
                artifact_ptrs: Arc::clone(&self.artifact_ptrs),
                worker: None,
                execution_ms: 0,
                error_code: self.error_code.clone(),
                error_message: self.error_message.clone(),
                sent: None,
            }));
            return true;
        };
        let missing = (known.result_ptr.is_none() && self.result_ptr.is_some())
            || (known.error_code.is_none() && self.error_code.is_some())
            || (known.error_message.is_none() && self.error_message.is_some())
            || (known.status.is_none() && self.result_status.is_some())
            || (known.artifact_ptrs.is_empty() && !self.artifact_ptrs.is_empty());
        if missing {
            let known = Arc::make_mut(known);
            learn_first(&mut known.result_ptr, self.result_ptr.clone());
            learn_first(&mut known.error_code, self.error_code.clone());
            learn_first(&mut known.error_message, self.error_message.clone());
            learn_first(&mut known.status, self.result_status);
            if known.artifact_ptrs.is_empty() {
                known.artifact_ptrs = Arc::clone(&self.artifact_ptrs);
            }
        }
        missing
    }
}

/// What is told of a verdict, with what was known of the same one: a list tells less of
/// it than the page of its job.
fn whole(told: &Verdict, known: Option<&Verdict>) -> Verdict {
    fn agree<T: PartialEq>(told: &Option<T>, known: &Option<T>) -> bool {
        told.is_none() || known.is_none() || told == known
    }
    let mut whole = told.clone();
    if let Some(known) = known
        && agree(&told.decision, &known.decision)
        && agree(&told.rule_id, &known.rule_id)
        && agree(&told.snapshot, &known.snapshot)
    {
        whole.decision = whole.decision.or(known.decision);
        learn_first(&mut whole.rule_id, known.rule_id.clone());
        learn_first(&mut whole.reason, known.reason.clone());
        learn_first(&mut whole.snapshot, known.snapshot.clone());
        if whole.constraints.is_empty() {
            whole.constraints = Arc::clone(&known.constraints);
        }
    }
    whole
}

/// A moment of a timeline, and its place in the record that tells of it.
struct Entry {
    moment: Moment,
    told: Option<usize>,
}

/// Orders a timeline by time. What is of one instant stands as the record has it, which a
/// job goes through more than one state in: that it waits for a person is what a list
/// tells first, and that it came in before only the record.
fn in_order(timeline: &mut [Entry]) {
    timeline.sort_by_key(|it| it.moment.at);
    for instant in timeline.chunk_by_mut(|one, other| one.moment.at == other.moment.at) {
        let told: Vec<usize> = (0..instant.len())
            .filter(|at| instant[*at].told.is_some())
            .collect();
        // Those that were told change places among themselves.
        for round in 0..told.len() {
            let rest = &told[round..];
            let first = rest.iter().copied().min_by_key(|at| instant[*at].told);
            if let Some(first) = first {
                instant.swap(told[round], first);
            }
        }
    }
}

/// Takes the nearest moment of a timeline that can be the one that is `told`, is at
/// an instant that `fits`, and was not taken before.
fn take<'a>(
    timeline: &'a mut [Entry],
    (place, told): (usize, &Moment),
    fits: impl Fn(Timestamp) -> bool,
) -> Option<&'a mut Moment> {
    let free = timeline.iter_mut().filter(|known| {
        known.told.is_none() && known.moment.what.is_like(&told.what) && fits(known.moment.at)
    });
    let apart = |at: Timestamp| at.since(told.at).max(told.at.since(at));
    let entry = free.min_by_key(|known| apart(known.moment.at))?;
    entry.told = Some(place);
    Some(&mut entry.moment)
}
