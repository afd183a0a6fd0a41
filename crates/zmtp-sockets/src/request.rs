//! What ROUTER and REP receive, and how they answer.
#![forbid(unsafe_code)]

use crate::peers::admission::{TopicFrame, refused_topic};
use bytes::Bytes;
use std::sync::Arc;
use zmtp_auth::Peer;
use zmtp_auth::net::Message;

/// A message that a ROUTER or a REP has received: who sent it, and how to answer.
#[derive(Debug, Clone)]
pub struct Request {
    message: Message,
    from: Routed,
    /// What comes before the body of an answer: that of a REP ends with an empty frame (RFC 28).
    envelope: Vec<Bytes>,
    /// Which frames of `message` can be its topic.
    topic: TopicFrame,
}

/// A message and the routing id of the peer that it goes to.
#[derive(Debug, Clone)]
pub struct Addressed {
    routing_id: Bytes,
    message: Message,
    /// Who is answered, if the message is an answer.
    answered: Option<Arc<Peer>>,
}

/// A peer and its routing id.
#[derive(Debug, Clone)]
pub(crate) struct Routed {
    pub(crate) peer: Arc<Peer>,
    pub(crate) routing_id: Bytes,
}

impl Request {
    /// What a ROUTER gets: the message as the peer has sent it.
    pub(crate) fn to_router(message: Message, from: Routed) -> Self {
        let frames = message.frames();
        let is_delimited = frames.len() > 1 && frames.first().is_some_and(Bytes::is_empty);
        let envelope = if is_delimited {
            vec![Bytes::new()]
        } else {
            Vec::new()
        };
        Self {
            message,
            from,
            envelope,
            topic: TopicFrame::BehindDelimiter,
        }
    }

    /// What a REP gets: the body, behind the first empty frame. `None` without such a frame or
    /// without a body.
    pub(crate) fn to_rep(message: Message, from: Routed) -> Option<Self> {
        let mut envelope = message.into_frames();
        let delimiter = envelope.iter().position(Bytes::is_empty)?;
        let body = envelope.split_off(delimiter + 1);
        if body.is_empty() {
            return None;
        }
        Some(Self {
            message: Message::from(body),
            from,
            envelope,
            topic: TopicFrame::First,
        })
    }

    /// The routing id of the peer, by which the socket knows it while it is connected.
    #[must_use]
    pub const fn routing_id(&self) -> &Bytes {
        &self.from.routing_id
    }

    /// The peer that sent the message.
    #[must_use]
    pub const fn peer(&self) -> &Arc<Peer> {
        &self.from.peer
    }

    /// The message. A ROUTER gets it as the peer has sent it, so that of a REQ begins with an empty
    /// frame. A REP gets what comes behind it.
    #[must_use]
    pub const fn message(&self) -> &Message {
        &self.message
    }

    /// The frames of the message, at least one.
    #[must_use]
    pub fn frames(&self) -> &[Bytes] {
        self.message.frames()
    }

    /// Whether the policy lets the peer publish the message now. A ROUTER and a REP return every request, and
    /// leave the question to the program.
    ///
    /// The topic is the first frame. In a request that a ROUTER receives, it is also the frame behind the first
    /// empty one, which a REP would take for it. An empty first frame is then no topic.
    ///
    /// It is true for every topic where the policy has no topic table, and for a peer that no policy has
    /// admitted.
    #[must_use]
    pub fn is_permitted(&self) -> bool {
        self.refused_topic().is_none()
    }

    /// The topic that the policy does not let the peer publish now. `None` if the request
    /// [is permitted](Request::is_permitted).
    #[must_use]
    pub fn refused_topic(&self) -> Option<&Bytes> {
        refused_topic(&self.from.peer.topics(), &self.message, self.topic)
    }

    /// Takes the message out.
    #[must_use]
    pub fn into_message(self) -> Message {
        self.message
    }

    /// An answer to the same peer. It adds the frames before the body that a REQ expects: the empty
    /// frame if the request to a ROUTER began with one, and all of the envelope for a REP.
    ///
    /// The answer is for the user who has asked. If another user has the routing id by the time it is
    /// sent, there is no route for it.
    #[must_use]
    pub fn reply(&self, message: impl Into<Message>) -> Addressed {
        let mut message = message.into();
        if !self.envelope.is_empty() {
            let mut frames = self.envelope.clone();
            frames.extend(message.into_frames());
            message = Message::from(frames);
        }
        Addressed {
            answered: Some(Arc::clone(&self.from.peer)),
            ..Addressed::new(self.from.routing_id.clone(), message)
        }
    }
}

impl Addressed {
    /// A message to the peer with this routing id.
    #[must_use]
    pub fn new(routing_id: impl Into<Bytes>, message: impl Into<Message>) -> Self {
        Self {
            routing_id: routing_id.into(),
            message: message.into(),
            answered: None,
        }
    }

    pub(crate) fn into_parts(self) -> (Bytes, Option<Arc<Peer>>, Message) {
        (self.routing_id, self.answered, self.message)
    }
}
