//! Sealing and opening of bodies after the handshake. Bodies pass unchanged under NULL and PLAIN, and
//! are boxes under CURVE (RFC 26, MESSAGE).
#![forbid(unsafe_code)]

use crate::crypto::boxes::SharedKey;
use crate::crypto::nonce::{self, ReceiveCounter, SendCounter};
use crate::crypto::secretbox::batch::TrafficKey;
use crate::crypto::secretbox::job::Job;
use crate::error::{CryptoError, Error, LocalError};
use crate::wire::curve_message::{self, BOX_AT, NONCE_LEN};
use crate::wire::frame::Flags;
use bytes::{BufMut, Bytes, BytesMut};
use std::ops::DerefMut;

pub use crate::wire::curve_message::MESSAGE_OVERHEAD;

/// Boxes that are sealed or opened in one batch: 16 fill the lanes of the widest cipher (AVX-512).
pub(crate) const TOGETHER: usize = 16;

/// Seals what we send. Each connection has one. It shares only an immutable key with the [`Opener`],
/// so two tasks can own the two without a lock.
///
/// **What is sealed must be sent: all of it, once, and in the order in which it was sealed.** Under CURVE
/// each box has a nonce that is larger than the one before, and the peer closes the connection at the
/// first nonce that is not (RFC 26). So a host seals only what it is about to send, never a message that
/// it may still drop, put in front of another, or send on another connection.
#[derive(Debug)]
pub struct Sealer(SealerState);

#[derive(Debug)]
enum SealerState {
    Transparent,
    Curve {
        key: TrafficKey,
        counter: SendCounter,
    },
    Poisoned,
}

/// Opens what the peer sends.
#[derive(Debug)]
pub struct Opener(OpenerState);

#[derive(Debug)]
enum OpenerState {
    Transparent,
    Curve {
        key: TrafficKey,
        counter: ReceiveCounter,
    },
    Poisoned,
}

/// The pair for NULL and PLAIN.
pub(crate) const fn transparent() -> (Sealer, Opener) {
    (
        Sealer(SealerState::Transparent),
        Opener(OpenerState::Transparent),
    )
}

/// Which end of a CURVE connection we are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CurveEnd {
    Client,
    Server,
}

/// The pair for CURVE. Both nonce counters go on after the last ones of the handshake.
pub(crate) fn curve(
    end: CurveEnd,
    key: &SharedKey,
    last_sent: u64,
    last_received: u64,
) -> (Sealer, Opener) {
    let (ours, theirs) = match end {
        CurveEnd::Client => (nonce::CLIENT_MESSAGE, nonce::SERVER_MESSAGE),
        CurveEnd::Server => (nonce::SERVER_MESSAGE, nonce::CLIENT_MESSAGE),
    };
    let sealer = SealerState::Curve {
        key: key.traffic(ours).counting(),
        counter: SendCounter::after(last_sent),
    };
    let opener = OpenerState::Curve {
        key: key.traffic(theirs).counting(),
        counter: ReceiveCounter::after(last_received),
    };
    (Sealer(sealer), Opener(opener))
}

impl Sealer {
    /// Whether bodies pass unchanged, so that they can be written without a copy.
    #[must_use]
    pub const fn is_transparent(&self) -> bool {
        matches!(self.0, SealerState::Transparent)
    }

    /// How many bytes longer a sealed body is than its payload: 0, or [`MESSAGE_OVERHEAD`].
    #[must_use]
    pub const fn overhead(&self) -> usize {
        match self.0 {
            SealerState::Curve { .. } => MESSAGE_OVERHEAD,
            SealerState::Transparent | SealerState::Poisoned => 0,
        }
    }

    /// The flags of the frame around a sealed body.
    #[must_use]
    pub const fn outer_flags(&self, flags: Flags) -> Flags {
        match self.0 {
            SealerState::Curve { .. } => Flags::Last,
            SealerState::Transparent | SealerState::Poisoned => flags,
        }
    }

    /// Appends the sealed body to `out`, and returns the flags of the frame around it. Under CURVE the
    /// true flags are in the box, and the frame is always a last message frame. libzmq drops a
    /// MESSAGE that comes as a command.
    ///
    /// # Errors
    /// Returns [`LocalError::NonceExhausted`] after 2^64 - 2 messages, and [`LocalError::Poisoned`]
    /// after the first error. Nothing is appended then.
    pub fn seal_body(
        &mut self,
        flags: Flags,
        body: &[u8],
        out: &mut BytesMut,
    ) -> Result<Flags, Error> {
        match &mut self.0 {
            SealerState::Transparent => {
                out.put_slice(body);
                Ok(flags)
            }
            SealerState::Curve { key, counter } => {
                let counter = match counter.next() {
                    Ok(counter) => counter,
                    Err(exhausted) => {
                        self.0 = SealerState::Poisoned;
                        return Err(exhausted.into());
                    }
                };
                let nonce = counter.to_be_bytes();
                let box_at = curve_message::put_clear(flags, nonce, body, out);
                key.seal_next(nonce, &mut out[box_at..]);
                Ok(Flags::Last)
            }
            SealerState::Poisoned => Err(LocalError::Poisoned.into()),
        }
    }
}

impl Sealer {
    /// Appends several sealed bodies to `out`, one after the other. Each is
    /// [`overhead`](Self::overhead) bytes longer than its payload. The frames around them have the
    /// flags that [`outer_flags`](Self::outer_flags) returns. For small messages this is faster than
    /// one by one.
    ///
    /// # Errors
    /// Returns those of [`seal_body`](Self::seal_body) if there are not enough nonces for all of them.
    /// Nothing is appended then.
    pub fn seal_many(
        &mut self,
        bodies: &[(Flags, &[u8])],
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        self.seal_each(bodies, out, |_, _, _| {})
    }

    /// As [`seal_many`](Self::seal_many). Before each body, `before` is called with the flags of the
    /// frame and the length of the sealed body, and may write a header.
    pub(crate) fn seal_each(
        &mut self,
        bodies: &[(Flags, &[u8])],
        out: &mut BytesMut,
        before: impl Fn(Flags, usize, &mut BytesMut),
    ) -> Result<(), Error> {
        let start = out.len();
        let sealed = match &mut self.0 {
            SealerState::Curve { key, counter } => bodies
                .chunks(TOGETHER)
                .try_for_each(|bodies| seal_together(key, counter, bodies, out, &before))
                .map_err(Error::from),
            SealerState::Transparent | SealerState::Poisoned => {
                bodies.iter().try_for_each(|(flags, body)| {
                    before(*flags, body.len(), out);
                    self.seal_body(*flags, body, out).map(|_| ())
                })
            }
        };
        if sealed.is_err() {
            out.truncate(start);
            self.0 = SealerState::Poisoned;
        }
        sealed
    }
}

/// Seals at most [`TOGETHER`] bodies.
fn seal_together(
    key: &mut TrafficKey,
    counter: &mut SendCounter,
    bodies: &[(Flags, &[u8])],
    out: &mut BytesMut,
    before: impl Fn(Flags, usize, &mut BytesMut),
) -> Result<(), LocalError> {
    let start = out.len();
    let mut places = [([0; NONCE_LEN], 0, 0); TOGETHER];
    for ((flags, body), place) in bodies.iter().zip(&mut places) {
        let nonce = counter.next()?.to_be_bytes();
        before(Flags::Last, body.len() + MESSAGE_OVERHEAD, out);
        let box_at = curve_message::put_clear(*flags, nonce, body, out);
        *place = (nonce, box_at, out.len());
    }
    let mut boxes = [(); TOGETHER].map(|()| Job::empty());
    let (mut rest, mut at) = (&mut out[start..], start);
    for (job, (nonce, box_at, end)) in boxes.iter_mut().zip(places).take(bodies.len()) {
        let (before_end, after) = std::mem::take(&mut rest).split_at_mut(end - at);
        *job = Job {
            nonce,
            boxed: &mut before_end[box_at - at..],
        };
        (rest, at) = (after, end);
    }
    key.seal_many(&mut boxes[..bodies.len()]);
    Ok(())
}

impl Opener {
    /// Whether bodies pass unchanged.
    #[must_use]
    pub const fn is_transparent(&self) -> bool {
        matches!(self.0, OpenerState::Transparent)
    }

    /// By how many bytes a frame's body may at most exceed its payload.
    #[must_use]
    pub const fn overhead(&self) -> usize {
        match self.0 {
            OpenerState::Curve { .. } => MESSAGE_OVERHEAD,
            OpenerState::Transparent | OpenerState::Poisoned => 0,
        }
    }

    /// Opens the body of one frame in place, without a copy, and returns its true flags and its
    /// payload.
    ///
    /// `outer` are the flags of the frame as received. Under CURVE they are ignored, as libzmq ignores
    /// them: anyone on the way can change them, and some implementations set MORE and COMMAND there
    /// too. Only the sealed flags count, and a frame that is not sealed is refused.
    ///
    /// # Errors
    /// Returns [`ProtocolError`](crate::ProtocolError) if the body is malformed, [`CryptoError`] if it
    /// is forged or replayed, and [`LocalError::Poisoned`] after the first error. Close the
    /// connection then.
    pub fn open_body(&mut self, outer: Flags, body: BytesMut) -> Result<(Flags, Bytes), Error> {
        let opened = match &mut self.0 {
            OpenerState::Transparent => return Ok((outer, body.freeze())),
            OpenerState::Curve { key, counter } => open_message(key, counter, body),
            OpenerState::Poisoned => return Err(LocalError::Poisoned.into()),
        };
        if opened.is_err() {
            self.0 = OpenerState::Poisoned;
        }
        opened
    }
}

impl Opener {
    /// Opens the bodies of several frames in order, as [`open_body`](Self::open_body) does, and
    /// appends flags and payloads to `opened`. For small messages this is faster than one by one.
    ///
    /// # Errors
    /// Returns those of [`open_body`](Self::open_body). `opened` has the bodies before the faulty one
    /// then.
    pub fn open_many(
        &mut self,
        bodies: impl IntoIterator<Item = (Flags, BytesMut)>,
        opened: &mut Vec<(Flags, Bytes)>,
    ) -> Result<(), Error> {
        self.open_each(bodies, |flags, body| opened.push((flags, body)))
    }

    /// As [`open_many`](Self::open_many), but calls `each` with flags and payload.
    pub(crate) fn open_each(
        &mut self,
        bodies: impl IntoIterator<Item = (Flags, BytesMut)>,
        mut each: impl FnMut(Flags, Bytes),
    ) -> Result<(), Error> {
        let mut bodies = bodies.into_iter();
        if !matches!(self.0, OpenerState::Curve { .. }) {
            return bodies.try_for_each(|(outer, body)| {
                let (flags, body) = self.open_body(outer, body)?;
                each(flags, body);
                Ok(())
            });
        }
        let mut bodies = bodies.map(|(_, body)| body);
        loop {
            let opened = self.open_batch(bodies.by_ref(), |flags, body| {
                each(flags, curve_message::payload(body));
            });
            if opened? < TOGETHER {
                return Ok(());
            }
        }
    }

    /// Opens at most [`TOGETHER`] sealed bodies in order, where they lie, and returns how many. `each` is
    /// called with the flags and the body, whose payload is behind [`MESSAGE_OVERHEAD`] bytes.
    ///
    /// # Errors
    /// Returns those of [`open_body`](Self::open_body). The bodies before the faulty one are given to
    /// `each` first. Returns [`LocalError::Poisoned`] if nothing is sealed.
    pub(crate) fn open_batch<B: DerefMut<Target = [u8]>>(
        &mut self,
        bodies: impl Iterator<Item = B>,
        each: impl FnMut(Flags, B),
    ) -> Result<usize, Error> {
        let OpenerState::Curve { key, counter } = &mut self.0 else {
            return Err(LocalError::Poisoned.into());
        };
        let opened = open_together(key, counter, bodies, each);
        if opened.is_err() {
            self.0 = OpenerState::Poisoned;
        }
        opened
    }
}

/// Opens at most [`TOGETHER`] bodies, and returns how many. The bodies before a faulty one are opened
/// and given to `each` before the error is returned.
fn open_together<B: DerefMut<Target = [u8]>>(
    key: &mut TrafficKey,
    counter: &mut ReceiveCounter,
    bodies: impl Iterator<Item = B>,
    mut each: impl FnMut(Flags, B),
) -> Result<usize, Error> {
    let mut bodies = bodies.fuse();
    let mut waiting: [Option<B>; TOGETHER] = std::array::from_fn(|_| bodies.next());
    // The counter moves only when a box has opened. This copy is the counter as it would be if all
    // boxes before the current one opened.
    let mut expected = counter.clone();
    let mut boxes = [(); TOGETHER].map(|()| Job::empty());
    let mut ready = 0;
    let mut checked = Ok(());
    for (job, body) in boxes.iter_mut().zip(waiting.iter_mut().flatten()) {
        match check_message(&expected, body) {
            Ok(nonce) => {
                expected.commit(u64::from_be_bytes(nonce));
                let boxed = &mut body[BOX_AT..];
                *job = Job { nonce, boxed };
                ready += 1;
            }
            Err(error) => {
                checked = Err(error);
                break;
            }
        }
    }
    let good = key.open_many(&mut boxes[..ready]);
    if let Some(last) = boxes[..good].last() {
        counter.commit(u64::from_be_bytes(last.nonce));
    }
    for body in waiting[..good].iter_mut().filter_map(Option::take) {
        each(curve_message::opened_flags(&body)?, body);
    }
    if good < ready {
        return Err(CryptoError::BoxNotOpened("MESSAGE").into());
    }
    checked.map(|()| ready)
}

fn open_message(
    key: &mut TrafficKey,
    counter: &mut ReceiveCounter,
    mut body: BytesMut,
) -> Result<(Flags, Bytes), Error> {
    let nonce = check_message(counter, &body)?;
    if !key.open_next(nonce, &mut body[BOX_AT..]) {
        return Err(CryptoError::BoxNotOpened("MESSAGE").into());
    }
    counter.commit(u64::from_be_bytes(nonce));
    let flags = curve_message::opened_flags(&body)?;
    Ok((flags, curve_message::payload(body)))
}

/// Checks what can be checked of a MESSAGE before its box is opened, and returns its nonce.
#[inline]
fn check_message(counter: &ReceiveCounter, body: &[u8]) -> Result<[u8; NONCE_LEN], Error> {
    let nonce = curve_message::parse(body)?;
    counter.check(u64::from_be_bytes(nonce))?;
    Ok(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keys::KeyPair;
    use crate::error::{Malformation, ProtocolError};

    fn ends() -> ((Sealer, Opener), (Sealer, Opener)) {
        let (client, server) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let ours = SharedKey::agree(client.secret_key(), &server.public_key()).unwrap();
        let theirs = SharedKey::agree(server.secret_key(), &client.public_key()).unwrap();
        (
            curve(CurveEnd::Client, &ours, 2, 1),
            curve(CurveEnd::Server, &theirs, 1, 2),
        )
    }

    fn sealed(sealer: &mut Sealer, flags: Flags, body: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        assert_eq!(
            sealer.seal_body(flags, body, &mut out).unwrap(),
            Flags::Last
        );
        assert_eq!(out.len(), body.len() + sealer.overhead());
        out
    }

    #[test]
    fn flags_and_payload_arrive_in_both_directions() {
        let ((mut client, mut from_server), (mut server, mut from_client)) = ends();
        for flags in [Flags::More, Flags::Last, Flags::Command] {
            let body = sealed(&mut client, flags, b"to the server");
            let (opened, payload) = from_client.open_body(Flags::Last, body).unwrap();
            assert_eq!((opened, &payload[..]), (flags, &b"to the server"[..]));
            let body = sealed(&mut server, flags, b"");
            let (opened, payload) = from_server.open_body(Flags::Last, body).unwrap();
            assert_eq!((opened, &payload[..]), (flags, &b""[..]));
        }
    }

    #[test]
    fn messages_of_a_client_start_at_nonce_3() {
        let ((mut client, _), _) = ends();
        assert_eq!(
            sealed(&mut client, Flags::Last, b"")[8..16],
            3_u64.to_be_bytes()
        );
    }

    #[test]
    fn a_replay_is_refused_and_refuses_everything_after_it() {
        let ((mut client, _), (_, mut opener)) = ends();
        let first = sealed(&mut client, Flags::Last, b"once");
        let second = sealed(&mut client, Flags::Last, b"next");
        opener.open_body(Flags::Last, first.clone()).unwrap();
        let error = opener.open_body(Flags::Last, first).unwrap_err();
        assert_eq!(error, CryptoError::ReplayedNonce.into());
        let error = opener.open_body(Flags::Last, second).unwrap_err();
        assert_eq!(error, LocalError::Poisoned.into());
    }

    #[test]
    fn a_message_that_is_sent_back_to_its_sender_does_not_open() {
        let ((mut client, mut from_server), _) = ends();
        let body = sealed(&mut client, Flags::Last, b"reflected");
        let error = from_server.open_body(Flags::Last, body).unwrap_err();
        assert_eq!(error, CryptoError::BoxNotOpened("MESSAGE").into());
    }

    #[test]
    fn a_forged_counter_does_not_move_the_receiver() {
        let ((mut client, _), (_, opener)) = ends();
        let mut opener = opener;
        let mut forged = sealed(&mut client, Flags::Last, b"x");
        forged[8..16].copy_from_slice(&u64::MAX.to_be_bytes());
        let error = opener.open_body(Flags::Last, forged).unwrap_err();
        assert_eq!(error, CryptoError::PeerNonceExhausted.into());
    }

    const ALL_FLAGS: [Flags; 3] = [Flags::Last, Flags::More, Flags::Command];

    #[test]
    fn the_sealed_flags_decide_whatever_the_frame_says() {
        let ((mut client, _), (_, mut opener)) = ends();
        let mut seal_each = || {
            let mut all = Vec::new();
            for inner in ALL_FLAGS {
                for outer in ALL_FLAGS {
                    all.push((inner, outer, sealed(&mut client, inner, b"x")));
                }
            }
            all
        };
        for (inner, outer, body) in seal_each() {
            let opened = opener.open_body(outer, body).unwrap();
            assert_eq!(opened, (inner, Bytes::from("x")));
        }
        let batch = seal_each();
        let expected: Vec<_> = batch
            .iter()
            .map(|(inner, ..)| (*inner, Bytes::from("x")))
            .collect();
        let bodies = batch.into_iter().map(|(_, outer, body)| (outer, body));
        let mut opened = Vec::new();
        opener.open_many(bodies, &mut opened).unwrap();
        assert_eq!(opened, expected);
    }

    #[test]
    fn what_is_not_sealed_is_refused_whatever_the_frame_says() {
        for body in [&b"\x04PING\0\x0a"[..], b"\x09SUBSCRIBE", b"payload", b""] {
            for outer in ALL_FLAGS {
                let mut opened = Vec::new();
                let (_, (_, mut one)) = ends();
                let (_, (_, mut many)) = ends();
                let errors = [
                    one.open_body(outer, body.into()).unwrap_err(),
                    many.open_many([(outer, body.into())], &mut opened)
                        .unwrap_err(),
                ];
                assert!(opened.is_empty());
                for error in errors {
                    assert!(
                        matches!(
                            error,
                            Error::Protocol(ProtocolError::UnexpectedCommand {
                                expected: "MESSAGE",
                                ..
                            })
                        ),
                        "{error}"
                    );
                }
            }
        }
    }

    #[test]
    fn other_sealed_flags_are_refused() {
        for bits in (0..=255_u8).filter(|bits| *bits > 2) {
            let (client, server) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
            let key = SharedKey::agree(client.secret_key(), &server.public_key()).unwrap();
            let (_, mut opener) = curve(CurveEnd::Server, &key, 1, 2);
            let mut body = BytesMut::from(&b"\x07MESSAGE"[..]);
            body.put_u64(3);
            key.seal(
                &nonce::counted(nonce::CLIENT_MESSAGE, 3),
                &[&[bits]],
                &mut body,
            );
            let error = opener.open_body(Flags::Last, body).unwrap_err();
            assert_eq!(error, ProtocolError::SealedFlags { flags: bits }.into());
        }
    }

    #[test]
    fn every_short_body_and_every_flipped_bit_is_refused() {
        let mut sealer = ends().0.0;
        let body = sealed(&mut sealer, Flags::Last, b"hi");
        for len in 0..body.len() {
            let (_, (_, mut opener)) = ends();
            assert!(
                opener
                    .open_body(Flags::Last, BytesMut::from(&body[..len]))
                    .is_err(),
                "{len}"
            );
        }
        let (client, server) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let key = SharedKey::agree(client.secret_key(), &server.public_key()).unwrap();
        let (mut sealer, _) = curve(CurveEnd::Client, &key, 2, 1);
        let body = sealed(&mut sealer, Flags::Last, b"hi");
        for bit in 0..body.len() * 8 {
            let (_, mut opener) = curve(CurveEnd::Server, &key, 1, 2);
            let mut changed = body.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(opener.open_body(Flags::Last, changed).is_err(), "{bit}");
        }
    }

    #[test]
    fn many_are_sealed_and_opened_as_if_one_by_one() {
        let payloads: Vec<Vec<u8>> = (0..70_usize)
            .map(|at| vec![at as u8; (at * at) % 1500])
            .collect();
        let flags = [Flags::More, Flags::Last, Flags::Command];
        let bodies: Vec<(Flags, &[u8])> = payloads
            .iter()
            .zip(flags.into_iter().cycle())
            .map(|(body, flags)| (flags, &body[..]))
            .collect();
        for count in [0, 1, 2, 15, 16, 17, 40, 70] {
            let (client, server) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
            let key = SharedKey::agree(client.secret_key(), &server.public_key()).unwrap();
            let (mut one, _) = curve(CurveEnd::Client, &key, 2, 1);
            let (mut many, _) = curve(CurveEnd::Client, &key, 2, 1);
            let mut expected = Vec::new();
            for (flags, body) in &bodies[..count] {
                expected.push((Flags::Last, sealed(&mut one, *flags, body)));
            }
            let mut out = BytesMut::new();
            many.seal_many(&bodies[..count], &mut out).unwrap();
            let all: Vec<u8> = expected
                .iter()
                .flat_map(|(_, body)| body.to_vec())
                .collect();
            assert_eq!(out, all);
            assert_eq!(
                sealed(&mut one, Flags::Last, b"x"),
                sealed(&mut many, Flags::Last, b"x")
            );

            let (_, mut opener) = curve(CurveEnd::Server, &key, 1, 2);
            let mut opened = Vec::new();
            opener.open_many(expected.clone(), &mut opened).unwrap();
            assert!(
                opened
                    .iter()
                    .map(|(flags, body)| (*flags, &body[..]))
                    .eq(bodies[..count].iter().copied())
            );
        }
    }

    #[test]
    fn bodies_before_the_first_faulty_one_are_opened() {
        let (client, server) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let key = SharedKey::agree(client.secret_key(), &server.public_key()).unwrap();
        let (mut sealer, _) = curve(CurveEnd::Client, &key, 2, 1);
        let good: Vec<_> = (0..20)
            .map(|_| (Flags::Last, sealed(&mut sealer, Flags::Last, b"payload")))
            .collect();
        type Damage = fn(&mut Vec<(Flags, BytesMut)>, usize);
        let damages: [(Damage, Error); 3] = [
            (
                |all, at| all[at].1[30] ^= 1,
                CryptoError::BoxNotOpened("MESSAGE").into(),
            ),
            (
                |all, at| all[at] = all[at - 1].clone(),
                CryptoError::ReplayedNonce.into(),
            ),
            (
                |all, at| all[at].1.truncate(20),
                ProtocolError::Malformed {
                    what: "MESSAGE",
                    at: 20,
                    problem: Malformation::Truncated,
                }
                .into(),
            ),
        ];
        for (damage, expected) in damages {
            for at in [1, 7, 15, 16, 19] {
                let (_, mut opener) = curve(CurveEnd::Server, &key, 1, 2);
                let mut bodies = good.clone();
                damage(&mut bodies, at);
                let mut opened = Vec::new();
                assert_eq!(opener.open_many(bodies, &mut opened), Err(expected.clone()));
                assert_eq!(opened.len(), at);
                let next = sealed(&mut sealer, Flags::Last, b"next");
                let poisoned = Err(LocalError::Poisoned.into());
                assert_eq!(opener.open_body(Flags::Last, next), poisoned);
            }
        }
    }

    #[test]
    fn a_batch_that_exhausts_the_nonces_appends_nothing_and_poisons_the_sealer() {
        let (client, server) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let key = SharedKey::agree(client.secret_key(), &server.public_key()).unwrap();
        let (mut sealer, _) = curve(CurveEnd::Client, &key, u64::MAX - 20, 0);
        let mut out = BytesMut::from(&b"before"[..]);
        let bodies = [(Flags::Last, &b"x"[..]); 20];
        let exhausted = Err(LocalError::NonceExhausted.into());
        assert_eq!(sealer.seal_many(&bodies, &mut out), exhausted);
        assert_eq!(out, "before");
        let poisoned = Err(LocalError::Poisoned.into());
        assert_eq!(sealer.seal_body(Flags::Last, b"x", &mut out), poisoned);
        assert_eq!(
            sealer.seal_many(&bodies, &mut out),
            Err(LocalError::Poisoned.into())
        );
        assert_eq!(out, "before");
    }

    #[test]
    fn exhausted_nonces_poison_the_sealer() {
        let (client, server) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let key = SharedKey::agree(client.secret_key(), &server.public_key()).unwrap();
        let (mut sealer, _) = curve(CurveEnd::Client, &key, u64::MAX - 2, 0);
        let mut out = BytesMut::new();
        sealer.seal_body(Flags::Last, b"last", &mut out).unwrap();
        out.clear();
        assert_eq!(
            sealer.seal_body(Flags::Last, b"x", &mut out),
            Err(LocalError::NonceExhausted.into())
        );
        assert_eq!(
            sealer.seal_body(Flags::Last, b"x", &mut out),
            Err(LocalError::Poisoned.into())
        );
        assert!(out.is_empty());
    }
}
