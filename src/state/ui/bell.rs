//! When to ring: for what a person must hear although nobody looks.
//!
//! An approval arrives or comes into its last five minutes; a cancel that this
//! console asked for is not honored; a server is away for [`AWAY`]. At most one
//! ring in [`QUIET`], none for what this console did itself, none while it shows
//! another time than now. A terminal that has the focus is looked at, so it rings
//! for what is critical alone. Start at [`Bell::hear`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::JobId;
use crate::state::event::{Event, Source};
use crate::state::model::Model;
use crate::state::model::approvals::{Approval, ApprovalStatus};
use crate::time::{Elapsed, Timestamp};

/// Between two rings.
pub const QUIET: Elapsed = Elapsed::from_secs(10);

/// A server that is away this long is worth a ring.
pub const AWAY: Elapsed = Elapsed::from_secs(30);

/// What was rung for already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bell {
    rung_at: Option<Timestamp>,
    /// Approvals that are known to wait; `None` before the first list, which rings for none.
    waiting: Option<BTreeSet<JobId>>,
    late: BTreeSet<JobId>,
    /// Since when each server was away when it was rung for.
    away: BTreeMap<Source, Timestamp>,
    cancels: BTreeSet<JobId>,
    focused: bool,
}

impl Bell {
    /// The terminal got or lost the focus; one that never tells counts as not looked at.
    pub fn focus(&mut self, focused: bool) {
        self.focused = focused;
    }

    /// This console asked that `job` stops: from now on it is watched.
    pub fn watch(&mut self, job: JobId) {
        self.cancels.insert(job);
    }

    /// Looks at what an event brought. Says whether to ring now; `live` is whether
    /// the screen shows the present.
    pub fn hear(&mut self, event: &Event, model: &Model, now: Timestamp, live: bool) -> bool {
        let arrived = matches!(event, Event::Approvals(_)) && self.arrived(model);
        let critical = matches!(event, Event::Tick)
            && (self.turned_late(model, now)
                | self.went_away(model, now)
                | self.was_ignored(model));
        let worth = critical || (arrived && !self.focused);
        let long_ago = self.rung_at.is_none_or(|at| now.since(at) >= QUIET);
        if worth && live && long_ago {
            self.rung_at = Some(now);
            return true;
        }
        false
    }

    fn arrived(&mut self, model: &Model) -> bool {
        let waiting: BTreeSet<JobId> = waiting(model).map(|row| row.id().clone()).collect();
        let new = self
            .waiting
            .as_ref()
            .is_some_and(|known| waiting.iter().any(|id| !known.contains(id)));
        self.late.retain(|id| waiting.contains(id));
        self.waiting = Some(waiting);
        new
    }

    fn turned_late(&mut self, model: &Model, now: Timestamp) -> bool {
        let late: Vec<JobId> = waiting(model)
            .filter(|row| row.sla_band(now) == 0)
            .map(|row| row.id().clone())
            .collect();
        let mut new = false;
        for id in late {
            new |= self.late.insert(id);
        }
        new
    }

    fn went_away(&mut self, model: &Model, now: Timestamp) -> bool {
        let mut new = false;
        for source in Source::ALL {
            let line = model.links.of(source);
            let away = line.was_up && line.reason().is_some() && now.since(line.since) >= AWAY;
            new |= away && self.away.insert(source, line.since) != Some(line.since);
        }
        new
    }

    fn was_ignored(&mut self, model: &Model) -> bool {
        let mut ignored = false;
        self.cancels.retain(|id| {
            let Some(job) = model.jobs.get(id) else {
                return false;
            };
            let cancel = job.cancel.as_ref();
            let goes_on = cancel.is_some_and(|it| it.still_reported_at.is_some());
            let stopped = cancel.is_some_and(|it| it.worker_stopped_at.is_some());
            ignored |= goes_on;
            !goes_on && !stopped
        });
        ignored
    }
}

fn waiting(model: &Model) -> impl Iterator<Item = &Arc<Approval>> {
    model
        .approvals
        .iter()
        .filter(|row| row.fact.status == ApprovalStatus::Pending)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::effect::EffectQueue;
    use crate::state::script;
    use crate::state::step::State;

    /// The seconds of a script in which it rings.
    fn rings(script: &str, focused: bool) -> String {
        let mut bell = Bell::default();
        bell.focus(focused);
        bell.watch(JobId::from("j1"));
        let mut state = State::default();
        let mut rung = Vec::new();
        for event in script::events(script).expect("a script") {
            state.step(&event, &mut EffectQueue::new());
            if bell.hear(&event.value, &state.model, state.now, true) {
                rung.push(state.now.since(script::START).as_secs().to_string());
            }
        }
        rung.join(" ")
    }

    #[track_caller]
    fn check(script: &str, expected: &str) {
        assert_eq!(rings(script, false), expected, "{script}");
    }

    #[test]
    fn it_rings_for_an_approval_that_arrives_and_not_for_those_that_were_there() {
        check("1s approval a | 5s tick", "");
        check("1s nothing-waits | 5s approval a | 6s approval a", "5");
        assert_eq!(rings("1s nothing-waits | 5s approval a", true), "");
    }

    #[test]
    fn it_rings_once_when_the_deadline_comes_near() {
        let script = "1s approval a deadline=360s | 20s tick | 70s tick | 90s tick";
        check(script, "70");
        assert_eq!(
            rings(script, true),
            "70",
            "also for a terminal that is looked at"
        );
    }

    #[test]
    fn it_rings_when_a_server_is_away_for_half_a_minute() {
        check(
            "0s link nats up | 10s link nats down | 39s tick | 40s tick | 60s tick | 70s link nats up | 80s link nats down | 110s tick",
            "40 110",
        );
        check("0s link nats down | 60s tick", "");
    }

    #[test]
    fn it_rings_when_a_worker_goes_on_after_its_cancel() {
        let job = "0s submit j1 | 1s dispatch j1 w1 | 2s progress j1 10% | 3s cancel j1 | 3s cancelled j1 api-gateway";
        check(
            &format!("{job} | 4s tick | 9s progress j1 20% | 10s tick | 30s tick"),
            "10",
        );
        check(&format!("{job} | 4s cancelled j1 w1 | 10s tick"), "");
    }

    #[test]
    fn it_rings_no_more_than_once_in_ten_seconds() {
        check(
            "1s nothing-waits | 5s approval a | 8s approval b | 16s approval c",
            "5 16",
        );
    }
}
