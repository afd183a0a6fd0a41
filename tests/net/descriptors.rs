//! A listener survives a lack of file descriptors, and its peers cannot cause one. Each test runs
//! in a process of its own, whose limit it lowers.

use crate::net_peers;

use net_peers::*;
use std::fs::File;
use std::future::Future;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;
use zmtp_auth::net::{Connection, Listener, NetError};
use zmtp_auth::{Config, Error, PublicKey, SocketType, Stage};

const IN_CHILD: &str = "ZMTP_AUTH_TEST_FEW_DESCRIPTORS";

/// Runs `test` again in a process that may open `descriptors` file descriptors.
fn child(test: &str, descriptors: usize) -> Command {
    let mut command = Command::new("sh");
    let limited = format!("ulimit -n {descriptors} && exec \"$0\" --exact \"$1\" --nocapture");
    command.args(["-c", &limited]);
    command.arg(std::env::current_exe().unwrap()).arg(test);
    command.env(IN_CHILD, "1");
    command
}

fn is_child() -> bool {
    std::env::var_os(IN_CHILD).is_some()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(future)
}

/// 128 descriptors: 16 for the program, 32 for handshakes, 80 for connections.
#[test]
fn peers_who_are_admitted_cannot_take_the_last_descriptor() {
    const ROOM: usize = 80;
    if is_child() {
        return run(hold_everybody());
    }
    let mut child = child(
        "descriptors::peers_who_are_admitted_cannot_take_the_last_descriptor",
        128,
    )
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = told.find_map(|line| {
        line.unwrap()
            .split_once("at tcp:")
            .map(|(_, at)| at.to_owned())
    });
    let (port, key) = told
        .unwrap()
        .split_once(' ')
        .map(|(port, key)| {
            (
                port.rsplit_once(':').unwrap().1.parse().unwrap(),
                key.to_owned(),
            )
        })
        .unwrap();
    run(async {
        let server = PublicKey::from_z85(&key).unwrap();
        let mallory = Config::builder(SocketType::Push).curve_client(keys(), server);
        let mallory = mallory.finish().unwrap();
        let dial = || soon(Connection::connect(local(port), mallory.clone()));
        let mut held = Vec::new();
        // As many connections as the process could have descriptors, then 100 silent ones.
        for _ in 0..118 {
            held.extend(dial().await.ok());
        }
        assert_eq!(held.len(), ROOM);
        let mut silent = Vec::new();
        for _ in 0..100 {
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", port));
            silent.push(soon(stream).await.unwrap());
        }
        // A refusal arrives at once, which needs an accept and a handshake.
        let refused = dial().await.unwrap_err();
        assert!(matches!(
            refused,
            NetError::Handshake(Error::ClosedByPeer(Stage::CurveReady))
        ));
        // A connection that ends makes room for another.
        held.pop().unwrap().close().await.unwrap();
        while dial().await.is_err() {}
    });
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

/// Accepts and keeps every peer until stdin ends.
async fn hold_everybody() {
    let keys = keys();
    let config = Config::builder(SocketType::Pull).curve_server(keys.clone());
    let config = config.accept_any_peer().finish().unwrap();
    let listener = Listener::bind(ANY_PORT, config).await.unwrap();
    println!(
        "at {} {}",
        listener.local_endpoint(),
        keys.public_key().to_z85()
    );
    let mut peers = JoinSet::new();
    let mut stdin = tokio::io::stdin();
    loop {
        tokio::select! {
            peer = listener.accept() => {
                let mut peer = peer.unwrap();
                peers.spawn(async move { peer.recv().await.map(drop) });
            }
            end = stdin.read_u8() => return assert!(end.is_err()),
        }
    }
}

#[test]
fn a_listener_without_file_descriptors_recovers() {
    if is_child() {
        return run(starve());
    }
    let mut child = child(
        "descriptors::a_listener_without_file_descriptors_recovers",
        64,
    );
    assert!(child.status().unwrap().success());
}

async fn starve() {
    let listener = Listener::bind(ANY_PORT, null(SocketType::Pull))
        .await
        .unwrap();
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    assert!((1..64).contains(&hoard.len()), "{}", hoard.len());
    // One free descriptor for the client, none for the listener.
    hoard.pop();
    let mut client = silent(&listener).await;
    assert!(File::open("/dev/null").is_err());
    let greeting = tokio::time::timeout(Duration::from_millis(200), client.read_u8()).await;
    assert!(greeting.is_err(), "accepted without a descriptor");
    hoard.clear();
    // The greeting's first byte.
    assert_eq!(soon(client.read_u8()).await.unwrap(), 0xFF);
    let push = Connection::connect(listener.local_endpoint(), null(SocketType::Push));
    soon(push).await.unwrap();
    soon(listener.accept()).await.unwrap();
}
