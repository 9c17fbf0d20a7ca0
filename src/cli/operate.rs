//! What the acting verbs share: who acts, the operator's log, the gateway, and
//! its refusals in words.

use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};

use crate::audit::{AuditLog, Entry, Receipt};
use crate::bus::nats::NatsBus;
use crate::bus::{Bus as _, LinkState};
use crate::cli::{CliError, Kind, config, print};
use crate::config::servers::{self, Addresses};
use crate::config::{GatewayServer, NatsServer, Servers};
use crate::gateway_client::types::{Cancelled, JobDetail};
use crate::gateway_client::{Conflict, Endpoint, GatewayClient, GatewayError};
use crate::ids::{JobId, SenderId};
use crate::text::{self, Shown};
use crate::time::{Clock as _, Elapsed, SystemClock, Timestamp};

/// What to do where a gateway refuses the key.
pub(super) const KEY_HINT: &str = "CORDUM_API_KEY holds the key";

/// How long the first attempt to reach the bus may take.
const CONNECT_LIMIT: Elapsed = Elapsed::from_secs(6);

/// Where the servers are.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Servers")]
pub(super) struct ServerArgs {
    /// The gateway, http://host:port; CORDUM_GATEWAY where no flag names a server. Its key: CORDUM_API_KEY
    #[arg(long, value_name = "URL")]
    pub(super) gateway: Option<String>,
    /// The bus, nats://host:port; NATS_URL where no flag names a server. Its token: NATS_TOKEN
    #[arg(long, value_name = "URL")]
    pub(super) nats: Option<String>,
    /// The context of the configuration file; else the current one, where nothing
    /// else names a server
    #[arg(long, value_name = "NAME")]
    pub(super) context: Option<String>,
}

impl ServerArgs {
    /// The servers of flags, environment and configuration, where something may
    /// be changed.
    pub(super) fn servers(&self) -> Result<Servers, CliError> {
        let flags = Addresses {
            nats: self.nats.clone(),
            gateway: self.gateway.clone(),
            redis: None,
        };
        let config = config::load()?;
        let deployment = config::deployment(&config, self.context.as_deref(), &flags)?;
        config::may_act(&config, &deployment)?;
        Ok(deployment.servers)
    }
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Output {
    /// For people
    #[default]
    Table,
    /// One JSON document
    Json,
}

/// Prints one document of the stable shape.
pub(super) fn print_json(kind: &str, fields: serde_json::Value) {
    let mut document = serde_json::Map::new();
    document.insert("schema".to_owned(), "capdeck/1".into());
    document.insert("kind".to_owned(), kind.into());
    if let serde_json::Value::Object(fields) = fields {
        document.extend(fields);
    }
    print::line(&serde_json::Value::Object(document).to_string());
}

/// Runs a verb that waits for servers.
pub(super) fn block_on<T>(verb: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .map_err(|error| CliError::new(Kind::Bug, error))?
        .block_on(verb)
}

/// The gateway of the servers, for what `verb` needs it.
pub(super) fn gateway(servers: &Servers, verb: &str) -> Result<GatewayClient, CliError> {
    let Some(server) = &servers.gateway else {
        return Err(CliError::usage(anyhow!(
            "approvals do not travel on the bus, so {verb} needs a gateway"
        ))
        .hint("give --gateway URL, or set CORDUM_GATEWAY"));
    };
    client(server)
}

/// A client of `server`.
pub(super) fn client(server: &GatewayServer) -> Result<GatewayClient, CliError> {
    let endpoint = Endpoint {
        url: server.url.clone(),
        api_key: server
            .api_key
            .as_ref()
            .map(|secret| secret.reveal().to_owned()),
        tenant: server.tenant.clone(),
        ca: server.ca.clone(),
    };
    GatewayClient::new(&endpoint).map_err(CliError::usage)
}

/// A connected bus; waits for the first attempt to connect to end.
pub(super) async fn bus(server: &NatsServer) -> Result<NatsBus, CliError> {
    let bus = NatsBus::connect(server, Arc::new(SystemClock)).map_err(CliError::usage)?;
    let mut link = bus.link();
    let settled = link.wait_for(|state| !matches!(state, LinkState::Connecting));
    let state = tokio::time::timeout(CONNECT_LIMIT.as_duration(), settled).await;
    let reason = match state {
        Ok(Ok(state)) => match &*state {
            LinkState::Down { reason, .. } => reason.to_string(),
            LinkState::Connecting | LinkState::Up | LinkState::Lagging { .. } => String::new(),
        },
        Ok(Err(_)) => "the line is closed".to_owned(),
        Err(_) => format!("no answer within {}", text::duration(CONNECT_LIMIT)),
    };
    if reason.is_empty() {
        return Ok(bus);
    }
    let url = bus.url().to_owned();
    bus.shutdown().await;
    Err(CliError::unreachable(anyhow!(
        "cannot reach the bus at {url}: {}",
        shown(&reason)
    )))
}

/// The name of who acts: `flag`, else that of the environment, the configuration
/// or the login.
pub(super) fn operator(flag: Option<&str>) -> Result<String, CliError> {
    let configured = config::load()?.operator;
    let configured = configured.as_deref();
    Ok(servers::operator(flag, configured, &servers::environment))
}

/// Who acts, and the log of what they did.
#[derive(Debug)]
pub(super) struct Operator {
    /// The name that gateways and workers are told.
    pub(super) name: String,
    log: AuditLog,
}

impl Operator {
    /// The operator of `flag`, the environment, the configuration or the login.
    pub(super) fn new(flag: Option<&str>) -> Result<Self, CliError> {
        let name = operator(flag)?;
        let log = AuditLog::at(log_path()?);
        Ok(Self { name, log })
    }

    /// Writes down what is about to be asked; without that it is not asked.
    pub(super) fn record(
        &self,
        action: &str,
        object: &JobId,
        detail: &[(&str, &str)],
    ) -> Result<Receipt, CliError> {
        let entry = Entry {
            at: SystemClock.now(),
            operator: self.name.clone(),
            action: action.to_owned(),
            object: object.as_str().to_owned(),
            detail: detail
                .iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>(),
        };
        self.log.append(&entry).map_err(|error| {
            CliError::usage(error)
                .hint("nothing was sent: what is not written down is not asked for")
                .hint("`capdeck audit verify` tells which line of the log is broken")
        })
    }

    /// Writes down what came of it: `done`, `refused`, `failed` (nothing was
    /// sent) or `unknown`.
    pub(super) fn outcome(&self, receipt: &Receipt, outcome: &str, says: &str) {
        let written = self.log.outcome(receipt, SystemClock.now(), outcome, says);
        if let Err(error) = written {
            print::note(&format!("warning: the outcome is not in the log: {error}"));
        }
    }

    /// Writes down how a call to a gateway ended.
    pub(super) fn outcome_of<T>(&self, receipt: &Receipt, result: &Result<T, GatewayError>) {
        match result {
            Ok(_) => self.outcome(receipt, "done", ""),
            Err(error) => {
                let outcome = match error {
                    GatewayError::TimedOut { .. }
                    | GatewayError::NotAGateway { .. }
                    | GatewayError::Other { .. } => "unknown",
                    GatewayError::Unreachable { .. } | GatewayError::BadEndpoint { .. } => "failed",
                    _ => "refused",
                };
                self.outcome(receipt, outcome, &error.to_string());
            }
        }
    }
}

/// Where the operator's log is.
pub(super) fn log_path() -> Result<std::path::PathBuf, CliError> {
    servers::audit_log().ok_or_else(|| {
        CliError::usage(anyhow!(
            "there is no home directory to keep the operator's log in"
        ))
        .hint("set HOME or XDG_STATE_HOME")
    })
}

/// Asks a gateway to cancel a job: written down, sent, and its outcome written
/// down. What the gateway answers, or its refusal in words.
pub(super) async fn cancel_by_gateway(
    operator: &Operator,
    client: &GatewayClient,
    id: &JobId,
    reason: &str,
) -> Result<Cancelled, CliError> {
    let detail = [("reason", reason), ("gateway", client.url())];
    let receipt = operator.record("cancel", id, &detail)?;
    let result = client.cancel(id, reason, &operator.name).await;
    operator.outcome_of(&receipt, &result);
    result.map_err(|error| refusal(&error, "cancelled", id, None))
}

/// A refusal for a person: what did not happen, why, and what to do next. `job`
/// is the job as the gateway tells it after the refusal, where that is known.
pub(super) fn refusal(
    error: &GatewayError,
    done: &str,
    id: &JobId,
    job: Option<&JobDetail>,
) -> CliError {
    let kind = match error {
        GatewayError::Unreachable { .. }
        | GatewayError::TimedOut { .. }
        | GatewayError::NotAGateway { .. } => Kind::Unreachable,
        GatewayError::BadEndpoint { .. } => Kind::Usage,
        _ => Kind::Refused,
    };
    let (what, hint) = words(error, done, id, job);
    let error = CliError::new(kind, anyhow!(what));
    match hint {
        "" => error,
        hint => error.hint(hint),
    }
}

/// A refusal of the log of decisions, with what to do at a gateway that keeps none.
pub(super) fn no_log(error: &GatewayError, hint: &'static str) -> CliError {
    match error {
        GatewayError::NotFound { .. } => {
            CliError::refused(anyhow!("this gateway keeps no log of decisions")).hint(hint)
        }
        error => refusal(error, "read", &JobId::from("the log"), None),
    }
}

fn words(
    error: &GatewayError,
    done: &str,
    id: &JobId,
    job: Option<&JobDetail>,
) -> (String, &'static str) {
    let id = shown(id.as_str());
    let said = |text: &str| shown(text);
    let coded = |what: &str, code: &Option<String>| match code {
        Some(code) => format!("{what} ({})", shown(code)),
        None => what.to_owned(),
    };
    match error {
        GatewayError::Conflict { why, code, text } => {
            let text = said(text);
            let (what, hint) = match why {
                Conflict::AlreadyResolved => (decided_already(&id, job), "yours changed nothing"),
                Conflict::NotActionable => (
                    format!("{id} was not {done}: {}", not_waiting(job, &text)),
                    "ask for a new request if it is still wanted",
                ),
                Conflict::TerminalRun => (
                    format!("{id} was not {done}: its workflow run has ended: {text}"),
                    "a decision no longer changes anything",
                ),
                Conflict::StaleSnapshot => (
                    format!(
                        "{id} was not {done}: the policy moved since it was judged: {text}; \
                         nothing was sent to a worker"
                    ),
                    "submit it again, so that it is judged by the policy now in force",
                ),
                Conflict::StaleRequest => (
                    format!(
                        "{id} was not {done}: the stored request is not the one that policy \
                         judged: {text}"
                    ),
                    "somebody changed it; `capdeck reject` ends it",
                ),
                Conflict::StaleContext => (
                    format!("{id} was not {done}: its payload is not the one you read: {text}"),
                    "read it again, then decide",
                ),
                Conflict::Idempotency => (
                    format!("{id} was not {done}: {text}"),
                    "its job id or idempotency key belongs to a job that asks for something else; take another",
                ),
                Conflict::Other => (format!("{id} was not {done}: {text}"), ""),
            };
            (coded(&what, code), hint)
        }
        GatewayError::Busy { text } => (
            format!(
                "{id} was not {done} yet: the plane is busy with this job: {}",
                said(text)
            ),
            "run the same command again; it is not repeated for you",
        ),
        GatewayError::Forbidden { code, text }
            if code.as_deref() == Some("self_approval_denied") =>
        {
            (
                coded(
                    &format!(
                        "{id} was not {done}: you asked for this job, so somebody else must decide: {}",
                        said(text)
                    ),
                    code,
                ),
                "another operator has to decide it; where keys name their principals, with a key of their own",
            )
        }
        GatewayError::Forbidden { code, text } => (
            coded(
                &format!(
                    "{id} was not {done}: this key may not do that: {}",
                    said(text)
                ),
                code,
            ),
            "CORDUM_TENANT_ID chooses the tenant, CORDUM_API_KEY the key and with it the role",
        ),
        GatewayError::Unauthorized { text } => (
            format!(
                "{id} was not {done}: the gateway refuses the key: {}",
                said(text)
            ),
            KEY_HINT,
        ),
        GatewayError::NotFound { text } => (
            format!(
                "{id} was not {done}: the plane does not know it: {}",
                said(text)
            ),
            "planes keep jobs for 7 days",
        ),
        GatewayError::KernelDown { text } => (
            format!(
                "{id} was not {done}: the safety kernel does not answer, so nothing can be \
                 approved: {}",
                said(text)
            ),
            "the job keeps waiting; try again when the kernel is back",
        ),
        GatewayError::RateLimited { retry_after, text } => {
            let wait = retry_after.map_or_else(String::new, |wait| {
                format!("; it wants {} of quiet", text::duration(wait))
            });
            (format!("{id} was not {done}: {}{wait}", said(text)), "")
        }
        GatewayError::TimedOut { cause, .. } => (
            format!(
                "no answer came, so it is unknown whether {id} was {done}: {}",
                said(cause)
            ),
            "`capdeck get jobs` tells its state once the gateway answers",
        ),
        GatewayError::Denied { text, .. } => (format!("policy denies {id}: {}", said(text)), ""),
        GatewayError::BadRequest { code, text } => (
            coded(
                &format!("the gateway does not take it: {}", said(text)),
                code,
            ),
            "",
        ),
        GatewayError::Unreachable { .. }
        | GatewayError::BadEndpoint { .. }
        | GatewayError::TooLarge { .. }
        | GatewayError::NotAGateway { .. }
        | GatewayError::Other { .. } => (said(&error.to_string()), ""),
    }
}

/// Who decided it, as far as the gateway tells.
fn decided_already(id: &str, job: Option<&JobDetail>) -> String {
    let Some(job) = job else {
        return format!("{id} was decided already");
    };
    let who = match job.approval_by.as_str() {
        "" => "somebody".to_owned(),
        who => shown(who),
    };
    let what = match (job.approval_decision.as_str(), job.approval_status.as_str()) {
        ("approve", _) | (_, "approved") => "approved",
        ("reject", _) | (_, "rejected") => "rejected",
        _ => "decided",
    };
    match job.approval_at {
        Some(at) => format!("{who} {what} {id} already, at {}", text::clock(at)),
        None => format!("{who} {what} {id} already"),
    }
}

fn not_waiting(job: Option<&JobDetail>, text: &str) -> String {
    let Some(job) = job else {
        return text.to_owned();
    };
    let at = |at: Option<Timestamp>| {
        at.map_or_else(String::new, |at| format!(" at {}", text::clock(at)))
    };
    match job.approval_status.as_str() {
        "expired" => format!(
            "it expired{}: its deadline passed and nobody decided",
            at(job.record.deadline)
        ),
        "invalidated" => "a policy publish ended this approval; nobody decided".to_owned(),
        "approved" | "rejected" => decided_already("it", Some(job)),
        _ if !job.record.state.is_empty() => {
            format!(
                "it is {}, not waiting for approval",
                shown(&job.record.state)
            )
        }
        _ => text.to_owned(),
    }
}

/// Text from a server on one line, with what a terminal would obey spelled out.
pub(super) fn shown(text: &str) -> String {
    Shown::line(text).as_str().to_owned()
}

/// Eight bytes that no other process has: the standard library's hash keys come
/// from the system's entropy.
pub(super) fn entropy() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

/// The name this process signs its packets with, `capdeck-<8 hex>`.
pub(super) fn sender() -> SenderId {
    SenderId::from(format!("capdeck-{:08x}", entropy() >> 32))
}

/// A fresh UUID (version 7), for jobs and traces that come without one.
pub(super) fn fresh_uuid(now: Timestamp) -> String {
    let mut random = [0; 10];
    random[..8].copy_from_slice(&entropy().to_be_bytes());
    random[8..].copy_from_slice(&entropy().to_be_bytes()[..2]);
    let millis = u64::try_from(now.as_millis()).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &random)
        .into_uuid()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(error: &GatewayError, job: Option<&JobDetail>) -> (u8, String) {
        let error = refusal(error, "approved", &JobId::from("j-1"), job);
        (error.kind.exit_code(), error.to_string())
    }

    fn conflict(why: Conflict) -> GatewayError {
        GatewayError::Conflict {
            why,
            code: Some("approval_code".to_owned()),
            text: "words".to_owned(),
        }
    }

    #[test]
    fn a_decision_that_came_too_late_names_who_was_first() {
        let job = JobDetail {
            approval_by: "bob\u{1b}[2J".to_owned(),
            approval_decision: "approve".to_owned(),
            approval_at: Some(Timestamp::from_millis(1_767_225_600_000)),
            ..JobDetail::default()
        };
        let (code, text) = says(&conflict(Conflict::AlreadyResolved), Some(&job));
        assert_eq!(code, 1);
        assert!(text.starts_with("bob"), "{text}");
        assert!(
            text.ends_with("approved j-1 already, at 00:00:00Z (approval_code)"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert_eq!(
            says(&conflict(Conflict::AlreadyResolved), None).1,
            "j-1 was decided already (approval_code)"
        );
    }

    #[test]
    fn every_refusal_has_its_words_and_its_exit_code() {
        let line = |error: &GatewayError| {
            let (code, text) = says(error, None);
            format!("{code} {text}")
        };
        assert_eq!(
            line(&conflict(Conflict::StaleSnapshot)),
            "1 j-1 was not approved: the policy moved since it was judged: words; nothing was \
             sent to a worker (approval_code)"
        );
        assert_eq!(
            line(&GatewayError::Busy {
                text: "retry".to_owned()
            }),
            "1 j-1 was not approved yet: the plane is busy with this job: retry"
        );
        assert_eq!(
            line(&GatewayError::Unreachable {
                url: "http://h".to_owned(),
                cause: "Connection refused".to_owned()
            }),
            "3 cannot reach the gateway at http://h: Connection refused"
        );
        assert_eq!(
            line(&GatewayError::TimedOut {
                url: "http://h".to_owned(),
                cause: "timed out".to_owned()
            }),
            "3 no answer came, so it is unknown whether j-1 was approved: timed out"
        );
        assert_eq!(
            line(&GatewayError::NotFound {
                text: "job not found".to_owned()
            }),
            "1 j-1 was not approved: the plane does not know it: job not found"
        );
    }

    #[test]
    fn fresh_names_are_fresh() {
        let now = Timestamp::from_millis(1_767_225_600_000);
        assert_ne!(fresh_uuid(now), fresh_uuid(now));
        assert!(
            fresh_uuid(now).starts_with("019b76da-a800-7"),
            "{}",
            fresh_uuid(now)
        );
        assert_eq!(sender().as_str().len(), "capdeck-00000000".len());
    }
}
