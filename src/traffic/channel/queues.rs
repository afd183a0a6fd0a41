//! What a driver with queues of its own asks of a channel.
#![forbid(unsafe_code)]

use crate::traffic::channel::Channel;
use crate::traffic::inbox::Incoming;
use std::collections::VecDeque;

impl Channel {
    /// All events that wait, each with its cost, for a caller that keeps them. What `take` leaves
    /// is dropped.
    pub(crate) fn drain_events(&mut self, take: impl FnOnce(&mut VecDeque<(Incoming, usize)>)) {
        self.arrivals.unshare(self.input.allocation());
        take(&mut self.arrivals.deliveries);
        self.arrivals.clear();
    }

    /// Whether [`Channel::receive`] stopped at its limit.
    pub(crate) const fn is_full(&self) -> bool {
        self.is_full
    }

    /// Whether more PINGs may come before those that came are answered.
    pub(crate) fn may_take_pings(&self) -> bool {
        self.pings.may_take_more()
    }

    /// Whether heartbeats can be encoded right now.
    pub(crate) fn has_heartbeats_to_encode(&self) -> bool {
        self.can_queue() && self.pings.are_waiting()
    }

    /// Bytes that were read and not taken apart.
    pub(crate) fn unread(&self) -> usize {
        self.input.len()
    }

    /// Bytes that an unfinished frame and an unfinished message hold.
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
