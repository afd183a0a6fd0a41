//! ZeroMQ security in pure Rust: the NULL, PLAIN and CURVE handshakes of ZMTP 3.1, a ZAP router
//! (RFC 27), and the policy of `zmq.auth`. It needs no C library and talks to libzmq in both roles.
//!
//! # Layers
//!
//! The crate has four layers. Take the one that fits what your program already has:
//!
//! | layer | takes and gives | for |
//! |---|---|---|
//! | [`mechanism`] | command bodies | a host with its own ZMTP codec |
//! | [`handshake`] and [`traffic`] | bytes | a host with its own byte stream, on any runtime or none |
//! | [`host`] | a stream | a ZMTP implementation with sockets of its own: the handshake in one call, or a secured stream |
//! | `net` (feature `tokio`) | endpoints and messages | an application that talks to one peer at a time |
//!
//! An application that wants ZeroMQ's sockets, such as PUB or ROUTER, takes the crate `zmtp-sockets`,
//! which is built on `net`.
//!
//! The first two are state machines without I/O, clocks or threads. Each layer is complete and is
//! built on the one above it in the table.
//!
//! Every layer starts from a [`Config`]. It says how a socket proves its identity and which peers it
//! admits, and neither has a default. Most servers let an [`Authenticator`](auth::Authenticator)
//! decide: it holds address rules, PLAIN users and CURVE keys. A [`ZapRouter`](zap::ZapRouter) asks
//! handlers of your own. Keys are kept in certificate files, which [`cert`] reads and
//! writes as pyzmq and czmq do.
//!
//! # Guarantees
//!
//! - **Fail closed.** A peer is admitted only by an explicit approval. It is refused if there is no
//!   handler, or if the handler has stopped, panics, answers late, answers nonsense or has a full
//!   queue. A socket that admits everyone says so by [`accept_any_peer`](Builder::accept_any_peer),
//!   which a PLAIN server cannot call.
//! - **No downgrade.** A peer with an older protocol or another mechanism is refused at the first
//!   byte that shows it.
//! - **Bounded before trust.** [`Limits`] bounds the memory and time that a peer can cost before and
//!   after it is admitted. Each limit states its reason and where it is enforced.
//! - **Errors name the fault.** [`Error::fault`] says which side has to act, and
//!   [`Error::likely_cause`] what an early close probably means. The peer learns only the ZAP
//!   status.
//! - **Secrets stay secret.** Secret keys and passwords are wiped on drop and compared in constant
//!   time. They never appear in `Debug` output, logs or errors.
//!
//! # Features
//!
//! | feature | adds | default |
//! |---|---|---|
//! | `tokio` | `net`, and the time-out of the ZAP router | yes |
//! | `reload` | password files and certificate directories that are loaded again when they change | no |
//! | `policy-file` | policies as TOML files | no |
//! | `serde` | keys, domains, address rules and mechanisms both ways, audit events for writing | no |
//! | `futures-io` | `host` over streams with the traits of `futures-io` | no |

#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(missing_docs, unsafe_code)]
// Not in the workspace's lints: in tests and programs everything is unreachable.
#![warn(unreachable_pub)]

mod access;
pub mod auth;
#[cfg(feature = "serde")]
mod byte_text;
pub mod cert;
pub mod config;
mod crypto;
mod error;
mod fault;
pub mod handshake;
pub mod host;
mod limits;
mod lock;
pub mod mechanism;
#[cfg(feature = "tokio")]
pub mod net;
mod printable;
pub mod relay;
mod secret_file;
mod security;
mod status;
#[cfg(test)]
mod timing;
pub mod traffic;
pub mod wire;
mod with_causes;
pub mod zap;

pub use access::address::{IpcPeer, PeerAddress, PeerAddressError};
pub use access::credentials::{Credential, Credentials, MechanismKind, MechanismKindError};
pub use access::domain::Domain;
pub use access::grant::{Grant, GrantTerms};
pub use access::peer::{Authenticated, Claims, Peer};
pub use access::request::{AccessPolicy, AccessRequest};
pub use access::revoked::{RevocationGuard, Revoked};
pub use access::topics::{
    TopicChanges, TopicPermissionError, TopicPermissions, TopicTerms, Topics,
};
pub use access::verdict::{Approval, Approved, Verdict};
pub use config::builder::Builder;
pub use config::config_error::ConfigError;
pub use config::settings::{Authorizing, Config, Dangerous, NoPolicy};
#[cfg(feature = "test-ciphers")]
#[doc(hidden)]
pub use crypto::judged;
pub use crypto::keys::{KeyError, KeyPair, PublicKey, SecretKey};
pub use crypto::password::Password;

pub use crypto::random::{OsRandom, RandomSource};
#[cfg(feature = "test-ciphers")]
#[doc(hidden)]
pub use crypto::secretbox::backend::{name_in_use as cipher_in_use, names as ciphers};
pub use error::{
    CryptoError, Error, Incompatible, LimitExceeded, LocalError, Malformation, ProtocolError, Stage,
};
pub use fault::{Fault, LikelyCause};
pub use limits::Limits;
pub use mechanism::session::PeerContext;
pub use security::Security;
pub use status::{DenialStatus, Denied, DeniedBy, PeerRefusal, Status, StatusError};
pub use wire::metadata::{Metadata, PropertyError};
pub use wire::socket_type::{SocketType, SocketTypeError};
pub use with_causes::WithCauses;

/// The examples of the guide for users of pyzmq, compiled and run with the documentation's.
#[cfg(all(doctest, feature = "reload", feature = "tokio"))]
#[doc = include_str!("../docs/PORTING.md")]
struct Porting;

/// The examples of the guide for operators, compiled and run with the documentation's.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../docs/DEPLOYMENT.md")]
struct Deployment;

/// The examples of the guide for ZMTP implementations, compiled and run with the documentation's.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../docs/EMBEDDING.md")]
struct Embedding;
