//! The bytes of both sides on their way through the machine.
#![forbid(unsafe_code)]

use crate::host::stream::machine::{Machine, Phase};
use crate::relay::side::Side;
use crate::traffic::outbox::PARTS;
use crate::wire::frame::MAX_HEADER_LEN;
use crate::wire::greeting::GREETING_LEN;
use bytes::buf::Limit;
use bytes::{Buf, BufMut, BytesMut};
use std::io::IoSlice;
use std::time::Instant;

/// First size of the buffer for the network's handshake, in bytes. Every command that libzmq sends
/// fits.
const MEETING_ROOM: usize = 1024;

impl Machine {
    /// Takes the beginning of what the host has written, as far as there is room, and returns how
    /// many bytes that was.
    pub(crate) fn take_from_host(&mut self, bytes: &[u8], now: Instant) -> usize {
        let host = self.host();
        let mut rest = bytes;
        while !rest.is_empty() && self.wants_input(host) {
            let count = match &mut self.phase {
                Phase::Traffic(relay) => relay.take(host, rest, now),
                _ => {
                    let count = rest.len().min(self.meeting_room(host));
                    self.input[host].extend_from_slice(&rest[..count]);
                    count
                }
            };
            rest = &rest[count..];
            self.advance(now);
        }
        let taken = bytes.len() - rest.len();
        self.carried += taken;
        taken
    }

    /// How many more bytes may wait during the handshakes: one greeting and one command together.
    pub(super) fn meeting_room(&self, side: Side) -> usize {
        let max = GREETING_LEN + MAX_HEADER_LEN + self.limits.max_handshake_command;
        max.saturating_sub(self.input[side].len())
    }

    /// Room for what is read from the network: at least one byte, if it
    /// [is wanted](Self::wants_network_input).
    pub(crate) fn network_room(&mut self) -> Limit<&mut BytesMut> {
        let max = self.meeting_room(self.network);
        if let Phase::Traffic(relay) = &mut self.phase {
            return relay.room(self.network);
        }
        let input = &mut self.input[self.network];
        if input.capacity() == input.len() {
            input.reserve(MEETING_ROOM.max(input.len()));
        }
        let room = (input.capacity() - input.len()).min(max);
        input.limit(room)
    }

    /// Notes that `count` bytes were read from the network.
    pub(crate) fn on_network_read(&mut self, count: usize, now: Instant) {
        self.carried += count;
        if let Phase::Traffic(relay) = &mut self.phase {
            relay.on_read(self.network, now);
        }
    }

    /// What is to be sent to the network, in order.
    pub(crate) fn network_output(&self) -> [IoSlice<'_>; PARTS] {
        self.output(self.network)
    }

    /// What the host is to read, in order.
    pub(crate) fn host_output(&self) -> [IoSlice<'_>; PARTS] {
        self.output(self.host())
    }

    fn output(&self, side: Side) -> [IoSlice<'_>; PARTS] {
        let out = &self.out[side];
        match &self.phase {
            Phase::Traffic(relay) if out.is_empty() => relay.output(side),
            _ => {
                let mut parts = [IoSlice::new(&[]); PARTS];
                parts[0] = IoSlice::new(out);
                parts
            }
        }
    }

    pub(crate) fn has_network_output(&self) -> bool {
        self.has_output(self.network)
    }

    pub(crate) fn has_host_output(&self) -> bool {
        self.has_output(self.host())
    }

    fn has_output(&self, side: Side) -> bool {
        let relayed = match &self.phase {
            Phase::Traffic(relay) => relay.has_output(side),
            _ => false,
        };
        relayed || !self.out[side].is_empty()
    }

    /// Notes that the network has taken `count` bytes.
    pub(crate) fn on_network_written(&mut self, count: usize) {
        self.on_written(self.network, count);
    }

    /// Notes that the host has read `count` bytes.
    pub(crate) fn on_host_read(&mut self, count: usize) {
        self.on_written(self.host(), count);
    }

    fn on_written(&mut self, side: Side, count: usize) {
        let out = &mut self.out[side];
        if !out.is_empty() {
            out.advance(count);
            if out.is_empty() {
                *out = BytesMut::new();
            }
        } else if let Phase::Traffic(relay) = &mut self.phase {
            relay.on_written(side, count);
        }
    }
}
