//! What the operator does with the model: view, cursor, marks, dialogs.
//!
//! Keys arrive here as [`Action`]s and leave as [`Effect`]s; nothing is drawn and
//! nothing is asked of the terminal. An action that changes the world passes three
//! gates: the guard against hands that are too fast, the reasons why it cannot work
//! now ([`UiState::refusal`]), and a dialog. Start at [`UiState::update`].
//!
//! [`Effect`]: crate::state::effect::Effect
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "an action that a mode does not name does nothing in it"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::ids::{JobId, PoolName};
use crate::state::action::{Action, Drawn};
use crate::state::effect::{Effect, EffectId, EffectQueue};
use crate::state::event::Event;
use crate::state::model::Model;
use crate::state::model::traces::TraceOf;
use crate::time::{Elapsed, Timestamp};

mod act;
mod aim;
mod asking;
pub mod bell;
pub mod command;
mod compensations;
mod decide;
pub mod history;
pub mod list;
mod lives;
pub mod modal;
mod navigate;
pub mod order;
mod places;
mod policy;
pub mod prompt;
mod refusal;
mod retry;
pub mod review;
pub mod saved;
#[cfg(test)]
mod tests;
mod trying;
mod undo;
mod words;

pub use places::{Detail, List, ListId, View, WorkersAs};

use asking::{Asking, Batch, What};
use bell::Bell;
use history::{History, Place};
use list::{ListState, Subject};
use modal::{GUARD, Modal};
use review::Review;
use review::together::Reviews;
use saved::SavedViews;
use trying::Trial;
use undo::Undo;

/// How long the footer shows how an action ended.
pub const FOOTER_STAYS: Elapsed = Elapsed::from_secs(6);

/// Within this time a second `ctrl-c` quits although an action is under way.
pub const QUIT_AGAIN: Elapsed = Elapsed::from_secs(1);

/// Lines of `:log` kept.
const LOG_LINES: usize = 500;

/// The model as it was when the screen was frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// When.
    pub at: Timestamp,
    /// What was known then. Shares all rows that have not changed since.
    pub model: Arc<Model>,
}

/// How a line of the footer is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// It was done.
    Done,
    /// It is under way, or only said.
    Muted,
    /// It was refused, or is not known.
    Warning,
    /// It failed.
    Failed,
}

/// A line that takes the place of the key hints for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// What it says.
    pub text: String,
    /// How it is meant.
    pub tone: Tone,
    /// Since when.
    pub at: Timestamp,
}

/// A line of `:log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub at: Timestamp,
    /// What was asked, or how it ended.
    pub text: String,
}

/// A key that a guard swallowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// What it would have meant.
    pub action: Action,
    /// Why it was ignored.
    pub why: &'static str,
    /// When.
    pub at: Timestamp,
}

/// What this console may do, and for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manners {
    /// `--read-only`: nothing that acts works.
    pub read_only: bool,
    /// The operator's name, as the plane will record it.
    pub operator: Arc<str>,
    /// Whether the bell never rings.
    pub silent: bool,
    /// The views that are kept by name.
    pub saved: SavedViews,
}

/// What the operator looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UiState {
    /// Read-only, and the operator's name.
    pub manners: Manners,
    view: View,
    pane: usize,
    rollback_pane: usize,
    policy_pane: usize,
    /// The candidate policy that was tried last, while its pane is open.
    trial: Option<Trial>,
    /// Whose steps [`ListId::Steps`] has.
    steps_of: Option<Subject>,
    trace: Option<TraceOf>,
    /// When policy was asked for last.
    policy_asked: Option<Timestamp>,
    /// Why the last question about policy was not answered.
    policy_refused: Option<Arc<str>>,
    /// Why policy did not explain the job that it was asked to explain last.
    unexplained: Option<(JobId, Arc<str>)>,
    /// Undos that policy was asked about just now: when, and which was in force.
    undos_asked: BTreeMap<JobId, (Timestamp, Option<Arc<str>>)>,
    /// When it was last looked which undos are in sight.
    undos_looked: Option<Timestamp>,
    /// Which jobs of the trace were asked about.
    lives: lives::Lives,
    /// Jobs of the trace whose descendants are hidden.
    folded: BTreeSet<JobId>,
    workers_as: WorkersAs,
    open_pools: BTreeSet<PoolName>,
    detail: Option<Detail>,
    review: Option<Reviews>,
    readings: u64,
    lists: BTreeMap<ListId, List>,
    history: History,
    modals: Vec<Modal>,
    guard_until: Timestamp,
    ignored: Option<Ignored>,
    last_key: Option<Timestamp>,
    size: (u16, u16),
    drawn: Drawn,
    wide: bool,
    themes_forward: u32,
    frozen: Option<Frozen>,
    footer: Option<Footer>,
    log: VecDeque<LogLine>,
    asking: BTreeMap<EffectId, Asking>,
    batch: Batch,
    quit_asked: Option<Timestamp>,
    quitting: bool,
    bell: Bell,
    undo: Option<Undo>,
}

impl UiState {
    /// A console that starts in the overview.
    pub fn new(manners: Manners) -> Self {
        Self {
            manners,
            ..Self::default()
        }
    }

    /// The view that is shown.
    pub fn view(&self) -> View {
        self.view
    }

    /// How the workers are shown.
    pub fn workers_as(&self) -> WorkersAs {
        self.workers_as
    }

    /// Pools that are open in the list by pool.
    pub fn open_pools(&self) -> &BTreeSet<PoolName> {
        &self.open_pools
    }

    /// The trace that is looked at.
    pub fn trace(&self) -> Option<&TraceOf> {
        self.trace.as_ref()
    }

    /// Jobs of the trace whose descendants are hidden.
    pub fn folded(&self) -> &BTreeSet<JobId> {
        &self.folded
    }

    /// The job detail, if one is open.
    pub fn detail(&self) -> Option<&Detail> {
        self.detail.as_ref()
    }

    /// The review on the screen, if one is open.
    pub fn review(&self) -> Option<&Review> {
        self.review.as_ref().map(Reviews::shown)
    }

    /// All jobs that are reviewed together, if a review is open.
    pub fn reviews(&self) -> Option<&Reviews> {
        self.review.as_ref()
    }

    /// What is in front of the view, the frontmost last.
    pub fn modals(&self) -> &[Modal] {
        &self.modals
    }

    /// What has the keyboard instead of the view.
    pub fn modal(&self) -> Option<&Modal> {
        self.modals.last()
    }

    /// Whether keys are still swallowed because a dialog has just opened.
    pub fn is_guarded(&self, now: Timestamp) -> bool {
        now < self.guard_until && self.modal().is_some_and(Modal::is_dialog)
    }

    /// The list that the keyboard moves in.
    pub fn list_id(&self) -> ListId {
        match (self.view, self.workers_as) {
            (View::Overview, _) => ListId::OVERVIEW[self.pane.min(ListId::OVERVIEW.len() - 1)],
            (View::Approvals, _) => ListId::Approvals,
            (View::Jobs, _) => ListId::Jobs,
            (View::Rollbacks, _) => {
                ListId::ROLLBACKS[self.rollback_pane.min(ListId::ROLLBACKS.len() - 1)]
            }
            (View::Policy, _) if self.in_trial() => ListId::Flips,
            (View::Policy, _) => ListId::Rules,
            (View::Traces, _) => ListId::Trace,
            (View::Workers, WorkersAs::Pools) => ListId::Pools,
            (View::Workers, WorkersAs::HeatMap) => ListId::HeatMap,
            (View::Workers, WorkersAs::Table) => ListId::Workers,
        }
    }

    /// A list; an untouched one if it has never been shown.
    pub fn list(&self, id: ListId) -> &List {
        static UNTOUCHED: List = List::untouched();
        self.lists.get(&id).unwrap_or(&UNTOUCHED)
    }

    /// The list that the keyboard moves in.
    pub fn current(&self) -> &List {
        self.list(self.list_id())
    }

    fn list_mut(&mut self, id: ListId) -> &mut List {
        self.lists.entry(id).or_default()
    }

    fn current_mut(&mut self) -> &mut List {
        self.list_mut(self.list_id())
    }

    /// What is under the cursor, or open.
    pub fn subject(&self) -> Option<Subject> {
        if let Some(review) = self.review() {
            return Some(Subject::Job(review.job.clone()));
        }
        if let Some(detail) = &self.detail {
            return Some(Subject::Job(detail.job.clone()));
        }
        self.current().state.selected().cloned()
    }

    /// The size of the window: columns, rows.
    pub fn size(&self) -> (u16, u16) {
        self.size
    }

    /// Whether the window is too small to decide anything in it.
    pub fn is_too_small(&self) -> bool {
        let (columns, rows) = self.size;
        self.size != (0, 0) && (columns < modal::NEEDS.0 || rows < modal::NEEDS.1)
    }

    /// What the last frame showed.
    pub fn drawn(&self) -> Drawn {
        self.drawn
    }

    /// Whether more columns are asked for, or long words cut.
    pub fn wide(&self) -> bool {
        self.wide
    }

    /// How often the next theme was asked for.
    pub fn themes_forward(&self) -> u32 {
        self.themes_forward
    }

    /// The model as it was frozen, if it is.
    pub fn frozen(&self) -> Option<&Frozen> {
        self.frozen.as_ref()
    }

    /// The model to draw: the frozen one, or `live`.
    pub fn shown<'a>(&'a self, live: &'a Model) -> &'a Model {
        self.frozen.as_ref().map_or(live, |frozen| &frozen.model)
    }

    /// The instant that ages are counted to: that of the freeze, or `now`.
    pub fn shown_at(&self, now: Timestamp) -> Timestamp {
        self.frozen.as_ref().map_or(now, |frozen| frozen.at)
    }

    /// What the footer says instead of the keys, if its time is not over.
    pub fn footer(&self, now: Timestamp) -> Option<&Footer> {
        self.footer
            .as_ref()
            .filter(|footer| now.since(footer.at) < FOOTER_STAYS)
    }

    /// The key that was last swallowed, if that was just now.
    pub fn ignored(&self, now: Timestamp) -> Option<&Ignored> {
        self.ignored
            .as_ref()
            .filter(|ignored| now.since(ignored.at) < QUIT_AGAIN)
    }

    /// What was done in this session, the oldest first.
    pub fn log(&self) -> impl DoubleEndedIterator<Item = &LogLine> + ExactSizeIterator {
        self.log.iter()
    }

    /// How many actions that change the world are under way.
    pub fn under_way(&self) -> usize {
        self.asking.values().map(|it| it.what.acts()).sum()
    }

    /// Whether the console is to end.
    pub fn quitting(&self) -> bool {
        self.quitting
    }

    /// Whether letters are text, and whether buttons stand below it.
    pub fn takes_text(&self) -> bool {
        matches!(
            self.modal(),
            Some(Modal::Help(_) | Modal::Palette(_) | Modal::Filter(_))
        )
    }

    /// Takes in what the operator asks for.
    pub fn update(
        &mut self,
        action: &Action,
        model: &mut Model,
        now: Timestamp,
        effects: &mut EffectQueue,
    ) {
        self.forget_undo(now);
        match action {
            Action::Resize { columns, rows } => self.size = (*columns, *rows),
            Action::Drawn(drawn) => self.take_drawn(*drawn),
            Action::Focused(focused) => self.bell.focus(*focused),
            _ if self.is_guarded(now) => {
                self.guard_until = now.plus(GUARD);
                self.ignored = Some(Ignored {
                    action: action.clone(),
                    why: "the dialog had just opened",
                    at: now,
                });
            }
            _ if action.acts() && self.shifted_just_now(now) => {
                self.current_mut().state.shift(now);
                self.ignored = Some(Ignored {
                    action: action.clone(),
                    why: "the list had just moved",
                    at: now,
                });
            }
            _ => {
                self.last_key = Some(now);
                self.ignored = None;
                if !matches!(action, Action::Quit) {
                    self.quit_asked = None;
                }
                self.press(action, model, now, effects);
            }
        }
        self.keep_up(model, now, false);
        self.keep_policy_fresh(model, now, effects);
        self.keep_undos_judged(model, now, effects);
        self.keep_lives_told(None, model, now, effects);
    }

    /// Looks at what the model has just taken in: an answer to an effect, a job
    /// that ended while its dialog is open.
    pub fn notice(
        &mut self,
        event: &Event,
        model: &mut Model,
        now: Timestamp,
        effects: &mut EffectQueue,
    ) {
        if let Event::Outcome(id, outcome) = event {
            self.answered(*id, outcome, model, now, effects);
        }
        if let Event::Approvals(_) = event {
            self.bind_reviews(model, now);
        }
        if let Event::Tried(_) = event {
            self.list_mut(ListId::Flips).state = ListState::default();
        }
        let live = self.frozen.is_none();
        if self.bell.hear(event, model, now, live) && !self.manners.silent {
            effects.push(Effect::Bell);
        }
        self.keep_up(model, now, matches!(event, Event::Packet(_)));
        self.keep_policy_fresh(model, now, effects);
        if self.may_look_for_undos(event, now) {
            self.keep_undos_judged(model, now, effects);
        }
        self.keep_lives_told(Some(event), model, now, effects);
    }

    /// Brings orders, marks and dialogs up to what the model holds.
    fn keep_up(&mut self, model: &Model, now: Timestamp, after_a_packet: bool) {
        self.forget_undo(now);
        for modal in &mut self.modals {
            if let Modal::Cancel(dialog) = modal {
                dialog.look(|job| {
                    model
                        .jobs
                        .get(job)
                        .is_some_and(|job| !job.state.is_some_and(|state| state.is_terminal()))
                });
            }
        }
        self.keep_dialogs_up(model, after_a_packet);
        if self.frozen.is_none() {
            self.unmark_ended(model);
            self.order_lists(model, now);
        }
    }

    fn shifted_just_now(&self, now: Timestamp) -> bool {
        self.modals.is_empty()
            && self.detail.is_none()
            && self.review.is_none()
            && self
                .current()
                .state
                .shifted_at()
                .is_some_and(|at| now.since(at) < GUARD)
    }

    fn take_drawn(&mut self, drawn: Drawn) {
        self.drawn = drawn;
        if self.modals.is_empty()
            && let Some(reviews) = &mut self.review
            && let Some(payload) = drawn.payload
        {
            reviews.shown_mut().drawn(payload);
        }
    }

    fn press(
        &mut self,
        action: &Action,
        model: &mut Model,
        now: Timestamp,
        effects: &mut EffectQueue,
    ) {
        match action {
            Action::Quit => self.quit(now, effects),
            Action::Suspend => {
                effects.push(Effect::Suspend);
            }
            Action::Repaint => {
                effects.push(Effect::Repaint);
            }
            _ if !self.modals.is_empty() => self.press_in_modal(action, model, now, effects),
            _ => self.press_in_view(action, model, now, effects),
        }
    }

    fn quit(&mut self, now: Timestamp, effects: &mut EffectQueue) {
        let again = self
            .quit_asked
            .is_some_and(|at| now.since(at) <= QUIT_AGAIN);
        let under_way = self.under_way();
        if under_way > 0 && !again {
            self.quit_asked = Some(now);
            let actions = if under_way == 1 {
                "action is"
            } else {
                "actions are"
            };
            self.say(
                Tone::Warning,
                format!("{under_way} {actions} under way. Press again within a second to quit."),
                now,
            );
        } else {
            self.quitting = true;
            effects.push(Effect::Quit);
        }
    }

    fn open_modal(&mut self, modal: Modal, now: Timestamp) {
        if modal.is_dialog() {
            self.guard_until = now.plus(GUARD);
        }
        self.modals.push(modal);
    }

    fn say(&mut self, tone: Tone, text: impl Into<String>, now: Timestamp) {
        self.footer = Some(Footer {
            text: text.into(),
            tone,
            at: now,
        });
    }

    fn write_log(&mut self, text: impl Into<String>, now: Timestamp) {
        if self.log.len() >= LOG_LINES {
            self.log.pop_front();
        }
        self.log.push_back(LogLine {
            at: now,
            text: text.into(),
        });
    }

    fn here(&self) -> Place {
        Place {
            view: self.view,
            open: (self.detail.is_some() || self.review.is_some())
                .then(|| self.subject())
                .flatten(),
        }
    }

    /// Lines of the list that has the keyboard; a guess before the first frame.
    fn height(&self) -> usize {
        usize::from(self.drawn.height.max(1))
    }
}
