//! Certificate files: which are written and read, and how bad ones are reported.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

#[path = "../unprivileged/mod.rs"]
mod unprivileged;

mod certificates;
mod certificates_bad;
