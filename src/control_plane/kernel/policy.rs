//! A policy: rules in order, the first that matches decides.
//!
//! [`Policy::parse`] reads the YAML that CAP safety kernels read. It is strict
//! on purpose: a field that cannot be decided from a request is refused rather
//! than ignored, because a rule that is half obeyed is worse than one that is
//! missing. The reading begins in `policy/reader.rs`; what a rule asks is a list of
//! [`Condition`]s.

use std::fmt;

use thiserror::Error;

use super::condition::{Condition, Facts, same_word};
use super::velocity::Velocity;
use super::{Constraints, Decision, Remediation};
use crate::wire::job_hash::sha256_hex;

pub mod expectations;
mod fields;
mod limits;
mod matching;
mod reader;
mod tenants;
#[cfg(test)]
mod tests;

/// The longest policy that is read: 2 MiB, the limit of CAP safety kernels.
pub const MAX_POLICY_BYTES: usize = 2 << 20;

/// The tenant of a request that names none, unless the policy says otherwise.
pub const DEFAULT_TENANT: &str = "default";

/// A policy that was read without an error.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The version as written; empty if the file has none.
    pub version: String,
    /// `<version>:<sha256 of the file, hex>`; the hash alone without a version.
    pub snapshot: String,
    /// The tenant of a request that names none.
    pub default_tenant: String,
    /// What happens when no rule matches: [`Decision::Allow`] or [`Decision::Deny`].
    pub default_decision: Decision,
    /// What the default is for; what is outside of it is denied by default.
    pub scope: Match,
    /// How many jobs of a tenant may be at work, by its name; a limit on every yes.
    pub tenant_limits: Vec<(String, i32)>,
    /// The rules, in order: first those made of what tenants may call over MCP,
    /// then those of the file, or where it has none those made of its tenants'
    /// topic lists.
    pub rules: Vec<Rule>,
    /// What is allowed but probably not meant, for `policy check`.
    pub warnings: Vec<Problem>,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// [`PolicyError`] with every problem found, each with its place.
    pub fn parse(content: &[u8]) -> Result<Self, PolicyError> {
        reader::read(content)
    }

    /// How many jobs of a tenant may be at work; `None` when the file does not say.
    pub fn tenant_limit(&self, tenant: &str) -> Option<i32> {
        let mut limits = self.tenant_limits.iter();
        limits
            .find(|(name, _)| same_word(name, tenant))
            .map(|(_, limit)| *limit)
    }
}

/// The snapshot string of a policy file: `<version>:<sha256 hex>`, the hash
/// alone without a version.
pub fn snapshot(version: &str, content: &[u8]) -> String {
    let hash = sha256_hex(content);
    match version {
        "" => hash,
        version => format!("{version}:{hash}"),
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Unique in its policy, never empty.
    pub id: String,
    /// Where it begins in the file.
    pub place: Place,
    /// What a request must be for the rule to decide.
    pub matches: Match,
    /// How much has to come before the rule decides; `None` if it always does.
    pub velocity: Option<Velocity>,
    /// What it decides.
    pub decision: Decision,
    /// Why, for people; empty if the file gives none.
    pub reason: String,
    /// Limits that ride on a yes; `None` if there are none.
    pub constraints: Option<Constraints>,
    /// Changes to the request that policy would accept.
    pub remediations: Vec<Remediation>,
}

/// What a request must be: all of these, so that nothing is everything.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Match {
    /// In the order in which they are looked at and told.
    pub conditions: Vec<Condition>,
}

impl Match {
    /// Whether a request is all of it.
    pub fn holds(&self, facts: &Facts<'_>) -> bool {
        self.conditions
            .iter()
            .all(|condition| condition.holds(facts))
    }

    /// Whether it asks nothing, so that every request matches.
    pub fn is_everything(&self) -> bool {
        self.conditions.is_empty()
    }
}

/// Where something stands in the file, both counted from 1; zero is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

/// Something wrong, or odd, in a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// The rule it is in: its id, or its number when it has none.
    pub rule: Option<String>,
    /// The field, from the rule or the top of the file down, such as `match.topics`.
    pub field: String,
    /// What is wrong, in words.
    pub says: String,
    /// The valid name that was probably meant.
    pub nearest: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.line > 0 {
            write!(
                f,
                "line {}, column {}: ",
                self.place.line, self.place.column
            )?;
        }
        if let Some(rule) = &self.rule {
            write!(f, "rule `{rule}`: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{} ", self.field)?;
        }
        write!(f, "{}", self.says)?;
        if let Some(nearest) = &self.nearest {
            write!(f, "; did you mean `{nearest}`?")?;
        }
        Ok(())
    }
}

/// Why a text is not a policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct PolicyError {
    /// What was found, in the order of the file; never empty, at most
    /// [`MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
}

/// How many problems of one file are told; who has more mends these first.
pub const MAX_PROBLEMS: usize = 20;

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            if n > 0 {
                f.write_str("\n  ")?;
            }
            fmt::Display::fmt(problem, f)?;
        }
        Ok(())
    }
}
