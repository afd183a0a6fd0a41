//! From arguments to a command, and from its outcome to an exit code.
#![forbid(unsafe_code)]

use crate::arguments::{Arguments, Command};
use crate::commands::{
    cert, connect, generate, keygen, listen, passwd, policy, probe, tunnel, zap,
};
use crate::exit::{Exit, Failure};
use crate::output::console::{Console, end_log, start_log};
use crate::output::printable::{lines, one_line};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use std::io::{self, Write};
use std::process::ExitCode;

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return not_parsed(error),
    };
    let console = Console {
        json: arguments.json,
    };
    // A tunnel's log records its peers, so it starts one level higher.
    let is_tunnel = matches!(arguments.command, Command::Tunnel(_));
    let verbosity = arguments.verbose.saturating_add(u8::from(is_tunnel));
    let outcome = start_log(verbosity)
        .map_err(Failure::from)
        .and_then(|()| run(arguments.command, console));
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console.failure(&failure);
            failure.exit.into()
        }
    };
    end_log();
    code
}

/// Prints help or version, or says what is wrong with the arguments and ends with code 2.
fn not_parsed(mut error: clap::Error) -> ExitCode {
    // A value is shown as it was given: it must not begin a line of its own.
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) {
        let shown = one_line(value);
        error.insert(ContextKind::InvalidValue, ContextValue::String(shown));
    }
    if error.kind() == ErrorKind::ValueValidation {
        // The first line names the option, the value and the reason. The rest is a hint at --help.
        let text = error.render().to_string();
        let told = text.lines().next().unwrap_or_default();
        let failure = Failure::usage(told.trim_start_matches("error: "));
        let json = wants_json();
        if start_log(0).is_ok() {
            Console { json }.failure(&failure);
            end_log();
        }
        return Exit::Usage.into();
    }
    if error.use_stderr() && wants_json() && start_log(0).is_ok() {
        let text = error.render().to_string();
        let told = text.trim().trim_start_matches("error: ");
        Console { json: true }.failure(&Failure::usage(told));
        end_log();
        return Exit::Usage.into();
    }
    if error.use_stderr() {
        // An argument can be a file name with control characters in it.
        let _unread = write!(io::stderr(), "{}", lines(&error.render().to_string()));
        return Exit::Usage.into();
    }
    error.exit()
}

/// Whether the arguments, which were not parsed, ask for JSON.
fn wants_json() -> bool {
    std::env::args_os().any(|argument| argument == "--json")
}

fn run(command: Command, console: Console) -> Result<(), Failure> {
    match command {
        Command::Keygen(arguments) => keygen::run(&arguments, console),
        Command::Cert(command) => cert::run(&command, console),
        Command::Passwd(arguments) => passwd::run(&arguments, console),
        Command::Policy(command) => policy::run(&command, console),
        Command::Listen(arguments) => listen::run(&arguments),
        Command::Connect(arguments) => connect::run(&arguments),
        Command::Probe(arguments) => probe::run(&arguments, console),
        Command::Zap(arguments) => zap::run(&arguments, console),
        Command::Tunnel(command) => tunnel::run(&command),
        Command::Generate(arguments) => generate::run(&arguments, Arguments::command()),
    }
}
