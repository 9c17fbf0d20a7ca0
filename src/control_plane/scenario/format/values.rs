//! Single values of a scenario file: counts, shares, spans and times, in their ranges.

use std::ops::Range;

use toml::Spanned;

use super::raw::{Ends, RawOdds};
use super::{Check, parts};
use crate::control_plane::scenario::error::ScenarioError;
use crate::control_plane::scenario::{Odds, Span};
use crate::time::Elapsed;

/// Seconds in any one number at most: a day.
const MAX_SECONDS: f64 = 86_400.0;
/// The shortest time after which something comes again, in seconds.
const MIN_EVERY: f64 = 1.0;

impl Check<'_> {
    pub(super) fn count(
        &self,
        number: Spanned<u32>,
        what: &str,
        max: u32,
    ) -> Result<u32, ScenarioError> {
        let (span, number) = parts(number);
        if (1..=max).contains(&number) {
            return Ok(number);
        }
        let says = format!("`{what}` is {number}; it goes from 1 to {max}");
        Err(self.at.error(&span, says))
    }

    pub(super) fn load(
        &self,
        load: Option<Spanned<Ends>>,
        usual: Span,
    ) -> Result<Span, ScenarioError> {
        match load {
            None => Ok(usual),
            Some(load) => self.span(load, "a load", "percent", 100.0),
        }
    }

    pub(super) fn seconds(&self, seconds: Spanned<Ends>) -> Result<Span, ScenarioError> {
        self.span(seconds, "a duration", "seconds", MAX_SECONDS)
    }

    pub(super) fn span(
        &self,
        ends: Spanned<Ends>,
        what: &str,
        unit: &str,
        max: f64,
    ) -> Result<Span, ScenarioError> {
        let (span, Ends(low, high)) = parts(ends);
        if 0.0 <= low && low <= high && high <= max {
            return Ok(Span { low, high });
        }
        let says = format!("{what} goes from 0 to {max} {unit}, the low end first");
        Err(self.at.error(&span, says))
    }

    pub(super) fn odds(&self, odds: Option<Spanned<RawOdds>>) -> Result<Odds, ScenarioError> {
        let Some(odds) = odds else {
            return Ok(Odds::default());
        };
        let (span, raw) = parts(odds);
        let all = [
            raw.failed,
            raw.failed_retryable,
            raw.failed_fatal,
            raw.timeout,
            raw.hang,
        ];
        if all.iter().any(|share| !(0.0..=1.0).contains(share)) || all.iter().sum::<f64>() > 1.0 {
            let says = "odds are shares from 0 to 1, and at most 1 together";
            return Err(self.at.error(&span, says));
        }
        Ok(Odds {
            failed: raw.failed,
            failed_retryable: raw.failed_retryable,
            failed_fatal: raw.failed_fatal,
            timeout: raw.timeout,
            hang: raw.hang,
        })
    }

    pub(super) fn every(
        &self,
        every: Option<Spanned<f64>>,
    ) -> Result<Option<Elapsed>, ScenarioError> {
        if let Some(every) = &every
            && *every.get_ref() < MIN_EVERY
        {
            let says = format!("`every` is at least {MIN_EVERY} second");
            return Err(self.at.error(&every.span(), says));
        }
        self.instant(every)
    }

    pub(super) fn instant(
        &self,
        seconds: Option<Spanned<f64>>,
    ) -> Result<Option<Elapsed>, ScenarioError> {
        seconds.map(|seconds| self.instant_of(seconds)).transpose()
    }

    pub(super) fn instant_of(&self, seconds: Spanned<f64>) -> Result<Elapsed, ScenarioError> {
        let (span, seconds) = parts(seconds);
        self.instant_at(&span, seconds)
    }

    pub(super) fn instant_at(
        &self,
        span: &Range<usize>,
        seconds: f64,
    ) -> Result<Elapsed, ScenarioError> {
        if (0.0..=MAX_SECONDS).contains(&seconds) {
            return Ok(Elapsed::from_millis((seconds * 1_000.0).round() as u64));
        }
        let says = format!("{seconds} seconds; it goes from 0 to {MAX_SECONDS}");
        Err(self.at.error(span, says))
    }
}
