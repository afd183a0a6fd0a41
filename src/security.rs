//! How a socket proves itself and who decides about its peers, in one value for every host.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::access::request::AccessRequest;
use crate::access::verdict::Verdict;
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::rule::Rule;
use crate::auth::sync::block_on::block_on;
use crate::config::config_error::ConfigError;
use crate::config::settings::{Authorizing, Config, Erased, NoPolicy};
use crate::handshake::Handshake;
use crate::limits::Limits;
use crate::mechanism::machine::{AwaitGreeting, Mechanism};
use crate::mechanism::session::{PeerContext, checked_socket};
use crate::status::DenialStatus;
use crate::wire::socket_type::SocketType;
use crate::zap::router::ZapRouter;
use bytes::{Bytes, BytesMut};
use std::fmt;

/// The security of one socket, complete: its [`Config`] and, if the configuration authorizes
/// peers, the [`Authenticator`] or [`ZapRouter`] that is asked. Shared by all connections of the socket
/// and cheap to clone.
///
/// The builder of a configuration tracks in types what a socket does about its peers. A `Security`
/// erases these types, so that a host stores and passes on one plain type. There are three ways to
/// make one, and none can leave out the decision:
///
/// | from | peers |
/// |---|---|
/// | `Config<NoPolicy>` | any peer that completes the handshake; a client with CURVE pins its server's key |
/// | `(Config<Authorizing>, Authenticator)` | those that the policy admits, by a router of its own |
/// | `(Config<Authorizing>, ZapRouter)` | those that the router admits: for handlers of your own, for different ones by domain, and for one bound on questions that many sockets share |
///
/// ```
/// use zmtp_auth::zap::{ZapRequest, ZapRouter};
/// use zmtp_auth::{Config, Domain, KeyPair, Security, SocketType};
///
/// let router = ZapRouter::new();
/// router.bind("billing", async |request: ZapRequest| request.allow("alice"))?;
/// let config = Config::builder(SocketType::Pull)
///     .curve_server(KeyPair::generate()?)
///     .authorize(Domain::from("billing"))
///     .finish()?;
/// let security = Security::from((config, router));
/// assert!(security.is_server());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A configuration that authorizes peers does not become a `Security` without one of them. This does
/// not compile:
///
/// ```compile_fail,E0277
/// use zmtp_auth::{Config, Domain, Security, SocketType};
///
/// let config = Config::builder(SocketType::Pull).null().authorize(Domain::EMPTY).finish()?;
/// let security = Security::from(config);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Security {
    config: Config<Erased>,
    /// Present exactly if the configuration authorizes peers.
    router: Option<ZapRouter>,
    /// The policy that the router asks about every domain, if it is known.
    policy: Option<Authenticator>,
    /// Type and identity that replace the configuration's.
    socket: Option<(SocketType, Bytes)>,
}

impl From<Config<NoPolicy>> for Security {
    fn from(config: Config<NoPolicy>) -> Self {
        Self {
            config: config.erase(),
            router: None,
            policy: None,
            socket: None,
        }
    }
}

impl From<(Config<Authorizing>, ZapRouter)> for Security {
    fn from((config, router): (Config<Authorizing>, ZapRouter)) -> Self {
        Self {
            config: config.erase(),
            router: Some(router),
            policy: None,
            socket: None,
        }
    }
}

/// The policy is asked about every domain, by a router that nothing else uses.
impl From<(Config<Authorizing>, Authenticator)> for Security {
    fn from((config, policy): (Config<Authorizing>, Authenticator)) -> Self {
        let router = ZapRouter::with_limits(config.limits());
        // It cannot fail: a new router has no other handler.
        let _ = router.bind(Domain::ALL, policy.clone());
        Self {
            policy: Some(policy),
            ..Self::from((config, router))
        }
    }
}

impl Security {
    /// The socket's type. `None` if each connection says it ([`Config::untyped_builder`]).
    #[must_use]
    pub fn socket_type(&self) -> Option<SocketType> {
        match &self.socket {
            Some((socket_type, _)) => Some(*socket_type),
            None => self.config.socket_type(),
        }
    }

    /// The same for a socket of this type and identity (routing id), which may be empty. They replace
    /// those of the configuration for every connection that does not say its own
    /// ([`PeerContext::for_socket`]). So one configuration serves sockets of several types.
    ///
    /// # Errors
    /// As [`PeerContext::for_socket`].
    pub fn for_socket(
        &self,
        socket_type: SocketType,
        identity: impl Into<Bytes>,
    ) -> Result<Self, ConfigError> {
        let socket = checked_socket(socket_type, identity.into())?;
        Ok(Self {
            socket: Some(socket),
            ..self.clone()
        })
    }

    /// The mechanism.
    #[must_use]
    pub fn mechanism(&self) -> MechanismKind {
        self.config.mechanism()
    }

    /// Whether this is the server of PLAIN or CURVE. NULL has no roles.
    #[must_use]
    pub fn is_server(&self) -> bool {
        self.config.is_server()
    }

    /// The bounds on memory and time.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.config.limits()
    }

    /// The same, but announcing ZMTP 3.0: [`Builder::zmtp_3_0`](crate::Builder::zmtp_3_0) for a host that
    /// knows no 3.1, whatever its users have configured.
    #[must_use]
    pub fn zmtp_3_0(mut self) -> Self {
        self.config = self.config.zmtp_3_0();
        self
    }

    /// Begins a handshake over a byte stream, as [`Handshake::start`] does.
    pub fn start(&self, context: PeerContext, out: &mut BytesMut) -> Handshake {
        Handshake::start(&self.config, self.complete(context), out)
    }

    /// Begins a handshake for a host with its own ZMTP codec, as [`Mechanism::start`] does.
    #[must_use]
    pub fn await_greeting(&self, context: PeerContext) -> AwaitGreeting {
        Mechanism::start(&self.config, self.complete(context))
    }

    /// Adds the type and the identity of the socket, unless the connection says its own.
    fn complete(&self, mut context: PeerContext) -> PeerContext {
        if context.socket.is_none() {
            context.socket.clone_from(&self.socket);
        }
        context
    }

    /// Asks the router about a peer: the answer to [`Handshake::Authorize`] and
    /// [`Next::Authorize`](crate::mechanism::Next::Authorize). Nothing is logged, because a
    /// denial comes back as the handshake's error and the host logs that one.
    ///
    /// Without a router, which no handshake of this `Security` asks for, the peer is denied with
    /// [`DenialStatus::Internal`].
    ///
    /// The router bounds the time of a handler on tokio's runtime. Elsewhere the caller bounds it
    /// with [`Limits::verdict_timeout`]. Dropping the future cancels the question and frees its
    /// permit.
    pub async fn authorize(&self, request: &AccessRequest) -> Verdict {
        match &self.router {
            Some(router) => router.verdict(request).await,
            None => Verdict::deny(DenialStatus::Internal, "no ZAP handler to ask"),
        }
    }

    /// As [`Security::authorize`], for a thread without a runtime. Blocks for at most
    /// [`Limits::verdict_timeout`]; a peer without an answer by then is denied with
    /// [`DenialStatus::Temporary`].
    pub fn authorize_blocking(&self, request: &AccessRequest) -> Verdict {
        let time = self.limits().verdict_timeout;
        block_on(self.authorize(request), time).unwrap_or_else(|| {
            Verdict::deny(DenialStatus::Temporary, "the ZAP handler took too long")
        })
    }

    /// Whether a router decides about the peers. If not, any peer that completes the handshake is
    /// admitted, and no peer has a user id.
    #[must_use]
    pub const fn asks_router(&self) -> bool {
        self.router.is_some()
    }

    /// [`Rule::Unclaimed`] if the policy has no rule now for the mechanism in the domain, which may be
    /// misspelt. Every peer is refused then. A host logs it when it binds, as the listeners of `net` do.
    ///
    /// `None` if there is a rule, even one that admits no peer, such as that of an empty directory, and if
    /// the policy is behind a [`ZapRouter`] of the caller's own.
    #[must_use]
    pub fn missing_rule(&self) -> Option<Rule> {
        let domain = self.config.domain()?;
        self.policy.as_ref()?.unclaimed(self.mechanism(), domain)
    }

    /// The same for a relay, which learns its metadata from another connection.
    #[cfg(any(feature = "futures-io", feature = "tokio"))]
    pub(crate) fn relay_side(&self) -> Self {
        Self {
            config: self.config.relay_side(),
            router: self.router.clone(),
            policy: self.policy.clone(),
            socket: None,
        }
    }

    /// NULL with the same limits, for any peer: the side of a tunnel without security.
    #[cfg(any(feature = "futures-io", feature = "tokio"))]
    pub(crate) fn clear_side(&self) -> Self {
        self.config.clear_side().into()
    }
}

impl fmt::Debug for Security {
    /// Without the policy, which may be large.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Security")
            .field("config", &self.config)
            .field("router", &self.router)
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::address::PeerAddress;
    use crate::access::credentials::Credentials;
    use crate::zap::request::ZapRequest;
    use std::future::pending;
    use std::time::Duration;

    fn request() -> AccessRequest {
        AccessRequest::new(
            Domain::EMPTY,
            PeerAddress::from_zap(b"127.0.0.1"),
            Credentials::Null,
        )
    }

    fn asking(router: ZapRouter, verdict_timeout: Duration) -> Security {
        let limits = Limits {
            verdict_timeout,
            ..Limits::default()
        };
        let config = Config::builder(SocketType::Pull).limits(limits).null();
        Security::from((config.authorize(Domain::EMPTY).finish().unwrap(), router))
    }

    fn denied(verdict: Verdict) -> Option<DenialStatus> {
        match verdict {
            Verdict::Deny(denied) => Some(denied.status),
            Verdict::Allow(_) => None,
        }
    }

    #[test]
    fn a_security_is_shared_among_threads() {
        fn shared<T: Clone + std::fmt::Debug + Send + Sync + 'static>() {}
        shared::<Security>();
    }

    #[test]
    fn one_configuration_serves_sockets_of_several_types() {
        let config = Config::untyped_builder().null().accept_any_peer();
        let security = Security::from(config.finish().unwrap());
        assert_eq!(security.socket_type(), None);
        let router = security.for_socket(SocketType::Router, "me").unwrap();
        assert_eq!(router.socket_type(), Some(SocketType::Router));
        let push = router.for_socket(SocketType::Push, "").unwrap();
        assert_eq!(push.socket_type(), Some(SocketType::Push));
        assert_eq!(
            router.for_socket(SocketType::Relay, "").unwrap_err(),
            ConfigError::RelayMetadata
        );
    }

    #[test]
    fn without_a_router_every_peer_is_denied() {
        let config = Config::builder(SocketType::Pull).null().accept_any_peer();
        let security = Security::from(config.finish().unwrap());
        let verdict = security.authorize_blocking(&request());
        assert_eq!(denied(verdict), Some(DenialStatus::Internal));
        assert!(!security.asks_router());
        assert!(asking(ZapRouter::new(), Duration::from_millis(10)).asks_router());
    }

    #[test]
    fn a_policy_decides_without_a_router_of_the_program() {
        let policy = Authenticator::new();
        policy
            .configure_plain("billing", [("alice", "secret")])
            .unwrap();
        let config = Config::builder(SocketType::Pull).plain_server();
        let config = config.authorize("billing").finish().unwrap();
        let security = Security::from((config, policy));
        let ask = |domain: &'static str, password: &'static str| {
            let credentials = Credentials::Plain {
                username: "alice".into(),
                password: password.into(),
            };
            let address = PeerAddress::from_zap(b"127.0.0.1");
            let request = AccessRequest::new(domain, address, credentials);
            denied(security.authorize_blocking(&request))
        };
        assert!(security.asks_router());
        assert_eq!(ask("billing", "secret"), None);
        assert_eq!(ask("billing", "wrong"), Some(DenialStatus::Failure));
        assert_eq!(ask("other", "secret"), Some(DenialStatus::Failure));
    }

    #[test]
    fn the_router_decides_and_only_so_long() {
        let router = ZapRouter::new();
        let security = asking(router.clone(), Duration::from_millis(10));
        let ask = || denied(security.authorize_blocking(&request()));
        assert_eq!(ask(), Some(DenialStatus::Internal), "no handler is bound");
        let allow = async |request: ZapRequest| request.allow("alice");
        router.bind(Domain::EMPTY, allow).unwrap();
        assert_eq!(ask(), None);
        router.unbind(&Domain::EMPTY);
        router.bind(Domain::EMPTY, |_| pending()).unwrap();
        assert_eq!(ask(), Some(DenialStatus::Temporary));
        assert_eq!(router.in_progress(), 0);
    }
}
