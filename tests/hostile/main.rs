//! Hostile peers over real sockets, against [`Listener`](zmtp_auth::net::Listener) and
//! [`Connection`](zmtp_auth::net::Connection): the published flaws of other implementations by
//! their CVE, then floods, idlers, resets and handlers that misbehave.
//!
//! Each test attacks a server in a process of its own (see [`load_attack`]); afterwards an honest peer
//! must be served, and memory must be what it was. Quick counts by default, the promised ones with
//! `ZMTP_AUTH_FULL=1`; `-- --nocapture` shows the figures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![cfg(all(unix, feature = "tokio"))]

mod curve;
mod load_attack;
mod raw;
mod relay;
mod server;

mod cuts;
mod denials;
mod floods;
mod greetings;
mod handlers;
mod idlers;
mod lengths;
mod malformed;
mod messages;
mod nonces;
mod resting;
