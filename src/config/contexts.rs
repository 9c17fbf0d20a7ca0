//! The configuration in force, and which deployment a command speaks to.
//!
//! A context is one deployment. Its servers are never mixed with those that the
//! environment names, and with those of flags only where the command line asks
//! for both: approving at one place what was read at another would be worse than
//! any typing saved. Start at [`deployment`].

use std::path::{Path, PathBuf};

use super::Servers;
use super::file::{self, ConfigError, FileConfig, FileContext, Placed, meant};
use super::servers::{self, Addresses, Environment, Kind, ServersError};

/// The longest name of a context: it stands in the header of every screen.
const LONGEST_NAME: usize = 24;

/// What the configuration file asks for, checked; the default where there is none.
///
/// The names of the theme, of roles and of keys stay text: who draws resolves them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The context that is used when none is named; one of `contexts`.
    pub current: Option<String>,
    /// The name that decisions are recorded under.
    pub operator: Option<String>,
    /// The theme to start with.
    pub theme: Option<Placed<String>>,
    /// Draw with ASCII signs only.
    pub ascii: bool,
    /// Whether the bell never rings.
    pub silent: bool,
    /// Change nothing, unless a context says otherwise.
    pub read_only: bool,
    /// Keys in place of the default ones.
    pub keys: Vec<file::FileKey>,
    /// The deployments, in the order of the file.
    pub contexts: Vec<Context>,
}

/// One deployment of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Its name.
    pub name: String,
    /// Its servers, without credentials; at least one.
    pub addresses: Addresses,
    /// The tenant to speak for.
    pub tenant: Option<String>,
    /// What happens here happens to customers.
    pub production: bool,
    /// The role of its block in the header.
    pub frame: Option<Placed<String>>,
    /// Whether to change nothing; `None` leaves it to [`Config::read_only`].
    pub read_only: Option<bool>,
}

/// The servers of a command, and the context they are of.
#[derive(Clone, Debug, Default)]
pub struct Deployment {
    /// The servers; none where none is configured.
    pub servers: Servers,
    /// The context; `None` where flags or environment name the servers alone.
    pub context: Option<Context>,
}

/// The file that configures this user: `CAPDECK_CONFIG`, else
/// `capdeck/config.toml` in the XDG configuration directory. `None` when there is
/// no home directory.
pub fn path(env: Environment<'_>) -> Option<PathBuf> {
    use etcetera::BaseStrategy as _;
    env("CAPDECK_CONFIG").map(PathBuf::from).or_else(|| {
        let directories = etcetera::base_strategy::Xdg::new().ok()?;
        Some(directories.config_dir().join("capdeck/config.toml"))
    })
}

/// The configuration of this user. No file is the default, unless
/// `CAPDECK_CONFIG` promises one.
///
/// # Errors
/// [`ConfigError`] for a file that cannot be read, and for the first thing in it
/// that cannot be used.
pub fn load(env: Environment<'_>) -> Result<Config, ConfigError> {
    let Some(path) = path(env) else {
        return Ok(Config::default());
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => Config::read(&text, &path),
        Err(source)
            if source.kind() == std::io::ErrorKind::NotFound && env("CAPDECK_CONFIG").is_none() =>
        {
            Ok(Config::default())
        }
        Err(source) => Err(ConfigError::Unreadable { path, source }),
    }
}

impl Config {
    /// The configuration that `text`, the content of `file`, asks for.
    ///
    /// # Errors
    /// [`ConfigError::Bad`] for the first thing that cannot be used.
    pub fn read(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let typed: FileConfig = file::read(text, file)?;
        let contexts = typed
            .contexts
            .into_iter()
            .map(Context::checked)
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(current) = &typed.current
            && contexts.iter().all(|it| it.name != current.value)
        {
            let says = format!("`current` names no context: `{}`", current.value);
            let hint = match contexts.is_empty() {
                true => "write a table `[contexts.NAME]`".to_owned(),
                false => meant(&current.value, contexts.iter().map(|it| it.name.as_str())),
            };
            return Err(ConfigError::bad(&current.place, says, Some(hint)));
        }
        Ok(Self {
            current: typed.current.map(|it| it.value),
            operator: typed.operator.map(|it| it.value),
            theme: typed.theme,
            ascii: typed.ascii.is_some_and(|it| it.value),
            silent: typed.bell.is_some_and(|it| !it.value),
            read_only: typed.read_only.is_some_and(|it| it.value),
            keys: typed.keys,
            contexts,
        })
    }

    /// The context called `name`.
    ///
    /// # Errors
    /// [`ConfigError::NoSuchContext`] with the names there are.
    pub fn context(&self, name: &str) -> Result<&Context, ConfigError> {
        let found = self.contexts.iter().find(|it| it.name == name);
        found.ok_or_else(|| ConfigError::NoSuchContext {
            name: name.to_owned(),
            known: self.contexts.iter().map(|it| it.name.clone()).collect(),
        })
    }

    /// Whether nothing may be changed in `context`.
    pub fn is_read_only(&self, context: Option<&Context>) -> bool {
        context
            .and_then(|context| context.read_only)
            .unwrap_or(self.read_only)
    }
}

impl Context {
    fn checked(typed: FileContext) -> Result<Self, ConfigError> {
        let name = &typed.name.value;
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(letter) {
            let says = format!(
                "`{name}` cannot name a context: 1 to {LONGEST_NAME} of letters, digits, `-`, `_` and `.`"
            );
            return Err(ConfigError::bad(&typed.name.place, says, None));
        }
        let addresses = Addresses {
            nats: address(Kind::Nats, typed.nats)?,
            gateway: address(Kind::Gateway, typed.gateway)?,
            redis: address(Kind::Redis, typed.redis)?,
        };
        if addresses == Addresses::default() {
            let says = format!("context `{name}` names no server");
            let hint = Some("write `nats = \"nats://host:4222\"`, or `gateway`".to_owned());
            return Err(ConfigError::bad(&typed.name.place, says, hint));
        }
        Ok(Self {
            addresses,
            tenant: typed.tenant.map(|it| it.value),
            production: typed.production.is_some_and(|it| it.value),
            frame: typed.frame,
            read_only: typed.read_only.map(|it| it.value),
            name: typed.name.value,
        })
    }
}

fn address(kind: Kind, given: Option<Placed<String>>) -> Result<Option<String>, ConfigError> {
    let Some(given) = given else { return Ok(None) };
    match servers::plain(kind, &given.value) {
        Ok(()) => Ok(Some(given.value)),
        Err(ServersError::SecretInFlag { flag, instead }) => {
            let says = format!("`{flag}` holds credentials, which do not belong into this file");
            let hint = format!("put the secret into the environment as {instead}");
            Err(ConfigError::bad(&given.place, says, Some(hint)))
        }
        Err(ServersError::NotAnAddress { from, says }) => {
            let says = format!("`{from}` is not an address: {says}");
            Err(ConfigError::bad(&given.place, says, None))
        }
    }
}

/// Why no deployment can be found.
#[derive(Debug, thiserror::Error)]
pub enum DeploymentError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A flag or a variable.
    #[error(transparent)]
    Servers(#[from] ServersError),
}

/// Which deployment is meant: the context called `named` (`--context`), with
/// `flags` before its servers; else the servers of flags and environment, where
/// they name any; else the current context of the file.
///
/// Keys, tokens and certificates come from the environment in every case.
///
/// # Errors
/// [`DeploymentError`] for an unknown context, and for what cannot be an address
/// or brings a secret by flag.
pub fn deployment(
    config: &Config,
    named: Option<&str>,
    flags: &Addresses,
    env: Environment<'_>,
) -> Result<Deployment, DeploymentError> {
    let given = *flags != Addresses::default()
        || Kind::ALL.iter().any(|kind| env(kind.variable()).is_some());
    let context = match (named, &config.current) {
        (Some(name), _) => Some(config.context(name)?),
        (None, Some(_)) if given => None,
        (None, Some(current)) => Some(config.context(current)?),
        (None, None) => None,
    };
    let Some(context) = context else {
        // Flags name a deployment, and so do the variables: it may be another one.
        let by_flag = |name: &str| {
            let is_address = Kind::ALL.iter().any(|kind| kind.variable() == name);
            env(name).filter(|_| !is_address)
        };
        let alone = *flags != Addresses::default();
        let servers = if alone {
            servers::servers(flags, &by_flag)?
        } else {
            servers::servers(flags, env)?
        };
        return Ok(Deployment {
            servers,
            context: None,
        });
    };
    let chosen = |name: &str| match Kind::ALL.iter().find(|kind| kind.variable() == name) {
        Some(kind) => context.addresses.of(*kind).map(str::to_owned),
        None if name == servers::TENANT => match named {
            Some(_) => context.tenant.clone().or_else(|| env(name)),
            None => env(name).or_else(|| context.tenant.clone()),
        },
        None => env(name),
    };
    Ok(Deployment {
        servers: servers::servers(flags, &chosen)?,
        context: Some(context.clone()),
    })
}

#[cfg(test)]
mod tests;
