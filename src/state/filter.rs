//! Filters: which rows a list shows.
//!
//! Words must all occur in a row; `field:value` must equal that field, where a
//! value may end in `*`; `!` turns a term around. An unknown field is an error
//! with its column.

use std::fmt;

use crate::state::model::Model;
use crate::state::model::approvals::Approval;
use crate::state::model::jobs::Job;
use crate::state::model::workers::Worker;
use crate::time::Timestamp;

const FIELDS: [&str; 7] = [
    "state", "topic", "worker", "pool", "tenant", "id", "standing",
];

/// A filter that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    negated: bool,
    field: Option<&'static str>,
    value: String,
}

/// What is wrong with a filter, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// The column, from 1.
    pub column: usize,
    /// What is wrong.
    pub says: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.says)
    }
}

impl std::error::Error for FilterError {}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// An unknown field or a term without a value, with its column.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let mut terms = Vec::new();
        for word in text.split_whitespace() {
            let at = word.as_ptr() as usize - text.as_ptr() as usize;
            let column = text[..at].chars().count() + 1;
            let (negated, rest) = match word.strip_prefix('!') {
                Some(rest) => (true, rest),
                None => (false, word),
            };
            let (field, value) = match rest.split_once(':') {
                Some((name, value)) => {
                    let field = FIELDS.into_iter().find(|field| *field == name);
                    let Some(field) = field else {
                        let nearest = crate::state::action::nearest(name, FIELDS.into_iter());
                        return Err(FilterError {
                            column,
                            says: format!("no field is called {name}; did you mean {nearest}?"),
                        });
                    };
                    (Some(field), value)
                }
                None => (None, rest),
            };
            if value.is_empty() {
                return Err(FilterError {
                    column,
                    says: format!("{word} wants a value"),
                });
            }
            terms.push(Term {
                negated,
                field,
                value: value.to_lowercase(),
            });
        }
        Ok(Self { terms })
    }

    /// Whether a job passes at `now`.
    pub fn matches_job(&self, job: &Job, _now: Timestamp) -> bool {
        let request = job.request.as_deref();
        self.passes(&[
            ("id", Some(job.id.as_str())),
            ("state", job.state.map(|state| state.name())),
            ("topic", request.and_then(|it| it.topic.as_deref())),
            ("tenant", request.and_then(|it| it.tenant.as_deref())),
            ("worker", job.worker().map(|worker| worker.as_str())),
        ])
    }

    /// Whether an approval passes at `now`.
    pub fn matches_approval(&self, approval: &Approval, _now: Timestamp) -> bool {
        let request = approval.fact.job.request.as_ref();
        self.passes(&[
            ("id", Some(approval.id().as_str())),
            ("state", Some(approval.fact.status.name())),
            ("topic", request.and_then(|it| it.topic.as_deref())),
            ("tenant", request.and_then(|it| it.tenant.as_deref())),
        ])
    }

    /// Whether a worker passes at `now`.
    pub fn matches_worker(&self, worker: &Worker, model: &Model, now: Timestamp) -> bool {
        self.passes(&[
            ("id", Some(worker.id.as_str())),
            ("worker", Some(worker.id.as_str())),
            ("pool", worker.pool.as_ref().map(|pool| pool.as_str())),
            ("standing", Some(model.standing(worker, now).name())),
            ("state", Some(model.standing(worker, now).name())),
        ])
    }

    fn passes(&self, fields: &[(&str, Option<&str>)]) -> bool {
        self.terms.iter().all(|term| {
            let found = fields.iter().any(|(name, value)| {
                let Some(value) = value else { return false };
                let value = value.to_lowercase();
                match term.field {
                    None => value.contains(&term.value),
                    Some(field) if field != *name => false,
                    Some(_) => match term.value.strip_suffix('*') {
                        Some(start) => value.starts_with(start),
                        None => value == term.value,
                    },
                }
            });
            found != term.negated
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_says_where() {
        let says = |text| Filter::parse(text).map_err(|error| error.to_string());
        assert_eq!(
            says("gpu stat:running"),
            Err("column 5: no field is called stat; did you mean state?".to_owned())
        );
        assert_eq!(
            says("topic:"),
            Err("column 1: topic: wants a value".to_owned())
        );
        assert!(says("!state:running topic:job.gpu.*").is_ok());
    }

    #[test]
    fn terms_must_all_hold() {
        let passes = |text: &str| {
            Filter::parse(text).expect("a filter").passes(&[
                ("id", Some("a1")),
                ("state", Some("RUNNING")),
                ("topic", Some("job.gpu.tune")),
                ("worker", None),
            ])
        };
        assert!(passes("state:running topic:job.gpu.*"));
        assert!(passes("gpu !worker:w-1"));
        assert!(!passes("state:run"));
        assert!(!passes("gpu !a1"));
    }
}
