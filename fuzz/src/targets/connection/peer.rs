//! The peer, which follows a script.
#![forbid(unsafe_code)]

use crate::targets::connection::script::{Step, body, command};
use bytes::BytesMut;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::watch;
use tokio::task::yield_now;
use zmtp_auth::handshake::Handshake;
use zmtp_auth::traffic::frames::FrameWriter;
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::{Config, NoPolicy, PeerAddress, PeerContext};

/// A peer that has completed its handshake.
pub struct Peer {
    stream: UnixStream,
    writer: FrameWriter,
}

impl Peer {
    pub async fn connect(path: &Path, config: &Config<NoPolicy>) -> Self {
        let mut stream = UnixStream::connect(path).await.unwrap();
        let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
        let conn = PeerContext::new(PeerAddress::from_zap(b"localhost"));
        let mut state = Handshake::start(config, conn, &mut out);
        loop {
            stream.write_all(&out).await.unwrap();
            out.clear();
            state = match state {
                Handshake::NeedsInput(waiting) => {
                    let next = waiting.process(&mut input, &mut out).unwrap();
                    if out.is_empty() && matches!(next, Handshake::NeedsInput(_)) {
                        assert!(stream.read_buf(&mut input).await.unwrap() > 0, "refused");
                    }
                    next
                }
                Handshake::Complete(established) => {
                    let writer = FrameWriter::new(established.sealer);
                    return Self { stream, writer };
                }
                other => panic!("{other:?}"),
            };
        }
    }

    pub fn split(self) -> (Speaker, OwnedReadHalf) {
        let (reader, stream) = self.stream.into_split();
        let writer = self.writer;
        (
            Speaker {
                stream,
                writer,
                cut: 0,
            },
            reader,
        )
    }
}

pub struct Speaker {
    stream: tokio::net::unix::OwnedWriteHalf,
    writer: FrameWriter,
    cut: usize,
}

/// Sends the peer's part of the script, but no further than the application has come. A peer that has
/// violated the protocol goes on sending: the other side must close by itself.
pub async fn speak(
    mut peer: Speaker,
    script: Vec<Step>,
    mut follow: watch::Receiver<usize>,
    breaks: bool,
) {
    for (at, step) in script.iter().enumerate() {
        if follow.wait_for(|position| *position > at).await.is_err() {
            return;
        }
        if matches!(step, Step::Leave) {
            return;
        }
        if peer.say(at, *step).await.is_err() {
            // The other side has closed, as it may after a bad frame.
            return;
        }
    }
    if breaks {
        let _ = follow.wait_for(|_| false).await;
    } else {
        let _ = peer.stream.shutdown().await;
    }
}

impl Speaker {
    async fn say(&mut self, at: usize, step: Step) -> std::io::Result<()> {
        let (flags, bytes) = match step {
            Step::Part(len) => (Flags::More, body(at, len)),
            Step::Last(len) => (Flags::Last, body(at, len)),
            Step::Unknown(len) => (Flags::Command, command(b"\x07UNKNOWN", at, len)),
            Step::Ping(len) => (Flags::Command, command(b"\x04PING\0\0", at, len)),
            Step::Subscribe(len) => (Flags::Command, command(b"\x09SUBSCRIBE", at, len)),
            Step::Broken => return self.send(b"\x80\0").await,
            Step::Cut(size) => {
                self.cut = size;
                return Ok(());
            }
            _ => return Ok(()),
        };
        let mut frame = BytesMut::new();
        self.writer.write(flags, &bytes, &mut frame).unwrap();
        self.send(&frame).await
    }

    async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        // Pieces of one byte would make a long frame take too long.
        let piece = match self.cut {
            0 => bytes.len(),
            cut => cut.max(bytes.len() / 64),
        };
        for piece in bytes.chunks(piece.max(1)) {
            self.stream.write_all(piece).await?;
            if self.cut > 0 {
                yield_now().await;
            }
        }
        Ok(())
    }
}
