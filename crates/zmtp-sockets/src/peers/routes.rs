//! Sends to one peer out of many by its routing id (RFC 28, "The ROUTER Socket Type").
#![forbid(unsafe_code)]

use crate::peers::admission::is_admitted;
use crate::peers::news::{News, PipeId};
use crate::peers::routing_ids::is_same_user;
use crate::peers::sending::Sending;
use bytes::Bytes;
use std::collections::HashMap;
use std::task::{Context, Poll, ready};
use zmtp_auth::Peer;
use zmtp_auth::net::{Message, SendHalf, TrySendReason};

/// The way to one peer.
pub(crate) struct Route {
    pub(crate) routing_id: Bytes,
    pub(crate) sender: SendHalf,
}

/// All peers that a socket can address.
pub(crate) struct Routes {
    news: News<Route>,
    senders: HashMap<Bytes, (PipeId, SendHalf)>,
    ids: HashMap<PipeId, Bytes>,
}

/// Why a message was not queued for the peer. It is given back.
pub(crate) enum Unroutable {
    /// There is no such peer.
    Unknown(Message),
    /// The queue of the peer is full.
    Full(Message),
}

impl Routes {
    pub(crate) fn new(news: News<Route>) -> Self {
        Self {
            news,
            senders: HashMap::new(),
            ids: HashMap::new(),
        }
    }

    /// Queues a message for the peer with this routing id. If it answers a peer, another user who has
    /// the routing id by now does not get it.
    pub(crate) fn try_send(
        &mut self,
        routing_id: &[u8],
        answered: Option<&Peer>,
        message: Message,
    ) -> Result<(), Unroutable> {
        self.take_news();
        let is_for = |peer| answered.is_none_or(|answered| is_same_user(answered, peer));
        let sender = match self.senders.get_mut(routing_id) {
            Some((_, sender)) if is_for(sender.peer()) => sender,
            _ => return Err(Unroutable::Unknown(message)),
        };
        sender
            .try_send(message)
            .map_err(|refused| match refused.reason {
                TrySendReason::Full => Unroutable::Full(refused.message),
                _ => Unroutable::Unknown(refused.message),
            })
    }

    /// Takes out all peers, to close them.
    pub(crate) fn drain(&mut self) -> Vec<SendHalf> {
        self.take_news();
        self.ids.clear();
        let senders = std::mem::take(&mut self.senders);
        senders.into_values().map(|(_, sender)| sender).collect()
    }

    /// Takes new peers in, and drops those that are gone.
    pub(crate) fn take_news(&mut self) {
        let Some(news) = self.news.take() else {
            return;
        };
        for pipe in news.removed {
            if let Some(routing_id) = self.ids.remove(&pipe)
                && let Some((holder, _)) = self.senders.get(&routing_id)
                && *holder == pipe
            {
                self.senders.remove(&routing_id);
            }
        }
        for (pipe, routes) in news.added {
            for Route { routing_id, sender } in routes {
                if !is_admitted(sender.peer()) {
                    continue;
                }
                self.ids.insert(pipe, routing_id.clone());
                if let Some((before, _)) = self.senders.insert(routing_id, (pipe, sender)) {
                    self.ids.remove(&before);
                }
            }
        }
    }
}

impl Sending for Routes {
    fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.take_news();
        for (_, sender) in self.senders.values_mut() {
            // What a lost connection had is lost with it.
            let _ = ready!(sender.poll_flush(context));
        }
        Poll::Ready(())
    }
}
