//! The in-process bus: what a NATS server does with core subjects, without one.
//!
//! Made for `capdeck demo` and for tests. A message goes to every matching
//! subscription without a queue group and to one member of every matching queue
//! group, in turns. Buffers are as deep as those of the NATS client and, like
//! those, drop when they are full: a slow reader never holds up a sender. There
//! is no line that could break, so the link is up from the start until
//! [`LocalBus::close`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};

use crate::bus::{
    Bus, BusError, Delivery, Encoding, LinkState, Pattern, SUBSCRIPTION_BUFFER, Subject,
    Subscription, SubscriptionGuard,
};
use crate::time::{BoxFuture, Timestamp};

/// What stands for an address in this bus's errors.
const URL: &str = "local:";

/// A broker inside this process. A clone is another handle of the same broker.
#[derive(Clone)]
pub struct LocalBus {
    broker: Arc<Broker>,
}

struct Broker {
    table: Mutex<Table>,
    link: watch::Sender<LinkState>,
    dropped: AtomicU64,
    buffer: usize,
}

#[derive(Default)]
struct Table {
    closed: bool,
    next_id: u64,
    listeners: BTreeMap<u64, Listener>,
    /// Per queue group the member that had the last message.
    turns: BTreeMap<Arc<str>, u64>,
}

struct Listener {
    pattern: Pattern,
    queue: Option<Arc<str>>,
    deliveries: mpsc::Sender<Delivery>,
}

impl LocalBus {
    /// A broker with nobody on it.
    pub fn new() -> Self {
        Self::with_buffer(SUBSCRIPTION_BUFFER)
    }

    /// A broker whose subscriptions hold `buffer` messages, at least one, before
    /// further ones are dropped.
    pub fn with_buffer(buffer: usize) -> Self {
        Self {
            broker: Arc::new(Broker {
                table: Mutex::default(),
                link: watch::Sender::new(LinkState::Up),
                dropped: AtomicU64::new(0),
                buffer: buffer.max(1),
            }),
        }
    }

    /// Ends every subscription, once its reader has read what waits, and refuses
    /// whatever comes later. `now` is the beginning of [`LinkState::Down`].
    pub fn close(&self, now: Timestamp) {
        let mut table = self.broker.table();
        if table.closed {
            return;
        }
        table.closed = true;
        table.listeners.clear();
        table.turns.clear();
        drop(table);
        self.broker.link.send_replace(LinkState::Down {
            since: now,
            reason: "the in-process bus is closed".into(),
            attempts: 0,
            again_at: None,
        });
    }

    /// Messages lost since the start because their reader was too slow.
    pub fn dropped(&self) -> u64 {
        self.broker.dropped.load(Ordering::Relaxed)
    }
}

impl Default for LocalBus {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for LocalBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalBus")
            .field("listeners", &self.broker.table().listeners.len())
            .field("dropped", &self.dropped())
            .finish()
    }
}

impl Bus for LocalBus {
    fn subscribe<'a>(
        &'a self,
        pattern: &'a Pattern,
        queue: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Subscription, BusError>> {
        Box::pin(async move { self.broker.subscribe(pattern, queue) })
    }

    fn publish<'a>(
        &'a self,
        subject: &'a Subject,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), BusError>> {
        Box::pin(async move {
            // Nothing here ever waits, so a sender in a loop would starve its
            // readers on the same thread.
            tokio::task::coop::consume_budget().await;
            self.broker.publish(subject, payload)
        })
    }

    fn link(&self) -> watch::Receiver<LinkState> {
        self.broker.link.subscribe()
    }
}

impl Broker {
    fn table(&self) -> MutexGuard<'_, Table> {
        // The table is whole after every statement that changes it, so a panic
        // elsewhere while it was locked does not spoil it.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscribe(
        self: &Arc<Self>,
        pattern: &Pattern,
        queue: Option<&str>,
    ) -> Result<Subscription, BusError> {
        let (deliveries, receiver) = mpsc::channel(self.buffer);
        let mut table = self.table();
        if table.closed {
            return Err(not_connected());
        }
        let id = table.next_id;
        table.next_id += 1;
        table.listeners.insert(
            id,
            Listener {
                pattern: pattern.clone(),
                queue: queue.map(Arc::from),
                deliveries,
            },
        );
        drop(table);
        let broker = Arc::downgrade(self);
        let guard = SubscriptionGuard::new(move || {
            if let Some(broker) = broker.upgrade() {
                broker.unsubscribe(id);
            }
        });
        Ok(Subscription::new(receiver, guard))
    }

    fn unsubscribe(&self, id: u64) {
        let mut table = self.table();
        let Some(Listener {
            queue: Some(queue), ..
        }) = table.listeners.remove(&id)
        else {
            return;
        };
        let has_members = table
            .listeners
            .values()
            .any(|listener| listener.queue.as_ref() == Some(&queue));
        if !has_members {
            table.turns.remove(&queue);
        }
    }

    fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError> {
        let delivery = Delivery {
            subject: subject.clone(),
            payload,
            encoding: Encoding::Proto,
        };
        // Held to the end, so that all subscriptions see one order.
        let mut table = self.table();
        if table.closed {
            return Err(not_connected());
        }
        let mut groups: BTreeMap<Arc<str>, Vec<u64>> = BTreeMap::new();
        let mut lost = 0;
        for (id, listener) in &table.listeners {
            if !listener.pattern.matches(subject) {
                continue;
            }
            match &listener.queue {
                None => lost += u64::from(hand_over(listener, &delivery) == Handed::Full),
                Some(queue) => groups.entry(Arc::clone(queue)).or_default().push(*id),
            }
        }
        for (queue, members) in groups {
            for id in in_turn(&members, table.turns.get(&queue).copied()) {
                match hand_over(&table.listeners[&id], &delivery) {
                    Handed::Gone => continue,
                    Handed::Full => lost += 1,
                    Handed::Over => {}
                }
                table.turns.insert(queue, id);
                break;
            }
        }
        drop(table);
        if lost > 0 {
            let dropped = self.dropped.fetch_add(lost, Ordering::Relaxed) + lost;
            self.link.send_if_modified(|link| match link {
                LinkState::Lagging { dropped: shown } if *shown >= dropped => false,
                LinkState::Down { .. } => false,
                link => {
                    *link = LinkState::Lagging { dropped };
                    true
                }
            });
        }
        Ok(())
    }
}

#[derive(PartialEq, Eq)]
enum Handed {
    Over,
    Full,
    Gone,
}

fn hand_over(listener: &Listener, delivery: &Delivery) -> Handed {
    match listener.deliveries.try_send(delivery.clone()) {
        Ok(()) => Handed::Over,
        Err(TrySendError::Full(_)) => Handed::Full,
        // Its reader is being dropped and takes it off the table itself.
        Err(TrySendError::Closed(_)) => Handed::Gone,
    }
}

/// The members in the order of their turns, `last` having had the last one.
fn in_turn(members: &[u64], last: Option<u64>) -> impl Iterator<Item = u64> {
    let next = last.map_or(0, |last| members.partition_point(|id| *id <= last));
    members[next..].iter().chain(&members[..next]).copied()
}

fn not_connected() -> BusError {
    BusError::NotConnected { url: URL.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(text: &str) -> Subject {
        Subject::parse(text).expect("a subject")
    }

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).expect("a pattern")
    }

    async fn send(bus: &LocalBus, name: &str, numbers: impl IntoIterator<Item = u32>) {
        for n in numbers {
            bus.publish(&subject(name), Bytes::from(n.to_string()))
                .await
                .expect("it is up");
        }
    }

    fn read(subscription: &mut Subscription) -> String {
        let mut heard = Vec::new();
        let mut waker = std::task::Context::from_waker(std::task::Waker::noop());
        loop {
            let mut next = std::pin::pin!(subscription.recv());
            match next.as_mut().poll(&mut waker) {
                std::task::Poll::Ready(Some(delivery)) => {
                    heard.push(String::from_utf8_lossy(&delivery.payload).into_owned());
                }
                std::task::Poll::Ready(None) => {
                    heard.push("end".into());
                    return heard.join(" ");
                }
                std::task::Poll::Pending => return heard.join(" "),
            }
        }
    }

    #[tokio::test]
    async fn members_of_a_group_take_turns_and_observers_hear_all() {
        let bus = LocalBus::new();
        let everything = pattern("job.>");
        let mut observer = bus.subscribe(&everything, None).await.expect("up");
        let mut one = bus.subscribe(&everything, Some("g")).await.expect("up");
        let mut two = bus.subscribe(&everything, Some("g")).await.expect("up");
        let mut other = bus
            .subscribe(&pattern("job.*"), Some("h"))
            .await
            .expect("up");
        send(&bus, "job.a", 1..=6).await;
        assert_eq!(read(&mut observer), "1 2 3 4 5 6");
        assert_eq!(read(&mut one), "1 3 5");
        assert_eq!(read(&mut two), "2 4 6");
        assert_eq!(read(&mut other), "1 2 3 4 5 6");

        drop(one);
        send(&bus, "job.a", 7..=8).await;
        assert_eq!(read(&mut two), "7 8");
    }

    #[tokio::test]
    async fn a_full_buffer_drops_counts_and_goes_on() {
        let bus = LocalBus::with_buffer(2);
        let mut slow = bus.subscribe(&pattern(">"), None).await.expect("up");
        let mut link = bus.link();
        assert_eq!(*link.borrow_and_update(), LinkState::Up);
        send(&bus, "a", 1..=5).await;
        assert_eq!(*link.borrow_and_update(), LinkState::Lagging { dropped: 3 });
        assert_eq!(read(&mut slow), "1 2");
        send(&bus, "a", 6..=6).await;
        assert_eq!(read(&mut slow), "6");
        assert_eq!(bus.dropped(), 3);
    }

    #[tokio::test]
    async fn a_dropped_subscription_leaves_the_table() {
        let bus = LocalBus::new();
        let gone = bus.subscribe(&pattern(">"), Some("g")).await.expect("up");
        send(&bus, "a", 1..=1).await;
        drop(gone);
        send(&bus, "a", 2..=2).await;
        assert!(bus.broker.table().listeners.is_empty());
        assert!(bus.broker.table().turns.is_empty());
    }

    #[tokio::test]
    async fn a_closed_bus_ends_its_subscriptions_and_refuses() {
        let bus = LocalBus::new();
        let mut subscription = bus.subscribe(&pattern(">"), None).await.expect("up");
        send(&bus, "a", 1..=1).await;
        bus.clone().close(Timestamp::from_millis(7));
        assert_eq!(read(&mut subscription), "1 end");
        let refused = bus.publish(&subject("a"), Bytes::new()).await;
        assert!(matches!(refused, Err(BusError::NotConnected { .. })));
        let refused = bus.subscribe(&pattern(">"), None).await;
        assert!(matches!(refused, Err(BusError::NotConnected { .. })));
        assert!(matches!(&*bus.link().borrow(), LinkState::Down { .. }));
    }
}
