//! Which worker gets a job: topic to pools, then the least loaded worker of them.

use std::collections::BTreeMap;

use crate::control_plane::ledger::{Fleet, WaitingOn};
use crate::ids::{PoolName, WorkerId};
use crate::wire::packet::JobRequest;

/// The pool of topics that nobody claims.
pub const DEFAULT_POOL: &str = "default";

/// Which pools take which topics, where somebody said so.
///
/// A topic is written whole, or as a pattern in which `*` stands for any run of
/// characters, dots included. Whole topics win over patterns; of several patterns
/// all count.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    exact: BTreeMap<String, Vec<PoolName>>,
    patterns: Vec<(String, Vec<PoolName>)>,
}

impl Routes {
    /// Takes topics with their pools; a topic that is named twice goes to both.
    pub fn new(topics: impl IntoIterator<Item = (String, Vec<PoolName>)>) -> Self {
        let mut routes = Self::default();
        for (topic, pools) in topics {
            if topic.contains('*') {
                routes.patterns.push((topic, pools));
            } else {
                routes.exact.entry(topic).or_default().extend(pools);
            }
        }
        routes
    }

    /// The topics that pools were named for, with those pools.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[PoolName])> {
        let exact = self
            .exact
            .iter()
            .map(|(topic, pools)| (topic.as_str(), pools.as_slice()));
        let patterns = self
            .patterns
            .iter()
            .map(|(topic, pools)| (topic.as_str(), pools.as_slice()));
        exact.chain(patterns)
    }

    /// The pools that were named for a topic; none if nobody named any.
    fn of(&self, topic: &str) -> Vec<PoolName> {
        if let Some(pools) = self.exact.get(topic) {
            return pools.clone();
        }
        let fitting = self
            .patterns
            .iter()
            .filter(|(pattern, _)| matches(pattern, topic));
        fitting.flat_map(|(_, pools)| pools).cloned().collect()
    }
}

/// Where a job goes, or why it has to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// To this worker.
    On(WorkerId),
    /// It waits, for one of `pools` if any is named.
    Wait {
        /// Why.
        why: WaitingOn,
        /// The full pools that could take it.
        pools: Vec<PoolName>,
    },
}

/// Finds a worker for a request: in the pools its topic was mapped to, else in
/// those whose live workers name the topic, else in the live pool named by the
/// topic's second part, else in [`DEFAULT_POOL`]. The label `preferred_pool` picks
/// one of several pools, `preferred_worker_id` a worker that has room; the least
/// loaded worker wins otherwise.
pub fn place(routes: &Routes, fleet: &Fleet, request: &JobRequest) -> Placement {
    let (mut pools, claimed) = candidates(routes, fleet, &request.topic);
    if let Some(preferred) = request.labels.get("preferred_pool")
        && pools.iter().any(|pool| pool.as_str() == preferred)
    {
        pools.retain(|pool| pool.as_str() == preferred);
    }
    if let Some(preferred) = request.labels.get("preferred_worker_id") {
        let id = WorkerId::from(preferred.as_str());
        let fits = fleet
            .get(&id)
            .is_some_and(|worker| pools.contains(&worker.heartbeat.pool));
        if fits && fleet.has_room(&id) {
            return Placement::On(id);
        }
    }
    let least = pools
        .iter()
        .filter_map(|pool| fleet.least_loaded(pool))
        .min();
    if let Some((_, worker)) = least {
        return Placement::On(worker.clone());
    }
    pools.retain(|pool| fleet.live_in(pool) > 0);
    let why = if !pools.is_empty() {
        WaitingOn::PoolOverloaded
    } else if claimed || !fleet.any_live() {
        WaitingOn::NoWorkers
    } else {
        WaitingOn::NoPoolMapping
    };
    Placement::Wait { why, pools }
}

/// The pools that could take a topic, and whether anybody claims it.
fn candidates(routes: &Routes, fleet: &Fleet, topic: &str) -> (Vec<PoolName>, bool) {
    let mapped = routes.of(topic);
    if !mapped.is_empty() {
        return (mapped, true);
    }
    let naming: Vec<_> = fleet.pools_naming(topic).cloned().collect();
    if !naming.is_empty() {
        return (naming, true);
    }
    if let Some(second) = topic.split('.').nth(1) {
        let pool = PoolName::from(second);
        if fleet.live_in(&pool) > 0 {
            return (vec![pool], true);
        }
    }
    (vec![PoolName::from(DEFAULT_POOL)], false)
}

/// Whether `pattern` matches, `*` standing for any run of characters.
fn matches(pattern: &str, topic: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| topic.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_plane::ledger::Ledger;
    use crate::time::Timestamp;
    use crate::wire::packet::Heartbeat;

    /// Workers are written `id@pool active/max topic,topic`.
    fn check(workers: &[&str], routes: &[(&str, &str)], job: &str, expected: &str) {
        let mut ledger = Ledger::new(10, 1);
        for worker in workers {
            let mut words = worker.split_whitespace();
            let (id, pool) = words
                .next()
                .and_then(|word| word.split_once('@'))
                .expect("id@pool");
            let (active, max) = words
                .next()
                .and_then(|word| word.split_once('/'))
                .expect("active/max");
            let heartbeat = Heartbeat {
                worker_id: WorkerId::from(id),
                pool: PoolName::from(pool),
                active_jobs: active.parse().expect("a number"),
                max_parallel_jobs: max.parse().expect("a number"),
                capabilities: words
                    .next()
                    .map(|topics| topics.split(',').map(str::to_owned).collect())
                    .unwrap_or_default(),
                ..Heartbeat::default()
            };
            ledger.heartbeat(heartbeat, Timestamp::from_millis(0));
        }
        let routes = Routes::new(routes.iter().map(|(topic, pools)| {
            let pools = pools.split(',').map(PoolName::from).collect();
            ((*topic).to_owned(), pools)
        }));
        let mut words = job.split_whitespace();
        let request = JobRequest {
            topic: words.next().expect("a topic").to_owned(),
            labels: words
                .filter_map(|label| label.split_once('='))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            ..JobRequest::default()
        };
        let got = match place(&routes, ledger.fleet(), &request) {
            Placement::On(worker) => worker.to_string(),
            Placement::Wait { why, pools } => {
                let pools: Vec<_> = pools.iter().map(PoolName::as_str).collect();
                format!("{} {}", why.name(), pools.join(","))
                    .trim_end()
                    .to_owned()
            }
        };
        assert_eq!(got, expected, "{job}");
    }

    #[test]
    fn the_least_loaded_worker_with_room_gets_the_job() {
        let workers = ["w1@batch 3/8", "w2@batch 1/8", "w3@batch 0/0", "w4@ops 0/4"];
        check(&workers[..2], &[], "job.batch.embed", "w2");
        check(&workers, &[], "job.batch.embed", "w3");
        check(&workers, &[], "job.ops.restart", "w4");
    }

    #[test]
    fn a_topic_goes_where_it_was_mapped_before_it_goes_where_it_is_named() {
        let workers = ["w1@a 0/4 job.x.y", "w2@b 0/4", "w3@x 0/4", "w4@default 0/4"];
        check(&workers, &[("job.x.y", "b")], "job.x.y", "w2");
        check(&workers, &[("job.x.*", "b")], "job.x.y", "w2");
        check(&workers, &[], "job.x.y", "w1");
        check(&workers, &[], "job.x.z", "w3");
        check(&workers, &[], "job.unheard.of", "w4");
    }

    #[test]
    fn a_job_without_a_worker_says_why_it_waits() {
        check(&[], &[], "job.batch.embed", "no_workers");
        check(&["w1@ops 0/4"], &[], "job.batch.embed", "no_pool_mapping");
        check(
            &["w1@ops 0/4"],
            &[("job.batch.*", "batch")],
            "job.batch.embed",
            "no_workers",
        );
        check(
            &["w1@batch 4/4", "w2@batch 9/10"],
            &[],
            "job.batch.embed",
            "pool_overloaded batch",
        );
    }

    #[test]
    fn a_preference_is_followed_when_there_is_room() {
        let workers = ["w1@ops 0/4", "w2@ops 2/4", "w3@ops 4/4", "w4@lab 0/4"];
        let routes = [("job.ops.run", "ops,lab")];
        check(
            &workers,
            &routes,
            "job.ops.run preferred_worker_id=w2",
            "w2",
        );
        check(
            &workers,
            &routes,
            "job.ops.run preferred_worker_id=w3",
            "w1",
        );
        check(&workers, &routes, "job.ops.run preferred_pool=lab", "w4");
        check(&workers, &routes, "job.ops.run preferred_pool=gone", "w1");
    }

    #[test]
    fn a_star_crosses_dots() {
        for (pattern, topic, expected) in [
            ("job.*", "job.a.b", true),
            ("job.*.run", "job.a.b.run", true),
            ("job.*.run", "job.a.b.runs", false),
            ("*", "", true),
            ("job.a*a", "job.a", false),
        ] {
            assert_eq!(matches(pattern, topic), expected, "{pattern} {topic}");
        }
    }
}
