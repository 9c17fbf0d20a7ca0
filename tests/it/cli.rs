//! The command line as scripts see it: exit codes and words of the real binary.

use std::process::{Command, Output};

use crate::support::free_port;

/// Runs capdeck with nothing of this machine's configuration.
fn capdeck(arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_capdeck"))
        .args(arguments)
        .env_clear()
        .env("HOME", home.path())
        .output()
        .unwrap()
}

#[track_caller]
fn refuses(arguments: &[&str], code: i32, says: &str) {
    let output = capdeck(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.starts_with("error: "), "{stderr}");
    assert!(stderr.contains(says), "{stderr}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_server_that_is_away_is_exit_code_3_and_named() {
    let nats = format!("nats://127.0.0.1:{}", free_port());
    let says = format!("cannot reach nats at {nats}: connection refused");
    refuses(&["get", "jobs", "--nats", &nats], 3, &says);
    let gateway = format!("http://127.0.0.1:{}", free_port());
    let says = format!("error: cannot reach gateway at {gateway}: Connection refused");
    refuses(&["get", "approvals", "--gateway", &gateway], 3, &says);
}

#[test]
fn what_was_asked_wrong_is_exit_code_2_and_says_what_to_do() {
    let nats = ["--nats", "nats://127.0.0.1:4222"];
    let get = |arguments: &[&'static str]| [&["get"], arguments, &nats[..]].concat();
    refuses(
        &get(&["approvals"]),
        2,
        "approvals do not travel on the bus; give --gateway or --redis",
    );
    for kind in ["alerts", "senders"] {
        refuses(
            &["get", kind, "--gateway", "http://127.0.0.1:8081"],
            2,
            &format!("{kind} are heard on the bus alone; give --nats"),
        );
    }
    refuses(
        &get(&["jobs", "--filter", "state:running age>5x"]),
        2,
        "column 15: age>5x wants a number and s, m, h or d",
    );
    refuses(
        &get(&["jobs", "--filter", "stat:x"]),
        2,
        "did you mean state?",
    );
    refuses(&["get", "jobs"], 2, "no server is given");
}
