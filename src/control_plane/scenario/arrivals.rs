//! When the jobs of a stream come: at random, at a rate that follows its windows.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::plan::later;
use super::{Stream, Window};
use crate::time::Elapsed;

/// The generator of one stream's arrivals.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    pub(super) draws: ChaCha8Rng,
}

impl Arrivals {
    pub(super) fn new(draws: ChaCha8Rng) -> Self {
        Self { draws }
    }

    /// The stream's next arrival after `after`, by thinning: candidates come at
    /// the highest rate there is, and each is kept with the share that the rate at
    /// its instant has of it.
    pub(super) fn next(&mut self, stream: &Stream, after: Elapsed) -> Option<Elapsed> {
        let highest = stream
            .windows
            .iter()
            .flat_map(|window| [window.begin_per_minute, window.end_per_minute])
            .fold(stream.per_minute, f64::max);
        if highest <= 0.0 {
            return None;
        }
        let last_change = stream
            .windows
            .iter()
            .map(|window| match window.every {
                Some(_) => f64::INFINITY,
                None => window.to.as_millis() as f64,
            })
            .fold(0.0, f64::max);
        let mut at = after.as_millis() as f64;
        loop {
            let uniform: f64 = self.draws.random();
            at += -(1.0 - uniform).ln() * 60_000.0 / highest;
            if stream.per_minute <= 0.0 && at > last_change {
                return None;
            }
            let offset = Elapsed::from_millis(at.round() as u64);
            let keep: f64 = self.draws.random();
            if keep * highest < rate(stream, offset) {
                return Some(offset.max(later(after, Elapsed::from_millis(1))));
            }
        }
    }
}

/// The stream's rate at `offset` from the start, in jobs a minute.
fn rate(stream: &Stream, offset: Elapsed) -> f64 {
    let covering = |window: &Window| {
        let since = offset.as_millis().checked_sub(window.from.as_millis())?;
        let into = match window.every {
            Some(every) => since % every.as_millis().max(1),
            None => since,
        };
        let length = window.to.as_millis() - window.from.as_millis();
        (into < length).then(|| {
            let share = into as f64 / length as f64;
            window.begin_per_minute + share * (window.end_per_minute - window.begin_per_minute)
        })
    };
    let current = stream.windows.iter().rev().find_map(covering);
    current.unwrap_or(stream.per_minute)
}
