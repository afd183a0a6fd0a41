//! What may be wrong with a configuration.
#![forbid(unsafe_code)]

use crate::wire::metadata::PropertyError;
use crate::wire::socket_type::SocketType;
use thiserror::Error as ThisError;

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum ConfigError {
    /// The domain has more than 255 bytes.
    #[error("the domain has {0} bytes, at most 255 are allowed")]
    DomainTooLong(usize),
    /// The PLAIN user name or password has more than 255 bytes.
    #[error("PLAIN user names and passwords have at most 255 bytes")]
    PlainFieldTooLong,
    /// The CURVE server has more than 4 key pairs.
    #[error("a CURVE server has at most 4 key pairs, not {0}")]
    TooManyServerKeys(usize),
    /// The identity has more than 255 bytes.
    #[error("the identity has {0} bytes, at most 255 are allowed")]
    IdentityTooLong(usize),
    /// The identity is set for a type of socket that never sends one.
    #[error("a {0} socket sends no identity")]
    IdentityNotSent(SocketType),
    /// The identity is set, but not the type of socket. Each connection says both.
    #[error("an identity needs a type of socket: each connection says both")]
    IdentityWithoutType,
    /// The property's name does not begin with `X-`.
    #[error("property {0:?} does not begin with X-")]
    PropertyPrefix(String),
    /// The property cannot be encoded.
    #[error(transparent)]
    Property(#[from] PropertyError),
    /// An identity or property is set for a relay, which passes on those of its peers.
    #[error("a relay has no metadata of its own")]
    RelayMetadata,
    /// The limit makes no sense.
    #[error("Limits::{limit}: {problem}")]
    Limit {
        /// Which one of [`Limits`](crate::Limits).
        limit: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The metadata is longer than a handshake command may be.
    #[error("the metadata has {len} bytes, at most {limit} are allowed")]
    MetadataTooLong {
        /// Its length in bytes.
        len: usize,
        /// [`Limits::max_handshake_command`](crate::Limits::max_handshake_command).
        limit: usize,
    },
}
