//! The `capdeck` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    capdeck::cli::main()
}
