//! The README tells what the binary tells.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use capdeck::control_plane::ledger::{WaitingOn, lifecycle};

use crate::support::{Capdeck, root};

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

/// What stands between `<!-- name -->` and `<!-- /name -->`.
fn section(name: &str) -> String {
    let readme = readme();
    let (_, rest) = readme.split_once(&format!("<!-- {name} -->\n")).unwrap();
    let (section, _) = rest.split_once(&format!("<!-- /{name} -->")).unwrap();
    section.to_owned()
}

#[test]
fn the_key_table_is_that_of_the_binary() {
    let keys = Capdeck::new().json(&["keys", "-o", "json"]);
    let mut table = "| Key | Command | Does |\n|---|---|---|\n".to_owned();
    for item in keys["items"].as_array().unwrap() {
        if item["mode"] != "view" {
            continue;
        }
        let chords: Vec<_> = item["chords"].as_array().unwrap().iter().collect();
        let chords: Vec<_> = chords
            .iter()
            .map(|chord| format!("`{}`", chord.as_str().unwrap()))
            .collect();
        let (name, help) = (item["action"].as_str(), item["help"].as_str());
        let chords = chords.join(" ");
        writeln!(
            table,
            "| {chords} | `:{}` | {} |",
            name.unwrap(),
            help.unwrap()
        )
        .unwrap();
    }
    assert_eq!(section("keys"), table, "the table should be\n{table}");
}

#[test]
fn every_command_is_told_of_and_no_other() {
    let help = Capdeck::new().run(&["--help"]).stdout;
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let section = section("commands");
    let mut told = 0;
    for command in commands
        .lines()
        .filter_map(|line| line.split_whitespace().next())
    {
        if command == "help" {
            continue;
        }
        assert!(
            section.contains(&format!("| `capdeck {command}")),
            "{command} is not in the README's table of commands"
        );
        told += 1;
    }
    assert_eq!(told, section.matches("\n| `capdeck ").count());
}

/// With `INSTA_UPDATE=always`, as for the other pictures of the tests, they are renewed.
#[test]
fn every_picture_is_the_frame_that_the_command_beside_it_draws() {
    let readme = readme();
    let shown = readme.split("](demo/pictures/").skip(1);
    let shown = shown.filter_map(|rest| Some(rest.split_once(".svg)")?.0));
    let renew = std::env::var("INSTA_UPDATE").is_ok_and(|it| it == "always");
    let mut drawn = Vec::new();
    for part in section("pictures").split("`capdeck ").skip(1) {
        let (command, views) = part.split_once("` draws ").unwrap();
        for view in views.trim().trim_end_matches([';', '.']).split(", ") {
            let command = command.replace("VIEW", view);
            let frame = Capdeck::new().run(&command.split(' ').collect::<Vec<_>>());
            assert_eq!((frame.code, frame.stderr.as_str()), (0, ""), "{command}");
            let file = root().join(format!("demo/pictures/{view}.svg"));
            if renew {
                std::fs::write(&file, &frame.stdout).unwrap();
            }
            let kept = std::fs::read_to_string(&file).unwrap_or_default();
            assert!(
                kept == frame.stdout,
                "{file:?} is not what `{command}` draws"
            );
            drawn.push(view.to_owned());
        }
    }
    assert_eq!(shown.collect::<Vec<_>>(), drawn);
}

/// The part below the heading `title`, to the next one of its kind.
fn chapter(title: &str) -> String {
    let readme = readme();
    let (_, rest) = readme.split_once(&format!("\n## {title}\n")).unwrap();
    rest.split("\n## ").next().unwrap().to_owned()
}

/// The lines of its first block of code, without what `#` says of them.
fn commands(chapter: &str) -> Vec<&str> {
    let (_, rest) = chapter.split_once("```sh\n").unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    block
        .lines()
        .map(|line| line.split(" #").next().unwrap().trim_end())
        .collect()
}

#[test]
fn two_commands_are_all_that_a_start_takes_and_both_are_there() {
    let start = chapter("Quick start");
    let [demo, tests] = commands(&start)[..] else {
        panic!("more or less than two commands: {start}");
    };
    assert_eq!(demo, "cargo run --release -- demo");
    assert_eq!(tests, "tests/run");
    let help = Capdeck::new().run(&["demo", "--help"]);
    assert_eq!(help.code, 0, "{}", help.stderr);
    let mode = std::fs::metadata(root().join(tests)).unwrap().permissions();
    assert_eq!(mode.mode() & 0o111, 0o111, "{tests} cannot be run");
}

#[test]
fn every_reason_to_wait_and_how_often_something_is_tried_is_told() {
    let plane = chapter("The embedded control plane");
    let (_, waits) = plane.split_once("**Why a job waits**").unwrap();
    let (waits, _) = waits.split_once("\n- ").unwrap();
    for reason in WaitingOn::ALL {
        assert!(
            waits.contains(&format!("`{}`", reason.name())),
            "{}",
            reason.name()
        );
    }
    for told in [
        format!("up to {} times", lifecycle::MAX_PLACEMENT_TRIES),
        format!("{} retries unless", lifecycle::MAX_RETRIES),
        format!("asked again after {} s", lifecycle::ASK_AGAIN.as_secs()),
        format!(
            "`tenant_limit`\n  (every {} s)",
            lifecycle::TENANT_PAUSE.as_secs()
        ),
    ] {
        assert!(waits.contains(&told), "{told}: {waits}");
    }
}

#[test]
fn every_shipped_theme_is_named() {
    let themes = chapter("Themes");
    assert!(themes.contains("`capdeck themes`"), "{themes}");
    let list = Capdeck::new().run(&["themes"]).stdout;
    let names: Vec<&str> = list
        .lines()
        .skip(1)
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert!(names.len() >= 6, "{list}");
    for name in names {
        assert!(themes.contains(&format!("`{name}`")), "{name} is not named");
    }
}

#[test]
fn the_figures_are_told_with_a_number_and_an_aim_each() {
    let figures = chapter("Figures");
    for what in [
        "first painted frame",
        "key to complete frame",
        "idle",
        "the same, 100,000 jobs",
        "memory",
        "the kernel over gRPC",
        "the embedded plane in memory",
        "release binary",
    ] {
        let row = figures
            .lines()
            .find(|line| line.starts_with(&format!("| {what}")))
            .unwrap_or_else(|| panic!("no row for {what}"));
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [_, measured, _, aim] = cells[..] else {
            panic!("not four cells: {row}");
        };
        for cell in [measured, aim] {
            assert!(cell.contains(|c: char| c.is_ascii_digit()), "{row}");
        }
    }
    assert!(figures.contains("`cargo bench --bench budget`"));
}

#[test]
fn the_license_is_apache_2_0_wherever_it_is_named() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let license = read("LICENSE");
    let lines: Vec<&str> = license
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(lines[0], "Apache License");
    assert_eq!(lines[1], "Version 2.0, January 2004");
    assert!(license.contains("END OF TERMS AND CONDITIONS"));
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    assert_eq!(manifest["package"]["license"].as_str(), Some("Apache-2.0"));
    assert_eq!(chapter("Licence").trim(), "Apache-2.0.");
}
