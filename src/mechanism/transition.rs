//! The result of a state that has handled its command.
#![forbid(unsafe_code)]

use crate::access::peer::Peer;
use crate::access::request::AccessRequest;
use crate::traffic::seal::{Opener, Sealer};
use bytes::Bytes;
use std::convert::Infallible;

/// At most one command to send, and the next state of a role. `W` waits for a command, `V` for a
/// verdict, `M` for a relay's metadata. A role without such a pause has an uninhabited type there.
pub(super) struct Transition<W, V = Infallible, M = Infallible> {
    pub(super) send: Option<Bytes>,
    pub(super) next: Next<W, V, M>,
}

/// The next state.
pub(super) enum Next<W, V, M> {
    Wait(W),
    Verdict(AccessRequest, V),
    Metadata(M),
    Done(Box<Done>),
}

/// A handshake that is complete.
#[derive(Debug)]
#[non_exhaustive]
pub struct Done {
    /// Seals what we send.
    pub sealer: Sealer,
    /// Opens what the peer sends.
    pub opener: Opener,
    /// The peer.
    pub peer: Peer,
}

impl Done {
    pub(super) fn new((sealer, opener): (Sealer, Opener), peer: Peer) -> Box<Self> {
        Box::new(Self {
            sealer,
            opener,
            peer,
        })
    }
}

impl<W, V, M> Transition<W, V, M> {
    /// Waits for a command, after `send` has been sent.
    pub(super) const fn wait(send: Option<Bytes>, state: W) -> Self {
        Self {
            send,
            next: Next::Wait(state),
        }
    }

    /// Pauses for a verdict.
    pub(super) const fn ask(request: AccessRequest, state: V) -> Self {
        Self {
            send: None,
            next: Next::Verdict(request, state),
        }
    }

    /// Pauses for a relay's metadata.
    pub(super) const fn pause(state: M) -> Self {
        Self {
            send: None,
            next: Next::Metadata(state),
        }
    }

    /// Completes the handshake, after `send` has been sent.
    pub(super) const fn done(send: Option<Bytes>, done: Box<Done>) -> Self {
        Self {
            send,
            next: Next::Done(done),
        }
    }
}
