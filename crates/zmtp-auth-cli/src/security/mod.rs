//! Keys, passwords and policies from arguments.
#![forbid(unsafe_code)]

pub(crate) mod argument_source;
pub(crate) mod client;
pub(crate) mod key_file;
pub(crate) mod new_file;
pub(crate) mod password_input;
pub(crate) mod reloads;
pub(crate) mod scope;
pub(crate) mod server;
