//! Where a command that watches gets its packets and answers from.

use std::sync::Arc;

use anyhow::anyhow;

use crate::bus::nats::NatsBus;
use crate::cli::{CliError, config, operate};
use crate::config::Servers;
use crate::config::contexts::{Config, Deployment};
use crate::config::servers::Addresses;
use crate::runtime::Sources;
use crate::store::redis::RedisStore;
use crate::time::SystemClock;

/// Where the servers are: flags, else the environment, else the current context.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Servers")]
pub(super) struct SourceArgs {
    /// The bus, nats://host:port; NATS_URL where no flag names a server. Its token: NATS_TOKEN
    #[arg(long, value_name = "URL")]
    pub(super) nats: Option<String>,
    /// The gateway, http://host:port; CORDUM_GATEWAY where no flag names a server. Its key: CORDUM_API_KEY
    #[arg(long, value_name = "URL")]
    pub(super) gateway: Option<String>,
    /// The store, redis://host:port; REDIS_URL where no flag names a server. Its password: REDIS_PASSWORD
    #[arg(long, value_name = "URL")]
    pub(super) redis: Option<String>,
    /// The context of the configuration file; else the current one, where nothing
    /// else names a server
    #[arg(long, value_name = "NAME")]
    pub(super) context: Option<String>,
}

impl SourceArgs {
    /// The deployment that is meant; it may have no server at all.
    pub(super) fn deployment(&self, config: &Config) -> Result<Deployment, CliError> {
        let flags = Addresses {
            nats: self.nats.clone(),
            gateway: self.gateway.clone(),
            redis: self.redis.clone(),
        };
        config::deployment(config, self.context.as_deref(), &flags)
    }

    /// The servers, at least one.
    pub(super) fn servers(&self) -> Result<Servers, CliError> {
        let servers = self.deployment(&config::load()?)?.servers;
        if servers.nats.is_none() && servers.gateway.is_none() && servers.redis.is_none() {
            return Err(CliError::usage(anyhow!("no server is given"))
                .hint("give --nats URL, --gateway URL or --redis URL, or set NATS_URL, CORDUM_GATEWAY or REDIS_URL")
                .hint("`capdeck config print` shows how to name one for every call")
                .hint("`capdeck demo` runs a whole control plane in this terminal"));
        }
        Ok(servers)
    }
}

/// Starts to connect to `servers`; nothing is waited for. Must be called inside a
/// Tokio runtime.
pub(super) fn connect(servers: &Servers) -> Result<Sources, CliError> {
    let clock = Arc::new(SystemClock);
    let mut sources = Sources::default();
    if let Some(server) = &servers.nats {
        let bus = NatsBus::connect(server, clock.clone()).map_err(CliError::usage)?;
        let bus = Arc::new(bus);
        let again = Arc::clone(&bus);
        sources.reconnect = Some(Arc::new(move || again.reconnect_now()));
        sources.bus = Some(bus);
    }
    if let Some(server) = &servers.gateway {
        sources.gateway = Some(Arc::new(operate::client(server)?));
    }
    if let Some(server) = &servers.redis {
        let store = RedisStore::connect(server, clock).map_err(CliError::usage)?;
        sources.store = Some(Arc::new(store));
    }
    Ok(sources)
}
