//! One connection to a NATS server: addresses, credentials, trust, and the words
//! for what went wrong.
//!
//! Start at [`connect`]. A connection made here never reconnects.

use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use tokio_util::sync::CancellationToken;

use crate::bus::SUBSCRIPTION_BUFFER;
use crate::config::{NatsAuth, NatsServer};

/// How our connections are listed by the server.
const NAME: &str = "capdeck";
/// How long one address may take to answer.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// How often a silent line is tested; the third unanswered test ends it.
const PING_EVERY: Duration = Duration::from_secs(10);
/// Where a connection is sent to when it breaks: no server listens on port 0,
/// so the client fails at once, gives up and forgets what it still held.
const NOWHERE: &str = "nats://127.0.0.1:0";

/// What a connection tells while it lasts.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// Cancelled when the connection is no more.
    pub(super) lost: CancellationToken,
    /// How many messages the client reported as dropped: some of them, never
    /// all, so this says that there was loss and not how much.
    pub(super) slow: std::sync::atomic::AtomicU64,
    reason: Mutex<Option<Arc<str>>>,
}

impl Signals {
    /// Why the connection ended, as far as anybody said.
    pub(super) fn reason(&self) -> Option<Arc<str>> {
        self.slot().clone()
    }

    /// Ends the connection for `reason`, unless there is one already.
    pub(super) fn end(&self, reason: Option<&str>) {
        if let Some(reason) = reason {
            self.slot().get_or_insert_with(|| reason.into());
        }
        self.lost.cancel();
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<str>>> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, event: Event) {
        match event {
            Event::Disconnected | Event::Closed => self.end(None),
            Event::SlowConsumer(_) => {
                self.slow.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            Event::ServerError(error) => {
                tracing::warn!(%error, "the bus reports an error");
                // One forbidden subject does not end a connection; the others do.
                let words = error.to_string();
                if !words.to_lowercase().contains("permissions violation") {
                    *self.slot() = Some(words.into());
                }
            }
            Event::ClientError(error) => tracing::debug!(%error, "the bus client reports"),
            Event::Connected | Event::LameDuckMode | Event::Draining => {}
        }
    }
}

/// Connects to the first of `servers` that answers.
///
/// # Errors
/// Why none did, in words without addresses or secrets.
pub(super) async fn connect(
    servers: &[ServerAddr],
    config: &NatsServer,
    signals: &Arc<Signals>,
) -> Result<Client, Arc<str>> {
    let told = Arc::clone(signals);
    let options = options(servers, config).event_callback(move |event| {
        told.take(event);
        std::future::ready(())
    });
    let client = options
        .connect(servers.to_vec())
        .await
        .map_err(|error| Arc::from(words(&error)))?;
    let nowhere: ServerAddr = NOWHERE.parse().map_err(|_| "no address of nowhere")?;
    client
        .set_server_pool(nowhere)
        .await
        .map_err(|_| "the line broke at once")?;
    Ok(client)
}

fn options(servers: &[ServerAddr], config: &NatsServer) -> ConnectOptions {
    let options = ConnectOptions::new()
        .name(NAME)
        .connection_timeout(CONNECT_LIMIT)
        .ping_interval(PING_EVERY)
        .subscription_capacity(SUBSCRIPTION_BUFFER)
        .ignore_discovered_servers()
        .max_reconnects(servers.len())
        .reconnect_delay_callback(|_| Duration::ZERO);
    let options = match &config.auth {
        NatsAuth::None => match servers.iter().find(|server| server.has_user_pass()) {
            None => options,
            Some(server) => match (server.username(), server.password()) {
                (Some(name), Some(password)) => {
                    options.user_and_password(unescape(name), unescape(password))
                }
                // A name alone is a token.
                (name, _) => options.token(unescape(name.unwrap_or_default())),
            },
        },
        NatsAuth::Token(token) => options.token(token.reveal().to_owned()),
        NatsAuth::User { name, password } => {
            options.user_and_password(name.clone(), password.reveal().to_owned())
        }
        NatsAuth::Nkey(seed) => options.nkey(seed.reveal().to_owned()),
    };
    let options = match &config.tls.ca {
        None => options,
        Some(ca) => options.add_root_certificates(ca.clone()).require_tls(true),
    };
    match (&config.tls.cert, &config.tls.key) {
        (Some(cert), Some(key)) => options
            .add_client_certificate(cert.clone(), key.clone())
            .require_tls(true),
        _ => options,
    }
}

/// The servers of `config`: one address or several between commas.
///
/// # Errors
/// When one is no address, or a certificate file cannot be read.
pub(super) fn addresses(
    config: &NatsServer,
) -> Result<Vec<ServerAddr>, Box<dyn Error + Send + Sync>> {
    let mut servers = Vec::new();
    for url in config.url.split(',') {
        let server: ServerAddr = url.trim().parse()?;
        if server.is_websocket() {
            return Err("only nats:// and tls:// addresses are supported".into());
        }
        if server.host().is_empty() {
            return Err("it names no host".into());
        }
        servers.push(server);
    }
    let tls = &config.tls;
    for file in [&tls.ca, &tls.cert, &tls.key].into_iter().flatten() {
        readable(file)?;
    }
    if tls.cert.is_some() != tls.key.is_some() {
        return Err("a certificate of ours needs its key, and a key its certificate".into());
    }
    // The TLS of the client asks for a provider of the process.
    drop(rustls::crypto::ring::default_provider().install_default());
    Ok(servers)
}

fn readable(file: &Path) -> Result<(), Box<dyn Error + Send + Sync>> {
    match std::fs::File::open(file) {
        Ok(_) => Ok(()),
        Err(error) => {
            let file = file.display();
            Err(format!("cannot read `{file}`: {}", io_words(&error)).into())
        }
    }
}

/// An address that may be shown: whatever stands before an `@` is cut.
pub(super) fn without_credentials(url: &str) -> String {
    let one = |url: &str| {
        let url = url.trim();
        let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
        let (host, path) = match rest.find(['/', '?', '#']) {
            // A password may hold any of these, badly escaped as it is.
            Some(end) if !rest[end..].contains('@') => rest.split_at(end),
            _ => (rest, ""),
        };
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        format!("{scheme}://{host}{path}")
    };
    url.split(',').map(one).collect::<Vec<_>>().join(",")
}

/// Reads `%41` as `A`; what is not such an escape stays.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail
            .first_chunk::<2>()
            .filter(|_| *first == b'%')
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn words(error: &async_nats::ConnectError) -> String {
    let cause = || error.source().map_or(String::new(), cause_words);
    match error.kind() {
        ConnectErrorKind::ServerParse => "the address is not one".into(),
        ConnectErrorKind::Dns => "the server's name does not resolve".into(),
        ConnectErrorKind::Authentication => "our credentials cannot be used".into(),
        ConnectErrorKind::AuthorizationViolation => "the server refused our credentials".into(),
        ConnectErrorKind::TimedOut => "the server does not answer".into(),
        ConnectErrorKind::Tls => format!("TLS: {}", cause()),
        ConnectErrorKind::Io => cause(),
        ConnectErrorKind::MaxReconnects => "the connection was lost".into(),
    }
}

fn cause_words(cause: &(dyn Error + 'static)) -> String {
    match cause.downcast_ref::<io::Error>() {
        Some(error) => io_words(error),
        None => cause.to_string(),
    }
}

fn io_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset".into(),
        io::ErrorKind::TimedOut => "the server does not answer".into(),
        io::ErrorKind::NotFound => "no such file".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::HostUnreachable => "host unreachable".into(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".into(),
        io::ErrorKind::UnexpectedEof => "the server hung up".into(),
        _ => match error.get_ref() {
            Some(inner) => inner.to_string(),
            None => error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Tls;

    fn server(url: &str) -> NatsServer {
        NatsServer {
            url: url.into(),
            auth: NatsAuth::None,
            tls: Tls::default(),
        }
    }

    #[test]
    fn no_credentials_are_shown() {
        for (url, shown) in [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("tls://me:pw@bus.example", "tls://bus.example"),
            ("nats://token@a:1, nats://b:2", "nats://a:1,nats://b:2"),
            ("nats://me:p/w@a:1", "nats://a:1"),
            ("nats://me:p@w@a:1/x", "nats://a:1/x"),
            ("me:pw@a:1", "nats://a:1"),
        ] {
            assert_eq!(without_credentials(url), shown);
        }
    }

    #[test]
    fn an_address_that_is_none_is_refused_with_the_reason() {
        for (url, reason) in [
            ("http://a", "invalid scheme"),
            ("ws://a", "only nats:// and tls://"),
            ("", "no host"),
        ] {
            let refused = addresses(&server(url)).expect_err(url).to_string();
            assert!(refused.contains(reason), "{url}: {refused}");
        }
        assert_eq!(addresses(&server("a:1, tls://b")).expect("two").len(), 2);
    }

    #[test]
    fn a_certificate_that_cannot_be_read_is_named() {
        let mut config = server("tls://a");
        config.tls.ca = Some("/nowhere/ca.pem".into());
        let refused = addresses(&config).expect_err("no such file").to_string();
        assert_eq!(refused, "cannot read `/nowhere/ca.pem`: no such file");
    }

    #[test]
    fn escapes_in_a_url_are_read() {
        assert_eq!(unescape("p%40w%2"), "p@w%2");
        assert_eq!(unescape("%zz%C3%A9"), "%zzé");
    }
}
