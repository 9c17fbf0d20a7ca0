//! A YAML text as a tree that remembers where everything stands.
//!
//! Reading straight into structs would say "unknown variant at line 5" and lose
//! the rule it is in; the tree keeps line, column and the text as written, so
//! that the reader above can name the rule, the field and the nearest valid name.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned, UserMessageFormatter};

use super::policy::Place;

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What stands there.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    /// Text, quoted or not.
    Text(String),
    /// A number or a yes/no, with the text as written.
    Plain {
        written: String,
        number: Option<i128>,
        flag: Option<bool>,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) key: String,
    pub(super) node: Node,
}

impl Node {
    /// What stands there, in a word or two.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Text(_) => "text",
            Value::Plain { flag: Some(_), .. } => "a yes/no value",
            Value::Plain { .. } => "a number",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// Whether it says nothing: null, empty text, an empty list or mapping.
    pub(super) fn is_empty(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::Text(text) => text.is_empty(),
            Value::Plain { .. } => false,
            Value::List(nodes) => nodes.is_empty(),
            Value::Map(entries) => entries.is_empty(),
        }
    }

    /// A scalar as it was written; `None` for null, lists and mappings.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Plain { written, .. } => Some(written),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }
}

/// Why a text is not YAML that we read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotYaml {
    pub(super) place: Place,
    pub(super) says: String,
}

fn place_of(location: &Location) -> Place {
    Place {
        line: location.line(),
        column: location.column(),
    }
}

/// Reads one YAML document.
pub(super) fn read(text: &str) -> Result<Node, NotYaml> {
    let options = serde_saphyr::options! { with_snippet: false, reject_unsupported_tags: true };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(root) => Ok(place(root, text)),
        Err(error) => {
            let place = error.location().as_ref().map(place_of).unwrap_or_default();
            let says = error
                .without_snippet()
                .render_with_formatter(&UserMessageFormatter);
            let says = says.lines().next().unwrap_or_default();
            // The place is told once, by whoever shows this.
            let says = says.split(" at line ").next().unwrap_or(says);
            Err(NotYaml {
                place,
                says: says.trim_start_matches("error: ").to_owned(),
            })
        }
    }
}

/// A value before its text is looked up in the source.
enum Raw {
    Null,
    Text(String),
    Number(Option<i128>, String),
    Flag(bool),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn place(node: Spanned<Raw>, source: &str) -> Node {
    let value = match node.value {
        Raw::Null => Value::Null,
        Raw::Text(text) => Value::Text(text),
        Raw::Number(number, fallback) => Value::Plain {
            written: written(&node.defined, source).unwrap_or(fallback),
            number,
            flag: None,
        },
        Raw::Flag(flag) => Value::Plain {
            written: written(&node.defined, source).unwrap_or_else(|| flag.to_string()),
            number: None,
            flag: Some(flag),
        },
        Raw::List(nodes) => {
            Value::List(nodes.into_iter().map(|node| place(node, source)).collect())
        }
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, node)| Entry {
                    place: place_of(&key.referenced),
                    key: key.value,
                    node: place(node, source),
                })
                .collect(),
        ),
    };
    Node {
        place: place_of(&node.referenced),
        value,
    }
}

/// The scalar as it stands in the source, so that a version `1.10` stays `1.10`.
fn written(location: &Location, source: &str) -> Option<String> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let len = usize::try_from(span.byte_len()?).ok()?;
    let text = source.get(start..start.checked_add(len)?)?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, a list or a mapping")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Raw, E> {
        Ok(Raw::Flag(flag))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Raw, E> {
        Ok(Raw::Number(Some(number.into()), number.to_string()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Raw, E> {
        Ok(Raw::Number(Some(number.into()), number.to_string()))
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<Raw, E> {
        Ok(Raw::Number(Some(number), number.to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Raw, E> {
        Ok(Raw::Number(None, number.to_string()))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Raw::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(node: &Node, depth: usize, out: &mut String) {
        let pad = "  ".repeat(depth);
        let Place { line, column } = node.place;
        match &node.value {
            Value::List(nodes) => {
                for node in nodes {
                    out.push_str(&format!("{pad}-\n"));
                    outline(node, depth + 1, out);
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    let at = entry.place;
                    out.push_str(&format!("{pad}{}:{} {}\n", at.line, at.column, entry.key));
                    outline(&entry.node, depth + 1, out);
                }
            }
            Value::Null | Value::Text(_) | Value::Plain { .. } => {
                let text = node.text().unwrap_or("~");
                out.push_str(&format!("{pad}{line}:{column} {text}\n"));
            }
        }
    }

    #[test]
    fn the_tree_keeps_places_and_the_text_as_written() {
        let text =
            "version: 1.10\nlabels:\n  on: yes\n  n: 007\n  q: \"true\"\nlist: [a, 2]\nnone:\n";
        let mut out = String::new();
        outline(&read(text).expect("yaml"), 0, &mut out);
        assert_eq!(
            out,
            "1:1 version\n  1:10 1.10\n2:1 labels\n  3:3 on\n    3:7 yes\n  4:3 n\n    4:6 007\n  \
             5:3 q\n    5:6 true\n6:1 list\n  -\n    6:8 a\n  -\n    6:11 2\n7:1 none\n  7:5 ~\n"
        );
    }

    #[test]
    fn what_is_not_yaml_is_refused_with_its_place() {
        for (text, expected) in [
            ("a: [1, 2\nb: 3\n", "2:2 illegal placement of ':' indicator"),
            (
                "a: 1\na: 2\n",
                "2:1 duplicate mapping key `a` is not allowed here",
            ),
            (
                "a: 1\n---\nb: 2\n",
                "3:1 only single YAML document expected but multiple found",
            ),
            ("a: *nowhere\n", "1:4 reference to unknown value"),
            ("a: &x [*x]\n", "1:8 Recursive reference not allowed here"),
            ("? [a]\n: b\n", "1:3 expected string scalar"),
        ] {
            let NotYaml { place, says } = read(text).expect_err(text);
            assert_eq!(format!("{}:{} {says}", place.line, place.column), expected);
        }
        assert!(read("a: !include x\n").is_err());
        assert!(read(&"[".repeat(10_000)).is_err());
    }
}
