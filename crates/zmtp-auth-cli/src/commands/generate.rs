//! `generate`: manual pages and shell completions, from the same text as `--help`.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use clap::Args;
use clap_complete::Shell;
use std::io::{self, Write};
use std::path::PathBuf;

/// Write the manual pages or shell completions
#[derive(Debug, Args)]
pub(crate) struct GenerateArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// The manual: zmtp-auth.1 and a page for each command
    Man {
        /// The directory to write to
        directory: PathBuf,
    },
    /// The completions for a shell, on stdout
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Writes what is asked for, from the definition of the whole program.
pub(crate) fn run(
    arguments: &GenerateArguments,
    mut command: clap::Command,
) -> Result<(), Failure> {
    match &arguments.what {
        What::Man { directory } => {
            clap_mangen::generate_to(command, directory).map_err(|error| {
                Failure::new(format_args!("cannot write to {directory:?}: {error}"))
            })?;
        }
        What::Completions { shell } => {
            // Made in memory: clap_complete takes a failed write for a bug.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut command, "zmtp-auth", &mut script);
            io::stdout().lock().write_all(&script)?;
        }
    }
    Ok(())
}
