//! Theme files: TOML in, looks or an error with its line out.

use ratatui::style::{Color, Modifier};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Depth, Look, Role, ThemeError};
use crate::nearest::nearest;

/// Finds the text of the theme that another one inherits from.
pub(super) type Base<'a> = dyn Fn(&str) -> Result<String, ThemeError> + 'a;

/// How often a theme may inherit from one that inherits.
const GENERATIONS: usize = 4;

/// What a theme file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    given: Vec<(Role, Given)>,
}

/// What a file says about one role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    Colors {
        exact: Color,
        indexed: u8,
        named: Named,
    },
    Attributes(Modifier),
}

/// The third entry of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Default,
    Color(Color),
    Attribute(Modifier),
}

const NAMES: &[(&str, Color)] = &[
    ("black", Color::Black),
    ("red", Color::Red),
    ("green", Color::Green),
    ("yellow", Color::Yellow),
    ("blue", Color::Blue),
    ("magenta", Color::Magenta),
    ("cyan", Color::Cyan),
    ("white", Color::Gray),
    ("bright-black", Color::DarkGray),
    ("bright-red", Color::LightRed),
    ("bright-green", Color::LightGreen),
    ("bright-yellow", Color::LightYellow),
    ("bright-blue", Color::LightBlue),
    ("bright-magenta", Color::LightMagenta),
    ("bright-cyan", Color::LightCyan),
    ("bright-white", Color::White),
];

const ATTRIBUTES: &[(&str, Modifier)] = &[
    ("bold", Modifier::BOLD),
    ("dim", Modifier::DIM),
    ("reverse", Modifier::REVERSED),
    ("underline", Modifier::UNDERLINED),
    ("italic", Modifier::ITALIC),
];

const TABLES: &[&str] = &["ground", "ink", "state", "use"];

impl Parsed {
    fn given(&self, role: Role) -> Option<Given> {
        self.given
            .iter()
            .find(|(given, _)| *given == role)
            .map(|(_, given)| *given)
            .or_else(|| {
                let fallback = role.fallback();
                (fallback != role).then(|| self.given(fallback)).flatten()
            })
    }

    pub(super) fn look(&self, role: Role, depth: Depth) -> Look {
        let plain = |color| Look {
            color: Some(color),
            attributes: Modifier::empty(),
        };
        let only = |attributes| Look {
            color: None,
            attributes,
        };
        match (self.given(role), depth) {
            (None, _) | (Some(Given::Colors { .. }), Depth::Mono) => Look::default(),
            (Some(Given::Attributes(attributes)), _) => only(attributes),
            (Some(Given::Colors { exact, .. }), Depth::True) => plain(exact),
            (Some(Given::Colors { indexed, .. }), Depth::Indexed) => plain(Color::Indexed(indexed)),
            (Some(Given::Colors { named, .. }), Depth::Sixteen) => match named {
                Named::Default => plain(Color::Reset),
                Named::Color(color) => plain(color),
                Named::Attribute(attribute) => only(attribute),
            },
        }
    }

    /// The color of a role at a depth whose colors we know.
    pub(super) fn color(&self, role: Role, depth: Depth) -> Option<Color> {
        self.look(role, depth).color
    }
}

/// Reads a theme file called `file`; `base` finds the theme that it inherits from.
pub(super) fn read(source: &str, file: &str, base: &Base<'_>) -> Result<Parsed, ThemeError> {
    generation(source, file, base, GENERATIONS)
}

fn generation(
    source: &str,
    file: &str,
    base: &Base<'_>,
    left: usize,
) -> Result<Parsed, ThemeError> {
    let reader = Reader { source, file };
    let root = DeTable::parse(source).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        reader.bad(at, error.message().to_owned(), None)
    })?;
    let mut parsed = Parsed::default();
    for (key, value) in root.get_ref() {
        let at = key.span().start;
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("inherits", DeValue::String(name)) => {
                if left == 0 {
                    let says = "it inherits from itself, or through too many files".to_owned();
                    return Err(reader.bad(at, says, None));
                }
                let text = base(name)
                    .map_err(|error| reader.bad(value.span().start, error.to_string(), None))?;
                let inherited = generation(&text, name, base, left - 1)?;
                for (role, given) in inherited.given {
                    if parsed.given.iter().all(|(own, _)| *own != role) {
                        parsed.given.push((role, given));
                    }
                }
            }
            (table, DeValue::Table(roles)) if TABLES.contains(&table) => {
                for (key, value) in roles {
                    let (role, given) = reader.role(table, key, value)?;
                    parsed.given.retain(|(own, _)| *own != role);
                    parsed.given.push((role, given));
                }
            }
            (table, _) if TABLES.contains(&table) => {
                return Err(reader.bad(at, format!("`{table}` is not a table"), None));
            }
            (other, _) => {
                let nearest = nearest(other, TABLES.iter().copied());
                let says = format!("`{other}` is not a table of themes");
                return Err(reader.bad(at, says, nearest));
            }
        }
    }
    for role in Role::ALL {
        if parsed.given(*role).is_none() {
            let says = format!("role `{role}` is missing");
            return Err(reader.bad(source.len(), says, None));
        }
    }
    Ok(parsed)
}

struct Reader<'a> {
    source: &'a str,
    file: &'a str,
}

impl Reader<'_> {
    fn bad(&self, at: usize, says: String, nearest: Option<&'static str>) -> ThemeError {
        let before = &self.source.as_bytes()[..at.min(self.source.len())];
        ThemeError::Bad {
            file: self.file.to_owned(),
            line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
            says,
            nearest,
        }
    }

    fn role(
        &self,
        table: &str,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(Role, Given), ThemeError> {
        let name = key.get_ref().as_ref();
        let at = key.span().start;
        let Some(role) = Role::from_name(name) else {
            let nearest = nearest(name, Role::ALL.iter().map(|role| role.name()));
            return Err(self.bad(at, format!("`{name}` is not a role"), nearest));
        };
        if role.table() != table {
            let says = format!("role `{name}` belongs into table `{}`", role.table());
            return Err(self.bad(at, says, Some(role.table())));
        }
        let DeValue::Array(entries) = value.get_ref() else {
            let says =
                format!("`{name}` is not a list: [\"#rrggbb\", 0 to 255, \"name\"] or attributes");
            return Err(self.bad(value.span().start, says, None));
        };
        let mut attributes = Modifier::empty();
        let (mut exact, mut indexed, mut named) = (None, None, None);
        for (place, entry) in entries.iter().enumerate() {
            let at = entry.span().start;
            match (place, entry.get_ref()) {
                (0, DeValue::String(text)) if text.starts_with('#') => {
                    exact = Some(self.exact(at, text)?);
                }
                (1, DeValue::Integer(number)) if exact.is_some() => {
                    let number = number.as_str().parse::<u8>().ok();
                    indexed =
                        Some(number.ok_or_else(|| {
                            self.bad(at, "an index is 0 to 255".to_owned(), None)
                        })?);
                }
                (2, DeValue::String(text)) if exact.is_some() => {
                    named = Some(self.named(at, text)?);
                }
                (_, DeValue::String(text)) if exact.is_none() => {
                    attributes |= self.attribute(at, text)?;
                }
                _ => {
                    let says = format!(
                        "entry {} of `{name}` is neither a color nor an attribute",
                        place + 1
                    );
                    return Err(self.bad(at, says, None));
                }
            }
        }
        let given = match (exact, indexed, named) {
            (Some(exact), Some(indexed), Some(named)) => Given::Colors {
                exact,
                indexed,
                named,
            },
            (None, ..) => Given::Attributes(attributes),
            (Some(_), ..) => {
                let says = format!("`{name}` wants [\"#rrggbb\", 0 to 255, \"name\"]");
                return Err(self.bad(value.span().start, says, None));
            }
        };
        Ok((role, given))
    }

    fn exact(&self, at: usize, text: &str) -> Result<Color, ThemeError> {
        let channel = |range| {
            text.get(range)
                .and_then(|digits| u8::from_str_radix(digits, 16).ok())
        };
        match (text.len(), channel(1..3), channel(3..5), channel(5..7)) {
            (7, Some(red), Some(green), Some(blue)) => Ok(Color::Rgb(red, green, blue)),
            _ => Err(self.bad(at, format!("`{text}` is not a color like `#78b4f2`"), None)),
        }
    }

    fn named(&self, at: usize, text: &str) -> Result<Named, ThemeError> {
        if text == "default" {
            return Ok(Named::Default);
        }
        if let Some((_, color)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(Named::Color(*color));
        }
        if let Some((_, attribute)) = ATTRIBUTES.iter().find(|(name, _)| *name == text) {
            return Ok(Named::Attribute(*attribute));
        }
        let names = NAMES.iter().map(|(name, _)| *name);
        let nearest = nearest(text, names.chain(["default", "reverse"]));
        Err(self.bad(at, format!("`{text}` is not one of the 16 colors"), nearest))
    }

    fn attribute(&self, at: usize, text: &str) -> Result<Modifier, ThemeError> {
        let names = || ATTRIBUTES.iter().map(|(name, _)| *name);
        ATTRIBUTES
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, attribute)| *attribute)
            .ok_or_else(|| {
                let nearest = nearest(text, names());
                self.bad(at, format!("`{text}` is not an attribute"), nearest)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &str) {
        let dark = include_str!("../../../themes/dark.toml");
        let error = read(source, "mine.toml", &|name| match name {
            "dark" => Ok(dark.to_owned()),
            "loop" => Ok("inherits = \"loop\"".to_owned()),
            other => Err(ThemeError::Unknown {
                name: other.to_owned(),
                known: Vec::new(),
            }),
        })
        .expect_err(source);
        let hint = error.hint().map(|hint| format!(" | {hint}"));
        assert_eq!(format!("{error}{}", hint.unwrap_or_default()), expected);
    }

    #[test]
    fn a_bad_file_says_where_and_what_was_meant() {
        check(
            "inherits = \"dark\"\n[use]\nacent = [\"bold\"]\n",
            "mine.toml line 3: `acent` is not a role | did you mean `accent`?",
        );
        check(
            "inherits = \"dark\"\n\n[inc]\n",
            "mine.toml line 3: `inc` is not a table of themes | did you mean `ink`?",
        );
        check(
            "[ink]\nok = [\"bold\"]",
            "mine.toml line 2: role `ok` belongs into table `state` | did you mean `state`?",
        );
        check(
            "[ink]\ntext = [\"#12345\", 1, \"red\"]",
            "mine.toml line 2: `#12345` is not a color like `#78b4f2`",
        );
        check(
            "[ink]\ntext = [\"#123456\", 256, \"red\"]",
            "mine.toml line 2: an index is 0 to 255",
        );
        check(
            "[ink]\ntext = [\"#123456\", 1, \"rde\"]",
            "mine.toml line 2: `rde` is not one of the 16 colors | did you mean `red`?",
        );
        check(
            "[ink]\ntext = [\"bolt\"]",
            "mine.toml line 2: `bolt` is not an attribute | did you mean `bold`?",
        );
        check(
            "[ink]\ntext = [\"#123456\", 1]",
            "mine.toml line 2: `text` wants [\"#rrggbb\", 0 to 255, \"name\"]",
        );
        check(
            "[ink]\ntext = []\n",
            "mine.toml line 3: role `bg` is missing",
        );
        check(
            "inherits = \"nobody\"\n",
            "mine.toml line 1: there is no theme `nobody`",
        );
        check(
            "inherits = \"loop\"\n",
            "loop line 1: it inherits from itself, or through too many files",
        );
    }
}
