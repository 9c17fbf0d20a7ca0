//! What happens in a demo: who works, what is asked for, and what goes wrong when.
//!
//! A scenario is a TOML file ([`mod@format`]); with a seed and a start it becomes a
//! [`Plan`], a pure step function that says what is due at an instant. [`run()`] is
//! the thin shell that publishes what the plan says. The same seed gives the same
//! packets with the same stamps; nothing here reads a clock or a global generator.
//! How workers act on what they get is [`super::worker`]'s business.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::ids::{PoolName, WorkerId};
use crate::time::Elapsed;
use crate::wire::packet::{ActorType, AlertSeverity, ErrorCode, JobPriority};

mod arrivals;
pub mod error;
pub mod format;
pub mod plan;
pub mod run;

pub use error::ScenarioError;
pub use plan::{Change, Move, Plan, PolicyEdit, Submission, WorkerIncident};
pub use run::{Outlets, PolicyHook, run};

/// The environment variable of a request that carries its script, the JSON of a
/// [`Script`]. Jobs without it are somebody's own and are spared every mishap.
pub const SCRIPT_ENV: &str = "CAPDECK_SCRIPT";

/// A whole scenario, checked: every name in it refers to something.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Its name, for people.
    pub name: String,
    /// What there is to see, for people.
    pub about: String,
    /// Groups of workers, in the order of the file.
    pub pools: Vec<Pool>,
    /// Kinds of jobs by name.
    pub jobs: BTreeMap<String, JobTemplate>,
    /// Payload texts by name, with `{{…}}` still in them.
    pub payloads: BTreeMap<String, String>,
    /// Steady traffic.
    pub streams: Vec<Stream>,
    /// Single jobs at given seconds.
    pub scripts: Vec<Scripted>,
    /// Chains of jobs at given seconds.
    pub workflows: Vec<Workflow>,
    /// Alerts at given seconds.
    pub alerts: Vec<Alert>,
    /// Mishaps at given seconds.
    pub incidents: Vec<Incident>,
}

impl Scenario {
    /// The scenarios that are part of the program, the default first.
    pub const BUILT_IN: &[&str] = &["default", "quiet", "incident"];

    /// Reads the scenario file at `path`; payload files are looked for beside it.
    ///
    /// # Errors
    /// [`ScenarioError`], which names file and line.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let unreadable = |source| ScenarioError::Unreadable {
            path: path.display().to_string(),
            source,
        };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let beside = path.parent().unwrap_or(Path::new("")).to_owned();
        format::parse(&text, &path.display().to_string(), &|file| {
            std::fs::read_to_string(beside.join(file))
        })
    }

    /// A scenario that is part of the program; `None` if there is none of that name.
    pub fn built_in(name: &str) -> Option<Self> {
        let text = match name {
            "default" => include_str!("../../demo/scenarios/default.toml"),
            "quiet" => include_str!("../../demo/scenarios/quiet.toml"),
            "incident" => include_str!("../../demo/scenarios/incident.toml"),
            _ => return None,
        };
        let path = format!("demo/scenarios/{name}.toml");
        let scenario = format::parse(text, &path, &built_in_payload);
        Some(scenario.expect("a test reads every built-in scenario"))
    }

    /// The topics of the pools with the pools that take them, in the order of the
    /// file. A topic may end in `*`, which stands for any rest.
    pub fn topics(&self) -> Vec<(String, Vec<PoolName>)> {
        let mut topics: Vec<(String, Vec<PoolName>)> = Vec::new();
        for pool in &self.pools {
            for topic in &pool.topics {
                match topics.iter_mut().find(|(known, _)| known == topic) {
                    Some((_, pools)) => pools.push(pool.name.clone()),
                    None => topics.push((topic.clone(), vec![pool.name.clone()])),
                }
            }
        }
        topics
    }

    /// The same scenario without traffic, alerts and mishaps: workers alone.
    #[must_use]
    pub fn without_traffic(mut self) -> Self {
        self.streams.clear();
        self.scripts.clear();
        self.workflows.clear();
        self.alerts.clear();
        self.incidents.clear();
        self
    }
}

impl Scenario {
    /// The same scenario with workers whose names end in `tag`, so that two planes on
    /// one bus do not have workers of one name.
    #[must_use]
    pub fn tagged(mut self, tag: &str) -> Self {
        for pool in &mut self.pools {
            tag.clone_into(&mut pool.tag);
        }
        for incident in &mut self.incidents {
            if let Happening::Workers { workers, .. } = &mut incident.what {
                for worker in workers {
                    *worker = WorkerId::from(format!("{worker}{tag}"));
                }
            }
        }
        self
    }
}

fn built_in_payload(file: &str) -> std::io::Result<String> {
    let text = match file {
        "../payloads/manifest.yaml" => include_str!("../../demo/payloads/manifest.yaml"),
        "../payloads/hostile.json" => include_str!("../../demo/payloads/hostile.json"),
        "../payloads/secret.json" => include_str!("../../demo/payloads/secret.json"),
        _ => return Err(std::io::ErrorKind::NotFound.into()),
    };
    Ok(text.to_owned())
}

/// A group of interchangeable workers.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Its name, one token of a subject.
    pub name: PoolName,
    /// What the names of its workers end in; empty in a file.
    pub tag: String,
    /// How many workers it has.
    pub workers: u32,
    /// Jobs that each of them takes at once.
    pub slots: u32,
    /// Where they run; worker `n` is in region `n mod len`.
    pub regions: Vec<String>,
    /// Topics that go to this pool; one may end in `*`.
    pub topics: Vec<String>,
    /// What its workers can do.
    pub capabilities: Vec<String>,
    /// The wire's `type` of its workers, such as `cpu`.
    pub kind: String,
    /// The agent its workers run.
    pub agent: String,
    /// Labels on every heartbeat.
    pub labels: BTreeMap<String, String>,
    /// CPU load in percent: idle, and with every slot taken.
    pub cpu: Span,
    /// Memory load in percent: idle, and with every slot taken.
    pub memory: Span,
    /// GPU load in percent: idle, and with every slot taken.
    pub gpu: Span,
}

impl Pool {
    /// The names of its workers, such as `w-mcp-01`.
    pub fn worker_ids(&self) -> impl Iterator<Item = WorkerId> + '_ {
        let Self { name, tag, .. } = self;
        (1..=self.workers).map(move |n| WorkerId::from(format!("w-{name}-{n:02}{tag}")))
    }
}

/// Two ends of a range, the low one first; what is between is drawn or interpolated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// The low end.
    pub low: f64,
    /// The high end; not below `low`.
    pub high: f64,
}

/// A kind of job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobTemplate {
    /// Its topic, beginning with `job.`.
    pub topic: String,
    /// How urgent it is.
    pub priority: JobPriority,
    /// Who it belongs to; one is drawn.
    pub tenants: Vec<String>,
    /// Who asks, as a principal; one is drawn.
    pub principals: Vec<String>,
    /// Who asks, as an actor; empty: the principal.
    pub actor: String,
    /// A person or a program.
    pub actor_type: ActorType,
    /// Who publishes it; empty: the actor.
    pub sender: String,
    /// What it is able to do.
    pub capability: String,
    /// What makes it risky.
    pub risk_tags: Vec<String>,
    /// What its worker must tell that it can do.
    pub requires: Vec<String>,
    /// The pack it comes from.
    pub pack: String,
    /// Labels, with `{{…}}` still in them.
    pub labels: BTreeMap<String, String>,
    /// Values that are drawn once for each job and named `{{…}}` elsewhere.
    pub vary: BTreeMap<String, Vec<String>>,
    /// The payload by name; `None`: a few words made up from the request.
    pub payload: Option<String>,
    /// The job that undoes it.
    pub undo: Option<Undo>,
    /// How long it takes, in seconds.
    pub seconds: Span,
    /// What it says along the way, in order.
    pub steps: Vec<String>,
    /// How often it does not succeed.
    pub odds: Odds,
    /// The cause it gives when it fails; `None`: the usual one of the outcome.
    pub error: Option<Cause>,
    /// When its time is up, counted from its submission.
    pub deadline: Option<Elapsed>,
}

/// The job that undoes another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Undo {
    /// Its topic.
    pub topic: String,
    /// Its payload by name.
    pub payload: Option<String>,
    /// Labels of its own; those of the job it undoes are added by whoever runs it.
    pub labels: BTreeMap<String, String>,
    /// How long it takes.
    pub seconds: Span,
}

/// The share of jobs, 0 to 1, that end in each way; the rest succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Odds {
    /// Ends FAILED.
    pub failed: f64,
    /// Ends FAILED_RETRYABLE, and well when it is tried again.
    pub failed_retryable: f64,
    /// Ends FAILED_FATAL.
    pub failed_fatal: f64,
    /// Ends TIMEOUT.
    pub timeout: f64,
    /// Stops somewhere and never ends.
    pub hang: f64,
}

/// Why a job failed, as its worker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The `error_code`, such as `ERROR_CODE_JOB_PERMISSION_DENIED`.
    pub code: String,
    /// The `error_message`.
    pub message: String,
}

/// How a job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Outcome {
    /// Well.
    #[default]
    Succeeded,
    /// Badly.
    Failed,
    /// Badly, but another attempt may do.
    FailedRetryable,
    /// So badly that its workflow is rolled back.
    FailedFatal,
    /// Its time was up.
    Timeout,
    /// Never.
    Hang,
}

impl Outcome {
    /// Every outcome with its name in scenarios and in the label `demo.outcome`.
    pub const NAMED: &[(&str, Self)] = &[
        ("succeeded", Self::Succeeded),
        ("failed", Self::Failed),
        ("failed_retryable", Self::FailedRetryable),
        ("failed_fatal", Self::FailedFatal),
        ("timeout", Self::Timeout),
        ("hang", Self::Hang),
    ];

    /// Reads a name of [`Outcome::NAMED`].
    pub fn from_name(name: &str) -> Option<Self> {
        let found = Self::NAMED.iter().find(|(known, _)| *known == name)?;
        Some(found.1)
    }

    /// Its name in [`Outcome::NAMED`].
    pub fn name(self) -> &'static str {
        let found = Self::NAMED.iter().find(|(_, outcome)| *outcome == self);
        found.expect("the table names every outcome").0
    }
}

/// What the plan tells a worker about one job, in [`SCRIPT_ENV`].
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Script {
    /// The job's template in the scenario.
    pub job: String,
    /// How long it takes, in milliseconds.
    pub ms: u64,
    /// How it ends, a name of [`Outcome::NAMED`].
    pub outcome: String,
}

/// Traffic at a rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// The job's template.
    pub job: String,
    /// Jobs a minute outside the windows.
    pub per_minute: f64,
    /// The instant of the first job, if it shall not be drawn.
    pub first: Option<Elapsed>,
    /// Times of another rate; the last that covers an instant counts.
    pub windows: Vec<Window>,
}

/// A time of another rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Its begin, counted from the start.
    pub from: Elapsed,
    /// Its end, counted from the start.
    pub to: Elapsed,
    /// Jobs a minute at its begin.
    pub begin_per_minute: f64,
    /// Jobs a minute at its end; the rate moves in a straight line.
    pub end_per_minute: f64,
    /// The window comes back after this long.
    pub every: Option<Elapsed>,
}

/// A single job.
#[derive(Clone, Debug, PartialEq)]
pub struct Scripted {
    /// When, counted from the start.
    pub at: Elapsed,
    /// It comes again after this long.
    pub every: Option<Elapsed>,
    /// The job's template.
    pub job: String,
    /// What differs from the template.
    pub change: Twist,
}

/// What one job does differently from its template.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Twist {
    /// How it ends.
    pub outcome: Option<Outcome>,
    /// How long it takes.
    pub takes: Option<Span>,
    /// Labels on top.
    pub labels: BTreeMap<String, String>,
    /// Another payload.
    pub payload: Option<String>,
    /// Somebody asks it to stop this long after its submission.
    pub cancel_after: Option<Elapsed>,
}

/// A chain of jobs of one trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Workflow {
    /// Its name; runs are numbered.
    pub name: String,
    /// When, counted from the start.
    pub at: Elapsed,
    /// It comes again after this long.
    pub every: Option<Elapsed>,
    /// Its steps in order.
    pub steps: Vec<WorkflowStep>,
}

/// A job of a workflow.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkflowStep {
    /// The job's template.
    pub job: String,
    /// When it is submitted, counted from the start of its workflow.
    pub after: Elapsed,
    /// What differs from the template.
    pub change: Twist,
}

/// An alert on the bus.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// When, counted from the start.
    pub at: Elapsed,
    /// It comes again after this long.
    pub every: Option<Elapsed>,
    /// Whether it is a notice of a workflow rather than an alert.
    pub workflow_event: bool,
    /// How bad it is.
    pub severity: AlertSeverity,
    /// Who says so.
    pub component: String,
    /// Its code, such as `queue_depth`.
    pub code: String,
    /// The cause by number; `None` leaves it to `code`.
    pub error: Option<ErrorCode>,
    /// What happened.
    pub message: String,
    /// More facts.
    pub details: BTreeMap<String, String>,
}

/// A mishap, or an intervention.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// When, counted from the start.
    pub at: Elapsed,
    /// How long it lasts; `None` is for good.
    pub lasts: Option<Elapsed>,
    /// It comes again after this long.
    pub every: Option<Elapsed>,
    /// What happens.
    pub what: Happening,
}

/// What happens in an incident.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// Something befalls workers.
    Workers {
        /// Which.
        workers: Vec<WorkerId>,
        /// What.
        mishap: Mishap,
    },
    /// The text of the policy is changed.
    EditPolicy(Arc<PolicyEdit>),
}

/// What can befall a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// It is gone with all it was doing; at the end it is back, empty.
    Die,
    /// It works on, but its heartbeats stop.
    Silent,
    /// Its heartbeats go on, but its work stands still.
    Stall,
    /// It finishes what it has and takes nothing new.
    Drain,
    /// It works on when it is told to stop.
    IgnoreCancels,
    /// Its heartbeats claim this many jobs, whatever it has.
    ClaimJobs(u32),
    /// Its work takes this many times as long, in thousandths.
    Slow(u32),
}

#[cfg(test)]
mod tests;
