//! `capdeck up`: the embedded control plane alone, without a screen.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::bus::local::LocalBus;
use crate::bus::nats::NatsBus;
use crate::bus::{Bus, LinkState};
use crate::cli::{CliError, policy, print};
use crate::config::servers::{Addresses, environment, servers};
use crate::control_plane::gateway::{BadKeys, GatewayError, Keyring};
use crate::control_plane::kernel::live::PolicyFileError;
use crate::control_plane::kernel::remote::{self, AddressError};
use crate::control_plane::ledger::MAX_JOBS;
use crate::control_plane::scenario::{Scenario, ScenarioError};
use crate::control_plane::{ControlPlane, Options, Rules, StartError, gateway};
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::store::redis::RedisStore;
use crate::time::{Clock, Elapsed, SystemClock, sleep};

mod neighbours;

/// How long the bus may take to come up.
const BUS_LIMIT: Elapsed = Elapsed::from_secs(5);

/// What a plane of this program is made of, for `up` and `demo` alike.
#[derive(Debug, clap::Args)]
pub(super) struct PlaneArgs {
    /// The policy that decides about jobs; without it a built-in one. With
    /// SAFETY_POLICY_PUBLIC_KEY its signature in FILE.sig is checked
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Ask this safety kernel by gRPC, http://host:port or https://host:port, instead
    /// of one inside this process
    #[arg(long, value_name = "URL", conflicts_with = "policy")]
    kernel: Option<String>,
    /// Trust a safety kernel whose certificate this authority signed (PEM), or
    /// SAFETY_KERNEL_TLS_CA; without either those that this machine trusts
    #[arg(long, value_name = "FILE", requires = "kernel")]
    kernel_ca: Option<PathBuf>,
    /// The certificate to show to a safety kernel that asks for one (PEM), or
    /// SAFETY_KERNEL_TLS_CERT
    #[arg(
        long,
        value_name = "FILE",
        requires = "kernel",
        requires = "kernel_key"
    )]
    kernel_cert: Option<PathBuf>,
    /// The private key of that certificate (PEM), or SAFETY_KERNEL_TLS_KEY
    #[arg(
        long,
        value_name = "FILE",
        requires = "kernel",
        requires = "kernel_cert"
    )]
    kernel_key: Option<PathBuf>,
    /// Pools, traffic and mishaps: a file, or one of default, quiet, incident
    #[arg(long, value_name = "FILE", default_value = "default")]
    scenario: String,
    /// Where the gateway listens; any address but loopback needs CORDUM_API_KEY
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    http: SocketAddr,
    /// What traffic and ids are drawn from; without it every run differs
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How fast the traffic of the scenario comes; 2 is twice as fast
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = speed)]
    speed: f64,
}

/// What `capdeck up` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With both --nats and --redis the record of jobs, decisions and approvals is on Redis,
and several planes with the same policy share the work: one leads and schedules, the
others take in requests, run workers, and take over when it dies. Planes on one bus need
the same Redis. With one of the two alone, or with none, jobs stay in the memory of this
process and are gone with it; run one plane on one bus then. Beside another scheduler it does not start: one of Cordum's is
seen by its signs on Redis, and on NATS where the server tells who listens. Where it does
not tell, one that sends nothing for two seconds is not seen, which is said.")]
pub(super) struct UpArgs {
    #[command(flatten)]
    plane: PlaneArgs,
    /// Run no workers; the work is left to those that beat on the bus
    #[arg(long)]
    no_workers: bool,
    /// Submit nothing
    #[arg(long)]
    no_traffic: bool,
    /// Let jobs go unjudged while the safety kernel does not answer, each with an
    /// alert; without this they wait
    #[arg(long)]
    fail_open: bool,
    /// Use this NATS server as the bus, instead of one inside this process
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    /// Keep payloads on this Redis server, instead of in memory
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// Stand beside the planes that are on these servers already, or beside a scheduler
    /// of another make that leaves them
    #[arg(long, requires = "nats")]
    join: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.01..=1_000.0).contains(&speed) => Ok(speed),
        Ok(_) | Err(_) => Err("a number from 0.01 to 1000 is needed".to_owned()),
    }
}

impl PlaneArgs {
    /// The plane these arguments ask for, workers and traffic included.
    ///
    /// # Errors
    /// Exit code 2 for a scenario or a key that cannot be used.
    pub(super) fn options(&self, clock: &dyn Clock) -> Result<Options, CliError> {
        Ok(Options {
            rules: match (&self.kernel, &self.policy, policy::key()?) {
                (Some(url), _, _) => Rules::Remote(self.kernel_address(url)?),
                (None, Some(path), Some(key)) => Rules::SignedFile(path.clone(), key),
                (None, Some(path), None) => Rules::File(path.clone()),
                (None, None, _) => Rules::BuiltIn,
            },
            scenario: self.scenario()?,
            workers: true,
            traffic: true,
            speed: self.speed,
            seed: self.seed.unwrap_or_else(|| {
                let process = u64::from(std::process::id()) << 40;
                clock.now().as_micros().cast_unsigned() ^ process
            }),
            http: gateway::Options {
                listen: self.http,
                keys: keys()?,
                next_free_port: false,
            },
            max_jobs: MAX_JOBS,
            fail_open: false,
            shared_as: None,
        })
    }

    /// Where the safety kernel is. What flags do not say of its certificates comes from
    /// the environment, as those of the bus do, unless nothing is encrypted.
    fn kernel_address(&self, url: &str) -> Result<remote::Address, CliError> {
        let encrypted = url.starts_with("https://");
        let by_environment = |what: &str| {
            environment(&format!("SAFETY_KERNEL_TLS_{what}"))
                .filter(|_| encrypted)
                .map(PathBuf::from)
        };
        let by_flag = self.kernel_cert.clone().zip(self.kernel_key.clone());
        let identity = match (by_environment("CERT"), by_environment("KEY")) {
            _ if by_flag.is_some() => by_flag,
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err(CliError::usage(anyhow::anyhow!(
                    "SAFETY_KERNEL_TLS_CERT and SAFETY_KERNEL_TLS_KEY go together, and one is missing"
                )));
            }
        };
        Ok(remote::Address {
            url: url.to_owned(),
            ca: self.kernel_ca.clone().or_else(|| by_environment("CA")),
            identity,
        })
    }

    fn scenario(&self) -> Result<Scenario, CliError> {
        let path = PathBuf::from(&self.scenario);
        let built_in = Scenario::built_in(&self.scenario).filter(|_| !path.exists());
        match built_in {
            Some(scenario) => Ok(scenario),
            None => Scenario::load(&path).map_err(scenario_error),
        }
    }
}

/// The keys of the gateway, from the environment and the file it names; never from
/// flags, which other users of the machine can read.
fn keys() -> Result<Keyring, CliError> {
    let shared = environment("CORDUM_API_KEY").map(|key| Keyring::shared(&key));
    let listed = environment("CORDUM_API_KEYS").map(|text| Keyring::parse(&text));
    let filed = environment("CORDUM_API_KEYS_PATH").map(|path| Keyring::load(Path::new(&path)));
    let mut keys = Keyring::default();
    for (name, found) in [("CORDUM_API_KEYS", listed), ("CORDUM_API_KEYS_PATH", filed)] {
        if let Some(found) = found {
            keys = keys.and(found.map_err(|error| keys_error(name, error))?);
        }
    }
    Ok(keys.and(shared.unwrap_or_default()))
}

fn keys_error(variable: &str, error: BadKeys) -> CliError {
    let hint = match &error {
        BadKeys::File(error) => error.hint(),
        BadKeys::Entry { .. } | BadKeys::NotAList => None,
    };
    let hint = hint.unwrap_or_else(|| format!("the keys come from {variable}"));
    CliError::usage(error).hint(hint)
}

fn scenario_error(error: ScenarioError) -> CliError {
    let hint = error.hint();
    let unreadable = matches!(error, ScenarioError::Unreadable { .. });
    let mut error = CliError::usage(error).hint_if(hint);
    if unreadable {
        let names = Scenario::BUILT_IN.join(", ");
        error = error.hint(format!("built-in scenarios are {names}"));
    }
    error
}

/// What a person is told when a plane does not start.
pub(super) fn start_error(error: StartError) -> CliError {
    match error {
        StartError::Policy(error) => policy_error(error),
        StartError::Kernel(error) => {
            let hint = match &error {
                AddressError::File(error) => error.hint(),
                AddressError::NotAnAddress { .. } | AddressError::Tls { .. } => None,
            };
            CliError::usage(error).hint_if(hint)
        }
        StartError::Gateway(error @ GatewayError::KeyNeeded { .. }) => {
            CliError::usage(error).hint("set CORDUM_API_KEY, or listen on 127.0.0.1")
        }
        StartError::Gateway(error @ GatewayError::Taken { .. }) => CliError::usage(error)
            .hint("choose another with `--http 127.0.0.1:PORT`; port 0 is any free one"),
        StartError::Gateway(error) => CliError::usage(error),
        StartError::Bus(error) => CliError::unreachable(error),
    }
}

/// What a person is told of a policy file that cannot be used.
pub(super) fn policy_error(error: PolicyFileError) -> CliError {
    match error {
        PolicyFileError::Invalid { path, source } => {
            CliError::usage(policy::invalid(&path, &source))
        }
        error @ (PolicyFileError::Unsigned { .. } | PolicyFileError::BadSignature { .. }) => {
            CliError::usage(error)
                .hint("SAFETY_POLICY_PUBLIC_KEY is set, so the policy must be signed by its key")
        }
        error @ PolicyFileError::Unreadable { .. } => CliError::usage(error),
    }
}

/// Runs it until SIGINT or SIGTERM.
pub(super) fn run(args: &UpArgs) -> Result<(), CliError> {
    without_a_screen()?.block_on(up(args))
}

/// What runs a server, its log on stderr.
pub(super) fn without_a_screen() -> Result<Runtime, CliError> {
    // Where a log is written already, this one is not.
    let _started = tracing::subscriber::set_global_default(crate::cli::log::to(std::io::stderr));
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .map_err(|error| CliError::new(crate::cli::Kind::Bug, error))
}

/// Listens for a signal that ends a server.
pub(super) fn catch(kind: SignalKind) -> Result<Signal, CliError> {
    signal(kind)
        .context("cannot listen for signals")
        .map_err(|error| CliError::new(crate::cli::Kind::Bug, error))
}

async fn up(args: &UpArgs) -> Result<(), CliError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut options = args.plane.options(&*clock)?;
    options.workers = !args.no_workers;
    options.traffic = !args.no_traffic;
    options.fail_open = args.fail_open;
    if args.fail_open {
        tracing::warn!("--fail-open: jobs go UNJUDGED while the safety kernel does not answer");
    }
    if let Rules::Remote(kernel) = &options.rules {
        let url = &kernel.url;
        if policy::key()?.is_some() {
            tracing::warn!("SAFETY_POLICY_PUBLIC_KEY is not used: {url} checks its own policy");
        }
        if kernel.is_exposed() {
            tracing::warn!(
                "{url} is not encrypted: whoever is on the way can turn a no into a yes"
            );
        }
    }
    if matches!(options.rules, Rules::BuiltIn) && policy::key()?.is_some() {
        let error = anyhow::anyhow!("SAFETY_POLICY_PUBLIC_KEY is set, and no policy is named");
        return Err(CliError::usage(error).hint("name a signed one with --policy FILE"));
    }
    let (mut interrupt, mut terminate) = (
        catch(SignalKind::interrupt())?,
        catch(SignalKind::terminate())?,
    );
    let (bus, store) = tokio::select! {
        parts = ground(args, &clock) => parts?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    let name = neighbours::name(&*clock);
    let obeys = match options.http.keys.is_empty() {
        true => neighbours::Obeys::Everybody,
        false => neighbours::Obeys::Keys,
    };
    let mut record = None;
    if args.nats.is_some() && args.redis.is_some() {
        let alone = async {
            neighbours::refuse_other_records(&*store, &*bus, &*clock, obeys).await?;
            if !args.join {
                neighbours::refuse(&*store, &*bus, &*clock).await?;
            }
            neighbours::Record::of(Arc::clone(&store), Arc::clone(&clock)).await
        };
        record = Some(tokio::select! {
            alone = alone => alone?,
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        });
        let tag = name.trim_start_matches("capdeck");
        options.scenario = options.scenario.tagged(tag);
        options.shared_as = Some(name.clone());
    } else if args.nats.is_some() {
        tokio::select! {
            alone = neighbours::refuse_on_bus(&*bus, &*clock, args.join) => alone?,
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        }
    }
    let plane = ControlPlane::start(Arc::clone(&bus), store, clock, options)
        .await
        .map_err(start_error)?;
    if args.nats.is_some() {
        // It ends with the process.
        tokio::spawn(neighbours::show_oneself(bus, name, record, obeys));
    }
    let kernel = args.plane.kernel.as_deref();
    print::line(&format!(
        "ready: gateway http://{}, policy {}, bus {}, payloads {}{}{}",
        plane.http_addr(),
        match plane.snapshot().await {
            Ok(snapshot) => snapshot,
            Err(error) => {
                match args.fail_open {
                    true => tracing::warn!(%error, "jobs go on unjudged until it does"),
                    false => tracing::warn!(%error, "no job goes on before it does"),
                }
                "unknown".to_owned()
            }
        },
        args.nats.as_deref().map_or("in memory", |_| "nats"),
        args.redis.as_deref().map_or("in memory", |_| "redis"),
        neighbours::told(plane.standing().as_ref()),
        kernel.map_or(String::new(), |url| format!(", kernel {url}")),
    ));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    plane.shutdown().await;
    Ok(())
}

/// The bus and the store, both reachable.
///
/// Only flags name servers here. A console that was pointed at production by
/// `NATS_URL` must not become its scheduler because somebody typed `up`.
async fn ground(
    args: &UpArgs,
    clock: &Arc<dyn Clock>,
) -> Result<(Arc<dyn Bus>, Arc<dyn Store>), CliError> {
    let flags = Addresses {
        nats: args.nats.clone(),
        redis: args.redis.clone(),
        gateway: None,
    };
    let by_flag = |name: &str| match name {
        "NATS_URL" | "REDIS_URL" | "CORDUM_GATEWAY" => None,
        _ => environment(name),
    };
    let servers = servers(&flags, &by_flag).map_err(CliError::usage)?;
    let bus: Arc<dyn Bus> = match &servers.nats {
        None => Arc::new(LocalBus::new()),
        Some(server) => {
            let bus = NatsBus::connect(server, Arc::clone(clock)).map_err(CliError::unreachable)?;
            let mut link = bus.link();
            let up = tokio::select! {
                up = link.wait_for(|link| matches!(link, LinkState::Up)) => up.is_ok(),
                () = sleep(&**clock, BUS_LIMIT) => false,
            };
            if !up {
                let why = match &*bus.link().borrow() {
                    LinkState::Down { reason, .. } => reason.to_string(),
                    LinkState::Connecting | LinkState::Up | LinkState::Lagging { .. } => {
                        format!("no answer within {} s", BUS_LIMIT.as_secs())
                    }
                };
                let url = &server.url;
                return Err(CliError::unreachable(anyhow::anyhow!(
                    "cannot connect to the bus at {url}: {why}"
                ))
                .hint("without --nats the bus is inside this process"));
            }
            Arc::new(bus)
        }
    };
    let store: Arc<dyn Store> = match &servers.redis {
        None => Arc::new(MemoryStore::new(Arc::clone(clock))),
        Some(server) => {
            let store =
                RedisStore::connect(server, Arc::clone(clock)).map_err(CliError::unreachable)?;
            // The connection is made by the first call.
            store.len("ctx:capdeck").await.map_err(|error| {
                CliError::unreachable(error).hint("without --redis payloads are kept in memory")
            })?;
            Arc::new(store)
        }
    };
    Ok((bus, store))
}
