//! The peers of a socket: prints who comes and goes, and gives each a number.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::output::events::Events;
use crate::socket::frames::Shown;
use crate::socket::peers::known::{Known, Side, by_number, place_of};
use crate::socket::peers::news::{News, NewsSource};
use crate::socket::peers::told::{Told, Which, claims_of, shown_id};
use crate::socket::peers::who::Who;
use crate::socket::stop::{Lost, Stop};
use bytes::Bytes;
use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::SystemTime;
use zmtp_auth::net::NetError;
use zmtp_auth::{Peer, SocketType, WithCauses};
use zmtp_sockets::{FromSubscriber, SocketEvent};

/// The peers of one socket.
pub(crate) struct Peers {
    mechanism: &'static str,
    side: Side,
    /// Whether everything of a lost peer is received before its end is printed. Other sockets receive
    /// nothing, or only while they wait for a reply.
    receives: bool,
    pub(super) events: Events,
    news: NewsSource,
    /// By the address of the peer in memory, which its entry here keeps from being used again.
    pub(super) known: HashMap<usize, Known>,
    next: u64,
}

impl Peers {
    pub(crate) fn new(
        socket_type: SocketType,
        mechanism: &'static str,
        side: Side,
        events: Events,
        news: NewsSource,
    ) -> Self {
        let receives = !matches!(
            socket_type,
            SocketType::Push | SocketType::Pub | SocketType::Req
        );
        Self {
            mechanism,
            side,
            receives,
            events,
            news,
            known: HashMap::new(),
            next: 1,
        }
    }

    /// Waits for the connection of the side that connects, and prints it.
    ///
    /// # Errors
    /// Returns why there is no connection.
    pub(crate) async fn connected(&mut self) -> Result<(), Stop> {
        loop {
            let news = self.news.next().await;
            if let News::Event(SocketEvent::Retrying {
                endpoint, error, ..
            }) = &news
            {
                return Err(Failure::at(&endpoint.to_string(), error).into());
            }
            self.take(news).await?;
            if self.has_some() {
                return Ok(());
            }
        }
    }

    /// Waits for `future`, and prints meanwhile who comes and goes. What has happened before it is
    /// done is printed first.
    pub(crate) async fn meanwhile<T>(
        &mut self,
        future: impl Future<Output = T>,
    ) -> Result<T, Stop> {
        let mut future = pin!(future);
        loop {
            if let Some(done) = self.until_news(future.as_mut()).await? {
                return Ok(done);
            }
        }
    }

    /// As [`Peers::meanwhile`], until something was printed. Then returns `None`.
    pub(crate) async fn until_news<T>(
        &mut self,
        future: impl Future<Output = T>,
    ) -> Result<Option<T>, Stop> {
        tokio::select! {
            biased;
            news = self.news.next() => self.take(news).await.map(|()| None),
            done = future => Ok(Some(done)),
        }
    }

    /// As [`Peers::meanwhile`], while the peer is connected. Returns `None` if it is lost before.
    pub(crate) async fn while_connected<T>(
        &mut self,
        peer: &Arc<Peer>,
        future: impl Future<Output = T>,
    ) -> Result<Option<T>, Stop> {
        let mut future = pin!(future);
        loop {
            let known = self.known.get(&place_of(peer));
            if known.is_none_or(|known| known.lost.is_some()) {
                return Ok(None);
            }
            if let Some(done) = self.until_news(future.as_mut()).await? {
                return Ok(Some(done));
            }
        }
    }

    /// Whether a peer is connected.
    pub(crate) fn has_some(&self) -> bool {
        self.known.values().any(|known| known.lost.is_none())
    }

    /// Whether there is one peer, with which the exchange ends.
    pub(crate) const fn has_one_only(&self) -> bool {
        matches!(self.side, Side::Dialled { .. })
    }

    /// From now on, everything of a lost peer is received before its end is printed.
    pub(crate) const fn await_rest(&mut self) {
        self.receives = true;
    }

    /// The opposite of [`Peers::await_rest`].
    pub(crate) async fn await_no_rest(&mut self) -> Result<(), Stop> {
        self.receives = false;
        self.print_ends(|known| known.lost.is_some()).await
    }

    /// Prints a message.
    ///
    /// # Errors
    /// Returns [`Stop::Done`] after the last message that is waited for.
    pub(crate) async fn message(
        &mut self,
        peer: &Arc<Peer>,
        routing_id: Option<&Bytes>,
        frames: &[Bytes],
    ) -> Result<(), Stop> {
        self.introduce(peer, routing_id).await?;
        let told = Told::Message {
            which: self.which(peer),
            routing_id: shown_id(routing_id),
            frames: frames.iter().map(|frame| Shown::of(frame)).collect(),
        };
        self.events.tell(&told).await?;
        if let Side::Dialled {
            left: Some(left), ..
        } = &mut self.side
        {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Err(Stop::Done);
            }
        }
        Ok(())
    }

    /// Prints a subscription, or the end of one.
    pub(crate) async fn subscription(&mut self, from: &FromSubscriber) -> Result<(), Stop> {
        let (FromSubscriber::Subscribe(subscription) | FromSubscriber::Unsubscribe(subscription)) =
            from
        else {
            return Ok(());
        };
        self.introduce(subscription.peer(), None).await?;
        let peer = self.number_of(subscription.peer());
        let topic = Shown::of(subscription.topic());
        let told = if matches!(from, FromSubscriber::Subscribe(_)) {
            Told::Subscribed { peer, topic }
        } else {
            Told::Unsubscribed { peer, topic }
        };
        Ok(self.events.tell(&told).await?)
    }

    /// Prints what has happened by now.
    pub(crate) async fn catch_up(&mut self) -> Result<(), Stop> {
        while let Some(news) = self.news.try_next() {
            self.take(news).await?;
        }
        Ok(())
    }

    /// The loss of the only connection, as the error, if it is lost by now.
    pub(crate) async fn last_lost(&mut self) -> Result<(), Stop> {
        // Nothing more is received.
        self.await_no_rest().await?;
        self.catch_up().await
    }

    /// Prints the end of all peers, because the socket is closed for this reason.
    pub(crate) async fn end(&mut self, reason: &str) -> Result<(), Failure> {
        let known = self.known.drain().map(|(_, known)| known);
        for known in by_number(known) {
            let ended = known
                .lost
                .as_ref()
                .map(|lost| WithCauses(&lost.error).to_string());
            let reason = ended.unwrap_or_else(|| reason.to_owned());
            self.closed(&known, reason).await?;
        }
        Ok(())
    }

    async fn take(&mut self, news: News) -> Result<(), Stop> {
        let event = match news {
            News::Event(event) => event,
            News::Missed => return self.forget_dead().await,
        };
        match event {
            SocketEvent::Accepted {
                peer, routing_id, ..
            }
            | SocketEvent::Connected {
                peer, routing_id, ..
            } => self.introduce(&peer, routing_id.as_ref()).await?,
            SocketEvent::TurnedAway { peer, reason } => {
                let told = Told::TurnedAway {
                    who: &Who::of(&peer, self.mechanism),
                    address: peer.address.to_string(),
                    reason: reason.to_string(),
                };
                // A peer can cause these without end.
                self.events.offer(&told)?;
            }
            SocketEvent::SubscriptionRefused {
                peer,
                topic,
                reason,
            } => {
                let told = Told::SubscriptionRefused {
                    peer: self.number_of(&peer),
                    topic: Shown::of(&topic),
                    reason: reason.to_string(),
                };
                self.events.offer(&told)?;
            }
            SocketEvent::MessageNotPermitted { peer, topic, count } => {
                self.introduce(&peer, None).await?;
                self.not_permitted(&peer, &topic, count)?;
            }
            SocketEvent::Lost {
                peer,
                error,
                all_sent,
                ..
            } => {
                self.introduce(&peer, None).await?;
                if let Some(known) = self.known.get_mut(&place_of(&peer)) {
                    known.lost = Some(Lost {
                        error,
                        all_sent,
                        at: SystemTime::now(),
                    });
                }
                self.print_end_of(&peer).await?;
            }
            SocketEvent::AllReceived { peer } => {
                self.introduce(&peer, None).await?;
                if let Some(known) = self.known.get_mut(&place_of(&peer)) {
                    known.all_received = true;
                }
                self.print_end_of(&peer).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Prints a peer that was not printed yet. A message can come before the news of its peer.
    pub(super) async fn introduce(
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
            not_permitted: 0,
        };
        let socket_type = peer.claims.socket_type.map(SocketType::name);
        let routing_id = shown_id(routing_id);
        let told = match &self.side {
            Side::Bound => Told::Accepted {
                which: known.which(),
                routing_id,
                address: peer.address.to_string(),
                socket_type,
                claims: claims_of(peer),
            },
            Side::Dialled { endpoint, .. } => Told::Connected {
                endpoint: endpoint.to_string(),
                socket_type,
                routing_id,
            },
        };
        self.events.tell(&told).await?;
        self.next += 1;
        self.known.insert(place_of(peer), known);
        Ok(())
    }

    /// Prints the end of a peer once it is lost and everything of it was received.
    async fn print_end_of(&mut self, peer: &Arc<Peer>) -> Result<(), Stop> {
        let place = place_of(peer);
        let receives = self.receives;
        let is_over = |known: &Known| known.lost.is_some() && (known.all_received || !receives);
        if !self.known.get(&place).is_some_and(is_over) {
            return Ok(());
        }
        match self.known.remove(&place) {
            Some(known) => self.print_end(known).await,
            None => Ok(()),
        }
    }

    /// Prints the end of peers whose news were dropped.
    async fn forget_dead(&mut self) -> Result<(), Stop> {
        self.print_ends(|known| known.peer.strong_count() == 0)
            .await
    }

    async fn print_ends(&mut self, are_over: impl Fn(&Known) -> bool) -> Result<(), Stop> {
        let over = self.known.extract_if(|_, known| are_over(known));
        let over: Vec<_> = over.map(|(_, known)| known).collect();
        for known in by_number(over) {
            self.print_end(known).await?;
        }
        Ok(())
    }

    /// Prints the end of a peer, or ends the exchange if it is the only one.
    async fn print_end(&self, mut known: Known) -> Result<(), Stop> {
        let lost = known.lost.take();
        if self.has_one_only() {
            // Without the news of the loss, it is unknown whether everything was sent.
            return Err(Stop::Lost(lost.unwrap_or_else(|| Lost {
                error: NetError::Closed,
                all_sent: false,
                at: SystemTime::now(),
            })));
        }
        let reason = lost.map_or_else(
            || "it was closed while stdout was not read".to_owned(),
            |lost| WithCauses(&lost.error).to_string(),
        );
        Ok(self.closed(&known, reason).await?)
    }

    async fn closed(&self, known: &Known, reason: String) -> Result<(), Failure> {
        let told = Told::Closed {
            which: Some(known.which()),
            reason,
        };
        self.events.tell(&told).await
    }

    /// Names a peer in an event, if the socket has several.
    fn which(&self, peer: &Arc<Peer>) -> Option<Which<'_>> {
        if self.has_one_only() {
            return None;
        }
        self.known.get(&place_of(peer)).map(Known::which)
    }

    pub(super) fn number_of(&self, peer: &Arc<Peer>) -> Option<u64> {
        self.which(peer).map(|which| which.peer)
    }
}
