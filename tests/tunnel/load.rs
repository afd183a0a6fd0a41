//! A tunnel's memory is bounded with many peers and with much traffic.
//!
//! `ZMTP_AUTH_FULL=1` runs 1,000 clients and 1 GB. Each test runs in a process of its own, where no
//! other test opens files or allocates.

use crate::ALLOCATOR;
use crate::net_peers::{RawPeer, null, soon};
use crate::rig::{Line, address};
use std::process::Command;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use zmtp_auth::SocketType;
use zmtp_auth::net::Connection;
use zmtp_auth::wire::frame::Flags;

const MIB: usize = 1024 * 1024;

fn full() -> bool {
    std::env::var_os("ZMTP_AUTH_FULL").is_some()
}

/// Runs one of the tests below in a process with the highest allowed number of files.
fn in_a_process_of_its_own(test: &str) {
    let status = Command::new("sh")
        .args(["-c", "ulimit -n $(ulimit -Hn); exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", test, "--nocapture"])
        .status()
        .unwrap();
    assert!(status.success());
}

#[cfg(unix)]
#[test]
fn many_clients_at_once_each_get_their_own_answers() {
    in_a_process_of_its_own("load::many_clients");
}

#[cfg(unix)]
#[test]
fn much_crosses_with_little_memory() {
    in_a_process_of_its_own("load::much_traffic");
}

#[cfg(unix)]
#[test]
fn parts_and_large_ignored_commands_hold_no_more_than_the_message() {
    in_a_process_of_its_own("load::parts_and_ignored_commands");
}

#[tokio::test]
#[ignore = "run by the test above in its own process"]
async fn many_clients() {
    let clients = if full() { 1000 } else { 100 };
    let line = Line::new("curve", SocketType::Router).await;
    let mut answering = JoinSet::new();
    let mut asking = JoinSet::new();
    for number in 0..clients {
        let endpoint = line.client.local_endpoint().clone();
        asking.spawn(async move {
            let dialling = Connection::connect(endpoint, null(SocketType::Dealer));
            let mut connection = dialling.await.unwrap();
            let own = format!("client {number}");
            for _ in 0..3 {
                connection.send(own.clone()).await.unwrap();
                let answer = connection.recv_message().await.unwrap();
                assert_eq!(answer.single().unwrap(), own.as_bytes());
            }
            connection
        });
    }
    let serving = async {
        for _ in 0..clients {
            let mut connection = line.program.accept().await.unwrap();
            answering.spawn(async move {
                while let Ok(message) = connection.recv_message().await {
                    let _ = connection.send(message).await;
                }
            });
        }
    };
    let asked = async {
        // All stay connected until the last has its answers.
        let mut connections = Vec::new();
        while let Some(done) = asking.join_next().await {
            connections.push(done.unwrap());
        }
        connections.len()
    };
    let patience = std::time::Duration::from_secs(300);
    let both = async { tokio::join!(serving, asked) };
    let ((), asked) = tokio::time::timeout(patience, both).await.unwrap();
    assert_eq!(asked, clients);
}

#[tokio::test]
#[ignore = "run by the test above in its own process"]
async fn much_traffic() {
    let total = if full() { 1024 * MIB } else { 32 * MIB };
    let size = MIB / 4;
    let line = Line::new("curve", SocketType::Pull).await;
    let (mut push, mut pull) = line.meet(null(SocketType::Push)).await;

    // The receiver does not read, so the sender is soon held up, and the bytes in flight are
    // bounded.
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    let mut sent = 0;
    let held_up = async {
        loop {
            push.send(vec![7; size]).await.unwrap();
            sent += 1;
        }
    };
    // A sender without progress for this long is held up, or so slow that it has sent less.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), held_up).await;
    let held = ALLOCATOR.current_usage().saturating_sub(before);
    assert!(held < 8 * MIB, "{held} bytes held after {sent} messages");

    // Then the receiver reads, and everything arrives with no more memory than before.
    let count = total / size;
    let sending = async {
        for _ in sent..count.max(sent) {
            push.send(vec![7; size]).await.unwrap();
        }
    };
    let receiving = async {
        for _ in 0..count.max(sent) {
            let message = soon(pull.recv_message()).await.unwrap();
            assert_eq!(message.size(), size);
        }
    };
    tokio::join!(sending, receiving);
    let peak = ALLOCATOR.peak_usage().saturating_sub(before);
    assert!(peak < 12 * MIB, "{peak} bytes at most");
    println!("{} MiB crossed, {peak} bytes held at most", total / MIB);
}

#[tokio::test]
#[ignore = "run by the test above in its own process"]
async fn parts_and_ignored_commands() {
    let line = Line::new("curve", SocketType::Pull).await;
    let stream = TcpStream::connect(address(line.client.local_endpoint())).await;
    let shaking = RawPeer::shake_hands(stream.unwrap(), SocketType::Push, 1);
    let (mut push, pull) = soon(async { tokio::join!(shaking, line.program.accept()) }).await;
    let mut pull = pull.unwrap();
    let part = [1; 5000];
    let mut ignored = b"\x07IGNORED".to_vec();
    ignored.resize(4 * MIB, 0);
    let parts = if full() { 100 } else { 30 };
    // The attacker has sent its frame already.
    push.send(Flags::Command, &ignored).await;

    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    for _ in 0..parts {
        push.send(Flags::More, &part).await;
        push.send(Flags::Command, &ignored).await;
    }
    push.send(Flags::Last, b"end").await;
    let received = soon(pull.recv_message()).await.unwrap();
    assert_eq!(received.frames().len(), parts + 1);
    let peak = ALLOCATOR.peak_usage().saturating_sub(before);
    println!("{parts} parts, each with a command of 4 MiB: {peak} bytes at most");
    assert!(peak < 14 * MIB, "{peak} bytes at most");
}
