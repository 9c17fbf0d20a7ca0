//! A safety kernel somewhere else, asked by gRPC.
//!
//! Nothing is kept here: every question and every list of snapshots is asked anew,
//! and who asks decides how long to wait. A question that was given up leaves a line
//! behind that may be dead without knowing it, so the next one takes a new line.

use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use thiserror::Error;
use tonic::transport::{ClientTlsConfig, Endpoint};
use tonic::{Code, Status};

use super::explain::Explained;
use super::tls::{self, TlsFileError};
use super::{KernelError, Question, SafetyKernel, Verdict};
use crate::time::{BoxFuture, Elapsed};
use crate::wire::safety::PolicyCheck;
use crate::wire::safety::rpc::Client;

/// How long a connection may take to come up: less than a question may wait.
const CONNECT_LIMIT: Elapsed = Elapsed::from_millis(1_500);

/// Where a kernel is, and how it proves itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `http://host:port`, or `https://host:port`.
    pub url: String,
    /// The authority whose certificates are trusted; without it those that this
    /// machine trusts.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key, for a kernel that asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Address {
    /// Whether questions and verdicts leave this machine unencrypted.
    pub fn is_exposed(&self) -> bool {
        let Some(rest) = self.url.strip_prefix("http://") else {
            return false;
        };
        let host = rest.rsplit_once(':').map_or(rest, |(host, _)| host);
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host != "localhost" && !address.is_ok_and(|address| address.is_loopback())
    }
}

/// Why a kernel cannot be asked at all.
#[derive(Debug, Error)]
pub enum AddressError {
    /// It is not an address of a kernel.
    #[error("`{url}` is not the address of a safety kernel: {says}")]
    NotAnAddress {
        /// The address, without credentials.
        url: String,
        /// What is wrong with it.
        says: &'static str,
    },
    /// The file of a certificate or a key cannot be used.
    #[error(transparent)]
    File(#[from] TlsFileError),
    /// This machine trusts nobody, or the address names nobody who could be trusted.
    #[error("cannot speak TLS with the safety kernel at {url}")]
    Tls {
        /// The address.
        url: String,
        /// What is wrong.
        #[source]
        source: tonic::transport::Error,
    },
}

/// A kernel that is asked by gRPC.
pub struct RemoteKernel {
    url: String,
    endpoint: Endpoint,
    line: Mutex<Line>,
}

struct Line {
    client: Option<Client>,
    /// Tells lines apart, so that only the one in use is given up.
    number: u64,
}

impl fmt::Debug for RemoteKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteKernel({})", self.url)
    }
}

impl RemoteKernel {
    /// A kernel at `address`; nothing is sent yet.
    ///
    /// # Errors
    /// [`AddressError`] for what can never be asked.
    pub fn new(address: &Address) -> Result<Self, AddressError> {
        let url = address.url.trim_end_matches('/').to_owned();
        let encrypted = checked(&url)?;
        let refused = |says| AddressError::NotAnAddress {
            url: url.clone(),
            says,
        };
        let mut endpoint = Endpoint::from_shared(url.clone())
            .map_err(|_| refused("it is no address"))?
            .connect_timeout(CONNECT_LIMIT.as_duration())
            .tcp_nodelay(true);
        if encrypted {
            endpoint = endpoint
                .tls_config(tls(address)?)
                .map_err(|source| AddressError::Tls {
                    url: url.clone(),
                    source,
                })?;
        } else if address.ca.is_some() || address.identity.is_some() {
            return Err(refused(
                "http:// is not encrypted, so certificates are of no use; say https://",
            ));
        }
        Ok(Self {
            url,
            endpoint,
            line: Mutex::new(Line {
                client: None,
                number: 0,
            }),
        })
    }

    async fn ask<T, F>(&self, call: impl FnOnce(Client) -> F) -> Result<T, KernelError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let (client, number) = self.client();
        let mut given_up = GivenUp {
            kernel: self,
            number: Some(number),
        };
        let answer = call(client).await;
        given_up.number = None;
        answer.map_err(|status| self.failure(&status))
    }

    fn client(&self) -> (Client, u64) {
        let mut line = self.lock();
        let number = line.number;
        let client = line
            .client
            .get_or_insert_with(|| Client::new(self.endpoint.connect_lazy()));
        (client.clone(), number)
    }

    fn failure(&self, status: &Status) -> KernelError {
        KernelError::Unavailable(format!("{}: {}", self.url, words(status)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Line> {
        // A panic while it was held left a whole line in it, or none.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Dropped with a number when nobody waits for an answer any more.
struct GivenUp<'a> {
    kernel: &'a RemoteKernel,
    number: Option<u64>,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut line = self.kernel.lock();
        if line.number == number {
            line.number += 1;
            line.client = None;
        }
    }
}

/// Checks an address; says whether it is encrypted.
fn checked(url: &str) -> Result<bool, AddressError> {
    let refused = |says| {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let shown = match rest.rsplit_once('@') {
            Some((_, host)) if scheme.is_empty() => host.to_owned(),
            Some((_, host)) => format!("{scheme}://{host}"),
            None => url.to_owned(),
        };
        Err(AddressError::NotAnAddress { url: shown, says })
    };
    let (encrypted, rest) = match url.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        _ => return refused("one begins with http:// or https://"),
    };
    if rest.contains('@') {
        return refused("it holds credentials, which gRPC has no place for");
    }
    let port = rest.rsplit_once(':').map(|(_, port)| port);
    let has_port = port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
    if rest.starts_with(':') || !has_port {
        return refused("it needs a host and a port, such as http://127.0.0.1:50051");
    }
    Ok(encrypted)
}

fn tls(address: &Address) -> Result<ClientTlsConfig, TlsFileError> {
    let tls = match &address.ca {
        Some(ca) => ClientTlsConfig::new().ca_certificate(tls::authorities(ca)?),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    Ok(match &address.identity {
        Some((cert, key)) => tls.identity(tls::identity(cert, key)?),
        None => tls,
    })
}

/// What a status says, with the deepest cause that anybody names.
fn words(status: &Status) -> String {
    let mut deepest = None;
    let mut cause = status.source();
    while let Some(error) = cause {
        deepest = Some(error.to_string());
        cause = error.source();
    }
    let says = match (status.message(), deepest) {
        ("", None) => status.code().description().to_owned(),
        ("" | "transport error", Some(deepest)) => deepest,
        (message, Some(deepest)) if !message.contains(&deepest) => format!("{message}: {deepest}"),
        (message, _) => message.to_owned(),
    };
    if status.code() == Code::Unavailable {
        says
    } else {
        format!("{:?}: {says}", status.code())
    }
}

impl SafetyKernel for RemoteKernel {
    fn check<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Verdict, KernelError>> {
        Box::pin(async move {
            let asked = PolicyCheck::from(question);
            self.ask(|client| client.check(asked)).await?.try_into()
        })
    }

    fn simulate<'a>(
        &'a self,
        question: &'a Question,
    ) -> BoxFuture<'a, Result<Verdict, KernelError>> {
        Box::pin(async move {
            let asked = PolicyCheck::from(question);
            self.ask(|client| client.simulate(asked)).await?.try_into()
        })
    }

    fn explain<'a>(
        &'a self,
        question: &'a Question,
    ) -> BoxFuture<'a, Result<Explained, KernelError>> {
        Box::pin(async move {
            let asked = PolicyCheck::from(question);
            let answer = self.ask(|client| client.explain(asked)).await?;
            Ok(Explained {
                verdict: answer.try_into()?,
                rules: None,
            })
        })
    }

    fn snapshots(&self) -> BoxFuture<'_, Result<Vec<String>, KernelError>> {
        Box::pin(async move {
            let snapshots = self.ask(Client::snapshots).await?;
            // Without the one in force nobody can tell what an approval was asked under.
            match snapshots.first() {
                Some(current) if !current.is_empty() => Ok(snapshots),
                _ => Err(KernelError::NotUnderstood(
                    "it does not say which policy is in force".to_owned(),
                )),
            }
        })
    }

    fn address(&self) -> Option<&str> {
        Some(&self.url)
    }
}

#[cfg(test)]
mod tests;
