//! The bound side of a tunnel: accepts connections and gives each a task of its own.
#![forbid(unsafe_code)]

use crate::net::accept::acceptor::{AcceptOutcome, Acceptor};
use crate::net::accept::connection_limit::ConnectionLimit;
use crate::net::endpoint::{Endpoint, IntoEndpoint};
use crate::net::error::NetError;
use crate::net::negotiate::{Failed, warn_of_no_rule, warn_of_plain};
use crate::net::span::connection_span;
use crate::net::tunnel::far_side_backoff::FarSideBackoff;
use crate::net::tunnel::options::{TunnelOptions, require_client, require_server};
use crate::net::tunnel::rate_limited_log::RateLimitedLog;
use crate::net::tunnel::session::{Back, TunnelShared, refuse};
use crate::net::tunnel::user_ids::UserIds;
use crate::relay::handoff::IdentityRule;
use crate::security::Security;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tracing::Instrument;

/// Security for a program that has none, as stunnel provides it for TLS.
///
/// A **server's** tunnel accepts peers with CURVE or PLAIN from the network, asks policy about
/// each, and connects those that are admitted to a local program, which speaks NULL. A **client's**
/// tunnel accepts NULL connections from local programs. For each it makes a connection with CURVE
/// or PLAIN to a server, which may have a tunnel of its own.
///
/// Each connection crosses the tunnel on its own and in full: socket type, identity, properties,
/// messages, subscriptions, back-pressure and closing, for every pattern. So the program behind the
/// tunnel sees one connection per peer, but the tunnel's address instead of the peer's. It finds
/// the user id that policy assigned in the property `User-Id`, which no peer can forge; see
/// [`PeerHandoff`](crate::relay::PeerHandoff).
///
/// The tunnel dials nothing for a peer that has not been admitted. When the far side refuses or is
/// lost, the tunnel closes the connection of the local program without an ERROR, so that the
/// program connects again. A libzmq socket never tries again after an ERROR.
///
/// After a failure, a client's tunnel dials the far side again with the delays of
/// [`ReconnectPolicy`](crate::net::ReconnectPolicy), shared by all its programs. Meanwhile it keeps
/// a program in its handshake for half of
/// [`Limits::handshake_timeout`](crate::Limits::handshake_timeout) and then closes the connection.
/// A libzmq socket that is closed at once would connect ten times a second. A refusal that comes
/// after the far side knows the socket type, identity and properties of a program holds up only
/// programs with the same ones.
///
/// The log has one line a minute about the failures of each user, one line a minute for all users
/// after the 64th, and at the end the number of failures that were not logged.
///
/// The clear side has no security: every process that reaches it is served. It is loopback or ipc,
/// unless [`TunnelOptions::allow_cleartext`] is set. On a machine with other users prefer ipc,
/// whose file only its owner may open.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use zmtp_auth::net::{Connection, Listener, Tunnel, TunnelOptions};
/// use zmtp_auth::zap::{ZapRequest, ZapRouter};
/// use zmtp_auth::{Config, Domain, KeyPair, SocketType};
///
/// // A server without security, and its tunnel.
/// let pull = Config::builder(SocketType::Pull).null().accept_any_peer().finish()?;
/// let program = Listener::bind("tcp://127.0.0.1:*", pull).await?;
/// let router = ZapRouter::new();
/// router.bind("pull", async |request: ZapRequest| request.allow("alice"))?;
/// let keys = KeyPair::generate()?;
/// let network = Config::builder(SocketType::Relay)
///     .curve_server(keys.clone())
///     .authorize(Domain::from("pull"))
///     .finish()?;
/// let forward = program.local_endpoint();
/// let server =
///     Tunnel::server("tcp://127.0.0.1:*", forward, (network, router), TunnelOptions::default())
///         .await?;
///
/// // A client without security, and its tunnel.
/// let network = Config::builder(SocketType::Relay)
///     .curve_client(KeyPair::generate()?, keys.public_key())
///     .finish()?;
/// let forward = server.local_endpoint();
/// let client =
///     Tunnel::client("tcp://127.0.0.1:*", forward, network, TunnelOptions::default()).await?;
/// let push = Config::builder(SocketType::Push).null().accept_any_peer().finish()?;
/// let mut push = Connection::connect(client.local_endpoint(), push).await?;
/// push.send("hello").await?;
///
/// let mut pull = program.accept().await?;
/// assert_eq!(pull.recv_message().await?.frames(), ["hello"]);
/// assert_eq!(pull.peer().claims.properties.get("User-Id").unwrap(), "alice");
/// # Ok(()) }
/// ```
///
/// Dropping it ends the tunnel and all its connections at once. [`Tunnel::close`] ends them in
/// order.
#[derive(Debug)]
pub struct Tunnel {
    local: Endpoint,
    closing: watch::Sender<bool>,
    /// Returns whether everything was sent on.
    running: JoinHandle<bool>,
}

impl Tunnel {
    /// Binds `endpoint` for the network, and forwards the peers that policy admits to the program
    /// at `forward`. `security` is `(config, router)`, with the configuration of a PLAIN or CURVE
    /// server of type RELAY that authorizes peers. A server's tunnel always asks a handler; to
    /// admit every peer, bind a handler that does.
    ///
    /// Cancel-safe: dropping the future frees the endpoint.
    ///
    /// # Errors
    /// Returns [`NetError::Tunnel`] if the configuration or the clear side is not allowed,
    /// [`NetError::Endpoint`] if a text is not an endpoint, [`NetError::Resolve`] if a host name has no
    /// address, and [`NetError::Bind`] if the system refuses.
    pub async fn server(
        endpoint: impl IntoEndpoint,
        forward: impl IntoEndpoint,
        security: impl Into<Security>,
        options: TunnelOptions,
    ) -> Result<Self, NetError> {
        let (endpoint, forward) = (endpoint.into_endpoint()?, forward.into_endpoint()?);
        let security = security.into();
        require_server(&security)?;
        options.require_local(&forward)?;
        warn_of_plain(&endpoint, &security);
        warn_of_no_rule(&endpoint, &security);
        let back = Back {
            endpoint: forward,
            security: security.clear_side(),
            is_clear: true,
            backoff: None,
        };
        Self::start(&endpoint, security, back, options).await
    }

    /// Binds `endpoint` for local programs, and forwards each of their connections to the server at
    /// `forward`. `security` is the configuration of a PLAIN or CURVE client of type
    /// RELAY. Cancel-safe, as [`Tunnel::server`].
    ///
    /// # Errors
    /// As [`Tunnel::server`].
    pub async fn client(
        endpoint: impl IntoEndpoint,
        forward: impl IntoEndpoint,
        security: impl Into<Security>,
        options: TunnelOptions,
    ) -> Result<Self, NetError> {
        let (endpoint, forward) = (endpoint.into_endpoint()?, forward.into_endpoint()?);
        let security = security.into();
        require_client(&security)?;
        options.require_local(&endpoint)?;
        warn_of_plain(&forward, &security);
        let front = security.clear_side();
        let backoff = FarSideBackoff::new(options.sockets.reconnect.clone(), security.mechanism());
        let back = Back {
            endpoint: forward,
            security,
            is_clear: false,
            backoff: Some(backoff),
        };
        // A server proves a key but has no user id that could serve as an identity.
        let options = TunnelOptions {
            identity: IdentityRule::Pass,
            ..options
        };
        Self::start(&endpoint, front, back, options).await
    }

    async fn start(
        endpoint: &Endpoint,
        security: Security,
        back: Back,
        options: TunnelOptions,
    ) -> Result<Self, NetError> {
        back.endpoint.require_connectable()?;
        let max_slots = security.limits().max_pending_handshakes;
        // Two descriptors: the socket in front and the one behind.
        let connections = ConnectionLimit::new(security.limits(), 2);
        let (acceptor, local) = Acceptor::bind(endpoint, &options.sockets, max_slots).await?;
        tracing::debug!(endpoint = %local, forward = %back.endpoint, "tunnel open");
        let (closing, close) = watch::channel(false);
        let shared = Arc::new(TunnelShared {
            security,
            back,
            options,
            connections,
            close,
            user_ids: UserIds::default(),
            user_ids_log: RateLimitedLog::new("peers of one user id"),
            forward_log: RateLimitedLog::new("peers that could not be forwarded"),
            limit_log: RateLimitedLog::new("messages over a limit"),
        });
        let running = tokio::spawn(run(shared, acceptor));
        Ok(Self {
            local,
            closing,
            running,
        })
    }

    /// The endpoint that is bound, with the real port if the system chose it.
    #[must_use]
    pub const fn local_endpoint(&self) -> &Endpoint {
        &self.local
    }

    /// Stops listening and ends every connection in order. The tunnel reads nothing more from
    /// either side and sends on what it has read, for at most
    /// [`Options::linger`](crate::net::Options::linger) without progress. Then it tells both sides
    /// that nothing follows, and they have as long again to close. When this returns, all
    /// connections have ended.
    ///
    /// # Errors
    /// Returns [`NetError::Unsent`] if a side did not take what was on its way to it. Messages were
    /// lost then, and the last one may have been cut.
    pub async fn close(mut self) -> Result<(), NetError> {
        self.closing.send_replace(true);
        match (&mut self.running).await {
            Ok(false) => Err(NetError::Unsent),
            // A runtime that is gone has ended the tunnel already.
            Ok(true) | Err(_) => Ok(()),
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Accepts connections until the tunnel is closed, then waits for all of them to end. Returns
/// whether everything was sent on.
async fn run(shared: Arc<TunnelShared>, mut acceptor: Acceptor) -> bool {
    let mut close = shared.close.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            outcome = acceptor.next() => match outcome {
                AcceptOutcome::Accepted(accepted) => {
                    let span = connection_span(&accepted.context);
                    let serving = Arc::clone(&shared).serve(accepted, span.clone());
                    connections.spawn(serving.instrument(span));
                }
                AcceptOutcome::NoSlot(context) => {
                    let span = connection_span(&context);
                    span.in_scope(|| refuse(&context, Failed::no_slot()));
                }
            },
            Some(_) = connections.join_next() => {}
            // An error means that the tunnel was dropped, which aborts this task anyway.
            _ = close.wait_for(|close| *close) => break,
        }
    }
    drop(acceptor);
    let mut all_sent = true;
    while let Some(ended) = connections.join_next().await {
        all_sent &= ended.unwrap_or(true);
    }
    tracing::debug!("tunnel closed");
    all_sent
}
