//! What policy says and how its kernel is, as the gateway tells; and how often each
//! rule has decided.
//!
//! Nothing of this travels on the bus. Where the gateway keeps a log of decisions,
//! its counts are believed; else the verdicts of the jobs that are known are counted
//! from the start of this console. Start at [`Policy::rows`].

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::JobId;
use crate::state::limits;
use crate::state::model::jobs::Decision;
use crate::state::model::what_if::WhatIf;
use crate::state::shared::Text;
use crate::time::{Elapsed, Timestamp};

/// Counts by outcome, in the order of [`Decision::ALL`].
pub type Counts = [u64; Decision::ALL.len()];

/// A rule as the gateway lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Its id.
    pub id: Arc<str>,
    /// What it decides.
    pub decision: Option<Decision>,
    /// Why.
    pub reason: Text,
}

/// How often rules decided, from the gateway's log: a job counts once for each rule
/// that decided about it, however often policy was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The counts of each rule; under `None` those of no rule.
    pub counts: BTreeMap<Text, Counts>,
    /// How many records were read.
    pub read: usize,
    /// Whether there are older ones that were not read.
    pub more: bool,
    /// Since when the gateway keeps it, by the plane's clock; `None` where it does not
    /// tell.
    pub since: Option<Timestamp>,
}

/// Whether a decision only says that a person's yes let a job go on: planes put it on
/// record as an allow by the rule that asked for them.
pub fn is_grant(decision: Decision, reason: Option<&str>) -> bool {
    decision == Decision::Allow && reason == Some("approval granted")
}

/// The breaker between scheduler and kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    /// `closed`, `open` or `half_open`, as the plane says.
    pub state: Arc<str>,
    /// Failures in a row.
    pub failures: Option<u64>,
    /// As many open it.
    pub threshold: Option<u64>,
    /// When it is tried again, if it is open.
    pub tries_at: Option<Timestamp>,
}

impl Breaker {
    /// Whether it keeps questions from the kernel.
    pub fn is_open(&self) -> bool {
        &*self.state == "open"
    }
}

/// How the kernel is. What is `None` the gateway does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Whether it answers.
    pub answers: Option<bool>,
    /// Why not.
    pub error: Text,
    /// Where it is, if it is not part of the plane.
    pub address: Text,
    /// Half of its answers take no longer.
    pub p50: Option<Elapsed>,
    /// 99 of 100 answers take no longer.
    pub p99: Option<Elapsed>,
    /// How often it is asked in a minute.
    pub asked_per_minute: Option<u64>,
    /// The breaker.
    pub breaker: Option<Breaker>,
    /// Whether jobs run unjudged while it does not answer.
    pub fails_open: Option<bool>,
    /// How many jobs did.
    pub bypassed: Option<u64>,
    /// What is wrong with the policy file that is not in force.
    pub broken: Text,
    /// When the policy in force was loaded, by the plane's clock.
    pub loaded_at: Option<Timestamp>,
}

/// What the gateway tells about policy in one round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyFact {
    /// The rules in order; `None` where it does not list them.
    pub rules: Option<Vec<Rule>>,
    /// What is decided when no rule matches.
    pub unmatched: Option<Decision>,
    /// Snapshots, the newest first.
    pub snapshots: Vec<Arc<str>>,
    /// How the kernel is; `None` where it does not tell.
    pub kernel: Option<Kernel>,
    /// Its log of decisions; `None` where it has none.
    pub log: Option<Log>,
}

/// A row of the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRow {
    /// The rule; `None` stands for "no rule matched".
    pub id: Text,
    /// Its place in the order of evaluation, from 1; `None` for one that has decided
    /// and is not listed.
    pub number: Option<usize>,
    /// What it decides, where that is known.
    pub decision: Option<Decision>,
    /// Why.
    pub reason: Text,
    /// How often it decided what.
    pub counts: Counts,
}

impl RuleRow {
    /// How often it decided.
    pub fn hits(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Policy, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    told: Option<Arc<PolicyFact>>,
    told_at: Option<Timestamp>,
    heard: BTreeMap<Text, Counts>,
    heard_since: Option<Timestamp>,
    /// When each snapshot was first seen in force; `None` for the one that was at
    /// the start.
    seen: BTreeMap<Arc<str>, Option<Timestamp>>,
    explained: Option<Arc<Explanation>>,
    what_if: Option<(Arc<WhatIf>, Timestamp)>,
}

impl Policy {
    /// What the gateway told last.
    pub fn told(&self) -> Option<&Arc<PolicyFact>> {
        self.told.as_ref()
    }

    /// When that was.
    pub fn told_at(&self) -> Option<Timestamp> {
        self.told_at
    }

    /// Since when verdicts of jobs are counted here; `None` before the first.
    pub fn heard_since(&self) -> Option<Timestamp> {
        self.heard_since
    }

    /// The log of the gateway, if it keeps one.
    pub fn log(&self) -> Option<&Log> {
        self.told.as_ref()?.log.as_ref()
    }

    /// When a snapshot was seen to come into force: `None` if it never was,
    /// `Some(None)` if it was in force at the start.
    pub fn seen(&self, snapshot: &str) -> Option<Option<Timestamp>> {
        self.seen.get(snapshot).copied()
    }

    /// What policy said of a job, when it was asked to explain it last.
    pub fn explained(&self, job: &JobId) -> Option<&Arc<Explanation>> {
        self.explained.as_ref().filter(|it| it.job == *job)
    }

    /// What the candidate that was tried last would change, and when that was told.
    pub fn what_if(&self) -> Option<&(Arc<WhatIf>, Timestamp)> {
        self.what_if.as_ref()
    }

    /// The rules in the order of evaluation, then those that decided and are not
    /// listed, the busiest first, then "no rule matched".
    pub fn rows(&self) -> Vec<RuleRow> {
        let counts = self.log().map_or(&self.heard, |log| &log.counts);
        let count_of = |id: &Text| counts.get(id).copied().unwrap_or_default();
        let listed = self.told.as_ref().and_then(|told| told.rules.as_deref());
        let listed = listed.unwrap_or_default();
        let mut rows: Vec<RuleRow> = listed
            .iter()
            .enumerate()
            .map(|(at, rule)| RuleRow {
                id: Some(Arc::clone(&rule.id)),
                number: Some(at + 1),
                decision: rule.decision,
                reason: rule.reason.clone(),
                counts: count_of(&Some(Arc::clone(&rule.id))),
            })
            .collect();
        let mut others: Vec<RuleRow> = counts
            .iter()
            .filter(|(id, _)| {
                let id = id.as_ref();
                id.is_some_and(|id| !listed.iter().any(|rule| rule.id == *id))
            })
            .map(|(id, counts)| RuleRow {
                id: id.clone(),
                number: None,
                decision: only_outcome(counts),
                reason: None,
                counts: *counts,
            })
            .collect();
        others.sort_by_key(|row| (std::cmp::Reverse(row.hits()), row.id.clone()));
        rows.extend(others);
        if !rows.is_empty() || counts.contains_key(&None) {
            let counts = count_of(&None);
            let unmatched = self.told.as_ref().and_then(|told| told.unmatched);
            rows.push(RuleRow {
                id: None,
                number: None,
                decision: unmatched.or_else(|| only_outcome(&counts)),
                reason: None,
                counts,
            });
        }
        rows
    }

    /// A snapshot is in force at `now`.
    pub(crate) fn in_force(&mut self, snapshot: &Arc<str>, now: Timestamp) {
        if self.seen.contains_key(snapshot) {
            return;
        }
        let since = (!self.seen.is_empty()).then_some(now);
        if self.seen.len() >= limits::SNAPSHOTS {
            let oldest = self.seen.iter().min_by_key(|(_, at)| **at);
            if let Some(oldest) = oldest.map(|(name, _)| Arc::clone(name)) {
                self.seen.remove(&oldest);
            }
        }
        self.seen.insert(Arc::clone(snapshot), since);
    }

    /// A job was judged. Rules beyond [`limits::RULES`] are not counted.
    pub(crate) fn judged(&mut self, rule: &Text, decision: Decision, now: Timestamp) {
        self.heard_since.get_or_insert(now);
        // A kernel that does not answer is no rule's doing.
        if decision == Decision::Unavailable {
            return;
        }
        if !self.heard.contains_key(rule) && self.heard.len() >= limits::RULES {
            return;
        }
        self.heard.entry(rule.clone()).or_default()[decision as usize] += 1;
    }

    /// Takes in what the gateway tells.
    pub(crate) fn learn(&mut self, fact: &PolicyFact, now: Timestamp) {
        self.told = Some(Arc::new(fact.clone()));
        self.told_at = Some(now);
    }

    /// Takes in what a candidate would change; the last one is kept.
    pub(crate) fn tried(&mut self, what_if: &WhatIf, now: Timestamp) {
        self.what_if = Some((Arc::new(what_if.clone()), now));
    }

    /// Takes in an explanation; the last one is kept.
    pub(crate) fn explain(&mut self, explanation: &Explanation) {
        self.explained = Some(Arc::new(explanation.clone()));
    }
}

/// The one outcome of all counts; `None` if there are several, or none.
fn only_outcome(counts: &Counts) -> Option<Decision> {
    let mut outcomes = Decision::ALL
        .iter()
        .filter(|decision| counts[**decision as usize] > 0);
    let first = outcomes.next().copied();
    first.filter(|_| outcomes.next().is_none())
}

/// What policy says of a job now, rule by rule where the gateway tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The job.
    pub job: JobId,
    /// What is decided.
    pub decision: Option<Decision>,
    /// By which rule.
    pub rule_id: Text,
    /// Why.
    pub reason: Text,
    /// Under which snapshot.
    pub snapshot: Text,
    /// The rules in the order of evaluation; empty where the gateway tells none.
    pub rules: Vec<RuleTrace>,
    /// Whether the stored request was asked about, and not only what a list tells.
    pub stored: bool,
}

/// How one rule met the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleTrace {
    /// The rule.
    pub id: Arc<str>,
    /// What it would decide.
    pub decision: Option<Decision>,
    /// What came of it, in the plane's words.
    pub outcome: Text,
    /// What it asks; empty when it matches everything.
    pub facts: Vec<FactTrace>,
}

/// One thing that a rule asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FactTrace {
    /// The field, such as `topics` or `labels.env`.
    pub field: Arc<str>,
    /// What the rule wants.
    pub wanted: Text,
    /// What the request has.
    pub seen: Text,
    /// Whether that is enough.
    pub holds: bool,
}

#[cfg(test)]
mod tests {
    use crate::state::script;

    /// The rows after a script: number, rule, decision, hits.
    #[track_caller]
    fn check(script: &str, expected: &[&str]) {
        let state = script::run(script).expect("a script");
        let rows: Vec<String> = state
            .model
            .policy
            .rows()
            .iter()
            .map(|row| {
                let number = row.number.map_or("-".to_owned(), |it| it.to_string());
                let rule = row.id.as_deref().unwrap_or("(none)");
                let does = row.decision.map_or("?", |it| it.name());
                format!("{number} {rule} {does} {}", row.hits())
            })
            .collect();
        assert_eq!(rows, expected, "{script}");
    }

    const JUDGED: &str = "0s told a PENDING decision=ALLOW rule=allow-known | 1s told b PENDING decision=ALLOW rule=allow-known \
         | 2s told c DENIED decision=DENY | 3s told d DENIED decision=DENY rule=old-rule | 3s told e PENDING decision=UNAVAILABLE";

    #[test]
    fn without_a_list_the_rules_that_decided_are_the_rows() {
        check("0s tick", &[]);
        check(
            JUDGED,
            &[
                "- allow-known ALLOW 2",
                "- old-rule DENY 1",
                "- (none) DENY 1",
            ],
        );
    }

    #[test]
    fn listed_rules_keep_their_order_and_those_without_hits_are_there() {
        check(
            &format!("{JUDGED} | 4s rules deny-pii:DENY,allow-known:ALLOW unmatched=DENY"),
            &[
                "1 deny-pii DENY 0",
                "2 allow-known ALLOW 2",
                "- old-rule DENY 1",
                "- (none) DENY 1",
            ],
        );
    }

    #[test]
    fn a_log_of_the_gateway_is_believed_before_what_was_heard() {
        check(
            &format!(
                "{JUDGED} | 4s rules allow-known:ALLOW log=allow-known:ALLOW:500,x:THROTTLE:3"
            ),
            &["1 allow-known ALLOW 500", "- x THROTTLE 3", "- (none) ? 0"],
        );
    }

    #[test]
    fn a_job_that_is_told_again_counts_once() {
        let twice = format!("{JUDGED} | 9s told a PENDING decision=ALLOW rule=allow-known");
        check(
            &twice,
            &[
                "- allow-known ALLOW 2",
                "- old-rule DENY 1",
                "- (none) DENY 1",
            ],
        );
    }

    #[test]
    fn a_snapshot_is_dated_only_if_it_was_seen_to_come() {
        let state = script::run("0s policy s1 | 9s policy s2 | 12s policy s1").expect("a script");
        let seen = |name: &str| {
            let policy = &state.model.policy;
            policy
                .seen(name)
                .map(|at| at.map(|at| at.since(script::START).as_secs()))
        };
        assert_eq!(
            (seen("s1"), seen("s2"), seen("s0")),
            (Some(None), Some(Some(9)), None)
        );
    }
}
