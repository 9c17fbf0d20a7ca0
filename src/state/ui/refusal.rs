//! Why an action cannot work now.
//!
//! The same sentence stands in the help under "cannot work now", in the footer,
//! and is the answer when the key is pressed all the same.

use super::modal::NEEDS;
use super::review::blocking;
use super::{ListId, Subject, UiState, View};
use crate::ids::JobId;
use crate::state::action::Action;
use crate::state::event::{LinkState, Source};
use crate::state::model::Model;
use crate::state::model::approvals::Content;
use crate::time::Timestamp;

impl UiState {
    /// Why `action` cannot work now; `None` if it can.
    pub fn refusal(&self, action: &Action, model: &Model) -> Option<String> {
        if action.acts()
            && let Some(reason) = self.cannot_act()
        {
            return Some(reason);
        }
        let open = self.review.is_some() || self.detail.is_some();
        match action {
            Action::Cancel => self.cannot_cancel(model),
            Action::Approve | Action::Reject => self.cannot_decide(action, model),
            Action::Retry => self.cannot_retry(model),
            Action::Explain => match self.subject() {
                Some(Subject::Job(_)) if model.links.of(Source::Gateway).is_up() => None,
                Some(Subject::Job(job)) if model.policy.explained(&job).is_some() => None,
                Some(Subject::Job(_)) => {
                    Some("Only a gateway explains what policy says, and none answers.".to_owned())
                }
                _ => Some("No job is under the cursor: E explains one, in any list.".to_owned()),
            },
            Action::WhatIf => self.cannot_try(model),
            Action::Reveal
                if self
                    .review()
                    .is_some_and(|it| !masks_secrets(&it.job, model)) =>
            {
                Some("No secret is masked here.".to_owned())
            }
            Action::Reveal if self.review.is_none() => {
                Some("Secrets are shown inside a review: a opens it.".to_owned())
            }
            Action::Review if self.review.is_some() => Some("The review is open.".to_owned()),
            Action::Review
                if self.view == View::Approvals && !self.current().state.marks().is_empty() =>
            {
                None
            }
            Action::Review => match self.subject() {
                Some(Subject::Job(job)) if model.approvals.get(&job).is_some() => None,
                Some(Subject::Job(_)) => Some("This job waits for nobody.".to_owned()),
                _ => Some("No approval is under the cursor.".to_owned()),
            },
            Action::Detail => match self.subject() {
                Some(Subject::Job(_)) if self.detail.is_none() => None,
                Some(Subject::Job(_)) => Some("The detail is open.".to_owned()),
                _ => Some("No job is under the cursor.".to_owned()),
            },
            Action::Open
                if self.view == View::Approvals && !self.current().state.marks().is_empty() =>
            {
                None
            }
            Action::Open if !open && self.subject().is_none() => {
                Some("No row is under the cursor.".to_owned())
            }
            Action::Mark if open || !matches!(self.view, View::Jobs | View::Approvals) => {
                Some("Marks are for the lists of jobs and approvals.".to_owned())
            }
            Action::Mark if self.subject().is_none() => {
                Some("No row is under the cursor.".to_owned())
            }
            Action::Mark if self.list_id() == ListId::Approvals => self.does_not_fit(model),
            Action::CopyId | Action::CopyJson | Action::Json if self.subject().is_none() => {
                Some("No row is under the cursor.".to_owned())
            }
            Action::CopyJson | Action::Json if matches!(self.subject(), Some(Subject::Pool(_))) => {
                Some("A pool has no JSON of its own: its workers have.".to_owned())
            }
            Action::Filter if !open && self.list_id() == ListId::Flips => {
                Some("Flips are few; h goes back to the rules.".to_owned())
            }
            Action::Filter if !open && self.list_id() == ListId::Steps => {
                Some("Steps are few and stand in their order; h goes back to the list.".to_owned())
            }
            Action::CopyId | Action::CopyJson | Action::Json
                if matches!(
                    self.subject(),
                    Some(Subject::Unseen | Subject::Rule(None) | Subject::Flip(_))
                ) =>
            {
                Some("What is under the cursor has no id.".to_owned())
            }
            Action::CopyJson | Action::Json if matches!(self.subject(), Some(Subject::Rule(_))) => {
                Some("A rule has no JSON of its own: Enter shows the jobs it judged.".to_owned())
            }
            Action::SaveView => self.cannot_save(),
            Action::Undo if self.undo.is_none() => {
                Some("Nothing can be taken back: no undo window is open.".to_owned())
            }
            Action::ByPool | Action::HeatMap if self.view != View::Workers => {
                Some("Only in Workers: 4 shows them.".to_owned())
            }
            Action::Sort | Action::Reverse if open || self.list_id().sorts().len() < 2 => {
                Some("What is shown here has one order.".to_owned())
            }
            Action::Filter if open || self.view == View::Overview => {
                Some("Only lists are filtered.".to_owned())
            }
            Action::NextMatch | Action::PreviousMatch if self.review.is_some() => self
                .reviews()
                .filter(|reviews| !reviews.are_several())
                .map(|_| "One job is reviewed; marked ones are reviewed together.".to_owned()),
            Action::NextMatch | Action::PreviousMatch if self.current().filter.is_none() => {
                Some("No filter is set: / sets one.".to_owned())
            }
            Action::Live if self.frozen.is_none() => Some("This is live.".to_owned()),
            _ => None,
        }
    }

    /// Why nothing at all can be asked of the world.
    fn cannot_act(&self) -> Option<String> {
        if self.is_too_small() {
            let (columns, rows) = NEEDS;
            return Some(format!(
                "Make the window larger to decide: {columns}x{rows} at least."
            ));
        }
        if self.manners.read_only {
            return Some("This console only reads (--read-only). A R X T are off.".to_owned());
        }
        if let Some(frozen) = &self.frozen {
            return Some(format!(
                "You look at {}, not at now. L goes live; deciding needs live data.",
                clock(frozen.at)
            ));
        }
        None
    }

    fn cannot_cancel(&self, model: &Model) -> Option<String> {
        if let Some(reason) = no_line_to_cancel(model) {
            return Some(reason.to_owned());
        }
        if !self.cancel_targets(model).is_empty() {
            return None;
        }
        Some(match self.subject() {
            Some(Subject::Job(job)) => {
                let ended = model.jobs.get(&job).and_then(|job| {
                    let state = job.state?;
                    Some(format!(
                        "{} at {}",
                        state.name().to_ascii_lowercase(),
                        clock(job.since)
                    ))
                });
                match ended {
                    Some(ended) => format!("It had already ended: {ended}. Nothing to cancel."),
                    None => "Nothing is known about this job.".to_owned(),
                }
            }
            Some(Subject::Worker(worker)) => {
                format!("{worker} has no job that could be cancelled.")
            }
            Some(
                Subject::Pool(_)
                | Subject::Alert(_)
                | Subject::Workflow(_)
                | Subject::Unseen
                | Subject::Rule(_)
                | Subject::Flip(_),
            )
            | None => "No job is under the cursor.".to_owned(),
        })
    }

    fn cannot_retry(&self, model: &Model) -> Option<String> {
        let job = match self.subject() {
            Some(Subject::Job(job)) if model.letters.get(&job).is_some() => job,
            _ => return Some("No dead letter is under the cursor: 6 lists them.".to_owned()),
        };
        if self.is_retrying(&job) {
            return Some("A retry of it is under way.".to_owned());
        }
        (!model.links.of(Source::Gateway).is_up()).then(|| {
            "Not sent: only a gateway retries a dead letter, and none answers. Press T again when it is back."
                .to_owned()
        })
    }

    fn cannot_decide(&self, action: &Action, model: &Model) -> Option<String> {
        let Some(reviews) = self.reviews() else {
            return Some("Open the review first: a.".to_owned());
        };
        if let Some(reason) = self.cannot_send(action, model) {
            return Some(reason);
        }
        if reviews.waiting(model).any(|it| self.is_deciding(&it.job)) {
            return Some("A decision about this job is under way.".to_owned());
        }
        let gate = self.gate(model);
        let blocking = blocking(&gate, *action == Action::Approve)?;
        Some(blocking.why.clone())
    }

    /// Why no decision can be sent, whatever it is about.
    pub(super) fn cannot_send(&self, action: &Action, model: &Model) -> Option<String> {
        if action.acts()
            && let Some(reason) = self.cannot_act()
        {
            return Some(reason);
        }
        let links = &model.links;
        let gateway = links.of(Source::Gateway);
        let says = if links.teller() == Some(Source::Store) {
            "Redis only shows approvals. Deciding one needs a gateway: attach with --gateway."
        } else if gateway.state == LinkState::Absent {
            "Deciding needs a gateway: attach with --gateway."
        } else if !gateway.is_up() {
            "Not sent: the gateway does not answer. Press again when it is back."
        } else {
            return None;
        };
        Some(says.to_owned())
    }
}

/// Why no cancel can leave now. A cancel goes through the gateway where one is
/// configured, so that the plane knows of it, and over the bus only where none is.
pub(super) fn no_line_to_cancel(model: &Model) -> Option<&'static str> {
    let links = &model.links;
    let configured = |source| links.of(source).state != LinkState::Absent;
    if links.only_store() {
        return Some(
            "Redis only shows jobs. Cancelling one needs NATS or a gateway: attach with --nats or --gateway.",
        );
    }
    if configured(Source::Gateway) {
        return (!links.of(Source::Gateway).is_up())
            .then_some("Not sent: the gateway does not answer. Press X again when it is back.");
    }
    if links.of(Source::Bus).is_up() {
        return None;
    }
    Some(if configured(Source::Bus) {
        "Not sent: NATS does not answer. Press X again when it is back."
    } else {
        "Not sent: neither the gateway nor NATS answers. Press X again when one is back."
    })
}

/// Whether secrets are masked in the payload of a reviewed job.
fn masks_secrets(job: &JobId, model: &Model) -> bool {
    let payload = model
        .approvals
        .get(job)
        .and_then(|approval| approval.context_ptr())
        .and_then(|pointer| model.approvals.payload(job, pointer));
    payload.is_some_and(|payload| match &payload.content {
        Content::Text { secrets, .. } => !secrets.is_empty(),
        Content::Binary(_)
        | Content::TooLong { .. }
        | Content::Missing
        | Content::Unreadable(_) => false,
    })
}

/// The time of day in UTC.
pub(super) fn clock(at: Timestamp) -> String {
    at.to_utc().map_or_else(
        || at.to_string(),
        |utc| format!("{:02}:{:02}:{:02}Z", utc.hour(), utc.minute(), utc.second()),
    )
}
