//! The Rust side of `omq_peer.py`: one process for each socket.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use zmtp_auth::net::Message;
use zmtp_auth::{KeyPair, PublicKey};

/// The peer's script, also for packages that lie deeper.
fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("tests/peer/omq_peer.py"))
        .find(|script| script.is_file())
        .expect("tests/peer/omq_peer.py")
}

/// A socket of pyomq that runs until it is dropped.
pub struct OmqPeer {
    /// The endpoint where it is bound or connects to.
    pub endpoint: String,
    lines: Lines<BufReader<ChildStdout>>,
    _stdin: ChildStdin,
    _child: Child,
}

/// Where an [`OmqPeer`] binds or connects. The side that binds is the mechanism's server.
pub enum Stands<'a> {
    Bound,
    ConnectedTo(&'a str),
}

impl OmqPeer {
    /// A socket of this type and mechanism, with `keys` under CURVE and `server` for its server's.
    pub async fn start(
        kind: &str,
        mechanism: &str,
        stands: Stands<'_>,
        (keys, server): (&KeyPair, PublicKey),
        messages: &[Vec<Vec<u8>>],
    ) -> Self {
        let mut task = json!({
            "type": kind,
            "mechanism": mechanism,
            "public": keys.public_key().to_z85(),
            "secret": *keys.secret_key().to_z85(),
            "server": server.to_z85(),
            "messages": messages.iter().map(|message| message.iter().map(|frame| to_hex(frame)).collect())
                .collect::<Vec<Vec<String>>>(),
        });
        if let Stands::ConnectedTo(endpoint) = stands {
            task["connect"] = json!(endpoint);
        }
        let python = std::env::var_os("ZMTP_AUTH_PYTHON")
            .expect("ZMTP_AUTH_PYTHON must name a Python that has pyomq; ./test sets it");
        let mut child = Command::new(python)
            .arg(script())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the Python of ZMTP_AUTH_PYTHON starts");
        let mut stdin = child.stdin.take().unwrap();
        stdin
            .write_all(format!("{task}\n").as_bytes())
            .await
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut peer = Self {
            endpoint: String::new(),
            lines,
            _stdin: stdin,
            _child: child,
        };
        peer.endpoint = peer.line().await.as_str().unwrap().to_owned();
        peer
    }

    async fn line(&mut self) -> Value {
        let line = self.lines.next_line().await.unwrap();
        serde_json::from_str(&line.expect("the peer process runs")).unwrap()
    }

    /// The next message that the peer has received.
    pub async fn received(&mut self) -> Vec<String> {
        serde_json::from_value(self.line().await).unwrap()
    }
}

pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The frames of a message as the peer would print them.
pub fn printed(message: &Message) -> Vec<String> {
    message.frames().iter().map(|frame| to_hex(frame)).collect()
}
