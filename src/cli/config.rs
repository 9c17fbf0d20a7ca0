//! `capdeck config`, and what every verb asks of the configuration file.

use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;

use crate::cli::themes::as_cli_error;
use crate::cli::{CliError, print};
use crate::config::contexts::{self, Config, Deployment, DeploymentError};
use crate::config::file::{ConfigError, Placed};
use crate::config::sample::SAMPLE;
use crate::config::servers::{Addresses, ServersError, environment};
use crate::config::views;
use crate::nearest::nearest;
use crate::runtime::KeepView;
use crate::state::ui::View;
use crate::state::ui::saved::{SavedView, SavedViews, is_name};
use crate::tui::keymap::{Keymap, Override};
use crate::tui::theme::{Depth, Role, Theme, ThemeError};

/// What `capdeck config` takes.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Print a commented configuration file to start from
    Print,
}

/// Prints.
pub(super) fn run(args: &ConfigArgs) -> Result<(), CliError> {
    match args.verb {
        Verb::Print => print::out(SAMPLE.as_bytes()),
    }
    Ok(())
}

/// The configuration of this user, for a verb that draws nothing.
///
/// Its keys and roles are looked up here too, so that a slip in them is told by the
/// first verb that reads the file, and not when the console is needed.
pub(super) fn load() -> Result<Config, CliError> {
    let config = contexts::load(&environment).map_err(bad_config)?;
    keymap(&config)?;
    for context in &config.contexts {
        frame(context)?;
    }
    Ok(config)
}

/// The same for a verb that draws, with its theme: `themes` is its directory of themes.
pub(super) fn load_with(themes: Option<&Path>) -> Result<Config, CliError> {
    let config = load()?;
    if let Some(written) = &config.theme {
        theme(written, themes, Depth::True)?;
    }
    Ok(config)
}

/// The theme that the configuration names, from `themes` or built in.
pub(super) fn theme(
    written: &Placed<String>,
    themes: Option<&Path>,
    depth: Depth,
) -> Result<Theme, CliError> {
    match Theme::choose(themes, Some(&written.value), depth) {
        Ok((theme, _)) => Ok(theme),
        Err(error @ ThemeError::Unknown { .. }) => {
            let mut error = as_cli_error(error);
            error.source = error.source.context(written.place.to_string());
            Err(error.hint("one of your own is found with --themes DIR"))
        }
        Err(error) => Err(as_cli_error(error)),
    }
}

fn bad_config(error: ConfigError) -> CliError {
    let hint = error.hint();
    let error = CliError::usage(error);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// The deployment that flags, environment and `config` mean.
pub(super) fn deployment(
    config: &Config,
    named: Option<&str>,
    flags: &Addresses,
) -> Result<Deployment, CliError> {
    contexts::deployment(config, named, flags, &environment).map_err(|error| match error {
        DeploymentError::Config(error) => bad_config(error),
        DeploymentError::Servers(error) => {
            let hint = match &error {
                ServersError::SecretInFlag { instead, .. } => {
                    Some(format!("put it into the environment as {instead}"))
                }
                ServersError::NotAnAddress { .. } => None,
            };
            let error = CliError::usage(error);
            match hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        }
    })
}

/// Refuses to act where the configuration says that nothing may change.
pub(super) fn may_act(config: &Config, deployment: &Deployment) -> Result<(), CliError> {
    let context = deployment.context.as_ref();
    if !config.is_read_only(context) {
        return Ok(());
    }
    let what = match context {
        Some(context) => format!("context {} is read-only", context.name),
        None => "the configuration is read-only".to_owned(),
    };
    Err(CliError::usage(anyhow!("{what}, so nothing was asked"))
        .hint("`read_only` in the configuration file says so"))
}

/// The key table with the user's keys.
pub(super) fn keymap(config: &Config) -> Result<Keymap, CliError> {
    let overrides: Vec<Override> = config
        .keys
        .iter()
        .map(|key| Override {
            action: key.action.value.clone(),
            chords: key.chords.clone(),
            file: key.action.place.file.to_path_buf(),
            line: key.action.place.line,
        })
        .collect();
    Keymap::with_overrides(&overrides)
        .map_err(|error| CliError::usage(error).hint("`capdeck keys` lists actions and keys"))
}

/// The views that the operator keeps by name.
pub(super) fn saved_views() -> Result<SavedViews, CliError> {
    let Some(path) = views::path(&environment) else {
        return Ok(SavedViews::new());
    };
    let kept = views::load(&path).map_err(CliError::usage)?;
    let read = |(name, kept): (String, views::KeptView)| {
        let bad = |says: String| {
            let says = format!("{}: the view `{name}`: {says}", path.display());
            CliError::usage(anyhow!(says)).hint("mend it, or delete it from the file")
        };
        if !is_name(&name) {
            return Err(bad("its name is not one short word".to_owned()));
        }
        let view = View::ALL
            .into_iter()
            .find(|view| view.title().eq_ignore_ascii_case(&kept.view))
            .ok_or_else(|| bad(format!("no view is called `{}`", kept.view)))?;
        view.filter(&kept.filter)
            .map_err(|error| bad(format!("`{}`: {error}", kept.filter)))?;
        let filter = kept.filter.as_str().into();
        Ok((name.as_str().into(), SavedView { view, filter }))
    };
    kept.into_iter().map(read).collect()
}

/// Keeps views in the file that [`saved_views`] reads; `None` without a home.
pub(super) fn keep_view() -> Option<KeepView> {
    let path = views::path(&environment)?;
    Some(Arc::new(move |name, saved| {
        let kept = saved.map(|saved| views::KeptView {
            view: saved.view.title().to_lowercase(),
            filter: saved.filter.to_string(),
        });
        views::keep(&path, name, kept).map_err(|error| match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })
    }))
}

/// The role that a context's name stands on.
pub(super) fn frame(context: &contexts::Context) -> Result<Role, CliError> {
    match &context.frame {
        None if context.production => Ok(Role::Frame),
        None => Ok(Role::Panel),
        Some(Placed { value, place }) => Role::from_name(value).ok_or_else(|| {
            let names = || Role::ALL.iter().map(|role| role.name());
            let hint = match nearest(value, names()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("the roles are {}", names().collect::<Vec<_>>().join(", ")),
            };
            CliError::usage(anyhow!("{place}: no role of themes is called `{value}`")).hint(hint)
        }),
    }
}
