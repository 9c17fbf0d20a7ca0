//! Views that the operator keeps by name: a list and its filter.
//!
//! They live in `views.toml` beside the configuration, in a file of their own,
//! because the console writes it and never writes what a person wrote:
//! ```toml
//! [pending]
//! view = "jobs"
//! filter = "state:pending"
//! ```
//! What the words mean is decided by the screen. Start at [`load`] and [`keep`].

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::contexts;
use super::servers::Environment;

/// Views that are kept at most: more than a palette can offer.
pub const MOST: usize = 200;

/// A view as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptView {
    /// The view, by its name: `jobs`, `approvals` or `workers`.
    pub view: String,
    /// The filter as it was typed.
    pub filter: String,
}

/// All views of a file, by name.
pub type KeptViews = BTreeMap<String, KeptView>;

/// Why kept views cannot be read or written.
#[derive(Debug, Error)]
pub enum ViewsError {
    /// The file cannot be read.
    #[error("cannot read the kept views in {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what this console writes.
    #[error("{}:{line}: {says}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        says: String,
    },
    /// There are [`MOST`] already.
    #[error("{} holds {MOST} views already; take one out of it first", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("cannot write the kept views to {}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// `views.toml` beside the configuration of this user; `None` without a home.
pub fn path(env: Environment<'_>) -> Option<PathBuf> {
    Some(contexts::path(env)?.with_file_name("views.toml"))
}

/// The views in the file at `path`; none if there is no file.
///
/// # Errors
/// [`ViewsError::Unreadable`] and [`ViewsError::Bad`].
pub fn load(path: &Path) -> Result<KeptViews, ViewsError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(KeptViews::new()),
        Err(source) => {
            let path = path.to_path_buf();
            return Err(ViewsError::Unreadable { path, source });
        }
    };
    toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        ViewsError::Bad {
            path: path.to_path_buf(),
            line: text[..at].matches('\n').count() + 1,
            says: error.message().lines().collect::<Vec<_>>().join("; "),
        }
    })
}

/// Keeps `view` as `name`, or forgets it: the file is read again first, so that
/// what another console kept stays, and it is replaced whole or not at all.
///
/// # Errors
/// Those of [`load`], [`ViewsError::Full`] and [`ViewsError::Unwritable`].
pub fn keep(path: &Path, name: &str, view: Option<KeptView>) -> Result<(), ViewsError> {
    let mut views = load(path)?;
    match view {
        Some(view) => {
            if views.len() >= MOST && !views.contains_key(name) {
                let path = path.to_path_buf();
                return Err(ViewsError::Full { path });
            }
            views.insert(name.to_owned(), view);
        }
        None => {
            views.remove(name);
        }
    }
    write(path, &views).map_err(|source| ViewsError::Unwritable {
        path: path.to_path_buf(),
        source,
    })
}

fn write(path: &Path, views: &KeptViews) -> std::io::Result<()> {
    let text = toml::to_string(views).map_err(std::io::Error::other)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let next = path.with_extension(format!("toml.{}", std::process::id()));
    let mut file = std::fs::File::create(&next)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&next, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(filter: &str) -> KeptView {
        KeptView {
            view: "jobs".to_owned(),
            filter: filter.to_owned(),
        }
    }

    #[test]
    fn what_is_kept_is_there_again_and_goes_when_it_is_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/views.toml");
        assert_eq!(load(&path).expect("none yet"), KeptViews::new());
        keep(&path, "a", Some(view("state:pending"))).expect("kept");
        keep(&path, "b", Some(view("topic:\"x y\""))).expect("kept");
        keep(&path, "a", Some(view("age>5m"))).expect("kept again");
        let there = load(&path).expect("read");
        assert_eq!(there["a"], view("age>5m"));
        assert_eq!(there["b"], view("topic:\"x y\""));
        keep(&path, "a", None).expect("forgotten");
        let left: Vec<String> = load(&path).expect("read").into_keys().collect();
        assert_eq!(left, ["b"]);
        let files = std::fs::read_dir(path.parent().expect("a folder")).expect("read");
        assert_eq!(files.count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_broken_file_is_named_with_its_line_and_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("views.toml");
        let text = "[a]\nview = \"jobs\"\nfilter = \"x\"\nfitler = \"y\"\n";
        std::fs::write(&path, text).expect("written");
        let error = keep(&path, "b", Some(view("z"))).expect_err("broken");
        let says = error.to_string();
        assert!(
            says.contains("views.toml:4: unknown field `fitler`"),
            "{says}"
        );
        assert_eq!(std::fs::read_to_string(&path).expect("read"), text);
    }
}
