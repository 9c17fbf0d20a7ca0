//! `capdeck keys`: the key table, for people, scripts and the README.

use serde::Serialize;

use super::{CliError, print};
use crate::state::action::Action;
use crate::tui::keymap::Keymap;

/// How to print the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Columns for reading
    #[default]
    Table,
    /// One document of schema capdeck/1
    Json,
    /// The table of the README
    Markdown,
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    kind: &'static str,
    items: Vec<Item>,
}

/// One action in one mode, or a command without a key.
#[derive(Serialize)]
struct Item {
    mode: Option<&'static str>,
    chords: Vec<String>,
    action: &'static str,
    help: &'static str,
    acts: bool,
}

pub(super) fn run(args: &Args, keymap: &Keymap) -> Result<(), CliError> {
    let items = items(keymap);
    let text = match args.output {
        Format::Table => table(&items),
        Format::Markdown => markdown(&items),
        Format::Json => {
            let document = Document {
                schema: "capdeck/1",
                kind: "keys",
                items,
            };
            let mut text = serde_json::to_string_pretty(&document)
                .map_err(|error| CliError::new(super::Kind::Bug, error))?;
            text.push('\n');
            text
        }
    };
    print::out(text.as_bytes());
    Ok(())
}

fn items(keymap: &Keymap) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    for binding in keymap.bindings() {
        let mode = Some(binding.mode.word());
        let action = binding.action.name().unwrap_or_default();
        let chord = binding.chord.to_string();
        match items
            .iter_mut()
            .find(|item| item.mode == mode && item.action == action)
        {
            Some(item) => item.chords.push(chord),
            None => items.push(Item {
                mode,
                chords: vec![chord],
                action,
                help: binding.action.help(),
                acts: binding.action.acts(),
            }),
        }
    }
    for action in Action::named() {
        let name = action.name().unwrap_or_default();
        if !items.iter().any(|item| item.action == name) {
            items.push(Item {
                mode: None,
                chords: Vec::new(),
                action: name,
                help: action.help(),
                acts: action.acts(),
            });
        }
    }
    items
}

fn table(items: &[Item]) -> String {
    let mut text = String::from("KEY             WHERE   COMMAND         WHAT\n");
    for item in items {
        text.push_str(&format!(
            "{:<15} {:<7} :{:<14} {}\n",
            item.chords.join(" "),
            item.mode.unwrap_or("palette"),
            item.action,
            item.help
        ));
    }
    text
}

/// The table as it stands in the README, where a test compares it.
fn markdown(items: &[Item]) -> String {
    let mut text = String::from("| Key | Where | Command | What it does |\n|---|---|---|---|\n");
    for item in items {
        let keys: Vec<String> = item.chords.iter().map(|key| format!("`{key}`")).collect();
        text.push_str(&format!(
            "| {} | {} | `:{}` | {} |\n",
            keys.join(" "),
            item.mode.unwrap_or("palette"),
            item.action,
            item.help
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_listed_once_a_mode() {
        let items = items(&Keymap::default());
        for action in Action::named() {
            let name = action.name().expect("named");
            assert!(items.iter().any(|item| item.action == name), "{name}");
        }
        let first = items
            .iter()
            .find(|item| item.action == "first")
            .expect("first");
        assert_eq!(first.chords, ["gg", "Home"]);
        assert!(table(&items).contains("gg Home         view    :first"));
        assert!(markdown(&items).contains("| `X` | view | `:cancel` |"));
    }
}
