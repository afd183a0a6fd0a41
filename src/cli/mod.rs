//! Floor 10: the program `zmtp-auth`, a user of the library like any other. Start reading at
//! `program.rs`; each command has a file of its name.

pub(crate) mod arguments;
pub(crate) mod cert;
pub(crate) mod client;
pub(crate) mod connect;
pub(crate) mod console;
pub(crate) mod conversation;
pub(crate) mod decisions;
pub(crate) mod events;
pub(crate) mod exit;
pub(crate) mod frames;
pub(crate) mod generate;
pub(crate) mod given;
pub(crate) mod key_file;
pub(crate) mod keygen;
pub(crate) mod lines;
pub(crate) mod listen;
pub(crate) mod new_file;
pub(crate) mod outlet;
pub(crate) mod passwd;
pub(crate) mod password_input;
pub(crate) mod policy;
pub(crate) mod printable;
pub(crate) mod probe;
pub(crate) mod probe_link;
pub(crate) mod program;
pub(crate) mod reloads;
pub(crate) mod repeats;
pub(crate) mod server;
pub(crate) mod signals;
pub(crate) mod socket_arguments;
pub(crate) mod socket_type;
pub(crate) mod stderr;
pub(crate) mod tunnel;
pub(crate) mod zap;
pub(crate) mod zap_service;
