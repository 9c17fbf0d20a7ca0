//! What stands in front of a view and has the keyboard: prompts, help, dialogs.
//!
//! A dialog names its object and its effect, and nothing in it happens by one
//! slip: `Enter` in a text never reaches a button, the first button goes back, and
//! what is dangerous is typed. Start at [`Form`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::{JobId, PoolName};
use crate::state::action::Edit;
use crate::state::ui::prompt::Text;
use crate::time::Elapsed;

/// After a dialog opens, and after each key in that time, keys are swallowed for
/// this long: hands that still type for what was there before do no harm. After a
/// list shifted under the cursor the same holds for acting keys.
pub const GUARD: Elapsed = Elapsed::from_millis(350);

/// The smallest window in which a dialog can be read and answered: columns, rows.
pub const NEEDS: (u16, u16) = (60, 16);

/// Something that has the keyboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Modal {
    /// The keys that work here, and those that do not, with the reason.
    Help(Help),
    /// A line for commands.
    Palette(Palette),
    /// A line for the filter of the list behind.
    Filter(FilterPrompt),
    /// Cancel one or more jobs.
    Cancel(CancelDialog),
    /// Approve the reviewed jobs.
    Approve(DecideDialog),
    /// Reject the reviewed jobs.
    Reject(DecideDialog),
    /// Retry a dead letter.
    Retry(RetryDialog),
    /// What was done in this session; scrolled by this many lines.
    Log(usize),
    /// What is under the cursor, as JSON; scrolled by this many lines.
    Json(usize),
    /// What policy says of a job now, rule by rule.
    Explain {
        /// The job.
        job: JobId,
        /// Lines scrolled.
        scroll: usize,
    },
    /// Why a pool is as it is, one sentence a link.
    Cause {
        /// The pool.
        pool: PoolName,
        /// Lines scrolled.
        scroll: usize,
    },
    /// The jobs that a candidate policy would judge otherwise, and in the same way.
    Flip {
        /// Which: [`Flip::key`].
        ///
        /// [`Flip::key`]: crate::state::model::what_if::Flip::key
        key: Arc<str>,
        /// Lines scrolled.
        scroll: usize,
    },
}

impl Modal {
    /// Whether it asks before it changes the world, so that the guard holds.
    pub fn is_dialog(&self) -> bool {
        self.form().is_some()
    }

    /// Its fields and buttons, if it is a dialog.
    pub fn form(&self) -> Option<&Form> {
        match self {
            Self::Cancel(dialog) => Some(&dialog.form),
            Self::Approve(dialog) | Self::Reject(dialog) => Some(&dialog.form),
            Self::Retry(dialog) => Some(&dialog.form),
            Self::Help(_)
            | Self::Palette(_)
            | Self::Filter(_)
            | Self::Log(_)
            | Self::Json(_)
            | Self::Explain { .. }
            | Self::Cause { .. }
            | Self::Flip { .. } => None,
        }
    }

    pub(super) fn form_mut(&mut self) -> Option<&mut Form> {
        match self {
            Self::Cancel(dialog) => Some(&mut dialog.form),
            Self::Approve(dialog) | Self::Reject(dialog) => Some(&mut dialog.form),
            Self::Retry(dialog) => Some(&mut dialog.form),
            Self::Help(_)
            | Self::Palette(_)
            | Self::Filter(_)
            | Self::Log(_)
            | Self::Json(_)
            | Self::Explain { .. }
            | Self::Cause { .. }
            | Self::Flip { .. } => None,
        }
    }

    /// The text that has the keyboard.
    pub(super) fn text_mut(&mut self) -> Option<&mut Text> {
        match self {
            Self::Help(help) => Some(&mut help.search),
            Self::Palette(palette) => Some(&mut palette.line),
            Self::Filter(prompt) => Some(&mut prompt.line),
            Self::Cancel(dialog) => dialog.form.text_mut(),
            Self::Approve(dialog) | Self::Reject(dialog) => dialog.form.text_mut(),
            Self::Retry(dialog) => dialog.form.text_mut(),
            Self::Log(_)
            | Self::Json(_)
            | Self::Explain { .. }
            | Self::Cause { .. }
            | Self::Flip { .. } => None,
        }
    }
}

/// The searchable list of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Help {
    /// What is searched for.
    pub search: Text,
    /// Lines scrolled.
    pub scroll: usize,
}

/// The command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Palette {
    /// What was typed.
    pub line: Text,
    /// Which completion is chosen, from 0.
    pub chosen: usize,
    /// What is wrong with the command that was tried.
    pub error: Option<String>,
}

/// The filter line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterPrompt {
    /// What was typed.
    pub line: Text,
    /// The filter to go back to.
    pub before: String,
    /// What is wrong with it, with the column.
    pub error: Option<String>,
    /// It was to be kept and could not be, so that the one before is in force again.
    pub refused: bool,
}

/// Which part of a dialog has the keyboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    /// The note or reason.
    Note,
    /// The line that must match.
    Typed,
    /// The safe button.
    GoBack,
    /// The button that acts.
    Act,
}

/// What a key made of a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Stay,
    GoBack,
    Act,
}

/// Fields and buttons of a dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// The note or reason.
    pub note: Text,
    /// Whether there is a note at all: some questions have nothing to be told.
    pub has_note: bool,
    /// Whether the note may not be empty.
    pub note_needed: bool,
    /// What must be typed before it acts, if anything must.
    pub wanted: Option<String>,
    /// What may be typed instead, with another meaning.
    pub or: Option<String>,
    /// What has been typed of it.
    pub typed: Text,
    /// Where the keyboard is.
    pub focus: Focus,
}

impl Form {
    pub(super) fn new(note: &str, note_needed: bool, wanted: Option<String>) -> Self {
        Self {
            note: Text::note().holding(note),
            has_note: true,
            note_needed,
            wanted,
            or: None,
            typed: Text::line(),
            focus: Focus::Note,
        }
    }

    /// Two buttons and nothing to type; the safe one has the focus.
    pub(super) fn plain() -> Self {
        Self {
            has_note: false,
            focus: Focus::GoBack,
            ..Self::new("", false, None)
        }
    }

    /// Whether the acting button works.
    pub fn ready(&self) -> bool {
        self.matches() && !(self.note_needed && self.note.is_blank())
    }

    /// Whether what must be typed was typed, to the last character.
    pub fn matches(&self) -> bool {
        let Some(wanted) = &self.wanted else {
            return true;
        };
        self.typed.value() == wanted || self.matches_other()
    }

    /// Whether what may be typed instead was typed.
    pub fn matches_other(&self) -> bool {
        self.or.as_deref() == Some(self.typed.value())
    }

    /// Asks for `wanted` from now on; what was typed for something else is gone.
    pub(super) fn want(&mut self, wanted: Option<String>) {
        if self.wanted != wanted {
            self.wanted = wanted;
            self.typed.clear();
            if self.wanted.is_none() && self.focus == Focus::Typed {
                self.focus = Focus::Note;
            }
            // Never under the hand that was about to press it.
            if self.focus == Focus::Act {
                self.focus = Focus::GoBack;
            }
        }
    }

    pub(super) fn step(&mut self, forward: bool) {
        let places: &[Focus] = if !self.has_note {
            &[Focus::GoBack, Focus::Act]
        } else if self.wanted.is_some() {
            &[Focus::Note, Focus::Typed, Focus::GoBack, Focus::Act]
        } else {
            &[Focus::Note, Focus::GoBack, Focus::Act]
        };
        let at = places.iter().position(|place| *place == self.focus);
        let at = at.unwrap_or(0) + places.len();
        let next = if forward { at + 1 } else { at - 1 };
        self.focus = places[next % places.len()];
    }

    pub(super) fn confirm(&mut self) -> Answer {
        match self.focus {
            Focus::Note => {
                if self.wanted.is_some() {
                    self.focus = Focus::Typed;
                }
                Answer::Stay
            }
            Focus::Typed | Focus::Act if self.ready() => Answer::Act,
            Focus::Typed | Focus::Act => {
                if self.note_needed && self.note.is_blank() {
                    self.focus = Focus::Note;
                }
                Answer::Stay
            }
            Focus::GoBack => Answer::GoBack,
        }
    }

    fn text_mut(&mut self) -> Option<&mut Text> {
        match self.focus {
            Focus::Note => Some(&mut self.note),
            Focus::Typed => Some(&mut self.typed),
            Focus::GoBack | Focus::Act => None,
        }
    }
}

/// Cancel one or more jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelDialog {
    /// The jobs it was opened for, in the order of the list.
    pub jobs: Vec<JobId>,
    /// Those that ended by themselves, or went, since; they are left out.
    pub ended: BTreeSet<JobId>,
    /// Reason and buttons.
    pub form: Form,
}

impl CancelDialog {
    pub(super) fn new(jobs: Vec<JobId>) -> Self {
        let wanted = Self::wanted(jobs.len());
        Self {
            jobs,
            ended: BTreeSet::new(),
            form: Form::new("", false, wanted),
        }
    }

    fn wanted(count: usize) -> Option<String> {
        (count > 1).then(|| format!("cancel {count}"))
    }

    /// The jobs that would be cancelled now.
    pub fn left(&self) -> impl Iterator<Item = &JobId> {
        self.jobs.iter().filter(|job| !self.ended.contains(*job))
    }

    /// Leaves out what `in_flight` no longer holds. If the number falls, what was
    /// typed must be typed again.
    pub(super) fn look(&mut self, in_flight: impl Fn(&JobId) -> bool) {
        let before = self.ended.len();
        for job in &self.jobs {
            if !self.ended.contains(job) && !in_flight(job) {
                self.ended.insert(job.clone());
            }
        }
        if self.ended.len() != before {
            let left = self.left().count();
            // One of several stays a typed number: the hand is at that field.
            let wanted = if self.jobs.len() > 1 {
                Some(format!("cancel {left}"))
            } else {
                None
            };
            self.form.want(wanted);
        }
    }
}

/// Approve or reject the reviewed jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecideDialog {
    /// What is decided: `approve` or `reject`.
    pub verb: &'static str,
    /// The jobs it was opened for, in the order they are decided.
    pub jobs: Vec<JobId>,
    /// Those that ended or moved since, and how; they are left out.
    pub out: BTreeMap<JobId, String>,
    /// The job on the screen behind it.
    pub shown: JobId,
    /// Note or reason, and buttons.
    pub form: Form,
}

impl DecideDialog {
    /// A dialog about one job, confirmed by `wanted` where something must be typed.
    pub(super) fn about_one(
        verb: &'static str,
        job: JobId,
        text: &str,
        wanted: Option<String>,
    ) -> Self {
        Self {
            verb,
            jobs: vec![job.clone()],
            out: BTreeMap::new(),
            shown: job,
            form: Form::new(text, true, wanted),
        }
    }

    /// A dialog about several jobs, confirmed by typing how many.
    pub(super) fn about_several(
        verb: &'static str,
        jobs: Vec<JobId>,
        shown: JobId,
        text: &str,
    ) -> Self {
        let mut dialog = Self {
            verb,
            jobs,
            out: BTreeMap::new(),
            shown,
            form: Form::new(text, true, None),
        };
        dialog.ask_number();
        dialog
    }

    /// The jobs that would be decided now.
    pub fn left(&self) -> impl Iterator<Item = &JobId> {
        self.jobs.iter().filter(|job| !self.out.contains_key(*job))
    }

    /// The jobs that were confirmed by what was typed.
    pub fn chosen(&self) -> Vec<JobId> {
        let only = self.jobs.len() > 1 && self.form.matches_other();
        self.left()
            .filter(|job| !only || **job == self.shown)
            .cloned()
            .collect()
    }

    /// Leaves out the jobs of `blocked`. If the number falls, what was typed must
    /// be typed again. A dialog about one job keeps it and says why when it is
    /// confirmed.
    pub(super) fn look(&mut self, blocked: &BTreeMap<JobId, String>) {
        if self.jobs.len() < 2 {
            return;
        }
        let before = self.out.len();
        for job in &self.jobs {
            if let Some(why) = blocked.get(job)
                && !self.out.contains_key(job)
            {
                self.out.insert(job.clone(), why.clone());
            }
        }
        if self.out.len() != before {
            self.ask_number();
        }
    }

    fn ask_number(&mut self) {
        let left = self.left().count();
        // A yes is for all of them; one may be refused and the others wait on.
        let one = self.verb == "reject" && left > 1 && self.left().any(|job| *job == self.shown);
        self.form.want(Some(format!("{} {left}", self.verb)));
        self.form.or = one.then(|| format!("{} 1", self.verb));
    }
}

/// Retry a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryDialog {
    /// The job of the letter.
    pub job: JobId,
    /// The buttons.
    pub form: Form,
}

/// Applies an edit to the text with the keyboard. Says whether something changed.
pub(super) fn edit(modal: &mut Modal, edit: Edit) -> bool {
    modal.text_mut().is_some_and(|text| text.edit(edit))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs keys on a cancel dialog for the jobs `a`, `b` …: words are typed, `Tab`
    /// and `Enter` pressed, `-x` ends job `x`. Tells focus and what Enter did last.
    fn check(jobs: &str, keys: &str, expected: &str) {
        let jobs: Vec<JobId> = jobs.chars().map(|c| c.to_string().into()).collect();
        let mut modal = Modal::Cancel(CancelDialog::new(jobs));
        let mut answer = Answer::Stay;
        for key in keys.split('|').map(str::trim) {
            match key {
                "Tab" => modal.form_mut().expect("form").step(true),
                "BackTab" => modal.form_mut().expect("form").step(false),
                "Enter" => answer = modal.form_mut().expect("form").confirm(),
                _ if key.starts_with('-') => {
                    let Modal::Cancel(dialog) = &mut modal else {
                        panic!("a cancel dialog")
                    };
                    dialog.look(|job| job.as_str() != &key[1..]);
                }
                text => {
                    for c in text.chars() {
                        edit(&mut modal, Edit::Insert(c));
                    }
                }
            }
        }
        let form = modal.form().expect("form");
        assert_eq!(
            format!(
                "{:?} {answer:?} {}/{}",
                form.focus,
                form.typed.value(),
                form.wanted.as_deref().unwrap_or("-")
            ),
            expected,
            "{keys}"
        );
    }

    #[test]
    fn enter_in_the_reason_never_reaches_a_button() {
        check("a", "wrong model | Enter | Enter", "Note Stay /-");
        check("ab", "why | Enter", "Typed Stay /cancel 2");
    }

    #[test]
    fn the_first_button_goes_back() {
        check("a", "Tab | Enter", "GoBack GoBack /-");
        check("a", "Tab | Tab | Enter", "Act Act /-");
        check("a", "BackTab", "Act Stay /-");
    }

    #[test]
    fn several_jobs_need_their_number_typed_to_the_last_character() {
        check("ab", "Tab | cancel | Enter", "Typed Stay cancel/cancel 2");
        check("ab", "Tab | Tab | Tab | Enter", "Act Stay /cancel 2");
        check(
            "ab",
            "Tab | cancel 2 | Enter",
            "Typed Act cancel 2/cancel 2",
        );
    }

    /// As [`check`] for a decision about `jobs` while `b` is on the screen: what is
    /// wanted, and what would be decided.
    fn check_decision(verb: &'static str, jobs: &str, keys: &str, expected: &str) {
        let jobs: Vec<JobId> = jobs.chars().map(|c| c.to_string().into()).collect();
        let mut dialog = DecideDialog::about_several(verb, jobs, "b".into(), "why");
        dialog.form.focus = Focus::Typed;
        for key in keys.split('|').map(str::trim) {
            match key.strip_prefix('-') {
                Some(job) => dialog.look(&[(JobId::from(job), "gone".to_owned())].into()),
                None => key.chars().for_each(|c| {
                    dialog.form.typed.edit(Edit::Insert(c));
                }),
            }
        }
        let chosen: String = dialog.chosen().iter().map(|job| job.as_str()).collect();
        let wanted = dialog.form.wanted.as_deref().unwrap_or("-");
        let or = dialog.form.or.as_deref().unwrap_or("-");
        let ready = if dialog.form.ready() { &*chosen } else { "no" };
        assert_eq!(format!("{wanted}/{or}: {ready}"), expected, "{keys}");
    }

    #[test]
    fn a_yes_is_for_all_of_them_and_a_no_may_be_for_the_one_that_is_shown() {
        check_decision("approve", "abc", "approve 3", "approve 3/-: abc");
        check_decision("approve", "abc", "approve 1", "approve 3/-: no");
        check_decision("reject", "abc", "reject 3", "reject 3/reject 1: abc");
        check_decision("reject", "abc", "reject 1", "reject 3/reject 1: b");
    }

    #[test]
    fn a_decision_about_fewer_must_be_typed_again() {
        check_decision("approve", "abc", "approve 3|-a", "approve 2/-: no");
        check_decision(
            "approve",
            "abc",
            "approve 3|-a|approve 2",
            "approve 2/-: bc",
        );
        check_decision("reject", "abc", "reject 1|-b", "reject 2/-: no");
        check_decision("reject", "ab", "-a|reject 1", "reject 1/-: b");
    }

    #[test]
    fn a_job_that_ends_meanwhile_must_be_counted_again() {
        check("abc", "Tab | cancel 3 | -b | Enter", "Typed Stay /cancel 2");
        check(
            "abc",
            "Tab | cancel 3 | Tab | Tab | -b",
            "GoBack Stay /cancel 2",
        );
    }
}
