//! A host behind an `AuthStream`, and a peer at the other end of the network, both of which follow a
//! script: they send messages in pieces, read at their own pace, break the rules and leave. Every whole
//! message crosses once and in order, whatever ends the connection. What the stream holds is bounded.
//! Neither side waits for ever once the other does what it must.
#![forbid(unsafe_code)]

use crate::choices::Choices;
use bytes::{Buf, Bytes, BytesMut};
use std::cell::OnceCell;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, duplex, split};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use zmtp_auth::PeerContext;
use zmtp_auth::handshake::Established;
use zmtp_auth::host::AuthStream;
use zmtp_auth::traffic::frames::{FrameReader, FrameWriter};
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{Config, Domain, KeyPair, Limits, PeerAddress, SecretKey, Security, SocketType};

const KIB: usize = 1024;
/// Small, so that scripts reach it.
const MAX_MESSAGE: usize = 64 * KIB;
/// Bytes on their way in the network, in one direction. Two commands of a handshake fit.
const NETWORK: usize = 4 * KIB;
/// Most bytes that the stream has taken from one side and not given to the other: two messages, what
/// one read and one write are worth, and what sealing adds to small messages.
const MAX_HELD: usize = 2 * MAX_MESSAGE + 2 * 128 * KIB + NETWORK;
const MAX_STEPS: usize = 300;
/// A stream that hangs fails. A slow machine does not.
const PATIENCE: Duration = Duration::from_secs(30);

/// The first byte chooses mechanism and role. Every two bytes behind it are a step: whose it is and
/// what it does, and how much of it.
pub fn run(data: &[u8]) {
    thread_local! {
        static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
    }
    RUNTIME.with(|runtime| {
        let runtime = runtime.get_or_init(|| {
            let mut builder = Builder::new_current_thread();
            builder.enable_time().build().unwrap()
        });
        let played = runtime.block_on(async { timeout(PATIENCE, play(data)).await });
        played.expect("the stream hangs");
    });
}

async fn play(data: &[u8]) {
    let mut choices = Choices::new(data);
    let (host, peer) = meet(choices.byte()).await;
    let mut sides = [Side::new(host), Side::new(peer)];
    for _ in 0..MAX_STEPS {
        if choices.is_empty() {
            break;
        }
        let (kind, amount) = (choices.byte(), usize::from(choices.byte()));
        // The peer is at the other end of the network, the host at this one.
        let side = &mut sides[usize::from(kind & 1)];
        match kind >> 1 & 7 {
            0 => side.queue(Flags::Last, amount),
            1 => side.queue(Flags::Last, amount * 300),
            2 => side.queue(Flags::More, amount * 10),
            3 => side.write(1 + amount * amount),
            4 => side.read(1 + amount * amount),
            5 => side.flush(),
            6 => side.ping(amount % 20),
            _ if amount < 8 => side.break_off(),
            _ => side.close(),
        }
        // What one has written and the other not read.
        for (from, to) in [(0, 1), (1, 0)] {
            let held = sides[from].written.saturating_sub(sides[to].read);
            assert!(held <= MAX_HELD, "{held} bytes are held");
        }
    }
    let [host, peer] = sides;
    finish(host, peer).await;
}

/// Both send what is queued, close, and read until the other has closed.
async fn finish(host: Side, peer: Side) {
    let (host, peer) = tokio::join!(host.finish(), peer.finish());
    for (from, to, name) in [(&host, &peer, "the peer"), (&peer, &host, "the host")] {
        let count = to.got.len();
        assert!(from.sent.starts_with(&to.got), "{name} got something else");
        // Nothing is lost unless one of them has broken the rules.
        if !from.breaks && !to.breaks {
            assert_eq!(count, from.sent.len(), "{name} has not got everything");
        }
    }
}

/// The stream of either program.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// One of the two programs.
struct Side {
    stream: Box<dyn Stream>,
    reader: FrameReader,
    writer: FrameWriter,
    input: BytesMut,
    out: BytesMut,
    /// Frames of a message that is not whole, and their bytes.
    parts: Vec<Bytes>,
    /// Every whole message in order.
    sent: Vec<Vec<Bytes>>,
    got: Vec<Vec<Bytes>>,
    got_parts: Vec<Bytes>,
    written: usize,
    read: usize,
    breaks: bool,
    closes: bool,
}

impl Side {
    fn new((stream, established, input): End) -> Self {
        Self {
            stream,
            reader: FrameReader::new(established.opener, &Limits::default()),
            writer: FrameWriter::new(established.sealer),
            input,
            out: BytesMut::new(),
            parts: Vec::new(),
            sent: Vec::new(),
            got: Vec::new(),
            got_parts: Vec::new(),
            written: 0,
            read: 0,
            breaks: false,
            closes: false,
        }
    }

    const fn is_over(&self) -> bool {
        self.breaks || self.closes
    }

    /// Prepares a frame. A message over the limit breaks the rules.
    fn queue(&mut self, flags: Flags, len: usize) {
        let len = len.min(MAX_MESSAGE / 2);
        if self.is_over() {
            return;
        }
        let number = (self.sent.len() as u32).to_le_bytes();
        let body: Bytes = number.into_iter().cycle().take(len).collect();
        self.writer.write(flags, &body, &mut self.out).unwrap();
        self.parts.push(body);
        if self.parts.iter().map(Bytes::len).sum::<usize>() > MAX_MESSAGE {
            self.breaks = true;
        } else if flags == Flags::Last {
            self.sent.push(std::mem::take(&mut self.parts));
        }
    }

    /// Prepares a PING. One with a context over 16 bytes breaks the rules.
    fn ping(&mut self, context: usize) {
        if self.is_over() || !self.parts.is_empty() {
            return;
        }
        let body = [&b"\x04PING\0\0"[..], &vec![b'x'; context]].concat();
        self.writer
            .write(Flags::Command, &body, &mut self.out)
            .unwrap();
        self.breaks = context > 16;
    }

    /// Prepares a frame with a reserved bit.
    fn break_off(&mut self) {
        if !self.is_over() {
            self.breaks = true;
            self.out.extend_from_slice(b"\xf0\0");
        }
    }

    /// Writes once, at most so many bytes.
    fn write(&mut self, max: usize) {
        let len = self.out.len().min(max);
        if len == 0 {
            return;
        }
        let cx = &mut Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(count)) = Pin::new(&mut self.stream).poll_write(cx, &self.out[..len])
        {
            self.written += count;
            self.out.advance(count);
        }
    }

    fn flush(&mut self) {
        let cx = &mut Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut self.stream).poll_flush(cx);
    }

    /// Begins a shutdown, if everything is written.
    fn close(&mut self) {
        if self.out.is_empty() {
            self.closes = true;
            let cx = &mut Context::from_waker(Waker::noop());
            let _ = Pin::new(&mut self.stream).poll_shutdown(cx);
        }
    }

    /// Reads once, at most so many bytes.
    fn read(&mut self, max: usize) {
        let mut room = vec![0; max];
        let mut buffer = ReadBuf::new(&mut room);
        let cx = &mut Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(())) = Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            let bytes = buffer.filled();
            self.read += bytes.len();
            self.input.extend_from_slice(bytes);
            let Self {
                reader,
                input,
                got_parts,
                got,
                ..
            } = self;
            take_frames(reader, input, got_parts, got);
        }
    }

    /// Sends the rest and closes, and reads to the end meanwhile. A program whose reads fail gives up.
    async fn finish(mut self) -> Done {
        let out = std::mem::take(&mut self.out);
        let (mut from, mut to) = split(self.stream);
        let writing = async {
            // An error means that one of the two has broken the rules. Reading tells.
            if to.write_all(&out).await.is_ok() {
                let _ = to.shutdown().await;
            }
        };
        let mut rest = BytesMut::new();
        let reading = async {
            while from.read_buf(&mut rest).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        let _ = tokio::try_join!(reading, async {
            writing.await;
            Ok(())
        });
        self.input.extend_from_slice(&rest);
        let mut got = self.got;
        let mut parts = self.got_parts;
        take_frames(&mut self.reader, &mut self.input, &mut parts, &mut got);
        Done {
            sent: self.sent,
            got,
            breaks: self.breaks,
        }
    }
}

/// What has become of a program.
struct Done {
    sent: Vec<Vec<Bytes>>,
    got: Vec<Vec<Bytes>>,
    breaks: bool,
}

fn take_frames(
    reader: &mut FrameReader,
    input: &mut BytesMut,
    parts: &mut Vec<Bytes>,
    got: &mut Vec<Vec<Bytes>>,
) {
    while let Some(frame) = reader.read(input).expect("the stream keeps the rules") {
        match frame.flags {
            Flags::Command => {}
            Flags::More => parts.push(frame.body),
            Flags::Last => {
                parts.push(frame.body);
                got.push(std::mem::take(parts));
            }
        }
    }
}

fn keys(seed: u8) -> KeyPair {
    KeyPair::from_secret(SecretKey::from_bytes(&[seed; 32]).expect("not zero"))
}

fn null() -> Security {
    let config = Config::builder(SocketType::Dealer).null().accept_any_peer();
    config.finish().unwrap().into()
}

/// The security of both ends: of the one that connects, and of the one that accepts.
fn securities(curve: bool) -> (Security, Security) {
    let mut limits = Limits::default();
    limits.max_message = MAX_MESSAGE;
    let router = ZapRouter::new();
    let admit = async |request: ZapRequest| request.allow("peer");
    router.bind("fuzz", admit).unwrap();
    let builder = || Config::builder(SocketType::Dealer).limits(limits.clone());
    let domain = Domain::from("fuzz");
    if curve {
        let client = builder().curve_client(keys(1), keys(2).public_key());
        let server = builder().curve_server(keys(2)).authorize(domain);
        let server = (server.finish().unwrap(), router);
        (client.finish().unwrap().into(), server.into())
    } else {
        let client = builder().null().accept_any_peer();
        let server = builder().null().authorize(domain);
        let server = (server.finish().unwrap(), router);
        (client.finish().unwrap().into(), server.into())
    }
}

fn context() -> PeerContext {
    PeerContext::new(PeerAddress::from_zap(b"127.0.0.1"))
}

type End = (Box<dyn Stream>, Established, BytesMut);

/// A host behind a stream, and its peer, after their handshakes.
async fn meet(choice: u8) -> (End, End) {
    let (client, server) = securities(choice & 1 != 0);
    let accepts = choice & 2 != 0;
    let (network, far) = duplex(NETWORK);
    let host = async {
        let stream = if accepts {
            AuthStream::accept(network, context(), &server).await
        } else {
            AuthStream::connect(network, &client).await
        };
        conduct(stream.unwrap(), &null()).await
    };
    let peer = conduct(far, if accepts { &client } else { &server });
    tokio::join!(host, peer)
}

async fn conduct(mut stream: impl Stream + 'static, security: &Security) -> End {
    let mut input = BytesMut::new();
    let secured = security.conduct(context(), &mut stream, &mut input).await;
    (Box::new(stream), secured.unwrap().into_established(), input)
}

/// The seeds: an honest exchange, a side that does not read, rules that are broken, and early ends.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    const HOST: u8 = 0;
    const PEER: u8 = 1;
    const SMALL: u8 = 0;
    const LARGE: u8 = 2;
    const PART: u8 = 4;
    const WRITE: u8 = 6;
    const READ: u8 = 8;
    const FLUSH: u8 = 10;
    const PING: u8 = 12;
    const END: u8 = 14;
    let mut seeds = Vec::new();
    let mut seed = |name: &str, setup: u8, steps: &[[u8; 2]]| {
        seeds.push((
            format!("{name}-{setup}"),
            [&[setup][..], &steps.concat()].concat(),
        ));
    };
    for setup in 0..4 {
        let honest = [
            [PEER | SMALL, 5],
            [PEER | PART, 20],
            [PEER | LARGE, 200],
            [PEER | PING, 16],
            [PEER | WRITE, 255],
            [HOST | READ, 255],
            [HOST | PART, 20],
            [HOST | SMALL, 3],
            [HOST | WRITE, 3],
            [HOST | WRITE, 255],
            [HOST | FLUSH, 0],
            [PEER | READ, 255],
            [HOST | END, 255],
            [PEER | READ, 255],
            [PEER | END, 255],
        ];
        seed("honest", setup, &honest);
        for side in [HOST, PEER] {
            let unread = [[side | LARGE, 100], [side | WRITE, 255], [side | FLUSH, 0]].repeat(60);
            seed(&format!("unread-{side}"), setup, &unread);
            let broken = [vec![[side | SMALL, 100]; 50], vec![[side | END, 0]]].concat();
            let broken = [broken, vec![[side | WRITE, 255], [side ^ 1 | READ, 9]]].concat();
            seed(&format!("broken-{side}"), setup, &broken);
            let long_ping = [[side | SMALL, 9], [side | PING, 17], [side | WRITE, 255]];
            seed(&format!("ping-{side}"), setup, &long_ping);
            let too_long = [[side | LARGE, 255], [side | PART, 255]].repeat(3);
            seed(&format!("in-parts-{side}"), setup, &too_long);
        }
    }
    seeds
}
