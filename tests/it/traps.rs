//! Traps of the libraries and of the environment that no other test walks into.

use std::process::Stdio;

use crate::pipes::ends_quietly_unread;
use crate::standin::StandIn;
use crate::support::{Capdeck, free_port, root};

/// How often a package stands in the lock file, whatever its version.
fn locked(package: &str) -> usize {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let line = format!("name = \"{package}\"");
    lock.lines().filter(|it| **it == line).count()
}

#[test]
fn one_provider_of_cryptography_and_one_of_each_terminal_crate_is_locked() {
    // Two providers make rustls panic at the first encrypted line.
    assert_eq!(locked("ring"), 1);
    assert_eq!(locked("aws-lc-rs"), 0);
    assert_eq!(locked("aws-lc-sys"), 0);
    // A widget of another ratatui does not draw, an event of another crossterm is none.
    for package in ["ratatui", "ratatui-core", "crossterm", "tungstenite"] {
        assert!(locked(package) <= 1, "{package} is there twice");
    }
    // A git or registry of its own would have a version nobody can look up.
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let foreign = lock.lines().find(|line| {
        line.starts_with("source = ")
            && !line.contains("registry+https://github.com/rust-lang/crates.io-index")
    });
    assert_eq!(foreign, None);
}

#[test]
fn a_backtrace_that_the_environment_asks_for_does_not_change_an_error() {
    let home = Capdeck::new();
    let nowhere = format!("nats://127.0.0.1:{}", free_port());
    for arguments in [
        &["get", "jobs", "--nats", &nowhere][..],
        &["policy", "check", "/no/such/policy.yaml"],
        &["approve", "j-1", "--gateway", "http://u:pw@h"],
    ] {
        let says = |backtrace: &str| {
            let output = home
                .command(arguments)
                .env("RUST_BACKTRACE", backtrace)
                .stderr(Stdio::piped())
                .output()
                .unwrap();
            String::from_utf8(output.stderr).unwrap()
        };
        let without = says("0");
        assert!(without.starts_with("error: "), "{without}");
        assert_eq!(says("1"), without, "{arguments:?}");
        assert_eq!(says("full"), without, "{arguments:?}");
    }
}

#[test]
fn what_is_watched_ends_quietly_with_its_reader() {
    let gateway = StandIn::start(true);
    let home = Capdeck::new();
    for arguments in [
        &["get", "jobs", "-o", "jsonl"][..],
        &["get", "jobs", "--watch", "-o", "jsonl"],
        &["get", "approvals"],
    ] {
        let arguments = [arguments, &["--gateway", &gateway.url]].concat();
        ends_quietly_unread(&home, &arguments);
    }
}
