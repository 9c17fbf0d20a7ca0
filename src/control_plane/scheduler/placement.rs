//! Which worker gets a job: topic to pools, then the least loaded worker of them.

use std::collections::BTreeMap;

use crate::control_plane::ledger::{Demands, Fleet, WaitingOn};
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
/// topic's second part, else in [`DEFAULT_POOL`]. Only a worker that meets the
/// [`Demands`] of the request may get it. The label `preferred_pool` picks one of several
/// pools, `preferred_worker_id` a worker that has room; the least loaded worker wins
/// otherwise.
pub fn place(routes: &Routes, fleet: &Fleet, request: &JobRequest) -> Placement {
    let wait = |why, pools| Placement::Wait { why, pools };
    let demands = Demands::of(request);
    let lives = |pool: &PoolName| fleet.live_in(pool) > 0;
    let offers = |pool: &PoolName| fleet.any_in(pool, |worker| demands.are_offered_by(worker));
    let (mut pools, claimed) = candidates(routes, fleet, &request.topic);
    let alive = pools.iter().any(lives);
    // What a pool without live workers offers is not known.
    pools.retain(|pool| !lives(pool) || offers(pool));
    if alive && !pools.iter().any(lives) {
        return wait(WaitingOn::NoPoolMapping, Vec::new());
    }
    if let Some(preferred) = request.labels.get("preferred_pool")
        && pools.iter().any(|pool| pool.as_str() == preferred)
    {
        pools.retain(|pool| pool.as_str() == preferred);
    }
    if let Some(preferred) = request.labels.get("preferred_worker_id") {
        let id = WorkerId::from(preferred.as_str());
        let fits = fleet.get(&id).is_some_and(|worker| {
            pools.contains(&worker.heartbeat.pool) && demands.are_met_by(worker)
        });
        if fits && fleet.has_room(&id) {
            return Placement::On(id);
        }
    }
    let least = pools
        .iter()
        .filter_map(|pool| fleet.least_loaded(pool, demands))
        .min();
    if let Some((_, worker)) = least {
        return Placement::On(worker.clone());
    }
    pools.retain(|pool| fleet.any_in(pool, |worker| demands.are_met_by(worker)));
    let why = if !pools.is_empty() {
        WaitingOn::PoolOverloaded
    } else if claimed || alive || !fleet.any_live() {
        WaitingOn::NoWorkers
    } else {
        WaitingOn::NoPoolMapping
    };
    wait(why, pools)
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
    use crate::wire::packet::{Heartbeat, JobMetadata};

    /// Workers are written `id@pool active/max` and then capabilities and `label=value`,
    /// jobs `topic` and then `label=value` and `+required`.
    #[track_caller]
    fn check(workers: &[&str], routes: &[(&str, &str)], job: &str, expected: &str) {
        let labels = |words: &[&str]| -> BTreeMap<String, String> {
            let pairs = words.iter().filter_map(|word| word.split_once('='));
            pairs
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect()
        };
        let mut ledger = Ledger::new(10, 1);
        for worker in workers {
            let words: Vec<&str> = worker.split_whitespace().collect();
            let (id, pool) = words[0].split_once('@').expect("id@pool");
            let (active, max) = words[1].split_once('/').expect("active/max");
            let told = words[2..].iter().filter(|word| !word.contains('='));
            let heartbeat = Heartbeat {
                worker_id: WorkerId::from(id),
                pool: PoolName::from(pool),
                active_jobs: active.parse().expect("a number"),
                max_parallel_jobs: max.parse().expect("a number"),
                capabilities: told.map(|word| (*word).to_owned()).collect(),
                labels: labels(&words[2..]),
                ..Heartbeat::default()
            };
            ledger.heartbeat(heartbeat, Timestamp::from_millis(0));
        }
        let routes = Routes::new(routes.iter().map(|(topic, pools)| {
            let pools = pools.split(',').map(PoolName::from).collect();
            ((*topic).to_owned(), pools)
        }));
        let words: Vec<&str> = job.split_whitespace().collect();
        let required = words.iter().filter_map(|word| word.strip_prefix('+'));
        let request = JobRequest {
            topic: words[0].to_owned(),
            labels: labels(&words[1..]),
            meta: Some(JobMetadata {
                requires: required.map(str::to_owned).collect(),
                ..JobMetadata::default()
            }),
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
    fn a_job_goes_only_to_a_worker_that_tells_all_it_requires() {
        let workers = [
            "w1@ops 0/4",
            "w2@ops 0/4 gpu",
            "w3@ops 3/8 GPU net",
            "w4@lab 1/9 gpu net",
        ];
        let routes = [("job.ops.run", "ops,lab")];
        check(&workers, &[], "job.ops.run", "w1");
        check(&workers, &[], "job.ops.run +gpu", "w2");
        check(&workers, &[], "job.ops.run +Gpu +NET", "w3");
        check(&workers, &routes, "job.ops.run +gpu +net", "w4");
        // One worker has one, another one the other; none has both.
        let apart = ["w1@ops 0/4 gpu", "w2@ops 0/4 net"];
        check(&apart, &[], "job.ops.run +gpu +net", "no_pool_mapping");
        check(&workers, &routes, "job.ops.run +tpu", "no_pool_mapping");
        check(&workers, &[], "job.ops.run +gp", "no_pool_mapping");
    }

    #[test]
    fn a_pool_that_could_but_is_full_is_waited_for_and_one_that_could_not_is_not() {
        let workers = ["w1@ops 0/4", "w2@ops 4/4 gpu", "w3@lab 0/4"];
        let routes = [("job.ops.run", "ops,lab")];
        check(&workers, &routes, "job.ops.run +gpu", "pool_overloaded ops");
        check(
            &workers[2..],
            &routes,
            "job.ops.run +gpu",
            "no_pool_mapping",
        );
        // Nobody lives who could tell what the pool offers.
        check(&[], &routes, "job.ops.run +gpu", "no_workers");
        check(
            &["w9@far 0/4 gpu"],
            &routes,
            "job.ops.run +gpu",
            "no_workers",
        );
    }

    #[test]
    fn a_placement_label_of_a_job_is_one_of_its_worker() {
        let workers = [
            "w1@ops 0/4 node.zone=eu",
            "w2@ops 1/4 node.zone=us placement.disk=ssd tier=1",
            "w3@ops 2/4 node.zone=us constraint.os=bsd",
        ];
        check(&workers, &[], "job.ops.run node.zone=us", "w2");
        check(&workers, &[], "job.ops.run node.zone=eu", "w1");
        let both = "job.ops.run node.zone=us constraint.os=bsd";
        check(&workers, &[], both, "w3");
        check(&workers, &[], "job.ops.run placement.disk=ssd", "w2");
        // Other labels say nothing about the worker.
        check(&workers, &[], "job.ops.run tier=9 nodes=x", "w1");
        for missing in [
            "node.zone=US",
            "node.zone=",
            "node.rack=1",
            "placement.disk=hdd",
        ] {
            let job = format!("job.ops.run {missing}");
            check(&workers, &[], &job, "no_workers");
            check(&["w1@default 0/4"], &[], &job, "no_workers");
        }
        let full = ["w1@ops 0/4", "w2@ops 4/4 node.zone=us"];
        check(
            &full,
            &[],
            "job.ops.run node.zone=us",
            "pool_overloaded ops",
        );
        check(
            &full,
            &[],
            "job.ops.run +gpu node.zone=us",
            "no_pool_mapping",
        );
    }

    #[test]
    fn a_preference_does_not_outweigh_what_a_job_requires() {
        let workers = [
            "w1@ops 3/8 gpu node.zone=eu",
            "w2@ops 0/4",
            "w3@lab 0/4 net",
        ];
        let routes = [("job.ops.run", "ops,lab")];
        let job = |wants: &str| format!("job.ops.run +gpu {wants}");
        check(&workers, &routes, &job("preferred_worker_id=w1"), "w1");
        check(&workers, &routes, &job("preferred_worker_id=w2"), "w1");
        check(&workers, &routes, &job("preferred_pool=lab"), "w1");
        check(&workers, &routes, &job("preferred_pool=ops"), "w1");
        let zone = "job.ops.run node.zone=eu preferred_worker_id=w2";
        check(&workers, &routes, zone, "w1");
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
