//! A bound endpoint: accepts connections, conducts their handshakes concurrently, and hands out the
//! peers that succeeded.
#![forbid(unsafe_code)]

use crate::error::Stage;
use crate::host::subject::Subject;
use crate::host::wiped_buffer::HandshakeBytes;
use crate::mechanism::session::PeerContext;
use crate::net::accept::acceptor::{AcceptOutcome, Accepted, Acceptor};
use crate::net::accept::connection_limit::ConnectionLimit;
use crate::net::accept::inbound::InboundPeer;
use crate::net::accept::slots::Loss;
use crate::net::connection::handle::Connection;
use crate::net::connection::queues::own_queue;
use crate::net::endpoint::{Endpoint, IntoEndpoint};
use crate::net::error::NetError;
use crate::net::listener::events::{Event, Events, Refusal};
use crate::net::negotiate::{Failed, Negotiation, typed, warn_of_no_rule, warn_of_plain};
use crate::net::options::Options;
use crate::net::span::connection_span;
use crate::security::Security;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tracing::{Instrument, Span};

/// A bound endpoint.
///
/// Handshakes are conducted in the background, at most
/// [`Limits::max_pending_handshakes`](crate::Limits::max_pending_handshakes) at a time. When all
/// slots are taken, a new connection gets the slot of the oldest silent handshake of the busiest
/// address, so idle connections cannot lock other peers out. Connections are bounded too, by the
/// file descriptors of the process or by
/// [`Limits::max_connections`](crate::Limits::max_connections). A connection counts from its
/// admission until its socket is closed, whether the application has accepted it or not.
///
/// Dropping it stops listening and ends the handshakes in progress. The runtime does this some time
/// later; [`Listener::close`] waits for it. Connections live on.
#[derive(Debug)]
pub struct Listener {
    local: Endpoint,
    events: Arc<Events>,
    accepting: JoinHandle<()>,
}

/// The work of a connection.
type Driving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the handshakes of a listener share.
struct ListenerShared {
    security: Security,
    options: Options,
    events: Arc<Events>,
    connections: ConnectionLimit,
}

impl Listener {
    /// Binds `endpoint`, with default [`Options`].
    ///
    /// `security` is a `Config<NoPolicy>`. For a configuration that authorizes peers it is
    /// `(config, policy)`: the [`Authenticator`](crate::auth::Authenticator) or
    /// [`ZapRouter`](crate::zap::ZapRouter) that is asked about each of them.
    ///
    /// Cancel-safe: dropping the future frees the endpoint.
    ///
    /// # Errors
    /// Returns [`NetError::Endpoint`] if the text is not an endpoint, [`NetError::Resolve`] if a host
    /// name has no address, [`NetError::Bind`] if the system refuses, and [`NetError::SocketTypeMissing`] if
    /// the configuration is of no type ([`Config::untyped_builder`](crate::Config::untyped_builder)).
    pub async fn bind(
        endpoint: impl IntoEndpoint,
        security: impl Into<Security>,
    ) -> Result<Self, NetError> {
        Self::bind_with(endpoint, security, Options::default()).await
    }

    /// As [`Listener::bind`], with `options`. Cancel-safe.
    ///
    /// # Errors
    /// As [`Listener::bind`].
    pub async fn bind_with(
        endpoint: impl IntoEndpoint,
        security: impl Into<Security>,
        options: Options,
    ) -> Result<Self, NetError> {
        let (endpoint, security) = (endpoint.into_endpoint()?, typed(security)?);
        let max_slots = security.limits().max_pending_handshakes;
        let (acceptor, local) = Acceptor::bind(&endpoint, &options, max_slots).await?;
        warn_of_plain(&local, &security);
        warn_of_no_rule(&local, &security);
        tracing::debug!(endpoint = %local, mechanism = %security.mechanism(), "listening");
        let events = Arc::new(Events::new(options.refusals_kept, options.accept_ahead));
        let connections = ConnectionLimit::new(security.limits(), 1);
        let shared = Arc::new(ListenerShared {
            security,
            options,
            events: Arc::clone(&events),
            connections,
        });
        let accepting = tokio::spawn(shared.run(acceptor));
        Ok(Self {
            local,
            events,
            accepting,
        })
    }

    /// The endpoint that is bound, with the real port if the system chose it.
    #[must_use]
    pub const fn local_endpoint(&self) -> &Endpoint {
        &self.local
    }

    /// The next authenticated peer. Skips the refusals that [`Listener::next_event`] would return
    /// before it. Several tasks may wait. Cancel-safe: a peer stays queued until it is returned.
    ///
    /// # Errors
    /// Returns [`NetError::Aborted`] if the runtime that the listener was bound on is gone.
    pub async fn accept(&self) -> Result<Connection, NetError> {
        loop {
            if let Event::Accepted(connection) = self.next_event().await? {
                return Ok(*connection);
            }
        }
    }

    /// The next outcome of a handshake, an accepted peer or a refusal. The latest
    /// [`Options::refusals_kept`] refusals are kept. Cancel-safe, as [`Listener::accept`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use zmtp_auth::net::{Connection, Listener};
    /// # use zmtp_auth::{Config, SocketType};
    /// # let pair = || Config::builder(SocketType::Pair).null().accept_any_peer().finish();
    /// # let listener = Listener::bind("tcp://127.0.0.1:*", pair()?).await?;
    /// # let _client = Connection::connect(listener.local_endpoint(), pair()?).await?;
    /// use zmtp_auth::net::Event;
    ///
    /// match listener.next_event().await? {
    ///     Event::Accepted(connection) => println!("accepted {:?}", connection.peer()),
    ///     Event::Refused(refusal) => println!("refused: {:?}", refusal.error),
    ///     _ => {}
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Listener::accept`].
    pub async fn next_event(&self) -> Result<Event, NetError> {
        match self.events.next().await {
            None => Err(NetError::Aborted),
            // Policy may have changed since the handshake, while this peer was queued.
            Some(Event::Accepted(connection)) if !connection.is_admitted() => {
                let peer = connection.peer();
                let context = PeerContext::new(peer.address.clone()).with_port(peer.port);
                let refusal = Refusal::new(
                    &context,
                    Subject::of(peer),
                    Stage::Verdict,
                    NetError::Revoked,
                );
                refusal.log();
                Ok(Event::Refused(refusal))
            }
            Some(event) => Ok(event),
        }
    }

    /// Stops listening and ends the handshakes in progress. When this returns, the endpoint is free
    /// again and an ipc socket's file is removed. Cancel-safe: dropping the future does the same in
    /// the background.
    pub async fn close(mut self) {
        self.accepting.abort();
        // Aborted above; the JoinError is expected.
        let _ = (&mut self.accepting).await;
    }

    /// The number of refusals that were dropped because the application did not read them in time.
    #[must_use]
    pub fn refusals_dropped(&self) -> u64 {
        self.events.dropped()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Tells the tasks that wait for events that none follows, even if the accepting task is aborted.
struct EndOfEvents(Arc<Events>);

impl Drop for EndOfEvents {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl ListenerShared {
    /// Accepts connections until the task is aborted. Aborting drops the acceptor with its table of
    /// slots, which ends the handshakes in progress.
    async fn run(self: Arc<Self>, mut acceptor: Acceptor) {
        let _end = EndOfEvents(Arc::clone(&self.events));
        loop {
            self.events.room().await;
            match acceptor.next().await {
                AcceptOutcome::Accepted(accepted) => {
                    // Each in a box of its own: a connection does not hold the memory of its
                    // handshake, nor a handshake that of the connection that it may become.
                    let span = connection_span(&accepted.context);
                    let receiving = Box::pin(Arc::clone(&self).receive(accepted, span.clone()));
                    let serving = async move {
                        if let Some(driving) = receiving.await {
                            driving.await;
                        }
                    };
                    tokio::spawn(serving.instrument(span));
                }
                AcceptOutcome::NoSlot(context) => {
                    let refuse = || self.refuse(&context, Failed::no_slot());
                    connection_span(&context).in_scope(refuse);
                }
            }
        }
    }

    /// Conducts one handshake. Its task goes on as the driver of the connection, because spawning
    /// another task would cost a turn of the runtime.
    async fn receive(self: Arc<Self>, mut accepted: Accepted, span: Span) -> Option<Driving> {
        let context = accepted.context.clone();
        let (outcome, permit) = {
            let inbound = InboundPeer {
                address: &context.address,
                slot: &accepted.place.slot,
                connections: &self.connections,
            };
            let mut negotiation =
                Negotiation::new(&accepted.stream, &self.security, &span, Some(inbound));
            let outcome = tokio::select! {
                outcome = negotiation.run(context.clone()) => outcome,
                loss = accepted.place.eviction.lost() => match loss {
                    Loss::Evicted(error) => {
                        accepted.stream.reset_when_closed();
                        Err(negotiation.failed(error))
                    }
                    Loss::Closed => return None,
                },
            };
            (outcome, negotiation.take_permit())
        };
        match outcome {
            Ok(agreed) => {
                tracing::debug!("peer accepted");
                let stream = accepted.stream;
                let (security, options) = (&self.security, &self.options);
                let to_send = own_queue(options, agreed.established.socket_type);
                let (connection, driver) =
                    Connection::with_driver(stream, agreed, security, options, to_send, permit);
                self.events.accepted(connection);
                Some(Box::pin(driver.run()))
            }
            Err(failed) => {
                let error_frame = self.refuse(&context, failed);
                if !error_frame.is_empty() {
                    let limits = self.security.limits();
                    accepted.close_gracefully(error_frame, limits).await;
                }
                None
            }
        }
    }

    /// Logs and queues a refusal. Returns the ERROR that the peer should still get to read.
    fn refuse(&self, context: &PeerContext, failed: Failed) -> HandshakeBytes {
        let refusal = Refusal::new(context, *failed.subject, failed.stage, failed.error);
        refusal.log();
        self.events.refused(refusal);
        failed.error_frame
    }
}
