//! `AuthStream`: what a host sees.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::grant::Grant;
use crate::access::peer::Peer;
use crate::error::Stage;
use crate::host::alarm::Alarm;
use crate::host::clock::{Clock, deadline};
use crate::host::failed::Failed;
use crate::host::stream::driver::Driver;
use crate::host::stream::engine::{Adapter, Engine};
use crate::host::stream::machine::Machine;
use crate::host::stream::meeting::Meeting;
use crate::host::stream::pause::{Paused, failed, run_to_pause};
use crate::mechanism::session::PeerContext;
use crate::relay::handoff::IdentityRule;
use crate::security::Security;
use crate::traffic::heartbeat::HeartbeatSettings;
use std::fmt;
use std::future::Future;

/// Options of an [`AuthStream`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AuthStreamOptions {
    /// The PINGs that are sent to the network's peer; none by default. The peer's own PINGs are
    /// always answered.
    pub heartbeat: Option<HeartbeatSettings>,
    /// What the host is told as the identity of its peer. A server of which we are the client keeps the
    /// one that it claims.
    pub identity: IdentityRule,
}

impl AuthStreamOptions {
    /// Sets [`heartbeat`](Self::heartbeat).
    #[must_use]
    pub fn with_heartbeat(mut self, heartbeat: impl Into<Option<HeartbeatSettings>>) -> Self {
        self.heartbeat = heartbeat.into();
        self
    }

    /// Sets [`identity`](Self::identity).
    #[must_use]
    pub fn with_identity(mut self, identity: IdentityRule) -> Self {
        self.identity = identity;
        self
    }
}

/// A byte stream with security inside, for a ZMTP stack that knows NULL alone: the host.
///
/// It wraps the stream to the network, and is a stream itself. Towards the network it speaks the
/// mechanism of its [`Security`], with policy, limits, heartbeats and revocation. Towards the host it
/// speaks NULL, in the host's own version of ZMTP, 3.0 or 3.1. Both sides learn each other's socket
/// type, identity and properties. The host finds the user id that policy gave the peer as the property
/// `User-Id`; one that the peer claims itself is removed. See
/// [`PeerHandoff`](crate::relay::PeerHandoff).
///
/// With feature `tokio` it has tokio's [`AsyncRead`] and [`AsyncWrite`] if `S` has them, with feature
/// `futures-io` those of that crate. The socket type of the [`Security`] does not matter, because the
/// host sends its own.
///
/// ```
/// use tokio::net::TcpListener;
/// use zmtp_auth::host::AuthStream;
/// use zmtp_auth::zap::{ZapRequest, ZapRouter};
/// use zmtp_auth::{Config, Domain, KeyPair, Security, SocketType};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let router = ZapRouter::new();
/// router.bind("billing", async |request: ZapRequest| request.allow("alice"))?;
/// let config = Config::builder(SocketType::Pull)
///     .curve_server(KeyPair::generate()?)
///     .authorize(Domain::from("billing"))
///     .finish()?;
/// let security = Security::from((config, router));
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// # let to = listener.local_addr()?;
/// # let peer = async { drop(tokio::net::TcpStream::connect(to).await) };
/// # let serve = async {
/// let (stream, address) = listener.accept().await?;
/// let stream = AuthStream::accept(stream, address, &security).await?;
/// // Where the host took a TcpStream, it takes `stream`.
/// # drop(stream);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # };
/// # assert!(tokio::join!(peer, serve).1.is_err(), "the peer has left");
/// # Ok(())
/// # }
/// ```
///
/// # Polling
///
/// There is no task. A poll of either half carries in both directions what can be carried, and
/// whatever happens wakes whichever half waits. So a host that only writes still answers PINGs and
/// takes in messages, and one that only reads still sends what it has written. Reads and writes are
/// cancel-safe: a future that is dropped has taken nothing.
///
/// A host that does not poll at all is not carried for: PINGs wait, and a silent peer is not noticed.
/// A revocation closes the connection all the same, because policy does it itself.
///
/// # Memory
///
/// The stream takes nothing from one side while the other has no room. Towards each side it holds at
/// most 512 KiB and two messages, since a message is passed on whole.
///
/// # End
///
/// - A flush waits until the network has taken all whole messages that were written.
/// - A shutdown flushes, and then tells the peer that nothing more follows. Reads go on until the peer
///   closes too. Dropping the stream without a shutdown loses what the network has not taken.
/// - If the peer closes, reads return what it had sent, and then the end. Writes go on.
/// - If the peer breaks the protocol, or is silent for longer than the heartbeat allows, the connection
///   is closed. Reads return what it had sent before, and then fail with [`StreamError`] as the cause.
/// - If policy revokes the peer's admission, the connection is closed at once, and nothing more that the
///   peer has sent is read.
/// - If the handshake fails, reads and writes fail with [`Failed`] as the cause.
///
/// [`AsyncRead`]: https://docs.rs/tokio/latest/tokio/io/trait.AsyncRead.html
/// [`AsyncWrite`]: https://docs.rs/tokio/latest/tokio/io/trait.AsyncWrite.html
/// [`StreamError`]: crate::host::StreamError
pub struct AuthStream<S> {
    pub(crate) engine: Engine<S>,
}

impl<S: Send + 'static> AuthStream<S> {
    /// Conducts the handshake with the network's peer until it waits for what the host says.
    pub(crate) async fn meet<A: Adapter<S>>(
        mut stream: S,
        context: PeerContext,
        security: &Security,
        options: &AuthStreamOptions,
        clock: impl Clock<Sleep: Send + 'static> + Send + Sync + 'static,
    ) -> Result<Self, Failed> {
        let security = security.relay_side();
        let meet_until = deadline(clock.now(), security.limits().handshake_timeout);
        let (address, port) = (context.address.clone(), context.port);
        let Paused {
            pause,
            arrived,
            subject,
        } = run_to_pause(&mut A::adapt(&mut stream), &clock, &security, context).await?;
        let peer = pause.peer((address.clone(), port));
        let grant = pause.authenticated().and_then(|known| known.grant.clone());
        let meeting = Meeting::new(pause, options.identity, &security.clear_side(), address);
        let (meeting, to_host) =
            meeting.map_err(|error| failed(Stage::Metadata, error, subject.clone()))?;
        let machine = Machine::new(
            (meeting, meet_until),
            (arrived, to_host),
            (peer, subject),
            (security.limits(), options.heartbeat),
        );
        Ok(Self {
            engine: Engine::new(stream, Driver::new(machine, Alarm::new(clock), grant)),
        })
    }

    /// As [`AuthStream::meet`], on a connection that we have opened. Its address is not known.
    pub(crate) async fn connect_by<A: Adapter<S>>(
        stream: S,
        security: &Security,
        options: &AuthStreamOptions,
        clock: impl Clock<Sleep: Send + 'static> + Send + Sync + 'static,
    ) -> Result<Self, Failed> {
        let mut context = PeerContext::new(PeerAddress::from_zap(b""));
        context.sends_first = true;
        Self::meet::<A>(stream, context, security, options, clock).await
    }

    /// The network's peer: what it has proven, and what it claims.
    ///
    /// A server knows its peer at once. A client knows it when the server has sent its READY, and has
    /// `None` before, and so has NULL after `connect`. After `connect` the address is empty.
    #[must_use]
    pub fn peer(&self) -> Option<&Peer> {
        self.engine.driver().machine.peer()
    }

    /// Gives `look` the stream to the network. Returns `None` once that is closed by a failure or a
    /// revocation. A revocation that comes meanwhile closes it when `look` returns.
    pub fn get_ref<T>(&self, look: impl FnOnce(&S) -> T) -> Option<T> {
        self.engine.link().borrow().get().map(look)
    }

    /// Resolves once policy has revoked the peer's admission, which has closed the connection. It never
    /// resolves if policy was not asked. The future does not borrow the stream. Cancel-safe.
    pub fn closed_by_policy(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<S> {
        let revoked = self.engine.driver().grant().map(Grant::revoked_owned);
        async move {
            match revoked {
                Some(revoked) => revoked.await,
                None => std::future::pending().await,
            }
        }
    }
}

impl<S> fmt::Debug for AuthStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthStream")
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}
