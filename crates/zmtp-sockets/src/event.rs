//! What happens on a socket: peers that come, go and are refused.
#![forbid(unsafe_code)]

use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error as ThisError;
use tokio::sync::broadcast;
use zmtp_auth::net::{Endpoint, NetError, Refusal};
use zmtp_auth::{Peer, WithCauses};

/// Events that wait for a slow reader. Beyond that the oldest are dropped and counted: strangers can
/// cause events without end. 256.
pub(crate) const KEPT: usize = 256;

/// How much of a refused topic an event shows: 1,024 bytes. A peer decides how long the topic is, and
/// events wait for their reader.
pub(crate) const TOPIC_SHOWN: usize = 1024;

/// Something that happened on a socket.
///
/// `Display` says it in one line for a person, with the causes of an error.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SocketEvent {
    /// A dialled peer is connected.
    Connected {
        /// The endpoint that was dialled.
        endpoint: Endpoint,
        /// The peer.
        peer: Arc<Peer>,
        /// The routing id by which a ROUTER addresses it. `None` for other sockets.
        routing_id: Option<Bytes>,
    },
    /// A peer that connected to us was admitted.
    Accepted {
        /// The endpoint that is bound.
        endpoint: Endpoint,
        /// The peer.
        peer: Arc<Peer>,
        /// The routing id by which a ROUTER addresses it. `None` for other sockets.
        routing_id: Option<Bytes>,
    },
    /// A peer that connected to us was refused by policy or failed its handshake.
    Refused {
        /// The endpoint that is bound.
        endpoint: Endpoint,
        /// Who was refused, and why.
        refusal: Arc<Refusal>,
    },
    /// An admitted peer was turned away, because the socket cannot take it.
    TurnedAway {
        /// The peer.
        peer: Arc<Peer>,
        /// Why.
        reason: TurnedAway,
    },
    /// A connection has ended.
    Lost {
        /// The endpoint that was bound or dialled.
        endpoint: Endpoint,
        /// The peer.
        peer: Arc<Peer>,
        /// Why. [`NetError::Revoked`] says that the peer's admission was withdrawn, and
        /// [`NetError::SendClosed`] that this socket has closed the connection.
        error: NetError,
        /// Whether the system had taken everything that was sent to the peer. If not, messages may be
        /// lost. What is queued for a dialled peer and was not taken waits for its next connection.
        all_sent: bool,
    },
    /// Everything that had arrived from a lost peer was received, or dropped with its endpoint: no
    /// message of this connection follows. Sockets that receive tell this after
    /// [`SocketEvent::Lost`], or a moment before it, and once they are asked for the next message. If
    /// nothing had arrived and the socket was not asked since the peer came, they tell it at once.
    AllReceived {
        /// The peer.
        peer: Arc<Peer>,
    },
    /// A subscription of a peer was refused. The peer stays, and is not told. A publisher judges
    /// subscriptions when it is used, such as by `send` or `subscribed`, so it tells this then.
    SubscriptionRefused {
        /// The peer.
        peer: Arc<Peer>,
        /// What it wanted to subscribe to: at most the first 1,024 bytes.
        topic: Bytes,
        /// Why.
        reason: SubscriptionRefused,
    },
    /// A message of a peer was dropped, because the policy does not let the peer publish its topic. The
    /// peer stays, and is not told. Told for the first such message of a connection, and then for the
    /// tenth, the hundredth and so on, because a peer decides how many there are. A socket that has
    /// `not_permitted` counts all of them there.
    ///
    /// The sockets that drop such messages tell it: PULL, SUB, XSUB, XPUB, DEALER, PAIR, and a ROUTER in a
    /// [`proxy`](crate::proxy()). A REQ returns an error instead. Any other ROUTER and a REP drop none: see
    /// [`Request::is_permitted`](crate::Request::is_permitted).
    MessageNotPermitted {
        /// The peer.
        peer: Arc<Peer>,
        /// The topic of the message: at most its first 1,024 bytes.
        topic: Bytes,
        /// How many messages of this connection were dropped for their topic by now.
        count: u64,
    },
    /// An attempt to dial failed.
    ///
    /// With [`ReconnectPolicy::once`](zmtp_auth::net::ReconnectPolicy::once) it is the only one.
    Retrying {
        /// The endpoint that is dialled.
        endpoint: Endpoint,
        /// Why the attempt failed.
        error: NetError,
        /// When the next attempt is made. `None` if none is made: no later attempt can succeed.
        retry_after: Option<Duration>,
    },
}

impl fmt::Display for SocketEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected {
                endpoint,
                routing_id,
                ..
            } => write!(f, "connected to {}{}", Shown(endpoint), Route(routing_id)),
            Self::Accepted {
                endpoint,
                peer,
                routing_id,
            } => {
                let (endpoint, peer, route) = (Shown(endpoint), Named(peer), Route(routing_id));
                write!(f, "accepted {peer} at {endpoint}{route}")
            }
            Self::Refused { endpoint, refusal } => {
                write!(f, "refused at {}: {refusal}", Shown(endpoint))
            }
            Self::TurnedAway { peer, reason } => {
                write!(f, "turned away {}: {reason}", Named(peer))
            }
            Self::Lost {
                endpoint,
                peer,
                error,
                all_sent,
            } => {
                let (endpoint, peer, why) = (Shown(endpoint), Named(peer), WithCauses(error));
                write!(f, "lost {peer} at {endpoint}: {why}")?;
                f.write_str(if *all_sent {
                    ", after everything was sent"
                } else {
                    ", before everything was sent"
                })
            }
            Self::AllReceived { peer } => {
                write!(f, "received everything of {}, which was lost", Named(peer))
            }
            Self::SubscriptionRefused {
                peer,
                topic,
                reason,
            } => {
                let topic = topic.escape_ascii();
                write!(
                    f,
                    "refused the subscription of {} to \"{topic}\": {reason}",
                    Named(peer)
                )
            }
            Self::MessageNotPermitted { peer, topic, count } => {
                let (peer, topic) = (Named(peer), topic.escape_ascii());
                write!(
                    f,
                    "dropped a message of {peer} with the topic \"{topic}\": the policy does not permit \
                     it; {count} dropped on this connection by now"
                )
            }
            Self::Retrying {
                endpoint,
                error,
                retry_after,
            } => {
                write!(
                    f,
                    "not connected to {}: {}",
                    Shown(endpoint),
                    WithCauses(error)
                )?;
                match retry_after {
                    Some(time) => write!(f, "; next attempt in {time:.1?}"),
                    None => f.write_str("; no further attempt"),
                }
            }
        }
    }
}

/// An endpoint for a line of text: a path may hold anything.
struct Shown<'a>(&'a Endpoint);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.to_string().escape_debug())
    }
}

/// A peer by its user id and address.
struct Named<'a>(&'a Peer);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.user_id_str() {
            Some(user_id) => write!(f, "{user_id:?} from {}", self.0.address),
            None => write!(f, "the peer {}", self.0.address),
        }
    }
}

/// The routing id of a peer, if it has one.
struct Route<'a>(&'a Option<Bytes>);

impl fmt::Display for Route<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(id) => write!(f, ", routing id \"{}\"", id.escape_ascii()),
            None => Ok(()),
        }
    }
}

/// Why an admitted peer was turned away.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum TurnedAway {
    /// Another user, or another peer without a user id, has this routing id and is connected.
    #[error("another peer has the routing id \"{}\"", .0.escape_ascii())]
    RoutingIdInUse(Bytes),
    /// The socket routes by user id ([`RouteBy::UserId`](crate::RouteBy::UserId)), and this user id
    /// cannot be a routing id: it is empty or begins with 0.
    #[error("the user id \"{}\" cannot be a routing id", .0.escape_ascii())]
    UserIdUnroutable(Bytes),
    /// A PAIR has one peer, which is connected.
    #[error("a pair has one peer, which is connected")]
    PairHasPeer,
}

/// Why a subscription was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum SubscriptionRefused {
    /// The peer has as many subscriptions as
    /// [`SocketOptions::max_subscriptions`](crate::SocketOptions::max_subscriptions) or
    /// [`SocketOptions::max_subscription_bytes`](crate::SocketOptions::max_subscription_bytes)
    /// allow.
    #[error("the peer has too many subscriptions")]
    TooMany,
    /// The policy does not let the peer subscribe to the topic, or lets it no more. It is judged again
    /// when the policy changes.
    #[error("the policy does not permit the topic")]
    NotPermitted,
}

/// The events of a socket, from the call of `events` on.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<SocketEvent>,
    missed: u64,
}

impl Events {
    pub(crate) const fn new(receiver: broadcast::Receiver<SocketEvent>) -> Self {
        Self {
            receiver,
            missed: 0,
        }
    }

    /// The next event. `None` once the socket is closed or dropped. The latest 256 events are kept.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<SocketEvent> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(count)) => {
                    self.missed = self.missed.saturating_add(count);
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// The number of events that were dropped because they were not read in time.
    #[must_use]
    pub const fn missed(&self) -> u64 {
        self.missed
    }
}
