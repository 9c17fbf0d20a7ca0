//! The message bus: subjects, bytes and nothing else.
//!
//! What an implementation promises: a subscription sees every message that is
//! published on a matching subject after [`Bus::subscribe`] returned, in the
//! order of one publisher; members of one queue group share a pattern, each
//! message going to one of them; a publish that cannot leave now is refused
//! rather than kept for later, because a cancel that arrives minutes late is
//! another accident. One conformance suite, `tests/it/bus.rs`, holds the
//! in-process bus and a real NATS server to it. What the bytes mean is the
//! business of [`crate::wire`].

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use crate::time::{BoxFuture, Timestamp};

pub mod gap;
pub mod local;
pub mod nats;
pub mod subject;

pub use subject::{Pattern, Subject};

/// Messages that wait in one subscription before further ones are dropped and
/// counted; the default of the NATS client, so that both buses lose at the same
/// depth.
pub const SUBSCRIPTION_BUFFER: usize = 65_536;

/// A message as it came, with the bytes untouched: signatures are computed over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Where it was published.
    pub subject: Subject,
    /// The body as received.
    pub payload: Bytes,
    /// How the body is written.
    pub encoding: Encoding,
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// A protobuf `BusPacket`, as on NATS.
    Proto,
    /// A protojson `BusPacket`, as on the gateway's stream.
    Json,
}

/// What is known about the line to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Not connected yet.
    Connecting,
    /// Connected.
    Up,
    /// Connected, but messages came faster than we read them.
    Lagging {
        /// Messages lost since the start.
        dropped: u64,
    },
    /// Not connected.
    Down {
        /// Since when.
        since: Timestamp,
        /// The last error, without addresses or secrets.
        reason: Arc<str>,
        /// How many attempts to connect have failed since.
        attempts: u32,
        /// When the next attempt is made; `None` if none is.
        again_at: Option<Timestamp>,
    },
}

/// Whether messages come and go.
pub fn is_up(link: &LinkState) -> bool {
    match link {
        LinkState::Up | LinkState::Lagging { .. } => true,
        LinkState::Connecting | LinkState::Down { .. } => false,
    }
}

/// Why a bus refused.
#[derive(Debug, Error)]
pub enum BusError {
    /// There is no connection; nothing was sent and nothing will be.
    #[error("the bus at {url} is not connected; nothing was sent")]
    NotConnected {
        /// The server, without credentials.
        url: String,
    },
    /// The server could not be reached at all.
    #[error("cannot connect to the bus at {url}")]
    Unreachable {
        /// The server, without credentials.
        url: String,
        /// What the connection said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The subject or the pattern is not a valid one.
    #[error("`{subject}` is not a subject: {reason}")]
    BadSubject {
        /// As given.
        subject: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The message was handed over but the server did not confirm in time.
    #[error(
        "no answer from the bus at {url} within {limit_ms} ms; it is unknown whether the message arrived"
    )]
    TimedOut {
        /// The server, without credentials.
        url: String,
        /// The limit that passed, in milliseconds.
        limit_ms: u64,
    },
    /// The line broke while the message was handed over.
    #[error(
        "the line to the bus at {url} broke while sending; it is unknown whether the message arrived"
    )]
    Broken {
        /// The server, without credentials.
        url: String,
    },
    /// Anything else the client reported.
    #[error("the bus at {url} refused")]
    Refused {
        /// The server, without credentials.
        url: String,
        /// What the client reported.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Somewhere packets can be heard and sent.
pub trait Bus: Send + Sync + fmt::Debug + 'static {
    /// Hears every message on `pattern`. With `queue`, shares them with the
    /// other members of that group; an observer never gives one, so that it
    /// steals no work.
    ///
    /// # Errors
    /// [`BusError::NotConnected`] when the subscription cannot be registered.
    fn subscribe<'a>(
        &'a self,
        pattern: &'a Pattern,
        queue: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Subscription, BusError>>;

    /// Sends one message and returns when it left this process.
    ///
    /// # Errors
    /// [`BusError::NotConnected`] when there is no line: the message is then
    /// discarded, not queued.
    fn publish<'a>(
        &'a self,
        subject: &'a Subject,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), BusError>>;

    /// The line as it is, and as it changes.
    fn link(&self) -> watch::Receiver<LinkState>;

    /// Sees to it that messages on `pattern` are remembered for [`Bus::replay`], where
    /// the bus can. Returns whether they are.
    ///
    /// # Errors
    /// [`BusError`] when that cannot be known.
    fn remember<'a>(&'a self, pattern: &'a Pattern) -> BoxFuture<'a, Result<bool, BusError>> {
        let _nothing = pattern;
        Box::pin(std::future::ready(Ok(false)))
    }

    /// The messages on `patterns` since an instant, in their order; none where the bus
    /// does not remember them. The first pattern says where they are remembered.
    ///
    /// # Errors
    /// [`BusError`] when they cannot be read.
    fn replay<'a>(
        &'a self,
        patterns: &'a [Pattern],
        since: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Delivery>, BusError>> {
        let _nothing = (patterns, since);
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// The clients that hear messages on `pattern`, or on a part of it, as members of the
    /// group `queue`; `None` where the bus does not tell who listens. Takes half a second.
    ///
    /// # Errors
    /// [`BusError`] when the bus cannot be asked.
    fn members<'a>(
        &'a self,
        pattern: &'a Pattern,
        queue: &'a str,
    ) -> BoxFuture<'a, Result<Option<Vec<Member>>, BusError>> {
        let _nothing = (pattern, queue);
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// A client of the bus that shares messages with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it calls itself; empty if nothing.
    pub name: String,
    /// Where it comes from, as the server sees it.
    pub address: String,
}

/// A running subscription; dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    deliveries: mpsc::Receiver<Delivery>,
    _guard: SubscriptionGuard,
}

/// Ends whatever feeds a subscription when the subscription is dropped.
pub struct SubscriptionGuard(Option<Box<dyn FnOnce() + Send + Sync>>);

impl SubscriptionGuard {
    /// Runs `end` when the subscription is dropped.
    pub fn new(end: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(end)))
    }
}

impl fmt::Debug for SubscriptionGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubscriptionGuard")
    }
}

impl Drop for SubscriptionGuard {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}

impl Subscription {
    /// A subscription fed through `deliveries`; `guard` ends the feeding.
    pub fn new(deliveries: mpsc::Receiver<Delivery>, guard: SubscriptionGuard) -> Self {
        Self {
            deliveries,
            _guard: guard,
        }
    }

    /// The next message, or `None` when the bus is gone for good.
    pub async fn recv(&mut self) -> Option<Delivery> {
        self.deliveries.recv().await
    }

    /// Moves all that is waiting, at most `limit`, into `into`; waits for the
    /// first one. Returns how many came, zero when the bus is gone for good.
    pub async fn recv_many(&mut self, into: &mut Vec<Delivery>, limit: usize) -> usize {
        self.deliveries.recv_many(into, limit).await
    }
}
