//! A typed HTTP client of any CAP gateway.
//!
//! Two generations of gateways are met in the field: the older one answers
//! refusals in plain text and some lists as bare arrays, the newer one in JSON,
//! sometimes with HTTP 200 around a refusal. Callers see neither: they get
//! [`types`] or a [`GatewayError`] whose kind says what to do next. Nothing is
//! ever sent twice: a decision whose answer got lost is
//! [`GatewayError::TimedOut`], and only asking the job tells.
//!
//! Start at [`GatewayClient::new`].

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::ids::JobId;
use crate::time::Elapsed;

pub mod error;
mod lenient;
pub mod types;

use error::Answer;
pub use error::{Conflict, GatewayError};
use types::{
    ApprovalItem, Cancelled, DeadLetterRecord, Decided, Decision, DecisionRecord, JobDetail,
    JobRecord, JobsQuery, List, LoggedDecision, Memory, PoolRecord, Retried, RollbackRecord, Rules,
    Status, Submitted, WorkerRecord,
};

/// Longer than a gateway on the same continent needs to take a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// The limit of a call that reads.
const READ_LIMIT: Duration = Duration::from_secs(5);
/// The limit of a call that changes something: a gateway may wait 2 s for the
/// job's lock and 5 s for its kernel.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// Answers longer than this are not read: a payload of 2 MiB as base64, text and
/// JSON at once stays below.
const MAX_ANSWER: usize = 16 << 20;
/// Rows asked of a list: the most that gateways give.
const LIST_LIMIT: &str = "500";

/// Where a gateway is and how to speak to it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Endpoint {
    /// `http://host:port` or `https://host:port`; `/api/v1` may follow.
    pub url: String,
    /// Sent as `X-API-Key`.
    pub api_key: Option<String>,
    /// Sent as `X-Tenant-ID`.
    pub tenant: Option<String>,
    /// Certificates to trust besides the system's, PEM.
    pub ca: Option<PathBuf>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &self.url)
            .field("api_key", &self.api_key.as_ref().map(|_| "[secret]"))
            .field("tenant", &self.tenant)
            .field("ca", &self.ca)
            .finish()
    }
}

/// A client of one gateway; calls may run side by side.
pub struct GatewayClient {
    http: reqwest::Client,
    base: Url,
    shown: String,
    /// What `/status` said about bound decisions: see [`Binding`].
    binding: AtomicU8,
    /// Requests sent since they were last counted.
    sent: AtomicU32,
}

/// Whether the gateway compares what a decision was made on.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Binding {
    NotAsked = 0,
    Absent = 1,
    Offered = 2,
}

impl fmt::Debug for GatewayClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GatewayClient({})", self.shown)
    }
}

impl GatewayClient {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// [`GatewayError::BadEndpoint`] when the address, the key or the certificates
    /// cannot be used.
    pub fn new(endpoint: &Endpoint) -> Result<Self, GatewayError> {
        let bad = |says: String| GatewayError::BadEndpoint {
            url: error::without_credentials(&endpoint.url),
            says,
        };
        let base = base_url(&endpoint.url).map_err(bad)?;
        // Err says that a provider is installed already, by us or by the bus.
        let _already = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        for (name, value, secret) in [
            ("x-api-key", &endpoint.api_key, true),
            ("x-tenant-id", &endpoint.tenant, false),
        ] {
            let Some(value) = value else { continue };
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| bad(format!("{name} has characters that HTTP does not allow")))?;
            value.set_sensitive(secret);
            headers.insert(HeaderName::from_static(name), value);
        }
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("capdeck/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .no_proxy()
            // A redirect would carry the key to another server.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_LIMIT)
            .pool_idle_timeout(Duration::from_secs(15));
        if let Some(path) = &endpoint.ca {
            let pem = std::fs::read(path)
                .map_err(|error| bad(format!("cannot read {}: {error}", path.display())))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|_| bad(format!("{} holds no PEM certificates", path.display())))?;
            http = http.tls_certs_merge(certificates);
        }
        let http = http.build().map_err(|error| bad(error::chain(&error)))?;
        Ok(Self {
            http,
            shown: error::without_credentials(&endpoint.url),
            base,
            binding: AtomicU8::new(Binding::NotAsked as u8),
            sent: AtomicU32::new(0),
        })
    }

    /// The address, without credentials.
    pub fn url(&self) -> &str {
        &self.shown
    }

    /// How many requests were sent since this was asked last, so that the console
    /// can say what it costs the gateway.
    pub fn take_sent(&self) -> u32 {
        self.sent.swap(0, Ordering::Relaxed)
    }

    /// Whether the gateway is on this machine, so that it may be asked often.
    pub fn is_loopback(&self) -> bool {
        match self.base.host_str() {
            Some("localhost") => true,
            Some(host) => host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback()),
            None => false,
        }
    }

    /// `GET /status`.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn status(&self) -> Result<Status, GatewayError> {
        let status: Status = match self.read(&["status"], &[]).await {
            Err(GatewayError::NotFound { text }) => {
                return Err(GatewayError::NotAGateway {
                    url: self.shown.clone(),
                    says: format!("there is no /api/v1/status: {text}"),
                });
            }
            other => other?,
        };
        let binding = if status.takes_expect() {
            Binding::Offered
        } else {
            Binding::Absent
        };
        self.binding.store(binding as u8, Ordering::Relaxed);
        Ok(status)
    }

    /// Whether decisions are compared with what they were made on, under the
    /// job's lock; asks `/status` the first time.
    ///
    /// # Errors
    /// [`GatewayError`] when it has to ask and cannot.
    pub async fn binds_decisions(&self) -> Result<bool, GatewayError> {
        match self.binding.load(Ordering::Relaxed) {
            binding if binding == Binding::Offered as u8 => Ok(true),
            binding if binding == Binding::Absent as u8 => Ok(false),
            _ => Ok(self.status().await?.takes_expect()),
        }
    }

    /// `GET /jobs`, newest first. Gateways filter after they cut the list, so a
    /// short page with a cursor has more behind it.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn jobs(&self, query: &JobsQuery) -> Result<List<JobRecord>, GatewayError> {
        let pairs = query.pairs();
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| (*k, v.as_str())).collect();
        self.list(&["jobs"], &pairs).await
    }

    /// `GET /jobs/{id}`.
    ///
    /// # Errors
    /// [`GatewayError::NotFound`] and the others.
    pub async fn job(&self, id: &JobId) -> Result<JobDetail, GatewayError> {
        let path = ["jobs", segment(id)?];
        let raw = self.value(Method::GET, &path, &[], None, None).await?;
        JobDetail::from_value(raw).map_err(|says| self.not_understood(says))
    }

    /// `GET /traces/{id}`: the jobs of a trace, and from our own gateway also those of a
    /// workflow.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn trace(&self, id: &str) -> Result<List<JobRecord>, GatewayError> {
        self.list(&["traces", id], &[]).await
    }

    /// `GET /jobs/{id}/decisions`, newest first.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn decisions(&self, id: &JobId) -> Result<List<DecisionRecord>, GatewayError> {
        self.list(&["jobs", segment(id)?, "decisions"], &[]).await
    }

    /// `POST /jobs` with a body of the gateway's own shape.
    ///
    /// # Errors
    /// [`GatewayError::Denied`] when policy says no, and the others.
    pub async fn submit(&self, body: &Value, operator: &str) -> Result<Submitted, GatewayError> {
        self.write(&["jobs"], Some(body), Some(operator)).await
    }

    /// `POST /jobs/{id}/cancel`. The reason travels only to gateways that take it;
    /// older ones refuse unknown fields, so there it stays with the caller.
    ///
    /// # Errors
    /// [`GatewayError::NotFound`] and the others.
    pub async fn cancel(
        &self,
        id: &JobId,
        reason: &str,
        operator: &str,
    ) -> Result<Cancelled, GatewayError> {
        let body = json!({ "reason": reason, "requested_by": operator });
        let told = self.binds_decisions().await?;
        let body = told.then_some(&body);
        let answer: Cancelled = self
            .write(&["jobs", segment(id)?, "cancel"], body, Some(operator))
            .await?;
        Ok(Cancelled {
            reason_sent: told,
            ..answer
        })
    }

    /// `GET /approvals`, oldest first.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn approvals(
        &self,
        include_resolved: bool,
        cursor: Option<&str>,
    ) -> Result<List<ApprovalItem>, GatewayError> {
        let resolved = if include_resolved { "true" } else { "false" };
        let mut query = vec![("include_resolved", resolved), ("limit", LIST_LIMIT)];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        self.list(&["approvals"], &query).await
    }

    /// `POST /approvals/{id}/approve`.
    ///
    /// # Errors
    /// [`GatewayError::Conflict`], [`GatewayError::Busy`] and the others.
    pub async fn approve(&self, id: &JobId, decision: &Decision) -> Result<Decided, GatewayError> {
        self.decide(id, "approve", decision).await
    }

    /// `POST /approvals/{id}/reject`.
    ///
    /// # Errors
    /// [`GatewayError::Conflict`], [`GatewayError::Busy`] and the others.
    pub async fn reject(&self, id: &JobId, decision: &Decision) -> Result<Decided, GatewayError> {
        self.decide(id, "reject", decision).await
    }

    async fn decide(
        &self,
        id: &JobId,
        verb: &str,
        decision: &Decision,
    ) -> Result<Decided, GatewayError> {
        let bound = !decision.expect.is_empty() && self.binds_decisions().await?;
        let body = decision.body(bound);
        let path = ["approvals", segment(id)?, verb];
        let answer: Decided = self
            .write(&path, Some(&body), Some(&decision.operator))
            .await?;
        Ok(Decided { bound, ..answer })
    }

    /// `GET /workers`.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn workers(&self) -> Result<List<WorkerRecord>, GatewayError> {
        self.list(&["workers"], &[]).await
    }

    /// `GET /pools`; [`GatewayError::NotFound`] on the older generation.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn pools(&self) -> Result<List<PoolRecord>, GatewayError> {
        self.list(&["pools"], &[]).await
    }

    /// `GET /dlq`: jobs that could not be done, newest first, `limit` at most. The
    /// older generation answers with a bare list.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn dead_letters(&self, limit: usize) -> Result<List<DeadLetterRecord>, GatewayError> {
        let limit = limit.to_string();
        self.list(&["dlq"], &[("limit", &limit)]).await
    }

    /// `GET /rollbacks`: those that something failed for, the last failure first;
    /// [`GatewayError::NotFound`] where rollbacks are not listed.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn rollbacks(&self) -> Result<List<RollbackRecord>, GatewayError> {
        self.list(&["rollbacks"], &[("limit", LIST_LIMIT)]).await
    }

    /// `POST /dlq/{id}/retry`: makes a new job of the dead one.
    ///
    /// # Errors
    /// [`GatewayError::NotFound`] when there is no such letter, or the gateway has no
    /// such route, and the others.
    pub async fn retry(&self, id: &JobId, operator: &str) -> Result<Retried, GatewayError> {
        let path = ["dlq", segment(id)?, "retry"];
        self.write(&path, None, Some(operator)).await
    }

    /// `GET /policy/snapshots`, newest first; the first is in force.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn snapshots(&self) -> Result<Vec<String>, GatewayError> {
        let answer: types::Snapshots = self.read(&["policy", "snapshots"], &[]).await?;
        Ok(answer.snapshots)
    }

    /// `GET /policy/rules`, in the order of evaluation.
    ///
    /// # Errors
    /// [`GatewayError::NotFound`] where rules are not listed, and the others.
    pub async fn rules(&self) -> Result<Rules, GatewayError> {
        let path = ["policy", "rules"];
        let value = self.value(Method::GET, &path, &[], None, None).await?;
        Rules::from_value(value).map_err(|says| self.not_understood(says))
    }

    /// `GET /governance/decisions`: the log of the last 24 h, newest first, from
    /// `cursor` on, 500 a page.
    ///
    /// # Errors
    /// [`GatewayError::NotFound`] on the older generation, and the others.
    pub async fn logged_decisions(
        &self,
        cursor: Option<&str>,
    ) -> Result<List<LoggedDecision>, GatewayError> {
        let mut query = vec![("limit", LIST_LIMIT)];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        self.list(&["governance", "decisions"], &query).await
    }

    /// `POST /policy/explain`: what policy says of a request now; nothing is counted.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn explain(&self, question: &Value) -> Result<Value, GatewayError> {
        let path = ["policy", "explain"];
        self.value(Method::POST, &path, &[], Some(question), None)
            .await
    }

    /// `POST /policy/simulate`: what policy would say of a request; nothing is counted.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn simulate(&self, question: &Value) -> Result<Value, GatewayError> {
        let path = ["policy", "simulate"];
        self.value(Method::POST, &path, &[], Some(question), None)
            .await
    }

    /// `POST /policy/replay`: what a candidate policy would say of the last `limit`
    /// decisions. Nothing is published.
    ///
    /// # Errors
    /// [`GatewayError::BadRequest`] with code `invalid_policy` when it is none,
    /// [`GatewayError::NotFound`] where decisions are not replayed, and the others.
    pub async fn replay(&self, content: &str, limit: u32) -> Result<Value, GatewayError> {
        let path = ["policy", "replay"];
        let body = json!({ "content": content, "limit": limit });
        self.value(Method::POST, &path, &[], Some(&body), None)
            .await
    }

    /// `GET /memory?ptr=`: the bytes behind a pointer.
    ///
    /// # Errors
    /// [`GatewayError::NotFound`] when they are gone, and the others.
    pub async fn memory(&self, pointer: &str) -> Result<Memory, GatewayError> {
        let query = [("ptr", pointer)];
        let raw = self
            .value(Method::GET, &["memory"], &query, None, None)
            .await?;
        Memory::from_value(&raw).map_err(|says| self.not_understood(says))
    }

    // ---- one call ----

    async fn read<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, GatewayError> {
        let value = self.value(Method::GET, path, query, None, None).await?;
        lenient::one(value).map_err(|says| self.not_understood(says))
    }

    async fn list<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<List<T>, GatewayError> {
        let value = self.value(Method::GET, path, query, None, None).await?;
        lenient::list(value).map_err(|says| self.not_understood(says))
    }

    async fn write<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: Option<&Value>,
        operator: Option<&str>,
    ) -> Result<T, GatewayError> {
        let value = self.value(Method::POST, path, &[], body, operator).await?;
        lenient::one(value).map_err(|says| self.not_understood(says))
    }

    async fn value(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
        operator: Option<&str>,
    ) -> Result<Value, GatewayError> {
        let changes = method == Method::POST;
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| self.not_understood("the address has no path".to_owned()))?
            .extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let limit = if changes { WRITE_LIMIT } else { READ_LIMIT };
        let mut request = self.http.request(method, url).timeout(limit);
        if let Some(operator) = operator {
            // Without it an older gateway would put down the job's own principal.
            let operator = HeaderValue::from_bytes(operator.as_bytes()).map_err(|_| {
                GatewayError::BadRequest {
                    code: None,
                    text: format!("{operator:?} cannot be sent as an operator's name"),
                }
            })?;
            request = request.header("x-principal-id", operator);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
        let failed = |error: &reqwest::Error| error::transport(&self.shown, changes, error);
        let answer = request.send().await.map_err(|error| failed(&error))?;
        let status = answer.status().as_u16();
        let retry_after = answer
            .headers()
            .get(reqwest::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Elapsed::from_secs);
        let body = self.body(answer, changes).await?;
        error::judge(&Answer {
            url: &self.shown,
            changes,
            status,
            retry_after,
            body: &body,
        })
    }

    async fn body(
        &self,
        mut answer: reqwest::Response,
        changes: bool,
    ) -> Result<Bytes, GatewayError> {
        let mut body = Vec::new();
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|error| error::transport(&self.shown, changes, &error))?
        {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(self.not_understood(format!("more than {MAX_ANSWER} bytes came")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.into())
    }

    fn not_understood(&self, says: String) -> GatewayError {
        GatewayError::NotAGateway {
            url: self.shown.clone(),
            says,
        }
    }
}

fn base_url(text: &str) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("it begins with neither http:// nor https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("credentials do not belong in the address".to_owned());
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/api/v1").unwrap_or(path).to_owned();
    url.set_path(&format!("{path}/api/v1"));
    Ok(url)
}

/// An id as a part of a path. What URLs would fold away would reach another
/// route, so it is refused.
fn segment(id: &JobId) -> Result<&str, GatewayError> {
    match id.as_str() {
        "" | "." | ".." => Err(GatewayError::BadRequest {
            code: None,
            text: format!("{:?} is not a job id", id.as_str()),
        }),
        id => Ok(id),
    }
}

#[cfg(test)]
mod tests;
