//! `policy`: checks a policy file before a server uses it, and explains what it decides.
#![forbid(unsafe_code)]

use crate::commands::policy::explain::ExplainArguments;
use crate::exit::Failure;
use crate::output::console::Console;
use crate::output::printable::counted;
use crate::security::server::load_policy;
use clap::{Args, Subcommand};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::PathBuf;

pub(crate) mod explain;

/// Check policy files, and explain what they decide
///
/// A policy file says which peers a server admits. It is TOML, with a section for each domain:
///
///   allow = ["127.0.0.1", "10.0.0.0/8"]                # addresses; or: deny = [..]
///
///   [domain.billing]                                   # chosen by: --domain billing
///   curve = { certificates = "known" }                 # a directory; or: { keys = ["Z85", ..] }
///   names = true                                       # the name in a certificate is the user id
///   plain = { file = "passwords" }                     # as `zmtp-auth passwd` writes it
///
///   [domain.reports]                                   # a key with the name of its holder
///   curve = { keys = [{ key = "Z85", user = "alice", from = ["10.0.0.0/8"] }] }
///
///   [domain.reports.topics]                            # for sockets that apply them
///   alice = { subscribe = ["monthly."], publish = [] }
///
///   [domain."*"]                                       # all domains without a section
///   curve = { any = true }                             # any key
///
/// Peers that no section admits are refused.
#[derive(Debug, Subcommand)]
#[command(verbatim_doc_comment)]
pub(crate) enum PolicyCommand {
    Check(CheckArguments),
    Explain(ExplainArguments),
}

/// Check a policy file, and all files and directories that it names
///
/// Prints errors that would keep a server from using the policy, one a line: the first of each value of
/// each section, and of each entry of topics. A file with several bad lines has one error, the first. So
/// has a text that is not a policy. Without errors it prints the warnings, such as a domain that admits
/// anyone, and the last line is the verdict. Exits with 1 if there is an error, and with --strict also if
/// there is a warning.
///
/// Write a new policy under another name, check it, and rename it to the name that servers read: a
/// file that is only half written can be a valid policy too.
#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// The policy file, standard input (-) or a variable (env:NAME)
    file: PathBuf,
    /// Exit with 1 if there is a warning
    #[arg(long)]
    strict: bool,
}

pub(crate) fn run(command: &PolicyCommand, console: Console) -> Result<(), Failure> {
    match command {
        PolicyCommand::Check(arguments) => check(arguments, console),
        PolicyCommand::Explain(arguments) => explain::run(arguments, console),
    }
}

fn check(arguments: &CheckArguments, console: Console) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Checked {
        domains: usize,
        warnings: Vec<String>,
    }
    let policy = load_policy(&arguments.file)?.map_err(Failure::of)?;
    let warnings = policy.lint_all().map_err(|mut errors| {
        let last = errors.pop();
        for error in errors {
            console.failure(&Failure::of(error));
        }
        last.map_or_else(Failure::silent, Failure::of)
    })?;
    let checked = Checked {
        domains: policy.settings().domain.len(),
        warnings: warnings.iter().map(ToString::to_string).collect(),
    };
    let mut text = String::new();
    for warning in &checked.warnings {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "warning: {warning}");
    }
    let domains = counted(checked.domains, "domain");
    let warnings = counted(checked.warnings.len(), "warning");
    let fails = arguments.strict && !checked.warnings.is_empty();
    let verdict = match (fails, checked.warnings.is_empty()) {
        (true, _) => format!("not ok, because of --strict: {warnings}, {domains}"),
        (false, true) => format!("ok: {domains}"),
        (false, false) => format!("ok with {warnings}: {domains}"),
    };
    let _ = writeln!(text, "{verdict}");
    console.result(&checked, &text)?;
    match (fails, console.json) {
        (false, _) => Ok(()),
        (true, true) => Err(Failure::new(verdict)),
        // The verdict is on stdout already.
        (true, false) => Err(Failure::silent()),
    }
}
