//! What is wrong with a scenario file, where, and what was probably meant.

use std::ops::Range;

use thiserror::Error;

use crate::nearest::nearest;

/// Why a scenario cannot be used.
#[derive(Debug, Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("cannot read scenario file `{path}`")]
    Unreadable {
        /// The file as it was named.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file says something that is not a scenario.
    #[error("{path}:{line}: {says}")]
    Invalid {
        /// The file as it was named.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        says: String,
        /// The valid name that comes nearest to the one that was written.
        nearest: Option<String>,
    },
}

impl ScenarioError {
    /// What to try, for a `hint:` line.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Invalid {
                nearest: Some(name),
                ..
            } => Some(format!("did you mean `{name}`?")),
            Self::Invalid { nearest: None, .. } | Self::Unreadable { .. } => None,
        }
    }
}

/// Makes errors that point into one file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Located<'a> {
    pub(super) path: &'a str,
    pub(super) text: &'a str,
}

impl Located<'_> {
    /// An error at `span`, in bytes of the text.
    pub(super) fn error(&self, span: &Range<usize>, says: impl Into<String>) -> ScenarioError {
        ScenarioError::Invalid {
            path: self.path.to_owned(),
            line: self.line(span.start),
            says: says.into(),
            nearest: None,
        }
    }

    /// An error about the name `wrong`, of which only `valid` exist.
    pub(super) fn unknown<'b>(
        &self,
        span: &Range<usize>,
        what: &str,
        wrong: &str,
        valid: impl IntoIterator<Item = &'b str>,
    ) -> ScenarioError {
        ScenarioError::Invalid {
            path: self.path.to_owned(),
            line: self.line(span.start),
            says: format!("there is no {what} `{wrong}`"),
            nearest: near(wrong, valid),
        }
    }

    /// The error of the TOML reader in our words.
    pub(super) fn syntax(&self, error: &toml::de::Error) -> ScenarioError {
        let message = error.message();
        let line = self.line(error.span().map_or(0, |span| span.start));
        let mut quoted = message.split('`').skip(1).step_by(2);
        let (says, nearest) = match quoted.next() {
            Some(wrong)
                if message.starts_with("unknown field")
                    || message.starts_with("unknown variant") =>
            {
                let what = if message.starts_with("unknown field") {
                    "key"
                } else {
                    "value"
                };
                (
                    format!("there is no {what} `{wrong}` here"),
                    near(wrong, quoted),
                )
            }
            _ => (message.trim().replace('\n', ", "), None),
        };
        ScenarioError::Invalid {
            path: self.path.to_owned(),
            line,
            says,
            nearest,
        }
    }

    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().iter().take(offset);
        1 + before.filter(|byte| **byte == b'\n').count()
    }
}

fn near<'a>(wrong: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(wrong, valid).map(str::to_owned)
}
