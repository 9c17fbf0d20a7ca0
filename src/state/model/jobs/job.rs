//! One job: all that packets and the plane have told about it.

use std::sync::Arc;

use crate::ids::{JobId, SenderId, TraceId, WorkerId};
use crate::state::effect::EffectId;
use crate::state::limits;
use crate::state::model::jobs::phase::{Decision, JobState, WaitingOn};
use crate::state::model::jobs::request::Request;
use crate::state::shared::{Text, text};
use crate::time::{Elapsed, Timestamp};
use crate::wire::packet::{JobStatus, is_placement_label};

/// The reason that planes give for what they allow because a person said yes.
const GRANTED: &str = "approval granted";

/// The cause that planes give when a person rejects a job.
const REJECTED: &str = "approval_rejected";

/// A job as it is known.
///
/// What is `None` or empty is not known: an empty field of a later packet never
/// overwrites a known one. Stamps are ours unless they say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The job.
    pub id: JobId,
    /// Its state; `None` while only a wish to cancel it was heard.
    pub state: Option<JobState>,
    /// When it came into this state.
    pub since: Timestamp,
    /// When it was submitted, by the plane's clock, where the plane tells and the
    /// request was not heard, else when it was heard of first.
    pub first_seen: Timestamp,
    /// When something about it changed last: by the plane's clock where only the
    /// plane tells, else when it was heard.
    pub updated_at: Timestamp,
    /// What was asked for, from a request on the bus or from the plane.
    pub request: Option<Arc<Request>>,
    /// Its trace.
    pub trace: Option<TraceId>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// Its last result.
    pub result: Option<Arc<ResultFacts>>,
    /// What policy decided; `None` until the plane tells.
    pub verdict: Option<Arc<Verdict>>,
    /// Why it waits, as the plane says.
    pub waiting_on: Option<WaitingOn>,
    /// That somebody asked to cancel it.
    pub cancel: Option<Arc<CancelAsked>>,
    /// What this console asked of the plane and has not seen done.
    pub pending: Option<Box<Pending>>,
    /// Whether it has not moved for long; see [`Job::stall_after`].
    pub stalled: bool,
    /// Its timeline, oldest first, at most [`limits::MOMENTS`].
    pub history: Vec<Moment>,
    /// Moments that the timeline lost.
    pub history_dropped: u32,
    pub(super) trace_from_request: bool,
    /// Whether the plane told when it was submitted.
    pub(super) born_told: bool,
    /// Up to when the plane told all states that it came into.
    pub(super) told_until: Option<Timestamp>,
    pub(super) attempt: u32,
    pub(super) dispatches: u32,
    pub(super) told_attempts: u32,
    pub(super) told_dispatch: u64,
    pub(super) opened: Option<Timestamp>,
    pub(super) closed: Option<Box<(SenderId, Timestamp)>>,
    pub(super) dispatched_sent: Option<Timestamp>,
    pub(super) moved_sent: Option<Timestamp>,
    pub(super) early: Option<Box<Early>>,
    pub(super) dispatch_worker: Option<WorkerId>,
    pub(super) progress_worker: Option<WorkerId>,
    pub(super) told_worker: Option<WorkerId>,
    pub(super) before_worker: Option<WorkerId>,
    pub(super) stall_queued: bool,
}

/// A dispatch that overtook the result which makes it possible: subscriptions
/// have no order between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Early {
    pub(super) worker: Option<WorkerId>,
    pub(super) sent: Timestamp,
    pub(super) at: Timestamp,
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// As reported; 0 to 100 by the contract.
    pub percent: i32,
    /// What it is doing.
    pub message: Text,
    /// The step it is at.
    pub step_id: Text,
    /// When it was heard.
    pub at: Timestamp,
    /// A result that can be read already.
    pub result_ptr: Text,
    /// Artifacts that can be read already.
    pub artifact_ptrs: Arc<[Arc<str>]>,
    /// Reports that said something new.
    pub moves: u32,
    /// When the first report of this attempt was heard.
    pub first_move: Timestamp,
    /// When the last report that said something new was heard.
    pub last_move: Timestamp,
    /// Whether only the plane told of it, so that no report was heard.
    pub(super) told: bool,
    pub(super) sent: Option<Timestamp>,
}

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultFacts {
    /// The status as sent; `None` if only the plane's word is known.
    pub status: Option<JobStatus>,
    /// When it was heard.
    pub at: Timestamp,
    /// Whether this is only known from a dead letter or the plane's record.
    pub dead_letter: bool,
    /// Where the result is.
    pub result_ptr: Text,
    /// Where its artifacts are.
    pub artifact_ptrs: Arc<[Arc<str>]>,
    /// The worker that sent it; never the plane.
    pub worker: Option<WorkerId>,
    /// How long it took, in milliseconds, as reported.
    pub execution_ms: i64,
    /// The cause: the name of its number, or the sender's word.
    pub error_code: Text,
    /// The cause, for people.
    pub error_message: Text,
    pub(super) sent: Option<Timestamp>,
}

/// What policy decided about a job, as the plane tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The decision.
    pub decision: Option<Decision>,
    /// The rule that decided.
    pub rule_id: Text,
    /// Why.
    pub reason: Text,
    /// The policy that was asked.
    pub snapshot: Text,
    /// Limits that ride on a yes, one a line.
    pub constraints: Arc<[Arc<str>]>,
}

/// That somebody asked to cancel a job, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CancelAsked {
    /// When it was heard on the bus; `None` if only the plane told of it.
    pub heard_at: Option<Timestamp>,
    /// Who asked.
    pub by: Text,
    /// Why.
    pub reason: Text,
    /// When the worker itself answered, with any result.
    pub worker_stopped_at: Option<Timestamp>,
    /// Whether that result was a success: it did not stop, it did the job.
    pub worker_finished: bool,
    /// When the worker last reported progress after the job had ended.
    pub still_reported_at: Option<Timestamp>,
}

/// What this console asked of the plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The effect that carries it.
    pub effect: EffectId,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// What was asked.
    pub what: Asked,
    /// Whether the plane has answered that it took it.
    pub taken_at: Option<Timestamp>,
}

/// What a console can ask about a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// That it stops.
    Cancel,
    /// That it may run.
    Approve,
    /// That it may not run.
    Reject,
}

/// A line of a job's timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When it was heard.
    pub at: Timestamp,
    /// What happened.
    pub what: Happened,
}

/// What can happen to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A request was submitted, by this sender.
    Submitted(Text),
    /// It was handed over, to this worker if the subject named one.
    Dispatched(Option<WorkerId>),
    /// The first report of an attempt, by this worker.
    FirstWord(Option<WorkerId>),
    /// It came into this state, on the word of a result or of the plane.
    Became(JobState),
    /// Policy decided.
    Decided(Decision),
    /// Somebody asked to cancel it.
    CancelAsked(Text),
    /// It was put among the dead letters, for this cause.
    DeadLetter(Text),
}

impl Happened {
    /// The state that a job comes into by it; `None` if by none.
    fn leads_to(&self) -> Option<JobState> {
        match self {
            Self::Submitted(_) => Some(JobState::Pending),
            Self::Dispatched(_) => Some(JobState::Dispatched),
            Self::Became(state) => Some(*state),
            Self::FirstWord(_) | Self::Decided(_) | Self::CancelAsked(_) | Self::DeadLetter(_) => {
                None
            }
        }
    }

    /// Whether both can be of the same moment, told by different sources.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        match (self.leads_to(), other.leads_to()) {
            (Some(one), Some(other)) => one == other,
            _ => self == other,
        }
    }
}

impl Job {
    /// Whether it ended because a person said no.
    pub fn was_rejected(&self) -> bool {
        let code = self.result.as_ref().and_then(|it| it.error_code.as_deref());
        code == Some(REJECTED)
    }

    pub(super) fn new(id: JobId, at: Timestamp) -> Self {
        Self {
            id,
            state: None,
            since: at,
            first_seen: at,
            updated_at: at,
            request: None,
            trace: None,
            progress: None,
            result: None,
            verdict: None,
            waiting_on: None,
            cancel: None,
            pending: None,
            stalled: false,
            history: Vec::new(),
            history_dropped: 0,
            trace_from_request: false,
            born_told: false,
            told_until: None,
            attempt: 1,
            dispatches: 0,
            told_attempts: 0,
            told_dispatch: 0,
            opened: None,
            closed: None,
            dispatched_sent: None,
            moved_sent: None,
            early: None,
            dispatch_worker: None,
            progress_worker: None,
            told_worker: None,
            before_worker: None,
            stall_queued: false,
        }
    }

    /// Whether policy wanted a person about it, as far as is known. A yes is written
    /// over that.
    pub fn was_held(&self) -> bool {
        let asked = Happened::Decided(Decision::RequireApproval);
        let reason = self.verdict.as_ref().and_then(|it| it.reason.as_deref());
        self.decision() == Some(Decision::RequireApproval)
            || reason == Some(GRANTED)
            || self.history.iter().any(|moment| moment.what == asked)
    }

    /// Whether its request was heard, so that packets tell its life from then on.
    pub fn is_heard_from_birth(&self) -> bool {
        let first = self.history.first().map(|moment| &moment.what);
        matches!(first, Some(Happened::Submitted(_)))
    }

    /// Whether [`Job::first_seen`] is when it was submitted, and not only when it was
    /// heard of first.
    pub fn is_birth_known(&self) -> bool {
        self.born_told || self.is_heard_from_birth()
    }

    /// Up to when the plane told all states that it came into; `None` if it never did.
    pub fn told_until(&self) -> Option<Timestamp> {
        self.told_until
    }

    /// Whether it has ended.
    pub fn is_ended(&self) -> bool {
        self.state.is_some_and(JobState::is_terminal)
    }

    /// The topic.
    pub fn topic(&self) -> Option<&str> {
        self.request.as_ref()?.topic.as_deref()
    }

    /// The tenant.
    pub fn tenant(&self) -> Option<&str> {
        self.request.as_ref()?.tenant.as_deref()
    }

    /// The worker: the one of the present attempt's result, else the one it was
    /// handed to, else the one that reports, else the plane's word, else that of
    /// an earlier attempt.
    pub fn worker(&self) -> Option<&WorkerId> {
        let result = self.result.as_ref().and_then(|it| it.worker.as_ref());
        result
            .or(self.dispatch_worker.as_ref())
            .or(self.progress_worker.as_ref())
            .or(self.told_worker.as_ref())
            .or(self.before_worker.as_ref())
    }

    /// Whether it ended DENIED by the word of its worker, not of policy or a person:
    /// policy had let it go there.
    pub fn is_refused_by_worker(&self) -> bool {
        let let_go = match self.decision() {
            None => true,
            Some(Decision::Allow | Decision::AllowWithConstraints | Decision::Unavailable) => true,
            Some(Decision::Deny | Decision::RequireApproval | Decision::Throttle) => false,
        };
        self.state == Some(JobState::Denied) && let_go && self.worker().is_some()
    }

    /// How often it was handed to a worker, or tried to be, where the plane tells.
    pub fn attempts(&self) -> u32 {
        let started = self
            .state
            .is_some_and(|state| state.is_with_worker() || state == JobState::Retrying);
        let told = u32::try_from(self.told_dispatch).unwrap_or(u32::MAX);
        self.dispatches
            .max(self.told_attempts)
            .max(told)
            .max(u32::from(started || self.progress.is_some()))
    }

    /// Percent as last reported.
    pub fn percent(&self) -> Option<i32> {
        self.progress.as_ref().map(|progress| progress.percent)
    }

    /// The last word of its worker.
    pub fn message(&self) -> Option<&str> {
        self.progress.as_ref()?.message.as_deref()
    }

    /// The cause of its end, machine-readable.
    pub fn error_code(&self) -> Option<&str> {
        self.result.as_ref()?.error_code.as_deref()
    }

    /// The cause of its end, for people.
    pub fn error_message(&self) -> Option<&str> {
        self.result.as_ref()?.error_message.as_deref()
    }

    /// What policy decided.
    pub fn decision(&self) -> Option<Decision> {
        self.verdict.as_ref()?.decision
    }

    /// Artifacts: those of the result, else those of the last report.
    pub fn artifact_ptrs(&self) -> &[Arc<str>] {
        match (&self.result, &self.progress) {
            (Some(result), _) if !result.artifact_ptrs.is_empty() => &result.artifact_ptrs,
            (_, Some(progress)) => &progress.artifact_ptrs,
            _ => &[],
        }
    }

    /// What it asks of its worker, where that may be why it waits as the plane says: what
    /// it requires if no pool will do, the labels it is placed by if no worker will, and
    /// both if no worker has room. `None` if it asks for nothing, or is not known to.
    pub fn asks_for(&self) -> Text {
        let request = self.request.as_deref()?;
        let on = self.waits_on()?;
        let full = on == WaitingOn::PoolOverloaded;
        let requires = request.requires.iter().map(|it| it.to_string());
        let labels = request.labels.iter();
        let labels = labels
            .filter(|(key, _)| is_placement_label(key))
            .map(|(key, value)| format!("{key}={value}"));
        let words: Vec<String> = requires
            .filter(|_| full || on == WaitingOn::NoPoolMapping)
            .chain(labels.filter(|_| full || on == WaitingOn::NoWorkers))
            .collect();
        text(&words.join(", "))
    }

    /// Why it waits; `None` if it does not.
    pub fn waits_on(&self) -> Option<WaitingOn> {
        match self.state? {
            JobState::ApprovalRequired => Some(WaitingOn::Approval),
            JobState::Retrying => Some(WaitingOn::RetryBackoff),
            JobState::Pending | JobState::Scheduled => Some(match self.decision() {
                Some(Decision::Throttle) => WaitingOn::Throttled,
                Some(Decision::Unavailable) => WaitingOn::KernelUnavailable,
                Some(
                    Decision::Allow
                    | Decision::AllowWithConstraints
                    | Decision::RequireApproval
                    | Decision::Deny,
                )
                | None => self.waiting_on.unwrap_or(WaitingOn::Unknown),
            }),
            JobState::Dispatched
            | JobState::Running
            | JobState::Succeeded
            | JobState::Failed
            | JobState::Cancelled
            | JobState::Timeout
            | JobState::Denied
            | JobState::OutputQuarantined => None,
        }
    }

    /// The mean time between two reports that said something new; `None` before the second.
    pub fn usual_step(&self) -> Option<Elapsed> {
        let progress = self.progress.as_ref()?;
        let steps = u64::from(progress.moves.checked_sub(1).filter(|steps| *steps > 0)?);
        let span = progress.last_move.since(progress.first_move);
        Some(Elapsed::from_millis(span.as_millis() / steps))
    }

    /// When a running job that says nothing new counts as stalled: three times
    /// its usual step after the last move, at least [`limits::STALL`]. `None` for
    /// a job that has never reported: nobody promised reports.
    pub fn stall_after(&self) -> Option<Timestamp> {
        if self.state != Some(JobState::Running) {
            return None;
        }
        let progress = self.progress.as_ref()?;
        let step = self.usual_step().unwrap_or(Elapsed::ZERO).as_millis();
        let limit = limits::STALL
            .as_millis()
            .max(step.saturating_mul(limits::STALL_STEPS));
        Some(progress.last_move.plus(Elapsed::from_millis(limit)))
    }

    /// When its time is up; `None` without a deadline.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.request.as_ref()?.deadline(self.first_seen)
    }

    /// Comes into `to`; what was asked of the plane and is now done, or can no
    /// longer be done, is no longer pending.
    pub(super) fn enter(&mut self, to: JobState, at: Timestamp) {
        self.state = Some(to);
        self.since = at;
        self.waiting_on = None;
        if to.is_terminal() {
            self.early = None;
        }
        let done = self
            .pending
            .as_ref()
            .is_some_and(|pending| match pending.what {
                Asked::Cancel => to.is_terminal(),
                Asked::Approve | Asked::Reject => to != JobState::ApprovalRequired,
            });
        if done {
            self.pending = None;
        }
    }

    pub(super) fn note(&mut self, at: Timestamp, what: Happened) {
        if self.history.len() >= limits::MOMENTS {
            self.history.remove(0);
            self.history_dropped = self.history_dropped.saturating_add(1);
        }
        // The plane's word can be of a time before what was heard on the bus.
        let place = self.history.partition_point(|moment| moment.at <= at);
        // Most jobs have three moments, and there are many jobs.
        self.history.reserve_exact(1);
        self.history.insert(place, Moment { at, what });
    }
}
