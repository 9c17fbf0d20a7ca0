//! Dialogs, and what changes the world: cancel, approve, reject.
//!
//! Nothing changes here when a key is pressed: an effect leaves and a mark says
//! that it was asked. What the plane answers is said in words, with what it means
//! and what to press next.

use std::sync::Arc;

use super::modal::{self, Answer, CancelDialog, DecideDialog, Form, Modal};
use super::review::{REVEALED, Read, Refused, Review, last_four, typing_reason};
use super::words::{not, settled, unanswered, words};
use super::{Asking, Batch, Subject, Tone, UiState, View, What};
use crate::ids::JobId;
use crate::state::action::Action;
use crate::state::effect::{Binding, Effect, EffectId, EffectQueue, Outcome, Ruling};
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
                    Modal::Log(scroll) | Modal::Json(scroll) => *scroll = moved(*scroll, last),
                    Modal::Palette(palette) => {
                        palette.chosen = moved(palette.chosen, usize::MAX);
                        self.clamp_choice();
                    }
                    Modal::Filter(_) | Modal::Cancel(_) | Modal::Approve(_) | Modal::Reject(_) => {}
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
                }
            }
            Some(
                Modal::Cancel(_)
                | Modal::Approve(_)
                | Modal::Reject(_)
                | Modal::Log(_)
                | Modal::Json(_),
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
            (Some(Modal::Approve(dialog)), Some(review)) => {
                dialog.form.note.value().clone_into(&mut review.note);
            }
            (Some(Modal::Reject(dialog)), Some(review)) => {
                dialog.form.note.value().clone_into(&mut review.reason);
            }
            _ => {}
        }
    }

    fn confirm(&mut self, model: &mut Model, now: Timestamp, effects: &mut EffectQueue) {
        match self.modals.last_mut() {
            Some(Modal::Palette(_)) => self.run_command(model, now, effects),
            Some(Modal::Filter(prompt)) if prompt.error.is_some() => {}
            Some(Modal::Filter(_)) => {
                if let Some(Modal::Filter(prompt)) = self.modals.pop() {
                    self.filter_was(prompt.before, now);
                }
            }
            Some(Modal::Help(_) | Modal::Log(_) | Modal::Json(_)) => {
                self.modals.pop();
            }
            Some(Modal::Cancel(CancelDialog { form, .. })) => match form.confirm() {
                Answer::Stay => {}
                Answer::GoBack => self.leave_modal(),
                Answer::Act => {
                    if let Some(Modal::Cancel(dialog)) = self.modals.pop() {
                        self.send_cancels(&dialog, model, now, effects);
                    }
                }
            },
            Some(
                Modal::Approve(DecideDialog { form, .. })
                | Modal::Reject(DecideDialog { form, .. }),
            ) => match form.confirm() {
                Answer::Stay => {}
                Answer::GoBack => self.leave_modal(),
                Answer::Act => match self.modals.pop() {
                    Some(Modal::Approve(dialog)) => {
                        self.send_decision(true, &dialog, model, now, effects);
                    }
                    Some(Modal::Reject(dialog)) => {
                        self.send_decision(false, &dialog, model, now, effects);
                    }
                    _ => {}
                },
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
            Subject::Pool(_) | Subject::Alert(_) => Vec::new(),
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

    /// Reads a job and its payload again.
    pub(super) fn read_job(
        &mut self,
        job: &JobId,
        model: &Model,
        effects: &mut EffectQueue,
        now: Timestamp,
    ) {
        let effect = effects.push(Effect::ReadJob(job.clone()));
        self.await_answer(effect, What::Read { job: job.clone() }, now);
        let listed = model.approvals.get(job).and_then(|it| it.context_ptr());
        let known = || model.jobs.get(job)?.request.as_ref()?.context_ptr.as_ref();
        let pointer = listed.or_else(known).cloned();
        if let Some(pointer) = pointer {
            let effect = effects.push(Effect::ReadPayload {
                job: job.clone(),
                pointer,
            });
            self.await_answer(effect, What::Read { job: job.clone() }, now);
        }
    }

    /// Whether a decision about `job` is under way.
    pub fn is_deciding(&self, job: &JobId) -> bool {
        self.asking.values().any(|it| match &it.what {
            What::Approve { job: asked, .. } | What::Reject { job: asked, .. } => asked == job,
            // Until the plane has told, a second decision could be one too many.
            What::Settle {
                job: asked,
                asked: what,
            } => *what != Asked::Cancel && asked == job,
            What::Cancel { .. }
            | What::Read { .. }
            | What::Reveal { .. }
            | What::Refresh
            | What::Keep { .. } => false,
        })
    }

    /// Whether something about `job` is being read.
    pub fn is_reading(&self, job: &JobId) -> bool {
        self.asking
            .values()
            .any(|it| matches!(&it.what, What::Read { job: read } if read == job))
    }

    pub(super) fn open_review(&mut self, model: &Model, effects: &mut EffectQueue, now: Timestamp) {
        let Some(Subject::Job(job)) = self.subject() else {
            return;
        };
        self.history.leave(self.here());
        if self.view != View::Approvals {
            self.view = View::Approvals;
            self.current_mut().state.aim(Subject::Job(job.clone()));
        }
        self.detail = None;
        self.review = Some(Review::open(job.clone(), now));
        self.read_job(&job, model, effects, now);
    }

    pub(super) fn reload_review(
        &mut self,
        model: &Model,
        effects: &mut EffectQueue,
        now: Timestamp,
    ) {
        let Some(review) = &mut self.review else {
            return;
        };
        // What was seen of the old copy says nothing about the new one; drafts stay.
        let job = review.job.clone();
        let old = std::mem::replace(review, Review::open(job.clone(), now));
        review.note = old.note;
        review.reason = old.reason;
        review.opened_at = old.opened_at;
        review.reloaded = true;
        self.read_job(&job, model, effects, now);
    }

    /// Binds the review to what the model holds, once everything about it was read.
    pub(super) fn bind_review(&mut self, model: &Model, now: Timestamp) {
        let Some(job) = self.review.as_ref().map(|review| review.job.clone()) else {
            return;
        };
        if self.is_reading(&job) {
            return;
        }
        let Some(review) = self.review.as_mut().filter(|review| !review.bound) else {
            return;
        };
        // What the list said before the reload is what moved.
        if review.reloaded && model.approvals.told_at() <= Some(review.read.at) {
            return;
        }
        let approval = model.approvals.get(&job);
        let payload = approval
            .and_then(|it| it.context_ptr())
            .and_then(|pointer| model.approvals.payload(&job, pointer));
        review.read = Read {
            job_hash: approval.and_then(|it| it.fact.job_hash.clone()),
            policy_snapshot: approval.and_then(|it| it.fact.job.verdict.as_ref()?.snapshot.clone()),
            payload_sha256: payload.and_then(|it| it.sha256.clone()),
            at: now,
        };
        review.bound = true;
    }

    pub(super) fn ask_approve(&mut self, model: &Model, now: Timestamp) {
        let Some(review) = &self.review else { return };
        let wanted = model
            .approvals
            .get(&review.job)
            .and_then(|approval| typing_reason(approval))
            .map(|_| last_four(&review.job));
        let dialog = DecideDialog {
            jobs: vec![review.job.clone()],
            form: Form::new(&review.note, true, wanted),
        };
        self.open_modal(Modal::Approve(dialog), now);
    }

    pub(super) fn ask_reject(&mut self, now: Timestamp) {
        let Some(review) = &self.review else { return };
        let dialog = DecideDialog {
            jobs: vec![review.job.clone()],
            form: Form::new(&review.reason, true, None),
        };
        self.open_modal(Modal::Reject(dialog), now);
    }

    fn send_decision(
        &mut self,
        approve: bool,
        dialog: &DecideDialog,
        model: &mut Model,
        now: Timestamp,
        effects: &mut EffectQueue,
    ) {
        let action = if approve {
            Action::Approve
        } else {
            Action::Reject
        };
        // What held when the dialog opened need not hold any more.
        if let Some(reason) = self.refusal(&action, model) {
            return self.say(Tone::Warning, reason, now);
        }
        let Some(review) = &mut self.review else {
            return;
        };
        let text: Arc<str> = dialog.form.note.value().trim().into();
        let binding = Binding {
            job_hash: review.read.job_hash.clone(),
            policy_snapshot: review.read.policy_snapshot.clone(),
            payload_sha256: review.read.payload_sha256.clone(),
        };
        let job = review.job.clone();
        // Kept until the plane has agreed: a refusal must not cost the note.
        let draft = if approve {
            &mut review.note
        } else {
            &mut review.reason
        };
        dialog.form.note.value().clone_into(draft);
        review.refused = None;
        let (ruling, asked, word) = if approve {
            (
                Ruling::Approve(Arc::clone(&text)),
                Asked::Approve,
                "approve",
            )
        } else {
            (Ruling::Reject(Arc::clone(&text)), Asked::Reject, "reject")
        };
        let effect = effects.push(Effect::Decide {
            job: job.clone(),
            ruling,
            binding,
        });
        model.jobs.asked(&job, effect, asked, now);
        self.write_log(format!("asked to {word} {job}"), now);
        self.batch = Batch {
            of: 1,
            ..Batch::default()
        };
        let what = if approve {
            What::Approve { job, note: text }
        } else {
            What::Reject { job, reason: text }
        };
        self.await_answer(effect, what, now);
        self.say(Tone::Muted, format!("… asked to {word}."), now);
    }

    /// An effect ended.
    pub(super) fn answered(
        &mut self,
        id: EffectId,
        outcome: &Outcome,
        model: &Model,
        now: Timestamp,
        effects: &mut EffectQueue,
    ) {
        let Some(asking) = self.asking.remove(&id) else {
            return;
        };
        match (&asking.what, outcome) {
            (What::Reveal { job }, outcome) => self.revealed(job, outcome, now),
            (What::Settle { job, asked }, outcome) => {
                self.settled(job, *asked, outcome, model, now);
            }
            (What::Refresh | What::Read { .. }, Outcome::Done(_)) => {}
            (What::Keep { name }, outcome) => {
                let (tone, text) = match outcome {
                    Outcome::Done(_) => match self.manners.saved.contains_key(name) {
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
            (What::Refresh | What::Read { .. }, Outcome::TimedOut) => {
                self.say(Tone::Warning, "No answer in time.", now);
            }
            (What::Refresh | What::Read { .. }, Outcome::Failed { reason }) => {
                self.say(Tone::Warning, format!("{reason}."), now);
            }
            (What::Refresh | What::Read { .. }, Outcome::Refused(refusal)) => {
                self.say(Tone::Warning, words(refusal), now);
            }
            (_, Outcome::Done(word)) => {
                let took = now.since(asking.at).as_millis();
                self.done(&asking.what, word.as_deref(), took, now);
            }
            (what, Outcome::TimedOut) => {
                let text = unanswered(past(what));
                self.batch.refused += 1;
                self.write_log(format!("{}: {text}", name(what)), now);
                self.say(Tone::Warning, text, now);
                if let (Some(job), Some(asked)) = (what_job(what).cloned(), asked(what)) {
                    let effect = effects.push(Effect::ReadJob(job.clone()));
                    self.await_answer(effect, What::Settle { job, asked }, now);
                }
            }
            (what, Outcome::Failed { reason }) => {
                let text = format!("Not {}: {reason}. Nothing was sent.", past(what));
                self.refused(what, String::new(), text, now);
            }
            (what, Outcome::Refused(refusal)) => {
                let text = format!("{}: {}", not(past(what), refusal), words(refusal));
                let code = match refusal.status {
                    0 => refusal.code.to_string(),
                    status => format!("{status} {}", refusal.code),
                };
                self.refused(what, code, text, now);
            }
        }
        self.bind_review(model, now);
    }

    /// Asks to write down that secrets are shown. They are shown once that is on disk.
    pub(super) fn ask_reveal(&mut self, job: JobId, now: Timestamp, effects: &mut EffectQueue) {
        let effect = effects.push(Effect::LogReveal { job: job.clone() });
        self.await_answer(effect, What::Reveal { job }, now);
    }

    fn revealed(&mut self, job: &JobId, outcome: &Outcome, now: Timestamp) {
        let why = match outcome {
            Outcome::Done(_) => {
                if let Some(review) = self.review.as_mut().filter(|review| review.job == *job) {
                    review.revealed_until = Some(now.plus(REVEALED));
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
        let open = self
            .review
            .as_ref()
            .is_some_and(|review| review.job == *job);
        if did && open && asked != Asked::Cancel {
            self.review = None;
        }
    }

    fn done(&mut self, what: &What, word: Option<&str>, took_ms: u64, now: Timestamp) {
        self.batch.done += 1;
        let tail = what_job(what).map_or("", |job| tail(job.as_str()));
        let state = word.map_or(String::new(), |word| {
            format!(", now {}", word.to_ascii_lowercase())
        });
        let (text, twin) = match what {
            What::Cancel { job, reason } => (
                format!("cancel of {tail} taken in {took_ms}ms{state}."),
                format!("capdeck cancel {job} --reason '{reason}'"),
            ),
            What::Approve { job, note } => (
                format!("approved {tail} in {took_ms}ms."),
                format!("capdeck approve {job} --note '{note}'"),
            ),
            What::Reject { job, reason } => (
                format!("rejected {tail} in {took_ms}ms."),
                format!("capdeck reject {job} --reason '{reason}'"),
            ),
            What::Read { .. }
            | What::Reveal { .. }
            | What::Settle { .. }
            | What::Refresh
            | What::Keep { .. } => return,
        };
        self.write_log(format!("{text}  {twin}"), now);
        let Batch { of, done, refused } = self.batch;
        if of > 1 {
            let rest = if refused > 0 {
                format!(", {refused} not; :log tells why")
            } else {
                String::new()
            };
            self.say(
                if refused > 0 {
                    Tone::Warning
                } else {
                    Tone::Done
                },
                format!("cancel of {done} of {of} jobs taken{rest}."),
                now,
            );
        } else {
            self.say(Tone::Done, format!("{text}  {twin}"), now);
        }
        // A decision that was taken ends its review; the queue shows what is next.
        if matches!(what, What::Approve { .. } | What::Reject { .. })
            && self.review.as_ref().map(|review| &review.job) == what_job(what)
        {
            self.review = None;
        }
    }

    fn refused(&mut self, what: &What, code: String, text: String, now: Timestamp) {
        self.batch.refused += 1;
        self.write_log(text.clone(), now);
        let title = match what {
            What::Approve { .. } => "NOT APPROVED",
            What::Reject { .. } => "NOT REJECTED",
            What::Cancel { .. }
            | What::Read { .. }
            | What::Reveal { .. }
            | What::Settle { .. }
            | What::Refresh
            | What::Keep { .. } => "",
        };
        if let Some(review) = &mut self.review
            && Some(&review.job) == what_job(what)
            && !title.is_empty()
        {
            review.refused = Some(Refused {
                what: title,
                code,
                text: text.clone(),
                at: now,
            });
        }
        self.say(Tone::Failed, text, now);
    }
}

fn what_job(what: &What) -> Option<&JobId> {
    match what {
        What::Cancel { job, .. }
        | What::Approve { job, .. }
        | What::Reject { job, .. }
        | What::Read { job }
        | What::Reveal { job }
        | What::Settle { job, .. } => Some(job),
        What::Refresh | What::Keep { .. } => None,
    }
}

fn name(what: &What) -> String {
    match what {
        What::Cancel { job, .. } => format!("cancel of {job}"),
        What::Approve { job, .. } => format!("approval of {job}"),
        What::Reject { job, .. } => format!("rejection of {job}"),
        What::Read { job } | What::Settle { job, .. } => format!("reading of {job}"),
        What::Reveal { job } => format!("secrets of {job}"),
        What::Refresh => "refresh".to_owned(),
        What::Keep { name } => format!("keeping of {name}"),
    }
}

fn past(what: &What) -> &'static str {
    match what {
        What::Cancel { .. } => "cancelled",
        What::Approve { .. } => "approved",
        What::Reject { .. } => "rejected",
        What::Reveal { .. } => "shown",
        What::Read { .. } | What::Settle { .. } | What::Refresh => "read",
        What::Keep { .. } => "kept",
    }
}

fn asked(what: &What) -> Option<Asked> {
    match what {
        What::Cancel { .. } => Some(Asked::Cancel),
        What::Approve { .. } => Some(Asked::Approve),
        What::Reject { .. } => Some(Asked::Reject),
        What::Read { .. }
        | What::Reveal { .. }
        | What::Settle { .. }
        | What::Refresh
        | What::Keep { .. } => None,
    }
}

/// The last eight characters of an id, as lists show it.
fn tail(id: &str) -> &str {
    let start = id.char_indices().rev().nth(7).map_or(0, |(start, _)| start);
    &id[start..]
}
