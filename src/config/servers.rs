//! Servers by flags and environment: flags first.
//!
//! Addresses may come from flags; keys, tokens and passwords never do, because
//! a command line is read by every process on the machine.

use std::path::PathBuf;

use thiserror::Error;

use super::{GatewayServer, NatsAuth, NatsServer, RedisServer, Secret, Servers, Tls};

/// What the environment says of a name; empty values count as absent.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of this process.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Addresses from the command line.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Addresses {
    /// `--nats`.
    pub nats: Option<String>,
    /// `--gateway`.
    pub gateway: Option<String>,
    /// `--redis`.
    pub redis: Option<String>,
}

impl Addresses {
    /// The address of a server of this kind.
    pub fn of(&self, kind: Kind) -> Option<&str> {
        match kind {
            Kind::Nats => self.nats.as_deref(),
            Kind::Gateway => self.gateway.as_deref(),
            Kind::Redis => self.redis.as_deref(),
        }
    }
}

/// The variable that names the tenant.
pub const TENANT: &str = "CORDUM_TENANT_ID";

/// The kinds of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A bus.
    Nats,
    /// A gateway.
    Gateway,
    /// A store.
    Redis,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Nats, Self::Gateway, Self::Redis];

    /// The variable that holds its address.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Nats => "NATS_URL",
            Self::Gateway => "CORDUM_GATEWAY",
            Self::Redis => "REDIS_URL",
        }
    }

    /// The schemes of its addresses, and how to say so.
    fn schemes(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Nats => (&["nats", "tls"], "one begins with nats:// or tls://"),
            Self::Gateway => (&["http", "https"], "one begins with http:// or https://"),
            Self::Redis => (
                &["redis", "rediss"],
                "one begins with redis:// or rediss://",
            ),
        }
    }
}

/// Checks an address that may hold no credentials, for it is written down.
pub(super) fn plain(kind: Kind, text: &str) -> Result<(), ServersError> {
    let (setting, instead) = match kind {
        Kind::Nats => ("nats", "NATS_TOKEN, or NATS_USERNAME and NATS_PASSWORD"),
        Kind::Gateway => ("gateway", "CORDUM_API_KEY"),
        Kind::Redis => ("redis", "REDIS_PASSWORD"),
    };
    let (url, credentials) = apart(text);
    if credentials.is_some() {
        return Err(ServersError::SecretInFlag {
            flag: setting,
            instead,
        });
    }
    Given {
        from: setting,
        url,
        credentials,
    }
    .scheme(kind)
}

/// Why the servers are not usable.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ServersError {
    /// A secret on the command line.
    #[error("{flag} holds credentials, which every process on this machine could read")]
    SecretInFlag {
        /// The flag.
        flag: &'static str,
        /// The variable to use instead.
        instead: &'static str,
    },
    /// Not an address of this kind of server.
    #[error("{from} is not an address: {says}")]
    NotAnAddress {
        /// The flag or the variable.
        from: &'static str,
        /// What is wrong.
        says: &'static str,
    },
}

/// The servers of `flags`, completed by `environment` (`NATS_URL`, `REDIS_URL`,
/// `CORDUM_GATEWAY` and their credentials and certificates).
///
/// # Errors
/// [`ServersError`] for what cannot be an address, or brings a secret by flag.
pub fn servers(flags: &Addresses, environment: Environment<'_>) -> Result<Servers, ServersError> {
    Ok(Servers {
        nats: nats(flags.nats.as_deref(), environment)?,
        gateway: gateway(flags.gateway.as_deref(), environment)?,
        redis: redis(flags.redis.as_deref(), environment)?,
    })
}

fn nats(flag: Option<&str>, env: Environment<'_>) -> Result<Option<NatsServer>, ServersError> {
    let Some(given) = Given::of(flag, "--nats", "NATS_URL", env)? else {
        return Ok(None);
    };
    given.scheme(Kind::Nats)?;
    let auth = if let Some(token) = env("NATS_TOKEN") {
        NatsAuth::Token(Secret::new(token))
    } else if let Some(seed) = env("NATS_NKEY") {
        NatsAuth::Nkey(Secret::new(seed))
    } else if let (Some(name), Some(password)) = (env("NATS_USERNAME"), env("NATS_PASSWORD")) {
        NatsAuth::User {
            name,
            password: Secret::new(password),
        }
    } else {
        match given.credentials {
            Some((name, Some(password))) => NatsAuth::User {
                name,
                password: Secret::new(password),
            },
            // NATS takes a user without password for a token.
            Some((token, None)) => NatsAuth::Token(Secret::new(token)),
            None => NatsAuth::None,
        }
    };
    Ok(Some(NatsServer {
        url: given.url,
        auth,
        tls: tls("NATS", env),
    }))
}

fn redis(flag: Option<&str>, env: Environment<'_>) -> Result<Option<RedisServer>, ServersError> {
    let Some(given) = Given::of(flag, "--redis", "REDIS_URL", env)? else {
        return Ok(None);
    };
    given.scheme(Kind::Redis)?;
    let in_url = given.credentials.and_then(|(_, password)| password);
    Ok(Some(RedisServer {
        url: given.url,
        password: env("REDIS_PASSWORD").or(in_url).map(Secret::new),
        tls: tls("REDIS", env),
    }))
}

fn gateway(
    flag: Option<&str>,
    env: Environment<'_>,
) -> Result<Option<GatewayServer>, ServersError> {
    let Some(given) = Given::of(flag, "--gateway", "CORDUM_GATEWAY", env)? else {
        return Ok(None);
    };
    given.scheme(Kind::Gateway)?;
    if given.credentials.is_some() {
        return Err(ServersError::SecretInFlag {
            flag: given.from,
            instead: "CORDUM_API_KEY",
        });
    }
    Ok(Some(GatewayServer {
        url: given.url,
        api_key: env("CORDUM_API_KEY").map(Secret::new),
        tenant: env(TENANT),
        ca: env("CORDUM_TLS_CA").map(PathBuf::from),
    }))
}

fn tls(prefix: &str, env: Environment<'_>) -> Tls {
    let file = |what: &str| env(&format!("{prefix}_TLS_{what}")).map(PathBuf::from);
    Tls {
        ca: file("CA"),
        cert: file("CERT"),
        key: file("KEY"),
    }
}

/// An address, taken apart.
struct Given {
    from: &'static str,
    url: String,
    credentials: Option<(String, Option<String>)>,
}

impl Given {
    fn of(
        flag: Option<&str>,
        flag_name: &'static str,
        variable: &'static str,
        env: Environment<'_>,
    ) -> Result<Option<Self>, ServersError> {
        let (text, from) = match flag {
            Some(text) => (text.to_owned(), flag_name),
            None => match env(variable) {
                Some(text) => (text, variable),
                None => return Ok(None),
            },
        };
        let (url, credentials) = apart(&text);
        if from == flag_name && credentials.is_some() {
            return Err(ServersError::SecretInFlag {
                flag: flag_name,
                instead: variable,
            });
        }
        Ok(Some(Self {
            from,
            url,
            credentials,
        }))
    }

    fn scheme(&self, kind: Kind) -> Result<(), ServersError> {
        let (allowed, says) = kind.schemes();
        match self.url.split_once("://") {
            Some((scheme, rest)) if allowed.contains(&scheme) && !rest.is_empty() => Ok(()),
            _ => Err(ServersError::NotAnAddress {
                from: self.from,
                says,
            }),
        }
    }
}

/// An address without its credentials, and the credentials. Of a list of
/// addresses the first one with credentials speaks for all.
fn apart(text: &str) -> (String, Option<(String, Option<String>)>) {
    let mut credentials = None;
    let addresses: Vec<String> = text
        .split(',')
        .map(|address| {
            let address = address.trim();
            let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
            let (host, tail) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let Some((user, host)) = host.rsplit_once('@') else {
                return address.to_owned();
            };
            credentials.get_or_insert_with(|| match user.split_once(':') {
                Some((name, password)) => (unescaped(name), Some(unescaped(password))),
                None => (unescaped(user), None),
            });
            format!("{scheme}://{host}{tail}")
        })
        .collect();
    (addresses.join(","), credentials)
}

/// Percent escapes of an address resolved; what is not one stays.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escape = (first == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escape {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// Who acts: `flag` (`--as`), else `CAPDECK_OPERATOR`, else `configured` (the
/// configuration file), else user@host.
pub fn operator(flag: Option<&str>, configured: Option<&str>, env: Environment<'_>) -> String {
    let given = flag.map(str::to_owned).or_else(|| env("CAPDECK_OPERATOR"));
    let given = given.or_else(|| configured.map(str::to_owned));
    given.unwrap_or_else(|| {
        let user = env("USER").or_else(|| env("LOGNAME"));
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .ok()
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .or_else(|| env("HOSTNAME"));
        format!(
            "{}@{}",
            user.as_deref().unwrap_or("unknown"),
            host.as_deref().unwrap_or("unknown")
        )
    })
}

/// Where the operator's log is: `capdeck/audit.jsonl` in the XDG state directory.
/// `None` when there is no home directory.
pub fn audit_log() -> Option<PathBuf> {
    use etcetera::BaseStrategy as _;
    let directories = etcetera::base_strategy::Xdg::new().ok()?;
    Some(directories.state_dir()?.join("capdeck/audit.jsonl"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(flags: &Addresses, env: &[(&str, &str)]) -> Result<Servers, ServersError> {
        servers(flags, &|name| {
            let found = env.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn flag(nats: &str) -> Addresses {
        Addresses {
            nats: Some(nats.to_owned()),
            ..Addresses::default()
        }
    }

    #[test]
    fn a_flag_goes_before_the_environment_and_secrets_come_from_there_alone() {
        let env = [
            ("NATS_URL", "nats://other:4222"),
            ("NATS_TOKEN", "t0ken"),
            ("NATS_TLS_CA", "/ca.pem"),
            ("CORDUM_GATEWAY", "https://gw:8081"),
            ("CORDUM_API_KEY", "key"),
        ];
        let servers = resolved(&flag("nats://here:4222"), &env).expect("servers");
        let nats = servers.nats.expect("nats");
        assert_eq!(nats.url, "nats://here:4222");
        assert_eq!(nats.auth, NatsAuth::Token(Secret::new("t0ken")));
        assert_eq!(nats.tls.ca, Some(PathBuf::from("/ca.pem")));
        let gateway = servers.gateway.expect("gateway");
        assert_eq!(gateway.api_key, Some(Secret::new("key")));
        assert!(servers.redis.is_none());
        assert!(!format!("{gateway:?}").contains("key\""));
    }

    #[test]
    fn credentials_in_a_variables_address_are_taken_out_of_it() {
        let env = [
            ("NATS_URL", "nats://ann:p%40ss@a:4222,nats://b:4222"),
            ("REDIS_URL", "rediss://:s3cret@r:6379/0"),
        ];
        let servers = resolved(&Addresses::default(), &env).expect("servers");
        let nats = servers.nats.expect("nats");
        assert_eq!(nats.url, "nats://a:4222,nats://b:4222");
        assert_eq!(
            nats.auth,
            NatsAuth::User {
                name: "ann".to_owned(),
                password: Secret::new("p@ss")
            }
        );
        let redis = servers.redis.expect("redis");
        assert_eq!(redis.url, "rediss://r:6379/0");
        assert_eq!(redis.password, Some(Secret::new("s3cret")));
    }

    #[test]
    fn secrets_in_flags_and_addresses_of_other_servers_are_refused() {
        let says = |flags: &Addresses| resolved(flags, &[]).expect_err("refused").to_string();
        assert_eq!(
            says(&flag("nats://token@h")),
            "--nats holds credentials, which every process on this machine could read"
        );
        assert_eq!(
            says(&flag("http://h:4222")),
            "--nats is not an address: one begins with nats:// or tls://"
        );
        assert_eq!(
            says(&flag("localhost:4222")),
            "--nats is not an address: one begins with nats:// or tls://"
        );
        let gateway = Addresses {
            gateway: Some("localhost:8081".to_owned()),
            ..Addresses::default()
        };
        assert_eq!(
            says(&gateway),
            "--gateway is not an address: one begins with http:// or https://"
        );
    }

    #[test]
    fn the_operator_is_the_flag_the_variable_the_configured_or_user_at_host() {
        let env = |name: &str| match name {
            "USER" => Some("ann".to_owned()),
            _ => None,
        };
        let cleo = |_: &str| Some("cleo".to_owned());
        assert_eq!(operator(Some("bob"), Some("dan"), &cleo), "bob");
        assert_eq!(operator(None, Some("dan"), &cleo), "cleo");
        assert_eq!(operator(None, Some("dan"), &env), "dan");
        assert!(operator(None, None, &env).starts_with("ann@"));
    }
}
