//! The builder of a configuration. It has no default for a security choice: a program must say how
//! its socket proves itself and which peers it admits.
#![forbid(unsafe_code)]

use crate::access::credentials::MAX_PLAIN_LEN;
use crate::access::domain::Domain;
use crate::access::request::AccessPolicy;
use crate::config::config_error::ConfigError;
use crate::config::own_metadata::own_metadata;
use crate::config::settings::{Authorizing, Config, NoPolicy, Role, Settings};
use crate::crypto::keys::{KeyPair, PublicKey};
use crate::crypto::password::Password;
use crate::crypto::random::OsRandom;
use crate::limits::Limits;
use crate::wire::metadata::MAX_IDENTITY_LEN;
use crate::wire::socket_type::SocketType;
use bytes::Bytes;
use std::marker::PhantomData;
use std::sync::Arc;

/// Most bytes in a domain. 255, the most that libzmq can be configured with.
const MAX_DOMAIN_LEN: usize = 255;
/// Most key pairs of one CURVE server. 4, because each key costs one more X25519 for every HELLO,
/// which any stranger can send.
const MAX_SERVER_KEYS: usize = 4;

impl Config<NoPolicy> {
    /// Starts a configuration for this type of socket. [`SocketType::Relay`] has no metadata of its
    /// own.
    pub fn builder(socket_type: SocketType) -> Builder<WantsMechanism> {
        Builder {
            socket_type: Some(socket_type),
            identity: None,
            properties: Vec::new(),
            limits: Limits::default(),
            zmtp_3_0: false,
            state: WantsMechanism(()),
        }
    }

    /// Starts a configuration without a type of socket, for a host whose sockets of several types share
    /// it. Each connection says its type and identity by
    /// [`PeerContext::for_socket`](crate::PeerContext::for_socket). A connection that does not fails
    /// with [`LocalError::SocketTypeMissing`](crate::LocalError::SocketTypeMissing), so `net` cannot use
    /// this configuration. The sockets of the crate `zmtp-sockets` say their type, and take it.
    pub fn untyped_builder() -> Builder<WantsMechanism> {
        Builder {
            socket_type: None,
            ..Self::builder(SocketType::Pair)
        }
    }
}

/// Builds a [`Config`]. The mechanism and role come first, then, for a role that can refuse a peer,
/// which peers it admits. Everything else has a default.
///
/// ```
/// use zmtp_auth::{Config, Domain, KeyPair, SocketType};
///
/// let keys = KeyPair::generate()?;
/// let client = Config::builder(SocketType::Push)
///     .curve_client(KeyPair::generate()?, keys.public_key())
///     .finish()?;
/// let server = Config::builder(SocketType::Pull)
///     .curve_server(keys)
///     .authorize(Domain::from("billing"))
///     .finish()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct Builder<S> {
    socket_type: Option<SocketType>,
    identity: Option<Bytes>,
    properties: Vec<(String, Bytes)>,
    limits: Limits,
    zmtp_3_0: bool,
    state: S,
}

/// Builder state: the mechanism is missing.
#[derive(Debug)]
pub struct WantsMechanism(());

/// Builder state: the decision which peers to admit is missing.
#[derive(Debug)]
pub struct WantsAccess<R>(R);

/// Builder state: complete.
#[derive(Debug)]
pub struct Ready<A>(Result<Role, ConfigError>, PhantomData<A>);

/// NULL, on either side.
#[derive(Debug)]
pub struct Null(());

/// The server of PLAIN.
#[derive(Debug)]
pub struct PlainServer {
    libzmq_error_spelling: bool,
}

/// The server of CURVE.
#[derive(Debug)]
pub struct CurveServer {
    keys: Vec<KeyPair>,
}

impl<S> Builder<S> {
    /// The identity (routing id) to claim, at most 255 bytes. Only REQ, DEALER and ROUTER send one.
    pub fn identity(mut self, identity: impl Into<Bytes>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// A property to claim. Its name begins with `X-`. Properties are sent sorted by name.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }

    /// Replaces the default bounds.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Announces ZMTP 3.0 (RFC 23) instead of 3.1, for a host that knows no 3.1. Peers then send
    /// subscriptions as messages, and so do we, and we send no PINGs. The mechanisms are the same.
    ///
    /// libzmq sends PINGs even then, if its heartbeat is enabled, and expects answers.
    pub fn zmtp_3_0(mut self) -> Self {
        self.zmtp_3_0 = true;
        self
    }

    fn with<T>(self, state: impl FnOnce(S) -> T) -> Builder<T> {
        Builder {
            socket_type: self.socket_type,
            identity: self.identity,
            properties: self.properties,
            limits: self.limits,
            zmtp_3_0: self.zmtp_3_0,
            state: state(self.state),
        }
    }
}

impl Builder<WantsMechanism> {
    /// No security at all (RFC 37, "The NULL Security Mechanism"). A side that authorizes can still
    /// judge the peer by its address.
    pub fn null(self) -> Builder<WantsAccess<Null>> {
        self.with(|_| WantsAccess(Null(())))
    }

    /// The client of PLAIN (RFC 24). The name and the password, at most 255 bytes each, are sent in
    /// clear.
    pub fn plain_client(
        self,
        username: impl Into<Bytes>,
        password: impl Into<Password>,
    ) -> Builder<Ready<NoPolicy>> {
        let (username, password) = (username.into(), password.into());
        self.with(|_| {
            let longest = username.len().max(password.expose().len());
            let role = if longest > MAX_PLAIN_LEN {
                Err(ConfigError::PlainFieldTooLong)
            } else {
                Ok(Role::PlainClient { username, password })
            };
            Ready(role, PhantomData)
        })
    }

    /// The server of PLAIN (RFC 24). It always asks a handler, because a password that is not
    /// checked is worse than none.
    pub fn plain_server(self) -> Builder<WantsAccess<PlainServer>> {
        self.with(|_| {
            WantsAccess(PlainServer {
                libzmq_error_spelling: false,
            })
        })
    }

    /// The client of CURVE (RFC 26). It connects only to the server with the key `server`.
    pub fn curve_client(self, keys: KeyPair, server: PublicKey) -> Builder<Ready<NoPolicy>> {
        self.with(|_| {
            Ready(
                Ok(Role::CurveClient {
                    keys: Arc::new(keys),
                    server,
                }),
                PhantomData,
            )
        })
    }

    /// The server of CURVE (RFC 26).
    pub fn curve_server(self, keys: KeyPair) -> Builder<WantsAccess<CurveServer>> {
        self.with(|_| WantsAccess(CurveServer { keys: vec![keys] }))
    }
}

impl Builder<WantsAccess<PlainServer>> {
    /// Misspells ERROR as libzmq's PLAIN does. A libzmq client stops on either spelling but reports
    /// the status only for its own.
    pub fn libzmq_error_spelling(mut self) -> Self {
        self.state.0.libzmq_error_spelling = true;
        self
    }
}

impl Builder<WantsAccess<CurveServer>> {
    /// Accepts a further key, up to four in total, so that a server's key can be replaced while
    /// clients still use the old one.
    pub fn also_accept(mut self, keys: KeyPair) -> Self {
        self.state.0.keys.push(keys);
        self
    }
}

/// Roles that can ask a ZAP handler. Other crates cannot add a role.
pub trait CanAuthorize {
    #[doc(hidden)]
    fn authorizing(self, domain: Domain) -> Result<Role, ConfigError>;
}

impl CanAuthorize for Null {
    fn authorizing(self, domain: Domain) -> Result<Role, ConfigError> {
        let policy = AccessPolicy::Ask(domain);
        Ok(Role::Null { policy })
    }
}

impl CanAuthorize for PlainServer {
    fn authorizing(self, domain: Domain) -> Result<Role, ConfigError> {
        let libzmq_error_spelling = self.libzmq_error_spelling;
        Ok(Role::PlainServer {
            domain,
            libzmq_error_spelling,
        })
    }
}

impl CanAuthorize for CurveServer {
    fn authorizing(self, domain: Domain) -> Result<Role, ConfigError> {
        self.role(AccessPolicy::Ask(domain))
    }
}

/// Roles that may accept any peer. A PLAIN server may not. Other crates cannot add a role.
pub trait CanAcceptAny {
    #[doc(hidden)]
    fn accepting_any(self) -> Result<Role, ConfigError>;
}

impl CanAcceptAny for Null {
    fn accepting_any(self) -> Result<Role, ConfigError> {
        let policy = AccessPolicy::Anyone;
        Ok(Role::Null { policy })
    }
}

impl CanAcceptAny for CurveServer {
    fn accepting_any(self) -> Result<Role, ConfigError> {
        self.role(AccessPolicy::Anyone)
    }
}

impl CurveServer {
    fn role(self, policy: AccessPolicy) -> Result<Role, ConfigError> {
        if self.keys.len() > MAX_SERVER_KEYS {
            return Err(ConfigError::TooManyServerKeys(self.keys.len()));
        }
        Ok(Role::CurveServer {
            keys: self.keys.into(),
            policy,
        })
    }
}

impl<R: CanAuthorize> Builder<WantsAccess<R>> {
    /// Asks the ZAP handler about every peer, under this domain (RFC 27), of at most 255 bytes. The
    /// domain may be empty. Without a handler every peer is refused.
    pub fn authorize(self, domain: impl Into<Domain>) -> Builder<Ready<Authorizing>> {
        let domain = domain.into();
        self.with(|WantsAccess(role)| {
            let role = if domain.as_bytes().len() > MAX_DOMAIN_LEN {
                Err(ConfigError::DomainTooLong(domain.as_bytes().len()))
            } else {
                role.authorizing(domain)
            };
            Ready(role, PhantomData)
        })
    }
}

impl<R: CanAcceptAny> Builder<WantsAccess<R>> {
    /// Admits every peer that completes the handshake.
    pub fn accept_any_peer(self) -> Builder<Ready<NoPolicy>> {
        self.with(|WantsAccess(role)| Ready(role.accepting_any(), PhantomData))
    }
}

/// The builder state in which nothing is missing: [`Ready`]. Other crates cannot add one. `A` is what the
/// configuration does about its peers.
#[diagnostic::on_unimplemented(
    message = "the configuration does not say how the socket proves itself, or which peers it admits",
    label = "called too early",
    note = "call `null()`, or one of the methods for PLAIN and CURVE",
    note = "then `authorize(domain)`, so that a policy is asked about each peer, or `accept_any_peer()`"
)]
pub trait Complete<A> {
    #[doc(hidden)]
    fn into_role(self) -> Result<Role, ConfigError>;
}

impl<A> Complete<A> for Ready<A> {
    fn into_role(self) -> Result<Role, ConfigError> {
        self.0
    }
}

impl<S> Builder<S> {
    /// Checks all settings and makes the configuration.
    ///
    /// # Errors
    /// Returns [`ConfigError`] if a setting is wrong.
    pub fn finish<A>(self) -> Result<Config<A>, ConfigError>
    where
        S: Complete<A>,
    {
        let role = self.state.into_role()?;
        if let Some((limit, problem)) = self.limits.first_invalid(role.asks()) {
            return Err(ConfigError::Limit { limit, problem });
        }
        let mut properties = self.properties;
        properties.sort();
        let metadata = match self.socket_type {
            Some(SocketType::Relay) => {
                if self.identity.is_some() || !properties.is_empty() {
                    return Err(ConfigError::RelayMetadata);
                }
                None
            }
            Some(socket_type) => Some(own_metadata(socket_type, self.identity, &properties)?),
            None if self.identity.is_some() => return Err(ConfigError::IdentityWithoutType),
            None => None,
        };
        // Without a type, the longest metadata that a connection can have must fit.
        let longest = match (&metadata, self.socket_type) {
            (None, None) => {
                let identity = Bytes::from_static(&[1; MAX_IDENTITY_LEN]);
                &Some(own_metadata(
                    SocketType::Dealer,
                    Some(identity),
                    &properties,
                )?)
            }
            (metadata, _) => metadata,
        };
        if let Some(metadata) = longest {
            let limit = self.limits.max_handshake_command;
            if metadata.encoded_len() > limit {
                return Err(ConfigError::MetadataTooLong {
                    len: metadata.encoded_len(),
                    limit,
                });
            }
        }
        let settings = Settings {
            socket_type: self.socket_type,
            role,
            metadata,
            properties,
            limits: self.limits,
            zmtp_3_0: self.zmtp_3_0,
            random: Arc::new(OsRandom),
        };
        Ok(Config::new(settings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::metadata::{IDENTITY, PropertyError, SOCKET_TYPE};
    use std::time::Duration;

    fn null(socket_type: SocketType) -> Builder<Ready<NoPolicy>> {
        Config::builder(socket_type).null().accept_any_peer()
    }

    #[test]
    fn who_asks_leaves_places_for_newcomers_while_verdicts_are_pending() {
        let asks = |verdicts, handshakes| {
            let limits = Limits {
                max_pending_verdicts: verdicts,
                max_pending_handshakes: handshakes,
                ..Limits::default()
            };
            let builder = Config::builder(SocketType::Pull).limits(limits.clone());
            let open = Config::builder(SocketType::Pull).limits(limits);
            // Where nothing is asked, nothing waits for a verdict.
            open.null().accept_any_peer().finish().unwrap();
            builder.null().authorize(Domain::EMPTY).finish().err()
        };
        assert_eq!(asks(256, 1024), None);
        assert_eq!(asks(7, 8), None);
        for verdicts in [8, 9, usize::MAX] {
            let problem = asks(verdicts, 8);
            assert!(
                matches!(
                    problem,
                    Some(ConfigError::Limit {
                        limit: "max_pending_verdicts",
                        ..
                    })
                ),
                "{problem:?}"
            );
        }
    }

    #[test]
    fn metadata_is_sent_in_libzmqs_order() {
        let config = null(SocketType::Dealer)
            .property("X-b", "2")
            .property("X-a", "1")
            .identity("me")
            .finish()
            .unwrap();
        let metadata = config.settings().metadata.as_ref().unwrap();
        let names: Vec<_> = metadata.iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names, [SOCKET_TYPE, IDENTITY, "X-a", "X-b"]);
    }

    #[test]
    fn an_identity_is_sent_by_the_types_that_have_one_even_when_empty() {
        let config = null(SocketType::Req).finish().unwrap();
        assert!(
            config
                .settings()
                .metadata
                .as_ref()
                .unwrap()
                .get(IDENTITY)
                .unwrap()
                .is_empty()
        );
        let config = null(SocketType::Push).finish().unwrap();
        assert!(
            config
                .settings()
                .metadata
                .as_ref()
                .unwrap()
                .get(IDENTITY)
                .is_none()
        );
    }

    #[test]
    fn every_bad_setting_has_its_error() {
        let long = "x".repeat(256);
        let error = |builder: Builder<Ready<NoPolicy>>| builder.finish().unwrap_err();
        assert_eq!(
            error(null(SocketType::Push).identity("me")),
            ConfigError::IdentityNotSent(SocketType::Push)
        );
        assert_eq!(
            error(null(SocketType::Req).identity(long.clone())),
            ConfigError::IdentityTooLong(256)
        );
        assert_eq!(
            error(null(SocketType::Req).property("User-Id", "root")),
            ConfigError::PropertyPrefix("User-Id".into())
        );
        assert_eq!(
            error(
                null(SocketType::Req)
                    .property("X-a", "")
                    .property("X-A", "")
            ),
            ConfigError::Property(PropertyError::Duplicate("X-a".into()))
        );
        assert_eq!(
            error(null(SocketType::Relay).property("X-a", "")),
            ConfigError::RelayMetadata
        );
        assert_eq!(
            error(null(SocketType::Req).property("X-a", vec![0; 9000])),
            ConfigError::MetadataTooLong {
                len: 9040,
                limit: 8192
            }
        );
        let plain = Config::builder(SocketType::Push).plain_client(long.clone(), "");
        assert_eq!(error(plain), ConfigError::PlainFieldTooLong);
        let domain = Domain::new(long);
        let asks = Config::builder(SocketType::Pull)
            .plain_server()
            .authorize(domain)
            .finish();
        assert_eq!(asks.unwrap_err(), ConfigError::DomainTooLong(256));
        let mut server =
            Config::builder(SocketType::Pull).curve_server(KeyPair::generate().unwrap());
        for _ in 0..4 {
            server = server.also_accept(KeyPair::generate().unwrap());
        }
        assert_eq!(
            error(server.accept_any_peer()),
            ConfigError::TooManyServerKeys(5)
        );
    }

    #[test]
    fn limits_that_make_no_sense_are_refused_by_name() {
        type Change = fn(&mut Limits);
        let bad: [(&str, Change); 15] = [
            ("greeting_timeout", |limits| {
                limits.greeting_timeout = Duration::ZERO
            }),
            ("handshake_timeout", |limits| {
                limits.handshake_timeout = Duration::ZERO
            }),
            ("verdict_timeout", |limits| {
                limits.verdict_timeout = Duration::ZERO
            }),
            ("max_handshake_command", |limits| {
                limits.max_handshake_command = 0
            }),
            ("max_handshake_command", |limits| {
                limits.max_handshake_command = 275
            }),
            ("max_handshake_command", |limits| {
                limits.max_handshake_command = usize::MAX
            }),
            ("max_message", |limits| limits.max_message = usize::MAX),
            ("max_message", |limits| limits.max_message = usize::MAX - 33),
            ("max_message", |limits| {
                limits.max_message = isize::MAX as usize + 1
            }),
            ("max_frames", |limits| limits.max_frames = 0),
            ("max_properties", |limits| limits.max_properties = 0),
            ("max_pending_handshakes", |limits| {
                limits.max_pending_handshakes = 0
            }),
            ("max_pending_verdicts", |limits| {
                limits.max_pending_verdicts = 0
            }),
            ("linger_bytes", |limits| limits.linger_bytes = usize::MAX),
            ("read_ahead", |limits| limits.read_ahead = usize::MAX),
        ];
        for (name, change) in bad {
            let mut limits = Limits::default();
            change(&mut limits);
            match null(SocketType::Pull).limits(limits).finish() {
                Err(ConfigError::Limit { limit, .. }) => assert_eq!(limit, name),
                other => panic!("{name}: {other:?}"),
            }
        }
        let good: [Change; 5] = [
            |limits| limits.max_message = 0,
            |limits| limits.max_message = isize::MAX as usize,
            |limits| limits.max_frames = 1,
            |limits| limits.max_frames = usize::MAX,
            |limits| limits.max_handshake_command = 276,
        ];
        for change in good {
            let mut limits = Limits::default();
            change(&mut limits);
            assert!(null(SocketType::Pull).limits(limits).finish().is_ok());
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let keys = KeyPair::generate().unwrap();
        let secret = keys.secret_key().to_z85();
        let text = format!(
            "{:?} {:?}",
            Config::builder(SocketType::Push)
                .plain_client("admin", "hunter2")
                .finish(),
            Config::builder(SocketType::Push)
                .curve_server(keys)
                .accept_any_peer()
                .finish(),
        );
        assert!(
            !text.contains("hunter2") && !text.contains(&*secret),
            "{text}"
        );
    }
}
