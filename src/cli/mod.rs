//! Floor 10: the program `zmtp-auth`, a user of the library like any other. Start reading at
//! `program.rs`; each command has a file of its name.

pub(crate) mod arguments;
pub(crate) mod cert;
pub(crate) mod console;
pub(crate) mod exit;
pub(crate) mod generate;
pub(crate) mod keygen;
pub(crate) mod new_file;
pub(crate) mod program;
