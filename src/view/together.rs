//! What a decision would do: to one job, or summed up over several.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ids::JobId;
use crate::state::model::Model;
use crate::state::model::approvals::{Approval, held};
use crate::state::ui::modal::DecideDialog;
use crate::text;
use crate::view::Prose;

/// Things named one by one; of more only the number is told.
const NAMED: usize = 6;

/// What a decision about several jobs would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Together {
    /// Who would run what.
    pub sentence: Prose,
    /// The systems, namespaces and resources that all of them touch.
    pub touches: Prose,
    /// How many can be undone.
    pub undo: Prose,
    /// How many known jobs stand behind them.
    pub behind: Prose,
    /// The jobs, in the order they are decided.
    pub rows: Vec<TogetherRow>,
}

/// One of the jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TogetherRow {
    /// The job.
    pub id: JobId,
    /// Who asked.
    pub requester: Option<Arc<str>>,
    /// What it is done to.
    pub resource: Option<Arc<str>>,
    /// Whether it can be undone; `None` is not known.
    pub undo: Option<bool>,
    /// Why it is left out; `None` while it is not.
    pub out: Option<String>,
}

/// Who runs, or would have run, what on what: `agent-7 will run patch on billing`.
pub fn deed(approval: Option<&Approval>, verb: &str) -> Prose {
    let runs = approval.map(Approval::what_runs).unwrap_or_default();
    let requester = approval.and_then(Approval::requester);
    let says = said(Prose::new(), &requester, "an unknown requester");
    let says = said(says.own(verb), &runs.what, "an unknown action");
    let says = said(says.own(" on "), &runs.system, "an unknown system");
    match runs.resource {
        Some(resource) => says.own(" (").outside(resource).own(")"),
        None => says,
    }
}

fn said(says: Prose, value: &Option<Arc<str>>, missing: &str) -> Prose {
    match value {
        Some(value) => says.outside(value.clone()),
        None => says.own(missing),
    }
}

/// The sums over the jobs of `dialog` that are left.
pub fn together(model: &Model, dialog: &DecideDialog) -> Together {
    let left: Vec<&Approval> = dialog
        .left()
        .filter_map(|job| model.approvals.get(job))
        .map(AsRef::as_ref)
        .collect();
    let verb = if dialog.verb == "approve" {
        " will run "
    } else {
        " will not run "
    };
    Together {
        sentence: sentence(&left, verb),
        touches: touches(&left),
        undo: undo(&left),
        behind: behind(model, &left),
        rows: dialog
            .jobs
            .iter()
            .map(|id| {
                let approval = model.approvals.get(id);
                TogetherRow {
                    id: id.clone(),
                    requester: approval.and_then(|it| it.requester()),
                    resource: approval.and_then(|it| it.what_runs().resource),
                    undo: approval.and_then(|it| it.undo()).map(|it| it.is_some()),
                    out: dialog.out.get(id).cloned(),
                }
            })
            .collect(),
    }
}

fn sentence(left: &[&Approval], verb: &str) -> Prose {
    let Some(first) = left.first() else {
        return Prose::new().strong("Nothing is left to decide.");
    };
    let actors: BTreeSet<Arc<str>> = left.iter().filter_map(|it| it.requester()).collect();
    let runs = first.what_runs();
    let says = named(Prose::new(), &actors, "an unknown requester");
    // They share action and tenant: that is what makes them one decision.
    let says = said(says.own(verb), &runs.what, "an unknown action");
    let says = said(says.own(" on "), &runs.system, "an unknown system");
    let request = first.fact.job.request.as_ref();
    let tenant = request.and_then(|request| request.tenant.clone());
    let times = text::count(left.len() as u64, "time", "times");
    said(says.own(format!(", {times}, tenant ")), &tenant, "unknown").own(".")
}

fn named(says: Prose, names: &BTreeSet<Arc<str>>, none: &str) -> Prose {
    if names.is_empty() {
        return says.own(none);
    }
    let mut says = says;
    for (at, name) in names.iter().take(NAMED).enumerate() {
        says = says
            .own(if at > 0 { ", " } else { "" })
            .outside(name.clone());
    }
    match names.len().saturating_sub(NAMED) {
        0 => says,
        more => says.own(format!(" and {more} more")),
    }
}

fn touches(left: &[&Approval]) -> Prose {
    let mut systems = BTreeSet::new();
    let mut namespaces = BTreeSet::new();
    let mut resources = BTreeSet::new();
    let mut silent = 0;
    for approval in left {
        let runs = approval.what_runs();
        silent += usize::from(!runs.declares_blast_radius());
        systems.extend(runs.system);
        resources.extend(runs.resource);
        namespaces.extend(runs.namespace);
    }
    let mut says = Prose::new();
    for (label, names) in [
        ("Systems: ", &systems),
        ("Namespaces: ", &namespaces),
        ("Resources: ", &resources),
    ] {
        if !names.is_empty() {
            let blank = if says.is_empty() { "" } else { " " };
            says = named(says.own(blank).own(label), names, "").own(".");
        }
    }
    if silent > 0 {
        let blank = if says.is_empty() { "" } else { " " };
        says = says.strong(format!("{blank}{silent} declare no blast radius."));
    }
    says
}

fn undo(left: &[&Approval]) -> Prose {
    let of = left.len();
    let can = left
        .iter()
        .filter(|it| matches!(it.undo(), Some(Some(_))))
        .count();
    let unknown = left.iter().filter(|it| it.undo().is_none()).count();
    match (can, unknown) {
        (can, _) if can == of => Prose::new().own("Undo: each has one."),
        (can, 0) => Prose::new().strong(format!("Undo: {can} of {of} have one.")),
        (can, unknown) => {
            Prose::new().strong(format!("Undo: {can} of {of} have one, {unknown} unknown."))
        }
    }
}

fn behind(model: &Model, left: &[&Approval]) -> Prose {
    let known: Vec<u32> = left.iter().filter_map(|it| held(it, &model.jobs)).collect();
    let sum: u64 = known.iter().copied().map(u64::from).sum();
    let behind = text::count(sum, "known job stands", "known jobs stand");
    Prose::new().own(match left.len() - known.len() {
        0 => format!("{behind} behind them."),
        silent => format!("{behind} behind them; {silent} do not tell."),
    })
}
