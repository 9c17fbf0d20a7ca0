//! `capdeck get`: the model as a table or as JSON, then the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::anyhow;

use crate::cli::sources::{self, SourceArgs};
use crate::cli::{CliError, operate, print};
use crate::config::Servers;
use crate::gateway_client::error::REFUSES_KEY;
use crate::headless::{self, Kind, Patience, Snapshot, Wanted, Watch, json, table};
use crate::ids::JobId;
use crate::runtime::{Identity, Runtime};
use crate::state::event::Source;
use crate::state::filter::FilterError;
use crate::state::model::rollbacks::Undone;
use crate::time::{Elapsed, SystemClock};

mod decisions;

/// How long the bus is listened to when nothing else tells: longer than the 5 s
/// between two heartbeats.
const LISTEN: Elapsed = Elapsed::from_secs(6);
/// How long servers that do not answer are waited for, what they take to be found
/// away included.
const CONNECT: Elapsed = Elapsed::from_secs(8);
/// How often changes are looked for while watching.
const WATCH: Elapsed = Elapsed::from_millis(250);

/// How often a log is asked for while watching.
const WATCH_LOG: Elapsed = Elapsed::from_secs(2);

/// What `capdeck get` takes.
#[derive(Debug, clap::Args)]
pub(super) struct GetArgs {
    /// What to print
    #[arg(value_enum)]
    kind: What,
    /// Only the one with this id
    id: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Listen to the bus for this long first, such as 5s; 6s where only the bus is given
    #[arg(long, value_name = "TIME", value_parser = duration)]
    listen: Option<Elapsed>,
    /// Only what passes, such as 'state:running age>5m'
    #[arg(long, value_name = "EXPR")]
    filter: Option<String>,
    /// Keep printing what changes, as JSON lines
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    sources: SourceArgs,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    /// The jobs
    Jobs,
    /// The workers
    Workers,
    /// What waits for a person
    Approvals,
    /// What policy said, the latest first; of one job with its id
    Decisions,
    /// What is undone or would be, step by step in the order in which it runs
    Rollbacks,
    /// Alerts heard on the bus
    Alerts,
    /// Who speaks on the bus, and how well it keeps to the contract
    Senders,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people
    Table,
    /// One JSON document
    Json,
    /// One JSON document a line
    Jsonl,
}

impl What {
    /// The part of the model that it is; `None` for what the model does not keep.
    fn kind(self) -> Option<Kind> {
        match self {
            Self::Jobs => Some(Kind::Jobs),
            Self::Workers => Some(Kind::Workers),
            Self::Approvals => Some(Kind::Approvals),
            Self::Decisions => None,
            Self::Rollbacks => Some(Kind::Rollbacks),
            Self::Alerts => Some(Kind::Alerts),
            Self::Senders => Some(Kind::Senders),
        }
    }
}

/// `5s`, `500ms`, `2m`; a bare number is seconds.
fn duration(text: &str) -> Result<Elapsed, String> {
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let bad = || "wants a number and ms, s or m, such as 5s".to_owned();
    let number: u64 = number.parse().map_err(|_| bad())?;
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err(bad()),
    };
    let ms = number.checked_mul(unit).ok_or_else(bad)?;
    Ok(Elapsed::from_millis(ms))
}

fn bad_filter(error: &FilterError) -> CliError {
    let says = operate::shown(&error.to_string());
    CliError::usage(anyhow!("bad filter: {says}"))
}

/// Prints.
pub(super) fn run(args: &GetArgs) -> Result<(), CliError> {
    let Some(kind) = args.kind.kind() else {
        return decisions::run(args);
    };
    let filter = match &args.filter {
        Some(text) => Some(kind.filter(text).map_err(|error| bad_filter(&error))?),
        None => None,
    };
    let wanted = Wanted {
        id: args.id.clone(),
        filter,
    };
    let servers = args.sources.servers()?;
    if kind == Kind::Approvals && servers.gateway.is_none() && servers.redis.is_none() {
        return Err(CliError::usage(anyhow!(
            "approvals do not travel on the bus; give --gateway or --redis"
        ))
        .hint("CORDUM_GATEWAY or REDIS_URL name one for every call"));
    }
    let of_the_bus = matches!(kind, Kind::Alerts | Kind::Senders);
    if of_the_bus && servers.nats.is_none() {
        return Err(CliError::usage(anyhow!(
            "{} are heard on the bus alone; give --nats",
            kind.name()
        ))
        .hint("NATS_URL names one for every call"));
    }
    operate::block_on(get(args, kind, &wanted, &servers))
}

async fn get(
    args: &GetArgs,
    kind: Kind,
    wanted: &Wanted,
    servers: &Servers,
) -> Result<(), CliError> {
    let bus = servers.nats.is_some();
    let teller = if servers.gateway.is_some() {
        Some(Source::Gateway)
    } else {
        servers.redis.is_some().then_some(Source::Store)
    };
    let default = match teller {
        Some(_) => Elapsed::ZERO,
        None => LISTEN,
    };
    let listen = args.listen.unwrap_or(default);
    let patience = Patience {
        listen,
        connect: CONNECT,
        teller,
        bus,
    };
    let identity = Identity {
        operator: String::new(),
        console: operate::sender(),
        audit: None,
        read_only: true,
    };
    let sources = sources::connect(servers)?;
    let mut runtime = Runtime::start(sources, identity, Arc::new(SystemClock));
    let gathered = headless::gather(&mut runtime, patience).await;
    let mut snapshot = gathered.map_err(|away| {
        let url = match away.source_name {
            "nats" => servers.nats.as_ref().map(|it| it.url.as_str()),
            "gateway" => servers.gateway.as_ref().map(|it| it.url.as_str()),
            _ => servers.redis.as_ref().map(|it| it.url.as_str()),
        };
        let (name, url) = (away.source_name, url.unwrap_or("an unknown address"));
        let reason = operate::shown(&away.reason);
        if away.reason.starts_with(REFUSES_KEY) {
            return CliError::refused(anyhow!("{reason} ({url})")).hint(operate::KEY_HINT);
        }
        CliError::unreachable(anyhow!("cannot reach {name} at {url}: {reason}"))
            .hint("`capdeck demo` runs a whole control plane in this terminal")
    })?;
    if let (Kind::Jobs, Some(id)) = (kind, &wanted.id) {
        headless::read_job(&mut runtime, &mut snapshot, id).await;
    }
    let mut asked = BTreeMap::new();
    if kind == Kind::Rollbacks {
        headless::judge_undos(&mut runtime, &mut snapshot, &mut asked).await;
    }
    let unreadable = &snapshot.model.unreadable;
    if unreadable.records > 0 {
        print::note(&format!(
            "note: {} in Redis could not be read and may be missing here, such as {}",
            crate::text::count(unreadable.records, "record", "records"),
            operate::shown(&unreadable.such_as)
        ));
    }
    if bus && teller.is_none() && !args.watch {
        print::note(&format!(
            "note: only the bus was listened to, for {}: what said nothing in that time, and \
             what never travels on it, is missing",
            crate::text::duration(listen)
        ));
    }
    if kind == Kind::Rollbacks && !args.watch {
        note_unordered(&snapshot);
    }
    if args.watch {
        return watch(&mut runtime, &mut snapshot, kind, wanted, asked).await;
    }
    let found = print_all(args.output, kind, &snapshot, wanted);
    runtime.shutdown().await;
    match &wanted.id {
        Some(id) if !found => Err(CliError::refused(anyhow!(
            "no {} with the id {} {}",
            kind.one(),
            operate::shown(id),
            match teller {
                Some(_) => "is known",
                None => "was heard of",
            }
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Names on stderr the rollbacks whose steps nobody told the order of.
fn note_unordered(snapshot: &Snapshot) {
    let rows = snapshot.model.rollbacks.latest().into_iter();
    let unordered = rows.filter(|(_, row)| !row.is_order_known());
    let names: Vec<&str> = unordered
        .map(|(of, _)| match of {
            Undone::Workflow(workflow) => &**workflow,
            Undone::Job(job) => job.as_str(),
        })
        .collect();
    if let [first, others @ ..] = names.as_slice() {
        let others = match others.len() {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        print::note(&format!(
            "note: which step ran first is unknown of {}{others}: they are printed as they were \
             heard of",
            operate::shown(first)
        ));
    }
}

fn print_all(output: Output, kind: Kind, snapshot: &Snapshot, wanted: &Wanted) -> bool {
    let items = json::items(kind, snapshot, wanted);
    match output {
        // The error says it.
        Output::Table if items.is_empty() && wanted.id.is_some() => {}
        Output::Table => print::line(&table::table(kind, snapshot, wanted)),
        Output::Json => print::line(&json::document(kind, snapshot, wanted)),
        Output::Jsonl => {
            for item in &items {
                print::line(&json::line(kind, item));
            }
        }
    }
    !items.is_empty()
}

async fn watch(
    runtime: &mut Runtime,
    snapshot: &mut Snapshot,
    kind: Kind,
    wanted: &Wanted,
    mut asked: BTreeMap<JobId, Option<Arc<str>>>,
) -> Result<(), CliError> {
    let mut watch = Watch::default();
    let mut next = snapshot.now;
    loop {
        if snapshot.now >= next {
            if kind == Kind::Rollbacks {
                headless::judge_undos(runtime, snapshot, &mut asked).await;
            }
            for line in watch.changes(kind, snapshot, wanted) {
                print::line(&line);
            }
            next = snapshot.now.plus(WATCH);
        }
        headless::take_in(runtime, snapshot, Some(next)).await;
    }
}
