//! One end of a connection over any stream, as a program that has the library's lower layer alone.

use bytes::{Buf, Bytes, BytesMut};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zmtp_auth::PeerContext;
use zmtp_auth::handshake::{Established, Handshake};
use zmtp_auth::traffic::frames::{Frame, FrameReader, FrameWriter};
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::{
    Authorizing, Config, Domain, Error, KeyPair, Limits, NoPolicy, Peer, PeerAddress, SecretKey,
    Security, SocketType, Verdict,
};

pub fn here() -> PeerAddress {
    PeerAddress::from_zap(b"127.0.0.1")
}

pub fn keys(seed: u8) -> KeyPair {
    KeyPair::from_secret(SecretKey::from_bytes(&[seed; 32]).unwrap())
}

pub fn null(socket: SocketType) -> Config<NoPolicy> {
    let config = Config::builder(socket).null().accept_any_peer();
    config.finish().unwrap()
}

/// A client of this mechanism.
pub fn client(socket: SocketType, mechanism: &str) -> Config<NoPolicy> {
    let builder = Config::builder(socket);
    match mechanism {
        "null" => null(socket),
        "plain" => builder.plain_client("admin", "secret").finish().unwrap(),
        "curve" => builder
            .curve_client(keys(11), keys(22).public_key())
            .finish()
            .unwrap(),
        other => panic!("{other}"),
    }
}

/// A server of this mechanism, which asks policy in the domain `host`.
pub fn server(socket: SocketType, mechanism: &str) -> Config<Authorizing> {
    server_with(socket, mechanism, Limits::default())
}

pub fn server_with(socket: SocketType, mechanism: &str, limits: Limits) -> Config<Authorizing> {
    let domain = Domain::from("host");
    let builder = Config::builder(socket).limits(limits);
    let finished = match mechanism {
        "null" => builder.null().authorize(domain).finish(),
        "plain" => builder.plain_server().authorize(domain).finish(),
        "curve" => builder.curve_server(keys(22)).authorize(domain).finish(),
        other => panic!("{other}"),
    };
    finished.unwrap()
}

/// A program after its handshake.
pub struct Party<S> {
    pub stream: S,
    pub peer: Peer,
    input: BytesMut,
    reader: FrameReader,
    pub writer: FrameWriter,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Party<S> {
    /// Conducts the handshake. Its own policy, if it has one, admits everyone as `alice`.
    pub async fn meet(stream: S, security: impl Into<Security>) -> io::Result<Self> {
        Self::meet_as(stream, security, PeerContext::new(here())).await
    }

    /// As [`Party::meet`], with claims of its own.
    pub async fn meet_as(
        stream: S,
        security: impl Into<Security>,
        context: PeerContext,
    ) -> io::Result<Self> {
        Self::meet_with(stream, security, context, |_| {}).await
    }

    /// As [`Party::meet`], but announces ZMTP 3.0.
    pub async fn meet_3_0(stream: S, security: impl Into<Security>) -> io::Result<Self> {
        let mut sent = 0;
        let change = move |out: &mut BytesMut| {
            if sent <= 11 && sent + out.len() > 11 {
                out[11 - sent] = 0;
            }
            sent += out.len();
        };
        Self::meet_with(stream, security, PeerContext::new(here()), change).await
    }

    async fn meet_with(
        mut stream: S,
        security: impl Into<Security>,
        context: PeerContext,
        mut change: impl FnMut(&mut BytesMut),
    ) -> io::Result<Self> {
        let security = security.into();
        let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
        let mut state = security.start(context, &mut out);
        loop {
            change(&mut out);
            stream.write_all(&out).await?;
            stream.flush().await?;
            out.clear();
            state = match state {
                Handshake::NeedsInput(waiting) => match waiting.process(&mut input, &mut out) {
                    Ok(Handshake::NeedsInput(waiting)) => {
                        if out.is_empty() && stream.read_buf(&mut input).await? == 0 {
                            return Err(closed(waiting.peer_closed()));
                        }
                        Handshake::NeedsInput(waiting)
                    }
                    Ok(next) => next,
                    Err(error) => {
                        let _ = stream.write_all(&out).await;
                        return Err(closed(error));
                    }
                },
                Handshake::Authorize(question) => question
                    .resume(Verdict::allow("alice"), &mut out)
                    .map_err(closed)?,
                Handshake::Complete(established) => {
                    let Established {
                        sealer,
                        opener,
                        peer,
                        ..
                    } = *established;
                    return Ok(Self {
                        stream,
                        peer,
                        input,
                        reader: FrameReader::new(opener, &Limits::default()),
                        writer: FrameWriter::new(sealer),
                    });
                }
                Handshake::NeedsMetadata(_) => panic!("no relay"),
            };
        }
    }

    pub async fn send(&mut self, body: &[u8]) -> io::Result<()> {
        self.send_frame(Flags::Last, body).await
    }

    pub async fn send_frame(&mut self, flags: Flags, body: &[u8]) -> io::Result<()> {
        let bytes = self.encode(flags, body);
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await
    }

    /// A frame as it goes over the wire.
    pub fn encode(&mut self, flags: Flags, body: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        self.writer.write(flags, body, &mut out).unwrap();
        out
    }

    /// The next frame; `None` at the end.
    pub async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.reader.read(&mut self.input).unwrap() {
                return Ok(Some(frame));
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                assert!(!self.input.has_remaining(), "cut within a frame");
                return Ok(None);
            }
        }
    }

    /// The body of the next frame.
    pub async fn recv(&mut self) -> Bytes {
        self.next().await.unwrap().expect("a frame").body
    }

    /// A property of the other side with exactly this name.
    pub fn property(&self, name: &str) -> Option<Bytes> {
        let properties = &self.peer.claims.properties;
        let found = properties.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone())
    }
}

fn closed(error: Error) -> io::Error {
    io::Error::other(error)
}
