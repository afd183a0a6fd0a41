//! The configuration of one socket, which all its connections read: mechanism, role, metadata and
//! limits.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::access::request::AccessPolicy;
use crate::crypto::keys::{KeyPair, PublicKey};
use crate::crypto::password::Password;
use crate::crypto::random::RandomSource;
use crate::limits::Limits;
use crate::wire::metadata::Metadata;
use crate::wire::socket_type::SocketType;
use bytes::Bytes;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// Marks a [`Config`] that asks a ZAP handler before it admits a peer.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_enums, reason = "a marker without values")]
pub enum Authorizing {}

/// Marks a [`Config`] without a policy: a client, which pins its server's key under CURVE, or a
/// socket that accepts any peer.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_enums, reason = "a marker without values")]
pub enum NoPolicy {}

/// Marks a [`Config`] within a `Security`, which holds the router of a configuration that asks one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Erased {}

/// How one socket proves itself and which peers it admits. Shared by all connections of the socket
/// and cheap to clone. What uses it takes [`impl Into<Security>`](crate::Security).
///
/// ```
/// use zmtp_auth::{Config, Domain, KeyPair, SocketType};
///
/// let server = KeyPair::generate()?;
/// let config = Config::builder(SocketType::Pull)
///     .curve_server(server)
///     .authorize(Domain::from("billing"))
///     .finish()?;
/// # let _ = config;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A configuration that does not say which peers are admitted does not compile:
///
/// ```compile_fail,E0277
/// use zmtp_auth::{Config, KeyPair, SocketType};
///
/// let server = KeyPair::generate().unwrap();
/// let config = Config::builder(SocketType::Pull).curve_server(server).finish();
/// ```
///
/// A PLAIN server cannot accept any peer:
///
/// ```compile_fail,E0599
/// use zmtp_auth::{Config, SocketType};
///
/// let config = Config::builder(SocketType::Pull).plain_server().accept_any_peer();
/// ```
pub struct Config<A> {
    settings: Arc<Settings>,
    access: PhantomData<A>,
}

impl<A> Clone for Config<A> {
    fn clone(&self) -> Self {
        Self {
            settings: self.settings.clone(),
            access: PhantomData,
        }
    }
}

impl<A> fmt::Debug for Config<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("socket_type", &self.settings.socket_type)
            .field("role", &self.settings.role)
            .finish_non_exhaustive()
    }
}

/// The settings that all mechanisms read.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// `None` if each connection says it.
    pub(crate) socket_type: Option<SocketType>,
    pub(crate) role: Role,
    /// Socket type, identity and properties as sent. `None` for a relay, which learns them later, and
    /// if each connection says its type.
    pub(crate) metadata: Option<Metadata>,
    /// The properties in `metadata`, for a connection that says its type.
    pub(crate) properties: Vec<(String, Bytes)>,
    /// Whether we speak ZMTP 3.0 instead of 3.1.
    pub(crate) zmtp_3_0: bool,
    pub(crate) limits: Limits,
    pub(crate) random: Arc<dyn RandomSource>,
}

/// Mechanism and role, with the data of each. Only the builder makes one.
#[derive(Clone, Debug)]
#[expect(unnameable_types, reason = "only a sealed trait has it in a signature")]
pub enum Role {
    /// Either side of NULL.
    Null {
        /// Whether policy is asked about the peer.
        policy: AccessPolicy,
    },
    /// The client of PLAIN.
    PlainClient {
        /// At most 255 bytes.
        username: Bytes,
        /// At most 255 bytes.
        password: Password,
    },
    /// The server of PLAIN.
    PlainServer {
        /// The domain under which policy is asked about each peer.
        domain: Domain,
        /// Whether ERROR is misspelled as libzmq misspells it.
        libzmq_error_spelling: bool,
    },
    /// The client of CURVE.
    CurveClient {
        /// Our long-term keys, C and c.
        keys: Arc<KeyPair>,
        /// The server's long-term public key, S.
        server: PublicKey,
    },
    /// The server of CURVE.
    CurveServer {
        /// Our long-term keys, S and s; 1 to 4 pairs.
        keys: Arc<[KeyPair]>,
        /// Whether policy is asked about the peer.
        policy: AccessPolicy,
    },
}

impl Role {
    pub(crate) const fn mechanism(&self) -> MechanismKind {
        match self {
            Self::Null { .. } => MechanismKind::Null,
            Self::PlainClient { .. } | Self::PlainServer { .. } => MechanismKind::Plain,
            Self::CurveClient { .. } | Self::CurveServer { .. } => MechanismKind::Curve,
        }
    }

    /// Whether policy is asked about peers.
    pub(crate) const fn asks(&self) -> bool {
        match self {
            Self::Null { policy } | Self::CurveServer { policy, .. } => {
                matches!(policy, AccessPolicy::Ask(_))
            }
            Self::PlainServer { .. } => true,
            Self::PlainClient { .. } | Self::CurveClient { .. } => false,
        }
    }

    /// The domain under which policy is asked about peers, if it is.
    const fn domain(&self) -> Option<&Domain> {
        match self {
            Self::Null {
                policy: AccessPolicy::Ask(domain),
            }
            | Self::CurveServer {
                policy: AccessPolicy::Ask(domain),
                ..
            }
            | Self::PlainServer { domain, .. } => Some(domain),
            _ => None,
        }
    }

    pub(crate) const fn is_server(&self) -> bool {
        matches!(self, Self::PlainServer { .. } | Self::CurveServer { .. })
    }
}

impl<A> Config<A> {
    /// The socket's type. `None` if each connection says it ([`Config::untyped_builder`]).
    #[must_use]
    pub fn socket_type(&self) -> Option<SocketType> {
        self.settings.socket_type
    }

    /// The mechanism.
    #[must_use]
    pub fn mechanism(&self) -> MechanismKind {
        self.settings.role.mechanism()
    }

    /// The domain under which policy is asked about peers, if it is.
    pub(crate) fn domain(&self) -> Option<&Domain> {
        self.settings.role.domain()
    }

    /// Whether this is the server of PLAIN or CURVE. NULL has no roles.
    #[must_use]
    pub fn is_server(&self) -> bool {
        self.settings.role.is_server()
    }

    /// The bounds on memory and time.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// Settings that only tests and recorded vectors should change.
    #[must_use]
    pub fn dangerous(self) -> Dangerous<A> {
        Dangerous(self)
    }

    /// The same for a relay, which learns its metadata from another connection.
    #[cfg(any(feature = "futures-io", feature = "tokio"))]
    pub(crate) fn relay_side(&self) -> Self {
        Self::new(Settings {
            socket_type: Some(SocketType::Relay),
            metadata: None,
            ..(*self.settings).clone()
        })
    }

    /// NULL with the same limits, for any peer: the side of a tunnel without security.
    #[cfg(any(feature = "futures-io", feature = "tokio"))]
    pub(crate) fn clear_side(&self) -> Config<NoPolicy> {
        Config::new(Settings {
            role: Role::Null {
                policy: AccessPolicy::Anyone,
            },
            ..(*self.settings).clone()
        })
    }

    /// The same, announcing ZMTP 3.0.
    pub(crate) fn zmtp_3_0(&self) -> Self {
        Self::new(Settings {
            zmtp_3_0: true,
            ..(*self.settings).clone()
        })
    }

    /// The same without the mark.
    pub(crate) fn erase(self) -> Config<Erased> {
        Config {
            settings: self.settings,
            access: PhantomData,
        }
    }

    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            access: PhantomData,
        }
    }

    pub(crate) fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }
}

/// Settings that break security outside of tests.
#[derive(Debug)]
pub struct Dangerous<A>(Config<A>);

impl<A> Dangerous<A> {
    /// Draws transient keys and nonces from `source`, which makes a handshake reproducible to the
    /// byte. An attacker who can predict the source can read all traffic.
    #[must_use]
    pub fn with_random(self, source: Arc<dyn RandomSource>) -> Config<A> {
        let settings = Settings {
            random: source,
            ..Arc::unwrap_or_clone(self.0.settings)
        };
        Config {
            settings: Arc::new(settings),
            access: PhantomData,
        }
    }
}
