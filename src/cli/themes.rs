//! `capdeck themes`: which color themes there are, and what is in one.

use std::path::PathBuf;

use crate::cli::{CliError, print};
use crate::tui::theme::{self, Depth, Theme, ThemeError};

/// What `capdeck themes` takes.
#[derive(Debug, clap::Args)]
pub(super) struct ThemesArgs {
    /// Print this theme's file, to start one of your own from
    name: Option<String>,
    /// A directory with themes of your own, searched first
    #[arg(long, value_name = "DIR")]
    themes: Option<PathBuf>,
}

/// Lists the themes, or prints one.
pub(super) fn run(args: &ThemesArgs) -> Result<(), CliError> {
    let directory = args.themes.as_deref();
    if let Some(name) = &args.name {
        let (_, warnings) =
            Theme::choose(directory, Some(name), Depth::True).map_err(as_cli_error)?;
        for warning in warnings {
            print::note(&format!("warning: {warning}"));
        }
        print::out(
            theme::source(directory, name)
                .map_err(as_cli_error)?
                .as_bytes(),
        );
        return Ok(());
    }
    print::line(&format!("{:<12}{:<12}{}", "NAME", "FROM", "CONTRAST"));
    for found in theme::list(directory).map_err(as_cli_error)? {
        let (_, warnings) =
            Theme::choose(directory, Some(&found.name), Depth::True).map_err(as_cli_error)?;
        let from = if found.path.is_some() {
            "yours"
        } else {
            "built in"
        };
        let contrast = match warnings.as_slice() {
            [] if found.name == theme::MONO => "no color at all".to_owned(),
            [] => "every role can be read".to_owned(),
            warnings => format!("{} too low", warnings.len()),
        };
        print::line(&format!("{:<12}{from:<12}{contrast}", found.name));
        for warning in warnings {
            print::note(&format!("warning: {warning}"));
        }
    }
    Ok(())
}

/// A theme error as the command line tells it: a usage error with its hint.
pub(super) fn as_cli_error(error: ThemeError) -> CliError {
    let hint = error.hint();
    let error = CliError::usage(error);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
