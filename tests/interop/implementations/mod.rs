//! Every implementation that is met, in every mechanism that it has, as client and as server: the
//! right secret gets a message through each way, and wrong ones are refused. The table in README.md
//! names them.
//!
//! Peers that `./test` does not install are ignored there; `./test --full peers` installs them and
//! names their folder in `ZMTP_AUTH_PEERS`.

mod rsyslog;

use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use zmtp_auth::auth::Authenticator;
use zmtp_auth::cert::Certificate;
use zmtp_auth::net::{Connection, Event, Listener, NetError};
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{Config, KeyPair, PublicKey, SocketType};

/// The wheels of pyzmq, each with the libzmq that it brought. The script installs the same ones.
const WHEELS: [(&str, &str); 6] = [
    ("15.4.0", "4.1.5"),
    ("17.1.3", "4.2.5"),
    ("18.0.2", "4.3.1"),
    ("19.0.2", "4.3.2"),
    ("20.0.0", "4.3.3"),
    ("22.3.0", "4.3.4"),
];
/// The version whose PLAIN command HELLO has another name, which libzmq 4.3.2 mended (libzmq #3500).
const MISSPELLS_HELLO: &str = "4.3.1";
const MECHANISMS: [&str; 3] = ["NULL", "PLAIN", "CURVE"];
const PYOMQ: &str = "0.21.0";
const ZEROMQ_JS: &str = "6.8.0";
const README: &str = include_str!("../../../README.md");
const DOMAIN: &str = "meet";
/// The longest wait. It only keeps a failing test from hanging.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn pyomq_is_met_in_every_mechanism_and_role() {
    let command = [python(), script("omq.py")];
    meet("pyomq", Some(PYOMQ), &command).await;
}

#[tokio::test]
#[ignore = "needs old wheels of pyzmq: ./test --full peers"]
async fn every_libzmq_of_old_wheels_is_met_in_every_mechanism_and_role() {
    for (wheel, version) in WHEELS {
        let library = library_of(wheel);
        meet(
            "libzmq",
            Some(version),
            &[python(), script("libzmq.py"), library],
        )
        .await;
    }
}

#[tokio::test]
#[ignore = "needs Debian's libzmq and czmq: ./test --full peers"]
async fn debians_libzmq_is_met_in_every_mechanism_and_role() {
    let command = [python(), script("libzmq.py"), "libzmq.so.5".to_owned()];
    meet("Debian's libzmq", None, &command).await;
}

#[tokio::test]
#[ignore = "needs Debian's libzmq and czmq: ./test --full peers"]
async fn czmq_is_met_with_its_certificates_and_zauth() {
    let library = std::env::var("ZMTP_AUTH_CZMQ").expect("ZMTP_AUTH_CZMQ must name libczmq");
    meet("czmq", None, &[python(), script("czmq.py"), library]).await;
}

#[tokio::test]
#[ignore = "needs Node and its package zeromq: ./test --full peers"]
async fn nodes_zeromq_is_met_in_every_mechanism_and_role() {
    let package = folder().join("node/node_modules/zeromq");
    let package = package.to_str().unwrap().to_owned();
    let command = ["node".to_owned(), script("zeromq.js"), package];
    meet("zeromq of npm", Some(ZEROMQ_JS), &command).await;
}

fn python() -> String {
    std::env::var("ZMTP_AUTH_PYTHON").expect("ZMTP_AUTH_PYTHON must name a Python; ./test sets it")
}

fn script(name: &str) -> String {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/interop/implementations/"
    );
    format!("{folder}{name}")
}

/// The folder where `./test --full peers` puts what it installs.
fn folder() -> PathBuf {
    let folder = std::env::var_os("ZMTP_AUTH_PEERS");
    folder
        .expect("ZMTP_AUTH_PEERS must name a folder; ./test --full peers sets it")
        .into()
}

/// The path of the libzmq that this wheel of pyzmq brought.
fn library_of(wheel: &str) -> String {
    let mut folders = vec![folder().join("libzmq").join(wheel)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the wheel is unpacked") {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                folders.push(path);
            } else if name.starts_with("libzmq") && name.contains(".so") {
                return path.to_str().unwrap().to_owned();
            }
        }
    }
    panic!("the wheel of pyzmq {wheel} brought no libzmq");
}

/// The keys of both sides, and of two that neither side knows.
struct Keys {
    dir: TempDir,
    ours: KeyPair,
    theirs: KeyPair,
    stranger: KeyPair,
}

impl Keys {
    /// Writes the files that a peer reads: certificates of its own and of a stranger, and the
    /// directory of the clients that it admits.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let new = |name: &str| {
            let certificate = Certificate::generate().unwrap();
            certificate.save(dir.path(), name).unwrap();
            certificate
        };
        let [ours, theirs, stranger] = ["ours", "theirs", "stranger"].map(new);
        let known = dir.path().join("known");
        std::fs::create_dir(&known).unwrap();
        ours.save_public(&known, "ours").unwrap();
        let [ours, theirs, stranger] =
            [ours, theirs, stranger].map(|certificate| certificate.key_pair().unwrap().clone());
        Self {
            dir,
            ours,
            theirs,
            stranger,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The task of a peer with this certificate and password, which expects the key `server`.
    fn task(&self, mechanism: &str, certificate: &str, server: PublicKey, password: &str) -> Value {
        let keys = match certificate {
            "theirs" => &self.theirs,
            _ => &self.stranger,
        };
        json!({
            "mechanism": mechanism,
            "username": "admin",
            "password": password,
            "public": keys.public_key().to_z85(),
            "secret": *keys.secret_key().to_z85(),
            "server": server.to_z85(),
            "known": self.ours.public_key().to_z85(),
            "certificate": self.path(&format!("{certificate}.key")),
            "certificates": self.path("known"),
            "scratch": self.dir.path(),
        })
    }
}

/// A peer process, which ends when this is dropped.
struct Peer {
    lines: Lines<BufReader<ChildStdout>>,
    first: Value,
    _stdin: ChildStdin,
    _child: Child,
}

impl Peer {
    /// Starts it. Its first line names its version and, if it binds, its endpoint.
    async fn start(command: &[String], task: &Value) -> Self {
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .arg(task.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", command[0]));
        let mut peer = Self {
            lines: BufReader::new(child.stdout.take().unwrap()).lines(),
            first: Value::Null,
            _stdin: child.stdin.take().unwrap(),
            _child: child,
        };
        peer.first = peer.told().await;
        peer
    }

    async fn told(&mut self) -> Value {
        let line = self.lines.next_line().await.unwrap();
        let line = line.expect("the peer process runs");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    fn endpoint(&self) -> &str {
        self.first["endpoint"].as_str().unwrap()
    }
}

/// Meets an implementation: `command` runs its script. Prints what was seen.
async fn meet(name: &str, version: Option<&str>, command: &[String]) {
    let meeting = async {
        let keys = Keys::new();
        let mut met = Met::default();
        for mechanism in MECHANISMS {
            if mechanism == "PLAIN" && version == Some(MISSPELLS_HELLO) {
                plain_is_refused(&keys, command, &mut met).await;
                continue;
            }
            met.mechanisms.push(mechanism);
            they_connect(&keys, mechanism, command, &mut met).await;
            they_serve(&keys, mechanism, command, &mut met).await;
        }
        met
    };
    let met = tokio::time::timeout(PATIENCE, meeting).await;
    let met = met.unwrap_or_else(|_| panic!("{name} {version:?} takes too long"));
    if let Some(version) = version {
        assert_eq!(met.version, version, "{name}");
        let mut rows = README
            .lines()
            .filter(|line| line.starts_with(&format!("| {name}")));
        assert!(
            rows.any(|row| row.contains(version)),
            "README.md does not name {name} {version}"
        );
    }
    println!(
        "{name} {}: {} as client and server, {} messages, {} refusals",
        met.version,
        met.mechanisms.join(", "),
        met.messages,
        met.refusals
    );
}

/// A peer that misspells HELLO, with the right password: neither side admits the other.
async fn plain_is_refused(keys: &Keys, command: &[String], met: &mut Met) {
    let mut task = keys.task("PLAIN", "theirs", keys.ours.public_key(), "secret");
    let peer = Peer::start(command, &task).await;
    let builder = Config::builder(SocketType::Dealer);
    let config = builder.plain_client("admin", "secret").finish().unwrap();
    is_refused(Connection::connect(peer.endpoint(), config).await, met);
    let listener = listener(keys, "PLAIN").await;
    task["connect"] = json!(listener.local_endpoint().to_string());
    let _peer = Peer::start(command, &task).await;
    is_refused_by(&listener, met).await;
}

fn is_refused(outcome: Result<Connection, NetError>, met: &mut Met) {
    assert!(
        matches!(outcome, Err(NetError::Handshake(_))),
        "{outcome:?}"
    );
    met.refusals += 1;
}

async fn is_refused_by(listener: &Listener, met: &mut Met) {
    let event = listener.next_event().await.unwrap();
    assert!(matches!(event, Event::Refused(_)), "{event:?}");
    met.refusals += 1;
}

/// What was seen of an implementation.
#[derive(Default)]
struct Met {
    version: String,
    mechanisms: Vec<&'static str>,
    messages: u32,
    refusals: u32,
}

impl Met {
    /// Each message was answered by one.
    fn exchanged(&mut self, peer: &Peer) {
        peer.first["version"]
            .as_str()
            .unwrap()
            .clone_into(&mut self.version);
        self.messages += 2;
    }
}

/// The peer connects and is the client.
async fn they_connect(keys: &Keys, mechanism: &str, command: &[String], met: &mut Met) {
    let right = keys.task(mechanism, "theirs", keys.ours.public_key(), "secret");
    let stranger = keys.task(mechanism, "stranger", keys.ours.public_key(), "guess");
    let wrong_server = keys.task(mechanism, "theirs", keys.stranger.public_key(), "secret");
    let wrong = match mechanism {
        "NULL" => vec![],
        "PLAIN" => vec![stranger],
        _ => vec![stranger, wrong_server],
    };
    for mut task in wrong {
        let listener = listener(keys, mechanism).await;
        task["connect"] = json!(listener.local_endpoint().to_string());
        let _peer = Peer::start(command, &task).await;
        is_refused_by(&listener, met).await;
    }

    let listener = listener(keys, mechanism).await;
    let mut task = right;
    task["connect"] = json!(listener.local_endpoint().to_string());
    let mut peer = Peer::start(command, &task).await;
    let mut connection = match listener.next_event().await.unwrap() {
        Event::Accepted(connection) => connection,
        event => panic!("{mechanism}: {event:?}"),
    };
    let key = keys.theirs.public_key().to_z85();
    let user = match mechanism {
        "NULL" => "anonymous",
        "PLAIN" => "admin",
        _ => &key,
    };
    let authenticated = connection.peer().authenticated.as_ref().unwrap();
    assert_eq!(authenticated.user_id, user);
    assert_eq!(connection.recv_message().await.unwrap().frames(), ["hello"]);
    connection.send("welcome").await.unwrap();
    assert_eq!(peer.told().await, json!({"received": "welcome"}));
    met.exchanged(&peer);
}

async fn listener(keys: &Keys, mechanism: &str) -> Listener {
    let authenticator = Authenticator::new();
    let users = [("admin", "secret")];
    authenticator.configure_plain(DOMAIN, users).unwrap();
    authenticator.configure_curve_keys(DOMAIN, [keys.theirs.public_key()]);
    let router = ZapRouter::new();
    router.bind(DOMAIN, authenticator).unwrap();
    let builder = Config::builder(SocketType::Dealer);
    let config = match mechanism {
        "NULL" => builder.null().authorize(DOMAIN).finish(),
        "PLAIN" => builder.plain_server().authorize(DOMAIN).finish(),
        _ => builder
            .curve_server(keys.ours.clone())
            .authorize(DOMAIN)
            .finish(),
    };
    Listener::bind("tcp://127.0.0.1:*", (config.unwrap(), router))
        .await
        .unwrap()
}

/// The peer binds and is the server.
async fn they_serve(keys: &Keys, mechanism: &str, command: &[String], met: &mut Met) {
    let task = keys.task(mechanism, "theirs", keys.ours.public_key(), "secret");
    let mut peer = Peer::start(command, &task).await;
    let endpoint = peer.endpoint().to_owned();
    let (theirs, unknown) = (keys.theirs.public_key(), keys.stranger.public_key());
    let curve = |keys: &KeyPair, server| {
        let builder = Config::builder(SocketType::Dealer);
        builder.curve_client(keys.clone(), server).finish().unwrap()
    };
    let plain = |password| {
        let builder = Config::builder(SocketType::Dealer);
        builder.plain_client("admin", password).finish().unwrap()
    };
    let wrong = match mechanism {
        "NULL" => vec![],
        "PLAIN" => vec![plain("guess")],
        _ => vec![curve(&keys.stranger, theirs), curve(&keys.ours, unknown)],
    };
    for config in wrong {
        is_refused(Connection::connect(&*endpoint, config).await, met);
    }
    let right = match mechanism {
        "NULL" => Config::builder(SocketType::Dealer)
            .null()
            .accept_any_peer()
            .finish()
            .unwrap(),
        "PLAIN" => plain("secret"),
        _ => curve(&keys.ours, theirs),
    };
    let mut connection = Connection::connect(&*endpoint, right).await.unwrap();
    connection.send("hello").await.unwrap();
    let answer = connection.recv_message().await.unwrap();
    assert_eq!(answer.frames(), ["hello back"]);
    assert_eq!(peer.told().await, json!({"received": "hello"}));
    met.exchanged(&peer);
}
