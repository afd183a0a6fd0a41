//! XSUB: a SUB that sends messages to publishers too, and does not filter (RFC 29).
#![forbid(unsafe_code)]

use crate::endpoints::handle::{Endpoints, close_after};
use crate::options::SocketOptions;
use crate::peers::admission::TopicFrame;
use crate::peers::fair_queue::FairQueue;
use crate::peers::fair_queue::told::Told;
use crate::peers::news::news;
use crate::sockets::subscribe::Subscribing;
use crate::topics::feed::Wanted;
use crate::topics::pending::Repeat;
use bytes::Bytes;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use zmtp_auth::net::{Message, NetError};
use zmtp_auth::traffic::Outgoing;
use zmtp_auth::{Peer, SocketType};

/// Adds what subscribes and sends.
macro_rules! wanting_methods {
    ($socket:ident) => {
        impl $socket {
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

        /// Sends a message to all peers. Never waits: a peer without room misses it, which `dropped` counts.
        ///
        /// Messages wait for a dialled peer that is not connected, from the call of `connect` on, unless the
        /// socket is [immediate](SocketOptions::immediate). What a lost connection had not taken waits for
        /// the next one.
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

        /// Waits until every peer has room for a message, so that `send` then drops it for none. One peer that
        /// reads slowly, or for which messages wait that is not connected, so holds up all. Cancel-safe.
        pub async fn ready(&mut self) {
            poll_fn(|context| self.poll_ready(context)).await;
        }

        /// As `ready`. The task of the last call is woken.
        pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
            self.wanted.poll_ready(context)
        }

        /// Messages that peers have missed because they had no room, each counted for each peer.
        #[must_use]
        pub fn dropped(&self) -> u64 {
            self.wanted.dropped()
        }
        }

        sink_of!(Message; $socket, wanted, |socket, message| {
            socket.send(message);
            Ok(())
        });
    };
}

/// An XSUB socket: it receives from PUB and XPUB sockets what it subscribes to, and sends messages to
/// all of them.
///
/// All peers are told the subscriptions, in the background, and told again whenever they come back, before
/// the messages that wait for them.
/// Whatever a peer sends is received: unlike a [`Sub`](crate::Sub), an XSUB does not filter.
pub struct Xsub {
    endpoints: Endpoints,
    queue: FairQueue<Arc<Peer>>,
    wanted: Wanted,
}

endpoint_methods!(Xsub);
receiving_methods!(Xsub, queue);
wanting_methods!(Xsub);
topic_methods!(Xsub, queue);

/// The sending half of an [`Xsub`], which also subscribes.
pub struct XsubSender {
    wanted: Wanted,
    _endpoints: Arc<Endpoints>,
}

wanting_methods!(XsubSender);

/// The receiving half of an [`Xsub`].
pub struct XsubReceiver {
    queue: FairQueue<Arc<Peer>>,
    _endpoints: Arc<Endpoints>,
}

receiving_methods!(XsubReceiver, queue);

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
            announcer: wanted.announcer(&options.connection),
            keeps_messages: !options.immediate,
        };
        let endpoints = Endpoints::new(SocketType::Xsub, options, pattern);
        let events = endpoints.teller();
        Self {
            endpoints,
            queue: FairQueue::new(received)
                .with_topic_permissions(TopicFrame::First)
                .with_events(Told::new(events, |peer| peer)),
            wanted,
        }
    }

    fn settle(&mut self) {
        self.queue.take_news();
    }

    /// Splits the socket into two halves for two tasks. The endpoints are given up when both are
    /// dropped.
    #[must_use]
    pub fn split(self) -> (XsubSender, XsubReceiver) {
        let endpoints = Arc::new(self.endpoints);
        let sender = XsubSender {
            wanted: self.wanted,
            _endpoints: Arc::clone(&endpoints),
        };
        let receiver = XsubReceiver {
            queue: self.queue,
            _endpoints: endpoints,
        };
        (sender, receiver)
    }

    /// Sends what is queued, then closes. What was not received is dropped.
    ///
    /// If the future or the socket is dropped instead, what is queued for connected peers still leaves in
    /// the background, for at most the linger time.
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
