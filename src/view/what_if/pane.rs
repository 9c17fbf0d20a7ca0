//! The pane of what a candidate policy would change, and the jobs of a flip.

use std::sync::Arc;

use super::{below, lost, summary, title};
use crate::ids::JobId;
use crate::state::State;
use crate::state::model::jobs::{Decision, JobState};
use crate::state::model::what_if::{Flip, WhatIf};
use crate::state::ui::ListId;
use crate::state::ui::list::Subject;
use crate::text;
use crate::time::Elapsed;
use crate::view::{Prose, shown};

/// An answer that is older than this says how old it is: decisions were made since.
const FRESH: Elapsed = Elapsed::from_secs(20);

/// The pane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhatIfView {
    /// What was tried and what it comes to; empty before the first answer.
    pub title: Prose,
    /// The same in fewer words.
    pub short_title: Prose,
    /// How old the answer is, if it is not of now.
    pub old: Option<Elapsed>,
    /// The flips that can be seen.
    pub rows: Vec<FlipRow>,
    /// All flips.
    pub flips: usize,
    /// Whether the rows are of an earlier file than the one that was tried last.
    pub stale: bool,
    /// What is lost above all else, or what is wrong with the file.
    pub notice: Prose,
    /// Whether the notice is about something wrong.
    pub wrong: bool,
    /// What is being asked.
    pub asking: Option<String>,
    /// What stands instead of rows.
    pub none: Prose,
    /// What did not happen, and what is not known.
    pub below: Prose,
}

/// A row of the pane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlipRow {
    /// What was decided.
    pub was: Option<Decision>,
    /// What would be.
    pub would_be: Option<Decision>,
    /// How many jobs.
    pub jobs: u64,
    /// By which rule; `None` if none matches.
    pub rule_id: Option<Arc<str>>,
    /// Why the first of them flips.
    pub reason: Option<Arc<str>>,
    /// The first of them.
    pub job: Option<JobId>,
    /// The cursor is here.
    pub selected: bool,
}

/// A row of `flip`.
fn row(flip: &Flip) -> FlipRow {
    FlipRow {
        was: flip.was,
        would_be: flip.would_be,
        jobs: flip.jobs.len() as u64,
        rule_id: flip.rule_id.clone(),
        reason: flip.reason.clone(),
        job: flip.jobs.first().cloned(),
        selected: false,
    }
}

/// The pane with `height` lines of rows; `None` if no candidate was tried.
pub fn what_if(state: &State, height: usize) -> Option<WhatIfView> {
    let (model, now) = shown(state);
    let trial = state.ui.trial()?;
    let told = model.policy.what_if();
    let list = state.ui.list(ListId::Flips);
    let window = list.state.window(height);
    let refused = state.ui.not_tried();
    let asking = state.ui.is_trying().map(|since| {
        let waited = text::duration(state.now.since(since));
        // They come in one answer: nobody tells how far it is.
        format!("Replaying the last decisions, {waited}. One answer brings them all.")
    });
    let rows = told.into_iter().flat_map(|(what_if, _)| {
        list.state.order()[window.clone()]
            .iter()
            .filter_map(|subject| {
                let Subject::Flip(key) = subject else {
                    return None;
                };
                Some(FlipRow {
                    selected: list.state.selected() == Some(subject),
                    ..row(what_if.flip(key)?)
                })
            })
    });
    let rows: Vec<FlipRow> = rows.collect();
    let notice = match (refused, told) {
        (Some(why), told) => {
            let end = if why.ends_with(['?', '.']) { "" } else { "." };
            let says = Prose::new().outside(Arc::clone(why)).own(end);
            match told {
                Some(_) => says.own(" The answer before it stays."),
                None => says,
            }
        }
        (None, Some((what_if, _))) => lost(what_if),
        (None, None) => Prose::new(),
    };
    let age = told.map(|(_, at)| now.since(*at));
    Some(WhatIfView {
        title: match told {
            Some((what_if, _)) => title(what_if),
            None => Prose::new().outside(trial),
        },
        short_title: match told {
            Some((what_if, _)) => Prose::new()
                .outside(Arc::clone(&what_if.file))
                .aside(format!(" on {}  ", text::thousands(what_if.considered)))
                .own(summary(what_if)),
            None => Prose::new().outside(trial),
        },
        old: age.filter(|age| *age > FRESH),
        flips: told.map_or(0, |(what_if, _)| what_if.flips.len()),
        stale: refused.is_some(),
        wrong: refused.is_some(),
        none: match (told, &asking) {
            (Some((what_if, _)), _) if rows.is_empty() => nothing(what_if),
            _ => Prose::new(),
        },
        below: told.map_or_else(Prose::new, |(what_if, _)| below(what_if)),
        rows,
        notice,
        asking,
    })
}

fn nothing(what_if: &WhatIf) -> Prose {
    Prose::new().own(match (what_if.considered, what_if.stays) {
        (0, _) => "No decision is recorded yet, so nothing can flip.".to_owned(),
        (_, 0) => "Nothing is known to flip.".to_owned(),
        (_, stays) => {
            let stay = text::count(stays, "decision stays", "decisions stay");
            format!("Nothing flips: {stay} as they were made.")
        }
    })
}

/// The jobs of a flip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlipView {
    /// The flip; `None` if another answer has come since.
    pub row: Option<FlipRow>,
    /// Its jobs, the one that was decided last first.
    pub jobs: Vec<FlippedJob>,
}

/// A job of a flip, as far as it is known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlippedJob {
    /// The job.
    pub job: JobId,
    /// Where it stands.
    pub state: Option<JobState>,
    /// Its topic.
    pub topic: Option<Arc<str>>,
}

/// The jobs of the flip that is called `key`.
pub fn flip(state: &State, key: &str) -> FlipView {
    let (model, _) = shown(state);
    let told = model.policy.what_if();
    let flip = told.and_then(|(what_if, _)| what_if.flip(key));
    let jobs = flip.into_iter().flat_map(|flip| &flip.jobs);
    FlipView {
        row: flip.map(row),
        jobs: jobs
            .map(|job| {
                let known = model.jobs.get(job);
                FlippedJob {
                    job: job.clone(),
                    state: known.and_then(|job| job.state),
                    topic: known
                        .and_then(|job| job.request.as_ref())
                        .and_then(|request| request.topic.clone()),
                }
            })
            .collect(),
    }
}
