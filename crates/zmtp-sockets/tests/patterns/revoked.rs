//! A revoked peer is gone before the call that revokes it returns, and no answer goes to
//! another user than the one who asked.

use crate::securities::{ANY_PORT, fast, plain_client, plain_server, soon};
use std::time::Duration;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::net::NetError;
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{Config, Domain, Security};
use zmtp_sockets::{
    Addressed, Dealer, Pub, Pull, Push, Rep, Req, RequestError, Router, SendReason, SocketEvent,
    SocketOptions, Sub,
};

/// A PLAIN server, and the policy that names its users.
fn revocable(users: &[&'static str]) -> (Authenticator, Security) {
    let auth = Authenticator::new();
    admit(&auth, users);
    let zap = ZapRouter::new();
    zap.bind("test", auth.clone()).unwrap();
    let config = Config::untyped_builder()
        .plain_server()
        .authorize(Domain::from("test"));
    (auth, (config.finish().unwrap(), zap).into())
}

fn admit(auth: &Authenticator, users: &[&'static str]) {
    let users = users.iter().map(|user| (*user, "secret"));
    auth.configure_plain("test", users).unwrap();
}

fn claiming(routing_id: &'static str) -> SocketOptions {
    fast().with_routing_id(routing_id)
}

/// Lets everything arrive that is on its way.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn the_route_and_the_messages_of_a_revoked_peer_are_gone_at_once() {
    let (auth, security) = revocable(&["alice", "bob"]);
    let mut router = Router::new();
    let endpoint = router.bind(ANY_PORT, security).await.unwrap();
    let mut alice = Dealer::with_options(claiming("worker"));
    alice.connect(&endpoint, plain_client("alice")).unwrap();
    let mut bob = Dealer::with_options(fast());
    bob.connect(&endpoint, plain_client("bob")).unwrap();
    for _ in 0..100 {
        soon(alice.send("from alice")).await;
    }
    soon(bob.send("from bob")).await;
    let mut request = soon(router.recv()).await;
    while request.frames() != ["from alice"] {
        soon(bob.send("from bob")).await;
        request = soon(router.recv()).await;
    }
    settle().await;
    // From here on to the end nothing is awaited, so that no task of the socket can help.
    admit(&auth, &["bob"]);
    let refused = router.send(request.reply("answer")).unwrap_err();
    assert_eq!(refused.reason, SendReason::NoRoute("worker".into()));
    while let Some(request) = router.try_recv() {
        assert_eq!(request.frames(), ["from bob"]);
    }
    // Its routing id is free for another user.
    let mut heir = Dealer::with_options(claiming("worker"));
    heir.connect(&endpoint, plain_client("bob")).unwrap();
    soon(heir.send("from the heir")).await;
    while soon(router.recv()).await.routing_id() != "worker" {}
    assert!(router.send(request.reply("for alice")).is_err());
    router
        .send(Addressed::new("worker", "for the heir"))
        .unwrap();
    assert_eq!(soon(heir.recv()).await.frames(), ["for the heir"]);
}

#[tokio::test]
async fn a_revoked_peer_that_the_socket_has_not_noticed_yet_is_never_noticed() {
    let (auth, security) = revocable(&["alice"]);
    let mut pull = Pull::new();
    let mut events = pull.events();
    let endpoint = pull.bind(ANY_PORT, security.clone()).await.unwrap();
    let mut push = Push::with_options(fast());
    push.connect(&endpoint, plain_client("alice")).unwrap();
    soon(push.send("hello")).await;
    soon(events.next()).await;
    settle().await;
    admit(&auth, &["bob"]);
    assert!(pull.try_recv().is_none());

    // A revoked PULL gets no message, and takes none from others.
    admit(&auth, &["alice", "bob"]);
    let mut push = Push::new();
    let mut events = push.events();
    let endpoint = push.bind(ANY_PORT, security).await.unwrap();
    let mut pull = Pull::with_options(fast());
    pull.connect(&endpoint, plain_client("alice")).unwrap();
    soon(events.next()).await;
    push.try_send("1").unwrap();
    admit(&auth, &["bob"]);
    assert_eq!(push.try_send("2").unwrap_err().reason, SendReason::Full);
}

#[tokio::test]
async fn what_has_arrived_from_a_peer_that_left_is_withdrawn_by_its_revocation() {
    let (auth, security) = revocable(&["alice"]);
    let mut pull = Pull::new();
    let mut events = pull.events();
    let endpoint = pull.bind(ANY_PORT, security).await.unwrap();
    let mut push = Push::with_options(fast());
    push.connect(&endpoint, plain_client("alice")).unwrap();
    for _ in 0..10 {
        soon(push.send("hello")).await;
    }
    soon(push.close()).await.unwrap();
    while !matches!(soon(events.next()).await, Some(SocketEvent::Lost { .. })) {}
    assert!(pull.try_recv().is_some());
    admit(&auth, &["bob"]);
    assert!(pull.try_recv().is_none());
}

#[tokio::test]
async fn an_answer_does_not_go_to_another_user_of_the_routing_id() {
    let mut router = Router::new();
    let endpoint = router.bind(ANY_PORT, plain_server()).await.unwrap();
    let mut events = router.events();
    let mut alice = Dealer::with_options(claiming("worker"));
    alice.connect(&endpoint, plain_client("alice")).unwrap();
    soon(alice.send("question")).await;
    let question = soon(router.recv()).await;
    drop(alice);
    while !matches!(soon(events.next()).await, Some(SocketEvent::Lost { .. })) {}
    let mut mallory = Dealer::with_options(claiming("worker"));
    mallory.connect(&endpoint, plain_client("mallory")).unwrap();
    soon(mallory.send("hello")).await;
    assert_eq!(soon(router.recv()).await.routing_id(), "worker");
    let refused = router.send(question.reply("secret")).unwrap_err();
    assert_eq!(refused.reason, SendReason::NoRoute("worker".into()));
    drop(mallory);
    while !matches!(soon(events.next()).await, Some(SocketEvent::Lost { .. })) {}
    // Alice comes back and gets it.
    let mut alice = Dealer::with_options(claiming("worker"));
    alice.connect(&endpoint, plain_client("alice")).unwrap();
    soon(alice.send("again")).await;
    soon(router.recv()).await;
    router.send(question.reply("secret")).unwrap();
    assert_eq!(soon(alice.recv()).await.frames(), ["secret"]);
}

#[tokio::test]
async fn a_request_to_a_peer_that_is_revoked_fails() {
    let (auth, security) = revocable(&["alice"]);
    let mut req = Req::new();
    let endpoint = req.bind(ANY_PORT, security).await.unwrap();
    let mut rep = Rep::with_options(fast());
    rep.connect(&endpoint, plain_client("alice")).unwrap();
    let revoking = async {
        soon(rep.recv()).await;
        admit(&auth, &["bob"]);
    };
    let (reply, ()) = tokio::join!(soon(req.request("question")), revoking);
    assert!(matches!(reply, Err(RequestError::PeerLost(_))));
}

/// Why `$server` lost alice, whose admission is withdrawn.
macro_rules! loss_of_a_revoked_peer {
    ($server:expr, $client:expr) => {{
        let (auth, security) = revocable(&["alice"]);
        let (mut server, mut client) = ($server, $client);
        let mut events = server.events();
        let endpoint = server.bind(ANY_PORT, security).await.unwrap();
        client.connect(&endpoint, plain_client("alice")).unwrap();
        settle().await;
        admit(&auth, &[]);
        loop {
            if let SocketEvent::Lost { error, .. } = soon(events.next()).await.unwrap() {
                break error;
            }
        }
    }};
}

#[tokio::test]
async fn the_loss_of_a_revoked_peer_says_so() {
    // A socket drops its ends of the connection at once, so the connection may see that first.
    for _ in 0..3 {
        let losses = [
            loss_of_a_revoked_peer!(Pub::with_options(fast()), Sub::with_options(fast())),
            loss_of_a_revoked_peer!(Router::with_options(fast()), Dealer::with_options(fast())),
            loss_of_a_revoked_peer!(Pull::with_options(fast()), Push::with_options(fast())),
            loss_of_a_revoked_peer!(Push::with_options(fast()), Pull::with_options(fast())),
            loss_of_a_revoked_peer!(Rep::with_options(fast()), Req::with_options(fast())),
        ];
        for error in losses {
            assert!(matches!(error, NetError::Revoked), "{error:?}");
        }
    }
}
