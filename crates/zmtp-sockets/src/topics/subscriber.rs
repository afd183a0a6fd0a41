//! One subscriber of a publisher, and how it comes.
#![forbid(unsafe_code)]

use crate::endpoints::pattern::{NewPeer, Pattern};
use crate::event::{SocketEvent, SubscriptionRefused, TOPIC_SHOWN, TurnedAway};
use crate::peers::held::Inlet;
use crate::peers::news::{PipeId, Reporter};
use crate::topics::judging::Judging;
use crate::topics::permits::Permits;
use bytes::Bytes;
use std::sync::Arc;
use zmtp_auth::Peer;
use zmtp_auth::net::{Message, MessageRun, SendHalf, TrySendReason};

/// One subscriber.
pub(crate) struct Subscriber {
    pub(crate) peer: Arc<Peer>,
    pub(crate) sender: SendHalf,
    pub(crate) permits: Permits,
    pub(crate) dropped: u64,
    pub(crate) refused: u64,
}

/// Gives every connection to the audience.
pub(crate) struct Admitting {
    pub(crate) reporter: Reporter<Inlet<Subscriber>>,
    pub(crate) judging: Judging,
    /// The first message of each connection.
    pub(crate) welcome: Option<Message>,
    /// Whether the socket receives what a subscriber has sent before it was lost.
    pub(crate) receives: bool,
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
            let welcome = self.welcome.as_ref();
            if let Some(welcome) = welcome.filter(|it| may_have(&peer, it)) {
                // The queue is empty, so only the end of the connection can prevent it.
                let _ = sender.try_send(welcome.clone());
            }
            let data = Subscriber {
                permits: Permits::of(&peer),
                peer,
                sender,
                dropped: 0,
                refused: 0,
            };
            self.reporter.add(pipe, Inlet { receiver, data });
        }
        Ok(())
    }

    /// RFC 29: the queue to a subscriber dies with its connection. So do its subscriptions, once what
    /// has arrived was received.
    fn lost(&self, pipe: PipeId, _has_queue: bool) {
        if !self.receives {
            self.remove(pipe);
        }
    }

    fn drained(&self, pipe: PipeId) -> bool {
        self.receives && self.reporter.retain(pipe, Inlet::is_open)
    }

    fn judges_topics(&self) -> bool {
        true
    }

    fn topics_changed(&self, pipe: PipeId) {
        self.judging.add(pipe);
        self.reporter.nudge();
    }

    fn remove(&self, pipe: PipeId) {
        self.judging.remove(pipe);
        self.reporter.remove(pipe);
    }
}

/// Whether the policy lets a peer subscribe to a beginning of the message.
fn may_have(peer: &Peer, message: &Message) -> bool {
    let topic = message.frames().first().map_or(&[][..], |frame| frame);
    peer.topics().may_subscribe(topic)
}

impl Subscriber {
    /// Counts a refused subscription. Returns the event.
    pub(crate) fn refuse(&mut self, topic: &[u8], reason: SubscriptionRefused) -> SocketEvent {
        self.refused += 1;
        let shown = &topic[..topic.len().min(TOPIC_SHOWN)];
        SocketEvent::SubscriptionRefused {
            peer: Arc::clone(&self.peer),
            topic: Bytes::copy_from_slice(shown),
            reason,
        }
    }

    /// Refuses what the policy does not permit, and remembers it. Returns the event if it is new.
    pub(crate) fn forbid(&mut self, topic: &Bytes) -> Option<SocketEvent> {
        let is_new = self.permits.remember(topic);
        let event = self.refuse(topic, SubscriptionRefused::NotPermitted);
        is_new.then_some(event)
    }

    /// Queues a run. Returns `false` if there is no room for a whole one.
    pub(crate) fn send_run(&mut self, run: &MessageRun) -> bool {
        // A subscriber that is gone gets nothing.
        !matches!(self.sender.try_send_run(run), Err(TrySendReason::Full))
    }

    pub(crate) fn send(&mut self, message: Message) {
        if let Err(error) = self.sender.try_send(message)
            && matches!(error.reason, TrySendReason::Full)
        {
            self.dropped += 1;
        }
    }
}
