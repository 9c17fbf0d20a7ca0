//! Reading single fields of the YAML tree, and collecting what is wrong with them.

use std::collections::BTreeMap;

use super::{Place, Problem};
use crate::control_plane::kernel::document::{Entry, Node, Value};
use crate::nearest::nearest;

/// Collects problems while it reads, so that one run tells them all.
#[derive(Default)]
pub(super) struct Reader {
    /// The rule that is being read, for the problems found in it.
    pub(super) rule: Option<String>,
    /// What is read, where it is not a policy.
    pub(super) of: Option<&'static str>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

impl Reader {
    /// The entries of a mapping whose keys are known; the others are problems.
    /// `later` are fields that CAP has and this kernel does not evaluate: they
    /// pass only when they say nothing.
    pub(super) fn entries<'a>(
        &mut self,
        node: &'a Node,
        field: &str,
        known: &[&str],
        later: &[&str],
    ) -> Vec<&'a Entry> {
        let entries = match &node.value {
            Value::Map(entries) => entries,
            Value::Null => return Vec::new(),
            Value::Text(_) | Value::Plain { .. } | Value::List(_) => {
                self.problem(
                    node.place,
                    field,
                    format!("must be a mapping of fields, not {}", node.kind()),
                );
                return Vec::new();
            }
        };
        let mut good = Vec::with_capacity(entries.len());
        for entry in entries {
            let key = entry.key.as_str();
            let path = if field.is_empty() {
                entry.key.clone()
            } else {
                format!("{field}.{key}")
            };
            if known.contains(&key) {
                good.push(entry);
            } else if later.contains(&key) {
                if !entry.node.is_empty() {
                    self.problem(
                        entry.place,
                        &path,
                        "cannot be decided from a request by this kernel; a rule that would be \
                         half obeyed is refused",
                    );
                }
            } else {
                let all: Vec<&str> = known.iter().chain(later).copied().collect();
                self.name_problem(
                    entry.place,
                    &path,
                    format!("is not a field of {}", self.of.unwrap_or("a policy")),
                    nearest(key, all.iter().copied()),
                );
            }
        }
        good
    }

    /// The entries of a mapping whose keys are names that the file chooses.
    pub(super) fn free_entries<'a>(
        &mut self,
        node: &'a Node,
        field: &str,
        wanted: &str,
    ) -> &'a [Entry] {
        match &node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            Value::Text(_) | Value::Plain { .. } | Value::List(_) => {
                self.problem(
                    node.place,
                    field,
                    format!("must be {wanted}, not {}", node.kind()),
                );
                &[]
            }
        }
    }

    pub(super) fn list<'a>(&mut self, node: &'a Node, field: &str) -> Option<&'a [Node]> {
        match &node.value {
            Value::List(nodes) => Some(nodes),
            Value::Null => None,
            Value::Text(_) | Value::Plain { .. } | Value::Map(_) => {
                self.problem(
                    node.place,
                    field,
                    format!("must be a list, not {}", node.kind()),
                );
                None
            }
        }
    }

    pub(super) fn text(&mut self, node: &Node, field: &str) -> Option<String> {
        match node.text() {
            Some(text) => Some(text.trim().to_owned()),
            None if matches!(node.value, Value::Null) => Some(String::new()),
            None => {
                self.problem(
                    node.place,
                    field,
                    format!("must be text, not {}", node.kind()),
                );
                None
            }
        }
    }

    pub(super) fn words(&mut self, node: &Node, field: &str) -> Vec<String> {
        let words = self.placed_words(node, field);
        words.into_iter().map(|(_, word)| word).collect()
    }

    pub(super) fn placed_words(&mut self, node: &Node, field: &str) -> Vec<(Place, String)> {
        let Some(nodes) = self.list(node, field) else {
            return Vec::new();
        };
        let mut words = Vec::with_capacity(nodes.len());
        for node in nodes {
            match self.text(node, field) {
                Some(word) if word.is_empty() => {
                    self.problem(node.place, field, "has an empty entry");
                }
                Some(word) => words.push((node.place, word)),
                None => {}
            }
        }
        words
    }

    pub(super) fn text_map(&mut self, node: &Node, field: &str) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        for entry in self.free_entries(node, field, "a mapping of names to text") {
            // Labels are compared exactly, so nothing is trimmed here.
            match entry.node.text() {
                Some(text) => {
                    map.insert(entry.key.clone(), text.to_owned());
                }
                None => self.problem(
                    entry.node.place,
                    &format!("{field}.{}", entry.key),
                    format!("must be text, not {}", entry.node.kind()),
                ),
            }
        }
        map
    }

    pub(super) fn flag(&mut self, node: &Node, field: &str) -> bool {
        match &node.value {
            Value::Plain {
                flag: Some(flag), ..
            } => *flag,
            Value::Null => false,
            Value::Text(_) | Value::Plain { .. } | Value::List(_) | Value::Map(_) => {
                self.problem(
                    node.place,
                    field,
                    format!("must be true or false, not {}", node.kind()),
                );
                false
            }
        }
    }

    /// A whole number from 0 to `most`.
    pub(super) fn count(&mut self, node: &Node, field: &str, most: i64) -> Option<i64> {
        let number = match &node.value {
            Value::Null => return None,
            Value::Plain {
                number, flag: None, ..
            } => *number,
            Value::Text(_) | Value::Plain { .. } | Value::List(_) | Value::Map(_) => {
                self.problem(
                    node.place,
                    field,
                    format!("must be a whole number, not {}", node.kind()),
                );
                return None;
            }
        };
        let says = match number {
            None => "must be a whole number".to_owned(),
            Some(number) if number < 0 => "must not be negative".to_owned(),
            Some(number) => match i64::try_from(number) {
                Ok(number) if number <= most => return Some(number),
                _ => format!("must be at most {most}"),
            },
        };
        self.problem(node.place, field, says);
        None
    }

    pub(super) fn small_count(&mut self, node: &Node, field: &str) -> Option<i32> {
        let number = self.count(node, field, i32::MAX.into())?;
        i32::try_from(number).ok()
    }

    pub(super) fn problem(&mut self, place: Place, field: &str, says: impl Into<String>) {
        self.name_problem(place, field, says.into(), None);
    }

    pub(super) fn name_problem(
        &mut self,
        place: Place,
        field: &str,
        says: String,
        nearest: Option<&str>,
    ) {
        self.problems.push(Problem {
            place,
            rule: self.rule.clone(),
            field: field.to_owned(),
            says,
            nearest: nearest.map(str::to_owned),
        });
    }

    pub(super) fn warning(&mut self, place: Place, says: String) {
        self.warnings.push(Problem {
            place,
            rule: self.rule.clone(),
            field: String::new(),
            says,
            nearest: None,
        });
    }
}
