//! ZMTP security in pure Rust.

#![deny(missing_docs, unsafe_code)]

mod access;
mod config;
mod crypto;
mod error;
pub mod frames;
pub mod handshake;
mod limits;
pub mod mechanism;
pub mod seal;
mod status;
pub mod wire;

pub use access::address::{IpcPeer, PeerAddress};
pub use access::grant::{Grant, GrantTerms};
pub use access::peer::{Authenticated, Claims, Credential, Peer};
pub use access::request::{AccessPolicy, AccessRequest, Credentials, Domain, MechanismKind};
pub use access::verdict::{Approval, Approved, Verdict};
pub use config::builder::{
    Builder, ConfigError, CurveServer, MayAsk, MayBeOpen, Null, PlainServer, Ready, WantsAccess,
    WantsMechanism,
};
pub use config::settings::{Asks, Config, Dangerous, Open};
pub use crypto::keys::{KeyPair, PublicKey, SecretKey};
pub use crypto::password::Password;
pub use crypto::random::{OsRandom, RandomSource};
pub use error::{
    CryptoError, Denied, Error, Fault, Incompatible, LimitExceeded, LocalError, Malformation,
    PeerRefusal, ProtocolError, Stage,
};
pub use limits::Limits;
pub use status::{DenialStatus, Status};
pub use wire::metadata::{Metadata, PropertyError};
pub use wire::socket_type::SocketType;
