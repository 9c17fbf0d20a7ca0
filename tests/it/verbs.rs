//! Verbs of the command line that print or start something and end: what they print
//! can be used, and what they are told is done.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;

use crate::keys::Screen;
use crate::support::{Capdeck, Ran, clean, free_port, root};

mod get;
mod render;
mod up;

/// What a good run printed.
#[track_caller]
fn prints(home: &Capdeck, arguments: &[&str]) -> String {
    let ran = home.run(arguments);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}");
    ran.stdout
}

/// The verbs that `capdeck --help` lists.
fn verbs() -> Vec<String> {
    let help = prints(&Capdeck::new(), &["--help"]);
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let first = |line: &str| line.split_whitespace().next().unwrap().to_owned();
    let verbs: Vec<String> = commands.lines().map(first).collect();
    for verb in ["demo", "attach", "up", "get", "approve", "cancel"] {
        assert!(verbs.iter().any(|it| it == verb), "{verb}: {help}");
    }
    verbs
}

#[test]
fn every_shell_is_told_of_every_verb_in_its_own_language() {
    let verbs = verbs();
    for (shell, marks, names) in [
        (
            "bash",
            &["_capdeck() {", "COMPREPLY=(", "complete -F _capdeck "][..],
            &["capdeck,", ")\n"],
        ),
        ("zsh", &["#compdef capdeck\n", "_arguments "], &["\n'", ":"]),
        ("fish", &["complete -c capdeck "], &[" -a \"", "\" -d '"]),
    ] {
        let script = prints(&Capdeck::new(), &["completions", shell]);
        for mark in marks {
            assert!(script.contains(mark), "{shell}: no {mark:?} in\n{script}");
        }
        let [before, after] = names;
        for verb in &verbs {
            let named = format!("{before}{verb}{after}");
            assert!(
                script.contains(&named),
                "{shell}: no {named:?} in\n{script}"
            );
        }
    }
}

#[test]
fn bash_offers_every_verb_when_the_script_was_read() {
    let home = Capdeck::new();
    let script = home.home().join("capdeck.bash");
    std::fs::write(&script, prints(&home, &["completions", "bash"])).unwrap();
    let asks = r#"
        source "$0"
        COMP_WORDS=(capdeck "$1") COMP_CWORD=1
        _capdeck capdeck "$1" capdeck
        printf '%s\n' "${COMPREPLY[@]}""#;
    let offers = |typed: &str| {
        let mut bash = Command::new("bash");
        bash.args(["-c", asks]).arg(&script).arg(typed);
        let ran = Ran::of(bash.output().unwrap());
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        ran.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let all = offers("");
    for verb in verbs() {
        assert!(all.contains(&verb), "{verb} is not offered: {all:?}");
    }
    assert_eq!(offers("appr"), ["approve"]);
}

/// The names, places and contrasts that `capdeck themes` lists.
#[track_caller]
fn themes(arguments: &[&str]) -> Vec<[String; 3]> {
    let list = prints(&Capdeck::new(), &[&["themes"], arguments].concat());
    let mut lines = list.lines().map(|line| {
        let cells = line.split("  ").map(str::trim).filter(|it| !it.is_empty());
        let cells: Vec<String> = cells.map(str::to_owned).collect();
        <[String; 3]>::try_from(cells).unwrap_or_else(|_| panic!("{line:?} in\n{list}"))
    });
    assert_eq!(lines.next().unwrap(), ["NAME", "FROM", "CONTRAST"]);
    lines.collect()
}

#[test]
fn six_themes_are_listed_and_each_can_be_read() {
    let listed = themes(&[]);
    let names: BTreeSet<&str> = listed.iter().map(|[name, ..]| name.as_str()).collect();
    let shipped: Vec<String> = std::fs::read_dir(root().join("themes"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    let shipped: BTreeSet<&str> = shipped
        .iter()
        .map(|file| file.strip_suffix(".toml").unwrap())
        .collect();
    assert_eq!(names, shipped);
    assert!(names.len() >= 6, "{names:?}");
    for name in ["light", "okabe", "mono"] {
        assert!(names.contains(name), "{names:?}");
    }
    for [name, from, contrast] in &listed {
        let says = match name.as_str() {
            "mono" => "no color at all",
            _ => "every role can be read",
        };
        assert_eq!((from.as_str(), contrast.as_str()), ("built in", says));
    }
}

#[test]
fn every_theme_can_be_printed_and_made_ones_own() {
    for [name, _, contrast] in themes(&[]) {
        let home = Capdeck::new();
        let file = prints(&home, &["themes", &name]);
        std::fs::write(home.home().join("mine.toml"), &file).unwrap();
        let directory = home.home().to_str().unwrap();
        // That of the shipped name is known to have no color, a copy is read like others.
        let contrast = match name.as_str() {
            "mono" => "every role can be read",
            _ => &contrast,
        };
        let own = ["mine", "yours", contrast].map(str::to_owned);
        let listed = themes(&["--themes", directory]);
        assert!(listed.contains(&own), "{name}: {listed:?}");
        assert_eq!(listed.len(), themes(&[]).len() + 1, "{name}");
        let again = prints(&home, &["themes", "mine", "--themes", directory]);
        assert_eq!(again, file, "{name}");
    }
}

/// Starts a verb in a process that may have four open files, which are one too few
/// for the runtime.
fn with_four_files(arguments: &[&str]) -> Ran {
    let home = Capdeck::new();
    let mut shell = Command::new("/bin/sh");
    clean(&mut shell, home.home());
    shell
        .args(["-c", r#"ulimit -n 4; exec "$0" "$@""#])
        .arg(env!("CARGO_BIN_EXE_capdeck"))
        .args(arguments);
    Ran::of(shell.output().unwrap())
}

#[test]
fn what_is_nobodys_mistake_is_exit_code_70() {
    let nowhere = "http://127.0.0.1:1";
    for arguments in [
        &["get", "jobs", "--gateway", nowhere][..],
        &["cancel", "j-1", "--reason", "x", "--gateway", nowhere],
        &["up", "--http", "127.0.0.1:0"],
    ] {
        let ran = with_four_files(arguments);
        assert_eq!(ran.code, 70, "{arguments:?}: {}", ran.stderr);
        assert!(
            ran.stderr
                .starts_with("error: cannot start the runtime: Too many open files"),
            "{arguments:?}: {}",
            ran.stderr
        );
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
}

/// The port that a demo shows in its header, on which its gateway answers.
#[track_caller]
fn port_of_demo(arguments: &[&str]) -> u16 {
    let mut screen = Screen::capdeck(&[&["demo", "--seed", "7"], arguments].concat());
    screen.shows("LIVE");
    let text = screen.text();
    let port = text
        .split_once("demo 127.0.0.1:")
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .unwrap_or_else(|| panic!("no address in\n{text}"));
    let url = format!("http://127.0.0.1:{port}");
    let workers = Capdeck::new().json(&["get", "workers", "--gateway", &url, "-o", "json"]);
    assert_eq!(workers["sources"]["gateway"], "up", "{workers}");
    screen.press("q");
    assert_eq!(screen.ends().code(), Some(0));
    port.parse().unwrap()
}

#[test]
fn a_demo_takes_the_next_free_port_and_shows_which() {
    let first = free_port();
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, first));
    let _taken = TcpListener::bind(wanted).unwrap();
    let port = port_of_demo(&["--http", &wanted.to_string()]);
    assert!((first + 1..=first + 100).contains(&port), "{port}");
}

#[test]
fn a_demo_that_is_told_nothing_needs_no_free_8081() {
    let first = 8081;
    let port = loop {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first));
        let port = port_of_demo(&[]);
        // Another process may have it, which is as good, unless it ends too soon.
        if port != first || taken.is_ok() {
            break port;
        }
    };
    assert!((first + 1..=first + 100).contains(&port), "{port}");
}
