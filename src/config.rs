//! What the user asked for: flags, then environment, then the configuration file.
//!
//! The only room that reads the environment. [`servers`] knows flags and
//! environment, [`mod@file`] what a user writes down, [`contexts`] which of them
//! wins; start at [`contexts::deployment`].

use std::fmt;
use std::path::PathBuf;

pub mod contexts;
pub mod file;
pub mod sample;
pub mod servers;
pub mod views;

/// A key or a token: never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the one call that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The servers of one deployment; what is `None` is not configured.
#[derive(Clone, Debug, Default)]
pub struct Servers {
    /// The bus.
    pub nats: Option<NatsServer>,
    /// The gateway.
    pub gateway: Option<GatewayServer>,
    /// The store.
    pub redis: Option<RedisServer>,
}

/// How to reach a NATS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsServer {
    /// `nats://host:port` or `tls://host:port`.
    pub url: String,
    /// How to prove who we are.
    pub auth: NatsAuth,
    /// How to trust the server.
    pub tls: Tls,
}

/// How to prove to NATS who we are.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum NatsAuth {
    /// Nothing is asked.
    #[default]
    None,
    /// `NATS_TOKEN`.
    Token(Secret),
    /// `NATS_USERNAME` and `NATS_PASSWORD`.
    User {
        /// The name.
        name: String,
        /// The password.
        password: Secret,
    },
    /// The seed in `NATS_NKEY`.
    Nkey(Secret),
}

/// Certificates: the `…_TLS_CA`, `…_TLS_CERT` and `…_TLS_KEY` variables.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tls {
    /// Certificates to trust, PEM.
    pub ca: Option<PathBuf>,
    /// Our certificate, PEM.
    pub cert: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
}

/// How to reach a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayServer {
    /// `http://host:port` or `https://host:port`, without the API prefix.
    pub url: String,
    /// `CORDUM_API_KEY`.
    pub api_key: Option<Secret>,
    /// `CORDUM_TENANT_ID`.
    pub tenant: Option<String>,
    /// `CORDUM_TLS_CA`.
    pub ca: Option<PathBuf>,
}

/// How to reach a Redis server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisServer {
    /// `redis://host:port` or `rediss://host:port`, without credentials.
    pub url: String,
    /// `REDIS_PASSWORD`, or the one in the URL.
    pub password: Option<Secret>,
    /// How to trust the server.
    pub tls: Tls,
}
