//! Turns messages and commands into bytes for the peer. No I/O.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::traffic::frames::FrameWriter;
use crate::traffic::message::FramesLeft;
use crate::traffic::seal::TOGETHER;
use crate::wire::command::TrafficCommand;
use crate::wire::frame::{Flags, FrameHeader};
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::IoSlice;

/// Encoding stops when this many bytes wait to be written. One system call for 64 KiB costs little,
/// and more would only take memory.
const ENOUGH: usize = 64 * 1024;

/// The same behind a large body, 256 KiB: each write of one or two large bodies would wake a peer that
/// has read the last one and sleeps, which costs more than the write.
const ENOUGH_LARGE: usize = 256 * 1024;

/// A body of at least this many bytes is large. With smaller ones a peer is busy all the time.
const LARGE_FROM: usize = 16 * 1024;

/// Bodies that one write sends without a copy: 7, so that a call takes at most [`PARTS`] parts.
const UNCOPIED: usize = 7;

/// The most parts of one write: each body that is not copied with what comes before it, and the rest.
pub(crate) const PARTS: usize = 2 * UNCOPIED + 2;

/// A body of at least this many bytes that needs no sealing is written without a copy. Copying fewer
/// bytes is cheaper than one more part in a system call.
const UNCOPIED_FROM: usize = 4096;

/// Encodes frames just before they are written, so that a large message is never in memory twice.
#[derive(Debug)]
pub(crate) struct Outbox {
    writer: FrameWriter,
    zmtp_3_0: bool,
    /// Frames of the current message that are not encoded yet.
    frames: FramesLeft,
    /// Messages of one frame that are not encoded yet. They come before `frames`.
    singles: Vec<Bytes>,
    /// Number of bytes in all of `singles`.
    singles_len: usize,
    /// Encoded bytes, of which a part may be written already.
    sending: BytesMut,
    /// Bytes that were encoded later. They have a buffer of their own, so that the rest of `sending`
    /// is never moved.
    encoded: BytesMut,
    /// Bodies that are written without a copy, in between.
    uncopied: VecDeque<Uncopied>,
    /// How many bytes to encode before the next write.
    enough: usize,
}

#[derive(Debug)]
struct Uncopied {
    /// Bytes of `encoded` between the last such body and this one.
    before: usize,
    body: Bytes,
}

impl Outbox {
    pub(crate) fn new(writer: FrameWriter, zmtp_3_0: bool) -> Self {
        Self {
            writer,
            zmtp_3_0,
            frames: FramesLeft::default(),
            singles: Vec::new(),
            singles_len: 0,
            sending: BytesMut::new(),
            encoded: BytesMut::new(),
            uncopied: VecDeque::new(),
            enough: ENOUGH,
        }
    }

    /// Whether everything is written.
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_bytes() && self.singles.is_empty() && self.is_between_messages()
    }

    /// Whether a message or a command may begin. RFC 37, "Formal Grammar": a command stands between
    /// two messages, not within one.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether more may be encoded before the next write.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting() < self.enough && self.uncopied.len() < UNCOPIED
    }

    /// Bytes that are encoded before the next write, as far as they count.
    fn waiting(&self) -> usize {
        let uncopied = self.uncopied.iter().map(|it| it.body.len());
        self.encoded.len() + self.singles_len + uncopied.sum::<usize>()
    }

    /// Notes the length of a body, which decides how much one write sends.
    fn note(&mut self, len: usize) {
        self.enough = if len < LARGE_FROM {
            ENOUGH
        } else {
            ENOUGH_LARGE
        };
    }

    /// Encodes a command. Between messages only.
    pub(crate) fn command(&mut self, command: &TrafficCommand) -> Result<(), Error> {
        match command.encode() {
            Some(body) => self.write(Flags::Command, &body),
            None => Ok(()),
        }
    }

    /// Begins a message. [`Outbox::encode_frame`] encodes its frames. Between messages only.
    pub(crate) fn begin(&mut self, frames: FramesLeft) {
        self.frames = frames;
    }

    /// Encodes a subscription or a command. Between messages only.
    pub(crate) fn control(&mut self, flags: Flags, body: &[u8]) -> Result<(), Error> {
        self.write(flags, body)
    }

    /// Whether the peer speaks ZMTP 3.0.
    pub(crate) const fn is_zmtp_3_0(&self) -> bool {
        self.zmtp_3_0
    }

    /// Encodes the next frame of the current message.
    pub(crate) fn encode_frame(&mut self) -> Result<(), Error> {
        let Some(body) = self.frames.next() else {
            return Ok(());
        };
        let flags = if self.is_between_messages() {
            Flags::Last
        } else {
            Flags::More
        };
        if self.goes_uncopied(&body) {
            self.uncopied(flags, body)
        } else {
            self.write(flags, &body)
        }
    }

    /// Takes a message of one frame, which waits to be encoded with others in one batch.
    /// [`Outbox::encode_singles`] encodes what waits. Between messages only.
    pub(crate) fn single(&mut self, body: Bytes) -> Result<(), Error> {
        if self.goes_uncopied(&body) {
            return self.uncopied(Flags::Last, body);
        }
        self.note(body.len());
        self.singles_len += body.len();
        self.singles.push(body);
        if self.singles.len() == TOGETHER {
            self.encode_singles()?;
        }
        Ok(())
    }

    fn goes_uncopied(&self, body: &Bytes) -> bool {
        body.len() >= self.uncopied_from()
    }

    /// Length from which bodies are written without a copy.
    pub(crate) const fn uncopied_from(&self) -> usize {
        if self.writer.is_transparent() {
            UNCOPIED_FROM
        } else {
            usize::MAX
        }
    }

    /// How many more bytes to encode before the next write. The last message may exceed that.
    pub(crate) fn room(&self) -> usize {
        if self.has_room() {
            self.enough.saturating_sub(self.waiting())
        } else {
            0
        }
    }

    /// Encodes messages of one frame at once, from where they lie. Between messages only.
    pub(crate) fn encode_now(&mut self, bodies: &[(Flags, &[u8])]) -> Result<(), Error> {
        self.encode_singles()?;
        self.note(bodies.last().map_or(0, |(_, body)| body.len()));
        self.writer.write_many(bodies, &mut self.encoded)
    }

    /// Makes room at once for what is to be encoded before the next write: bodies of `len` bytes
    /// together, in `count` frames.
    #[cfg(feature = "tokio")]
    pub(crate) fn expect(&mut self, len: usize, count: usize) {
        let sealed = len.saturating_add(count.saturating_mul(self.writer.overhead()));
        self.encoded.reserve(sealed.min(self.room()));
    }

    fn uncopied(&mut self, flags: Flags, body: Bytes) -> Result<(), Error> {
        self.encode_singles()?;
        FrameHeader::encode(flags, body.len(), &mut self.encoded);
        self.note(body.len());
        let earlier = self.uncopied.iter().map(|it| it.before);
        let before = self.encoded.len() - earlier.sum::<usize>();
        self.uncopied.push_back(Uncopied { before, body });
        Ok(())
    }

    fn write(&mut self, flags: Flags, body: &[u8]) -> Result<(), Error> {
        self.encode_singles()?;
        self.note(body.len());
        self.writer.write(flags, body, &mut self.encoded)
    }

    /// Encodes the messages of one frame that wait.
    pub(crate) fn encode_singles(&mut self) -> Result<(), Error> {
        if self.singles.is_empty() {
            return Ok(());
        }
        let mut frames = [(Flags::Last, &[][..]); TOGETHER];
        for (frame, body) in frames.iter_mut().zip(&self.singles) {
            frame.1 = body;
        }
        let frames = &frames[..self.singles.len()];
        self.writer.write_many(frames, &mut self.encoded)?;
        self.singles.clear();
        self.singles_len = 0;
        Ok(())
    }

    /// Frees all memory if there is nothing to write.
    pub(crate) fn release(&mut self) {
        if self.is_empty() {
            self.discard();
        }
    }

    /// Drops everything that waits to be written.
    pub(crate) fn discard(&mut self) {
        self.frames = FramesLeft::default();
        self.singles = Vec::new();
        self.singles_len = 0;
        self.sending = BytesMut::new();
        self.encoded = BytesMut::new();
        self.uncopied = VecDeque::new();
    }

    /// The bytes to write, in order. The last parts may be empty.
    pub(crate) fn parts(&self) -> [IoSlice<'_>; PARTS] {
        let mut parts = [IoSlice::new(&[]); PARTS];
        let mut rest = &self.encoded[..];
        let between = self.uncopied.iter().flat_map(|Uncopied { before, body }| {
            let (encoded, after) = rest.split_at(*before);
            rest = after;
            [encoded, body]
        });
        let mut count = 0;
        for (part, bytes) in parts
            .iter_mut()
            .zip([&self.sending[..]].into_iter().chain(between))
        {
            *part = IoSlice::new(bytes);
            count += 1;
        }
        if let Some(part) = parts.get_mut(count) {
            *part = IoSlice::new(rest);
        }
        parts
    }

    /// Whether there are bytes to write.
    pub(crate) fn has_bytes(&self) -> bool {
        !self.sending.is_empty() || !self.encoded.is_empty() || !self.uncopied.is_empty()
    }

    /// Removes `written` bytes at the front.
    pub(crate) fn advance(&mut self, written: usize) {
        let mut left = written - take_off(&mut self.sending, written);
        while let Some(first) = self.uncopied.front_mut() {
            let of_encoded = take_off(&mut self.encoded, left.min(first.before));
            first.before -= of_encoded;
            left -= of_encoded;
            let of_body = left.min(first.body.len());
            first.body.advance(of_body);
            left -= of_body;
            if !first.body.is_empty() {
                return;
            }
            self.uncopied.pop_front();
        }
        take_off(&mut self.encoded, left);
        if self.sending.is_empty() {
            std::mem::swap(&mut self.sending, &mut self.encoded);
        }
    }
}

/// Removes at most `max` bytes at the front, and returns how many.
fn take_off(buffer: &mut BytesMut, max: usize) -> usize {
    let taken = max.min(buffer.len());
    buffer.advance(taken);
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::message::Message;
    use crate::traffic::outgoing::Outgoing;
    use crate::traffic::seal;

    fn outbox(zmtp_3_0: bool) -> Outbox {
        Outbox::new(FrameWriter::new(seal::transparent().0), zmtp_3_0)
    }

    /// Writes everything, `step` bytes at a time.
    fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            while outbox.has_room() && !outbox.is_between_messages() {
                outbox.encode_frame().unwrap();
            }
            outbox.encode_singles().unwrap();
            if outbox.is_empty() {
                return bytes;
            }
            let all: Vec<u8> = outbox
                .parts()
                .iter()
                .flat_map(|part| part.to_vec())
                .collect();
            let now = step.min(all.len());
            bytes.extend_from_slice(&all[..now]);
            outbox.advance(now);
        }
    }

    #[test]
    fn large_bodies_keep_their_place_however_little_is_written_at_a_time() {
        let large = vec![7; UNCOPIED_FROM];
        for step in [1, 5, 100, usize::MAX] {
            let mut outbox = outbox(false);
            let (one, other) = (Bytes::from(large.clone()), Bytes::from(large.clone()));
            let frames = [Bytes::from("a"), one, other, "b".into()];
            outbox.begin(Message::from(frames).into_frames_left());
            let header = b"\x03\0\0\0\0\0\0\x10\0";
            let expected = [
                b"\x01\x01a",
                &header[..],
                &large,
                header,
                &large,
                b"\x00\x01b",
            ];
            assert_eq!(drain(&mut outbox, step), expected.concat());
        }
    }

    #[test]
    fn subscriptions_have_the_form_that_the_peers_version_knows() {
        for (zmtp_3_0, expected) in [
            (true, &b"\x00\x02\x01a\x00\x02\x00a"[..]),
            (false, b"\x04\x0b\x09SUBSCRIBEa\x04\x08\x06CANCELa"),
        ] {
            let mut outbox = outbox(zmtp_3_0);
            Outgoing::Subscribe("a".into()).begin(&mut outbox).unwrap();
            Outgoing::Unsubscribe("a".into())
                .begin(&mut outbox)
                .unwrap();
            assert_eq!(drain(&mut outbox, 3), expected);
        }
    }

    /// How many messages of that size one write sends, and in how many parts.
    fn at_once(size: usize) -> (usize, usize) {
        let mut outbox = outbox(false);
        let mut count = 0;
        while outbox.has_room() {
            outbox.single(Bytes::from(vec![0; size])).unwrap();
            count += 1;
        }
        outbox.encode_singles().unwrap();
        let parts = outbox.parts();
        (count, parts.iter().filter(|part| !part.is_empty()).count())
    }

    #[test]
    fn one_write_sends_several_large_bodies() {
        assert_eq!(at_once(UNCOPIED_FROM), (UNCOPIED, 2 * UNCOPIED));
        assert_eq!(at_once(LARGE_FROM), (UNCOPIED, 2 * UNCOPIED));
        assert_eq!(at_once(64 * 1024), (4, 8));
        assert_eq!(at_once(1024 * 1024), (1, 2));
        assert_eq!(at_once(1000), (65, 1));
    }

    #[test]
    fn encoding_stops_when_enough_for_one_write_waits() {
        let mut outbox = outbox(false);
        let message = Message::from(vec![Bytes::from(vec![0; UNCOPIED_FROM - 1]); 1000]);
        outbox.begin(message.into_frames_left());
        while outbox.has_room() {
            outbox.encode_frame().unwrap();
        }
        assert!(outbox.encoded.len() < ENOUGH + UNCOPIED_FROM + 9);
        drain(&mut outbox, usize::MAX);
        outbox.release();
        assert_eq!(outbox.sending.capacity() + outbox.encoded.capacity(), 0);
    }
}
