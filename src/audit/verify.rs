//! Whether a log is what was written: every line, and that none is missing.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use thiserror::Error;

use super::{AuditError, BEGINNING, Line, MAX_LINE, RECOVERED, hex_of, remembered_end, unseal};

/// At most this many findings are reported; the log is broken either way.
const MAX_FINDINGS: usize = 20;

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Report {
    /// Lines of the log.
    pub lines: u64,
    /// When its last readable line was written, as it says.
    pub last_at: Option<String>,
    /// Whether there is a remembered end to compare with. Without it, lines cut
    /// off at the end cannot be found.
    pub end_known: bool,
    /// What is wrong, in the order of the file; empty if nothing is.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {what}")]
pub struct Finding {
    /// The line of the file, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub what: Damage,
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    /// Its hash is not that of its bytes.
    #[error("it was changed after it was written")]
    Changed,
    /// It does not follow the line before.
    #[error("lines before it were removed, inserted or moved")]
    NotNext,
    /// It is not a line of the log.
    #[error("it is not a line of the log")]
    Foreign,
    /// A crash or a hand cut it short.
    #[error("it is cut short")]
    Torn,
    /// The log is shorter than it was.
    #[error("the log ends here, but it once had {lines} lines")]
    CutOff {
        /// How many there were at least.
        lines: u64,
    },
    /// The remembered end is not in the log.
    #[error("it is not the line that the log once had here")]
    Replaced,
}

/// Checks every line of the log at `path`.
///
/// # Errors
/// [`AuditError`] when the file cannot be read.
pub fn verify(path: &Path) -> Result<Report, AuditError> {
    let failed = |source| AuditError::Io {
        what: "read",
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    // A writer holds the lock for one line only; half a line would look torn.
    file.lock_shared().map_err(failed)?;
    let end = remembered_end(path);
    let mut reader = BufReader::new(file);
    let mut check = Check::new(end);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let limit = MAX_LINE as u64 + 1;
        let read = reader
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut bytes)
            .map_err(failed)?;
        if read == 0 {
            break;
        }
        check.line(&bytes);
    }
    Ok(check.finish())
}

/// The state of a check between two lines.
struct Check {
    report: Report,
    seq: u64,
    prev: String,
    /// The digest of a line that is no line of the log; the next one may vouch for it.
    unreadable: Option<(u64, String)>,
    end: Option<(u64, String)>,
}

impl Check {
    fn new(end: Option<(u64, String)>) -> Self {
        Self {
            report: Report {
                end_known: end.is_some(),
                ..Report::default()
            },
            seq: 0,
            prev: BEGINNING.to_owned(),
            unreadable: None,
            end,
        }
    }

    fn found(&mut self, line: u64, what: Damage) {
        if self.report.findings.len() < MAX_FINDINGS {
            self.report.findings.push(Finding { line, what });
        }
    }

    fn line(&mut self, bytes: &[u8]) {
        self.report.lines += 1;
        let number = self.report.lines;
        let Some(text) = bytes.strip_suffix(b"\n") else {
            self.settle(None);
            return self.found(number, Damage::Torn);
        };
        let Some((line, hash, honest)) = unseal(text) else {
            self.settle(None);
            self.unreadable = Some((number, hex_of(text)));
            return;
        };
        self.settle(Some(&line));
        if !honest {
            self.found(number, Damage::Changed);
        }
        if line.prev != self.prev || line.seq != self.seq + 1 {
            self.found(number, Damage::NotNext);
        }
        if self
            .end
            .as_ref()
            .is_some_and(|(seq, end)| *seq == line.seq && *end != hash)
        {
            self.found(number, Damage::Replaced);
        }
        self.seq = line.seq;
        self.prev = hash;
        self.report.last_at = Some(line.at);
    }

    /// Reports an unreadable line unless the line after it vouches for its bytes.
    fn settle(&mut self, next: Option<&Line>) {
        let Some((number, digest)) = self.unreadable.take() else {
            return;
        };
        let vouched = next.is_some_and(|line| {
            line.action == RECOVERED && line.detail.get("torn_sha256") == Some(&digest)
        });
        if !vouched {
            self.found(number, Damage::Foreign);
        }
    }

    fn finish(mut self) -> Report {
        self.settle(None);
        if let Some((lines, _)) = self.end
            && self.seq < lines
        {
            let last = self.report.lines;
            self.found(last, Damage::CutOff { lines });
        }
        self.report
    }
}
