//! Tells publishers what a subscriber wants (RFC 29, "The SUB Socket Type"), and sends them messages.
//!
//! Each connection has a task that announces subscriptions at the speed of the peer. What waits for a
//! slow peer is bounded by what is wanted: a subscription that is taken back before it was announced
//! is not announced at all.
#![forbid(unsafe_code)]

use crate::peers::news::PipeId;
use crate::peers::sending::Sending;
use crate::topics::pending::{Line, Next, Pending, Repeat, Room};
use bytes::Bytes;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;
use zmtp_auth::Grant;
use zmtp_auth::net::{Message, NetError, Options, SendHalf};

/// The topics that a socket wants, and the publishers that are told so.
pub(crate) struct Wanted {
    state: Arc<Mutex<State>>,
    /// Bytes and messages that may wait for each publisher.
    room: Room,
    dropped: u64,
}

/// The other end, for the tasks that have new connections.
pub(crate) struct Announcer {
    state: Arc<Mutex<State>>,
    /// How long messages may take to leave once the socket is gone.
    linger: Duration,
}

#[derive(Default)]
struct State {
    /// How often each topic is wanted.
    topics: HashMap<Bytes, usize>,
    feeds: HashMap<PipeId, Arc<Feed>>,
    /// Whether the socket is gone.
    is_closed: bool,
}

/// What one publisher is to be told.
#[derive(Default)]
struct Feed {
    pending: Mutex<Pending>,
    /// That of the connection, if there is one.
    admission: Mutex<Option<Grant>>,
    changed: Notify,
    /// Told once the socket is gone.
    closing: Notify,
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
        }
    }

    pub(crate) fn announcer(&self, options: &Options) -> Announcer {
        Announcer {
            state: Arc::clone(&self.state),
            linger: options.linger,
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
                feed.change(|pending| pending.subscribe(topic.clone(), repeat));
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
            feed.change(|pending| pending.unsubscribe(topic));
        }
        true
    }

    /// Sends a message to all publishers that have room.
    pub(crate) fn send(&mut self, message: &Message) {
        for feed in lock(&self.state).feeds.values() {
            if !feed.change(|pending| pending.send(message, self.room)) {
                self.dropped += 1;
            }
        }
    }

    /// Waits until all publishers have room. The task of the last call is woken.
    pub(crate) fn poll_ready(&self, context: &Context<'_>) -> Poll<()> {
        let mut all = Poll::Ready(());
        for feed in lock(&self.state).feeds.values() {
            if lock(&feed.pending)
                .poll_room(context, self.room)
                .is_pending()
            {
                all = Poll::Pending;
            }
        }
        all
    }

    /// Waits until the system has taken all messages, also those that wait for the next connection, and
    /// gives the connections up.
    pub(crate) async fn finish(mut self) {
        poll_fn(|context| self.poll_sent(context)).await;
    }

    /// Messages that found no room.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// What was sent still leaves on the connections that there are, for at most the linger time.
impl Drop for Wanted {
    fn drop(&mut self) {
        let feeds = {
            let mut state = lock(&self.state);
            state.is_closed = true;
            std::mem::take(&mut state.feeds)
        };
        for feed in feeds.into_values() {
            feed.change(Pending::close);
            feed.closing.notify_one();
        }
    }
}

impl Sending for Wanted {
    fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<()> {
        for feed in lock(&self.state).feeds.values() {
            ready!(lock(&feed.pending).poll_sent(context));
        }
        Poll::Ready(())
    }
}

impl Announcer {
    /// Lets messages wait for a dialled publisher while it is not connected.
    pub(crate) fn keep(&self, pipe: PipeId) {
        let mut state = lock(&self.state);
        let pending = Mutex::new(Pending::kept());
        let feed = Feed {
            pending,
            ..Feed::default()
        };
        state.feeds.insert(pipe, Arc::new(feed));
    }

    /// Tells a new connection what is wanted, from now to its end, and sends it what waits.
    pub(crate) fn add(&self, pipe: PipeId, sender: SendHalf) {
        let (feed, line) = {
            let mut state = lock(&self.state);
            if state.is_closed {
                return;
            }
            let State { topics, feeds, .. } = &mut *state;
            let feed = feeds.entry(pipe).or_default();
            *lock(&feed.admission) = sender.peer().grant().cloned();
            let line = lock(&feed.pending).attach(topics.keys());
            (Arc::clone(feed), line)
        };
        let linger = self.linger;
        tokio::spawn(async move { feed.run(sender, line, linger).await });
    }

    /// Whether messages wait that no connection has taken.
    pub(crate) fn has_unsent(&self, pipe: PipeId) -> bool {
        let state = lock(&self.state);
        let feed = state.feeds.get(&pipe);
        feed.is_some_and(|feed| lock(&feed.pending).has_unsent())
    }

    /// A connection is lost.
    pub(crate) fn lost(&self, pipe: PipeId) {
        self.detach_unless(pipe, |_| false);
    }

    /// An admission of a publisher is withdrawn. The connection may be a later one, which goes on.
    pub(crate) fn withdraw(&self, pipe: PipeId) {
        self.detach_unless(pipe, |admission| {
            admission.as_ref().is_none_or(Grant::still_valid)
        });
    }

    fn detach_unless(&self, pipe: PipeId, keep: impl Fn(&Option<Grant>) -> bool) {
        // The grant is dropped without a lock, because that is foreign code.
        let (feed, _given_up) = {
            // Locked until the connection is given up, so that no other one has come by then.
            let state = lock(&self.state);
            let Some(feed) = state.feeds.get(&pipe) else {
                return;
            };
            let mut admission = lock(&feed.admission);
            if keep(&admission) {
                return;
            }
            feed.change(Pending::detach);
            (Arc::clone(feed), admission.take())
        };
        feed.wake();
        let is_kept = lock(&feed.pending).is_kept();
        if !is_kept {
            self.remove(pipe);
        }
    }

    /// A publisher is given up, with the messages that wait for it.
    pub(crate) fn remove(&self, pipe: PipeId) {
        let feed = lock(&self.state).feeds.remove(&pipe);
        if let Some(feed) = feed {
            feed.change_and_wake(Pending::end);
        }
    }
}

impl Feed {
    fn change<T>(&self, change: impl FnOnce(&mut Pending) -> T) -> T {
        let result = change(&mut lock(&self.pending));
        self.changed.notify_one();
        result
    }

    /// As [`Feed::change`], for what the task that waits may have waited for.
    fn change_and_wake<T>(&self, change: impl FnOnce(&mut Pending) -> T) -> T {
        let result = self.change(change);
        self.wake();
        result
    }

    fn wake(&self) {
        let waiting = lock(&self.pending).take_waiting_task();
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// Serves one connection to its end, which others are told.
    async fn run(&self, mut sender: SendHalf, line: Line, linger: Duration) {
        let time_is_up = async {
            self.closing.notified().await;
            sleep(linger).await;
        };
        tokio::select! {
            biased;
            () = line.notified() => {}
            _ = self.tell(&mut sender, &line) => {}
            () = time_is_up => {}
        }
    }

    async fn tell(&self, sender: &mut SendHalf, line: &Line) -> Result<(), NetError> {
        let mut is_sending = false;
        loop {
            poll_fn(|context| sender.poll_ready(context)).await?;
            let give = |message| sender.try_send(message).map_err(|error| error.message);
            let next = lock(&self.pending).next(line, give);
            match next {
                Next::Subscribe(topic) => sender.subscribe(topic).await?,
                Next::Unsubscribe(topic) => sender.unsubscribe(topic).await?,
                Next::Given => {
                    is_sending = true;
                    self.wake();
                }
                Next::Nothing => tokio::select! {
                    biased;
                    () = self.changed.notified() => {}
                    sent = poll_fn(|context| sender.poll_flush(context)), if is_sending => {
                        sent?;
                        is_sending = false;
                        self.change_and_wake(|pending| pending.sent(line));
                    }
                },
                Next::Over => return Ok(()),
            }
        }
    }
}
