//! The workers by pool.

use crate::state::State;
use crate::state::model::pools::Pool;
use crate::state::ui::ListId;
use crate::state::ui::list::Subject;
use crate::view::shown;
use crate::view::workers::{WorkerRow, row};

/// The pools with their workers.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolsView {
    /// The lines that can be seen.
    pub lines: Vec<PoolLine>,
    /// Pools altogether.
    pub pools: usize,
    /// Workers altogether.
    pub workers: u64,
    /// Workers that name no pool, and so stand in none of the lines.
    pub without_pool: usize,
}

/// A line of the view by pool.
#[derive(Clone, Debug, PartialEq)]
pub enum PoolLine {
    /// A pool.
    Pool(PoolRow),
    /// A worker of an open pool.
    Worker(Box<WorkerRow>),
}

/// A pool, summed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolRow {
    /// What is known of it.
    pub pool: Pool,
    /// Whether it is open.
    pub open: bool,
    /// The cursor is here.
    pub selected: bool,
}

/// The lines that are visible in `height` rows, in the order of the list: the
/// workers of an open pool stand below it.
pub fn pools(state: &State, height: usize) -> PoolsView {
    let (model, now) = shown(state);
    let all = model.pools_at(now);
    let list = state.ui.list(ListId::Pools);
    let lines = list.state.order()[list.state.window(height)]
        .iter()
        .filter_map(|subject| {
            let selected = list.state.selected() == Some(subject);
            match subject {
                Subject::Pool(name) => {
                    let pool = all.iter().find(|pool| pool.name == *name)?.clone();
                    let open = state.ui.open_pools().contains(&pool.name);
                    Some(PoolLine::Pool(PoolRow {
                        pool,
                        open,
                        selected,
                    }))
                }
                Subject::Worker(id) => {
                    let worker = model.workers.get(id)?;
                    Some(PoolLine::Worker(Box::new(WorkerRow {
                        selected,
                        ..row(model, worker, now)
                    })))
                }
                Subject::Job(_)
                | Subject::Alert(_)
                | Subject::Workflow(_)
                | Subject::Unseen
                | Subject::Rule(_)
                | Subject::Flip(_) => None,
            }
        })
        .collect();
    PoolsView {
        lines,
        pools: all.len(),
        workers: all
            .iter()
            .flat_map(|pool| pool.standing)
            .map(u64::from)
            .sum(),
        without_pool: model
            .workers
            .shown(now, &model.links.hearing)
            .filter(|worker| worker.pool.is_none())
            .count(),
    }
}
