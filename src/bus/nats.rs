//! The bus on a NATS server.
//!
//! A [`NatsBus`] exists whether or not its server does. A task of its own
//! connects, subscribes to whatever was asked for so far, and when the line
//! breaks does it again for ever. The NATS client's own reconnecting is switched
//! off, because it keeps what was published meanwhile and sends it later; here a
//! message that cannot leave now is refused, and one whose fate is unknown dies
//! with its connection. A connected spell is a `Session`: one connection that
//! listens and one that publishes, so that what the server sent us minus what we
//! read stays the number of lost messages.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::ServerAddr;
use async_nats::connection::State;
use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::bus::{
    Bus, BusError, Delivery, LinkState, Member, Pattern, SUBSCRIPTION_BUFFER, Subject,
    Subscription, SubscriptionGuard,
};
use crate::config::NatsServer;
use crate::time::{BoxFuture, Clock, Elapsed, Timestamp, sleep};

mod connect;
mod members;
mod memory;
mod session;

use session::Session;

/// How long a publish may take to leave this process.
const PUBLISH_LIMIT: Elapsed = Elapsed::from_secs(2);
/// How long a server may take to confirm a subscription.
const SUBSCRIBE_LIMIT: Elapsed = Elapsed::from_secs(2);
/// How long [`NatsBus::shutdown`] waits for what is on its way.
const SHUTDOWN_LIMIT: Elapsed = Elapsed::from_secs(2);
/// The first pause between two attempts to connect, doubled after each.
const FIRST_PAUSE_MS: u64 = 100;
/// The longest pause between two attempts: short enough that a server that is
/// back is noticed at once, long enough not to be a burden.
const LONGEST_PAUSE_MS: u64 = 4_000;
/// How often the number of lost messages is taken.
const COUNT_EVERY: Elapsed = Elapsed::from_millis(500);

/// A line to a NATS server, or to where one should be.
pub struct NatsBus {
    shared: Arc<Shared>,
    stop: CancellationToken,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    url: String,
    servers: Vec<ServerAddr>,
    config: NatsServer,
    clock: Arc<dyn Clock>,
    registry: Mutex<Registry>,
    link: watch::Sender<LinkState>,
    dropped: AtomicU64,
    /// Wakes the keeper out of its pause.
    retry: Notify,
}

/// What was subscribed to, connected or not, and the spell that is on.
#[derive(Default)]
struct Registry {
    closed: bool,
    next_id: u64,
    wanted: BTreeMap<u64, Wanted>,
    session: Option<Arc<Session>>,
}

#[derive(Clone)]
struct Wanted {
    pattern: Pattern,
    queue: Option<String>,
    deliveries: mpsc::Sender<Delivery>,
    /// Ends when the subscription is dropped.
    gone: CancellationToken,
}

impl NatsBus {
    /// Starts to connect to `server` and returns at once; [`Bus::link`] tells
    /// how it goes. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// [`BusError::Unreachable`] when the address is not one, or a certificate
    /// file cannot be read: trying again would not help.
    pub fn connect(server: &NatsServer, clock: Arc<dyn Clock>) -> Result<Self, BusError> {
        let url = connect::without_credentials(&server.url);
        let servers = connect::addresses(server).map_err(|source| BusError::Unreachable {
            url: url.clone(),
            source,
        })?;
        let shared = Arc::new(Shared {
            url,
            servers,
            config: server.clone(),
            clock,
            registry: Mutex::default(),
            link: watch::Sender::new(LinkState::Connecting),
            dropped: AtomicU64::new(0),
            retry: Notify::new(),
        });
        let stop = CancellationToken::new();
        let keeper = tokio::spawn(keep_connected(Arc::clone(&shared), stop.clone()));
        Ok(Self {
            shared,
            stop,
            keeper: Mutex::new(Some(keeper)),
        })
    }

    /// Tries to connect now instead of after the pause; nothing when connected.
    pub fn reconnect_now(&self) {
        self.shared.retry.notify_waiters();
    }

    /// The server's address without credentials, for people.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Lets what is on its way arrive, ends all subscriptions and the
    /// connections. Takes two seconds at most; afterwards everything is refused.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        let keeper = self
            .keeper
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(keeper) = keeper
            && let Err(failed) = keeper.await
        {
            tracing::error!(%failed, "the task of the bus ended badly");
        }
    }
}

impl Drop for NatsBus {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for NatsBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsBus")
            .field("url", &self.shared.url)
            .field("link", &*self.shared.link.borrow())
            .finish()
    }
}

impl Bus for NatsBus {
    /// Registered at once; while there is no line it becomes live with the next one.
    fn subscribe<'a>(
        &'a self,
        pattern: &'a Pattern,
        queue: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Subscription, BusError>> {
        Box::pin(self.shared.subscribe(pattern, queue))
    }

    fn publish<'a>(
        &'a self,
        subject: &'a Subject,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), BusError>> {
        Box::pin(self.shared.publish(subject, payload))
    }

    fn link(&self) -> watch::Receiver<LinkState> {
        self.shared.link.subscribe()
    }

    fn remember<'a>(&'a self, pattern: &'a Pattern) -> BoxFuture<'a, Result<bool, BusError>> {
        Box::pin(async move {
            let client = self.shared.client()?;
            let asked = memory::remember(&client, pattern).await;
            asked.map_err(|source| self.shared.refused(source))
        })
    }

    fn replay<'a>(
        &'a self,
        patterns: &'a [Pattern],
        since: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Delivery>, BusError>> {
        Box::pin(async move {
            let client = self.shared.client()?;
            let asked = memory::replay(&client, patterns, since).await;
            asked.map_err(|source| self.shared.refused(source))
        })
    }

    fn members<'a>(
        &'a self,
        pattern: &'a Pattern,
        queue: &'a str,
    ) -> BoxFuture<'a, Result<Option<Vec<Member>>, BusError>> {
        Box::pin(async move {
            let client = self.shared.client()?;
            let asked = members::members(&client, &*self.shared.clock, pattern, queue).await;
            asked.map_err(|source| self.shared.refused(source))
        })
    }
}

impl Shared {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        // Nothing between two statements that change it can panic.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn subscribe(
        self: &Arc<Self>,
        pattern: &Pattern,
        queue: Option<&str>,
    ) -> Result<Subscription, BusError> {
        let (deliveries, receiver) = mpsc::channel(SUBSCRIPTION_BUFFER);
        let wanted = Wanted {
            pattern: pattern.clone(),
            queue: queue.map(str::to_owned),
            deliveries,
            gone: CancellationToken::new(),
        };
        let (id, session) = {
            let mut registry = self.registry();
            if registry.closed {
                return Err(self.not_connected());
            }
            let id = registry.next_id;
            registry.next_id += 1;
            registry.wanted.insert(id, wanted.clone());
            (id, registry.session.clone())
        };
        let shared = Arc::downgrade(self);
        let gone = wanted.gone.clone();
        let guard = SubscriptionGuard::new(move || {
            gone.cancel();
            if let Some(shared) = shared.upgrade() {
                shared.registry().wanted.remove(&id);
            }
        });
        if let Some(session) = session {
            // A line that breaks meanwhile is the keeper's business: it finds the
            // subscription in the registry when it has the next one.
            session.attach(self, &[(id, wanted)]).await;
        }
        Ok(Subscription::new(receiver, guard))
    }

    async fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError> {
        let session = self.registry().session.clone();
        let Some(session) = session.filter(|session| session.is_connected()) else {
            return Err(self.not_connected());
        };
        let sending = session.publish(subject, payload);
        match within(&*self.clock, PUBLISH_LIMIT, sending).await {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) if !session.is_connected() => Err(BusError::Broken {
                url: self.url.clone(),
            }),
            Some(Err(source)) => Err(self.refused(source)),
            None => {
                // What waits in the client goes with the connection.
                session.give_up("the server does not take what we send");
                Err(BusError::TimedOut {
                    url: self.url.clone(),
                    limit_ms: PUBLISH_LIMIT.as_millis(),
                })
            }
        }
    }

    fn refused(&self, source: Box<dyn std::error::Error + Send + Sync>) -> BusError {
        BusError::Refused {
            url: self.url.clone(),
            source,
        }
    }

    /// The connection that asks and publishes.
    fn client(&self) -> Result<async_nats::Client, BusError> {
        let session = self.registry().session.clone();
        let session = session.filter(|session| session.is_connected());
        Ok(session.ok_or_else(|| self.not_connected())?.client())
    }

    fn count_dropped(&self, more: u64) {
        if more == 0 {
            return;
        }
        let dropped = self.dropped.fetch_add(more, Ordering::Relaxed) + more;
        self.link.send_if_modified(|link| match link {
            LinkState::Lagging { dropped: shown } if *shown >= dropped => false,
            LinkState::Up | LinkState::Lagging { .. } => {
                *link = LinkState::Lagging { dropped };
                true
            }
            // Shown when the line is back.
            LinkState::Connecting | LinkState::Down { .. } => false,
        });
    }

    fn not_connected(&self) -> BusError {
        BusError::NotConnected {
            url: self.url.clone(),
        }
    }
}

/// Connects and reconnects until `stop`.
async fn keep_connected(shared: Arc<Shared>, stop: CancellationToken) {
    let clock = Arc::clone(&shared.clock);
    let mut since = clock.now();
    let mut attempts = 0_u32;
    let mut is_lost = false;
    loop {
        let opened = tokio::select! {
            () = stop.cancelled() => break,
            opened = Session::open(&shared) => opened,
        };
        let reason = match opened {
            Ok(session) => {
                if std::mem::take(&mut is_lost) {
                    tracing::warn!(url = %shared.url, "the line to NATS is back");
                }
                let reason = serve(&shared, &session, &stop).await;
                since = clock.now();
                attempts = 0;
                is_lost = !stop.is_cancelled();
                if is_lost {
                    tracing::warn!(url = %shared.url, %reason, "the line to NATS is lost");
                }
                reason
            }
            Err(reason) => {
                attempts = attempts.saturating_add(1);
                tracing::info!(url = %shared.url, attempts, %reason, "cannot connect to the bus");
                reason
            }
        };
        if stop.is_cancelled() {
            break;
        }
        let now = clock.now();
        let pause = pause(attempts, now.as_millis());
        shared.link.send_replace(LinkState::Down {
            since,
            reason,
            attempts,
            again_at: Some(now.plus(pause)),
        });
        tokio::select! {
            () = stop.cancelled() => break,
            () = shared.retry.notified() => {}
            () = sleep(&*clock, pause) => {}
        }
    }
    let mut registry = shared.registry();
    registry.closed = true;
    registry.session = None;
    registry.wanted.clear();
    drop(registry);
    shared.link.send_replace(LinkState::Down {
        since: clock.now(),
        reason: "the bus was closed".into(),
        attempts: 0,
        again_at: None,
    });
}

/// Runs one connected spell; returns why it ended.
async fn serve(shared: &Arc<Shared>, session: &Arc<Session>, stop: &CancellationToken) -> Arc<str> {
    loop {
        let missing: Vec<_> = {
            let mut registry = shared.registry();
            let missing: Vec<_> = registry
                .wanted
                .iter()
                .filter(|(id, _)| !session.has(**id))
                .map(|(id, wanted)| (*id, wanted.clone()))
                .collect();
            if missing.is_empty() {
                // From here on each new subscription attaches itself.
                registry.session = Some(Arc::clone(session));
            }
            missing
        };
        if missing.is_empty() || !session.is_connected() {
            break;
        }
        session.attach(shared, &missing).await;
    }
    if session.is_connected() {
        let dropped = shared.dropped.load(Ordering::Relaxed);
        shared.link.send_replace(match dropped {
            0 => LinkState::Up,
            dropped => LinkState::Lagging { dropped },
        });
    }
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = session.ended() => break,
            () = sleep(&*shared.clock, COUNT_EVERY) => {
                shared.count_dropped(session.newly_lost());
            }
        }
    }
    shared.registry().session = None;
    let closing = session.close(stop.is_cancelled());
    if within(&*shared.clock, SHUTDOWN_LIMIT, closing)
        .await
        .is_none()
    {
        tracing::info!(url = %shared.url, "the bus connection did not end in time");
        session.abandon();
    }
    shared.count_dropped(session.newly_lost());
    session.reason()
}

/// The pause before the next attempt: doubled after each up to the longest, and
/// between three quarters and all of that, so that the consoles of one team do
/// not come back in step. `salt` spreads them.
fn pause(attempts: u32, salt: i64) -> Elapsed {
    let full = FIRST_PAUSE_MS
        .saturating_mul(1 << attempts.min(16))
        .min(LONGEST_PAUSE_MS);
    let mixed = (salt as u64 ^ u64::from(std::process::id()) << 32)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        >> 40;
    Elapsed::from_millis(full - mixed % (full / 4))
}

/// The result of `work`, or `None` when `limit` passes first.
async fn within<T>(clock: &dyn Clock, limit: Elapsed, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = sleep(clock, limit) => None,
    }
}

/// Whether a client of the NATS library has its server.
fn is_connected(client: &async_nats::Client) -> bool {
    client.connection_state() == State::Connected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_to_a_limit_and_varies() {
        let pauses: Vec<_> = (0..8)
            .map(|n| pause(n, 1_767_225_600_000).as_millis())
            .collect();
        for (attempts, pause) in pauses.iter().enumerate() {
            let full = (100_u64 << attempts).min(4_000);
            assert!(
                (full - full / 4..=full).contains(pause),
                "{attempts}: {pause}"
            );
        }
        assert!(pause(u32::MAX, i64::MIN).as_millis() <= 4_000);
        let spread: std::collections::BTreeSet<_> = (0..100)
            .map(|salt| pause(9, salt * 7).as_millis())
            .collect();
        assert!(spread.len() > 50, "{spread:?}");
    }
}
