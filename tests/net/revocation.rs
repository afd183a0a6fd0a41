//! A change of policy closes exactly the live connections whose admission it withdraws.

use crate::net_peers;

use net_peers::*;
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};
use tokio::task::JoinSet;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::cert::Certificate;
use zmtp_auth::net::{Connection, Listener, NetError};
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{KeyPair, Limits, PublicKey, SocketType};

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
