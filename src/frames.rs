//! Traffic on a byte stream: frames around sealed bodies, with bounds checked on the header.
#![forbid(unsafe_code)]

use crate::error::{Error, LimitExceeded, LocalError};
use crate::limits::Limits;
use crate::seal::{Opener, Sealer};
use crate::wire::frame::{Flags, FrameHeader, MAX_HEADER_LEN};
use bytes::{Buf, Bytes, BytesMut};

/// One frame of a message, or a command, as the peer meant it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the frame is. Under CURVE these are the sealed flags.
    pub flags: Flags,
    /// The payload, or the command's body.
    pub body: Bytes,
}

/// Seals and frames what we send.
#[derive(Debug)]
pub struct FrameWriter(Sealer);

impl FrameWriter {
    /// Frames what `sealer` seals.
    #[must_use]
    pub const fn new(sealer: Sealer) -> Self {
        Self(sealer)
    }

    /// Whether bodies pass unchanged: then [`FrameHeader::encode`] and the body itself, written
    /// side by side, make the frame without a copy.
    #[must_use]
    pub const fn is_transparent(&self) -> bool {
        self.0.is_transparent()
    }

    /// Appends one frame to `out`.
    ///
    /// # Errors
    /// Those of [`Sealer::seal_body`]; `out` is as before then.
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
    /// Appends several frames to `out`. For small ones this is much faster than one by one.
    ///
    /// # Errors
    /// Those of [`Sealer::seal_many`]; `out` is as before then.
    pub fn write_many(
        &mut self,
        frames: &[(Flags, &[u8])],
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        self.0.seal_each(frames, out, FrameHeader::encode)
    }
}

/// Takes frames apart and opens what the peer sends.
#[derive(Debug)]
pub struct FrameReader {
    opener: Opener,
    max_message: usize,
    max_frames: usize,
    /// Payload bytes and frames of a message whose last frame has not arrived.
    message_len: usize,
    message_frames: usize,
    /// Set by the first error: what follows it on the stream means nothing.
    broken: bool,
}

impl FrameReader {
    /// Takes frames for `opener`, within [`Limits::max_message`] and [`Limits::max_frames`].
    #[must_use]
    pub const fn new(opener: Opener, limits: &Limits) -> Self {
        Self {
            opener,
            max_message: limits.max_message,
            max_frames: limits.max_frames,
            message_len: 0,
            message_frames: 0,
            broken: false,
        }
    }

    /// Takes the next frame off the front of `input`; `None` if it is not complete. Bodies share
    /// the memory of `input`. Commands may come between the frames of a message.
    ///
    /// # Errors
    /// [`LimitExceeded`] as soon as a header announces too much, and those of
    /// [`Opener::open_body`]; from then on [`LocalError::Poisoned`]. The connection is to be
    /// closed.
    pub fn read(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, Error> {
        if self.broken {
            return Err(LocalError::Poisoned.into());
        }
        let read = self.read_frame(input);
        self.broken = read.is_err();
        read
    }

    /// Takes up to `most` complete frames off the front of `input` and appends them to `frames`.
    /// For small ones this is much faster than one by one. Nothing is appended if none is
    /// complete.
    ///
    /// # Errors
    /// Those of [`FrameReader::read`]. The frames before the one at fault are in `frames` then.
    pub fn read_many(
        &mut self,
        input: &mut BytesMut,
        most: usize,
        frames: &mut Vec<Frame>,
    ) -> Result<(), Error> {
        for _ in 0..most {
            match self.read(input)? {
                Some(frame) => frames.push(frame),
                None => break,
            }
        }
        Ok(())
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
        match flags {
            Flags::Command => {}
            Flags::More => {
                self.message_len += body.len();
                self.message_frames += 1;
                if self.message_frames >= self.max_frames {
                    return Err(LimitExceeded::Frames {
                        limit: self.max_frames,
                    }
                    .into());
                }
            }
            Flags::Last => {
                self.message_len = 0;
                self.message_frames = 0;
            }
        }
        Ok(Some(Frame { flags, body }))
    }

    /// How many bytes to make room for before reading more into `input`. With what is there
    /// already it makes at most [`Limits::MAX_INITIAL_RESERVE`], whatever the peer claims, until
    /// so much has arrived; then twice that, and so on.
    #[must_use]
    pub fn wanted(&self, input: &BytesMut) -> usize {
        match self.header(input) {
            Ok(Some((len, header_len, _))) => {
                let step = (input.len() + 1).next_power_of_two();
                (header_len + len)
                    .min(step.max(Limits::MAX_INITIAL_RESERVE))
                    .saturating_sub(input.len())
            }
            Ok(None) | Err(_) => MAX_HEADER_LEN,
        }
    }

    /// The next frame's body length, header length and header.
    fn header(&self, input: &[u8]) -> Result<Option<(usize, usize, FrameHeader)>, Error> {
        let Some((header, header_len)) = FrameHeader::parse(input)? else {
            return Ok(None);
        };
        let most = (self.max_message - self.message_len).saturating_add(self.opener.overhead());
        match usize::try_from(header.size) {
            Ok(len) if len <= most => Ok(Some((len, header_len, header))),
            _ => Err(LimitExceeded::Message {
                size: header.size.saturating_add(self.message_len as u64),
                limit: self.max_message,
            }
            .into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ProtocolError;
    use crate::seal;

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
    fn all_frames_of_a_message_count_together_and_the_next_starts_anew() {
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
        let most = Limits::default().max_message;
        let reader = reader(most, 3);
        let mut input = BytesMut::from(&[0x02][..]);
        input.extend_from_slice(&(most as u64).to_be_bytes());
        let initially = Limits::MAX_INITIAL_RESERVE;
        for arrived in [9, 30_000, initially - 1] {
            input.resize(arrived, 0);
            assert_eq!(arrived + reader.wanted(&input), initially);
        }
        for arrived in [initially, initially + 1, 2 * initially - 1] {
            input.resize(arrived, 0);
            assert_eq!(arrived + reader.wanted(&input), 2 * initially);
        }
        input.resize(1024 * 1024, 0);
        assert_eq!(reader.wanted(&input), 1024 * 1024);
        input.resize(most, 0);
        assert_eq!(reader.wanted(&input), 9);
    }
}
