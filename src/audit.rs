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
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::time::Timestamp;

/// A text in a line is cut to this many characters: a note is a sentence, and a
/// line has to fit the block that is read to find the last one.
const MAX_TEXT: usize = 1_000;
/// At most this many members in the detail of a line.
const MAX_DETAIL: usize = 16;
/// No line is longer, in bytes: 20 texts of four-byte characters, escaped.
const MAX_LINE: usize = 256 << 10;
/// At most this many findings are reported; the log is broken either way.
const MAX_FINDINGS: usize = 20;
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

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture {
        _directory: tempfile::TempDir,
        log: AuditLog,
    }

    fn entry(action: &str) -> Entry {
        Entry {
            at: Timestamp::from_millis(1_767_225_600_000),
            operator: "ann".to_owned(),
            action: action.to_owned(),
            object: "j-1".to_owned(),
            detail: BTreeMap::from([("note".to_owned(), "in the window\u{202e}\n".to_owned())]),
        }
    }

    /// A log of three lines: an approval, its outcome, a cancel.
    fn fixture() -> Fixture {
        let directory = tempfile::tempdir().expect("a directory");
        let log = AuditLog::at(directory.path().join("state/capdeck/audit.jsonl"));
        let receipt = log.append(&entry("approve")).expect("written");
        log.outcome(
            &receipt,
            Timestamp::from_millis(1_767_225_601_000),
            "done",
            "",
        )
        .expect("written");
        log.append(&entry("cancel")).expect("written");
        Fixture {
            _directory: directory,
            log,
        }
    }

    fn findings(log: &AuditLog) -> String {
        let report = verify(log.path()).expect("readable");
        let findings = report.findings.iter().map(ToString::to_string);
        findings.collect::<Vec<_>>().join("; ")
    }

    fn text(log: &AuditLog) -> String {
        std::fs::read_to_string(log.path()).expect("readable")
    }

    fn rewrite(log: &AuditLog, text: impl AsRef<[u8]>) {
        std::fs::write(log.path(), text).expect("writable");
    }

    #[test]
    fn a_line_says_who_did_what_to_which_job_and_what_came_of_it() {
        let fixture = fixture();
        let text = text(&fixture.log);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with(concat!(
                r#"{"seq":1,"at":"2026-01-01T00:00:00.000Z","operator":"ann","action":"approve","#,
                r#""object":"j-1","detail":{"note":"in the window"#
            )),
            "{text}"
        );
        assert!(
            lines[1].contains(
                r#""action":"approve.outcome","object":"j-1","detail":{"of":"1","outcome":"done"},"prev":""#
            ),
            "{text}"
        );
        assert_eq!(lines.len(), 3);
        let report = verify(fixture.log.path()).expect("readable");
        assert_eq!((report.lines, report.end_known), (3, true));
        assert_eq!(report.findings, []);
    }

    #[test]
    fn the_files_are_for_their_owner_alone() {
        let fixture = fixture();
        let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode();
        let path = fixture.log.path();
        assert_eq!(mode(path) & 0o777, 0o600);
        assert_eq!(mode(&end_path(path)) & 0o777, 0o600);
        assert_eq!(mode(path.parent().expect("a directory")) & 0o777, 0o700);
        std::fs::set_permissions(path, Permissions::from_mode(0o644)).expect("ours");
        fixture.log.append(&entry("reject")).expect("written");
        assert_eq!(mode(path) & 0o777, 0o600);
    }

    #[test]
    fn every_single_changed_byte_is_found_at_its_line() {
        let fixture = fixture();
        let whole = text(&fixture.log).into_bytes();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            rewrite(&fixture.log, &changed);
            let line = whole[..at].iter().filter(|&&byte| byte == b'\n').count() + 1;
            let found = findings(&fixture.log);
            assert!(
                found.starts_with(&format!("line {line}: ")),
                "byte {at} of line {line}: {found:?}"
            );
        }
    }

    #[test]
    fn removed_inserted_and_swapped_lines_are_found() {
        let fixture = fixture();
        let whole = text(&fixture.log);
        let lines: Vec<&str> = whole.split_inclusive('\n').collect();
        let check = |lines: &[&str], says: &str| {
            rewrite(&fixture.log, lines.concat());
            assert_eq!(findings(&fixture.log), says);
        };
        let moved = "lines before it were removed, inserted or moved";
        check(&lines[1..], &format!("line 1: {moved}"));
        check(&[lines[0], lines[2]], &format!("line 2: {moved}"));
        check(
            &[lines[0], lines[1], lines[1], lines[2]],
            &format!("line 3: {moved}"),
        );
        check(
            &[lines[0], "{}\n", lines[1], lines[2]],
            "line 2: it is not a line of the log",
        );
        check(
            &[lines[0], "\n", lines[1], lines[2]],
            "line 2: it is not a line of the log",
        );
        check(&lines, "");
    }

    #[test]
    fn lines_cut_off_at_the_end_are_found_as_long_as_the_end_is_remembered() {
        let fixture = fixture();
        let whole = text(&fixture.log);
        let lines: Vec<&str> = whole.split_inclusive('\n').collect();
        rewrite(&fixture.log, lines[..2].concat());
        assert_eq!(
            findings(&fixture.log),
            "line 2: the log ends here, but it once had 3 lines"
        );
        rewrite(&fixture.log, "");
        assert_eq!(
            findings(&fixture.log),
            "line 0: the log ends here, but it once had 3 lines"
        );
        rewrite(&fixture.log, &whole[..whole.len() - 4]);
        assert!(findings(&fixture.log).starts_with("line 3: it is cut short"));
        // What cannot be found, and the report says so.
        rewrite(&fixture.log, lines[..2].concat());
        std::fs::remove_file(end_path(fixture.log.path())).expect("there");
        let report = verify(fixture.log.path()).expect("readable");
        assert_eq!((report.findings.len(), report.end_known), (0, false));
    }

    #[test]
    fn a_history_rewritten_with_fresh_hashes_does_not_reach_the_remembered_end() {
        let fixture = fixture();
        let (mut prev, mut forged) = (BEGINNING.to_owned(), String::new());
        for seq in 1..=3 {
            let (text, hash) = Line::new(seq, &prev, &entry("nothing")).sealed();
            forged.push_str(&text);
            prev = hash;
        }
        rewrite(&fixture.log, forged);
        assert_eq!(
            findings(&fixture.log),
            "line 3: it is not the line that the log once had here"
        );
    }

    #[test]
    fn after_a_crash_in_the_middle_of_a_line_the_log_goes_on_and_vouches_for_the_rest() {
        let fixture = fixture();
        let whole = text(&fixture.log);
        rewrite(&fixture.log, format!("{whole}{{\"seq\":4,\"at\":\"20"));
        assert_eq!(findings(&fixture.log), "line 4: it is cut short");
        let receipt = fixture.log.append(&entry("reject")).expect("written");
        assert_eq!(receipt.seq, 5);
        assert_eq!(findings(&fixture.log), "");
        let healed = text(&fixture.log);
        rewrite(
            &fixture.log,
            healed.replace("\"at\":\"20\n", "\"at\":\"21\n"),
        );
        assert_eq!(
            findings(&fixture.log),
            "line 4: it is not a line of the log"
        );
    }

    #[test]
    fn nothing_is_chained_to_a_line_that_is_not_ours() {
        let fixture = fixture();
        let whole = text(&fixture.log);
        rewrite(&fixture.log, format!("{whole}hello\n"));
        let error = fixture.log.append(&entry("approve")).expect_err("refused");
        assert!(matches!(error, AuditError::Damaged { .. }), "{error}");
        assert_eq!(text(&fixture.log), format!("{whole}hello\n"));
    }

    #[test]
    fn consoles_that_write_at_the_same_time_make_one_chain() {
        let fixture = fixture();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        fixture.log.append(&entry("cancel")).expect("written");
                    }
                });
            }
        });
        let report = verify(fixture.log.path()).expect("readable");
        assert_eq!((report.lines, report.findings.len()), (43, 0));
    }

    #[test]
    fn long_texts_are_cut_so_that_the_last_line_is_always_found() {
        let fixture = fixture();
        let mut long = entry("approve");
        long.detail = (0..40)
            .map(|n| (format!("{n:02}"), "\u{1}".repeat(5_000)))
            .collect();
        fixture.log.append(&long).expect("written");
        assert_eq!(fixture.log.append(&long).expect("written").seq, 5);
        let longest = text(&fixture.log).lines().map(str::len).max();
        assert!(longest < Some(MAX_LINE), "{longest:?}");
        assert_eq!(findings(&fixture.log), "");
    }

    #[test]
    fn a_log_that_cannot_be_written_says_so() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = AuditLog::at(directory.path());
        let error = log.append(&entry("approve")).expect_err("a directory");
        assert!(
            error
                .to_string()
                .starts_with("cannot open the operator log /")
        );
        assert!(verify(&directory.path().join("none")).is_err());
    }
}
