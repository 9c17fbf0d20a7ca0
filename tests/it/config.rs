//! The configuration file as the real binary takes it.

use std::io::{ErrorKind, Read as _};
use std::num::NonZero;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Instant;

use pty_process::Size;

use crate::support::{PATIENCE, free_port};

/// A home with a configuration file in it.
struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    fn with(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = Self { directory };
        std::fs::create_dir_all(home.file().parent().unwrap()).unwrap();
        std::fs::write(home.file(), config).unwrap();
        home
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join(".config/capdeck/config.toml")
    }

    /// Runs capdeck with nothing of this machine's configuration but that file.
    fn capdeck(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_capdeck"))
            .args(arguments)
            .env_clear()
            .env("HOME", self.directory.path())
            .envs(environment.iter().copied())
            .output()
            .unwrap()
    }

    #[track_caller]
    fn refuses(&self, arguments: &[&str], code: i32, says: &[&str]) {
        self.refuses_with(arguments, &[], code, says);
    }

    #[track_caller]
    fn refuses_with(
        &self,
        arguments: &[&str],
        environment: &[(&str, &str)],
        code: i32,
        says: &[&str],
    ) {
        let output = self.capdeck(arguments, environment);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        for words in says {
            assert!(stderr.contains(words), "{words}\n{stderr}");
        }
    }
}

#[test]
fn every_verb_speaks_to_the_current_context_and_to_the_one_that_is_named() {
    let (here, there) = (free_port(), free_port());
    let home = Home::with(&format!(
        "current = \"here\"\n\
         [contexts.here]\ngateway = \"http://127.0.0.1:{here}\"\n\
         [contexts.there]\ngateway = \"http://127.0.0.1:{there}\"\n",
    ));
    let (here, there) = (format!("127.0.0.1:{here}"), format!("127.0.0.1:{there}"));
    home.refuses(&["get", "jobs"], 3, &[&here]);
    home.refuses(&["approve", "j-1"], 3, &[&here]);
    let named = ["--context", "there"];
    let call = |verb: &[&'static str]| [verb, &named[..]].concat();
    home.refuses(&call(&["get", "jobs"]), 3, &[&there]);
    home.refuses(&call(&["approve", "j-1"]), 3, &[&there]);
    home.refuses(&call(&["reject", "j-1", "--reason", "no"]), 3, &[&there]);
    home.refuses(&call(&["cancel", "j-1"]), 3, &[&there]);
    let job = home.directory.path().join("job.json");
    std::fs::write(&job, "{\"topic\":\"job.x\"}").unwrap();
    let job = job.to_str().unwrap();
    home.refuses(&["submit", "-f", job, "--context", "there"], 3, &[&there]);
    let unknown = [
        "no context is called `ther`",
        "the contexts are here, there; did you mean `there`?",
    ];
    home.refuses(&["attach", "--context", "ther"], 2, &unknown);
    home.refuses(&["get", "jobs", "--context", "ther"], 2, &unknown);
}

#[test]
fn nothing_is_asked_where_the_configuration_says_read_only() {
    let home = Home::with(
        "current = \"eu-1\"\n[contexts.eu-1]\nread_only = true\n\
         gateway = \"http://127.0.0.1:1\"\n",
    );
    let says = ["context eu-1 is read-only, so nothing was asked"];
    home.refuses(&["approve", "j-1"], 2, &says);
    home.refuses(&["cancel", "j-1"], 2, &says);
    home.refuses(&["get", "jobs"], 3, &["127.0.0.1:1"]);
    // Another deployment is not that context.
    let elsewhere = ["approve", "j-1", "--gateway", "http://127.0.0.1:2"];
    home.refuses(&elsewhere, 3, &["127.0.0.1:2"]);
}

#[test]
fn a_bad_file_is_exit_code_2_with_its_line() {
    let home = Home::with("[contexts.eu]\nnat = \"nats://h:1\"\n");
    let place = format!("{}:2", home.file().display());
    let says = [place.as_str(), "did you mean `nats`?"];
    home.refuses(&[], 2, &says);
    home.refuses(&["get", "jobs"], 2, &says);
    home.refuses(&["approve", "j-1"], 2, &says);

    let home = Home::with("[keys]\nreload = \"F5\"\napprove = \"x\"\n");
    let place = format!("error: {}:3: `approve`", home.file().display());
    home.refuses(&["keys"], 2, &[&place, "upper-case"]);
    home.refuses(&["demo"], 2, &[&place]);

    let home = Home::with("");
    let absent = [("CAPDECK_CONFIG", "/nowhere/config.toml")];
    let says = ["cannot read the configuration file /nowhere/config.toml"];
    home.refuses_with(&["keys"], &absent, 2, &says);
}

#[test]
fn the_keys_of_the_file_are_the_keys() {
    let home = Home::with("[keys]\nreload = \"F5\"\n");
    let output = home.capdeck(&["keys"], &[]);
    let table = String::from_utf8(output.stdout).unwrap();
    let reload = table.lines().find(|line| line.contains("reload")).unwrap();
    assert!(reload.contains("F5"), "{reload}");
}

#[test]
fn the_printed_file_is_taken_as_it_is() {
    let home = Home::with("");
    let printed = home.capdeck(&["config", "print"], &[]);
    assert!(printed.status.success());
    std::fs::write(home.file(), &printed.stdout).unwrap();
    assert!(home.capdeck(&["keys"], &[]).status.success());
    home.refuses(&[], 2, &["no deployment is configured", "capdeck demo"]);
}

#[test]
fn without_a_verb_the_current_context_is_opened_and_named() {
    let config = "[contexts.eu-1]\nproduction = true\nnats = \"nats://127.0.0.1:1\"\n";
    let home = Home::with(config);
    home.refuses(&[], 2, &["no deployment is configured", "--context NAME"]);

    let home = Home::with(&format!("current = \"eu-1\"\n{config}"));
    let (mut pty, pts) = pty_process::blocking::open().unwrap();
    pty.resize(Size::new(36, 120)).unwrap();
    let mut child = pty_process::blocking::Command::new(env!("CARGO_BIN_EXE_capdeck"))
        .env_clear()
        .env("HOME", home.directory.path())
        .env("TERM", "xterm-256color")
        .env("LANG", "C.UTF-8")
        .spawn(pts)
        .unwrap();
    let mut screen = vt100::Parser::new(NonZero::new(36).unwrap(), NonZero::new(120).unwrap(), 0);
    let until = Instant::now() + PATIENCE;
    let mut bytes = [0; 4096];
    while !screen.screen().contents().contains("PROD eu-1") {
        assert!(Instant::now() < until, "{}", screen.screen().contents());
        match pty.read(&mut bytes) {
            Ok(count) => screen.process(&bytes[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}: {}", screen.screen().contents()),
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A home whose configuration is `config`, in which every verb that reads it ends
/// with `says` after the place `line`.
#[track_caller]
fn every_verb_refuses(config: &str, line: usize, says: &str) {
    let home = Home::with(config);
    let says = format!("error: {}:{line}: {says}", home.file().display());
    for verb in [
        &[][..],
        &["attach"],
        &["demo"],
        &["keys"],
        &["get", "jobs"],
        &["approve", "j-1"],
        &["cancel", "j-1"],
    ] {
        home.refuses(verb, 2, &[&says]);
    }
}

#[test]
fn a_slip_in_the_file_is_told_by_every_verb_that_reads_it() {
    every_verb_refuses(
        "[keys]\nfreze = \"F6\"\n",
        2,
        "no action is called `freze`; did you mean `freeze`?\n",
    );
    every_verb_refuses(
        "[keys]\nreload = \"j\"\n",
        2,
        "`j` would mean both `down` and `reload`\n",
    );
    every_verb_refuses(
        "[contexts.eu]\nnats = \"nats://127.0.0.1:1\"\nframe = \"humn\"\n",
        3,
        "no role of themes is called `humn`\nhint: did you mean `human`?\n",
    );
}

#[test]
fn a_theme_that_is_nowhere_is_told_by_what_draws_and_stops_nothing_else() {
    let home = Home::with("theme = \"drk\"\n");
    let says = format!(
        "error: {}:1: there is no theme `drk`\nhint: did you mean `dark`?\n",
        home.file().display()
    );
    for verb in [&[][..], &["attach"], &["demo"]] {
        home.refuses(verb, 2, &[&says]);
    }
    // A theme of one's own is found by a console alone, so a get does not look for it.
    home.refuses(
        &["get", "jobs", "--gateway", "http://127.0.0.1:1"],
        3,
        &["cannot reach"],
    );
}

#[test]
fn a_theme_file_that_cannot_be_read_is_told_with_its_line() {
    let home = Home::with("");
    let themes = home.directory.path().join("themes");
    let directory = themes.to_str().unwrap();
    let attach = |more: &[&'static str]| {
        let arguments = [
            "attach",
            "--gateway",
            "http://127.0.0.1:1",
            "--themes",
            directory,
        ];
        [&arguments[..], more].concat()
    };
    let nowhere = format!("error: cannot read the themes in `{directory}`: No such file");
    home.refuses(&attach(&[]), 2, &[&nowhere]);
    home.refuses(&["themes", "--themes", directory], 2, &[&nowhere]);
    home.refuses(&["demo", "--themes", directory], 2, &[&nowhere]);

    std::fs::create_dir(&themes).unwrap();
    let mine = themes.join("mine.toml");
    std::fs::write(&mine, "inherits = \"dark\"\n[ink]\ntexd = [\"bold\"]\n").unwrap();
    let says = format!(
        "error: {} line 3: `texd` is not a role\nhint: did you mean `text`?\n",
        mine.display()
    );
    home.refuses(&attach(&[]), 2, &[&says]);
    home.refuses(&attach(&["--theme", "mine"]), 2, &[&says]);
    home.refuses(&["demo", "--themes", directory], 2, &[&says]);

    // A good one may be the theme of the configuration; what is missing then is a terminal.
    std::fs::write(&mine, "inherits = \"dark\"\n").unwrap();
    std::fs::write(home.file(), "theme = \"mine\"\n").unwrap();
    home.refuses(&attach(&[]), 2, &["terminal"]);
    home.refuses(
        &["attach"],
        2,
        &["there is no theme `mine`", "--themes DIR"],
    );
}
