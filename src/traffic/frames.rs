//! The frames of traffic on a byte stream. Their bodies are sealed, and their lengths are checked as
//! soon as the header has arrived.
#![forbid(unsafe_code)]

use crate::error::{Error, LimitExceeded, LocalError};
use crate::limits::Limits;
use crate::traffic::seal::{Opener, Sealer, TOGETHER};
use crate::wire::command::MAX_PING_CONTEXT;
use crate::wire::frame::{Flags, FrameHeader, MAX_HEADER_LEN};
use bytes::{Buf, Bytes, BytesMut};

pub(crate) mod straight;

/// Longest sealed body, in bytes, that is opened in one batch with others. Longer ones fill the lanes
/// of the cipher alone.
const SMALL: usize = 2048;

/// Longest PING. A PING of this length passes however little of [`Limits::max_message`] is left.
const MAX_PING: usize = b"\x04PING".len() + 2 + MAX_PING_CONTEXT;

/// One frame of a message, or a command, after opening.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a frame is flags and a body")]
pub struct Frame {
    /// The flags. Under CURVE these are the sealed ones.
    pub flags: Flags,
    /// The payload of a message frame, or the body of a command.
    pub body: Bytes,
}

/// Seals and frames what we send.
#[derive(Debug)]
pub struct FrameWriter(Sealer);

impl FrameWriter {
    /// Makes frames around what `sealer` seals.
    #[must_use]
    pub const fn new(sealer: Sealer) -> Self {
        Self(sealer)
    }

    /// Whether bodies pass unchanged. The frame is then the output of [`FrameHeader::encode`]
    /// followed by the body itself, which need not be copied.
    #[must_use]
    pub const fn is_transparent(&self) -> bool {
        self.0.is_transparent()
    }

    /// By how many bytes a frame with a short header is longer than its body.
    #[cfg(feature = "tokio")]
    pub(crate) const fn overhead(&self) -> usize {
        2 + self.0.overhead()
    }

    /// Appends one frame to `out`.
    ///
    /// # Errors
    /// Returns those of [`Sealer::seal_body`]. `out` is unchanged then.
    pub fn write(&mut self, flags: Flags, body: &[u8], out: &mut BytesMut) -> Result<(), Error> {
        let start = out.len();
        let len = body.len() + self.0.overhead();
        out.reserve(FrameHeader::encoded_len(len) + len);
        FrameHeader::encode(self.0.outer_flags(flags), len, out);
        match self.0.seal_body(flags, body, out) {
            Ok(_) => Ok(()),
            Err(error) => {
                out.truncate(start);
                Err(error)
            }
        }
    }
}

impl FrameWriter {
    /// Appends several frames to `out`. For small frames this is faster than one by one.
    ///
    /// # Errors
    /// Returns those of [`Sealer::seal_many`]. `out` is unchanged then.
    pub fn write_many(
        &mut self,
        frames: &[(Flags, &[u8])],
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        self.0.seal_each(frames, out, FrameHeader::encode)
    }
}

/// Reads frames and opens their bodies.
#[derive(Debug)]
pub struct FrameReader {
    opener: Opener,
    max_message: usize,
    max_frames: usize,
    message: Unfinished,
    /// Set by the first error. What follows it on the stream has no meaning.
    broken: bool,
}

/// The sealed frames that are opened together.
///
/// The flags of a sealed frame are unknown until it is open. So the batch ends before a frame that a
/// limit could refuse: the check assumes the worst case, that all frames belong to one message which
/// goes on. It also ends before a frame that is incomplete or malformed.
struct Batch {
    worst: Unfinished,
    max_message: usize,
    max_frames: usize,
    overhead: usize,
}

impl Batch {
    /// The flags, the length of the header and that of the body of the next frame, which `input`
    /// begins with. `None` if the batch ends before it.
    fn next(&mut self, input: &[u8]) -> Option<(Flags, usize, usize)> {
        let (header, header_len) = FrameHeader::parse(input).ok()??;
        let len = usize::try_from(header.size).ok()?;
        let payload = len.saturating_sub(self.overhead);
        self.worst.add(Flags::More, payload);
        let is_within = self.worst.len <= self.max_message && self.worst.frames < self.max_frames;
        (is_within && input.len() - header_len >= len).then_some((header.flags, header_len, len))
    }
}

/// Payload bytes and frames of a message whose last frame has not arrived.
#[derive(Debug, Clone, Copy)]
struct Unfinished {
    len: usize,
    frames: usize,
}

impl Unfinished {
    fn add(&mut self, flags: Flags, len: usize) {
        match flags {
            Flags::Command => {}
            Flags::More => {
                self.len = self.len.saturating_add(len);
                self.frames = self.frames.saturating_add(1);
            }
            Flags::Last => *self = Self { len: 0, frames: 0 },
        }
    }
}

impl FrameReader {
    /// Reads frames whose bodies `opener` opens, within [`Limits::max_message`] and
    /// [`Limits::max_frames`].
    #[must_use]
    pub const fn new(opener: Opener, limits: &Limits) -> Self {
        Self {
            opener,
            max_message: limits.max_message,
            max_frames: limits.max_frames,
            message: Unfinished { len: 0, frames: 0 },
            broken: false,
        }
    }

    /// Takes the next frame off the front of `input`. Returns `None` if it is not complete. Bodies
    /// share the memory of `input`. Commands may come between the frames of a message.
    ///
    /// The limits are for payloads, without what CURVE adds to them, and for all frames of a message
    /// together. A command may be as long as what is left for the current message, or as the longest
    /// PING. It does not count for the message.
    ///
    /// # Errors
    /// Returns [`LimitExceeded`] as soon as a header announces too much, those of
    /// [`Opener::open_body`], and [`LocalError::Poisoned`] after the first error. Close the
    /// connection then.
    pub fn read(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, Error> {
        if self.broken {
            return Err(LocalError::Poisoned.into());
        }
        let read = self.read_frame(input);
        self.broken = read.is_err();
        read
    }

    /// Takes up to `max` complete frames off the front of `input` and appends them to `frames`. For
    /// small frames this is faster than one by one. It appends nothing if no frame is complete.
    ///
    /// # Errors
    /// Returns those of [`FrameReader::read`]. The frames before the faulty one are in `frames` then.
    pub fn read_many(
        &mut self,
        input: &mut BytesMut,
        max: usize,
        frames: &mut impl Extend<Frame>,
    ) -> Result<(), Error> {
        self.read_each(input, max, |frame| frames.extend(Some(frame)))
    }

    /// As [`FrameReader::read_many`], but gives each frame to `take`.
    pub(crate) fn read_each(
        &mut self,
        input: &mut BytesMut,
        max: usize,
        mut take: impl FnMut(Frame),
    ) -> Result<(), Error> {
        let mut left = max;
        while left > 0 {
            let before = left;
            self.read_small(input, before, |frame| {
                left -= 1;
                take(frame);
            })?;
            if left == before {
                match self.read(input)? {
                    Some(frame) => take(frame),
                    None => break,
                }
                left -= 1;
            }
        }
        Ok(())
    }

    /// Takes up to `max` small frames in one batch, at most [`TOGETHER`]. They are opened where they lie
    /// and then taken off `input` together, which costs less than one by one.
    ///
    /// The batch ends before a frame that [`Batch`] does not take or that is large. That frame is left to
    /// [`FrameReader::read`].
    fn read_small(
        &mut self,
        input: &mut BytesMut,
        max: usize,
        mut take: impl FnMut(Frame),
    ) -> Result<(), Error> {
        if self.broken {
            return Ok(());
        }
        let mut batch = self.batch();
        let mut places = [(Flags::Last, 0, 0); TOGETHER];
        let (mut rest, mut at, mut found) = (&mut input[..], 0, 0);
        let bodies = std::iter::from_fn(|| {
            let place = places.get_mut(found).filter(|_| found < max)?;
            let (flags, header_len, len) = batch.next(rest)?;
            if len > SMALL {
                return None;
            }
            let (frame, behind) = std::mem::take(&mut rest).split_at_mut(header_len + len);
            rest = behind;
            *place = (flags, at + header_len, at + header_len + len);
            at += header_len + len;
            found += 1;
            Some(&mut frame[header_len..])
        });
        let mut flags = [Flags::Last; TOGETHER];
        let mut good = 0;
        // After a faulty box the opener knows them no longer.
        let (is_clear, overhead) = (self.opener.is_transparent(), self.opener.overhead());
        let opened = if is_clear {
            good = bodies.count();
            Ok(good)
        } else {
            self.opener.open_batch(bodies, |sealed, _| {
                flags[good] = sealed;
                good += 1;
            })
        };
        self.broken = opened.is_err();
        let Some((_, _, end)) = places[..good].last() else {
            return opened.map(|_| ());
        };
        let bytes = input.split_to(*end).freeze();
        for ((outer, start, end), sealed) in places[..good].iter().zip(flags) {
            let flags = if is_clear { *outer } else { sealed };
            let body = bytes.slice(start + overhead..*end);
            self.message.add(flags, body.len());
            take(Frame { flags, body });
        }
        opened.map(|_| ())
    }

    const fn batch(&self) -> Batch {
        Batch {
            worst: self.message,
            max_message: self.max_message,
            max_frames: self.max_frames,
            overhead: self.opener.overhead(),
        }
    }

    fn read_frame(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, Error> {
        let Some((len, header_len, header)) = self.header(input)? else {
            return Ok(None);
        };
        if input.len() - header_len < len {
            return Ok(None);
        }
        input.advance(header_len);
        let (flags, body) = self.opener.open_body(header.flags, input.split_to(len))?;
        // Under CURVE the true flags are known only now.
        if body.len() > self.room(flags) {
            return Err(self.too_long(body.len() as u64));
        }
        if !flags.is_command()
            && self.message.frames + usize::from(flags.is_more()) >= self.max_frames
        {
            return Err(LimitExceeded::Frames {
                limit: self.max_frames,
            }
            .into());
        }
        self.message.add(flags, body.len());
        Ok(Some(Frame { flags, body }))
    }

    /// Longest payload that a frame with these flags may have now.
    fn room(&self, flags: Flags) -> usize {
        let left = self.max_message.saturating_sub(self.message.len);
        match flags {
            Flags::Command => left.max(MAX_PING),
            Flags::More | Flags::Last => left,
        }
    }

    fn too_long(&self, size: u64) -> Error {
        LimitExceeded::Message {
            size: size.saturating_add(self.message.len as u64),
            limit: self.max_message,
        }
        .into()
    }

    /// Number of bytes to make room for before more is read into `input`.
    ///
    /// Whatever length the peer announces, `input` will not grow beyond
    /// [`Limits::MAX_INITIAL_RESERVE`] or twice its present length. The result is 0 if
    /// [`FrameReader::read`] would fail. A caller that still has room should fill it first. If it
    /// moved `input` to larger memory before each read, a peer that drips single bytes would make it
    /// copy the whole frame for each byte.
    #[must_use]
    pub fn wanted(&self, input: &BytesMut) -> usize {
        match self.header(input) {
            Ok(Some((len, header_len, _))) => {
                let max = input.len().saturating_mul(2);
                header_len
                    .saturating_add(len)
                    .min(max.max(Limits::MAX_INITIAL_RESERVE))
                    .saturating_sub(input.len())
            }
            Ok(None) => MAX_HEADER_LEN,
            // `read` fails, so nothing more is wanted.
            Err(_) => 0,
        }
    }

    /// The next frame's body length, header length and header.
    fn header(&self, input: &[u8]) -> Result<Option<(usize, usize, FrameHeader)>, Error> {
        let Some((header, header_len)) = FrameHeader::parse(input)? else {
            return Ok(None);
        };
        // The header of a sealed frame does not tell whether it is a command.
        let flags = if self.opener.is_transparent() {
            header.flags
        } else {
            Flags::Command
        };
        let max = self.room(flags).saturating_add(self.opener.overhead());
        match usize::try_from(header.size) {
            Ok(len) if len <= max => Ok(Some((len, header_len, header))),
            _ => Err(self.too_long(header.size)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ProtocolError;
    use crate::traffic::seal::{self, MESSAGE_OVERHEAD};

    fn limits(max_message: usize, max_frames: usize) -> Limits {
        Limits {
            max_message,
            max_frames,
            ..Limits::default()
        }
    }

    fn reader(max_message: usize, max_frames: usize) -> FrameReader {
        FrameReader::new(seal::transparent().1, &limits(max_message, max_frames))
    }

    fn written(frames: &[(Flags, &[u8])]) -> BytesMut {
        let mut writer = FrameWriter::new(seal::transparent().0);
        let mut out = BytesMut::new();
        for (flags, body) in frames {
            writer.write(*flags, body, &mut out).unwrap();
        }
        out
    }

    #[test]
    fn frames_come_out_as_they_went_in_wherever_the_stream_is_cut() {
        let long = [7; 300];
        let frames: [(Flags, &[u8]); 4] = [
            (Flags::More, b"a"),
            (Flags::Command, b"\x04PING\0\0"),
            (Flags::More, &long),
            (Flags::Last, b""),
        ];
        let bytes = written(&frames);
        for cut in 0..=bytes.len() {
            let mut reader = reader(1000, 10);
            let mut input = BytesMut::new();
            let mut got = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                input.extend_from_slice(part);
                while let Some(frame) = reader.read(&mut input).unwrap() {
                    got.push((frame.flags, frame.body));
                }
            }
            let expected: Vec<_> = frames
                .iter()
                .map(|(flags, body)| (*flags, Bytes::copy_from_slice(body)))
                .collect();
            assert_eq!(got, expected);
            assert!(input.is_empty());
        }
    }

    #[test]
    fn many_frames_are_read_as_if_one_by_one() {
        use crate::crypto::boxes::SharedKey;
        use crate::crypto::keys::KeyPair;
        let (client, server) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let key = SharedKey::agree(client.secret_key(), &server.public_key()).unwrap();
        let long = [7; 3000];
        let frames: Vec<(Flags, &[u8])> = (0..60)
            .map(|at| match at % 4 {
                0 => (Flags::More, &long[..at * 7]),
                1 => (Flags::Command, &long[..5]),
                2 => (Flags::More, &long[..at * 50]),
                _ => (Flags::Last, &long[..at]),
            })
            .collect();
        for is_curve in [false, true] {
            let (sealer, _) = halves(is_curve, &key);
            let mut bytes = BytesMut::new();
            FrameWriter::new(sealer)
                .write_many(&frames, &mut bytes)
                .unwrap();
            let (sealer, _) = halves(is_curve, &key);
            let mut one_by_one = BytesMut::new();
            let mut writer = FrameWriter::new(sealer);
            for (flags, body) in &frames {
                writer.write(*flags, body, &mut one_by_one).unwrap();
            }
            assert_eq!(bytes, one_by_one);
            for (cut, max) in [(0, 1), (1, 3), (500, 16), (5000, 100), (9999, usize::MAX)] {
                for bounds in [limits(10_000, 10), limits(4000, 10), limits(10_000, 3)] {
                    let mut single = FrameReader::new(halves(is_curve, &key).1, &bounds);
                    let mut expected = Vec::new();
                    let mut input = bytes.clone();
                    let expected_end = loop {
                        match single.read(&mut input) {
                            Ok(Some(frame)) => expected.push(frame),
                            Ok(None) => break Ok(()),
                            Err(error) => break Err(error),
                        }
                    };
                    let mut reader = FrameReader::new(halves(is_curve, &key).1, &bounds);
                    let mut got = Vec::new();
                    let mut input = BytesMut::new();
                    let mut end = Ok(());
                    for part in [&bytes[..cut], &bytes[cut..]] {
                        input.extend_from_slice(part);
                        loop {
                            let before = got.len();
                            end = end.and(reader.read_many(&mut input, max, &mut got));
                            assert!(got.len() - before <= max);
                            if got.len() == before || end.is_err() {
                                break;
                            }
                        }
                    }
                    assert_eq!((got, end), (expected, expected_end));
                }
            }
        }
    }

    fn halves(is_curve: bool, key: &crate::crypto::boxes::SharedKey) -> (Sealer, Opener) {
        if !is_curve {
            return seal::transparent();
        }
        let (sealer, _) = seal::curve(seal::CurveEnd::Client, key, 2, 1);
        let (_, opener) = seal::curve(seal::CurveEnd::Server, key, 1, 2);
        (sealer, opener)
    }

    /// Reads all of `bytes`. Returns the lengths of the frames, and the error if there was one.
    fn read_all(
        mut reader: FrameReader,
        bytes: &BytesMut,
        is_batch: bool,
    ) -> (Vec<usize>, Option<Error>) {
        let mut input = bytes.clone();
        let mut frames = Vec::new();
        let error = if is_batch {
            reader.read_many(&mut input, usize::MAX, &mut frames).err()
        } else {
            loop {
                match reader.read(&mut input) {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            }
        };
        (frames.iter().map(|frame| frame.body.len()).collect(), error)
    }

    /// Checks each of `messages` in every path of the code. `fits` tells whether frames of these
    /// lengths are within the limits.
    fn check_limits(bounds: &Limits, messages: &[Vec<usize>], fits: impl Fn(&[usize]) -> bool) {
        use crate::crypto::boxes::SharedKey;
        use crate::crypto::keys::{KeyPair, SecretKey};
        let client = SecretKey::from_bytes(&[7; 32]).unwrap();
        let server = KeyPair::from_secret(SecretKey::from_bytes(&[9; 32]).unwrap());
        let key = SharedKey::agree(&client, &server.public_key()).unwrap();
        let payload = [7; 4096];
        for message in messages {
            // A PING, the empty message, and then the message in question with PINGs between its
            // frames.
            let ping: (Flags, &[u8]) = (Flags::Command, &payload[..MAX_PING]);
            let mut frames = vec![ping, (Flags::Last, &[])];
            for (at, len) in message.iter().enumerate() {
                let is_last = at + 1 == message.len();
                frames.push((
                    if is_last { Flags::Last } else { Flags::More },
                    &payload[..*len],
                ));
                frames.push(ping);
            }
            let mut expected = vec![MAX_PING];
            let mut passes = fits(&[0]);
            if passes {
                expected.push(0);
            }
            for end in 1..=message.len() {
                passes = passes && fits(&message[..end]);
                if passes {
                    expected.extend([message[end - 1], MAX_PING]);
                }
            }
            for (is_curve, is_batch) in [(false, false), (false, true), (true, false), (true, true)]
            {
                let (sealer, opener) = halves(is_curve, &key);
                let mut bytes = BytesMut::new();
                FrameWriter::new(sealer)
                    .write_many(&frames, &mut bytes)
                    .unwrap();
                let (lens, error) = read_all(FrameReader::new(opener, bounds), &bytes, is_batch);
                let case = format!("{bounds:?} {message:?} {is_curve} {is_batch} {error:?}");
                assert_eq!(lens, expected, "{case}");
                assert_eq!(error.is_none(), passes, "{case}");
                assert!(matches!(error, None | Some(Error::Limit(_))), "{case}");
            }
        }
    }

    #[test]
    fn every_limit_of_a_message_is_kept_in_every_path() {
        let is_full = std::env::var_os("ZMTP_AUTH_FULL").is_some();
        for limit in (0..=2048_usize).filter(|limit| is_full || *limit <= 300 || limit % 13 == 0) {
            let near = [
                limit.saturating_sub(1),
                limit,
                limit + 1,
                limit + MESSAGE_OVERHEAD,
                limit + MESSAGE_OVERHEAD + 1,
                limit + SMALL,
            ];
            let messages: Vec<_> = near
                .into_iter()
                .flat_map(|len| {
                    [
                        vec![len],
                        vec![len / 2, len - len / 2],
                        vec![len, 0, 1],
                        vec![0, len.saturating_sub(1), 1],
                    ]
                })
                .collect();
            check_limits(&limits(limit, 100), &messages, |frames| {
                frames.iter().sum::<usize>() <= limit
            });
        }
    }

    #[test]
    fn every_limit_of_frames_is_kept_in_every_path() {
        for limit in 0..=40_usize {
            let near = limit.saturating_sub(1).max(1)..=limit + 2;
            let messages: Vec<_> = near.map(|frames| vec![1; frames]).collect();
            for message in &messages {
                let all = message.len();
                check_limits(
                    &limits(1000, limit),
                    std::slice::from_ref(message),
                    |frames| {
                        let follows = usize::from(frames != [0] && frames.len() < all);
                        frames.len() + follows <= limit
                    },
                );
            }
        }
    }

    #[test]
    fn limits_near_the_end_of_numbers_do_not_overflow() {
        let mut input = BytesMut::from(&[0x03, 0, 0, 0, 0, 0, 0, 0, 1, b'x', 0x02][..]);
        input.extend_from_slice(&u64::MAX.to_be_bytes());
        let mut reader = reader(usize::MAX, usize::MAX);
        assert!(reader.read(&mut input).unwrap().is_some());
        assert!(reader.wanted(&input) <= Limits::MAX_INITIAL_RESERVE);
        assert!(reader.read(&mut input).is_err());
    }

    #[test]
    fn a_length_is_refused_by_its_header_alone() {
        for size in [11, 1 << 31, (1 << 63) - 1, 1 << 63, u64::MAX - 37, u64::MAX] {
            let mut input = BytesMut::from(&[0x02][..]);
            input.extend_from_slice(&size.to_be_bytes());
            let error = reader(10, 10).read(&mut input).unwrap_err();
            assert_eq!(error, LimitExceeded::Message { size, limit: 10 }.into());
            assert!(reader(10, 10).wanted(&input) <= MAX_HEADER_LEN);
        }
    }

    #[test]
    fn all_frames_of_a_message_count_together_and_the_next_message_starts_at_zero() {
        let mut reader = reader(10, 10);
        let mut input = written(&[
            (Flags::More, &[0; 6]),
            (Flags::Last, &[0; 4]),
            (Flags::More, &[0; 6]),
            (Flags::Last, &[0; 5]),
        ]);
        for _ in 0..3 {
            assert!(reader.read(&mut input).unwrap().is_some());
        }
        let error = reader.read(&mut input).unwrap_err();
        assert_eq!(
            error,
            LimitExceeded::Message {
                size: 11,
                limit: 10
            }
            .into()
        );
    }

    #[test]
    fn empty_frames_are_bounded_too() {
        let mut reader = reader(10, 3);
        let mut input = written(&[(Flags::More, &b""[..]); 3]);
        assert!(reader.read(&mut input).unwrap().is_some());
        assert!(reader.read(&mut input).unwrap().is_some());
        assert_eq!(
            reader.read(&mut input),
            Err(LimitExceeded::Frames { limit: 3 }.into())
        );
    }

    #[test]
    fn a_long_frame_for_a_short_body_is_fine_after_the_handshake() {
        let mut input = BytesMut::from(&[0x02, 0, 0, 0, 0, 0, 0, 0, 1, b'x'][..]);
        let frame = reader(10, 3).read(&mut input).unwrap().unwrap();
        assert_eq!(frame.body, "x");
    }

    #[test]
    fn bad_flags_are_refused_at_once() {
        let mut input = BytesMut::from(&[0x05][..]);
        let error = reader(10, 3).read(&mut input).unwrap_err();
        assert_eq!(error, ProtocolError::FrameFlags { flags: 0x05 }.into());
    }

    #[test]
    fn room_grows_with_what_has_arrived() {
        let max = Limits::default().max_message;
        let reader = reader(max, 3);
        let mut input = BytesMut::from(&[0x02][..]);
        input.extend_from_slice(&(max as u64).to_be_bytes());
        let initially = Limits::MAX_INITIAL_RESERVE;
        for arrived in [9, 30_000, initially / 2] {
            input.resize(arrived, 0);
            assert_eq!(arrived + reader.wanted(&input), initially);
        }
        for arrived in [
            initially / 2 + 1,
            initially,
            initially + 1,
            2 * initially - 1,
        ] {
            input.resize(arrived, 0);
            assert_eq!(reader.wanted(&input), arrived);
        }
        input.resize(1024 * 1024, 0);
        assert_eq!(reader.wanted(&input), 1024 * 1024);
        input.resize(max, 0);
        assert_eq!(reader.wanted(&input), 9);
    }
}
