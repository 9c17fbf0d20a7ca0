//! `capdeck render`: the picture, the colored text and the plain text are one frame.

use std::collections::BTreeSet;

use capdeck::text;
use serde_json::Value;

use super::prints;
use crate::support::{Capdeck, run_peer};

const COLUMNS: usize = 100;
const ROWS: usize = 30;

/// Width and height of a cell of a picture, the margin around all of them, and how far
/// below the upper edge of its cell the foot of a letter stands.
const CELL: (u64, u64) = (10, 21);
const MARGIN: u64 = 6;
const FOOT: u64 = 16;

/// The views that `capdeck render --help` lists.
fn views() -> Vec<String> {
    let help = prints(&Capdeck::new(), &["render", "--help"]);
    let (_, values) = help.split_once("<VIEW>").unwrap();
    let (_, values) = values.split_once("Possible values:\n").unwrap();
    let (values, _) = values.split_once("\n\n").unwrap();
    let views: Vec<String> = values
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- "))
        .map(|line| line.split([':', ' ']).next().unwrap().to_owned())
        .collect();
    assert!(views.len() >= 11, "{help}");
    views
}

fn render(view: &str, output: &str, more: &[&str]) -> String {
    let size = format!("{COLUMNS}x{ROWS}");
    let fixed = ["render", view, "--size", &size, "-o", output];
    prints(&Capdeck::new(), &[&fixed, more].concat())
}

/// What a reader of XML finds in pictures; one that is no XML fails.
fn read(pictures: &[String]) -> Vec<Value> {
    let home = tempfile::tempdir().unwrap();
    let files: Vec<String> = (0..pictures.len())
        .map(|at| {
            let file = home.path().join(format!("{at}.svg"));
            std::fs::write(&file, &pictures[at]).unwrap();
            file.to_str().unwrap().to_owned()
        })
        .collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let told = run_peer("picture.py", &files);
    let told = told.lines().map(|line| serde_json::from_str(line).unwrap());
    let told: Vec<Value> = told.collect();
    assert_eq!(told.len(), pictures.len());
    told
}

/// The rows of a picture, each text in the cell where it is drawn.
#[track_caller]
fn rows(picture: &Value) -> Vec<String> {
    let mut rows = vec![(String::new(), 0); ROWS];
    for text in picture["texts"].as_array().unwrap() {
        let number = |name: &str| text[name].as_u64().unwrap();
        let words = text["text"].as_str().unwrap();
        let (left, top) = (number("x") - MARGIN, number("y") - MARGIN - FOOT);
        assert_eq!((left % CELL.0, top % CELL.1), (0, 0), "{text}");
        let (cell, row) = ((left / CELL.0) as usize, (top / CELL.1) as usize);
        let (line, filled) = &mut rows[row];
        assert!(*filled <= cell, "{text} is drawn over {line:?}");
        line.push_str(&" ".repeat(cell - *filled));
        line.push_str(words);
        *filled = cell + text::width(words);
        assert_eq!(
            number("length"),
            text::width(words) as u64 * CELL.0,
            "{text}"
        );
    }
    rows.into_iter().map(|(line, _)| line).collect()
}

/// Text as a terminal shows it that knows how to change colors, and nothing else.
#[track_caller]
fn without_colors(ansi: &str) -> Vec<String> {
    let mut plain = String::new();
    for (at, part) in ansi.split('\x1b').enumerate() {
        let shown = match at {
            0 => part,
            _ => {
                let (codes, shown) = part
                    .strip_prefix('[')
                    .and_then(|part| part.split_once('m'))
                    .unwrap_or_else(|| panic!("no color: {part:?}"));
                let digits = codes.chars().all(|c| c.is_ascii_digit() || c == ';');
                assert!(digits, "no color: {part:?}");
                shown
            }
        };
        plain.push_str(shown);
    }
    let lines = plain.lines().map(|line| line.trim_end().to_owned());
    lines.collect()
}

#[test]
fn every_view_is_the_same_frame_as_text_in_color_and_as_a_picture() {
    let views = views();
    let texts: Vec<String> = views.iter().map(|it| render(it, "text", &[])).collect();
    let pictures: Vec<String> = views.iter().map(|it| render(it, "svg", &[])).collect();
    let different: BTreeSet<&String> = texts.iter().collect();
    assert_eq!(different.len(), views.len(), "two views are one frame");
    for ((view, text), picture) in views.iter().zip(&texts).zip(&read(&pictures)) {
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), ROWS, "{view}\n{text}");
        let widest = lines.iter().map(|line| text::width(line)).max().unwrap();
        assert!(widest <= COLUMNS, "{view}: {widest} cells\n{text}");

        let (width, height) = (
            COLUMNS as u64 * CELL.0 + 2 * MARGIN,
            ROWS as u64 * CELL.1 + 2 * MARGIN,
        );
        assert_eq!(picture["root"], "svg", "{view}");
        assert_eq!(picture["width"], width.to_string(), "{view}");
        assert_eq!(picture["height"], height.to_string(), "{view}");
        assert_eq!(picture["box"], format!("0 0 {width} {height}"), "{view}");
        assert_eq!(rows(picture), lines, "{view} as a picture");

        let ansi = render(view, "ansi", &[]);
        assert!(ansi.contains(";38;2;"), "{view} has no color: {ansi:?}");
        assert_eq!(without_colors(&ansi), lines, "{view} in color");
    }
}

#[test]
fn the_light_theme_is_light_the_dark_one_dark_and_mono_has_no_color() {
    let ground = |theme: &str| {
        let picture = render("jobs", "svg", &["--theme", theme]);
        let told = read(&[picture]).remove(0);
        let hex = told["ground"].as_str().unwrap().strip_prefix('#').unwrap();
        let part = |at: usize| u32::from_str_radix(&hex[at..at + 2], 16).unwrap();
        [part(0), part(2), part(4)]
    };
    assert!(ground("light").iter().all(|part| *part > 0xc0));
    assert!(ground("dark").iter().all(|part| *part < 0x40));
    let mono = render("jobs", "ansi", &["--theme", "mono"]);
    for color in ["38;", "48;"] {
        assert!(!mono.contains(color), "{mono:?}");
    }
    assert!(mono.contains("\x1b[0;1m"), "what is bold stays bold");
}

#[test]
fn signs_that_mean_something_to_xml_are_drawn_as_they_are() {
    let ascii = |output: &str| render("jobs", output, &["--ascii"]);
    let text = ascii("text");
    assert!(text.contains('>'), "{text}");
    let picture = ascii("svg");
    let told = read(&[picture]).remove(0);
    assert_eq!(rows(&told), text.lines().collect::<Vec<_>>());
}

#[test]
fn ascii_is_nothing_but_ascii() {
    for view in views() {
        let text = render(&view, "text", &["--ascii"]);
        let others: String = text.chars().filter(|c| !c.is_ascii()).collect();
        assert_eq!(others, "", "{view}\n{text}");
    }
}
