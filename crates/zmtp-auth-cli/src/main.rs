//! The program `zmtp-auth`, a user of the library like any other. Start reading at `program.rs`; each
//! command has a file in `commands/`.
#![forbid(unsafe_code)]

mod arguments;
mod commands;
mod exit;
mod output;
mod program;
mod runtime;
mod security;
mod signals;
mod socket;

use std::process::ExitCode;

fn main() -> ExitCode {
    program::main()
}
