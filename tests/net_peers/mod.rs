//! Sockets for the tests of `net`: matching configurations, and a raw peer that can break the
//! protocol.
#![allow(dead_code)]

use bytes::{Bytes, BytesMut};
use std::future::Future;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use zmtp_auth::PeerContext;
use zmtp_auth::handshake::Handshake;
use zmtp_auth::net::{Connection, Endpoint, Event, Host, Listener, Message, NetError, Refusal};
use zmtp_auth::traffic::frames::{Frame, FrameReader, FrameWriter};
use zmtp_auth::wire::command::TrafficCommand;
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{
    Authorizing, Config, Domain, Error, KeyPair, Limits, NoPolicy, Password, PeerAddress,
    SocketType,
};

/// Generous, so that a test that hangs fails and a slow machine does not.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("takes too long")
}

/// Waits for a condition without a notification.
pub async fn eventually(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

pub const ANY_PORT: &str = "tcp://127.0.0.1:*";

pub fn null(kind: SocketType) -> Config<NoPolicy> {
    null_with(kind, Limits::default())
}

pub fn null_with(kind: SocketType, limits: Limits) -> Config<NoPolicy> {
    Config::builder(kind)
        .limits(limits)
        .null()
        .accept_any_peer()
        .finish()
        .unwrap()
}

pub fn null_asks(kind: SocketType) -> Config<Authorizing> {
    Config::builder(kind)
        .null()
        .authorize(Domain::from("test"))
        .finish()
        .unwrap()
}

pub fn plain_server(kind: SocketType) -> Config<Authorizing> {
    plain_server_with(kind, Limits::default())
}

pub fn plain_server_with(kind: SocketType, limits: Limits) -> Config<Authorizing> {
    Config::builder(kind)
        .limits(limits)
        .plain_server()
        .authorize(Domain::from("test"))
        .finish()
        .unwrap()
}

pub fn plain_client(kind: SocketType, password: &str) -> Config<NoPolicy> {
    Config::builder(kind)
        .plain_client("admin", Password::from(password))
        .finish()
        .unwrap()
}

pub fn curve_server(kind: SocketType, keys: &KeyPair) -> Config<Authorizing> {
    Config::builder(kind)
        .curve_server(keys.clone())
        .authorize(Domain::from("test"))
        .finish()
        .unwrap()
}

pub fn curve_client(kind: SocketType, keys: &KeyPair, server: &KeyPair) -> Config<NoPolicy> {
    Config::builder(kind)
        .curve_client(keys.clone(), server.public_key())
        .finish()
        .unwrap()
}

pub fn keys() -> KeyPair {
    KeyPair::generate().unwrap()
}

/// Admits every peer as `somebody`.
pub fn welcoming() -> ZapRouter {
    let router = ZapRouter::new();
    router
        .bind("test", async |request: ZapRequest| {
            request.allow("somebody")
        })
        .unwrap();
    router
}

pub fn message(frames: &[&[u8]]) -> Message {
    frames.iter().map(|frame| frame.to_vec()).collect()
}

/// A listener and a client of NULL, connected.
pub async fn connected(bound: SocketType, connecting: SocketType) -> (Connection, Connection) {
    connected_with(null(bound), null(connecting)).await
}

pub async fn connected_with(
    bound: Config<NoPolicy>,
    connecting: Config<NoPolicy>,
) -> (Connection, Connection) {
    let listener = Listener::bind(ANY_PORT, bound).await.unwrap();
    let dialling = Connection::connect(listener.local_endpoint(), connecting);
    let (accepted, dialled) = soon(async { tokio::join!(listener.accept(), dialling) }).await;
    (accepted.unwrap(), dialled.unwrap())
}

/// The next event, which must be a refusal.
pub async fn refusal(listener: &Listener) -> Refusal {
    match soon(listener.next_event()).await.unwrap() {
        Event::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

/// The protocol error of a failed handshake.
pub fn handshake_error(error: &NetError) -> &Error {
    match error {
        NetError::Handshake(error) => error,
        other => panic!("{other}"),
    }
}

pub fn port(endpoint: &Endpoint) -> u16 {
    match endpoint {
        Endpoint::Tcp { port, .. } => *port,
        other => panic!("{other}"),
    }
}

pub fn local(port: u16) -> Endpoint {
    let host = Host::Ip([127, 0, 0, 1].into());
    Endpoint::Tcp { host, port }
}

/// Opens a connection and sends nothing.
pub async fn silent(listener: &Listener) -> TcpStream {
    let address = ("127.0.0.1", port(listener.local_endpoint()));
    soon(TcpStream::connect(address)).await.unwrap()
}

/// A peer on NULL that is driven frame by frame.
pub struct RawPeer<S = TcpStream> {
    pub stream: S,
    input: BytesMut,
    reader: FrameReader,
    writer: FrameWriter,
}

impl RawPeer {
    /// Connects to `listener` as a socket of type `kind`, of ZMTP 3.1 or 3.0.
    pub async fn connect(listener: &Listener, kind: SocketType, minor: u8) -> Self {
        Self::shake_hands(silent(listener).await, kind, minor).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> RawPeer<S> {
    pub async fn shake_hands(stream: S, kind: SocketType, minor: u8) -> Self {
        Self::speak(stream, &null(kind), minor).await
    }

    /// Completes the handshake with `config`.
    pub async fn speak(mut stream: S, config: &Config<NoPolicy>, minor: u8) -> Self {
        let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
        let here = PeerContext::new(PeerAddress::from_zap(b"127.0.0.1"));
        let mut state = Handshake::start(config, here, &mut out);
        let mut sent = 0;
        loop {
            // Byte 11 of the greeting, which comes in two pieces, is the minor version.
            if (sent..sent + out.len()).contains(&11) {
                out[11 - sent] = minor;
            }
            sent += out.len();
            soon(stream.write_all(&out)).await.unwrap();
            out.clear();
            state = match state {
                Handshake::NeedsInput(waiting) => {
                    assert_ne!(soon(stream.read_buf(&mut input)).await.unwrap(), 0);
                    waiting.process(&mut input, &mut out).unwrap()
                }
                Handshake::Complete(done) => {
                    return Self {
                        stream,
                        input,
                        reader: FrameReader::new(done.opener, &Limits::default()),
                        writer: FrameWriter::new(done.sealer),
                    };
                }
                other => panic!("{other:?}"),
            };
        }
    }

    /// Closes the sending direction and keeps receiving.
    pub async fn half_close(&mut self) {
        soon(self.stream.shutdown()).await.unwrap();
    }

    /// Sends raw bytes.
    pub async fn bytes(&mut self, bytes: &[u8]) {
        soon(self.stream.write_all(bytes)).await.unwrap();
    }

    pub async fn send(&mut self, flags: Flags, body: &[u8]) {
        let mut out = BytesMut::new();
        self.writer.write(flags, body, &mut out).unwrap();
        soon(self.stream.write_all(&out)).await.unwrap();
    }

    /// Sends many frames with as few writes as the system allows.
    pub async fn send_together(&mut self, frames: &[(Flags, Bytes)]) {
        let mut out = BytesMut::new();
        for (flags, body) in frames {
            self.writer.write(*flags, body, &mut out).unwrap();
        }
        soon(self.stream.write_all(&out)).await.unwrap();
    }

    pub async fn command(&mut self, command: TrafficCommand) {
        self.send(Flags::Command, &command.encode().unwrap()).await;
    }

    /// The next frame; `None` at the end of the stream.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.reader.read(&mut self.input).unwrap() {
                return Some(frame);
            }
            match soon(self.stream.read_buf(&mut self.input)).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    pub async fn traffic_command(&mut self) -> TrafficCommand {
        let frame = self.frame().await.unwrap();
        assert_eq!(frame.flags, Flags::Command);
        TrafficCommand::parse(&frame.body).unwrap()
    }

    pub async fn message_body(&mut self) -> Bytes {
        let frame = self.frame().await.unwrap();
        assert_eq!(frame.flags, Flags::Last);
        frame.body
    }
}
