//! The server of CURVE (RFC 26).
//!
//! ```text
//! ExpectHello ─► send WELCOME ─► ExpectInitiate ─(ask)─► AwaitVerdict ─► send READY ─► done
//!                                      └─────(anyone)──────────┴─(relay)─► AwaitMetadata ─┘
//! ```
#![forbid(unsafe_code)]

use crate::access::credentials::Credentials;
use crate::access::domain::Domain;
use crate::access::peer::{Authenticated, Claims, Peer};
use crate::access::request::{AccessPolicy, AccessRequest};
use crate::access::verdict::Approved;
use crate::crypto::boxes::{SharedKey, TAG_LEN};
use crate::crypto::keys::{KeyPair, PublicKey, SecretKey};
use crate::crypto::nonce::{self, ReceiveCounter};
use crate::crypto::random;
use crate::error::{CryptoError, Error, LocalError, Malformation, ProtocolError};
use crate::mechanism::curve::commands::{
    self, HELLO, Hello, INITIATE, Initiate, InitiateText, Ready, SIGNATURE, Welcome,
};
use crate::mechanism::curve::cookie::{CookieMaker, Remembered};
use crate::mechanism::session::Session;
use crate::mechanism::transition::{self, Done};
use crate::traffic::seal::{self, CurveEnd};
use crate::wire::command::Command;
use crate::wire::metadata::Metadata;
use bytes::Bytes;
use std::sync::Arc;
use zeroize::Zeroizing;

type Transition = transition::Transition<Server, Box<AwaitVerdict>, Box<AwaitMetadata>>;

/// The nonce of READY, our first command with a counted nonce.
const READY_NONCE: u64 = 1;

/// The states that wait for a command.
pub(in crate::mechanism) enum Server {
    ExpectHello(ExpectHello),
    ExpectInitiate(Box<ExpectInitiate>),
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
    keys: Arc<[KeyPair]>,
    policy: AccessPolicy,
) -> Transition {
    Transition::wait(
        None,
        Server::ExpectHello(ExpectHello {
            session,
            keys,
            policy,
        }),
    )
}

/// Waits for HELLO: the client speaks first.
pub(in crate::mechanism) struct ExpectHello {
    session: Session,
    keys: Arc<[KeyPair]>,
    policy: AccessPolicy,
}

impl ExpectHello {
    fn handle(self, body: &[u8]) -> Result<Transition, Error> {
        let hello = Hello::parse(Command::expect(body, HELLO)?)?;
        let mut hello_nonce = ReceiveCounter::after(0);
        hello_nonce.check(hello.nonce)?;
        let (server, hello_key) = self.find_key(&hello)?;
        hello_nonce.commit(hello.nonce);

        let (mut cookie_nonce, mut welcome_nonce) = ([0; 16], [0; 16]);
        let [mut transient, mut cookie_key] = [[0; 32]; 2].map(Zeroizing::new);
        random::fill_each(
            self.session.random(),
            [
                &mut transient[..],
                &mut cookie_nonce,
                &mut cookie_key[..],
                &mut welcome_nonce,
            ],
        )?;
        let transient = SecretKey::from_bytes(&transient).map_err(|_| LocalError::Random)?;
        let transient = KeyPair::from_secret(transient);
        let cookies = CookieMaker::new(&cookie_key, cookie_nonce, &self.session.address, &server);
        let cookie = cookies.seal(&hello.client_transient, transient.secret_key());
        // RFC 26, WELCOME. From here on s' exists only in the cookie.
        let mut body = Welcome::start(&welcome_nonce);
        hello_key.seal(
            &nonce::random(nonce::WELCOME, &welcome_nonce),
            &[transient.public_key().as_bytes(), &cookie],
            &mut body,
        );
        let Self {
            session, policy, ..
        } = self;
        let state = ExpectInitiate {
            session,
            policy,
            server,
            cookies,
            hello_nonce,
        };
        Ok(Transition::wait(
            Some(body.freeze()),
            Server::ExpectInitiate(Box::new(state)),
        ))
    }

    /// Finds the server key that the client has chosen. HELLO does not name it, but its signature
    /// box opens with one key only (RFC 26, HELLO).
    fn find_key(&self, hello: &Hello<'_>) -> Result<(PublicKey, SharedKey), Error> {
        let nonce = nonce::counted(nonce::HELLO, hello.nonce);
        for keys in &*self.keys {
            let shared = SharedKey::agree(keys.secret_key(), &hello.client_transient)
                .map_err(|_| CryptoError::LowOrderKey("client's transient"))?;
            match shared.opens_to(&nonce, hello.signature, &SIGNATURE) {
                Some(true) => return Ok((keys.public_key(), shared)),
                Some(false) => {
                    let problem = Malformation::Signature;
                    return Err(ProtocolError::Malformed {
                        what: "CURVE HELLO",
                        at: 120,
                        problem,
                    }
                    .into());
                }
                None => {}
            }
        }
        Err(CryptoError::HelloNotOpened.into())
    }
}

/// WELCOME is sent. The server keeps only what it needs to open the cookie.
pub(in crate::mechanism) struct ExpectInitiate {
    session: Session,
    policy: AccessPolicy,
    /// The server key that the client has chosen, S.
    server: PublicKey,
    cookies: CookieMaker,
    hello_nonce: ReceiveCounter,
}

impl ExpectInitiate {
    fn handle(self, body: &[u8]) -> Result<Transition, Error> {
        let initiate = Initiate::parse(Command::expect(body, INITIATE)?)?;
        let remembered = self.cookies.open(initiate.cookie)?;
        // RFC 26, "Nonces": a client's nonces must grow.
        self.hello_nonce
            .check(initiate.nonce)
            .map_err(|error| match error {
                Error::Crypto(CryptoError::ReplayedNonce) => ProtocolError::InitiateNonce.into(),
                other => other,
            })?;
        let traffic_key =
            SharedKey::agree(&remembered.server_transient, &remembered.client_transient)
                .map_err(|_| CryptoError::LowOrderKey("client's transient"))?;
        let text = traffic_key
            .open(
                &nonce::counted(nonce::INITIATE, initiate.nonce),
                initiate.boxed,
            )
            .ok_or(CryptoError::BoxNotOpened(INITIATE))?;
        let text = InitiateText::parse(&text)?;
        self.check_vouch(&text, &remembered)?;
        self.session.note_proven_key(text.client);
        let claims = self.session.claims(text.metadata, INITIATE)?;

        let vouched = Vouched {
            client: text.client,
            claims,
            traffic_key,
            initiate_nonce: initiate.nonce,
        };
        let state = AwaitVerdict {
            session: self.session,
            vouched,
        };
        Ok(match Approved::by_policy(&self.policy) {
            Ok(approved) => state.resume(approved),
            Err(domain) => Transition::ask(state.request(domain), Box::new(state)),
        })
    }

    /// RFC 26, INITIATE: with its permanent key the client vouches for C', and for S, so that the
    /// vouch cannot be used with another server.
    fn check_vouch(&self, text: &InitiateText<'_>, remembered: &Remembered) -> Result<(), Error> {
        let vouch_key = SharedKey::agree(&remembered.server_transient, &text.client)
            .map_err(|_| CryptoError::LowOrderKey("client's permanent"))?;
        let nonce = nonce::random(nonce::VOUCH, text.vouch_nonce);
        let expected = commands::vouch_text(&remembered.client_transient, &self.server);
        match vouch_key.opens_to(&nonce, text.vouch, &expected) {
            Some(true) => Ok(()),
            Some(false) => Err(CryptoError::Vouch.into()),
            None => Err(CryptoError::BoxNotOpened("vouch").into()),
        }
    }
}

/// A client whose keys are proven.
struct Vouched {
    client: PublicKey,
    claims: Claims,
    traffic_key: SharedKey,
    initiate_nonce: u64,
}

impl Vouched {
    /// READY: our metadata, sealed. It takes an approval, so an unapproved peer cannot get one.
    fn ready(&self, approved: Approved, metadata: &Metadata) -> (Bytes, Option<Authenticated>) {
        let nonce = nonce::counted(nonce::READY, READY_NONCE);
        let mut body = Ready::start(READY_NONCE, TAG_LEN + metadata.encoded_len());
        self.traffic_key
            .seal_written(&nonce, &mut body, |body| metadata.encode(body));
        (body.freeze(), approved.into_authenticated())
    }

    fn done(
        self,
        session: Session,
        (ready, authenticated): (Bytes, Option<Authenticated>),
    ) -> Transition {
        let halves = seal::curve(
            CurveEnd::Server,
            &self.traffic_key,
            READY_NONCE,
            self.initiate_nonce,
        );
        let peer = Peer::new(
            authenticated,
            Some(self.client),
            self.claims,
            session.into_origin(),
        );
        Transition::done(Some(ready), Done::new(halves, peer))
    }
}

/// The client has proven its key. Waits for policy to decide about that key.
pub(in crate::mechanism) struct AwaitVerdict {
    session: Session,
    vouched: Vouched,
}

impl AwaitVerdict {
    fn request(&self, domain: &Domain) -> AccessRequest {
        let credentials = Credentials::Curve {
            key: self.vouched.client,
        };
        self.session
            .request(domain, credentials)
            .with_claims(self.vouched.claims.clone())
    }

    pub(in crate::mechanism) fn resume(self, approved: Approved) -> Transition {
        let Self { session, vouched } = self;
        match session.metadata() {
            Some(metadata) => {
                let ready = vouched.ready(approved, metadata);
                vouched.done(session, ready)
            }
            None => Transition::pause(Box::new(AwaitMetadata {
                session,
                vouched,
                approved,
            })),
        }
    }
}

/// Everything but our own metadata is known. Only a relay stays in this state.
pub(in crate::mechanism) struct AwaitMetadata {
    session: Session,
    vouched: Vouched,
    approved: Approved,
}

impl AwaitMetadata {
    pub(in crate::mechanism) const fn claims(&self) -> &Claims {
        &self.vouched.claims
    }

    #[cfg(any(feature = "futures-io", feature = "tokio"))]
    pub(in crate::mechanism) const fn proven_key(&self) -> PublicKey {
        self.vouched.client
    }

    pub(in crate::mechanism) const fn authenticated(&self) -> Option<&Authenticated> {
        self.approved.authenticated()
    }

    pub(in crate::mechanism) fn resume(self, metadata: &Metadata) -> Transition {
        let Self {
            session,
            vouched,
            approved,
        } = self;
        let ready = vouched.ready(approved, metadata);
        vouched.done(session, ready)
    }
}
