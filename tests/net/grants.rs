//! A withdrawn admission ends its connection, before accept and afterwards.

use crate::net_peers;

use bytes::Bytes;
use net_peers::*;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use zmtp_auth::auth::{Authenticator, TopicTable};
use zmtp_auth::net::{Connection, Listener, NetError, Options};
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{Grant, GrantTerms, SocketType, Stage, TopicPermissions};

/// A grant that is valid until the sender ends it.
struct Until(watch::Receiver<bool>);

impl GrantTerms for Until {
    fn still_valid(&self) -> bool {
        *self.0.borrow()
    }

    fn revoked(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut valid = self.0.clone();
        Box::pin(async move {
            if valid.wait_for(|valid| !valid).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

/// Admits every peer with a grant. The second value ends the grants, in the order of the peers.
pub fn granting() -> (ZapRouter, Arc<Mutex<Vec<watch::Sender<bool>>>>) {
    let router = ZapRouter::new();
    let issued: Arc<Mutex<Vec<watch::Sender<bool>>>> = Arc::default();
    let issuer = issued.clone();
    let admit = move |request: ZapRequest| {
        let (end, valid) = watch::channel(true);
        issuer.lock().unwrap().push(end);
        async move {
            let mut reply = request.allow("guest");
            reply.grant = Some(Grant::new(Until(valid)));
            reply
        }
    };
    router.bind("test", admit).unwrap();
    (router, issued)
}

#[tokio::test]
async fn a_revoked_grant_closes_its_connection_and_no_other() {
    let (router, issued) = granting();
    let listener = Listener::bind(ANY_PORT, (null_asks(SocketType::Pull), router))
        .await
        .unwrap();
    let mut pairs = Vec::new();
    for _ in 0..5 {
        let push = Connection::connect(listener.local_endpoint(), null(SocketType::Push));
        let push = soon(push).await.unwrap();
        pairs.push((soon(listener.accept()).await.unwrap(), push));
    }
    let (mut revoked, mut push) = pairs.remove(2);
    push.send("still queued").await.unwrap();
    issued.lock().unwrap()[2].send_replace(false);
    assert!(matches!(soon(revoked.closed()).await, NetError::Revoked));
    assert!(matches!(soon(revoked.recv()).await, Err(NetError::Revoked)));
    assert!(matches!(
        soon(revoked.send("x")).await,
        Err(NetError::Revoked)
    ));
    assert!(matches!(soon(push.closed()).await, NetError::Closed));
    for (mut pull, mut push) in pairs {
        push.send("alive").await.unwrap();
        assert_eq!(soon(pull.recv_message()).await.unwrap(), "alive".into());
    }
}

/// A grant that ends without a word, as one does whose waiter has not run yet.
struct Silent(Arc<AtomicBool>);

impl GrantTerms for Silent {
    fn still_valid(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn revoked(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }
}

/// The connection has fetched all messages while the admission stood, and the system has no room for all.
/// The rest does not leave once the admission is withdrawn.
#[tokio::test]
async fn what_was_fetched_before_a_revocation_is_not_written_after_it() {
    const MESSAGES: usize = 1024;
    let payload = Bytes::from(vec![7; 64 * 1024]);
    let is_valid = Arc::new(AtomicBool::new(true));
    let terms = is_valid.clone();
    let router = ZapRouter::new();
    let admit = move |request: ZapRequest| {
        let grant = Grant::new(Silent(terms.clone()));
        async move {
            let mut reply = request.allow("guest");
            reply.grant = Some(grant);
            reply
        }
    };
    router.bind("test", admit).unwrap();
    let options = Options::default().with_send_ahead(usize::MAX);
    let asks = null_asks(SocketType::Push);
    let listener = Listener::bind_with(ANY_PORT, (asks, router), options)
        .await
        .unwrap();
    let pull = Connection::connect(listener.local_endpoint(), null(SocketType::Pull));
    let mut pull = soon(pull).await.unwrap();
    let mut push = soon(listener.accept()).await.unwrap();
    for _ in 0..MESSAGES {
        push.send(payload.clone()).await.unwrap();
    }
    assert_eq!(
        soon(pull.recv_message()).await.unwrap().size(),
        payload.len()
    );
    is_valid.store(false, Ordering::SeqCst);
    let mut received = 1;
    while received < MESSAGES && soon(pull.recv_message()).await.is_ok() {
        received += 1;
    }
    assert!(received < MESSAGES, "{received}");
    assert!(matches!(soon(push.closed()).await, NetError::Revoked));
}

#[tokio::test]
async fn the_topics_of_a_peer_follow_the_table_while_it_is_connected() {
    let reader = TopicPermissions::none().with_subscribe(["weather."]);
    let table = TopicTable::new().with_others(reader.unwrap());
    let auth = Authenticator::new();
    auth.configure_topics("test", table);
    let router = ZapRouter::new();
    router.bind("test", auth.clone()).unwrap();
    let listener = Listener::bind(ANY_PORT, (null_asks(SocketType::Pub), router))
        .await
        .unwrap();
    let sub = Connection::connect(listener.local_endpoint(), null(SocketType::Sub));
    let sub = soon(sub).await.unwrap();
    let ours = soon(listener.accept()).await.unwrap();
    let topics = ours.peer().topics();
    assert!(topics.may_subscribe(b"weather.london") && !topics.may_subscribe(b"weather"));
    assert!(
        sub.peer().topics().may_subscribe(b""),
        "no policy is asked about it"
    );
    let mut changes = topics.changes();
    auth.configure_topics("test", TopicTable::new());
    soon(changes.changed()).await;
    assert!(!topics.may_subscribe(b"weather.london"));
    assert!(ours.peer().grant().unwrap().still_valid());
    drop(sub);
}

/// The peer has sent more than the queue holds and has closed, so the connection only delivers what
/// is left.
#[tokio::test]
async fn a_revoked_grant_ends_the_delivery_of_what_a_peer_had_sent_that_is_gone() {
    let (router, issued) = granting();
    let listener = Listener::bind(ANY_PORT, (null_asks(SocketType::Pair), router))
        .await
        .unwrap();
    for answered in [false, true] {
        let mut raw = RawPeer::connect(&listener, SocketType::Pair, 1).await;
        let mut ours = soon(listener.accept()).await.unwrap();
        let frames = vec![(Flags::Last, Bytes::from_static(b"x")); 20_000];
        raw.send_together(&frames).await;
        drop(raw);
        soon(ours.recv()).await.unwrap();
        if answered {
            soon(async { while ours.send("answer").await.is_ok() {} }).await;
        } else {
            // The connection has not read ahead to the end of the stream.
            for _ in 0..10_000 {
                soon(ours.recv()).await.unwrap();
            }
        }
        issued.lock().unwrap().last().unwrap().send_replace(false);
        let mut received = 0;
        let end = loop {
            match soon(ours.recv()).await {
                Ok(_) => received += 1,
                Err(end) => break end,
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        };
        assert!(matches!(end, NetError::Revoked), "{end}");
        assert!(received < 9_000, "{received} after the revocation");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_never_idle_is_closed_all_the_same() {
    let (router, issued) = granting();
    let listener = Listener::bind(ANY_PORT, (null_asks(SocketType::Push), router))
        .await
        .unwrap();
    let pull = Connection::connect(listener.local_endpoint(), null(SocketType::Pull));
    let mut pull = soon(pull).await.unwrap();
    let mut push = soon(listener.accept()).await.unwrap();
    let receiving = tokio::spawn(async move { while pull.recv().await.is_ok() {} });
    for _ in 0..1000 {
        push.send(vec![0; 100_000]).await.unwrap();
    }
    issued.lock().unwrap()[0].send_replace(false);
    let end = soon(async {
        loop {
            if let Err(error) = push.send(vec![0; 100_000]).await {
                break error;
            }
        }
    })
    .await;
    assert!(matches!(end, NetError::Revoked), "{end}");
    soon(receiving).await.unwrap();
}

#[tokio::test]
async fn a_grant_that_ends_before_accept_is_a_refusal() {
    let (router, issued) = granting();
    let listener = Listener::bind(ANY_PORT, (null_asks(SocketType::Pull), router))
        .await
        .unwrap();
    let push = Connection::connect(listener.local_endpoint(), null(SocketType::Push));
    let push = soon(push).await.unwrap();
    issued.lock().unwrap()[0].send_replace(false);
    assert!(matches!(soon(push.closed()).await, NetError::Closed));
    let refusal = refusal(&listener).await;
    assert!(matches!(refusal.error, NetError::Revoked));
    assert_eq!(refusal.stage, Stage::Verdict);
}
