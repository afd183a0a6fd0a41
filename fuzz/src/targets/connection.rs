//! A whole connection over a real socket, or two with a tunnel between them: an admitted peer that
//! follows a script, and an application that receives at its own pace. Every complete message is
//! delivered once and in order, whatever ends the connection. A peer that violates the protocol is
//! closed. Memory is bounded by the limits and not by the traffic. No task outlives the connection.
#![forbid(unsafe_code)]

use crate::choices::Choices;
use bytes::{Bytes, BytesMut};
use peak_alloc::PeakAlloc;
use std::cell::OnceCell;
use std::future::{Future, ready};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use zmtp_auth::PeerContext;
use zmtp_auth::handshake::Handshake;
use zmtp_auth::net::{
    Connection, Endpoint, Incoming, Listener, Message, NetError, Tunnel, TunnelOptions,
};
use zmtp_auth::traffic::frames::FrameWriter;
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{Config, Domain, KeyPair, Limits, NoPolicy, PeerAddress, SecretKey, SocketType};

/// Counts the bytes that are allocated.
#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// The limits, small so that scripts reach them.
const MAX_MESSAGE: usize = 512 * KIB;
const MAX_FRAMES: usize = 120;
const READ_AHEAD: usize = 64 * KIB;
/// The longest script in steps, and the most bytes that a peer sends.
const MAX_STEPS: usize = 400;
const MAX_SENT: usize = 24 * MIB;
/// The most bytes of a connection: the parts of one message with the rounding of their allocations, a
/// buffer for the next frame, what is read ahead, and some bookkeeping. The buffers of the scripted
/// peer are counted too.
const MAX_HELD: usize = 2 * MAX_MESSAGE + 2 * MAX_MESSAGE + 4 * READ_AHEAD + MIB;
/// A tunnel holds twice that, and what it is sending.
const MAX_HELD_WITH_TUNNEL: usize = 2 * MAX_HELD + 2 * MAX_MESSAGE;
/// The longest run. It is long enough for a slow machine, so only a connection that hangs fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// One step of a script.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// The peer sends a part of a message, with more to come.
    Part(usize),
    /// The peer sends the last part of a message.
    Last(usize),
    /// The peer sends a command that does not exist, which is ignored.
    Unknown(usize),
    /// The peer sends a PING.
    Ping(usize),
    /// The peer subscribes, which an XPUB delivers and others ignore.
    Subscribe(usize),
    /// The peer sends a frame with a reserved bit.
    Broken,
    /// The peer sends in pieces of this size from here on; 0 is all at once.
    Cut(usize),
    /// The peer takes what was sent to it.
    Listen,
    /// The application receives this many times, if something has arrived.
    Receive(usize),
    /// The application sends a message, if there is room.
    Send(usize),
    /// Both wait, so that the connection makes progress.
    Wait(usize),
    /// The peer closes, even with answers unread.
    Leave,
}

impl Step {
    const fn is_the_peers(self) -> bool {
        matches!(
            self,
            Self::Part(_)
                | Self::Last(_)
                | Self::Unknown(_)
                | Self::Ping(_)
                | Self::Subscribe(_)
                | Self::Broken
                | Self::Cut(_)
        )
    }
}

/// The first byte chooses the mechanism, the socket and how the peer closes. Every two bytes after it
/// are a step.
pub fn run(data: &[u8]) {
    thread_local! {
        static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
    }
    let mut choices = Choices::new(data);
    let setup = Setup::from(choices.byte());
    let script = script(&mut choices);
    RUNTIME.with(|runtime| {
        let runtime = runtime.get_or_init(|| {
            // Sockets are polled in each turn, so that a script does the same every time.
            let mut builder = Builder::new_current_thread();
            builder.enable_all().event_interval(1).build().unwrap()
        });
        let played = runtime.block_on(async { timeout(PATIENCE, play(setup, script)).await });
        played.expect("the connection hangs");
    });
}

fn script(choices: &mut Choices<'_>) -> Vec<Step> {
    let mut script = Vec::new();
    let mut sent = 0;
    while !choices.is_empty() && script.len() < MAX_STEPS {
        let (kind, size) = (choices.byte(), choices.byte());
        let short = usize::from(size);
        let len = match short {
            0..128 => short,
            long => (long - 127) * 2 * KIB,
        };
        let step = match kind % 12 {
            0 => Step::Part(len),
            1 => Step::Last(len),
            2 => Step::Unknown(len),
            3 => Step::Ping(short % 18),
            4 => Step::Subscribe(len),
            5 => Step::Broken,
            6 => Step::Cut(len),
            7 => Step::Listen,
            8 => Step::Receive(short),
            9 => Step::Send(len),
            10 => Step::Wait(short),
            _ => Step::Leave,
        };
        sent += len;
        if sent > MAX_SENT {
            break;
        }
        script.push(step);
    }
    script
}

#[derive(Debug, Clone, Copy)]
struct Setup {
    curve: bool,
    socket: SocketType,
    /// Whether a tunnel stands between the two, which takes CURVE and speaks NULL.
    tunnel: bool,
}

impl From<u8> for Setup {
    fn from(byte: u8) -> Self {
        Self {
            curve: byte & 1 != 0 || byte & 4 != 0,
            socket: [SocketType::Dealer, SocketType::Xpub][usize::from(byte >> 1 & 1)],
            tunnel: byte & 4 != 0,
        }
    }
}

impl Setup {
    fn limits() -> Limits {
        let mut limits = Limits::default();
        limits.max_message = MAX_MESSAGE;
        limits.max_frames = MAX_FRAMES;
        limits.read_ahead = READ_AHEAD;
        limits
    }

    fn server(self) -> Config<NoPolicy> {
        let builder = Config::builder(self.socket).limits(Self::limits());
        let finished = if self.curve && !self.tunnel {
            builder.curve_server(keys(2)).accept_any_peer().finish()
        } else {
            builder.null().accept_any_peer().finish()
        };
        finished.unwrap()
    }

    /// A tunnel from `path` to the application.
    async fn tunnel(path: &Path, forward: &Endpoint) -> Tunnel {
        let config = Config::builder(SocketType::Relay)
            .limits(Self::limits())
            .curve_server(keys(2))
            .authorize(Domain::from("fuzz"));
        let router = ZapRouter::new();
        let admit = async |request: ZapRequest| request.allow("peer");
        router.bind("fuzz", admit).unwrap();
        let endpoint = format!("ipc://{}", path.display());
        let options = TunnelOptions::default();
        let config = config.finish().unwrap();
        let opened = Tunnel::server(endpoint.as_str(), forward, (config, router), options).await;
        opened.unwrap()
    }

    fn client(self) -> Config<NoPolicy> {
        let socket = match self.socket {
            SocketType::Xpub => SocketType::Xsub,
            other => other,
        };
        let builder = Config::builder(socket);
        let finished = if self.curve {
            builder.curve_client(keys(1), keys(2).public_key()).finish()
        } else {
            builder.null().accept_any_peer().finish()
        };
        finished.unwrap()
    }
}

fn keys(seed: u8) -> KeyPair {
    KeyPair::from_secret(SecretKey::from_bytes(&[seed; 32]).expect("not zero"))
}

/// What the application must receive, and whether the peer violates the protocol after that.
#[derive(Debug, Default)]
struct Expected {
    deliveries: Vec<Incoming>,
    breaks: bool,
}

/// A second implementation of the rules: what a script must lead to.
fn expected(setup: Setup, script: &[Step]) -> Expected {
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

/// The payload of a step, which identifies the step.
fn body(step: usize, len: usize) -> Bytes {
    let number = (step as u32).to_le_bytes();
    number.into_iter().cycle().take(len).collect()
}

async fn play(setup: Setup, script: Vec<Step>) {
    let before = Handle::current().metrics().num_alive_tasks();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let endpoint = format!("ipc://{}", path.display());
    let listener = Listener::bind(endpoint.as_str(), setup.server())
        .await
        .unwrap();
    let (path, tunnel) = if setup.tunnel {
        let front = folder.path().join("tunnel");
        let tunnel = Setup::tunnel(&front, listener.local_endpoint()).await;
        (front, Some(tunnel))
    } else {
        (path, None)
    };
    let config = setup.client();
    let (peer, connection) = tokio::join!(Peer::connect(&path, &config), listener.accept());
    let connection = connection.unwrap();
    let expected = expected(setup, &script);

    let held_before = ALLOCATOR.current_usage();
    let (position, follow) = watch::channel(0);
    let (peer, reader) = peer.split();
    let speaking = tokio::spawn(speak(peer, script.clone(), follow, expected.breaks));
    let mut application = Application {
        connection,
        reader: Some(reader),
        received: Vec::new(),
        end: None,
    };
    for (at, step) in script.iter().enumerate() {
        // Consecutive steps of the peer arrive in one piece.
        if !step.is_the_peers() {
            position.send_replace(at + 1);
        }
        application.take(step).await;
        check_held(setup, held_before, &application.received);
    }
    position.send_replace(usize::MAX);
    // The application receives only now what the peer has sent.
    for _ in 0..4 {
        sleep(Duration::from_micros(200)).await;
        check_held(setup, held_before, &application.received);
    }
    application.finish(setup, &expected).await;
    drop((application, position));
    speaking.await.unwrap();
    if let Some(tunnel) = tunnel {
        let _ = tunnel.close().await;
    }
    listener.close().await;
    eventually(|| Handle::current().metrics().num_alive_tasks() <= before).await;
}

/// Memory is bounded by the limits and by what the application holds.
fn check_held(setup: Setup, before: usize, received: &[Incoming]) {
    // A received message may share a buffer with other data that was read with it.
    let taken: usize = received
        .iter()
        .map(|incoming| 2 * size(incoming) + 256)
        .sum();
    let held = ALLOCATOR.current_usage().saturating_sub(before);
    let max = if setup.tunnel {
        MAX_HELD_WITH_TUNNEL
    } else {
        MAX_HELD
    };
    assert!(
        held <= max + taken,
        "{held} bytes are held, and {taken} of them may be the application's"
    );
}

fn size(incoming: &Incoming) -> usize {
    match incoming {
        Incoming::Message(message) => message.size() + 64 * message.frames().len(),
        Incoming::Subscribe(topic) | Incoming::Unsubscribe(topic) => topic.len(),
        other => panic!("{other:?}"),
    }
}

async fn eventually(mut holds: impl FnMut() -> bool) {
    while !holds() {
        sleep(Duration::from_micros(100)).await;
    }
}

struct Application {
    connection: Connection,
    /// The peer's side of what the application sends.
    reader: Option<OwnedReadHalf>,
    received: Vec<Incoming>,
    end: Option<NetError>,
}

impl Application {
    async fn take(&mut self, step: &Step) {
        match *step {
            Step::Receive(times) => {
                for _ in 0..times {
                    let Some(received) = at_once(self.connection.recv()).await else {
                        break;
                    };
                    self.keep(received);
                    if self.end.is_some() {
                        break;
                    }
                }
            }
            Step::Send(len) => {
                let message = Message::from(vec![b'a'; len]);
                // The peer may have closed. Only receiving tells how the connection ended.
                let _ = at_once(self.connection.send(message)).await;
            }
            Step::Listen => {
                if let Some(reader) = &mut self.reader {
                    let mut heard = [0; 4096];
                    while let Ok(1..) = reader.try_read(&mut heard) {}
                }
            }
            Step::Wait(times) => {
                for _ in 0..times {
                    yield_now().await;
                }
            }
            Step::Leave => self.reader = None,
            _ => {}
        }
    }

    fn keep(&mut self, received: Result<Incoming, NetError>) {
        match received {
            Ok(incoming) => self.received.push(incoming),
            Err(error) => self.end = Some(error),
        }
    }

    /// Receives to the end, and checks that everything expected has arrived. The peer sees its end
    /// too.
    async fn finish(&mut self, setup: Setup, expected: &Expected) {
        let mut reader = self.reader.take();
        let listen = async {
            if let Some(reader) = &mut reader {
                let mut heard = vec![0; 64 * KIB];
                while let Ok(1..) = reader.read(&mut heard).await {}
            }
        };
        let receive = async {
            while self.end.is_none() {
                let received = self.connection.recv().await;
                self.keep(received);
            }
        };
        tokio::join!(listen, receive);
        let arrived = self.received.len();
        let wanted = expected.deliveries.len();
        assert_eq!(
            arrived, wanted,
            "received {arrived} of {wanted}: {:?}",
            self.end
        );
        for (at, (arrived, wanted)) in self.received.iter().zip(&expected.deliveries).enumerate() {
            assert!(arrived == wanted, "delivery {at} differs");
        }
        let is_right = match &self.end {
            Some(NetError::Traffic(_)) => expected.breaks && !setup.tunnel,
            Some(NetError::Closed) => !expected.breaks || setup.tunnel,
            _ => false,
        };
        assert!(
            is_right,
            "ended by {:?}, breaks: {}",
            self.end, expected.breaks
        );
    }
}

/// The output of `future` if it is ready within some turns.
async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(future);
    for _ in 0..4 {
        tokio::select! {
            biased;
            value = &mut future => return Some(value),
            () = ready(()) => {}
        }
        yield_now().await;
    }
    None
}

/// A peer that has completed its handshake.
struct Peer {
    stream: UnixStream,
    writer: FrameWriter,
}

impl Peer {
    async fn connect(path: &Path, config: &Config<NoPolicy>) -> Self {
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

    fn split(self) -> (Speaker, OwnedReadHalf) {
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

struct Speaker {
    stream: tokio::net::unix::OwnedWriteHalf,
    writer: FrameWriter,
    cut: usize,
}

/// Sends the peer's part of the script, but no further than the application has come. A peer that has
/// violated the protocol goes on sending: the other side must close by itself.
async fn speak(
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

fn command(name: &[u8], step: usize, len: usize) -> Bytes {
    [name, &body(step, len)].concat().into()
}

/// The seeds: scripts that once failed, and an honest exchange.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    /// 4,096 + 2,048 bytes, 256 KiB, and the longest message.
    const PART: u8 = 130;
    const LONG: u8 = 255;
    let steps = |setup: u8, steps: &[[u8; 2]]| [&[setup][..], &steps.concat()].concat();
    let mut seeds = Vec::new();
    for setup in 0..6 {
        let honest = [
            [1, 5],
            [9, 7],
            [7, 0],
            [0, 200],
            [3, 9],
            [1, 0],
            [8, 9],
            [4, 3],
        ];
        seeds.push((format!("honest-{setup}"), steps(setup, &honest)));
        let parts = [[0, PART], [2, LONG], [10, 9]].repeat(60);
        let parts = [parts, vec![[1, 3], [10, 200]]].concat();
        seeds.push((
            format!("parts-among-commands-{setup}"),
            steps(setup, &parts),
        ));
        let messages = [[1, PART], [2, LONG]].repeat(60);
        seeds.push((
            format!("messages-among-commands-{setup}"),
            steps(setup, &messages),
        ));
        let many = [[1, 128]; 40];
        let answers = [
            [10, 255],
            [11, 0],
            [10, 255],
            [9, 9],
            [10, 255],
            [9, 9],
            [10, 255],
        ];
        let answered = [&many[..], &answers].concat();
        seeds.push((format!("answered-{setup}"), steps(setup, &answered)));
        let broken = [vec![[1, 100]; 200], vec![[5, 0]], vec![[1, 255]; 20]].concat();
        seeds.push((format!("broken-in-front-{setup}"), steps(setup, &broken)));
        let dripping = [[6, 90], [1, 254], [10, 40], [6, 0], [1, 254], [8, 3]];
        seeds.push((format!("dripping-{setup}"), steps(setup, &dripping)));
        let pings = [vec![[3, 16]; 100], vec![[1, 3], [9, 4], [3, 17], [1, 2]]].concat();
        seeds.push((format!("pings-{setup}"), steps(setup, &pings)));
    }
    seeds
}
