//! Every code that encrypts, authenticates or multiplies, compared with two implementations that are
//! not ours, and with what is published.
//!
//! `ZMTP_AUTH_FULL=1` compares with many keys and at every length, and runs RFC 7748's million
//! iterations.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![forbid(unsafe_code)]

mod batches;
mod boxes;
mod cookies;
mod macs;
mod points;
mod published;
mod subjects;
mod wycheproof;
