//! Heap of one connection, idle, by a counting allocator: the machine without I/O, with its own
//! size, in each stage of a CURVE handshake; and a whole [`Connection`].
//!
//! The buffers that bytes come from and go to are the caller's, and not counted.

use crate::ends;
use crate::job::server_secret;
use crate::our_child;
use crate::report::Report;
use allocation_counter::measure;
use bytes::BytesMut;
use std::time::Duration;
use zmtp_auth::handshake::Handshake;
use zmtp_auth::net::{Connection, Listener};
use zmtp_auth::{Config, Domain, KeyPair, SocketType, Verdict};

const PAIRS: usize = 50;
/// What each connection carries before it is measured again.
const MESSAGES: usize = 4000;
const MESSAGE: usize = 1000;

pub fn run(report: &mut Report) {
    if report.wants("heap machine") {
        machine(report);
    }
    if report.wants("heap connection") {
        connection(report);
    }
}

fn machine(report: &mut Report) {
    let server_keys = KeyPair::generate().unwrap();
    let client = Config::builder(SocketType::Dealer)
        .curve_client(KeyPair::generate().unwrap(), server_keys.public())
        .finish()
        .unwrap();
    let server = Config::builder(SocketType::Router)
        .curve_server(server_keys)
        .authorize(Domain::from("bench"))
        .finish()
        .unwrap();
    let mut to_client = BytesMut::with_capacity(4096);
    let mut to_server = BytesMut::with_capacity(4096);
    let mut client = Handshake::start(&client, ends::conn(), &mut to_server);
    let mut live = 0;
    let mut counted = |step: &mut dyn FnMut() -> Handshake| {
        let mut next = None;
        live += measure(|| next = Some(step())).bytes_current;
        let next = next.unwrap();
        let own = std::mem::size_of_val(&next) as i64;
        (next, live + own)
    };
    let (mut machine, mut held) =
        counted(&mut || Handshake::start(&server, ends::conn(), &mut to_client));
    let (mut before_hello, mut most) = (held, held);
    while let Handshake::NeedsInput(waiting) = machine {
        if !waiting.has_valid_command() {
            before_hello = held;
        }
        client = ends::step(client, &mut to_client, &mut to_server);
        let mut waiting = Some(waiting);
        (machine, held) = counted(&mut || {
            let waiting = waiting.take().unwrap();
            waiting.process(&mut to_server, &mut to_client).unwrap()
        });
        most = most.max(held);
    }
    report.alone("heap machine before HELLO", "bytes", before_hello as f64);
    report.alone("heap machine before authorisation", "bytes", most as f64);
    let Handshake::Authorize(question) = machine else {
        panic!("the server asks");
    };
    let mut question = Some(question);
    let (established, _) = counted(&mut || {
        let verdict = Verdict::allow("somebody");
        let question = question.take().unwrap();
        question.resume(verdict, &mut to_client).unwrap()
    });
    assert!(matches!(established, Handshake::Complete(_)));
    report.alone("heap machine established", "bytes", live as f64);
    drop(client);
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
        .block_on(Listener::bind("tcp://127.0.0.1:*", server, ()))
        .unwrap();
    // What the first connection leaves in the runtime and the listener is not of a connection.
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

/// Lets the tasks of all connections come to rest.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(50)).await;
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
    let client = our_child::client(SocketType::Push, true);
    let connecting = Connection::connect(listener.local_endpoint(), client, ());
    let (accepted, connected) = tokio::join!(listener.accept(), connecting);
    (accepted.unwrap(), connected.unwrap())
}
