//! `capdeck audit`: the operator's own log.

use std::path::PathBuf;

use anyhow::anyhow;

use crate::audit;
use crate::cli::{CliError, operate, print};

/// What `capdeck audit` takes.
#[derive(Debug, clap::Args)]
pub(super) struct AuditArgs {
    #[command(subcommand)]
    verb: AuditVerb,
}

#[derive(Debug, clap::Subcommand)]
enum AuditVerb {
    /// Check the chain of the operator's log; exit code 1 and every broken line if it is broken
    Verify {
        /// The log; else the one that capdeck writes
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// Runs it.
pub(super) fn run(args: &AuditArgs) -> Result<(), CliError> {
    let AuditVerb::Verify { file } = &args.verb;
    let path = match file {
        Some(file) => file.clone(),
        None => {
            let path = operate::log_path()?;
            if !path.exists() && !audit::end_path(&path).exists() {
                print::line(&format!("{}: nothing was asked for yet", path.display()));
                return Ok(());
            }
            path
        }
    };
    let report = audit::verify(&path).map_err(CliError::usage)?;
    if report.findings.is_empty() {
        let last = report.last_at.as_deref().unwrap_or("never");
        print::line(&format!(
            "{}: {} lines, unbroken; the last one is of {}",
            path.display(),
            report.lines,
            operate::shown(last)
        ));
        if !report.end_known {
            print::note(
                "note: nothing remembers where it ended, so lines cut off there cannot be found",
            );
        }
        return Ok(());
    }
    for finding in &report.findings {
        print::line(&format!("{}: {finding}", path.display()));
    }
    let first = report.findings.first().map_or(0, |finding| finding.line);
    Err(CliError::refused(anyhow!(
        "{} is not what was written: line {first} is the first that is wrong",
        path.display()
    )))
}
