//! Which messages a socket type may send.
#![forbid(unsafe_code)]

use crate::net::error::NetError;
use crate::traffic::message::Message;
use crate::wire::socket_type::SocketType;
use bytes::Bytes;

/// The length of the number of a request, in bytes.
const REQUEST_NUMBER_LEN: usize = 4;

/// Refuses a message that no peer of a socket of type `ours` would accept.
pub(crate) fn require_sendable(ours: SocketType, message: &Message) -> Result<(), NetError> {
    if !ours.sends() {
        return Err(NetError::CannotSend(ours));
    }
    // RFC 28: REQ and REP put an empty frame between envelope and body. A REQ has no envelope but the
    // number of its request, as in libzmq (`ZMQ_REQ_CORRELATE`).
    let before_body = message
        .frames()
        .split_last()
        .map_or(&[][..], |(_, before)| before);
    let is_delimited = match ours {
        SocketType::Req => match before_body {
            [number, delimiter, ..] if number.len() == REQUEST_NUMBER_LEN => delimiter.is_empty(),
            _ => before_body.first().is_some_and(Bytes::is_empty),
        },
        SocketType::Rep => before_body.iter().any(Bytes::is_empty),
        _ => true,
    };
    is_delimited.then_some(()).ok_or(NetError::Delimiter(ours))
}
