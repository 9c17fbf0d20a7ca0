//! One connected spell of a [`NatsBus`](super::NatsBus): two connections, the
//! tasks that carry messages to their subscriptions, and the count of what was
//! lost.
//!
//! A message can be lost in two places: in a subscription of ours whose reader
//! is slow, which [`Carrier`] counts one by one, and in the client's own buffer
//! when this whole process gets no time to run, which [`Meter`] works out.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::{Client, Message, Statistics, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connect::{self, Signals};
use super::{SUBSCRIBE_LIMIT, Shared, Wanted, is_connected, within};
use crate::bus::{Delivery, Encoding, Subject};

/// Messages carried before other tasks get their turn.
const CARRY_AT_ONCE: u32 = 256;

pub(super) struct Session {
    listening: Client,
    publishing: Client,
    signals: Arc<Signals>,
    attached: Mutex<BTreeMap<u64, CancellationToken>>,
    carriers: TaskTracker,
    meter: Arc<Meter>,
    echo: tokio::sync::Mutex<Echo>,
}

/// A subject of our own, to learn when the server has read what we sent before.
struct Echo {
    inbox: String,
    /// `None` when the server does not let us have one.
    answers: Option<Subscriber>,
    asked: u64,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// Why it did not work, in words without addresses or secrets.
    pub(super) async fn open(shared: &Shared) -> Result<Arc<Self>, Arc<str>> {
        let signals = Arc::new(Signals::default());
        let listening = connect::connect(&shared.servers, &shared.config, &signals).await?;
        let publishing = connect::connect(&shared.servers, &shared.config, &signals).await?;
        let inbox = listening.new_inbox();
        let answers = listening.subscribe(inbox.clone()).await.ok();
        Ok(Arc::new(Self {
            meter: Arc::new(Meter::new(listening.statistics())),
            listening,
            publishing,
            signals,
            attached: Mutex::default(),
            carriers: TaskTracker::new(),
            echo: tokio::sync::Mutex::new(Echo {
                inbox,
                answers,
                asked: 0,
            }),
        }))
    }

    pub(super) fn is_connected(&self) -> bool {
        !self.signals.lost.is_cancelled()
            && is_connected(&self.listening)
            && is_connected(&self.publishing)
    }

    /// The connection that asks and publishes.
    pub(super) fn client(&self) -> Client {
        self.publishing.clone()
    }

    /// Waits until one of the connections is no more.
    pub(super) async fn ended(&self) {
        self.signals.lost.cancelled().await;
    }

    /// Why it ended.
    pub(super) fn reason(&self) -> Arc<str> {
        self.signals
            .reason()
            .unwrap_or_else(|| "the connection was lost".into())
    }

    /// Ends it because it is of no use.
    pub(super) fn give_up(&self, reason: &str) {
        self.signals.end(Some(reason));
    }

    pub(super) fn has(&self, id: u64) -> bool {
        self.attached().contains_key(&id)
    }

    /// Makes subscriptions live; returns when the server has them, or the line is
    /// gone or too slow.
    pub(super) async fn attach(&self, shared: &Arc<Shared>, wanted: &[(u64, Wanted)]) {
        let attaching = async {
            for (id, wanted) in wanted {
                let subject = wanted.pattern.as_str().to_owned();
                // Its channel does not exist yet, so there is nothing in it.
                self.meter.empty_at(*id, self.meter.received());
                let subscribed = match &wanted.queue {
                    None => self.listening.subscribe(subject).await,
                    Some(queue) => self.listening.queue_subscribe(subject, queue.clone()).await,
                };
                match subscribed {
                    Ok(messages) => self.carry(shared, *id, wanted, messages).await,
                    Err(error) => {
                        tracing::warn!(%error, pattern = %wanted.pattern, "cannot subscribe");
                        return self.give_up("a subscription cannot be made");
                    }
                }
            }
            self.settle(shared).await;
        };
        let done = tokio::select! {
            done = within(&*shared.clock, SUBSCRIBE_LIMIT, attaching) => done,
            () = self.signals.lost.cancelled() => Some(()),
        };
        if done.is_none() {
            self.give_up("the server does not answer");
        }
    }

    async fn carry(&self, shared: &Arc<Shared>, id: u64, wanted: &Wanted, messages: Subscriber) {
        self.attached().insert(id, wanted.gone.clone());
        let carrier = Carrier {
            id,
            shared: Arc::clone(shared),
            wanted: wanted.clone(),
            meter: Arc::clone(&self.meter),
            inbox: self.echo.lock().await.inbox.clone(),
            subject: None,
        };
        self.carriers.spawn(carrier.run(messages));
    }

    /// Waits until the server has read everything we sent on the listening
    /// connection, so that no message published from now on is missed.
    async fn settle(&self, shared: &Shared) {
        let mut echo = self.echo.lock().await;
        echo.asked += 1;
        let asked = echo.asked.to_string();
        let inbox = echo.inbox.clone();
        let Some(answers) = &mut echo.answers else {
            return drop(self.listening.flush().await);
        };
        let answered = async {
            let sent = self.listening.publish(inbox, asked.clone().into()).await;
            if sent.is_err() || self.listening.flush().await.is_err() {
                return;
            }
            while let Some(answer) = answers.next().await {
                self.meter.read.fetch_add(1, Ordering::Relaxed);
                if answer.payload == asked {
                    return;
                }
            }
        };
        let limit = crate::time::Elapsed::from_millis(SUBSCRIBE_LIMIT.as_millis() / 2);
        if within(&*shared.clock, limit, answered).await.is_none() {
            // Its permissions forbid it. What was flushed is as good as it gets.
            tracing::debug!("the bus does not echo; subscriptions are not confirmed");
            echo.answers = None;
        }
    }

    /// Sends one message and returns when it left this process.
    pub(super) async fn publish(
        &self,
        subject: &Subject,
        payload: Bytes,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.publishing
            .publish(subject.as_str().to_owned(), payload)
            .await?;
        self.publishing.flush().await?;
        Ok(())
    }

    /// How many messages the client dropped since this was last asked.
    pub(super) fn newly_lost(&self) -> u64 {
        self.meter
            .newly_lost(self.signals.slow.load(Ordering::Relaxed))
    }

    /// Ends both connections and waits until what came has reached its
    /// subscriptions. With `politely` the server is told first.
    pub(super) async fn close(&self, politely: bool) {
        if politely && self.is_connected() {
            drop(self.publishing.flush().await);
            drop(self.listening.drain().await);
            drop(self.publishing.drain().await);
        } else {
            // The client of a line that still stands, when the other one broke.
            drop(self.listening.force_reconnect().await);
            drop(self.publishing.force_reconnect().await);
        }
        self.echo.lock().await.answers = None;
        self.carriers.close();
        self.carriers.wait().await;
    }

    /// Ends the carriers without waiting for anything.
    pub(super) fn abandon(&self) {
        self.meter.over.cancel();
    }

    fn attached(&self) -> MutexGuard<'_, BTreeMap<u64, CancellationToken>> {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        attached.retain(|_, gone| !gone.is_cancelled());
        attached
    }
}

/// Brings the messages of one subscription from the client to its reader, and
/// never waits for the reader.
struct Carrier {
    id: u64,
    shared: Arc<Shared>,
    wanted: Wanted,
    meter: Arc<Meter>,
    inbox: String,
    /// The last one, because most messages come on the same few.
    subject: Option<Subject>,
}

impl Carrier {
    async fn run(mut self, mut messages: Subscriber) {
        let over = self.meter.over.clone();
        let mut look_again = self.meter.look_again.subscribe();
        let mut at_once = 0;
        let mut dropped = 0;
        loop {
            // The client's channel says "nothing" when this task had its share of
            // time, unless it is told not to.
            let mut next = tokio::task::coop::unconstrained(messages.next()).now_or_never();
            if next.is_none() {
                let seen = self.meter.received();
                next = tokio::task::coop::unconstrained(messages.next()).now_or_never();
                if next.is_none() {
                    self.meter.empty_at(self.id, seen);
                    self.shared.count_dropped(std::mem::take(&mut dropped));
                    at_once = 0;
                    next = tokio::select! {
                        next = messages.next() => Some(next),
                        _ = look_again.changed() => continue,
                        () = self.wanted.gone.cancelled() => break,
                        () = over.cancelled() => break,
                    };
                }
            }
            let Some(Some(message)) = next else { break };
            dropped += u64::from(!self.hand_over(message));
            at_once += 1;
            if at_once >= CARRY_AT_ONCE {
                at_once = 0;
                self.shared.count_dropped(std::mem::take(&mut dropped));
                if self.wanted.gone.is_cancelled() || over.is_cancelled() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        self.shared.count_dropped(dropped);
        self.meter.forget(self.id);
    }

    /// Returns whether there was room.
    fn hand_over(&mut self, message: Message) -> bool {
        self.meter.read.fetch_add(1, Ordering::Relaxed);
        let name: &str = &message.subject;
        if name == self.inbox {
            return true;
        }
        let subject = match &self.subject {
            Some(last) if last.as_str() == name => last.clone(),
            _ => self.subject.insert(Subject::received(name)).clone(),
        };
        let delivery = Delivery {
            subject,
            payload: message.payload,
            encoding: Encoding::Proto,
        };
        match self.wanted.deliveries.try_send(delivery) {
            Ok(()) | Err(TrySendError::Closed(_)) => true,
            Err(TrySendError::Full(_)) => false,
        }
    }
}

/// Works out how many messages the client dropped before they reached a carrier.
///
/// The client counts what the server sent and the carriers count what they read;
/// once the carriers found their channels empty, what is missing is lost. What is
/// missing without any report of loss came for a subscription that had just
/// ended.
struct Meter {
    statistics: Arc<Statistics>,
    read: AtomicU64,
    /// Per carrier, how much the server had sent when it last had nothing to read.
    empty_at: Mutex<BTreeMap<u64, u64>>,
    look_again: watch::Sender<()>,
    over: CancellationToken,
    tally: Mutex<Tally>,
}

/// What is known at one moment.
#[derive(Debug)]
struct Taking {
    /// Reports of loss so far.
    slow: u64,
    /// What the server sent.
    received: u64,
    /// How much of that every carrier has seen the end of.
    sent: u64,
    /// How much of that nobody read: at most what is lost or unwanted.
    missing: u64,
}

#[derive(Debug, Default)]
struct Tally {
    slow: u64,
    /// What the server had sent when loss was last reported.
    reported_at: u64,
    /// Takings since the carriers saw the end of that, at most two.
    quiet: u32,
    lost: u64,
    unwanted: u64,
    /// Missing without a report at the last taking; the report may be on its way.
    unclear: u64,
}

impl Meter {
    fn new(statistics: Arc<Statistics>) -> Self {
        Self {
            statistics,
            read: AtomicU64::new(0),
            empty_at: Mutex::default(),
            look_again: watch::Sender::new(()),
            over: CancellationToken::new(),
            tally: Mutex::default(),
        }
    }

    fn received(&self) -> u64 {
        self.statistics.in_messages.load(Ordering::Relaxed)
    }

    fn empty_at(&self, id: u64, received: u64) {
        self.places().insert(id, received);
    }

    fn forget(&self, id: u64) {
        self.places().remove(&id);
    }

    fn newly_lost(&self, slow: u64) -> u64 {
        let sent = self.places().values().min().copied();
        let sent = sent.unwrap_or_else(|| self.received());
        let missing = sent.saturating_sub(self.read.load(Ordering::Relaxed));
        self.look_again.send_replace(());
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.take(Taking {
            slow,
            received: self.received(),
            sent,
            missing,
        })
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.empty_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    /// Returns how much loss there is that was not known before.
    fn take(&mut self, now: Taking) -> u64 {
        if now.slow != self.slow {
            self.slow = now.slow;
            self.reported_at = now.received;
            self.quiet = 0;
        } else if now.sent >= self.reported_at {
            self.quiet = (self.quiet + 1).min(2);
        }
        let unknown = now.missing.saturating_sub(self.lost + self.unwanted);
        // A report may come a little after the loss, and never seconds later.
        if self.quiet < 2 && self.slow > 0 {
            self.lost += unknown;
            self.unclear = 0;
            return unknown;
        }
        let explained = unknown.min(self.unclear);
        self.unwanted += explained;
        self.unclear = unknown - explained;
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_goes_missing_around_a_report_is_loss() {
        let mut tally = Tally::default();
        let mut take = |missing, slow| {
            tally.take(Taking {
                slow,
                received: 10_000,
                sent: 10_000,
                missing,
            })
        };
        // Three messages came for a subscription that had just ended.
        assert_eq!(take(2, 0), 0);
        assert_eq!(take(3, 0), 0);
        assert_eq!(take(3, 0), 0);
        // Two thousand lost, of which the client reports forty, a little later.
        assert_eq!(take(503, 0), 0);
        assert_eq!(take(1_503, 40), 1_500);
        assert_eq!(take(2_003, 40), 500);
        assert_eq!(take(2_003, 40), 0);
        // Nothing reported for a while: another subscription ended.
        assert_eq!(take(2_010, 40), 0);
        assert_eq!(take(2_010, 40), 0);
        assert_eq!(take(2_015, 41), 5);
        // Messages that came since are read, so less seems to be missing.
        assert_eq!(take(100, 41), 0);
    }

    #[test]
    fn loss_is_counted_however_long_the_carriers_take_to_the_end_of_what_came() {
        let mut tally = Tally::default();
        for read in 1..20_u64 {
            let busy = tally.take(Taking {
                slow: 7,
                received: 400_000,
                sent: read,
                missing: 0,
            });
            assert_eq!(busy, 0);
        }
        let done = tally.take(Taking {
            slow: 7,
            received: 400_000,
            sent: 400_000,
            missing: 300_000,
        });
        assert_eq!(done, 300_000);
    }
}
