//! NULL (RFC 37, "The NULL Security Mechanism"). Both sides run the same machine.
//!
//! ```text
//! Anyone ──────────────► send READY ─► ExpectReady ─────────────────────────────► done
//! Ask ─► AwaitVerdict ─► send READY ─► ExpectReady ─────────────────────────────► done
//!        (or anyone, a relay without metadata) ─► ExpectReadyFirst ─► AwaitMetadata
//!                                                                 ─► send READY ─► done
//! (a relay that sends first) ─► AwaitMetadata ─► send READY ─► ExpectReady ──────► done
//! ```
//!
//! A side that asks policy does so before it sends READY and before it has seen the peer's READY.
//! If each side waited for the other's READY first, both would wait for ever.
#![forbid(unsafe_code)]

use crate::access::credentials::Credentials;
use crate::access::peer::{Authenticated, Claims, Peer};
use crate::access::request::AccessPolicy;
use crate::access::verdict::Approved;
use crate::error::Error;
use crate::mechanism::refusal;
use crate::mechanism::session::Session;
use crate::mechanism::transition::{self, Done};
use crate::traffic::seal;
use crate::wire::command::Command;
use crate::wire::metadata::Metadata;
use bytes::Bytes;

const READY: &str = "READY";

type Transition = transition::Transition<Null, AwaitVerdict, AwaitMetadata>;

/// The states that wait for a command, which is READY in each of them.
pub(super) enum Null {
    ExpectReady(ExpectReady),
    ExpectReadyFirst(ExpectReadyFirst),
}

impl Null {
    pub(super) fn on_command(self, body: &[u8]) -> Result<Transition, Error> {
        match self {
            Self::ExpectReady(state) => {
                state.session.require_len(body)?;
                state.handle(body)
            }
            Self::ExpectReadyFirst(state) => {
                state.session.require_len(body)?;
                state.handle(body)
            }
        }
    }
}

pub(super) fn start(session: Session, policy: &AccessPolicy) -> Transition {
    match Approved::by_policy(policy) {
        Ok(approved) => begin(session, approved),
        Err(domain) => {
            let request = session.request(domain, Credentials::Null);
            Transition::ask(request, AwaitVerdict(session))
        }
    }
}

/// Waits for policy; nothing has been sent.
pub(super) struct AwaitVerdict(Session);

impl AwaitVerdict {
    pub(super) fn resume(self, approved: Approved) -> Transition {
        begin(self.0, approved)
    }
}

fn begin(session: Session, approved: Approved) -> Transition {
    match session.metadata() {
        Some(metadata) => {
            let (ready, authenticated) = ready(approved, metadata);
            let state = ExpectReady {
                session,
                authenticated,
            };
            Transition::wait(Some(ready), Null::ExpectReady(state))
        }
        None if session.sends_first => Transition::pause(AwaitMetadata {
            session,
            approved,
            claims: None,
        }),
        None => {
            let state = ExpectReadyFirst { session, approved };
            Transition::wait(None, Null::ExpectReadyFirst(state))
        }
    }
}

/// READY, which holds metadata only. It takes an approval, so an unapproved peer cannot get one.
fn ready(approved: Approved, metadata: &Metadata) -> (Bytes, Option<Authenticated>) {
    let mut body = Command::start(READY, metadata.encoded_len());
    metadata.encode(&mut body);
    (body.freeze(), approved.into_authenticated())
}

/// Our READY is sent; the peer's completes the handshake.
pub(super) struct ExpectReady {
    session: Session,
    authenticated: Option<Authenticated>,
}

impl ExpectReady {
    fn handle(self, body: &[u8]) -> Result<Transition, Error> {
        let claims = self.session.claims(refusal::expect(body, READY)?, READY)?;
        Ok(Transition::done(
            None,
            done(self.session, self.authenticated, claims),
        ))
    }
}

/// Waits for the peer's READY before ours is sent: a relay needs this peer's claims to get the
/// metadata of its far side.
pub(super) struct ExpectReadyFirst {
    session: Session,
    approved: Approved,
}

impl ExpectReadyFirst {
    fn handle(self, body: &[u8]) -> Result<Transition, Error> {
        let claims = self.session.claims(refusal::expect(body, READY)?, READY)?;
        let Self { session, approved } = self;
        Ok(Transition::pause(AwaitMetadata {
            session,
            approved,
            claims: Some(claims),
        }))
    }
}

/// A relay waits for the metadata of its READY.
pub(super) struct AwaitMetadata {
    session: Session,
    pub(super) approved: Approved,
    /// `None` if the peer's READY comes after ours.
    pub(super) claims: Option<Claims>,
}

impl AwaitMetadata {
    pub(super) fn resume(self, metadata: &Metadata) -> Transition {
        let (ready, authenticated) = ready(self.approved, metadata);
        let session = self.session;
        match self.claims {
            Some(claims) => Transition::done(Some(ready), done(session, authenticated, claims)),
            None => {
                let state = ExpectReady {
                    session,
                    authenticated,
                };
                Transition::wait(Some(ready), Null::ExpectReady(state))
            }
        }
    }
}

fn done(session: Session, authenticated: Option<Authenticated>, claims: Claims) -> Box<Done> {
    Done::new(
        seal::transparent(),
        Peer::new(authenticated, None, claims, session.into_origin()),
    )
}
