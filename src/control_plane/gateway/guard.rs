//! Who may talk to the gateway.
//!
//! A gateway on the loopback interface is reachable from every web page that the
//! user has open, so a foreign `Host` (a name that was pointed at us) and a
//! foreign `Origin` (a page of somebody else) are refused. [`judge`] is pure.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::answer::Refusal;
use super::keys::{Caller, Key, Keyring, Role, from_base64url};

/// The longest body that is read: 2 MiB, the limit of CAP gateways.
pub const MAX_BODY: usize = 2 << 20;

/// The longest request id that is sent back, in bytes.
const MAX_REQUEST_ID: usize = 128;

const REQUEST_ID: &str = "x-request-id";
const API_KEY: &str = "x-api-key";
const PRINCIPAL: &str = "x-principal-id";
const TENANT: &str = "x-tenant-id";
/// The subprotocol that carries a key where headers cannot be set, as browsers'
/// WebSockets: the key follows it, in base64 for URLs.
pub(super) const KEY_PROTOCOL: &str = "cordum-api-key";
/// What begins the one token in which older clients send name and key.
const KEY_IN_PROTOCOL: &str = "cordum-api-key.";
/// Bytes of a caller's name that are kept.
const MAX_NAME: usize = 128;
/// What everybody may see: that the gateway lives, and whether it is ready.
pub(super) const OPEN: [&str; 4] = ["/health", "/healthz", "/livez", "/readyz"];

/// What is asked of every call.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) listen: SocketAddr,
    pub(super) keys: Keyring,
    /// Begins the ids of requests that came without one.
    pub(super) id_prefix: String,
    pub(super) requests: AtomicU64,
}

impl Rules {
    fn request_id(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let given = headers
            .get(REQUEST_ID)
            .filter(|id| !id.is_empty() && id.len() <= MAX_REQUEST_ID && id.to_str().is_ok());
        given.cloned().or_else(|| {
            let number = self.requests.fetch_add(1, Ordering::Relaxed);
            HeaderValue::from_str(&format!("{}-{number}", self.id_prefix)).ok()
        })
    }
}

/// Lets a call through or answers it, and sends its request id back.
pub(super) async fn guard(
    State(rules): State<Arc<Rules>>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = rules.request_id(request.headers());
    let judged = judge(
        &rules,
        request.method(),
        request.uri().path(),
        request.headers(),
    );
    let mut response = match judged {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
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

/// Whether a call may go on, and as whose.
pub(super) fn judge(
    rules: &Rules,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Result<Caller, Refusal> {
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
    let name = named(headers, PRINCIPAL);
    if rules.keys.is_empty() || OPEN.contains(&path) {
        return Ok(Caller {
            role: Role::Admin,
            tenant: None,
            name,
            key_id: String::new(),
            personal: false,
            named_by_key: false,
        });
    }
    let Some(key) = given_key(headers).and_then(|key| rules.keys.find(&key)) else {
        return Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "the X-API-Key header is missing or wrong",
        ));
    };
    let needed = needed(method, path);
    if key.role < needed {
        return Err(Refusal::forbidden(
            "forbidden",
            format!(
                "a key of role {} may not do this; it takes {}",
                key.role.name(),
                needed.name()
            ),
        )
        .with("reason", "key_scope_insufficient")
        .with("required", needed.name())
        .with("granted", key.role.name()));
    }
    Ok(Caller {
        role: key.role,
        tenant: tenant(key, headers)?,
        name: key
            .principal
            .clone()
            .or(name)
            .or_else(|| key.personal.then(|| key.id.clone())),
        key_id: key.id.clone(),
        personal: key.personal,
        named_by_key: key.principal.is_some(),
    })
}

/// What a caller has to be for a call.
fn needed(method: &Method, path: &str) -> Role {
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    if path == "/stream" {
        return Role::Admin;
    }
    // A candidate of a caller's own costs more than a question about the policy in force.
    if path == "/policy/replay" {
        return Role::User;
    }
    let asks_only = path.starts_with("/policy/");
    if method == Method::GET || method == Method::HEAD || asks_only {
        return Role::Viewer;
    }
    if path.starts_with("/jobs") {
        return Role::User;
    }
    Role::Admin
}

/// The tenant of a call: that of its key, else the one it asks for, else every one.
fn tenant(key: &Key, headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let asked = named(headers, TENANT);
    match (&key.tenant, asked) {
        (Some(own), Some(asked)) if *own != asked => Err(Refusal::other_tenant()),
        (Some(own), _) => Ok(Some(own.clone())),
        (None, asked) => Ok(asked),
    }
}

fn given_key(headers: &HeaderMap) -> Option<Vec<u8>> {
    if let Some(key) = headers.get(API_KEY) {
        return Some(key.as_bytes().to_vec());
    }
    if let Some(token) = legacy_token(headers) {
        return from_base64url(token.strip_prefix(KEY_IN_PROTOCOL)?);
    }
    let mut protocols = offered(headers);
    protocols.find(|name| *name == KEY_PROTOCOL)?;
    from_base64url(protocols.next()?)
}

/// The subprotocols that a client offers, in its order: in one header or several, which
/// RFC 6455 (section 11.3.4) takes for the same.
fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// The subprotocol of an older client, which is name and key in one. It is the one
/// that it offers, so it is the one that has to be agreed to.
pub(super) fn legacy_token(headers: &HeaderMap) -> Option<&str> {
    offered(headers).find(|name| name.starts_with(KEY_IN_PROTOCOL))
}

fn named(headers: &HeaderMap, header: &str) -> Option<String> {
    let name = std::str::from_utf8(headers.get(header)?.as_bytes()).ok()?;
    let name = name.trim();
    let name = &name[..name.floor_char_boundary(MAX_NAME)];
    (!name.is_empty()).then(|| name.to_owned())
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

    fn rules(listen: &str, keys: Keyring) -> Rules {
        Rules {
            listen: listen.parse().expect("an address"),
            keys,
            id_prefix: "req".to_owned(),
            requests: AtomicU64::new(1),
        }
    }

    fn judged(listen: &str, key: Option<&str>, path: &str, headers: &[(&str, &str)]) -> String {
        let keys = key.map(Keyring::shared).unwrap_or_default();
        let rules = rules(listen, keys);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: header::HeaderName = name.parse().expect("a name");
            map.append(name, value.parse().expect("a value"));
        }
        match judge(&rules, &Method::GET, path, &map) {
            Ok(_) => "through".to_owned(),
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
        for open in OPEN {
            assert_eq!(with(open, None), "through", "{open}");
        }
        assert_eq!(with("/healthz/", None), "401");
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

    #[test]
    fn a_role_may_do_what_those_before_it_may() {
        let ring = "a:v:viewer, a:u:user, a:x:admin";
        let rules = rules("127.0.0.1:1", Keyring::parse(ring).expect("keys"));
        let may = |key: &str, method: Method, path: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("host", HeaderValue::from_static("localhost"));
            headers.insert(API_KEY, key.parse().expect("a value"));
            let path = format!("/api/v1{path}");
            judge(&rules, &method, &path, &headers).is_ok()
        };
        for (method, path, expected) in [
            (Method::GET, "/jobs", "v u x"),
            (Method::POST, "/policy/evaluate", "v u x"),
            (Method::POST, "/jobs", "u x"),
            (Method::POST, "/jobs/j/cancel", "u x"),
            (Method::POST, "/jobs/j/remediate", "u x"),
            (Method::POST, "/approvals/j/approve", "x"),
            (Method::POST, "/approvals/j/reject", "x"),
            (Method::DELETE, "/dlq/j", "x"),
            (Method::POST, "/dlq/j/retry", "x"),
            (Method::GET, "/stream", "x"),
        ] {
            let able: Vec<_> = ["v", "u", "x"]
                .into_iter()
                .filter(|key| may(key, method.clone(), path))
                .collect();
            assert_eq!(able.join(" "), expected, "{method} {path}");
        }
    }

    #[test]
    fn who_calls_is_told_by_the_key_before_the_header() {
        let ring = "acme:k1:admin:ada, acme:k2:user, *:k3:user";
        let personal = Keyring::parse(ring).expect("keys");
        let rules = rules("127.0.0.1:1", personal.and(Keyring::shared("shared")));
        let who = |key: &str, more: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            headers.insert("host", HeaderValue::from_static("localhost"));
            headers.insert(API_KEY, key.parse().expect("a value"));
            for (name, value) in more {
                let name: header::HeaderName = name.parse().expect("a name");
                headers.insert(name, value.parse().expect("a value"));
            }
            match judge(&rules, &Method::GET, "/api/v1/jobs", &headers) {
                Ok(caller) => format!(
                    "{} of {}",
                    caller.name.as_deref().unwrap_or("-"),
                    caller.tenant.as_deref().unwrap_or("*")
                ),
                Err(refusal) => refusal.into_response().status().as_u16().to_string(),
            }
        };
        let eve = ("x-principal-id", "eve");
        assert_eq!(who("k1", &[eve]), "ada of acme");
        assert_eq!(who("k2", &[eve]), "eve of acme");
        assert!(who("k2", &[]).starts_with("static:"));
        assert_eq!(who("k1", &[("x-tenant-id", "acme")]), "ada of acme");
        assert_eq!(who("k1", &[("x-tenant-id", "other")]), "403");
        assert_eq!(who("k3", &[eve, ("x-tenant-id", "other")]), "eve of other");
        assert_eq!(who("shared", &[eve]), "eve of *");
        assert_eq!(who("shared", &[]), "- of *");
    }

    #[test]
    fn a_key_may_come_as_the_subprotocol_of_a_websocket() {
        // `s3cret` in base64 for URLs. A bar divides headers.
        for (protocol, expected) in [
            ("cordum-api-key | czNjcmV0", "through"),
            ("json | cordum-api-key.czNjcmV0", "through"),
            ("czNjcmV0 | cordum-api-key", "401"),
            ("cordum-api-key, czNjcmV0", "through"),
            ("cordum-api-key,czNjcmV0", "through"),
            ("cordum-api-key.czNjcmV0", "through"),
            ("json, cordum-api-key.czNjcmV0", "through"),
            ("cordum-api-key.s3cret", "401"),
            ("cordum-api-key.", "401"),
            ("cordum-api-key, s3cret", "401"),
            ("cordum-api-key", "401"),
            ("czNjcmV0", "401"),
        ] {
            let mut headers = vec![("host", "localhost")];
            let lines = protocol.split(" | ");
            headers.extend(lines.map(|line| ("sec-websocket-protocol", line)));
            let path = "/api/v1/stream";
            let judged = judged("127.0.0.1:1", Some("s3cret"), path, &headers);
            assert_eq!(judged, expected, "{protocol}");
        }
    }
}
