//! The scenario over real sockets: `net` wipes the buffers of its handshakes.

use crate::child::{Inverted, curve_configs, plain_configs};
use crate::search::Search;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use zeroize::Zeroizing;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::net::{Connection, Endpoint, Listener};
use zmtp_auth::wire::greeting::{Greeting, mechanism_name};
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{Config, NoPolicy, Security};

/// Connections that succeed, are refused or break off, one after the other.
pub fn run(secrets: &Inverted, search: &mut Search) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let router = router(secrets);
        let (client, server) = plain_configs(secrets);
        meet(client, (server, router.clone())).await;
        let (client, server) = curve_configs(secrets);
        meet(client, (server, router.clone())).await;
        search.report("closed");

        refused(secrets, router.clone()).await;
        search.report("refused");
        for pieces in [1, 7, 1000] {
            server_left_alone(secrets, router.clone(), pieces).await;
        }
        search.report("server left alone");
        for at_once in [false, true] {
            client_left_alone(secrets, at_once).await;
        }
    });
    drop(runtime);
}

fn router(secrets: &Inverted) -> ZapRouter {
    let auth = Authenticator::new();
    auth.configure_plain("test", [("alice", &secrets.plain("password")[..])])
        .unwrap();
    auth.configure_curve_any("test");
    let router = ZapRouter::new();
    router.bind("test", auth).unwrap();
    router
}

async fn meet(client: Config<NoPolicy>, server: impl Into<Security>) {
    let listener = Listener::bind("tcp://127.0.0.1:*", server);
    let listener = listener.await.unwrap();
    let dialling = Connection::connect(listener.local_endpoint().clone(), client);
    let (server, client) = tokio::join!(listener.accept(), dialling);
    let (mut server, mut client) = (server.unwrap(), client.unwrap());
    client.send("question").await.unwrap();
    server.recv_message().await.unwrap();
    server.send("answer").await.unwrap();
    client.recv_message().await.unwrap();
    client.close().await.unwrap();
    let _ = server.close().await;
    listener.close().await;
}

async fn refused(secrets: &Inverted, router: ZapRouter) {
    let listener = Listener::bind("tcp://127.0.0.1:*", (plain_configs(secrets).1, router));
    let listener = listener.await.unwrap();
    let client = zmtp_auth::Config::builder(zmtp_auth::SocketType::Dealer)
        .plain_client("alice", secrets.password("other password"))
        .finish()
        .unwrap();
    let dialled = Connection::connect(listener.local_endpoint().clone(), client);
    assert!(dialled.await.is_err());
    listener.close().await;
}

/// A client that sends its HELLO in pieces, and leaves before the last of them.
async fn server_left_alone(secrets: &Inverted, router: ZapRouter, pieces: usize) {
    let listener = Listener::bind("tcp://127.0.0.1:*", (plain_configs(secrets).1, router));
    let listener = listener.await.unwrap();
    let Endpoint::Tcp { port, .. } = listener.local_endpoint() else {
        panic!("not tcp")
    };
    let mut client = TcpStream::connect(("127.0.0.1", *port)).await.unwrap();
    client.set_nodelay(true).unwrap();
    let greeting = Greeting::encode(mechanism_name("PLAIN"), false);
    client.write_all(&greeting).await.unwrap();
    let password = secrets.plain("password");
    let mut hello = Zeroizing::new(Vec::with_capacity(600));
    hello.extend_from_slice(&[0x04, 6 + 6 + 1 + password.len() as u8]);
    hello.extend_from_slice(b"\x05HELLO\x05alice");
    hello.push(password.len() as u8);
    hello.extend_from_slice(&password[..password.len() - 1]);
    for piece in hello.chunks(pieces) {
        client.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(client);
    tokio::time::sleep(Duration::from_millis(20)).await;
    listener.close().await;
}

/// A server that sends its greeting and then leaves, at once or after the client's HELLO.
async fn client_left_alone(secrets: &Inverted, at_once: bool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut greeting = [0; 64];
        for piece in [0..11, 11..64] {
            stream
                .read_exact(&mut greeting[piece.clone()])
                .await
                .unwrap();
            stream.write_all(&greeting[piece]).await.unwrap();
        }
        if !at_once {
            let mut hello = Zeroizing::new([0; 600]);
            assert_ne!(stream.read(&mut hello[..]).await.unwrap(), 0);
        }
    };
    let client = plain_configs(secrets).0;
    let endpoint = format!("tcp://127.0.0.1:{port}");
    let dialling = Connection::connect(endpoint.as_str(), client);
    let (_, dialled) = tokio::join!(serving, dialling);
    assert!(dialled.is_err());
}
