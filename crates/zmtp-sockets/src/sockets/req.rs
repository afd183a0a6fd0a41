//! REQ: asks one peer after another, and takes the reply of the peer that was asked (RFC 28).
#![forbid(unsafe_code)]

use crate::endpoints::handle::{Endpoints, close};
use crate::error::RequestError;
use crate::options::SocketOptions;
use crate::peers::admission::{TopicFrame, refused_topic};
use crate::peers::fair_queue::told::Told;
use crate::peers::fair_queue::{FairQueue, Turn};
use crate::peers::news::{PipeId, news};
use crate::peers::round_robin::RoundRobin;
use crate::received::Received;
use crate::sockets::shared::both_ways::BothWays;
use bytes::Bytes;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use zmtp_auth::net::{Message, NetError};
use zmtp_auth::{Peer, SocketType};

/// A REQ socket: it sends each request to the next connected peer, and receives the reply of that peer
/// alone. It talks to REP and ROUTER sockets.
///
/// A request whose peer is lost fails at once with [`RequestError::PeerLost`], so that the caller can
/// ask again. Replies of other peers, and replies that come too late, are dropped.
pub struct Req {
    endpoints: Endpoints,
    sender: RoundRobin,
    receiver: FairQueue<Arc<Peer>>,
    correlate: bool,
    /// The number of the latest request.
    number: u32,
    /// Who was asked and has not replied.
    asked: Option<PipeId>,
    not_permitted: u64,
}

endpoint_methods!(Req);

impl Req {
    /// A socket with default options.
    #[must_use]
    pub fn new() -> Self {
        Self::with_options(SocketOptions::default())
    }

    /// A socket with `options`.
    #[must_use]
    pub fn with_options(options: SocketOptions) -> Self {
        let (sending, sent) = news();
        let (receiving, received) = news();
        let pattern = BothWays {
            sending,
            receiving,
            // A request goes to a connected peer, so that the loss of the peer ends the request and
            // no old request is sent to a peer that comes back.
            immediate: true,
        };
        let correlate = options.correlate;
        let endpoints = Endpoints::new(SocketType::Req, options, pattern);
        let events = endpoints.teller();
        Self {
            endpoints,
            sender: RoundRobin::new(sent),
            receiver: FairQueue::new(received).with_events(Told::new(events, |peer| peer)),
            correlate,
            number: 0,
            asked: None,
            not_permitted: 0,
        }
    }

    /// Sends a request to the next connected peer, and waits for its reply. Waits while there is no
    /// peer.
    ///
    /// Bound it with a time-out. If the future is dropped before it is done, the request is abandoned:
    /// its reply is never returned. Without [`SocketOptions::correlate`] the next request then closes
    /// the connection to the peer that was asked, because its late reply could be taken for another one
    /// (libzmq's `ZMQ_REQ_RELAXED`).
    ///
    /// # Errors
    /// Returns [`RequestError::PeerLost`] if the connection to the peer that was asked ends before its
    /// reply has come. Returns [`RequestError::NotPermitted`] if the policy does not permit the peer to
    /// publish the topic of its reply.
    pub async fn request(&mut self, message: impl Into<Message>) -> Result<Received, RequestError> {
        self.abandon();
        self.number = self.number.wrapping_add(1);
        let mut request = Some(self.enclose(message.into()));
        let asked = poll_fn(|context| self.poll_send(&mut request, context)).await;
        self.asked = Some(asked);
        let reply = poll_fn(|context| self.poll_reply(asked, context)).await;
        self.asked = None;
        reply
    }

    /// Forgets a request that was not answered.
    fn abandon(&mut self) {
        if let Some(asked) = self.asked.take()
            && !self.correlate
        {
            self.sender.remove(asked);
            self.receiver.remove(asked);
        }
    }

    /// Sends the request, and meanwhile drops what arrives, since no peer was asked.
    fn poll_send(
        &mut self,
        request: &mut Option<Message>,
        context: &mut Context<'_>,
    ) -> Poll<PipeId> {
        while self.receiver.poll_turn(context).is_ready() {}
        self.sender.poll_send(request, context)
    }

    fn poll_reply(
        &mut self,
        asked: PipeId,
        context: &mut Context<'_>,
    ) -> Poll<Result<Received, RequestError>> {
        loop {
            let turn = match self.receiver.poll_turn(context) {
                Poll::Ready(turn) => turn,
                // A revoked peer is dropped without another turn.
                Poll::Pending if !self.receiver.has(asked) => {
                    return Poll::Ready(Err(RequestError::PeerLost(NetError::Closed)));
                }
                Poll::Pending => return Poll::Pending,
            };
            match turn {
                Turn::Incoming(place, incoming) if self.receiver.pipe(place) == asked => {
                    let peer = Arc::clone(self.receiver.data(place));
                    let message = incoming.into_message().and_then(|reply| self.open(reply));
                    // A peer replies once, so no other reply follows one that is not permitted.
                    return match message {
                        None => continue,
                        Some(message) if self.permits(&peer, &message) => {
                            Poll::Ready(Ok(Received::new(message, peer)))
                        }
                        Some(_) => Poll::Ready(Err(RequestError::NotPermitted)),
                    };
                }
                Turn::Ended(ended) if ended.pipe == asked => {
                    return Poll::Ready(Err(RequestError::PeerLost(ended.error)));
                }
                Turn::Incoming(..) | Turn::Ended(_) | Turn::NotPermitted => {}
            }
        }
    }

    /// Puts the frames of RFC 28 before the body: an empty frame, behind the number of the request if
    /// replies are correlated.
    fn enclose(&self, message: Message) -> Message {
        let body = message.into_frames();
        let mut frames = Vec::with_capacity(body.len() + 2);
        if self.correlate {
            frames.push(Bytes::copy_from_slice(&self.number.to_be_bytes()));
        }
        frames.push(Bytes::new());
        frames.extend(body);
        Message::from(frames)
    }

    /// The body of a reply to the latest request. `None` for another reply, and for one that is
    /// malformed.
    fn open(&self, reply: Message) -> Option<Message> {
        let mut frames = reply.into_frames();
        let envelope = usize::from(self.correlate);
        let body = frames.split_off((envelope + 1).min(frames.len()));
        let is_ours = !self.correlate || frames.first()?[..] == self.number.to_be_bytes();
        let is_delimited = frames.get(envelope)?.is_empty();
        (is_ours && is_delimited && !body.is_empty()).then(|| Message::from(body))
    }

    /// Whether a peer may publish the topic of its reply. If not, the reply is counted.
    fn permits(&mut self, peer: &Peer, reply: &Message) -> bool {
        let is_permitted = refused_topic(&peer.topics(), reply, TopicFrame::First).is_none();
        if !is_permitted {
            self.not_permitted = self.not_permitted.saturating_add(1);
        }
        is_permitted
    }

    /// The number of replies that were dropped, because the policy does not permit their senders to
    /// publish their topics.
    #[must_use]
    pub const fn not_permitted(&self) -> u64 {
        self.not_permitted
    }

    /// Closes. A request that was not answered is abandoned.
    ///
    /// Cancel-safe: dropping the future does the same in the background.
    ///
    /// # Errors
    /// Returns [`NetError::Unsent`] if not everything had left within the linger time.
    pub async fn close(mut self) -> Result<(), NetError> {
        drop(self.receiver);
        let outlets = self.sender.drain();
        close(self.endpoints, outlets).await
    }

    fn settle(&mut self) {
        self.sender.take_news();
        self.receiver.take_news();
    }
}
