//! What the compiler does not check: who may import whom, and a few habits.
//!
//! The scan reads text. That is enough because imports name their module from
//! the crate root in full, which the scan insists on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::support::root;

/// Which rooms of the crate a room may name, itself aside. `*` is all of them.
///
/// The console and the control plane meet only on the wire; what decides knows
/// neither time nor the outside; `config` hands out addresses as data.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("ids", &[]),
    ("nearest", &[]),
    ("time", &[]),
    ("text", &["time"]),
    ("config", &["ids", "nearest", "time"]),
    ("bus", &["config", "ids", "time"]),
    ("store", &["config", "ids", "time"]),
    ("wire", &["bus", "ids", "time"]),
    ("state", &["ids", "nearest", "text", "time", "wire"]),
    ("view", &["ids", "state", "text", "time", "wire"]),
    ("gateway_client", &["config", "ids", "time"]),
    ("audit", &["ids", "time"]),
    (
        "runtime",
        &[
            "audit",
            "bus",
            "gateway_client",
            "ids",
            "state",
            "store",
            "time",
            "wire",
        ],
    ),
    (
        "headless",
        &["ids", "runtime", "state", "text", "time", "wire"],
    ),
    (
        "tui",
        &[
            "ids", "nearest", "runtime", "state", "text", "time", "view", "wire",
        ],
    ),
    (
        "control_plane",
        &["bus", "ids", "nearest", "store", "time", "wire"],
    ),
    ("cli", &["*"]),
    ("main", &["*"]),
    ("lib", &["*"]),
];

/// Inside a room: a part, and the parts of the same room it must not name.
const NEVER_BACK: &[(&str, &[&str])] = &[
    ("tui/theme", &["tui::screen", "tui::widget"]),
    ("tui/widget", &["tui::screen"]),
];

/// Crates that would let the outside into the rooms that decide.
const NOT_IN_STATE: &[&str] = &[
    "async_nats",
    "crossterm",
    "ratatui",
    "redis",
    "reqwest",
    "serde",
    "serde_json",
    "tokio",
    "tracing",
];

/// A source file as the scan sees it.
struct Source {
    /// Below `src/`, such as `bus/nats.rs`.
    path: String,
    text: String,
    /// It is compiled for tests alone.
    test: bool,
}

impl Source {
    /// The room: the name of the top module.
    fn room(&self) -> &str {
        let top = self.path.split('/').next().unwrap();
        top.strip_suffix(".rs").unwrap_or(top)
    }

    /// Lines of code outside of tests, with their numbers, without comments.
    fn code(&self) -> Vec<(usize, &str)> {
        if self.test {
            return Vec::new();
        }
        let mut code = Vec::new();
        let mut lines = self.text.lines().enumerate();
        while let Some((at, line)) = lines.next() {
            if line.trim_start() == "#[cfg(test)]" {
                skip_item(&mut lines);
                continue;
            }
            code.push((at + 1, without_comment(line)));
        }
        code
    }

    fn find(&self, problems: &mut Vec<String>, wrong: impl Fn(&str) -> Option<String>) {
        for (at, line) in self.code() {
            if let Some(problem) = wrong(line) {
                problems.push(format!("src/{}:{at}: {problem}", self.path));
            }
        }
    }
}

/// Skips the item that follows `#[cfg(test)]`, up to the brace that closes it.
fn skip_item<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>) {
    let Some((_, first)) = lines.find(|(_, line)| !line.trim_start().starts_with("#[")) else {
        return;
    };
    let indent = first.len() - first.trim_start().len();
    if first.trim_end().ends_with([';', '}']) {
        return;
    }
    for (_, line) in lines {
        let text = line.trim();
        if line.len() - line.trim_start().len() == indent && (text == "}" || text == ");") {
            return;
        }
    }
}

fn without_comment(line: &str) -> &str {
    let mut from = 0;
    while let Some(at) = line[from..].find("//") {
        let at = from + at;
        // An address, such as nats://host, is no comment.
        if !line[..at].ends_with(':') {
            return &line[..at];
        }
        from = at + 2;
    }
    line
}

/// The names that `line` takes directly from `prefix`, such as `bus` from `crate::bus::Bus`.
fn named_after<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(prefix).filter_map(move |(at, _)| {
        let before = line[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            return None;
        }
        let rest = &line[at + prefix.len()..];
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        Some(if end == 0 {
            &rest[..rest.len().min(1)]
        } else {
            &rest[..end]
        })
    })
}

fn import_problem(source: &Source, line: &str) -> Option<String> {
    let room = source.room();
    let allowed = MAY_IMPORT.iter().find(|(name, _)| *name == room);
    let Some((_, allowed)) = allowed else {
        return Some(format!("the room `{room}` is not in the import table"));
    };
    for named in named_after(line, "crate::") {
        if named == "{" || named == "*" {
            return Some("name each module in full, `use crate::module::Thing`".into());
        }
        let fine = named == room || allowed.contains(&"*") || allowed.contains(&named);
        // A macro of the crate root, and a thing of the root itself, have no room.
        if !fine && MAY_IMPORT.iter().any(|(name, _)| *name == named) {
            return Some(format!("`{room}` may not import `{named}`"));
        }
    }
    let depth = source.path.split('/').count();
    if line.contains(&"super::".repeat(depth)) {
        return Some("this reaches the crate root: write `crate::`".into());
    }
    for (part, never) in NEVER_BACK {
        let inside = source.path.strip_prefix(part);
        if !inside.is_some_and(|rest| rest.starts_with(['/', '.'])) {
            continue;
        }
        for never in *never {
            if line.contains(&format!("crate::{never}")) {
                return Some(format!("`{part}` may not import `{never}`"));
            }
        }
    }
    None
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let mut sources: Vec<_> = files
        .into_iter()
        .map(|file| {
            let below = file.strip_prefix(&src).unwrap().to_str().unwrap();
            Source {
                path: below.to_owned(),
                text: std::fs::read_to_string(&file).unwrap(),
                test: false,
            }
        })
        .collect();
    // `#[cfg(test)] mod name;` makes the file a test, and those below it.
    let mut tests = BTreeSet::new();
    for source in &sources {
        let mut after_test = false;
        for line in source.text.lines().map(str::trim) {
            if let Some(module) = line.strip_prefix("mod ").and_then(|m| m.strip_suffix(';'))
                && after_test
            {
                let parent = source.path.trim_end_matches(".rs");
                tests.insert(format!("{parent}/{module}"));
            }
            after_test = line == "#[cfg(test)]" || (after_test && line.starts_with("#["));
        }
    }
    for source in &mut sources {
        source.test = tests.iter().any(|test| {
            let rest = source.path.strip_prefix(test.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        });
    }
    assert!(sources.len() > 20, "the scan found the sources");
    sources
}

fn rust_files(dir: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            rust_files(&entry, files);
        } else if entry.extension().is_some_and(|ext| ext == "rs") {
            files.push(entry);
        }
    }
}

fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn every_room_imports_only_what_it_may() {
    let mut problems = Vec::new();
    for source in sources() {
        source.find(&mut problems, |line| import_problem(&source, line));
    }
    assert_none(&problems);
}

#[test]
fn the_import_table_has_every_room_and_no_other() {
    let rooms: BTreeSet<_> = sources().iter().map(|s| s.room().to_owned()).collect();
    let table: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let listed: BTreeSet<_> = table.keys().map(|room| (*room).to_owned()).collect();
    assert_eq!(rooms, listed);
    for (room, allowed) in table {
        for other in allowed {
            assert!(*other == "*" || listed.contains(*other), "{room}: {other}");
        }
    }
}

#[test]
fn what_decides_knows_no_runtime_screen_or_server() {
    let mut problems = Vec::new();
    for source in sources() {
        if !["state", "view"].contains(&source.room()) {
            continue;
        }
        source.find(&mut problems, |line| {
            let found = NOT_IN_STATE.iter().find(|name| {
                let path = format!("{name}::");
                named_after(line, &path).next().is_some()
                    || line.contains(&format!("derive({name}"))
            });
            found.map(|name| format!("`{}` may not use {name}", source.room()))
        });
    }
    assert_none(&problems);
}

#[test]
fn colors_are_named_in_the_theme_alone() {
    let mut problems = Vec::new();
    for source in sources() {
        if source.path.starts_with("tui/theme") {
            continue;
        }
        source.find(&mut problems, |line| {
            let named = named_after(line, "Color::").next().is_some();
            named.then(|| "a color: ask the theme for a role".into())
        });
    }
    assert_none(&problems);
}

#[test]
fn nothing_is_unwrapped_outside_of_tests() {
    let mut problems = Vec::new();
    for source in sources() {
        source.find(&mut problems, |line| {
            let found = line.contains(".unwrap()") || line.contains(".unwrap_err()");
            found.then(|| "say with `expect` why it holds".into())
        });
    }
    assert_none(&problems);
}

#[test]
fn no_note_says_that_work_is_left() {
    // In halves, or this line would be found.
    let words = [("FIX", "ME"), ("TO", "DO"), ("XX", "X")].map(|(a, b)| format!("{a}{b}"));
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    rust_files(&root().join("tests"), &mut files);
    let mut problems = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (at, line) in text.lines().enumerate() {
            let mut found = words.iter().filter(|word| {
                line.split(|c: char| !c.is_alphanumeric())
                    .any(|w| w == word.as_str())
            });
            if let Some(word) = found.next() {
                problems.push(format!("{}:{}: {word}", file.display(), at + 1));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut problems = Vec::new();
    for source in sources() {
        let documented = source.text.trim_start().starts_with("//!");
        if !documented && !source.test && source.path != "wire/generated.rs" {
            problems.push(format!("src/{}:1: no module docs", source.path));
        }
    }
    assert_none(&problems);
}

#[test]
fn the_scan_sees_what_is_wrong_and_where() {
    let check = |path: &str, text: &str| {
        let source = Source {
            path: path.into(),
            text: text.into(),
            test: false,
        };
        let mut problems = Vec::new();
        source.find(&mut problems, |line| import_problem(&source, line));
        problems.join("\n")
    };
    assert_eq!(
        check(
            "control_plane/gateway.rs",
            "//! Docs.\nuse crate::state::State;\n"
        ),
        "src/control_plane/gateway.rs:2: `control_plane` may not import `state`"
    );
    assert_eq!(
        check("state/step.rs", "fn f(x: crate::bus::Bus) {}"),
        "src/state/step.rs:1: `state` may not import `bus`"
    );
    assert_eq!(
        check("bus.rs", "use crate::{ids, time};"),
        "src/bus.rs:1: name each module in full, `use crate::module::Thing`"
    );
    assert_eq!(
        check("bus/nats.rs", "use super::super::wire::Packet;"),
        "src/bus/nats.rs:1: this reaches the crate root: write `crate::`"
    );
    assert_eq!(
        check("tui/widget/table.rs", "use crate::tui::screen::Jobs;"),
        "src/tui/widget/table.rs:1: `tui/widget` may not import `tui::screen`"
    );
    assert_eq!(
        check("attic.rs", "fn f() {}"),
        "src/attic.rs:1: the room `attic` is not in the import table"
    );
    let fine = "//! [`crate::state`]\nuse super::Bus;\nlet u = \"nats://x\"; // crate::tui\n\
        #[cfg(test)]\nmod tests {\n    use crate::tui::Tui;\n}\nuse crate::time::Elapsed;\n";
    assert_eq!(check("bus/nats.rs", fine), "");
    assert_eq!(
        check("bus/nats.rs", &format!("{fine}use crate::wire::Packet;\n")),
        "src/bus/nats.rs:9: `bus` may not import `wire`"
    );
}
