//! What blocks a pool, and what stands behind that: in a few words for the pressure
//! strip, and as a chain of sentences.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::PoolName;
use crate::state::State;
use crate::state::model::Model;
use crate::state::model::approvals::{Approval, held};
use crate::state::model::jobs::{Job, JobState, WaitingOn};
use crate::state::model::pools::{Outlook, Pool};
use crate::state::model::workers::{Standing, Worker};
use crate::text;
use crate::time::{Elapsed, Timestamp};
use crate::view::{Prose, shown};

/// Waiting jobs that are looked through, those that wait longest, so that a long line
/// costs no frame.
const LINE: usize = 2_000;
/// Workers and approvals that are named one by one.
const NAMED: usize = 8;

/// What holds up jobs of a pool although it has room.
#[derive(Clone, Debug, Default)]
pub(super) struct Holds {
    /// The approval that costs most, by pool.
    approval: BTreeMap<PoolName, Arc<Approval>>,
    /// A tenant that is at its limit, by pool.
    tenant: BTreeMap<PoolName, Arc<str>>,
}

impl Holds {
    /// What holds up jobs of `pools` at `now`.
    pub(super) fn of(model: &Model, pools: &[Pool], now: Timestamp) -> Self {
        let mut holds = Self::default();
        if pools.iter().any(|pool| pool.approvals > 0) {
            for approval in model.approvals.by_cost(&model.jobs, now) {
                let topic = model
                    .jobs
                    .get(approval.id())
                    .and_then(|job| job.topic())
                    .or_else(|| approval.fact.job.request.as_ref()?.topic.as_deref());
                if let Some(pool) = topic.and_then(|topic| model.pool_taking(topic, pools)) {
                    let dearest = holds.approval.entry(pool.name.clone());
                    dearest.or_insert_with(|| Arc::clone(approval));
                }
            }
        }
        if pools.iter().any(|pool| pool.queued > 0) {
            let mut pool_of: BTreeMap<&str, Option<&PoolName>> = BTreeMap::new();
            let waiting =
                waiting(model).filter(|job| job.waits_on() == Some(WaitingOn::TenantLimit));
            for job in waiting {
                let (Some(topic), Some(tenant)) = (job.topic(), job.tenant()) else {
                    continue;
                };
                let pool = pool_of
                    .entry(topic)
                    .or_insert_with(|| model.pool_taking(topic, pools).map(|pool| &pool.name));
                if let Some(pool) = pool {
                    let first = holds.tenant.entry((*pool).clone());
                    first.or_insert_with(|| Arc::from(tenant));
                }
            }
        }
        holds
    }
}

/// Jobs that wait, as far as they are looked through.
fn waiting(model: &Model) -> impl Iterator<Item = &Arc<Job>> {
    model
        .jobs
        .by_attention()
        .take_while(|job| !job.is_ended())
        .take(LINE)
        .filter(|job| matches!(job.state, Some(JobState::Pending | JobState::Scheduled)))
}

/// What blocks `pool`, and the same in fewer words; empty if nothing does.
pub(super) fn blocks(model: &Model, pool: &Pool, holds: &Holds, now: Timestamp) -> [Prose; 2] {
    let both = |says: Prose| [says.clone(), says];
    let overloaded = || {
        Prose::new().own(format!(
            "{} of {} workers over 90%",
            pool.overloaded,
            heard(pool)
        ))
    };
    match pool.outlook() {
        Outlook::Stuck => {
            let says = Prose::new().own("no live worker");
            let long = match last_lost(model, pool, now) {
                Some((worker, silence)) => says
                    .clone()
                    .own("; ")
                    .outside(worker.id.as_str())
                    .own(format!(" lost {} ago", text::age(silence))),
                None => says.clone(),
            };
            [long, says]
        }
        _ if pool.draining => both(Prose::new().own("drains: it takes no new jobs")),
        Outlook::Full => {
            let long = match pool.queued {
                0 => overloaded(),
                n => overloaded().own(format!("; {}", wait(u64::from(n)))),
            };
            [long, overloaded()]
        }
        Outlook::FullIn(_) | Outlook::DrainsIn(_) | Outlook::Steady | Outlook::Unknown => {
            let approval = holds.approval.get(&pool.name);
            let tenant = holds.tenant.get(&pool.name);
            match (approval, tenant) {
                (Some(approval), _) => behind(model, approval, pool.approvals, now),
                (None, _) if pool.approvals > 0 => {
                    let waiting = wait(u64::from(pool.approvals));
                    both(Prose::new().own(format!("{waiting} for a person")))
                }
                (None, Some(tenant)) => {
                    let says = Prose::new()
                        .own("tenant ")
                        .outside(Arc::clone(tenant))
                        .own(" at its limit");
                    let at_work = at_work(model, tenant);
                    [says.clone().own(format!(", {at_work} at work")), says]
                }
                (None, None) if pool.workers(Standing::Lost) > 0 => lost(model, pool, now),
                (None, None) if pool.overloaded > 0 => both(overloaded()),
                (None, None) => both(Prose::new()),
            }
        }
    }
}

/// Workers of which it is known how full they are, also while our own line is cut.
fn heard(pool: &Pool) -> u32 {
    let all: u32 = pool.standing.iter().sum();
    all.saturating_sub(pool.workers(Standing::Lost))
}

/// `2 of 4 workers lost, the last 41s ago`; one of them by its name.
fn lost(model: &Model, pool: &Pool, now: Timestamp) -> [Prose; 2] {
    let (gone, all) = (
        pool.workers(Standing::Lost),
        pool.standing.iter().sum::<u32>(),
    );
    let says = Prose::new().own(format!("{gone} of {all} workers lost"));
    let long = match last_lost(model, pool, now) {
        Some((worker, silence)) if gone == 1 => Prose::new()
            .outside(worker.id.as_str())
            .own(format!(" lost {} ago", text::age(silence))),
        Some((_, silence)) => says
            .clone()
            .own(format!(", the last {} ago", text::age(silence))),
        None => says.clone(),
    };
    [long, says]
}

/// `5 jobs behind approval e41b9f2c, SLA 3m40s`; with nothing behind it the approval
/// itself, of `all` in its pool.
fn behind(model: &Model, approval: &Approval, all: u32, now: Timestamp) -> [Prose; 2] {
    let tail: Arc<str> = text::id_tail(approval.id().as_str()).into();
    let left = match approval.time_left(now) {
        Some(left) if left == Elapsed::ZERO => ", SLA breached".to_owned(),
        Some(left) => format!(", SLA {}", text::age(left)),
        None => String::new(),
    };
    match held(approval, &model.jobs) {
        Some(held @ 1..) => {
            let jobs = text::count(u64::from(held), "job", "jobs");
            [
                Prose::new()
                    .own(format!("{jobs} behind approval "))
                    .outside(Arc::clone(&tail))
                    .own(left),
                Prose::new().own(format!("{jobs} behind ")).outside(tail),
            ]
        }
        Some(0) | None if all > 1 => [
            Prose::new()
                .own(format!("{all} approvals wait, first "))
                .outside(Arc::clone(&tail))
                .own(left),
            Prose::new()
                .own(format!("{all} approvals, first "))
                .outside(tail),
        ],
        Some(0) | None => {
            let says = Prose::new().own("approval ").outside(tail).own(" waits");
            let end = if left.is_empty() {
                " for a person".to_owned()
            } else {
                left
            };
            [says.clone().own(end), says]
        }
    }
}

fn wait(jobs: u64) -> String {
    text::count(jobs, "job waits", "jobs wait")
}

/// Jobs of a tenant that are known to be with workers, letter case aside as in policy.
fn at_work(model: &Model, tenant: &str) -> usize {
    let tenant = tenant.to_lowercase();
    let in_flight = model.jobs.by_attention().take_while(|job| !job.is_ended());
    in_flight
        .take(LINE)
        .filter(|job| job.state.is_some_and(JobState::is_with_worker))
        .filter(|job| job.tenant().is_some_and(|it| it.to_lowercase() == tenant))
        .count()
}

/// Workers of a pool that stand so.
fn standing<'a>(
    model: &'a Model,
    pool: &'a Pool,
    now: Timestamp,
    is: impl Fn(Standing) -> bool + 'a,
) -> impl Iterator<Item = &'a Worker> {
    model
        .workers
        .shown(now, &model.links.hearing)
        .map(AsRef::as_ref)
        .filter(move |worker| worker.pool.as_ref() == Some(&pool.name))
        .filter(move |worker| is(model.standing(worker, now)))
}

/// The worker of a pool that was lost last, and how long it is silent.
fn last_lost<'a>(
    model: &'a Model,
    pool: &'a Pool,
    now: Timestamp,
) -> Option<(&'a Worker, Elapsed)> {
    let lost = standing(model, pool, now, |it| it == Standing::Lost);
    let last = lost.max_by_key(|worker| worker.heard_at)?;
    Some((last, last.silence(now)?))
}

/// How long nobody takes a job of a pool that is stuck or full; `None` where that is
/// not known.
pub(super) fn lasts(model: &Model, pool: &Pool, now: Timestamp) -> Option<Elapsed> {
    match pool.outlook() {
        Outlook::Stuck => last_lost(model, pool, now).map(|(_, silence)| silence),
        Outlook::Full => Some(now.since(pool.full_since?)),
        Outlook::FullIn(_) | Outlook::DrainsIn(_) | Outlook::Steady | Outlook::Unknown => None,
    }
}

/// Why `name` is as it is, one sentence a link, from what waits to what stands behind
/// it; empty if the pool is no longer known.
pub fn chain(state: &State, name: &PoolName) -> Vec<Prose> {
    let (model, now) = shown(state);
    let pools = model.pools_at(now);
    let Some(pool) = pools.iter().find(|pool| pool.name == *name) else {
        return Vec::new();
    };
    let of_pool = |job: &&Arc<Job>| {
        let topic = job.topic();
        let taking = topic.and_then(|topic| model.pool_taking(topic, &pools));
        taking.is_some_and(|taking| taking.name == pool.name)
    };
    let waiting: Vec<&Arc<Job>> = waiting(model).filter(of_pool).collect();
    let mut links = vec![queue(pool, &waiting, now), outlook(pool, now)];
    links.extend(workers(model, pool, now));
    links.extend(reasons(model, pool, &waiting));
    links.extend(approvals(model, pool, &pools, now));
    links
}

fn queue(pool: &Pool, waiting: &[&Arc<Job>], now: Timestamp) -> Prose {
    let says = match pool.queued {
        0 => return Prose::new().own("No job waits for it."),
        n => Prose::new().own(wait(u64::from(n))),
    };
    match waiting.iter().min_by_key(|job| job.since) {
        Some(oldest) => says
            .own(", ")
            .outside(text::id_tail(oldest.id.as_str()))
            .own(format!(" for {}.", text::age(now.since(oldest.since)))),
        None => says.own("."),
    }
}

fn outlook(pool: &Pool, now: Timestamp) -> Prose {
    let says = Prose::new().own("Pool ").outside(pool.name.as_str());
    let come_and_go = || {
        format!(
            ": {} and {} a minute",
            text::count(u64::from(pool.arrived), "job comes", "jobs come"),
            text::count(u64::from(pool.ended), "ends", "end"),
        )
    };
    match pool.outlook() {
        Outlook::Stuck => says.own(" is stuck: no live worker takes its jobs."),
        Outlook::Full => match pool.full_since {
            Some(since) => says.own(format!(" is full for {}.", text::age(now.since(since)))),
            None => says.own(" is full."),
        },
        Outlook::FullIn(left) => says.own(format!(
            " is full in {} if nothing changes{}; {} free.",
            text::age(left),
            come_and_go(),
            text::count(u64::from(pool.slots_free), "slot is", "slots are"),
        )),
        Outlook::DrainsIn(left) => says.own(format!(
            " has no queue in {} if nothing changes{}.",
            text::age(left),
            come_and_go()
        )),
        Outlook::Steady => says.own(format!(" is steady{}.", come_and_go())),
        Outlook::Unknown => Prose::new()
            .own("Without the bus nobody tells how many jobs of pool ")
            .outside(pool.name.as_str())
            .own(" come and end, so what comes next is unknown."),
    }
}

fn listed(says: Prose, names: &[&str], more: usize) -> Prose {
    let mut says = says;
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            says = says.own(", ");
        }
        says = says.outside(*name);
    }
    match more {
        0 => says.own("."),
        more => says.own(format!(" and {more} more.")),
    }
}

fn workers(model: &Model, pool: &Pool, now: Timestamp) -> Vec<Prose> {
    let mut links = Vec::new();
    if pool.draining {
        links.push(Prose::new().own("It drains: the plane gives it no new jobs."));
    }
    if pool.overloaded > 0 {
        let mut over: Vec<&Worker> = standing(model, pool, now, |it| it != Standing::Lost)
            .filter(|worker| worker.pressure_key() >= 90_000)
            .collect();
        over.sort_by(|a, b| a.id.cmp(&b.id));
        let names: Vec<&str> = over
            .iter()
            .take(NAMED)
            .map(|worker| worker.id.as_str())
            .collect();
        let says = Prose::new().own(format!(
            "{} of {} over 90%: ",
            pool.overloaded,
            text::count(u64::from(heard(pool)), "worker is", "workers are")
        ));
        links.push(listed(says, &names, over.len().saturating_sub(NAMED)));
    }
    let lost = standing(model, pool, now, |it| it == Standing::Lost);
    for worker in lost.take(NAMED) {
        let says = Prose::new().outside(worker.id.as_str()).own(" was lost");
        let says = match worker.silence(now) {
            Some(silence) => says.own(format!(" {} ago", text::age(silence))),
            None => says,
        };
        let job = model.jobs.of_worker(&worker.id).next();
        links.push(match job {
            Some(job) => says
                .own("; it had ")
                .outside(text::id_tail(job.id.as_str()))
                .own("."),
            None => says.own("."),
        });
    }
    links
}

/// Why jobs wait, other than for a worker or a person.
fn reasons(model: &Model, pool: &Pool, waiting: &[&Arc<Job>]) -> Vec<Prose> {
    let mut tenants: BTreeMap<Option<&str>, u64> = BTreeMap::new();
    let (mut throttled, mut kernel, mut unmapped, mut again) = (0_u64, 0_u64, 0_u64, 0_u64);
    let (mut unoffered, mut elsewhere) = (0_u64, 0_u64);
    for job in waiting {
        match job.waits_on() {
            Some(WaitingOn::TenantLimit) => *tenants.entry(job.tenant()).or_default() += 1,
            Some(WaitingOn::Throttled) => throttled += 1,
            Some(WaitingOn::KernelUnavailable) => kernel += 1,
            Some(WaitingOn::NoPoolMapping) if job.asks_for().is_some() => unoffered += 1,
            Some(WaitingOn::NoPoolMapping) => unmapped += 1,
            Some(WaitingOn::NoWorkers) if pool.able() > 0 => elsewhere += 1,
            Some(WaitingOn::RetryBackoff) => again += 1,
            Some(
                WaitingOn::Approval
                | WaitingOn::NoWorkers
                | WaitingOn::PoolOverloaded
                | WaitingOn::BusUnavailable
                | WaitingOn::Unknown,
            )
            | None => {}
        }
    }
    let mut links = Vec::new();
    for (tenant, jobs) in tenants {
        let says = Prose::new().own(wait(jobs));
        links.push(match tenant {
            Some(tenant) => says.own(" because tenant ").outside(tenant).own(format!(
                " is at its limit, with {} at work.",
                text::count(at_work(model, tenant) as u64, "job", "jobs")
            )),
            None => says.own(" because their tenant is at its limit."),
        });
    }
    for (jobs, why) in [
        (throttled, "because policy throttles them"),
        (kernel, "because the safety kernel does not answer"),
        (unmapped, "because no pool is mapped to their topic"),
        (
            unoffered,
            "because no pool of their topic offers what they require",
        ),
        (
            elsewhere,
            "because no live worker has the labels that they are placed by",
        ),
        (again, "to be tried again"),
    ] {
        if jobs > 0 {
            links.push(Prose::new().own(format!("{} {why}.", wait(jobs))));
        }
    }
    links
}

/// The approvals of a pool, the one that costs most first, and what stands behind them.
fn approvals(model: &Model, pool: &Pool, pools: &[Pool], now: Timestamp) -> Vec<Prose> {
    if pool.approvals == 0 {
        return Vec::new();
    }
    let all = model.approvals.by_cost(&model.jobs, now);
    let of_pool: Vec<&Arc<Approval>> = all
        .into_iter()
        .filter(|approval| {
            let job = model.jobs.get(approval.id());
            let topic = job
                .and_then(|job| job.topic())
                .or_else(|| approval.fact.job.request.as_ref()?.topic.as_deref());
            let taking = topic.and_then(|topic| model.pool_taking(topic, pools));
            taking.is_some_and(|taking| taking.name == pool.name)
        })
        .collect();
    let mut links: Vec<Prose> = of_pool
        .iter()
        .take(NAMED)
        .map(|approval| {
            let request = approval.fact.job.request.as_ref();
            let says = match held(approval, &model.jobs) {
                Some(held @ 1..) => Prose::new().own(format!(
                    "{} behind approval ",
                    text::count(u64::from(held), "known job stands", "known jobs stand")
                )),
                Some(0) => Prose::new().own("Nothing known stands behind approval "),
                None => Prose::new().own("It is unknown what stands behind approval "),
            };
            let says = says.outside(text::id_tail(approval.id().as_str()));
            let says = match request.and_then(|request| request.topic.clone()) {
                Some(topic) => says.own(", ").outside(topic),
                None => says,
            };
            let says = match request.and_then(|request| request.workflow_id.clone()) {
                Some(workflow) => says.own(" of ").outside(workflow),
                None => says,
            };
            let says = says.own(format!(
                ": a person decides, for {} now",
                text::age(approval.wait(now))
            ));
            match approval.time_left(now) {
                Some(left) if left == Elapsed::ZERO => says.strong("; its deadline has passed."),
                Some(left) => says.own(format!("; {} are left.", text::age(left))),
                None => says.own("."),
            }
        })
        .collect();
    match of_pool.len().saturating_sub(NAMED) {
        0 => {}
        more => links.push(Prose::new().own(format!("And {more} more approvals."))),
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::script;

    const GPU: &str = "0s link nats up | 0s beat w-gpu-02 pool=gpu slots=4/4 | 0s beat w-gpu-01 pool=gpu slots=4/4 \
        | 1s submit j1 topic=job.gpu.tune | 2s submit j2 topic=job.gpu.tune";
    const MCP: &str = "0s link nats up | 0s link gateway up | 0s beat w1 pool=mcp slots=1/20 \
        | 1s submit b topic=job.mcp.close workflow=wf step=2 | 1s submit c topic=job.mcp.mail workflow=wf step=3 \
        | 2s approval job-a topic=job.mcp.write workflow=wf step=1 deadline=220s | 20s beat w1 pool=mcp slots=1/20";
    const LOST: &str = "0s link nats up | 0s beat w-crawl pool=crawl slots=1/4 | 1s submit j1 topic=job.crawl.x \
        | 1s dispatch j1 w-crawl topic=job.crawl.x | 1s submit j2 topic=job.crawl.x | 61s tick";
    const TENANT: &str = "0s link nats up | 0s beat w1 pool=batch slots=2/8 | 1s submit r topic=job.batch.x tenant=acme \
        | 1s dispatch r w1 topic=job.batch.x | 2s told j1 PENDING topic=job.batch.x tenant=acme waiting=tenant_limit | 3s tick";

    /// What blocks a pool, long and short.
    #[track_caller]
    fn check_blocks(script: &str, name: &str, expected: [&str; 2]) {
        let state = script::run(script).expect("a script");
        let pools = state.model.pools_at(state.now);
        let pool = pools.iter().find(|pool| pool.name.as_str() == name);
        let holds = Holds::of(&state.model, &pools, state.now);
        let says = blocks(&state.model, pool.expect("the pool"), &holds, state.now);
        assert_eq!(says.map(|it| it.plain()), expected);
    }

    #[test]
    fn workers_that_are_lost_are_named_where_nothing_worse_blocks() {
        let beats = |names: &[&str], at: u32| {
            let one = |name: &&str| format!("{at}s beat {name} pool=p slots=0/4");
            names.iter().map(one).collect::<Vec<_>>().join(" | ")
        };
        let script = |all: &[&str], left: &[&str]| {
            format!(
                "0s link nats up | {} | {} | {} | {}",
                beats(all, 1),
                beats(left, 20),
                beats(left, 40),
                beats(left, 60)
            )
        };
        let one = script(&["w1", "w2"], &["w1"]);
        check_blocks(&one, "p", ["w2 lost 59s ago", "1 of 2 workers lost"]);
        let two = script(&["w1", "w2", "w3"], &["w1"]);
        let says = [
            "2 of 3 workers lost, the last 59s ago",
            "2 of 3 workers lost",
        ];
        check_blocks(&two, "p", says);
    }

    #[track_caller]
    fn check_chain(script: &str, name: &str, expected: &[&str]) {
        let state = script::run(script).expect("a script");
        let chain = chain(&state, &PoolName::from(name));
        let says: Vec<String> = chain.iter().map(Prose::plain).collect();
        assert_eq!(says, expected);
    }

    #[test]
    fn what_blocks_a_pool_names_what_stands_behind_it() {
        check_blocks(
            GPU,
            "gpu",
            [
                "2 of 2 workers over 90%; 2 jobs wait",
                "2 of 2 workers over 90%",
            ],
        );
        check_blocks(
            MCP,
            "mcp",
            [
                "2 jobs behind approval job-a, SLA 3m22s",
                "2 jobs behind job-a",
            ],
        );
        check_blocks(
            LOST,
            "crawl",
            ["no live worker; w-crawl lost 1m01s ago", "no live worker"],
        );
        check_blocks(
            TENANT,
            "batch",
            [
                "tenant acme at its limit, 1 at work",
                "tenant acme at its limit",
            ],
        );
        check_blocks(
            &TENANT.replace(
                "r topic=job.batch.x tenant=acme",
                "r topic=job.batch.x tenant=Acme",
            ),
            "batch",
            [
                "tenant acme at its limit, 1 at work",
                "tenant acme at its limit",
            ],
        );
        check_blocks(
            "0s link nats up | 0s beat w1 pool=p slots=0/4",
            "p",
            ["", ""],
        );
    }

    #[test]
    fn a_chain_goes_from_what_waits_to_what_stands_behind_it() {
        check_chain(
            GPU,
            "gpu",
            &[
                "2 jobs wait, j1 for 1s.",
                "Pool gpu is full for 2s.",
                "2 of 2 workers are over 90%: w-gpu-01, w-gpu-02.",
            ],
        );
        check_chain(
            LOST,
            "crawl",
            &[
                "1 job waits, j2 for 1m00s.",
                "Pool crawl is stuck: no live worker takes its jobs.",
                "w-crawl was lost 1m01s ago; it had j1.",
            ],
        );
        check_chain(
            TENANT,
            "batch",
            &[
                "1 job waits, j1 for 1s.",
                "Pool batch is steady: 0 jobs come and 0 end a minute.",
                "1 job waits because tenant acme is at its limit, with 1 job at work.",
            ],
        );
        check_chain(
            MCP,
            "mcp",
            &[
                "2 jobs wait, b for 19s.",
                "Pool mcp is full in 5m00s if nothing changes: 3 jobs come and 0 end a minute; 17 slots are free.",
                "2 known jobs stand behind approval job-a, job.mcp.write of wf: a person decides, for 18s now; 3m22s are left.",
            ],
        );
        check_chain(MCP, "gone", &[]);
    }

    #[test]
    fn jobs_that_ask_for_what_no_worker_has_are_told_apart_from_those_of_unmapped_topics() {
        check_chain(
            "0s link nats up | 0s beat w1 pool=p slots=0/4 \
             | 1s told a PENDING topic=job.p.x waiting=no_pool_mapping requires=gpu,net \
             | 1s told b PENDING topic=job.p.x waiting=no_workers labels=node.zone:eu \
             | 1s told c PENDING topic=job.p.x waiting=no_pool_mapping | 2s tick",
            "p",
            &[
                "3 jobs wait, a for 1s.",
                "Pool p is steady: 0 jobs come and 0 end a minute.",
                "1 job waits because no pool is mapped to their topic.",
                "1 job waits because no pool of their topic offers what they require.",
                "1 job waits because no live worker has the labels that they are placed by.",
            ],
        );
    }
}
