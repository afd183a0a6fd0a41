//! What both halves of a connection know: the peer, and the state that the driver reports.
#![forbid(unsafe_code)]

use crate::access::peer::Peer;
use crate::net::connection::driver::State;
use crate::net::error::NetError;
use crate::wire::socket_type::SocketType;
use std::sync::Arc;
use tokio::sync::watch;

/// What both halves share.
#[derive(Clone)]
pub(crate) struct Link {
    facts: Arc<Facts>,
    state: watch::Receiver<State>,
}

/// What does not change while the connection lives.
struct Facts {
    peer: Peer,
    /// Our socket type.
    ours: SocketType,
}

impl Link {
    pub(crate) fn new(peer: Peer, ours: SocketType, state: watch::Receiver<State>) -> Self {
        let facts = Arc::new(Facts { peer, ours });
        Self { facts, state }
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

    /// Waits for the end of the connection, and returns its reason.
    pub(crate) async fn closed(self) -> NetError {
        let _ = self.clone().ended().await;
        self.reason()
    }

    /// Waits until the task of the connection has ended.
    pub(crate) async fn over(mut self) {
        while self.state.changed().await.is_ok() {}
    }

    /// Waits for the end of the connection. Returns its reason if not everything was sent.
    pub(crate) async fn ended(mut self) -> Result<(), NetError> {
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
    pub(crate) fn peer(&self) -> &Peer {
        &self.facts.peer
    }

    /// Our socket type.
    pub(crate) fn ours(&self) -> SocketType {
        self.facts.ours
    }

    pub(crate) fn is_of_one_connection(&self, other: &Self) -> bool {
        self.state.same_channel(&other.state)
    }
}
