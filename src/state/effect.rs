//! What a step wants done outside, as data.
//!
//! The runtime runs each effect with a deadline and always answers with an
//! [`Outcome`] under the same [`EffectId`]. Nothing is repeated by itself and
//! nothing is kept for a server that is away: such an effect fails at once.

use std::num::NonZeroU64;
use std::sync::Arc;

use crate::ids::JobId;
use crate::state::ui::saved::SavedView;
use crate::time::Elapsed;

/// Names one effect until its outcome is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectId(NonZeroU64);

impl EffectId {
    /// The `n`-th effect, counted from 0.
    pub fn nth(n: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(n))
    }

    /// The id as a number, from 1.
    pub fn number(self) -> u64 {
        self.0.get()
    }
}

/// What an approval or a rejection is bound to: what was on the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The hash of the request, as read; `None` if the plane tells none.
    pub job_hash: Option<Arc<str>>,
    /// The policy snapshot that asked for the approval, as read.
    pub policy_snapshot: Option<Arc<str>>,
    /// The SHA-256 of the payload, in lower-case hex; `None` if the job carries none.
    pub payload_sha256: Option<Arc<str>>,
}

/// How long somebody looked at what they decided about; for the operator's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Bytes of the payload that have been on the screen.
    pub payload_bytes: u32,
    /// How long the review was open.
    pub open_for: Elapsed,
}

/// What a person decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Let it run. The text is the note.
    Approve(Arc<str>),
    /// Do not let it run. The text is the reason.
    Reject(Arc<str>),
}

/// Something to be done outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask that a job stops: over the gateway where there is one, else on the bus.
    Cancel {
        /// The job.
        job: JobId,
        /// Why; may be empty.
        reason: Arc<str>,
    },
    /// Ask the gateway for a new job in place of a dead one.
    Retry {
        /// The job of the dead letter.
        job: JobId,
    },
    /// Send a decision. Hash, snapshot and payload are read again right before,
    /// and any difference refuses it.
    Decide {
        /// The job.
        job: JobId,
        /// Which decision.
        ruling: Ruling,
        /// What was on the screen.
        binding: Binding,
        /// For how long.
        looked: Looked,
    },
    /// Read what is behind a pointer; the answer comes as [`Event::Payload`] before the outcome.
    ///
    /// [`Event::Payload`]: crate::state::event::Event::Payload
    ReadPayload {
        /// The job it belongs to.
        job: JobId,
        /// The pointer.
        pointer: Arc<str>,
    },
    /// Ask the gateway, or the store without one, for one job now, with its request,
    /// decisions and timeline.
    ReadJob(JobId),
    /// Ask which jobs belong to a trace, or to a workflow with its traces, also those that
    /// no list tells of any more.
    ReadTrace {
        /// Their names.
        names: Vec<Arc<str>>,
    },
    /// Ask for the pages of jobs, one after the other, for what they were before.
    ReadLives {
        /// The jobs.
        jobs: Vec<JobId>,
    },
    /// Ask the gateway for rules, snapshots, the kernel's health and decisions.
    ReadPolicy,
    /// Ask what policy says of a job now, rule by rule; the answer comes as
    /// [`Event::Explained`] before the outcome.
    ///
    /// [`Event::Explained`]: crate::state::event::Event::Explained
    Explain {
        /// The job.
        job: JobId,
    },
    /// Ask what a candidate policy would say of the decisions that were made last;
    /// the answer comes as [`Event::Tried`] before the outcome.
    ///
    /// [`Event::Tried`]: crate::state::event::Event::Tried
    Try {
        /// The file, as a person typed it.
        path: Arc<str>,
    },
    /// Ask what policy would say of the job that would undo another; the answer comes
    /// as [`Event::CompensationJudged`] before the outcome.
    ///
    /// [`Event::CompensationJudged`]: crate::state::event::Event::CompensationJudged
    JudgeCompensation {
        /// The job that would be undone.
        job: JobId,
    },
    /// Ask all sources again now, and try again those that are away.
    Refresh,
    /// Write into the operator's log that secrets were shown.
    LogReveal {
        /// The job whose payload was shown.
        job: JobId,
    },
    /// Keep a view under a name beyond this console, or forget it.
    KeepView {
        /// The name.
        name: Arc<str>,
        /// The view; `None` forgets it.
        kept: Option<SavedView>,
    },
    /// Put a text on the clipboard of the terminal.
    CopyText(Arc<str>),
    /// Put what is under the cursor on the clipboard of the terminal, as JSON.
    CopyJson,
    /// Ring the bell of the terminal.
    Bell,
    /// Hand the terminal back to the shell until `fg`.
    Suspend,
    /// Draw every cell again.
    Repaint,
    /// End the console.
    Quit,
}

/// How an effect ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done. The word of the plane where it gave one, such as the new state.
    Done(Option<Arc<str>>),
    /// It was refused, and changed nothing.
    Refused(Refusal),
    /// It could not be tried or failed before it left; it changed nothing.
    Failed {
        /// Why, for people.
        reason: Arc<str>,
    },
    /// It left, and no answer came in time: it is unknown whether it changed anything.
    TimedOut,
}

/// Why something was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Who refused.
    pub by: Refuser,
    /// The HTTP status; 0 if it never left the console.
    pub status: u16,
    /// The machine-readable cause, such as `approval_stale_snapshot`.
    pub code: Arc<str>,
    /// The cause in words, as given.
    pub text: Arc<str>,
}

/// Who refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuser {
    /// The control plane.
    Plane,
    /// This console, before it sent anything.
    Console,
}

/// The effects of one or more steps, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EffectQueue {
    next: u64,
    waiting: Vec<(EffectId, Effect)>,
}

impl EffectQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn begin(&mut self, next: u64) {
        self.next = next;
    }

    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Asks for `effect`; its outcome will name the returned id.
    pub fn push(&mut self, effect: Effect) -> EffectId {
        let id = EffectId::nth(self.next);
        self.next += 1;
        self.waiting.push((id, effect));
        id
    }

    /// Takes all that was asked for.
    pub fn drain(&mut self) -> impl Iterator<Item = (EffectId, Effect)> {
        self.waiting.drain(..)
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
