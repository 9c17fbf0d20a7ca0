//! The operator's log: what was asked of the plane, by whom, and what came of it.
//!
//! An append-only file of JSON lines. A line is on the disk before the request
//! that it records is sent, and a second one follows with the outcome. Every line
//! carries the hash of the one before, so [`verify`] finds a changed byte, a
//! removed and an inserted line; a small file beside the log remembers its end,
//! so that lines cut off there are found too. There is no secret in it: whoever
//! can write both files can write another history. For that, ship the lines
//! elsewhere as they come.
//!
//! Start at [`AuditLog::append`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::time::Timestamp;

#[cfg(test)]
mod tests;
mod verify;

pub use verify::{Damage, Finding, Report, verify};

/// A text in a line is cut to this many characters: a note is a sentence, and a
/// line has to fit the block that is read to find the last one.
const MAX_TEXT: usize = 1_000;
/// At most this many members in the detail of a line.
const MAX_DETAIL: usize = 16;
/// No line is longer, in bytes: 20 texts of four-byte characters, escaped.
const MAX_LINE: usize = 256 << 10;
/// What the first line names as the one before.
const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// The action of the line that follows one which a crash cut short.
const RECOVERED: &str = "log.recovered";

/// Why the log could not be written or read.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The file system refused.
    #[error("cannot {what} the operator log {path}")]
    Io {
        /// The operation, as a verb.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// Its last line is not one of ours, so nothing can be chained to it.
    #[error("the operator log {path} ends with a line that is not one of its own")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// Something that an operator asks of the plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub operator: String,
    /// What, such as `approve`.
    pub action: String,
    /// To what, a job id in most cases.
    pub object: String,
    /// More facts, such as the note, the job hash and the server.
    pub detail: BTreeMap<String, String>,
}

/// A line that is on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its number, from 1.
    pub seq: u64,
    entry: Entry,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    seq: u64,
    at: String,
    operator: String,
    action: String,
    object: String,
    detail: BTreeMap<String, String>,
    prev: String,
}

impl Line {
    fn new(seq: u64, prev: &str, entry: &Entry) -> Self {
        let detail = entry.detail.iter().take(MAX_DETAIL);
        Self {
            seq,
            at: entry.at.to_string(),
            operator: cut(&entry.operator),
            action: cut(&entry.action),
            object: cut(&entry.object),
            detail: detail.map(|(k, v)| (cut(k), cut(v))).collect(),
            prev: prev.to_owned(),
        }
    }

    /// The line as it is written, with its line break, and its hash.
    fn sealed(&self) -> (String, String) {
        let mut text = serde_json::to_string(self).expect("texts and a number are always JSON");
        let hash = hex_of(text.as_bytes());
        text.pop();
        text.push_str(SEAL);
        text.push_str(&hash);
        text.push_str("\"}\n");
        (text, hash)
    }
}

/// What stands between the hashed part of a line and its hash.
const SEAL: &str = ",\"hash\":\"";

/// Reads a line without its line break: what it says, the hash it claims, and
/// whether the hash is that of its bytes.
fn unseal(text: &[u8]) -> Option<(Line, String, bool)> {
    let text = std::str::from_utf8(text).ok()?;
    let (hashed, claimed) = text.strip_suffix("\"}")?.rsplit_once(SEAL)?;
    let whole = format!("{hashed}}}");
    let line = serde_json::from_str(&whole).ok()?;
    let honest = hex_of(whole.as_bytes()) == claimed;
    Some((line, claimed.to_owned(), honest))
}

/// The log in one file. Several processes may append to it.
#[derive(Clone, Debug)]
pub struct AuditLog {
    path: PathBuf,
}

impl AuditLog {
    /// The log at `path`; nothing is touched before the first line.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes one line and waits until the disk has it. Blocks for milliseconds,
    /// longer while another process writes.
    ///
    /// # Errors
    /// [`AuditError`]; the request must then not be sent.
    pub fn append(&self, entry: &Entry) -> Result<Receipt, AuditError> {
        let seq = self.write(entry)?;
        Ok(Receipt {
            seq,
            entry: entry.clone(),
        })
    }

    /// Writes what came of the action behind `receipt`: a word such as `done`,
    /// `refused`, `failed` or `unknown`, and the server's words.
    ///
    /// # Errors
    /// [`AuditError`]; the action is recorded all the same.
    pub fn outcome(
        &self,
        receipt: &Receipt,
        at: Timestamp,
        outcome: &str,
        says: &str,
    ) -> Result<(), AuditError> {
        let mut detail = BTreeMap::from([
            ("of".to_owned(), receipt.seq.to_string()),
            ("outcome".to_owned(), outcome.to_owned()),
        ]);
        if !says.is_empty() {
            detail.insert("says".to_owned(), says.to_owned());
        }
        self.write(&Entry {
            at,
            action: format!("{}.outcome", receipt.entry.action),
            detail,
            ..receipt.entry.clone()
        })?;
        Ok(())
    }

    fn write(&self, entry: &Entry) -> Result<u64, AuditError> {
        let failed = |what| {
            move |source| AuditError::Io {
                what,
                path: self.path.clone(),
                source,
            }
        };
        if let Some(directory) = self.path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(failed("create the directory of"))?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)
            .map_err(failed("open"))?;
        // The lock ends with the file, also when this process is killed.
        file.lock().map_err(failed("lock"))?;
        only_for_its_owner(&file).map_err(failed("protect"))?;
        let end = End::of(&mut file).map_err(failed("read"))?;
        let (mut seq, mut prev, mut lines) = (end.seq, end.prev, String::new());
        if end.foreign {
            return Err(AuditError::Damaged {
                path: self.path.clone(),
            });
        }
        if !end.torn.is_empty() {
            // A crash cut the last line short, so its request was never sent. It
            // stays, and the next line vouches for its bytes.
            lines.push('\n');
            let recovered = Entry {
                action: RECOVERED.to_owned(),
                object: String::new(),
                detail: BTreeMap::from([("torn_sha256".to_owned(), hex_of(&end.torn))]),
                ..entry.clone()
            };
            seq += 1;
            let (text, hash) = Line::new(seq, &prev, &recovered).sealed();
            lines.push_str(&text);
            prev = hash;
        }
        seq += 1;
        let (text, hash) = Line::new(seq, &prev, entry).sealed();
        lines.push_str(&text);
        file.write_all(lines.as_bytes()).map_err(failed("write"))?;
        file.sync_data().map_err(failed("write"))?;
        self.remember(seq, &hash)
            .map_err(failed("remember the end of"))?;
        Ok(seq)
    }

    fn remember(&self, seq: u64, hash: &str) -> io::Result<()> {
        let path = end_path(&self.path);
        let mut fresh = path.clone().into_os_string();
        fresh.push(".new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        writeln!(file, "{seq} {hash}")?;
        file.sync_data()?;
        std::fs::rename(&fresh, &path)
    }
}

/// Where a log ends.
struct End {
    seq: u64,
    prev: String,
    /// Bytes after the last line break.
    torn: Vec<u8>,
    /// The last whole line is not one of ours.
    foreign: bool,
}

impl End {
    fn of(file: &mut File) -> io::Result<Self> {
        let len = file.seek(SeekFrom::End(0))?;
        // Twice the longest line, so that a torn one and a whole one fit.
        let block = len.min(2 * MAX_LINE as u64);
        file.seek(SeekFrom::Start(len - block))?;
        let mut bytes = Vec::new();
        file.take(block).read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n');
        let torn = bytes.split_off(whole.map_or(0, |at| at + 1));
        bytes.pop();
        let last = bytes.rsplit(|&byte| byte == b'\n').next();
        Ok(match last {
            None | Some([]) => Self {
                seq: 0,
                prev: BEGINNING.to_owned(),
                torn,
                foreign: whole.is_some(),
            },
            Some(last) => match unseal(last) {
                Some((line, hash, _)) => Self {
                    seq: line.seq,
                    prev: hash,
                    torn,
                    foreign: false,
                },
                None => Self {
                    seq: 0,
                    prev: String::new(),
                    torn,
                    foreign: true,
                },
            },
        })
    }
}

/// The file beside the log at `log` that remembers its last line.
pub fn end_path(log: &Path) -> PathBuf {
    let mut path = log.as_os_str().to_owned();
    path.push(".end");
    path.into()
}

fn remembered_end(log: &Path) -> Option<(u64, String)> {
    let text = std::fs::read_to_string(end_path(log)).ok()?;
    let (seq, hash) = text.trim_end().split_once(' ')?;
    Some((seq.parse().ok()?, hash.to_owned()))
}

fn only_for_its_owner(file: &File) -> io::Result<()> {
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(0o600))
}

fn hex_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ok = write!(hex, "{byte:02x}");
            hex
        })
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
