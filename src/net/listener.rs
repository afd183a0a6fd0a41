//! A bound endpoint: takes connections, conducts their handshakes side by side, and hands out
//! the peers that passed.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::config::settings::Config;
use crate::error::Stage;
use crate::net::asks::Access;
use crate::net::bind::Acceptor;
use crate::net::connection::Connection;
use crate::net::dial::{is_admitted, warn_of_plain};
use crate::net::endpoint::Endpoint;
use crate::net::error::NetError;
use crate::net::events::{Event, Events, Refusal};
use crate::net::negotiate::{Failed, Negotiation};
use crate::net::options::Options;
use crate::net::pending::Progress;
use crate::net::places::{Evicted, Place, Places};
use crate::net::transport::{Stream, is_hangup};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};

/// Pauses after the system would not give us a connection, such as for want of file
/// descriptors: asking again at once would only burn the processor.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A bound endpoint.
///
/// Handshakes are conducted in the background, at most
/// [`Limits::max_pending_handshakes`](crate::Limits) at a time. When all places are taken, a
/// newcomer gets the place of the oldest silent handshake of the busiest address, so that idle
/// connections lock nobody out.
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
struct House<A: Access> {
    config: Config<A>,
    router: A::Router,
    options: Options,
    events: Arc<Events>,
    places: Places,
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
        let (acceptor, local) = Acceptor::bind(&endpoint, &options).await?;
        warn_of_plain(&local, &config);
        tracing::debug!(endpoint = %local, mechanism = %config.mechanism(), "listening");
        let events = Arc::new(Events::new(options.refusals_kept, options.accept_ahead));
        let house = Arc::new(House {
            places: Places::new(config.limits().max_pending_handshakes),
            config,
            router,
            options,
            events: Arc::clone(&events),
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
            Some(Event::Accepted(connection)) if !is_admitted(&connection) => {
                let address = connection.peer().address.clone();
                tracing::info!(%address, "peer refused: its admission was revoked");
                let refusal = Refusal::new(address, Stage::Verdict, NetError::Revoked);
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

impl<A: Access> House<A> {
    /// Accepts until the task is aborted, which ends the handshakes in progress as well.
    async fn run(self: Arc<Self>, acceptor: Acceptor) {
        let _end = EndOfEvents(Arc::clone(&self.events));
        let mut handshakes = JoinSet::new();
        let mut pause = FIRST_PAUSE;
        loop {
            self.events.room().await;
            let accepted = tokio::select! {
                accepted = acceptor.accept() => accepted,
                Some(_) = handshakes.join_next() => continue,
            };
            match accepted {
                Ok(stream) => {
                    pause = FIRST_PAUSE;
                    // Fails only if the peer is gone already.
                    let Ok(address) = stream.peer() else { continue };
                    match self.places.admit(&address) {
                        Some((place, evicted)) => {
                            let house = Arc::clone(&self);
                            handshakes.spawn(house.receive(stream, address, place, evicted));
                        }
                        None => {
                            let Failed { stage, error, .. } = Failed::evicted(Stage::Greeting);
                            self.refuse(address, stage, error);
                        }
                    }
                }
                // That connection failed, not the listener.
                Err(error) if is_hangup(&error) || error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if pause == FIRST_PAUSE {
                        tracing::warn!(%error, "cannot accept connections for now");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Conducts one handshake.
    async fn receive(
        self: Arc<Self>,
        stream: Stream,
        address: PeerAddress,
        place: Place,
        mut evicted: Evicted,
    ) {
        let outcome = {
            let mut negotiation =
                Negotiation::new(&stream, &self.config, &self.router, Some(&place));
            tokio::select! {
                outcome = negotiation.run(address.clone()) => Some(outcome),
                _ = &mut evicted => None,
            }
            .unwrap_or_else(|| Err(Failed::evicted(negotiation.stage())))
        };
        let Failed {
            stage,
            error,
            last_words,
        } = match outcome {
            Ok(agreed) => {
                tracing::debug!(%address, "peer accepted");
                let connection = Connection::start(stream, agreed, &self.config, &self.options);
                self.events.accepted(connection);
                return;
            }
            Err(failed) => failed,
        };
        self.refuse(address, stage, error);
        if !last_words.is_empty() {
            place.progress(Progress::Refused);
            tokio::select! {
                () = stream.part(last_words, self.config.limits()) => {}
                _ = evicted => {}
            }
        }
    }

    fn refuse(&self, address: PeerAddress, stage: Stage, error: NetError) {
        tracing::info!(%address, %stage, %error, "peer refused");
        self.events.refused(Refusal::new(address, stage, error));
    }
}
