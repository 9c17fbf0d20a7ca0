//! `capdeck kernel`: a policy as a safety kernel by gRPC, for any scheduler of CAP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::SignalKind;

use crate::cli::policy::{key, safe};
use crate::cli::up::{catch, policy_error, without_a_screen};
use crate::cli::{CliError, Kind, print};
use crate::control_plane::kernel::SafetyKernel;
use crate::control_plane::kernel::live::{News, PolicyKernel};
use crate::control_plane::kernel::policy::{Policy, Rule};
use crate::control_plane::kernel::serve::{KernelServer, Options, ServeError, Tls};
use crate::time::{Clock, SystemClock};

/// What `capdeck kernel` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The service is cordum.agent.v1.SafetyKernel, beside it grpc.health.v1.Health. Check
and Evaluate count a request for rules with a velocity, Explain and Simulate do not.
Counts are in the memory of this process. The contract cannot tell max_retries: 0 from
no limit: it goes in the metadata capdeck-max-retries, which other schedulers than
those of capdeck do not read. Of a request, input_content, input_ref,
effective_config, budget and identity are not read.")]
pub(super) struct KernelArgs {
    /// The policy that decides, followed as it changes. With SAFETY_POLICY_PUBLIC_KEY
    /// its signature in FILE.sig is checked
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Where it listens; any address but loopback needs TLS
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:50051")]
    listen: SocketAddr,
    /// The certificate to show, with those between it and its authority (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of that certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Answer only those who show a certificate that this authority signed (PEM), also
    /// about health
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// Go without TLS also where others can reach it: whoever is on the way reads what
    /// jobs do and can turn a no into a yes
    #[arg(long, conflicts_with = "tls_cert")]
    allow_plaintext: bool,
}

/// Runs it until SIGINT or SIGTERM.
pub(super) fn run(args: &KernelArgs) -> Result<(), CliError> {
    without_a_screen()?.block_on(serve(args))
}

async fn serve(args: &KernelArgs) -> Result<(), CliError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let kernel = match key()? {
        Some(key) => PolicyKernel::from_signed_file(&args.policy, key, Arc::clone(&clock)),
        None => PolicyKernel::from_file(&args.policy, Arc::clone(&clock)),
    };
    let kernel = Arc::new(kernel.map_err(policy_error)?);
    let (mut interrupt, mut terminate) = (
        catch(SignalKind::interrupt())?,
        catch(SignalKind::terminate())?,
    );
    let options = Options {
        listen: args.listen,
        tls: args
            .tls_cert
            .clone()
            .zip(args.tls_key.clone())
            .map(|(cert, key)| Tls {
                cert,
                key,
                client_ca: args.tls_client_ca.clone(),
            }),
        plaintext: args.allow_plaintext,
    };
    let mut told = kernel.watch_health().borrow().clone();
    let served = Arc::clone(&kernel) as Arc<dyn SafetyKernel>;
    let mut server = KernelServer::start(served, &options, clock)
        .await
        .map_err(serve_error)?;
    print::line(&format!(
        "ready: kernel {}://{}, policy {}",
        if options.tls.is_some() {
            "https"
        } else {
            "http"
        },
        server.addr(),
        told.snapshot,
    ));
    let tell = |warning: Option<String>| {
        if let Some(warning) = warning {
            print::note(&safe(&warning));
        }
    };
    tell(unheard(&kernel.policy()));
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            says = server.broken() => {
                let error = anyhow::anyhow!("the safety kernel has stopped to listen: {says}");
                return Err(CliError::new(Kind::Bug, error));
            }
            news = kernel.news(&mut told) => {
                print::note(&safe(&words(&news)));
                if matches!(news, News::Changed { .. }) {
                    tell(unheard(&kernel.policy()));
                }
            }
        }
    }
    server.shutdown().await;
    Ok(())
}

/// What schedulers of others never learn of a policy.
fn unheard(policy: &Policy) -> Option<String> {
    let no_retries = |rule: &&Rule| {
        let limits = rule.constraints.as_ref();
        let budgets = limits.and_then(|limits| limits.budgets.as_ref());
        budgets.is_some_and(|budgets| budgets.max_retries == Some(0))
    };
    let rules: Vec<String> = policy
        .rules
        .iter()
        .filter(no_retries)
        .map(|rule| format!("`{}`", rule.id))
        .collect();
    (!rules.is_empty()).then(|| {
        format!(
            "warning: max_retries: 0 of {} is known to planes of capdeck alone: the contract \
             cannot tell it from no limit, and other schedulers retry as they do without one",
            rules.join(", ")
        )
    })
}

fn words(news: &News) -> String {
    match news {
        News::Changed { from, to } => format!("the policy changed: {to} is in force, not {from}"),
        News::Broken { says, in_force } => {
            format!("warning: {in_force} stays in force, for {says}")
        }
        News::Mended { in_force } => {
            format!("the policy file is good again: {in_force} is in force")
        }
    }
}

fn serve_error(error: ServeError) -> CliError {
    let hint = match &error {
        ServeError::Plaintext { .. } => Some(
            "give --tls-cert FILE and --tls-key FILE, listen on 127.0.0.1, or say \
             --allow-plaintext where nobody can be on the way"
                .to_owned(),
        ),
        ServeError::Taken { .. } => {
            Some("choose another with `--listen 127.0.0.1:PORT`; port 0 is any free one".to_owned())
        }
        ServeError::File(error) => error.hint(),
        ServeError::Refused { .. } | ServeError::Tls { .. } => None,
    };
    CliError::usage(error).hint_if(hint)
}
