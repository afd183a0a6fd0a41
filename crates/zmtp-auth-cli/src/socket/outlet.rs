//! Sends lines of standard input to the peers of a PUB or XPUB that listens: to all that have
//! subscribed.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::socket::frames::split;
use crate::socket::lines::{Line, Lines};
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, mpsc, watch};
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
    multipart: Option<String>,
    max_line: usize,
    recipients: Recipients,
}

/// The peers that take messages.
#[derive(Clone)]
pub(crate) struct Recipients(Arc<Shared>);

struct Shared {
    peers: Mutex<Vec<Peer>>,
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
    pub(crate) fn new(multipart: Option<String>, max_line: usize) -> Self {
        Self {
            multipart,
            max_line,
            recipients: Recipients(Arc::new(Shared {
                peers: Mutex::default(),
                changed: Notify::new(),
            })),
        }
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
            let message = split(line, self.multipart.as_deref()).into();
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
        self.peers().push(Peer {
            queue: sender,
            topics: Vec::new(),
        });
        self.0.changed.notify_one();
        recipient
    }

    /// Waits for a peer that has subscribed.
    async fn wait_for_peer(&self) {
        loop {
            let ready = {
                let mut peers = self.peers();
                peers.retain(|peer| !peer.queue.is_closed());
                peers.iter().any(|peer| !peer.topics.is_empty())
            };
            if ready {
                return;
            }
            self.0.changed.notified().await;
        }
    }

    async fn send(&self, message: Message) {
        let first = message.frames().first().cloned().unwrap_or_default();
        for queue in self.subscribers_of(&first) {
            // Fails if the peer has gone.
            let _ = queue.send(message.clone()).await;
        }
    }

    fn subscribers_of(&self, first: &[u8]) -> Vec<mpsc::Sender<Message>> {
        let peers = self.peers();
        let has_topic = |peer: &&Peer| peer.topics.iter().any(|topic| first.starts_with(topic));
        let subscribers = peers.iter().filter(has_topic);
        subscribers.map(|peer| peer.queue.clone()).collect()
    }

    fn peers(&self) -> MutexGuard<'_, Vec<Peer>> {
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

    fn recipients() -> Recipients {
        Outlet::new(None, 100).recipients()
    }

    #[tokio::test]
    async fn only_subscribers_get_what_is_published() {
        let all = recipients();
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
        let all = recipients();
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
