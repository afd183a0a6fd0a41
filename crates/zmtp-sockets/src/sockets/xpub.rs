//! XPUB: a PUB that receives what its peers subscribe to (RFC 29).
#![forbid(unsafe_code)]

use crate::endpoints::handle::{Endpoints, close};
use crate::event::SocketEvent;
use crate::options::SocketOptions;
use crate::peers::fair_queue::Ticket;
use crate::peers::news::news;
use crate::peers::picking::{TOPIC_BYTES_AT_ONCE, TURNS_AT_ONCE};
use crate::received::Received;
use crate::subscription::{FromSubscriber, Subscription};
use crate::topics::audience::{Audience, Heard, SubscriberStatus};
use crate::topics::judging::Judging;
use crate::topics::places::{Inserted, Removed};
use crate::topics::subscriber::Admitting;
use bytes::Bytes;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use zmtp_auth::net::{Message, NetError};
use zmtp_auth::{Peer, SocketType};

/// What [`Xpub::send`] takes in and [`Xpub::recv`] has not returned: 1,024 subscriptions and messages.
/// With more, sending takes in nothing, and peers that subscribe have to wait. So always receive.
const UNRECEIVED: usize = 1024;

/// The length of all that, in bytes: 256 KiB, as much as waits on one connection by default. One message
/// more may be as long as a message may be.
const UNRECEIVED_BYTES: usize = 256 * 1024;

/// An XPUB socket: a PUB that receives what its peers subscribe to, and messages of XSUB sockets.
///
/// A topic is received when the first peer subscribes to it, and when the last one does no more. Options
/// change that: [`SocketOptions::xpub_verbose`], [`SocketOptions::xpub_verboser`] and
/// [`SocketOptions::xpub_manual`].
pub struct Xpub {
    endpoints: Endpoints,
    audience: Audience,
    options: Told,
    /// What was taken in and not received.
    unreceived: VecDeque<Unreceived>,
    /// The length of all of it.
    bytes: usize,
}

/// What waits to be received, and ends among it.
enum Unreceived {
    Subscribe(Subscription),
    Unsubscribe(Subscription),
    /// A message of the subscriber that the ticket names.
    Message(Received, Ticket),
    /// Everything of this peer was received.
    End(Arc<Peer>),
}

impl Unreceived {
    fn peer(&self) -> &Arc<Peer> {
        match self {
            Self::Subscribe(subscription) | Self::Unsubscribe(subscription) => subscription.peer(),
            Self::Message(received, _) => received.peer(),
            Self::End(peer) => peer,
        }
    }

    /// The length, with what each frame costs.
    fn bytes(&self) -> usize {
        const FRAME: usize = size_of::<Bytes>();
        match self {
            Self::Subscribe(subscription) | Self::Unsubscribe(subscription) => {
                subscription.topic().len()
            }
            Self::Message(received, _) => {
                received.message().size() + FRAME * received.frames().len()
            }
            Self::End(_) => 0,
        }
    }
}

/// What the application is told.
struct Told {
    /// Every subscription, and not only the first to a topic.
    each_subscribe: bool,
    /// Every end of one, and not only of the last to a topic.
    each_unsubscribe: bool,
    /// Whether the application decides what a peer subscribes to.
    manual: bool,
}

endpoint_methods!(Xpub);
stream_of!(FromSubscriber; Xpub);
sink_of!(Message; Xpub, audience, |socket, message| {
    socket.send(message);
    Ok(())
});
topic_methods!(Xpub, audience);

impl Xpub {
    /// A socket with default options.
    #[must_use]
    pub fn new() -> Self {
        Self::with_options(SocketOptions::default())
    }

    /// A socket with `options`.
    #[must_use]
    pub fn with_options(options: SocketOptions) -> Self {
        let (reporter, news) = news();
        let judging = Judging::default();
        let told = Told {
            each_subscribe: options.xpub_verbose || options.xpub_verboser || options.xpub_manual,
            each_unsubscribe: options.xpub_verboser || options.xpub_manual,
            manual: options.xpub_manual,
        };
        let audience = Audience::new(news, judging.clone(), options.bounds());
        let welcome = options.xpub_welcome.clone();
        let pattern = Admitting {
            reporter,
            judging,
            welcome,
            receives: true,
        };
        let endpoints = Endpoints::new(SocketType::Xpub, options, pattern);
        let mut audience = audience.with_events(endpoints.teller());
        if told.manual {
            audience = audience.manual();
        }
        Self {
            endpoints,
            audience,
            options: told,
            unreceived: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Queues a message for all who subscribe to the beginning of its first frame. Never waits.
    pub fn send(&mut self, message: impl Into<Message>) {
        self.settle();
        self.audience.send(message.into());
    }

    /// Waits until every subscriber to `message` has room for it, so that [`Xpub::send`] then drops it for
    /// none (libzmq's `ZMQ_XPUB_NODROP`). So one slow subscriber holds up all. Cancel-safe.
    pub async fn ready_for(&mut self, message: &Message) {
        poll_fn(|context| self.poll_ready_for(message, context)).await;
    }

    /// As [`Xpub::ready_for`]. The task of the last call is woken.
    pub fn poll_ready_for(&mut self, message: &Message, context: &mut Context<'_>) -> Poll<()> {
        self.settle();
        self.audience.poll_ready(message, context)
    }

    /// Receives the next subscription or message. Waits until there is one, also while there is no
    /// peer.
    ///
    /// Cancel-safe: what was not returned stays queued.
    pub async fn recv(&mut self) -> FromSubscriber {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// Receives what has arrived, and does not wait.
    pub fn try_recv(&mut self) -> Option<FromSubscriber> {
        // A flood of what brings nothing must not keep the caller.
        for _ in 0..TURNS_AT_ONCE {
            if let Some(received) = self.next_unreceived() {
                return Some(received);
            }
            let heard = self.audience.try_hear()?;
            self.note(heard);
        }
        self.next_unreceived()
    }

    /// As [`Xpub::recv`]. The task of the last call is woken.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<FromSubscriber> {
        loop {
            if let Some(received) = self.next_unreceived() {
                return Poll::Ready(received);
            }
            let heard = ready!(self.audience.poll_hear(context));
            self.note(heard);
        }
    }

    /// With [`SocketOptions::xpub_manual`]: sends the peer of `subscription` what begins with `topic`,
    /// which may differ from what it has asked for. Returns whether the peer is connected still and the
    /// policy permits the topic.
    pub fn subscribe(&mut self, subscription: &Subscription, topic: impl AsRef<[u8]>) -> bool {
        let topic = topic.as_ref();
        self.audience.subscribe_to(subscription.subscriber, topic)
    }

    /// With [`SocketOptions::xpub_manual`]: ends what [`Xpub::subscribe`] has begun. Returns whether the
    /// peer is connected still.
    pub fn unsubscribe(&mut self, subscription: &Subscription, topic: impl AsRef<[u8]>) -> bool {
        let topic = topic.as_ref();
        self.audience
            .unsubscribe_from(subscription.subscriber, topic)
    }

    /// The subscribers that are connected: what each subscribes to, and what it has missed.
    pub fn subscribers(&mut self) -> impl Iterator<Item = SubscriberStatus> {
        self.settle();
        self.audience.status()
    }

    /// Sends what is queued, then closes. What was not received is dropped.
    ///
    /// Cancel-safe: dropping the future does the same in the background.
    ///
    /// # Errors
    /// Returns [`NetError::Unsent`] if not everything had left within the linger time.
    pub async fn close(mut self) -> Result<(), NetError> {
        let outlets = self.audience.drain();
        close(self.endpoints, outlets).await
    }

    /// Takes in what subscribers have sent.
    fn settle(&mut self) {
        let mut left = UNRECEIVED;
        let before = self.audience.heard();
        loop {
            // Peers that are gone come first, and bring no more than they had.
            let has_room = self.unreceived.len() < UNRECEIVED && self.bytes < UNRECEIVED_BYTES;
            let heard = self.audience.heard().wrapping_sub(before);
            let heard = if left > 0 && heard < TOPIC_BYTES_AT_ONCE && has_room {
                self.audience.try_hear()
            } else {
                self.audience.try_departure()
            };
            let Some(heard) = heard else {
                return;
            };
            left = left.saturating_sub(1);
            self.note(heard);
        }
    }

    /// The next that waits. Tells the ends before it. A message whose sender was revoked since, or may
    /// no longer publish its topic, is dropped.
    fn next_unreceived(&mut self) -> Option<FromSubscriber> {
        loop {
            let next = self.unreceived.pop_front()?;
            self.bytes -= next.bytes();
            match next {
                Unreceived::Message(received, ticket) => {
                    if self.audience.still_permits(ticket, &received) {
                        return Some(FromSubscriber::Message(received));
                    }
                }
                Unreceived::Subscribe(subscription) => {
                    return Some(FromSubscriber::Subscribe(subscription));
                }
                Unreceived::Unsubscribe(subscription) => {
                    return Some(FromSubscriber::Unsubscribe(subscription));
                }
                Unreceived::End(peer) => self.endpoints.tell(SocketEvent::AllReceived { peer }),
            }
        }
    }

    fn keep(&mut self, kept: Unreceived) {
        self.bytes += kept.bytes();
        self.unreceived.push_back(kept);
    }

    /// Keeps what the application is to receive.
    fn note(&mut self, heard: Heard) {
        match heard {
            Heard::Subscribe {
                place,
                topic,
                inserted,
            } => {
                if self.options.each_subscribe || inserted == Inserted::First {
                    let subscription = self.subscription(place, topic);
                    self.keep(Unreceived::Subscribe(subscription));
                }
            }
            Heard::Unsubscribe {
                place,
                topic,
                removed,
            } => {
                if self.is_told(removed) {
                    let subscription = self.subscription(place, topic);
                    self.keep(Unreceived::Unsubscribe(subscription));
                }
            }
            Heard::Refused(event) => {
                if let Some(event) = event {
                    self.endpoints.tell(event);
                }
            }
            Heard::Message(place, message) => {
                let peer = Arc::clone(self.audience.peer(place));
                let ticket = self.audience.ticket(place);
                self.keep(Unreceived::Message(Received::new(message, peer), ticket));
            }
            // RFC 29: a peer that is gone ends its subscriptions.
            Heard::Gone {
                peer,
                subscriber,
                topics,
            } => {
                for (topic, removed) in topics {
                    if self.is_told(removed) {
                        self.keep(Unreceived::Unsubscribe(Subscription {
                            topic: topic.into(),
                            peer: Arc::clone(&peer),
                            subscriber,
                        }));
                    }
                }
                // Peers that come and go leave no end behind that waits for others.
                let waits = |it: &Unreceived| Arc::ptr_eq(it.peer(), &peer);
                if self.unreceived.iter().any(waits) {
                    self.unreceived.push_back(Unreceived::End(peer));
                } else {
                    self.endpoints.tell(SocketEvent::AllReceived { peer });
                }
            }
        }
    }

    fn is_told(&self, removed: Removed) -> bool {
        match removed {
            Removed::Unknown => false,
            Removed::Taken => self.options.each_unsubscribe,
            Removed::Last => true,
        }
    }

    fn subscription(&self, place: usize, topic: Bytes) -> Subscription {
        Subscription {
            topic,
            peer: Arc::clone(self.audience.peer(place)),
            subscriber: self.audience.ticket(place),
        }
    }
}
