//! The line to a server: its address, its certificates, how long it is waited for.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{Client, ClientTlsConfig, IntoConnectionInfo as _, ProtocolVersion, TlsCertificates};

use crate::config::RedisServer;

/// How long one attempt to connect may take; there are two.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// How long the server may take to answer a command.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

pub(super) fn open(
    server: &RedisServer,
) -> Result<(ConnectionManager, bool), Box<dyn std::error::Error + Send + Sync>> {
    let info = server.url.as_str().into_connection_info()?;
    let near = is_near(info.addr());
    let mut login = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3);
    if let Some(password) = &server.password {
        login = login.set_password(password.reveal());
    }
    let info = info
        .set_redis_settings(login)
        .set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let encrypted = matches!(info.addr(), redis::ConnectionAddr::TcpTls { .. });
    let client = if encrypted {
        // The TLS of the client asks for a provider of the process.
        drop(rustls::crypto::ring::default_provider().install_default());
        Client::build_with_tls(info, certificates(server)?)?
    } else {
        Client::open(info)?
    };
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(1)
        .set_min_delay(Duration::from_millis(50))
        .set_max_delay(Duration::from_millis(200))
        .set_connection_timeout(Some(CONNECT_LIMIT))
        .set_response_timeout(Some(ANSWER_LIMIT));
    let connection = ConnectionManager::new_lazy_with_config(client, config)?;
    Ok((connection, near))
}

fn is_near(address: &redis::ConnectionAddr) -> bool {
    match address {
        redis::ConnectionAddr::Tcp(host, _) | redis::ConnectionAddr::TcpTls { host, .. } => {
            let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
            host == "localhost" || address.is_ok_and(|it| it.is_loopback())
        }
        redis::ConnectionAddr::Unix(_) => true,
        // A kind of address that this client did not have yet: ask seldom.
        _ => false,
    }
}

fn certificates(
    server: &RedisServer,
) -> Result<TlsCertificates, Box<dyn std::error::Error + Send + Sync>> {
    let read = |file: &std::path::PathBuf| {
        std::fs::read(file).map_err(|error| format!("cannot read `{}`: {error}", file.display()))
    };
    let tls = &server.tls;
    let client_tls = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => Some(ClientTlsConfig {
            client_cert: read(cert)?,
            client_key: read(key)?,
        }),
        (None, None) => None,
        _ => {
            return Err("a certificate of ours needs its key, and a key its certificate".into());
        }
    };
    Ok(TlsCertificates {
        client_tls,
        root_cert: tls.ca.as_ref().map(read).transpose()?,
    })
}

/// An address that may be shown: whatever stands before an `@` is cut.
pub(super) fn without_credentials(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("redis", url));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Tls;
    use crate::store::Store as _;
    use crate::store::redis::RedisStore;
    use crate::time::SystemClock;

    fn refused(url: &str, tls: Tls) -> String {
        let server = RedisServer {
            url: url.into(),
            password: None,
            tls,
        };
        let error = RedisStore::connect(&server, Arc::new(SystemClock)).expect_err(url);
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", cause.unwrap_or_default())
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_refused_without_its_password() {
        let refused = refused("http://me:hush@a", Tls::default());
        assert!(
            refused.starts_with("the store at http://a does not answer: "),
            "{refused}"
        );
        assert!(!refused.contains("hush"), "{refused}");
    }

    #[tokio::test]
    async fn a_certificate_that_cannot_be_read_is_named() {
        let tls = Tls {
            ca: Some("/nowhere/ca.pem".into()),
            ..Tls::default()
        };
        let refused = refused("rediss://a", tls);
        assert!(
            refused.contains("cannot read `/nowhere/ca.pem`"),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn a_store_on_this_machine_is_near() {
        for (url, near) in [
            ("redis://localhost:6379", true),
            ("redis://127.0.0.9", true),
            ("redis://[::1]:6379", true),
            ("redis://redis:6379", false),
            ("redis://10.0.0.1", false),
        ] {
            let server = RedisServer {
                url: url.into(),
                password: None,
                tls: Tls::default(),
            };
            let store = RedisStore::connect(&server, Arc::new(SystemClock)).expect(url);
            assert_eq!(store.is_near(), near, "{url}");
        }
    }

    #[test]
    fn no_credentials_are_shown() {
        for (url, shown) in [
            ("redis://127.0.0.1:6379/2", "redis://127.0.0.1:6379/2"),
            ("rediss://:p@w/x@a:1", "rediss://a:1"),
        ] {
            assert_eq!(without_credentials(url), shown);
        }
    }
}
