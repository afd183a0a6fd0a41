//! The memory of many idle CURVE connections in the process of their server. The clients are ours for
//! both libraries, in a process of their own.

use crate::child::handle::{Child, tell};
use crate::child::job::{Job, Task};
use crate::measuring::pairing::{Better, Side, rounds};
use crate::measuring::stopwatch::open_many_files;
use crate::ours::over_tcp::{bind, client, serve_one};
use crate::output::report::Report;
use allocation_counter::measure;
use std::thread;
use std::time::Duration;
use tokio::task::JoinSet;
use zmtp_auth::SocketType;
use zmtp_auth::net::Connection;

const PEERS: usize = 10_000;
/// Clients that connect at a time.
const AT_ONCE: usize = 64;
/// The client says so whenever this many more are connected.
const STEP: usize = 1000;
/// How long a server may take to free what handshakes needed.
const SETTLE: Duration = Duration::from_millis(300);

pub fn run(report: &mut Report, libzmq: &str) {
    let case = format!("{PEERS} idle CURVE connections");
    if !report.wants(&case) {
        return;
    }
    open_many_files();
    let pair = rounds(1, Better::Less, resident);
    report.measured(&format!("{case}, RSS"), libzmq, "bytes each", pair);
    report.alone(&format!("{case}, heap"), "bytes each", heap());
}

const fn job(side: Side, task: Task) -> Job {
    Job {
        side,
        task,
        curve: true,
        size: 0,
        threads: 1,
    }
}

/// What the process of a server has grown by, for each client.
fn resident(side: Side) -> f64 {
    let server = Child::start(&job(side, Task::Serve));
    let to = server.line();
    let before = server.resident();
    let _clients = connected(to);
    thread::sleep(SETTLE);
    (server.resident() - before) / PEERS as f64
}

/// What is allocated in the process of our server, for each client.
fn heap() -> f64 {
    let server = Child::start(&job(Side::Ours, Task::ServeCounted { peers: PEERS }));
    let _clients = connected(server.line());
    server.figure()
}

/// The clients, once all are connected.
fn connected(to: String) -> Child {
    let clients = Child::start(&job(Side::Ours, Task::Idle { to, peers: PEERS }));
    for _ in 0..PEERS / STEP {
        clients.line();
    }
    clients
}

pub async fn clients(to: &str, peers: usize) {
    let mut connections = Vec::with_capacity(peers);
    let mut connecting = JoinSet::new();
    for begun in 0.. {
        if connecting.len() == AT_ONCE || begun >= peers {
            let Some(connected) = connecting.join_next().await else {
                break;
            };
            connections.push(connected.unwrap());
            if connections.len().is_multiple_of(STEP) {
                tell(connections.len());
            }
        }
        if begun < peers {
            let to = to.to_owned();
            let security = client(SocketType::Push, true);
            connecting.spawn(async move { Connection::connect(&to, security).await.unwrap() });
        }
    }
    // Until the parent ends this process.
    std::future::pending().await
}

/// On one thread, because the allocator counts by thread. Says how many bytes each client takes.
pub fn serve_counted(job: &Job, peers: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(bind(job, SocketType::Pull));
    let all = measure(|| {
        runtime.block_on(async {
            for _ in 0..peers {
                serve_one(listener.accept().await.unwrap());
            }
            tokio::time::sleep(SETTLE).await;
        });
    });
    tell(all.bytes_current as f64 / peers as f64);
    // Until the parent ends this process.
    runtime.block_on(std::future::pending())
}
