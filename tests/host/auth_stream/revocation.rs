//! A revocation closes the connection, whatever the host does.

use super::rig::{ROOM, accepted_over, in_time, judging};
use super::{party::Party, rig::Pair};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Duration, sleep, timeout};
use zmtp_auth::auth::Authenticator;
use zmtp_auth::host::AuthStreamOptions;
use zmtp_auth::wire::frame::Flags;

async fn admitted() -> (Authenticator, Pair<DuplexStream>) {
    let auth = Authenticator::new();
    let security = judging(&auth);
    let options = AuthStreamOptions::default();
    let pair = accepted_over(duplex(ROOM), "curve", &security, &options).await;
    (auth, pair)
}

fn revoke(auth: &Authenticator) {
    auth.deny(["127.0.0.1"]).unwrap();
}

/// Waits until the peer sees the end.
async fn is_closed(peer: &mut Party<DuplexStream>) {
    in_time(async { while let Ok(Some(_)) = peer.next().await {} }).await;
}

#[tokio::test]
async fn a_host_that_does_nothing_loses_its_socket() {
    let (auth, (host, mut peer)) = admitted().await;
    let closed = host.stream.closed_by_policy();
    assert!(host.stream.get_ref(|_| ()).is_some());
    revoke(&auth);
    assert!(host.stream.get_ref(|_| ()).is_none());
    is_closed(&mut peer).await;
    in_time(closed).await;
    in_time(host.stream.closed_by_policy()).await;
}

#[tokio::test]
async fn a_host_that_reads_gets_an_error_and_nothing_that_was_under_way() {
    let (auth, (mut host, mut peer)) = admitted().await;
    for _ in 0..10 {
        peer.send(b"under way").await.unwrap();
    }
    // One is read, and the others with it.
    let mut first = [0; 11];
    in_time(host.stream.read_exact(&mut first)).await.unwrap();
    revoke(&auth);
    let error = in_time(host.stream.read(&mut first)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
    is_closed(&mut peer).await;
}

#[tokio::test]
async fn a_host_that_waits_is_woken() {
    let (auth, (mut host, mut peer)) = admitted().await;
    let reading = async {
        let mut byte = [0];
        host.stream.read(&mut byte).await.unwrap_err()
    };
    let revoking = async {
        sleep(Duration::from_millis(20)).await;
        revoke(&auth);
    };
    let (error, ()) = in_time(async { tokio::join!(reading, revoking) }).await;
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    is_closed(&mut peer).await;

    let (auth, (mut host, mut peer)) = admitted().await;
    let writing = async {
        let bytes = host.encode(Flags::Last, &[7; 1000]);
        loop {
            if let Err(error) = host.stream.write_all(&bytes).await {
                break error;
            }
        }
    };
    let revoking = async {
        sleep(Duration::from_millis(20)).await;
        revoke(&auth);
    };
    let (error, ()) = in_time(async { tokio::join!(writing, revoking) }).await;
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    let mut rest = Vec::new();
    in_time(peer.stream.read_to_end(&mut rest)).await.unwrap();
}

#[tokio::test]
async fn without_a_policy_nothing_is_ever_closed_by_it() {
    let (host, _peer) = super::rig::connected("curve", ROOM).await;
    let closed = timeout(Duration::from_millis(50), host.stream.closed_by_policy());
    assert!(closed.await.is_err());
}
