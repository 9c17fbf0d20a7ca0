//! Where the operator can be: views, the lists in them, and the detail of a job.

use super::list::{ListState, SortKey};
use crate::ids::JobId;
use crate::state::filter::{ApprovalRow, Filter, FilterError, LetterRow, RollbackRow, WorkerRow};
use crate::state::model::jobs::Job;
use crate::state::model::policy::RuleRow;

/// A view of the console.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum View {
    /// Pipeline, pressure, decisions, oldest approvals, alerts.
    #[default]
    Overview,
    /// What waits for a person.
    Approvals,
    /// The jobs.
    Jobs,
    /// The workers.
    Workers,
    /// The rules, how often they decide, and the kernel that asks them.
    Policy,
    /// What is undone, and what could not be done.
    Rollbacks,
    /// The jobs of a trace or workflow, as a tree and over time.
    Traces,
}

impl View {
    /// Every view, in the order of its number.
    pub const ALL: [Self; 7] = [
        Self::Overview,
        Self::Approvals,
        Self::Jobs,
        Self::Workers,
        Self::Policy,
        Self::Rollbacks,
        Self::Traces,
    ];

    /// Reads a filter for the rows of this view.
    ///
    /// # Errors
    /// [`FilterError`] with the column.
    pub fn filter(self, text: &str) -> Result<Filter, FilterError> {
        match self {
            Self::Approvals => Filter::parse::<ApprovalRow<'_>>(text),
            Self::Workers => Filter::parse::<WorkerRow<'_>>(text),
            Self::Policy => Filter::parse::<RuleRow>(text),
            Self::Rollbacks => Filter::parse::<RollbackRow<'_>>(text),
            Self::Overview | Self::Jobs | Self::Traces => Filter::parse::<Job>(text),
        }
    }

    /// Its number, the key that shows it.
    pub fn number(self) -> usize {
        match self {
            Self::Overview => 1,
            Self::Approvals => 2,
            Self::Jobs => 3,
            Self::Workers => 4,
            Self::Policy => 5,
            Self::Rollbacks => 6,
            Self::Traces => 7,
        }
    }

    /// Its title.
    pub fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Approvals => "Approvals",
            Self::Jobs => "Jobs",
            Self::Workers => "Workers",
            Self::Policy => "Policy",
            Self::Rollbacks => "Rollbacks",
            Self::Traces => "Traces",
        }
    }
}

/// A list with a cursor of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListId {
    /// Pools by pressure, in the overview.
    Pressure,
    /// The oldest approvals, in the overview.
    OldestApprovals,
    /// Firing alerts, in the overview.
    Alerts,
    /// The queue of approvals.
    Approvals,
    /// The jobs.
    Jobs,
    /// The workers, as a table.
    Workers,
    /// The workers by pool.
    Pools,
    /// The workers as a heat map: by pool and name, so that a place means a worker.
    HeatMap,
    /// Workflows, and jobs without one, of which an undo is known.
    Rollbacks,
    /// The steps of the undo under the cursor.
    Steps,
    /// Jobs that could not be done.
    DeadLetters,
    /// The jobs of a trace, as a tree.
    Trace,
    /// The rules of the policy.
    Rules,
    /// What a candidate policy would flip.
    Flips,
}

impl ListId {
    /// Every list.
    pub const ALL: [Self; 14] = [
        Self::Pressure,
        Self::OldestApprovals,
        Self::Alerts,
        Self::Approvals,
        Self::Jobs,
        Self::Workers,
        Self::Pools,
        Self::HeatMap,
        Self::Rollbacks,
        Self::Steps,
        Self::DeadLetters,
        Self::Trace,
        Self::Rules,
        Self::Flips,
    ];

    /// The panes of policy while a candidate is tried, from the top down.
    pub const POLICY: [Self; 2] = [Self::Rules, Self::Flips];

    /// The panes of the rollbacks, in the order in which `l` goes through them.
    pub const ROLLBACKS: [Self; 3] = [Self::Rollbacks, Self::Steps, Self::DeadLetters];

    /// Reads a filter for its rows.
    ///
    /// # Errors
    /// [`FilterError`] with the column.
    pub fn filter(self, text: &str) -> Result<Filter, FilterError> {
        match self {
            Self::Approvals | Self::OldestApprovals => View::Approvals.filter(text),
            Self::Workers | Self::Pools | Self::HeatMap => View::Workers.filter(text),
            Self::Rules | Self::Flips => View::Policy.filter(text),
            Self::Rollbacks | Self::Steps => View::Rollbacks.filter(text),
            Self::DeadLetters => Filter::parse::<LetterRow<'_>>(text),
            Self::Jobs | Self::Trace | Self::Pressure | Self::Alerts => View::Jobs.filter(text),
        }
    }

    /// The panes of the overview that have a cursor, from left to right and down.
    pub const OVERVIEW: [Self; 3] = [Self::Pressure, Self::OldestApprovals, Self::Alerts];

    /// What it can be sorted by, the default first.
    pub fn sorts(self) -> &'static [SortKey] {
        match self {
            // The first five are what is asked for most; then the other columns.
            Self::Jobs => &[
                SortKey::Attention,
                SortKey::Age,
                SortKey::Topic,
                SortKey::Worker,
                SortKey::Updated,
                SortKey::State,
                SortKey::Progress,
                SortKey::Verdict,
                SortKey::Tries,
                SortKey::Tenant,
                SortKey::Rule,
                SortKey::Name,
            ],
            Self::Workers => &[
                SortKey::Attention,
                SortKey::Pressure,
                SortKey::Pool,
                SortKey::Name,
                SortKey::Region,
                SortKey::Cpu,
                SortKey::Memory,
                SortKey::Gpu,
                SortKey::Slots,
                SortKey::Progress,
                SortKey::Heard,
            ],
            Self::Approvals => &[
                SortKey::Attention,
                SortKey::Age,
                SortKey::Sla,
                SortKey::Held,
                SortKey::Topic,
                SortKey::Rule,
                SortKey::Risk,
                SortKey::Undo,
                SortKey::Requester,
                SortKey::State,
                SortKey::Tenant,
                SortKey::Resource,
                SortKey::Snapshot,
                SortKey::Name,
            ],
            Self::Pools => &[
                SortKey::Attention,
                SortKey::Name,
                SortKey::Slots,
                SortKey::Cpu,
                SortKey::Memory,
                SortKey::Gpu,
                SortKey::Pressure,
                SortKey::Heard,
                SortKey::Live,
                SortKey::Late,
                SortKey::Lost,
                SortKey::Draining,
                SortKey::Zombie,
            ],
            Self::HeatMap => &[SortKey::Pool],
            Self::Rollbacks => &[
                SortKey::Attention,
                SortKey::State,
                SortKey::Name,
                SortKey::Undone,
                SortKey::Updated,
            ],
            Self::Rules => &[
                SortKey::Attention,
                SortKey::Hits,
                SortKey::Name,
                SortKey::Verdict,
                SortKey::Allowed,
                SortKey::Limited,
                SortKey::Asked,
                SortKey::Throttled,
                SortKey::Denied,
            ],
            Self::DeadLetters => &[
                SortKey::Updated,
                SortKey::Reason,
                SortKey::Topic,
                SortKey::Name,
            ],
            Self::Trace
            | Self::Steps
            | Self::Pressure
            | Self::OldestApprovals
            | Self::Alerts
            | Self::Flips => &[SortKey::Attention],
        }
    }
}

/// How the workers are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkersAs {
    /// A row a worker.
    #[default]
    Table,
    /// A row a pool, which opens.
    Pools,
    /// A cell a worker.
    HeatMap,
}

/// A list with what it is sorted and filtered by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// Cursor, marks and order.
    pub state: ListState,
    /// Which of [`ListId::sorts`] is in force.
    pub(super) sort: usize,
    /// Whether the order is turned around.
    pub reverse: bool,
    /// The filter as it was typed; empty shows all.
    pub filter_text: String,
    /// The filter that is in force.
    pub filter: Option<Filter>,
    /// How many rows there are without the filter.
    pub unfiltered: usize,
}

impl List {
    pub(super) const fn untouched() -> Self {
        Self {
            state: ListState::untouched(),
            sort: 0,
            reverse: false,
            filter_text: String::new(),
            filter: None,
            unfiltered: 0,
        }
    }

    /// Sorts by `key` from now on; says whether a list called `id` can be.
    pub(super) fn sort_by(&mut self, id: ListId, key: SortKey) -> bool {
        let Some(place) = id.sorts().iter().position(|it| *it == key) else {
            return false;
        };
        self.sort = place;
        self.state.invalidate();
        true
    }

    /// Whether its filter lets a row pass that it `matches`; without one all do.
    pub(super) fn passes(&self, matches: impl FnOnce(&Filter) -> bool) -> bool {
        self.filter.as_ref().is_none_or(matches)
    }

    /// What it is sorted by.
    pub fn sort(&self, id: ListId) -> SortKey {
        let sorts = id.sorts();
        sorts[self.sort % sorts.len()]
    }
}

/// An open job detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// The job.
    pub job: JobId,
    /// The view that is shown again when it is closed.
    pub from: View,
    /// Which pane has the keyboard, from 0.
    pub pane: usize,
    /// Lines scrolled, for each pane.
    pub scroll: [usize; Detail::PANES],
}

impl Detail {
    /// Timeline, verdict, undo and result, payload, request, packets.
    pub const PANES: usize = 6;

    pub(super) fn open(job: JobId, from: View) -> Self {
        Self {
            job,
            from,
            pane: 0,
            scroll: [0; Self::PANES],
        }
    }
}
