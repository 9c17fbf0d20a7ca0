//! What the header always says, whatever is below it.

use crate::state::State;
use crate::state::event::{LinkState, Source};
use crate::state::model::Model;
use crate::state::model::jobs::JobState;
use crate::time::{Elapsed, Timestamp};

/// A server that is up but was not heard for this long deserves a look.
const QUIET: Elapsed = Elapsed::from_secs(10);

/// What the screen stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What is now.
    Live,
    /// What was at an instant.
    Frozen,
    /// No server answers.
    NoLink,
}

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LampState {
    /// Not configured.
    Absent,
    /// Never reached so far.
    Connecting,
    /// Heard.
    Heard,
    /// Up, and not heard for ten seconds.
    Quiet,
    /// Down.
    Down,
}

/// A server's lamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lamp {
    /// The server.
    pub source: Source,
    /// How it is.
    pub state: LampState,
    /// Since its last word, or since it is down; `None` if not configured.
    pub age: Option<Elapsed>,
}

impl Lamp {
    /// Whether its server can be heard or asked.
    pub fn is_up(&self) -> bool {
        matches!(self.state, LampState::Heard | LampState::Quiet)
    }
}

/// The header's facts. They are live even while the rest is frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the screen stands for.
    pub mode: Mode,
    /// A lamp for each server, in a fixed order.
    pub lamps: [Lamp; 3],
    /// Requests to the gateway in the last minute; `None` when none was sent.
    pub requests_a_minute: Option<u64>,
    /// Packets a second; `None` when the bus is not heard.
    pub packets_per_second: Option<u64>,
    /// Packets that were lost because they came faster than they were read.
    pub dropped: u64,
    /// Bytes on the bus that were not packets, and records of the store that could
    /// not be read.
    pub malformed: u64,
    /// Approvals that wait for a person.
    pub approvals: usize,
    /// Alerts that fire; `None` where no bus is configured, on which alone they travel.
    pub alerts: Option<usize>,
    /// The present instant.
    pub now: Timestamp,
}

/// The header of `state`.
pub fn header(state: &State) -> Header {
    let model = &state.model;
    let now = state.now;
    let lamps = Source::ALL.map(|source| lamp(state, source));
    let configured = lamps.iter().any(|lamp| lamp.state != LampState::Absent);
    let mode = if state.ui.frozen().is_some() {
        Mode::Frozen
    } else if configured && !model.links.any_up() {
        Mode::NoLink
    } else {
        Mode::Live
    };
    let hears = model.links.of(Source::Bus).is_up();
    Header {
        mode,
        lamps,
        requests_a_minute: model.links.requests_a_minute(now),
        packets_per_second: hears.then(|| model.traffic.per_second(now).unwrap_or(0)),
        dropped: model.links.dropped(),
        malformed: model.traffic.malformed() + model.unreadable.records,
        approvals: approvals_waiting(model),
        alerts: hears_alerts(model).then(|| model.alerts.firing(now)),
        now,
    }
}

/// Whether alerts are heard, or were: they travel on the bus alone.
pub fn hears_alerts(model: &Model) -> bool {
    model.links.of(Source::Bus).state != LinkState::Absent
}

/// Approvals that wait for a person: those that the plane lists, else the jobs that
/// are known to wait for one.
pub fn approvals_waiting(model: &Model) -> usize {
    match model.approvals.told_at() {
        Some(_) => model.approvals.waiting(),
        None => model.jobs.count(JobState::ApprovalRequired) as usize,
    }
}

fn lamp(state: &State, source: Source) -> Lamp {
    let line = state.model.links.of(source);
    let now = state.now;
    let since = |at| Some(now.since(at));
    let (lamp, age) = match &line.state {
        LinkState::Absent => (LampState::Absent, None),
        LinkState::Connecting => (LampState::Connecting, since(line.since)),
        LinkState::Up | LinkState::Lagging { .. } => {
            let age = now.since(line.last_word.unwrap_or(line.since));
            if age > QUIET {
                (LampState::Quiet, Some(age))
            } else {
                (LampState::Heard, Some(age))
            }
        }
        LinkState::Down { since: at, .. } => (LampState::Down, since(*at)),
    };
    Lamp {
        source,
        state: lamp,
        age,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::state::effect::EffectQueue;
    use crate::state::event::{Event, Stamped, Unreadable};
    use crate::state::script;

    #[test]
    fn records_that_cannot_be_read_are_counted_beside_broken_packets() {
        let mut state =
            script::run("0s link redis up | 1s malformed sys.job.submit").expect("a script");
        let unreadable = Unreadable {
            records: 2,
            such_as: Arc::from("job:meta:j1: no state is called `ODD`"),
        };
        let event = Stamped {
            seq: 9,
            at: state.now,
            value: Event::Unreadable(unreadable),
        };
        state.step(&event, &mut EffectQueue::new());
        assert_eq!(header(&state).malformed, 3);
    }
}
