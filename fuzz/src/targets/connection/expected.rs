//! A second implementation of the rules.
#![forbid(unsafe_code)]

use crate::targets::connection::link::{MAX_FRAMES, MAX_MESSAGE, Setup};
use crate::targets::connection::script::{Step, body};
use bytes::Bytes;
use zmtp_auth::SocketType;
use zmtp_auth::net::Incoming;

/// What the application must receive, and whether the peer violates the protocol after that.
#[derive(Debug, Default)]
pub struct Expected {
    pub deliveries: Vec<Incoming>,
    pub breaks: bool,
}

/// What a script must lead to.
pub fn expected(setup: Setup, script: &[Step]) -> Expected {
    let mut expected = Expected::default();
    let mut parts: Vec<Bytes> = Vec::new();
    for (at, step) in script.iter().enumerate() {
        let unfinished = parts.iter().map(Bytes::len).sum::<usize>();
        let (len, is_part) = match *step {
            Step::Part(len) | Step::Last(len) => (len, true),
            Step::Unknown(len) => (b"\x07UNKNOWN".len() + len, false),
            Step::Subscribe(len) => (b"\x09SUBSCRIBE".len() + len, false),
            Step::Ping(len) => (b"\x04PING\0\0".len() + len, false),
            Step::Broken => {
                expected.breaks = true;
                break;
            }
            Step::Leave => break,
            _ => continue,
        };
        let has_room = unfinished + len <= MAX_MESSAGE && (!is_part || parts.len() < MAX_FRAMES);
        let is_ping_too_long = matches!(step, Step::Ping(len) if *len > 16);
        if !has_room || is_ping_too_long {
            expected.breaks = true;
            break;
        }
        match step {
            Step::Part(len) => {
                parts.push(body(at, *len));
                // Its last frame can never arrive.
                if parts.len() == MAX_FRAMES {
                    expected.breaks = true;
                    break;
                }
            }
            Step::Last(len) => {
                parts.push(body(at, *len));
                let message = std::mem::take(&mut parts);
                expected.deliveries.push(delivery(setup.socket, message));
            }
            Step::Subscribe(len) if setup.socket == SocketType::Xpub => {
                let topic = body(at, *len);
                expected.deliveries.push(Incoming::Subscribe(topic));
            }
            _ => {}
        }
    }
    expected
}

/// RFC 23: an XPUB takes a message of one frame that begins with 1 or 0 as a subscription.
fn delivery(socket: SocketType, message: Vec<Bytes>) -> Incoming {
    if let (SocketType::Xpub, [only]) = (socket, &message[..]) {
        match only.first() {
            Some(1) => return Incoming::Subscribe(only.slice(1..)),
            Some(0) => return Incoming::Unsubscribe(only.slice(1..)),
            _ => {}
        }
    }
    Incoming::Message(message.into_iter().collect())
}
