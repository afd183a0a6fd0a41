//! A listener outlives a want of file descriptors. In a test of its own, since it makes its
//! whole process want them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![cfg(all(unix, feature = "tokio"))]

mod net_peers;

use net_peers::*;
use std::fs::File;
use std::process::Command;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use zmtp_auth::SocketType;
use zmtp_auth::net::{Connection, Listener};

const IN_CHILD: &str = "ZMTP_AUTH_TEST_FEW_DESCRIPTORS";

#[test]
fn a_listener_without_file_descriptors_waits_for_better_times() {
    if std::env::var_os(IN_CHILD).is_some() {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(starve());
        return;
    }
    let status = Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$0\" --exact \"$1\""])
        .arg(std::env::current_exe().unwrap())
        .arg("a_listener_without_file_descriptors_waits_for_better_times")
        .env(IN_CHILD, "1")
        .status()
        .unwrap();
    assert!(status.success());
}

async fn starve() {
    let listener = Listener::bind(ANY_PORT, null(SocketType::Pull), ())
        .await
        .unwrap();
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    assert!((1..64).contains(&hoard.len()), "{}", hoard.len());
    // One for the client, none for the listener.
    hoard.pop();
    let mut client = silent(&listener).await;
    assert!(File::open("/dev/null").is_err());
    let greeting = tokio::time::timeout(Duration::from_millis(200), client.read_u8()).await;
    assert!(greeting.is_err(), "accepted without a descriptor");
    hoard.clear();
    // The greeting's first byte.
    assert_eq!(soon(client.read_u8()).await.unwrap(), 0xFF);
    let push = Connection::connect(listener.local_endpoint(), null(SocketType::Push), ());
    soon(push).await.unwrap();
    soon(listener.accept()).await.unwrap();
}
