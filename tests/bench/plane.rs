//! How many jobs a second the embedded plane takes from the bus, judges by fifty
//! rules, places and dispatches, all of it in memory: from the first submission on
//! `sys.job.submit` to the last dispatch on `worker.*.jobs`.
//!
//! Submissions are encoded beforehand. Workers have room for all and report nothing,
//! so that only the way to a worker is measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use capdeck::bus::local::LocalBus;
use capdeck::bus::{Bus, Pattern};
use capdeck::control_plane::kernel::live::PolicyKernel;
use capdeck::control_plane::kernel::policy::Policy;
use capdeck::control_plane::ledger::MAX_JOBS;
use capdeck::control_plane::scenario::Scenario;
use capdeck::control_plane::{ControlPlane, Options, Rules, gateway};
use capdeck::ids::{JobId, PoolName, WorkerId};
use capdeck::store::memory::MemoryStore;
use capdeck::time::{Clock, SystemClock};
use capdeck::wire::packet::{Body, Heartbeat, JobMetadata, JobRequest, Packet};
use capdeck::wire::{self, encode};

use crate::rules::{fifty, passing, question};
use crate::{packet, publish, row};

const JOBS: usize = 100_000;
const WORKERS: usize = 20;
/// Submissions that may be on their way: far less than a subscription holds, so that
/// nothing is dropped.
const ON_THE_WAY: usize = 10_000;
/// The best of so many runs stands for the code: a noisy machine never hastens one.
const ROUNDS: usize = 3;

pub(crate) fn plane() {
    let mut speeds: Vec<f64> = (0..ROUNDS).map(|_| measure()).collect();
    speeds.sort_by(f64::total_cmp);
    row(
        "the embedded plane in memory, from the submission on the bus to the dispatch, 50 rules",
        &format!(
            "{:.0} jobs/s, best of {ROUNDS} runs of {JOBS} jobs",
            speeds[ROUNDS - 1]
        ),
        &format!("the slowest run {:.0} jobs/s", speeds[0]),
    );
}

fn measure() -> f64 {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let bus: Arc<dyn Bus> = Arc::new(LocalBus::new());
        let policy = Policy::parse(fifty().as_bytes()).expect("a policy");
        let kernel = PolicyKernel::new(policy, Arc::clone(&clock));
        let plane = ControlPlane::start(
            Arc::clone(&bus),
            Arc::new(MemoryStore::new(Arc::clone(&clock))),
            clock,
            Options {
                rules: Rules::Kernel(Arc::new(kernel)),
                scenario: Scenario::built_in("quiet").expect("it is built in"),
                workers: false,
                traffic: false,
                speed: 1.0,
                seed: 7,
                http: gateway::Options {
                    listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                    keys: gateway::Keyring::default(),
                    next_free_port: false,
                },
                max_jobs: MAX_JOBS,
                fail_open: false,
                shared_as: None,
            },
        )
        .await
        .expect("a plane");
        for worker in 0..WORKERS {
            publish(&*bus, wire::HEARTBEAT, &beat(worker)).await;
        }
        let submissions = submissions();
        let pattern = Pattern::parse("worker.*.jobs").expect("a pattern");
        let mut dispatched = bus.subscribe(&pattern, None).await.expect("heard");
        let sent = Arc::new(AtomicUsize::new(0));
        let taken = Arc::new(AtomicUsize::new(0));
        let start = Instant::now();
        let submitting = tokio::spawn({
            let (bus, taken) = (Arc::clone(&bus), Arc::clone(&taken));
            async move {
                let subject = wire::subject(wire::SUBMIT);
                for bytes in submissions {
                    while sent.load(Ordering::Relaxed) - taken.load(Ordering::Relaxed) > ON_THE_WAY
                    {
                        tokio::task::yield_now().await;
                    }
                    bus.publish(&subject, bytes).await.expect("the bus lives");
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let mut batch = Vec::new();
        while taken.load(Ordering::Relaxed) < JOBS {
            let heard = dispatched.recv_many(&mut batch, 1_024).await;
            assert!(heard > 0, "the bus lives");
            batch.clear();
            taken.fetch_add(heard, Ordering::Relaxed);
        }
        let took = start.elapsed();
        submitting.await.expect("all are submitted");
        plane.shutdown().await;
        JOBS as f64 / took.as_secs_f64()
    })
}

fn submissions() -> Vec<Bytes> {
    let subject = wire::subject(wire::SUBMIT);
    (0..JOBS)
        .map(|n| encode::encode(&subject, &submission(n)).expect("a packet by the contract"))
        .collect()
}

fn submission(n: usize) -> Packet {
    let asked = question(n, passing(n));
    let request = JobRequest {
        job_id: JobId::from(format!("job-{n:08}")),
        topic: asked.topic,
        tenant_id: asked.tenant,
        principal_id: asked.principal_id,
        labels: asked.labels,
        context_ptr: "redis://ctx:bench".to_owned(),
        meta: Some(JobMetadata {
            actor_id: asked.actor_id,
            actor_type: asked.actor_type,
            capability: asked.capability,
            risk_tags: asked.risk_tags,
            pack_id: asked.pack_id,
            ..JobMetadata::default()
        }),
        ..JobRequest::default()
    };
    packet("bench", Body::JobRequest(Box::new(request)))
}

fn beat(index: usize) -> Packet {
    let name = format!("w-{index:03}");
    let beat = Heartbeat {
        worker_id: WorkerId::from(name.as_str()),
        pool: PoolName::from("default"),
        max_parallel_jobs: JOBS as i32,
        ..Heartbeat::default()
    };
    packet(&name, Body::Heartbeat(Box::new(beat)))
}
