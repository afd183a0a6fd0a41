//! A peer that was printed, and which side of the connection this is.
#![forbid(unsafe_code)]

use crate::socket::peers::told::Which;
use crate::socket::peers::who::Who;
use crate::socket::stop::Lost;
use std::sync::{Arc, Weak};
use zmtp_auth::Peer;
use zmtp_auth::net::Endpoint;

/// Which side of the connections this is.
pub(crate) enum Side {
    /// The side that listens, with many peers.
    Bound,
    /// The side that connects, with one peer. It ends with the peer.
    Dialled {
        endpoint: Endpoint,
        /// How many messages to wait for.
        left: Option<u64>,
    },
}

/// A peer that was printed, and whose end was not.
pub(crate) struct Known {
    pub(crate) number: u64,
    pub(crate) who: Who,
    /// Dead once the socket has dropped the peer.
    pub(crate) peer: Weak<Peer>,
    pub(crate) lost: Option<Lost>,
    pub(crate) all_received: bool,
    /// Messages that this program has dropped for their topic.
    pub(crate) not_permitted: u64,
}

/// The peer as the socket names it in messages and events.
pub(crate) fn place_of(peer: &Arc<Peer>) -> usize {
    Arc::as_ptr(peer).addr()
}

impl Known {
    pub(crate) const fn which(&self) -> Which<'_> {
        Which {
            peer: self.number,
            who: &self.who,
        }
    }
}

/// In the order of their numbers.
pub(crate) fn by_number(known: impl IntoIterator<Item = Known>) -> Vec<Known> {
    let mut known: Vec<_> = known.into_iter().collect();
    known.sort_unstable_by_key(|known| known.number);
    known
}
