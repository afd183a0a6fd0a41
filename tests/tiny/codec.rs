//! The wire format of ZMTP 3.0 and 3.1 with the mechanism NULL: greeting, frames, commands.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::io;

pub const MORE: u8 = 1;
pub const COMMAND: u8 = 4;
const LONG: u8 = 2;
const GREETING: usize = 64;
const LARGEST: u64 = 16 * 1024 * 1024;

/// The names and values of a READY.
pub type Properties = Vec<(String, Bytes)>;

pub fn bad(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

pub fn greeting(minor: u8) -> [u8; GREETING] {
    let mut greeting = [0; GREETING];
    greeting[0] = 0xff;
    greeting[9] = 0x7f;
    greeting[10] = 3;
    greeting[11] = minor;
    greeting[12..16].copy_from_slice(b"NULL");
    greeting
}

/// Takes the peer's greeting off the front of `input`: its minor version, if all of it is there.
pub fn take_greeting(input: &mut BytesMut) -> io::Result<Option<u8>> {
    if input.len() < GREETING {
        return Ok(None);
    }
    let greeting = input.split_to(GREETING);
    if greeting[0] != 0xff || greeting[9] & 1 == 0 || greeting[10] < 3 {
        return Err(bad("not ZMTP 3"));
    }
    if greeting[12..32] != *b"NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" {
        return Err(bad("not the mechanism NULL"));
    }
    Ok(Some(greeting[11]))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub flags: u8,
    pub body: Bytes,
}

impl Frame {
    pub fn encode(&self, out: &mut BytesMut) {
        if let Ok(short) = u8::try_from(self.body.len()) {
            out.put_slice(&[self.flags, short]);
        } else {
            out.put_u8(self.flags | LONG);
            out.put_u64(self.body.len() as u64);
        }
        out.put_slice(&self.body);
    }

    /// Takes a frame off the front of `input`, if all of it is there.
    pub fn take(input: &mut BytesMut) -> io::Result<Option<Self>> {
        let (header, length) = match **input {
            [flags, ..] if flags & !(MORE | LONG | COMMAND) != 0 => return Err(bad("bad flags")),
            [flags, short, ..] if flags & LONG == 0 => (2, u64::from(short)),
            [_, a, b, c, d, e, f, g, h, ..] => (9, u64::from_be_bytes([a, b, c, d, e, f, g, h])),
            _ => return Ok(None),
        };
        if length > LARGEST {
            return Err(bad("frame too large"));
        }
        let length = length as usize;
        if input.len() - header < length {
            return Ok(None);
        }
        let flags = input[0] & !LONG;
        input.advance(header);
        let body = input.split_to(length).freeze();
        Ok(Some(Self { flags, body }))
    }

    pub fn command(name: &str, data: &[u8]) -> Self {
        let name_length = [name.len() as u8];
        Self {
            flags: COMMAND,
            body: [&name_length, name.as_bytes(), data].concat().into(),
        }
    }

    /// The name and the data of a command.
    pub fn split_command(&self) -> io::Result<(&[u8], Bytes)> {
        let length = usize::from(*self.body.first().ok_or(bad("empty command"))?);
        let name = self.body.get(1..=length).ok_or(bad("bad command"))?;
        Ok((name, self.body.slice(1 + length..)))
    }
}

pub fn ready(socket_type: &str, identity: &[u8]) -> Frame {
    let mut data = Vec::new();
    for (name, value) in [
        ("Socket-Type", socket_type.as_bytes()),
        ("Identity", identity),
    ] {
        data.put_u8(name.len() as u8);
        data.put_slice(name.as_bytes());
        data.put_u32(value.len() as u32);
        data.put_slice(value);
    }
    Frame::command("READY", &data)
}

pub fn properties(frame: &Frame) -> io::Result<Properties> {
    let (name, mut data) = frame.split_command()?;
    if frame.flags & COMMAND == 0 || name != b"READY" {
        return Err(bad("no READY"));
    }
    let mut properties = Vec::new();
    while !data.is_empty() {
        let length = usize::from(data.get_u8());
        if data.len() < length + 4 {
            return Err(bad("bad property"));
        }
        let name = String::from_utf8(data.split_to(length).to_vec());
        let length = data.get_u32() as usize;
        if data.len() < length {
            return Err(bad("bad property"));
        }
        let value = data.split_to(length);
        properties.push((name.map_err(|_| bad("bad name"))?, value));
    }
    Ok(properties)
}
