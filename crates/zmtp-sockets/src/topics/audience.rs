//! The subscribers of a publisher, and what they subscribe to (RFC 29, "The PUB Socket Type").
#![forbid(unsafe_code)]

use crate::event::{SocketEvent, SubscriptionRefused};
use crate::options::Bounds;
use crate::peers::admission::TopicFrame;
use crate::peers::fair_queue::told::Told;
use crate::peers::fair_queue::{Ended, FairQueue, Ticket, Turn};
use crate::peers::held::Inlet;
use crate::peers::news::News;
use crate::peers::outlet::Outlet;
use crate::peers::sending::Sending;
use crate::received::Received;
use crate::topics::judging::Judging;
use crate::topics::places::{Inserted, Removed};
use crate::topics::runs::Runs;
use crate::topics::subscriber::Subscriber;
use crate::topics::trie::Trie;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::broadcast;
use zmtp_auth::Peer;
use zmtp_auth::net::{Incoming, Message};

/// All subscribers.
pub(crate) struct Audience {
    queue: FairQueue<Subscriber>,
    /// What subscribers get.
    topics: Trie,
    /// What they have asked for, if the application decides what they get.
    asked: Option<Trie>,
    bounds: Bounds,
    judging: Judging,
    /// What changes of the policy have brought.
    judged: VecDeque<Heard>,
    /// The places that a message goes to. Kept for its memory.
    matches: Vec<usize>,
    /// The length of all that was heard.
    heard: usize,
    runs: Runs,
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
    /// The event, unless it was told before.
    Refused(Option<SocketEvent>),
    Message(usize, Message),
    /// A subscriber is gone, with what it had subscribed to.
    Gone {
        peer: Arc<Peer>,
        subscriber: Ticket,
        topics: Vec<(Vec<u8>, Removed)>,
    },
}

impl Audience {
    pub(crate) fn new(news: News<Inlet<Subscriber>>, judging: Judging, bounds: Bounds) -> Self {
        Self {
            queue: FairQueue::new(news).with_topic_permissions(TopicFrame::First),
            topics: Trie::new(),
            asked: None,
            bounds,
            judging,
            judged: VecDeque::new(),
            matches: Vec::new(),
            heard: 0,
            runs: Runs::default(),
        }
    }

    /// Tells [`SocketEvent::MessageNotPermitted`].
    pub(crate) fn with_events(mut self, events: broadcast::Sender<SocketEvent>) -> Self {
        let told = Told::new(events, |it: &Subscriber| &it.peer).without_ends();
        self.queue = self.queue.with_events(told);
        self
    }

    /// Lets the application decide what subscribers get.
    pub(crate) fn manual(mut self) -> Self {
        self.asked = Some(Trie::new());
        self
    }

    /// Takes the next subscriber that is gone.
    pub(crate) fn try_departure(&mut self) -> Option<Heard> {
        // What was judged names places that the departed have still.
        if let Some(heard) = self.try_judged() {
            return Some(heard);
        }
        let ended = self.queue.try_departure()?;
        Some(self.dismiss(ended))
    }

    /// Takes what has arrived from the next subscriber, without waiting.
    pub(crate) fn try_hear(&mut self) -> Option<Heard> {
        if let Some(heard) = self.try_judged() {
            return Some(heard);
        }
        let turn = self.queue.try_turn()?;
        Some(self.take(turn))
    }

    /// As [`Audience::try_hear`], but waits. The task of the last call is woken.
    pub(crate) fn poll_hear(&mut self, context: &mut Context<'_>) -> Poll<Heard> {
        if let Some(heard) = self.try_judged() {
            return Poll::Ready(heard);
        }
        if let Poll::Ready(turn) = self.queue.poll_turn(context) {
            return Poll::Ready(self.take(turn));
        }
        // The task is woken by changes from now on. One may have come before.
        self.try_judged().map_or(Poll::Pending, Poll::Ready)
    }

    /// Takes what a change of the policy has brought.
    fn try_judged(&mut self) -> Option<Heard> {
        if self.judging.has_some() {
            self.queue.take_news();
            for pipe in self.judging.take() {
                for place in self.queue.places(pipe) {
                    self.judge(place);
                }
            }
        }
        self.judged.pop_front()
    }

    /// Judges a subscriber again: what it may have no longer is taken from it, and what it was refused
    /// and may have now is given to it.
    fn judge(&mut self, place: usize) {
        let Some(subscriber) = self.queue.data_mut(place) else {
            return;
        };
        subscriber.permits.renew();
        for topic in subscriber.permits.take_permitted() {
            let heard = self.subscribe(place, topic);
            self.judged.push_back(heard);
        }
        let Some(subscriber) = self.queue.data_mut(place) else {
            return;
        };
        if self.asked.is_some() {
            for topic in self.topics.topics(place) {
                if !subscriber.permits.permits(&topic) {
                    self.topics.remove(place, &topic);
                }
            }
        }
        let requests = self.asked.as_mut().unwrap_or(&mut self.topics);
        for topic in requests.topics(place) {
            if !subscriber.permits.permits(&topic) {
                let removed = requests.remove(place, &topic);
                let topic = Bytes::from(topic);
                self.judged
                    .push_back(Heard::Refused(subscriber.forbid(&topic)));
                self.judged.push_back(Heard::Unsubscribe {
                    place,
                    topic,
                    removed,
                });
            }
        }
    }

    fn take(&mut self, turn: Turn<Subscriber>) -> Heard {
        let (place, incoming) = match turn {
            Turn::Incoming(place, incoming) => (place, incoming),
            Turn::Ended(ended) => return self.dismiss(ended),
            Turn::NotPermitted => return Heard::Refused(None),
        };
        self.heard = self.heard.wrapping_add(match &incoming {
            Incoming::Message(message) => message.size(),
            Incoming::Subscribe(topic) | Incoming::Unsubscribe(topic) => topic.len(),
            _ => 0,
        });
        match incoming {
            Incoming::Subscribe(topic) => self.subscribe(place, topic),
            Incoming::Unsubscribe(topic) => {
                if let Some(subscriber) = self.queue.data_mut(place) {
                    subscriber.permits.forget(&topic);
                }
                Heard::Unsubscribe {
                    place,
                    removed: self.requests().remove(place, &topic),
                    topic,
                }
            }
            other => {
                let message = other.into_message().unwrap_or_else(|| Message::from(""));
                Heard::Message(place, message)
            }
        }
    }

    /// The length of all that was heard, of which differences mean something.
    pub(crate) const fn heard(&self) -> usize {
        self.heard
    }

    /// What subscribers have asked for.
    fn requests(&mut self) -> &mut Trie {
        self.asked.as_mut().unwrap_or(&mut self.topics)
    }

    fn dismiss(&mut self, ended: Box<Ended<Subscriber>>) -> Heard {
        let ended = *ended;
        // Another peer may get the place.
        self.runs.end();
        let topics = self.requests().take_all(ended.place);
        self.topics.remove_all(ended.place);
        Heard::Gone {
            peer: ended.data.peer,
            subscriber: ended.ticket,
            topics,
        }
    }

    fn subscribe(&mut self, place: usize, topic: Bytes) -> Heard {
        let requests = self.asked.as_mut().unwrap_or(&mut self.topics);
        let Some(subscriber) = self.queue.data_mut(place) else {
            return Heard::Refused(None);
        };
        let (refused, refused_bytes) = subscriber.permits.remembered();
        let count = requests.count(place).saturating_add(refused);
        let bytes = requests.bytes(place).saturating_add(refused_bytes);
        let is_full = count >= self.bounds.subscriptions
            || bytes.saturating_add(topic.len()) > self.bounds.bytes;
        if is_full && !requests.has(place, &topic) {
            let reason = SubscriptionRefused::TooMany;
            return Heard::Refused(Some(subscriber.refuse(&topic, reason)));
        }
        if !subscriber.permits.permits(&topic) {
            return Heard::Refused(subscriber.forbid(&topic));
        }
        let inserted = requests.insert(place, &topic);
        Heard::Subscribe {
            place,
            topic,
            inserted,
        }
    }

    /// Sends a subscriber what begins with `topic`. Returns whether it is connected
    /// and the policy permits it.
    pub(crate) fn subscribe_to(&mut self, subscriber: Ticket, topic: &[u8]) -> bool {
        let Some(place) = self.queue.place(subscriber) else {
            return false;
        };
        let subscriber = self.queue.data_mut(place);
        let is_permitted = subscriber.is_some_and(|it| it.permits.permits(topic));
        if is_permitted {
            self.topics.insert(place, topic);
        }
        is_permitted
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
        self.find_matches(topic);
        if self.judge_matches() {
            self.find_matches(topic);
        }
        self.runs.send(&mut self.queue, &self.matches, message);
    }

    /// Waits until all subscribers to the message have room for it. The task of the last call is woken.
    pub(crate) fn poll_ready(&mut self, message: &Message, context: &mut Context<'_>) -> Poll<()> {
        let topic = message.frames().first().map_or(&[][..], |frame| frame);
        self.find_matches(topic);
        for place in &self.matches {
            if let Some(subscriber) = self.queue.data_mut(*place) {
                // Who is gone needs no room.
                if subscriber.sender.poll_ready(context).is_pending() {
                    // A subscriber that is to get the message no more needs none either.
                    self.queue.wake_by_news(context);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(())
    }

    /// Whether any subscriber has a topic.
    pub(crate) fn has_topics(&self) -> bool {
        self.topics.has_topics()
    }

    fn find_matches(&mut self, topic: &[u8]) {
        self.matches.clear();
        self.topics.find_matches(topic, &mut self.matches);
    }

    /// Judges those of the matches whose permissions have changed: a message that is sent after a
    /// change does not go to a subscriber that may not have it. Returns whether there were some.
    fn judge_matches(&mut self) -> bool {
        let queue = &self.queue;
        let is_stale = |place: &usize| queue.data(*place).permits.is_stale();
        if !self.matches.iter().any(is_stale) {
            return false;
        }
        for place in std::mem::take(&mut self.matches) {
            if self.queue.data(place).permits.is_stale() {
                self.judge(place);
            }
        }
        true
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

    /// Whether a message that was taken in may be received still. One that was withdrawn for its topic is
    /// counted.
    pub(crate) fn still_permits(&mut self, ticket: Ticket, received: &Received) -> bool {
        self.queue
            .still_permits(ticket, received.peer(), received.message())
    }

    /// The number of messages that were dropped for their topic.
    pub(crate) const fn not_permitted(&self) -> u64 {
        self.queue.not_permitted()
    }

    /// Takes out all subscribers, to close them.
    pub(crate) fn drain(&mut self) -> Vec<Outlet> {
        let subscribers = self.queue.drain().into_iter();
        let outlets = subscribers.map(|subscriber| Outlet::Connection(subscriber.sender));
        outlets.collect()
    }
}

impl Sending for Audience {
    fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<()> {
        for subscriber in self.queue.all_data_mut() {
            // What a lost connection had is lost with it.
            let _ = ready!(subscriber.sender.poll_flush(context));
        }
        Poll::Ready(())
    }
}
