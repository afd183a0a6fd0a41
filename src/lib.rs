//! The security of ZeroMQ in pure Rust: what libzmq and `zmq.auth` do for C and Python, as a
//! library that needs neither and talks to both, byte for byte.
//!
//! There are three layers to build on. Each is complete on its own and stands on the one before it:
//!
//! | layer | takes | for |
//! |---|---|---|
//! | [`mechanism`] | commands | a host with its own ZMTP codec |
//! | [`handshake`] and [`traffic`] | bytes | a host with a byte stream and any runtime, or none |
//! | `net` (feature `tokio`) | endpoints | an application: bind, connect, send, receive |
//!
//! A [`Config`] says how a socket proves itself and whom it admits; neither has a default. NULL,
//! PLAIN and CURVE are spoken in both roles. Whoever may come in is decided by a ZAP handler
//! (RFC 27), and a peer that no handler has approved never gets past the handshake.
//!
//! # What is promised
//!
//! - **Nobody gets in by accident.** No handler, a stopped one, one that panics, answers late or
//!   answers nonsense, a full queue: the peer is refused. Letting everyone in is a call with an
//!   honest name, [`accept_any_peer`](Builder::accept_any_peer), which PLAIN does not have.
//! - **No downgrade.** Older protocols and other mechanisms are refused at the first byte that
//!   shows them.
//! - **Bounded before trust.** What an unauthorised peer can cost is in [`Limits`], each number
//!   with its reason.
//! - **Errors by fault.** An [`Error`] says what went wrong and who has to act; the wire is told
//!   nothing but the ZAP status.

#![deny(missing_docs, unsafe_code)]

mod access;
pub mod auth;
pub mod cert;
mod config;
mod crypto;
mod error;
pub mod handshake;
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
pub mod traffic;
pub mod wire;
pub mod zap;

pub use access::address::{IpcPeer, PeerAddress};
pub use access::credentials::{Credential, Credentials, MechanismKind};
pub use access::domain::Domain;
pub use access::grant::{Grant, GrantTerms};
pub use access::peer::{Authenticated, Claims, Peer};
pub use access::request::{AccessPolicy, AccessRequest};
pub use access::verdict::{Approval, Approved, Verdict};
pub use config::builder::{
    Builder, CanAcceptAny, CanAuthorize, ConfigError, CurveServer, Null, PlainServer, Ready,
    WantsAccess, WantsMechanism,
};
pub use config::settings::{Authorizing, Config, Dangerous, NoPolicy};
pub use crypto::keys::{KeyError, KeyPair, PublicKey, SecretKey};
pub use crypto::password::Password;
pub use crypto::password_hash::{HashingError, PasswordHashError};
pub use crypto::random::{OsRandom, RandomSource};
pub use error::{
    CryptoError, Error, Fault, Incompatible, LimitExceeded, LocalError, Malformation, PeerRefusal,
    ProtocolError, Stage,
};
pub use limits::Limits;
pub use security::Security;
pub use status::{DenialStatus, Denied, DeniedBy, Status};
pub use wire::metadata::{Metadata, PropertyError};
pub use wire::socket_type::SocketType;

/// The examples of the README, compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
