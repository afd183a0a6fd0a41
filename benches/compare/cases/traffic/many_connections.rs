//! Many connections that stream into one server. The senders have a process together.

use crate::child::handle::tell;
use crate::child::job::{Job, Task};
use crate::child::under_load::{BOTH_ENDS, Ends, at_best};
use crate::measuring::pairing::Side;
use crate::measuring::stopwatch::Counter;
use crate::ours::over_tcp::{bind, connect};
use crate::output::report::Report;
use crate::peers::zmq::Socket;
use std::sync::{Arc, Mutex};
use zmtp_auth::SocketType;

const STREAMS: usize = 100;
const SIZE: usize = 1024;
const ROUNDS: usize = 5;
/// Messages of a connection that are counted together.
const COUNTED: usize = 64;
/// Messages that libzmq's senders, which have one thread, send in turn.
const IN_TURN: usize = 100;

pub fn run(report: &mut Report, libzmq: &str) {
    let case = format!("{STREAMS} connections to one server, CURVE {SIZE}");
    report.compare(&case, libzmq, BOTH_ENDS, ROUNDS, |side| {
        at_best(side, |threads| {
            let job = |task| Job {
                side,
                task,
                curve: true,
                size: SIZE,
                threads,
            };
            let peers = STREAMS;
            let receives = match side {
                Side::Ours => Task::PullMany { peers },
                Side::Libzmq => Task::Pull,
            };
            Ends::start(job, receives, |to| Task::PushMany { to, peers }).figures()
        })
    });
}

/// Receives from each connection in a task of its own.
pub async fn receive(job: &Job, peers: usize) {
    let listener = bind(job, SocketType::Pull).await;
    let mut connections = Vec::with_capacity(peers);
    while connections.len() < peers {
        connections.push(listener.accept().await.unwrap());
    }
    let counter = Arc::new(Mutex::new(Counter::new(job.size)));
    for mut connection in connections {
        let (counter, size) = (Arc::clone(&counter), job.size);
        tokio::spawn(async move {
            let mut received = 0;
            // Until the sender closes.
            while let Ok(message) = connection.recv_message().await {
                assert_eq!(message.single().map(|frame| frame.len()), Some(size));
                received += 1;
                if received == COUNTED {
                    received = 0;
                    let rate = counter.lock().unwrap().count_many(COUNTED as u64);
                    if let Some(rate) = rate {
                        tell(rate);
                    }
                }
            }
        });
    }
    // Until the parent ends this process.
    std::future::pending().await
}

pub async fn send(job: &Job, to: &str, peers: usize, payload: &[u8]) {
    for _ in 0..peers {
        let mut connection = connect(job, SocketType::Push, to).await;
        let payload = payload.to_vec();
        tokio::spawn(async move {
            // Until the receiver has measured enough and closes.
            while connection.send(payload.as_slice()).await.is_ok() {}
        });
    }
    // Until the parent ends this process.
    std::future::pending().await
}

pub fn send_by_libzmq<'a>(connect: impl Fn() -> Socket<'a>, peers: usize, payload: &[u8]) -> ! {
    let sockets: Vec<_> = (0..peers).map(|_| connect()).collect();
    loop {
        for socket in &sockets {
            for _ in 0..IN_TURN {
                socket.send(payload);
            }
        }
    }
}
