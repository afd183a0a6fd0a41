//! PAIR: one peer, both ways (RFC 31).
#![forbid(unsafe_code)]

use crate::endpoints::handle::Endpoints;
use crate::endpoints::pattern::{NewPeer, Pattern};
use crate::event::TurnedAway;
use crate::options::SocketOptions;
use crate::peers::admission::TopicFrame;
use crate::peers::fair_queue::FairQueue;
use crate::peers::fair_queue::told::Told;
use crate::peers::news::{PipeId, news};
use crate::peers::round_robin::RoundRobin;
use crate::sockets::shared::both_ways::BothWays;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use zmtp_auth::net::{Message, SendQueue};
use zmtp_auth::{Peer, SocketType};

/// A PAIR socket: it talks to one other PAIR.
///
/// While a peer is connected, or an endpoint is dialled, another peer is turned away, which is an
/// event.
pub struct Pair {
    endpoints: Endpoints,
    sender: RoundRobin,
    receiver: FairQueue<Arc<Peer>>,
}

endpoint_methods!(Pair);
both_ways_methods!(Pair, PairSender, PairReceiver);
topic_methods!(Pair, receiver);

/// Gives the one peer to the socket, and turns others away.
struct OnePeer {
    both_ways: BothWays,
    /// The pipe of the peer.
    holder: Mutex<Option<PipeId>>,
}

impl OnePeer {
    fn holder(&self) -> MutexGuard<'_, Option<PipeId>> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the place for `pipe`. Returns whether it has it.
    fn hold(&self, pipe: PipeId) -> bool {
        *self.holder().get_or_insert(pipe) == pipe
    }

    fn release(&self, pipe: PipeId) {
        self.holder().take_if(|holder| *holder == pipe);
    }
}

impl Pattern for OnePeer {
    fn queues_for_dialled(&self) -> bool {
        self.both_ways.queues_for_dialled()
    }

    fn keep(&self, pipe: PipeId, queue: SendQueue) {
        // Without the place the queue is dropped, and the peer is turned away once it is connected.
        if self.hold(pipe) {
            self.both_ways.keep(pipe, queue);
        }
    }

    fn add(&self, new: NewPeer) -> Result<(), TurnedAway> {
        if !self.hold(new.pipe) {
            return Err(TurnedAway::PairHasPeer);
        }
        self.both_ways.add(new)
    }

    fn lost(&self, pipe: PipeId, has_queue: bool) {
        if !has_queue {
            self.release(pipe);
        }
        self.both_ways.lost(pipe, has_queue);
    }

    fn drained(&self, pipe: PipeId) -> bool {
        self.both_ways.drained(pipe)
    }

    fn revoked(&self, pipe: PipeId, has_queue: bool) {
        if !has_queue {
            self.release(pipe);
        }
        self.both_ways.revoked(pipe, has_queue);
    }

    fn remove(&self, pipe: PipeId) {
        self.release(pipe);
        self.both_ways.remove(pipe);
    }
}

impl Pair {
    /// A socket with default options.
    #[must_use]
    pub fn new() -> Self {
        Self::with_options(SocketOptions::default())
    }

    /// A socket with `options`.
    #[must_use]
    pub fn with_options(options: SocketOptions) -> Self {
        let (sending, sent) = news();
        let (receiving, received) = news();
        let both_ways = BothWays {
            sending,
            receiving,
            immediate: options.immediate,
        };
        let pattern = OnePeer {
            both_ways,
            holder: Mutex::new(None),
        };
        let endpoints = Endpoints::new(SocketType::Pair, options, pattern);
        let events = endpoints.teller();
        Self {
            endpoints,
            sender: RoundRobin::new(sent),
            receiver: FairQueue::new(received)
                .with_topic_permissions(TopicFrame::First)
                .with_events(Told::new(events, |peer| peer)),
        }
    }

    pub(crate) fn poll_send(
        &mut self,
        message: &mut Option<Message>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        self.sender.poll_send(message, context).map(drop)
    }
}
