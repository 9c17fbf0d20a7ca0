//! Who may talk to the gateway.
//!
//! A gateway on the loopback interface is reachable from every web page that the
//! user has open, so a foreign `Host` (a name that was pointed at us) and a
//! foreign `Origin` (a page of somebody else) are refused. [`judge`] is pure.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::answer::Refusal;
use crate::wire::job_hash::sha256_hex;

/// The longest body that is read: 2 MiB, the limit of CAP gateways.
pub const MAX_BODY: usize = 2 << 20;

/// The longest request id that is sent back, in bytes.
const MAX_REQUEST_ID: usize = 128;

const REQUEST_ID: &str = "x-request-id";
const API_KEY: &str = "x-api-key";

/// The key that callers must know. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    digest: String,
}

impl ApiKey {
    /// Takes the key; only its digest is kept.
    pub fn new(key: &str) -> Self {
        Self {
            digest: sha256_hex(key.as_bytes()),
        }
    }

    /// Digests are compared, so the time it takes tells nothing about the key.
    fn is(&self, key: &[u8]) -> bool {
        self.digest == sha256_hex(key)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// What is asked of every call.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) listen: SocketAddr,
    pub(super) api_key: Option<ApiKey>,
}

/// Lets a call through or answers it, and sends its request id back.
pub(super) async fn guard(
    State(rules): State<Arc<Rules>>,
    request: Request,
    next: Next,
) -> Response {
    let id = request
        .headers()
        .get(REQUEST_ID)
        .filter(|id| id.len() <= MAX_REQUEST_ID && id.to_str().is_ok())
        .cloned();
    let mut response = match judge(&rules, request.uri().path(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether a call may go on.
pub(super) fn judge(rules: &Rules, path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(host) = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
    else {
        return Err(Refusal::bad_request(
            "missing_host",
            "the Host header is missing",
        ));
    };
    if !is_ours(rules, host) {
        return Err(Refusal::forbidden(
            "foreign_host",
            "this gateway does not answer to that Host",
        ));
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let same = origin.to_str().is_ok_and(|origin| {
            ["http://", "https://"]
                .iter()
                .any(|scheme| origin.strip_prefix(scheme) == Some(host))
        });
        if !same {
            return Err(Refusal::forbidden(
                "foreign_origin",
                "this gateway does not answer pages of another origin",
            ));
        }
    }
    let long = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|len| len.to_str().ok()?.parse::<u64>().ok())
        .is_some_and(|len| len > MAX_BODY as u64);
    if long {
        return Err(too_long());
    }
    if let Some(wanted) = &rules.api_key
        && path != "/healthz"
    {
        let known = headers
            .get(API_KEY)
            .is_some_and(|key| wanted.is(key.as_bytes()));
        if !known {
            return Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "the X-API-Key header is missing or wrong",
            ));
        }
    }
    Ok(())
}

pub(super) fn too_long() -> Refusal {
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        format!("the body is longer than {MAX_BODY} bytes"),
    )
}

/// Whether a `Host` names this gateway: the loopback names, or the address it
/// listens on. One that listens on all addresses answers to any address, but to
/// no name, for only names can be pointed at us by others.
fn is_ours(rules: &Rules, host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) if port.is_empty() || port.starts_with(':') => name,
            _ => return false,
        },
        None => match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            Some(_) => return false,
            None => host,
        },
    };
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let Ok(address) = name.parse::<IpAddr>() else {
        return false;
    };
    let listen = rules.listen.ip();
    let plain_loopback = name == "127.0.0.1" || name == "::1";
    plain_loopback || address == listen || listen.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(listen: &str, key: Option<&str>, path: &str, headers: &[(&str, &str)]) -> String {
        let rules = Rules {
            listen: listen.parse().expect("an address"),
            api_key: key.map(ApiKey::new),
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: header::HeaderName = name.parse().expect("a name");
            map.insert(name, value.parse().expect("a value"));
        }
        match judge(&rules, path, &map) {
            Ok(()) => "through".to_owned(),
            Err(refusal) => refusal.into_response().status().as_u16().to_string(),
        }
    }

    #[test]
    fn only_our_own_names_are_answered() {
        for (listen, host, expected) in [
            ("127.0.0.1:8081", "localhost:8081", "through"),
            ("127.0.0.1:8081", "LOCALHOST", "through"),
            ("127.0.0.1:8081", "127.0.0.1:8081", "through"),
            ("127.0.0.1:8081", "127.0.0.1:9999", "through"),
            ("127.0.0.1:8081", "[::1]:8081", "through"),
            ("127.0.0.1:8081", "[::1]", "through"),
            ("127.0.0.1:8081", "evil.example", "403"),
            ("127.0.0.1:8081", "evil.example:8081", "403"),
            ("127.0.0.1:8081", "localhost.evil.example", "403"),
            ("127.0.0.1:8081", "127.0.0.1.evil.example", "403"),
            ("127.0.0.1:8081", "10.0.0.5", "403"),
            ("127.0.0.1:8081", "localhost:80:80", "403"),
            ("127.0.0.1:8081", "localhost@evil.example", "403"),
            ("127.0.0.1:8081", "[::1]evil", "403"),
            ("127.0.0.1:8081", "", "403"),
            ("10.0.0.5:8081", "10.0.0.5:8081", "through"),
            ("10.0.0.5:8081", "10.0.0.6:8081", "403"),
            ("0.0.0.0:8081", "10.0.0.6:8081", "through"),
            ("0.0.0.0:8081", "evil.example", "403"),
        ] {
            assert_eq!(
                judged(listen, None, "/", &[("host", host)]),
                expected,
                "{host} on {listen}"
            );
        }
        assert_eq!(judged("127.0.0.1:1", None, "/", &[]), "400");
    }

    #[test]
    fn pages_of_others_are_refused() {
        for (origin, expected) in [
            ("http://localhost:8081", "through"),
            ("https://localhost:8081", "through"),
            ("http://localhost:3000", "403"),
            ("http://evil.example", "403"),
            ("null", "403"),
            ("localhost:8081", "403"),
        ] {
            let headers = [("host", "localhost:8081"), ("origin", origin)];
            assert_eq!(judged("127.0.0.1:8081", None, "/", &headers), expected);
        }
    }

    #[test]
    fn a_key_is_demanded_everywhere_but_for_the_sign_of_life() {
        let with = |path: &str, key: Option<&str>| {
            let mut headers = vec![("host", "localhost")];
            headers.extend(key.map(|key| ("x-api-key", key)));
            judged("127.0.0.1:1", Some("s3cret"), path, &headers)
        };
        assert_eq!(with("/api/v1/jobs", None), "401");
        assert_eq!(with("/api/v1/jobs", Some("wrong")), "401");
        assert_eq!(with("/api/v1/jobs", Some("s3cret")), "through");
        assert_eq!(with("/healthz", None), "through");
        assert_eq!(format!("{:?}", ApiKey::new("s3cret")), "[secret]");
    }

    #[test]
    fn a_body_that_says_it_is_too_long_is_not_read() {
        let with = |len: &str| {
            let headers = [("host", "localhost"), ("content-length", len)];
            judged("127.0.0.1:1", None, "/api/v1/jobs", &headers)
        };
        assert_eq!(with("2097152"), "through");
        assert_eq!(with("2097153"), "413");
    }
}
