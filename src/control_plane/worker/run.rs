//! The shell of a fleet: one task that listens for all its workers.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, SelectAll, Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Fleet, Out};
use crate::bus::{Bus, BusError, Delivery, Pattern, Subject};
use crate::control_plane::scenario::WorkerIncident;
use crate::store::Store;
use crate::time::{Clock, Elapsed, Timestamp, sleep};
use crate::wire;
use crate::wire::Channel;
use crate::wire::packet::Body;

/// A result lives this long in the store, as in CAP deployments.
const RESULT_TTL: Elapsed = Elapsed::from_secs(24 * 60 * 60);
/// How long to wait before a refused subscription or result is tried again.
const RETRY_AFTER: Elapsed = Elapsed::from_secs(1);
/// Results kept while the bus is away; beyond it the oldest is lost, and logged.
const KEPT_RESULTS: usize = 4_096;

type Deliveries = SelectAll<std::pin::Pin<Box<dyn Stream<Item = Delivery> + Send>>>;

/// Runs `fleet` until `cancel`.
///
/// Every worker listens on its own subject and on [`wire::CANCEL`]. Heartbeats and
/// progress that cannot be published are dropped; results are kept and tried again.
/// `incidents` comes from [`crate::control_plane::scenario::run()`]; a fleet that
/// nothing befalls gets a receiver whose sender is gone.
pub async fn run(
    mut fleet: Fleet,
    mut incidents: mpsc::Receiver<WorkerIncident>,
    bus: Arc<dyn Bus>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    cancel: CancellationToken,
) {
    let mut deliveries = loop {
        match listen(&fleet, &*bus).await {
            Ok(deliveries) => break deliveries,
            Err(error) => tracing::warn!(%error, "the workers cannot listen yet"),
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = sleep(&*clock, RETRY_AFTER) => {}
        }
    };
    let mut outbox = Outbox {
        bus,
        store,
        results: VecDeque::new(),
        retry_at: None,
    };
    let mut more_incidents = true;
    loop {
        let wake = match (fleet.next_at(), outbox.retry_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let timer = async {
            match wake {
                Some(at) => clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let out = tokio::select! {
            () = cancel.cancelled() => return,
            incident = incidents.recv(), if more_incidents => match incident {
                Some(incident) => fleet.befall(&incident, clock.now()),
                None => {
                    more_incidents = false;
                    Vec::new()
                }
            },
            delivery = deliveries.next() => match delivery {
                Some(delivery) => hear(&mut fleet, &delivery, clock.now()),
                None => return,
            },
            () = timer => fleet.due(clock.now()),
        };
        outbox.send(out, clock.now()).await;
    }
}

async fn listen(fleet: &Fleet, bus: &dyn Bus) -> Result<Deliveries, BusError> {
    let mut all = SelectAll::new();
    let mut subjects = fleet.job_subjects()?;
    subjects.push(wire::subject(wire::CANCEL));
    for subject in &subjects {
        let subscription = bus.subscribe(&Pattern::from(subject), None).await?;
        let stream = stream::unfold(subscription, |mut subscription| async {
            let delivery = subscription.recv().await?;
            Some((delivery, subscription))
        });
        all.push(stream.boxed());
    }
    Ok(all)
}

fn hear(fleet: &mut Fleet, delivery: &Delivery, now: Timestamp) -> Vec<Out> {
    let packet = match wire::decode::decode(delivery) {
        Ok(packet) => packet,
        Err(error) => {
            tracing::debug!(%error, "the workers heard something that is not a packet");
            return Vec::new();
        }
    };
    match (Channel::of(&delivery.subject), &packet.body) {
        (
            Channel::Dispatch {
                worker: Some(worker),
            },
            _,
        ) => fleet.dispatched(&worker, &packet, now),
        (_, Body::JobCancel(cancel)) => fleet.cancelled(cancel, now),
        _ => Vec::new(),
    }
}

struct Outbox {
    bus: Arc<dyn Bus>,
    store: Arc<dyn Store>,
    /// Results that could not be published yet, oldest first.
    results: VecDeque<(Subject, Bytes)>,
    retry_at: Option<Timestamp>,
}

impl Outbox {
    async fn send(&mut self, out: Vec<Out>, now: Timestamp) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry(now).await;
        }
        for one in out {
            match one {
                Out::Store { key, value } => {
                    if let Err(error) = self.store.put(&key, value, Some(RESULT_TTL)).await {
                        tracing::warn!(key, %error, "a result payload was not stored");
                    }
                }
                Out::Publish { subject, packet } => {
                    let bytes = match wire::encode::encode(&subject, &packet) {
                        Ok(bytes) => bytes,
                        Err(error) => {
                            tracing::warn!(%subject, %error, "a worker made an invalid packet");
                            continue;
                        }
                    };
                    let is_result = matches!(packet.body, Body::JobResult(_));
                    if is_result && !self.results.is_empty() {
                        self.keep(subject, bytes, now);
                    } else if let Err(error) = self.bus.publish(&subject, bytes.clone()).await {
                        tracing::debug!(%subject, %error, "a worker's packet was not published");
                        if is_result {
                            self.keep(subject, bytes, now);
                        }
                    }
                }
            }
        }
    }

    fn keep(&mut self, subject: Subject, bytes: Bytes, now: Timestamp) {
        if self.results.len() >= KEPT_RESULTS {
            self.results.pop_front();
            tracing::warn!("a result was lost: the bus was away for too long");
        }
        self.results.push_back((subject, bytes));
        self.retry_at.get_or_insert(now.plus(RETRY_AFTER));
    }

    async fn retry(&mut self, now: Timestamp) {
        self.retry_at = None;
        while let Some((subject, bytes)) = self.results.front() {
            if self.bus.publish(subject, bytes.clone()).await.is_err() {
                self.retry_at = Some(now.plus(RETRY_AFTER));
                return;
            }
            self.results.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::watch;

    use super::*;
    use crate::bus::local::LocalBus;
    use crate::bus::{LinkState, Subscription};
    use crate::control_plane::scenario::{Change, Mishap, format};
    use crate::ids::{JobId, SenderId, TraceId, WorkerId};
    use crate::store::memory::MemoryStore;
    use crate::time::{BoxFuture, ManualClock};
    use crate::wire::packet::{JobRequest, JobResult, JobStatus, Packet};

    const SCENARIO: &str = "name = \"t\"\n[[pool]]\nname = \"a\"\nworkers = 2\nslots = 2";

    /// A bus that refuses the first results.
    #[derive(Debug)]
    struct Flaky {
        bus: LocalBus,
        refusals: AtomicU32,
    }

    impl Bus for Flaky {
        fn subscribe<'a>(
            &'a self,
            pattern: &'a Pattern,
            queue: Option<&'a str>,
        ) -> BoxFuture<'a, Result<Subscription, BusError>> {
            self.bus.subscribe(pattern, queue)
        }

        fn publish<'a>(
            &'a self,
            subject: &'a Subject,
            payload: Bytes,
        ) -> BoxFuture<'a, Result<(), BusError>> {
            let left = self.refusals.load(Ordering::Relaxed);
            if subject.as_str() == wire::RESULT && left > 0 {
                self.refusals.store(left - 1, Ordering::Relaxed);
                let url = "flaky".to_owned();
                return Box::pin(async { Err(BusError::NotConnected { url }) });
            }
            self.bus.publish(subject, payload)
        }

        fn link(&self) -> watch::Receiver<LinkState> {
            self.bus.link()
        }
    }

    struct Rig {
        bus: Arc<Flaky>,
        store: Arc<MemoryStore>,
        clock: ManualClock,
        incidents: mpsc::Sender<WorkerIncident>,
        results: Subscription,
        beats: Subscription,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    async fn rig(refusals: u32) -> Rig {
        let clock = ManualClock::at(Timestamp::from_millis(0));
        let bus = Arc::new(Flaky {
            bus: LocalBus::new(),
            refusals: AtomicU32::new(refusals),
        });
        let store = Arc::new(MemoryStore::new(Arc::new(clock.clone())));
        let scenario = format::parse(SCENARIO, "t.toml", &|_| {
            Err(std::io::ErrorKind::NotFound.into())
        });
        let scenario = Arc::new(scenario.expect("good test data"));
        let hear = async |subject: &'static str| {
            let pattern = Pattern::from(&wire::subject(subject));
            let heard = bus.subscribe(&pattern, None).await;
            heard.expect("it is connected")
        };
        let (results, mut beats) = (hear(wire::RESULT).await, hear(wire::HEARTBEAT).await);
        let (incidents, befalls) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(
            Fleet::new(scenario, 1, clock.now()),
            befalls,
            Arc::clone(&bus) as Arc<dyn Bus>,
            Arc::clone(&store) as Arc<dyn Store>,
            Arc::new(clock.clone()),
            stop.clone(),
        ));
        // A worker that beats listens already.
        assert!(beats.recv().await.is_some());
        Rig {
            bus,
            store,
            clock,
            incidents,
            results,
            beats,
            stop,
            task,
        }
    }

    impl Rig {
        async fn send(&self, subject: &Subject, body: Body) {
            let packet = Packet::new(
                TraceId::from("t"),
                SenderId::from("s"),
                self.clock.now(),
                body,
            );
            let bytes = wire::encode::encode(subject, &packet).expect("a good packet");
            let sent = self.bus.publish(subject, bytes).await;
            sent.expect("it is connected");
        }

        async fn dispatch(&self, worker: &str, job: &str) {
            let subject = wire::worker_jobs(&WorkerId::from(worker)).expect("a subject");
            let request = JobRequest {
                job_id: JobId::from(job),
                topic: "job.a".to_owned(),
                ..JobRequest::default()
            };
            self.send(&subject, Body::JobRequest(Box::new(request)))
                .await;
        }

        /// The next result, with the clock moved until it comes.
        async fn result(&mut self) -> JobResult {
            loop {
                tokio::select! {
                    biased;
                    heard = self.results.recv() => {
                        let heard = heard.expect("the bus lives");
                        let packet = wire::decode::decode(&heard).expect("a packet");
                        let Body::JobResult(result) = packet.body else {
                            panic!("{packet:?}");
                        };
                        return *result;
                    }
                    () = tokio::task::yield_now() => {
                        self.clock.advance(Elapsed::from_millis(100));
                    }
                }
            }
        }
    }

    #[tokio::test]
    async fn a_dispatched_job_ends_with_a_stored_result_and_a_cancelled_one_with_a_word() {
        let mut rig = rig(0).await;
        rig.dispatch("w-a-02", "j1").await;
        let result = rig.result().await;
        assert_eq!(result.status, JobStatus::Succeeded);
        assert_eq!(result.worker_id.as_str(), "w-a-02");
        let stored = rig.store.get("res:j1").await.expect("the store answers");
        assert!(stored.is_some());
        rig.dispatch("w-a-01", "j2").await;
        let cancel = crate::wire::packet::JobCancel {
            job_id: JobId::from("j2"),
            requested_by: "op".to_owned(),
            ..Default::default()
        };
        // Subscriptions have no order between them, so the request is let through first.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        rig.send(&wire::subject(wire::CANCEL), Body::JobCancel(cancel))
            .await;
        assert_eq!(rig.result().await.status, JobStatus::Cancelled);
        rig.stop.cancel();
        rig.task.await.expect("it ends");
    }

    #[tokio::test]
    async fn a_result_that_the_bus_refuses_is_sent_again() {
        let mut rig = rig(3).await;
        rig.dispatch("w-a-01", "j1").await;
        assert_eq!(rig.result().await.job_id.as_str(), "j1");
        assert_eq!(rig.bus.refusals.load(Ordering::Relaxed), 0);
        rig.stop.cancel();
        rig.task.await.expect("it ends");
    }

    #[tokio::test]
    async fn an_incident_reaches_its_worker_and_bytes_that_are_no_packet_reach_nobody() {
        let mut rig = rig(0).await;
        let incident = WorkerIncident {
            workers: [WorkerId::from("w-a-01")].into(),
            change: Change::Begins(Mishap::Silent),
        };
        rig.incidents.send(incident).await.expect("it listens");
        let subject = wire::worker_jobs(&WorkerId::from("w-a-02")).expect("a subject");
        let sent = rig.bus.publish(&subject, Bytes::from_static(b"\xff")).await;
        sent.expect("it is connected");
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        for _ in 0..100 {
            rig.clock.advance(Elapsed::from_millis(100));
            tokio::task::yield_now().await;
        }
        rig.bus.bus.close(rig.clock.now());
        let mut senders = Vec::new();
        while let Some(heard) = rig.beats.recv().await {
            let packet = wire::decode::decode(&heard).expect("a packet");
            senders.push(packet.sender.to_string());
        }
        assert!(senders.len() >= 4, "{senders:?}");
        let silent = senders.iter().filter(|sender| *sender == "w-a-01").count();
        assert!(silent <= 1, "{senders:?}");
        // A bus that is gone for good ends the workers too.
        rig.task.await.expect("it ends");
    }
}
