//! From arguments to a command, and from its outcome to an exit code.
#![forbid(unsafe_code)]

use crate::cli::arguments::{Arguments, Command};
use crate::cli::console::{Console, start_log};
use crate::cli::exit::Failure;
use crate::cli::{cert, connect, generate, keygen, listen, passwd, policy, probe, tunnel, zap};
use clap::Parser;
use std::future::Future;
use std::process::ExitCode;

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    // Wrong arguments end it here, with code 2 and a line of usage.
    let arguments = Arguments::parse();
    let console = Console {
        json: arguments.json,
    };
    // A tunnel's log is its record of who came.
    let is_tunnel = matches!(arguments.command, Command::Tunnel(_));
    start_log(arguments.verbose.saturating_add(u8::from(is_tunnel)));
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
        Command::Passwd(arguments) => passwd::run(&arguments, console),
        Command::Policy(command) => policy::run(&command, console),
        Command::Listen(arguments) => listen::run(&arguments, console),
        Command::Connect(arguments) => connect::run(&arguments, console),
        Command::Probe(arguments) => probe::run(&arguments, console),
        Command::Zap(arguments) => zap::run(&arguments, console),
        Command::Tunnel(command) => tunnel::run(&command, console),
        Command::Generate(arguments) => generate::run(&arguments, console),
    }
}

/// Runs what needs sockets, to its end.
pub(crate) fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(command);
    // Nothing that still waits on a thread, such as a read of stdin, may keep the process.
    runtime.shutdown_background();
    outcome
}
