//! The client of CURVE (RFC 26).
//!
//! ```text
//! send HELLO ─► ExpectWelcome ─► send INITIATE ─► ExpectReady ─► done
//!                     └─(relay)─► AwaitMetadata ─► send INITIATE ─┘
//! ```
#![forbid(unsafe_code)]

use crate::access::peer::Peer;
use crate::crypto::boxes::{SharedKey, TAG_LEN};
use crate::crypto::keys::{KeyPair, PublicKey};
use crate::crypto::nonce::{self, ReceiveCounter};
use crate::crypto::random;
use crate::error::{CryptoError, Error};
use crate::mechanism::curve::commands::{
    self, COOKIE_LEN, Hello, Initiate, InitiateText, READY, Ready, SIGNATURE, WELCOME, Welcome,
    WelcomeText,
};
use crate::mechanism::refusal;
use crate::mechanism::session::Session;
use crate::mechanism::transition::{self, Done};
use crate::traffic::seal::{self, CurveEnd};
use crate::wire::metadata::Metadata;
use bytes::{Bytes, BytesMut};
use std::convert::Infallible;
use std::sync::Arc;

type Transition = transition::Transition<Client, Infallible, Box<AwaitMetadata>>;

/// The nonces of a client, counted from 1 (RFC 26, "Nonces"): HELLO, then INITIATE, then MESSAGEs.
const HELLO_NONCE: u64 = 1;
const INITIATE_NONCE: u64 = 2;

/// The states that wait for a command.
pub(in crate::mechanism) enum Client {
    ExpectWelcome(Box<ExpectWelcome>),
    ExpectReady(Box<ExpectReady>),
}

impl Client {
    pub(in crate::mechanism) fn on_command(self, body: &[u8]) -> Result<Transition, Error> {
        match self {
            Self::ExpectWelcome(state) => state.handle(body),
            Self::ExpectReady(state) => {
                state.session.require_len(body)?;
                state.handle(body)
            }
        }
    }
}

/// Draws a transient key pair and sends HELLO.
pub(in crate::mechanism) fn start(
    session: Session,
    keys: Arc<KeyPair>,
    server: PublicKey,
) -> Result<Transition, Error> {
    let transient = KeyPair::generate_from(session.random())?;
    // RFC 26, HELLO. The same shared key, C'->S, will open WELCOME.
    let hello_key = SharedKey::agree(transient.secret_key(), &server)
        .map_err(|_| CryptoError::LowOrderKey("server's permanent"))?;
    let mut body = Hello::start(&transient.public_key(), HELLO_NONCE);
    hello_key.seal(
        &nonce::counted(nonce::HELLO, HELLO_NONCE),
        &[&SIGNATURE],
        &mut body,
    );
    let state = ExpectWelcome {
        session,
        keys,
        server,
        transient,
        hello_key,
    };
    Ok(Transition::wait(
        Some(body.freeze()),
        Client::ExpectWelcome(Box::new(state)),
    ))
}

/// HELLO is sent. Only the owner of the server key can make the WELCOME.
pub(in crate::mechanism) struct ExpectWelcome {
    session: Session,
    keys: Arc<KeyPair>,
    server: PublicKey,
    transient: KeyPair,
    hello_key: SharedKey,
}

impl ExpectWelcome {
    fn handle(self, body: &[u8]) -> Result<Transition, Error> {
        let welcome = Welcome::parse(refusal::expect_curve(body, WELCOME)?)?;
        // RFC 26, WELCOME: the box proves that the server has s.
        let text = self
            .hello_key
            .open(&nonce::random(nonce::WELCOME, welcome.nonce), welcome.boxed)
            .ok_or(CryptoError::WelcomeNotOpened)?;
        let text = WelcomeText::parse(&text)?;
        let low_order = |_| CryptoError::LowOrderKey("server's transient");
        let traffic_key = SharedKey::agree(self.transient.secret_key(), &text.server_transient)
            .map_err(low_order)?;
        let vouch_key =
            SharedKey::agree(self.keys.secret_key(), &text.server_transient).map_err(low_order)?;
        let welcomed = AwaitMetadata {
            client: self.keys.public_key(),
            server: self.server,
            client_transient: self.transient.public_key(),
            cookie: *text.cookie,
            traffic_key,
            vouch_key,
            session: self.session,
        };
        match welcomed.session.metadata().cloned() {
            Some(metadata) => welcomed.resume(&metadata),
            None => Ok(Transition::pause(Box::new(welcomed))),
        }
    }
}

/// Everything but our own metadata is known. Only a relay stays in this state.
pub(in crate::mechanism) struct AwaitMetadata {
    session: Session,
    client: PublicKey,
    server: PublicKey,
    client_transient: PublicKey,
    cookie: [u8; COOKIE_LEN],
    /// C'->S', for INITIATE, READY and all traffic.
    traffic_key: SharedKey,
    /// C->S', for the vouch.
    vouch_key: SharedKey,
}

impl AwaitMetadata {
    pub(in crate::mechanism) fn resume(self, metadata: &Metadata) -> Result<Transition, Error> {
        let initiate = self.initiate(metadata)?;
        let Self {
            session,
            server,
            traffic_key,
            ..
        } = self;
        let state = ExpectReady {
            session,
            server,
            traffic_key,
        };
        Ok(Transition::wait(
            Some(initiate),
            Client::ExpectReady(Box::new(state)),
        ))
    }

    fn initiate(&self, metadata: &Metadata) -> Result<Bytes, Error> {
        let vouch_nonce = random::array(self.session.random())?;
        // RFC 26, INITIATE: with our permanent key we vouch that C' is ours and meant for S.
        let mut text = BytesMut::with_capacity(InitiateText::FIXED_LEN + metadata.encoded_len());
        text.extend_from_slice(self.client.as_bytes());
        text.extend_from_slice(&vouch_nonce);
        self.vouch_key.seal(
            &nonce::random(nonce::VOUCH, &vouch_nonce),
            &[&commands::vouch_text(&self.client_transient, &self.server)],
            &mut text,
        );
        metadata.encode(&mut text);
        let mut body = Initiate::start(&self.cookie, INITIATE_NONCE, TAG_LEN + text.len());
        let nonce = nonce::counted(nonce::INITIATE, INITIATE_NONCE);
        self.traffic_key.seal(&nonce, &[&text], &mut body);
        Ok(body.freeze())
    }
}

/// INITIATE is sent. Waits while the server asks its handler.
pub(in crate::mechanism) struct ExpectReady {
    session: Session,
    server: PublicKey,
    traffic_key: SharedKey,
}

impl ExpectReady {
    fn handle(self, body: &[u8]) -> Result<Transition, Error> {
        let ready = Ready::parse(refusal::expect_curve(body, READY)?)?;
        ReceiveCounter::after(0).check(ready.nonce)?;
        let text = self
            .traffic_key
            .open(&nonce::counted(nonce::READY, ready.nonce), ready.boxed)
            .ok_or(CryptoError::BoxNotOpened(READY))?;
        let claims = self.session.claims(&text, READY)?;
        let halves = seal::curve(
            CurveEnd::Client,
            &self.traffic_key,
            INITIATE_NONCE,
            ready.nonce,
        );
        let peer = Peer::new(None, Some(self.server), claims, self.session.into_origin());
        Ok(Transition::done(None, Done::new(halves, peer)))
    }
}
