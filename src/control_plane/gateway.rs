//! HTTP in, bus out: how people and programs without a bus reach the plane.
//!
//! The gateway keeps nothing of its own: it reads and changes the ledger that it
//! shares with the scheduler, stores contexts, asks policy, and publishes what
//! it did. Shapes and codes are those of CAP gateways of the newer generation;
//! the texts are ours. Start at [`Gateway::start`]; the routes are in
//! `gateway/routes.rs`, what changes something in `gateway/actions.rs`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, BusError};
use crate::control_plane::keeper::Keeper;
use crate::control_plane::kernel::explain::Explained;
use crate::control_plane::kernel::{KernelError, Question, SafetyKernel, Verdict};
use crate::control_plane::ledger::{self, SharedLedger};
use crate::control_plane::scheduler::placement::Routes;
use crate::store::Store;
use crate::time::{Clock, Elapsed, Timestamp, sleep};

mod actions;
mod admission;
mod again;
mod answer;
mod elsewhere;
mod governance;
mod guard;
mod keys;
pub(super) mod policy;
mod replay;
mod routes;
mod stream;
pub mod submission;
pub(super) mod types;

pub use guard::MAX_BODY;
pub use keys::{BadKeys, Keyring, Role};

/// How long policy is waited for, the limit that the scheduler has too.
const KERNEL_LIMIT: Elapsed = Elapsed::from_secs(2);
/// How long connections may take to end at shutdown before they are cut.
const GOODBYE: Elapsed = Elapsed::from_secs(1);
/// How many ports after the wanted one are tried.
const PORTS_TRIED: u16 = 100;

/// What the gateway works with.
#[derive(Clone)]
pub struct Parts {
    /// Where it publishes.
    pub bus: Arc<dyn Bus>,
    /// Where contexts are.
    pub store: Arc<dyn Store>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The record it shares with the scheduler.
    pub ledger: SharedLedger,
    /// Whom it asks about policy.
    pub kernel: Arc<dyn SafetyKernel>,
    /// Which pools the deployment maps topics to.
    pub routes: Arc<Routes>,
    /// Told whenever the gateway changed the ledger.
    pub wake: Arc<Notify>,
    /// Who writes the record down, where several planes share one.
    pub keeper: Option<Arc<Keeper>>,
}

/// Where the gateway listens, and to whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address; port 0 is any free one.
    pub listen: SocketAddr,
    /// The keys that callers must know; demanded on any address but loopback.
    pub keys: Keyring,
    /// Take the next free port when the wanted one is taken.
    pub next_free_port: bool,
}

/// Why the gateway does not start.
#[derive(Debug, Error)]
pub enum GatewayError {
    /// Whoever reaches the address could approve anything.
    #[error("the gateway listens on {addr}, which others can reach, only with an API key")]
    KeyNeeded {
        /// The address.
        addr: SocketAddr,
    },
    /// Somebody else listens there.
    #[error("the address {addr} is taken")]
    Taken {
        /// The address.
        addr: SocketAddr,
    },
    /// There is no bus on which other planes could be heard.
    #[error("the gateway cannot hear other planes")]
    Bus(#[from] BusError),
    /// The system refused for another reason.
    #[error("cannot listen on {addr}")]
    Refused {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// A running gateway; dropping it ends it without waiting.
#[derive(Debug)]
pub struct Gateway {
    addr: SocketAddr,
    cancel: CancellationToken,
    task: Option<JoinHandle<()>>,
    /// Its places are taken by streams, which live outside the task.
    streams: Arc<Semaphore>,
    clock: DebugClock,
}

struct DebugClock(Arc<dyn Clock>);

impl std::fmt::Debug for DebugClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

impl Gateway {
    /// Binds the address and starts to answer.
    ///
    /// # Errors
    /// [`GatewayError`]; nothing runs then.
    pub async fn start(parts: Parts, options: Options) -> Result<Self, GatewayError> {
        let listener = bind(&options).await?;
        let addr = listener
            .local_addr()
            .map_err(|source| GatewayError::Refused {
                addr: options.listen,
                source,
            })?;
        let clock = Arc::clone(&parts.clock);
        let rules = Arc::new(guard::Rules {
            listen: addr,
            keys: options.keys.clone(),
            id_prefix: format!("req-{:x}", parts.clock.now().as_millis()),
            requests: AtomicU64::new(1),
        });
        let cancel = CancellationToken::new();
        let streams = Arc::new(Semaphore::new(stream::MAX_CLIENTS));
        let post = parts.keeper.map(|keeper| {
            let (bus, store, clock) = (&parts.bus, &parts.store, &parts.clock);
            let post = elsewhere::Post::new(
                keeper,
                Arc::clone(bus),
                Arc::clone(store),
                Arc::clone(clock),
            );
            Arc::new(post)
        });
        let app = Arc::new(App {
            started_at: parts.clock.now(),
            callers_are_known: !options.keys.is_empty(),
            bus: parts.bus,
            store: parts.store,
            clock: parts.clock,
            ledger: parts.ledger,
            kernel: parts.kernel,
            routes: parts.routes,
            wake: parts.wake,
            post: post.clone(),
            stop: cancel.clone(),
            stream_places: Arc::clone(&streams),
        });
        let ended = cancel.clone().cancelled_owned();
        if let Some(post) = post {
            let ears = post.listen().await?;
            let unguarded = routes::unguarded(Arc::clone(&app));
            tokio::spawn(post.serve(ears, unguarded, cancel.clone()));
        }
        let service = routes::router(app, rules);
        let task = tokio::spawn(async move {
            let served = axum::serve(listener, service)
                .with_graceful_shutdown(ended)
                .await;
            if let Err(error) = served {
                tracing::error!(%error, "the gateway ended");
            }
        });
        Ok(Self {
            addr,
            cancel,
            task: Some(task),
            streams,
            clock: DebugClock(clock),
        })
    }

    /// Where it listens, the port resolved.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops taking calls, lets those under way end within a second, and returns
    /// when it is gone.
    pub async fn shutdown(mut self) {
        self.cancel.cancel();
        let Some(mut task) = self.task.take() else {
            return;
        };
        tokio::select! {
            _ = &mut task => {}
            () = sleep(&*self.clock.0, GOODBYE) => {
                task.abort();
                // It ends at its next pause, cancelled or done.
                let _ended = task.await;
            }
        }
        let all = stream::MAX_CLIENTS as u32;
        tokio::select! {
            _ = self.streams.acquire_many(all) => {}
            () = sleep(&*self.clock.0, GOODBYE) => {}
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.cancel.cancel();
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn bind(options: &Options) -> Result<TcpListener, GatewayError> {
    let wanted = options.listen;
    if !wanted.ip().is_loopback() && options.keys.is_empty() {
        return Err(GatewayError::KeyNeeded { addr: wanted });
    }
    let tries = if options.next_free_port && wanted.port() != 0 {
        PORTS_TRIED
    } else {
        0
    };
    for more in 0..=tries {
        let Some(port) = wanted.port().checked_add(more) else {
            break;
        };
        match TcpListener::bind(SocketAddr::new(wanted.ip(), port)).await {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(source) => {
                return Err(GatewayError::Refused {
                    addr: wanted,
                    source,
                });
            }
        }
    }
    Err(GatewayError::Taken { addr: wanted })
}

/// What every handler works with.
struct App {
    bus: Arc<dyn Bus>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ledger: SharedLedger,
    kernel: Arc<dyn SafetyKernel>,
    routes: Arc<Routes>,
    wake: Arc<Notify>,
    /// The way to other planes, where there are such.
    post: Option<Arc<elsewhere::Post>>,
    started_at: Timestamp,
    /// Whether callers prove themselves, so that a name is more than a name.
    callers_are_known: bool,
    /// Ends the streams.
    stop: CancellationToken,
    stream_places: Arc<Semaphore>,
}

impl App {
    /// Asks policy, unless the breaker says that there is no use in it.
    async fn ask(&self, question: &Question) -> Result<Verdict, KernelError> {
        let asked_at = self.clock.now();
        ledger::lock(&self.ledger).may_ask(asked_at)?;
        let answer = tokio::select! {
            answer = self.kernel.check(question) => answer,
            () = sleep(&*self.clock, KERNEL_LIMIT) => Err(KernelError::TimedOut),
        };
        let now = self.clock.now();
        let mut ledger = ledger::lock(&self.ledger);
        ledger.kernel_took(now.since(asked_at), now);
        ledger.kernel_answered(&answer, now);
        answer
    }

    async fn simulate(&self, question: &Question) -> Result<Verdict, KernelError> {
        tokio::select! {
            answer = self.kernel.simulate(question) => answer,
            () = sleep(&*self.clock, KERNEL_LIMIT) => Err(KernelError::TimedOut),
        }
    }

    async fn explain(&self, question: &Question) -> Result<Explained, KernelError> {
        tokio::select! {
            answer = self.kernel.explain(question) => answer,
            () = sleep(&*self.clock, KERNEL_LIMIT) => Err(KernelError::TimedOut),
        }
    }

    async fn snapshots(&self) -> Result<Vec<String>, KernelError> {
        tokio::select! {
            answer = self.kernel.snapshots() => answer,
            () = sleep(&*self.clock, KERNEL_LIMIT) => Err(KernelError::TimedOut),
        }
    }
}
