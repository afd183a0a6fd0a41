//! Bytes of a handshake, on their way in or out. A PLAIN HELLO among them holds a password, so no
//! copy of them stays behind: not when they are sent, not when they are given up, not when the
//! buffer grows.
#![forbid(unsafe_code)]

use crate::crypto::stack_wipe::wipe;
use crate::handshake::grow_and_wipe;
use bytes::buf::Limit;
use bytes::{Buf, BufMut, BytesMut};
use std::fmt;

/// First size of an input buffer, in bytes: every command of libzmq fits.
const INPUT_SIZE: usize = 1024;

/// A buffer that is wiped wherever its bytes go, except into a machine, which does so itself.
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

    /// For the machine: it wipes what it takes off the front, and what it moves when it appends.
    pub(crate) const fn for_machine(&mut self) -> &mut BytesMut {
        &mut self.0
    }

    /// Room to read into, at least one byte of it. It grows by what has arrived, never by what
    /// the peer announces.
    pub(crate) fn room(&mut self) -> Limit<&mut BytesMut> {
        if self.0.capacity() == self.0.len() {
            let capacity = INPUT_SIZE.max(2 * self.0.len());
            grow_and_wipe(&mut self.0, capacity);
        }
        let room = self.0.capacity() - self.0.len();
        (&mut self.0).limit(room)
    }

    /// Takes `count` bytes off the front: they are sent.
    pub(crate) fn consume(&mut self, count: usize) {
        wipe(&mut self.0[..count]);
        self.0.advance(count);
    }

    /// Gives up what is left.
    pub(crate) fn wipe(&mut self) {
        wipe(&mut self.0);
        self.0.clear();
    }

    /// What is left when the handshake is complete: traffic.
    pub(crate) fn into_traffic(mut self) -> BytesMut {
        std::mem::take(&mut self.0)
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
