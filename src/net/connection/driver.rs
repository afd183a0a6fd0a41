//! The task that owns an established connection's stream: reads ahead, answers PINGs, sends what
//! is queued, and ends the connection when it must.
#![forbid(unsafe_code)]

use crate::access::grant::{Grant, revoked};
use crate::limits::Limits;
use crate::net::accept::connection_limit::Permit;
use crate::net::connection::activity::Activity;
use crate::net::connection::queue::{Consumer, Producer};
use crate::net::deadline::{deadline, until};
use crate::net::error::NetError;
use crate::net::socket::stream::{Stream, is_hangup};
use crate::traffic::channel::Channel;
use crate::traffic::inbox::Incoming;
use crate::traffic::outgoing::Outgoing;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

/// How far a connection is.
#[derive(Debug)]
pub(crate) enum State {
    /// It lives.
    Open,
    /// It lives; the application sends nothing more, and all it has sent is with the system.
    Sent,
    /// Nothing more can be sent, for this reason; what has arrived can still be received.
    Ending(Loss),
    /// It has ended, by itself or because the application closed it.
    Ended(Result<(), Loss>),
}

/// How a connection ends by itself.
#[derive(Debug, Clone)]
pub(crate) struct Loss {
    pub(crate) reason: NetError,
    /// Whether the system had taken all that the application has sent.
    pub(crate) all_sent: bool,
}

/// One connection's task.
pub(crate) struct Driver {
    pub(crate) stream: Stream,
    pub(crate) exchange: Exchange,
    /// The place among a listener's connections. It is given back when the socket is closed and
    /// nothing of the connection is left in memory but what the application holds.
    pub(crate) _permit: Option<Permit>,
}

/// All that a connection has but its stream, which it may outlive.
pub(crate) struct Exchange {
    pub(crate) channel: Channel,
    pub(crate) received: Producer<Incoming>,
    pub(crate) to_send: Consumer<Outgoing>,
    pub(crate) grant: Option<Grant>,
    pub(crate) limits: Limits,
    pub(crate) linger: Duration,
    pub(crate) state: watch::Sender<State>,
    pub(crate) activity: Activity,
}

/// What one attempt to read brought.
pub(crate) enum Read {
    Some,
    NothingYet,
    End,
}

/// Why a connection goes on no longer.
pub(crate) enum End {
    /// It ends at once.
    Now(NetError),
    /// A write failed. What the peer had sent until then may still be on its way.
    TakesNoMore(NetError),
    /// The peer has closed its side. What it had sent until then is here.
    SendsNoMore(NetError),
}

impl From<NetError> for End {
    fn from(reason: NetError) -> Self {
        Self::Now(reason)
    }
}

impl Driver {
    /// Drives the connection to its end, and says how it ended before the application's ends of
    /// the queues notice.
    #[expect(
        clippy::manual_async_fn,
        reason = "it would hold two drivers, the one that came and the one that is used"
    )]
    pub(crate) fn run(mut self) -> impl Future<Output = ()> + Send {
        async move {
            let grant = self.exchange.grant.take();
            let mut revoked = pin!(revoked(grant.as_ref()));
            let mut closing_until = None;
            let driven = self
                .exchange
                .drive(&self.stream, revoked.as_mut(), &mut closing_until)
                .await;
            if let Err(end) = driven {
                let loss = self.exchange.end(self.stream, end, revoked).await;
                tracing::debug!(reason = %loss.reason, "connection closed");
                if matches!(loss.reason, NetError::Revoked) {
                    // A revoked peer's queued messages must not reach the application.
                    self.exchange.received.discard();
                }
                self.exchange.state.send_replace(State::Ended(Err(loss)));
                return;
            }
            tracing::debug!("connection closed");
            let Self {
                stream,
                exchange: Exchange { state, limits, .. },
                _permit,
            } = self;
            // The peer may not have read everything yet, and to close while it sends would reset the
            // connection. The application waits for that only for a while.
            stream.shutdown_write();
            let mut discarding = pin!(stream.discard(usize::MAX));
            let in_time = timeout(limits.linger_timeout, &mut discarding)
                .await
                .is_ok();
            state.send_replace(State::Ended(Ok(())));
            if let (false, Some(deadline)) = (in_time, closing_until) {
                let _ = timeout_at(deadline, discarding).await;
            }
        }
    }
}

impl Exchange {
    /// Ends with `Ok` once the application has closed and everything is sent; `closing_until` is
    /// how long the rest may take then.
    async fn drive(
        &mut self,
        stream: &Stream,
        mut revoked: Pin<&mut impl Future<Output = ()>>,
        closing_until: &mut Option<Instant>,
    ) -> Result<(), End> {
        loop {
            tokio::task::coop::consume_budget().await;
            self.take_input()?;
            self.fill()?;
            self.write(stream)?;

            // The application goes on while this runs, on another thread. Each of its states is read
            // once in a turn: two reads could differ, and what happened between them would wake
            // nothing.
            let unheard = self.received.is_unheard();
            if self.has_backlog() || (unheard && self.channel.is_full()) {
                continue;
            }
            let finished = self.to_send.is_finished();
            let all_sent = finished && self.channel.is_sent();
            if unheard && self.to_send.is_closed() {
                closing_until.get_or_insert_with(|| deadline(Instant::now(), self.linger));
                if all_sent {
                    return Ok(());
                }
            }
            if all_sent {
                self.state.send_if_modified(|state| {
                    let news = matches!(state, State::Open);
                    *state = State::Sent;
                    news
                });
            }

            let wanted_level = self.wanted_level();
            let may_read = self.channel.may_take_pings() && wanted_level.is_none();
            let now = Instant::now().into_std();
            let beat = self.channel.deadline(now, may_read).map(Instant::from_std);
            let is_busy = self.activity.waits();
            if !is_busy {
                self.release_memory();
            }
            let may_send = self.channel.can_queue() && !finished;

            // Every arm waits for one thing and changes nothing before it is chosen, so the losing
            // arms can be dropped. The work itself is done at the head of the loop, in one order:
            // what has arrived, then what is to be sent, then one write. An arm is off while its
            // work could not be done: nothing is read while the application must receive first, and
            // nothing is taken from its queue while a message is under way.
            tokio::select! {
                () = revoked.as_mut() => return Err(NetError::Revoked.into()),
                ready = stream.readable(), if may_read => {
                    ready.map_err(NetError::io("read"))?;
                    if matches!(self.read(stream)?, Read::End) {
                        return Err(End::SendsNoMore(NetError::Closed));
                    }
                }
                ready = stream.writable(), if !self.channel.is_sent() => {
                    ready.map_err(NetError::io("write"))?;
                }
                () = self.to_send.ready(is_busy), if may_send => {}
                () = self.activity.idle() => {}
                _ = self.received.below(wanted_level), if !unheard => {}
                () = until(beat) => self.beat(stream, may_read)?,
                () = until(*closing_until) => return Err(NetError::Unsent.into()),
            }
        }
    }

    /// Whether heartbeats, or input that waited for their answers, can be handled right now,
    /// without anything else happening first.
    fn has_backlog(&self) -> bool {
        self.channel.may_go_on() || self.channel.has_heartbeats_to_encode()
    }

    /// How few bytes must wait for the application before more is read from the peer, so that
    /// what is held is at most [`Limits::read_ahead`] or one message.
    fn read_below(&self) -> usize {
        let held = self.channel.unfinished();
        self.limits.read_ahead.saturating_sub(held)
    }

    /// That, if the application has to receive something before we read on. Nothing is read behind
    /// whole frames, which have to be taken apart first.
    pub(crate) fn wanted_level(&self) -> Option<usize> {
        let (waiting, level) = (self.received.bytes(), self.read_below());
        let may_go_on = waiting == 0 || waiting < level;
        (self.channel.is_full() || !may_go_on).then_some(level)
    }

    /// Takes frames apart as long as the application has room for what they bring.
    pub(crate) fn take_input(&mut self) -> Result<(), NetError> {
        let before = self.channel.unread();
        let limit = self.received.limit();
        let limit = match self.received.bytes() {
            // One message may be as long as it likes.
            0 => limit.max(1),
            waiting => limit.saturating_sub(waiting),
        };
        let taken = self.channel.receive(limit);
        let frames = *taken.as_ref().unwrap_or(&0);
        self.activity.passed(frames, before - self.channel.unread());
        // Without a receiver it is dropped here; the connection lives on to send.
        let more_follows = self.activity.is_busy();
        self.channel
            .drain_events(|events| self.received.push_all(events, more_follows));
        taken.map(|_| ()).map_err(NetError::Traffic)
    }

    pub(crate) fn read(&mut self, stream: &Stream) -> Result<Read, NetError> {
        let max = match self.received.bytes() {
            // One message may be as long as it likes.
            0 => usize::MAX,
            waiting => self.read_below().saturating_sub(waiting),
        };
        let mut room = self.channel.room_for(self.limits.read_ahead, max);
        match stream.try_read(&mut room) {
            Ok(0) => Ok(Read::End),
            Ok(_) => {
                self.channel.received(Instant::now().into_std());
                Ok(Read::Some)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Read::NothingYet),
            Err(error) if is_hangup(&error) => Ok(Read::End),
            Err(error) => Err(NetError::io("read")(error)),
        }
    }

    /// Frees what an idle connection does not hold.
    fn release_memory(&mut self) {
        self.channel.release_memory();
        self.to_send.release();
        self.received.release();
    }

    /// Encodes what is to be sent: heartbeats first, then what the application has queued.
    fn fill(&mut self) -> Result<(), NetError> {
        loop {
            self.channel.fill().map_err(NetError::Traffic)?;
            if !self.channel.can_queue() {
                break;
            }
            let Some(outgoing) = self.to_send.take() else {
                break;
            };
            self.activity.passed(1, outgoing.cost());
            self.channel.queue(outgoing).map_err(NetError::Traffic)?;
        }
        self.channel.encode().map_err(NetError::Traffic)
    }

    /// Writes once. However fast the peer takes it, the rest waits until everything else that
    /// happens on the connection has had its turn.
    fn write(&mut self, stream: &Stream) -> Result<(), End> {
        if !self.channel.has_output() {
            return Ok(());
        }
        match stream.try_write(&self.channel.output()) {
            Ok(written) => {
                self.channel.sent(written);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) if is_hangup(&error) => Err(End::TakesNoMore(NetError::Closed)),
            Err(error) => Err(End::TakesNoMore(NetError::io("write")(error))),
        }
    }

    /// Does what the heartbeat wants; but what has arrived and only was not read yet, on a busy
    /// machine for example, counts first.
    fn beat(&mut self, stream: &Stream, may_read: bool) -> Result<(), End> {
        if may_read && matches!(self.read(stream)?, Read::End) {
            return Err(End::SendsNoMore(NetError::Closed));
        }
        let in_time = self.channel.on_deadline(Instant::now().into_std());
        in_time.map_err(|expired| NetError::Heartbeat(expired).into())
    }
}
