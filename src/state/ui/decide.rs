//! Reviews and decisions: marks, what is read, and one answer before the next question.
//!
//! A decision about several jobs is a [`Round`]: each job is sent only after the
//! plane has agreed about the one before, and the first refusal stops it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::act::tail;
use super::list::Subject;
use super::modal::{DecideDialog, Modal};
use super::review::together::{Reviews, SHARED, TOGETHER};
use super::review::{Condition, Refused, Review, blocking, last_four, typing_reason};
use super::words::{not, unanswered, words};
use super::{ListId, Tone, UiState, View, What};
use crate::ids::JobId;
use crate::state::action::Action;
use crate::state::effect::{Binding, Effect, EffectQueue, Looked, Outcome, Ruling};
use crate::state::model::Model;
use crate::state::model::approvals::ApprovalStatus;
use crate::state::model::jobs::Asked;
use crate::time::Timestamp;

/// A job with what its decision is bound to and how it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    job: JobId,
    binding: Binding,
    looked: Looked,
}

/// A decision about one or more jobs, while the plane is asked about one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Round {
    /// The one that the plane is asked about.
    pub(super) job: JobId,
    approve: bool,
    /// Note or reason.
    text: Arc<str>,
    of: usize,
    done: usize,
    /// Those that are sent once this one is done.
    pub(super) rest: VecDeque<Ready>,
}

impl Round {
    /// What was done, as "Not approved".
    pub(super) fn past(&self) -> &'static str {
        if self.approve { "approved" } else { "rejected" }
    }

    fn verb(&self) -> &'static str {
        if self.approve { "approve" } else { "reject" }
    }
}

impl UiState {
    /// Why the row under the cursor cannot be marked with those that are; `None`
    /// if it can, or its mark is to be taken away.
    pub(super) fn does_not_fit(&self, model: &Model) -> Option<String> {
        let state = &self.list(ListId::Approvals).state;
        let subject = state.selected()?;
        let marks = state.marks();
        if marks.contains(subject) || marks.is_empty() {
            return None;
        }
        if marks.len() >= TOGETHER {
            return Some(format!(
                "Not marked: {TOGETHER} are marked, and at most {TOGETHER} jobs are decided together."
            ));
        }
        let of = |subject: &Subject| model.approvals.get(subject.job()?);
        let approval = of(subject)?;
        let unlike = marks
            .iter()
            .filter_map(of)
            .find_map(|marked| approval.unlike(marked))?;
        Some(format!("Not marked: {}. {SHARED}", unlike.words()))
    }

    /// Takes the marks of approvals away that no longer wait.
    pub(super) fn unmark_ended(&mut self, model: &Model) {
        if let Some(list) = self.lists.get_mut(&ListId::Approvals) {
            list.state.retain_marks(|subject| {
                let approval = subject.job().and_then(|job| model.approvals.get(job));
                approval.is_some_and(|it| it.fact.status == ApprovalStatus::Pending)
            });
        }
    }

    /// The jobs that are reviewed with that of `subject`: the marked ones in the
    /// order of the queue if it is one of them or only they are meant, else it alone.
    fn reviewed_with(&self, subject: Option<Subject>, marked: bool) -> Vec<JobId> {
        let list = &self.list(ListId::Approvals).state;
        let with_marks = marked || subject.as_ref().is_some_and(|it| list.marks().contains(it));
        if !with_marks {
            return subject.iter().filter_map(Subject::job).cloned().collect();
        }
        let is_marked = |row: &&Subject| list.marks().contains(*row);
        let shown = list.order().iter().filter(is_marked);
        let hidden = list
            .marks()
            .iter()
            .filter(|row| !list.order().contains(row));
        shown
            .chain(hidden)
            .filter_map(Subject::job)
            .take(TOGETHER)
            .cloned()
            .collect()
    }

    /// Opens the review of all marked approvals, or of the job under the cursor.
    pub(super) fn open_review(&mut self, model: &Model, effects: &mut EffectQueue, now: Timestamp) {
        let in_queue = self.view == View::Approvals && self.detail.is_none();
        let marked = in_queue && !self.list(ListId::Approvals).state.marks().is_empty();
        let jobs = self.reviewed_with(self.subject(), marked);
        self.open_reviews(jobs, model, effects, now);
    }

    /// Opens the review of `job` again, with those it is marked with.
    pub(super) fn reopen_review(
        &mut self,
        job: JobId,
        model: &Model,
        effects: &mut EffectQueue,
        now: Timestamp,
    ) {
        let jobs = self.reviewed_with(Some(Subject::Job(job.clone())), false);
        self.open_reviews(jobs, model, effects, now);
        if let Some(reviews) = &mut self.review {
            reviews.show_job(&job);
        }
    }

    fn open_reviews(
        &mut self,
        jobs: Vec<JobId>,
        model: &Model,
        effects: &mut EffectQueue,
        now: Timestamp,
    ) {
        let mut reviews = Vec::new();
        for job in &jobs {
            reviews.push(Review::open(job.clone(), self.next_reading(), now));
        }
        let mut reviews = reviews.into_iter();
        let Some(first) = reviews.next() else {
            return;
        };
        self.history.leave(self.here());
        if self.view != View::Approvals {
            self.view = View::Approvals;
            self.current_mut()
                .state
                .aim(Subject::Job(first.job.clone()));
        }
        self.detail = None;
        self.review = Some(Reviews::open(first, reviews.collect()));
        for job in &jobs {
            self.read_job(job, model, effects, now);
        }
    }

    fn next_reading(&mut self) -> u64 {
        self.readings += 1;
        self.readings
    }

    /// Reads a job and its payload again.
    pub(super) fn read_job(
        &mut self,
        job: &JobId,
        model: &Model,
        effects: &mut EffectQueue,
        now: Timestamp,
    ) {
        let effect = effects.push(Effect::ReadJob(job.clone()));
        let page = What::Read {
            job: job.clone(),
            page: true,
        };
        self.await_answer(effect, page, now);
        self.read_payload(job, model, effects, now);
    }

    fn read_payload(
        &mut self,
        job: &JobId,
        model: &Model,
        effects: &mut EffectQueue,
        now: Timestamp,
    ) {
        let Some(pointer) = pointer(job, model).cloned() else {
            return;
        };
        let effect = effects.push(Effect::ReadPayload {
            job: job.clone(),
            pointer,
        });
        let payload = What::Read {
            job: job.clone(),
            page: false,
        };
        self.await_answer(effect, payload, now);
    }

    /// The page of a job was read: what is behind the pointer that it told is read
    /// too, where somebody looks at it.
    pub(super) fn page_read(
        &mut self,
        job: &JobId,
        model: &Model,
        effects: &mut EffectQueue,
        now: Timestamp,
    ) {
        let in_detail = self.detail.as_ref().is_some_and(|it| it.job == *job);
        let in_review = self.review.as_ref().is_some_and(|it| it.get(job).is_some());
        let unread = pointer(job, model)
            .is_some_and(|pointer| model.approvals.payload(job, pointer).is_none());
        if (in_detail || in_review) && unread && !self.is_reading(job) {
            self.read_payload(job, model, effects, now);
        }
    }

    /// Whether a decision about `job` is under way.
    pub fn is_deciding(&self, job: &JobId) -> bool {
        self.asking.values().any(|it| match &it.what {
            What::Decide(round) => {
                round.job == *job || round.rest.iter().any(|ready| ready.job == *job)
            }
            // Until the plane has told, a second decision could be one too many.
            What::Settle {
                job: unsettled,
                asked,
            } => *asked != Asked::Cancel && unsettled == job,
            What::Cancel { .. }
            | What::Retry { .. }
            | What::Read { .. }
            | What::Policy
            | What::Explain { .. }
            | What::Try
            | What::Compensation { .. }
            | What::Lives
            | What::Reveal { .. }
            | What::Refresh
            | What::Keep { .. } => false,
        })
    }

    /// Whether something about `job` is being read.
    pub fn is_reading(&self, job: &JobId) -> bool {
        self.asking
            .values()
            .any(|it| matches!(&it.what, What::Read { job: read, .. } if read == job))
    }

    /// What must hold before the reviewed jobs can be approved; empty without a review.
    pub fn gate(&self, model: &Model) -> Vec<Condition> {
        self.review.as_ref().map_or_else(Vec::new, |reviews| {
            reviews.gate(model, &|job| self.is_reading(job))
        })
    }

    pub(super) fn reload_review(
        &mut self,
        model: &Model,
        effects: &mut EffectQueue,
        now: Timestamp,
    ) {
        let reading = self.next_reading();
        let Some(reviews) = &mut self.review else {
            return;
        };
        let review = reviews.shown_mut();
        review.reload(reading, now);
        let job = review.job.clone();
        self.read_job(&job, model, effects, now);
    }

    /// Binds each review to what the model holds, once everything about it was read.
    pub(super) fn bind_reviews(&mut self, model: &Model, now: Timestamp) {
        let Some(mut reviews) = self.review.take() else {
            return;
        };
        for review in reviews.iter_mut() {
            // What the list said before a reload is what moved.
            let told = model.approvals.told_at() > Some(review.read.at);
            let ready = told || !review.reloaded;
            if !review.bound && ready && !self.is_reading(&review.job) {
                review.bind(model, now);
            }
        }
        self.review = Some(reviews);
    }

    /// Why `job` cannot be approved, or rejected, together with others now.
    fn blocked(&self, job: &JobId, approve: bool, model: &Model) -> Option<String> {
        let Some(reviews) = &self.review else {
            return Some("no longer reviewed".to_owned());
        };
        let Some(review) = reviews.get(job) else {
            return Some("no longer reviewed".to_owned());
        };
        if self.is_deciding(job) {
            return Some("being decided".to_owned());
        }
        let conditions = reviews.conditions(review, model, &|_| false);
        blocking(&conditions, approve).map(|it| it.text.clone())
    }

    /// Leaves out of an open dialog what ended or moved since. After a packet only
    /// an end is looked for: packets come by the hundred thousand, and tell no more.
    pub(super) fn keep_dialogs_up(&mut self, model: &Model, after_a_packet: bool) {
        let waits = |job: &JobId| {
            let approval = model.approvals.get(job);
            approval.is_some_and(|it| it.fact.status == ApprovalStatus::Pending)
        };
        let mut modals = std::mem::take(&mut self.modals);
        for modal in &mut modals {
            if let Modal::Approve(dialog) | Modal::Reject(dialog) = modal {
                if after_a_packet && dialog.left().all(waits) {
                    continue;
                }
                let approve = dialog.verb == "approve";
                let blocked: BTreeMap<JobId, String> = dialog
                    .jobs
                    .iter()
                    .filter_map(|job| Some((job.clone(), self.blocked(job, approve, model)?)))
                    .collect();
                dialog.look(&blocked);
            }
        }
        self.modals = modals;
    }

    pub(super) fn ask_approve(&mut self, model: &Model, now: Timestamp) {
        let Some(reviews) = &self.review else { return };
        let dialog = self.dialog("approve", reviews, &reviews.note, model);
        self.open_modal(Modal::Approve(dialog), now);
    }

    pub(super) fn ask_reject(&mut self, model: &Model, now: Timestamp) {
        let Some(reviews) = &self.review else { return };
        let dialog = self.dialog("reject", reviews, &reviews.reason, model);
        self.open_modal(Modal::Reject(dialog), now);
    }

    fn dialog(
        &self,
        verb: &'static str,
        reviews: &Reviews,
        text: &str,
        model: &Model,
    ) -> DecideDialog {
        let waiting = reviews.waiting(model).map(|it| it.job.clone());
        let jobs: Vec<JobId> = waiting.collect();
        let shown = reviews.shown().job.clone();
        if reviews.are_several() && jobs.len() > 1 {
            return DecideDialog::about_several(verb, jobs, shown, text);
        }
        let job = jobs.into_iter().next().unwrap_or(shown);
        let wanted = model
            .approvals
            .get(&job)
            .and_then(|approval| typing_reason(approval))
            .filter(|_| verb == "approve")
            .map(|_| last_four(&job));
        DecideDialog::about_one(verb, job, text, wanted)
    }

    pub(super) fn send_decision(
        &mut self,
        dialog: &DecideDialog,
        model: &mut Model,
        now: Timestamp,
        effects: &mut EffectQueue,
    ) {
        let approve = dialog.verb == "approve";
        if let Some(reviews) = &mut self.review {
            // Kept until the plane has agreed: a refusal must not cost the note.
            let draft = if approve {
                &mut reviews.note
            } else {
                &mut reviews.reason
            };
            dialog.form.note.value().clone_into(draft);
        }
        let action = if approve {
            Action::Approve
        } else {
            Action::Reject
        };
        // What held when the dialog opened need not hold any more. Of several
        // jobs the dialog has left out those that it no longer holds for.
        let refusal = match dialog.jobs.len() {
            1 => self.refusal(&action, model),
            _ => self.cannot_send(&action, model),
        };
        if let Some(reason) = refusal {
            return self.say(Tone::Warning, reason, now);
        }
        let chosen = dialog.chosen();
        let Some(reviews) = &mut self.review else {
            return;
        };
        let mut rest = VecDeque::new();
        for review in reviews.iter_mut().filter(|it| chosen.contains(&it.job)) {
            review.refused = None;
            rest.push_back(Ready {
                job: review.job.clone(),
                binding: review.binding(),
                looked: review.looked(now),
            });
        }
        let Some(first) = rest.pop_front() else {
            return self.say(Tone::Warning, "Nothing is left to decide.", now);
        };
        let round = Round {
            job: first.job.clone(),
            approve,
            text: dialog.form.note.value().trim().into(),
            of: rest.len() + 1,
            done: 0,
            rest,
        };
        self.send(first, round, model, now, effects);
    }

    /// Asks the plane about one job of a round.
    fn send(
        &mut self,
        next: Ready,
        round: Round,
        model: &mut Model,
        now: Timestamp,
        effects: &mut EffectQueue,
    ) {
        let text = Arc::clone(&round.text);
        let (ruling, asked) = if round.approve {
            (Ruling::Approve(text), Asked::Approve)
        } else {
            (Ruling::Reject(text), Asked::Reject)
        };
        let (job, verb) = (next.job, round.verb());
        let effect = effects.push(Effect::Decide {
            job: job.clone(),
            ruling,
            binding: next.binding,
            looked: next.looked,
        });
        model.jobs.asked(&job, effect, asked, now);
        self.write_log(format!("asked to {verb} {job}"), now);
        let says = match round.of {
            1 => format!("… asked to {verb}."),
            of => format!("… asked to {verb}, {} of {of}.", round.done + 1),
        };
        self.say(Tone::Muted, says, now);
        let round = Box::new(Round { job, ..round });
        self.await_answer(effect, What::Decide(round), now);
    }

    /// The plane has answered about one job of a round.
    pub(super) fn decided(
        &mut self,
        mut round: Round,
        asked_at: Timestamp,
        outcome: &Outcome,
        model: &mut Model,
        now: Timestamp,
        effects: &mut EffectQueue,
    ) {
        let job = &round.job.clone();
        if let Outcome::Done(_) = outcome {
            round.done += 1;
            let text = format!(
                "{} {} in {}ms.",
                round.past(),
                tail(job.as_str()),
                now.since(asked_at).as_millis()
            );
            let (verb, note) = (round.verb(), &round.text);
            let option = if round.approve { "note" } else { "reason" };
            let twin = format!("capdeck {verb} {job} --{option} '{note}'");
            let text = format!("{text}  {twin}");
            self.write_log(text.clone(), now);
            // A decision that was taken ends its review; what is next is shown.
            self.review = self.review.take().and_then(|it| it.without(job));
            let list = &mut self.list_mut(ListId::Approvals).state;
            list.retain_marks(|subject| subject.job() != Some(job));
            if let Some(next) = round.rest.pop_front() {
                return self.send(next, round, model, now, effects);
            }
            let text = match round.of {
                1 => text,
                of => format!("{} {of} of {of} jobs; :log lists them.", round.past()),
            };
            return self.say(Tone::Done, text, now);
        }
        self.stopped(&round, outcome, now);
        if *outcome == Outcome::TimedOut {
            let asked = if round.approve {
                Asked::Approve
            } else {
                Asked::Reject
            };
            self.settle(round.job, asked, now, effects);
        }
    }

    /// A round ends at what was refused, failed or is not known.
    fn stopped(&mut self, round: &Round, outcome: &Outcome, now: Timestamp) {
        let job = &round.job;
        let past = round.past();
        let (code, why, text) = match outcome {
            Outcome::Done(_) => return,
            Outcome::Refused(refusal) => {
                let code = match refusal.status {
                    0 => refusal.code.to_string(),
                    status => format!("{status} {}", refusal.code),
                };
                let why = format!("refused ({code})");
                (
                    code,
                    why,
                    format!("{}: {}", not(past, refusal), words(refusal)),
                )
            }
            Outcome::Failed { reason } => (
                String::new(),
                "not sent".to_owned(),
                format!("Not {past}: {reason}. Nothing was sent."),
            ),
            Outcome::TimedOut => (String::new(), "unknown".to_owned(), unanswered(past)),
        };
        let about = match (outcome, round.approve) {
            (Outcome::TimedOut, true) => format!("approval of {job}"),
            (Outcome::TimedOut, false) => format!("rejection of {job}"),
            _ => tail(job.as_str()).to_owned(),
        };
        self.write_log(format!("{about}: {text}"), now);
        for ready in &round.rest {
            let job = &ready.job;
            self.write_log(format!("not sent: {} of {job}", round.verb()), now);
        }
        let unknown = *outcome == Outcome::TimedOut;
        let tone = if unknown { Tone::Warning } else { Tone::Failed };
        let left = match round.rest.len() {
            0 => String::new(),
            left => format!(", {left} not sent"),
        };
        let done = round.done;
        if round.of > 1 {
            let of = round.of;
            let at = tail(job.as_str());
            let says = format!("Stopped: {done} of {of} {past}, {at} {why}{left}. :log tells all.");
            self.say(tone, says, now);
        } else {
            self.say(tone, text.clone(), now);
        }
        let Some(reviews) = &mut self.review else {
            return;
        };
        if unknown || reviews.get(job).is_none() {
            return;
        }
        let text = match round.of {
            1 => text,
            of => format!("{text} Of {of}, {done} {past} before it{left}."),
        };
        reviews.show_job(job);
        reviews.shown_mut().refused = Some(Refused {
            what: if round.approve {
                "NOT APPROVED"
            } else {
                "NOT REJECTED"
            },
            code,
            text,
            at: now,
        });
    }
}

/// Where the payload of a job is, as far as it is known.
fn pointer<'a>(job: &JobId, model: &'a Model) -> Option<&'a Arc<str>> {
    let listed = model.approvals.get(job).and_then(|it| it.context_ptr());
    let known = || model.jobs.get(job)?.request.as_ref()?.context_ptr.as_ref();
    listed.or_else(known)
}
