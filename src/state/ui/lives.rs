//! Asking which jobs a trace has and what became of them, while somebody looks at it.
//!
//! Lists are cut, so the plane is asked for the whole trace. And they tell what a job is,
//! not what it was: where no packet told either, the page of the job may.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{UiState, View, What};
use crate::ids::JobId;
use crate::state::effect::{Effect, EffectQueue, Outcome};
use crate::state::event::{Event, Source};
use crate::state::model::Model;
use crate::state::model::jobs::JobState;
use crate::state::model::traces::{TraceOf, is_unclear, members};
use crate::time::{Elapsed, Timestamp};

/// Pages that are read one after the other for one question.
const AT_A_LOOK: usize = 8;
/// Packets come by the thousand, so they make it look no more often than this.
const LOOK: Elapsed = Elapsed::from_millis(250);
/// After a question that was not answered it is asked again after this.
const AGAIN: Elapsed = Elapsed::from_secs(10);

/// What was asked for since traces are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lives {
    /// The trace whose jobs were asked for.
    of: Option<TraceOf>,
    /// The state that a job was in when its page was asked for. A plane that keeps no
    /// record of it tells no more when it is asked twice.
    asked: BTreeMap<JobId, Option<JobState>>,
    looked: Option<Timestamp>,
    failed: Option<Timestamp>,
}

impl UiState {
    /// Asks for the jobs of the trace that is looked at, and for the pages of those of
    /// whose life something was not told.
    pub(super) fn keep_lives_told(
        &mut self,
        event: Option<&Event>,
        model: &Model,
        now: Timestamp,
        effects: &mut EffectQueue,
    ) {
        let is_looked_at = self.view == View::Traces && self.detail.is_none();
        if !is_looked_at {
            self.lives = Lives::default();
            return;
        }
        self.name_the_trace(model);
        let Some(of) = &self.trace else {
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
        if !can_be_asked(model) {
            return;
        }
        if self.lives.of.as_ref() != Some(of) {
            self.lives.of = Some(of.clone());
            let names = names(model, of);
            let effect = effects.push(Effect::ReadTrace { names });
            return self.await_answer(effect, What::Lives, now);
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

    /// What was asked for by a name alone may turn out to be a workflow, or a job.
    fn name_the_trace(&mut self, model: &Model) {
        if let Some(of) = &self.trace
            && members(model, of).is_empty()
            && let Some(known) = TraceOf::named(model, of.name())
        {
            self.show_trace(known);
        }
    }

    /// Whether the plane is being asked for what belongs to the trace that is looked at.
    pub fn is_asking_for_trace(&self) -> bool {
        self.asking.values().any(|it| it.what == What::Lives)
    }

    /// The plane told what it had, or did not answer.
    pub(super) fn lives_told(&mut self, outcome: &Outcome, now: Timestamp) {
        if !matches!(outcome, Outcome::Done(_)) {
            self.lives.of = None;
            self.lives.asked.clear();
            self.lives.failed = Some(now);
        }
    }
}

/// Whether there is somebody who knows more than what is heard.
pub(super) fn can_be_asked(model: &Model) -> bool {
    let links = &model.links;
    links.of(Source::Gateway).is_up() || links.of(Source::Store).is_up()
}

/// Under which names the plane may know more jobs of `of`.
fn names(model: &Model, of: &TraceOf) -> Vec<Arc<str>> {
    let traces = members(model, of);
    let traces = traces.iter().filter_map(|job| job.trace.as_ref());
    let traces: BTreeSet<&str> = traces.map(|it| it.as_str()).collect();
    let mut names = vec![Arc::from(of.name())];
    let others = traces.into_iter().filter(|name| *name != of.name());
    names.extend(others.take(AT_A_LOOK).map(Arc::from));
    names
}
