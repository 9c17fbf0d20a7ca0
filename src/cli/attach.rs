//! `capdeck attach`: the console on a live deployment.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use crate::audit::AuditLog;
use crate::bus::Bus;
use crate::bus::nats::NatsBus;
use crate::cli::operate::{client, sender};
use crate::cli::sources::SourceArgs;
use crate::cli::themes::as_cli_error;
use crate::cli::{CliError, Kind, config};
use crate::config::Servers;
use crate::config::contexts::{self, Config};
use crate::config::servers::{self, environment};
use crate::headless::json;
use crate::runtime::{Identity, Runtime, Sources};
use crate::state::ui::Manners;
use crate::state::ui::saved::SavedViews;
use crate::store::Store;
use crate::store::redis::RedisStore;
use crate::time::{Clock, SystemClock};
use crate::tui::glyph::Glyphs;
use crate::tui::screen::Context;
use crate::tui::terminal::{TerminalError, check_terminal};
use crate::tui::theme::{self, ColorHints, Depth, Role, Theme};
use crate::tui::{Look, Tui};

/// How the screen looks, for `attach` and `demo` alike.
#[derive(Debug, Default, clap::Args)]
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
Redis alone shows jobs, approvals and workers; deciding an approval needs a gateway.
Keys and passwords come from the environment: CORDUM_API_KEY, NATS_TOKEN and so on.")]
pub(super) struct AttachArgs {
    #[command(flatten)]
    screen: ScreenArgs,
    #[command(flatten)]
    sources: SourceArgs,
}

/// Opens the console on the servers of flags, environment and configuration.
pub(super) fn run(args: &AttachArgs) -> Result<(), CliError> {
    open(&args.sources, &args.screen)
}

/// `capdeck` without a verb: the servers of environment and configuration.
pub(super) fn bare() -> Result<(), CliError> {
    open(&SourceArgs::default(), &ScreenArgs::default())
}

fn nothing_configured(config: &Config) -> CliError {
    let mut error = CliError::usage(anyhow::anyhow!("no deployment is configured"));
    if !config.contexts.is_empty() {
        let names: Vec<&str> = config.contexts.iter().map(|it| it.name.as_str()).collect();
        error = error.hint(format!(
            "`capdeck attach --context NAME` opens one of {}; `current = \"NAME\"` makes it the usual one",
            names.join(", ")
        ));
    }
    error
        .hint("`capdeck attach --nats URL`, `--gateway URL` or `--redis URL` opens a deployment")
        .hint("NATS_URL, CORDUM_GATEWAY and REDIS_URL name one for every call; so does the file that `capdeck config print` shows")
        .hint("`capdeck demo` runs a whole control plane in this terminal")
}

fn open(sources: &SourceArgs, screen: &ScreenArgs) -> Result<(), CliError> {
    let config = config::load_with(screen.themes())?;
    let deployment = sources.deployment(&config)?;
    let servers = &deployment.servers;
    if servers.nats.is_none() && servers.gateway.is_none() && servers.redis.is_none() {
        return Err(nothing_configured(&config));
    }
    let context = deployment.context.as_ref();
    let screen = screen.over(&config, context)?;
    let look = screen.look(shown_context(servers, context)?)?;
    start_log();
    block_on(async {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mut sources = Sources {
            keep_view: config::keep_view(),
            ..Sources::default()
        };
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
        show(runtime, look, &screen, clock).await
    })
}

/// Runs the screen to its end.
pub(super) async fn show(
    runtime: Runtime,
    look: Look,
    screen: &Screen<'_>,
    clock: Arc<dyn Clock>,
) -> Result<(), CliError> {
    let manners = Manners {
        read_only: screen.read_only,
        operator: screen.operator().into(),
        silent: screen.config.silent,
        saved: screen.saved.clone(),
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

fn shown_context(
    servers: &Servers,
    context: Option<&contexts::Context>,
) -> Result<Context, CliError> {
    let nats = servers.nats.as_ref().map(|server| server.url.clone());
    let gateway = servers.gateway.as_ref().map(|server| server.url.clone());
    let redis = servers.redis.as_ref().map(|server| server.url.clone());
    let address = gateway
        .as_deref()
        .or(nats.as_deref())
        .or(redis.as_deref())
        .unwrap_or("");
    let host = address.split_once("://").map_or(address, |(_, host)| host);
    let name = match context {
        Some(context) if context.production => format!("PROD {}", context.name),
        Some(context) => context.name.clone(),
        None => host.to_owned(),
    };
    Ok(Context {
        name,
        ground: context.map_or(Ok(Role::Panel), config::frame)?,
        addresses: [nats, gateway, redis],
    })
}

/// The screen's flags over the configuration.
pub(super) struct Screen<'a> {
    args: &'a ScreenArgs,
    config: &'a Config,
    read_only: bool,
    saved: SavedViews,
}

impl ScreenArgs {
    /// The directory with themes of the user's own.
    pub(super) fn themes(&self) -> Option<&Path> {
        self.themes.as_deref()
    }

    /// These flags over what `config` says, of `context` where there is one.
    pub(super) fn over<'a>(
        &'a self,
        config: &'a Config,
        context: Option<&contexts::Context>,
    ) -> Result<Screen<'a>, CliError> {
        Ok(Screen {
            args: self,
            config,
            read_only: self.read_only || config.is_read_only(context),
            saved: config::saved_views()?,
        })
    }
}

impl Screen<'_> {
    /// Themes, signs and keys; then refuses what is not a terminal, before anything
    /// else starts.
    pub(super) fn look(&self, context: Context) -> Result<Look, CliError> {
        let keymap = config::keymap(self.config)?;
        let hints = ColorHints {
            no_color: environment("NO_COLOR").is_some(),
            colorterm: environment("COLORTERM"),
            term: environment("TERM"),
        };
        let depth = Depth::choose(self.args.color.as_deref(), &hints).map_err(as_cli_error)?;
        let directory = self.args.themes();
        let first = self.theme(directory, depth)?;
        let mut themes = vec![first];
        for other in theme::list(directory).map_err(as_cli_error)? {
            let (theme, _) =
                Theme::choose(directory, Some(&other.name), depth).map_err(as_cli_error)?;
            if theme.name() != themes[0].name() {
                themes.push(theme);
            }
        }
        check_terminal().map_err(terminal_error)?;
        Ok(Look {
            themes,
            glyphs: if self.args.ascii || self.config.ascii || !speaks_utf8() {
                Glyphs::ASCII
            } else {
                Glyphs::UNICODE
            },
            keymap,
            context,
            json: json::subject,
        })
    }

    fn theme(&self, directory: Option<&Path>, depth: Depth) -> Result<Theme, CliError> {
        match (&self.args.theme, &self.config.theme) {
            (None, Some(written)) => config::theme(written, directory, depth),
            (given, _) => match Theme::choose(directory, given.as_deref(), depth) {
                Ok((theme, _)) => Ok(theme),
                Err(error) => Err(as_cli_error(error)),
            },
        }
    }

    fn operator(&self) -> String {
        let configured = self.config.operator.as_deref();
        servers::operator(self.args.operator.as_deref(), configured, &environment)
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
    tracing::subscriber::set_global_default(crate::cli::log::to(std::sync::Mutex::new(file))).ok()
}

/// Runs the console on two threads: this one keeps the model and draws, the other
/// one reads what comes. A third would be woken for nothing, for each packet.
pub(super) fn block_on<T>(
    screen: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .map_err(|error| CliError::new(Kind::Bug, error))?
        .block_on(screen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NatsServer;

    #[track_caller]
    fn check(context: &str, expected: &str) {
        let text = format!("current = \"eu-1\"\n[contexts.eu-1]\n{context}\n");
        let config = Config::read(&text, Path::new("c.toml")).expect("a configuration");
        let servers = Servers {
            nats: Some(NatsServer {
                url: "nats://eu:4222".to_owned(),
                auth: Default::default(),
                tls: Default::default(),
            }),
            ..Servers::default()
        };
        let found = match shown_context(&servers, config.context("eu-1").ok()) {
            Ok(context) => format!("{} on {}", context.name, context.ground),
            Err(error) => format!("{error} | {}", error.hints.join(", ")),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn the_header_names_the_context_and_how_dangerous_it_is() {
        let nats = "nats = \"nats://eu:4222\"";
        check(nats, "eu-1 on panel");
        check(&format!("{nats}\nproduction = true"), "PROD eu-1 on frame");
        check(
            &format!("{nats}\nproduction = true\nframe = \"human\""),
            "PROD eu-1 on human",
        );
        check(
            &format!("{nats}\nframe = \"humn\""),
            "c.toml:4: no role of themes is called `humn` | did you mean `human`?",
        );
    }
}
