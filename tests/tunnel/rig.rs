//! Matching tunnels, and programs for their ends.

use crate::net_peers::{ANY_PORT, null, soon, welcoming};
use bytes::BytesMut;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zmtp_auth::PeerContext;
use zmtp_auth::handshake::{Established, Handshake};
use zmtp_auth::net::{Connection, Endpoint, Listener, Tunnel, TunnelOptions};
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{
    Authorizing, Config, Domain, Error, KeyPair, Limits, Metadata, NoPolicy, PeerAddress,
    SecretKey, SocketType,
};

pub const MECHANISMS: [&str; 2] = ["curve", "plain"];

pub fn server_keys() -> KeyPair {
    KeyPair::from_secret(SecretKey::from_bytes(&[22; 32]).unwrap())
}

pub fn client_keys() -> KeyPair {
    KeyPair::from_secret(SecretKey::from_bytes(&[11; 32]).unwrap())
}

/// The network side of a server's tunnel, or of a program that needs no tunnel.
pub fn server(kind: SocketType, mechanism: &str) -> Config<Authorizing> {
    server_with(kind, mechanism, Limits::default())
}

pub fn server_with(kind: SocketType, mechanism: &str, limits: Limits) -> Config<Authorizing> {
    let builder = Config::builder(kind).limits(limits);
    let domain = Domain::from("test");
    match mechanism {
        "plain" => builder.plain_server().authorize(domain).finish(),
        _ => builder
            .curve_server(server_keys())
            .authorize(domain)
            .finish(),
    }
    .unwrap()
}

/// The network side of a client's tunnel, or of a program that needs no tunnel.
pub fn client(kind: SocketType, mechanism: &str) -> Config<NoPolicy> {
    let builder = Config::builder(kind);
    match mechanism {
        "plain" => builder.plain_client("admin", "secret").finish(),
        _ => builder
            .curve_client(client_keys(), server_keys().public_key())
            .finish(),
    }
    .unwrap()
}

pub async fn server_tunnel(forward: &Endpoint, mechanism: &str, router: ZapRouter) -> Tunnel {
    let config = server(SocketType::Relay, mechanism);
    Tunnel::server(
        ANY_PORT,
        forward,
        (config, router),
        TunnelOptions::default(),
    )
    .await
    .unwrap()
}

pub async fn client_tunnel(forward: &Endpoint, mechanism: &str) -> Tunnel {
    let config = client(SocketType::Relay, mechanism);
    Tunnel::client(ANY_PORT, forward, config, TunnelOptions::default())
        .await
        .unwrap()
}

pub fn ipc(directory: &Path, name: &str) -> String {
    format!("ipc://{}", directory.join(name).display())
}

/// A program that binds, and both tunnels in front of it.
pub struct Line {
    pub program: Listener,
    pub server: Tunnel,
    pub client: Tunnel,
}

impl Line {
    pub async fn new(mechanism: &str, bound: SocketType) -> Self {
        let program = Listener::bind(ANY_PORT, null(bound)).await.unwrap();
        let server = server_tunnel(program.local_endpoint(), mechanism, welcoming()).await;
        let client = client_tunnel(server.local_endpoint(), mechanism).await;
        Self {
            program,
            server,
            client,
        }
    }

    /// A connection through both tunnels: the end of the connecting program, and of the bound one.
    pub async fn meet(&self, connecting: Config<NoPolicy>) -> (Connection, Connection) {
        let dialling = Connection::connect(self.client.local_endpoint(), connecting);
        let (dialled, accepted) =
            soon(async { tokio::join!(dialling, self.program.accept()) }).await;
        (dialled.unwrap(), accepted.unwrap())
    }
}

pub fn address(endpoint: &Endpoint) -> (&'static str, u16) {
    ("127.0.0.1", crate::net_peers::port(endpoint))
}

/// Completes the handshake as a peer with this `metadata`.
pub async fn claiming(
    endpoint: &Endpoint,
    config: &Config<NoPolicy>,
    metadata: Metadata,
) -> Result<(TcpStream, Box<Established>), Error> {
    let mut stream = soon(TcpStream::connect(address(endpoint))).await.unwrap();
    let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
    let conn = PeerContext::new(PeerAddress::from_zap(b"127.0.0.1")).with_metadata(metadata);
    let mut state = Handshake::start(config, conn, &mut out);
    loop {
        soon(stream.write_all(&out.split())).await.unwrap();
        state = match state {
            Handshake::NeedsInput(waiting) => {
                if soon(stream.read_buf(&mut input)).await.unwrap_or(0) == 0 {
                    return Err(waiting.peer_closed());
                }
                waiting.process(&mut input, &mut out)?
            }
            Handshake::Complete(done) => return Ok((stream, done)),
            other => panic!("{other:?}"),
        };
    }
}

/// Receives everything up to the end of the stream.
pub async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    soon(stream.read_to_end(&mut all)).await.unwrap();
    all
}
