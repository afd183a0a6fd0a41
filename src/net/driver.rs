//! The task that owns an established connection's stream: reads ahead, answers PINGs, sends what
//! is queued, and ends the connection when it must.
#![forbid(unsafe_code)]

use crate::access::grant::Grant;
use crate::error::Error;
use crate::heartbeat::{Due, Heartbeat};
use crate::limits::Limits;
use crate::net::clock::{deadline, until};
use crate::net::error::NetError;
use crate::net::inbox::{Arrivals, Inbox, Incoming, Ping};
use crate::net::outgoing::Outgoing;
use crate::net::pace::Pace;
use crate::net::queue::{Consumer, Producer};
use crate::net::transport::{Stream, is_hangup};
use crate::outbox::Outbox;
use crate::pings::Pings;
use crate::seal::TOGETHER;
use bytes::{BufMut, BytesMut};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

/// Bytes read at once from a connection that is quiet; a busy one gets more, up to the second
/// figure. While it is idle it holds no buffer at all.
pub(crate) const READ_QUIET: usize = 8 * 1024;
pub(crate) const READ_BUSY: usize = 64 * 1024;

/// A frame from this size on is read by itself.
const LARGE_FRAME: usize = 16 * 1024;

/// How far a connection is.
#[derive(Debug)]
pub(crate) enum State {
    /// It lives.
    Open,
    /// It lives; the application sends nothing more, and all it has sent is with the system.
    Sent,
    /// It has ended, with an error or because the application closed it.
    Ended(Result<(), NetError>),
}

/// One connection's task.
pub(crate) struct Driver {
    pub(crate) stream: Stream,
    /// What has been read and not been taken apart.
    pub(crate) input: BytesMut,
    pub(crate) inbox: Inbox,
    /// What has been taken apart and not been handed on.
    pub(crate) arrivals: Arrivals,
    pub(crate) outbox: Outbox,
    pub(crate) received: Producer<Incoming>,
    pub(crate) to_send: Consumer<Outgoing>,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) grant: Option<Grant>,
    pub(crate) limits: Limits,
    pub(crate) linger: Duration,
    pub(crate) state: watch::Sender<State>,
    pub(crate) pings: Pings,
    pub(crate) pace: Pace,
    pub(crate) read_size: usize,
    /// Whether frames may be left in `input` because there was no room for what they bring.
    pub(crate) short_of_room: bool,
    /// How long the frames are that arrive, if they are large.
    pub(crate) large_frame: Option<usize>,
}

/// What one attempt to read brought.
enum Read {
    Some,
    NothingYet,
    End,
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
            let mut closing_until = None;
            let end = self.drive(&mut closing_until).await;
            match &end {
                Ok(()) => tracing::debug!("connection closed"),
                Err(reason) => tracing::debug!(%reason, "connection closed"),
            }
            if matches!(end, Err(NetError::Revoked)) {
                // Whoever may not be here any more shall not be heard any more.
                self.received.discard();
            }
            let Self {
                stream,
                state,
                limits,
                ..
            } = self;
            if end.is_err() {
                state.send_replace(State::Ended(end));
                return;
            }
            // The peer may not have read everything yet, and to close while it sends would reset the
            // connection. The application waits for that only for a while.
            stream.shutdown_write();
            let mut discarding = pin!(stream.discard(usize::MAX));
            let in_time = timeout(limits.linger_timeout, &mut discarding)
                .await
                .is_ok();
            state.send_replace(State::Ended(end));
            if let (false, Some(deadline)) = (in_time, closing_until) {
                let _ = timeout_at(deadline, discarding).await;
            }
        }
    }

    /// Ends with `Ok` once the application has closed and everything is sent; `closing_until` is
    /// how long the rest may take then.
    async fn drive(&mut self, closing_until: &mut Option<Instant>) -> Result<(), NetError> {
        let grant = self.grant.take();
        let mut revoked = pin!(async {
            match &grant {
                Some(grant) => grant.revoked().await,
                None => std::future::pending().await,
            }
        });
        loop {
            tokio::task::coop::consume_budget().await;
            self.take_input()?;
            self.fill()?;
            self.write()?;
            if self.has_backlog() {
                continue;
            }

            // The application goes on meanwhile. Each thing about it is looked at once: two looks
            // could differ, and what came between them would wake nobody.
            let unheard = self.received.is_unheard();
            let finished = self.to_send.is_finished();
            let all_sent = finished && self.outbox.is_empty();
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

            let has_level = self.has_level();
            let wanted_level = (self.short_of_room || !has_level).then(|| self.read_below());
            let may_read = self.pings.may_take_more() && has_level;
            if may_read {
                self.heartbeat.listen(Instant::now().into_std());
            } else {
                self.heartbeat.stop_listening();
            }
            let is_busy = self.pace.waits();
            if !is_busy {
                self.rest();
            }
            let may_send = self.outbox.has_room() && self.outbox.is_between_messages() && !finished;
            let beat = self.heartbeat.deadline().map(Instant::from_std);

            tokio::select! {
                () = &mut revoked => return Err(NetError::Revoked),
                ready = self.stream.readable(), if may_read => {
                    ready.map_err(NetError::io("read"))?;
                    if matches!(self.read()?, Read::End) {
                        self.take_input()?;
                        return Err(NetError::Closed);
                    }
                }
                ready = self.stream.writable(), if !self.outbox.is_empty() => {
                    ready.map_err(NetError::io("write"))?;
                }
                () = self.to_send.ready(is_busy), if may_send => {}
                () = self.pace.slackens() => {}
                _ = self.received.below(wanted_level), if !unheard => {}
                () = until(beat) => self.beat(may_read)?,
                () = until(*closing_until) => return Err(NetError::Unsent),
            }
        }
    }

    /// Whether heartbeats, or input that waited for their answers, can be handled right now,
    /// without anything else happening first.
    fn has_backlog(&self) -> bool {
        let can_send = self.outbox.has_room() && self.outbox.is_between_messages();
        self.pings.may_go_on() || (can_send && self.pings.are_waiting())
    }

    /// How few bytes must wait for the application before more is read from the peer, so that
    /// what is held is at most [`Limits::read_ahead`] or one message.
    fn read_below(&self) -> usize {
        let held = self.input.len() + self.inbox.partial_cost();
        self.limits.read_ahead.saturating_sub(held)
    }

    /// Whether the application has received enough for us to read on.
    fn has_level(&self) -> bool {
        let waiting = self.received.bytes();
        waiting == 0 || waiting < self.read_below()
    }

    /// Takes frames apart as long as the application has room for what they bring.
    fn take_input(&mut self) -> Result<(), NetError> {
        let buffer = self.input.capacity();
        let before = self.input.len();
        let mut frames = 0;
        let waiting = self.received.bytes();
        let limit = self.received.limit();
        let taken = loop {
            let most = TOGETHER.min(self.pings.places());
            let ahead = waiting.saturating_add(self.arrivals.cost());
            self.short_of_room = ahead > 0 && ahead >= limit;
            if most == 0 || self.short_of_room {
                break Ok(());
            }
            let taken = self.inbox.take(&mut self.input, most, &mut self.arrivals);
            for Ping { ttl, context } in self.arrivals.pings.drain(..) {
                self.heartbeat.on_ping(ttl);
                self.pings.answer(context);
            }
            match taken {
                Ok(0) => break Ok(()),
                Ok(some) => frames += some,
                Err(error) => break Err(NetError::Traffic(error)),
            }
        };
        let bytes = before - self.input.len();
        self.pace.passed(frames, bytes);
        if let Some(average) = bytes.checked_div(frames) {
            self.large_frame = (average >= LARGE_FRAME).then_some(average);
        }
        self.arrivals.unshare(buffer);
        // Without a receiver it is dropped here; the connection lives on to send.
        self.received
            .push_all(&mut self.arrivals.deliveries, self.pace.is_busy());
        self.arrivals.clear();
        self.pings.held_up_input = !self.pings.may_take_more();
        taken
    }

    fn read(&mut self) -> Result<Read, NetError> {
        let room = self.room();
        let most = match self.received.bytes() {
            // One message may be as long as it likes.
            0 => room,
            waiting => room.min(self.read_below().saturating_sub(waiting)).max(1),
        };
        self.make_room(room.max(most));
        match self.stream.try_read(&mut (&mut self.input).limit(most)) {
            Ok(0) => Ok(Read::End),
            Ok(read) => {
                self.read_size = if read == most {
                    READ_BUSY.min(self.read_size * 2)
                } else if read < most / 2 {
                    READ_QUIET.max(self.read_size / 2)
                } else {
                    self.read_size
                };
                self.heartbeat.received(Instant::now().into_std());
                Ok(Read::Some)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Read::NothingYet),
            Err(error) if is_hangup(&error) => Ok(Read::End),
            Err(error) => Err(NetError::io("read")(error)),
        }
    }

    /// How many bytes to have room for. Where frames are large a read ends with a frame, so that
    /// the beginning of the next need not be moved to a buffer of its own.
    fn room(&self) -> usize {
        let wanted = self.inbox.wanted(&self.input);
        match self.large_frame {
            Some(len) if self.input.is_empty() => len,
            Some(_) => wanted,
            None => wanted.max(self.read_size.min(self.limits.read_ahead)),
        }
    }

    /// Has room for `more` bytes in `input`: in the same memory, if nobody shares it any more,
    /// or else in new memory of just the size.
    fn make_room(&mut self, more: usize) {
        let spare = self.input.capacity() - self.input.len();
        if spare >= more || self.input.try_reclaim(more) {
            return;
        }
        let mut larger = BytesMut::with_capacity(self.input.len() + more);
        larger.extend_from_slice(&self.input);
        self.input = larger;
    }

    /// Frees what an idle connection does not hold.
    fn rest(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        self.arrivals.release();
        self.inbox.release();
        self.outbox.rest();
        self.to_send.rest();
        self.received.rest();
    }

    /// Encodes what is to be sent: heartbeats first, then what the application has queued.
    fn fill(&mut self) -> Result<(), NetError> {
        self.encode().map_err(NetError::Traffic)
    }

    fn encode(&mut self) -> Result<(), Error> {
        while self.outbox.has_room() {
            if !self.outbox.is_between_messages() {
                self.outbox.encode_frame()?;
            } else if let Some(command) = self.pings.take() {
                self.outbox.command(&command)?;
            } else if let Some(outgoing) = self.to_send.take() {
                self.pace.passed(1, outgoing.cost());
                outgoing.begin(&mut self.outbox)?;
            } else {
                break;
            }
        }
        self.outbox.settle()
    }

    /// Writes once. However fast the peer takes it, the rest waits until everything else that
    /// happens on the connection has had its turn.
    fn write(&mut self) -> Result<(), NetError> {
        if !self.outbox.has_bytes() {
            return Ok(());
        }
        match self.stream.try_write(&self.outbox.parts()) {
            Ok(written) => {
                self.outbox.advance(written);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) if is_hangup(&error) => Err(self.hear_last_words()?),
            Err(error) => Err(NetError::io("write")(error)),
        }
    }

    /// The peer takes nothing more, but what it sent before it went may be here already.
    fn hear_last_words(&mut self) -> Result<NetError, NetError> {
        while self.pings.may_take_more() && self.has_level() && matches!(self.read()?, Read::Some) {
            self.take_input()?;
        }
        Ok(NetError::Closed)
    }

    /// Does what the heartbeat wants; but what has arrived and only was not read yet, on a busy
    /// machine for example, counts first.
    fn beat(&mut self, may_read: bool) -> Result<(), NetError> {
        if may_read && matches!(self.read()?, Read::End) {
            self.take_input()?;
            return Err(NetError::Closed);
        }
        let now = Instant::now().into_std();
        while let Some(due) = self.heartbeat.poll(now) {
            match due {
                Due::Ping(ping) => self.pings.ours = Some(ping),
                Due::Dead(silence) => return Err(NetError::Heartbeat(silence)),
            }
        }
        Ok(())
    }
}
