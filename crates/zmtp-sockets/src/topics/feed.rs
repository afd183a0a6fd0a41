//! Tells publishers what a subscriber wants (RFC 29, "The SUB Socket Type").
//!
//! Each connection has a task that announces subscriptions at the speed of the peer. What waits for a
//! slow peer is bounded by what is wanted: a subscription that is taken back before it was announced
//! is not announced at all.
#![forbid(unsafe_code)]

use crate::peers::held::Count;
use crate::peers::news::PipeId;
use bytes::Bytes;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;
use zmtp_auth::net::{Message, NetError, Options, SendHalf};

/// The topics that a socket wants, and the connections that are told so.
pub(crate) struct Wanted {
    state: Arc<Mutex<State>>,
    /// Bytes and messages that may wait for each connection.
    room: (usize, usize),
    dropped: u64,
    /// The connections that are told.
    live: Count,
}

/// Whether a topic that is wanted already is announced again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    Yes,
    No,
}

/// The other end, for the tasks that have new connections.
pub(crate) struct Announcer {
    state: Arc<Mutex<State>>,
    live: Count,
}

#[derive(Default)]
struct State {
    /// How often each topic is wanted.
    topics: HashMap<Bytes, usize>,
    feeds: HashMap<PipeId, Arc<Feed>>,
    /// Whether the socket is gone.
    is_closed: bool,
}

/// What one connection is to be told.
#[derive(Default)]
struct Feed {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Default)]
struct Queue {
    /// Where each topic stands. One that was never announced, or was taken back, is absent.
    topics: HashMap<Bytes, Standing>,
    /// What is to be told, in the order of the calls.
    waiting: BTreeMap<u64, Waiting>,
    /// The number and the length of the messages that the connection has not taken.
    messages: usize,
    bytes: usize,
    /// The task that waits for room.
    waiting_for_room: Option<Waker>,
    /// The number of the next call.
    next: u64,
    /// Whether the sending half is closed once nothing waits.
    is_finishing: bool,
    /// Whether the connection is gone.
    is_over: bool,
}

enum Waiting {
    /// To be announced or taken back, as its standing says.
    Topic(Bytes),
    Message(Message),
}

/// Where a topic stands on one connection. A number is the place among those that wait.
#[derive(Clone, Copy)]
enum Standing {
    ToAnnounce(u64),
    Announced,
    ToRepeat(u64),
    ToTakeBack(u64),
}

/// What to tell next.
enum Next {
    Subscribe(Bytes),
    Unsubscribe(Bytes),
    Send(Message),
    Nothing,
    Finish,
    Over,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic under the lock leaves whole entries behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wanted {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            state: Arc::default(),
            room: (options.send_ahead, options.send_ahead_messages),
            dropped: 0,
            live: Count::new(),
        }
    }

    pub(crate) fn announcer(&self) -> Announcer {
        Announcer {
            state: Arc::clone(&self.state),
            live: self.live.clone(),
        }
    }

    /// Wants a topic once more. Returns whether it was not wanted before.
    pub(crate) fn subscribe(&self, topic: &Bytes, repeat: Repeat) -> bool {
        let mut state = lock(&self.state);
        let count = state.topics.entry(topic.clone()).or_default();
        *count += 1;
        let is_first = *count == 1;
        if is_first || repeat == Repeat::Yes {
            for feed in state.feeds.values() {
                feed.change(|queue| queue.subscribe(topic.clone(), repeat));
            }
        }
        is_first
    }

    /// Wants a topic once less. Returns whether that was the last time.
    pub(crate) fn unsubscribe(&self, topic: &Bytes) -> bool {
        let mut state = lock(&self.state);
        let Entry::Occupied(mut count) = state.topics.entry(topic.clone()) else {
            return false;
        };
        *count.get_mut() -= 1;
        if *count.get() > 0 {
            return false;
        }
        count.remove();
        for feed in state.feeds.values() {
            feed.change(|queue| queue.unsubscribe(topic));
        }
        true
    }

    /// Sends a message on all connections that have room.
    pub(crate) fn send(&mut self, message: &Message) {
        for feed in lock(&self.state).feeds.values() {
            if !feed.change(|queue| queue.send(message, self.room)) {
                self.dropped += 1;
            }
        }
    }

    /// Waits until all connections have room. The task of the last call is woken.
    pub(crate) fn poll_ready(&self, context: &Context<'_>) -> Poll<()> {
        let mut all = Poll::Ready(());
        for feed in lock(&self.state).feeds.values() {
            let mut queue = lock(&feed.queue);
            if !queue.has_room(self.room) {
                queue.waiting_for_room = Some(context.waker().clone());
                all = Poll::Pending;
            }
        }
        all
    }

    /// Sends what waits, and closes the connections' sending halves. Waits until all are closed.
    pub(crate) async fn finish(self) {
        {
            let mut state = lock(&self.state);
            state.is_closed = true;
            for feed in state.feeds.values() {
                feed.change(|queue| queue.is_finishing = true);
            }
        }
        self.live.wait_for(|live| live == 0).await;
    }

    /// Messages that found no room.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// Closes the connections' sending halves.
impl Drop for Wanted {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.is_closed = true;
        for (_, feed) in state.feeds.drain() {
            // The socket is gone, so no task of it waits.
            drop(feed.change(Queue::end));
        }
    }
}

impl Announcer {
    /// Tells a new connection what is wanted, from now to its end.
    pub(crate) fn add(&self, pipe: PipeId, sender: SendHalf) {
        let feed = Arc::new(Feed::default());
        let before = {
            let mut state = lock(&self.state);
            if state.is_closed {
                return;
            }
            let mut queue = lock(&feed.queue);
            for topic in state.topics.keys() {
                queue.subscribe(topic.clone(), Repeat::No);
            }
            drop(queue);
            state.feeds.insert(pipe, Arc::clone(&feed))
        };
        if let Some(before) = before {
            before.end();
        }
        let counted = self.live.add();
        tokio::spawn(async move {
            // The end of the connection is told by others.
            let _ = feed.run(sender).await;
            drop(counted);
        });
    }

    /// Whether messages wait that a connection has not taken.
    pub(crate) fn has_unsent(&self, pipe: PipeId) -> bool {
        let state = lock(&self.state);
        let feed = state.feeds.get(&pipe);
        feed.is_some_and(|feed| lock(&feed.queue).messages > 0)
    }

    /// A connection is gone.
    pub(crate) fn remove(&self, pipe: PipeId) {
        let feed = lock(&self.state).feeds.remove(&pipe);
        if let Some(feed) = feed {
            feed.end();
        }
    }
}

impl Feed {
    fn change<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        let result = change(&mut lock(&self.queue));
        self.changed.notify_one();
        result
    }

    /// The connection is gone. A waker is foreign code, so no lock is held here.
    fn end(&self) {
        if let Some(waker) = self.change(Queue::end) {
            waker.wake();
        }
    }

    async fn run(&self, mut sender: SendHalf) -> Result<(), NetError> {
        loop {
            let next = lock(&self.queue).next();
            match next {
                Next::Subscribe(topic) => self.unless_over(sender.subscribe(topic)).await?,
                Next::Unsubscribe(topic) => self.unless_over(sender.unsubscribe(topic)).await?,
                Next::Send(message) => {
                    let size = message.size();
                    self.unless_over(sender.send(message)).await?;
                    let waiting = lock(&self.queue).sent(size);
                    if let Some(waker) = waiting {
                        waker.wake();
                    }
                }
                Next::Nothing => self.changed.notified().await,
                Next::Finish => return self.unless_over(sender.finish()).await,
                Next::Over => return Ok(()),
            }
        }
    }

    /// Waits for `sending`, unless the connection or the socket is gone before. A peer that does not
    /// read must not keep a connection of a socket that is gone.
    async fn unless_over(
        &self,
        sending: impl Future<Output = Result<(), NetError>>,
    ) -> Result<(), NetError> {
        let over = async {
            while !lock(&self.queue).is_over {
                self.changed.notified().await;
            }
        };
        tokio::select! {
            biased;
            sent = sending => sent,
            () = over => Err(NetError::SendClosed),
        }
    }
}

impl Queue {
    fn subscribe(&mut self, topic: Bytes, repeat: Repeat) {
        match self.topics.get(&topic) {
            None => {
                let number = self.wait(Waiting::Topic(topic.clone()));
                self.topics.insert(topic, Standing::ToAnnounce(number));
            }
            // The peer does not know that it was to be taken back.
            Some(Standing::ToTakeBack(number)) => {
                self.waiting.remove(number);
                self.topics.insert(topic, Standing::Announced);
            }
            Some(Standing::Announced) if repeat == Repeat::Yes => {
                let number = self.wait(Waiting::Topic(topic.clone()));
                self.topics.insert(topic, Standing::ToRepeat(number));
            }
            Some(_) => {}
        }
    }

    fn unsubscribe(&mut self, topic: &Bytes) {
        match self.topics.get(topic) {
            Some(Standing::ToAnnounce(number)) => {
                self.waiting.remove(number);
                self.topics.remove(topic);
            }
            Some(standing @ (Standing::Announced | Standing::ToRepeat(_))) => {
                if let Standing::ToRepeat(number) = standing {
                    self.waiting.remove(number);
                }
                let number = self.wait(Waiting::Topic(topic.clone()));
                self.topics
                    .insert(topic.clone(), Standing::ToTakeBack(number));
            }
            Some(Standing::ToTakeBack(_)) | None => {}
        }
    }

    fn has_room(&self, (bytes, messages): (usize, usize)) -> bool {
        self.messages == 0 || (self.messages < messages && self.bytes < bytes)
    }

    /// The connection has taken a message of this length. Returns the task that waits for room.
    fn sent(&mut self, size: usize) -> Option<Waker> {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size);
        self.waiting_for_room.take()
    }

    /// Returns whether there was room.
    fn send(&mut self, message: &Message, room: (usize, usize)) -> bool {
        let has_room = self.has_room(room);
        if has_room {
            self.messages += 1;
            self.bytes = self.bytes.saturating_add(message.size());
            self.wait(Waiting::Message(message.clone()));
        }
        has_room
    }

    fn wait(&mut self, waiting: Waiting) -> u64 {
        let number = self.next;
        self.waiting.insert(number, waiting);
        self.next += 1;
        number
    }

    fn next(&mut self) -> Next {
        if self.is_over {
            return Next::Over;
        }
        match self.waiting.pop_first() {
            None if self.is_finishing => Next::Finish,
            None => Next::Nothing,
            Some((_, Waiting::Message(message))) => Next::Send(message),
            Some((_, Waiting::Topic(topic))) => {
                if matches!(self.topics.get(&topic), Some(Standing::ToTakeBack(_))) {
                    self.topics.remove(&topic);
                    Next::Unsubscribe(topic)
                } else {
                    self.topics.insert(topic.clone(), Standing::Announced);
                    Next::Subscribe(topic)
                }
            }
        }
    }

    /// Drops everything. Returns the task that waits for room.
    fn end(&mut self) -> Option<Waker> {
        let waiting = self.waiting_for_room.take();
        *self = Self {
            is_over: true,
            ..Self::default()
        };
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told from now on, a letter for each kind: what waits is told to the last.
    fn told(queue: &mut Queue) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            let (kind, bytes) = match queue.next() {
                Next::Subscribe(topic) => ("+", topic),
                Next::Unsubscribe(topic) => ("-", topic),
                Next::Send(message) => {
                    queue.sent(message.size());
                    ("=", message.into_frames().remove(0))
                }
                Next::Nothing | Next::Finish | Next::Over => return told,
            };
            told.push(format!("{kind}{}", String::from_utf8_lossy(&bytes)));
        }
    }

    #[test]
    fn what_is_taken_back_before_it_was_announced_is_not_announced() {
        let mut queue = Queue::default();
        for number in 0..1000 {
            let topic = Bytes::from(number.to_string());
            queue.subscribe(topic.clone(), Repeat::No);
            queue.unsubscribe(&topic);
        }
        assert!(queue.waiting.is_empty() && queue.topics.is_empty());
        queue.subscribe("a".into(), Repeat::No);
        queue.subscribe("b".into(), Repeat::No);
        assert_eq!(told(&mut queue), ["+a", "+b"]);
        for _ in 0..3 {
            queue.unsubscribe(&"a".into());
            queue.subscribe("a".into(), Repeat::No);
        }
        assert!(told(&mut queue).is_empty());
        queue.unsubscribe(&"a".into());
        queue.unsubscribe(&"b".into());
        assert_eq!(told(&mut queue), ["-a", "-b"]);
        assert!(queue.topics.is_empty());
    }

    #[test]
    fn a_topic_is_repeated_once_however_often_it_waits() {
        let mut queue = Queue::default();
        for _ in 0..3 {
            queue.subscribe("a".into(), Repeat::Yes);
        }
        assert_eq!(told(&mut queue), ["+a"]);
        for _ in 0..3 {
            queue.subscribe("a".into(), Repeat::Yes);
        }
        assert_eq!(told(&mut queue), ["+a"]);
        queue.subscribe("a".into(), Repeat::Yes);
        queue.unsubscribe(&"a".into());
        assert_eq!(told(&mut queue), ["-a"]);
    }

    #[test]
    fn messages_keep_their_place_among_subscriptions_and_have_bounds() {
        let mut queue = Queue::default();
        let room = (10, 2);
        queue.subscribe("a".into(), Repeat::No);
        assert!(queue.send(&"12345678901".into(), room));
        assert!(!queue.send(&"".into(), room));
        queue.subscribe("b".into(), Repeat::No);
        assert_eq!(told(&mut queue), ["+a", "=12345678901", "+b"]);
        assert!(queue.send(&"1".into(), room));
        assert!(queue.send(&"2".into(), room));
        assert!(!queue.send(&"3".into(), room));
        assert_eq!(told(&mut queue), ["=1", "=2"]);
        assert!(queue.end().is_none());
        queue.subscribe("late".into(), Repeat::No);
        assert!(told(&mut queue).is_empty());
    }
}
