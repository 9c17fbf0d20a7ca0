//! The README tells what the binary tells.

use std::fmt::Write as _;

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

#[test]
fn every_picture_is_there() {
    let readme = readme();
    let pictures: Vec<_> = readme
        .split("](")
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target)
        .filter(|target| target.ends_with(".svg"))
        .collect();
    assert!(!pictures.is_empty());
    for picture in pictures {
        assert!(root().join(picture).is_file(), "{picture} is missing");
    }
}
