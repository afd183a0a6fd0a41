//! Hostile peers attack [`Listener`](zmtp_auth::net::Listener) and
//! [`Connection`](zmtp_auth::net::Connection) over real sockets. The attacks are published flaws of
//! other implementations, by their CVE, then floods, idle peers, resets and handlers that
//! misbehave.
//!
//! Each test attacks a server in a process of its own (see [`load_attack`]). Afterwards an honest
//! peer must be served, and memory must be what it was before. `ZMTP_AUTH_FULL=1` runs the promised
//! counts instead of quick ones, and `-- --nocapture` shows the figures.
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
mod idle_cost;
mod idlers;
mod lengths;
mod malformed;
mod messages;
mod nonces;
mod storms;
