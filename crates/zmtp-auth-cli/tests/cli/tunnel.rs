//! Both sides of `zmtp-auth tunnel`, as an operator runs them.

use crate::net_peers::{ANY_PORT, null, soon};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use zmtp_auth::net::{Connection, Listener, Message, NetError};
use zmtp_auth::{Config, Error, KeyPair, SecretKey, SocketType};

fn server_keys() -> KeyPair {
    KeyPair::from_secret(SecretKey::from_bytes(&[22; 32]).unwrap())
}

fn client_keys() -> KeyPair {
    KeyPair::from_secret(SecretKey::from_bytes(&[11; 32]).unwrap())
}

fn zmtp_auth() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zmtp-auth"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A tunnel that runs.
struct Running {
    child: Option<Child>,
    stdout: BufReader<ChildStdout>,
    endpoint: String,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = zmtp_auth().arg("tunnel").args(arguments).spawn().unwrap();
        let mut running = Self {
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child: Some(child),
            endpoint: String::new(),
        };
        let told = running.told();
        assert_eq!(told["event"], "listening");
        told["endpoint"]
            .as_str()
            .unwrap()
            .clone_into(&mut running.endpoint);
        running
    }

    /// The next line of its output.
    fn told(&mut self) -> serde_json::Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn signal(&self, signal: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        let status = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(status.success());
    }

    /// Ends it in order, and returns its log.
    fn stop(mut self) -> String {
        self.signal("-TERM");
        let output = self.child.take().unwrap().wait_with_output().unwrap();
        assert!(output.status.success(), "{:?}", output.status);
        String::from_utf8(output.stderr).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn write_key(directory: &Path, name: &str, keys: &KeyPair) -> String {
    let path = directory.join(name);
    fs::write(&path, format!("{}\n", *keys.secret_key().to_z85())).unwrap();
    path.to_str().unwrap().to_owned()
}

fn write_policy(directory: &Path, keys: &[&KeyPair]) -> String {
    let path = directory.join("policy.toml");
    let keys: Vec<_> = keys.iter().map(|keys| keys.public_key().to_z85()).collect();
    fs::write(
        &path,
        format!("[domain.\"*\"]\ncurve = {{ keys = {keys:?} }}\n"),
    )
    .unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tunnels_at_the_command_line_give_two_programs_curve() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let stranger = KeyPair::generate().unwrap();
    let program = Listener::bind(ANY_PORT, null(SocketType::Pull))
        .await
        .unwrap();
    let key = write_key(directory, "server.secret", &server_keys());
    let policy = write_policy(directory, &[&client_keys()]);
    let forward = program.local_endpoint().to_string();
    let mut server = Running::start(&[
        "server",
        "--bind",
        ANY_PORT,
        "--forward",
        &forward,
        "--key",
        &key,
        "--policy",
        &policy,
        "--heartbeat",
        "60",
    ]);
    let server_key = server_keys().public_key().to_z85();
    let client_of = |keys: &KeyPair, name| {
        let key = write_key(directory, name, keys);
        let (to, server_key) = (server.endpoint.as_str(), server_key.as_str());
        Running::start(&[
            "client",
            "--bind",
            ANY_PORT,
            "--forward",
            to,
            "--server-key",
            server_key,
            "--key",
            &key,
        ])
    };
    let refused = client_of(&stranger, "stranger.secret");
    let admitted = client_of(&client_keys(), "client.secret");

    let push = null(SocketType::Push);
    let error = soon(Connection::connect(refused.endpoint.as_str(), push.clone())).await;
    assert!(matches!(
        error.unwrap_err(),
        NetError::Handshake(Error::ClosedByPeer(_))
    ));
    let dialling = Connection::connect(admitted.endpoint.as_str(), push);
    let (push, pull) = soon(async { tokio::join!(dialling, program.accept()) }).await;
    let (mut push, mut pull) = (push.unwrap(), pull.unwrap());
    let user_id = pull
        .peer()
        .claims
        .properties
        .get("User-Id")
        .unwrap()
        .clone();
    assert_eq!(user_id, client_keys().public_key().to_z85().as_bytes());
    push.send("hello").await.unwrap();
    assert_eq!(soon(pull.recv_message()).await.unwrap().frames(), ["hello"]);

    // A policy that no longer knows the client closes it.
    write_policy(directory, &[&stranger]);
    server.signal("-HUP");
    assert_eq!(server.told()["event"], "reloaded");
    assert!(matches!(soon(push.closed()).await, NetError::Closed));
    soon(pull.recv_message()).await.unwrap_err();

    let log = server.stop();
    let user_id = client_keys().public_key().to_z85();
    let line = log.lines().find(|line| line.contains("peer connected"));
    assert!(line.unwrap().contains(&user_id), "{log}");
    assert!(log.contains("peer refused"), "{log}");
    assert!(log.contains("revoked"), "{log}");
    let log = refused.stop();
    assert!(log.contains("ERROR 400"), "{log}");
    admitted.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_over_a_limit_is_told_with_the_limit_and_the_side() {
    let config = Config::builder(SocketType::Pull).curve_server(server_keys());
    let config = config.accept_any_peer().finish().unwrap();
    let far = Listener::bind(ANY_PORT, config).await.unwrap();
    let (to, server_key) = (far.local_endpoint().to_string(), server_keys().public_key());
    let arguments = [
        "client",
        "--bind",
        ANY_PORT,
        "--forward",
        &to,
        "--server-key",
    ];
    let tunnel = Running::start(&[&arguments[..], &[&server_key.to_z85()]].concat());
    let dialling = Connection::connect(tunnel.endpoint.as_str(), null(SocketType::Push));
    let (push, pull) = soon(async { tokio::join!(dialling, far.accept()) }).await;
    let (mut push, mut pull) = (push.unwrap(), pull.unwrap());
    let message: Message = (0..5000).map(|_| Vec::new()).collect();
    push.send(message).await.unwrap();
    soon(pull.recv_message()).await.unwrap_err();
    let log = tunnel.stop();
    let line = log.lines().find(|line| line.contains("WARN")).unwrap();
    for told in ["max_frames", "the local program", "more than 4096 frames"] {
        assert!(line.contains(told), "{told} in {log}");
    }
}

#[test]
fn what_is_no_tunnel_is_wrong_usage() {
    let directory = tempfile::tempdir().unwrap();
    let key = write_key(directory.path(), "server.secret", &server_keys());
    let policy = write_policy(directory.path(), &[]);
    let refused = |arguments: &[&str]| -> Output {
        let output = zmtp_auth().arg("tunnel").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        output
    };
    let far = "tcp://192.0.2.1:5000";
    let output = refused(&[
        "server",
        "--bind",
        ANY_PORT,
        "--forward",
        far,
        "--key",
        &key,
        "--policy",
        &policy,
    ]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("--allow-cleartext permits it"), "{told}");
    // A server without a policy and a client without a key are wrong usage.
    refused(&[
        "server",
        "--bind",
        ANY_PORT,
        "--forward",
        far,
        "--key",
        &key,
    ]);
    refused(&["client", "--bind", ANY_PORT, "--forward", far]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_of_another_user_gets_nothing_unless_it_was_named() {
    const OTHER: &str = "65534";
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    if fs::metadata(directory).unwrap().uid() != 0 {
        // Only root can become another.
        return;
    }
    // The other user may not be able to read the build directory.
    let binary = directory.join("zmtp-auth");
    let copied = Command::new("cp")
        .args([env!("CARGO_BIN_EXE_zmtp-auth")])
        .arg(&binary)
        .status();
    assert!(copied.unwrap().success());
    for path in [directory, &binary] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let forward = format!("ipc://{}", directory.join("program").display());
    let mut child = Command::new("setpriv")
        .args([
            &format!("--reuid={OTHER}"),
            "--regid=65534",
            "--clear-groups",
            "--",
        ])
        .arg(&binary)
        .args([
            "listen",
            &forward,
            "--type",
            "pull",
            "--null",
            "--accept-any-peer",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut program = Running {
        stdout: BufReader::new(child.stdout.take().unwrap()),
        child: Some(child),
        endpoint: forward.clone(),
    };
    assert_eq!(program.told()["event"], "listening");

    let key = write_key(directory, "server.secret", &server_keys());
    let policy = write_policy(directory, &[&client_keys()]);
    let arguments = [
        "server",
        "--bind",
        ANY_PORT,
        "--forward",
        &forward,
        "--key",
        &key,
        "--policy",
        &policy,
    ];
    let config = || {
        Config::builder(SocketType::Push)
            .curve_client(client_keys(), server_keys().public_key())
            .finish()
            .unwrap()
    };
    let tunnel = Running::start(&arguments);
    let refused = soon(Connection::connect(&*tunnel.endpoint, config())).await;
    assert!(matches!(
        refused,
        Err(NetError::Handshake(Error::ClosedByPeer(_)))
    ));
    let log = tunnel.stop();
    assert!(
        log.contains("user 65534") && log.contains("forward_uid"),
        "{log}"
    );

    let tunnel = Running::start(&[&arguments[..], &["--forward-uid", OTHER]].concat());
    let mut push = soon(Connection::connect(&*tunnel.endpoint, config()))
        .await
        .unwrap();
    push.send("hello").await.unwrap();
    // The first connection of the tunnel was refused, so it failed on this side.
    while program.told()["event"] != "accepted" {}
    assert_eq!(program.told()["frames"][0]["text"], "hello");
}
