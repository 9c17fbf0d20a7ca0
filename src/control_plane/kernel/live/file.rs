//! Policy files: reading them, their signature included, and seeing that they changed.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thiserror::Error;

use crate::control_plane::kernel::policy::{MAX_POLICY_BYTES, Policy, PolicyError};
use crate::control_plane::kernel::signature::{self, BadSignature, MAX_SIGNATURE_FILE, PolicyKey};

/// Why a policy file cannot be used.
#[derive(Debug, Error)]
pub enum PolicyFileError {
    /// It cannot be read.
    #[error("cannot read the policy file `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is not a policy.
    #[error("the policy file `{}` cannot be used", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: PolicyError,
    },
    /// A key is configured, and there is no signature to check.
    #[error("cannot read the signature `{}` of the policy file", path.display())]
    Unsigned {
        /// The file of the signature.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A key is configured, and the signature is not good.
    #[error("the signature `{}` of the policy file is refused", path.display())]
    BadSignature {
        /// The file of the signature.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: BadSignature,
    },
}

impl PolicyFileError {
    pub(super) fn in_full(&self) -> String {
        match self {
            Self::Unreadable { source, .. } | Self::Unsigned { source, .. } => {
                format!("{self}: {source}")
            }
            Self::Invalid { source, .. } => format!("{self}: {source}"),
            Self::BadSignature { source, .. } => format!("{self}: {source}"),
        }
    }
}

/// Reads a policy file, and with a key its signature first.
///
/// # Errors
/// [`PolicyFileError`] when it cannot be read, is not signed by the key, or is not
/// a policy.
pub fn read_file(path: &Path, key: Option<&PolicyKey>) -> Result<Policy, PolicyFileError> {
    let content =
        read_bytes(path, MAX_POLICY_BYTES).map_err(|source| PolicyFileError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
    if let Some(key) = key {
        let beside = signature::beside(path);
        let signed = read_bytes(&beside, MAX_SIGNATURE_FILE).map_err(|source| {
            PolicyFileError::Unsigned {
                path: beside.clone(),
                source,
            }
        })?;
        key.verify(&content, &signed)
            .map_err(|source| PolicyFileError::BadSignature {
                path: beside,
                source,
            })?;
    }
    parse(path, &content)
}

/// Reads at most one byte more than a file may have, so that one that is far too
/// long is refused without being read.
fn read_bytes(path: &Path, most: usize) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut content = Vec::new();
    std::fs::File::open(path)?
        .take(most as u64 + 1)
        .read_to_end(&mut content)?;
    Ok(content)
}

fn parse(path: &Path, content: &[u8]) -> Result<Policy, PolicyFileError> {
    Policy::parse(content).map_err(|source| PolicyFileError::Invalid {
        path: path.to_owned(),
        source,
    })
}

/// A policy file, and whose signature it must carry, if any.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) key: Option<PolicyKey>,
}

impl Source {
    pub(super) fn read(&self) -> Result<Policy, PolicyFileError> {
        read_file(&self.path, self.key.as_ref())
    }

    /// `None` when one of its files is not there.
    pub(super) fn stamp(&self) -> Option<[Option<Stamp>; 2]> {
        let policy = Stamp::of(&self.path)?;
        let signature = match self.key {
            None => None,
            Some(_) => Some(Stamp::of(&signature::beside(&self.path))?),
        };
        Some([Some(policy), signature])
    }
}

/// What tells a changed file from an unchanged one without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let meta = std::fs::metadata(path).ok()?;
        Some(Self {
            modified: meta.modified().ok(),
            len: meta.len(),
        })
    }
}
