//! Where connections come in: taken from the system one by one, each with a place in the table of
//! handshakes in progress.
#![forbid(unsafe_code)]

use crate::mechanism::session::PeerContext;
use crate::net::accept::descriptors::Descriptors;
use crate::net::accept::slots::{Evicted, Slot, Slots};
use crate::net::endpoint::Endpoint;
use crate::net::error::NetError;
use crate::net::options::Options;
use crate::net::socket::bind::Bound;
use crate::net::socket::stream::{Stream, is_hangup};
use std::io;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Pauses after the system would not give us a connection, such as for want of file
/// descriptors: asking again at once would only burn the processor.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A bound endpoint.
pub(crate) struct Acceptor {
    acceptor: Bound,
    places: Slots,
    pause: Duration,
    paused_until: Option<Instant>,
}

/// A connection that is about to shake hands.
pub(crate) struct Accepted {
    pub(crate) stream: Stream,
    pub(crate) conn: PeerContext,
    pub(crate) place: Slot,
    pub(crate) evicted: Evicted,
}

/// Who has come.
pub(crate) enum AcceptOutcome {
    Accepted(Accepted),
    /// Somebody for whom there was no place.
    NoPlace(PeerContext),
}

impl Acceptor {
    /// Binds and listens, with as many places; gives back the endpoint with the port that it got.
    pub(crate) async fn bind(
        endpoint: &Endpoint,
        options: &Options,
        places: usize,
    ) -> Result<(Self, Endpoint), NetError> {
        let (acceptor, local) = Bound::bind(endpoint, options).await?;
        let acceptor = Self {
            acceptor,
            places: Slots::new(places, Descriptors::of_process()),
            pause: FIRST_PAUSE,
            paused_until: None,
        };
        Ok((acceptor, local))
    }

    /// The next connection, whose peer may have gone already. Cancel-safe.
    pub(crate) async fn next(&mut self) -> AcceptOutcome {
        loop {
            if let Some(until) = self.paused_until {
                sleep_until(until).await;
                self.paused_until = None;
            }
            match self.acceptor.accept().await {
                Ok((stream, conn)) => {
                    self.pause = FIRST_PAUSE;
                    return match self.places.admit(&conn.address) {
                        Some((place, evicted)) => AcceptOutcome::Accepted(Accepted {
                            stream,
                            conn,
                            place,
                            evicted,
                        }),
                        None => AcceptOutcome::NoPlace(conn),
                    };
                }
                // That connection failed, not the listener.
                Err(error) if is_hangup(&error) || error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if self.pause == FIRST_PAUSE {
                        tracing::warn!(%error, "cannot accept connections for now");
                    }
                    self.paused_until = Some(Instant::now() + self.pause);
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}
