//! `capdeck cancel`: asks that a job stops, then says what came of it.
//!
//! A gateway answers at once. On the bus the wish is a broadcast: the answer, if
//! any, is the job's result, and for that we listen before we ask.

use anyhow::anyhow;
use serde_json::json;

use crate::bus::nats::NatsBus;
use crate::bus::{Bus as _, BusError, Pattern, Subscription};
use crate::cli::operate::{self, Operator, Output, ServerArgs, shown};
use crate::cli::{CliError, print};
use crate::config::NatsServer;
use crate::ids::{JobId, TraceId};
use crate::time::{Clock as _, Elapsed, SystemClock};
use crate::wire;
use crate::wire::decode::decode;
use crate::wire::encode::encode;
use crate::wire::packet::{Body, JobCancel, JobStatus, Packet, WireEnum as _};

/// How long the end of the job is waited for.
const WAIT: Elapsed = Elapsed::from_secs(10);

/// What `capdeck cancel` takes.
#[derive(Debug, clap::Args)]
pub(super) struct CancelArgs {
    /// The job
    id: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Who asks; else CAPDECK_OPERATOR, else user@host
    #[arg(long = "as", value_name = "NAME")]
    operator: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    servers: ServerArgs,
}

/// What came of it: the state it ended in, `None` when no answer came in time.
struct Outcome {
    state: Option<String>,
    by: &'static str,
}

/// Cancels.
pub(super) fn run(args: &CancelArgs) -> Result<(), CliError> {
    let id = JobId::from(args.id.as_str());
    if id.is_empty() {
        return Err(CliError::usage(anyhow!("an empty id names no job")));
    }
    let reason = args.reason.as_deref().unwrap_or_default();
    let servers = args.servers.servers()?;
    let operator = Operator::new(args.operator.as_deref())?;
    let by_bus = args.servers.gateway.is_none() && args.servers.nats.is_some();
    let outcome = match (&servers.gateway, &servers.nats) {
        (Some(gateway), _) if !by_bus => {
            let client = operate::client(gateway)?;
            operate::block_on(async {
                let cancelled = operate::cancel_by_gateway(&operator, &client, &id, reason).await?;
                if !cancelled.reason_sent && !reason.is_empty() {
                    print::note("note: this gateway takes no reason; it is in your own log");
                }
                Ok(Outcome {
                    state: Some(cancelled.state),
                    by: "gateway",
                })
            })?
        }
        (_, Some(nats)) => operate::block_on(by_nats(nats, &operator, &id, reason))?,
        _ => {
            return Err(CliError::usage(anyhow!("there is no server to ask"))
                .hint("give --gateway URL or --nats URL, or set CORDUM_GATEWAY or NATS_URL"));
        }
    };
    report(&id, &operator, &outcome, args.output)
}

async fn by_nats(
    server: &NatsServer,
    operator: &Operator,
    id: &JobId,
    reason: &str,
) -> Result<Outcome, CliError> {
    let bus = operate::bus(server).await?;
    let outcome = ask(&bus, operator, id, reason).await;
    bus.shutdown().await;
    outcome
}

async fn ask(
    bus: &NatsBus,
    operator: &Operator,
    id: &JobId,
    reason: &str,
) -> Result<Outcome, CliError> {
    let cancel = wire::subject(wire::CANCEL);
    let packet = Packet::new(
        // As gateways and the SDK do: a cancel belongs to no request.
        TraceId::from(id.as_str()),
        operate::sender(),
        SystemClock.now(),
        Body::JobCancel(JobCancel {
            job_id: id.clone(),
            reason: reason.to_owned(),
            requested_by: operator.name.clone(),
            ..JobCancel::default()
        }),
    );
    let payload = encode(&cancel, &packet).map_err(CliError::usage)?;
    let unreachable = |error: BusError| CliError::unreachable(error);
    let results = Pattern::from(&wire::subject(wire::RESULT));
    let letters = Pattern::from(&wire::subject(wire::DLQ));
    let mut results = bus.subscribe(&results, None).await.map_err(unreachable)?;
    let mut letters = bus.subscribe(&letters, None).await.map_err(unreachable)?;
    let receipt = operator.record("cancel", id, &[("reason", reason), ("nats", bus.url())])?;
    match bus.publish(&cancel, payload).await {
        Ok(()) => operator.outcome(&receipt, "done", "published"),
        Err(error) => {
            let outcome = match &error {
                BusError::TimedOut { .. } | BusError::Broken { .. } => "unknown",
                _ => "failed",
            };
            operator.outcome(&receipt, outcome, &error.to_string());
            return Err(CliError::unreachable(error));
        }
    }
    let end = end_of(id, &mut results, &mut letters);
    let state = tokio::time::timeout(WAIT.as_duration(), end).await;
    Ok(Outcome {
        state: state.unwrap_or_default(),
        by: "bus",
    })
}

/// The status of the job's next final result; `None` when the bus is gone.
async fn end_of(
    id: &JobId,
    results: &mut Subscription,
    letters: &mut Subscription,
) -> Option<String> {
    loop {
        let delivery = tokio::select! {
            delivery = results.recv() => delivery?,
            delivery = letters.recv() => delivery?,
        };
        let Ok(packet) = decode(&delivery) else {
            continue;
        };
        if let Body::JobResult(it) = packet.body
            && it.job_id == *id
            && !it.status.is_in_flight()
            && it.status != JobStatus::FailedRetryable
        {
            return Some(it.status.name().into_owned());
        }
    }
}

fn report(
    id: &JobId,
    operator: &Operator,
    outcome: &Outcome,
    output: Output,
) -> Result<(), CliError> {
    let cancelled = outcome.state.as_deref() == Some("CANCELLED");
    let name = shown(id.as_str());
    if output == Output::Json {
        operate::print_json(
            "cancel",
            json!({
                "job_id": id.as_str(),
                "requested_by": operator.name,
                "asked_by": outcome.by,
                "state": outcome.state,
                "cancelled": cancelled,
            }),
        );
    }
    match &outcome.state {
        None => {
            print::note("asked, no answer yet");
            if output == Output::Table {
                print::line(&format!("{name} asked to stop"));
            }
            Ok(())
        }
        Some(_) if cancelled => {
            if output == Output::Table {
                print::line(&format!("{name} CANCELLED"));
            }
            Ok(())
        }
        Some(state) => Err(CliError::refused(anyhow!(
            "{name} had already ended: {}; nothing was cancelled",
            shown(state)
        ))),
    }
}
