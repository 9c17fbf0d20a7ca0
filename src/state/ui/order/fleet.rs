//! The rows of the lists of workers, pools and alerts.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::alert_row;
use crate::ids::{PoolName, WorkerId};
use crate::state::model::Model;
use crate::state::model::alerts::Alert;
use crate::state::model::pools::Pool;
use crate::state::model::workers::{Load, Standing, Worker};
use crate::state::ui::list::{SortKey, Subject};
use crate::state::ui::{List, ListId};
use crate::time::Timestamp;

/// From this pressure on, in thousandths of a percent, a worker needs attention.
const OVER_PRESSURE: u32 = 90_000;

pub(super) fn workers(
    list: &List,
    id: ListId,
    model: &Model,
    now: Timestamp,
) -> (Vec<Subject>, usize) {
    let mut all = 0;
    let mut rows: Vec<&Worker> = Vec::new();
    for worker in model.workers.shown(now, &model.links.hearing) {
        all += 1;
        let passes = list.passes(|filter| filter.matches_worker(worker, model, now));
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
fn worst_first(worker: &Worker, model: &Model, now: Timestamp) -> (u8, Reverse<u32>, WorkerId) {
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

pub(super) fn pools(
    list: &List,
    id: ListId,
    model: &Model,
    now: Timestamp,
) -> (Vec<Subject>, usize) {
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
pub(super) fn with_workers(
    rows: Vec<Subject>,
    open: &BTreeSet<PoolName>,
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

pub(super) fn alerts(model: &Model, now: Timestamp) -> (Vec<Subject>, usize) {
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
    use crate::state::ui::ListId;
    use crate::state::ui::list::SortKey;
    use crate::state::ui::order::tests::check;

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
}
