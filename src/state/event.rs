//! Everything that can happen, stamped once where it came in.

use std::sync::Arc;

use crate::ids::{PoolName, WorkerId};
use crate::state::action::Action;
use crate::state::effect::{EffectId, Outcome};
use crate::state::model::approvals::{ApprovalFact, Payload};
use crate::state::model::compensations::Judged;
use crate::state::model::jobs::JobFact;
use crate::state::model::letters::LettersFact;
use crate::state::model::policy::{Explanation, PolicyFact};
use crate::state::model::rollbacks::RollbackFact;
use crate::state::model::what_if::WhatIf;
use crate::time::Timestamp;
use crate::wire::packet::Packet;

/// Something with its place in the one order of events.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamped<T> {
    /// Its number, dense from 0: the order.
    pub seq: u64,
    /// When it came in, by our clock; never earlier than the one before.
    pub at: Timestamp,
    /// What it is.
    pub value: T,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A packet was heard.
    Packet(Box<Heard>),
    /// Bytes were heard that are not a packet.
    Malformed(Malformed),
    /// The line to a server changed.
    Link(Source, LinkState),
    /// A server answered a question of ours, whatever the answer.
    Answered(Source),
    /// So many requests were sent to the gateway since this was last told.
    Requests(u32),
    /// Jobs as the plane knows them.
    Jobs(Vec<JobFact>),
    /// Workers as the plane knows them; used where the bus tells nothing.
    Workers(Vec<WorkerFact>),
    /// Pools as the plane knows them, all of them.
    Pools(Vec<PoolFact>),
    /// The dead letters that the gateway lists.
    DeadLetters(LettersFact),
    /// The rollbacks that the gateway lists.
    Rollbacks(Vec<RollbackFact>),
    /// The policy snapshot that is in force.
    Policy(Arc<str>),
    /// What the gateway tells about policy: rules, snapshots, kernel, decisions.
    PolicyTold(Box<PolicyFact>),
    /// What policy says of a job, rule by rule.
    Explained(Box<Explanation>),
    /// What a candidate policy would change.
    Tried(Box<WhatIf>),
    /// What policy would say of an undo.
    CompensationJudged(Box<Judged>),
    /// All approvals that the plane lists, those that ended included.
    Approvals(Vec<ApprovalFact>),
    /// Records of the store that could not be read, all that are known now.
    Unreadable(Unreadable),
    /// What is behind a pointer.
    Payload(Box<Payload>),
    /// An effect ended.
    Outcome(EffectId, Outcome),
    /// The operator asked for something.
    User(Action),
    /// Time went by.
    Tick,
}

/// A packet and where it was heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// What its subject is for.
    pub route: Route,
    /// The subject.
    pub subject: Arc<str>,
    /// The packet.
    pub packet: Packet,
}

/// What a subject is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `sys.job.submit`.
    Submit,
    /// `job.*` or `worker.<id>.jobs`.
    Dispatch {
        /// The worker, when the subject names one.
        worker: Option<WorkerId>,
    },
    /// `sys.job.result`.
    Result,
    /// `sys.job.progress`.
    Progress,
    /// `sys.job.cancel`.
    Cancel,
    /// `sys.job.dlq`.
    DeadLetter,
    /// `sys.heartbeat`.
    Heartbeat,
    /// `sys.handshake` and `sys.worker.handshake…`.
    Handshake,
    /// `sys.alert`, `sys.workflow.event`, `sys.config.changed`.
    Alert,
    /// `sys.audit.*`.
    Audit,
    /// Anything else.
    Other,
}

/// Bytes that are not a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where they were heard.
    pub subject: Arc<str>,
    /// How many they are.
    pub len: usize,
    /// What is wrong with them.
    pub reason: Arc<str>,
}

/// Records of the store that could not be read, so that what they tell is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unreadable {
    /// How many.
    pub records: u64,
    /// One of them, and what is wrong with it; empty if there is none.
    pub such_as: Arc<str>,
}

/// A server that we listen to or ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The bus, or the gateway's stream in its place.
    Bus,
    /// The gateway.
    Gateway,
    /// The store.
    Store,
}

impl Source {
    /// All three, in the order of the header.
    pub const ALL: [Self; 3] = [Self::Bus, Self::Gateway, Self::Store];

    /// The name that the header and the JSON use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bus => "nats",
            Self::Gateway => "gateway",
            Self::Store => "redis",
        }
    }
}

/// The line to a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    /// None is configured.
    #[default]
    Absent,
    /// Not connected yet.
    Connecting,
    /// Connected.
    Up,
    /// Connected, and packets were lost because they came faster than we read.
    Lagging {
        /// Packets lost since the start.
        dropped: u64,
    },
    /// Not connected.
    Down {
        /// Since when.
        since: Timestamp,
        /// The last error, without addresses or secrets.
        reason: Arc<str>,
        /// Failed attempts since.
        attempts: u32,
        /// When the next attempt is made; `None` if none is.
        again_at: Option<Timestamp>,
    },
}

/// A worker as the plane knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerFact {
    /// The worker.
    pub worker_id: WorkerId,
    /// Its pool.
    pub pool: PoolName,
    /// Its region.
    pub region: Arc<str>,
    /// Jobs it works on.
    pub active_jobs: i32,
    /// Jobs it may work on at once; 0 is not known.
    pub max_parallel_jobs: i32,
    /// Percent.
    pub cpu_load: f32,
    /// Percent.
    pub memory_load: f32,
    /// Percent.
    pub gpu_utilization: f32,
    /// When the plane heard it; `None` if it does not say.
    pub heard_at: Option<Timestamp>,
}

/// A pool as the plane knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolFact {
    /// The pool.
    pub name: PoolName,
    /// Topics that are mapped to it; empty if the plane does not say.
    pub topics: Vec<Arc<str>>,
    /// Whether it takes no new jobs.
    pub draining: bool,
}
