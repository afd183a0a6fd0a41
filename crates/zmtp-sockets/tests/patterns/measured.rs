//! Memory and tasks, each measured in a process where no other test allocates.
//!
//! `ZMTP_AUTH_FULL=1` runs the counts that are promised.

use crate::ALLOCATOR;
use crate::net_peers::port;
use crate::securities::{ANY_PORT, eventually, fast, soon};
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::net::{Connection, Endpoint};
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{Config, Domain, KeyPair, PublicKey, Security, SocketType};
use zmtp_sockets::{Dealer, Pub, Router, Sub};

fn is_full() -> bool {
    std::env::var_os("ZMTP_AUTH_FULL").is_some()
}

/// One of the tests below, in a process with as many files as the system allows.
fn process(test: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n $(ulimit -Hn); exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", test, "--nocapture"]);
    command
}

fn in_a_process_of_its_own(test: &str) {
    assert!(process(test).status().unwrap().success());
}

#[test]
fn peers_that_come_and_go_leave_no_memory_and_no_task() {
    in_a_process_of_its_own("measured::churn");
}

#[test]
fn an_idle_peer_of_a_router_takes_little_memory() {
    in_a_process_of_its_own("measured::idle_peers");
}

/// A server of CURVE that admits every key under its own name.
fn server(keys: &KeyPair) -> Security {
    let policy = Authenticator::new();
    policy.configure_curve_any("test");
    let zap = ZapRouter::new();
    zap.bind("test", policy).unwrap();
    let config = Config::untyped_builder()
        .curve_server(keys.clone())
        .authorize(Domain::from("test"))
        .finish();
    (config.unwrap(), zap).into()
}

fn client(server: PublicKey) -> Security {
    let keys = KeyPair::generate().unwrap();
    let config = Config::untyped_builder().curve_client(keys, server);
    config.finish().unwrap().into()
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Where the peers of the churn connect.
#[derive(Clone)]
struct Servers {
    router: Endpoint,
    publisher: Endpoint,
    key: PublicKey,
}

impl Servers {
    /// Comes, and goes in one way or another.
    async fn visit(&self, way: usize) {
        let mut dealer = Dealer::with_options(fast());
        let mut sub = Sub::with_options(fast());
        match way % 5 {
            // Asks, is answered, and closes.
            0 => {
                dealer.connect(&self.router, client(self.key)).unwrap();
                soon(dealer.send("question")).await;
                soon(dealer.recv()).await;
                soon(dealer.close()).await.unwrap();
            }
            // Asks, and leaves what it is answered unread.
            1 => {
                let mut raw = soon(Connection::connect(
                    &self.router,
                    client(self.key).for_socket(SocketType::Dealer, "").unwrap(),
                ))
                .await
                .unwrap();
                for _ in 0..20 {
                    soon(raw.send("question")).await.unwrap();
                }
            }
            // Subscribes to much, receives and goes without a word.
            2 => {
                for number in 0..50 {
                    sub.subscribe(number.to_string());
                }
                sub.subscribe("tick");
                sub.connect(&self.publisher, client(self.key)).unwrap();
                soon(sub.recv()).await;
            }
            // Dies in its handshake.
            3 => {
                let address = ("127.0.0.1", port(&self.router));
                let mut stream = soon(TcpStream::connect(address)).await.unwrap();
                stream.write_all(&[0xff, 0, 0]).await.unwrap();
            }
            // Is not waited for.
            _ => {
                dealer.connect(&self.router, client(self.key)).unwrap();
                dealer.try_send("question").unwrap();
                let _ = tokio::time::timeout(Duration::from_millis(3), dealer.recv()).await;
            }
        }
    }

    /// `peers` of them at a time, for `rounds` or for the time.
    async fn storm(&self, peers: usize, rounds: usize, time: Duration) -> usize {
        let begun = Instant::now();
        let mut visiting = JoinSet::new();
        for number in 0..peers {
            let servers = self.clone();
            visiting.spawn(async move {
                let mut visits = 0;
                while visits < rounds || begun.elapsed() < time {
                    servers.visit(number + visits).await;
                    visits += 1;
                }
                visits
            });
        }
        let mut visits = 0;
        while let Some(visited) = visiting.join_next().await {
            visits += visited.unwrap();
        }
        visits
    }
}

/// Bytes that may remain for each peer that was there at once: a table that has grown keeps its room. With
/// `--full` each of them comes some 70 times, so 20 bytes that a visit leaves are found.
const MAY_REMAIN_EACH: usize = 1_300;

#[tokio::test]
#[ignore = "run by a test above in its own process"]
async fn churn() {
    let (peers, rounds, time) = if is_full() {
        (200, 10, Duration::from_secs(60))
    } else {
        (100, 3, Duration::ZERO)
    };
    let keys = KeyPair::generate().unwrap();
    let mut router = Router::new();
    let mut publisher = Pub::new();
    let servers = Servers {
        router: router.bind(ANY_PORT, server(&keys)).await.unwrap(),
        publisher: publisher.bind(ANY_PORT, server(&keys)).await.unwrap(),
        key: keys.public_key(),
    };
    tokio::spawn(async move {
        loop {
            let request = router.recv().await;
            let _ = router.send(request.reply("answer"));
        }
    });
    tokio::spawn(async move {
        loop {
            publisher.send("tick");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let before = tasks();
    // Tables grow for the first ones.
    servers.storm(peers, rounds, Duration::ZERO).await;
    eventually(|| tasks() == before).await;
    let live = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let begun = Instant::now();
    let visits = servers.storm(peers, rounds, time).await;
    let took = begun.elapsed().as_secs_f64();
    eventually(|| tasks() == before).await;
    let allowed = live + peers * MAY_REMAIN_EACH;
    eventually(|| ALLOCATOR.current_usage() <= allowed).await;
    println!(
        "churn: {visits} visits of {peers} peers in {took:.1} s; tasks {before} before, {} after; live {live} bytes \
         before, {} after, {} at most",
        tasks(),
        ALLOCATOR.current_usage(),
        ALLOCATOR.peak_usage(),
    );
}

/// Promised for each peer.
const BYTES_EACH: usize = 8_000;

/// Says its endpoint, then its memory for each line of its input, once it has as many peers as the line says.
#[tokio::test]
#[ignore = "run by the test below in its own process"]
async fn idle_server() {
    let keys = KeyPair::from_secret(SECRET.parse().unwrap());
    let mut router = Router::new();
    let endpoint = router.bind(ANY_PORT, server(&keys)).await.unwrap();
    println!("idle: {endpoint}");
    let (told, mut asked) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let _ = told.send(line.unwrap().parse::<usize>().unwrap());
        }
    });
    while let Some(peers) = asked.recv().await {
        // The listener has two tasks, and every peer.
        eventually(|| {
            assert!(router.try_recv().is_none());
            tasks() == 2 + 2 * peers
        })
        .await;
        // What a handshake has left is gone by then.
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(router.try_recv().is_none());
        println!("idle: {}", ALLOCATOR.current_usage());
    }
}

/// The secret of the server, for tests alone.
const SECRET: &str = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by a test above in its own process"]
async fn idle_peers() {
    let peers = if is_full() { 9_900 } else { 200 };
    let mut child = process("measured::idle_server")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut asking = child.stdin.take();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = lines.filter_map(|line| {
        let line = line.unwrap();
        line.split_once("idle: ").map(|(_, told)| told.to_owned())
    });
    let endpoint: Endpoint = told.next().unwrap().parse().unwrap();
    let mut memory = |asking: &mut Option<ChildStdin>, peers: usize| -> usize {
        writeln!(asking.as_mut().unwrap(), "{peers}").unwrap();
        told.next().unwrap().parse().unwrap()
    };
    let before = memory(&mut asking, 0);
    let key = KeyPair::from_secret(SECRET.parse().unwrap()).public_key();
    let mut connections = Vec::new();
    let mut connecting = JoinSet::new();
    let mut begun = 0;
    while connections.len() < peers {
        while begun < peers && connecting.len() < 64 {
            let endpoint = endpoint.clone();
            let security = client(key).for_socket(SocketType::Dealer, "").unwrap();
            connecting.spawn(async move { Connection::connect(&endpoint, security).await });
            begun += 1;
        }
        let connected = soon(connecting.join_next()).await.unwrap();
        connections.push(connected.unwrap().unwrap());
    }
    let full = memory(&mut asking, peers);
    let each = (full - before) / peers;
    println!("idle: {peers} CURVE peers on one ROUTER take {each} bytes each of its process");
    assert!(each <= BYTES_EACH, "{each} bytes for each peer");
    drop(connections);
    let after = memory(&mut asking, 0);
    println!("idle: {before} bytes live before, {full} with them, {after} after");
    // The end of its input is its end.
    drop(asking);
    assert!(told.next().is_none());
    assert!(child.wait().unwrap().success());
}
