//! A buffer for the bytes of a handshake, in either direction. A PLAIN HELLO holds a password, so the
//! buffer wipes its bytes when they are sent, when they are dropped, and when the buffer grows.
#![forbid(unsafe_code)]

use crate::crypto::stack_wipe::{grow_and_wipe, wipe};
use bytes::buf::Limit;
use bytes::{Buf, BufMut, BytesMut};
use std::fmt;

/// First size of an input buffer, in bytes. Every command that libzmq sends fits.
const INPUT_SIZE: usize = 1024;

/// A buffer that wipes its bytes. What a handshake machine takes, the machine wipes.
#[derive(Default)]
pub(crate) struct HandshakeBytes(BytesMut);

impl HandshakeBytes {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Access for the handshake machine. It wipes what it takes off the front, and what it leaves
    /// behind when it grows the buffer.
    pub(crate) const fn for_machine(&mut self) -> &mut BytesMut {
        &mut self.0
    }

    /// Room to read into, at least one byte. It grows with what has arrived, never with what the peer
    /// announces, and not beyond `most` bytes until as many have arrived.
    pub(crate) fn room(&mut self, most: usize) -> Limit<&mut BytesMut> {
        let len = self.0.len();
        if self.0.capacity() == len {
            let capacity = INPUT_SIZE.max(2 * len).min(most).max(len + 1);
            grow_and_wipe(&mut self.0, capacity);
        }
        let room = self.0.capacity() - len;
        (&mut self.0).limit(room)
    }

    /// Wipes `count` bytes at the front, which are sent, and removes them.
    pub(crate) fn consume(&mut self, count: usize) {
        wipe(&mut self.0[..count]);
        self.0.advance(count);
    }

    /// Wipes and drops what is left.
    pub(crate) fn wipe(&mut self) {
        wipe(&mut self.0);
        self.0.clear();
    }

    /// What is left once the handshake is complete: the beginning of the traffic, which is no secret.
    pub(crate) fn into_traffic(mut self) -> BytesMut {
        std::mem::take(&mut self.0)
    }
}

impl From<BytesMut> for HandshakeBytes {
    fn from(bytes: BytesMut) -> Self {
        Self(bytes)
    }
}

impl Drop for HandshakeBytes {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl fmt::Debug for HandshakeBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HandshakeBytes({} bytes)", self.0.len())
    }
}
