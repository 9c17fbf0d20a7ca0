//! `capdeck submit`: a job from a file to a gateway or to the bus.
//!
//! What is in the file is told apart in [`document`]. A gateway gets what it
//! understands; the bus gets an envelope byte for byte as it was written.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::bus::{Bus as _, Delivery, Pattern, Subscription};
use crate::cli::operate::{self, Output, ServerArgs, shown};
use crate::cli::{CliError, print};
use crate::config::{NatsServer, Servers};
use crate::gateway_client::types::{JobDetail, Submitted};
use crate::gateway_client::{GatewayClient, GatewayError};
use crate::ids::{JobId, TraceId};
use crate::time::{Clock as _, Elapsed, SystemClock, sleep};
use crate::wire;
use crate::wire::contract;
use crate::wire::decode::decode;
use crate::wire::encode::encode;
use crate::wire::packet::{Body, JobRequest, JobStatus, Packet, WireEnum as _, WireWarning};

pub(super) mod document;

use document::Document;

/// How often a gateway on this machine is asked how the job is.
const ASK_NEAR: Elapsed = Elapsed::from_millis(500);
/// How often any other gateway is asked.
const ASK_FAR: Elapsed = Elapsed::from_secs(2);
/// A gateway that is away while we follow a job may come back for this many questions.
const ASK_AGAIN: u32 = 15;

/// What `capdeck submit` takes.
#[derive(Debug, clap::Args)]
pub(super) struct SubmitArgs {
    /// The job: the body of POST /api/v1/jobs, a JobRequest as protojson, or an
    /// envelope; - reads it from standard input
    #[arg(short, long, value_name = "JOB.json")]
    file: PathBuf,
    /// Follow the job to its end; exit code 1 unless it succeeds
    #[arg(long)]
    wait: bool,
    /// Who submits; else CAPDECK_OPERATOR, else user@host
    #[arg(long = "as", value_name = "NAME")]
    operator: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    servers: ServerArgs,
}

/// What became of the submission.
#[derive(Debug, Default)]
struct Report {
    job_id: JobId,
    trace_id: TraceId,
    /// `accepted`, `approval_required`, `denied` or `published`.
    status: &'static str,
    reason: String,
    ignored: Vec<String>,
    /// How it ended, if we followed it.
    end: Option<End>,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    state: String,
    error_code: String,
    error_message: String,
    result_ptr: String,
}

/// Submits.
pub(super) fn run(args: &SubmitArgs) -> Result<(), CliError> {
    let name = file_name(&args.file);
    let text = read(&args.file, &name)?;
    let document = document::read(&name, &text)?;
    let servers = args.servers.servers()?;
    match chosen(&servers, &args.servers)? {
        Chosen::Gateway(client) => operate::block_on(by_gateway(args, &client, &document, &text)),
        Chosen::Bus(server) => operate::block_on(by_bus(args, server, document, &text)),
    }
}

enum Chosen<'a> {
    Gateway(GatewayClient),
    Bus(&'a NatsServer),
}

/// A flag decides; without one the gateway goes first, because it answers.
fn chosen<'a>(servers: &'a Servers, flags: &ServerArgs) -> Result<Chosen<'a>, CliError> {
    if flags.gateway.is_some() && flags.nats.is_some() {
        return Err(CliError::usage(anyhow!(
            "a job is submitted once: give --gateway or --nats, not both"
        )));
    }
    match (&servers.gateway, &servers.nats) {
        (Some(gateway), _) if flags.nats.is_none() => {
            Ok(Chosen::Gateway(operate::client(gateway)?))
        }
        (_, Some(nats)) => Ok(Chosen::Bus(nats)),
        _ => Err(CliError::usage(anyhow!("there is no server to submit to"))
            .hint("give --gateway URL or --nats URL, or set CORDUM_GATEWAY or NATS_URL")
            .hint("`capdeck up` runs a control plane on http://127.0.0.1:8081")),
    }
}

fn file_name(path: &Path) -> String {
    match path.to_str() {
        Some("-") => "standard input".to_owned(),
        _ => shown(&path.display().to_string()),
    }
}

fn read(path: &Path, name: &str) -> Result<Vec<u8>, CliError> {
    let text = if path.as_os_str() == "-" {
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut text).map(|_| text)
    } else {
        std::fs::read(path)
    };
    text.with_context(|| format!("cannot read the job from {name}"))
        .map_err(CliError::usage)
}

// ---- by a gateway ----

async fn by_gateway(
    args: &SubmitArgs,
    client: &GatewayClient,
    document: &Document,
    text: &[u8],
) -> Result<(), CliError> {
    let operator = operate::operator(args.operator.as_deref())?;
    let body = match document {
        Document::Body(body) => body.clone(),
        Document::Request(request) => for_gateway(client, request, text).await?,
        Document::Envelope { packet, .. } => match &packet.body {
            Body::JobRequest(request) => for_gateway(client, request, text).await?,
            other => return Err(not_a_request(other)),
        },
    };
    let id = document.job_id().unwrap_or_else(|| JobId::from("the job"));
    let submitted = match client.submit(&body, &operator).await {
        Ok(submitted) => submitted,
        Err(error) => {
            if let GatewayError::Denied { job_id, text } = &error {
                let report = Report {
                    job_id: job_id.clone(),
                    status: "denied",
                    reason: text.clone(),
                    ..Report::default()
                };
                report.print_json_only(args.output);
            }
            return Err(operate::refusal(&error, "submitted", &id, None));
        }
    };
    let mut report = Report::from(submitted);
    for name in &report.ignored {
        print::note(&format!(
            "warning: the gateway does not read {}",
            shown(name)
        ));
    }
    if !args.wait {
        report.print(args.output);
        return Ok(());
    }
    if args.output == Output::Table {
        report.print(args.output);
    }
    let end = follow_by_gateway(client, &report.job_id).await?;
    report.finish(end, args.output)
}

/// A gateway that knows more than the common contract takes the document as it
/// is; any other gets the common body.
async fn for_gateway(
    client: &GatewayClient,
    request: &JobRequest,
    text: &[u8],
) -> Result<Value, CliError> {
    let extended = client
        .binds_decisions()
        .await
        .map_err(|error| operate::refusal(&error, "submitted", &request.job_id, None))?;
    if extended {
        return serde_json::from_slice(text).map_err(CliError::usage);
    }
    let (body, lost) = document::common_body(request);
    if !lost.is_empty() {
        print::note(&format!(
            "warning: this gateway does not take {}",
            lost.join(", ")
        ));
    }
    Ok(body)
}

async fn follow_by_gateway(client: &GatewayClient, id: &JobId) -> Result<End, CliError> {
    let pause = if client.is_loopback() {
        ASK_NEAR
    } else {
        ASK_FAR
    };
    let mut state = String::new();
    let mut missed = 0;
    loop {
        match client.job(id).await {
            Ok(job) => {
                missed = 0;
                if job.record.state != state {
                    state.clone_from(&job.record.state);
                    print::note(&format!("{} {}", shown(id.as_str()), shown(&state)));
                }
                if let Some(end) = End::of(&job) {
                    return Ok(end);
                }
            }
            Err(error @ (GatewayError::Unreachable { .. } | GatewayError::Other { .. }))
                if missed < ASK_AGAIN =>
            {
                if missed == 0 {
                    print::note(&format!("warning: {}", shown(&error.to_string())));
                }
                missed += 1;
            }
            Err(error) => return Err(operate::refusal(&error, "followed", id, None)),
        }
        sleep(&SystemClock, pause).await;
    }
}

impl End {
    /// `None` while the job is under way.
    fn of(job: &JobDetail) -> Option<Self> {
        let state = job.record.state.as_str();
        let ended = matches!(
            state,
            "SUCCEEDED" | "FAILED" | "CANCELLED" | "TIMEOUT" | "DENIED" | "OUTPUT_QUARANTINED"
        );
        let reason = [
            &job.error_message,
            &job.approval_reason,
            &job.record.safety_reason,
        ];
        ended.then(|| Self {
            state: state.to_owned(),
            error_code: job.error_code.clone(),
            error_message: reason
                .into_iter()
                .find(|text| !text.is_empty() && state != "SUCCEEDED")
                .cloned()
                .unwrap_or_default(),
            result_ptr: job.result_ptr.clone(),
        })
    }
}

// ---- by the bus ----

async fn by_bus(
    args: &SubmitArgs,
    server: &NatsServer,
    document: Document,
    text: &[u8],
) -> Result<(), CliError> {
    let (packet, payload) = packet_and_bytes(document, text)?;
    let Body::JobRequest(request) = &packet.body else {
        return Err(not_a_request(&packet.body));
    };
    if request.context_ptr.is_empty() {
        print::note("warning: the job points at no context, which many workers refuse");
    }
    let bus = operate::bus(server).await?;
    let unreachable = |error| CliError::unreachable(anyhow::Error::new(error));
    let mut heard = Vec::new();
    if args.wait {
        for subject in [wire::RESULT, wire::PROGRESS, wire::DLQ] {
            let pattern = Pattern::from(&wire::subject(subject));
            heard.push(bus.subscribe(&pattern, None).await.map_err(unreachable)?);
        }
    }
    bus.publish(&wire::subject(wire::SUBMIT), payload)
        .await
        .map_err(unreachable)?;
    let mut report = Report {
        job_id: request.job_id.clone(),
        trace_id: packet.trace.clone(),
        status: "published",
        ..Report::default()
    };
    let result = if args.wait {
        if args.output == Output::Table {
            report.print(args.output);
        }
        match follow_by_bus(&report.job_id, heard).await {
            Some(end) => report.finish(end, args.output),
            None => Err(CliError::unreachable(anyhow!("the bus is gone"))),
        }
    } else {
        report.print(args.output);
        Ok(())
    };
    bus.shutdown().await;
    result
}

/// What is published: an envelope as it was written, or one of ours around a request.
fn packet_and_bytes(document: Document, text: &[u8]) -> Result<(Packet, Bytes), CliError> {
    let request = match document {
        Document::Envelope { packet, bytes } => {
            if let Some(WireWarning::Violation { field, says }) =
                contract::violations(&packet).into_iter().next()
            {
                return Err(CliError::usage(anyhow!(
                    "the envelope breaks the contract: {field} {says}"
                )));
            }
            let limit = wire::decode::MAX_PAYLOAD;
            if bytes.len() > limit {
                return Err(CliError::usage(anyhow!(
                    "the envelope is {} bytes long; the bus takes {limit}",
                    bytes.len()
                )));
            }
            return Ok((*packet, bytes));
        }
        Document::Request(request) => *request,
        Document::Body(body) => document::request_of_body(&body, text)?,
    };
    let now = SystemClock.now();
    let request = JobRequest {
        job_id: match request.job_id.is_empty() {
            true => JobId::from(operate::fresh_uuid(now)),
            false => request.job_id.clone(),
        },
        ..request
    };
    let packet = Packet::new(
        TraceId::from(operate::fresh_uuid(now)),
        operate::sender(),
        now,
        Body::JobRequest(Box::new(request)),
    );
    let bytes = encode(&wire::subject(wire::SUBMIT), &packet).map_err(CliError::usage)?;
    Ok((packet, bytes))
}

fn not_a_request(body: &Body) -> CliError {
    CliError::usage(anyhow!(
        "the envelope carries a {}; only a job_request can be submitted",
        body.kind()
    ))
}

/// Listens until the job ends; `None` when the bus is gone for good.
async fn follow_by_bus(id: &JobId, heard: Vec<Subscription>) -> Option<End> {
    let mut heard = heard.into_iter();
    let (mut results, mut progress, mut letters) = (heard.next()?, heard.next()?, heard.next()?);
    loop {
        let delivery = tokio::select! {
            delivery = results.recv() => delivery,
            delivery = progress.recv() => delivery,
            delivery = letters.recv() => delivery,
        };
        if let Some(end) = end_on_bus(id, &delivery?) {
            return Some(end);
        }
    }
}

/// How the job ended, if this message says so; progress is passed on to the person.
fn end_on_bus(id: &JobId, delivery: &Delivery) -> Option<End> {
    match decode(delivery).ok()?.body {
        Body::JobResult(it) if it.job_id == *id => {
            if it.status.is_in_flight() || it.status == JobStatus::FailedRetryable {
                print::note(&format!("{} {}", shown(id.as_str()), it.status.name()));
                return None;
            }
            Some(End {
                state: it.status.name().into_owned(),
                error_code: it.error_code,
                error_message: it.error_message,
                result_ptr: it.result_ptr,
            })
        }
        Body::JobProgress(it) if it.job_id == *id => {
            let message = shown(&it.message);
            print::note(&format!("{} {}% {message}", shown(id.as_str()), it.percent));
            None
        }
        _ => None,
    }
}

// ---- what is said about it ----

impl From<Submitted> for Report {
    fn from(it: Submitted) -> Self {
        Self {
            job_id: it.job_id,
            trace_id: it.trace_id,
            status: match it.status.as_str() {
                "approval_required" => "approval_required",
                _ => "accepted",
            },
            reason: it.reason,
            ignored: it.ignored_fields,
            end: None,
        }
    }
}

impl Report {
    fn print(&self, output: Output) {
        self.print_json_only(output);
        if output == Output::Table {
            let reason = match self.reason.as_str() {
                "" => String::new(),
                reason => format!(": {}", shown(reason)),
            };
            let status = match self.status {
                "approval_required" => "waits for approval",
                status => status,
            };
            print::line(&format!("{} {status}{reason}", shown(self.job_id.as_str())));
        }
    }

    fn print_json_only(&self, output: Output) {
        if output != Output::Json {
            return;
        }
        let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let mut document = json!({
            "job_id": self.job_id.as_str(),
            "trace_id": known(self.trace_id.as_str()),
            "status": self.status,
            "reason": known(&self.reason),
            "ignored_fields": self.ignored,
        });
        if let (Some(end), Some(fields)) = (&self.end, document.as_object_mut()) {
            fields.insert("state".to_owned(), json!(end.state));
            fields.insert("error_code".to_owned(), json!(known(&end.error_code)));
            fields.insert("error_message".to_owned(), json!(known(&end.error_message)));
            fields.insert("result_ptr".to_owned(), json!(known(&end.result_ptr)));
        }
        operate::print_json("submitted", document);
    }

    fn finish(&mut self, end: End, output: Output) -> Result<(), CliError> {
        let id = shown(self.job_id.as_str());
        let state = shown(&end.state);
        let words: Vec<String> = [&end.error_code, &end.error_message]
            .into_iter()
            .filter(|text| !text.is_empty())
            .map(|text| shown(text))
            .collect();
        let well = end.state == "SUCCEEDED";
        self.end = Some(end);
        self.print_json_only(output);
        if well {
            if output == Output::Table {
                print::line(&format!("{id} SUCCEEDED"));
            }
            return Ok(());
        }
        let why = match words.as_slice() {
            [] => String::new(),
            words => format!(": {}", words.join(": ")),
        };
        Err(CliError::refused(anyhow!("{id} ended {state}{why}")))
    }
}
