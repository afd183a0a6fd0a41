//! Takes turns of a fair queue until one brings what a socket returns.
#![forbid(unsafe_code)]

use crate::peers::admission::{TopicFrame, is_admitted, refused_topic};
use crate::peers::fair_queue::{FairQueue, Ticket, Turn};
use bytes::Bytes;
use std::task::{Context, Poll, ready};
use zmtp_auth::net::{Incoming, Message};
use zmtp_auth::{Peer, Topics};

/// Turns that one call takes at most without waiting: 1,024, which take less than a millisecond. A peer
/// could otherwise keep the caller for as long as it sends what brings nothing.
pub(crate) const TURNS_AT_ONCE: usize = 1024;

/// The length of the topics that one call takes in at most, but for the last one: 256 KiB, which take less
/// than a millisecond, or a few if each is compared with the 64 of a full bucket.
pub(crate) const TOPIC_BYTES_AT_ONCE: usize = 256 * 1024;

impl<D: Send + 'static> FairQueue<D> {
    /// Takes turns until `pick` makes something of what a peer has sent, and does not wait. It returns
    /// nothing also after many turns that have brought nothing.
    pub(crate) fn try_pick<T>(
        &mut self,
        mut pick: impl FnMut(&D, Incoming) -> Option<T>,
    ) -> Option<T> {
        for _ in 0..TURNS_AT_ONCE {
            let turn = self.try_turn()?;
            if let Some(picked) = self.pick(turn, &mut pick) {
                return Some(picked);
            }
        }
        None
    }

    /// As [`FairQueue::try_pick`], but waits. The task of the last call is woken. Cancel-safe.
    #[inline]
    pub(crate) fn poll_pick<T>(
        &mut self,
        context: &mut Context<'_>,
        mut pick: impl FnMut(&D, Incoming) -> Option<T>,
    ) -> Poll<T> {
        loop {
            let turn = match self.try_next() {
                Some(turn) => turn,
                None => ready!(self.poll_turn(context)),
            };
            if let Some(picked) = self.pick(turn, &mut pick) {
                return Poll::Ready(picked);
            }
        }
    }

    /// The turn of the first peer, if it belongs to an operation that has begun and there is nothing else
    /// to do. Most turns of a burst are such turns, and here they cost little.
    #[inline]
    fn try_next(&mut self) -> Option<Turn<D>> {
        if self.counted_turns == 0 || self.news.has_some() || !self.departed.is_empty() {
            return None;
        }
        let place = self.turns.front()?;
        let receiver = self.slots.get_mut(place)?.receiver.as_mut()?;
        let incoming = receiver.half.try_recv().ok()?;
        self.counted_turns -= 1;
        Some(self.received(place, incoming))
    }

    #[inline]
    fn pick<T>(
        &self,
        turn: Turn<D>,
        pick: &mut impl FnMut(&D, Incoming) -> Option<T>,
    ) -> Option<T> {
        match turn {
            Turn::Incoming(place, incoming) => pick(self.data(place), incoming),
            Turn::Ended(_) | Turn::NotPermitted => None,
        }
    }

    /// From now on, drops messages whose topic their sender may not publish.
    pub(crate) fn apply_topic_permissions(&mut self, topic: TopicFrame) {
        self.topic = Some(topic);
        for (_, slot) in &mut self.slots {
            if let Some(receiver) = &slot.receiver {
                slot.topics = receiver.half.peer().topics();
            }
        }
    }

    /// The topic of a message that its sender may not publish, if the message is to be dropped for it.
    pub(super) fn refused_topic<'a>(
        &self,
        topics: &Topics,
        message: &'a Message,
    ) -> Option<&'a Bytes> {
        refused_topic(topics, message, self.topic?)
    }

    /// Whether a message that a turn has brought may be received still, some time later. One that may not
    /// for its topic is counted and told.
    pub(crate) fn still_permits(
        &mut self,
        ticket: Ticket,
        sender: &Peer,
        message: &Message,
    ) -> bool {
        if !is_admitted(sender) {
            return false;
        }
        let refused = self.refused_topic(&sender.topics(), message);
        if let Some(topic) = refused {
            self.drop_for_topic(self.place(ticket), topic);
        }
        refused.is_none()
    }
}
