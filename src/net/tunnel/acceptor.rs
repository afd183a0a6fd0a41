//! A tunnel's bound side: takes connections, and gives each a task of its own.
#![forbid(unsafe_code)]

use crate::net::accept::acceptor::{AcceptOutcome, Acceptor};
use crate::net::accept::connection_limit::ConnectionLimit;
use crate::net::endpoint::{Endpoint, IntoEndpoint};
use crate::net::error::NetError;
use crate::net::negotiate::{Failed, warn_of_plain};
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

/// Security for a program that has none: what stunnel is to TLS.
///
/// A **server's** tunnel takes peers of CURVE or PLAIN from the network, has policy decide about
/// each, and connects those that pass to a local program, which speaks NULL. A **client's**
/// tunnel takes connections of NULL from local programs, and makes for each a connection of
/// CURVE or PLAIN to a server, which may have a tunnel of its own or speak for itself.
///
/// Every connection crosses alone, and whole: socket type, identity, properties, messages,
/// subscriptions, back-pressure and closing, whatever the pattern. So the program behind counts
/// its peers right, but sees the tunnel's address instead of theirs. It finds the user id that
/// policy has given in the property `User-Id`, which no peer can forge: see
/// [`PeerHandoff`](crate::relay::PeerHandoff).
///
/// Nothing is dialled for a peer that has not been admitted. When the far side refuses or is
/// lost, the local program sees its connection closed, and no ERROR, so that it comes back: a
/// libzmq socket would never try again after one.
///
/// A client's tunnel asks a far side that has failed again as
/// [`ReconnectPolicy`](crate::net::ReconnectPolicy) says, for all its programs together. Meanwhile
/// it keeps a program in its handshake, for half of
/// [`Limits::handshake_timeout`](crate::Limits::handshake_timeout), and closes then: a libzmq
/// socket that is closed at once would be back ten times a second. A refusal that the far side
/// gives after a program has said what it is (its socket type, identity and properties) holds up
/// only programs that say the same. The log has one line a minute about the failures of each user,
/// one for all users after the 64th, and at the end the number of those that it did not tell.
///
/// The clear side has no security: every process that reaches it is served. It is loopback or
/// ipc, unless [`TunnelOptions::allow_cleartext`] says otherwise; on a machine with other users
/// prefer ipc, whose file only its owner may open.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use zmtp_auth::net::{Connection, Listener, Tunnel, TunnelOptions};
/// use zmtp_auth::zap::{ZapRequest, ZapRouter};
/// use zmtp_auth::{Config, Domain, KeyPair, SocketType};
///
/// // A server that knows nothing of security, and its tunnel.
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
/// // A client that knows nothing of it either, and its tunnel.
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
/// Dropped, it ends at once, with all its connections: [`Tunnel::close`] does so in order.
#[derive(Debug)]
pub struct Tunnel {
    local: Endpoint,
    closing: watch::Sender<bool>,
    /// Whether everything was sent on.
    running: JoinHandle<bool>,
}

impl Tunnel {
    /// Binds `endpoint` for the network, and forwards the peers that policy admits to the program
    /// at `forward`. `security` is `(config, router)`, with the configuration of a PLAIN or CURVE
    /// server of type RELAY that authorizes peers. A server's tunnel always asks a handler; to
    /// admit every peer, bind a handler that does.
    ///
    /// # Errors
    /// Returns [`NetError::Tunnel`] if the configuration or the clear side is not allowed,
    /// [`NetError::Endpoint`] if a text is no endpoint, [`NetError::Resolve`] if a host name has no
    /// address, and [`NetError::Io`] if the system refuses.
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
        let back = Back {
            endpoint: forward,
            security: security.clear_side(),
            is_clear: true,
            backoff: None,
        };
        Self::start(&endpoint, security, back, options).await
    }

    /// Binds `endpoint` for the local programs, and forwards each of their connections to the
    /// server at `forward`. `security` is the configuration of a PLAIN or CURVE client of type
    /// RELAY.
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
        // A server proves a key and no name: there is none to make an identity of.
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
        // The peer's socket, and the one behind it.
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

    /// Where it is bound; the port, where the system chose it, is the real one.
    #[must_use]
    pub const fn local_endpoint(&self) -> &Endpoint {
        &self.local
    }

    /// Stops listening, and ends every connection in order: nothing more is taken from either
    /// side, what was taken is sent on, for [`Options::linger`](crate::net::Options::linger) at
    /// most without progress, then both sides are told that nothing more comes, and have as long
    /// again to read that and close. When this returns, all has ended.
    ///
    /// # Errors
    /// Returns [`NetError::Unsent`] if a side did not take what was on its way to it, so that
    /// messages were lost; the last may have been cut.
    pub async fn close(mut self) -> Result<(), NetError> {
        self.closing.send_replace(true);
        match (&mut self.running).await {
            Ok(false) => Err(NetError::Unsent),
            // A runtime that is gone has ended it already.
            Ok(true) | Err(_) => Ok(()),
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Takes connections until the tunnel is closed, and waits for the last of them to end; whether
/// all had everything sent on.
async fn run(shared: Arc<TunnelShared>, mut acceptor: Acceptor) -> bool {
    let mut close = shared.close.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            outcome = acceptor.next() => match outcome {
                AcceptOutcome::Accepted(accepted) => {
                    connections.spawn(Arc::clone(&shared).serve(accepted));
                }
                AcceptOutcome::NoSlot(context) => {
                    refuse(&context, Failed::no_slot());
                }
            },
            Some(_) = connections.join_next() => {}
            // An error means that the tunnel was dropped, and this task is about to end anyway.
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
