//! What a request must keep so that it can be run, whoever asks for it.
//!
//! The gateway answers a request that does not with 400, the scheduler drops it. One
//! that is taken all the same could be judged and even approved, and then neither be
//! published nor reach a worker.

use std::borrow::Cow;

use thiserror::Error;

use super::saga;
use crate::wire::contract;
use crate::wire::packet::{Compensation, JobRequest, WireWarning};

/// Why a request cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field} {says}")]
pub struct Unsound {
    /// The field, by its path in a request, such as `budget.max_total_tokens`.
    pub field: Cow<'static, str>,
    /// What is wrong with it, with the range where there is one.
    pub says: String,
}

/// Checks that a request keeps the contract and is of one tenant, and so does the one
/// that would undo it, whose fields begin with `compensation.`.
///
/// A missing job id is no matter of this: the gateway gives one.
///
/// # Errors
/// [`Unsound`], the first that is found.
pub fn check(request: &JobRequest) -> Result<(), Unsound> {
    keeps_contract(request)?;
    is_of_one_tenant(request)?;
    let Some(compensation) = request.compensation.as_deref() else {
        return Ok(());
    };
    if compensation.topic.is_empty() && *compensation != Compensation::default() {
        return Err(Unsound {
            field: Cow::Borrowed("compensation.topic"),
            says: "is empty".to_owned(),
        });
    }
    let Some(undo) = saga::template(request) else {
        return Ok(());
    };
    keeps_contract(&undo)
        .and_then(|()| is_of_one_tenant(&undo))
        .map_err(|Unsound { field, says }| Unsound {
            field: Cow::Owned(format!("compensation.{field}")),
            says,
        })
}

fn keeps_contract(request: &JobRequest) -> Result<(), Unsound> {
    for finding in contract::request_violations(request) {
        if let WireWarning::Violation { field, says } = finding
            && field != "job_id"
        {
            let field = Cow::Borrowed(field);
            return Err(Unsound { field, says });
        }
    }
    Ok(())
}

/// A request that names two tenants would be judged as one of them and run as the
/// other: receivers differ in where they look first.
fn is_of_one_tenant(request: &JobRequest) -> Result<(), Unsound> {
    let named = [
        ("tenant_id", Some(&request.tenant_id)),
        ("env.tenant_id", request.env.get("tenant_id")),
        (
            "meta.tenant_id",
            request.meta.as_ref().map(|meta| &meta.tenant_id),
        ),
    ];
    let mut named = named
        .into_iter()
        .filter_map(|(field, tenant)| Some((field, tenant.filter(|it| !it.is_empty())?)));
    let Some((first, tenant)) = named.next() else {
        return Ok(());
    };
    match named.find(|(_, other)| *other != tenant) {
        None => Ok(()),
        Some((field, other)) => Err(Unsound {
            field: Cow::Borrowed(field),
            says: format!("is {other:?}, but {first} is {tenant:?}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::JobId;
    use crate::wire::json::{Unknown, job_request_from_json};
    use crate::wire::packet::JobMetadata;

    /// What is said of a request, given as the fields beside its id and topic.
    fn said(fields: &str) -> String {
        let text = format!(r#"{{"job_id":"j","topic":"job.a",{fields}}}"#);
        let read = job_request_from_json(text.as_bytes(), Unknown::Refuse);
        let (request, _) = read.expect("a request");
        match check(&request) {
            Ok(()) => "sound".to_owned(),
            Err(unsound) => unsound.to_string(),
        }
    }

    #[test]
    fn what_the_contract_does_not_allow_is_named_with_its_range() {
        for (fields, expected) in [
            (r#""priority":3"#, "sound"),
            (r#""priority":9"#, "priority is 9; 0 to 3 are allowed"),
            (
                r#""step_index":-1"#,
                "step_index is -1; 0 and more are allowed",
            ),
            (
                r#""budget":{"max_total_tokens":10000000001}"#,
                "budget.max_total_tokens is 10000000001; 0 to 10000000000 are allowed",
            ),
            (
                r#""budget":{"deadline_ms":-5}"#,
                "budget.deadline_ms is -5; 0 and more are allowed",
            ),
        ] {
            assert_eq!(said(fields), expected, "{fields}");
        }
    }

    #[test]
    fn a_request_is_of_one_tenant() {
        for (fields, expected) in [
            (
                r#""tenant_id":"a","env":{"tenant_id":"a"},"meta":{"tenant_id":"a"}"#,
                "sound",
            ),
            (
                r#""env":{"tenant_id":"a"},"meta":{"tenant_id":""}"#,
                "sound",
            ),
            (
                r#""tenant_id":"a","env":{"tenant_id":"b"}"#,
                r#"env.tenant_id is "b", but tenant_id is "a""#,
            ),
            (
                r#""tenant_id":"a","meta":{"tenant_id":"b"}"#,
                r#"meta.tenant_id is "b", but tenant_id is "a""#,
            ),
            (
                r#""env":{"tenant_id":"a"},"meta":{"tenant_id":"b"}"#,
                r#"meta.tenant_id is "b", but env.tenant_id is "a""#,
            ),
        ] {
            assert_eq!(said(fields), expected, "{fields}");
        }
    }

    #[test]
    fn an_undo_that_could_never_run_is_found_before_its_job_runs() {
        for (fields, expected) in [
            (r#""compensation":{"topic":"job.undo"}"#, "sound"),
            // It names nothing at all, so there is no undo.
            (r#""compensation":{}"#, "sound"),
            (
                r#""compensation":{"context_ptr":"redis://ctx:x"}"#,
                "compensation.topic is empty",
            ),
            (
                r#""compensation":{"topic":"job.undo","budget":{"max_total_tokens":-1}}"#,
                "compensation.budget.max_total_tokens is -1; 0 to 10000000000 are allowed",
            ),
            // An undo has a priority of its own, whatever is asked for.
            (
                r#""compensation":{"topic":"job.undo","priority":9}"#,
                "sound",
            ),
            (
                r#""env":{"tenant_id":"a"},"compensation":{"topic":"job.undo","tenant_id":"b"}"#,
                r#"compensation.env.tenant_id is "a", but tenant_id is "b""#,
            ),
            (
                r#""tenant_id":"a","compensation":{"topic":"job.undo","env":{"tenant_id":"b"}}"#,
                r#"compensation.env.tenant_id is "b", but tenant_id is "a""#,
            ),
        ] {
            assert_eq!(said(fields), expected, "{fields}");
        }
    }

    #[test]
    fn an_undo_counts_the_labels_that_it_inherits() {
        let labels = |prefix: &str, count: usize| {
            (0..count)
                .map(|n| (format!("{prefix}{n}"), String::new()))
                .collect()
        };
        let mut request = JobRequest {
            job_id: JobId::from("j"),
            topic: "job.a".to_owned(),
            labels: labels("a", 600),
            compensation: Some(Box::new(Compensation {
                topic: "job.undo".to_owned(),
                labels: labels("b", 398),
                ..Compensation::default()
            })),
            ..JobRequest::default()
        };
        // With the two that mark an undo.
        assert_eq!(check(&request), Ok(()));
        if let Some(compensation) = &mut request.compensation {
            compensation.labels = labels("b", 399);
            compensation.meta = Some(JobMetadata::default());
        }
        assert_eq!(
            check(&request).map_err(|unsound| unsound.to_string()),
            Err("compensation.labels has 1001 entries; 1000 are allowed".to_owned())
        );
    }
}
