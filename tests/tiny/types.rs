//! What a user of the host sees, next to its sockets.

use super::codec::Properties;
use bytes::Bytes;
use std::io;
use std::time::Duration;

/// The frames of a message.
pub type Message = Vec<Bytes>;

#[derive(Debug, Clone)]
pub struct Options {
    /// `PUSH`, `PULL`, `DEALER`, `PUB` or `SUB`.
    pub socket_type: &'static str,
    pub identity: &'static str,
    /// 0 for ZMTP 3.0, 1 for ZMTP 3.1.
    pub minor: u8,
    /// Sends PINGs. A peer that is silent for four times this long is dropped.
    pub ping_every: Option<Duration>,
}

impl Options {
    pub const fn new(socket_type: &'static str) -> Self {
        Self {
            socket_type,
            identity: "",
            minor: 1,
            ping_every: None,
        }
    }
}

#[derive(Debug)]
pub enum Event {
    /// A handshake is complete. The peer says this about itself.
    Joined(Properties),
    /// A peer has subscribed.
    Subscribed(Bytes),
    /// A connection or its handshake has ended: with an error, or because the peer closed it.
    Left(io::Result<()>),
}
