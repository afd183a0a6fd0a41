//! Every log line of a connection names its peer.

use crate::log_lines;
use crate::net_peers::{ANY_PORT, null, plain_client, plain_server, port, soon, welcoming};
use tracing::Level;
use zmtp_auth::net::{
    Connection, Connector, Endpoint, Listener, Reconnecting, Tunnel, TunnelOptions,
};
use zmtp_auth::{Config, Domain, KeyPair, SocketType};

/// The lines so far, without those about a listener or a tunnel as a whole. Each of the others is
/// within one span with the address of a peer.
fn lines_of_connections() -> Vec<String> {
    let mut lines = log_lines::take(Level::TRACE);
    lines.retain(|line| {
        !["message=listening", "message=tunnel"]
            .iter()
            .any(|own| line.contains(own))
    });
    for line in &lines {
        assert_eq!(
            line.matches(" in connection{address=127.0.0.1:").count(),
            1,
            "{line}"
        );
    }
    lines
}

fn line<'a>(lines: &'a [String], part: &str) -> &'a str {
    let mut found = lines.iter().filter(|line| line.contains(part));
    let line = found
        .next()
        .unwrap_or_else(|| panic!("no {part}: {lines:#?}"));
    assert!(found.next().is_none(), "{part} twice: {lines:#?}");
    line
}

fn names(endpoint: &Endpoint) -> String {
    format!("connection{{address=127.0.0.1:{}", port(endpoint))
}

#[tokio::test]
async fn accepted_and_dialled_connections_name_their_peers() {
    log_lines::listen();
    let server = (plain_server(SocketType::Pull), welcoming());
    let listener = Listener::bind(ANY_PORT, server).await.unwrap();
    let config = plain_client(SocketType::Push, "secret");
    let dialling = Connection::connect(listener.local_endpoint(), config.clone());
    let (mut pull, push) = soon(async { tokio::join!(listener.accept(), dialling) }).await;
    let (pull, push) = (pull.as_mut().unwrap(), push.unwrap());
    let lines = lines_of_connections();
    assert!(line(&lines, "message=connected").contains(&names(listener.local_endpoint())));
    assert!(line(&lines, "message=peer accepted").contains("user_id=\"somebody\""));
    assert!(!line(&lines, "message=ZAP reply").contains("user_id"));
    soon(push.close()).await.unwrap();
    soon(pull.recv()).await.unwrap_err();
    let closed = lines_of_connections();
    let accepted = closed
        .iter()
        .filter(|line| line.contains("user_id=\"somebody\""));
    assert_eq!(accepted.count(), 1, "{closed:#?}");

    // A client that connects again gets a span for each of its connections.
    let connector = Connector::new(listener.local_endpoint(), config).unwrap();
    let mut push = Reconnecting::new(connector);
    let (again, _) = soon(async { tokio::join!(push.connected(), listener.accept()) }).await;
    again.unwrap();
    let lines = lines_of_connections();
    assert!(line(&lines, "message=connected").contains(&names(listener.local_endpoint())));
}

#[tokio::test]
async fn a_refused_peer_is_named_once_by_its_span() {
    log_lines::listen();
    let server = (plain_server(SocketType::Pull), welcoming());
    let listener = Listener::bind(ANY_PORT, server).await.unwrap();
    let connecting = Connection::connect(listener.local_endpoint(), null(SocketType::Push));
    soon(connecting).await.unwrap_err();
    soon(listener.next_event()).await.unwrap();
    line(&lines_of_connections(), "message=peer refused");
}

#[tokio::test]
async fn a_peer_that_leaves_is_not_called_refused() {
    log_lines::listen();
    let listener = Listener::bind(ANY_PORT, null(SocketType::Pull))
        .await
        .unwrap();
    let at = ("127.0.0.1", port(listener.local_endpoint()));
    drop(tokio::net::TcpStream::connect(at).await.unwrap());
    soon(listener.next_event()).await.unwrap();
    let lines = lines_of_connections();
    line(&lines, "message=peer left before the end of its handshake");
}

/// Each cause has one line a minute. What is left out is told with the next line, or at the end.
#[tokio::test]
async fn a_tunnel_says_at_its_end_how_many_lines_were_left_out() {
    log_lines::listen();
    let relay = || Config::builder(SocketType::Relay);
    let network = relay().curve_client(
        KeyPair::generate().unwrap(),
        KeyPair::generate().unwrap().public_key(),
    );
    let nowhere: Endpoint = "tcp://127.0.0.1:1".parse().unwrap();
    let options = TunnelOptions::default();
    let tunnel = Tunnel::client(ANY_PORT, nowhere, network.finish().unwrap(), options)
        .await
        .unwrap();
    for _ in 0..3 {
        let at = tunnel.local_endpoint();
        let refused = soon(Connection::connect(at, null(SocketType::Push))).await;
        refused.unwrap_err();
    }
    soon(tunnel.close()).await.unwrap();
    let lines = log_lines::take(Level::WARN);
    assert!(!line(&lines, "cannot forward").contains("left_out"));
    line(
        &lines,
        "message=the tunnel ends: 2 more lines about peers that could not be forwarded were left out, \
         since each cause has one a minute",
    );
}

#[tokio::test]
async fn connections_through_a_tunnel_name_the_peer_in_front() {
    log_lines::listen();
    let program = Listener::bind(ANY_PORT, null(SocketType::Pull))
        .await
        .unwrap();
    let keys = KeyPair::generate().unwrap();
    let network = Config::builder(SocketType::Relay)
        .curve_server(keys.clone())
        .authorize(Domain::from("test"))
        .finish()
        .unwrap();
    let forward = program.local_endpoint();
    let options = TunnelOptions::default();
    let tunnel = Tunnel::server(ANY_PORT, forward, (network, welcoming()), options)
        .await
        .unwrap();
    let config = Config::builder(SocketType::Push)
        .curve_client(KeyPair::generate().unwrap(), keys.public_key())
        .finish()
        .unwrap();
    let dialling = Connection::connect(tunnel.local_endpoint(), config);
    let (pull, push) = soon(async { tokio::join!(program.accept(), dialling) }).await;
    soon(push.unwrap().close()).await.unwrap();
    drop(pull);
    soon(tunnel.close()).await.unwrap();
    let lines = lines_of_connections();
    for part in ["message=peer connected", "message=peer disconnected"] {
        assert!(
            line(&lines, part).contains("user_id=\"somebody\""),
            "{lines:#?}"
        );
    }
}
