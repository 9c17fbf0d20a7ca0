//! Answers as CAP gateways write them: JSON, errors with code and status.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::control_plane::gateway::submission::BadSubmission;
use crate::control_plane::kernel::KernelError;
use crate::control_plane::ledger::LedgerError;
use crate::store::StoreError;

/// What a handler answers.
pub(super) type Answer = Result<Response, Refusal>;

/// 200 with a JSON body.
pub(super) fn ok(body: &Value) -> Answer {
    Ok(json_response(StatusCode::OK, body))
}

pub(super) fn json_response(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// A refusal: status, code, words, and what else the body tells.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal(Box<Told>);

#[derive(Clone, Debug, PartialEq)]
struct Told {
    status: StatusCode,
    code: String,
    says: String,
    more: Map<String, Value>,
    retry_after_s: Option<u32>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &str, says: impl Into<String>) -> Self {
        Self(Box::new(Told {
            status,
            code: code.to_owned(),
            says: says.into(),
            more: Map::new(),
            retry_after_s: None,
        }))
    }

    pub(super) fn bad_request(code: &str, says: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, says)
    }

    pub(super) fn forbidden(code: &str, says: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, says)
    }

    pub(super) fn unavailable(code: &str, says: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, says)
    }

    pub(super) fn other_tenant() -> Self {
        Self::forbidden("tenant_access_denied", "the key does not reach that tenant")
    }

    pub(super) fn job_not_found() -> Self {
        Self::from(LedgerError::NotFound)
    }

    /// Adds a field to the body.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.more.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let told = *self.0;
        let mut body = json!({
            "error": told.says,
            "code": told.code,
            "status": told.status.as_u16(),
        });
        if let Value::Object(fields) = &mut body {
            fields.extend(told.more);
        }
        let mut response = json_response(told.status, &body);
        if let Some(seconds) = told.retry_after_s {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<LedgerError> for Refusal {
    fn from(error: LedgerError) -> Self {
        let status =
            StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let refusal = Self::new(status, error.code(), error.to_string());
        match error {
            LedgerError::AlreadyResolved { status, by, at } => refusal
                .with("resolution", status.name())
                .with("resolved_by", by)
                .with("resolved_at", at.as_micros()),
            LedgerError::NotActionable { state, status } => {
                let refusal = refusal.with("state", state.name());
                match status {
                    Some(status) => refusal.with("approval_status", status.name()),
                    None => refusal,
                }
            }
            LedgerError::AlreadyEnded { state } => refusal.with("state", state.name()),
            LedgerError::StaleSnapshot {
                asked_under,
                current,
            } => refusal
                .with("policy_snapshot", asked_under)
                .with("current_snapshot", current),
            LedgerError::IdempotencyConflict { existing } => {
                refusal.with("existing_job_id", existing.as_str())
            }
            LedgerError::Full { .. } => refusal.retry_after(5),
            LedgerError::TerminalRun { workflow } => refusal.with("workflow_id", workflow),
            LedgerError::NotFound
            | LedgerError::Invalid(_)
            | LedgerError::StaleRequest { .. }
            | LedgerError::NoDeadLetter
            | LedgerError::NoRemediations
            | LedgerError::NoSuchRemediation => refusal,
        }
    }
}

impl From<BadSubmission> for Refusal {
    fn from(error: BadSubmission) -> Self {
        let says = error.to_string();
        match error {
            BadSubmission::NotJson(_) => Self::bad_request("invalid_json", says),
            BadSubmission::BadShape(_) => Self::bad_request("invalid_body", says),
            BadSubmission::BadField { field, .. } => {
                let code = match &*field {
                    "topic" | "compensation.topic" => "invalid_topic",
                    _ => "invalid_field",
                };
                Self::bad_request(code, says).with("field", &*field)
            }
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::unavailable("store_unavailable", error.to_string())
    }
}

impl From<KernelError> for Refusal {
    fn from(error: KernelError) -> Self {
        Self::unavailable("kernel_unavailable", error.to_string())
    }
}

/// Base64 with the standard alphabet and padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let all = chunk
            .iter()
            .fold(0_u32, |all, byte| all << 8 | u32::from(*byte));
        let all = all << (8 * (3 - chunk.len()));
        for place in 0..4 {
            if place <= chunk.len() {
                let index = (all >> (18 - 6 * place)) & 63;
                out.push(char::from(ALPHABET[index as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (text, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }
}
