//! From the bus to events: subscribe, decode, queue.
//!
//! A fleet beats all the time and its beats are shown four times a second, so a beat
//! alone wakes nobody: it waits in the queue for about [`BEATS_WAIT`] or for anything
//! else that happens. Everything but a heartbeat wakes the model at once.

use std::sync::Arc;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{broke, link_of, told_if_it_breaks, until};
use crate::bus::{Bus, Delivery, Pattern};
use crate::state::event::{Event, Heard, Malformed, Route, Source};
use crate::time::{BoxFuture, Clock, Elapsed, Timestamp, sleep};
use crate::wire::{Channel, decode, observed};

/// Packets that go through the queue at once.
pub(super) const BATCH: usize = 256;
/// Pause before a subscription that was refused is tried again.
const AGAIN: Elapsed = Elapsed::from_secs(1);
/// How long heartbeats wait for company: the time between two frames of a screen on
/// which only heartbeats move. The next one that comes after that brings them along.
const BEATS_WAIT: Elapsed = Elapsed::from_millis(250);
/// How long they wait when no other one comes. Tokio's timers wake up to 64 ms before
/// their time to look at it; with so much more than [`BEATS_WAIT`] a fleet that beats
/// steadily is never woken for.
const LAST_BEAT_WAITS: Elapsed = Elapsed::from_millis(320);

/// A queue of packets and its two ends.
pub(super) fn queue(batches: usize) -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::channel(batches);
    let ready = Arc::new(Notify::new());
    let receiver = Receiver {
        batches: receiver,
        ready: Arc::clone(&ready),
    };
    let sender = Sender {
        batches: sender,
        ready,
    };
    (sender, receiver)
}

/// Where packets go in.
#[derive(Clone)]
pub(super) struct Sender {
    batches: mpsc::Sender<Vec<Event>>,
    ready: Arc<Notify>,
}

impl Sender {
    /// Waits for room; says nothing to the other end unless there is none. False when
    /// the other end is gone.
    async fn put(&self, events: Vec<Event>) -> bool {
        match self.batches.try_send(events) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(events)) => {
                self.ready.notify_one();
                self.batches.send(events).await.is_ok()
            }
        }
    }
}

/// Where packets come out.
pub(super) struct Receiver {
    batches: mpsc::Receiver<Vec<Event>>,
    ready: Arc<Notify>,
}

impl Receiver {
    /// Waits until somebody should look into the queue.
    pub(super) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Takes what waits, in order, until at least `enough` events were given to
    /// `take`; then [`Receiver::ready`] is ready again at once.
    pub(super) fn take(&mut self, enough: usize, mut take: impl FnMut(Event)) {
        let mut taken = 0;
        while let Ok(events) = self.batches.try_recv() {
            taken += events.len();
            events.into_iter().for_each(&mut take);
            if taken >= enough {
                return self.ready.notify_one();
            }
        }
    }

    /// Lets nothing more in.
    pub(super) fn close(&mut self) {
        self.batches.close();
    }
}

/// One task a pattern and one for the line. Without a queue group: an observer
/// takes no work away.
pub(super) fn spawn(
    bus: &Arc<dyn Bus>,
    packets: &Sender,
    answers: &mpsc::Sender<Event>,
    clock: &Arc<dyn Clock>,
    running: &mut JoinSet<()>,
    stop: &CancellationToken,
) {
    for pattern in observed() {
        let task = listen(Arc::clone(bus), pattern, packets.clone(), Arc::clone(clock));
        let task = told_if_it_breaks(task, answers.clone(), broke(Source::Bus, clock));
        running.spawn(until(stop.clone(), task));
    }
    let (mut link, answers) = (bus.link(), answers.clone());
    let watch = async move {
        loop {
            let event = Event::Link(Source::Bus, link_of(&link.borrow_and_update()));
            if answers.send(event).await.is_err() || link.changed().await.is_err() {
                return;
            }
        }
    };
    running.spawn(until(stop.clone(), watch));
}

async fn listen(bus: Arc<dyn Bus>, pattern: Pattern, packets: Sender, clock: Arc<dyn Clock>) {
    let mut waiting = Vec::with_capacity(BATCH);
    // Since when there are beats in the queue that nobody was told of.
    let mut since: Option<Timestamp> = None;
    let mut alarm: Option<BoxFuture<'static, ()>> = None;
    loop {
        let Ok(mut subscription) = bus.subscribe(&pattern, None).await else {
            sleep(clock.as_ref(), AGAIN).await;
            continue;
        };
        loop {
            let received = tokio::select! {
                biased;
                received = subscription.recv_many(&mut waiting, BATCH) => received,
                () = rings(&mut alarm) => {
                    (since, alarm) = (None, None);
                    packets.ready.notify_one();
                    continue;
                }
            };
            if received == 0 {
                break;
            }
            let events: Vec<Event> = waiting.drain(..).map(|it| event_of(&it)).collect();
            let only_beats = events.iter().all(is_beat);
            if !packets.put(events).await {
                return;
            }
            let now = clock.now();
            let first = *since.get_or_insert(now);
            if only_beats && now.since(first) < BEATS_WAIT {
                alarm.get_or_insert_with(|| clock.sleep_until(first.plus(LAST_BEAT_WAITS)));
            } else {
                (since, alarm) = (None, None);
                packets.ready.notify_one();
            }
        }
        sleep(clock.as_ref(), AGAIN).await;
    }
}

async fn rings(alarm: &mut Option<BoxFuture<'static, ()>>) {
    match alarm {
        Some(alarm) => alarm.await,
        None => std::future::pending().await,
    }
}

fn is_beat(event: &Event) -> bool {
    matches!(event, Event::Packet(heard) if heard.route == Route::Heartbeat)
}

/// What a delivery is; total over any bytes.
pub(crate) fn event_of(delivery: &Delivery) -> Event {
    let subject = || delivery.subject.shared();
    match decode::decode(delivery) {
        Ok(packet) => Event::Packet(Box::new(Heard {
            route: route_of(Channel::of(&delivery.subject)),
            subject: subject(),
            packet,
        })),
        Err(error) => Event::Malformed(Malformed {
            subject: subject(),
            len: error.len,
            reason: Arc::from(error.kind.to_string()),
        }),
    }
}

fn route_of(channel: Channel) -> Route {
    match channel {
        Channel::Submit => Route::Submit,
        Channel::Dispatch { worker } => Route::Dispatch { worker },
        Channel::Result => Route::Result,
        Channel::Progress => Route::Progress,
        Channel::Cancel => Route::Cancel,
        Channel::DeadLetter => Route::DeadLetter,
        Channel::Heartbeat => Route::Heartbeat,
        Channel::Handshake => Route::Handshake,
        Channel::Alert => Route::Alert,
        Channel::Audit => Route::Audit,
        Channel::Other => Route::Other,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt as _;

    use super::*;
    use crate::bus::local::LocalBus;
    use crate::ids::{JobId, SenderId, TraceId, WorkerId};
    use crate::time::ManualClock;
    use crate::wire::packet::{Body, Heartbeat, JobRequest, Packet};
    use crate::wire::{HEARTBEAT, SUBMIT, encode, subject};

    /// A listener on a bus of its own, and the end where its packets come out.
    struct Heard {
        bus: Arc<dyn Bus>,
        clock: ManualClock,
        packets: Receiver,
    }

    impl Heard {
        async fn start(batches: usize) -> Self {
            let bus: Arc<dyn Bus> = Arc::new(LocalBus::new());
            let clock = ManualClock::at(Timestamp::from_millis(0));
            let (sender, packets) = queue(batches);
            let pattern = Pattern::parse("sys.>").expect("a pattern");
            tokio::spawn(listen(
                Arc::clone(&bus),
                pattern,
                sender,
                Arc::new(clock.clone()),
            ));
            let mut heard = Self {
                bus,
                clock,
                packets,
            };
            assert!(!heard.is_woken().await);
            heard
        }

        async fn publish(&self, name: &'static str, body: Body) {
            let sender = SenderId::from("w1");
            let packet = Packet::new(TraceId::from("t"), sender, self.clock.now(), body);
            let bytes: Bytes = encode::encode(&subject(name), &packet).expect("a packet");
            let published = self.bus.publish(&subject(name), bytes).await;
            published.expect("published");
        }

        async fn beat(&self) {
            let beat = Heartbeat {
                worker_id: WorkerId::from("w1"),
                pool: crate::ids::PoolName::from("batch"),
                ..Heartbeat::default()
            };
            self.publish(HEARTBEAT, Body::Heartbeat(Box::new(beat)))
                .await;
        }

        async fn submit(&self) {
            let request = JobRequest {
                job_id: JobId::from("j1"),
                topic: "job.demo.echo".to_owned(),
                ..JobRequest::default()
            };
            self.publish(SUBMIT, Body::JobRequest(Box::new(request)))
                .await;
        }

        /// Whether the model is told to look, once the listener had its time.
        async fn is_woken(&mut self) -> bool {
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            self.packets.ready().now_or_never().is_some()
        }

        fn taken(&mut self, enough: usize) -> String {
            let mut kinds = Vec::new();
            self.packets.take(enough, |event| match event {
                Event::Packet(heard) => kinds.push(heard.packet.body.kind()),
                other => panic!("{other:?}"),
            });
            kinds.join(" ")
        }
    }

    #[tokio::test]
    async fn beats_alone_wake_the_model_four_times_a_second() {
        let mut heard = Heard::start(8).await;
        heard.beat().await;
        assert!(!heard.is_woken().await);
        heard.clock.advance(Elapsed::from_millis(249));
        heard.beat().await;
        assert!(!heard.is_woken().await);
        heard.clock.advance(Elapsed::from_millis(1));
        heard.beat().await;
        assert!(heard.is_woken().await);
        assert_eq!(heard.taken(9), "heartbeat heartbeat heartbeat");
        heard.clock.advance(Elapsed::from_secs(1));
        assert!(!heard.is_woken().await, "nothing waits any more");
    }

    #[tokio::test]
    async fn the_last_beat_of_a_fleet_is_told_of_although_no_other_one_comes() {
        let mut heard = Heard::start(8).await;
        heard.beat().await;
        assert!(!heard.is_woken().await);
        heard.clock.advance(Elapsed::from_millis(319));
        assert!(!heard.is_woken().await);
        heard.clock.advance(Elapsed::from_millis(1));
        assert!(heard.is_woken().await);
        assert_eq!(heard.taken(9), "heartbeat");
    }

    #[tokio::test]
    async fn anything_else_wakes_the_model_at_once_and_brings_the_beats_before_it() {
        let mut heard = Heard::start(8).await;
        heard.beat().await;
        assert!(!heard.is_woken().await);
        heard.submit().await;
        assert!(heard.is_woken().await);
        assert_eq!(heard.taken(9), "heartbeat job_request");
        heard.clock.advance(Elapsed::from_secs(1));
        assert!(!heard.is_woken().await, "the beat was taken already");
    }

    #[tokio::test]
    async fn a_queue_that_is_full_of_beats_wakes_the_model() {
        let mut heard = Heard::start(2).await;
        for _ in 0..2 {
            heard.beat().await;
            assert!(!heard.is_woken().await);
        }
        heard.beat().await;
        assert!(heard.is_woken().await);
        assert_eq!(heard.taken(9), "heartbeat heartbeat");
    }

    #[tokio::test]
    async fn what_is_left_in_the_queue_is_told_again_at_once() {
        let mut heard = Heard::start(8).await;
        for _ in 0..3 {
            heard.submit().await;
            assert!(heard.is_woken().await);
        }
        assert_eq!(heard.taken(2), "job_request job_request");
        assert!(heard.is_woken().await);
        assert_eq!(heard.taken(2), "job_request");
        assert!(!heard.is_woken().await);
    }
}
