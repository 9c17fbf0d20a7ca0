//! What happens to a job between its submission and its end.
//!
//! Every change of state goes through `transition`, which keeps the table of
//! [`JobState::may_become`] and all indexes; every way to end goes on from there
//! to the approval, the worker's slot, the line it stood in and the rollback it
//! belongs to. Packets may come late, twice or in any order: what is older than
//! what is known changes nothing and is counted.

use std::sync::Arc;

mod ending;
mod reports;
mod waiting;

use super::alerts::Told;
use super::job::Phase;
use super::{
    DeadLetter, DecisionRecord, Job, JobState, Ledger, LedgerError, Line, Step, WaitingOn, rank,
};
use crate::control_plane::kernel::{Constraints, Decision, KernelError, Question, Verdict};
use crate::ids::{JobId, PoolName, TraceId, WorkerId};
use crate::time::{Elapsed, Timestamp};
use crate::wire::packet::{
    AlertSeverity, DispatchIdentity, ErrorCode, JobRequest, JobResult, JobStatus,
};

/// How long until policy is asked again, after a throttle or without an answer.
pub const ASK_AGAIN: Elapsed = Elapsed::from_secs(5);
/// How long an answer is waited for before the question is given up here; the
/// caller of the kernel has its own limit of 2 s, this one guards against a lost
/// caller.
pub const ANSWER_LIMIT: Elapsed = Elapsed::from_secs(3);
/// How long until a tenant at its limit is looked at again.
pub const TENANT_PAUSE: Elapsed = Elapsed::from_secs(2);
/// How long until a dispatch that the bus refused is tried again, the first time.
pub const PUBLISH_PAUSE: Elapsed = Elapsed::from_secs(2);
/// A job that was given to a worker, and that the bus refuses for this long although
/// workers are heard, has timed out. One that waits for a worker or for policy meanwhile
/// waits as any other does.
pub const SCHEDULE_LIMIT: Elapsed = Elapsed::from_secs(60);
/// A job on its way to a worker for this long has timed out.
pub const DISPATCH_LIMIT: Elapsed = Elapsed::from_secs(300);
/// A job at work for this long has timed out, unless policy gave it another limit.
pub const RUNNING_LIMIT: Elapsed = Elapsed::from_secs(900);
/// How often a worker is looked for, or the bus asked to take a request, before the job
/// fails.
pub const MAX_PLACEMENT_TRIES: u32 = 50;
/// Attempts after the first, unless policy says otherwise.
pub const MAX_RETRIES: u32 = 3;

/// Who asked policy, which decides the code of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The gateway, when the job was submitted: `policy_denied`.
    Gateway,
    /// The scheduler, before a dispatch: `safety_denied`.
    Scheduler,
}

impl Asker {
    /// What was checked, by the name in JSON.
    pub(super) fn check(self) -> &'static str {
        match self {
            Self::Gateway => "submit",
            Self::Scheduler => "dispatch",
        }
    }

    /// Reads [`Self::check`].
    pub(super) fn of_check(check: &str) -> Option<Self> {
        [Self::Gateway, Self::Scheduler]
            .into_iter()
            .find(|asker| asker.check() == check)
    }
}

/// What a decision did to its job.
#[derive(Clone, Debug, PartialEq)]
pub enum Ruling {
    /// Nothing stands in its way.
    Go,
    /// It has ended; the dead letter is to be published.
    Denied(DeadLetter),
    /// A person decides.
    Held,
    /// It is asked about again after [`ASK_AGAIN`].
    Throttled,
    /// There was no decision; it is asked about again after [`ASK_AGAIN`].
    Unavailable,
}

/// What a packet about a job did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It changed the job.
    Taken,
    /// It said nothing new.
    Nothing,
    /// It came too late, or twice.
    Late,
    /// Nobody knows the job.
    Unknown,
}

/// A job that was cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancelled {
    /// Its trace.
    pub trace: TraceId,
    /// Where it stood.
    pub was: JobState,
    /// Who had it.
    pub worker: Option<WorkerId>,
}

impl Ledger {
    /// Records a decision that the gateway got when the job was submitted. A yes is
    /// only recorded: the scheduler asks again before it dispatches.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`]; [`LedgerError::NotActionable`] when the job is past
    /// the point where policy decides.
    pub fn record_decision(
        &mut self,
        id: &JobId,
        answer: Result<Verdict, KernelError>,
        asker: Asker,
        now: Timestamp,
    ) -> Result<Ruling, LedgerError> {
        let seq = self.seq(id)?;
        let job = self.at(seq);
        if !matches!(
            job.state,
            JobState::Pending | JobState::Scheduled | JobState::Retrying
        ) {
            return Err(LedgerError::NotActionable {
                state: job.state,
                status: job.approval.as_ref().map(|approval| approval.status),
            });
        }
        let ruling = self.decide(seq, answer, asker, now);
        if let Ruling::Denied(letter) = &ruling {
            self.outbox.push(Step::StoreDeadLetter(letter.clone()));
        }
        Ok(ruling)
    }

    /// Takes the kernel's answer to a [`Step::Ask`]. An answer to a question that is
    /// no longer open changes nothing.
    pub fn answered(
        &mut self,
        id: &JobId,
        ticket: u64,
        answer: Result<Verdict, KernelError>,
        now: Timestamp,
    ) {
        let Ok(seq) = self.seq(id) else { return };
        if self.at(seq).phase != Phase::Asked(ticket) {
            return;
        }
        self.kernel_answered(&answer, now);
        match self.decide(seq, answer, Asker::Scheduler, now) {
            Ruling::Go => {
                self.at_mut(seq).phase = Phase::Cleared;
                self.alarm(seq, Some(now));
            }
            Ruling::Denied(letter) => self.outbox.push(Step::DeadLetter(letter)),
            Ruling::Held | Ruling::Throttled | Ruling::Unavailable => {}
        }
    }

    fn decide(
        &mut self,
        seq: u64,
        answer: Result<Verdict, KernelError>,
        asker: Asker,
        now: Timestamp,
    ) -> Ruling {
        let outage = answer.as_ref().is_err_and(KernelError::is_outage);
        let mut record = DecisionRecord::of(answer, asker, now);
        if record.approval_required() {
            let hash = self.ask_a_person(seq, &record.policy_snapshot, now);
            record.job_hash = Some(hash);
            self.remember(seq, record);
            return Ruling::Held;
        }
        let (decision, reason) = (record.decision, record.reason.clone());
        self.remember(seq, record);
        match decision {
            Some(Decision::Allow | Decision::AllowWithConstraints | Decision::RequireApproval) => {
                Ruling::Go
            }
            Some(Decision::Deny) => {
                let code = match asker {
                    Asker::Gateway => "policy_denied",
                    Asker::Scheduler => "safety_denied",
                };
                let letter =
                    self.bury(seq, JobState::Denied, JobStatus::Denied, code, &reason, now);
                Ruling::Denied(letter)
            }
            Some(Decision::Throttle) => {
                self.ask_again(seq, WaitingOn::Throttled, now);
                Ruling::Throttled
            }
            // Told when a worker gets it, for until then it may still be judged.
            None if self.fail_open && outage => Ruling::Go,
            None => {
                self.ask_again(seq, WaitingOn::KernelUnavailable, now);
                Ruling::Unavailable
            }
        }
    }

    /// Tells that a job goes to a worker although nobody judged it.
    fn tell_if_unjudged(&mut self, seq: u64) {
        let job = self.at(seq);
        let Some(unjudged) = job.decision().filter(|last| last.decision.is_none()) else {
            return;
        };
        let reason = &unjudged.reason;
        let step = Told {
            sender: crate::wire::SENDER_SCHEDULER,
            severity: AlertSeverity::Critical,
            code: "safety_bypassed",
            error: ErrorCode::SafetyPolicyViolation,
            message: format!(
                "job {} goes on without a verdict, because this plane was told to fail open: {reason}",
                job.id
            ),
            details: &[
                ("job_id", job.id.to_string()),
                ("topic", job.request.topic.clone()),
                ("tenant_id", job.tenant().to_owned()),
                ("reason", reason.clone()),
            ],
        }
        .step();
        self.counters.bypassed_jobs += 1;
        self.outbox.push(step);
    }

    fn ask_again(&mut self, seq: u64, waiting_on: WaitingOn, now: Timestamp) {
        let job = self.at_mut(seq);
        job.phase = Phase::Unchecked;
        job.held = false;
        job.refused_since = None;
        if job.waiting_on != Some(waiting_on) {
            job.waiting_on = Some(waiting_on);
            job.note(now, waiting_on.name());
        }
        self.alarm(seq, Some(now.plus(ASK_AGAIN)));
    }

    /// The next job whose time has come, its alarm taken off.
    pub(in crate::control_plane) fn next_due(&mut self, now: Timestamp) -> Option<JobId> {
        let (at, seq) = *self.alarms.first()?;
        if at > now {
            return None;
        }
        self.alarms.pop_first();
        let job = self.at_mut(seq);
        job.alarm = None;
        Some(job.id.clone())
    }

    /// When the scheduler has to look again, if nothing is heard before.
    pub fn next_alarm(&self) -> Option<Timestamp> {
        let job = self.alarms.first().map(|(at, _)| *at);
        [job, self.fleet.next_loss(), self.reconcile_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether policy still has to be asked about a job, a worker has to be found,
    /// or its time is up; see [`Due`].
    pub(in crate::control_plane) fn due(&mut self, id: &JobId, now: Timestamp) -> Due {
        let Ok(seq) = self.seq(id) else {
            return Due::Nothing;
        };
        let job = self.at(seq);
        if !job.state.is_ended() && job.deadline_at.is_some_and(|at| at <= now) {
            self.expire(seq, now);
            return Due::Nothing;
        }
        let refused = job
            .refused_since
            .filter(|_| job.state == JobState::Scheduled);
        if refused.is_some_and(|since| now >= since.plus(SCHEDULE_LIMIT)) {
            self.time_out(seq, "timeout: SCHEDULED for too long", now);
            return Due::Nothing;
        }
        match job.state {
            JobState::Pending | JobState::Scheduled | JobState::Retrying => match job.phase {
                Phase::Unchecked if Self::is_granted(job) => {
                    self.grant(seq, now);
                    Due::Place
                }
                Phase::Unchecked => self.ask(seq, now),
                Phase::Asked(ticket) => {
                    self.answered(id, ticket, Err(KernelError::TimedOut), now);
                    Due::Nothing
                }
                Phase::Cleared => Due::Place,
            },
            JobState::Dispatched => {
                self.time_out(seq, "timeout: DISPATCHED for too long", now);
                Due::Nothing
            }
            JobState::Running => {
                self.time_out(seq, "timeout: RUNNING for too long", now);
                Due::Nothing
            }
            JobState::ApprovalRequired
            | JobState::Succeeded
            | JobState::Failed
            | JobState::Cancelled
            | JobState::Timeout
            | JobState::Denied => Due::Nothing,
        }
    }

    fn ask(&mut self, seq: u64, now: Timestamp) -> Due {
        if let Err(error) = self.may_ask(now) {
            self.leave_line(seq);
            // Nobody was asked, so the breaker learns nothing from it.
            let ruling = self.decide(seq, Err(error), Asker::Scheduler, now);
            if ruling != Ruling::Go {
                return Due::Nothing;
            }
            self.at_mut(seq).phase = Phase::Cleared;
            return Due::Place;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let job = self.at_mut(seq);
        job.phase = Phase::Asked(ticket);
        job.held = false;
        let step = Step::Ask {
            job: job.id.clone(),
            ticket,
            question: Box::new(Question::from(&*job.request)),
        };
        self.leave_line(seq);
        self.outbox.push(step);
        self.alarm(seq, Some(now.plus(ANSWER_LIMIT)));
        Due::Nothing
    }

    /// Lets an approved request pass under the limits it was shown with.
    fn grant(&mut self, seq: u64, now: Timestamp) {
        let job = self.at_mut(seq);
        job.held = false;
        job.phase = Phase::Cleared;
        let asked = job
            .decisions
            .iter()
            .rev()
            .find(|record| record.approval_required())
            .cloned();
        if let Some(asked) = asked
            && job
                .decision()
                .is_none_or(|last| last.reason != APPROVAL_GRANTED)
        {
            let record = DecisionRecord {
                decision: Some(Decision::Allow),
                reason: APPROVAL_GRANTED.to_owned(),
                checked_at: now,
                first_checked_at: now,
                times: 1,
                ..DecisionRecord::clone(&asked)
            };
            self.remember(seq, record);
        }
    }

    /// How many jobs of a tenant are at work. The names of tenants are compared without
    /// regard to letter case, as policy does.
    pub fn at_work(&self, tenant: &str) -> u32 {
        self.active
            .get(&tenant.to_lowercase())
            .copied()
            .unwrap_or(0)
    }

    /// Lets a job wait for a worker: it is looked at again after a pause that grows
    /// to 30 s, or as soon as one of `pools` has room.
    pub(in crate::control_plane) fn wait(
        &mut self,
        id: &JobId,
        waiting_on: WaitingOn,
        pools: Vec<PoolName>,
        now: Timestamp,
    ) {
        let Ok(seq) = self.seq(id) else { return };
        self.leave_line(seq);
        let job = self.at_mut(seq);
        job.phase = Phase::Unchecked;
        job.refused_since = None;
        if waiting_on == WaitingOn::TenantLimit {
            Self::say_waiting(job, waiting_on, now);
            self.alarm(seq, Some(now.plus(TENANT_PAUSE)));
            return;
        }
        job.placement_tries += 1;
        if job.placement_tries >= MAX_PLACEMENT_TRIES {
            let reason = format!("no worker was found in {MAX_PLACEMENT_TRIES} tries");
            self.give_up_placing(seq, &reason, now);
            return;
        }
        Self::say_waiting(job, waiting_on, now);
        let pause = backoff(job.placement_tries, seq);
        let rank = rank(job.request.priority);
        if waiting_on == WaitingOn::PoolOverloaded {
            for pool in &pools {
                let line = self.lines.entry(pool.clone()).or_default();
                line.insert((rank, seq));
            }
            self.at_mut(seq).line = Some(Line::Pools(pools));
        } else {
            self.homeless.insert(seq);
            self.at_mut(seq).line = Some(Line::Homeless);
        }
        self.alarm(seq, Some(now.plus(pause)));
    }

    /// Ends a job that cannot be brought to a worker.
    fn give_up_placing(&mut self, seq: u64, reason: &str, now: Timestamp) {
        let (state, status) = (JobState::Failed, JobStatus::Failed);
        let letter = self.bury(seq, state, status, "max_scheduling_retries", reason, now);
        self.outbox.push(Step::DeadLetter(letter));
    }

    fn say_waiting(job: &mut Job, waiting_on: WaitingOn, now: Timestamp) {
        if job.waiting_on != Some(waiting_on) {
            job.waiting_on = Some(waiting_on);
            job.note(now, waiting_on.name());
        }
    }

    /// Gives a job to a worker: SCHEDULED, then DISPATCHED, with the step that
    /// publishes `request`, which carries the limits already.
    pub(in crate::control_plane) fn assign(
        &mut self,
        id: &JobId,
        worker: &WorkerId,
        mut request: JobRequest,
        now: Timestamp,
    ) {
        let Ok(seq) = self.seq(id) else { return };
        self.leave_line(seq);
        self.free_slot(seq, now);
        if !self.transition(seq, JobState::Scheduled, format!("to {worker}"), now) {
            return;
        }
        let job = self.at_mut(seq);
        job.attempts += 1;
        job.progress = None;
        job.worker = Some(worker.clone());
        job.slot = Some(worker.clone());
        job.phase = Phase::Unchecked;
        job.cancel_relayed = false;
        let attempt = job.attempts;
        request.dispatch = Some(DispatchIdentity {
            dispatch_id: format!("{id}/{attempt}"),
            attempt: u64::from(attempt),
            assigned_worker_id: worker.clone(),
        });
        let request = Arc::new(request);
        job.dispatched_request = Some(Arc::clone(&request));
        let trace = job.trace.clone();
        self.fleet.give(worker);
        self.tell_if_unjudged(seq);
        self.transition(seq, JobState::Dispatched, "", now);
        self.at_mut(seq).dispatched_at = Some(now);
        self.alarm(seq, Some(now.plus(DISPATCH_LIMIT)));
        self.outbox.push(Step::Dispatch {
            job: id.clone(),
            attempt,
            worker: worker.clone(),
            trace,
            request,
        });
    }

    /// Moves a job to another state if the table allows it, and keeps every index
    /// true. Returns whether it moved.
    pub(super) fn transition(
        &mut self,
        seq: u64,
        to: JobState,
        note: impl Into<String>,
        now: Timestamp,
    ) -> bool {
        let job = self.at_mut(seq);
        let from = job.state;
        if !from.may_become(to) {
            return false;
        }
        let was_at = job.updated_at;
        job.state = to;
        job.updated_at = now.max(was_at);
        job.waiting_on = None;
        job.note(now, note);
        let updated_at = job.updated_at;
        if let Some(index) = self.by_state.get_mut(&from) {
            index.remove(&(was_at, seq));
        }
        self.by_state
            .entry(to)
            .or_default()
            .insert((updated_at, seq));
        if from.is_active() != to.is_active() {
            self.count_active(seq, to.is_active());
        }
        if !to.is_active() {
            self.free_slot(seq, now);
        }
        if to.is_ended() {
            self.end(seq, now);
        }
        true
    }

    fn count_active(&mut self, seq: u64, begins: bool) {
        let tenant = self.at(seq).tenant().to_lowercase();
        if begins {
            *self.active.entry(tenant).or_default() += 1;
        } else if let Some(active) = self.active.get_mut(&tenant) {
            *active = active.saturating_sub(1);
            if *active == 0 {
                self.active.remove(&tenant);
            }
        }
    }
}

/// What the scheduler has to do with a job whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control_plane) enum Due {
    /// Nothing more; it was done.
    Nothing,
    /// Find a worker.
    Place,
}

/// The reason in the record of a request that passes because of a person's yes.
pub const APPROVAL_GRANTED: &str = "approval granted";

/// The limits that ride on the last decision.
fn limits(job: &Job) -> Option<&crate::control_plane::kernel::BudgetConstraints> {
    constraints(job)?.budgets.as_ref()
}

/// The limits that ride on the last decision about a job.
pub(in crate::control_plane) fn constraints(job: &Job) -> Option<&Constraints> {
    job.decision()?.constraints.as_ref()
}

/// Whether a result says nothing that still matters: its job has ended or waits
/// for a person, or it speaks of an attempt that is over.
fn is_late(job: &Job, result: &JobResult) -> bool {
    if job.state.is_ended() || job.state == JobState::ApprovalRequired {
        return true;
    }
    match &result.dispatch {
        Some(dispatch) if dispatch.attempt != 0 => {
            dispatch.attempt < u64::from(job.attempts)
                || (job.state == JobState::Retrying && result.status == JobStatus::FailedRetryable)
        }
        Some(_) | None if job.state == JobState::Retrying => {
            result.status == JobStatus::FailedRetryable
        }
        Some(_) | None => {
            job.past_workers.contains(&result.worker_id)
                && job.slot.as_ref() != Some(&result.worker_id)
        }
    }
}

/// The pause before try `n`, from 1: one second, doubling to 30 s, and up to half
/// a second more so that jobs that failed together do not come back together.
fn backoff(n: u32, seq: u64) -> Elapsed {
    let doubled = 1_000_u64 << n.saturating_sub(1).min(10);
    let jitter = seq.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    Elapsed::from_millis(doubled.min(30_000) + jitter % 500)
}
