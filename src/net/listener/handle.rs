//! A bound endpoint: takes connections, conducts their handshakes side by side, and hands out
//! the peers that passed.
#![forbid(unsafe_code)]

use crate::config::settings::Config;
use crate::error::Stage;
use crate::handshake::PeerContext;
use crate::net::accept::acceptor::{AcceptOutcome, Accepted, Acceptor};
use crate::net::accept::connection_limit::ConnectionLimit;
use crate::net::accept::eviction::Progress;
use crate::net::accept::guest::Guest;
use crate::net::accept::slots::Loss;
use crate::net::access::Access;
use crate::net::connection::driver::Driver;
use crate::net::connection::handle::Connection;
use crate::net::endpoint::Endpoint;
use crate::net::error::NetError;
use crate::net::listener::events::{Event, Events, Refusal};
use crate::net::negotiate::{Failed, Negotiation, warn_of_plain};
use crate::net::options::Options;
use crate::net::socket::wiped_buffer::HandshakeBytes;
use crate::net::subject::Subject;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// A bound endpoint.
///
/// Handshakes are conducted in the background, at most
/// [`Limits::max_pending_handshakes`](crate::Limits) at a time. When all places are taken, a
/// newcomer gets the place of the oldest silent handshake of the busiest address, so that idle
/// connections lock nobody out. Connections are bounded too, by the file descriptors of the
/// process or by [`Limits::max_connections`](crate::Limits), each from its admission until its
/// socket is closed, whether it was accepted or not.
///
/// Dropped, it stops listening and ends the handshakes in progress, but only when the runtime
/// gets to it: [`Listener::close`] waits for that. Connections live on.
#[derive(Debug)]
pub struct Listener {
    local: Endpoint,
    events: Arc<Events>,
    accepting: JoinHandle<()>,
}

/// What all handshakes of a listener share.
struct ListenerShared<A: Access> {
    config: Config<A>,
    router: A::Router,
    options: Options,
    events: Arc<Events>,
    connections: ConnectionLimit,
}

impl Listener {
    /// Binds `endpoint`, with default [`Options`].
    ///
    /// `router` is the [`ZapRouter`](crate::zap::ZapRouter) of a configuration that asks, and
    /// `()` for one that asks nobody.
    ///
    /// # Errors
    /// [`NetError::Endpoint`], [`NetError::Resolve`], [`NetError::Io`].
    pub async fn bind<A, E>(
        endpoint: E,
        config: Config<A>,
        router: A::Router,
    ) -> Result<Self, NetError>
    where
        A: Access,
        E: TryInto<Endpoint>,
        NetError: From<E::Error>,
    {
        Self::bind_with(endpoint, config, router, Options::default()).await
    }

    /// As [`Listener::bind`], with `options`.
    ///
    /// # Errors
    /// As [`Listener::bind`].
    pub async fn bind_with<A, E>(
        endpoint: E,
        config: Config<A>,
        router: A::Router,
        options: Options,
    ) -> Result<Self, NetError>
    where
        A: Access,
        E: TryInto<Endpoint>,
        NetError: From<E::Error>,
    {
        let endpoint = endpoint.try_into()?;
        let (acceptor, local) =
            Acceptor::bind(&endpoint, &options, config.limits().max_pending_handshakes).await?;
        warn_of_plain(&local, &config);
        tracing::debug!(endpoint = %local, mechanism = %config.mechanism(), "listening");
        let events = Arc::new(Events::new(options.refusals_kept, options.accept_ahead));
        let connections = ConnectionLimit::new(config.limits(), 1);
        let house = Arc::new(ListenerShared {
            config,
            router,
            options,
            events: Arc::clone(&events),
            connections,
        });
        let accepting = tokio::spawn(house.run(acceptor));
        Ok(Self {
            local,
            events,
            accepting,
        })
    }

    /// Where it is bound; the port, where the system chose it, is the real one.
    #[must_use]
    pub const fn local_endpoint(&self) -> &Endpoint {
        &self.local
    }

    /// The next authenticated peer. Refusals that [`Listener::next_event`] would have given
    /// before it are skipped. Several tasks may wait. Cancel-safe: a peer stays queued until it
    /// is returned.
    ///
    /// # Errors
    /// [`NetError::Aborted`] when the runtime that was used to bind is gone.
    pub async fn accept(&self) -> Result<Connection, NetError> {
        loop {
            if let Event::Accepted(connection) = self.next_event().await? {
                return Ok(*connection);
            }
        }
    }

    /// The next outcome of a handshake, good or bad. Of refusals, the latest
    /// [`Options::refusals_kept`] are kept. Cancel-safe as [`Listener::accept`].
    ///
    /// # Errors
    /// As [`Listener::accept`].
    pub async fn next_event(&self) -> Result<Event, NetError> {
        match self.events.next().await {
            None => Err(NetError::Aborted),
            // Policy may have changed since it admitted this peer.
            Some(Event::Accepted(connection)) if !connection.is_admitted() => {
                let peer = connection.peer();
                let conn = PeerContext::new(peer.address.clone()).with_port(peer.port);
                let refusal =
                    Refusal::new(&conn, Subject::of(peer), Stage::Verdict, NetError::Revoked);
                refusal.log();
                Ok(Event::Refused(refusal))
            }
            Some(event) => Ok(event),
        }
    }

    /// Stops listening and ends the handshakes in progress. When this returns, the endpoint is
    /// free again and an ipc file is gone.
    pub async fn close(mut self) {
        self.accepting.abort();
        // It ends by being cancelled, which is no news.
        let _ = (&mut self.accepting).await;
    }

    /// Refusals that were dropped because nobody read them in time.
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

/// Tells those who wait for events that none will come, also if the task is cut off.
struct EndOfEvents(Arc<Events>);

impl Drop for EndOfEvents {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl<A: Access> ListenerShared<A> {
    /// Accepts until the task is aborted, which ends the handshakes in progress as well: with the
    /// acceptor goes the table of their places.
    async fn run(self: Arc<Self>, mut acceptor: Acceptor) {
        let _end = EndOfEvents(Arc::clone(&self.events));
        loop {
            self.events.room().await;
            match acceptor.next().await {
                AcceptOutcome::Accepted(newcomer) => {
                    // Boxed, so that a connection does not hold the room of its handshake.
                    let receiving = Box::pin(Arc::clone(&self).receive(newcomer));
                    tokio::spawn(async move {
                        let Some(driver) = receiving.await else {
                            return;
                        };
                        driver.run().await;
                    });
                }
                AcceptOutcome::NoPlace(conn) => {
                    self.refuse(&conn, Failed::no_slot());
                }
            }
        }
    }

    /// Conducts one handshake. Its task goes on as the driver of what comes of it, if anything:
    /// to start another would cost a turn of the runtime.
    async fn receive(self: Arc<Self>, newcomer: Accepted) -> Option<Driver> {
        let Accepted {
            stream,
            conn,
            place,
            mut evicted,
        } = newcomer;
        let (outcome, permit) = {
            let guest = Guest {
                address: &conn.address,
                place: &place,
                connections: &self.connections,
            };
            let mut negotiation =
                Negotiation::new(&stream, &self.config, &self.router, Some(guest));
            let lost = tokio::select! {
                outcome = negotiation.run(conn.clone()) => Err(outcome),
                loss = evicted.lost() => Ok(loss),
            };
            let outcome = match lost {
                Err(outcome) => outcome,
                Ok(Loss::Evicted(error)) => Err(negotiation.failed(error)),
                Ok(Loss::Closed) => return None,
            };
            (outcome, negotiation.take_permit())
        };
        let failed = match outcome {
            Ok(agreed) => {
                tracing::debug!(address = %conn.address.with_port(conn.port), "peer accepted");
                let (connection, driver) =
                    Connection::with_driver(stream, agreed, &self.config, &self.options, permit);
                self.events.accepted(connection);
                return Some(driver);
            }
            Err(failed) => failed,
        };
        let error_frame = self.refuse(&conn, failed);
        if !error_frame.is_empty() {
            place.progress(Progress::Refused);
            tokio::select! {
                () = stream.close_gracefully(error_frame, self.config.limits()) => {}
                _ = evicted.lost() => {}
            }
        }
        None
    }

    /// Tells of a refusal, and gives back what its peer should still get to read.
    fn refuse(&self, conn: &PeerContext, failed: Failed) -> HandshakeBytes {
        let refusal = Refusal::new(conn, *failed.subject, failed.stage, failed.error);
        refusal.log();
        self.events.refused(refusal);
        failed.error_frame
    }
}
