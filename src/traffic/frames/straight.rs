//! Frames at the front of what has arrived, read where they lie.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::traffic::frames::{FrameReader, SMALL};
use crate::traffic::seal::MESSAGE_OVERHEAD;
use crate::wire::frame::{Flags, FrameHeader};

/// How much to read at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Most frames.
    pub(crate) frames: usize,
    /// Enough bytes: the frame that reaches this is the last.
    pub(crate) bytes: usize,
    /// Length from which a body is left where it is.
    pub(crate) large: usize,
}

impl FrameReader {
    /// Whether bodies come as they are.
    pub(crate) const fn is_clear(&self) -> bool {
        self.opener.is_transparent()
    }

    /// Gives `take` the messages of one frame that `input` begins with, as far as there is room.
    /// Returns the number of their bytes. It stops before any other frame, and before one that
    /// [`FrameReader::read`] would refuse. For [clear](Self::is_clear) frames, between messages.
    pub(crate) fn singles<'a>(
        &self,
        input: &'a [u8],
        room: Room,
        mut take: impl FnMut(&'a [u8]),
    ) -> usize {
        let mut rest = input;
        for _ in 0..room.frames {
            let passed = input.len() - rest.len();
            let Ok(Some((header, header_len))) = FrameHeader::parse(rest) else {
                break;
            };
            let len = usize::try_from(header.size).unwrap_or(usize::MAX);
            let max = self.max_message.min(room.large.saturating_sub(1));
            let is_single = header.flags == Flags::Last && len <= max && self.max_frames > 0;
            let body = rest[header_len..].split_at_checked(len);
            let Some((body, behind)) = body.filter(|_| is_single && passed < room.bytes) else {
                break;
            };
            take(body);
            rest = behind;
        }
        input.len() - rest.len()
    }

    /// Opens the sealed frames that `input` begins with, as far as there is room, and gives `take` flags
    /// and payloads. Returns the number of their bytes. It stops before a frame that
    /// [`FrameReader::read`] might refuse without opening it.
    ///
    /// # Errors
    /// Returns those of [`FrameReader::read`]. The frames before the faulty one are given to `take`
    /// first.
    pub(crate) fn open_ahead<'a>(
        &mut self,
        input: &'a mut [u8],
        room: Room,
        mut take: impl FnMut(Flags, &'a [u8]),
    ) -> Result<usize, Error> {
        if self.broken {
            return Ok(0);
        }
        let mut batch = self.batch();
        let (mut rest, mut passed, mut left) = (input, 0, room.frames);
        let boxes = std::iter::from_fn(|| {
            if left == 0 || passed >= room.bytes {
                return None;
            }
            let (_, header_len, len) = batch.next(rest)?;
            let is_small = len <= SMALL;
            if len >= room.large || !is_small && passed > 0 {
                return None;
            }
            // A large box fills the lanes of the cipher alone.
            left = if is_small { left - 1 } else { 0 };
            let (frame, behind) = std::mem::take(&mut rest).split_at_mut(header_len + len);
            rest = behind;
            passed += header_len + len;
            Some(&mut frame[header_len..])
        });
        let message = &mut self.message;
        let opened = self.opener.open_batch(boxes, |flags, body: &'a mut [u8]| {
            let payload = &body[MESSAGE_OVERHEAD..];
            message.add(flags, payload.len());
            take(flags, payload);
        });
        self.broken = opened.is_err();
        opened.map(|_| passed)
    }

    #[cfg(any(feature = "futures-io", feature = "tokio"))]
    /// How many bytes the frame that `input` begins with still lacks, as far as its header tells.
    pub(crate) fn missing(&self, input: &[u8]) -> usize {
        match FrameHeader::parse(input) {
            Ok(Some((header, header_len))) => {
                let len = usize::try_from(header.size).unwrap_or(usize::MAX);
                header_len.saturating_add(len).saturating_sub(input.len())
            }
            // The first byte tells how long a header is.
            Ok(None) if input.len() < 2 => 2 - input.len(),
            Ok(None) => crate::wire::frame::MAX_HEADER_LEN.saturating_sub(input.len()),
            Err(_) => 0,
        }
    }
}
