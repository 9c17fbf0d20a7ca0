//! Which rows a list has, and in which order.
//!
//! Computed at most every two seconds and never under moving hands; see
//! [`super::list::REORDER_EVERY`].

use std::cmp::Reverse;

use super::list::{SortKey, Subject};
use super::{List, ListId, UiState, View};
use crate::ids::JobId;
use crate::state::model::Model;
use crate::state::model::alerts::Alert;
use crate::state::model::pools::{Outlook, Pool};
use crate::state::model::workers::{Standing, Worker};
use crate::time::Timestamp;

/// From this pressure on, in thousandths of a percent, a worker needs attention.
const OVER_PRESSURE: u32 = 90_000;

impl UiState {
    /// Brings the lists of the present view up to `model`, those that may move now.
    pub(super) fn order_lists(&mut self, model: &Model, now: Timestamp) {
        let height = self.height();
        let shown: &[ListId] = match self.view {
            View::Overview => &ListId::OVERVIEW,
            View::Approvals | View::Jobs | View::Workers => &[self.list_id()],
        };
        for id in shown {
            let last_key = self.last_key;
            let open_pools = &self.open_pools;
            let list = self.lists.entry(*id).or_default();
            let exists = |subject: &Subject| Self::exists(*id, subject, model);
            if !list.state.may_reorder(now, last_key) {
                // Pools and alerts are only summed up when rows are ordered: until
                // then those that were there are.
                let stays = |subject: &Subject| {
                    matches!(subject, Subject::Pool(_) | Subject::Alert(_)) || exists(subject)
                };
                list.state.forget(stays, now);
                continue;
            }
            let (mut rows, unfiltered) = match id {
                ListId::Jobs => jobs(list, model, now),
                ListId::Approvals | ListId::OldestApprovals => approvals(list, *id, model, now),
                ListId::Workers | ListId::HeatMap => workers(list, *id, model, now),
                ListId::Pools | ListId::Pressure => pools(list, *id, model, now),
                ListId::Alerts => alerts(model, now),
            };
            if list.reverse {
                rows.reverse();
            }
            if *id == ListId::Pools {
                rows = with_workers(rows, open_pools, model, now);
            }
            list.unfiltered = unfiltered;
            // A key that asked for another order wants the row in its place.
            let arrived = list.state.ordered_at().and(list.state.arrived_at());
            let ended_here = |subject: &Subject| {
                let ended = subject.job().and_then(|job| ended_at(job, model));
                matches!((ended, arrived), (Some(ended), Some(arrived)) if ended >= arrived)
            };
            list.state.reorder(rows, exists, ended_here, height, now);
        }
    }

    /// Whether a row of this list can still be about `subject`.
    pub(super) fn exists(id: ListId, subject: &Subject, model: &Model) -> bool {
        match (id, subject) {
            (ListId::Approvals | ListId::OldestApprovals, Subject::Job(job)) => {
                model.approvals.get(job).is_some()
            }
            (_, Subject::Job(job)) => model.jobs.get(job).is_some(),
            (_, Subject::Worker(worker)) => model.workers.get(worker).is_some(),
            // Pools and alerts are summed up anew each time; a row that is not
            // there after that is gone.
            (_, Subject::Pool(_) | Subject::Alert(_)) => false,
        }
    }
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

fn jobs(list: &List, model: &Model, now: Timestamp) -> (Vec<Subject>, usize) {
    let all = model.jobs.len();
    let passes = |job: &crate::state::model::jobs::Job| {
        list.filter
            .as_ref()
            .is_none_or(|filter| filter.matches_job(job, now))
    };
    let rows = model.jobs.by_attention().filter(|job| passes(job));
    let key = list.sort(ListId::Jobs);
    if key == SortKey::Attention {
        return (rows.map(|job| Subject::Job(job.id.clone())).collect(), all);
    }
    let mut rows: Vec<_> = rows.collect();
    match key {
        SortKey::Topic => rows.sort_by(|a, b| {
            let topic = |job: &crate::state::model::jobs::Job| {
                job.request.as_ref().and_then(|it| it.topic.clone())
            };
            (topic(a), a.since, &a.id).cmp(&(topic(b), b.since, &b.id))
        }),
        SortKey::Worker => rows.sort_by(|a, b| {
            let key = |job: &crate::state::model::jobs::Job| {
                (job.worker().is_none(), job.worker().cloned())
            };
            (key(a), a.since, &a.id).cmp(&(key(b), b.since, &b.id))
        }),
        SortKey::Updated => rows.sort_by_key(|job| (Reverse(job.updated_at), job.id.clone())),
        SortKey::Age | SortKey::Attention | SortKey::Pressure | SortKey::Pool | SortKey::Name => {
            rows.sort_by_key(|job| (job.since, job.id.clone()))
        }
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
    if id == ListId::OldestApprovals || list.sort(id) == SortKey::Age {
        rows.sort_by_key(|row| (row.since, row.id().clone()));
    }
    let rows = rows.into_iter().map(|row| Subject::Job(row.id().clone()));
    (rows.collect(), all)
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
    match list.sort(id) {
        SortKey::Name => rows.sort_by(|a, b| a.id.cmp(&b.id)),
        SortKey::Pool => rows.sort_by(|a, b| (&a.pool, &a.id).cmp(&(&b.pool, &b.id))),
        SortKey::Pressure => {
            rows.sort_by_key(|row| (Reverse(row.pressure_key()), row.id.clone()));
        }
        SortKey::Attention | SortKey::Age | SortKey::Topic | SortKey::Worker | SortKey::Updated => {
            rows.sort_by_cached_key(|row| worst_first(row, model, now))
        }
    }
    let rows = rows.into_iter().map(|row| Subject::Worker(row.id.clone()));
    (rows.collect(), all)
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
    if list.sort(id) != SortKey::Name {
        rows.sort_by_cached_key(|pool| (trouble(pool), pool.name.clone()));
    }
    let rows = rows.into_iter().map(|pool| Subject::Pool(pool.name));
    (rows.collect(), all)
}

/// Soonest trouble first: stuck, full, soonest full, longest drain, steady.
fn trouble(pool: &Pool) -> (u8, u64) {
    match pool.outlook() {
        Outlook::Stuck => (0, 0),
        Outlook::Full => (1, 0),
        Outlook::FullIn(time) => (2, time.as_millis()),
        Outlook::DrainsIn(time) => (3, u64::MAX - time.as_millis()),
        Outlook::Steady => (4, 0),
    }
}

/// The same rows with the workers of open pools below their pool.
fn with_workers(
    rows: Vec<Subject>,
    open: &std::collections::BTreeSet<crate::ids::PoolName>,
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
