//! The command line: arguments in, exit code out. One file a verb.

use std::ffi::OsString;
use std::fmt;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

mod attach;
mod audit;
mod cancel;
mod config;
mod decide;
mod demo;
mod get;
mod kernel;
mod keys;
mod log;
mod operate;
mod policy;
pub mod print;
mod render;
mod sources;
mod submit;
mod themes;
mod up;

/// The terminal console for the Cordum Agent Protocol: watch workers, follow
/// jobs, review approvals, cancel by keypress.
#[derive(Debug, Parser)]
#[command(name = "capdeck", version, arg_required_else_help = false)]
struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a console and a whole control plane in this terminal
    Demo(demo::DemoArgs),
    /// Open the console on a live deployment
    Attach(attach::AttachArgs),
    /// Print jobs, workers, approvals, alerts or senders as a table or as JSON
    Get(get::GetArgs),
    /// Submit a job, and follow it to its end if asked
    Submit(submit::SubmitArgs),
    /// Approve a job that waits for a person
    Approve(decide::ApproveArgs),
    /// Reject a job that waits for a person
    Reject(decide::RejectArgs),
    /// Ask that a job stops, and say what came of it
    Cancel(cancel::CancelArgs),
    /// Check the operator's own log
    Audit(audit::AuditArgs),
    /// Print a configuration file to start from
    Config(config::ConfigArgs),
    /// Serve a policy as a safety kernel by gRPC, for schedulers of CAP
    Kernel(kernel::KernelArgs),
    /// List every key and command
    Keys(keys::Args),
    /// Check a policy file, or explain what it says of a job
    Policy(policy::PolicyArgs),
    /// Draw one frame of the demo as text, with colors, or as a picture
    Render(render::RenderArgs),
    /// List the color themes, or print one as a file to start from
    Themes(themes::ThemesArgs),
    /// Run the embedded control plane alone, until SIGINT or SIGTERM
    Up(up::UpArgs),
    /// Print the completion script of a shell
    Completions {
        /// The shell to complete in
        shell: clap_complete::Shell,
    },
}

/// Runs the process's command line and says how it ended.
pub fn main() -> ExitCode {
    match run(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print::error(&error);
            ExitCode::from(error.kind.exit_code())
        }
    }
}

fn run(args: impl IntoIterator<Item = OsString>) -> Result<(), CliError> {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        // clap prints help and usage errors itself, with its own colours.
        Err(message) => message.exit(),
    };
    match args.verb {
        None => attach::bare(),
        Some(Verb::Demo(args)) => demo::run(&args),
        Some(Verb::Attach(args)) => attach::run(&args),
        Some(Verb::Get(args)) => get::run(&args),
        Some(Verb::Submit(args)) => submit::run(&args),
        Some(Verb::Approve(args)) => decide::approve(&args),
        Some(Verb::Reject(args)) => decide::reject(&args),
        Some(Verb::Cancel(args)) => cancel::run(&args),
        Some(Verb::Audit(args)) => audit::run(&args),
        Some(Verb::Config(args)) => config::run(&args),
        Some(Verb::Kernel(args)) => kernel::run(&args),
        Some(Verb::Keys(args)) => keys::run(&args, &config::keymap(&config::load()?)?),
        Some(Verb::Policy(args)) => policy::run(&args),
        Some(Verb::Render(args)) => render::run(&args),
        Some(Verb::Themes(args)) => themes::run(&args),
        Some(Verb::Up(args)) => up::run(&args),
        Some(Verb::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "capdeck", &mut script);
            print::out(&script);
            Ok(())
        }
    }
}

/// How a command ends badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The plane refused, or the job ended badly.
    Refused,
    /// Usage or configuration.
    Usage,
    /// A server could not be reached.
    Unreachable,
    /// A bug of ours.
    Bug,
}

impl Kind {
    /// The exit code that scripts branch on.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Refused => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Bug => 70,
        }
    }
}

/// An error for a person at a prompt: printed as one line, then hints.
#[derive(Debug)]
pub struct CliError {
    /// Which exit code it is.
    pub kind: Kind,
    /// What failed, with its causes.
    pub source: anyhow::Error,
    /// What to try.
    pub hints: Vec<String>,
}

impl CliError {
    /// An error of `kind`.
    pub fn new(kind: Kind, source: impl Into<anyhow::Error>) -> Self {
        Self {
            kind,
            source: source.into(),
            hints: Vec::new(),
        }
    }

    /// The plane refused, or the job ended badly: exit code 1.
    pub fn refused(source: impl Into<anyhow::Error>) -> Self {
        Self::new(Kind::Refused, source)
    }

    /// Usage or configuration: exit code 2.
    pub fn usage(source: impl Into<anyhow::Error>) -> Self {
        Self::new(Kind::Usage, source)
    }

    /// A server could not be reached: exit code 3.
    pub fn unreachable(source: impl Into<anyhow::Error>) -> Self {
        Self::new(Kind::Unreachable, source)
    }

    /// Adds something to try.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds what can be tried, if anything is known.
    #[must_use]
    pub fn hint_if(self, hint: Option<String>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.source)
    }
}
