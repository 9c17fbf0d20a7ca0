//! The model without a screen: `get` listens, asks, and prints.
//!
//! The same events move the same model as on the screen; what is printed is built
//! by [`json`] in a stable shape of its own, or by [`table`] for people. Start at
//! [`gather`].

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::JobId;
use crate::runtime::Runtime;
use crate::state::effect::Effect;
use crate::state::event::{Event, LinkState, Source};
use crate::state::filter::{ApprovalRow, Filter, FilterError, RollbackRow, WorkerRow};
use crate::state::model::Model;
use crate::state::model::alerts::Alert;
use crate::state::model::jobs::Job;
use crate::state::model::rollbacks::{Step, stacks};
use crate::time::{Elapsed, Timestamp};

pub mod json;
pub mod table;

/// What `get` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The jobs.
    Jobs,
    /// The workers.
    Workers,
    /// The approvals.
    Approvals,
    /// What is undone, step by step.
    Rollbacks,
    /// The alerts.
    Alerts,
    /// The senders.
    Senders,
}

impl Kind {
    /// The name in JSON and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Workers => "workers",
            Self::Approvals => "approvals",
            Self::Rollbacks => "rollbacks",
            Self::Alerts => "alerts",
            Self::Senders => "senders",
        }
    }

    /// The word for one of them.
    pub fn one(self) -> &'static str {
        match self {
            Self::Jobs => "job",
            Self::Workers => "worker",
            Self::Approvals => "approval",
            Self::Rollbacks => "rollback",
            Self::Alerts => "alert",
            Self::Senders => "sender",
        }
    }

    /// Reads a filter for things of this kind.
    ///
    /// # Errors
    /// [`FilterError`] with the column. Senders are few and have none.
    pub fn filter(self, text: &str) -> Result<Filter, FilterError> {
        match self {
            Self::Jobs => Filter::parse::<Job>(text),
            Self::Workers => Filter::parse::<WorkerRow<'_>>(text),
            Self::Approvals => Filter::parse::<ApprovalRow<'_>>(text),
            Self::Rollbacks => Filter::parse::<RollbackRow<'_>>(text),
            Self::Alerts => Filter::parse::<Alert>(text),
            Self::Senders => Err(FilterError {
                column: 1,
                part: text.to_owned(),
                wants: "cannot be used: senders have no filter".to_owned(),
            }),
        }
    }
}

/// Which of them.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only the one with this id.
    pub id: Option<String>,
    /// Only those that pass.
    pub filter: Option<Filter>,
}

/// The model and the instant it is of.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// What is known.
    pub model: Model,
    /// As of when.
    pub now: Timestamp,
    /// How long the bus was listened to.
    pub listened: Elapsed,
}

/// How long to gather.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long to listen to the bus once it is up; zero does not wait for it.
    pub listen: Elapsed,
    /// How long to wait for servers that do not answer.
    pub connect: Elapsed,
    /// The server that tells what never travels on the bus, whose first answers are
    /// waited for; `None` without one.
    pub teller: Option<Source>,
    /// Whether there is a bus.
    pub bus: bool,
}

/// No server that is configured could be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{source_name} cannot be reached: {reason}")]
pub struct Unreachable {
    /// Which one, such as `nats`.
    pub source_name: &'static str,
    /// What the connection said.
    pub reason: String,
}

/// Listens and asks until everything that was wanted is there.
///
/// # Errors
/// [`Unreachable`] when no server that is configured answered in time.
pub async fn gather(runtime: &mut Runtime, patience: Patience) -> Result<Snapshot, Unreachable> {
    let mut snapshot = Snapshot::default();
    let mut batch = Vec::new();
    let mut started = None;
    let mut heard_since = None;
    let mut told = patience.teller.is_none();
    loop {
        let wake = heard_since.map(|since: Timestamp| since.plus(patience.listen));
        runtime.next_batch(wake, &mut batch).await;
        for event in batch.drain(..) {
            snapshot.now = event.at;
            told |=
                matches!(event.value, Event::Answered(source) if Some(source) == patience.teller);
            snapshot.model.apply(&event.value, event.at);
        }
        let now = snapshot.now;
        let began = *started.get_or_insert(now);
        let links = &snapshot.model.links;
        if links.of(Source::Bus).is_up() {
            heard_since.get_or_insert(now);
        }
        let listens = patience.bus && patience.listen > Elapsed::ZERO;
        let heard = match heard_since {
            Some(since) => {
                snapshot.listened = now.since(since).min(patience.listen);
                now.since(since) >= patience.listen
            }
            None => !listens,
        };
        if told && heard {
            return Ok(snapshot);
        }
        if now.since(began) >= patience.connect || all_down(&snapshot.model) {
            // What answered is printed all the same, with the others marked.
            let waiting = heard_since.is_some() && !heard;
            if links.any_up() && !waiting {
                return Ok(snapshot);
            }
            if !links.any_up() {
                return Err(unreachable(&snapshot.model));
            }
        }
    }
}

fn all_down(model: &Model) -> bool {
    let mut down = 0;
    for source in Source::ALL {
        match model.links.of(source).state {
            LinkState::Absent => {}
            LinkState::Down { .. } => down += 1,
            LinkState::Connecting | LinkState::Up | LinkState::Lagging { .. } => return false,
        }
    }
    down > 0
}

fn unreachable(model: &Model) -> Unreachable {
    let lines = Source::ALL.map(|source| (source, model.links.of(source)));
    let down = lines
        .iter()
        .find_map(|(source, line)| Some((source.name(), line.reason()?.to_string())));
    let waiting = lines
        .iter()
        .find(|(_, line)| line.state == LinkState::Connecting)
        .map(|(source, _)| (source.name(), "no answer in time".to_owned()));
    let (source_name, reason) = down
        .or(waiting)
        .unwrap_or(("a server", "none is configured".to_owned()));
    Unreachable {
        source_name,
        reason,
    }
}

/// Asks the gateway, or the store without one, for all about one job and takes it in.
pub async fn read_job(runtime: &mut Runtime, snapshot: &mut Snapshot, id: &str) {
    let effect = Effect::ReadJob(JobId::from(id));
    // When nobody can be asked, or nobody knows the job, what packets told stays.
    let _outcome = runtime.run_now(&effect).await;
    take_in(runtime, snapshot, Some(snapshot.now)).await;
}

/// Undos that policy is asked about at most for one print.
const UNDOS: usize = 64;

/// Asks what policy would say of the steps that have not run, of which nothing is known
/// under the policy in force; `asked` holds those that it was asked about before.
pub async fn judge_undos(
    runtime: &mut Runtime,
    snapshot: &mut Snapshot,
    asked: &mut BTreeMap<JobId, Option<Arc<str>>>,
) {
    if !snapshot.model.links.of(Source::Gateway).is_up() {
        return;
    }
    let in_force = snapshot.model.snapshot.clone();
    let stacks = stacks(&snapshot.model, snapshot.now);
    let steps = stacks.iter().flat_map(|stack| &stack.steps);
    let open: Vec<JobId> = steps
        .filter_map(Step::waits_to_undo)
        .filter(|job| asked.get(*job) != Some(&in_force))
        .take(UNDOS)
        .cloned()
        .collect();
    for job in open {
        asked.insert(job.clone(), in_force.clone());
        // Where nobody tells, the verdict stays unknown.
        let _outcome = runtime.run_now(&Effect::JudgeCompensation { job }).await;
        take_in(runtime, snapshot, Some(snapshot.now)).await;
    }
}

/// Takes in what has happened, waiting until `until` at most; returns the model's instant.
pub async fn take_in(
    runtime: &mut Runtime,
    snapshot: &mut Snapshot,
    until: Option<Timestamp>,
) -> Timestamp {
    let mut batch = Vec::new();
    runtime.next_batch(until, &mut batch).await;
    for event in batch {
        snapshot.now = event.at;
        snapshot.model.apply(&event.value, event.at);
    }
    snapshot.now
}

/// What changed since it was printed last, as JSON lines.
#[derive(Debug, Default)]
pub struct Watch {
    printed: BTreeMap<String, String>,
}

impl Watch {
    /// The lines of everything that is new or different. Ages alone are no change.
    pub fn changes(&mut self, kind: Kind, snapshot: &Snapshot, wanted: &Wanted) -> Vec<String> {
        let mut lines = Vec::new();
        for item in json::items(kind, snapshot, wanted) {
            let key = json::key_of(&item);
            let steady = json::without_ages(&item);
            if self.printed.get(&key) != Some(&steady) {
                lines.push(json::line(kind, &item));
                self.printed.insert(key, steady);
            }
        }
        lines
    }
}
