//! The peers of a socket: prints who comes and goes, and gives each a number.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::output::events::Events;
use crate::socket::frames::Shown;
use crate::socket::who::Who;
use bytes::Bytes;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Weak};
use tokio::sync::mpsc;
use zmtp_auth::{Peer, SocketType, WithCauses};
use zmtp_sockets::{SocketEvent, TurnedAway};

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told<'a> {
    Accepted {
        peer: u64,
        #[serde(flatten)]
        who: &'a Who,
        #[serde(skip_serializing_if = "Option::is_none")]
        routing_id: Option<Shown>,
        address: String,
        socket_type: Option<&'static str>,
        claims: BTreeMap<String, Shown>,
    },
    TurnedAway {
        #[serde(flatten)]
        who: &'a Who,
        address: String,
        reason: String,
    },
    Message {
        peer: u64,
        #[serde(flatten)]
        who: &'a Who,
        #[serde(skip_serializing_if = "Option::is_none")]
        routing_id: Option<Shown>,
        frames: Vec<Shown>,
    },
    Undelivered {
        #[serde(skip_serializing_if = "Option::is_none")]
        peer: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        routing_id: Option<Shown>,
        reason: String,
    },
    Closed {
        peer: u64,
        #[serde(flatten)]
        who: &'a Who,
        reason: String,
    },
}

/// What the socket's task is told about its peers.
pub(crate) enum News {
    Event(SocketEvent),
    /// Events were dropped because the reader of stdout was slow.
    Missed,
}

/// The peers of one socket.
pub(crate) struct Peers {
    mechanism: &'static str,
    /// Whether everything of a lost peer is received before its end is printed. Other sockets receive
    /// nothing, or only while they wait for a reply.
    receives: bool,
    events: Events,
    news: mpsc::Receiver<News>,
    /// By the address of the peer in memory, which its entry here keeps from being used again.
    known: HashMap<usize, Known>,
    next: u64,
}

struct Known {
    number: u64,
    who: Who,
    /// Dead once the socket has dropped the peer.
    peer: Weak<Peer>,
    /// Why the connection has ended.
    lost: Option<String>,
    all_received: bool,
}

/// The peer as the socket names it in messages and events.
fn place_of(peer: &Arc<Peer>) -> usize {
    Arc::as_ptr(peer).addr()
}

impl Peers {
    pub(crate) fn new(
        socket_type: SocketType,
        mechanism: &'static str,
        events: Events,
        news: mpsc::Receiver<News>,
    ) -> Self {
        Self {
            mechanism,
            receives: !matches!(socket_type, SocketType::Push | SocketType::Req),
            events,
            news,
            known: HashMap::new(),
            next: 1,
        }
    }

    /// Waits for `future`, and prints meanwhile who comes and goes. What has happened before it is
    /// done is printed first.
    pub(crate) async fn meanwhile<T>(
        &mut self,
        future: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                biased;
                Some(news) = self.news.recv() => self.take(news).await?,
                done = &mut future => return Ok(done),
            }
        }
    }

    /// As [`Peers::meanwhile`], while the peer is connected. Returns `None` if it is lost before.
    pub(crate) async fn while_connected<T>(
        &mut self,
        peer: &Arc<Peer>,
        future: impl Future<Output = T>,
    ) -> Result<Option<T>, Failure> {
        let mut future = pin!(future);
        loop {
            let known = self.known.get(&place_of(peer));
            if known.is_none_or(|known| known.lost.is_some()) {
                return Ok(None);
            }
            tokio::select! {
                biased;
                Some(news) = self.news.recv() => self.take(news).await?,
                done = &mut future => return Ok(Some(done)),
            }
        }
    }

    /// Prints a message.
    pub(crate) async fn message(
        &mut self,
        peer: &Arc<Peer>,
        routing_id: Option<&Bytes>,
        frames: &[Bytes],
    ) -> Result<(), Failure> {
        self.introduce(peer, routing_id).await?;
        let Some(known) = self.known.get(&place_of(peer)) else {
            return Ok(());
        };
        let told = Told::Message {
            peer: known.number,
            who: &known.who,
            routing_id: routing_id.map(|id| Shown::of(id)),
            frames: frames.iter().map(|frame| Shown::of(frame)).collect(),
        };
        self.events.tell(&told).await
    }

    /// Prints that a message was dropped.
    pub(crate) async fn undelivered(
        &self,
        peer: Option<&Arc<Peer>>,
        routing_id: Option<&Bytes>,
        reason: String,
    ) -> Result<(), Failure> {
        let known = peer.and_then(|peer| self.known.get(&place_of(peer)));
        let told = Told::Undelivered {
            peer: known.map(|known| known.number),
            routing_id: routing_id.map(|id| Shown::of(id)),
            reason,
        };
        self.events.tell(&told).await
    }

    /// Prints what has happened by now.
    pub(crate) async fn catch_up(&mut self) -> Result<(), Failure> {
        while let Ok(news) = self.news.try_recv() {
            self.take(news).await?;
        }
        Ok(())
    }

    /// Prints the end of all peers, because the socket is closed for this reason.
    pub(crate) async fn end(&mut self, reason: &str) -> Result<(), Failure> {
        let mut known: Vec<_> = self.known.drain().map(|(_, known)| known).collect();
        known.sort_unstable_by_key(|known| known.number);
        for known in known {
            self.closed(known, reason).await?;
        }
        Ok(())
    }

    async fn take(&mut self, news: News) -> Result<(), Failure> {
        let event = match news {
            News::Event(event) => event,
            News::Missed => return self.forget_dead().await,
        };
        match event {
            SocketEvent::Accepted {
                peer, routing_id, ..
            } => self.introduce(&peer, routing_id.as_ref()).await,
            SocketEvent::TurnedAway { peer, reason } => {
                let told = Told::TurnedAway {
                    who: &Who::of(&peer, self.mechanism),
                    address: peer.address.to_string(),
                    reason: why(&reason),
                };
                // A peer can cause these without end.
                self.events.offer(&told)
            }
            SocketEvent::Lost { peer, error, .. } => {
                self.introduce(&peer, None).await?;
                if let Some(known) = self.known.get_mut(&place_of(&peer)) {
                    known.lost = Some(WithCauses(&error).to_string());
                }
                self.end_of(&peer).await
            }
            SocketEvent::AllReceived { peer } => {
                self.introduce(&peer, None).await?;
                if let Some(known) = self.known.get_mut(&place_of(&peer)) {
                    known.all_received = true;
                }
                self.end_of(&peer).await
            }
            _ => Ok(()),
        }
    }

    /// Prints a peer that was not printed yet. A message can come before the news of its peer.
    async fn introduce(
        &mut self,
        peer: &Arc<Peer>,
        routing_id: Option<&Bytes>,
    ) -> Result<(), Failure> {
        if self.known.contains_key(&place_of(peer)) {
            return Ok(());
        }
        let known = Known {
            number: self.next,
            who: Who::of(peer, self.mechanism),
            peer: Arc::downgrade(peer),
            lost: None,
            all_received: false,
        };
        let claims = peer.claims.properties.iter();
        let told = Told::Accepted {
            peer: known.number,
            who: &known.who,
            routing_id: routing_id.map(|id| Shown::of(id)),
            address: peer.address.to_string(),
            socket_type: peer.claims.socket_type.map(SocketType::name),
            claims: claims
                .map(|(name, value)| (name.to_owned(), Shown::of(value)))
                .collect(),
        };
        self.events.tell(&told).await?;
        self.next += 1;
        self.known.insert(place_of(peer), known);
        Ok(())
    }

    /// Prints the end of a peer once it is lost and everything of it was received.
    async fn end_of(&mut self, peer: &Arc<Peer>) -> Result<(), Failure> {
        let place = place_of(peer);
        let is_over =
            |known: &Known| known.lost.is_some() && (known.all_received || !self.receives);
        if !self.known.get(&place).is_some_and(is_over) {
            return Ok(());
        }
        match self.known.remove(&place) {
            Some(known) => self.closed(known, "").await,
            None => Ok(()),
        }
    }

    /// Prints the end of peers whose news were dropped.
    async fn forget_dead(&mut self) -> Result<(), Failure> {
        let dead = self
            .known
            .extract_if(|_, known| known.peer.strong_count() == 0);
        let mut dead: Vec<_> = dead.map(|(_, known)| known).collect();
        dead.sort_unstable_by_key(|known| known.number);
        for known in dead {
            self.closed(known, "it was closed while stdout was not read")
                .await?;
        }
        Ok(())
    }

    /// Prints the end of a peer, with the reason if its connection has not ended for another.
    async fn closed(&self, known: Known, reason: &str) -> Result<(), Failure> {
        let told = Told::Closed {
            peer: known.number,
            who: &known.who,
            reason: known.lost.unwrap_or_else(|| reason.to_owned()),
        };
        self.events.tell(&told).await
    }
}

fn why(reason: &TurnedAway) -> String {
    match reason {
        TurnedAway::RoutingIdInUse(id) => {
            format!("another peer has the routing id \"{}\"", id.escape_ascii())
        }
        TurnedAway::UserIdUnroutable(_) => "the user id cannot be a routing id".to_owned(),
        TurnedAway::PairHasPeer => "a pair has one peer, which is connected".to_owned(),
        other => format!("{other:?}"),
    }
}
