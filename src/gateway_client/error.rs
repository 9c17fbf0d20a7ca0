//! How a gateway says no, and how it fails to say anything.
//!
//! Refusals are told apart by their code first and by the words of the older
//! generation second. [`judge`] is pure; start there.

use reqwest::Url;
use serde_json::Value;
use thiserror::Error;

use crate::ids::JobId;
use crate::time::Elapsed;

/// Texts of gateways longer than this many characters are cut: they are shown in
/// one or two lines.
const MAX_TEXT: usize = 512;

/// How [`GatewayError::Unauthorized`] begins, for whoever has only its text.
pub(crate) const REFUSES_KEY: &str = "the gateway refuses the key";

/// Why a call brought nothing. Texts in it are the gateway's own words, cut to
/// 512 characters and not yet escaped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GatewayError {
    /// The address, the key or the certificates cannot be used.
    #[error("cannot use the gateway {url}: {says}")]
    BadEndpoint {
        /// The address, without credentials.
        url: String,
        /// What is wrong.
        says: String,
    },
    /// There is no connection; nothing was sent.
    #[error("cannot reach the gateway at {url}: {cause}")]
    Unreachable {
        /// The address, without credentials.
        url: String,
        /// What the connection said.
        cause: String,
    },
    /// No usable answer came to a request that may have been carried out.
    #[error(
        "no answer came from the gateway at {url}, so it is unknown whether it was done: {cause}"
    )]
    TimedOut {
        /// The address, without credentials.
        url: String,
        /// What the connection said.
        cause: String,
    },
    /// 401.
    #[error("{}: {text}", REFUSES_KEY)]
    Unauthorized {
        /// The gateway's words.
        text: String,
    },
    /// 403.
    #[error("the gateway forbids it: {text}")]
    Forbidden {
        /// Such as `self_approval_denied`.
        code: Option<String>,
        /// The gateway's words.
        text: String,
    },
    /// 403 on a submit: policy says no, and the job is on record.
    #[error("policy denies the job: {text}")]
    Denied {
        /// The job on record.
        job_id: JobId,
        /// The gateway's words.
        text: String,
    },
    /// 404.
    #[error("the gateway does not know it: {text}")]
    NotFound {
        /// The gateway's words.
        text: String,
    },
    /// 409, or 200 around a 409.
    #[error("the gateway refuses: {text}")]
    Conflict {
        /// What stands against it.
        why: Conflict,
        /// Such as `approval_stale_snapshot`; the older generation has none.
        code: Option<String>,
        /// The gateway's words.
        text: String,
    },
    /// The job's lock is taken; the same call may succeed in a moment.
    #[error("the gateway is busy with this job: {text}")]
    Busy {
        /// The gateway's words.
        text: String,
    },
    /// 429: too many calls, or a job that policy throttles.
    #[error("the gateway asks to slow down: {text}")]
    RateLimited {
        /// How long to wait, if it says.
        retry_after: Option<Elapsed>,
        /// The gateway's words.
        text: String,
    },
    /// The safety kernel behind the gateway does not answer, so nothing can be
    /// approved.
    #[error("the safety kernel does not answer: {text}")]
    KernelDown {
        /// The gateway's words.
        text: String,
    },
    /// 400.
    #[error("the gateway does not take the request: {text}")]
    BadRequest {
        /// Such as `unknown_topic`.
        code: Option<String>,
        /// The gateway's words.
        text: String,
    },
    /// 413.
    #[error("the request is too large for the gateway: {text}")]
    TooLarge {
        /// The gateway's words.
        text: String,
    },
    /// What answers does not speak the gateway's language.
    #[error("what answers at {url} is not a CAP gateway: {says}")]
    NotAGateway {
        /// The address, without credentials.
        url: String,
        /// What it said.
        says: String,
    },
    /// Anything else.
    #[error("the gateway failed with status {status}: {text}")]
    Other {
        /// The HTTP status.
        status: u16,
        /// The gateway's words.
        text: String,
    },
}

impl GatewayError {
    /// What went wrong, for where the name and the address of the gateway stand
    /// beside it.
    pub fn beside_address(&self) -> String {
        match self {
            Self::BadEndpoint { says, .. } => says.clone(),
            Self::Unreachable { cause, .. } => cause.clone(),
            Self::NotAGateway { says, .. } => format!("not a CAP gateway: {says}"),
            _ => self.to_string(),
        }
    }
}

/// What stands against a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Conflict {
    /// Somebody decided already.
    AlreadyResolved,
    /// It does not wait for a decision: expired, invalidated, or in another state.
    NotActionable,
    /// The workflow run it belongs to has ended.
    TerminalRun,
    /// The stored request is not the one that policy judged.
    StaleRequest,
    /// The policy moved.
    StaleSnapshot,
    /// The payload is not the one that was read.
    StaleContext,
    /// The idempotency key belongs to another job.
    Idempotency,
    /// Something else; the words say what.
    Other,
}

/// One answer as it came.
pub(super) struct Answer<'a> {
    pub(super) url: &'a str,
    pub(super) changes: bool,
    pub(super) status: u16,
    pub(super) retry_after: Option<Elapsed>,
    pub(super) body: &'a [u8],
}

/// The JSON of an answer, or what it refuses.
pub(super) fn judge(answer: &Answer<'_>) -> Result<Value, GatewayError> {
    let json = serde_json::from_slice::<Value>(answer.body).ok();
    let in_body = json
        .as_ref()
        .filter(|json| json.get("error").is_some())
        .and_then(|json| json.get("status")?.as_u64())
        .and_then(|status| u16::try_from(status).ok());
    // The newer generation answers a busy lock with 200 around a 409.
    let status = match (answer.status, in_body) {
        (200..=299, Some(status)) if status >= 400 => status,
        (status, _) => status,
    };
    if (200..=299).contains(&status) {
        return match json {
            Some(json) => Ok(json),
            None if answer.body.is_empty() => Ok(Value::Object(serde_json::Map::new())),
            None => Err(GatewayError::NotAGateway {
                url: answer.url.to_owned(),
                says: cut(&String::from_utf8_lossy(answer.body)),
            }),
        };
    }
    Err(refusal(answer, status, json.as_ref()))
}

fn refusal(answer: &Answer<'_>, status: u16, json: Option<&Value>) -> GatewayError {
    let member = |name: &str| {
        json.and_then(|json| json.get(name)?.as_str())
            .filter(|text| !text.is_empty())
            .map(cut)
    };
    let code = member("code").or_else(|| member("reason").filter(|text| !text.contains(' ')));
    let text = member("message")
        .or_else(|| member("error"))
        .unwrap_or_else(|| match json {
            Some(json) => cut(&json.to_string()),
            None => cut(String::from_utf8_lossy(answer.body).trim()),
        });
    let text = if text.is_empty() {
        format!("status {status}")
    } else {
        text
    };
    let lower = text.to_lowercase();
    match status {
        400 | 422 => GatewayError::BadRequest { code, text },
        401 => GatewayError::Unauthorized { text },
        403 => match member("job_id") {
            Some(job_id) => GatewayError::Denied {
                job_id: JobId::from(job_id),
                text: member("reason").unwrap_or(text),
            },
            None => GatewayError::Forbidden { code, text },
        },
        404 => GatewayError::NotFound { text },
        409 => {
            let busy = code.as_deref() == Some("approval_retryable_lock")
                || (code.is_none() && lower.contains("; retry"));
            if busy {
                return GatewayError::Busy { text };
            }
            let why = conflict(code.as_deref(), &lower);
            GatewayError::Conflict { why, code, text }
        }
        413 => GatewayError::TooLarge { text },
        429 => GatewayError::RateLimited {
            retry_after: answer.retry_after,
            text,
        },
        502..=504 if lower.contains("kernel") || lower.contains("snapshots") => {
            GatewayError::KernelDown { text }
        }
        // A proxy in front, which cannot know what happened behind it, or a gateway
        // whose own call went unanswered half way.
        502 | 504 if answer.changes => GatewayError::TimedOut {
            url: answer.url.to_owned(),
            cause: text,
        },
        300..=399 => GatewayError::NotAGateway {
            url: answer.url.to_owned(),
            says: format!("it redirects (status {status})"),
        },
        _ => GatewayError::Other { status, text },
    }
}

fn conflict(code: Option<&str>, text: &str) -> Conflict {
    match code.unwrap_or_default() {
        "approval_already_resolved" => return Conflict::AlreadyResolved,
        "approval_not_actionable" => return Conflict::NotActionable,
        "approval_terminal_run" => return Conflict::TerminalRun,
        "approval_stale_request" => return Conflict::StaleRequest,
        "approval_stale_snapshot" => return Conflict::StaleSnapshot,
        "approval_stale_context" => return Conflict::StaleContext,
        "IDEMPOTENCY_CONFLICT" => return Conflict::Idempotency,
        _ => {}
    }
    // The older generation has no codes; the newer one makes some of its texts.
    const WORDS: [(&str, Conflict); 9] = [
        ("already resolved", Conflict::AlreadyResolved),
        ("not awaiting approval", Conflict::NotActionable),
        ("no longer actionable", Conflict::NotActionable),
        ("workflow run", Conflict::TerminalRun),
        ("job request changed", Conflict::StaleRequest),
        ("job hash unavailable", Conflict::StaleRequest),
        ("policy snapshot", Conflict::StaleSnapshot),
        ("policy drift", Conflict::StaleSnapshot),
        ("idempotency key", Conflict::Idempotency),
    ];
    WORDS
        .iter()
        .find(|(words, _)| text.contains(words))
        .map_or(Conflict::Other, |(_, why)| *why)
}

/// What a broken connection means: for a request that changes something, only
/// one that never left is certainly undone.
pub(super) fn transport(url: &str, changes: bool, error: &reqwest::Error) -> GatewayError {
    let (url, cause) = (url.to_owned(), chain(error));
    if changes && !error.is_connect() && !error.is_builder() {
        GatewayError::TimedOut { url, cause }
    } else {
        GatewayError::Unreachable { url, cause }
    }
}

/// The innermost causes, without reqwest's own preamble and address.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    cut(&innermost.to_string())
}

pub(super) fn without_credentials(text: &str) -> String {
    match Url::parse(text) {
        Ok(mut url) => {
            // Both fail only for addresses that cannot hold credentials.
            let _cannot = url.set_username("");
            let _cannot = url.set_password(None);
            url.as_str().trim_end_matches('/').to_owned()
        }
        Err(_) => cut(text.rsplit('@').next().unwrap_or_default()),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &str) -> String {
        let answer = Answer {
            url: "http://gw",
            changes: true,
            status,
            retry_after: (status == 429).then(|| Elapsed::from_secs(30)),
            body: body.as_bytes(),
        };
        match judge(&answer) {
            Ok(json) => format!("ok {json}"),
            Err(GatewayError::Conflict { why, code, .. }) => format!("{why:?} {code:?}"),
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn conflicts_of_the_newer_generation_are_told_apart_by_code() {
        for (code, why) in [
            ("approval_already_resolved", "AlreadyResolved"),
            ("approval_not_actionable", "NotActionable"),
            ("approval_terminal_run", "TerminalRun"),
            ("approval_stale_request", "StaleRequest"),
            ("approval_stale_snapshot", "StaleSnapshot"),
            ("approval_stale_context", "StaleContext"),
            ("something_new", "Other"),
        ] {
            let body = format!(r#"{{"error":"any words","code":"{code}","status":409}}"#);
            assert_eq!(judged(409, &body), format!("{why} Some({code:?})"));
            assert_eq!(judged(200, &body), format!("{why} Some({code:?})"));
        }
    }

    #[test]
    fn conflicts_of_the_older_generation_are_told_apart_by_their_words() {
        for (text, why) in [
            ("job not awaiting approval", "NotActionable"),
            ("approval job hash unavailable", "StaleRequest"),
            ("approval policy snapshot unavailable", "StaleSnapshot"),
            (
                "policy snapshot changed; re-evaluate before approving",
                "StaleSnapshot",
            ),
            ("job request changed; approval rejected", "StaleRequest"),
            ("idempotency key already used", "Idempotency"),
            ("the moon is full", "Other"),
        ] {
            assert_eq!(judged(409, &format!("{text}\n")), format!("{why} None"));
        }
    }

    #[test]
    fn a_busy_lock_is_busy_whatever_the_status_line_says() {
        let body = r#"{"error":"approval in progress; retry","code":"approval_retryable_lock","status":409,"retryable":true}"#;
        let busy = r#"Busy { text: "approval in progress; retry" }"#;
        assert_eq!(judged(200, body), busy);
        assert_eq!(judged(409, body), busy);
        assert_eq!(
            judged(409, "rejection in progress; retry\n"),
            r#"Busy { text: "rejection in progress; retry" }"#
        );
        let body = r#"{"error":"rejection in progress; retry","status":409}"#;
        assert!(judged(200, body).starts_with("Busy"));
    }

    #[test]
    fn a_job_that_ends_badly_is_not_a_refusal() {
        let detail = r#"{"id":"j","status":409,"error_message":"x"}"#;
        assert_eq!(judged(200, detail), format!("ok {detail}"));
    }

    #[test]
    fn every_status_has_its_kind() {
        assert_eq!(
            judged(401, r#"{"error":"unauthorized","status":401}"#),
            r#"Unauthorized { text: "unauthorized" }"#
        );
        assert_eq!(
            judged(
                403,
                r#"{"error":"forbidden","status":403,"reason":"key_scope_insufficient"}"#
            ),
            r#"Forbidden { code: Some("key_scope_insufficient"), text: "forbidden" }"#
        );
        assert_eq!(
            judged(403, "tenant access denied\n"),
            r#"Forbidden { code: None, text: "tenant access denied" }"#
        );
        assert_eq!(
            judged(
                403,
                r#"{"error":"policy denied","status":403,"job_id":"j-1","trace_id":"t"}"#
            ),
            r#"Denied { job_id: "j-1", text: "policy denied" }"#
        );
        assert_eq!(
            judged(404, "job not found\n"),
            r#"NotFound { text: "job not found" }"#
        );
        assert_eq!(judged(413, ""), r#"TooLarge { text: "status 413" }"#);
        assert_eq!(
            judged(429, r#"{"error":"rate limited"}"#),
            r#"RateLimited { retry_after: Some(30000ms), text: "rate limited" }"#
        );
        assert_eq!(
            judged(503, "safety kernel unavailable\n"),
            r#"KernelDown { text: "safety kernel unavailable" }"#
        );
        assert_eq!(
            judged(
                400,
                r#"{"error":"unknown topic","code":"unknown_topic","status":400}"#
            ),
            r#"BadRequest { code: Some("unknown_topic"), text: "unknown topic" }"#
        );
        assert!(judged(502, "<html>bad gateway</html>").starts_with("TimedOut"));
        assert!(judged(504, "").starts_with("TimedOut"));
        let half = r#"{"error":"publish approval failed","status":502}"#;
        assert!(judged(502, half).starts_with("TimedOut"));
        let before = r#"{"error":"list safety snapshots failed","status":502}"#;
        assert!(judged(502, before).starts_with("KernelDown"));
        assert!(judged(302, "").starts_with("NotAGateway"));
        assert!(judged(200, "<html>hello</html>").starts_with("NotAGateway"));
        assert_eq!(
            judged(500, "internal error\n"),
            r#"Other { status: 500, text: "internal error" }"#
        );
    }

    #[test]
    fn an_address_is_shown_without_its_credentials() {
        assert_eq!(without_credentials("http://u:p@h:1/"), "http://h:1");
        assert_eq!(without_credentials("not an address u:p@h"), "h");
    }
}
