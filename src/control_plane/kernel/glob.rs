//! Patterns of policy topics.
//!
//! The rules are those of a path match on a single name, not those of bus
//! subjects: `*` is any run of characters except `/`, so it crosses dots; `?` is
//! one character except `/`; `[a-z]` and `[^a-z]` are classes; `\` takes the next
//! character literally; `>` is an ordinary character. A malformed pattern
//! matches nothing.

use std::fmt;

/// A pattern, taken apart once.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
    parts: Parts,
}

#[derive(Clone, PartialEq, Eq)]
enum Parts {
    /// Nothing special in it.
    Literal,
    /// A literal and one `*` at the end: most patterns are this.
    Prefix(String),
    /// Anything else.
    General(Vec<Part>),
    /// Not a pattern.
    Malformed(&'static str),
}

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Char(char),
    AnyChar,
    AnyRun,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Glob {
    /// Reads a pattern; one that is malformed matches nothing and says so in
    /// [`Glob::problem`].
    pub fn new(text: &str) -> Self {
        let parts = match parse(text) {
            Err(problem) => Parts::Malformed(problem),
            Ok(parts) => {
                let literal = |parts: &[Part]| {
                    parts
                        .iter()
                        .map(|part| match part {
                            Part::Char(c) => Some(*c),
                            Part::AnyChar | Part::AnyRun | Part::Class { .. } => None,
                        })
                        .collect::<Option<String>>()
                };
                let prefix = match parts.split_last() {
                    Some((Part::AnyRun, rest)) => literal(rest),
                    _ => None,
                };
                match (literal(&parts), prefix) {
                    (Some(whole), _) if whole == text => Parts::Literal,
                    (_, Some(prefix)) => Parts::Prefix(prefix),
                    _ => Parts::General(parts),
                }
            }
        };
        Self {
            text: text.to_owned(),
            parts,
        }
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What is wrong with it; such a pattern matches nothing.
    pub fn problem(&self) -> Option<&'static str> {
        match self.parts {
            Parts::Malformed(problem) => Some(problem),
            Parts::Literal | Parts::Prefix(_) | Parts::General(_) => None,
        }
    }

    /// Whether the whole of `name` is what the pattern describes.
    pub fn matches(&self, name: &str) -> bool {
        match &self.parts {
            Parts::Literal => self.text == name,
            Parts::Prefix(prefix) => name
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| !rest.contains('/')),
            Parts::General(parts) => matches(parts, name),
            Parts::Malformed(_) => false,
        }
    }

    /// Whether this pattern certainly describes every name that `other` describes.
    /// `false` may only mean that it could not be shown.
    pub fn covers(&self, other: &Self) -> bool {
        let (Ok(wide), Ok(narrow)) = (parse(&self.text), parse(&other.text)) else {
            return other.problem().is_some();
        };
        // Reads the narrow pattern as if it were a name, whose letters are patterns
        // of one character or of a run. `reached[n]` is whether the first n parts of
        // the wide one describe what was read of it so far.
        let mut reached = vec![false; wide.len() + 1];
        reached[0] = true;
        skip_runs(&wide, &mut reached);
        for part in &narrow {
            let mut next = vec![false; wide.len() + 1];
            for (n, wide) in wide.iter().enumerate() {
                if !reached[n] {
                    continue;
                }
                match wide {
                    // A run goes on.
                    Part::AnyRun if !may_be_slash(part) => next[n] = true,
                    Part::AnyRun => {}
                    Part::Char(_) | Part::AnyChar | Part::Class { .. } => {
                        next[n + 1] |= takes(wide, part);
                    }
                }
            }
            skip_runs(&wide, &mut next);
            reached = next;
        }
        reached[wide.len()]
    }
}

/// A run may be empty, so what reaches it reaches what follows it.
fn skip_runs(parts: &[Part], reached: &mut [bool]) {
    for (n, part) in parts.iter().enumerate() {
        if *part == Part::AnyRun && reached[n] {
            reached[n + 1] = true;
        }
    }
}

/// Whether a part may stand for a slash.
fn may_be_slash(part: &Part) -> bool {
    match part {
        Part::AnyChar | Part::AnyRun => false,
        Part::Char(_) | Part::Class { .. } => one(part, '/'),
    }
}

/// Whether a part of one character takes whatever the other part of one character
/// stands for.
fn takes(wide: &Part, narrow: &Part) -> bool {
    match (wide, narrow) {
        (_, Part::AnyRun) => false,
        (_, Part::Char(c)) => one(wide, *c),
        (Part::AnyChar, _) => !may_be_slash(narrow),
        (Part::Char(_) | Part::Class { .. }, Part::AnyChar | Part::Class { .. }) => wide == narrow,
        (Part::AnyRun, _) => false,
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

fn parse(text: &str) -> Result<Vec<Part>, &'static str> {
    let mut parts = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '*' => Part::AnyRun,
            '?' => Part::AnyChar,
            '\\' => Part::Char(chars.next().ok_or("it ends in a lone `\\`")?),
            '[' => {
                let negated = chars.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                loop {
                    if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
                        break Part::Class { negated, ranges };
                    }
                    let low = class_char(&mut chars)?;
                    let high = match chars.next_if_eq(&'-') {
                        Some(_) => class_char(&mut chars)?,
                        None => low,
                    };
                    ranges.push((low, high));
                }
            }
            c => Part::Char(c),
        });
    }
    Ok(parts)
}

fn class_char(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<char, &'static str> {
    match chars.next() {
        None => Err("it has a `[` that is never closed"),
        Some('\\') => chars.next().ok_or("it has a `[` that is never closed"),
        Some('-' | ']') => Err("it has a `-` or `]` in the wrong place of a class"),
        Some(c) => Ok(c),
    }
}

/// Matches by going back to the last `*` only, so the time is at most the
/// product of the lengths, whatever the pattern.
fn matches(parts: &[Part], name: &str) -> bool {
    let mut at_part = 0;
    let mut rest = name.chars();
    let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        if let Some(Part::AnyRun) = parts.get(at_part) {
            at_part += 1;
            retry = Some((at_part, rest.clone()));
            continue;
        }
        let mut ahead = rest.clone();
        let fits = match (parts.get(at_part), ahead.next()) {
            (None, None) => return true,
            (Some(part), Some(c)) => one(part, c),
            (None, Some(_)) | (Some(_), None) => false,
        };
        if fits {
            at_part += 1;
            rest = ahead;
            continue;
        }
        // Let the last `*` swallow one character more; it never swallows a `/`.
        match &mut retry {
            Some((after, from)) => match from.next() {
                Some(c) if c != '/' => {
                    at_part = *after;
                    rest = from.clone();
                }
                _ => return false,
            },
            None => return false,
        }
    }
}

fn one(part: &Part, c: char) -> bool {
    match part {
        Part::Char(want) => *want == c,
        Part::AnyChar => c != '/',
        Part::Class { negated, ranges } => {
            ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
        }
        Part::AnyRun => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_crosses_dots_but_not_slashes() {
        for (pattern, name, expected) in [
            ("job.batch.*", "job.batch.embed", true),
            ("job.batch.*", "job.batch.a.b.c", true),
            ("job.batch.*", "job.batch.", true),
            ("job.batch.*", "job.batch", false),
            ("job.batch.*", "job.batch.a/b", false),
            ("job.*.write", "job.a.b.write", true),
            ("job.*.write", "job.write", false),
            ("job.>", "job.a", false),
            ("job.>", "job.>", true),
            ("job.?", "job.a", true),
            ("job.?", "job.ab", false),
            ("job.?", "job./", false),
            ("job.[a-c]x", "job.bx", true),
            ("job.[a-c]x", "job.dx", false),
            ("job.[^a-c]x", "job.dx", true),
            ("job.[^a-c]x", "job.ax", false),
            ("job.[a-cx-z]", "job.y", true),
            ("job.[\\]]", "job.]", true),
            ("job.\\*", "job.*", true),
            ("job.\\*", "job.a", false),
            ("*", "", true),
            ("*", "job.a", true),
            ("", "", true),
            ("", "a", false),
            ("job.ä*", "job.ärger", true),
            ("job.?", "job.ä", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
        ] {
            assert_eq!(
                Glob::new(pattern).matches(name),
                expected,
                "{pattern} on {name}"
            );
        }
    }

    #[test]
    fn a_malformed_pattern_matches_nothing_and_says_why() {
        for pattern in [
            "[", "[]a]", "[a-]", "[-a]", "a\\", "[a", "[^]", "job.*[", "[a\\",
        ] {
            let glob = Glob::new(pattern);
            assert!(glob.problem().is_some(), "{pattern}");
            for name in ["", "a", pattern, "job.x", "[", "-"] {
                assert!(!glob.matches(name), "{pattern} on {name}");
            }
        }
    }

    #[test]
    fn a_hostile_pattern_ends_soon() {
        let glob = Glob::new(&format!("{}b", "a*".repeat(200)));
        assert!(!glob.matches(&"a".repeat(20_000)));
    }

    /// The rules written down a second time, without any care for speed.
    fn obvious(parts: &[Part], name: &[char]) -> bool {
        match parts.split_first() {
            None => name.is_empty(),
            Some((Part::AnyRun, rest)) => (0..=name.len())
                .take_while(|taken| !name[..*taken].contains(&'/'))
                .any(|taken| obvious(rest, &name[taken..])),
            Some((part, rest)) => name
                .split_first()
                .is_some_and(|(c, name)| one(part, *c) && obvious(rest, name)),
        }
    }

    #[test]
    fn a_wider_pattern_covers_a_narrower_one() {
        for (wide, narrow, expected) in [
            ("job.*", "job.a", true),
            ("job.*", "job.a.*", true),
            ("job.*", "job.*", true),
            ("job.*", "job.?", true),
            ("job.*", "job.[a-c]x", true),
            ("job.*", "job.[^a]", false),
            ("job.*", "job.a/b", false),
            ("job.*", "job", false),
            ("job.*", "*", false),
            ("*", "job.*", true),
            ("job.*.write", "job.a.*.write", true),
            ("job.*.write", "job.write", false),
            ("job.*w*", "job.w.*", true),
            ("job.?", "job.a", true),
            ("job.?", "job.*", false),
            ("job.[a-c]", "job.b", true),
            ("job.[a-c]", "job.[a-c]", true),
            ("job.[a-c]", "job.[b]", false),
            ("job.\\*", "job.*", false),
            ("job.*", "job.\\*", true),
            ("job.a", "job.[", true),
            ("job.[", "job.a", false),
        ] {
            let covers = Glob::new(wide).covers(&Glob::new(narrow));
            assert_eq!(covers, expected, "{wide} over {narrow}");
        }
    }

    proptest! {
        #[test]
        fn what_is_covered_is_matched(
            wide in r"[ab/*?\[\]^-]{0,6}",
            narrow in r"[ab/*?\[\]^-]{0,6}",
            name in "[ab/]{0,6}",
        ) {
            let (wide, narrow) = (Glob::new(&wide), Glob::new(&narrow));
            if wide.covers(&narrow) && narrow.matches(&name) {
                prop_assert!(wide.matches(&name), "{:?} over {:?} on {}", wide, narrow, name);
            }
        }

        #[test]
        fn the_fast_way_and_the_obvious_way_agree(
            pattern in r"[ab./*?\[\]\\^-]{0,8}",
            name in "[ab./]{0,8}",
        ) {
            let glob = Glob::new(&pattern);
            let expected = match parse(&pattern) {
                Ok(parts) => obvious(&parts, &name.chars().collect::<Vec<_>>()),
                Err(_) => false,
            };
            prop_assert_eq!(glob.matches(&name), expected, "{} on {}", pattern, name);
        }
    }
}
