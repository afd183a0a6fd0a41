//! Messages a second through `AuthStream`s, against our own connections and against a tunnel: CURVE
//! over loopback. Behind a stream is a ZMTP stack that knows NULL alone, as its author would write it:
//! frames are encoded into a buffer that is written when it is large enough, and decoded from a buffer
//! that is read into.

use crate::child::handle::{Child, tell};
use crate::child::job::{Job, Task, client_secret, server_secret};
use crate::child::under_load::{BOTH_ENDS, Ends};
use crate::measuring::pairing::Side;
use crate::measuring::stopwatch::Counter;
use crate::ours::over_tcp::admits_all;
use crate::output::report::Report;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use zmtp_auth::PeerContext;
use zmtp_auth::handshake::Established;
use zmtp_auth::host::AuthStream;
use zmtp_auth::traffic::frames::{FrameReader, FrameWriter};
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::{Config, Domain, KeyPair, Limits, PeerAddress, Security, SocketType};

const SIZES: [usize; 3] = [64, 1024, 64 * 1024];
const ROUNDS: usize = 5;
/// Bytes that are encoded before they are written, and room that is read into.
const BUFFER: usize = 64 * 1024;

pub fn run(report: &mut Report) {
    for size in SIZES {
        let case = format!("AuthStream CURVE {size}");
        report.compare(&case, "Connection", BOTH_ENDS, ROUNDS, |side| {
            against_connection(side, size)
        });
    }
    for size in SIZES {
        let case = format!("AuthStream, server, CURVE {size}");
        report.compare(&case, "tunnel over ipc", BOTH_ENDS, ROUNDS, |side| {
            against_tunnel(side, size)
        });
    }
}

const fn job(task: Task, curve: bool, size: usize) -> Job {
    Job {
        side: Side::Ours,
        task,
        curve,
        size,
        threads: 1,
    }
}

/// Two hosts behind streams, or two connections.
fn against_connection(side: Side, size: usize) -> [f64; 3] {
    let (pull, push): (_, fn(String) -> Task) = match side {
        Side::Ours => (Task::StreamPull, |to| Task::StreamPush { to }),
        Side::Libzmq => (Task::Pull, |to| Task::Push { to }),
    };
    Ends::start(|task| job(task, true, size), pull, push).figures()
}

/// A host behind a stream, or a connection without security behind a tunnel. Their sender is the same.
fn against_tunnel(side: Side, size: usize) -> [f64; 3] {
    let start = |task, curve| Child::start(&job(task, curve, size));
    let mut receivers = match side {
        Side::Ours => vec![start(Task::StreamPull, true)],
        Side::Libzmq => vec![start(Task::PullIpc, false)],
    };
    let mut to = receivers[0].line();
    if side == Side::Libzmq {
        let tunnel = start(Task::Tunnel { to }, true);
        to = tunnel.line();
        receivers.push(tunnel);
    }
    let sender = start(Task::Push { to }, true);
    Ends { sender, receivers }.figures()
}

/// Binds, and says how many messages a second it receives.
pub async fn pull(size: usize) {
    let config = Config::builder(SocketType::Pull)
        .curve_server(KeyPair::from_secret(server_secret()))
        .authorize(Domain::EMPTY);
    let security = Security::from((config.finish().unwrap(), admits_all()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    tell(format!("tcp://{}", listener.local_addr().unwrap()));
    let (stream, address) = listener.accept().await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut stream = AuthStream::accept(stream, address, &security)
        .await
        .unwrap();
    let (Established { opener, .. }, mut input) = meet(&mut stream, SocketType::Pull).await;
    let mut reader = FrameReader::new(opener, &Limits::default());
    let mut frames = Vec::new();
    let mut counter = Counter::new(size);
    loop {
        reader
            .read_many(&mut input, usize::MAX, &mut frames)
            .unwrap();
        for frame in frames.drain(..) {
            assert_eq!(frame.body.len(), size);
            if let Some(rate) = counter.count() {
                tell(rate);
            }
        }
        input.reserve(reader.wanted(&input).max(BUFFER));
        // Until the sender is gone.
        if stream.read_buf(&mut input).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

/// Connects, and sends for ever.
pub async fn push(to: &str, payload: &[u8]) {
    let config = Config::builder(SocketType::Push).curve_client(
        KeyPair::from_secret(client_secret()),
        server_secret().public_key(),
    );
    let security = Security::from(config.finish().unwrap());
    let stream = TcpStream::connect(to.trim_start_matches("tcp://"))
        .await
        .unwrap();
    stream.set_nodelay(true).unwrap();
    let mut stream = AuthStream::connect(stream, &security).await.unwrap();
    let (Established { sealer, .. }, _) = meet(&mut stream, SocketType::Push).await;
    let mut writer = FrameWriter::new(sealer);
    let mut out = BytesMut::new();
    loop {
        while out.len() < BUFFER {
            writer.write(Flags::Last, payload, &mut out).unwrap();
        }
        // Until the receiver has measured enough and closes.
        if stream.write_all(&out).await.is_err() {
            return;
        }
        out.clear();
    }
}

/// Conducts the host's own handshake.
async fn meet(stream: &mut AuthStream<TcpStream>, kind: SocketType) -> (Established, BytesMut) {
    let null = Config::builder(kind).null().accept_any_peer();
    let null = Security::from(null.finish().unwrap());
    let context = PeerContext::new(PeerAddress::from_zap(b"127.0.0.1"));
    let mut input = BytesMut::new();
    let secured = null.conduct(context, stream, &mut input).await.unwrap();
    (secured.into_established(), input)
}
