//! Plays one side of a conversation with this crate. It must send the bytes of the file and accept
//! what the file's other side sends.

use super::class::word;
use super::file::{Event, Expect, Side, Vector, Who};
use super::forge::{COOKIE_LEN, Keys, body};
use super::side::{Replay, endpoint};
use super::write::to_hex;
use crate::pair::Endpoint;
use bytes::BytesMut;
use zmtp_auth::traffic::frames::{FrameReader, FrameWriter};
use zmtp_auth::wire::command::TrafficCommand;
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::wire::greeting::{GREETING_LEN, VERSION_LEN};
use zmtp_auth::zap::{RequestId, ZapRequest};
use zmtp_auth::{AccessRequest, Error, Limits};

/// How the other side's bytes arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    Whole,
    ByteByByte,
}

/// Plays `who`, and panics where it deviates from the file.
pub fn play(vector: &Vector, who: Who, delivery: Delivery) {
    let random = Replay::of(vector.side(who));
    let mut scripted_peer = ScriptedPeer {
        vector,
        who,
        delivery,
        stage: Stage::Handshake(Box::new(endpoint(vector, who, random.clone()))),
        sent: Vec::new(),
        greeting_due: None,
        cookie: None,
        failure: None,
    };
    for (index, event) in vector.events.iter().enumerate() {
        if event.from == who {
            scripted_peer.compare(event);
        } else {
            scripted_peer.take(index, event);
        }
    }
    scripted_peer.end();
    if vector.expect == Expect::Complete {
        assert!(
            random.is_used_up(),
            "recorded random bytes that we did not draw"
        );
    }
}

struct ScriptedPeer<'a> {
    vector: &'a Vector,
    who: Who,
    delivery: Delivery,
    stage: Stage,
    /// Our output that is not yet compared.
    sent: Vec<u8>,
    /// The part of our greeting that is not yet sent, up to the mechanism.
    greeting_due: Option<Vec<u8>>,
    /// The cookie in our own WELCOME.
    cookie: Option<Vec<u8>>,
    /// Our error and the index of the event that caused it.
    failure: Option<(usize, Error)>,
}

enum Stage {
    Handshake(Box<Endpoint>),
    Traffic {
        writer: Box<FrameWriter>,
        reader: Box<FrameReader>,
        input: BytesMut,
    },
    Moving,
}

impl ScriptedPeer<'_> {
    /// Checks that our own bytes are those of the file.
    fn compare(&mut self, event: &Event) {
        if event.label == "frame" {
            self.enter_traffic();
        }
        match &mut self.stage {
            Stage::Handshake(endpoint) => self.sent.extend(endpoint.take_output()),
            Stage::Traffic { writer, .. } => {
                let (flags, payload) = event.says.as_ref().unwrap();
                let mut out = BytesMut::new();
                writer.write(*flags, payload, &mut out).unwrap();
                self.sent.extend(out);
            }
            Stage::Moving => unreachable!(),
        }
        if event.label == "greeting" && self.sent.len() == VERSION_LEN {
            // The rest of our greeting follows once the peer's version is known.
            assert_eq!(
                (self.sent[0], &self.sent[9..]),
                (0xFF, &event.bytes[9..VERSION_LEN])
            );
            self.sent.clear();
            self.greeting_due = Some(event.bytes[VERSION_LEN..32].to_vec());
            return;
        }
        self.finish_greeting();
        assert!(
            self.sent.len() >= event.bytes.len(),
            "{}: we sent {} bytes; {:?}",
            event.label,
            self.sent.len(),
            self.failure
        );
        let rest = self.sent.split_off(event.bytes.len());
        let ours = std::mem::replace(&mut self.sent, rest);
        match &*event.label {
            // The padding and the as-server byte are free (RFC 37, "Greeting").
            "greeting" => {
                assert_eq!((ours[0], &ours[9..32]), (0xFF, &event.bytes[9..32]));
            }
            "WELCOME" if self.vector.mechanism == "CURVE" => self.compare_welcome(&ours, event),
            _ => assert_eq!(to_hex(&ours), to_hex(&event.bytes), "{}", event.label),
        }
    }

    /// Removes the rest of our greeting from our output if it was due and is there.
    fn finish_greeting(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        if let Some(expected) = self.greeting_due.take() {
            let rest = self.sent.split_off(GREETING_LEN - VERSION_LEN);
            let ours = std::mem::replace(&mut self.sent, rest);
            assert_eq!(ours[..expected.len()], expected, "greeting");
        }
    }

    /// Compares WELCOME without the sealed part of the cookie, which each server makes in its own
    /// way.
    fn compare_welcome(&mut self, ours: &[u8], event: &Event) {
        const SEALED_COOKIE_LEN: usize = 80;
        let keys = Keys::of(self.vector);
        let (ours, theirs) = (
            [&ours[..26], &keys.open_welcome(ours)].concat(),
            [&event.bytes[..26], &keys.open_welcome(&event.bytes)].concat(),
        );
        let known = theirs.len() - SEALED_COOKIE_LEN;
        assert_eq!(to_hex(&ours[..known]), to_hex(&theirs[..known]), "WELCOME");
        assert_eq!(ours.len(), theirs.len());
        self.cookie = Some(ours[ours.len() - COOKIE_LEN..].to_vec());
    }

    /// Checks that the other side's bytes are accepted, or refused at the last of them.
    fn take(&mut self, index: usize, event: &Event) {
        let bytes = self.with_our_cookie(event);
        if event.label == "frame" {
            self.enter_traffic();
        }
        let size = match self.delivery {
            Delivery::Whole => bytes.len().max(1),
            Delivery::ByteByByte => 1,
        };
        let mut frames = Vec::new();
        for part in bytes.chunks(size) {
            let error = match &mut self.stage {
                Stage::Handshake(endpoint) => {
                    endpoint.feed(part);
                    endpoint.error().cloned()
                }
                Stage::Traffic { reader, input, .. } => {
                    input.extend_from_slice(part);
                    read(reader, input, &mut frames).err()
                }
                Stage::Moving => unreachable!(),
            };
            if let Some(error) = error {
                self.failure.get_or_insert((index, error));
                break;
            }
        }
        assert_eq!(
            frames,
            event.says.clone().into_iter().collect::<Vec<_>>(),
            "what we understood of event {index}"
        );
    }

    /// Replaces the recorded cookie in INITIATE by ours. INITIATE's box does not cover the cookie.
    fn with_our_cookie(&self, event: &Event) -> Vec<u8> {
        let mut bytes = event.bytes.clone();
        if let Some(cookie) = &self.cookie
            && event.label == "INITIATE"
            && !self.vector.keep_cookie
        {
            let at = bytes.len() - body(&bytes).len() + b"\x08INITIATE".len();
            if let Some(place) = bytes.get_mut(at..at + COOKIE_LEN) {
                place.copy_from_slice(cookie);
            }
        }
        bytes
    }

    /// Checks at the first frame of traffic that the handshake is complete and has no output left.
    fn enter_traffic(&mut self) {
        let Stage::Handshake(_) = &self.stage else {
            return;
        };
        let Stage::Handshake(mut endpoint) = std::mem::replace(&mut self.stage, Stage::Moving)
        else {
            unreachable!()
        };
        assert!(endpoint.take_output().is_empty() && self.sent.is_empty());
        self.check_peer(&endpoint);
        let input = BytesMut::from(endpoint.leftover());
        let established = endpoint.into_established();
        self.stage = Stage::Traffic {
            writer: Box::new(FrameWriter::new(established.sealer)),
            reader: Box::new(FrameReader::new(established.opener, &Limits::default())),
            input,
        };
    }

    /// Checks that what we know of the peer is what the file says.
    fn check_peer(&self, endpoint: &Endpoint) {
        let peer = &endpoint.established().peer;
        let theirs = self.vector.side(self.who.other());
        let claims = &peer.claims;
        assert_eq!(claims.socket_type.unwrap().name(), theirs.socket_type);
        if let Some(identity) = &theirs.identity {
            assert_eq!(claims.identity.as_ref().unwrap(), identity);
        }
        for (name, value) in &theirs.properties {
            assert_eq!(claims.properties.get(name).unwrap(), value);
        }
        let proven = peer.proven_key.map(|key| key.as_bytes().to_vec());
        assert_eq!(proven, theirs.public_key);
        let ours = self.vector.side(self.who);
        let user_id = peer.user_id().map(|id| id.to_vec());
        assert_eq!(user_id.as_ref(), ours.zap_reply.get(4));
        check_question(ours, &endpoint.asked);
    }

    fn end(mut self) {
        let mut complete = true;
        if let Stage::Handshake(endpoint) = &mut self.stage {
            complete = endpoint.is_complete();
            self.sent.extend(endpoint.take_output());
        }
        self.finish_greeting();
        assert!(
            self.sent.is_empty(),
            "we sent further bytes: {}",
            to_hex(&self.sent)
        );
        let mut events = self.vector.events.iter();
        let last = events.rposition(|event| event.from != self.who && event.label != "close");
        match (&self.vector.expect, &self.failure) {
            (Expect::Complete, None) => {
                assert!(complete, "not complete");
                if let Stage::Handshake(endpoint) = &self.stage {
                    self.check_peer(endpoint);
                }
            }
            (Expect::Denies(by, status), Some((_, Error::Denied(denied)))) if *by == self.who => {
                assert_eq!(denied.status.as_str(), status);
                self.check_asked();
            }
            (Expect::Denies(by, status), Some((at, Error::RefusedByPeer(refusal)))) => {
                assert_eq!((Some(*at), *by), (last, self.who.other()));
                assert_eq!(refusal.status.unwrap().as_str(), status);
            }
            (Expect::Denies(by, status), None) if *by != self.who => {
                // Status 300 closes the connection without an ERROR.
                assert_eq!((complete, &**status), (false, "300"));
            }
            (Expect::Refuses(by, expected), Some((at, error))) if *by == self.who => {
                assert_eq!((word(error), Some(*at)), (&**expected, last), "{error}");
                self.check_not_asked();
            }
            (Expect::Refuses(by, _), None) if *by != self.who => assert!(!complete),
            (expected, failure) => panic!("expected {expected:?}, and our error is {failure:?}"),
        }
    }

    fn check_asked(&self) {
        if let Stage::Handshake(endpoint) = &self.stage {
            check_question(self.vector.side(self.who), &endpoint.asked);
        }
    }

    /// Checks that the handler is not asked about a peer whose greeting or CURVE handshake is
    /// refused.
    fn check_not_asked(&self) {
        let Stage::Handshake(endpoint) = &self.stage else {
            return;
        };
        let at_the_greeting = self
            .vector
            .events
            .iter()
            .all(|event| event.label == "greeting");
        if at_the_greeting || self.vector.mechanism == "CURVE" {
            assert!(endpoint.asked.is_empty());
        }
    }
}

/// Compares the question to the handler with the recorded request: version, id, domain, address,
/// mechanism, credentials. The identity frame is free.
fn check_question(side: &Side, asked: &[AccessRequest]) {
    const IDENTITY: usize = 4;
    if side.zap_request.is_empty() {
        assert!(asked.is_empty(), "policy must not be asked");
        return;
    }
    let [request] = asked else {
        panic!("asked {} times", asked.len());
    };
    let id = RequestId::new(side.zap_request[1].clone());
    let mut ours = ZapRequest::new(id, request).to_frames();
    ours[IDENTITY] = side.zap_request[IDENTITY].clone().into();
    assert_eq!(ours, side.zap_request);
    ZapRequest::from_frames(ours)
        .unwrap()
        .credentials()
        .unwrap();
}

/// Reads all complete frames. Commands must parse and be encoded to the same bytes again.
fn read(
    reader: &mut FrameReader,
    input: &mut BytesMut,
    frames: &mut Vec<(Flags, Vec<u8>)>,
) -> Result<(), Error> {
    while let Some(frame) = reader.read(input)? {
        if frame.flags == Flags::Command {
            let command = TrafficCommand::parse(&frame.body)?;
            if let Some(encoded) = command.encode() {
                assert_eq!(encoded, frame.body);
            }
        }
        frames.push((frame.flags, frame.body.to_vec()));
    }
    Ok(())
}
