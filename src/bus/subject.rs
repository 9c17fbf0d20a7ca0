//! Subjects and the patterns that match them, by the rules of NATS.
//!
//! A subject is a row of tokens between dots. In a pattern `*` stands for one
//! token and `>` for one or more at the end. (Policy patterns are another
//! language, in which `*` crosses dots; see the safety kernel.)

use std::fmt;
use std::sync::Arc;

use super::BusError;

/// Where a message is published. Never empty, no blanks, no empty token, no wildcard.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(Arc<str>);

impl Subject {
    /// Reads a subject to publish on.
    ///
    /// # Errors
    /// [`BusError::BadSubject`] when it is empty, has an empty token, a blank or
    /// control character, or a wildcard token.
    pub fn parse(text: &str) -> Result<Self, BusError> {
        let bad = |reason| BusError::BadSubject {
            subject: text.to_owned(),
            reason,
        };
        check_tokens(text).map_err(bad)?;
        if text.split('.').any(|token| token == "*" || token == ">") {
            return Err(bad("a wildcard can be subscribed to, not published on"));
        }
        Ok(Self(text.into()))
    }

    /// A subject that a server already accepted.
    pub fn received(text: &str) -> Self {
        Self(text.into())
    }

    /// A subject written in our own code.
    pub(crate) fn known(text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        debug_assert!(check_tokens(&text).is_ok(), "{text} is not a subject");
        Self(text)
    }

    /// The subject as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same text, not copied.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What a subscription listens to: a subject, possibly with `*` and `>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`BusError::BadSubject`] when it is empty, has an empty token, a blank or
    /// control character, or a `>` that is not the last token.
    pub fn parse(text: &str) -> Result<Self, BusError> {
        let bad = |reason| BusError::BadSubject {
            subject: text.to_owned(),
            reason,
        };
        check_tokens(text).map_err(bad)?;
        let tokens = text.split('.').count();
        if text.split('.').take(tokens - 1).any(|token| token == ">") {
            return Err(bad("`>` may only be the last token"));
        }
        Ok(Self(text.into()))
    }

    /// A pattern written in our own code.
    pub(crate) fn known(text: &'static str) -> Self {
        debug_assert!(Self::parse(text).is_ok(), "{text} is not a pattern");
        Self(text.into())
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a message on `subject` belongs to this pattern.
    pub fn matches(&self, subject: &Subject) -> bool {
        let mut subject = subject.0.split('.');
        let mut pattern = self.0.split('.');
        loop {
            match (pattern.next(), subject.next()) {
                (Some(">"), Some(_)) | (None, None) => return true,
                (Some("*"), Some(_)) => {}
                (Some(want), Some(have)) if want == have => {}
                (Some(_), _) | (None, Some(_)) => return false,
            }
        }
    }
}

impl From<&Subject> for Pattern {
    fn from(subject: &Subject) -> Self {
        Self(Arc::clone(&subject.0))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

fn check_tokens(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("it has a blank or a control character");
    }
    if text.split('.').any(str::is_empty) {
        return Err("it has an empty token");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, subject: &str) -> bool {
        Pattern::parse(pattern)
            .expect("a pattern")
            .matches(&Subject::parse(subject).expect("a subject"))
    }

    #[test]
    fn a_star_is_one_token_and_an_arrow_is_the_rest() {
        for (pattern, subject, expected) in [
            ("sys.heartbeat", "sys.heartbeat", true),
            ("sys.heartbeat", "sys.heartbeats", false),
            ("sys.>", "sys.job.submit", true),
            ("sys.>", "sys", false),
            (">", "sys", true),
            ("worker.*.jobs", "worker.w-1.jobs", true),
            ("worker.*.jobs", "worker.a.b.jobs", false),
            ("worker.*.jobs", "worker.jobs", false),
            ("job.*", "job.a.b", false),
            ("*.*", "job.a", true),
            ("job.*.>", "job.a", false),
            ("job.*.>", "job.a.b.c", true),
        ] {
            assert_eq!(
                matches(pattern, subject),
                expected,
                "{pattern} on {subject}"
            );
        }
    }

    #[test]
    fn what_is_not_a_subject_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "it is empty"),
            ("a..b", "it has an empty token"),
            ("a.", "it has an empty token"),
            ("a b", "it has a blank or a control character"),
            ("a.*", "a wildcard can be subscribed to, not published on"),
        ] {
            let refused = Subject::parse(text).expect_err(text);
            assert_eq!(
                refused.to_string(),
                format!("`{text}` is not a subject: {reason}")
            );
        }
        assert!(Pattern::parse("a.>.b").is_err());
        assert!(Pattern::parse("a.*.>").is_ok());
    }
}
