//! `capdeck attach`: the console on a live deployment.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;

use crate::audit::AuditLog;
use crate::bus::Bus;
use crate::bus::nats::NatsBus;
use crate::cli::operate::{client, sender};
use crate::cli::themes::as_cli_error;
use crate::cli::{CliError, Kind};
use crate::config::Servers;
use crate::config::servers::{self, Addresses, environment};
use crate::runtime::{Identity, Runtime, Sources};
use crate::state::ui::Manners;
use crate::store::Store;
use crate::store::redis::RedisStore;
use crate::time::{Clock, SystemClock};
use crate::tui::glyph::Glyphs;
use crate::tui::keymap::Keymap;
use crate::tui::screen::Context;
use crate::tui::terminal::{TerminalError, check_terminal};
use crate::tui::theme::{self, ColorHints, Depth, Role, Theme};
use crate::tui::{Look, Tui};

/// How the screen looks, for `attach` and `demo` alike.
#[derive(Debug, clap::Args)]
pub(super) struct ScreenArgs {
    /// Colors: auto, true, 256, 16 or none
    #[arg(long, value_name = "DEPTH")]
    color: Option<String>,
    /// The theme to start with; t goes to the next one
    #[arg(long, value_name = "NAME")]
    theme: Option<String>,
    /// A directory with themes of your own, searched first
    #[arg(long, value_name = "DIR")]
    themes: Option<PathBuf>,
    /// Draw with ASCII signs only
    #[arg(long)]
    ascii: bool,
    /// The name that decisions are recorded under; else CAPDECK_OPERATOR, else user@host
    #[arg(long = "as", value_name = "NAME")]
    operator: Option<String>,
    /// Never change anything: approve, reject and cancel are off
    #[arg(long)]
    read_only: bool,
}

/// What `capdeck attach` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A gateway alone shows jobs and approvals; the bus adds live progress and workers.
Keys and passwords come from the environment: CORDUM_API_KEY, NATS_TOKEN and so on.")]
pub(super) struct AttachArgs {
    /// The bus, nats://host:port; else NATS_URL
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    /// The gateway, http://host:port; else CORDUM_GATEWAY
    #[arg(long, value_name = "URL")]
    gateway: Option<String>,
    /// The store, redis://host:port; else REDIS_URL
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    #[command(flatten)]
    screen: ScreenArgs,
}

/// Opens the console on the servers of flags and environment.
pub(super) fn run(args: &AttachArgs) -> Result<(), CliError> {
    let flags = Addresses {
        nats: args.nats.clone(),
        gateway: args.gateway.clone(),
        redis: args.redis.clone(),
    };
    let servers = found(&flags)?;
    if servers.nats.is_none() && servers.gateway.is_none() {
        return Err(nothing_configured());
    }
    open(&servers, &args.screen)
}

/// `capdeck` without a verb: the servers that the environment names.
pub(super) fn bare() -> Result<(), CliError> {
    let servers = found(&Addresses::default())?;
    if servers.nats.is_none() && servers.gateway.is_none() {
        return Err(nothing_configured());
    }
    let screen = ScreenArgs {
        color: None,
        theme: None,
        themes: None,
        ascii: false,
        operator: None,
        read_only: false,
    };
    open(&servers, &screen)
}

fn found(flags: &Addresses) -> Result<Servers, CliError> {
    servers::servers(flags, &environment).map_err(CliError::usage)
}

fn nothing_configured() -> CliError {
    CliError::usage(anyhow::anyhow!("no deployment is configured"))
        .hint("`capdeck attach --nats URL` or `--gateway URL` opens a deployment")
        .hint("NATS_URL and CORDUM_GATEWAY name one for every call")
        .hint("`capdeck demo` runs a whole control plane in this terminal")
}

fn open(servers: &Servers, screen: &ScreenArgs) -> Result<(), CliError> {
    let look = screen.look(context_of(servers))?;
    start_log();
    block_on(async {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mut sources = Sources::default();
        if let Some(server) = &servers.nats {
            let bus = NatsBus::connect(server, Arc::clone(&clock)).map_err(CliError::usage)?;
            let bus = Arc::new(bus);
            let again = Arc::clone(&bus);
            sources.reconnect = Some(Arc::new(move || again.reconnect_now()));
            sources.bus = Some(bus as Arc<dyn Bus>);
        }
        if let Some(server) = &servers.gateway {
            sources.gateway = Some(Arc::new(client(server)?));
        }
        if let Some(server) = &servers.redis {
            let store = RedisStore::connect(server, Arc::clone(&clock)).map_err(CliError::usage)?;
            sources.store = Some(Arc::new(store) as Arc<dyn Store>);
        }
        let runtime = Runtime::start(sources, screen.identity(), Arc::clone(&clock));
        show(runtime, look, screen, clock).await
    })
}

/// Runs the screen to its end.
pub(super) async fn show(
    runtime: Runtime,
    look: Look,
    screen: &ScreenArgs,
    clock: Arc<dyn Clock>,
) -> Result<(), CliError> {
    let manners = Manners {
        read_only: screen.read_only,
        operator: screen.operator().into(),
    };
    let runtime = Tui::new(look, manners, clock)
        .run(runtime)
        .await
        .map_err(terminal_error)?;
    runtime.shutdown().await;
    Ok(())
}

fn terminal_error(error: TerminalError) -> CliError {
    CliError::usage(error)
}

fn context_of(servers: &Servers) -> Context {
    let nats = servers.nats.as_ref().map(|server| server.url.clone());
    let gateway = servers.gateway.as_ref().map(|server| server.url.clone());
    let redis = servers.redis.as_ref().map(|server| server.url.clone());
    let address = gateway.as_deref().or(nats.as_deref()).unwrap_or("");
    let host = address.split_once("://").map_or(address, |(_, host)| host);
    Context {
        name: host.to_owned(),
        ground: Role::Panel,
        addresses: [nats, gateway, redis],
    }
}

impl ScreenArgs {
    /// Themes, signs and keys; refuses what is not a terminal before anything else starts.
    pub(super) fn look(&self, context: Context) -> Result<Look, CliError> {
        check_terminal().map_err(terminal_error)?;
        let hints = ColorHints {
            no_color: environment("NO_COLOR").is_some(),
            colorterm: environment("COLORTERM"),
            term: environment("TERM"),
        };
        let depth = Depth::choose(self.color.as_deref(), &hints).map_err(as_cli_error)?;
        let directory = self.themes.as_deref();
        let (first, _) =
            Theme::choose(directory, self.theme.as_deref(), depth).map_err(as_cli_error)?;
        let mut themes = vec![first];
        for other in theme::list(directory) {
            // One that cannot be read is told when it is asked for by name.
            if let Ok((theme, _)) = Theme::choose(directory, Some(&other.name), depth)
                && theme.name() != themes[0].name()
            {
                themes.push(theme);
            }
        }
        Ok(Look {
            themes,
            glyphs: if self.ascii || !speaks_utf8() {
                Glyphs::ASCII
            } else {
                Glyphs::UNICODE
            },
            keymap: Keymap::default(),
            context,
        })
    }

    fn operator(&self) -> String {
        servers::operator(self.operator.as_deref(), &environment)
    }

    /// Who asks, and where it is written down.
    pub(super) fn identity(&self) -> Identity {
        Identity {
            operator: self.operator(),
            console: sender(),
            audit: servers::audit_log().map(AuditLog::at),
            read_only: self.read_only,
        }
    }
}

/// Whether the locale says that the terminal shows UTF-8.
fn speaks_utf8() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(environment);
    locale.is_none_or(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// Writes warnings to a file beside the operator's log, never to the screen: a
/// line at a time, so that nothing is lost when the terminal vanishes.
pub(super) fn start_log() {
    // Without a place to write there is no log, and the console works all the same.
    let _started = log_to_file();
}

fn log_to_file() -> Option<()> {
    let path = servers::audit_log()?.with_file_name("capdeck.log");
    std::fs::create_dir_all(path.parent()?).ok()?;
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .ok()?;
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_writer(std::sync::Mutex::new(file))
        .try_init()
        .ok()
}

/// Runs the console; the screen is drawn by this thread.
pub(super) fn block_on<T>(
    screen: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .map_err(|error| CliError::new(Kind::Bug, error))?
        .block_on(screen)
}
