//! The `Debug` output of `net`'s types, and the events of connections that begin and end.

use crate::traces::{CLIENT, PASSWORD, SERVER};
use crate::{Shown, curve, plain};
use zmtp_auth::auth::Authenticator;
use zmtp_auth::host::AuthStream;
use zmtp_auth::net::{
    Attempt, Connection, Connector, Event, InProcess, Listener, MessageRun, OpenStream,
    Reconnecting, RemoteZapHandler,
};
use zmtp_auth::zap::{RequestId, ZapHandler, ZapRequest, ZapRouter};
use zmtp_auth::{
    AccessRequest, Config, Credentials, Domain, KeyPair, NoPolicy, Password, PeerAddress,
    SecretKey, Security, SocketType,
};

pub fn show(shown: &mut Shown) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let auth = Authenticator::new();
        auth.configure_plain("test", [("alice", PASSWORD)]).unwrap();
        auth.configure_curve_any("test");
        let router = ZapRouter::new();
        router.bind("test", auth).unwrap();
        for (client, server) in [plain(), curve()] {
            meet(shown, client, (server, router.clone())).await;
        }
        within_the_process(shown).await;
        refuse(shown).await;
        ask_elsewhere(shown).await;
    });
}

async fn meet(shown: &mut Shown, client: Config<NoPolicy>, server: impl Into<Security>) {
    let server = server.into();
    let peer = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = tokio::net::TcpStream::connect(peer.local_addr().unwrap()).await;
    shown.debug(&OpenStream::from(stream.unwrap()));
    shown.debug(&MessageRun::new(PASSWORD));
    wrap(shown, &client.clone().into(), &server).await;
    let listener = Listener::bind("tcp://127.0.0.1:*", server);
    let listener = listener.await.unwrap();
    shown.debug(&listener);
    let endpoint = listener.local_endpoint().clone();
    let mut connector = Connector::new(endpoint, client).unwrap();
    shown.debug(&connector);
    let (attempt, event) = tokio::join!(connector.next_attempt(), listener.next_event());
    let event = event.unwrap();
    shown.debug(&attempt);
    shown.debug(&event);
    shown.debug(&connector);
    let (Attempt::Connected(ours), Event::Accepted(theirs)) = (attempt, event) else {
        panic!("not connected")
    };
    for connection in [*ours, *theirs] {
        shown.debug(&connection);
        let mut ends = connection.ends();
        shown.debug(&ends);
        let (sender, receiver) = connection.split();
        shown.debug(&sender);
        shown.debug(&receiver);
        drop((sender, receiver));
        shown.debug(&ends.closed().await);
    }
    let mut reconnecting = Reconnecting::new(connector);
    shown.debug(&reconnecting);
    reconnecting.connected().await.unwrap();
    shown.debug(&reconnecting);
    listener.close().await;
}

/// Two sockets of this process, with a message that waits.
async fn within_the_process(shown: &mut Shown) {
    let side = || InProcess::new(SocketType::Pair, "").unwrap();
    shown.debug(&side());
    let (mut one, other, _passing) = side().connect(&side()).unwrap();
    one.send(PASSWORD).await.unwrap();
    shown.debug(&one);
    shown.debug(&other);
}

/// A client that wraps its stream, and waits for the metadata of its host.
async fn wrap(shown: &mut Shown, client: &Security, server: &Security) {
    let (near, far) = tokio::io::duplex(4096);
    let address = PeerAddress::from_zap(b"127.0.0.1");
    let connected = tokio::select! {
        connected = AuthStream::connect(near, client) => connected,
        accepted = AuthStream::accept(far, address, server) => accepted,
    };
    shown.debug(&connected.unwrap());
}

/// A ZAP handler in another process, and a pending question that holds a password.
async fn ask_elsewhere(shown: &mut Shown) {
    let server_key = KeyPair::from_secret(SecretKey::from_bytes(SERVER).unwrap()).public_key();
    let config = Config::builder(SocketType::Router)
        .curve_server(KeyPair::from_secret(SecretKey::from_bytes(SERVER).unwrap()))
        .accept_any_peer();
    let listener = Listener::bind("tcp://127.0.0.1:*", config.finish().unwrap());
    let listener = listener.await.unwrap();
    let keys = KeyPair::from_secret(SecretKey::from_bytes(CLIENT).unwrap());
    let endpoint = listener.local_endpoint().to_string();
    let handler = RemoteZapHandler::curve(endpoint.as_str(), keys, server_key).unwrap();
    shown.debug(&handler);
    let service = async {
        let mut connection = listener.accept().await.unwrap();
        connection.recv_message().await.unwrap()
    };
    let request = AccessRequest::new(
        Domain::EMPTY,
        PeerAddress::Other("".into()),
        Credentials::Plain {
            username: "alice".into(),
            password: Password::new(PASSWORD),
        },
    );
    let asking = async {
        handler.connected().await.unwrap();
        handler
            .handle(ZapRequest::new(RequestId::from(1), &request))
            .await
    };
    // The service accepts the question and closes, which refuses it.
    let (reply, _question) = tokio::join!(asking, service);
    shown.debug(&reply);
    shown.debug(&handler);
}

/// A server without a handler refuses every peer.
async fn refuse(shown: &mut Shown) {
    let (client, server) = plain();
    let listener = Listener::bind("tcp://127.0.0.1:*", (server, ZapRouter::new()));
    let listener = listener.await.unwrap();
    let endpoint = listener.local_endpoint().clone();
    let dialling = Connection::connect(endpoint.clone(), client.clone());
    let (dialled, event) = tokio::join!(dialling, listener.next_event());
    shown.error(&dialled.unwrap_err());
    shown.debug(&event.unwrap());
    let mut connector = Connector::new(endpoint, client).unwrap();
    let (attempt, event) = tokio::join!(connector.next_attempt(), listener.next_event());
    shown.debug(&attempt);
    shown.debug(&event.unwrap());
    shown.debug(&connector);
}
