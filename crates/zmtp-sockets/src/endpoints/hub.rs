//! What all tasks of a socket share.
#![forbid(unsafe_code)]

use crate::endpoints::pattern::{NewPeer, Pattern};
use crate::event::{KEPT, SocketEvent};
use crate::peers::held::{Count, Counted, Held};
use crate::peers::news::PipeId;
use bytes::Bytes;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::broadcast;
use zmtp_auth::net::{Connection, Endpoint, Ends, SendHalf};
use zmtp_auth::{Peer, RevocationGuard, TopicChanges};

/// Connections that have ended while messages of them wait to be received. With that many, an endpoint
/// accepts no peers until the application receives. Otherwise peers that send and leave, again and
/// again, would fill the memory of a socket that is not received from. 256, so that they hold at most
/// 64 MiB with the default limits.
const MAX_ENDED: usize = 256;

pub(crate) struct Hub {
    pattern: Box<dyn Pattern>,
    events: broadcast::Sender<SocketEvent>,
    next_pipe: AtomicU64,
    /// The number of connections that have not ended.
    live: Count,
    /// The number of connections that live, or have ended while messages of them wait.
    held: Count,
}

/// A connection that the socket has taken. Its end is reported by [`Hub::watch`], and by [`Hub::drain`] after
/// it.
pub(crate) struct Served {
    pub(crate) peer: Arc<Peer>,
    /// By which the socket addresses the peer, if it does.
    pub(crate) routing_id: Option<Bytes>,
    pipe: PipeId,
    ends: Ends,
    /// Changes of what the peer may subscribe to, if the pattern is told of them.
    topics: Option<TopicChanges>,
    /// Kept while the connection lives, if it sends from a queue of its own pipe.
    sender: Option<SendHalf>,
    live: Counted,
    held: Counted,
    /// Drops what has arrived at once if the peer is revoked.
    _guard: Option<RevocationGuard>,
}

impl Hub {
    pub(crate) fn new(pattern: Box<dyn Pattern>) -> Self {
        let (events, _) = broadcast::channel(KEPT);
        Self {
            pattern,
            events,
            next_pipe: AtomicU64::new(0),
            live: Count::new(),
            held: Count::new(),
        }
    }

    pub(crate) fn pattern(&self) -> &dyn Pattern {
        &*self.pattern
    }

    pub(crate) fn next_pipe(&self) -> PipeId {
        PipeId(self.next_pipe.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<SocketEvent> {
        self.events.subscribe()
    }

    pub(crate) fn sender(&self) -> broadcast::Sender<SocketEvent> {
        self.events.clone()
    }

    /// Tells those who read events, if there are any.
    pub(crate) fn tell(&self, event: SocketEvent) {
        // It fails if there is no reader.
        let _ = self.events.send(event);
    }

    /// Waits until all connections have ended.
    pub(crate) async fn all_ended(&self) {
        self.live.wait_for(|live| live == 0).await;
    }

    /// Waits while the messages of too many connections that have ended wait to be received.
    pub(crate) async fn await_room(&self) {
        let has_room = |held: usize| held.saturating_sub(self.live.get()) < MAX_ENDED;
        self.held.wait_for(has_room).await;
    }

    /// Gives the socket a connection. Returns `None` if the socket cannot take it.
    pub(crate) fn serve(
        self: &Arc<Self>,
        pipe: PipeId,
        connection: Connection,
        has_queue: bool,
    ) -> Option<Served> {
        let (peer, ends) = (connection.shared_peer(), connection.ends());
        // Before the pattern judges subscriptions of the peer, so that no change is lost.
        let judges = self.pattern.judges_topics();
        let topics = judges.then(|| peer.topics().changes());
        let (sender, receiver) = connection.split();
        let (kept, given) = if has_queue {
            (Some(sender), None)
        } else {
            (None, Some(sender))
        };
        // Registered before the socket has the peer, so that no revocation is missed.
        let guard = peer.grant().map(|grant| {
            let hub = Arc::clone(self);
            grant.on_revoked(move || hub.pattern.revoked(pipe, has_queue))
        });
        let held = self.held.add();
        let new = NewPeer {
            pipe,
            peer: Arc::clone(&peer),
            sender: given,
            receiver: Held::new(receiver, held.clone()),
        };
        if let Err(reason) = self.pattern.add(new) {
            tracing::info!(user_id = ?peer.user_id_str(), ?reason, "peer turned away");
            self.tell(SocketEvent::TurnedAway { peer, reason });
            return None;
        }
        Some(Served {
            routing_id: self.pattern.routing_id(pipe),
            peer,
            pipe,
            ends,
            topics,
            sender: kept,
            live: self.live.add(),
            held,
            _guard: guard,
        })
    }

    /// Waits for the end of a connection, and tells the socket. What has arrived is still to be
    /// received.
    pub(crate) async fn watch(&self, served: &mut Served, endpoint: &Endpoint) {
        // Borrowed, since a future that takes something holds it twice.
        let Served { ends, topics, .. } = served;
        let loss = loop {
            tokio::select! {
                biased;
                loss = ends.closed() => break loss,
                () = changed(topics.as_mut()) => self.pattern.topics_changed(served.pipe),
            }
        };
        let all_sent = loss.all_sent && !self.pattern.has_unsent(served.pipe);
        self.pattern.lost(served.pipe, served.sender.is_some());
        served.sender = None;
        self.tell(SocketEvent::Lost {
            endpoint: endpoint.clone(),
            peer: Arc::clone(&served.peer),
            error: loss.reason,
            all_sent,
        });
        served.live.release();
    }

    /// Waits until nothing more arrives, and tells the socket.
    pub(crate) async fn drain(&self, served: &mut Served) {
        if !served.ends.drained().await {
            served.held.release();
        }
        if self.pattern.drained(served.pipe) {
            self.tell(SocketEvent::AllReceived {
                peer: Arc::clone(&served.peer),
            });
        }
    }
}

/// Waits for the next change, if anything changes.
async fn changed(topics: Option<&mut TopicChanges>) {
    match topics {
        Some(topics) => topics.changed().await,
        None => pending().await,
    }
}
