//! A child that uses libzmq.

use crate::cases::traffic::fan_out;
use crate::cases::traffic::many_connections;
use crate::cases::traffic::sockets::{DEALERS, UNDER_WAY};
use crate::child::handle::tell;
use crate::child::job::{Job, Task, client_secret, server_secret};
use crate::measuring::stopwatch::{Counter, Pings};
use crate::peers::zmq::{Curve, Kind, Socket, Zmq};
use std::time::Instant;

pub fn run(job: &Job) {
    let zmq = Zmq::load(job.threads);
    let server = server_secret();
    let client = client_secret();
    let (server_public, client_public) = (server.public_key(), client.public_key());
    let as_server = job.curve.then(|| Curve::Server {
        secret: server.expose(),
    });
    let as_client = job.curve.then(|| Curve::Client {
        public: client_public.as_bytes(),
        secret: client.expose(),
        server: server_public.as_bytes(),
    });
    let bound = |kind| {
        let socket = zmq.socket(kind, as_server.as_ref());
        let endpoint = socket.bind();
        (socket, endpoint)
    };
    let told = |kind| {
        let (socket, endpoint) = bound(kind);
        tell(endpoint);
        socket
    };
    let connected = |kind, to: &str| {
        let socket = zmq.socket(kind, as_client.as_ref());
        socket.connect(to);
        socket
    };
    let payload = vec![7; job.size];
    match &job.task {
        Task::Pull => pull(&told(Kind::Pull), job.size),
        Task::Push { to } => {
            let socket = connected(Kind::Push, to);
            loop {
                socket.send(&payload);
            }
        }
        Task::Echo => {
            let socket = told(Kind::Dealer);
            loop {
                socket.receive();
                socket.send(&payload);
            }
        }
        Task::SocketRouter => {
            let socket = told(Kind::Router);
            let mut counter = Counter::new(job.size);
            loop {
                socket.send_back();
                if let Some(rate) = counter.count() {
                    tell(rate);
                }
            }
        }
        Task::SocketDealers { to } => {
            // One thread has them all. Each has its turn, so that no socket is asked in vain.
            let dealers: Vec<_> = (0..DEALERS).map(|_| connected(Kind::Dealer, to)).collect();
            for dealer in dealers.iter().cycle().take(DEALERS * UNDER_WAY) {
                dealer.send(&payload);
            }
            for dealer in dealers.iter().cycle() {
                assert_eq!(dealer.receive(), job.size);
                dealer.send(&payload);
            }
        }
        Task::FanOut { subscribers } => {
            fan_out::publish_by_libzmq(|| bound(Kind::Xpub), *subscribers, &payload);
        }
        Task::FanIn { to, subscribers } => {
            let connect = |endpoint: &str| connected(Kind::Sub, endpoint);
            fan_out::subscribe_by_libzmq(connect, to, job.size, *subscribers);
        }
        Task::Ping { to } => ping(&connected(Kind::Dealer, to), &payload),
        Task::Tunnel { .. } => panic!("libzmq has no tunnel"),
        Task::PushMany { to, peers } => {
            many_connections::send_by_libzmq(|| connected(Kind::Push, to), *peers, &payload);
        }
        Task::PullIpc
        | Task::StreamPull
        | Task::StreamPush { .. }
        | Task::SocketPull
        | Task::SocketPush { .. }
        | Task::ConnectionsOut { .. }
        | Task::ConnectionsIn { .. }
        | Task::PullMany { .. }
        | Task::ServeCounted { .. }
        | Task::Idle { .. } => panic!("only ours does this"),
        Task::Serve => {
            let socket = told(Kind::Pull);
            loop {
                socket.receive();
            }
        }
    }
}

fn pull(socket: &Socket<'_>, size: usize) -> ! {
    let mut counter = Counter::new(size);
    loop {
        assert_eq!(socket.receive(), size);
        if let Some(rate) = counter.count() {
            tell(rate);
        }
    }
}

fn ping(socket: &Socket<'_>, payload: &[u8]) -> ! {
    let mut pings = Pings::new();
    loop {
        let start = Instant::now();
        socket.send(payload);
        assert_eq!(socket.receive(), payload.len());
        if let Some(median) = pings.took(start.elapsed()) {
            tell(median);
        }
    }
}
