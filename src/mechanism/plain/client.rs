//! The client of PLAIN (RFC 24).
//!
//! ```text
//! send HELLO ─► ExpectWelcome ─► send INITIATE ─► ExpectReady ─► done
//!                     └─(relay)─► AwaitMetadata ─► send INITIATE ─┘
//! ```
#![forbid(unsafe_code)]

use crate::access::peer::Peer;
use crate::crypto::password::Password;
use crate::error::Error;
use crate::mechanism::plain::commands::{self, INITIATE, READY, WELCOME};
use crate::mechanism::refusal;
use crate::mechanism::session::Session;
use crate::mechanism::transition::{self, Done};
use crate::traffic::seal;
use crate::wire::metadata::Metadata;
use std::convert::Infallible;

type Transition = transition::Transition<Client, Infallible, AwaitMetadata>;

/// The states that wait for a command.
pub(in crate::mechanism) enum Client {
    ExpectWelcome(ExpectWelcome),
    ExpectReady(ExpectReady),
}

impl Client {
    pub(in crate::mechanism) fn on_command(self, body: &[u8]) -> Result<Transition, Error> {
        match self {
            Self::ExpectWelcome(state) => state.handle(body),
            Self::ExpectReady(state) => {
                state.0.require_len(body)?;
                state.handle(body)
            }
        }
    }
}

pub(in crate::mechanism) fn start(
    session: Session,
    username: &[u8],
    password: &Password,
) -> Transition {
    let hello = commands::hello(username, password);
    Transition::wait(Some(hello), Client::ExpectWelcome(ExpectWelcome(session)))
}

/// HELLO is sent. Waits while the server asks its handler.
pub(in crate::mechanism) struct ExpectWelcome(Session);

impl ExpectWelcome {
    fn handle(self, body: &[u8]) -> Result<Transition, Error> {
        commands::check_welcome(refusal::expect_plain(body, WELCOME)?)?;
        Ok(match self.0.metadata().cloned() {
            Some(metadata) => initiate(self.0, &metadata),
            None => Transition::pause(AwaitMetadata(self.0)),
        })
    }
}

/// A relay waits for the metadata of its INITIATE.
pub(in crate::mechanism) struct AwaitMetadata(Session);

impl AwaitMetadata {
    pub(in crate::mechanism) fn resume(self, metadata: &Metadata) -> Transition {
        initiate(self.0, metadata)
    }
}

fn initiate(session: Session, metadata: &Metadata) -> Transition {
    let body = commands::with_metadata(INITIATE, metadata);
    Transition::wait(Some(body), Client::ExpectReady(ExpectReady(session)))
}

/// INITIATE is sent. The server's READY completes the handshake.
pub(in crate::mechanism) struct ExpectReady(Session);

impl ExpectReady {
    fn handle(self, body: &[u8]) -> Result<Transition, Error> {
        let claims = self.0.claims(refusal::expect_plain(body, READY)?, READY)?;
        let peer = Peer::new(None, None, claims, self.0.into_origin());
        Ok(Transition::done(None, Done::new(seal::transparent(), peer)))
    }
}
