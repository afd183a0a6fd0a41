//! Sends lines of standard input to the peers of a socket that listens: to one peer in turn, or to
//! all that have subscribed.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::socket::frames::message;
use crate::socket::lines::{Line, Lines};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, mpsc, watch};
use zmtp_auth::SocketType;
use zmtp_auth::net::Message;

/// The most messages that wait for one peer here. 1, since the connection has a queue of its own,
/// and this one only makes the reader of standard input wait.
const AHEAD: usize = 1;

/// The most topics of one peer; further subscriptions are ignored. Peers choose their topics, so
/// without this limit one peer could fill the memory. 4,096 is far more than applications use.
const MAX_TOPICS: usize = 4096;

/// The most bytes of all topics of one peer: 256 KiB, 64 bytes for each of 4,096 topics.
const MAX_TOPIC_BYTES: usize = 256 * 1024;

/// Sends lines of standard input.
pub(crate) struct Outlet {
    ours: SocketType,
    multipart: Option<String>,
    max_line: usize,
    recipients: Recipients,
}

/// The peers that take messages.
#[derive(Clone)]
pub(crate) struct Recipients(Arc<Shared>);

struct Shared {
    publishes: bool,
    peers: Mutex<VecDeque<Peer>>,
    /// Notified when a peer joins or subscribes.
    changed: Notify,
}

struct Peer {
    queue: mpsc::Sender<Message>,
    topics: Vec<Bytes>,
}

/// A peer's end of its queue. Dropping it removes the peer.
pub(crate) struct Recipient {
    queue: mpsc::Receiver<Message>,
    /// Identifies the peer among all.
    sender: mpsc::WeakSender<Message>,
    recipients: Recipients,
}

impl Outlet {
    /// # Errors
    /// Returns a usage failure if the socket type cannot send without an address.
    pub(crate) fn new(
        ours: SocketType,
        multipart: Option<String>,
        max_line: usize,
    ) -> Result<Self, Failure> {
        let in_turn = matches!(
            ours,
            SocketType::Push | SocketType::Dealer | SocketType::Pair
        );
        if !in_turn && !ours.publishes() {
            let types = "--send needs --type push, dealer, pair, pub or xpub";
            return Err(Failure::usage(types));
        }
        if multipart.as_deref() == Some("") {
            return Err(Failure::usage(
                "--multipart needs a separator that is not empty",
            ));
        }
        Ok(Self {
            ours,
            multipart,
            max_line,
            recipients: Recipients(Arc::new(Shared {
                publishes: ours.publishes(),
                peers: Mutex::default(),
                changed: Notify::new(),
            })),
        })
    }

    pub(crate) fn recipients(&self) -> Recipients {
        self.recipients.clone()
    }

    /// Sends lines until standard input ends or the socket stops.
    pub(crate) async fn send_lines(self, mut stopped: watch::Receiver<()>) -> Result<(), Failure> {
        tokio::select! {
            sent = self.send_all() => sent,
            _ = stopped.changed() => Ok(()),
        }
    }

    async fn send_all(&self) -> Result<(), Failure> {
        let mut lines = Lines::of_stdin(self.max_line);
        self.recipients.wait_for_peer().await;
        while let Some(line) = lines.next().await.map_err(Failure::stdin)? {
            let Line::Whole(line) = line else {
                return Err(Failure::long_line(self.max_line));
            };
            let message = message(self.ours, line, self.multipart.as_deref());
            self.recipients.send(message).await;
        }
        Ok(())
    }
}

impl Recipients {
    /// Adds a peer.
    pub(crate) fn join(&self) -> Recipient {
        let (sender, queue) = mpsc::channel(AHEAD);
        let recipient = Recipient {
            queue,
            sender: sender.downgrade(),
            recipients: self.clone(),
        };
        self.peers().push_back(Peer {
            queue: sender,
            topics: Vec::new(),
        });
        self.0.changed.notify_one();
        recipient
    }

    /// Waits for a peer that can receive a message.
    async fn wait_for_peer(&self) {
        loop {
            let ready = {
                let mut peers = self.peers();
                peers.retain(|peer| !peer.queue.is_closed());
                peers
                    .iter()
                    .any(|peer| !self.0.publishes || !peer.topics.is_empty())
            };
            if ready {
                return;
            }
            self.0.changed.notified().await;
        }
    }

    async fn send(&self, message: Message) {
        if !self.0.publishes {
            return self.send_in_turn(message).await;
        }
        let first = message.frames().first().cloned().unwrap_or_default();
        for queue in self.subscribers_of(&first) {
            // Fails if the peer has gone.
            let _ = queue.send(message.clone()).await;
        }
    }

    /// Sends to the next peer in turn. A slow peer delays the messages of all, as the turns require.
    async fn send_in_turn(&self, mut message: Message) {
        loop {
            self.wait_for_peer().await;
            let next = self.peers().pop_front();
            let Some(peer) = next else { continue };
            let sent = peer.queue.send(message).await;
            match sent {
                Ok(()) => return self.peers().push_back(peer),
                // The peer has gone: try the next one.
                Err(mpsc::error::SendError(back)) => message = back,
            }
        }
    }

    fn subscribers_of(&self, first: &[u8]) -> Vec<mpsc::Sender<Message>> {
        let peers = self.peers();
        let has_topic = |peer: &&Peer| peer.topics.iter().any(|topic| first.starts_with(topic));
        let subscribers = peers.iter().filter(has_topic);
        subscribers.map(|peer| peer.queue.clone()).collect()
    }

    fn peers(&self) -> MutexGuard<'_, VecDeque<Peer>> {
        // No code under this lock panics, so the state is consistent even if poisoned.
        self.0.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recipient {
    /// The next message for this peer. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Message {
        match self.queue.recv().await {
            Some(message) => message,
            // The outlet has ended.
            None => std::future::pending().await,
        }
    }

    pub(crate) fn subscribe(&self, topic: Bytes) {
        self.with_topics(|topics| {
            let bytes: usize = topics.iter().map(Bytes::len).sum();
            if topics.len() < MAX_TOPICS && bytes + topic.len() <= MAX_TOPIC_BYTES {
                topics.push(topic);
            }
        });
        self.recipients.0.changed.notify_one();
    }

    pub(crate) fn unsubscribe(&self, topic: &[u8]) {
        self.with_topics(|topics| {
            if let Some(index) = topics.iter().position(|known| known == topic) {
                topics.swap_remove(index);
            }
        });
    }

    fn with_topics(&self, change: impl FnOnce(&mut Vec<Bytes>)) {
        let Some(ours) = self.sender.upgrade() else {
            return;
        };
        let mut peers = self.recipients.peers();
        let peer = peers.iter_mut().find(|peer| peer.queue.same_channel(&ours));
        if let Some(peer) = peer {
            change(&mut peer.topics);
        }
    }
}

impl Drop for Recipient {
    fn drop(&mut self) {
        self.queue.close();
        self.recipients
            .peers()
            .retain(|peer| !peer.queue.is_closed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipients(ours: SocketType) -> Recipients {
        Outlet::new(ours, None, 100).unwrap().recipients()
    }

    #[tokio::test]
    async fn messages_go_to_one_peer_after_the_other_and_pass_over_those_who_left() {
        let all = recipients(SocketType::Push);
        let (mut first, second, mut third) = (all.join(), all.join(), all.join());
        drop(second);
        for text in ["1", "2"] {
            all.send(text.into()).await;
        }
        assert_eq!(first.next().await.frames(), ["1"]);
        assert_eq!(third.next().await.frames(), ["2"]);
    }

    #[tokio::test]
    async fn only_subscribers_get_what_is_published() {
        let all = recipients(SocketType::Pub);
        let (mut news, mut other) = (all.join(), all.join());
        news.subscribe("ne".into());
        other.subscribe("weather".into());
        other.subscribe("news".into());
        other.unsubscribe(b"news");
        all.send("news".into()).await;
        assert_eq!(news.next().await.frames(), ["news"]);
        assert!(other.queue.try_recv().is_err());
    }

    #[test]
    fn a_peer_cannot_subscribe_without_end() {
        let all = recipients(SocketType::Xpub);
        let peer = all.join();
        for number in 0..2 * MAX_TOPICS {
            peer.subscribe(number.to_string().into());
        }
        assert_eq!(all.peers()[0].topics.len(), MAX_TOPICS);
        let long = all.join();
        for _ in 0..100 {
            long.subscribe(vec![0; MAX_TOPIC_BYTES / 10].into());
        }
        assert_eq!(all.peers()[1].topics.len(), 10);
    }
}
