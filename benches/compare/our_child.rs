//! A child that uses this library: a task on the runtime that `#[tokio::main]` would make.

use crate::child::tell;
use crate::fan_out;
use crate::host;
use crate::idle;
use crate::job::{Job, Task, client_secret, server_secret};
use crate::sockets;
use crate::stopwatch::{Counter, Pings};
use crate::streams;
use std::time::Instant;
use zmtp_auth::net::{Connection, Listener, Message, Tunnel, TunnelOptions};
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{Config, Domain, KeyPair, NoPolicy, SocketType};

const ANY_PORT: &str = "tcp://127.0.0.1:*";

pub fn run(job: Job) {
    if let Task::ServeCounted { peers } = job.task {
        return idle::serve_counted(&job, peers);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    // On the runtime's own threads, where an application has its tasks.
    let task = runtime.spawn(async move { work(&job).await });
    runtime.block_on(task).unwrap();
}

async fn work(job: &Job) {
    let payload = vec![7; job.size];
    match &job.task {
        Task::Pull => {
            let listener = bind(job, SocketType::Pull).await;
            pull(listener.accept().await.unwrap(), job.size).await;
        }
        Task::PullIpc => {
            let path = std::env::temp_dir().join(format!("zmtp-auth-{}", std::process::id()));
            let endpoint = format!("ipc://{}", path.display());
            let listener = bind_to(&endpoint, job, SocketType::Pull).await;
            pull(listener.accept().await.unwrap(), job.size).await;
        }
        Task::StreamPull => host::pull(job.size).await,
        Task::StreamPush { to } => host::push(to, &payload).await,
        Task::Push { to } => {
            let mut connection = connect(job, SocketType::Push, to).await;
            // Until the receiver has measured enough and closes.
            while connection.send(payload.as_slice()).await.is_ok() {}
        }
        Task::SocketPull => sockets::pull(job).await,
        Task::SocketPush { to } => sockets::push(job, to, &payload).await,
        Task::SocketRouter => sockets::router(job).await,
        Task::SocketDealers { to } => sockets::dealers(job, to, &payload).await,
        Task::FanOut { subscribers } => fan_out::publish(job, *subscribers, &payload).await,
        Task::FanIn { to, subscribers } => fan_out::subscribe(job, to, *subscribers).await,
        Task::ConnectionsOut { subscribers } => {
            fan_out::publish_by_connections(job, *subscribers, &payload).await;
        }
        Task::ConnectionsIn { to, subscribers } => {
            fan_out::subscribe_by_connections(job, to, *subscribers).await;
        }
        Task::PullMany { peers } => streams::receive(job, *peers).await,
        Task::PushMany { to, peers } => streams::send(job, to, *peers, &payload).await,
        Task::Idle { to, peers } => idle::clients(to, *peers).await,
        Task::ServeCounted { .. } => unreachable!("it has a runtime of its own"),
        Task::Echo => {
            let listener = bind(job, SocketType::Dealer).await;
            let mut connection = listener.accept().await.unwrap();
            // Until the other side is gone.
            while let Ok(message) = connection.recv_message().await {
                drop(message);
                if connection.send(payload.as_slice()).await.is_err() {
                    return;
                }
            }
        }
        Task::Ping { to } => ping(connect(job, SocketType::Dealer, to).await, &payload).await,
        Task::Tunnel { to } => {
            let tunnel = tunnel(to).await;
            tell(tunnel.local_endpoint());
            std::future::pending().await
        }
        Task::Serve => {
            let listener = bind(job, SocketType::Pull).await;
            loop {
                serve_one(listener.accept().await.unwrap());
            }
        }
    }
}

/// A server's tunnel with a policy that admits any key.
async fn tunnel(to: &str) -> Tunnel {
    let config = Config::builder(SocketType::Relay)
        .curve_server(KeyPair::from_secret(server_secret()))
        .authorize(Domain::EMPTY)
        .finish()
        .unwrap();
    let security = (config, admits_all());
    Tunnel::server(ANY_PORT, to, security, TunnelOptions::default())
        .await
        .unwrap()
}

/// A policy that admits any peer.
pub fn admits_all() -> ZapRouter {
    let router = ZapRouter::new();
    let admit = async |request: ZapRequest| request.allow("somebody");
    router.bind("*", admit).unwrap();
    router
}

/// Receives in a task until the client closes.
pub fn serve_one(mut connection: Connection) {
    tokio::spawn(async move { while connection.recv().await.is_ok() {} });
}

pub async fn bind(job: &Job, kind: SocketType) -> Listener {
    bind_to(ANY_PORT, job, kind).await
}

async fn bind_to(endpoint: &str, job: &Job, kind: SocketType) -> Listener {
    let config = server(kind, job.curve);
    let listener = Listener::bind(endpoint, config).await.unwrap();
    tell(listener.local_endpoint());
    listener
}

/// The side that binds.
pub fn server(kind: SocketType, curve: bool) -> Config<NoPolicy> {
    let config = Config::builder(kind);
    let config = if curve {
        config
            .curve_server(KeyPair::from_secret(server_secret()))
            .accept_any_peer()
            .finish()
    } else {
        config.null().accept_any_peer().finish()
    };
    config.unwrap()
}

/// The side that connects, also to a libzmq server.
pub fn client(kind: SocketType, curve: bool) -> Config<NoPolicy> {
    let config = Config::builder(kind);
    let config = if curve {
        let keys = KeyPair::from_secret(client_secret());
        config
            .curve_client(keys, server_secret().public_key())
            .finish()
    } else {
        config.null().accept_any_peer().finish()
    };
    config.unwrap()
}

pub async fn connect(job: &Job, kind: SocketType, to: &str) -> Connection {
    Connection::connect(to, client(kind, job.curve))
        .await
        .unwrap()
}

async fn pull(mut connection: Connection, size: usize) {
    let mut counter = Counter::new(size);
    // Until the sender closes.
    while let Ok(message) = connection.recv_message().await {
        assert_eq!(message.single().map(|frame| frame.len()), Some(size));
        if let Some(rate) = counter.count() {
            tell(rate);
        }
    }
}

async fn ping(mut connection: Connection, payload: &[u8]) {
    let mut pings = Pings::new();
    loop {
        let start = Instant::now();
        // Until the other side is gone.
        if connection.send(Message::from(payload)).await.is_err() {
            return;
        }
        let Ok(answer) = connection.recv_message().await else {
            return;
        };
        assert_eq!(answer.size(), payload.len());
        if let Some(median) = pings.took(start.elapsed()) {
            tell(median);
        }
    }
}
