//! What waits to be told to one publisher: subscriptions and messages.
#![forbid(unsafe_code)]

use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;
use zmtp_auth::net::Message;

/// What one publisher is to be told, on one connection after another.
#[derive(Default)]
pub(crate) struct Pending {
    /// Where each topic stands on the connection. One that was never announced, or was taken back, is
    /// absent.
    topics: HashMap<Bytes, Standing>,
    /// What is to be told, in the order of the calls.
    waiting: BTreeMap<u64, Waiting>,
    /// The number and the length of the messages among it, which no connection has taken.
    messages: usize,
    bytes: usize,
    /// The number of the next call.
    next: u64,
    /// Ends the task of the connection. Absent while there is no connection.
    line: Option<Line>,
    /// Whether messages wait for the next connection when one is lost.
    is_kept: bool,
    /// Whether the connection has taken messages that the system has not.
    is_sending: bool,
    /// Whether the connection is given up once nothing waits.
    is_closing: bool,
    /// The task that waits for room, or until all messages have left.
    waiting_task: Option<Waker>,
}

/// Tells the task of one connection to end.
pub(crate) type Line = Arc<Notify>;

/// Bytes and messages that may wait.
pub(crate) type Room = (usize, usize);

/// Whether a topic that is wanted already is announced again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    Yes,
    No,
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
pub(crate) enum Next {
    Subscribe(Bytes),
    Unsubscribe(Bytes),
    /// A message was given away, unless it was returned.
    Given,
    Nothing,
    Over,
}

impl Pending {
    /// For a dialled publisher. Messages wait while there is no connection.
    pub(crate) fn kept() -> Self {
        Self {
            is_kept: true,
            ..Self::default()
        }
    }

    pub(crate) const fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// There is a connection, which is told all `topics`, and then the messages that wait.
    pub(crate) fn attach<'a>(&mut self, topics: impl Iterator<Item = &'a Bytes>) -> Line {
        let line = Line::default();
        self.line = Some(Arc::clone(&line));
        let messages = std::mem::take(&mut self.waiting);
        for topic in topics {
            self.subscribe(topic.clone(), Repeat::No);
        }
        for message in messages.into_values() {
            self.wait(message);
        }
        line
    }

    /// The connection is gone. What it has taken is lost with it.
    pub(crate) fn detach(&mut self) {
        if let Some(line) = self.line.take() {
            line.notify_one();
        }
        self.topics.clear();
        self.waiting
            .retain(|_, waiting| matches!(waiting, Waiting::Message(_)));
        self.is_sending = false;
    }

    /// The publisher is given up.
    pub(crate) fn end(&mut self) {
        self.waiting.clear();
        (self.messages, self.bytes) = (0, 0);
        self.detach();
    }

    /// Nothing more is added. What was sent still leaves if there is a connection.
    pub(crate) fn close(&mut self) {
        self.is_closing = true;
        if self.messages == 0 || self.line.is_none() {
            self.end();
        }
    }

    /// The system has taken everything that the connection of this line had.
    pub(crate) fn sent(&mut self, line: &Line) {
        if self.is_connected_by(line) {
            self.is_sending = false;
        }
    }

    fn is_connected_by(&self, line: &Line) -> bool {
        self.line.as_ref().is_some_and(|it| Arc::ptr_eq(it, line))
    }

    /// Whether messages wait that no connection has taken.
    pub(crate) const fn has_unsent(&self) -> bool {
        self.messages > 0
    }

    /// The task that waits, to be woken without a lock: a waker is foreign code.
    pub(crate) const fn take_waiting_task(&mut self) -> Option<Waker> {
        self.waiting_task.take()
    }

    /// Waits until there is room for a message.
    pub(crate) fn poll_room(&mut self, context: &Context<'_>, room: Room) -> Poll<()> {
        let has_room = self.has_room(room);
        self.ready_if(has_room, context)
    }

    /// Waits until the system has taken all messages.
    pub(crate) fn poll_sent(&mut self, context: &Context<'_>) -> Poll<()> {
        let has_sent_all = !self.has_unsent() && !self.is_sending;
        self.ready_if(has_sent_all, context)
    }

    fn ready_if(&mut self, is_ready: bool, context: &Context<'_>) -> Poll<()> {
        if is_ready {
            return Poll::Ready(());
        }
        self.waiting_task = Some(context.waker().clone());
        Poll::Pending
    }

    pub(crate) fn subscribe(&mut self, topic: Bytes, repeat: Repeat) {
        if self.line.is_none() {
            // The next connection is told all topics.
            return;
        }
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

    pub(crate) fn unsubscribe(&mut self, topic: &Bytes) {
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

    const fn has_room(&self, (bytes, messages): Room) -> bool {
        self.messages == 0 || (self.messages < messages && self.bytes < bytes)
    }

    /// Returns whether there was room.
    pub(crate) fn send(&mut self, message: &Message, room: Room) -> bool {
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

    /// What the connection of this line is told next. A message is given away by `give`, and waits on if
    /// that returns it.
    pub(crate) fn next(
        &mut self,
        line: &Line,
        give: impl FnOnce(Message) -> Result<(), Message>,
    ) -> Next {
        if !self.is_connected_by(line) {
            return Next::Over;
        }
        match self.waiting.pop_first() {
            None if self.is_closing => Next::Over,
            None => Next::Nothing,
            Some((number, Waiting::Message(message))) => {
                let size = message.size();
                if let Err(message) = give(message) {
                    self.waiting.insert(number, Waiting::Message(message));
                } else {
                    self.messages -= 1;
                    self.bytes = self.bytes.saturating_sub(size);
                    self.is_sending = true;
                }
                Next::Given
            }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected() -> Pending {
        let mut pending = Pending::default();
        pending.attach([].iter());
        pending
    }

    /// What is told from now on, a letter for each kind: what waits is told to the last.
    fn told(queue: &mut Pending) -> Vec<String> {
        let line = queue.line.clone().unwrap_or_default();
        let mut told = Vec::new();
        loop {
            let mut given = None;
            let next = queue.next(&line, |message| {
                given = message.into_frames().pop();
                Ok(())
            });
            let (kind, bytes) = match next {
                Next::Subscribe(topic) => ("+", topic),
                Next::Unsubscribe(topic) => ("-", topic),
                Next::Given => ("=", given.unwrap()),
                Next::Nothing | Next::Over => return told,
            };
            told.push(format!("{kind}{}", String::from_utf8_lossy(&bytes)));
        }
    }

    #[test]
    fn what_is_taken_back_before_it_was_announced_is_not_announced() {
        let mut queue = connected();
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
        let mut queue = connected();
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
        let mut queue = connected();
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
        queue.end();
        assert!(queue.take_waiting_task().is_none());
        queue.subscribe("late".into(), Repeat::No);
        assert!(told(&mut queue).is_empty());
    }

    #[test]
    fn what_a_connection_has_not_taken_goes_to_the_next_one_in_order_behind_all_topics() {
        let mut queue = Pending::kept();
        let (topics, room) = ([Bytes::from("a")], (10, 2));
        assert!(queue.send(&"1".into(), room) && queue.send(&"2".into(), room));
        assert!(!queue.send(&"3".into(), room));
        for _ in 0..2 {
            let line = queue.attach(topics.iter());
            assert!(matches!(
                queue.next(&line, |_| panic!("the topic comes first")),
                Next::Subscribe(_)
            ));
            let next = queue.next(&line, Err);
            assert!(matches!(next, Next::Given) && queue.has_unsent());
            queue.detach();
            assert!(matches!(queue.next(&line, |_| Ok(())), Next::Over));
        }
        queue.attach(topics.iter());
        assert_eq!(told(&mut queue), ["+a", "=1", "=2"]);
        assert!(!queue.has_unsent());
    }
}
