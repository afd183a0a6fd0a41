//! What both halves of a connection know: the peer, and the state that the driver reports.
#![forbid(unsafe_code)]

use crate::access::peer::Peer;
use crate::net::connection::driver::{Loss, State};
use crate::net::connection::queue::consumer::Watch;
use crate::net::error::NetError;
use crate::traffic::inbox::Incoming;
use crate::wire::socket_type::SocketType;
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

/// What both halves share.
#[derive(Clone)]
pub(crate) struct Link {
    peer: Arc<Peer>,
    /// Our socket type.
    ours: SocketType,
    state: watch::Receiver<State>,
}

/// How a connection ends, for a task that has neither of its halves.
///
/// [`Connection::ends`](crate::net::Connection::ends) returns it.
pub struct Ends {
    link: Link,
    received: Watch<Incoming>,
}

impl Ends {
    pub(crate) const fn new(link: Link, received: Watch<Incoming>) -> Self {
        Self { link, received }
    }

    /// Waits until the connection has ended, and returns why, and whether everything was sent. From then
    /// on nothing can be sent. What has arrived can still be received. Cancel-safe.
    pub async fn closed(&mut self) -> Loss {
        let all_sent = self.link.ended().await.is_ok();
        let reason = self.link.reason();
        Loss { reason, all_sent }
    }

    /// Waits until the connection has ended and its task with it. From then on nothing more arrives in
    /// the [`RecvHalf`](crate::net::RecvHalf). Returns whether something that has arrived waits to be
    /// received. Cancel-safe.
    pub async fn drained(&mut self) -> bool {
        while self.link.state.changed().await.is_ok() {}
        !self.received.is_empty()
    }
}

impl fmt::Debug for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ends")
            .field("peer", self.link.peer())
            .finish_non_exhaustive()
    }
}

impl Link {
    pub(crate) const fn new(
        peer: Arc<Peer>,
        ours: SocketType,
        state: watch::Receiver<State>,
    ) -> Self {
        Self { peer, ours, state }
    }

    /// Why the connection ended. Without a reason from the driver, the runtime has dropped it.
    pub(crate) fn reason(&self) -> NetError {
        self.end().unwrap_or(NetError::Aborted)
    }

    /// How the connection ended, if it has.
    pub(crate) fn end(&self) -> Option<NetError> {
        match &*self.state.borrow() {
            State::Ending(loss) | State::Ended(Err(loss)) => Some(loss.reason.clone()),
            // Only both halves together can close it without an error.
            State::Ended(Ok(())) => Some(NetError::SendClosed),
            State::Open => None,
        }
    }

    /// Waits for the end of the connection. Returns its reason if not everything was sent.
    pub(crate) async fn ended(&mut self) -> Result<(), NetError> {
        let has_ended = |state: &State| matches!(state, State::Ending(_) | State::Ended(_));
        match self.state.wait_for(has_ended).await {
            Ok(state) => match &*state {
                State::Ending(loss) | State::Ended(Err(loss)) if !loss.all_sent => {
                    Err(loss.reason.clone())
                }
                _ => Ok(()),
            },
            Err(_) => Err(NetError::Aborted),
        }
    }

    /// The peer: its authenticated identity and what it claims.
    pub(crate) const fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Our socket type.
    pub(crate) const fn ours(&self) -> SocketType {
        self.ours
    }

    pub(crate) fn is_of_one_connection(&self, other: &Self) -> bool {
        self.state.same_channel(&other.state)
    }
}
