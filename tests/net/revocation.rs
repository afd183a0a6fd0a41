//! A change of policy closes exactly the live connections whose admission it withdraws.

use crate::net_peers;

use net_peers::*;
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};
use tokio::task::JoinSet;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::cert::Certificate;
use zmtp_auth::host::KnownPeer;
use zmtp_auth::net::{Connection, Listener, NetError, OpenStream, Options};
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{Config, Error, KeyPair, Limits, PeerAddress, PublicKey, Security, SocketType};

fn router(auth: &Authenticator) -> ZapRouter {
    let router = ZapRouter::new();
    router.bind("*", auth.clone()).unwrap();
    router
}

/// The number of connections, and of those that must close: 1000 and 50 with `ZMTP_AUTH_FULL=1`.
fn scale() -> (usize, usize) {
    match std::env::var_os("ZMTP_AUTH_FULL") {
        Some(_) => (1000, 50),
        None => (100, 5),
    }
}

/// A CURVE server, and as many connected clients as there are keys: for each key both ends.
async fn connect_all(
    auth: &Authenticator,
    clients: &[KeyPair],
) -> HashMap<PublicKey, (Connection, Connection)> {
    let server = keys();
    let config = curve_server(SocketType::Pull, &server);
    let listener = Listener::bind(ANY_PORT, (config, router(auth)))
        .await
        .unwrap();
    let mut both = HashMap::new();
    // Some at a time, as at a busy server.
    for some in clients.chunks(20) {
        let mut dialling = JoinSet::new();
        for client in some {
            let config = curve_client(SocketType::Push, client, &server);
            let (endpoint, key) = (listener.local_endpoint().clone(), client.public_key());
            dialling
                .spawn(async move { (key, Connection::connect(&endpoint, config).await.unwrap()) });
        }
        let mut accepted = HashMap::new();
        for _ in some {
            let pull = soon(listener.accept()).await.unwrap();
            accepted.insert(pull.peer().proven_key.unwrap(), pull);
        }
        while let Some(dialled) = soon(dialling.join_next()).await {
            let (key, push) = dialled.unwrap();
            both.insert(key, (accepted.remove(&key).unwrap(), push));
        }
    }
    both
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_live_connections_exactly_those_whose_keys_were_removed_close() {
    let (all, gone) = scale();
    let clients: Vec<_> = (0..all).map(|_| keys()).collect();
    let auth = Authenticator::new();
    auth.configure_curve_keys("test", clients.iter().map(KeyPair::public_key));
    let mut both = connect_all(&auth, &clients).await;
    assert_eq!(auth.live_grants(), all);

    // Spread over the order of their arrival.
    let withdrawn: Vec<_> = clients.iter().step_by(all / gone).collect();
    assert_eq!(withdrawn.len(), gone);
    let stays = |key: &PublicKey| withdrawn.iter().all(|pair| pair.public_key() != *key);
    let mut closing = JoinSet::new();
    for client in &withdrawn {
        let (pull, push) = both.remove(&client.public_key()).unwrap();
        closing.spawn(async move {
            let error = pull.closed().await;
            let at = Instant::now();
            assert!(matches!(error, NetError::Revoked), "{error}");
            assert!(matches!(push.closed().await, NetError::Closed));
            at
        });
    }
    let start = Instant::now();
    let remaining = clients.iter().map(KeyPair::public_key).filter(stays);
    auth.configure_curve_keys("test", remaining);
    let mut last = start;
    while let Some(closed) = soon(closing.join_next()).await {
        last = last.max(closed.unwrap());
    }
    println!(
        "{gone} of {all} connections closed within {:?}",
        last - start
    );

    // The others still carry messages.
    assert_eq!(both.len(), all - gone);
    for (pull, push) in both.values_mut() {
        push.send("alive").await.unwrap();
        assert_eq!(soon(pull.recv_message()).await.unwrap(), "alive".into());
    }
    eventually(|| auth.live_grants() == all - gone).await;
}

/// Both ends over streams of the caller's own: a server of CURVE that accepts, and its client.
async fn over<S: Into<OpenStream>>(
    (accepted, made): (S, S),
    server: &Security,
    client: &Security,
) -> [Result<Connection, NetError>; 2] {
    let secure = async |stream: S, security, socket_type| {
        let stream = stream.into();
        let context = stream.peer_context().unwrap();
        let context = context.for_socket(socket_type, "me").unwrap();
        Connection::over(stream, context, security, &Options::default()).await
    };
    let server = secure(accepted, server, SocketType::Router);
    let client = secure(made, client, SocketType::Dealer);
    soon(async { tokio::join!(server, client) }).await.into()
}

#[tokio::test]
async fn connections_over_streams_of_the_callers_own_are_authorized_and_revoked() {
    let auth = Authenticator::new();
    let (admitted, stranger, server_keys) = (keys(), keys(), keys());
    auth.configure_curve_keys("test", [admitted.public_key()]);
    let untyped = Config::untyped_builder;
    let server = untyped()
        .curve_server(server_keys.clone())
        .authorize("test");
    let server = Security::from((server.finish().unwrap(), router(&auth)));
    let client = |keys: &KeyPair| {
        let config = untyped().curve_client(keys.clone(), server_keys.public_key());
        Security::from(config.finish().unwrap())
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let streams = async || {
        let made = tokio::net::TcpStream::connect(to);
        let (accepted, made) = tokio::join!(listener.accept(), made);
        (accepted.unwrap().0, made.unwrap())
    };
    let [refuses, refused] = over(streams().await, &server, &client(&stranger)).await;
    assert!(matches!(
        refuses,
        Err(NetError::Handshake(Error::Denied(_)))
    ));
    assert!(matches!(
        refused,
        Err(NetError::Handshake(Error::RefusedByPeer(_)))
    ));

    let [server_end, client_end] = over(streams().await, &server, &client(&admitted)).await;
    let (mut server_end, mut client_end) = (server_end.unwrap(), client_end.unwrap());
    assert_eq!(
        server_end.peer().claims.identity.as_deref(),
        Some(&b"me"[..])
    );
    client_end.send("hello").await.unwrap();
    let hello = soon(server_end.recv_message()).await.unwrap();
    assert_eq!(hello, "hello".into());
    auth.configure_curve_keys("test", []);
    assert!(matches!(soon(server_end.closed()).await, NetError::Revoked));
    assert!(matches!(soon(client_end.closed()).await, NetError::Closed));
}

#[cfg(unix)]
#[tokio::test]
async fn a_connection_over_a_unix_stream_names_the_user_at_its_other_end() {
    let null = Config::untyped_builder().null().accept_any_peer();
    let security = Security::from(null.finish().unwrap());
    let streams = tokio::net::UnixStream::pair().unwrap();
    let uid = streams.0.peer_cred().unwrap().uid();
    let [one, other] = over(streams, &security, &security).await;
    let (mut one, mut other) = (one.unwrap(), other.unwrap());
    let PeerAddress::Ipc(peer) = one.peer().address else {
        panic!("{:?}", one.peer());
    };
    assert_eq!(peer.uid, uid);
    other.send("hello").await.unwrap();
    assert_eq!(soon(one.recv_message()).await.unwrap(), "hello".into());
}

#[tokio::test]
async fn a_changed_password_closes_its_users_connection() {
    let auth = Authenticator::new();
    auth.configure_plain("test", [("admin", "secret")]).unwrap();
    let config = plain_server(SocketType::Pull);
    let listener = Listener::bind(ANY_PORT, (config, router(&auth)))
        .await
        .unwrap();
    let endpoint = listener.local_endpoint();
    let push = Connection::connect(endpoint, plain_client(SocketType::Push, "secret"));
    let push = soon(push).await.unwrap();
    let mut pull = soon(listener.accept()).await.unwrap();

    auth.configure_plain("test", [("admin", "secret"), ("other", "o")])
        .unwrap();
    let mut push = push;
    push.send("still in").await.unwrap();
    assert_eq!(soon(pull.recv_message()).await.unwrap(), "still in".into());

    auth.configure_plain("test", [("admin", "changed")])
        .unwrap();
    assert!(matches!(soon(pull.closed()).await, NetError::Revoked));
    assert!(matches!(soon(push.closed()).await, NetError::Closed));
}

#[tokio::test]
async fn a_denied_address_closes_its_connections_of_every_mechanism() {
    let auth = Authenticator::new();
    let listener = Listener::bind(ANY_PORT, (null_asks(SocketType::Pull), router(&auth))).await;
    let listener = listener.unwrap();
    let push = Connection::connect(listener.local_endpoint(), null(SocketType::Push));
    let push = soon(push).await.unwrap();
    let pull = soon(listener.accept()).await.unwrap();
    auth.deny(["127.0.0.0/8"]).unwrap();
    assert!(matches!(soon(pull.closed()).await, NetError::Revoked));
    assert!(matches!(soon(push.closed()).await, NetError::Closed));
}

#[tokio::test]
async fn a_key_that_is_removed_between_verdict_and_accept_is_not_accepted() {
    let (auth, server, client) = (Authenticator::new(), keys(), keys());
    auth.configure_curve_keys("test", [client.public_key()]);
    let config = curve_server(SocketType::Pull, &server);
    let listener = Listener::bind(ANY_PORT, (config, router(&auth)))
        .await
        .unwrap();
    let config = curve_client(SocketType::Push, &client, &server);
    let push = Connection::connect(listener.local_endpoint(), config);
    let push = soon(push).await.unwrap();
    auth.configure_curve_keys("test", []);
    // Even if the key is added again at once.
    auth.configure_curve_keys("test", [client.public_key()]);
    assert!(matches!(refusal(&listener).await.error, NetError::Revoked));
    assert!(matches!(soon(push.closed()).await, NetError::Closed));
}

#[tokio::test]
async fn the_end_of_a_validity_closes_the_connection_by_itself() {
    // A clock that is four seconds before the full hour.
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_801_396_800);
    let start = Instant::now();
    let clock = move || end - Duration::from_secs(4) + start.elapsed();
    let auth = Authenticator::with_clock(&Limits::default(), clock);
    let (server, client) = (keys(), keys());
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::from(client.public_key());
    let certificate = certificate
        .with_metadata("not-after", "2027-01-31T12:00:00Z")
        .unwrap();
    certificate.save_public(directory.path(), "client").unwrap();
    auth.configure_curve("test", directory.path()).unwrap();

    let config = curve_server(SocketType::Pull, &server);
    let listener = Listener::bind(ANY_PORT, (config, router(&auth)))
        .await
        .unwrap();
    let config = curve_client(SocketType::Push, &client, &server);
    let push = Connection::connect(listener.local_endpoint(), config);
    let push = soon(push).await.unwrap();
    let pull = soon(listener.accept()).await.unwrap();
    assert!(matches!(soon(pull.closed()).await, NetError::Revoked));
    assert!(clock() >= end);
    assert!(matches!(soon(push.closed()).await, NetError::Closed));
}
