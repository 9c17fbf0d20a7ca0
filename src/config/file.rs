//! The configuration file as it is written: TOML in, [`FileConfig`] or an error
//! with its line out.
//!
//! Knows which keys there are and of which type; what the values mean together
//! is decided by [`Config`](super::contexts::Config). Start at [`read`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::nearest::nearest;

/// The keys outside of tables.
pub(super) const TOP: &[&str] = &[
    "current",
    "operator",
    "theme",
    "ascii",
    "bell",
    "read_only",
    "keys",
    "contexts",
];

/// The keys of a context.
pub(super) const CONTEXT: &[&str] = &[
    "nats",
    "gateway",
    "redis",
    "tenant",
    "production",
    "frame",
    "read_only",
];

/// A place in the file; shown as `file:line`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The file.
    pub file: Arc<Path>,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// A value, and where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it is written.
    pub place: Place,
}

/// Why the configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file says something that means nothing.
    #[error("{place}: {says}")]
    Bad {
        /// Where.
        place: Place,
        /// What is wrong.
        says: String,
        /// What to write instead, if that is known.
        hint: Option<String>,
    },
    /// No context has the name that the command line gives.
    #[error("no context is called `{name}`")]
    NoSuchContext {
        /// The name.
        name: String,
        /// The names of the file.
        known: Vec<String>,
    },
}

impl ConfigError {
    /// What to try.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { .. } => None,
            Self::Bad { hint, .. } => hint.clone(),
            Self::NoSuchContext { known, .. } if known.is_empty() => Some(
                "the configuration has no contexts; `capdeck config print` shows how to write one"
                    .to_owned(),
            ),
            Self::NoSuchContext { name, known } => {
                let known = known.iter().map(String::as_str);
                let meant = nearest(name, known.clone())
                    .map(|name| format!("; did you mean `{name}`?"))
                    .unwrap_or_default();
                let known: Vec<&str> = known.collect();
                Some(format!("the contexts are {}{meant}", known.join(", ")))
            }
        }
    }

    pub(super) fn bad(place: &Place, says: impl Into<String>, hint: Option<String>) -> Self {
        Self::Bad {
            place: place.clone(),
            says: says.into(),
            hint,
        }
    }
}

/// The hint of a wrong name: the nearest valid one, or all there are.
pub(super) fn meant<'a>(given: &str, valid: impl IntoIterator<Item = &'a str>) -> String {
    let valid: Vec<&str> = valid.into_iter().collect();
    match nearest(given, valid.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("it is one of {}", valid.join(", ")),
    }
}

/// What the file says, as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileConfig {
    /// `current`.
    pub current: Option<Placed<String>>,
    /// `operator`.
    pub operator: Option<Placed<String>>,
    /// `theme`.
    pub theme: Option<Placed<String>>,
    /// `ascii`.
    pub ascii: Option<Placed<bool>>,
    /// `bell`.
    pub bell: Option<Placed<bool>>,
    /// `read_only`.
    pub read_only: Option<Placed<bool>>,
    /// `[keys]`, in the order of the file.
    pub keys: Vec<FileKey>,
    /// `[contexts.NAME]`, in the order of the file.
    pub contexts: Vec<FileContext>,
}

/// One line of `[keys]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileKey {
    /// The name of the action, which the key table knows.
    pub action: Placed<String>,
    /// Its chords, which the key table reads.
    pub chords: Vec<String>,
}

/// One `[contexts.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileContext {
    /// The name.
    pub name: Placed<String>,
    /// `nats`.
    pub nats: Option<Placed<String>>,
    /// `gateway`.
    pub gateway: Option<Placed<String>>,
    /// `redis`.
    pub redis: Option<Placed<String>>,
    /// `tenant`.
    pub tenant: Option<Placed<String>>,
    /// `production`.
    pub production: Option<Placed<bool>>,
    /// `frame`.
    pub frame: Option<Placed<String>>,
    /// `read_only`.
    pub read_only: Option<Placed<bool>>,
}

/// Reads the text of `file`.
///
/// # Errors
/// [`ConfigError::Bad`] for the first thing that is not TOML, that no key is
/// called, or that is of the wrong type.
pub fn read(text: &str, file: &Path) -> Result<FileConfig, ConfigError> {
    let reader = Reader {
        text,
        file: Arc::from(file),
    };
    let root = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let says = error.message().lines().collect::<Vec<_>>().join("; ");
        ConfigError::bad(&reader.place(at), says, None)
    })?;
    let mut config = FileConfig::default();
    for (key, value) in in_order(root.get_ref()) {
        match key.get_ref().as_ref() {
            "current" => config.current = Some(reader.text("current", value)?),
            "operator" => config.operator = Some(reader.text("operator", value)?),
            "theme" => config.theme = Some(reader.text("theme", value)?),
            "ascii" => config.ascii = Some(reader.switch("ascii", value)?),
            "bell" => config.bell = Some(reader.switch("bell", value)?),
            "read_only" => config.read_only = Some(reader.switch("read_only", value)?),
            "keys" => config.keys = reader.keys(value)?,
            "contexts" => config.contexts = reader.contexts(value)?,
            other => {
                // A key of a context, written above its table.
                let hint = match CONTEXT.contains(&other) {
                    true => "it belongs into a table `[contexts.NAME]`".to_owned(),
                    false => meant(other, TOP.iter().copied()),
                };
                let place = reader.place(key.span().start);
                let says = format!("no setting is called `{other}`");
                return Err(ConfigError::bad(&place, says, Some(hint)));
            }
        }
    }
    Ok(config)
}

type Key<'a> = Spanned<std::borrow::Cow<'a, str>>;
type Value<'a> = Spanned<DeValue<'a>>;

/// Tables are sorted by name; errors and key tables want the order of the file.
fn in_order<'t, 'a>(table: &'t DeTable<'a>) -> Vec<(&'t Key<'a>, &'t Value<'a>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

struct Reader<'a> {
    text: &'a str,
    file: Arc<Path>,
}

impl Reader<'_> {
    fn place(&self, at: usize) -> Place {
        let before = self.text.as_bytes().iter().take(at);
        Place {
            file: Arc::clone(&self.file),
            line: before.filter(|byte| **byte == b'\n').count() + 1,
        }
    }

    fn wants(&self, value: &Value<'_>, name: &str, wanted: &str) -> ConfigError {
        let says = format!("`{name}` wants {wanted}");
        ConfigError::bad(&self.place(value.span().start), says, None)
    }

    fn text(&self, name: &str, value: &Value<'_>) -> Result<Placed<String>, ConfigError> {
        match value.get_ref() {
            DeValue::String(text) if !text.trim().is_empty() => Ok(Placed {
                value: text.clone().into_owned(),
                place: self.place(value.span().start),
            }),
            _ => Err(self.wants(value, name, "a text in quotes")),
        }
    }

    fn switch(&self, name: &str, value: &Value<'_>) -> Result<Placed<bool>, ConfigError> {
        match value.get_ref() {
            DeValue::Boolean(on) => Ok(Placed {
                value: *on,
                place: self.place(value.span().start),
            }),
            _ => Err(self.wants(value, name, "true or false")),
        }
    }

    fn keys(&self, value: &Value<'_>) -> Result<Vec<FileKey>, ConfigError> {
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.wants(value, "keys", "a table `[keys]`"));
        };
        let mut keys = Vec::new();
        for (key, value) in in_order(table) {
            let action = key.get_ref().as_ref();
            let wants = || self.wants(value, action, "a key in quotes, or a list of keys");
            let chords = match value.get_ref() {
                DeValue::String(chord) => vec![chord.clone().into_owned()],
                DeValue::Array(chords) => chords
                    .iter()
                    .map(|chord| match chord.get_ref() {
                        DeValue::String(chord) => Ok(chord.clone().into_owned()),
                        _ => Err(wants()),
                    })
                    .collect::<Result<_, _>>()?,
                _ => return Err(wants()),
            };
            keys.push(FileKey {
                action: Placed {
                    value: action.to_owned(),
                    place: self.place(key.span().start),
                },
                chords,
            });
        }
        Ok(keys)
    }

    fn contexts(&self, value: &Value<'_>) -> Result<Vec<FileContext>, ConfigError> {
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.wants(value, "contexts", "tables `[contexts.NAME]`"));
        };
        in_order(table)
            .into_iter()
            .map(|(key, value)| self.context(key, value))
            .collect()
    }

    fn context(&self, key: &Key<'_>, value: &Value<'_>) -> Result<FileContext, ConfigError> {
        let name = key.get_ref().as_ref();
        let DeValue::Table(table) = value.get_ref() else {
            let table = format!("to be a table `[contexts.{name}]`");
            return Err(self.wants(value, name, &table));
        };
        let mut context = FileContext {
            name: Placed {
                value: name.to_owned(),
                place: self.place(key.span().start),
            },
            nats: None,
            gateway: None,
            redis: None,
            tenant: None,
            production: None,
            frame: None,
            read_only: None,
        };
        for (key, value) in in_order(table) {
            match key.get_ref().as_ref() {
                "nats" => context.nats = Some(self.text("nats", value)?),
                "gateway" => context.gateway = Some(self.text("gateway", value)?),
                "redis" => context.redis = Some(self.text("redis", value)?),
                "tenant" => context.tenant = Some(self.text("tenant", value)?),
                "production" => context.production = Some(self.switch("production", value)?),
                "frame" => context.frame = Some(self.text("frame", value)?),
                "read_only" => context.read_only = Some(self.switch("read_only", value)?),
                other => {
                    let says = format!("no setting of a context is called `{other}`");
                    let hint = meant(other, CONTEXT.iter().copied());
                    let place = self.place(key.span().start);
                    return Err(ConfigError::bad(&place, says, Some(hint)));
                }
            }
        }
        Ok(context)
    }
}
