//! An `AuthStream` without I/O: the relay of a tunnel, with the host's end in memory.
#![forbid(unsafe_code)]

use crate::access::peer::Peer;
use crate::host::stream::ended::{Ended, StreamError};
use crate::host::stream::meeting::{Complete, Meeting, MeetingOutcome};
use crate::host::subject::Subject;
use crate::limits::Limits;
use crate::relay::end::RelayEnd;
use crate::relay::forward::{Relay, RelayError};
use crate::relay::side::{Side, Sides};
use crate::traffic::heartbeat::HeartbeatSettings;
use ::bytes::BytesMut;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

mod bytes;

/// A stream that carries at least this many bytes between two waits is busy, and keeps its buffers
/// for [`SLACK`]. The buffers would cost more than the bytes if they were made again for each.
const BUSY: usize = 16 * 1024;

/// How long a stream that was busy keeps its buffers. Gaps in a busy stream are shorter.
const SLACK: Duration = Duration::from_millis(1);

enum Phase {
    Meeting(Box<Meeting>),
    Traffic(Box<Relay>),
    /// Nothing more is carried.
    Over,
}

/// Both ends of an `AuthStream`, with all that it knows but the stream to the network, the clock and
/// the wakers.
pub(crate) struct Machine {
    /// The side of the relay on which the network is. The host is on the other one.
    network: Side,
    phase: Phase,
    /// Bytes of the handshakes that have arrived and are not processed.
    input: Sides<BytesMut>,
    /// Bytes of the handshakes that are to be sent before those of the relay.
    out: Sides<BytesMut>,
    /// Whether more may come from each side.
    sends: Sides<bool>,
    /// Whether the network takes what goes to it.
    network_takes: bool,
    limits: Limits,
    heartbeat: Option<HeartbeatSettings>,
    /// When the time for both handshakes is up.
    meet_until: Instant,
    peer: Option<Peer>,
    /// The network's peer, for errors.
    subject: Subject,
    ended: Option<Ended>,
    /// Bytes carried since the last wait.
    carried: usize,
    /// When the buffers of a stream that was busy are freed.
    release_at: Option<Instant>,
}

impl Machine {
    /// Begins when the network's handshake has paused. `meet_until` is when the time for both
    /// handshakes is up, `arrived` what has come from the network behind its last command, and
    /// `to_host` what the host's handshake begins with.
    pub(crate) fn new(
        (meeting, meet_until): (Meeting, Instant),
        (arrived, to_host): (BytesMut, BytesMut),
        (peer, subject): (Option<Peer>, Subject),
        (limits, heartbeat): (&Limits, Option<HeartbeatSettings>),
    ) -> Self {
        let network = meeting.network();
        let sides = |of_network, of_host| match network {
            Side::Front => Sides {
                front: of_network,
                back: of_host,
            },
            Side::Back => Sides {
                front: of_host,
                back: of_network,
            },
        };
        Self {
            network,
            phase: Phase::Meeting(Box::new(meeting)),
            input: sides(arrived, BytesMut::new()),
            out: sides(BytesMut::new(), to_host),
            sends: Sides {
                front: true,
                back: true,
            },
            network_takes: true,
            limits: limits.clone(),
            heartbeat,
            meet_until,
            peer,
            subject,
            ended: None,
            carried: 0,
            release_at: None,
        }
    }

    const fn host(&self) -> Side {
        self.network.other()
    }

    /// The network's peer, as soon as it is known.
    pub(crate) const fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// Why the network's side has ended before its time, for the host's read or write.
    pub(crate) fn error(&self) -> Option<io::Error> {
        self.ended.as_ref().map(|ended| self.error_of(ended))
    }

    pub(crate) fn error_of(&self, ended: &Ended) -> io::Error {
        ended.to_error(&self.subject)
    }

    /// Whether both handshakes are complete and traffic may cross.
    pub(crate) const fn is_established(&self) -> bool {
        matches!(self.phase, Phase::Traffic(_))
    }

    /// Processes what has arrived from both sides, as far as there is room.
    pub(crate) fn advance(&mut self, now: Instant) {
        if let Phase::Meeting(_) = self.phase {
            self.meet(now);
        }
        // Each side breaks off at most once, and what it had sent before is still forwarded.
        while let Phase::Traffic(relay) = &mut self.phase {
            let Err(RelayError { side, error }) = relay.forward() else {
                return;
            };
            relay.end_input(side);
            relay.end_output(side);
            self.ended
                .get_or_insert(Ended::Stream(if side == self.network {
                    StreamError::Peer(error)
                } else {
                    StreamError::Host(error)
                }));
        }
    }

    fn meet(&mut self, now: Instant) {
        let Phase::Meeting(meeting) = std::mem::replace(&mut self.phase, Phase::Over) else {
            return;
        };
        match meeting.process(&mut self.input, &mut self.out) {
            Ok(MeetingOutcome::Waiting(meeting)) if !self.sends[self.network] => {
                self.end(meeting.peer_closed());
            }
            // The host has closed before it was introduced: there is nothing to carry.
            Ok(MeetingOutcome::Waiting(meeting))
                if meeting.awaits_host() && !self.sends[self.host()] => {}
            Ok(MeetingOutcome::Waiting(meeting)) => self.phase = Phase::Meeting(meeting),
            Ok(MeetingOutcome::Complete(complete)) => self.begin_traffic(*complete, now),
            Err(ended) => self.end(ended),
        }
    }

    fn begin_traffic(&mut self, complete: Complete, now: Instant) {
        let Complete {
            front,
            back,
            server,
        } = complete;
        let mut end = |established, side| {
            let heartbeat = self.heartbeat.filter(|_| side == self.network);
            let input = std::mem::take(&mut self.input[side]);
            RelayEnd::new(established, &self.limits, heartbeat, now).with_input(input)
        };
        let mut relay = Relay::new(end(front, Side::Front), end(back, Side::Back));
        for side in Side::BOTH {
            if !self.sends[side] {
                relay.end_input(side);
            }
        }
        self.peer = self.peer.take().or(server);
        self.phase = Phase::Traffic(Box::new(relay));
    }

    /// Ends both sides at once. What was under way is dropped.
    fn end(&mut self, ended: Ended) {
        self.ended.get_or_insert(ended);
        self.phase = Phase::Over;
        self.input = Sides::default();
        self.out = Sides::default();
    }

    /// Ends both sides, because the peer may not be here any longer. Nothing that it has sent reaches
    /// the host.
    pub(crate) fn revoke(&mut self) {
        self.ended = None;
        self.end(Ended::Stream(StreamError::Revoked));
    }

    /// Whether the connection to the network is to be closed, with whatever is under way to it.
    pub(crate) fn is_network_lost(&self) -> bool {
        match &self.ended {
            Some(Ended::Stream(StreamError::Host(_))) | None => false,
            Some(_) => true,
        }
    }

    /// Notes that the host sends nothing more.
    pub(crate) fn end_host_input(&mut self) {
        self.end_input(self.host());
    }

    /// Notes that the network's peer sends nothing more.
    pub(crate) fn end_network_input(&mut self) {
        self.end_input(self.network);
    }

    fn end_input(&mut self, side: Side) {
        self.sends[side] = false;
        if let Phase::Traffic(relay) = &mut self.phase {
            relay.end_input(side);
        }
    }

    /// Notes that nothing more goes to the network: it was told so, or takes no more.
    pub(crate) fn end_network_output(&mut self) {
        let network = self.network;
        self.out[network].clear();
        // During the handshakes the peer may have told why before it left, so it is still read.
        self.network_takes = false;
        if let Phase::Traffic(relay) = &mut self.phase {
            relay.end_output(network);
        }
    }

    /// Notes that reading from the network has failed.
    pub(crate) fn lose_network(&mut self, error: io::Error) {
        let ended = Ended::Io(error.into());
        match &mut self.phase {
            Phase::Traffic(relay) => {
                relay.end_input(self.network);
                relay.end_output(self.network);
                self.ended.get_or_insert(ended);
            }
            _ => self.end(ended),
        }
    }

    /// Whether the network takes what the host writes.
    pub(crate) const fn network_takes(&self) -> bool {
        self.network_takes && !matches!(self.phase, Phase::Over)
    }

    pub(crate) fn wants_network_input(&self) -> bool {
        self.wants_input(self.network)
    }

    fn wants_input(&self, side: Side) -> bool {
        match &self.phase {
            Phase::Meeting(_) => self.sends[side] && self.meeting_room(side) > 0,
            Phase::Traffic(relay) => relay.wants_input(side),
            Phase::Over => false,
        }
    }

    /// Whether the host has read everything that the network's peer had sent when it closed.
    pub(crate) fn is_at_end(&self) -> bool {
        match &self.phase {
            Phase::Meeting(_) => false,
            Phase::Traffic(relay) => {
                !self.sends[self.network]
                    && self.out[self.host()].is_empty()
                    && relay.is_drained(self.host())
            }
            Phase::Over => true,
        }
    }

    /// Whether the network was given everything that the host has written, but for a command, or a
    /// message, that is not whole.
    pub(crate) fn is_sent(&self) -> bool {
        if !self.out[self.network].is_empty() {
            return false;
        }
        match &self.phase {
            Phase::Meeting(meeting) => meeting.awaits_host() || self.input[self.host()].is_empty(),
            Phase::Traffic(relay) => relay.is_drained(self.network),
            Phase::Over => true,
        }
    }

    /// As [`Machine::is_sent`], after the host has said that nothing follows.
    pub(crate) fn is_finished(&self) -> bool {
        !matches!(self.phase, Phase::Meeting(_)) && self.is_sent()
    }

    /// When to call [`Machine::on_deadline`] next. `None` means never, until something changes.
    pub(crate) fn deadline(&mut self, now: Instant) -> Option<Instant> {
        match &mut self.phase {
            Phase::Meeting(_) => Some(self.meet_until),
            Phase::Traffic(relay) => {
                let beat = relay.deadline(now);
                beat.into_iter().chain(self.release_at).min()
            }
            Phase::Over => None,
        }
    }

    /// Does what is due at `now`. Read what has arrived before, since it counts as a sign of life.
    pub(crate) fn on_deadline(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Meeting(meeting) if now >= self.meet_until => {
                let ended = meeting.timed_out();
                self.end(ended);
            }
            Phase::Traffic(relay) => {
                if let Err(silent) = relay.on_deadline(now) {
                    relay.end_input(silent.side);
                    relay.end_output(silent.side);
                    let error = StreamError::Heartbeat(silent.expired);
                    self.ended.get_or_insert(Ended::Stream(error));
                }
            }
            _ => {}
        }
    }

    /// Notes that nothing can be done before something changes. Frees buffers that hold nothing,
    /// unless the stream is busy.
    pub(crate) fn before_wait(&mut self, now: Instant) {
        let Phase::Traffic(relay) = &mut self.phase else {
            return;
        };
        if std::mem::take(&mut self.carried) >= BUSY {
            self.release_at = Some(now + SLACK);
        } else if self.release_at.is_none_or(|at| at <= now) {
            self.release_at = None;
            relay.release_memory();
        }
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("network", &self.network)
            .field("is_established", &self.is_established())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
