//! Drives what crosses a tunnel between two sockets, to the end of both.
#![forbid(unsafe_code)]

use crate::access::grant::Grant;
use crate::limits::Limits;
use crate::net::clock::{deadline, until};
use crate::net::driver::{READ_BUSY, READ_QUIET};
use crate::net::handshake_bytes::HandshakeBytes;
use crate::net::pace::Pace;
use crate::net::transport::{Stream, is_hangup};
use crate::relay::traffic::{Broken, Relay, Side, Silent};
use bytes::BufMut;
use std::fmt;
use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Both connections of one peer, each with its other.
pub(super) struct Traffic {
    front: Line,
    back: Line,
    relay: Relay,
    /// How long it may stand still once one side has closed.
    linger: Duration,
    /// When that will have been so.
    still_until: Option<Instant>,
    /// Bytes that have been read since the last wait.
    passed: usize,
    /// What happened first of all that ends it.
    end: Option<End>,
}

/// One connection.
struct Line {
    stream: Stream,
    /// Nothing more comes from its peer, or is wanted.
    closed: bool,
    /// Nothing more goes to its peer: it was told so, or takes no more.
    shut: bool,
    read_size: usize,
}

impl Line {
    const fn new(stream: Stream) -> Self {
        Self {
            stream,
            closed: false,
            shut: false,
            read_size: READ_QUIET,
        }
    }
}

/// Why a connection through the tunnel ended.
#[derive(Debug)]
pub(super) enum End {
    Closed(Side),
    Broken(Broken),
    Silent(Silent),
    Failed(Side, io::Error),
    Stuck,
    Revoked,
    TunnelClosed,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |side: &Side| match side {
            Side::Front => "the peer",
            Side::Back => "the far side",
        };
        match self {
            Self::Closed(side) => write!(f, "{} closed the connection", name(side)),
            Self::Broken(Broken { side, error }) => write!(f, "{} broke off: {error}", name(side)),
            Self::Silent(Silent { side, .. }) => write!(f, "{} was silent too long", name(side)),
            Self::Failed(side, error) => write!(f, "the line to {} failed: {error}", name(side)),
            Self::Stuck => f.write_str("one side is closed, and the other takes no more"),
            Self::Revoked => f.write_str("the peer's admission was revoked"),
            Self::TunnelClosed => f.write_str("the tunnel was closed"),
        }
    }
}

impl Traffic {
    pub(super) const fn new(front: Stream, back: Stream, relay: Relay, linger: Duration) -> Self {
        Self {
            front: Line::new(front),
            back: Line::new(back),
            relay,
            linger,
            still_until: None,
            passed: 0,
            end: None,
        }
    }

    /// Drives both connections to their end, and says why it came.
    ///
    /// When one side closes, what it had sent is still delivered, and the other is told that
    /// nothing more will come; it may go on sending until it has closed too.
    pub(super) async fn run(
        mut self,
        grant: Option<Grant>,
        mut close: watch::Receiver<bool>,
        limits: &Limits,
    ) -> End {
        let revoked = async {
            match &grant {
                Some(grant) => grant.revoked().await,
                None => std::future::pending().await,
            }
        };
        // Whoever may not be here any more shall not be heard any more, so nothing is sent on.
        tokio::select! {
            biased;
            () = revoked => self.end = Some(End::Revoked),
            () = self.drive(&mut close) => {}
        }
        let nothing = HandshakeBytes::default;
        tokio::join!(
            self.front.stream.part(nothing(), limits),
            self.back.stream.part(nothing(), limits),
        );
        self.end.unwrap_or(End::TunnelClosed)
    }

    async fn drive(&mut self, close: &mut watch::Receiver<bool>) {
        let mut closing = false;
        let mut pace = Pace::default();
        loop {
            tokio::task::coop::consume_budget().await;
            if let Err(broken) = self.relay.turn() {
                self.lose(broken.side, End::Broken(broken));
                continue;
            }
            // What is written makes room for more.
            if self.write(Side::Front) | self.write(Side::Back) {
                continue;
            }
            self.pass_on_ends();
            if self.front.shut && self.back.shut {
                return;
            }

            let now = Instant::now();
            let beat = self.relay.deadline(now.into_std()).map(Instant::from_std);
            let half_closed = [&self.front, &self.back]
                .iter()
                .any(|line| line.closed || line.shut);
            if half_closed {
                self.still_until
                    .get_or_insert_with(|| deadline(now, self.linger));
            }
            pace.passed(0, std::mem::take(&mut self.passed));
            if !pace.waits() {
                self.relay.rest();
            }
            tokio::select! {
                ready = self.readable(Side::Front) => self.read(Side::Front, ready),
                ready = self.readable(Side::Back) => self.read(Side::Back, ready),
                ready = self.writable(Side::Front) => self.note_failure(Side::Front, ready),
                ready = self.writable(Side::Back) => self.note_failure(Side::Back, ready),
                () = until(beat) => self.beat(),
                () = pace.slackens() => {}
                () = until(self.still_until) => {
                    self.end.get_or_insert(End::Stuck);
                    return;
                }
                _ = close.wait_for(|close| *close), if !closing => {
                    closing = true;
                    self.end.get_or_insert(End::TunnelClosed);
                    self.front.closed = true;
                    self.back.closed = true;
                }
            }
        }
    }

    /// Resolves when there is something to read that is wanted.
    fn readable(&self, side: Side) -> impl Future<Output = io::Result<()>> {
        let line = self.line(side);
        // What comes from one side while nothing goes to the other has nowhere to go.
        let wanted = !line.closed && !self.line(side.other()).shut && self.relay.wants_input(side);
        async move {
            if !wanted {
                std::future::pending::<()>().await;
            }
            line.stream.readable().await
        }
    }

    /// Resolves when something to be written can be.
    fn writable(&self, side: Side) -> impl Future<Output = io::Result<()>> {
        let line = self.line(side);
        let wanted = !line.shut && self.relay.has_output(side);
        async move {
            if !wanted {
                std::future::pending::<()>().await;
            }
            line.stream.writable().await
        }
    }

    fn read(&mut self, side: Side, ready: io::Result<()>) {
        if ready.is_err() {
            return self.note_failure(side, ready);
        }
        let (line, relay) = match side {
            Side::Front => (&mut self.front, &mut self.relay),
            Side::Back => (&mut self.back, &mut self.relay),
        };
        let most = relay.wanted(side).max(line.read_size);
        let input = relay.input(side);
        input.reserve(most);
        match line.stream.try_read(&mut input.limit(most)) {
            Ok(0) => self.note_close(side),
            Ok(read) => {
                line.read_size = if read == most {
                    READ_BUSY.min(line.read_size * 2)
                } else {
                    READ_QUIET
                };
                self.still_until = None;
                self.passed += read;
                self.relay.received(side, Instant::now().into_std());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if is_hangup(&error) => self.note_close(side),
            Err(error) => self.lose(side, End::Failed(side, error)),
        }
    }

    /// Writes what there is, once; whether anything was.
    fn write(&mut self, side: Side) -> bool {
        let line = self.line(side);
        if line.shut || !self.relay.has_output(side) {
            return false;
        }
        match line.stream.try_write(&self.relay.output(side)) {
            Ok(written) => {
                self.relay.sent(side, written);
                self.still_until = None;
                written > 0
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            // It takes nothing more, but what it sent before it went may be here already.
            Err(error) if is_hangup(&error) => {
                self.end.get_or_insert(End::Closed(side));
                self.line_mut(side).shut = true;
                false
            }
            Err(error) => {
                self.lose(side, End::Failed(side, error));
                false
            }
        }
    }

    /// Tells each side that nothing more will come, once it has got everything that did.
    fn pass_on_ends(&mut self) {
        for side in [Side::Front, Side::Back] {
            let over = self.line(side.other()).closed && self.relay.is_drained(side);
            let line = self.line_mut(side);
            if over && !line.shut {
                line.shut = true;
                line.stream.shutdown_write();
            }
        }
    }

    fn beat(&mut self) {
        if let Err(silent) = self.relay.poll(Instant::now().into_std()) {
            self.lose(silent.side, End::Silent(silent));
        }
    }

    fn note_failure(&mut self, side: Side, ready: io::Result<()>) {
        if let Err(error) = ready {
            self.lose(side, End::Failed(side, error));
        }
    }

    fn note_close(&mut self, side: Side) {
        self.end.get_or_insert(End::Closed(side));
        self.line_mut(side).closed = true;
    }

    /// Gives one side up. The other still gets what was complete.
    fn lose(&mut self, side: Side, end: End) {
        self.end.get_or_insert(end);
        let line = self.line_mut(side);
        line.closed = true;
        line.shut = true;
    }

    const fn line(&self, side: Side) -> &Line {
        match side {
            Side::Front => &self.front,
            Side::Back => &self.back,
        }
    }

    const fn line_mut(&mut self, side: Side) -> &mut Line {
        match side {
            Side::Front => &mut self.front,
            Side::Back => &mut self.back,
        }
    }
}
