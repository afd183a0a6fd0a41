//! Socket types, and which pairs may talk (RFC 37, "The Socket-Type Property").
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;
use thiserror::Error as ThisError;

/// A ZeroMQ socket type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SocketType {
    /// Request (RFC 28).
    Req,
    /// Reply (RFC 28).
    Rep,
    /// Asynchronous request (RFC 28).
    Dealer,
    /// Asynchronous reply (RFC 28).
    Router,
    /// Publisher (RFC 29).
    Pub,
    /// Subscriber (RFC 29).
    Sub,
    /// Publisher that sees subscriptions (RFC 29).
    Xpub,
    /// Subscriber that forwards subscriptions (RFC 29).
    Xsub,
    /// Pipeline source (RFC 30).
    Push,
    /// Pipeline sink (RFC 30).
    Pull,
    /// Exclusive pair (RFC 31).
    Pair,
    /// Client (RFC 41, draft).
    Client,
    /// Server (RFC 41, draft).
    Server,
    /// Radio (RFC 48, draft).
    Radio,
    /// Dish (RFC 48, draft).
    Dish,
    /// Scatter (RFC 49, draft).
    Scatter,
    /// Gather (RFC 49, draft).
    Gather,
    /// Peer (RFC 51, draft).
    Peer,
    /// Channel (RFC 52, draft).
    Channel,
    /// Not a socket of its own: a tunnel that passes on the claims of its far side. It accepts
    /// every type and never names itself on the wire.
    Relay,
}

use SocketType::{
    Channel, Client, Dealer, Dish, Gather, Pair, Peer, Pub, Pull, Push, Radio, Relay, Rep, Req,
    Router, Scatter, Server, Sub, Xpub, Xsub,
};

/// Every type that exists on the wire: all but [`SocketType::Relay`].
const ON_THE_WIRE: [SocketType; 19] = [
    Req, Rep, Dealer, Router, Pub, Sub, Xpub, Xsub, Push, Pull, Pair, Client, Server, Radio, Dish,
    Scatter, Gather, Peer, Channel,
];

impl SocketType {
    /// The name in metadata, such as `DEALER`. `RELAY` names [`SocketType::Relay`] in logs only.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Req => "REQ",
            Rep => "REP",
            Dealer => "DEALER",
            Router => "ROUTER",
            Pub => "PUB",
            Sub => "SUB",
            Xpub => "XPUB",
            Xsub => "XSUB",
            Push => "PUSH",
            Pull => "PULL",
            Pair => "PAIR",
            Client => "CLIENT",
            Server => "SERVER",
            Radio => "RADIO",
            Dish => "DISH",
            Scatter => "SCATTER",
            Gather => "GATHER",
            Peer => "PEER",
            Channel => "CHANNEL",
            Relay => "RELAY",
        }
    }

    /// Parses a `Socket-Type` property. Never returns [`SocketType::Relay`], which no peer may
    /// claim.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        ON_THE_WIRE
            .into_iter()
            .find(|kind| kind.name().as_bytes() == name)
    }

    /// Whether a socket of this type may talk to one of type `peer` (RFC 37). Symmetric.
    #[must_use]
    pub const fn accepts(self, peer: Self) -> bool {
        match self {
            Req => matches!(peer, Rep | Router),
            Rep => matches!(peer, Req | Dealer),
            Dealer => matches!(peer, Rep | Dealer | Router),
            Router => matches!(peer, Req | Dealer | Router),
            Pub | Xpub => matches!(peer, Sub | Xsub),
            Sub | Xsub => matches!(peer, Pub | Xpub),
            Push => matches!(peer, Pull),
            Pull => matches!(peer, Push),
            Pair => matches!(peer, Pair),
            Client => matches!(peer, Server),
            Server => matches!(peer, Client),
            Radio => matches!(peer, Dish),
            Dish => matches!(peer, Radio),
            Scatter => matches!(peer, Gather),
            Gather => matches!(peer, Scatter),
            Peer => matches!(peer, Peer),
            Channel => matches!(peer, Channel),
            Relay => true,
        }
    }

    /// Whether this type sends its `Identity` property, even if it is empty, as libzmq does.
    #[must_use]
    pub const fn sends_identity(self) -> bool {
        matches!(self, Req | Dealer | Router)
    }

    /// Whether a socket of this type sends messages. Subscriptions do not count.
    #[must_use]
    pub const fn sends(self) -> bool {
        !matches!(self, Sub | Pull | Dish | Gather)
    }

    /// Whether a socket of this type receives messages. Subscriptions do not count.
    #[must_use]
    pub const fn receives(self) -> bool {
        !matches!(self, Pub | Push | Radio | Scatter)
    }

    /// Whether peers of this type subscribe to our messages.
    #[must_use]
    pub const fn publishes(self) -> bool {
        matches!(self, Pub | Xpub)
    }

    /// Whether this type subscribes to its peers' messages.
    #[must_use]
    pub const fn subscribes(self) -> bool {
        matches!(self, Sub | Xsub)
    }
}

/// The text is not the name of a [`SocketType`] on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Hash, ThisError)]
#[error("{0:?} is not a socket type: the names are in capitals, such as DEALER")]
pub struct SocketTypeError(String);

impl FromStr for SocketType {
    type Err = SocketTypeError;

    /// Parses the name as READY carries it, in capitals, such as `DEALER`.
    ///
    /// # Errors
    /// Returns [`SocketTypeError`] for every other text. `RELAY` is one, because it is not a type on
    /// the wire.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_name(text.as_bytes()).ok_or_else(|| SocketTypeError(text.to_owned()))
    }
}

impl fmt::Display for SocketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_a_relay_is_never_claimed() {
        for kind in ON_THE_WIRE {
            assert_eq!(SocketType::from_name(kind.name().as_bytes()), Some(kind));
        }
        assert_eq!(SocketType::from_name(b"RELAY"), None);
        assert_eq!(SocketType::from_name(b"req"), None);
        assert_eq!(SocketType::from_name(b""), None);
    }

    #[test]
    fn names_parse_in_capitals_alone() {
        for kind in ON_THE_WIRE {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert!(kind.name().to_lowercase().parse::<SocketType>().is_err());
        }
        for text in ["RELAY", "", " PUB", "PUBS"] {
            let error = SocketTypeError(text.to_owned());
            assert_eq!(text.parse::<SocketType>(), Err(error));
        }
    }

    #[test]
    fn every_type_that_receives_may_talk_to_one_that_sends_and_the_other_way_round() {
        for ours in ON_THE_WIRE {
            let mut peers = ON_THE_WIRE.into_iter().filter(|peer| ours.accepts(*peer));
            assert!(ours.sends() || ours.receives(), "{ours}");
            assert!(
                !ours.receives() || peers.clone().any(SocketType::sends),
                "{ours}"
            );
            assert!(!ours.sends() || peers.any(SocketType::receives), "{ours}");
        }
    }

    #[test]
    fn the_matrix_is_symmetric() {
        for ours in ON_THE_WIRE {
            for peer in ON_THE_WIRE {
                assert_eq!(ours.accepts(peer), peer.accepts(ours), "{ours} {peer}");
            }
        }
    }

    #[test]
    fn the_stable_pairs_of_rfc_37() {
        let pairs: usize = ON_THE_WIRE[..11]
            .iter()
            .map(|ours| {
                ON_THE_WIRE[..11]
                    .iter()
                    .filter(|peer| ours.accepts(**peer))
                    .count()
            })
            .sum();
        // REQ 2, REP 2, DEALER 3, ROUTER 3, PUB, SUB, XPUB, XSUB 2 each, PUSH, PULL, PAIR 1 each.
        assert_eq!(pairs, 21);
    }
}
