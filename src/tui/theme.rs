//! Colors, by what they mean.
//!
//! Screens choose a [`Role`]; a [`Theme`] says how that role looks at the depth
//! of the terminal. No other file names a color. A theme is a TOML file: six are
//! built in, those of the user's directory are found first. Start at
//! [`Theme::choose`].

use std::fmt;
use std::path::{Path, PathBuf};

use ratatui::style::{Color, Modifier, Style};
use thiserror::Error;

use crate::nearest::nearest;

mod contrast;
mod file;

pub use contrast::ThemeWarning;

macro_rules! roles {
    ($($(#[$doc:meta])* $variant:ident = $name:literal in $table:literal, $fallback:ident, $letter:literal;)*) => {
        /// What a color means. A theme that leaves a role out gives it the look of its fallback.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Role {
            $($(#[$doc])* $variant,)*
        }

        impl Role {
            /// All roles, in the order of theme files.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name in theme files.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The table of a theme file that it stands in.
            pub fn table(self) -> &'static str {
                match self { $(Self::$variant => $table,)* }
            }

            /// Whose look it takes when a theme leaves it out; itself if it must be given.
            pub fn fallback(self) -> Self {
                match self { $(Self::$variant => Self::$fallback,)* }
            }

            /// One letter for it, for pictures of styles in tests.
            pub fn letter(self) -> char {
                match self { $(Self::$variant => $letter,)* }
            }
        }
    };
}

roles! {
    /// The ground of everything.
    Bg = "bg" in "ground", Bg, '.';
    /// The ground of dialogs and notices.
    Panel = "panel" in "ground", Bg, 'p';
    /// The ground of the cursor row and of input fields.
    Sel = "sel" in "ground", Panel, 'x';
    /// The ground of what says that the context is dangerous.
    Frame = "frame" in "ground", Crit, 'q';
    /// Words on [`Role::Frame`].
    OnFrame = "on_frame" in "ground", Bg, 'n';
    /// Values and words.
    Text = "text" in "ink", Text, 't';
    /// Labels, and the context of a value.
    Muted = "muted" in "ink", Text, 'm';
    /// Rules, the empty part of bars, tree lines, line numbers.
    Mark = "mark" in "ink", Muted, 'k';
    /// What was known when its source fell silent.
    Stale = "stale" in "ink", Muted, 's';
    /// A check holds.
    Ok = "ok" in "state", Text, 'o';
    /// Look soon.
    Warn = "warn" in "state", Text, 'w';
    /// Act now.
    Crit = "crit" in "state", Warn, 'c';
    /// Waits for a person.
    Human = "human" in "state", Text, 'h';
    /// The keyboard is here.
    Accent = "accent" in "use", Text, 'a';
    /// Ordinary quantity.
    Fill = "fill" in "use", Muted, 'f';
    /// A constrained outcome.
    Limit = "limit" in "use", Fill, 'l';
}

impl Role {
    /// The role of this name in theme files.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|role| role.name() == name)
    }

    const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How many colors the terminal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// None: attributes alone.
    Mono,
    /// The 16 named ones, which the user's own settings define.
    Sixteen,
    /// The 256 of xterm.
    Indexed,
    /// 16 million.
    True,
}

/// What the environment says about the terminal's colors. `config` reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColorHints {
    /// `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// `COLORTERM`.
    pub colorterm: Option<String>,
    /// `TERM`.
    pub term: Option<String>,
}

impl Depth {
    /// The names that `--color` takes besides `auto`.
    pub const NAMES: &[&str] = &["auto", "true", "256", "16", "none"];

    /// The depth that `--color` asks for; without it or with `auto`, what the
    /// environment says.
    ///
    /// # Errors
    /// [`ThemeError::UnknownDepth`] when `flag` is not one of [`Depth::NAMES`].
    pub fn choose(flag: Option<&str>, hints: &ColorHints) -> Result<Self, ThemeError> {
        match flag {
            None | Some("auto") => Ok(Self::detect(hints)),
            Some("true" | "truecolor" | "24bit") => Ok(Self::True),
            Some("256") => Ok(Self::Indexed),
            Some("16") => Ok(Self::Sixteen),
            Some("none" | "never") => Ok(Self::Mono),
            Some(other) => Err(ThemeError::UnknownDepth {
                given: other.to_owned(),
            }),
        }
    }

    fn detect(hints: &ColorHints) -> Self {
        let term = hints.term.as_deref().unwrap_or("");
        if hints.no_color || term.is_empty() || term == "dumb" {
            return Self::Mono;
        }
        let colorterm = hints.colorterm.as_deref().unwrap_or("");
        if colorterm == "truecolor" || colorterm == "24bit" || term.ends_with("-direct") {
            return Self::True;
        }
        if term.contains("256color") {
            return Self::Indexed;
        }
        Self::Sixteen
    }
}

/// How a role looks at one depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Look {
    color: Option<Color>,
    attributes: Modifier,
}

/// How every role looks on this terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Theme {
    name: String,
    depth: Depth,
    looks: Vec<Look>,
}

/// Why a theme cannot be used.
#[derive(Debug, Error)]
pub enum ThemeError {
    /// There is no theme of that name.
    #[error("there is no theme `{name}`")]
    Unknown {
        /// As given.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The file cannot be read.
    #[error("cannot read theme file `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The directory of the user's themes cannot be read.
    #[error("cannot read the themes in `{}`", path.display())]
    NoDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file says something that means nothing.
    #[error("{file} line {line}: {says}")]
    Bad {
        /// The file, or the name of a built-in theme.
        file: String,
        /// Counts from 1.
        line: usize,
        /// What is wrong.
        says: String,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// `--color` is something else.
    #[error("`{given}` is not a color depth")]
    UnknownDepth {
        /// As given.
        given: String,
    },
}

impl ThemeError {
    /// What to try.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { name, known } => {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                Some(match nearest(name, known.iter().copied()) {
                    Some(nearest) => format!("did you mean `{nearest}`?"),
                    None => format!("the themes are {}", known.join(", ")),
                })
            }
            Self::Unreadable { .. } | Self::NoDirectory { .. } => None,
            Self::Bad { nearest, .. } => {
                nearest.map(|nearest| format!("did you mean `{nearest}`?"))
            }
            Self::UnknownDepth { .. } => Some(format!("it is one of {}", Depth::NAMES.join(", "))),
        }
    }
}

/// The name of the theme that is used when none is chosen.
pub const DEFAULT: &str = "dark";

/// The name of the theme for terminals without color.
pub const MONO: &str = "mono";

/// The themes in the binary, by name.
const SHIPPED: &[(&str, &str)] = &[
    ("dark", include_str!("../../themes/dark.toml")),
    ("light", include_str!("../../themes/light.toml")),
    ("okabe", include_str!("../../themes/okabe.toml")),
    ("contrast", include_str!("../../themes/contrast.toml")),
    ("night", include_str!("../../themes/night.toml")),
    ("mono", include_str!("../../themes/mono.toml")),
];

/// A theme that can be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThemeFile {
    /// The name to choose it by.
    pub name: String,
    /// Its file; `None` if it is built in.
    pub path: Option<PathBuf>,
}

/// The themes there are: the user's, then those built in that the user has not replaced.
///
/// # Errors
/// [`ThemeError::NoDirectory`].
pub fn list(directory: Option<&Path>) -> Result<Vec<ThemeFile>, ThemeError> {
    let mut themes = match directory {
        None => Vec::new(),
        Some(directory) => written(directory).map_err(|source| ThemeError::NoDirectory {
            path: directory.to_owned(),
            source,
        })?,
    };
    themes.sort_by(|a, b| a.name.cmp(&b.name));
    for (name, _) in SHIPPED {
        if themes.iter().all(|theme| theme.name != *name) {
            themes.push(ThemeFile {
                name: (*name).to_owned(),
                path: None,
            });
        }
    }
    Ok(themes)
}

/// The theme files of a directory, in no order.
fn written(directory: &Path) -> std::io::Result<Vec<ThemeFile>> {
    let mut themes = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let is_theme = path
            .extension()
            .is_some_and(|extension| extension == "toml");
        if let (true, Some(name)) = (is_theme, path.file_stem()) {
            let name = name.to_string_lossy().into_owned();
            let path = Some(path);
            themes.push(ThemeFile { name, path });
        }
    }
    Ok(themes)
}

/// The text of a theme file.
///
/// # Errors
/// [`ThemeError::NoDirectory`], [`ThemeError::Unknown`] and [`ThemeError::Unreadable`].
pub fn source(directory: Option<&Path>, name: &str) -> Result<String, ThemeError> {
    let themes = list(directory)?;
    let Some(theme) = themes.iter().find(|theme| theme.name == name) else {
        return Err(ThemeError::Unknown {
            name: name.to_owned(),
            known: themes.into_iter().map(|theme| theme.name).collect(),
        });
    };
    match &theme.path {
        Some(path) => std::fs::read_to_string(path).map_err(|source| ThemeError::Unreadable {
            path: path.clone(),
            source,
        }),
        None => Ok(shipped(name).unwrap_or_default().to_owned()),
    }
}

fn shipped(name: &str) -> Option<&'static str> {
    SHIPPED
        .iter()
        .find(|(shipped, _)| *shipped == name)
        .map(|(_, source)| *source)
}

impl Theme {
    /// The theme of this name, searched in the user's directory and then among
    /// those built in; without color it is the one of attributes alone.
    ///
    /// # Errors
    /// A [`ThemeError`] that names the file, the line and what may have been meant.
    pub fn choose(
        directory: Option<&Path>,
        name: Option<&str>,
        depth: Depth,
    ) -> Result<(Self, Vec<ThemeWarning>), ThemeError> {
        let wanted = name.unwrap_or(DEFAULT);
        let text = source(directory, wanted)?;
        let at = list(directory)?
            .into_iter()
            .find(|theme| theme.name == wanted)
            .and_then(|theme| theme.path)
            .map_or_else(
                || format!("themes/{wanted}.toml"),
                |path| path.display().to_string(),
            );
        // A theme that replaces a built-in one may inherit from it by the same name.
        let parsed = file::read(&text, &at, &|base| match shipped(base) {
            Some(text) if base == wanted => Ok(text.to_owned()),
            _ => source(directory, base),
        })?;
        let warnings = contrast::check(wanted, &parsed);
        if depth == Depth::Mono {
            return Ok((Self::shipped(MONO, depth), warnings));
        }
        Ok((Self::at_depth(wanted, depth, &parsed), warnings))
    }

    /// A built-in theme; the default one if there is none of this name.
    pub fn shipped(name: &str, depth: Depth) -> Self {
        let name = match (depth, shipped(name)) {
            (Depth::Mono, _) => MONO,
            (_, Some(_)) => name,
            (_, None) => DEFAULT,
        };
        let text = shipped(name).unwrap_or_default();
        let parsed = file::read(text, name, &|base| {
            Ok(shipped(base).unwrap_or_default().to_owned())
        })
        .expect("the built-in themes are read by a test");
        Self::at_depth(name, depth, &parsed)
    }

    fn at_depth(name: &str, depth: Depth, parsed: &file::Parsed) -> Self {
        Self {
            name: name.to_owned(),
            depth,
            looks: Role::ALL
                .iter()
                .map(|role| parsed.look(*role, depth))
                .collect(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The depth it was made for.
    pub fn depth(&self) -> Depth {
        self.depth
    }

    fn look(&self, role: Role) -> Look {
        self.looks[role.index()]
    }

    /// Words in this role, on whatever ground they stand.
    pub fn style(&self, role: Role) -> Style {
        let look = self.look(role);
        let style = Style::new().add_modifier(look.attributes);
        match look.color {
            Some(color) => style.fg(color),
            None => style.fg(Color::Reset),
        }
    }

    /// The same, bold: what has the focus, and urgent words.
    pub fn bold(&self, role: Role) -> Style {
        self.style(role).add_modifier(Modifier::BOLD)
    }

    /// Plain words on a ground role: the screen, a panel.
    pub fn ground(&self, ground: Role) -> Style {
        let look = self.look(ground);
        self.style(Role::Text)
            .bg(look.color.unwrap_or(Color::Reset))
            .add_modifier(look.attributes)
    }

    /// A word that stands out as a block: the ground's color on the role's, bold;
    /// reversed where the terminal's own colors are used.
    pub fn badge(&self, role: Role) -> Style {
        let look = self.look(role);
        let bold = Modifier::BOLD | look.attributes;
        match (self.depth, look.color, self.look(Role::Bg).color) {
            (Depth::True | Depth::Indexed, Some(color), Some(bg)) => {
                Style::new().fg(bg).bg(color).add_modifier(bold)
            }
            _ => Style::new()
                .fg(look.color.unwrap_or(Color::Reset))
                .add_modifier(bold | Modifier::REVERSED),
        }
    }

    /// The block that names the context: `ground` is [`Role::Frame`] where it is
    /// dangerous, any other role where the configuration says so.
    pub fn context(&self, ground: Role) -> Style {
        let look = self.look(ground);
        match ground {
            Role::Frame if look.color.is_some() => self
                .bold(Role::OnFrame)
                .bg(look.color.unwrap_or(Color::Reset)),
            Role::Frame => Style::new()
                .fg(Color::Reset)
                .add_modifier(Modifier::BOLD | Modifier::REVERSED),
            Role::Panel | Role::Sel | Role::Bg => self.ground(ground).add_modifier(Modifier::BOLD),
            other => self.badge(other),
        }
    }

    /// How a cell looks in the cursor row. Where the row is reversed, its own
    /// color goes: a row of many colors could not be read.
    pub fn selected(&self, style: Style) -> Style {
        let look = self.look(Role::Sel);
        match look.color {
            Some(color) => style.bg(color),
            None => style
                .fg(Color::Reset)
                .bg(Color::Reset)
                .remove_modifier(Modifier::DIM)
                .add_modifier(look.attributes),
        }
    }

    /// The role of words that look like `style`, for pictures of styles: the
    /// first one that does.
    pub fn role_of(&self, style: Style) -> Option<Role> {
        let words = &Role::ALL[Role::OnFrame.index()..];
        words
            .iter()
            .copied()
            .find(|role| style.fg.is_some() && style.fg == self.style(*role).fg)
    }

    /// The role whose color is the ground of `style`; `None` on the plain ground.
    pub fn ground_of(&self, style: Style) -> Option<Role> {
        let color = style.bg.filter(|color| *color != Color::Reset)?;
        Role::ALL
            .iter()
            .copied()
            .find(|role| self.look(*role).color == Some(color))
            .filter(|role| *role != Role::Bg)
    }
}

/// The red, green and blue of a color; `None` for the terminal's own default.
pub fn rgb(color: Option<Color>) -> Option<(u8, u8, u8)> {
    contrast::rgb(color?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_depth_is_what_the_terminal_says_unless_a_flag_says_more() {
        let hints = |no_color, colorterm: &str, term: &str| ColorHints {
            no_color,
            colorterm: Some(colorterm.to_owned()),
            term: Some(term.to_owned()),
        };
        for (flag, hints, expected) in [
            (None, hints(false, "truecolor", "xterm"), Depth::True),
            (None, hints(false, "", "xterm-256color"), Depth::Indexed),
            (None, hints(false, "", "linux"), Depth::Sixteen),
            (None, hints(false, "truecolor", "dumb"), Depth::Mono),
            (None, hints(true, "truecolor", "xterm"), Depth::Mono),
            (Some("256"), hints(true, "", "dumb"), Depth::Indexed),
            (
                Some("none"),
                hints(false, "truecolor", "xterm"),
                Depth::Mono,
            ),
        ] {
            let depth = Depth::choose(flag, &hints).expect("a depth");
            assert_eq!(depth, expected, "{flag:?} {hints:?}");
        }
        let error = Depth::choose(Some("lots"), &ColorHints::default()).expect_err("no depth");
        assert_eq!(error.to_string(), "`lots` is not a color depth");
    }

    #[test]
    fn every_shipped_theme_is_read_at_every_depth_and_keeps_its_contrast() {
        for (name, _) in SHIPPED {
            for depth in [Depth::True, Depth::Indexed, Depth::Sixteen, Depth::Mono] {
                let (theme, warnings) =
                    Theme::choose(None, Some(name), depth).expect("a shipped theme");
                assert_eq!(warnings, [], "{name} at {depth:?}");
                let expected = if depth == Depth::Mono { MONO } else { name };
                assert_eq!(theme.name(), expected);
            }
        }
    }

    #[test]
    fn one_theme_is_light_one_for_any_color_vision_and_one_without_color() {
        let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
        for name in ["light", "okabe", MONO, DEFAULT] {
            assert!(names.contains(&name), "{name} of {names:?}");
        }
        assert!(names.len() >= 6, "{names:?}");
        let ground = |name: &str| {
            let theme = Theme::shipped(name, Depth::True);
            match theme.ground(Role::Bg).bg {
                Some(Color::Rgb(r, g, b)) => u32::from(r) + u32::from(g) + u32::from(b),
                other => panic!("{name}: {other:?}"),
            }
        };
        assert!(ground("light") > 600, "{}", ground("light"));
        assert!(ground("okabe") < 165, "{}", ground("okabe"));
        for role in [Role::Ok, Role::Crit, Role::Human] {
            let style = Theme::shipped(MONO, Depth::True).style(role);
            let plain = [None, Some(Color::Reset)];
            assert!(
                plain.contains(&style.fg) && plain.contains(&style.bg),
                "{role:?}"
            );
        }
    }

    /// What somebody without red or without green cones sees of a color: the planes
    /// of Viénot, Brettel and Mollon (1999), in linear light.
    fn seen_without(cones: &str, color: Color) -> [f64; 3] {
        let Color::Rgb(r, g, b) = color else {
            panic!("{color:?}");
        };
        let linear = |c: u8| (f64::from(c) / 255.0).powf(2.2);
        let (r, g, b) = (linear(r), linear(g), linear(b));
        let (yellow, blue) = match cones {
            "red" => (0.11238 * r + 0.88762 * g, 0.00401 * r - 0.00401 * g + b),
            _ => (0.29275 * r + 0.70725 * g, -0.02234 * r + 0.02234 * g + b),
        };
        [yellow, yellow, blue].map(|c| 255.0 * c.clamp(0.0, 1.0).powf(1.0 / 2.2))
    }

    #[test]
    fn the_states_of_okabe_are_told_apart_without_red_or_green_cones() {
        let theme = Theme::shipped("okabe", Depth::True);
        let color = |role: Role| theme.style(role).fg.expect("a color");
        let states = [Role::Ok, Role::Warn, Role::Crit, Role::Human];
        for cones in ["red", "green"] {
            for (at, one) in states.iter().enumerate() {
                for other in &states[at + 1..] {
                    let a = seen_without(cones, color(*one));
                    let b = seen_without(cones, color(*other));
                    let apart = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
                    assert!(
                        apart.sqrt() > 40.0,
                        "{one:?} and {other:?} without {cones} cones: {}",
                        apart.sqrt()
                    );
                }
            }
        }
    }

    #[test]
    fn the_cursor_row_is_reversed_where_it_has_no_color_of_its_own() {
        let theme = Theme::shipped("dark", Depth::Sixteen);
        let row = theme.selected(theme.style(Role::Crit));
        assert!(row.add_modifier.contains(Modifier::REVERSED));
        assert_eq!(row.fg, Some(Color::Reset));
        let theme = Theme::shipped("dark", Depth::True);
        assert_eq!(
            theme.selected(theme.style(Role::Crit)).fg,
            theme.style(Role::Crit).fg
        );
    }

    #[test]
    fn a_theme_of_the_user_is_found_first_and_an_unknown_one_finds_its_neighbor() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(
            directory.path().join("dark.toml"),
            "inherits = \"dark\"\n[use]\naccent = [\"#0000aa\", 19, \"blue\"]\n",
        )
        .expect("a file");
        let (mine, _) =
            Theme::choose(Some(directory.path()), Some("dark"), Depth::True).expect("my theme");
        let dark = Theme::shipped("dark", Depth::True);
        assert_eq!(mine.style(Role::Text), dark.style(Role::Text));
        assert_ne!(mine.style(Role::Accent), dark.style(Role::Accent));
        let error = Theme::choose(None, Some("drak"), Depth::True).expect_err("no theme");
        assert_eq!(error.to_string(), "there is no theme `drak`");
        assert_eq!(error.hint().as_deref(), Some("did you mean `dark`?"));
    }
}
