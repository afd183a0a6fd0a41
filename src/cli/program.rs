//! From arguments to a command, and from its outcome to an exit code.
#![forbid(unsafe_code)]

use crate::cli::arguments::{Arguments, Command};
use crate::cli::console::{Console, start_log};
use crate::cli::exit::Failure;
use crate::cli::{cert, generate, keygen};
use clap::Parser;
use std::process::ExitCode;

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    // Wrong arguments end it here, with code 2 and a line of usage.
    let arguments = Arguments::parse();
    let console = Console {
        json: arguments.json,
    };
    start_log(arguments.verbose);
    match run(arguments.command, console) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console.failure(&failure);
            failure.exit.into()
        }
    }
}

fn run(command: Command, console: Console) -> Result<(), Failure> {
    match command {
        Command::Keygen(arguments) => keygen::run(&arguments, console),
        Command::Cert(command) => cert::run(&command, console),
        Command::Generate(arguments) => generate::run(&arguments, console),
    }
}
