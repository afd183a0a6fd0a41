//! Carries traffic between the two sockets of a connection through a tunnel, until both are closed.
#![forbid(unsafe_code)]

use crate::access::grant::{Grant, revoked};
use crate::host::byte_stream::is_hangup;
use crate::host::wiped_buffer::HandshakeBytes;
use crate::limits::Limits;
use crate::net::connection::activity::Activity;
use crate::net::deadline::{deadline, until};
use crate::net::socket::stream::Stream;
use crate::relay::forward::{Relay, RelayError, RelayTimeout};
use crate::relay::side::{Side, Sides};
use crate::with_causes::WithCauses;
use bytes::BufMut;
use std::fmt;
use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::{Instrument, Span};

/// Bytes that are read at most before what is not ready yet gets its turn: 512 KiB, several writes.
const READ_BEFORE_WAIT: usize = 512 * 1024;

/// The two sockets of one connection through a tunnel, and the relay between them.
pub(crate) struct Traffic {
    /// `None` once a side is given up.
    streams: Sides<Option<Stream>>,
    relay: Relay,
    limits: Limits,
    /// How long there may be no progress once one side has closed.
    linger: Duration,
    /// When that time is up.
    still_until: Option<Instant>,
    /// Bytes read since the last wait.
    passed: usize,
    /// The sides whose last read filled its room, so that more may have arrived.
    has_more: Sides<bool>,
    /// The first of the events that ended it.
    end: Option<End>,
    /// Tasks that close sockets gracefully.
    leaving: JoinSet<()>,
    /// The span of those tasks.
    span: Span,
}

/// Why a connection through the tunnel ended.
#[derive(Debug)]
pub(crate) enum End {
    Closed(Side),
    RelayError(RelayError),
    RelayTimeout(RelayTimeout),
    Failed(Side, io::Error),
    Stuck,
    Revoked,
    TunnelClosed,
    /// The tunnel was closed and one side did not take what was on its way.
    Unsent,
}

impl End {
    fn of(side: Side, error: io::Error) -> Self {
        if is_hangup(&error) {
            Self::Closed(side)
        } else {
            Self::Failed(side, error)
        }
    }

    /// Whether the side `by` has ended the connection.
    pub(crate) fn is_by(&self, by: Side) -> bool {
        match self {
            Self::Closed(side) | Self::Failed(side, _) => *side == by,
            Self::RelayError(broken) => broken.side == by,
            _ => false,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |side: &Side| match side {
            Side::Front => "the peer",
            Side::Back => "the far side",
        };
        match self {
            Self::Unsent => f.write_str("the tunnel was closed before everything was sent on"),
            Self::Closed(side) => write!(f, "{} closed the connection", name(side)),
            Self::RelayError(RelayError { side, error }) => {
                write!(f, "{} broke off: {}", name(side), WithCauses(error))
            }
            Self::RelayTimeout(RelayTimeout { side, .. }) => {
                write!(f, "{} was silent too long", name(side))
            }
            Self::Failed(side, error) => write!(f, "the line to {} failed: {error}", name(side)),
            Self::Stuck => f.write_str("one side is closed, and the other takes no more"),
            Self::Revoked => f.write_str("the peer's admission was revoked"),
            Self::TunnelClosed => f.write_str("the tunnel was closed"),
        }
    }
}

impl Traffic {
    pub(crate) fn new(
        front: Stream,
        back: Stream,
        relay: Relay,
        linger: Duration,
        limits: &Limits,
        span: Span,
    ) -> Self {
        Self {
            streams: Sides {
                front: Some(front),
                back: Some(back),
            },
            relay,
            limits: limits.clone(),
            linger,
            still_until: None,
            passed: 0,
            has_more: Sides::default(),
            end: None,
            leaving: JoinSet::new(),
            span,
        }
    }

    /// Carries traffic until both sides are closed, and returns why they ended.
    ///
    /// When one side closes, what it had sent is still delivered, and then the other side is told
    /// that nothing follows. That side may go on sending until it closes too.
    pub(crate) async fn run(
        mut self,
        grant: Option<Grant>,
        mut close: watch::Receiver<bool>,
    ) -> End {
        let revoked = revoked(grant.as_ref());
        // `biased`: once the grant is revoked, nothing that the peer has sent is passed on.
        tokio::select! {
            biased;
            () = revoked => self.end = Some(End::Revoked),
            () = self.drive(grant.as_ref(), &mut close) => {}
        }
        for side in Side::BOTH {
            self.close_gracefully(side);
        }
        while self.leaving.join_next().await.is_some() {}
        self.end.unwrap_or(End::TunnelClosed)
    }

    async fn drive(&mut self, grant: Option<&Grant>, close: &mut watch::Receiver<bool>) {
        let mut closing = false;
        let mut activity = Activity::default();
        loop {
            tokio::task::coop::consume_budget().await;
            if let Err(broken) = self.relay.forward() {
                self.lose(broken.side, End::RelayError(broken));
                continue;
            }
            // One write for what has arrived already: each wakes a peer that sleeps. Heartbeats, a close and
            // a side that was quiet wait below, so there is a limit.
            if self.passed < READ_BEFORE_WAIT && self.read_more() {
                continue;
            }
            // `run` learns of it only when nothing can be read or written.
            if grant.is_some_and(|grant| !grant.still_valid()) {
                self.end = Some(End::Revoked);
                return;
            }
            // A write makes room for more, so go around again.
            if self.write(Side::Front) | self.write(Side::Back) {
                continue;
            }
            self.pass_on_ends();
            if Side::BOTH.iter().all(|side| !self.relay.takes(*side)) {
                return self.await_closes().await;
            }

            let now = Instant::now();
            let beat = self.relay.deadline(now.into_std()).map(Instant::from_std);
            let half_closed = Side::BOTH
                .iter()
                .any(|side| !self.relay.sends(*side) || !self.relay.takes(*side));
            if half_closed {
                self.still_until
                    .get_or_insert_with(|| deadline(now, self.linger));
            }
            activity.count(0, std::mem::take(&mut self.passed));
            activity.before_wait();
            if !activity.is_busy() {
                self.relay.release_memory();
            }
            tokio::select! {
                ready = self.readable(Side::Front) => self.read(Side::Front, ready),
                ready = self.readable(Side::Back) => self.read(Side::Back, ready),
                ready = self.writable(Side::Front) => self.note_failure(Side::Front, ready),
                ready = self.writable(Side::Back) => self.note_failure(Side::Back, ready),
                () = until(beat) => self.beat(),
                () = activity.idle() => {}
                () = until(self.still_until) => {
                    self.end.get_or_insert(End::Stuck);
                    if closing {
                        self.end = Some(End::Unsent);
                    }
                    return;
                }
                _ = close.wait_for(|close| *close), if !closing => {
                    closing = true;
                    self.end.get_or_insert(End::TunnelClosed);
                    for side in Side::BOTH {
                        self.relay.end_input(side);
                    }
                }
            }
        }
    }

    /// Waits until both sides close, after both were told that nothing follows. They may still be
    /// reading, so what they send meanwhile must be read and discarded. If bytes such as a PONG
    /// arrived after our close, the system would reset the connection, and what is on its way to
    /// the peer would be lost.
    async fn await_closes(&self) {
        let closed = async |stream: &Option<Stream>| {
            if let Some(stream) = stream {
                // An error means that the peer is gone.
                let _ = stream.discard(usize::MAX).await;
            }
        };
        let both = async { tokio::join!(closed(&self.streams.front), closed(&self.streams.back)) };
        let _ = timeout(self.linger, both).await;
    }

    /// Resolves when a side from which input is wanted is readable.
    fn readable(&self, side: Side) -> impl Future<Output = io::Result<()>> {
        let wanted = self.relay.wants_input(side);
        let stream = self.streams[side].as_ref().filter(|_| wanted);
        async move {
            match stream {
                Some(stream) => stream.readable().await,
                None => std::future::pending().await,
            }
        }
    }

    /// Resolves when a side with output is writable.
    fn writable(&self, side: Side) -> impl Future<Output = io::Result<()>> {
        let wanted = self.relay.has_output(side);
        let stream = self.streams[side].as_ref().filter(|_| wanted);
        async move {
            match stream {
                Some(stream) => stream.writable().await,
                None => std::future::pending().await,
            }
        }
    }

    /// Reads once from each side that may have sent more, if there is room for it in what the next write
    /// sends. Returns whether it has tried.
    fn read_more(&mut self) -> bool {
        let mut has_tried = false;
        for side in Side::BOTH {
            if self.has_more[side] && self.relay.wants_input(side) {
                self.read(side, Ok(()));
                has_tried = true;
            }
        }
        has_tried
    }

    fn read(&mut self, side: Side, ready: io::Result<()>) {
        self.has_more[side] = false;
        if ready.is_err() {
            return self.note_failure(side, ready);
        }
        let Some(stream) = &self.streams[side] else {
            return;
        };
        let mut room = self.relay.room(side);
        let offered = room.remaining_mut();
        match stream.try_read(&mut room) {
            Ok(0) => {
                self.end.get_or_insert(End::Closed(side));
                self.relay.end_input(side);
            }
            Ok(read) => {
                // Input is progress only if the other side still takes it.
                if self.relay.takes(side.other()) {
                    self.still_until = None;
                }
                self.passed += read;
                self.has_more[side] = read == offered;
                self.relay.on_read(side, Instant::now().into_std());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.lose(side, End::of(side, error)),
        }
    }

    /// Writes once. Returns whether the state has changed.
    fn write(&mut self, side: Side) -> bool {
        let stream = self.streams[side].as_ref();
        let Some(stream) = stream.filter(|_| self.relay.has_output(side)) else {
            return false;
        };
        match stream.try_write(&self.relay.output(side)) {
            Ok(written) => {
                self.relay.on_written(side, written);
                self.still_until = None;
                written > 0
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            // The side takes nothing more, but what it sent before may have arrived.
            Err(error) => {
                self.end.get_or_insert(End::of(side, error));
                self.relay.end_output(side);
                true
            }
        }
    }

    /// Tells each side that nothing follows, once it has got everything that the other side sent.
    fn pass_on_ends(&mut self) {
        for side in Side::BOTH {
            let over = !self.relay.sends(side.other()) && self.relay.is_drained(side);
            if over && self.relay.takes(side) {
                self.relay.end_output(side);
                if let Some(stream) = &self.streams[side] {
                    stream.shutdown_write();
                }
            }
        }
    }

    /// Acts on a heartbeat's deadline. Reads first, because on a busy machine the peer's answer may
    /// have arrived without having been read.
    fn beat(&mut self) {
        for side in Side::BOTH {
            if self.relay.wants_input(side) {
                self.read(side, Ok(()));
            }
        }
        if let Err(silent) = self.relay.on_deadline(Instant::now().into_std()) {
            self.lose(silent.side, End::RelayTimeout(silent));
        }
    }

    fn note_failure(&mut self, side: Side, ready: io::Result<()>) {
        if let Err(error) = ready {
            self.lose(side, End::of(side, error));
        }
    }

    /// Gives up one side and closes its socket. The other side still gets the complete messages
    /// that had arrived.
    fn lose(&mut self, side: Side, end: End) {
        self.end.get_or_insert(end);
        self.relay.end_input(side);
        self.relay.end_output(side);
        self.close_gracefully(side);
    }

    /// Closes the socket of a side in a task of its own.
    fn close_gracefully(&mut self, side: Side) {
        if let Some(stream) = self.streams[side].take() {
            let limits = self.limits.clone();
            let parting = async move {
                stream
                    .close_gracefully(HandshakeBytes::default(), &limits)
                    .await
            };
            self.leaving.spawn(parting.instrument(self.span.clone()));
        }
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::address::PeerAddress;
    use crate::access::grant::GrantTerms;
    use crate::config::settings::Config;
    use crate::handshake::{Established, Handshake};
    use crate::mechanism::session::PeerContext;
    use crate::net::socket::stream::count;
    use crate::relay::end::RelayEnd;
    use crate::traffic::frames::{Frame, FrameReader, FrameWriter};
    use crate::traffic::heartbeat::{Expiry, HeartbeatExpired, HeartbeatSettings};
    use crate::wire::frame::Flags;
    use crate::wire::socket_type::SocketType;
    use bytes::{Bytes, BytesMut};
    use std::pin::{Pin, pin};
    use std::task::Poll;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tokio::time::{advance, sleep};

    const SECOND: Duration = Duration::from_secs(1);

    /// One end of a tunnel, driven by hand.
    struct Peer {
        stream: UnixStream,
        input: BytesMut,
        reader: FrameReader,
        writer: FrameWriter,
    }

    impl Peer {
        async fn send(&mut self, flags: Flags, body: &[u8]) {
            let mut out = BytesMut::new();
            self.writer.write(flags, body, &mut out).unwrap();
            // A tunnel that has ended takes nothing.
            let _ = self.stream.write_all(&out).await;
        }

        async fn ping(&mut self) {
            self.send(Flags::Command, b"\x04PING\0\0").await;
        }

        /// Sends messages until the tunnel takes no more; how many are whole.
        async fn fill(&mut self) -> usize {
            for sent in 0.. {
                let message = self.send(Flags::Last, &[7; 1000]);
                if timeout(SECOND, message).await.is_err() {
                    return sent;
                }
            }
            unreachable!()
        }

        /// The next frame; `None` at the end, which is never within one.
        async fn frame(&mut self) -> Option<Frame> {
            loop {
                if let Some(frame) = self.reader.read(&mut self.input).unwrap() {
                    return Some(frame);
                }
                match self.stream.read_buf(&mut self.input).await {
                    Ok(0) | Err(_) => {
                        assert!(self.input.is_empty(), "cut within a message");
                        return None;
                    }
                    Ok(_) => {}
                }
            }
        }

        /// How many messages come until the end.
        async fn messages(&mut self) -> usize {
            let mut messages = 0;
            while let Some(frame) = self.frame().await {
                messages += usize::from(frame.flags == Flags::Last);
            }
            messages
        }

        /// Answers so many PINGs, and closes when the tunnel does.
        async fn answer(mut self, max: usize) {
            let mut answers = 0;
            while let Some(frame) = self.frame().await {
                if answers < max && frame.flags == Flags::Command {
                    answers += 1;
                    self.send(Flags::Command, b"\x04PONG").await;
                }
            }
        }
    }

    fn established() -> (Established, Established) {
        let config = Config::builder(SocketType::Pair).null().accept_any_peer();
        let config = config.finish().unwrap();
        let context = || PeerContext::new(PeerAddress::from_zap(b"127.0.0.1"));
        let (mut from_one, mut from_two) = (BytesMut::new(), BytesMut::new());
        let mut one = Handshake::start(&config, context(), &mut from_one);
        let mut two = Handshake::start(&config, context(), &mut from_two);
        let step = |state, input: &mut _, out: &mut _| match state {
            Handshake::NeedsInput(waiting) => waiting.process(input, out).unwrap(),
            done => done,
        };
        loop {
            one = step(one, &mut from_two, &mut from_one);
            two = step(two, &mut from_one, &mut from_two);
            if let (Handshake::Complete(_), Handshake::Complete(_)) = (&one, &two) {
                break;
            }
        }
        match (one, two) {
            (Handshake::Complete(one), Handshake::Complete(two)) => (*one, *two),
            _ => unreachable!(),
        }
    }

    fn end(heartbeat: Option<HeartbeatSettings>) -> (Stream, RelayEnd, Peer) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (one, two) = established();
        let limits = Limits::default();
        let end = RelayEnd::new(one, &limits, heartbeat, Instant::now().into_std());
        let peer = Peer {
            stream: theirs,
            input: BytesMut::new(),
            reader: FrameReader::new(two.opener, &limits),
            writer: FrameWriter::new(two.sealer),
        };
        (Stream::Ipc(ours), end, peer)
    }

    fn every_second() -> Option<HeartbeatSettings> {
        Some(HeartbeatSettings::every(SECOND))
    }

    /// A tunnel with the same heartbeat on both sides, and its two peers.
    fn tunnel(heartbeat: Option<HeartbeatSettings>) -> (Traffic, Peer, Peer) {
        between(end(heartbeat), end(heartbeat))
    }

    fn between(
        (front, front_end, first): (Stream, RelayEnd, Peer),
        (back, back_end, second): (Stream, RelayEnd, Peer),
    ) -> (Traffic, Peer, Peer) {
        if let Stream::Ipc(stream) = &back {
            // Less than the tunnel itself takes at once.
            let socket = socket2::SockRef::from(stream);
            socket.set_send_buffer_size(16 * 1024).unwrap();
        }
        let relay = Relay::new(front_end, back_end);
        let limits = Limits::default();
        let traffic = Traffic::new(front, back, relay, 30 * SECOND, &limits, Span::none());
        (traffic, first, second)
    }

    /// Runs the tunnel to its end, and fails if it is polled more often than it has reason to.
    async fn run(traffic: Traffic, close: &watch::Sender<bool>, max: usize) -> End {
        let mut running = pin!(traffic.run(None, close.subscribe()));
        let mut polls = 0;
        std::future::poll_fn(|context| {
            polls += 1;
            if polls > max {
                return Poll::Ready(None);
            }
            running.as_mut().poll(context).map(Some)
        })
        .await
        .expect("the tunnel spins")
    }

    #[tokio::test(start_paused = true)]
    async fn large_messages_that_have_arrived_leave_in_one_write_unless_much_was_read_before() {
        for (passed, expected) in [(0, 1), (READ_BEFORE_WAIT - 1, 2)] {
            let ((front, front_end, mut first), (back, back_end, mut second)) =
                (end(None), end(None));
            let relay = Relay::new(front_end, back_end);
            let limits = Limits::default();
            let mut traffic = Traffic::new(front, back, relay, SECOND, &limits, Span::none());
            for _ in 0..6 {
                first.send(Flags::Last, &[7; 20_000]).await;
            }
            first.stream.shutdown().await.unwrap();
            traffic.readable(Side::Front).await.unwrap();
            for _ in 0..10 {
                if !traffic.relay.has_output(Side::Back) {
                    traffic.read(Side::Front, Ok(()));
                    traffic.relay.forward().unwrap();
                }
            }
            assert!(traffic.has_more[Side::Front], "everything was read");
            traffic.passed = passed;
            let (close, _) = watch::channel(false);
            count::taken();
            let receiving = async {
                let got = second.messages().await;
                second.stream.shutdown().await.unwrap();
                got
            };
            let (_, got) = tokio::join!(run(traffic, &close, 100), receiving);
            assert_eq!(got, 6);
            let [reads, writes] = count::taken();
            assert_eq!(writes, expected, "after {reads} reads");
        }
    }

    /// Terms that were withdrawn, and whose wait for that is not over yet.
    struct JustWithdrawn;

    impl GrantTerms for JustWithdrawn {
        fn still_valid(&self) -> bool {
            false
        }

        fn revoked(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_passed_on_after_a_revocation_that_the_task_has_not_waited_for() {
        let (traffic, mut first, mut second) = tunnel(None);
        first.send(Flags::Last, b"late").await;
        let (_close, closing) = watch::channel(false);
        let running = traffic.run(Some(Grant::new(JustWithdrawn)), closing);
        let both = async { tokio::join!(running, second.messages()) };
        let (end, got) = timeout(100 * SECOND, both).await.unwrap();
        assert!(matches!(end, End::Revoked), "{end}");
        assert_eq!(got, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_tunnel_sleeps_between_its_heartbeats() {
        let (traffic, first, second) = tunnel(every_second());
        let (close, _) = watch::channel(false);
        let closing = async {
            sleep(1000 * SECOND).await;
            close.send_replace(true);
        };
        let (end, ..) = tokio::join!(
            run(traffic, &close, 10_000),
            first.answer(usize::MAX),
            second.answer(usize::MAX),
            closing
        );
        assert!(matches!(end, End::TunnelClosed), "{end}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_that_waits_for_a_side_that_does_not_read_sleeps_and_ends() {
        // As a server's: heartbeats in front, where the network is.
        let (traffic, mut first, second) = between(end(every_second()), end(None));
        let (close, _) = watch::channel(false);
        let start = Instant::now();
        let sending = async move {
            for _ in 0..40 {
                first.send(Flags::Last, &[7; 2000]).await;
            }
        };
        let (end, ()) = tokio::join!(run(traffic, &close, 200), sending);
        assert!(matches!(end, End::Closed(Side::Front)), "{end}");
        assert!(start.elapsed() < 40 * SECOND);
        drop(second);
    }

    #[tokio::test(start_paused = true)]
    async fn a_half_closed_tunnel_sleeps_and_carries_the_other_direction() {
        let (traffic, mut first, mut second) = tunnel(every_second());
        let (close, _) = watch::channel(false);
        let half_closed = async {
            first.stream.shutdown().await.unwrap();
            first.messages().await
        };
        let sending = async {
            assert!(second.frame().await.is_none());
            for _ in 0..10 {
                sleep(20 * SECOND).await;
                second.send(Flags::Last, b"more").await;
            }
            second.stream.shutdown().await.unwrap();
        };
        let (end, got, ()) = tokio::join!(run(traffic, &close, 2000), half_closed, sending);
        assert!(matches!(end, End::Closed(Side::Front)), "{end}");
        assert_eq!(got, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_tunnel_gives_a_slow_reader_whole_messages() {
        // It takes 20 s for the message, and the PING stands behind it.
        let mut heartbeat = HeartbeatSettings::every(3 * SECOND);
        heartbeat.timeout = 10 * SECOND;
        let (traffic, mut first, mut second) = between(end(None), end(Some(heartbeat)));
        let (close, _) = watch::channel(false);
        let sending = async {
            first.send(Flags::Last, &[7; 1_000_000]).await;
            sleep(5 * SECOND).await;
            close.send_replace(true);
        };
        let reading = async {
            let mut frames = Vec::new();
            loop {
                let max = second
                    .stream
                    .read_buf(&mut (&mut second.input).limit(5000))
                    .await;
                if max.unwrap_or(0) == 0 {
                    break;
                }
                while let Some(frame) = second.reader.read(&mut second.input).unwrap() {
                    if frame.flags == Flags::Command {
                        // It comes late, and must not cost what is on its way.
                        second.send(Flags::Command, b"\x04PONG").await;
                    }
                    frames.push((frame.flags, frame.body.len()));
                }
                sleep(SECOND / 10).await;
            }
            frames
        };
        let (end, (), frames) = tokio::join!(run(traffic, &close, 20_000), sending, reading);
        assert!(matches!(end, End::TunnelClosed), "{end}");
        assert_eq!(frames[0], (Flags::Last, 1_000_000));
        assert!(second.input.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_tunnel_says_that_a_side_took_no_more() {
        let (traffic, mut first, _second) = tunnel(None);
        let (close, _) = watch::channel(false);
        let closing = async {
            first.fill().await;
            close.send_replace(true);
        };
        let (end, ()) = tokio::join!(run(traffic, &close, 1000), closing);
        assert!(matches!(end, End::Unsent), "{end}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_peer_sent_crosses_when_its_answers_no_longer_reach_it() {
        let (traffic, mut first, mut second) = tunnel(None);
        let (close, _) = watch::channel(false);
        let sending = async move {
            // PINGs between the messages must not hold them up once they cannot be answered.
            for _ in 0..40 {
                first.ping().await;
            }
            first.fill().await
        };
        // It answers each message at length before it takes the next, and asks for signs of life.
        let answering = async {
            sleep(10 * SECOND).await;
            let (mut got, mut pongs) = (0, 0);
            while let Some(frame) = second.frame().await {
                if frame.flags == Flags::Command {
                    pongs += 1;
                    continue;
                }
                got += 1;
                if got % 40 == 0 {
                    second.ping().await;
                }
                second.send(Flags::Last, &[8; 10_000]).await;
            }
            (got, pongs)
        };
        let (end, sent, (got, pongs)) =
            tokio::join!(run(traffic, &close, 20_000), sending, answering);
        assert!(matches!(end, End::Closed(Side::Front)), "{end}");
        assert_eq!(got, sent);
        assert!(pongs >= sent / 80, "{pongs} of {sent}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_breaks_the_protocol_is_closed_at_once_and_what_it_had_sent_crosses() {
        let malformed = Bytes::from_static(b"\x04PING\0");
        for behind in [Flags::Last, Flags::More, Flags::Command] {
            let (traffic, mut first, mut second) = tunnel(None);
            let (close, _) = watch::channel(false);
            let mut bad = BytesMut::new();
            // More than the system takes at once.
            for _ in 0..40 {
                first
                    .writer
                    .write(Flags::Last, &[7; 2000], &mut bad)
                    .unwrap();
            }
            first
                .writer
                .write(Flags::Command, &malformed, &mut bad)
                .unwrap();
            first.writer.write(behind, b"behind", &mut bad).unwrap();
            let breaking = async {
                first.stream.write_all(&bad).await.unwrap();
                let sent = Instant::now();
                assert!(first.frame().await.is_none());
                sent.elapsed()
            };
            let reading = async {
                sleep(10 * SECOND).await;
                second.messages().await
            };
            let (end, held, got) = tokio::join!(run(traffic, &close, 2000), breaking, reading);
            assert!(
                matches!(
                    end,
                    End::RelayError(RelayError {
                        side: Side::Front,
                        ..
                    })
                ),
                "{end}"
            );
            assert_eq!(got, 40);
            assert!(held < 2 * SECOND, "held for {held:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_arrived_counts_before_a_heartbeat_that_is_over() {
        for _ in 0..20 {
            let (traffic, mut first, mut second) = tunnel(every_second());
            let (close, _) = watch::channel(false);
            let speaking = async {
                sleep(SECOND + SECOND / 2).await;
                // The machine is busy: the answer is there, and nothing looks at it in time.
                first.send(Flags::Last, b"here").await;
                second.send(Flags::Last, b"here").await;
                advance(3 * SECOND).await;
                tokio::task::yield_now().await;
                close.send_replace(true);
            };
            let (end, ()) = tokio::join!(run(traffic, &close, 1000), speaking);
            assert!(matches!(end, End::TunnelClosed), "{end}");
        }
    }

    /// What becomes of a tunnel whose front answers so many PINGs and is then silent, in an hour.
    async fn after_answers(expiry: Expiry, answers: usize, send: bool) -> (End, Duration) {
        let heartbeat = HeartbeatSettings {
            expiry,
            ..HeartbeatSettings::every(SECOND)
        };
        let (traffic, first, mut second) = tunnel(Some(heartbeat));
        let (close, _) = watch::channel(false);
        let start = Instant::now();
        let others = async {
            let messages = async {
                if send {
                    sleep(5 * SECOND / 2).await;
                    second.send(Flags::Last, b"a message").await;
                }
                second.answer(usize::MAX).await;
            };
            let closing = async {
                sleep(3600 * SECOND).await;
                close.send_replace(true);
            };
            tokio::join!(messages, first.answer(answers), closing);
            std::future::pending::<()>().await;
        };
        let ended = async {
            let end = run(traffic, &close, 100_000).await;
            (end, start.elapsed())
        };
        tokio::select! {
            biased;
            ended = ended => ended,
            () = others => unreachable!(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_peer_that_has_answered_before_is_closed_unless_every_peer_is_to_be() {
        let silent = |end: &End| {
            let silence = HeartbeatExpired::NoAnswer;
            matches!(end, End::RelayTimeout(silent) if *silent == RelayTimeout { side: Side::Front, expired: silence })
        };
        let (end, _) = after_answers(Expiry::OnceAnswered, 0, false).await;
        assert!(matches!(end, End::TunnelClosed), "{end}");
        for (expiry, answers) in [
            (Expiry::OnceAnswered, 2),
            (Expiry::Always, 0),
            (Expiry::Always, 2),
        ] {
            let (end, after) = after_answers(expiry, answers, false).await;
            assert!(silent(&end), "{end}");
            assert!(after < 10 * SECOND);
        }
        // It may be busy with the message, but not for ever.
        let (end, after) = after_answers(Expiry::OnceAnswered, 2, true).await;
        assert!(silent(&end), "{end}");
        assert!(after > 500 * SECOND && after < 700 * SECOND, "{after:?}");
    }
}
