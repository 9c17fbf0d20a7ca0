//! References to secrets in what a job is to read.
//!
//! Only what comes with the body is looked into. A context that lies elsewhere can
//! change after the look, so that a tag drawn from it would promise too much.

use serde_json::Value;

use super::{Context, Wanted};
use crate::control_plane::kernel::condition::{SECRETS_LABEL, SECRETS_TAG};

/// How a reference to a secret begins in CAP deployments.
const REFERENCE: &str = "secret://";

/// Marks a request whose prompt or context refers to a secret, so that policy sees it
/// and the job hash covers it. What is found goes before what the client says.
pub(super) fn mark(wanted: &mut Wanted) {
    let found = wanted
        .context
        .as_ref()
        .is_some_and(Context::refers_to_secret);
    if !found {
        return;
    }
    let request = &mut wanted.request;
    request
        .labels
        .insert(SECRETS_LABEL.to_owned(), "true".to_owned());
    let tags = &mut request.meta.get_or_insert_default().risk_tags;
    if !tags.iter().any(|tag| tag.eq_ignore_ascii_case(SECRETS_TAG)) {
        tags.push(SECRETS_TAG.to_owned());
    }
}

impl Context {
    fn refers_to_secret(&self) -> bool {
        self.prompt.as_deref().is_some_and(refers) || self.more.as_ref().is_some_and(refers_within)
    }
}

/// Whether any text in it refers to a secret, the names of fields included.
fn refers_within(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => refers(text),
        Value::Array(values) => values.iter().any(refers_within),
        Value::Object(fields) => {
            let mut fields = fields.iter();
            fields.any(|(name, value)| refers(name) || refers_within(value))
        }
    }
}

/// Whether a text refers to a secret anywhere in it, letter case aside.
fn refers(text: &str) -> bool {
    let begins = REFERENCE.as_bytes();
    let mut parts = text.as_bytes().windows(begins.len());
    parts.any(|part| part.eq_ignore_ascii_case(begins))
}

#[cfg(test)]
mod tests {
    use super::super::read;

    /// Tags, and what the label says, of a body.
    fn check(body: &str, expected: &str) {
        let wanted = read(body.as_bytes()).expect(body);
        let tags = wanted.request.meta.unwrap_or_default().risk_tags.join(",");
        let label = wanted.request.labels.get("secrets_present");
        let got = format!("{tags} {}", label.map_or("-", String::as_str));
        assert_eq!(got.trim(), expected, "{body}");
    }

    #[test]
    fn a_reference_to_a_secret_in_prompt_or_context_is_found() {
        for body in [
            r#"{"prompt":"secret://vault/api"}"#,
            r#"{"prompt":"log in with SECRET://vault/api, then read"}"#,
            r#"{"prompt":"secret:\/\/vault"}"#,
            r#"{"context":"secret://vault/api"}"#,
            r#"{"context":{"auth":{"tokens":[1,"x","secret://vault/api"]}}}"#,
            r#"{"context":{"secret://vault/api":true}}"#,
        ] {
            check(body, "secrets true");
        }
        for body in [
            r#"{"prompt":"keep it secret"}"#,
            r#"{"prompt":"secrets://x or secret:/x"}"#,
            r#"{"context":{"n":1,"b":null}}"#,
            r#"{"topic":"job.a","labels":{"url":"secret://vault/api"}}"#,
            r#"{"context_ptr":"redis://ctx:x"}"#,
        ] {
            check(body, "-");
        }
    }

    #[test]
    fn what_is_found_goes_before_what_the_client_says() {
        check(
            r#"{"prompt":"secret://x","labels":{"secrets_present":"false"},"risk_tags":["prod"]}"#,
            "prod,secrets true",
        );
        check(
            r#"{"prompt":"secret://x","risk_tags":["Secrets"]}"#,
            "Secrets true",
        );
        check(
            r#"{"prompt":"plain","labels":{"secrets_present":"true"},"risk_tags":["secrets"]}"#,
            "secrets true",
        );
        check(
            r#"{"prompt":"plain","labels":{"secrets_present":"false"}}"#,
            "false",
        );
    }
}
