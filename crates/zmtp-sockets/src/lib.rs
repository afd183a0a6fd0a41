//! ZeroMQ's sockets on authenticated connections: patterns, policy, and a proven peer on every
//! message. Pure Rust, on tokio, without libzmq.
//!
//! | type | does |
//! |---|---|
//! | [`Dealer`], [`Router`] | send to peers in turn or by routing id, receive from all (RFC 28) |
//! | [`Req`], [`Rep`] | ask a peer and wait for its reply, answer those who ask (RFC 28) |
//! | [`Pair`] | talks to one other PAIR (RFC 31) |
//! | [`Pub`], [`Sub`] | send to all who subscribe, receive what was subscribed to (RFC 29) |
//! | [`Xpub`], [`Xsub`] | the same, and see or pass on subscriptions, for proxies (RFC 29) |
//! | [`Push`], [`Pull`] | send to peers in turn, receive from peers in turn (RFC 30) |
//!
//! A socket binds and connects to any number of endpoints. Each of them has a
//! [`Security`](zmtp_auth::Security) of its own, which says how the socket proves itself and which
//! peers it admits. No other process reaches a socket without one, and within the process
//! those reach it that have its [`Inproc`]. Every message comes with the
//! [`Peer`](zmtp_auth::Peer) that sent it.
//!
//! # Streams and sinks
//!
//! What receives is a [`Stream`](futures_core::Stream) without end, and what sends is a
//! [`Sink`](futures_sink::Sink): of [`Message`], and of [`Addressed`] for ROUTER and REP. This holds for
//! sockets and for the halves that `split` makes. A REQ is neither. So the
//! combinators of the crate `futures-util` apply: with `futures_util::StreamExt` a PULL is read by
//! `while let Some(message) = pull.next().await`. `StreamExt::next` and `SinkExt::send` do what this
//! example does without that crate:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use zmtp_auth::Config;
//! # use zmtp_sockets::{Pull, Push};
//! # let any = || Config::untyped_builder().null().accept_any_peer().finish();
//! # let (mut push, mut pull) = (Push::new(), Pull::new());
//! # push.connect(&pull.bind("tcp://127.0.0.1:*", any()?).await?, any()?)?;
//! use futures_core::Stream;
//! use futures_sink::Sink;
//! use std::{future::poll_fn, pin::Pin};
//!
//! poll_fn(|context| Sink::poll_ready(Pin::new(&mut push), context)).await?;
//! Pin::new(&mut push).start_send("hello".into())?;
//! poll_fn(|context| Pin::new(&mut push).poll_flush(context)).await?;
//!
//! let next = poll_fn(|context| Pin::new(&mut pull).poll_next(context)).await;
//! assert_eq!(next.unwrap().frames(), ["hello"]);
//! # Ok(()) }
//! ```

#![deny(missing_docs)]
#![forbid(unsafe_code)]

#[cfg(test)]
mod allocation;
mod endpoints;
mod error;
mod event;
mod options;
mod peers;
mod proxy;
mod received;
mod request;
mod sockets;
mod subscription;
mod topics;

pub use endpoints::inproc::Inproc;
pub use error::{AttachError, RequestError, SendError, SendReason};
pub use event::{Events, SocketEvent, SubscriptionRefused, TurnedAway};
pub use options::{RouteBy, SocketOptions};
pub use proxy::{ProxySocket, proxy};
pub use received::Received;
pub use request::{Addressed, Request};
pub use sockets::dealer::{Dealer, DealerReceiver, DealerSender};
pub use sockets::pair::{Pair, PairReceiver, PairSender};
pub use sockets::publish::Pub;
pub use sockets::pull::Pull;
pub use sockets::push::Push;
pub use sockets::rep::{Rep, RepReceiver, RepSender};
pub use sockets::req::Req;
pub use sockets::router::{Router, RouterReceiver, RouterSender};
pub use sockets::subscribe::Sub;
pub use sockets::xpub::Xpub;
pub use sockets::xsub::{Xsub, XsubReceiver, XsubSender};
pub use subscription::{FromSubscriber, Subscription};
pub use topics::audience::SubscriberStatus;
pub use zmtp_auth::net::Message;

/// The README's examples, which `cargo test --doc` compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The examples of the project's README, which needs these sockets.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct RootReadme;
