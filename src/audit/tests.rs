//! The log as an attacker and a crash would leave it.

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
