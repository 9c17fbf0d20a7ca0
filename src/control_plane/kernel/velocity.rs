//! Rates: rules that fire only when too much comes in too short a time.
//!
//! A rule with a velocity lets the first [`Velocity::max_requests`] requests of a
//! window pass it by, and fires for the others. The window slides: what counts
//! are the requests that passed it by in the last [`Velocity::window`] before the
//! one that is asked about, by the same key. A job counts once, however often it
//! is asked about, and a job that the rule fired for does not count at all, so
//! that throttled jobs that are asked again do not hold each other up for ever.
//! In any window no more than the maximum passes.
//!
//! The counts are data that the caller keeps, and time is an argument. Counts that
//! are to outlive the process are handed out by [`Rates::take_counted`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::ops::Bound;

use super::condition::Facts;
use super::policy::Policy;
use crate::ids::JobId;
use crate::time::{Elapsed, Timestamp};

mod counted;

pub use counted::{Counted, CountedRule, Passed};

/// The longest window, in seconds: a day.
pub const MAX_WINDOW_S: i64 = 86_400;

/// Requests that are counted at a time, over all rules and keys: some 100 MB at
/// worst. When they are used up, requests by a new key count as too many, so that
/// nobody makes room for himself by making up keys.
pub const MAX_COUNTED: usize = 1 << 20;

/// Windows of other keys that are looked at whenever a request is counted, so
/// that keys that are never asked about again do not stay.
const SWEPT: usize = 2;

/// How much a rule bears before it fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Velocity {
    /// Requests in a window that the rule lets pass it by; at least 1.
    pub max_requests: u32,
    /// How long the window is: 1 to [`MAX_WINDOW_S`] seconds.
    pub window: Elapsed,
    /// What requests are counted by; requests that differ in it do not add up.
    pub key: Vec<KeyPart>,
}

/// A fact that requests are counted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// The tenant.
    Tenant,
    /// The topic.
    Topic,
    /// The actor, else the principal.
    ActorId,
    /// `human` or `service`.
    ActorType,
    /// The pack.
    PackId,
    /// The capability.
    Capability,
    /// The value of a label.
    Label(String),
}

impl KeyPart {
    /// The names that stand for a part; labels are written `labels.<name>`.
    pub const NAMES: [&'static str; 6] = [
        "tenant",
        "topic",
        "actor_id",
        "actor_type",
        "pack_id",
        "capability",
    ];

    /// Reads one part of a key; `None` if it names nothing.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "tenant" => Self::Tenant,
            "topic" => Self::Topic,
            "actor_id" => Self::ActorId,
            "actor_type" => Self::ActorType,
            "pack_id" => Self::PackId,
            "capability" => Self::Capability,
            _ => match name.strip_prefix("labels.") {
                Some(label) if !label.is_empty() => Self::Label(label.to_owned()),
                Some(_) | None => return None,
            },
        })
    }

    /// Appends the value in the form in which rules compare it, so that another
    /// letter case is not another key; `false` if the request has none.
    fn write(&self, facts: &Facts<'_>, key: &mut String) -> bool {
        let question = facts.question;
        let (word, exact) = match self {
            Self::Tenant => (facts.tenant, false),
            Self::Topic => (question.topic.as_str(), true),
            Self::ActorId => (facts.actor, false),
            Self::ActorType => (&*facts.actor_type, false),
            Self::PackId => (question.pack_id.as_str(), false),
            Self::Capability => (question.capability.as_str(), false),
            Self::Label(name) => (question.labels.get(name).map_or("", String::as_str), true),
        };
        let word = word.trim();
        if exact {
            key.push_str(word);
        } else {
            key.extend(word.chars().flat_map(char::to_lowercase));
        }
        !word.is_empty()
    }
}

impl fmt::Display for KeyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tenant => "tenant",
            Self::Topic => "topic",
            Self::ActorId => "actor_id",
            Self::ActorType => "actor_type",
            Self::PackId => "pack_id",
            Self::Capability => "capability",
            Self::Label(name) => return write!(f, "labels.{name}"),
        })
    }
}

/// Keeps the parts of a key apart; a label may hold a colon, hardly this.
const SEPARATOR: char = '\u{1f}';

impl Velocity {
    /// What a request is counted by; `None` when it lacks a part of the key, so
    /// that it cannot be counted and the rule does not fire.
    pub fn key_of(&self, facts: &Facts<'_>) -> Option<String> {
        let mut key = String::new();
        for (n, part) in self.key.iter().enumerate() {
            if n > 0 {
                key.push(SEPARATOR);
            }
            if !part.write(facts, &mut key) {
                return None;
            }
        }
        Some(key)
    }
}

/// `more than 3 in 60 s by tenant:topic`.
impl fmt::Display for Velocity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (most, seconds) = (self.max_requests, self.window.as_secs());
        write!(f, "more than {most} in {seconds} s by ")?;
        for (n, part) in self.key.iter().enumerate() {
            if n > 0 {
                f.write_str(":")?;
            }
            fmt::Display::fmt(part, f)?;
        }
        Ok(())
    }
}

/// A key for people.
pub(super) fn shown_key(key: &str) -> String {
    key.replace(SEPARATOR, ":")
}

/// The requests that passed rules by, as far as they still count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rates {
    rules: BTreeMap<String, Keys>,
    counted: usize,
    /// How many may be counted.
    room: usize,
    /// Whether it is noted what was not handed out yet.
    keeping: bool,
    /// Requests without a job that were handed out.
    nameless: u64,
}

impl Default for Rates {
    fn default() -> Self {
        Self::with_room(MAX_COUNTED)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Keys {
    windows: BTreeMap<String, Window>,
    /// Where sweeping goes on.
    swept_to: String,
    /// How long the window of the rule is.
    window: Elapsed,
    /// The keys of windows with requests that were not handed out yet.
    news: BTreeSet<String>,
    /// Whether another window holds for what was handed out.
    changed: bool,
}

/// The requests of one key, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Window {
    passed: VecDeque<(Timestamp, JobId)>,
    jobs: BTreeSet<JobId>,
    /// How many of the last ones were not handed out yet.
    news: usize,
}

impl Window {
    /// How many are older than the window.
    fn over(&self, velocity: &Velocity, now: Timestamp) -> usize {
        let is_over = |(at, _): &(Timestamp, JobId)| now.since(*at) >= velocity.window;
        self.passed.partition_point(is_over)
    }

    /// Forgets what is older than the window, and says how many that were.
    fn forget(&mut self, velocity: &Velocity, now: Timestamp) -> usize {
        let over = self.over(velocity, now);
        for (_, job) in self.passed.drain(..over) {
            self.jobs.remove(&job);
        }
        self.news = self.news.min(self.passed.len());
        over
    }
}

impl Rates {
    /// Counts of at most so many requests; a request that finds no room counts as
    /// too many.
    pub fn with_room(room: usize) -> Self {
        Self {
            rules: BTreeMap::new(),
            counted: 0,
            room,
            keeping: false,
            nameless: 0,
        }
    }

    /// Whether the rule fires for this job if it is asked about now. Counts nothing.
    pub fn exceeded(
        &self,
        rule: &str,
        velocity: &Velocity,
        key: &str,
        job: &JobId,
        now: Timestamp,
    ) -> bool {
        let window = self.window(rule, key);
        let over = window.map_or(0, |window| window.over(velocity, now));
        let counts = window.map_or(0, |window| window.passed.len() - over);
        let passed = window.is_some_and(|window| {
            window.jobs.contains(job)
                && !window
                    .passed
                    .range(..over)
                    .any(|(_, forgotten)| forgotten == job)
        });
        let room = self.counted - over < self.room;
        !passed && (counts >= most(velocity) || !room)
    }

    /// How many requests of this key count now.
    pub fn counts(&self, rule: &str, velocity: &Velocity, key: &str, now: Timestamp) -> usize {
        self.window(rule, key)
            .map_or(0, |window| window.passed.len() - window.over(velocity, now))
    }

    fn window(&self, rule: &str, key: &str) -> Option<&Window> {
        self.rules.get(rule)?.windows.get(key)
    }

    /// Counts a request, unless the rule fires for it; says whether it does.
    pub fn count(
        &mut self,
        rule: &str,
        velocity: &Velocity,
        key: &str,
        job: &JobId,
        now: Timestamp,
    ) -> bool {
        if let Some(keys) = self.rules.get_mut(rule) {
            self.counted -= keys.sweep(velocity, now);
            if let Some(window) = keys.windows.get_mut(key) {
                self.counted -= window.forget(velocity, now);
            }
        }
        if self.exceeded(rule, velocity, key, job, now) {
            return true;
        }
        if !self.rules.contains_key(rule) {
            self.rules.insert(rule.to_owned(), Keys::default());
        }
        let Some(keys) = self.rules.get_mut(rule) else {
            return true;
        };
        keys.window = velocity.window;
        let window = keys.windows.entry(key.to_owned()).or_default();
        // A question without a job is one of its own each time.
        if !job.is_empty() && !window.jobs.insert(job.clone()) {
            return false;
        }
        // A clock that goes back must not disorder the window.
        let at = window.passed.back().map_or(now, |(last, _)| now.max(*last));
        window.passed.push_back((at, job.clone()));
        if self.keeping {
            window.news += 1;
            keys.news.insert(key.to_owned());
        }
        self.counted += 1;
        false
    }

    /// Forgets the counts of rules that this policy does not have.
    pub fn keep_rules_of(&mut self, policy: &Policy) {
        let limited: BTreeMap<&str, Elapsed> = policy
            .rules
            .iter()
            .filter_map(|rule| Some((rule.id.as_str(), rule.velocity.as_ref()?.window)))
            .collect();
        self.rules.retain(|rule, keys| {
            let window = limited.get(rule.as_str()).copied();
            if let Some(window) = window.filter(|window| *window != keys.window) {
                keys.window = window;
                keys.changed = self.keeping;
            }
            window.is_some()
        });
        let windows = self.rules.values().flat_map(|keys| keys.windows.values());
        self.counted = windows.map(|window| window.passed.len()).sum();
    }

    /// How many requests are counted over all rules and keys.
    pub fn len(&self) -> usize {
        self.counted
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.counted == 0
    }
}

impl Keys {
    /// Looks at the next few windows and drops what no longer counts; says how
    /// many requests that were.
    fn sweep(&mut self, velocity: &Velocity, now: Timestamp) -> usize {
        let mut forgotten = 0;
        for _ in 0..SWEPT {
            let from = (
                Bound::Excluded(self.swept_to.as_str()),
                Bound::<&str>::Unbounded,
            );
            let Some((key, window)) = self.windows.range_mut::<str, _>(from).next() else {
                self.swept_to.clear();
                break;
            };
            self.swept_to.clone_from(key);
            forgotten += window.forget(velocity, now);
            if window.passed.is_empty() {
                self.windows.remove(&self.swept_to);
                self.news.remove(&self.swept_to);
            }
        }
        forgotten
    }
}

fn most(velocity: &Velocity) -> usize {
    usize::try_from(velocity.max_requests).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn velocity(max_requests: u32, seconds: u64) -> Velocity {
        Velocity {
            max_requests,
            window: Elapsed::from_secs(seconds),
            key: vec![KeyPart::Tenant],
        }
    }

    /// Each word is `<second><key><job>`, such as `0a1`; the answer is a `.` for
    /// each that passed and an `x` for each that the rule fired for.
    fn check(mut rates: Rates, velocity: &Velocity, script: &str, expected: &str) -> Rates {
        let mut got = String::new();
        for word in script.split_whitespace() {
            let at = word.find(char::is_alphabetic).expect("a key");
            let (second, rest) = word.split_at(at);
            let (key, job) = rest.split_at(1);
            let now = Timestamp::from_millis(second.parse::<i64>().expect("a second") * 1_000);
            let fires = rates.count("r", velocity, key, &JobId::from(job), now);
            got.push(if fires { 'x' } else { '.' });
        }
        assert_eq!(got, expected, "{script}");
        rates
    }

    #[test]
    fn the_window_slides_with_every_request() {
        let two = velocity(2, 10);
        check(
            Rates::default(),
            &two,
            "0a1 4a2 9a3 10a4 13a5 14a6",
            "..x.x.",
        );
        check(Rates::default(), &two, "0a1 0a1 0a1 0a2 0a3", "....x");
        check(Rates::default(), &two, "0a1 0b2 0a3 0b4 0a5 0b6", "....xx");
    }

    #[test]
    fn a_clock_that_goes_back_lets_nobody_through_early() {
        let one = velocity(1, 10);
        let rates = check(
            Rates::default(),
            &one,
            "100a1 50a2 105a3 110a4 90a5",
            ".xx.x",
        );
        assert_eq!(rates.len(), 1);
    }

    #[test]
    fn keys_that_nobody_asks_about_are_forgotten() {
        let one = velocity(1, 10);
        let script = "0a1 0b1 0c1 0d1 0e1 0f1 20z1 20z1 20z1 20z1";
        let rates = check(Rates::default(), &one, script, "..........");
        assert_eq!(rates.len(), 1);
        assert_eq!(rates.rules["r"].windows.len(), 1);
    }

    #[test]
    fn made_up_keys_make_no_room_for_themselves() {
        let two = velocity(2, 10);
        let rates = check(
            Rates::with_room(3),
            &two,
            "0a1 0b1 0c1 0d1 1a1 1a2 11d1 12d2",
            "...x.x..",
        );
        assert_eq!(rates.len(), 2);
    }

    #[test]
    fn counts_stay_with_the_rules_that_stay() {
        let policy = |rule: &str| {
            let text = format!(
                "rules: [{{id: {rule}, decision: deny, velocity: \
                 {{max_requests: 1, window_seconds: 10, key: tenant}}}}]"
            );
            Policy::parse(text.as_bytes()).expect("a policy")
        };
        let mut rates = check(Rates::default(), &velocity(1, 10), "0a1 0b1", "..");
        rates.keep_rules_of(&policy("r"));
        assert_eq!(rates.len(), 2);
        rates.keep_rules_of(&policy("other"));
        assert!(rates.is_empty());
    }
}
