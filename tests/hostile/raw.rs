//! A raw peer that sends the test's bytes, whatever it receives.

use super::curve::CurveClient;
use super::load_attack::soon;
use super::server::{Kind, Target};
use socket2::SockRef;
use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use zmtp_auth::net::{Endpoint, Host};
use zmtp_auth::wire::greeting::{Greeting, mechanism_name};

pub struct Raw<S = TcpStream>(pub S);

impl Raw {
    /// Connects, again if the server has no room and resets the connection before it is known here.
    pub async fn connect(target: &Target) -> Self {
        let stream = soon(async {
            loop {
                match TcpStream::connect(target.address).await {
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                        target.resets.fetch_add(1, Ordering::SeqCst);
                    }
                    connected => return connected.unwrap(),
                }
            }
        });
        let stream = stream.await;
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Connects and exchanges greetings.
    pub async fn greeted(target: &Target) -> Self {
        let mut raw = Self::connect(target).await;
        raw.greet(target.kind.mechanism()).await;
        raw
    }

    /// True if the other side has closed. Discards what it sent before.
    pub fn is_closed(&self) -> bool {
        let mut heard = [0; 256];
        loop {
            match self.0.try_read(&mut heard) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        SockRef::from(&self.0)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
}

/// What a peer speaks over.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

impl<S: Stream> Raw<S> {
    /// Sends `bytes`. False if the other side has closed already.
    pub async fn say(&mut self, bytes: &[u8]) -> bool {
        soon(self.0.write_all(bytes)).await.is_ok()
    }

    /// Sends one byte at a time until the other side closes.
    pub async fn say_in_bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if !self.say(&[*byte]).await {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Receives exactly `len` bytes.
    pub async fn hear(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        soon(self.0.read_exact(&mut bytes)).await.unwrap();
        bytes
    }

    /// Receives everything up to a close or a reset.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = soon(self.0.read_to_end(&mut bytes)).await;
        bytes
    }

    /// Closes the sending direction and keeps receiving.
    pub async fn finish(&mut self) {
        let _ = soon(self.0.shutdown()).await;
    }

    /// Exchanges greetings.
    pub async fn greet(&mut self, mechanism: &str) {
        self.say(&greeting(mechanism)).await;
        assert_eq!(self.hear(64).await[10], 3);
    }

    /// The flags and the body of the next frame.
    pub async fn frame(&mut self) -> (u8, Vec<u8>) {
        let flags = self.hear(1).await[0];
        let len = if flags & 0x02 == 0 {
            u64::from(self.hear(1).await[0])
        } else {
            u64::from_be_bytes(self.hear(8).await.try_into().unwrap())
        };
        (flags, self.hear(len as usize).await)
    }
}

/// A raw server.
pub struct RawServer(TcpListener);

impl RawServer {
    pub async fn bind() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub fn endpoint(&self) -> Endpoint {
        let address = self.0.local_addr().unwrap();
        Endpoint::Tcp {
            host: Host::Ip(address.ip()),
            port: address.port(),
        }
    }

    pub async fn visitor(&self) -> Raw {
        let (stream, _) = soon(self.0.accept()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Raw(stream)
    }
}

pub fn greeting(mechanism: &str) -> [u8; 64] {
    Greeting::encode(mechanism_name(mechanism), false)
}

/// A frame. `flags` come without LONG, which is added if the body needs it.
pub fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    match u8::try_from(body.len()) {
        Ok(len) => [&[flags, len], body].concat(),
        Err(_) => [
            &[flags | 0x02],
            &(body.len() as u64).to_be_bytes()[..],
            body,
        ]
        .concat(),
    }
}

/// A header that announces a long body.
pub fn long_header(flags: u8, size: u64) -> Vec<u8> {
    [&[flags | 0x02][..], &size.to_be_bytes()].concat()
}

/// The body of a command.
pub fn command(name: &str, data: &[u8]) -> Vec<u8> {
    [&[name.len() as u8], name.as_bytes(), data].concat()
}

pub fn metadata(properties: &[(&str, &[u8])]) -> Vec<u8> {
    let property = |(name, value): &(&str, &[u8])| {
        let len = (value.len() as u32).to_be_bytes();
        [&[name.len() as u8], name.as_bytes(), &len, value].concat()
    };
    properties.iter().flat_map(property).collect()
}

/// Metadata of exactly `len` bytes: a socket type, and filler properties.
pub fn metadata_of(kind: &str, len: usize) -> Vec<u8> {
    const FILLER: &str = "X-Filler";
    let mut all = metadata(&[("Socket-Type", kind.as_bytes())]);
    let room = len - all.len() - metadata(&[(FILLER, b"")]).len();
    all.extend(metadata(&[(FILLER, &vec![b'x'; room])]));
    assert_eq!(all.len(), len);
    all
}

/// The frame of NULL's READY.
pub fn null_ready(kind: &str) -> Vec<u8> {
    frame(
        0x04,
        &command("READY", &metadata(&[("Socket-Type", kind.as_bytes())])),
    )
}

/// The frame of PLAIN's HELLO.
pub fn plain_hello(user: &str, password: &str) -> Vec<u8> {
    let short = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    frame(
        0x04,
        &command("HELLO", &[short(user), short(password)].concat()),
    )
}

/// The frame of PLAIN's INITIATE.
pub fn plain_initiate(kind: &str) -> Vec<u8> {
    frame(
        0x04,
        &command("INITIATE", &metadata(&[("Socket-Type", kind.as_bytes())])),
    )
}

/// Everything that an honest client of NULL or PLAIN sends right after the greeting.
pub fn first_command(kind: Kind) -> Vec<u8> {
    match kind {
        Kind::Plain => plain_hello("mallory", "secret"),
        _ => null_ready("DEALER"),
    }
}

/// Connects and completes the handshake as a socket of type `kind`.
pub async fn established(target: &Target, kind: &str) -> Raw {
    if target.kind == Kind::Curve {
        return CurveClient::established(target, kind).await.0;
    }
    let mut raw = Raw::greeted(target).await;
    if target.kind == Kind::Plain {
        raw.say(&plain_hello("mallory", "secret")).await;
        assert_eq!(raw.frame().await, (4, command("WELCOME", b"")));
        raw.say(&plain_initiate(kind)).await;
    } else {
        raw.say(&null_ready(kind)).await;
    }
    let (flags, body) = raw.frame().await;
    assert_eq!((flags, &body[..6]), (4, &b"\x05READY"[..]));
    raw
}
