//! The lines to our servers, and how long we could not hear.

use std::sync::Arc;

use crate::state::event::{LinkState, Source};
use crate::state::model::traffic::Series;
use crate::time::{Elapsed, Timestamp};

/// The lines to all servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    lines: [Line; 3],
    /// How long the bus was silent because of us.
    pub hearing: Hearing,
    /// Requests to the gateway.
    requests: Option<Arc<Series>>,
}

/// Requests are counted in spans this long; a minute is [`REQUEST_SPANS`] of them.
const REQUEST_SPAN: Elapsed = Elapsed::from_secs(5);
const REQUEST_SPANS: usize = 12;

/// The line to one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// As it is.
    pub state: LinkState,
    /// Since when it is so.
    pub since: Timestamp,
    /// When the server was heard last; `None` if never.
    pub last_word: Option<Timestamp>,
    /// Whether it was ever up.
    pub was_up: bool,
    /// How long it was down before it came back, and when it came back.
    pub back: Option<(Elapsed, Timestamp)>,
}

impl Line {
    /// Whether the server can be heard or asked now.
    pub fn is_up(&self) -> bool {
        matches!(self.state, LinkState::Up | LinkState::Lagging { .. })
    }

    /// The name in JSON: up, connecting, down, absent.
    pub fn name(&self) -> &'static str {
        match self.state {
            LinkState::Absent => "absent",
            LinkState::Connecting => "connecting",
            LinkState::Up | LinkState::Lagging { .. } => "up",
            LinkState::Down { .. } => "down",
        }
    }

    /// Why it is down; `None` if it is not.
    pub fn reason(&self) -> Option<&Arc<str>> {
        match &self.state {
            LinkState::Down { reason, .. } => Some(reason),
            LinkState::Absent
            | LinkState::Connecting
            | LinkState::Up
            | LinkState::Lagging { .. } => None,
        }
    }
}

impl Links {
    /// The line to `source`.
    pub fn of(&self, source: Source) -> &Line {
        &self.lines[source as usize]
    }

    /// Packets that were lost because they came faster than we read.
    pub fn dropped(&self) -> u64 {
        match self.of(Source::Bus).state {
            LinkState::Lagging { dropped } => dropped,
            LinkState::Absent | LinkState::Connecting | LinkState::Up | LinkState::Down { .. } => {
                self.hearing.dropped
            }
        }
    }

    /// Requests that this console sent to the gateway in the last full minute;
    /// `None` before it sent any.
    pub fn requests_a_minute(&self, now: Timestamp) -> Option<u64> {
        Some(self.requests.as_ref()?.sum_of_full(now, REQUEST_SPANS))
    }

    pub(crate) fn sent(&mut self, requests: u32, at: Timestamp) {
        let series = self
            .requests
            .get_or_insert_with(|| Arc::new(Series::new(REQUEST_SPAN)));
        Arc::make_mut(series).add(at, requests);
    }

    /// The server that tells what never travels on the bus: the gateway where one is
    /// configured, else the store; `None` if neither is.
    pub fn teller(&self) -> Option<Source> {
        [Source::Gateway, Source::Store]
            .into_iter()
            .find(|source| self.of(*source).state != LinkState::Absent)
    }

    /// Whether the [`Self::teller`] ever said anything.
    pub fn was_told(&self) -> bool {
        self.teller()
            .is_some_and(|source| self.of(source).last_word.is_some())
    }

    /// Whether the store is the only server that is configured: it shows, and takes
    /// no orders.
    pub fn only_store(&self) -> bool {
        Source::ALL
            .into_iter()
            .all(|source| (source == Source::Store) != (self.of(source).state == LinkState::Absent))
    }

    /// Whether any server that is configured is up.
    pub fn any_up(&self) -> bool {
        self.lines.iter().any(Line::is_up)
    }

    pub(crate) fn changed(&mut self, source: Source, state: &LinkState, at: Timestamp) {
        let line = &mut self.lines[source as usize];
        if line.state == *state {
            return;
        }
        let was_up = line.is_up();
        let was_down_for = at.since(line.since);
        line.state = state.clone();
        let is_up = line.is_up();
        if was_up != is_up || line.since == Timestamp::default() {
            line.since = match state {
                LinkState::Down { since, .. } => (*since).min(at),
                LinkState::Absent
                | LinkState::Connecting
                | LinkState::Up
                | LinkState::Lagging { .. } => at,
            };
        }
        if is_up && !was_up {
            if line.was_up {
                line.back = Some((was_down_for, at));
            }
            line.was_up = true;
            line.last_word = Some(at);
        }
        if let LinkState::Lagging { dropped } = state {
            self.hearing.dropped = *dropped;
        }
        if source == Source::Bus && was_up != is_up {
            self.hearing.turn(is_up, at);
        }
    }

    pub(crate) fn heard(&mut self, source: Source, at: Timestamp) {
        self.lines[source as usize].last_word = Some(at);
    }
}

/// For how long the bus could not be heard: that time proves nothing about workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hearing {
    deaf_before: Elapsed,
    deaf_since: Option<Timestamp>,
    heard_once: bool,
    dropped: u64,
}

impl Hearing {
    /// Whether the bus can be heard now.
    pub fn hears(&self) -> bool {
        self.heard_once && self.deaf_since.is_none()
    }

    /// Since when it cannot be heard; `None` while it can, or before it ever could.
    pub fn deaf_since(&self) -> Option<Timestamp> {
        self.deaf_since
    }

    /// All time until `now` in which the bus could not be heard, since it first was.
    pub fn deaf_in_all(&self, now: Timestamp) -> Elapsed {
        let present = self
            .deaf_since
            .map_or(0, |since| now.since(since).as_millis());
        Elapsed::from_millis(self.deaf_before.as_millis().saturating_add(present))
    }

    fn turn(&mut self, hears: bool, at: Timestamp) {
        if hears {
            self.deaf_before = self.deaf_in_all(at);
            self.deaf_since = None;
            self.heard_once = true;
        } else if self.heard_once && self.deaf_since.is_none() {
            self.deaf_since = Some(at);
        }
    }
}
