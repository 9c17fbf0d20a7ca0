//! Which rows a list has, and in which order.
//!
//! Computed at most every two seconds and never under moving hands; see
//! [`super::list::REORDER_EVERY`].
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a list is offered only the keys of ListId::sorts; its default stands for the others"
)]

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::list::{ListState, SortKey, Subject};
use super::{List, ListId, UiState, View};
use crate::ids::JobId;
use crate::state::model::Model;
use crate::state::model::alerts::Alert;
use crate::state::model::approvals::{Approval, Check, held};
use crate::state::model::jobs::{Decision, Job, JobState};
use crate::state::model::letters::DeadLetter;
use crate::state::model::policy::RuleRow;
use crate::state::model::pools::Pool;
use crate::state::model::rollbacks::{self, Step, Undone};
use crate::state::model::traces::{self, Node, TraceOf};
use crate::state::model::workers::{Load, Standing, Worker};
use crate::time::Timestamp;

/// From this pressure on, in thousandths of a percent, a worker needs attention.
const OVER_PRESSURE: u32 = 90_000;

impl UiState {
    /// The lists of the present view.
    pub(super) fn shown_lists(&self) -> impl Iterator<Item = ListId> + use<> {
        let (panes, one): (&'static [ListId], _) = match self.view {
            View::Overview => (&ListId::OVERVIEW, None),
            View::Rollbacks => (&ListId::ROLLBACKS, None),
            View::Policy if self.trial.is_some() => (&ListId::POLICY, None),
            View::Approvals | View::Jobs | View::Workers | View::Policy | View::Traces => {
                (&[], Some(self.list_id()))
            }
        };
        panes.iter().copied().chain(one)
    }

    /// Brings the lists of the present view up to `model`, those that may move now.
    pub(super) fn order_lists(&mut self, model: &Model, now: Timestamp) {
        let height = self.height();
        let keyboard = self.list_id();
        for id in self.shown_lists() {
            if id == ListId::Steps {
                self.follow_rollback();
            }
            let (trace, folded) = (self.trace.as_ref(), &self.folded);
            let steps_of = self.steps_of.as_ref().and_then(undone_of);
            let last_key = self.last_key;
            let open_pools = &self.open_pools;
            let awaited = id == ListId::Rules && self.awaits_rules(model);
            let list = self.lists.entry(id).or_default();
            if id == keyboard {
                list.state.visit();
            }
            let exists = |subject: &Subject| {
                Self::exists(id, subject, model) && !is_folded(id, subject, open_pools, model)
            };
            if !list.state.may_reorder(now, last_key) {
                // Pools and alerts are only summed up when rows are ordered: until
                // then those that were there are.
                let stays = |subject: &Subject| {
                    matches!(
                        subject,
                        Subject::Pool(_)
                            | Subject::Alert(_)
                            | Subject::Unseen
                            | Subject::Rule(_)
                            | Subject::Flip(_)
                    ) || exists(subject)
                };
                list.state.forget(stays, now);
                continue;
            }
            let (mut rows, unfiltered) = match id {
                ListId::Jobs => jobs(list, model, now),
                ListId::Approvals | ListId::OldestApprovals => approvals(list, id, model, now),
                ListId::Workers | ListId::HeatMap => workers(list, id, model, now),
                ListId::Pools | ListId::Pressure => pools(list, id, model, now),
                ListId::Alerts => alerts(model, now),
                ListId::Rollbacks => rollbacks(list, model, now),
                ListId::Steps => steps(steps_of.as_ref(), model, now),
                ListId::DeadLetters => letters(list, model, now),
                ListId::Rules if awaited => (Vec::new(), 0),
                ListId::Rules => rules(list, model, now),
                ListId::Flips => flips(model),
                ListId::Trace => trace_rows(list, trace, folded, model, now),
            };
            if list.reverse {
                rows.reverse();
            }
            if id == ListId::Pools {
                rows = with_workers(rows, open_pools, model, now);
            }
            list.unfiltered = unfiltered;
            list.state.stay_at_top();
            // A key that asked for another order wants the row in its place.
            let arrived = list.state.ordered_at().and(list.state.arrived_at());
            let ended_here = |subject: &Subject| {
                if matches!(
                    id,
                    ListId::Steps | ListId::Rollbacks | ListId::DeadLetters | ListId::Trace
                ) {
                    return false;
                }
                let ended = subject.job().and_then(|job| ended_at(job, model));
                matches!((ended, arrived), (Some(ended), Some(arrived)) if ended >= arrived)
            };
            list.state.reorder(rows, exists, ended_here, height, now);
        }
    }

    /// Brings the steps to the undo under the cursor, at once when that is another.
    fn follow_rollback(&mut self) {
        let selected = self.list(ListId::Rollbacks).state.selected();
        if self.steps_of.as_ref() != selected {
            self.steps_of = selected.cloned();
            self.list_mut(ListId::Steps).state = ListState::default();
        }
    }

    /// Whether a row of this list can still be about `subject`.
    pub(super) fn exists(id: ListId, subject: &Subject, model: &Model) -> bool {
        match (id, subject) {
            (ListId::Approvals | ListId::OldestApprovals, Subject::Job(job)) => {
                model.approvals.get(job).is_some()
            }
            (ListId::Rollbacks, of) => undone_of(of).is_some_and(|of| model.rollbacks.has(&of)),
            (ListId::DeadLetters, Subject::Job(job)) => model.letters.get(job).is_some(),
            (_, Subject::Job(job)) => model.jobs.get(job).is_some(),
            (_, Subject::Workflow(workflow)) => model.jobs.of_workflow(workflow).next().is_some(),
            (_, Subject::Worker(worker)) => model.workers.get(worker).is_some(),
            // Pools and alerts are summed up anew each time; a row that is not
            // there after that is gone.
            (
                _,
                Subject::Pool(_)
                | Subject::Alert(_)
                | Subject::Unseen
                | Subject::Rule(_)
                | Subject::Flip(_),
            ) => false,
        }
    }
}

/// Whether `subject` is a worker whose pool hides it.
fn is_folded(
    id: ListId,
    subject: &Subject,
    open: &BTreeSet<crate::ids::PoolName>,
    model: &Model,
) -> bool {
    let (ListId::Pools, Subject::Worker(worker)) = (id, subject) else {
        return false;
    };
    let pool = model.workers.get(worker).and_then(|it| it.pool.as_ref());
    pool.is_none_or(|pool| !open.contains(pool))
}

/// When a job ended; `None` if it has not, or nothing is known of it.
pub fn ended_at(job: &JobId, model: &Model) -> Option<Timestamp> {
    let job = model.jobs.get(job)?;
    job.is_ended().then_some(job.since)
}

/// The name under which an alert has its row.
pub fn alert_row(alert: &Alert) -> Subject {
    Subject::Alert(alert.row().into())
}

/// Whose undo a row of the rollbacks is about.
pub fn undone_of(subject: &Subject) -> Option<Undone> {
    match subject {
        Subject::Workflow(workflow) => Some(Undone::Workflow(Arc::clone(workflow))),
        Subject::Job(job) => Some(Undone::Job(job.clone())),
        Subject::Worker(_)
        | Subject::Pool(_)
        | Subject::Alert(_)
        | Subject::Unseen
        | Subject::Rule(_)
        | Subject::Flip(_) => None,
    }
}

/// The row of the rollbacks that is about `of`.
pub fn undone_row(of: &Undone) -> Subject {
    match of {
        Undone::Workflow(workflow) => Subject::Workflow(Arc::clone(workflow)),
        Undone::Job(job) => Subject::Job(job.clone()),
    }
}

/// The row of a step: the job that undoes, else the one that would be undone.
pub fn step_row(step: &Step) -> Option<Subject> {
    step.job.clone().or(step.undoes.clone()).map(Subject::Job)
}

fn rollbacks(list: &List, model: &Model, now: Timestamp) -> (Vec<Subject>, usize) {
    let mut rows = rollbacks::stacks(model, now);
    let all = rows.len();
    rows.retain(|row| {
        list.filter
            .as_ref()
            .is_none_or(|filter| filter.matches_rollback(row, model, now))
    });
    match list.sort(ListId::Rollbacks) {
        SortKey::State => rows.sort_by_key(|row| row.state),
        SortKey::Name => rows.sort_by_key(|row| undone_row(&row.of).id().to_owned()),
        SortKey::Undone => rows.sort_by_key(|row| (row.undone(), Reverse(row.steps.len()))),
        SortKey::Updated => rows.sort_by_key(|row| Reverse(row.last)),
        _ => {}
    }
    (rows.iter().map(|row| undone_row(&row.of)).collect(), all)
}

fn steps(of: Option<&Undone>, model: &Model, now: Timestamp) -> (Vec<Subject>, usize) {
    let stack = of.and_then(|of| rollbacks::stack(model, of, now));
    let rows: Vec<Subject> = stack
        .iter()
        .flat_map(|stack| stack.steps.iter().filter_map(step_row))
        .collect();
    let all = rows.len();
    (rows, all)
}

fn letters(list: &List, model: &Model, now: Timestamp) -> (Vec<Subject>, usize) {
    let passes = |letter: &DeadLetter| {
        list.filter
            .as_ref()
            .is_none_or(|filter| filter.matches_letter(letter, model, now))
    };
    let mut rows: Vec<_> = model
        .letters
        .newest()
        .filter(|letter| passes(letter))
        .collect();
    match list.sort(ListId::DeadLetters) {
        SortKey::Reason => rows.sort_by_key(|row| (row.reason_code.is_none(), &row.reason_code)),
        SortKey::Topic => rows.sort_by_cached_key(|row| {
            let topic = row.topic.clone().or_else(|| {
                let job = model.jobs.get(&row.job)?;
                job.request.as_ref()?.topic.clone()
            });
            (topic.is_none(), topic)
        }),
        SortKey::Name => rows.sort_by(|a, b| a.job.cmp(&b.job)),
        _ => {}
    }
    let rows = rows.into_iter().map(|row| Subject::Job(row.job.clone()));
    (rows.collect(), model.letters.len())
}

fn rules(list: &List, model: &Model, now: Timestamp) -> (Vec<Subject>, usize) {
    let mut rows = model.policy.rows();
    let all = rows.len();
    rows.retain(|row| {
        list.filter
            .as_ref()
            .is_none_or(|filter| filter.matches(row, now))
    });
    match list.sort(ListId::Rules) {
        SortKey::Hits => rows.sort_by_key(|row| Reverse(row.hits())),
        SortKey::Name => rows.sort_by(|a, b| (a.id.is_none(), &a.id).cmp(&(b.id.is_none(), &b.id))),
        SortKey::Verdict => rows.sort_by_key(|row| {
            let name = row.decision.map(Decision::name);
            (name.is_none(), name)
        }),
        SortKey::Allowed => by_outcome(&mut rows, Decision::Allow),
        SortKey::Limited => by_outcome(&mut rows, Decision::AllowWithConstraints),
        SortKey::Asked => by_outcome(&mut rows, Decision::RequireApproval),
        SortKey::Throttled => by_outcome(&mut rows, Decision::Throttle),
        SortKey::Denied => by_outcome(&mut rows, Decision::Deny),
        _ => {}
    }
    let rows = rows.into_iter().map(|row| Subject::Rule(row.id));
    (rows.collect(), all)
}

/// What decided so most often first; the rows stay in their order where it is as often.
fn by_outcome(rows: &mut [RuleRow], decision: Decision) {
    rows.sort_by_key(|row| Reverse(row.counts[decision as usize]));
}

fn flips(model: &Model) -> (Vec<Subject>, usize) {
    let told = model.policy.what_if();
    let flips = told.into_iter().flat_map(|(what_if, _)| &what_if.flips);
    let rows: Vec<Subject> = flips.map(|flip| Subject::Flip(flip.key())).collect();
    let all = rows.len();
    (rows, all)
}

/// The row of a place in the tree.
pub fn node_row(node: &Node) -> Subject {
    node.job.clone().map_or(Subject::Unseen, Subject::Job)
}

/// The tree without what is folded; with a filter the matches and all above them.
fn trace_rows(
    list: &List,
    of: Option<&TraceOf>,
    folded: &BTreeSet<JobId>,
    model: &Model,
    now: Timestamp,
) -> (Vec<Subject>, usize) {
    let nodes = of.map_or_else(Vec::new, |of| traces::tree(model, of));
    let all = nodes.iter().filter(|node| node.job.is_some()).count();
    let mut rows = Vec::new();
    if let Some(filter) = &list.filter {
        let matches = |node: &Node| {
            let job = node.job.as_ref().and_then(|job| model.jobs.get(job));
            job.is_some_and(|job| filter.matches_job(job, now))
        };
        // From the last row on, so that each knows whether one below it matches.
        let mut wanted_depth = 0;
        for node in nodes.iter().rev() {
            let depth = node.rails.len();
            if depth < wanted_depth || matches(node) {
                rows.push(node_row(node));
                wanted_depth = depth;
            }
            wanted_depth = wanted_depth.min(depth);
        }
        rows.reverse();
        return (rows, all);
    }
    let mut hidden = 0;
    for node in &nodes {
        if hidden > 0 {
            hidden -= 1;
            continue;
        }
        if node.job.as_ref().is_some_and(|job| folded.contains(job)) {
            hidden = node.below;
        }
        rows.push(node_row(node));
    }
    (rows, all)
}

fn jobs(list: &List, model: &Model, now: Timestamp) -> (Vec<Subject>, usize) {
    let all = model.jobs.len();
    let key = list.sort(ListId::Jobs);
    if key == SortKey::Attention && list.filter.is_none() {
        // 100,000 jobs are put in order every two seconds: none is looked up.
        let ids = model.jobs.ids_by_attention();
        return (ids.cloned().map(Subject::Job).collect(), all);
    }
    let passes = |job: &Job| {
        list.filter
            .as_ref()
            .is_none_or(|filter| filter.matches_job(job, now))
    };
    let rows = model.jobs.by_attention().filter(|job| passes(job));
    if key == SortKey::Attention {
        return (rows.map(|job| Subject::Job(job.id.clone())).collect(), all);
    }
    let mut rows: Vec<_> = rows.collect();
    let text = |value: Option<&Arc<str>>| (value.is_none(), value.cloned());
    match key {
        SortKey::Topic => rows.sort_by_cached_key(|job| {
            let topic = job.request.as_ref().and_then(|it| it.topic.as_ref());
            (text(topic), job.since, job.id.clone())
        }),
        SortKey::Worker => rows.sort_by_cached_key(|job| {
            let worker = job.worker();
            (worker.is_none(), worker.cloned(), job.since, job.id.clone())
        }),
        SortKey::Updated => rows.sort_by_key(|job| (Reverse(job.updated_at), job.id.clone())),
        SortKey::State => rows.sort_by_key(|job| {
            let state = job.state;
            let place = JobState::ALL.iter().position(|it| Some(*it) == state);
            (place.is_none(), place, job.since, job.id.clone())
        }),
        SortKey::Progress => rows.sort_by_key(|job| {
            let percent = job.percent();
            (
                percent.is_none(),
                Reverse(percent),
                job.since,
                job.id.clone(),
            )
        }),
        SortKey::Verdict => rows.sort_by_key(|job| {
            let name = job.decision().map(|decision| decision.name());
            (name.is_none(), name, job.since, job.id.clone())
        }),
        SortKey::Tries => rows.sort_by_key(|job| (Reverse(job.attempts()), job.id.clone())),
        SortKey::Tenant => rows.sort_by_cached_key(|job| {
            let tenant = job.request.as_ref().and_then(|it| it.tenant.as_ref());
            (text(tenant), job.since, job.id.clone())
        }),
        SortKey::Rule => rows.sort_by_cached_key(|job| {
            let verdict = job.verdict.as_ref();
            let rule = verdict.and_then(|it| it.rule_id.as_ref());
            (text(rule), job.since, job.id.clone())
        }),
        SortKey::Name => rows.sort_by(|a, b| a.id.cmp(&b.id)),
        _ => rows.sort_by_key(|job| (job.since, job.id.clone())),
    }
    let rows = rows.into_iter().map(|job| Subject::Job(job.id.clone()));
    (rows.collect(), all)
}

fn approvals(list: &List, id: ListId, model: &Model, now: Timestamp) -> (Vec<Subject>, usize) {
    let mut rows = model.approvals.by_cost(&model.jobs, now);
    let all = rows.len();
    rows.retain(|row| {
        list.filter
            .as_ref()
            .is_none_or(|filter| filter.matches_approval(row, model, now))
    });
    let text = |value: Option<Arc<str>>| (value.is_none(), value);
    let request = |row: &Approval| row.fact.job.request.clone().unwrap_or_default();
    match list.sort(id) {
        _ if id == ListId::OldestApprovals => rows.sort_by_key(|row| (row.since, row.id().clone())),
        SortKey::Attention => {}
        SortKey::Sla => rows.sort_by_key(|row| {
            let deadline = row.deadline();
            (deadline.is_none(), deadline, row.since, row.id().clone())
        }),
        SortKey::Held => rows.sort_by_cached_key(|row| {
            let held = held(row, &model.jobs);
            (held.is_none(), Reverse(held), row.since, row.id().clone())
        }),
        SortKey::Topic => rows.sort_by_cached_key(|row| (text(request(row).topic), row.since)),
        SortKey::Rule => rows.sort_by_cached_key(|row| {
            let verdict = row.fact.job.verdict.as_ref();
            (text(verdict.and_then(|it| it.rule_id.clone())), row.since)
        }),
        SortKey::Risk => {
            rows.sort_by_cached_key(|row| {
                let tags = request(row).risk_tags.to_vec();
                (tags.is_empty(), tags, row.since)
            });
        }
        SortKey::Undo => rows.sort_by_key(|row| {
            let undo = row.undo().map(|undo| undo.is_some());
            (undo.is_none(), undo, row.since, row.id().clone())
        }),
        SortKey::Requester => rows.sort_by_cached_key(|row| {
            let request = request(row);
            (text(request.actor.or(request.principal)), row.since)
        }),
        SortKey::State => rows.sort_by_key(|row| (trust(row, model), row.since, row.id().clone())),
        SortKey::Tenant => rows.sort_by_cached_key(|row| (text(request(row).tenant), row.since)),
        SortKey::Resource => {
            rows.sort_by_cached_key(|row| (text(row.what_runs().resource), row.since));
        }
        SortKey::Snapshot => rows.sort_by_cached_key(|row| {
            let verdict = row.fact.job.verdict.as_ref();
            (text(verdict.and_then(|it| it.snapshot.clone())), row.since)
        }),
        SortKey::Name => rows.sort_by(|a, b| a.id().cmp(b.id())),
        _ => rows.sort_by_key(|row| (row.since, row.id().clone())),
    }
    let rows = rows.into_iter().map(|row| Subject::Job(row.id().clone()));
    (rows.collect(), all)
}

/// What can no longer be decided first, then what is not as it was judged, then what is
/// ready.
fn trust(row: &Approval, model: &Model) -> u8 {
    if row.fact.not_actionable.is_some() {
        0
    } else if row.hash() == Check::Differs {
        1
    } else if row.snapshot(model.snapshot.as_deref()) == Check::Differs {
        2
    } else {
        3
    }
}

fn workers(list: &List, id: ListId, model: &Model, now: Timestamp) -> (Vec<Subject>, usize) {
    let mut all = 0;
    let mut rows: Vec<&Worker> = Vec::new();
    for worker in model.workers.shown(now, &model.links.hearing) {
        all += 1;
        let passes = list
            .filter
            .as_ref()
            .is_none_or(|filter| filter.matches_worker(worker, model, now));
        if passes {
            rows.push(worker);
        }
    }
    // Most of a load first; a worker that does not tell comes last.
    let most = |load: Option<u32>, row: &Worker| (load.is_none(), Reverse(load), row.id.clone());
    match list.sort(id) {
        SortKey::Name => rows.sort_by(|a, b| a.id.cmp(&b.id)),
        SortKey::Pool => rows.sort_by(|a, b| (&a.pool, &a.id).cmp(&(&b.pool, &b.id))),
        SortKey::Region => rows.sort_by_cached_key(|row| {
            let region = row.region.clone();
            (region.is_none(), region, row.id.clone())
        }),
        SortKey::Pressure => {
            rows.sort_by_key(|row| (Reverse(row.pressure_key()), row.id.clone()));
        }
        SortKey::Cpu => rows.sort_by_key(|row| most(row.cpu.map(Load::milli_percent), row)),
        SortKey::Memory => rows.sort_by_key(|row| most(row.memory.map(Load::milli_percent), row)),
        SortKey::Gpu => rows.sort_by_key(|row| most(row.gpu.map(Load::milli_percent), row)),
        SortKey::Slots => rows.sort_by_key(|row| most(slots_share(row), row)),
        SortKey::Progress => rows.sort_by_key(|row| {
            let percent = (row.active_jobs > 0).then_some(row.progress_pct);
            (percent.is_none(), Reverse(percent), row.id.clone())
        }),
        SortKey::Heard => rows.sort_by_key(|row| {
            let silence = row.silence(now);
            (silence.is_none(), Reverse(silence), row.id.clone())
        }),
        _ => rows.sort_by_cached_key(|row| worst_first(row, model, now)),
    }
    let rows = rows.into_iter().map(|row| Subject::Worker(row.id.clone()));
    (rows.collect(), all)
}

/// Thousandths of its slots that a worker has in use; `None` if it does not say.
fn slots_share(worker: &Worker) -> Option<u32> {
    let max = u64::try_from(worker.max_parallel_jobs?).ok()?;
    let active = u64::try_from(worker.active_jobs).ok()?;
    u32::try_from((active * 1_000).checked_div(max)?).ok()
}

/// Lost, zombie, late, over pressure, draining, live by pressure.
fn worst_first(
    worker: &Worker,
    model: &Model,
    now: Timestamp,
) -> (u8, Reverse<u32>, crate::ids::WorkerId) {
    let pressure = worker.pressure_key();
    let class = match model.standing(worker, now) {
        Standing::Lost => 0,
        Standing::Zombie => 1,
        Standing::Late => 2,
        Standing::Live if pressure >= OVER_PRESSURE || worker.slots_overrun() => 3,
        Standing::Draining => 4,
        Standing::Live => 5,
        Standing::Unknown => 6,
    };
    (class, Reverse(pressure), worker.id.clone())
}

fn pools(list: &List, id: ListId, model: &Model, now: Timestamp) -> (Vec<Subject>, usize) {
    let mut rows = model.pools_at(now);
    let all = rows.len();
    let most = |load: Option<u32>, row: &Pool| (load.is_none(), Reverse(load), row.name.clone());
    match list.sort(id) {
        // They come by name.
        SortKey::Name => {}
        SortKey::Slots => rows.sort_by_cached_key(|row| {
            let share = (u64::from(row.slots_used) * 1_000).checked_div(u64::from(row.slots));
            most(share.and_then(|share| u32::try_from(share).ok()), row)
        }),
        SortKey::Cpu => rows.sort_by_cached_key(|row| most(row.cpu, row)),
        SortKey::Memory => rows.sort_by_cached_key(|row| most(row.memory, row)),
        SortKey::Gpu => rows.sort_by_cached_key(|row| most(row.gpu, row)),
        SortKey::Pressure => rows.sort_by_cached_key(|row| most(row.worst_pressure, row)),
        SortKey::Heard => rows.sort_by_cached_key(|row| {
            (
                row.oldest_beat.is_none(),
                Reverse(row.oldest_beat),
                row.name.clone(),
            )
        }),
        SortKey::Live => by_standing(&mut rows, Standing::Live),
        SortKey::Late => by_standing(&mut rows, Standing::Late),
        SortKey::Lost => by_standing(&mut rows, Standing::Lost),
        SortKey::Draining => by_standing(&mut rows, Standing::Draining),
        SortKey::Zombie => by_standing(&mut rows, Standing::Zombie),
        _ => rows.sort_by_cached_key(|pool| (pool.trouble(), pool.name.clone())),
    }
    let rows = rows.into_iter().map(|pool| Subject::Pool(pool.name));
    (rows.collect(), all)
}

/// Most workers that stand so first; the rows stay by name where they have as many.
fn by_standing(rows: &mut [Pool], standing: Standing) {
    rows.sort_by_key(|row| Reverse(row.workers(standing)));
}

/// The same rows with the workers of open pools below their pool.
fn with_workers(
    rows: Vec<Subject>,
    open: &BTreeSet<crate::ids::PoolName>,
    model: &Model,
    now: Timestamp,
) -> Vec<Subject> {
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let pool = row.pool().filter(|pool| open.contains(*pool)).cloned();
        all.push(row);
        let Some(pool) = pool else { continue };
        let mut workers: Vec<&Worker> = model
            .workers
            .shown(now, &model.links.hearing)
            .map(|worker| &**worker)
            .filter(|worker| worker.pool.as_ref() == Some(&pool))
            .collect();
        workers.sort_by_cached_key(|worker| worst_first(worker, model, now));
        all.extend(workers.iter().map(|it| Subject::Worker(it.id.clone())));
    }
    all
}

fn alerts(model: &Model, now: Timestamp) -> (Vec<Subject>, usize) {
    let mut rows: Vec<&Alert> = model
        .alerts
        .iter()
        .map(|alert| &**alert)
        .filter(|alert| alert.is_firing(now))
        .collect();
    rows.sort_by_key(|alert| (Reverse(alert.severity), alert.since));
    let all = rows.len();
    (rows.into_iter().map(alert_row).collect(), all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::script;

    const FLEET: &str = "0s link nats up | 0s link gateway up \
        | 0s beat w1 pool=gpu region=eu-2 slots=1/4 cpu=10 mem=70 gpu=95 \
        | 1s beat w2 pool=batch region=eu-1 slots=3/4 cpu=80 mem=20 \
        | 2s submit j1 topic=job.b tenant=orbit | 3s submit j2 topic=job.a tenant=acme | 4s submit j3 \
        | 5s dispatch j1 w2 topic=job.b | 6s progress j1 70% | 7s dispatch j2 w1 topic=job.a | 8s progress j2 20% \
        | 9s dispatch j1 w2 topic=job.b";

    /// The rows of a list sorted by a key, first to last.
    #[track_caller]
    fn check(id: ListId, key: SortKey, expected: &str) {
        let state = script::run(FLEET).expect("a script");
        let mut list = List::default();
        assert!(list.sort_by(id, key), "{key:?} is a key of {id:?}");
        let (rows, all) = match id {
            ListId::Jobs => jobs(&list, &state.model, state.now),
            ListId::Workers => workers(&list, id, &state.model, state.now),
            ListId::Approvals => approvals(&list, id, &state.model, state.now),
            _ => pools(&list, id, &state.model, state.now),
        };
        assert_eq!(rows.len(), all, "no row is lost");
        let rows: Vec<&str> = rows.iter().map(Subject::id).collect();
        assert_eq!(rows.join(" "), expected, "{key:?}");
    }

    #[test]
    fn jobs_are_sorted_by_any_column_and_what_is_unknown_comes_last() {
        for (key, expected) in [
            (SortKey::Name, "j1 j2 j3"),
            (SortKey::Topic, "j2 j1 j3"),
            (SortKey::Tenant, "j2 j1 j3"),
            (SortKey::Worker, "j2 j1 j3"),
            (SortKey::Progress, "j1 j2 j3"),
            (SortKey::Tries, "j1 j2 j3"),
            (SortKey::State, "j3 j1 j2"),
        ] {
            check(ListId::Jobs, key, expected);
        }
    }

    #[test]
    fn workers_and_pools_are_sorted_by_any_column() {
        for (key, expected) in [
            (SortKey::Cpu, "w2 w1"),
            (SortKey::Memory, "w1 w2"),
            (SortKey::Gpu, "w1 w2"),
            (SortKey::Slots, "w2 w1"),
            (SortKey::Region, "w2 w1"),
            (SortKey::Heard, "w1 w2"),
            (SortKey::Pool, "w2 w1"),
        ] {
            check(ListId::Workers, key, expected);
        }
        check(ListId::Pools, SortKey::Cpu, "batch gpu a b");
        check(ListId::Pools, SortKey::Memory, "gpu batch a b");
        check(ListId::Pools, SortKey::Live, "batch gpu a b");
    }

    #[test]
    fn approvals_are_sorted_by_any_column() {
        let script = "0s link gateway up | 1s approval a topic=job.z rule=r1 risk=prod actor=zoe undo=job.u deadline=900s tenant=orbit labels=mcp.resource:db snapshot=s1";
        let mut state = script::run(script).expect("a script");
        let more = script::run(
            "1s approval b topic=job.a rule=r2 deadline=60s tenant=acme snapshot=s0 hash=h own=g",
        )
        .expect("a script");
        let facts: Vec<_> = [&state, &more]
            .iter()
            .flat_map(|it| it.model.approvals.iter().map(|row| row.fact.clone()))
            .collect();
        let now = state.now;
        let model = &mut state.model;
        model.approvals.told(&facts, &model.jobs, now);
        for (key, expected) in [
            (SortKey::Name, "a b"),
            (SortKey::Topic, "b a"),
            (SortKey::Sla, "b a"),
            (SortKey::Rule, "a b"),
            (SortKey::Risk, "a b"),
            (SortKey::Requester, "a b"),
            (SortKey::Undo, "b a"),
            (SortKey::Tenant, "b a"),
            (SortKey::Resource, "a b"),
            (SortKey::Snapshot, "b a"),
            (SortKey::State, "b a"),
        ] {
            let mut list = List::default();
            assert!(list.sort_by(ListId::Approvals, key));
            let (rows, _) = approvals(&list, ListId::Approvals, &state.model, now);
            let rows: Vec<&str> = rows.iter().map(Subject::id).collect();
            assert_eq!(rows.join(" "), expected, "{key:?}");
        }
    }
}
