//! `policy`: a policy file is checked before anybody depends on it.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::output::console::Console;
use crate::output::printable::counted;
use crate::security::server::load_policy;
use clap::{Args, Subcommand};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Check policy files
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    Check(CheckArguments),
}

/// Say what is wrong with a policy file, and what should be looked at
///
/// Reads all files and directories that it names. Check a new file under a name of its own, and
/// rename it to the one in use: a file that is half written may be a policy too. Ends with 1 if it could not be put in force.
/// Warnings, such as a domain that admits anyone, are no failure unless --strict says so.
#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// The policy file, - for standard input, or env:NAME
    file: PathBuf,
    /// End with 1 if there is a warning
    #[arg(long)]
    strict: bool,
}

pub(crate) fn run(command: &PolicyCommand, console: Console) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Checked {
        domains: usize,
        warnings: Vec<String>,
    }
    let PolicyCommand::Check(arguments) = command;
    let policy = load_policy(&arguments.file)?.map_err(Failure::new)?;
    let warnings = policy.lint().map_err(Failure::new)?;
    let checked = Checked {
        domains: policy.settings().domain.len(),
        warnings: warnings.iter().map(ToString::to_string).collect(),
    };
    let mut text = String::new();
    for warning in &checked.warnings {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "warning: {warning}");
    }
    if checked.warnings.is_empty() {
        let _ = writeln!(text, "ok: {}", counted(checked.domains, "domain"));
    }
    console.result(&checked, &text)?;
    match checked.warnings.len() {
        count if count > 0 && arguments.strict => Err(Failure::new(counted(count, "warning"))),
        _ => Ok(()),
    }
}
