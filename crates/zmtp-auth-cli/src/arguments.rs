//! The arguments of the program; those of each command are in its file.
#![forbid(unsafe_code)]

use crate::commands::cert::CertCommand;
use crate::commands::connect::ConnectArguments;
use crate::commands::generate::GenerateArguments;
use crate::commands::keygen::KeygenArguments;
use crate::commands::listen::ListenArguments;
use crate::commands::passwd::PasswdArguments;
use crate::commands::policy::PolicyCommand;
use crate::commands::probe::ProbeArguments;
use crate::commands::tunnel::TunnelCommand;
use crate::commands::zap::ZapArguments;
use crate::exit;
use clap::{Parser, Subcommand};

/// The heading in `--help` of the options that every command has.
const GLOBAL: &str = "Global options";

/// ZeroMQ security at the command line: keys and certificates, policies, and sockets that speak
/// NULL, PLAIN and CURVE.
#[derive(Debug, Parser)]
#[command(
    name = "zmtp-auth",
    version,
    after_help = exit::HELP,
    propagate_version = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct Arguments {
    /// Print results and errors as JSON, one object per line
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) json: bool,
    /// Log more to stderr: -v for information, -vv for details, -vvv for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = GLOBAL)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Keygen(KeygenArguments),
    #[command(subcommand)]
    Cert(CertCommand),
    Passwd(PasswdArguments),
    #[command(subcommand)]
    Policy(PolicyCommand),
    Listen(ListenArguments),
    Connect(ConnectArguments),
    Probe(ProbeArguments),
    Zap(ZapArguments),
    #[command(subcommand)]
    Tunnel(TunnelCommand),
    Generate(GenerateArguments),
}
