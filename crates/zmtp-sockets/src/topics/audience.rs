//! The subscribers of a publisher, and what they subscribe to (RFC 29, "The PUB Socket Type").
#![forbid(unsafe_code)]

use crate::endpoints::pattern::{NewPeer, Pattern};
use crate::event::{SocketEvent, SubscriptionRefused, TurnedAway};
use crate::options::Bounds;
use crate::peers::fair_queue::{Ended, FairQueue, Inlet, Ticket, Turn};
use crate::peers::news::{News, PipeId, Reporter};
use crate::peers::outlet::Outlet;
use crate::topics::trie::{Inserted, Removed, Trie};
use bytes::Bytes;
use std::sync::Arc;
use std::task::{Context, Poll};
use zmtp_auth::Peer;
use zmtp_auth::net::{Incoming, Message, SendHalf, TrySendReason};

/// All subscribers.
pub(crate) struct Audience {
    queue: FairQueue<Subscriber>,
    /// What subscribers get.
    topics: Trie,
    /// What they have asked for, if the application decides what they get.
    asked: Option<Trie>,
    bounds: Bounds,
    /// The places that a message goes to. Kept for its memory.
    matches: Vec<usize>,
}

/// One subscriber.
pub(crate) struct Subscriber {
    peer: Arc<Peer>,
    sender: SendHalf,
    dropped: u64,
    refused: u64,
}

/// What one subscriber has, and has missed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SubscriberStatus {
    /// The peer.
    pub peer: Arc<Peer>,
    /// How many topics it subscribes to.
    pub subscriptions: usize,
    /// Messages that it has missed, because its queue was full.
    pub dropped: u64,
    /// Subscriptions that were refused.
    pub refused: u64,
}

/// What a turn has brought.
pub(crate) enum Heard {
    Subscribe {
        place: usize,
        topic: Bytes,
        inserted: Inserted,
    },
    Unsubscribe {
        place: usize,
        topic: Bytes,
        removed: Removed,
    },
    Refused(SocketEvent),
    Message(usize, Message),
    /// A subscriber is gone, with what it had subscribed to.
    Gone {
        peer: Arc<Peer>,
        subscriber: Ticket,
        topics: Vec<(Vec<u8>, Removed)>,
    },
}

/// Gives every connection to the audience.
pub(crate) struct Admitting {
    pub(crate) reporter: Reporter<Inlet<Subscriber>>,
    /// The first message of each connection.
    pub(crate) welcome: Option<Message>,
}

impl Pattern for Admitting {
    fn add(&self, new: NewPeer) -> Result<(), TurnedAway> {
        let NewPeer {
            pipe,
            peer,
            sender,
            receiver,
        } = new;
        if let Some(mut sender) = sender {
            if let Some(welcome) = &self.welcome {
                // The queue is empty, so only the end of the connection can prevent it.
                let _ = sender.try_send(welcome.clone());
            }
            let data = Subscriber {
                peer,
                sender,
                dropped: 0,
                refused: 0,
            };
            self.reporter.add(pipe, Inlet { receiver, data });
        }
        Ok(())
    }

    /// RFC 29: the queue of a subscriber dies with its connection. So do its subscriptions.
    fn lost(&self, pipe: PipeId, _has_queue: bool) {
        self.reporter.remove(pipe);
    }

    fn remove(&self, pipe: PipeId) {
        self.reporter.remove(pipe);
    }
}

impl Audience {
    pub(crate) fn new(news: News<Inlet<Subscriber>>, bounds: Bounds) -> Self {
        Self {
            queue: FairQueue::new(news),
            topics: Trie::new(),
            asked: None,
            bounds,
            matches: Vec::new(),
        }
    }

    /// Lets the application decide what subscribers get.
    pub(crate) fn manual(mut self) -> Self {
        self.asked = Some(Trie::new());
        self
    }

    /// Takes the next subscriber that is gone.
    pub(crate) fn try_departure(&mut self) -> Option<Heard> {
        let ended = self.queue.try_departure()?;
        Some(self.take(Turn::Ended(ended)))
    }

    /// Takes what has arrived from the next subscriber, without waiting.
    pub(crate) fn try_hear(&mut self) -> Option<Heard> {
        let turn = self.queue.try_turn()?;
        Some(self.take(turn))
    }

    /// As [`Audience::try_hear`], but waits. The task of the last call is woken.
    pub(crate) fn poll_hear(&mut self, context: &mut Context<'_>) -> Poll<Heard> {
        self.queue.poll_turn(context).map(|turn| self.take(turn))
    }

    fn take(&mut self, turn: Turn<Subscriber>) -> Heard {
        let (place, incoming) = match turn {
            Turn::Incoming(place, incoming) => (place, incoming),
            Turn::Ended(ended) => return self.dismiss(ended),
        };
        match incoming {
            Incoming::Subscribe(topic) => self.subscribe(place, topic),
            Incoming::Unsubscribe(topic) => Heard::Unsubscribe {
                place,
                removed: self.requests().remove(place, &topic),
                topic,
            },
            other => {
                let message = other.into_message().unwrap_or_else(|| Message::from(""));
                Heard::Message(place, message)
            }
        }
    }

    /// What subscribers have asked for.
    fn requests(&mut self) -> &mut Trie {
        self.asked.as_mut().unwrap_or(&mut self.topics)
    }

    fn dismiss(&mut self, ended: Ended<Subscriber>) -> Heard {
        let topics = self.requests().take_all(ended.place);
        self.topics.remove_all(ended.place);
        Heard::Gone {
            peer: ended.data.peer,
            subscriber: ended.ticket,
            topics,
        }
    }

    fn subscribe(&mut self, place: usize, topic: Bytes) -> Heard {
        let bounds = self.bounds;
        let requests = self.requests();
        let bytes = requests.bytes(place).saturating_add(topic.len());
        let is_full = requests.count(place) >= bounds.subscriptions || bytes > bounds.bytes;
        if is_full && !requests.has(place, &topic) {
            if let Some(subscriber) = self.queue.data_mut(place) {
                subscriber.refused += 1;
            }
            return Heard::Refused(SocketEvent::SubscriptionRefused {
                peer: Arc::clone(self.peer(place)),
                topic,
                reason: SubscriptionRefused::TooMany,
            });
        }
        let inserted = requests.insert(place, &topic);
        Heard::Subscribe {
            place,
            topic,
            inserted,
        }
    }

    /// Sends a subscriber what begins with `topic`. Returns whether it is connected.
    pub(crate) fn subscribe_to(&mut self, subscriber: Ticket, topic: &[u8]) -> bool {
        let place = self.queue.place(subscriber);
        if let Some(place) = place {
            self.topics.insert(place, topic);
        }
        place.is_some()
    }

    /// Ends what [`Audience::subscribe_to`] has begun. Returns whether the subscriber is connected.
    pub(crate) fn unsubscribe_from(&mut self, subscriber: Ticket, topic: &[u8]) -> bool {
        let place = self.queue.place(subscriber);
        if let Some(place) = place {
            self.topics.remove(place, topic);
        }
        place.is_some()
    }

    /// Names the subscriber in `place`.
    pub(crate) fn ticket(&self, place: usize) -> Ticket {
        self.queue.ticket(place)
    }

    /// Queues a message for all who subscribe to a beginning of its first frame. Who has no room
    /// misses it.
    pub(crate) fn send(&mut self, message: Message) {
        let topic = message.frames().first().map_or(&[][..], |frame| frame);
        self.matches.clear();
        self.topics.find_matches(topic, &mut self.matches);
        let Some((last, others)) = self.matches.split_last() else {
            return;
        };
        for place in others {
            if let Some(subscriber) = self.queue.data_mut(*place) {
                subscriber.send(message.clone());
            }
        }
        if let Some(subscriber) = self.queue.data_mut(*last) {
            subscriber.send(message);
        }
    }

    /// The peer in `place`.
    pub(crate) fn peer(&self, place: usize) -> &Arc<Peer> {
        &self.queue.data(place).peer
    }

    /// What all subscribers have, and have missed.
    pub(crate) fn status(&self) -> impl Iterator<Item = SubscriberStatus> {
        self.queue
            .iter()
            .map(|(place, subscriber)| SubscriberStatus {
                peer: Arc::clone(&subscriber.peer),
                subscriptions: self.topics.count(place),
                dropped: subscriber.dropped,
                refused: subscriber.refused,
            })
    }

    /// Takes out all subscribers, to close them.
    pub(crate) fn drain(&mut self) -> Vec<Outlet> {
        let subscribers = self.queue.drain().into_iter();
        let outlets = subscribers.map(|subscriber| Outlet::Connection(subscriber.sender));
        outlets.collect()
    }
}

impl Subscriber {
    fn send(&mut self, message: Message) {
        if let Err(error) = self.sender.try_send(message)
            && matches!(error.reason, TrySendReason::Full)
        {
            self.dropped += 1;
        }
    }
}
