//! Asking what became of the jobs of a trace, while somebody looks at it.
//!
//! Lists tell what a job is, not what it was. Where no packet told either, the page
//! of the job may.

use std::collections::BTreeMap;

use super::{UiState, View, What};
use crate::ids::JobId;
use crate::state::effect::{Effect, EffectQueue, Outcome};
use crate::state::event::{Event, Source};
use crate::state::model::Model;
use crate::state::model::jobs::JobState;
use crate::state::model::traces::{is_unclear, members};
use crate::time::{Elapsed, Timestamp};

/// Pages that are read one after the other for one question.
const AT_A_LOOK: usize = 8;
/// Packets come by the thousand, so they make it look no more often than this.
const LOOK: Elapsed = Elapsed::from_millis(250);
/// After a question that was not answered it is asked again after this.
const AGAIN: Elapsed = Elapsed::from_secs(10);

/// Which pages were asked for since this trace is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lives {
    /// The state that a job was in when its page was asked for. A plane that keeps no
    /// record of it tells no more when it is asked twice.
    asked: BTreeMap<JobId, Option<JobState>>,
    looked: Option<Timestamp>,
    failed: Option<Timestamp>,
}

impl UiState {
    /// Asks for the pages of jobs of the trace that is looked at, of whose life
    /// something was not told.
    pub(super) fn keep_lives_told(
        &mut self,
        event: Option<&Event>,
        model: &Model,
        now: Timestamp,
        effects: &mut EffectQueue,
    ) {
        let is_looked_at = self.view == View::Traces && self.detail.is_none();
        let Some(of) = self.trace.as_ref().filter(|_| is_looked_at) else {
            self.lives = Lives::default();
            return;
        };
        let within = |at: Option<Timestamp>, span: Elapsed| {
            at.is_some_and(|at| now.since(at).as_millis() < span.as_millis())
        };
        let too_soon = matches!(event, Some(Event::Packet(_))) && within(self.lives.looked, LOOK);
        let is_asking = self.asking.values().any(|it| it.what == What::Lives);
        if self.frozen.is_some() || too_soon || is_asking || within(self.lives.failed, AGAIN) {
            return;
        }
        self.lives.looked = Some(now);
        let links = &model.links;
        if !links.of(Source::Gateway).is_up() && !links.of(Source::Store).is_up() {
            return;
        }
        let asked = &self.lives.asked;
        let unclear = members(model, of)
            .into_iter()
            .filter(|job| asked.get(&job.id) != Some(&job.state) && is_unclear(job, now));
        let jobs: Vec<_> = unclear
            .take(AT_A_LOOK)
            .map(|job| (job.id.clone(), job.state))
            .collect();
        if jobs.is_empty() {
            return;
        }
        let effect = effects.push(Effect::ReadLives {
            jobs: jobs.iter().map(|(job, _)| job.clone()).collect(),
        });
        self.lives.asked.extend(jobs);
        self.await_answer(effect, What::Lives, now);
    }

    /// Pages were read, or not all of them.
    pub(super) fn lives_told(&mut self, outcome: &Outcome, now: Timestamp) {
        if !matches!(outcome, Outcome::Done(_)) {
            self.lives.asked.clear();
            self.lives.failed = Some(now);
        }
    }
}
