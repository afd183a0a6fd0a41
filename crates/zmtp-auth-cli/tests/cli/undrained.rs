//! Unread output stops neither the program nor its end, and loses no message.

use super::program::{House, command, texts};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use zmtp_auth::cert::Certificate;
use zmtp_auth::net::{Connection, Listener, NetError};
use zmtp_auth::{Config, NoPolicy, SocketType};

/// The longest wait. It only keeps a failing test from hanging.
const PATIENCE: Duration = Duration::from_secs(60);

const CURVE: &str = "listen tcp://127.0.0.1:* --curve --key @server.key_secret \
                     --policy @policy.toml --domain billing";

/// A child whose stdout is read as far as its first line, and whose stderr is not read at all.
pub struct Unread {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    pub endpoint: String,
}

impl Unread {
    fn start(arguments: &[&str]) -> Self {
        let mut command = command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::with_capacity(1, child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        let endpoint = told["endpoint"].as_str().unwrap().to_owned();
        Self {
            child,
            stdout,
            endpoint,
        }
    }

    pub fn in_house(house: &House, line: &str) -> Self {
        Self::start(&texts(&house.arguments(line)))
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end, with its output unread.
    pub fn end(&mut self) -> Option<i32> {
        end_in_time(&mut self.child)
    }

    /// Its log, once it has ended.
    pub fn log(&mut self) -> String {
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut log).unwrap();
        log
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the end of a child, and ends one that hangs.
#[track_caller]
fn end_in_time(child: &mut Child) -> Option<i32> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    panic!("it does not end");
}

/// A peer with another mechanism, which is refused.
fn stranger(address: &str) {
    let mut greeting = [0; 64];
    greeting[0] = 0xFF;
    greeting[9] = 0x7F;
    greeting[10] = 3;
    greeting[12..16].copy_from_slice(b"NULL");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&greeting).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may be reset.
    let ended = stream.read_to_end(&mut Vec::new());
    let kind = ended.err().map(|error| error.kind());
    assert_ne!(
        kind,
        Some(ErrorKind::WouldBlock),
        "strangers are not answered"
    );
}

#[test]
fn strangers_cannot_stop_a_listener_or_a_tunnel_whose_output_is_unread() {
    let house = House::new();
    let tunnel = "-vvv tunnel server --bind tcp://127.0.0.1:* --forward tcp://127.0.0.1:1 \
                  --key @server.key_secret --policy @policy.toml --domain billing";
    let zap = "-vvv zap --policy @policy.toml --listen tcp://127.0.0.1:* \
               --key @server.key_secret --client-key @known/alice.key";
    let listen = format!("-vvv {CURVE} --type pull");
    for line in [&listen, tunnel, zap] {
        let mut unread = Unread::in_house(&house, line);
        let address = unread.endpoint.strip_prefix("tcp://").unwrap().to_owned();
        for _ in 0..2000 {
            stranger(&address);
        }
        unread.signal("TERM");
        unread.end();
    }
}

fn client(house: &House, name: &str, kind: SocketType) -> Config<NoPolicy> {
    let load = |name: &str| Certificate::load(house.path(name)).unwrap();
    let keys = load(name).key_pair().unwrap().clone();
    let config = Config::builder(kind).curve_client(keys, load("server.key").public_key());
    config.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_stdout_is_full_messages_wait_and_revocation_goes_on() {
    const MESSAGES: usize = 8_000;
    let house = House::new();
    std::fs::copy(house.path("mallory.key"), house.path("known/mallory.key")).unwrap();
    let mut unread = Unread::in_house(&house, &format!("{CURVE} --type pull"));
    let endpoint = unread.endpoint.clone();
    let push = |name: &str| {
        let config = client(&house, name, SocketType::Push);
        Connection::connect(endpoint.clone(), config)
    };
    let mut alice = push("alice.key_secret").await.unwrap();
    let mut sending = tokio::spawn(async move {
        for number in 0..MESSAGES {
            let text = format!("{number:04000}");
            alice.send(text).await.unwrap();
        }
        alice.close().await.unwrap();
    });
    // Neither a pipe nor the system's buffers for TCP take 32 megabytes: the sender waits.
    let waits = tokio::time::timeout(Duration::from_secs(2), &mut sending).await;
    assert!(waits.is_err(), "what was sent has gone nowhere");
    // A peer is admitted, and then closed by a revocation.
    let mallory = tokio::time::timeout(PATIENCE, push("mallory.key_secret")).await;
    let mallory = mallory.expect("handshakes go on").unwrap();
    std::fs::remove_file(house.path("known/mallory.key")).unwrap();
    unread.signal("HUP");
    let closed = tokio::time::timeout(PATIENCE, mallory.closed()).await;
    assert!(matches!(
        closed.expect("revocation goes on"),
        NetError::Closed
    ));
    // Stdout is read again, and every message is there.
    let mut found = 0;
    let mut line = String::new();
    while found < MESSAGES {
        line.clear();
        assert_ne!(unread.stdout.read_line(&mut line).unwrap(), 0);
        let told: Value = serde_json::from_str(&line).unwrap();
        if told["event"] == "message" {
            assert_eq!(told["frames"], json!([{"text": format!("{found:04000}")}]));
            found += 1;
        }
    }
    sending.await.unwrap();
    unread.signal("TERM");
    assert_eq!(unread.end(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_echo_that_is_not_read_ends_on_a_signal_and_at_once_on_a_second() {
    let house = House::new();
    for signals in [1, 2] {
        let (listening, endpoint) = house.listening(&format!("{CURVE} --type dealer --echo"));
        let config = client(&house, "alice.key_secret", SocketType::Dealer);
        let mut dealer = Connection::connect(endpoint, config).await.unwrap();
        let message = "x".repeat(100_000);
        // Until both sides wait for each other.
        let patience = Duration::from_secs(2);
        while let Ok(sent) = tokio::time::timeout(patience, dealer.send(message.clone())).await {
            sent.unwrap();
        }
        for number in 0..signals {
            listening.signal(if number == 0 { "TERM" } else { "INT" });
        }
        assert_eq!(listening.end_in_time(), Some(1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_ends_on_a_signal_while_stdout_is_full() {
    let config = Config::builder(SocketType::Push).null().accept_any_peer();
    let listener = Listener::bind("tcp://127.0.0.1:*", config.finish().unwrap());
    let listener = listener.await.unwrap();
    let endpoint = listener.local_endpoint().to_string();
    let connecting = tokio::task::spawn_blocking(move || {
        Unread::start(&["connect", &endpoint, "--type", "pull", "--null"])
    });
    let mut push = listener.accept().await.unwrap();
    let mut unread = connecting.await.unwrap();
    let message = "x".repeat(10_000);
    let sends = async { while push.send(message.clone()).await.is_ok() {} };
    let stuck = tokio::time::timeout(Duration::from_secs(3), sends).await;
    assert!(stuck.is_err());
    unread.signal("TERM");
    assert_eq!(unread.end(), Some(1));
}

#[test]
fn a_command_ends_although_its_failure_is_not_read() {
    let (_reader, mut writer) = std::io::pipe().unwrap();
    // As much as a pipe holds.
    writer.write_all(&[b'x'; 65_536]).unwrap();
    let mut child = command(&["policy", "check", "nowhere"])
        .stderr(writer)
        .spawn()
        .unwrap();
    assert_eq!(end_in_time(&mut child), Some(1));
}

#[test]
fn refusals_of_one_address_are_summed_up() {
    let house = House::new();
    let (mut listening, endpoint) = house.listening(&format!("{CURVE} --type pull"));
    for _ in 0..50 {
        stranger(endpoint.strip_prefix("tcp://").unwrap());
    }
    let first = listening.event("refused");
    assert_eq!(first.get("repeated"), None);
    // The program takes in what has happened in order, so it knows of all once this is printed.
    let alice = "--curve --server-key @server.key --key @alice.key_secret";
    house.ends(0, &format!("connect {endpoint} --type push {alice}"));
    listening.event("accepted");
    listening.signal("TERM");
    // The rest is printed at the end, in one line.
    assert_eq!(listening.event("refused")["repeated"], 49);
    assert_eq!(listening.end_in_time(), Some(0));
}

#[test]
fn refusals_of_one_address_are_summed_up_in_the_log() {
    let house = House::new();
    let line = "tunnel server --bind tcp://127.0.0.1:* --forward tcp://127.0.0.1:1 \
                --key @server.key_secret --policy @policy.toml --domain billing";
    let mut unread = Unread::in_house(&house, line);
    for _ in 0..50 {
        stranger(unread.endpoint.strip_prefix("tcp://").unwrap());
    }
    unread.signal("TERM");
    assert_eq!(unread.end(), Some(0));
    let log = unread.log();
    let refusals = log.matches("peer refused").count();
    assert_eq!(refusals, 2, "{log}");
    assert!(log.contains("49 times again"), "{log}");
}

#[test]
fn refusals_of_different_kinds_are_told_apart() {
    let house = House::new();
    let (mut listening, endpoint) = house.listening(&format!("{CURVE} --type pull"));
    stranger(endpoint.strip_prefix("tcp://").unwrap());
    house.ends(
        5,
        &format!("probe {endpoint} --curve --server-key @known/alice.key"),
    );
    for _ in 0..2 {
        let refused = listening.event("refused");
        assert_eq!(refused.get("repeated"), None, "{refused}");
    }
}

/// Two peers that the policy does not know, at one address. One connects twice.
fn mallory_twice_and_eve(house: &House, endpoint: &str) {
    for name in ["mallory", "mallory", "eve"] {
        let key = format!("--curve --server-key @server.key --key @{name}.key_secret");
        house.ends(3, &format!("connect {endpoint} --type push {key}"));
    }
}

#[test]
fn refusals_of_one_address_are_summed_up_by_who_it_was() {
    let house = House::new();
    house.ends(0, &format!("cert new eve --dir {}", house.text("")));
    let [mallory, eve] = ["mallory.key", "eve.key"].map(|name| {
        let certificate = Certificate::load(house.path(name)).unwrap();
        certificate.public_key().to_z85()
    });
    let (mut listening, endpoint) = house.listening(&format!("{CURVE} --type pull"));
    mallory_twice_and_eve(&house, &endpoint);
    listening.signal("TERM");
    for (key, repeated) in [(&mallory, None), (&eve, None), (&mallory, Some(1))] {
        let refused = listening.event("refused");
        assert_eq!(refused["key"].as_str(), Some(key.as_str()), "{refused}");
        assert_eq!(refused["repeated"].as_u64(), repeated, "{refused}");
    }
    assert_eq!(listening.end_in_time(), Some(0));

    let line = "tunnel server --bind tcp://127.0.0.1:* --forward tcp://127.0.0.1:1 \
                --key @server.key_secret --policy @policy.toml --domain billing";
    let mut unread = Unread::in_house(&house, line);
    mallory_twice_and_eve(&house, &unread.endpoint);
    unread.signal("TERM");
    assert_eq!(unread.end(), Some(0));
    let log = unread.log();
    let counts = [&mallory, &eve].map(|key| log.matches(key.as_str()).count());
    assert_eq!(counts, [2, 1], "{log}");
    assert!(log.contains("once more: peer refused"), "{log}");
}
