//! What the driver of `net`, which has queues of its own, asks of a channel.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::traffic::channel::Channel;
use crate::traffic::inbox::Incoming;
use crate::traffic::outgoing::Outgoing;
use crate::traffic::seal::TOGETHER;
use crate::wire::frame::Flags;
use bytes::Bytes;
use std::collections::VecDeque;

impl Channel {
    /// Gives `take` all events that wait, each with its cost. Events that it leaves are dropped.
    pub(crate) fn drain_events(&mut self, take: impl FnOnce(&mut VecDeque<(Incoming, usize)>)) {
        self.arrivals.unshare(self.input.allocation());
        take(&mut self.arrivals.deliveries);
        self.arrivals.clear();
    }

    /// Encodes messages of one frame that `queued` begins with, from where they lie: as many as are sealed
    /// together, and as there is room for. Returns how many. What follows them is left to
    /// [`Channel::queue`]. To be called if [`Channel::can_queue`].
    ///
    /// # Errors
    /// As [`Channel::queue`].
    pub(crate) fn queue_singles<'a>(
        &mut self,
        queued: impl ExactSizeIterator<Item = &'a Outgoing>,
    ) -> Result<usize, Error> {
        let room = self.straight_room(TOGETHER);
        let waiting = queued.len();
        let mut frames = [(Flags::Last, &[][..]); TOGETHER];
        let (mut count, mut len) = (0, 0);
        for (frame, outgoing) in frames.iter_mut().zip(queued) {
            let fits = |body: &&Bytes| body.len() < room.large && len < room.bytes;
            let Some(body) = outgoing.single().filter(fits) else {
                break;
            };
            frame.1 = body;
            len += body.len();
            count += 1;
        }
        if count > 0 && self.peer_takes {
            let left = waiting - count;
            self.outbox.expect((len / count).saturating_mul(left), left);
            self.queue_now(&frames[..count])?;
        }
        Ok(count)
    }

    /// Whether [`Channel::process_input`] stopped at its limit.
    pub(crate) const fn is_full(&self) -> bool {
        self.is_full
    }

    /// Whether there is room for the answer to one more PING.
    pub(crate) fn may_take_pings(&self) -> bool {
        self.pings.may_take_more()
    }

    /// Whether heartbeats wait and can be encoded now.
    pub(crate) fn has_heartbeats_to_encode(&self) -> bool {
        self.can_queue() && self.pings.are_waiting()
    }

    /// Number of bytes that were read and are not processed yet.
    pub(crate) fn unread(&self) -> usize {
        self.input.len()
    }

    /// Number of bytes that an unfinished frame and an unfinished message hold.
    pub(crate) fn unfinished(&self) -> usize {
        self.input.len() + self.inbox.partial_cost()
    }

    /// Whether something may still come from the peer.
    pub(crate) const fn peer_sends(&self) -> bool {
        self.peer_sends
    }

    /// Whether the peer still takes what is sent to it.
    pub(crate) const fn peer_takes(&self) -> bool {
        self.peer_takes
    }
}
