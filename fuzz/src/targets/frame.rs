//! Frames without encryption, against a second implementation of RFC 37's "Framing".
#![forbid(unsafe_code)]

use crate::forge::{command, greeting, property};
use crate::scripted_peer::{Event, ScriptedPeer};
use crate::setup::{MAX_FRAMES, MAX_MESSAGE, named, servers};
use bytes::{Bytes, BytesMut};
use zmtp_auth::wire::command::TrafficCommand;
use zmtp_auth::wire::frame::{Flags, FrameHeader};

/// All of `data` is traffic.
pub fn run(data: &[u8]) {
    if let Ok(Some((header, taken))) = FrameHeader::parse(data) {
        let size = usize::try_from(header.size).expect("64 bits");
        let mut written = BytesMut::new();
        FrameHeader::encode(header.flags, size, &mut written);
        assert_eq!(written.len(), FrameHeader::encoded_len(size));
        assert_eq!(header.is_overlong(), written.len() != taken);
        assert!(header.is_overlong() || data[..taken] == written);
    }
    let ready = command("READY", &property(b"Socket-Type", b"DEALER"));
    let mut scripted_peer = ScriptedPeer::fed(
        named(servers(), "null-open"),
        &[&greeting("NULL"), &ready[..]].concat(),
    );
    let before = scripted_peer.events().len();
    scripted_peer.feed(data);
    let (frames, fails) = model(data);
    let read: Vec<_> = scripted_peer.events()[before..]
        .iter()
        .filter_map(|event| match event {
            Event::Frame(flags, body) => Some((*flags, &body[..])),
            _ => None,
        })
        .collect();
    assert_eq!(read, frames);
    assert_eq!(scripted_peer.error().is_some(), fails);
}

/// The frames of a stream, and whether it must be refused after them.
fn model(mut data: &[u8]) -> (Vec<(Flags, &[u8])>, bool) {
    let mut frames = Vec::new();
    let (mut parts, mut room) = (0, MAX_MESSAGE);
    while let Some((&bits, rest)) = data.split_first() {
        let flags = match bits {
            0 | 2 => Flags::Last,
            1 | 3 => Flags::More,
            4 | 6 => Flags::Command,
            _ => return (frames, true),
        };
        let (size, rest) = if bits & 2 == 0 {
            let Some((&size, rest)) = rest.split_first() else {
                break;
            };
            (u64::from(size), rest)
        } else {
            let Some((size, rest)) = rest.split_first_chunk() else {
                break;
            };
            (u64::from_be_bytes(*size), rest)
        };
        if size > room as u64 {
            return (frames, true);
        }
        let Some((body, rest)) = rest.split_at_checked(size as usize) else {
            break;
        };
        match flags {
            Flags::Last => (parts, room) = (0, MAX_MESSAGE),
            Flags::More => (parts, room) = (parts + 1, room - body.len()),
            Flags::Command if TrafficCommand::parse(&Bytes::copy_from_slice(body)).is_err() => {
                return (frames, true);
            }
            Flags::Command => {}
        }
        if parts == MAX_FRAMES {
            return (frames, true);
        }
        frames.push((flags, body));
        data = rest;
    }
    (frames, false)
}
