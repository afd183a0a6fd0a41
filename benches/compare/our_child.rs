//! A child that uses this library: a task on the runtime that `#[tokio::main]` would make.

use crate::cases::idle;
use crate::cases::traffic::auth_stream;
use crate::cases::traffic::fan_out;
use crate::cases::traffic::many_connections;
use crate::cases::traffic::sockets;
use crate::child::handle::tell;
use crate::child::job::{Job, Task, server_secret};
use crate::measuring::stopwatch::{Counter, Pings};
use crate::ours::over_tcp::{ANY_PORT, admits_all, bind, bind_to, connect, serve_one};
use std::time::Instant;
use zmtp_auth::net::{Connection, Message, Tunnel, TunnelOptions};
use zmtp_auth::{Config, Domain, KeyPair, SocketType};

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
        Task::StreamPull => auth_stream::pull(job.size).await,
        Task::StreamPush { to } => auth_stream::push(to, &payload).await,
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
        Task::PullMany { peers } => many_connections::receive(job, *peers).await,
        Task::PushMany { to, peers } => many_connections::send(job, to, *peers, &payload).await,
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
