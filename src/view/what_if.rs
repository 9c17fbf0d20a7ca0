//! What a candidate policy would change, in words; the pane of the console is in
//! [`pane`].

use std::sync::Arc;

use crate::state::model::jobs::Decision;
use crate::state::model::what_if::{Flip, WhatIf};
use crate::text;
use crate::view::Prose;

pub mod pane;

/// A decision in a word, as the rules are listed.
pub fn word(decision: Option<Decision>) -> &'static str {
    decision.map_or("unknown", Decision::effect)
}

/// `policy-next.yaml on the last 500 decisions  9 flip, 460 stay, 31 unknown`.
pub fn title(what_if: &WhatIf) -> Prose {
    let on = text::count(what_if.considered, "decision", "decisions");
    Prose::new()
        .outside(Arc::clone(&what_if.file))
        .aside(format!(" on the last {on}  "))
        .own(summary(what_if))
}

/// `9 flip, 460 stay, 31 unknown`.
pub fn summary(what_if: &WhatIf) -> String {
    format!(
        "{} flip, {} stay, {} unknown",
        text::thousands(what_if.flipped()),
        text::thousands(what_if.stays),
        text::thousands(what_if.unknown)
    )
}

/// What is lost: decisions of a person and denials, with the tags that all carry.
pub fn lost(what_if: &WhatIf) -> Prose {
    let of = what_if.flipped();
    let mut says = Prose::new();
    if of == 0 {
        return says;
    }
    let (people, tags) = what_if.lost(Flip::loses_a_person);
    let (denials, denied_tags) = what_if.lost(Flip::loses_a_deny);
    if people > 0 {
        let lose = if people == 1 { "loses" } else { "lose" };
        says = says.strong(format!("{people} of the {of} {lose} a human decision."));
        says = carried(says, people, &tags).own(" ");
    }
    if denials > 0 {
        let lose = if denials == 1 { "loses" } else { "lose" };
        says = says.strong(format!("{denials} of the {of} {lose} a deny."));
        says = carried(says, denials, &denied_tags).own(" ");
    }
    if people + denials == 0 {
        says = says.own("None of them loses a human decision or a deny. ");
    }
    says.own("Velocity rules are not counted in a simulation.")
}

fn carried(says: Prose, jobs: u64, tags: &[Arc<str>]) -> Prose {
    let Some((last, before)) = tags.split_last() else {
        return says;
    };
    let who = match jobs {
        1 => " It carries the tag".to_owned(),
        2 => " Both carry the tag".to_owned(),
        jobs => format!(" All {jobs} carry the tag"),
    };
    let mut says = says
        .own(who)
        .own(if before.is_empty() { " " } else { "s " });
    for (at, tag) in before.iter().enumerate() {
        if at > 0 {
            says = says.own(", ");
        }
        says = says.outside(Arc::clone(tag));
    }
    if !before.is_empty() {
        says = says.own(" and ");
    }
    says.outside(Arc::clone(last)).own(".")
}

/// That nothing was published, and why what is unknown is.
pub fn below(what_if: &WhatIf) -> Prose {
    Prose::new()
        .own("Nothing was published.")
        .then(unknown(what_if))
}

/// ` 31 decisions are unknown: their request is no longer stored.`
pub fn unknown(what_if: &WhatIf) -> Prose {
    let unjudged = what_if.without_verdict;
    let gone = what_if.unknown.saturating_sub(unjudged);
    let mut says = Prose::new();
    for (count, why) in [
        (gone, "their request is no longer stored"),
        (unjudged, "the kernel gave no verdict then"),
    ] {
        if count > 0 {
            let are = text::count(count, "decision is", "decisions are");
            let why = if count == 1 {
                why.replace("their", "its")
            } else {
                why.to_owned()
            };
            says = says.own(format!(" {are} unknown: {why}."));
        }
    }
    says
}
