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
/// `incidents` comes from [`crate::control_plane::scenario::run`]; a fleet that
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
