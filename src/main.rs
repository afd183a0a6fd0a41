//! The program `zmtp-auth`: everything is in `cli/`.
#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::program::main()
}
