//! `generate`: manual pages and shell completions, from the same text as `--help`.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use clap::Args;
use clap_complete::Shell;
use std::fs;
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
    /// Write the manual: zmtp-auth.1 and a page for each command
    Man {
        /// The directory to write to; it is created if it does not exist, with its parents
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Writes manual or completions, from the definition of the whole program.
pub(crate) fn run(
    arguments: &GenerateArguments,
    mut command: clap::Command,
) -> Result<(), Failure> {
    match &arguments.what {
        What::Man { directory } => {
            let written = fs::create_dir_all(directory)
                .and_then(|()| clap_mangen::generate_to(command, directory));
            written.map_err(|error| {
                Failure::new(format_args!("cannot write to {directory:?}: {error}"))
            })?;
        }
        What::Completions { shell } => {
            // Made in memory, since clap_complete panics if a write fails.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut command, "zmtp-auth", &mut script);
            io::stdout().lock().write_all(&script)?;
        }
    }
    Ok(())
}
