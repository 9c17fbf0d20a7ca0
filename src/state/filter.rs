//! The filter language, the same in every view and in `get --filter`.
//!
//! Words match fuzzily; `field:value` matches a field, with `*` for any text;
//! `label:key=value` a label; `age>5m` and `pressure>=0.9` compare; `!` negates,
//! `and` is implied, `or` and parentheses exist. Start at [`Filter::parse`]; what
//! a thing offers to filters is its [`Subject`] in [`subjects`].

use std::fmt;

use crate::state::model::Model;
use crate::state::model::approvals;
use crate::state::model::approvals::Approval;
use crate::state::model::jobs::Job;
use crate::state::model::letters::DeadLetter;
use crate::state::model::rollbacks::Stack;
use crate::state::model::workers::Worker;
use crate::time::Timestamp;

mod parse;
mod subjects;

pub use subjects::{ApprovalRow, DECISIONS, LetterRow, RollbackRow, WorkerRow};

/// Something that a filter can look at.
pub trait Subject {
    /// The fields it has.
    const FIELDS: &'static [Field];
    /// What one of it is called, such as `job`.
    const NAME: &'static str;

    /// Shows every text of a field to `look`, until that says it has seen enough.
    fn texts(&self, field: &str, now: Timestamp, look: &mut dyn FnMut(&str) -> bool) -> bool;

    /// The amount of a field: milliseconds of a time, thousandths of a number.
    fn amount(&self, field: &str, now: Timestamp) -> Option<i64>;

    /// The value of a label.
    fn label(&self, key: &str) -> Option<&str>;

    /// Shows every text that words are looked for in, until `look` has seen enough.
    fn words(&self, look: &mut dyn FnMut(&str) -> bool) -> bool;
}

/// A field of a [`Subject`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in a filter.
    pub name: &'static str,
    /// What it holds.
    pub holds: Holds,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Any text.
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A length of time.
    Time,
    /// A number.
    Number,
}

impl Field {
    /// A field that holds any text.
    pub const fn text(name: &'static str) -> Self {
        Self {
            name,
            holds: Holds::Text,
        }
    }

    /// A field that holds one of `words`.
    pub const fn one_of(name: &'static str, words: &'static [&'static str]) -> Self {
        Self {
            name,
            holds: Holds::OneOf(words),
        }
    }

    /// A field that holds a length of time.
    pub const fn time(name: &'static str) -> Self {
        Self {
            name,
            holds: Holds::Time,
        }
    }

    const fn number(name: &'static str) -> Self {
        Self {
            name,
            holds: Holds::Number,
        }
    }
}

/// A filter that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    source: Box<str>,
    root: Node,
    suggestion: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Word(Vec<char>),
    Text {
        field: &'static str,
        pattern: Pattern,
    },
    Label {
        key: Box<str>,
        value: Option<Pattern>,
    },
    Amount {
        field: &'static str,
        than: Than,
        limit: i64,
    },
}

/// How an amount compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Than {
    More,
    MoreOrSame,
    Less,
    LessOrSame,
    Same,
}

/// A text with `*` in it, compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    parts: Vec<Vec<char>>,
}

/// Why a filter cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FilterError {
    /// Where it goes wrong: the character, counted from 1.
    pub column: usize,
    /// The part that is wrong.
    pub part: String,
    /// What it should be.
    pub wants: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            column,
            part,
            wants,
        } = self;
        write!(f, "column {column}: {part} {wants}")
    }
}

impl Filter {
    /// Reads a filter for things of one kind; an empty one lets everything through.
    ///
    /// # Errors
    /// [`FilterError`] with the column, and the nearest field where one is unknown.
    pub fn parse<T: Subject>(source: &str) -> Result<Self, FilterError> {
        let (root, suggestion) = parse::read(source, T::FIELDS)?;
        Ok(Self {
            source: source.into(),
            root,
            suggestion: suggestion.map(Into::into),
        })
    }

    /// The filter as it was typed.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it lets everything through.
    pub fn is_empty(&self) -> bool {
        matches!(&self.root, Node::All(all) if all.is_empty())
    }

    /// What was probably meant, when a word is given that the field never holds:
    /// `state:pending` for `state:pendng`. For the line that says nothing matches.
    pub fn suggestion(&self) -> Option<&str> {
        self.suggestion.as_deref()
    }

    /// Whether a job passes at `now`.
    pub fn matches_job(&self, job: &Job, now: Timestamp) -> bool {
        self.matches(job, now)
    }

    /// Whether an approval passes at `now`, with the jobs that it holds up.
    pub fn matches_approval(&self, approval: &Approval, model: &Model, now: Timestamp) -> bool {
        let held = approvals::held(approval, &model.jobs);
        self.matches(&ApprovalRow { approval, held }, now)
    }

    /// Whether a worker passes at `now`, with how it stands.
    pub fn matches_worker(&self, worker: &Worker, model: &Model, now: Timestamp) -> bool {
        let standing = model.standing(worker, now);
        self.matches(&WorkerRow { worker, standing }, now)
    }

    /// Whether an undo passes at `now`.
    pub fn matches_rollback(&self, stack: &Stack, model: &Model, now: Timestamp) -> bool {
        let jobs = &model.jobs;
        self.matches(&RollbackRow { stack, jobs }, now)
    }

    /// Whether a dead letter passes at `now`.
    pub fn matches_letter(&self, letter: &DeadLetter, model: &Model, now: Timestamp) -> bool {
        let job = model.jobs.get(&letter.job).map(|job| &**job);
        self.matches(&LetterRow { letter, job }, now)
    }

    /// Whether `subject` passes at `now`.
    pub fn matches<T: Subject>(&self, subject: &T, now: Timestamp) -> bool {
        passes(&self.root, subject, now)
    }
}

fn passes<T: Subject>(node: &Node, subject: &T, now: Timestamp) -> bool {
    match node {
        Node::All(all) => all.iter().all(|node| passes(node, subject, now)),
        Node::Any(any) => any.iter().any(|node| passes(node, subject, now)),
        Node::Not(not) => !passes(not, subject, now),
        Node::Word(word) => subject.words(&mut |text| has_word(text, word)),
        Node::Text { field, pattern } => {
            subject.texts(field, now, &mut |text| pattern.matches(text))
        }
        Node::Label { key, value } => match (subject.label(key), value) {
            (Some(found), Some(pattern)) => pattern.matches(found),
            (Some(_), None) => true,
            (None, _) => false,
        },
        Node::Amount { field, than, limit } => {
            subject.amount(field, now).is_some_and(|it| match than {
                Than::More => it > *limit,
                Than::MoreOrSame => it >= *limit,
                Than::Less => it < *limit,
                Than::LessOrSame => it <= *limit,
                Than::Same => it == *limit,
            })
        }
    }
}

fn folded(text: &str) -> impl Iterator<Item = char> + Clone {
    text.chars().flat_map(char::to_lowercase)
}

/// Whether the letters of `word` stand in `text` in this order and close together:
/// within twice the word's length, so that long ids do not match everything.
fn has_word(text: &str, word: &[char]) -> bool {
    let Some((first, rest)) = word.split_first() else {
        return true;
    };
    let span = word.len() * 2;
    let letters = folded(text);
    let mut from = letters;
    while let Some(letter) = from.next() {
        if letter != *first {
            continue;
        }
        let mut wanted = rest.iter();
        let mut next = wanted.next();
        for letter in from.clone().take(span.saturating_sub(1)) {
            match next {
                Some(want) if *want == letter => next = wanted.next(),
                Some(_) => {}
                None => break,
            }
        }
        if next.is_none() {
            return true;
        }
    }
    false
}

impl Pattern {
    fn new(text: &str) -> Self {
        Self {
            parts: text.split('*').map(|part| folded(part).collect()).collect(),
        }
    }

    /// Greedy from the left, with the last part held to the end: enough for `*`,
    /// and linear in the text for each part.
    fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = folded(text).collect();
        let Some((first, rest)) = self.parts.split_first() else {
            return text.is_empty();
        };
        let Some(mut left) = text.strip_prefix(first.as_slice()) else {
            return false;
        };
        let Some((last, middle)) = rest.split_last() else {
            return left.is_empty();
        };
        for part in middle.iter().filter(|part| !part.is_empty()) {
            match left.windows(part.len()).position(|at| at == part) {
                Some(at) => left = &left[at + part.len()..],
                None => return false,
            }
        }
        left.ends_with(last)
    }

    fn is_plain(&self) -> bool {
        self.parts.len() == 1
    }
}
