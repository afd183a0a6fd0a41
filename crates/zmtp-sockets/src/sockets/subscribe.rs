//! SUB: receives what it subscribes to (RFC 29).
#![forbid(unsafe_code)]

use crate::endpoints::handle::Endpoints;
use crate::endpoints::pattern::{NewPeer, Pattern};
use crate::event::TurnedAway;
use crate::options::SocketOptions;
use crate::peers::admission::TopicFrame;
use crate::peers::fair_queue::FairQueue;
use crate::peers::fair_queue::told::Told;
use crate::peers::held::Inlet;
use crate::peers::news::{PipeId, Reporter, news};
use crate::received::Received;
use crate::topics::feed::{Announcer, Wanted};
use crate::topics::pending::Repeat;
use crate::topics::trie::Trie;
use bytes::Bytes;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use zmtp_auth::net::Incoming;
use zmtp_auth::{Peer, SocketType};

/// A SUB socket: it receives from PUB and XPUB sockets what it subscribes to, one message of each peer
/// in turn.
///
/// All peers are told the subscriptions, in the background, and told again whenever they come back. A
/// message to which nothing is subscribed is dropped on receipt too.
pub struct Sub {
    endpoints: Endpoints,
    queue: FairQueue<Arc<Peer>>,
    wanted: Wanted,
    /// The topics that are wanted, all by one subscriber.
    filter: Trie,
    /// Whether the empty topic is among them, to which every message belongs.
    wants_all: bool,
}

endpoint_methods!(Sub);
stream_of!(Received; Sub);
topic_methods!(Sub, queue);

/// The only subscriber of a filter.
const US: usize = 0;

/// Gives the receiving half of every connection to the fair queue, and the sending half to the task
/// that announces subscriptions.
pub(crate) struct Subscribing {
    pub(crate) receiving: Reporter<Inlet<Arc<Peer>>>,
    pub(crate) announcer: Announcer,
    /// Whether messages wait for dialled peers that are not connected.
    pub(crate) keeps_messages: bool,
}

impl Pattern for Subscribing {
    fn dial(&self, pipe: PipeId) -> bool {
        if self.keeps_messages {
            self.announcer.keep(pipe);
        }
        self.keeps_messages
    }

    fn add(&self, new: NewPeer) -> Result<(), TurnedAway> {
        let NewPeer {
            pipe,
            peer: data,
            sender,
            receiver,
        } = new;
        self.receiving.add(pipe, Inlet { receiver, data });
        if let Some(sender) = sender {
            self.announcer.add(pipe, sender);
        }
        Ok(())
    }

    fn has_unsent(&self, pipe: PipeId) -> bool {
        self.announcer.has_unsent(pipe)
    }

    fn lost(&self, pipe: PipeId, _has_queue: bool) {
        // What has arrived is still received.
        self.announcer.lost(pipe);
    }

    fn drained(&self, pipe: PipeId) -> bool {
        self.receiving.retain(pipe, Inlet::is_open)
    }

    fn revoked(&self, pipe: PipeId, _has_queue: bool) {
        self.announcer.withdraw(pipe);
        self.receiving.withdraw(pipe, Inlet::is_admitted);
    }

    fn remove(&self, pipe: PipeId) {
        self.announcer.remove(pipe);
        self.receiving.remove(pipe);
    }
}

impl Sub {
    /// A socket with default options.
    #[must_use]
    pub fn new() -> Self {
        Self::with_options(SocketOptions::default())
    }

    /// A socket with `options`.
    #[must_use]
    pub fn with_options(options: SocketOptions) -> Self {
        let (receiving, received) = news();
        let wanted = Wanted::new(&options.connection);
        let pattern = Subscribing {
            receiving,
            announcer: wanted.announcer(&options.connection),
            keeps_messages: false,
        };
        let endpoints = Endpoints::new(SocketType::Sub, options, pattern);
        let events = endpoints.teller();
        Self {
            endpoints,
            queue: FairQueue::new(received)
                .with_topic_permissions(TopicFrame::First)
                .with_events(Told::new(events, |peer| peer)),
            wanted,
            filter: Trie::new(),
            wants_all: false,
        }
    }

    /// Subscribes to messages whose first frame begins with `topic`, from all peers of now and later.
    /// An empty topic stands for all messages. A topic counts: it is subscribed to until it is taken
    /// back as often.
    pub fn subscribe(&mut self, topic: impl Into<Bytes>) {
        let topic = topic.into();
        if self.wanted.subscribe(&topic, Repeat::No) {
            self.wants_all |= topic.is_empty();
            self.filter.insert(US, &topic);
        }
    }

    /// Takes one subscription to `topic` back. Without one it does nothing.
    pub fn unsubscribe(&mut self, topic: impl Into<Bytes>) {
        let topic = topic.into();
        if self.wanted.unsubscribe(&topic) {
            self.wants_all &= !topic.is_empty();
            self.filter.remove(US, &topic);
        }
    }

    /// Receives the next message. Waits until there is one, also while there is no peer.
    ///
    /// Cancel-safe: a message stays queued until it is returned.
    pub async fn recv(&mut self) -> Received {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// Receives a message if one has arrived, and does not wait.
    pub fn try_recv(&mut self) -> Option<Received> {
        let filter = (!self.wants_all).then_some(&self.filter);
        self.queue
            .try_pick(|peer, incoming| wanted(filter, peer, incoming))
    }

    /// As [`Sub::recv`]. The task of the last call is woken.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Received> {
        let filter = (!self.wants_all).then_some(&self.filter);
        self.queue
            .poll_pick(context, |peer, incoming| wanted(filter, peer, incoming))
    }

    fn settle(&mut self) {
        self.queue.take_news();
    }

    /// Frees the bound endpoints and closes all connections. What was not received is dropped.
    /// Cancel-safe: dropping the future does the same in the background.
    pub async fn close(mut self) {
        self.endpoints.stop_listening().await;
    }
}

/// The message, if it is subscribed to. Without a filter every message is, and none is looked at.
#[inline]
fn wanted(filter: Option<&Trie>, peer: &Arc<Peer>, incoming: Incoming) -> Option<Received> {
    let received = Received::of(peer, incoming)?;
    let Some(filter) = filter else {
        return Some(received);
    };
    let topic = received.frames().first()?;
    if filter.has_match(topic) {
        Some(received)
    } else {
        None
    }
}
