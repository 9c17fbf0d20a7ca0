//! What the rows of all lists are about.

use std::fmt;
use std::sync::Arc;

use crate::ids::{JobId, PoolName, WorkerId};

/// What a row is about; what a view keeps when another view is shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A job.
    Job(JobId),
    /// A worker.
    Worker(WorkerId),
    /// A pool of workers.
    Pool(PoolName),
    /// An alert, by the name it is kept under.
    Alert(Box<str>),
    /// A workflow.
    Workflow(Arc<str>),
    /// The parents of known jobs that nobody has heard of.
    Unseen,
    /// A rule of the policy; `None` stands for "no rule matched".
    Rule(Option<Arc<str>>),
    /// What a candidate policy would flip, by [`Flip::key`].
    ///
    /// [`Flip::key`]: crate::state::model::what_if::Flip::key
    Flip(Arc<str>),
}

impl Subject {
    /// The id as it is copied.
    pub fn id(&self) -> &str {
        match self {
            Self::Job(id) => id.as_str(),
            Self::Worker(id) => id.as_str(),
            Self::Pool(name) => name.as_str(),
            Self::Alert(name) => name,
            Self::Workflow(id) => id,
            Self::Rule(Some(id)) => id,
            Self::Rule(None) | Self::Unseen | Self::Flip(_) => "",
        }
    }

    /// The job, if it is one.
    pub fn job(&self) -> Option<&JobId> {
        let Self::Job(id) = self else { return None };
        Some(id)
    }

    /// The worker, if it is one.
    pub fn worker(&self) -> Option<&WorkerId> {
        let Self::Worker(id) = self else { return None };
        Some(id)
    }

    /// The pool, if it is one.
    pub fn pool(&self) -> Option<&PoolName> {
        let Self::Pool(name) = self else { return None };
        Some(name)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}
