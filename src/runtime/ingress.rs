//! From the bus to events: subscribe, decode, queue.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{link_of, until};
use crate::bus::{Bus, Delivery, Pattern};
use crate::state::event::{Event, Heard, Malformed, Route, Source};
use crate::time::{Clock, Elapsed, sleep};
use crate::wire::{Channel, decode, observed};

/// Packets that go through the queue at once.
pub(super) const BATCH: usize = 256;
/// Pause before a subscription that was refused is tried again.
const AGAIN: Elapsed = Elapsed::from_secs(1);

/// One task a pattern and one for the line. Without a queue group: an observer
/// takes no work away.
pub(super) fn spawn(
    bus: &Arc<dyn Bus>,
    packets: &mpsc::Sender<Vec<Event>>,
    answers: &mpsc::Sender<Event>,
    clock: &Arc<dyn Clock>,
    running: &mut JoinSet<()>,
    stop: &CancellationToken,
) {
    for pattern in observed() {
        let task = listen(Arc::clone(bus), pattern, packets.clone(), Arc::clone(clock));
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

async fn listen(
    bus: Arc<dyn Bus>,
    pattern: Pattern,
    packets: mpsc::Sender<Vec<Event>>,
    clock: Arc<dyn Clock>,
) {
    let mut waiting = Vec::with_capacity(BATCH);
    loop {
        let Ok(mut subscription) = bus.subscribe(&pattern, None).await else {
            sleep(clock.as_ref(), AGAIN).await;
            continue;
        };
        while subscription.recv_many(&mut waiting, BATCH).await > 0 {
            let events = waiting
                .drain(..)
                .map(|delivery| event_of(&delivery))
                .collect();
            if packets.send(events).await.is_err() {
                return;
            }
        }
        sleep(clock.as_ref(), AGAIN).await;
    }
}

/// What a delivery is; total over any bytes.
pub(crate) fn event_of(delivery: &Delivery) -> Event {
    let subject = || Arc::from(delivery.subject.as_str());
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
