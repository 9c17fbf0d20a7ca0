//! Files that hold secrets: read only where nobody but their owner can use them.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Permission bits of a file that others can use.
const OTHERS: u32 = 0o077;

/// Why a file with a secret is not used. No message repeats the secret.
#[derive(Debug, Error)]
pub enum PrivateFileError {
    /// It cannot be read.
    #[error("cannot read {what} in `{}`", path.display())]
    Unreadable {
        /// What it should hold, such as `the API keys`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Others can read or change it.
    #[error("`{}` holds {what} and others can use it: mode {mode:o}, needed is 600", path.display())]
    Exposed {
        /// What it holds.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl PrivateFileError {
    /// What can be done about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exposed { path, .. } => Some(format!("chmod 600 {}", path.display())),
            Self::Unreadable { .. } => None,
        }
    }
}

/// Reads a text of at most `most` bytes that holds `what`.
///
/// # Errors
/// [`PrivateFileError`], also for a longer one.
pub fn read(what: &'static str, path: &Path, most: u64) -> Result<String, PrivateFileError> {
    let unreadable = |source| PrivateFileError::Unreadable {
        what,
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(PrivateFileError::Exposed {
            what,
            path: path.to_owned(),
            mode,
        });
    }
    let mut content = String::new();
    file.take(most + 1)
        .read_to_string(&mut content)
        .map_err(unreadable)?;
    if content.len() as u64 > most {
        let says = format!("it is longer than {most} bytes");
        return Err(unreadable(std::io::Error::other(says)));
    }
    Ok(content)
}
