//! The heap of one idle connection, by a counting allocator: the machine without I/O, including its
//! own size, in each stage of a CURVE handshake with libzmq, and a whole [`Connection`].
//!
//! The buffers for input and output belong to the caller and are not counted.

use crate::child::job::{client_secret, server_secret};
use crate::ours::in_memory;
use crate::ours::over_tcp;
use crate::output::report::Report;
use crate::peers::zmq::{Curve, Kind, Zmq};
use allocation_counter::measure;
use bytes::BytesMut;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use zmtp_auth::handshake::Handshake;
use zmtp_auth::net::{Connection, Listener};
use zmtp_auth::traffic::frames::FrameReader;
use zmtp_auth::{Config, Domain, KeyPair, Limits, SocketType, Verdict};

/// The longest wait for libzmq.
const PATIENCE: Duration = Duration::from_secs(20);
const PAIRS: usize = 50;
/// The messages that each connection carries before it is measured again.
const MESSAGES: usize = 4000;
const MESSAGE: usize = 1000;

pub fn run(report: &mut Report, zmq: &Zmq) {
    if report.wants("heap machine") {
        machine(report, zmq);
    }
    if report.wants("heap connection") {
        connection(report);
    }
}

/// The server's machine on a stream whose other end is a DEALER of libzmq.
fn machine(report: &mut Report, zmq: &Zmq) {
    let server = Config::builder(SocketType::Router)
        .curve_server(KeyPair::from_secret(server_secret()))
        .authorize(Domain::from("bench"))
        .finish()
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (public, client) = (client_secret().public_key(), client_secret());
    let dealer = zmq.socket(
        Kind::Dealer,
        Some(&Curve::Client {
            public: public.as_bytes(),
            secret: client.expose(),
            server: server_secret().public_key().as_bytes(),
        }),
    );
    dealer.connect(&format!("tcp://{}", listener.local_addr().unwrap()));
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();

    let (mut input, mut out) = (BytesMut::with_capacity(4096), BytesMut::with_capacity(4096));
    let mut live = 0;
    let mut counted = |step: &mut dyn FnMut() -> Handshake| {
        let mut next = None;
        live += measure(|| next = Some(step())).bytes_current;
        let next = next.unwrap();
        let own = std::mem::size_of_val(&next) as i64;
        (next, live + own)
    };
    let (mut machine, mut held) =
        counted(&mut || Handshake::start(&server, in_memory::conn(), &mut out));
    let (mut before_hello, mut peak) = (held, held);
    while let Handshake::NeedsInput(waiting) = machine {
        if !waiting.has_valid_command() {
            before_hello = held;
        }
        exchange(&mut stream, &mut input, &mut out);
        let mut waiting = Some(waiting);
        (machine, held) = counted(&mut || {
            let waiting = waiting.take().unwrap();
            waiting.process(&mut input, &mut out).unwrap()
        });
        peak = peak.max(held);
    }
    report.alone("heap machine before HELLO", "bytes", before_hello as f64);
    report.alone("heap machine before authorisation", "bytes", peak as f64);
    let Handshake::Authorize(question) = machine else {
        panic!("the server asks");
    };
    let mut question = Some(question);
    let (established, _) = counted(&mut || {
        let verdict = Verdict::allow("somebody");
        let question = question.take().unwrap();
        question.resume(verdict, &mut out).unwrap()
    });
    report.alone("heap machine established", "bytes", live as f64);
    let Handshake::Complete(established) = established else {
        panic!("the handshake is complete");
    };
    // libzmq shows that it is complete.
    dealer.send(b"hello");
    let mut reader = FrameReader::new(established.opener, &Limits::default());
    let frame = loop {
        if let Some(frame) = reader.read(&mut input).unwrap() {
            break frame;
        }
        exchange(&mut stream, &mut input, &mut out);
    };
    assert_eq!(frame.body, "hello");
}

/// Sends the output and waits for input.
fn exchange(stream: &mut TcpStream, input: &mut BytesMut, out: &mut BytesMut) {
    stream.write_all(out).unwrap();
    out.clear();
    let mut bytes = [0; 1024];
    let read = stream.read(&mut bytes).expect("libzmq says something");
    assert_ne!(read, 0, "libzmq stays");
    input.extend_from_slice(&bytes[..read]);
}

fn connection(report: &mut Report) {
    // One thread, because the allocator counts by thread.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let server = Config::builder(SocketType::Pull)
        .curve_server(KeyPair::from_secret(server_secret()))
        .accept_any_peer()
        .finish()
        .unwrap();
    let listener = runtime
        .block_on(Listener::bind("tcp://127.0.0.1:*", server))
        .unwrap();
    // The memory that the first connection leaves in runtime and listener is not a connection's.
    drop(runtime.block_on(pair(&listener)));
    let mut pairs = Vec::with_capacity(PAIRS);
    let idle = measure(|| {
        runtime.block_on(async {
            while pairs.len() < PAIRS {
                pairs.push(pair(&listener).await);
            }
            settle().await;
        });
    });
    let each = |bytes: i64| bytes as f64 / (2 * PAIRS) as f64;
    report.alone("heap connection, new", "bytes", each(idle.bytes_current));
    let busy = measure(|| {
        runtime.block_on(async {
            for (receiver, sender) in &mut pairs {
                traffic(sender, receiver).await;
            }
            settle().await;
        });
    });
    let after = idle.bytes_current + busy.bytes_current;
    report.alone("heap connection, after traffic", "bytes", each(after));
}

/// Waits until the tasks of all connections are idle, and have freed what a busy connection keeps.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

async fn traffic(sender: &mut Connection, receiver: &mut Connection) {
    let payload = [7; MESSAGE];
    let sending = async {
        for _ in 0..MESSAGES {
            sender.send(payload.as_slice()).await.unwrap();
        }
    };
    let receiving = async {
        for _ in 0..MESSAGES {
            receiver.recv_message().await.unwrap();
        }
    };
    tokio::join!(sending, receiving);
}

async fn pair(listener: &Listener) -> (Connection, Connection) {
    let client = over_tcp::client(SocketType::Push, true);
    let connecting = Connection::connect(listener.local_endpoint(), client);
    let (accepted, connected) = tokio::join!(listener.accept(), connecting);
    (accepted.unwrap(), connected.unwrap())
}
