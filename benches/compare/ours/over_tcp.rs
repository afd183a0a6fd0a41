//! Connections of this library over loopback, as a child has them.

use crate::child::handle::tell;
use crate::child::job::{Job, client_secret, server_secret};
use zmtp_auth::net::{Connection, Listener};
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{Config, KeyPair, NoPolicy, SocketType};

pub const ANY_PORT: &str = "tcp://127.0.0.1:*";

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

pub async fn bind_to(endpoint: &str, job: &Job, kind: SocketType) -> Listener {
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
