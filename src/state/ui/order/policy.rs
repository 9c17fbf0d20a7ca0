//! The rows of the lists of rules and of what a candidate policy would flip.

use std::cmp::Reverse;

use crate::state::model::Model;
use crate::state::model::jobs::Decision;
use crate::state::model::policy::RuleRow;
use crate::state::ui::list::{SortKey, Subject};
use crate::state::ui::{List, ListId};
use crate::time::Timestamp;

pub(super) fn rules(list: &List, model: &Model, now: Timestamp) -> (Vec<Subject>, usize) {
    let mut rows = model.policy.rows();
    let all = rows.len();
    rows.retain(|row| list.passes(|filter| filter.matches(row, now)));
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

pub(super) fn flips(model: &Model) -> (Vec<Subject>, usize) {
    let told = model.policy.what_if();
    let flips = told.into_iter().flat_map(|(what_if, _)| &what_if.flips);
    let rows: Vec<Subject> = flips.map(|flip| Subject::Flip(flip.key())).collect();
    let all = rows.len();
    (rows, all)
}
