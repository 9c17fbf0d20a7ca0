//! The plan: what of a scenario is due at an instant. Pure.
//!
//! An agenda holds the next instant of every stream, script, workflow, alert and
//! incident; [`Plan::due`] takes out what has come and puts back when it comes
//! again. Each of them draws from a generator of its own, so that adding one
//! leaves the others as they were.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::arrivals::Arrivals;
use super::{Happening, Mishap, Scenario, Twist};
use crate::bus::Subject;
use crate::ids::{JobId, TraceId, WorkerId};
use crate::time::{Elapsed, Timestamp};
use crate::wire::packet::Packet;

mod draw;

use draw::{Wanted, alert_packet, cancel_packet, uuid};

/// Something that is due.
#[derive(Clone, Debug, PartialEq)]
pub enum Move {
    /// A job is submitted.
    Submit(Box<Submission>),
    /// A packet is published as it is.
    Publish {
        /// Where.
        subject: Subject,
        /// What.
        packet: Box<Packet>,
    },
    /// Something befalls workers, or is over.
    Workers(WorkerIncident),
    /// The text of the policy changes.
    EditPolicy(Arc<PolicyEdit>),
}

/// A job on its way to the scheduler, with what must be stored before.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// The request in its envelope, for [`crate::wire::SUBMIT`].
    pub packet: Packet,
    /// Store keys and their bytes: its context, and that of its undo.
    pub contexts: Vec<(String, Bytes)>,
}

/// Something befalls workers, or is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerIncident {
    /// Which.
    pub workers: Arc<[WorkerId]>,
    /// What.
    pub change: Change,
}

/// The two ends of a mishap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It begins.
    Begins(Mishap),
    /// It is over.
    Ends(Mishap),
}

/// A change to the text of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyEdit {
    /// The first occurrence of a text becomes another.
    Replace {
        /// What is looked for.
        find: String,
        /// What it becomes.
        replace: String,
    },
    /// Text is added at the end.
    Append {
        /// The text.
        text: String,
    },
}

impl PolicyEdit {
    /// The policy after the edit; `None` if there is nothing to replace.
    pub fn apply(&self, policy: &str) -> Option<String> {
        match self {
            Self::Replace { find, replace } if policy.contains(find.as_str()) => {
                Some(policy.replacen(find.as_str(), replace, 1))
            }
            Self::Replace { .. } => None,
            Self::Append { text } => Some(format!("{policy}{text}")),
        }
    }
}

/// A scenario on its way.
#[derive(Clone, Debug)]
pub struct Plan {
    scenario: Arc<Scenario>,
    start: Timestamp,
    agenda: BTreeMap<(Elapsed, u64), Entry>,
    next_entry: u64,
    streams: Vec<Arrivals>,
    draws: ChaCha8Rng,
    jobs_made: u64,
    runs: Vec<u64>,
}

/// What stands in the agenda; numbers are places in the scenario's lists.
#[derive(Clone, Debug)]
enum Entry {
    Stream(usize),
    Script(usize),
    Workflow(usize),
    Step(Step),
    Alert(usize),
    Incident(usize),
    IncidentEnd(usize),
    Cancel(JobId),
}

#[derive(Clone, Debug)]
struct Step {
    workflow: usize,
    index: usize,
    run: Arc<Run>,
    parent: JobId,
    id: JobId,
}

/// One run of a workflow.
#[derive(Debug)]
struct Run {
    id: String,
    trace: TraceId,
}

impl Plan {
    /// The plan of `scenario` from `start` on, drawn from `seed`.
    pub fn new(scenario: Arc<Scenario>, seed: u64, start: Timestamp) -> Self {
        let generator = |stream: u64| {
            let mut draws = ChaCha8Rng::seed_from_u64(seed);
            draws.set_stream(stream);
            draws
        };
        let mut plan = Self {
            start,
            agenda: BTreeMap::new(),
            next_entry: 0,
            // Stream 0 of the generator is for what is scripted.
            streams: (1..=scenario.streams.len() as u64)
                .map(|n| Arrivals::new(generator(n)))
                .collect(),
            draws: generator(0),
            jobs_made: 0,
            runs: vec![0; scenario.workflows.len()],
            scenario: Arc::clone(&scenario),
        };
        for (i, script) in scenario.scripts.iter().enumerate() {
            plan.note(script.at, Entry::Script(i));
        }
        for (i, workflow) in scenario.workflows.iter().enumerate() {
            plan.note(workflow.at, Entry::Workflow(i));
        }
        for (i, alert) in scenario.alerts.iter().enumerate() {
            plan.note(alert.at, Entry::Alert(i));
        }
        for (i, incident) in scenario.incidents.iter().enumerate() {
            plan.note(incident.at, Entry::Incident(i));
        }
        for (i, stream) in scenario.streams.iter().enumerate() {
            let first = match stream.first {
                Some(first) => Some(first),
                None => plan.streams[i].next(stream, Elapsed::ZERO),
            };
            if let Some(first) = first {
                plan.note(first, Entry::Stream(i));
            }
        }
        plan
    }

    /// What has come by `now` and was not taken yet, in order, each with its instant.
    pub fn due(&mut self, now: Timestamp) -> Vec<(Timestamp, Move)> {
        let mut moves = Vec::new();
        while let Some(next) = self.agenda.first_entry() {
            let offset = next.key().0;
            if self.start.plus(offset) > now {
                break;
            }
            let entry = next.remove();
            let at = self.start.plus(offset);
            if let Some(one) = self.play(entry, offset, at) {
                moves.push((at, one));
            }
        }
        moves
    }

    /// When something is due next; `None` when nothing ever is.
    pub fn next_at(&self) -> Option<Timestamp> {
        let ((offset, _), _) = self.agenda.first_key_value()?;
        Some(self.start.plus(*offset))
    }

    /// Moves all that is still to come later by `by`, for a process that was
    /// suspended: a pause, rather than a flood of what was missed.
    pub fn postpone(&mut self, by: Elapsed) {
        self.start = self.start.plus(by);
    }

    fn note(&mut self, offset: Elapsed, entry: Entry) {
        self.agenda.insert((offset, self.next_entry), entry);
        self.next_entry += 1;
    }

    fn again(&mut self, offset: Elapsed, every: Option<Elapsed>, entry: Entry) {
        if let Some(every) = every {
            self.note(later(offset, every), entry);
        }
    }

    fn play(&mut self, entry: Entry, offset: Elapsed, at: Timestamp) -> Option<Move> {
        let scenario = Arc::clone(&self.scenario);
        match entry {
            Entry::Stream(i) => {
                let stream = &scenario.streams[i];
                let mut draws = self.streams[i].draws.clone();
                let id = JobId::from(uuid(&mut draws));
                let one = self.submit(&mut draws, &stream.job, &Twist::default(), id, None, at);
                self.streams[i].draws = draws;
                if let Some(next) = self.streams[i].next(stream, offset) {
                    self.note(next, Entry::Stream(i));
                }
                Some(one)
            }
            Entry::Script(i) => {
                let script = &scenario.scripts[i];
                self.again(offset, script.every, Entry::Script(i));
                let mut draws = self.draws.clone();
                let id = JobId::from(uuid(&mut draws));
                let one = self.submit(&mut draws, &script.job, &script.change, id, None, at);
                self.draws = draws;
                Some(one)
            }
            Entry::Workflow(i) => {
                let workflow = &scenario.workflows[i];
                self.again(offset, workflow.every, Entry::Workflow(i));
                self.runs[i] += 1;
                let run = Arc::new(Run {
                    id: format!("wf-{}-{:03}", workflow.name, self.runs[i]),
                    trace: TraceId::from(uuid(&mut self.draws)),
                });
                let mut parent = JobId::default();
                for (index, step) in workflow.steps.iter().enumerate() {
                    let id = JobId::from(uuid(&mut self.draws));
                    let step_at = later(offset, step.after);
                    let step = Step {
                        workflow: i,
                        index,
                        run: Arc::clone(&run),
                        parent: parent.clone(),
                        id: id.clone(),
                    };
                    self.note(step_at, Entry::Step(step));
                    parent = id;
                }
                None
            }
            Entry::Step(step) => {
                let script = &scenario.workflows[step.workflow].steps[step.index];
                let mut draws = self.draws.clone();
                let id = step.id.clone();
                let (job, change) = (&script.job, &script.change);
                let one = self.submit(&mut draws, job, change, id, Some(&step), at);
                self.draws = draws;
                Some(one)
            }
            Entry::Alert(i) => {
                let alert = &scenario.alerts[i];
                self.again(offset, alert.every, Entry::Alert(i));
                Some(alert_packet(
                    alert,
                    TraceId::from(uuid(&mut self.draws)),
                    at,
                ))
            }
            Entry::Incident(i) => {
                let incident = &scenario.incidents[i];
                self.again(offset, incident.every, Entry::Incident(i));
                if let Some(lasts) = incident.lasts {
                    self.note(later(offset, lasts), Entry::IncidentEnd(i));
                }
                Some(match &incident.what {
                    Happening::Workers { workers, mishap } => Move::Workers(WorkerIncident {
                        workers: workers.as_slice().into(),
                        change: Change::Begins(*mishap),
                    }),
                    Happening::EditPolicy(edit) => Move::EditPolicy(Arc::clone(edit)),
                })
            }
            Entry::IncidentEnd(i) => match &scenario.incidents[i].what {
                Happening::Workers { workers, mishap } => Some(Move::Workers(WorkerIncident {
                    workers: workers.as_slice().into(),
                    change: Change::Ends(*mishap),
                })),
                Happening::EditPolicy(_) => None,
            },
            Entry::Cancel(job) => Some(cancel_packet(job, at)),
        }
    }

    fn submit(
        &mut self,
        draws: &mut ChaCha8Rng,
        job: &str,
        change: &Twist,
        id: JobId,
        step: Option<&Step>,
        at: Timestamp,
    ) -> Move {
        self.jobs_made += 1;
        if let Some(after) = change.cancel_after {
            let offset = at.since(self.start);
            self.note(later(offset, after), Entry::Cancel(id.clone()));
        }
        let wanted = Wanted {
            scenario: &self.scenario,
            job,
            change,
            id,
            number: self.jobs_made,
            step,
            at,
        };
        Move::Submit(Box::new(wanted.draw(draws)))
    }
}

pub(super) fn later(offset: Elapsed, by: Elapsed) -> Elapsed {
    Elapsed::from_millis(offset.as_millis().saturating_add(by.as_millis()))
}
