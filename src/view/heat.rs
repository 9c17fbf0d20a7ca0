//! The workers as a map: a cell a worker, its place fixed by pool and name.

use std::collections::BTreeMap;

use crate::ids::{PoolName, WorkerId};
use crate::state::State;
use crate::state::model::workers::{Standing, Worker};
use crate::state::ui::ListId;
use crate::view::shown;
use crate::view::workers::{Standings, WorkerRow, row, standings};

/// The map.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatView {
    /// The pools, the largest first.
    pub pools: Vec<HeatPool>,
    /// How all workers stand.
    pub standings: Standings,
    /// The worker under the cursor.
    pub selected: Option<Box<WorkerRow>>,
}

/// The cells of a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatPool {
    /// Its name; `None` gathers workers that name none.
    pub name: Option<PoolName>,
    /// Its workers, by name.
    pub cells: Vec<HeatCell>,
}

/// A worker in the map.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatCell {
    /// The worker.
    pub id: WorkerId,
    /// How it stands.
    pub standing: Standing,
    /// Its pressure, 0 to 1.
    pub pressure: Option<f64>,
    /// The cursor is here.
    pub selected: bool,
}

/// The map of all workers.
pub fn heat(state: &State) -> HeatView {
    let (model, now) = shown(state);
    let selected = state.ui.list(ListId::HeatMap).state.selected();
    let selected = selected.and_then(|subject| subject.worker());
    let mut pools: BTreeMap<Option<PoolName>, Vec<&Worker>> = BTreeMap::new();
    for worker in model.workers.shown(now, &model.links.hearing) {
        pools.entry(worker.pool.clone()).or_default().push(worker);
    }
    let mut pools: Vec<HeatPool> = pools
        .into_iter()
        .map(|(name, mut workers)| {
            workers.sort_by(|a, b| a.id.cmp(&b.id));
            let cells = workers
                .into_iter()
                .map(|worker| HeatCell {
                    id: worker.id.clone(),
                    standing: model.standing(worker, now),
                    pressure: worker.pressure(),
                    selected: selected == Some(&worker.id),
                })
                .collect();
            HeatPool { name, cells }
        })
        .collect();
    // The largest first, and then by name: neither changes while one looks.
    pools.sort_by(|a, b| b.cells.len().cmp(&a.cells.len()).then(a.name.cmp(&b.name)));
    HeatView {
        pools,
        standings: standings(model, now),
        selected: selected
            .and_then(|id| model.workers.get(id))
            .map(|worker| Box::new(row(model, worker, now))),
    }
}
