//! The policy: which peers are admitted, by which rule, until when, and which events are reported.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

#[path = "../log_lines/mod.rs"]
mod log_lines;
#[path = "../unprivileged/mod.rs"]
mod unprivileged;

mod addresses;
mod atomicity;
mod claims;
mod error_chains;
mod events;
mod explain;
#[cfg(feature = "policy-file")]
mod file;
mod names;
#[cfg(feature = "policy-file")]
mod names_file;
mod plain_passwords;
mod poll_once;
#[cfg(feature = "reload")]
mod reload;
mod revocation;
mod revocation_hooks;
#[cfg(feature = "serde")]
mod serialized;
mod table;
mod thread_authenticator;
mod topics;
#[cfg(feature = "policy-file")]
mod topics_file;
mod validity;
