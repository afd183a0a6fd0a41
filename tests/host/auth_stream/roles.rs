//! The role has nothing to do with who connects: policy decides about the peer all the same.

use super::party::{Party, client, here, keys, null, server};
use super::rig::{ROOM, in_time};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use zmtp_auth::PeerContext;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::host::AuthStream;
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{Metadata, Security, SocketType};

/// Policy that admits every NULL peer and every key, and a security of this mechanism that asks it.
fn asking(mechanism: &str) -> (Authenticator, Security) {
    let auth = Authenticator::new();
    let _ = auth.configure_curve_any("host");
    let router = ZapRouter::new();
    router.bind("host", auth.clone()).unwrap();
    let config = server(SocketType::Dealer, mechanism);
    (auth, Security::from((config, router)))
}

/// A host that has connected with the security that asks policy, and the peer that has accepted.
async fn connected(
    mechanism: &str,
    security: &Security,
) -> (Party<AuthStream<DuplexStream>>, Party<DuplexStream>) {
    let (network, far) = duplex(ROOM);
    let host = async {
        let stream = AuthStream::connect(network, security).await.unwrap();
        Party::meet(stream, null(SocketType::Dealer)).await.unwrap()
    };
    let mut claims = Metadata::new();
    for (name, value) in [("Socket-Type", "DEALER"), ("User-Id", "root")] {
        claims.push(name, value).unwrap();
    }
    let context = PeerContext::new(here()).with_metadata(claims);
    let peer = Party::meet_as(far, client(SocketType::Dealer, mechanism), context);
    let (host, peer) = in_time(async { tokio::join!(host, peer) }).await;
    (host, peer.unwrap())
}

#[tokio::test]
async fn a_peer_that_policy_admitted_to_a_host_that_connects_can_be_revoked() {
    for mechanism in ["null", "curve"] {
        let (auth, security) = asking(mechanism);
        let (mut host, mut peer) = connected(mechanism, &security).await;
        let closed = host.stream.closed_by_policy();
        // A list of denied addresses refuses what it does not know, and the host has told no address.
        auth.deny(["192.0.2.1"]).unwrap();
        in_time(closed).await;
        assert!(host.stream.get_ref(|_| ()).is_none(), "{mechanism}");
        let error = in_time(host.next()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let mut rest = Vec::new();
        in_time(peer.stream.read_to_end(&mut rest)).await.unwrap();
    }
}

#[tokio::test]
async fn a_host_that_connects_learns_the_user_id_from_policy() {
    for (mechanism, user) in [
        ("null", "anonymous".to_owned()),
        ("curve", keys(11).public_key().to_z85()),
    ] {
        let (_auth, security) = asking(mechanism);
        let (host, _peer) = connected(mechanism, &security).await;
        assert_eq!(host.property("User-Id").unwrap(), user, "{mechanism}");
    }
}

#[tokio::test]
async fn a_client_may_accept() {
    let security = Security::from(client(SocketType::Dealer, "curve"));
    let (network, far) = duplex(ROOM);
    let host = async {
        let stream = AuthStream::accept(network, here(), &security)
            .await
            .unwrap();
        Party::meet(stream, null(SocketType::Dealer)).await.unwrap()
    };
    let (_auth, server) = asking("curve");
    let peer = Party::meet(far, server);
    let (host, peer) = in_time(async { tokio::join!(host, peer) }).await;
    let (mut host, mut peer) = (host, peer.unwrap());
    in_time(async {
        host.send(b"there").await.unwrap();
        assert_eq!(peer.recv().await, "there");
        peer.send(b"back").await.unwrap();
        assert_eq!(host.recv().await, "back");
        host.stream.shutdown().await.unwrap();
    })
    .await;
    let known = host.stream.peer().unwrap();
    assert_eq!(known.address, here());
}
