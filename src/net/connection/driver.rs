//! The task that owns an established connection's stream. It reads ahead of the application,
//! answers PINGs, sends what is queued, and ends the connection.
#![forbid(unsafe_code)]

use crate::access::grant::{Grant, revoked};
use crate::host::byte_stream::is_hangup;
use crate::net::accept::connection_limit::Permit;
use crate::net::connection::activity::Activity;
use crate::net::connection::queue::consumer::Consumer;
use crate::net::connection::queue::producer::Producer;
use crate::net::connection::queue::run::Queued;
use crate::net::deadline::{deadline, until};
use crate::net::error::NetError;
use crate::net::socket::stream::Stream;
use crate::traffic::channel::Channel;
use crate::traffic::inbox::Incoming;
use crate::with_causes::WithCauses;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

/// The state of a connection, as its driver reports it.
#[derive(Debug)]
pub(crate) enum State {
    /// Both directions work.
    Open,
    /// Nothing more can be sent, for this reason. What has arrived can still be received.
    Ending(Loss),
    /// The connection has ended, by itself or because the application has closed it.
    Ended(Result<(), Loss>),
}

/// How a connection ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Loss {
    /// Why it ended. [`NetError::SendClosed`] if both halves were closed or dropped, and everything
    /// was sent.
    pub reason: NetError,
    /// Whether the system had taken everything that the application has sent. The peer may not have
    /// received it: ZMTP has no acknowledgements. `false` if messages may be lost. With a
    /// [`SendQueue`](crate::net::SendQueue), what the connection has not taken waits for the next one.
    pub all_sent: bool,
}

/// What the task of one connection owns.
pub(crate) struct Driver {
    pub(crate) stream: Stream,
    pub(crate) exchange: Exchange,
    /// The connection's share of a listener's limit. It is given back when the socket is closed and
    /// nothing of the connection is left in memory but what the application holds.
    pub(crate) _permit: Option<Permit>,
}

/// Everything of a connection but its stream. It outlives the stream while the application still
/// receives what has arrived.
pub(crate) struct Exchange {
    pub(crate) channel: Channel,
    pub(crate) received: Producer<Incoming>,
    pub(crate) to_send: Consumer<Queued>,
    pub(crate) grant: Option<Grant>,
    /// [`Limits::read_ahead`](crate::limits::Limits::read_ahead).
    pub(crate) read_ahead: usize,
    /// [`Limits::linger_timeout`](crate::limits::Limits::linger_timeout).
    pub(crate) linger_timeout: Duration,
    pub(crate) linger: Duration,
    pub(crate) state: watch::Sender<State>,
    pub(crate) activity: Activity,
}

/// The outcome of one attempt to read.
pub(crate) enum Read {
    Some,
    NothingYet,
    End,
}

/// Why the driver stops.
pub(crate) enum End {
    /// The connection ends at once.
    Now(NetError),
    /// A write failed. Bytes that the peer has sent before may still arrive.
    WriteFailed(NetError),
    /// The peer has closed its side. Everything that it has sent was read.
    InputEnded(NetError),
}

impl From<NetError> for End {
    fn from(reason: NetError) -> Self {
        Self::Now(reason)
    }
}

impl Driver {
    /// Drives the connection to its end. It publishes the reason before it drops its ends of the
    /// queues, so that the application finds a reason when a queue ends.
    #[expect(
        clippy::manual_async_fn,
        reason = "the future of an `async fn` would hold the driver twice, as argument and as local"
    )]
    pub(crate) fn run(mut self) -> impl Future<Output = ()> + Send {
        async move {
            let grant = self.exchange.grant.clone();
            let mut revoked = pin!(revoked(grant.as_ref()));
            let mut closing_until = None;
            let mut driven = self
                .exchange
                .drive(&self.stream, revoked.as_mut(), &mut closing_until)
                .await;
            // An application that follows its grants has dropped its halves before the revocation is
            // seen here.
            if driven.is_ok() && grant.as_ref().is_some_and(|grant| !grant.still_valid()) {
                driven = Err(NetError::Revoked.into());
            }
            // Boxed, so that a connection does not hold the memory of its end.
            match driven {
                Err(end) => Box::pin(self.fail(end, revoked)).await,
                Ok(()) => Box::pin(self.close(closing_until)).await,
            }
        }
    }

    /// Ends a connection that the application has not closed.
    async fn fail(mut self, end: End, revoked: Pin<&mut impl Future<Output = ()>>) {
        let may_be_revoked = self.exchange.grant.is_some();
        let loss = self
            .exchange
            .end(self.stream, end, revoked, may_be_revoked)
            .await;
        tracing::debug!(reason = %WithCauses(&loss.reason), "connection closed");
        if matches!(loss.reason, NetError::Revoked) {
            // A revoked peer's queued messages must not reach the application.
            self.exchange.received.discard();
        }
        self.exchange.state.send_replace(State::Ended(Err(loss)));
    }

    /// Ends a connection that the application has closed, once everything is sent.
    async fn close(self, closing_until: Option<Instant>) {
        tracing::debug!("connection closed");
        let Self {
            stream,
            exchange:
                Exchange {
                    state,
                    linger_timeout,
                    received,
                    to_send,
                    ..
                },
            _permit,
        } = self;
        // The peer may not have read everything yet. Closing a socket with unread input resets
        // the connection, and a reset discards what the peer has not read. So tell the peer
        // that nothing more comes, and read until it closes. `close` returns after
        // `linger_timeout` at the latest. The task goes on until `Options::linger` is over.
        stream.shutdown_write();
        let mut discarding = pin!(stream.discard(usize::MAX));
        let in_time = timeout(linger_timeout, &mut discarding).await.is_ok();
        state.send_replace(State::Ended(Ok(())));
        // A task that still receives learns of the end now, and not after the linger time.
        drop((received, to_send));
        if let (false, Some(deadline)) = (in_time, closing_until) {
            let _ = timeout_at(deadline, discarding).await;
        }
    }
}

impl Exchange {
    /// Runs the connection. Returns `Ok` once the application has closed it and everything is sent.
    /// `closing_until` is set when the application closes: the end of [`Options::linger`].
    ///
    /// [`Options::linger`]: crate::net::options::Options::linger
    async fn drive(
        &mut self,
        stream: &Stream,
        mut revoked: Pin<&mut impl Future<Output = ()>>,
        closing_until: &mut Option<Instant>,
    ) -> Result<(), End> {
        loop {
            tokio::task::coop::consume_budget().await;
            self.take_input()?;
            let is_admitted = self.fill()?;
            self.write(stream, is_admitted)?;
            self.confirm_sent();

            // The application runs on other threads meanwhile. Each of its states is read only once
            // in a turn. Suppose that a state were read twice, and changed in between: the first
            // read would keep an arm off, the second would find that there is nothing to wait for,
            // and no wake-up would come for a change that has already been seen.
            let has_no_receiver = self.received.has_no_consumer();
            if self.has_backlog() || (has_no_receiver && self.channel.is_full()) {
                continue;
            }
            let is_closed = self.to_send.is_closed();
            let finished = self.to_send.is_finished();
            let all_sent = finished && self.channel.is_sent();
            if has_no_receiver && is_closed {
                closing_until.get_or_insert_with(|| deadline(Instant::now(), self.linger));
                if all_sent {
                    return Ok(());
                }
            }

            let wanted_level = self.wanted_level();
            let may_read = self.channel.may_take_pings() && wanted_level.is_none();
            let now = Instant::now().into_std();
            let heartbeat = self.channel.deadline(now, may_read).map(Instant::from_std);
            let due = heartbeat.into_iter().chain(*closing_until).min();
            self.activity.before_wait();
            let is_busy = self.activity.is_busy();
            if !is_busy {
                self.release_memory();
            }
            let may_send = self.channel.can_queue() && !finished;
            let waits_for_sender = may_send || !is_closed;

            // Each arm only waits. The work is done at the head of the loop, always in one order:
            // what has arrived, then what is to be sent, then one write. So an arm that loses can be
            // dropped without losing anything, and it does not matter which arm wins.
            //
            // An arm is off while its work could not be done. Otherwise it would be ready at once,
            // turn after turn, and the loop would spin:
            //
            // - Nothing is read while the application must receive first (`wanted_level`), or while
            //   the peer does not take the answers to its PINGs. TCP then slows the peer down.
            // - Nothing is taken from the application's queue while a message is being written.
            //   `send` then waits for room. The close of the queue still counts, because it begins the
            //   linger time.
            // - `received.below` waits for the application to receive, which turns reading on again.
            //   Without a level it waits only for the receiver to be dropped.
            //
            // A revocation is an arm of its own, so that it ends the connection also while the
            // others are off or busy. tokio polls the arms in random order, so none starves.
            tokio::select! {
                () = revoked.as_mut() => return Err(NetError::Revoked.into()),
                ready = stream.readable(), if may_read => {
                    ready.map_err(NetError::io("read"))?;
                    if matches!(self.read(stream)?, Read::End) {
                        return Err(End::InputEnded(NetError::Closed));
                    }
                }
                ready = stream.writable(), if !self.channel.is_sent() => {
                    ready.map_err(NetError::io("write"))?;
                }
                () = self.to_send.ready_if(may_send, is_busy), if waits_for_sender => {}
                () = self.activity.idle() => {}
                _ = self.received.below(wanted_level), if !has_no_receiver => {}
                () = until(due) => {
                    if closing_until.is_some_and(|end| end <= Instant::now()) {
                        return Err(NetError::Unsent.into());
                    }
                    self.on_heartbeat(stream, may_read)?;
                }
            }
        }
    }

    /// Whether the next turn can do something without waiting: encode heartbeats, or process input
    /// that waited for answers to PINGs.
    fn has_backlog(&self) -> bool {
        self.channel.may_resume_input() || self.channel.has_heartbeats_to_encode()
    }

    /// More is read from the peer only while fewer bytes than this wait for the application. What a
    /// connection holds is then at most `read_ahead` or one message.
    fn read_below(&self) -> usize {
        let held = self.channel.unfinished();
        self.read_ahead.saturating_sub(held)
    }

    /// That level, if the application must receive something before more is read. `None` if reading
    /// may go on. Nothing is read while whole frames wait to be processed.
    pub(crate) fn wanted_level(&self) -> Option<usize> {
        let (waiting, level) = (self.received.occupied(), self.read_below());
        let has_room = (waiting == 0 || waiting < level) && self.received.places() > 0;
        (self.channel.is_full() || !has_room).then_some(level)
    }

    /// Processes what was read, as long as the application's queue has room for what comes out.
    pub(crate) fn take_input(&mut self) -> Result<(), NetError> {
        let before = self.channel.unread();
        let limit = self.received.limit();
        let limit = match self.received.occupied() {
            // An empty queue takes one message of any size.
            0 => limit.max(1),
            waiting => limit.saturating_sub(waiting),
        };
        let taken = self.channel.process_some(limit, self.received.places());
        let frames = *taken.as_ref().unwrap_or(&0);
        self.activity.count(frames, before - self.channel.unread());
        // Without a receiver the events are dropped here, and the connection goes on to send.
        let more_follows = self.activity.is_busy();
        self.channel
            .drain_events(|events| self.received.push_all(events, more_follows));
        taken.map(|_| ()).map_err(NetError::Traffic)
    }

    pub(crate) fn read(&mut self, stream: &Stream) -> Result<Read, NetError> {
        let max = match self.received.occupied() {
            // An empty queue takes one message of any size.
            0 => usize::MAX,
            waiting => self.read_below().saturating_sub(waiting),
        };
        let mut room = self.channel.room_for(self.read_ahead, max);
        match stream.try_read(&mut room) {
            Ok(0) => Ok(Read::End),
            Ok(_) => {
                self.channel.on_read(Instant::now().into_std());
                Ok(Read::Some)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Read::NothingYet),
            Err(error) if is_hangup(&error) => Ok(Read::End),
            Err(error) => Err(NetError::io("read")(error)),
        }
    }

    /// Frees the buffers that only a busy connection keeps.
    fn release_memory(&mut self) {
        self.channel.release_memory();
        self.to_send.release();
        self.received.release();
    }

    /// Encodes what is to be sent: heartbeats first, then what the application has queued. Returns whether
    /// it has seen that the admission stands.
    fn fill(&mut self) -> Result<bool, NetError> {
        let mut is_admitted = false;
        loop {
            self.channel.fill().map_err(NetError::Traffic)?;
            if !self.channel.can_queue() {
                break;
            }
            // Asked once for all that was fetched together, and after that: what is queued once the
            // admission is withdrawn does not reach the peer.
            let Some(is_new) = self.to_send.look() else {
                // What is pushed from now on waits for the next turn, which asks first.
                break;
            };
            if is_new {
                self.require_admission()?;
                is_admitted = true;
            }
            let channel = &mut self.channel;
            let queued = self.to_send.take_some(|parts| channel.queue_singles(parts));
            let (count, cost) = queued.map_err(NetError::Traffic)?;
            if count > 0 {
                self.activity.count(count, cost);
                continue;
            }
            let Some(outgoing) = self.to_send.take() else {
                break;
            };
            self.activity.count(1, outgoing.cost());
            self.channel.queue(outgoing).map_err(NetError::Traffic)?;
        }
        self.channel.encode().map_err(NetError::Traffic)?;
        Ok(is_admitted)
    }

    /// Writes once. The rest waits for the next turn, so that a peer that takes everything at once
    /// does not keep the connection from reading. Nothing is written once the admission is withdrawn,
    /// but for a turn that had seen before that it stands.
    fn write(&mut self, stream: &Stream, is_admitted: bool) -> Result<(), End> {
        if !self.channel.has_output() {
            return Ok(());
        }
        if !is_admitted {
            self.require_admission()?;
        }
        match stream.try_write(&self.channel.output()) {
            Ok(written) => {
                self.channel.on_written(written);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) if is_hangup(&error) => Err(End::WriteFailed(NetError::Closed)),
            Err(error) => Err(End::WriteFailed(NetError::io("write")(error))),
        }
    }

    /// Sends a PING that is due, or ends the connection of a silent peer. It reads first: on a busy
    /// machine the peer's sign of life may have arrived without being read yet.
    fn on_heartbeat(&mut self, stream: &Stream, may_read: bool) -> Result<(), End> {
        if may_read && matches!(self.read(stream)?, Read::End) {
            return Err(End::InputEnded(NetError::Closed));
        }
        let in_time = self.channel.on_deadline(Instant::now().into_std());
        in_time.map_err(|expired| NetError::Heartbeat(expired).into())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::settings::Config;
    use crate::crypto::keys::KeyPair;
    use crate::net::connection::handle::Connection;
    use crate::net::listener::handle::Listener;
    use crate::net::socket::stream::count;
    use crate::security::Security;
    use crate::wire::greeting::{Greeting, mechanism_name};
    use crate::wire::socket_type::SocketType;
    use bytes::Bytes;
    use std::io::Write;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpStream;

    async fn pair(curve: bool) -> (Connection, Connection) {
        let (push, pull) = (
            Config::builder(SocketType::Push),
            Config::builder(SocketType::Pull),
        );
        let (client, server): (Security, Security) = if curve {
            let (ours, theirs) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
            let client = push.curve_client(theirs, ours.public_key()).finish();
            let server = pull.curve_server(ours).accept_any_peer().finish();
            (client.unwrap().into(), server.unwrap().into())
        } else {
            let (client, server) = (push.null().accept_any_peer(), pull.null().accept_any_peer());
            (
                client.finish().unwrap().into(),
                server.finish().unwrap().into(),
            )
        };
        let listener = Listener::bind("tcp://127.0.0.1:*", server).await.unwrap();
        let connecting = Connection::connect(listener.local_endpoint(), client);
        let (sender, receiver) = tokio::join!(connecting, listener.accept());
        (sender.unwrap(), receiver.unwrap())
    }

    /// The system calls that read and write while `messages` of `size` bytes cross a connection, both ends of
    /// which run on this thread.
    async fn calls(curve: bool, messages: usize, size: usize) -> [usize; 2] {
        let (mut sender, mut receiver) = pair(curve).await;
        let payload = Bytes::from(vec![7; size]);
        sender.send("first").await.unwrap();
        receiver.recv_message().await.unwrap();
        count::taken();
        let sending = async {
            for _ in 0..messages {
                sender.send(payload.clone()).await.unwrap();
            }
        };
        let receiving = async {
            for _ in 0..messages {
                receiver.recv_message().await.unwrap();
            }
        };
        tokio::join!(sending, receiving);
        count::taken()
    }

    /// A peer that is awake reads what one write has brought: small messages many at a time, in
    /// writes of about 64 KiB, and large ones each by itself at most.
    #[tokio::test]
    async fn a_burst_takes_few_system_calls() {
        for curve in [false, true] {
            for (messages, size, most_reads, most_writes) in [
                (1, 64, 2, 1),
                (10, 64, 3, 2),
                (100, 64, 4, 2),
                (4000, 64, 16, 14),
                (500, 1024, 16, 14),
                (50, 16 * 1024, 80, 60),
                (20, 64 * 1024, 50, 30),
            ] {
                let [reads, writes] = calls(curve, messages, size).await;
                println!("CURVE {curve}, {messages} of {size}: {reads} reads, {writes} writes");
                assert!(reads <= most_reads && writes <= most_writes);
            }
        }
    }

    /// A peer that waits for our version before it sends its own gets that first: see
    /// [`Handshake::start`](crate::handshake::Handshake::start).
    #[tokio::test]
    async fn a_peer_that_has_said_its_version_gets_the_greeting_in_one_write() {
        let server = Config::builder(SocketType::Pull).null().accept_any_peer();
        let server = server.finish().unwrap();
        let listener = Listener::bind("tcp://127.0.0.1:*", server).await.unwrap();
        let endpoint = listener.local_endpoint().to_string();
        let address = endpoint.strip_prefix("tcp://").unwrap();
        let greeting = Greeting::encode(mechanism_name("NULL"), false);
        for (said, answer) in [(11, 64), (10, 11)] {
            let mut peer = std::net::TcpStream::connect(address).unwrap();
            peer.write_all(&greeting[..said]).unwrap();
            peer.set_nonblocking(true).unwrap();
            let mut peer = TcpStream::from_std(peer).unwrap();
            count::taken();
            let mut heard = vec![0; answer];
            peer.read_exact(&mut heard).await.unwrap();
            assert_eq!(heard, greeting[..answer]);
            assert_eq!(count::taken()[1], 1);
        }
    }

    /// Both ends together: the greeting of the client in two parts, then a command after the other.
    #[tokio::test]
    async fn a_handshake_takes_few_system_calls() {
        for (curve, most_reads, most_writes) in [(false, 6, 5), (true, 10, 7)] {
            count::taken();
            let _pair = pair(curve).await;
            let [reads, writes] = count::taken();
            println!("CURVE {curve}: {reads} reads, {writes} writes");
            assert!(reads <= most_reads && writes <= most_writes);
        }
    }
}
