//! A safety kernel as a gRPC service, for schedulers that are not ours.
//!
//! Beside `cordum.agent.v1.SafetyKernel` the server has gRPC's health service, which
//! says SERVING as long as it runs: a kernel always has a policy in force, if need be
//! the last good one. Start at [`KernelServer::start`].

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::Stream;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::{Server, ServerTlsConfig};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use super::tls::{self, TlsFileError};
use super::{KernelError, Question, SafetyKernel, Verdict};
use crate::ids::JobId;
use crate::time::{BoxFuture, Clock, Elapsed, sleep};
use crate::wire::safety::rpc::{self, Answers};
use crate::wire::safety::{PolicyAnswer, PolicyCheck};

/// How long calls under way may take to end at shutdown before they are cut.
const GOODBYE: Elapsed = Elapsed::from_secs(2);
/// How long a client may take to agree about encryption, and to send a question.
const PATIENCE: Elapsed = Elapsed::from_secs(10);
/// How often a silent client is asked whether it is there, and how long it may take
/// to say so.
const PING_EVERY: Elapsed = Elapsed::from_secs(30);
/// Questions of one client that may be under way at once; further ones wait there.
const MAX_STREAMS: u32 = 256;
/// How long the door stays shut when the system has no more connections to give.
const BREATH: Elapsed = Elapsed::from_millis(200);

/// Where a kernel listens.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address; port 0 is any free one.
    pub listen: SocketAddr,
    /// How it proves itself; without it nothing is encrypted.
    pub tls: Option<Tls>,
    /// Whether an address that others reach may go without encryption.
    pub plaintext: bool,
}

/// How a kernel proves itself, and how others do to it. All files are PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Its certificate, with those between it and its authority.
    pub cert: PathBuf,
    /// The private key of that certificate.
    pub key: PathBuf,
    /// The authorities that sign for those who may ask; without them anybody may.
    pub client_ca: Option<PathBuf>,
}

/// Why a kernel does not start to serve.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Whoever is on the way could read questions and forge verdicts.
    #[error(
        "the safety kernel listens on {addr}, which others can reach, only with TLS: without it \
         whoever is on the way reads what jobs do and can turn a no into a yes"
    )]
    Plaintext {
        /// The address.
        addr: SocketAddr,
    },
    /// Somebody else listens there.
    #[error("the address {addr} is taken")]
    Taken {
        /// The address.
        addr: SocketAddr,
    },
    /// The system refused for another reason.
    #[error("cannot listen on {addr}")]
    Refused {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file of a certificate or a key cannot be used.
    #[error(transparent)]
    File(#[from] TlsFileError),
    /// The certificate and its key cannot be served with.
    #[error("cannot speak TLS with `{}` and `{}`", cert.display(), key.display())]
    Tls {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong.
        #[source]
        source: tonic::transport::Error,
    },
}

/// A kernel that serves; dropping it ends it without waiting.
pub struct KernelServer {
    addr: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for KernelServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelServer")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

impl KernelServer {
    /// Binds the address and starts to answer.
    ///
    /// # Errors
    /// [`ServeError`]; nothing runs then.
    pub async fn start(
        kernel: Arc<dyn SafetyKernel>,
        options: &Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ServeError> {
        let wanted = options.listen;
        let mut server = Server::builder()
            .timeout(PATIENCE.as_duration())
            .max_concurrent_streams(MAX_STREAMS)
            .http2_keepalive_interval(Some(PING_EVERY.as_duration()))
            .http2_keepalive_timeout(Some(PATIENCE.as_duration()));
        match &options.tls {
            Some(tls) => {
                server = server.tls_config(config(tls)?).map_err(|source| {
                    let (cert, key) = (tls.cert.clone(), tls.key.clone());
                    ServeError::Tls { cert, key, source }
                })?
            }
            None if wanted.ip().is_loopback() || options.plaintext => {}
            None => return Err(ServeError::Plaintext { addr: wanted }),
        }
        let refused = |source| ServeError::Refused {
            addr: wanted,
            source,
        };
        let listener = match TcpListener::bind(wanted).await {
            Ok(listener) => listener,
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                return Err(ServeError::Taken { addr: wanted });
            }
            Err(error) => return Err(refused(error)),
        };
        let addr = listener.local_addr().map_err(refused)?;

        // "" is the server as a whole, and is SERVING from the start.
        let health = HealthReporter::new();
        let serving = ServingStatus::Serving;
        health.set_service_status(rpc::NAME, serving).await;
        let health = HealthServer::new(HealthService::from_health_reporter(health));
        let routes = rpc::routes(Served(kernel)).add_service(health);
        let stop = CancellationToken::new();
        let served = server.add_routes(routes).serve_with_incoming_shutdown(
            incoming(listener, Arc::clone(&clock)),
            stop.clone().cancelled_owned(),
        );
        Ok(Self {
            addr,
            stop,
            task: tokio::spawn(served),
            clock,
        })
    }

    /// Where it listens, the port resolved.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns when it has stopped by itself, with the reason.
    pub async fn broken(&mut self) -> String {
        match (&mut self.task).await {
            Ok(Ok(())) => "it has stopped".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Takes no more calls, lets those under way end within two seconds, and returns
    /// when it is gone.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        tokio::select! {
            _ = &mut self.task => {}
            // Whoever watches the health of a kernel would do so for ever.
            () = sleep(&*self.clock, GOODBYE) => self.task.abort(),
        }
    }
}

impl Drop for KernelServer {
    fn drop(&mut self) {
        self.stop.cancel();
        self.task.abort();
    }
}

fn config(tls: &Tls) -> Result<ServerTlsConfig, TlsFileError> {
    // The TLS of the server asks for a provider of the process; there may be one.
    drop(rustls::crypto::ring::default_provider().install_default());
    let config = ServerTlsConfig::new()
        .identity(tls::identity(&tls.cert, &tls.key)?)
        .timeout(PATIENCE.as_duration());
    Ok(match &tls.client_ca {
        Some(path) => config.client_ca_root(tls::authorities(path)?),
        None => config,
    })
}

/// Connections as they come. What the system refuses, such as one more open file, is
/// no reason to stop.
fn incoming(
    listener: TcpListener,
    clock: Arc<dyn Clock>,
) -> impl Stream<Item = std::io::Result<TcpStream>> {
    futures_util::stream::unfold((listener, clock), |(listener, clock)| async move {
        loop {
            match listener.accept().await {
                Ok((line, _)) => {
                    if let Err(error) = line.set_nodelay(true) {
                        tracing::debug!(%error, "a connection was gone at once");
                        continue;
                    }
                    return Some((Ok(line), (listener, clock)));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not taken");
                    sleep(&*clock, BREATH).await;
                }
            }
        }
    })
}

struct Served(Arc<dyn SafetyKernel>);

impl Answers for Served {
    fn check(&self, asked: PolicyCheck) -> BoxFuture<'_, Result<PolicyAnswer, Status>> {
        Box::pin(async move {
            let question = Question::from(asked);
            answer(&question.job_id, self.0.check(&question).await)
        })
    }

    fn simulate(&self, asked: PolicyCheck) -> BoxFuture<'_, Result<PolicyAnswer, Status>> {
        Box::pin(async move {
            let question = Question::from(asked);
            answer(&question.job_id, self.0.simulate(&question).await)
        })
    }

    fn explain(&self, asked: PolicyCheck) -> BoxFuture<'_, Result<PolicyAnswer, Status>> {
        Box::pin(async move {
            let question = Question::from(asked);
            let explained = self.0.explain(&question).await;
            answer(&question.job_id, explained.map(|it| it.verdict))
        })
    }

    /// What is known already: a question of others never makes this side read files.
    fn snapshots(&self) -> BoxFuture<'_, Result<Vec<String>, Status>> {
        Box::pin(async move { self.0.snapshots().await.map_err(unavailable) })
    }
}

fn answer(job_id: &JobId, verdict: Result<Verdict, KernelError>) -> Result<PolicyAnswer, Status> {
    let verdict = verdict.map_err(unavailable)?;
    Ok(verdict.into_answer(job_id))
}

fn unavailable(error: KernelError) -> Status {
    Status::unavailable(error.to_string())
}
