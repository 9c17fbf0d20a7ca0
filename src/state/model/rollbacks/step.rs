//! One step of an undo, and how it stands.

use crate::ids::JobId;
use crate::state::model::jobs::{Decision, JobState};
use crate::state::shared::Text;

/// One step of an undo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The job that is undone; `None` if the job that does it does not say.
    pub undoes: Option<JobId>,
    /// The topic of that job.
    pub undoes_topic: Text,
    /// What undoes it: a topic.
    pub topic: Text,
    /// The job that does it; `None` before one was heard of.
    pub job: Option<JobId>,
    /// How it stands.
    pub state: StepState,
    /// It runs once for this key. Before it runs, only a key that the compensation
    /// itself names is known: planes derive the others.
    pub idempotency_key: Text,
    /// What policy decided about it.
    pub decision: Option<Decision>,
}

impl Step {
    /// The job that it would undo, as long as it has not run: policy can be asked
    /// about it.
    pub fn waits_to_undo(&self) -> Option<&JobId> {
        let waits = matches!(self.state, StepState::Armed | StepState::WillRun);
        self.undoes.as_ref().filter(|_| waits && self.job.is_none())
    }
}

/// How a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// It would run if its workflow ended FAILED_FATAL.
    Armed,
    /// Its turn comes.
    WillRun,
    /// The rollback stopped before its turn came.
    NotRun,
    /// It is a job in this state; `None` while that is not known.
    Job(Option<JobState>),
    /// The plane could not make a job of it.
    Refused,
    /// The plane left it out, because its key ran before.
    Skipped,
    /// Others ran and nothing was heard of it, or its job was forgotten.
    Unknown,
}

impl StepState {
    /// Whether it has undone what it undoes. Output that is held back was made
    /// all the same.
    pub fn is_done(self) -> bool {
        matches!(
            self,
            Self::Job(Some(JobState::Succeeded | JobState::OutputQuarantined))
        )
    }

    /// Whether it ended without having undone anything for certain.
    pub fn is_broken(self) -> bool {
        let ended = matches!(self, Self::Job(Some(state)) if state.is_terminal());
        (ended && !self.is_done()) || self == Self::Refused
    }

    /// The name in JSON: that of the job's state, else of the plane's own words for
    /// steps that are no jobs yet; `None` is not known.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Armed => Some("RECORDED"),
            Self::WillRun => Some("WAITING"),
            Self::NotRun => Some("NOT_RUN"),
            Self::Refused => Some("REFUSED"),
            Self::Skipped => Some("SKIPPED"),
            Self::Job(state) => state.map(JobState::name),
            Self::Unknown => None,
        }
    }
}
