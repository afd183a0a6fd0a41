//! The server of PLAIN (RFC 24). It always asks policy.
//!
//! ```text
//! ExpectHello ─► AwaitVerdict ─► send WELCOME ─► ExpectInitiate ─► send READY ─► done
//!                                   (a relay without metadata) ─► AwaitMetadata ─┘
//! ```
#![forbid(unsafe_code)]

use crate::access::credentials::Credentials;
use crate::access::domain::Domain;
use crate::access::peer::{Authenticated, Claims, Peer};
use crate::access::verdict::Approved;
use crate::crypto::password::Password;
use crate::error::Error;
use crate::mechanism::plain::commands::{self, HELLO, Hello, INITIATE, READY};
use crate::mechanism::session::Session;
use crate::mechanism::transition::{self, Done};
use crate::traffic::seal;
use crate::wire::command::Command;
use crate::wire::metadata::Metadata;
use bytes::Bytes;

type Transition = transition::Transition<Server, AwaitVerdict, AwaitMetadata>;

/// The states that wait for a command.
pub(in crate::mechanism) enum Server {
    ExpectHello(ExpectHello),
    ExpectInitiate(ExpectInitiate),
}

impl Server {
    pub(in crate::mechanism) fn on_command(self, body: &[u8]) -> Result<Transition, Error> {
        match self {
            Self::ExpectHello(state) => state.handle(body),
            Self::ExpectInitiate(state) => {
                state.session.require_len(body)?;
                state.handle(body)
            }
        }
    }
}

pub(in crate::mechanism) fn start(
    session: Session,
    domain: Domain,
    libzmq_error_spelling: bool,
) -> Transition {
    let state = ExpectHello {
        session,
        domain,
        libzmq_error_spelling,
    };
    Transition::wait(None, Server::ExpectHello(state))
}

/// Waits for HELLO: the client speaks first.
pub(in crate::mechanism) struct ExpectHello {
    session: Session,
    domain: Domain,
    libzmq_error_spelling: bool,
}

impl ExpectHello {
    fn handle(self, body: &[u8]) -> Result<Transition, Error> {
        let hello = Hello::parse(Command::expect(body, HELLO)?)?;
        let credentials = Credentials::Plain {
            username: Bytes::copy_from_slice(hello.username),
            password: Password::new(hello.password),
        };
        let Self {
            session,
            domain,
            libzmq_error_spelling,
        } = self;
        let request = session.request(&domain, credentials);
        Ok(Transition::ask(
            request,
            AwaitVerdict {
                session,
                libzmq_error_spelling,
            },
        ))
    }
}

/// Waits for policy to check the password.
pub(in crate::mechanism) struct AwaitVerdict {
    session: Session,
    /// Whether an ERROR is sent in libzmq's spelling.
    pub(in crate::mechanism) libzmq_error_spelling: bool,
}

impl AwaitVerdict {
    pub(in crate::mechanism) fn resume(self, approved: Approved) -> Transition {
        let (welcome, authenticated) = commands::welcome(approved);
        let state = ExpectInitiate {
            session: self.session,
            authenticated,
        };
        Transition::wait(Some(welcome), Server::ExpectInitiate(state))
    }
}

/// The peer is admitted. Waits for INITIATE with its metadata.
pub(in crate::mechanism) struct ExpectInitiate {
    session: Session,
    authenticated: Option<Authenticated>,
}

impl ExpectInitiate {
    fn handle(self, body: &[u8]) -> Result<Transition, Error> {
        let claims = self
            .session
            .claims(Command::expect(body, INITIATE)?, INITIATE)?;
        let admitted = AwaitMetadata {
            session: self.session,
            authenticated: self.authenticated,
            claims,
        };
        Ok(match admitted.session.metadata().cloned() {
            Some(metadata) => admitted.resume(&metadata),
            None => Transition::pause(admitted),
        })
    }
}

/// Everything but our own metadata is known. Only a relay stays in this state.
pub(in crate::mechanism) struct AwaitMetadata {
    session: Session,
    pub(in crate::mechanism) authenticated: Option<Authenticated>,
    pub(in crate::mechanism) claims: Claims,
}

impl AwaitMetadata {
    pub(in crate::mechanism) fn resume(self, metadata: &Metadata) -> Transition {
        let ready = commands::with_metadata(READY, metadata);
        let peer = Peer::new(
            self.authenticated,
            None,
            self.claims,
            self.session.into_origin(),
        );
        Transition::done(Some(ready), Done::new(seal::transparent(), peer))
    }
}
