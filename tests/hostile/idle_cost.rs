//! Idle and lingering connections use no processor time: idle ones, and those whose one side has
//! closed while the other does not read.

use super::curve::CurveClient;
use super::load_attack::{KIB, alone, soon};
use super::raw::{Raw, established, frame, null_ready};
use super::server::{Kind, Target, server_keys};
use std::fs;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use zmtp_auth::net::{Endpoint, Host, Listener, Options, Tunnel, TunnelOptions};
use zmtp_auth::traffic::heartbeat::HeartbeatSettings;
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{Config, Domain, SocketType};

/// How long to watch.
const WINDOW: Duration = Duration::from_secs(1);
/// Processor time that may pass in a window: a tenth of one core. A spinning task takes all of it.
const MAX_WORK: Duration = Duration::from_millis(100);
/// How often a heartbeat is due.
const INTERVAL: Duration = Duration::from_millis(50);
/// Wake-ups allowed in a window for each connection with heartbeats, ten times what PINGs, answers
/// and expiry need, and for the runtime itself.
const MAX_WAKES: u64 = 10 * 3 * (WINDOW.as_millis() / INTERVAL.as_millis()) as u64;
const RUNTIME_WAKES: u64 = 100;

/// The processor time of all threads of this process, and how often they began to wait.
fn work() -> (Duration, u64) {
    let (mut time, mut waits) = (Duration::ZERO, 0);
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        // A thread may end at any time.
        let schedule = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        let running = schedule.split(' ').next().and_then(|ns| ns.parse().ok());
        time += Duration::from_nanos(running.unwrap_or(0));
        let status = fs::read_to_string(task.join("status")).unwrap_or_default();
        let switches = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        waits += switches.map_or(0, |count| count.trim().parse::<u64>().unwrap());
    }
    (time, waits)
}

/// Measures one window, after the work of the last event is finished.
async fn must_rest(what: &str, connections: u64) {
    tokio::time::sleep(WINDOW / 4).await;
    let (time, waits) = work();
    tokio::time::sleep(WINDOW).await;
    let (time, waits) = (work().0.saturating_sub(time), work().1 - waits);
    println!("load attack: {what}: {time:?} of work and {waits} wake-ups in {WINDOW:?}");
    assert!(time <= MAX_WORK, "{what}: worked for {time:?}");
    let max = RUNTIME_WAKES + connections * MAX_WAKES;
    assert!(waits <= max, "{what}: {waits} wake-ups, {max} allowed");
}

fn options() -> Options {
    Options::default().with_heartbeat(HeartbeatSettings::every(INTERVAL))
}

/// A tunnel of CURVE with heartbeats in front of `program`.
async fn tunnel(program: &str) -> (Tunnel, Target) {
    let router = ZapRouter::new();
    let admit = async |request: ZapRequest| request.allow("somebody");
    router.bind("tunnel", admit).unwrap();
    let config = Config::builder(SocketType::Relay)
        .curve_server(server_keys())
        .authorize(Domain::from("tunnel"));
    let sockets = TunnelOptions::default().with_sockets(options());
    let config = config.finish().unwrap();
    let opening = Tunnel::server("tcp://127.0.0.1:*", program, (config, router), sockets);
    let tunnel = opening.await.unwrap();
    let target = target(tunnel.local_endpoint(), Kind::Curve);
    (tunnel, target)
}

fn target(endpoint: &Endpoint, kind: Kind) -> Target {
    let Endpoint::Tcp {
        host: Host::Ip(ip),
        port,
    } = endpoint
    else {
        panic!("not an address: {endpoint}");
    };
    Target {
        address: SocketAddr::new(*ip, *port),
        kind,
        key: server_keys().public_key(),
        resets: Arc::default(),
    }
}

/// What peers and a program do at the two ends of a tunnel before it should be idle. Each peer
/// sends a little more than the one before. So, however much the system buffers, the tunnel's own
/// buffers are partly full for some of them.
async fn through_a_tunnel(
    what: &str,
    count: usize,
    says: Range<usize>,
    peer_leaves: bool,
    program_leaves: bool,
) {
    let folder = tempfile::tempdir().unwrap();
    // ipc sockets have the same buffer size on every machine.
    let path = folder.path().join("program");
    let program = UnixListener::bind(&path).unwrap();
    let (_tunnel, target) = tunnel(&format!("ipc://{}", path.display())).await;
    let mut open = Vec::new();
    for index in 0..count {
        let says = says.start + says.len() * index / count;
        let visited = async {
            let mut visitor = Raw(program.accept().await.unwrap().0);
            visitor.greet("NULL").await;
            visitor.say(&null_ready("DEALER")).await;
            visitor.frame().await;
            visitor
        };
        let peer = CurveClient::established(&target, "DEALER");
        let ((mut peer, traffic), mut visitor) = soon(async { tokio::join!(peer, visited) }).await;
        // The program does not read. Messages are small, so that many fit into the tunnel's buffer.
        let body = vec![b'x'; KIB];
        for nonce in 0..says / body.len() {
            let message = frame(0, &traffic.message(3 + nonce as u64, 0, &body));
            let said = tokio::time::timeout(Duration::from_millis(200), peer.0.write_all(&message));
            if said.await.is_err() {
                break;
            }
        }
        if program_leaves {
            visitor.finish().await;
        }
        if peer_leaves {
            peer.finish().await;
        }
        open.push((peer, visitor));
    }
    must_rest(what, 2 * count as u64).await;
}

#[test]
fn an_idle_tunnel_with_heartbeats_uses_no_processor_time() {
    alone(async || through_a_tunnel("idle tunnel", 4, 0..0, false, false).await);
}

#[test]
fn a_tunnel_is_idle_when_its_peer_has_closed_and_its_program_does_not_read() {
    alone(async || {
        through_a_tunnel("the peer has closed", 64, 64 * KIB..512 * KIB, true, false).await
    });
}

#[test]
fn a_tunnel_is_idle_when_its_peer_is_silent_and_its_program_does_not_read() {
    alone(async || through_a_tunnel("a silent peer", 64, 64 * KIB..512 * KIB, false, false).await);
}

#[test]
fn a_tunnel_is_idle_when_its_program_has_closed_and_does_not_read() {
    alone(async || {
        through_a_tunnel(
            "the program has closed",
            64,
            64 * KIB..512 * KIB,
            false,
            true,
        )
        .await
    });
}

#[test]
fn a_tunnel_is_idle_after_a_clean_close_of_its_peer() {
    alone(async || through_a_tunnel("the peer has finished", 4, 0..0, true, false).await);
}

#[test]
fn a_connection_is_idle_when_its_application_does_not_receive() {
    alone(async || {
        let config = Config::builder(SocketType::Dealer).null().accept_any_peer();
        let config = config.finish().unwrap();
        let listener = Listener::bind_with("tcp://127.0.0.1:*", config, options());
        let listener = listener.await.unwrap();
        let target = target(listener.local_endpoint(), Kind::Null);
        let mut open = Vec::new();
        for finishes in [false, true] {
            let mut peer = established(&target, "DEALER").await;
            let connection = soon(listener.accept()).await.unwrap();
            let message = frame(0, &[b'x'; 8 * KIB]).repeat(64);
            let talking = async { while peer.say(&message).await {} };
            let _ = tokio::time::timeout(Duration::from_millis(300), talking).await;
            if finishes {
                peer.finish().await;
            }
            open.push((peer, connection));
        }
        must_rest("an application that does not receive", open.len() as u64).await;
    });
}

#[test]
fn a_connection_is_idle_when_its_peer_has_gone_and_its_application_does_not_receive() {
    /// More than the connection reads ahead for the application, less than the system's buffers
    /// take.
    const SAID: usize = 15_000;
    alone(async || {
        let config = Config::builder(SocketType::Dealer).null().accept_any_peer();
        let config = config.finish().unwrap();
        let listener = Listener::bind_with("tcp://127.0.0.1:*", config, options());
        let listener = listener.await.unwrap();
        let target = target(listener.local_endpoint(), Kind::Null);
        let mut open = Vec::new();
        for answers in [false, true] {
            let mut peer = established(&target, "DEALER").await;
            let mut connection = soon(listener.accept()).await.unwrap();
            peer.say(&frame(0, b"x").repeat(SAID)).await;
            drop(peer);
            while answers && connection.send("answer").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            open.push(connection);
        }
        must_rest("a peer that has gone", open.len() as u64).await;
        for mut connection in open {
            for _ in 0..SAID {
                soon(connection.recv()).await.unwrap();
            }
            soon(connection.recv()).await.unwrap_err();
        }
    });
}
