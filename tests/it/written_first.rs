//! What an operator asks for is on disk before it leaves: the gateway itself looks
//! into the operator's log when the request arrives, and answers with what it saw.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::keys::Screen;
use crate::standin::{
    Answer, JOB, StandIn, TAIL, approve, console, flat, open_dialog, open_review, says,
};
use crate::support::Capdeck;

/// Where a console in this home keeps its log.
fn log_of(home: &Capdeck) -> PathBuf {
    home.home().join("capdeck/audit.jsonl")
}

/// A gateway that lets nothing pass that is not yet in the log, and what it found
/// there on each request.
fn gateway_that_looks(log: &Path) -> (StandIn, Arc<Mutex<Vec<String>>>) {
    let gateway = StandIn::start(true);
    let found: Arc<Mutex<Vec<String>>> = Arc::default();
    let (into, log) = (Arc::clone(&found), log.to_owned());
    gateway.instead(move |asked, _| {
        if asked.method != "POST" {
            return None;
        }
        let verb = asked.path.rsplit('/').next().unwrap_or_default();
        let written = std::fs::read_to_string(&log).unwrap_or_default();
        let last = written.lines().last().unwrap_or_default().to_owned();
        let whole = written.ends_with('\n') && last.contains(&format!(r#""action":"{verb}""#));
        into.lock().unwrap().push(last);
        (!whole).then(|| Answer::refusal(409, 409, "not_written", "it is not written down"))
    });
    (gateway, found)
}

/// What the gateway found when the only request came.
#[track_caller]
fn one(found: &Mutex<Vec<String>>) -> String {
    let found = found.lock().unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[test]
fn an_approval_is_on_disk_before_it_leaves() {
    let home = Capdeck::new();
    let (gateway, found) = gateway_that_looks(&log_of(&home));
    let screen = console(&gateway, home);
    open_review(&screen);
    approve(&screen, "in the window");
    says(&screen, &format!("approved {TAIL} in"));
    let line = one(&found);
    for fact in [
        r#""operator":"ann""#,
        &format!(r#""object":"{JOB}""#),
        r#""text":"in the window""#,
        r#""job_hash":""#,
        r#""policy_snapshot":"v1:8c1f"#,
        r#""payload_sha256":""#,
    ] {
        assert!(line.contains(fact), "{fact} is not in {line}");
    }
    let log = screen.audit_log();
    assert!(log.contains(r#""outcome":"done""#), "{log}");
}

#[test]
fn a_rejection_is_on_disk_before_it_leaves() {
    let home = Capdeck::new();
    let (gateway, found) = gateway_that_looks(&log_of(&home));
    let screen = console(&gateway, home);
    open_review(&screen);
    open_dialog(&screen, "R", "Reject this job", "wrong ticket");
    screen.press("\t\t\r");
    says(&screen, &format!("rejected {TAIL} in"));
    let line = one(&found);
    assert!(line.contains(r#""text":"wrong ticket""#), "{line}");
    screen.audit_log();
}

#[test]
fn a_cancel_is_on_disk_before_it_leaves() {
    let home = Capdeck::new();
    let (gateway, found) = gateway_that_looks(&log_of(&home));
    let screen = console(&gateway, home);
    open_review(&screen);
    open_dialog(&screen, "X", "Cancel this job", "not needed");
    screen.press("\t\t\r");
    says(&screen, &format!("cancel of {TAIL} taken in"));
    let line = one(&found);
    assert!(line.contains(r#""reason":"not needed""#), "{line}");
    screen.audit_log();
}

#[test]
fn the_verbs_of_the_command_line_write_first_too() {
    for (arguments, says) in [
        (&["approve", JOB, "--note", "x"][..], "approved "),
        (&["reject", JOB, "--reason", "x"], "rejected "),
        (&["cancel", JOB, "--reason", "x"], "CANCELLED"),
    ] {
        let home = Capdeck::new();
        let log = home.home().join("state/capdeck/audit.jsonl");
        let (gateway, found) = gateway_that_looks(&log);
        let ran = home.run(&[arguments, &["--gateway", &gateway.url]].concat());
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stdout.contains(says), "{}", ran.stdout);
        one(&found);
    }
}

#[test]
fn secrets_are_on_the_screen_once_their_line_is_on_disk() {
    let gateway = StandIn::start(true);
    let home = Capdeck::new();
    let log = log_of(&home);
    let screen = console(&gateway, home);
    open_review(&screen);
    assert!(!flat(&screen).contains("ghp_"), "{}", screen.text());
    assert!(!log.exists(), "nothing was asked for");
    screen.press("V");
    screen.shows("ghp_0123456789abcdefghijklmnopqrstuvwxyz");
    let written = std::fs::read_to_string(&log).unwrap();
    assert!(written.contains(r#""action":"reveal""#), "{written}");
    screen.audit_log();
}

/// A console whose log cannot be written, because a directory stands in its place.
fn console_without_a_log(gateway: &StandIn) -> Screen {
    let home = Capdeck::new();
    std::fs::create_dir_all(log_of(&home)).unwrap();
    console(gateway, home)
}

#[test]
fn what_cannot_be_written_down_is_not_sent_and_the_screen_says_why() {
    let gateway = StandIn::start(true);
    let screen = console_without_a_log(&gateway);
    open_review(&screen);
    screen.press("V");
    says(&screen, "Not shown: cannot open the operator log ");
    assert!(!flat(&screen).contains("ghp_"), "{}", screen.text());
    approve(&screen, "in the window");
    says(&screen, "Not approved: cannot open the operator log ");
    says(&screen, "Is a directory (os error 21). Nothing was sent.");
    open_dialog(&screen, "R", "Reject this job", "wrong ticket");
    screen.press("\t\t\r");
    says(&screen, "Not rejected: cannot open the operator log ");
    open_dialog(&screen, "X", "Cancel this job", "not needed");
    screen.press("\t\t\r");
    says(&screen, "Not cancelled: cannot open the operator log ");
    let posts = gateway.posts();
    assert!(posts.is_empty(), "{posts:?}");
    // The same for a script.
    let home = Capdeck::new();
    std::fs::create_dir_all(home.home().join("state/capdeck/audit.jsonl")).unwrap();
    let ran = home.run(&["approve", JOB, "--gateway", &gateway.url]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("nothing was sent"), "{}", ran.stderr);
    assert!(gateway.posts().is_empty());
}
