//! Policy: rules with their hits, the kernel and its breaker, snapshots and what a
//! publish ended; and why a job is judged as it is.

use std::sync::Arc;

use crate::ids::JobId;
use crate::state::State;
use crate::state::event::Source;
use crate::state::model::Model;
use crate::state::model::approvals::ApprovalStatus;
use crate::state::model::jobs::{Decision, JobState, WaitingOn};
use crate::state::model::policy::{Counts, Explanation, Log, RuleTrace};
use crate::state::ui::ListId;
use crate::state::ui::list::Subject;
use crate::text;
use crate::time::{Elapsed, Timestamp};
use crate::view::{Fact, Prose, shown};

/// An answer that takes longer than this is slow: a quarter of the scheduler's limit.
const SLOW: Elapsed = Elapsed::from_millis(500);

/// Approvals that end this close together were ended by one publish.
const TOGETHER: Elapsed = Elapsed::from_secs(60);

/// Ends of ids that are named one by one.
const NAMED: usize = 4;

/// The outcomes that have a column, in its order.
pub const OUTCOMES: [Decision; 5] = [
    Decision::Allow,
    Decision::AllowWithConstraints,
    Decision::RequireApproval,
    Decision::Throttle,
    Decision::Deny,
];

/// The view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyView {
    /// The rules that can be seen.
    pub rows: Vec<RuleRow>,
    /// Place of the first of them, from 0.
    pub first: usize,
    /// Rows that pass the filter.
    pub passing: usize,
    /// Rows without the filter.
    pub known: usize,
    /// What hits are counted over.
    pub hits: String,
    /// What they are sorted by, in words.
    pub sort: &'static str,
    /// The filter as typed; empty shows all.
    pub filter: String,
    /// What there is to say below the rules.
    pub below: Prose,
    /// How the kernel is.
    pub kernel: KernelView,
    /// Snapshots, the newest first.
    pub snapshots: Vec<SnapshotRow>,
    /// What the last publish ended; empty if nothing.
    pub ended: Prose,
    /// Why nothing is known, where nothing is.
    pub missing: Option<Prose>,
    /// Since when nobody told of it, if that is too long.
    pub old: Option<Elapsed>,
}

/// A rule in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRow {
    /// Its place in the order of evaluation; `None` if it is not listed.
    pub number: Option<usize>,
    /// Its id; `None` for "no rule matched".
    pub id: Option<Arc<str>>,
    /// What it decides.
    pub decision: Option<Decision>,
    /// How often it decided what, in the order of [`OUTCOMES`].
    pub counts: [u64; OUTCOMES.len()],
    /// The cursor is here.
    pub selected: bool,
}

impl RuleRow {
    /// How often it decided.
    pub fn hits(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// How well the kernel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Healthy,
    /// It answers late.
    Slow,
    /// It does not answer, or is not asked.
    Down,
    /// Nobody tells.
    Unknown,
}

/// The kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelView {
    /// How well it is.
    pub health: Health,
    /// The same in words.
    pub word: String,
    /// More about it.
    pub facts: Vec<Fact>,
}

/// A snapshot of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Its name.
    pub name: Arc<str>,
    /// It is in force.
    pub current: bool,
    /// When it was seen to come into force; `earlier` if that was before our start.
    pub since: String,
}

/// The view with the rules of `height` lines.
pub fn policy(state: &State, height: usize) -> PolicyView {
    let (model, now) = shown(state);
    let list = state.ui.list(ListId::Rules);
    let window = list.state.window(height);
    let all = model.policy.rows();
    let rows = list.state.order()[window.clone()]
        .iter()
        .filter_map(|subject| {
            let Subject::Rule(id) = subject else {
                return None;
            };
            let row = all.iter().find(|row| row.id == *id)?;
            Some(RuleRow {
                number: row.number,
                id: row.id.clone(),
                decision: row.decision,
                counts: columns(&row.counts),
                selected: list.state.selected() == Some(subject),
            })
        });
    PolicyView {
        rows: rows.collect(),
        first: window.start,
        passing: list.state.order().len(),
        known: list.unfiltered,
        hits: counted_over(model),
        sort: list.sort(ListId::Rules).word(),
        filter: list.filter_text.clone(),
        below: below(model),
        kernel: kernel(model, now),
        snapshots: snapshots(model, now),
        ended: ended(model, now),
        missing: missing(state, model),
        old: old(state, model, now),
    }
}

fn columns(counts: &Counts) -> [u64; OUTCOMES.len()] {
    OUTCOMES.map(|decision| counts[decision as usize])
}

fn counted_over(model: &Model) -> String {
    match (model.policy.log(), model.policy.heard_since()) {
        (Some(log), _) if log.more => format!(
            "hits in the last {} decisions",
            text::thousands(log.read as u64)
        ),
        (Some(log), _) => format!("hits in {}", on_record(model, log).unwrap_or("24h".into())),
        (None, Some(since)) => format!("hits known since {}", text::clock(since)),
        (None, None) => "no hits known".to_owned(),
    }
}

/// How far back a log goes that is younger than the day which it is asked about: `2m`.
fn on_record(model: &Model, log: &Log) -> Option<String> {
    let span = model.policy.told_at()?.since(log.since?).as_secs();
    match span {
        0..60 => Some(format!("{span}s")),
        60..3_600 => Some(format!("{}m", span / 60)),
        3_600..86_400 => Some(format!("{}h", span / 3_600)),
        _ => None,
    }
}

fn below(model: &Model) -> Prose {
    let says = Prose::new();
    let listed = model.policy.told().is_some_and(|told| told.rules.is_some());
    let rows = model.policy.rows();
    if model.policy.told().is_some() && !listed {
        return says.own("This gateway does not list its rules: those that have decided are shown, the busiest first.");
    }
    let idle: Vec<_> = rows
        .iter()
        .filter(|row| row.number.is_some() && row.hits() == 0)
        .filter_map(|row| row.id.clone())
        .collect();
    let over = match model.policy.log() {
        Some(log) if log.more => "in these decisions".to_owned(),
        Some(log) => match on_record(model, log) {
            Some(span) => format!("in the {span} on record"),
            None => "for 24h".to_owned(),
        },
        None => "that is known".to_owned(),
    };
    match idle.as_slice() {
        [] => says,
        [only] => says
            .outside(Arc::clone(only))
            .own(format!(" has matched nothing {over}.")),
        many => says.own(format!("{} rules have matched nothing {over}.", many.len())),
    }
}

fn kernel(model: &Model, now: Timestamp) -> KernelView {
    let waiting = model
        .jobs
        .by_attention()
        .take_while(|job| !job.is_ended())
        .filter(|job| job.waits_on() == Some(WaitingOn::KernelUnavailable))
        .count();
    let unknown = || Prose::new().aside("unknown: not told");
    let told = model.policy.told().and_then(|told| told.kernel.as_ref());
    let asked: u64 = Decision::ALL
        .iter()
        .map(|decision| model.decisions.lately(*decision, now))
        .sum();
    let asked = Fact::new(
        "asked",
        Prose::new().own(format!("{} known in 5 min", text::thousands(asked))),
    );
    let waits = (waiting > 0).then(|| {
        let jobs = text::count(waiting as u64, "job waits", "jobs wait");
        Fact::new("waiting", Prose::new().strong(format!("{jobs} for it")))
    });
    let Some(kernel) = told else {
        let mut facts = vec![
            Fact::new("answers", unknown()),
            asked,
            Fact::new("breaker", unknown()),
            Fact::new("if down", unknown()),
        ];
        facts.extend(waits);
        return KernelView {
            health: Health::Unknown,
            word: "unknown".to_owned(),
            facts,
        };
    };
    // What the plane counted goes before what this console has seen of it.
    let asked = match kernel.asked_per_minute {
        Some(times) => {
            let says = format!("{} a minute", text::thousands(times));
            Fact::new("asked", Prose::new().own(says))
        }
        None => asked,
    };
    let open = kernel.breaker.as_ref().filter(|breaker| breaker.is_open());
    let tries = open
        .and_then(|breaker| breaker.tries_at)
        .map(|at| text::age(at.since(now)));
    let slow = kernel
        .p99
        .is_some_and(|p99| p99.as_millis() > SLOW.as_millis());
    let (health, word) = match (open, kernel.answers) {
        (Some(_), _) => match &tries {
            Some(left) => (Health::Down, format!("open, tries in {left}")),
            None => (Health::Down, "open".to_owned()),
        },
        (None, Some(false)) => (Health::Down, "does not answer".to_owned()),
        (None, _) if slow => (Health::Slow, "slow".to_owned()),
        (None, Some(true)) => (Health::Healthy, "healthy".to_owned()),
        (None, None) if kernel.breaker.is_some() => (Health::Healthy, "asked".to_owned()),
        (None, None) => (Health::Unknown, "unknown".to_owned()),
    };
    let answers = match (kernel.p50, kernel.p99, &kernel.error) {
        (_, _, Some(error)) => Prose::new().outside(Arc::clone(error)),
        (Some(p50), Some(p99), None) => Prose::new().own(format!(
            "p50 {}, p99 {}, limit 2s",
            text::duration(p50),
            text::duration(p99)
        )),
        _ => Prose::new().aside("unknown how fast, limit 2s"),
    };
    let breaker = match &kernel.breaker {
        None => unknown(),
        Some(breaker) => {
            let says = Prose::new().own(breaker.state.replace('_', "-"));
            let says = match (breaker.failures, breaker.threshold) {
                (Some(failures), Some(of)) => says.own(format!(", {failures} of {of} failures")),
                (Some(failures), None) => says.own(format!(", {failures} failures")),
                (None, _) => says,
            };
            match &tries {
                Some(left) => says.own(format!(", tries again in {left}")),
                None => says,
            }
        }
    };
    let if_down = match kernel.fails_open {
        Some(false) => Prose::new().own("fail closed: jobs wait"),
        Some(true) => Prose::new().strong("FAIL OPEN: jobs run unjudged"),
        None => unknown(),
    };
    let mut facts = vec![
        Fact::new("answers", answers),
        asked,
        Fact::new("breaker", breaker),
        Fact::new("if down", if_down),
    ];
    if let Some(address) = &kernel.address {
        let at = Prose::new().outside(Arc::clone(address));
        facts.insert(0, Fact::new("by gRPC", at));
    }
    facts.extend(waits);
    if let Some(bypassed) = kernel.bypassed.filter(|count| *count > 0) {
        let says = text::count(bypassed, "job ran unjudged", "jobs ran unjudged");
        facts.push(Fact::new("bypassed", Prose::new().strong(says)));
    }
    if let Some(broken) = &kernel.broken {
        let says = Prose::new()
            .strong("the last one is broken, the one before stays: ")
            .outside(Arc::clone(broken));
        facts.push(Fact::new("file", says));
    }
    KernelView {
        health,
        word,
        facts,
    }
}

fn snapshots(model: &Model, now: Timestamp) -> Vec<SnapshotRow> {
    let current = model.snapshot.as_ref();
    let told = model.policy.told();
    let mut names: Vec<Arc<str>> = told.map_or_else(Vec::new, |told| told.snapshots.clone());
    // What was heard to be in force may be younger than what was asked for.
    if let Some(current) = current.filter(|current| !names.contains(current)) {
        names.insert(0, Arc::clone(current));
    }
    // The plane tells since when of the newest one that it listed.
    let loaded_at = told
        .filter(|told| told.snapshots.first() == current)
        .and_then(|told| told.kernel.as_ref()?.loaded_at);
    // One that was taken back to stands in the list for each time.
    let newest = names.iter().position(|name| Some(name) == current);
    names
        .into_iter()
        .enumerate()
        .map(|(place, name)| {
            let is_current = newest == Some(place);
            let seen = model.policy.seen(&name).flatten();
            let since = loaded_at.filter(|_| is_current).or(seen);
            SnapshotRow {
                current: is_current,
                since: since.map_or_else(|| "earlier".to_owned(), |at| text::clock_near(at, now)),
                name,
            }
        })
        .collect()
}

/// Approvals that nobody decided and that the plane ended, judged under another
/// policy than the one in force: the last such batch.
fn ended(model: &Model, now: Timestamp) -> Prose {
    let current = model.snapshot.as_ref();
    let ended = model.approvals.ended();
    let by_publish = ended.into_iter().filter(|approval| {
        let judged = approval.fact.job.verdict.as_ref();
        let judged = judged.and_then(|verdict| verdict.snapshot.as_ref());
        let state = model.jobs.get(approval.id()).and_then(|job| job.state);
        approval.fact.status == ApprovalStatus::Invalidated
            && judged.is_some()
            && judged != current
            && !matches!(state, Some(JobState::Cancelled | JobState::Failed))
    });
    let all: Vec<(Timestamp, JobId)> = by_publish
        .filter_map(|approval| Some((approval.fact.resolved_at?, approval.id().clone())))
        .collect();
    let Some((last, _)) = all.first() else {
        return Prose::new();
    };
    let batch: Vec<&JobId> = all
        .iter()
        .filter(|(at, _)| last.since(*at).as_millis() <= TOGETHER.as_millis())
        .map(|(_, job)| job)
        .collect();
    let count = text::count(batch.len() as u64, "waiting approval", "waiting approvals");
    let mut says = Prose::new()
        .own(text::clock_near(*last, now))
        .own(format!(" ended {count}: "));
    for (at, job) in batch.iter().take(NAMED).enumerate() {
        if at > 0 {
            says = says.own(", ");
        }
        says = says.outside(text::id_tail(job.as_str()));
    }
    match batch.len().saturating_sub(NAMED) {
        0 => says.own(", nobody decided."),
        more => says.own(format!(" and {more} more, nobody decided.")),
    }
}

fn missing(state: &State, model: &Model) -> Option<Prose> {
    let known = model.policy.told().is_some() || !model.policy.rows().is_empty();
    if known && !state.ui.awaits_rules(model) {
        return None;
    }
    let says = Prose::new();
    Some(match state.ui.policy_refused() {
        Some(why) => says
            .own("Policy could not be read: ")
            .outside(Arc::clone(why))
            .own(". r reads it again."),
        None if model.links.of(Source::Gateway).is_up() => says.own("Asking the gateway for policy."),
        None => says.own("Policy does not travel on the bus: a gateway tells rules, snapshots and the kernel's health, and none answers."),
    })
}

/// How old what was told is, once that is twice the usual interval.
fn old(state: &State, model: &Model, now: Timestamp) -> Option<Elapsed> {
    let told_at = model.policy.told_at()?;
    let age = now.since(told_at);
    let frozen = state.ui.frozen().is_some();
    (!frozen && age.as_secs() > 20).then_some(age)
}

/// Why a job is judged as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainView {
    /// The job.
    pub job: JobId,
    /// What policy says now, and how that differs from what it said.
    pub says: Vec<Prose>,
    /// The rules in the order of evaluation.
    pub rules: Vec<RuleTrace>,
}

/// What is known of why `job` is judged as it is.
pub fn explain(state: &State, job: &JobId) -> ExplainView {
    let model = &state.model;
    let explained = model.policy.explained(job);
    let mut says = Vec::new();
    if let Some(why) = state.ui.unexplained(job) {
        says.push(
            Prose::new()
                .strong("Not explained: ")
                .outside(Arc::clone(why))
                .own("."),
        );
    } else if state.ui.is_explaining(job) && explained.is_none() {
        says.push(Prose::new().own("Asking the gateway what policy says of this job now."));
    } else if explained.is_none() {
        says.push(Prose::new().own("Nothing is known of it."));
    }
    let rules = match explained {
        Some(explained) => {
            says.extend(verdicts(model, explained));
            explained.rules.clone()
        }
        None => Vec::new(),
    };
    ExplainView {
        job: job.clone(),
        says,
        rules,
    }
}

fn decided(says: Prose, decision: Option<Decision>) -> Prose {
    let name = decision.map_or_else(|| "unknown".to_owned(), |it| it.name().to_ascii_lowercase());
    says.strong(name)
}

fn by(says: Prose, rule: Option<&Arc<str>>) -> Prose {
    match rule {
        Some(rule) => says.own(" by rule ").outside(Arc::clone(rule)),
        None => says.own(", no rule matched"),
    }
}

fn verdicts(model: &Model, explained: &Explanation) -> Vec<Prose> {
    let now = by(
        decided(Prose::new().own("Now policy says "), explained.decision),
        explained.rule_id.as_ref(),
    );
    let now = match &explained.reason {
        Some(reason) => now.own(": ").outside(Arc::clone(reason)),
        None => now,
    };
    let now = match &explained.snapshot {
        Some(snapshot) => now.aside(format!(" ({})", short(snapshot))),
        None => now,
    };
    let mut lines = vec![now];
    let job = model.jobs.get(&explained.job);
    if let Some(then) = job.and_then(|job| job.verdict.as_ref()) {
        let same = then.decision == explained.decision && then.rule_id == explained.rule_id;
        let moved = then.snapshot != explained.snapshot;
        let snapshot = then.snapshot.as_deref().map_or("unknown".to_owned(), short);
        lines.push(match (same, moved) {
            (true, false) => Prose::new().own("That is how it was judged."),
            (true, true) => Prose::new().own(format!("It was judged the same, under {snapshot}.")),
            (false, _) => {
                let was = decided(Prose::new().own("It was judged "), then.decision);
                by(was, then.rule_id.as_ref()).own(format!(", under {snapshot}."))
            }
        });
    }
    if !explained.stored {
        lines.push(Prose::new().aside(
            "The gateway does not show the stored request, so it was asked about what it tells of the job.",
        ));
    }
    if explained.rules.is_empty() {
        lines.push(
            Prose::new()
                .aside("This gateway tells the verdict alone, not how each rule met the request."),
        );
    }
    lines
}

/// `v3:8c1f…a2e7`.
pub fn short(snapshot: &str) -> String {
    match snapshot.split_once(':') {
        Some((version, digest)) => format!("{version}:{}", text::digest(digest)),
        None => text::digest(snapshot),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::script;

    #[test]
    fn the_policy_in_force_is_named_once_and_since_the_plane_loaded_it() {
        let script =
            "0s link gateway up | 1s policy v3 | 9s rules snapshots=v3,v4,v3 answers=yes loaded=8s";
        let state = script::run(script).expect("a script");
        let rows = snapshots(&state.model, state.now);
        let rows: Vec<_> = rows
            .iter()
            .map(|row| (&*row.name, row.current, row.since.as_str()))
            .collect();
        assert_eq!(
            rows,
            [
                ("v3", true, "00:00:08Z"),
                ("v4", false, "earlier"),
                ("v3", false, "earlier"),
            ]
        );
    }
}
