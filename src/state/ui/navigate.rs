//! Looking around: cursor, views, history, filters, marks, freeze.

use std::sync::Arc;

use super::history::Place;
use super::list::{ListState, Subject};
use super::lives::can_be_asked;
use super::modal::{FilterPrompt, Help, Modal, Palette};
use super::prompt::Text;
use super::review::together::Reviews;
use super::{Detail, Frozen, ListId, Tone, UiState, View, WorkersAs};
use crate::ids::{PoolName, TraceId};
use crate::state::action::Action;
use crate::state::effect::{Effect, EffectQueue};
use crate::state::model::Model;
use crate::state::model::traces::TraceOf;
use crate::time::Timestamp;

impl UiState {
    /// A key while nothing stands in front of the view.
    pub(super) fn press_in_view(
        &mut self,
        action: &Action,
        model: &mut Model,
        now: Timestamp,
        effects: &mut EffectQueue,
    ) {
        if let Some(reason) = self.refusal(action, model) {
            return self.say(Tone::Warning, reason, now);
        }
        let page = i64::try_from(self.height()).unwrap_or(i64::MAX);
        let line = i64::from(self.drawn.columns.max(1));
        match action {
            Action::Down => self.move_by(line),
            Action::Up => self.move_by(-line),
            Action::First => self.move_by(i64::MIN),
            Action::Last => self.move_by(i64::MAX),
            Action::HalfPageDown => self.move_by((page / 2).max(1)),
            Action::HalfPageUp => self.move_by(-(page / 2).max(1)),
            Action::PageDown => self.move_by(page),
            Action::PageUp => self.move_by(-page),
            Action::MoveBy(rows) => self.move_by(*rows),
            Action::NextMatch | Action::PreviousMatch => {
                let forward = *action == Action::NextMatch;
                match &mut self.review {
                    Some(reviews) => reviews.step(forward),
                    None => self.move_by(if forward { 1 } else { -1 }),
                }
            }
            Action::Left => self.sideways(false, model),
            Action::Right => self.sideways(true, model),
            Action::Open => self.open(model, now, effects),
            Action::Detail => self.open_detail(model, effects, now),
            Action::Review => self.open_review(model, effects, now),
            Action::Back => self.back(model, now),
            Action::Close => {
                if !self.close_what_is_open(model) {
                    self.quit(now, effects);
                }
            }
            Action::Overview => self.show_view(View::Overview, model),
            Action::Approvals => self.show_view(View::Approvals, model),
            Action::Jobs => self.show_view(View::Jobs, model),
            Action::Workers => self.show_view(View::Workers, model),
            Action::Policy => self.show_view(View::Policy, model),
            Action::Explain => self.ask_why(model, effects, now),
            Action::WhatIf => self.ask_candidate(now),
            Action::Rollbacks => self.show_view(View::Rollbacks, model),
            Action::Traces => self.show_view(View::Traces, model),
            Action::NextView => self.step_view(1, model),
            Action::PreviousView => self.step_view(View::ALL.len() - 1, model),
            Action::LastView => {
                if let Some(place) = self.history.last_view(&self.here()) {
                    self.history.leave(self.here());
                    self.go(place, model, effects, now);
                }
            }
            Action::HistoryBack => {
                if let Some(place) = self.history.back(self.here()) {
                    self.go(place, model, effects, now);
                }
            }
            Action::HistoryForward => {
                if let Some(place) = self.history.forward(self.here()) {
                    self.go(place, model, effects, now);
                }
            }
            Action::Help => self.open_modal(
                Modal::Help(Help {
                    search: Text::line(),
                    scroll: 0,
                }),
                now,
            ),
            Action::Palette => self.open_modal(
                Modal::Palette(Palette {
                    line: Text::line(),
                    chosen: 0,
                    error: None,
                }),
                now,
            ),
            Action::Filter => {
                let before = self.current().filter_text.clone();
                self.open_modal(
                    Modal::Filter(FilterPrompt {
                        line: Text::line().holding(&before),
                        before,
                        error: None,
                        refused: false,
                    }),
                    now,
                );
            }
            Action::Log => self.open_modal(Modal::Log(0), now),
            Action::Sort => {
                let id = self.list_id();
                let list = self.list_mut(id);
                list.sort = (list.sort + 1) % id.sorts().len();
                list.state.invalidate();
            }
            Action::Reverse => {
                let list = self.current_mut();
                list.reverse = !list.reverse;
                list.state.invalidate();
            }
            Action::Mark => {
                self.current_mut().state.toggle_mark();
            }
            Action::Freeze if self.frozen.is_some() => self.go_live(),
            Action::Freeze => {
                self.frozen = Some(Frozen {
                    at: now,
                    model: Arc::new(model.clone()),
                });
            }
            Action::Live => self.go_live(),
            Action::Wide => self.wide = !self.wide,
            Action::ByPool => self.show_workers_as(WorkersAs::Pools, model),
            Action::HeatMap => self.show_workers_as(WorkersAs::HeatMap, model),
            Action::CopyId => {
                if let Some(subject) = self.subject() {
                    effects.push(Effect::CopyText(subject.id().into()));
                    self.say(Tone::Done, format!("Copied {subject}."), now);
                }
            }
            Action::CopyJson => {
                effects.push(Effect::CopyJson);
                if let Some(subject) = self.subject() {
                    self.say(Tone::Done, format!("Copied {subject} as JSON."), now);
                }
            }
            Action::Json => self.open_modal(Modal::Json(0), now),
            Action::Undo => self.take_back(effects, now),
            Action::SaveView => self.ask_name(now),
            Action::Reload => self.reload(model, effects, now),
            Action::Theme => self.themes_forward = self.themes_forward.wrapping_add(1),
            Action::Reveal => {
                if let Some(review) = self.review() {
                    let job = review.job.clone();
                    self.ask_reveal(job, now, effects);
                }
            }
            Action::Cancel => self.ask_cancel(model, now),
            Action::Approve => self.ask_approve(model, now),
            Action::Reject => self.ask_reject(model, now),
            Action::Retry => self.ask_retry(now),
            Action::Quit | Action::Suspend | Action::Repaint => {}
            Action::NextField
            | Action::PreviousField
            | Action::Confirm
            | Action::Complete
            | Action::Edit(_)
            | Action::Paste(_)
            | Action::Unbound
            | Action::Resize { .. }
            | Action::Drawn(_)
            | Action::Focused(_) => {}
        }
    }

    pub(super) fn go_live(&mut self) {
        self.frozen = None;
        for list in self.lists.values_mut() {
            list.state.invalidate();
        }
    }

    fn move_by(&mut self, rows: i64) {
        let height = self.height();
        let last = (self.drawn.rows as usize).saturating_sub(height);
        let scrolled = |at: usize| {
            let rows =
                isize::try_from(rows).unwrap_or(if rows < 0 { isize::MIN } else { isize::MAX });
            at.saturating_add_signed(rows).min(last)
        };
        if let Some(review) = self.review.as_mut().map(Reviews::shown_mut) {
            if review.facts {
                review.facts_scroll = scrolled(review.facts_scroll);
            } else {
                review.scroll = scrolled(review.scroll);
            }
        } else if let Some(detail) = &mut self.detail {
            let at = &mut detail.scroll[detail.pane];
            *at = scrolled(*at);
        } else {
            self.current_mut().state.move_by(rows, height);
        }
    }

    fn sideways(&mut self, right: bool, model: &Model) {
        if let Some(review) = self.review.as_mut().map(Reviews::shown_mut) {
            review.facts = right;
            return;
        }
        let step = |at: usize, of: usize| if right { at + 1 } else { at + of - 1 } % of;
        if let Some(detail) = &mut self.detail {
            detail.pane = step(detail.pane, Detail::PANES);
            return;
        }
        match self.list_id() {
            ListId::Pressure | ListId::OldestApprovals | ListId::Alerts => {
                self.pane = step(self.pane, ListId::OVERVIEW.len());
            }
            ListId::Rollbacks | ListId::Steps | ListId::DeadLetters => {
                self.rollback_pane = step(self.rollback_pane, ListId::ROLLBACKS.len());
            }
            ListId::HeatMap => self.move_by(if right { 1 } else { -1 }),
            ListId::Pools => {
                let pool = match self.current().state.selected() {
                    Some(Subject::Worker(worker)) => {
                        model.workers.get(worker).and_then(|it| it.pool.clone())
                    }
                    selected => selected.and_then(Subject::pool).cloned(),
                };
                if let Some(pool) = pool {
                    if right {
                        self.open_pools.insert(pool);
                        self.current_mut().state.invalidate();
                    } else {
                        self.open_pools.remove(&pool);
                        self.current_mut().state.aim(Subject::Pool(pool));
                    }
                }
            }
            ListId::Trace => self.fold(!right),
            ListId::Rules | ListId::Flips => {
                self.policy_pane = step(self.policy_pane, ListId::POLICY.len());
            }
            ListId::Approvals | ListId::Jobs | ListId::Workers => {}
        }
    }

    fn open(&mut self, model: &mut Model, now: Timestamp, effects: &mut EffectQueue) {
        if self.review.is_some() || self.detail.is_some() {
            return;
        }
        let subject = self.current().state.selected().cloned();
        let marked = !self.current().state.marks().is_empty();
        match (self.list_id(), subject) {
            (ListId::Approvals, _) if marked => self.open_review(model, effects, now),
            (ListId::Approvals | ListId::OldestApprovals, Some(Subject::Job(_))) => {
                self.open_review(model, effects, now);
            }
            (ListId::Rollbacks, Some(_)) => self.rollback_pane = 1,
            (_, Some(Subject::Job(_))) => self.open_detail(model, effects, now),
            (ListId::Pools, Some(Subject::Pool(pool))) => {
                if !self.open_pools.remove(&pool) {
                    self.open_pools.insert(pool);
                }
                self.current_mut().state.invalidate();
            }
            (ListId::Pressure, Some(Subject::Pool(pool))) => {
                self.open_modal(Modal::Cause { pool, scroll: 0 }, now);
            }
            (_, Some(Subject::Pool(pool))) => self.show_pool(pool, model),
            (_, Some(Subject::Worker(worker))) => {
                self.show_view(View::Jobs, model);
                // The filter language quotes nothing, and ids hold no blanks in practice.
                let error = self.set_filter(&format!("worker:{worker}"));
                if let Some(error) = error {
                    self.say(Tone::Warning, error, now);
                }
            }
            (_, Some(Subject::Rule(Some(rule)))) => {
                self.show_view(View::Jobs, model);
                let error = self.set_filter(&format!("rule:{rule}"));
                if let Some(error) = error {
                    self.say(Tone::Warning, error, now);
                }
            }
            (_, Some(Subject::Flip(key))) => {
                self.open_modal(Modal::Flip { key, scroll: 0 }, now);
            }
            (
                _,
                Some(
                    Subject::Alert(_)
                    | Subject::Workflow(_)
                    | Subject::Unseen
                    | Subject::Rule(None),
                )
                | None,
            ) => {}
        }
    }

    /// Shows the workers of a pool.
    pub(super) fn show_pool(&mut self, pool: PoolName, model: &Model) {
        self.show_view(View::Workers, model);
        self.workers_as = WorkersAs::Pools;
        self.open_pools.insert(pool.clone());
        self.current_mut().state.aim(Subject::Pool(pool));
    }

    fn open_detail(&mut self, model: &Model, effects: &mut EffectQueue, now: Timestamp) {
        let Some(Subject::Job(job)) = self.subject() else {
            return;
        };
        self.history.leave(self.here());
        let from = self.view;
        if from != View::Jobs {
            self.view = View::Jobs;
            self.current_mut().state.aim(Subject::Job(job.clone()));
        }
        self.review = None;
        self.detail = Some(Detail::open(job.clone(), from));
        self.read_job(&job, model, effects, now);
    }

    fn back(&mut self, model: &Model, now: Timestamp) {
        // One whose time is over is not on the screen, so there is nothing to clear.
        let said = self.footer(now).is_some();
        self.footer = None;
        if said || self.close_what_is_open(model) {
            return;
        }
        if !self.current().state.marks().is_empty() {
            self.clear_marks(now);
        } else if self.current().filter.is_some() {
            let list = self.current_mut();
            list.filter = None;
            let text = std::mem::take(&mut list.filter_text);
            list.state.invalidate();
            self.filter_was(text, now);
        } else {
            self.close_trial();
        }
    }

    /// Closes the review or the detail. Says whether one was open. A detail leads back
    /// to the view from which it was opened, with the cursor where it was.
    fn close_what_is_open(&mut self, model: &Model) -> bool {
        let subject = self.subject();
        let review = self.review.take().is_some();
        let from = self.detail.take().map(|detail| detail.from);
        if let Some(from) = from.filter(|from| *from != self.view) {
            self.view = from;
            self.order_anew();
            return true;
        }
        let was_open = review || from.is_some();
        if was_open && let Some(subject) = subject {
            self.aim_at(subject, model);
        }
        was_open
    }

    /// Shows another view and keeps the subject: from a job its worker, from a
    /// worker its job.
    pub(super) fn show_view(&mut self, view: View, model: &Model) {
        let open = self.review.is_some() || self.detail.is_some();
        if view == self.view && !open {
            return;
        }
        self.history.leave(self.here());
        let subject = self.subject();
        self.review = None;
        self.detail = None;
        self.view = view;
        self.order_anew();
        if let Some(subject) = subject {
            self.aim_at(subject, model);
        }
    }

    /// The lists that are shown from now on are brought up to the model at once: as
    /// they were left is not as things are.
    fn order_anew(&mut self) {
        for id in self.shown_lists() {
            self.list_mut(id).state.invalidate();
        }
    }

    /// Shows the tree of `of`, all of it unfolded.
    pub(super) fn show_trace(&mut self, of: TraceOf) {
        if self.trace.as_ref() != Some(&of) {
            self.trace = Some(of);
            self.folded.clear();
            self.list_mut(ListId::Trace).state = ListState::default();
        }
    }

    /// `:trace ID`.
    pub(super) fn open_trace(&mut self, id: &str, model: &Model, now: Timestamp) {
        match TraceOf::named(model, id) {
            Some(of) => {
                self.show_view(View::Traces, model);
                self.show_trace(of);
            }
            // The plane may know one that is older than what its lists tell.
            None if can_be_asked(model) => {
                self.show_view(View::Traces, model);
                self.show_trace(TraceOf::Trace(TraceId::from(id)));
            }
            None => {
                let says = format!("No trace, workflow or job is known as {id}.");
                self.say(Tone::Warning, says, now);
            }
        }
    }

    /// `h` and `l` in a tree.
    fn fold(&mut self, fold: bool) {
        if let Some(Subject::Job(job)) = self.current().state.selected().cloned() {
            if fold {
                self.folded.insert(job);
            } else {
                self.folded.remove(&job);
            }
            self.current_mut().state.invalidate();
        }
    }

    fn step_view(&mut self, by: usize, model: &Model) {
        let at = View::ALL.iter().position(|view| *view == self.view);
        let next = (at.unwrap_or(0) + by) % View::ALL.len();
        self.show_view(View::ALL[next], model);
    }

    fn go(&mut self, place: Place, model: &mut Model, effects: &mut EffectQueue, now: Timestamp) {
        self.review = None;
        self.detail = None;
        self.view = place.view;
        self.order_anew();
        if let Some(subject) = place.open {
            self.aim_at(subject.clone(), model);
            match (place.view, subject) {
                (View::Approvals, Subject::Job(job)) => {
                    self.reopen_review(job, model, effects, now);
                }
                (_, Subject::Job(job)) => {
                    self.detail = Some(Detail::open(job.clone(), place.view));
                    self.read_job(&job, model, effects, now);
                }
                (
                    _,
                    Subject::Worker(_)
                    | Subject::Pool(_)
                    | Subject::Alert(_)
                    | Subject::Workflow(_)
                    | Subject::Unseen
                    | Subject::Rule(_)
                    | Subject::Flip(_),
                ) => {}
            }
        }
    }

    fn show_workers_as(&mut self, shape: WorkersAs, model: &Model) {
        let subject = self.subject();
        self.workers_as = if self.workers_as == shape {
            WorkersAs::Table
        } else {
            shape
        };
        self.order_anew();
        if let Some(subject) = subject {
            self.aim_at(subject, model);
        }
    }

    /// Puts a filter in force, in the current list. Returns what is wrong with it;
    /// then the old one stays.
    pub(super) fn set_filter(&mut self, text: &str) -> Option<String> {
        let filter = if text.trim().is_empty() {
            None
        } else {
            match self.list_id().filter(text) {
                Ok(filter) => Some(filter),
                Err(error) => return Some(error.to_string()),
            }
        };
        let list = self.current_mut();
        text.trim().clone_into(&mut list.filter_text);
        list.filter = filter;
        list.state.refilter();
        None
    }

    fn reload(&mut self, model: &mut Model, effects: &mut EffectQueue, now: Timestamp) {
        if self.view == View::Policy && self.review.is_none() && self.detail.is_none() {
            self.policy_asked = None;
            self.keep_policy_fresh(model, now, effects);
            self.try_again(model, effects, now);
            self.say(Tone::Muted, "Reading policy again.", now);
        } else if self.review.is_some() {
            self.reload_review(model, effects, now);
        } else if let Some(detail) = &self.detail {
            let job = detail.job.clone();
            self.read_job(&job, model, effects, now);
            self.say(Tone::Muted, format!("Reading {job} again."), now);
        } else {
            self.ask_refresh(effects, now);
        }
    }
}
