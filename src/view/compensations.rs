//! Whether policy would allow an undo, in words.

use std::sync::Arc;

use crate::ids::JobId;
use crate::state::State;
use crate::state::event::Source;
use crate::state::model::compensations::Judged;
use crate::state::model::jobs::Decision;
use crate::view::Prose;

/// What the policy in force would say of undoing `job`; `None` if it was not asked.
pub fn judged<'a>(state: &'a State, job: &JobId) -> Option<&'a Arc<Judged>> {
    let model = state.ui.shown(&state.model);
    model.compensations.of(job, model.snapshot.as_deref())
}

/// `would allow it`, or why not: for a fact about the undo of `job`.
pub fn fact(state: &State, job: &JobId) -> Prose {
    match judged(state, job) {
        Some(judged) => why(would(Prose::new(), judged), judged),
        None => not_asked(state, job),
    }
}

/// The same in one line after what the undo is: `, policy would allow it`.
pub fn clause(state: &State, job: &JobId) -> Prose {
    match judged(state, job) {
        Some(judged) => would(Prose::new().own(", policy "), judged),
        None => Prose::new().aside(if state.ui.is_judging(job) {
            ", policy is being asked"
        } else {
            ", policy was not asked"
        }),
    }
}

fn would(says: Prose, judged: &Judged) -> Prose {
    match judged.decision {
        Some(Decision::Allow) => says.own("would allow it"),
        Some(Decision::AllowWithConstraints) => says.own("would allow it within limits"),
        Some(Decision::RequireApproval) => says.strong("would ask a person first"),
        Some(Decision::Throttle) => says.strong("would hold it back"),
        Some(Decision::Deny) => says.strong("would deny it"),
        Some(Decision::Unavailable) | None => says.own("gave no verdict about it"),
    }
}

/// `: rule deny-window, no deploys now`, where it would not simply run.
fn why(says: Prose, judged: &Judged) -> Prose {
    let runs = matches!(
        judged.decision,
        Some(Decision::Allow | Decision::AllowWithConstraints)
    );
    if runs {
        return says;
    }
    let says = match &judged.rule_id {
        Some(rule) => says.own(": rule ").outside(Arc::clone(rule)),
        None => says.own(": no rule matches"),
    };
    match &judged.reason {
        Some(reason) if judged.rule_id.is_some() => says.own(", ").outside(Arc::clone(reason)),
        _ => says,
    }
}

fn not_asked(state: &State, job: &JobId) -> Prose {
    let gateway = state.model.links.of(Source::Gateway);
    Prose::new().aside(if state.ui.is_judging(job) {
        "not known yet"
    } else if gateway.is_up() {
        "unknown: the gateway does not tell"
    } else {
        "unknown: no gateway answers"
    })
}

/// The same in a word, and whether it would simply run.
pub fn in_short(judged: &Judged) -> (&'static str, bool) {
    match judged.decision {
        Some(Decision::Allow) => ("allowed", true),
        Some(Decision::AllowWithConstraints) => ("limited", true),
        Some(Decision::RequireApproval) => ("needs a person", false),
        Some(Decision::Throttle) => ("held back", false),
        Some(Decision::Deny) => ("DENIED", false),
        Some(Decision::Unavailable) | None => ("unknown", false),
    }
}

/// `, which policy would allow`: for a sentence about the undo of `job`.
pub fn which(state: &State, job: &JobId) -> Prose {
    then_which(Prose::new(), state, job)
}

/// The same after what the undo is.
pub fn then_which(says: Prose, state: &State, job: &JobId) -> Prose {
    let Some(judged) = judged(state, job) else {
        return says.own("; whether policy would allow it is unknown");
    };
    let says = says.own(", which policy ");
    let says = match judged.decision {
        Some(Decision::Allow) => says.own("would allow"),
        Some(Decision::AllowWithConstraints) => says.own("would allow within limits"),
        Some(Decision::RequireApproval) => says.strong("would ask a person about first"),
        Some(Decision::Throttle) => says.strong("would hold back"),
        Some(Decision::Deny) => says.strong("would deny"),
        Some(Decision::Unavailable) | None => says.own("gave no verdict about"),
    };
    why(says, judged)
}

/// Which of several jobs could be undone, and what policy would say: `Undo is declared
/// by 3: policy would allow 1, deny 1, unknown 1.` Empty if none could.
pub fn of_many<'a>(state: &State, jobs: impl IntoIterator<Item = &'a JobId>) -> Prose {
    let model = state.ui.shown(&state.model);
    let (mut declared, mut allowed, mut denied, mut others) = (0_u64, 0_u64, 0_u64, 0_u64);
    for job in jobs {
        let request = model.jobs.get(job).and_then(|job| job.request.as_ref());
        if request.is_none_or(|request| request.undo.is_none()) {
            continue;
        }
        declared += 1;
        match judged(state, job).and_then(|judged| judged.decision) {
            Some(Decision::Allow | Decision::AllowWithConstraints) => allowed += 1,
            Some(Decision::Deny) => denied += 1,
            Some(Decision::RequireApproval | Decision::Throttle) => others += 1,
            Some(Decision::Unavailable) | None => {}
        }
    }
    if declared == 0 {
        return Prose::new();
    }
    let unknown = declared - allowed - denied - others;
    let counts = [
        (allowed, "allow"),
        (denied, "deny"),
        (others, "hold back"),
        (unknown, "unknown"),
    ];
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{word} {count}"))
        .collect();
    let says = format!(
        "Undo is declared by {declared}: policy would {}.",
        counts.join(", ")
    );
    // What nobody was asked about is nothing that policy would do.
    Prose::new().own(says.replace("policy would unknown", "policy unknown"))
}

/// The verdict in a word or two, before the undo runs.
pub fn word(judged: &Judged) -> &'static str {
    match judged.decision {
        Some(Decision::Allow) => "would allow",
        Some(Decision::AllowWithConstraints) => "would limit",
        Some(Decision::RequireApproval) => "would ask",
        Some(Decision::Throttle) => "would hold",
        Some(Decision::Deny) => "would deny",
        Some(Decision::Unavailable) | None => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::script;

    /// What is said of the undo of `a` in the three places: fact, clause, sentence.
    #[track_caller]
    fn check(told: &str, expected: [&str; 3]) {
        let script = format!("0s link gateway up | 0s policy s1 | 0s submit a undo=job.u | {told}");
        let state = script::run(&script).expect("a script");
        let job = JobId::from("a");
        let says = [
            fact(&state, &job),
            clause(&state, &job),
            which(&state, &job),
        ];
        assert_eq!(says.map(|it| it.plain()), expected, "{told}");
    }

    #[test]
    fn what_policy_would_say_of_an_undo_is_a_would() {
        check(
            "1s judged a ALLOW rule=r1 snapshot=s1",
            [
                "would allow it",
                ", policy would allow it",
                ", which policy would allow",
            ],
        );
        check(
            "1s judged a DENY rule=r1 reason=never snapshot=s1",
            [
                "would deny it: rule r1, never",
                ", policy would deny it",
                ", which policy would deny: rule r1, never",
            ],
        );
        check(
            "1s judged a DENY snapshot=s1",
            [
                "would deny it: no rule matches",
                ", policy would deny it",
                ", which policy would deny: no rule matches",
            ],
        );
        check(
            "1s judged a REQUIRE_APPROVAL rule=r1 snapshot=s1",
            [
                "would ask a person first: rule r1",
                ", policy would ask a person first",
                ", which policy would ask a person about first: rule r1",
            ],
        );
    }

    #[test]
    fn what_was_not_asked_or_of_another_policy_is_unknown() {
        let unknown = [
            "unknown: the gateway does not tell",
            ", policy was not asked",
            "; whether policy would allow it is unknown",
        ];
        check("1s tick", unknown);
        check("1s judged a ALLOW snapshot=s0", unknown);
        check("1s judged a ALLOW snapshot=s1 | 2s policy s2", unknown);
        check(
            "1s link gateway down",
            [
                "unknown: no gateway answers",
                ", policy was not asked",
                "; whether policy would allow it is unknown",
            ],
        );
    }

    #[test]
    fn undos_of_several_jobs_are_counted() {
        let script = "0s submit a undo=job.u | 0s submit b undo=job.u | 0s submit c undo=job.u \
            | 0s submit d | 1s judged a ALLOW | 1s judged b DENY";
        let state = script::run(script).expect("a script");
        let says = |jobs: &[&str]| {
            let jobs: Vec<JobId> = jobs.iter().map(|job| JobId::from(*job)).collect();
            of_many(&state, &jobs).plain()
        };
        assert_eq!(says(&["d"]), "");
        assert_eq!(
            says(&["a", "b", "c", "d"]),
            "Undo is declared by 3: policy would allow 1, deny 1, unknown 1."
        );
        assert_eq!(says(&["c"]), "Undo is declared by 1: policy unknown 1.");
    }
}
