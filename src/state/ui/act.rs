//! Dialogs, cancels, and the answers to what was asked; decisions are in [`super::decide`].
//!
//! Nothing changes here when a key is pressed: an effect leaves and a mark says
//! that it was asked. What the plane answers is said in words, with what it means
//! and what to press next.

use std::sync::Arc;

use super::modal::{self, Answer, CancelDialog, DecideDialog, Modal, RetryDialog};
use super::refusal::no_line_to_cancel;
use super::review::REVEALED;
use super::review::together::Reviews;
use super::words::{settled, unanswered, words};
use super::{Asking, Batch, Subject, Tone, UiState, What};
use crate::ids::JobId;
use crate::state::action::Action;
use crate::state::effect::{Effect, EffectId, EffectQueue, Outcome};
use crate::state::model::Model;
use crate::state::model::jobs::Asked;
use crate::time::Timestamp;

impl UiState {
    /// A key while something stands in front of the view.
    pub(super) fn press_in_modal(
        &mut self,
        action: &Action,
        model: &mut Model,
        now: Timestamp,
        effects: &mut EffectQueue,
    ) {
        let too_small = self.is_too_small();
        let Some(top) = self.modals.last_mut() else {
            return;
        };
        match action {
            // A dialog that cannot be read is not answered either.
            Action::Edit(_)
            | Action::Paste(_)
            | Action::Confirm
            | Action::NextField
            | Action::PreviousField
                if top.is_dialog() && too_small => {}
            Action::Edit(edit) => {
                let changed = modal::edit(top, *edit);
                self.edited(changed);
            }
            Action::Paste(text) => {
                if let Some(field) = top.text_mut() {
                    field.paste(text);
                    self.edited(true);
                }
            }
            Action::Back | Action::Close => self.leave_modal(),
            Action::NextField | Action::PreviousField => {
                if let Some(form) = top.form_mut() {
                    form.step(*action == Action::NextField);
                }
            }
            Action::Confirm => self.confirm(model, now, effects),
            Action::Complete => self.complete(),
            Action::Down | Action::Up | Action::PageDown | Action::PageUp => {
                let page = usize::from(self.drawn.height.max(1));
                let last = (self.drawn.rows as usize).saturating_sub(page);
                let by = match action {
                    Action::PageDown | Action::PageUp => page,
                    _ => 1,
                };
                let down = matches!(action, Action::Down | Action::PageDown);
                let moved = |at: usize, last: usize| {
                    if down {
                        at.saturating_add(by).min(last)
                    } else {
                        at.saturating_sub(by)
                    }
                };
                match top {
                    Modal::Help(help) => help.scroll = moved(help.scroll, last),
                    Modal::Log(scroll)
                    | Modal::Json(scroll)
                    | Modal::Explain { scroll, .. }
                    | Modal::Cause { scroll, .. }
                    | Modal::Flip { scroll, .. } => {
                        *scroll = moved(*scroll, last);
                    }
                    Modal::Palette(palette) => {
                        palette.chosen = moved(palette.chosen, usize::MAX);
                        self.clamp_choice();
                    }
                    Modal::Filter(_)
                    | Modal::Cancel(_)
                    | Modal::Approve(_)
                    | Modal::Reject(_)
                    | Modal::Retry(_) => {}
                }
            }
            _ => {}
        }
    }

    /// After the text with the keyboard changed: a filter is tried as it is typed.
    fn edited(&mut self, changed: bool) {
        if !changed {
            return;
        }
        match self.modals.last_mut() {
            Some(Modal::Help(help)) => help.scroll = 0,
            Some(Modal::Palette(palette)) => {
                palette.chosen = 0;
                palette.error = None;
            }
            Some(Modal::Filter(prompt)) => {
                let text = prompt.line.value().to_owned();
                let error = self.set_filter(&text);
                if let Some(Modal::Filter(prompt)) = self.modals.last_mut() {
                    prompt.error = error;
                    prompt.refused = false;
                }
            }
            Some(
                Modal::Cancel(_)
                | Modal::Approve(_)
                | Modal::Reject(_)
                | Modal::Retry(_)
                | Modal::Log(_)
                | Modal::Json(_)
                | Modal::Explain { .. }
                | Modal::Cause { .. }
                | Modal::Flip { .. },
            )
            | None => {}
        }
    }

    /// `Esc`: clears a search, else closes what is in front, and keeps a draft.
    fn leave_modal(&mut self) {
        if let Some(Modal::Help(help)) = self.modals.last_mut()
            && !help.search.is_blank()
        {
            help.search.clear();
            help.scroll = 0;
            return;
        }
        let closed = self.modals.pop();
        match (closed, &mut self.review) {
            (Some(Modal::Filter(prompt)), _) => {
                self.set_filter(&prompt.before);
            }
            (Some(Modal::Approve(dialog)), Some(reviews)) => {
                dialog.form.note.value().clone_into(&mut reviews.note);
            }
            (Some(Modal::Reject(dialog)), Some(reviews)) => {
                dialog.form.note.value().clone_into(&mut reviews.reason);
            }
            _ => {}
        }
    }

    fn confirm(&mut self, model: &mut Model, now: Timestamp, effects: &mut EffectQueue) {
        match self.modals.last_mut() {
            Some(Modal::Palette(_)) => self.run_command(model, now, effects),
            Some(Modal::Filter(prompt)) if prompt.error.is_some() => {
                // What could be read of it while it was typed is not what was wanted.
                prompt.refused = true;
                let before = prompt.before.clone();
                self.set_filter(&before);
            }
            Some(Modal::Filter(_)) => {
                if let Some(Modal::Filter(prompt)) = self.modals.pop() {
                    self.filter_was(prompt.before, now);
                }
            }
            Some(
                Modal::Help(_)
                | Modal::Log(_)
                | Modal::Json(_)
                | Modal::Explain { .. }
                | Modal::Flip { .. },
            ) => {
                self.modals.pop();
            }
            Some(Modal::Cause { pool, .. }) => {
                let pool = pool.clone();
                self.modals.pop();
                self.show_pool(pool, model);
            }
            Some(Modal::Cancel(CancelDialog { form, .. })) => match form.confirm() {
                Answer::Stay => {}
                Answer::GoBack => self.leave_modal(),
                Answer::Act => {
                    // The dialog stays with what was typed: the line may come back.
                    if let Some(reason) = no_line_to_cancel(model) {
                        return self.say(Tone::Warning, reason, now);
                    }
                    if let Some(Modal::Cancel(dialog)) = self.modals.pop() {
                        self.send_cancels(&dialog, model, now, effects);
                    }
                }
            },
            Some(Modal::Retry(RetryDialog { form, .. })) => match form.confirm() {
                Answer::Stay => {}
                Answer::GoBack => self.leave_modal(),
                Answer::Act => {
                    if let Some(Modal::Retry(dialog)) = self.modals.pop() {
                        self.send_retry(dialog.job, model, now, effects);
                    }
                }
            },
            Some(
                Modal::Approve(DecideDialog { form, .. })
                | Modal::Reject(DecideDialog { form, .. }),
            ) => match form.confirm() {
                Answer::Stay => {}
                Answer::GoBack => self.leave_modal(),
                Answer::Act => {
                    if let Some(Modal::Approve(dialog) | Modal::Reject(dialog)) = self.modals.pop()
                    {
                        self.send_decision(&dialog, model, now, effects);
                    }
                }
            },
            None => {}
        }
    }

    /// The jobs that `X` means: the marked ones, else that under the cursor or open,
    /// on a worker those it has.
    pub(super) fn cancel_targets(&self, model: &Model) -> Vec<JobId> {
        let open = self.detail.is_some() || self.review.is_some();
        let state = &self.current().state;
        let subjects: Vec<Subject> = if open || state.marks().is_empty() {
            self.subject().into_iter().collect()
        } else {
            // In the order of the list; a marked row that the filter hides comes last.
            let shown = state
                .order()
                .iter()
                .filter(|row| state.marks().contains(*row));
            let hidden = state
                .marks()
                .iter()
                .filter(|row| !state.order().contains(row));
            shown.chain(hidden).cloned().collect()
        };
        let jobs = subjects.into_iter().flat_map(|subject| match subject {
            Subject::Job(job) => vec![job],
            Subject::Worker(worker) => model
                .jobs
                .of_worker(&worker)
                .map(|job| job.id.clone())
                .collect(),
            Subject::Pool(_)
            | Subject::Alert(_)
            | Subject::Workflow(_)
            | Subject::Unseen
            | Subject::Rule(_)
            | Subject::Flip(_) => Vec::new(),
        });
        jobs.filter(|job| {
            model
                .jobs
                .get(job)
                .is_some_and(|job| !job.state.is_some_and(|state| state.is_terminal()))
        })
        .collect()
    }

    pub(super) fn ask_cancel(&mut self, model: &Model, now: Timestamp) {
        let jobs = self.cancel_targets(model);
        if !jobs.is_empty() {
            self.open_modal(Modal::Cancel(CancelDialog::new(jobs)), now);
        }
    }

    fn send_cancels(
        &mut self,
        dialog: &CancelDialog,
        model: &mut Model,
        now: Timestamp,
        effects: &mut EffectQueue,
    ) {
        let reason: Arc<str> = dialog.form.note.value().trim().into();
        let jobs: Vec<JobId> = dialog.left().cloned().collect();
        self.batch = Batch {
            of: jobs.len(),
            ..Batch::default()
        };
        for job in jobs {
            let effect = effects.push(Effect::Cancel {
                job: job.clone(),
                reason: Arc::clone(&reason),
            });
            model.jobs.asked(&job, effect, Asked::Cancel, now);
            self.bell.watch(job.clone());
            self.write_log(format!("asked to cancel {job}"), now);
            let reason = Arc::clone(&reason);
            self.await_answer(effect, What::Cancel { job, reason }, now);
        }
        if !self.current().state.marks().is_empty() {
            self.clear_marks(now);
        }
        self.say(Tone::Muted, "… asked.", now);
    }

    pub(super) fn await_answer(&mut self, effect: EffectId, what: What, at: Timestamp) {
        self.asking.insert(effect, Asking { what, at });
    }

    pub(super) fn ask_refresh(&mut self, effects: &mut EffectQueue, now: Timestamp) {
        let effect = effects.push(Effect::Refresh);
        self.await_answer(effect, What::Refresh, now);
        self.say(Tone::Muted, "Asking all servers again.", now);
    }

    /// An effect ended.
    pub(super) fn answered(
        &mut self,
        id: EffectId,
        outcome: &Outcome,
        model: &mut Model,
        now: Timestamp,
        effects: &mut EffectQueue,
    ) {
        let Some(Asking { what, at }) = self.asking.remove(&id) else {
            return;
        };
        match what {
            What::Policy | What::Explain { .. } => self.policy_answered(&what, outcome),
            What::Try => self.tried(outcome),
            // What was told is shown beside the undo, and so is that nothing was.
            What::Compensation { .. } => {}
            What::Lives => self.lives_told(outcome, now),
            What::Keep { name } => {
                let (tone, text) = match outcome {
                    Outcome::Done(_) => match self.manners.saved.contains_key(&name) {
                        true => (
                            Tone::Done,
                            format!("Kept as {name}: :view {name} shows it again."),
                        ),
                        false => (Tone::Done, format!("{name} is kept no longer.")),
                    },
                    Outcome::Failed { reason } => (
                        Tone::Failed,
                        format!("{name} is kept until you quit: {reason}."),
                    ),
                    Outcome::TimedOut | Outcome::Refused(_) => {
                        (Tone::Failed, format!("{name} is kept until you quit."))
                    }
                };
                self.write_log(text.clone(), now);
                self.say(tone, text, now);
            }
            What::Reveal { job } => self.revealed(&job, outcome, now),
            What::Settle { job, asked } => self.settled(&job, asked, outcome, model, now),
            What::Decide(round) => self.decided(*round, at, outcome, model, now, effects),
            What::Cancel { job, reason } => match outcome {
                Outcome::Done(word) => {
                    let took = now.since(at).as_millis();
                    self.cancelled(&job, &reason, word.as_deref(), took, now);
                }
                Outcome::TimedOut => {
                    let text = unanswered("cancelled");
                    self.batch.refused += 1;
                    self.write_log(format!("cancel of {job}: {text}"), now);
                    self.say(Tone::Warning, text, now);
                    self.settle(job, Asked::Cancel, now, effects);
                }
                Outcome::Failed { reason } => {
                    self.not_cancelled(format!("{reason}. Nothing was sent."), now);
                }
                Outcome::Refused(refusal) => self.not_cancelled(words(refusal), now),
            },
            What::Retry { job } => self.retried(&job, at, outcome, now),
            What::Read { job, page: true } if matches!(outcome, Outcome::Done(_)) => {
                self.page_read(&job, model, effects, now);
            }
            What::Read { .. } | What::Refresh => match outcome {
                Outcome::Done(_) => {}
                Outcome::TimedOut => self.say(Tone::Warning, "No answer in time.", now),
                Outcome::Failed { reason } => {
                    self.say(Tone::Warning, format!("{reason}."), now);
                }
                Outcome::Refused(refusal) => self.say(Tone::Warning, words(refusal), now),
            },
        }
        self.bind_reviews(model, now);
    }

    /// Asks whether the plane did what it gave no answer to.
    pub(super) fn settle(
        &mut self,
        job: JobId,
        asked: Asked,
        now: Timestamp,
        effects: &mut EffectQueue,
    ) {
        let effect = effects.push(Effect::ReadJob(job.clone()));
        self.await_answer(effect, What::Settle { job, asked }, now);
    }

    /// Asks to write down that secrets are shown. They are shown once that is on disk.
    pub(super) fn ask_reveal(&mut self, job: JobId, now: Timestamp, effects: &mut EffectQueue) {
        let effect = effects.push(Effect::LogReveal { job: job.clone() });
        self.await_answer(effect, What::Reveal { job }, now);
    }

    fn revealed(&mut self, job: &JobId, outcome: &Outcome, now: Timestamp) {
        let why = match outcome {
            Outcome::Done(_) => {
                let mut reviews = self.review.iter_mut().flat_map(Reviews::iter_mut);
                let open = reviews.find(|it| it.job == *job);
                if let Some(review) = open {
                    review.revealed_until = Some(now.plus(REVEALED));
                    drop(reviews);
                    self.write_log(format!("showed the secrets of {job}"), now);
                }
                return;
            }
            Outcome::Failed { reason } => reason.to_string(),
            Outcome::Refused(refusal) => refusal.text.to_string(),
            Outcome::TimedOut => "the operator's log was not written in time".to_owned(),
        };
        self.say(Tone::Failed, format!("Not shown: {why}."), now);
    }

    /// The plane was asked whether it did what it gave no answer to.
    fn settled(
        &mut self,
        job: &JobId,
        asked: Asked,
        outcome: &Outcome,
        model: &Model,
        now: Timestamp,
    ) {
        let known = model
            .jobs
            .get(job)
            .filter(|_| matches!(outcome, Outcome::Done(_)));
        let state = known.and_then(|job| Some((job.state?, job.since)));
        let (did, text) = settled(asked, tail(job.as_str()), state);
        self.write_log(text.clone(), now);
        self.say(if did { Tone::Done } else { Tone::Warning }, text, now);
        if did && asked != Asked::Cancel {
            self.review = self.review.take().and_then(|it| it.without(job));
        }
    }

    fn cancelled(
        &mut self,
        job: &JobId,
        reason: &str,
        word: Option<&str>,
        took_ms: u64,
        now: Timestamp,
    ) {
        self.batch.done += 1;
        let state = word.map_or(String::new(), |word| {
            format!(", now {}", word.to_ascii_lowercase())
        });
        let text = format!(
            "cancel of {} taken in {took_ms}ms{state}.  capdeck cancel {job} --reason '{reason}'",
            tail(job.as_str())
        );
        self.write_log(text.clone(), now);
        let Batch { of, done, refused } = self.batch;
        if of <= 1 {
            return self.say(Tone::Done, text, now);
        }
        let (tone, rest) = if refused > 0 {
            (Tone::Warning, format!(", {refused} not; :log tells why"))
        } else {
            (Tone::Done, String::new())
        };
        self.say(
            tone,
            format!("cancel of {done} of {of} jobs taken{rest}."),
            now,
        );
    }

    fn not_cancelled(&mut self, why: String, now: Timestamp) {
        self.batch.refused += 1;
        let text = format!("Not cancelled: {why}");
        self.write_log(text.clone(), now);
        self.say(Tone::Failed, text, now);
    }
}

/// The last eight characters of an id, as lists show it.
pub(super) fn tail(id: &str) -> &str {
    let start = id.char_indices().rev().nth(7).map_or(0, |(start, _)| start);
    &id[start..]
}
