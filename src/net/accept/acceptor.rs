//! Accepts connections one by one, and gives each a slot in the table of handshakes in progress.
#![forbid(unsafe_code)]

use crate::host::byte_stream::is_hangup;
use crate::host::wiped_buffer::HandshakeBytes;
use crate::limits::Limits;
use crate::mechanism::session::PeerContext;
use crate::net::accept::descriptors::Descriptors;
use crate::net::accept::eviction::Progress;
use crate::net::accept::slots::{Place, Slots};
use crate::net::endpoint::Endpoint;
use crate::net::error::NetError;
use crate::net::options::Options;
use crate::net::socket::bind::Bound;
use crate::net::socket::stream::Stream;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Bounds the pause after `accept` has failed, such as for want of file descriptors. The pause
/// doubles with each failure, because asking again at once would only spend processor time. 5 ms at
/// first, so that a short shortage costs little.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// 1 s, so that a listener recovers within a second of a long shortage.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The time of an alarm that does nothing when it rings. tokio wakes a thread whenever a new timer is the
/// next to ring. While this alarm is the next one, the timers of handshakes cost no such wake-up. 1 s is
/// less than the default time-outs of a handshake, and a rare wake-up.
const ALARM: Duration = Duration::from_secs(1);

/// A bound endpoint.
pub(crate) struct Acceptor {
    bound: Bound,
    slots: Slots,
    pause: Duration,
    paused_until: Option<Instant>,
    /// Set by a new connection.
    alarm: Option<Pin<Box<Sleep>>>,
}

/// A connection whose handshake is about to start.
pub(crate) struct Accepted {
    pub(crate) stream: Stream,
    pub(crate) context: PeerContext,
    pub(crate) place: Place,
}

/// The outcome for a new connection.
pub(crate) enum AcceptOutcome {
    Accepted(Accepted),
    /// No slot was free for this peer and none could be cleared. The connection is closed.
    NoSlot(PeerContext),
}

impl Acceptor {
    /// Binds and listens, for at most `max_slots` handshakes at a time. Returns the endpoint with
    /// the port that the system chose.
    pub(crate) async fn bind(
        endpoint: &Endpoint,
        options: &Options,
        max_slots: usize,
    ) -> Result<(Self, Endpoint), NetError> {
        let (bound, local) = Bound::bind(endpoint, options).await?;
        let acceptor = Self {
            bound,
            slots: Slots::new(max_slots, Descriptors::of_process()),
            pause: FIRST_PAUSE,
            paused_until: None,
            alarm: None,
        };
        Ok((acceptor, local))
    }

    /// The next connection. Its peer may have closed it already. Cancel-safe.
    pub(crate) async fn next(&mut self) -> AcceptOutcome {
        loop {
            if let Some(until) = self.paused_until {
                sleep_until(until).await;
                self.paused_until = None;
            }
            if self.slots.is_full() {
                // A peer whose command has arrived but was not read yet looks silent. So the tasks of
                // the handshakes run before one of them is evicted.
                yield_now().await;
            }
            match self.accept().await {
                Ok((stream, context)) => {
                    self.pause = FIRST_PAUSE;
                    return match self.slots.admit(&context.address) {
                        Some(place) => AcceptOutcome::Accepted(Accepted {
                            stream,
                            context,
                            place,
                        }),
                        None => {
                            stream.reset_when_closed();
                            AcceptOutcome::NoSlot(context)
                        }
                    };
                }
                // This connection failed; the listener is fine.
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

    async fn accept(&mut self) -> io::Result<(Stream, PeerContext)> {
        let Self { bound, alarm, .. } = self;
        let mut accepting = pin!(bound.accept());
        let accepted = poll_fn(|cx| {
            if let Some(ringing) = alarm
                && ringing.as_mut().poll(cx).is_ready()
            {
                *alarm = None;
            }
            accepting.as_mut().poll(cx)
        })
        .await?;
        alarm.get_or_insert_with(|| Box::pin(sleep(ALARM)));
        Ok(accepted)
    }
}

impl Accepted {
    /// Closes the connection of a refused peer. The peer keeps its slot while it reads
    /// `error_frame`, but is the first to lose it: a new connection that needs the slot ends the
    /// wait.
    pub(crate) async fn close_gracefully(mut self, error_frame: HandshakeBytes, limits: &Limits) {
        self.place.slot.progress(Progress::Refused);
        tokio::select! {
            () = self.stream.close_gracefully(error_frame, limits) => {}
            _ = self.place.eviction.lost() => {}
        }
    }
}
