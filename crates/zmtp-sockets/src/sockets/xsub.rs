//! XSUB: a SUB that sends messages to publishers too, and does not filter (RFC 29).
#![forbid(unsafe_code)]

use crate::endpoints::handle::{Endpoints, close_after};
use crate::options::SocketOptions;
use crate::peers::admission::TopicFrame;
use crate::peers::fair_queue::FairQueue;
use crate::peers::news::news;
use crate::sockets::subscribe::Subscribing;
use crate::topics::feed::{Repeat, Wanted};
use bytes::Bytes;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use zmtp_auth::net::{Message, NetError};
use zmtp_auth::traffic::Outgoing;
use zmtp_auth::{Peer, SocketType};

/// An XSUB socket: it receives from PUB and XPUB sockets what it subscribes to, and sends messages to
/// all of them.
///
/// All peers are told the subscriptions, in the background, and told again whenever they come back.
/// Whatever a peer sends is received: unlike a [`Sub`](crate::Sub), an XSUB does not filter.
pub struct Xsub {
    endpoints: Endpoints,
    queue: FairQueue<Arc<Peer>>,
    wanted: Wanted,
}

endpoint_methods!(Xsub);
receiving_methods!(Xsub, queue);
topic_methods!(Xsub, queue);

impl Xsub {
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
            announcer: wanted.announcer(),
        };
        let endpoints = Endpoints::new(SocketType::Xsub, options, pattern);
        let events = endpoints.teller();
        Self {
            endpoints,
            queue: FairQueue::new(received)
                .with_topic_permissions(TopicFrame::First)
                .with_events(events, |peer| peer),
            wanted,
        }
    }

    /// Subscribes to messages whose first frame begins with `topic`, from all peers of now and later.
    /// An empty topic stands for all messages.
    ///
    /// A topic counts: it is subscribed to until it is taken back as often. As in libzmq, connected
    /// peers are told each time, so that an XPUB behind them with
    /// [`SocketOptions::xpub_verbose`] sees each subscription.
    pub fn subscribe(&mut self, topic: impl Into<Bytes>) {
        self.wanted.subscribe(&topic.into(), Repeat::Yes);
    }

    /// Takes one subscription to `topic` back. Without one it does nothing. Peers are told when the
    /// last one is taken back.
    pub fn unsubscribe(&mut self, topic: impl Into<Bytes>) {
        self.wanted.unsubscribe(&topic.into());
    }

    /// Sends a message to all peers that are connected. Never waits: a peer without room misses it,
    /// which [`Xsub::dropped`] counts.
    ///
    /// A message of one frame that begins with 1 subscribes to the rest of the frame, and one that
    /// begins with 0 takes a subscription back, as in libzmq.
    pub fn send(&mut self, message: impl Into<Message>) {
        match Outgoing::from_message_3_0(message.into()) {
            Outgoing::Subscribe(topic) => self.subscribe(topic),
            Outgoing::Unsubscribe(topic) => self.unsubscribe(topic),
            Outgoing::Message(message) => self.wanted.send(&message),
            _ => {}
        }
    }

    /// Waits until every connected peer has room for a message, so that [`Xsub::send`] then drops it for
    /// none. One peer that reads slowly so holds up all. Cancel-safe.
    pub async fn ready(&mut self) {
        poll_fn(|context| self.poll_ready(context)).await;
    }

    /// As [`Xsub::ready`]. The task of the last call is woken.
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.wanted.poll_ready(context)
    }

    /// Messages that peers have missed because they had no room, each counted for each peer.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.wanted.dropped()
    }

    fn settle(&mut self) {
        self.queue.take_news();
    }

    /// Sends what is queued, then closes. What was not received is dropped.
    ///
    /// Dropping the future, or the socket, closes at once: then only what connections had taken still
    /// leaves, in the background.
    ///
    /// # Errors
    /// Returns [`NetError::Unsent`] if not everything had left within the linger time.
    pub async fn close(self) -> Result<(), NetError> {
        let Self {
            endpoints,
            queue,
            wanted,
        } = self;
        drop(queue);
        close_after(endpoints, wanted.finish()).await
    }
}
